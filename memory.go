package stmigrate

import (
	"container/heap"
	"context"
	"fmt"
	"math"
	"sync"
	"time"
)

// MemoryExchanges is an [ExchangeStore] for one process and one lifetime: what it knows is gone with the process, and a
// second process knows nothing of it. Behind a load balancer, or where a restart during the migration must not let a legacy
// session be exchanged twice, use a shared store.
type MemoryExchanges struct {
	limit int

	mu      sync.Mutex
	now     func() time.Time
	epoch   time.Time
	entries map[ExchangeKey]*memoryEntry
	shown   map[ExchangeKey]*memoryEntry
	due     memoryQueue
}

type memoryEntry struct {
	key, shown ExchangeKey
	fence      Fence
	done       bool
	suspect    bool
	user       string
	before     string // the user of the suspect holder
	handle     string
	sealed     []byte
	// Times are on the store's clock, since its epoch.
	leaseEnd, sealEnd, keepEnd time.Duration
	index                      int
}

// NewMemoryExchanges returns an empty store for at most limit exchanges; one more is refused with [ErrUnavailable]. An
// exchange takes about 2.5 KB during Config.Grace and less than 450 bytes after. With a limit below 1 every claim is refused.
func NewMemoryExchanges(limit int) *MemoryExchanges {
	return &MemoryExchanges{
		limit:   limit,
		now:     time.Now,
		epoch:   time.Now(),
		entries: make(map[ExchangeKey]*memoryEntry),
		shown:   make(map[ExchangeKey]*memoryEntry),
	}
}

// UseClock replaces time.Now, for tests. Call it before the first exchange; [New] calls it where Config.Now is set.
func (m *MemoryExchanges) UseClock(now func() time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.entries) == 0 {
		m.now, m.epoch = now, now()
	}
}

// Len returns how many exchanges are remembered, unfinished ones included.
func (m *MemoryExchanges) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clean()
	return len(m.entries)
}

// Claim implements [ExchangeStore].
func (m *MemoryExchanges) Claim(ctx context.Context, c Claim) (Claimed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.begin(ctx)
	if err != nil {
		return Claimed{}, err
	}
	e := m.entries[c.Key]
	switch {
	case e == nil:
		if len(m.entries) >= m.limit {
			return Claimed{}, unavailable("exchange store: full at %d entries; raise the limit of NewMemoryExchanges", m.limit)
		}
		e = &memoryEntry{key: c.Key, index: -1}
		m.entries[c.Key] = e
	case e.done:
		return e.finished(), nil
	case e.fence == c.Fence:
	case e.leaseEnd > now:
		return Claimed{State: ClaimBusy, Wait: e.leaseEnd - now}, nil
	default:
		e.suspect, e.before = true, e.user
	}
	e.shown, e.fence, e.user = c.Shown, c.Fence, c.User
	e.leaseEnd, e.keepEnd = after(now, c.Lease), after(now, c.KeepFor)
	m.schedule(e)
	return Claimed{State: ClaimHeld, Suspect: e.suspect, User: e.before}, nil
}

// Finish implements [ExchangeStore].
func (m *MemoryExchanges) Finish(ctx context.Context, key ExchangeKey, fence Fence, f Finished) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.begin(ctx)
	if err != nil {
		return err
	}
	e := m.entries[key]
	if e == nil || e.fence != fence {
		return fmt.Errorf("%w: the entry is gone or held by another", ErrClaimLost)
	}
	if e.done {
		return nil
	}
	e.done, e.suspect, e.before = true, false, ""
	e.handle, e.sealed = f.Handle, append([]byte(nil), f.Sealed...)
	e.sealEnd, e.keepEnd = after(now, f.SealedFor), after(now, f.KeepFor)
	m.shown[e.shown] = e
	m.schedule(e)
	return nil
}

// Release implements [ExchangeStore].
func (m *MemoryExchanges) Release(ctx context.Context, key ExchangeKey, fence Fence, suspect bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.begin(ctx)
	if err != nil {
		return err
	}
	e := m.entries[key]
	switch {
	case e == nil || e.done || e.fence != fence:
	case suspect:
		e.leaseEnd, e.suspect, e.before = now, true, e.user
	default:
		m.remove(e)
	}
	return nil
}

// Recall implements [ExchangeStore].
func (m *MemoryExchanges) Recall(ctx context.Context, shown ExchangeKey) (Claimed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.begin(ctx); err != nil {
		return Claimed{}, err
	}
	if e := m.shown[shown]; e != nil {
		return e.finished(), nil
	}
	return Claimed{}, nil
}

// Peek implements [ExchangePeeker].
func (m *MemoryExchanges) Peek(ctx context.Context, key ExchangeKey) (Claimed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.begin(ctx)
	if err != nil {
		return Claimed{}, err
	}
	e := m.entries[key]
	switch {
	case e == nil:
		return Claimed{}, nil
	case e.done:
		return e.finished(), nil
	}
	return Claimed{State: ClaimBusy, Wait: max(e.leaseEnd-now, 0)}, nil
}

func (e *memoryEntry) finished() Claimed {
	return Claimed{State: ClaimDone, User: e.user, Handle: e.handle, Sealed: append([]byte(nil), e.sealed...)}
}

// begin is where every method begins, with the lock held: what is over goes, and an ended context is an error.
func (m *MemoryExchanges) begin(ctx context.Context) (now time.Duration, err error) {
	if err := ctx.Err(); err != nil {
		return 0, unavailable("exchange store: %w", err)
	}
	return m.clean(), nil
}

// clean erases what is over by now and returns the time. Each entry is visited twice in its life, so a call costs the same
// whatever the store holds.
func (m *MemoryExchanges) clean() time.Duration {
	now := m.now().Sub(m.epoch)
	for len(m.due) > 0 && m.due[0].next() <= now {
		e := m.due[0]
		if e.keepEnd <= now {
			m.remove(e)
			continue
		}
		e.sealed = nil
		heap.Fix(&m.due, 0)
	}
	return now
}

// after is now plus d, and the end of time where that is too much.
func after(now, d time.Duration) time.Duration {
	if end := now + d; d < 0 || end >= now {
		return end
	}
	return math.MaxInt64
}

func (m *MemoryExchanges) schedule(e *memoryEntry) {
	if e.index < 0 {
		heap.Push(&m.due, e)
	} else {
		heap.Fix(&m.due, e.index)
	}
}

func (m *MemoryExchanges) remove(e *memoryEntry) {
	delete(m.entries, e.key)
	if m.shown[e.shown] == e {
		delete(m.shown, e.shown)
	}
	heap.Remove(&m.due, e.index)
}

func (e *memoryEntry) next() time.Duration {
	if e.sealed != nil && e.sealEnd < e.keepEnd {
		return e.sealEnd
	}
	return e.keepEnd
}

// memoryQueue orders entries by what happens to them next.
type memoryQueue []*memoryEntry

func (q memoryQueue) Len() int           { return len(q) }
func (q memoryQueue) Less(i, j int) bool { return q[i].next() < q[j].next() }
func (q memoryQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

func (q *memoryQueue) Push(x any) {
	e := x.(*memoryEntry)
	e.index = len(*q)
	*q = append(*q, e)
}

func (q *memoryQueue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	e.index = -1
	return e
}
