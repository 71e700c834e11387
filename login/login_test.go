package login_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/login"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// ownClient's connections are no other test's to close.
var ownClient = &http.Client{Transport: new(http.Transport)}

const (
	adaEmail    = "ada@example.com"
	adaPassword = "correct horse 1"
	adaID       = "auth0|ada"
	// bcryptHash is of adaPassword, at cost 4.
	bcryptHash = "$2y$04$KjDN/r5m5ysf1uUhJqLKm.QdnqBgHzzmcf1gY9v7JPKePruBKmu8a"
)

func ada() *stmigrate.LegacyUser {
	return &stmigrate.LegacyUser{
		ID: adaID, Email: "Ada@Example.com", TenantID: "public", EmailVerified: true, CreatedAt: time.Unix(1e9, 0),
		Roles: []string{"admin", "editor"}, Metadata: map[string]any{"plan": "gold", "logins": 7},
	}
}

// legacyUsers is a legacy system: users by tenant and e-mail, and what went wrong with it.
type legacyUsers struct {
	mu        sync.Mutex
	users     map[string]*stmigrate.LegacyUser
	passwords map[string]string
	err       error
	asked     int // how often a password was checked
	gone      int // users that are in SuperTokens
}

func newLegacy(users ...*stmigrate.LegacyUser) *legacyUsers {
	l := &legacyUsers{users: map[string]*stmigrate.LegacyUser{}, passwords: map[string]string{}}
	for _, u := range users {
		l.add(u, adaPassword)
	}
	return l
}

func (l *legacyUsers) add(u *stmigrate.LegacyUser, password string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := u.TenantID + " " + strings.ToLower(u.Email)
	l.users[key], l.passwords[key] = u, password
}

func (l *legacyUsers) Authenticate(_ context.Context, tenantID, email, password string) (*stmigrate.LegacyUser, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked++
	key := tenantID + " " + strings.ToLower(email)
	switch u := l.users[key]; {
	case l.err != nil:
		return nil, l.err
	case strings.HasSuffix(email, "@decoy.invalid"):
		l.asked-- // nobody's password was asked for
		return nil, stmigrate.ErrWrongCredentials
	case u == nil || l.passwords[key] != password:
		return nil, stmigrate.ErrWrongCredentials
	default:
		return u, nil
	}
}

func (l *legacyUsers) UserByEmail(_ context.Context, tenantID, email string) (*stmigrate.LegacyUser, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u := l.users[tenantID+" "+strings.ToLower(email)]; u != nil || l.err != nil {
		return u, l.err
	}
	return nil, stmigrate.ErrUnknownUser
}

func (l *legacyUsers) UserByID(_ context.Context, id string) (*stmigrate.LegacyUser, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range l.users {
		if u.ID == id {
			return u, l.err
		}
	}
	return nil, stmigrate.ErrUnknownUser
}

func (l *legacyUsers) CountUsersNotImported(context.Context) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.users) - l.gone, l.err
}

func (l *legacyUsers) timesAsked() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

func (l *legacyUsers) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
}

// clock advances by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// world is a core, a legacy system and a ledger that outlive the processes between them.
type world struct {
	t      testing.TB
	core   *stmigratetest.Core
	client *core.Client
	legacy *legacyUsers
	clock  *clock
	ledger *login.MemoryLedger
	cfg    login.Config
	mu     sync.Mutex
	events []login.Event
}

func newWorld(t testing.TB, users ...*stmigrate.LegacyUser) *world {
	t.Helper()
	w := &world{t: t, core: stmigratetest.NewCore(t), legacy: newLegacy(users...), clock: &clock{now: time.Now()}}
	w.client = w.core.Client()
	w.ledger = login.NewMemoryLedger(1000)
	w.ledger.UseClock(w.clock.Now)
	w.cfg = login.Config{
		Core: w.client, Legacy: w.legacy, Ledger: w.ledger, Secrets: [][]byte{[]byte("0123456789abcdef0123456789abcdef")},
		FailureFloor: time.Nanosecond, Tries: 100, Timeout: time.Minute,
		Lease: 45 * time.Second, // of which an import may take two thirds, on the real clock
		Observe: func(_ context.Context, e login.Event) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.events = append(w.events, e)
		},
	}
	for _, role := range []string{"admin", "editor"} {
		_, err := w.client.CreateRole(t.Context(), role)
		require.NoError(t, err)
	}
	return w
}

