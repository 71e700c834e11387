// Package backendtest calls the backends of the examples as a page does, over HTTP: the same calls for every framework.
package backendtest

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// ownClient's connections are no other test's to close.
var ownClient = &http.Client{Transport: new(http.Transport)}

const (
	website  = "https://app.example.com"
	audience = "https://api.example.com"
)

// Run starts a backend by its run, which serves until its context is over and says on out where, and holds it to what the
// examples promise.
func Run(t *testing.T, run func(ctx context.Context, out io.Writer) error) {
	t.Setenv("ADDR", "127.0.0.1:0")
	t.Run("demo", func(t *testing.T) {
		t.Setenv("LEGACY_ISSUER", "")
		t.Setenv("SUPERTOKENS_CONNECTION_URI", "")
		b := start(t, run)
		if !strings.Contains(b.said, "DEMO.") {
			t.Errorf("it does not say that it is a demo: %s", b.said)
		}
		b.website = "http://127.0.0.1:3000"
		b.page(t, "cookie").get("/api/me").is(http.StatusUnauthorized)
		b.stop()
	})

	legacy := stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{Audience: audience})
	for name, value := range map[string]string{
		"LEGACY_ISSUER": legacy.Issuer(), "LEGACY_JWKS_URL": legacy.JWKSURL(), "LEGACY_AUDIENCE": audience,
		"SUPERTOKENS_CONNECTION_URI": stmigratetest.NewCore(t).URL, "SUPERTOKENS_API_KEY": "",
		"API_DOMAIN": "https://api.example.com", "WEBSITE_ORIGINS": website + ",https://admin.example.com",
	} {
		t.Setenv(name, value)
	}
	t.Run("an origin that is none", func(t *testing.T) {
		t.Setenv("WEBSITE_ORIGINS", website+"/") // no browser says it so, and every page would be refused
		if err := run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "WEBSITE_ORIGINS") {
			t.Errorf("run: %v", err)
		}
	})
	b := start(t, run)
	t.Run("preflight", b.preflight)
	for _, mode := range []string{"cookie", "header"} {
		t.Run(mode, func(t *testing.T) { b.migrates(t, mode, legacy) })
	}
	t.Run("refusals", b.refuses)
	t.Run("other origins", func(t *testing.T) {
		b.refusesOthers(t, legacy.Token(stmigratetest.Claims{"sub": "legacy|visits evil"}))
	})
	t.Run("shutdown", func(t *testing.T) {
		p := b.page(t, "cookie")
		p.exchange(legacy.Token()).is(http.StatusOK)
		events := p.events("user-1")
		b.stop()
		if _, err := events.ReadString('\n'); err != io.EOF {
			t.Errorf("the stream was not ended: %v", err)
		}
	})
}

// backend is a running example.
type backend struct {
	url, said string
	website   string // whose pages call it
	stop      func()
}

func start(t *testing.T, run func(ctx context.Context, out io.Writer) error) *backend {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, w)
		_ = w.CloseWithError(io.EOF)
		ended <- err
	}()
	b := &backend{website: website, stop: func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("run: %v", err)
			}
			ended <- nil
		case <-time.After(time.Minute):
			t.Error("the backend does not stop")
		}
	}}
	t.Cleanup(b.stop)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		b.said += lines.Text() + "\n"
		if _, url, ok := strings.Cut(lines.Text(), "listening on "); ok {
			b.url = url
			go func() { _, _ = io.Copy(io.Discard, r) }()
			return b
		}
	}
	t.Fatalf("the backend did not start:\n%s", b.said)
	return nil
}

