package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/sqldb"
)

// Dialect is the SQL that the database speaks.
type Dialect = sqldb.Dialect

const (
	// Postgres is PostgreSQL 13 or later.
	Postgres = sqldb.Postgres
	// SQLite is SQLite 3.37 or later, for the processes of one machine.
	SQLite = sqldb.SQLite
)

// Config says where the exchanges are kept. DB and Dialect are required.
type Config struct {
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

// Store keeps exchanges in a database. It is safe for concurrent use, and any number of processes may share the tables.
type Store struct {
	db  *sqldb.DB
	sql statements
	// finishes counts the calls of Finish, for those that clean up.
	finishes atomic.Uint32
}

var (
	_ stmigrate.ExchangeStore         = (*Store)(nil)
	_ stmigrate.ExchangePeeker        = (*Store)(nil)
	_ stmigrate.RevocationOutbox      = (*Store)(nil)
	_ stmigrate.RevocationDeadLetters = (*Store)(nil)
	_ stmigrate.RevocationBudgets     = (*Store)(nil)
	_ stmigrate.ClaimSweeper          = (*Store)(nil)
	_ stmigrate.ClaimNoter            = (*Store)(nil)
	_ stmigrate.EpochStore            = (*Store)(nil)
)

// New checks cfg and returns a Store. It asks the database nothing: the tables are made by [Store.Migrate], and the first
// call of any other method fails if they are not there or not of this version.
func New(cfg Config) (*Store, error) {
	db, err := sqldb.New(sqldb.Config(cfg), tables(cfg.Dialect))
	if err != nil {
		return nil, err
	}
	return &Store{db: db, sql: newStatements(db)}, nil
}

// begin is where every method begins: with a context that has not ended and, once, a look at the schema's version.
func (s *Store) begin(ctx context.Context) error { return s.db.Ready(ctx) }

type scan = sqldb.Scan

// races is how often a statement is repeated that found its entry changed by somebody else between its look and its write.
// Each of them means that another call got on.
const races = 16

var errRaces = garbage("the entry kept changing while it was looked at")

const (
	verdictDone = iota + 1
	verdictRace
)

// apply makes a change, or finds that it was made before, and is ErrClaimLost otherwise.
func (s *Store) apply(ctx context.Context, c change, args ...any) error {
	for range races {
		verdicts, err := sqldb.Query(ctx, s.db, 1, sqldb.ReadInt, c.write, args...)
		if err == nil && len(verdicts) == 0 && c.read != "" {
			verdicts, err = sqldb.Query(ctx, s.db, 1, sqldb.ReadInt, c.read, args[:readArgs]...)
		}
		switch {
		case err != nil:
			return err
		case len(verdicts) == 0:
			return stmigrate.ErrClaimLost
		case verdicts[0] == verdictDone:
			return nil
		case verdicts[0] != verdictRace:
			return garbage("the unknown verdict %d", verdicts[0])
		}
	}
	return errRaces
}

// result gives an error of a method its class.
func result(ctx context.Context, op string, err error) error {
	if errors.Is(err, stmigrate.ErrClaimLost) {
		return fmt.Errorf("%w: %s: the entry is gone or held by another", err, op)
	}
	return sqldb.Failure(ctx, "exchange store: "+op, err)
}

// garbage is an answer that no database with our tables gives.
func garbage(format string, args ...any) error { return sqldb.Garbage(format, args...) }

// blob makes an argument of bytes that may be NULL in the table.
func blob[T ~string | ~[]byte](b T) any {
	if len(b) == 0 {
		return nil
	}
	return []byte(b)
}

// toKey and toFence take only what has the right size.
func toKey(b []byte) (key stmigrate.ExchangeKey, err error) {
	if copy(key[:], b) != len(key) || len(b) != len(key) {
		return key, garbage("a key of %d bytes", len(b))
	}
	return key, nil
}

func toFence(b []byte) (fence stmigrate.Fence, err error) {
	if copy(fence[:], b) != len(fence) || len(b) != len(fence) {
		return fence, garbage("a fence of %d bytes", len(b))
	}
	return fence, nil
}
