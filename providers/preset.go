package providers

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/stmigrate/stmigrate"
)

// Preset is what a provider says of its tokens, as the configuration of a verifier. Look at it, change it, add to it, and then
// call [Preset.Verifier].
type Preset struct {
	// Keys says where the provider publishes its keys. Set HTTPClient for a proxy.
	Keys stmigrate.JWKSConfig
	// JWT holds the provider's rules. Append to JWT.Checks what else your tokens must say; your checks see the session as the
	// provider's have left it, with the user's ID and the session's where the provider has them.
	JWT stmigrate.JWTConfig
	// StaticKeys, if there are any, are used in place of Keys, and nothing is fetched: a shared secret, or the keys of
	// [stmigrate.FetchKeys] after the provider is switched off.
	StaticKeys []stmigrate.Key
	// OtherIssuers are further values of iss, to the letter, for tokens of the same users: a custom domain, another spelling.
	// Their sessions have JWT.Issuer as their Issuer. It MUST NOT name an issuer that can have another user under the same ID.
	OtherIssuers []string
	// Endpoints are the provider's OAuth endpoints where they are known; "" where there are none, or are not.
	Endpoints Endpoints

	opaque, encrypted string // what tokens that are no JWT mean at this provider; "" if nothing is to be said
}

// Endpoints are addresses of a provider: for RFC7009Config.Endpoint in package revoke, and whoever else asks.
type Endpoints struct{ Revocation, Introspection, UserInfo string }

// Verifier makes the verifier. The error names the field that is wrong. The preset can be changed afterwards and used again.
func (p *Preset) Verifier() (*Verifier, error) {
	v := &Verifier{opaque: p.opaque, encrypted: p.encrypted}
	for _, issuer := range append([]string{p.JWT.Issuer}, p.OtherIssuers...) {
		cfg := p.JWT
		cfg.Issuer = issuer
		var one *stmigrate.JWTVerifier
		var err error
		if len(p.StaticKeys) > 0 {
			one, err = stmigrate.NewStaticKeyVerifier(p.StaticKeys, cfg)
		} else {
			one, err = stmigrate.NewJWKSVerifier(p.Keys, cfg)
		}
		if err != nil {
			return nil, err
		}
		if v.jwtVerifier == nil {
			v.jwtVerifier = one
		} else {
			v.others = append(v.others, one)
		}
	}
	v.canonical = p.JWT.Issuer
	return v, nil
}

// jwtVerifier keeps the embedded field of Verifier to itself.
type jwtVerifier = stmigrate.JWTVerifier

// Verifier verifies the tokens of one provider. Safe for concurrent use.
type Verifier struct {
	// Embedded, so that [stmigrate.New] sees that this is a verifier of that issuer.
	*jwtVerifier
	others            []*stmigrate.JWTVerifier
	canonical         string
	opaque, encrypted string
}

// Verify implements [stmigrate.OldSessionVerifier]. Errors are those of [stmigrate.JWTVerifier]; a token that is no JWT is
// [stmigrate.ErrNotMine], and the error tells what it means at this provider and what to do.
func (v *Verifier) Verify(ctx context.Context, token string) (*stmigrate.OldSession, error) {
	s, err := v.jwtVerifier.Verify(ctx, token)
	for _, other := range v.others {
		if !errors.Is(err, stmigrate.ErrNotMine) {
			break
		}
		if s, err = other.Verify(ctx, token); err == nil {
			s.Issuer = v.canonical
		}
	}
	if err == nil || !errors.Is(err, stmigrate.ErrNotMine) {
		return s, err
	}
	switch dots := strings.Count(token, "."); {
	case dots == 4 && v.encrypted != "":
		return nil, fmt.Errorf("%w; %s", err, v.encrypted)
	case dots != 2 && dots != 4 && v.opaque != "":
		return nil, fmt.Errorf("%w; %s", err, v.opaque)
	}
	return nil, err
}

// Warm fetches the keys unless they are there: for a readiness probe.
func (v *Verifier) Warm(ctx context.Context) error {
	for _, one := range append([]*stmigrate.JWTVerifier{v.jwtVerifier}, v.others...) {
		if err := one.Warm(ctx); err != nil {
			return err
		}
	}
	return nil
}

// check is a rule of a provider. It may complete the session: take the user's ID from where the provider has it.
type check = func(*stmigrate.OldSession) error

// invalid refuses a token for good. The text is for the log: no value of the token stands in it.
func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", stmigrate.ErrInvalidSession, fmt.Sprintf(format, args...))
}

func text(s *stmigrate.OldSession, claim string) string {
	v, _ := s.Claims[claim].(string)
	return v
}

// is wants a claim to be one of some strings.
func is(claim string, values ...string) check {
	return func(s *stmigrate.OldSession) error {
		if v, ok := s.Claims[claim].(string); !ok || !slices.Contains(values, v) {
			return invalid("the token's %s is none of %q", claim, values)
		}
		return nil
	}
}

// has wants a claim to be a string.
func has(claim, why string) check {
	return func(s *stmigrate.OldSession) error {
		if text(s, claim) == "" {
			return invalid("the token has no %s: %s", claim, why)
		}
		return nil
	}
}

