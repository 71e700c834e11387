package opaque

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/ask"
	"github.com/stmigrate/stmigrate/internal/claims"
	"github.com/stmigrate/stmigrate/internal/safedial"
)

const (
	maxToken = 16 << 10
	maxBody  = 64 << 10

	defaultTimeout   = 5 * time.Second
	defaultPerSecond = 50
	defaultInFlight  = 32

	defaultLeeway = 30 * time.Second
	maxLeeway     = 10 * time.Minute

	maxRemembered    = 4096
	refusedFor       = time.Minute
	maxPositiveCache = time.Minute
)

// HTTP says how the provider is asked. Its zero value is complete. Redirects are never followed.
type HTTP struct {
	// Client makes the calls; for a proxy, a private CA or mutual TLS. Default: one that uses no proxy and connects to addresses of
	// the public internet only, whatever a name resolves to.
	Client *http.Client
	// AllowPrivate names hosts, as they stand in the endpoint's address, that may resolve to any address: a provider in the same
	// network, or on this machine. It contradicts Client. Default: none.
	AllowPrivate []string
	// Timeout is what one call may take, its answer's body included. Default 5 s.
	Timeout time.Duration
	// PerSecond and InFlight bound the calls of one verifier, so that strangers who send junk cannot spend what the provider
	// allows. A token for which no call is left is [stmigrate.ErrUnavailable]. Default 50 and 32.
	PerSecond, InFlight int
}

// caller checks h.
func (h HTTP) caller(now func() time.Time) (*ask.Caller, error) {
	switch {
	case h.Client != nil && h.AllowPrivate != nil:
		return nil, errors.New("HTTP.AllowPrivate and HTTP.Client contradict each other: a client of your own decides whom it connects to")
	case h.Timeout < 0 || h.PerSecond < 0 || h.InFlight < 0:
		return nil, fmt.Errorf("HTTP.Timeout %v, PerSecond %d and InFlight %d: none may be negative", h.Timeout, h.PerSecond, h.InFlight)
	}
	if h.Client == nil {
		transport, err := safedial.Transport(h.AllowPrivate)
		if err != nil {
			return nil, fmt.Errorf("HTTP.%w", err)
		}
		h.Client = &http.Client{Transport: transport}
	}
	limits := ask.Limits{Timeout: h.Timeout, Body: maxBody, PerSecond: h.PerSecond, InFlight: h.InFlight}
	if limits.Timeout == 0 {
		limits.Timeout = defaultTimeout
	}
	if limits.PerSecond == 0 {
		limits.PerSecond = defaultPerSecond
	}
	if limits.InFlight == 0 {
		limits.InFlight = defaultInFlight
	}
	return ask.New(h.Client, limits, now), nil
}

// Rules say what an answer means, and for which tokens one is asked for. Issuer is required.
//
// What names a user, session or token is a string of 1 to 512 bytes, without control characters and not blank. A JSON answer has one
// reading only: no name twice, none that differs from a known one in letter case alone.
type Rules struct {
	// Issuer is whose sessions these are, to the letter: what a JWT verifier for the same provider has, too. Required. An answer
	// that names another one (iss) is [stmigrate.ErrNotMine].
	Issuer string
	// UserIDClaim names the user. Default: "sub".
	UserIDClaim string
	// SessionIDClaims name the session; the first that an answer has counts. Default: "sid". Without one a token is a session.
	SessionIDClaims []string
	// TenantClaim and Tenants are as in [stmigrate.JWTConfig].
	TenantClaim string
	Tenants     map[string]string
	// Checks are rules of the provider. All must pass; an error that has no class is an [stmigrate.ErrInvalidSession].
	Checks []func(*stmigrate.OldSession) error
	// Takes chooses the tokens that are asked for; others are [stmigrate.ErrNotMine]. Default: [NotJWT], so that a verifier of JWTs
	// goes together with this one in a [stmigrate.FirstOf], in any order.
	Takes func(token string) bool
	// RefusedIsNotMine makes it ErrNotMine that the provider refuses a token, so that a FirstOf goes on to another provider whose
	// tokens look the same. It costs one call to each. Default: the provider's word is final.
	RefusedIsNotMine bool
	// PositiveCache is how long a good answer is believed again, a minute at the most. For so long a session that the provider
	// ended is good. Default 0: the provider is asked each time.
	PositiveCache time.Duration
	// Leeway is how far the provider's clock may be off, for exp, nbf and iat; 10 minutes at the most. Default 30 s.
	Leeway time.Duration
	// Now replaces time.Now, in tests.
	Now func() time.Time
}

