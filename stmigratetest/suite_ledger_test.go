package stmigratetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/login"
)

func memoryLedgerUnderTest() (*login.MemoryLedger, *testClock) {
	clock := &testClock{now: time.Now()}
	m := login.NewMemoryLedger(1000)
	m.UseClock(clock.Now)
	return m, clock
}

func TestMemoryLedger(t *testing.T) {
	t.Parallel()
	TestLedger(t, func(*testing.T) LedgerUnderTest {
		m, clock := memoryLedgerUnderTest()
		return LedgerUnderTest{Ledger: m, Advance: clock.Advance}
	})
}

// TestMemoryLedgerInRealTime shows that the suite holds without a hand on the clock.
func TestMemoryLedgerInRealTime(t *testing.T) {
	t.Parallel()
	TestLedger(t, func(t *testing.T) LedgerUnderTest {
		t.Parallel()
		return LedgerUnderTest{Ledger: login.NewMemoryLedger(1000)}
	})
}

// brokenLedger wraps a good ledger; a nil field passes through.
type brokenLedger struct {
	*login.MemoryLedger
	look      func(ctx context.Context, key login.Key) (login.Entry, error)
	claim     func(ctx context.Context, c login.Claim) (login.Entry, error)
	record    func(ctx context.Context, key login.Key, fence stmigrate.Fence, p login.Progress) error
	release   func(ctx context.Context, key login.Key, fence stmigrate.Fence, erase bool) error
	unmark    func(ctx context.Context, key login.Key) error
	conflicts func(ctx context.Context, after login.Key, max int) ([]login.Entry, error)
}

func (l *brokenLedger) Look(ctx context.Context, key login.Key) (login.Entry, error) {
	if l.look != nil {
		return l.look(ctx, key)
	}
	return l.MemoryLedger.Look(ctx, key)
}

func (l *brokenLedger) Claim(ctx context.Context, c login.Claim) (login.Entry, error) {
	if l.claim != nil {
		return l.claim(ctx, c)
	}
	return l.MemoryLedger.Claim(ctx, c)
}

func (l *brokenLedger) Record(ctx context.Context, key login.Key, fence stmigrate.Fence, p login.Progress) error {
	if l.record != nil {
		return l.record(ctx, key, fence, p)
	}
	return l.MemoryLedger.Record(ctx, key, fence, p)
}

func (l *brokenLedger) Release(ctx context.Context, key login.Key, fence stmigrate.Fence, erase bool) error {
	if l.release != nil {
		return l.release(ctx, key, fence, erase)
	}
	return l.MemoryLedger.Release(ctx, key, fence, erase)
}

func (l *brokenLedger) Unmark(ctx context.Context, key login.Key) error {
	if l.unmark != nil {
		return l.unmark(ctx, key)
	}
	return l.MemoryLedger.Unmark(ctx, key)
}

func (l *brokenLedger) Conflicts(ctx context.Context, after login.Key, max int) ([]login.Entry, error) {
	if l.conflicts != nil {
		return l.conflicts(ctx, after, max)
	}
	return l.MemoryLedger.Conflicts(ctx, after, max)
}

