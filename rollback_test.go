package stmigrate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// epoch is a rollout that can be taken back. That waits for a lease, so its tests have a time of their own.
func epoch(name string) func(*stmigrate.Config) {
	return func(c *stmigrate.Config) { c.Epoch, c.RevokeAfter = name, 7*24*time.Hour }
}

// next is another rollout on r's store, sessions and legacy users.
func (r *rig) next(t *testing.T, name string) *rig {
	t.Helper()
	n := newRig(t, epoch(name), func(c *stmigrate.Config) {
		c.Verifier, c.Sessions, c.Exchanges, c.Now = r.verifier, r.sessions, r.store, r.clock.Now
	})
	n.verifier, n.sessions, n.store, n.clock = r.verifier, r.sessions, r.store, r.clock
	return n
}

func notMinted(t *testing.T, r *rig, token string) {
	t.Helper()
	w := r.post(token)
	assert.Equal(t, http.StatusNoContent, w.Code, w.Body.String())
	assert.Empty(t, stmigratetest.AccessTokens(w.Header()))
	assert.Empty(t, w.Header().Values("Set-Cookie"))
}

// TestRollback: everybody is back at the legacy system, and can be migrated again.
func TestRollback(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, epoch("one"))
		const n = 20
		token := func(i int) string { return fmt.Sprint("tok", i) }
		for i := range n {
			r.add(token(i), fmt.Sprint("user", i), token(i), "")
			expect(t, r.post(token(i)), 200, "OK")
		}
		signedOut := r.sessions.Live()[0].Handle
		_, err := r.sessions.RevokeSession(t.Context(), signedOut)
		require.NoError(t, err)
		other := r.next(t, "other")
		other.add("elsewhere", "user-x", "sid-x", "")
		expect(t, other.post("elsewhere"), 200, "OK")
		r.clock.Advance(3 * time.Minute)
		h := either(r)
		refused := ask(h, http.MethodGet, "Authorization", "Bearer "+token(1))
		require.Equal(t, 401, refused.Code, "exchanged, and its grace is over")

		start := time.Now()
		got, err := r.Rollback(t.Context(), "one")
		require.NoError(t, err)
		assert.Equal(t, 45*time.Second, time.Since(start), "a lease and a half")
		assert.Equal(t, stmigrate.RolledBack{Revoked: n - 1, AlreadyOver: 1}, got)
		live := r.sessions.Live()
		require.Len(t, live, 1)
		assert.Equal(t, "user-x", live[0].UserID, "another rollout's")
		for i := range n {
			notMinted(t, r, token(i))
			assert.Equal(t, 200, ask(h, http.MethodGet, "Authorization", "Bearer "+token(i)).Code, "good at APIs again")
		}
		assert.Contains(t, r.outcomes("exchange"), "rolled_back")
		got, err = r.Rollback(t.Context(), "one")
		require.NoError(t, err)
		assert.Zero(t, got, "nothing is left to do")

		r.clock.Advance(7 * 24 * time.Hour)
		assert.Equal(t, 1, other.round(t, stmigrate.RevocationConfig{}), "only what the other rollout owes")
		assert.Equal(t, []string{"elsewhere"}, other.revoked)

		two := r.next(t, "two")
		for i := range n {
			r.add(token(i), fmt.Sprint("user", i), token(i), "")
			expect(t, two.post(token(i)), 200, "OK")
			notMinted(t, r, token(i))
		}
		assert.Len(t, r.sessions.Live(), n+1)
	})
}

func TestRollbackThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := new(failingRevoke)
		r := newRig(t, epoch("one"), func(c *stmigrate.Config) {
			broken.FakeSessions = c.Sessions.(*stmigratetest.FakeSessions)
			c.Sessions = broken
		})
		for _, token := range []string{"a", "b", "c"} {
			r.add(token, "user-"+token, token, "")
			expect(t, r.post(token), 200, "OK")
		}
		broken.fails.Store(1)
		got, err := r.Rollback(t.Context(), "one")
		require.NoError(t, err, "the second time round it works")
		assert.Equal(t, stmigrate.RolledBack{Revoked: 3}, got)

		r = newRig(t, epoch("one"), func(c *stmigrate.Config) {
			broken.FakeSessions = c.Sessions.(*stmigratetest.FakeSessions)
			c.Sessions = broken
		})
		for _, token := range []string{"a", "b", "c"} {
			r.add(token, "user-"+token, token, "")
			expect(t, r.post(token), 200, "OK")
		}
		broken.fails.Store(1000)
		got, err = r.Rollback(t.Context(), "one")
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		assert.Equal(t, stmigrate.RolledBack{Failed: 3}, got)
		assert.Equal(t, 3, r.store.Len(), "an exchange whose session lives is not forgotten")
		notMinted(t, r, "a")
		broken.fails.Store(0)
		got, err = r.Rollback(t.Context(), "one")
		require.NoError(t, err)
		assert.Equal(t, stmigrate.RolledBack{Revoked: 3}, got)
		assert.Zero(t, r.store.Len())
	})
}

