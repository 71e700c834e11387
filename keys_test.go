package stmigrate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func pemOf(kind string, der []byte, err error) string {
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func pkix(k Key) string {
	der, err := x509.MarshalPKIXPublicKey(k.material.key)
	return pemOf("PUBLIC KEY", der, err)
}

func certificateOf(s jwtSigner, end time.Time) string {
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, template, template, s.public().material.key, s.key)
	return pemOf("CERTIFICATE", der, err)
}

func TestParseKeys(t *testing.T) {
	rs, es, ed := jwtKeys()["RS256"], jwtKeys()["ES256"], jwtKeys()["EdDSA"]
	end := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	pkcs1 := pemOf("RSA PUBLIC KEY", x509.MarshalPKCS1PublicKey(rs.public().material.key.(*rsa.PublicKey)), nil)
	x509Map, err := json.Marshal(map[string]string{"a": certificateOf(rs, end), "b": certificateOf(es, end)})
	require.NoError(t, err)
	jwk, err := json.MarshalIndent(jwkOf(es.public(), map[string]any{"alg": "ES256"}), "", " ")
	require.NoError(t, err)
	for name, c := range map[string]struct {
		document, want string
	}{
		"PKIX":              {pkix(rs.public()), `[ RSA 2048  0]`},
		"PKIX of Ed25519":   {"\n" + pkix(ed.public()) + "\n", `[ Ed25519  0]`},
		"PKCS #1":           {pkcs1, `[ RSA 2048  0]`},
		"several":           {pkix(rs.public()) + "# comment\n" + pkix(es.public()), `[ RSA 2048  0][ EC P-256  0]`},
		"certificate":       {certificateOf(ed, end), `[ Ed25519  2027]`},
		"JWK":               {string(jwk), `[key-1 EC P-256 ES256 0]`},
		"JWK Set":           {string(jwksOf(jwkOf(rs.public(), nil), nil, jwkOf(ed.public(), map[string]any{"kid": "ed"}))), `[key-1 RSA 2048  0][ed Ed25519 EdDSA 0]`},
		"certificates, IDs": {string(x509Map), `[a RSA 2048  2027][b EC P-256  2027]`},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := ParseKeys([]byte(c.document))
			require.NoError(t, err)
			var got []string
			for _, k := range keys {
				year := 0
				if !k.TrustedUntil.IsZero() {
					year = k.TrustedUntil.Year()
				}
				got = append(got, fmt.Sprintf("[%s %s %s %d]", k.ID, k.kind(), k.Algorithm, year))
			}
			assert.ElementsMatch(t, strings.SplitAfter(c.want, "]")[:len(got)], got)
			assert.Len(t, got, strings.Count(c.want, "["))
		})
	}
}

