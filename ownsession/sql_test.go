package ownsession

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// table is a driver with one table. A query, whatever its text, finds the rows whose first column is the parameter, as a collation
// that is blind for case would; an exec deletes them.
type table struct {
	mu      sync.Mutex
	columns []string
	rows    [][]driver.Value
	fail    error
	late    error // once the rows were read
	asked   []driver.Value
}

func (d *table) Connect(context.Context) (driver.Conn, error) { return tableConn{d}, nil }
func (d *table) Driver() driver.Driver                        { return nil }

type tableConn struct{ *table }

func (c tableConn) Prepare(string) (driver.Stmt, error)                          { return nil, errors.New("not prepared") }
func (c tableConn) Close() error                                                 { return nil }
func (c tableConn) Begin() (driver.Tx, error)                                    { return nil, errors.New("not without a context") }
func (c tableConn) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) { return c, nil }
func (c tableConn) Commit() error                                                { return nil }
func (c tableConn) Rollback() error                                              { return nil }

func (c tableConn) found(args []driver.NamedValue) (in, out [][]driver.Value) {
	c.asked = append(c.asked, args[0].Value)
	for _, row := range c.rows {
		if strings.EqualFold(fmt.Sprintf("%s", row[0]), fmt.Sprintf("%s", args[0].Value)) {
			in = append(in, row)
		} else {
			out = append(out, row)
		}
	}
	return in, out
}

func (c tableConn) QueryContext(ctx context.Context, _ string, args []driver.NamedValue) (driver.Rows, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in, _ := c.found(args)
	return &tableRows{columns: c.columns, rows: in, late: c.late}, errors.Join(c.fail, ctx.Err())
}

func (c tableConn) ExecContext(_ context.Context, _ string, args []driver.NamedValue) (driver.Result, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	in, out := c.found(args)
	c.rows = out
	return driver.RowsAffected(len(in)), c.fail
}

type tableRows struct {
	columns []string
	rows    [][]driver.Value
	late    error
}

func (r *tableRows) Columns() []string { return r.columns }
func (r *tableRows) Close() error      { return nil }
func (r *tableRows) Next(dest []driver.Value) error {
	if len(r.rows) == 0 {
		if r.late != nil {
			return r.late
		}
		return io.EOF
	}
	copy(dest, r.rows[0])
	r.rows = r.rows[1:]
	return nil
}

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func sqlTable(t testing.TB, columns string, rows ...[]driver.Value) (*table, SQLConfig) {
	d := &table{columns: strings.Fields(columns), rows: rows}
	db := sql.OpenDB(d)
	t.Cleanup(func() { _ = db.Close() })
	return d, SQLConfig{
		Rules: Rules{Issuer: "rows", UserID: Path{"user_id"}, Now: at(noon)}, DB: db, Lookup: PlainID,
		Query: "SELECT id, user_id, expires_at FROM sessions WHERE id = $1", Delete: "DELETE FROM sessions WHERE id = $1",
	}
}

// sqlID is a session ID.
func sqlID(name string) string {
	return (strings.ReplaceAll(name, " ", "-") + "-0123456789abcdef0123456789abcdef")[:32]
}