// TestRollbackOfWhatIsUnderWay: an exchange that was claimed before the epoch was closed is finished, and taken back.
func TestRollbackOfWhatIsUnderWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		minting, closed := make(chan struct{}), make(chan struct{})
		store := new(countingStore)
		r := newRig(t, counted(store), epoch("one"))
		r.sessions.BeforeCreate = func(context.Context, stmigrate.User) error {
			close(minting)
			<-closed
			return nil
		}
		r.add("tok", "user-1", "sid-1", "")
		code := make(chan int)
		go func() { code <- r.post("tok").Code }()
		<-minting
		require.NoError(t, store.CloseEpoch(t.Context(), "one"))
		ended := make(chan error)
		var got stmigrate.RolledBack
		go func() {
			var err error
			got, err = r.Rollback(t.Context(), "one")
			ended <- err
		}()
		time.Sleep(8 * time.Second) // near the end of what a mint may take
		close(closed)
		assert.Equal(t, 200, <-code)
		require.NoError(t, <-ended)
		assert.Equal(t, stmigrate.RolledBack{Revoked: 1}, got)
		assert.Empty(t, r.sessions.Live())
	})
}

func TestRollbackThatIsCutShort(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, epoch("one"))
		r.add("tok", "user-1", "sid-1", "")
		expect(t, r.post("tok"), 200, "OK")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got, err := r.Rollback(ctx, "one")
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, stmigrate.RolledBack{Revoked: 1}, got)
		notMinted(t, r, "tok")
	})
}

// TestRollbackSweepsOrphans: of the closed epoch, too, which nobody can claim any more.
func TestRollbackSweepsOrphans(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, epoch("one"))
		r.add("tok", "user-1", "sid-1", "")
		r.orphan(t, "tok")
		r.clock.Advance(time.Minute)
		_, err := r.Rollback(t.Context(), "one")
		require.NoError(t, err)
		assert.Empty(t, r.sessions.Live())
		assert.Zero(t, r.store.Len())
	})
}

func TestRollbackIsRefused(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	_, err := r.Rollback(t.Context(), "")
	require.ErrorContains(t, err, "set Config.Epoch")
	r = newRig(t, func(c *stmigrate.Config) {
		c.Exchanges, c.Secrets = anyEpoch{c.Exchanges.(*stmigrate.MemoryExchanges)}, [][]byte{make([]byte, 32)}
	})
	_, err = r.Rollback(t.Context(), "")
	require.ErrorContains(t, err, "set Config.Epoch", "whatever the store thinks of that")
	r = newRig(t, counted(new(countingStore)), func(c *stmigrate.Config) {
		c.Exchanges = struct{ stmigrate.ExchangeStore }{c.Exchanges}
	})
	_, err = r.Rollback(t.Context(), "one")
	require.ErrorIs(t, err, stmigrate.ErrUnsupported)
	assert.False(t, errors.Is(err, stmigrate.ErrUnavailable))
}

// TestRollbackSweepsAll: also past a claim that somebody else takes first.
func TestRollbackSweepsAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := new(countingStore)
		r := newRig(t, counted(store), epoch("one"))
		const n = 150
		for i := range n {
			token := fmt.Sprint("tok", i)
			r.add(token, token, token, "")
			r.orphan(t, token)
			r.clock.Advance(time.Millisecond)
		}
		r.clock.Advance(time.Minute)
		claims, err := store.AbandonedClaims(t.Context(), 0, 1)
		require.NoError(t, err)
		require.Len(t, claims, 1)
		var once atomic.Bool
		store.hook = func(call string) error {
			if call != "claim" || once.Swap(true) {
				return nil
			}
			other := claims[0]
			other.Fence, other.Epoch, other.Lease = stmigrate.Fence{1}, "", time.Hour
			_, err := store.MemoryExchanges.Claim(t.Context(), other)
			return err
		}
		_, err = r.Rollback(t.Context(), "one")
		require.NoError(t, err)
		assert.Len(t, r.sessions.Live(), 1, "the other's")
	})
}

