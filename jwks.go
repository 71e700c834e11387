package stmigrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/MicahParks/jwkset"

	"github.com/stmigrate/stmigrate/internal/ask"
)

const (
	jwksTimeout   = 5 * time.Second  // of one fetch
	jwksPatience  = 3 * time.Second  // of one caller: the pause before a fetch, and most fetches
	jwksWaiters   = 512              // callers at a time
	jwksPause     = time.Second      // between the beginnings of two fetches; the first pause after a failure
	jwksMaxPause  = 30 * time.Second // after failures
	jwksRefresh   = 15 * time.Minute // age at which keys are fetched again, unasked
	jwksMaxStale  = 24 * time.Hour
	jwksRedirects = 3
)

var errJWKSPatience = fmt.Errorf("they did not come within %v", jwksPatience)

// JWKSConfig says where the provider publishes its keys. URL is required.
type JWKSConfig struct {
	// URL of a JWK Set (RFC 7517 §5), or of any other document that [ParseKeys] reads. It must be https, unless its host is
	// localhost or a loopback address.
	URL string
	// HTTPClient fetches the keys; for a proxy or a private CA. Default: a copy of http.DefaultTransport, with connections
	// of its own. Whatever it allows, redirects are followed on the same origin only.
	HTTPClient *http.Client
	// MaxStale is how long keys are used after the last fetch that brought some, when the provider cannot be reached since.
	// Default 24 h.
	MaxStale time.Duration
}

func (c JWKSConfig) validate() error {
	if c.MaxStale < 0 {
		return fmt.Errorf("JWKSConfig.MaxStale is negative: %v", c.MaxStale)
	}
	if err := ask.Endpoint(c.URL, false, false); err != nil {
		return fmt.Errorf("JWKSConfig.URL: %w", err)
	}
	return nil
}

// NewJWKSVerifier verifies JWTs by keys that the provider publishes. Nothing is fetched until the first token or
// [JWTVerifier.Warm], so the provider may be down when the process starts; no goroutine outlives a fetch.
//
// Keys are fetched when a token names one that is not there (kid), at most once a second whatever is thrown at the verifier. They
// are fetched again with the first token after 15 minutes, in the background, and after 30 minutes before that token is accepted,
// so that a key that the provider withdraws is out by then. A token of a key that was just published waits for the next fetch,
// 3 s at the most and no more than 512 callers at a time; who cannot wait gets [ErrUnavailable]. A bad signature is no reason
// to fetch. While the provider is down, or answers without usable keys, the last good keys serve up to MaxStale;
// afterwards, and without keys, the error is ErrUnavailable, never [ErrInvalidSession].
//
// One fetch takes 5 s and 512 KiB at the most. Keys are left out as [ParseKeys] does, and private or symmetric ones too. A token
// without kid is accepted only if exactly one of the keys fits its algorithm.
func NewJWKSVerifier(keys JWKSConfig, cfg JWTConfig) (*JWTVerifier, error) {
	if err := keys.validate(); err != nil {
		return nil, fmt.Errorf("stmigrate: %w", err)
	}
	rules, err := newJWTRules(cfg)
	if err != nil {
		return nil, fmt.Errorf("stmigrate: %w", err)
	}
	if rules.symmetric {
		return nil, errors.New("stmigrate: JWTConfig.Algorithms has an HMAC algorithm, and secrets are not published: " +
			"use NewStaticKeyVerifier with HMACKey")
	}
	remote := newRemoteKeys(jwksFetcher(keys.URL, keys.HTTPClient), keys.MaxStale, rules.Now)
	return &JWTVerifier{rules: rules, keys: remote, warm: remote.warm}, nil
}

