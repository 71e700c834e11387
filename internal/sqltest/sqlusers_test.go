package sqltest

import (
	"database/sql"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/sqltest/pg"
	"github.com/stmigrate/stmigrate/login/sqlusers"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

const (
	legacyHash     = "$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"
	legacyPassword = "Kk4DQuMMfZL9o"
	legacyDummy    = "$2b$04$pQ7gRO7e6wx/936oXhNjrOUNOHL1D0h1N2IDbJZYs.1ppzSof6SPy"
)

// legacyTable is a table of users with queries over it.
type legacyTable struct {
	open   func(t *testing.T) *sql.DB
	schema []string
	cfg    sqlusers.Config
	id     string
}

func legacyTables(t *testing.T) map[string]legacyTable {
	postgres := func(t *testing.T) *sql.DB { return openDB(t, "pgx", pg.Start(t)) }
	sqlite := func(t *testing.T) *sql.DB { return openDB(t, "sqlite", sqliteFile(t)) }
	return map[string]legacyTable{
		"PostgreSQL, bigint": {postgres, []string{
			`CREATE TABLE users (id bigint PRIMARY KEY, email text NOT NULL, password_hash text, confirmed_at timestamptz,
				created_at timestamptz NOT NULL, profile jsonb, imported boolean NOT NULL DEFAULT false)`,
			`CREATE TABLE user_roles (user_id bigint, name text)`,
			`INSERT INTO users VALUES (42, 'Ada@Example.com', '` + legacyHash + `', now(), '2001-09-09T01:46:40Z', '{"plan":"pro"}')`,
			`INSERT INTO users VALUES (43, 'twin@example.com', NULL, NULL, now(), NULL), (44, 'Twin@example.com', NULL, NULL, now(), NULL)`,
			`INSERT INTO users VALUES (45, 'social@example.com', NULL, NULL, now(), NULL, true)`,
			`INSERT INTO user_roles VALUES (42, 'admin'), (42, 'a,b')`,
		}, sqlusers.Config{
			ByEmail: `SELECT u.id, u.email, u.password_hash, u.confirmed_at IS NOT NULL AS email_verified, u.created_at, u.profile AS metadata,
				(SELECT json_agg(r.name ORDER BY r.name) FROM user_roles r WHERE r.user_id = u.id) AS roles
				FROM users u WHERE lower(u.email) = $1`,
			ByID:             `SELECT id, email, confirmed_at IS NOT NULL AS email_verified FROM users WHERE id = $1`,
			IDParam:          sqlusers.IntID,
			CountNotImported: `SELECT count(*) FROM users WHERE NOT imported`,
		}, "42"},
		"PostgreSQL, uuid and tenants": {postgres, []string{
			`CREATE TABLE users (id uuid PRIMARY KEY, org text NOT NULL, email text NOT NULL, password_hash text, verified boolean NOT NULL,
				created_at timestamp NOT NULL, roles text[], UNIQUE (org, email))`,
			`INSERT INTO users VALUES ('0b7d0b5e-3f3a-4d49-8a39-5e1a5d6d8d0c', 'main', 'ada@example.com', '` + legacyHash + `', true,
				'2001-09-09 01:46:40', '{admin,"a,b"}')`,
			`INSERT INTO users VALUES ('0b7d0b5e-3f3a-4d49-8a39-5e1a5d6d8d0d', 'other', 'ada@example.com', NULL, true, now(), NULL)`,
			`INSERT INTO users SELECT gen_random_uuid(), 'main', 'x' || n || '@example.com', NULL, false, now(), NULL FROM generate_series(1, 1) n`,
		}, sqlusers.Config{
			PassTenant: true,
			ByEmail: `SELECT id, email, password_hash, verified AS email_verified, created_at, array_to_json(roles) AS roles
				FROM users WHERE lower(email) = $1 AND org = CASE $2 WHEN 'public' THEN 'main' ELSE $2 END`,
			ByID: `SELECT id, email, verified AS email_verified, CASE org WHEN 'main' THEN 'public' ELSE org END AS tenant_id
				FROM users WHERE id = $1`,
			IDParam:          sqlusers.UUID,
			CountNotImported: `SELECT count(*) FROM users`,
		}, "0b7d0b5e-3f3a-4d49-8a39-5e1a5d6d8d0c"},
		"SQLite": {sqlite, []string{
			`CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT NOT NULL COLLATE NOCASE, password_hash TEXT, verified INTEGER,
				created_at TEXT, metadata TEXT)`,
			`CREATE TABLE user_roles (user_id INTEGER, name TEXT)`,
			`INSERT INTO users VALUES (42, 'Ada@Example.com', '` + legacyHash + `', 1, '2001-09-09 01:46:40', '{"plan":"pro"}')`,
			`INSERT INTO users VALUES (43, 'bob@example.com', NULL, 0, NULL, NULL), (44, 'eve@example.com', '', NULL, NULL, NULL)`,
			`INSERT INTO user_roles VALUES (42, 'a,b'), (42, 'admin')`,
		}, sqlusers.Config{
			ByEmail: `SELECT id, email, password_hash, verified AS email_verified, created_at, metadata,
				(SELECT json_group_array(name) FROM user_roles WHERE user_id = users.id) AS roles FROM users WHERE email = ?`,
			ByID:             `SELECT id, email, verified AS email_verified FROM users WHERE id = ?`,
			IDParam:          sqlusers.IntID,
			CountNotImported: `SELECT count(*) FROM users`,
		}, "42"},
	}
}

func (l legacyTable) store(t *testing.T) (*sqlusers.Store, *sql.DB) {
	db := l.open(t)
	for _, statement := range l.schema {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
	cfg := l.cfg
	cfg.DB, cfg.DummyHash = db, legacyDummy
	s, err := sqlusers.New(cfg)
	require.NoError(t, err)
	require.NoError(t, s.Check(t.Context()))
	return s, db
}

func TestLegacyUsers(t *testing.T) {
	for name, table := range legacyTables(t) {
		t.Run(name, func(t *testing.T) {
			stmigratetest.TestLegacyUserStore(t, func(t *testing.T) stmigratetest.LegacyUsersUnderTest {
				s, db := table.store(t)
				return stmigratetest.LegacyUsersUnderTest{
					Store: s, User: stmigrate.LegacyUser{ID: table.id, Email: "ada@example.com", EmailVerified: true}, Password: legacyPassword,
					OtherTenant: "third", NotImported: 3, Break: func() { require.NoError(t, db.Close()) },
				}
			})
			s, _ := table.store(t)
			u, err := s.Authenticate(t.Context(), "public", "ada@example.com", legacyPassword)
			require.NoError(t, err)
			require.Equal(t, legacyHash, u.PasswordHash)
			require.ElementsMatch(t, []string{"a,b", "admin"}, u.Roles)
			require.True(t, u.CreatedAt.Equal(time.Unix(1_000_000_000, 0)), u.CreatedAt)
		})
	}
}

func TestLegacyUsers_twoRows(t *testing.T) {
	s, _ := legacyTables(t)["PostgreSQL, bigint"].store(t)
	_, err := s.Authenticate(t.Context(), "public", "twin@example.com", legacyPassword)
	require.ErrorIs(t, err, sqlusers.ErrBadRow)
	require.ErrorContains(t, err, "second row")
	_, err = s.Authenticate(t.Context(), "public", "social@example.com", "9IeRXmnGxMYbs")
	require.ErrorIs(t, err, stmigrate.ErrWrongCredentials)
}

// A query that the database refuses, or whose parameter has another type, is found by Check.
func TestLegacyUsers_Check(t *testing.T) {
	table := legacyTables(t)["PostgreSQL, bigint"]
	_, db := table.store(t)
	for name, change := range map[string]func(*sqlusers.Config){
		"Config.ByEmail":          func(c *sqlusers.Config) { c.ByEmail = "SELECT id, email, secret FROM users WHERE lower(email) = $1" },
		"Config.ByEmail: ":        func(c *sqlusers.Config) { c.ByEmail = "SELECT id, email, password_hash FROM users WHERE $1 AND $2" },
		"Config.ByID":             func(c *sqlusers.Config) { c.IDParam = sqlusers.UUID },
		"Config.CountNotImported": func(c *sqlusers.Config) { c.CountNotImported = "SELECT count(*) FROM nothing" },
	} {
		cfg := table.cfg
		cfg.DB, cfg.DummyHash = db, legacyDummy
		change(&cfg)
		s, err := sqlusers.New(cfg)
		require.NoError(t, err)
		require.ErrorContains(t, s.Check(t.Context()), name)
	}
}

// One e-mail can be two users', of two tenants.
func TestLegacyUsers_tenants(t *testing.T) {
	s, _ := legacyTables(t)["PostgreSQL, uuid and tenants"].store(t)
	_, err := s.Authenticate(t.Context(), "other", "ada@example.com", legacyPassword)
	require.ErrorIs(t, err, stmigrate.ErrWrongCredentials)
	u, err := s.UserByEmail(t.Context(), "other", "ada@example.com")
	require.NoError(t, err)
	require.Equal(t, "other", u.TenantID)
	byID, err := s.UserByID(t.Context(), u.ID)
	require.NoError(t, err)
	require.Equal(t, "other", byID.TenantID)
}
