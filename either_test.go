package stmigrate_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/stmigrate/stmigrate"
)

// either is an API behind RequireEither whose answer tells who asked and what reached the handler.
func either(r *rig) http.Handler {
	require := func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			s, ok, _ := r.sessions.CurrentSession(req.Context(), req)
			if !ok {
				http.Error(w, "required: "+req.Header.Get("Authorization"), http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, req.WithContext(stmigrate.WithIdentity(req.Context(), stmigrate.Identity{UserID: s.UserID, TenantID: s.TenantID})))
		})
	}
	return r.RequireEither(require, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		id, ok := stmigrate.IdentityFrom(req.Context())
		_, _ = fmt.Fprint(w, ok, " ", id.UserID, " ", id.TenantID, " legacy=", id.Legacy != nil,
			" auth=", strings.Join(req.Header.Values("Authorization"), ", "), " cookie=", req.Header.Get("Cookie"))
	}))
}

func ask(h http.Handler, method string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, "https://api.example.com/api", nil)
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, req)
	return w
}

func TestRequireEither(t *testing.T) {
	t.Parallel()
	newEither := func(t *testing.T, change ...func(*stmigrate.Config)) (*rig, http.Handler) {
		r := newRig(t, append([]func(*stmigrate.Config){leave, func(c *stmigrate.Config) {
			c.Origins = []string{website}
			c.Extract = []stmigrate.Extractor{stmigrate.FromBearer(), stmigrate.FromCookie("legacy"), stmigrate.FromJSON("access_token")}
		}}, change...)...)
		r.add("tok", "user-1", "sid-1", "1")
		r.add("sibling", "user-1", "sid-1", "2")
		return r, either(r)
	}
	legacy := func(t *testing.T, w *httptest.ResponseRecorder, cookie string) {
		t.Helper()
		assert.Equal(t, 200, w.Code, w.Body)
		assert.Equal(t, "true user-1 public legacy=true auth= cookie="+cookie, w.Body.String())
		assert.Equal(t, "1", w.Header().Get("St-Migrate"))
	}

	t.Run("a legacy session, by bearer and by cookie", func(t *testing.T) {
		t.Parallel()
		_, api := newEither(t)
		legacy(t, ask(api, "POST", "Authorization", "Bearer tok"), "")
		legacy(t, ask(api, "GET", "Cookie", "a=1; legacy=tok; b=2"), "a=1; b=2")
		legacy(t, ask(api, "POST", "Cookie", "legacy=tok", "Origin", website, "Sec-Fetch-Site", "cross-site"), "")
	})
	t.Run("a SuperTokens session comes first, and the legacy token goes", func(t *testing.T) {
		t.Parallel()
		r, api := newEither(t)
		cookie := "sAccessToken=" + accessToken(t, r.post("tok", "st-auth-mode", "cookie"))
		for _, extra := range [][]string{nil, {"Authorization", "Bearer tok"}, {"Authorization", "Bearer worthless"}} {
			w := ask(api, "GET", append([]string{"Cookie", cookie}, extra...)...)
			assert.Equal(t, "true user-1 public legacy=false auth= cookie="+cookie, w.Body.String())
			assert.Empty(t, w.Header().Get("St-Migrate"))
		}
		calls := r.verifier.Calls()
		ask(api, "GET", "Cookie", cookie, "Authorization", "Bearer tok")
		assert.Equal(t, calls, r.verifier.Calls())
	})
	t.Run("junk beside a SuperTokens session is no matter", func(t *testing.T) {
		t.Parallel()
		r, api := newEither(t)
		access := accessToken(t, r.post("tok", "st-auth-mode", "cookie"))
		for name, header := range map[string][]string{
			"two legacy cookies":   {"Cookie", "legacy=a; legacy=b; sAccessToken=" + access},
			"cookie and bearer":    {"Cookie", "legacy=a; sAccessToken=" + access, "Authorization", "Bearer b"},
			"two bearers":          {"Authorization", "Bearer " + access, "Authorization", "Bearer legacy=a"},
			"malformed bearer":     {"Cookie", "sAccessToken=" + access, "Authorization", "Bearer a b"},
			"from an unnamed page": {"Cookie", "legacy=a", "Authorization", "Bearer " + access, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"},
		} {
			w := ask(api, "POST", header...)
			assert.Equal(t, 200, w.Code, "%s: %s", name, w.Body)
			assert.NotContains(t, w.Body.String(), "legacy=a", name)
			assert.Empty(t, w.Header().Get("St-Migrate"), name)
		}
	})
	t.Run("what is no bearer token stays", func(t *testing.T) {
		t.Parallel()
		r, api := newEither(t)
		cookie := "sAccessToken=" + accessToken(t, r.post("tok", "st-auth-mode", "cookie"))
		assert.Contains(t, ask(api, "GET", "Cookie", cookie, "Authorization", "Basic dTpw").Body.String(), "auth=Basic dTpw")
		assert.Contains(t, ask(api, "GET", "Cookie", "legacy=tok", "Authorization", "Basic dTpw").Body.String(), "auth=Basic dTpw")
	})
	t.Run("a bearer is enough, whatever cookies a foreign page brings along", func(t *testing.T) {
		t.Parallel()
		_, api := newEither(t)
		for _, cookie := range []string{"legacy=tok", "legacy=other", "legacy=a; legacy=b"} {
			legacy(t, ask(api, "POST", "Authorization", "Bearer tok", "Cookie", cookie, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"), "")
		}
	})
	t.Run("a WebSocket of a foreign page has no cookies", func(t *testing.T) {
		t.Parallel()
		_, api := newEither(t)
		socket := []string{"Cookie", "legacy=tok", "Upgrade", "websocket", "Connection", "Upgrade"}
		expect(t, ask(api, "GET", append(socket, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site")...), 403, "FORBIDDEN_ORIGIN")
		legacy(t, ask(api, "GET", append(socket, "Origin", website, "Sec-Fetch-Site", "cross-site")...), "")
	})
	t.Run("refusals", func(t *testing.T) {
		t.Parallel()
		r, api := newEither(t)
		r.verifier.Add("expired", stmigrate.OldSession{Subject: "u"})
		for _, tt := range []struct {
			name   string
			status int
			header []string
		}{
			{"nothing", 401, nil},
			{"worthless", 401, []string{"Authorization", "Bearer worthless"}},
			{"malformed", 400, []string{"Authorization", "Bearer tok tok"}},
			{"two tokens", 400, []string{"Authorization", "Bearer tok", "Cookie", "legacy=sibling"}},
			{"cookie from another site", 403, []string{"Cookie", "legacy=tok", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}},
		} {
			w := ask(api, "POST", tt.header...)
			assert.Equal(t, tt.status, w.Code, tt.name)
			assert.Empty(t, w.Header().Get("St-Migrate"))
		}
		r.verifier.Fail(stmigrate.ErrUnavailable)
		assert.Equal(t, 503, ask(api, "GET", "Authorization", "Bearer tok").Code)
		r.verifier.Fail(stmigrate.ErrNotMine)
		w := ask(api, "GET", "Authorization", "Bearer somebody-elses")
		assert.Equal(t, "required: Bearer somebody-elses\n", w.Body.String(), "another's token is another's business")
	})
	t.Run("exchanged: good within Grace, refused after, siblings too", func(t *testing.T) {
		t.Parallel()
		r, api := newEither(t)
		expect(t, r.post("tok"), 200, "OK")
		legacy(t, ask(api, "GET", "Authorization", "Bearer tok"), "")
		r.clock.Advance(2*time.Minute + time.Second)
		for _, token := range []string{"tok", "sibling"} {
			w := ask(api, "GET", "Authorization", "Bearer "+token)
			expect(t, w, 401, "INVALID_LEGACY_SESSION")
		}
	})
	t.Run("a store that cannot peek goes by the token that was shown", func(t *testing.T) {
		t.Parallel()
		r, api := newEither(t, func(c *stmigrate.Config) {
			c.Exchanges.(*stmigrate.MemoryExchanges).UseClock(c.Now)
			c.Exchanges, c.Secrets = struct{ stmigrate.ExchangeStore }{c.Exchanges}, [][]byte{make([]byte, 32)}
		})
		expect(t, r.post("tok"), 200, "OK")
		r.clock.Advance(3 * time.Minute)
		expect(t, ask(api, "GET", "Authorization", "Bearer tok"), 401, "INVALID_LEGACY_SESSION")
		legacy(t, ask(api, "GET", "Authorization", "Bearer sibling"), "")
	})
	t.Run("remembered though a framework wraps the middleware anew for every request", func(t *testing.T) {
		t.Parallel()
		r, _ := newEither(t)
		for range 3 {
			legacy(t, ask(either(r), "GET", "Authorization", "Bearer tok"), "")
		}
		assert.Equal(t, 1, r.verifier.Calls())
	})
	t.Run("remembered for a minute at most, and not past the expiry", func(t *testing.T) {
		t.Parallel()
		r, api := newEither(t)
		get := func() { ask(api, "GET", "Authorization", "Bearer tok") }
		get()
		r.clock.Advance(59 * time.Second)
		get()
		assert.Equal(t, 1, r.verifier.Calls())
		r.clock.Advance(time.Second)
		get()
		assert.Equal(t, 2, r.verifier.Calls())

		r.verifier.Add("short", stmigrate.OldSession{Subject: "u", ExpiresAt: r.clock.Now().Add(10 * time.Second)})
		ask(api, "GET", "Authorization", "Bearer short")
		r.verifier.Remove("short")
		r.clock.Advance(10 * time.Second)
		assert.Equal(t, 401, ask(api, "GET", "Authorization", "Bearer short").Code)
	})
	t.Run("NotBefore, Until and unknown users hold here, too", func(t *testing.T) {
		t.Parallel()
		_, api := newEither(t, func(c *stmigrate.Config) { c.Until = c.Now().Add(-time.Second) })
		assert.Equal(t, 401, ask(api, "GET", "Authorization", "Bearer tok").Code)
		r, api := newEither(t, func(c *stmigrate.Config) { c.Until = c.Now().Add(10 * time.Second) })
		assert.Equal(t, 200, ask(api, "GET", "Authorization", "Bearer tok").Code)
		r.clock.Advance(11 * time.Second)
		assert.Equal(t, 401, ask(api, "GET", "Authorization", "Bearer tok").Code, "nothing is remembered past it")
		_, api = newEither(t, func(c *stmigrate.Config) {
			c.NotBefore = func(ctx context.Context, s *stmigrate.OldSession) (time.Time, error) {
				return s.AuthTime.Add(time.Second), nil
			}
		})
		assert.Equal(t, 401, ask(api, "GET", "Authorization", "Bearer tok").Code)
		_, api = newEither(t, func(c *stmigrate.Config) {
			c.Users = stmigrate.UserResolverFunc(func(context.Context, *stmigrate.OldSession) (*stmigrate.User, error) {
				return nil, stmigrate.ErrUnknownUser
			})
		})
		assert.Equal(t, 403, ask(api, "GET", "Authorization", "Bearer tok").Code)
	})
}

// TestIdentityCacheIsBounded: many tokens push each other out, and none is mixed up.
func TestIdentityCacheIsBounded(t *testing.T) {
	t.Parallel()
	r := newRig(t, leave)
	api := either(r)
	for i := range 20_000 {
		token := fmt.Sprint("tok", i)
		r.add(token, fmt.Sprint("user-", i), token, "")
		assert.Contains(t, ask(api, "GET", "Authorization", "Bearer "+token).Body.String(), fmt.Sprint("user-", i, " "))
	}
	calls := r.verifier.Calls()
	assert.Contains(t, ask(api, "GET", "Authorization", "Bearer tok0").Body.String(), "user-0 ")
	assert.Equal(t, calls+1, r.verifier.Calls(), "the first one was forgotten")
	assert.Contains(t, ask(api, "GET", "Authorization", "Bearer tok19999").Body.String(), "user-19999 ")
	assert.Equal(t, calls+1, r.verifier.Calls(), "the last one was not")
}
