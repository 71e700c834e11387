package login_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/login"
)

func (w *world) signIn(l *login.Login, password string) error {
	w.t.Helper()
	user, err := l.SignIn(w.t.Context(), "public", adaEmail, password)
	if err == nil {
		require.Equal(w.t, adaID, user.ID)
	}
	return err
}

func TestANewPasswordEndsTheOldOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	l := w.process()
	require.NoError(t, w.signIn(l, adaPassword))
	require.NoError(t, w.client.SetPassword(t.Context(), adaID, "brand new 2"))
	asked := w.legacy.timesAsked()
	require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrWrongCredentials)
	require.NoError(t, w.signIn(l, "brand new 2"))
	assert.Equal(t, asked, w.legacy.timesAsked(), "legacy was asked")
}

func TestARoleTakenAwayStaysAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	require.NoError(t, w.signIn(w.process(), adaPassword))
	_, err := w.client.RemoveUserRole(t.Context(), "", adaID, "admin")
	require.NoError(t, err)
	_, err = w.client.UpdateUserMetadata(t.Context(), adaID, map[string]any{"plan": nil})
	require.NoError(t, err)
	require.NoError(t, w.signIn(w.process(), adaPassword))
	people := w.people()
	assert.Equal(t, []string{"editor"}, people[0].Roles)
	assert.NotContains(t, people[0].Metadata, "plan")
}

func TestTenants(t *testing.T) {
	t.Parallel()
	other := ada()
	other.TenantID, other.ID = "t1", "auth0|other"
	w := newWorld(t, ada(), other)
	w.legacy.add(other, "the other's 1")
	for _, tenant := range []string{"t1", "t2"} {
		w.raw("PUT", "/recipe/multitenancy/tenant/v2", fmt.Sprintf(`{"tenantId":%q}`, tenant), nil)
	}
	l := w.process(func(cfg *login.Config) { cfg.Tenants = []string{"public", "t1"} })
	for _, s := range []struct {
		tenant, password, id string
		err                  error
	}{
		{"t1", adaPassword, "", stmigrate.ErrWrongCredentials},
		{"t1", "the other's 1", "auth0|other", nil},
		{"public", "the other's 1", "", stmigrate.ErrWrongCredentials},
		{"public", adaPassword, adaID, nil},
		{"t1", "the other's 1", "auth0|other", nil},
		{"t2", adaPassword, "", stmigrate.ErrWrongCredentials},
	} {
		asked := w.legacy.timesAsked()
		user, err := l.SignIn(t.Context(), s.tenant, adaEmail, s.password)
		if s.tenant == "t2" {
			assert.Equal(t, asked, w.legacy.timesAsked(), "legacy was asked for a tenant that is not its own")
		}
		if s.err != nil {
			require.ErrorIs(t, err, s.err, "%+v", s)
			continue
		}
		require.NoError(t, err, "%+v", s)
		assert.Equal(t, s.id, user.ID)
		assert.Equal(t, []string{s.tenant}, user.TenantIDs)
	}
	require.Len(t, w.core.Users(), 2)
	_, err := w.process(func(cfg *login.Config) { cfg.Tenants = []string{"public"} }).SignIn(t.Context(), "t1", adaEmail, "the other's 1")
	require.NoError(t, err, "who is in SuperTokens signs in there")
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	native := func(w *world, email string) string {
		u, err := w.client.SignUp(w.t.Context(), "", email, "native pass 1")
		require.NoError(w.t, err)
		return u.ID
	}
	for name, c := range map[string]struct {
		// arrange makes the conflict; resolve ends its cause.
		arrange, resolve func(w *world)
		// hidden: who has the ID has no password, and look-ups find only those who do.
		hidden bool
	}{
		"the legacy ID is mapped to another user": {
			arrange: func(w *world) {
				m := core.UserIDMapping{SuperTokensID: native(w, "someone@example.com"), ExternalID: adaID}
				require.NoError(w.t, w.client.CreateUserIDMapping(w.t.Context(), m, false))
			},
			resolve: func(w *world) {
				_, err := w.client.DeleteUserIDMapping(w.t.Context(), adaID, core.ExternalID, true)
				require.NoError(w.t, err)
			},
		},
		"the legacy ID is a user's own in SuperTokens": {
			arrange: func(w *world) { w.legacy.add(withID(ada(), native(w, "someone@example.com")), adaPassword) },
			resolve: func(w *world) { w.legacy.add(ada(), adaPassword) },
		},
		"the legacy ID is that of somebody with another login": {
			arrange: func(w *world) {
				var answer struct{ User struct{ ID string } }
				w.raw("POST", "/recipe/signinup",
					`{"thirdPartyId":"google","thirdPartyUserId":"g-1","email":{"id":"s@example.com","isVerified":false}}`, &answer)
				m := core.UserIDMapping{SuperTokensID: answer.User.ID, ExternalID: adaID}
				require.NoError(w.t, w.client.CreateUserIDMapping(w.t.Context(), m, false))
			},
			resolve: func(w *world) { require.NoError(w.t, w.client.DeleteUser(w.t.Context(), adaID)) },
			hidden:  true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ada())
			c.arrange(w)
			before := w.core.Users()
			l := w.process()
			if _, err := l.UserByEmail(t.Context(), "", adaEmail); !c.hidden {
				require.ErrorIs(t, err, stmigrate.ErrConflict)
			}
			for range 2 {
				require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrConflict)
				require.ErrorIs(t, w.signIn(l, "wrong"), stmigrate.ErrWrongCredentials, "only who knows the password learns of it")
			}
			for i, u := range before {
				assert.Equal(t, u, w.core.Users()[i], "nothing was overwritten")
			}
			list, err := l.Conflicts(t.Context(), login.Key{}, 10)
			require.NoError(t, err)
			require.Len(t, list, 1)
			assert.Equal(t, adaEmail, list[0].Email)
			assert.NotEmpty(t, list[0].Conflict)
			assert.Equal(t, "conflict", w.event(login.EventImport).Outcome)
			_, err = l.SignUp(t.Context(), "", adaEmail, "native pass 1")
			require.ErrorIs(t, err, stmigrate.ErrEmailExists)

			c.resolve(w)
			require.NoError(t, l.Forget(t.Context(), "", adaEmail))
			list, err = l.Conflicts(t.Context(), login.Key{}, 10)
			require.NoError(t, err)
			assert.Empty(t, list)
			require.NoError(t, w.signIn(l, adaPassword))
			for _, u := range w.core.Users() {
				assert.NotContains(t, u.Email, "stmigrate.invalid", "nothing is left of the first attempt")
			}
		})
	}
}

