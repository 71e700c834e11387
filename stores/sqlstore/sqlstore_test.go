package sqlstore_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stores/sqlstore"
)

// fakeDB answers every statement of a store whose schema is right with the same rows, or the same error.
type fakeDB struct {
	rows    [][]driver.Value
	err     error
	version driver.Value
}

func (f *fakeDB) Connect(context.Context) (driver.Conn, error) { return f, nil }
func (f *fakeDB) Driver() driver.Driver                        { return nil }
func (f *fakeDB) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("not prepared") }
func (f *fakeDB) Begin() (driver.Tx, error)                    { return f, nil }
func (f *fakeDB) Commit() error                                { return nil }
func (f *fakeDB) Rollback() error                              { return nil }
func (f *fakeDB) Close() error                                 { return nil }

func (f *fakeDB) QueryContext(_ context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	switch {
	case strings.Contains(text, "to_regclass"), strings.Contains(text, "sqlite_master"):
		return &fakeRows{rows: [][]driver.Value{{int64(1)}}}, nil
	case strings.Contains(text, "max(version)"):
		return &fakeRows{rows: [][]driver.Value{{f.version}}}, nil
	case f.err != nil:
		return nil, fmt.Errorf("%w: of %v", f.err, args)
	}
	return &fakeRows{rows: f.rows}, nil
}

func (f *fakeDB) ExecContext(_ context.Context, _ string, args []driver.NamedValue) (driver.Result, error) {
	if f.err != nil {
		return nil, fmt.Errorf("%w: of %v", f.err, args)
	}
	return driver.RowsAffected(1), nil
}

type fakeRows struct {
	rows [][]driver.Value
	next int
}

func (r *fakeRows) Columns() []string {
	if len(r.rows) == 0 {
		return nil
	}
	return make([]string, len(r.rows[0]))
}

func (r *fakeRows) Close() error { return nil }

func (r *fakeRows) Next(row []driver.Value) error {
	if r.next == len(r.rows) {
		return io.EOF
	}
	copy(row, r.rows[r.next])
	r.next++
	return nil
}

func fake(t *testing.T, d sqlstore.Dialect, f *fakeDB) *sqlstore.Store {
	t.Helper()
	if f.version == nil {
		f.version = int64(1)
	}
	db := sql.OpenDB(f)
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	s, err := sqlstore.New(sqlstore.Config{DB: db, Dialect: d})
	require.NoError(t, err)
	return s
}

var (
	key   = stmigrate.ExchangeKey{'s', 'e', 'c', 'r', 'e', 't'}
	fence = stmigrate.Fence{'f', 'e', 'n', 'c', 'e'}
)

// methods calls every method that asks the database.
var methods = map[string]func(context.Context, *sqlstore.Store) error{
	"Claim": func(ctx context.Context, s *sqlstore.Store) error {
		got, err := s.Claim(ctx, stmigrate.Claim{Key: key, Fence: fence, User: "secret user", Lease: time.Second, KeepFor: time.Hour})
		if err != nil && got.State != 0 {
			return errors.New("a state beside an error")
		}
		return err
	},
	"Finish": func(ctx context.Context, s *sqlstore.Store) error {
		return s.Finish(ctx, key, fence, stmigrate.Finished{Handle: "secret handle", Sealed: []byte("secret"), SealedFor: 1e9, KeepFor: 1e9})
	},
	"Recall": func(ctx context.Context, s *sqlstore.Store) error { _, err := s.Recall(ctx, key); return err },
	"Peek":   func(ctx context.Context, s *sqlstore.Store) error { _, err := s.Peek(ctx, key); return err },
	"Note":   func(ctx context.Context, s *sqlstore.Store) error { return s.Note(ctx, key, fence, []byte("secret")) },
	"DueRevocations": func(ctx context.Context, s *sqlstore.Store) error {
		_, err := s.DueRevocations(ctx, 1, time.Second)
		return err
	},
	"SettleRevocation": func(ctx context.Context, s *sqlstore.Store) error {
		return s.SettleRevocation(ctx, key, fence, 0, "secret reason")
	},
	"DeadRevocations": func(ctx context.Context, s *sqlstore.Store) error {
		_, err := s.DeadRevocations(ctx, key, 1)
		return err
	},
	"TakeBudget": func(ctx context.Context, s *sqlstore.Store) error {
		_, _, err := s.TakeBudget(ctx, "secret", 1, stmigrate.RevocationBudget{Calls: 1, Per: time.Second})
		return err
	},
	"AbandonedClaims": func(ctx context.Context, s *sqlstore.Store) error {
		_, err := s.AbandonedClaims(ctx, 0, 1)
		return err
	},
	"EpochExchanges": func(ctx context.Context, s *sqlstore.Store) error {
		_, err := s.EpochExchanges(ctx, "secret", key, 1)
		return err
	},
	"Release":          func(ctx context.Context, s *sqlstore.Store) error { return s.Release(ctx, key, fence, true) },
	"ReplayRevocation": func(ctx context.Context, s *sqlstore.Store) error { return s.ReplayRevocation(ctx, key) },
	"DropRevocation":   func(ctx context.Context, s *sqlstore.Store) error { return s.DropRevocation(ctx, key) },
	"PauseBudget":      func(ctx context.Context, s *sqlstore.Store) error { return s.PauseBudget(ctx, "secret", time.Second) },
	"CloseEpoch":       func(ctx context.Context, s *sqlstore.Store) error { return s.CloseEpoch(ctx, "secret") },
	"ForgetExchange":   func(ctx context.Context, s *sqlstore.Store) error { return s.ForgetExchange(ctx, key, fence) },
	"Clean":            func(ctx context.Context, s *sqlstore.Store) error { _, err := s.Clean(ctx, 1); return err },
	"Migrate":          func(ctx context.Context, s *sqlstore.Store) error { return s.Migrate(ctx) },
}

