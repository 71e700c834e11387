package stmigrate_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// orphan leaves a session behind that nobody was given: the holder's connection breaks after the mint.
func (r *rig) orphan(t *testing.T, token string) {
	t.Helper()
	r.sessions.AfterCreate = func(context.Context, stmigrate.User) error { return errors.New("connection reset") }
	expect(t, r.post(token), 503, "UNAVAILABLE")
	r.sessions.AfterCreate = nil
	require.NotEmpty(t, r.sessions.Live())
}

func (r *rig) sweep(t *testing.T) int {
	t.Helper()
	n, err := r.SweepClaims(t.Context())
	require.NoError(t, err)
	return n
}

// TestOrphanOfAClientThatNeverComesBack: it is dead within two leases.
func TestOrphanOfAClientThatNeverComesBack(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.add("tok", "user-1", "sid-1", "")
	r.add("other", "user-1", "sid-2", "")
	expect(t, r.post("other"), 200, "OK")
	given := r.sessions.Live()
	r.orphan(t, "tok")
	r.clock.Advance(38 * time.Second)
	assert.Zero(t, r.sweep(t), "what the holder set off may still come to life")
	r.clock.Advance(time.Second)
	assert.Equal(t, 1, r.sweep(t))
	assert.Equal(t, given, r.sessions.Live(), "the session that was given stays")
	assert.Equal(t, 1, r.store.Len(), "the claim is free")
	assert.Zero(t, r.sweep(t))
	expect(t, r.post("tok"), 200, "OK")
	assert.Len(t, r.sessions.Live(), 2)
}

// lateMinter creates its first session when something else has happened, whatever its context says, and may not hear of it.
type lateMinter struct {
	*stmigratetest.FakeSessions
	meanwhile func()
	lost      bool
}

func (m *lateMinter) CreateSession(ctx context.Context, r *http.Request, u stmigrate.User) (*stmigrate.Tokens, error) {
	meanwhile := m.meanwhile
	m.meanwhile = nil
	if meanwhile == nil {
		return m.FakeSessions.CreateSession(ctx, r, u)
	}
	meanwhile()
	tokens, err := m.FakeSessions.CreateSession(context.WithoutCancel(ctx), r, u)
	if m.lost {
		return nil, errors.New("connection reset")
	}
	return tokens, err
}

// TestMintThatComesTooLate: the session of a holder who stood still comes to life when the next one has looked for orphans and
// finished. Nobody would look again.
func TestMintThatComesTooLate(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			const lease = 30 * time.Second
			late := &lateMinter{lost: lost}
			var other *rig // another process
			r := newRig(t, func(c *stmigrate.Config) {
				late.FakeSessions = c.Sessions.(*stmigratetest.FakeSessions)
				c.Sessions, c.Lease, c.Secrets = late, lease, [][]byte{make([]byte, 32)}
				other = newRig(t, func(same *stmigrate.Config) { *same = *c })
			})
			r.add("tok", "user-1", "sid-1", "")
			var given []stmigratetest.FakeSession
			late.meanwhile = func() {
				time.Sleep(lease)
				r.clock.Advance(lease)
				expect(t, other.post("tok"), 200, "OK")
				given = r.sessions.Live()
			}
			expect(t, r.post("tok"), 503, "UNAVAILABLE")
			require.Len(t, given, 1)
			assert.Equal(t, given, r.sessions.Live())
		})
	}
}

// finishTimer notes how long a Finish may take.
type finishTimer struct {
	stmigrate.ExchangeStore
	left time.Duration
}

func (s *finishTimer) Finish(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
	deadline, _ := ctx.Deadline()
	s.left = time.Until(deadline)
	return s.ExchangeStore.Finish(ctx, key, fence, f)
}

// TestStepsEndWithTheClaim: a step that came late has what is left of the claim, whatever its own share is.
func TestStepsEndWithTheClaim(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const lease = 100 * time.Second
		late, store := new(lateMinter), new(finishTimer)
		r := newRig(t, func(c *stmigrate.Config) {
			late.FakeSessions, store.ExchangeStore = c.Sessions.(*stmigratetest.FakeSessions), c.Exchanges
			c.Sessions, c.Exchanges, c.Lease, c.Secrets = late, store, lease, [][]byte{make([]byte, 32)}
		})
		r.add("tok", "user-1", "sid-1", "")
		late.meanwhile = func() { time.Sleep(90 * time.Second) }
		expect(t, r.post("tok"), 200, "OK")
		assert.Equal(t, 5*time.Second, store.left)
		r.add("other", "user-1", "sid-2", "")
		expect(t, r.post("other"), 200, "OK")
		assert.Equal(t, 12*time.Second, store.left)
	})
}

