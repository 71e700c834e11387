package stmigratetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// ownClient's connections are no other test's to close.
var ownClient = &http.Client{Transport: new(http.Transport)}

// do sends r, with a bearer if there is one, and returns status and JSON object of the answer.
func do(t testing.TB, r *http.Request, bearer string) (int, Claims) {
	t.Helper()
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	resp, err := ownClient.Transport.RoundTrip(r)
	if err != nil {
		t.Error(err)
		return 0, nil
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	var body Claims
	if len(text) > 0 && text[0] == '{' {
		if err := json.Unmarshal(text, &body); err != nil {
			t.Error(err)
		}
	}
	return resp.StatusCode, body
}

func request(t testing.TB, method, url, form string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(form))
	if err != nil {
		panic(err)
	}
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

func get(t testing.TB, url, bearer string) (int, Claims) {
	t.Helper()
	return do(t, request(t, "GET", url, ""), bearer)
}

func post(t testing.TB, to string, pairs ...string) (int, Claims) {
	t.Helper()
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Add(pairs[i], pairs[i+1])
	}
	return do(t, request(t, "POST", to, form.Encode()), "")
}

func TestStartIssuer_config(t *testing.T) {
	for _, tt := range []struct {
		cfg   IssuerConfig
		field string
	}{
		{IssuerConfig{Algorithm: "HS256"}, "Algorithm"},
		{IssuerConfig{Algorithm: "none"}, "Algorithm"},
		{IssuerConfig{ClientSecret: "s"}, "ClientSecret"},
		{IssuerConfig{TokenLifetime: -1}, "TokenLifetime"},
		{IssuerConfig{Addr: "nowhere"}, "Addr"},
	} {
		iss, err := StartIssuer(tt.cfg)
		if err == nil {
			iss.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "IssuerConfig."+tt.field) {
			t.Errorf("%+v: %v, want it to name %s", tt.cfg, err, tt.field)
		}
	}
	iss, err := StartIssuer(IssuerConfig{Issuer: "stytch.com/project-1"})
	if err != nil {
		t.Fatal(err)
	}
	iss.Close()
	iss.Close()
	if got := part(t, iss.Token(), 1)["iss"]; got != "stytch.com/project-1" {
		t.Errorf("iss %v", got)
	}
}

// keyOf reads a JWK with the packages of crypto alone.
func keyOf(t testing.TB, jwk Claims) interface{ Equal(crypto.PublicKey) bool } {
	t.Helper()
	raw := func(member string) []byte {
		b, err := base64.RawURLEncoding.DecodeString(jwk[member].(string))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	switch jwk["kty"] {
	case "RSA":
		return &rsa.PublicKey{N: new(big.Int).SetBytes(raw("n")), E: int(new(big.Int).SetBytes(raw("e")).Int64())}
	case "EC":
		curves := map[any]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}
		curve := curves[jwk["crv"]]
		pub, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, raw("x"), raw("y")))
		if err != nil {
			t.Fatal(err)
		}
		return pub
	default:
		return ed25519.PublicKey(raw("x"))
	}
}

func TestDiscoveryAndKeys(t *testing.T) {
	for _, alg := range issuerAlgorithms {
		iss := NewIssuer(t, IssuerConfig{Algorithm: alg})
		_, meta := get(t, iss.DiscoveryURL(), "")
		for member, want := range map[string]any{
			"issuer": iss.Issuer(), "jwks_uri": iss.JWKSURL(),
			"userinfo_endpoint": iss.UserInfoURL(), "revocation_endpoint": iss.RevocationURL(),
			"introspection_endpoint": iss.IntrospectionURL(), "token_endpoint": iss.TokenURL(),
		} {
			if meta[member] != want {
				t.Errorf("%s: %s is %v, want %v", alg, member, meta[member], want)
			}
		}
		if got := js(meta["id_token_signing_alg_values_supported"]); got != `["`+alg+`"]` {
			t.Errorf("%s: algorithms %s", alg, got)
		}
		code, set := get(t, iss.JWKSURL(), "")
		if code != 200 || js(set) != string(iss.JWKS()) {
			t.Errorf("%s: %d %v", alg, code, set)
		}
		// The JWK, the PEM and the certificate are one key, and it signs.
		jwk, pub := set["keys"].([]any)[0].(Claims), publicKeys(t, iss.PublicKeysPEM())[0]
		if jwk["kid"] != iss.KeyID() || jwk["alg"] != alg || jwk["use"] != "sig" || !keyOf(t, jwk).Equal(pub) {
			t.Errorf("%s: JWK %v", alg, jwk)
		}
		if !verifies(t, alg, pub, iss.Token()) {
			t.Errorf("%s: the token's signature does not hold", alg)
		}
		var certs map[string]string
		if err := json.Unmarshal(iss.CertificatesJSON(), &certs); err != nil || len(certs) != 1 {
			t.Fatalf("%s: certificates %v %v", alg, certs, err)
		}
		block, _ := pem.Decode([]byte(certs[iss.KeyID()]))
		if cert, err := x509.ParseCertificate(block.Bytes); err != nil || !keyOf(t, jwk).Equal(cert.PublicKey) {
			t.Errorf("%s: certificate %v", alg, err)
		}
	}
}

