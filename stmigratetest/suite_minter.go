package stmigratetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/fdi"
)

// MinterUnderTest is a session minter on a core without sessions of the users that the suite makes up.
type MinterUnderTest struct {
	Minter stmigrate.SessionMinter
	// Refresh spends the refresh token of t, as a client does that refreshes and goes on with what it got.
	Refresh func(ctx context.Context, t *stmigrate.Tokens) error
	// Live returns the handles of the user's live sessions.
	Live func(ctx context.Context, tenantID, userID string) ([]string, error)
}

// TestSessionMinter holds an [stmigrate.SessionMinter] to its contract, and to that of [stmigrate.SessionFinder] if it is
// one. open returns it once for each check.
func TestSessionMinter(t *testing.T, open func(t *testing.T) MinterUnderTest) {
	t.Helper()
	runChecks(t, open, sessionMinterChecks)
}

func mintRequest(mode string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/migrate-session", nil)
	r.Header.Set("Authorization", "Bearer "+foreignTokens[0])
	if mode != "" {
		r.Header.Set("st-auth-mode", mode)
	}
	return r
}

// foreignTokens are bearer tokens that are no session, in forms that SDKs stumble over: with and without typ and kid.
var foreignTokens = []string{
	encodePart(Claims{"alg": "RS256", "kid": "legacy-1"}) + "." + encodePart(Claims{"sub": "legacy", "exp": 1 << 33}) + ".c2ln",
	encodePart(Claims{"alg": "RS256", "typ": "JWT"}) + "." + encodePart(Claims{"sub": "legacy"}) + ".c2ln",
	encodePart(Claims{"alg": "RS256", "typ": "JWT", "kid": "d-1", "version": "4"}) + "." + encodePart(Claims{"sub": "legacy"}) + ".c2ln",
	encodePart(Claims{"alg": "RS256", "typ": "JWT", "kid": "d-1", "version": "4"}) + "." +
		encodePart(Claims{"sub": "forged", "sessionHandle": "h", "refreshTokenHash1": "r", "exp": 1 << 33, "tId": "public"}) + ".c2ln",
	"opaque", "a.b.c", "a.b.c.d.e", "..", strings.Repeat("x", 9000),
}

// carrying returns a request with the tokens that t gave to a client.
func carrying(t *stmigrate.Tokens) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/api", nil)
	for _, c := range (&http.Response{Header: t.Header}).Cookies() {
		if c.Name == fdi.AccessCookie && c.Value != "" {
			r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
		}
	}
	if token := t.Header.Get("st-access-token"); token != "" && r.Header.Get("Cookie") == "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

func (m MinterUnderTest) mint(ctx context.Context, mode, user string) (*stmigrate.Tokens, error) {
	t, err := m.Minter.CreateSession(ctx, mintRequest(mode), stmigrate.User{
		ID: user, AccessTokenPayload: map[string]any{"role": "admin"}, SessionData: map[string]any{stmigrate.SessionMarker: "marker-of-" + user},
	})
	switch {
	case err != nil:
		return nil, fmt.Errorf("CreateSession failed: %w", err)
	case t == nil || t.Handle == "" || len(t.Header) == 0:
		return nil, fmt.Errorf("CreateSession returned no handle or no headers: %+v", t)
	}
	return t, nil
}

func (m MinterUnderTest) live(ctx context.Context, user string, want ...string) error {
	got, err := m.Live(ctx, "public", user)
	if err != nil {
		return err
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("the user has %d live sessions, want %d", len(got), len(want))
	}
	return nil
}

func (m MinterUnderTest) pristine(ctx context.Context, t *stmigrate.Tokens, want bool) error {
	got, err := m.Minter.Pristine(ctx, t)
	if err != nil {
		return fmt.Errorf("Pristine failed: %w", err)
	}
	if got != want {
		return fmt.Errorf("Pristine is %v, want %v", got, want)
	}
	return nil
}

