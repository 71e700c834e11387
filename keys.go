package stmigrate

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/stmigrate/stmigrate/internal/claims"
)

// keyMaxDocument bounds a document of keys, in bytes: the largest in use have some tens of keys.
const keyMaxDocument = 512 << 10

// Key is a key that verifies legacy tokens, made by [ParseKeys] or [HMACKey]. It prints without its key material.
type Key struct {
	// ID is the kid of the tokens that the key verifies. "": the key has no name and verifies tokens of any kid or none.
	ID string
	// Algorithm limits the key to one algorithm (RFC 7518 §3.1). "": every algorithm that its type can do.
	Algorithm string
	// TrustedUntil ends the use of the key: for one that was written down, nothing else would. A certificate's end goes in
	// here (NotAfter). The zero time sets no limit.
	TrustedUntil time.Time

	// A pointer: where fmt cannot call Format, in a field that is not exported, %v does not follow it.
	material *keyMaterial
}

// keyMaterial holds a *rsa.PublicKey, *ecdsa.PublicKey, ed25519.PublicKey or, for a secret, []byte.
type keyMaterial struct{ key any }

// HMACKey is a shared secret, for tokens of HS256, HS384 and HS512. It must be as long as the hash: 32, 48 or 64 random bytes
// (RFC 7518 §3.2); [NewStaticKeyVerifier] refuses shorter ones. A secret that the provider shows in base64 or hex may be
// meant as text or in decoded form; its documentation tells. Whoever has the secret can sign tokens, too.
func HMACKey(secret []byte) Key { return Key{material: &keyMaterial{bytes.Clone(secret)}} }

// String describes the key without its material.
func (k Key) String() string {
	return fmt.Sprintf("Key{ID: %q, %s, Algorithm: %q, TrustedUntil: %v}", k.ID, k.kind(), k.Algorithm, k.TrustedUntil)
}

// Format is String, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue is String.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

func (k Key) kind() string {
	if k.material == nil {
		return "empty"
	}
	switch key := k.material.key.(type) {
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	case *ecdsa.PublicKey:
		return "EC " + key.Params().Name
	case ed25519.PublicKey:
		return "Ed25519"
	default:
		return "HMAC secret"
	}
}

// fits tells whether the key may verify signatures of alg: by its type, its curve or length, and what it says itself.
func (k Key) fits(alg string) bool {
	return (k.Algorithm == "" || k.Algorithm == alg) && keyFits(k.material.key, alg)
}

// keyFits tells whether a key is of the type that alg needs (RFC 7518 §3, RFC 8037 §3.1).
func keyFits(key any, alg string) bool {
	method, ok := jwtAlgorithms[alg]
	if !ok {
		return false
	}
	switch key := key.(type) {
	case *rsa.PublicKey:
		return alg[:2] == "RS" || alg[:2] == "PS"
	case *ecdsa.PublicKey:
		m, ok := method.(*jwt.SigningMethodECDSA)
		return ok && m.CurveBits == key.Params().BitSize
	case ed25519.PublicKey:
		return method == jwt.SigningMethodEdDSA
	case []byte:
		m, ok := method.(*jwt.SigningMethodHMAC)
		return ok && len(key) >= m.Hash.Size()
	}
	return false
}

// keyCheck refuses public keys that are weak, that no algorithm here can use, or that are made to be slow.
func keyCheck(key any) error {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < 2048 || bits > 8192 {
			return fmt.Errorf("an RSA key of %d bits, from 2048 to 8192 wanted", bits)
		}
		if key.N.Bit(0) == 0 || key.E < 3 || key.E%2 == 0 {
			return errors.New("an RSA key whose numbers cannot be right")
		}
		return nil
	case *ecdsa.PublicKey:
		if slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, key.Curve) {
			return nil
		}
		return fmt.Errorf("a key on the curve %s, one of P-256, P-384 and P-521 wanted", key.Params().Name)
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("a %T, an RSA, EC or Ed25519 public key wanted", key)
}

var errKeySecret = errors.New("a private or symmetric key, which does not belong where public keys are: " +
	"take it out, consider it leaked, and give a shared secret to HMACKey")

// ParseKeys reads public keys from any of the forms that providers publish them in:
//
//   - PEM: "PUBLIC KEY", "RSA PUBLIC KEY" and "CERTIFICATE" blocks, as many as there are
//   - a JWK, or a JWK Set (RFC 7517): the bytes of [FetchKeys]
//   - a JSON object of key IDs and certificates, as Firebase publishes
//
// Certificates only carry the key and its end, TrustedUntil: no chain is built and no revocation asked, since whoever
// hands over the document vouches for it. Keys in PEM have no ID.
//
// Of a JWK Set and of certificates in JSON, keys are left out that cannot verify tokens here: for another use, of a type or
// curve that is not supported, broken, RSA of less than 2048 bits, and those that share their ID. It is an error if none
// is left, if the document is longer than 512 KiB, and if there is a private or symmetric key in it.
func ParseKeys(document []byte) ([]Key, error) {
	keys, skipped, err := keysParse(document)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	for _, reason := range skipped {
		if errors.Is(reason, errKeySecret) {
			return nil, fmt.Errorf("keys: %w", reason)
		}
	}
	return keys, nil
}

