package stmigrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/fdi"
)

// ServeHTTP answers POST /migrate-session, wherever it is mounted: 200 {"status":"OK"} with the session's tokens, 204 where
// nothing was minted on purpose, or an error as the table in the package documentation has it. Other methods are 405; CORS
// preflights are for the host to answer, before this handler, with [CORSHeaders].
func (m *Migrator) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		writeStatus(w, http.StatusMethodNotAllowed, "METHOD_NOT_ALLOWED")
		return
	}
	result, err := m.Migrate(w, r)
	switch {
	case err != nil:
		m.renderError(w, r, err)
	case result.Outcome == OutcomeShadow || result.Outcome == OutcomeNotAdmitted || result.Outcome == OutcomeRolledBack:
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	default:
		writeStatus(w, http.StatusOK, "OK")
	}
}

// Migrate does what [Migrator.ServeHTTP] does but for the body and status, for hosts that answer in a way of their own: it
// sets the session's tokens on w's headers and writes nothing. On an error it has not touched w. [StatusOf] has the status
// of an error.
func (m *Migrator) Migrate(w http.ResponseWriter, r *http.Request) (*Result, error) {
	start := m.cfg.Now()
	x := &exchange{m: m, r: r, result: &Result{}}
	err := x.run()
	if err == nil {
		fdi.Merge(w.Header(), x.header)
		switch x.result.Outcome {
		case OutcomeMigrated, OutcomeReplayed, OutcomeCurrent:
			m.clearCookies(w.Header())
		}
		x.settle()
	}
	m.report(r.Context(), x, err, m.cfg.Now().Sub(start))
	if err != nil {
		return nil, err
	}
	return x.result, nil
}

func (m *Migrator) report(ctx context.Context, x *exchange, err error, took time.Duration) {
	outcome := x.result.Outcome
	if err != nil {
		_, outcome = StatusOf(err)
	}
	m.observe(ctx, x.result.Legacy, Event{Name: "exchange", Outcome: outcome, Kind: x.kind, Attempt: 1, Duration: took, Err: err})
}

// observe tells who wants to know. s is the legacy session that e is about, nil where none is known.
func (m *Migrator) observe(ctx context.Context, s *OldSession, e Event) {
	level := slog.LevelInfo
	if e.Err != nil {
		level = slog.LevelWarn
		if status, _ := StatusOf(e.Err); status >= 500 {
			level = slog.LevelError
		}
	}
	logged := m.log.Enabled(ctx, level)
	if m.cfg.Observe == nil && !logged {
		return
	}
	e.Time = m.cfg.Now()
	if s != nil {
		e.Issuer, e.TenantID, e.SubjectHash = s.Issuer, s.TenantID, m.subjectHash(s)
	}
	if step := (*Error)(nil); errors.As(e.Err, &step) {
		e.Step = step.Step
	}
	if m.cfg.Observe != nil {
		m.tell(ctx, e)
	}
	if !logged {
		return
	}
	attrs := []slog.Attr{slog.String("outcome", e.Outcome), slog.Duration("duration", e.Duration)}
	for _, a := range []slog.Attr{
		slog.String("step", e.Step), slog.String("kind", e.Kind), slog.String("issuer", e.Issuer),
		slog.String("tenant", e.TenantID), slog.String("subject", e.SubjectHash),
	} {
		if a.Value.String() != "" {
			attrs = append(attrs, a)
		}
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("error", e.Err.Error()))
	}
	m.log.LogAttrs(ctx, level, "stmigrate: "+e.Name, attrs...)
}

// tell keeps a panic of Observe from what it looks at: between a revocation and its record nothing may fail.
func (m *Migrator) tell(ctx context.Context, e Event) {
	defer func() {
		if p := recover(); p != nil {
			m.log.LogAttrs(ctx, slog.LevelError, "stmigrate: Config.Observe panicked", slog.Any("panic", p))
		}
	}()
	m.cfg.Observe(ctx, e)
}

// CORSHeaders returns what a cross-origin frontend needs: the request headers that a CORS configuration must allow, and
// the response headers that it must expose. Credentials must be allowed, too, for cookies.
func CORSHeaders() (allow, expose []string) {
	return []string{"Authorization", "Content-Type", "Idempotency-Key", "anti-csrf", "fdi-version", "rid", "st-auth-mode"},
		[]string{"anti-csrf", "front-token", "Retry-After", "st-access-token", "st-migrate", "st-refresh-token"}
}

