package stmigrate_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
)

// dyingStore ends the goroutine of whoever makes a call: before it, or when it was made.
type dyingStore struct {
	*stmigrate.MemoryExchanges
	at   string
	note []byte
}

func (s *dyingStore) die(point string) {
	if s.at == point {
		s.at = ""
		runtime.Goexit()
	}
}

func (s *dyingStore) Claim(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
	s.die("before claim")
	defer s.die("after claim")
	return s.MemoryExchanges.Claim(ctx, c)
}

func (s *dyingStore) Note(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, note []byte) error {
	s.die("before note")
	defer s.die("after note")
	s.note = note
	return s.MemoryExchanges.Note(ctx, key, fence, note)
}

func (s *dyingStore) Finish(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
	s.die("before finish")
	defer s.die("after finish")
	return s.MemoryExchanges.Finish(ctx, key, fence, f)
}

// mortal is a rig with RevokeRequired whose process dies at a point.
func mortal(t *testing.T, change ...func(*stmigrate.Config)) (*rig, *dyingStore) {
	t.Helper()
	store := new(dyingStore)
	r := newRig(t, append([]func(*stmigrate.Config){func(c *stmigrate.Config) {
		store.MemoryExchanges = c.Exchanges.(*stmigrate.MemoryExchanges)
		store.UseClock(c.Now)
		revoke := c.Revoker
		c.Revoker = stmigrate.RevokerFunc(func(ctx context.Context, token string, s *stmigrate.OldSession) error {
			store.die("before revoke")
			defer store.die("after revoke")
			return revoke.Revoke(ctx, token, s)
		})
		c.Exchanges, c.Secrets, c.RevokePolicy = store, [][]byte{bytes.Repeat([]byte("s"), 32)}, stmigrate.RevokeRequired
	}}, change...)...)
	return r, store
}

// dies makes a request that ends at a point.
func (r *rig) dies(t *testing.T, store *dyingStore, at, token string) {
	t.Helper()
	store.at = at
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.post(token)
	}()
	<-ended
	require.Empty(t, store.at, "it came to that point")
}

// TestRequiredRevocationHasNoGap: wherever the process dies, whoever comes back has a session, and one.
func TestRequiredRevocationHasNoGap(t *testing.T) {
	t.Parallel()
	const token = "the-legacy-token" // too long for a seal to hold it by chance
	for _, at := range []string{
		"before claim", "after claim", "before note", "after note", "before revoke", "after revoke", "before finish", "after finish",
	} {
		for _, sweep := range []bool{false, true} {
			t.Run(at, func(t *testing.T) {
				t.Parallel()
				r, store := mortal(t)
				r.verifier.Add(token, stmigrate.OldSession{
					Subject: "user-1", SessionID: "sid-1", ExpiresAt: r.clock.Now().Add(time.Hour), Claims: map[string]any{"org": "o"},
				})
				r.dies(t, store, at, token)
				r.clock.Advance(45 * time.Second)
				if sweep {
					r.sweep(t)
				}
				expect(t, r.post(token), 200, "OK")
				assert.Len(t, r.sessions.Live(), 1)
				assert.Contains(t, r.revoked, token)
				r.clock.Advance(time.Hour)
				r.sweep(t)
				assert.Len(t, r.sessions.Live(), 1)
				assert.Equal(t, 1, r.store.Len())
				assert.NotContains(t, string(store.note), token)
			})
		}
	}
}