var encoding = base64.RawURLEncoding

// NotJWT takes all but what looks like a JWT, signed or encrypted: three or five parts of which the first is a JSON object.
func NotJWT(token string) bool {
	if n := strings.Count(token, "."); n != 2 && n != 4 {
		return true
	}
	header, err := encoding.DecodeString(token[:strings.IndexByte(token, '.')])
	return err != nil || !strings.HasPrefix(strings.TrimLeft(string(header), " \t\r\n"), "{")
}

// AnyToken takes every token. It is for providers whose JWTs do not say enough (Keycloak's lightweight access tokens) or cannot be
// read (encrypted ones). In a [stmigrate.FirstOf] it should be the last.
func AnyToken(string) bool { return true }

// HasPrefix takes tokens that begin with one of prefixes: "ya29." for Google's.
func HasPrefix(prefixes ...string) func(token string) bool {
	prefixes = slices.Clone(prefixes)
	return func(token string) bool {
		return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(token, p) })
	}
}

// answerNames are members that an answer may not spell otherwise.
var answerNames = []string{
	"active", "iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "auth_time", "cnf", "act", "typ", "azp", "client_id", "token_type", "username",
}

// rules are Rules that were checked and are nobody else's.
type rules struct {
	Rules
	names map[string]string
}

func newRules(r Rules) (*rules, error) {
	switch {
	case r.Issuer == "" || strings.TrimSpace(r.Issuer) != r.Issuer:
		return nil, fmt.Errorf("Rules.Issuer is required, without space around it: got %q", r.Issuer)
	case r.TenantClaim == "" != (len(r.Tenants) == 0):
		return nil, errors.New("Rules.TenantClaim and Tenants go together: where an answer tells its tenant, and which is which")
	case r.PositiveCache < 0 || r.PositiveCache > maxPositiveCache:
		return nil, fmt.Errorf("Rules.PositiveCache is %v: from 0 to %v wanted", r.PositiveCache, maxPositiveCache)
	case r.Leeway < 0 || r.Leeway > maxLeeway:
		return nil, fmt.Errorf("Rules.Leeway is %v: from 0 (%v) to %v wanted", r.Leeway, defaultLeeway, maxLeeway)
	case slices.Contains(r.SessionIDClaims, ""):
		return nil, errors.New("Rules.SessionIDClaims has an empty name")
	}
	if i := slices.IndexFunc(r.Checks, func(c func(*stmigrate.OldSession) error) bool { return c == nil }); i >= 0 {
		return nil, fmt.Errorf("Rules.Checks[%d] is nil", i)
	}
	if err := checkTenants(r.Tenants); err != nil {
		return nil, err
	}
	if r.UserIDClaim == "" {
		r.UserIDClaim = "sub"
	}
	if len(r.SessionIDClaims) == 0 {
		r.SessionIDClaims = []string{"sid"}
	}
	if r.Takes == nil {
		r.Takes = NotJWT
	}
	if r.Leeway == 0 {
		r.Leeway = defaultLeeway
	}
	if r.Now == nil {
		r.Now = time.Now
	}
	own := append([]string{r.UserIDClaim}, r.SessionIDClaims...)
	if r.TenantClaim != "" {
		own = append(own, r.TenantClaim)
	}
	names, err := claims.FoldedNames(slices.Concat(answerNames, own))
	if err != nil {
		return nil, fmt.Errorf("Rules: %w", err)
	}
	r.SessionIDClaims, r.Checks, r.Tenants = slices.Clone(r.SessionIDClaims), slices.Clone(r.Checks), maps.Clone(r.Tenants)
	return &rules{r, names}, nil
}

func checkTenants(tenants map[string]string) error {
	for legacy, tenant := range tenants {
		if err := core.ValidTenantID(tenant); err != nil || tenant == "" {
			return fmt.Errorf("Rules.Tenants[%q] is %q: a SuperTokens tenant wanted, of a-z, 0-9 and -, or \"public\"", legacy, tenant)
		}
	}
	return nil
}

