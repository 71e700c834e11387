package stmigrate

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"
)

// MemoryExchanges is an [ExchangeStore] for one process and one lifetime: what it knows is gone with the process, and a
// second process knows nothing of it. Behind a load balancer, or where a restart during the migration must not let a legacy
// session be exchanged twice, use a shared store. It implements all that a store may be: [ExchangePeeker], [RevocationOutbox],
// [RevocationDeadLetters], [RevocationBudgets], [ClaimSweeper], [ClaimNoter] and [EpochStore].
type MemoryExchanges struct {
	limit int

	mu      sync.Mutex
	now     func() time.Time
	epoch   time.Time
	entries map[ExchangeKey]*memoryEntry
	shown   map[ExchangeKey]*memoryEntry
	held    map[ExchangeKey]*memoryEntry // those that are not finished
	due     memoryQueue[*memoryEntry]

	owed    memoryQueue[*memoryRare] // without the dead ones
	dead    map[ExchangeKey]*memoryEntry
	buckets map[string]time.Duration // when each was empty, or will be again
	closed  map[string]bool          // epochs
}

type memoryEntry struct {
	key, shown ExchangeKey
	fence      Fence
	settled    Fence // of the lease that was settled last
	user       string
	epoch      string
	handle     string
	sealed     string
	// Times are on the store's clock, since its epoch. end is that of the lease and, once done, of the seal.
	end, keepEnd  time.Duration
	rare          *memoryRare
	index         int32
	done, suspect bool
}

// memoryRare is what few entries have, and not for long.
type memoryRare struct {
	entry *memoryEntry

	// While the entry is not done: the user of the suspect holder, and the note.
	before string
	note   []byte
	noted  ExchangeKey // the token that the note was written for

	// Once it is done and owes a revocation. fence is that of the lease, zero while there is none; due is when it is to be handed
	// out, or when the lease ends; reason is that of a dead letter.
	revocation []byte
	fence      Fence
	due        time.Duration
	attempt    int
	reason     string
	index      int32
}

// NewMemoryExchanges returns an empty store for at most limit exchanges; one more is refused with [ErrUnavailable]. An
// exchange takes about 2.5 KB during Config.Grace and less than 450 bytes after, and as much as a revocation takes that is
// owed. With a limit below 1 every claim is refused.
func NewMemoryExchanges(limit int) *MemoryExchanges {
	return &MemoryExchanges{
		limit:   limit,
		now:     time.Now,
		epoch:   time.Now(),
		entries: make(map[ExchangeKey]*memoryEntry),
		shown:   make(map[ExchangeKey]*memoryEntry),
		held:    make(map[ExchangeKey]*memoryEntry),
		dead:    make(map[ExchangeKey]*memoryEntry),
		buckets: make(map[string]time.Duration),
		closed:  make(map[string]bool),
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
	mine := e != nil && !e.done && e.fence == c.Fence
	switch {
	case m.closed[c.Epoch] && !mine:
		return Claimed{State: ClaimClosed}, nil
	case e == nil:
		if len(m.entries) >= m.limit {
			return Claimed{}, unavailable("exchange store: full at %d entries; raise the limit of NewMemoryExchanges", m.limit)
		}
		e = &memoryEntry{key: c.Key, index: -1}
		m.entries[c.Key], m.held[c.Key] = e, e
	case e.done:
		return e.finished(), nil
	case mine:
	case e.end > now:
		return Claimed{State: ClaimBusy, Wait: e.end - now}, nil
	default:
		m.suspect(e)
	}
	e.shown, e.fence, e.user, e.epoch = c.Shown, c.Fence, c.User, c.Epoch
	e.end, e.keepEnd = after(now, c.Lease), max(e.keepEnd, after(now, c.KeepFor))
	m.schedule(e)
	got := Claimed{State: ClaimHeld, Suspect: e.suspect}
	if e.rare != nil {
		got.User, got.Note = e.rare.before, bytes.Clone(e.rare.note)
	}
	return got, nil
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
	m.unpoint(e)
	e.done, e.suspect, e.rare = true, false, nil
	e.handle, e.sealed = f.Handle, string(f.Sealed)
	e.end, e.keepEnd = after(now, f.SealedFor), after(now, f.KeepFor)
	m.shown[e.shown] = e
	delete(m.held, key)
	m.schedule(e)
	if f.Revocation != nil {
		e.rare = &memoryRare{entry: e, revocation: bytes.Clone(f.Revocation), fence: fence, due: after(now, f.RevokeIn)}
		heap.Push(&m.owed, e.rare)
	}
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
		e.end = now
		m.suspect(e)
	default:
		m.remove(e)
	}
	return nil
}

// Recall implements [ExchangeStore].
func (m *MemoryExchanges) Recall(ctx context.Context, shown ExchangeKey) (Claimed, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.begin(ctx)
	if err != nil {
		return Claimed{}, err
	}
	e := m.shown[shown]
	switch {
	case e == nil:
		return Claimed{}, nil
	case e.done:
		return e.finished(), nil
	}
	return Claimed{State: ClaimBusy, Note: bytes.Clone(e.rare.note), Wait: max(e.end-now, 0)}, nil
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
	return Claimed{State: ClaimBusy, Wait: max(e.end-now, 0)}, nil
}

