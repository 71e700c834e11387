package stmigratetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// verifies is the plain check of a signature over the text before the last dot, by the packages of crypto alone.
func verifies(t testing.TB, alg string, pub crypto.PublicKey, token string) bool {
	t.Helper()
	dot := strings.LastIndexByte(token, '.')
	sig, err := base64.RawURLEncoding.Strict().DecodeString(token[dot+1:])
	if err != nil || dot < 0 || strings.ContainsAny(token[dot+1:], "\r\n") {
		return false
	}
	digest := []byte(token[:dot])
	hash := map[string]crypto.Hash{"256": crypto.SHA256, "384": crypto.SHA384, "512": crypto.SHA512}[alg[2:]]
	if hash != 0 {
		h := hash.New()
		h.Write(digest)
		digest = h.Sum(nil)
	}
	switch pub := pub.(type) {
	case *rsa.PublicKey:
		if alg[0] == 'P' {
			return rsa.VerifyPSS(pub, hash, digest, sig, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(pub, hash, digest, sig) == nil
	case *ecdsa.PublicKey:
		size := map[string]int{"ES256": 32, "ES384": 48, "ES512": 66}[alg]
		return len(sig) == 2*size && ecdsa.Verify(pub, digest, new(big.Int).SetBytes(sig[:size]),
			new(big.Int).SetBytes(sig[size:]))
	case ed25519.PublicKey:
		return len(sig) == ed25519.SignatureSize && ed25519.Verify(pub, digest, sig)
	}
	t.Fatalf("a key of type %T", pub)
	return false
}

// publicKeys reads the PEM blocks of an issuer.
func publicKeys(t testing.TB, text []byte) (keys []crypto.PublicKey) {
	t.Helper()
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

// part decodes a part of a token as JSON, as a lax reader would.
func part(t testing.TB, token string, i int) (claims Claims) {
	t.Helper()
	parts := strings.Split(token, ".")
	text, err := base64.RawURLEncoding.DecodeString(parts[i])
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(strings.NewReader(string(text)))
	d.UseNumber()
	if err := d.Decode(&claims); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return claims
}

// categories and the least number of cases in each: a catalogue that lost some is a defect.
var categories = map[string]int{
	"alg-none": 10, "alg": 11, "hmac": 10, "signature": 10, "ecdsa": 11, "kid": 24, "embedded-key": 6, "crit": 8, "structure": 15,
	"malleability": 16, "serialisation": 6, "header-json": 5, "payload-json": 15, "duplicate": 16, "typ": 9,
	"exp": 19, "nbf": 6, "iat": 4,
	"iss": 11, "aud": 15, "sub": 9, "sid": 4, "cnf": 3, "size": 3,
}

func TestWrong(t *testing.T) {
	for _, alg := range []string{"RS256", "PS384", "ES256", "ES384", "EdDSA"} {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			iss := NewIssuer(t, IssuerConfig{Algorithm: alg})
			pub := publicKeys(t, iss.PublicKeysPEM())[0]
			names, tokens, count := make(map[string]bool), make(map[string]string), make(map[string]int)
			wrong := iss.Wrong()
			for _, w := range wrong {
				name := w.Category + ": " + w.Name
				count[w.Category]++
				if names[name] {
					t.Errorf("%s: two of that name", name)
				}
				if other, ok := tokens[w.Token]; ok {
					t.Errorf("%s: the same token as %s", name, other)
				}
				names[name], tokens[w.Token] = true, name
				if !utf8.ValidString(w.Name) || strings.ContainsFunc(w.Name, func(r rune) bool { return r < ' ' || r > '~' }) {
					t.Errorf("%s: a name that cannot be printed: %q", w.Category, w.Name)
				}
				if !slices.Contains([]string{ClassInvalid, ClassExpired, ClassNotMine, ClassAnyRefusal}, w.Class) {
					t.Errorf("%s: class %q", name, w.Class)
				}
				if w.Class == ClassExpired && !w.Signed {
					t.Errorf("%s: expired, and not signed", name)
				}
				if got := verifies(t, alg, pub, w.Token); got != w.Signed {
					t.Errorf("%s: the signature holds: %v, want %v", name, got, w.Signed)
				}
			}
			for category, least := range categories {
				if count[category] < least {
					t.Errorf("%s: %d cases, want %d or more", category, count[category], least)
				}
			}
			for category := range count {
				if categories[category] == 0 {
					t.Errorf("a new category: %s", category)
				}
			}
			t.Logf("%d tokens: %v", len(wrong), count)
		})
	}
}

// What is refused for a claim or a member of the header has that one changed, and everything else as in a right token.
func TestWrong_oneFlaw(t *testing.T) {
	iss := NewIssuer(t)
	wrong := iss.Wrong()
	header, payload := iss.rightToken()
	right := [2]Claims{part(t, b64(header.String()), 0), part(t, b64(payload.String()), 0)}
	allowed := map[string][2][]string{
		"kid": {{"kid"}}, "typ": {{"typ"}}, "crit": {{"crit", "b64", "exp", "https://example.com/ext"}},
		"embedded-key": {{"kid", "alg", "jwk", "jku", "x5u", "x5c"}}, "hmac": {{"alg", "kid"}},
		"alg": {{"alg"}}, "signature": {{"kid", "typ"}, {"sub"}},
		"exp": {nil, {"exp", "iat"}}, "nbf": {nil, {"nbf"}}, "iat": {nil, {"iat"}}, "iss": {nil, {"iss"}},
		"aud": {nil, {"aud"}}, "sub": {nil, {"sub"}},
		"sid": {nil, {"sid"}}, "cnf": {nil, {"cnf"}},
	}
	ofAll := [2][]string{nil, {"sid", "jti", "iat", "exp"}} // drawn anew for each catalogue
	for _, w := range wrong {
		may, ok := allowed[w.Category]
		if !ok || strings.Count(w.Token, ".") != 2 {
			continue
		}
		for i, right := range right {
			got := part(t, w.Token, i)
			names := slices.AppendSeq(slices.Collect(maps.Keys(got)), maps.Keys(right))
			for _, name := range names {
				if js(got[name]) != js(right[name]) && !slices.Contains(may[i], name) && !slices.Contains(ofAll[i], name) {
					t.Errorf("%s: %s: %s is %v, want %v", w.Category, w.Name, name, got[name], right[name])
				}
			}
		}
		exp, _ := part(t, w.Token, 1)["exp"].(json.Number)
		if seconds, err := exp.Int64(); w.Category != "exp" && (err != nil || seconds <= iss.Now().Unix()) {
			t.Errorf("%s: %s: it is expired, too", w.Category, w.Name)
		}
	}
}

// The catalogue is worth something only if it tells verifiers apart: this one checks the signature and nothing else.
func TestWrong_laxVerifier(t *testing.T) {
	iss := NewIssuer(t)
	pub := publicKeys(t, iss.PublicKeysPEM())[0]
	passed := make(map[string]bool)
	for _, w := range iss.Wrong() {
		parts := strings.Split(w.Token, ".")
		if len(parts) != 3 {
			continue
		}
		if sig, err := base64.RawURLEncoding.DecodeString(parts[2]); err == nil &&
			verifies(t, "RS256", pub, parts[0]+"."+parts[1]+"."+b64(sig)) {
			passed[w.Category] = true
		}
	}
	for _, category := range []string{"crit", "kid", "typ", "malleability", "duplicate", "exp", "nbf", "iat", "iss", "aud",
		"sub", "sid", "cnf", "size", "payload-json"} {
		if !passed[category] {
			t.Errorf("%s: nothing gets past a verifier that only looks at signatures", category)
		}
	}
}

// What an attacker signed is signed as the attack needs it: a verifier that falls for it accepts the token.
func TestWrong_baits(t *testing.T) {
	iss := NewIssuer(t)
	pub, attacker := publicKeys(t, iss.PublicKeysPEM())[0], iss.attackerKey().Public()
	for _, w := range iss.Wrong() {
		good := true
		switch {
		case w.Category == "embedded-key" && w.Name != "jwk of a secret":
			good = verifies(t, "RS256", attacker, w.Token)
			if address, ok := part(t, w.Token, 0)["jku"].(string); ok {
				resp, err := ownClient.Get(address)
				if err != nil {
					t.Fatal(err)
				}
				_ = resp.Body.Close()
				good = good && resp.StatusCode == 200
			}
		case w.Category == "alg" && strings.Contains(w.Name, "signed so with the same key"):
			good = verifies(t, part(t, w.Token, 0)["alg"].(string), pub, w.Token)
		case w.Category == "hmac" && w.Name == "PEM":
			dot := strings.LastIndexByte(w.Token, '.')
			mac := hmac.New(sha256.New, iss.PublicKeysPEM())
			mac.Write([]byte(w.Token[:dot]))
			good = b64(mac.Sum(nil)) == w.Token[dot+1:]
		}
		if !good {
			t.Errorf("%s: %s: no bait", w.Category, w.Name)
		}
	}
	if len(iss.Requests("GET /attacker/jwks.json")) == 0 {
		t.Error("the attacker's key set was not asked for")
	}
}

func TestWrong_afterRotation(t *testing.T) {
	iss := NewIssuer(t, IssuerConfig{Algorithm: "ES256"})
	iss.RotateKeys()
	keys := publicKeys(t, iss.PublicKeysPEM())
	for _, w := range iss.Wrong() {
		if verifies(t, "ES256", keys[1], w.Token) != w.Signed || verifies(t, "ES256", keys[0], w.Token) {
			t.Errorf("%s: %s: not signed with the new key alone", w.Category, w.Name)
		}
	}
}

func TestGood(t *testing.T) {
	for _, alg := range issuerAlgorithms {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			iss := NewIssuer(t, IssuerConfig{Algorithm: alg})
			pub := publicKeys(t, iss.PublicKeysPEM())[0]
			names := make(map[string]bool)
			for _, g := range iss.Good() {
				if names[g.Name] {
					t.Errorf("%s: two of that name", g.Name)
				}
				names[g.Name] = true
				if len(g.Token) > maxToken || !verifies(t, alg, pub, g.Token) {
					t.Errorf("%s: %d bytes long, or its signature does not hold", g.Name, len(g.Token))
				}
				header, claims := part(t, g.Token, 0), part(t, g.Token, 1)
				exp, err := claims["exp"].(json.Number).Float64()
				if err != nil || int64(exp) <= time.Now().Unix() || claims["iss"] != iss.Issuer() || claims["sub"] != g.Subject ||
					!strings.Contains(js(claims["aud"]), `"api"`) || header["alg"] != alg || (header["kid"] == nil) != g.NoKeyID {
					t.Errorf("%s: not right: %v %v", g.Name, header, claims)
				}
				if g.Name == "as long as can be" && len(g.Token) < maxToken-3 {
					t.Errorf("%s: only %d bytes", g.Name, len(g.Token))
				}
				if code, body := get(t, iss.UserInfoURL(), g.Token); code != 200 || body["sub"] != g.Subject {
					t.Errorf("%s: userinfo says %d %v", g.Name, code, body)
				}
			}
		})
	}
}

