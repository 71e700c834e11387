package revoke

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/stmigrate/stmigrate"
)

// SQLConfig configures [SQL]. DB and Statement are required.
type SQLConfig struct {
	DB *sql.DB
	// Statement deletes a session's row, or marks it as ended. It has one parameter, as the driver writes it ($1, ?, @p1 or :1):
	// "DELETE FROM sessions WHERE id = $1".
	Statement string
	// Key is the parameter's value, for tables that hold a hash of the ID, or a prefix. Default: the SessionID, or for all
	// sessions of a user the Subject.
	Key func(s *stmigrate.OldSession) (any, error)
	// Timeout is what one revocation may take. Default 10 s.
	Timeout time.Duration
}

// SQL ends a session in the backend's own database by one statement, in a transaction. No row is success: the session is over
// already. More than one row is an error, and the transaction is rolled back: the statement would have ended sessions that
// nobody exchanged. What the driver says is not in the error's text, since it can hold the ID; [errors.As] finds it. Safe for
// concurrent use.
type SQL struct {
	cfg SQLConfig
	key func(s *stmigrate.OldSession) (any, error)
	all bool
}

// NewSQL checks cfg. The error names the field that is missing or wrong.
func NewSQL(cfg SQLConfig) (*SQL, error) {
	return newSQL(cfg, func(s *stmigrate.OldSession) (any, error) {
		if s.SessionID == "" {
			return nil, permanent("the legacy session has no SessionID, which the verifier must set to the row's ID")
		}
		return s.SessionID, nil
	})
}

// SQLRevokeAllSessionsOfUser ends all sessions of the user in the backend's own database: as [SQL], with the Subject as the
// parameter's value and any number of rows.
func SQLRevokeAllSessionsOfUser(cfg SQLConfig) (*AllSessionsOfUser, error) {
	r, err := newSQL(cfg, func(s *stmigrate.OldSession) (any, error) {
		if s.Subject == "" {
			return nil, permanent("the legacy session has no Subject")
		}
		return s.Subject, nil
	})
	if err != nil {
		return nil, err
	}
	r.all = true
	return &AllSessionsOfUser{revoker: r}, nil
}

func newSQL(cfg SQLConfig, key func(s *stmigrate.OldSession) (any, error)) (*SQL, error) {
	if cfg.DB == nil {
		return nil, errors.New("revoke: SQLConfig.DB is required")
	}
	if cfg.Statement == "" {
		return nil, errors.New("revoke: SQLConfig.Statement is required")
	}
	if n := parameters(cfg.Statement); n != 1 {
		return nil, fmt.Errorf("revoke: SQLConfig.Statement has %d parameters; one wanted ($1, ?, @p1 or :1), outside of quotes", n)
	}
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("revoke: SQLConfig.Timeout is negative: %v", cfg.Timeout)
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	if cfg.Key != nil {
		key = cfg.Key
	}
	return &SQL{cfg: cfg, key: key}, nil
}

var (
	sqlQuoted    = regexp.MustCompile("(?s)'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|--[^\n]*|/\\*.*?\\*/")
	sqlParameter = regexp.MustCompile(`\?[0-9]*|\$[0-9]+|@p[0-9]+|:[0-9]+`)
)

// parameters counts a statement's parameters. A numbered one counts once.
func parameters(statement string) int {
	found := sqlParameter.FindAllString(sqlQuoted.ReplaceAllString(statement, " "), -1)
	names, n := make(map[string]bool), 0
	for _, p := range found {
		if p == "?" || !names[p] {
			n++
		}
		names[p] = true
	}
	return n
}

// Revoke implements [stmigrate.Revoker]. Its errors are [stmigrate.RevokeError].
func (r *SQL) Revoke(ctx context.Context, _ string, s *stmigrate.OldSession) error {
	if s == nil {
		return permanent("there is no legacy session to revoke")
	}
	key, err := r.key(s)
	if err != nil {
		if e := (*stmigrate.RevokeError)(nil); errors.As(err, &e) {
			return err
		}
		return temporary("SQLConfig.Key: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	tx, err := r.cfg.DB.BeginTx(ctx, nil)
	if err != nil {
		return temporary("begin: %w", databaseError{err})
	}
	defer func() { _ = tx.Rollback() }() // nothing after Commit
	result, err := tx.ExecContext(ctx, r.cfg.Statement, key)
	if err != nil {
		return temporary("SQLConfig.Statement: %w", databaseError{err})
	}
	rows, err := result.RowsAffected()
	switch {
	case err != nil:
		return temporary("rows affected: %w", databaseError{err})
	case rows > 1 && !r.all:
		return permanent("SQLConfig.Statement affected %d rows and was rolled back; at most one wanted", rows)
	}
	if err := tx.Commit(); err != nil {
		return temporary("commit: %w", databaseError{err})
	}
	return nil
}

// databaseError keeps what a driver says out of an error's text.
type databaseError struct{ err error }

func (e databaseError) Error() string {
	if errors.Is(e.err, context.Canceled) || errors.Is(e.err, context.DeadlineExceeded) {
		return e.err.Error()
	}
	return fmt.Sprintf("the database failed (%T)", e.err)
}

func (e databaseError) Unwrap() error { return e.err }
