package supertokensgo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/supertokens/supertokens-golang/ingredients/emaildelivery"
	"github.com/supertokens/supertokens-golang/recipe/emailpassword"
	"github.com/supertokens/supertokens-golang/recipe/emailpassword/epmodels"
	"github.com/supertokens/supertokens-golang/recipe/emailverification"
	"github.com/supertokens/supertokens-golang/recipe/emailverification/evmodels"
	"github.com/supertokens/supertokens-golang/recipe/multitenancy"
	"github.com/supertokens/supertokens-golang/recipe/multitenancy/multitenancymodels"
	"github.com/supertokens/supertokens-golang/supertokens"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/login"
	"github.com/stmigrate/stmigrate/stmigratetest"
	"github.com/stmigrate/stmigrate/supertokensgo"
)

// legacyUser is whom only the legacy system knows.
var legacyUser = stmigrate.LegacyUser{ID: "legacy|42", Email: "grace@example.com", EmailVerified: true, Roles: []string{"admiral"}}

const legacyPassword = "nanoseconds 30"

func passThroughUsers(t *testing.T, memory *stmigratetest.Core, legacy *stmigratetest.FakeLegacyUsers) stmigrate.EmailPassword {
	t.Helper()
	users, err := stmigrate.Override(stmigrate.OverrideConfig{
		Original: stmigrate.NewEmailPassword(memory.Client()), Legacy: legacy, FailureFloor: time.Millisecond,
	})
	require.NoError(t, err)
	return users
}

func importingUsers(t *testing.T, memory *stmigratetest.Core, legacy *stmigratetest.FakeLegacyUsers) stmigrate.EmailPassword {
	t.Helper()
	users, err := login.New(login.Config{
		Core: memory.Client(), Legacy: legacy, Ledger: login.NewMemoryLedger(1000), FailureFloor: time.Millisecond,
		Observe: func(_ context.Context, e login.Event) {
			if e.Name == login.EventImport && e.Outcome == "ok" {
				legacy.Imported(legacyUser.ID)
			}
		},
	})
	require.NoError(t, err)
	return users
}

func passThrough(t *testing.T, memory *stmigratetest.Core, legacy *stmigratetest.FakeLegacyUsers) *epmodels.OverrideStruct {
	t.Helper()
	o, err := supertokensgo.Override(supertokensgo.OverrideConfig{Users: passThroughUsers(t, memory, legacy)})
	require.NoError(t, err)
	return o
}

// viaSDK is an EmailPassword by the functions of the SDK's recipe.
type viaSDK struct{ users stmigrate.EmailPassword }

func in(ctx context.Context) supertokens.UserContext {
	return supertokens.MakeDefaultUserContextFromAPI(httptest.NewRequestWithContext(ctx, http.MethodPost, "/", nil))
}

func authUser(u *epmodels.User) *stmigrate.AuthUser {
	return &stmigrate.AuthUser{ID: u.ID, Email: u.Email, TenantIDs: u.TenantIds, TimeJoined: time.UnixMilli(int64(u.TimeJoined))}
}

func (v viaSDK) SignUp(ctx context.Context, tenantID, email, password string) (*stmigrate.AuthUser, error) {
	out, err := emailpassword.SignUp(tenantID, email, password, in(ctx))
	switch {
	case err != nil:
		return nil, err
	case out.EmailAlreadyExistsError != nil:
		return nil, stmigrate.ErrEmailExists
	}
	return authUser(&out.OK.User), nil
}

func (v viaSDK) SignIn(ctx context.Context, tenantID, email, password string) (*stmigrate.AuthUser, error) {
	out, err := emailpassword.SignIn(tenantID, email, password, in(ctx))
	switch {
	case err != nil:
		return nil, err
	case out.WrongCredentialsError != nil:
		return nil, stmigrate.ErrWrongCredentials
	}
	return authUser(&out.OK.User), nil
}

