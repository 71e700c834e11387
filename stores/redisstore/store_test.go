package redisstore

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

func TestOfManyProcessesOneHolds(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	first := open(t, srv.client(t))
	var wg sync.WaitGroup
	states := make(chan stmigrate.ClaimState, 40)
	for range 40 {
		wg.Go(func() {
			s := &Store{client: srv.client(t), root: first.root}
			got, err := s.Claim(t.Context(), claimOf("a"))
			assert.NoError(t, err)
			states <- got.State
		})
	}
	wg.Wait()
	close(states)
	count := map[stmigrate.ClaimState]int{}
	for state := range states {
		count[state]++
	}
	assert.Equal(t, map[stmigrate.ClaimState]int{stmigrate.ClaimHeld: 1, stmigrate.ClaimBusy: 39}, count)
}

func TestOneRoundTripEach(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	var commands counter
	client := srv.client(t)
	client.AddHook(&commands)
	s := open(t, client)
	for range 2 {
		for name, call := range methods(s, claimOf("a")) {
			_ = call(t.Context()) // ErrClaimLost, some of them; the first time a script is new to the server
			before := commands.trips()
			_ = call(t.Context())
			assert.Equal(t, 1, commands.trips()-before, name)
		}
	}
	require.NoError(t, client.ScriptFlush(t.Context()).Err())
	held(t, s, claimOf("after the scripts were flushed"))
}

// TestWhoWaitsWritesNothing: the polls of waiters are no load for the append-only file and the replicas.
func TestWhoWaitsWritesNothing(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	srv := startServer(t)
	admin := srv.client(t)
	s := open(t, admin)
	changes := func() string { return parseInfo(admin.Info(ctx, "persistence").Val())["rdb_changes_since_last_save"] }
	poll := func(name string, want stmigrate.ClaimState) {
		t.Helper()
		before := changes()
		got, err := s.Claim(ctx, claimOf(name))
		require.NoError(t, err)
		require.Equal(t, want, got.State)
		_, err = s.Peek(ctx, claimOf(name).Key)
		require.NoError(t, err)
		_, err = s.Recall(ctx, claimOf(name).Shown)
		require.NoError(t, err)
		assert.Empty(t, due(t, s, 10, time.Minute))
		claims, err := s.AbandonedClaims(ctx, 0, 10)
		require.NoError(t, err)
		assert.Empty(t, claims)
		require.Equal(t, before, changes())
	}
	c := claimOf("a")
	held(t, s, c)
	poll("a", stmigrate.ClaimBusy)
	f := answer()
	f.Revocation = nil
	finish(t, s, c, f)
	poll("a", stmigrate.ClaimDone)
	before := changes()
	finish(t, s, c, f)
	assert.Equal(t, before, changes(), "a repeated Finish")
}

// TestNothingGrows: what is over is gone with all that belongs to it, whether or not anybody asks.
func TestNothingGrows(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const rounds, each, soon = 10, 200, 350 * time.Millisecond
	srv := startServer(t)
	admin := srv.client(t)
	s := open(t, admin)
	size := func(index string) int64 { return admin.ZCard(ctx, s.root+index).Val() }
	largest := map[string]int64{}
	for round := range rounds {
		for i := range each {
			name := fmt.Sprintf("%d-%d", round, i)
			finished(t, s, name, func(c *stmigrate.Claim, f *stmigrate.Finished) {
				c.Epoch, c.KeepFor, f.KeepFor, f.SealedFor = "wave", 10*time.Second, soon, soon/2
			})
			left := claimOf("left " + name)
			left.Lease, left.KeepFor = time.Millisecond, soon
			held(t, s, left)
		}
		if round < rounds/2 { // the jobs are given up; after that, nobody asks for them
			for _, j := range due(t, s, 10*each, time.Minute) {
				if err := s.SettleRevocation(ctx, j.Key, j.Fence, 0, "reason"); err != nil {
					require.ErrorIs(t, err, stmigrate.ErrClaimLost, "on a slow machine its time is over by now")
				}
			}
		}
		for _, index := range []string{"held", "due", "dead", "x:wave"} {
			largest[index] = max(largest[index], size(index))
		}
		<-time.After(soon)
	}
	for index, n := range largest {
		assert.LessOrEqual(t, n, int64(4*each), index)
	}
	// Without any request for them: the keys are counted, and none is touched.
	require.Eventually(t, func() bool { return admin.DBSize(ctx).Val() == 1 }, forever, 50*time.Millisecond)
	assert.Equal(t, "1", admin.Get(ctx, s.root+"format").Val(), "what is left is the format")
}

