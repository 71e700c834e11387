package stmigrate

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/isnil"
)

// LegacyGuardConfig configures a [LegacyGuard]. Store is required.
type LegacyGuardConfig struct {
	// Store is asked for passwords, and for users if it is a [LegacyDirectory] and a [LegacyCounter].
	Store LegacyUserStore
	// Tenants are the SuperTokens tenants that Store serves; it is asked for no other. Default: public alone.
	Tenants []string
	// SkipLegacyDirectory goes without a directory, even if Store is one. Whoever does not know of a user's legacy account can
	// then sign up with its e-mail, and shut the user out.
	SkipLegacyDirectory bool
	// FailureFloor is what the time of a failed sign-in is rounded up to a multiple of. It should be more than most of them take.
	// Default 250 ms.
	FailureFloor time.Duration
	// Timeout is how long one call of Store may take. Default 5 s.
	Timeout time.Duration
	// Tries is how often Store is asked for the password of one e-mail, at once; TriesPer is the time in which as many flow in
	// again, evenly. Who has none left is told what a wrong password is told, the right one, too: so a stranger who uses them up
	// keeps a legacy user from signing in meanwhile. Default 10 in 5 min; Tries is at most 1000.
	Tries    int
	TriesPer time.Duration
	// Observe is told of every call of Store and of every try that did not come to one: Name is "legacy"; Outcome "ok", "wrong",
	// "unknown", "limited", "tenant", "open", "unavailable", "bad_answer" or "panic"; Step the method, or "decoy"; SubjectHash
	// stands for tenant and e-mail, in this process. Default: nobody.
	Observe func(context.Context, Event)
	// Logger gets what fails and why. Default: nothing is logged.
	Logger *slog.Logger
	// Now replaces time.Now, in tests.
	Now func() time.Time
}

// LegacyGuard stands between a login and a [LegacyUserStore], which is somebody else's code before somebody else's system. It
// is a LegacyUserStore, [LegacyDirectory] and [LegacyCounter] itself. [Override] and package login have one each.
//
//   - It asks the store for its tenants alone, never with an e-mail or a password that cannot be one, with a deadline, and no
//     more often for one e-mail than it may (per process).
//   - After 5 failures in a row it lets the store alone for 10 s, then tries with one call.
//   - It believes no answer that is half a user, another one's, of another tenant, or late; a panic is an error.
//   - It makes failed sign-ins look alike: see [LegacyGuard.FailAlike] and [LegacyGuard.Decoy].
//
// It is safe for concurrent use.
type LegacyGuard struct {
	cfg       LegacyGuardConfig
	directory LegacyDirectory // nil: none
	counter   LegacyCounter   // nil: none
	key       [32]byte        // of hashes that stand for accounts
	running   chan struct{}   // holds a value for each call of the store that has not returned
	tries     tries
	breaker   breaker
}

const (
	// Calls of a store that does not heed its context stay behind, as many as this.
	maxLegacyCalls = 256
	maxLegacyID    = 128
	breakAfter     = 5
	breakFor       = 10 * time.Second
)

// NewLegacyGuard checks cfg and returns a guard.
func NewLegacyGuard(cfg LegacyGuardConfig) (*LegacyGuard, error) {
	if isnil.Value(cfg.Store) {
		return nil, errors.New("stmigrate: the legacy user store is required")
	}
	for name, d := range map[string]time.Duration{"FailureFloor": cfg.FailureFloor, "Timeout": cfg.Timeout, "TriesPer": cfg.TriesPer} {
		if d < 0 || d > time.Hour {
			return nil, fmt.Errorf("stmigrate: %s is %v: from 0 to 1h is expected", name, d)
		}
	}
	if cfg.Tries < 0 || cfg.Tries > 1000 {
		return nil, fmt.Errorf("stmigrate: Tries is %d: from 0 to 1000 is expected", cfg.Tries)
	}
	g := &LegacyGuard{cfg: cfg, running: make(chan struct{}, maxLegacyCalls)}
	g.cfg.Tenants = nil
	for _, tenantID := range cfg.Tenants {
		if err := core.ValidTenantID(tenantID); err != nil {
			return nil, fmt.Errorf("stmigrate: Tenants: %w", err)
		}
		g.cfg.Tenants = append(g.cfg.Tenants, tenantOrPublic(tenantID))
	}
	if len(g.cfg.Tenants) == 0 {
		g.cfg.Tenants = []string{"public"}
	}
	if !cfg.SkipLegacyDirectory {
		if g.directory, _ = cfg.Store.(LegacyDirectory); g.directory == nil {
			return nil, errors.New("stmigrate: the legacy user store is no LegacyDirectory, so that sign-ups could take the e-mails of " +
				"legacy users; SkipLegacyDirectory states that they may")
		}
	}
	g.counter, _ = cfg.Store.(LegacyCounter)
	g.cfg.FailureFloor = cmp.Or(cfg.FailureFloor, 250*time.Millisecond)
	g.cfg.Timeout = cmp.Or(cfg.Timeout, 5*time.Second)
	g.tries.burst, g.tries.per = float64(cmp.Or(cfg.Tries, 10)), cmp.Or(cfg.TriesPer, 5*time.Minute)
	if cfg.Logger == nil {
		g.cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		g.cfg.Now = time.Now
	}
	_, _ = rand.Read(g.key[:]) // never fails: crypto/rand aborts the program instead
	return g, nil
}

