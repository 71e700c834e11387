package sqltest

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/sqltest/pg"
	"github.com/stmigrate/stmigrate/stmigratetest"
	"github.com/stmigrate/stmigrate/stores/sqlstore"
)

const century = 100 * 366 * 24 * time.Hour

func claimOf(session string, fence byte) stmigrate.Claim {
	c := stmigrate.Claim{User: "public|" + session, Fence: stmigrate.Fence{fence}, Lease: time.Hour, KeepFor: century}
	copy(c.Key[:], "session "+session)
	copy(c.Shown[:], "token "+session)
	return c
}

func finished() stmigrate.Finished {
	return stmigrate.Finished{
		Handle: "handle", Sealed: []byte("sealed"), SealedFor: time.Minute, KeepFor: century, Revocation: []byte("owed"), RevokeIn: time.Hour,
	}
}

func claim(t *testing.T, s *sqlstore.Store, c stmigrate.Claim) stmigrate.Claimed {
	t.Helper()
	got, err := s.Claim(t.Context(), c)
	require.NoError(t, err)
	return got
}

func TestOfManyNodesOneHolds(t *testing.T) {
	forEach(t, func(t *testing.T, d sqlstore.Dialect) {
		_, db := open(t, d)
		var states [5]atomic.Int32
		round := func(c stmigrate.Claim) {
			var wg sync.WaitGroup
			begin := make(chan struct{})
			for i := range 40 {
				c, s := c, newStore(t, d, db)
				c.Fence = stmigrate.Fence{byte(i), 1}
				wg.Go(func() {
					<-begin
					got, err := s.Claim(t.Context(), c)
					assert.NoError(t, err)
					states[got.State].Add(1)
				})
			}
			close(begin)
			wg.Wait()
		}
		for i := range 5 {
			round(claimOf(fmt.Sprint(i), 0))
		}
		assert.EqualValues(t, 5, states[stmigrate.ClaimHeld].Swap(0))
		assert.EqualValues(t, 5*39, states[stmigrate.ClaimBusy].Swap(0))
		// A lease that is over is taken by one, too.
		lapsed, s := claimOf("lapsed", 99), newStore(t, d, db)
		claim(t, s, lapsed)
		require.NoError(t, s.Release(t.Context(), lapsed.Key, lapsed.Fence, true))
		round(lapsed)
		assert.EqualValues(t, 1, states[stmigrate.ClaimHeld].Swap(0))
		assert.EqualValues(t, 39, states[stmigrate.ClaimBusy].Load())
	})
}

// A finish that runs at the same time as its repetition, as after a connection that broke, is a success for both.
func TestAFinishBesideItsRepetition(t *testing.T) {
	forEach(t, func(t *testing.T, d sqlstore.Dialect) {
		s, _ := open(t, d)
		for i := range 10 {
			c := claimOf(fmt.Sprint(i), 1)
			claim(t, s, c)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() { assert.NoError(t, s.Finish(t.Context(), c.Key, c.Fence, finished())) })
			}
			wg.Wait()
			for range 8 {
				wg.Go(func() { assert.NoError(t, s.SettleRevocation(t.Context(), c.Key, c.Fence, 0, "")) })
			}
			wg.Wait()
		}
	})
}

func TestOpaqueBytesAndLongTimes(t *testing.T) {
	forEach(t, func(t *testing.T, d sqlstore.Dialect) {
		s, _ := open(t, d)
		ctx := t.Context()
		const odd = "\x00\xff'\"; DROP TABLE x; --"
		first, second := claimOf("a", 1), claimOf("a", 2)
		first.User, first.Epoch, second.Epoch = odd+"user", odd+"epoch", odd+"epoch"
		begun := time.Now()
		assert.Equal(t, stmigrate.Claimed{State: stmigrate.ClaimHeld}, claim(t, s, first))
		assertLeft(t, first.Lease, claim(t, s, second).Wait, begun)
		require.NoError(t, s.Note(ctx, first.Key, first.Fence, []byte(odd)))
		require.NoError(t, s.Release(ctx, first.Key, first.Fence, true))
		assert.Equal(t, stmigrate.Claimed{State: stmigrate.ClaimHeld, Suspect: true, User: odd + "user", Note: []byte(odd)}, claim(t, s, second))
		f := finished()
		f.Handle, f.SealedFor = odd, century
		require.NoError(t, s.Finish(ctx, second.Key, second.Fence, f))
		want := stmigrate.Claimed{State: stmigrate.ClaimDone, User: second.User, Handle: odd, Sealed: f.Sealed}
		assert.Equal(t, want, claim(t, s, first))
		got, err := s.Recall(ctx, second.Shown)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		got, err = s.Peek(ctx, second.Key)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		listed, err := s.EpochExchanges(ctx, odd+"epoch", stmigrate.ExchangeKey{}, 10)
		require.NoError(t, err)
		assert.Equal(t, []stmigrate.EpochExchange{{Key: second.Key, Fence: second.Fence, Handle: odd}}, listed)
		require.NoError(t, s.SettleRevocation(ctx, second.Key, second.Fence, 0, odd))
		letters, err := s.DeadRevocations(ctx, stmigrate.ExchangeKey{}, 10)
		require.NoError(t, err)
		assert.Equal(t, []stmigrate.DeadRevocation{{Key: second.Key, Revocation: f.Revocation, Reason: odd}}, letters)
		require.NoError(t, s.CloseEpoch(ctx, odd+"epoch"))
		assert.Equal(t, stmigrate.Claimed{State: stmigrate.ClaimClosed}, claim(t, s, second))
	})
}

