package login

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"math"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/sqldb"
)

// Dialect is the SQL that the database of a [SQLLedger] speaks.
type Dialect = sqldb.Dialect

const (
	// Postgres is PostgreSQL 13 or later.
	Postgres = sqldb.Postgres
	// SQLite is SQLite 3.37 or later, for the processes of one machine. Its writers wait for each other only with a busy timeout,
	// which the driver's DSN sets; with mattn/go-sqlite3 "?_busy_timeout=5000&_txlock=immediate", with modernc.org/sqlite
	// "?_pragma=busy_timeout(5000)&_txlock=immediate".
	SQLite = sqldb.SQLite
)

// SQLConfig says where a [SQLLedger] is kept. DB and Dialect are required.
type SQLConfig struct {
	// DB is the database. It stays the caller's, who sizes its pool and closes it. Required.
	DB *sql.DB
	// Dialect is what DB speaks. Required: it is not guessed from the driver.
	Dialect Dialect
	// Schema is the PostgreSQL schema of the tables, which must exist. Default: the first one of the connection's search_path;
	// name one where that is not the same for all that connect. Not for SQLite.
	Schema string
	// TablePrefix stands before the names of tables and indexes: at most 40 of a-z, 0-9 and _. Default "stmigrate_".
	TablePrefix string
}

// SQLLedger is a [Ledger] that all nodes share: a row for each user in the host's own database. Every method is one
// statement, with the database's clock, and no lock outlives it. [SQLLedger.Migrate] makes the tables. Its errors are
// [stmigrate.ErrUnavailable]; their texts hold no values, and errors.As finds the driver's own error.
type SQLLedger struct {
	db *sqldb.DB

	look, claim, record, release, erase, unmark, forget, conflicts string
}

var _ Ledger = (*SQLLedger)(nil)

// ErrSchema is an error of tables that are not there, or are those of another version of this package. It comes with
// [stmigrate.ErrUnavailable].
var ErrSchema = sqldb.ErrSchema

//go:embed migrations
var migrations embed.FS

var tables = sqldb.Tables{
	Config: "login: SQLConfig", Names: []string{"login_schema", "login"}, Migrations: migrations,
	Words: []string{"{intent}", fmt.Sprint(int(StepIntent)), "{complete}", fmt.Sprint(int(StepComplete)), "{mark}", fmt.Sprint(AskLegacy)},
}

// NewSQLLedger validates cfg and returns a ledger. It does not call the database: the tables are made by [SQLLedger.Migrate],
// and the first call of any other method fails if they are not there or not of this version.
func NewSQLLedger(cfg SQLConfig) (*SQLLedger, error) {
	db, err := sqldb.New(sqldb.Config(cfg), tables)
	if err != nil {
		return nil, err
	}
	// The columns of an entry as readEntry reads them, but for Held.
	const columns = `tenant_id, email, legacy_id, user_id, step, flags, conflict,
		CASE WHEN lease_end > {now_ms} THEN lease_end - {now_ms} ELSE 0 END`
	// open: the import is neither complete nor in conflict.
	const open = `step < {complete} AND conflict = ''`
	const free = `(e.step < {complete} AND e.conflict = '' AND (e.fence = excluded.fence OR e.lease_end <= {now_ms}))`
	const key = `tenant_id = $1 AND email = $2`
	const held = key + ` AND fence = $3 AND ` + open
	return &SQLLedger{
		db:   db,
		look: db.Render(`SELECT ` + columns + `, false FROM {login} WHERE ` + key),
		// One statement that always answers with the row. It writes even where it changes nothing, so waiters poll with look.
		claim: db.Render(`INSERT INTO {login} AS e
				(tenant_id, email, legacy_id, user_id, step, flags, conflict, fence, lease_end, begun_at, changed_at)
			VALUES ($1, $2, $3, '', {intent}, 0, '', $4, {now_ms} + $5, {now_ms}, {now_ms})
			ON CONFLICT (tenant_id, email) DO UPDATE SET
				fence = CASE WHEN ` + free + ` THEN excluded.fence ELSE e.fence END,
				lease_end = CASE WHEN ` + free + ` THEN excluded.lease_end ELSE e.lease_end END
			RETURNING ` + columns + `, ` + open + ` AND fence = $4`),
		record: db.Render(`UPDATE {login} SET
				step = CASE WHEN ` + open + ` THEN $4 ELSE step END,
				user_id = CASE WHEN ` + open + ` THEN $5 ELSE user_id END,
				flags = CASE WHEN ` + open + ` THEN $6 ELSE flags END,
				conflict = CASE WHEN ` + open + ` THEN $7 ELSE conflict END,
				lease_end = CASE WHEN ` + open + ` AND $4 < {complete} AND $7 = '' THEN lease_end ELSE 0 END,
				changed_at = {now_ms}
			WHERE ` + key + ` AND fence = $3 AND step <= $4 AND (conflict = '' OR conflict = $7)`),
		release: db.Render(`UPDATE {login} SET lease_end = 0 WHERE ` + held),
		erase:   db.Render(`DELETE FROM {login} WHERE ` + held),
		unmark: db.Render(`UPDATE {login} SET flags = flags & ~{mark}, changed_at = {now_ms}
			WHERE ` + key + ` AND step >= {complete} AND flags & {mark} <> 0`),
		forget: db.Render(`DELETE FROM {login} WHERE ` + key),
		conflicts: db.Render(`SELECT ` + columns + `, false FROM {login}
			WHERE conflict <> '' AND (tenant_id, email) > ($1, $2) ORDER BY tenant_id, email LIMIT $3`),
	}, nil
}

