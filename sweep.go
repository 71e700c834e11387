package stmigrate

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	sweepBatch    = 100
	sweepParallel = 8
)

// sweepAfter is for how long a lease must be over before its claim is swept: what its holder set off has come to life by then.
func (m *Migrator) sweepAfter() time.Duration { return m.cfg.Lease * 3 / 10 }

// SweepClaims ends what died: sessions that were minted by an exchange that was never finished, whose tokens nobody was given,
// and whose client did not come back. It takes at most 100 claims and says of how many it is rid. [Revocations] does that all
// the time; this is for hosts without a place for a worker. [ErrUnsupported] unless the store is a [ClaimSweeper] and
// Config.Sessions a [SessionFinder].
func (m *Migrator) SweepClaims(ctx context.Context) (swept int, err error) {
	sweeper, ok := m.cfg.Exchanges.(ClaimSweeper)
	if !ok || m.finder == nil {
		return 0, fmt.Errorf("stmigrate: %w: sweeping needs a ClaimSweeper as Config.Exchanges and a SessionFinder as Config.Sessions",
			ErrUnsupported)
	}
	call, cancel := context.WithTimeout(ctx, m.budget.claim)
	claims, err := sweeper.AbandonedClaims(call, m.sweepAfter(), sweepBatch)
	cancel()
	if err != nil {
		return 0, fmt.Errorf("stmigrate: %w", storeError(err))
	}
	// Every process is given the same ones: not in the same order.
	rand.Shuffle(len(claims), func(i, j int) { claims[i], claims[j] = claims[j], claims[i] })
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	turns := make(chan struct{}, sweepParallel)
	for _, c := range claims {
		turns <- struct{}{}
		wg.Go(func() {
			defer func() { <-turns }()
			done, err := m.sweep(ctx, c)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, err)
			}
			if done {
				swept++
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return swept, fmt.Errorf("stmigrate: %w: %w", ErrUnavailable, err)
	}
	return swept, nil
}

// sweep takes an abandoned claim over, in no epoch, so that it can be had though its own is closed.
func (m *Migrator) sweep(ctx context.Context, c Claim) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Lease*95/100)
	defer cancel()
	mine := Claim{Key: c.Key, Shown: c.Shown, User: c.User, Fence: newFence(), Lease: m.cfg.Lease, KeepFor: m.cfg.Lease}
	claimed, err := m.cfg.Exchanges.Claim(ctx, mine)
	if err != nil || claimed.State != ClaimHeld {
		return false, err // who has it by now looks for orphans, too
	}
	if claimed.Suspect {
		err = m.revokeMarked(ctx, marker(c.Key), func(string) bool { return false }, c.User, claimed.User)
	}
	// A note may be all that is left of a legacy session: it stays for whoever comes back with its token.
	o, _, noteErr := m.vault.openOwed(useNote, claimed.Note)
	kept := noteErr == nil && m.matters(o) || m.keeps(m.openRedeemed(c.Key, claimed.Note))
	m.release(ctx, c.Key, mine.Fence, kept || err != nil)
	return err == nil && !kept, err
}

// marker names a claim in the session data of what is minted under it.
func marker(key ExchangeKey) string { return hex.EncodeToString(key[:]) }

// revokeMarked ends the sessions of these owners of a claim that carry the marker, but for those that are kept.
func (m *Migrator) revokeMarked(ctx context.Context, marker string, keep func(handle string) bool, users ...string) error {
	for i, owner := range users {
		tenant, user, ok := parseOwner(owner)
		if !ok || (i > 0 && owner == users[0]) {
			continue
		}
		handles, err := m.finder.FindSessions(ctx, tenant, user, marker)
		if err != nil {
			return fmt.Errorf("looking for what an earlier holder left behind: %w", err)
		}
		for _, handle := range handles {
			if keep(handle) {
				continue
			}
			if _, err := m.cfg.Sessions.RevokeSession(ctx, handle); err != nil {
				return fmt.Errorf("revoking what an earlier holder left behind: %w", err)
			}
		}
	}
	return nil
}

// release gives a claim up. If the store does not hear of it, the lease runs out.
func (m *Migrator) release(ctx context.Context, key ExchangeKey, fence Fence, suspect bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), m.budget.claim)
	defer cancel()
	if err := m.cfg.Exchanges.Release(ctx, key, fence, suspect); err != nil {
		m.log.LogAttrs(ctx, slog.LevelWarn, "stmigrate: a claim could not be released", slog.String("error", err.Error()))
	}
}

// sweep sweeps until the worker ends: often enough that an orphan is dead within two leases.
func (r *Revocations) sweep(ctx context.Context, jitter func() float64) {
	for {
		if _, err := r.m.SweepClaims(ctx); err != nil && ctx.Err() == nil {
			r.m.log.LogAttrs(ctx, slog.LevelWarn, "stmigrate: sweeping abandoned claims", slog.String("error", err.Error()))
		}
		timer := time.NewTimer(time.Duration(float64(r.m.cfg.Lease) / 4 * (0.5 + jitter())))
		select {
		case <-r.stop:
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}
