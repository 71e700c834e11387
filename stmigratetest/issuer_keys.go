package stmigratetest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"time"

	_ "crypto/sha256" // the hashes of jwsHash
	_ "crypto/sha512"
)

var issuerAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// issuerKey is a signing key under an ID.
type issuerKey struct {
	id, alg string
	crypto.Signer
}

// keyPool holds keys that no issuer uses now. RSA keys take long to make, so they outlive the issuers; two issuers that
// live at once never share one, or a verifier that mixes them up would go unnoticed.
var keyPool struct {
	sync.Mutex
	free map[string][]crypto.Signer // by keyKind
}

// keyKind names the kind of key that alg needs: "RSA", an elliptic curve's algorithm, or "EdDSA".
func keyKind(alg string) string {
	if strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS") {
		return "RSA"
	}
	return alg
}

// borrowKey takes a key from the pool, or makes one.
func borrowKey(alg string) crypto.Signer {
	kind := keyKind(alg)
	keyPool.Lock()
	if free := keyPool.free[kind]; len(free) > 0 {
		key := free[len(free)-1]
		keyPool.free[kind] = free[:len(free)-1]
		keyPool.Unlock()
		return key
	}
	keyPool.Unlock()
	var key crypto.Signer
	var err error
	switch kind {
	case "RSA":
		key, err = rsa.GenerateKey(rand.Reader, 2048)
	case "ES256":
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		key, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		key, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	default:
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	must(err)
	return key
}

// returnKeys gives the keys back. The issuer must not be used any more.
func (iss *Issuer) returnKeys() {
	iss.mu.Lock()
	keys := iss.borrowed
	iss.borrowed = nil
	iss.mu.Unlock()
	keyPool.Lock()
	defer keyPool.Unlock()
	if keyPool.free == nil {
		keyPool.free = make(map[string][]crypto.Signer)
	}
	for _, k := range keys {
		keyPool.free[keyKind(k.alg)] = append(keyPool.free[keyKind(k.alg)], k.Signer)
	}
}

// RotateKeys publishes a new key, which signs from now on. The old ones stay published until [Issuer.DropOldKeys].
func (iss *Issuer) RotateKeys() {
	key := issuerKey{alg: iss.cfg.Algorithm, Signer: borrowKey(iss.cfg.Algorithm)}
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.borrowed = append(iss.borrowed, key)
	key.id = fmt.Sprintf("key-%d", len(iss.borrowed))
	iss.keys = append(iss.keys, key)
}

// DropOldKeys publishes the signing key alone.
func (iss *Issuer) DropOldKeys() {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.keys = []issuerKey{iss.keys[len(iss.keys)-1]}
}

// KeyID returns the kid of the key that signs. Issuers use the same IDs: a cache of keys that ignores the issuer shows.
func (iss *Issuer) KeyID() string { return iss.key().id }

// JWKS returns the public keys as they are published in health.
func (iss *Issuer) JWKS() []byte {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	return keySet(iss.keys, false)
}

// PublicKeysPEM returns the published keys, oldest first, as PEM blocks "PUBLIC KEY".
func (iss *Issuer) PublicKeysPEM() []byte {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	var out bytes.Buffer
	for _, k := range iss.keys {
		must(pem.Encode(&out, &pem.Block{Type: "PUBLIC KEY", Bytes: k.der()}))
	}
	return out.Bytes()
}

// CertificatesJSON returns the published keys as Google publishes Firebase's: an object of key IDs and PEM certificates. They
// are self-signed and good for a day.
func (iss *Issuer) CertificatesJSON() []byte {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	certs := make(map[string]string)
	for _, k := range iss.keys {
		certs[k.id] = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: k.certificate(iss.Now())}))
	}
	out, err := json.Marshal(certs)
	must(err)
	return out
}

func (iss *Issuer) key() issuerKey {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	return iss.keys[len(iss.keys)-1]
}

// attackerKey is a key of the issuer's kind that is nobody's. Its ID is "attacker".
func (iss *Issuer) attackerKey() issuerKey {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	if iss.attacker == nil {
		iss.attacker = &issuerKey{"attacker", iss.cfg.Algorithm, borrowKey(iss.cfg.Algorithm)}
		iss.borrowed = append(iss.borrowed, *iss.attacker)
	}
	return *iss.attacker
}

func (k issuerKey) der() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.Public())
	must(err)
	return der
}

func (k issuerKey) certificate(now time.Time) []byte {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k.Signer)
	must(err)
	return der
}

