package stmigrate_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// signedIn calls api with a session of the user ada, and prints what it answers.
func signedIn(api func(w http.ResponseWriter, r *http.Request, s *stmigrate.Session) error) {
	memory, err := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	if err != nil {
		panic(err)
	}
	defer memory.Close()
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{
		Core: memory.Client(), APIDomain: "https://api.example.com", WebsiteOrigins: []string{"https://app.example.com"}})
	if err != nil {
		panic(err)
	}
	login := httptest.NewRecorder()
	if _, err := sessions.Start(login, httptest.NewRequest(http.MethodPost, "/login", nil), stmigrate.User{
		ID: "ada", AccessTokenPayload: map[string]any{"role": "admin"}, SessionData: map[string]any{"visits": 1},
	}); err != nil {
		panic(err)
	}
	handler := sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := api(w, r, stmigrate.SessionFrom(r.Context())); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	req := httptest.NewRequest(http.MethodPost, "/like-comment", nil)
	req.Header.Set("Authorization", "Bearer "+login.Header().Get("st-access-token"))
	w := httptest.NewRecorder()
	handler.ServeHTTP(w, req)
	fmt.Print(w.Body)
}

func ExampleSession_UserID() {
	signedIn(func(w http.ResponseWriter, _ *http.Request, s *stmigrate.Session) error {
		_, err := fmt.Fprintln(w, s.UserID(), "of the tenant", s.TenantID())
		return err
	})
	// Output: ada of the tenant public
}

func ExampleSession_SessionData() {
	signedIn(func(w http.ResponseWriter, r *http.Request, s *stmigrate.Session) error {
		data, err := s.SessionData(r.Context())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(w, data["visits"])
		return err
	})
	// Output: 1
}

func ExampleSession_UpdateSessionData() {
	signedIn(func(w http.ResponseWriter, r *http.Request, s *stmigrate.Session) error {
		if err := s.UpdateSessionData(r.Context(), map[string]any{"visits": 2}); err != nil {
			return err
		}
		data, err := s.SessionData(r.Context())
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(w, data["visits"])
		return err
	})
	// Output: 2
}

func ExampleSession_AccessTokenPayload() {
	signedIn(func(w http.ResponseWriter, _ *http.Request, s *stmigrate.Session) error {
		_, err := fmt.Fprintln(w, s.AccessTokenPayload()["role"])
		return err
	})
	// Output: admin
}

func ExampleSession_UpdateAccessTokenPayload() {
	signedIn(func(w http.ResponseWriter, r *http.Request, s *stmigrate.Session) error {
		// Before the body: the response carries the new token.
		if err := s.UpdateAccessTokenPayload(r.Context(), map[string]any{"plan": "pro", "role": nil}); err != nil {
			return err
		}
		payload := s.AccessTokenPayload()
		_, err := fmt.Fprintln(w, payload["plan"], payload["role"])
		return err
	})
	// Output: pro <nil>
}

// Sessions say from the start what the SDKs' UserRoles recipe would add to them.
func ExampleClaimValue() {
	ctx := context.Background()
	memory, err := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	if err != nil {
		panic(err)
	}
	defer memory.Close()
	supertokens := memory.Client()
	_, _ = supertokens.CreateRole(ctx, "editor", "publish", "retract")
	_, _ = supertokens.AddUserRole(ctx, "public", "ada", "editor")

	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{
		Core: supertokens, APIDomain: "https://api.example.com", WebsiteOrigins: []string{"https://app.example.com"},
		Claims: func(ctx context.Context, u stmigrate.User) (map[string]any, error) {
			roles, err := supertokens.UserRoles(ctx, u.TenantID, u.ID)
			if err != nil {
				return nil, err
			}
			permissions := []string{}
			for _, role := range roles {
				some, err := supertokens.RolePermissions(ctx, role)
				if err != nil {
					return nil, err
				}
				permissions = append(permissions, some...)
			}
			now := time.Now()
			return map[string]any{"st-role": stmigrate.ClaimValue(roles, now), "st-perm": stmigrate.ClaimValue(permissions, now)}, nil
		},
	})
	if err != nil {
		panic(err)
	}
	session, err := sessions.Start(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/login", nil), stmigrate.User{ID: "ada"})
	if err != nil {
		panic(err)
	}
	for _, claim := range []string{"st-role", "st-perm"} {
		fmt.Println(claim, session.AccessTokenPayload()[claim].(map[string]any)["v"])
	}
	// Output:
	// st-role [editor]
	// st-perm [publish retract]
}

