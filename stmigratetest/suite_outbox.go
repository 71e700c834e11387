package stmigratetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stmigrate/stmigrate"
)

// optional makes a check for stores that are an I, too.
func optional[I any](name string, run func(ctx context.Context, s StoreUnderTest, part I) error) check[StoreUnderTest] {
	return check[StoreUnderTest]{name, func(ctx context.Context, s StoreUnderTest) error {
		part, ok := s.Store.(I)
		if !ok {
			return errOptional
		}
		return run(ctx, s, part)
	}}
}

// group puts the name of an interface before those of its checks.
func group(what string, checks ...check[StoreUnderTest]) []check[StoreUnderTest] {
	for i := range checks {
		checks[i].name = what + ": " + checks[i].name
	}
	return checks
}

type (
	outbox      = stmigrate.RevocationOutbox
	deadLetters = interface {
		stmigrate.RevocationOutbox
		stmigrate.RevocationDeadLetters
	}
	budgets = stmigrate.RevocationBudgets
	sweeper = stmigrate.ClaimSweeper
	noter   = stmigrate.ClaimNoter
	epochs  = stmigrate.EpochStore
)

// finish claims and finishes the exchange of a session, which owes a revocation in that many units.
func (s StoreUnderTest) finish(ctx context.Context, session string, in int) (stmigrate.Claim, error) {
	return s.finishClaim(ctx, s.claim(session, "token of "+session), in)
}

func (s StoreUnderTest) finishClaim(ctx context.Context, c stmigrate.Claim, in int) (stmigrate.Claim, error) {
	if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
		return c, err
	}
	f := s.finished()
	f.Revocation, f.RevokeIn = owedFor(c.Key), time.Duration(in)*s.unit()
	if err := s.Store.Finish(ctx, c.Key, c.Fence, f); err != nil {
		return c, fmt.Errorf("finishing: %w", err)
	}
	return c, nil
}

func owedFor(key stmigrate.ExchangeKey) []byte { return append([]byte("owed\x00"), key[:]...) }

// due asks for revocations under a lease of 2 units and wants those of these sessions, in any order, at that attempt.
func (s StoreUnderTest) due(ctx context.Context, o outbox, attempt int, sessions ...string) (map[string]stmigrate.DueRevocation, error) {
	got, err := o.DueRevocations(ctx, 100, 2*s.unit())
	if err != nil {
		return nil, fmt.Errorf("asking for due revocations: %w", err)
	}
	bySession := make(map[string]stmigrate.DueRevocation)
	var names []string
	for _, d := range got {
		name := sessionOf(d.Key)
		names, bySession[name] = append(names, name), d
		switch {
		case d.Attempt != attempt:
			return nil, fmt.Errorf("the revocation of %q is attempt %d, want %d", name, d.Attempt, attempt)
		case !bytes.Equal(d.Revocation, owedFor(d.Key)):
			return nil, fmt.Errorf("the revocation of %q is %q, want what Finish was given", name, d.Revocation)
		}
	}
	slices.Sort(names)
	if !slices.Equal(names, sessions) {
		return nil, fmt.Errorf("due are %q, want %q", names, sessions)
	}
	return bySession, nil
}

func sessionOf(key stmigrate.ExchangeKey) string {
	return string(bytes.TrimPrefix(bytes.TrimRight(key[:], "\x00"), []byte("session ")))
}

// claimOf is the claim of the i-th of several sessions whose keys are in order.
func (s StoreUnderTest) claimOf(i int) stmigrate.Claim {
	return s.claim(fmt.Sprintf("%02d", i), fmt.Sprint(i))
}

// pages walks a list three at a time and compares the sessions of its keys.
func pages(want []string, list func(after stmigrate.ExchangeKey) ([]stmigrate.ExchangeKey, error)) error {
	var after stmigrate.ExchangeKey
	var got []string
	for {
		keys, err := list(after)
		if err != nil {
			return err
		}
		if len(keys) > 3 {
			return fmt.Errorf("a page has %d entries, want at most 3", len(keys))
		}
		if len(keys) == 0 {
			break
		}
		for _, key := range keys {
			got = append(got, sessionOf(key))
		}
		if len(got) > 2*len(want)+10 {
			return fmt.Errorf("the pages do not end: %q so far", got)
		}
		after = keys[len(keys)-1]
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("the pages hold %q, want %q in this order", got, want)
	}
	return nil
}

func deadPages(ctx context.Context, d deadLetters, want ...string) error {
	return pages(want, func(after stmigrate.ExchangeKey) (keys []stmigrate.ExchangeKey, err error) {
		letters, err := d.DeadRevocations(ctx, after, 3)
		for _, l := range letters {
			keys = append(keys, l.Key)
		}
		return keys, err
	})
}

func epochPages(ctx context.Context, e epochs, epoch string, want ...string) error {
	return pages(want, func(after stmigrate.ExchangeKey) (keys []stmigrate.ExchangeKey, err error) {
		found, err := e.EpochExchanges(ctx, epoch, after, 3)
		for _, x := range found {
			keys = append(keys, x.Key)
		}
		return keys, err
	})
}

var optionalStoreChecks = slices.Concat(outboxChecks, deadLetterChecks, budgetChecks, sweeperChecks, noterChecks, epochChecks)

