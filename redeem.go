package stmigrate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Redeemer is what an [OldSessionVerifier] may be, too, where its tokens are used up by finding out whose they are: refresh
// tokens, for clients whose access token is long over. The Migrator redeems such a token under a claim of its own and writes
// down, sealed, what came of it before it does anything else: so requests that show the same token redeem it once, and what fails
// or dies after that goes on from there, for a day. Once the session that came of it is over ([OldSession].ExpiresAt) that is by
// redeeming the token that came in its place, so that the provider has its say. It needs a store that is a [ClaimNoter].
//
// If the process dies in the moment between the provider's answer and that note, or the answer is lost, the next request redeems the
// token again: the provider should accept that for as long as Config.Lease and a little (its reuse interval, leeway or grace period), or
// else that user signs in again.
//
// In a [FirstOf] it stands first, and Peek takes as little as it can: another verifier might know a refresh token by its issuer, and refuse
// it, or send it to the provider as something else. A token of a Redeemer is no credential for an API: [Migrator.RequireEither] does not
// know it. In [Shadow] mode nothing is redeemed, so nothing is verified.
// What was redeemed stays so: [Migrator.Rollback] cannot give a refresh token back.
type Redeemer interface {
	// Verify redeems nothing: it answers [ErrNotMine], for callers who do not know that this is a Redeemer.
	OldSessionVerifier
	// Peek tells whether the token may be one of its own and whose it would be, without using it up, and without asking anybody
	// if it can. [ErrNotMine] if not.
	Peek(ctx context.Context, token string) (issuer string, err error)
	// Redeem uses the token up. [ErrInvalidSession], [ErrExpiredSession] and ErrNotMine say that the token is worth nothing and
	// will be worth nothing; any other error leaves it open whether it was redeemed. A Redeemed that comes with an error of any class,
	// and has a Token, says that it was, and that nothing could be made of the answer: the next request redeems that Token instead.
	Redeem(ctx context.Context, token string) (*Redeemed, error)
}

// Redeemed is what came of a token.
type Redeemed struct {
	// Session is verified. It should name the session (SessionID) as the access tokens do, so that both are one exchange.
	Session *OldSession
	// Token is what the Revoker is given: the refresh token that took the place of the one that was redeemed. "" where there is
	// none, and the one that was shown stays.
	Token string
}

// Format writes the type's name, whatever the verb: tokens do not get into logs.
func (r Redeemed) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "stmigrate.Redeemed") }

// LogValue is what Format writes, for handlers that read fields.
func (r Redeemed) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(r)) }

var errRedeemable = fmt.Errorf("%w: it can be exchanged, and is no credential for an API", ErrNotMine)

// checkRedeemers refuses what a Redeemer cannot do.
func checkRedeemers(cfg Config) error {
	if !hasRedeemer(cfg.Verifier) {
		return nil
	}
	if _, ok := cfg.Exchanges.(ClaimNoter); !ok {
		return errors.New("Config.Verifier holds a Redeemer and Config.Exchanges is no ClaimNoter: what comes of a token that is used up " +
			"could not be written down, and a crash would cost a session")
	}
	if cfg.Admit != nil {
		return errors.New("Config.Admit and a Redeemer in Config.Verifier contradict each other: whose a refresh token is shows when it is " +
			"used up, and who is not admitted then has none any more")
	}
	return nil
}

func hasRedeemer(v OldSessionVerifier) bool {
	if several, ok := v.(firstOf); ok {
		for _, w := range several {
			if hasRedeemer(w) {
				return true
			}
		}
		return false
	}
	_, ok := v.(Redeemer)
	return ok
}

// find is v.Verify, but for a token that a Redeemer takes: that one is remembered, and there is no session yet.
func (x *exchange) find(ctx context.Context, v OldSessionVerifier) (s *OldSession, err error) {
	switch v := v.(type) {
	case firstOf:
		errs := make([]error, 0, len(v))
		for _, w := range v {
			s, err := x.find(ctx, w)
			if err == nil || !errors.Is(err, ErrNotMine) {
				return s, err
			}
			errs = append(errs, err)
		}
		return nil, noneOf(errs)
	case Redeemer:
		issuer, err := v.Peek(ctx, x.token)
		if err == nil {
			x.redeemer, x.issuer = v, issuer
		}
		return nil, err
	}
	return v.Verify(ctx, x.token)
}

