package stmigratetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stmigrate/stmigrate"
)

// StoreUnderTest is an exchange store with a hand on its clock.
type StoreUnderTest struct {
	Store stmigrate.ExchangeStore
	// Advance puts the store's clock forward. nil: the store's clock is a real one, and the suite lets short times pass.
	Advance func(time.Duration)

	pace *pace
}

// pace is how fast time goes in a check of a store with a real clock.
type pace struct{ unit, passed time.Duration }

const quickest, slowest = 200 * time.Millisecond, 25 * time.Second

// atOnce is what is wrong with a store that many ask at once, about what no time ends: no machine is too slow for it, and another
// try might hide it.
type atOnce struct{ error }

// TestExchangeStore holds an [stmigrate.ExchangeStore] to its contract, and to those of what a store may be, too
// ([stmigrate.RevocationOutbox] and so on), as far as it is; the other checks are skipped. open returns an empty store, once
// for each check; where the clock is real and the machine too slow for a check, it is made again more slowly, with another.
func TestExchangeStore(t *testing.T, open func(t *testing.T) StoreUnderTest) {
	t.Helper()
	for _, c := range slices.Concat(exchangeStoreChecks, optionalStoreChecks) {
		t.Run(c.name, func(t *testing.T) { paced(t, open, c, quickest) })
	}
}

// paced makes a check at this pace, and at a slower one where the machine was too slow to tell.
func paced(t *testing.T, open func(t *testing.T) StoreUnderTest, c check[StoreUnderTest], unit time.Duration) {
	late, err := open(t).at(t.Context(), c, unit)
	switch {
	case errors.Is(err, errOptional):
		t.Skip(err)
	case err != nil && late && unit < slowest:
		t.Logf("this machine was too slow, which may be why: %v", err)
		t.Run("slower", func(t *testing.T) { paced(t, open, c, 5*unit) })
	case err != nil:
		t.Error(err)
	}
}

// at makes a check at this pace. late: a real clock ran on for half a unit or more besides what the check let pass, so that the error may
// be the machine's.
func (s StoreUnderTest) at(ctx context.Context, c check[StoreUnderTest], unit time.Duration) (late bool, err error) {
	s.pace = &pace{unit: unit}
	began := time.Now()
	err = c.run(ctx, s)
	return s.Advance == nil && !errors.As(err, new(atOnce)) && time.Since(began)-s.pace.passed >= unit/2, err
}

// unit is what the suite counts time in.
func (s StoreUnderTest) unit() time.Duration {
	if s.Advance != nil {
		return time.Minute
	}
	return s.pace.unit
}

// pass lets n units pass on the store's clock, and a little more where the clock is real.
func (s StoreUnderTest) pass(n int) {
	d := time.Duration(n) * s.unit()
	if s.Advance != nil {
		s.Advance(d)
		return
	}
	d += s.unit() / 10
	s.pace.passed += d
	<-time.After(d)
}

// claim is a claim of one session, with a fence of its own, leased for 2 units and kept for 50.
func (s StoreUnderTest) claim(session, token string) stmigrate.Claim {
	c := stmigrate.Claim{User: "public|user-of-" + session, Lease: 2 * s.unit(), KeepFor: 50 * s.unit()}
	copy(c.Key[:], "session "+session)
	copy(c.Shown[:], "token "+token)
	_, _ = rand.Read(c.Fence[:])
	return c
}

func (s StoreUnderTest) finished() stmigrate.Finished {
	return stmigrate.Finished{Handle: "handle-1", Sealed: []byte("sealed\x00answer"), SealedFor: 3 * s.unit(), KeepFor: 40 * s.unit()}
}

// expect claims and compares the state of the answer.
func (s StoreUnderTest) expect(ctx context.Context, c stmigrate.Claim, want stmigrate.ClaimState, suspect bool) (stmigrate.Claimed, error) {
	got, err := s.Store.Claim(ctx, c)
	switch {
	case err != nil:
		return got, fmt.Errorf("claiming failed: %w", err)
	case got.State != want:
		return got, fmt.Errorf("got %s from Claim, want %s", stateName(got.State), stateName(want))
	case got.Suspect != suspect:
		return got, fmt.Errorf("got Suspect %v from Claim, want %v", got.Suspect, suspect)
	}
	return got, nil
}

