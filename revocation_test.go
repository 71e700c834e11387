package stmigrate_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// countingStore counts the round trips of a store, and remembers what it was given. A hook may fail a call before it is made.
type countingStore struct {
	*stmigrate.MemoryExchanges
	mu    sync.Mutex
	calls []string
	given [][]byte
	hook  func(call string) error
}

func (s *countingStore) count(call string, given ...[]byte) error {
	s.mu.Lock()
	s.calls, s.given = append(s.calls, call), append(s.given, given...)
	hook := s.hook
	s.mu.Unlock()
	if hook != nil {
		return hook(call)
	}
	return nil
}

// took returns the calls since the last time, but for those with which a worker asks for more.
func (s *countingStore) took() (calls []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.calls {
		if c != "due" && c != "abandoned" {
			calls = append(calls, c)
		}
	}
	s.calls = nil
	return calls
}

func (s *countingStore) Claim(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
	if err := s.count("claim"); err != nil {
		return stmigrate.Claimed{}, err
	}
	return s.MemoryExchanges.Claim(ctx, c)
}

func (s *countingStore) Finish(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
	if err := s.count("finish", f.Sealed, f.Revocation); err != nil {
		return err
	}
	return s.MemoryExchanges.Finish(ctx, key, fence, f)
}

func (s *countingStore) Release(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, suspect bool) error {
	if err := s.count("release"); err != nil {
		return err
	}
	return s.MemoryExchanges.Release(ctx, key, fence, suspect)
}

func (s *countingStore) Recall(ctx context.Context, shown stmigrate.ExchangeKey) (stmigrate.Claimed, error) {
	if err := s.count("recall"); err != nil {
		return stmigrate.Claimed{}, err
	}
	return s.MemoryExchanges.Recall(ctx, shown)
}

func (s *countingStore) Peek(ctx context.Context, key stmigrate.ExchangeKey) (stmigrate.Claimed, error) {
	if err := s.count("peek"); err != nil {
		return stmigrate.Claimed{}, err
	}
	return s.MemoryExchanges.Peek(ctx, key)
}

func (s *countingStore) Note(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, note []byte) error {
	if err := s.count("note", note); err != nil {
		return err
	}
	return s.MemoryExchanges.Note(ctx, key, fence, note)
}

func (s *countingStore) DueRevocations(ctx context.Context, n int, lease time.Duration) ([]stmigrate.DueRevocation, error) {
	if err := s.count("due"); err != nil {
		return nil, err
	}
	return s.MemoryExchanges.DueRevocations(ctx, n, lease)
}

func (s *countingStore) AbandonedClaims(ctx context.Context, since time.Duration, n int) ([]stmigrate.Claim, error) {
	if err := s.count("abandoned"); err != nil {
		return nil, err
	}
	return s.MemoryExchanges.AbandonedClaims(ctx, since, n)
}

func (s *countingStore) SettleRevocation(
	ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, retry time.Duration, reason string,
) error {
	if err := s.count("settle", []byte(reason)); err != nil {
		return err
	}
	return s.MemoryExchanges.SettleRevocation(ctx, key, fence, retry, reason)
}

// counted puts a counting store and a secret into a rig's configuration.
func counted(s *countingStore) func(*stmigrate.Config) {
	return func(c *stmigrate.Config) {
		s.MemoryExchanges = c.Exchanges.(*stmigrate.MemoryExchanges)
		s.UseClock(c.Now)
		c.Exchanges, c.Secrets = s, [][]byte{bytes.Repeat([]byte("s"), 32)}
	}
}

// revoker puts a Revoker into a rig's configuration.
func revoker(f stmigrate.RevokerFunc) func(*stmigrate.Config) {
	return func(c *stmigrate.Config) { c.Revoker = f }
}

// start runs a worker until the test ends.
func (r *rig) start(t *testing.T, cfg stmigrate.RevocationConfig) *stmigrate.Revocations {
	t.Helper()
	w, err := r.StartRevocations(cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, w.Close()) })
	return w
}

// round works off one batch and says how many were tried.
func (r *rig) round(t *testing.T, cfg stmigrate.RevocationConfig) int {
	t.Helper()
	n, err := r.RevokeDue(t.Context(), cfg)
	require.NoError(t, err)
	return n
}

var soon = func(c *stmigrate.Config) { c.RevokeAfter = time.Second }

// TestRoundTrips: with a worker an exchange asks the store twice.
func TestRoundTrips(t *testing.T) {
	t.Parallel()
	t.Run("worker", func(t *testing.T) {
		t.Parallel()
		store, release := new(countingStore), make(chan struct{})
		revoked := make(chan string)
		r := newRig(t, counted(store), revoker(func(_ context.Context, token string, _ *stmigrate.OldSession) error {
			<-release
			revoked <- token
			return nil
		}))
		r.start(t, stmigrate.RevocationConfig{Poll: time.Hour})
		r.add("tok", "user-1", "sid-1", "")
		expect(t, r.post("tok"), 200, "OK")
		assert.Equal(t, []string{"claim", "finish"}, store.took())
		close(release)
		assert.Equal(t, "tok", <-revoked, "the exchange wakes the worker")
	})
	for name, tt := range map[string]struct {
		change func(*stmigrate.Config)
		want   []string
	}{
		"no worker":    {func(*stmigrate.Config) {}, []string{"claim", "finish", "settle"}},
		"revoke later": {soon, []string{"claim", "finish"}},
		"left alone":   {leave, []string{"claim", "finish"}},
		"not an outbox": {func(c *stmigrate.Config) {
			c.Exchanges = struct{ stmigrate.ExchangeStore }{c.Exchanges}
		}, []string{"claim", "finish"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store := new(countingStore)
			r := newRig(t, counted(store), tt.change)
			r.add("tok", "user-1", "sid-1", "")
			expect(t, r.post("tok"), 200, "OK")
			assert.Equal(t, tt.want, store.took())
			r.add("tok", "user-1", "sid-1", "")
			expect(t, r.post("tok"), 200, "OK")
			assert.Equal(t, []string{"claim"}, store.took(), "the same answer again")
		})
	}
}

