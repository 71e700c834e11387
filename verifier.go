package stmigrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/claims"
)

// OldSessionVerifier answers to whom a legacy token belongs.
//
// Verify has no side effects at the provider and consumes nothing. Its errors are of the classes [ErrNotMine] (another
// verifier may know the token), [ErrInvalidSession], [ErrExpiredSession], [ErrUnavailable] (the token may be good, and what
// would tell is out of reach). It must be safe for concurrent use, end by ctx, and put no part of the token into an error.
type OldSessionVerifier interface {
	Verify(ctx context.Context, token string) (*OldSession, error)
}

// VerifierFunc is an [OldSessionVerifier] in one function.
type VerifierFunc func(ctx context.Context, token string) (*OldSession, error)

// Verify calls f.
func (f VerifierFunc) Verify(ctx context.Context, token string) (*OldSession, error) {
	return f(ctx, token)
}

// OldSession is a legacy session that was verified.
type OldSession struct {
	// Issuer and Subject say whose session it is. Neither is ever empty.
	Issuer, Subject string
	// TenantID is the SuperTokens tenant the session belongs to; "" is public.
	TenantID string
	// SessionID names the session at the provider (sid, session_id, origin_jti, a row's ID): what is exchanged and
	// revoked. Tokens that share it are one session, and are exchanged once. "" where the provider has none.
	SessionID string
	// TokenID names this one token (jti). "" where the provider has none.
	TokenID string
	// IssuedAt, AuthTime and ExpiresAt are zero where the session does not tell.
	IssuedAt, AuthTime, ExpiresAt time.Time
	// Claims holds all that the provider said. Numbers are json.Number.
	Claims map[string]any

	// acceptedUntil is when the verifier will refuse the session for certain, leeway and grace counted. Zero: ExpiresAt.
	acceptedUntil time.Time
}

// FirstOf tries verifiers in order. Only [ErrNotMine] moves it on to the next one: a token that one of them knows and
// refuses is refused. With no verifier, or where none knows the token, the error is ErrNotMine.
func FirstOf(verifiers ...OldSessionVerifier) OldSessionVerifier {
	return firstOf(append([]OldSessionVerifier(nil), verifiers...))
}

type firstOf []OldSessionVerifier

func (f firstOf) Verify(ctx context.Context, token string) (*OldSession, error) {
	errs := make([]error, 0, len(f))
	for _, v := range f {
		s, err := v.Verify(ctx, token)
		if err == nil || !errors.Is(err, ErrNotMine) {
			return s, err
		}
		errs = append(errs, err)
	}
	return nil, noneOf(errs)
}

func noneOf(errs []error) error {
	return fmt.Errorf("%w: none of %d verifiers knows it: %w", ErrNotMine, len(errs), errors.Join(errs...))
}

// JWTConfig says which JWTs are legacy sessions. Issuer and Audience are required.
//
// A token is at most 16 KiB: a compact JWS whose type (typ) is JWT, at+jwt or not given, without extensions (crit, b64), not bound to a
// key of its sender (cnf), and with one reading only: canonical base64url, Unicode, no name twice. Its exp must be a number;
// nbf and iat, if there, numbers that are not in the future. What names a user, session or token is a string of 1 to 512 bytes,
// without control characters and not blank.
//
// Not checked: whether the provider revoked the session since, and whatever claims mean besides. An ID token of the same issuer
// and audience passes: where the provider gives out both, Checks tell them apart.
type JWTConfig struct {
	// Issuer is the iss of the tokens, to the letter: https://example.eu.auth0.com/ ends with a slash. Required. Tokens of
	// others are [ErrNotMine].
	Issuer string
	// Audience lists the values of aud of which a token must have one: what the provider calls this API. Required unless
	// SkipAudienceCheck.
	Audience []string
	// SkipAudienceCheck accepts tokens that the issuer made for any other application, too. It MUST NOT be set unless a Check
	// ties tokens to this application, for providers without aud in access tokens (Cognito: client_id; Clerk: azp).
	SkipAudienceCheck bool
	// Algorithms are those of which the token may use one (RFC 7518 §3.1, RFC 8037): RS, PS and ES with 256, 384 or 512, EdDSA;
	// or HS with the same numbers, but not both kinds. The token's header never chooses. Default: RS256.
	Algorithms []string
	// UserIDClaim is the claim that names the user. Default: "sub".
	UserIDClaim string
	// SessionIDClaims name the session; the first that a token has counts. Default: "sid".
	SessionIDClaims []string
	// TenantClaim is the claim that tells the tenant; it needs Tenants. Default: none, all users are of the public tenant.
	TenantClaim string
	// Tenants maps values of TenantClaim to SuperTokens tenants ("public" is one). A token with another value, or none, is refused.
	Tenants map[string]string
	// Leeway is how far the provider's clock may be off, for exp, nbf and iat alike; 10 minutes at the most. Default 30 s; a
	// nanosecond is as good as none.
	Leeway time.Duration
	// Checks are rules of the provider (token_use, azp, typ). All must pass; an error that has no class is an
	// [ErrInvalidSession]. They see sessions whose signature holds, and may complete them: Subject, SessionID, TokenID.
	Checks []func(*OldSession) error
	// InsecureAcceptExpired accepts tokens after their end: see [AcceptExpired]. Default: none.
	InsecureAcceptExpired *AcceptExpired
	// Now replaces time.Now, in tests.
	Now func() time.Time
}

