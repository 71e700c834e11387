package supertokensgo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/supertokens/supertokens-golang/recipe/emailpassword"
	"github.com/supertokens/supertokens-golang/recipe/emailpassword/epmodels"
	"github.com/supertokens/supertokens-golang/recipe/multitenancy"
	"github.com/supertokens/supertokens-golang/recipe/multitenancy/multitenancymodels"
	"github.com/supertokens/supertokens-golang/recipe/session"
	"github.com/supertokens/supertokens-golang/recipe/session/claims"
	sterrors "github.com/supertokens/supertokens-golang/recipe/session/errors"
	"github.com/supertokens/supertokens-golang/recipe/session/sessmodels"
	"github.com/supertokens/supertokens-golang/supertokens"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
	"github.com/stmigrate/stmigrate/supertokensgo"
)

// Each test here shows a defect of supertokens-golang 0.25.2, and that it does not reach through this package. One that fails
// in its first half says that the SDK was mended.

// poison are tokens at which the SDK's parser panics, with or without a claim to be of SuperTokens.
func poison() map[string]string {
	const ours = `{"sub":"ada","sessionHandle":"h","refreshTokenHash1":"r","exp":9999999999,"iat":1,"tId":"public"}`
	return map[string]string{
		"kid and no typ, as of Cognito and Okta": unsigned(`{"alg":"RS256","kid":"legacy-1"}`, `{"sub":"ada"}`),
		"typ is a number":                        unsigned(`{"alg":"RS256","kid":"legacy-1","typ":1}`, `{"sub":"ada"}`),
		"kid is null":                            unsigned(`{"alg":"RS256","kid":null,"typ":"JWT"}`, `{"sub":"ada"}`),
		"version is null":                        unsigned(`{"alg":"RS256","kid":"d-1","typ":"JWT","version":null}`, ours),
		"one that is larger than any of ours":    unsigned(`{"alg":"RS256","kid":"legacy-1"}`, `{"sub":"`+strings.Repeat("x", 20_000)+`"}`),
		"one that ends like a refresh token":     strings.TrimSuffix(unsigned(`{"kid":"1","alg":"RS256"}`, `{"sub":"ada"}`), "c2ln") + "V2",
		"one that looks like ours":               unsigned(`{"alg":"RS256","version":"4","kid":"d-1"}`, ours),
	}
}

func TestDefect1_GetSessionPanicsAtLegacyBearer(t *testing.T) {
	sessions, _ := inMemory(t, sdkConfig{})
	minted, err := sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: "ada"})
	require.NoError(t, err)
	good := minted.Header.Get("st-access-token")
	optional := &sessmodels.VerifySessionOptions{SessionRequired: ptr(false)}
	for name, token := range poison() {
		for where, carry := range map[string]func(r *http.Request){
			"bearer": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) },
			"cookie": func(r *http.Request) { r.AddCookie(&http.Cookie{Name: "sAccessToken", Value: token}) },
			"bearer beside a session's cookie": func(r *http.Request) {
				r.Header.Set("Authorization", "Bearer "+token)
				r.AddCookie(&http.Cookie{Name: "sAccessToken", Value: good})
			},
		} {
			t.Run(name+", "+where, func(t *testing.T) {
				request := func(method, path string) *http.Request {
					r := httptest.NewRequest(method, path, nil)
					carry(r)
					return r
				}
				require.Panics(t, func() { _, _ = session.GetSession(request(http.MethodGet, "/"), httptest.NewRecorder(), optional) })
				require.Panics(t, func() {
					next := func(http.ResponseWriter, *http.Request) {}
					session.VerifySession(optional, next)(httptest.NewRecorder(), request(http.MethodGet, "/"))
				})
				require.Panics(t, func() {
					r := request(http.MethodPost, "/auth/signout")
					supertokens.Middleware(http.NotFoundHandler()).ServeHTTP(httptest.NewRecorder(), r)
				})

				beside := strings.HasSuffix(where, "'s cookie")
				_, ok, err := sessions.CurrentSession(t.Context(), request(http.MethodGet, "/"))
				require.NoError(t, err)
				require.Equal(t, beside, ok)
				_, err = sessions.CreateSession(t.Context(), request(http.MethodPost, "/"), stmigrate.User{ID: "ada"})
				require.NoError(t, err)
				w := httptest.NewRecorder()
				var came http.Header
				supertokensgo.Require(optional)(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					came = r.Header
					whoAmI(w, r)
				})).ServeHTTP(w, request(http.MethodGet, "/"))
				require.Contains(t, w.Body.String(), fmt.Sprintf("SDK session: %v", beside))
				require.Equal(t, request(http.MethodGet, "/").Header, came, "the handler sees what came")
				w = httptest.NewRecorder()
				supertokensgo.Require(nil)(http.HandlerFunc(whoAmI)).ServeHTTP(w, request(http.MethodGet, "/"))
				require.Equal(t, map[bool]int{true: http.StatusOK, false: http.StatusUnauthorized}[beside], w.Code)
				if !beside {
					w = httptest.NewRecorder()
					sdk(nil).ServeHTTP(w, request(http.MethodPost, "/auth/signout"))
					require.Equal(t, http.StatusUnauthorized, w.Code, w.Body.String())
				}
			})
		}
	}
}