// assertLeft is about the time that is left of a whole that began after begun.
func assertLeft(t *testing.T, whole, left time.Duration, begun time.Time) {
	t.Helper()
	assert.InDelta(t, whole, left, float64(time.Since(begun)+time.Second))
}

// Seven calls in a second do not come out even in microseconds.
func TestBudgetsOfOddIntervals(t *testing.T) {
	for _, d := range dialects {
		db, advance := openAhead(t, d)
		s := newStore(t, d, db)
		require.NoError(t, s.Migrate(t.Context()))
		b := stmigrate.RevocationBudget{Calls: 7, Per: time.Hour}
		begun := time.Now()
		take := func(n int) (int, time.Duration) {
			got, wait, err := s.TakeBudget(t.Context(), "provider", n, b)
			require.NoError(t, err)
			return got, wait
		}
		for range 7 {
			got, _ := take(1)
			assert.Equal(t, 1, got)
		}
		got, wait := take(1)
		assert.Zero(t, got)
		assertLeft(t, time.Hour/7, wait, begun)
		advance(wait)
		got, _ = take(7)
		assert.Equal(t, 1, got)
		got, _ = take(0)
		assert.Zero(t, got)
		// A pause that came before the first call is one, too.
		require.NoError(t, s.PauseBudget(t.Context(), "other", time.Hour))
		got, wait, err := s.TakeBudget(t.Context(), "other", 3, b)
		require.NoError(t, err)
		assert.Zero(t, got)
		assertLeft(t, time.Hour+time.Hour/7, wait, begun)
	}
}

func count(t *testing.T, db *sql.DB, where string) (n int) {
	t.Helper()
	require.NoError(t, db.QueryRow("SELECT count(*) FROM stmigrate_exchanges WHERE "+where).Scan(&n))
	return n
}

// An entry past KeepFor is none, though its row is still there: somebody else may have it as a new one at any moment.
func TestWhatIsOverCannotBeFinished(t *testing.T) {
	forEach(t, func(t *testing.T, d sqlstore.Dialect) {
		db, advance := openAhead(t, d)
		s := newStore(t, d, db)
		ctx := t.Context()
		require.NoError(t, s.Migrate(ctx))
		c := claimOf("late", 1)
		claim(t, s, c)
		advance(c.KeepFor + time.Second)
		require.ErrorIs(t, s.Finish(ctx, c.Key, c.Fence, finished()), stmigrate.ErrClaimLost)
		require.ErrorIs(t, s.Note(ctx, c.Key, c.Fence, []byte("note")), stmigrate.ErrClaimLost)
	})
}

func TestWhatIsOverIsErased(t *testing.T) {
	forEach(t, func(t *testing.T, d sqlstore.Dialect) {
		db, advance := openAhead(t, d)
		s := newStore(t, d, db)
		ctx := t.Context()
		require.NoError(t, s.Migrate(ctx))
		finish := func(session string, keep time.Duration) {
			c, f := claimOf(session, 1), finished()
			f.KeepFor = keep
			claim(t, s, c)
			require.NoError(t, s.Finish(ctx, c.Key, c.Fence, f))
		}
		clean := func(limit, want int) {
			t.Helper()
			got, err := s.Clean(ctx, limit)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		}
		for i := range 6 {
			finish(fmt.Sprint(i), time.Hour)
		}
		clean(100, 0)
		assert.Equal(t, 6, count(t, db, "sealed IS NOT NULL"))
		advance(2 * time.Minute)
		assert.Equal(t, 6, count(t, db, "sealed IS NOT NULL"))
		clean(1, 1)
		clean(100, 5)
		assert.Equal(t, 0, count(t, db, "sealed IS NOT NULL"))
		finish("later", 2*time.Hour)
		advance(time.Hour)
		clean(1, 1)
		clean(100, 6)
		clean(100, 0)
		clean(0, 0)
		assert.Equal(t, 1, count(t, db, "true"))
		assert.Equal(t, stmigrate.ClaimDone, claim(t, s, claimOf("later", 2)).State)
		// Without Clean it is the exchanges that erase.
		for i := range 100 {
			finish(fmt.Sprint("more ", i), 10*time.Minute)
			advance(time.Minute)
		}
		assert.Less(t, count(t, db, "sealed IS NOT NULL"), 30)
		assert.Less(t, count(t, db, "true"), 50)
	})
}