// Look implements [Ledger].
func (l *SQLLedger) Look(ctx context.Context, key Key) (Entry, error) {
	found, err := l.query(ctx, "Look", 1, l.look, key.TenantID, key.Email)
	if len(found) == 0 {
		return Entry{}, err
	}
	return found[0], nil
}

// Claim implements [Ledger].
func (l *SQLLedger) Claim(ctx context.Context, c Claim) (Entry, error) {
	found, err := l.query(ctx, "Claim", 1, l.claim, c.TenantID, c.Email, c.LegacyID, c.Fence[:], c.Lease.Milliseconds())
	switch {
	case err != nil:
		return Entry{}, err
	case len(found) == 0:
		return Entry{}, failed(ctx, "Claim", sqldb.Garbage("no row"))
	}
	return found[0], nil
}

// Record implements [Ledger].
func (l *SQLLedger) Record(ctx context.Context, key Key, fence stmigrate.Fence, p Progress) error {
	n, err := l.exec(ctx, "Record", l.record, key.TenantID, key.Email, fence[:], int64(p.Step), p.UserID, int64(p.Flags), p.Conflict)
	if err == nil && n == 0 {
		return errLost
	}
	return err
}

// Release implements [Ledger].
func (l *SQLLedger) Release(ctx context.Context, key Key, fence stmigrate.Fence, erase bool) error {
	statement := l.release
	if erase {
		statement = l.erase
	}
	_, err := l.exec(ctx, "Release", statement, key.TenantID, key.Email, fence[:])
	return err
}

// Unmark implements [Ledger].
func (l *SQLLedger) Unmark(ctx context.Context, key Key) error {
	_, err := l.exec(ctx, "Unmark", l.unmark, key.TenantID, key.Email)
	return err
}

// Forget implements [Ledger].
func (l *SQLLedger) Forget(ctx context.Context, key Key) error {
	_, err := l.exec(ctx, "Forget", l.forget, key.TenantID, key.Email)
	return err
}

// Conflicts implements [Ledger].
func (l *SQLLedger) Conflicts(ctx context.Context, after Key, max int) ([]Entry, error) {
	if max < 1 {
		return nil, nil
	}
	return l.query(ctx, "Conflicts", max, l.conflicts, after.TenantID, after.Email, max)
}

func (l *SQLLedger) exec(ctx context.Context, op, text string, args ...any) (n int, err error) {
	if err = l.db.Ready(ctx); err == nil {
		n, err = l.db.Exec(ctx, text, args...)
	}
	return n, failed(ctx, op, err)
}

func (l *SQLLedger) query(ctx context.Context, op string, limit int, text string, args ...any) (found []Entry, err error) {
	if err = l.db.Ready(ctx); err == nil {
		found, err = sqldb.Query(ctx, l.db, limit, readEntry, text, args...)
	}
	return found, failed(ctx, op, err)
}

func failed(ctx context.Context, op string, err error) error {
	return sqldb.Failure(ctx, "ledger: "+op, err)
}

// readEntry reads a row, and refuses one that no ledger wrote.
func readEntry(scan sqldb.Scan) (Entry, error) {
	var e Entry
	var wait int64
	if err := scan(&e.TenantID, &e.Email, &e.LegacyID, &e.UserID, &e.Step, &e.Flags, &e.Conflict, &wait, &e.Held); err != nil {
		return Entry{}, err
	}
	switch {
	case e.Step < StepIntent || e.Step > StepComplete:
		return Entry{}, sqldb.Garbage("a row at step %d", e.Step)
	case e.Step > StepIntent && e.Conflict == "" && e.UserID == "":
		return Entry{}, sqldb.Garbage("a row at step %d without a user ID", e.Step)
	case wait < 0 || wait > math.MaxInt64/int64(time.Millisecond):
		return Entry{}, sqldb.Garbage("a lease that runs for %d ms", wait)
	}
	if !e.Complete() && e.Conflict == "" {
		e.Wait = time.Duration(wait) * time.Millisecond
	}
	return e, nil
}

// Schema returns the SQL that makes the tables, for a migration tool of your own: what [SQLLedger.Migrate] runs in an empty
// database, with the record that lets [SQLLedger.Check] pass. SQLConfig.DB is not needed. Run it in one transaction.
func Schema(cfg SQLConfig) (string, error) { return sqldb.Schema(sqldb.Config(cfg), tables) }

// Migrate makes the tables, or brings older ones up to this version, each step in a transaction of its own. Where they are of
// this version already it only looks. It fails with [ErrSchema] where they are newer, and may be run by several nodes at once:
// one of them does it and the others wait. Call it at deployment, with a user that may create tables; the ledger itself needs
// only SELECT, INSERT, UPDATE and DELETE on stmigrate_login, and SELECT on stmigrate_login_schema.
func (l *SQLLedger) Migrate(ctx context.Context) error {
	return failed(ctx, "Migrate", l.db.Migrate(ctx))
}

// Check tells whether the tables are of the version that this code needs: nil, or an [ErrSchema] that says what to do, or that
// the database does not answer. It changes nothing. It is good for a readiness probe.
func (l *SQLLedger) Check(ctx context.Context) error { return failed(ctx, "Check", l.db.Check(ctx)) }
