package login

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
	"io"
	"log/slog"
	"slices"
	"time"
	"unicode"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/isnil"
)

// Config configures a [Login]. Core, Legacy and Ledger are required.
type Config struct {
	// Core is where users are imported to.
	Core *core.Client
	// Original answers for users that SuperTokens has. Default: [stmigrate.NewEmailPassword] of Core.
	Original stmigrate.EmailPassword
	// Legacy checks the passwords of users that were not imported yet. It should be an [stmigrate.LegacyDirectory], too, and may
	// be an [stmigrate.LegacyCounter]. It stands behind an [stmigrate.LegacyGuard]; these fields are that one's.
	Legacy stmigrate.LegacyUserStore
	// Tenants are the SuperTokens tenants whose users Legacy knows. Default: public alone.
	Tenants []string
	// SkipLegacyDirectory goes without a directory. Then whoever signs up with the e-mail of a legacy user who was not imported
	// yet gets it, the legacy user is locked out, and users who were never imported can't reset their password.
	SkipLegacyDirectory bool
	// FailureFloor is what the time of a failed sign-in is rounded up to a multiple of. Default 250 ms.
	FailureFloor time.Duration
	// Timeout is how long one call of Legacy may take. Default 5 s.
	Timeout time.Duration
	// Tries is how often Legacy is asked for the password of one e-mail within TriesPer. Default 10 in 5 min; at most 1000.
	Tries    int
	TriesPer time.Duration

	// Ledger remembers who was imported: a [SQLLedger], or a [MemoryLedger] where there is one process.
	Ledger Ledger
	// Secrets make the addresses and passwords that nobody knows: at least 32 random bytes each, the same on all nodes. They may
	// be those of [stmigrate.Config]. The first makes, all of them recognise: to rotate, add the new one as the second on all
	// nodes, make it the first in a deploy after that, and keep the old one as long as there are users marked AskLegacy.
	// Required unless Ledger is a [MemoryLedger], for which New draws one.
	Secrets [][]byte
	// CreateMissingRoles makes a role that a legacy user has and SuperTokens does not, without permissions. Default: it is left
	// out and reported, and the sign-in goes on.
	CreateMissingRoles bool
	// PasswordPolicy says what is wrong with a password. A legacy password that breaks it is imported and reported.
	// Default: [DefaultPasswordPolicy].
	PasswordPolicy func(password string) error
	// Lease is how long an import may take before another request may take it over. Default 15 s, at least 1 s, at most 1 h.
	Lease time.Duration
	// Wait is how long a request waits for another that imports the same user. Default 5 s.
	Wait time.Duration
	// Observe is told of every import and of every call of Legacy, on the request's goroutine. Default: nobody.
	Observe func(context.Context, Event)
	// Logger gets what fails of Legacy and why. Default: nothing is logged.
	Logger *slog.Logger
	// Now replaces time.Now, in tests.
	Now func() time.Time
}

// The names of events. Those of [stmigrate.LegacyGuardConfig] come, too.
const (
	// EventImport: an attempt to import a user ended.
	EventImport = "import"
	// EventPasswordSet: a user marked AskLegacy signed in with the legacy password, which is SuperTokens' from now on.
	EventPasswordSet = "password_set"
	// EventUnmarked: a user marked AskLegacy has a new password in SuperTokens. The legacy one is worth nothing from now on.
	EventUnmarked = "unmarked"
)

// Event is what [Config.Observe] is told. It holds no e-mail, ID or password; the text of Err may hold user IDs.
//
// Name is one of [EventImport] and so on. Outcome is "ok", "conflict", "unavailable" or "failed". Step is where an import ended:
// "claim", "create", "map", "verify", "metadata", "roles", "publish" or "complete"; "" on success. SubjectHash stands for tenant and
// e-mail, under this deployment's first secret. Err of the other two events is that the ledger could not note it, which does no harm.
type Event struct {
	stmigrate.Event
	// Resumed: an earlier attempt had begun the import.
	Resumed bool
	// Flags are those of the ledger's entry: WeakPassword, RolesLeftOut and HashRefused are for somebody to look at.
	Flags Flags
	// Roles are those that were left out.
	Roles []string
}

// Login is an [stmigrate.EmailPassword] that imports legacy users. It is safe for concurrent use.
type Login struct {
	core               *core.Client
	original           stmigrate.EmailPassword
	legacy             *stmigrate.LegacyGuard
	ledger             Ledger
	secrets            [][]byte
	createMissingRoles bool
	policy             func(string) error
	lease, wait        time.Duration
	observe            func(context.Context, Event)
	now                func() time.Time
	sleep              func(context.Context, time.Duration) error
}

var _ stmigrate.EmailPassword = (*Login)(nil)

