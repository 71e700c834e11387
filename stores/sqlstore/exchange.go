package sqlstore

import (
	"context"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/sqldb"
)

// Claim implements [stmigrate.ExchangeStore]. An answer other than ClaimHeld writes nothing.
func (s *Store) Claim(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
	claimed, err := s.claim(ctx, c)
	return claimed, result(ctx, "Claim", err)
}

func (s *Store) claim(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
	if err := s.begin(ctx); err != nil {
		return stmigrate.Claimed{}, err
	}
	args := []any{
		c.Key[:], c.Fence[:], c.Shown[:], blob(c.User), blob(c.Epoch), c.Lease.Microseconds(), c.KeepFor.Microseconds(),
	}
	for range races {
		rows, err := sqldb.Query(ctx, s.db, 1, readClaimed, s.sql.claim, args...)
		if err == nil && s.sql.claimWrite != "" && len(rows) == 1 && rows[0].State == stmigrate.ClaimHeld {
			rows, err = sqldb.Query(ctx, s.db, 1, readClaimed, s.sql.claimWrite, args...)
		}
		if err != nil {
			return stmigrate.Claimed{}, err
		}
		if len(rows) == 1 {
			return rows[0], nil
		}
	}
	return stmigrate.Claimed{}, errRaces
}

// readClaimed reads the columns that Claim, Recall and Peek have in common.
func readClaimed(scan scan) (stmigrate.Claimed, error) {
	var (
		state, suspect, wait       int64
		user, handle, sealed, note []byte
	)
	if err := scan(&state, &suspect, &user, &handle, &sealed, &note, &wait); err != nil {
		return stmigrate.Claimed{}, err
	}
	switch c := (stmigrate.Claimed{State: stmigrate.ClaimState(state)}); {
	case suspect != 0 && suspect != 1:
		return stmigrate.Claimed{}, garbage("suspect is %d", suspect)
	case c.State == stmigrate.ClaimHeld:
		c.Suspect, c.User, c.Note = suspect == 1, string(user), note
		return c, nil
	case c.State == stmigrate.ClaimBusy:
		const most = int64(200 * 366 * 24 * time.Hour / time.Microsecond)
		if wait > most {
			return stmigrate.Claimed{}, garbage("a lease that runs for %d µs", wait)
		}
		c.Note, c.Wait = note, time.Duration(max(wait, 0))*time.Microsecond
		return c, nil
	case c.State == stmigrate.ClaimDone:
		c.User, c.Handle, c.Sealed = string(user), string(handle), sealed
		return c, nil
	case c.State == stmigrate.ClaimClosed:
		return c, nil
	}
	return stmigrate.Claimed{}, garbage("the unknown state %d", state)
}

// Finish implements [stmigrate.ExchangeStore]. Now and then it also does a part of what [Store.Clean] does.
func (s *Store) Finish(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
	return result(ctx, "Finish", s.finish(ctx, key, fence, f))
}

func (s *Store) finish(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	sealed, cleanIn := blob(f.Sealed), min(f.SealedFor, f.KeepFor)
	if f.SealedFor <= 0 {
		sealed = nil
	}
	if sealed == nil {
		cleanIn = f.KeepFor
	}
	var revocation any
	owed := revocationNone
	if f.Revocation != nil {
		revocation, owed = f.Revocation, revocationOwed
	}
	statement, sweep := s.sql.finish, s.finishes.Add(1)%sweepEvery == 1
	if sweep && s.db.Dialect == Postgres {
		statement = s.sql.finishSweep
	}
	err := s.apply(ctx, statement, key[:], fence[:], blob(f.Handle), sealed, f.SealedFor.Microseconds(),
		f.KeepFor.Microseconds(), cleanIn.Microseconds(), revocation, owed, f.RevokeIn.Microseconds())
	if err == nil && sweep && s.db.Dialect == SQLite {
		_, _ = s.clean(ctx, sweepMost) // what fails is left for the next time
	}
	return err
}

// Release implements [stmigrate.ExchangeStore].
func (s *Store) Release(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, suspect bool) error {
	text := s.sql.release
	if suspect {
		text = s.sql.releaseSuspect
	}
	return s.run(ctx, "Release", text, key[:], fence[:])
}

