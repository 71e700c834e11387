package stmigrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"time"

	"github.com/stmigrate/stmigrate/internal/fdi"
)

// budget holds the deadlines of an exchange's steps. They follow from the lease, and their sum is below it, so that a
// holder has ended before somebody else may take over. What undoes, and what must be recorded after a required revocation, may
// take longer: the fence makes a holder who comes too late harmless.
type budget struct{ claim, redeem, find, mint, check, note, revoke, finish, wait time.Duration }

func newBudget(lease time.Duration) budget {
	return budget{
		claim:  lease * 10 / 100,
		redeem: lease * 30 / 100, // under a claim of its own
		find:   lease * 10 / 100, // twice
		mint:   lease * 30 / 100,
		check:  lease * 5 / 100,
		note:   lease * 4 / 100,
		revoke: lease * 10 / 100,
		finish: lease * 12 / 100,
		wait:   lease / 3, // not the holder's
	}
}

// holder holds a claim. Its context outlives the client; what its steps do ends before the lease, see within.
type holder struct {
	x       *exchange
	ctx     context.Context
	end     time.Time
	fence   Fence
	claimed Claimed

	owes   bool // the legacy session is to be revoked once the answer stands
	inline bool // by this request
	noted  bool // there is a note beside the claim
}

// within bounds a step: by what it may take, and by the end of the claim.
func (h *holder) within(budget time.Duration) (context.Context, context.CancelFunc) {
	end := time.Now().Add(budget)
	if end.After(h.end) {
		end = h.end
	}
	return context.WithDeadline(h.ctx, end)
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
	x.finished = h
	x.header = a.Header
	x.result.Outcome = OutcomeMigrated
	x.result.UserID, x.result.TenantID, x.result.Handle = a.UserID, a.TenantID, a.Handle
	if x.live {
		ctx, cancel := h.within(x.m.cfg.Lease)
		defer cancel()
		x.isCurrent(ctx)
	} else {
		x.given = a
	}
	return nil
}

// mint creates the session. The legacy session is untouched so far.
func (h *holder) mint(a *answer) error {
	x := h.x
	u := *x.user
	u.SessionData = make(map[string]any, len(x.user.SessionData)+1)
	maps.Copy(u.SessionData, x.user.SessionData)
	u.SessionData[SessionMarker] = marker(x.key)
	ctx, cancel := h.within(x.m.budget.mint)
	defer cancel()
	if h.late() {
		h.release(h.claimed.Suspect)
		return &retryError{unavailable("this process stood still for longer than Config.Lease"), time.Second}
	}
	t, err := x.m.cfg.Sessions.CreateSession(ctx, x.r, u)
	switch {
	case errors.Is(err, ErrNotCreated):
		h.release(h.claimed.Suspect) // with a note it is suspect
		return inTime(ctx, err)
	case err == nil && (t == nil || t.Handle == ""):
		err = errors.New("the SessionMinter returned a session without a handle")
		fallthrough
	case err != nil:
		// Whether a session exists is open. The claim runs out, and the next holder looks for what it left behind.
		if h.late() {
			h.revokeLate() // the next holder may have looked already
		}
		return &retryError{fmt.Errorf("%w: it is unknown whether a session was created: %w", ErrUnavailable, err), x.m.cfg.Lease}
	}
	if h.late() {
		h.undo(t.Handle) // the next holder may have looked already
		return &retryError{unavailable("a session was created later than Config.Lease allows"), time.Second}
	}
	a.Handle, a.Header, a.State = t.Handle, t.Header, t.State
	return nil
}

// late tells by the clock whether the claim may be somebody else's by now: a process that stood still hears of its deadlines too
// late.
func (h *holder) late() bool { return !time.Now().Before(h.end) }

// revokeLate ends what a mint left behind that may have come to life when another holder was done with looking for it.
func (h *holder) revokeLate() {
	x := h.x
	if x.m.finder == nil {
		return
	}
	ctx, cancel := context.WithTimeout(h.ctx, x.m.cfg.Lease)
	defer cancel()
	c := Claim{
		Key: x.key, Shown: x.shown, User: x.owner(), Fence: newFence(), Lease: x.m.cfg.Lease, KeepFor: x.keepFor(),
	}
	for pause := 20 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		claimed, err := x.m.cfg.Exchanges.Claim(ctx, c)
		if err == nil && (claimed.State == ClaimHeld || claimed.State == ClaimDone) {
			err = x.m.revokeMarked(ctx, marker(x.key), func(handle string) bool { return handle == claimed.Handle }, c.User, claimed.User)
			if claimed.State == ClaimHeld {
				x.m.release(ctx, x.key, c.Fence, err != nil || claimed.Note != nil)
			}
			if err == nil {
				return
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			x.m.log.LogAttrs(ctx, slog.LevelWarn, "stmigrate: a session may be left of a mint that came too late")
			return
		}
	}
}