// TestOverAtOnce: a finish whose time is over when it is written, on a server that stood still, say, leaves nothing behind.
func TestOverAtOnce(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	admin := srv.client(t)
	s := open(t, admin)
	finished(t, s, "a", func(c *stmigrate.Claim, f *stmigrate.Finished) { c.Epoch, f.KeepFor = "wave", 0 })
	require.Eventually(t, func() bool { return admin.DBSize(t.Context()).Val() == 1 }, forever, 50*time.Millisecond)
	held(t, s, claimOf("a"))
}

// TestStaleIndexes: what has no entry any more is passed over, however much it is, and dropped.
func TestStaleIndexes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	srv := startServer(t)
	admin := srv.client(t)
	s := open(t, admin)
	wave := func(c *stmigrate.Claim, _ *stmigrate.Finished) { c.Epoch = "wave" }
	live := []stmigrate.Claim{finished(t, s, "z1", wave), finished(t, s, "z2", wave), finished(t, s, "z3", wave)}
	for _, j := range due(t, s, 2, time.Minute) {
		require.NoError(t, s.SettleRevocation(ctx, j.Key, j.Fence, 0, "reason"))
	}
	abandoned := claimOf("z4")
	abandoned.Lease = time.Millisecond
	held(t, s, abandoned)
	for _, index := range []string{"held", "due", "dead", "x:wave"} {
		pipe := admin.Pipeline()
		for i := range 4500 {
			pipe.Do(ctx, "ZADD", s.root+index, 0, fmt.Sprintf("%032d", i))
		}
		_, err := pipe.Exec(ctx)
		require.NoError(t, err)
	}
	advance(t, s, time.Millisecond)
	exchanges, err := s.EpochExchanges(ctx, "wave", stmigrate.ExchangeKey{}, 10)
	require.NoError(t, err)
	assert.Len(t, exchanges, len(live))
	dead, err := s.DeadRevocations(ctx, stmigrate.ExchangeKey{}, 10)
	require.NoError(t, err)
	assert.Len(t, dead, 2)
	assert.Len(t, due(t, s, 10, time.Minute), 1)
	claims, err := s.AbandonedClaims(ctx, 0, 10)
	require.NoError(t, err)
	assert.Len(t, claims, 1)
	for index, want := range map[string]int64{"held": 1, "due": 1, "dead": 2, "x:wave": 3} {
		assert.Equal(t, want, admin.ZCard(ctx, s.root+index).Val(), index)
	}
}

