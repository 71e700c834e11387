package login_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/login"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// TestBadLegacyAnswers: whatever legacy answers, nobody is imported who is not whole.
func TestBadLegacyAnswers(t *testing.T) {
	t.Parallel()
	change := func(f func(u *stmigrate.LegacyUser)) func(*stmigratetest.FakeLegacyUsers) {
		return func(users *stmigratetest.FakeLegacyUsers) {
			users.Spoil(func(u *stmigrate.LegacyUser) *stmigrate.LegacyUser {
				f(u)
				return u
			})
		}
	}
	for name, spoil := range map[string]func(*stmigratetest.FakeLegacyUsers){
		"no ID":            change(func(u *stmigrate.LegacyUser) { u.ID = "" }),
		"a long ID":        change(func(u *stmigrate.LegacyUser) { u.ID = strings.Repeat("x", 129) }),
		"an ID with a NUL": change(func(u *stmigrate.LegacyUser) { u.ID = "a\x00b" }),
		"no e-mail":        change(func(u *stmigrate.LegacyUser) { u.Email = "" }),
		"another's e-mail": change(func(u *stmigrate.LegacyUser) { u.Email = "bob@example.com" }),
		"another tenant":   change(func(u *stmigrate.LegacyUser) { u.TenantID = "t1" }),
		"nobody, no error": func(users *stmigratetest.FakeLegacyUsers) {
			users.Spoil(func(*stmigrate.LegacyUser) *stmigrate.LegacyUser { return nil })
		},
		"a panic":   (*stmigratetest.FakeLegacyUsers).Panic,
		"no answer": (*stmigratetest.FakeLegacyUsers).Hang,
		"an error of no use": func(users *stmigratetest.FakeLegacyUsers) {
			users.Fail(errors.New("the database says no to " + adaPassword))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			users := &stmigratetest.FakeLegacyUsers{}
			users.Add(*ada(), adaPassword)
			spoil(users)
			l := w.process(func(cfg *login.Config) { cfg.Legacy, cfg.Timeout = users, 50*time.Millisecond })
			_, err := l.SignIn(t.Context(), "", adaEmail, adaPassword)
			if name == "another's e-mail" { // or a right password would show under e-mails with tries of their own
				require.Equal(t, stmigrate.ErrWrongCredentials, err)
			} else {
				require.ErrorIs(t, err, stmigrate.ErrUnavailable)
			}
			assert.NotContains(t, err.Error(), adaPassword)
			_, err = l.CreatePasswordResetToken(t.Context(), "", adaID, adaEmail)
			require.Error(t, err)
			assert.Empty(t, w.core.Users())
			assert.Zero(t, w.entry(adaEmail).Step)
		})
	}
}

// TestNobodyCanTellFromTheTime: failed sign-ins of users who are unknown, only in legacy, only in SuperTokens, and imported. With
// STMIGRATE_TIMING=1 it makes the 2,000 tries of each that give the bound its meaning.
func TestNobodyCanTellFromTheTime(t *testing.T) {
	tries, bound := 100, 0.7
	if os.Getenv("STMIGRATE_TIMING") == "1" {
		tries, bound = 2000, 0.55
	}
	w := newWorld(t, ada())
	for i := range 2 {
		w.legacy.add(&stmigrate.LegacyUser{ID: fmt.Sprint("legacy|", i), Email: fmt.Sprintf("legacy%d@example.com", i), TenantID: "public"}, adaPassword)
	}
	l := w.process(func(cfg *login.Config) {
		cfg.FailureFloor, cfg.Tries, cfg.TriesPer = 10*time.Millisecond, 1000, time.Second
	})
	require.NoError(t, w.signIn(l, adaPassword))
	_, err := w.client.SignUp(t.Context(), "", "native@example.com", "native pass 1")
	require.NoError(t, err)
	kinds := []string{"nobody@example.com", "legacy0@example.com", "native@example.com", adaEmail}
	took := make([][]float64, len(kinds))
	for range tries {
		for i, email := range kinds {
			began := time.Now()
			_, err := l.SignIn(context.Background(), "", email, "wrong password 1")
			took[i] = append(took[i], time.Since(began).Seconds())
			require.ErrorIs(t, err, stmigrate.ErrWrongCredentials)
			require.Equal(t, stmigrate.ErrWrongCredentials.Error(), err.Error())
		}
	}
	for i := range kinds {
		for j := range i {
			auc := rank(took[i], took[j])
			assert.LessOrEqual(t, math.Max(auc, 1-auc), bound, "%s against %s", kinds[i], kinds[j])
		}
	}
}

// rank is the chance that one of a is greater than one of b (the rank test's AUC): 0.5 if nothing tells them apart.
func rank(a, b []float64) float64 {
	type sample struct {
		value float64
		ofA   bool
	}
	var all []sample
	for _, v := range a {
		all = append(all, sample{v, true})
	}
	for _, v := range b {
		all = append(all, sample{v, false})
	}
	slices.SortFunc(all, func(x, y sample) int { return cmp.Compare(x.value, y.value) })
	sum := 0.0
	for i, s := range all {
		if s.ofA {
			sum += float64(i + 1)
		}
	}
	n := float64(len(a))
	return (sum - n*(n+1)/2) / (n * float64(len(b)))
}
