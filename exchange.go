package stmigrate

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate/internal/fdi"
)

// ExchangeStore remembers which legacy sessions were exchanged, and for a short while with what answer.
//
// Each method is atomic for its key, safe for concurrent use, and ends by ctx. All durations run on the store's own clock,
// never on the caller's. An error other than [ErrClaimLost] means that the outcome is unknown: the caller repeats the call
// with the same [Fence], and a repeated call answers as the first one did. A store that is down or full answers
// [ErrUnavailable]; it never forgets an entry before its KeepFor is over to make room. stmigratetest.TestExchangeStore
// checks all of that.
type ExchangeStore interface {
	// Claim takes the entry of c.Key if there is none or the one there is past its KeepFor; if it is held with c.Fence
	// already; or if it is held with its lease over (Suspect). Otherwise it changes nothing and answers ClaimBusy or ClaimDone.
	// A claim of a closed epoch ([EpochStore]) that is not held with c.Fence already changes nothing either, whatever is there:
	// ClaimClosed. Taking an entry over makes the time for which it is kept longer or leaves it, and never makes it shorter.
	Claim(ctx context.Context, c Claim) (Claimed, error)
	// Finish records the answer and what is owed, in one write. It fails with ErrClaimLost if the entry is gone or held with
	// another Fence, and is nil again for the Fence that finished it. A lease that is over and was not taken is no obstacle.
	Finish(ctx context.Context, key ExchangeKey, fence Fence, f Finished) error
	// Release gives a held claim up: the entry goes, or, if suspect, stays with its lease over, so that the next holder looks
	// for an orphan. A claim that is finished, gone, or held with another Fence is left alone, without an error.
	Release(ctx context.Context, key ExchangeKey, fence Fence, suspect bool) error
	// Recall finds a finished entry by the token that was shown for it by its last claim, or one that is held and has a Note
	// (ClaimBusy, its Wait 0 once the lease is over) by the token of the claim that the Note was written under, whoever has
	// claimed it since. The State of the answer is 0 where there is none.
	Recall(ctx context.Context, shown ExchangeKey) (Claimed, error)
}

// ExchangeKey is a hash or MAC that stands for a legacy session or token in a store. It is never a token.
type ExchangeKey [32]byte

// Fence is a random value that the claimant draws for one claim. Whoever does not know it cannot finish or release.
type Fence [16]byte

func newFence() (f Fence) {
	_, _ = rand.Read(f[:]) // never fails: crypto/rand aborts the program instead
	return f
}

// Claim asks for the exclusive right to exchange one legacy session.
type Claim struct {
	// Key names the legacy session; Shown names the very token that was shown for it.
	Key, Shown ExchangeKey
	// User is whom the session will be minted for. Opaque to the store.
	User string
	// Epoch is Config.Epoch, "" for none. Opaque to the store.
	Epoch string
	Fence Fence
	// Lease is how long the claim holds without being finished. KeepFor is how long the entry is kept at least.
	Lease, KeepFor time.Duration
}

// ClaimState says what became of a claim.
type ClaimState int

const (
	// ClaimHeld: the entry is the caller's now.
	ClaimHeld ClaimState = iota + 1
	// ClaimBusy: somebody else holds it, and its lease is not over.
	ClaimBusy
	// ClaimDone: the exchange was finished.
	ClaimDone
	// ClaimClosed: the claim's Epoch is closed, see [EpochStore]. Nothing was changed.
	ClaimClosed
)

// Claimed is the answer to a claim.
type Claimed struct {
	State ClaimState
	// Suspect: an earlier holder's lease ran out, so a session may exist that nobody was given.
	Suspect bool
	// User is whom the exchange was finished for (ClaimDone) or whom the suspect holder minted for (Suspect).
	User string
	// Handle and Sealed are those of Finish (ClaimDone). Sealed is nil once SealedFor is over.
	Handle string
	Sealed []byte
	// Note is what [ClaimNoter] put beside a claim that is not finished (ClaimHeld, and ClaimBusy from Recall). It stays with
	// the entry when a suspect one changes hands, and goes with Finish.
	Note []byte
	// Wait is how long the lease still runs (ClaimBusy).
	Wait time.Duration
}