// writers have no answer that could be wrong.
var writers = []string{"Release", "ReplayRevocation", "DropRevocation", "PauseBudget", "CloseEpoch", "ForgetExchange", "Migrate"}

func forBoth(t *testing.T, test func(t *testing.T, d sqlstore.Dialect)) {
	for _, d := range []sqlstore.Dialect{sqlstore.Postgres, sqlstore.SQLite} {
		t.Run(string(d), func(t *testing.T) { test(t, d) })
	}
}

func TestGarbageIsUnavailable(t *testing.T) {
	var (
		none    driver.Value
		k, f    = key[:], fence[:]
		garbage = map[string][][]driver.Value{
			"no columns":             {{}},
			"a number of columns":    {{int64(1), int64(1), int64(1)}},
			"NULLs":                  {{none, none, none, none, none, none, none}},
			"text":                   {{"secret", "x", "x", "x", "x", "x", "x"}},
			"state 0":                {{int64(0), int64(0), k, k, k, k, int64(1)}},
			"state 5":                {{int64(5), int64(0), k, k, k, k, int64(1)}},
			"a state beyond int":     {{int64(1) << 40, int64(0), k, k, k, k, int64(1)}},
			"a negative state":       {{int64(-1), int64(0), k, k, k, k, int64(1)}},
			"suspect is no yes":      {{int64(1), int64(7), k, k, k, k, int64(1)}},
			"held, and NULL suspect": {{int64(1), none, k, k, k, k, int64(1)}},
			"a lease of ages":        {{int64(2), int64(0), k, k, k, k, int64(1) << 62}},
			"two rows":               {{int64(9), int64(0), k, k, k, k, int64(1)}, {int64(1), int64(0), k, k, k, k, int64(1)}},
			"verdict 9":              {{int64(9)}},
			"short keys":             {{k[:31], k[:31], k, k}},
			"a short key of three":   {{k[:3], f, k}},
			"a long key":             {{append(k[:32:32], 1), f, k, int64(1), int64(1)}},
			"a short fence":          {{k, f[:15], k, int64(1), int64(1)}},
			"a short fence of three": {{k, f[:15], k}},
			"no attempts":            {{k, f, k, none, int64(1)}},
			"attempts in words":      {{k, f, "secret", k}},
			"more than was asked":    {{int64(99), int64(0), int64(0), int64(0)}},
			"less than nothing":      {{int64(-1), int64(0), int64(0), int64(0)}},
		}
	)
	forBoth(t, func(t *testing.T, d sqlstore.Dialect) {
		for what, rows := range garbage {
			for name, call := range methods {
				if d == sqlstore.SQLite && name == "Clean" || slices.Contains(writers, name) {
					continue
				}
				t.Run(what+"/"+name, func(t *testing.T) {
					err := call(t.Context(), fake(t, d, &fakeDB{rows: rows}))
					require.ErrorIs(t, err, stmigrate.ErrUnavailable)
					assert.Contains(t, err.Error(), name+": unexpected answer")
					assert.NotContains(t, err.Error(), "secret")
				})
			}
		}
	})
}

func TestErrorsHoldNoValues(t *testing.T) {
	cause := errors.New(`secret: duplicate key "secret" for postgres://user:secret@host/`)
	forBoth(t, func(t *testing.T, d sqlstore.Dialect) {
		for name, call := range methods {
			t.Run(name, func(t *testing.T) {
				f := &fakeDB{err: cause}
				if name == "Migrate" {
					f.version = int64(0) // or it would only look
				}
				err := call(t.Context(), fake(t, d, f))
				require.ErrorIs(t, err, stmigrate.ErrUnavailable)
				require.ErrorIs(t, err, cause, "the cause is there for who asks")
				assert.NotContains(t, err.Error(), "secret")
				assert.Contains(t, err.Error(), "exchange store: "+name+": ")
			})
		}
	})
}

type stateError struct{ state string }

func (e *stateError) Error() string    { return "secret" }
func (e *stateError) SQLState() string { return e.state }