// Whoever waits for somebody else's exchange asks many times.
func TestPollsWriteNothing(t *testing.T) {
	forEach(t, func(t *testing.T, d sqlstore.Dialect) {
		s, db := open(t, d)
		ctx := t.Context()
		held, done := claimOf("held", 1), claimOf("done", 1)
		claim(t, s, held)
		claim(t, s, done)
		require.NoError(t, s.Finish(ctx, done.Key, done.Fence, finished()))
		conn, err := db.Conn(ctx) // SQLite's data_version is what others changed since, for one connection
		require.NoError(t, err)
		defer conn.Close()
		state := func() (text string) {
			query := "PRAGMA data_version"
			if d == sqlstore.Postgres {
				// xmax is who last locked or deleted the row.
				query = "SELECT string_agg(concat_ws(' ', ctid, xmin, xmax), ', ' ORDER BY key) FROM stmigrate_exchanges"
			}
			require.NoError(t, conn.QueryRowContext(ctx, query).Scan(&text))
			return text
		}
		before := state()
		for range 20 {
			assert.Equal(t, stmigrate.ClaimBusy, claim(t, s, claimOf("held", 2)).State)
			assert.Equal(t, stmigrate.ClaimDone, claim(t, s, claimOf("done", 2)).State)
			require.NoError(t, s.Finish(ctx, done.Key, done.Fence, finished()))
			_, err := s.Recall(ctx, done.Shown)
			require.NoError(t, err)
			_, err = s.DueRevocations(ctx, 10, time.Minute)
			require.NoError(t, err)
		}
		assert.Equal(t, before, state())
		require.NoError(t, s.Note(ctx, held.Key, held.Fence, nil))
		assert.NotEqual(t, before, state(), "this test would see a write")
	})
}

// countingConn counts round trips: each ends with a ReadyForQuery of the server.
type countingConn struct {
	net.Conn
	trips *atomic.Int64
	buf   []byte
}

func (c *countingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.buf = append(c.buf, p[:n]...)
	for len(c.buf) >= 5 { // a type and a length that counts itself
		size := 1 + int(c.buf[1])<<24 + int(c.buf[2])<<16 + int(c.buf[3])<<8 + int(c.buf[4])
		if len(c.buf) < size {
			break
		}
		if c.buf[0] == 'Z' {
			c.trips.Add(1)
		}
		c.buf = c.buf[size:]
	}
	return n, err
}

