package stmigratetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
)

const gracesPassword = "Legacy horse 3"

func fakeUsersUnderTest() (*FakeLegacyUsers, LegacyUsersUnderTest) {
	grace := stmigrate.LegacyUser{
		ID: "legacy|grace", Email: "Grace@example.com", EmailVerified: true, CreatedAt: time.Unix(1_600_000_000, 0).UTC(),
		Roles: []string{"admin"}, Metadata: map[string]any{"first_name": "Grace"},
	}
	f := new(FakeLegacyUsers)
	f.Add(grace, gracesPassword)
	f.Add(stmigrate.LegacyUser{ID: "legacy|other", Email: "other@example.com", TenantID: "t1"}, gracesPassword)
	return f, LegacyUsersUnderTest{
		Store: f, User: grace, Password: gracesPassword, OtherTenant: "t1", NotImported: 2,
		Break: func() { f.Fail(stmigrate.ErrUnavailable) },
	}
}

func TestFakeLegacyUsers(t *testing.T) {
	t.Parallel()
	TestLegacyUserStore(t, func(*testing.T) LegacyUsersUnderTest {
		_, s := fakeUsersUnderTest()
		return s
	})
	f, s := fakeUsersUnderTest()
	f.Imported(s.User.ID)
	n, err := f.CountUsersNotImported(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 1, n)
	f.Remove("legacy|other")
	n, err = f.CountUsersNotImported(t.Context())
	require.NoError(t, err)
	assert.Zero(t, n)
	assert.Equal(t, []LegacyCall{{Method: "CountUsersNotImported"}, {Method: "CountUsersNotImported"}}, f.Calls())
	assert.Empty(t, f.Calls())
}

// brokenLegacyUsers wraps a good store.
type brokenLegacyUsers struct {
	*FakeLegacyUsers
	authenticate func(ctx context.Context, tenantID, email, password string) (*stmigrate.LegacyUser, error)
	byEmail      func(ctx context.Context, tenantID, email string) (*stmigrate.LegacyUser, error)
	byID         func(ctx context.Context, id string) (*stmigrate.LegacyUser, error)
	count        func(ctx context.Context) (int, error)
}

func (b *brokenLegacyUsers) Authenticate(ctx context.Context, tenantID, email, password string) (*stmigrate.LegacyUser, error) {
	if b.authenticate != nil {
		return b.authenticate(ctx, tenantID, email, password)
	}
	return b.FakeLegacyUsers.Authenticate(ctx, tenantID, email, password)
}

func (b *brokenLegacyUsers) UserByEmail(ctx context.Context, tenantID, email string) (*stmigrate.LegacyUser, error) {
	if b.byEmail != nil {
		return b.byEmail(ctx, tenantID, email)
	}
	return b.FakeLegacyUsers.UserByEmail(ctx, tenantID, email)
}

func (b *brokenLegacyUsers) UserByID(ctx context.Context, id string) (*stmigrate.LegacyUser, error) {
	if b.byID != nil {
		return b.byID(ctx, id)
	}
	return b.FakeLegacyUsers.UserByID(ctx, id)
}

func (b *brokenLegacyUsers) CountUsersNotImported(ctx context.Context) (int, error) {
	if b.count != nil {
		return b.count(ctx)
	}
	return b.FakeLegacyUsers.CountUsersNotImported(ctx)
}

