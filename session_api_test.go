package stmigrate_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// client holds the tokens of one session, as a browser does.
type client struct {
	server                      http.Handler
	access, refresh, csrf       string
	headerAccess, headerRefresh string
}

func (c *client) do(method, path string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, "https://api.example.com"+path, nil)
	if c.access != "" {
		req.AddCookie(&http.Cookie{Name: "sAccessToken", Value: c.access})
	}
	if c.refresh != "" {
		req.AddCookie(&http.Cookie{Name: "sRefreshToken", Value: c.refresh})
	}
	if c.csrf != "" {
		req.Header.Set("anti-csrf", c.csrf)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	c.server.ServeHTTP(w, req)
	for _, cookie := range w.Result().Cookies() {
		switch cookie.Name {
		case "sAccessToken":
			c.access = cookie.Value
		case "sRefreshToken":
			c.refresh = cookie.Value
		}
	}
	if csrf := w.Header().Get("anti-csrf"); csrf != "" {
		c.csrf = csrf
	}
	if access := w.Header().Get("st-access-token"); access != "" {
		c.headerAccess, c.headerRefresh = access, w.Header().Get("st-refresh-token")
	}
	return w
}

// newClient signs a user in on an app with this configuration.
func newClient(t *testing.T, mode string, change ...func(*stmigrate.SessionsConfig)) (*client, *stmigratetest.Core) {
	t.Helper()
	memory := stmigratetest.NewCore(t)
	c := &client{server: app(sessionsOn(t, memory.Client(), change...))}
	require.Equal(t, 200, c.do("POST", "/create", "st-auth-mode", mode).Code)
	return c, memory
}

