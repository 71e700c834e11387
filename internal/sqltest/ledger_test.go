package sqltest

import (
	"bufio"
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/sqltest/pg"
	"github.com/stmigrate/stmigrate/login"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// ownClient's connections are no other test's to close.
var ownClient = &http.Client{Transport: new(http.Transport)}

func newLedger(tb testing.TB, db *sql.DB, d login.Dialect, prefix string) *login.SQLLedger {
	tb.Helper()
	l, err := login.NewSQLLedger(login.SQLConfig{DB: db, Dialect: d, TablePrefix: prefix})
	require.NoError(tb, err)
	return l
}

func TestLedger(t *testing.T) {
	forEach(t, func(t *testing.T, d login.Dialect) {
		t.Parallel()
		db, _ := database(t, d)
		n := 0
		stmigratetest.TestLedger(t, func(t *testing.T) stmigratetest.LedgerUnderTest {
			n++
			l := newLedger(t, db, d, fmt.Sprintf("t%d_", n))
			require.NoError(t, l.Migrate(t.Context()))
			return stmigratetest.LedgerUnderTest{Ledger: l}
		})
	})
}

func TestLedgerSchema(t *testing.T) {
	forEach(t, func(t *testing.T, d login.Dialect) {
		t.Parallel()
		ctx := t.Context()
		db, _ := database(t, d)
		key := login.Key{TenantID: "public", Email: "ada@example.com"}
		l := newLedger(t, db, d, "")
		_, err := l.Look(ctx, key)
		require.ErrorIs(t, err, stmigrate.ErrUnavailable, "there are no tables")
		require.NoError(t, l.Migrate(ctx))
		require.NoError(t, l.Check(ctx))

		for _, wrong := range []struct {
			version int
			advice  string
		}{{0, "run Migrate"}, {2, "deploy the release that made it"}} {
			_, err = db.ExecContext(ctx, fmt.Sprint("UPDATE stmigrate_login_schema SET version = ", wrong.version))
			require.NoError(t, err)
			other := newLedger(t, db, d, "")
			_, err = other.Claim(ctx, login.Claim{Key: key, LegacyID: "legacy|1", Lease: time.Second})
			require.ErrorIs(t, err, stmigrate.ErrUnavailable)
			require.ErrorIs(t, err, login.ErrSchema)
			require.ErrorContains(t, err, wrong.advice)
		}
		require.ErrorIs(t, newLedger(t, db, d, "").Migrate(ctx), login.ErrSchema)
		_, err = db.ExecContext(ctx, "UPDATE stmigrate_login_schema SET version = 1")
		require.NoError(t, err)

		// A row that no ledger wrote is never believed, and what fails is told without what was in it.
		_, err = l.Claim(ctx, login.Claim{Key: key, LegacyID: "legacy|1", Fence: stmigrate.Fence{1}, Lease: time.Second})
		require.NoError(t, err)
		for _, spoil := range []string{"step = 99", "step = -1", "step = 3", "lease_end = NULL"} {
			if _, err := db.ExecContext(ctx, "UPDATE stmigrate_login SET "+spoil); err != nil {
				continue // the database itself refuses
			}
			_, err = l.Look(ctx, key)
			require.ErrorIs(t, err, stmigrate.ErrUnavailable, spoil)
			assert.NotContains(t, err.Error(), "ada@")
		}
		_, err = l.Look(ctx, login.Key{TenantID: "public", Email: "ada\x00@example.com"})
		if err != nil {
			require.ErrorIs(t, err, stmigrate.ErrUnavailable)
			assert.NotContains(t, err.Error(), "ada")
		}
		require.NoError(t, db.Close())
		_, err = l.Look(ctx, key)
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	})
}

// TestLedgerEndsInTime: a call ends with its context while somebody else holds what it needs, in SQLite too. One that does not
// hangs.
func TestLedgerEndsInTime(t *testing.T) {
	forEach(t, func(t *testing.T, d login.Dialect) {
		t.Parallel()
		db, _ := database(t, d)
		l := newLedger(t, db, d, "")
		require.NoError(t, l.Migrate(t.Context()))
		tx, err := db.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		c := login.Claim{Key: login.Key{TenantID: "public", Email: "ada@example.com"}, LegacyID: "legacy|1", Lease: time.Minute}
		_, err = tx.Exec("INSERT INTO stmigrate_login VALUES ('public', 'ada@example.com', '', '', 1, 0, '', '', 0, 0, 0)")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err = l.Claim(ctx, c)
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, l.Forget(ctx, c.Key), context.DeadlineExceeded)
		require.NoError(t, tx.Rollback())
		_, err = l.Claim(t.Context(), c)
		require.NoError(t, err)
	})
}

