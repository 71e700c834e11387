package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate/stmigratetest"
)

// ownClient's connections are no other test's to close, and the page's own neither.
var ownClient = &http.Client{Transport: new(http.Transport)}

func init() { providerClient.Transport = new(http.Transport) }

// browser is a page in a browser, as far as the server sees it: cookies, and a legacy token where there is one.
type browser struct {
	t      *testing.T
	base   string
	client *http.Client
	legacy *stmigratetest.Issuer
	token  string
}

func open(t *testing.T) *browser {
	t.Helper()
	legacy := stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{Audience: audience})
	server := httptest.NewUnstartedServer(nil)
	base := "http://" + server.Listener.Addr().String()
	handler, err := newApp(legacy, stmigratetest.NewCore(t).Client(), base)
	require.NoError(t, err)
	server.Config.Handler = handler
	server.Start()
	t.Cleanup(server.Close)
	return (&browser{t: t, base: base, legacy: legacy}).another()
}

// another is another browser at the same server.
func (b *browser) another() *browser {
	jar, err := cookiejar.New(nil)
	require.NoError(b.t, err)
	return &browser{t: b.t, base: b.base, legacy: b.legacy, client: &http.Client{Transport: ownClient.Transport, Jar: jar, Timeout: time.Minute}}
}

type answered struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