// TestIndexesThatLie: what an index says of an entry that says otherwise is not believed, and corrected.
func TestIndexesThatLie(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	srv := startServer(t)
	admin := srv.client(t)
	s := open(t, admin)
	add := func(index string, c stmigrate.Claim) {
		require.NoError(t, admin.ZAdd(ctx, s.root+index, redis.Z{Member: string(c.Key[:])}).Err())
	}
	wave := func(c *stmigrate.Claim, _ *stmigrate.Finished) { c.Epoch = "wave" }
	dead := finished(t, s, "dead", wave)
	j := oneDue(t, s, time.Minute)
	require.NoError(t, s.SettleRevocation(ctx, j.Key, j.Fence, 0, "reason"))
	owed := finished(t, s, "owed", wave)
	claimed := claimOf("claimed")
	claimed.Epoch = "wave"
	held(t, s, claimed)
	other := finished(t, s, "other", func(c *stmigrate.Claim, f *stmigrate.Finished) { c.Epoch, f.Revocation = "other", nil })
	add("held", owed)
	add("due", dead)
	add("due", other)
	add("dead", owed)
	add("dead", other)
	add("x:wave", claimed)
	add("x:wave", other)

	claims, err := s.AbandonedClaims(ctx, 0, 10)
	require.NoError(t, err)
	assert.Empty(t, claims)
	jobs := due(t, s, 10, time.Minute)
	require.Len(t, jobs, 1)
	assert.Equal(t, owed.Key, jobs[0].Key)
	letters, err := s.DeadRevocations(ctx, stmigrate.ExchangeKey{}, 10)
	require.NoError(t, err)
	require.Len(t, letters, 1)
	assert.Equal(t, dead.Key, letters[0].Key)
	exchanges, err := s.EpochExchanges(ctx, "wave", stmigrate.ExchangeKey{}, 10)
	require.NoError(t, err)
	assert.Len(t, exchanges, 2)
	for index, want := range map[string]int64{"held": 1, "due": 1, "dead": 1, "x:wave": 2} {
		assert.Equal(t, want, admin.ZCard(ctx, s.root+index).Val(), index)
	}
}

// TestWhatIsDropped: of a dead letter that was dropped nothing is left, of one that was replayed all but why it was given up.
func TestWhatIsDropped(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	srv := startServer(t)
	admin := srv.client(t)
	s := open(t, admin)
	c := finished(t, s, "a")
	key := string(c.Key[:])
	j := oneDue(t, s, time.Minute)
	require.NoError(t, s.SettleRevocation(ctx, j.Key, j.Fence, 0, "reason"))
	require.NoError(t, s.ReplayRevocation(ctx, c.Key))
	require.NoError(t, s.DropRevocation(ctx, c.Key), "it is no dead letter now")
	j = oneDue(t, s, time.Minute)
	assert.Equal(t, 1, j.Attempt)
	require.NoError(t, s.SettleRevocation(ctx, j.Key, j.Fence, 0, "reason"))
	require.NoError(t, s.DropRevocation(ctx, c.Key))
	assert.Zero(t, admin.Exists(ctx, s.root+"r:"+key, s.root+"dead", s.root+"due").Val())
	assert.Equal(t, []any{nil, nil, nil}, admin.HMGet(ctx, s.root+"e:"+key, "j", "w", "a").Val())
}

// TestClaimOverWhatIsLeft: an entry whose time is over, and that the server has not erased yet, leaves the next one nothing.
func TestClaimOverWhatIsLeft(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	srv := startServer(t)
	admin := srv.client(t)
	s := open(t, admin)
	c := finished(t, s, "a")
	d := finished(t, s, "d")
	for _, j := range due(t, s, 10, time.Minute) {
		if j.Key == d.Key {
			require.NoError(t, s.SettleRevocation(ctx, j.Key, j.Fence, 0, "reason"))
		}
	}
	for _, over := range []stmigrate.Claim{c, d} {
		key := string(over.Key[:])
		require.NoError(t, admin.HSet(ctx, s.root+"e:"+key, "k", 1).Err())
		again := over
		again.Fence = stmigrate.Fence(random(16))
		got, err := s.Claim(ctx, again)
		require.NoError(t, err)
		assert.Equal(t, stmigrate.Claimed{State: stmigrate.ClaimHeld}, got)
		assert.ElementsMatch(t, []string{"s", "f", "o", "u", "e", "l", "k"}, admin.HKeys(ctx, s.root+"e:"+key).Val())
		assert.Zero(t, admin.Exists(ctx, s.root+"a:"+key, s.root+"n:"+key, s.root+"r:"+key).Val())
		for _, index := range []string{"due", "dead"} {
			assert.ErrorIs(t, admin.ZScore(ctx, s.root+index, key).Err(), redis.Nil, index)
		}
	}
}