func (m MinterUnderTest) current(ctx context.Context, r *http.Request, want stmigrate.CurrentSession) error {
	got, ok, err := m.Minter.CurrentSession(ctx, r)
	switch {
	case err != nil:
		return fmt.Errorf("CurrentSession failed: %w", err)
	case ok != (want.Handle != ""):
		return fmt.Errorf("CurrentSession found a session: %v, want %v", ok, !ok)
	case ok && got != want:
		return fmt.Errorf("CurrentSession is %+v, want %+v", got, want)
	}
	return nil
}

var sessionMinterChecks = []check[MinterUnderTest]{
	{"a session is minted once, and is the current one of who carries it", func(ctx context.Context, m MinterUnderTest) error {
		for _, mode := range []string{"cookie", "header", ""} {
			user := "minted-" + mode
			t, err := m.mint(ctx, mode, user)
			if err != nil {
				return err
			}
			if err := m.live(ctx, user, t.Handle); err != nil {
				return err
			}
			want := stmigrate.CurrentSession{Handle: t.Handle, UserID: user, TenantID: "public"}
			if err := m.current(ctx, carrying(t), want); err != nil {
				return fmt.Errorf("st-auth-mode %q: %w", mode, err)
			}
		}
		return nil
	}},
	{"the answer may not be stored by caches, and no part of it is empty", func(ctx context.Context, m MinterUnderTest) error {
		for _, mode := range []string{"cookie", "header"} {
			t, err := m.mint(ctx, mode, "stored")
			if err != nil {
				return err
			}
			if got := t.Header.Get("Cache-Control"); got != "no-store" {
				return fmt.Errorf("the header Cache-Control is %q, want no-store", got)
			}
			for name, values := range t.Header {
				if slices.Contains(values, "") {
					return fmt.Errorf("the header %s is empty: the legacy token was taken for a SuperTokens one", name)
				}
			}
			if _, ok := fdi.AccessExpiry(t.Header); !ok {
				return errors.New("there is no front-token that tells when the access token ends")
			}
		}
		return nil
	}},
	{"two mints are two sessions", func(ctx context.Context, m MinterUnderTest) error {
		a, err := m.mint(ctx, "header", "twice")
		if err != nil {
			return err
		}
		b, err := m.mint(ctx, "header", "twice")
		if err != nil {
			return err
		}
		return m.live(ctx, "twice", a.Handle, b.Handle)
	}},
	{"200 mints at once are 200 sessions", func(ctx context.Context, m MinterUnderTest) error {
		var wg sync.WaitGroup
		errs := make(chan error, 200)
		for i := range 200 {
			wg.Go(func() {
				user := fmt.Sprint("parallel-", i)
				t, err := m.mint(ctx, "cookie", user)
				if err == nil {
					err = m.live(ctx, user, t.Handle)
				}
				errs <- err
			})
		}
		wg.Wait()
		close(errs)
		for err := range errs {
			if err != nil {
				return err
			}
		}
		return nil
	}},
	{"the caller's user stays as it is", func(ctx context.Context, m MinterUnderTest) error {
		u := stmigrate.User{ID: "unchanged", AccessTokenPayload: map[string]any{"a": 1}, SessionData: map[string]any{"b": 1}}
		if _, err := m.Minter.CreateSession(ctx, mintRequest("header"), u); err != nil {
			return err
		}
		if len(u.AccessTokenPayload) != 1 || len(u.SessionData) != 1 {
			return fmt.Errorf("the maps became %v and %v", u.AccessTokenPayload, u.SessionData)
		}
		return nil
	}},
	{"a session is pristine until it is refreshed", func(ctx context.Context, m MinterUnderTest) error {
		t, err := m.mint(ctx, "header", "pristine")
		if err != nil {
			return err
		}
		for range 3 { // and asking changes nothing
			if err := m.pristine(ctx, t, true); err != nil {
				return err
			}
		}
		if err := m.Refresh(ctx, t); err != nil {
			return fmt.Errorf("after Pristine, the refresh failed: %w", err)
		}
		return m.pristine(ctx, t, false)
	}},
	{"a session that is revoked is neither pristine nor current, and others stay", func(ctx context.Context, m MinterUnderTest) error {
		t, err := m.mint(ctx, "cookie", "revoked")
		if err != nil {
			return err
		}
		other, err := m.mint(ctx, "cookie", "revoked")
		if err != nil {
			return err
		}
		for _, want := range []bool{true, false} {
			wasLive, err := m.Minter.RevokeSession(ctx, t.Handle)
			if err != nil {
				return fmt.Errorf("RevokeSession failed: %w", err)
			}
			if wasLive != want {
				return fmt.Errorf("RevokeSession says it was live: %v, want %v", wasLive, want)
			}
		}
		if err := m.live(ctx, "revoked", other.Handle); err != nil {
			return err
		}
		if err := m.current(ctx, carrying(t), stmigrate.CurrentSession{}); err != nil {
			return err
		}
		return m.pristine(ctx, t, false)
	}},
	{"a token of somebody else is no session", func(ctx context.Context, m MinterUnderTest) error {
		for i, token := range foreignTokens {
			bearer := httptest.NewRequest(http.MethodPost, "/", nil)
			bearer.Header.Set("Authorization", "Bearer "+token)
			cookie := httptest.NewRequest(http.MethodPost, "/", nil)
			cookie.AddCookie(&http.Cookie{Name: fdi.AccessCookie, Value: token})
			for where, r := range map[string]*http.Request{"Authorization": bearer, "the cookie": cookie} {
				if err := m.current(ctx, r, stmigrate.CurrentSession{}); err != nil {
					return fmt.Errorf("foreign token %d in %s: %w", i, where, err)
				}
			}
		}
		return m.current(ctx, httptest.NewRequest(http.MethodGet, "/", nil), stmigrate.CurrentSession{})
	}},
	{"an error that says not created means it", func(ctx context.Context, m MinterUnderTest) error {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		for name, try := range map[string]struct {
			ctx     context.Context
			payload map[string]any
		}{
			"a context that has ended":      {ended, nil},
			"a reserved claim":              {ctx, map[string]any{"sub": "somebody else"}},
			"a payload that is no JSON":     {ctx, map[string]any{"f": func() {}}},
			"a payload no cookie can carry": {ctx, map[string]any{"big": strings.Repeat("x", 20_000)}},
		} {
			_, err := m.Minter.CreateSession(try.ctx, mintRequest("cookie"), stmigrate.User{ID: "refused", AccessTokenPayload: try.payload})
			if err == nil {
				return fmt.Errorf("%s: CreateSession succeeded", name)
			}
			if !errors.Is(err, stmigrate.ErrNotCreated) {
				continue
			}
			if err := m.live(ctx, "refused"); err != nil {
				return fmt.Errorf("%s: the error is ErrNotCreated, and yet: %w", name, err)
			}
		}
		return nil
	}},
	{"sessions are found by their marker", func(ctx context.Context, m MinterUnderTest) error {
		finder, ok := m.Minter.(stmigrate.SessionFinder)
		if !ok {
			return nil
		}
		a, err := m.mint(ctx, "header", "finder")
		if err != nil {
			return err
		}
		b, err := m.mint(ctx, "cookie", "finder")
		if err != nil {
			return err
		}
		if _, err := m.mint(ctx, "header", "another"); err != nil {
			return err
		}
		for marker, want := range map[string][]string{"marker-of-finder": {a.Handle, b.Handle}, "marker-of-another": nil, "": nil} {
			got, err := finder.FindSessions(ctx, "public", "finder", marker)
			if err != nil {
				return fmt.Errorf("FindSessions failed: %w", err)
			}
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				return fmt.Errorf("FindSessions of %q found %d sessions, want %d", marker, len(got), len(want))
			}
		}
		return nil
	}},
}
