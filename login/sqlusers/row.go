package sqlusers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/login/sqlusers/passhash"
)

const maxDocument = 64 << 10

// row is a user as the database has it. What is wrong with a column besides id and email is told when the user is needed, and not to
// who does not know the password.
type row struct {
	user stmigrate.LegacyUser
	hash string
	err  error
}

func (r *row) legacyUser() (*stmigrate.LegacyUser, error) {
	if r.err != nil {
		return nil, r.err
	}
	r.user.PasswordHash = passhash.ForCore(r.hash)
	return &r.user, nil
}

// columns maps the names that a query may select to what takes their values. A nil value is NULL.
var columns = map[string]func(r *row, value any) error{
	"id": func(r *row, v any) (err error) {
		r.user.ID, err = idOf(v)
		return err
	},
	"email": func(r *row, v any) (err error) {
		if r.user.Email, err = textOf(v); err == nil && r.user.Email == "" {
			err = errors.New("empty")
		}
		return err
	},
	"password_hash": func(r *row, v any) (err error) {
		if v != nil {
			r.hash, err = textOf(v)
		}
		return err
	},
	"email_verified": func(r *row, v any) (err error) {
		r.user.EmailVerified, err = boolOf(v)
		return err
	},
	"created_at": func(r *row, v any) (err error) {
		r.user.CreatedAt, err = timeOf(v)
		return err
	},
	"roles": func(r *row, v any) error {
		err := documentOf(v, "a JSON array of strings", &r.user.Roles)
		if err == nil && slices.Contains(r.user.Roles, "") { // or null
			err = errors.New("an empty role")
		}
		return err
	},
	"metadata": func(r *row, v any) error { return documentOf(v, "a JSON object", &r.user.Metadata) },
	"tenant_id": func(r *row, v any) (err error) {
		if v != nil {
			r.user.TenantID, err = textOf(v)
		}
		return err
	},
}

// checkColumns says what is wrong with what a query selects, rows or not.
func checkColumns(names []string, required ...string) error {
	for _, name := range append([]string{"id", "email"}, required...) {
		if !slices.Contains(names, name) {
			return fmt.Errorf("%w: no column %q; the query selects %q", ErrBadRow, name, names)
		}
	}
	for i, name := range names {
		if columns[name] == nil {
			return fmt.Errorf("%w: the column %q is none of those that the package's documentation lists", ErrBadRow, name)
		}
		if slices.Contains(names[:i], name) {
			return fmt.Errorf("%w: the column %q stands twice", ErrBadRow, name)
		}
	}
	return nil
}

func newRow(names []string, values []any) (*row, error) {
	r := new(row)
	for i, name := range names {
		err := columns[name](r, values[i])
		if err == nil {
			continue
		}
		err = fmt.Errorf("%w: column %q: %w", ErrBadRow, name, err)
		switch name {
		case "id", "email", "password_hash", "tenant_id":
			return nil, err
		}
		r.err = err
	}
	return r, nil
}

// wrongType says what came, and not the value, which can be anybody's.
func wrongType(v any, want string) error { return fmt.Errorf("%s expected, not a %T", want, v) }

func textOf(v any) (string, error) {
	var s string
	switch v := v.(type) {
	case string:
		s = v
	case []byte:
		s = string(v)
	default:
		return "", wrongType(v, "text")
	}
	if !utf8.ValidString(s) {
		return "", errors.New("text expected, not bytes that are no UTF-8")
	}
	return s, nil
}

func idOf(v any) (string, error) {
	if n, ok := v.(int64); ok {
		return strconv.FormatInt(n, 10), nil
	}
	id, err := textOf(v)
	switch {
	case err != nil:
		return "", err
	case id == "" || len(id) > maxID:
		return "", fmt.Errorf("%d bytes, from 1 to %d are allowed", len(id), maxID)
	case strings.ContainsFunc(id, unicode.IsControl) || strings.TrimSpace(id) != id:
		return "", errors.New("control characters or white space around it")
	}
	return id, nil
}

// boolOf takes 0 and 1 for booleans, since some databases have none. Bytes 0 and 1 are MySQL's BIT(1).
func boolOf(v any) (bool, error) {
	switch v := v.(type) {
	case nil:
		return false, nil
	case bool:
		return v, nil
	case int64:
		if v == 0 || v == 1 {
			return v == 1, nil
		}
	case []byte, string:
		s, err := textOf(v)
		if err != nil {
			return false, err
		}
		switch s {
		case "\x00", "0", "f", "false":
			return false, nil
		case "\x01", "1", "t", "true":
			return true, nil
		}
	}
	return false, wrongType(v, "a boolean, 0 or 1 is")
}

func timeOf(v any) (time.Time, error) {
	switch v := v.(type) {
	case nil:
		return time.Time{}, nil
	case time.Time:
		return v, nil
	case []byte, string:
		s, err := textOf(v)
		if err != nil {
			return time.Time{}, err
		}
		for _, layout := range []string{time.RFC3339, time.DateTime} {
			if t, err := time.Parse(layout, s); err == nil {
				return t, nil
			}
		}
		return time.Time{}, errors.New("text like 2006-01-02T15:04:05Z or 2006-01-02 15:04:05 is expected")
	}
	return time.Time{}, wrongType(v, "a timestamp is")
}

// documentOf reads JSON, with numbers as json.Number. NULL is nothing.
func documentOf(v any, want string, into any) error {
	if v == nil {
		return nil
	}
	text, err := textOf(v)
	if err != nil {
		return err
	}
	if len(text) > maxDocument {
		return fmt.Errorf("%d bytes, at most %d are read", len(text), maxDocument)
	}
	d := json.NewDecoder(bytes.NewReader([]byte(text)))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("%s is expected", want)
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("%s is expected, and nothing after it", want)
	}
	return nil
}
