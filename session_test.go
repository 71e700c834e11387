package stmigrate_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/coreemu"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// ownClient's connections are no other test's to close.
var ownClient = &http.Client{Transport: new(http.Transport)}

const createRoute = "POST /recipe/session"

func sessionsOn(t *testing.T, c *core.Client, change ...func(*stmigrate.SessionsConfig)) *stmigrate.Sessions {
	t.Helper()
	cfg := stmigrate.SessionsConfig{Core: c, APIDomain: "https://api.example.com", WebsiteOrigins: []string{website}}
	for _, f := range change {
		f(&cfg)
	}
	s, err := stmigrate.NewSessions(cfg)
	require.NoError(t, err)
	return s
}

// coreLease leaves each step of an exchange with a core more time than a busy machine makes it wait: they run on the real clock.
const coreLease = 10 * time.Minute

// newCoreRig is a migrator whose sessions are on a core in memory.
func newCoreRig(t *testing.T, change ...func(*stmigrate.Config)) (*rig, *stmigratetest.Core) {
	t.Helper()
	memory := stmigratetest.NewCore(t)
	r := newRig(t, append([]func(*stmigrate.Config){func(c *stmigrate.Config) {
		c.Sessions, c.Lease = sessionsOn(t, memory.Client()), coreLease
	}}, change...)...)
	r.add("tok", "user-1", "sid-1", "")
	return r, memory
}

// What holds tokens and gets into a log says nothing of them.
func TestTokensDoNotPrint(t *testing.T) {
	t.Parallel()
	tokens := stmigrate.Tokens{Handle: "handle-1", Header: http.Header{"Set-Cookie": {"sAccessToken=SECRET"}}, State: []byte("SECRET")}
	redeemed := stmigrate.Redeemed{Session: &stmigrate.OldSession{Subject: "ada"}, Token: "SECRET"}
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).Info("x", "tokens", tokens, "at", &tokens, "redeemed", redeemed, "at", &redeemed)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%d", "%s", "%q"} {
		fmt.Fprintf(&log, verb+verb+verb+verb, tokens, &tokens, redeemed, &redeemed)
	}
	assert.Contains(t, log.String(), "stmigrate.Tokens(handle-1)")
	assert.NotContains(t, log.String(), "SECRET")
	assert.NotContains(t, log.String(), fmt.Sprintf("%d", []byte("SECRET")))
	assert.NotContains(t, log.String(), base64.StdEncoding.EncodeToString([]byte("SECRET")))
}

