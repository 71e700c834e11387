package stmigratetest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/fdi"
)

// FakeVerifier is an [stmigrate.OldSessionVerifier] that knows the tokens it was told of. The zero value knows none. Safe
// for concurrent use.
type FakeVerifier struct {
	mu       sync.Mutex
	sessions map[string]stmigrate.OldSession
	err      error
	calls    int
}

// Add makes token good for s. A session without an Issuer gets "https://legacy.test/", one without ExpiresAt an hour.
func (v *FakeVerifier) Add(token string, s stmigrate.OldSession) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.sessions == nil {
		v.sessions = make(map[string]stmigrate.OldSession)
	}
	if s.Issuer == "" {
		s.Issuer = "https://legacy.test/"
	}
	if s.ExpiresAt.IsZero() {
		s.ExpiresAt = time.Now().Add(time.Hour)
	}
	v.sessions[token] = s
}

// Remove makes token worthless, as revoking it at a provider would.
func (v *FakeVerifier) Remove(token string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.sessions, token)
}

// Fail makes every Verify fail with err, until Fail(nil).
func (v *FakeVerifier) Fail(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.err = err
}

// Calls counts the calls of Verify.
func (v *FakeVerifier) Calls() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls
}

// Verify implements [stmigrate.OldSessionVerifier]. A token it was not told of is [stmigrate.ErrInvalidSession].
func (v *FakeVerifier) Verify(ctx context.Context, token string) (*stmigrate.OldSession, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls++
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", stmigrate.ErrUnavailable, err)
	}
	if v.err != nil {
		return nil, v.err
	}
	s, ok := v.sessions[token]
	if !ok {
		return nil, fmt.Errorf("%w: not a token of this fake", stmigrate.ErrInvalidSession)
	}
	s.Claims = maps.Clone(s.Claims)
	return &s, nil
}

// FakeSessions is an [stmigrate.SessionMinter] and [stmigrate.SessionFinder] without a core. Its tokens have the form of
// SuperTokens' and prove nothing. The zero value is ready. Safe for concurrent use; set the fields before.
type FakeSessions struct {
	// BeforeCreate, if set, is asked before a session exists; its error is CreateSession's, with
	// [stmigrate.ErrNotCreated] added.
	BeforeCreate func(ctx context.Context, u stmigrate.User) error
	// AfterCreate, if set, is asked when the session exists; its error is CreateSession's and the session stays, as when the
	// connection to a core breaks.
	AfterCreate func(ctx context.Context, u stmigrate.User) error
	// Now replaces time.Now.
	Now func() time.Time

	mu       sync.Mutex
	sessions map[string]*FakeSession
	order    []string
	created  int
}

// FakeSession is a session of [FakeSessions].
type FakeSession struct {
	Handle, UserID, TenantID string
	Payload, Data            map[string]any
	// Refreshed tells that its first refresh token was spent.
	Refreshed bool
}

// CreateSession implements [stmigrate.SessionMinter].
func (f *FakeSessions) CreateSession(ctx context.Context, r *http.Request, u stmigrate.User) (*stmigrate.Tokens, error) {
	if f.BeforeCreate != nil {
		if err := f.BeforeCreate(ctx, u); err != nil {
			return nil, fmt.Errorf("%w: %w", stmigrate.ErrNotCreated, err)
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w: %w", stmigrate.ErrNotCreated, stmigrate.ErrUnavailable, err)
	}
	s := &FakeSession{
		Handle: "handle-" + random(16), UserID: u.ID, TenantID: u.TenantID,
		Payload: maps.Clone(u.AccessTokenPayload), Data: maps.Clone(u.SessionData),
	}
	if s.TenantID == "" {
		s.TenantID = "public"
	}
	now := time.Now()
	if f.Now != nil {
		now = f.Now()
	}
	access, err := s.accessToken(now)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", stmigrate.ErrNotCreated, err)
	}
	wire := fdi.Wire{RefreshPath: "/auth/session/refresh", SameSite: http.SameSiteLaxMode, Secure: true}
	h := http.Header{"Cache-Control": {"no-store"}}
	err = wire.Set(h, fdi.Tokens{
		UserID: u.ID, Access: access, AccessExpiry: now.Add(time.Hour),
		Refresh: random(32), RefreshExpiry: now.Add(100 * 24 * time.Hour),
	}, fdi.CookieMode(r), now)
	if err == nil {
		err = fdi.Fits(h)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", stmigrate.ErrNotCreated, err)
	}

	f.mu.Lock()
	if f.sessions == nil {
		f.sessions = make(map[string]*FakeSession)
	}
	f.sessions[s.Handle] = s
	f.order = append(f.order, s.Handle)
	f.created++
	f.mu.Unlock()
	if f.AfterCreate != nil {
		if err := f.AfterCreate(ctx, u); err != nil {
			return nil, err
		}
	}
	return &stmigrate.Tokens{Handle: s.Handle, Header: h, State: []byte(s.Handle)}, nil
}

