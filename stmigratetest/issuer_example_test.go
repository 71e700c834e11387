package stmigratetest_test

import (
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/stmigrate/stmigrate/stmigratetest"
)

// whoIs asks userinfo.
func whoIs(iss *stmigratetest.Issuer, token string) string {
	r, _ := http.NewRequest("GET", iss.UserInfoURL(), nil)
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return "no answer"
	}
	defer func() { _ = resp.Body.Close() }()
	return resp.Status
}

func ExampleStartIssuer() {
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{})
	if err != nil {
		panic(err)
	}
	defer iss.Close()

	s := iss.SignIn("auth0|42")
	fmt.Println(whoIs(iss, s.AccessToken))
	if _, err := http.PostForm(iss.RevocationURL(), url.Values{"token": {s.RefreshToken}}); err != nil {
		panic(err)
	}
	fmt.Println(whoIs(iss, s.AccessToken))
	fmt.Println("revoked:", iss.Revoked(s.SessionID))
	// Output:
	// 200 OK
	// 401 Unauthorized
	// revoked: true
}

func ExampleNewIssuer() {
	_ = func(t *testing.T) { // in a test
		iss := stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{Algorithm: "ES256", Audience: "shop"})
		token := iss.Token(stmigratetest.Claims{"sub": "auth0|42", "org_id": "org_1"})
		iss.Down("GET /.well-known/jwks.json")
		// … and what does the code under test make of token now?
		_ = token
	}
}

func ExampleIssuer_faults() {
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{})
	if err != nil {
		panic(err)
	}
	defer iss.Close()
	token := iss.Token()

	iss.Status(http.StatusTooManyRequests, "/userinfo")
	fmt.Println(whoIs(iss, token))
	iss.Down("/userinfo")
	fmt.Println(whoIs(iss, token))
	iss.Heal()
	fmt.Println(whoIs(iss, token))
	fmt.Println(len(iss.Requests("GET /userinfo")) >= 3, "requests seen")
	// Output:
	// 429 Too Many Requests
	// no answer
	// 200 OK
	// true requests seen
}

func ExampleIssuer_RotateKeys() {
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{Algorithm: "EdDSA"})
	if err != nil {
		panic(err)
	}
	defer iss.Close()

	fmt.Println(iss.KeyID())
	iss.RotateKeys() // both keys are published, and the new one signs
	fmt.Println(iss.KeyID())
	iss.DropOldKeys()
	// Output:
	// key-1
	// key-2
}

// A verifier that trusts everybody, and what the catalogue says about it.
func ExampleIssuer_Wrong() {
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{})
	if err != nil {
		panic(err)
	}
	defer iss.Close()
	verify := func(token string) error { return nil }

	accepted := make(map[string]int)
	for _, w := range iss.Wrong() {
		if verify(w.Token) == nil {
			accepted[w.Category]++
		}
	}
	fmt.Println("accepts unsigned tokens:", accepted["alg-none"] > 0)
	fmt.Println("accepts expired tokens:", accepted["exp"] > 0)
	// Output:
	// accepts unsigned tokens: true
	// accepts expired tokens: true
}

func ExampleIssuer_SignRaw() {
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{})
	if err != nil {
		panic(err)
	}
	defer iss.Close()

	token := iss.SignRaw([]byte(`{"alg":"RS256","alg":"none"}`), []byte(`{"sub":"user-1"}`))
	fmt.Println(token[:61])
	// Output: eyJhbGciOiJSUzI1NiIsImFsZyI6Im5vbmUifQ.eyJzdWIiOiJ1c2VyLTEifQ
}

func ExampleTwin() {
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{Algorithm: "ES256"})
	if err != nil {
		panic(err)
	}
	defer iss.Close()

	token := iss.Token()
	twin, err := stmigratetest.Twin(token) // as genuine as token
	fmt.Println(twin != token, err)
	again, err := stmigratetest.Twin(twin)
	fmt.Println(again == token, err)
	// Output:
	// true <nil>
	// true <nil>
}

// The issuer stands in for a provider's own addresses.
func ExampleIssuer_Auth0() {
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{})
	if err != nil {
		panic(err)
	}
	defer iss.Close()
	auth0 := iss.Auth0()

	resp, err := auth0.Client().Get("https://my-domain.auth0.com/.well-known/jwks.json")
	if err != nil {
		panic(err)
	}
	_ = resp.Body.Close()
	fmt.Println(resp.Status)
	_, err = auth0.Client().Get("https://attacker.example/")
	fmt.Println(err)
	fmt.Println(len(auth0.Good()), "right tokens;", len(auth0.Wrong()) > 500)
	// Output:
	// 200 OK
	// Get "https://attacker.example/": stmigratetest: the provider is not at https://attacker.example, only at https and [my-domain.auth0.com]
	// 3 right tokens; true
}