func TestNewSessionsRefuses(t *testing.T) {
	t.Parallel()
	client, err := core.New(core.Config{ConnectionURI: "http://127.0.0.1:1"})
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		change func(*stmigrate.SessionsConfig)
		want   string
	}{
		"no core":                  {func(c *stmigrate.SessionsConfig) { c.Core = nil }, "Core is required"},
		"no API domain":            {func(c *stmigrate.SessionsConfig) { c.APIDomain = "" }, "APIDomain"},
		"API domain with a path":   {func(c *stmigrate.SessionsConfig) { c.APIDomain = "https://a.example/x" }, "APIDomain"},
		"API domain with a user":   {func(c *stmigrate.SessionsConfig) { c.APIDomain = "https://u:p@a.example" }, "APIDomain"},
		"no website":               {func(c *stmigrate.SessionsConfig) { c.WebsiteOrigins = nil }, "WebsiteOrigins is required"},
		"website without a scheme": {func(c *stmigrate.SessionsConfig) { c.WebsiteOrigins = []string{"a.example"} }, "WebsiteOrigins"},
		"base path with a query":   {func(c *stmigrate.SessionsConfig) { c.APIBasePath = "/a?b" }, "APIBasePath"},
		"plain http":               {func(c *stmigrate.SessionsConfig) { c.APIDomain = "http://api.example.com" }, "not https"},
		"cross-site http":          {func(c *stmigrate.SessionsConfig) { c.APIDomain, c.InsecureCookies = "http://api.other.dev", true }, "https APIDomain"},
		"cross-site and Lax": {func(c *stmigrate.SessionsConfig) {
			c.WebsiteOrigins = []string{"https://other.dev"}
			c.SameSite = http.SameSiteLaxMode
		}, "SameSite"},
		"unknown SameSite":           {func(c *stmigrate.SessionsConfig) { c.SameSite = 9 }, "SameSite"},
		"unknown transfer":           {func(c *stmigrate.SessionsConfig) { c.Transfer = 9 }, "Transfer"},
		"unknown anti-CSRF":          {func(c *stmigrate.SessionsConfig) { c.AntiCSRF = 9 }, "AntiCSRF"},
		"cookie domain of another":   {func(c *stmigrate.SessionsConfig) { c.CookieDomain = ".other.dev" }, "CookieDomain"},
		"cookie domain, all of .com": {func(c *stmigrate.SessionsConfig) { c.CookieDomain = ".com" }, "public suffix"},
		"cookie domain, a dot":       {func(c *stmigrate.SessionsConfig) { c.CookieDomain = "." }, "CookieDomain"},
		"part of an IP address": {func(c *stmigrate.SessionsConfig) {
			c.APIDomain, c.WebsiteOrigins, c.CookieDomain = "https://10.0.0.1", []string{"https://10.0.0.1"}, "0.0.1"
		}, "IP address"},
		"older domain is the domain": {func(c *stmigrate.SessionsConfig) {
			c.CookieDomain, c.OlderCookieDomain = ".example.com", ptr("example.com")
		}, "OlderCookieDomain"},
		"older domain of another": {func(c *stmigrate.SessionsConfig) { c.OlderCookieDomain = ptr("other.dev") }, "OlderCookieDomain"},
		"two names of one machine": {func(c *stmigrate.SessionsConfig) {
			c.APIDomain, c.WebsiteOrigins = "http://localhost:3001", []string{"http://127.0.0.1:3000"}
		}, "two sites"},
		"API domain without a host":  {func(c *stmigrate.SessionsConfig) { c.APIDomain = "https://:443" }, "APIDomain"},
		"website with a star":        {func(c *stmigrate.SessionsConfig) { c.WebsiteOrigins = []string{"https://*.example.com"} }, "WebsiteOrigins"},
		"base path that is a URL":    {func(c *stmigrate.SessionsConfig) { c.APIBasePath = "https://x.dev/auth" }, "APIBasePath"},
		"base path with dots":        {func(c *stmigrate.SessionsConfig) { c.APIBasePath = "/auth/../x" }, "APIBasePath"},
		"base path in upper case":    {func(c *stmigrate.SessionsConfig) { c.APIBasePath = "/Auth" }, "APIBasePath"},
		"cookie domain not a parent": {func(c *stmigrate.SessionsConfig) { c.CookieDomain = "pi.example.com" }, "CookieDomain"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := stmigrate.SessionsConfig{Core: client, APIDomain: "https://api.example.com", WebsiteOrigins: []string{website}}
			tt.change(&cfg)
			s, err := stmigrate.NewSessions(cfg)
			require.ErrorContains(t, err, "SessionsConfig")
			require.ErrorContains(t, err, tt.want)
			assert.Nil(t, s)
			assert.NotContains(t, err.Error(), "u:p@")
		})
	}
}

func ptr(s string) *string { return &s }

// forged is a JWT with another signature, of the same length.
func forged(token string) string {
	b := []byte(token)
	at := bytes.LastIndexByte(b, '.') + 1
	if b[at]++; b[at] != 'B' {
		b[at] = 'A'
	}
	return string(b)
}

