package stmigrate

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWithoutToken(t *testing.T) {
	t.Parallel()
	token := "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyLTEifQ.c2lnbmF0dXJlLWJ5dGVz"
	cause := errors.New("it is " + token)
	assert.NotErrorIs(t, withoutToken(cause, token), cause, "nor by unwrapping")
	harmless := errors.New("it is late")
	assert.ErrorIs(t, withoutToken(harmless, token), harmless)
	assert.Less(t, len(withoutToken(errors.New(strings.Repeat("x", 1<<20)), token).Error()), 2100)
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	cfg, err := RevocationConfig{Jitter: func() float64 { return 1 }}.check()
	require.NoError(t, err)
	boom := errors.New("boom")
	for attempt, want := range map[int]time.Duration{
		1: 10 * time.Second, 2: 20 * time.Second, 3: 40 * time.Second, 9: 2560 * time.Second, 10: time.Hour, 19: time.Hour, 20: 0, 1000: 0,
	} {
		assert.Equal(t, verdict{retry: want, reason: "failed"}, cfg.judge(t.Context(), boom, attempt), attempt)
	}
	cfg.Jitter = func() float64 { return 0 }
	assert.Equal(t, time.Millisecond, cfg.judge(t.Context(), boom, 1).retry, "never 0, which would be dead")
	for _, tt := range []struct {
		err  error
		want verdict
	}{
		{&RevokeError{RetryAfter: time.Minute}, verdict{retry: time.Minute, pause: time.Minute}},
		{&RevokeError{RetryAfter: 1000 * time.Hour}, verdict{retry: 24 * time.Hour, pause: 24 * time.Hour}},
		{&RevokeError{RetryAfter: time.Minute, Permanent: true}, verdict{reason: "failed"}},
		{&RevokeError{RetryAfter: -1}, verdict{retry: time.Millisecond, reason: "failed"}},
		{&RevokeError{Err: boom}, verdict{retry: time.Millisecond, reason: "failed"}},
	} {
		assert.Equal(t, tt.want, cfg.judge(t.Context(), tt.err, 1))
		assert.NotEmpty(t, tt.err.Error())
	}
	short, err := RevocationConfig{MinBackoff: time.Hour, MaxBackoff: time.Minute, Jitter: func() float64 { return 1 }}.check()
	require.NoError(t, err)
	assert.Equal(t, time.Minute, short.judge(t.Context(), boom, 1).retry, "never more than MaxBackoff")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Equal(t, verdict{retry: time.Millisecond}, cfg.judge(ctx, boom, 100), "cancelled by us")
}

func TestRevocationConfigBounds(t *testing.T) {
	t.Parallel()
	budget := func(calls int, per time.Duration) RevocationConfig {
		return RevocationConfig{Budgets: map[string]RevocationBudget{"https://legacy.test/": {Calls: calls, Per: per}}}
	}
	for _, tt := range []struct {
		cfg  RevocationConfig
		want string // "": good
	}{
		{RevocationConfig{Workers: 1000}, ""},
		{RevocationConfig{Workers: 1001}, "Workers is 1001; 1 to 1000 expected"},
		{RevocationConfig{Batch: 10_000}, ""},
		{RevocationConfig{Batch: 10_001}, "Batch is 10001; 1 to 10000 expected"},
		{RevocationConfig{MaxAttempts: 1_000_000}, ""},
		{RevocationConfig{MaxAttempts: 1_000_001}, "MaxAttempts is 1000001; 1 to 1000000 expected"},
		{RevocationConfig{Batch: 5, Lease: 30 * time.Second}, ""},
		{RevocationConfig{Batch: 5, Lease: 30*time.Second - 1}, "a batch may take 30s"},
		{budget(1, 1), ""},
		{budget(0, 1), "lets nothing through"},
		{budget(1, 0), "lets nothing through"},
	} {
		_, err := tt.cfg.check()
		if tt.want == "" {
			assert.NoError(t, err)
		} else {
			assert.ErrorContains(t, err, tt.want)
		}
	}
	assert.Equal(t, 50*time.Second, defaultRevocations.Lease, "4 turns of 4 workers, and one to spare")
}

func TestCut(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "abcd", cut("abcd", 4))
	assert.Equal(t, "abcd ...", cut("abcde", 4))
	assert.Equal(t, "abc ...", cut("abc\u00e9", 4), "no half of a character")
}

// budgets answers as it is told, and is no other store.
type budgets struct {
	RevocationOutbox
	got  int
	wait time.Duration
	err  error
}

func (b budgets) TakeBudget(context.Context, string, int, RevocationBudget) (int, time.Duration, error) {
	return b.got, b.wait, b.err
}

func (budgets) PauseBudget(context.Context, string, time.Duration) error { return nil }