// A cookie that is hidden from the SDK takes none of the others with it.
func TestDefect1_RefreshBesideABadAccessCookie(t *testing.T) {
	sessions, _ := inMemory(t, sdkConfig{})
	r := post()
	r.Header.Set("st-auth-mode", "cookie")
	minted, err := sessions.CreateSession(t.Context(), r, stmigrate.User{ID: "ada"})
	require.NoError(t, err)
	browser := &client{}
	browser.take(minted.Header)
	for name, token := range poison() {
		bad := fmt.Sprintf(`theme="a b"; sAccessToken=%s; sRefreshToken=%s`, token, browser.refresh)
		w := browser.sendWith(sdk(nil), http.MethodPost, "/auth/session/refresh", nil, http.Header{"Cookie": {bad}})
		require.Equal(t, http.StatusOK, w.Code, name)
	}
}

func TestDefect2_NilSessionRequired(t *testing.T) {
	sessions, _ := inMemory(t, sdkConfig{})
	require.Panics(t, func() {
		_, _ = session.GetSessionWithoutRequestResponse("a.b.c", nil, &sessmodels.VerifySessionOptions{})
	})

	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer a.b.c")
	_, ok, err := sessions.CurrentSession(t.Context(), r)
	require.NoError(t, err)
	require.False(t, ok)
	w := httptest.NewRecorder()
	supertokensgo.Require(&sessmodels.VerifySessionOptions{})(http.HandlerFunc(whoAmI)).ServeHTTP(w, r)
	require.Equal(t, http.StatusUnauthorized, w.Code)
}

func TestDefect3_NilPayloadDropsClaims(t *testing.T) {
	sessions, _ := inMemory(t, sdkConfig{})
	bare, err := session.CreateNewSessionWithoutRequestResponse("public", "ada", nil, nil, ptr(true))
	require.NoError(t, err)
	require.NotContains(t, bare.GetAccessTokenPayload(), "iss")

	minted, err := sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: "ada"})
	require.NoError(t, err)
	info, err := session.GetSessionInformation(minted.Handle)
	require.NoError(t, err)
	require.Equal(t, "https://api.example.com/auth", info.CustomClaimsInAccessTokenPayload["iss"])
}

func TestDefect4_ErrorHandlerPanicsAtWrappedErrors(t *testing.T) {
	refusing := sdkConfig{session: sessmodels.TypeInput{Override: &sessmodels.OverrideStruct{
		Functions: func(original sessmodels.RecipeInterface) sessmodels.RecipeInterface {
			*original.CreateNewSession = func(
				string, map[string]any, map[string]any, *bool, string, supertokens.UserContext,
			) (sessmodels.SessionContainer, error) {
				return nil, sterrors.UnauthorizedError{Msg: "banned"}
			}
			return original
		},
	}}}
	sessions, _ := inMemory(t, refusing)
	handle := func(err error) error {
		return supertokens.ErrorHandler(err, post(), httptest.NewRecorder())
	}
	require.Panics(t, func() { _ = handle(fmt.Errorf("minting: %w", sterrors.UnauthorizedError{Msg: "banned"})) })

	_, err := sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: "ada"})
	require.ErrorContains(t, err, "banned")
	require.Equal(t, err, handle(err), "the SDK leaves it to its caller")

	users := failingUsers{err: fmt.Errorf("legacy: %w", sterrors.UnauthorizedError{Msg: "x"})}
	o, err := supertokensgo.Override(supertokensgo.OverrideConfig{Users: users})
	require.NoError(t, err)
	_, err = (*o.Functions(someRecipe()).GetUserByID)("ada", &map[string]any{})
	require.Error(t, err)
	require.Equal(t, err, handle(err))
}

