package stmigrate

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate/internal/claims"
)

// jwtSigner is a provider's signing key in a test.
type jwtSigner struct {
	id, alg string
	key     crypto.PrivateKey // or []byte
}

func (s jwtSigner) public() Key {
	if secret, ok := s.key.([]byte); ok {
		k := HMACKey(secret)
		k.ID = s.id
		return k
	}
	public := s.key.(interface{ Public() crypto.PublicKey }).Public()
	return Key{ID: s.id, material: &keyMaterial{public}}
}

// sign signs these very bytes.
func (s jwtSigner) sign(header, payload string) string {
	return s.seal(jwtB64(header), jwtB64(payload))
}

func (s jwtSigner) seal(first, second string) string {
	signed := first + "." + second
	sig, err := jwt.GetSigningMethod(s.alg).Sign(signed, s.key)
	if err != nil {
		panic(err)
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig)
}

func (s jwtSigner) header() string {
	return fmt.Sprintf(`{"alg":%q,"kid":%q,"typ":"JWT"}`, s.alg, s.id)
}

// token signs jwtClaims with members over it, given as JSON; "" takes one out.
func (s jwtSigner) token(members ...string) string { return s.sign(s.header(), jwtPayload(members...)) }

func jwtB64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

var jwtTestTime = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func jwtUnix(d time.Duration) string { return fmt.Sprint(jwtTestTime.Add(d).Unix()) }

func jwtPayload(members ...string) string {
	claims := []string{
		"iss", `"https://legacy.example/"`, "aud", `["https://legacy.example/userinfo","api"]`, "sub", `"auth0|42"`,
		"iat", jwtUnix(-time.Minute), "exp", jwtUnix(time.Hour), "sid", `"session-1"`, "jti", `"token-1"`,
		"azp", `"web"`, "scope", `"openid profile"`, "permissions", `["read:things","write:things"]`,
	}
	for i := 0; i < len(members); i += 2 {
		at := slices.Index(claims, members[i])
		switch {
		case at < 0:
			claims = append(claims, members[i], members[i+1])
		case members[i+1] == "":
			claims = slices.Delete(claims, at, at+2)
		default:
			claims[at+1] = members[i+1]
		}
	}
	var b strings.Builder
	for i := 0; i < len(claims); i += 2 {
		fmt.Fprintf(&b, `,"%s":%s`, claims[i], claims[i+1])
	}
	return "{" + b.String()[1:] + "}"
}

func jwtConfig(algorithms ...string) JWTConfig {
	return JWTConfig{Issuer: "https://legacy.example/", Audience: []string{"api"}, Algorithms: algorithms,
		Now: func() time.Time { return jwtTestTime }}
}

// jwtKeys returns one signer for each algorithm, made once: RSA keys take their time.
var jwtKeys = sync.OnceValue(func() map[string]jwtSigner {
	must := func(k crypto.PrivateKey, err error) crypto.PrivateKey {
		if err != nil {
			panic(err)
		}
		return k
	}
	ec := func(c elliptic.Curve) crypto.PrivateKey {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		return must(k, err)
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}
	first, err := rsa.GenerateKey(rand.Reader, 2048)
	rsaKey := must(first, err)
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	keys := map[string]jwtSigner{
		"other": {"key-1", "RS256", must(other, err)},
		"ES256": {"key-1", "ES256", ec(elliptic.P256())}, "ES384": {"key-1", "ES384", ec(elliptic.P384())},
		"ES512": {"key-1", "ES512", ec(elliptic.P521())}, "EdDSA": {"key-1", "EdDSA", ed},
	}
	for _, alg := range []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"} {
		keys[alg] = jwtSigner{"key-1", alg, rsaKey}
	}
	secret := []byte(strings.Repeat("0123456789abcdef", 4))
	for _, alg := range []string{"HS256", "HS384", "HS512"} {
		keys[alg] = jwtSigner{"key-1", alg, secret}
	}
	return keys
})