// TestRollbackOfShortTokens: what was exchanged is known for longer than its token was good.
func TestRollbackOfShortTokens(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, epoch("one"))
		r.add("tok", "user-1", "", "jti-1")
		expect(t, r.post("tok"), 200, "OK")
		r.clock.Advance(6 * 24 * time.Hour)
		got, err := r.Rollback(t.Context(), "one")
		require.NoError(t, err)
		assert.Equal(t, stmigrate.RolledBack{Revoked: 1}, got)
		assert.Empty(t, r.sessions.Live())
	})
}

// anyEpoch closes the epoch that is none, too.
type anyEpoch struct{ *stmigrate.MemoryExchanges }

func (anyEpoch) CloseEpoch(context.Context, string) error { return nil }

// brokenEpochs fails the first call for a page of an epoch's exchanges.
type brokenEpochs struct {
	*stmigrate.MemoryExchanges
	calls int
}

func (s *brokenEpochs) EpochExchanges(
	ctx context.Context, epoch string, after stmigrate.ExchangeKey, n int,
) ([]stmigrate.EpochExchange, error) {
	if s.calls++; s.calls == 1 {
		return nil, errors.New("connection refused")
	}
	return s.MemoryExchanges.EpochExchanges(ctx, epoch, after, n)
}

// TestRollbackOnAStoreThatFails says so at once, and not a lease and a half later.
func TestRollbackOnAStoreThatFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, epoch("one"), func(c *stmigrate.Config) {
			c.Exchanges = &brokenEpochs{MemoryExchanges: c.Exchanges.(*stmigrate.MemoryExchanges)}
			c.Secrets = [][]byte{make([]byte, 32)}
		})
		start := time.Now()
		_, err := r.Rollback(t.Context(), "one")
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		assert.Zero(t, time.Since(start))
		_, err = r.Rollback(t.Context(), "one")
		require.NoError(t, err)
	})
}

// hungRevoke never ends a session, nor says so, before its context is over.
type hungRevoke struct{ *stmigratetest.FakeSessions }

func (hungRevoke) RevokeSession(ctx context.Context, _ string) (bool, error) {
	<-ctx.Done()
	return false, ctx.Err()
}

// TestRollbackAndSweepOfSessionsThatHang: each of them has a lease, and no more.
func TestRollbackAndSweepOfSessionsThatHang(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		hangs := func(c *stmigrate.Config) { c.Sessions = hungRevoke{c.Sessions.(*stmigratetest.FakeSessions)} }
		r := newRig(t, epoch("one"), hangs)
		r.add("tok", "user-1", "sid-1", "")
		expect(t, r.post("tok"), 200, "OK")
		got, err := r.Rollback(ctx, "one")
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		require.NoError(t, ctx.Err())
		assert.Equal(t, stmigrate.RolledBack{Failed: 1}, got)

		r = newRig(t, hangs)
		r.add("tok", "user-1", "sid-1", "")
		r.orphan(t, "tok")
		r.clock.Advance(time.Minute)
		start := time.Now()
		_, err = r.SweepClaims(ctx)
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		assert.Less(t, time.Since(start), 30*time.Second, "its claim is another's by then")
	})
}

// TestRollbackWithoutAFinder, and of an exchange that has no session, asks no more of Config.Sessions than it needs.
func TestRollbackWithoutAFinder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, epoch("one"), func(c *stmigrate.Config) {
			c.Sessions = struct{ stmigrate.SessionMinter }{&watchedSessions{FakeSessions: c.Sessions.(*stmigratetest.FakeSessions)}}
		})
		claim := stmigrate.Claim{
			Key: stmigrate.ExchangeKey{1}, Fence: stmigrate.Fence{1}, Epoch: "one", Lease: time.Minute, KeepFor: 9 * 24 * time.Hour,
		}
		_, err := r.store.Claim(t.Context(), claim)
		require.NoError(t, err)
		require.NoError(t, r.store.Finish(t.Context(), claim.Key, claim.Fence, stmigrate.Finished{KeepFor: 9 * 24 * time.Hour}))
		got, err := r.Rollback(t.Context(), "one")
		require.NoError(t, err)
		assert.Equal(t, stmigrate.RolledBack{AlreadyOver: 1}, got)
	})
}