func (b *backend) preflight(t *testing.T) {
	// As a browser has them: in lower case, and sorted.
	const wanted = "anti-csrf,authorization,content-type,fdi-version,idempotency-key,rid,st-auth-mode"
	ask := func(path, origin string) answer {
		t.Helper()
		p := &page{t: t, b: b}
		return p.send(http.MethodOptions, path, http.Header{
			"Origin": {origin}, "Access-Control-Request-Method": {"POST"}, "Access-Control-Request-Headers": {wanted},
		}, "")
	}
	for _, path := range []string{"/migrate-session", "/auth/session/refresh", "/auth/signout", "/api/plan", "/api/profile"} {
		a := ask(path, website)
		if a.status != http.StatusOK && a.status != http.StatusNoContent {
			t.Errorf("%s: %d", path, a.status)
		}
		a.allows(website)
		if !a.lists("Access-Control-Allow-Methods", "GET", "POST") && !a.lists("Access-Control-Allow-Methods", "POST") {
			t.Errorf("%s: the methods are %q", path, a.header["Access-Control-Allow-Methods"])
		}
		if !a.lists("Access-Control-Allow-Headers", strings.Split(wanted, ",")...) {
			t.Errorf("%s: the headers are %q", path, a.header["Access-Control-Allow-Headers"])
		}
		ask(path, "https://evil.example").allows("")
	}
}

// migrates is the way of one user.
func (b *backend) migrates(t *testing.T, mode string, legacy *stmigratetest.Issuer) {
	user := "legacy|" + mode
	token := legacy.Token(stmigratetest.Claims{"sub": user})
	p := b.page(t, mode)

	p.get("/api/me").is(http.StatusUnauthorized).says("message", "unauthorised")
	a := p.send(http.MethodGet, "/api/profile", bearer(token), "").is(http.StatusOK).says("userId", user).says("legacy", true)
	if a.header.Get("St-Migrate") != "1" {
		t.Error("the answer to a legacy session lacks St-Migrate")
	}
	_, exposed := stmigrate.CORSHeaders()
	if !a.lists("Access-Control-Expose-Headers", exposed...) {
		t.Errorf("exposed to the page are %q, expected %q", a.header["Access-Control-Expose-Headers"], exposed)
	}

	p.exchange(token).is(http.StatusOK).says("status", "OK")
	if p.access == "" || p.refresh == "" {
		t.Fatal("the exchange gave no tokens")
	}
	p.get("/api/me").is(http.StatusOK).says("userId", user).says("plan", nil)
	if a := p.get("/api/profile").is(http.StatusOK).says("userId", user).says("legacy", false); a.header.Get("St-Migrate") != "" {
		t.Error("the answer to a SuperTokens session says St-Migrate")
	}
	_ = p.events(user)

	before := p.access
	p.post("/api/plan", `{"plan":"pro"}`).is(http.StatusOK).says("plan", "pro")
	if p.access == before {
		t.Error("the change of the payload brought no new access token")
	}
	p.get("/api/me").is(http.StatusOK).says("plan", "pro")
	for _, bad := range []string{`{"plan":`, `{}`, `{"plan":"` + strings.Repeat("x", 3900) + `"}`} {
		p.post("/api/plan", bad).is(http.StatusBadRequest)
	}
	p.post("/api/plan", `{"plan":"`+strings.Repeat("x", 64<<10)+`"}`).is(http.StatusRequestEntityTooLarge)

	first := *p
	p.post("/auth/session/refresh", "").is(http.StatusOK)
	if p.access == first.access || p.refresh == first.refresh {
		t.Error("the refresh brought no new tokens")
	}
	p.get("/api/me").is(http.StatusOK).says("plan", "pro")

	p.post("/auth/session/refresh", "").is(http.StatusOK)
	unused := *p // for the first use of its token the core is asked
	p.post("/auth/signout", "").is(http.StatusOK).says("status", "OK")
	if p.access != "" || p.refresh != "" {
		t.Error("the sign-out left tokens with the page")
	}
	p.get("/api/me").is(http.StatusUnauthorized).says("message", "unauthorised")
	unused.get("/api/me").is(http.StatusUnauthorized)
	unused.post("/auth/session/refresh", "").is(http.StatusUnauthorized)
	p.exchange(token).is(http.StatusConflict).says("status", "ALREADY_MIGRATED")
}