func TestOneRoundTrip(t *testing.T) {
	_, dsn := database(t, sqlstore.Postgres)
	cfg, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	var trips atomic.Int64
	dial := cfg.DialFunc
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return &countingConn{Conn: conn, trips: &trips}, err
	}
	// Nor is it asked whether a connection lives that was idle for a second: on a busy machine one may be.
	db := stdlib.OpenDB(*cfg, stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool { return false }))
	defer db.Close()
	db.SetMaxOpenConns(1)
	s := newStore(t, sqlstore.Postgres, db)
	require.NoError(t, s.Migrate(t.Context()))
	n := 0
	c := func() stmigrate.Claim { n++; return claimOf(fmt.Sprint(n), 1) }
	ctx := t.Context()
	finish := func() {
		assert.NoError(t, s.Finish(ctx, claimOf(fmt.Sprint(n), 1).Key, stmigrate.Fence{1}, finished()))
	}
	steps := []struct {
		name string
		call func()
	}{
		{"Claim", func() { assert.Equal(t, stmigrate.ClaimHeld, claim(t, s, c()).State) }},
		{"Claim, busy", func() { assert.Equal(t, stmigrate.ClaimBusy, claim(t, s, claimOf(fmt.Sprint(n), 2)).State) }},
		{"Note", func() { assert.NoError(t, s.Note(ctx, claimOf(fmt.Sprint(n), 1).Key, stmigrate.Fence{1}, []byte("x"))) }},
		{"AbandonedClaims", func() { _, err := s.AbandonedClaims(ctx, 0, 5); assert.NoError(t, err) }},
		{"Finish", finish},
		{"Finish, again", finish},
		{"Claim, done", func() { assert.Equal(t, stmigrate.ClaimDone, claim(t, s, claimOf(fmt.Sprint(n), 2)).State) }},
		{"Recall", func() { _, err := s.Recall(ctx, claimOf(fmt.Sprint(n), 1).Shown); assert.NoError(t, err) }},
		{"Peek", func() { _, err := s.Peek(ctx, claimOf(fmt.Sprint(n), 1).Key); assert.NoError(t, err) }},
		{"DueRevocations", func() { _, err := s.DueRevocations(ctx, 5, time.Minute); assert.NoError(t, err) }},
		{"SettleRevocation", func() {
			assert.NoError(t, s.SettleRevocation(ctx, claimOf(fmt.Sprint(n), 1).Key, stmigrate.Fence{1}, 0, "no"))
		}},
		{"DeadRevocations", func() { _, err := s.DeadRevocations(ctx, stmigrate.ExchangeKey{}, 5); assert.NoError(t, err) }},
		{"ReplayRevocation", func() { assert.NoError(t, s.ReplayRevocation(ctx, claimOf(fmt.Sprint(n), 1).Key)) }},
		{"DropRevocation", func() { assert.NoError(t, s.DropRevocation(ctx, claimOf(fmt.Sprint(n), 1).Key)) }},
		{"TakeBudget", func() {
			_, _, err := s.TakeBudget(ctx, "x", 1, stmigrate.RevocationBudget{Calls: 1, Per: time.Second})
			assert.NoError(t, err)
		}},
		{"PauseBudget", func() { assert.NoError(t, s.PauseBudget(ctx, "x", time.Second)) }},
		{"EpochExchanges", func() { _, err := s.EpochExchanges(ctx, "", stmigrate.ExchangeKey{}, 5); assert.NoError(t, err) }},
		{"CloseEpoch", func() { assert.NoError(t, s.CloseEpoch(ctx, "x")) }},
		{"ForgetExchange", func() { assert.NoError(t, s.ForgetExchange(ctx, claimOf(fmt.Sprint(n), 1).Key, stmigrate.Fence{1})) }},
		{"Release", func() { assert.NoError(t, s.Release(ctx, claimOf(fmt.Sprint(n), 1).Key, stmigrate.Fence{1}, false)) }},
		{"Clean", func() { _, err := s.Clean(ctx, 5); assert.NoError(t, err) }},
	}
	for round := range 2 { // in the first one the driver prepares
		for _, step := range steps {
			before := trips.Load()
			step.call()
			if round > 0 {
				assert.EqualValues(t, 1, trips.Load()-before, step.name)
			}
		}
	}
}

func TestKilledServer(t *testing.T) {
	server := pg.NewServer(t)
	db := openDB(t, "pgx", server.DSN())
	s := newStore(t, sqlstore.Postgres, db)
	ctx := t.Context()
	require.NoError(t, s.Migrate(ctx))
	held, done, answer := claimOf("held", 1), claimOf("done", 1), finished()
	answer.SealedFor = time.Hour // recovery takes its time
	claim(t, s, held)
	claim(t, s, done)
	require.NoError(t, s.Finish(ctx, done.Key, done.Fence, answer))

	server.Kill()
	short, cancel := context.WithTimeout(ctx, forever)
	defer cancel()
	_, err := s.Claim(short, claimOf("held", 2))
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	assert.NotContains(t, err.Error(), "127.")
	require.NoError(t, short.Err(), "a refused connection is known at once")

	server.Restart(t)
	assert.Equal(t, stmigrate.ClaimBusy, claim(t, s, claimOf("held", 2)).State)
	assert.Equal(t, stmigrate.ClaimHeld, claim(t, s, held).State)
	require.NoError(t, s.Finish(ctx, held.Key, held.Fence, finished()))
	assert.Equal(t, []byte("sealed"), claim(t, s, claimOf("done", 2)).Sealed)
	require.NoError(t, s.SettleRevocation(ctx, done.Key, done.Fence, 0, ""))
}

// all calls each kind of statement.
func all(ctx context.Context, s *sqlstore.Store) map[string]error {
	c := claimOf("a", 2)
	_, claimErr := s.Claim(ctx, c)
	_, dueErr := s.DueRevocations(ctx, 1, time.Minute)
	_, cleanErr := s.Clean(ctx, 1)
	return map[string]error{
		"Claim": claimErr, "DueRevocations": dueErr, "Clean": cleanErr,
		"Finish":  s.Finish(ctx, c.Key, c.Fence, finished()),
		"Release": s.Release(ctx, c.Key, c.Fence, false),
	}
}

