package stmigrate

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/stmigrate/stmigrate/internal/ask"
)

// RevokeError is what a [Revoker] may answer, wrapped or not, to say more of a failure than that it was one.
type RevokeError struct {
	// Err is the cause.
	Err error
	// RetryAfter is when the provider wants to be asked again, as in an answer 429. Nobody asks it earlier, and the attempt does
	// not count. It is believed up to a day, and taken for a second at least. 0: the provider did not say.
	RetryAfter time.Duration
	// Permanent: trying again is of no use, a credential is wrong, say. The revocation goes to the dead letters.
	Permanent bool
}

func (e *RevokeError) Error() string {
	if e.Err == nil {
		return "the provider refused"
	}
	return e.Err.Error()
}

func (e *RevokeError) Unwrap() error { return e.Err }

// CookieClearer is what a [Revoker] may be, too: the answer to a successful exchange ends these cookies of the legacy system
// in the browser, by name, domain and path. With Config.RevokeAfter they stay, as the legacy session does.
type CookieClearer interface {
	ClearedCookies() []*http.Cookie
}

// clearCookies adds the ends of the legacy cookies, after the session's own.
func (m *Migrator) clearCookies(h http.Header) {
	clearer, ok := m.cfg.Revoker.(CookieClearer)
	if !ok || m.cfg.RevokeAfter > 0 {
		return
	}
	for _, c := range clearer.ClearedCookies() {
		if c == nil {
			continue
		}
		end := *c
		end.Value, end.MaxAge, end.Expires = "", -1, time.Unix(0, 0)
		if line := end.String(); line != "" {
			h.Add("Set-Cookie", line)
		}
	}
}

// owed is a legacy session that is to be revoked.
type owed struct {
	token, kind string
	session     *OldSession
	at          time.Time // when it was written down
}

// append adds o to b. Numbers in the claims stay what they are; what else they hold becomes what JSON makes of it.
func (o *owed) append(b []byte, claims []byte) []byte {
	s := o.session
	for _, text := range []string{o.token, o.kind, s.Issuer, s.Subject, s.TenantID, s.SessionID, s.TokenID, string(claims)} {
		b = appendString(b, text)
	}
	for _, t := range []time.Time{s.IssuedAt, s.AuthTime, s.ExpiresAt, s.acceptedUntil, o.at} {
		b = binary.AppendVarint(b, toMillis(t))
	}
	return b
}

func parseOwed(data []byte) (*owed, error) {
	r := answerReader{data}
	s := new(OldSession)
	o := &owed{session: s}
	for _, text := range []*string{&o.token, &o.kind, &s.Issuer, &s.Subject, &s.TenantID, &s.SessionID, &s.TokenID} {
		*text = r.text()
	}
	claims := r.take(r.length())
	for _, t := range []*time.Time{&s.IssuedAt, &s.AuthTime, &s.ExpiresAt, &s.acceptedUntil, &o.at} {
		*t = fromMillis(r.number())
	}
	if r.data == nil || len(r.data) > 0 {
		return nil, errSeal
	}
	if len(claims) > 0 {
		d := json.NewDecoder(bytes.NewReader(claims))
		d.UseNumber()
		if err := d.Decode(&s.Claims); err != nil {
			return nil, errSeal
		}
	}
	return o, nil
}

func (v vault) sealOwed(use string, o *owed, h sealHeader) ([]byte, error) {
	var claims []byte
	if len(o.session.Claims) > 0 {
		var err error
		if claims, err = json.Marshal(o.session.Claims); err != nil {
			return nil, fmt.Errorf("sealing the %s: OldSession.Claims: %w", use, err)
		}
	}
	size := sealHead + sealNonce + len(o.token) + len(claims) + 512
	return v.lock(use, h, use, size, func(b []byte) []byte { return o.append(b, claims) })
}

