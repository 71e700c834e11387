package sqlstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stmigrate/stmigrate"
)

// The states of a revocation, as they stand in the table.
const (
	revocationNone = iota // or done, or dropped
	revocationOwed
	revocationDead
)

// DueRevocations implements [stmigrate.RevocationOutbox]. Entries that somebody else is about to lease or to change are passed
// over, not waited for. The database draws the fences, with its cryptographic generator.
func (s *Store) DueRevocations(ctx context.Context, max int, lease time.Duration) ([]stmigrate.DueRevocation, error) {
	type due struct {
		stmigrate.DueRevocation
		since int64
	}
	rows, err := list(ctx, s, "DueRevocations", max, func(scan scan) (d due, err error) {
		var key, fence []byte
		if err := scan(&key, &fence, &d.Revocation, &d.Attempt, &d.since); err != nil {
			return d, err
		}
		if d.Key, err = toKey(key); err != nil {
			return d, err
		}
		d.Fence, err = toFence(fence)
		return d, err
	}, s.sql.due, max, lease.Microseconds())
	if err != nil {
		return nil, err
	}
	slices.SortFunc(rows, func(a, b due) int { return cmp.Compare(a.since, b.since) })
	out := make([]stmigrate.DueRevocation, len(rows))
	for i, r := range rows {
		out[i] = r.DueRevocation
	}
	return out, nil
}

// SettleRevocation implements [stmigrate.RevocationOutbox].
func (s *Store) SettleRevocation(
	ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, retry time.Duration, reason string,
) error {
	state, untried := revocationNone, 0
	switch {
	case retry > 0:
		state = revocationOwed
		if reason == "" {
			untried = 1
		}
	case reason != "":
		state = revocationDead
	}
	err := s.begin(ctx)
	if err == nil {
		err = s.apply(ctx, s.sql.settle, key[:], fence[:], state, max(retry, 0).Microseconds(), blob(reason), untried)
	}
	return result(ctx, "SettleRevocation", err)
}

// DeadRevocations implements [stmigrate.RevocationDeadLetters].
func (s *Store) DeadRevocations(ctx context.Context, after stmigrate.ExchangeKey, max int) ([]stmigrate.DeadRevocation, error) {
	return list(ctx, s, "DeadRevocations", max, func(scan scan) (d stmigrate.DeadRevocation, err error) {
		var key, reason []byte
		if err := scan(&key, &d.Revocation, &d.Attempts, &reason); err != nil {
			return d, err
		}
		d.Reason = string(reason)
		d.Key, err = toKey(key)
		return d, err
	}, s.sql.dead, after[:], max)
}

// ReplayRevocation implements [stmigrate.RevocationDeadLetters].
func (s *Store) ReplayRevocation(ctx context.Context, key stmigrate.ExchangeKey) error {
	return s.run(ctx, "ReplayRevocation", s.sql.replay, key[:])
}

// DropRevocation implements [stmigrate.RevocationDeadLetters].
func (s *Store) DropRevocation(ctx context.Context, key stmigrate.ExchangeKey) error {
	return s.run(ctx, "DropRevocation", s.sql.drop, key[:])
}

// TakeBudget implements [stmigrate.RevocationBudgets]. The time between two calls is counted in whole microseconds, rounded
// down. A call whose answer is lost has taken what it took: the provider sees fewer calls then, not more.
func (s *Store) TakeBudget(
	ctx context.Context, name string, n int, b stmigrate.RevocationBudget,
) (got int, wait time.Duration, err error) {
	every := int64(0)
	if b.Calls > 0 {
		every = b.Per.Microseconds() / int64(b.Calls)
	}
	if name == "" || every < 1 || b.Per > maxPer {
		return 0, 0, fmt.Errorf("sqlstore: the budget %q is %d calls in %v, want a name, and at least one call in at most %v, "+
			"not more than one in a microsecond", name, b.Calls, b.Per, maxPer)
	}
	if n < 1 {
		return 0, 0, nil
	}
	type answer struct{ got, fullAt, pausedUntil, askedAt int64 }
	rows, err := list(ctx, s, "TakeBudget", 1, func(scan scan) (a answer, err error) {
		return a, scan(&a.got, &a.fullAt, &a.pausedUntil, &a.askedAt)
	}, s.sql.take, []byte(name), min(n, b.Calls), b.Calls, every)
	if err != nil {
		return 0, 0, err
	}
	if len(rows) != 1 || rows[0].got < 0 || rows[0].got > int64(n) {
		return 0, 0, result(ctx, "TakeBudget", garbage("a budget that was not asked for"))
	}
	a := rows[0]
	if a.got == 0 {
		// One call flows in when all but one are still missing.
		us := max(a.fullAt, a.pausedUntil+int64(b.Calls)*every) - int64(b.Calls-1)*every - a.askedAt
		wait = time.Duration(max(us, 1)) * time.Microsecond
	}
	return int(a.got), wait, nil
}

// maxPer keeps all that is counted in a budget far within 64 bits.
const maxPer = 366 * 24 * time.Hour

// PauseBudget implements [stmigrate.RevocationBudgets].
func (s *Store) PauseBudget(ctx context.Context, name string, d time.Duration) error {
	if name == "" {
		return errors.New("sqlstore: a budget needs a name")
	}
	return s.run(ctx, "PauseBudget", s.sql.pause, []byte(name), max(d, 0).Microseconds())
}

// CloseEpoch implements [stmigrate.EpochStore].
func (s *Store) CloseEpoch(ctx context.Context, epoch string) error {
	if epoch == "" {
		return errors.New(`sqlstore: the epoch "" stands for none and cannot be closed`)
	}
	return s.run(ctx, "CloseEpoch", s.sql.closeEpoch, []byte(epoch))
}

// EpochExchanges implements [stmigrate.EpochStore]. Those of the epoch "" are the ones without.
func (s *Store) EpochExchanges(
	ctx context.Context, epoch string, after stmigrate.ExchangeKey, max int,
) ([]stmigrate.EpochExchange, error) {
	text, args := s.sql.epoch, []any{after[:], max, []byte(epoch)}
	if epoch == "" {
		text, args = s.sql.noEpoch, args[:2]
	}
	return list(ctx, s, "EpochExchanges", max, func(scan scan) (x stmigrate.EpochExchange, err error) {
		var key, fence, handle []byte
		if err := scan(&key, &fence, &handle); err != nil {
			return x, err
		}
		if x.Key, err = toKey(key); err != nil {
			return x, err
		}
		x.Handle = string(handle)
		x.Fence, err = toFence(fence)
		return x, err
	}, text, args...)
}

// ForgetExchange implements [stmigrate.EpochStore].
func (s *Store) ForgetExchange(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence) error {
	return s.run(ctx, "ForgetExchange", s.sql.forget, key[:], fence[:])
}