func TestLegacyUserStoreNoticesBrokenStores(t *testing.T) {
	t.Parallel()
	type call = func(ctx context.Context, tenantID, email, password string) (*stmigrate.LegacyUser, error)
	shared := &stmigrate.LegacyUser{ID: "legacy|grace", Email: "grace@example.com", EmailVerified: true, TenantID: "public"}
	for name, tt := range map[string]struct {
		spoil   func(b *brokenLegacyUsers, right call)
		noticed []string
	}{
		"lets anybody in": {func(b *brokenLegacyUsers, right call) {
			b.authenticate = func(ctx context.Context, tenantID, email, _ string) (*stmigrate.LegacyUser, error) {
				return right(ctx, tenantID, email, gracesPassword)
			}
		}, []string{"other passwords are wrong", "what cannot be an e-mail or a password is wrong", "many at once get their own answers"}},
		"lets nobody in": {func(b *brokenLegacyUsers, _ call) {
			b.authenticate = func(context.Context, string, string, string) (*stmigrate.LegacyUser, error) {
				return nil, stmigrate.ErrWrongCredentials
			}
		}, []string{"the right password is the user's", "a context that has ended is ErrUnavailable"}},
		"ignores case in passwords": {func(b *brokenLegacyUsers, right call) {
			b.authenticate = func(ctx context.Context, tenantID, email, password string) (*stmigrate.LegacyUser, error) {
				if strings.EqualFold(password, gracesPassword) {
					password = gracesPassword
				}
				return right(ctx, tenantID, email, password)
			}
		}, []string{"other passwords are wrong"}},
		"ends passwords at a NUL": {func(b *brokenLegacyUsers, right call) {
			b.authenticate = func(ctx context.Context, tenantID, email, password string) (*stmigrate.LegacyUser, error) {
				before, _, _ := strings.Cut(password, "\x00")
				return right(ctx, tenantID, email, before)
			}
		}, []string{"what cannot be an e-mail or a password is wrong"}},
		"tells who exists": {func(b *brokenLegacyUsers, right call) {
			b.authenticate = func(ctx context.Context, tenantID, email, password string) (*stmigrate.LegacyUser, error) {
				u, err := right(ctx, tenantID, email, password)
				if err != nil && strings.EqualFold(email, "grace@example.com") {
					err = fmt.Errorf("%w: the password", err)
				}
				return u, err
			}
		}, []string{"an unknown e-mail looks like a wrong password"}},
		"tells the password": {func(b *brokenLegacyUsers, right call) {
			b.authenticate = func(ctx context.Context, tenantID, email, password string) (*stmigrate.LegacyUser, error) {
				u, err := right(ctx, tenantID, email, password)
				if err != nil {
					err = fmt.Errorf("%w: %s", err, password)
				}
				return u, err
			}
		}, []string{"other passwords are wrong", "a system that fails is ErrUnavailable"}},
		"knows one case of e-mails": {func(b *brokenLegacyUsers, right call) {
			b.authenticate = func(ctx context.Context, tenantID, email, password string) (*stmigrate.LegacyUser, error) {
				if email == strings.ToUpper(email) {
					return nil, stmigrate.ErrWrongCredentials
				}
				return right(ctx, tenantID, email, password)
			}
		}, []string{"an e-mail in other case is the same"}},
		"knows no tenants": {func(b *brokenLegacyUsers, right call) {
			b.authenticate = func(ctx context.Context, _, email, password string) (*stmigrate.LegacyUser, error) {
				return right(ctx, "public", email, password)
			}
			byEmail := b.FakeLegacyUsers.UserByEmail
			b.byEmail = func(ctx context.Context, _, email string) (*stmigrate.LegacyUser, error) {
				return byEmail(ctx, "public", email)
			}
		}, []string{"a user of one tenant is none of another", "the directory finds users by e-mail"}},
		"shares its users": {func(b *brokenLegacyUsers, right call) {
			b.authenticate = func(ctx context.Context, tenantID, email, password string) (*stmigrate.LegacyUser, error) {
				u, err := right(ctx, tenantID, email, password)
				if err == nil {
					u = shared
				}
				return u, err
			}
		}, []string{"a user that was returned is the caller's"}},
		"says that failing is wrong": {func(b *brokenLegacyUsers, right call) {
			b.authenticate = func(ctx context.Context, tenantID, email, password string) (*stmigrate.LegacyUser, error) {
				u, err := right(ctx, tenantID, email, password)
				if err != nil {
					err = stmigrate.ErrWrongCredentials
				}
				return u, err
			}
		}, []string{"a context that has ended is ErrUnavailable", "a system that fails is ErrUnavailable"}},
		"has a directory that finds nobody": {func(b *brokenLegacyUsers, _ call) {
			b.byEmail = func(context.Context, string, string) (*stmigrate.LegacyUser, error) {
				return nil, stmigrate.ErrUnknownUser
			}
			b.byID = func(context.Context, string) (*stmigrate.LegacyUser, error) { return nil, stmigrate.ErrUnknownUser }
		}, []string{"the directory finds users by e-mail", "the directory finds users by ID"}},
		"has a directory that answers nothing": {func(b *brokenLegacyUsers, _ call) {
			b.byEmail = func(context.Context, string, string) (*stmigrate.LegacyUser, error) { return nil, nil }
			b.byID = func(context.Context, string) (*stmigrate.LegacyUser, error) { return nil, nil }
		}, []string{"the directory finds users by e-mail", "the directory finds users by ID"}},
		"counts wrong": {func(b *brokenLegacyUsers, _ call) {
			b.count = func(context.Context) (int, error) { return 7, nil }
		}, []string{"the counter counts who is not imported", "a context that has ended is ErrUnavailable"}},
	} {
		t.Run(name, func(t *testing.T) {
			failed := failing(t.Context(), legacyUserStoreChecks, func() LegacyUsersUnderTest {
				f, s := fakeUsersUnderTest()
				b := &brokenLegacyUsers{FakeLegacyUsers: f}
				tt.spoil(b, f.Authenticate)
				s.Store = b
				return s
			})
			for _, want := range tt.noticed {
				assert.Contains(t, failed, want)
			}
			assert.Less(t, len(failed), len(legacyUserStoreChecks), "what is not broken passes")
		})
	}
}