func TestCookieAttributes(t *testing.T) {
	t.Parallel()
	memory := stmigratetest.NewCore(t)
	req := httptest.NewRequest(http.MethodPost, "/", nil)
	req.Header.Set("st-auth-mode", "cookie")
	for name, tt := range map[string]struct {
		change func(*stmigrate.SessionsConfig)
		want   string
	}{
		"same site": {func(*stmigrate.SessionsConfig) {}, "; HttpOnly; Secure; SameSite=Lax"},
		"a shared suffix": {func(c *stmigrate.SessionsConfig) {
			c.APIDomain, c.WebsiteOrigins = "https://a.github.io", []string{"https://b.github.io"}
		}, "SameSite=None"},
		"one of two origins": {func(c *stmigrate.SessionsConfig) { c.WebsiteOrigins = append(c.WebsiteOrigins, "https://other.dev") }, "SameSite=None"},
		"scheme differs":     {func(c *stmigrate.SessionsConfig) { c.WebsiteOrigins = []string{"http://app.example.com"} }, "SameSite=None"},
		"strict":             {func(c *stmigrate.SessionsConfig) { c.SameSite = http.SameSiteStrictMode }, "SameSite=Strict"},
		"domain":             {func(c *stmigrate.SessionsConfig) { c.CookieDomain = ".example.com" }, "; Domain=example.com;"},
		"base path":          {func(c *stmigrate.SessionsConfig) { c.APIBasePath = "api/auth/" }, "; Path=/api/auth/session/refresh;"},
		"loopback": {func(c *stmigrate.SessionsConfig) {
			c.APIDomain, c.WebsiteOrigins = "http://127.0.0.1:3000", []string{"http://127.0.0.1:4000"}
		}, "; HttpOnly; SameSite=Lax"},
	} {
		t.Run(name, func(t *testing.T) {
			tokens, err := sessionsOn(t, memory.Client(), tt.change).CreateSession(t.Context(), req, stmigrate.User{ID: "u"})
			require.NoError(t, err)
			cookies := tokens.Header.Values("Set-Cookie")
			require.Len(t, cookies, 2)
			assert.Contains(t, cookies[1], tt.want)
		})
	}
}

func TestTransferModes(t *testing.T) {
	t.Parallel()
	memory := stmigratetest.NewCore(t)
	for transfer, tt := range map[stmigrate.Transfer]struct{ cookie, header, silent bool }{ // whether cookies come
		stmigrate.TransferAny:    {true, false, false},
		stmigrate.TransferCookie: {true, true, true},
		stmigrate.TransferHeader: {false, false, false},
	} {
		s := sessionsOn(t, memory.Client(), func(c *stmigrate.SessionsConfig) { c.Transfer = transfer })
		for mode, want := range map[string]bool{"cookie": tt.cookie, "header": tt.header, "": tt.silent} {
			req := httptest.NewRequest(http.MethodPost, "/", nil)
			req.Header.Set("st-auth-mode", mode)
			tokens, err := s.CreateSession(t.Context(), req, stmigrate.User{ID: "u"})
			require.NoError(t, err)
			assert.Equal(t, want, len(tokens.Header.Values("Set-Cookie")) == 2, "%v, %q", transfer, mode)
			assert.Equal(t, !want, tokens.Header.Get("st-refresh-token") != "", "%v, %q", transfer, mode)
		}
	}
}