func (v viaSDK) UserByEmail(ctx context.Context, tenantID, email string) (*stmigrate.AuthUser, error) {
	return known(emailpassword.GetUserByEmail(tenantID, email, in(ctx)))
}

func (v viaSDK) UserByID(ctx context.Context, id string) (*stmigrate.AuthUser, error) {
	return known(emailpassword.GetUserByID(id, in(ctx)))
}

func known(u *epmodels.User, err error) (*stmigrate.AuthUser, error) {
	switch {
	case err != nil:
		return nil, err
	case u == nil:
		return nil, stmigrate.ErrUnknownUser
	}
	return authUser(u), nil
}

func (v viaSDK) UserCount(ctx context.Context) (int, error) { return v.users.UserCount(ctx) }

// CreatePasswordResetToken does what the SDK's API does.
func (v viaSDK) CreatePasswordResetToken(ctx context.Context, tenantID, userID, email string) (string, error) {
	u, err := v.UserByEmail(ctx, tenantID, email)
	if err != nil {
		return "", err
	}
	out, err := emailpassword.CreateResetPasswordToken(tenantID, u.ID, in(ctx))
	switch {
	case err != nil:
		return "", err
	case out.UnknownUserIdError != nil || u.ID != userID:
		return "", stmigrate.ErrUnknownUser
	}
	return out.OK.Token, nil
}

func (v viaSDK) ResetPassword(ctx context.Context, tenantID, token, newPassword string) (*stmigrate.AuthUser, error) {
	out, err := emailpassword.ResetPasswordUsingToken(tenantID, token, newPassword, in(ctx))
	switch {
	case err != nil:
		return nil, err
	case out.ResetPasswordInvalidTokenError != nil:
		return nil, stmigrate.ErrResetToken
	}
	return v.UserByID(ctx, *out.OK.UserId)
}

type newUsers func(*testing.T, *stmigratetest.Core, *stmigratetest.FakeLegacyUsers) stmigrate.EmailPassword

// bothKinds are the two ways to treat legacy users.
var bothKinds = map[string]newUsers{
	"pass through": passThroughUsers, "import": importingUsers,
}

// TestEmailPassword holds the SDK's functions, overridden, to the contract of an EmailPassword.
func TestEmailPassword(t *testing.T) {
	for name, users := range bothKinds {
		t.Run(name, func(t *testing.T) {
			stmigratetest.TestEmailPassword(t, func(t *testing.T) stmigratetest.EmailPasswordUnderTest {
				memory, legacy := stmigratetest.NewCore(t), &stmigratetest.FakeLegacyUsers{}
				legacy.Add(legacyUser, legacyPassword)
				u := users(t, memory, legacy)
				o, err := supertokensgo.Override(supertokensgo.OverrideConfig{Users: u})
				require.NoError(t, err)
				sdkConfig{recipes: []supertokens.Recipe{emailpassword.Init(&epmodels.TypeInput{Override: o})}}.init(t, memory.URL, "")
				_, err = multitenancy.CreateOrUpdateTenant("other", multitenancymodels.TenantConfig{EmailPasswordEnabled: ptr(true)})
				require.NoError(t, err)
				return stmigratetest.EmailPasswordUnderTest{
					EmailPassword: viaSDK{u}, Tenant: "other", Legacy: &legacyUser, LegacyPassword: legacyPassword,
					Break: func() { legacy.Fail(stmigrate.ErrUnavailable) },
				}
			})
		})
	}
}

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

type loginStory struct {
	memory   *stmigratetest.Core
	legacy   *stmigratetest.FakeLegacyUsers
	h        http.Handler
	mailed   []string // links of password resets, by the SDK
	inLegacy []string // who was sent to the legacy system's reset
	log      strings.Builder
}