func (b *browser) do(method, path, body string, header ...string) answered {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.base+path, strings.NewReader(body))
	require.NoError(b.t, err)
	if b.token != "" {
		req.Header.Set("Authorization", "Bearer "+b.token)
	}
	for i := 0; i < len(header); i += 2 {
		if req.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	resp, err := b.client.Do(req)
	require.NoError(b.t, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(b.t, err)
	a := answered{status: resp.StatusCode, header: resp.Header, body: string(data)}
	_ = json.Unmarshal(data, &a.json)
	return a
}

func (b *browser) post(path string) answered { b.t.Helper(); return b.do(http.MethodPost, path, "") }
func (b *browser) me() answered              { b.t.Helper(); return b.do(http.MethodGet, "/api/me", "") }

func (b *browser) signIn(email, password string) answered {
	b.t.Helper()
	form, err := json.Marshal(map[string]string{"email": email, "password": password})
	require.NoError(b.t, err)
	return b.do(http.MethodPost, "/sign-in", string(form))
}

func (b *browser) signInToLegacy() {
	b.t.Helper()
	a := b.signIn(ada.Email, ada.password)
	require.Equal(b.t, 200, a.status, a.body)
	b.token, _ = a.json["accessToken"].(string)
	require.NotEmpty(b.t, b.token)
}

// state is the page's view of the demo: minted, live, revoked.
func (b *browser) counts() [3]float64 {
	b.t.Helper()
	a := b.do(http.MethodGet, "/demo/state", "")
	require.Equal(b.t, 200, a.status, a.body)
	return [3]float64{a.json["minted"].(float64), a.json["live"].(float64), a.json["revoked"].(float64)}
}

func (b *browser) migrate() {
	b.t.Helper()
	a := b.do(http.MethodPost, "/migrate-session", "", "Idempotency-Key", "the page's own")
	require.Equal(b.t, 200, a.status, a.body)
	b.token = ""
}

func TestBeforeTheDeployment(t *testing.T) {
	b := open(t)
	assert.Equal(t, 401, b.me().status, "nobody is signed in")
	b.signInToLegacy()

	me := b.me()
	require.Equal(t, 200, me.status, me.body)
	assert.Equal(t, "legacy", me.json["session"])
	assert.Equal(t, ada.ID, me.json["userId"])
	assert.NotEmpty(t, me.json["sessionId"])
	assert.Equal(t, ada.ID, me.json["payload"].(map[string]any)["sub"])

	for _, path := range []string{"/migrate-session", "/auth/session/refresh", "/auth/signout"} {
		assert.Equal(t, 404, b.post(path).status, "%s is not there yet", path)
	}
	assert.Contains(t, b.do(http.MethodGet, "/", "").body, `data-release="legacy"`)
	assert.Equal(t, [3]float64{0, 0, 0}, b.counts())
	assert.Equal(t, 409, b.post("/demo/replay").status, "nothing was exchanged that could be replayed")

	assert.False(t, b.legacy.Revoked(b.token))
	assert.Equal(t, 200, b.post("/legacy/sign-out").status)
	assert.True(t, b.legacy.Revoked(b.token), "at the provider")
}

func TestLegacyTokensThatAreRefused(t *testing.T) {
	b := open(t)
	for _, deployed := range []bool{false, true} {
		if deployed {
			require.Equal(t, 200, b.post("/demo/deploy").status)
		}
		b.token = b.legacy.Token(stmigratetest.Claims{"sub": ada.ID, "aud": "https://other.example.com"})
		assert.Equal(t, 401, b.me().status, "for another API")
		b.token = b.legacy.Token(stmigratetest.Claims{"sub": "legacy|mallory", "aud": audience})
		assert.Equal(t, 403, b.me().status, "another user")
	}
}

func TestSignOutBeforeThePageWasReloaded(t *testing.T) {
	b := open(t)
	b.signInToLegacy()
	require.Equal(t, 200, b.post("/demo/deploy").status)
	require.Equal(t, 200, b.post("/legacy/sign-out").status)
	assert.True(t, b.legacy.Revoked(b.token))
}

func TestTheProviderDoesNotRevoke(t *testing.T) {
	b := open(t)
	b.signInToLegacy()
	require.Equal(t, 200, b.post("/demo/deploy").status)
	b.legacy.Status(http.StatusInternalServerError, "/logout")
	assert.Equal(t, 503, b.post("/legacy/sign-out").status, "and the page is told")
	b.migrate()
	assert.Equal(t, [3]float64{1, 1, 0}, b.counts())
	assert.Contains(t, b.do(http.MethodGet, "/demo/state", "").body, `"title":"Legacy session not revoked"`)
}

func TestTheMove(t *testing.T) {
	b := open(t)
	b.signInToLegacy()
	old := b.token
	require.Equal(t, 200, b.post("/demo/deploy").status)
	require.Equal(t, 200, b.post("/demo/deploy").status, "again is no harm")

	me := b.me()
	require.Equal(t, 200, me.status, "a page that was not reloaded goes on: %s", me.body)
	assert.Equal(t, "legacy", me.json["session"])
	assert.Contains(t, b.do(http.MethodGet, "/", "").body, `data-release="supertokens"`)

	b.migrate()
	me = b.me()
	require.Equal(t, 200, me.status, me.body)
	assert.Equal(t, "supertokens", me.json["session"])
	assert.Equal(t, ada.ID, me.json["userId"], "it is the same user")
	assert.Equal(t, "public", me.json["tenantId"])
	payload := me.json["payload"].(map[string]any)
	assert.Equal(t, me.json["sessionId"], payload["sessionHandle"])
	assert.Equal(t, []any{"author"}, payload["st-role"].(map[string]any)["v"])
	expires, err := time.Parse(time.RFC3339, me.json["expiresAt"].(string))
	require.NoError(t, err)
	assert.Equal(t, payload["exp"], float64(expires.Unix()))
	assert.Equal(t, [3]float64{1, 1, 1}, b.counts(), "one minted, one alive, the legacy one revoked")
	assert.True(t, b.legacy.Revoked(old), "at the provider")

	replayed := b.post("/demo/replay")
	assert.EqualValues(t, 409, replayed.json["answer"], replayed.body)

	require.Equal(t, 200, b.post("/auth/session/refresh").status)
	again := b.me()
	require.Equal(t, 200, again.status, again.body)
	assert.Equal(t, me.json["sessionId"], again.json["sessionId"], "a refresh keeps the session")

	require.Equal(t, 200, b.post("/auth/signout").status)
	assert.Equal(t, 401, b.me().status)
	b.token = old
	refused := b.do(http.MethodPost, "/migrate-session", "", "Idempotency-Key", "the page's own")
	assert.Equal(t, 409, refused.status)
	assert.Equal(t, "ALREADY_MIGRATED", refused.json["status"])
	assert.Equal(t, [3]float64{1, 0, 1}, b.counts(), "nothing more was minted")
}

func TestSignInAfterTheDeployment(t *testing.T) {
	b := open(t)
	require.Equal(t, 200, b.post("/demo/deploy").status)
	assert.Equal(t, 403, b.signIn(ada.Email, "guess").status)
	a := b.signIn(ada.Email, ada.password)
	require.Equal(t, 200, a.status, a.body)
	assert.NotContains(t, a.json, "accessToken", "no token reaches the page's scripts")
	me := b.me()
	assert.Equal(t, "supertokens", me.json["session"], me.body)
	assert.Equal(t, [3]float64{0, 1, 0}, b.counts())
}

func TestSignInRefuses(t *testing.T) {
	b := open(t)
	for _, deployed := range []bool{false, true} {
		if deployed {
			require.Equal(t, 200, b.post("/demo/deploy").status)
		}
		assert.Equal(t, 403, b.signIn(ada.Email, "guess").status)
		assert.Equal(t, 403, b.signIn("nobody@example.com", ada.password).status)
		assert.Equal(t, 400, b.do(http.MethodPost, "/sign-in", "email=x").status)
		assert.Equal(t, 400, b.do(http.MethodPost, "/sign-in", `{"email":"`+strings.Repeat("x", 5000)+`"}`).status)
	}
}

func TestStartOver(t *testing.T) {
	b := open(t)
	b.signInToLegacy()
	other := b.another()
	other.signInToLegacy() // never migrates
	require.Equal(t, 200, b.post("/demo/deploy").status)
	b.migrate()
	require.Equal(t, 200, b.post("/demo/start-over").status)

	assert.Contains(t, b.do(http.MethodGet, "/", "").body, `data-release="legacy"`)
	assert.Equal(t, [3]float64{0, 0, 0}, b.counts())
	assert.Equal(t, 401, b.me().status, "a SuperTokens session is nothing to the legacy release")
	assert.Equal(t, 401, other.me().status, "legacy tokens of before are worth nothing")

	other.token = ""
	other.signInToLegacy()
	require.Equal(t, 200, other.post("/demo/deploy").status)
	assert.Equal(t, 401, b.post("/auth/session/refresh").status, "the session of before is over")
	other.migrate()
	assert.Equal(t, [3]float64{1, 1, 1}, other.counts())
}

func TestAssets(t *testing.T) {
	b := open(t)
	page := b.do(http.MethodGet, "/", "")
	assert.Equal(t, "text/html; charset=utf-8", page.header.Get("Content-Type"))
	assert.Equal(t, "no-store", page.header.Get("Cache-Control"))

	loaded := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page.body, -1)
	require.NotEmpty(t, loaded)
	for _, m := range loaded {
		assert.Contains(t, assets, m[1], "what the page loads is embedded")
	}
	for path, asset := range assets {
		a := b.do(http.MethodGet, path, "")
		assert.Equal(t, 200, a.status, path)
		assert.Equal(t, asset.contentType, a.header.Get("Content-Type"), path)
		want, err := static.ReadFile(asset.file)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, []byte(a.body)), path)
		assert.Equal(t, 304, b.do(http.MethodGet, path, "", "If-None-Match", a.header.Get("Etag")).status, path)
	}
	assert.Equal(t, 404, b.do(http.MethodGet, "/static/index.html", "").status)
}

