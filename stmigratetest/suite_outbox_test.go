package stmigratetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/stmigrate/stmigrate"
)

// brokenParts wraps a good store; a nil field passes through.
type brokenParts struct {
	*stmigrate.MemoryExchanges
	mu        sync.Mutex // of what many call at once
	claim     func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error)
	finish    func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error
	recall    func(ctx context.Context, shown stmigrate.ExchangeKey) (stmigrate.Claimed, error)
	due       func(ctx context.Context, n int, lease time.Duration) ([]stmigrate.DueRevocation, error)
	settle    func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, retry time.Duration, reason string) error
	replay    func(ctx context.Context, key stmigrate.ExchangeKey) error
	take      func(ctx context.Context, name string, n int, b stmigrate.RevocationBudget) (int, time.Duration, error)
	pause     func(ctx context.Context, name string, d time.Duration) error
	abandoned func(ctx context.Context, since time.Duration, n int) ([]stmigrate.Claim, error)
	note      func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, note []byte) error
	exchanges func(ctx context.Context, epoch string, after stmigrate.ExchangeKey, n int) ([]stmigrate.EpochExchange, error)
	forget    func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence) error
}

func (s *brokenParts) Claim(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
	if s.claim != nil {
		return s.claim(ctx, c)
	}
	return s.MemoryExchanges.Claim(ctx, c)
}

func (s *brokenParts) Finish(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
	if s.finish != nil {
		return s.finish(ctx, key, fence, f)
	}
	return s.MemoryExchanges.Finish(ctx, key, fence, f)
}

func (s *brokenParts) Recall(ctx context.Context, shown stmigrate.ExchangeKey) (stmigrate.Claimed, error) {
	if s.recall != nil {
		return s.recall(ctx, shown)
	}
	return s.MemoryExchanges.Recall(ctx, shown)
}

func (s *brokenParts) DueRevocations(ctx context.Context, n int, lease time.Duration) ([]stmigrate.DueRevocation, error) {
	if s.due != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.due(ctx, n, lease)
	}
	return s.MemoryExchanges.DueRevocations(ctx, n, lease)
}

func (s *brokenParts) SettleRevocation(
	ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, retry time.Duration, reason string,
) error {
	if s.settle != nil {
		return s.settle(ctx, key, fence, retry, reason)
	}
	return s.MemoryExchanges.SettleRevocation(ctx, key, fence, retry, reason)
}

func (s *brokenParts) ReplayRevocation(ctx context.Context, key stmigrate.ExchangeKey) error {
	if s.replay != nil {
		return s.replay(ctx, key)
	}
	return s.MemoryExchanges.ReplayRevocation(ctx, key)
}

func (s *brokenParts) TakeBudget(ctx context.Context, name string, n int, b stmigrate.RevocationBudget) (int, time.Duration, error) {
	if s.take != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.take(ctx, name, n, b)
	}
	return s.MemoryExchanges.TakeBudget(ctx, name, n, b)
}

func (s *brokenParts) PauseBudget(ctx context.Context, name string, d time.Duration) error {
	if s.pause != nil {
		return s.pause(ctx, name, d)
	}
	return s.MemoryExchanges.PauseBudget(ctx, name, d)
}

func (s *brokenParts) AbandonedClaims(ctx context.Context, since time.Duration, n int) ([]stmigrate.Claim, error) {
	if s.abandoned != nil {
		return s.abandoned(ctx, since, n)
	}
	return s.MemoryExchanges.AbandonedClaims(ctx, since, n)
}

func (s *brokenParts) Note(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, note []byte) error {
	if s.note != nil {
		return s.note(ctx, key, fence, note)
	}
	return s.MemoryExchanges.Note(ctx, key, fence, note)
}

func (s *brokenParts) EpochExchanges(
	ctx context.Context, epoch string, after stmigrate.ExchangeKey, n int,
) ([]stmigrate.EpochExchange, error) {
	if s.exchanges != nil {
		return s.exchanges(ctx, epoch, after, n)
	}
	return s.MemoryExchanges.EpochExchanges(ctx, epoch, after, n)
}

