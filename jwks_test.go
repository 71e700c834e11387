package stmigrate

import (
	"context"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// jwkOf is the public JWK of a key with members over it; nil takes one out.
func jwkOf(k Key, members map[string]any) map[string]any {
	jwk, err := jwkset.NewJWKFromKey(k.material.key, jwkset.JWKOptions{
		Metadata: jwkset.JWKMetadataOptions{KID: k.ID}, Marshal: jwkset.JWKMarshalOptions{Private: true},
	})
	if err != nil {
		panic(err)
	}
	text, err := json.Marshal(jwk.Marshal())
	if err != nil {
		panic(err)
	}
	out := map[string]any{}
	if err := json.Unmarshal(text, &out); err != nil {
		panic(err)
	}
	for name, value := range members {
		if out[name] = value; value == nil {
			delete(out, name)
		}
	}
	return out
}

func jwksOf(keys ...any) []byte {
	text, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return text
}

// jwksProvider answers fetches in memory, on the bubble's clock.
type jwksProvider struct {
	mu      sync.Mutex
	keys    []byte
	err     error
	slow    time.Duration
	fetches []time.Time
}

func (p *jwksProvider) fetch(ctx context.Context) ([]byte, error) {
	p.mu.Lock()
	p.fetches = append(p.fetches, time.Now())
	slow := p.slow
	p.mu.Unlock()
	select {
	case <-time.After(slow):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.keys, p.err
}

func (p *jwksProvider) set(keys []byte, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys, p.err = keys, err
}

func (p *jwksProvider) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.fetches)
}

// jwksRun runs f with a verifier on a provider that publishes the key "old".
func jwksRun(t *testing.T, maxStale time.Duration, f func(t *testing.T, p *jwksProvider, verify jwksVerify)) {
	t.Helper()
	rs := jwtKeys()["RS256"]
	named := func(id string) any { return jwkOf(Key{ID: id, material: rs.public().material}, nil) }
	synctest.Test(t, func(t *testing.T) {
		p := &jwksProvider{keys: jwksOf(named("old"))}
		cfg := jwtConfig()
		cfg.Now = nil
		rules, err := newJWTRules(cfg)
		require.NoError(t, err)
		keys := newRemoteKeys(p.fetch, maxStale, time.Now)
		v := &JWTVerifier{rules: rules, keys: keys, warm: keys.warm}
		f(t, p, func(ctx context.Context, kid string) error {
			signer, header, exp := rs, fmt.Sprintf(`{"alg":"RS256","kid":%q}`, kid), time.Now().Add(time.Hour)
			switch {
			case kid == "none":
				header = `{"alg":"RS256"}`
			case strings.HasSuffix(kid, ", forged"):
				signer, header = jwtKeys()["other"], fmt.Sprintf(`{"alg":"RS256","kid":%q}`, strings.TrimSuffix(kid, ", forged"))
			case strings.HasSuffix(kid, ", expired"):
				exp, header = time.Now().Add(-time.Hour), fmt.Sprintf(`{"alg":"RS256","kid":%q}`, strings.TrimSuffix(kid, ", expired"))
			}
			payload := jwtPayload("iat", "1", "exp", fmt.Sprint(exp.Unix()))
			if strings.HasPrefix(kid, "junk") {
				_, err := v.Verify(ctx, jwtB64(header)+"."+jwtB64(payload)+"."+jwtB64("junk"))
				return err
			}
			_, err := v.Verify(ctx, signer.sign(header, payload))
			return err
		})
		time.Sleep(time.Minute) // on the bubble's clock: all fetches end
	})
}

func jwksNamed(ids ...string) []byte {
	var keys []any
	for _, id := range ids {
		keys = append(keys, jwkOf(Key{ID: id, material: jwtKeys()["RS256"].public().material}, nil))
	}
	return jwksOf(keys...)
}

// jwksMany calls f n times at once and counts the errors of each class; nil is "ok".
func jwksMany(n int, f func(i int) error) map[string]int {
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := make(map[string]int)
	for i := range n {
		wg.Go(func() {
			err := f(i)
			name := "ok"
			for class, of := range map[string]error{"invalid": ErrInvalidSession, "expired": ErrExpiredSession, "unavailable": ErrUnavailable} {
				if errors.Is(err, of) {
					name = class
				}
			}
			mu.Lock()
			defer mu.Unlock()
			out[name]++
		})
	}
	wg.Wait()
	return out
}

var errDown = errors.New("connection refused")

type jwksVerify = func(ctx context.Context, kid string) error

