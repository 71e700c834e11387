package stmigrate

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/stmigrate/stmigrate/internal/ask"
	"github.com/stmigrate/stmigrate/internal/claims"
)

// ConfirmFunc vouches for a token whose signature was not verified. It returns nil only if whoever issued the token says that
// it is good; an error that has no class is an [ErrInvalidSession]. s is what the token claims to be.
type ConfirmFunc func(ctx context.Context, token string, s *OldSession) error

// DecodeVerifier reads JWTs without verifying their signature. Safe for concurrent use.
type DecodeVerifier struct {
	rules   *jwtRules
	confirm ConfirmFunc
}

// NewInsecureDecodeVerifier is for providers whose keys cannot be had. All of cfg is checked, the algorithm's name included, and then
// the signature is not: what the token says is worth as much as confirm. It MUST NOT be used where the provider publishes its
// keys. confirm is required: [ConfirmWithUserInfo] asks the provider, [InsecureTrustToken] nobody.
func NewInsecureDecodeVerifier(cfg JWTConfig, confirm ConfirmFunc) (*DecodeVerifier, error) {
	if confirm == nil {
		return nil, errors.New("stmigrate: NewInsecureDecodeVerifier: confirm is required: " +
			"who vouches for a token that nobody verified? (ConfirmWithUserInfo)")
	}
	rules, err := newJWTRules(cfg)
	if err != nil {
		return nil, fmt.Errorf("stmigrate: %w", err)
	}
	return &DecodeVerifier{rules, confirm}, nil
}

// Verify implements [OldSessionVerifier]. A token past its end is an [ErrInvalidSession] here: nobody knows whether it was genuine.
func (v *DecodeVerifier) Verify(ctx context.Context, token string) (*OldSession, error) {
	t, err := jwtParse(token, v.rules.names)
	if err != nil {
		return nil, err
	}
	s, over, err := v.rules.check(t)
	if err == nil && over {
		err = fmt.Errorf("%w: past its end (exp)", ErrInvalidSession)
	}
	if err == nil {
		err = v.rules.runChecks(s)
	}
	if err != nil {
		return nil, err
	}
	if err := v.confirm(ctx, token, s); err != nil {
		return nil, invalidUnlessClassed(err)
	}
	return s, nil
}

func (v *DecodeVerifier) issuer() string { return v.rules.Issuer }

// InsecureTrustToken vouches for every token, so that anybody can be anybody. It MUST NOT be used unless what calls the verifier
// has verified the token before: a gateway, say, that no request can go round.
func InsecureTrustToken(context.Context, string, *OldSession) error { return nil }

const (
	confirmTimeout  = 5 * time.Second
	confirmMaxBody  = 64 << 10
	confirmInFlight = 32
	confirmRate     = 50 // calls a second
	confirmRefused  = 4096
	confirmKeep     = time.Minute
)

// ConfirmWithUserInfo asks the provider's userinfo endpoint (OpenID Connect Core §5.3), with the token as the bearer: 200 and a
// JSON object whose sub is the session's Subject vouches for these very bytes, for this time. 401, 403 and another sub are
// [ErrInvalidSession]; everything else (limits, outages, redirects, answers that are no JSON) is [ErrUnavailable].
//
// The URL must be https, or http to localhost; else every answer is ErrUnavailable. A nil client has a copy of
// http.DefaultTransport, and connections of its own; one call takes 5 s and 64 KiB at the most. So that strangers cannot spend the
// provider's limits, one ConfirmFunc makes at most 50 calls a second and 32 at a time, and remembers refused tokens for a minute.
func ConfirmWithUserInfo(url string, client *http.Client) ConfirmFunc {
	limits := ask.Limits{Timeout: confirmTimeout, Body: confirmMaxBody, PerSecond: confirmRate, InFlight: confirmInFlight}
	c := &userInfo{url: url, caller: ask.New(client, limits, time.Now), refused: ask.NewMemory[struct{}](confirmRefused, time.Now)}
	return c.confirm
}

type userInfo struct {
	url     string
	caller  *ask.Caller
	refused *ask.Memory[struct{}]
}

func (c *userInfo) confirm(ctx context.Context, token string, s *OldSession) error {
	if err := ask.Endpoint(c.url, false, false); err != nil {
		return unavailable("ConfirmWithUserInfo: the URL: %w", err)
	}
	if _, ok := c.refused.Get(token); ok {
		return fmt.Errorf("%w: the provider's userinfo endpoint refused the token a moment ago", ErrInvalidSession)
	}
	err := c.ask(ctx, token, s.Subject)
	if errors.Is(err, ErrInvalidSession) {
		c.refused.Put(token, struct{}{}, confirmKeep)
	}
	return err
}

func (c *userInfo) ask(ctx context.Context, token, subject string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.url, nil)
	if err != nil {
		return unavailable("userinfo: the URL is none")
	}
	r.Header.Set("Authorization", "Bearer "+token)
	res, err := c.caller.Do(ctx, r)
	if err != nil {
		return unavailable("userinfo: %w", err)
	}
	switch res.Status {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("%w: the provider's userinfo endpoint refused the token with status %d", ErrInvalidSession, res.Status)
	default:
		return unavailable("userinfo: status %d, 200 or 401 wanted", res.Status)
	}
	answer, err := claims.Object(string(res.Body))
	if err != nil {
		return unavailable("userinfo: %w", err)
	}
	sub, _ := answer["sub"].(string)
	if sub == "" || subtle.ConstantTimeCompare([]byte(sub), []byte(subject)) != 1 {
		return fmt.Errorf("%w: the provider's userinfo endpoint names another user (sub) than the token", ErrInvalidSession)
	}
	return nil
}
