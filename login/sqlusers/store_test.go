package sqlusers_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/login/sqlusers"
	"github.com/stmigrate/stmigrate/login/sqlusers/passhash"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

const (
	adaHash     = "$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"
	adaPassword = "Kk4DQuMMfZL9o"
	dummyHash   = "$2b$04$pQ7gRO7e6wx/936oXhNjrOUNOHL1D0h1N2IDbJZYs.1ppzSof6SPy"
	dummySecret = "9IeRXmnGxMYbs" // the password of dummyHash
)

var adaColumns = []string{"id", "email", "password_hash", "email_verified", "created_at", "roles", "metadata", "tenant_id"}

func adaRow() []driver.Value {
	return []driver.Value{"ada", "Ada@Example.com", adaHash, true, time.Unix(1_000_000_000, 0).UTC(),
		`["admin","editor"]`, `{"plan":"pro","seats":9007199254740993}`, nil}
}

// with is ada's row with another value in one column.
func with(column string, value any) answer {
	a := answer{columns: adaColumns, rows: [][]driver.Value{adaRow()}}
	for i, name := range adaColumns {
		if name == column {
			a.rows[0][i] = value
		}
	}
	return a
}

func newStore(tb testing.TB, query func(ctx context.Context, text string, params ...any) answer, change ...func(*sqlusers.Config)) *sqlusers.Store {
	cfg := sqlusers.Config{DB: fakeDB(tb, query), ByEmail: "by email", ByID: "by id", CountNotImported: "count", DummyHash: dummyHash}
	for _, f := range change {
		f(&cfg)
	}
	s, err := sqlusers.New(cfg)
	require.NoError(tb, err)
	return s
}

// always answers with a for everybody who asks for ada.
func always(a answer) func(context.Context, string, ...any) answer {
	return func(_ context.Context, text string, params ...any) answer {
		if text == "count" {
			return answer{columns: []string{"n"}, rows: [][]driver.Value{{int64(7)}}}
		}
		if len(params) == 0 || params[0] != "ada@example.com" && params[0] != "ada" {
			return answer{columns: a.columns}
		}
		return a
	}
}

func TestStore_suite(t *testing.T) {
	stmigratetest.TestLegacyUserStore(t, func(t *testing.T) stmigratetest.LegacyUsersUnderTest {
		var broken atomic.Bool
		s := newStore(t, func(ctx context.Context, text string, params ...any) answer {
			if broken.Load() {
				return answer{err: errors.New("connection refused")}
			}
			return always(with("", nil))(ctx, text, params...)
		})
		return stmigratetest.LegacyUsersUnderTest{
			Store: s, User: stmigrate.LegacyUser{ID: "ada", Email: "ada@example.com", EmailVerified: true}, Password: adaPassword,
			OtherTenant: "acme", NotImported: 7, Break: func() { broken.Store(true) },
		}
	})
}

func TestStore_user(t *testing.T) {
	s := newStore(t, always(with("", nil)))
	u, err := s.Authenticate(t.Context(), "public", " ADA@example.com", adaPassword)
	require.NoError(t, err)
	require.Equal(t, "ada", u.ID)
	require.Equal(t, "public", u.TenantID)
	require.True(t, u.EmailVerified)
	require.Equal(t, int64(1_000_000_000), u.CreatedAt.Unix())
	require.Equal(t, adaHash, u.PasswordHash)
	require.Equal(t, []string{"admin", "editor"}, u.Roles)
	require.Equal(t, "pro", u.Metadata["plan"])
	require.EqualValues(t, "9007199254740993", u.Metadata["seats"], "no float")
}

func TestStore_values(t *testing.T) {
	at := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, tt := range map[string]struct {
		column string
		value  any
		want   func(*stmigrate.LegacyUser) any
		is     any
	}{
		"integer id":     {"id", int64(42), func(u *stmigrate.LegacyUser) any { return u.ID }, "42"},
		"bytes id":       {"id", []byte("ab-1"), func(u *stmigrate.LegacyUser) any { return u.ID }, "ab-1"},
		"verified 1":     {"email_verified", int64(1), verified, true},
		"verified 0":     {"email_verified", int64(0), verified, false},
		"verified text":  {"email_verified", "t", verified, true},
		"verified bytes": {"email_verified", []byte("0"), verified, false},
		"verified bit":   {"email_verified", []byte{1}, verified, true},
		"verified NULL":  {"email_verified", nil, verified, false},
		"created NULL":   {"created_at", nil, func(u *stmigrate.LegacyUser) any { return u.CreatedAt.IsZero() }, true},
		"created text":   {"created_at", "2020-01-02 03:04:05", created, at.Unix()},
		"created bytes":  {"created_at", []byte("2020-01-02T03:04:05.678Z"), created, at.Unix()},
		"no roles":       {"roles", nil, func(u *stmigrate.LegacyUser) any { return len(u.Roles) }, 0},
		"roles in bytes": {"roles", []byte(`["a,b"]`), func(u *stmigrate.LegacyUser) any { return u.Roles }, []string{"a,b"}},
		"no metadata":    {"metadata", nil, func(u *stmigrate.LegacyUser) any { return len(u.Metadata) }, 0},
		"tenant":         {"tenant_id", "public", func(u *stmigrate.LegacyUser) any { return u.TenantID }, "public"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, always(with(tt.column, tt.value)))
			u, err := s.Authenticate(t.Context(), "public", "ada@example.com", adaPassword)
			require.NoError(t, err)
			assert.Equal(t, tt.is, tt.want(u))
		})
	}
}