// TestLedgerServerKilled: what was recorded survives the server, and a server that is not there is ErrUnavailable in time.
func TestLedgerServerKilled(t *testing.T) {
	t.Parallel()
	server := pg.NewServer(t)
	db := openDB(t, "pgx", server.DSN())
	db.SetMaxIdleConns(0) // what serves an idle connection may outlive the server by a moment
	l := newLedger(t, db, login.Postgres, "")
	require.NoError(t, l.Migrate(t.Context()))
	c := login.Claim{
		Key: login.Key{TenantID: "public", Email: "ada@example.com"}, LegacyID: "legacy|1", Fence: stmigrate.Fence{1}, Lease: time.Hour,
	}
	begun := time.Now()
	_, err := l.Claim(t.Context(), c)
	require.NoError(t, err)
	require.NoError(t, l.Record(t.Context(), c.Key, c.Fence, login.Progress{Step: login.StepMapped, UserID: "st-1"}))
	server.Kill()
	ctx, cancel := context.WithTimeout(t.Context(), forever)
	defer cancel()
	_, err = l.Look(ctx, c.Key)
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	require.NoError(t, ctx.Err(), "in time")
	server.Restart(t)
	e, err := l.Look(t.Context(), c.Key)
	require.NoError(t, err)
	assert.Equal(t, login.StepMapped, e.Step)
	assertLeft(t, c.Lease, e.Wait, begun) // the lease outlives the server
}

const (
	nodeEmail    = "ada@example.com"
	nodePassword = "correct horse 1"
	nodeID       = "legacy|ada"
)

// nodeConfig is the login of one process. It has all the time in the world: leases end where endLease says so.
func nodeConfig(tb testing.TB, dsn string, client *core.Client) login.Config {
	tb.Helper()
	users := &stmigratetest.FakeLegacyUsers{}
	users.Add(stmigrate.LegacyUser{
		ID: nodeID, Email: nodeEmail, EmailVerified: true, Roles: []string{"admin", "editor"}, Metadata: map[string]any{"plan": "gold"},
	}, nodePassword)
	return login.Config{
		Core: client, Legacy: users, Ledger: newLedger(tb, openDB(tb, "pgx", dsn), login.Postgres, ""),
		Secrets: [][]byte{[]byte(strings.Repeat("s", 32))}, Tries: 1000, FailureFloor: time.Millisecond, Lease: time.Hour,
		Wait: 10 * time.Minute, Timeout: time.Minute,
	}
}

// endLease makes the lease that runs, if one does, end so soon.
func endLease(t *testing.T, dsn string, in time.Duration) {
	t.Helper()
	_, err := openDB(t, "pgx", dsn).ExecContext(t.Context(), `UPDATE stmigrate_login
		SET lease_end = CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint) + $1 WHERE lease_end > 0`, in.Milliseconds())
	require.NoError(t, err)
}

// killer is a transport that kills the process at its nth request.
type killer struct {
	mu    sync.Mutex
	left  int
	after bool
}

func (k *killer) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/apiversion") {
		return ownClient.Transport.RoundTrip(r)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.left--
	if k.left < 0 && !k.after {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	resp, err := ownClient.Transport.RoundTrip(r)
	if k.left < 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	return resp, err
}

// TestLedgerNode is a process of the tests below, and nothing by itself.
func TestLedgerNode(t *testing.T) {
	args := strings.Split(os.Getenv("STMIGRATE_LEDGER_NODE"), " ")
	if len(args) != 5 {
		t.Skip("started by other tests")
	}
	dsn, uri := args[0], args[1]
	signIns, err := strconv.Atoi(args[2])
	require.NoError(t, err)
	killAt, err := strconv.Atoi(args[3])
	require.NoError(t, err)
	client, err := core.New(core.Config{
		ConnectionURI: uri, HTTPClient: &http.Client{Transport: &killer{left: killAt, after: args[4] == "true"}}, Timeout: time.Minute,
	})
	require.NoError(t, err)
	users, err := login.New(nodeConfig(t, dsn, client))
	require.NoError(t, err)
	fmt.Println("node: ready")
	_, _ = os.Stdin.Read(make([]byte, 1)) // until all are
	var wg sync.WaitGroup
	for range signIns {
		wg.Go(func() {
			user, err := users.SignIn(t.Context(), "", nodeEmail, nodePassword)
			if err != nil {
				fmt.Println("node: failed:", err)
				return
			}
			fmt.Println("node: signed in:", user.ID)
		})
	}
	wg.Wait()
}

// startNode starts a process and returns how to let it go on, and how to wait for what it said.
func startNode(t *testing.T, dsn, uri string, signIns, killAt int, after bool) (letGo func(), said func() []string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestLedgerNode$", "-test.v")
	cmd.Env = append(os.Environ(), fmt.Sprintf("STMIGRATE_LEDGER_NODE=%s %s %d %d %v", dsn, uri, signIns, killAt, after))
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	lines := bufio.NewScanner(stdout)
	for lines.Scan() && lines.Text() != "node: ready" {
	}
	return func() { _, _ = stdin.Write([]byte{'\n'}) }, func() (out []string) {
		for lines.Scan() {
			if line, ok := strings.CutPrefix(lines.Text(), "node: "); ok {
				out = append(out, line)
			}
		}
		_ = cmd.Wait()
		return out
	}
}