func TestKeysCold(t *testing.T) {
	jwksRun(t, 0, func(t *testing.T, p *jwksProvider, verify jwksVerify) {
		p.slow = 2 * time.Second
		assert.Equal(t, map[string]int{"ok": 100}, jwksMany(100, func(int) error { return verify(t.Context(), "old") }))
		assert.Equal(t, 1, p.count())
	})
}

func TestKeysRotation(t *testing.T) {
	jwksRun(t, 0, func(t *testing.T, p *jwksProvider, verify jwksVerify) {
		require.NoError(t, verify(t.Context(), "old"))
		time.Sleep(10 * time.Second)
		p.slow = 50 * time.Millisecond
		p.set(jwksNamed("old", "new"), nil)
		began := time.Now()
		assert.Equal(t, map[string]int{"ok": 100}, jwksMany(100, func(int) error { return verify(t.Context(), "new") }))
		assert.Equal(t, 2, p.count())
		assert.Equal(t, 50*time.Millisecond, time.Since(began))
	})
}

// Someone sends 200 unknown key IDs a second, for a minute; in the middle of it the provider rotates.
func TestKeysJunk(t *testing.T) {
	jwksRun(t, 0, func(t *testing.T, p *jwksProvider, verify jwksVerify) {
		require.NoError(t, verify(t.Context(), "old"))
		p.slow = 100 * time.Millisecond
		began, before := time.Now(), p.count()
		var wg sync.WaitGroup
		for i := range 60 * 200 {
			time.Sleep(5 * time.Millisecond)
			wg.Go(func() { assert.Error(t, verify(t.Context(), fmt.Sprintf("junk %d", i))) })
			if i%500 == 0 {
				require.NoError(t, verify(t.Context(), "old"))
			}
			if i == 30*200+77 {
				p.set(jwksNamed("old", "new"), nil)
				rotated := time.Now()
				wg.Go(func() {
					assert.NoError(t, verify(t.Context(), "new"))
					assert.LessOrEqual(t, time.Since(rotated), time.Second+200*time.Millisecond)
				})
			}
		}
		wg.Wait()
		assert.LessOrEqual(t, p.count()-before, int(time.Since(began)/time.Second)+1)
		assert.GreaterOrEqual(t, p.count()-before, 50, "the flood must have made fetches, else the test shows nothing")
		for i := 1; i < len(p.fetches); i++ {
			assert.GreaterOrEqual(t, p.fetches[i].Sub(p.fetches[i-1]), time.Second)
		}
	})
}

// A fetch that is on its way may have left before the key was published: another one must follow.
func TestKeysRotationDuringFetch(t *testing.T) {
	jwksRun(t, 0, func(t *testing.T, p *jwksProvider, verify jwksVerify) {
		require.NoError(t, verify(t.Context(), "old"))
		time.Sleep(10 * time.Second)
		var wg sync.WaitGroup
		p.slow = 500 * time.Millisecond
		wg.Go(func() { assert.ErrorIs(t, verify(t.Context(), "junk"), ErrInvalidSession) })
		time.Sleep(100 * time.Millisecond)
		wg.Go(func() {
			assert.NoError(t, verify(t.Context(), "new"))
		})
		time.Sleep(600 * time.Millisecond)
		p.set(jwksNamed("new"), nil)
		wg.Wait()
		assert.Equal(t, 3, p.count())
		assert.ErrorIs(t, verify(t.Context(), "old"), ErrInvalidSession, "a key that was withdrawn")
	})
}

func TestKeysNoFetch(t *testing.T) {
	jwksRun(t, 0, func(t *testing.T, p *jwksProvider, verify jwksVerify) {
		assertClass(t, ErrInvalidSession, verify(t.Context(), "old, expired"))
		assert.Zero(t, p.count(), "an expired token made a fetch")
		require.NoError(t, verify(t.Context(), "old"))
		time.Sleep(10 * time.Second)
		for range 100 {
			assertClass(t, ErrInvalidSession, verify(t.Context(), "old, forged"))
			assertClass(t, ErrInvalidSession, verify(t.Context(), "unknown, expired"))
			assertClass(t, ErrExpiredSession, verify(t.Context(), "old, expired"))
			require.NoError(t, verify(t.Context(), "none"))
		}
		assert.Equal(t, 1, p.count())
	})
}

