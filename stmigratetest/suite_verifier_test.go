package stmigratetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/stmigrate/stmigrate"
)

// TestVerifierSuiteNotices: of verifiers with one fault each, every one is noticed, and one without any is not.
func TestVerifierSuiteNotices(t *testing.T) {
	t.Parallel()
	const token = "a-token-that-is-longer-than-what-counts-as-a-part"
	session := func(claim any) *stmigrate.OldSession {
		return &stmigrate.OldSession{Issuer: "i", Subject: "ada", Claims: map[string]any{"n": []any{claim}}}
	}
	refused := fmt.Errorf("%w: forged", stmigrate.ErrInvalidSession)
	slow := func(n int, s *stmigrate.OldSession, err error) stmigrate.VerifierFunc { // cannot tell n times
		return func(context.Context, string) (*stmigrate.OldSession, error) {
			if n--; n >= 0 {
				return nil, stmigrate.ErrUnavailable
			}
			return s, err
		}
	}
	good := GoodToken{Token: token, Subject: "ada"}
	for want, s := range map[string]*stmigrate.OldSession{
		"":                         session(json.Number("1")),
		"no issuer":                {Subject: "ada"},
		`the subject is "bob"`:     {Issuer: "i", Subject: "bob"},
		"the claim n is a float64": session(1.0),
	} {
		noticed(t, want, takes(t.Context(), slow(0, s, nil), good))
	}
	noticed(t, "refused", takes(t.Context(), slow(0, nil, refused), good))

	wrong := WrongToken{Token: token, Class: ClassInvalid}
	noticed(t, "", refuses(t.Context(), slow(0, nil, refused), wrong))
	noticed(t, "accepted", refuses(t.Context(), slow(0, session(nil), nil), wrong))
	noticed(t, "an error and a session", refuses(t.Context(), slow(0, session(nil), refused), wrong))
	noticed(t, `want the class "invalid"`, refuses(t.Context(), slow(0, nil, errors.New("no class")), wrong))
	noticed(t, "a part of the token", refuses(t.Context(), slow(0, nil, fmt.Errorf("%w: %s", refused, token)), wrong))
	synctest.Test(t, func(t *testing.T) {
		noticed(t, "", refuses(t.Context(), slow(9, nil, refused), wrong))
		noticed(t, "", takes(t.Context(), slow(9, session(nil), nil), good))
		noticed(t, "temporarily unavailable", refuses(t.Context(), slow(1000, nil, refused), wrong))
		noticed(t, "temporarily unavailable", takes(t.Context(), slow(1000, nil, nil), good))
	})
}

func noticed(t *testing.T, want string, err error) {
	t.Helper()
	if want == "" {
		assert.NoError(t, err)
	} else {
		assert.ErrorContains(t, err, want)
	}
}
