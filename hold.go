package stmigrate

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate/internal/fdi"
)

// budget holds the deadlines of an exchange's steps. They follow from the lease, and their sum is below it, so that a
// holder has ended before somebody else may take over. What undoes, and what must be recorded after a required revocation, may
// take longer: the fence makes a holder who comes too late harmless.
type budget struct{ claim, find, mint, check, revoke, finish, wait time.Duration }

func newBudget(lease time.Duration) budget {
	return budget{
		claim:  lease * 10 / 100,
		find:   lease * 12 / 100, // twice
		mint:   lease * 30 / 100,
		check:  lease * 5 / 100,
		revoke: lease * 10 / 100,
		finish: lease * 12 / 100,
		wait:   lease / 3, // not the holder's
	}
}

// holder holds a claim, on a context that outlives the client and ends before the lease.
type holder struct {
	x       *exchange
	ctx     context.Context
	cancel  context.CancelFunc
	fence   Fence
	claimed Claimed
}

func (h *holder) run() error {
	x := h.x
	if err := h.revokeOrphans(""); err != nil {
		h.release(true)
		return &Error{"mint", fmt.Errorf("%w: %w", ErrUnavailable, err)}
	}
	a := &answer{TenantID: x.user.TenantID, UserID: x.user.ID, Legacy: remember(x.result.Legacy)}
	if x.live {
		a.Handle = x.current.Handle
	} else if err := h.mint(a); err != nil {
		return &Error{"mint", err}
	}
	if err := h.guard(a.Handle); err != nil {
		h.undo(a.Handle)
		return err
	}
	if err := h.finish(a); err != nil {
		return &Error{"finish", err}
	}
	x.owed = x.m.cfg.RevokePolicy == RevokeBestEffort && x.m.cfg.Revoker != Revoker(LeaveToExpire)
	x.header = a.Header
	x.result.Outcome = OutcomeMigrated
	x.result.UserID, x.result.TenantID, x.result.Handle = a.UserID, a.TenantID, a.Handle
	if x.live {
		x.isCurrent()
	}
	return nil
}

// mint creates the session. The legacy session is untouched so far.
func (h *holder) mint(a *answer) error {
	x := h.x
	u := *x.user
	u.SessionData = make(map[string]any, len(x.user.SessionData)+1)
	for k, v := range x.user.SessionData {
		u.SessionData[k] = v
	}
	u.SessionData[SessionMarker] = x.marker()
	ctx, cancel := context.WithTimeout(h.ctx, x.m.budget.mint)
	defer cancel()
	t, err := x.m.cfg.Sessions.CreateSession(ctx, x.r, u)
	switch {
	case errors.Is(err, ErrNotCreated):
		h.release(h.claimed.Suspect)
		return inTime(ctx, err)
	case err == nil && (t == nil || t.Handle == ""):
		err = errors.New("the SessionMinter returned a session without a handle")
		fallthrough
	case err != nil:
		// Whether a session exists is open. The claim runs out, and the next holder looks for what it left behind.
		return &retryError{fmt.Errorf("%w: it is unknown whether a session was created: %w", ErrUnavailable, err), x.m.cfg.Lease}
	}
	a.Handle, a.Header, a.State = t.Handle, t.Header, t.State
	return nil
}

// guard is what must hold between the mint and the finish.
func (h *holder) guard(handle string) error {
	x := h.x
	// What an earlier holder set off may have come to life since the first look.
	if err := h.revokeOrphans(handle); err != nil {
		return &Error{"mint", fmt.Errorf("%w: %w", ErrUnavailable, err)}
	}
	check, cancel := context.WithTimeout(h.ctx, x.m.budget.check)
	err := inTime(check, x.notBefore(check, x.result.Legacy))
	cancel()
	if err != nil {
		return &Error{"resolve", err}
	}
	if x.m.cfg.RevokePolicy != RevokeRequired {
		return nil
	}
	ctx, cancel := context.WithTimeout(h.ctx, x.m.budget.revoke)
	defer cancel()
	return x.revoke(ctx)
}