// TestSizesAreForeseen: what no browser would keep is refused before the core is asked.
func TestSizesAreForeseen(t *testing.T) {
	t.Parallel()
	memory := stmigratetest.NewCore(t)
	s := sessionsOn(t, memory.Client())
	mint := func(mode string, payload map[string]any) (*stmigrate.Tokens, error) {
		req := httptest.NewRequest(http.MethodPost, "/", nil)
		req.Header.Set("st-auth-mode", mode)
		return s.CreateSession(t.Context(), req, stmigrate.User{ID: "6f1a1b1e-8c1d-4a3e-9a55-0123456789ab", AccessTokenPayload: payload})
	}
	for mode, limit := range map[string]int{"cookie": 2100, "header": 1950} {
		for n := 0; n < 6000; n += 50 {
			created := len(memory.Requests(createRoute))
			tokens, err := mint(mode, map[string]any{"claim": strings.Repeat("x", n)})
			if err != nil {
				require.ErrorIs(t, err, stmigrate.ErrNotCreated)
				size := n + len(`{"claim":"","iss":"https://api.example.com/auth"}`)
				require.ErrorContains(t, err, fmt.Sprintf("takes %d bytes", size), "the payload's size")
				require.Len(t, memory.Requests(createRoute), created, "the core was not asked")
				require.Greater(t, n, limit, "%s mode is too timid", mode)
				break
			}
			for _, c := range tokens.Header.Values("Set-Cookie") {
				require.LessOrEqual(t, len(c), 4096)
			}
			require.Less(t, n, 5950, "%s mode has no limit", mode)
		}
	}
	for _, name := range []string{"sub", "iss", "exp", "sessionHandle", "tId", "rsub", "antiCsrfToken"} {
		_, err := mint("header", map[string]any{name: "x"})
		require.ErrorIs(t, err, stmigrate.ErrNotCreated)
		require.ErrorContains(t, err, name)
	}
	_, err := mint("header", map[string]any{"f": func() {}})
	require.ErrorIs(t, err, stmigrate.ErrNotCreated)
}

func TestExchangeOnTheCore(t *testing.T) {
	t.Parallel()
	r, memory := newCoreRig(t)
	var wg sync.WaitGroup
	tokens := make(chan string, 50)
	for range 50 {
		wg.Go(func() {
			w := r.post("tok")
			if w.Code == 200 {
				tokens <- stmigratetest.AccessTokens(w.Header())[0]
			}
		})
	}
	wg.Wait()
	close(tokens)
	count := map[string]int{}
	for token := range tokens {
		count[token]++
	}
	require.Len(t, count, 1)
	for _, n := range count {
		assert.Equal(t, 50, n)
	}
	assert.Len(t, memory.Requests(createRoute), 1, "one create at the core")
	require.Len(t, memory.Sessions(), 1)
	assert.NotEmpty(t, memory.Sessions()[0].Data[stmigrate.SessionMarker])
}

// A browser may hold the cookies while the page was left before its scripts saw the answer: they are told of the session again.
func TestCurrentSessionIsToldAgain(t *testing.T) {
	t.Parallel()
	for name, antiCSRF := range map[string]stmigrate.AntiCSRF{
		"by the browser": stmigrate.AntiCSRFDefault, "by token": stmigrate.AntiCSRFViaToken,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			memory := stmigratetest.NewCore(t)
			r, _ := newCoreRig(t, func(c *stmigrate.Config) {
				c.Sessions = sessionsOn(t, memory.Client(), func(c *stmigrate.SessionsConfig) { c.AntiCSRF = antiCSRF })
			})
			minted := r.post("tok", "st-auth-mode", "cookie")
			require.Equal(t, 200, minted.Code)
			cookie := "sAccessToken=" + stmigratetest.AccessTokens(minted.Header())[0]

			again := r.post("tok", "st-auth-mode", "cookie", "Cookie", cookie)
			require.Equal(t, 200, again.Code)
			assert.Equal(t, []string{stmigrate.OutcomeMigrated, stmigrate.OutcomeCurrent}, r.outcomes("exchange"))
			assert.NotEmpty(t, again.Header().Get("Front-Token"))
			assert.Equal(t, minted.Header().Get("Front-Token"), again.Header().Get("Front-Token"))
			assert.Equal(t, minted.Header().Get("Anti-Csrf"), again.Header().Get("Anti-Csrf"))
			assert.Contains(t, again.Header().Get("Access-Control-Expose-Headers"), "front-token")
			assert.Empty(t, again.Header().Values("Set-Cookie"))
			assert.Empty(t, again.Header().Get("St-Access-Token"))
			assert.Equal(t, "no-store", again.Header().Get("Cache-Control"))
		})
	}
}