func jwtStatic(t testing.TB, cfg JWTConfig, keys ...Key) *JWTVerifier {
	t.Helper()
	v, err := NewStaticKeyVerifier(keys, cfg)
	require.NoError(t, err)
	return v
}

var jwtClasses = []error{ErrInvalidSession, ErrExpiredSession, ErrNotMine, ErrUnavailable}

// assertClass asserts that err is of one class and of no other.
func assertClass(t *testing.T, want, err error) {
	t.Helper()
	for _, class := range jwtClasses {
		assert.Equal(t, errors.Is(class, want), errors.Is(err, class), "%v is %v", err, class)
	}
}

func TestJWTAlgorithms(t *testing.T) {
	for alg, signer := range jwtKeys() {
		if alg == "other" {
			continue
		}
		t.Run(alg, func(t *testing.T) {
			v := jwtStatic(t, jwtConfig(alg), signer.public())
			s, err := v.Verify(t.Context(), signer.token())
			require.NoError(t, err)
			assert.Equal(t, "auth0|42", s.Subject)
			assert.Equal(t, "https://legacy.example/", s.Issuer)
			assert.Equal(t, "session-1", s.SessionID)
			assert.Equal(t, "token-1", s.TokenID)
			assert.Equal(t, jwtTestTime.Add(time.Hour).Unix(), s.ExpiresAt.Unix())
			assert.Equal(t, jwtTestTime.Add(time.Hour+30*time.Second).Unix(), s.acceptedUntil.Unix())
			assert.Equal(t, jwtTestTime.Add(-time.Minute).Unix(), s.IssuedAt.Unix())
			assert.Equal(t, json.Number(jwtUnix(time.Hour)), s.Claims["exp"])

			// The same key under every other algorithm, with a signature that is right for that algorithm where it can be.
			for other, o := range jwtKeys() {
				if other == alg || other == "other" {
					continue
				}
				o.key = signer.key
				header := fmt.Sprintf(`{"alg":%q,"kid":"key-1"}`, other)
				signed := jwtB64(header) + "." + jwtB64(jwtPayload())
				sig, err := jwt.GetSigningMethod(other).Sign(signed, signer.key)
				if err != nil {
					continue
				}
				_, err = v.Verify(t.Context(), signed+"."+base64.RawURLEncoding.EncodeToString(sig))
				assertClass(t, ErrInvalidSession, err)
			}
		})
	}
}

