package passwordgrant

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
)

// Whatever a provider refuses with is of exactly one class, and none of it but a code is repeated.
func FuzzRefusal(f *testing.F) {
	f.Add(403, []byte(`{"error":"invalid_grant","error_description":"Wrong email or password."}`))
	f.Add(403, []byte(`{"error":"mfa_required","mfa_token":"Fe26...Ha"}`))
	f.Add(400, []byte(`{"error":"invalid_grant","error_description":"Account is not fully set up"}`))
	f.Add(502, []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		err := refusal(status, body)
		classes := 0
		for _, class := range []error{stmigrate.ErrWrongCredentials, stmigrate.ErrUnavailable, ErrMoreNeeded, ErrBlocked} {
			if errors.Is(err, class) {
				classes++
			}
		}
		require.Equal(t, 1, classes, err)
		if status < 400 || status >= 500 {
			require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		}
		require.Less(t, len(err.Error()), 200)
	})
}
