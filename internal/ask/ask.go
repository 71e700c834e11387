// Package ask makes calls to a provider about tokens, within bounds that strangers cannot move: how many, how often, how long, how
// large. It says nothing of what an answer means.
package ask

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits bound the calls of a [Caller]. None may be zero.
type Limits struct {
	Timeout   time.Duration // of one call, its answer's body included
	Body      int64         // of an answer, in bytes
	PerSecond int           // calls, and as many at once after a second without any
	InFlight  int           // calls
}

// Caller makes calls. Safe for concurrent use.
type Caller struct {
	client http.Client
	limits Limits
	now    func() time.Time
	rate   *rate.Limiter
	flying chan struct{}
}

// New returns a Caller over [Client] of given that follows no redirects.
func New(given *http.Client, limits Limits, now func() time.Time) *Caller {
	c := &Caller{client: Client(given), limits: limits, now: now, rate: rate.NewLimiter(rate.Limit(limits.PerSecond), limits.PerSecond),
		flying: make(chan struct{}, limits.InFlight)}
	c.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return c
}

// Answer is what came back, of whatever status. Pause is how long the provider wants to be left alone, 0 if it did not say.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
	Pause  time.Duration
}

// LimitError says that a call was not made, and when another try makes sense.
type LimitError struct {
	text  string
	after time.Duration
}

func (e *LimitError) Error() string { return e.text }

// RetryAfter is how long to wait.
func (e *LimitError) RetryAfter() time.Duration { return e.after }

// Do makes one call, if the limits let it. Its errors hold nothing of the request, nor of what the provider sent.
func (c *Caller) Do(ctx context.Context, r *http.Request) (*Answer, error) {
	select {
	case c.flying <- struct{}{}:
		defer func() { <-c.flying }()
	default:
		return nil, &LimitError{fmt.Sprintf("%d calls are in flight already", c.limits.InFlight), time.Second}
	}
	if !c.rate.AllowN(c.now(), 1) {
		return nil, &LimitError{fmt.Sprintf("more than %d calls a second", c.limits.PerSecond), time.Second}
	}
	ctx, cancel := context.WithTimeout(ctx, c.limits.Timeout)
	defer cancel()
	if r.Header.Get("Accept") == "" {
		r.Header.Set("Accept", "application/json")
	}
	res, err := c.client.Do(r.WithContext(ctx))
	if err != nil {
		return nil, Cause(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(res.Body, c.limits.Body+1))
	if err != nil {
		return nil, Cause(err)
	}
	if int64(len(body)) > c.limits.Body {
		return nil, fmt.Errorf("an answer of more than %d bytes", c.limits.Body)
	}
	return &Answer{res.StatusCode, res.Header, body, Pause(res.StatusCode, res.Header, c.now())}, nil
}

// Memory remembers something about tokens for a while, by names that nobody else can compute: nobody can aim at a name, or read a token out
// of a dump. Safe for concurrent use.
type Memory[V any] struct {
	limit  int
	now    func() time.Time
	secret [32]byte

	mu    sync.Mutex
	known map[name]remembered[V]
}

type name [sha256.Size]byte

type remembered[V any] struct {
	value V
	until time.Time
}

// NewMemory returns a memory for at most limit tokens.
func NewMemory[V any](limit int, now func() time.Time) *Memory[V] {
	m := &Memory[V]{limit: limit, now: now, known: make(map[name]remembered[V])}
	_, _ = rand.Read(m.secret[:]) // never fails: crypto/rand aborts the program instead
	return m
}

func (m *Memory[V]) name(token string) (out name) {
	h := hmac.New(sha256.New, m.secret[:])
	h.Write([]byte(token))
	h.Sum(out[:0])
	return out
}

// Get returns what is remembered of a token.
func (m *Memory[V]) Get(token string) (value V, ok bool) {
	key, now := m.name(token), m.now()
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.known[key]
	if ok && !now.Before(e.until) {
		delete(m.known, key)
		return value, false
	}
	return e.value, ok
}

// Put remembers a value for d. Where there is no room some other one is forgotten, which costs one call at worst.
func (m *Memory[V]) Put(token string, value V, d time.Duration) {
	if d <= 0 {
		return
	}
	key, until := m.name(token), m.now().Add(d)
	m.mu.Lock()
	defer m.mu.Unlock()
	for other := range m.known {
		if len(m.known) < m.limit {
			break
		}
		delete(m.known, other)
	}
	m.known[key] = remembered[V]{value, until}
}
