package stmigrate

import (
	"context"
	"sync"
	"time"
)

const (
	// Whoever holds one good token can make this many of our goroutines wait.
	maxWaitersPerKey = 64
	maxWaiters       = 512
)

// keyedQueue lets the requests of this process that are for one legacy session go one after the other, so that one of
// them claims and polls and the others do not.
type keyedQueue struct {
	mu      sync.Mutex
	waiting int
	keys    map[ExchangeKey]*keyTurn
}

type keyTurn struct {
	turn  chan struct{} // holds a value while it is somebody's turn
	users int
}

func newKeyedQueue() *keyedQueue { return &keyedQueue{keys: make(map[ExchangeKey]*keyTurn)} }

// enter waits for the turn. The function that it returns may be called more than once.
func (q *keyedQueue) enter(ctx context.Context, key ExchangeKey) (leave func(), err error) {
	q.mu.Lock()
	k := q.keys[key]
	if k == nil {
		k = &keyTurn{turn: make(chan struct{}, 1)}
		q.keys[key] = k
	}
	if k.users > maxWaitersPerKey || (k.users > 0 && q.waiting >= maxWaiters) {
		q.mu.Unlock()
		return nil, &retryError{unavailable("too many requests wait for one exchange"), time.Second}
	}
	k.users++
	q.waiting++
	q.mu.Unlock()

	out := func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		if k.users--; k.users == 0 {
			delete(q.keys, key)
		}
	}
	defer func() {
		q.mu.Lock()
		q.waiting--
		q.mu.Unlock()
	}()
	select {
	case k.turn <- struct{}{}:
		return sync.OnceFunc(func() { <-k.turn; out() }), nil
	case <-ctx.Done():
		out()
		return nil, gaveUp(ctx.Err())
	}
}