// exchange is one request on its way through the steps.
type exchange struct {
	m *Migrator
	r *http.Request
	extraction

	user       *User
	key, shown ExchangeKey
	kind       string

	noted time.Time // when Verify's answer was written down, if it is not from Verify

	redeemer Redeemer // whose the token is, if it is used up when it is redeemed
	issuer   string   // by Peek
	rotated  string   // what came back in its place

	asked   bool // whether current holds the answer of CurrentSession
	live    bool
	current CurrentSession

	exchanged CurrentSession // what the session was exchanged for, if it was and its answer is not given again

	result *Result
	header http.Header // what the answer carries
	orphan bool        // a session of ours may have survived its undoing

	given    *answer // what header is of; nil where nothing was minted
	finished *holder // who recorded the answer; nil where it was there already
}

// run takes the steps. A client with a live SuperTokens session is never told 401, whatever its legacy token is worth: the
// frontend SDK would refresh and repeat the request until it throws.
func (x *exchange) run() error {
	// Nothing before the claim, and nobody who waits for one, takes longer than this. What was claimed has its own time.
	ctx, cancel := context.WithTimeout(x.r.Context(), x.m.budget.wait)
	defer cancel()
	err := inTime(ctx, x.steps(ctx))
	if status, _ := StatusOf(err); status != http.StatusUnauthorized && !errors.Is(err, ErrAlreadyMigrated) {
		return err
	}
	live, liveErr := x.hasSession(ctx)
	switch {
	case liveErr != nil:
		return liveErr
	case live:
		// Whose legacy session that was, if anybody's, is not known to be this user.
		x.result.Legacy = nil
		x.isCurrent(ctx)
		return nil
	}
	if back, backErr := x.isBack(ctx); back || backErr != nil {
		return backErr
	}
	return err
}

// inTime makes an error of no class, from a step whose time is over, the ErrUnavailable that it is.
func inTime(ctx context.Context, err error) error {
	if status, _ := StatusOf(err); err != nil && ctx.Err() != nil && status == http.StatusInternalServerError {
		return fmt.Errorf("%w: out of time: %w", ErrUnavailable, err)
	}
	return err
}

func (x *exchange) steps(ctx context.Context) error {
	var err error
	if x.extraction, err = x.m.extract(x.r); err != nil {
		return &Error{"extract", err}
	}
	noted := false // Verify said so earlier
	if err := x.verify(ctx); err != nil {
		err := &Error{"verify", err}
		switch live, liveErr := x.hasSession(ctx); {
		case liveErr != nil:
			return liveErr
		case live:
			return err
		}
		var recallErr error
		if noted, recallErr = x.recall(ctx, err); !noted {
			return recallErr
		}
	}
	if x.redeemer != nil {
		return x.redeem(ctx)
	}
	if !noted && x.m.cfg.Admit != nil && !x.m.cfg.Admit(x.result.Legacy) {
		x.result.Outcome = OutcomeNotAdmitted
		return nil
	}
	return x.migrate(ctx, "shown")
}

// migrate exchanges the session that the token stands for. use is what the token is named for in the store.
func (x *exchange) migrate(ctx context.Context, use string) error {
	s := x.result.Legacy
	if err := x.resolve(ctx); err != nil {
		return &Error{"resolve", err}
	}
	if err := x.notBefore(ctx, s); err != nil {
		return &Error{"resolve", err}
	}
	if x.m.cfg.Mode == Shadow {
		x.result.Outcome = OutcomeShadow
		return nil
	}
	live, err := x.hasSession(ctx)
	if err != nil {
		return err
	}
	if live && (x.current.UserID != x.user.ID || x.current.TenantID != x.user.TenantID) {
		return &Error{"session", fmt.Errorf("%w: sign it out first", ErrOtherSession)}
	}
	x.key, x.kind = sessionKey(s, x.token)
	x.shown = x.m.vault.mac(use, x.token)
	for range 3 {
		err = x.exchange(ctx)
		if !errors.Is(err, ErrClaimLost) {
			return err
		}
	}
	return &Error{"finish", &retryError{fmt.Errorf("%w: %w", ErrUnavailable, err), time.Second}}
}