func (v vault) openOwed(use string, sealed []byte) (*owed, sealHeader, error) {
	h, plain, err := v.unlock(use, sealed, use)
	if err != nil {
		return nil, h, err
	}
	o, err := parseOwed(plain)
	return o, h, err
}

const useRevocation = "revocation"

// openRevocation opens what the outbox keeps under key.
func (m *Migrator) openRevocation(key ExchangeKey, sealed []byte) (*owed, error) {
	o, h, err := m.vault.openOwed(useRevocation, sealed)
	if err == nil && h.key != key {
		return nil, errSeal
	}
	return o, err
}

// revokes tells whether there is something to revoke after an exchange.
func (m *Migrator) revokes() bool {
	return m.cfg.RevokePolicy == RevokeBestEffort && !endsNothing(m.cfg.Revoker)
}

// endsNothing tells whether r is [LeaveToExpire], or wraps it.
func endsNothing(r Revoker) bool {
	for {
		wrapper, ok := r.(interface{ Unwrap() Revoker })
		if !ok {
			return r == Revoker(LeaveToExpire)
		}
		r = wrapper.Unwrap()
	}
}

// owe seals what is to be revoked into f, where the store can keep it, and decides who does it: a worker, or this request.
func (h *holder) owe(f *Finished) error {
	x := h.x
	if !x.m.revokes() {
		return nil
	}
	h.owes, h.inline = true, x.m.cfg.RevokeAfter == 0 && x.m.workers.Load() == 0
	if x.m.outbox == nil {
		return nil
	}
	f.RevokeIn = x.m.cfg.RevokeAfter
	f.KeepFor = max(f.KeepFor, f.RevokeIn+leastKept)
	if h.inline {
		f.RevokeIn = x.m.cfg.Lease // ours until then
	}
	var err error
	f.Revocation, err = x.m.vault.sealOwed(useRevocation, x.owed(), sealHeader{key: x.key, shown: x.shown, fence: h.fence})
	return err
}

func (x *exchange) owed() *owed {
	return &owed{token: cmp.Or(x.rotated, x.token), kind: x.kind, session: x.result.Legacy}
}

// settle sees to it that the legacy session is revoked, once the answer stands.
func (x *exchange) settle() {
	h := x.finished
	switch {
	case h == nil || !h.owes:
		return
	case !h.inline:
		x.m.poke()
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.r.Context()), x.m.budget.revoke)
	defer cancel()
	owed := x.owed()
	v := x.m.attempt(ctx, owed, 1, defaultRevocations)
	if x.m.outbox == nil {
		return // observed; best effort by policy
	}
	j := &dueJob{DueRevocation: DueRevocation{Key: x.key, Fence: h.fence}, owed: owed}
	if err := x.m.settleJob(ctx, x.m.budget.finish, j, v); err != nil {
		x.m.log.LogAttrs(ctx, slog.LevelWarn, "stmigrate: a revocation could not be settled", slog.String("error", err.Error()))
	}
}

func (m *Migrator) poke() {
	select {
	case m.poked <- struct{}{}:
	default:
	}
}

// RevocationConfig says how owed revocations are worked off. Its zero value is ready.
type RevocationConfig struct {
	// Workers is how many calls of the Revoker run at once. Default 4.
	Workers int
	// Batch is how many revocations are taken from the store at once. Default 16.
	Batch int
	// Timeout ends one call of the Revoker, and one of the store. Default 10 s.
	Timeout time.Duration
	// Lease is how long a batch is ours; it must be enough for all of it. Default: as long as it takes at most.
	Lease time.Duration
	// MaxAttempts is after how many failures a revocation goes to the dead letters. Default 20: with the default back-off that is
	// about 6 hours.
	MaxAttempts int
	// MinBackoff and MaxBackoff bound the wait after a failure: somewhere between 0 and MinBackoff after the first one, up to
	// twice that after each further one. Default 10 s and 1 h.
	MinBackoff, MaxBackoff time.Duration
	// Budgets is what a provider allows, by the Issuer of its sessions, for all processes together. It needs a store that is a
	// [RevocationBudgets]. Default: no limit but what [RevokeError] says.
	Budgets map[string]RevocationBudget
	// Poll is how often the store is asked while there is nothing to do, give or take a half. Default 1 s.
	Poll time.Duration
	// Jitter returns a random number in [0, 1). Default: that of math/rand/v2.
	Jitter func() float64
}

