package sqlusers_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"testing"
)

// answer is what the fake database says to a query.
type answer struct {
	columns []string
	rows    [][]driver.Value
	err     error
}

// fakeDB is a database that answers queries by a function of the query's text and its first two parameters, "" if there are less.
func fakeDB(tb testing.TB, query func(ctx context.Context, text string, params ...any) answer) *sql.DB {
	db := sql.OpenDB(connector(query))
	tb.Cleanup(func() { _ = db.Close() })
	return db
}

type connector func(ctx context.Context, text string, params ...any) answer

func (c connector) Connect(context.Context) (driver.Conn, error) { return conn{c}, nil }
func (c connector) Driver() driver.Driver                        { return nil }

type conn struct{ query connector }

func (conn) Prepare(string) (driver.Stmt, error) { panic("not used") }
func (conn) Begin() (driver.Tx, error)           { panic("not used") }
func (conn) Close() error                        { return nil }

func (c conn) QueryContext(ctx context.Context, text string, named []driver.NamedValue) (driver.Rows, error) {
	var params []any
	for _, p := range named {
		params = append(params, p.Value)
	}
	a := c.query(ctx, text, params...)
	if a.err != nil {
		return nil, a.err
	}
	return &rows{a}, nil
}

type rows struct{ answer }

func (r *rows) Columns() []string { return r.columns }
func (r *rows) Close() error      { return nil }

func (r *rows) Next(dest []driver.Value) error {
	if len(r.rows) == 0 {
		return io.EOF
	}
	copy(dest, r.rows[0])
	r.rows = r.rows[1:]
	return nil
}