// blindFinder does not see what is there until a session is minted.
type blindFinder struct{ *stmigratetest.FakeSessions }

func (f blindFinder) FindSessions(ctx context.Context, tenantID, userID, marker string) ([]string, error) {
	if f.Created() < 2 {
		return nil, nil
	}
	return f.FakeSessions.FindSessions(ctx, tenantID, userID, marker)
}

// TestOrphanThatComesLateToLife: what an earlier holder set off, and came to life after the first look, is found by the second.
func TestOrphanThatComesLateToLife(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *stmigrate.Config) { c.Sessions = blindFinder{c.Sessions.(*stmigratetest.FakeSessions)} })
	r.add("tok", "user-1", "sid-1", "")
	r.orphan(t, "tok")
	orphan := r.sessions.Live()[0].Handle
	r.clock.Advance(30 * time.Second)
	expect(t, r.post("tok"), 200, "OK")
	live := r.sessions.Live()
	require.Len(t, live, 1)
	assert.NotEqual(t, orphan, live[0].Handle, "the session that was given stays")
}

// TestOrphanOfAnotherUser: whom Config.Users names may change while a holder is gone; what it minted was the earlier one's.
func TestOrphanOfAnotherUser(t *testing.T) {
	t.Parallel()
	user := stmigrate.User{ID: "user-1"}
	r := newRig(t, func(c *stmigrate.Config) {
		c.Users = stmigrate.UserResolverFunc(func(context.Context, *stmigrate.OldSession) (*stmigrate.User, error) { return &user, nil })
	})
	r.add("tok", "legacy-1", "sid-1", "")
	r.orphan(t, "tok")
	user = stmigrate.User{ID: "user-2", TenantID: "t2"}
	r.clock.Advance(30 * time.Second)
	expect(t, r.post("tok"), 200, "OK")
	live := r.sessions.Live()
	require.Len(t, live, 1)
	assert.Equal(t, "user-2", live[0].UserID)
}

func TestSweepThatFails(t *testing.T) {
	t.Parallel()
	broken := new(failingRevoke)
	r := newRig(t, func(c *stmigrate.Config) {
		broken.FakeSessions = c.Sessions.(*stmigratetest.FakeSessions)
		c.Sessions = broken
	})
	r.add("tok", "user-1", "sid-1", "")
	r.orphan(t, "tok")
	broken.fails.Store(1)
	r.clock.Advance(40 * time.Second)
	_, err := r.SweepClaims(t.Context())
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	require.Len(t, r.sessions.Live(), 1)
	assert.Zero(t, r.sweep(t), "it was just looked at")
	broken.fails.Store(0)
	r.clock.Advance(9 * time.Second)
	assert.Equal(t, 1, r.sweep(t))
	assert.Empty(t, r.sessions.Live())
	assert.Zero(t, r.store.Len())
}

// TestSweeperAndClient: whoever comes first, one session is left.
func TestSweeperAndClient(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.add("tok", "user-1", "sid-1", "")
	r.orphan(t, "tok")
	r.clock.Advance(time.Minute)
	r.add("tok", "user-1", "sid-1", "")
	expect(t, r.post("tok"), 200, "OK")
	r.clock.Advance(time.Hour)
	assert.Zero(t, r.sweep(t))
	assert.Len(t, r.sessions.Live(), 1)
}

// TestSweeperAndAnotherWhoTakesTheClaimFirst: what is held or finished by now is not this sweep's, nor counted.
func TestSweeperAndAnotherWhoTakesTheClaimFirst(t *testing.T) {
	t.Parallel()
	for _, finish := range []bool{false, true} {
		store := new(countingStore)
		r := newRig(t, counted(store))
		r.add("tok", "user-1", "sid-1", "")
		r.orphan(t, "tok")
		r.clock.Advance(time.Minute)
		claims, err := store.AbandonedClaims(t.Context(), 0, 1)
		require.NoError(t, err)
		require.Len(t, claims, 1)
		other := claims[0]
		other.Fence, other.Lease, other.KeepFor = stmigrate.Fence{1}, time.Hour, time.Hour
		store.hook = func(call string) error {
			if call != "claim" {
				return nil
			}
			_, err := store.MemoryExchanges.Claim(t.Context(), other)
			if err == nil && finish {
				err = store.MemoryExchanges.Finish(t.Context(), other.Key, other.Fence, stmigrate.Finished{KeepFor: time.Hour})
			}
			return err
		}
		assert.Zero(t, r.sweep(t))
		assert.Len(t, r.sessions.Live(), 1, "whoever has it looks for orphans")
	}
}

