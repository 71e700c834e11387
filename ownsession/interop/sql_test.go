package interop

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/sqltest/pg"
	"github.com/stmigrate/stmigrate/ownsession"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

func openDB(t *testing.T, driver, dsn string, statements ...string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	db.SetMaxOpenConns(1) // a table of this connection only
	t.Cleanup(func() { _ = db.Close() })
	for _, statement := range statements {
		_, err := db.Exec(statement)
		require.NoError(t, err)
	}
	return db
}

func hexOf(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func TestSQLite(t *testing.T) {
	t.Parallel()
	db := openDB(t, "sqlite", ":memory:",
		`CREATE TABLE sessions (hash TEXT PRIMARY KEY COLLATE NOCASE, user_id INTEGER, org TEXT, expires_at DATETIME, ended INTEGER DEFAULT 0)`)
	rows(t, db, ownsession.SQLConfig{
		Lookup: ownsession.SHA256Hex,
		Query:  "SELECT hash AS id, user_id, org, expires_at, ended AS revoked FROM sessions WHERE hash = ?",
		Delete: "DELETE FROM sessions WHERE hash = ?",
	}, func(token string, end time.Time, ended bool) {
		_, err := db.Exec("INSERT INTO sessions VALUES (?, 7, 'acme', ?, ?)", hexOf(token), end, ended)
		require.NoError(t, err)
	})
	// NOCASE finds the row of a token whose key differs in case only; a session would have two names.
	plain, err := ownsession.NewSQL(ownsession.SQLConfig{
		Rules: ownsession.Rules{Issuer: "rows", UserID: ownsession.Path{"user_id"}}, DB: db, Lookup: ownsession.PlainID, SkipExpiry: true,
		Query: "SELECT hash AS id, user_id FROM sessions WHERE hash = ?", Delete: "DELETE FROM sessions WHERE hash = ?",
	})
	require.NoError(t, err)
	_, err = db.Exec("INSERT INTO sessions (hash, user_id) VALUES ('plain-0123456789abcdef', 7)")
	require.NoError(t, err)
	_, err = plain.Verify(t.Context(), "plain-0123456789abcdef")
	require.NoError(t, err)
	_, err = plain.Verify(t.Context(), "PLAIN-0123456789ABCDEF")
	assert.ErrorIs(t, err, stmigrate.ErrNotMine)
}

func TestPostgreSQL(t *testing.T) {
	t.Parallel()
	dsn := pg.Start(t)
	for name, key := range map[string]struct {
		kind   string
		lookup ownsession.Lookup
		of     func(token string) any
	}{
		"text":  {"text", ownsession.SHA256Hex, func(token string) any { return hexOf(token) }},
		"bytea": {"bytea", ownsession.SHA256Bytes, func(token string) any { sum := sha256.Sum256([]byte(token)); return sum[:] }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := openDB(t, "pgx", dsn, fmt.Sprintf(
				`CREATE TEMPORARY TABLE sessions (hash %s PRIMARY KEY, user_id bigint, org text, expires_at timestamptz, ended boolean)`, key.kind))
			rows(t, db, ownsession.SQLConfig{
				Lookup: key.lookup,
				Query:  "SELECT hash AS id, user_id, org, expires_at, ended AS revoked FROM sessions WHERE hash = $1",
				Delete: "DELETE FROM sessions WHERE hash = $1",
			}, func(token string, end time.Time, ended bool) {
				_, err := db.Exec("INSERT INTO sessions VALUES ($1, 7, 'acme', $2, $3)", key.of(token), end, ended)
				require.NoError(t, err)
			})
		})
	}
	t.Run("uuid", func(t *testing.T) {
		t.Parallel()
		db := openDB(t, "pgx", dsn, `CREATE TEMPORARY TABLE sessions (id uuid, user_id uuid, expires_at timestamp)`)
		v, err := ownsession.NewSQL(ownsession.SQLConfig{
			Rules: ownsession.Rules{Issuer: "rows", UserID: ownsession.Path{"user_id"}, Timeout: time.Minute}, DB: db, Lookup: ownsession.PlainID,
			Query: "SELECT id, user_id, expires_at FROM sessions WHERE id = $1", Delete: "DELETE FROM sessions WHERE id = $1",
		})
		require.NoError(t, err)
		const id, user = "0c8bb1d0-5c59-4f3e-9a53-3f2d9a0c7b11", "7f9c24e8-3b12-4fef-91e0-5bd9c7a0d111"
		_, err = db.Exec("INSERT INTO sessions VALUES ($1, $2, now() + interval '1 day')", id, user)
		require.NoError(t, err)
		s, err := v.Verify(t.Context(), id)
		require.NoError(t, err)
		assert.Equal(t, user, s.Subject)
		_, err = v.Verify(t.Context(), strings.ToUpper(id))
		assert.ErrorIs(t, err, stmigrate.ErrNotMine, "the same row by another spelling")
		require.NoError(t, v.Revoke(t.Context(), id, s))
		_, err = v.Verify(t.Context(), id)
		assert.ErrorIs(t, err, stmigrate.ErrNotMine)
	})
}