// Serves tells whether the store is asked about this tenant.
func (g *LegacyGuard) Serves(tenantID string) bool {
	return slices.Contains(g.cfg.Tenants, tenantOrPublic(tenantID))
}

// Authenticate implements [LegacyUserStore]. What cannot be right, a tenant that is not served, one try too many, and a user with
// another e-mail than was asked for are ErrWrongCredentials; a store that fails, answers nonsense, or is let alone is
// ErrUnavailable.
func (g *LegacyGuard) Authenticate(ctx context.Context, tenantID, email, password string) (*LegacyUser, error) {
	return g.authenticate(ctx, "Authenticate", tenantID, email, password, email, password)
}

// Decoy is for a failed sign-in that the store has no say in, since the user is in SuperTokens: it asks the store for somebody
// who does not exist, with a password of the same length, and returns what the sign-in is to end with. So a failed sign-in
// takes as long, and fails as much when the store is down, whoever it names; and the store never sees a password of a SuperTokens
// user.
func (g *LegacyGuard) Decoy(ctx context.Context, tenantID, email, password string) error {
	_, err := g.authenticate(ctx, "decoy", tenantID, email, password, "decoy-"+rand.Text()+"@decoy.invalid", madeUp(len(password)))
	if err == nil { // it knows a random e-mail with a random password
		return unavailable("the legacy user store takes any password")
	}
	return err
}

// madeUp is a random text of n bytes.
func madeUp(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(rand.Text())
	}
	return b.String()[:n]
}

// authenticate counts a try for email and asks for askedEmail.
func (g *LegacyGuard) authenticate(ctx context.Context, step, tenantID, email, password, askedEmail, askedPassword string) (*LegacyUser, error) {
	tenantID = tenantOrPublic(tenantID)
	account, invalid := core.NormalizeEmail(email)
	asked, invalidAsked := core.NormalizeEmail(askedEmail)
	if invalid != nil || invalidAsked != nil || core.ValidPassword(password) != nil {
		return nil, ErrWrongCredentials
	}
	e := g.event(step, tenantID, account)
	switch {
	case !g.Serves(tenantID):
		e.Outcome = "tenant"
	case g.breaker.shut(e.Time) == 0 && !g.tries.take(g.hash(tenantID, account), e.Time):
		e.Outcome = "limited" // what is not asked of a store that is let alone costs no try
	}
	if e.Outcome != "" {
		g.observe(ctx, e)
		return nil, ErrWrongCredentials
	}
	u, err := call(ctx, g, e, func(ctx context.Context) (*LegacyUser, error) {
		u, err := g.cfg.Store.Authenticate(ctx, tenantID, asked, askedPassword)
		return u, discreet(err, asked, askedPassword)
	}, func(u *LegacyUser) (*LegacyUser, error) { return g.whole(u, tenantID, asked, "") })
	// A store that knows a user under several e-mails, as a database does that compares without accents, must not make known
	// that a password is right there: each of these e-mails has tries of its own.
	if errors.Is(err, ErrUnknownUser) || errors.Is(err, errOtherEmail) {
		err = ErrWrongCredentials
	}
	return u, err
}