func (s *brokenParts) ForgetExchange(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence) error {
	if s.forget != nil {
		return s.forget(ctx, key, fence)
	}
	return s.MemoryExchanges.ForgetExchange(ctx, key, fence)
}

// brokenPartsOf are ways to get the optional parts wrong, each with checks that must notice.
var brokenPartsOf = map[string]struct {
	store   func(s *brokenParts)
	noticed []string
}{
	"no lease on what is handed out": {func(s *brokenParts) {
		s.due = func(ctx context.Context, n int, _ time.Duration) ([]stmigrate.DueRevocation, error) {
			return s.MemoryExchanges.DueRevocations(ctx, n, 0)
		}
	}, []string{
		"RevocationOutbox: what is owed is handed out, once while the lease runs",
		"RevocationOutbox: of many who ask at once each is given something else",
	}},

	"settled and handed out again": {func(s *brokenParts) {
		s.settle = func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, retry time.Duration, reason string) error {
			if reason == "" && retry == 0 {
				retry, reason = time.Nanosecond, "again"
			}
			return s.MemoryExchanges.SettleRevocation(ctx, key, fence, retry, reason)
		}
	}, []string{"RevocationOutbox: what is done is never handed out again"}},

	"a finish that revives": {func(s *brokenParts) {
		settled := map[stmigrate.ExchangeKey]stmigrate.DueRevocation{}
		s.finish = func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
			err := s.MemoryExchanges.Finish(ctx, key, fence, f)
			if got, _ := s.MemoryExchanges.Claim(ctx, stmigrate.Claim{Key: key}); err == nil && got.Handle != "" && f.Revocation != nil {
				settled[key] = stmigrate.DueRevocation{Key: key, Fence: stmigrate.Fence{1}, Revocation: f.Revocation, Attempt: 1}
			}
			return err
		}
		s.due = func(ctx context.Context, n int, _ time.Duration) (due []stmigrate.DueRevocation, _ error) {
			for key, d := range settled {
				due = append(due, d)
				delete(settled, key)
			}
			return due, ctx.Err()
		}
		s.settle = func(context.Context, stmigrate.ExchangeKey, stmigrate.Fence, time.Duration, string) error { return nil }
	}, []string{"RevocationOutbox: what is done is never handed out again", "RevocationOutbox: nothing is due before RevokeIn is over"}},

	"no fence on settle": {func(s *brokenParts) {
		leased := map[stmigrate.ExchangeKey]stmigrate.Fence{}
		s.due = func(ctx context.Context, n int, lease time.Duration) ([]stmigrate.DueRevocation, error) {
			due, err := s.MemoryExchanges.DueRevocations(ctx, n, lease)
			for _, d := range due {
				leased[d.Key] = d.Fence
			}
			return due, err
		}
		s.settle = func(ctx context.Context, key stmigrate.ExchangeKey, _ stmigrate.Fence, retry time.Duration, reason string) error {
			return s.MemoryExchanges.SettleRevocation(ctx, key, leased[key], retry, reason)
		}
	}, []string{
		"RevocationOutbox: a lease that runs out is handed out again, under another fence",
		"RevocationOutbox: the finisher holds the first lease, with the fence of the claim",
	}},

	"a settle that cannot be repeated": {func(s *brokenParts) {
		done := map[stmigrate.Fence]bool{}
		s.settle = func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, retry time.Duration, reason string) error {
			if done[fence] {
				return stmigrate.ErrClaimLost
			}
			done[fence] = true
			return s.MemoryExchanges.SettleRevocation(ctx, key, fence, retry, reason)
		}
	}, []string{"RevocationOutbox: what is done is never handed out again", "RevocationDeadLetters: what was given up is listed, and not handed out"}},

	"RevokeIn ignored": {func(s *brokenParts) {
		s.finish = func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
			f.RevokeIn = 0
			return s.MemoryExchanges.Finish(ctx, key, fence, f)
		}
	}, []string{
		"RevocationOutbox: nothing is due before RevokeIn is over",
		"RevocationOutbox: what has been due for longest comes first, and not more than asked for",
	}},

	"putting back counts": {func(s *brokenParts) {
		s.settle = func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, retry time.Duration, reason string) error {
			if retry > 0 {
				reason = "counted"
			}
			return s.MemoryExchanges.SettleRevocation(ctx, key, fence, retry, reason)
		}
	}, []string{"RevocationOutbox: what was put back untried does not count"}},

	"owed for ever": {func(s *brokenParts) {
		s.finish = func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
			f.KeepFor *= 10
			return s.MemoryExchanges.Finish(ctx, key, fence, f)
		}
	}, []string{"RevocationOutbox: what is owed goes with its entry", "RevocationDeadLetters: a dead letter goes with its entry"}},

	"a replay that goes on counting": {func(s *brokenParts) {
		s.due = func(ctx context.Context, n int, lease time.Duration) ([]stmigrate.DueRevocation, error) {
			due, err := s.MemoryExchanges.DueRevocations(ctx, n, lease)
			for i := range due {
				due[i].Attempt += replays(s)
			}
			return due, err
		}
		s.replay = func(ctx context.Context, key stmigrate.ExchangeKey) error {
			s.finish = func(context.Context, stmigrate.ExchangeKey, stmigrate.Fence, stmigrate.Finished) error { return nil }
			return s.MemoryExchanges.ReplayRevocation(ctx, key)
		}
	}, []string{"RevocationDeadLetters: a replay begins anew, now"}},

	"a budget for each caller": {func(s *brokenParts) {
		calls := 0
		s.take = func(ctx context.Context, name string, n int, b stmigrate.RevocationBudget) (int, time.Duration, error) {
			calls++
			return s.MemoryExchanges.TakeBudget(ctx, fmt.Sprint(name, calls%2), n, b)
		}
	}, []string{"RevocationBudgets: all callers share it", "RevocationBudgets: a full bucket gives what it holds, and then nothing"}},

	"a budget that fills up": {func(s *brokenParts) {
		s.take = func(ctx context.Context, name string, n int, b stmigrate.RevocationBudget) (int, time.Duration, error) {
			b.Calls, b.Per = 10*b.Calls, 10*b.Per
			return s.MemoryExchanges.TakeBudget(ctx, name, n, b)
		}
	}, []string{"RevocationBudgets: a full bucket gives what it holds, and then nothing", "RevocationBudgets: calls flow in evenly, up to what the bucket holds"}},

	"the last pause counts": {func(s *brokenParts) {
		paused := 0
		s.pause = func(ctx context.Context, name string, d time.Duration) error {
			paused++
			return s.MemoryExchanges.PauseBudget(ctx, fmt.Sprint(name, paused), d)
		}
		s.take = func(ctx context.Context, name string, n int, b stmigrate.RevocationBudget) (int, time.Duration, error) {
			if name == "a" && paused > 0 {
				name = fmt.Sprint(name, paused)
			}
			return s.MemoryExchanges.TakeBudget(ctx, name, n, b)
		}
	}, []string{"RevocationBudgets: a longer pause stays"}},

	"abandoned with the lease": {func(s *brokenParts) {
		s.abandoned = func(ctx context.Context, _ time.Duration, n int) ([]stmigrate.Claim, error) {
			return s.MemoryExchanges.AbandonedClaims(ctx, 0, n)
		}
	}, []string{"ClaimSweeper: finds claims whose lease has been over for long enough"}},

	"a note that is lost on the way": {func(s *brokenParts) {
		s.claim = func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
			got, err := s.MemoryExchanges.Claim(ctx, c)
			got.Note = nil
			return got, err
		}
	}, []string{"ClaimNoter: a note is handed to whoever takes over"}},

	"notes by anybody": {func(s *brokenParts) {
		held := map[stmigrate.ExchangeKey]stmigrate.Fence{}
		s.claim = func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
			held[c.Key] = c.Fence
			return s.MemoryExchanges.Claim(ctx, c)
		}
		s.note = func(ctx context.Context, key stmigrate.ExchangeKey, _ stmigrate.Fence, note []byte) error {
			return s.MemoryExchanges.Note(ctx, key, held[key], note)
		}
	}, []string{"ClaimNoter: a note is handed to whoever takes over"}},

	"what is held is not recalled": {func(s *brokenParts) {
		s.recall = func(ctx context.Context, shown stmigrate.ExchangeKey) (stmigrate.Claimed, error) {
			got, err := s.MemoryExchanges.Recall(ctx, shown)
			if got.State == stmigrate.ClaimBusy {
				got = stmigrate.Claimed{}
			}
			return got, err
		}
	}, []string{"ClaimNoter: a held claim is recalled by its token once it has a note"}},

	"closed epoch ignored": {func(s *brokenParts) {
		s.claim = func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
			if got, err := s.MemoryExchanges.Claim(ctx, c); err != nil || got.State != stmigrate.ClaimClosed {
				return got, err
			}
			c.Epoch = ""
			return s.MemoryExchanges.Claim(ctx, c)
		}
	}, []string{"EpochStore: a closed epoch takes no claim, and nothing is changed"}},

	"exchanges of all epochs": {func(s *brokenParts) {
		s.claim = func(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
			c.Epoch = "all"
			return s.MemoryExchanges.Claim(ctx, c)
		}
		s.exchanges = func(ctx context.Context, _ string, after stmigrate.ExchangeKey, n int) ([]stmigrate.EpochExchange, error) {
			return s.MemoryExchanges.EpochExchanges(ctx, "all", after, n)
		}
	}, []string{
		"EpochStore: the exchanges of an epoch come in pages, in the order of their keys", "EpochStore: who takes over takes it into its own epoch",
	}},

	"forgotten, and still due": {func(s *brokenParts) {
		var owed []stmigrate.DueRevocation
		s.forget = func(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence) error {
			due, _ := s.MemoryExchanges.DueRevocations(ctx, 1, time.Nanosecond)
			owed = append(owed, due...)
			return s.MemoryExchanges.ForgetExchange(ctx, key, fence)
		}
		s.due = func(context.Context, int, time.Duration) ([]stmigrate.DueRevocation, error) { return owed, nil }
	}, []string{"EpochStore: what is forgotten is gone with all that belongs to it"}},

	"forgotten by anybody": {func(s *brokenParts) {
		s.forget = func(ctx context.Context, key stmigrate.ExchangeKey, _ stmigrate.Fence) error {
			for _, epoch := range []string{"one", ""} {
				found, _ := s.MemoryExchanges.EpochExchanges(ctx, epoch, stmigrate.ExchangeKey{}, 100)
				for _, x := range found {
					if x.Key == key {
						return s.MemoryExchanges.ForgetExchange(ctx, key, x.Fence)
					}
				}
			}
			return nil
		}
	}, []string{"EpochStore: what is forgotten is gone with all that belongs to it"}},
}