// Finished is the outcome of an exchange.
type Finished struct {
	// Handle is the SuperTokens session's.
	Handle string
	// Sealed is the encrypted answer. The store erases it when SealedFor is over.
	Sealed    []byte
	SealedFor time.Duration
	// KeepFor is how long the entry is kept from now on.
	KeepFor time.Duration
	// Revocation is what is owed, sealed: a [RevocationOutbox] hands it out once RevokeIn is over, until it is settled; up to
	// then it is leased with the claim's Fence. nil where nothing is owed; ignored by a store that is no outbox.
	Revocation []byte
	RevokeIn   time.Duration
}

// sessionKey names a legacy session by what its provider calls it, so that sibling tokens are one exchange. A token
// without any name is named by its bytes, a JWT by those that are signed: an ECDSA signature has a twin that is as good.
func sessionKey(s *OldSession, token string) (key ExchangeKey, kind string) {
	kind, id := "sid", s.SessionID
	if id == "" {
		kind, id = "jti", s.TokenID
	}
	if id == "" {
		kind, id = "token", token
		if signed, ok := signedPart(token); ok {
			kind, id = "jws", signed
		}
	}
	return hashKey(kind, s.Issuer, s.Subject, id), kind
}

// hashKey is SHA-256 over parts, each with its length before it.
func hashKey(parts ...string) ExchangeKey {
	b := make([]byte, 0, 256)
	for _, part := range append([]string{"stmigrate exchange v1"}, parts...) {
		b = append(binary.BigEndian.AppendUint64(b, uint64(len(part))), part...)
	}
	return sha256.Sum256(b)
}

// signedPart returns header and payload of a compact JWS (RFC 7515 §3.1).
func signedPart(token string) (string, bool) {
	i := strings.LastIndexByte(token, '.')
	if i < 0 || strings.Count(token, ".") != 2 {
		return "", false
	}
	header, err := base64.RawURLEncoding.DecodeString(token[:strings.IndexByte(token, '.')])
	if err != nil || !bytes.HasPrefix(bytes.TrimLeft(header, " \t\r\n"), []byte("{")) || !json.Valid(header) {
		return "", false
	}
	return token[:i], true
}

// answer is what a finished exchange gave to the client. It leaves the process only sealed.
type answer struct {
	TenantID, UserID, Handle string
	Header                   http.Header
	State                    []byte
	// Expiry is the access token's end, in Unix milliseconds; 0 where Header does not tell.
	Expiry int64
	// IdempotencyKey is the MAC of the first request's key, nil where it had none.
	IdempotencyKey []byte
	Legacy         oldSession
}

// oldSession is what NotBefore may want to know of a legacy session when only its exchange is left. Times are in Unix
// milliseconds, 0 for none.
type oldSession struct {
	Issuer, Subject, TenantID, SessionID, TokenID string
	AuthTime, IssuedAt, ExpiresAt                 int64
}

