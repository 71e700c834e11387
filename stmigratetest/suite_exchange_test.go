package stmigratetest

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"testing"
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

// brokenStores are eight ways to get it wrong, each with checks that must notice.
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
}

// TestExchangeStoreNoticesBrokenStores: a suite that cannot fail proves nothing.
func TestExchangeStoreNoticesBrokenStores(t *testing.T) {
	t.Parallel()
	require.Len(t, brokenStores, 8)
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