func TestSQL(t *testing.T) {
	t.Parallel()
	later := noon.Add(time.Hour)
	row := func(name string, user, expires, revoked driver.Value) []driver.Value {
		return []driver.Value{sqlID(name), user, expires, revoked}
	}
	d, cfg := sqlTable(t, "id user_id EXPIRES_AT revoked",
		row("live", "ada", later, nil), row("integer", int64(7), later, false), row("bytes", []byte("ada"), later, int64(0)),
		row("text zero", "ada", later, []byte("0")), row("seconds", "ada", later.Unix(), nil),
		row("milliseconds", "ada", later.UnixMilli(), nil), row("a float", "ada", float64(later.Unix())+0.5, nil),
		row("text", "ada", later.Format(time.RFC3339), nil),
		row("over", "ada", noon, nil), row("over by seconds", "ada", noon.Unix()-1, nil), row("no end", "ada", nil, nil),
		row("revoked", "ada", later, true), row("revoked 1", "ada", later, int64(1)), row("revoked at", "ada", later, noon),
		row("revoked later", "ada", later, later), row("revoked f", "ada", later, "f"), row("revoked blank", "ada", later, ""),
		row("revoked and over", "ada", noon, true),
		[]driver.Value{sqlID("live")[:15], "ada", later, nil}, []driver.Value{sqlID("live") + `"`, "ada", later, nil},
		row("guest", nil, later, nil), row("blank", "", later, nil), row("true", true, later, nil), row("a fraction", 1.5, later, nil),
	)
	v, err := NewSQL(cfg)
	require.NoError(t, err)
	good := []stmigratetest.GoodToken{{Name: "integer", Token: sqlID("integer"), Subject: "7"}}
	for _, name := range []string{"live", "bytes", "text zero", "seconds", "milliseconds", "a float", "text"} {
		good = append(good, stmigratetest.GoodToken{Name: name, Token: sqlID(name), Subject: "ada"})
	}
	traps := []trap{
		{"no such row", sqlID("none"), stmigrate.ErrNotMine},
		{"another case", strings.ToUpper(sqlID("live")), stmigrate.ErrNotMine},
		{"nothing", "", stmigrate.ErrNotMine},
		{"15 characters", sqlID("live")[:15], stmigrate.ErrNotMine},
		{"257 characters", strings.Repeat("a", 257), stmigrate.ErrNotMine},
		{"a quote", sqlID("live") + `"`, stmigrate.ErrNotMine},
		{"a space", sqlID("live") + " ", stmigrate.ErrNotMine},
		{"a NUL", sqlID("live") + "\x00", stmigrate.ErrNotMine},
		{"not ASCII", sqlID("live") + "é", stmigrate.ErrNotMine},
	}
	for want, names := range map[error][]string{
		stmigrate.ErrExpiredSession: {"over", "over by seconds"},
		stmigrate.ErrInvalidSession: {
			"no end", "revoked", "revoked 1", "revoked at", "revoked later", "revoked f", "revoked blank", "revoked and over",
			"guest", "blank", "true", "a fraction",
		},
	} {
		for _, name := range names {
			traps = append(traps, trap{name, sqlID(name), want})
		}
	}
	holds(t, v, good, traps)

	s, err := v.Verify(t.Context(), sqlID("live"))
	require.NoError(t, err)
	assert.Equal(t, "rows", s.Issuer)
	assert.Equal(t, later, s.ExpiresAt)
	assert.Len(t, s.SessionID, 43)
	assert.NotContains(t, fmt.Sprintf("%+v", *s), sqlID("live"))
	assert.Contains(t, d.columns, "EXPIRES_AT", "what the driver returns stays as it is: it may be in use elsewhere")
}

func TestSQLLookup(t *testing.T) {
	t.Parallel()
	token := sqlID("live")
	secret := []byte("0123456789abcdef")
	for name, lookup := range map[string]Lookup{
		"PlainID": PlainID, "SHA256Hex": SHA256Hex, "SHA256Bytes": SHA256Bytes, "HMACHex": HMACHex(secret), "HMACBytes": HMACBytes(secret),
		"prefixed": func(token string) (any, error) { return "sess:" + token, nil },
	} {
		key, err := lookup(token)
		require.NoError(t, err, name)
		d, cfg := sqlTable(t, "id user_id expires_at", []driver.Value{key, "ada", noon.Add(time.Hour)})
		cfg.Lookup = lookup
		v, err := NewSQL(cfg)
		require.NoError(t, err, name)
		s, err := v.Verify(t.Context(), token)
		require.NoError(t, err, name)
		require.NoError(t, v.Revoke(t.Context(), token, s), name)
		assert.Equal(t, []driver.Value{key, key}, d.asked, name)
		assert.Empty(t, d.rows, name)
		_, err = v.Verify(t.Context(), token)
		assert.ErrorIs(t, err, stmigrate.ErrNotMine, name)
	}
	assert.Nil(t, HMACHex(secret[1:]))
	assert.Nil(t, HMACBytes(nil))
	sum, _ := SHA256Hex("abc")
	assert.Equal(t, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad", sum)

	d, cfg := sqlTable(t, "id user_id expires_at")
	var fail error
	cfg.Lookup = func(string) (any, error) { return 7, fail }
	v, err := NewSQL(cfg)
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), token)
	assert.ErrorContains(t, err, "a string or []byte wanted")
	fail = errors.New("no signature: " + token)
	_, err = v.Verify(t.Context(), token)
	assert.ErrorIs(t, err, stmigrate.ErrNotMine)
	assert.NotContains(t, err.Error(), token)
	fail = stmigrate.ErrInvalidSession
	_, err = v.Verify(t.Context(), token)
	assert.ErrorIs(t, err, stmigrate.ErrInvalidSession)
	assert.Empty(t, d.asked)
}