var defaultRevocations, _ = RevocationConfig{}.check()

// check fills the defaults in and names what is wrong.
func (c RevocationConfig) check() (RevocationConfig, error) {
	for _, n := range []struct {
		name         string
		n            *int
		preset, most int
	}{{"Workers", &c.Workers, 4, 1000}, {"Batch", &c.Batch, 16, 10_000}, {"MaxAttempts", &c.MaxAttempts, 20, 1_000_000}} {
		if *n.n == 0 {
			*n.n = n.preset
		}
		if *n.n < 1 || *n.n > n.most {
			return c, fmt.Errorf("RevocationConfig.%s is %d; 1 to %d expected", n.name, *n.n, n.most)
		}
	}
	for _, d := range []struct {
		name   string
		d      *time.Duration
		preset time.Duration
	}{{"Timeout", &c.Timeout, 10 * time.Second}, {"MinBackoff", &c.MinBackoff, 10 * time.Second}, {"MaxBackoff", &c.MaxBackoff, time.Hour},
		{"Poll", &c.Poll, time.Second}} {
		if *d.d == 0 {
			*d.d = d.preset
		}
		if *d.d < 0 {
			return c, fmt.Errorf("RevocationConfig.%s is %v; it must not be negative", d.name, *d.d)
		}
	}
	most := time.Duration((c.Batch+c.Workers-1)/c.Workers+1) * c.Timeout
	if c.Lease == 0 {
		c.Lease = most
	}
	if c.Lease < most {
		return c, fmt.Errorf("RevocationConfig.Lease is %v, and a batch may take %v (Batch / Workers x Timeout)", c.Lease, most)
	}
	for issuer, b := range c.Budgets {
		if b.Calls < 1 || b.Per <= 0 {
			return c, fmt.Errorf("RevocationConfig.Budgets[%q] is %d calls per %v, which lets nothing through", issuer, b.Calls, b.Per)
		}
	}
	if c.Jitter == nil {
		c.Jitter = rand.Float64
	}
	return c, nil
}

// revocationConfig checks cfg against the store.
func (m *Migrator) revocationConfig(cfg RevocationConfig) (RevocationConfig, error) {
	if m.outbox == nil {
		return cfg, fmt.Errorf("stmigrate: %w: Config.Exchanges is no RevocationOutbox, so nothing is written down to be revoked", ErrUnsupported)
	}
	if _, ok := m.outbox.(RevocationBudgets); !ok && len(cfg.Budgets) > 0 {
		return cfg, fmt.Errorf("stmigrate: %w: RevocationConfig.Budgets is set and Config.Exchanges is no RevocationBudgets", ErrUnsupported)
	}
	cfg, err := cfg.check()
	if err != nil {
		return cfg, fmt.Errorf("stmigrate: %w", err)
	}
	return cfg, nil
}

// Revocations works off what exchanges owe, and sweeps up what died. See [Migrator.StartRevocations].
type Revocations struct {
	m      *Migrator
	stop   chan struct{}
	halt   func()             // closes stop
	cancel context.CancelFunc // ends what still runs
	wg     sync.WaitGroup
	done   chan struct{}
}