func TestSessionsInAPIs(t *testing.T) {
	t.Parallel()
	t.Run("refreshed, used, signed out", func(t *testing.T) {
		t.Parallel()
		c, memory := newClient(t, "cookie")
		assert.Equal(t, 200, c.do("GET", "/verify").Code)
		assert.Equal(t, 200, c.do("POST", "/auth/session/refresh").Code)
		assert.Equal(t, 200, c.do("GET", "/verify").Code)
		w := c.do("POST", "/auth/signout")
		assert.Equal(t, 200, w.Code)
		assert.Equal(t, `{"status":"OK"}`, w.Body.String())
		assert.Equal(t, "remove", w.Header().Get("front-token"))
		assert.Empty(t, c.access)
		assert.Empty(t, c.refresh)
		assert.Empty(t, memory.Sessions())
		assert.Equal(t, 401, c.do("GET", "/verify").Code)
	})
	t.Run("theft ends the session for both", func(t *testing.T) {
		t.Parallel()
		c, memory := newClient(t, "cookie")
		thief := *c
		require.Equal(t, 200, c.do("POST", "/auth/session/refresh").Code)
		require.Equal(t, 200, c.do("GET", "/verify").Code)
		w := thief.do("POST", "/auth/session/refresh")
		assert.Equal(t, 401, w.Code)
		assert.Contains(t, w.Body.String(), "token theft detected")
		assert.Empty(t, memory.Sessions())
		assert.Equal(t, 401, c.do("POST", "/auth/session/refresh").Code)
	})
	t.Run("theft that cannot be acted on is no success", func(t *testing.T) {
		t.Parallel()
		c, memory := newClient(t, "cookie")
		thief := *c
		require.Equal(t, 200, c.do("POST", "/auth/session/refresh").Code)
		require.Equal(t, 200, c.do("GET", "/verify").Code)
		memory.Down("POST /recipe/session/remove")
		assert.Equal(t, 503, thief.do("POST", "/auth/session/refresh").Code)
	})
	t.Run("an expired access token asks for a refresh", func(t *testing.T) {
		t.Parallel()
		clock := newClock()
		c, _ := newClient(t, "cookie", func(c *stmigrate.SessionsConfig) { c.Now = clock.Now })
		clock.Advance(time.Hour + time.Second)
		w := c.do("GET", "/verify")
		assert.Equal(t, 401, w.Code)
		assert.Contains(t, w.Body.String(), "try refresh token")
		assert.Empty(t, w.Header().Get("front-token"), "nothing is taken from the client")
	})
	t.Run("core down: local verification goes on, the rest is 503", func(t *testing.T) {
		t.Parallel()
		c, memory := newClient(t, "cookie")
		require.Equal(t, 200, c.do("GET", "/verify").Code) // the keys are at hand
		memory.Down()
		assert.Equal(t, 200, c.do("GET", "/verify").Code)
		for _, path := range []string{"/auth/session/refresh", "/auth/signout"} {
			w := c.do("POST", path)
			assert.Equal(t, 503, w.Code, path)
			assert.NotEmpty(t, w.Header().Get("Retry-After"))
			assert.NotEmpty(t, c.refresh, "the tokens stay")
		}
	})
	t.Run("keys down at the start: 503, never 401", func(t *testing.T) {
		t.Parallel()
		c, memory := newClient(t, "cookie")
		memory.Down("GET /.well-known/jwks.json")
		assert.Equal(t, 503, c.do("GET", "/verify").Code)
		assert.NotEmpty(t, c.access)
	})
	t.Run("removed elsewhere: good until it expires, unless the database is asked", func(t *testing.T) {
		t.Parallel()
		memory := stmigratetest.NewCore(t)
		s := sessionsOn(t, memory.Client())
		c := &client{server: app(s)}
		c.do("POST", "/create", "st-auth-mode", "header")
		_, err := memory.Client().RemoveSessions(t.Context(), memory.Sessions()[0].Handle)
		require.NoError(t, err)
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header.Set("Authorization", "Bearer "+c.headerAccess)
		_, err = s.Verify(httptest.NewRecorder(), req, stmigrate.VerifyOptions{})
		require.NoError(t, err)
		_, err = s.Verify(httptest.NewRecorder(), req, stmigrate.VerifyOptions{CheckDatabase: true})
		require.ErrorIs(t, err, stmigrate.ErrNoSession)
	})
	t.Run("two access-token cookies", func(t *testing.T) {
		t.Parallel()
		c, _ := newClient(t, "cookie")
		assert.Contains(t, c.do("GET", "/verify", "Cookie", "sAccessToken="+c.access).Body.String(), "try refresh token")
		assert.Equal(t, 500, c.do("POST", "/auth/session/refresh", "Cookie", "sRefreshToken="+c.refresh).Code)
	})
	t.Run("cookies of the earlier domain are cleared", func(t *testing.T) {
		t.Parallel()
		for older, want := range map[string]string{"": "sRefreshToken=; Path=/auth/session/refresh; Expires=", "api.example.com": "; Domain=api.example.com;"} {
			c, _ := newClient(t, "cookie", func(c *stmigrate.SessionsConfig) { c.CookieDomain, c.OlderCookieDomain = ".example.com", &older })
			w := c.do("POST", "/auth/session/refresh", "Cookie", "sRefreshToken="+c.refresh)
			assert.Equal(t, 200, w.Code)
			require.Len(t, w.Header().Values("Set-Cookie"), 1)
			assert.Contains(t, w.Header().Get("Set-Cookie"), want)
			assert.Empty(t, w.Header().Get("front-token"), "the session goes on")
		}
	})
	t.Run("a legacy bearer is no refresh token", func(t *testing.T) {
		t.Parallel()
		c, memory := newClient(t, "cookie")
		for _, bearer := range []string{"opaque-legacy-token", "eyJhbGciOiJSUzI1NiJ9.e30.AAAA", "a.b.c.d.e"} {
			assert.Equal(t, 200, c.do("POST", "/auth/session/refresh", "Authorization", "Bearer "+bearer).Code)
			for _, r := range memory.Requests("POST /recipe/session/refresh") {
				assert.NotContains(t, string(r.Body), bearer)
			}
		}
	})
	t.Run("methods and paths", func(t *testing.T) {
		t.Parallel()
		c, _ := newClient(t, "cookie")
		assert.Equal(t, 405, c.do("GET", "/auth/session/refresh").Code)
		assert.Equal(t, 404, c.do("POST", "/auth/elsewhere").Code)
	})
	t.Run("anti-CSRF by header: what another site can send neither refreshes nor signs out", func(t *testing.T) {
		t.Parallel()
		c, memory := newClient(t, "cookie", func(c *stmigrate.SessionsConfig) { c.WebsiteOrigins = []string{"https://other.dev"} })
		for _, path := range []string{"/auth/session/refresh", "/auth/signout"} {
			w := c.do("POST", path)
			assert.Equal(t, 401, w.Code)
			assert.Empty(t, w.Header().Values("Set-Cookie"))
			assert.Empty(t, w.Header().Get("front-token"))
		}
		assert.Len(t, memory.Sessions(), 1)
		assert.Empty(t, memory.Requests("POST /recipe/session/refresh"))
		assert.Equal(t, 200, c.do("POST", "/auth/session/refresh", "rid", "anti-csrf").Code)
		assert.Equal(t, 200, c.do("POST", "/auth/signout", "rid", "anti-csrf").Code)
		assert.Empty(t, memory.Sessions())
	})
	t.Run("a form on another website, which SameSite leaves without cookies, takes none away", func(t *testing.T) {
		t.Parallel()
		for header, removed := range map[string]int{"navigate": 0, "cors": 2, "": 2} {
			c := &client{server: app(sessionsOn(t, stmigratetest.NewCore(t).Client()))}
			w := c.do("POST", "/auth/session/refresh", "Sec-Fetch-Mode", header)
			assert.Equal(t, 401, w.Code)
			assert.Len(t, w.Header().Values("Set-Cookie"), removed, header)
		}
	})
	t.Run("anti-CSRF by token", func(t *testing.T) {
		t.Parallel()
		c, _ := newClient(t, "cookie", func(c *stmigrate.SessionsConfig) { c.AntiCSRF = stmigrate.AntiCSRFViaToken })
		right := c.csrf
		for _, wrong := range []string{"", "x", right + "x"} {
			c.csrf = wrong
			assert.Equal(t, 401, c.do("POST", "/verify").Code)
			assert.Equal(t, 200, c.do("GET", "/verify").Code)
		}
		// Another site can send the cookies, and not the token: nobody is signed out by it.
		c.csrf = ""
		w := c.do("POST", "/auth/session/refresh")
		assert.Equal(t, 401, w.Code)
		assert.Empty(t, w.Header().Values("Set-Cookie"))
		assert.Empty(t, w.Header().Get("front-token"))
		c.csrf = right
		assert.Equal(t, 200, c.do("POST", "/verify").Code)
		require.Equal(t, 200, c.do("POST", "/auth/session/refresh").Code)
		assert.NotEqual(t, right, c.csrf)
		assert.Equal(t, 200, c.do("POST", "/verify").Code)
	})
}