func TestToken(t *testing.T) {
	now := time.Unix(2_000_000_000, 0)
	iss := NewIssuer(t, IssuerConfig{Audience: "shop", TokenLifetime: time.Hour, Now: func() time.Time { return now }})
	claims := part(t, iss.Token(Claims{"sub": "ann"}, Claims{"sid": nil, "role": "admin"}), 1)
	if jti, _ := claims["jti"].(string); jti == "" {
		t.Error("no jti")
	}
	delete(claims, "jti")
	want := `{"aud":"shop","exp":2000003600,"iat":2000000000,"iss":"` + iss.URL + `/","role":"admin","sub":"ann"}`
	if got := js(claims); got != want {
		t.Errorf("claims %s, want %s", got, want)
	}
	if got := js(part(t, iss.Expired(), 1)["exp"]); got != "1999996400" {
		t.Errorf("expired at %s", got)
	}
	if got := js(part(t, iss.Sign(Claims{"typ": nil, "x": 1}, nil), 0)); got != `{"alg":"RS256","kid":"key-1","x":1}` {
		t.Errorf("header %s", got)
	}
	pub := publicKeys(t, iss.PublicKeysPEM())[0]
	raw := iss.SignRaw([]byte("{"), []byte("}"))
	if !strings.HasPrefix(raw, "ew.fQ.") || !verifies(t, "RS256", pub, raw) {
		t.Errorf("raw token %s", raw)
	}
}