// Every token is signed with the right key, so that only its flaw can be why it is refused.
func TestJWTRefused(t *testing.T) {
	rs := jwtKeys()["RS256"]
	v := jwtStatic(t, jwtConfig(), rs.public())
	head := func(member string) string {
		return rs.sign(strings.TrimSuffix(rs.header(), "}")+","+member+"}", jwtPayload())
	}
	header := func(h string) string { return rs.sign(h, jwtPayload()) }
	payload := func(p string) string { return rs.sign(rs.header(), p) }
	first, second := jwtB64(rs.header()), jwtB64(jwtPayload())
	good := rs.token()
	signature := good[strings.LastIndexByte(good, '.')+1:]
	in := func(s, insert string) string { return s[:len(s)/2] + insert + s[len(s)/2:] }

	for name, c := range map[string]struct {
		token string
		class error
	}{
		"empty":                  {"", ErrNotMine},
		"opaque":                 {"v2.local-3fa7", ErrNotMine},
		"three words":            {"not.a.token", ErrNotMine},
		"JWE":                    {jwtB64(`{"alg":"dir","enc":"A256GCM"}`) + "..a.b.c", ErrNotMine},
		"another issuer":         {rs.token("iss", `"https://legacy.example"`), ErrNotMine},
		"another issuer's alg":   {rs.sign(`{"alg":"ES256"}`, jwtPayload("iss", `"https://other.example/"`)), ErrNotMine},
		"no issuer":              {rs.token("iss", ""), ErrNotMine},
		"issuers":                {rs.token("iss", `["https://legacy.example/"]`), ErrNotMine},
		"too long":               {rs.token("x", `"`+strings.Repeat("x", jwtMaxSize)+`"`), ErrInvalidSession},
		"other key":              {jwtKeys()["other"].token(), ErrInvalidSession},
		"none":                   {jwtB64(`{"alg":"none"}`) + "." + second + ".", ErrInvalidSession},
		"none, signed":           {header(`{"alg":"none","kid":"key-1"}`), ErrInvalidSession},
		"no alg":                 {header(`{"kid":"key-1"}`), ErrInvalidSession},
		"alg array":              {header(`{"alg":["RS256"],"kid":"key-1"}`), ErrInvalidSession},
		"alg case":               {header(`{"alg":"rs256","kid":"key-1"}`), ErrInvalidSession},
		"unknown kid":            {header(`{"alg":"RS256","kid":"key-2"}`), ErrInvalidSession},
		"empty kid":              {header(`{"alg":"RS256","kid":""}`), ErrInvalidSession},
		"null kid":               {header(`{"alg":"RS256","kid":null}`), ErrInvalidSession},
		"kid number":             {header(`{"alg":"RS256","kid":1}`), ErrInvalidSession},
		"kid NUL":                {header(`{"alg":"RS256","kid":"key-1\u0000"}`), ErrInvalidSession},
		"kid long":               {header(`{"alg":"RS256","kid":"` + strings.Repeat("k", 600) + `"}`), ErrInvalidSession},
		"crit":                   {head(`"crit":["exp"]`), ErrInvalidSession},
		"crit null":              {head(`"crit":null`), ErrInvalidSession},
		"b64":                    {head(`"b64":true`), ErrInvalidSession},
		"typ":                    {header(`{"alg":"RS256","kid":"key-1","typ":"logout+jwt"}`), ErrInvalidSession},
		"typ null":               {header(`{"alg":"RS256","kid":"key-1","typ":null}`), ErrInvalidSession},
		"typ empty":              {header(`{"alg":"RS256","kid":"key-1","typ":""}`), ErrInvalidSession},
		"header twice":           {head(`"alg":"RS256"`), ErrInvalidSession},
		"header folded":          {head(`"ALG":"none"`), ErrInvalidSession},
		"header Kelvin":          {head(`"\u212aid":"x"`), ErrInvalidSession},
		"header array":           {header(`["RS256"]`), ErrNotMine},
		"newline in signature":   {first + "." + second + "." + in(signature, "\n"), ErrInvalidSession},
		"newline in payload":     {rs.seal(first, in(second, "\r\n")), ErrInvalidSession},
		"newline in header":      {rs.seal(in(first, "\n"), second), ErrNotMine},
		"padding":                {good + "==", ErrInvalidSession},
		"spare bits":             {good[:len(good)-1] + string(good[len(good)-1]+1), ErrInvalidSession},
		"standard base64":        {first + "." + second + "." + in(signature, "+/+/"), ErrInvalidSession},
		"no signature":           {first + "." + second + ".", ErrInvalidSession},
		"no payload":             {rs.seal(first, ""), ErrInvalidSession},
		"cut signature":          {good[:len(good)-4], ErrInvalidSession},
		"payload array":          {payload("[" + jwtPayload() + "]"), ErrInvalidSession},
		"two payloads":           {payload(jwtPayload() + jwtPayload()), ErrInvalidSession},
		"payload null":           {payload("null"), ErrInvalidSession},
		"invalid UTF-8":          {rs.token("x", "\"\xff\""), ErrInvalidSession},
		"half a surrogate":       {rs.token("sub", `"\ud800"`), ErrInvalidSession},
		"sub twice":              {payload(strings.TrimSuffix(jwtPayload(), "}") + `,"sub":"admin"}`), ErrInvalidSession},
		"sub twice, escaped":     {payload(strings.TrimSuffix(jwtPayload(), "}") + `,"\u0073ub":"admin"}`), ErrInvalidSession},
		"duplicate inside":       {rs.token("x", `{"a":1,"a":2}`), ErrInvalidSession},
		"deep":                   {rs.token("x", strings.Repeat("[", 40)+strings.Repeat("]", 40)), ErrInvalidSession},
		"SUB too":                {rs.token("SUB", `"admin"`), ErrInvalidSession},
		"long s":                 {rs.token("ſub", `"admin"`), ErrInvalidSession},
		"eXp alone":              {rs.token("exp", "", "eXp", jwtUnix(time.Hour)), ErrInvalidSession},
		"Cnf":                    {rs.token("Cnf", `{}`), ErrInvalidSession},
		"role and Role":          {rs.token("role", `1`, "Role", `2`), ErrInvalidSession},
		"Straße and STRAßE":      {rs.token("Straße", `1`, "STRAßE", `2`), ErrInvalidSession},
		"cnf":                    {rs.token("cnf", `{"jkt":"x"}`), ErrInvalidSession},
		"cnf null":               {rs.token("cnf", `null`), ErrInvalidSession},
		"aud missing":            {rs.token("aud", ""), ErrInvalidSession},
		"aud other":              {rs.token("aud", `"other"`), ErrInvalidSession},
		"aud empty":              {rs.token("aud", `[]`), ErrInvalidSession},
		"aud nested":             {rs.token("aud", `[["api"]]`), ErrInvalidSession},
		"aud mixed":              {rs.token("aud", `["api",1]`), ErrInvalidSession},
		"aud object":             {rs.token("aud", `{"api":1}`), ErrInvalidSession},
		"aud case":               {rs.token("aud", `"API"`), ErrInvalidSession},
		"exp missing":            {rs.token("exp", ""), ErrInvalidSession},
		"exp null":               {rs.token("exp", "null"), ErrInvalidSession},
		"exp string":             {rs.token("exp", `"`+jwtUnix(time.Hour)+`"`), ErrInvalidSession},
		"exp negative":           {rs.token("exp", "-1"), ErrInvalidSession},
		"exp milliseconds":       {rs.token("exp", jwtUnix(time.Hour)+"000"), ErrInvalidSession},
		"exp infinite":           {rs.token("exp", "1e400"), ErrInvalidSession},
		"exp of the year 10000":  {rs.token("exp", "253402300800"), ErrInvalidSession},
		"exp past":               {rs.token("exp", jwtUnix(-31*time.Second)), ErrExpiredSession},
		"exp past by the leeway": {rs.token("exp", jwtUnix(-30*time.Second)), ErrExpiredSession},
		"exp past, fraction":     {rs.token("exp", jwtUnix(-31*time.Second)+".9"), ErrExpiredSession},
		"exp past, other key":    {jwtKeys()["other"].token("exp", jwtUnix(-time.Hour)), ErrInvalidSession},
		"exp past, unknown kid":  {rs.sign(`{"alg":"RS256","kid":"x"}`, jwtPayload("exp", "1")), ErrInvalidSession},
		"nbf future":             {rs.token("nbf", jwtUnix(31*time.Second)), ErrInvalidSession},
		"nbf string":             {rs.token("nbf", `"0"`), ErrInvalidSession},
		"iat future":             {rs.token("iat", jwtUnix(31*time.Second)), ErrInvalidSession},
		"iat null":               {rs.token("iat", `null`), ErrInvalidSession},
		"sub missing":            {rs.token("sub", ""), ErrInvalidSession},
		"sub empty":              {rs.token("sub", `""`), ErrInvalidSession},
		"sub blank":              {rs.token("sub", `"\u00a0 "`), ErrInvalidSession},
		"sub number":             {rs.token("sub", `42`), ErrInvalidSession},
		"sub NUL":                {rs.token("sub", `"a\u0000"`), ErrInvalidSession},
		"sub C1":                 {rs.token("sub", `"a\u0085"`), ErrInvalidSession},
		"sub long":               {rs.token("sub", `"`+strings.Repeat("u", claims.MaxName+1)+`"`), ErrInvalidSession},
		"sid empty":              {rs.token("sid", `""`), ErrInvalidSession},
		"sid number":             {rs.token("sid", `1`), ErrInvalidSession},
		"jti null":               {rs.token("jti", `null`), ErrInvalidSession},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := v.Verify(t.Context(), c.token)
			assertClass(t, c.class, err)
			assert.Nil(t, s)
			for _, part := range strings.Split(c.token, ".") {
				if len(part) > 8 {
					assert.NotContains(t, err.Error(), part)
				}
			}
		})
	}
}