// someRecipe is the EmailPassword recipe's functions, each of which fails.
func someRecipe() epmodels.RecipeInterface {
	update := func(string, *string, *string, *bool, string, supertokens.UserContext) (epmodels.UpdateEmailOrPasswordResponse, error) {
		return epmodels.UpdateEmailOrPasswordResponse{}, errors.New("not reached")
	}
	return epmodels.RecipeInterface{UpdateEmailOrPassword: &update}
}

// failingUsers fails whatever it is asked.
type failingUsers struct {
	stmigrate.EmailPassword
	err error
}

func (f failingUsers) UserByID(context.Context, string) (*stmigrate.AuthUser, error) {
	return nil, f.err
}

// TestDefect5_DataRace needs the race detector. The SDK itself races in a process of its own, since a race that is found fails
// the test.
func TestDefect5_DataRaceOfConcurrentCalls(t *testing.T) {
	bare := func() {
		q, err := supertokens.GetNewQuerierInstanceOrThrowError("session")
		if err != nil {
			panic(err)
		}
		parallel(8, func(int) { q.InvalidateCoreCallCache(nil, true) })
	}
	if raceEnabled {
		require.Contains(t, alone(t, bare), "WARNING: DATA RACE")
	}
	sessions, memory := inMemory(t, sdkConfig{})
	minted, err := sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: "ada"})
	require.NoError(t, err)
	carrying := httptest.NewRequest(http.MethodGet, "/", nil)
	carrying.Header.Set("Authorization", "Bearer "+minted.Header.Get("st-access-token"))
	parallel(8, func(i int) {
		u := stmigrate.User{ID: fmt.Sprint("user-", i), SessionData: map[string]any{stmigrate.SessionMarker: "m"}}
		tokens, err := sessions.CreateSession(t.Context(), post(), u)
		if !assert.NoError(t, err) {
			return
		}
		_, err = sessions.Pristine(t.Context(), tokens)
		assert.NoError(t, err)
		_, ok, err := sessions.CurrentSession(t.Context(), carrying)
		assert.True(t, ok && err == nil)
		_, err = sessions.FindSessions(t.Context(), "", u.ID, "m")
		assert.NoError(t, err)
		_, err = sessions.RevokeSession(t.Context(), tokens.Handle)
		assert.NoError(t, err)
	})
	require.Len(t, memory.Sessions(), 1)
}

func parallel(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}

// alone runs f in a process of its own, with the SDK initialised, and returns what it wrote.
func alone(t *testing.T, f func()) string {
	t.Helper()
	const marker = "STMIGRATE_ALONE"
	if os.Getenv(marker) != "" {
		inMemory(t, sdkConfig{})
		f()
		t.Skip("the SDK survived")
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), marker+"=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	_ = cmd.Run() // it fails, as it should
	return out.String()
}

func TestDefect6_CookiesOfOneNameAreDropped(t *testing.T) {
	sessions, _ := inMemory(t, sdkConfig{})
	asCookies := func() *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/migrate-session", nil)
		r.Header.Set("st-auth-mode", "cookie")
		return r
	}
	// A legacy session in cookies of two paths, which the host clears on the way.
	host := func() *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		w.Header().Add("Set-Cookie", "legacy=; Path=/; Max-Age=0")
		w.Header().Add("Set-Cookie", "legacy=; Path=/app; Max-Age=0")
		return w
	}
	count := func(h http.Header) (n int) {
		for _, line := range h.Values("Set-Cookie") {
			if strings.HasPrefix(line, "legacy=") {
				n++
			}
		}
		return n
	}
	w := host()
	_, err := session.CreateNewSession(asCookies(), w, "public", "ada", nil, nil)
	require.NoError(t, err)
	require.Equal(t, 1, count(w.Header()))

	m, issuer := newMigrator(t, sessions, nil)
	w = host()
	r := asCookies()
	r.Header.Set("Authorization", "Bearer "+issuer.Token())
	m.ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code)
	require.Equal(t, 2, count(w.Header()))
	require.Len(t, w.Header().Values("Set-Cookie"), 4)
}