// lapsed is a Migrator with sessions on a core in memory, all on one clock.
func lapsed(t *testing.T, change ...func(*stmigrate.Config)) (*rig, *stmigratetest.Core) {
	t.Helper()
	clock := newClock()
	memory, err := stmigratetest.StartCore(stmigratetest.CoreConfig{Now: clock.Now})
	require.NoError(t, err)
	t.Cleanup(memory.Close)
	r := newRig(t, append([]func(*stmigrate.Config){func(c *stmigrate.Config) {
		c.Now, c.Lease = clock.Now, coreLease
		c.Sessions = sessionsOn(t, memory.Client(), func(c *stmigrate.SessionsConfig) { c.Now = clock.Now })
	}}, change...)...)
	r.clock = clock
	return r, memory
}

// The same browser may come back when even the access token is over: it can refresh, if its scripts know that there is something.
func TestLapsedSessionIsToldAgain(t *testing.T) {
	t.Parallel()
	same := func(token string) string { return "sAccessToken=" + token }
	revoked := func(*stmigrate.Config) {}
	for name, tt := range map[string]struct {
		change func(c *stmigrate.Config)
		before func(memory *stmigratetest.Core, handle string)
		cookie func(token string) string
		status int
		code   string
	}{
		"and the legacy session with it": {change: revoked, cookie: same, status: 200, code: "OK"},
		"and the legacy session is good": {change: leave, cookie: same, status: 200, code: "OK"},
		"signed out": {change: leave, before: func(memory *stmigratetest.Core, handle string) {
			_, err := memory.Client().RemoveSessions(t.Context(), handle)
			require.NoError(t, err)
		}, cookie: same, status: 409, code: "ALREADY_MIGRATED"},
		"forged":       {change: leave, cookie: func(token string) string { return same(forged(token)) }, status: 409, code: "ALREADY_MIGRATED"},
		"none":         {change: leave, cookie: func(string) string { return "x=y" }, status: 409, code: "ALREADY_MIGRATED"},
		"two":          {change: leave, cookie: func(token string) string { return same(token) + "; " + same(token) }, status: 409, code: "ALREADY_MIGRATED"},
		"core is down": {change: leave, before: func(memory *stmigratetest.Core, _ string) { memory.Down() }, cookie: same, status: 503, code: "UNAVAILABLE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, memory := lapsed(t, tt.change)
			r.verifier.Add("tok", stmigrate.OldSession{Subject: "user-1", SessionID: "sid-1", ExpiresAt: r.clock.Now().Add(24 * time.Hour)})
			minted := r.post("tok", "st-auth-mode", "cookie")
			require.Equal(t, 200, minted.Code)
			handle := memory.Sessions()[0].Handle
			r.clock.Advance(2 * time.Hour)
			if tt.before != nil {
				tt.before(memory, handle)
			}
			cookie := tt.cookie(stmigratetest.AccessTokens(minted.Header())[0])

			again := r.post("tok", "st-auth-mode", "cookie", "Cookie", cookie)
			expect(t, again, tt.status, tt.code)
			assert.Empty(t, again.Header().Values("Set-Cookie"))
			want := ""
			if tt.status == 200 {
				want = minted.Header().Get("Front-Token")
				assert.Equal(t, []string{stmigrate.OutcomeMigrated, stmigrate.OutcomeCurrent}, r.outcomes("exchange"))
				assert.Len(t, memory.Sessions(), 1)
			}
			assert.Equal(t, want, again.Header().Get("Front-Token"))
		})
	}
}

// TestLapsedSessionOfAnother: the answer to an exchange says nothing of a session that did not come of it.
func TestLapsedSessionOfAnother(t *testing.T) {
	t.Parallel()
	r, _ := lapsed(t, leave)
	tokens := map[string]string{}
	for _, user := range []string{"ada", "eve"} {
		r.verifier.Add(user, stmigrate.OldSession{Subject: user, SessionID: user, ExpiresAt: r.clock.Now().Add(24 * time.Hour)})
		w := r.post(user, "st-auth-mode", "cookie")
		require.Equal(t, 200, w.Code)
		tokens[user] = stmigratetest.AccessTokens(w.Header())[0]
	}
	r.clock.Advance(2 * time.Hour)
	w := r.post("ada", "st-auth-mode", "cookie", "Cookie", "sAccessToken="+tokens["eve"])
	expect(t, w, 409, "ALREADY_MIGRATED")
	assert.Empty(t, w.Header().Get("Front-Token"))
}