// A statement that cannot be right is an error of the program, not of the session.
func TestSQLWrongQuery(t *testing.T) {
	t.Parallel()
	end := noon.Add(time.Hour)
	for _, tc := range []struct {
		want, columns string
		values        []driver.Value
		rows          int
	}{
		{`no column "id"`, "user_id expires_at", []driver.Value{sqlID("live"), end}, 1},
		{`no column "user_id"`, "id expires_at", []driver.Value{sqlID("live"), end}, 1},
		{`no column "expires_at"`, "id user_id", []driver.Value{sqlID("live"), "ada"}, 1},
		{`a column "revoked_at"`, "id user_id expires_at revoked_at", []driver.Value{sqlID("live"), "ada", end, nil}, 1},
		{`the column "id" twice`, "id user_id expires_at id", []driver.Value{sqlID("live"), "ada", end, "x"}, 1},
		{"more than one row", "id user_id expires_at", []driver.Value{sqlID("live"), "ada", end}, 2},
		{"no time with a zone", "id user_id expires_at", []driver.Value{sqlID("live"), "ada", "2027-01-02 12:00:00"}, 1},
	} {
		d, cfg := sqlTable(t, tc.columns)
		for range tc.rows {
			d.rows = append(d.rows, tc.values)
		}
		v, err := NewSQL(cfg)
		require.NoError(t, err)
		_, err = v.Verify(t.Context(), sqlID("live"))
		require.ErrorContains(t, err, tc.want)
		assert.False(t, classed(err), tc.want)
	}
	// A query that finds whatever it likes, for a token of whoever's.
	d, cfg := sqlTable(t, "id user_id expires_at", []driver.Value{sqlID("LIVE"), "ada", end})
	v, err := NewSQL(cfg)
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), sqlID("live"))
	require.ErrorIs(t, err, stmigrate.ErrNotMine)
	assert.NotEmpty(t, d.asked)
}