// newLogin serves the SDK's APIs with legacy users.
func newLogin(t *testing.T, users newUsers) *loginStory {
	t.Helper()
	s := &loginStory{memory: stmigratetest.NewCore(t), legacy: &stmigratetest.FakeLegacyUsers{}}
	s.legacy.Add(legacyUser, legacyPassword)
	s.use(t, users(t, s.memory, s.legacy))
	return s
}

// use initialises the SDK with users.
func (s *loginStory) use(t *testing.T, users stmigrate.EmailPassword) {
	t.Helper()
	o, err := supertokensgo.Override(supertokensgo.OverrideConfig{
		Users: users, Logger: textLogger(&s.log),
		LegacyReset: func(_ context.Context, tenantID, email string) error {
			if strings.HasPrefix(email, "fail") {
				return errors.New("the legacy system said no to " + email)
			}
			s.inLegacy = append(s.inLegacy, tenantID+" "+email)
			return nil
		},
	})
	require.NoError(t, err)
	sendMail := func(e emaildelivery.EmailType, _ supertokens.UserContext) error {
		s.mailed = append(s.mailed, e.PasswordReset.PasswordResetLink)
		return nil
	}
	sdkConfig{recipes: []supertokens.Recipe{emailpassword.Init(&epmodels.TypeInput{
		Override:      o,
		EmailDelivery: &emaildelivery.TypeInput{Service: &emaildelivery.EmailDeliveryInterface{SendEmail: &sendMail}},
	})}}.init(t, s.memory.URL, "")
	s.h = sdk(nil)
}

func form(fields ...string) map[string]any {
	var out []map[string]any
	for i := 0; i < len(fields); i += 2 {
		out = append(out, map[string]any{"id": fields[i], "value": fields[i+1]})
	}
	return map[string]any{"formFields": out}
}

func (s *loginStory) signIn(email, password string) (*client, *httptest.ResponseRecorder) {
	c := &client{mode: "cookie"}
	return c, c.send(s.h, http.MethodPost, "/auth/signin", form("email", email, "password", password))
}

// What the SDK's APIs answer about a legacy user, and about everybody else.
func TestAPIs(t *testing.T) {
	for name, users := range bothKinds {
		t.Run(name, func(t *testing.T) {
			s := newLogin(t, users)
			exists := func(email string) string {
				return new(client).send(s.h, http.MethodGet, "/auth/emailpassword/email/exists?email="+email, nil).Body.String()
			}
			require.JSONEq(t, `{"status":"OK","exists":true}`, exists("grace@example.com"))
			require.JSONEq(t, `{"status":"OK","exists":false}`, exists("nobody@example.com"))
			found, err := emailpassword.GetUserByID("legacy|42")
			require.NoError(t, err)
			require.Zero(t, found.TimeJoined, "nobody knows")

			w := new(client).send(s.h, http.MethodPost, "/auth/signup", form("email", "grace@example.com", "password", "another horse 2"))
			require.Contains(t, w.Body.String(), "This email already exists")
			w = new(client).send(s.h, http.MethodPost, "/auth/signup", form("email", "ada@example.com", "password", "correct horse 1"))
			require.Contains(t, w.Body.String(), `"status":"OK"`)

			_, w = s.signIn("grace@example.com", "wrong-"+legacyPassword)
			require.JSONEq(t, `{"status":"WRONG_CREDENTIALS_ERROR"}`, w.Body.String())
			require.Len(t, s.memory.Sessions(), 1)
			grace, w := s.signIn("grace@example.com", legacyPassword)
			require.Equal(t, http.StatusOK, w.Code)
			require.Contains(t, w.Body.String(), `"id":"legacy|42"`)
			require.Contains(t, grace.send(s.h, http.MethodPost, "/api", nil).Body.String(), "legacy|42 of public, SDK session: true")
			ada, w := s.signIn("ada@example.com", "correct horse 1")
			require.Equal(t, http.StatusOK, w.Code)
			require.Contains(t, ada.send(s.h, http.MethodPost, "/api", nil).Body.String(), "SDK session: true")
			require.Len(t, s.memory.Users(), map[string]int{"pass through": 1, "import": 2}[name])

			// Nobody moves to the address of somebody else, in SuperTokens or in legacy.
			id := s.memory.Users()[0].ID
			out, err := emailpassword.UpdateEmailOrPassword(id, ptr("grace@example.com"), nil, nil, nil)
			require.NoError(t, err)
			require.NotNil(t, out.EmailAlreadyExistsError)
			for range 2 { // the second time it is her own
				out, err = emailpassword.UpdateEmailOrPassword(id, ptr("countess@example.com"), ptr("correct horse 2"), nil, nil)
				require.NoError(t, err)
				require.NotNil(t, out.OK)
			}
			_, w = s.signIn("countess@example.com", "correct horse 2")
			require.Contains(t, w.Body.String(), `"status":"OK"`)
			out, err = emailpassword.UpdateEmailOrPassword("legacy|42", nil, ptr("correct horse 3"), nil, nil)
			require.NoError(t, err)
			require.Equal(t, name == "pass through", out.UnknownUserIdError != nil)
			out, err = emailpassword.UpdateEmailOrPassword("nobody", nil, ptr("correct horse 3"), nil, nil)
			require.NoError(t, err)
			require.NotNil(t, out.UnknownUserIdError)
			out, err = emailpassword.UpdateEmailOrPassword(id, nil, ptr("weak"), nil, nil)
			require.NoError(t, err)
			require.NotNil(t, out.PasswordPolicyViolatedError)
		})
	}
}