// TestLapsedSessionOfAnEarlierUser: whom a legacy session stands for may change; the session of whom it stood for is not this user's.
func TestLapsedSessionOfAnEarlierUser(t *testing.T) {
	t.Parallel()
	user := "ada"
	r, memory := lapsed(t, leave, func(c *stmigrate.Config) {
		c.Users = stmigrate.UserResolverFunc(func(context.Context, *stmigrate.OldSession) (*stmigrate.User, error) {
			return &stmigrate.User{ID: user}, nil
		})
	})
	r.verifier.Add("tok", stmigrate.OldSession{Subject: "user-1", SessionID: "sid-1", ExpiresAt: r.clock.Now().Add(24 * time.Hour)})
	minted := r.post("tok", "st-auth-mode", "cookie")
	require.Equal(t, 200, minted.Code)
	r.clock.Advance(2 * time.Hour)
	user = "eve"
	w := r.post("tok", "st-auth-mode", "cookie", "Cookie", "sAccessToken="+stmigratetest.AccessTokens(minted.Header())[0])
	expect(t, w, 409, "ALREADY_MIGRATED")
	assert.Empty(t, w.Header().Get("Front-Token"))
	assert.Len(t, memory.Sessions(), 1)
}

// A session of " ada" would be one of "ada" to the SDKs, which trim what a token says.
func TestUserIDsThatSDKsTrim(t *testing.T) {
	t.Parallel()
	memory := stmigratetest.NewCore(t)
	sessions := sessionsOn(t, memory.Client())
	for _, id := range []string{" ada", "ada ", "\tada", "ada\u00a0"} {
		_, err := sessions.CreateSession(t.Context(), httptest.NewRequest(http.MethodPost, "/", nil), stmigrate.User{ID: id})
		require.ErrorIs(t, err, stmigrate.ErrNotCreated)
	}
	assert.Empty(t, memory.Sessions())
	assert.Empty(t, memory.Requests("POST /recipe/session"))
}

func TestCoreCreatesAndDropsTheConnection(t *testing.T) {
	t.Parallel()
	r, memory := newCoreRig(t)
	memory.AfterCommit(createRoute)
	expect(t, r.post("tok"), 503, "UNAVAILABLE")
	assert.Len(t, memory.Requests(createRoute), 1, "never repeated")
	require.Len(t, memory.Sessions(), 1)
	orphan := memory.Sessions()[0].Handle
	memory.Heal()

	r.clock.Advance(coreLease)
	expect(t, r.post("tok"), 200, "OK")
	assert.Len(t, memory.Requests(createRoute), 2)
	require.Len(t, memory.Sessions(), 1, "one live session")
	assert.NotEqual(t, orphan, memory.Sessions()[0].Handle)
}

func TestCoreFaults(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		fault  func(*stmigratetest.Core)
		status int
		code   string
		freed  bool // the claim is free at once, since nothing was created
	}{
		"down":            {func(c *stmigratetest.Core) { c.Down(createRoute) }, 503, "UNAVAILABLE", false},
		"500":             {func(c *stmigratetest.Core) { c.Status(500, createRoute) }, 503, "UNAVAILABLE", false},
		"429":             {func(c *stmigratetest.Core) { c.Status(429, createRoute) }, 503, "UNAVAILABLE", true},
		"refuses":         {func(c *stmigratetest.Core) { c.Status(400, createRoute) }, 500, "INTERNAL_ERROR", true},
		"truncates":       {func(c *stmigratetest.Core) { c.Truncate(createRoute) }, 503, "UNAVAILABLE", false},
		"no versions":     {func(c *stmigratetest.Core) { c.Down("GET /apiversion") }, 503, "UNAVAILABLE", true},
		"cannot be asked": {nil, 503, "UNAVAILABLE", true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			nobody, err := core.New(core.Config{ConnectionURI: "http://127.0.0.1:1"}) // and not where a core was: another may be there by now
			require.NoError(t, err)
			r, memory := newCoreRig(t, func(c *stmigrate.Config) {
				if tt.fault == nil {
					c.Sessions = sessionsOn(t, nobody)
				}
			})
			if tt.fault != nil {
				tt.fault(memory)
			}
			expect(t, r.post("tok"), tt.status, tt.code)
			assert.Equal(t, tt.freed, r.store.Len() == 0)
			assert.Empty(t, r.revoked)
		})
	}
}

