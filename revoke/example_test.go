package revoke_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// The provider has a revocation endpoint, and says in its metadata where. Each revocation is checked by introspection.
func ExampleNewRFC7009() {
	ctx := context.Background()
	legacy, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{ClientID: "backend", ClientSecret: "a secret"})
	if err != nil {
		log.Fatal(err)
	}
	defer legacy.Close()

	endpoint, err := revoke.DiscoverRevocationEndpoint(ctx, legacy.Issuer(), revoke.HTTP{})
	if err != nil {
		log.Fatal(err)
	}
	client := revoke.ClientAuth{ID: "backend", Secret: "a secret"}
	introspection, err := revoke.NewIntrospection(revoke.IntrospectionConfig{Endpoint: legacy.IntrospectionURL(), Client: client})
	if err != nil {
		log.Fatal(err)
	}
	revoker, err := revoke.NewRFC7009(revoke.RFC7009Config{
		Endpoint: endpoint, Client: client, TokenTypeHint: "access_token", Confirm: introspection.ConfirmRevoked,
	})
	if err != nil {
		log.Fatal(err)
	}

	session := legacy.SignIn("ada") // what a user of the legacy system has
	err = revoker.Revoke(ctx, session.AccessToken, &stmigrate.OldSession{Issuer: legacy.Issuer(), Subject: "ada", SessionID: session.SessionID})
	fmt.Println(err, legacy.Revoked(session.AccessToken))
	// Output: <nil> true
}

// Users of two tenants of Entra: each is revoked with the token of the tenant's own.
func ExampleEntraRevokeAllSessionsOfUser() {
	graph := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // Microsoft Graph, in this process
		fmt.Println(r.Header.Get("Authorization"), r.Method, r.URL.Path)
		_, _ = fmt.Fprint(w, `{"value": true}`)
	}))
	defer graph.Close()

	byTenant := make(map[string]stmigrate.Revoker)
	for tenant, token := range map[string]revoke.TokenSource{ // Token of a ClientCredentials each
		"11111111-1111-1111-1111-111111111111": revoke.StaticToken("token-1"),
		"22222222-2222-2222-2222-222222222222": revoke.StaticToken("token-2"),
	} {
		r, err := revoke.EntraRevokeAllSessionsOfUser(revoke.EntraConfig{TenantID: tenant, Token: token, BaseURL: graph.URL})
		if err != nil {
			log.Fatal(err)
		}
		byTenant[tenant] = r
	}
	revoker := stmigrate.RevokerFunc(func(ctx context.Context, token string, s *stmigrate.OldSession) error {
		tenant, _ := s.Claims["tid"].(string)
		r, ok := byTenant[tenant]
		if !ok {
			return &stmigrate.RevokeError{Err: errors.New("a tenant that is not configured"), Permanent: true}
		}
		return r.Revoke(ctx, token, s)
	})

	err := revoker.Revoke(context.Background(), "what the client showed", &stmigrate.OldSession{Claims: map[string]any{
		"tid": "22222222-2222-2222-2222-222222222222", "oid": "6e7b768e-07e2-4810-8459-485f84f8f204",
	}})
	fmt.Println(err)
	// Output:
	// Bearer token-2 POST /v1.0/users/6e7b768e-07e2-4810-8459-485f84f8f204/revokeSignInSessions
	// <nil>
}

// Two providers, one of which has its session in a cookie of the backend's own domain.
func ExampleByIssuer() {
	clerk, err := revoke.NewClerk(revoke.ClerkConfig{Token: revoke.StaticToken("sk_live_example")})
	if err != nil {
		log.Fatal(err)
	}
	byIssuer, err := revoke.ByIssuer(map[string]stmigrate.Revoker{
		"https://clerk.example.com":   clerk,
		"https://legacy.example.com/": stmigrate.LeaveToExpire,
	})
	if err != nil {
		log.Fatal(err)
	}
	revoker, err := revoke.ClearCookies(byIssuer, &http.Cookie{Name: "__Host-legacy", Path: "/", Secure: true})
	if err != nil {
		log.Fatal(err)
	}

	err = revoker.Revoke(context.Background(), "token", &stmigrate.OldSession{Issuer: "https://legacy.example.com/", Subject: "ada"})
	fmt.Println(err)
	err = revoker.Revoke(context.Background(), "token", &stmigrate.OldSession{Issuer: "https://other.example.com/", Subject: "ada"})
	fmt.Println(err)
	for _, cookie := range revoker.ClearedCookies() {
		fmt.Println(cookie)
	}
	// Output:
	// <nil>
	// ByIssuer has no revoker for the issuer "https://other.example.com/"
	// __Host-legacy=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; Secure
}

// Auth0's Management API, with a token that is fetched when it is needed. The tenant's limit is used up.
func ExampleNewAuth0() {
	tenant := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/oauth/token" {
			fmt.Fprint(w, `{"access_token":"management","token_type":"Bearer","expires_in":86400}`)
			return
		}
		fmt.Println(r.Method, r.URL.Path)
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusTooManyRequests)
	}))
	defer tenant.Close()

	management, err := revoke.NewClientCredentials(revoke.ClientCredentialsConfig{
		TokenURL: tenant.URL + "/oauth/token",
		Client:   revoke.ClientAuth{Method: revoke.ClientSecretPost, ID: "machine", Secret: "a secret"},
		Audience: "https://example.eu.auth0.com/api/v2/",
	})
	if err != nil {
		log.Fatal(err)
	}
	revoker, err := revoke.NewAuth0(revoke.Auth0Config{BaseURL: tenant.URL, Token: management.Token})
	if err != nil {
		log.Fatal(err)
	}

	session := &stmigrate.OldSession{Issuer: "https://example.eu.auth0.com/", Subject: "auth0|1", SessionID: "session-1"}
	err = revoker.Revoke(context.Background(), "token", session)
	var e *stmigrate.RevokeError
	if errors.As(err, &e) {
		fmt.Println(e.Permanent, e.RetryAfter)
	}
	budget := revoker.Budget()
	fmt.Println(budget.Calls, budget.Per)
	// Output:
	// POST /api/v2/sessions/session-1/revoke
	// false 30s
	// 10 4s
}