// FetchKeys takes a snapshot of the keys at jwksURL: bytes to be stored, and given to [ParseKeys] and [NewStaticKeyVerifier] later,
// when the provider is switched off. It fetches under the same bounds as [NewJWKSVerifier] and checks that ParseKeys can
// use the document. A nil client is http.DefaultClient. What cannot be had is [ErrUnavailable].
func FetchKeys(ctx context.Context, jwksURL string, client *http.Client) ([]byte, error) {
	if err := ask.Endpoint(jwksURL, false, false); err != nil {
		return nil, fmt.Errorf("stmigrate: jwksURL: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, jwksTimeout)
	defer cancel()
	if client == nil {
		client = new(http.Client) // connections of its own would outlive the one call that they are for
	}
	document, err := jwksFetcher(jwksURL, client)(ctx)
	if err == nil {
		_, err = ParseKeys(document)
	}
	if err != nil {
		return nil, unavailable("keys of %s: %w", jwksURL, err)
	}
	return document, nil
}

// jwksFetcher returns a function that gets the document at u, bounded in size, on the same origin. The caller bounds the time.
func jwksFetcher(u string, client *http.Client) func(context.Context) ([]byte, error) {
	bounded := ask.Client(client)
	redirected := bounded.CheckRedirect
	bounded.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		if first := via[0].URL; r.URL.Scheme != first.Scheme || r.URL.Host != first.Host || r.URL.User != nil {
			return errors.New("redirected to another origin")
		}
		if len(via) > jwksRedirects {
			return fmt.Errorf("redirected more than %d times", jwksRedirects)
		}
		if redirected != nil {
			return redirected(r, via)
		}
		return nil
	}
	return func(ctx context.Context) ([]byte, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
		if err != nil {
			return nil, err
		}
		r.Header.Set("Accept", "application/jwk-set+json, application/json")
		res, err := bounded.Do(r)
		if err != nil {
			return nil, err
		}
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("status %d, 200 wanted", res.StatusCode)
		}
		return readBounded(res.Body, keyMaxDocument)
	}
}

// readBounded reads all of r unless it is longer than limit bytes.
func readBounded(r io.Reader, limit int64) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("an answer of more than %d bytes", limit)
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}

// remoteKeys are keys that are published somewhere. It is the [jwkset.Storage] that keyfunc asks: its own would refuse good
// tokens for minutes after an unknown key ID or an outage.
type remoteKeys struct {
	jwkset.Storage // An empty one, for the methods that keyfunc does not call.

	fetch    func(ctx context.Context) ([]byte, error)
	maxStale time.Duration
	refresh  time.Duration
	now      func() time.Time

	last    atomic.Pointer[remoteSet] // nil before the first good fetch
	waiters atomic.Int64

	mu       sync.Mutex
	flight   *keyFlight // nil while none is planned or on its way
	failures int        // since the last good fetch
	next     time.Time  // no fetch begins before
}

type remoteSet struct {
	*keySet
	fetched time.Time // when the fetch began
}

// keyFlight is one fetch, from the moment it is planned.
type keyFlight struct {
	begun bool // guarded by remoteKeys.mu
	again bool // the last one failed
	done  chan struct{}
	err   error // valid after done
}

// newRemoteKeys takes what fetch returns for the truth. A fetch gets a context of its own, which ends after 5 s. A maxStale of 0
// is 24 h.
func newRemoteKeys(fetch func(ctx context.Context) ([]byte, error), maxStale time.Duration, now func() time.Time) *remoteKeys {
	if maxStale == 0 {
		maxStale = jwksMaxStale
	}
	return &remoteKeys{
		Storage: jwkset.NewMemoryStorage(), fetch: fetch, maxStale: maxStale, refresh: min(jwksRefresh, maxStale/2), now: now,
	}
}

func (k *remoteKeys) candidates(ctx context.Context, header map[string]any, fetch bool) ([]any, error) {
	if fetch {
		return keyCandidates(ctx, k, header, false)
	}
	set := k.current()
	if set == nil {
		return nil, unavailable("no keys are at hand")
	}
	return keyCandidates(ctx, set.keySet, header, false)
}

// KeyRead returns the key of an ID, after a fetch if it is not at hand.
func (k *remoteKeys) KeyRead(ctx context.Context, id string) (jwkset.JWK, error) {
	set, err := k.await(ctx, func(s *keySet) bool { return s.has(id) })
	if err != nil {
		return jwkset.JWK{}, &keyError{err}
	}
	return set.KeyRead(ctx, id)
}

// KeyReadAll returns all keys, after a fetch if none is at hand.
func (k *remoteKeys) KeyReadAll(ctx context.Context) ([]jwkset.JWK, error) {
	set, err := k.await(ctx, func(*keySet) bool { return true })
	if err != nil {
		return nil, err
	}
	return set.KeyReadAll(ctx)
}