type codeError struct{ code int }

func (e *codeError) Error() string { return "secret" }
func (e *codeError) Code() int     { return e.code }

func TestErrorsSayWhatToDo(t *testing.T) {
	for want, cause := range map[string]error{
		"SQLSTATE 42P01 (a table is missing: run Migrate)": &stateError{"42P01"},
		"SQLSTATE XX000": &stateError{"XX000"},
		"SQLSTATE secre": &stateError{"secret"},
		"SQLite result 261 (the database is locked, for longer than busy_timeout)": &codeError{261},
		"SQLite result 99":          &codeError{99},
		"context deadline exceeded": context.DeadlineExceeded,
		"the connection is gone":    io.ErrUnexpectedEOF,
		"an error of type":          errors.New("secret"),
	} {
		err := methods["Peek"](t.Context(), fake(t, sqlstore.Postgres, &fakeDB{err: cause}))
		assert.ErrorIs(t, err, stmigrate.ErrUnavailable)
		assert.Contains(t, err.Error(), want)
		assert.NotContains(t, err.Error(), "secret")
	}
}

func TestEveryMethodChecksTheSchema(t *testing.T) {
	forBoth(t, func(t *testing.T, d sqlstore.Dialect) {
		for version, want := range map[driver.Value]string{
			int64(0): "run Migrate", int64(2): "knows 1", int64(-1): "run Migrate", "secret": "unexpected answer",
		} {
			for name, call := range methods {
				if name == "Migrate" {
					continue
				}
				err := call(t.Context(), fake(t, d, &fakeDB{version: version, rows: [][]driver.Value{{int64(1)}}}))
				require.ErrorIs(t, err, stmigrate.ErrUnavailable, name)
				assert.Equal(t, version != "secret", errors.Is(err, sqlstore.ErrSchema), name)
				assert.Contains(t, err.Error(), want, name)
				assert.NotContains(t, err.Error(), "secret", name)
			}
		}
	})
}

func TestNew(t *testing.T) {
	db := sql.OpenDB(&fakeDB{})
	t.Cleanup(func() { assert.NoError(t, db.Close()) })
	for want, cfg := range map[string]sqlstore.Config{
		"Config.DB":               {Dialect: sqlstore.Postgres},
		"Config.Dialect":          {DB: db},
		`Config.Dialect is "pg"`:  {DB: db, Dialect: "pg"},
		`Config.TablePrefix is "`: {DB: db, Dialect: sqlstore.Postgres, TablePrefix: `x"; DROP TABLE users; --`},
		`prefix is "1x"`:          {DB: db, Dialect: sqlstore.SQLite, TablePrefix: "1x"},
		"at most 40":              {DB: db, Dialect: sqlstore.SQLite, TablePrefix: strings.Repeat("x", 41)},
		`Config.Schema is "a.b"`:  {DB: db, Dialect: sqlstore.Postgres, Schema: "a.b"},
		"for PostgreSQL only":     {DB: db, Dialect: sqlstore.SQLite, Schema: "main"},
	} {
		s, err := sqlstore.New(cfg)
		assert.Nil(t, s, want)
		require.Error(t, err, want)
		assert.Contains(t, strings.ToLower(err.Error()), strings.ToLower(want))
	}
}

func TestSchema(t *testing.T) {
	_, err := sqlstore.Schema(sqlstore.Config{})
	require.ErrorContains(t, err, "Config.Dialect")
	text, err := sqlstore.Schema(sqlstore.Config{Dialect: sqlstore.Postgres, Schema: "auth", TablePrefix: "legacy_"})
	require.NoError(t, err)
	assert.Contains(t, text, `CREATE TABLE "auth"."legacy_exchanges"`)
	assert.Contains(t, text, `CREATE INDEX "legacy_exchanges_clean" ON "auth"."legacy_exchanges"`)
	assert.NotContains(t, text, "{")
	assert.NotContains(t, text, "stmigrate_")
	text, err = sqlstore.Schema(sqlstore.Config{Dialect: sqlstore.SQLite})
	require.NoError(t, err)
	assert.Contains(t, text, `CREATE TABLE "stmigrate_exchanges"`)
	assert.NotContains(t, text, "{")
}

func TestBudgetsThatLetNothingThrough(t *testing.T) {
	s := fake(t, sqlstore.Postgres, &fakeDB{})
	for _, b := range []stmigrate.RevocationBudget{
		{}, {Calls: 1}, {Per: time.Second}, {Calls: -1, Per: time.Second}, {Calls: 1, Per: -time.Second}, {Calls: 2, Per: time.Microsecond},
		{Calls: 1, Per: 367 * 24 * time.Hour},
	} {
		_, _, err := s.TakeBudget(t.Context(), "name", 1, b)
		assert.ErrorContains(t, err, "the budget", b)
		assert.NotErrorIs(t, err, stmigrate.ErrUnavailable, b)
	}
}