func TestKeysBoot(t *testing.T) {
	jwksRun(t, 0, func(t *testing.T, p *jwksProvider, verify jwksVerify) {
		p.slow = 300 * time.Millisecond
		p.set(nil, errDown)
		began := time.Now()
		assert.Equal(t, map[string]int{"unavailable": 100}, jwksMany(100, func(int) error { return verify(t.Context(), "old") }))
		assert.Equal(t, 1, p.count())
		assert.Equal(t, 300*time.Millisecond, time.Since(began))
		p.set(jwksNamed("old"), nil)
		assert.NoError(t, verify(t.Context(), "old"), "the provider is back: one pause and one fetch")
		assert.Equal(t, 1600*time.Millisecond, time.Since(began))
	})
}

func TestKeysBackOff(t *testing.T) {
	jwksRun(t, 0, func(t *testing.T, p *jwksProvider, verify jwksVerify) {
		p.set(nil, errDown)
		for range 3000 {
			err := verify(t.Context(), "old")
			assertClass(t, ErrUnavailable, err)
			time.Sleep(100 * time.Millisecond)
		}
		assert.Less(t, p.count(), 20, "in 300 s")
		last := p.fetches[len(p.fetches)-1].Sub(p.fetches[len(p.fetches)-2])
		assert.InDelta(t, 30, last.Seconds(), 1.5)
		p.set(jwksNamed("old"), nil)
		time.Sleep(31 * time.Second)
		assert.NoError(t, verify(t.Context(), "old"))
	})
}

func TestKeysRetryAfter(t *testing.T) {
	jwksRun(t, 0, func(t *testing.T, p *jwksProvider, verify jwksVerify) {
		p.set(nil, errDown)
		for range 3 {
			_ = verify(t.Context(), "old")
		}
		err := verify(t.Context(), "old")
		rec := httptest.NewRecorder()
		RenderError(rec, nil, err)
		assert.Equal(t, http.StatusServiceUnavailable, rec.Code)
		assert.Equal(t, "2", rec.Header().Get("Retry-After"))
	})
}

// TestKeysClockSetBack: a clock that was an hour ahead costs nobody an hour.
func TestKeysClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, ahead := &jwksProvider{keys: jwksNamed("old")}, time.Hour
		keys := newRemoteKeys(p.fetch, 0, func() time.Time { return time.Now().Add(ahead) })
		require.NoError(t, keys.warm(t.Context()))
		p.set(jwksNamed("new"), nil)
		ahead = 0
		_, err := keys.KeyRead(t.Context(), "new")
		assert.NoError(t, err)
	})
}

func TestKeysOutage(t *testing.T) {
	for name, broken := range map[string]struct {
		keys []byte
		err  error
	}{
		"down": {nil, errDown}, "empty object": {[]byte(`{}`), nil}, "no keys": {[]byte(`{"keys":[]}`), nil}, "null keys": {[]byte(`{"keys":null}`), nil},
		"error": {[]byte(`{"error":"x"}`), nil}, "html": {[]byte(`<html>`), nil}, "nothing": {nil, nil}, "truncated": {jwksNamed("old")[:50], nil},
		"unusable": {[]byte(`{"keys":[{"kty":"AKP","kid":"old"}]}`), nil}, "too long": {append(jwksNamed("new"), make([]byte, keyMaxDocument)...), nil},
	} {
		t.Run(name, func(t *testing.T) {
			jwksRun(t, 2*time.Hour, func(t *testing.T, p *jwksProvider, verify jwksVerify) {
				require.NoError(t, verify(t.Context(), "old"))
				p.set(broken.keys, broken.err)
				for range 119 {
					time.Sleep(time.Minute)
					require.NoError(t, verify(t.Context(), "old"))
				}
				assert.Greater(t, p.count(), 3, "old keys were not fetched again")
				assertClass(t, ErrUnavailable, verify(t.Context(), "unknown"))
				time.Sleep(2 * time.Minute)
				assertClass(t, ErrUnavailable, verify(t.Context(), "old"))
				assertClass(t, ErrInvalidSession, verify(t.Context(), "old, expired"))
				p.set(jwksNamed("old"), nil)
				time.Sleep(time.Minute)
				assert.NoError(t, verify(t.Context(), "old"))
			})
		})
	}
}

func TestKeysRefresh(t *testing.T) {
	jwksRun(t, 0, func(t *testing.T, p *jwksProvider, verify jwksVerify) {
		require.NoError(t, verify(t.Context(), "old"))
		p.set(jwksNamed("new"), nil)
		time.Sleep(14 * time.Minute)
		require.NoError(t, verify(t.Context(), "old"))
		assert.Equal(t, 1, p.count())
		time.Sleep(2 * time.Minute)
		p.slow = time.Second
		began := time.Now()
		require.NoError(t, verify(t.Context(), "old"), "the refresh is in the background")
		assert.Zero(t, time.Since(began))
		time.Sleep(2 * time.Second)
		assert.Equal(t, 2, p.count())
		assertClass(t, ErrInvalidSession, verify(t.Context(), "old"))
	})
}