func verified(u *stmigrate.LegacyUser) any { return u.EmailVerified }
func created(u *stmigrate.LegacyUser) any  { return u.CreatedAt.Unix() }

func TestStore_badRows(t *testing.T) {
	two := with("", nil)
	two.rows = append(two.rows, adaRow())
	unknown := with("", nil)
	unknown.columns = append([]string{"is_admin"}, adaColumns[1:]...)
	twice := with("", nil)
	twice.columns = append([]string{"email"}, adaColumns[1:]...)
	noHash := answer{columns: []string{"id", "email"}, rows: [][]driver.Value{{"ada", "ada@example.com"}}}
	for name, tt := range map[string]struct {
		a       answer
		text    string
		passing bool // it is told to those only who know the password
	}{
		"two rows":           {two, "second row", false},
		"unknown column":     {unknown, `"is_admin"`, false},
		"column twice":       {twice, `"id"`, false},
		"no hash":            {noHash, `"password_hash"`, false},
		"id NULL":            {with("id", nil), `"id"`, false},
		"id empty":           {with("id", ""), `"id"`, false},
		"id long":            {with("id", strings.Repeat("x", 129)), `"id"`, false},
		"id binary":          {with("id", []byte{0xff, 0xfe}), `"id"`, false},
		"id with a line":     {with("id", "a\nb"), `"id"`, false},
		"id float":           {with("id", 1.5), `"id"`, false},
		"email NULL":         {with("email", nil), `"email"`, false},
		"email empty":        {with("email", ""), `"email"`, false},
		"hash of a format":   {with("password_hash", "$6$salt$hash"), "password_hash", false},
		"hash over cost":     {with("password_hash", strings.Replace(adaHash, "$04$", "$31$", 1)), "MaxBcryptCost", false},
		"hash of a number":   {with("password_hash", int64(1)), "password_hash", false},
		"verified 2":         {with("email_verified", int64(2)), "email_verified", true},
		"verified timestamp": {with("email_verified", time.Now()), "email_verified", true},
		"verified word":      {with("email_verified", "yes"), "email_verified", true},
		"created number":     {with("created_at", int64(1_000_000_000)), "created_at", true},
		"created word":       {with("created_at", "yesterday"), "created_at", true},
		"roles list":         {with("roles", "admin,editor"), "roles", true},
		"roles array":        {with("roles", "{admin}"), "roles", true},
		"roles of null":      {with("roles", `[null]`), "roles", true},
		"roles of numbers":   {with("roles", `[1]`), "roles", true},
		"roles and more":     {with("roles", `["a"]["b"]`), "roles", true},
		"metadata array":     {with("metadata", `[]`), "metadata", true},
		"metadata broken":    {with("metadata", `{"a":`), "metadata", true},
		"metadata long":      {with("metadata", `{"a":"`+strings.Repeat("x", 70_000)+`"}`), "metadata", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, always(tt.a))
			_, err := s.Authenticate(t.Context(), "public", "ada@example.com", adaPassword)
			require.ErrorIs(t, err, sqlusers.ErrBadRow)
			require.NotErrorIs(t, err, stmigrate.ErrUnavailable)
			require.NotErrorIs(t, err, stmigrate.ErrWrongCredentials)
			require.ErrorContains(t, err, tt.text)
			require.NotContains(t, err.Error(), adaPassword)
			require.NotContains(t, err.Error(), adaHash[8:])
			_, err = s.Authenticate(t.Context(), "public", "ada@example.com", "wrong")
			if tt.passing {
				require.ErrorIs(t, err, stmigrate.ErrWrongCredentials)
			} else {
				require.ErrorIs(t, err, sqlusers.ErrBadRow)
			}
		})
	}
}