// TestClaimsOfAnySpelling: the strictness for tokens of others is not for our own.
func TestClaimsOfAnySpelling(t *testing.T) {
	t.Parallel()
	memory := stmigratetest.NewCore(t)
	s := sessionsOn(t, memory.Client())
	start := func(payload map[string]any) (*stmigrate.Session, *httptest.ResponseRecorder, error) {
		w := httptest.NewRecorder()
		session, err := s.Start(w, httptest.NewRequest(http.MethodPost, "/", nil), stmigrate.User{ID: "u", AccessTokenPayload: payload})
		return session, w, err
	}
	for _, name := range []string{"SID", "Typ", "Kid", "AUD", "Alg", "Sub", "Iss", "roles/Ünï<&>"} {
		_, w, err := start(map[string]any{name: "x", strings.ToLower(name) + "2": "y"})
		require.NoError(t, err, name)
		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header.Set("Authorization", "Bearer "+w.Header().Get("st-access-token"))
		session, err := s.Verify(httptest.NewRecorder(), req, stmigrate.VerifyOptions{})
		require.NoError(t, err, name)
		assert.Equal(t, "x", session.AccessTokenPayload()[name])
	}
	live := len(memory.Sessions())
	var deep any = "x"
	for range 31 {
		deep = map[string]any{"a": deep}
	}
	_, _, err := start(map[string]any{"deep": deep})
	require.ErrorIs(t, err, stmigrate.ErrNotCreated)
	require.ErrorContains(t, err, "levels deep")
	assert.Len(t, memory.Sessions(), live)
}

// TestUserByAnotherID: a session is found by the ID that the core keeps it under, and by no other.
func TestUserByAnotherID(t *testing.T) {
	t.Parallel()
	memory := stmigratetest.NewCore(t)
	s := sessionsOn(t, memory.Client())
	id := signUp(t, memory, "ada@example.com")
	mapUserID(t, memory, id, "legacy|ada")
	_, err := s.CreateSession(t.Context(), httptest.NewRequest(http.MethodPost, "/", nil), stmigrate.User{ID: id})
	require.ErrorIs(t, err, stmigrate.ErrNotCreated)
	require.ErrorContains(t, err, "the external one")
	assert.Empty(t, memory.Sessions())
	_, err = s.CreateSession(t.Context(), httptest.NewRequest(http.MethodPost, "/", nil), stmigrate.User{ID: "legacy|ada"})
	require.NoError(t, err)
	handles, err := s.UserSessions(t.Context(), "", "legacy|ada")
	require.NoError(t, err)
	assert.Len(t, handles, 1)
	n, err := s.RevokeUser(t.Context(), "public", "legacy|ada")
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	assert.Empty(t, memory.Sessions())
}