// warm returns when there are keys.
func (k *remoteKeys) warm(ctx context.Context) error {
	_, err := k.await(ctx, func(*keySet) bool { return true })
	return err
}

// current returns the keys at hand, nil if there are none or they are too old.
func (k *remoteKeys) current() *remoteSet {
	if set := k.last.Load(); set != nil && k.now().Sub(set.fetched) <= k.maxStale {
		return set
	}
	return nil
}

// await returns the keys at hand if they are enough; else those of a fetch that began after the call, enough or not.
func (k *remoteKeys) await(ctx context.Context, enough func(*keySet) bool) (*keySet, error) {
	set := k.current()
	if set != nil && enough(set.keySet) {
		return k.renewed(ctx, set), nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, jwksPatience, errJWKSPatience)
	defer cancel()
	for {
		flight, ahead, err := k.join(ctx)
		if err == nil {
			err = k.wait(ctx, flight)
		}
		if err != nil {
			return nil, err
		}
		if set := k.current(); set != nil && (ahead || enough(set.keySet)) {
			return set.keySet, nil
		}
	}
}

// renewed returns set while it is young, and has it fetched again in the background when it is not. If nobody asked for so long
// that a key may have been withdrawn, it waits for that fetch, unless the provider is known to be down.
func (k *remoteKeys) renewed(ctx context.Context, set *remoteSet) *keySet {
	age := k.now().Sub(set.fetched)
	if age <= k.refresh {
		return set.keySet
	}
	flight, _, err := k.join(ctx)
	if err != nil || flight.again || age <= 2*k.refresh {
		return set.keySet
	}
	ctx, cancel := context.WithTimeoutCause(ctx, jwksPatience, errJWKSPatience)
	defer cancel()
	if err := k.wait(ctx, flight); err != nil {
		return set.keySet
	}
	return k.last.Load().keySet
}

// wait waits for a fetch, unless too many callers do already.
func (k *remoteKeys) wait(ctx context.Context, flight *keyFlight) error {
	defer k.waiters.Add(-1)
	if k.waiters.Add(1) > jwksWaiters {
		return unavailable("%d callers wait for keys already", jwksWaiters)
	}
	select {
	case <-flight.done:
	case <-ctx.Done():
		return unavailable("waiting for keys: %w", context.Cause(ctx))
	}
	if flight.err != nil {
		return unavailable("keys: %w", flight.err)
	}
	return nil
}

// join returns the fetch that is planned or on its way, and plans one if there is none. It tells whether the fetch is still
// ahead, so that it will see what the provider publishes now. After failures it does not plan further than a second ahead.
func (k *remoteKeys) join(ctx context.Context) (flight *keyFlight, ahead bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.flight != nil {
		return k.flight, !k.flight.begun, nil
	}
	delay := max(k.next.Sub(k.now()), 0)
	if delay > jwksPause {
		if k.failures > 0 && delay <= jwksMaxPause {
			return nil, false, &retryError{unavailable("keys: %d fetches failed, the next is due in %v", k.failures, delay), delay}
		}
		delay = jwksPause // the clock was set back
	}
	k.flight = &keyFlight{again: k.failures > 0, done: make(chan struct{})}
	go k.fly(context.WithoutCancel(ctx), k.flight, delay)
	return k.flight, true, nil
}

// fly fetches after a delay, whoever waits or goes away meanwhile.
func (k *remoteKeys) fly(ctx context.Context, flight *keyFlight, delay time.Duration) {
	if delay > 0 {
		<-time.After(delay)
	}
	k.mu.Lock()
	flight.begun = true
	k.mu.Unlock()

	began := k.now()
	ctx, cancel := context.WithTimeout(ctx, jwksTimeout)
	set, err := k.load(ctx)
	cancel()

	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.last.Store(&remoteSet{set, began})
		k.failures, k.next = 0, began.Add(jwksPause)
	} else {
		k.next = k.now().Add(min(jwksPause<<min(k.failures, 10), jwksMaxPause))
		k.failures++
	}
	k.flight, flight.err = nil, err
	close(flight.done)
}

func (k *remoteKeys) load(ctx context.Context) (*keySet, error) {
	document, err := k.fetch(ctx)
	if err != nil {
		return nil, err
	}
	keys, _, err := keysParse(document)
	if err != nil {
		return nil, err
	}
	return newKeySet(keys, k.now)
}