// TestNothingIsLeftUndone: whoever dies where, the legacy session ends.
func TestNothingIsLeftUndone(t *testing.T) {
	t.Parallel()
	store := new(countingStore)
	r := newRig(t, counted(store))
	// The process dies after the answer: it revokes, and the store never hears of it.
	store.hook = func(call string) error {
		if call == "settle" {
			return errors.New("connection refused")
		}
		return nil
	}
	r.add("tok", "user-1", "sid-1", "")
	expect(t, r.post("tok"), 200, "OK")
	store.hook = nil
	assert.Zero(t, r.round(t, stmigrate.RevocationConfig{}), "the finisher's lease runs")
	r.clock.Advance(30 * time.Second)
	assert.Equal(t, 1, r.round(t, stmigrate.RevocationConfig{}))
	assert.Equal(t, []string{"tok", "tok"}, r.revoked, "at least once")
	r.clock.Advance(time.Hour)
	assert.Zero(t, r.round(t, stmigrate.RevocationConfig{}))
}

// TestWhatTheRevokerIsGiven: a session that comes back from the store is the one that went in.
func TestWhatTheRevokerIsGiven(t *testing.T) {
	t.Parallel()
	var token string
	var got *stmigrate.OldSession
	r := newRig(t, soon, revoker(func(_ context.Context, tok string, s *stmigrate.OldSession) error {
		token, got = tok, s
		return nil
	}))
	at := time.UnixMilli(r.clock.Now().UnixMilli())
	s := stmigrate.OldSession{
		Issuer: "https://legacy.test/", Subject: "user-1", TenantID: "", SessionID: "sid-1", TokenID: "jti-1",
		IssuedAt: at, AuthTime: at.Add(-time.Hour), ExpiresAt: at.Add(time.Hour),
		Claims: map[string]any{"big": json.Number("12345678901234567890"), "list": []any{"a", nil}, "org": map[string]any{"id": "o"}},
	}
	r.verifier.Add("tok", s)
	expect(t, r.post("tok"), 200, "OK")
	r.clock.Advance(time.Second)
	require.Equal(t, 1, r.round(t, stmigrate.RevocationConfig{}))
	assert.Equal(t, "tok", token)
	assert.Equal(t, &s, got)
	e := r.events[len(r.events)-1]
	assert.Equal(t, []any{"revoke", "revoked", "sid", "https://legacy.test/", 1, ""}, []any{e.Name, e.Outcome, e.Kind, e.Issuer, e.Attempt, e.Step})
	assert.Equal(t, r.events[0].SubjectHash, e.SubjectHash)
}

func TestRevokeAfter(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *stmigrate.Config) { c.RevokeAfter = 24 * time.Hour })
	r.start(t, stmigrate.RevocationConfig{Poll: time.Hour})
	r.add("tok", "user-1", "sid-1", "")
	expect(t, r.post("tok"), 200, "OK")
	r.clock.Advance(24*time.Hour - time.Second)
	assert.Zero(t, r.round(t, stmigrate.RevocationConfig{}))
	r.clock.Advance(time.Second)
	assert.Equal(t, 1, r.round(t, stmigrate.RevocationConfig{}))
	assert.Equal(t, []string{"tok"}, r.revoked)
}

func TestRevocationThatFails(t *testing.T) {
	t.Parallel()
	const token = "header-of-the-token.payload-of-the-token.signature"
	store := new(countingStore)
	var fail atomic.Pointer[func() error]
	r := newRig(t, soon, counted(store), revoker(func(context.Context, string, *stmigrate.OldSession) error { return (*fail.Load())() }))
	says := func(f func() error) { fail.Store(&f) }
	cfg := stmigrate.RevocationConfig{
		MaxAttempts: 4, MinBackoff: time.Minute, MaxBackoff: 3 * time.Minute, Jitter: func() float64 { return 0.5 },
	}
	r.add(token, "user-1", "sid-1", "")
	expect(t, r.post(token), 200, "OK")

	says(func() error { return errors.New("the provider does not like " + token) })
	r.clock.Advance(time.Second)
	for _, wait := range []time.Duration{30 * time.Second, time.Minute, 90 * time.Second} {
		require.Equal(t, 1, r.round(t, cfg))
		r.clock.Advance(wait - time.Second)
		require.Zero(t, r.round(t, cfg), "before %v are over", wait)
		r.clock.Advance(time.Second)
	}
	says(func() error { panic("the payload-of-the-token is too long") })
	require.Equal(t, 1, r.round(t, cfg))
	assert.Equal(t, []string{"failed", "failed", "failed", "dead"}, r.outcomes("revoke"))
	r.clock.Advance(time.Hour)
	require.Zero(t, r.round(t, cfg))

	dead, err := r.DeadRevocations(t.Context(), stmigrate.ExchangeKey{}, 10)
	require.NoError(t, err)
	require.Len(t, dead, 1)
	assert.Equal(t, "the Revoker panicked: the [redacted] is too long", dead[0].Reason)
	assert.Equal(t, 4, dead[0].Attempts)
	assert.Equal(t, r.events[0].SubjectHash, dead[0].SubjectHash)
	assert.Equal(t, "https://legacy.test/", dead[0].Issuer)
	assert.Equal(t, "sid", dead[0].Kind)
	assert.Len(t, dead[0].SessionHash, 24)
	for i, e := range r.events[1:] {
		require.ErrorIs(t, e.Err, stmigrate.ErrRevokeFailed)
		assert.NotContains(t, e.Err.Error(), "-of-the-token")
		assert.Equal(t, i+1, e.Attempt)
		assert.Equal(t, "revoke", e.Step)
	}
	for _, given := range store.given {
		assert.NotContains(t, string(given), "-of-the-token", "the store holds no bearer in clear")
	}

	says(func() error { return nil })
	require.NoError(t, r.ReplayRevocation(t.Context(), dead[0].Key))
	require.Equal(t, 1, r.round(t, cfg))
	last := r.events[len(r.events)-1]
	assert.Equal(t, "revoked", last.Outcome)
	assert.Equal(t, 1, last.Attempt)
	dead, err = r.DeadRevocations(t.Context(), stmigrate.ExchangeKey{}, 10)
	require.NoError(t, err)
	assert.Empty(t, dead)
}

