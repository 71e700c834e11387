package revoke

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// table is a driver with one table: the statement deletes the rows whose key or user is the parameter, at Commit.
type table struct {
	rows    map[string]string // session ID → user
	fail    map[string]error  // by step
	pending []string
	hang    bool
	queries []string
	args    []driver.Value
}

func (d *table) Connect(context.Context) (driver.Conn, error) { return d, d.fail["connect"] }
func (d *table) Driver() driver.Driver                        { return nil }
func (d *table) Prepare(string) (driver.Stmt, error)          { return nil, errors.New("not prepared") }
func (d *table) Close() error                                 { return nil }
func (d *table) Begin() (driver.Tx, error)                    { return nil, errors.New("not without a context") }
func (d *table) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) {
	d.pending = nil
	return d, d.fail["begin"]
}

func (d *table) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if d.hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	d.queries, d.args = append(d.queries, query), append(d.args, args[0].Value)
	for id, user := range d.rows {
		if args[0].Value == id || args[0].Value == user {
			d.pending = append(d.pending, id)
		}
	}
	return d, d.fail["exec"]
}

func (d *table) LastInsertId() (int64, error) { return 0, errors.New("none") }
func (d *table) RowsAffected() (int64, error) { return int64(len(d.pending)), d.fail["rows"] }
func (d *table) Rollback() error              { d.pending = nil; return nil }
func (d *table) Commit() error {
	if err := d.fail["commit"]; err != nil {
		return err
	}
	for _, id := range d.pending {
		delete(d.rows, id)
	}
	return nil
}

func openTable(t *testing.T, rows map[string]string) (*table, *sql.DB) {
	d := &table{rows: rows, fail: make(map[string]error)}
	db := sql.OpenDB(d)
	t.Cleanup(func() { _ = db.Close() })
	return d, db
}

const deleteRow = "DELETE FROM sessions WHERE id = $1"

func TestSQLIsARevoker(t *testing.T) {
	t.Parallel()
	stmigratetest.TestRevoker(t, func(t *testing.T) stmigratetest.RevokerUnderTest {
		d, db := openTable(t, make(map[string]string))
		r, err := NewSQL(SQLConfig{DB: db, Statement: deleteRow})
		require.NoError(t, err)
		return stmigratetest.RevokerUnderTest{
			Revoker: r,
			SignIn: func(user string) (string, *stmigrate.OldSession) {
				id := "row-" + string(rune('a'+len(d.rows)))
				d.rows[id] = user
				return id, &stmigrate.OldSession{Subject: user, SessionID: id}
			},
			Ended: func(id string) bool { return d.rows[id] == "" },
			Break: func() { d.fail["exec"] = errors.New("broken") },
		}
	})
}

