package supertokensgo_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/supertokens/supertokens-golang/recipe/session"
	"github.com/supertokens/supertokens-golang/recipe/session/sessmodels"
	"github.com/supertokens/supertokens-golang/supertokens"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/stmigratetest"
	"github.com/stmigrate/stmigrate/supertokensgo"
)

// sdkConfig is how a test initialises the SDK, of which a process has one: no test here is parallel.
type sdkConfig struct {
	website     string // default: of the API's site
	session     sessmodels.TypeInput
	recipes     []supertokens.Recipe
	interceptor bool
}

func (c sdkConfig) init(t testing.TB, uri, apiKey string) {
	t.Helper()
	supertokens.ResetForTest()
	session.ResetForTest()
	info := &supertokens.ConnectionInfo{ConnectionURI: uri, APIKey: apiKey}
	if c.interceptor {
		info.NetworkInterceptor = supertokensgo.NetworkInterceptor
	}
	if c.website == "" {
		c.website = "https://app.example.com"
	}
	off := false
	require.NoError(t, supertokens.Init(supertokens.TypeInput{
		Supertokens: info, Telemetry: &off, RecipeList: append([]supertokens.Recipe{session.Init(&c.session)}, c.recipes...),
		AppInfo: supertokens.AppInfo{AppName: "test", APIDomain: "https://api.example.com", WebsiteDomain: c.website},
	}))
}

// inMemory initialises the SDK on a core in memory.
func inMemory(t testing.TB, c sdkConfig) (*supertokensgo.Sessions, *stmigratetest.Core) {
	t.Helper()
	memory := stmigratetest.NewCore(t)
	c.init(t, memory.URL, "")
	return newSessions(t), memory
}

func newSessions(t testing.TB) *supertokensgo.Sessions {
	t.Helper()
	sessions, err := supertokensgo.NewSessions()
	require.NoError(t, err)
	t.Cleanup(sessions.Wait) // or the SDK would be initialised anew while it is used
	return sessions
}

// onCore initialises the SDK on the core at SUPERTOKENS_CONNECTION_URI, if that is set, else on one in memory.
func onCore(t *testing.T, c sdkConfig) (*supertokensgo.Sessions, *core.Client) {
	t.Helper()
	uri, key := os.Getenv("SUPERTOKENS_CONNECTION_URI"), os.Getenv("SUPERTOKENS_API_KEY")
	if uri == "" {
		uri = stmigratetest.NewCore(t).URL
	}
	c.init(t, uri, key)
	sessions := newSessions(t)
	client, err := core.New(core.Config{
		ConnectionURI: uri, APIKey: key, Timeout: 2 * time.Minute,
		HTTPClient: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}}, // dials for as long as a busy machine takes
	})
	require.NoError(t, err)
	return sessions, client
}

// client is what a SuperTokens frontend keeps.
type client struct {
	mode, antiCSRF, access, refresh string
}

// take keeps the tokens of a response's headers.
func (c *client) take(h http.Header) {
	cookies := false
	for _, cookie := range (&http.Response{Header: h}).Cookies() {
		switch cookie.Name {
		case "sAccessToken":
			cookies, c.mode, c.access = true, "cookie", cookie.Value
		case "sRefreshToken":
			c.refresh = cookie.Value
		}
	}
	// A client of cookies may be shown its access token as well.
	if token := h.Get("st-access-token"); token != "" && !cookies && (c.mode != "cookie" || c.access == "") {
		c.mode, c.access = "header", token
		if token := h.Get("st-refresh-token"); token != "" {
			c.refresh = token
		}
	}
	if token := h.Get("anti-csrf"); token != "" {
		c.antiCSRF = token
	}
}

// send makes a request as a frontend would, and takes the tokens of the answer.
func (c *client) send(h http.Handler, method, path string, body any) *httptest.ResponseRecorder {
	return c.sendWith(h, method, path, body, nil)
}