func TestDeadLetters(t *testing.T) {
	t.Parallel()
	r := newRig(t, soon, revoker(func(context.Context, string, *stmigrate.OldSession) error {
		return fmt.Errorf("wrapped: %w", &stmigrate.RevokeError{Permanent: true, Err: errors.New("the client is unknown")})
	}))
	for i := range 5 {
		token := fmt.Sprint("tok", i)
		r.add(token, "user", token, "")
		expect(t, r.post(token), 200, "OK")
	}
	r.clock.Advance(time.Second)
	require.Equal(t, 5, r.round(t, stmigrate.RevocationConfig{}))
	var all []stmigrate.DeadLetter
	for after := (stmigrate.ExchangeKey{}); ; after = all[len(all)-1].Key {
		dead, err := r.DeadRevocations(t.Context(), after, 2)
		require.NoError(t, err)
		if len(dead) == 0 {
			break
		}
		all = append(all, dead...)
	}
	require.Len(t, all, 5)
	sessions := make(map[string]bool)
	for _, d := range all {
		sessions[d.SessionHash] = true
		assert.Equal(t, "wrapped: the client is unknown", d.Reason)
		assert.Equal(t, 1, d.Attempts)
		require.NoError(t, r.DropRevocation(t.Context(), d.Key))
		require.NoError(t, r.ReplayRevocation(t.Context(), d.Key))
	}
	assert.Len(t, sessions, 5, "sessions of one user are told apart")
	assert.Zero(t, r.round(t, stmigrate.RevocationConfig{}), "what was dropped is gone")
}

// TestProviderThatWantsToBeLeftAlone: it is, by all processes, and that is no attempt.
func TestProviderThatWantsToBeLeftAlone(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	var busy atomic.Bool
	busy.Store(true)
	r := newRig(t, soon, revoker(func(context.Context, string, *stmigrate.OldSession) error {
		calls.Add(1)
		if busy.Load() {
			return &stmigrate.RevokeError{RetryAfter: 10 * time.Minute, Err: errors.New("429")}
		}
		return nil
	}))
	for i := range 8 {
		token := fmt.Sprint("tok", i)
		r.add(token, "user", token, "")
		expect(t, r.post(token), 200, "OK")
	}
	r.clock.Advance(time.Second)
	cfg := stmigrate.RevocationConfig{Workers: 1, MaxAttempts: 1}
	for range 3 {
		calls.Store(0)
		assert.Equal(t, 1, r.round(t, cfg), "the others of the batch are put back")
		assert.EqualValues(t, 1, calls.Load())
		r.add("late", "user", fmt.Sprint("late", r.clock.Now()), "")
		expect(t, r.post("late"), 200, "OK")
		r.clock.Advance(10*time.Minute - time.Second)
		assert.Zero(t, r.round(t, cfg), "another process, or a new revocation: the provider is left alone")
		r.clock.Advance(2 * time.Second)
	}
	busy.Store(false)
	r.clock.Advance(time.Minute)
	total := 0
	for n := -1; n != 0; total += n {
		n = r.round(t, cfg)
	}
	assert.Equal(t, 11, total)
	assert.NotContains(t, r.outcomes("revoke"), "dead", "though one failure is the limit")
}

func TestBudget(t *testing.T) {
	t.Parallel()
	r := newRig(t, soon)
	cfg := stmigrate.RevocationConfig{Budgets: map[string]stmigrate.RevocationBudget{"https://legacy.test/": {Calls: 4, Per: time.Minute}}}
	for i := range 20 {
		token := fmt.Sprint("tok", i)
		r.add(token, "user", token, "")
		expect(t, r.post(token), 200, "OK")
	}
	r.clock.Advance(time.Second)
	tried := 0
	for range 5 {
		tried += r.round(t, cfg)
	}
	assert.Equal(t, 4, tried, "what the bucket holds")
	for range 16 {
		r.clock.Advance(15 * time.Second)
		n := 0
		for range 3 {
			n += r.round(t, cfg)
		}
		assert.LessOrEqual(t, n, 1, "what flows in")
		tried += n
	}
	r.clock.Advance(4 * time.Minute)
	for range 5 {
		tried += r.round(t, cfg)
	}
	r.clock.Advance(4 * time.Minute)
	for range 5 {
		tried += r.round(t, cfg)
	}
	assert.Equal(t, 20, tried)
	for _, e := range r.events {
		if e.Name == "revoke" {
			assert.Equal(t, 1, e.Attempt, "waiting for a budget is no attempt")
		}
	}
}

// TestRevocationsOfOldSecrets: any secret opens, and what none opens is shown, not lost.
func TestRevocationsOfOldSecrets(t *testing.T) {
	t.Parallel()
	secret := func(name string) []byte { return bytes.Repeat([]byte(name), 32) }
	r := newRig(t, soon, func(c *stmigrate.Config) { c.Secrets = [][]byte{secret("a")} })
	r.add("tok", "user-1", "sid-1", "")
	expect(t, r.post("tok"), 200, "OK")
	r.clock.Advance(time.Second)
	node := func(secrets ...[]byte) *rig {
		other := newRig(t, soon, func(c *stmigrate.Config) {
			c.Exchanges, c.Now, c.Secrets, c.Verifier = r.store, r.clock.Now, secrets, r.verifier
		})
		return other
	}
	stranger := node(secret("x"))
	assert.Equal(t, 1, stranger.round(t, stmigrate.RevocationConfig{}))
	assert.Empty(t, stranger.revoked)
	assert.Equal(t, []string{"dead"}, stranger.outcomes("revoke"))
	dead, err := stranger.DeadRevocations(t.Context(), stmigrate.ExchangeKey{}, 10)
	require.NoError(t, err)
	require.Len(t, dead, 1)
	assert.Contains(t, dead[0].Reason, "does not open with any of Config.Secrets")
	assert.Empty(t, dead[0].Issuer)

	rotated := node(secret("b"), secret("a"))
	require.NoError(t, rotated.ReplayRevocation(t.Context(), dead[0].Key))
	assert.Equal(t, 1, rotated.round(t, stmigrate.RevocationConfig{}))
	assert.Equal(t, []string{"tok"}, rotated.revoked)
}