func (x *exchange) verify(ctx context.Context) error {
	s, err := x.find(ctx, x.m.cfg.Verifier)
	if err != nil || x.redeemer != nil {
		return err
	}
	return x.accept(s)
}

// accept checks a session that was verified and takes it over.
func (x *exchange) accept(s *OldSession) error {
	switch {
	case s == nil || s.Issuer == "" || s.Subject == "":
		return errors.New("the Verifier returned a session without an issuer or a subject")
	case s.ExpiresAt.IsZero() && x.m.cfg.Until.IsZero():
		return errors.New("the legacy session carries no expiry: set Config.Until, so that it is known how long to remember it")
	case !x.m.cfg.Until.IsZero() && x.m.cfg.Now().After(x.m.cfg.Until):
		return fmt.Errorf("%w: the migration ended at %v (Config.Until)", ErrInvalidSession, x.m.cfg.Until)
	}
	x.result.Legacy = s
	return nil
}

// recall looks for an exchange that this very token has been through, for when the token is not good any more because the
// exchange revoked it. If it was finished its answer is given again; if it was not, and left a note of what Verify had said,
// that holds and the exchange goes on (noted).
func (x *exchange) recall(ctx context.Context, verifyErr *Error) (noted bool, err error) {
	if errors.Is(verifyErr, ErrNotMine) && onlyJWTs(x.m.cfg.Verifier) {
		return false, verifyErr
	}
	for _, shown := range x.m.vault.macs("shown", x.token) {
		claimed, err := x.m.cfg.Exchanges.Recall(ctx, shown)
		switch {
		case err != nil:
			return false, &Error{"claim", storeError(err)}
		case claimed.State == ClaimDone:
			return false, x.replay(ctx, claimed, func(o *opened) bool { return o.shown == shown })
		case claimed.State == ClaimBusy && x.goOnFrom(claimed.Note):
			return true, nil
		}
	}
	return false, verifyErr
}

func (x *exchange) resolve(ctx context.Context) error {
	user, err := x.m.cfg.Users.ResolveUser(ctx, x.result.Legacy)
	if err != nil {
		return err
	}
	if user == nil || user.ID == "" {
		return errors.New("the UserResolver returned a user without an ID")
	}
	if err := notTrimmed(user.ID); err != nil {
		return fmt.Errorf("%w: %w", ErrUnknownUser, err)
	}
	u := *user
	if u.TenantID == "" {
		u.TenantID = x.result.Legacy.TenantID
	}
	u.TenantID = tenantOrPublic(u.TenantID)
	if err := core.ValidTenantID(u.TenantID); err != nil {
		return fmt.Errorf("the user's tenant: %w", err)
	}
	x.user = &u
	return nil
}

// owner is the user as the store is told, in [Claim].
func (x *exchange) owner() string { return x.user.TenantID + "|" + x.user.ID }

// parseOwner reads what owner wrote. A tenant's name has no "|".
func parseOwner(owner string) (tenantID, userID string, ok bool) { return strings.Cut(owner, "|") }

// notTrimmed refuses an ID that would be another user's to a SuperTokens SDK.
func notTrimmed(userID string) error {
	if strings.TrimSpace(userID) != userID {
		return errors.New("the user ID has white space around it, which SuperTokens' SDKs cut off: have Config.Users find another one")
	}
	return nil
}

// notBefore refuses a session that began before what NotBefore says.
func (x *exchange) notBefore(ctx context.Context, s *OldSession) error {
	if x.m.cfg.NotBefore == nil {
		return nil
	}
	limit, err := x.m.cfg.NotBefore(ctx, s)
	if err != nil || limit.IsZero() {
		return err
	}
	began := s.AuthTime
	if began.IsZero() {
		began = s.IssuedAt
	}
	if began.IsZero() {
		return fmt.Errorf("%w: it does not tell when it began, and NotBefore is %v", ErrInvalidSession, limit)
	}
	if began.Before(limit) {
		return fmt.Errorf("%w: it began at %v, before NotBefore %v", ErrInvalidSession, began, limit)
	}
	return nil
}

func (x *exchange) hasSession(ctx context.Context) (bool, error) {
	if !x.asked {
		current, live, err := x.m.cfg.Sessions.CurrentSession(ctx, x.r)
		if err != nil {
			return false, &Error{"session", err}
		}
		current.TenantID = tenantOrPublic(current.TenantID)
		x.asked, x.live, x.current = true, live, current
	}
	return x.live, nil
}

