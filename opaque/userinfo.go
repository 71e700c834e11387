package opaque

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/ask"
)

// UserInfoConfig configures [UserInfo]. Required are Endpoint, CheckAudience or InsecureSkipAudience, and Rules.Issuer.
type UserInfoConfig struct {
	// Endpoint is the provider's userinfo endpoint: https, or http to localhost.
	Endpoint string
	// CheckAudience proves that the token was made for this application: it returns nil only then, and may fill in what it learns of
	// the session (ExpiresAt). An error that has no class is an [stmigrate.ErrInvalidSession]. [AudienceFrom] asks another verifier.
	// Without it anybody who runs any application at the same provider can log in here as each of its users: a userinfo endpoint
	// answers 200 to every client's token, and does not say whose it is.
	CheckAudience stmigrate.ConfirmFunc
	// InsecureSkipAudience accepts tokens that were made for other applications. It MUST NOT be set unless the provider has no
	// other application, and nobody else can register one.
	InsecureSkipAudience bool
	Rules                Rules
	HTTP                 HTTP
}

// UserInfo asks a provider's userinfo endpoint who the bearer of a token is (OpenID Connect Core §5.3). Safe for concurrent use.
//
// A token is good if the answer is 200 and a JSON object with a sub, and CheckAudience says so. 401 and 403 are
// [stmigrate.ErrInvalidSession], other statuses and signed or encrypted answers (application/jwt) are [stmigrate.ErrUnavailable]. An
// answer does not tell when the session ends, so Config.Until of the Migrator is required unless CheckAudience tells; nor which
// session it is, so each token is one unless Rules.SessionIDClaims find something.
//
// It is the weaker way: where there is an introspection endpoint, ask that. Some providers limit calls by user (Auth0: 5 a minute).
type UserInfo struct {
	*verifier
	cfg UserInfoConfig
}

// NewUserInfo checks cfg and copies it. The error names the field that is missing or wrong. Nothing is asked before the first token.
func NewUserInfo(cfg UserInfoConfig) (*UserInfo, error) {
	if err := ask.Endpoint(cfg.Endpoint, false, false); err != nil {
		return nil, fmt.Errorf("opaque: UserInfoConfig.Endpoint: %w", err)
	}
	if (cfg.CheckAudience == nil) != cfg.InsecureSkipAudience {
		return nil, errors.New("opaque: UserInfoConfig.CheckAudience is required, or InsecureSkipAudience, and not both: " +
			"a userinfo endpoint answers to tokens of every application")
	}
	v, err := newVerifier(cfg.Rules, cfg.HTTP)
	if err != nil {
		return nil, fmt.Errorf("opaque: UserInfoConfig.%w", err)
	}
	u := &UserInfo{v, cfg}
	v.ask = u.ask
	return u, nil
}

func (u *UserInfo) ask(ctx context.Context, token string) (*stmigrate.OldSession, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, u.cfg.Endpoint, nil)
	if err != nil {
		return nil, unavailable("userinfo: the endpoint is no URL")
	}
	r.Header.Set("Authorization", "Bearer "+token)
	a, err := u.caller.Do(ctx, r)
	if err != nil {
		return nil, unavailable("userinfo: %w", err)
	}
	switch a.Status {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, u.refused("the provider's userinfo endpoint refused the token with status %d", a.Status)
	default:
		return nil, odd("userinfo", a)
	}
	s, err := u.read(a.Body)
	if err != nil {
		return nil, err
	}
	if u.cfg.CheckAudience != nil {
		if err := u.cfg.CheckAudience(ctx, token, s); err != nil {
			return nil, classed(err)
		}
	}
	return s, u.check(s)
}

// read makes a session of the body of an answer.
func (u *UserInfo) read(body []byte) (*stmigrate.OldSession, error) {
	answer, err := u.object("userinfo", body)
	if err != nil {
		return nil, err
	}
	return u.session(answer)
}

