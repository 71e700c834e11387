package ownsession

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
)

// Lookup makes the key, a string or []byte, by which the table has a session, of the token that the browser has. An error of
// no class means that the token is none of this table's: [stmigrate.ErrNotMine].
type Lookup func(token string) (key any, err error)

// PlainID is the [Lookup] of a table that has the IDs as the browser has them. Whoever reads such a table, or a backup of it,
// can be any user.
func PlainID(token string) (any, error) { return token, nil }

// SHA256Hex is the [Lookup] of a table that has the SHA-256 of an ID, in lower-case hexadecimal.
func SHA256Hex(token string) (any, error) {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:]), nil
}

// SHA256Bytes is the [Lookup] of a table that has the SHA-256 of an ID as 32 bytes.
func SHA256Bytes(token string) (any, error) {
	sum := sha256.Sum256([]byte(token))
	return sum[:], nil
}

// HMACHex is the [Lookup] of a table that has the HMAC-SHA256 of an ID, in lower-case hexadecimal. It is nil, which NewSQL
// refuses, if the secret has less than 16 bytes.
func HMACHex(secret []byte) Lookup {
	mac := HMACBytes(secret)
	if mac == nil {
		return nil
	}
	return func(token string) (any, error) {
		sum, err := mac(token)
		if err != nil {
			return nil, err
		}
		return hex.EncodeToString(sum.([]byte)), nil
	}
}

// HMACBytes is [HMACHex] as 32 bytes.
func HMACBytes(secret []byte) Lookup {
	if len(secret) < 16 {
		return nil
	}
	secret = slices.Clone(secret)
	return func(token string) (any, error) {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(token))
		return mac.Sum(nil), nil
	}
}

// SQLConfig configures [SQL]. Rules, DB, Query, Delete and Lookup are required.
type SQLConfig struct {
	// Rules name columns of Query, by a path of one name: UserID: Path{"user_id"}.
	Rules Rules
	DB    *sql.DB
	// Query finds a session by its key, the one parameter, as the driver writes it ($1, ?, @p1 or :1):
	//
	//	SELECT id, user_id, expires_at, revoked_at AS revoked FROM sessions WHERE id = $1
	//
	// Its columns are those that Rules name, and:
	//
	//	id          what Lookup made. Required, and held against the key to the byte: a collation that takes "A" for
	//	            "a" would make two sessions of one.
	//	expires_at  when the session ends: a time, or a number as in Rules. Required unless SkipExpiry; NULL is refused. Drivers take a
	//	            column without a time zone for UTC: have the database convert it (expires_at::timestamptz).
	//	revoked     the session is over unless this is NULL, false or 0. Optional.
	//
	// Any other column is an error, so that a misspelt one is not overlooked.
	Query string
	// Delete deletes a session's row by its key, the one parameter: DELETE FROM sessions WHERE id = $1. An UPDATE that marks the
	// row does as well.
	Delete string
	// Lookup is how the table names sessions: [PlainID], [SHA256Hex], [HMACHex], or a function of yours.
	Lookup Lookup
	// SkipExpiry is for tables without an end of sessions. stmigrate.Config.Until is required then. It MUST NOT be set where the
	// backend decides by a column whether a session is over.
	SkipExpiry bool
}

// SQL verifies and ends sessions that are rows of a table. The token is the session ID, 16 to 256 characters of those that a
// cookie can hold. It is both an [stmigrate.OldSessionVerifier] and an [stmigrate.Revoker]. Safe for concurrent use.
type SQL struct {
	*rules
	db     *sql.DB
	query  string
	lookup Lookup
	expiry bool
	end    *revoke.SQL
}

// NewSQL checks cfg. The error names the field that is missing or wrong. The database is not asked.
func NewSQL(cfg SQLConfig) (*SQL, error) {
	r, err := cfg.Rules.check("SQL", 1)
	if err != nil {
		return nil, err
	}
	for _, required := range []struct {
		field   string
		missing bool
	}{{"DB", cfg.DB == nil}, {"Query", cfg.Query == ""}, {"Delete", cfg.Delete == ""}, {"Lookup (PlainID, SHA256Hex, HMACHex)", cfg.Lookup == nil}} {
		if required.missing {
			return nil, fmt.Errorf("ownsession: SQLConfig.%s is required", required.field)
		}
	}
	end, err := revoke.NewSQL(revoke.SQLConfig{
		DB: cfg.DB, Statement: cfg.Delete, Timeout: r.Timeout,
		Key: func(s *stmigrate.OldSession) (any, error) { return s.Claims["key"], nil },
	})
	if err != nil {
		return nil, fmt.Errorf("ownsession: SQLConfig.Delete: %w", err)
	}
	return &SQL{r, cfg.DB, cfg.Query, cfg.Lookup, !cfg.SkipExpiry, end}, nil
}

// key returns what the table has of a token.
func (v *SQL) key(token string) (key any, id string, err error) {
	if !isID(token) {
		return nil, "", fmt.Errorf("%w: not an ID of %d to %d characters that a cookie can hold", stmigrate.ErrNotMine, minID, maxID)
	}
	if key, err = v.lookup(token); err != nil {
		if classed(err) {
			return nil, "", err
		}
		return nil, "", fmt.Errorf("%w: SQLConfig.Lookup: %w", stmigrate.ErrNotMine, quiet{err})
	}
	switch k := key.(type) {
	case string:
		return key, k, nil
	case []byte:
		return key, string(k), nil
	}
	return nil, "", fmt.Errorf("ownsession: SQLConfig.Lookup made a %T; a string or []byte wanted", key)
}