// Nobody asked for an hour, and in the meantime a key was withdrawn.
func TestKeysIdle(t *testing.T) {
	jwksRun(t, 0, func(t *testing.T, p *jwksProvider, verify jwksVerify) {
		require.NoError(t, verify(t.Context(), "old"))
		time.Sleep(time.Hour)
		p.slow = 100 * time.Millisecond
		assert.Equal(t, map[string]int{"ok": 100}, jwksMany(100, func(int) error { return verify(t.Context(), "old") }))
		assert.Equal(t, 2, p.count())
		p.set(jwksNamed("new"), nil)
		time.Sleep(time.Hour)
		assert.Equal(t, map[string]int{"invalid": 100}, jwksMany(100, func(int) error { return verify(t.Context(), "old") }))
		assert.Equal(t, 3, p.count())
		require.NoError(t, verify(t.Context(), "new"))

		time.Sleep(time.Hour)
		p.slow = time.Hour
		began := time.Now()
		require.NoError(t, verify(t.Context(), "new"), "the provider hangs")
		assert.Equal(t, jwksPatience, time.Since(began))
		time.Sleep(10 * time.Second)
		for range 100 {
			began := time.Now()
			require.NoError(t, verify(t.Context(), "new"))
			assert.Zero(t, time.Since(began), "only the first one after the silence waits")
			time.Sleep(time.Second)
		}
	})
}

func TestKeysHang(t *testing.T) {
	jwksRun(t, 0, func(t *testing.T, p *jwksProvider, verify jwksVerify) {
		require.NoError(t, verify(t.Context(), "old"))
		time.Sleep(10 * time.Second)
		p.slow = time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		err := verify(ctx, "new")
		assertClass(t, ErrUnavailable, err)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Second, time.Since(began))
		require.NoError(t, verify(t.Context(), "old"))

		began = time.Now()
		assert.Equal(t, map[string]int{"unavailable": 1000}, jwksMany(1000, func(int) error { return verify(t.Context(), "new") }))
		assert.Equal(t, jwksPatience, time.Since(began))
		assert.Equal(t, 2, p.count())
	})
}

func TestKeysWaiters(t *testing.T) {
	jwksRun(t, 0, func(t *testing.T, p *jwksProvider, verify jwksVerify) {
		p.slow = time.Second
		result := jwksMany(jwksWaiters+100, func(int) error { return verify(t.Context(), "old") })
		assert.Equal(t, map[string]int{"ok": jwksWaiters, "unavailable": 100}, result)
		require.NoError(t, verify(t.Context(), "old"))
	})
}

// Who goes away does not take the fetch with him.
func TestKeysCancelled(t *testing.T) {
	jwksRun(t, 0, func(t *testing.T, p *jwksProvider, verify jwksVerify) {
		p.slow = time.Second
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { assert.ErrorIs(t, verify(ctx, "old"), context.Canceled) })
		time.Sleep(100 * time.Millisecond)
		cancel()
		wg.Wait()
		assert.NoError(t, verify(t.Context(), "old"))
		assert.Equal(t, 1, p.count())
	})
}

