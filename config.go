package stmigrate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/isnil"
)

// Config says how legacy sessions are exchanged. Verifier, Sessions, Users, Exchanges and Revoker are required: nothing
// that guards may be nil.
type Config struct {
	// Verifier tells to whom a legacy token belongs. Required. It may be, or hold in a [FirstOf], a [Redeemer].
	Verifier OldSessionVerifier
	// Sessions mints the SuperTokens session. Required; a [Sessions] in most programs. With an Exchanges store that other
	// processes share it must be a [SessionFinder], too.
	Sessions SessionMinter
	// Users finds the SuperTokens user of a legacy session. Required; [SubjectIsUserID] or [MappedUsers] in most programs.
	Users UserResolver
	// Exchanges remembers what was exchanged. Required; [NewMemoryExchanges] where there is one process.
	Exchanges ExchangeStore
	// Revoker ends the legacy session after the exchange. Required; [LeaveToExpire] states that it stays.
	Revoker Revoker
	// Secrets seal the answers that are kept for Grace and name tokens in the store: at least 32 random bytes each, the same on
	// all nodes. The first seals, all of them open. To rotate, add the new one as the second on all nodes, and make it the
	// first in a deploy after that. Required unless Exchanges is a [MemoryExchanges], for which New draws one.
	Secrets [][]byte
	// Origins are the origins of the websites whose pages may send a legacy token in a body or cookie
	// ("https://app.example.com"). Required with [FromJSON] and [FromCookie].
	Origins []string
	// Extract says where a legacy token may stand. Default: [FromBearer], and [FromJSON] of "access_token" where Origins stand.
	Extract []Extractor
	// RevokePolicy says what a failing Revoker means. Default: [RevokeBestEffort].
	RevokePolicy RevokePolicy
	// RevokeAfter leaves the legacy session alive for that long after its exchange, so that a rollout can be rolled back
	// ([Migrator.Rollback]): users go on with it then. Where pages keep their token in memory, Grace is the least: one that is
	// reloaded after a lost answer gets no token to ask again with once the session is revoked. Until then, a stolen legacy token
	// is good at whatever accepts it but this Migrator. It needs [RevokeBestEffort], a store that is a [RevocationOutbox], and a
	// worker in some process ([Migrator.StartRevocations]). Default 0: the legacy session is revoked at once.
	RevokeAfter time.Duration
	// NotBefore, if set, refuses sessions that began before the time it returns: of a password reset or a ban, say. The zero
	// time refuses none. It is asked before the exchange and again before it is finished; and, without Claims, before an answer
	// is given again for a token that the Verifier refuses by now.
	NotBefore func(ctx context.Context, s *OldSession) (time.Time, error)
	// Mode is [Exchange] or [Shadow]. Default: Exchange.
	Mode Mode
	// Admit chooses who is migrated already; the others are answered 204 and keep their legacy session. It contradicts a
	// [Redeemer]. Default: everybody.
	Admit func(*OldSession) bool
	// RequireIdempotencyKey refuses requests without an Idempotency-Key header. Default: it is optional.
	RequireIdempotencyKey bool
	// Epoch names this rollout, in at most 64 bytes, the same on all nodes, so that it can be taken back as a whole: see
	// [Migrator.Rollback]. It needs a store that is an [EpochStore]. What was exchanged can be taken back for as long as it is
	// remembered (Until), and for 30 days at least. Default: none, and no way back.
	Epoch string
	// Lease is how long one exchange may take before another request may take it over; the deadlines of its steps follow
	// from it. Default 30 s, at most 1 h.
	Lease time.Duration
	// Grace is how long after an exchange its answer can be had again, by a token of the same legacy session, and only while
	// its session was neither refreshed nor signed out. It ends with the access token at the latest. It should be longer than
	// Lease, for then a client that was told to come back finds its answer. Default 2 min.
	Grace time.Duration
	// Until is the end of the migration: no legacy session is exchanged after it, and what was exchanged is remembered for that
	// long. Required where legacy sessions carry no expiry. Default: no end; a session that tokens share (SessionID) is
	// remembered for a year then, or until it expires if that is later, and a token of its own until it expires. What is owed to a
	// Revoker, or has an Epoch, is remembered for 30 days at least, whatever Until says.
	Until time.Time
	// OnError answers a failed exchange. Default: [RenderError].
	OnError func(http.ResponseWriter, *http.Request, error)
	// Observe is told of every exchange and every attempt to revoke, on the goroutine of the request or the worker. Default: nobody.
	Observe func(context.Context, Event)
	// Logger gets what fails and why. Default: nothing is logged.
	Logger *slog.Logger
	// Now replaces time.Now, in tests.
	Now func() time.Time
}

