package redisstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/stmigrate/stmigrate"
)

// Claim implements [stmigrate.ExchangeStore].
func (s *Store) Claim(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
	key, shown := string(c.Key[:]), string(c.Shown[:])
	r, err := s.run(ctx, call{
		script: "claim",
		keys:   []string{"closed", "held", "due", "dead", "e:" + key, "a:" + key, "n:" + key, "r:" + key, "s:" + shown},
		args:   []any{key, shown, c.User, c.Epoch, c.Fence[:], millis(c.Lease), millis(c.KeepFor)},
	})
	if err != nil {
		return stmigrate.Claimed{}, err
	}
	switch r.status {
	case "closed":
		return stmigrate.Claimed{State: stmigrate.ClaimClosed}, nil
	case "held":
		suspect := r.number() == 1
		out := stmigrate.Claimed{State: stmigrate.ClaimHeld, Suspect: suspect, User: r.text(), Note: r.bytes()}
		return out, r.err
	}
	return entry(r)
}

// Finish implements [stmigrate.ExchangeStore].
func (s *Store) Finish(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
	k := string(key[:])
	r, err := s.run(ctx, call{
		script: "finish",
		keys:   []string{"held", "due", "e:" + k, "a:" + k, "n:" + k, "r:" + k},
		args: []any{
			k, fence[:], f.Handle, f.Sealed, millis(f.SealedFor), millis(f.KeepFor), f.Revocation, millis(f.RevokeIn),
		},
		durable: true,
	})
	return done(r, err)
}

// Release implements [stmigrate.ExchangeStore].
func (s *Store) Release(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, suspect bool) error {
	k := string(key[:])
	r, err := s.run(ctx, call{
		script: "release",
		keys:   []string{"held", "due", "dead", "e:" + k, "a:" + k, "n:" + k, "r:" + k},
		args:   []any{k, fence[:], suspect},
	})
	return done(r, err)
}

// Recall implements [stmigrate.ExchangeStore].
func (s *Store) Recall(ctx context.Context, shown stmigrate.ExchangeKey) (stmigrate.Claimed, error) {
	token := string(shown[:])
	r, err := s.run(ctx, call{script: "recall", keys: []string{"s:" + token}, args: []any{token}})
	if err != nil {
		return stmigrate.Claimed{}, err
	}
	return entry(r)
}

// Peek implements [stmigrate.ExchangePeeker].
func (s *Store) Peek(ctx context.Context, key stmigrate.ExchangeKey) (stmigrate.Claimed, error) {
	k := string(key[:])
	r, err := s.run(ctx, call{script: "peek", keys: []string{"e:" + k, "a:" + k}, args: []any{k}})
	if err != nil {
		return stmigrate.Claimed{}, err
	}
	return entry(r)
}

// Note implements [stmigrate.ClaimNoter].
func (s *Store) Note(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, note []byte) error {
	k := string(key[:])
	r, err := s.run(ctx, call{
		script: "note", keys: []string{"e:" + k, "n:" + k}, args: []any{k, fence[:], note}, durable: true,
	})
	return done(r, err)
}

// entry reads what the scripts say of an entry that is not the caller's.
func entry(r reply) (stmigrate.Claimed, error) {
	var out stmigrate.Claimed
	switch r.status {
	case "none":
	case "busy":
		out = stmigrate.Claimed{State: stmigrate.ClaimBusy, Note: r.bytes(), Wait: time.Duration(r.number()) * time.Millisecond}
	case "done":
		out = stmigrate.Claimed{State: stmigrate.ClaimDone, User: r.text(), Handle: r.text(), Sealed: r.bytes()}
	default:
		r.err = errReply
	}
	if r.err != nil {
		return stmigrate.Claimed{}, r.err
	}
	return out, nil
}

// done reads the answer of a script that says "ok" or "lost".
func done(r reply, err error) error {
	switch {
	case err != nil:
		return err
	case r.status == "lost":
		return fmt.Errorf("%w: the entry is gone, or held with another fence", stmigrate.ErrClaimLost)
	case r.status != "ok":
		return errReply
	}
	return nil
}

// millis rounds up, so that nothing is forgotten early, but not above what a duration holds; what is below 0 is 0.
func millis(d time.Duration) int64 {
	if d <= 0 {
		return 0
	}
	return min(int64((d-1)/time.Millisecond)+1, math.MaxInt64/int64(time.Millisecond))
}