// TestNoteIsForItsToken: what a note says holds for the token it was made for, for a while, and if nothing else speaks against it.
func TestNoteIsForItsToken(t *testing.T) {
	t.Parallel()
	limit := time.Time{}
	notBefore := func(c *stmigrate.Config) {
		c.NotBefore = func(context.Context, *stmigrate.OldSession) (time.Time, error) { return limit, nil }
	}
	unknown := errors.New("")
	users := func(c *stmigrate.Config) {
		c.Users = stmigrate.UserResolverFunc(func(_ context.Context, s *stmigrate.OldSession) (*stmigrate.User, error) {
			return &stmigrate.User{ID: s.Subject}, unknown
		})
	}
	for name, tt := range map[string]struct {
		change func(*stmigrate.Config)
		before func(r *rig)
		token  string
		status int
		code   string
	}{
		"good":                         {func(*stmigrate.Config) {}, func(*rig) {}, "tok", 200, "OK"},
		"another token of the session": {func(*stmigrate.Config) {}, func(*rig) {}, "tok2", 401, "INVALID_LEGACY_SESSION"},
		"expired":                      {func(*stmigrate.Config) {}, func(r *rig) { r.clock.Advance(48 * time.Hour) }, "tok", 401, "INVALID_LEGACY_SESSION"},
		"a day later":                  {func(*stmigrate.Config) {}, func(r *rig) { r.clock.Advance(24 * time.Hour) }, "tok", 401, "INVALID_LEGACY_SESSION"},
		"almost a day later":           {func(*stmigrate.Config) {}, func(r *rig) { r.clock.Advance(23 * time.Hour) }, "tok", 200, "OK"},
		"verifier that is down":        {func(*stmigrate.Config) {}, func(r *rig) { r.verifier.Fail(stmigrate.ErrUnavailable) }, "tok", 200, "OK"},
		"password reset since":         {notBefore, func(r *rig) { limit = r.clock.Now() }, "tok", 401, "INVALID_LEGACY_SESSION"},
		"user deleted since":           {users, func(*rig) { unknown = stmigrate.ErrUnknownUser }, "tok", 403, "UNKNOWN_USER"},
		"admitted no more": {func(c *stmigrate.Config) {
			first := true
			c.Admit = func(*stmigrate.OldSession) bool { defer func() { first = false }(); return first }
		}, func(*rig) {}, "tok", 200, "OK"},
		"migration over": {func(c *stmigrate.Config) { c.Until = c.Now().Add(time.Hour) },
			func(r *rig) { r.clock.Advance(time.Hour) }, "tok", 401, "INVALID_LEGACY_SESSION"},
	} {
		t.Run(name, func(t *testing.T) {
			limit, unknown = time.Time{}, nil
			r, store := mortal(t, tt.change)
			for _, token := range []string{"tok", "tok2"} {
				r.verifier.Add(token, stmigrate.OldSession{
					Subject: "user-1", SessionID: "sid-1", AuthTime: r.clock.Now().Add(-time.Minute), ExpiresAt: r.clock.Now().Add(36 * time.Hour),
				})
			}
			r.dies(t, store, "before finish", "tok")
			r.verifier.Remove("tok2")
			r.clock.Advance(45 * time.Second)
			r.sweep(t)
			tt.before(r)
			expect(t, r.post(tt.token), tt.status, tt.code)
		})
	}
}

// TestNoteOfAnotherDeployment: what does not open with our secrets is no note.
func TestNoteOfAnotherDeployment(t *testing.T) {
	t.Parallel()
	r, store := mortal(t)
	r.add("tok", "user-1", "sid-1", "")
	r.dies(t, store, "before finish", "tok")
	r.clock.Advance(45 * time.Second)
	claims, err := store.AbandonedClaims(t.Context(), 0, 1)
	require.NoError(t, err)
	mine := claims[0]
	mine.Fence, mine.Lease, mine.KeepFor = stmigrate.Fence{1}, time.Minute, time.Hour
	_, err = store.MemoryExchanges.Claim(t.Context(), mine)
	require.NoError(t, err)
	for _, forged := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte{1}, 200), append(bytes.Clone(store.note), 0)} {
		require.NoError(t, store.MemoryExchanges.Note(t.Context(), mine.Key, mine.Fence, forged))
		expect(t, r.post("tok"), 401, "INVALID_LEGACY_SESSION")
	}
	r.clock.Advance(2 * time.Minute)
	assert.Equal(t, 1, r.sweep(t), "nor is it kept for anybody")
}

