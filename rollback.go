package stmigrate

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	rollbackPage     = 1000
	rollbackParallel = 8
)

// RolledBack is what became of the exchanges of an epoch.
type RolledBack struct {
	// Revoked counts the SuperTokens sessions that were live and are no more, AlreadyOver those that were over before.
	Revoked, AlreadyOver int
	// Failed counts those that could not be revoked or forgotten. They are as they were; calling Rollback again takes them up.
	Failed int
}

// Rollback takes a rollout back: all that was exchanged under Config.Epoch epoch, by whichever process. It closes the epoch,
// revokes the SuperTokens sessions of its exchanges, and forgets each exchange after that, with the revocation that it still
// owes. Legacy sessions that are alive (Config.RevokeAfter) are good again then, at [Migrator.RequireEither], too; users whose
// legacy session is over already sign in again.
//
// The epoch is closed for good and for all processes at once: those that still run under it answer 204 from then on
// ([OutcomeRolledBack]), so none has to be stopped or deployed before. It may be the one of this Migrator. To begin anew, deploy
// with another Config.Epoch: everybody is migrated again.
//
// It returns when no exchange of the epoch can be under way any more: a lease and a half at least. Where it can it sweeps
// abandoned claims ([Migrator.SweepClaims]), too. It can be called again at any time, after a crash or a failure, and goes on
// where it stopped; an error says that something is left to do. Access tokens that verify without the core stay good until
// they expire. A session that an exchange found on the request (OutcomeCurrent) is revoked like one that it minted. A
// revocation that falls due while it runs may still be made.
//
// [ErrUnsupported] where the store is no [EpochStore].
func (m *Migrator) Rollback(ctx context.Context, epoch string) (RolledBack, error) {
	store, ok := m.cfg.Exchanges.(EpochStore)
	if !ok {
		return RolledBack{}, fmt.Errorf("stmigrate: %w: Config.Exchanges is no EpochStore", ErrUnsupported)
	}
	if epoch == "" {
		return RolledBack{}, fmt.Errorf("stmigrate: %w", errNoEpoch)
	}
	if err := store.CloseEpoch(ctx, epoch); err != nil {
		return RolledBack{}, fmt.Errorf("stmigrate: closing the epoch: %w", storeError(err))
	}
	inFlight := time.NewTimer(m.cfg.Lease * 3 / 2) // what was claimed before may still be finished
	defer inFlight.Stop()
	out := new(RolledBack)
	if err := m.forgetEpoch(ctx, store, epoch, out); err != nil && out.Failed == 0 {
		return *out, fmt.Errorf("stmigrate: %w", err) // of the store; what failed by itself is taken up below
	}
	select {
	case <-inFlight.C:
	case <-ctx.Done():
		return *out, fmt.Errorf("stmigrate: %w: exchanges may still be under way: %w", ErrUnavailable, ctx.Err())
	}
	err := m.forgetEpoch(ctx, store, epoch, out)
	for n := 1; err == nil && n > 0; { // a batch can be rid of fewer than it takes, and others stand behind it
		if n, err = m.SweepClaims(ctx); errors.Is(err, ErrUnsupported) {
			err = nil
		}
	}
	if err != nil {
		return *out, fmt.Errorf("stmigrate: %w", err)
	}
	return *out, nil
}

// forgetEpoch goes through the exchanges of an epoch once.
func (m *Migrator) forgetEpoch(ctx context.Context, store EpochStore, epoch string, out *RolledBack) error {
	out.Failed = 0
	var failed error
	for after := (ExchangeKey{}); ; {
		page, err := store.EpochExchanges(ctx, epoch, after, rollbackPage)
		if err != nil {
			return storeError(err)
		}
		if len(page) == 0 {
			break
		}
		after = page[len(page)-1].Key
		var mu sync.Mutex
		var wg sync.WaitGroup
		turns := make(chan struct{}, rollbackParallel)
		for _, x := range page {
			turns <- struct{}{}
			wg.Go(func() {
				defer func() { <-turns }()
				wasLive, err := m.rollBack(ctx, store, x)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					out.Failed++
					failed = err
				case wasLive:
					out.Revoked++
				default:
					out.AlreadyOver++
				}
			})
		}
		wg.Wait()
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	if failed != nil {
		return fmt.Errorf("%w: %d exchanges could not be taken back, the last one: %w", ErrUnavailable, out.Failed, failed)
	}
	return nil
}

// rollBack revokes first: an exchange that is forgotten can be made again, and would leave two sessions.
func (m *Migrator) rollBack(ctx context.Context, store EpochStore, x EpochExchange) (wasLive bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, m.cfg.Lease)
	defer cancel()
	if x.Handle != "" {
		if wasLive, err = m.cfg.Sessions.RevokeSession(ctx, x.Handle); err != nil {
			return false, fmt.Errorf("revoking its session: %w", err)
		}
	}
	if err := store.ForgetExchange(ctx, x.Key, x.Fence); err != nil {
		return false, fmt.Errorf("forgetting it: %w", storeError(err))
	}
	return wasLive, nil
}
