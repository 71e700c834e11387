package supertokensgo_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/supertokens/supertokens-golang/recipe/session/claims"
	"github.com/supertokens/supertokens-golang/recipe/session/sessmodels"
	"github.com/supertokens/supertokens-golang/supertokens"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
	"github.com/stmigrate/stmigrate/supertokensgo"
)

// An API of the rollout serves both kinds of sessions, and nobody else.
func TestRequireEither(t *testing.T) {
	for name, c := range sdkConfigs() {
		t.Run(name, func(t *testing.T) {
			sessions, _ := inMemory(t, c)
			m, issuer := newMigrator(t, sessions, nil)
			mux := http.NewServeMux()
			mux.Handle("/migrate-session", m)
			noClaims := &sessmodels.VerifySessionOptions{OverrideGlobalClaimValidators: noValidators}
			mux.Handle("/either", supertokensgo.RequireEither(m, noClaims, whoAmI))
			h := supertokensgo.Middleware(mux)
			legacy := bearer(issuer.Token(stmigratetest.Claims{"sub": "ada"}))

			w := new(client).send(h, http.MethodPost, "/either", nil)
			require.Equal(t, http.StatusUnauthorized, w.Code)
			require.JSONEq(t, `{"message":"unauthorised"}`, w.Body.String())

			w = new(client).sendWith(h, http.MethodPost, "/either", nil, legacy)
			require.Equal(t, http.StatusOK, w.Code, w.Body.String())
			require.Equal(t, "ada of public, SDK session: false, legacy: true", w.Body.String())
			require.Equal(t, "1", w.Header().Get("St-Migrate"))

			browser := &client{mode: "cookie"}
			w = browser.sendWith(h, http.MethodPost, "/migrate-session", nil, legacy)
			require.Equal(t, http.StatusOK, w.Code, w.Body.String())
			w = browser.send(h, http.MethodPost, "/either", nil)
			require.Equal(t, "ada of public, SDK session: true, legacy: false", w.Body.String())
			require.Empty(t, w.Header().Get("St-Migrate"))
			if browser.mode == "cookie" { // both at once, as a page that adds its legacy bearer to every request
				w = browser.sendWith(h, http.MethodPost, "/either", nil, legacy)
				require.Equal(t, "ada of public, SDK session: true, legacy: false", w.Body.String())
			}
			for name, token := range poison() {
				w = new(client).sendWith(h, http.MethodPost, "/either", nil, bearer(token))
				want := http.StatusUnauthorized
				if len(token) > 16<<10 {
					want = http.StatusBadRequest
				}
				require.Equal(t, want, w.Code, name)
			}
		})
	}
}

// What the SDK was kept from seeing, its handlers still see: an API may have bearer tokens of its own.
func TestHandlersSeeTheRequestAsItCame(t *testing.T) {
	inMemory(t, sdkConfig{})
	own := unsigned(`{"alg":"RS256","kid":"1"}`, `{"sub":"service"}`)
	var came http.Header
	next := http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { came = r.Header })
	mux := http.NewServeMux()
	mux.Handle("/plain", next)
	mux.Handle("/auth/not-the-sdks", next)
	mux.Handle("/optional/{id}", supertokensgo.Require(&sessmodels.VerifySessionOptions{SessionRequired: ptr(false)})(next))
	h := supertokensgo.Middleware(mux)
	for _, path := range []string{"/plain", "/optional/7", "/auth/not-the-sdks"} {
		came = nil
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", "Bearer "+own)
		r.AddCookie(&http.Cookie{Name: "sAccessToken", Value: own})
		r.AddCookie(&http.Cookie{Name: "theme", Value: "dark"})
		want := r.Header.Clone()
		h.ServeHTTP(httptest.NewRecorder(), r)
		require.Equal(t, want, came, path)
		require.Equal(t, want, r.Header, "the caller's request is not written to")
	}
}

// The SDK's dashboard has bearer tokens of its own.
func TestDashboardSeesItsBearer(t *testing.T) {
	path, err := supertokens.NewNormalisedURLPath("/dashboard/api/users")
	require.NoError(t, err)
	var came string
	dashboard := func(
		app supertokens.NormalisedAppinfo, onError func(error, *http.Request, http.ResponseWriter),
	) (*supertokens.RecipeModule, error) {
		module := supertokens.MakeRecipeModule("dashboard", app,
			func(_, _ string, r *http.Request, _ http.ResponseWriter, _ http.HandlerFunc, _ supertokens.NormalisedURLPath, _ string,
				_ supertokens.UserContext) error {
				came = r.Header.Get("Authorization")
				return nil
			},
			func() []string { return nil },
			func() ([]supertokens.APIHandled, error) {
				return []supertokens.APIHandled{{Method: http.MethodGet, PathWithoutAPIBasePath: path, ID: "users"}}, nil
			}, nil,
			func(error, *http.Request, http.ResponseWriter, supertokens.UserContext) (bool, error) {
				return false, nil
			}, onError)
		module.ResetForTest = func() {}
		return &module, nil
	}
	inMemory(t, sdkConfig{recipes: []supertokens.Recipe{dashboard}})
	for _, path := range []string{"/auth/dashboard/api/users", "/auth/acme/dashboard/api/users", "/Auth/Dashboard/api/users"} {
		came = ""
		w := new(client).sendWith(sdk(nil), http.MethodGet, path, nil, bearer("key of the dashboard"))
		require.Equal(t, "Bearer key of the dashboard", came, "%s: %d", path, w.Code)
	}
	// A tenant of this name is none.
	for _, token := range poison() {
		w := new(client).sendWith(sdk(nil), http.MethodPost, "/auth/dashboard/signout", nil, bearer(token))
		require.NotEqual(t, http.StatusOK, w.Code)
	}
}

// What is refused at the mint leaves no trace on the response.
func TestNothingIsWrittenOnFailure(t *testing.T) {
	sessions, memory := inMemory(t, sdkConfig{})
	m, issuer := newMigrator(t, sessions, nil)
	memory.Status(500, "GET /recipe/session")
	r := post()
	r.Header.Set("Authorization", "Bearer "+issuer.Token())
	w := httptest.NewRecorder()
	_, err := m.Migrate(w, r)
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	require.Empty(t, w.Header())
	require.Empty(t, memory.Sessions())
	memory.Heal()
	_, err = m.Migrate(w, r)
	require.NoError(t, err, "the claim was given up: nobody waits for a lease")
	require.Len(t, memory.Sessions(), 1)
}

func noValidators(
	[]claims.SessionClaimValidator, sessmodels.SessionContainer, supertokens.UserContext) ([]claims.SessionClaimValidator, error,
) {
	return nil, nil
}