// verifier is what all verifiers of this package have in common: whom they ask, how often, and what they remember.
type verifier struct {
	*rules
	caller *ask.Caller
	known  *ask.Memory[verdict]
	// ask asks the provider. Its errors are classed.
	ask func(ctx context.Context, token string) (*stmigrate.OldSession, error)
}

// verdict is what is remembered of a token: a session, or why there is none.
type verdict struct {
	session *stmigrate.OldSession
	err     error
}

func newVerifier(r Rules, h HTTP) (*verifier, error) {
	checked, err := newRules(r)
	if err != nil {
		return nil, err
	}
	caller, err := h.caller(checked.Now)
	if err != nil {
		return nil, err
	}
	return &verifier{rules: checked, caller: caller, known: ask.NewMemory[verdict](maxRemembered, checked.Now)}, nil
}

// Issuer returns Rules.Issuer.
func (v *verifier) Issuer() string { return v.rules.Issuer }

// Verify implements [stmigrate.OldSessionVerifier]. Errors: [stmigrate.ErrNotMine] for tokens that are not for this verifier,
// [stmigrate.ErrInvalidSession] for those that the provider refuses or that are not for this application,
// [stmigrate.ErrExpiredSession], and [stmigrate.ErrUnavailable] for everything that says nothing of the token: limits, outages,
// redirects, broken answers. A refused token is remembered for a minute.
func (v *verifier) Verify(ctx context.Context, token string) (*stmigrate.OldSession, error) {
	switch {
	case len(token) > maxToken:
		return nil, fmt.Errorf("%w: longer than %d bytes", stmigrate.ErrInvalidSession, maxToken)
	case !claims.IsToken68(token):
		return nil, fmt.Errorf("%w: no bearer token (RFC 6750 §2.1)", stmigrate.ErrNotMine)
	case !v.Takes(token):
		return nil, fmt.Errorf("%w: a JWT, or what else Rules.Takes leaves to others", stmigrate.ErrNotMine)
	}
	if known, ok := v.known.Get(token); ok {
		return known.give()
	}
	s, err := v.ask(ctx, token)
	switch {
	case err == nil:
		keep := v.PositiveCache
		if !s.ExpiresAt.IsZero() {
			keep = min(keep, s.ExpiresAt.Sub(v.Now()))
		}
		v.known.Put(token, verdict{session: s}, keep)
	case errors.Is(err, stmigrate.ErrUnavailable):
		if wait := retryAfter(err); wait > 0 {
			// Limits of one token or one user: others are asked about all the same.
			v.known.Put(token, verdict{err: err}, min(wait, refusedFor))
		}
	default:
		v.known.Put(token, verdict{err: err}, refusedFor)
	}
	return verdict{s, err}.give()
}

// give returns a session that is the caller's own.
func (v verdict) give() (*stmigrate.OldSession, error) {
	if v.err != nil {
		return nil, v.err
	}
	s := *v.session
	s.Claims = maps.Clone(s.Claims)
	return &s, nil
}

// Format names the verifier by its issuer, whatever the verb: fmt would print the secrets in it for some.
func (v *verifier) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "opaque verifier(%s)", v.rules.Issuer)
}

// refused is the error of a token that the provider does not honour.
func (r *rules) refused(format string, args ...any) error {
	class := stmigrate.ErrInvalidSession
	if r.RefusedIsNotMine {
		class = stmigrate.ErrNotMine
	}
	return fmt.Errorf("%w: %w", class, fmt.Errorf(format, args...))
}

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %w", stmigrate.ErrInvalidSession, fmt.Errorf(format, args...))
}

func unavailable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", stmigrate.ErrUnavailable, fmt.Errorf(format, args...))
}

// pausedError is an error that knows when trying again makes sense.
type pausedError struct {
	error
	after time.Duration
}

func (e *pausedError) Unwrap() error             { return e.error }
func (e *pausedError) RetryAfter() time.Duration { return e.after }

func retryAfter(err error) time.Duration {
	if p := (*pausedError)(nil); errors.As(err, &p) {
		return p.after
	}
	return 0
}

// odd is the error of an answer that says nothing of the token.
func odd(what string, a *ask.Answer) error {
	var err error
	switch {
	case a.Status >= 300 && a.Status < 400:
		err = unavailable("%s: status %d: redirects are not followed; is the address right?", what, a.Status)
	default:
		err = unavailable("%s: status %d", what, a.Status)
	}
	if a.Pause > 0 {
		return &pausedError{err, a.Pause}
	}
	return err
}

