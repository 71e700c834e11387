package cognito

import (
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
)

// Whatever Cognito refuses with is of exactly one class, and none of it but a name is repeated.
func FuzzRefusal(f *testing.F) {
	f.Add(400, "", []byte(`{"__type":"NotAuthorizedException","message":"Incorrect username or password."}`))
	f.Add(400, "NotAuthorizedException:http://internal.amazon.com/", []byte(`{}`))
	f.Add(400, "", []byte(`{"__type":"com.amazonaws#UserNotConfirmedException"}`))
	f.Add(502, "", []byte(`<html>`))
	f.Fuzz(func(t *testing.T, status int, header string, body []byte) {
		err := refusal("InitiateAuth", status, http.Header{"X-Amzn-Errortype": {header}}, body)
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