func TestRotation(t *testing.T) {
	iss := NewIssuer(t)
	old := iss.Token()
	iss.RotateKeys()
	fresh := iss.Token()
	keys := publicKeys(t, iss.PublicKeysPEM())
	if len(keys) != 2 || !verifies(t, "RS256", keys[0], old) || !verifies(t, "RS256", keys[1], fresh) ||
		verifies(t, "RS256", keys[0], fresh) {
		t.Errorf("%d keys, or not the right ones", len(keys))
	}
	if a, b := part(t, old, 0)["kid"], part(t, fresh, 0)["kid"]; a != "key-1" || b != "key-2" || iss.KeyID() != "key-2" {
		t.Errorf("kid %v, then %v", a, b)
	}
	iss.DropOldKeys()
	if keys := publicKeys(t, iss.PublicKeysPEM()); len(keys) != 1 || !verifies(t, "RS256", keys[0], fresh) {
		t.Errorf("%d keys after the drop", len(keys))
	}
}

func TestIssuersShareNoKey(t *testing.T) {
	a, b := NewIssuer(t), NewIssuer(t)
	if a.KeyID() != b.KeyID() {
		t.Errorf("kid %q and %q, want the same", a.KeyID(), b.KeyID())
	}
	if verifies(t, "RS256", publicKeys(t, b.PublicKeysPEM())[0], a.Token()) {
		t.Error("two issuers with one key")
	}
}

func TestUserInfo(t *testing.T) {
	now := time.Unix(2_000_000_000, 0)
	iss := NewIssuer(t, IssuerConfig{Now: func() time.Time { return now }})
	iss.AddUser("Ann@example.com", "correct horse", "user-ann")
	s := iss.SignIn("user-ann")
	if code, body := get(t, iss.UserInfoURL(), s.AccessToken); code != 200 ||
		js(body) != `{"email":"Ann@example.com","sub":"user-ann"}` {
		t.Errorf("%d %v", code, body)
	}
	if code, body := get(t, iss.UserInfoURL(), iss.Opaque(Claims{"sub": "o"})); code != 200 || body["sub"] != "o" {
		t.Errorf("opaque: %d %v", code, body)
	}
	for name, token := range map[string]string{
		"none": "", "unknown": "x", "refresh token": s.RefreshToken, "expired": iss.Expired(),
		"only signed": iss.Sign(nil, Claims{"sub": "x"}),
		"other bytes": s.AccessToken + "=",
	} {
		r := request(t, "GET", iss.UserInfoURL(), "")
		if token != "" {
			r.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := ownClient.Transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 401 || !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %d %v", name, resp.StatusCode, resp.Header)
		}
	}
	now = now.Add(10 * time.Minute)
	if code, _ := get(t, iss.UserInfoURL(), s.AccessToken); code != 401 {
		t.Errorf("after its lifetime: %d", code)
	}
}