// TestRevocationThatKills: what was handed out again and again, and never settled, is given up without another try.
func TestRevocationThatKills(t *testing.T) {
	t.Parallel()
	store := new(countingStore)
	r := newRig(t, soon, counted(store))
	r.add("tok", "user-1", "sid-1", "")
	expect(t, r.post("tok"), 200, "OK")
	r.clock.Advance(time.Second)
	for range 2 { // workers that died of it
		due, err := store.DueRevocations(t.Context(), 1, time.Second)
		require.NoError(t, err)
		require.Len(t, due, 1)
		r.clock.Advance(2 * time.Second)
	}
	assert.Equal(t, 1, r.round(t, stmigrate.RevocationConfig{MaxAttempts: 2}))
	assert.Empty(t, r.revoked)
	dead, err := r.DeadRevocations(t.Context(), stmigrate.ExchangeKey{}, 10)
	require.NoError(t, err)
	require.Len(t, dead, 1)
	assert.Contains(t, dead[0].Reason, "handed out 2 times")
}

// wrapped is a Revoker that only adds to another.
type wrapped struct{ stmigrate.Revoker }

func (w wrapped) Unwrap() stmigrate.Revoker { return w.Revoker }
func (w wrapped) ClearedCookies() []*http.Cookie {
	return []*http.Cookie{nil, {Name: "legacy", Path: "/"}}
}

// TestRevokerThatEndsNothing: LeaveToExpire is seen through what wraps it, and nothing is owed.
func TestRevokerThatEndsNothing(t *testing.T) {
	t.Parallel()
	store := new(countingStore)
	leave := wrapped{wrapped{stmigrate.LeaveToExpire}}
	r := newRig(t, counted(store), func(c *stmigrate.Config) { c.Revoker = leave })
	r.add("tok", "user-1", "sid-1", "")
	w := r.post("tok")
	expect(t, w, 200, "OK")
	assert.Contains(t, strings.Join(w.Header().Values("Set-Cookie"), "\n"), "legacy=; Path=/; Expires=Thu, 01 Jan 1970")
	assert.Equal(t, []string{"claim", "finish"}, store.took())
	assert.Empty(t, store.given[1])
	for name, change := range map[string]func(*stmigrate.Config){
		"RevokeRequired": func(c *stmigrate.Config) { c.RevokePolicy = stmigrate.RevokeRequired },
		"RevokeAfter":    func(c *stmigrate.Config) { c.RevokeAfter = time.Hour },
	} {
		cfg := stmigrate.Config{
			Verifier: new(stmigratetest.FakeVerifier), Sessions: new(stmigratetest.FakeSessions), Users: stmigrate.SubjectIsUserID,
			Exchanges: stmigrate.NewMemoryExchanges(1), Revoker: leave,
		}
		change(&cfg)
		_, err := stmigrate.New(cfg)
		assert.ErrorContains(t, err, "LeaveToExpire, which revokes nothing", name)
	}
}

// TestRevocationOfAnother: what an entry owes does not open as what another owes.
func TestRevocationOfAnother(t *testing.T) {
	t.Parallel()
	store := new(countingStore)
	r := newRig(t, soon, counted(store))
	r.add("tok", "user-1", "sid-1", "")
	expect(t, r.post("tok"), 200, "OK")
	claim := stmigrate.Claim{Key: stmigrate.ExchangeKey{1}, Fence: stmigrate.Fence{1}, Lease: time.Minute, KeepFor: time.Hour}
	_, err := store.MemoryExchanges.Claim(t.Context(), claim)
	require.NoError(t, err)
	require.Len(t, store.given, 2, "the answer and what is owed")
	require.NoError(t, store.MemoryExchanges.Finish(t.Context(), claim.Key, claim.Fence,
		stmigrate.Finished{KeepFor: time.Hour, Revocation: store.given[1]}))
	assert.Equal(t, 1, r.round(t, stmigrate.RevocationConfig{}))
	assert.Empty(t, r.revoked)
	assert.Equal(t, []string{"dead"}, r.outcomes("revoke"))
	dead, err := r.DeadRevocations(t.Context(), stmigrate.ExchangeKey{}, 10)
	require.NoError(t, err)
	require.Len(t, dead, 1)
	assert.Empty(t, dead[0].Issuer+dead[0].SubjectHash+dead[0].Kind+dead[0].SessionHash, "nor names it whom it is about")
}

// TestWorkerThatIsStopped: what it had begun is finished, or done by another, and none of it is an attempt.
func TestWorkerThatIsStopped(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(w *stmigrate.Revocations){
		"closed": func(w *stmigrate.Revocations) { _ = w.Close() },
		"shut down in no time": func(w *stmigrate.Revocations) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			_ = w.Shutdown(ctx)
			_ = w.Close()
		},
		"shut down, and waited for": func(w *stmigrate.Revocations) {
			ctx, cancel := context.WithCancel(context.Background())
			cancel()
			assert.ErrorIs(t, w.Shutdown(ctx), context.Canceled)
			ctx, cancel = context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			assert.NoError(t, w.Shutdown(ctx), "what ran was not cancelled")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := make(chan struct{}, 8)
			var stopped atomic.Bool
			r := newRig(t, soon, revoker(func(ctx context.Context, _ string, _ *stmigrate.OldSession) error {
				if stopped.Load() {
					return nil
				}
				began <- struct{}{}
				<-ctx.Done()
				return ctx.Err()
			}))
			for i := range 4 {
				token := fmt.Sprint("tok", i)
				r.add(token, "user", token, "")
				expect(t, r.post(token), 200, "OK")
			}
			r.clock.Advance(time.Second)
			w := r.start(t, stmigrate.RevocationConfig{Workers: 1, Poll: time.Millisecond})
			<-began
			stop(w)
			stopped.Store(true)
			r.clock.Advance(time.Second)
			assert.Equal(t, 4, r.round(t, stmigrate.RevocationConfig{}))
			for _, e := range r.events {
				if e.Name == "revoke" {
					assert.Equal(t, 1, e.Attempt)
				}
			}
		})
	}
}