// A row of somebody else is no answer, whatever the database's collation thinks.
func TestStore_anotherRow(t *testing.T) {
	for name, a := range map[string]answer{
		"accent":         with("email", "adá@example.com"),
		"another":        with("email", "eve@example.com"),
		"another tenant": with("tenant_id", "acme"),
		"no e-mail":      with("email", "a\x00b"),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, always(a))
			_, err := s.Authenticate(t.Context(), "public", "ada@example.com", adaPassword)
			require.ErrorIs(t, err, stmigrate.ErrWrongCredentials)
			_, err = s.UserByEmail(t.Context(), "public", "ada@example.com")
			require.ErrorIs(t, err, stmigrate.ErrUnknownUser)
		})
	}
	s := newStore(t, always(with("id", "Ada")))
	_, err := s.UserByID(t.Context(), "ada")
	require.ErrorIs(t, err, stmigrate.ErrUnknownUser)
}

// Neither the password of the dummy nor anything else signs in who has none.
func TestStore_noPassword(t *testing.T) {
	for name, value := range map[string]any{
		"NULL": nil, "empty": "", "Django's": "!W3qSM1zbGZr", "locked": "*", "failed": "*0", "locked hash": "!" + adaHash,
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, always(with("password_hash", value)))
			for _, password := range []string{adaPassword, dummySecret, "*", "!"} {
				u, err := s.Authenticate(t.Context(), "public", "ada@example.com", password)
				require.ErrorIs(t, err, stmigrate.ErrWrongCredentials)
				require.Nil(t, u)
			}
			u, err := s.UserByEmail(t.Context(), "public", "ada@example.com")
			require.NoError(t, err)
			require.Empty(t, u.PasswordHash)
		})
	}
	s := newStore(t, always(with("", nil)))
	_, err := s.Authenticate(t.Context(), "public", "nobody@example.com", dummySecret)
	require.ErrorIs(t, err, stmigrate.ErrWrongCredentials)
}

// The work for an unknown user and a user without a password is that of the dummy: one whose cost depends on the password's length
// shows that it is checked.
func TestStore_equalWork(t *testing.T) {
	s := newStore(t, always(with("password_hash", nil)), func(c *sqlusers.Config) {
		c.DummyHash, c.Hashes.MaxIterations = "$P$Aaaaaaaaa"+strings.Repeat("b", 22), 4096
	})
	for _, email := range []string{"ada@example.com", "nobody@example.com", "no e-mail\x00"} {
		_, err := s.Authenticate(t.Context(), "public", email, "wrong")
		require.ErrorIs(t, err, stmigrate.ErrWrongCredentials, email)
		_, err = s.Authenticate(t.Context(), "public", email, strings.Repeat("wrong", 40))
		require.ErrorIs(t, err, passhash.ErrLimit, email)
	}
}

func TestStore_tenants(t *testing.T) {
	perTenant := func(_ context.Context, text string, params ...any) answer {
		switch {
		case text == "by id":
			return with("tenant_id", "acme")
		case len(params) == 2 && params[0] == "ada@example.com" && params[1] == "acme":
			return with("", nil)
		}
		return answer{columns: adaColumns}
	}
	s := newStore(t, perTenant, func(c *sqlusers.Config) { c.PassTenant = true })
	u, err := s.Authenticate(t.Context(), "acme", "ada@example.com", adaPassword)
	require.NoError(t, err)
	require.Equal(t, "acme", u.TenantID)
	_, err = s.Authenticate(t.Context(), "public", "ada@example.com", adaPassword)
	require.ErrorIs(t, err, stmigrate.ErrWrongCredentials)
	u, err = s.UserByID(t.Context(), "ada")
	require.NoError(t, err)
	require.Equal(t, "acme", u.TenantID)

	s = newStore(t, always(with("", nil)), func(c *sqlusers.Config) { c.Tenant = "acme" })
	_, err = s.Authenticate(t.Context(), "acme", "ada@example.com", adaPassword)
	require.NoError(t, err)
	_, err = s.Authenticate(t.Context(), "public", "ada@example.com", adaPassword)
	require.ErrorIs(t, err, stmigrate.ErrWrongCredentials)

	s = newStore(t, func(context.Context, string, ...any) answer {
		return answer{columns: []string{"id", "email"}, rows: [][]driver.Value{{"ada", "ada@example.com"}}}
	}, func(c *sqlusers.Config) { c.PassTenant = true })
	_, err = s.UserByID(t.Context(), "ada")
	require.ErrorContains(t, err, "tenant_id")
}

