package sqlusers

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// No value of a column makes a panic, and a user that comes out has what every user has.
func FuzzRow(f *testing.F) {
	f.Add("42", "ada@example.com", "$2b$04$", "t", "2001-09-09 01:46:40", `["admin"]`, `{"plan":"pro"}`, "public")
	f.Add("", "", "", "", "", "", "", "")
	f.Add("a\nb", "\xff", "!", "\x01", "2001-09-09T01:46:40.5+01:00", `[[[`, `{"a":1}{}`, "acme")
	names := []string{"id", "email", "password_hash", "email_verified", "created_at", "roles", "metadata", "tenant_id"}
	f.Fuzz(func(t *testing.T, id, email, hash, verified, created, roles, metadata, tenant string) {
		r, err := newRow(names, []any{id, email, hash, verified, []byte(created), roles, []byte(metadata), tenant})
		if err != nil {
			require.ErrorIs(t, err, ErrBadRow)
			return
		}
		require.NotEmpty(t, r.user.ID)
		require.NotEmpty(t, r.user.Email)
		if u, err := r.legacyUser(); err != nil {
			require.ErrorIs(t, err, ErrBadRow)
		} else {
			require.NotContains(t, u.Roles, "")
		}
	})
}