// TestStartThatIsLeft: a session that nobody can use ends, whether the client waits for that or not.
func TestStartThatIsLeft(t *testing.T) {
	t.Parallel()
	memory := stmigratetest.NewCore(t)
	id := signUp(t, memory, "ada@example.com")
	mapUserID(t, memory, id, "legacy|ada")
	ctx, leave := context.WithCancel(t.Context())
	create := "/recipe/session"
	client, err := core.New(core.Config{ConnectionURI: memory.URL, Timeout: time.Minute, HTTPClient: &http.Client{Transport: leaver{create, leave}}})
	require.NoError(t, err)
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil)
	_, err = sessionsOn(t, client).Start(httptest.NewRecorder(), r, stmigrate.User{ID: id})
	require.ErrorIs(t, err, stmigrate.ErrNotCreated)
	require.Error(t, ctx.Err())
	require.Len(t, memory.Requests("POST "+create), 1)
	assert.Empty(t, memory.Sessions())
}

// TestRefreshFitsWhereTheMintDid, to the byte.
func TestRefreshFitsWhereTheMintDid(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]func(*stmigrate.SessionsConfig){
		"dynamic key": func(*stmigrate.SessionsConfig) {},
		"static key, anti-CSRF token": func(c *stmigrate.SessionsConfig) {
			c.StaticSigningKey, c.AntiCSRF = true, stmigrate.AntiCSRFViaToken
		},
	} {
		memory := stmigratetest.NewCore(t)
		s := sessionsOn(t, memory.Client(), config)
		largest := 0
		for n := 2100; ; n++ {
			req := httptest.NewRequest(http.MethodPost, "/", nil)
			req.Header.Set("st-auth-mode", "cookie")
			w := httptest.NewRecorder()
			_, err := s.Start(w, req, stmigrate.User{ID: "u", AccessTokenPayload: map[string]any{"x": strings.Repeat("x", n)}})
			if err != nil {
				require.ErrorIs(t, err, stmigrate.ErrNotCreated)
				break
			}
			largest = n
			if n%50 != 0 && n < 2230 {
				continue
			}
			c := &client{server: app(s)}
			for _, cookie := range w.Result().Cookies() {
				if cookie.Name == "sRefreshToken" {
					c.refresh = cookie.Value
				}
			}
			c.csrf = w.Header().Get("anti-csrf")
			answer := c.do("POST", "/auth/session/refresh")
			require.Equal(t, 200, answer.Code, "%s, %d", name, n)
			for _, cookie := range answer.Header().Values("Set-Cookie") {
				require.LessOrEqual(t, len(cookie), 4096, "%s, %d", name, n)
			}
		}
		assert.Greater(t, largest, 2150, name)
	}
}

func TestPayloadUpdateAfterTheBodyHasBegun(t *testing.T) {
	t.Parallel()
	memory := stmigratetest.NewCore(t)
	s := sessionsOn(t, memory.Client())
	begin := map[string]func(w http.ResponseWriter){
		"nothing":      func(http.ResponseWriter) {},
		"early hints":  func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints) },
		"Write":        func(w http.ResponseWriter) { _, _ = io.WriteString(w, "x") },
		"WriteHeader":  func(w http.ResponseWriter) { w.WriteHeader(200) },
		"Flush":        func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"a controller": func(w http.ResponseWriter) { _ = http.NewResponseController(w).Flush() },
		"io.Copy":      func(w http.ResponseWriter) { _, _ = io.Copy(w, struct{ io.Reader }{strings.NewReader("x")}) },
	}
	result := make(chan error, 1)
	server := httptest.NewServer(s.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begin[r.URL.Query().Get("by")](w)
		result <- stmigrate.SessionFrom(r.Context()).UpdateAccessTokenPayload(r.Context(), map[string]any{"x": 1})
	})))
	defer server.Close()
	w := httptest.NewRecorder()
	_, err := s.Start(w, httptest.NewRequest(http.MethodPost, "/", nil), stmigrate.User{ID: "u"})
	require.NoError(t, err)
	for by := range begin {
		req, _ := http.NewRequest(http.MethodGet, server.URL+"?by="+strings.ReplaceAll(by, " ", "+"), nil)
		req.Header.Set("Authorization", "Bearer "+w.Header().Get("st-access-token"))
		resp, err := server.Client().Do(req)
		require.NoError(t, err)
		_ = resp.Body.Close()
		if by == "nothing" || by == "early hints" {
			require.NoError(t, <-result, by)
			assert.NotEmpty(t, resp.Header.Get("st-access-token"), by)
		} else {
			require.ErrorIs(t, <-result, stmigrate.ErrResponseBegun, by)
		}
	}
	_, found := memory.Sessions()[0].Payload["x"]
	assert.True(t, found)
}