func TestJWTAccepted(t *testing.T) {
	rs := jwtKeys()["RS256"]
	v := jwtStatic(t, jwtConfig(), rs.public())
	escaped := strings.NewReplacer(`"iss"`, `"\u0069ss"`, "https://", `https:\/\/`, `"auth0|42"`, ` "\u0061uth0|42"`).Replace(jwtPayload())
	for name, token := range map[string]string{
		"plain":            rs.token(),
		"aud string":       rs.token("aud", `"api"`),
		"exp float":        rs.token("exp", jwtUnix(time.Hour)+".5"),
		"exp exponent":     rs.token("exp", "1.8e9"),
		"exp in leeway":    rs.token("exp", jwtUnix(-29*time.Second)),
		"iat in leeway":    rs.token("iat", jwtUnix(30*time.Second)),
		"nbf zero":         rs.token("nbf", "0"),
		"no iat":           rs.token("iat", ""),
		"no jti, no sid":   rs.token("jti", "", "sid", ""),
		"no typ":           rs.sign(`{"alg":"RS256","kid":"key-1"}`, jwtPayload()),
		"no kid":           rs.sign(`{"alg":"RS256"}`, jwtPayload()),
		"at+jwt":           rs.sign(`{"alg":"RS256","kid":"key-1","typ":"AT+jwt"}`, jwtPayload()),
		"application":      rs.sign(`{"alg":"RS256","kid":"key-1","typ":"application/at+jwt"}`, jwtPayload()),
		"embedded keys":    rs.sign(`{"alg":"RS256","kid":"key-1","jwk":{},"jku":"http://evil.example","x5u":"x","x5c":["x"]}`, jwtPayload()),
		"escapes":          rs.sign(`{ "\u0061lg":"RS256", "kid":"key-1" }`, escaped),
		"white space":      rs.sign("\n"+rs.header()+"\r\n", "\t"+strings.ReplaceAll(jwtPayload(), `,"`, " ,\n\"")),
		"Unicode claims":   rs.token("größe", `"ü"`, "имя", `"Анна"`, "👋", "1", "Name", `"\ud83d\ude00"`),
		"names almost":     rs.token("subject", "1", "su", "1", "x", `{"sub":1,"SUB":2,"cnf":{}}`),
		"typ in payload":   rs.token("typ", `"Bearer"`),
		"auth_time string": rs.token("auth_time", `"yesterday"`),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := v.Verify(t.Context(), token)
			require.NoError(t, err)
			assert.Equal(t, "auth0|42", s.Subject)
			assert.NotEmpty(t, s.Claims)
		})
	}
}