func TestSQL(t *testing.T) {
	t.Parallel()
	s := &stmigrate.OldSession{Subject: "ada", SessionID: "one"}
	rows := func() map[string]string { return map[string]string{"one": "ada", "two": "ada", "three": "bob"} }

	t.Run("a statement that finds more than one row ends none", func(t *testing.T) {
		t.Parallel()
		d, db := openTable(t, rows())
		r, err := NewSQL(SQLConfig{DB: db, Statement: deleteRow, Key: func(s *stmigrate.OldSession) (any, error) { return s.Subject, nil }})
		require.NoError(t, err)
		err = r.Revoke(t.Context(), "", s)
		assert.Equal(t, permanentKind, kindOf(t, err))
		assert.ErrorContains(t, err, "2 rows")
		assert.Len(t, d.rows, 3)
	})
	t.Run("all sessions of the user", func(t *testing.T) {
		t.Parallel()
		d, db := openTable(t, rows())
		r, err := SQLRevokeAllSessionsOfUser(SQLConfig{DB: db, Statement: "UPDATE sessions SET ended = now() WHERE user_id = ?"})
		require.NoError(t, err)
		require.NoError(t, r.Revoke(t.Context(), "", s))
		assert.Equal(t, map[string]string{"three": "bob"}, d.rows)
		assert.Zero(t, r.Budget())
		assert.Equal(t, permanentKind, kindOf(t, r.Revoke(t.Context(), "", &stmigrate.OldSession{SessionID: "three"})))
		assert.Equal(t, permanentKind, kindOf(t, r.Revoke(t.Context(), "", nil)))
	})
	t.Run("a key of its own", func(t *testing.T) {
		t.Parallel()
		d, db := openTable(t, map[string]string{"sess:one": "ada"})
		lost := errors.New("no hash")
		var fail error
		r, err := NewSQL(SQLConfig{DB: db, Statement: deleteRow, Key: func(s *stmigrate.OldSession) (any, error) { return "sess:" + s.SessionID, fail }})
		require.NoError(t, err)
		fail = lost
		err = r.Revoke(t.Context(), "", s)
		assert.Equal(t, temporaryKind, kindOf(t, err))
		assert.ErrorIs(t, err, lost)
		fail = permanent("never: %w", lost)
		assert.Equal(t, permanentKind, kindOf(t, r.Revoke(t.Context(), "", s)))
		fail = nil
		require.NoError(t, r.Revoke(t.Context(), "", s))
		assert.Empty(t, d.rows)
		assert.Equal(t, []string{deleteRow}, d.queries)
		assert.Equal(t, []driver.Value{"sess:one"}, d.args)
	})
	t.Run("no ID", func(t *testing.T) {
		t.Parallel()
		d, db := openTable(t, rows())
		r, err := NewSQL(SQLConfig{DB: db, Statement: deleteRow})
		require.NoError(t, err)
		assert.Equal(t, permanentKind, kindOf(t, r.Revoke(t.Context(), "", &stmigrate.OldSession{Subject: "ada"})))
		assert.Empty(t, d.queries)
	})
	for _, step := range []string{"connect", "begin", "exec", "rows", "commit"} {
		t.Run("a failure at "+step, func(t *testing.T) {
			t.Parallel()
			d, db := openTable(t, rows())
			cause := errors.New(`invalid input for uuid: "one"`)
			d.fail[step] = cause
			r, err := NewSQL(SQLConfig{DB: db, Statement: deleteRow})
			require.NoError(t, err)
			err = r.Revoke(t.Context(), "", s)
			assert.Equal(t, temporaryKind, kindOf(t, err))
			assert.ErrorIs(t, err, cause)
			assert.NotContains(t, err.Error(), `"one"`, "a driver repeats what it was given")
			assert.Len(t, d.rows, 3)
		})
	}
	t.Run("a database that hangs", func(t *testing.T) {
		t.Parallel()
		d, db := openTable(t, rows())
		d.hang = true
		r, err := NewSQL(SQLConfig{DB: db, Statement: deleteRow, Timeout: 20 * time.Millisecond})
		require.NoError(t, err)
		err = r.Revoke(t.Context(), "", s)
		assert.Equal(t, temporaryKind, kindOf(t, err))
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestSQLConfig(t *testing.T) {
	t.Parallel()
	_, db := openTable(t, nil)
	for statement, ok := range map[string]bool{
		deleteRow:                                            true,
		"DELETE FROM s WHERE id = ?":                         true,
		"DELETE FROM s WHERE id = ?1":                        true,
		"DELETE FROM s WHERE id = @p1":                       true,
		"DELETE FROM s WHERE id = :1":                        true,
		"DELETE FROM s WHERE id = $1 OR old = $1":            true,
		"DELETE FROM s WHERE id = $1::uuid AND k = 'what?'":  true,
		"DELETE FROM s WHERE id = ? -- really? all of them?": true,
		"DELETE /* one? */ FROM `s?` WHERE \"a?b\" = ?":      true,
		"DELETE FROM s WHERE k = 'it''s $2' AND id = $1":     true,
		"DELETE FROM s":                                      false,
		"DELETE FROM s WHERE id = '$1'":                      false,
		"DELETE FROM s -- WHERE id = $1":                     false,
		"DELETE FROM s /* WHERE id = ? */":                   false,
		"DELETE FROM s WHERE id = ? AND u = ?":               false,
		"DELETE FROM s WHERE id = $1 AND u = $2":             false,
		"":                                                   false,
	} {
		for _, open := range []func(SQLConfig) error{
			func(c SQLConfig) error { _, err := NewSQL(c); return err },
			func(c SQLConfig) error { _, err := SQLRevokeAllSessionsOfUser(c); return err },
		} {
			if err := open(SQLConfig{DB: db, Statement: statement}); ok {
				assert.NoError(t, err, statement)
			} else {
				assert.ErrorContains(t, err, "SQLConfig.Statement", statement)
			}
		}
	}
	_, err := NewSQL(SQLConfig{Statement: deleteRow})
	assert.ErrorContains(t, err, "SQLConfig.DB")
	_, err = NewSQL(SQLConfig{DB: db, Statement: deleteRow, Timeout: -1})
	assert.ErrorContains(t, err, "SQLConfig.Timeout")
}
