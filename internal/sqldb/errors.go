package sqldb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/stmigrate/stmigrate"
)

// ErrSchema is what a [DB] says of tables that are not there or are of another version.
var ErrSchema = errors.New("the schema is not of this version")

// failure is an error of the database. Its text is made here: what drivers write may hold values of parameters, or where and
// as whom they connect. The driver's own error is there for errors.As.
type failure struct {
	op    string
	cause error
}

func (f *failure) Error() string {
	return stmigrate.ErrUnavailable.Error() + ": " + f.op + ": " + describe(f.cause)
}

func (f *failure) Unwrap() []error { return []error{stmigrate.ErrUnavailable, f.cause} }

// Failure makes a [stmigrate.ErrUnavailable] of an error of op, and nil of nil. If ctx ended it is ctx's, too.
func Failure(ctx context.Context, op string, err error) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil && !errors.Is(err, ctx.Err()) {
		err = fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return &failure{op, err}
}

// ownError is what we found, and not the driver.
type ownError struct {
	text  string
	class error // may be nil
}

func (e *ownError) Error() string { return e.text }
func (e *ownError) Unwrap() error { return e.class }

// Garbage is an answer that no database with our tables gives.
func Garbage(format string, args ...any) error {
	return &ownError{"unexpected answer of the database: " + fmt.Sprintf(format, args...), nil}
}

func wrongSchema(format string, args ...any) error {
	return &ownError{fmt.Sprintf(format, args...), ErrSchema}
}

// sqlStates explains the SQLSTATEs that an operator is likely to see (PostgreSQL, appendix A).
var sqlStates = map[string]string{
	"08006": "connection failure",
	"22P02": "invalid text representation",
	"25006": "read-only transaction: this server is a standby",
	"28000": "the server refuses this user",
	"28P01": "the server refuses this user's password",
	"3D000": "the database does not exist",
	"3F000": "the schema does not exist",
	"40001": "serialization failure: default_transaction_isolation should be read committed",
	"40P01": "deadlock",
	"42501": "this user lacks a right, see the package's documentation",
	"42703": "a column is missing: the tables are not those of Migrate",
	"42P01": "a table is missing: run Migrate",
	"42P07": "a table or an index of that name is there already: choose another TablePrefix",
	"53100": "disk full",
	"53200": "out of memory",
	"53300": "too many connections",
	"55P03": "lock not available",
	"57014": "canceled",
	"57P01": "the server shuts down",
	"57P02": "the server crashed",
	"57P03": "the server is starting",
}

// sqliteCodes explains the primary result codes of SQLite (sqlite.org/rescode.html).
var sqliteCodes = map[int]string{
	1:  "error in the statement; a missing table, say: run Migrate",
	5:  "the database is locked, for longer than busy_timeout",
	6:  "a table is locked",
	8:  "the database is read-only",
	9:  "interrupted",
	10: "disk I/O error",
	11: "the database file is damaged",
	13: "disk full",
	14: "the database file cannot be opened",
	26: "the file is no database",
}

// describe says in our own words what err is.
func describe(err error) string {
	var (
		own    *ownError
		state  interface{ SQLState() string }
		code   interface{ Code() int }
		errno  syscall.Errno
		dns    *net.DNSError
		closed = errors.Is(err, sql.ErrConnDone) || errors.Is(err, net.ErrClosed)
	)
	switch {
	case errors.As(err, &own):
		return own.text
	case errors.Is(err, context.DeadlineExceeded):
		return context.DeadlineExceeded.Error()
	case errors.Is(err, context.Canceled):
		return context.Canceled.Error()
	case errors.As(err, &state):
		return explain("SQLSTATE "+limit(state.SQLState(), 5), sqlStates[state.SQLState()])
	case errors.As(err, &code):
		return explain(fmt.Sprintf("SQLite result %d", code.Code()), sqliteCodes[code.Code()&0xff])
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &dns):
		return "the database host's name does not resolve"
	case closed, errors.Is(err, driver.ErrBadConn), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection is gone"
	}
	return fmt.Sprintf("an error of type %T", err)
}

func explain(code, text string) string {
	if text == "" {
		return code
	}
	return code + " (" + text + ")"
}

func limit(s string, n int) string { return s[:min(len(s), n)] }