func TestJWTSignatureLengths(t *testing.T) {
	es, ps := jwtKeys()["ES256"], jwtKeys()["PS256"]
	v := jwtStatic(t, jwtConfig("ES256", "PS256"), Key{ID: "es", material: es.public().material}, Key{ID: "ps", material: ps.public().material})
	signed := jwtB64(`{"alg":"ES256","kid":"es"}`) + "." + jwtB64(jwtPayload())
	n := elliptic.P256().Params().N
	for name, sig := range map[string][]byte{
		"zero": make([]byte, 64), "order": slices.Concat(n.Bytes(), n.Bytes()), "one": slices.Concat(make([]byte, 31), []byte{1}, make([]byte, 31), []byte{1}),
		"short": make([]byte, 63), "long": append(make([]byte, 64), 0), "DER": {0x30, 6, 2, 1, 1, 2, 1, 1},
	} {
		_, err := v.Verify(t.Context(), signed+"."+base64.RawURLEncoding.EncodeToString(sig))
		assert.ErrorIs(t, err, ErrInvalidSession, name)
	}
	// The twin of a signature is as good, and no other token.
	token := es.sign(`{"alg":"ES256","kid":"es"}`, jwtPayload())
	sig, err := base64.RawURLEncoding.DecodeString(token[strings.LastIndexByte(token, '.')+1:])
	require.NoError(t, err)
	new(big.Int).Sub(n, new(big.Int).SetBytes(sig[32:])).FillBytes(sig[32:])
	_, err = v.Verify(t.Context(), token[:strings.LastIndexByte(token, '.')+1]+base64.RawURLEncoding.EncodeToString(sig))
	require.NoError(t, err)

	signed = jwtB64(`{"alg":"PS256","kid":"ps"}`) + "." + jwtB64(jwtPayload())
	digest := crypto.SHA256.New()
	digest.Write([]byte(signed))
	for _, salt := range []int{0, 1, 31, 32, 33, 222} {
		options := &rsa.PSSOptions{SaltLength: salt}
		if salt == 0 {
			options.SaltLength = rsa.PSSSaltLengthAuto
		}
		sig, err := rsa.SignPSS(rand.Reader, ps.key.(*rsa.PrivateKey), crypto.SHA256, digest.Sum(nil), options)
		require.NoError(t, err)
		_, err = v.Verify(t.Context(), signed+"."+base64.RawURLEncoding.EncodeToString(sig))
		assert.Equal(t, salt == 32, err == nil, "salt of %d bytes: %v", salt, err)
	}
}