func ExampleSession_Revoke() {
	signedIn(func(w http.ResponseWriter, r *http.Request, s *stmigrate.Session) error {
		if err := s.Revoke(r.Context()); err != nil {
			return err
		}
		_, err := s.SessionData(r.Context())
		_, _ = fmt.Fprintln(w, err != nil)
		return nil
	})
	// Output: true
}

// An API that is there for everybody, and knows who is signed in.
func ExampleSessions_Optional() {
	memory, _ := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	defer memory.Close()
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{
		Core: memory.Client(), APIDomain: "https://api.example.com", Transfer: stmigrate.TransferHeader})
	if err != nil {
		panic(err)
	}
	api := sessions.Optional(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s := stmigrate.SessionFrom(r.Context()); s != nil {
			_, _ = io.WriteString(w, "hello, "+s.UserID())
			return
		}
		_, _ = io.WriteString(w, "hello, stranger")
	}))
	w := httptest.NewRecorder()
	api.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	fmt.Println(w.Body)
	// Output: hello, stranger
}

// A framework with handlers of its own needs no middleware.
func ExampleSessions_Verify() {
	memory, _ := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	defer memory.Close()
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{
		Core: memory.Client(), APIDomain: "https://api.example.com", Transfer: stmigrate.TransferHeader})
	if err != nil {
		panic(err)
	}
	_, err = sessions.Verify(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil), stmigrate.VerifyOptions{CheckDatabase: true})
	fmt.Println(err)
	// Output: no session
}

// During the rollout an API takes either kind of session. The handler sees one identity.
func ExampleMigrator_RequireEither() {
	legacy := new(stmigratetest.FakeVerifier)
	legacy.Add("legacy-token", stmigrate.OldSession{Subject: "ada"})
	memory, _ := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	defer memory.Close()
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{
		Core: memory.Client(), APIDomain: "https://api.example.com", Transfer: stmigrate.TransferHeader})
	if err != nil {
		panic(err)
	}
	migrator, err := stmigrate.New(stmigrate.Config{
		Verifier: legacy, Sessions: sessions, Users: stmigrate.SubjectIsUserID,
		Exchanges: stmigrate.NewMemoryExchanges(1000), Revoker: stmigrate.LeaveToExpire,
	})
	if err != nil {
		panic(err)
	}
	api := migrator.RequireEither(sessions.Require, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, _ := stmigrate.IdentityFrom(r.Context())
		_, _ = fmt.Fprint(w, id.UserID, ", legacy session: ", id.Legacy != nil)
	}))

	req := httptest.NewRequest(http.MethodGet, "/api", nil)
	req.Header.Set("Authorization", "Bearer legacy-token")
	w := httptest.NewRecorder()
	api.ServeHTTP(w, req)
	fmt.Println(w.Body, "· St-Migrate:", w.Header().Get("St-Migrate"))

	exchange := httptest.NewRequest(http.MethodPost, "/migrate-session", nil)
	exchange.Header.Set("Authorization", "Bearer legacy-token")
	answer := httptest.NewRecorder()
	migrator.ServeHTTP(answer, exchange)

	req = httptest.NewRequest(http.MethodGet, "/api", nil)
	req.Header.Set("Authorization", "Bearer "+answer.Header().Get("st-access-token"))
	w = httptest.NewRecorder()
	api.ServeHTTP(w, req)
	fmt.Println(w.Body)
	// Output:
	// ada, legacy session: true · St-Migrate: 1
	// ada, legacy session: false
}