// DefaultPasswordPolicy is that of the SuperTokens SDKs: 8 to 99 characters, with an ASCII letter and a digit among them.
func DefaultPasswordPolicy(password string) error {
	letter, digit, n := false, false, 0
	for _, r := range password {
		n++
		letter = letter || r <= unicode.MaxASCII && unicode.IsLetter(r)
		digit = digit || r >= '0' && r <= '9'
	}
	switch {
	case n < 8 || n > 99:
		return fmt.Errorf("%d characters; 8 to 99 are wanted", n)
	case !letter || !digit:
		return errors.New("a letter and a digit are wanted")
	}
	return nil
}

const publicTenant = "public"

// New validates cfg and returns a Login. It calls neither the core nor legacy nor the ledger. The error names the field that is
// missing or contradicts another.
func New(cfg Config) (*Login, error) {
	switch {
	case cfg.Core == nil:
		return nil, errors.New("login: Config.Core is required")
	case isnil.Value(cfg.Legacy):
		return nil, errors.New("login: Config.Legacy is required")
	case isnil.Value(cfg.Ledger):
		return nil, errors.New("login: Config.Ledger is required (NewSQLLedger; NewMemoryLedger for one process)")
	}
	l := &Login{
		core: cfg.Core, original: cfg.Original, ledger: cfg.Ledger, createMissingRoles: cfg.CreateMissingRoles,
		policy: cfg.PasswordPolicy, observe: cfg.Observe, now: cfg.Now,
		lease: cmp.Or(cfg.Lease, 15*time.Second), wait: cmp.Or(cfg.Wait, 5*time.Second),
		sleep: sleep,
	}
	memory, local := cfg.Ledger.(*MemoryLedger)
	switch {
	case l.lease < time.Second || l.lease > time.Hour:
		return nil, fmt.Errorf("login: Config.Lease is %v, want 1s to 1h", l.lease)
	case l.wait < 0:
		return nil, fmt.Errorf("login: Config.Wait is negative: %v", l.wait)
	case len(cfg.Secrets) == 0 && !local:
		return nil, errors.New("login: Config.Secrets is required with a ledger that outlives the process (32 random bytes)")
	}
	for i, s := range cfg.Secrets {
		if len(s) < 32 {
			return nil, fmt.Errorf("login: Config.Secrets[%d] has %d bytes; at least 32 random ones expected", i, len(s))
		}
		l.secrets = append(l.secrets, slices.Clone(s))
	}
	if len(l.secrets) == 0 {
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // never fails: crypto/rand aborts the program instead
		l.secrets = [][]byte{secret}
	}
	if l.original == nil {
		l.original = stmigrate.NewEmailPassword(cfg.Core)
	}
	if l.policy == nil {
		l.policy = DefaultPasswordPolicy
	}
	if l.now == nil {
		l.now = time.Now
	} else if local {
		memory.UseClock(l.now)
	}
	guard := stmigrate.LegacyGuardConfig{
		Store: cfg.Legacy, Tenants: cfg.Tenants, SkipLegacyDirectory: cfg.SkipLegacyDirectory, FailureFloor: cfg.FailureFloor,
		Timeout: cfg.Timeout, Tries: cfg.Tries, TriesPer: cfg.TriesPer, Logger: cfg.Logger, Now: cfg.Now,
	}
	if cfg.Observe != nil {
		guard.Observe = func(ctx context.Context, e stmigrate.Event) { cfg.Observe(ctx, Event{Event: e}) }
	}
	var err error
	if l.legacy, err = stmigrate.NewLegacyGuard(guard); err != nil {
		return nil, err
	}
	return l, nil
}

// Format writes the type's name, whatever the verb: fmt would print the secrets.
func (l *Login) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "login.Login") }

// mac derives what nobody can guess from a secret: for each use, and for each list of values, something else.
func mac(secret []byte, use string, values ...string) []byte {
	h := hmac.New(sha256.New, secret)
	for _, v := range append([]string{"stmigrate login v1", use}, values...) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(v)))
		h.Write(n[:])
		h.Write([]byte(v))
	}
	return h.Sum(nil)
}

func newFence() (f stmigrate.Fence) {
	_, _ = rand.Read(f[:]) // never fails: crypto/rand aborts the program instead
	return f
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// unavailable makes an ErrUnavailable of what may pass: all but a definite answer of the core.
func unavailable(err error) error {
	if e := (*core.Error)(nil); errors.As(err, &e) && !e.Temporary() || errors.Is(err, stmigrate.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", stmigrate.ErrUnavailable, err)
}

// tell reports an event about a user.
func (l *Login) tell(ctx context.Context, key Key, name string, err error, e Event) {
	if l.observe == nil {
		return
	}
	e.Time, e.Name, e.TenantID, e.Attempt, e.Err = l.now(), name, key.TenantID, 1, err
	e.SubjectHash = hex.EncodeToString(mac(l.secrets[0], "user", key.TenantID, key.Email)[:8])
	switch {
	case err == nil:
		e.Outcome = "ok"
	case errors.Is(err, stmigrate.ErrConflict):
		e.Outcome = "conflict"
	case errors.Is(err, stmigrate.ErrUnavailable):
		e.Outcome = "unavailable"
	default:
		e.Outcome = "failed"
	}
	l.observe(ctx, e)
}
