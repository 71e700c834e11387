// Package sqldb is what the packages that keep tables in the host's own database have in common: configuration, versions of the
// tables, calls that end by their context, and errors that tell nothing of what is stored.
package sqldb

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
	"sync/atomic"
)

// Dialect is the SQL that a database speaks.
type Dialect string

// The dialects. What is written for them needs PostgreSQL 13 or SQLite 3.37.
const (
	Postgres Dialect = "postgres"
	SQLite   Dialect = "sqlite"
)

// Config says where tables are. The packages have a type of their own with these fields.
type Config struct {
	DB                  *sql.DB
	Dialect             Dialect
	Schema, TablePrefix string
}

// Tables are what a package keeps.
type Tables struct {
	// Config is what the package calls its configuration: "login: SQLConfig".
	Config string
	// Names are those of the tables, without prefix. The first one holds the version.
	Names []string
	// Migrations are the files migrations/<dialect>/*.sql, in the order of their names. Each is run in a transaction of its own and
	// leads to the next version, which it must record before anything else: by the table's primary key one node does it, and others
	// that came to it at the same time wait there, and fail. A statement ends with ";" at the end of a line.
	Migrations fs.FS
	// Words are what [DB.Render] replaces besides its own, and by what, in turn.
	Words []string
}

// DB runs statements on a package's tables. It is safe for concurrent use.
type DB struct {
	Dialect Dialect

	pool           *sql.DB
	versions, bare string // the version table, as statements and as catalogues name it
	words          *strings.Replacer
	migrations     []string
	checked        atomic.Bool
}

// New checks cfg, and does not call the database.
func New(cfg Config, t Tables) (*DB, error) {
	if cfg.DB == nil {
		return nil, fmt.Errorf("%s.DB is required", t.Config)
	}
	return newDB(cfg, t)
}

// Schema returns the statements of all migrations. It needs no Config.DB.
func Schema(cfg Config, t Tables) (string, error) {
	db, err := newDB(cfg, t)
	if err != nil {
		return "", err
	}
	return strings.Join(db.migrations, "\n"), nil
}

// identifier is what a schema and a prefix may be. With the longest suffix of ours a name stays within PostgreSQL's 63 bytes.
var identifier = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,39}$`)

func newDB(cfg Config, t Tables) (*DB, error) {
	const form = "at most 40 of a-z, 0-9 and _, no digit first"
	prefix, schema := cmp.Or(cfg.TablePrefix, "stmigrate_"), ""
	switch {
	case cfg.Dialect != Postgres && cfg.Dialect != SQLite:
		return nil, fmt.Errorf("%s.Dialect is %q: say Postgres or SQLite", t.Config, cfg.Dialect)
	case !identifier.MatchString(prefix):
		return nil, fmt.Errorf("%s.TablePrefix is %q, want %s", t.Config, prefix, form)
	case cfg.Schema == "":
	case cfg.Dialect == SQLite:
		return nil, fmt.Errorf("%s.Schema is for PostgreSQL only", t.Config)
	case !identifier.MatchString(cfg.Schema):
		return nil, fmt.Errorf("%s.Schema is %q, want %s", t.Config, cfg.Schema, form)
	default:
		schema = `"` + cfg.Schema + `".`
	}
	table := func(name string) string { return schema + `"` + prefix + name + `"` }
	words := append([]string{"{prefix}", prefix}, t.Words...)
	for _, name := range t.Names {
		words = append(words, "{"+name+"}", table(name))
	}
	if cfg.Dialect == Postgres {
		// Not now(), which is when the transaction began: whoever waited for a lock would be late.
		const now = "CAST(extract(epoch FROM clock_timestamp()) * %d AS bigint)"
		words = append(words, "{now}", fmt.Sprintf(now, 1_000_000), "{now_ms}", fmt.Sprintf(now, 1000))
	} else {
		const ms = "CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER)"
		words = append(words, "{now}", ms+" * 1000", "{now_ms}", ms)
	}
	db := &DB{
		Dialect: cfg.Dialect, pool: cfg.DB, versions: table(t.Names[0]), bare: prefix + t.Names[0], words: strings.NewReplacer(words...),
	}
	names, err := fs.Glob(t.Migrations, fmt.Sprintf("migrations/%s/*.sql", cfg.Dialect))
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		text, err := fs.ReadFile(t.Migrations, name)
		if err != nil {
			return nil, err
		}
		db.migrations = append(db.migrations, db.Render(string(text)))
	}
	return db, nil
}

var parameter = regexp.MustCompile(`\$([0-9]+)`)

// Render replaces in a statement "{name}" by a table of that name, {prefix} by what names of indexes begin with, {now} and
// {now_ms} by the database's time since 1970 in microseconds and milliseconds, and $1 by what the dialect has for it.
func (db *DB) Render(text string) string {
	text = db.words.Replace(text)
	if db.Dialect == SQLite {
		text = parameter.ReplaceAllString(text, "?$1")
	}
	return text
}

// inTime ends by ctx. A driver of PostgreSQL does so by itself; SQLite sees no context while it waits for a lock, up to its
// busy_timeout: run goes on then, and nobody hears of it.
func inTime[T any](ctx context.Context, db *DB, run func() (T, error)) (T, error) {
	if db.Dialect == Postgres {
		return run()
	}
	type outcome struct {
		value T
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		value, err := run()
		done <- outcome{value, err}
	}()
	select {
	case o := <-done:
		return o.value, o.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// Scan reads the columns of a row.
type Scan = func(columns ...any) error

// Query runs one statement and reads at most limit rows of its answer. More are an error.
func Query[T any](ctx context.Context, db *DB, limit int, read func(Scan) (T, error), text string, args ...any) ([]T, error) {
	return inTime(ctx, db, func() ([]T, error) {
		rows, err := db.pool.QueryContext(ctx, text, args...)
		if err != nil {
			return nil, err
		}
		defer func() { _ = rows.Close() }() // what there is to know was told by Err
		var out []T
		for rows.Next() {
			if len(out) >= limit {
				return nil, Garbage("more than %d rows", limit)
			}
			row, err := read(func(columns ...any) error {
				if rows.Scan(columns...) != nil { // its text would hold the value
					return Garbage("a column of another type, or too few or many")
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			out = append(out, row)
		}
		return out, rows.Err()
	})
}

// ReadInt reads a row of one number.
func ReadInt(scan Scan) (n int64, err error) {
	err = scan(&n)
	return n, err
}

// Exec runs one statement and tells how many rows it changed.
func (db *DB) Exec(ctx context.Context, text string, args ...any) (int, error) {
	return inTime(ctx, db, func() (int, error) {
		result, err := db.pool.ExecContext(ctx, text, args...)
		if err != nil {
			return 0, err
		}
		n, err := result.RowsAffected()
		return int(n), err
	})
}
