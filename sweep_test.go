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

// lateMinter stands still before its first session for longer than the lease, and never hears what became of it.
type lateMinter struct {
	*stmigratetest.FakeSessions
	meanwhile func()
}

func (m *lateMinter) CreateSession(ctx context.Context, r *http.Request, u stmigrate.User) (*stmigrate.Tokens, error) {
	meanwhile := m.meanwhile
	m.meanwhile = nil
	if meanwhile == nil {
		return m.FakeSessions.CreateSession(ctx, r, u)
	}
	meanwhile()
	if _, err := m.FakeSessions.CreateSession(context.WithoutCancel(ctx), r, u); err != nil {
		return nil, err
	}
	return nil, errors.New("connection reset")
}

// TestMintThatComesTooLate: the session of a holder who stood still comes to life when the next one has looked for orphans and
// finished. Nobody would look again.
func TestMintThatComesTooLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const lease = 30 * time.Second
		late := new(lateMinter)
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