// AcceptExpired is for a provider that was switched off: nobody can refresh a token there any more, so without it users who were
// logged in then, and come back after their token's end, are logged out. With it a token that was live at the time of the
// switch-off (iat before, exp after) is good until Until. It MUST NOT be used while the provider runs, and Until should be as early
// as it can: for so long a stolen token is good, and sessions that were revoked before live again.
type AcceptExpired struct {
	// SwitchedOffAt is when the provider issued its last token. Required.
	SwitchedOffAt time.Time
	// Until is the end of the exception. Required; after SwitchedOffAt.
	Until time.Time
}

// wasLive asks for an iat: a token without one could be from any time.
func (a *AcceptExpired) wasLive(s *OldSession) bool {
	return !s.IssuedAt.IsZero() && !s.IssuedAt.After(a.SwitchedOffAt) && s.ExpiresAt.After(a.SwitchedOffAt)
}

const (
	defaultLeeway = 30 * time.Second
	maxLeeway     = 10 * time.Minute
)

// newJWTRules checks cfg and copies it, with defaults filled in.
func newJWTRules(cfg JWTConfig) (*jwtRules, error) {
	for _, check := range []func(*JWTConfig) error{
		(*JWTConfig).checkParties, (*JWTConfig).checkAlgorithms, (*JWTConfig).checkTenants, (*JWTConfig).checkTimes,
	} {
		if err := check(&cfg); err != nil {
			return nil, err
		}
	}
	if i := slices.IndexFunc(cfg.Checks, func(c func(*OldSession) error) bool { return c == nil }); i >= 0 {
		return nil, fmt.Errorf("JWTConfig.Checks[%d] is nil", i)
	}
	if cfg.UserIDClaim == "" {
		cfg.UserIDClaim = "sub"
	}
	if len(cfg.SessionIDClaims) == 0 {
		cfg.SessionIDClaims = []string{"sid"}
	}
	if slices.Contains(cfg.SessionIDClaims, "") {
		return nil, errors.New("JWTConfig.SessionIDClaims has an empty name")
	}
	names, err := claims.FoldedNames(slices.Concat(jwtNames, []string{cfg.UserIDClaim}, cfg.SessionIDClaims,
		slices.DeleteFunc([]string{cfg.TenantClaim}, func(s string) bool { return s == "" })))
	if err != nil {
		return nil, fmt.Errorf("JWTConfig: %w", err)
	}
	cfg.Audience, cfg.Algorithms, cfg.Checks = slices.Clone(cfg.Audience), slices.Clone(cfg.Algorithms), slices.Clone(cfg.Checks)
	cfg.SessionIDClaims, cfg.Tenants = slices.Clone(cfg.SessionIDClaims), maps.Clone(cfg.Tenants)
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &jwtRules{JWTConfig: cfg, names: names, symmetric: cfg.Algorithms[0][:2] == "HS"}, nil
}