// finish records the answer. When the outcome stays unknown it is neither given nor undone: the next request finds out.
func (h *holder) finish(a *answer) error {
	x := h.x
	f := Finished{Handle: a.Handle, KeepFor: x.keepFor()}
	if !x.live {
		if x.idempotencyKey != "" {
			key := x.m.vault.mac("idempotency", x.idempotencyKey)
			a.IdempotencyKey = key[:]
		}
		f.SealedFor = x.m.cfg.Grace
		if expiry, ok := fdi.AccessExpiry(a.Header); ok {
			a.Expiry = expiry.UnixMilli()
			f.SealedFor = max(min(f.SealedFor, expiry.Sub(x.m.cfg.Now())), 0)
		}
		var err error
		if f.Sealed, err = x.m.vault.seal(a, x.key, x.shown, h.fence, x.mode); err != nil {
			h.undo(a.Handle)
			return err
		}
	}
	parent, budget := h.ctx, x.m.budget.finish
	if x.m.cfg.RevokePolicy == RevokeRequired {
		// The legacy session is over: giving up now would leave the user with none. The fence keeps a late record harmless.
		parent, budget = context.WithoutCancel(h.ctx), 2*budget
	}
	ctx, cancel := context.WithTimeout(parent, budget)
	defer cancel()
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		err := x.m.cfg.Exchanges.Finish(ctx, x.key, h.fence, f)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, ErrClaimLost):
			h.undo(a.Handle)
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			// If it was, the next request finds the answer at once, and Grace is running.
			return &retryError{fmt.Errorf("it is unknown whether the exchange was recorded: %w", storeError(err)), time.Second}
		}
	}
}

// undo revokes what was minted and gives the claim up. A session that may have survived is left for the next holder.
func (h *holder) undo(handle string) {
	suspect := h.claimed.Suspect
	if !h.x.live {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), h.x.m.budget.revoke)
		defer cancel()
		if _, err := h.x.m.cfg.Sessions.RevokeSession(ctx, handle); err != nil {
			suspect, h.x.orphan = true, true
			h.x.m.log.LogAttrs(ctx, slog.LevelWarn, "stmigrate: a session could not be undone", slog.String("error", err.Error()))
		}
	}
	h.release(suspect)
}

// release gives the claim up. If the store does not hear of it, the lease runs out.
func (h *holder) release(suspect bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), h.x.m.budget.claim)
	defer cancel()
	if err := h.x.m.cfg.Exchanges.Release(ctx, h.x.key, h.fence, suspect); err != nil {
		h.x.m.log.LogAttrs(ctx, slog.LevelWarn, "stmigrate: a claim could not be released", slog.String("error", err.Error()))
	}
}

// revokeOrphans ends the sessions that earlier holders of this claim may have left behind: nobody was given their tokens.
func (h *holder) revokeOrphans(except string) error {
	x := h.x
	if !h.claimed.Suspect || x.m.finder == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(h.ctx, x.m.budget.find)
	defer cancel()
	owners := [][2]string{{x.user.TenantID, x.user.ID}}
	if tenant, user, ok := strings.Cut(h.claimed.User, "|"); ok && (tenant != x.user.TenantID || user != x.user.ID) {
		owners = append(owners, [2]string{tenant, user})
	}
	for _, owner := range owners {
		handles, err := x.m.finder.FindSessions(ctx, owner[0], owner[1], x.marker())
		if err != nil {
			return fmt.Errorf("looking for what an earlier holder left behind: %w", err)
		}
		for _, handle := range handles {
			if handle == except || (x.live && handle == x.current.Handle) {
				continue
			}
			if _, err := x.m.cfg.Sessions.RevokeSession(ctx, handle); err != nil {
				return fmt.Errorf("revoking what an earlier holder left behind: %w", err)
			}
		}
	}
	return nil
}

// marker names the claim in the session data of what is minted under it.
func (x *exchange) marker() string { return hex.EncodeToString(x.key[:]) }