// A reset: by the SDK's mail where SuperTokens can, by the legacy system's where only that can.
func TestReset(t *testing.T) {
	ask := func(s *loginStory, email string) *httptest.ResponseRecorder {
		return new(client).send(s.h, http.MethodPost, "/auth/user/password/reset/token", form("email", email))
	}
	t.Run("pass through", func(t *testing.T) {
		s := newLogin(t, passThroughUsers)
		s.legacy.Add(stmigrate.LegacyUser{ID: "legacy|43", Email: "fail@example.com"}, legacyPassword)
		for _, email := range []string{"grace@example.com", "nobody@example.com"} {
			require.JSONEq(t, `{"status":"OK"}`, ask(s, email).Body.String())
		}
		require.Equal(t, []string{"public grace@example.com"}, s.inLegacy)
		require.Empty(t, s.mailed)
		require.Empty(t, s.log.String(), "nothing failed")
		// The mail goes to the address that the legacy system has, and not to what somebody typed.
		require.JSONEq(t, `{"status":"OK"}`, ask(s, "GRACE@Example.com").Body.String())
		require.Equal(t, "public grace@example.com", s.inLegacy[1])
		_, err := emailpassword.CreateResetPasswordToken("public", "legacy|42")
		require.EqualError(t, err, stmigrate.ErrUseLegacyReset.Error())
		w := ask(s, "fail@example.com")
		require.Equal(t, http.StatusInternalServerError, w.Code)
		require.JSONEq(t, `{"message":"internal error"}`, w.Body.String())
		require.Contains(t, s.log.String(), "said no")
	})
	t.Run("import", func(t *testing.T) {
		s := newLogin(t, importingUsers)
		require.JSONEq(t, `{"status":"OK"}`, ask(s, "grace@example.com").Body.String())
		require.Empty(t, s.inLegacy)
		_, w := s.signIn("grace@example.com", legacyPassword)
		require.Contains(t, w.Body.String(), `"status":"OK"`, "whoever asks for a reset locks nobody out")

		require.JSONEq(t, `{"status":"OK"}`, ask(s, "grace@example.com").Body.String())
		require.Len(t, s.mailed, 2)
		body := form("password", "compiler 1952")
		body["method"], body["token"] = "token", tokenOf(s.mailed[1])
		w = new(client).send(s.h, http.MethodPost, "/auth/user/password/reset", body)
		require.JSONEq(t, `{"status":"OK"}`, w.Body.String())
		w = new(client).send(s.h, http.MethodPost, "/auth/user/password/reset", body)
		require.JSONEq(t, `{"status":"RESET_PASSWORD_INVALID_TOKEN_ERROR"}`, w.Body.String())
		_, w = s.signIn("grace@example.com", legacyPassword)
		require.JSONEq(t, `{"status":"WRONG_CREDENTIALS_ERROR"}`, w.Body.String())
		_, w = s.signIn("grace@example.com", "compiler 1952")
		require.Contains(t, w.Body.String(), `"id":"legacy|42"`)
	})
	t.Run("in another tenant", func(t *testing.T) {
		s := newLogin(t, passThroughUsers)
		_, err := multitenancy.CreateOrUpdateTenant("acme", multitenancymodels.TenantConfig{EmailPasswordEnabled: ptr(true)})
		require.NoError(t, err)
		users, err := stmigrate.Override(stmigrate.OverrideConfig{
			Original: stmigrate.NewEmailPassword(s.memory.Client()), Legacy: s.legacy, Tenants: []string{"acme"},
		})
		require.NoError(t, err)
		_, err = s.memory.Client().SignUp(t.Context(), "acme", "ada@example.com", "correct horse 1")
		require.NoError(t, err)
		s.use(t, users)
		s.legacy.Add(stmigrate.LegacyUser{ID: "legacy|43", Email: "joan@example.com", TenantID: "acme"}, legacyPassword)
		for _, email := range []string{"joan@example.com", "ada@example.com"} {
			w := new(client).send(s.h, http.MethodPost, "/auth/acme/user/password/reset/token", form("email", email))
			require.JSONEq(t, `{"status":"OK"}`, w.Body.String())
		}
		require.Equal(t, []string{"acme joan@example.com"}, s.inLegacy)
		require.Len(t, s.mailed, 1)
		body := form("password", "compiler 1952")
		body["method"], body["token"] = "token", tokenOf(s.mailed[0])
		w := new(client).send(s.h, http.MethodPost, "/auth/acme/user/password/reset", body)
		require.JSONEq(t, `{"status":"OK"}`, w.Body.String())
	})
	t.Run("a token that the SDK made before", func(t *testing.T) {
		s := newLogin(t, importingUsers)
		sdkConfig{recipes: []supertokens.Recipe{emailpassword.Init(nil)}}.init(t, s.memory.URL, "")
		up, err := emailpassword.SignUp("public", "ada@example.com", "correct horse 1")
		require.NoError(t, err)
		token, err := emailpassword.CreateResetPasswordToken("public", up.OK.User.ID)
		require.NoError(t, err)
		o := passThrough(t, s.memory, s.legacy)
		sdkConfig{recipes: []supertokens.Recipe{emailpassword.Init(&epmodels.TypeInput{Override: o})}}.init(t, s.memory.URL, "")
		out, err := emailpassword.ResetPasswordUsingToken("public", token.OK.Token, "correct horse 2")
		require.NoError(t, err)
		require.NotNil(t, out.OK)
		require.Equal(t, up.OK.User.ID, *out.OK.UserId)
	})
}