// jwk returns the public key (RFC 7517).
func (k issuerKey) jwk() Claims {
	jwk := Claims{"kid": k.id, "alg": k.alg, "use": "sig"}
	switch pub := k.Public().(type) {
	case *rsa.PublicKey:
		jwk["kty"], jwk["n"], jwk["e"] = "RSA", b64(pub.N.Bytes()), b64(big.NewInt(int64(pub.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := pub.Bytes() // 4, x, y
		must(err)
		size := len(point) / 2
		jwk["kty"], jwk["crv"], jwk["x"], jwk["y"] = "EC", pub.Params().Name, b64(point[1:1+size]), b64(point[1+size:])
	case ed25519.PublicKey:
		jwk["kty"], jwk["crv"], jwk["x"] = "OKP", "Ed25519", b64(pub)
	}
	return jwk
}

// keySet returns a JWKS of the keys, with odd ones around them if wanted.
func keySet(keys []issuerKey, odd bool) []byte {
	var all []any
	for _, k := range keys {
		all = append(all, k.jwk())
	}
	if odd {
		strange := strangeKeys()
		all = append(append(strange[:len(strange)/2:len(strange)/2], all...), strange[len(strange)/2:]...)
	}
	out, err := json.Marshal(Claims{"keys": all})
	must(err)
	return out
}

// strangeKeys are entries as they are met in the wild: each one is to be left out, and none may spoil the set.
func strangeKeys() []any {
	modulus := func(size int) string {
		n := make([]byte, size)
		_, _ = rand.Read(n)
		n[0] |= 0x80
		n[size-1] |= 1
		return b64(n)
	}
	n := modulus(256)
	return []any{
		nil, "key", 7, []any{}, Claims{},
		Claims{"kty": "RSA", "kid": "bad-base64", "n": "!!!", "e": "AQAB"},
		Claims{"kty": "RSA", "kid": "no-exponent", "n": n},
		Claims{"kty": "RSA", "kid": "even-exponent", "n": n, "e": "BA"},
		Claims{"kty": "RSA", "kid": "exponent-1", "n": n, "e": "AQ"},
		Claims{"kty": "RSA", "kid": "weak", "n": modulus(128), "e": "AQAB"},
		Claims{"kty": "RSA", "kid": "encryption", "use": "enc", "n": n, "e": "AQAB"},
		Claims{"kty": "RSA", "kid": "wrapping", "key_ops": []string{"wrapKey"}, "n": n, "e": "AQAB"},
		Claims{"kty": "RSA", "kid": "private", "n": n, "e": "AQAB", "d": modulus(256)},
		Claims{"kty": "RSA", "kid": 42, "n": n, "e": "AQAB"},
		Claims{"kty": "RSA", "kid": "unknown-alg", "alg": "RS1024", "n": n, "e": "AQAB"},
		Claims{"kty": "RSA", "kid": "garbage-x5c", "x5c": []string{"garbage"}, "n": n, "e": "AQAB"},
		Claims{"kty": "RSA", "kid": "twice", "n": modulus(256), "e": "AQAB"},
		Claims{"kty": "RSA", "kid": "twice", "n": modulus(256), "e": "AQAB"},
		Claims{"kty": "EC", "kid": "off-curve", "crv": "P-256", "x": modulus(32), "y": modulus(32)},
		Claims{"kty": "EC", "kid": "unknown-curve", "crv": "P-257", "x": modulus(32), "y": modulus(32)},
		Claims{"kty": "OKP", "kid": "short", "crv": "Ed25519", "x": modulus(16)},
		Claims{"kty": "AKP", "kid": "post-quantum", "alg": "ML-DSA-44", "pub": modulus(1312)},
		Claims{"kty": "oct", "kid": "symmetric", "k": modulus(32)},
		Claims{"kty": "unheard-of", "kid": "unheard-of"},
	}
}

// jwsHash returns the hash that alg signs, or 0 for EdDSA.
func jwsHash(alg string) crypto.Hash {
	switch alg[len(alg)-3:] {
	case "256":
		return crypto.SHA256
	case "384":
		return crypto.SHA384
	case "512":
		return crypto.SHA512
	}
	return 0
}

// sign makes the signature of input (RFC 7518 §3, RFC 8037). alg may be one that the key is not for, as far as it can.
func (k issuerKey) sign(alg, input string) []byte {
	hash := jwsHash(alg)
	digest := []byte(input)
	if hash != 0 {
		h := hash.New()
		h.Write(digest)
		digest = h.Sum(nil)
	}
	switch key := k.Signer.(type) {
	case *rsa.PrivateKey:
		if strings.HasPrefix(alg, "PS") {
			return must1(rsa.SignPSS(rand.Reader, key, hash, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}))
		}
		return must1(rsa.SignPKCS1v15(nil, key, hash, digest))
	case *ecdsa.PrivateKey:
		r, s, err := ecdsa.Sign(rand.Reader, key, digest)
		must(err)
		return ecSignature(r, s, ecSize(key.Curve))
	default:
		return must1(key.Sign(nil, digest, hash))
	}
}

// ecSize is the length of a coordinate in bytes.
func ecSize(curve elliptic.Curve) int { return (curve.Params().BitSize + 7) / 8 }

// ecSignature returns r and s, each in size bytes.
func ecSignature(r, s *big.Int, size int) []byte {
	out := make([]byte, 2*size)
	r.FillBytes(out[:size])
	s.FillBytes(out[size:])
	return out
}

func b64[T ~string | ~[]byte](b T) string { return base64.RawURLEncoding.EncodeToString([]byte(b)) }

// must ends the test on errors that only a mistake of the test, or of this package, can cause.
func must(err error) {
	if err != nil {
		panic("stmigratetest: " + err.Error())
	}
}

func must1[T any](v T, err error) T {
	must(err)
	return v
}