// Mode is what becomes of a legacy session that is good.
type Mode int

const (
	// Exchange migrates it.
	Exchange Mode = iota
	// Shadow verifies it, resolves its user and observes, and mints nothing: 204. A rehearsal with real traffic.
	Shadow
)

// RevokePolicy is what a failing Revoker means.
type RevokePolicy int

const (
	// RevokeBestEffort revokes the legacy session after the exchange is finished; a failure is observed and the user goes on.
	// With a store that is a [RevocationOutbox] the revocation is recorded with the exchange, sealed, and tried until it succeeds
	// or is given up: see [Migrator.StartRevocations]. Without one the attempt is this process's, once, and lost if it dies before.
	RevokeBestEffort RevokePolicy = iota
	// RevokeRequired revokes it before the exchange is finished; a failure undoes the exchange ([ErrRevokeFailed]). Where the
	// store is a [ClaimNoter] a process that dies in between leaves nobody without a session: after a revocation whose exchange
	// did not end, that very token can be exchanged for up to a day, though the Verifier refuses it by now.
	RevokeRequired
)

// User is for whom a session is minted.
type User struct {
	// ID is the user's ID in SuperTokens: the external one where the user is mapped to one, else its own.
	ID string
	// TenantID is the SuperTokens tenant; "" is public.
	TenantID string
	// AccessTokenPayload goes into the access token, where the frontend and every API can read it.
	AccessTokenPayload map[string]any
	// SessionData stays in the core's database. The member [SessionMarker] is the Migrator's.
	SessionData map[string]any
}

// UserResolver finds the SuperTokens user of a verified legacy session. It answers [ErrUnknownUser] where there is none and
// [ErrUnavailable] where it cannot tell. It must not go by e-mail unless the legacy provider verified it and nobody else
// can hold the same one: whoever can register an address at the legacy system would get the account.
type UserResolver interface {
	ResolveUser(ctx context.Context, s *OldSession) (*User, error)
}

// UserResolverFunc is a [UserResolver] in one function.
type UserResolverFunc func(ctx context.Context, s *OldSession) (*User, error)

// ResolveUser calls f.
func (f UserResolverFunc) ResolveUser(ctx context.Context, s *OldSession) (*User, error) {
	return f(ctx, s)
}

// SubjectIsUserID resolves a session to the user whose ID is its subject, in its tenant. It asks nobody, so a user that
// SuperTokens does not know gets a session all the same. With more than one issuer, two people may have the same subject:
// [New] refuses it with verifiers of several issuers, where it can tell.
var SubjectIsUserID subjectIsUserID

type subjectIsUserID struct{}

func (subjectIsUserID) ResolveUser(_ context.Context, s *OldSession) (*User, error) {
	return &User{ID: s.Subject, TenantID: s.TenantID}, nil
}

// MappedUsers resolves a session to the user that was imported with its subject as external user ID (the core's user ID
// mapping). A subject without a mapping is [ErrUnknownUser]. Like [SubjectIsUserID] it is for the subjects of one issuer.
func MappedUsers(c *core.Client) UserResolver { return mappedUsers{c} }

type mappedUsers struct{ core *core.Client }

func (m mappedUsers) ResolveUser(ctx context.Context, s *OldSession) (*User, error) {
	mapping, err := m.core.UserIDMapping(ctx, s.Subject, core.ExternalID)
	switch {
	case errors.Is(err, core.ErrUnknownMapping):
		return nil, fmt.Errorf("%w: the subject is no external user ID of this core; import the user first", ErrUnknownUser)
	case err != nil:
		return nil, coreError(err)
	}
	return &User{ID: mapping.ExternalID, TenantID: s.TenantID}, nil
}

// Revoker ends a legacy session at its provider. A session that is over already is success, not an error. What else it
// ends (other devices, the whole grant) is for its documentation to say. What it is given may have been read back from a store:
// the session's times are whole milliseconds then, and its Claims what JSON makes of them. An error may be a [RevokeError].
// Neither it nor a panic should hold the token; runs of 16 bytes of it are taken out of the text. It must heed ctx.
type Revoker interface {
	Revoke(ctx context.Context, token string, s *OldSession) error
}