// TestTakeBudget: whatever the store says, no more is asked of the provider than it leaves, and nothing is asked without end.
func TestTakeBudget(t *testing.T) {
	t.Parallel()
	const ms = time.Millisecond
	perMinute, tiny := RevocationBudget{Calls: 60, Per: time.Minute}, RevocationBudget{Calls: 2, Per: 1}
	for name, tt := range map[string]struct {
		store   budgets
		budget  RevocationBudget
		putBack []time.Duration
		wait    time.Duration
	}{
		"all":             {budgets{got: 3}, perMinute, []time.Duration{0, 0, 0}, 0},
		"one":             {budgets{got: 1, wait: 5 * time.Second}, perMinute, []time.Duration{0, 5 * time.Second, 6 * time.Second}, 5 * time.Second},
		"none, no wait":   {budgets{}, perMinute, []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}, time.Second},
		"none, ever":      {budgets{}, tiny, []time.Duration{ms, ms, ms}, ms},
		"less than none":  {budgets{got: -1, wait: time.Second}, tiny, []time.Duration{time.Second, time.Second, time.Second}, time.Second},
		"more than asked": {budgets{got: 4}, perMinute, []time.Duration{0, 0, 0}, 0},
		"an error":        {budgets{got: 3, err: errors.New("down")}, tiny, []time.Duration{9 * time.Second, 9 * time.Second, 9 * time.Second}, 9 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, jobs := &Migrator{outbox: tt.store}, []*dueJob{{}, {}, {}}
			cfg := RevocationConfig{Poll: 9 * time.Second, Timeout: time.Second, Budgets: map[string]RevocationBudget{"i": tt.budget}}
			wait, err := m.takeBudget(t.Context(), cfg, "i", jobs)
			assert.Equal(t, tt.store.err != nil, err != nil)
			assert.Equal(t, tt.wait, wait)
			assert.Equal(t, tt.putBack, []time.Duration{jobs[0].putBack, jobs[1].putBack, jobs[2].putBack})
		})
	}
}

func TestSealOwed(t *testing.T) {
	t.Parallel()
	v := vault{[][]byte{bytes.Repeat([]byte("a"), 32)}}
	at := time.UnixMilli(1795262900000)
	o := &owed{token: "a-token-of-32-bytes-and-some-more", kind: "sid", at: at, session: &OldSession{
		Issuer: "https://legacy.example.com/", Subject: "user-1", SessionID: "sid-1", ExpiresAt: at, acceptedUntil: at.Add(time.Minute),
		Claims: map[string]any{"name": "Ada Lovelace"},
	}}
	h := sealHeader{key: ExchangeKey{1}, shown: ExchangeKey{2}, fence: Fence{3}}
	sealed, err := v.sealOwed(useRevocation, o, h)
	require.NoError(t, err)
	for _, word := range []string{"a-token", "user-1", "sid-1", "Ada Lovelace"} {
		assert.NotContains(t, string(sealed), word)
	}
	got, gotHeader, err := v.openOwed(useRevocation, sealed)
	require.NoError(t, err)
	assert.Equal(t, o, got)
	assert.Equal(t, h, gotHeader)

	_, _, err = v.openOwed("note", sealed)
	require.ErrorIs(t, err, errSeal, "another use")
	_, err = v.open(sealed, useRevocation)
	require.ErrorIs(t, err, errSeal, "an answer")
	for i := range sealed {
		broken := bytes.Clone(sealed)
		broken[i] ^= 1
		if _, _, err := v.openOwed(useRevocation, broken); err == nil {
			t.Fatalf("byte %d may be changed", i)
		}
	}
	_, err = parseOwed(append(o.append(nil, nil), 0))
	require.ErrorIs(t, err, errSeal, "something behind it")
	o.session.Claims["broken"] = make(chan int)
	_, err = v.sealOwed(useRevocation, o, h)
	require.ErrorContains(t, err, "OldSession.Claims")
}

// FuzzOwed: whatever is read is read again as it was.
func FuzzOwed(f *testing.F) {
	at := time.UnixMilli(1795262900000)
	o := &owed{token: "token", kind: "jti", at: at, session: &OldSession{Issuer: "i", Subject: "s", TenantID: "t", TokenID: "j", IssuedAt: at}}
	f.Add(o.append(nil, nil), []byte(nil))
	f.Add(o.append(nil, []byte(`{"a":1e400,"b":[null]}`)), []byte(`{"a":1}`))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 2, '{', '}', 0, 0, 0, 0, 0}, []byte(`{}`))
	f.Fuzz(func(t *testing.T, data, claims []byte) {
		o, err := parseOwed(data)
		if err != nil {
			return
		}
		o.session.Claims = nil
		again, err := parseOwed(o.append(nil, nil))
		require.NoError(t, err)
		assert.Equal(t, o, again)
		if again, err := parseOwed(o.append(nil, claims)); err == nil && len(claims) == 0 {
			assert.Equal(t, o, again)
		}
	})
}