// StartRevocations starts a worker that revokes legacy sessions after their exchanges, until it is closed: what the store
// hands out is revoked within Config.Revoker's means, tried again after a failure, and given up as a dead letter in the end.
// Any number of processes may run one, and one is enough for all of them. While one runs in this process an exchange asks the
// store twice and leaves the revocation to it. Else, with Config.RevokeAfter 0, the request itself revokes, whatever
// RevocationConfig.Budgets says elsewhere, and asks a third time; what fails there is left to a worker somewhere, and tried no more
// if there is none. Where budgets matter, run a worker in every process that exchanges.
//
// Every revocation is tried at least once, and once more where a process dies before it says so: a Revoker takes a session
// that is over already for success. Revocations of one provider that wait for its budget are passed over one batch after the
// other, and hold up those of others for as long as that takes.
//
// Where the store is a [ClaimSweeper] and Config.Sessions a [SessionFinder], it calls [Migrator.SweepClaims], too.
func (m *Migrator) StartRevocations(cfg RevocationConfig) (*Revocations, error) {
	cfg, err := m.revocationConfig(cfg)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Revocations{m: m, stop: make(chan struct{}), cancel: cancel, done: make(chan struct{})}
	r.halt = sync.OnceFunc(func() {
		m.workers.Add(-1)
		close(r.stop)
	})
	m.workers.Add(1)
	r.wg.Go(func() { r.run(ctx, cfg) })
	if _, ok := m.cfg.Exchanges.(ClaimSweeper); ok && m.finder != nil {
		r.wg.Go(func() { r.sweep(ctx, cfg.Jitter) })
	}
	go func() {
		r.wg.Wait()
		cancel()
		close(r.done)
	}()
	return r, nil
}

// Shutdown takes no further revocations and waits for the calls that run. When ctx ends first it cancels them and returns
// ctx's error; what they were to revoke is handed out again.
func (r *Revocations) Shutdown(ctx context.Context) error {
	r.halt()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		r.cancel()
		return ctx.Err()
	}
}

// Close cancels the calls that run and waits until they have ended. It returns nil. What is still owed waits for another worker,
// of any process.
func (r *Revocations) Close() error {
	r.halt()
	r.cancel()
	<-r.done
	return nil
}