func TestSQLFails(t *testing.T) {
	t.Parallel()
	d, cfg := sqlTable(t, "id user_id expires_at", []driver.Value{sqlID("live"), "ada", noon.Add(time.Hour)})
	v, err := NewSQL(cfg)
	require.NoError(t, err)
	broken := errors.New("invalid input: " + sqlID("live"))
	for _, fail := range []*error{&d.fail, &d.late} {
		*fail = broken
		_, err = v.Verify(t.Context(), sqlID("live"))
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		assert.ErrorIs(t, err, broken)
		assert.NotContains(t, err.Error(), sqlID("live"))
		*fail = nil
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = v.Verify(ended, sqlID("live"))
	assert.ErrorIs(t, err, stmigrate.ErrUnavailable)
}

func TestSQLIsARevoker(t *testing.T) {
	t.Parallel()
	stmigratetest.TestRevoker(t, func(t *testing.T) stmigratetest.RevokerUnderTest {
		d, cfg := sqlTable(t, "id user_id expires_at")
		v, err := NewSQL(cfg)
		require.NoError(t, err)
		return stmigratetest.RevokerUnderTest{
			Revoker: v,
			SignIn: func(user string) (string, *stmigrate.OldSession) {
				token := sqlID(fmt.Sprintf("%s %d", user, len(d.rows)))
				d.rows = append(d.rows, []driver.Value{token, user, noon.Add(time.Hour)})
				s, err := v.Verify(t.Context(), token)
				require.NoError(t, err)
				return token, s
			},
			Ended: func(token string) bool { _, err := v.Verify(t.Context(), token); return err != nil },
			Break: func() { d.fail = errors.New("broken") },
		}
	})
	d, cfg := sqlTable(t, "id user_id expires_at", []driver.Value{sqlID("live"), "ada", noon.Add(time.Hour)})
	v, err := NewSQL(cfg)
	require.NoError(t, err)
	s, err := v.Verify(t.Context(), sqlID("live"))
	require.NoError(t, err)
	for name, wrong := range map[string]error{
		"no ID":                   v.Revoke(t.Context(), "", s),
		"another session's token": v.Revoke(t.Context(), sqlID("other"), s),
		"no session":              v.Revoke(t.Context(), sqlID("live"), nil),
	} {
		var e *stmigrate.RevokeError
		require.ErrorAs(t, wrong, &e, name)
		assert.True(t, e.Permanent, name)
	}
	assert.Len(t, d.rows, 1)
}

func TestSQLWithoutExpiry(t *testing.T) {
	t.Parallel()
	_, cfg := sqlTable(t, "id user_id", []driver.Value{sqlID("live"), "ada"})
	cfg.SkipExpiry = true
	v, err := NewSQL(cfg)
	require.NoError(t, err)
	s, err := v.Verify(t.Context(), sqlID("live"))
	require.NoError(t, err)
	assert.Zero(t, s.ExpiresAt)

	_, cfg = sqlTable(t, "id user_id expires_at", []driver.Value{sqlID("live"), "ada", noon.Add(time.Hour)})
	cfg.SkipExpiry = true
	v, err = NewSQL(cfg)
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), sqlID("live"))
	assert.ErrorContains(t, err, "SkipExpiry")
}

func TestSQLConfig(t *testing.T) {
	t.Parallel()
	_, good := sqlTable(t, "id")
	configs(t, good, NewSQL, map[string]func(*SQLConfig){
		"SQLConfig.Rules.Issuer is required": func(c *SQLConfig) { c.Rules.Issuer = "" },
		"is too long":                        func(c *SQLConfig) { c.Rules.UserID = Path{"user", "id"} },
		"SQLConfig.DB is required":           func(c *SQLConfig) { c.DB = nil },
		"SQLConfig.Query is required":        func(c *SQLConfig) { c.Query = "" },
		"SQLConfig.Delete is required":       func(c *SQLConfig) { c.Delete = "" },
		"SQLConfig.Delete: ":                 func(c *SQLConfig) { c.Delete = "DELETE FROM sessions" },
		"SQLConfig.Lookup (PlainID":          func(c *SQLConfig) { c.Lookup = HMACHex([]byte("short")) },
	})
}

func TestExchangeOfARow(t *testing.T) {
	t.Parallel()
	d, cfg := sqlTable(t, "id user_id expires_at", []driver.Value{sqlID("live"), "ada", noon.Add(time.Hour)})
	v, err := NewSQL(cfg)
	require.NoError(t, err)
	m, sessions := migrator(t, "sid", noon, v, v)
	answer := httptest.NewRecorder()
	m.ServeHTTP(answer, request(t, "https://evil.example", "sid", sqlID("live")))
	assert.Equal(t, http.StatusForbidden, answer.Code)
	assert.Empty(t, d.asked)
	for range 2 {
		answer = httptest.NewRecorder()
		m.ServeHTTP(answer, request(t, origin, "sid", sqlID("live")))
		assert.Equal(t, http.StatusOK, answer.Code, answer.Body)
	}
	assert.Equal(t, 1, sessions.Created())
	assert.Empty(t, d.rows)
}

func FuzzSQL(f *testing.F) {
	_, cfg := sqlTable(f, "id user_id expires_at", []driver.Value{sqlID("live"), "ada", noon.Add(time.Hour)})
	v, err := NewSQL(cfg)
	require.NoError(f, err)
	f.Add(sqlID("live"))
	f.Add(strings.ToUpper(sqlID("live")))
	f.Fuzz(func(t *testing.T, token string) {
		if s, err := v.Verify(t.Context(), token); (err == nil) != (token == sqlID("live")) || err != nil && !classed(err) {
			t.Fatalf("%q: %v, %v", token, s, err)
		}
	})
}