// append adds the answer to b, but for Handle, which the store keeps: strings and lists with their lengths before them. The
// front-token is left out where it can be made again of what is there, since it is a third of all.
func (a *answer) append(b []byte) []byte {
	slim := a.Expiry != 0 && fdi.Restorable(a.Header, a.UserID, time.UnixMilli(a.Expiry))
	for _, s := range []string{
		a.TenantID, a.UserID, string(a.State), string(a.IdempotencyKey),
		a.Legacy.Issuer, a.Legacy.Subject, a.Legacy.TenantID, a.Legacy.SessionID, a.Legacy.TokenID,
	} {
		b = appendString(b, s)
	}
	for _, n := range []int64{a.Expiry, a.Legacy.AuthTime, a.Legacy.IssuedAt, a.Legacy.ExpiresAt} {
		b = binary.AppendVarint(b, n)
	}
	if slim {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	for name, values := range a.Header {
		if slim && name == fdi.FrontHeader {
			continue
		}
		b = appendString(b, name)
		b = binary.AppendUvarint(b, uint64(len(values)))
		for _, v := range values {
			b = appendString(b, v)
		}
	}
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// parseAnswer reads what append wrote.
func parseAnswer(data []byte) (*answer, error) {
	r := answerReader{data}
	a := &answer{Header: make(http.Header)}
	a.TenantID, a.UserID = r.text(), r.text()
	a.State, a.IdempotencyKey = r.bytes(), r.bytes()
	l := &a.Legacy
	l.Issuer, l.Subject, l.TenantID, l.SessionID, l.TokenID = r.text(), r.text(), r.text(), r.text(), r.text()
	a.Expiry, l.AuthTime, l.IssuedAt, l.ExpiresAt = r.number(), r.number(), r.number(), r.number()
	slim := r.take(1)
	for len(r.data) > 0 {
		name := r.text()
		for n := r.length(); n > 0 && r.data != nil; n-- {
			a.Header[name] = append(a.Header[name], r.text())
		}
	}
	if r.data == nil {
		return nil, errSeal
	}
	if slim[0] == 1 {
		if err := fdi.Restore(a.Header, a.UserID, time.UnixMilli(a.Expiry)); err != nil {
			return nil, errSeal
		}
	}
	return a, nil
}

// answerReader takes values off data, which is nil once there was not enough of it.
type answerReader struct{ data []byte }

func (r *answerReader) take(n uint64) []byte {
	if n > uint64(len(r.data)) || r.data == nil {
		r.data = nil
		return make([]byte, min(n, 1))
	}
	var out []byte
	out, r.data = r.data[:n], r.data[n:]
	return out
}

func (r *answerReader) length() uint64 { return takeVarint(r, binary.Uvarint) }
func (r *answerReader) number() int64  { return takeVarint(r, binary.Varint) }

func takeVarint[T int64 | uint64](r *answerReader, read func([]byte) (T, int)) T {
	v, n := read(r.data)
	if n <= 0 {
		r.data = nil
		return 0
	}
	r.data = r.data[n:]
	return v
}

func (r *answerReader) text() string { return string(r.take(r.length())) }

func (r *answerReader) bytes() []byte {
	b := r.take(r.length())
	if len(b) == 0 {
		return nil
	}
	return bytes.Clone(b)
}

func remember(s *OldSession) oldSession {
	return oldSession{
		s.Issuer, s.Subject, s.TenantID, s.SessionID, s.TokenID, toMillis(s.AuthTime), toMillis(s.IssuedAt), toMillis(s.ExpiresAt),
	}
}

func (s oldSession) session() *OldSession {
	return &OldSession{
		Issuer: s.Issuer, Subject: s.Subject, TenantID: s.TenantID, SessionID: s.SessionID, TokenID: s.TokenID,
		AuthTime: fromMillis(s.AuthTime), IssuedAt: fromMillis(s.IssuedAt), ExpiresAt: fromMillis(s.ExpiresAt),
	}
}

func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms)
}

// vault seals answers and names tokens, under keys that are derived from the configured secrets. The first secret seals
// and all of them open.
type vault struct{ secrets [][]byte }

// newVault derives the sealing key material of each secret once (HKDF-Extract, RFC 5869).
func newVault(secrets [][]byte) (vault, error) {
	var v vault
	for _, s := range secrets {
		prk, err := hkdf.Extract(sha256.New, s, []byte("stmigrate secret v1"))
		if err != nil {
			return v, err
		}
		v.secrets = append(v.secrets, prk)
	}
	return v, nil
}

const (
	sealVersion = 1
	// A seal is: version, transfer mode, fence, key, shown (all authenticated), nonce, ciphertext.
	sealHead  = 1 + 1 + len(Fence{}) + 2*len(ExchangeKey{})
	sealNonce = 12
)

var errSeal = errors.New("the seal does not open with any of Config.Secrets")

// mac names a value under a secret, apart from other uses of it.
func mac(secret []byte, use, value string) (out ExchangeKey) {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte("stmigrate " + use + " v1\x00"))
	h.Write([]byte(value))
	h.Sum(out[:0])
	return out
}

