package stmigrate

import (
	"context"
	"crypto/rsa"
	_ "crypto/sha256" // the hashes of jwtAlgorithms
	_ "crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/stmigrate/stmigrate/internal/claims"
)

const jwtMaxSize = 16 << 10 // of a token, in bytes

// Refusals that come before anything is decoded are made once: junk must not cost memory.
var (
	errJWTSize   = fmt.Errorf("%w: longer than %d bytes", ErrInvalidSession, jwtMaxSize)
	errJWTOpaque = fmt.Errorf("%w: an opaque token, no JWT: only the provider knows what it means, ask it by introspection or userinfo; "+
		"some providers give out JWTs if the login asks for an audience", ErrNotMine)
	errJWTEncrypted = fmt.Errorf("%w: looks like a JWE, an encrypted token of five parts: let the provider sign tokens (JWS) "+
		"instead, or ask it by introspection", ErrNotMine)
	errJWTEncoding = fmt.Errorf("%w: a part is not canonical base64url (RFC 4648 §5, no padding, no spare bits)", ErrInvalidSession)
	errJWTNoHeader = fmt.Errorf("%w: no JWT: the first of the three parts is no JSON object in base64url", ErrNotMine)
)

// jwtAlgorithms are the signature algorithms of RFC 7518 §3.1 and RFC 8037, without "none".
var jwtAlgorithms = map[string]jwt.SigningMethod{
	"RS256": jwt.SigningMethodRS256, "RS384": jwt.SigningMethodRS384, "RS512": jwt.SigningMethodRS512,
	"PS256": jwtPSS(jwt.SigningMethodPS256), "PS384": jwtPSS(jwt.SigningMethodPS384), "PS512": jwtPSS(jwt.SigningMethodPS512),
	"ES256": jwt.SigningMethodES256, "ES384": jwt.SigningMethodES384, "ES512": jwt.SigningMethodES512,
	"EdDSA": jwt.SigningMethodEdDSA,
	"HS256": jwt.SigningMethodHS256, "HS384": jwt.SigningMethodHS384, "HS512": jwt.SigningMethodHS512,
}

// jwtPSS asks for a salt as long as the hash (RFC 7518 §3.5), where golang-jwt takes any.
func jwtPSS(m *jwt.SigningMethodRSAPSS) *jwt.SigningMethodRSAPSS {
	strict := *m
	strict.VerifyOptions = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
	return &strict
}

// jwtNames are members whose meaning depends on their exact name. A reader that ignores letter case would take "SUB" for
// sub, and so would one that folds "ſub": with such a name a token is refused.
var jwtNames = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "sid", "auth_time", "cnf", "typ", "alg", "kid", "crit", "b64"}

var jwtDefaultNames, _ = claims.FoldedNames(jwtNames)

// jwtToken is a compact JWS (RFC 7515 §7.1) of a JSON payload, of which nothing is verified.
type jwtToken struct {
	header, claims map[string]any
	signed         string // the two parts under the signature
	signature      []byte
}

// jwtParse takes a token apart: size and structure first, then encoding, then JSON. Two readers cannot read what it returns
// in two ways.
func jwtParse(token string, names map[string]string) (*jwtToken, error) {
	if len(token) > jwtMaxSize {
		return nil, errJWTSize
	}
	first := strings.IndexByte(token, '.')
	last := strings.LastIndexByte(token, '.')
	switch strings.Count(token, ".") {
	case 2:
	case 4:
		return nil, errJWTEncrypted
	default:
		return nil, errJWTOpaque
	}
	header, err := jwtDecode(token[:first])
	if err != nil {
		return nil, errJWTNoHeader
	}
	t := &jwtToken{signed: token[:last]}
	t.header, err = claims.Object(string(header))
	if errors.Is(err, claims.ErrSyntax) {
		return nil, errJWTNoHeader
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the header: %v", ErrInvalidSession, err)
	}
	payload, err := jwtDecode(token[first+1 : last])
	if err != nil {
		return nil, err
	}
	if t.signature, err = jwtDecode(token[last+1:]); err != nil {
		return nil, err
	}
	if t.claims, err = claims.Object(string(payload)); err != nil {
		return nil, fmt.Errorf("%w: the payload: %v", ErrInvalidSession, err)
	}
	if err := claims.CheckNames(t.header, jwtDefaultNames); err != nil {
		return nil, fmt.Errorf("%w: the header: %v", ErrInvalidSession, err)
	}
	if err := claims.CheckNames(t.claims, names); err != nil {
		return nil, fmt.Errorf("%w: the payload: %v", ErrInvalidSession, err)
	}
	return t, nil
}

var jwtEncoding = base64.RawURLEncoding.Strict()

// jwtDecode decodes canonical base64url. Go's decoder passes over line ends, even a strict one.
func jwtDecode(part string) ([]byte, error) {
	if part == "" || strings.IndexByte(part, '\n') >= 0 || strings.IndexByte(part, '\r') >= 0 {
		return nil, errJWTEncoding
	}
	out, err := jwtEncoding.DecodeString(part)
	if err != nil {
		return nil, errJWTEncoding
	}
	return out, nil
}

// checkHeader holds the header against what is expected. What it may carry besides (jwk, jku, x5u, x5c) is ignored: keys and
// algorithms come from the configuration.
func (t *jwtToken) checkHeader(algorithms []string) error {
	if alg, _ := t.header["alg"].(string); !slices.Contains(algorithms, alg) {
		return fmt.Errorf("%w: the token's algorithm (alg) is none of %v", ErrInvalidSession, algorithms)
	}
	for _, name := range []string{"crit", "b64"} {
		if _, ok := t.header[name]; ok {
			return fmt.Errorf("%w: the header has %s, and no extension is understood here (RFC 7515 §4.1.11, RFC 7797)", ErrInvalidSession, name)
		}
	}
	if typ, ok := t.header["typ"]; ok && !jwtIsType(typ) {
		return fmt.Errorf("%w: the token's type (typ) is not JWT or at+jwt: it is for another use", ErrInvalidSession)
	}
	if kid, ok := t.header["kid"]; ok && !claims.IsName(kid) {
		return fmt.Errorf("%w: the key ID (kid) is not a string of 1 to %d bytes without control characters", ErrInvalidSession, claims.MaxName)
	}
	return nil
}