// Verify implements [stmigrate.OldSessionVerifier].
//
// Errors: [stmigrate.ErrNotMine] if the token is no ID or there is no such row, [stmigrate.ErrInvalidSession] if the session was
// revoked or has no user, [stmigrate.ErrExpiredSession], [stmigrate.ErrUnavailable] if the database fails. An error of no class
// means that Query is wrong: its columns, or that it found several rows.
func (v *SQL) Verify(ctx context.Context, token string) (*stmigrate.OldSession, error) {
	key, id, err := v.key(token)
	if err != nil {
		return nil, err
	}
	row, err := v.row(ctx, key)
	if err != nil {
		return nil, err
	}
	if got, _ := row["id"].(string); subtle.ConstantTimeCompare([]byte(got), []byte(id)) == 0 {
		return nil, fmt.Errorf("%w: the row that Query found has another id, to the byte", stmigrate.ErrNotMine)
	}
	if !live(row["revoked"]) {
		return nil, fmt.Errorf("%w: revoked", stmigrate.ErrInvalidSession)
	}
	var expires time.Time
	if end := row["expires_at"]; v.expiry && end == nil {
		return nil, fmt.Errorf("%w: expires_at is NULL", stmigrate.ErrInvalidSession)
	} else if v.expiry {
		if expires, err = instant(end); err != nil {
			return nil, fmt.Errorf("ownsession: expires_at: %w", err)
		}
	}
	delete(row, "id")
	s, err := v.read(row, expires)
	if err != nil {
		return nil, err
	}
	s.SessionID = hashed(id)
	return v.finish(ctx, s)
}

// live tells whether a column revoked says that the session is not.
func live(revoked any) bool {
	switch r := revoked.(type) {
	case nil:
		return true
	case bool:
		return !r
	case json.Number:
		return r == "0"
	case string: // MySQL's text protocol
		return r == "0"
	}
	return false
}

// row reads the one row of a key.
func (v *SQL) row(ctx context.Context, key any) (map[string]any, error) {
	ctx, cancel := context.WithTimeout(ctx, v.Timeout)
	defer cancel()
	rows, err := v.db.QueryContext(ctx, v.query, key)
	if err != nil {
		return nil, failed("SQLConfig.Query", err)
	}
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	if err != nil {
		return nil, failed("SQLConfig.Query", err)
	}
	columns = slices.Clone(columns) // the driver's, and maybe those of every query on the connection
	for i := range columns {
		columns[i] = strings.ToLower(columns[i])
	}
	if err := v.checkColumns(columns); err != nil {
		return nil, err
	}
	var row map[string]any
	for rows.Next() {
		if row != nil {
			return nil, errors.New("ownsession: SQLConfig.Query found more than one row of a key")
		}
		values := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, failed("SQLConfig.Query", err)
		}
		row = make(map[string]any, len(columns))
		for i, name := range columns {
			row[name] = plain(values[i])
		}
	}
	if err := rows.Err(); err != nil {
		return nil, failed("SQLConfig.Query", err)
	}
	if row == nil {
		return nil, fmt.Errorf("%w: no row has it", stmigrate.ErrNotMine)
	}
	return row, nil
}

func (v *SQL) checkColumns(columns []string) error {
	wanted := map[string]bool{"id": true, "revoked": false}
	if v.expiry {
		wanted["expires_at"] = true
	} else if slices.Contains(columns, "expires_at") {
		return errors.New("ownsession: SQLConfig.Query has the column expires_at, and SkipExpiry leaves it aside: one of them must go")
	}
	for _, p := range []Path{v.UserID, v.AuthTime, v.TenantID} {
		if len(p) > 0 {
			wanted[p[0]] = true
		}
	}
	for i, c := range columns {
		if _, ok := wanted[c]; !ok {
			return fmt.Errorf("ownsession: SQLConfig.Query has a column %q, which is neither id, expires_at, revoked nor one that Rules name", c)
		}
		if slices.Contains(columns[:i], c) {
			return fmt.Errorf("ownsession: SQLConfig.Query has the column %q twice", c)
		}
	}
	for c, required := range wanted {
		if required && !slices.Contains(columns, c) {
			return fmt.Errorf("ownsession: SQLConfig.Query has no column %q: SELECT it, or name one so with AS", c)
		}
	}
	return nil
}

// Revoke implements [stmigrate.Revoker] by SQLConfig.Delete, in a transaction; no row is success, and more than one is an error
// and ends none. Its errors are [stmigrate.RevokeError].
func (v *SQL) Revoke(ctx context.Context, token string, s *stmigrate.OldSession) error {
	key, id, err := v.key(token)
	if err != nil {
		return permanent("%w", err)
	}
	if err := sameSession(id, s); err != nil {
		return err
	}
	return v.end.Revoke(ctx, "", &stmigrate.OldSession{Claims: map[string]any{"key": key}})
}