// isCurrent answers that the client has its session. A word of it that cannot be had now is left for the next request.
func (x *exchange) isCurrent(ctx context.Context) {
	h, _ := x.remind(ctx, x.current.Handle)
	x.stays(x.current, h)
}

// stays makes a session that the client has the result.
func (x *exchange) stays(s CurrentSession, h http.Header) {
	x.header = h
	x.result.Outcome = OutcomeCurrent
	x.result.UserID, x.result.TenantID, x.result.Handle = s.UserID, s.TenantID, s.Handle
}

// isBack answers that the client has the session of an exchange that cannot be answered again, if it has. Its cookies may lie in a
// browser whose scripts never saw the answer, and so never refreshed them.
func (x *exchange) isBack(ctx context.Context) (bool, error) {
	was := x.exchanged
	if was.Handle == "" || (x.user != nil && (x.user.ID != was.UserID || x.user.TenantID != was.TenantID)) {
		return false, nil
	}
	h, err := x.remind(ctx, was.Handle)
	if err != nil || h == nil {
		return false, err
	}
	x.stays(was, h)
	return true, nil
}

func (x *exchange) remind(ctx context.Context, handle string) (http.Header, error) {
	reminder, ok := x.m.cfg.Sessions.(SessionReminder)
	if !ok {
		return nil, nil
	}
	h, err := reminder.RemindSession(ctx, x.r, handle)
	if err != nil {
		return nil, &Error{"session", err}
	}
	return h, nil
}

// exchange claims the legacy session and does what is left to do. ErrClaimLost means that somebody else took over: again.
func (x *exchange) exchange(ctx context.Context) error {
	return x.under(ctx, Claim{
		Key: x.key, Shown: x.shown, User: x.owner(), KeepFor: x.keepFor(),
	}, (*holder).run)
}

// under goes on under the claim c, or answers from what became of it already.
func (x *exchange) under(ctx context.Context, c Claim, goOn func(*holder) error) error {
	leave, err := x.m.queue.enter(ctx, c.Key)
	if err != nil {
		return &Error{"claim", err}
	}
	defer leave()
	h, claimed, err := x.claim(ctx, c)
	if err != nil {
		return &Error{"claim", err}
	}
	switch claimed.State {
	case ClaimClosed:
		x.result.Outcome = OutcomeRolledBack
		return nil
	case ClaimDone:
		// Whoever waits behind us needs nothing of what follows.
		leave()
		switch live, err := x.hasSession(ctx); {
		case err != nil:
			return err
		case live:
			x.isCurrent(ctx)
			return nil
		}
		return x.replay(ctx, claimed, func(o *opened) bool { return o.key == c.Key })
	}
	return goOn(h)
}

// claim asks until the claim is held, done, or of a closed epoch. The store's calls are not bound to the client: an answer that
// nobody waits for would leave a claim held for nothing.
func (x *exchange) claim(ctx context.Context, c Claim) (*holder, Claimed, error) {
	h := &holder{x: x, ctx: context.WithoutCancel(ctx), fence: newFence()}
	c.Epoch, c.Fence, c.Lease = x.m.cfg.Epoch, h.fence, x.m.cfg.Lease
	pause := 20 * time.Millisecond
	for {
		if err := ctx.Err(); err != nil {
			return nil, Claimed{}, gaveUp(err)
		}
		h.end = time.Now().Add(x.m.cfg.Lease * 95 / 100)
		call, cancel := h.within(x.m.budget.claim)
		claimed, err := x.m.cfg.Exchanges.Claim(call, c)
		cancel()
		switch {
		case err == nil && claimed.State == ClaimHeld:
			h.claimed = claimed
			h.claimed.Suspect = claimed.Suspect || x.orphan
			return h, claimed, nil
		case err == nil && (claimed.State == ClaimDone || claimed.State == ClaimClosed):
			return nil, claimed, nil
		case err == nil && claimed.State != ClaimBusy:
			err = fmt.Errorf("the store answered with the unknown state %d", claimed.State)
		}
		if err != nil && pause > 100*time.Millisecond {
			return nil, Claimed{}, storeError(err)
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) < pause {
			return nil, Claimed{}, &retryError{unavailable("another request is exchanging this session"), max(claimed.Wait, time.Second)}
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, 500*time.Millisecond)
		case <-ctx.Done():
		}
	}
}