func TestStore_idParam(t *testing.T) {
	var asked []any
	query := func(_ context.Context, _ string, params ...any) answer {
		asked = append(asked, params...)
		return with("id", int64(42))
	}
	s := newStore(t, query, func(c *sqlusers.Config) { c.IDParam = sqlusers.IntID })
	u, err := s.UserByID(t.Context(), "42")
	require.NoError(t, err)
	require.Equal(t, "42", u.ID)
	for _, id := range []string{"042", "+42", "-1", "x", "42 ", "99999999999999999999", "4٢"} {
		_, err := s.UserByID(t.Context(), id)
		require.ErrorIs(t, err, stmigrate.ErrUnknownUser, id)
	}
	require.Equal(t, []any{int64(42)}, asked)

	_, ok := sqlusers.UUID("0b7d0b5e-3f3a-4d49-8a39-5e1a5d6d8d0c")
	require.True(t, ok)
	for _, id := range []string{"", "0B7D0B5E-3F3A-4D49-8A39-5E1A5D6D8D0C", "0b7d0b5e3f3a4d498a395e1a5d6d8d0c0000", "zb7d0b5e-3f3a-4d49-8a39-5e1a5d6d8d0c"} {
		_, ok := sqlusers.UUID(id)
		require.False(t, ok, id)
	}
}

func TestStore_Check(t *testing.T) {
	require.NoError(t, newStore(t, always(with("", nil))).Check(t.Context()))
	for name, tt := range map[string]struct {
		query func(context.Context, string, ...any) answer
		text  string
	}{
		"syntax": {func(_ context.Context, text string, _ ...any) answer {
			if text == "by id" {
				return answer{err: errors.New("syntax error")}
			}
			return answer{columns: adaColumns}
		}, "Config.ByID"},
		"column": {func(context.Context, string, ...any) answer { return answer{columns: []string{"id", "email", "pw"}} }, "Config.ByEmail"},
		"count": {func(_ context.Context, text string, _ ...any) answer {
			if text == "count" {
				return answer{columns: []string{"n"}, rows: [][]driver.Value{{"many"}}}
			}
			return answer{columns: adaColumns}
		}, "Config.CountNotImported"},
	} {
		t.Run(name, func(t *testing.T) {
			require.ErrorContains(t, newStore(t, tt.query).Check(t.Context()), tt.text)
		})
	}
}

func TestStore_timeout(t *testing.T) {
	s := newStore(t, func(ctx context.Context, _ string, _ ...any) answer {
		<-ctx.Done()
		return answer{err: ctx.Err()}
	}, func(c *sqlusers.Config) { c.Timeout = time.Millisecond })
	_, err := s.Authenticate(t.Context(), "public", "ada@example.com", adaPassword)
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// What one row is worth must not take the store from everybody: the guard passes on ErrBadRow as ErrUnavailable and goes on asking.
func TestStore_behindTheGuard(t *testing.T) {
	s := newStore(t, always(with("password_hash", "broken")))
	guard, err := stmigrate.NewLegacyGuard(stmigrate.LegacyGuardConfig{Store: s})
	require.NoError(t, err)
	for range 9 {
		_, err := guard.Authenticate(t.Context(), "public", "ada@example.com", adaPassword)
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		require.ErrorIs(t, err, sqlusers.ErrBadRow)
	}
	_, err = guard.Authenticate(t.Context(), "public", "nobody@example.com", adaPassword)
	require.ErrorIs(t, err, stmigrate.ErrWrongCredentials)
}

func TestNew(t *testing.T) {
	good := sqlusers.Config{DB: fakeDB(t, always(with("", nil))), ByEmail: "by email", ByID: "by id", DummyHash: dummyHash}
	s, err := sqlusers.New(good)
	require.NoError(t, err)
	_, err = s.CountUsersNotImported(t.Context())
	require.ErrorIs(t, err, stmigrate.ErrUnsupported)
	for name, tt := range map[string]struct {
		change func(*sqlusers.Config)
		text   string
	}{
		"DB":       {func(c *sqlusers.Config) { c.DB = nil }, "Config.DB"},
		"ByEmail":  {func(c *sqlusers.Config) { c.ByEmail = "" }, "Config.ByEmail"},
		"ByID":     {func(c *sqlusers.Config) { c.ByID = "" }, "Config.ByID"},
		"no dummy": {func(c *sqlusers.Config) { c.DummyHash = "" }, "Config.DummyHash"},
		"dummy":    {func(c *sqlusers.Config) { c.DummyHash = "x" }, "Config.DummyHash"},
		"dear dummy": {func(c *sqlusers.Config) { c.DummyHash = strings.Replace(dummyHash, "$04$", "$20$", 1) },
			"Config.DummyHash"},
		"tenant":  {func(c *sqlusers.Config) { c.Tenant = "No Tenant" }, "Config.Tenant"},
		"timeout": {func(c *sqlusers.Config) { c.Timeout = -1 }, "Config.Timeout"},
		"hashes":  {func(c *sqlusers.Config) { c.Hashes.Concurrency = -1 }, "Config.Hashes"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			tt.change(&cfg)
			_, err := sqlusers.New(cfg)
			require.ErrorContains(t, err, tt.text)
		})
	}
}