// tokenOf reads the token from the link of a mail.
func tokenOf(link string) string {
	_, token, _ := strings.Cut(link, "token=")
	token, _, _ = strings.Cut(token, "&")
	return token
}

// Without LegacyReset the API says what it says of an unknown e-mail, and the log says why nobody got a mail.
func TestResetWithoutLegacyReset(t *testing.T) {
	s := newLogin(t, passThroughUsers)
	var log strings.Builder
	o, err := supertokensgo.Override(supertokensgo.OverrideConfig{Users: passThroughUsers(t, s.memory, s.legacy), Logger: textLogger(&log)})
	require.NoError(t, err)
	sdkConfig{recipes: []supertokens.Recipe{emailpassword.Init(&epmodels.TypeInput{Override: o})}}.init(t, s.memory.URL, "")
	w := new(client).send(s.h, http.MethodPost, "/auth/user/password/reset/token", form("email", "grace@example.com"))
	require.JSONEq(t, `{"status":"OK"}`, w.Body.String())
	require.Contains(t, log.String(), "LegacyReset is not set")
}

// What fails is told by its class alone: the SDK would send the text to the client.
func TestFailures(t *testing.T) {
	apis := map[string]func(s *loginStory) *httptest.ResponseRecorder{
		"signin": func(s *loginStory) *httptest.ResponseRecorder {
			_, w := s.signIn("grace@example.com", legacyPassword)
			return w
		},
		"signup": func(s *loginStory) *httptest.ResponseRecorder {
			return new(client).send(s.h, http.MethodPost, "/auth/signup", form("email", "new@example.com", "password", "correct horse 1"))
		},
		"exists": func(s *loginStory) *httptest.ResponseRecorder {
			return new(client).send(s.h, http.MethodGet, "/auth/signup/email/exists?email=new@example.com", nil)
		},
		"reset token": func(s *loginStory) *httptest.ResponseRecorder {
			return new(client).send(s.h, http.MethodPost, "/auth/user/password/reset/token", form("email", "new@example.com"))
		},
	}
	for name, api := range apis {
		t.Run("legacy is down: "+name, func(t *testing.T) {
			s := newLogin(t, passThroughUsers)
			s.legacy.Fail(fmt.Errorf("%w: dial tcp 10.0.0.7: refused", stmigrate.ErrUnavailable))
			w := api(s)
			require.Equal(t, http.StatusServiceUnavailable, w.Code)
			require.Equal(t, "1", w.Header().Get("Retry-After"))
			require.JSONEq(t, `{"message":"temporarily unavailable"}`, w.Body.String())
			require.Contains(t, s.log.String(), "10.0.0.7")
			require.NotContains(t, s.log.String(), legacyPassword)
			_, err := emailpassword.GetUserByID("legacy|42")
			require.EqualError(t, err, "temporarily unavailable", "other recipes ask, and would send the text")
			require.Empty(t, s.memory.Sessions())
		})
	}
	t.Run("legacy is down: nobody moves to an address that may be somebody's", func(t *testing.T) {
		s := newLogin(t, passThroughUsers)
		u, err := s.memory.Client().SignUp(t.Context(), "", "ada@example.com", "correct horse 1")
		require.NoError(t, err)
		s.legacy.Fail(stmigrate.ErrUnavailable)
		_, err = emailpassword.UpdateEmailOrPassword(u.ID, ptr("grace@example.com"), nil, nil, nil)
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		require.Equal(t, "ada@example.com", s.memory.Users()[0].Email)
	})
	t.Run("what may pass by itself is no answer", func(t *testing.T) {
		users := failingUsers{err: fmt.Errorf("%w: %w", stmigrate.ErrUnavailable, stmigrate.ErrUnknownUser)}
		o, err := supertokensgo.Override(supertokensgo.OverrideConfig{Users: users})
		require.NoError(t, err)
		_, err = (*o.Functions(someRecipe()).GetUserByID)("ada", &map[string]any{})
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	})
	t.Run("a conflict", func(t *testing.T) {
		s := newLogin(t, passThroughUsers)
		u, err := s.memory.Client().SignUp(t.Context(), "", "other@example.com", "correct horse 1")
		require.NoError(t, err)
		s.legacy.Add(stmigrate.LegacyUser{ID: u.ID, Email: "grace@example.com"}, legacyPassword)
		_, w := s.signIn("grace@example.com", legacyPassword)
		require.Equal(t, http.StatusConflict, w.Code)
		require.JSONEq(t, `{"message":"conflict"}`, w.Body.String())
		require.Empty(t, s.memory.Sessions())
	})
	t.Run("what is no e-mail", func(t *testing.T) {
		s := newLogin(t, passThroughUsers)
		w := new(client).send(s.h, http.MethodGet, "/auth/emailpassword/email/exists?email=a%00b", nil)
		require.Equal(t, http.StatusBadRequest, w.Code)
	})
	t.Run("the core is down: password reset", func(t *testing.T) {
		s := newLogin(t, passThroughUsers)
		s.memory.Down()
		body := form("password", "compiler 1952")
		body["method"], body["token"] = "token", "abc"
		w := new(client).send(s.h, http.MethodPost, "/auth/user/password/reset", body)
		require.Equal(t, http.StatusServiceUnavailable, w.Code)
	})
	t.Run("the session cannot be made", func(t *testing.T) {
		s := newLogin(t, passThroughUsers)
		s.memory.Status(500, "POST /recipe/session")
		_, w := s.signIn("grace@example.com", legacyPassword)
		require.Equal(t, http.StatusInternalServerError, w.Code, "that error is the SDK's to answer")
	})
	t.Run("config", func(t *testing.T) {
		_, err := supertokensgo.Override(supertokensgo.OverrideConfig{})
		require.ErrorContains(t, err, "Users is required")
	})
}