func stateName(s stmigrate.ClaimState) string {
	switch s {
	case stmigrate.ClaimHeld:
		return "ClaimHeld"
	case stmigrate.ClaimBusy:
		return "ClaimBusy"
	case stmigrate.ClaimDone:
		return "ClaimDone"
	case stmigrate.ClaimClosed:
		return "ClaimClosed"
	}
	return fmt.Sprintf("ClaimState(%d)", s)
}

// lost wants ErrClaimLost.
func lost(what string, err error) error {
	if !errors.Is(err, stmigrate.ErrClaimLost) {
		return fmt.Errorf("%s: got error %v, want ErrClaimLost", what, err)
	}
	return nil
}

func isDone(got stmigrate.Claimed, user string, f stmigrate.Finished, sealed bool) error {
	if got.State != stmigrate.ClaimDone || got.Handle != f.Handle || got.User != user {
		return fmt.Errorf("got %s of handle %q and user %q, want ClaimDone of %q and %q", stateName(got.State), got.Handle, got.User, f.Handle, user)
	}
	if sealed && !bytes.Equal(got.Sealed, f.Sealed) {
		return fmt.Errorf("the sealed answer is %q, want %q", got.Sealed, f.Sealed)
	}
	if !sealed && len(got.Sealed) != 0 {
		return fmt.Errorf("the sealed answer is still there: %d bytes", len(got.Sealed))
	}
	return nil
}

