package stmigratetest

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
)

// testClock is a clock that only advances by hand.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func memoryUnderTest() (*stmigrate.MemoryExchanges, *testClock) {
	clock := &testClock{now: time.Now()}
	m := stmigrate.NewMemoryExchanges(1000)
	m.UseClock(clock.Now)
	return m, clock
}

func TestMemoryExchanges(t *testing.T) {
	t.Parallel()
	TestExchangeStore(t, func(*testing.T) StoreUnderTest {
		m, clock := memoryUnderTest()
		return StoreUnderTest{Store: m, Advance: clock.Advance}
	})
}

// TestMemoryExchangesInRealTime shows that the suite holds without a hand on the clock.
func TestMemoryExchangesInRealTime(t *testing.T) {
	t.Parallel()
	TestExchangeStore(t, func(t *testing.T) StoreUnderTest {
		t.Parallel()
		return StoreUnderTest{Store: stmigrate.NewMemoryExchanges(1000)}
	})
}

// TestSlowMachine: what a real clock says is not the store's fault where the machine was too slow, and is where it was not.
func TestSlowMachine(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := stmigrate.NewMemoryExchanges(1000)
		var lag time.Duration
		store := &brokenStore{MemoryExchanges: m, claim: func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
			time.Sleep(lag)
			return m.Claim(ctx, c)
		}}
		i := slices.IndexFunc(exchangeStoreChecks, func(c check[StoreUnderTest]) bool { return c.name == "nobody else holds it while the lease runs" })
		try := func(unit time.Duration) (bool, error) {
			m = stmigrate.NewMemoryExchanges(1000)
			return StoreUnderTest{Store: store}.at(t.Context(), exchangeStoreChecks[i], unit)
		}
		late, err := try(quickest)
		require.NoError(t, err)
		assert.False(t, late)

		lag = 3 * time.Second
		late, err = try(quickest)
		require.ErrorContains(t, err, "got ClaimHeld")
		assert.True(t, late)
		_, err = try(slowest)
		require.NoError(t, err)

		lag = 0
		store.claim = func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
			c.Lease = 0
			return m.Claim(ctx, c)
		}
		late, err = try(quickest)
		require.ErrorContains(t, err, "got ClaimHeld")
		assert.False(t, late, "the store's own fault")
	})
}

// TestSlowRacyStore: no machine is so slow that two may hold one claim, so a store that lets them is given no second try.
func TestSlowRacyStore(t *testing.T) {
	t.Parallel()
	for want, name := range map[string]string{
		"32 of 32 hold the claim": "of many at once one holds it",
		"was handed out":          "of many who ask at once each is given something else",
		"160 calls of 10":         "all callers share it",
	} {
		all := slices.Concat(exchangeStoreChecks, optionalStoreChecks)
		c := all[slices.IndexFunc(all, func(c check[StoreUnderTest]) bool { return strings.HasSuffix(c.name, name) })]
		synctest.Test(t, func(t *testing.T) {
			late, err := StoreUnderTest{Store: racyStore{stmigrate.NewMemoryExchanges(1000)}}.at(t.Context(), c, quickest)
			require.ErrorContains(t, err, want)
			assert.False(t, late, c.name)
		})
	}
}

// racyStore is slow, and has for everybody what is for one.
type racyStore struct{ *stmigrate.MemoryExchanges }

func (s racyStore) Claim(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
	time.Sleep(quickest)
	got, err := s.MemoryExchanges.Claim(ctx, c)
	got.State = stmigrate.ClaimHeld
	return got, err
}

func (s racyStore) DueRevocations(ctx context.Context, max int, _ time.Duration) ([]stmigrate.DueRevocation, error) {
	time.Sleep(quickest)
	return s.MemoryExchanges.DueRevocations(ctx, max, 1)
}

func (s racyStore) TakeBudget(context.Context, string, int, stmigrate.RevocationBudget) (int, time.Duration, error) {
	time.Sleep(quickest)
	return 10, 0, nil
}

// brokenStore wraps a good store; a nil field passes through.
type brokenStore struct {
	*stmigrate.MemoryExchanges
	claim   func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error)
	finish  func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error
	release func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, suspect bool) error
}

func (s *brokenStore) Claim(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
	if s.claim != nil {
		return s.claim(ctx, c)
	}
	return s.MemoryExchanges.Claim(ctx, c)
}

func (s *brokenStore) Finish(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
	if s.finish != nil {
		return s.finish(ctx, key, fence, f)
	}
	return s.MemoryExchanges.Finish(ctx, key, fence, f)
}