// Without inline code there is nothing that a strict policy would have to make an exception for.
func TestThePageIsNothingInline(t *testing.T) {
	page := open(t).do(http.MethodGet, "/", "").body
	assert.NotRegexp(t, `(?i)<style|\sstyle=|\son[a-z]+=|"javascript:|<script(?:\s+[^>]*)?>[^<]`, page)
	assert.NotContains(t, page, "{{")
	for _, shown := range []string{ada.Email, ada.password} {
		assert.Contains(t, page, shown, "a demo says so")
	}
}

func TestSecurityHeaders(t *testing.T) {
	b := open(t)
	for _, path := range []string{"/", "/app.js", "/api/me", "/migrate-session", "/nowhere"} {
		h := b.do(http.MethodGet, path, "").header
		csp := h.Get("Content-Security-Policy")
		for _, directive := range []string{
			"default-src 'none'", "script-src 'self'", "style-src 'self'", "connect-src 'self'", "frame-ancestors 'none'", "base-uri 'none'",
			"form-action 'none'", "require-trusted-types-for 'script'", "trusted-types 'none'",
		} {
			assert.Contains(t, csp, directive, path)
		}
		assert.NotContains(t, csp, "unsafe", path)
		assert.Equal(t, "nosniff", h.Get("X-Content-Type-Options"), path)
		assert.Equal(t, "no-referrer", h.Get("Referrer-Policy"), path)
		assert.Equal(t, "DENY", h.Get("X-Frame-Options"), path)
		assert.Equal(t, "same-origin", h.Get("Cross-Origin-Resource-Policy"), path)
		if strings.HasPrefix(path, "/api/") {
			assert.Equal(t, "no-store", h.Get("Cache-Control"), path)
		}
	}
}

