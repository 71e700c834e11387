package stmigrate_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"sort"
	"sync"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// A backend mounts the exchange and asks for SuperTokens sessions in its APIs.
func Example() {
	legacy, _ := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{Audience: "https://api.example.com"})
	defer legacy.Close()
	memory, _ := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	defer memory.Close()

	verifier, err := stmigrate.NewJWKSVerifier(
		stmigrate.JWKSConfig{URL: legacy.JWKSURL()},
		stmigrate.JWTConfig{Issuer: legacy.Issuer(), Audience: []string{"https://api.example.com"}})
	if err != nil {
		panic(err)
	}
	supertokens, err := core.New(core.Config{ConnectionURI: memory.URL})
	if err != nil {
		panic(err)
	}
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{
		Core: supertokens, APIDomain: "https://api.example.com", WebsiteOrigins: []string{"https://app.example.com"}})
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
	mux.Handle("/auth/", sessions)
	mux.Handle("/api/", sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, "hello, ", stmigrate.SessionFrom(r.Context()).UserID())
	})))
	api := httptest.NewServer(mux)
	defer api.Close()

	req, _ := http.NewRequest(http.MethodPost, api.URL+"/migrate-session", nil)
	req.Header.Set("Authorization", "Bearer "+legacy.Token(stmigratetest.Claims{"sub": "ada"}))
	migrated, _ := http.DefaultClient.Do(req)
	fmt.Println(migrated.StatusCode, read(migrated))

	req, _ = http.NewRequest(http.MethodGet, api.URL+"/api/", nil)
	req.Header.Set("Authorization", "Bearer "+migrated.Header.Get("st-access-token"))
	resp, _ := http.DefaultClient.Do(req)
	fmt.Println(resp.StatusCode, read(resp))

	// When the access token has expired, the frontend SDK refreshes.
	req, _ = http.NewRequest(http.MethodPost, api.URL+"/auth/session/refresh", nil)
	req.Header.Set("Authorization", "Bearer "+migrated.Header.Get("st-refresh-token"))
	resp, _ = http.DefaultClient.Do(req)
	fmt.Println(resp.StatusCode, read(resp))
	// Output:
	// 200 {"status":"OK"}
	// 200 hello, ada
	// 200 {}
}

func read(resp *http.Response) string {
	defer func() { _ = resp.Body.Close() }()
	data, _ := io.ReadAll(resp.Body)
	return string(data)
}

// An observer that counts. What it counts says when the migration is over, and whether somebody replays tokens.
func ExampleConfig_observe() {
	var (
		mu    sync.Mutex
		count = map[string]int{}
	)
	verifier := new(stmigratetest.FakeVerifier)
	verifier.Add("ada's token", stmigrate.OldSession{Subject: "ada"})
	migrator, err := stmigrate.New(stmigrate.Config{
		Verifier: stmigrate.VerifierFunc(func(ctx context.Context, token string) (*stmigrate.OldSession, error) {
			return verifier.Verify(ctx, token+"'s token")
		}),
		Sessions:  new(stmigratetest.FakeSessions),
		Users:     stmigrate.SubjectIsUserID,
		Exchanges: stmigrate.NewMemoryExchanges(1000),
		Revoker:   stmigrate.LeaveToExpire,
		Observe: func(_ context.Context, e stmigrate.Event) {
			mu.Lock()
			defer mu.Unlock()
			count[e.Name+" "+e.Outcome]++
		},
	})
	if err != nil {
		panic(err)
	}
	for _, token := range []string{"ada", "ada", "mallory"} {
		req := httptest.NewRequest(http.MethodPost, "/migrate-session", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		migrator.ServeHTTP(httptest.NewRecorder(), req)
	}
	names := make([]string, 0, len(count))
	for name := range count {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Println(name, count[name])
	}
	// Output:
	// exchange INVALID_LEGACY_SESSION 1
	// exchange migrated 1
	// exchange replayed 1
}

// New says what is missing, at start-up and not at the first request.
func ExampleNew() {
	_, err := stmigrate.New(stmigrate.Config{
		Verifier: new(stmigratetest.FakeVerifier), Sessions: new(stmigratetest.FakeSessions), Users: stmigrate.SubjectIsUserID,
		Exchanges: stmigrate.NewMemoryExchanges(1000),
	})
	fmt.Println(err)
	// Output: stmigrate: Config.Revoker is required (LeaveToExpire states that legacy sessions stay)
}

// The website on another site than the API needs cookies that are SameSite=None, and so an API on https.
func ExampleNewSessions() {
	client, err := core.New(core.Config{ConnectionURI: "https://core.internal:3567"})
	if err != nil {
		panic(err)
	}
	_, err = stmigrate.NewSessions(stmigrate.SessionsConfig{
		Core: client, APIDomain: "http://localhost:3001", WebsiteOrigins: []string{"http://127.0.0.1:3000"},
	})
	fmt.Println(err)
	// Output: stmigrate: SessionsConfig: cookies for a website of another site need an https APIDomain; on one machine use the same host name for both (localhost and 127.0.0.1 are two sites)
}

// Tokens of two legacy systems: each verifier knows its own, and whoever knows a token has the last word on it.
func ExampleFirstOf() {
	legacy, _ := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{Audience: "api"})
	defer legacy.Close()
	older, _ := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{Audience: "api"})
	defer older.Close()
	verifier := func(iss *stmigratetest.Issuer) stmigrate.OldSessionVerifier {
		keys, err := stmigrate.ParseKeys(iss.JWKS())
		if err != nil {
			panic(err)
		}
		v, err := stmigrate.NewStaticKeyVerifier(keys, stmigrate.JWTConfig{Issuer: iss.Issuer(), Audience: []string{"api"}})
		if err != nil {
			panic(err)
		}
		return v
	}
	both := stmigrate.FirstOf(verifier(legacy), verifier(older))
	s, err := both.Verify(context.Background(), older.Token(stmigratetest.Claims{"sub": "ada"}))
	fmt.Println(s.Subject, err)
	_, err = both.Verify(context.Background(), "opaque")
	fmt.Println(stmigrate.StatusOf(err))
	// Output:
	// ada <nil>
	// 401 INVALID_LEGACY_SESSION
}

// Keys at hand, with the provider switched off.
func ExampleNewStaticKeyVerifier() {
	legacy, _ := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{Audience: "api"})
	keys, err := stmigrate.ParseKeys(legacy.PublicKeysPEM())
	if err != nil {
		panic(err)
	}
	token := legacy.Token(stmigratetest.Claims{"sub": "ada"})
	legacy.Close()
	verifier, err := stmigrate.NewStaticKeyVerifier(keys, stmigrate.JWTConfig{Issuer: legacy.Issuer(), Audience: []string{"api"}})
	if err != nil {
		panic(err)
	}
	s, err := verifier.Verify(context.Background(), token)
	fmt.Println(s.Subject, err)
	// Output: ada <nil>
}