// discreet keeps the class of a store's error, and withholds its text if that has one of the secrets in it.
func discreet(err error, secrets ...string) error {
	if err == nil {
		return nil
	}
	text := strings.ToLower(err.Error())
	if !slices.ContainsFunc(secrets, func(secret string) bool { return strings.Contains(text, strings.ToLower(secret)) }) {
		return err
	}
	withheld := errors.New("it failed with a text that has the e-mail or the password in it")
	for _, class := range []error{ErrUnavailable, ErrWrongCredentials, ErrUnknownUser} {
		if errors.Is(err, class) {
			return fmt.Errorf("%w: %w", class, withheld)
		}
	}
	return withheld
}

// UserByEmail implements [LegacyDirectory]. Without one, and in tenants that are not served, nobody is known.
func (g *LegacyGuard) UserByEmail(ctx context.Context, tenantID, email string) (*LegacyUser, error) {
	tenantID = tenantOrPublic(tenantID)
	email, err := core.NormalizeEmail(email)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if g.directory == nil || !g.Serves(tenantID) {
		return nil, ErrUnknownUser
	}
	return call(ctx, g, g.event("UserByEmail", tenantID, email), func(ctx context.Context) (*LegacyUser, error) {
		u, err := g.directory.UserByEmail(ctx, tenantID, email)
		return u, discreet(err, email)
	}, func(u *LegacyUser) (*LegacyUser, error) { return g.whole(u, tenantID, email, "") })
}

// UserByID implements [LegacyDirectory]. A user of a tenant that is not served is not known.
func (g *LegacyGuard) UserByID(ctx context.Context, id string) (*LegacyUser, error) {
	if g.directory == nil || validLegacyID(id) != nil {
		return nil, ErrUnknownUser
	}
	u, err := call(ctx, g, g.event("UserByID", "", id), func(ctx context.Context) (*LegacyUser, error) {
		return g.directory.UserByID(ctx, id)
	}, func(u *LegacyUser) (*LegacyUser, error) { return g.whole(u, "", "", id) })
	if err == nil && !g.Serves(u.TenantID) {
		return nil, ErrUnknownUser
	}
	return u, err
}

// CountUsersNotImported implements [LegacyCounter]. Without one it is ErrUnsupported.
func (g *LegacyGuard) CountUsersNotImported(ctx context.Context) (int, error) {
	if g.counter == nil {
		return 0, fmt.Errorf("%w: the legacy user store is no LegacyCounter", ErrUnsupported)
	}
	return call(ctx, g, g.event("CountUsersNotImported", "", ""), g.counter.CountUsersNotImported, func(n int) (int, error) {
		if n < 0 {
			return 0, fmt.Errorf("a count of %d", n)
		}
		return n, nil
	})
}

// FailAlike runs a sign-in and lets nobody tell from a failure whether the e-mail is known, or to whom: malformed input and
// unknown users are ErrWrongCredentials, and where the store is known to be down all of these are ErrUnavailable; and it takes
// a multiple of FailureFloor, at least one, unless ctx ends before. A sign-in that succeeds returns at once.
//
// That a multiple may be one more for a slow sign-in than for a fast one is why a sign-in should do the same work for everybody:
// see [LegacyGuard.Decoy].
func (g *LegacyGuard) FailAlike(ctx context.Context, tenantID string, signIn func() (*AuthUser, error)) (*AuthUser, error) {
	start := g.cfg.Now()
	u, err := signIn()
	if err == nil {
		return u, nil
	}
	switch {
	case errors.Is(err, ErrUnavailable):
	case errors.Is(err, ErrWrongCredentials), errors.Is(err, ErrUnknownUser), errors.Is(err, ErrBadRequest):
		err = ErrWrongCredentials
		if after, down := g.breaker.down(g.cfg.Now()); down && g.Serves(tenantID) {
			err = &retryError{unavailable("the legacy user store is down"), after}
		}
	}
	floor := g.cfg.FailureFloor
	wait := floor - max(g.cfg.Now().Sub(start), 0)%floor
	until := time.Now().Add(wait)
	t := time.NewTimer(wait - timerGrain)
	select {
	case <-t.C:
	case <-ctx.Done():
		t.Stop() // not deferred: how long that takes, once it is time to answer, depends on the work before
		return nil, unavailable("the sign-in was given up: %w", ctx.Err())
	}
	for now := time.Now(); now.Before(until); {
		runtime.Gosched()
		next := time.Now()
		if next.Equal(now) { // a clock this coarse, or one that stands still (testing/synctest), is not to be spun on
			time.Sleep(until.Sub(now))
		}
		now = next
	}
	return nil, err
}