// TestNoteKeepsItsAge: a process that dies again and again does not keep a token alive.
func TestNoteKeepsItsAge(t *testing.T) {
	t.Parallel()
	r, store := mortal(t)
	r.verifier.Add("tok", stmigrate.OldSession{Subject: "user-1", SessionID: "sid-1", ExpiresAt: r.clock.Now().Add(1000 * time.Hour)})
	r.dies(t, store, "before finish", "tok")
	for range 2 {
		r.clock.Advance(11 * time.Hour)
		r.dies(t, store, "before finish", "tok")
	}
	r.clock.Advance(3 * time.Hour)
	expect(t, r.post("tok"), 401, "INVALID_LEGACY_SESSION")
}

// TestWaitingForARequiredRevocation: who comes while the legacy session is revoked and the exchange is not yet finished is
// given the same answer.
func TestWaitingForARequiredRevocation(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		revoked, goOn := make(chan struct{}), make(chan struct{})
		store := new(countingStore)
		r := newRig(t, counted(store), func(c *stmigrate.Config) { c.RevokePolicy = stmigrate.RevokeRequired })
		store.hook = func(call string) error {
			if call == "finish" {
				close(revoked)
				<-goOn
			}
			return nil
		}
		r.add("tok", "user-1", "sid-1", "")
		codes := make(chan int, 2)
		go func() { codes <- r.post("tok").Code }()
		<-revoked
		go func() { codes <- r.post("tok").Code }()
		synctest.Wait()
		require.Equal(t, 2, r.verifier.Calls())
		close(goOn)
		assert.Equal(t, 200, <-codes)
		assert.Equal(t, 200, <-codes)
		assert.Equal(t, 1, r.sessions.Created())
		assert.Subset(t, []string{"claim", "note", "finish"}, store.took()[:3])
	})
}

// TestNoteOfASibling: what was noted for one token of a session does not speak for another one, though the store hands it out.
func TestNoteOfASibling(t *testing.T) {
	t.Parallel()
	r, store := mortal(t)
	r.add("tok1", "user-1", "sid-1", "")
	r.add("tok2", "user-1", "sid-1", "")
	r.dies(t, store, "before finish", "tok1")
	note := store.note
	r.clock.Advance(45 * time.Second)
	r.dies(t, store, "before finish", "tok2")
	r.clock.Advance(45 * time.Second)
	claims, err := store.AbandonedClaims(t.Context(), 0, 1)
	require.NoError(t, err)
	mine := claims[0]
	mine.Fence, mine.Lease, mine.KeepFor = stmigrate.Fence{1}, time.Second, time.Hour
	_, err = store.MemoryExchanges.Claim(t.Context(), mine)
	require.NoError(t, err)
	own := store.note
	require.NoError(t, store.MemoryExchanges.Note(t.Context(), mine.Key, mine.Fence, note))
	r.clock.Advance(time.Second)
	expect(t, r.post("tok2"), 401, "INVALID_LEGACY_SESSION")
	require.NoError(t, store.MemoryExchanges.Note(t.Context(), mine.Key, mine.Fence, own))
	expect(t, r.post("tok2"), 200, "OK")
}

// TestNoteOutlivesASiblingsClaim: whoever may have revoked the legacy session can come back, though another token of the session
// was verified before that and has claimed since.
func TestNoteOutlivesASiblingsClaim(t *testing.T) {
	t.Parallel()
	for at, back := range map[string]string{"after claim": "tok1", "before note": "tok1", "after note": "tok2", "after revoke": "tok2"} {
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			r, store := mortal(t)
			r.add("tok1", "user-1", "sid-1", "")
			r.add("tok2", "user-1", "sid-1", "")
			r.dies(t, store, "after revoke", "tok1")
			r.clock.Advance(45 * time.Second)
			r.dies(t, store, at, "tok2")
			r.verifier.Remove("tok1")
			r.verifier.Remove("tok2")
			r.clock.Advance(45 * time.Second)
			expect(t, r.post(back), 200, "OK")
			assert.Len(t, r.sessions.Live(), 1)
		})
	}
}