// brokenLedgers are ways to get it wrong, each with a check that must notice.
var brokenLedgers = map[string]struct {
	ledger  func(m *login.MemoryLedger) login.Ledger
	noticed string
}{
	"two holders": {func(m *login.MemoryLedger) login.Ledger {
		return &brokenLedger{MemoryLedger: m, claim: func(ctx context.Context, c login.Claim) (login.Entry, error) {
			e, err := m.Claim(ctx, c)
			e.Held = err == nil
			return e, err
		}}
	}, "of many at once one holds it"},
	"no fence": {func(m *login.MemoryLedger) login.Ledger {
		var last stmigrate.Fence
		return &brokenLedger{MemoryLedger: m,
			claim: func(ctx context.Context, c login.Claim) (login.Entry, error) {
				e, err := m.Claim(ctx, c)
				if e.Held {
					last = c.Fence
				}
				return e, err
			},
			record: func(ctx context.Context, key login.Key, _ stmigrate.Fence, p login.Progress) error {
				return m.Record(ctx, key, last, p)
			},
		}
	}, "who was taken over can neither record nor release"},
	"node's clock": {func(*login.MemoryLedger) login.Ledger {
		return login.NewMemoryLedger(1000)
	}, "what is recorded is there, for whoever takes over"},
	"complete is forgotten": {func(m *login.MemoryLedger) login.Ledger {
		return &brokenLedger{MemoryLedger: m, record: func(ctx context.Context, key login.Key, fence stmigrate.Fence, p login.Progress) error {
			err := m.Record(ctx, key, fence, p)
			if err == nil && p.Step == login.StepComplete {
				return m.Forget(ctx, key)
			}
			return err
		}}
	}, "what is complete is never held again"},
	"tenants are one": {func(m *login.MemoryLedger) login.Ledger {
		return &brokenLedger{MemoryLedger: m, claim: func(ctx context.Context, c login.Claim) (login.Entry, error) {
			c.TenantID = "public"
			return m.Claim(ctx, c)
		}}
	}, "nobody else holds it while the lease runs"},
	"the legacy ID is replaced": {func(m *login.MemoryLedger) login.Ledger {
		return &brokenLedger{MemoryLedger: m, claim: func(ctx context.Context, c login.Claim) (login.Entry, error) {
			e, err := m.Claim(ctx, c)
			e.LegacyID = c.LegacyID
			return e, err
		}}
	}, "a release frees the entry and keeps it"},
	"a mark comes back": {func(m *login.MemoryLedger) login.Ledger {
		return &brokenLedger{MemoryLedger: m, unmark: func(context.Context, login.Key) error { return nil }}
	}, "completing can be repeated, and changes nothing then"},
	"erased by whoever asks": {func(m *login.MemoryLedger) login.Ledger {
		return &brokenLedger{MemoryLedger: m, release: func(ctx context.Context, key login.Key, fence stmigrate.Fence, erase bool) error {
			if erase {
				return m.Forget(ctx, key)
			}
			return m.Release(ctx, key, fence, false)
		}}
	}, "completing can be repeated, and changes nothing then"},
	"a lost claim is no error": {func(m *login.MemoryLedger) login.Ledger {
		return &brokenLedger{MemoryLedger: m, record: func(ctx context.Context, key login.Key, fence stmigrate.Fence, p login.Progress) error {
			_ = m.Record(ctx, key, fence, p)
			return ctx.Err()
		}}
	}, "what was forgotten is free"},
	"conflicts without an order": {func(m *login.MemoryLedger) login.Ledger {
		return &brokenLedger{MemoryLedger: m, conflicts: func(ctx context.Context, _ login.Key, max int) ([]login.Entry, error) {
			return m.Conflicts(ctx, login.Key{}, max)
		}}
	}, "conflicts are listed, in order and in pages"},
	"deaf to the context": {func(m *login.MemoryLedger) login.Ledger {
		return &brokenLedger{MemoryLedger: m, look: func(_ context.Context, key login.Key) (login.Entry, error) {
			return m.Look(context.Background(), key)
		}}
	}, "every method ends by its context, as unavailable"},
}

// TestLedgerNoticesBrokenLedgers: a suite that cannot fail proves nothing.
func TestLedgerNoticesBrokenLedgers(t *testing.T) {
	t.Parallel()
	for name, broken := range brokenLedgers {
		t.Run(name, func(t *testing.T) {
			failed := failing(t.Context(), ledgerChecks, func() LedgerUnderTest {
				m, clock := memoryLedgerUnderTest()
				return LedgerUnderTest{Ledger: broken.ledger(m), Advance: clock.Advance}
			})
			assert.Contains(t, failed, broken.noticed)
			assert.Less(t, len(failed), len(ledgerChecks), "what is not broken passes")
		})
	}
}