func TestShutdownWaits(t *testing.T) {
	t.Parallel()
	began, release := make(chan struct{}), make(chan struct{})
	r := newRig(t, revoker(func(context.Context, string, *stmigrate.OldSession) error {
		close(began)
		<-release
		return nil
	}))
	w := r.start(t, stmigrate.RevocationConfig{Poll: time.Hour})
	r.add("tok", "user", "sid", "")
	expect(t, r.post("tok"), 200, "OK")
	<-began
	ended := make(chan error)
	go func() { ended <- w.Shutdown(context.Background()) }()
	close(release)
	require.NoError(t, <-ended)
	assert.Equal(t, []string{"revoked"}, r.outcomes("revoke"))
	require.NoError(t, w.Close())
}

// TestShutdownBeginsNothing: of a batch it finishes what runs and puts the rest back; from then on requests revoke themselves.
func TestShutdownBeginsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		r := newRig(t, revoker(func(context.Context, string, *stmigrate.OldSession) error { <-release; return nil }))
		w := r.start(t, stmigrate.RevocationConfig{Workers: 1, Poll: time.Hour})
		synctest.Wait()
		for i := range 4 {
			token := fmt.Sprint("tok", i)
			r.add(token, "user", token, "")
			expect(t, r.post(token), 200, "OK")
		}
		synctest.Wait()
		ended := make(chan error)
		go func() { ended <- w.Shutdown(t.Context()) }()
		synctest.Wait()
		close(release)
		require.NoError(t, <-ended)
		assert.Len(t, r.outcomes("revoke"), 1)
		r.add("late", "user", "late", "")
		expect(t, r.post("late"), 200, "OK")
		assert.Len(t, r.outcomes("revoke"), 2)
		r.clock.Advance(time.Second)
		assert.Equal(t, 3, r.round(t, stmigrate.RevocationConfig{}))
	})
}

// TestRevokerThatHangs: its call ends by RevocationConfig.Timeout, which is a failed attempt.
func TestRevokerThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, soon, revoker(func(ctx context.Context, _ string, _ *stmigrate.OldSession) error {
			<-ctx.Done()
			return ctx.Err()
		}))
		r.add("tok", "user-1", "", "jti-1")
		expect(t, r.post("tok"), 200, "OK")
		r.clock.Advance(time.Second)
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n, err := r.RevokeDue(ctx, stmigrate.RevocationConfig{MaxAttempts: 1})
		require.NoError(t, err)
		assert.Equal(t, 1, n)
		assert.Equal(t, 10*time.Second, time.Since(start))
		assert.Equal(t, []string{"dead"}, r.outcomes("revoke"))
		dead, err := r.DeadRevocations(t.Context(), stmigrate.ExchangeKey{}, 1)
		require.NoError(t, err)
		require.Len(t, dead, 1)
		assert.Empty(t, dead[0].SessionHash, "of a token without a session")
	})
}

// TestClientThatLeavesWithItsAnswer takes nothing of the time that there is to revoke.
func TestClientThatLeavesWithItsAnswer(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := newRig(t, revoker(func(ctx context.Context, _ string, _ *stmigrate.OldSession) error {
		cancel()
		return ctx.Err()
	}))
	r.add("tok", "user-1", "sid-1", "")
	req := httptest.NewRequestWithContext(ctx, http.MethodPost, "https://api.example.com/migrate-session", nil)
	req.Header.Set("Authorization", "Bearer tok")
	expect(t, r.do(req), 200, "OK")
	assert.Equal(t, []string{"revoked"}, r.outcomes("revoke"))
}

// TestRevocationThatAnotherTookOver: a call that outlasts its lease is no failure of the store.
func TestRevocationThatAnotherTookOver(t *testing.T) {
	t.Parallel()
	var r *rig
	r = newRig(t, soon, revoker(func(ctx context.Context, _ string, _ *stmigrate.OldSession) error {
		r.clock.Advance(time.Hour)
		due, err := r.store.DueRevocations(ctx, 1, time.Hour)
		assert.Len(t, due, 1)
		return err
	}), func(c *stmigrate.Config) { c.Exchanges.(*stmigrate.MemoryExchanges).UseClock(c.Now) })
	r.add("tok", "user-1", "sid-1", "")
	expect(t, r.post("tok"), 200, "OK")
	r.clock.Advance(time.Second)
	assert.Equal(t, 1, r.round(t, stmigrate.RevocationConfig{}))
}

func TestReasonsAreShort(t *testing.T) {
	t.Parallel()
	r := newRig(t, soon, revoker(func(context.Context, string, *stmigrate.OldSession) error {
		return &stmigrate.RevokeError{Permanent: true, Err: errors.New(strings.Repeat("x", 1000))}
	}))
	r.add("tok", "user-1", "sid-1", "")
	expect(t, r.post("tok"), 200, "OK")
	r.clock.Advance(time.Second)
	assert.Equal(t, 1, r.round(t, stmigrate.RevocationConfig{}))
	dead, err := r.DeadRevocations(t.Context(), stmigrate.ExchangeKey{}, 1)
	require.NoError(t, err)
	require.Len(t, dead, 1)
	assert.Equal(t, strings.Repeat("x", 512)+" ...", dead[0].Reason)
}

// pacedStore tells when, and for how many, it is asked, on the time of a synctest bubble.
type pacedStore struct {
	*stmigrate.MemoryExchanges
	began time.Time
	asked []string
	fail  bool
}

func (s *pacedStore) DueRevocations(ctx context.Context, n int, lease time.Duration) ([]stmigrate.DueRevocation, error) {
	s.asked = append(s.asked, fmt.Sprint(n, " at ", time.Since(s.began)))
	if s.fail {
		return nil, errors.New("connection refused")
	}
	return s.MemoryExchanges.DueRevocations(ctx, n, lease)
}