// process starts a process: a Login of its own on what outlives it.
func (w *world) process(change ...func(*login.Config)) *login.Login {
	w.t.Helper()
	cfg := w.cfg
	for _, f := range change {
		f(&cfg)
	}
	l, err := login.New(cfg)
	require.NoError(w.t, err)
	return l
}

func (w *world) event(name string) login.Event {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	var found []login.Event
	for _, e := range w.events {
		if e.Name == name {
			found = append(found, e)
		}
	}
	require.Len(w.t, found, 1, "events named %s", name)
	return found[0]
}

// raw asks the core for what its client does not do.
func (w *world) raw(method, path, body string, into any) {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, w.core.URL+path, strings.NewReader(body))
	require.NoError(w.t, err)
	r.Header.Set("cdi-version", "5.2")
	resp, err := ownClient.Do(r)
	require.NoError(w.t, err)
	defer func() { _ = resp.Body.Close() }()
	require.Equal(w.t, 200, resp.StatusCode)
	if into != nil {
		require.NoError(w.t, json.NewDecoder(resp.Body).Decode(into))
	}
}

func (w *world) entry(email string) login.Entry {
	w.t.Helper()
	e, err := w.ledger.Look(w.t.Context(), login.Key{TenantID: "public", Email: email})
	require.NoError(w.t, err)
	return e
}

// person is all that SuperTokens and the ledger hold of a user, but for what differs from one core to the next.
type person struct {
	ExternalID, Recipe, Email string
	Verified                  bool
	TenantIDs                 []string
	Roles                     []string
	Metadata                  map[string]any
	MappingIsRight            bool
	Step                      login.Step
	Flags                     login.Flags
	LegacyID                  string
}

func (w *world) people() []person {
	w.t.Helper()
	var out []person
	for _, u := range w.core.Users() {
		id := u.ExternalID
		if id == "" {
			id = u.ID
		}
		roles, err := w.client.UserRoles(w.t.Context(), u.TenantIDs[0], id)
		require.NoError(w.t, err)
		metadata, err := w.client.UserMetadata(w.t.Context(), id)
		require.NoError(w.t, err)
		e, err := w.ledger.Look(w.t.Context(), login.Key{TenantID: u.TenantIDs[0], Email: u.Email})
		require.NoError(w.t, err)
		mapping, err := w.client.UserIDMapping(w.t.Context(), id, core.ExternalID)
		out = append(out, person{
			ExternalID: u.ExternalID, Recipe: u.Recipe, Email: u.Email, Verified: u.Verified, TenantIDs: u.TenantIDs, Roles: roles,
			Metadata: metadata, MappingIsRight: err == nil && mapping.SuperTokensID == u.ID && e.UserID == u.ID,
			Step: e.Step, Flags: e.Flags, LegacyID: e.LegacyID,
		})
	}
	return out
}