func (c *JWTConfig) checkParties() error {
	switch {
	case c.Issuer == "" || strings.TrimSpace(c.Issuer) != c.Issuer:
		return fmt.Errorf("JWTConfig.Issuer is required, without space around it: got %q", c.Issuer)
	case c.SkipAudienceCheck && len(c.Audience) > 0:
		return errors.New("JWTConfig.Audience and SkipAudienceCheck contradict each other")
	case !c.SkipAudienceCheck && len(c.Audience) == 0:
		return errors.New("JWTConfig.Audience is required: what the provider calls this API in aud")
	}
	for i, aud := range c.Audience {
		if strings.TrimSpace(aud) == "" {
			return fmt.Errorf("JWTConfig.Audience[%d] is blank", i)
		}
	}
	return nil
}

func (c *JWTConfig) checkAlgorithms() error {
	switch {
	case c.Algorithms == nil:
		c.Algorithms = []string{"RS256"}
	case len(c.Algorithms) == 0:
		return errors.New("JWTConfig.Algorithms is empty: no token would ever be good; leave it nil for RS256")
	}
	hmac := 0
	for i, alg := range c.Algorithms {
		if _, ok := jwtAlgorithms[alg]; !ok {
			return fmt.Errorf("JWTConfig.Algorithms[%d] is %q: RS, PS, ES or HS with 256, 384 or 512, or EdDSA wanted", i, alg)
		}
		if alg[:2] == "HS" {
			hmac++
		}
	}
	if hmac != 0 && hmac != len(c.Algorithms) {
		return fmt.Errorf("JWTConfig.Algorithms mixes HMAC with public keys: %v: a public key could pass for a secret", c.Algorithms)
	}
	return nil
}

func (c *JWTConfig) checkTenants() error {
	switch {
	case c.TenantClaim != "" && len(c.Tenants) == 0:
		return errors.New("JWTConfig.TenantClaim needs Tenants: which SuperTokens tenant is which")
	case c.TenantClaim == "" && len(c.Tenants) > 0:
		return errors.New("JWTConfig.Tenants needs TenantClaim: where a token tells its tenant")
	}
	for legacy, tenant := range c.Tenants {
		if err := core.ValidTenantID(tenant); err != nil || tenant == "" {
			return fmt.Errorf("JWTConfig.Tenants[%q] is %q: a SuperTokens tenant wanted, of a-z, 0-9 and -, or \"public\"", legacy, tenant)
		}
	}
	return nil
}

func (c *JWTConfig) checkTimes() error {
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		return fmt.Errorf("JWTConfig.Leeway is %v: from 0 (%v) to %v wanted", c.Leeway, defaultLeeway, maxLeeway)
	}
	if c.Leeway == 0 {
		c.Leeway = defaultLeeway
	}
	if c.InsecureAcceptExpired == nil {
		return nil
	}
	a := *c.InsecureAcceptExpired
	if a.SwitchedOffAt.IsZero() || !a.Until.After(a.SwitchedOffAt) {
		return errors.New("JWTConfig.InsecureAcceptExpired needs SwitchedOffAt, and an Until that is after it")
	}
	c.InsecureAcceptExpired = &a
	return nil
}

// JWTVerifier verifies signed JWTs by the provider's public keys or a shared secret, without asking the provider about the
// token. Safe for concurrent use.
type JWTVerifier struct {
	rules *jwtRules
	keys  keySource
	warm  func(ctx context.Context) error // nil: nothing to fetch
}

// NewStaticKeyVerifier verifies JWTs by keys at hand, of [ParseKeys] or [HMACKey]: the provider can be switched off. Keys that fit
// none of cfg.Algorithms are left aside, but one at least must fit.
//
// A token's kid names its key, where keys have IDs; a token without kid is accepted only if exactly one key fits its algorithm.
// Keys without ID are all tried that fit, at most 8, whatever the kid: so two secrets can overlap. Either all keys have an ID or
// none has: set Key.ID to tell. Public keys and secrets do not go together.
func NewStaticKeyVerifier(keys []Key, cfg JWTConfig) (*JWTVerifier, error) {
	rules, err := newJWTRules(cfg)
	if err != nil {
		return nil, fmt.Errorf("stmigrate: %w", err)
	}
	fit, err := rules.fitting(keys)
	if err != nil {
		return nil, fmt.Errorf("stmigrate: NewStaticKeyVerifier: %w", err)
	}
	set, err := newKeySet(fit, rules.Now)
	if err != nil {
		return nil, fmt.Errorf("stmigrate: NewStaticKeyVerifier: %w", err)
	}
	return &JWTVerifier{rules: rules, keys: set}, nil
}