// replays tells whether s was asked for a replay.
func replays(s *brokenParts) int {
	if s.finish != nil {
		return 1
	}
	return 0
}

// TestExchangeStoreNoticesBrokenParts: a suite that cannot fail proves nothing.
func TestExchangeStoreNoticesBrokenParts(t *testing.T) {
	t.Parallel()
	for name, broken := range brokenPartsOf {
		t.Run(name, func(t *testing.T) {
			failed := failing(t.Context(), optionalStoreChecks, func() StoreUnderTest {
				m, clock := memoryUnderTest()
				s := &brokenParts{MemoryExchanges: m}
				broken.store(s)
				return StoreUnderTest{Store: s, Advance: clock.Advance}
			})
			for _, want := range broken.noticed {
				assert.Contains(t, failed, want)
			}
			assert.Less(t, len(failed), len(optionalStoreChecks)/2, "what is not broken passes")
		})
	}
}

// TestOptionalPartsAreSkipped: a store that is nothing else is asked for nothing else.
func TestOptionalPartsAreSkipped(t *testing.T) {
	t.Parallel()
	for _, c := range optionalStoreChecks {
		m, clock := memoryUnderTest()
		plain := struct{ stmigrate.ExchangeStore }{m}
		assert.ErrorIs(t, c.run(t.Context(), StoreUnderTest{Store: plain, Advance: clock.Advance}), errOptional, c.name)
	}
}