func TestDefect7_ErrorsAreSwallowed(t *testing.T) {
	legacy := &stmigratetest.FakeLegacyUsers{}
	for _, adapted := range []bool{false, true} {
		input := &epmodels.TypeInput{}
		memory := stmigratetest.NewCore(t)
		if adapted {
			input.Override = passThrough(t, memory, legacy)
		}
		sdkConfig{recipes: []supertokens.Recipe{emailpassword.Init(input)}}.init(t, memory.URL, "")
		up, err := emailpassword.SignUp("public", "ada@example.com", "correct horse 1")
		require.NoError(t, err)
		token, err := emailpassword.CreateResetPasswordToken("public", up.OK.User.ID)
		require.NoError(t, err)
		memory.Status(500, "PUT /recipe/user", "POST /recipe/user/password/reset", "POST /recipe/user/password/reset/token/consume")
		reset, resetErr := emailpassword.ResetPasswordUsingToken("public", token.OK.Token, "another horse 2")
		update, updateErr := emailpassword.UpdateEmailOrPassword(up.OK.User.ID, nil, ptr("another horse 2"), nil, nil)
		require.Equal(t, epmodels.ResetPasswordUsingTokenResponse{}, reset)
		require.Equal(t, epmodels.UpdateEmailOrPasswordResponse{}, update)
		if !adapted {
			require.NoError(t, resetErr)
			require.NoError(t, updateErr)
			continue
		}
		require.ErrorIs(t, resetErr, stmigrate.ErrUnavailable)
		require.ErrorIs(t, updateErr, stmigrate.ErrUnavailable)
	}
}

func TestDefect8_AnswersOfTheCoreAreNotChecked(t *testing.T) {
	sessions, _ := inMemory(t, sdkConfig{})
	require.Panics(t, func() { _, _ = multitenancy.AssociateUserToTenant("public", "no-such-user") })

	// A core, or what stands before it, that answers 200 with something else.
	odd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/apiversion" {
			_, _ = w.Write([]byte(`{"versions":["3.1"]}`))
			return
		}
		_, _ = w.Write([]byte(`{"status":"OK"}`))
	}))
	defer odd.Close()
	sdkConfig{}.init(t, odd.URL, "")
	require.Panics(t, func() { _, _ = session.RevokeSession("h") })
	require.Panics(t, func() { _, _ = session.GetSessionInformation("h") })
	ctx := t.Context()
	_, err := sessions.RevokeSession(ctx, "h")
	require.ErrorContains(t, err, "panicked")
	_, err = sessions.Pristine(ctx, &stmigrate.Tokens{Handle: "h"})
	require.ErrorContains(t, err, "panicked")
	_, err = sessions.FindSessions(ctx, "", "ada", "m")
	require.ErrorContains(t, err, "panicked")
	_, err = sessions.CreateSession(ctx, post(), stmigrate.User{ID: "ada"})
	require.Error(t, err)
	require.NotErrorIs(t, err, stmigrate.ErrNotCreated, "nobody can tell")
}

// tenantClaim tells for which tenant it was asked.
func tenantClaim() *claims.TypeSessionClaim {
	fetch := func(_, tenantID string, _ supertokens.UserContext) (any, error) { return tenantID, nil }
	claim, _ := claims.PrimitiveClaim("tenant", fetch, nil)
	return claim
}

func TestDefect9_ClaimsOfTheWrongTenant(t *testing.T) {
	sessions, _ := inMemory(t, sdkConfig{})
	_, err := multitenancy.CreateOrUpdateTenant("acme", multitenancymodels.TenantConfig{})
	require.NoError(t, err)
	recipe, err := session.GetRecipeInstanceOrThrowError()
	require.NoError(t, err)
	claim := tenantClaim()

	bare, err := session.CreateNewSessionWithoutRequestResponse("acme", "ada", map[string]any{}, nil, ptr(true))
	require.NoError(t, err)
	require.NoError(t, bare.FetchAndSetClaim(claim))
	require.Equal(t, "public", bare.GetClaimValue(claim))

	require.NoError(t, recipe.AddClaimFromOtherRecipe(claim))
	minted, err := sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: "ada", TenantID: "acme"})
	require.NoError(t, err)
	value, err := session.GetClaimValue(minted.Handle, claim)
	require.NoError(t, err)
	require.Equal(t, "acme", value.OK.Value)
}