func withID(u *stmigrate.LegacyUser, id string) *stmigrate.LegacyUser {
	u.ID = id
	return u
}

// TestSomebodyTakesTheAddressMeanwhile: another backend signs a user up while an import of the same e-mail is not done.
func TestSomebodyTakesTheAddressMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	w.core.Down("PUT /recipe/user")
	require.ErrorIs(t, w.signIn(w.process(), adaPassword), stmigrate.ErrUnavailable)
	w.core.Heal()
	w.clock.Advance(time.Minute)
	native, err := w.client.SignUp(t.Context(), "", adaEmail, "native pass 1")
	require.NoError(t, err)

	l := w.process()
	require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrConflict)
	require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrConflict)
	user, err := l.SignIn(t.Context(), "", adaEmail, "native pass 1")
	require.NoError(t, err, "who has the address in SuperTokens may sign in there")
	assert.Equal(t, native.ID, user.ID)
	require.NoError(t, w.client.DeleteUser(t.Context(), native.ID))
	require.NoError(t, l.Forget(t.Context(), "", adaEmail))
	require.NoError(t, w.signIn(l, adaPassword))
	assert.Len(t, w.core.Users(), 1)
}

func TestALegacyUserWhoBecomesAnother(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	w.core.Down("PUT /recipe/user")
	require.ErrorIs(t, w.signIn(w.process(), adaPassword), stmigrate.ErrUnavailable)
	w.core.Heal()
	w.clock.Advance(time.Minute)
	w.legacy.add(withID(ada(), "auth0|another"), adaPassword)
	l := w.process()
	_, err := l.SignIn(t.Context(), "", adaEmail, adaPassword)
	require.ErrorIs(t, err, stmigrate.ErrConflict)
	require.NoError(t, l.Forget(t.Context(), "", adaEmail))
	user, err := l.SignIn(t.Context(), "", adaEmail, adaPassword)
	require.NoError(t, err)
	assert.Equal(t, "auth0|another", user.ID)
	assert.Len(t, w.core.Users(), 1)
}

func TestAUserThatTheLedgerDoesNotKnowIsSuperTokens(t *testing.T) {
	t.Parallel()
	hashed := ada()
	hashed.PasswordHash = bcryptHash
	w := newWorld(t, hashed)
	native, err := w.client.SignUp(t.Context(), "", adaEmail, "native pass 1")
	require.NoError(t, err)
	l := w.process()
	require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrWrongCredentials)
	user, err := l.SignIn(t.Context(), "", adaEmail, "native pass 1")
	require.NoError(t, err)
	assert.Equal(t, native.ID, user.ID)
	assert.Zero(t, w.legacy.timesAsked())
	assert.Zero(t, w.entry(adaEmail).Step)
}