// TestPaceOfAWorker: how often it asks, how much it takes, and when an exchange wakes it.
func TestPaceOfAWorker(t *testing.T) {
	t.Parallel()
	budget := func(calls int, per time.Duration) stmigrate.RevocationBudget {
		return stmigrate.RevocationBudget{Calls: calls, Per: per}
	}
	type budgets = map[string]stmigrate.RevocationBudget
	const one, two = "https://legacy.test/1", "https://legacy.test/2"
	for name, tt := range map[string]struct {
		cfg  stmigrate.RevocationConfig
		owed []string // issuers
		wake bool     // by an exchange, after 1 s
		fail bool
		want []string // in 20 s
	}{
		"nothing to do": {
			stmigrate.RevocationConfig{Poll: 10 * time.Second}, nil, true, false,
			[]string{"16 at 0s", "16 at 1s", "16 at 6s", "16 at 11s", "16 at 16s"},
		},
		"whole batches": {
			stmigrate.RevocationConfig{Batch: 2, Poll: time.Hour}, []string{one, one, one, two}, true, false,
			[]string{"2 at 0s", "2 at 0s", "2 at 0s", "2 at 1s"},
		},
		"a store that is down": {
			stmigrate.RevocationConfig{Poll: 10 * time.Second}, []string{one}, true, true,
			[]string{"16 at 0s", "16 at 5s", "16 at 10s", "16 at 15s"},
		},
		"a budget that is near": {
			stmigrate.RevocationConfig{Poll: 8 * time.Second, Budgets: budgets{one: budget(4, 12*time.Second)}},
			[]string{one, one, one, one, one, one}, false, false,
			[]string{"16 at 0s", "4 at 3s", "16 at 7s", "16 at 11s", "16 at 15s", "16 at 19s"},
		},
		"two budgets": {
			stmigrate.RevocationConfig{Poll: 40 * time.Second, Budgets: budgets{one: budget(1, 18*time.Second), two: budget(1, 15*time.Second)}},
			[]string{one, one, two, two}, false, false,
			[]string{"16 at 0s", "2 at 15s"},
		},
		"a budget that is far off": {
			stmigrate.RevocationConfig{Batch: 2, Poll: 16 * time.Second, Budgets: budgets{one: budget(1, time.Hour)}},
			[]string{one, one, one}, true, false,
			[]string{"2 at 0s", "2 at 0s", "2 at 8s", "2 at 16s", "2 at 16s"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := &pacedStore{MemoryExchanges: stmigrate.NewMemoryExchanges(100), fail: tt.fail, began: time.Now()}
				store.UseClock(time.Now)
				process := func() *rig {
					return newRig(t, func(c *stmigrate.Config) {
						c.Exchanges, c.Now, c.RevokeAfter, c.Secrets = store, time.Now, 1, [][]byte{bytes.Repeat([]byte("s"), 32)}
					})
				}
				exchange := func(r *rig, issuer, token string) {
					r.verifier.Add(token, stmigrate.OldSession{
						Issuer: issuer, Subject: "user", SessionID: token, AuthTime: time.Now(), ExpiresAt: time.Now().Add(time.Hour),
					})
					expect(t, r.post(token), 200, "OK")
				}
				other := process()
				for i, issuer := range tt.owed {
					exchange(other, issuer, fmt.Sprint("tok", i))
				}
				time.Sleep(time.Second)
				store.began = time.Now()
				tt.cfg.Jitter = func() float64 { return 0 }
				r := process()
				w := r.start(t, tt.cfg)
				time.Sleep(time.Second)
				if tt.wake {
					exchange(r, one, "late")
				}
				time.Sleep(19*time.Second - 1)
				require.NoError(t, w.Close())
				assert.Equal(t, tt.want, store.asked)
			})
		})
	}
}

// TestWhatWakesAWorker: an exchange, and a dead letter that is replayed.
func TestWhatWakesAWorker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refuse := &stmigrate.RevokeError{Permanent: true}
		var fails atomic.Bool
		fails.Store(true)
		r := newRig(t, revoker(func(context.Context, string, *stmigrate.OldSession) error {
			if fails.Load() {
				return refuse
			}
			return nil
		}))
		r.start(t, stmigrate.RevocationConfig{Poll: time.Hour})
		synctest.Wait()
		r.add("tok", "user-1", "sid-1", "")
		expect(t, r.post("tok"), 200, "OK")
		synctest.Wait()
		require.Equal(t, []string{"dead"}, r.outcomes("revoke"))
		dead, err := r.DeadRevocations(t.Context(), stmigrate.ExchangeKey{}, 1)
		require.NoError(t, err)
		require.Len(t, dead, 1)
		fails.Store(false)
		require.NoError(t, r.ReplayRevocation(t.Context(), dead[0].Key))
		synctest.Wait()
		assert.Equal(t, []string{"dead", "revoked"}, r.outcomes("revoke"))
	})
}

func TestRevocationConfigNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	budget := map[string]stmigrate.RevocationBudget{"https://legacy.test/": {}}
	for want, cfg := range map[string]stmigrate.RevocationConfig{
		"RevocationConfig.Workers is -1":      {Workers: -1},
		"RevocationConfig.Batch is -1":        {Batch: -1},
		"RevocationConfig.MaxAttempts is -1":  {MaxAttempts: -1},
		"RevocationConfig.Timeout is -1ns":    {Timeout: -1},
		"RevocationConfig.MinBackoff is -1ns": {MinBackoff: -1},
		"RevocationConfig.MaxBackoff is -1ns": {MaxBackoff: -1},
		"RevocationConfig.Poll is -1ns":       {Poll: -1},
		"a batch may take 50s":                {Lease: time.Second},
		"lets nothing through":                {Budgets: budget},
	} {
		r := newRig(t)
		_, err := r.StartRevocations(cfg)
		require.ErrorContains(t, err, want)
		_, err = r.RevokeDue(t.Context(), cfg)
		require.ErrorContains(t, err, want)
	}

	plain := newRig(t, counted(new(countingStore)), func(c *stmigrate.Config) {
		c.Exchanges = struct{ stmigrate.ExchangeStore }{c.Exchanges}
	})
	_, err := plain.StartRevocations(stmigrate.RevocationConfig{})
	require.ErrorIs(t, err, stmigrate.ErrUnsupported)
	_, err = plain.DeadRevocations(t.Context(), stmigrate.ExchangeKey{}, 1)
	require.ErrorIs(t, err, stmigrate.ErrUnsupported)
	require.ErrorIs(t, plain.ReplayRevocation(t.Context(), stmigrate.ExchangeKey{}), stmigrate.ErrUnsupported)
	require.ErrorIs(t, plain.DropRevocation(t.Context(), stmigrate.ExchangeKey{}), stmigrate.ErrUnsupported)

	noBudgets := newRig(t, counted(new(countingStore)), func(c *stmigrate.Config) {
		c.Exchanges = struct {
			stmigrate.ExchangeStore
			stmigrate.RevocationOutbox
		}{c.Exchanges, c.Exchanges.(stmigrate.RevocationOutbox)}
	})
	_, err = noBudgets.RevokeDue(t.Context(), stmigrate.RevocationConfig{})
	require.NoError(t, err)
	_, err = noBudgets.RevokeDue(t.Context(), stmigrate.RevocationConfig{
		Budgets: map[string]stmigrate.RevocationBudget{"https://legacy.test/": {Calls: 1, Per: 1}},
	})
	require.ErrorIs(t, err, stmigrate.ErrUnsupported)
}