// RevokerFunc is a [Revoker] in one function.
type RevokerFunc func(ctx context.Context, token string, s *OldSession) error

// Revoke calls f.
func (f RevokerFunc) Revoke(ctx context.Context, token string, s *OldSession) error {
	return f(ctx, token, s)
}

// LeaveToExpire states that legacy sessions are not revoked: until it expires, a stolen legacy token stays good at whatever
// still accepts it. It cannot be exchanged again all the same.
var LeaveToExpire leaveToExpire

type leaveToExpire struct{}

func (leaveToExpire) Revoke(context.Context, string, *OldSession) error { return nil }

// Event is what [Config.Observe] is told. It holds no token and no subject. What else tells of events, [LegacyGuardConfig].Observe
// and package login, says what its fields are there.
type Event struct {
	Time time.Time
	// Name is "exchange" (one for each call of Migrate) or "revoke" (one for each attempt).
	Name string
	// Outcome of an exchange is one of [OutcomeMigrated] and so on, or the wire's status of its error ("ALREADY_MIGRATED").
	// Outcome of a revocation is "revoked", "failed" (it is tried again, if the store can keep it), or "dead" (it is given up).
	Outcome string
	// Step is where it failed, as in [Error]; "" on success.
	Step string
	// Kind is by what the legacy session was named: "sid", "jti", "jws" or "token"; "refresh" where it did not come to more than a
	// token of a [Redeemer]; "" where it did not come to that.
	Kind string
	// Issuer and TenantID are the legacy session's, "" where it was not verified.
	Issuer, TenantID string
	// SubjectHash stands for issuer and subject: equal for the same person, under this deployment's secret.
	SubjectHash string
	// Attempt counts from 1. That of the request itself, if it makes one, comes before the first of a worker.
	Attempt  int
	Duration time.Duration
	// Err is nil on success. It is for the log, not for the client.
	Err error
}

// Outcomes of an exchange that did not fail.
const (
	// OutcomeMigrated: a session was minted.
	OutcomeMigrated = "migrated"
	// OutcomeReplayed: the answer of an earlier exchange was given again.
	OutcomeReplayed = "replayed"
	// OutcomeCurrent: the client has a live SuperTokens session, which stays. Its access token may have expired where it is the
	// session of this very exchange.
	OutcomeCurrent = "current"
	// OutcomeShadow: Mode is Shadow, nothing was minted.
	OutcomeShadow = "shadow"
	// OutcomeNotAdmitted: Admit said no, nothing was minted.
	OutcomeNotAdmitted = "not_admitted"
	// OutcomeRolledBack: Config.Epoch was rolled back, nothing was minted.
	OutcomeRolledBack = "rolled_back"
)

// Result is what became of a request.
type Result struct {
	// Outcome is one of [OutcomeMigrated] and so on.
	Outcome string
	// UserID, TenantID and Handle are those of the SuperTokens session. Handle is "" where none was minted or found.
	UserID, TenantID, Handle string
	// Legacy is the verified legacy session; nil where it was not verified.
	Legacy *OldSession
}

// Migrator exchanges legacy sessions. It is an [http.Handler] for POST /migrate-session and safe for concurrent use.
type Migrator struct {
	cfg         Config
	extractors  []Extractor // the unguarded ones first
	inHeaders   []Extractor // those of them that leave the body alone
	crossOrigin *http.CrossOriginProtection
	vault       vault
	finder      SessionFinder
	outbox      RevocationOutbox // nil: the store is none
	workers     atomic.Int32     // Revocations of this process
	poked       chan struct{}
	queue       *keyedQueue
	seen        *identityCache // of RequireEither, which some frameworks call anew for every request
	log         *slog.Logger
	budget      budget
}