// gaveUp is for a client that left, or was kept waiting for too long, before anything was claimed for it.
func gaveUp(err error) error {
	return &retryError{unavailable("gave up waiting for another request that exchanges this session: %w", err), time.Second}
}

const (
	// sessionLife is how long tokens of one legacy session may keep coming, where nothing says when it ends.
	sessionLife = 366 * 24 * time.Hour
	// maxKeep is more than any migration takes, and less than what a duration holds.
	maxKeep = 100 * sessionLife
	// leastKept is for how long there is time to revoke, or to roll back, what was exchanged: a token that ends in minutes can stand
	// for a session, of either system, that lasts for months.
	leastKept = 30 * 24 * time.Hour
)

// keepFor is how long the exchange must be remembered: until the verifier takes the legacy session no more, and a day. A
// token of its own says when that is. A session that others tokens may share, or that slides, does not.
func (x *exchange) keepFor() time.Duration {
	now, s, until := x.m.cfg.Now(), x.result.Legacy, x.m.cfg.Until
	end := s.ExpiresAt
	if s.acceptedUntil.After(end) {
		end = s.acceptedUntil
	}
	shared := x.kind == "sid" || x.kind == "token"
	if life := now.Add(sessionLife); shared && life.After(end) {
		end = life
	}
	if !until.IsZero() && (end.IsZero() || until.Before(end) || shared) {
		end = until
	}
	return min(max(end.Sub(now), 0), maxKeep) + 24*time.Hour
}

// replay gives the answer of a finished exchange again, if it is this client's and its session was not used since for
// more than API calls: the first refresh token, given out twice, would look like theft to the core.
func (x *exchange) replay(ctx context.Context, claimed Claimed, vouched func(*opened) bool) error {
	refuse := func(why string) error {
		x.exchanged.Handle = claimed.Handle
		x.exchanged.TenantID, x.exchanged.UserID, _ = parseOwner(claimed.User)
		return &Error{"claim", fmt.Errorf("%w: %s", ErrAlreadyMigrated, why)}
	}
	if len(claimed.Sealed) == 0 {
		return refuse("its grace is over")
	}
	o, err := x.m.vault.open(claimed.Sealed, claimed.Handle)
	switch {
	case err != nil:
		return refuse(err.Error())
	case !vouched(o):
		return refuse("the sealed answer is another exchange's")
	case x.user != nil && (o.UserID != x.user.ID || o.TenantID != x.user.TenantID):
		return refuse("it was exchanged for another user")
	case o.mode != x.mode:
		return refuse("the first request asked for the tokens in the other transfer mode (st-auth-mode)")
	case o.IdempotencyKey != nil && !x.m.vault.match("idempotency", x.idempotencyKey, o.IdempotencyKey):
		return refuse("the Idempotency-Key is not the first request's")
	}
	if x.result.Legacy == nil {
		// Recalled: what Verify would have said is what it said then. A password reset since still counts.
		if err := x.notBefore(ctx, o.Legacy.session()); err != nil {
			return &Error{"resolve", err}
		}
	}
	pristine, err := x.m.cfg.Sessions.Pristine(ctx, &Tokens{Handle: o.Handle, Header: o.Header, State: o.State})
	if err != nil {
		return &Error{"session", fmt.Errorf("%w: %w", ErrUnavailable, err)}
	}
	if !pristine {
		return refuse("its session was signed out or refreshed since")
	}
	x.header, x.given = o.Header, o.answer
	x.result.Outcome = OutcomeReplayed
	x.result.UserID, x.result.TenantID, x.result.Handle = o.UserID, o.TenantID, o.Handle
	return nil
}

// subjectHash stands for whose session it is.
func (m *Migrator) subjectHash(s *OldSession) string {
	return m.vault.hash("subject", s.Issuer, s.Subject)
}

// claimError is storeError, but for a claim that is lost.
func claimError(err error) error {
	if errors.Is(err, ErrClaimLost) {
		return err
	}
	return storeError(err)
}

// storeError is the class of a store's failure: it fails closed.
func storeError(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: exchange store: %w", ErrUnavailable, err)
}

func tenantOrPublic(id string) string {
	if id == "" {
		return "public"
	}
	return id
}
