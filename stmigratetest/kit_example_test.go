package stmigratetest_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// A SuperTokens core in memory, which does the work and drops the connection: whoever called it cannot know.
func ExampleStartCore() {
	memory, err := stmigratetest.StartCore(stmigratetest.CoreConfig{APIKey: "secret-key"})
	if err != nil {
		panic(err)
	}
	defer memory.Close()
	client := memory.Client()
	memory.AfterCommit("POST /recipe/session")
	_, err = client.CreateSession(context.Background(), "", core.NewSession{UserID: "ada"})
	fmt.Println("failed:", err != nil)
	fmt.Println("sessions:", len(memory.Sessions()), "asked:", len(memory.Requests("POST /recipe/session")))
	// Output:
	// failed: true
	// sessions: 1 asked: 1
}

// A test of a backend's own resolver, with neither a provider nor a core.
func ExampleFakeVerifier() {
	verifier, sessions := new(stmigratetest.FakeVerifier), new(stmigratetest.FakeSessions)
	verifier.Add("a-token", stmigrate.OldSession{Subject: "legacy|7"})
	migrator, err := stmigrate.New(stmigrate.Config{
		Verifier: verifier, Sessions: sessions, Exchanges: stmigrate.NewMemoryExchanges(10), Revoker: stmigrate.LeaveToExpire,
		Users: stmigrate.UserResolverFunc(func(_ context.Context, s *stmigrate.OldSession) (*stmigrate.User, error) {
			return &stmigrate.User{ID: "user-of-" + s.Subject}, nil
		}),
	})
	if err != nil {
		panic(err)
	}
	req := httptest.NewRequest(http.MethodPost, "/migrate-session", nil)
	req.Header.Set("Authorization", "Bearer a-token")
	w := httptest.NewRecorder()
	migrator.ServeHTTP(w, req)
	fmt.Println(w.Code, sessions.Live()[0].UserID)
	// Output: 200 user-of-legacy|7
}

// What a core would do to an exchange when its connection breaks.
func ExampleFakeSessions() {
	sessions := &stmigratetest.FakeSessions{
		AfterCreate: func(context.Context, stmigrate.User) error { return fmt.Errorf("connection reset") },
	}
	_, err := sessions.CreateSession(context.Background(), httptest.NewRequest(http.MethodPost, "/", nil), stmigrate.User{ID: "ada"})
	fmt.Println(err, len(sessions.Live()))
	// Output: connection reset 1
}