func TestOutboxThatIsDown(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"due", "settle"} {
		store := new(countingStore)
		r := newRig(t, soon, counted(store))
		r.add("tok", "user-1", "sid-1", "")
		expect(t, r.post("tok"), 200, "OK")
		r.clock.Advance(time.Second)
		store.hook = func(c string) error {
			if c == call {
				return errors.New("connection refused")
			}
			return nil
		}
		_, err := r.RevokeDue(t.Context(), stmigrate.RevocationConfig{})
		require.ErrorIs(t, err, stmigrate.ErrUnavailable, call)
		store.hook = nil
		r.clock.Advance(time.Hour)
		assert.Equal(t, 1, r.round(t, stmigrate.RevocationConfig{}), call)
	}
}

// clearing is a Revoker that ends cookies, too.
type clearing struct{ stmigrate.Revoker }

func (clearing) ClearedCookies() []*http.Cookie {
	return []*http.Cookie{
		{Name: "legacy", Value: "x", Path: "/", Domain: "example.com", Secure: true, HttpOnly: true, MaxAge: 100},
		{Name: "legacy.sig", Path: "/"},
	}
}

func TestLegacyCookiesEnd(t *testing.T) {
	t.Parallel()
	clears := func(c *stmigrate.Config) { c.Revoker = clearing{c.Revoker} }
	cleared := func(h http.Header) (names []string) {
		for _, c := range (&http.Response{Header: h}).Cookies() {
			if strings.HasPrefix(c.Name, "legacy") {
				assert.Empty(t, c.Value)
				assert.Negative(t, c.MaxAge)
				names = append(names, c.Name)
			}
		}
		return names
	}
	r := newRig(t, clears)
	r.add("tok", "user-1", "sid-1", "")
	first := r.post("tok", "St-Auth-Mode", "cookie")
	expect(t, first, 200, "OK")
	assert.Equal(t, []string{"legacy", "legacy.sig"}, cleared(first.Header()))
	lines := first.Header().Values("Set-Cookie")
	assert.Equal(t, "legacy=; Path=/; Domain=example.com; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Secure", lines[len(lines)-2])
	again := r.post("tok", "St-Auth-Mode", "cookie")
	expect(t, again, 200, "OK")
	assert.Equal(t, []string{"legacy", "legacy.sig"}, cleared(again.Header()), "replayed")
	current := r.post("tok", "St-Auth-Mode", "header", "Cookie", "sAccessToken="+accessToken(t, first))
	assert.Equal(t, 200, current.Code)
	assert.Equal(t, []string{"legacy", "legacy.sig"}, cleared(current.Header()), "current")
	refused := r.post("unknown")
	expect(t, refused, 401, "INVALID_LEGACY_SESSION")
	assert.Empty(t, cleared(refused.Header()))

	r = newRig(t, clears, soon)
	r.add("tok", "user-1", "sid-1", "")
	w := r.post("tok")
	expect(t, w, 200, "OK")
	assert.Empty(t, cleared(w.Header()), "the legacy session lives on")

	r = newRig(t, clears, func(c *stmigrate.Config) { c.Mode = stmigrate.Shadow })
	r.add("tok", "user-1", "sid-1", "")
	assert.Empty(t, cleared(r.post("tok").Header()))
}

// TestManyWorkers: several workers on one store, while exchanges go on, revoke each session once.
func TestManyWorkers(t *testing.T) {
	t.Parallel()
	const n = 150
	var mu sync.Mutex
	times := make(map[string]int)
	all := make(chan struct{})
	r := newRig(t, func(c *stmigrate.Config) { c.Secrets = [][]byte{bytes.Repeat([]byte("s"), 32)} }, revoker(
		func(_ context.Context, token string, _ *stmigrate.OldSession) error {
			mu.Lock()
			defer mu.Unlock()
			if times[token]++; len(times) == n && times[token] == 1 {
				close(all)
			}
			return nil
		}))
	for range 3 {
		r.start(t, stmigrate.RevocationConfig{Batch: 5, Poll: 5 * time.Millisecond})
	}
	var wg sync.WaitGroup
	for i := range n {
		token := fmt.Sprint("tok", i)
		r.add(token, "user", token, "")
		wg.Go(func() { assert.Equal(t, 200, r.post(token).Code) })
	}
	wg.Wait()
	<-all
	mu.Lock()
	defer mu.Unlock()
	for token, n := range times {
		assert.Equal(t, 1, n, token)
	}
}

// TestRevokerThatAnswersNonsense: it is a failure, and no end of the process.
func TestRevokerThatAnswersNonsense(t *testing.T) {
	t.Parallel()
	var none *stmigrate.RevokeError
	for name, answer := range map[string]error{
		"nil in an error": none, "nil inside": fmt.Errorf("wrapped: %w", none), "panics": errorThatPanics{},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, soon, revoker(func(context.Context, string, *stmigrate.OldSession) error { return answer }))
			r.add("tok", "user-1", "sid-1", "")
			expect(t, r.post("tok"), 200, "OK")
			r.clock.Advance(time.Second)
			assert.Equal(t, 1, r.round(t, stmigrate.RevocationConfig{}))
			assert.Equal(t, []string{"failed"}, r.outcomes("revoke"))
		})
	}
}

type errorThatPanics struct{}

func (errorThatPanics) Error() string { panic("no text") }