func TestPasswordHashes(t *testing.T) {
	t.Parallel()
	const (
		importRoute = "POST /recipe/user/passwordhash/import"
		argon2Hash  = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$qDsVZy2Nv3oCLn0ZpMWZ1SXkYGjGVrzIS3Wc1BvD5yA"
	)
	for name, h := range map[string]struct {
		hash, route string
		kept        bool
		flags       login.Flags
	}{
		"bcrypt":               {bcryptHash, importRoute, true, 0},
		"bcrypt of another":    {"$2y$04$KjDN/r5m5ysf1uUhJqLKm.QdnqBgHzzmcf1gY9v7JPKePruBKmv8a", importRoute, false, login.HashRefused},
		"what nobody imports":  {"md5:d41d8cd98f00b204e9800998ecf8427e", "POST /recipe/signup", false, login.HashRefused},
		"argon2":               {argon2Hash, importRoute, false, login.HashRefused},
		"no hash, no question": {"", "POST /recipe/signup", false, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := ada()
			u.PasswordHash = h.hash
			w := newWorld(t, u)
			require.NoError(t, w.signIn(w.process(), adaPassword))
			assert.NotEmpty(t, w.core.Requests(h.route))
			assert.Equal(t, h.flags, w.entry(adaEmail).Flags)
			if h.kept {
				assert.Equal(t, h.hash, w.core.Users()[0].PasswordHash)
			}
			for _, r := range w.core.Requests(importRoute) {
				assert.NotContains(t, string(r.Body), adaEmail, "an import at a user's own address overwrites a password")
			}
			require.NoError(t, w.signIn(w.process(), adaPassword), "and again, by SuperTokens alone")
			assert.Equal(t, 1, w.legacy.timesAsked())
		})
	}
}

func TestAWeakPasswordSignsInAndIsReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.legacy.add(ada(), "abc")
	require.NoError(t, w.signIn(w.process(), "abc"))
	assert.Equal(t, login.WeakPassword, w.entry(adaEmail).Flags)
	assert.Equal(t, login.WeakPassword, w.event(login.EventImport).Flags)
	require.NoError(t, w.signIn(w.process(), "abc"))
}

func TestMissingRoles(t *testing.T) {
	t.Parallel()
	odd := ada()
	odd.Roles = []string{"admin", "wizard", " ", "editor"}
	t.Run("left out", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, odd)
		require.NoError(t, w.signIn(w.process(), adaPassword))
		assert.Equal(t, []string{"admin", "editor"}, w.people()[0].Roles)
		assert.Equal(t, []string{"wizard", " "}, w.event(login.EventImport).Roles)
		assert.Equal(t, login.RolesLeftOut, w.entry(adaEmail).Flags)
	})
	t.Run("created", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, odd)
		require.NoError(t, w.signIn(w.process(func(cfg *login.Config) { cfg.CreateMissingRoles = true }), adaPassword))
		assert.Equal(t, []string{"admin", "editor", "wizard"}, w.people()[0].Roles)
		assert.Equal(t, []string{" "}, w.event(login.EventImport).Roles)
	})
}