func (s *brokenStore) Release(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, suspect bool) error {
	if s.release != nil {
		return s.release(ctx, key, fence, suspect)
	}
	return s.MemoryExchanges.Release(ctx, key, fence, suspect)
}

// brokenStores are ways to get it wrong, each with checks that must notice.
var brokenStores = map[string]struct {
	store   func(m *stmigrate.MemoryExchanges, clock *testClock) stmigrate.ExchangeStore
	noticed []string
}{
	"no fence": {func(m *stmigrate.MemoryExchanges, _ *testClock) stmigrate.ExchangeStore {
		held := map[stmigrate.ExchangeKey]stmigrate.Fence{}
		return &brokenStore{MemoryExchanges: m,
			claim: func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
				got, err := m.Claim(ctx, c)
				if got.State == stmigrate.ClaimHeld {
					held[c.Key] = c.Fence
				}
				return got, err
			},
			finish: func(ctx context.Context, key stmigrate.ExchangeKey, _ stmigrate.Fence, f stmigrate.Finished) error {
				return m.Finish(ctx, key, held[key], f)
			},
		}
	}, []string{"who was taken over can neither finish nor release", "a fence is a secret and not a number"}},

	"counting fence": {func(m *stmigrate.MemoryExchanges, _ *testClock) stmigrate.ExchangeStore {
		count := map[stmigrate.ExchangeKey]uint64{}
		number := func(key stmigrate.ExchangeKey) (f stmigrate.Fence) {
			binary.BigEndian.PutUint64(f[8:], count[key])
			return f
		}
		return &brokenStore{MemoryExchanges: m,
			claim: func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
				count[c.Key]++
				c.Fence = number(c.Key)
				return m.Claim(ctx, c)
			},
			finish: func(ctx context.Context, key stmigrate.ExchangeKey, _ stmigrate.Fence, f stmigrate.Finished) error {
				return m.Finish(ctx, key, number(key), f)
			},
		}
	}, []string{"a free key is held, and held again with the same fence", "a fence is a secret and not a number"}},

	"node's clock": {func(_ *stmigrate.MemoryExchanges, _ *testClock) stmigrate.ExchangeStore {
		return stmigrate.NewMemoryExchanges(1000)
	}, []string{"an expired lease is taken over, suspect, with the earlier user", "the sealed answer is erased in time"}},

	"entry deleted on a suspect release": {func(m *stmigrate.MemoryExchanges, _ *testClock) stmigrate.ExchangeStore {
		return &brokenStore{MemoryExchanges: m,
			release: func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, _ bool) error {
				return m.Release(ctx, key, fence, false)
			},
		}
	}, []string{"a suspect release leaves the suspicion"}},

	"two holders": {func(m *stmigrate.MemoryExchanges, _ *testClock) stmigrate.ExchangeStore {
		return &brokenStore{MemoryExchanges: m,
			claim: func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
				got, err := m.Claim(ctx, c)
				if got.State == stmigrate.ClaimBusy {
					got.State = stmigrate.ClaimHeld
				}
				return got, err
			},
		}
	}, []string{"nobody else holds it while the lease runs", "of many at once one holds it"}},

	"sealed answer after its time": {func(m *stmigrate.MemoryExchanges, _ *testClock) stmigrate.ExchangeStore {
		return &brokenStore{MemoryExchanges: m,
			finish: func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
				f.SealedFor = f.KeepFor
				return m.Finish(ctx, key, fence, f)
			},
		}
	}, []string{"the sealed answer is erased in time"}},

	"eviction before KeepFor": {func(m *stmigrate.MemoryExchanges, _ *testClock) stmigrate.ExchangeStore {
		return &brokenStore{MemoryExchanges: m,
			finish: func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
				f.KeepFor = min(f.KeepFor, f.SealedFor)
				return m.Finish(ctx, key, fence, f)
			},
		}
	}, []string{"nothing is forgotten before its time"}},

	"KeepFor of the claim": {func(m *stmigrate.MemoryExchanges, _ *testClock) stmigrate.ExchangeStore {
		claimed := map[stmigrate.ExchangeKey]time.Duration{}
		return &brokenStore{MemoryExchanges: m,
			claim: func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
				got, err := m.Claim(ctx, c)
				if got.State == stmigrate.ClaimHeld {
					claimed[c.Key] = c.KeepFor
				}
				return got, err
			},
			finish: func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
				f.KeepFor = min(f.KeepFor, claimed[key])
				return m.Finish(ctx, key, fence, f)
			},
		}
	}, []string{"nothing is forgotten before its time"}},

	"Finish that cannot be repeated": {func(m *stmigrate.MemoryExchanges, _ *testClock) stmigrate.ExchangeStore {
		done := map[stmigrate.ExchangeKey]bool{}
		return &brokenStore{MemoryExchanges: m,
			finish: func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
				if done[key] {
					return stmigrate.ErrClaimLost
				}
				err := m.Finish(ctx, key, fence, f)
				done[key] = err == nil
				return err
			},
		}
	}, []string{"a finish can be repeated, and changes nothing then"}},

	"Finish that overwrites": {func(m *stmigrate.MemoryExchanges, clock *testClock) stmigrate.ExchangeStore {
		claims := map[stmigrate.ExchangeKey]stmigrate.Claim{}
		return &brokenStore{MemoryExchanges: m,
			claim: func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
				got, err := m.Claim(ctx, c)
				if got.State == stmigrate.ClaimHeld {
					claims[c.Key] = c
				}
				return got, err
			},
			finish: func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
				if c := claims[key]; c.Fence == fence && m.ForgetExchange(ctx, key, fence) == nil {
					_, _ = m.Claim(ctx, c)
				}
				return m.Finish(ctx, key, fence, f)
			},
		}
	}, []string{"a finish can be repeated, and changes nothing then"}},

	"lease in whole hours": {func(m *stmigrate.MemoryExchanges, _ *testClock) stmigrate.ExchangeStore {
		return &brokenStore{MemoryExchanges: m, claim: func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
			got, err := m.Claim(ctx, c)
			if c.Lease = c.Lease.Truncate(time.Hour) + 1; got.State == stmigrate.ClaimHeld {
				got, err = m.Claim(ctx, c)
			}
			return got, err
		}}
	}, []string{"nobody else holds it while the lease runs"}},

	"keys as text": {func(m *stmigrate.MemoryExchanges, _ *testClock) stmigrate.ExchangeStore {
		text := func(k stmigrate.ExchangeKey) (out stmigrate.ExchangeKey) {
			s, _, _ := strings.Cut(string(k[:]), "\x00")
			copy(out[:], s)
			return out
		}
		return &brokenStore{MemoryExchanges: m,
			claim: func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
				c.Key = text(c.Key)
				return m.Claim(ctx, c)
			},
			finish: func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
				return m.Finish(ctx, text(key), fence, f)
			},
			release: func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, suspect bool) error {
				return m.Release(ctx, text(key), fence, suspect)
			},
		}
	}, []string{"every byte of a key counts"}},

	"the asker's user": {func(m *stmigrate.MemoryExchanges, _ *testClock) stmigrate.ExchangeStore {
		return &brokenStore{MemoryExchanges: m, claim: func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
			got, err := m.Claim(ctx, c)
			if got.State == stmigrate.ClaimDone {
				got.User = c.User
			}
			return got, err
		}}
	}, []string{"what was finished is told to everybody"}},
}

