package revoke

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/stmigrate/stmigrate"
)

// api is a provider's own API: all that the revokers of providers have in common.
type api struct {
	base   string
	client *client
	limit  stmigrate.RevocationBudget

	// token authorizes the calls, after scheme. nil: they carry a credential of their own.
	token  TokenSource
	scheme string
	// calls are made one after the other, and all must succeed.
	calls callsFunc
	// done are the statuses that the provider documents for success. Others are none: a page that is there for everybody has 200.
	done []int
	// over tells whether an answer is the one that the provider documents for a session that has ended. A 404 alone is not: a
	// wrong address has one, too.
	over func(status int, fields map[string]any) bool
	// code names the error in an answer.
	code func(fields map[string]any) string
	// passing are names of errors that may pass by themselves, whatever their status.
	passing []string
}

type callsFunc func(ctx context.Context, token string, s *stmigrate.OldSession) ([]request, error)

// newAPI checks what all configurations have in common. config is the name of the type.
func newAPI(config, base string, token TokenSource, h HTTP) (*api, error) {
	if err := h.endpoint(base, true); err != nil {
		return nil, fmt.Errorf("revoke: %s.BaseURL: %w", config, err)
	}
	c, err := h.client()
	if err != nil {
		return nil, fmt.Errorf("revoke: %s.%w", config, err)
	}
	return &api{base: strings.TrimRight(base, "/"), client: c, token: token, scheme: "Bearer"}, nil
}

// newTokenAPI is newAPI for providers whose API wants a credential of the backend's.
func newTokenAPI(config, base string, token TokenSource, h HTTP) (*api, error) {
	if token == nil {
		return nil, fmt.Errorf("revoke: %s.Token is required (StaticToken or ClientCredentials.Token, say)", config)
	}
	return newAPI(config, base, token, h)
}

// Revoke implements [stmigrate.Revoker]. Its errors are [stmigrate.RevokeError].
func (a *api) Revoke(ctx context.Context, token string, s *stmigrate.OldSession) error {
	if s == nil {
		return permanent("there is no legacy session to revoke")
	}
	calls, err := a.calls(ctx, token, s)
	if err != nil {
		return err
	}
	for _, r := range calls {
		if err := a.call(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

// Budget is the limit that the provider publishes for these calls: for the worker that revokes. What else calls the provider
// counts against the same limit, so take less where that matters. Zero where the provider publishes none.
func (a *api) Budget() stmigrate.RevocationBudget { return a.limit }

func (a *api) call(ctx context.Context, r request) error {
	if a.token != nil {
		credential, err := a.token.bearerToken(ctx)
		if err != nil {
			return err
		}
		r.header.Set("Authorization", a.scheme+" "+credential)
	}
	answer, err := a.client.do(ctx, r)
	if err != nil {
		return err
	}
	if slices.Contains(a.done, answer.status) {
		return nil
	}
	fields := answer.object()
	if a.over != nil && a.over(answer.status, fields) {
		return nil
	}
	name := a.code(fields)
	e := answer.refused(name)
	// The next credential may be a good one. That of the user never is again.
	if answer.status == http.StatusUnauthorized && a.token != nil || slices.Contains(a.passing, name) {
		e.Permanent = false
	}
	return e
}

func member(name string) func(map[string]any) string {
	return func(fields map[string]any) string { return code(fields, name) }
}

// to makes a request without a body.
func (a *api) to(method, path string) request {
	return request{method: method, url: a.base + path, header: http.Header{}}
}

func (a *api) postJSON(path string, body map[string]string) request {
	r := a.to(http.MethodPost, path)
	r.header.Set("Content-Type", "application/json")
	r.body, _ = json.Marshal(body) // strings: cannot fail
	return r
}

// AllSessionsOfUser ends every session of a user, on all devices, not only the one that was exchanged. It is what the
// constructors named …RevokeAllSessionsOfUser return, and nothing else does. Safe for concurrent use.
type AllSessionsOfUser struct {
	revoker stmigrate.Revoker
	limit   stmigrate.RevocationBudget
}

// Revoke implements [stmigrate.Revoker]. Its errors are [stmigrate.RevokeError]. That the provider does not know the user is one,
// too: a wrong ID must not look like success.
func (a *AllSessionsOfUser) Revoke(ctx context.Context, token string, s *stmigrate.OldSession) error {
	return a.revoker.Revoke(ctx, token, s)
}

// Budget is the limit that the provider publishes for these calls, zero where it publishes none.
func (a *AllSessionsOfUser) Budget() stmigrate.RevocationBudget { return a.limit }

// segment checks that a provider's ID can be a segment of a path, and escapes it.
func segment(what, id string) (string, error) {
	control := func(r rune) bool { return r < ' ' || r == 0x7f }
	if id == "." || id == ".." || len(id) > 1024 || !utf8.ValidString(id) || strings.ContainsFunc(id, control) {
		return "", permanent("%s is no ID: it is a dot segment, longer than 1024 bytes, or has control characters", what)
	}
	return url.PathEscape(id), nil
}

// sessionID returns the checked session ID. claim says where the provider has it.
func sessionID(s *stmigrate.OldSession, claim string) (string, error) {
	if s.SessionID == "" {
		return "", permanent("the legacy session has no SessionID: name its claim in JWTConfig.SessionIDClaims (%s)", claim)
	}
	if _, err := segment("SessionID", s.SessionID); err != nil {
		return "", err
	}
	return s.SessionID, nil
}

// userID returns the checked subject.
func userID(s *stmigrate.OldSession) (string, error) {
	if s.Subject == "" {
		return "", permanent("the legacy session has no Subject")
	}
	if _, err := segment("Subject", s.Subject); err != nil {
		return "", err
	}
	return s.Subject, nil
}

// one is the calls of a revoker that makes a single call for an ID.
func one(id func(*stmigrate.OldSession) (string, error), call func(id string) request) callsFunc {
	return func(_ context.Context, _ string, s *stmigrate.OldSession) ([]request, error) {
		v, err := id(s)
		if err != nil {
			return nil, err
		}
		return []request{call(v)}, nil
	}
}

func sidIn(claim string) func(*stmigrate.OldSession) (string, error) {
	return func(s *stmigrate.OldSession) (string, error) { return sessionID(s, claim) }
}

// required names the first empty field of a configuration.
func required(config string, fields ...[2]string) error {
	for _, f := range fields {
		if f[1] == "" {
			return errors.New("revoke: " + config + "." + f[0] + " is required")
		}
	}
	return nil
}
