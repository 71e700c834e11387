package stmigratetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stmigrate/stmigrate"
)

// RevokerUnderTest is a revoker and the provider that it revokes at.
type RevokerUnderTest struct {
	Revoker stmigrate.Revoker
	// SignIn makes a new session of this user at the provider.
	SignIn func(user string) (token string, s *stmigrate.OldSession)
	// Ended tells whether the provider takes the token no more.
	Ended func(token string) bool
	// Break makes the provider fail from now on.
	Break func()
}

// TestRevoker holds an [stmigrate.Revoker] to its contract: it ends this one session, again without an error, and says so
// when it could not. open returns it once for each check. Revokers that end more than one session by design fail it.
func TestRevoker(t *testing.T, open func(t *testing.T) RevokerUnderTest) {
	t.Helper()
	runChecks(t, open, revokerChecks)
}

var revokerChecks = []check[RevokerUnderTest]{
	{"the session ends, and ending it again is no error", func(ctx context.Context, r RevokerUnderTest) error {
		token, s := r.SignIn("ada")
		if r.Ended(token) {
			return errors.New("the provider refuses a fresh session: SignIn or Ended is wrong")
		}
		for range 2 {
			if err := r.Revoker.Revoke(ctx, token, s); err != nil {
				return fmt.Errorf("revoking failed: %w", err)
			}
			if !r.Ended(token) {
				return errors.New("the provider still takes the token")
			}
		}
		return nil
	}},
	{"other sessions go on", func(ctx context.Context, r RevokerUnderTest) error {
		token, s := r.SignIn("ada")
		otherDevice, _ := r.SignIn("ada")
		otherUser, _ := r.SignIn("bob")
		if err := r.Revoker.Revoke(ctx, token, s); err != nil {
			return fmt.Errorf("revoking failed: %w", err)
		}
		if r.Ended(otherDevice) {
			return errors.New("the user's session on another device ended, too")
		}
		if r.Ended(otherUser) {
			return errors.New("another user's session ended")
		}
		return nil
	}},
	{"a provider that fails is an error, without the token", func(ctx context.Context, r RevokerUnderTest) error {
		token, s := r.SignIn("ada")
		r.Break()
		err := r.Revoker.Revoke(ctx, token, s)
		if err == nil {
			return errors.New("revoking succeeded, and the provider fails")
		}
		if strings.Contains(err.Error(), token) {
			return errors.New("the error holds the token")
		}
		return nil
	}},
	{"a context that has ended is an error", func(ctx context.Context, r RevokerUnderTest) error {
		token, s := r.SignIn("ada")
		ended, cancel := context.WithCancel(ctx)
		cancel()
		if err := r.Revoker.Revoke(ended, token, s); err == nil {
			return errors.New("revoking succeeded with a context that has ended")
		}
		return nil
	}},
}
