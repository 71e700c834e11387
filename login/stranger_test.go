package login_test

import (
	"context"
	"maps"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/login"
)

// TestAFailedSignInMakesTheSameCallsForAll: a stranger can mark a legacy user by asking for a reset, and must not be able to see
// in what a failed sign-in takes afterwards whether there was such a user.
func TestAFailedSignInMakesTheSameCallsForAll(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	w.legacy.add(&stmigrate.LegacyUser{ID: "legacy|1", Email: "legacy@example.com", TenantID: "public"}, adaPassword)
	w.legacy.add(&stmigrate.LegacyUser{ID: "marked|1", Email: "marked@example.com", TenantID: "public"}, adaPassword)
	_, err := w.client.SignUp(t.Context(), "", "native@example.com", "native pass 1")
	require.NoError(t, err)
	l := w.process()
	require.NoError(t, w.signIn(l, adaPassword))
	_, err = l.CreatePasswordResetToken(t.Context(), "", "marked|1", "marked@example.com")
	require.NoError(t, err)
	calls := func(email string) map[string]int {
		before := len(w.core.Requests())
		_, err := l.SignIn(t.Context(), "", email, "wrong password 1")
		require.ErrorIs(t, err, stmigrate.ErrWrongCredentials)
		n := map[string]int{}
		for _, r := range w.core.Requests()[before:] {
			n[r.Route]++
		}
		return n
	}
	want := calls("nobody@example.com")
	require.Len(t, want, 2)
	for _, email := range []string{"legacy@example.com", "native@example.com", adaEmail, "marked@example.com"} {
		got := calls(email)
		assert.True(t, maps.Equal(want, got), "%s: %v, want %v", email, got, want)
	}
}

// TestARefusalThatPassesCostsNoRole: a core that does not know the API key for a moment, or a proxy that does not know the core, says
// nothing about a role.
func TestARefusalThatPassesCostsNoRole(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound} {
		w := newWorld(t, ada())
		l := w.process()
		w.core.Status(status, "PUT /recipe/user/role")
		require.Error(t, w.signIn(l, adaPassword), status)
		w.core.Heal()
		require.NoError(t, w.signIn(l, adaPassword), status)
		assert.Equal(t, []string{"admin", "editor"}, w.people()[0].Roles)
		assert.Zero(t, w.entry(adaEmail).Flags)
	}
}

// TestAWeakPasswordOfAMarkedUserIsReported: it becomes SuperTokens' at the sign-in.
func TestAWeakPasswordOfAMarkedUserIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.legacy.add(ada(), "abc")
	l := w.process()
	_, err := l.CreatePasswordResetToken(t.Context(), "", adaID, adaEmail)
	require.NoError(t, err)
	require.NoError(t, w.signIn(l, "abc"))
	assert.Equal(t, login.WeakPassword, w.event(login.EventPasswordSet).Flags)
}

// TestNobodyIsImportedUnderAnAddressOfAnImport: an e-mail of that domain would never count as published, and Config.Legacy is not
// asked for it.
func TestNobodyIsImportedUnderAnAddressOfAnImport(t *testing.T) {
	t.Parallel()
	const email = "mallory@stmigrate.invalid"
	w := newWorld(t)
	w.legacy.add(&stmigrate.LegacyUser{ID: "legacy|m", Email: email, TenantID: "public"}, adaPassword)
	l := w.process()
	_, err := l.SignIn(t.Context(), "", email, adaPassword)
	require.ErrorIs(t, err, stmigrate.ErrWrongCredentials)
	_, err = l.CreatePasswordResetToken(t.Context(), "", "legacy|m", email)
	require.ErrorIs(t, err, stmigrate.ErrUnknownUser)
	assert.Zero(t, w.legacy.timesAsked())
	assert.Empty(t, w.core.Users())
}

// beforeToken does something before a reset token is made.
type beforeToken struct {
	stmigrate.EmailPassword
	do func()
}

func (b *beforeToken) CreatePasswordResetToken(ctx context.Context, tenantID, userID, email string) (string, error) {
	b.do()
	return b.EmailPassword.CreatePasswordResetToken(ctx, tenantID, userID, email)
}

// TestAResetWhileLegacyIsAsked: the token that the sign-in makes after it would undo it.
func TestAResetWhileLegacyIsAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	hook := &beforeToken{stmigrate.NewEmailPassword(w.client), func() {}}
	l := w.process(func(cfg *login.Config) { cfg.Original = hook })
	_, err := l.CreatePasswordResetToken(t.Context(), "", adaID, adaEmail)
	require.NoError(t, err)
	hook.do = func() { require.NoError(t, w.client.SetPassword(t.Context(), adaID, "brand new 2")) }
	require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrWrongCredentials)
	require.NoError(t, w.signIn(l, "brand new 2"))
	require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrWrongCredentials)
}

