package coreemu_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate/internal/coreemu"
)

// object is a JSON object; numbers are json.Number.
type object = map[string]any

// caller speaks to a core at one CDI version.
type caller struct {
	t    testing.TB
	core *coreemu.Core
	cdi  string
}

// newCore stands still at one time, so that only Advance moves it.
func newCore(t testing.TB, cdi string) caller {
	now := time.UnixMilli(1_700_000_000_123)
	return caller{t, coreemu.New(coreemu.Config{Now: func() time.Time { return now }}), cdi}
}

func (c caller) at(cdi string) caller { c.cdi = cdi; return c }

func (c caller) raw(method, path, body string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(method, path, strings.NewReader(body))
	if c.cdi != "" {
		req.Header.Set("cdi-version", c.cdi)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	c.core.ServeHTTP(rec, req)
	return rec
}

// ask expects a JSON answer.
func (c caller) ask(method, path string, body any) object {
	c.t.Helper()
	text, err := json.Marshal(body)
	require.NoError(c.t, err)
	rec := c.raw(method, path, string(text))
	require.Equal(c.t, 200, rec.Code, rec.Body)
	return decode(c.t, rec.Body.Bytes())
}

// refused expects a text.
func (c caller) refused(code int, text, method, path string, body any) {
	c.t.Helper()
	raw, err := json.Marshal(body)
	require.NoError(c.t, err)
	rec := c.raw(method, path, string(raw))
	require.Equal(c.t, code, rec.Code, rec.Body)
	require.Equal(c.t, text+"\n", rec.Body.String())
	require.Equal(c.t, "text/html; charset=UTF-8", rec.Header().Get("Content-Type"))
}

func decode(t testing.TB, raw []byte) object {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var out object
	require.NoError(t, dec.Decode(&out), "%s", raw)
	return out
}

// get follows a dotted path to a string.
func get(t testing.TB, o object, path string) string {
	t.Helper()
	var v any = o
	for name := range strings.SplitSeq(path, ".") {
		require.IsType(t, object{}, v, "%s in %v", path, o)
		v = v.(object)[name]
	}
	require.IsType(t, "", v, "%s in %v", path, o)
	return v.(string)
}

func TestPaths(t *testing.T) {
	c := newCore(t, "3.1")
	c.ask("PUT", "/recipe/multitenancy/tenant", object{"tenantId": "T1", "emailPasswordEnabled": true})
	const notFound = "AppId or tenantId not found => Tenant with the following connectionURIDomain, appId and tenantId " +
		"combination not found: (, %s, %s)\n"
	for _, tt := range []struct {
		method, path, cdi string
		code              int
		text              string // "" for JSON
	}{
		{"GET", "/", "3.1", 200, "Hello\n"},
		{"GET", "/public", "3.1", 200, "Hello\n"},
		{"GET", "/nosuchtenant", "3.1", 404, "Not found\n"},
		{"GET", "/t1/hello", "3.1", 200, "Hello\n"},
		{"POST", "/hello", "3.1", 405, "Method not supported\n"},
		{"GET", "/users/count", "3.1", 200, ""},
		{"GET", "/users/count/", "3.1", 200, ""},
		{"GET", "/USERS/count", "3.1", 200, ""},
		{"GET", "/public/users/count", "3.1", 200, ""},
		{"GET", "/T1/users/count", "3.1", 200, ""},
		{"GET", "/appid-public/users/count", "3.1", 200, ""},
		{"GET", "/appid-public/t1/users/count", "5.2", 200, ""},
		{"GET", "/appid-other/users/count", "5.2", 400, fmt.Sprintf(notFound, "other", "public")},
		{"GET", "/appid-other/t1/users/count", "5.2", 400, fmt.Sprintf(notFound, "other", "t1")},
		{"GET", "/t2/users/count", "5.2", 400, fmt.Sprintf(notFound, "public", "t2")},
		{"GET", "/recipe/users/count", "5.2", 404, "Not found\n"},
		{"GET", "/t1/t1/users/count", "5.2", 404, "Not found\n"},
		{"GET", "/t_1/users/count", "5.2", 404, "Not found\n"},
		{"GET", "/t1/users/count", "2.21", 404, "Not found\n"},
		{"DELETE", "/users/count", "5.2", 405, "Method not supported\n"},
		{"GET", "/users/count", "2.20", 400, "cdi-version 2.20 not supported\n"},
		{"GET", "/users/count", "5.3", 400, "cdi-version 5.3 not supported\n"},
		{"GET", "/users/count", "3", 400, "cdi-version 3 not supported\n"},
		{"GET", "/users/count", "", 200, ""},
		{"GET", "/t1/recipe/roles", "4.0", 200, ""},
		{"GET", "/t1/recipe/roles", "5.0", 403, "Only public tenantId can call this app specific API\n"},
		{"GET", "/t1/users/count?includeAllTenants=true", "5.0", 403, "Only public tenantId can call this app specific API\n"},
		{"GET", "/t1/recipe/session/user?userId=u", "5.0", 403, "Only public tenantId can call this app specific API\n"},
		{"GET", "/t2/recipe/session/user?userId=u", "4.0", 200, ""},
		{"GET", "/t2/recipe/session/user?userId=u&fetchAcrossAllTenants=false", "4.0", 400, fmt.Sprintf(notFound, "public", "t2")},
		{"GET", "/recipe/session/user", "3.1", 400, "Field name 'userId' is missing in GET request\n"},
		{"GET", "/bulk-import/users", "5.2", 400, "This API is not supported in the in-memory database.\n"},
	} {
		t.Run(tt.method+" "+tt.path+" "+tt.cdi, func(t *testing.T) {
			rec := c.at(tt.cdi).raw(tt.method, tt.path, "")
			require.Equal(t, tt.code, rec.Code, rec.Body)
			if tt.text != "" {
				require.Equal(t, tt.text, rec.Body.String())
				return
			}
			require.Equal(t, "application/json; charset=UTF-8", rec.Header().Get("Content-Type"))
			decode(t, rec.Body.Bytes())
		})
	}
}

func TestAPIKey(t *testing.T) {
	c := caller{t, coreemu.New(coreemu.Config{APIKey: "k1"}), "3.1"}
	for _, tt := range []struct {
		path, header, value string
		code                int
	}{
		{"/users/count", "api-key", "k1", 200},
		{"/users/count", "api-key", " k1 ", 200},
		{"/users/count", "Authorization", "Bearer k1", 200},
		{"/users/count", "Authorization", "k1", 200},
		{"/users/count", "api-key", "k2", 401},
		{"/users/count", "api-key", "", 401},
		{"/apiversion", "X", "", 401},
		{"/hello", "X", "", 200},
		{"/.well-known/jwks.json", "X", "", 200},
		{"/nothing/here", "X", "", 404},
	} {
		rec := c.raw("GET", tt.path, "", tt.header, tt.value)
		require.Equal(t, tt.code, rec.Code, "%+v: %s", tt, rec.Body)
		if tt.code == 401 {
			require.Equal(t, "Invalid API key\n", rec.Body.String())
		}
	}
}

func TestVersionsOfItsConfiguration(t *testing.T) {
	c := caller{t, coreemu.New(coreemu.Config{Versions: []string{"2.21", "3.0"}}), "3.0"}
	require.Equal(t, []any{"2.21", "3.0"}, c.ask("GET", "/apiversion", nil)["versions"])
	c.ask("GET", "/users/count", nil)
	c.at("3.1").refused(400, "cdi-version 3.1 not supported", "GET", "/users/count", nil)
	require.Panics(t, func() { coreemu.New(coreemu.Config{Versions: []string{"latest"}}) })
}

func TestBodies(t *testing.T) {
	c := newCore(t, "3.1")
	const path = "/recipe/user/metadata"
	for name, tt := range map[string]struct {
		body string
		code int
		text string
	}{
		"empty":      {"", 400, "Invalid Json Input\n"},
		"null":       {"null", 400, "Invalid Json Input\n"},
		"array":      {"[]", 400, "Invalid Json Input\n"},
		"two values": {"{}{}", 400, "Invalid Json Input\n"},
		"too large":  {`{"userId": "` + strings.Repeat("x", 1<<20) + `"}`, 413, "Request body is larger than 1 MiB\n"},
		"null field": {`{"userId": null}`, 400, "Field name 'userId' is invalid in JSON input\n"},
		"wrong type": {`{"userId": "u", "metadataUpdate": []}`, 400, "Field name 'metadataUpdate' is invalid in JSON input\n"},
	} {
		t.Run(name, func(t *testing.T) {
			rec := c.raw("PUT", path, tt.body)
			require.Equal(t, tt.code, rec.Code)
			require.Equal(t, tt.text, rec.Body.String())
		})
	}

	t.Run("as it was sent", func(t *testing.T) {
		const metadata = `{"big":12345678901234567890,"float":1.50,"html":"<a&b>","null":{"in":null}}`
		rec := c.raw("PUT", path, `{"userId": "u", "metadataUpdate": `+metadata+`}`)
		require.Equal(t, `{"metadata":`+metadata+`,"status":"OK"}`+"\n", rec.Body.String())
	})
}

// TestAfterCommit: the session is there though the client never heard of it.
func TestAfterCommit(t *testing.T) {
	core := coreemu.New(coreemu.Config{})
	srv := httptest.NewServer(core)
	defer srv.Close()
	create := func() (*http.Response, error) {
		body := `{"userId": "u", "userDataInJWT": {}, "userDataInDatabase": {"claim": "c1"}, "enableAntiCsrf": false}`
		return client.Post(srv.URL+"/appid-public/public/recipe/session", "application/json", strings.NewReader(body))
	}
	core.AfterCommit("POST /recipe/session")
	_, err := create()
	require.Error(t, err)
	sessions := core.Sessions()
	require.Len(t, sessions, 1)
	require.Equal(t, object{"claim": "c1"}, sessions[0].Data)

	core.Down("POST /recipe/session")
	_, err = create()
	require.Error(t, err)
	require.Len(t, core.Sessions(), 1)

	core.Heal()
	resp, err := create()
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Len(t, core.Sessions(), 2)
	require.Len(t, core.Requests("POST /recipe/session"), 3)
}

// TestConcurrency: many clients refresh one session, sign up the same user and look on.
func TestConcurrency(t *testing.T) {
	c := newCore(t, "5.2")
	s := c.create("u")
	var wg sync.WaitGroup
	status := make([]string, 16)
	for i := range status {
		wg.Go(func() {
			c.ask("POST", "/recipe/session/refresh", refreshBody(get(t, s, "refreshToken.token")))
			c.ask("PUT", "/recipe/user/metadata", object{"userId": "u", "metadataUpdate": object{fmt.Sprint(i): i}})
			status[i] = get(t, c.ask("POST", "/recipe/signup", object{"email": "a@example.com", "password": "p"}), "status")
			c.core.Advance(time.Millisecond)
			c.core.Sessions()
			c.core.Users()
		})
	}
	wg.Wait()
	created := 0
	for _, s := range status {
		if s == "OK" {
			created++
		}
	}
	require.Equal(t, 1, created)
	require.Len(t, c.ask("GET", "/recipe/user/metadata?userId=u", nil)["metadata"], len(status))
	require.Len(t, c.core.Sessions(), 1)
}

// FuzzServeHTTP: whatever is asked, the core answers, and never with a failure of its own but for an access token to
// regenerate that is none and for numbers that no token has, as the real core does.
func FuzzServeHTTP(f *testing.F) {
	f.Add("POST", "/recipe/session", "3.1", `{"userId":"u","userDataInJWT":{},"userDataInDatabase":{},"enableAntiCsrf":true}`)
	f.Add("POST", "/recipe/session/refresh", "5.2", `{"refreshToken":"a.b.V2","enableAntiCsrf":false,"useDynamicSigningKey":true}`)
	f.Add("POST", "/recipe/session/verify", "5.2",
		`{"accessToken":"e30.e30.e30","enableAntiCsrf":false,"doAntiCsrfCheck":false,"checkDatabase":true}`)
	f.Add("POST", "/recipe/session/remove", "5.2", `{"sessionHandles":["a_b","c"]}`)
	f.Add("POST", "/recipe/user/passwordhash/import", "4.0", `{"email":"e","passwordHash":"$2a$05$short"}`)
	f.Add("GET", "/appid-public/public/users?limit=3&paginationToken=x", "2.21", "")
	f.Add("POST", "/recipe/session", "3.1", `{"userId":"u","userDataInJWT":{"n":1e400},"userDataInDatabase":{},"enableAntiCsrf":true}`)
	f.Add("GET", "//appid-/", "x", "")
	core := coreemu.New(coreemu.Config{})
	f.Fuzz(func(t *testing.T, method, path, cdi, body string) {
		req, err := http.NewRequest(method, "http://core"+path, strings.NewReader(body))
		if err != nil {
			t.Skip()
		}
		req.Header.Set("cdi-version", cdi)
		rec := httptest.NewRecorder()
		core.ServeHTTP(rec, req)
		text := rec.Body.String()
		if rec.Code >= 500 && !strings.Contains(text, "JWTException") && !strings.Contains(text, "Claim values must only be of types") {
			t.Errorf("%s %s: %d %s", method, path, rec.Code, rec.Body)
		}
	})
}

func ExampleNew() {
	core := coreemu.New(coreemu.Config{})
	srv := httptest.NewServer(core)
	defer srv.Close()

	resp, err := client.Post(srv.URL+"/recipe/session", "application/json", strings.NewReader(
		`{"userId": "auth0|1", "userDataInJWT": {}, "userDataInDatabase": {"from": "auth0"}, "enableAntiCsrf": false}`))
	if err != nil {
		fmt.Println(err)
		return
	}
	_ = resp.Body.Close()
	for _, s := range core.Sessions() {
		fmt.Println(resp.StatusCode, s.UserID, s.TenantID, s.Data, s.ExpiresAt.Sub(s.CreatedAt))
	}
	// Output: 200 auth0|1 public map[from:auth0] 2400h0m0s
}