// emailPasswordOf returns the functions of a new core with the tenant t1.
func emailPasswordOf(t *testing.T, version string) stmigrate.EmailPassword {
	c := NewCore(t, CoreConfig{Versions: []string{version}})
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPut, c.URL+"/recipe/multitenancy/tenant",
		strings.NewReader(`{"tenantId":"t1","emailPasswordEnabled":true}`))
	require.NoError(t, err)
	resp, err := ownClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	return stmigrate.NewEmailPassword(c.Client())
}

func overrideUnderTest(t *testing.T, version string) EmailPasswordUnderTest {
	f, s := fakeUsersUnderTest()
	f.Remove("legacy|other")
	e, err := stmigrate.Override(stmigrate.OverrideConfig{
		Original: emailPasswordOf(t, version), Legacy: f, Tenants: []string{"public", "t1"}, FailureFloor: time.Millisecond,
	})
	require.NoError(t, err)
	return EmailPasswordUnderTest{EmailPassword: e, Tenant: "t1", Legacy: &s.User, LegacyPassword: s.Password, Break: s.Break}
}

func TestEmailPasswordOfTheCore(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.1", "5.2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			TestEmailPassword(t, func(t *testing.T) EmailPasswordUnderTest {
				return EmailPasswordUnderTest{EmailPassword: emailPasswordOf(t, version), Tenant: "t1"}
			})
		})
	}
}

func TestEmailPasswordOfOverride(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.1", "5.2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			TestEmailPassword(t, func(t *testing.T) EmailPasswordUnderTest { return overrideUnderTest(t, version) })
		})
	}
}

// brokenLogin wraps good functions.
type brokenLogin struct {
	stmigrate.EmailPassword
	signUp, signIn func(ctx context.Context, tenantID, email, password string) (*stmigrate.AuthUser, error)
	byEmail        func(ctx context.Context, tenantID, email string) (*stmigrate.AuthUser, error)
	byID           func(ctx context.Context, id string) (*stmigrate.AuthUser, error)
	count          func(ctx context.Context) (int, error)
	resetToken     func(ctx context.Context, tenantID, userID, email string) (string, error)
	reset          func(ctx context.Context, tenantID, token, newPassword string) (*stmigrate.AuthUser, error)
}

