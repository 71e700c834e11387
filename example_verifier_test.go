package stmigrate_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/stmigrate/stmigrate"
)

// exampleProvider signs tokens with one key and publishes it.
type exampleProvider struct {
	*httptest.Server
	key ed25519.PrivateKey
}

func newExampleProvider() *exampleProvider {
	seed := sha256.Sum256([]byte("a key for examples"))
	p := &exampleProvider{key: ed25519.NewKeyFromSeed(seed[:])}
	x := base64.RawURLEncoding.EncodeToString(p.key.Public().(ed25519.PublicKey))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/jwks.json", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"key-1","use":"sig","x":%q}]}`, x)
	})
	mux.HandleFunc("GET /userinfo", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+p.token("ann") {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, `{"sub":"ann","email":"ann@example.com"}`)
	})
	p.Server = httptest.NewServer(mux)
	return p
}

func (p *exampleProvider) token(subject string) string {
	t := jwt.NewWithClaims(jwt.SigningMethodEdDSA, jwt.MapClaims{
		"iss": "https://legacy.example/", "aud": "api", "sub": subject, "sid": "session-1", "exp": 4102444800,
	})
	t.Header["kid"] = "key-1"
	token, err := t.SignedString(p.key)
	if err != nil {
		panic(err)
	}
	return token
}

var exampleConfig = stmigrate.JWTConfig{
	Issuer: "https://legacy.example/", Audience: []string{"api"}, Algorithms: []string{"EdDSA"},
}

func ExampleNewJWKSVerifier() {
	provider := newExampleProvider()
	defer provider.Close()

	verifier, err := stmigrate.NewJWKSVerifier(stmigrate.JWKSConfig{URL: provider.URL + "/.well-known/jwks.json"}, exampleConfig)
	if err != nil {
		panic(err)
	}
	session, err := verifier.Verify(context.Background(), provider.token("ann"))
	if err != nil {
		panic(err)
	}
	fmt.Println(session.Subject, session.SessionID)

	_, err = verifier.Verify(context.Background(), strings.Replace(provider.token("ann"), ".", ".e30", 1))
	fmt.Println(errors.Is(err, stmigrate.ErrInvalidSession))
	// Output:
	// ann session-1
	// true
}

// Keys that were fetched before the provider is switched off verify its tokens afterwards.
func ExampleFetchKeys() {
	ctx := context.Background()
	provider := newExampleProvider()
	snapshot, err := stmigrate.FetchKeys(ctx, provider.URL+"/.well-known/jwks.json", nil)
	if err != nil {
		panic(err)
	}
	dir, err := os.MkdirTemp("", "stmigrate")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "legacy-keys.json")
	if err := os.WriteFile(file, snapshot, 0o600); err != nil {
		panic(err)
	}
	token := provider.token("ann")
	provider.Close()

	document, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	keys, err := stmigrate.ParseKeys(document)
	if err != nil {
		panic(err)
	}
	for i := range keys {
		keys[i].TrustedUntil = time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC) // the end of the migration
	}
	verifier, err := stmigrate.NewStaticKeyVerifier(keys, exampleConfig)
	if err != nil {
		panic(err)
	}
	session, err := verifier.Verify(ctx, token)
	if err != nil {
		panic(err)
	}
	fmt.Println(session.Subject)
	// Output: ann
}

func ExampleParseKeys() {
	keys, err := stmigrate.ParseKeys([]byte(`-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----`))
	if err != nil {
		panic(err)
	}
	fmt.Println(keys[0])
	// Output: Key{ID: "", Ed25519, Algorithm: "", TrustedUntil: 0001-01-01 00:00:00 +0000 UTC}
}

func ExampleHMACKey() {
	secret := []byte("thirty-two random bytes at least") // from the environment, in earnest
	cfg := exampleConfig
	cfg.Algorithms = []string{"HS256"}
	verifier, err := stmigrate.NewStaticKeyVerifier([]stmigrate.Key{stmigrate.HMACKey(secret)}, cfg)
	if err != nil {
		panic(err)
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "https://legacy.example/", "aud": "api", "sub": "ann", "exp": 4102444800,
	}).SignedString(secret)
	if err != nil {
		panic(err)
	}
	session, err := verifier.Verify(context.Background(), token)
	if err != nil {
		panic(err)
	}
	fmt.Println(session.Subject)
	// Output: ann
}

// The provider's keys cannot be had, and it answers for its tokens itself.
func ExampleNewInsecureDecodeVerifier() {
	provider := newExampleProvider()
	defer provider.Close()
	verifier, err := stmigrate.NewInsecureDecodeVerifier(exampleConfig, stmigrate.ConfirmWithUserInfo(provider.URL+"/userinfo", nil))
	if err != nil {
		panic(err)
	}
	for _, token := range []string{provider.token("ann"), provider.token("mallory")} {
		session, err := verifier.Verify(context.Background(), token)
		fmt.Println(session != nil, err)
	}
	// Output:
	// true <nil>
	// false invalid legacy session: the provider's userinfo endpoint refused the token with status 401
}
