// Package sqltest holds stores/sqlstore to its contract on the databases that it is for.
package sqltest

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"modernc.org/sqlite"

	"github.com/stmigrate/stmigrate/internal/sqltest/pg"
	"github.com/stmigrate/stmigrate/stmigratetest"
	"github.com/stmigrate/stmigrate/stores/sqlstore"
)

var dialects = []sqlstore.Dialect{sqlstore.Postgres, sqlstore.SQLite}

func forEach(t *testing.T, test func(t *testing.T, d sqlstore.Dialect)) {
	for _, d := range dialects {
		t.Run(string(d), func(t *testing.T) { test(t, d) })
	}
}

// database opens an empty database, and says how to reach it.
func database(tb testing.TB, d sqlstore.Dialect) (*sql.DB, string) {
	tb.Helper()
	if d == sqlstore.Postgres {
		dsn := pg.Start(tb)
		return openDB(tb, "pgx", dsn), dsn
	}
	dsn := sqliteFile(tb)
	return openDB(tb, "sqlite-plain", dsn), dsn
}

// forever is for what happens at once, or never: no machine is that slow. SQLite waits for longer than that.
const forever = time.Minute

func sqliteFile(tb testing.TB) string {
	return "file:" + filepath.Join(tb.TempDir(), "exchanges.db") +
		"?_pragma=busy_timeout(600000)&_pragma=journal_mode(WAL)&_pragma=synchronous(OFF)&_txlock=immediate"
}

func openDB(tb testing.TB, driver, dsn string) *sql.DB {
	tb.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(tb, err)
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(16)
	tb.Cleanup(func() { require.NoError(tb, db.Close()) })
	return db
}

func newStore(tb testing.TB, d sqlstore.Dialect, db *sql.DB) *sqlstore.Store {
	tb.Helper()
	s, err := sqlstore.New(sqlstore.Config{DB: db, Dialect: d})
	require.NoError(tb, err)
	return s
}

// open returns a store in an empty database.
func open(tb testing.TB, d sqlstore.Dialect) (*sqlstore.Store, *sql.DB) {
	tb.Helper()
	db, _ := database(tb, d)
	s := newStore(tb, d, db)
	require.NoError(tb, s.Migrate(tb.Context()))
	return s, db
}

// openAhead returns an empty database whose clock can be put forward: a function of ours stands before its own.
func openAhead(tb testing.TB, d sqlstore.Dialect) (*sql.DB, func(time.Duration)) {
	tb.Helper()
	if d == sqlstore.SQLite {
		return openDB(tb, "sqlite", sqliteFile(tb)), func(by time.Duration) { ahead.Add(int64(by)) }
	}
	plain, dsn := database(tb, d)
	for _, text := range []string{
		"CREATE TABLE clock (ahead interval NOT NULL)",
		"INSERT INTO clock VALUES ('0')",
		"CREATE FUNCTION clock_timestamp() RETURNS timestamptz VOLATILE LANGUAGE sql AS " +
			"'SELECT pg_catalog.clock_timestamp() + (SELECT ahead FROM public.clock)'",
	} {
		_, err := plain.Exec(text)
		require.NoError(tb, err)
	}
	return openDB(tb, "pgx", dsn+"&search_path=public,pg_catalog"), func(by time.Duration) {
		_, err := plain.Exec("UPDATE clock SET ahead = ahead + $1 * interval '1 microsecond'", by.Microseconds())
		require.NoError(tb, err)
	}
}

var ahead atomic.Int64

func init() {
	// The package's functions are those of its own driver. Another one beside it has the real clock.
	sql.Register("sqlite-plain", &sqlite.Driver{})
	sqlite.MustRegisterScalarFunction("julianday", 1, func(_ *sqlite.FunctionContext, _ []driver.Value) (driver.Value, error) {
		const epoch, day = 2440587.5, float64(24 * time.Hour / time.Millisecond)
		return epoch + float64(time.Now().Add(time.Duration(ahead.Load())).UnixMilli())/day, nil
	})
}

func TestExchangeStore(t *testing.T) {
	forEach(t, func(t *testing.T, d sqlstore.Dialect) {
		db, advance := openAhead(t, d)
		n := 0
		stmigratetest.TestExchangeStore(t, func(t *testing.T) stmigratetest.StoreUnderTest {
			n++
			s, err := sqlstore.New(sqlstore.Config{DB: db, Dialect: d, TablePrefix: fmt.Sprintf("check_%d_", n)})
			require.NoError(t, err)
			require.NoError(t, s.Migrate(t.Context()))
			return stmigratetest.StoreUnderTest{Store: s, Advance: advance}
		})
	})
}
