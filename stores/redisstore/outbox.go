package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/stmigrate/stmigrate"
)

// maxRows is how much one call returns at most, since a script keeps the server from all other work.
const maxRows = 1000

// maxPer is what pause.lua relies on.
const maxPer = 31 * 24 * time.Hour

// rows runs a script that returns rows, again while it had to clean up more than it wants to in one run.
func (s *Store) rows(ctx context.Context, c call, read func(r *reply)) error {
	for {
		r, err := s.run(ctx, c)
		if err != nil {
			return err
		}
		list, more := r.list(), r.number() == 1
		if r.err != nil || r.status != "rows" {
			return errReply
		}
		if more {
			continue
		}
		for _, row := range list {
			fields, _ := row.([]any)
			sub := reply{rest: fields}
			read(&sub)
			if sub.err != nil {
				return sub.err
			}
		}
		return nil
	}
}

// DueRevocations implements [stmigrate.RevocationOutbox]. It returns at most 1,000. What a call leased whose answer was lost,
// also one that the client repeated by itself, comes again when that lease is over.
func (s *Store) DueRevocations(ctx context.Context, max int, lease time.Duration) (due []stmigrate.DueRevocation, err error) {
	if max = min(max, maxRows); max < 1 {
		return nil, nil
	}
	if lease <= 0 {
		return nil, fmt.Errorf("redisstore: the lease of due revocations is %v, want more than 0", lease)
	}
	fences := make([]byte, max*len(stmigrate.Fence{}))
	_, _ = rand.Read(fences) // never fails: crypto/rand aborts the program instead
	err = s.rows(ctx, call{script: "due", keys: []string{"due"}, args: []any{max, millis(lease), fences}}, func(r *reply) {
		due = append(due, stmigrate.DueRevocation{Key: r.key(), Fence: r.fence(), Revocation: r.bytes(), Attempt: int(r.number())})
	})
	return due, err
}

// SettleRevocation implements [stmigrate.RevocationOutbox].
func (s *Store) SettleRevocation(
	ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, retry time.Duration, reason string,
) error {
	k := string(key[:])
	r, err := s.run(ctx, call{
		script: "settle", keys: []string{"due", "dead", "e:" + k, "r:" + k}, args: []any{k, fence[:], millis(retry), reason},
	})
	return done(r, err)
}

// DeadRevocations implements [stmigrate.RevocationDeadLetters]. It returns at most 1,000.
func (s *Store) DeadRevocations(
	ctx context.Context, after stmigrate.ExchangeKey, max int,
) (dead []stmigrate.DeadRevocation, err error) {
	if max = min(max, maxRows); max < 1 {
		return nil, nil
	}
	err = s.rows(ctx, call{script: "dead", keys: []string{"dead"}, args: []any{after[:], max}}, func(r *reply) {
		dead = append(dead, stmigrate.DeadRevocation{Key: r.key(), Revocation: r.bytes(), Attempts: int(r.number()), Reason: r.text()})
	})
	return dead, err
}

// ReplayRevocation implements [stmigrate.RevocationDeadLetters].
func (s *Store) ReplayRevocation(ctx context.Context, key stmigrate.ExchangeKey) error {
	k := string(key[:])
	return done(s.run(ctx, call{script: "replay", keys: []string{"due", "dead", "e:" + k}, args: []any{k}}))
}

// DropRevocation implements [stmigrate.RevocationDeadLetters].
func (s *Store) DropRevocation(ctx context.Context, key stmigrate.ExchangeKey) error {
	k := string(key[:])
	return done(s.run(ctx, call{script: "drop", keys: []string{"dead", "e:" + k, "r:" + k}, args: []any{k}}))
}

// TakeBudget implements [stmigrate.RevocationBudgets]. b.Per is at most 31 days. A call whose answer was lost, also one that the
// client repeated by itself, has taken what it took: the budget errs on the side of fewer calls.
func (s *Store) TakeBudget(ctx context.Context, name string, n int, b stmigrate.RevocationBudget) (got int, wait time.Duration, err error) {
	if b.Calls < 1 || b.Per < time.Microsecond || b.Per > maxPer {
		return 0, 0, fmt.Errorf("redisstore: the budget %q is %d calls in %v, want at least one call in at most %v", name, b.Calls, b.Per, maxPer)
	}
	if n < 1 {
		return 0, 0, nil
	}
	r, err := s.run(ctx, call{script: "take", keys: []string{"b:" + name}, args: []any{n, b.Calls, b.Per.Microseconds()}})
	if err != nil {
		return 0, 0, err
	}
	got, wait = int(r.number()), time.Duration(r.number())*time.Microsecond
	return got, wait, r.err
}

// PauseBudget implements [stmigrate.RevocationBudgets].
func (s *Store) PauseBudget(ctx context.Context, name string, d time.Duration) error {
	return done(s.run(ctx, call{script: "pause", keys: []string{"b:" + name}, args: []any{max(d, 0).Microseconds()}}))
}

// AbandonedClaims implements [stmigrate.ClaimSweeper]. It returns at most 1,000.
func (s *Store) AbandonedClaims(ctx context.Context, since time.Duration, max int) (claims []stmigrate.Claim, err error) {
	if max = min(max, maxRows); max < 1 {
		return nil, nil
	}
	err = s.rows(ctx, call{script: "abandoned", keys: []string{"held"}, args: []any{millis(since), max}}, func(r *reply) {
		claims = append(claims, stmigrate.Claim{Key: r.key(), Shown: r.key(), User: r.text(), Epoch: r.text()})
	})
	return claims, err
}

// CloseEpoch implements [stmigrate.EpochStore].
func (s *Store) CloseEpoch(ctx context.Context, epoch string) error {
	if epoch == "" {
		return errors.New(`redisstore: the epoch is "", which stands for none and cannot be closed`)
	}
	return done(s.run(ctx, call{script: "closeepoch", keys: []string{"closed"}, args: []any{epoch}}))
}

// EpochExchanges implements [stmigrate.EpochStore]. It returns at most 1,000.
func (s *Store) EpochExchanges(
	ctx context.Context, epoch string, after stmigrate.ExchangeKey, max int,
) (exchanges []stmigrate.EpochExchange, err error) {
	if max = min(max, maxRows); max < 1 {
		return nil, nil
	}
	err = s.rows(ctx, call{script: "epoch", keys: []string{"x:" + epoch}, args: []any{epoch, after[:], max}}, func(r *reply) {
		exchanges = append(exchanges, stmigrate.EpochExchange{Key: r.key(), Fence: r.fence(), Handle: r.text()})
	})
	return exchanges, err
}

// ForgetExchange implements [stmigrate.EpochStore].
func (s *Store) ForgetExchange(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence) error {
	k := string(key[:])
	r, err := s.run(ctx, call{
		script: "forget",
		keys:   []string{"held", "due", "dead", "e:" + k, "a:" + k, "n:" + k, "r:" + k},
		args:   []any{k, fence[:]},
	})
	return done(r, err)
}