func TestTwin(t *testing.T) {
	for _, alg := range []string{"ES256", "ES384", "ES512"} {
		iss := NewIssuer(t, IssuerConfig{Algorithm: alg})
		token := iss.Token()
		twin, err := Twin(token)
		if err != nil || twin == token || !verifies(t, alg, publicKeys(t, iss.PublicKeysPEM())[0], twin) {
			t.Errorf("%s: twin %q, %v", alg, twin, err)
		}
		if again, err := Twin(twin); err != nil || again != token {
			t.Errorf("%s: the twin's twin is another token: %v", alg, err)
		}
	}
	for _, token := range []string{"", "a.b.c", "a.b.!", b64(`{"alg":"ES256"}`) + ".e30." + b64(make([]byte, 64)),
		b64(`{"alg":"ES256"}`) + ".e30." + strings.Repeat("_", 85) + "w", NewIssuer(t).Token(),
		NewIssuer(t, IssuerConfig{Algorithm: "EdDSA"}).Token()} {
		if _, err := Twin(token); err == nil {
			t.Errorf("a twin of %q", token)
		}
	}
}

func TestTwin_curves(t *testing.T) {
	for _, c := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		n := c.Params().N
		sig := ecSignature(big.NewInt(1), new(big.Int).Sub(n, big.NewInt(1)), ecSize(c))
		alg := map[int]string{32: "ES256", 48: "ES384", 66: "ES512"}[ecSize(c)]
		twin, err := Twin(b64(`{"alg":"`+alg+`"}`) + "." + "e30." + b64(sig))
		if err != nil || !strings.HasSuffix(twin, b64(ecSignature(big.NewInt(1), big.NewInt(1), ecSize(c)))) {
			t.Errorf("%s: %q, %v", alg, twin, err)
		}
	}
}

// FuzzTwin: no input makes it fail other than by its error, and a twin has a twin.
func FuzzTwin(f *testing.F) {
	f.Add("eyJhbGciOiJFUzI1NiJ9.e30." + b64(make([]byte, 64)))
	f.Add("eyJhbGciOiJFUzI1NiJ9.e30." + strings.Repeat("_", 86))
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		twin, err := Twin(token)
		if err != nil {
			return
		}
		if again, err := Twin(twin); err != nil || again != token || twin == token {
			t.Errorf("twin of %q: %q, and back %q, %v", token, twin, again, err)
		}
	})
}