func (b *backend) refuses(t *testing.T) {
	p := b.page(t, "cookie")
	p.exchange("worthless").is(http.StatusUnauthorized).says("status", "INVALID_LEGACY_SESSION")
	p.send(http.MethodPost, "/migrate-session", nil, "").is(http.StatusUnauthorized).says("status", "NO_LEGACY_SESSION")
	if a := p.get("/migrate-session").is(http.StatusMethodNotAllowed); a.header.Get("Allow") != http.MethodPost {
		t.Errorf("allowed is %q", a.header["Allow"])
	}
	p.post("/auth/session/refresh", "").is(http.StatusUnauthorized)
	p.post("/auth/other", "").is(http.StatusNotFound)
	p.send(http.MethodGet, "/api/profile", bearer("worthless"), "").is(http.StatusUnauthorized)
	p.post("/api/plan", `{"plan":"pro"}`).is(http.StatusUnauthorized)
	long := http.Header{"X-Long": {strings.Repeat("x", 128<<10)}}
	if resp := p.request(http.MethodGet, "/api/me", long, ""); resp.Body.Close() != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("128 KiB of headers: %d", resp.StatusCode)
	}
}

// refusesOthers is about a page of another origin that the browser gives the cookies, since it is of the same site: a forgotten
// subdomain. What it sends needs no preflight.
func (b *backend) refusesOthers(t *testing.T, token string) {
	p := b.page(t, "cookie")
	p.exchange(token).is(http.StatusOK)
	for _, origin := range []string{"https://evil.example.com", website + ".evil.example", "http://app.example.com", "null"} {
		for path, contentType := range map[string]string{
			"/api/plan": "text/plain", "/auth/signout": "", "/auth/session/refresh": "", "/migrate-session": "application/x-www-form-urlencoded",
		} {
			body := ""
			if path == "/api/plan" {
				body = `{"plan":"pro"}`
			}
			resp := p.request(http.MethodPost, path, http.Header{"Origin": {origin}, "Rid": nil, "Content-Type": {contentType}}, body)
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden || resp.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%s from %s: %d, allowed is %q", path, origin, resp.StatusCode, resp.Header["Access-Control-Allow-Origin"])
			}
		}
		resp := p.request(http.MethodGet, "/api/me", http.Header{"Origin": {origin}}, "")
		_ = resp.Body.Close()
		if got := resp.Header.Get("Access-Control-Allow-Origin"); got != "" {
			t.Errorf("GET /api/me from %s: it may be read by %q", origin, got)
		}
	}
	p.get("/api/me").is(http.StatusOK).says("plan", nil)
	p.post("/auth/session/refresh", "").is(http.StatusOK)
}

// page is a page of the website, and its tokens, in one mode of st-auth-mode.
type page struct {
	t               *testing.T
	b               *backend
	mode            string
	access, refresh string
}

func (b *backend) page(t *testing.T, mode string) *page { return &page{t: t, b: b, mode: mode} }

func bearer(token string) http.Header { return http.Header{"Authorization": {"Bearer " + token}} }

func (p *page) get(path string) answer {
	p.t.Helper()
	return p.send(http.MethodGet, path, nil, "")
}
func (p *page) post(path, body string) answer {
	p.t.Helper()
	return p.send(http.MethodPost, path, nil, body)
}
func (p *page) exchange(token string) answer {
	p.t.Helper()
	return p.send(http.MethodPost, "/migrate-session", bearer(token), "")
}