func rows(t *testing.T, db *sql.DB, cfg ownsession.SQLConfig, insert func(token string, end time.Time, ended bool)) {
	t.Helper()
	cfg.DB = db
	cfg.Rules = ownsession.Rules{
		Issuer: "rows", UserID: ownsession.Path{"user_id"}, TenantID: ownsession.Path{"org"}, Tenants: map[string]string{"acme": "acme"},
		Timeout: time.Minute, // however slow the machine is
	}
	v, err := ownsession.NewSQL(cfg)
	require.NoError(t, err)
	token := func(name string) string { return name + "-0123456789abcdef0123456789abcdef" }
	later := time.Now().Add(time.Hour)
	insert(token("live"), later, false)
	insert(token("other"), later, false)
	insert(token("over"), time.Now().Add(-time.Second), false)
	insert(token("ended"), later, true)
	stmigratetest.TestVerifier(t, stmigratetest.VerifierUnderTest{
		Verifier: v,
		Good:     []stmigratetest.GoodToken{{Name: "live", Token: token("live"), Subject: "7"}},
		Wrong: []stmigratetest.WrongToken{
			{Category: "sql", Name: "over", Token: token("over"), Class: stmigratetest.ClassExpired},
			{Category: "sql", Name: "ended", Token: token("ended"), Class: stmigratetest.ClassInvalid},
			{Category: "sql", Name: "unknown", Token: token("none"), Class: stmigratetest.ClassNotMine},
			{Category: "sql", Name: "the hash", Token: hexOf(token("live")), Class: stmigratetest.ClassNotMine},
		},
	})
	s, err := v.Verify(t.Context(), token("live"))
	require.NoError(t, err)
	assert.Equal(t, "acme", s.TenantID)
	assert.WithinDuration(t, later, s.ExpiresAt, time.Second)
	for range 2 {
		require.NoError(t, v.Revoke(t.Context(), token("live"), s))
	}
	_, err = v.Verify(t.Context(), token("live"))
	require.ErrorIs(t, err, stmigrate.ErrNotMine)
	_, err = v.Verify(t.Context(), token("other"))
	assert.NoError(t, err)
}

// connect-pg-simple's own table has no time zone in it: what it wrote is the time of the server's zone. None of these sets its
// clock back in autumn: of the hour that comes twice nobody can tell which one was written.
func TestConnectPGSimple(t *testing.T) {
	t.Parallel()
	dsn := pg.Start(t)
	for _, zone := range []string{"UTC", "Asia/Tokyo", "America/Phoenix"} {
		db := openDB(t, "pgx", dsn, "SET TIME ZONE '"+zone+"'", `CREATE TEMPORARY TABLE session (sid varchar PRIMARY KEY, sess json, expire timestamp(6))`)
		v, err := connectPGSimple(db, "fixture secret of express, current")
		require.NoError(t, err)
		const id = "VyH4x3tpzlp5zn_hLneOaPRO-OTqVlH8"
		const cookie = "s%3A" + id + ".Cql4g3nIxV6xyUq6gtl4e5gbufM3NM92%2F%2By%2BmKRtVUk"
		for left, class := range map[time.Duration]error{-time.Hour: stmigrate.ErrExpiredSession, time.Hour: nil} {
			_, err = db.Exec(`INSERT INTO session VALUES ($1, '{"cookie":{},"passport":{"user":"user-1"}}', to_timestamp($2))
				ON CONFLICT (sid) DO UPDATE SET expire = excluded.expire`, id, time.Now().Add(left).Unix())
			require.NoError(t, err)
			s, err := v.Verify(t.Context(), cookie)
			assert.ErrorIs(t, err, class, "%s, %v left", zone, left)
			if err == nil {
				assert.Equal(t, "user-1", s.Subject)
				assert.WithinDuration(t, time.Now().Add(left), s.ExpiresAt, time.Minute, zone)
			}
		}
	}
}