// forgotten loses the entry right before the first claim.
type forgotten struct {
	login.Ledger
	once sync.Once
}

func (f *forgotten) Claim(ctx context.Context, c login.Claim) (login.Entry, error) {
	f.once.Do(func() { _ = f.Ledger.Forget(ctx, c.Key) })
	return f.Ledger.Claim(ctx, c)
}

// TestForgetDuringTheNote: a published user whose entry was forgotten is SuperTokens' alone, and no import is begun for it.
func TestForgetDuringTheNote(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	w.core.AfterCommit("PUT /recipe/user")
	require.ErrorIs(t, w.signIn(w.process(), adaPassword), stmigrate.ErrUnavailable)
	w.core.Heal()
	w.clock.Advance(time.Minute)
	l := w.process(func(cfg *login.Config) { cfg.Ledger = &forgotten{Ledger: w.ledger} })
	require.NoError(t, w.signIn(l, adaPassword))
	assert.Zero(t, w.entry(adaEmail).Step)
	require.NoError(t, w.client.SetPassword(t.Context(), adaID, "brand new 2"))
	w.clock.Advance(time.Minute)
	asked := w.legacy.timesAsked()
	require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrWrongCredentials)
	assert.Equal(t, asked, w.legacy.timesAsked(), "legacy was asked for the password of a SuperTokens user")
}

// TestAnEmailThatLegacyDidNotVerify: whoever can put any e-mail into legacy has proved nothing.
func TestAnEmailThatLegacyDidNotVerify(t *testing.T) {
	t.Parallel()
	u := ada()
	u.EmailVerified = false
	w := newWorld(t, u)
	require.NoError(t, w.signIn(w.process(), adaPassword))
	require.Equal(t, login.StepComplete, w.entry(adaEmail).Step)
	assert.False(t, w.people()[0].Verified)
	assert.Empty(t, w.core.Requests("POST /recipe/user/email/verify/token"))
}

// TestASignUpDuringAnImportWithoutADirectory: the ledger alone knows then that the e-mail is a legacy user's.
func TestASignUpDuringAnImportWithoutADirectory(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	l := w.process(func(cfg *login.Config) { cfg.SkipLegacyDirectory = true })
	w.core.Down("PUT /recipe/user")
	require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrUnavailable)
	w.core.Heal()
	w.clock.Advance(time.Minute)
	_, err := l.SignUp(t.Context(), "", adaEmail, "a stranger's 1")
	require.ErrorIs(t, err, stmigrate.ErrEmailExists)
	require.NoError(t, w.signIn(l, adaPassword))
}

// TestAResetForAnEmailThatSuperTokensHas: the legacy user of that e-mail is not imported, and no conflict is made.
func TestAResetForAnEmailThatSuperTokensHas(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	_, err := w.client.SignUp(t.Context(), "", adaEmail, "native pass 1")
	require.NoError(t, err)
	_, err = w.process().CreatePasswordResetToken(t.Context(), "", adaID, adaEmail)
	require.ErrorIs(t, err, stmigrate.ErrUnknownUser)
	assert.Len(t, w.core.Users(), 1)
	assert.Zero(t, w.entry(adaEmail).Step)
}

// deadlines notes by when a call must have ended.
type deadlines struct{ latest time.Time }

func (d *deadlines) RoundTrip(r *http.Request) (*http.Response, error) {
	if at, _ := r.Context().Deadline(); at.After(d.latest) && r.Method != http.MethodGet {
		d.latest = at
	}
	return ownClient.Transport.RoundTrip(r)
}

// TestAnImportEndsBeforeItsLease: no call of it can arrive when somebody else has taken over.
func TestAnImportEndsBeforeItsLease(t *testing.T) {
	t.Parallel()
	w, d := newWorld(t, ada()), &deadlines{}
	client, err := core.New(core.Config{ConnectionURI: w.core.URL, HTTPClient: &http.Client{Transport: d}, Timeout: 2 * time.Hour})
	require.NoError(t, err)
	l := w.process(func(cfg *login.Config) {
		cfg.Core, cfg.Original, cfg.Lease = client, stmigrate.NewEmailPassword(w.client), time.Hour
	})
	began := time.Now()
	require.NoError(t, w.signIn(l, adaPassword))
	require.NotZero(t, d.latest)
	assert.Less(t, d.latest.Sub(began), 50*time.Minute)
}