// keysParse returns the usable keys of a document, at least one, and why others were skipped.
func keysParse(document []byte) (keys []Key, skipped []error, err error) {
	if len(document) > keyMaxDocument {
		return nil, nil, fmt.Errorf("more than %d bytes", keyMaxDocument)
	}
	var parsed []Key
	switch text := bytes.TrimSpace(document); {
	case bytes.HasPrefix(text, []byte("{")):
		parsed, skipped, err = keysFromJSON(text)
	default:
		parsed, err = keysFromPEM(text)
	}
	if err != nil {
		return nil, nil, err
	}
	ids := make(map[string]int)
	for _, k := range parsed {
		ids[k.ID]++
	}
	for _, k := range parsed {
		if k.ID != "" && ids[k.ID] > 1 {
			skipped = append(skipped, fmt.Errorf("key %.100q: %d keys have this ID", k.ID, ids[k.ID]))
			continue
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, nil, fmt.Errorf("no key that can verify tokens: %w", errors.Join(skipped...))
	}
	return keys, skipped, nil
}

func keysFromJSON(text []byte) (keys []Key, skipped []error, err error) {
	var document struct {
		Type string            `json:"kty"`
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return nil, nil, fmt.Errorf("neither PEM nor JSON with keys: %v", err)
	}
	add := func(name string, k Key, err error) {
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %s: %w", name, err))
			return
		}
		keys = append(keys, k)
	}
	switch {
	case document.Keys != nil:
		for i, raw := range document.Keys {
			k, err := keyFromJWK(raw)
			add(fmt.Sprint(i), k, err)
		}
	case document.Type != "":
		k, err := keyFromJWK(text)
		add("0", k, err)
	default:
		certificates, err := claims.Object(string(text))
		if err != nil {
			return nil, nil, err
		}
		for id, value := range certificates {
			text, _ := value.(string)
			found, err := keysFromPEM([]byte(text))
			if err == nil && len(found) != 1 {
				err = fmt.Errorf("%d certificates, one wanted", len(found))
			}
			if err != nil {
				add(fmt.Sprintf("%.100q", id), Key{}, err)
				continue
			}
			found[0].ID = id
			add(id, found[0], nil)
		}
	}
	return keys, skipped, nil
}

// keyFromJWK reads a public signature key (RFC 7517 §4).
func keyFromJWK(raw []byte) (Key, error) {
	var m jwkset.JWKMarshal
	if err := json.Unmarshal(raw, &m); err != nil {
		return Key{}, fmt.Errorf("no JWK: %v", err)
	}
	switch {
	case m.KTY == jwkset.KtyOct || m.D != "" || m.P != "" || m.Q != "" || m.K != "" || m.DP != "" || m.DQ != "" || m.QI != "":
		return Key{}, errKeySecret
	case m.USE != "" && m.USE != jwkset.UseSig:
		return Key{}, errors.New("not for signatures (use)")
	case m.KEYOPS != nil && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify):
		return Key{}, errors.New("not for verification (key_ops)")
	}
	// The key counts, not the certificates that may come with it.
	m.X5C, m.X5T, m.X5TS256, m.X5U = nil, "", "", ""
	jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{SkipKeyOps: true, SkipMetadata: true})
	if err != nil {
		return Key{}, err
	}
	if err := keyCheck(jwk.Key()); err != nil {
		return Key{}, err
	}
	k := Key{ID: m.KID, Algorithm: m.ALG.String(), material: &keyMaterial{jwk.Key()}}
	if k.Algorithm != "" && !k.fits(k.Algorithm) {
		return Key{}, fmt.Errorf("for the algorithm %.50q, which its type cannot do here", k.Algorithm)
	}
	return k, nil
}

func keysFromPEM(document []byte) ([]Key, error) {
	var keys []Key
	text := document
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			break
		}
		text = rest
		var k Key
		var public any
		var err error
		switch {
		case block.Type == "PUBLIC KEY":
			public, err = x509.ParsePKIXPublicKey(block.Bytes)
		case block.Type == "RSA PUBLIC KEY":
			public, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case block.Type == "CERTIFICATE":
			var certificate *x509.Certificate
			if certificate, err = x509.ParseCertificate(block.Bytes); err == nil {
				public, k.TrustedUntil = certificate.PublicKey, certificate.NotAfter
			}
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			err = errKeySecret
		default:
			err = fmt.Errorf("a PEM block %.50q, PUBLIC KEY or CERTIFICATE wanted", block.Type)
		}
		if err == nil {
			err = keyCheck(public)
		}
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", len(keys), err)
		}
		k.material = &keyMaterial{public}
		keys = append(keys, k)
	}
	// pem.Decode passes over what it cannot read.
	if n := bytes.Count(document, []byte("-----BEGIN ")); n == 0 || n != len(keys) {
		return nil, fmt.Errorf("%d of %d PEM blocks can be read: PUBLIC KEY or CERTIFICATE blocks, a JWK or a JWK Set wanted", len(keys), n)
	}
	return keys, nil
}