// TestReset tells what becomes of a legacy user's password after somebody asked for a reset.
func TestReset(t *testing.T) {
	t.Parallel()
	const fresh = "brand new 2"
	ask := func(w *world, l *login.Login) string {
		w.t.Helper()
		token, err := l.CreatePasswordResetToken(w.t.Context(), "", adaID, adaEmail)
		require.NoError(w.t, err)
		require.Len(w.t, w.core.Users(), 1)
		require.Equal(w.t, login.AskLegacy, w.entry(adaEmail).Flags)
		return token
	}
	for name, story := range map[string]func(t *testing.T, w *world, l *login.Login){
		"a stranger asks, and nothing changes": func(t *testing.T, w *world, l *login.Login) {
			ask(w, l)
			ask(w, l)
			require.ErrorIs(t, w.signIn(l, "wrong"), stmigrate.ErrWrongCredentials)
			require.NoError(t, w.signIn(l, adaPassword))
			assert.Zero(t, w.entry(adaEmail).Flags)
			asked := w.legacy.timesAsked()
			require.NoError(t, w.signIn(l, adaPassword))
			require.ErrorIs(t, w.signIn(l, "wrong"), stmigrate.ErrWrongCredentials)
			assert.Equal(t, asked, w.legacy.timesAsked(), "the password is SuperTokens' by now")
			people := w.people()
			assert.True(t, people[0].Verified && people[0].MappingIsRight)
			assert.Equal(t, []string{"admin", "editor"}, people[0].Roles)
		},
		"the user resets": func(t *testing.T, w *world, l *login.Login) {
			user, err := l.ResetPassword(t.Context(), "", ask(w, l), fresh)
			require.NoError(t, err)
			assert.Equal(t, adaID, user.ID)
			assert.Zero(t, w.entry(adaEmail).Flags)
			require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrWrongCredentials)
			require.NoError(t, w.signIn(l, fresh))
			assert.Zero(t, w.legacy.timesAsked())
		},
		"the user resets at another backend": func(t *testing.T, w *world, l *login.Login) {
			id, _, err := w.client.ConsumeResetToken(t.Context(), "", ask(w, l))
			require.NoError(t, err)
			require.NoError(t, w.client.SetPassword(t.Context(), id, fresh))
			require.Equal(t, login.AskLegacy, w.entry(adaEmail).Flags, "nobody told the ledger")
			require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrWrongCredentials)
			require.NoError(t, w.signIn(l, fresh))
			assert.Zero(t, w.legacy.timesAsked())
			assert.Zero(t, w.entry(adaEmail).Flags)
		},
		"the process dies between the reset and its note": func(t *testing.T, w *world, l *login.Login) {
			token := ask(w, l)
			d, doom := w.doom(1000, false)
			dying := w.process(doom)
			d.Ledger = noUnmark{w.ledger}
			_, err := dying.ResetPassword(t.Context(), "", token, fresh)
			require.NoError(t, err)
			require.Equal(t, login.AskLegacy, w.entry(adaEmail).Flags)
			require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrWrongCredentials)
			require.NoError(t, w.signIn(l, fresh))
		},
		"the user resets while the legacy password is being taken over": func(t *testing.T, w *world, _ *login.Login) {
			reset := &duringSignIn{EmailPassword: stmigrate.NewEmailPassword(w.client)}
			l := w.process(func(cfg *login.Config) { cfg.Original = reset })
			token := ask(w, l)
			reset.beforeReset = func() {
				id, _, err := w.client.ConsumeResetToken(t.Context(), "", token)
				require.NoError(t, err)
				require.NoError(t, w.client.SetPassword(t.Context(), id, fresh))
			}
			require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrWrongCredentials, "the reset came first")
			require.NoError(t, w.signIn(l, fresh))
		},
		"legacy is down": func(t *testing.T, w *world, l *login.Login) {
			ask(w, l)
			w.legacy.fail(stmigrate.ErrUnavailable)
			require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrUnavailable)
			w.legacy.fail(nil)
			require.NoError(t, w.signIn(l, adaPassword))
		},
		"legacy has another under the e-mail by now": func(t *testing.T, w *world, l *login.Login) {
			ask(w, l)
			w.legacy.add(withID(ada(), "auth0|another"), adaPassword)
			_, err := l.SignIn(t.Context(), "", adaEmail, adaPassword)
			require.ErrorIs(t, err, stmigrate.ErrConflict)
		},
		"the secret is rotated": func(t *testing.T, w *world, l *login.Login) {
			ask(w, l)
			rotated := w.process(func(cfg *login.Config) {
				cfg.Secrets = [][]byte{[]byte(strings.Repeat("n", 32)), cfg.Secrets[0]}
			})
			require.NoError(t, w.signIn(rotated, adaPassword))
			require.ErrorIs(t, w.signIn(rotated, "wrong"), stmigrate.ErrWrongCredentials)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, ada())
			story(t, w, w.process())
		})
	}
	t.Run("nobody is imported who is not there", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, ada())
		l := w.process()
		for _, who := range [][2]string{{"auth0|nobody", "nobody@example.com"}, {adaID, "nobody@example.com"}, {"auth0|nobody", adaEmail}} {
			_, err := l.CreatePasswordResetToken(t.Context(), "", who[0], who[1])
			require.ErrorIs(t, err, stmigrate.ErrUnknownUser, "%v", who)
		}
		require.ErrorIs(t, w.signIn(l, "wrong"), stmigrate.ErrWrongCredentials)
		assert.Empty(t, w.core.Users(), "a wrong password imports nothing")
		assert.Zero(t, w.entry(adaEmail).Step)
	})
}

type noUnmark struct{ login.Ledger }

func (noUnmark) Unmark(context.Context, login.Key) error { return errDead }

// duringSignIn does something between the making of a reset token and its use.
type duringSignIn struct {
	stmigrate.EmailPassword
	beforeReset func()
}

func (d *duringSignIn) ResetPassword(ctx context.Context, tenantID, token, password string) (*stmigrate.AuthUser, error) {
	d.beforeReset()
	return d.EmailPassword.ResetPassword(ctx, tenantID, token, password)
}

// deleter deletes all users before the call at, counted from 1.
type deleter struct {
	w     *world
	n, at int
	last  string
	gone  bool
}

func (d *deleter) RoundTrip(r *http.Request) (*http.Response, error) {
	if d.n++; d.n == d.at {
		d.last = r.Method + " " + r.URL.Path
		for _, u := range d.w.core.Users() {
			require.NoError(d.w.t, d.w.client.DeleteUser(r.Context(), u.ID))
			d.gone = true
		}
	}
	return ownClient.Transport.RoundTrip(r)
}