func TestKeysOdd(t *testing.T) {
	rs, es := jwtKeys()["RS256"].public(), jwtKeys()["ES256"].public()
	rs.ID, es.ID = "rs", "es"
	other := jwtKeys()["other"].public()
	other.ID = "twice"
	rsTwice := rs
	rsTwice.ID = "twice"
	b64 := base64.RawURLEncoding.EncodeToString
	odd := map[string]any{
		"bad n": jwkOf(rs, map[string]any{"n": "%%%"}), "no e": jwkOf(rs, map[string]any{"e": nil}), "e of 1": jwkOf(rs, map[string]any{"e": "AQ"}),
		"even e": jwkOf(rs, map[string]any{"e": "BA"}), "e over 31 bits": jwkOf(rs, map[string]any{"e": b64([]byte{1, 0, 0, 0, 1})}),
		"e over 64 bits": jwkOf(rs, map[string]any{"e": b64([]byte{1, 0, 0, 0, 0, 0, 1, 0, 1})}),
		"short n":        jwkOf(rs, map[string]any{"n": b64(new(big.Int).Lsh(big.NewInt(1), 1023).Bytes())}),
		"long n":         jwkOf(rs, map[string]any{"n": b64(append([]byte{1}, append(make([]byte, 4096), 1)...))}),
		"off curve":      jwkOf(es, map[string]any{"x": b64(elliptic.P256().Params().P.Bytes())}), "P-224": jwkOf(es, map[string]any{"crv": "P-224"}),
		"secp256k1": jwkOf(es, map[string]any{"crv": "secp256k1"}), "numeric kid": jwkOf(rs, map[string]any{"kid": 1}),
		"enc": jwkOf(rs, map[string]any{"use": "enc"}), "odd use": jwkOf(rs, map[string]any{"use": "x"}), "key_ops": jwkOf(rs, map[string]any{"key_ops": []string{"encrypt"}}),
		"private": jwkOf(rs, map[string]any{"d": "AQAB"}), "oct": map[string]any{"kty": "oct", "kid": "rs", "k": b64(make([]byte, 32))},
		"unknown kty": map[string]any{"kty": "AKP", "alg": "ML-DSA-44", "kid": "rs", "pub": "x"}, "null": nil, "text": "x", "array": []any{},
		"X25519":  map[string]any{"kty": "OKP", "crv": "X25519", "x": b64(make([]byte, 32)), "kid": "rs"},
		"foreign": jwkOf(rs, map[string]any{"alg": "RSA-OAEP"}), "alg of another type": jwkOf(rs, map[string]any{"alg": "ES256"}),
	}
	for name, key := range odd {
		t.Run(name, func(t *testing.T) {
			_, _, err := keysParse(jwksOf(key))
			require.Error(t, err)
			keys, skipped, err := keysParse(jwksOf(key, jwkOf(Key{ID: "good", material: rs.material}, nil)))
			require.NoError(t, err)
			require.Len(t, keys, 1)
			assert.Equal(t, "good", keys[0].ID)
			assert.Len(t, skipped, 1)
		})
	}
	for name, key := range map[string]any{
		"x5c of another": jwkOf(rs, map[string]any{"x5c": []string{"garbage"}}), "use": jwkOf(rs, map[string]any{"use": "sig"}),
		"alg": jwkOf(rs, map[string]any{"alg": "RS256"}), "key_ops": jwkOf(rs, map[string]any{"key_ops": []string{"verify", "odd"}}), "no kid": jwkOf(rs, map[string]any{"kid": nil}),
	} {
		keys, _, err := keysParse(jwksOf(key))
		require.NoError(t, err, name)
		assert.Len(t, keys, 1, name)
	}
	keys, _, err := keysParse(jwksOf(jwkOf(rsTwice, nil), jwkOf(rs, nil), jwkOf(other, nil)))
	require.NoError(t, err)
	require.Len(t, keys, 1, "an ID of two keys serves nobody")
	assert.Equal(t, "rs", keys[0].ID)
}

// TestJWKSRedirectedOffItsOrigin: the host and port alone make no origin (RFC 6454 §4).
func TestJWKSRedirectedOffItsOrigin(t *testing.T) {
	t.Parallel()
	for _, to := range []string{"http://legacy.example/moved", "https://user@legacy.example/moved"} {
		var asked []string
		client := &http.Client{Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
			asked = append(asked, r.URL.String())
			w := httptest.NewRecorder()
			if r.URL.Path == "/keys" {
				http.Redirect(w, r, to, http.StatusFound)
			} else {
				_, _ = w.Write(jwksNamed("key-1"))
			}
			return w.Result(), nil
		})}
		_, err := FetchKeys(t.Context(), "https://legacy.example/keys", client)
		require.ErrorIs(t, err, ErrUnavailable, to)
		assert.Equal(t, []string{"https://legacy.example/keys"}, asked)
	}
}

// TestJWKSRedirectsOfTheHost: what a client of one's own refuses is refused, on the same origin, too.
func TestJWKSRedirectsOfTheHost(t *testing.T) {
	t.Parallel()
	refused := errors.New("no redirects here")
	for _, want := range []error{nil, refused} {
		client := &http.Client{
			CheckRedirect: func(*http.Request, []*http.Request) error { return want },
			Transport: transportFunc(func(r *http.Request) (*http.Response, error) {
				w := httptest.NewRecorder()
				if r.URL.Path == "/keys" {
					http.Redirect(w, r, "/moved", http.StatusFound)
				} else {
					_, _ = w.Write(jwksNamed("key-1"))
				}
				return w.Result(), nil
			}),
		}
		_, err := FetchKeys(t.Context(), "https://legacy.example/keys", client)
		assert.ErrorIs(t, err, want)
	}
}