// guard is what must hold between the mint and the finish.
func (h *holder) guard(handle string) error {
	x := h.x
	// What an earlier holder set off may have come to life since the first look.
	if err := h.revokeOrphans(handle); err != nil {
		return &Error{"mint", fmt.Errorf("%w: %w", ErrUnavailable, err)}
	}
	if x.m.cfg.NotBefore != nil {
		ctx, cancel := h.within(x.m.budget.check)
		err := inTime(ctx, x.notBefore(ctx, x.result.Legacy))
		cancel()
		if err != nil {
			return &Error{"resolve", err}
		}
	}
	if x.m.cfg.RevokePolicy != RevokeRequired {
		return nil
	}
	if err := h.note(); err != nil {
		return &Error{"claim", err}
	}
	ctx, cancel := h.within(x.m.budget.revoke)
	defer cancel()
	return x.m.attempt(ctx, x.owed(), 1, defaultRevocations).err
}

// finish records the answer. When the outcome stays unknown it is neither given nor undone: the next request finds out.
func (h *holder) finish(a *answer) error {
	x := h.x
	f := Finished{Handle: a.Handle, KeepFor: x.keepFor()}
	if x.m.cfg.Epoch != "" {
		f.KeepFor = max(f.KeepFor, leastKept)
	}
	if err := h.owe(&f); err != nil {
		h.undo(a.Handle)
		return err
	}
	if !x.live {
		if x.idempotencyKey != "" {
			key := x.m.vault.mac("idempotency", x.idempotencyKey)
			a.IdempotencyKey = key[:]
		}
		if expiry, ok := fdi.AccessExpiry(a.Header); ok {
			a.Expiry = expiry.UnixMilli()
		}
		f.SealedFor = x.m.sealedFor(a)
		var err error
		if f.Sealed, err = x.m.vault.seal(a, x.key, x.shown, h.fence, x.mode); err != nil {
			h.undo(a.Handle)
			return err
		}
	}
	ctx, cancel := h.within(x.m.budget.finish)
	if x.m.cfg.RevokePolicy == RevokeRequired {
		// The legacy session is over: giving up now would leave the user with none. The fence keeps a late record harmless.
		cancel()
		ctx, cancel = context.WithTimeout(h.ctx, 2*x.m.budget.finish)
	}
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

// sealedFor is for how long an answer may be given again.
func (m *Migrator) sealedFor(a *answer) time.Duration {
	if a.Expiry == 0 {
		return m.cfg.Grace
	}
	return max(min(m.cfg.Grace, time.UnixMilli(a.Expiry).Sub(m.cfg.Now())), 0)
}

// undo revokes what was minted and gives the claim up. A session that may have survived is left for the next holder.
func (h *holder) undo(handle string) {
	// Whether a revocation that failed has ended the legacy session is open: its note must not go with the claim.
	suspect := h.claimed.Suspect || h.noted
	if !h.x.live {
		ctx, cancel := context.WithTimeout(h.ctx, h.x.m.budget.revoke)
		defer cancel()
		if _, err := h.x.m.cfg.Sessions.RevokeSession(ctx, handle); err != nil {
			suspect, h.x.orphan = true, true
			h.x.m.log.LogAttrs(ctx, slog.LevelWarn, "stmigrate: a session could not be undone", slog.String("error", err.Error()))
		}
	}
	h.release(suspect)
}

// release gives the claim up.
func (h *holder) release(suspect bool) { h.x.m.release(h.ctx, h.x.key, h.fence, suspect) }

// revokeOrphans ends the sessions that earlier holders of this claim may have left behind: nobody was given their tokens.
func (h *holder) revokeOrphans(except string) error {
	x := h.x
	if !h.claimed.Suspect || x.m.finder == nil {
		return nil
	}
	ctx, cancel := h.within(x.m.budget.find)
	defer cancel()
	keep := func(handle string) bool { return handle == except || (x.live && handle == x.current.Handle) }
	return x.m.revokeMarked(ctx, marker(x.key), keep, x.owner(), h.claimed.User)
}