const maxNamelessKeys = 8

// fitting returns those of keys that fit the algorithms.
func (c *jwtRules) fitting(keys []Key) (fit []Key, err error) {
	ids := make(map[string]int)
	for i, k := range keys {
		if k.material == nil {
			return nil, fmt.Errorf("keys[%d] is empty: ParseKeys or HMACKey make keys", i)
		}
		if secret, ok := k.material.key.([]byte); ok != c.symmetric {
			return nil, fmt.Errorf("keys[%d] is %v and JWTConfig.Algorithms are %v: HMAC needs secrets, all else public keys", i, k, c.Algorithms)
		} else if ok && !slices.ContainsFunc(c.Algorithms, k.fits) {
			return nil, fmt.Errorf("keys[%d] is a secret of %d bytes: %v take 32, 48 or 64 at least (RFC 7518 §3.2)", i, len(secret), c.Algorithms)
		}
		if !slices.ContainsFunc(c.Algorithms, k.fits) {
			continue
		}
		if ids[k.ID]++; k.ID != "" && ids[k.ID] > 1 {
			return nil, fmt.Errorf("keys[%d]: another key has the ID %q", i, k.ID)
		}
		fit = append(fit, k)
	}
	switch {
	case len(fit) == 0:
		return nil, fmt.Errorf("none of %d keys fits JWTConfig.Algorithms %v", len(keys), c.Algorithms)
	case ids[""] > 0 && ids[""] < len(fit):
		return nil, fmt.Errorf("%d of %d keys have no ID: set Key.ID to the kid of their tokens", ids[""], len(fit))
	case ids[""] > maxNamelessKeys:
		return nil, fmt.Errorf("%d keys without ID, at most %d wanted: set Key.ID to the kid of their tokens", ids[""], maxNamelessKeys)
	}
	return fit, nil
}

// Verify implements [OldSessionVerifier]. Claims are checked before a key is looked for, and before the signature.
//
// Errors: [ErrNotMine] for tokens of another issuer, opaque and encrypted ones; [ErrInvalidSession]; [ErrExpiredSession] if the
// signature holds by the keys at hand (no key is fetched for such a token); [ErrUnavailable] if there are no keys.
func (v *JWTVerifier) Verify(ctx context.Context, token string) (*OldSession, error) {
	t, err := jwtParse(token, v.rules.names)
	if err != nil {
		return nil, err
	}
	s, over, err := v.rules.check(t)
	if err != nil {
		return nil, err
	}
	err = t.checkSignature(ctx, v.keys, !over)
	switch {
	case over && err == nil:
		return nil, fmt.Errorf("%w: at %v", ErrExpiredSession, s.ExpiresAt.UTC())
	case over:
		return nil, fmt.Errorf("%w: past its end (exp), and not known to be genuine: %v", ErrInvalidSession, err)
	case err != nil:
		return nil, err
	}
	if err := v.rules.runChecks(s); err != nil {
		return nil, err
	}
	return s, nil
}

// Warm fetches the keys unless they are there: for a readiness probe. The process serves without it as well.
// Its error is [ErrUnavailable].
func (v *JWTVerifier) Warm(ctx context.Context) error {
	if v.warm == nil {
		return nil
	}
	return v.warm(ctx)
}

// Format names the verifier by its issuer, whatever the verb: fmt would print the secrets in it for some.
func (v *JWTVerifier) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "JWTVerifier(%s)", v.rules.Issuer)
}

func (v *JWTVerifier) issuer() string { return v.rules.Issuer }

func (v *JWTVerifier) onlyJWTs() {}

// runChecks runs the configured Checks.
func (c *jwtRules) runChecks(s *OldSession) error {
	for _, check := range c.Checks {
		if err := check(s); err != nil {
			return invalidUnlessClassed(err)
		}
	}
	return nil
}

// invalidUnlessClassed returns err as ErrInvalidSession unless it has one of a verifier's classes.
func invalidUnlessClassed(err error) error {
	for _, class := range []error{ErrInvalidSession, ErrExpiredSession, ErrNotMine, ErrUnavailable} {
		if errors.Is(err, class) {
			return err
		}
	}
	return fmt.Errorf("%w: %w", ErrInvalidSession, err)
}