// The e-mail verification recipe finds the addresses of legacy users, by whatever way their session comes about.
func TestEmailVerification(t *testing.T) {
	for name, users := range bothKinds {
		t.Run(name, func(t *testing.T) {
			s := newLogin(t, users)
			o, err := supertokensgo.Override(supertokensgo.OverrideConfig{Users: users(t, s.memory, s.legacy)})
			require.NoError(t, err)
			sdkConfig{recipes: []supertokens.Recipe{
				emailpassword.Init(&epmodels.TypeInput{Override: o}),
				emailverification.Init(evmodels.TypeInput{Mode: evmodels.ModeRequired}),
			}}.init(t, s.memory.URL, "")
			sessions := newSessions(t)
			m, issuer := newMigrator(t, sessions, nil)
			s.h = sdk(m)
			exchanged := &client{mode: "cookie"}
			token := bearer(issuer.Token(stmigratetest.Claims{"sub": legacyUser.ID}))
			w := exchanged.sendWith(s.h, http.MethodPost, "/migrate-session", nil, token)
			require.Equal(t, http.StatusOK, w.Code, w.Body.String())
			require.Equal(t, http.StatusForbidden, exchanged.send(s.h, http.MethodGet, "/api", nil).Code, "nobody knows that she is verified")

			signedIn, w := s.signIn(legacyUser.Email, legacyPassword)
			if name == "import" { // and with her what legacy knows of her address
				require.Equal(t, http.StatusOK, signedIn.send(s.h, http.MethodGet, "/api", nil).Code, w.Body.String())
				return
			}
			require.Equal(t, http.StatusOK, w.Code, w.Body.String())
			require.Equal(t, http.StatusForbidden, signedIn.send(s.h, http.MethodGet, "/api", nil).Code)
			proof, err := emailverification.CreateEmailVerificationToken("public", legacyUser.ID, nil)
			require.NoError(t, err)
			_, err = emailverification.VerifyEmailUsingToken("public", proof.OK.Token)
			require.NoError(t, err)
			signedIn, _ = s.signIn(legacyUser.Email, legacyPassword)
			require.Equal(t, http.StatusOK, signedIn.send(s.h, http.MethodGet, "/api", nil).Code)
		})
	}
}

// APIs that a backend has switched off stay so.
func TestDisabledAPIs(t *testing.T) {
	o, err := supertokensgo.Override(supertokensgo.OverrideConfig{Users: failingUsers{}})
	require.NoError(t, err)
	require.Equal(t, epmodels.APIInterface{}, o.APIs(epmodels.APIInterface{}))
}