// TestSweepOfTwoUsers: between the list and the claim another may have held it, for another user.
func TestSweepOfTwoUsers(t *testing.T) {
	t.Parallel()
	store := new(countingStore)
	user := stmigrate.User{ID: "user-1"}
	r := newRig(t, counted(store), func(c *stmigrate.Config) {
		c.Users = stmigrate.UserResolverFunc(func(context.Context, *stmigrate.OldSession) (*stmigrate.User, error) { return &user, nil })
	})
	r.add("tok", "legacy-1", "sid-1", "")
	r.orphan(t, "tok")
	r.clock.Advance(time.Minute)
	earlier, err := store.AbandonedClaims(t.Context(), 0, 1)
	require.NoError(t, err)
	require.Len(t, earlier, 1)
	listed := false
	store.hook = func(call string) error {
		if call == "claim" && !listed {
			listed = true
			other := earlier[0]
			other.User, other.Fence, other.Lease, other.KeepFor = "public|user-2", stmigrate.Fence{1}, time.Minute, time.Hour
			if _, err := store.MemoryExchanges.Claim(t.Context(), other); err != nil {
				return err
			}
			return store.MemoryExchanges.Release(t.Context(), other.Key, other.Fence, true)
		}
		return nil
	}
	assert.Equal(t, 1, r.sweep(t))
	assert.Empty(t, r.sessions.Live(), "the one that was listed")
}

// watchedSessions tells of each session that is revoked.
type watchedSessions struct {
	*stmigratetest.FakeSessions
	revoked chan string
}

func (s *watchedSessions) RevokeSession(ctx context.Context, handle string) (bool, error) {
	defer func() { s.revoked <- handle }()
	return s.FakeSessions.RevokeSession(ctx, handle)
}

func TestWorkerSweeps(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		watched := &watchedSessions{revoked: make(chan string, 1)}
		r := newRig(t, func(c *stmigrate.Config) {
			watched.FakeSessions = c.Sessions.(*stmigratetest.FakeSessions)
			c.Sessions = watched
		})
		r.add("tok", "user-1", "sid-1", "")
		r.orphan(t, "tok")
		orphan := r.sessions.Live()[0].Handle
		r.clock.Advance(time.Minute)
		r.start(t, stmigrate.RevocationConfig{})
		select {
		case handle := <-watched.revoked:
			assert.Equal(t, orphan, handle)
		case <-time.After(time.Minute):
			t.Error("nothing is swept")
		}
	})
}

// TestPaceOfASweeper: an orphan is dead within two leases, whenever it is left.
func TestPaceOfASweeper(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		store := new(countingStore)
		r := newRig(t, counted(store))
		w := r.start(t, stmigrate.RevocationConfig{Poll: time.Hour, Jitter: func() float64 { return 1 }})
		time.Sleep(20 * time.Second) // and a lease is 30 s
		require.NoError(t, w.Close())
		n := 0
		for _, call := range store.calls {
			if call == "abandoned" {
				n++
			}
		}
		assert.Equal(t, 2, n)
	})
}

func TestSweepIsUnsupported(t *testing.T) {
	t.Parallel()
	r := newRig(t, counted(new(countingStore)), func(c *stmigrate.Config) {
		c.Exchanges = struct{ stmigrate.ExchangeStore }{c.Exchanges}
	})
	_, err := r.SweepClaims(t.Context())
	require.ErrorIs(t, err, stmigrate.ErrUnsupported)
	r = newRig(t, func(c *stmigrate.Config) { c.Sessions = struct{ stmigrate.SessionMinter }{c.Sessions} })
	_, err = r.SweepClaims(t.Context())
	require.ErrorIs(t, err, stmigrate.ErrUnsupported)
}