// New checks cfg and returns a Migrator that keeps its own copy of it. The error names the field that is missing or
// contradicts another.
func New(cfg Config) (*Migrator, error) {
	for _, required := range []struct {
		field   string
		missing bool
		hint    string
	}{
		{"Verifier", noVerifier(cfg.Verifier), "NewJWKSVerifier, say"},
		{"Sessions", isnil.Value(cfg.Sessions), "NewSessions, say"},
		{"Users", isnil.Value(cfg.Users) || cfg.Users == UserResolver(mappedUsers{}), "SubjectIsUserID or MappedUsers, say"},
		{"Exchanges", isnil.Value(cfg.Exchanges), "NewMemoryExchanges for one process, say"},
		{"Revoker", isnil.Value(cfg.Revoker), "LeaveToExpire states that legacy sessions stay"},
	} {
		if required.missing {
			return nil, fmt.Errorf("stmigrate: Config.%s is required (%s)", required.field, required.hint)
		}
	}
	m := &Migrator{
		cfg: cfg, crossOrigin: http.NewCrossOriginProtection(), queue: newKeyedQueue(), log: cfg.Logger, poked: make(chan struct{}, 1),
	}
	m.outbox, _ = cfg.Exchanges.(RevocationOutbox)
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if err := m.configureTimes(); err != nil {
		return nil, err
	}
	m.seen = &identityCache{now: m.cfg.Now, end: m.cfg.Until}
	if err := m.configureSecrets(); err != nil {
		return nil, err
	}
	if err := m.configureExtract(); err != nil {
		return nil, err
	}
	if cfg.Mode != Exchange && cfg.Mode != Shadow {
		return nil, fmt.Errorf("stmigrate: Config.Mode %d is unknown", cfg.Mode)
	}
	switch cfg.RevokePolicy {
	case RevokeBestEffort:
	case RevokeRequired:
		if endsNothing(cfg.Revoker) {
			return nil, errors.New("stmigrate: Config.RevokePolicy is RevokeRequired and Config.Revoker is LeaveToExpire, which revokes nothing")
		}
	default:
		return nil, fmt.Errorf("stmigrate: Config.RevokePolicy %d is unknown", cfg.RevokePolicy)
	}
	switch {
	case cfg.RevokeAfter < 0:
		return nil, fmt.Errorf("stmigrate: Config.RevokeAfter is %v; it must not be negative", cfg.RevokeAfter)
	case cfg.RevokeAfter == 0:
	case cfg.RevokePolicy == RevokeRequired:
		return nil, errors.New("stmigrate: Config.RevokeAfter is set and Config.RevokePolicy is RevokeRequired, " +
			"which revokes before the exchange is finished")
	case !m.revokes():
		return nil, errors.New("stmigrate: Config.RevokeAfter is set and Config.Revoker is LeaveToExpire, which revokes nothing")
	case m.outbox == nil:
		return nil, errors.New("stmigrate: Config.RevokeAfter is set and Config.Exchanges is no RevocationOutbox: " +
			"nobody would remember to revoke")
	}
	if _, ok := cfg.Exchanges.(EpochStore); cfg.Epoch != "" && (!ok || len(cfg.Epoch) > 64) {
		return nil, fmt.Errorf("stmigrate: Config.Epoch is %d bytes; at most 64 expected, and an EpochStore as Config.Exchanges", len(cfg.Epoch))
	}
	if err := checkRedeemers(cfg); err != nil {
		return nil, fmt.Errorf("stmigrate: %w", err)
	}
	_, mapped := cfg.Users.(mappedUsers)
	if issuers := issuersOf(cfg.Verifier); len(issuers) > 1 && (mapped || cfg.Users == UserResolver(SubjectIsUserID)) {
		return nil, fmt.Errorf("stmigrate: Config.Users goes by the subject alone and Config.Verifier knows %d issuers: "+
			"the same subject of two issuers would be one user; resolve by issuer and subject instead", len(issuers))
	}
	return m, nil
}

// Format writes the type's name, whatever the verb: fmt would print the secrets.
func (m *Migrator) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "stmigrate.Migrator") }

// noVerifier tells whether v, or one of those that it tries, is nil.
func noVerifier(v OldSessionVerifier) bool {
	if several, ok := v.(firstOf); ok {
		return len(several) == 0 || slices.ContainsFunc(several, noVerifier)
	}
	return isnil.Value(v)
}

// onlyJWTs tells whether v knows a token by what stands in it, so that what is not its own never was.
func onlyJWTs(v OldSessionVerifier) bool {
	if several, ok := v.(firstOf); ok {
		return !slices.ContainsFunc(several, func(w OldSessionVerifier) bool { return !onlyJWTs(w) })
	}
	_, ok := v.(interface{ onlyJWTs() })
	return ok
}