func (r *Revocations) run(ctx context.Context, cfg RevocationConfig) {
	limit := cfg.Batch
	for {
		select {
		case <-r.stop:
			return
		default:
		}
		got, err := r.m.revokeRound(ctx, cfg, limit, r.stop)
		if err != nil {
			r.m.log.LogAttrs(ctx, slog.LevelWarn, "stmigrate: revoking what is owed", slog.String("error", err.Error()))
		}
		poked, wait := r.m.poked, time.Duration(float64(cfg.Poll)*(0.5+cfg.Jitter()))
		switch {
		case err != nil:
			poked = nil
		case got.short > 0 && got.short <= cfg.Poll:
			// What the budget lets through is taken next time, so that the others are not put back again and again.
			limit, poked, wait = max(got.tried, 1), nil, got.short
		case got.short > 0 && got.tried == 0:
			limit, poked = cfg.Batch, nil // those of other providers may stand behind these
		case got.taken == limit:
			limit, wait = min(2*limit, cfg.Batch), 0
		default:
			limit = cfg.Batch
		}
		timer := time.NewTimer(wait)
		select {
		case <-r.stop:
			timer.Stop()
			return
		case <-poked:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// RevokeDue takes one batch of what is due, revokes it, and says how many it tried: for hosts that have no place for a worker
// and call it from time to time, until it returns 0. Nothing is due then, or no budget is left.
func (m *Migrator) RevokeDue(ctx context.Context, cfg RevocationConfig) (tried int, err error) {
	cfg, err = m.revocationConfig(cfg)
	if err != nil {
		return 0, err
	}
	got, err := m.revokeRound(ctx, cfg, cfg.Batch, nil)
	if err != nil {
		return got.tried, fmt.Errorf("stmigrate: %w", err)
	}
	return got.tried, nil
}

// round is what became of a batch. short is how soon a budget has a call again for what was put back for the want of one.
type round struct {
	taken, tried int
	short        time.Duration
}

// dueJob is a revocation on its way through a round.
type dueJob struct {
	DueRevocation
	*owed
	putBack time.Duration // untried, for that long
}

func (m *Migrator) revokeRound(host context.Context, cfg RevocationConfig, limit int, stop <-chan struct{}) (round, error) {
	// When the host's time is over it is as if it had cancelled: the Revoker has not failed.
	ctx, cancel := context.WithCancel(context.WithoutCancel(host))
	defer cancel()
	defer context.AfterFunc(host, cancel)()
	due, err := m.takeDue(ctx, cfg, limit)
	if err != nil {
		return round{}, storeError(err)
	}
	got := round{taken: len(due)}
	byIssuer := make(map[string][]*dueJob)
	jobs := make([]*dueJob, len(due))
	for i, d := range due {
		jobs[i] = &dueJob{DueRevocation: d}
		if jobs[i].owed, err = m.openRevocation(d.Key, d.Revocation); err == nil {
			byIssuer[jobs[i].session.Issuer] = append(byIssuer[jobs[i].session.Issuer], jobs[i])
		}
	}
	var errs []error
	for issuer, mine := range byIssuer {
		wait, err := m.takeBudget(ctx, cfg, issuer, mine)
		if err != nil {
			errs = append(errs, err)
		}
		if wait > 0 && (got.short == 0 || wait < got.short) {
			got.short = wait
		}
	}
	var mu sync.Mutex
	paused := make(map[string]time.Duration)
	do := func(j *dueJob) {
		if j.owed != nil && j.putBack == 0 {
			mu.Lock()
			j.putBack = paused[j.session.Issuer]
			mu.Unlock()
		}
		select {
		case <-stop:
			j.putBack = max(j.putBack, time.Millisecond)
		case <-ctx.Done():
			j.putBack = max(j.putBack, time.Millisecond)
		default:
		}
		v := verdict{retry: j.putBack}
		if j.putBack == 0 {
			call, cancel := context.WithTimeout(ctx, cfg.Timeout)
			v = m.attempt(call, j.owed, j.Attempt, cfg)
			cancel()
			mu.Lock()
			got.tried++
			if v.pause > 0 {
				paused[j.session.Issuer] = max(paused[j.session.Issuer], v.pause)
			}
			mu.Unlock()
		}
		if err := m.settleJob(ctx, cfg.Timeout, j, v); err != nil {
			mu.Lock()
			errs = append(errs, err)
			mu.Unlock()
		}
	}
	queue := make(chan *dueJob)
	var wg sync.WaitGroup
	for range min(cfg.Workers, len(jobs)) {
		wg.Go(func() {
			for j := range queue {
				do(j)
			}
		})
	}
	for _, j := range jobs {
		queue <- j
	}
	close(queue)
	wg.Wait()
	return got, errors.Join(errs...)
}

func (m *Migrator) takeDue(ctx context.Context, cfg RevocationConfig, limit int) ([]DueRevocation, error) {
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	return m.outbox.DueRevocations(ctx, limit, cfg.Lease)
}

// unlimited is the budget of a provider that none was set for: it can be paused all the same.
var unlimited = RevocationBudget{Calls: 100_000, Per: time.Second}

// takeBudget asks for as many calls as there are jobs of one provider, and has those put back that there are none for: each
// until there will be one.
func (m *Migrator) takeBudget(ctx context.Context, cfg RevocationConfig, issuer string, jobs []*dueJob) (wait time.Duration, err error) {
	budgets, ok := m.outbox.(RevocationBudgets)
	if !ok {
		return 0, nil
	}
	b, ok := cfg.Budgets[issuer]
	if !ok {
		b = unlimited
	}
	ctx, cancel := context.WithTimeout(ctx, cfg.Timeout)
	defer cancel()
	got, wait, err := budgets.TakeBudget(ctx, issuer, len(jobs), b)
	switch {
	case err != nil:
		// Without its leave the provider is not asked.
		got, wait, err = 0, cfg.Poll, storeError(err)
	case got < len(jobs) && wait <= 0:
		wait = b.Per / time.Duration(b.Calls)
	}
	for i, j := range jobs[min(max(got, 0), len(jobs)):] {
		j.putBack = max(wait+time.Duration(i)*(b.Per/time.Duration(b.Calls)), time.Millisecond)
	}
	if got >= len(jobs) {
		return 0, err
	}
	return max(wait, time.Millisecond), err
}

// settleJob tells the store, though the worker was cancelled meanwhile.
func (m *Migrator) settleJob(ctx context.Context, timeout time.Duration, j *dueJob, v verdict) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	var errs []error
	if budgets, ok := m.outbox.(RevocationBudgets); ok && v.pause > 0 {
		if err := budgets.PauseBudget(ctx, j.session.Issuer, v.pause); err != nil {
			errs = append(errs, storeError(err))
		}
	}
	err := m.outbox.SettleRevocation(ctx, j.Key, j.Fence, v.retry, v.reason)
	if err != nil && !errors.Is(err, ErrClaimLost) { // lost: whoever has it by now tries, too
		errs = append(errs, storeError(err))
	}
	return errors.Join(errs...)
}

// verdict is what is to become of a revocation: SettleRevocation's retry and reason, and how long its provider is left alone.
type verdict struct {
	err    error // without the token
	retry  time.Duration
	reason string
	pause  time.Duration
}

const (
	minRetryAfter = time.Second // asking again does not count, so it must not be without end
	maxRetryAfter = 24 * time.Hour
)

// attempt asks the Revoker once and judges the outcome. o is nil where the seal did not open.
func (m *Migrator) attempt(ctx context.Context, o *owed, attempt int, cfg RevocationConfig) verdict {
	if o == nil {
		v := verdict{err: &Error{"revoke", fmt.Errorf("%w: %w", ErrRevokeFailed, errSeal)}, reason: errSeal.Error()}
		m.observe(ctx, nil, Event{Name: "revoke", Outcome: "dead", Attempt: attempt, Err: v.err})
		return v
	}
	start := m.cfg.Now()
	var err error
	if attempt > cfg.MaxAttempts {
		// Each time before, whoever took it died or never said how it ended: it may be this very call that kills.
		err = &RevokeError{Err: fmt.Errorf("handed out %d times and never settled", attempt-1), Permanent: true}
	} else {
		err = m.callRevoker(ctx, o.token, o.session)
	}
	outcome, v := "revoked", verdict{}
	if err != nil {
		outcome, v = "failed", cfg.judge(ctx, err, attempt)
		why := withoutToken(err, o.token)
		v.err = &Error{"revoke", fmt.Errorf("%w: %w", ErrRevokeFailed, why)}
		if v.reason != "" {
			v.reason = cut(why.Error(), 512)
		}
		if v.retry == 0 {
			outcome = "dead"
		}
	}
	took := m.cfg.Now().Sub(start)
	m.observe(ctx, o.session, Event{Name: "revoke", Outcome: outcome, Kind: o.kind, Attempt: attempt, Duration: took, Err: v.err})
	return v
}

// judge decides what a failure means. Any reason means that there is one.
func (c RevocationConfig) judge(ctx context.Context, err error, attempt int) verdict {
	const failed = "failed"
	said := (*RevokeError)(nil)
	errors.As(err, &said) // or to a nil pointer that err hides
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return verdict{retry: time.Millisecond} // our own doing, and no attempt
	case said != nil && said.Permanent:
		return verdict{reason: failed}
	case said != nil && said.RetryAfter > 0:
		wait := min(max(said.RetryAfter, minRetryAfter), maxRetryAfter)
		return verdict{retry: wait, pause: wait}
	case attempt >= c.MaxAttempts:
		return verdict{reason: failed}
	}
	most := c.MinBackoff
	for range attempt - 1 {
		if most = min(2*most, c.MaxBackoff); most == c.MaxBackoff {
			break
		}
	}
	return verdict{retry: max(time.Duration(c.Jitter()*float64(min(most, c.MaxBackoff))), time.Millisecond), reason: failed}
}

// callRevoker makes a panic of the Revoker a failure of its own.
func (m *Migrator) callRevoker(ctx context.Context, token string, s *OldSession) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the Revoker panicked: %v", p)
		}
	}()
	if err = m.cfg.Revoker.Revoke(ctx, token, s); err != nil {
		_ = err.Error() // which may panic, too: that of a nil pointer in err, say
	}
	return err
}

