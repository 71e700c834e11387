package coreemu

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// keyLifetime is when the real core publishes the next dynamic key: a minute before this one has signed for a week. A JWKS
// may be cached until then.
const keyLifetime = 7*24*time.Hour - time.Minute

type signingKey struct {
	id      string
	private *rsa.PrivateKey
	created time.Time
	until   time.Time // when it is no longer published; zero for the keys that sign
}

// keyring has the keys of a core: dynamic ones, newest first, of which the first signs, and the static one.
type keyring struct {
	dynamic []signingKey
	static  signingKey
}

// sharedKeys are the key pairs of all cores that do not ask for their own.
var sharedKeys = sync.OnceValue(func() [2]*rsa.PrivateKey { return [2]*rsa.PrivateKey{newPrivateKey(), newPrivateKey()} })

func newPrivateKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// lastKeyID makes the IDs of dynamic keys differ within the process, so that no core takes another's token for its own.
var lastKeyID atomic.Int64

func newDynamicKey(private *rsa.PrivateKey, now time.Time) signingKey {
	for {
		last := lastKeyID.Load()
		id := max(now.UnixMilli(), last+1)
		if lastKeyID.CompareAndSwap(last, id) {
			return signingKey{id: fmt.Sprintf("d-%d", id), private: private, created: now}
		}
	}
}

func newKeyring(now time.Time, fresh bool) keyring {
	var pair [2]*rsa.PrivateKey
	if fresh {
		pair = [2]*rsa.PrivateKey{newPrivateKey(), newPrivateKey()}
	} else {
		pair = sharedKeys()
	}
	return keyring{
		dynamic: []signingKey{newDynamicKey(pair[0], now)},
		static:  signingKey{id: "s-" + newUUID(), private: pair[1], created: now},
	}
}

// RotateKeys adds a dynamic signing key, which comes first in the JWKS and signs from now on. The one before stays
// published until the last access token signed with it is over.
func (c *Core) RotateKeys() {
	private := newPrivateKey()
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	c.keys.dynamic[0].until = now.Add(c.cfg.AccessTokenValidity)
	c.keys.dynamic = append([]signingKey{newDynamicKey(private, now)}, c.keys.dynamic...)
}

// signer is the key that signs now.
func (c *Core) signer(static bool) *signingKey {
	if static {
		return &c.keys.static
	}
	return &c.keys.dynamic[0]
}

// published are the keys that verify now, in the order of the JWKS.
func (c *Core) published() []*signingKey {
	var out []*signingKey
	for i := range c.keys.dynamic {
		if k := &c.keys.dynamic[i]; k.until.IsZero() || !c.now().After(k.until) {
			out = append(out, k)
		}
	}
	return append(out, &c.keys.static)
}

func (c *Core) jwks(r *request) (any, error) {
	keys := []reply{}
	for _, k := range c.published() {
		keys = append(keys, reply{
			"kty": "RSA", "kid": k.id, "alg": "RS256", "use": "sig",
			"n": base64.RawURLEncoding.EncodeToString(k.private.N.Bytes()),
			"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(k.private.E)).Bytes()),
		})
	}
	age := max(int64(c.keys.dynamic[0].created.Add(keyLifetime).Sub(c.now())/time.Second), 1)
	r.header.Set("Cache-Control", fmt.Sprintf("max-age=%d, must-revalidate", age))
	return reply{"keys": keys}, nil
}

// createJWT signs what the caller likes. The issuer is jwksDomain unless the payload has one.
func (c *Core) createJWT(r *request) (any, error) {
	algorithm, domain, payload := r.str("algorithm"), r.str("jwksDomain"), r.object("payload")
	number, _ := field[json.Number](r, "validity", false)
	seconds, err := number.Int64()
	if r.err == nil && err != nil {
		r.invalid("validity")
	}
	if r.err == nil && seconds <= 0 {
		r.fail("validity must be greater than or equal to 0")
	}
	static := r.optFlag("useStaticSigningKey", true)
	if r.err != nil {
		return nil, r.err
	}
	if !strings.EqualFold(algorithm, "RS256") {
		return status("UNSUPPORTED_ALGORITHM_ERROR"), nil
	}
	now := c.millis() / 1000
	claims := []member{{"iat", now}, {"exp", now + seconds}, {"iss", domain}}
	for i, m := range claims {
		if v, ok := payload[m.name]; ok {
			claims[i].value = v
			delete(payload, m.name)
		}
	}
	token, err := sign(c.signer(static), "", claims, payload)
	return reply{"status": "OK", "jwt": token}, err
}

// member is a member of a JSON object whose order matters.
type member struct {
	name  string
	value any
}

// sign makes a JWS. Header and payload have their members in the order of the real core: java-jwt's key ID first.
func sign(key *signingKey, version string, claims []member, more map[string]any) (string, error) {
	header := []member{{"kid", key.id}, {"typ", "JWT"}}
	if version != "" {
		header = append(header, member{"version", version})
	}
	h, err := encodeMembers(append(header, member{"alg", "RS256"}), nil)
	if err != nil {
		return "", err
	}
	p, err := encodeMembers(claims, more)
	if err != nil {
		return "", err
	}
	signed := base64.RawURLEncoding.EncodeToString(h) + "." + base64.RawURLEncoding.EncodeToString(p)
	sum := sha256.Sum256([]byte(signed))
	sig, err := rsa.SignPKCS1v15(nil, key.private, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(sig), nil
}

// verifySignature tells whether one of the published keys signed the token.
func (c *Core) verifySignature(kid, signed, signature string) error {
	for _, k := range c.published() {
		if k.id != kid {
			continue
		}
		sig, err := base64.RawURLEncoding.DecodeString(signature)
		sum := sha256.Sum256([]byte(signed))
		if err != nil || rsa.VerifyPKCS1v15(&k.private.PublicKey, crypto.SHA256, sum[:], sig) != nil {
			return message(jwtException + "JWT verification failed")
		}
		return nil
	}
	return message("Key not found")
}

// encodeMembers writes first in their order, then more.
func encodeMembers(first []member, more map[string]any) ([]byte, error) {
	out := []byte{'{'}
	for _, m := range first {
		name, _ := json.Marshal(m.name)
		value, err := json.Marshal(m.value)
		if err != nil {
			return nil, err
		}
		out = append(append(append(append(out, name...), ':'), value...), ',')
	}
	rest, err := json.Marshal(more)
	if err != nil {
		return nil, err
	}
	if len(more) == 0 {
		out[len(out)-1] = '}'
		return out, nil
	}
	return append(out, rest[1:]...), nil
}