// hasNot wants a claim not to be there, whatever its value.
func hasNot(claim, why string) check {
	return func(s *stmigrate.OldSession) error {
		if _, ok := s.Claims[claim]; ok {
			return invalid("the token has %s: %s", claim, why)
		}
		return nil
	}
}

// noActor refuses tokens of somebody who acts for the user (RFC 8693 §4.1), unless they are allowed.
func noActor(allowed bool) []check {
	if allowed {
		return nil
	}
	return []check{hasNot("act", "somebody acts for the user; see AllowImpersonation where the provider has it")}
}

// noIDToken refuses tokens with what ID tokens alone have (OpenID Connect Core §2 and §3.3.2.11).
func noIDToken() []check {
	const why = "it is an ID token, and an access token is wanted"
	return []check{hasNot("nonce", why), hasNot("at_hash", why), hasNot("c_hash", why), hasNot("s_hash", why)}
}

// noMachine refuses tokens whose subject is the client itself: nobody signed in for them (RFC 9068 §5, RFC 6749 §4.4).
func noMachine(clientClaims ...string) check {
	return func(s *stmigrate.OldSession) error {
		for _, claim := range clientClaims {
			if client := text(s, claim); client != "" && (client == s.Subject || client == text(s, "sub")) {
				return invalid("the token is a machine's: its user is the client (%s)", claim)
			}
		}
		return nil
	}
}

// ofClient wants the client to be one of ids. Claims are the names under which the provider may have it: one at least is
// there, and all that are there must agree.
func ofClient(ids []string, claims ...string) check {
	ids = slices.Clone(ids)
	return func(s *stmigrate.OldSession) error {
		found := false
		for _, claim := range claims {
			value, ok := s.Claims[claim]
			if !ok {
				continue
			}
			if id, _ := value.(string); !slices.Contains(ids, id) {
				return invalid("the token was issued to another application (%s) than those in ClientIDs", claim)
			}
			found = true
		}
		if !found {
			return invalid("the token does not say to which application it was issued (%s)", strings.Join(claims, ", "))
		}
		return nil
	}
}

// presented wants an ID token to have been issued to one of ids: it says so (azp), or has that one audience (OpenID Connect Core
// §3.1.3.7, 3 to 5). Some providers give an application ID tokens that are for others, too. Access tokens, which have other names for
// the client (RFC 9068 §2.2: client_id), may be for one of ids and another's.
func presented(ids []string) check {
	ids = slices.Clone(ids)
	return func(s *stmigrate.OldSession) error {
		for _, claim := range []string{"azp", "client_id", "cid"} {
			if client, ok := s.Claims[claim]; ok {
				if id, _ := client.(string); !slices.Contains(ids, id) {
					return invalid("the ID token was issued to another client (%s) than those that are configured", claim)
				}
			}
		}
		if _, ok := s.Claims["azp"]; !ok && len(audiences(s.Claims["aud"])) != 1 {
			return invalid("the ID token is for several audiences (aud) and does not say to which client it was issued (azp)")
		}
		return nil
	}
}

// audiences returns the strings of aud, a string or an array (RFC 7519 §4.1.3).
func audiences(aud any) (out []string) {
	list, ok := aud.([]any)
	if !ok {
		list = []any{aud}
	}
	for _, a := range list {
		if a, ok := a.(string); ok {
			out = append(out, a)
		}
	}
	return out
}

// name tells whether a claim's value can name a user or a session: the rule of stmigrate.JWTConfig.
func name(s string) bool {
	control := func(r rune) bool { return r < ' ' || 0x7f <= r && r < 0xa0 }
	return strings.TrimSpace(s) != "" && len(s) <= 512 && !strings.ContainsFunc(s, control)
}

var hostName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+$`)

// needHost checks a field that is a host name, without scheme, port and path.
func needHost(field, host string) error {
	if len(host) > 253 || !hostName.MatchString(host) {
		return fmt.Errorf("providers: %s is %q: a host name in lower case wanted, without https://, port or path", field, host)
	}
	return nil
}

var idPattern = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,128}$`)

// needID checks a field that becomes a part of an address or an issuer.
func needID(field, id string) error {
	if !idPattern.MatchString(id) || strings.Trim(id, ".") == "" {
		return fmt.Errorf("providers: %s is %q: an ID of letters, digits, '-', '_', '.' and '~' wanted", field, id)
	}
	return nil
}

// needSome checks a list that must have values, none of them blank.
func needSome(field string, values []string, hint string) error {
	if len(values) == 0 {
		return fmt.Errorf("providers: %s is required: %s", field, hint)
	}
	for i, v := range values {
		if strings.TrimSpace(v) == "" {
			return fmt.Errorf("providers: %s[%d] is blank", field, i)
		}
	}
	return nil
}

// needNone checks that a field is not set beside another that makes it mean nothing.
func needNone(field string, values []string, with string) error {
	if len(values) > 0 {
		return fmt.Errorf("providers: %s contradicts %s", field, with)
	}
	return nil
}

// firstError returns the first error.
func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