// TestNoteLivesAsLongAsItsClaim: whoever takes the claim over keeps it, and with it the way from the token to it.
func TestNoteLivesAsLongAsItsClaim(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	srv := startServer(t)
	admin := srv.client(t)
	s := open(t, admin)
	c := claimOf("a")
	c.Lease, c.KeepFor = time.Minute, time.Hour
	held(t, s, c)
	require.NoError(t, s.Note(ctx, c.Key, c.Fence, []byte("note")))
	lives := func(want time.Duration, names ...string) {
		t.Helper()
		for _, name := range names {
			assert.InDelta(t, want.Minutes(), admin.PTTL(ctx, s.root+name).Val().Minutes(), 1, name)
		}
	}
	names := []string{"e:" + string(c.Key[:]), "n:" + string(c.Key[:]), "s:" + string(c.Shown[:]), "held"}
	lives(c.KeepFor, names...)
	advance(t, s, c.Lease)
	next := c
	next.Fence, next.KeepFor = stmigrate.Fence(random(16)), 2*time.Hour
	assert.Equal(t, "note", string(held(t, s, next).Note))
	lives(next.KeepFor, names...)
}

// TestFinishLeavesNoNote: it holds a legacy session's token, sealed, and the way from another token to it is of no use any more.
func TestFinishLeavesNoNote(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	srv := startServer(t)
	admin := srv.client(t)
	s := open(t, admin)
	first := claimOf("a")
	held(t, s, first)
	require.NoError(t, s.Note(ctx, first.Key, first.Fence, []byte("note")))
	advance(t, s, first.Lease)
	next := first
	next.Fence, next.Shown = stmigrate.Fence(random(16)), claimOf("b").Shown
	held(t, s, next)
	finish(t, s, next, answer())
	key := string(next.Key[:])
	assert.Zero(t, admin.Exists(ctx, s.root+"n:"+key, s.root+"s:"+string(first.Shown[:])).Val())
	assert.ElementsMatch(t, []string{"s", "f", "o", "u", "e", "k", "c", "j", "g"}, admin.HKeys(ctx, s.root+"e:"+key).Val())
}

// TestSealedIsErasedByItself: the server erases it, not the next request.
func TestSealedIsErasedByItself(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	srv := startServer(t)
	admin := srv.client(t)
	s := open(t, admin)
	finished(t, s, "a", func(_ *stmigrate.Claim, f *stmigrate.Finished) { f.SealedFor, f.Revocation = time.Minute, nil })
	finished(t, s, "b", func(_ *stmigrate.Claim, f *stmigrate.Finished) { f.SealedFor, f.Revocation = 0, nil })
	assert.Equal(t, int64(2+2*2+1), admin.DBSize(ctx).Val(), "format, index of the epoch, two entries, two tokens, one answer")
	c := claimOf("a")
	left := admin.PTTL(ctx, s.root+"a:"+string(c.Key[:])).Val()
	assert.True(t, left > 0 && left <= time.Minute, left)
	advance(t, s, time.Minute)
	got, err := s.Peek(ctx, c.Key)
	require.NoError(t, err)
	assert.True(t, got.State == stmigrate.ClaimDone && got.Sealed == nil)
}

func TestLongTimes(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	admin := srv.client(t)
	s := open(t, admin)
	for _, d := range []time.Duration{100 * 366 * 24 * time.Hour, 1<<63 - 1} {
		c := claimOf(d.String())
		c.Lease, c.KeepFor = d, d
		held(t, s, c)
		got, err := s.Claim(t.Context(), claimOf(d.String()))
		require.NoError(t, err)
		assert.Equal(t, stmigrate.ClaimBusy, got.State)
		assert.InDelta(t, d.Hours(), got.Wait.Hours(), 0.1)
		f := answer()
		f.SealedFor, f.KeepFor, f.RevokeIn = d, d, d
		finish(t, s, c, f)
		for _, kind := range []string{"e:", "a:", "r:"} {
			left := admin.PTTL(t.Context(), s.root+kind+string(c.Key[:])).Val()
			assert.InDelta(t, d.Hours(), left.Hours(), 0.1, kind)
		}
	}
}