func TestReplayOnTheCore(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		then   func(context.Context, *core.Client, string, string) error
		status int
		code   string
	}{
		"untouched": {func(context.Context, *core.Client, string, string) error { return nil }, 200, "OK"},
		"signed out": {func(ctx context.Context, c *core.Client, handle, _ string) error {
			_, err := c.RemoveSessions(ctx, handle)
			return err
		}, 409, "ALREADY_MIGRATED"},
		"refreshed, and the new token used": {func(ctx context.Context, c *core.Client, _, refresh string) error {
			t, err := c.RefreshSession(ctx, core.RefreshSession{RefreshToken: refresh})
			if err != nil {
				return err
			}
			_, err = c.VerifySession(ctx, core.VerifySession{AccessToken: t.Access.Token})
			return err
		}, 409, "ALREADY_MIGRATED"},
		"refreshed twice": {func(ctx context.Context, c *core.Client, _, refresh string) error {
			t, err := c.RefreshSession(ctx, core.RefreshSession{RefreshToken: refresh})
			if err != nil {
				return err
			}
			_, err = c.RefreshSession(ctx, core.RefreshSession{RefreshToken: t.Refresh.Token})
			return err
		}, 409, "ALREADY_MIGRATED"},
		"core down": {nil, 503, "UNAVAILABLE"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, memory := newCoreRig(t, leave)
			first := r.post("tok")
			expect(t, first, 200, "OK")
			if tt.then != nil {
				require.NoError(t, tt.then(t.Context(), memory.Client(), memory.Sessions()[0].Handle, first.Header().Get("st-refresh-token")))
			} else {
				memory.Down("GET /recipe/session")
			}
			again := r.post("tok")
			expect(t, again, tt.status, tt.code)
			assert.Len(t, memory.Requests(createRoute), 1)
			if tt.status == 200 {
				assert.Equal(t, first.Header(), again.Header(), "the very same answer")
			}
		})
	}
}

// TestReplayAfterOurRefresh: the core does not show a refresh whose new tokens were not used yet; the Sessions that made it knows.
func TestReplayAfterOurRefresh(t *testing.T) {
	t.Parallel()
	for name, elsewhere := range map[string]bool{"made here": false, "made by another process, until its tokens are used": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var sessions *stmigrate.Sessions
			r, memory := newCoreRig(t, leave, func(c *stmigrate.Config) { sessions = c.Sessions.(*stmigrate.Sessions) })
			other := sessionsOn(t, memory.Client())
			first := r.post("tok")
			expect(t, first, 200, "OK")
			refreshing := sessions
			if elsewhere {
				refreshing = other
			}
			req := httptest.NewRequest(http.MethodPost, "https://api.example.com/auth/session/refresh", nil)
			req.Header.Set("Authorization", "Bearer "+first.Header().Get("st-refresh-token"))
			req.Header.Set("st-auth-mode", "header")
			w := httptest.NewRecorder()
			refreshing.ServeHTTP(w, req)
			require.Equal(t, 200, w.Code, w.Body.String())
			if elsewhere {
				expect(t, r.post("tok"), 200, "OK")
				_, err := memory.Client().VerifySession(t.Context(), core.VerifySession{AccessToken: w.Header().Get("st-access-token")})
				require.NoError(t, err)
			}
			expect(t, r.post("tok"), 409, "ALREADY_MIGRATED")
			assert.Len(t, memory.Requests(createRoute), 1)
		})
	}
}

