package login

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/stmigrate/stmigrate"
)

// MemoryLedger is a [Ledger] for one process and one lifetime. What it knows is gone with the process: a user who was
// imported and deleted from SuperTokens is imported again, and one marked with [AskLegacy] needs a new reset. A second process
// knows nothing of it, and its imports meet this one's as conflicts. Behind a load balancer use [SQLLedger].
type MemoryLedger struct {
	limit int

	mu      sync.Mutex
	now     func() time.Time
	entries map[Key]*memoryEntry
}

type memoryEntry struct {
	Entry
	fence    stmigrate.Fence
	leaseEnd time.Time
}

var _ Ledger = (*MemoryLedger)(nil)

// NewMemoryLedger returns an empty ledger for at most limit users; one more is refused with [stmigrate.ErrUnavailable]. A
// user takes about 350 bytes. With a limit below 1 every claim is refused.
func NewMemoryLedger(limit int) *MemoryLedger {
	return &MemoryLedger{limit: limit, now: time.Now, entries: make(map[Key]*memoryEntry)}
}

// UseClock replaces time.Now, for tests. Call it before the first claim; [New] calls it where Config.Now is set.
func (m *MemoryLedger) UseClock(now func() time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.entries) == 0 {
		m.now = now
	}
}

// begin is where every method begins, with the lock held.
func (m *MemoryLedger) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%w: ledger: %w", stmigrate.ErrUnavailable, err)
	}
	return nil
}

// Look implements [Ledger].
func (m *MemoryLedger) Look(ctx context.Context, key Key) (Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e := m.entries[key]
	if err := m.begin(ctx); err != nil || e == nil {
		return Entry{}, err
	}
	return e.shown(m.now()), nil
}

func (e *memoryEntry) shown(now time.Time) Entry {
	out := e.Entry
	out.Wait = max(e.leaseEnd.Sub(now), 0)
	return out
}

// Claim implements [Ledger].
func (m *MemoryLedger) Claim(ctx context.Context, c Claim) (Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return Entry{}, err
	}
	now, e := m.now(), m.entries[c.Key]
	switch {
	case e == nil && len(m.entries) >= m.limit:
		return Entry{}, fmt.Errorf("%w: ledger: full at %d entries; raise the limit of NewMemoryLedger", stmigrate.ErrUnavailable, m.limit)
	case e == nil:
		e = &memoryEntry{Entry: Entry{Key: c.Key, LegacyID: c.LegacyID, Step: StepIntent}}
		m.entries[c.Key] = e
	case e.Complete() || e.Conflict != "" || e.fence != c.Fence && e.leaseEnd.After(now):
		return e.shown(now), nil
	}
	e.fence, e.leaseEnd = c.Fence, now.Add(c.Lease)
	out := e.shown(now)
	out.Held = true
	return out, nil
}

// Record implements [Ledger].
func (m *MemoryLedger) Record(ctx context.Context, key Key, fence stmigrate.Fence, p Progress) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return err
	}
	e := m.entries[key]
	switch {
	case e == nil || e.fence != fence || p.Step < e.Step || e.Conflict != "" && p.Conflict != e.Conflict:
		return errLost
	case e.Complete() || e.Conflict != "":
		return nil
	}
	e.Step, e.UserID, e.Flags, e.Conflict = p.Step, p.UserID, p.Flags, p.Conflict
	if e.Complete() || e.Conflict != "" {
		e.leaseEnd = time.Time{}
	}
	return nil
}

var errLost = fmt.Errorf("%w: ledger: the entry is gone, held by another, or further", stmigrate.ErrClaimLost)

// Release implements [Ledger].
func (m *MemoryLedger) Release(ctx context.Context, key Key, fence stmigrate.Fence, erase bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return err
	}
	e := m.entries[key]
	switch {
	case e == nil || e.fence != fence || e.Complete() || e.Conflict != "":
	case erase:
		delete(m.entries, key)
	default:
		e.leaseEnd = time.Time{}
	}
	return nil
}

// Unmark implements [Ledger].
func (m *MemoryLedger) Unmark(ctx context.Context, key Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return err
	}
	if e := m.entries[key]; e != nil && e.Complete() {
		e.Flags &^= AskLegacy
	}
	return nil
}

// Forget implements [Ledger].
func (m *MemoryLedger) Forget(ctx context.Context, key Key) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return err
	}
	delete(m.entries, key)
	return nil
}

// Conflicts implements [Ledger].
func (m *MemoryLedger) Conflicts(ctx context.Context, after Key, limit int) ([]Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.begin(ctx); err != nil {
		return nil, err
	}
	var out []Entry
	for key, e := range m.entries {
		if e.Conflict != "" && compareKeys(key, after) > 0 {
			out = append(out, e.Entry)
		}
	}
	slices.SortFunc(out, func(a, b Entry) int { return compareKeys(a.Key, b.Key) })
	return out[:min(len(out), max(limit, 0))], nil
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.TenantID, b.TenantID), cmp.Compare(a.Email, b.Email))
}