// What the strict reader accepts, golang-jwt's strict parser accepts as well, and reads the same claims.
func FuzzJWTVerify(f *testing.F) {
	hs := jwtKeys()["HS256"]
	v := jwtStatic(f, jwtConfig("HS256"), hs.public())
	decode, err := NewInsecureDecodeVerifier(jwtConfig("HS256"), InsecureTrustToken)
	require.NoError(f, err)
	f.Add(hs.header(), jwtPayload())
	f.Add(`{"alg":"HS256"}`, jwtPayload("aud", `"api"`, "exp", "1.8e9"))
	f.Add(hs.header(), jwtPayload("SUB", `"x"`))
	f.Add(`{"alg":"none"}`, `{"iss":"https://legacy.example/"}`)
	f.Add(`{"alg":"HS256","crit":[]}`, `{}`)
	parser := jwt.NewParser(jwt.WithStrictDecoding(), jwt.WithJSONNumber(), jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer("https://legacy.example/"),
		jwt.WithAudience("api"), jwt.WithExpirationRequired(), jwt.WithIssuedAt(), jwt.WithLeeway(31*time.Second),
		jwt.WithTimeFunc(func() time.Time { return jwtTestTime }))
	f.Fuzz(func(t *testing.T, header, payload string) {
		for _, token := range []string{hs.sign(header, payload), header + "." + payload} {
			s, err := v.Verify(context.Background(), token)
			if err != nil {
				if n := jwtCountClasses(err); n != 1 {
					t.Fatalf("%d classes: %v", n, err)
				}
				continue
			}
			if s.Subject == "" || s.Issuer != "https://legacy.example/" || s.ExpiresAt.IsZero() || s.acceptedUntil.Before(jwtTestTime) {
				t.Fatalf("%+v", s)
			}
			theirs, err := parser.Parse(token, func(*jwt.Token) (any, error) { return hs.key, nil })
			if err != nil {
				t.Fatalf("golang-jwt refuses %s: %v", payload, err)
			}
			if !assert.Equal(t, map[string]any(theirs.Claims.(jwt.MapClaims)), s.Claims) {
				t.Fatal(payload)
			}
			if _, err := decode.Verify(context.Background(), token); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func jwtCountClasses(err error) (n int) {
	for _, class := range jwtClasses {
		if errors.Is(err, class) {
			n++
		}
	}
	return n
}