// countingWriter is a framework's own, as gin's is: its handlers write to it, and not to what a middleware put around it.
type countingWriter struct {
	http.ResponseWriter
	n int
}

func (w *countingWriter) Write(p []byte) (int, error) {
	w.n += len(p)
	return w.ResponseWriter.Write(p)
}
func (w *countingWriter) Written() bool { return w.n > 0 }

func TestPayloadUpdateAfterAFrameworkHasBegunTheBody(t *testing.T) {
	t.Parallel()
	s := sessionsOn(t, stmigratetest.NewCore(t).Client())
	login := httptest.NewRecorder()
	_, err := s.Start(login, httptest.NewRequest(http.MethodPost, "/", nil), stmigrate.User{ID: "u"})
	require.NoError(t, err)
	req := httptest.NewRequest(http.MethodGet, "/", nil)
	req.Header.Set("Authorization", "Bearer "+login.Header().Get("st-access-token"))
	framework := &countingWriter{ResponseWriter: httptest.NewRecorder()}
	s.Require(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		update := func() error {
			return stmigrate.SessionFrom(r.Context()).UpdateAccessTokenPayload(r.Context(), map[string]any{"x": 1})
		}
		assert.NoError(t, update())
		_, _ = io.WriteString(framework, "x")
		assert.ErrorIs(t, update(), stmigrate.ErrResponseBegun)
	})).ServeHTTP(framework, req)
	assert.True(t, framework.Written())
}

// TestHijack: a WebSocket works behind Require.
func TestHijack(t *testing.T) {
	t.Parallel()
	s := sessionsOn(t, stmigratetest.NewCore(t).Client())
	server := httptest.NewServer(s.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		defer func() { _ = conn.Close() }()
		err = stmigrate.SessionFrom(r.Context()).UpdateAccessTokenPayload(r.Context(), map[string]any{"x": 1})
		_, _ = fmt.Fprintf(rw, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n%v", errors.Is(err, stmigrate.ErrResponseBegun))
		_ = rw.Flush()
	})))
	defer server.Close()
	w := httptest.NewRecorder()
	_, err := s.Start(w, httptest.NewRequest(http.MethodPost, "/", nil), stmigrate.User{ID: "u"})
	require.NoError(t, err)
	req, _ := http.NewRequest(http.MethodGet, server.URL, nil)
	req.Header.Set("Authorization", "Bearer "+w.Header().Get("st-access-token"))
	resp, err := server.Client().Do(req)
	require.NoError(t, err)
	defer func() { _ = resp.Body.Close() }()
	line, _ := bufio.NewReader(resp.Body).ReadString('\n')
	assert.Equal(t, "true", line)
}

// TestCookiesReplaceEachOther: a response sets each cookie once.
func TestCookiesReplaceEachOther(t *testing.T) {
	t.Parallel()
	s := sessionsOn(t, stmigratetest.NewCore(t).Client())
	w := httptest.NewRecorder()
	w.Header().Add("Set-Cookie", "host=1; Path=/")
	req := httptest.NewRequest(http.MethodPost, "/", nil)
	req.Header.Set("st-auth-mode", "cookie")
	session, err := s.Start(w, req, stmigrate.User{ID: "u"})
	require.NoError(t, err)
	for i := range 3 {
		require.NoError(t, session.UpdateAccessTokenPayload(t.Context(), map[string]any{"n": i}))
		assert.Len(t, w.Header().Values("Set-Cookie"), 3)
	}
	require.NoError(t, session.Revoke(t.Context()))
	cookies := w.Result().Cookies()
	require.Len(t, cookies, 3)
	for _, c := range cookies {
		assert.Equal(t, c.Name == "host", c.Value != "", c.Name)
	}
}