// run is for a statement that has no answer.
func (s *Store) run(ctx context.Context, op, text string, args ...any) error {
	err := s.begin(ctx)
	if err == nil {
		_, err = s.db.Exec(ctx, text, args...)
	}
	return result(ctx, op, err)
}

// Recall implements [stmigrate.ExchangeStore].
func (s *Store) Recall(ctx context.Context, shown stmigrate.ExchangeKey) (stmigrate.Claimed, error) {
	return s.look(ctx, "Recall", s.sql.recall, shown)
}

// Peek implements [stmigrate.ExchangePeeker].
func (s *Store) Peek(ctx context.Context, key stmigrate.ExchangeKey) (stmigrate.Claimed, error) {
	return s.look(ctx, "Peek", s.sql.peek, key)
}

func (s *Store) look(ctx context.Context, op, text string, key stmigrate.ExchangeKey) (stmigrate.Claimed, error) {
	rows, err := list(ctx, s, op, 1, readClaimed, text, key[:])
	if err != nil || len(rows) == 0 {
		return stmigrate.Claimed{}, err
	}
	if state := rows[0].State; state != stmigrate.ClaimDone && state != stmigrate.ClaimBusy {
		return stmigrate.Claimed{}, result(ctx, op, garbage("the state %d", state))
	}
	return rows[0], nil
}

// list is for a statement that answers with at most limit rows.
func list[T any](
	ctx context.Context, s *Store, op string, limit int, read func(scan) (T, error), text string, args ...any,
) ([]T, error) {
	if limit < 1 {
		return nil, nil
	}
	err := s.begin(ctx)
	var rows []T
	if err == nil {
		rows, err = sqldb.Query(ctx, s.db, limit, read, text, args...)
	}
	if err != nil {
		return nil, result(ctx, op, err)
	}
	return rows, nil
}

// Note implements [stmigrate.ClaimNoter].
func (s *Store) Note(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, note []byte) error {
	err := s.begin(ctx)
	if err == nil {
		err = s.apply(ctx, s.sql.note, key[:], fence[:], append([]byte{}, note...))
	}
	return result(ctx, "Note", err)
}

// AbandonedClaims implements [stmigrate.ClaimSweeper].
func (s *Store) AbandonedClaims(ctx context.Context, since time.Duration, max int) ([]stmigrate.Claim, error) {
	return list(ctx, s, "AbandonedClaims", max, func(scan scan) (c stmigrate.Claim, err error) {
		var key, shown, user, epoch []byte
		if err := scan(&key, &shown, &user, &epoch); err != nil {
			return c, err
		}
		if c.Key, err = toKey(key); err != nil {
			return c, err
		}
		c.Shown, err = toKey(shown)
		c.User, c.Epoch = string(user), string(epoch)
		return c, err
	}, s.sql.abandoned, since.Microseconds(), max)
}

// One Finish in sweepEvery cleans up, beginning with the first: at most sweepMost times, which is more than the two that each
// exchange will need. Doing it rarely keeps the others fast, and costs less in sum.
const (
	sweepEvery = 16
	sweepMost  = 64
)

// Clean erases sealed answers whose SealedFor is over and entries whose KeepFor is over, at most max of them, and says how
// many it found: fewer than max means that nothing is left. None of them is answered any more without it. Some calls
// of Finish clean, too, so Clean is for what they leave and for when there are none: call it every minute, from any number of processes.
func (s *Store) Clean(ctx context.Context, max int) (int, error) {
	if max < 1 {
		return 0, nil
	}
	err := s.begin(ctx)
	n := 0
	if err == nil {
		n, err = s.clean(ctx, max)
	}
	return n, result(ctx, "Clean", err)
}

func (s *Store) clean(ctx context.Context, max int) (int, error) {
	if s.db.Dialect == Postgres {
		counts, err := sqldb.Query(ctx, s.db, 1, sqldb.ReadInt, s.sql.clean, max)
		if err != nil {
			return 0, err
		}
		if len(counts) == 0 || counts[0] < 0 || counts[0] > int64(max) {
			return 0, garbage("a wrong count")
		}
		return int(counts[0]), nil
	}
	gone, err := s.db.Exec(ctx, s.sql.cleanEntries, max)
	if err != nil || gone >= max {
		return gone, err
	}
	erased, err := s.db.Exec(ctx, s.sql.cleanSealed, max-gone)
	return gone + erased, err
}