const (
	useRedeemed = "redeemed"
	kindRefresh = "refresh"
)

// redeem exchanges a token that is used up. Its claim is around that of the session that comes of it.
func (x *exchange) redeem(ctx context.Context) error {
	switch {
	case x.m.cfg.Mode == Shadow:
		x.result.Outcome = OutcomeShadow
		return nil
	case !x.m.cfg.Until.IsZero() && x.m.cfg.Now().After(x.m.cfg.Until):
		return &Error{"verify", fmt.Errorf("%w: the migration ended at %v (Config.Until)", ErrInvalidSession, x.m.cfg.Until)}
	}
	x.kind = kindRefresh
	c := Claim{
		Key: hashKey(kindRefresh, x.issuer, "", x.token), Shown: x.m.vault.mac("shown", x.token),
		KeepFor: noteLife + x.m.cfg.Lease, // short: strangers can make claims
	}
	return x.under(ctx, c, func(h *holder) error { return h.redeem(c) })
}

// redeem goes on under the claim c.
func (h *holder) redeem(c Claim) error {
	x := h.x
	noted, err := h.redeemed(c)
	if err != nil {
		x.m.release(h.ctx, c.Key, h.fence, noted)
		return err
	}
	// The token is used up: whether the client waits or not, this is what is left of it. Whoever takes the claim over meanwhile
	// finds the note, and waits at the session's own claim.
	ctx, cancel := context.WithTimeout(h.ctx, x.m.budget.wait)
	defer cancel()
	if err := inTime(ctx, x.migrate(ctx, useRedeemed)); err != nil || x.result.Outcome == OutcomeRolledBack {
		x.m.release(h.ctx, c.Key, h.fence, true)
		return err
	}
	if err := h.record(c); err != nil {
		// The client has its session all the same; another request with this token goes on from the note.
		x.m.log.LogAttrs(ctx, slog.LevelWarn, "stmigrate: a redeemed token could not be recorded", slog.String("error", err.Error()))
	}
	return nil
}

// redeemed finds out whose the token is: from an earlier holder's note, or by using the token up. noted tells whether there is
// a note that must stay.
func (h *holder) redeemed(c Claim) (noted bool, err error) {
	x := h.x
	o := x.m.openRedeemed(c.Key, h.claimed.Note)
	if !x.m.speaks(o) {
		token := x.token
		if o != nil && o.token != "" {
			token = o.token // the one that was shown is used up
		}
		got, err := h.callRedeemer(token)
		if err != nil && (got == nil || got.Token == "") {
			return o != nil && !worthless(err), &Error{"verify", err}
		}
		if got.Token == "" && token != x.token {
			got.Token = token
		}
		if o = h.noteRedeemed(c, got); err != nil {
			return true, &Error{"verify", err}
		}
	}
	x.rotated = o.token
	if err := x.accept(o.session); err != nil {
		return true, &Error{"verify", err}
	}
	return true, nil
}

// callRedeemer uses token up.
func (h *holder) callRedeemer(token string) (*Redeemed, error) {
	ctx, cancel := h.within(h.x.m.budget.redeem)
	defer cancel()
	got, err := h.x.redeemer.Redeem(ctx, token)
	switch {
	case err == nil && (got == nil || got.Session == nil):
		err = errors.New("the Redeemer returned no session")
	case got != nil && len(got.Token) > maxToken:
		return nil, fmt.Errorf("the Redeemer returned a token of %d bytes, at most %d expected", len(got.Token), maxToken)
	}
	return got, inTime(ctx, err)
}