func TestPayloadIsTheCallers(t *testing.T) {
	t.Parallel()
	s := sessionsOn(t, stmigratetest.NewCore(t).Client())
	session, err := s.Start(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil), stmigrate.User{
		ID: "u", AccessTokenPayload: map[string]any{"nested": map[string]any{"list": []any{"a"}}},
	})
	require.NoError(t, err)
	nested := session.AccessTokenPayload()["nested"].(map[string]any)
	nested["list"].([]any)[0] = "changed"
	assert.Equal(t, map[string]any{"list": []any{"a"}}, session.AccessTokenPayload()["nested"])
	for _, reserved := range []string{"sub", "exp", "sessionHandle"} {
		require.ErrorContains(t, session.UpdateAccessTokenPayload(t.Context(), map[string]any{reserved: "x"}), "reserved")
	}
	require.ErrorContains(t, session.UpdateAccessTokenPayload(t.Context(), map[string]any{"x": strings.Repeat("x", 9000)}), "too much")
}

// TestManySessions: what an earlier holder left behind is found among hundreds.
func TestManySessions(t *testing.T) {
	t.Parallel()
	memory := stmigratetest.NewCore(t)
	s := sessionsOn(t, memory.Client())
	for i := range 200 {
		_, err := s.CreateSession(t.Context(), httptest.NewRequest(http.MethodPost, "/", nil), stmigrate.User{
			ID: "u", SessionData: map[string]any{stmigrate.SessionMarker: fmt.Sprint(i % 100)},
		})
		require.NoError(t, err)
	}
	found, err := s.FindSessions(t.Context(), "public", "u", "7")
	require.NoError(t, err)
	assert.Len(t, found, 2)
	memory.Status(500, "GET /recipe/session")
	_, err = s.FindSessions(t.Context(), "public", "u", "7")
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
}

// TestTokensOfTheOtherTransfer: a backend that was told how tokens travel takes them in no other way.
func TestTokensOfTheOtherTransfer(t *testing.T) {
	t.Parallel()
	c, memory := newClient(t, "header")
	cookies := app(sessionsOn(t, memory.Client(), func(c *stmigrate.SessionsConfig) { c.Transfer = stmigrate.TransferCookie }))
	for path, token := range map[string]string{"/verify": c.headerAccess, "/auth/session/refresh": c.headerRefresh} {
		req := httptest.NewRequest(http.MethodPost, "https://api.example.com"+path, nil)
		req.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		cookies.ServeHTTP(w, req)
		assert.Equal(t, 401, w.Code, path)
		assert.JSONEq(t, `{"message":"unauthorised"}`, w.Body.String(), path)
	}
}

// TestRefreshKeepsTheKindOfKey, without which the refreshed token would be refused.
func TestRefreshKeepsTheKindOfKey(t *testing.T) {
	t.Parallel()
	for _, static := range []bool{false, true} {
		c, _ := newClient(t, "cookie", func(c *stmigrate.SessionsConfig) { c.StaticSigningKey = static })
		require.Equal(t, 200, c.do("POST", "/auth/session/refresh").Code)
		assert.Equal(t, 200, c.do("GET", "/verify").Code, static)
	}
}

// TestRefreshByHeaderClearsCookies: those beside it are an older session's, and would come back.
func TestRefreshByHeaderClearsCookies(t *testing.T) {
	t.Parallel()
	c, _ := newClient(t, "cookie")
	older := c.refresh
	require.Equal(t, 200, c.do("POST", "/create", "st-auth-mode", "header").Code)
	c.refresh = older
	require.Equal(t, 200, c.do("POST", "/auth/session/refresh", "Authorization", "Bearer "+c.headerRefresh).Code)
	assert.Empty(t, c.access)
	assert.Empty(t, c.refresh)
}

// leaver is a client that goes away in the moment when the core has answered at a path that ends so.
type leaver struct {
	path  string
	leave context.CancelFunc
}

func (l leaver) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := ownClient.Transport.RoundTrip(r)
	if err != nil || !strings.HasSuffix(r.URL.Path, l.path) {
		return resp, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	resp.Body = io.NopCloser(strings.NewReader(string(body)))
	l.leave()
	return resp, err
}