func TestImport(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.1", "5.2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ada())
			w.core = stmigratetest.NewCore(t, stmigratetest.CoreConfig{Versions: []string{"3.0", version}})
			w.client = w.core.Client()
			w.cfg.Core = w.client
			for _, role := range []string{"admin", "editor"} {
				_, err := w.client.CreateRole(t.Context(), role)
				require.NoError(t, err)
			}
			l := w.process()
			user, err := l.SignIn(t.Context(), "", " ADA@example.com", adaPassword)
			require.NoError(t, err)
			assert.Equal(t, adaID, user.ID)
			assert.Equal(t, adaEmail, user.Email)
			assert.False(t, user.Legacy)
			people := w.people()
			require.Len(t, people, 1)
			assert.Equal(t, "7", fmt.Sprint(people[0].Metadata["logins"]))
			people[0].Metadata["logins"] = 7
			assert.Equal(t, person{
				ExternalID: adaID, Recipe: "emailpassword", Email: adaEmail, Verified: true, TenantIDs: []string{"public"},
				Roles: []string{"admin", "editor"}, Metadata: map[string]any{"plan": "gold", "logins": 7},
				MappingIsRight: true, Step: login.StepComplete, LegacyID: adaID,
			}, people[0])
			// Nothing that anybody could meet stood there before it was whole: the address comes last.
			changes := w.core.Requests("POST /recipe/signup", "POST /recipe/userid/map", "POST /recipe/user/email/verify",
				"PUT /recipe/user/metadata", "PUT /recipe/user/role", "PUT /recipe/user")
			var order []string
			for _, r := range changes {
				order = append(order, r.Route)
			}
			assert.Equal(t, []string{"POST /recipe/signup", "POST /recipe/userid/map", "POST /recipe/user/email/verify",
				"PUT /recipe/user/metadata", "PUT /recipe/user/role", "PUT /recipe/user/role", "PUT /recipe/user"}, order)
			assert.NotContains(t, string(changes[0].Body), adaEmail)
			e := w.event(login.EventImport)
			assert.Equal(t, "ok", e.Outcome)
			assert.Len(t, e.SubjectHash, 16)

			asked := w.legacy.timesAsked()
			again, err := w.process().SignIn(t.Context(), "public", adaEmail, adaPassword)
			require.NoError(t, err)
			assert.Equal(t, user, again)
			assert.Equal(t, asked, w.legacy.timesAsked(), "legacy is not asked about an imported user")
			assert.Equal(t, len(changes), len(w.core.Requests("POST /recipe/signup", "POST /recipe/userid/map",
				"POST /recipe/user/email/verify", "PUT /recipe/user/metadata", "PUT /recipe/user/role", "PUT /recipe/user")))
		})
	}
}

// doomed is a process that dies at its nth call: to the core or to the ledger, before the call had its effect or after.
type doomed struct {
	login.Ledger
	mu        sync.Mutex
	left      int
	after     bool
	dead      bool
	transport http.RoundTripper
}

var errDead = errors.New("the process is dead")

// call makes one call, unless the process is dead, and lets it die.
func (d *doomed) call(do func()) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return errDead
	}
	d.left--
	d.dead = d.left < 0
	if !d.dead || d.after {
		do()
	}
	if d.dead {
		return errDead
	}
	return nil
}

func (d *doomed) RoundTrip(r *http.Request) (resp *http.Response, err error) {
	if strings.HasSuffix(r.URL.Path, "/apiversion") {
		return d.transport.RoundTrip(r)
	}
	if dead := d.call(func() { resp, err = d.transport.RoundTrip(r) }); dead != nil {
		if resp != nil {
			_ = resp.Body.Close()
		}
		return nil, dead
	}
	return resp, err
}

func (d *doomed) Look(ctx context.Context, key login.Key) (e login.Entry, err error) {
	if dead := d.call(func() { e, err = d.Ledger.Look(ctx, key) }); dead != nil {
		return login.Entry{}, dead
	}
	return e, err
}

func (d *doomed) Claim(ctx context.Context, c login.Claim) (e login.Entry, err error) {
	if dead := d.call(func() { e, err = d.Ledger.Claim(ctx, c) }); dead != nil {
		return login.Entry{}, dead
	}
	return e, err
}

func (d *doomed) Record(ctx context.Context, key login.Key, fence stmigrate.Fence, p login.Progress) (err error) {
	if dead := d.call(func() { err = d.Ledger.Record(ctx, key, fence, p) }); dead != nil {
		return dead
	}
	return err
}

func (d *doomed) Release(ctx context.Context, key login.Key, fence stmigrate.Fence, erase bool) (err error) {
	if dead := d.call(func() { err = d.Ledger.Release(ctx, key, fence, erase) }); dead != nil {
		return dead
	}
	return err
}

func (d *doomed) Unmark(ctx context.Context, key login.Key) (err error) {
	if dead := d.call(func() { err = d.Ledger.Unmark(ctx, key) }); dead != nil {
		return dead
	}
	return err
}

func (d *doomed) Forget(ctx context.Context, key login.Key) (err error) {
	if dead := d.call(func() { err = d.Ledger.Forget(ctx, key) }); dead != nil {
		return dead
	}
	return err
}

// doom makes cfg that of a process that dies at its nth call, and returns it.
func (w *world) doom(n int, after bool) (*doomed, func(*login.Config)) {
	d := &doomed{Ledger: w.ledger, left: n, after: after, transport: ownClient.Transport}
	client, err := core.New(core.Config{ConnectionURI: w.core.URL, Timeout: time.Minute, HTTPClient: &http.Client{Transport: d}})
	require.NoError(w.t, err)
	return d, func(cfg *login.Config) { cfg.Core, cfg.Ledger = client, d }
}