// TestHostThatHasNoMoreTime: what its deadline cut short, or left undone, is no attempt.
func TestHostThatHasNoMoreTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var hangs atomic.Bool
		hangs.Store(true)
		r := newRig(t, soon, revoker(func(ctx context.Context, _ string, _ *stmigrate.OldSession) error {
			if hangs.Load() {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}))
		for i := range 4 {
			token := fmt.Sprint("tok", i)
			r.add(token, "user", token, "")
			expect(t, r.post(token), 200, "OK")
		}
		r.clock.Advance(time.Second)
		cfg := stmigrate.RevocationConfig{Workers: 1, MaxAttempts: 1}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		n, err := r.RevokeDue(ctx, cfg)
		require.NoError(t, err)
		assert.Equal(t, 1, n)
		hangs.Store(false)
		r.clock.Advance(time.Millisecond)
		assert.Equal(t, 4, r.round(t, cfg))
		assert.Equal(t, []string{"failed", "revoked", "revoked", "revoked", "revoked"}, r.outcomes("revoke"))
	})
}

// hungStore never answers the first call of that name.
type hungStore struct {
	*stmigrate.MemoryExchanges
	call  string
	calls atomic.Int32
}

func (s *hungStore) hang(ctx context.Context, call string) {
	if call == s.call && s.calls.Add(1) == 1 {
		<-ctx.Done()
	}
}

func (s *hungStore) DueRevocations(ctx context.Context, n int, lease time.Duration) ([]stmigrate.DueRevocation, error) {
	s.hang(ctx, "due")
	return s.MemoryExchanges.DueRevocations(ctx, n, lease)
}

func (s *hungStore) TakeBudget(ctx context.Context, name string, n int, b stmigrate.RevocationBudget) (int, time.Duration, error) {
	s.hang(ctx, "take")
	return s.MemoryExchanges.TakeBudget(ctx, name, n, b)
}

func (s *hungStore) AbandonedClaims(ctx context.Context, since time.Duration, n int) ([]stmigrate.Claim, error) {
	s.hang(ctx, "abandoned")
	return s.MemoryExchanges.AbandonedClaims(ctx, since, n)
}

func (s *hungStore) SettleRevocation(
	ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, retry time.Duration, reason string,
) error {
	s.hang(ctx, "settle")
	return s.MemoryExchanges.SettleRevocation(ctx, key, fence, retry, reason)
}

// TestWorkerOfAStoreThatHangs: one call that has no end is not the worker's.
func TestWorkerOfAStoreThatHangs(t *testing.T) {
	t.Parallel()
	for _, call := range []string{"due", "take", "settle", "abandoned"} {
		t.Run(call, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := &hungStore{call: call}
				r := newRig(t, soon, func(c *stmigrate.Config) {
					store.MemoryExchanges = c.Exchanges.(*stmigrate.MemoryExchanges)
					store.UseClock(c.Now)
					c.Exchanges, c.Secrets = store, [][]byte{bytes.Repeat([]byte("s"), 32)}
				})
				for _, token := range []string{"tok", "tok2"} {
					r.add(token, "user-1", token, "")
					expect(t, r.post(token), 200, "OK")
				}
				r.clock.Advance(time.Second)
				r.start(t, stmigrate.RevocationConfig{Workers: 1, Timeout: 10 * time.Second})
				for range 60 {
					time.Sleep(time.Second)
					r.clock.Advance(time.Second) // what was put back is due again
				}
				assert.Greater(t, store.calls.Load(), int32(1), "the worker waits for its first call still")
			})
		})
	}
}

// TestHaste: a time that was meant in seconds is no leave to ask without end.
func TestHaste(t *testing.T) {
	t.Parallel()
	r := newRig(t, soon, revoker(func(context.Context, string, *stmigrate.OldSession) error {
		return &stmigrate.RevokeError{RetryAfter: 30}
	}))
	r.add("tok", "user-1", "sid-1", "")
	expect(t, r.post("tok"), 200, "OK")
	r.clock.Advance(time.Second)
	assert.Equal(t, 1, r.round(t, stmigrate.RevocationConfig{}))
	r.clock.Advance(999 * time.Millisecond)
	assert.Zero(t, r.round(t, stmigrate.RevocationConfig{}))
	r.clock.Advance(2 * time.Millisecond)
	assert.Equal(t, 1, r.round(t, stmigrate.RevocationConfig{}))
}

// TestWhatIsOwedOutlivesItsToken: a token of a few minutes may stand for a session, which the Revoker ends, of months.
func TestWhatIsOwedOutlivesItsToken(t *testing.T) {
	t.Parallel()
	for name, after := range map[string]time.Duration{
		"deferred": 7 * 24 * time.Hour, "deferred for long": 40 * 24 * time.Hour, "backlog": time.Second,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(c *stmigrate.Config) { c.RevokeAfter = after })
			r.add("tok", "user-1", "", "jti-1")
			expect(t, r.post("tok"), 200, "OK")
			r.clock.Advance(after + 2*24*time.Hour)
			assert.Equal(t, 1, r.round(t, stmigrate.RevocationConfig{}))
			assert.Equal(t, []string{"tok"}, r.revoked)
		})
	}
}

// TestRequestThatIsToldToWait: what a provider tells a request holds for the workers, too.
func TestRequestThatIsToldToWait(t *testing.T) {
	t.Parallel()
	secrets := func(c *stmigrate.Config) { c.Secrets = [][]byte{bytes.Repeat([]byte("s"), 32)} }
	r := newRig(t, secrets, revoker(func(context.Context, string, *stmigrate.OldSession) error {
		return &stmigrate.RevokeError{RetryAfter: 10 * time.Minute}
	}))
	other := newRig(t, secrets, soon, func(c *stmigrate.Config) { c.Exchanges, c.Now = r.store, r.clock.Now })
	r.add("tok", "user-1", "sid-1", "")
	expect(t, r.post("tok"), 200, "OK")
	assert.Equal(t, []string{"failed"}, r.outcomes("revoke"))
	other.add("another", "user-2", "sid-2", "")
	expect(t, other.post("another"), 200, "OK")
	r.clock.Advance(10*time.Minute - time.Second)
	assert.Zero(t, other.round(t, stmigrate.RevocationConfig{}))
	r.clock.Advance(2 * time.Second)
	assert.Equal(t, 2, other.round(t, stmigrate.RevocationConfig{}))
}