func jwtIsType(typ any) bool {
	s, _ := typ.(string)
	return strings.EqualFold(s, "JWT") || strings.EqualFold(s, "at+jwt") || strings.EqualFold(s, "application/at+jwt")
}

// checkSignature verifies the signature with the key that keys have for the header. The header must have been checked.
func (t *jwtToken) checkSignature(ctx context.Context, keys keySource, fetch bool) error {
	candidates, err := keys.candidates(ctx, t.header, fetch)
	if err != nil {
		return err
	}
	alg, _ := t.header["alg"].(string)
	for _, key := range candidates {
		if jwtAlgorithms[alg].Verify(t.signed, t.signature, key) == nil {
			return nil
		}
	}
	return fmt.Errorf("%w: the signature does not hold", ErrInvalidSession)
}

// verifyCompact verifies a signed JWT by keys, with one of algorithms, and returns the ID of its key and its claims (numbers are
// json.Number). It checks none of the claims, nor how they are spelled: it is for tokens that this side's core wrote. Its errors
// are of the classes ErrNotMine (no JWT), ErrInvalidSession and ErrUnavailable.
func verifyCompact(ctx context.Context, token string, algorithms []string, keys keySource) (kid string, claims map[string]any, err error) {
	t, err := jwtParse(token, nil)
	if err == nil {
		err = t.checkHeader(algorithms)
	}
	if err == nil {
		err = t.checkSignature(ctx, keys, true)
	}
	if err != nil {
		return "", nil, err
	}
	kid, _ = t.header["kid"].(string)
	return kid, t.claims, nil
}

// jwtRules is a JWTConfig that was checked and is nobody else's.
type jwtRules struct {
	JWTConfig
	names     map[string]string // see claims.FoldedNames
	symmetric bool              // the algorithms are HMAC
}

// check holds header and claims against the rules and returns the session they tell of. It needs no key, so that junk
// costs none. over means that the session's time is over: who could be sure of the signature may say so.
func (c *jwtRules) check(t *jwtToken) (s *OldSession, over bool, err error) {
	if iss, _ := t.claims["iss"].(string); iss != c.Issuer {
		return nil, false, fmt.Errorf("%w: the token's issuer (iss) is not %q", ErrNotMine, c.Issuer)
	}
	if err := t.checkHeader(c.Algorithms); err != nil {
		return nil, false, err
	}
	if _, ok := t.claims["cnf"]; ok {
		return nil, false, fmt.Errorf("%w: the token is bound to its sender's key (cnf, RFC 7800: DPoP or mTLS), whose proof is not checked here; "+
			"let the provider issue bearer tokens", ErrInvalidSession)
	}
	if !c.SkipAudienceCheck && !c.isFor(t.claims["aud"]) {
		return nil, false, fmt.Errorf("%w: the token's audience (aud) is none of %q", ErrInvalidSession, c.Audience)
	}
	s = &OldSession{Issuer: c.Issuer, Claims: t.claims}
	if over, err = c.times(s); err != nil {
		return nil, false, err
	}
	id, err := claims.Identities{Subject: c.UserIDClaim, Sessions: c.SessionIDClaims, Tenant: c.TenantClaim, Tenants: c.Tenants}.Of(t.claims)
	if err != nil {
		return nil, false, fmt.Errorf("%w: the token: %v", ErrInvalidSession, err)
	}
	s.Subject, s.SessionID, s.TokenID, s.TenantID = id.Subject, id.SessionID, id.TokenID, id.TenantID
	return s, over, nil
}

// isFor tells whether aud, a string or an array of strings (RFC 7519 §4.1.3), has one of the configured values.
func (c *jwtRules) isFor(aud any) bool {
	switch aud := aud.(type) {
	case string:
		return slices.Contains(c.Audience, aud)
	case []any:
		found := false
		for _, a := range aud {
			a, ok := a.(string)
			if !ok {
				return false
			}
			found = found || slices.Contains(c.Audience, a)
		}
		return found
	}
	return false
}

// times checks exp, nbf and iat and takes them over.
func (c *jwtRules) times(s *OldSession) (over bool, err error) {
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
			return false, fmt.Errorf("%w: %s is no number of seconds between the years 1970 and 9999", ErrInvalidSession, claim.name)
		}
	}
	s.AuthTime, _ = claims.Time(s.Claims["auth_time"])

	now := c.Now()
	switch horizon := now.Add(c.Leeway); {
	case s.ExpiresAt.IsZero():
		return false, fmt.Errorf("%w: the token has no end (exp)", ErrInvalidSession)
	case notBefore.After(horizon):
		return false, fmt.Errorf("%w: the token is good from %v only (nbf)", ErrInvalidSession, notBefore.UTC())
	case s.IssuedAt.After(horizon):
		return false, fmt.Errorf("%w: the token was issued in the future (iat %v)", ErrInvalidSession, s.IssuedAt.UTC())
	}
	end := s.ExpiresAt
	if a := c.InsecureAcceptExpired; a != nil && a.wasLive(s) && a.Until.After(end) {
		end = a.Until
	}
	s.acceptedUntil = end.Add(c.Leeway)
	return !now.Before(s.acceptedUntil), nil
}