func TestOtherSitesAreRefused(t *testing.T) {
	b := open(t)
	for _, path := range []string{"/demo/deploy", "/demo/start-over", "/demo/replay", "/sign-in", "/migrate-session"} {
		assert.Equal(t, 403, b.do(http.MethodPost, path, "{}", "Sec-Fetch-Site", "cross-site").status, path)
		assert.Equal(t, 403, b.do(http.MethodPost, path, "{}", "Origin", "https://evil.example").status, path)
	}
	assert.Equal(t, 421, b.do(http.MethodGet, "/", "", "Host", "evil.example").status, "DNS rebinding")
	u, err := url.Parse(b.base)
	require.NoError(t, err)
	assert.Equal(t, 200, b.do(http.MethodGet, "/", "", "Host", "localhost:"+u.Port()).status)
}

// What the page shows of the wire holds no token.
func TestTheTimelineHoldsNoToken(t *testing.T) {
	b := open(t)
	b.signInToLegacy()
	legacy := b.token
	b.post("/demo/deploy")
	b.migrate()
	b.me()
	b.post("/demo/replay")
	state := b.do(http.MethodGet, "/demo/state", "")
	for _, secret := range []string{legacy, legacy[strings.LastIndexByte(legacy, '.')+1:], ada.password} {
		assert.NotContains(t, state.body, secret)
	}
	base, err := url.Parse(b.base + "/auth/session/refresh")
	require.NoError(t, err)
	cookies := b.client.Jar.Cookies(base)
	require.NotEmpty(t, cookies)
	for _, c := range cookies {
		assert.NotContains(t, state.body, c.Value, c.Name)
	}
	for _, want := range []string{
		`"title":"POST /migrate-session","status":200,"request":true,"sent":"legacy token","got":"new session cookies"`,
		`"title":"POST /sign-in","status":200,"request":true,"sent":"e-mail and password","got":"legacy token"`, `"title":"Legacy session revoked"`, `"title":"Exchange finished"`, `"title":"POST /migrate-session","status":409`,
	} {
		assert.Contains(t, state.body, want)
	}
}

func TestTheTimelineForgets(t *testing.T) {
	b := open(t)
	for range maxEntries + 5 {
		b.me()
	}
	assert.Len(t, b.do(http.MethodGet, "/demo/state", "").json["timeline"], maxEntries)
}

func TestRunServesUntilItIsTold(t *testing.T) {
	t.Setenv("SUPERTOKENS_CONNECTION_URI", "")
	assert.ErrorContains(t, run(t.Context(), io.Discard, "0.0.0.0:0"), "other machines")

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	said, out := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, out, "127.0.0.1:0") }()
	line := make([]byte, 512)
	n, err := said.Read(line)
	require.NoError(t, err)
	base := regexp.MustCompile(`http://127\.0\.0\.1:\d+`).FindString(string(line[:n]))
	resp, err := ownClient.Get(base)
	require.NoError(t, err)
	_ = resp.Body.Close()
	assert.Equal(t, 200, resp.StatusCode)
	stop()
	assert.NoError(t, <-done)
}
