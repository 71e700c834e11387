package redisstore

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
)

func onlyOnce(first *bool, f func(*redis.Client) error) func(context.Context, *redis.Client) error {
	var mu sync.Mutex
	return func(_ context.Context, c *redis.Client) error {
		mu.Lock()
		defer mu.Unlock()
		if !*first {
			return nil
		}
		*first = false
		return f(c)
	}
}

// finished makes a finished exchange of that name.
func finished(t *testing.T, s *Store, session string, change ...func(*stmigrate.Claim, *stmigrate.Finished)) stmigrate.Claim {
	t.Helper()
	c, f := claimOf(session), answer()
	for _, ch := range change {
		ch(&c, &f)
	}
	held(t, s, c)
	finish(t, s, c, f)
	return c
}

func due(t *testing.T, s *Store, max int, lease time.Duration) []stmigrate.DueRevocation {
	t.Helper()
	jobs, err := s.DueRevocations(t.Context(), max, lease)
	require.NoError(t, err)
	return jobs
}

func oneDue(t *testing.T, s *Store, lease time.Duration) stmigrate.DueRevocation {
	t.Helper()
	jobs := due(t, s, 10, lease)
	require.Len(t, jobs, 1)
	return jobs[0]
}

// beyond are checks that the suite does not have. Each gets an empty store.
var beyond = map[string]func(t *testing.T, s *Store){
	"what is settled is erased": func(t *testing.T, s *Store) {
		c := finished(t, s, "a")
		j := oneDue(t, s, time.Minute)
		require.NoError(t, s.SettleRevocation(t.Context(), j.Key, j.Fence, 0, ""))
		assert.Zero(t, s.client.Exists(t.Context(), s.root+"r:"+string(c.Key[:])).Val())
	},
	"the job of an earlier entry is not that of its successor": func(t *testing.T, s *Store) {
		c := finished(t, s, "a", func(_ *stmigrate.Claim, f *stmigrate.Finished) { f.KeepFor = time.Minute })
		advance(t, s, time.Minute)
		held(t, s, claimOf("a"))
		assert.Empty(t, due(t, s, 10, time.Minute))
		require.ErrorIs(t, s.SettleRevocation(t.Context(), c.Key, c.Fence, 0, ""), stmigrate.ErrClaimLost)
	},
	"many are due, in portions": func(t *testing.T, s *Store) {
		for i := range 25 {
			finished(t, s, fmt.Sprint(i))
		}
		fences := map[stmigrate.Fence]bool{}
		for _, n := range []int{10, 10, 5, 0} {
			jobs := due(t, s, 10, time.Minute)
			assert.Len(t, jobs, n)
			for _, j := range jobs {
				fences[j.Fence] = true
			}
		}
		assert.Len(t, fences, 25, "each has a fence of its own")
	},
	"a budget of any name": func(t *testing.T, s *Store) {
		for _, name := range []string{"", "https://issuer.example/}", "{other}:x", "\x00"} {
			for _, want := range []int{2, 0} {
				got, _, err := s.TakeBudget(t.Context(), name, 3, stmigrate.RevocationBudget{Calls: 2, Per: time.Hour})
				require.NoError(t, err)
				assert.Equal(t, want, got, name)
			}
		}
	},
	"after its wait there is one call": func(t *testing.T, s *Store) {
		for _, b := range []stmigrate.RevocationBudget{{Calls: 7, Per: time.Second}, {Calls: 3, Per: 700 * time.Millisecond}} {
			name := b.Per.String()
			for range 4 {
				got, wait, err := s.TakeBudget(t.Context(), name, 100, b)
				require.NoError(t, err)
				if got == 0 {
					advance(t, s, wait)
					got, _, err = s.TakeBudget(t.Context(), name, 1, b)
					require.NoError(t, err)
					assert.Equal(t, 1, got)
				}
			}
		}
	},
	"peek": func(t *testing.T, s *Store) {
		peek := func(name string) stmigrate.Claimed {
			got, err := s.Peek(t.Context(), claimOf(name).Key)
			require.NoError(t, err)
			return got
		}
		assert.Zero(t, peek("a"))
		c := claimOf("a")
		c.Lease = time.Hour / 2
		held(t, s, c)
		require.NoError(t, s.Note(t.Context(), c.Key, c.Fence, []byte("for Recall and for who holds")))
		got := peek("a")
		assert.True(t, got.State == stmigrate.ClaimBusy && got.Wait > 0 && got.Wait <= time.Hour/2 && got.Note == nil, "%+v", got)
		advance(t, s, time.Hour/2)
		assert.Equal(t, stmigrate.Claimed{State: stmigrate.ClaimBusy}, peek("a"))
		finish(t, s, c, answer())
		assert.Equal(t, stmigrate.Claimed{State: stmigrate.ClaimDone, User: c.User, Handle: "handle", Sealed: answer().Sealed}, peek("a"))
	},
	"nothing wanted, nothing given": func(t *testing.T, s *Store) {
		ctx := t.Context()
		finished(t, s, "a", func(c *stmigrate.Claim, _ *stmigrate.Finished) { c.Epoch = "wave" })
		for _, max := range []int{0, -1} {
			assert.Empty(t, due(t, s, max, time.Minute))
			dead, err := s.DeadRevocations(ctx, stmigrate.ExchangeKey{}, max)
			assert.True(t, dead == nil && err == nil)
			claims, err := s.AbandonedClaims(ctx, 0, max)
			assert.True(t, claims == nil && err == nil)
			exchanges, err := s.EpochExchanges(ctx, "wave", stmigrate.ExchangeKey{}, max)
			assert.True(t, exchanges == nil && err == nil)
			got, _, err := s.TakeBudget(ctx, "x", max, stmigrate.RevocationBudget{Calls: 1, Per: time.Second})
			assert.True(t, got == 0 && err == nil)
		}
		_, err := s.DueRevocations(ctx, 1, 0)
		require.Error(t, err)
		for _, b := range []stmigrate.RevocationBudget{{}, {Calls: 1}, {Per: time.Second}, {Calls: 1, Per: 32 * 24 * time.Hour}} {
			_, _, err := s.TakeBudget(ctx, "x", 1, b)
			require.Error(t, err)
		}
	},
}

func TestBeyondTheSuite(t *testing.T) {
	t.Parallel()
	single, cluster := givenOrStarted(t), startCluster(t)
	for name, check := range beyond {
		for kind, client := range map[string]redis.UniversalClient{"single": single, "cluster": cluster} {
			t.Run(kind+"/"+name, func(t *testing.T) {
				t.Parallel()
				check(t, open(t, client))
			})
		}
	}
}