func TestIntrospection(t *testing.T) {
	iss := NewIssuer(t)
	s := iss.SignIn("ann", Claims{"scope": "read"})
	code, body := post(t, iss.IntrospectionURL(), "token", s.AccessToken)
	if code != 200 || body["active"] != true || body["sub"] != "ann" || body["sid"] != s.SessionID ||
		body["scope"] != "read" || body["iss"] != iss.Issuer() {
		t.Errorf("%d %v", code, body)
	}
	if _, body := post(t, iss.IntrospectionURL(), "token", s.RefreshToken); body["active"] != true || body["token_type"] != nil {
		t.Errorf("refresh token: %v", body)
	}
	iss.EndSession(s.SessionID)
	for _, token := range []string{"unknown", s.AccessToken, s.RefreshToken, iss.Expired()} {
		if code, body := post(t, iss.IntrospectionURL(), "token", token); code != 200 || js(body) != `{"active":false}` {
			t.Errorf("%d %v", code, body)
		}
	}
	if code, body := post(t, iss.IntrospectionURL()); code != 400 || body["error"] != "invalid_request" {
		t.Errorf("no token: %d %v", code, body)
	}
}

func TestRevocation(t *testing.T) {
	iss := NewIssuer(t)
	alive := func(token string) bool {
		_, body := post(t, iss.IntrospectionURL(), "token", token)
		return body["active"] == true
	}
	s := iss.SignIn("ann")
	other := iss.Token(Claims{"sid": s.SessionID})
	if code, _ := post(t, iss.RevocationURL(), "token", s.AccessToken, "token_type_hint", "access_token"); code != 200 {
		t.Errorf("access token: %d", code)
	}
	if alive(s.AccessToken) || !alive(other) || !alive(s.RefreshToken) || !iss.Revoked(s.AccessToken) || iss.Revoked(s.SessionID) {
		t.Error("revoking an access token is to end it alone")
	}
	for range 2 {
		if code, _ := post(t, iss.RevocationURL(), "token", s.RefreshToken); code != 200 {
			t.Errorf("refresh token: %d", code)
		}
	}
	if alive(other) || alive(s.RefreshToken) || !iss.Revoked(s.SessionID) || !iss.Revoked(other) {
		t.Error("revoking a refresh token is to end the session")
	}
	if code, _ := post(t, iss.RevocationURL(), "token", "unknown"); code != 200 {
		t.Errorf("unknown: %d", code)
	}
	if code, _ := post(t, iss.RevocationURL(), "token_type_hint", "access_token"); code != 400 {
		t.Errorf("none: %d", code)
	}
	log := iss.Revocations()
	if len(log) != 4 || log[0].TokenTypeHint != "access_token" || log[0].SessionID != s.SessionID || log[3].SessionID != "" ||
		log[3].Token != "unknown" {
		t.Errorf("revocations %+v", log)
	}
	without := iss.Token(Claims{"sid": nil})
	if code, _ := do(t, request(t, "POST", iss.LogoutURL(), ""), without); code != 204 || !iss.Revoked(without) ||
		iss.Revoked("") {
		t.Errorf("logout without a session: %d", code)
	}
}

func TestClientAuthentication(t *testing.T) {
	iss := NewIssuer(t, IssuerConfig{ClientID: "my client", ClientSecret: "p%s&"})
	for _, tt := range []struct {
		name, form, id, secret string
		code                   int
	}{
		{"basic", "token=x", "my+client", "p%25s%26", 200},
		{"form", "token=x&client_id=my+client&client_secret=p%25s%26", "", "", 200},
		{"none", "token=x", "", "", 401},
		{"wrong secret", "token=x", "my+client", "other", 401},
		{"wrong client", "token=x", "other", "p%25s%26", 401},
		{"no secret", "token=x&client_id=my+client", "", "", 401},
		{"both", "token=x&client_id=my+client&client_secret=p%25s%26", "my+client", "p%25s%26", 400},
		{"two tokens", "token=x&token=y", "my+client", "p%25s%26", 400},
		{"too long", "token=" + strings.Repeat("x", maxIssuerBody), "my+client", "p%25s%26", 400},
	} {
		for _, to := range []string{iss.RevocationURL(), iss.IntrospectionURL()} {
			r := request(t, "POST", to, tt.form)
			if tt.id != "" {
				r.SetBasicAuth(tt.id, tt.secret)
			}
			if code, body := do(t, r, ""); code != tt.code {
				t.Errorf("%s at %s: %d %v, want %d", tt.name, to, code, body, tt.code)
			}
		}
	}
	if n := len(iss.Revocations()); n != 2 {
		t.Errorf("%d revocations, want those of the two that were let in", n)
	}
	public := NewIssuer(t, IssuerConfig{ClientID: "app"})
	if code, _ := post(t, public.RevocationURL(), "token", "x", "client_id", "app"); code != 200 {
		t.Errorf("public client: %d", code)
	}
	if code, _ := post(t, public.RevocationURL(), "token", "x"); code != 401 {
		t.Errorf("no client: %d", code)
	}
}

