package sqlstore

import (
	"context"
	"embed"

	"github.com/stmigrate/stmigrate/internal/sqldb"
)

// ErrSchema is an error of tables that are not there, or are those of another version of this package. It comes with
// [stmigrate.ErrUnavailable].
var ErrSchema = sqldb.ErrSchema

//go:embed migrations
var migrations embed.FS

func tables(d Dialect) sqldb.Tables {
	return sqldb.Tables{
		Config: "sqlstore: Config", Names: []string{"schema", "exchanges", "epochs", "budgets"}, Migrations: migrations, Words: words(d),
	}
}

// Schema returns the SQL that makes the tables, for a migration tool of your own: what [Store.Migrate] runs in an empty
// database, with the record that lets [Store.Check] pass. Config.DB is not needed. Run it in one transaction.
func Schema(cfg Config) (string, error) { return sqldb.Schema(sqldb.Config(cfg), tables(cfg.Dialect)) }

// Migrate makes the tables, or brings older ones up to this version, each step in a transaction of its own. Where they are of
// this version already it only looks. It fails with [ErrSchema] where they are newer, and may be run by several nodes at once:
// one of them does it and the others wait. It needs the right to create tables, which the Store has no other use for: run it
// when you deploy, as another user if you can.
func (s *Store) Migrate(ctx context.Context) error { return result(ctx, "Migrate", s.db.Migrate(ctx)) }

// Check tells whether the tables are of the version that this code needs: nil, or an [ErrSchema] that says what to do, or that
// the database does not answer. It changes nothing. It is good for a readiness probe.
func (s *Store) Check(ctx context.Context) error { return result(ctx, "Check", s.db.Check(ctx)) }
