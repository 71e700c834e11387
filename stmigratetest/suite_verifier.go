package stmigratetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stmigrate/stmigrate"
)

// VerifierUnderTest is a verifier with tokens that it must take and tokens that it must refuse. For a verifier of JWTs,
// [Issuer.Good] and [Issuer.Wrong] make them.
type VerifierUnderTest struct {
	Verifier stmigrate.OldSessionVerifier
	Good     []GoodToken
	Wrong    []WrongToken
}

// TestVerifier holds an [stmigrate.OldSessionVerifier] to its contract: good tokens are taken, wrong ones refused with the
// right class of error, and nothing of a token stands in an error.
func TestVerifier(t *testing.T, v VerifierUnderTest) {
	t.Helper()
	if len(v.Good) == 0 {
		t.Fatal("VerifierUnderTest.Good is empty: a verifier that refuses everything would pass")
	}
	// All at once, since a verifier must take that, and since one that asks its provider for unknown keys may take its time.
	good := each(v.Good, func(token GoodToken) error { return takes(t.Context(), v.Verifier, token) })
	wrong := each(v.Wrong, func(token WrongToken) error { return refuses(t.Context(), v.Verifier, token) })
	for i, token := range v.Good {
		report(t, "good/"+token.Name, good[i])
	}
	for i, token := range v.Wrong {
		report(t, "wrong/"+token.Category+"/"+token.Name, wrong[i])
	}
}

// each calls f for all items, 64 at a time.
func each[T any](items []T, f func(T) error) []error {
	errs := make([]error, len(items))
	var wg sync.WaitGroup
	turn := make(chan struct{}, 64)
	for i, item := range items {
		turn <- struct{}{}
		wg.Go(func() {
			errs[i] = f(item)
			<-turn
		})
	}
	wg.Wait()
	return errs
}

func report(t *testing.T, name string, err error) {
	t.Run(name, func(t *testing.T) {
		if err != nil {
			t.Error(err)
		}
	})
}

// verdict asks again while the verifier cannot tell: on a slow machine keys come too late for those who wait for them.
func verdict(ctx context.Context, v stmigrate.OldSessionVerifier, token string) (*stmigrate.OldSession, error) {
	for try := 1; ; try++ {
		s, err := v.Verify(ctx, token)
		if try == 10 || !errors.Is(err, stmigrate.ErrUnavailable) {
			return s, err
		}
		<-time.After(time.Second)
	}
}

func takes(ctx context.Context, v stmigrate.OldSessionVerifier, good GoodToken) error {
	for range 2 { // what Verify returns is the caller's, and it consumes nothing
		s, err := verdict(ctx, v, good.Token)
		switch {
		case err != nil:
			return fmt.Errorf("refused: %w", err)
		case s == nil || s.Issuer == "" || s.Subject == "":
			return errors.New("the session has no issuer or no subject")
		case s.Subject != good.Subject:
			return fmt.Errorf("the subject is %q, want %q", s.Subject, good.Subject)
		}
		if name, ok := float(s.Claims); ok {
			return fmt.Errorf("the claim %s is a float64, want json.Number", name)
		}
		clear(s.Claims)
	}
	return nil
}

// float finds a number that lost its digits.
func float(v any) (name string, found bool) {
	switch v := v.(type) {
	case float64:
		return "", true
	case json.Number:
		return "", false
	case []any:
		for _, item := range v {
			if _, found := float(item); found {
				return "[]", true
			}
		}
	case map[string]any:
		for name, member := range v {
			if _, found := float(member); found {
				return name, true
			}
		}
	}
	return "", false
}

func refuses(ctx context.Context, v stmigrate.OldSessionVerifier, wrong WrongToken) error {
	s, err := verdict(ctx, v, wrong.Token)
	if err == nil {
		return fmt.Errorf("accepted, for subject %q", s.Subject)
	}
	if s != nil {
		return errors.New("an error and a session")
	}
	classes := map[string][]error{
		ClassInvalid: {stmigrate.ErrInvalidSession},
		ClassExpired: {stmigrate.ErrExpiredSession},
		ClassNotMine: {stmigrate.ErrNotMine},
		ClassAnyRefusal: {
			stmigrate.ErrInvalidSession, stmigrate.ErrExpiredSession, stmigrate.ErrNotMine,
		},
	}[wrong.Class]
	known := false
	for _, class := range classes {
		known = known || errors.Is(err, class)
	}
	if !known {
		return fmt.Errorf("refused as %q, want the class %q", err, wrong.Class)
	}
	// Whatever is as long as this and stands in both is a part of the token.
	const telling = 24
	for i := 0; i+telling <= len(wrong.Token) && i < 4096; i++ {
		if strings.Contains(err.Error(), wrong.Token[i:i+telling]) {
			return fmt.Errorf("the error holds a part of the token: %q", err)
		}
	}
	return nil
}