// worthless tells whether an error says that the token is good for nothing, now and later.
func worthless(err error) bool {
	return errors.Is(err, ErrInvalidSession) || errors.Is(err, ErrExpiredSession) || errors.Is(err, ErrNotMine)
}

// noteRedeemed writes down what came of the token. Nothing is more precious than this: it may take longer than the lease, since
// the fence makes a late note harmless. Where it cannot be written down the exchange goes on all the same, for as long as this
// process lives. Where somebody else took over, and redeems the token once more, what we have is as good.
func (h *holder) noteRedeemed(c Claim, got *Redeemed) *owed {
	x := h.x
	o := &owed{token: got.Token, kind: kindRefresh, session: got.Session, at: x.m.cfg.Now()}
	if o.session == nil {
		o.session = new(OldSession) // it could not be verified: only its successor is noted
	}
	ctx, cancel := context.WithTimeout(h.ctx, x.m.budget.finish)
	defer cancel()
	note, err := x.m.vault.sealOwed(useRedeemed, o, sealHeader{key: c.Key, shown: c.Shown, fence: h.fence})
	if err == nil {
		err = x.m.note(ctx, c.Key, h.fence, note)
	}
	if err != nil && !errors.Is(err, ErrClaimLost) {
		x.m.log.LogAttrs(ctx, slog.LevelError, "stmigrate: what was redeemed could not be written down", slog.String("error", err.Error()))
	}
	return o
}

// note repeats itself until the store has heard of it.
func (m *Migrator) note(ctx context.Context, key ExchangeKey, fence Fence, note []byte) error {
	for pause := 10 * time.Millisecond; ; pause *= 2 {
		err := m.cfg.Exchanges.(ClaimNoter).Note(ctx, key, fence, note)
		if err == nil || errors.Is(err, ErrClaimLost) {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// record finishes the claim of the token with a copy of the answer, so that the same token is given it again.
func (h *holder) record(c Claim) error {
	x := h.x
	f := Finished{Handle: x.result.Handle, KeepFor: x.m.redeemedFor()}
	if x.given != nil {
		var err error
		if f.Sealed, err = x.m.vault.seal(x.given, c.Key, c.Shown, h.fence, x.mode); err != nil {
			return err
		}
		f.SealedFor = x.m.sealedFor(x.given)
	}
	again := x.finished == nil // the session was exchanged before, by another token
	if again {
		// What it owed was that token's; this one's successor is left.
		x.key, x.shown = c.Key, c.Shown
		if err := h.owe(&f); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(h.ctx, x.m.budget.finish)
	defer cancel()
	if err := x.m.cfg.Exchanges.Finish(ctx, c.Key, h.fence, f); err != nil {
		return claimError(err)
	}
	if again {
		x.finished = h
	}
	return nil
}

// redeemedFor is how long it is remembered that a token was used up.
func (m *Migrator) redeemedFor() time.Duration {
	if m.cfg.Until.IsZero() {
		return sessionLife + 24*time.Hour
	}
	return min(max(m.cfg.Until.Sub(m.cfg.Now()), 0), maxKeep) + 24*time.Hour
}

// openRedeemed opens the note of a claim; nil if it is none of this kind, or of another claim.
func (m *Migrator) openRedeemed(key ExchangeKey, note []byte) *owed {
	o, h, err := m.vault.openOwed(useRedeemed, note)
	if err != nil || h.key != key {
		return nil
	}
	return o
}

// keeps tells whether a note of what was redeemed is still needed.
func (m *Migrator) keeps(o *owed) bool {
	now := m.cfg.Now()
	return o != nil && now.Before(o.at.Add(noteLife)) && (m.cfg.Until.IsZero() || now.Before(m.cfg.Until))
}

// speaks tells whether it still says whose the token was. When its session is over the provider is asked again, by what came in the
// token's place: it may have ended the session since.
func (m *Migrator) speaks(o *owed) bool {
	if !m.keeps(o) || o.session.Issuer == "" {
		return false
	}
	end := o.session.ExpiresAt
	return end.IsZero() || m.cfg.Now().Before(end)
}
