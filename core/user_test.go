package core_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// ownClient's connections are no other test's to close.
var ownClient = &http.Client{Transport: new(http.Transport)}

// atBothVersions runs f with a client of a core at CDI 3.1, and at 5.2, that has the tenants public and t1.
func atBothVersions(t *testing.T, f func(t *testing.T, emu *stmigratetest.Core, c *core.Client)) {
	for _, version := range []string{"3.1", "5.2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			emu := stmigratetest.NewCore(t, stmigratetest.CoreConfig{APIKey: "the-key-of-the-core-1", Versions: []string{"2.21", version}})
			put(t, emu, "PUT", "/recipe/multitenancy/tenant", `{"tenantId":"t1","emailPasswordEnabled":true}`)
			c, err := core.New(core.Config{ConnectionURI: emu.URL, APIKey: "the-key-of-the-core-1", Timeout: time.Minute})
			require.NoError(t, err)
			f(t, emu, c)
		})
	}
}

// put makes a call that the client has no method for.
func put(t *testing.T, emu *stmigratetest.Core, method, path, body string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, emu.URL+path, strings.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("api-key", "the-key-of-the-core-1")
	resp, err := ownClient.Do(r)
	require.NoError(t, err)
	_ = resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

const bcryptOfTestPass123 = "$2a$04$JOgu599h2nykWmL1kITeA.gXcxHKiaz2gW7N1eLhFU7VoQhpQq5F6" // of the least cost, for slow machines

func TestUsers(t *testing.T) {
	atBothVersions(t, func(t *testing.T, emu *stmigratetest.Core, c *core.Client) {
		ctx := t.Context()
		before := time.Now().Truncate(time.Millisecond)
		ada, err := c.SignUp(ctx, "", " Ada@Example.com ", "correct horse 1")
		require.NoError(t, err)
		assert.Equal(t, "ada@example.com", ada.Email)
		assert.Equal(t, []string{"public"}, ada.TenantIDs)
		assert.False(t, ada.TimeJoined.Before(before) || ada.TimeJoined.After(time.Now()), ada.TimeJoined)
		same := func(got *core.User, err error) {
			t.Helper()
			require.NoError(t, err)
			assert.Equal(t, ada, got)
		}
		same(c.SignIn(ctx, "public", "ADA@example.com", "correct horse 1"))
		same(c.UserByID(ctx, ada.ID))
		same(c.UserByEmail(ctx, "", "Ada@Example.COM"))

		other, err := c.SignUp(ctx, "t1", "ada@example.com", "in another tenant")
		require.NoError(t, err)
		assert.NotEqual(t, ada.ID, other.ID)
		assert.Equal(t, []string{"t1"}, other.TenantIDs)
		inT1, err := c.UserByEmail(ctx, "t1", "ada@example.com")
		require.NoError(t, err)
		assert.Equal(t, other, inT1)
		put(t, emu, "POST", "/recipe/signinup",
			`{"thirdPartyId":"google","thirdPartyUserId":"g-1","email":{"id":"grace@example.com","isVerified":true}}`)

		for name, tt := range map[string]struct {
			err  error
			want error
		}{
			"e-mail exists":             {second(c.SignUp(ctx, "", "ADA@example.com", "x")), core.ErrEmailExists},
			"sign-up in no tenant":      {second(c.SignUp(ctx, "t2", "bob@example.com", "x")), core.ErrUnknownTenant},
			"wrong password":            {second(c.SignIn(ctx, "", "ada@example.com", "wrong")), core.ErrWrongCredentials},
			"another tenant's password": {second(c.SignIn(ctx, "t1", "ada@example.com", "correct horse 1")), core.ErrWrongCredentials},
			"unknown e-mail":            {second(c.SignIn(ctx, "", "bob@example.com", "wrong")), core.ErrWrongCredentials},
			"no user with this e-mail":  {second(c.UserByEmail(ctx, "", "bob@example.com")), core.ErrUnknownUser},
			"no such tenant":            {second(c.UserByEmail(ctx, "t2", "ada@example.com")), core.ErrUnknownTenant},
			"no user with this ID":      {second(c.UserByID(ctx, "nobody")), core.ErrUnknownUser},
			"signs in otherwise":        {second(c.UserByEmail(ctx, "", "grace@example.com")), core.ErrUnknownUser},
			"password of nobody":        {c.SetPassword(ctx, "nobody", "x"), core.ErrUnknownUser},
			"e-mail of nobody":          {c.SetEmail(ctx, "nobody", "x@example.com"), core.ErrUnknownUser},
			"reset token for nobody":    {second(c.CreateResetToken(ctx, "", "nobody", "x@example.com")), core.ErrUnknownUser},
			"reset token of nobody":     {third(c.ConsumeResetToken(ctx, "", "abc")), core.ErrInvalidToken},
		} {
			assert.ErrorIs(t, tt.err, tt.want, name)
		}
		for _, u := range emu.Users() {
			if u.Recipe == "thirdparty" {
				_, err := c.UserByID(ctx, u.ID)
				assert.ErrorIs(t, err, core.ErrUnknownUser)
			}
		}

		n, err := c.CountUsers(ctx, "")
		require.NoError(t, err)
		assert.Equal(t, 3, n)
		n, err = c.CountUsers(ctx, "t1")
		require.NoError(t, err)
		assert.Equal(t, 1, n)

		require.NoError(t, c.SetPassword(ctx, ada.ID, "new pass 3"))
		same(c.SignIn(ctx, "", "ada@example.com", "new pass 3"))
		require.NoError(t, c.SetEmail(ctx, ada.ID, "Lovelace@example.com"))
		ada.Email = "lovelace@example.com"
		same(c.SignIn(ctx, "", "lovelace@example.com", "new pass 3"))
		bob, err := c.SignUp(ctx, "", "bob@example.com", "x")
		require.NoError(t, err)
		assert.ErrorIs(t, c.SetEmail(ctx, bob.ID, "lovelace@example.com"), core.ErrEmailExists)

		for range 2 {
			require.NoError(t, c.DeleteUser(ctx, bob.ID))
		}
		_, err = c.UserByID(ctx, bob.ID)
		assert.ErrorIs(t, err, core.ErrUnknownUser)
	})
}

func second[T any](_ T, err error) error        { return err }
func third[T, U any](_ T, _ U, err error) error { return err }

func TestResetTokens(t *testing.T) {
	atBothVersions(t, func(t *testing.T, emu *stmigratetest.Core, c *core.Client) {
		ctx := t.Context()
		ada, err := c.SignUp(ctx, "t1", "ada@example.com", "correct horse 1")
		require.NoError(t, err)
		require.NoError(t, c.CreateUserIDMapping(ctx, core.UserIDMapping{SuperTokensID: ada.ID, ExternalID: "auth0|1"}, false))
		token, err := c.CreateResetToken(ctx, "t1", "auth0|1", "ada@example.com")
		require.NoError(t, err)
		another, err := c.CreateResetToken(ctx, "t1", ada.ID, "ada@example.com")
		require.NoError(t, err)
		id, email, err := c.ConsumeResetToken(ctx, "", token) // in another tenant
		require.NoError(t, err)
		assert.Equal(t, []string{"auth0|1", "ada@example.com"}, []string{id, email})
		for _, used := range []string{token, another} {
			_, _, err = c.ConsumeResetToken(ctx, "t1", used)
			assert.ErrorIs(t, err, core.ErrInvalidToken)
		}
		late, err := c.CreateResetToken(ctx, "t1", ada.ID, "ada@example.com")
		require.NoError(t, err)
		emu.Advance(time.Hour + time.Second)
		_, _, err = c.ConsumeResetToken(ctx, "t1", late)
		assert.ErrorIs(t, err, core.ErrInvalidToken)
	})
}

func TestImportPasswordHash(t *testing.T) {
	atBothVersions(t, func(t *testing.T, emu *stmigratetest.Core, c *core.Client) {
		ctx := t.Context()
		for i, want := range []bool{false, true} {
			u, existed, err := c.ImportPasswordHash(ctx, "", "H@example.com", bcryptOfTestPass123)
			require.NoError(t, err, i)
			assert.Equal(t, want, existed)
			assert.Equal(t, "h@example.com", u.Email)
		}
		u, err := c.SignIn(ctx, "", "h@example.com", "testPass123")
		require.NoError(t, err)
		require.NoError(t, c.CreateUserIDMapping(ctx, core.UserIDMapping{SuperTokensID: u.ID, ExternalID: "auth0|h"}, false))
		mapped, existed, err := c.ImportPasswordHash(ctx, "", "h@example.com", bcryptOfTestPass123)
		require.NoError(t, err)
		assert.True(t, existed)
		assert.Equal(t, "auth0|h", mapped.ID)
		for i, hash := range []string{
			strings.Replace(bcryptOfTestPass123, "$2a", "$2b", 1),
			"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$hash/hash+hash",
			"$f_scrypt$aGFzaA==$c2FsdA==$m=14$r=8$s=Bw==",
		} {
			_, _, err := c.ImportPasswordHash(ctx, "", fmt.Sprintf("h%d@example.com", i), hash)
			require.NoError(t, err, hash)
		}
		emu.ForgetRequests()
		for _, hash := range []string{
			"", "x", "$2a$10$short", bcryptOfTestPass123 + "x", "$2a$99" + bcryptOfTestPass123[6:], "$argon2id$", "$f_scrypt$x",
			"$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$" + strings.Repeat("a", 256), "$pbkdf2-sha256$29000$salt$hash",
			" " + bcryptOfTestPass123, bcryptOfTestPass123 + "\n",
		} {
			_, _, err := c.ImportPasswordHash(ctx, "", "n@example.com", hash)
			var e *core.Error
			require.ErrorAs(t, err, &e, hash)
			assert.True(t, e.Refused(), hash)
			assert.Empty(t, core.HashAlgorithmOf(hash))
		}
		assert.Empty(t, emu.Requests())
	})
}

func TestUserIDMappings(t *testing.T) {
	atBothVersions(t, func(t *testing.T, _ *stmigratetest.Core, c *core.Client) {
		ctx := t.Context()
		signUp := func(email string) string {
			u, err := c.SignUp(ctx, "", email, "correct horse 1")
			require.NoError(t, err)
			return u.ID
		}
		ada, bob := signUp("ada@example.com"), signUp("bob@example.com")
		mapping := core.UserIDMapping{SuperTokensID: ada, ExternalID: "auth0|1", Info: "from auth0"}
		require.NoError(t, c.CreateUserIDMapping(ctx, mapping, false))
		for id, kind := range map[string]core.IDType{ada: core.SuperTokensID, "auth0|1": core.ExternalID} {
			for _, kind := range []core.IDType{kind, core.AnyID} {
				got, err := c.UserIDMapping(ctx, id, kind)
				require.NoError(t, err)
				assert.Equal(t, &mapping, got)
			}
		}
		for _, id := range []string{ada, "auth0|1"} {
			u, err := c.UserByID(ctx, id)
			require.NoError(t, err)
			assert.Equal(t, "auth0|1", u.ID)
		}

		for name, tt := range map[string]struct {
			m      core.UserIDMapping
			want   error
			exists *core.MappingExistsError
		}{
			"the same again":      {core.UserIDMapping{SuperTokensID: ada, ExternalID: "auth0|1"}, core.ErrMappingExists, &core.MappingExistsError{SuperTokensID: true, ExternalID: true}},
			"to another":          {core.UserIDMapping{SuperTokensID: ada, ExternalID: "auth0|2"}, core.ErrMappingExists, &core.MappingExistsError{SuperTokensID: true}},
			"another's":           {core.UserIDMapping{SuperTokensID: bob, ExternalID: "auth0|1"}, core.ErrMappingExists, &core.MappingExistsError{ExternalID: true}},
			"of nobody":           {core.UserIDMapping{SuperTokensID: "nobody", ExternalID: "auth0|3"}, core.ErrUnknownUser, nil},
			"to a SuperTokens ID": {core.UserIDMapping{SuperTokensID: bob, ExternalID: ada}, core.ErrExternalIDTaken, nil},
		} {
			err := c.CreateUserIDMapping(ctx, tt.m, false)
			require.ErrorIs(t, err, tt.want, name)
			var exists *core.MappingExistsError
			errors.As(err, &exists)
			assert.Equal(t, tt.exists, exists, name)
		}

		_, err := c.UpdateUserMetadata(ctx, bob, map[string]any{"a": 1})
		require.NoError(t, err)
		late := core.UserIDMapping{SuperTokensID: bob, ExternalID: "auth0|bob"}
		err = c.CreateUserIDMapping(ctx, late, false)
		require.ErrorIs(t, err, core.ErrUserIDInUse)
		assert.ErrorContains(t, err, "UserMetadata")
		require.NoError(t, c.CreateUserIDMapping(ctx, late, true))

		require.NoError(t, c.SetUserIDMappingInfo(ctx, ada, core.SuperTokensID, "changed"))
		got, err := c.UserIDMapping(ctx, ada, core.AnyID)
		require.NoError(t, err)
		assert.Equal(t, "changed", got.Info)
		require.NoError(t, c.SetUserIDMappingInfo(ctx, "auth0|1", core.ExternalID, ""))
		got, err = c.UserIDMapping(ctx, ada, core.AnyID)
		require.NoError(t, err)
		assert.Empty(t, got.Info)
		assert.ErrorIs(t, c.SetUserIDMappingInfo(ctx, "nobody", core.AnyID, "x"), core.ErrUnknownMapping)

		_, err = c.UpdateUserMetadata(ctx, "auth0|1", map[string]any{"a": 1})
		require.NoError(t, err)
		_, err = c.DeleteUserIDMapping(ctx, ada, core.SuperTokensID, false)
		assert.ErrorIs(t, err, core.ErrUserIDInUse)
		for _, want := range []bool{true, false} {
			existed, err := c.DeleteUserIDMapping(ctx, ada, core.SuperTokensID, true)
			require.NoError(t, err)
			assert.Equal(t, want, existed)
		}
		_, err = c.UserIDMapping(ctx, ada, core.AnyID)
		assert.ErrorIs(t, err, core.ErrUnknownMapping)
	})
}

func TestEmailVerification(t *testing.T) {
	atBothVersions(t, func(t *testing.T, emu *stmigratetest.Core, c *core.Client) {
		ctx := t.Context()
		const id, email = "auth0|1", "ada@example.com"
		verified := func(want bool) {
			t.Helper()
			got, err := c.IsEmailVerified(ctx, id, "ADA@example.com")
			require.NoError(t, err)
			assert.Equal(t, want, got)
		}
		verified(false)
		token, err := c.CreateEmailToken(ctx, "t1", id, "Ada@example.com")
		require.NoError(t, err)
		_, _, err = c.VerifyEmail(ctx, "", token)
		assert.ErrorIs(t, err, core.ErrInvalidToken, "of another tenant")
		verified(false)
		gotID, gotEmail, err := c.VerifyEmail(ctx, "t1", token)
		require.NoError(t, err)
		assert.Equal(t, []string{id, email}, []string{gotID, gotEmail})
		verified(true)
		_, _, err = c.VerifyEmail(ctx, "t1", token)
		assert.ErrorIs(t, err, core.ErrInvalidToken)
		_, err = c.CreateEmailToken(ctx, "", id, email)
		assert.ErrorIs(t, err, core.ErrEmailVerified)
		require.NoError(t, c.UnverifyEmail(ctx, id, "ada@Example.com"))
		verified(false)
	})
}

func TestRolesAndMetadata(t *testing.T) {
	atBothVersions(t, func(t *testing.T, _ *stmigratetest.Core, c *core.Client) {
		ctx := t.Context()
		const id = "auth0|1"
		_, err := c.AddUserRole(ctx, "", id, "admin")
		assert.ErrorIs(t, err, core.ErrUnknownRole)
		_, err = c.RemoveUserRole(ctx, "", id, "admin")
		assert.ErrorIs(t, err, core.ErrUnknownRole)
		for _, want := range []bool{true, false} {
			created, err := c.CreateRole(ctx, "admin", "read", "write")
			require.NoError(t, err)
			assert.Equal(t, want, created)
		}
		_, err = c.CreateRole(ctx, "guest")
		require.NoError(t, err)
		for role, want := range map[string][]string{"admin": {"read", "write"}, "guest": {}} {
			permissions, err := c.RolePermissions(ctx, role)
			require.NoError(t, err)
			assert.Equal(t, want, permissions)
		}
		_, err = c.RolePermissions(ctx, "nobody")
		assert.ErrorIs(t, err, core.ErrUnknownRole)
		for _, want := range []bool{false, true} {
			had, err := c.AddUserRole(ctx, "t1", id, "admin")
			require.NoError(t, err)
			assert.Equal(t, want, had)
		}
		roles, err := c.UserRoles(ctx, "t1", id)
		require.NoError(t, err)
		assert.Equal(t, []string{"admin"}, roles)
		roles, err = c.UserRoles(ctx, "", id)
		require.NoError(t, err)
		assert.Empty(t, roles)
		for _, want := range []bool{true, false} {
			had, err := c.RemoveUserRole(ctx, "t1", id, "admin")
			require.NoError(t, err)
			assert.Equal(t, want, had)
		}

		metadata, err := c.UserMetadata(ctx, id)
		require.NoError(t, err)
		assert.Equal(t, map[string]any{}, metadata)
		_, err = c.UpdateUserMetadata(ctx, id, map[string]any{"first_name": "Ada", "old": true, "nested": map[string]any{"a": 1}})
		require.NoError(t, err)
		want := map[string]any{"first_name": "Ada", "nested": map[string]any{"b": json.Number("2")}}
		merged, err := c.UpdateUserMetadata(ctx, id, map[string]any{"old": nil, "nested": map[string]any{"b": 2}})
		require.NoError(t, err)
		assert.Equal(t, want, merged)
		metadata, err = c.UserMetadata(ctx, id)
		require.NoError(t, err)
		assert.Equal(t, want, metadata)
		require.NoError(t, c.RemoveUserMetadata(ctx, id))
		metadata, err = c.UserMetadata(ctx, id)
		require.NoError(t, err)
		assert.Empty(t, metadata)
	})
}

func TestTenants(t *testing.T) {
	atBothVersions(t, func(t *testing.T, emu *stmigratetest.Core, c *core.Client) {
		ctx := t.Context()
		tenants, err := c.Tenants(ctx)
		require.NoError(t, err)
		assert.Equal(t, []core.Tenant{{ID: "public", EmailPassword: true}, {ID: "t1", EmailPassword: true}}, tenants)
		for id, want := range map[string]string{"": "public", "public": "public", "t1": "t1"} {
			tenant, err := c.Tenant(ctx, id)
			require.NoError(t, err)
			assert.Equal(t, &core.Tenant{ID: want, EmailPassword: true}, tenant)
		}
		_, err = c.Tenant(ctx, "t2")
		assert.ErrorIs(t, err, core.ErrUnknownTenant)

		ada, err := c.SignUp(ctx, "", "ada@example.com", "correct horse 1")
		require.NoError(t, err)
		_, err = c.SignUp(ctx, "t1", "bob@example.com", "x")
		require.NoError(t, err)
		bob, err := c.SignUp(ctx, "", "bob@example.com", "x")
		require.NoError(t, err)
		for _, want := range []bool{false, true} {
			was, err := c.AddTenantUser(ctx, "t1", ada.ID)
			require.NoError(t, err)
			assert.Equal(t, want, was)
		}
		_, err = c.AddTenantUser(ctx, "t1", bob.ID)
		assert.ErrorIs(t, err, core.ErrEmailExists)
		_, err = c.AddTenantUser(ctx, "t1", "nobody")
		assert.ErrorIs(t, err, core.ErrUnknownUser)
		u, err := c.SignIn(ctx, "t1", "ada@example.com", "correct horse 1")
		require.NoError(t, err)
		assert.Equal(t, []string{"public", "t1"}, u.TenantIDs)
		for _, want := range []bool{true, false} {
			was, err := c.RemoveTenantUser(ctx, "t1", ada.ID)
			require.NoError(t, err)
			assert.Equal(t, want, was)
		}
		_, err = c.SignIn(ctx, "t1", "ada@example.com", "correct horse 1")
		assert.ErrorIs(t, err, core.ErrWrongCredentials)
	})
}

// TestRefusedArguments: what the core would keep other than it was meant, or fail on, does not reach it.
func TestRefusedArguments(t *testing.T) {
	emu := stmigratetest.NewCore(t)
	c, ctx := emu.Client(), t.Context()
	long := strings.Repeat("x", 128)
	badEmails := []string{
		"", "  ", "a\x00@example.com", "a\n@example.com", "\xff@example.com", strings.Repeat("x", 256), strings.Repeat("é", 256),
		"\u212Aelvin@example.com", "\u0130van@example.com",
	}
	calls := map[string]func() error{
		"an ID of 129": func() error {
			return c.CreateUserIDMapping(ctx, core.UserIDMapping{SuperTokensID: "u", ExternalID: long + "x"}, false)
		},
		"an ID of nothing": func() error { return c.CreateUserIDMapping(ctx, core.UserIDMapping{SuperTokensID: "u"}, false) },
		"an ID with a space": func() error {
			return c.CreateUserIDMapping(ctx, core.UserIDMapping{SuperTokensID: "u", ExternalID: " e"}, false)
		},
		"an ID with NUL": func() error {
			return c.CreateUserIDMapping(ctx, core.UserIDMapping{SuperTokensID: "u", ExternalID: "e\x00"}, false)
		},
		"a user without an ID":  func() error { return second(c.UserByID(ctx, "")) },
		"a user with a long ID": func() error { return second(c.UserByID(ctx, long+"x")) },
		"a session of a long ID": func() error {
			return second(c.CreateSession(ctx, "", core.NewSession{UserID: long + "x"}))
		},
		"a session of an ID with NUL": func() error { return second(c.CreateSession(ctx, "", core.NewSession{UserID: "u\x00"})) },
		"a session of an ID that is not UTF-8": func() error {
			return second(c.CreateSession(ctx, "", core.NewSession{UserID: "u\xff"}))
		},
		"a tenant of the core's": func() error { return second(c.SignIn(ctx, "recipe", "a@example.com", "x")) },
		"a role of nothing":      func() error { return second(c.AddUserRole(ctx, "", "u", "")) },
		"a role with a space":    func() error { return second(c.AddUserRole(ctx, "", "u", "admin ")) },
		"an empty permission":    func() error { return second(c.CreateRole(ctx, "admin", "")) },
		"an empty token":         func() error { return third(c.VerifyEmail(ctx, "", "")) },
		"a long token":           func() error { return third(c.ConsumeResetToken(ctx, "", strings.Repeat("x", 2000))) },
		"an ID type":             func() error { return second(c.DeleteUserIDMapping(ctx, "u", 7, false)) },
		"metadata":               func() error { return second(c.UpdateUserMetadata(ctx, "u", map[string]any{"f": func() {}})) },
	}
	for i, email := range badEmails {
		calls[fmt.Sprintf("e-mail %d", i)] = func() error { return second(c.SignUp(ctx, "", email, "x")) }
		calls[fmt.Sprintf("look-up of e-mail %d", i)] = func() error { return second(c.UserByEmail(ctx, "", email)) }
	}
	for i, password := range []string{"", "a\x00b", "\xff", strings.Repeat("x", 4097)} {
		calls[fmt.Sprintf("password %d", i)] = func() error { return second(c.SignIn(ctx, "", "a@example.com", password)) }
		calls[fmt.Sprintf("new password %d", i)] = func() error { return c.SetPassword(ctx, "u", password) }
	}
	for name, call := range calls {
		err := call()
		var e *core.Error
		require.ErrorAs(t, err, &e, name)
		assert.True(t, e.Refused() && e.NotDone() && !e.Temporary(), name)
		assert.NotContains(t, err.Error(), "\x00")
	}
	assert.Empty(t, emu.Requests())
	_, err := c.SignUp(ctx, "", strings.Repeat("é", 255), "x")
	assert.NoError(t, err, "255 characters are not 255 bytes")
}

func FuzzNormalizeEmail(f *testing.F) {
	for _, s := range []string{"a@b.c", " A@B.C\t", "\u0130@x", "\u212A@x", "ΑΣ@x", "ẞ@x", "", "\xff", strings.Repeat("é", 256), "ǅ@x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, err := core.NormalizeEmail(s)
		if err != nil {
			return
		}
		if again, err := core.NormalizeEmail(got); err != nil || again != got {
			t.Fatalf("%q becomes %q and then %q, %v", s, got, again, err)
		}
		if got == "" || got != strings.TrimSpace(got) || len([]rune(got)) > core.MaxEmail || strings.ContainsAny(got, "\x00\r\n") {
			t.Fatalf("accepted %q as %q", s, got)
		}
		spaced, err := core.NormalizeEmail("  " + s + " ")
		if len(s) < 1000 && (err != nil || spaced != got) {
			t.Fatalf("%q with spaces becomes %q, %v", s, spaced, err)
		}
	})
}