// DueRevocations implements [RevocationOutbox].
func (m *MemoryExchanges) DueRevocations(ctx context.Context, max int, lease time.Duration) ([]DueRevocation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	var taken []*memoryRare
	for len(taken) < max && len(m.owed) > 0 && m.owed[0].due <= now {
		taken = append(taken, heap.Pop(&m.owed).(*memoryRare))
	}
	due := make([]DueRevocation, len(taken))
	for i, j := range taken {
		j.fence, j.due = newFence(), after(now, lease)
		j.attempt++
		heap.Push(&m.owed, j)
		due[i] = DueRevocation{Key: j.entry.key, Fence: j.fence, Revocation: bytes.Clone(j.revocation), Attempt: j.attempt}
	}
	return due, nil
}

// SettleRevocation implements [RevocationOutbox].
func (m *MemoryExchanges) SettleRevocation(ctx context.Context, key ExchangeKey, fence Fence, retry time.Duration, reason string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.begin(ctx)
	if err != nil {
		return err
	}
	e := m.entries[key]
	switch {
	case e == nil || fence == Fence{}:
		return fmt.Errorf("%w: the revocation is gone", ErrClaimLost)
	case e.settled == fence:
		return nil
	case e.rare == nil || e.rare.fence != fence:
		return fmt.Errorf("%w: the revocation is settled, or leased by another", ErrClaimLost)
	}
	j := e.rare
	e.settled, j.fence = fence, Fence{}
	switch {
	case retry > 0:
		if reason == "" {
			j.attempt = max(j.attempt-1, 0)
		}
		j.due = after(now, retry)
		heap.Fix(&m.owed, int(j.index))
	case reason != "":
		j.reason = reason
		heap.Remove(&m.owed, int(j.index))
		m.dead[key] = e
	default:
		heap.Remove(&m.owed, int(j.index))
		e.rare = nil
	}
	return nil
}

// DeadRevocations implements [RevocationDeadLetters].
func (m *MemoryExchanges) DeadRevocations(ctx context.Context, after ExchangeKey, max int) ([]DeadRevocation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.begin(ctx); err != nil {
		return nil, err
	}
	var out []DeadRevocation
	for _, e := range page(m.dead, after, max, func(*memoryEntry) bool { return true }) {
		out = append(out, DeadRevocation{Key: e.key, Revocation: bytes.Clone(e.rare.revocation), Attempts: e.rare.attempt, Reason: e.rare.reason})
	}
	return out, nil
}

// ReplayRevocation implements [RevocationDeadLetters].
func (m *MemoryExchanges) ReplayRevocation(ctx context.Context, key ExchangeKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.begin(ctx)
	if err != nil {
		return err
	}
	if e := m.dead[key]; e != nil {
		delete(m.dead, key)
		e.rare.reason, e.rare.attempt, e.rare.due = "", 0, now
		heap.Push(&m.owed, e.rare)
	}
	return nil
}

// DropRevocation implements [RevocationDeadLetters].
func (m *MemoryExchanges) DropRevocation(ctx context.Context, key ExchangeKey) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.begin(ctx); err != nil {
		return err
	}
	if e := m.dead[key]; e != nil {
		delete(m.dead, key)
		e.rare = nil
	}
	return nil
}

// TakeBudget implements [RevocationBudgets].
func (m *MemoryExchanges) TakeBudget(ctx context.Context, name string, n int, b RevocationBudget) (int, time.Duration, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.begin(ctx)
	if err != nil {
		return 0, 0, err
	}
	if b.Calls < 1 || b.Per <= 0 {
		return 0, 0, fmt.Errorf("a budget of %d calls per %v lets nothing through", b.Calls, b.Per)
	}
	each := max(b.Per/time.Duration(b.Calls), 1)
	empty, known := m.buckets[name]
	if full := now - b.Per; !known || empty < full {
		empty = full
	}
	got := max(min(n, b.Calls, int((now-empty)/each)), 0)
	empty += time.Duration(got) * each
	m.buckets[name] = empty
	if got > 0 {
		return got, 0, nil
	}
	return 0, empty + each - now, nil
}

// PauseBudget implements [RevocationBudgets].
func (m *MemoryExchanges) PauseBudget(ctx context.Context, name string, d time.Duration) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.begin(ctx)
	if err != nil {
		return err
	}
	m.buckets[name] = max(m.buckets[name], after(now, d))
	return nil
}

// AbandonedClaims implements [ClaimSweeper].
func (m *MemoryExchanges) AbandonedClaims(ctx context.Context, since time.Duration, max int) ([]Claim, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now, err := m.begin(ctx)
	if err != nil {
		return nil, err
	}
	var found []*memoryEntry
	for _, e := range m.held {
		if after(e.end, since) <= now {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b *memoryEntry) int { return cmp.Compare(a.end, b.end) })
	var out []Claim
	for _, e := range found[:min(len(found), max)] {
		out = append(out, Claim{Key: e.key, Shown: e.shown, User: e.user, Epoch: e.epoch})
	}
	return out, nil
}