func TestAUserDeletedInBetween(t *testing.T) {
	t.Parallel()
	t.Run("in SuperTokens, after the import", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, ada())
		l := w.process()
		require.NoError(t, w.signIn(l, adaPassword))
		require.NoError(t, w.client.DeleteUser(t.Context(), adaID))
		asked := w.legacy.timesAsked()
		require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrWrongCredentials)
		assert.Equal(t, asked, w.legacy.timesAsked())
		_, err := l.UserByEmail(t.Context(), "", adaEmail)
		require.ErrorIs(t, err, stmigrate.ErrUnknownUser)
		_, err = l.UserByID(t.Context(), adaID)
		require.ErrorIs(t, err, stmigrate.ErrUnknownUser)
		_, err = l.CreatePasswordResetToken(t.Context(), "", adaID, adaEmail)
		require.ErrorIs(t, err, stmigrate.ErrUnknownUser)

		require.NoError(t, l.Forget(t.Context(), "", adaEmail))
		require.NoError(t, w.signIn(l, adaPassword))
		assert.True(t, w.people()[0].MappingIsRight)
	})
	t.Run("in SuperTokens, and signs up anew", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, ada())
		l := w.process()
		require.NoError(t, w.signIn(l, adaPassword))
		require.NoError(t, w.client.DeleteUser(t.Context(), adaID))
		user, err := l.SignUp(t.Context(), "", adaEmail, "brand new 2")
		require.NoError(t, err)
		assert.NotEqual(t, adaID, user.ID)
		require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrWrongCredentials)
	})
	t.Run("in SuperTokens, during the import", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, ada())
		l := w.process()
		w.core.Down("PUT /recipe/user")
		require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrUnavailable)
		w.core.Heal()
		w.clock.Advance(time.Minute)
		require.NoError(t, w.client.DeleteUser(t.Context(), adaID))
		require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrUnavailable)
		require.NoError(t, w.signIn(l, adaPassword))
		assert.True(t, w.people()[0].MappingIsRight)
	})
	t.Run("in SuperTokens, between two calls", func(t *testing.T) {
		t.Parallel()
		for n := 1; ; n++ {
			w := newWorld(t, ada())
			d := &deleter{w: w, at: n}
			client, err := core.New(core.Config{ConnectionURI: w.core.URL, Timeout: time.Minute, HTTPClient: &http.Client{Transport: d}})
			require.NoError(t, err)
			if err := w.signIn(w.process(func(cfg *login.Config) { cfg.Core = client }), adaPassword); d.gone {
				require.ErrorIs(t, err, stmigrate.ErrUnavailable, d.last)
				require.NoError(t, w.signIn(w.process(), adaPassword), d.last)
				require.Len(t, w.people(), 1)
				assert.True(t, w.people()[0].MappingIsRight)
			} else {
				require.NoError(t, err)
			}
			require.NotEmpty(t, d.last)
			if d.last == "PUT /recipe/user" { // gives the user its address, and is the last call
				break
			}
		}
	})
	t.Run("in legacy, after the import", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, ada())
		l := w.process()
		require.NoError(t, w.signIn(l, adaPassword))
		w.legacy.users = nil
		require.NoError(t, w.signIn(l, adaPassword), "SuperTokens alone decides")
	})
	t.Run("in legacy, during the import", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t, ada())
		l := w.process()
		w.core.Down("PUT /recipe/user")
		require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrUnavailable)
		w.core.Heal()
		w.clock.Advance(time.Minute)
		w.legacy.users = nil
		require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrWrongCredentials)
		_, err := w.client.UserByEmail(t.Context(), "", adaEmail)
		require.ErrorIs(t, err, core.ErrUnknownUser)
		require.NoError(t, l.Forget(t.Context(), "", adaEmail))
		assert.Empty(t, w.core.Users(), "Forget takes what was left")
	})
}