// TestGoroutinesOfClientsThatGaveUp: a core that hangs holds nobody for longer than the lease.
func TestGoroutinesOfClientsThatGaveUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const lease = 3 * time.Second
		memory := coreemu.New(coreemu.Config{})
		client, err := core.New(core.Config{ConnectionURI: "http://core.test", HTTPClient: &http.Client{Transport: within{memory}}})
		require.NoError(t, err)
		r := newRig(t, func(c *stmigrate.Config) { c.Sessions, c.Lease = sessionsOn(t, client), lease })
		for i := range 50 {
			r.add(fmt.Sprint("tok", i), "user-1", fmt.Sprint("sid", i), "")
		}
		memory.Hang(createRoute)
		start := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				req := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://api.example.com/migrate-session", nil)
				req.Header.Set("Authorization", fmt.Sprint("Bearer tok", i))
				expect(t, r.do(req), 503, "UNAVAILABLE")
			})
		}
		synctest.Wait()
		require.Len(t, memory.Requests(createRoute), 50)
		cancel()
		wg.Wait()
		assert.Less(t, time.Since(start), lease)
		assert.Len(t, memory.Requests(createRoute), 50, "none was repeated")
	}) // and no goroutine is left, else it would not have returned
}

// within asks a server without a network, so that whoever waits for it in a synctest bubble waits on the bubble's clock.
type within struct{ server http.Handler }

func (t within) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := make(chan *http.Response, 1)
	r = r.Clone(r.Context())
	if r.Body == nil {
		r.Body = http.NoBody
	}
	go func() {
		defer close(answer)
		defer func() { _ = recover() }() // http.ErrAbortHandler
		w := httptest.NewRecorder()
		t.server.ServeHTTP(w, r)
		answer <- w.Result()
	}()
	select {
	case resp := <-answer:
		if resp == nil {
			return nil, io.ErrUnexpectedEOF
		}
		return resp, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
}

func TestMappedUsers(t *testing.T) {
	t.Parallel()
	memory := stmigratetest.NewCore(t)
	r := newRig(t, func(c *stmigrate.Config) {
		c.Sessions, c.Users, c.Lease = sessionsOn(t, memory.Client()), stmigrate.MappedUsers(memory.Client()), coreLease
	})
	userID := signUp(t, memory, "ada@example.com")
	mapUserID(t, memory, userID, "legacy|ada")
	r.add("tok", "legacy|ada", "sid-1", "")
	expect(t, r.post("tok"), 200, "OK")
	assert.Equal(t, "legacy|ada", memory.Sessions()[0].UserID)

	for _, unknown := range []string{"legacy|bob", userID, "ada@example.com"} {
		r.add("other", unknown, "sid-2", "")
		expect(t, r.post("other"), 403, "UNKNOWN_USER")
	}
	memory.Down("GET /recipe/userid/map")
	expect(t, r.post("other"), 503, "UNAVAILABLE")
}

func signUp(t *testing.T, c *stmigratetest.Core, email string) string {
	t.Helper()
	var out struct{ User struct{ ID string } }
	postCore(t, c, "/recipe/signup", map[string]any{"email": email, "password": "validpass1"}, &out)
	require.NotEmpty(t, out.User.ID)
	return out.User.ID
}

func mapUserID(t *testing.T, c *stmigratetest.Core, id, external string) {
	t.Helper()
	var out struct{ Status string }
	postCore(t, c, "/recipe/userid/map", map[string]any{"superTokensUserId": id, "externalUserId": external}, &out)
	require.Equal(t, "OK", out.Status)
}

func postCore(t *testing.T, c *stmigratetest.Core, path string, body map[string]any, out any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.URL+path, strings.NewReader(plainJSON(body)))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("cdi-version", "3.1")
	resp, err := ownClient.Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(t, 200, resp.StatusCode)
	require.NoError(t, json.NewDecoder(resp.Body).Decode(out))
}