// nodeWorld is what the processes share.
func nodeWorld(t *testing.T) (memory *stmigratetest.Core, dsn string) {
	t.Helper()
	memory = stmigratetest.NewCore(t)
	for _, role := range []string{"admin", "editor"} {
		_, err := memory.Client().CreateRole(t.Context(), role)
		require.NoError(t, err)
	}
	dsn = pg.Start(t)
	require.NoError(t, newLedger(t, openDB(t, "pgx", dsn), login.Postgres, "").Migrate(t.Context()))
	return memory, dsn
}

func TestFirstSignInsOnTwoProcesses(t *testing.T) {
	t.Parallel()
	memory, dsn := nodeWorld(t)
	var letGo []func()
	var said []func() []string
	for range 2 {
		g, s := startNode(t, dsn, memory.URL, 20, 1000, false)
		letGo, said = append(letGo, g), append(said, s)
	}
	for _, g := range letGo {
		g()
	}
	var all []string
	for _, s := range said {
		all = append(all, s()...)
	}
	assert.Equal(t, slices.Repeat([]string{"signed in: " + nodeID}, 40), all)
	users := memory.Users()
	require.Len(t, users, 1, "one user")
	assert.Equal(t, nodeID, users[0].ExternalID)
	assert.Equal(t, nodeEmail, users[0].Email)
	assert.Len(t, memory.Requests("POST /recipe/signup"), 1)
	assert.Len(t, memory.Requests("POST /recipe/userid/map"), 1, "one mapping")
	e, err := newLedger(t, openDB(t, "pgx", dsn), login.Postgres, "").Look(t.Context(), login.Key{TenantID: "public", Email: nodeEmail})
	require.NoError(t, err)
	assert.Equal(t, users[0].ID, e.UserID, "the IDs are equal")
	assert.Equal(t, nodeID, e.LegacyID)
	assert.True(t, e.Complete())
}

// outcome is all that is known of the user afterwards, but for what differs from one core to the next.
type outcome struct {
	Users      int
	ExternalID string
	Email      string
	Verified   bool
	Roles      []string
	Metadata   map[string]any
	Same       bool
	Step       login.Step
	Flags      login.Flags
}

func nodeOutcome(t *testing.T, memory *stmigratetest.Core, dsn string) outcome {
	t.Helper()
	users := memory.Users()
	require.NotEmpty(t, users)
	roles, err := memory.Client().UserRoles(t.Context(), "", nodeID)
	require.NoError(t, err)
	metadata, err := memory.Client().UserMetadata(t.Context(), nodeID)
	require.NoError(t, err)
	e, err := newLedger(t, openDB(t, "pgx", dsn), login.Postgres, "").Look(t.Context(), login.Key{TenantID: "public", Email: nodeEmail})
	require.NoError(t, err)
	return outcome{
		Users: len(users), ExternalID: users[0].ExternalID, Email: users[0].Email, Verified: users[0].Verified, Roles: roles,
		Metadata: metadata, Same: users[0].ID == e.UserID, Step: e.Step, Flags: e.Flags,
	}
}

// TestAKilledProcessHeals kills a process, for real, at each of its calls to the core in turn. The next sign-in, in another
// process, waits for the lease of the dead to end and must arrive at what a process that lives does.
func TestAKilledProcessHeals(t *testing.T) {
	t.Parallel()
	signIn := func(t *testing.T, memory *stmigratetest.Core, dsn string) {
		t.Helper()
		users, err := login.New(nodeConfig(t, dsn, memory.Client()))
		require.NoError(t, err)
		user, err := users.SignIn(t.Context(), "", nodeEmail, nodePassword)
		require.NoError(t, err)
		require.Equal(t, nodeID, user.ID)
	}
	memory, dsn := nodeWorld(t)
	memory.ForgetRequests()
	signIn(t, memory, dsn)
	calls := len(memory.Requests()) - len(memory.Requests("GET /apiversion"))
	want := nodeOutcome(t, memory, dsn)
	require.Greater(t, calls, 10)
	for _, after := range []bool{false, true} {
		for n := range calls {
			t.Run(fmt.Sprintf("call %d, after its effect %v", n, after), func(t *testing.T) {
				t.Parallel()
				memory, dsn := nodeWorld(t)
				letGo, said := startNode(t, dsn, memory.URL, 1, n, after)
				letGo()
				require.Empty(t, said(), "it was killed")
				endLease(t, dsn, time.Second)
				signIn(t, memory, dsn)
				got := nodeOutcome(t, memory, dsn)
				if got.Step == login.StepReady { // all was done but for the note, which a sign-in after the lease makes
					endLease(t, dsn, 0)
					signIn(t, memory, dsn)
					got = nodeOutcome(t, memory, dsn)
				}
				assert.Equal(t, want, got)
			})
		}
	}
}