// One process remembers what it exchanged; the limit bounds the memory.
func ExampleNewMemoryExchanges() {
	exchanges := stmigrate.NewMemoryExchanges(1)
	claim := stmigrate.Claim{Key: stmigrate.ExchangeKey{1}, Fence: stmigrate.Fence{1}, Lease: time.Minute, KeepFor: time.Hour}
	claimed, err := exchanges.Claim(context.Background(), claim)
	fmt.Println(claimed.State == stmigrate.ClaimHeld, err)

	claim.Key = stmigrate.ExchangeKey{2}
	_, err = exchanges.Claim(context.Background(), claim)
	fmt.Println(err)
	// Output:
	// true <nil>
	// temporarily unavailable: exchange store: full at 1 entries; raise the limit of NewMemoryExchanges
}

// Only users who were imported with their legacy ID get a session.
func ExampleMappedUsers() {
	memory, _ := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	defer memory.Close()
	users := stmigrate.MappedUsers(memory.Client())
	_, err := users.ResolveUser(context.Background(), &stmigrate.OldSession{Issuer: "https://legacy.example.com/", Subject: "auth0|ada"})
	fmt.Println(err)
	// Output: unknown user: the subject is no external user ID of this core; import the user first
}

func ExampleCORSHeaders() {
	allow, expose := stmigrate.CORSHeaders()
	fmt.Println(allow)
	fmt.Println(expose)
	// Output:
	// [Authorization Content-Type Idempotency-Key anti-csrf fdi-version rid st-auth-mode]
	// [anti-csrf front-token Retry-After st-access-token st-migrate st-refresh-token]
}

// A legacy session in a cookie can be sent by any page, so the pages that may are named.
func ExampleFromCookie() {
	_, err := stmigrate.New(stmigrate.Config{
		Verifier: new(stmigratetest.FakeVerifier), Sessions: new(stmigratetest.FakeSessions), Users: stmigrate.SubjectIsUserID,
		Exchanges: stmigrate.NewMemoryExchanges(1000), Revoker: stmigrate.LeaveToExpire,
		Extract: []stmigrate.Extractor{stmigrate.FromCookie("connect.sid")},
	})
	fmt.Println(err)
	// Output: stmigrate: Config.Origins is required where a token may stand in the cookie connect.sid: any website could send it
}

// The places where a legacy token may stand, all in one: whichever of them a client fills.
func ExampleFromRequest() {
	var verifier stmigratetest.FakeVerifier
	verifier.Add("legacy-token", stmigrate.OldSession{Subject: "legacy|ada", SessionID: "legacy-session-1"})
	migrator, err := stmigrate.New(stmigrate.Config{
		Verifier: &verifier, Sessions: new(stmigratetest.FakeSessions), Users: stmigrate.SubjectIsUserID,
		Exchanges: stmigrate.NewMemoryExchanges(1000), Revoker: stmigrate.LeaveToExpire,
		Origins: []string{"https://app.example.com"},
		Extract: []stmigrate.Extractor{
			stmigrate.FromBearer(), stmigrate.FromJSON("access_token"),
			stmigrate.FromRequest(func(r *http.Request) (string, error) { return r.Header.Get("X-Legacy-Session"), nil }),
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ask := func(body, origin string, header ...string) {
		r := httptest.NewRequest(http.MethodPost, "/migrate-session", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("Origin", origin)
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		w := httptest.NewRecorder()
		migrator.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	const ours, foreign = "https://app.example.com", "https://evil.example"
	ask("", ours, "Authorization", "Bearer legacy-token")
	ask(`{"access_token":"legacy-token"}`, ours)
	ask("", ours, "X-Legacy-Session", "legacy-token")
	ask(`{"access_token":"legacy-token"}`, foreign)
	ask(`{"access_token":"another-token"}`, ours, "Authorization", "Bearer legacy-token")
	// Output:
	// 200 {"status":"OK"}
	// 200 {"status":"OK"}
	// 200 {"status":"OK"}
	// 403 {"status":"FORBIDDEN_ORIGIN"}
	// 400 {"status":"BAD_REQUEST"}
}
