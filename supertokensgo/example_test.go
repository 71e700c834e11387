package supertokensgo_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/supertokens/supertokens-golang/recipe/emailpassword"
	"github.com/supertokens/supertokens-golang/recipe/emailpassword/epmodels"
	"github.com/supertokens/supertokens-golang/recipe/session"
	"github.com/supertokens/supertokens-golang/supertokens"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/login"
	"github.com/stmigrate/stmigrate/stmigratetest"
	"github.com/stmigrate/stmigrate/supertokensgo"
)

// A backend on supertokens-golang. What it adds for the migration stands between the comments.
func Example() {
	memory, issuer, legacy := demo()
	defer memory.Close()
	defer issuer.Close()

	// Logins: legacy users are imported as they sign in.
	users, err := login.New(login.Config{Core: memory.Client(), Legacy: legacy, Ledger: login.NewMemoryLedger(100_000)})
	if err != nil {
		panic(err)
	}
	legacyLogins, err := supertokensgo.Override(supertokensgo.OverrideConfig{Users: users})
	if err != nil {
		panic(err)
	}
	// As it was, but for Override and NetworkInterceptor.
	if err := supertokens.Init(supertokens.TypeInput{
		Supertokens: &supertokens.ConnectionInfo{ConnectionURI: memory.URL, NetworkInterceptor: supertokensgo.NetworkInterceptor},
		AppInfo:     supertokens.AppInfo{AppName: "shop", APIDomain: "https://api.example.com", WebsiteDomain: "https://app.example.com"},
		RecipeList:  []supertokens.Recipe{emailpassword.Init(&epmodels.TypeInput{Override: legacyLogins}), session.Init(nil)},
	}); err != nil {
		panic(err)
	}
	// The exchange.
	sessions, err := supertokensgo.NewSessions()
	if err != nil {
		panic(err)
	}
	verifier, err := stmigrate.NewJWKSVerifier(
		stmigrate.JWKSConfig{URL: issuer.JWKSURL()},
		stmigrate.JWTConfig{Issuer: issuer.Issuer(), Audience: []string{"https://api.example.com"}})
	if err != nil {
		panic(err)
	}
	migrator, err := stmigrate.New(stmigrate.Config{
		Verifier:  verifier,
		Sessions:  sessions,
		Users:     stmigrate.SubjectIsUserID,
		Exchanges: stmigrate.NewMemoryExchanges(1_000_000),
		Revoker:   stmigrate.LeaveToExpire,
	})
	if err != nil {
		panic(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/migrate-session", migrator)
	// As it was, but for supertokensgo in the place of session and supertokens.
	mux.Handle("/api/orders", supertokensgo.RequireEither(migrator, nil, func(w http.ResponseWriter, r *http.Request) {
		id, _ := stmigrate.IdentityFrom(r.Context())
		_, _ = fmt.Fprintf(w, "orders of %s, legacy session: %v", id.UserID, id.Legacy != nil)
	}))
	api := httptest.NewServer(supertokensgo.Middleware(mux))
	defer api.Close()

	// A tab that was signed in at the legacy provider.
	token := issuer.Token(stmigratetest.Claims{"sub": "ada"})
	_, body := request(api.URL+"/api/orders", token, "")
	fmt.Println("before:", body)
	headers, body := request(api.URL+"/migrate-session", token, "{}")
	fmt.Println("exchange:", body)
	_, body = request(api.URL+"/api/orders", headers.Get("st-access-token"), "")
	fmt.Println("after:", body)

	// Somebody who signs in by the form of the SDK, with the password of the legacy system.
	_, body = request(api.URL+"/auth/signin", "",
		`{"formFields":[{"id":"email","value":"grace@example.com"},{"id":"password","value":"nanoseconds 30"}]}`)
	fmt.Println("sign-in:", bytes.Contains([]byte(body), []byte(`"id":"legacy|42"`)))
	fmt.Println("imported:", len(memory.Users()))
	// Output:
	// before: orders of ada, legacy session: true
	// exchange: {"status":"OK"}
	// after: orders of ada, legacy session: false
	// sign-in: true
	// imported: 1
}

// demo is a core, a legacy provider and a legacy user store in memory, and an SDK that is not initialised.
func demo() (*stmigratetest.Core, *stmigratetest.Issuer, *stmigratetest.FakeLegacyUsers) {
	supertokens.ResetForTest()
	session.ResetForTest()
	memory, err := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	if err != nil {
		panic(err)
	}
	issuer, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{Audience: "https://api.example.com"})
	if err != nil {
		panic(err)
	}
	legacy := &stmigratetest.FakeLegacyUsers{}
	legacy.Add(stmigrate.LegacyUser{ID: "legacy|42", Email: "grace@example.com", EmailVerified: true}, "nanoseconds 30")
	return memory, issuer, legacy
}

// request sends a bearer token, or a body, or both.
func request(url, token, body string) (http.Header, string) {
	method := http.MethodGet
	if body != "" {
		method = http.MethodPost
	}
	r, err := http.NewRequest(method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		panic(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		panic(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		panic(err)
	}
	return resp.Header, string(data)
}