func TestTokenEndpoint(t *testing.T) {
	iss := NewIssuer(t)
	iss.AddUser("ann@example.com", "correct horse", "user-ann")
	code, first := post(t, iss.TokenURL(), "grant_type", "password", "username", "ANN@example.com", "password", "correct horse")
	if code != 200 || first["token_type"] != "Bearer" || first["expires_in"] != 600.0 {
		t.Fatalf("password: %d %v", code, first)
	}
	access, refresh := first["access_token"].(string), first["refresh_token"].(string)
	code, second := post(t, iss.TokenURL(), "grant_type", "refresh_token", "refresh_token", refresh)
	if code != 200 || second["refresh_token"] == refresh || second["access_token"] == access {
		t.Fatalf("refresh: %d %v", code, second)
	}
	a, b := part(t, access, 1), part(t, second["access_token"].(string), 1)
	if a["sub"] != "user-ann" || b["sub"] != "user-ann" || a["sid"] != b["sid"] || a["jti"] == b["jti"] {
		t.Errorf("claims %v, then %v", a, b)
	}
	if code, body := post(t, iss.TokenURL(), "grant_type", "refresh_token", "refresh_token", refresh); code != 400 ||
		body["error"] != "invalid_grant" {
		t.Errorf("reuse: %d %v", code, body)
	}
	if !iss.Revoked(a["sid"].(string)) || !iss.Revoked(second["access_token"].(string)) {
		t.Error("reuse did not end the session")
	}
	for name, form := range map[string][]string{
		"wrong password": {"grant_type", "password", "username", "ann@example.com", "password", "x"},
		"unknown user":   {"grant_type", "password", "username", "bob@example.com", "password", ""},
		"after reuse":    {"grant_type", "refresh_token", "refresh_token", second["refresh_token"].(string)},
		"access token":   {"grant_type", "refresh_token", "refresh_token", iss.Token()},
		"no token":       {"grant_type", "refresh_token"},
	} {
		if code, body := post(t, iss.TokenURL(), form...); code != 400 || body["error"] != "invalid_grant" {
			t.Errorf("%s: %d %v", name, code, body)
		}
	}
	if code, body := post(t, iss.TokenURL(), "grant_type", "magic"); code != 400 || body["error"] != "unsupported_grant_type" {
		t.Errorf("grant: %d %v", code, body)
	}
	if code, _ := get(t, iss.TokenURL(), ""); code != 405 {
		t.Errorf("GET: %d", code)
	}
}

func TestLogout(t *testing.T) {
	iss := NewIssuer(t)
	s := iss.SignIn("ann")
	if code, _ := do(t, request(t, "POST", iss.LogoutURL(), ""), s.AccessToken); code != 204 || !iss.Revoked(s.RefreshToken) {
		t.Errorf("logout: %d", code)
	}
	if code, _ := do(t, request(t, "POST", iss.LogoutURL(), ""), s.AccessToken); code != 401 {
		t.Errorf("again: %d", code)
	}
	if log := iss.Revocations(); len(log) != 1 || log[0].Route != "POST /logout" || log[0].SessionID != s.SessionID {
		t.Errorf("revocations %+v", log)
	}
}

