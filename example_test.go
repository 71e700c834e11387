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
	mux.Handle("/api/", sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprint(w, "hello, ", stmigrate.SessionFrom(r.Context()).UserID())
	})))
	api := httptest.NewServer(mux)
	defer api.Close()

	req, _ := http.NewRequest(http.MethodPost, api.URL+"/migrate-session", nil)
	req.Header.Set("Authorization", "Bearer "+legacy.Token(stmigratetest.Claims{"sub": "ada"}))
	resp, _ := http.DefaultClient.Do(req)
	fmt.Println(resp.StatusCode, read(resp))

	req, _ = http.NewRequest(http.MethodGet, api.URL+"/api/", nil)
	req.Header.Set("Authorization", "Bearer "+resp.Header.Get("st-access-token"))
	resp, _ = http.DefaultClient.Do(req)
	fmt.Println(resp.StatusCode, read(resp))
	// Output:
	// 200 {"status":"OK"}
	// 200 hello, ada
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
