package stmigratetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/stmigrate/stmigrate"
)

// issuerRevoker revokes access tokens at an issuer (RFC 7009).
func issuerRevoker(iss *Issuer) stmigrate.Revoker {
	return stmigrate.RevokerFunc(func(ctx context.Context, token string, _ *stmigrate.OldSession) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, iss.RevocationURL(), strings.NewReader(url.Values{"token": {token}}.Encode()))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		resp, err := ownClient.Do(req)
		if err != nil {
			return errors.New("the provider does not answer")
		}
		defer func() { _ = resp.Body.Close() }()
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("the provider answered %s", resp.Status)
		}
		return nil
	})
}

func revokerUnderTest(t *testing.T) (*Issuer, RevokerUnderTest) {
	iss := NewIssuer(t)
	return iss, RevokerUnderTest{
		Revoker: issuerRevoker(iss),
		SignIn: func(user string) (string, *stmigrate.OldSession) {
			s := iss.SignIn(user)
			return s.AccessToken, &stmigrate.OldSession{Issuer: iss.Issuer(), Subject: user, SessionID: s.SessionID}
		},
		Ended: iss.Revoked,
		Break: func() { iss.Status(http.StatusInternalServerError, "POST /revoke") },
	}
}

func TestRevokerAtAnIssuer(t *testing.T) {
	t.Parallel()
	TestRevoker(t, func(t *testing.T) RevokerUnderTest {
		_, r := revokerUnderTest(t)
		return r
	})
}

func TestRevokerNoticesBrokenRevokers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		spoil   func(*Issuer, *RevokerUnderTest)
		noticed []string
	}{
		"does nothing": {func(_ *Issuer, r *RevokerUnderTest) { r.Revoker = stmigrate.LeaveToExpire },
			[]string{"the session ends, and ending it again is no error", "a provider that fails is an error, without the token"}},
		"ends all sessions of the user": {func(iss *Issuer, r *RevokerUnderTest) {
			signIn := r.SignIn
			var all []string
			r.SignIn = func(user string) (string, *stmigrate.OldSession) {
				token, s := signIn(user)
				all = append(all, s.SessionID)
				return token, s
			}
			r.Revoker = stmigrate.RevokerFunc(func(context.Context, string, *stmigrate.OldSession) error {
				for _, sid := range all {
					iss.EndSession(sid)
				}
				return nil
			})
		}, []string{"other sessions go on"}},
		"tells the token": {func(_ *Issuer, r *RevokerUnderTest) {
			right := r.Revoker
			r.Revoker = stmigrate.RevokerFunc(func(ctx context.Context, token string, s *stmigrate.OldSession) error {
				if err := right.Revoke(ctx, token, s); err != nil {
					return fmt.Errorf("revoking %s: %w", token, err)
				}
				return nil
			})
		}, []string{"a provider that fails is an error, without the token"}},
	} {
		t.Run(name, func(t *testing.T) {
			failed := failing(t.Context(), revokerChecks, func() RevokerUnderTest {
				iss, r := revokerUnderTest(t)
				tt.spoil(iss, &r)
				return r
			})
			for _, want := range tt.noticed {
				assert.Contains(t, failed, want)
			}
			assert.Less(t, len(failed), len(revokerChecks), "what is not broken passes")
		})
	}
}