var outboxChecks = group("RevocationOutbox",
	optional("what is owed is handed out, once while the lease runs", func(ctx context.Context, s StoreUnderTest, o outbox) error {
		if _, err := s.due(ctx, o, 1); err != nil {
			return fmt.Errorf("an empty store: %w", err)
		}
		c := s.claim("none", "none")
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		if err := s.Store.Finish(ctx, c.Key, c.Fence, s.finished()); err != nil {
			return err
		}
		for _, session := range []string{"a", "b"} {
			if _, err := s.finish(ctx, session, 0); err != nil {
				return err
			}
		}
		if _, err := s.due(ctx, o, 1, "a", "b"); err != nil {
			return err
		}
		s.pass(1)
		if _, err := s.due(ctx, o, 1); err != nil {
			return fmt.Errorf("while they are leased: %w", err)
		}
		return nil
	}),
	optional("of many who ask at once each is given something else", func(ctx context.Context, s StoreUnderTest, o outbox) error {
		const n = 24
		for i := range n {
			if _, err := s.finishClaim(ctx, s.claimOf(i), 0); err != nil {
				return err
			}
		}
		var mu sync.Mutex
		var wg sync.WaitGroup
		var failed error
		seen := make(map[stmigrate.ExchangeKey]int)
		for range 8 {
			wg.Go(func() {
				for range 2 * n {
					got, err := o.DueRevocations(ctx, 2, time.Hour)
					mu.Lock()
					failed = errors.Join(failed, err)
					for _, d := range got {
						seen[d.Key]++
					}
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if failed != nil {
			return failed
		}
		for key, times := range seen {
			if times != 1 {
				return atOnce{fmt.Errorf("the revocation of %q was handed out %d times", sessionOf(key), times)}
			}
		}
		if len(seen) != n {
			return fmt.Errorf("%d of %d revocations were handed out", len(seen), n)
		}
		return nil
	}),
	optional("what has been due for longest comes first, and not more than asked for", func(ctx context.Context, s StoreUnderTest, o outbox) error {
		for i, session := range []string{"c", "a", "b"} { // due at 3, 2 and 1
			if _, err := s.finish(ctx, session, 3-i); err != nil {
				return err
			}
		}
		s.pass(4)
		for _, want := range []string{"b", "a", "c"} {
			got, err := o.DueRevocations(ctx, 1, 5*s.unit())
			if err != nil {
				return err
			}
			if len(got) != 1 || sessionOf(got[0].Key) != want {
				return fmt.Errorf("asked for one, got %d; want that of %q", len(got), want)
			}
		}
		return nil
	}),
	optional("nothing is due before RevokeIn is over", func(ctx context.Context, s StoreUnderTest, o outbox) error {
		if _, err := s.finish(ctx, "a", 3); err != nil {
			return err
		}
		s.pass(2)
		if _, err := s.due(ctx, o, 1); err != nil {
			return err
		}
		s.pass(1)
		_, err := s.due(ctx, o, 1, "a")
		return err
	}),
	optional("a lease that runs out is handed out again, under another fence", func(ctx context.Context, s StoreUnderTest, o outbox) error {
		if _, err := s.finish(ctx, "a", 0); err != nil {
			return err
		}
		first, err := s.due(ctx, o, 1, "a")
		if err != nil {
			return err
		}
		s.pass(2)
		second, err := s.due(ctx, o, 2, "a")
		if err != nil {
			return err
		}
		if first["a"].Fence == second["a"].Fence || first["a"].Fence == (stmigrate.Fence{}) {
			return fmt.Errorf("two leases have the fences %x and %x, want two that nobody can guess", first["a"].Fence, second["a"].Fence)
		}
		key := first["a"].Key
		for _, reason := range []string{"", "refused"} {
			if err := lost("SettleRevocation with the old fence", o.SettleRevocation(ctx, key, first["a"].Fence, 0, reason)); err != nil {
				return err
			}
		}
		if err := lost("SettleRevocation with the old fence", o.SettleRevocation(ctx, key, first["a"].Fence, s.unit(), "")); err != nil {
			return err
		}
		if err := lost("SettleRevocation with no fence", o.SettleRevocation(ctx, key, stmigrate.Fence{}, 0, "")); err != nil {
			return err
		}
		if err := o.SettleRevocation(ctx, key, second["a"].Fence, 0, ""); err != nil {
			return fmt.Errorf("settling: %w", err)
		}
		return lost("SettleRevocation with the old fence of what is settled", o.SettleRevocation(ctx, key, first["a"].Fence, 0, ""))
	}),
	optional("what is done is never handed out again", func(ctx context.Context, s StoreUnderTest, o outbox) error {
		c, err := s.finish(ctx, "a", 0)
		if err != nil {
			return err
		}
		due, err := s.due(ctx, o, 1, "a")
		if err != nil {
			return err
		}
		for range 3 {
			if err := o.SettleRevocation(ctx, c.Key, due["a"].Fence, 0, ""); err != nil {
				return fmt.Errorf("settling: %w", err)
			}
		}
		f := s.finished()
		f.Revocation = owedFor(c.Key)
		if err := s.Store.Finish(ctx, c.Key, c.Fence, f); err != nil {
			return fmt.Errorf("repeating the finish: %w", err)
		}
		s.pass(3)
		if _, err := s.due(ctx, o, 1); err != nil {
			return err
		}
		got, err := s.Store.Claim(ctx, s.claim("a", "1"))
		if err != nil {
			return err
		}
		return isDone(got, c.User, f, false)
	}),
	optional("what is to be tried again is due when it says", func(ctx context.Context, s StoreUnderTest, o outbox) error {
		c, err := s.finish(ctx, "a", 0)
		if err != nil {
			return err
		}
		due, err := s.due(ctx, o, 1, "a")
		if err != nil {
			return err
		}
		if err := o.SettleRevocation(ctx, c.Key, due["a"].Fence, 5*s.unit(), "not now"); err != nil {
			return fmt.Errorf("settling: %w", err)
		}
		s.pass(3) // the lease would be over by now
		if _, err := s.due(ctx, o, 2); err != nil {
			return err
		}
		if err := o.SettleRevocation(ctx, c.Key, due["a"].Fence, 5*s.unit(), "not now"); err != nil {
			return fmt.Errorf("settling again: %w", err)
		}
		s.pass(2)
		_, err = s.due(ctx, o, 2, "a")
		return err
	}),
	optional("what was put back untried does not count", func(ctx context.Context, s StoreUnderTest, o outbox) error {
		c, err := s.finish(ctx, "a", 0)
		if err != nil {
			return err
		}
		for range 3 {
			due, err := s.due(ctx, o, 1, "a")
			if err != nil {
				return err
			}
			for range 2 {
				if err := o.SettleRevocation(ctx, c.Key, due["a"].Fence, s.unit(), ""); err != nil {
					return fmt.Errorf("putting it back: %w", err)
				}
			}
			s.pass(1)
		}
		return nil
	}),
	optional("the finisher holds the first lease, with the fence of the claim", func(ctx context.Context, s StoreUnderTest, o outbox) error {
		done, err := s.finish(ctx, "done", 3)
		if err != nil {
			return err
		}
		later, err := s.finish(ctx, "later", 3)
		if err != nil {
			return err
		}
		missed, err := s.finish(ctx, "missed", 3)
		if err != nil {
			return err
		}
		for range 2 {
			if err := o.SettleRevocation(ctx, done.Key, done.Fence, 0, ""); err != nil {
				return fmt.Errorf("the finisher settles: %w", err)
			}
		}
		if err := o.SettleRevocation(ctx, later.Key, later.Fence, 6*s.unit(), "not now"); err != nil {
			return fmt.Errorf("the finisher settles: %w", err)
		}
		s.pass(4)
		if _, err := s.due(ctx, o, 1, "missed"); err != nil {
			return err
		}
		return lost("SettleRevocation by the finisher, after it was handed out", o.SettleRevocation(ctx, missed.Key, missed.Fence, 0, ""))
	}),
	optional("what is owed goes with its entry", func(ctx context.Context, s StoreUnderTest, o outbox) error {
		c := s.claim("a", "1")
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		f := s.finished()
		f.Revocation, f.SealedFor, f.KeepFor = owedFor(c.Key), s.unit(), 4*s.unit()
		if err := s.Store.Finish(ctx, c.Key, c.Fence, f); err != nil {
			return err
		}
		due, err := s.due(ctx, o, 1, "a")
		if err != nil {
			return err
		}
		s.pass(5)
		if _, err := s.due(ctx, o, 2); err != nil {
			return fmt.Errorf("after KeepFor: %w", err)
		}
		return lost("SettleRevocation after KeepFor", o.SettleRevocation(ctx, c.Key, due["a"].Fence, s.unit(), "not now"))
	}),
	optional("a suspect that is taken over owes what its finisher says", func(ctx context.Context, s StoreUnderTest, o outbox) error {
		first, second := s.claim("a", "1"), s.claim("a", "1")
		if _, err := s.expect(ctx, first, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		s.pass(2)
		if _, err := s.expect(ctx, second, stmigrate.ClaimHeld, true); err != nil {
			return err
		}
		f := s.finished()
		f.Revocation = owedFor(first.Key)
		if err := lost("Finish with the old fence", s.Store.Finish(ctx, first.Key, first.Fence, f)); err != nil {
			return err
		}
		if _, err := s.due(ctx, o, 1); err != nil {
			return fmt.Errorf("before the finish: %w", err)
		}
		if err := s.Store.Finish(ctx, second.Key, second.Fence, f); err != nil {
			return err
		}
		_, err := s.due(ctx, o, 1, "a")
		return err
	}),
	optional("ends by its context, as unavailable", func(_ context.Context, s StoreUnderTest, o outbox) error {
		ended, c := endedContext(), s.claim("a", "1")
		_, dueErr := o.DueRevocations(ended, 1, s.unit())
		return allUnavailable(map[string]error{"DueRevocations": dueErr, "SettleRevocation": o.SettleRevocation(ended, c.Key, c.Fence, 0, "")})
	}),
)

func endedContext() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

func allUnavailable(errs map[string]error) error {
	for what, err := range errs {
		if !errors.Is(err, stmigrate.ErrUnavailable) {
			return fmt.Errorf("%s with a context that has ended: got error %v, want ErrUnavailable", what, err)
		}
	}
	return nil
}

// die makes dead letters of these sessions, each at its second attempt.
func (s StoreUnderTest) die(ctx context.Context, o outbox, reason string, sessions ...string) error {
	for _, session := range sessions {
		if _, err := s.finish(ctx, session, 0); err != nil {
			return err
		}
	}
	if _, err := s.due(ctx, o, 1, sessions...); err != nil {
		return err
	}
	s.pass(2)
	due, err := s.due(ctx, o, 2, sessions...)
	if err != nil {
		return err
	}
	for _, d := range due {
		for range 2 {
			if err := o.SettleRevocation(ctx, d.Key, d.Fence, 0, reason); err != nil {
				return fmt.Errorf("settling as dead: %w", err)
			}
		}
	}
	return nil
}

var deadLetterChecks = group("RevocationDeadLetters",
	optional("what was given up is listed, and not handed out", func(ctx context.Context, s StoreUnderTest, d deadLetters) error {
		if err := deadPages(ctx, d); err != nil {
			return fmt.Errorf("an empty store: %w", err)
		}
		const reason = "the provider says: \"no\" \x01 ü"
		if err := s.die(ctx, d, reason, "a"); err != nil {
			return err
		}
		s.pass(3)
		if _, err := s.due(ctx, d, 0); err != nil {
			return err
		}
		got, err := d.DeadRevocations(ctx, stmigrate.ExchangeKey{}, 10)
		if err != nil {
			return err
		}
		if len(got) != 1 || got[0].Reason != reason || got[0].Attempts != 2 || !bytes.Equal(got[0].Revocation, owedFor(got[0].Key)) {
			return fmt.Errorf("the dead letters are %+v, want that of \"a\" after 2 attempts with the reason %q", got, reason)
		}
		return nil
	}),
	optional("dead letters come in pages, in the order of their keys", func(ctx context.Context, s StoreUnderTest, d deadLetters) error {
		if err := s.die(ctx, d, "no", "a", "b", "c", "d", "e", "f", "g"); err != nil {
			return err
		}
		return deadPages(ctx, d, "a", "b", "c", "d", "e", "f", "g")
	}),
	optional("a replay begins anew, now", func(ctx context.Context, s StoreUnderTest, d deadLetters) error {
		if err := s.die(ctx, d, "no", "a", "b"); err != nil {
			return err
		}
		for range 2 {
			if err := d.ReplayRevocation(ctx, s.claim("a", "1").Key); err != nil {
				return fmt.Errorf("replaying: %w", err)
			}
		}
		if err := deadPages(ctx, d, "b"); err != nil {
			return err
		}
		due, err := s.due(ctx, d, 1, "a")
		if err != nil {
			return err
		}
		if err := d.ReplayRevocation(ctx, due["a"].Key); err != nil {
			return fmt.Errorf("replaying what is no dead letter: %w", err)
		}
		if _, err := s.due(ctx, d, 1); err != nil {
			return fmt.Errorf("a replay of what is leased: %w", err)
		}
		return d.SettleRevocation(ctx, due["a"].Key, due["a"].Fence, 0, "")
	}),
	optional("what is dropped is gone, and its exchange stays", func(ctx context.Context, s StoreUnderTest, d deadLetters) error {
		if err := s.die(ctx, d, "no", "a", "b"); err != nil {
			return err
		}
		key := s.claim("a", "1").Key
		for range 2 {
			if err := d.DropRevocation(ctx, key); err != nil {
				return fmt.Errorf("dropping: %w", err)
			}
		}
		if err := d.ReplayRevocation(ctx, key); err != nil {
			return fmt.Errorf("replaying what was dropped: %w", err)
		}
		if err := deadPages(ctx, d, "b"); err != nil {
			return err
		}
		if _, err := s.due(ctx, d, 0); err != nil {
			return err
		}
		_, err := s.expect(ctx, s.claim("a", "1"), stmigrate.ClaimDone, false)
		return err
	}),
	optional("what is no dead letter is not dropped", func(ctx context.Context, s StoreUnderTest, d deadLetters) error {
		c, err := s.finish(ctx, "a", 0)
		if err != nil {
			return err
		}
		if err := d.DropRevocation(ctx, c.Key); err != nil {
			return err
		}
		_, err = s.due(ctx, d, 1, "a")
		return err
	}),
	optional("a dead letter goes with its entry", func(ctx context.Context, s StoreUnderTest, d deadLetters) error {
		c := s.claim("a", "1")
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		f := s.finished()
		f.Revocation, f.RevokeIn, f.KeepFor = owedFor(c.Key), s.unit(), 4*s.unit()
		if err := s.Store.Finish(ctx, c.Key, c.Fence, f); err != nil {
			return err
		}
		if err := d.SettleRevocation(ctx, c.Key, c.Fence, 0, "no"); err != nil {
			return fmt.Errorf("the finisher settles as dead: %w", err)
		}
		if err := deadPages(ctx, d, "a"); err != nil {
			return err
		}
		s.pass(4)
		return deadPages(ctx, d)
	}),
	optional("ends by its context, as unavailable", func(_ context.Context, s StoreUnderTest, d deadLetters) error {
		ended, key := endedContext(), s.claim("a", "1").Key
		_, listErr := d.DeadRevocations(ended, stmigrate.ExchangeKey{}, 1)
		return allUnavailable(map[string]error{
			"DeadRevocations": listErr, "ReplayRevocation": d.ReplayRevocation(ended, key), "DropRevocation": d.DropRevocation(ended, key),
		})
	}),
)

// take wants that many calls out of n from a bucket of 4 calls in 4 units.
func (s StoreUnderTest) take(ctx context.Context, b budgets, name string, n, want int) (wait time.Duration, err error) {
	got, wait, err := b.TakeBudget(ctx, name, n, stmigrate.RevocationBudget{Calls: 4, Per: 4 * s.unit()})
	switch {
	case err != nil:
		return 0, fmt.Errorf("taking from the budget: %w", err)
	case got != want:
		return 0, fmt.Errorf("asked for %d calls and got %d, want %d", n, got, want)
	case want == 0 && wait <= 0:
		return 0, fmt.Errorf("there is nothing left and the wait is %v", wait)
	}
	return wait, nil
}

var budgetChecks = group("RevocationBudgets",
	optional("a full bucket gives what it holds, and then nothing", func(ctx context.Context, s StoreUnderTest, b budgets) error {
		for _, step := range []struct{ n, want int }{{1, 1}, {2, 2}, {5, 1}} {
			if _, err := s.take(ctx, b, "a", step.n, step.want); err != nil {
				return err
			}
		}
		wait, err := s.take(ctx, b, "a", 1, 0)
		if err != nil {
			return err
		}
		if wait > s.unit() {
			return fmt.Errorf("the wait is %v, and one call flows in every %v", wait, s.unit())
		}
		_, err = s.take(ctx, b, "b", 9, 4)
		return err
	}),
	optional("calls flow in evenly, up to what the bucket holds", func(ctx context.Context, s StoreUnderTest, b budgets) error {
		if _, err := s.take(ctx, b, "a", 4, 4); err != nil {
			return err
		}
		s.pass(1)
		if _, err := s.take(ctx, b, "a", 4, 1); err != nil {
			return fmt.Errorf("after one unit: %w", err)
		}
		s.pass(2)
		if _, err := s.take(ctx, b, "a", 4, 2); err != nil {
			return fmt.Errorf("after two more: %w", err)
		}
		s.pass(6)
		if _, err := s.take(ctx, b, "a", 9, 4); err != nil {
			return fmt.Errorf("after a long time: %w", err)
		}
		if _, err := s.take(ctx, b, "a", 9, 0); err != nil {
			return fmt.Errorf("what flowed in beyond what it holds: %w", err)
		}
		return nil
	}),
	optional("all callers share it", func(ctx context.Context, s StoreUnderTest, b budgets) error {
		var mu sync.Mutex
		var wg sync.WaitGroup
		var failed error
		total := 0
		for range 16 {
			wg.Go(func() {
				got, _, err := b.TakeBudget(ctx, "a", 3, stmigrate.RevocationBudget{Calls: 10, Per: 24 * time.Hour})
				mu.Lock()
				defer mu.Unlock()
				failed = errors.Join(failed, err)
				total += got
			})
		}
		wg.Wait()
		if failed == nil && total != 10 {
			return atOnce{fmt.Errorf("16 callers got %d calls of 10", total)}
		}
		return failed
	}),
	optional("a pause empties it, and nothing flows in meanwhile", func(ctx context.Context, s StoreUnderTest, b budgets) error {
		if err := b.PauseBudget(ctx, "a", 4*s.unit()); err != nil {
			return fmt.Errorf("pausing: %w", err)
		}
		wait, err := s.take(ctx, b, "a", 1, 0)
		if err != nil {
			return err
		}
		if wait < 3*s.unit() || wait > 5*s.unit() {
			return fmt.Errorf("the wait is %v in a pause of %v", wait, 4*s.unit())
		}
		s.pass(3)
		if _, err := s.take(ctx, b, "a", 1, 0); err != nil {
			return fmt.Errorf("within the pause: %w", err)
		}
		if _, err := s.take(ctx, b, "b", 4, 4); err != nil {
			return fmt.Errorf("another bucket: %w", err)
		}
		s.pass(2)
		if _, err := s.take(ctx, b, "a", 4, 1); err != nil {
			return fmt.Errorf("one unit after the pause: %w", err)
		}
		return nil
	}),
	optional("a longer pause stays", func(ctx context.Context, s StoreUnderTest, b budgets) error {
		for _, d := range []int{4, 1} {
			if err := b.PauseBudget(ctx, "a", time.Duration(d)*s.unit()); err != nil {
				return fmt.Errorf("pausing: %w", err)
			}
		}
		s.pass(3)
		_, err := s.take(ctx, b, "a", 1, 0)
		return err
	}),
	optional("ends by its context, as unavailable", func(_ context.Context, s StoreUnderTest, b budgets) error {
		ended := endedContext()
		_, _, takeErr := b.TakeBudget(ended, "a", 1, stmigrate.RevocationBudget{Calls: 1, Per: s.unit()})
		return allUnavailable(map[string]error{"TakeBudget": takeErr, "PauseBudget": b.PauseBudget(ended, "a", s.unit())})
	}),
)

// abandoned wants these sessions of AbandonedClaims, in this order.
func (s StoreUnderTest) abandoned(ctx context.Context, w sweeper, since, limit int, sessions ...string) ([]stmigrate.Claim, error) {
	got, err := w.AbandonedClaims(ctx, time.Duration(since)*s.unit(), limit)
	if err != nil {
		return nil, fmt.Errorf("asking for abandoned claims: %w", err)
	}
	var names []string
	for _, c := range got {
		names = append(names, sessionOf(c.Key))
	}
	if !slices.Equal(names, sessions) {
		return nil, fmt.Errorf("abandoned are %q, want %q in this order", names, sessions)
	}
	return got, nil
}

var sweeperChecks = group("ClaimSweeper",
	optional("finds claims whose lease has been over for long enough", func(ctx context.Context, s StoreUnderTest, w sweeper) error {
		c := s.claim("a", "1")
		c.Epoch = "one"
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		if _, err := s.abandoned(ctx, w, 0, 10); err != nil {
			return fmt.Errorf("while the lease runs: %w", err)
		}
		s.pass(3) // the lease has been over for 1
		if _, err := s.abandoned(ctx, w, 3, 10); err != nil {
			return fmt.Errorf("too early: %w", err)
		}
		s.pass(2)
		for range 2 { // it changes nothing
			got, err := s.abandoned(ctx, w, 3, 10, "a")
			if err != nil {
				return err
			}
			if got[0].Shown != c.Shown || got[0].User != c.User || got[0].Epoch != c.Epoch {
				return fmt.Errorf("the claim is %+v, want key, shown, user and epoch of the holder", got[0])
			}
		}
		return s.Store.Finish(ctx, c.Key, c.Fence, s.finished())
	}),
	optional("finds neither what is finished nor what was released", func(ctx context.Context, s StoreUnderTest, w sweeper) error {
		if _, err := s.finish(ctx, "finished", 0); err != nil {
			return err
		}
		for _, session := range []string{"given up", "suspect"} {
			c := s.claim(session, "1")
			if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
				return err
			}
			if err := s.Store.Release(ctx, c.Key, c.Fence, session == "suspect"); err != nil {
				return err
			}
		}
		s.pass(3)
		_, err := s.abandoned(ctx, w, 1, 10, "suspect")
		return err
	}),
	optional("the longest first, and what was taken over no more", func(ctx context.Context, s StoreUnderTest, w sweeper) error {
		for _, session := range []string{"c", "a", "b"} {
			if _, err := s.expect(ctx, s.claim(session, session), stmigrate.ClaimHeld, false); err != nil {
				return err
			}
			s.pass(1)
		}
		s.pass(3)
		if _, err := s.abandoned(ctx, w, 1, 2, "c", "a"); err != nil {
			return err
		}
		if _, err := s.expect(ctx, s.claim("c", "c"), stmigrate.ClaimHeld, true); err != nil {
			return err
		}
		_, err := s.abandoned(ctx, w, 0, 10, "a", "b")
		return err
	}),
	optional("ends by its context, as unavailable", func(_ context.Context, s StoreUnderTest, w sweeper) error {
		_, err := w.AbandonedClaims(endedContext(), s.unit(), 1)
		return allUnavailable(map[string]error{"AbandonedClaims": err})
	}),
)

// noted wants a state from Recall, and the note of a held claim.
func (s StoreUnderTest) noted(ctx context.Context, c stmigrate.Claim, want stmigrate.ClaimState, note string) (stmigrate.Claimed, error) {
	got, err := s.Store.Recall(ctx, c.Shown)
	switch {
	case err != nil:
		return got, fmt.Errorf("recalling: %w", err)
	case got.State != want:
		return got, fmt.Errorf("got %s from Recall, want %s", stateName(got.State), stateName(want))
	case string(got.Note) != note:
		return got, fmt.Errorf("the note is %q, want %q", got.Note, note)
	}
	return got, nil
}

var noterChecks = group("ClaimNoter",
	optional("a held claim is recalled by its token once it has a note", func(ctx context.Context, s StoreUnderTest, n noter) error {
		c := s.claim("a", "1")
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		if _, err := s.noted(ctx, c, 0, ""); err != nil {
			return fmt.Errorf("without a note: %w", err)
		}
		for _, note := range []string{"first", "second\x00"} {
			if err := n.Note(ctx, c.Key, c.Fence, []byte(note)); err != nil {
				return fmt.Errorf("noting: %w", err)
			}
			got, err := s.noted(ctx, c, stmigrate.ClaimBusy, note)
			if err != nil {
				return err
			}
			if got.Wait <= 0 || got.Wait > 2*s.unit() {
				return fmt.Errorf("the Wait is %v, want what is left of the lease of %v", got.Wait, 2*s.unit())
			}
		}
		if _, err := s.noted(ctx, s.claim("a", "2"), 0, ""); err != nil {
			return fmt.Errorf("by a token that was not shown: %w", err)
		}
		s.pass(3)
		got, err := s.noted(ctx, c, stmigrate.ClaimBusy, "second\x00")
		if err == nil && got.Wait != 0 {
			return fmt.Errorf("the lease is over and the Wait is %v", got.Wait)
		}
		return err
	}),
	optional("a note is handed to whoever takes over", func(ctx context.Context, s StoreUnderTest, n noter) error {
		first, second, third := s.claim("a", "1"), s.claim("a", "2"), s.claim("a", "2")
		if _, err := s.expect(ctx, first, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		if err := n.Note(ctx, first.Key, first.Fence, []byte("note")); err != nil {
			return fmt.Errorf("noting: %w", err)
		}
		s.pass(2)
		got, err := s.expect(ctx, second, stmigrate.ClaimHeld, true)
		if err != nil {
			return err
		}
		if string(got.Note) != "note" {
			return fmt.Errorf("the note is %q after the take-over", got.Note)
		}
		if _, err := s.noted(ctx, first, stmigrate.ClaimBusy, "note"); err != nil {
			return fmt.Errorf("by the token that the note was written for, after the take-over: %w", err)
		}
		if _, err := s.noted(ctx, second, 0, ""); err != nil {
			return fmt.Errorf("by the token of who took over and has noted nothing: %w", err)
		}
		if err := lost("Note with the old fence", n.Note(ctx, first.Key, first.Fence, []byte("late"))); err != nil {
			return err
		}
		if err := s.Store.Release(ctx, second.Key, second.Fence, true); err != nil {
			return err
		}
		if _, err := s.noted(ctx, first, stmigrate.ClaimBusy, "note"); err != nil {
			return fmt.Errorf("by the token that the note was written for, after a suspect release: %w", err)
		}
		if got, err = s.expect(ctx, third, stmigrate.ClaimHeld, true); err != nil {
			return err
		}
		if string(got.Note) != "note" {
			return fmt.Errorf("the note is %q after a suspect release", got.Note)
		}
		if err := n.Note(ctx, third.Key, third.Fence, []byte("newer")); err != nil {
			return fmt.Errorf("noting after the take-over: %w", err)
		}
		if _, err := s.noted(ctx, third, stmigrate.ClaimBusy, "newer"); err != nil {
			return fmt.Errorf("by the token of who took over and has noted: %w", err)
		}
		if _, err := s.noted(ctx, first, 0, ""); err != nil {
			return fmt.Errorf("by the token whose note was replaced: %w", err)
		}
		return nil
	}),
	optional("a note goes with Finish and with Release", func(ctx context.Context, s StoreUnderTest, n noter) error {
		done, given := s.claim("a", "1"), s.claim("b", "2")
		for _, c := range []stmigrate.Claim{done, given} {
			if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
				return err
			}
			if err := n.Note(ctx, c.Key, c.Fence, []byte("note")); err != nil {
				return fmt.Errorf("noting: %w", err)
			}
		}
		if err := s.Store.Finish(ctx, done.Key, done.Fence, s.finished()); err != nil {
			return err
		}
		if _, err := s.noted(ctx, done, stmigrate.ClaimDone, ""); err != nil {
			return err
		}
		if err := lost("Note after Finish", n.Note(ctx, done.Key, done.Fence, []byte("late"))); err != nil {
			return err
		}
		if err := s.Store.Release(ctx, given.Key, given.Fence, false); err != nil {
			return err
		}
		if _, err := s.noted(ctx, given, 0, ""); err != nil {
			return fmt.Errorf("after Release: %w", err)
		}
		if err := lost("Note after Release", n.Note(ctx, given.Key, given.Fence, []byte("late"))); err != nil {
			return err
		}
		got, err := s.expect(ctx, s.claim("b", "2"), stmigrate.ClaimHeld, false)
		if err == nil && got.Note != nil {
			return fmt.Errorf("a new claim has the note %q", got.Note)
		}
		return err
	}),
	optional("ends by its context, as unavailable", func(_ context.Context, s StoreUnderTest, n noter) error {
		c := s.claim("a", "1")
		return allUnavailable(map[string]error{"Note": n.Note(endedContext(), c.Key, c.Fence, []byte("note"))})
	}),
)

// inEpoch is the claim of a session in an epoch.
func (s StoreUnderTest) inEpoch(epoch, session string) stmigrate.Claim {
	c := s.claim(session, "token of "+session)
	c.Epoch = epoch
	return c
}

var epochChecks = group("EpochStore",
	optional("a closed epoch takes no claim, and nothing is changed", func(ctx context.Context, s StoreUnderTest, e epochs) error {
		lapsed, done := s.inEpoch("one", "lapsed"), s.inEpoch("one", "done")
		if _, err := s.expect(ctx, lapsed, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		if _, err := s.finishClaim(ctx, done, 0); err != nil {
			return err
		}
		for range 2 {
			if err := e.CloseEpoch(ctx, "one"); err != nil {
				return fmt.Errorf("closing: %w", err)
			}
		}
		s.pass(2)
		for _, session := range []string{"lapsed", "done", "new"} {
			if _, err := s.expect(ctx, s.inEpoch("one", session), stmigrate.ClaimClosed, false); err != nil {
				return fmt.Errorf("%s: %w", session, err)
			}
		}
		for _, epoch := range []string{"two", ""} {
			if _, err := s.expect(ctx, s.inEpoch(epoch, "new in "+epoch), stmigrate.ClaimHeld, false); err != nil {
				return fmt.Errorf("another epoch: %w", err)
			}
		}
		if _, err := s.expect(ctx, s.inEpoch("two", "new"), stmigrate.ClaimHeld, false); err != nil {
			return fmt.Errorf("another epoch, where the closed one was refused: %w", err)
		}
		if _, err := s.expect(ctx, s.inEpoch("two", "done"), stmigrate.ClaimDone, false); err != nil {
			return err
		}
		_, err := s.expect(ctx, s.inEpoch("two", "lapsed"), stmigrate.ClaimHeld, true)
		return err
	}),
	optional("what is held when its epoch is closed can be finished and released", func(ctx context.Context, s StoreUnderTest, e epochs) error {
		a, b := s.inEpoch("one", "a"), s.inEpoch("one", "b")
		for _, c := range []stmigrate.Claim{a, b} {
			if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
				return err
			}
		}
		if err := e.CloseEpoch(ctx, "one"); err != nil {
			return fmt.Errorf("closing: %w", err)
		}
		if _, err := s.expect(ctx, a, stmigrate.ClaimHeld, false); err != nil {
			return fmt.Errorf("claiming again with the same fence: %w", err)
		}
		if err := s.Store.Finish(ctx, a.Key, a.Fence, s.finished()); err != nil {
			return fmt.Errorf("finishing: %w", err)
		}
		if err := s.Store.Release(ctx, b.Key, b.Fence, false); err != nil {
			return fmt.Errorf("releasing: %w", err)
		}
		if err := epochPages(ctx, e, "one", "a"); err != nil {
			return err
		}
		_, err := s.expect(ctx, s.inEpoch("two", "b"), stmigrate.ClaimHeld, false)
		return err
	}),
	optional("the exchanges of an epoch come in pages, in the order of their keys", func(ctx context.Context, s StoreUnderTest, e epochs) error {
		if err := epochPages(ctx, e, "one"); err != nil {
			return fmt.Errorf("an empty store: %w", err)
		}
		var want []string
		for i := range 8 {
			c := s.claimOf(7 - i)
			c.Epoch = []string{"one", "two", ""}[min(i%4, 2)]
			if _, err := s.finishClaim(ctx, c, 0); err != nil {
				return err
			}
			if c.Epoch == "" {
				want = append(want, sessionOf(c.Key))
			}
		}
		if _, err := s.expect(ctx, s.inEpoch("one", "99"), stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		slices.Sort(want)
		if err := epochPages(ctx, e, "", want...); err != nil {
			return err
		}
		if err := epochPages(ctx, e, "two", "02", "06"); err != nil {
			return err
		}
		got, err := e.EpochExchanges(ctx, "one", stmigrate.ExchangeKey{}, 10)
		if err != nil {
			return err
		}
		if len(got) != 2 || got[0].Handle != s.finished().Handle {
			return fmt.Errorf("the exchanges of an epoch are %+v, want 2 with their handles", got)
		}
		return nil
	}),
	optional("who takes over takes it into its own epoch", func(ctx context.Context, s StoreUnderTest, e epochs) error {
		if _, err := s.expect(ctx, s.inEpoch("one", "a"), stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		s.pass(2)
		c := s.inEpoch("two", "a")
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, true); err != nil {
			return err
		}
		if err := s.Store.Finish(ctx, c.Key, c.Fence, s.finished()); err != nil {
			return err
		}
		if err := epochPages(ctx, e, "one"); err != nil {
			return err
		}
		return epochPages(ctx, e, "two", "a")
	}),
	optional("what is forgotten is gone with all that belongs to it", func(ctx context.Context, s StoreUnderTest, e epochs) error {
		c, err := s.finishClaim(ctx, s.inEpoch("one", "a"), 0)
		if err != nil {
			return err
		}
		held := s.inEpoch("one", "held")
		if _, err := s.expect(ctx, held, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		for _, wrong := range []struct {
			key   stmigrate.ExchangeKey
			fence stmigrate.Fence
		}{{c.Key, stmigrate.Fence{1}}, {c.Key, stmigrate.Fence{}}, {s.claim("b", "1").Key, c.Fence}, {held.Key, held.Fence}} {
			if err := e.ForgetExchange(ctx, wrong.key, wrong.fence); err != nil {
				return fmt.Errorf("forgetting what is not finished with that fence: %w", err)
			}
		}
		if err := epochPages(ctx, e, "one", "a"); err != nil {
			return fmt.Errorf("after it was to be forgotten with a wrong fence: %w", err)
		}
		if err := s.Store.Finish(ctx, held.Key, held.Fence, s.finished()); err != nil {
			return fmt.Errorf("finishing what was held when it was to be forgotten: %w", err)
		}
		for range 2 {
			if err := e.ForgetExchange(ctx, c.Key, c.Fence); err != nil {
				return fmt.Errorf("forgetting: %w", err)
			}
		}
		if err := epochPages(ctx, e, "one", "held"); err != nil {
			return err
		}
		got, err := s.Store.Recall(ctx, c.Shown)
		if err != nil {
			return err
		}
		if got.State != 0 {
			return fmt.Errorf("got %s from Recall of what is forgotten", stateName(got.State))
		}
		if o, ok := s.Store.(outbox); ok {
			if _, err := s.due(ctx, o, 1); err != nil {
				return fmt.Errorf("what it owed: %w", err)
			}
			if err := lost("Settling what it owed", o.SettleRevocation(ctx, c.Key, c.Fence, 0, "")); err != nil {
				return err
			}
		}
		_, err = s.expect(ctx, s.inEpoch("two", "a"), stmigrate.ClaimHeld, false)
		return err
	}),
	optional("no epoch is no epoch to close", func(ctx context.Context, s StoreUnderTest, e epochs) error {
		if e.CloseEpoch(ctx, "") == nil {
			return errors.New(`CloseEpoch("") succeeded`)
		}
		_, err := s.expect(ctx, s.claim("a", "1"), stmigrate.ClaimHeld, false)
		return err
	}),
	optional("ends by its context, as unavailable", func(_ context.Context, s StoreUnderTest, e epochs) error {
		ended, c := endedContext(), s.claim("a", "1")
		_, listErr := e.EpochExchanges(ended, "one", stmigrate.ExchangeKey{}, 1)
		return allUnavailable(map[string]error{
			"CloseEpoch": e.CloseEpoch(ended, "one"), "EpochExchanges": listErr, "ForgetExchange": e.ForgetExchange(ended, c.Key, c.Fence),
		})
	}),
)