// keySource holds the keys of one issuer.
type keySource interface {
	// candidates returns the keys that can have signed a token with this header, whose alg is one that the configuration
	// allows: one, or several without a name. With fetch false it makes do with what is there. Its errors have a class.
	candidates(ctx context.Context, header map[string]any, fetch bool) ([]any, error)
}

// keySet is a set of keys that does not change. It is what keyfunc asks for keys.
type keySet struct {
	jwkset.Storage // An empty one, for the methods that keyfunc does not call.

	keys  []keyStored
	named map[string]int // index in keys by ID
	now   func() time.Time
}

type keyStored struct {
	jwkset.JWK
	until time.Time
}

// newKeySet takes keys of different IDs.
func newKeySet(keys []Key, now func() time.Time) (*keySet, error) {
	s := &keySet{Storage: jwkset.NewMemoryStorage(), named: make(map[string]int), now: now}
	for _, k := range keys {
		jwk, err := jwkset.NewJWKFromKey(k.material.key, jwkset.JWKOptions{
			Metadata: jwkset.JWKMetadataOptions{KID: k.ID, ALG: jwkset.ALG(k.Algorithm)},
			Marshal:  jwkset.JWKMarshalOptions{Private: true}, // else no secrets
		})
		if err != nil {
			return nil, fmt.Errorf("%v: %w", k, err)
		}
		if k.ID != "" {
			s.named[k.ID] = len(s.keys)
		}
		s.keys = append(s.keys, keyStored{jwk, k.TrustedUntil})
	}
	return s, nil
}

func (s *keySet) has(id string) bool {
	_, ok := s.named[id]
	return ok
}

// KeyRead returns the key of an ID.
func (s *keySet) KeyRead(_ context.Context, id string) (jwkset.JWK, error) {
	i, ok := s.named[id]
	if !ok {
		return jwkset.JWK{}, &keyError{fmt.Errorf("%w: no key has the ID (kid) that the token names", ErrInvalidSession)}
	}
	if k := &s.keys[i]; s.trusts(k) {
		return k.JWK, nil
	}
	return jwkset.JWK{}, &keyError{fmt.Errorf("%w: the key %.100q was trusted until %v", ErrInvalidSession, id, s.keys[i].until)}
}

// KeyReadAll returns all keys.
func (s *keySet) KeyReadAll(context.Context) ([]jwkset.JWK, error) {
	keys := make([]jwkset.JWK, 0, len(s.keys))
	for i := range s.keys {
		if k := &s.keys[i]; s.trusts(k) {
			keys = append(keys, k.JWK)
		}
	}
	return keys, nil
}

func (s *keySet) trusts(k *keyStored) bool { return k.until.IsZero() || s.now().Before(k.until) }

func (s *keySet) candidates(ctx context.Context, header map[string]any, _ bool) ([]any, error) {
	return keyCandidates(ctx, s, header, len(s.named) == 0)
}

// keyCandidates returns the key that the header's kid names. Without a kid, or among keys without names (nameless), the type
// and algorithm of the keys decide; of keys with names only one may fit then.
func keyCandidates(ctx context.Context, storage jwkset.Storage, header map[string]any, nameless bool) ([]any, error) {
	alg, _ := header["alg"].(string)
	if header["kid"] == nil || nameless {
		return keysThatFit(ctx, storage, alg, nameless)
	}
	f, err := keyfunc.New(keyfunc.Options{Ctx: ctx, Storage: storage})
	if err != nil {
		return nil, err
	}
	key, err := f.KeyfuncCtx(ctx)(&jwt.Token{Header: header})
	if of := (*keyError)(nil); errors.As(err, &of) {
		return nil, of.err
	}
	if err != nil || !keyFits(key, alg) {
		return nil, fmt.Errorf("%w: the key that the token names is for another algorithm than the token's", ErrInvalidSession)
	}
	return []any{key}, nil
}

func keysThatFit(ctx context.Context, storage jwkset.Storage, alg string, nameless bool) ([]any, error) {
	all, err := storage.KeyReadAll(ctx)
	if err != nil {
		return nil, err
	}
	var fit []any
	for _, k := range all {
		if own := k.Marshal().ALG.String(); (own == "" || own == alg) && keyFits(k.Key(), alg) {
			fit = append(fit, k.Key())
		}
	}
	switch {
	case len(fit) == 0:
		return nil, fmt.Errorf("%w: no key that is trusted fits the token's algorithm", ErrInvalidSession)
	case len(fit) > 1 && !nameless:
		return nil, fmt.Errorf("%w: the token names no key (kid), and %d keys can be meant", ErrInvalidSession, len(fit))
	}
	return fit, nil
}

// keyError takes an error that has a class through keyfunc, whose own have none and quote the token.
type keyError struct{ err error }

func (e *keyError) Error() string { return e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }
