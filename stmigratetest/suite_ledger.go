package stmigratetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/login"
)

// LedgerUnderTest is a ledger with a hand on its clock.
type LedgerUnderTest struct {
	Ledger login.Ledger
	// Advance puts the ledger's clock forward. nil: the ledger's clock is a real one, and the suite lets short times pass.
	Advance func(time.Duration)
}

// TestLedger holds a [login.Ledger] to its contract. open returns an empty ledger, once for each check.
func TestLedger(t *testing.T, open func(t *testing.T) LedgerUnderTest) {
	t.Helper()
	runChecks(t, open, ledgerChecks)
}

// pass lets two of the leases that are brief pass on the ledger's clock.
func (l LedgerUnderTest) pass() {
	if l.Advance != nil {
		l.Advance(2 * l.lease())
		return
	}
	<-time.After(2 * briefLease)
}

// lease is one that does not end by itself during a check, however slow the machine is.
func (l LedgerUnderTest) lease() time.Duration {
	if l.Advance != nil {
		return time.Minute
	}
	return time.Hour
}

const briefLease = 500 * time.Millisecond

var ledgerKey = login.Key{TenantID: "public", Email: "ada@example.com"}

// claim is a claim with a fence of its own.
func (l LedgerUnderTest) claim(legacyID string) login.Claim {
	c := login.Claim{Key: ledgerKey, LegacyID: legacyID, Lease: l.lease()}
	_, _ = rand.Read(c.Fence[:])
	return c
}

// brief is a claim that is to run out. Where the clock is real nothing may depend on its running still.
func (l LedgerUnderTest) brief(legacyID string) login.Claim {
	c := l.claim(legacyID)
	if l.Advance == nil {
		c.Lease = briefLease
	}
	return c
}

func (l LedgerUnderTest) expect(ctx context.Context, c login.Claim, held bool, step login.Step) (login.Entry, error) {
	got, err := l.Ledger.Claim(ctx, c)
	switch {
	case err != nil:
		return got, fmt.Errorf("claiming failed: %w", err)
	case got.Held != held || got.Step != step:
		return got, fmt.Errorf("got Held %v at step %v from Claim, want %v at %v", got.Held, got.Step, held, step)
	}
	return got, nil
}

// sees wants Look to find exactly this.
func (l LedgerUnderTest) sees(ctx context.Context, want login.Entry) error {
	got, err := l.Ledger.Look(ctx, want.Key)
	if err != nil {
		return fmt.Errorf("looking failed: %w", err)
	}
	got.Wait = 0
	if got != want {
		return fmt.Errorf("got %+v from Look, want %+v", got, want)
	}
	return nil
}

func (l LedgerUnderTest) record(ctx context.Context, c login.Claim, ps ...login.Progress) error {
	for _, p := range ps {
		if err := l.Ledger.Record(ctx, c.Key, c.Fence, p); err != nil {
			return fmt.Errorf("recording %v failed: %w", p.Step, err)
		}
	}
	return nil
}

func (l LedgerUnderTest) release(ctx context.Context, c login.Claim, erase bool) error {
	if err := l.Ledger.Release(ctx, c.Key, c.Fence, erase); err != nil {
		return fmt.Errorf("releasing, erase %v: %w", erase, err)
	}
	return nil
}

// complete claims and completes.
func (l LedgerUnderTest) complete(ctx context.Context, flags login.Flags) (login.Claim, error) {
	c := l.brief("legacy|1")
	if _, err := l.expect(ctx, c, true, login.StepIntent); err != nil {
		return c, err
	}
	return c, l.record(ctx, c, login.Progress{Step: login.StepComplete, UserID: "st-1", Flags: flags})
}

var ledgerChecks = []check[LedgerUnderTest]{
	{"what is not there is not there", func(ctx context.Context, l LedgerUnderTest) error {
		got, err := l.Ledger.Look(ctx, ledgerKey)
		if err != nil || got != (login.Entry{}) {
			return fmt.Errorf("got %+v and error %v from Look, want an empty entry", got, err)
		}
		for what, err := range map[string]error{
			"Release": errors.Join(l.release(ctx, l.claim("x"), false), l.release(ctx, l.claim("x"), true)),
			"Unmark":  l.Ledger.Unmark(ctx, ledgerKey),
			"Forget":  l.Ledger.Forget(ctx, ledgerKey),
		} {
			if err != nil {
				return fmt.Errorf("%s of nothing: %w", what, err)
			}
		}
		err = l.Ledger.Record(ctx, ledgerKey, l.claim("x").Fence, login.Progress{Step: login.StepCreated, UserID: "st-1"})
		return lost("Record of nothing", err)
	}},
	{"a free key is held, and held again with the same fence", func(ctx context.Context, l LedgerUnderTest) error {
		c := l.claim("legacy|1")
		for range 3 {
			got, err := l.expect(ctx, c, true, login.StepIntent)
			if err != nil {
				return err
			}
			if got.Key != ledgerKey || got.LegacyID != "legacy|1" || got.UserID != "" || got.Flags != 0 || got.Conflict != "" {
				return fmt.Errorf("got %+v from Claim", got)
			}
		}
		return l.sees(ctx, login.Entry{Key: ledgerKey, LegacyID: "legacy|1", Step: login.StepIntent})
	}},
	{"nobody else holds it while the lease runs", func(ctx context.Context, l LedgerUnderTest) error {
		first := l.claim("legacy|1")
		if _, err := l.expect(ctx, first, true, login.StepIntent); err != nil {
			return err
		}
		got, err := l.expect(ctx, l.claim("legacy|2"), false, login.StepIntent)
		if err != nil {
			return err
		}
		if got.Wait < l.lease()/2 || got.Wait > l.lease() || got.LegacyID != "legacy|1" {
			return fmt.Errorf("got %+v, want the first one's entry and what is left of its lease of %v", got, l.lease())
		}
		if got, err = l.Ledger.Look(ctx, ledgerKey); err != nil || got.Wait < l.lease()/2 || got.Wait > l.lease() || got.Held {
			return fmt.Errorf("got %+v and error %v from Look, want the same", got, err)
		}
		if err := l.record(ctx, first, login.Progress{Step: login.StepMapped, UserID: "st-1"}); err != nil {
			return err
		}
		if _, err := l.expect(ctx, l.claim("legacy|2"), false, login.StepMapped); err != nil {
			return err
		}
		for _, other := range []login.Key{{TenantID: "t1", Email: ledgerKey.Email}, {TenantID: "public", Email: "bob@example.com"}} {
			c := l.claim("legacy|1")
			c.Key = other
			if _, err := l.expect(ctx, c, true, login.StepIntent); err != nil {
				return fmt.Errorf("another key, %+v: %w", other, err)
			}
		}
		return nil
	}},
	{"of many at once one holds it", func(ctx context.Context, l LedgerUnderTest) error {
		var wg sync.WaitGroup
		held, errs := make(chan bool, 32), make(chan error, 32)
		for range 32 {
			wg.Go(func() {
				c := l.claim("legacy|1")
				got, err := l.Ledger.Claim(ctx, c)
				if err != nil {
					errs <- err
				}
				held <- got.Held
			})
		}
		wg.Wait()
		close(held)
		close(errs)
		if err := <-errs; err != nil {
			return err
		}
		n := 0
		for h := range held {
			if h {
				n++
			}
		}
		if n != 1 {
			return fmt.Errorf("%d of 32 hold the entry, want 1", n)
		}
		return nil
	}},
	{"what is recorded is there, for whoever takes over", func(ctx context.Context, l LedgerUnderTest) error {
		first, second := l.brief("legacy|1"), l.claim("legacy|2")
		if _, err := l.expect(ctx, first, true, login.StepIntent); err != nil {
			return err
		}
		err := l.record(ctx, first,
			login.Progress{Step: login.StepCreated, UserID: "st-1"},
			login.Progress{Step: login.StepMapped, UserID: "st-1", Flags: login.AskLegacy | login.RolesLeftOut})
		if err != nil {
			return err
		}
		want := login.Entry{
			Key: ledgerKey, LegacyID: "legacy|1", UserID: "st-1", Step: login.StepMapped, Flags: login.AskLegacy | login.RolesLeftOut,
		}
		if err := l.sees(ctx, want); err != nil {
			return err
		}
		l.pass()
		got, err := l.expect(ctx, second, true, login.StepMapped)
		if err != nil {
			return err
		}
		if got.Wait, got.Held = 0, false; got != want {
			return fmt.Errorf("got %+v from Claim, want %+v", got, want)
		}
		return nil
	}},
	{"who was taken over can neither record nor release", func(ctx context.Context, l LedgerUnderTest) error {
		first, second := l.brief("legacy|1"), l.claim("legacy|1")
		if _, err := l.expect(ctx, first, true, login.StepIntent); err != nil {
			return err
		}
		l.pass()
		if _, err := l.expect(ctx, second, true, login.StepIntent); err != nil {
			return err
		}
		for _, p := range []login.Progress{
			{Step: login.StepCreated, UserID: "st-1"}, {Step: login.StepComplete, UserID: "st-1"}, {Step: login.StepIntent, Conflict: "no"},
		} {
			if err := lost("Record with the old fence", l.Ledger.Record(ctx, ledgerKey, first.Fence, p)); err != nil {
				return err
			}
		}
		for _, erase := range []bool{false, true} {
			if err := l.release(ctx, first, erase); err != nil {
				return err
			}
		}
		if _, err := l.expect(ctx, l.claim("legacy|1"), false, login.StepIntent); err != nil {
			return fmt.Errorf("after a Release with the old fence: %w", err)
		}
		return l.record(ctx, second, login.Progress{Step: login.StepCreated, UserID: "st-2"})
	}},
	{"a lease that is over and was not taken is no obstacle", func(ctx context.Context, l LedgerUnderTest) error {
		c := l.brief("legacy|1")
		if _, err := l.expect(ctx, c, true, login.StepIntent); err != nil {
			return err
		}
		l.pass()
		return l.record(ctx, c, login.Progress{Step: login.StepCreated, UserID: "st-1"})
	}},
	{"a release frees the entry and keeps it", func(ctx context.Context, l LedgerUnderTest) error {
		c := l.claim("legacy|1")
		if _, err := l.expect(ctx, c, true, login.StepIntent); err != nil {
			return err
		}
		if err := l.record(ctx, c, login.Progress{Step: login.StepMapped, UserID: "st-1"}); err != nil {
			return err
		}
		for range 2 {
			if err := l.release(ctx, c, false); err != nil {
				return err
			}
		}
		got, err := l.expect(ctx, l.claim("legacy|2"), true, login.StepMapped)
		if err == nil && (got.UserID != "st-1" || got.LegacyID != "legacy|1") {
			return fmt.Errorf("got %+v, want what was recorded before", got)
		}
		return err
	}},
	{"who begins anew erases the entry", func(ctx context.Context, l LedgerUnderTest) error {
		c := l.claim("legacy|1")
		if _, err := l.expect(ctx, c, true, login.StepIntent); err != nil {
			return err
		}
		if err := l.record(ctx, c, login.Progress{Step: login.StepMapped, UserID: "st-1"}); err != nil {
			return err
		}
		for range 2 {
			if err := l.release(ctx, c, true); err != nil {
				return err
			}
		}
		got, err := l.expect(ctx, l.claim("legacy|2"), true, login.StepIntent)
		if err == nil && (got.UserID != "" || got.LegacyID != "legacy|2") {
			return fmt.Errorf("got %+v, want a new entry", got)
		}
		return err
	}},
	{"a step is never taken back", func(ctx context.Context, l LedgerUnderTest) error {
		c := l.claim("legacy|1")
		if _, err := l.expect(ctx, c, true, login.StepIntent); err != nil {
			return err
		}
		p := login.Progress{Step: login.StepVerified, UserID: "st-1", Flags: login.WeakPassword}
		if err := l.record(ctx, c, p, p); err != nil {
			return err
		}
		err := l.Ledger.Record(ctx, ledgerKey, c.Fence, login.Progress{Step: login.StepMapped, UserID: "st-1"})
		if err := lost("Record of an earlier step", err); err != nil {
			return err
		}
		want := login.Entry{Key: ledgerKey, LegacyID: "legacy|1", UserID: "st-1", Step: login.StepVerified, Flags: login.WeakPassword}
		return l.sees(ctx, want)
	}},
	{"what is complete is never held again", func(ctx context.Context, l LedgerUnderTest) error {
		c, err := l.complete(ctx, login.WeakPassword)
		if err != nil {
			return err
		}
		l.pass()
		want := login.Entry{Key: ledgerKey, LegacyID: "legacy|1", UserID: "st-1", Step: login.StepComplete, Flags: login.WeakPassword}
		for _, again := range []login.Claim{c, l.claim("legacy|2")} {
			got, err := l.expect(ctx, again, false, login.StepComplete)
			if err != nil {
				return err
			}
			if got != want {
				return fmt.Errorf("got %+v from Claim, want %+v", got, want)
			}
		}
		return l.sees(ctx, want)
	}},
	{"completing can be repeated, and changes nothing then", func(ctx context.Context, l LedgerUnderTest) error {
		c, err := l.complete(ctx, login.AskLegacy)
		if err != nil {
			return err
		}
		if err := l.Ledger.Unmark(ctx, ledgerKey); err != nil {
			return fmt.Errorf("unmarking: %w", err)
		}
		again := login.Progress{Step: login.StepComplete, UserID: "st-1", Flags: login.AskLegacy}
		if err := l.record(ctx, c, again, again); err != nil {
			return err
		}
		for _, erase := range []bool{false, true} {
			if err := l.release(ctx, c, erase); err != nil {
				return err
			}
		}
		err = l.Ledger.Record(ctx, ledgerKey, l.claim("x").Fence, again)
		if err := lost("Record of a complete entry with another fence", err); err != nil {
			return err
		}
		return l.sees(ctx, login.Entry{Key: ledgerKey, LegacyID: "legacy|1", UserID: "st-1", Step: login.StepComplete})
	}},
	{"a mark is cleared, and nothing else", func(ctx context.Context, l LedgerUnderTest) error {
		if _, err := l.complete(ctx, login.AskLegacy|login.WeakPassword|login.HashRefused); err != nil {
			return err
		}
		want := login.Entry{
			Key: ledgerKey, LegacyID: "legacy|1", UserID: "st-1", Step: login.StepComplete, Flags: login.WeakPassword | login.HashRefused,
		}
		for range 2 {
			if err := l.Ledger.Unmark(ctx, ledgerKey); err != nil {
				return fmt.Errorf("unmarking: %w", err)
			}
			if err := l.sees(ctx, want); err != nil {
				return err
			}
		}
		return nil
	}},
	{"the mark of an entry that is not complete stays", func(ctx context.Context, l LedgerUnderTest) error {
		c := l.claim("legacy|1")
		if _, err := l.expect(ctx, c, true, login.StepIntent); err != nil {
			return err
		}
		ready := login.Progress{Step: login.StepReady, UserID: "st-1", Flags: login.AskLegacy}
		if err := l.record(ctx, c, ready); err != nil {
			return err
		}
		if err := l.Ledger.Unmark(ctx, ledgerKey); err != nil {
			return fmt.Errorf("unmarking: %w", err)
		}
		e, err := l.Ledger.Look(ctx, ledgerKey)
		if err == nil && e.Flags != login.AskLegacy {
			err = fmt.Errorf("got the flags %d, want %d", e.Flags, login.AskLegacy)
		}
		return err
	}},
	{"a conflict stays as it is", func(ctx context.Context, l LedgerUnderTest) error {
		c := l.brief("legacy|1")
		if _, err := l.expect(ctx, c, true, login.StepIntent); err != nil {
			return err
		}
		conflict := login.Progress{Step: login.StepCreated, UserID: "st-1", Conflict: "taken"}
		if err := l.record(ctx, c, conflict, conflict); err != nil {
			return err
		}
		l.pass()
		for _, p := range []login.Progress{{Step: login.StepMapped, UserID: "st-1"}, {Step: login.StepComplete, UserID: "st-1"}} {
			if err := lost("Record after a conflict", l.Ledger.Record(ctx, ledgerKey, c.Fence, p)); err != nil {
				return err
			}
		}
		for _, erase := range []bool{false, true} {
			if err := l.release(ctx, c, erase); err != nil {
				return err
			}
		}
		for _, again := range []login.Claim{c, l.claim("legacy|1")} {
			if _, err := l.expect(ctx, again, false, login.StepCreated); err != nil {
				return err
			}
		}
		return l.sees(ctx, login.Entry{Key: ledgerKey, LegacyID: "legacy|1", UserID: "st-1", Step: login.StepCreated, Conflict: "taken"})
	}},
	{"conflicts are listed, in order and in pages", func(ctx context.Context, l LedgerUnderTest) error {
		all := []login.Key{
			{TenantID: "a", Email: "z@example.com"}, {TenantID: "b", Email: "B@example.com"}, {TenantID: "b", Email: "a@example.com"},
			{TenantID: "b", Email: "a_b@example.com"}, {TenantID: "b-c", Email: "a@example.com"},
		}
		for i := range all {
			c := l.claim("legacy|1")
			c.Key = all[(i*3)%len(all)]
			if _, err := l.expect(ctx, c, true, login.StepIntent); err != nil {
				return err
			}
			if err := l.record(ctx, c, login.Progress{Step: login.StepIntent, Conflict: "taken"}); err != nil {
				return err
			}
		}
		if _, err := l.complete(ctx, 0); err != nil {
			return err
		}
		for _, max := range []int{0, -1} {
			if got, err := l.Ledger.Conflicts(ctx, login.Key{}, max); err != nil || len(got) > 0 {
				return fmt.Errorf("asked for at most %d conflicts and got %d, %v", max, len(got), err)
			}
		}
		after := login.Key{}
		for at := 0; at < len(all)+1; at += 2 {
			got, err := l.Ledger.Conflicts(ctx, after, 2)
			if err != nil {
				return err
			}
			want := all[min(at, len(all)):min(at+2, len(all))]
			if len(got) != len(want) {
				return fmt.Errorf("got %d conflicts after %+v, want %d", len(got), after, len(want))
			}
			for i, e := range got {
				if e != (login.Entry{Key: want[i], LegacyID: "legacy|1", Step: login.StepIntent, Conflict: "taken"}) {
					return fmt.Errorf("got %+v, want the conflict of %+v", e, want[i])
				}
				after = e.Key
			}
		}
		return nil
	}},
	{"what was forgotten is free", func(ctx context.Context, l LedgerUnderTest) error {
		c, err := l.complete(ctx, login.AskLegacy)
		if err != nil {
			return err
		}
		for range 2 {
			if err := l.Ledger.Forget(ctx, ledgerKey); err != nil {
				return fmt.Errorf("forgetting: %w", err)
			}
		}
		err = l.Ledger.Record(ctx, ledgerKey, c.Fence, login.Progress{Step: login.StepComplete, UserID: "st-1"})
		if err := lost("Record of what was forgotten", err); err != nil {
			return err
		}
		got, err := l.expect(ctx, l.claim("legacy|2"), true, login.StepIntent)
		if err == nil && (got.LegacyID != "legacy|2" || got.UserID != "" || got.Flags != 0) {
			return fmt.Errorf("got %+v, want a new entry", got)
		}
		return err
	}},
	{"text is kept as it is", func(ctx context.Context, l LedgerUnderTest) error {
		c := l.claim("auth0|ü'\"\\%_; --")
		c.Email = "o'brien+\"x\"%_ü\\@example.com"
		if _, err := l.expect(ctx, c, true, login.StepIntent); err != nil {
			return err
		}
		p := login.Progress{Step: login.StepCreated, UserID: "st'1", Conflict: "it's \"taken\" by $1"}
		if err := l.record(ctx, c, p); err != nil {
			return err
		}
		return l.sees(ctx, login.Entry{Key: c.Key, LegacyID: c.LegacyID, UserID: p.UserID, Step: p.Step, Conflict: p.Conflict})
	}},
	{"every method ends by its context, as unavailable", func(ctx context.Context, l LedgerUnderTest) error {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		c := l.claim("legacy|1")
		_, lookErr := l.Ledger.Look(ended, c.Key)
		_, claimErr := l.Ledger.Claim(ended, c)
		_, conflictsErr := l.Ledger.Conflicts(ended, login.Key{}, 1)
		for what, err := range map[string]error{
			"Look": lookErr, "Claim": claimErr, "Conflicts": conflictsErr,
			"Record":  l.Ledger.Record(ended, c.Key, c.Fence, login.Progress{Step: login.StepCreated, UserID: "st-1"}),
			"Release": l.Ledger.Release(ended, c.Key, c.Fence, false),
			"Unmark":  l.Ledger.Unmark(ended, c.Key),
			"Forget":  l.Ledger.Forget(ended, c.Key),
		} {
			if !errors.Is(err, stmigrate.ErrUnavailable) {
				return fmt.Errorf("%s with a context that has ended: got error %v, want ErrUnavailable", what, err)
			}
		}
		return nil
	}},
}