// timerGrain is how much later than asked a timer may fire. Go's wait in whole milliseconds where nothing else runs, so that
// how late depends on the fraction of one at which they were set: that would tell how long the work before had taken.
const timerGrain = time.Millisecond

var errOtherEmail = errors.New("a user with another e-mail than was asked for")

// whole is u as it may be used, or what is wrong with it. Empty arguments are not compared.
func (g *LegacyGuard) whole(u *LegacyUser, tenantID, email, id string) (*LegacyUser, error) {
	if u == nil {
		return nil, errors.New("neither a user nor an error")
	}
	out := *u
	var err error
	if out.Email, err = core.NormalizeEmail(u.Email); err != nil {
		return nil, err
	}
	if out.TenantID == "" {
		if out.TenantID = tenantID; tenantID == "" && len(g.cfg.Tenants) == 1 {
			out.TenantID = g.cfg.Tenants[0]
		}
		out.TenantID = tenantOrPublic(out.TenantID)
	}
	if err := validLegacyID(u.ID); err != nil {
		return nil, err
	}
	switch {
	case id != "" && out.ID != id:
		return nil, errors.New("a user with another ID than was asked for")
	case email != "" && out.Email != email:
		return nil, errOtherEmail
	case tenantID != "" && out.TenantID != tenantID:
		return nil, fmt.Errorf("a user of the tenant %.64q, and %q was asked for", out.TenantID, tenantID)
	}
	return &out, nil
}

func validLegacyID(id string) error {
	switch {
	case id == "":
		return errors.New("a user without an ID")
	case len(id) > maxLegacyID:
		return fmt.Errorf("a user ID of %d bytes: at most %d are allowed", len(id), maxLegacyID)
	case !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) || strings.TrimSpace(id) != id:
		return errors.New("a user ID with control characters, white space around it, or what is not UTF-8")
	}
	return nil
}

// call asks the store, unless it is let alone, for no longer than it may take, and has check look at the answer.
func call[T any](ctx context.Context, g *LegacyGuard, e Event, ask func(context.Context) (T, error), check func(T) (T, error)) (T, error) {
	type answer struct {
		value   T
		outcome string
		err     error
	}
	var none T
	end := func(outcome string, err error) (T, error) {
		e.Outcome, e.Err, e.Duration = outcome, err, max(g.cfg.Now().Sub(e.Time), 0)
		g.observe(ctx, e)
		return none, err
	}
	if wait := g.breaker.enter(e.Time); wait > 0 {
		return end("open", &retryError{unavailable("the legacy user store failed before and is let alone"), wait})
	}
	health := unknownHealth
	defer func() { g.breaker.leave(g.cfg.Now(), health) }()
	select {
	case g.running <- struct{}{}:
	default:
		health = unhealthy
		return end("unavailable", &retryError{unavailable("%d calls of the legacy user store have not returned", maxLegacyCalls), time.Second})
	}
	limited, cancel := context.WithTimeout(ctx, g.cfg.Timeout)
	defer cancel()
	answers := make(chan answer, 1)
	go func() {
		a := answer{outcome: "panic", err: errors.New("the legacy user store panicked")}
		defer func() {
			if v := recover(); v != nil { // its value may hold anything, a password, too
				a = answer{outcome: "panic", err: fmt.Errorf("the legacy user store panicked with a %T", v)}
			}
			<-g.running
			answers <- a
		}()
		value, err := ask(limited)
		a = answer{value: value, err: err}
	}()
	var a answer
	select {
	case a = <-answers:
	case <-limited.Done():
	}
	switch err := limited.Err(); {
	case ctx.Err() != nil:
		// A client that went away says nothing of the store, and must not be able to.
		if errors.Is(ctx.Err(), context.DeadlineExceeded) && g.cfg.Now().Sub(e.Time) >= time.Second {
			health = unhealthy
		}
		return end("unavailable", unavailable("no answer of the legacy user store in time: %w", ctx.Err()))
	case err != nil:
		health = unhealthy
		return end("unavailable", unavailable("the legacy user store did not answer within %v: %w", g.cfg.Timeout, err))
	case a.outcome != "":
		return end(a.outcome, unavailable("%w", a.err))
	case errors.Is(a.err, ErrUnavailable):
		health = unhealthy
		return end("unavailable", a.err)
	case errors.Is(a.err, ErrWrongCredentials):
		health = healthy
		return end("wrong", ErrWrongCredentials)
	case errors.Is(a.err, ErrUnknownUser):
		health = healthy
		return end("unknown", ErrUnknownUser)
	case a.err != nil:
		return end("unavailable", unavailable("the legacy user store: %w", a.err))
	}
	// One user whom the store answers badly for must not make it unavailable to all.
	health = healthy
	value, err := check(a.value)
	if err != nil {
		return end("bad_answer", unavailable("the legacy user store answered %w", err))
	}
	_, _ = end("ok", nil)
	return value, nil
}