func (b *brokenLogin) SignUp(ctx context.Context, tenantID, email, password string) (*stmigrate.AuthUser, error) {
	return b.signUp(ctx, tenantID, email, password)
}

func (b *brokenLogin) SignIn(ctx context.Context, tenantID, email, password string) (*stmigrate.AuthUser, error) {
	return b.signIn(ctx, tenantID, email, password)
}

func (b *brokenLogin) UserByEmail(ctx context.Context, tenantID, email string) (*stmigrate.AuthUser, error) {
	return b.byEmail(ctx, tenantID, email)
}

func (b *brokenLogin) UserByID(ctx context.Context, id string) (*stmigrate.AuthUser, error) {
	return b.byID(ctx, id)
}
func (b *brokenLogin) UserCount(ctx context.Context) (int, error) { return b.count(ctx) }

func (b *brokenLogin) CreatePasswordResetToken(ctx context.Context, tenantID, userID, email string) (string, error) {
	return b.resetToken(ctx, tenantID, userID, email)
}

func (b *brokenLogin) ResetPassword(ctx context.Context, tenantID, token, newPassword string) (*stmigrate.AuthUser, error) {
	return b.reset(ctx, tenantID, token, newPassword)
}

func TestEmailPasswordNoticesBrokenLogins(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		spoil   func(b *brokenLogin, right stmigrate.EmailPassword)
		noticed []string
	}{
		"signs up twice": {func(b *brokenLogin, right stmigrate.EmailPassword) {
			b.signUp = func(ctx context.Context, tenantID, email, password string) (*stmigrate.AuthUser, error) {
				u, err := right.SignUp(ctx, tenantID, email, password)
				if errors.Is(err, stmigrate.ErrEmailExists) {
					return right.UserByEmail(ctx, tenantID, email)
				}
				return u, err
			}
		}, []string{"signing up again changes nothing", "an e-mail in other case or with white space is the same"}},
		"knows one case of e-mails": {func(b *brokenLogin, right stmigrate.EmailPassword) {
			b.signIn = func(ctx context.Context, tenantID, email, password string) (*stmigrate.AuthUser, error) {
				if email != strings.ToLower(email) {
					return nil, stmigrate.ErrWrongCredentials
				}
				return right.SignIn(ctx, tenantID, email, password)
			}
		}, []string{"an e-mail in other case or with white space is the same", "a legacy user signs in and is found"}},
		"tells who is unknown": {func(b *brokenLogin, right stmigrate.EmailPassword) {
			b.signIn = func(ctx context.Context, tenantID, email, password string) (*stmigrate.AuthUser, error) {
				if _, err := right.UserByEmail(ctx, tenantID, email); errors.Is(err, stmigrate.ErrUnknownUser) {
					return nil, fmt.Errorf("%w: %w", stmigrate.ErrWrongCredentials, err)
				}
				return right.SignIn(ctx, tenantID, email, password)
			}
		}, []string{"sign-ins that fail look alike"}},
		"refuses what is malformed otherwise": {func(b *brokenLogin, right stmigrate.EmailPassword) {
			b.signIn = func(ctx context.Context, tenantID, email, password string) (*stmigrate.AuthUser, error) {
				if email == "" || password == "" {
					return nil, stmigrate.ErrBadRequest
				}
				return right.SignIn(ctx, tenantID, email, password)
			}
		}, []string{"sign-ins that fail look alike"}},
		"forgets tenants": {func(b *brokenLogin, right stmigrate.EmailPassword) {
			b.signIn = func(ctx context.Context, _, email, password string) (*stmigrate.AuthUser, error) {
				return right.SignIn(ctx, "", email, password)
			}
		}, []string{"tenants are apart"}},
		"signs up what is malformed": {func(b *brokenLogin, right stmigrate.EmailPassword) {
			b.signUp = func(ctx context.Context, tenantID, email, password string) (*stmigrate.AuthUser, error) {
				return right.SignUp(ctx, tenantID, strings.ReplaceAll(email, "\x00", ""), password)
			}
		}, []string{"malformed input is ErrBadRequest"}},
		"finds by ID whoever": {func(b *brokenLogin, _ stmigrate.EmailPassword) {
			b.byID = func(context.Context, string) (*stmigrate.AuthUser, error) {
				return &stmigrate.AuthUser{ID: "u", Email: loginEmail, TenantIDs: []string{"public"}}, nil
			}
		}, []string{"who signed up signs in and is found", "who is unknown is ErrUnknownUser", "a context that has ended is ErrUnavailable"}},
		"finds by e-mail nobody": {func(b *brokenLogin, _ stmigrate.EmailPassword) {
			b.byEmail = func(context.Context, string, string) (*stmigrate.AuthUser, error) {
				return nil, stmigrate.ErrUnknownUser
			}
		}, []string{"who signed up signs in and is found", "malformed input is ErrBadRequest", "a legacy user signs in and is found"}},
		"counts nobody": {func(b *brokenLogin, _ stmigrate.EmailPassword) {
			b.count = func(context.Context) (int, error) { return 0, nil }
		}, []string{"the count grows with every user"}},
		"makes reset tokens by ID alone": {func(b *brokenLogin, right stmigrate.EmailPassword) {
			b.resetToken = func(ctx context.Context, tenantID, userID, email string) (string, error) {
				u, err := right.UserByID(ctx, userID)
				if err != nil {
					return "", err
				}
				return right.CreatePasswordResetToken(ctx, tenantID, userID, cmp.Or(u.Email, email))
			}
		}, []string{"no reset token is made for another's e-mail", "who is unknown is ErrUnknownUser"}},
		"uses a token up for a malformed password": {func(b *brokenLogin, right stmigrate.EmailPassword) {
			b.reset = func(ctx context.Context, tenantID, token, newPassword string) (*stmigrate.AuthUser, error) {
				u, err := right.ResetPassword(ctx, tenantID, token, newPassword)
				if errors.Is(err, stmigrate.ErrBadRequest) {
					_, _ = right.ResetPassword(ctx, tenantID, token, "spent in vain")
				}
				return u, err
			}
		}, []string{"a reset token sets the password once"}},
		"takes tokens twice": {func(b *brokenLogin, right stmigrate.EmailPassword) {
			var last atomic.Pointer[stmigrate.AuthUser]
			b.reset = func(ctx context.Context, tenantID, token, newPassword string) (*stmigrate.AuthUser, error) {
				u, err := right.ResetPassword(ctx, tenantID, token, newPassword)
				if err == nil {
					last.Store(u)
				} else if was := last.Load(); was != nil {
					return was, nil
				}
				return u, err
			}
		}, []string{"a reset token sets the password once"}},
		"says wrong while legacy is down": {func(b *brokenLogin, right stmigrate.EmailPassword) {
			b.signIn = func(ctx context.Context, tenantID, email, password string) (*stmigrate.AuthUser, error) {
				u, err := right.SignIn(ctx, tenantID, email, password)
				if errors.Is(err, stmigrate.ErrUnavailable) && email == loginEmail {
					err = stmigrate.ErrWrongCredentials
				}
				return u, err
			}
		}, []string{"a legacy system that fails fails every wrong password", "a context that has ended is ErrUnavailable"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failed := failing(t.Context(), emailPasswordChecks, func() EmailPasswordUnderTest {
				e := overrideUnderTest(t, "5.2")
				right := e.EmailPassword
				b := &brokenLogin{
					EmailPassword: right, signUp: right.SignUp, signIn: right.SignIn, byEmail: right.UserByEmail, byID: right.UserByID,
					count: right.UserCount, resetToken: right.CreatePasswordResetToken, reset: right.ResetPassword,
				}
				tt.spoil(b, right)
				e.EmailPassword = b
				return e
			})
			for _, want := range tt.noticed {
				assert.Contains(t, failed, want)
			}
			assert.Less(t, len(failed), len(emailPasswordChecks), "what is not broken passes")
		})
	}
}