func (p *page) request(method, path string, header http.Header, body string) *http.Response {
	p.t.Helper()
	var reader io.Reader = strings.NewReader(body)
	if body != "" && p.mode == "header" {
		reader = struct{ io.Reader }{reader} // of a length that nobody is told beforehand
	}
	r, err := http.NewRequestWithContext(p.t.Context(), method, p.b.url+path, reader)
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header = http.Header{"Origin": {p.b.website}, "Rid": {"anti-csrf"}, "St-Auth-Mode": {p.mode}}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	cookie, bearerToken := "sAccessToken="+p.access, p.access
	if strings.HasSuffix(path, "/refresh") {
		cookie, bearerToken = "sAccessToken="+p.access+"; sRefreshToken="+p.refresh, p.refresh
	}
	switch {
	case p.access == "":
	case p.mode == "cookie":
		r.Header.Set("Cookie", cookie)
	default:
		r.Header.Set("Authorization", "Bearer "+bearerToken)
	}
	for name, values := range header {
		r.Header[name] = values
	}
	resp, err := ownClient.Do(r)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp
}

// answer is a response that was read.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	text   string
}

// send sends a request and keeps the tokens of the answer.
func (p *page) send(method, path string, header http.Header, body string) answer {
	p.t.Helper()
	resp := p.request(method, path, header, body)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	for _, cookie := range resp.Cookies() {
		switch {
		case p.mode != "cookie":
		case cookie.Name == "sAccessToken":
			p.access = cookie.Value
		case cookie.Name == "sRefreshToken":
			p.refresh = cookie.Value
		}
	}
	for name, token := range map[string]*string{"St-Access-Token": &p.access, "St-Refresh-Token": &p.refresh} {
		if values, ok := resp.Header[name]; ok && p.mode == "header" {
			*token = values[0]
		}
	}
	a := answer{p.t, method + " " + path, resp.StatusCode, resp.Header, string(text)}
	if method != http.MethodOptions {
		a.allows(p.b.website) // refusals, too: a page that cannot read them cannot act on them
	}
	return a
}

// events opens the stream of events, which stays open until the test is over, and reads the first one.
func (p *page) events(user string) *bufio.Reader {
	p.t.Helper()
	resp := p.request(http.MethodGet, "/api/events", nil, "")
	p.t.Cleanup(func() { _ = resp.Body.Close() })
	r := bufio.NewReader(resp.Body)
	line, err := r.ReadString('\n') // which comes while the handler still runs
	if err != nil || line != "data: hello, "+user+"\n" {
		p.t.Fatalf("GET /api/events: %d %q, %v", resp.StatusCode, line, err)
	}
	_, _ = r.ReadString('\n')
	return r
}

func (a answer) is(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: %d, expected %d: %s", a.what, a.status, status, a.text)
	}
	if strings.HasPrefix(a.header.Get("Content-Type"), "application/json") && !json.Valid([]byte(a.text)) {
		a.t.Errorf("%s: more than one handler answered: %s", a.what, a.text)
	}
	return a
}

func (a answer) says(name string, want any) answer {
	a.t.Helper()
	var body map[string]any
	if err := json.Unmarshal([]byte(a.text), &body); err != nil || body[name] != want {
		a.t.Errorf("%s: %s is %v, expected %v: %s", a.what, name, body[name], want, a.text)
	}
	return a
}

// allows checks that a page of this origin may read the answer, with cookies; that none may, if it is "".
func (a answer) allows(origin string) {
	a.t.Helper()
	if got := a.header.Get("Access-Control-Allow-Origin"); got != origin {
		a.t.Errorf("%s: the origin %q is allowed, expected %q", a.what, got, origin)
	}
	if origin == "" {
		return
	}
	if a.header.Get("Access-Control-Allow-Credentials") != "true" {
		a.t.Errorf("%s: credentials are not allowed", a.what)
	}
	if !a.lists("Vary", "Origin") {
		a.t.Errorf("%s: Vary is %q, and a cache would give the answer to other origins", a.what, a.header["Vary"])
	}
}

// lists tells whether a header lists all of these, in whatever case.
func (a answer) lists(header string, names ...string) bool {
	listed := strings.Split(strings.ToLower(strings.Join(a.header[header], ",")), ",")
	for i := range listed {
		listed[i] = strings.TrimSpace(listed[i])
	}
	return !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(listed, strings.ToLower(name)) })
}