// TestThiefThatLeaves: nobody escapes from the end of a stolen session by not waiting for it.
func TestThiefThatLeaves(t *testing.T) {
	t.Parallel()
	c, memory := newClient(t, "header")
	spent := c.headerRefresh
	require.Equal(t, 200, c.do("POST", "/auth/session/refresh", "Authorization", "Bearer "+spent).Code)
	require.Equal(t, 200, c.do("GET", "/verify", "Authorization", "Bearer "+c.headerAccess).Code)

	ctx, leave := context.WithCancel(t.Context())
	client, err := core.New(core.Config{ConnectionURI: memory.URL, HTTPClient: &http.Client{Transport: leaver{"/recipe/session/refresh", leave}}})
	require.NoError(t, err)
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://api.example.com/auth/session/refresh", nil)
	req.Header.Set("Authorization", "Bearer "+spent)
	sessionsOn(t, client).ServeHTTP(httptest.NewRecorder(), req)
	require.Error(t, ctx.Err())
	assert.Empty(t, memory.Sessions())
}

// TestPayloadUpdateKeepsTheIssuer: a session of another backend on the same core stays that one's.
func TestPayloadUpdateKeepsTheIssuer(t *testing.T) {
	t.Parallel()
	c, memory := newClient(t, "header")
	other, err := stmigrate.NewSessions(stmigrate.SessionsConfig{
		Core: memory.Client(), APIDomain: "https://other.example.com", WebsiteOrigins: []string{"https://app.example.com"},
	})
	require.NoError(t, err)
	req := httptest.NewRequest(http.MethodPost, "/", nil)
	req.Header.Set("Authorization", "Bearer "+c.headerAccess)
	session, err := other.Verify(httptest.NewRecorder(), req, stmigrate.VerifyOptions{})
	require.NoError(t, err)
	require.NoError(t, session.UpdateAccessTokenPayload(t.Context(), map[string]any{"x": 1}))
	assert.Equal(t, "https://api.example.com/auth", session.AccessTokenPayload()["iss"])
}

// TestSessionWithoutAnAntiCSRFToken: of a session from before tokens were asked for, no token is not the right one.
func TestSessionWithoutAnAntiCSRFToken(t *testing.T) {
	t.Parallel()
	c, memory := newClient(t, "cookie")
	strict := sessionsOn(t, memory.Client(), func(c *stmigrate.SessionsConfig) { c.AntiCSRF = stmigrate.AntiCSRFViaToken })
	for method, want := range map[string]error{http.MethodPost: stmigrate.ErrTryRefresh, http.MethodGet: nil} {
		req := httptest.NewRequest(method, "/", nil)
		req.AddCookie(&http.Cookie{Name: "sAccessToken", Value: c.access})
		_, err := strict.Verify(httptest.NewRecorder(), req, stmigrate.VerifyOptions{})
		assert.ErrorIs(t, err, want, method)
		req.Header.Set("anti-csrf", "")
		_, err = strict.Verify(httptest.NewRecorder(), req, stmigrate.VerifyOptions{})
		assert.ErrorIs(t, err, want, method)
	}
}

// TestRevokeTakesBackWhatWasGiven in the same response.
func TestRevokeTakesBackWhatWasGiven(t *testing.T) {
	t.Parallel()
	s := sessionsOn(t, stmigratetest.NewCore(t).Client(), func(c *stmigrate.SessionsConfig) {
		c.AntiCSRF, c.InsecureExposeAccessToken = stmigrate.AntiCSRFViaToken, true
	})
	req, w := httptest.NewRequest(http.MethodPost, "/", nil), httptest.NewRecorder()
	req.Header.Set("st-auth-mode", "cookie")
	session, err := s.Start(w, req, stmigrate.User{ID: "u"})
	require.NoError(t, err)
	require.NotEmpty(t, w.Header().Get("anti-csrf"))
	require.NotEmpty(t, w.Header().Get("st-access-token"))
	require.NoError(t, session.Revoke(t.Context()))
	assert.Empty(t, w.Header().Values("anti-csrf"))
	assert.Empty(t, w.Header().Values("st-access-token"))
	assert.Equal(t, "remove", w.Header().Get("front-token"))
	assert.Empty(t, stmigratetest.AccessTokens(w.Header()))
}