// TestACrashAtAnyCallHeals kills the process at each of its calls to the core and to the ledger in turn, before and after the
// call had its effect, and signs in again with another: that must end where a sign-in without faults does.
func TestACrashAtAnyCallHeals(t *testing.T) {
	t.Parallel()
	bcrypt := ada()
	bcrypt.PasswordHash = bcryptHash
	stories := map[string]struct {
		user *stmigrate.LegacyUser
		dies func(ctx context.Context, l *login.Login) error
	}{
		"sign-in": {ada(), func(ctx context.Context, l *login.Login) error {
			_, err := l.SignIn(ctx, "public", adaEmail, adaPassword)
			return err
		}},
		"sign-in with a hash": {bcrypt, func(ctx context.Context, l *login.Login) error {
			_, err := l.SignIn(ctx, "public", adaEmail, adaPassword)
			return err
		}},
		"reset": {ada(), func(ctx context.Context, l *login.Login) error {
			_, err := l.CreatePasswordResetToken(ctx, "public", adaID, adaEmail)
			return err
		}},
		"reset and sign-in": {ada(), func(ctx context.Context, l *login.Login) error {
			if _, err := l.CreatePasswordResetToken(ctx, "public", adaID, adaEmail); err != nil {
				return err
			}
			_, err := l.SignIn(ctx, "public", adaEmail, adaPassword)
			return err
		}},
	}
	for name, story := range stories {
		for _, after := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, after the effect %v", name, after), func(t *testing.T) {
				t.Parallel()
				whole := newWorld(t, story.user)
				require.NoError(t, story.dies(t.Context(), whole.process()))
				_, err := whole.process().SignIn(t.Context(), "public", adaEmail, adaPassword)
				require.NoError(t, err)
				want := whole.people()
				require.Len(t, want, 1)

				kills := 0
				for n := 0; ; n++ {
					w := newWorld(t, story.user)
					d, doom := w.doom(n, after)
					err := story.dies(t.Context(), w.process(doom))
					if !d.dead {
						require.NoError(t, err)
						break
					}
					kills++
					w.clock.Advance(time.Minute) // the lease of the dead
					user, err := w.process().SignIn(t.Context(), "public", adaEmail, adaPassword)
					require.NoError(t, err, "killed at call %d", n)
					require.Equal(t, adaID, user.ID, "killed at call %d", n)
					require.Equal(t, want, w.people(), "killed at call %d", n)
					_, err = w.client.SignIn(t.Context(), "public", adaEmail, adaPassword)
					require.NoError(t, err, "killed at call %d: the core has the password", n)
				}
				assert.Greater(t, kills, 10)
			})
		}
	}
}

// TestAFaultThatPassesHeals lets every call to the core fail once, by a dropped connection, in a process that lives on.
func TestAFaultThatPassesHeals(t *testing.T) {
	t.Parallel()
	for _, route := range []string{
		"GET /users/by-accountinfo", "GET /user/id", "POST /recipe/signup", "POST /recipe/userid/map", "POST /recipe/user/email/verify/token",
		"POST /recipe/user/email/verify", "PUT /recipe/user/metadata", "PUT /recipe/user/role", "PUT /recipe/user",
	} {
		for _, fault := range []string{"before", "after"} {
			t.Run(route+" "+fault, func(t *testing.T) {
				t.Parallel()
				w := newWorld(t, ada())
				l := w.process()
				if fault == "after" {
					w.core.AfterCommit(route)
				} else {
					w.core.Down(route)
				}
				_, err := l.SignIn(t.Context(), "public", adaEmail, adaPassword)
				require.ErrorIs(t, err, stmigrate.ErrUnavailable)
				w.core.Heal()
				w.clock.Advance(time.Minute)
				_, err = l.SignIn(t.Context(), "public", adaEmail, adaPassword)
				require.NoError(t, err)
				people := w.people()
				require.Len(t, people, 1)
				assert.Equal(t, login.StepComplete, people[0].Step)
				assert.True(t, people[0].MappingIsRight && people[0].Verified)
				assert.Equal(t, []string{"admin", "editor"}, people[0].Roles)
			})
		}
	}
}