func TestIssuerFaults(t *testing.T) {
	iss := NewIssuer(t)
	fetch := func(path string) (code int, body string, err error) {
		resp, err := ownClient.Transport.RoundTrip(request(t, "GET", iss.URL+path, ""))
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = resp.Body.Close() }()
		text, err := io.ReadAll(resp.Body)
		return resp.StatusCode, resp.Header.Get("Location") + string(text), err
	}
	const keys = "/.well-known/jwks.json"
	for _, tt := range []struct {
		name  string
		fault func()
		code  int
		body  string // what it holds
		err   error
	}{
		{"healthy", func() {}, 200, `"kid":"key-1"`, nil},
		{"down", func() { iss.Down("GET " + keys) }, 0, "", io.EOF},
		{"status", func() { iss.Status(503, keys) }, 503, "", nil},
		{"truncated", func() { iss.Truncate(keys) }, 200, `{"keys":`, io.ErrUnexpectedEOF},
		{"slow", func() { iss.Slow(time.Millisecond, keys) }, 200, `"kid":"key-1"`, nil},
		{"empty", iss.EmptyKeys, 200, `{"keys":[]}`, nil},
		{"any body", func() { iss.SetJWKS([]byte("<html>")) }, 200, "<html>", nil},
		{"no body", func() { iss.SetJWKS(nil) }, 200, "", nil},
		{"odd", iss.OddKeys, 200, `"kid":"post-quantum"`, nil},
		{"odd, and the real ones", iss.OddKeys, 200, `"kid":"key-1"`, nil},
		{"redirect", func() { iss.Redirect("https://attacker.example/keys", "GET "+keys) }, 302,
			"https://attacker.example/keys", nil},
		{"redirect of all", func() { iss.Redirect("https://attacker.example/keys") }, 302, "https://attacker.example/keys", nil},
		{"the last redirect", func() {
			iss.Redirect("https://a.example")
			iss.Redirect("https://b.example", keys)
		}, 302, "https://b.example", nil},
		{"redirect of others", func() { iss.Redirect("https://a.example", "POST "+keys, "/userinfo") }, 200, `"kid":"key-1"`, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			iss.Heal()
			iss.ForgetRequests()
			tt.fault()
			code, body, err := fetch(keys)
			if code != tt.code || !strings.Contains(body, tt.body) || !errors.Is(err, tt.err) {
				t.Errorf("%d %q %v", code, body, err)
			}
			if n := len(iss.Requests("GET " + keys)); n == 0 {
				t.Error("the request is not in the log")
			}
			if !strings.Contains(string(iss.JWKS()), "key-1") {
				t.Error("JWKS is to be what a healthy issuer says")
			}
		})
	}
	iss.Heal()
	iss.ForgetRequests()
	iss.Hang(keys)
	ended := make(chan error)
	go func() {
		_, _, err := fetch(keys)
		ended <- err
	}()
	for len(iss.Requests()) == 0 {
		runtime.Gosched()
	}
	iss.Close()
	if err := <-ended; err == nil {
		t.Error("an answer from an issuer that hung and was closed")
	}
}

func TestAttackersKeys(t *testing.T) {
	iss := NewIssuer(t)
	if _, body := get(t, iss.URL+"/attacker/jwks.json", ""); js(body["keys"].([]any)[0]) != js(iss.attackerKey().jwk()) {
		t.Errorf("%v", body)
	}
	if code, _ := get(t, iss.URL+"/attacker/cert.pem", ""); code != 200 {
		t.Errorf("certificate: %d", code)
	}
	if strings.Contains(string(iss.JWKS()), "attacker") {
		t.Error("the attacker's key is among the issuer's")
	}
}

func TestIssuer_concurrentUse(t *testing.T) {
	iss := NewIssuer(t, IssuerConfig{Algorithm: "EdDSA"})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			s := iss.SignIn("ann")
			get(t, iss.UserInfoURL(), s.AccessToken)
			post(t, iss.TokenURL(), "grant_type", "refresh_token", "refresh_token", s.RefreshToken)
			post(t, iss.RevocationURL(), "token", s.RefreshToken)
			iss.RotateKeys()
			iss.OddKeys()
			get(t, iss.JWKSURL(), "")
			iss.DropOldKeys()
			iss.Heal()
			if !iss.Revoked(s.SessionID) {
				t.Error("not revoked")
			}
		})
	}
	wg.Wait()
	if n := len(iss.Revocations()); n != 8 {
		t.Errorf("%d revocations", n)
	}
}

// One refresh token is good for one of many who show it at once, and then its session is over.
func TestTokenEndpoint_race(t *testing.T) {
	iss := NewIssuer(t, IssuerConfig{Algorithm: "EdDSA"})
	s := iss.SignIn("ann")
	codes := make(chan int, 8)
	var wg sync.WaitGroup
	for range cap(codes) {
		wg.Go(func() {
			code, _ := post(t, iss.TokenURL(), "grant_type", "refresh_token", "refresh_token", s.RefreshToken)
			codes <- code
		})
	}
	wg.Wait()
	close(codes)
	won := 0
	for code := range codes {
		if code == 200 {
			won++
		}
	}
	if won != 1 || !iss.Revoked(s.SessionID) {
		t.Errorf("%d won, session over: %v", won, iss.Revoked(s.SessionID))
	}
}