// withoutToken returns err, or, if its text holds some of the token, another error without it.
func withoutToken(err error, token string) error {
	text := cut(err.Error(), 2048)
	if clean := ask.Redact(text, token); clean != text || len(text) != len(err.Error()) {
		return errors.New(clean)
	}
	return err
}

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + " ..."
}

// DeadLetter is a revocation that was given up: who it is about, as far as an [Event] says, and why. It holds no token.
type DeadLetter struct {
	// Key is for [Migrator.ReplayRevocation] and [Migrator.DropRevocation].
	Key ExchangeKey
	// Issuer, TenantID, SubjectHash and Kind are those of [Event]; "" where the seal does not open.
	Issuer, TenantID, SubjectHash, Kind string
	// SessionHash stands for the SessionID, under this deployment's secret; "" where the session has none.
	SessionHash string
	// Attempts is how often it was tried, and Reason why the last attempt failed.
	Attempts int
	Reason   string
}

// DeadRevocations returns at most max dead letters with keys above after, in the order of their keys: the zero key begins,
// and the last one's key goes on. [ErrUnsupported] where the store is no [RevocationDeadLetters].
func (m *Migrator) DeadRevocations(ctx context.Context, after ExchangeKey, max int) ([]DeadLetter, error) {
	letters, err := m.deadLetters()
	if err != nil {
		return nil, err
	}
	dead, err := letters.DeadRevocations(ctx, after, max)
	if err != nil {
		return nil, fmt.Errorf("stmigrate: %w", storeError(err))
	}
	out := make([]DeadLetter, len(dead))
	for i, d := range dead {
		out[i] = DeadLetter{Key: d.Key, Attempts: d.Attempts, Reason: d.Reason}
		if o, err := m.openRevocation(d.Key, d.Revocation); err == nil {
			s := o.session
			out[i].Issuer, out[i].TenantID, out[i].SubjectHash, out[i].Kind = s.Issuer, s.TenantID, m.subjectHash(s), o.kind
			if s.SessionID != "" {
				out[i].SessionHash = m.vault.hash("session", s.Issuer, s.SessionID)
			}
		}
	}
	return out, nil
}

// ReplayRevocation makes a dead letter due again, as if it had never been tried. nil where there is none.
func (m *Migrator) ReplayRevocation(ctx context.Context, key ExchangeKey) error {
	letters, err := m.deadLetters()
	if err != nil {
		return err
	}
	if err := letters.ReplayRevocation(ctx, key); err != nil {
		return fmt.Errorf("stmigrate: %w", storeError(err))
	}
	m.poke()
	return nil
}

// DropRevocation erases a dead letter. The legacy session is left to expire. nil where there is none.
func (m *Migrator) DropRevocation(ctx context.Context, key ExchangeKey) error {
	letters, err := m.deadLetters()
	if err != nil {
		return err
	}
	if err := letters.DropRevocation(ctx, key); err != nil {
		return fmt.Errorf("stmigrate: %w", storeError(err))
	}
	return nil
}

func (m *Migrator) deadLetters() (RevocationDeadLetters, error) {
	letters, ok := m.cfg.Exchanges.(RevocationDeadLetters)
	if !ok {
		return nil, fmt.Errorf("stmigrate: %w: Config.Exchanges is no RevocationDeadLetters", ErrUnsupported)
	}
	return letters, nil
}