func (c *client) sendWith(h http.Handler, method, path string, body any, header http.Header) *httptest.ResponseRecorder {
	data, _ := json.Marshal(body)
	r := httptest.NewRequest(method, path, bytes.NewReader(data))
	r.Header.Set("rid", "session")
	if c.mode != "" {
		r.Header.Set("st-auth-mode", c.mode)
	}
	if c.antiCSRF != "" {
		r.Header.Set("anti-csrf", c.antiCSRF)
	}
	access, refresh := c.access, ""
	if strings.HasSuffix(path, "/session/refresh") {
		access, refresh = "", c.refresh
	}
	switch {
	case c.mode == "cookie":
		if access != "" {
			r.AddCookie(&http.Cookie{Name: "sAccessToken", Value: access})
		}
		if refresh != "" {
			r.AddCookie(&http.Cookie{Name: "sRefreshToken", Value: refresh})
		}
	case access+refresh != "":
		r.Header.Set("Authorization", "Bearer "+access+refresh)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	c.take(w.Header())
	return w
}

// sdk serves the SDK's own APIs, the exchange where there is one, and /api, which tells who makes the request.
func sdk(exchange http.Handler) http.Handler {
	mux := http.NewServeMux()
	if exchange != nil {
		mux.Handle("/migrate-session", exchange)
	}
	mux.Handle("/api", supertokensgo.Require(nil)(http.HandlerFunc(whoAmI)))
	return supertokensgo.Middleware(mux)
}

func whoAmI(w http.ResponseWriter, r *http.Request) {
	id, _ := stmigrate.IdentityFrom(r.Context())
	s := session.GetSessionFromRequestContext(r.Context())
	_, _ = fmt.Fprintf(w, "%s of %s, SDK session: %v, legacy: %v", id.UserID, id.TenantID, s != nil, id.Legacy != nil)
}

// spend refreshes a session by the SDK's middleware, as a client does that goes on with what it got.
func spend(_ context.Context, t *stmigrate.Tokens) error {
	c := &client{}
	c.take(t.Header)
	if w := c.send(sdk(nil), http.MethodPost, "/auth/session/refresh", nil); w.Code != http.StatusOK {
		return fmt.Errorf("the SDK's refresh: %d %s", w.Code, w.Body)
	}
	if w := c.send(sdk(nil), http.MethodPost, "/api", nil); w.Code != http.StatusOK && w.Code != http.StatusForbidden {
		return fmt.Errorf("the SDK's VerifySession of what it refreshed: %d %s", w.Code, w.Body)
	}
	return nil
}

// coreThat is a core that answers by f whatever it is asked but its version.
func coreThat(t *testing.T, f http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/apiversion" {
			_, _ = w.Write([]byte(`{"versions":["3.1"]}`))
			return
		}
		f(w, r)
	}))
	t.Cleanup(server.Close)
	return server
}

// newMigrator exchanges the tokens of one issuer.
func newMigrator(
	t *testing.T, sessions stmigrate.SessionMinter, change func(*stmigrate.Config),
) (*stmigrate.Migrator, *stmigratetest.Issuer) {
	t.Helper()
	issuer := stmigratetest.NewIssuer(t)
	verifier, err := stmigrate.NewJWKSVerifier(stmigrate.JWKSConfig{URL: issuer.JWKSURL()},
		stmigrate.JWTConfig{Issuer: issuer.Issuer(), SkipAudienceCheck: true})
	require.NoError(t, err)
	cfg := stmigrate.Config{
		Verifier: verifier, Sessions: sessions, Users: stmigrate.SubjectIsUserID,
		Exchanges: stmigrate.NewMemoryExchanges(10_000), Revoker: stmigrate.LeaveToExpire,
		Lease: 5 * time.Minute, Grace: 10 * time.Minute,
	}
	if change != nil {
		change(&cfg)
	}
	m, err := stmigrate.New(cfg)
	require.NoError(t, err)
	return m, issuer
}

func post() *http.Request { return httptest.NewRequest(http.MethodPost, "/", nil) }

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

// unsigned makes a JWT of two JSON documents.
func unsigned(header, payload string) string {
	return b64(header) + "." + b64(payload) + ".c2ln"
}