var exchangeStoreChecks = []check[StoreUnderTest]{
	{"a free key is held, and held again with the same fence", func(ctx context.Context, s StoreUnderTest) error {
		c := s.claim("a", "1")
		for range 3 {
			if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
				return err
			}
		}
		return nil
	}},
	{"nobody else holds it while the lease runs", func(ctx context.Context, s StoreUnderTest) error {
		if _, err := s.expect(ctx, s.claim("a", "1"), stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		for left := 2 * s.unit(); left > 0; left -= s.unit() {
			got, err := s.expect(ctx, s.claim("a", "2"), stmigrate.ClaimBusy, false)
			if err != nil {
				return fmt.Errorf("with %v of the lease left: %w", left, err)
			}
			if got.Wait <= 0 || got.Wait > left {
				return fmt.Errorf("the Wait is %v, want what is left of the lease, %v", got.Wait, left)
			}
			s.pass(1)
		}
		return nil
	}},
	{"every byte of a key counts", func(ctx context.Context, s StoreUnderTest) error {
		f := s.finished()
		for i := range 4 {
			c := s.claim("a", "1")
			for j := range c.Key { // no text, not even up to a zero
				c.Key[j], c.Shown[j] = byte(0xff*(j%2)), byte(0xfe*(j%2))
			}
			c.Key[31], c.Shown[31] = byte(i), byte(i)
			if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
				return err
			}
			f.Handle = fmt.Sprint("handle-", i)
			if err := s.Store.Finish(ctx, c.Key, c.Fence, f); err != nil {
				return err
			}
			got, err := s.Store.Recall(ctx, c.Shown)
			if err != nil {
				return err
			}
			if err := isDone(got, c.User, f, true); err != nil {
				return err
			}
		}
		return nil
	}},
	{"of many at once one holds it", func(ctx context.Context, s StoreUnderTest) error {
		var wg sync.WaitGroup
		states := make(chan stmigrate.ClaimState, 32)
		errs := make(chan error, 32)
		for range 32 {
			wg.Go(func() {
				c := s.claim("a", "1")
				c.Lease, c.KeepFor = time.Hour, 2*time.Hour
				got, err := s.Store.Claim(ctx, c)
				if err != nil {
					errs <- err
				}
				states <- got.State
			})
		}
		wg.Wait()
		close(states)
		close(errs)
		if err := <-errs; err != nil {
			return err
		}
		held := 0
		for state := range states {
			if state == stmigrate.ClaimHeld {
				held++
			}
		}
		if held != 1 {
			return atOnce{fmt.Errorf("%d of 32 hold the claim, want 1", held)}
		}
		return nil
	}},
	{"an expired lease is taken over, suspect, with the earlier user", func(ctx context.Context, s StoreUnderTest) error {
		first := s.claim("a", "1")
		if _, err := s.expect(ctx, first, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		s.pass(2)
		second := s.claim("a", "1")
		second.User = "public|another"
		for range 2 { // a repeated claim must answer as the first one did
			got, err := s.expect(ctx, second, stmigrate.ClaimHeld, true)
			if err != nil {
				return err
			}
			if got.User != first.User {
				return fmt.Errorf("the User is %q, want that of the holder who vanished, %q", got.User, first.User)
			}
		}
		_, err := s.expect(ctx, s.claim("a", "1"), stmigrate.ClaimBusy, false)
		return err
	}},
	{"a take-over never shortens how long the entry is kept", func(ctx context.Context, s StoreUnderTest) error {
		first, second := s.claim("a", "1"), s.claim("a", "1")
		first.KeepFor, second.KeepFor = 10*s.unit(), s.unit()
		if _, err := s.expect(ctx, first, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		s.pass(2)
		if _, err := s.expect(ctx, second, stmigrate.ClaimHeld, true); err != nil {
			return err
		}
		s.pass(3)
		_, err := s.expect(ctx, s.claim("a", "1"), stmigrate.ClaimHeld, true)
		return err
	}},
	{"who was taken over can neither finish nor release", func(ctx context.Context, s StoreUnderTest) error {
		first, second := s.claim("a", "1"), s.claim("a", "1")
		if _, err := s.expect(ctx, first, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		s.pass(2)
		if _, err := s.expect(ctx, second, stmigrate.ClaimHeld, true); err != nil {
			return err
		}
		if err := lost("Finish with the old fence", s.Store.Finish(ctx, first.Key, first.Fence, s.finished())); err != nil {
			return err
		}
		for _, suspect := range []bool{false, true} {
			if err := s.Store.Release(ctx, first.Key, first.Fence, suspect); err != nil {
				return fmt.Errorf("releasing with the old fence: %w", err)
			}
		}
		if _, err := s.expect(ctx, s.claim("a", "1"), stmigrate.ClaimBusy, false); err != nil {
			return fmt.Errorf("after a Release with the old fence: %w", err)
		}
		return s.Store.Finish(ctx, second.Key, second.Fence, s.finished())
	}},
	{"a fence is a secret and not a number", func(ctx context.Context, s StoreUnderTest) error {
		c := s.claim("a", "1")
		for range 3 {
			if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
				return err
			}
		}
		for _, fence := range []stmigrate.Fence{{}, {15: 1}, {0: 0xff}, {15: 0xff}} {
			if err := lost(fmt.Sprintf("Finish with fence %x", fence), s.Store.Finish(ctx, c.Key, fence, s.finished())); err != nil {
				return err
			}
		}
		if err := s.Store.Finish(ctx, c.Key, c.Fence, s.finished()); err != nil {
			return fmt.Errorf("finishing with the fence of the claim: %w", err)
		}
		return nil
	}},
	{"a lease that is over and was not taken can still be finished", func(ctx context.Context, s StoreUnderTest) error {
		c := s.claim("a", "1")
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		s.pass(3)
		return s.Store.Finish(ctx, c.Key, c.Fence, s.finished())
	}},
	{"what was finished is told to everybody", func(ctx context.Context, s StoreUnderTest) error {
		c, f := s.claim("a", "1"), s.finished()
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		if err := s.Store.Finish(ctx, c.Key, c.Fence, f); err != nil {
			return err
		}
		other := s.claim("a", "2")
		other.User = "public|another"
		for _, again := range []stmigrate.Claim{c, other} {
			got, err := s.expect(ctx, again, stmigrate.ClaimDone, false)
			if err != nil {
				return err
			}
			if err := isDone(got, c.User, f, true); err != nil {
				return err
			}
		}
		return nil
	}},
	{"a finish can be repeated, and changes nothing then", func(ctx context.Context, s StoreUnderTest) error {
		c, f := s.claim("a", "1"), s.finished()
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		for i := range 3 {
			if err := s.Store.Finish(ctx, c.Key, c.Fence, f); err != nil {
				return fmt.Errorf("finishing, time %d: %w", i+1, err)
			}
		}
		late := stmigrate.Finished{Handle: "handle-2", Sealed: []byte("another"), SealedFor: 30 * s.unit(), KeepFor: f.KeepFor}
		if err := s.Store.Finish(ctx, c.Key, c.Fence, late); err != nil {
			return fmt.Errorf("finishing with another answer: %w", err)
		}
		other := s.claim("a", "1")
		if err := lost("Finish of a finished exchange with another fence", s.Store.Finish(ctx, other.Key, other.Fence, f)); err != nil {
			return err
		}
		got, err := s.Store.Claim(ctx, other)
		if err != nil {
			return err
		}
		if err := isDone(got, c.User, f, true); err != nil {
			return err
		}
		s.pass(3)
		if err := s.Store.Finish(ctx, c.Key, c.Fence, f); err != nil {
			return fmt.Errorf("finishing after SealedFor: %w", err)
		}
		if got, err = s.Store.Claim(ctx, other); err != nil {
			return err
		}
		return isDone(got, c.User, f, false)
	}},
	{"nothing that was not claimed can be finished", func(ctx context.Context, s StoreUnderTest) error {
		c := s.claim("a", "1")
		return lost("Finish without a claim", s.Store.Finish(ctx, c.Key, c.Fence, s.finished()))
	}},
	{"a release frees the key", func(ctx context.Context, s StoreUnderTest) error {
		c := s.claim("a", "1")
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		for range 2 {
			if err := s.Store.Release(ctx, c.Key, c.Fence, false); err != nil {
				return fmt.Errorf("releasing: %w", err)
			}
		}
		if err := lost("Finish after Release", s.Store.Finish(ctx, c.Key, c.Fence, s.finished())); err != nil {
			return err
		}
		_, err := s.expect(ctx, s.claim("a", "1"), stmigrate.ClaimHeld, false)
		return err
	}},
	{"a suspect release leaves the suspicion", func(ctx context.Context, s StoreUnderTest) error {
		c := s.claim("a", "1")
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		if err := s.Store.Release(ctx, c.Key, c.Fence, true); err != nil {
			return fmt.Errorf("releasing: %w", err)
		}
		got, err := s.expect(ctx, s.claim("a", "1"), stmigrate.ClaimHeld, true)
		if err == nil && got.User != c.User {
			return fmt.Errorf("the User is %q, want that of the suspect holder, %q", got.User, c.User)
		}
		return err
	}},
	{"a release does not undo a finish", func(ctx context.Context, s StoreUnderTest) error {
		c, f := s.claim("a", "1"), s.finished()
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		if err := s.Store.Finish(ctx, c.Key, c.Fence, f); err != nil {
			return err
		}
		for _, suspect := range []bool{false, true} {
			if err := s.Store.Release(ctx, c.Key, c.Fence, suspect); err != nil {
				return fmt.Errorf("releasing: %w", err)
			}
		}
		got, err := s.Store.Claim(ctx, s.claim("a", "1"))
		if err != nil {
			return err
		}
		return isDone(got, c.User, f, true)
	}},
	{"the sealed answer is erased in time", func(ctx context.Context, s StoreUnderTest) error {
		c, f := s.claim("a", "1"), s.finished()
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		if err := s.Store.Finish(ctx, c.Key, c.Fence, f); err != nil {
			return err
		}
		s.pass(1)
		got, err := s.Store.Claim(ctx, s.claim("a", "1"))
		if err != nil {
			return err
		}
		if err := isDone(got, c.User, f, true); err != nil {
			return fmt.Errorf("before SealedFor is over: %w", err)
		}
		s.pass(2)
		for what, ask := range map[string]func() (stmigrate.Claimed, error){
			"Claim":  func() (stmigrate.Claimed, error) { return s.Store.Claim(ctx, s.claim("a", "1")) },
			"Recall": func() (stmigrate.Claimed, error) { return s.Store.Recall(ctx, c.Shown) },
		} {
			got, err := ask()
			if err != nil {
				return err
			}
			if err := isDone(got, c.User, f, false); err != nil {
				return fmt.Errorf("%s after SealedFor: %w", what, err)
			}
		}
		return nil
	}},
	{"nothing is forgotten before its time", func(ctx context.Context, s StoreUnderTest) error {
		c, f := s.claim("a", "1"), s.finished()
		c.KeepFor, f.KeepFor = 3*s.unit(), 6*s.unit() // from Finish on its own counts
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		if err := s.Store.Finish(ctx, c.Key, c.Fence, f); err != nil {
			return err
		}
		// A store that makes room by throwing old entries out would do it now.
		for i := range 100 {
			if _, err := s.expect(ctx, s.claim(fmt.Sprint("other", i), "x"), stmigrate.ClaimHeld, false); err != nil {
				return err
			}
		}
		s.pass(5)
		if _, err := s.expect(ctx, s.claim("a", "1"), stmigrate.ClaimDone, false); err != nil {
			return fmt.Errorf("before KeepFor is over: %w", err)
		}
		s.pass(1)
		if _, err := s.expect(ctx, s.claim("a", "1"), stmigrate.ClaimHeld, false); err != nil {
			return fmt.Errorf("after KeepFor: %w", err)
		}
		return nil
	}},
	{"recall finds what was finished, by the token that was shown", func(ctx context.Context, s StoreUnderTest) error {
		c, f := s.claim("a", "1"), s.finished()
		recall := func(want stmigrate.ClaimState, shown stmigrate.ExchangeKey) error {
			got, err := s.Store.Recall(ctx, shown)
			switch {
			case err != nil:
				return err
			case got.State != want:
				return fmt.Errorf("got %s from Recall, want %s", stateName(got.State), stateName(want))
			case want == stmigrate.ClaimDone:
				return isDone(got, c.User, f, true)
			}
			return nil
		}
		if err := recall(0, c.Shown); err != nil {
			return fmt.Errorf("before the claim: %w", err)
		}
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		if err := recall(0, c.Shown); err != nil {
			return fmt.Errorf("before the finish: %w", err)
		}
		if err := s.Store.Finish(ctx, c.Key, c.Fence, f); err != nil {
			return err
		}
		if err := recall(stmigrate.ClaimDone, c.Shown); err != nil {
			return err
		}
		if err := recall(0, s.claim("a", "2").Shown); err != nil {
			return fmt.Errorf("by a token that was not shown: %w", err)
		}
		if err := recall(0, c.Key); err != nil {
			return fmt.Errorf("by the key: %w", err)
		}
		return nil
	}},
	{"the token of the holder who finishes is the one that is recalled", func(ctx context.Context, s StoreUnderTest) error {
		first, second := s.claim("a", "1"), s.claim("a", "2")
		if _, err := s.expect(ctx, first, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		s.pass(2)
		if _, err := s.expect(ctx, second, stmigrate.ClaimHeld, true); err != nil {
			return err
		}
		if err := s.Store.Finish(ctx, second.Key, second.Fence, s.finished()); err != nil {
			return err
		}
		for shown, want := range map[stmigrate.ExchangeKey]stmigrate.ClaimState{first.Shown: 0, second.Shown: stmigrate.ClaimDone} {
			got, err := s.Store.Recall(ctx, shown)
			if err != nil {
				return err
			}
			if got.State != want {
				return fmt.Errorf("got %s from Recall, want %s", stateName(got.State), stateName(want))
			}
		}
		return nil
	}},
	{"what it is given and what it gives is the caller's", func(ctx context.Context, s StoreUnderTest) error {
		c, f := s.claim("a", "1"), s.finished()
		if _, err := s.expect(ctx, c, stmigrate.ClaimHeld, false); err != nil {
			return err
		}
		mine := bytes.Clone(f.Sealed)
		if err := s.Store.Finish(ctx, c.Key, c.Fence, stmigrate.Finished{Handle: f.Handle, Sealed: mine, SealedFor: f.SealedFor, KeepFor: f.KeepFor}); err != nil {
			return err
		}
		clear(mine)
		for range 2 {
			got, err := s.Store.Claim(ctx, s.claim("a", "1"))
			if err != nil {
				return err
			}
			if err := isDone(got, c.User, f, true); err != nil {
				return err
			}
			clear(got.Sealed)
		}
		return nil
	}},
	{"every method ends by its context, as unavailable", func(ctx context.Context, s StoreUnderTest) error {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		c := s.claim("a", "1")
		_, claimErr := s.Store.Claim(ended, c)
		_, recallErr := s.Store.Recall(ended, c.Shown)
		for what, err := range map[string]error{
			"Claim": claimErr, "Recall": recallErr,
			"Finish":  s.Store.Finish(ended, c.Key, c.Fence, s.finished()),
			"Release": s.Store.Release(ended, c.Key, c.Fence, false),
		} {
			if !errors.Is(err, stmigrate.ErrUnavailable) {
				return fmt.Errorf("%s with a context that has ended: got error %v, want ErrUnavailable", what, err)
			}
		}
		return nil
	}},
}
