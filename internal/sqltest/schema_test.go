package sqltest

import (
	"database/sql"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/sqltest/pg"
	"github.com/stmigrate/stmigrate/login"
	"github.com/stmigrate/stmigrate/stores/sqlstore"
)

func mustExec(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, text := range statements {
		_, err := db.ExecContext(t.Context(), text)
		require.NoError(t, err, text)
	}
}

func TestMigrate(t *testing.T) {
	forEach(t, func(t *testing.T, d sqlstore.Dialect) {
		db, _ := database(t, d)
		ctx := t.Context()
		wrong := func(want string) {
			t.Helper()
			s := newStore(t, d, db)
			_, claimErr := s.Claim(ctx, claimOf("a", 1))
			for _, err := range []error{s.Check(ctx), claimErr} {
				require.ErrorIs(t, err, sqlstore.ErrSchema)
				require.ErrorIs(t, err, stmigrate.ErrUnavailable)
				assert.Contains(t, err.Error(), want)
			}
		}
		wrong("run Migrate")
		var wg sync.WaitGroup
		for range 8 {
			s := newStore(t, d, db)
			wg.Go(func() { assert.NoError(t, s.Migrate(ctx)) })
		}
		wg.Wait()
		s := newStore(t, d, db)
		require.NoError(t, s.Check(ctx))
		claim(t, s, claimOf("a", 1))
		require.NoError(t, s.Migrate(ctx))
		assert.Equal(t, stmigrate.ClaimBusy, claim(t, s, claimOf("a", 2)).State, "what was there is there")

		mustExec(t, db, "INSERT INTO stmigrate_schema (version, applied_at) VALUES (99, 0)")
		wrong("version 99")
		err := newStore(t, d, db).Migrate(ctx)
		require.ErrorIs(t, err, sqlstore.ErrSchema)
		mustExec(t, db, "DELETE FROM stmigrate_schema")
		wrong("run Migrate")
		// Tables that are there without their record are not ours to change.
		require.ErrorIs(t, newStore(t, d, db).Migrate(ctx), stmigrate.ErrUnavailable)
		assert.Equal(t, 1, count(t, db, "done = 0"))
		require.NoError(t, db.PingContext(ctx), "a transaction that failed was rolled back")
		mustExec(t, db, "INSERT INTO stmigrate_schema (version, applied_at) VALUES (1, 0)")
		require.NoError(t, newStore(t, d, db).Check(ctx))
	})
}

// The SQL that a host gives to a tool of its own makes what Migrate makes.
func TestSchemaByHand(t *testing.T) {
	forEach(t, func(t *testing.T, d sqlstore.Dialect) {
		db, _ := database(t, d)
		cfg := sqlstore.Config{DB: db, Dialect: d, TablePrefix: "legacy_"}
		if d == sqlstore.Postgres {
			cfg.Schema = "auth"
			mustExec(t, db, "CREATE SCHEMA auth")
		}
		text, err := sqlstore.Schema(cfg)
		require.NoError(t, err)
		mustExec(t, db, text)
		s, err := sqlstore.New(cfg)
		require.NoError(t, err)
		require.NoError(t, s.Check(t.Context()))
		require.NoError(t, s.Migrate(t.Context()))
		claim(t, s, claimOf("a", 1))
		require.NoError(t, s.Finish(t.Context(), claimOf("a", 1).Key, stmigrate.Fence{1}, finished()))

		// The ledger of login stands beside it.
		text, err = login.Schema(login.SQLConfig(cfg))
		require.NoError(t, err)
		mustExec(t, db, text)
		l, err := login.NewSQLLedger(login.SQLConfig(cfg))
		require.NoError(t, err)
		require.NoError(t, l.Check(t.Context()))
		require.NoError(t, l.Migrate(t.Context()))
		e, err := l.Claim(t.Context(), login.Claim{Key: login.Key{TenantID: "public", Email: "ada@example.com"}, Lease: time.Minute})
		require.NoError(t, err)
		assert.True(t, e.Held)
	})
}

// A user with the rights that the manual names can do all but Migrate.
func TestRights(t *testing.T) {
	db, dsn := database(t, sqlstore.Postgres)
	s := newStore(t, sqlstore.Postgres, db)
	require.NoError(t, s.Migrate(t.Context()))
	const password = "hidden-password"
	role := "limited_" + strings.ReplaceAll(time.Now().Format("150405.000000"), ".", "_")
	mustExec(t, db, "REVOKE CREATE ON SCHEMA public FROM PUBLIC", "CREATE ROLE "+role+" LOGIN PASSWORD '"+password+"'",
		"GRANT SELECT, INSERT, UPDATE, DELETE ON stmigrate_exchanges, stmigrate_epochs, stmigrate_budgets TO "+role,
		"GRANT SELECT ON stmigrate_schema TO "+role)
	t.Cleanup(func() {
		_, err := db.Exec("DROP OWNED BY " + role + "; DROP ROLE " + role)
		assert.NoError(t, err)
	})
	limited := newStore(t, sqlstore.Postgres, openDB(t, "pgx", pg.As(dsn, role, password)))
	require.NoError(t, limited.Check(t.Context()))
	for name, err := range all(t.Context(), limited) {
		assert.NoError(t, err, name)
	}
	require.NoError(t, limited.Migrate(t.Context()), "there is nothing to do")
	other, err := sqlstore.New(sqlstore.Config{
		DB: openDB(t, "pgx", pg.As(dsn, role, password)), Dialect: sqlstore.Postgres, TablePrefix: "other_",
	})
	require.NoError(t, err)
	err = other.Migrate(t.Context())
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	assert.Contains(t, err.Error(), "SQLSTATE 42501 (this user lacks a right")
	var cause *pgconn.PgError
	require.ErrorAs(t, err, &cause)

	mustExec(t, db, "REVOKE DELETE ON stmigrate_exchanges FROM "+role)
	err = limited.Release(t.Context(), stmigrate.ExchangeKey{}, stmigrate.Fence{}, false)
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	assert.NotContains(t, err.Error(), password)
}