func TestLookUps(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	for i := range 4 {
		w.legacy.add(&stmigrate.LegacyUser{ID: fmt.Sprint("auth0|", i), TenantID: "public", Email: fmt.Sprint(i, "@example.com")}, adaPassword)
	}
	l := w.process()
	for _, look := range []func() (*stmigrate.AuthUser, error){
		func() (*stmigrate.AuthUser, error) { return l.UserByEmail(t.Context(), "", " ADA@example.com") },
		func() (*stmigrate.AuthUser, error) { return l.UserByID(t.Context(), adaID) },
	} {
		user, err := look()
		require.NoError(t, err)
		want := &stmigrate.AuthUser{ID: adaID, Email: adaEmail, TenantIDs: []string{"public"}, TimeJoined: time.Unix(1e9, 0), Legacy: true}
		assert.Equal(t, want, user)
	}
	_, err := l.SignUp(t.Context(), "", "ADA@example.com", "native pass 1")
	require.ErrorIs(t, err, stmigrate.ErrEmailExists)
	_, err = l.SignUp(t.Context(), "", "import-x@stmigrate.invalid", "native pass 1")
	require.ErrorIs(t, err, stmigrate.ErrBadRequest)
	for i := range 2 {
		user, err := l.SignUp(t.Context(), "", fmt.Sprintf("native%d@example.com", i), "native pass 1")
		require.NoError(t, err)
		found, err := l.UserByID(t.Context(), user.ID)
		require.NoError(t, err)
		assert.Equal(t, user, found)
	}
	for _, email := range []string{adaEmail, "0@example.com", "1@example.com"} {
		_, err := l.SignIn(t.Context(), "", email, adaPassword)
		require.NoError(t, err)
		w.legacy.gone++
	}
	n, err := l.UserCount(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 7, n, "five of legacy and two of their own")
	user, err := l.UserByID(t.Context(), adaID)
	require.NoError(t, err)
	assert.False(t, user.Legacy)
	for _, id := range []string{"nobody", ""} {
		_, err = l.UserByID(t.Context(), id)
		require.Error(t, err)
	}
	_, err = l.UserByEmail(t.Context(), "", "nobody@example.com")
	require.ErrorIs(t, err, stmigrate.ErrUnknownUser)

	passwordsOnly := struct{ stmigrate.LegacyUserStore }{w.legacy}
	bare := w.process(func(cfg *login.Config) { cfg.Legacy, cfg.SkipLegacyDirectory = passwordsOnly, true })
	_, err = bare.UserCount(t.Context())
	require.ErrorIs(t, err, stmigrate.ErrUnsupported)
	_, err = bare.UserByEmail(t.Context(), "", "2@example.com")
	require.ErrorIs(t, err, stmigrate.ErrUnknownUser)
	_, err = bare.CreatePasswordResetToken(t.Context(), "", "auth0|2", "2@example.com")
	require.ErrorIs(t, err, stmigrate.ErrUnknownUser)
	_, err = bare.SignIn(t.Context(), "", "2@example.com", adaPassword)
	require.NoError(t, err)
}

// TestAUserUnderImportIsNotMet: until the import is done the user is found in legacy, not half in SuperTokens.
func TestAUserUnderImportIsNotMet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	l := w.process()
	w.core.Down("PUT /recipe/user")
	require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrUnavailable)
	w.core.Heal()
	require.Len(t, w.core.Users(), 1)
	for _, look := range []func() (*stmigrate.AuthUser, error){
		func() (*stmigrate.AuthUser, error) { return l.UserByEmail(t.Context(), "", adaEmail) },
		func() (*stmigrate.AuthUser, error) { return l.UserByID(t.Context(), adaID) },
	} {
		user, err := look()
		require.NoError(t, err)
		assert.True(t, user.Legacy)
	}
	_, err := w.client.SignIn(t.Context(), "", adaEmail, adaPassword)
	require.ErrorIs(t, err, core.ErrWrongCredentials, "nor by another backend")
	w.clock.Advance(time.Minute)
	_, err = l.CreatePasswordResetToken(t.Context(), "", adaID, adaEmail)
	require.NoError(t, err, "a reset takes the import up")
	assert.Equal(t, login.AskLegacy, w.entry(adaEmail).Flags)
	require.NoError(t, w.signIn(l, adaPassword))
}

func TestFortyAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	patient := func(cfg *login.Config) { cfg.Lease, cfg.Wait = 5*time.Minute, 5*time.Minute }
	one, two := w.process(patient), w.process(patient)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			l := one
			if i%2 == 0 {
				l = two
			}
			user, err := l.SignIn(t.Context(), "", adaEmail, adaPassword)
			if assert.NoError(t, err) {
				assert.Equal(t, adaID, user.ID)
			}
		})
	}
	wg.Wait()
	people := w.people()
	require.Len(t, people, 1)
	assert.True(t, people[0].MappingIsRight)
	assert.Len(t, w.core.Requests("POST /recipe/signup"), 1)
	assert.Len(t, w.core.Requests("POST /recipe/userid/map"), 1)
}

func TestWaitingIsBounded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	key := login.Key{TenantID: "public", Email: adaEmail}
	_, err := w.ledger.Claim(t.Context(), login.Claim{Key: key, LegacyID: adaID, Fence: stmigrate.Fence{1}, Lease: 15 * time.Second})
	require.NoError(t, err)
	l := w.process()
	var waited time.Duration
	l.SetSleep(func(_ context.Context, d time.Duration) error {
		waited += d
		w.clock.Advance(d)
		return nil
	})
	require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrUnavailable)
	assert.GreaterOrEqual(t, waited, 5*time.Second)
	assert.Less(t, waited, 6*time.Second)

	waited = 0
	l = w.process(func(cfg *login.Config) { cfg.Wait = time.Minute })
	l.SetSleep(func(_ context.Context, d time.Duration) error {
		waited += d
		w.clock.Advance(d)
		return nil
	})
	require.NoError(t, w.signIn(l, adaPassword), "who held it is dead")
	assert.Less(t, waited, 15*time.Second)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = l.SignIn(ctx, "", adaEmail, adaPassword)
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
}