type transportFunc func(*http.Request) (*http.Response, error)

func (f transportFunc) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestJWKSOverHTTP(t *testing.T) {
	var asked atomic.Int32
	good := jwksNamed("key-1")
	evil := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1); _, _ = w.Write(good) }))
	defer evil.Close()
	var handler atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.Load().(http.HandlerFunc)(w, r) }))
	defer server.Close()
	ok := func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(good) }
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		class   error
	}{
		"good":   {ok, nil},
		"status": {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusNotFound); ok(w, r) }, ErrUnavailable},
		"same origin": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/keys" {
				http.Redirect(w, r, "/moved", http.StatusFound)
				return
			}
			ok(w, r)
		}, nil},
		"another origin": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, evil.URL, http.StatusFound) }, ErrUnavailable},
		"a loop":         {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, ErrUnavailable},
		"64 MiB": {func(w http.ResponseWriter, r *http.Request) {
			block := []byte(strings.Repeat(" ", 1<<20))
			for range 64 {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
			ok(w, r)
		}, ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			handler.Store(c.handler)
			v, err := NewJWKSVerifier(JWKSConfig{URL: server.URL + "/keys"}, jwtConfig())
			require.NoError(t, err)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err = v.Verify(t.Context(), jwtKeys()["RS256"].token())
			runtime.ReadMemStats(&after)
			assert.ErrorIs(t, err, c.class)
			assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20), "the server's own included")
			document, err := FetchKeys(t.Context(), server.URL+"/keys", nil)
			assert.ErrorIs(t, err, c.class)
			if c.class == nil {
				assert.Equal(t, good, document)
				assert.NoError(t, v.Warm(t.Context()))
			}
		})
	}
	assert.Zero(t, asked.Load(), "another origin was asked")
}

func TestJWKSConfig(t *testing.T) {
	for _, url := range []string{"", "legacy.example/keys", "http://legacy.example/keys", "ftp://legacy.example/", "https://", "https://u:p@legacy.example/", "https://x/#f", "http://127.0.0.1.evil.example/", ":"} {
		_, err := NewJWKSVerifier(JWKSConfig{URL: url}, jwtConfig())
		require.ErrorContains(t, err, "JWKSConfig.URL", url)
		assert.NotContains(t, err.Error(), "u:p")
		_, err = FetchKeys(t.Context(), url, nil)
		require.Error(t, err, url)
	}
	for _, url := range []string{"https://legacy.example/keys", "http://localhost:80/", "http://127.0.0.1/", "http://[::1]:1/keys"} {
		_, err := NewJWKSVerifier(JWKSConfig{URL: url}, jwtConfig())
		require.NoError(t, err, url)
	}
	_, err := NewJWKSVerifier(JWKSConfig{URL: "https://legacy.example/keys", MaxStale: -1}, jwtConfig())
	require.ErrorContains(t, err, "JWKSConfig.MaxStale")
	_, err = NewJWKSVerifier(JWKSConfig{URL: "https://legacy.example/keys"}, jwtConfig("HS256"))
	require.ErrorContains(t, err, "JWTConfig.Algorithms")
}

func TestVerifyCompact(t *testing.T) {
	rs := jwtKeys()["RS256"]
	keys := newRemoteKeys(func(context.Context) ([]byte, error) { return jwksNamed("key-1"), nil }, 0, time.Now)
	token := rs.sign(`{"alg":"RS256","kid":"key-1","typ":"JWT","version":"5"}`, `{"sub":"u","exp":1}`)
	kid, claims, err := verifyCompact(t.Context(), token, []string{"RS256"}, keys)
	require.NoError(t, err)
	assert.Equal(t, "key-1", kid)
	assert.Equal(t, map[string]any{"sub": "u", "exp": json.Number("1")}, claims)
	_, _, err = verifyCompact(t.Context(), token, []string{"ES256"}, keys)
	assertClass(t, ErrInvalidSession, err)
	_, _, err = verifyCompact(t.Context(), jwtKeys()["other"].sign(`{"alg":"RS256","kid":"key-1"}`, `{}`), []string{"RS256"}, keys)
	assertClass(t, ErrInvalidSession, err)
	_, _, err = verifyCompact(t.Context(), "opaque", []string{"RS256"}, keys)
	assertClass(t, ErrNotMine, err)
}