// AudienceFrom is a [UserInfoConfig.CheckAudience] that has another verifier look at the token, [TokenInfo] say, and wants the same
// user. The session takes over when the other says that it ends.
func AudienceFrom(v stmigrate.OldSessionVerifier) stmigrate.ConfirmFunc {
	return func(ctx context.Context, token string, s *stmigrate.OldSession) error {
		other, err := v.Verify(ctx, token)
		switch {
		case errors.Is(err, stmigrate.ErrNotMine):
			return invalid("nobody can tell for whom the token was made: %v", err)
		case err != nil:
			return err
		case other.Subject != s.Subject:
			return invalid("the audience was proved for a token of another user")
		}
		if s.ExpiresAt.IsZero() {
			s.ExpiresAt = other.ExpiresAt
		}
		return nil
	}
}

// TokenInfoConfig configures [TokenInfo]. ClientIDs is required.
type TokenInfoConfig struct {
	// ClientIDs are the applications whose users are migrated: the client IDs of this project, for the web, Android and iOS.
	ClientIDs []string
	// Endpoint replaces Google's, in tests. Default: https://oauth2.googleapis.com/tokeninfo.
	Endpoint string
	// Rules has "https://accounts.google.com" as default Issuer, and takes tokens that begin with "ya29." by default.
	Rules Rules
	HTTP  HTTP
}

// TokenInfo asks Google about its opaque access tokens, as its documentation has it: GET with the token in the query
// (https://developers.google.com/identity/protocols/oauth2). The answer's aud must be one of ClientIDs; it has sub only if the token
// has the scope openid. Google does not promise it for production; the token of a session lives an hour. Not verified against Google.
// Safe for concurrent use.
type TokenInfo struct {
	*verifier
	cfg TokenInfoConfig
}

// NewTokenInfo checks cfg and copies it. The error names the field that is missing or wrong. Nothing is asked before the first token.
func NewTokenInfo(cfg TokenInfoConfig) (*TokenInfo, error) {
	if cfg.Endpoint == "" {
		cfg.Endpoint = "https://oauth2.googleapis.com/tokeninfo"
	}
	if err := ask.Endpoint(cfg.Endpoint, false, true); err != nil {
		return nil, fmt.Errorf("opaque: TokenInfoConfig.Endpoint: %w", err)
	}
	if len(cfg.ClientIDs) == 0 || slices.Contains(cfg.ClientIDs, "") {
		return nil, errors.New("opaque: TokenInfoConfig.ClientIDs is required, without an empty one")
	}
	if cfg.Rules.Issuer == "" {
		cfg.Rules.Issuer = "https://accounts.google.com"
	}
	if cfg.Rules.Takes == nil {
		cfg.Rules.Takes = HasPrefix("ya29.")
	}
	v, err := newVerifier(cfg.Rules, cfg.HTTP)
	if err != nil {
		return nil, fmt.Errorf("opaque: TokenInfoConfig.%w", err)
	}
	cfg.ClientIDs = slices.Clone(cfg.ClientIDs)
	t := &TokenInfo{v, cfg}
	v.ask = t.ask
	return t, nil
}

func (t *TokenInfo) ask(ctx context.Context, token string) (*stmigrate.OldSession, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, t.cfg.Endpoint+"?access_token="+url.QueryEscape(token), nil)
	if err != nil {
		return nil, unavailable("tokeninfo: the endpoint is no URL")
	}
	a, err := t.caller.Do(ctx, r)
	if err != nil {
		return nil, unavailable("tokeninfo: %w", err)
	}
	switch a.Status {
	case http.StatusOK:
		return t.read(a.Body)
	case http.StatusBadRequest, http.StatusUnauthorized:
		if answer, err := t.object("tokeninfo", a.Body); err == nil && answer["error"] != nil {
			return nil, t.refused("Google's tokeninfo endpoint refused the token with status %d", a.Status)
		}
	}
	return nil, odd("tokeninfo", a)
}

// read makes a session of the body of an answer, in which numbers are strings.
func (t *TokenInfo) read(body []byte) (*stmigrate.OldSession, error) {
	answer, err := t.object("tokeninfo", body)
	if err != nil {
		return nil, err
	}
	number(answer, "exp")
	if aud, _ := answer["aud"].(string); !slices.Contains(t.cfg.ClientIDs, aud) {
		return nil, invalid("the token's audience (aud) is none of %q", t.cfg.ClientIDs)
	}
	s, err := t.session(answer)
	if err != nil {
		return nil, err
	}
	if s.ExpiresAt.IsZero() {
		return nil, unavailable("tokeninfo: the answer does not say when the token ends (exp)")
	}
	return s, t.check(s)
}