func TestHangingDatabase(t *testing.T) {
	within := func(t *testing.T, s *sqlstore.Store) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		start := time.Now()
		for name, err := range all(ctx, s) {
			assert.ErrorIs(t, err, stmigrate.ErrUnavailable, name)
			assert.ErrorIs(t, err, context.DeadlineExceeded, name)
		}
		assert.Less(t, time.Since(start), forever)
	}
	t.Run("accepts and says nothing", func(t *testing.T) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer listener.Close()
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				go func() { _, _ = io.Copy(io.Discard, conn) }()
			}
		}()
		db := openDB(t, "pgx", "postgres://user:hidden-password@"+listener.Addr().String()+"/db?sslmode=disable")
		s := newStore(t, sqlstore.Postgres, db)
		within(t, s)
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		assert.NotContains(t, s.Check(ctx).Error(), "hidden")
	})
	forEach(t, func(t *testing.T, d sqlstore.Dialect) {
		s, db := open(t, d)
		require.NoError(t, s.Check(t.Context()))
		conn, err := db.Conn(t.Context())
		require.NoError(t, err)
		defer conn.Close()
		lock := []string{"BEGIN IMMEDIATE"}
		if d == sqlstore.Postgres {
			lock = []string{"BEGIN", "LOCK TABLE stmigrate_exchanges"}
		}
		for _, text := range lock {
			_, err := conn.ExecContext(t.Context(), text)
			require.NoError(t, err)
		}
		within(t, s)
		_, err = conn.ExecContext(t.Context(), "ROLLBACK")
		require.NoError(t, err)
		assert.Equal(t, stmigrate.ClaimHeld, claim(t, s, claimOf("after", 1)).State)
	})
}

// What a database holds must not help whoever reads it.
func TestADumpHoldsNoToken(t *testing.T) {
	forEach(t, func(t *testing.T, d sqlstore.Dialect) {
		s, db := open(t, d)
		verifier, sessions := new(stmigratetest.FakeVerifier), new(stmigratetest.FakeSessions)
		token := "legacy-" + strings.Repeat("0123456789abcdef", 4)
		verifier.Add(token, stmigrate.OldSession{Subject: "legacy|7", SessionID: "sid-of-the-legacy-session"})
		m, err := stmigrate.New(stmigrate.Config{
			Verifier: verifier, Sessions: sessions, Users: stmigrate.SubjectIsUserID, Exchanges: s, Revoker: stmigrate.LeaveToExpire,
			Secrets: [][]byte{bytes.Repeat([]byte("k"), 32)}, Lease: time.Hour,
		})
		require.NoError(t, err)
		r := httptest.NewRequest(http.MethodPost, "/migrate-session", nil)
		r.Header.Set("Authorization", "Bearer "+token)
		r.Header.Set("Idempotency-Key", "idempotency-key-of-the-request")
		w := httptest.NewRecorder()
		m.ServeHTTP(w, r)
		require.Equal(t, http.StatusOK, w.Code)

		dump := dumpOf(t, db, "stmigrate_exchanges") + dumpOf(t, db, "stmigrate_budgets") + dumpOf(t, db, "stmigrate_epochs")
		require.Contains(t, dump, "public|legacy|7", "this test would see plain text")
		secrets := []string{token, "sid-of-the-legacy-session", "idempotency-key-of-the-request"}
		for _, cookie := range w.Result().Cookies() {
			secrets = append(secrets, cookie.Value)
		}
		for _, values := range w.Header() {
			secrets = append(secrets, values...)
		}
		looked := 0
		for _, secret := range secrets {
			for i := 0; i+16 <= len(secret); i += 8 {
				part := secret[i : i+16]
				for _, form := range []string{part, hex.EncodeToString([]byte(part)), base64.StdEncoding.EncodeToString([]byte(part))[:20]} {
					looked++
					assert.NotContains(t, dump, form)
				}
			}
		}
		assert.Greater(t, looked, 100)
	})
}

// dumpOf is a table's content, as bytes and in hex.
func dumpOf(t *testing.T, db *sql.DB, table string) string {
	t.Helper()
	rows, err := db.Query("SELECT * FROM " + table)
	require.NoError(t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	require.NoError(t, err)
	var out strings.Builder
	for rows.Next() {
		values := make([][]byte, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		require.NoError(t, rows.Scan(into...))
		for _, v := range values {
			fmt.Fprintf(&out, "%s %x\n", v, v)
		}
	}
	require.NoError(t, rows.Err())
	return out.String()
}