// object reads an answer's body.
func (r *rules) object(what string, body []byte) (map[string]any, error) {
	answer, err := claims.Object(string(body))
	if err == nil {
		err = claims.CheckNames(answer, r.names)
	}
	if err != nil {
		return nil, unavailable("%s: the answer: %w", what, err)
	}
	return answer, nil
}

// session makes a session of an answer about a token that the provider honours.
func (r *rules) session(answer map[string]any) (*stmigrate.OldSession, error) {
	if iss, ok := answer["iss"]; ok && iss != r.Issuer {
		return nil, fmt.Errorf("%w: the answer's issuer (iss) is not %q", stmigrate.ErrNotMine, r.Issuer)
	}
	if _, ok := answer["cnf"]; ok {
		return nil, invalid("the token is bound to its sender's key (cnf: DPoP or mTLS), whose proof is not checked here")
	}
	for _, claim := range []string{"act", "impersonator"} {
		if _, ok := answer[claim]; ok {
			return nil, invalid("somebody else acts for the user (act, RFC 8693 §4.1; impersonator, Keycloak)")
		}
	}
	id, err := claims.Identities{Subject: r.UserIDClaim, Sessions: r.SessionIDClaims, Tenant: r.TenantClaim, Tenants: r.Tenants}.Of(answer)
	if err != nil {
		return nil, invalid("the answer: %v", err)
	}
	s := &stmigrate.OldSession{
		Issuer: r.Issuer, Subject: id.Subject, SessionID: id.SessionID, TokenID: id.TokenID, TenantID: id.TenantID, Claims: answer,
	}
	if err := r.times(s); err != nil {
		return nil, err
	}
	return s, nil
}

func (r *rules) times(s *stmigrate.OldSession) error {
	var notBefore time.Time
	for _, claim := range []struct {
		name string
		into *time.Time
	}{{"exp", &s.ExpiresAt}, {"nbf", &notBefore}, {"iat", &s.IssuedAt}} {
		value, ok := s.Claims[claim.name]
		if !ok {
			continue
		}
		if *claim.into, ok = claims.Time(value); !ok {
			return invalid("%s is no number of seconds between the years 1970 and 9999", claim.name)
		}
	}
	s.AuthTime, _ = claims.Time(s.Claims["auth_time"])
	now := r.Now()
	switch horizon := now.Add(r.Leeway); {
	case notBefore.After(horizon):
		return invalid("the token is good from %v only (nbf)", notBefore.UTC())
	case s.IssuedAt.After(horizon):
		return invalid("the token was issued in the future (iat %v)", s.IssuedAt.UTC())
	case !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt.Add(r.Leeway)):
		return fmt.Errorf("%w: at %v", stmigrate.ErrExpiredSession, s.ExpiresAt.UTC())
	}
	return nil
}

// check runs the configured Checks.
func (r *rules) check(s *stmigrate.OldSession) error {
	for _, check := range r.Checks {
		if err := check(s); err != nil {
			return classed(err)
		}
	}
	return nil
}

// classed returns err as ErrInvalidSession unless it has one of a verifier's classes, or says that the time was over.
func classed(err error) error {
	for _, class := range []error{stmigrate.ErrInvalidSession, stmigrate.ErrExpiredSession, stmigrate.ErrNotMine, stmigrate.ErrUnavailable} {
		if errors.Is(err, class) {
			return err
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return unavailable("%w", err)
	}
	return invalid("%w", err)
}

// isFor tells whether aud, a string or an array of strings, has one of wanted.
func isFor(aud any, wanted []string) bool {
	switch aud := aud.(type) {
	case string:
		return slices.Contains(wanted, aud)
	case []any:
		found := false
		for _, a := range aud {
			a, ok := a.(string)
			if !ok {
				return false
			}
			found = found || slices.Contains(wanted, a)
		}
		return found
	}
	return false
}

// number makes a JSON number of digits that a provider wrote as a string.
func number(answer map[string]any, name string) {
	if s, ok := answer[name].(string); ok && s != "" && strings.Trim(s, "0123456789") == "" {
		answer[name] = json.Number(s)
	}
}