func (v vault) mac(use, value string) ExchangeKey { return mac(v.secrets[0], use, value) }

// hash names a value of an issuer for people to compare, and for nothing else.
func (v vault) hash(use, issuer, value string) string {
	sum := v.mac(use, issuer+"\x00"+value)
	return hex.EncodeToString(sum[:12])
}

// macs returns the names of a value under every secret, the sealing one first.
func (v vault) macs(use, value string) []ExchangeKey {
	out := make([]ExchangeKey, len(v.secrets))
	for i, s := range v.secrets {
		out[i] = mac(s, use, value)
	}
	return out
}

// match tells whether sum names value under any of the secrets.
func (v vault) match(use, value string, sum []byte) bool {
	for _, m := range v.macs(use, value) {
		if hmac.Equal(m[:], sum) {
			return true
		}
	}
	return false
}

func sealer(secret []byte, use string, key ExchangeKey) (cipher.AEAD, error) {
	k, err := hkdf.Expand(sha256.New, secret, "stmigrate "+use+" v1"+string(key[:]), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(k)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// sealHeader is what a seal vouches for besides its content: the claim that it belongs to.
type sealHeader struct {
	key, shown ExchangeKey
	fence      Fence
	mode       byte // of an answer, else 0
}

// lock encrypts what write appends, so that it opens only for this use, this claim, and what it is bound to.
func (v vault) lock(use string, h sealHeader, bound string, size int, write func([]byte) []byte) ([]byte, error) {
	aead, err := sealer(v.secrets[0], use, h.key)
	if err != nil {
		return nil, fmt.Errorf("sealing the %s: %w", use, err)
	}
	const begin = sealHead + sealNonce
	out := make([]byte, 0, size)
	out = append(out, sealVersion, h.mode)
	out = append(out, h.fence[:]...)
	out = append(out, h.key[:]...)
	out = append(out, h.shown[:]...)
	head := append(out[:sealHead:sealHead], bound...)
	nonce := make([]byte, sealNonce)
	_, _ = rand.Read(nonce) // never fails: crypto/rand aborts the program instead
	out = write(append(out, nonce...))
	out = slices.Grow(out, aead.Overhead())
	return aead.Seal(out[:begin], nonce, out[begin:], head), nil // in the place of the plain text
}

// unlock decrypts what lock made, with whichever secret it was.
func (v vault) unlock(use string, sealed []byte, bound string) (h sealHeader, plain []byte, err error) {
	if len(sealed) < sealHead+sealNonce || sealed[0] != sealVersion {
		return h, nil, errSeal
	}
	h.mode = sealed[1]
	rest := sealed[2:]
	rest = rest[copy(h.fence[:], rest):]
	rest = rest[copy(h.key[:], rest):]
	copy(h.shown[:], rest)
	head := append(bytes.Clone(sealed[:sealHead]), bound...)
	nonce, box := sealed[sealHead:sealHead+sealNonce], sealed[sealHead+sealNonce:]
	for _, secret := range v.secrets {
		aead, err := sealer(secret, use, h.key)
		if err != nil {
			return h, nil, err
		}
		if plain, err := aead.Open(nil, nonce, box, head); err == nil {
			return h, plain, nil
		}
	}
	return h, nil, errSeal
}

// seal encrypts an answer so that it opens only for this claim, this session handle and this transfer mode.
func (v vault) seal(a *answer, key, shown ExchangeKey, fence Fence, mode byte) ([]byte, error) {
	return v.lock("seal", sealHeader{key, shown, fence, mode}, a.Handle, 2304, a.append)
}

// opened is a sealed answer with what its seal vouches for.
type opened struct {
	*answer
	sealHeader
}

func (v vault) open(sealed []byte, handle string) (*opened, error) {
	h, plain, err := v.unlock("seal", sealed, handle)
	if err != nil {
		return nil, err
	}
	a, err := parseAnswer(plain)
	if err != nil {
		return nil, err
	}
	a.Handle = handle
	return &opened{a, h}, nil
}