// TestAClientThatLeavesStopsNothing: the import goes on, and the next sign-in finds it done.
func TestAClientThatLeavesStopsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	ctx, cancel := context.WithCancel(t.Context())
	l := w.process(func(cfg *login.Config) {
		cfg.Ledger = &onClaim{Ledger: w.ledger, do: cancel}
	})
	_, err := l.SignIn(ctx, "", adaEmail, adaPassword)
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	assert.Equal(t, login.StepComplete, w.entry(adaEmail).Step)
	require.NoError(t, w.signIn(l, adaPassword))
	assert.Len(t, w.core.Users(), 1)
}

// onClaim does something after each claim.
type onClaim struct {
	login.Ledger
	do func()
}

func (c *onClaim) Claim(ctx context.Context, claim login.Claim) (login.Entry, error) {
	defer c.do()
	return c.Ledger.Claim(ctx, claim)
}

// TestWhoLostTheClaimStops: a process that slept through its lease does nothing more.
func TestWhoLostTheClaimStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	var late bool
	l := w.process(func(cfg *login.Config) {
		cfg.Ledger = &onClaim{Ledger: w.ledger, do: func() {
			if late {
				return
			}
			late = true
			w.clock.Advance(time.Minute)
			require.NoError(t, w.signIn(w.process(), adaPassword))
		}}
	})
	require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrUnavailable)
	require.NoError(t, w.signIn(l, adaPassword))
	require.Len(t, w.people(), 1)
	assert.True(t, w.people()[0].MappingIsRight)
}

func TestALostLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	l := w.process()
	require.NoError(t, w.signIn(l, adaPassword))
	require.NoError(t, w.client.SetPassword(t.Context(), adaID, "brand new 2"))
	l = w.process(func(cfg *login.Config) { cfg.Ledger = login.NewMemoryLedger(10) })
	require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrWrongCredentials, "an old password does not come back")
	require.NoError(t, w.signIn(l, "brand new 2"))

	w = newWorld(t, ada())
	w.core.Down("PUT /recipe/user")
	require.ErrorIs(t, w.signIn(w.process(), adaPassword), stmigrate.ErrUnavailable)
	w.core.Heal()
	w.ledger = login.NewMemoryLedger(10)
	w.cfg.Ledger = w.ledger
	require.NoError(t, w.signIn(w.process(), adaPassword), "what was begun is found by the secret")
	assert.Len(t, w.core.Users(), 1)
	assert.True(t, w.people()[0].MappingIsRight)
}

// TestAnOldAddressOfAPublishedUser: the process died before it noted that the import was done, and the user changed the e-mail
// and the password since. The old ones must not sign in.
func TestAnOldAddressOfAPublishedUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	w.core.AfterCommit("PUT /recipe/user")
	require.ErrorIs(t, w.signIn(w.process(), adaPassword), stmigrate.ErrUnavailable)
	w.core.Heal()
	require.Equal(t, login.StepReady, w.entry(adaEmail).Step)
	require.NoError(t, w.client.SetEmail(t.Context(), adaID, "countess@example.com"))
	require.NoError(t, w.client.SetPassword(t.Context(), adaID, "brand new 2"))
	w.clock.Advance(time.Minute)
	require.ErrorIs(t, w.signIn(w.process(), adaPassword), stmigrate.ErrWrongCredentials)
	assert.Equal(t, login.StepComplete, w.entry(adaEmail).Step)
	user, err := w.process().SignIn(t.Context(), "", "countess@example.com", "brand new 2")
	require.NoError(t, err)
	assert.Equal(t, adaID, user.ID)
}

// TestSecretsAreRotatedDuringAnImport: what was begun under the old secret is gone on with under the new one.
func TestSecretsAreRotatedDuringAnImport(t *testing.T) {
	t.Parallel()
	for _, route := range []string{"POST /recipe/signup", "POST /recipe/userid/map", "PUT /recipe/user"} {
		w := newWorld(t, ada())
		w.core.AfterCommit(route)
		require.ErrorIs(t, w.signIn(w.process(), adaPassword), stmigrate.ErrUnavailable)
		w.core.Heal()
		w.clock.Advance(time.Minute)
		rotated := w.process(func(cfg *login.Config) { cfg.Secrets = [][]byte{[]byte(strings.Repeat("n", 32)), cfg.Secrets[0]} })
		require.NoError(t, w.signIn(rotated, adaPassword), route)
		assert.Len(t, w.core.Users(), 1)
		assert.True(t, w.people()[0].MappingIsRight)
	}
}