func (m *Migrator) configureTimes() error {
	cfg := &m.cfg
	if cfg.Lease == 0 {
		cfg.Lease = 30 * time.Second
	}
	if cfg.Grace == 0 {
		cfg.Grace = 2 * time.Minute
	}
	if cfg.Lease < 0 || cfg.Lease > time.Hour || cfg.Grace < 0 {
		return fmt.Errorf("stmigrate: Config.Lease is %v and Config.Grace %v; at most 1h, and neither negative", cfg.Lease, cfg.Grace)
	}
	m.budget = newBudget(cfg.Lease)
	if memory, ok := cfg.Exchanges.(*MemoryExchanges); ok && cfg.Now != nil {
		memory.UseClock(cfg.Now)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return nil
}

func (m *Migrator) configureSecrets() error {
	_, local := m.cfg.Exchanges.(*MemoryExchanges)
	m.finder, _ = m.cfg.Sessions.(SessionFinder)
	if m.finder == nil && !local {
		return errors.New("stmigrate: Config.Exchanges may be shared with other processes, so Config.Sessions must be a " +
			"SessionFinder: without it the sessions that a crash leaves behind cannot be found")
	}
	for i, s := range m.cfg.Secrets {
		if len(s) < 32 {
			return fmt.Errorf("stmigrate: Config.Secrets[%d] has %d bytes; at least 32 random ones expected", i, len(s))
		}
	}
	secrets := m.cfg.Secrets
	if len(secrets) == 0 {
		if !local {
			return errors.New("stmigrate: Config.Secrets is required with a store that outlives the process (32 random bytes)")
		}
		secret := make([]byte, 32)
		_, _ = rand.Read(secret) // never fails: crypto/rand aborts the program instead
		secrets = [][]byte{secret}
	}
	var err error
	if m.vault, err = newVault(secrets); err != nil {
		return fmt.Errorf("stmigrate: Config.Secrets: %w", err)
	}
	m.cfg.Secrets = nil
	return nil
}

func (m *Migrator) configureExtract() error {
	for _, origin := range m.cfg.Origins {
		u, err := parseOrigin(origin)
		if err != nil {
			return fmt.Errorf("stmigrate: Config.Origins: %w", err)
		}
		if err := m.crossOrigin.AddTrustedOrigin(u.Scheme + "://" + u.Host); err != nil {
			return fmt.Errorf("stmigrate: Config.Origins: %w", err)
		}
	}
	m.extractors = append(m.extractors, m.cfg.Extract...)
	if m.cfg.Extract == nil {
		m.extractors = []Extractor{FromBearer()}
		if len(m.cfg.Origins) > 0 {
			m.extractors = append(m.extractors, FromJSON("access_token"))
		}
	}
	if len(m.extractors) == 0 {
		return errors.New("stmigrate: Config.Extract is empty: no legacy session would ever be found; leave it nil for the default")
	}
	bodies := 0
	for i, e := range m.extractors {
		if e.find == nil || e.unnamed {
			return fmt.Errorf("stmigrate: Config.Extract[%d] is empty or names nothing; use FromBearer, FromJSON, FromCookie or FromRequest", i)
		}
		if e.body {
			bodies++
		}
		if bodies > 1 {
			return fmt.Errorf("stmigrate: Config.Extract[%d]: a body can be read once, for one FromJSON", i)
		}
		if e.origins && len(m.cfg.Origins) == 0 {
			return fmt.Errorf("stmigrate: Config.Origins is required where a token may stand in the %s: any website could send it", e.name)
		}
	}
	slices.SortStableFunc(m.extractors, func(a, b Extractor) int {
		switch {
		case a.guarded == b.guarded:
			return 0
		case b.guarded:
			return -1
		}
		return 1
	})
	m.inHeaders = slices.DeleteFunc(slices.Clone(m.extractors), func(e Extractor) bool { return e.body })
	m.cfg.Extract, m.cfg.Origins = nil, nil
	return nil
}

// issuersOf returns the issuers that verifiers stand for, of this package, or with a method Issuer.
func issuersOf(v OldSessionVerifier) map[string]bool {
	out := make(map[string]bool)
	switch v := v.(type) {
	case firstOf:
		for _, w := range v {
			for issuer := range issuersOf(w) {
				out[issuer] = true
			}
		}
	case interface{ issuer() string }:
		out[v.issuer()] = true
	case interface{ Issuer() string }:
		out[v.Issuer()] = true
	}
	return out
}
