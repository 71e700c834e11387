package passwordgrant_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/login/passwordgrant"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

func Example() {
	// The provider: its keys, and a token endpoint with one user.
	issuer, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{Audience: "client"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer issuer.Close()
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.PostFormValue("username") != "ada@example.com" || r.PostFormValue("password") != "correct horse 1" {
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte(`{"error":"invalid_grant","error_description":"Wrong email or password."}`))
			return
		}
		idToken := issuer.Token(stmigratetest.Claims{"sub": "auth0|ada", "email": "ada@example.com", "email_verified": true})
		_ = json.NewEncoder(w).Encode(map[string]string{"id_token": idToken, "access_token": "at", "token_type": "Bearer"})
	}))
	defer endpoint.Close()

	keys, err := stmigrate.NewJWKSVerifier(stmigrate.JWKSConfig{URL: issuer.JWKSURL()},
		stmigrate.JWTConfig{Issuer: issuer.Issuer(), Audience: []string{"client"}})
	if err != nil {
		fmt.Println(err)
		return
	}
	store, err := passwordgrant.New(passwordgrant.Config{
		TokenURL: endpoint.URL, ClientID: "client", ClientSecret: "secret", Verifier: keys,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	user, err := store.Authenticate(context.Background(), "public", "Ada@example.com", "correct horse 1")
	fmt.Println(user.ID, user.Email, user.EmailVerified, err)
	_, err = store.Authenticate(context.Background(), "public", "ada@example.com", "a guess")
	fmt.Println(err)
	// Output:
	// auth0|ada ada@example.com true <nil>
	// wrong e-mail or password
}