func TestMillis(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]int64{
		-1: 0, 0: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, time.Hour: 3_600_000, 1<<63 - 1: 9223372036854,
	} {
		assert.Equal(t, want, millis(d), d.String())
	}
}

// TestNoTokenIsStored takes a whole exchange and looks for any part of its tokens in all that the server has.
func TestNoTokenIsStored(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	issuer := stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{Audience: "https://api.example.com"})
	verifier, err := stmigrate.NewJWKSVerifier(stmigrate.JWKSConfig{URL: issuer.JWKSURL()},
		stmigrate.JWTConfig{Issuer: issuer.Issuer(), Audience: []string{"https://api.example.com"}})
	require.NoError(t, err)
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{
		Core: stmigratetest.NewCore(t).Client(), APIDomain: "https://api.example.com", WebsiteOrigins: []string{"https://app.example.com"}})
	require.NoError(t, err)
	migrator, err := stmigrate.New(stmigrate.Config{
		Verifier: verifier, Sessions: sessions, Users: stmigrate.SubjectIsUserID, Exchanges: open(t, srv.client(t)),
		Revoker: stmigrate.LeaveToExpire, Secrets: [][]byte{random(32)}, Until: time.Now().Add(time.Hour), Lease: time.Hour,
	})
	require.NoError(t, err)
	token := issuer.Token(stmigratetest.Claims{"sub": "ada", "sid": "legacy-session-of-ada"})
	secrets := strings.Split(token, ".")
	for range 2 { // the second is a replay
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/migrate-session", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("st-auth-mode", "header")
		migrator.ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code)
		for _, name := range []string{"St-Access-Token", "St-Refresh-Token", "Front-Token"} {
			require.NotEmpty(t, w.Header().Get(name), name)
			secrets = append(secrets, strings.Split(w.Header().Get(name), ".")...)
		}
	}
	secrets = append(secrets, "legacy-session-of-ada")
	all := ""
	for k, v := range dump(t, srv.client(t)) {
		all += k + v
	}
	require.Contains(t, all, "public|ada", "the dump shows what is stored")
	for _, secret := range secrets {
		// A shorter one, the "V2" of a refresh token, is no secret, and is somewhere in what is sealed once in thirty times.
		for i := 0; i+16 <= len(secret); i += 8 {
			part := secret[i : i+16]
			assert.NotContains(t, all, part)
			assert.NotContains(t, all, hex.EncodeToString([]byte(part)))
		}
	}
}

// TestSizes says what doc.go does of memory.
func TestSizes(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	const n = 2000
	srv := startServer(t)
	admin := srv.client(t)
	s := open(t, admin)
	used := func() int64 {
		b, err := strconv.ParseInt(parseInfo(admin.Info(ctx, "memory").Val())["used_memory_dataset"], 10, 64)
		require.NoError(t, err)
		return b
	}
	keysOf := func(i int) stmigrate.Claim {
		c := claimOf("")
		copy(c.Key[:], random(32))
		copy(c.Shown[:], random(32))
		c.User = fmt.Sprintf("public|auth0|%024d", i)
		return c
	}
	for name, v := range map[string]struct {
		f    stmigrate.Finished
		most int64
	}{
		"past grace":               {stmigrate.Finished{Handle: strings.Repeat("h", 36), KeepFor: time.Hour}, 800},
		"in grace":                 {stmigrate.Finished{Handle: strings.Repeat("h", 36), KeepFor: time.Hour, SealedFor: time.Hour, Sealed: random(2300)}, 3700},
		"with a revocation, in it": {stmigrate.Finished{Handle: strings.Repeat("h", 36), KeepFor: time.Hour, Revocation: random(1500)}, 3000},
	} {
		before := used()
		for i := range n {
			c := keysOf(i)
			held(t, s, c)
			finish(t, s, c, v.f)
		}
		each := (used() - before) / n
		t.Logf("%s: %d bytes", name, each)
		assert.True(t, each > 200 && each <= v.most, "%s takes %d bytes, want at most %d", name, each, v.most)
	}
}