func TestParseKeysRefused(t *testing.T) {
	rs, es := jwtKeys()["RS256"], jwtKeys()["ES256"]
	pkcs8, err := x509.MarshalPKCS8PrivateKey(es.key)
	private := pemOf("PRIVATE KEY", pkcs8, err)
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	for name, c := range map[string]struct{ document, want string }{
		"nothing": {"", "0 of 0 PEM blocks"}, "text": {"keys", "0 of 0 PEM blocks"}, "array": {"[]", "PEM blocks"}, "empty object": {"{}", "no key"},
		"no keys": {`{"keys":[]}`, "no key"}, "broken JSON": {`{"keys":[`, "neither PEM nor JSON"}, "map of others": {`{"a":1,"b":"x"}`, "no key"},
		"private PEM": {private, "a private or symmetric key"}, "private PEM behind": {pkix(rs.public()) + private, "a private or symmetric key"},
		"private JWK": {string(jwksOf(jwkOf(rs.public(), nil), jwkOf(rs.public(), map[string]any{"d": "AQAB", "kid": "b"}))), "a private or symmetric key"},
		"secret JWK":  {string(jwksOf(jwkOf(rs.public(), nil), map[string]any{"kty": "oct", "k": "c2VjcmV0"})), "a private or symmetric key"},
		"RSA 1024":    {pkix(Key{material: &keyMaterial{&weak.PublicKey}}), "an RSA key of 1024 bits"}, "P-224": {pkix(Key{material: &keyMaterial{&p224.PublicKey}}), "P-224"},
		"request": {pemOf("CERTIFICATE REQUEST", []byte{1}, nil), "PUBLIC KEY or CERTIFICATE wanted"}, "broken block": {strings.Replace(pkix(rs.public()), "M", "%", 1), "0 of 1"},
		"broken block before": {strings.Replace(pkix(rs.public()), "M", "%", 1) + pkix(es.public()), "1 of 2"}, "broken DER": {pemOf("PUBLIC KEY", []byte{1}, nil), "PEM block 0"},
		"too long":  {strings.Repeat(" ", keyMaxDocument) + pkix(rs.public()), "more than 524288 bytes"},
		"IDs twice": {string(jwksOf(jwkOf(rs.public(), nil), jwkOf(es.public(), nil))), "2 keys have this ID"},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := ParseKeys([]byte(c.document))
			require.ErrorContains(t, err, c.want)
			assert.Nil(t, keys)
			assert.NotContains(t, err.Error(), "c2VjcmV0")
		})
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	secret := []byte("a secret of some thirty-two bytes")
	k := HMACKey(secret)
	v := jwtStatic(t, jwtConfig("HS256"), k)
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", k, "keys", []Key{k})
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", k, "pointer", &k, "verifier", v)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%t", "%e", "%p"} {
		fmt.Fprintf(&log, verb+verb+verb, k, []any{&k}, v)
	}
	for _, form := range []string{string(secret), fmt.Sprintf("%x", secret), strings.Trim(fmt.Sprint(secret), "[]"), "YSBzZWNyZXQ"} {
		assert.NotContains(t, strings.ToLower(log.String()), strings.ToLower(form))
	}
	assert.Equal(t, `Key{ID: "", HMAC secret, Algorithm: "", TrustedUntil: 0001-01-01 00:00:00 +0000 UTC}`, k.String())
	clear(secret)
	_, err := v.Verify(t.Context(), jwtSigner{"", "HS256", []byte("a secret of some thirty-two bytes")}.token("kid", `1`))
	assert.ErrorIs(t, err, ErrInvalidSession, "the empty kid")
	_, err = v.Verify(t.Context(), jwtSigner{"k", "HS256", []byte("a secret of some thirty-two bytes")}.token())
	assert.NoError(t, err, "the secret was copied")
}

func FuzzParseKeys(f *testing.F) {
	rs, ed := jwtKeys()["RS256"], jwtKeys()["EdDSA"]
	f.Add([]byte(pkix(rs.public()) + certificateOf(ed, jwtTestTime)))
	f.Add(jwksOf(jwkOf(rs.public(), nil), jwkOf(ed.public(), map[string]any{"kid": "ed", "alg": "EdDSA"})))
	f.Add([]byte(fmt.Sprintf(`{"a":%q}`, certificateOf(ed, jwtTestTime))))
	f.Add([]byte(`{"kty":"oct","k":"AAAA"}`))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		keys, err := ParseKeys(document)
		if (err == nil) != (len(keys) > 0) {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		for _, k := range keys {
			if err := keyCheck(k.material.key); err != nil {
				t.Fatal(err)
			}
			if _, isEd := k.material.key.(ed25519.PublicKey); isEd && k.fits("RS256") {
				t.Fatal(k)
			}
		}
		if err == nil {
			if _, err := newKeySet(keys, time.Now); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestKeyFits(t *testing.T) {
	kind := func(alg string) string {
		switch alg[:2] {
		case "RS", "PS":
			return "RSA"
		case "HS":
			return "HMAC"
		}
		return alg // a curve of its own
	}
	for of, signer := range jwtKeys() {
		for alg := range jwtAlgorithms {
			if of != "other" {
				assert.Equal(t, kind(of) == kind(alg), signer.public().fits(alg), "a key of %s for %s", of, alg)
			}
		}
		assert.False(t, signer.public().fits("none"))
		assert.False(t, signer.public().fits(""))
	}
	for size, fits := range map[int][]bool{31: {false, false, false}, 32: {true, false, false}, 48: {true, true, false}, 64: {true, true, true}} {
		k := HMACKey(make([]byte, size))
		assert.Equal(t, fits, []bool{k.fits("HS256"), k.fits("HS384"), k.fits("HS512")}, size)
	}
}