// TestAccessTokenVersions: of each version that a core may sign, whoever asked for it.
func TestAccessTokenVersions(t *testing.T) {
	t.Parallel()
	memory := stmigratetest.NewCore(t)
	s := sessionsOn(t, memory.Client())
	for cdi, version := range map[string]string{"2.21": "3", "3.1": "4", "5.2": "5"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, memory.URL+"/recipe/session",
			strings.NewReader(`{"userId":"u","userDataInJWT":{"role":"admin"},"userDataInDatabase":{},"enableAntiCsrf":false,"useDynamicSigningKey":true}`))
		require.NoError(t, err)
		req.Header.Set("cdi-version", cdi)
		resp, err := ownClient.Do(req)
		require.NoError(t, err)
		var created struct {
			AccessToken struct{ Token string }
			Session     struct{ Handle string }
		}
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&created))
		_ = resp.Body.Close()
		header, err := base64.RawURLEncoding.DecodeString(strings.Split(created.AccessToken.Token, ".")[0])
		require.NoError(t, err)
		require.Contains(t, string(header), `"version":"`+version+`"`)

		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+created.AccessToken.Token)
		session, err := s.Verify(httptest.NewRecorder(), r, stmigrate.VerifyOptions{CheckDatabase: true})
		require.NoError(t, err, version)
		assert.Equal(t, created.Session.Handle, session.Handle(), version)
		assert.Equal(t, "public", session.TenantID(), version)
		assert.Equal(t, "admin", session.AccessTokenPayload()["role"], version)
	}
}

// TestKeysThatRotate: a token of a new key is good at once, one of a key that is out of the core is not.
func TestKeysThatRotate(t *testing.T) {
	t.Parallel()
	memory, other := stmigratetest.NewCore(t), stmigratetest.NewCore(t, stmigratetest.CoreConfig{FreshKeys: true})
	s := sessionsOn(t, memory.Client())
	token := func(s *stmigrate.Sessions) string {
		w := httptest.NewRecorder()
		_, err := s.Start(w, httptest.NewRequest(http.MethodPost, "/", nil), stmigrate.User{ID: "u"})
		require.NoError(t, err)
		return w.Header().Get("st-access-token")
	}
	verify := func(token string) error {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		_, err := s.Verify(httptest.NewRecorder(), r, stmigrate.VerifyOptions{})
		return err
	}
	old := token(s)
	require.NoError(t, verify(old))
	memory.RotateKeys()
	fresh := token(s)
	require.NoError(t, verify(fresh))
	require.NoError(t, verify(old), "until it expires")
	require.ErrorIs(t, verify(token(sessionsOn(t, other.Client()))), stmigrate.ErrTryRefresh)
	require.ErrorIs(t, verify(forged(fresh)), stmigrate.ErrTryRefresh)
}

// TestClaimsOfOtherRecipes: in the SDKs' format, at every mint, and before what the user was given.
func TestClaimsOfOtherRecipes(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1_700_000_000_000)
	var fail error
	memory := stmigratetest.NewCore(t)
	s := sessionsOn(t, memory.Client(), func(c *stmigrate.SessionsConfig) {
		c.Claims = func(_ context.Context, u stmigrate.User) (map[string]any, error) {
			return map[string]any{"st-ev": stmigrate.ClaimValue(true, at), "st-role": stmigrate.ClaimValue([]string{"role-of-" + u.ID}, at)}, fail
		}
	})
	u := stmigrate.User{ID: "u", AccessTokenPayload: map[string]any{"st-ev": "forged", "plan": "pro"}}
	session, err := s.Start(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil), u)
	require.NoError(t, err)
	payload := session.AccessTokenPayload()
	assert.Equal(t, map[string]any{"v": true, "t": json.Number("1700000000000")}, payload["st-ev"])
	assert.Equal(t, map[string]any{"v": []any{"role-of-u"}, "t": json.Number("1700000000000")}, payload["st-role"])
	assert.Equal(t, "pro", payload["plan"])
	assert.Equal(t, "forged", u.AccessTokenPayload["st-ev"], "the caller's map stays as it is")

	fail = stmigrate.ErrUnavailable
	_, err = s.Start(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil), u)
	require.ErrorIs(t, err, stmigrate.ErrNotCreated)
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	assert.Len(t, memory.Sessions(), 1)
}