// TestExchangeStoreNoticesBrokenStores: a suite that cannot fail proves nothing.
func TestExchangeStoreNoticesBrokenStores(t *testing.T) {
	t.Parallel()
	for name, broken := range brokenStores {
		t.Run(name, func(t *testing.T) {
			var mu sync.Mutex
			failed := failing(t.Context(), exchangeStoreChecks, func() StoreUnderTest {
				m, clock := memoryUnderTest()
				return StoreUnderTest{Store: &serialStore{mu: &mu, ExchangeStore: broken.store(m, clock)}, Advance: clock.Advance}
			})
			for _, want := range broken.noticed {
				assert.Contains(t, failed, want)
			}
			assert.Less(t, len(failed), len(exchangeStoreChecks), "what is not broken passes")
		})
	}
}

// failing returns the names of the checks that find something wrong.
func failing[T any](ctx context.Context, checks []check[T], open func() T) (names []string) {
	for _, c := range checks {
		if err := c.run(ctx, open()); err != nil && !errors.Is(err, errOptional) {
			names = append(names, c.name)
		}
	}
	return slices.Clip(names)
}

// serialStore keeps the maps of broken stores out of the race detector's way.
type serialStore struct {
	mu *sync.Mutex
	stmigrate.ExchangeStore
}

func (s *serialStore) Claim(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ExchangeStore.Claim(ctx, c)
}

func (s *serialStore) Finish(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ExchangeStore.Finish(ctx, key, fence, f)
}