// TestDefect10 kills the SDK in a process of its own, since nothing recovers from it. Sessions never share a user context, as
// TestDefect5 and TestSessionMinter show.
func TestDefect10_SharedUserContext(t *testing.T) {
	out := alone(t, func() {
		shared := supertokens.MakeDefaultUserContextFromAPI(httptest.NewRequest(http.MethodGet, "/", nil))
		q, err := supertokens.GetNewQuerierInstanceOrThrowError("session")
		require.NoError(t, err)
		parallel(8, func(int) {
			for range 1_000_000 {
				q.InvalidateCoreCallCache(shared, true)
			}
		})
	})
	require.Regexp(t, `fatal error: concurrent map|WARNING: DATA RACE`, out)

	seen := make(map[supertokens.UserContext]bool)
	var mu sync.Mutex
	sessions, _ := inMemory(t, sdkConfig{session: sessmodels.TypeInput{Override: &sessmodels.OverrideStruct{
		Functions: func(original sessmodels.RecipeInterface) sessmodels.RecipeInterface {
			information := *original.GetSessionInformation
			*original.GetSessionInformation = func(handle string, uc supertokens.UserContext) (*sessmodels.SessionInformation, error) {
				mu.Lock()
				seen[uc] = true
				mu.Unlock()
				return information(handle, uc)
			}
			return original
		},
	}}})
	for range 20 {
		_, err := sessions.CreateSession(t.Context(), post(), stmigrate.User{
			ID: "ada", SessionData: map[string]any{stmigrate.SessionMarker: "m"},
		})
		require.NoError(t, err)
	}
	clear(seen)
	found, err := sessions.FindSessions(t.Context(), "", "ada", "m")
	require.NoError(t, err)
	require.Len(t, found, 20)
	require.Len(t, seen, 20, "one for each of the calls that are made at once")
}

// A legacy bearer that the page's fetch adds to all requests is no refresh token, and signs nobody out.
func TestLegacyBearerOnTheRefresh(t *testing.T) {
	sessions, _ := inMemory(t, sdkConfig{})
	for _, adapted := range []bool{false, true} {
		r := post()
		r.Header.Set("st-auth-mode", "cookie")
		minted, err := sessions.CreateSession(t.Context(), r, stmigrate.User{ID: "ada"})
		require.NoError(t, err)
		browser := &client{}
		browser.take(minted.Header)
		h := supertokens.Middleware(http.NotFoundHandler())
		if adapted {
			h = sdk(nil)
		}
		legacy := unsigned(`{"alg":"RS256","typ":"JWT","kid":"1"}`, `{"sub":"ada"}`)
		w := browser.sendWith(h, http.MethodPost, "/auth/session/refresh", nil, bearer(legacy))
		require.Equal(t, map[bool]int{false: http.StatusUnauthorized, true: http.StatusOK}[adapted], w.Code)
	}
}

// The SDK answers a legacy bearer with empty tokens, as if it were one of its own to clear.
func TestLegacyBearerAtTheMint(t *testing.T) {
	sessions, _ := inMemory(t, sdkConfig{})
	r := post()
	r.Header.Set("st-auth-mode", "cookie")
	r.Header.Set("Authorization", "Bearer "+unsigned(`{"alg":"RS256","typ":"JWT","kid":"1"}`, `{"sub":"ada"}`))
	w := httptest.NewRecorder()
	_, err := session.CreateNewSession(r, w, "public", "ada", nil, nil)
	require.NoError(t, err)
	require.Equal(t, []string{""}, w.Header()["St-Access-Token"])

	minted, err := sessions.CreateSession(t.Context(), r, stmigrate.User{ID: "ada"})
	require.NoError(t, err)
	require.NotContains(t, minted.Header, "St-Access-Token")
}
