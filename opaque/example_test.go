package opaque_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/opaque"
	"github.com/stmigrate/stmigrate/revoke"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// The provider is asked about each token, so one that it ended is refused at once.
func ExampleNewIntrospection() {
	legacy, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{ClientID: "backend", ClientSecret: "a secret"})
	if err != nil {
		log.Fatal(err)
	}
	defer legacy.Close()

	verifier, err := opaque.NewIntrospection(opaque.IntrospectionConfig{
		Endpoint:  legacy.IntrospectionURL(),
		Client:    revoke.ClientAuth{ID: "backend", Secret: "a secret"},
		Audience:  []string{"api"},
		ClientIDs: []string{"website"},
		Rules:     opaque.Rules{Issuer: legacy.Issuer()},
		HTTP:      opaque.HTTP{AllowPrivate: []string{"127.0.0.1"}}, // of this example: the provider runs on this machine
	})
	if err != nil {
		log.Fatal(err)
	}

	token := legacy.Opaque(stmigratetest.Claims{"sub": "ada", "sid": "session-1", "client_id": "website"})
	session, err := verifier.Verify(context.Background(), token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(session.Subject, session.SessionID)

	_, err = verifier.Verify(context.Background(), legacy.Opaque(stmigratetest.Claims{"client_id": "somebody-elses"}))
	fmt.Println(err)

	legacy.EndSession("session-1")
	_, err = verifier.Verify(context.Background(), token)
	fmt.Println(err)
	// Output:
	// ada session-1
	// invalid legacy session: the token's client (client_id) is none of ["website"]
	// invalid legacy session: the provider says that the token is not active
}

// Google's userinfo endpoint answers to the token of any application, so tokeninfo says for which one it was made.
func ExampleNewUserInfo() {
	google := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/tokeninfo" {
			fmt.Fprint(w, `{"aud":"somebody-elses.apps.googleusercontent.com","sub":"1234","exp":"4000000000","scope":"openid"}`)
			return
		}
		fmt.Fprint(w, `{"sub":"1234","email":"ada@example.com"}`)
	}))
	defer google.Close()
	here := opaque.HTTP{AllowPrivate: []string{"127.0.0.1"}}

	tokenInfo, err := opaque.NewTokenInfo(opaque.TokenInfoConfig{
		ClientIDs: []string{"website.apps.googleusercontent.com"}, Endpoint: google.URL + "/tokeninfo", HTTP: here,
	})
	if err != nil {
		log.Fatal(err)
	}
	verifier, err := opaque.NewUserInfo(opaque.UserInfoConfig{
		Endpoint:      google.URL + "/userinfo",
		CheckAudience: opaque.AudienceFrom(tokenInfo),
		Rules:         opaque.Rules{Issuer: "https://accounts.google.com"},
		HTTP:          here,
	})
	if err != nil {
		log.Fatal(err)
	}
	_, err = verifier.Verify(context.Background(), "ya29.a-token-of-another-application")
	fmt.Println(errors.Is(err, stmigrate.ErrInvalidSession))
	// Output: true
}

// A client comes back after weeks, with nothing but a refresh token.
func ExampleNewRefresh() {
	legacy, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{ClientID: "website"})
	if err != nil {
		log.Fatal(err)
	}
	defer legacy.Close()

	accessTokens, err := stmigrate.NewJWKSVerifier(
		stmigrate.JWKSConfig{URL: legacy.JWKSURL()},
		stmigrate.JWTConfig{Issuer: legacy.Issuer(), Audience: []string{"api"}},
	)
	if err != nil {
		log.Fatal(err)
	}
	website := revoke.ClientAuth{Method: revoke.PublicClient, ID: "website"}
	refreshTokens, err := opaque.NewRefresh(opaque.RefreshConfig{
		Endpoint: legacy.TokenURL(), Client: website, Issuer: legacy.Issuer(), Verifier: accessTokens,
		HTTP: opaque.HTTP{AllowPrivate: []string{"127.0.0.1"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	revoker, err := revoke.NewRFC7009(revoke.RFC7009Config{Endpoint: legacy.RevocationURL(), Client: website})
	if err != nil {
		log.Fatal(err)
	}
	migrator, err := stmigrate.New(stmigrate.Config{
		Verifier:  stmigrate.FirstOf(refreshTokens, accessTokens),
		Sessions:  new(stmigratetest.FakeSessions), // stmigrate.NewSessions in a program
		Users:     stmigrate.SubjectIsUserID,
		Exchanges: stmigrate.NewMemoryExchanges(10_000),
		Revoker:   revoker,
	})
	if err != nil {
		log.Fatal(err)
	}

	session := legacy.SignIn("ada")
	for range 2 { // the second tab is given the same session
		r := httptest.NewRequest(http.MethodPost, "https://api.example.com/migrate-session", nil)
		r.Header.Set("Authorization", "Bearer "+session.RefreshToken)
		w := httptest.NewRecorder()
		migrator.ServeHTTP(w, r)
		fmt.Println(w.Code, w.Body)
	}
	fmt.Println("redeemed:", len(legacy.Requests("/token")), "legacy session over:", legacy.Revoked(session.SessionID))
	// Output:
	// 200 {"status":"OK"}
	// 200 {"status":"OK"}
	// redeemed: 1 legacy session over: true
}