func TestFullLedger(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	l := w.process(func(cfg *login.Config) { cfg.Ledger = login.NewMemoryLedger(0) })
	require.ErrorIs(t, w.signIn(l, adaPassword), stmigrate.ErrUnavailable)
	assert.Empty(t, w.core.Users())
}

// TestACallThatMayStillArrive: nobody takes over while it may, and at once where it certainly does not.
func TestACallThatMayStillArrive(t *testing.T) {
	t.Parallel()
	for _, fault := range []struct {
		route string
		code  int
		held  bool
	}{
		{"PUT /recipe/user", 500, true}, {"POST /recipe/userid/map", 502, true}, {"PUT /recipe/user", 400, false}, {"GET /user/id", 503, false},
	} {
		w := newWorld(t, ada())
		w.core.Status(fault.code, fault.route)
		require.Error(t, w.signIn(w.process(), adaPassword))
		assert.Equal(t, fault.held, w.entry(adaEmail).Wait > 0, "%+v", fault)
		w.core.Heal()
		l := w.process()
		if fault.held {
			require.ErrorIs(t, l.Forget(t.Context(), "", adaEmail), stmigrate.ErrUnavailable)
			l.SetSleep(func(context.Context, time.Duration) error {
				w.clock.Advance(5 * time.Second)
				return nil
			})
		}
		require.NoError(t, w.signIn(l, adaPassword), "%+v", fault)
	}
}

func TestLedgerDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	_, doom := w.doom(0, false)
	l := w.process(doom)
	ctx := t.Context()
	_, signIn := l.SignIn(ctx, "", adaEmail, adaPassword)
	_, signUp := l.SignUp(ctx, "", adaEmail, adaPassword)
	_, token := l.CreatePasswordResetToken(ctx, "", adaID, adaEmail)
	for _, err := range []error{signIn, signUp, token, l.Forget(ctx, "", adaEmail)} {
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	}
	assert.Empty(t, w.core.Users())
}

func TestEventsAndErrorsHoldNoSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	l := w.process()
	var all []error
	for _, route := range []string{"POST /recipe/signup", "PUT /recipe/user", "POST /recipe/userid/map"} {
		w.core.Status(500, route)
		all = append(all, w.signIn(l, adaPassword))
		w.core.Heal()
		w.clock.Advance(time.Minute)
	}
	all = append(all, w.signIn(l, "wrong password 1"), w.signIn(l, adaPassword))
	text := fmt.Sprint(errors.Join(all...))
	w.mu.Lock()
	defer w.mu.Unlock()
	require.NotEmpty(t, w.events)
	for _, e := range w.events {
		text += fmt.Sprintf("%+v", e)
		b, err := json.Marshal(e)
		require.NoError(t, err)
		text += string(b)
	}
	text = strings.ToLower(text)
	for _, secret := range []string{adaPassword, "wrong password 1", adaEmail, "stmigrate.invalid"} {
		assert.NotContains(t, text, secret)
	}
}

func TestNew(t *testing.T) {
	t.Parallel()
	w := newWorld(t, ada())
	shared, err := login.NewSQLLedger(login.SQLConfig{DB: new(sql.DB), Dialect: login.Postgres})
	require.NoError(t, err)
	for field, change := range map[string]func(*login.Config){
		"Config.Core":                func(cfg *login.Config) { cfg.Core = nil },
		"Config.Legacy ":             func(cfg *login.Config) { cfg.Legacy = nil },
		"Config.Ledger":              func(cfg *login.Config) { cfg.Ledger = nil },
		"Config.Secrets[1]":          func(cfg *login.Config) { cfg.Secrets = append(cfg.Secrets, []byte("short")) },
		"Config.Secrets is required": func(cfg *login.Config) { cfg.Ledger, cfg.Secrets = shared, nil },
		"Config.Lease":               func(cfg *login.Config) { cfg.Lease = time.Millisecond },
		"Config.Wait":                func(cfg *login.Config) { cfg.Wait = -1 },
		"SkipLegacyDirectory": func(cfg *login.Config) {
			cfg.Legacy = struct{ stmigrate.LegacyUserStore }{w.legacy}
		},
		"Tenants": func(cfg *login.Config) { cfg.Tenants = []string{"Public"} },
	} {
		cfg := w.cfg
		change(&cfg)
		_, err := login.New(cfg)
		require.ErrorContains(t, err, field)
	}
}

func TestDefaultPasswordPolicy(t *testing.T) {
	t.Parallel()
	for password, ok := range map[string]bool{
		"abcdefg1": true, strings.Repeat("a1", 49): true, "": false, "abcdef1": false, "abcdefgh": false, "12345678": false,
		strings.Repeat("a1", 50): false, "ääääääää1": false,
	} {
		assert.Equal(t, ok, login.DefaultPasswordPolicy(password) == nil, "%q", password)
	}
}