// Pristine implements [stmigrate.SessionMinter].
func (f *FakeSessions) Pristine(_ context.Context, t *stmigrate.Tokens) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sessions[t.Handle]
	return s != nil && !s.Refreshed && string(t.State) == t.Handle, nil
}

// CurrentSession implements [stmigrate.SessionMinter]: by the access token in the cookie or in Authorization.
func (f *FakeSessions) CurrentSession(_ context.Context, r *http.Request) (stmigrate.CurrentSession, bool, error) {
	token := fdi.BearerToken(r)
	if !fdi.IsAccessToken(token) {
		token = ""
		if cookies := fdi.CookieTokens(r, fdi.AccessCookie); len(cookies) == 1 {
			token = cookies[0]
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.sessions {
		if token != "" && fakeHandle(token) == s.Handle {
			return stmigrate.CurrentSession{Handle: s.Handle, UserID: s.UserID, TenantID: s.TenantID}, true, nil
		}
	}
	return stmigrate.CurrentSession{}, false, nil
}

// RevokeSession implements [stmigrate.SessionMinter].
func (f *FakeSessions) RevokeSession(_ context.Context, handle string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, live := f.sessions[handle]
	delete(f.sessions, handle)
	return live, nil
}

// FindSessions implements [stmigrate.SessionFinder].
func (f *FakeSessions) FindSessions(_ context.Context, tenantID, userID, marker string) ([]string, error) {
	var found []string
	for _, s := range f.Live() {
		if s.TenantID == tenantID && s.UserID == userID && s.Data[stmigrate.SessionMarker] == marker {
			found = append(found, s.Handle)
		}
	}
	return found, nil
}

// Live returns the sessions that were not revoked, oldest first.
func (f *FakeSessions) Live() []FakeSession {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []FakeSession
	for _, handle := range f.order {
		if s := f.sessions[handle]; s != nil {
			out = append(out, *s)
		}
	}
	return out
}

// Created counts the sessions that ever existed.
func (f *FakeSessions) Created() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.created
}

// Refresh spends the session's first refresh token. It tells whether the session was live.
func (f *FakeSessions) Refresh(handle string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.sessions[handle]
	if s != nil {
		s.Refreshed = true
	}
	return s != nil
}

// AccessTokens returns the access tokens that the response headers h carry, in a cookie or in a header.
func AccessTokens(h http.Header) []string {
	out := slices.Clone(h.Values("St-Access-Token"))
	for _, c := range (&http.Response{Header: h}).Cookies() {
		if c.Name == fdi.AccessCookie {
			out = append(out, c.Value)
		}
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

func (s *FakeSession) accessToken(now time.Time) (string, error) {
	claims := make(Claims)
	for name, v := range s.Payload {
		if slices.Contains(fdi.ReservedClaims, name) {
			return "", fmt.Errorf("the access token payload holds %q, which is reserved", name)
		}
		claims[name] = v
	}
	maps.Copy(claims, Claims{
		"sub": s.UserID, "tId": s.TenantID, "sessionHandle": s.Handle, "refreshTokenHash1": random(32),
		"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	})
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("the access token payload is not JSON: %w", err)
	}
	header := encodePart(Claims{"alg": "RS256", "typ": "JWT", "kid": "d-0", "version": "4"})
	return header + "." + base64.RawURLEncoding.EncodeToString(payload) + "." + random(32), nil
}

func fakeHandle(token string) string {
	var payload struct {
		Handle string `json:"sessionHandle"`
	}
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil || json.Unmarshal(data, &payload) != nil {
		return ""
	}
	return payload.Handle
}

func encodePart(v Claims) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // a payload that is not JSON is a mistake in the test
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