// Note implements [ClaimNoter].
func (m *MemoryExchanges) Note(ctx context.Context, key ExchangeKey, fence Fence, note []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.begin(ctx); err != nil {
		return err
	}
	e := m.held[key]
	if e == nil || e.fence != fence {
		return fmt.Errorf("%w: the entry is gone, finished, or held by another", ErrClaimLost)
	}
	e.needRare()
	m.unpoint(e)
	e.rare.note, e.rare.noted = append([]byte{}, note...), e.shown
	m.shown[e.shown] = e
	return nil
}

// CloseEpoch implements [EpochStore].
func (m *MemoryExchanges) CloseEpoch(ctx context.Context, epoch string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.begin(ctx); err != nil {
		return err
	}
	if epoch == "" {
		return errNoEpoch
	}
	m.closed[epoch] = true
	return nil
}

// EpochExchanges implements [EpochStore]. It looks at all entries each time.
func (m *MemoryExchanges) EpochExchanges(ctx context.Context, epoch string, after ExchangeKey, max int) ([]EpochExchange, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.begin(ctx); err != nil {
		return nil, err
	}
	var out []EpochExchange
	for _, e := range page(m.entries, after, max, func(e *memoryEntry) bool { return e.done && e.epoch == epoch }) {
		out = append(out, EpochExchange{Key: e.key, Fence: e.fence, Handle: e.handle})
	}
	return out, nil
}

// ForgetExchange implements [EpochStore].
func (m *MemoryExchanges) ForgetExchange(ctx context.Context, key ExchangeKey, fence Fence) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.begin(ctx); err != nil {
		return err
	}
	if e := m.entries[key]; e != nil && e.done && e.fence == fence {
		m.remove(e)
	}
	return nil
}

// page returns the first max entries with keys above after, in the order of their keys.
func page(entries map[ExchangeKey]*memoryEntry, after ExchangeKey, max int, want func(*memoryEntry) bool) []*memoryEntry {
	byKey := func(a *memoryEntry, key ExchangeKey) int { return bytes.Compare(a.key[:], key[:]) }
	var out []*memoryEntry
	for _, e := range entries {
		if byKey(e, after) <= 0 || !want(e) || (len(out) >= max && (max < 1 || byKey(e, out[max-1].key) > 0)) {
			continue
		}
		i, _ := slices.BinarySearchFunc(out, e.key, byKey)
		out = slices.Insert(out, i, e)
		out = out[:min(len(out), max)]
	}
	return out
}

func (e *memoryEntry) finished() Claimed {
	return Claimed{State: ClaimDone, User: e.user, Handle: e.handle, Sealed: []byte(e.sealed)}
}

// suspect notes that the holder may have left a session behind.
func (m *MemoryExchanges) suspect(e *memoryEntry) {
	e.needRare()
	e.suspect, e.rare.before = true, e.user
}

func (e *memoryEntry) needRare() {
	if e.rare == nil {
		e.rare = &memoryRare{entry: e}
	}
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
		e.sealed = ""
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
		heap.Fix(&m.due, int(e.index))
	}
}

func (m *MemoryExchanges) remove(e *memoryEntry) {
	delete(m.entries, e.key)
	delete(m.held, e.key)
	m.unpoint(e)
	heap.Remove(&m.due, int(e.index))
	switch {
	case !e.done || e.rare == nil:
	case m.dead[e.key] != nil:
		delete(m.dead, e.key)
	default:
		heap.Remove(&m.owed, int(e.rare.index))
	}
}

// unpoint takes the way from a token to the entry away, unless it leads to another one by now.
func (m *MemoryExchanges) unpoint(e *memoryEntry) {
	token := e.shown
	if !e.done && e.rare != nil {
		token = e.rare.noted
	}
	if m.shown[token] == e {
		delete(m.shown, token)
	}
}

// next is when something happens to the entry.
func (e *memoryEntry) next() time.Duration {
	if e.sealed != "" && e.end < e.keepEnd {
		return e.end
	}
	return e.keepEnd
}

func (e *memoryEntry) place() *int32 { return &e.index }

func (j *memoryRare) next() time.Duration { return j.due }
func (j *memoryRare) place() *int32       { return &j.index }

// memoryQueue orders values by what happens to them next. Each knows its place.
type memoryQueue[T interface {
	next() time.Duration
	place() *int32
}] []T

func (q memoryQueue[T]) Len() int           { return len(q) }
func (q memoryQueue[T]) Less(i, j int) bool { return q[i].next() < q[j].next() }
func (q memoryQueue[T]) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	*q[i].place(), *q[j].place() = int32(i), int32(j)
}

func (q *memoryQueue[T]) Push(x any) {
	v := x.(T)
	*v.place() = int32(len(*q))
	*q = append(*q, v)
}

func (q *memoryQueue[T]) Pop() any {
	var none T
	old := *q
	v := old[len(old)-1]
	old[len(old)-1] = none
	*q = old[:len(old)-1]
	*v.place() = -1
	return v
}