func (g *LegacyGuard) hash(parts ...string) [sha256.Size]byte {
	mac := hmac.New(sha256.New, g.key[:])
	for _, part := range parts {
		_ = binary.Write(mac, binary.BigEndian, uint64(len(part)))
		_, _ = mac.Write([]byte(part))
	}
	return [sha256.Size]byte(mac.Sum(nil))
}

func (g *LegacyGuard) event(step, tenantID, account string) Event {
	h := g.hash(tenantID, account)
	return Event{Time: g.cfg.Now(), Name: "legacy", Step: step, TenantID: tenantID, SubjectHash: hex.EncodeToString(h[:8]), Attempt: 1}
}

func (g *LegacyGuard) observe(ctx context.Context, e Event) {
	if g.cfg.Observe != nil {
		g.cfg.Observe(ctx, e)
	}
	level := slog.LevelDebug
	attrs := []slog.Attr{
		slog.String("method", e.Step), slog.String("outcome", e.Outcome), slog.String("tenant", e.TenantID),
		slog.String("account", e.SubjectHash), slog.Duration("duration", e.Duration),
	}
	switch e.Outcome {
	case "unavailable", "open", "bad_answer", "panic":
		level = slog.LevelWarn
		attrs = append(attrs, slog.String("error", e.Err.Error()))
	case "limited":
		level = slog.LevelWarn
	}
	g.cfg.Logger.LogAttrs(ctx, level, "stmigrate: legacy user store", attrs...)
}

// breaker knows how the store is doing.
type breaker struct {
	mu       sync.Mutex
	failures int // in a row
	retryAt  time.Time
	probing  bool
}

type health int

const (
	unknownHealth health = iota
	healthy
	unhealthy
)

// enter returns how long the store is to be let alone still. Of those who come when that is over, one goes in.
func (b *breaker) enter(now time.Time) time.Duration {
	if wait := b.shut(now); wait > 0 {
		return wait
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < breakAfter {
		return 0
	}
	if b.probing {
		return time.Second
	}
	b.probing = true
	return 0
}

// shut returns how long nobody may go in.
func (b *breaker) shut(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < breakAfter {
		return 0
	}
	return max(b.retryAt.Sub(now), 0)
}

func (b *breaker) leave(now time.Time, h health) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probing = false
	switch h {
	case healthy:
		b.failures = 0
	case unhealthy:
		b.failures++
		b.retryAt = now.Add(breakFor)
	}
}

// down tells whether the last call failed, and when the next makes sense.
func (b *breaker) down(now time.Time) (time.Duration, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failures < breakAfter {
		return time.Second, b.failures > 0
	}
	return max(b.retryAt.Sub(now), time.Second), true
}

// tries are token buckets for accounts, in a memory that does not grow: each account has one bucket in each row, shared with
// others by chance, and may go on while one of them is not empty. So nobody can flush out another's bucket by naming many
// accounts, and to be refused for others' tries takes tens of thousands of them in each row.
type tries struct {
	burst float64
	per   time.Duration

	mu   sync.Mutex
	rows [4][]bucket
}

type bucket struct {
	spent float64
	at    time.Time
}

const bucketsPerRow = 1 << 14

func (t *tries) take(account [sha256.Size]byte, now time.Time) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	granted := false
	for i := range t.rows {
		if t.rows[i] == nil {
			t.rows[i] = make([]bucket, bucketsPerRow)
		}
		b := &t.rows[i][binary.BigEndian.Uint64(account[8*i:])%bucketsPerRow]
		if b.spent > 0 {
			b.spent = max(0, b.spent-t.burst*max(0, now.Sub(b.at).Seconds())/t.per.Seconds())
		}
		b.at = now
		if b.spent+1 <= t.burst {
			b.spent++
			granted = true
		}
	}
	return granted
}
