package supertokensgo_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/supertokens/supertokens-golang/recipe/emailpassword"
	"github.com/supertokens/supertokens-golang/recipe/emailpassword/epmodels"
	"github.com/supertokens/supertokens-golang/recipe/emailverification"
	"github.com/supertokens/supertokens-golang/recipe/emailverification/evmodels"
	"github.com/supertokens/supertokens-golang/recipe/multitenancy"
	"github.com/supertokens/supertokens-golang/recipe/multitenancy/multitenancymodels"
	"github.com/supertokens/supertokens-golang/recipe/session"
	"github.com/supertokens/supertokens-golang/recipe/session/sessmodels"
	"github.com/supertokens/supertokens-golang/recipe/userroles"
	"github.com/supertokens/supertokens-golang/supertokens"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/stmigratetest"
	"github.com/stmigrate/stmigrate/supertokensgo"
)

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }

func ptr[T any](v T) *T { return &v }

// otherRecipes are those that add claims to sessions. The legacy system knows the addresses of its users.
func otherRecipes() []supertokens.Recipe {
	known := func(userID string, _ supertokens.UserContext) (evmodels.TypeEmailInfo, error) {
		return evmodels.TypeEmailInfo{OK: &struct{ Email string }{"legacy@example.com"}}, nil
	}
	return []supertokens.Recipe{
		emailpassword.Init(nil), userroles.Init(nil),
		emailverification.Init(evmodels.TypeInput{Mode: evmodels.ModeRequired, GetEmailForUserID: known}),
	}
}

func always(method sessmodels.TokenTransferMethod) func(*http.Request, bool, supertokens.UserContext) sessmodels.TokenTransferMethod {
	return func(*http.Request, bool, supertokens.UserContext) sessmodels.TokenTransferMethod { return method }
}

func sdkConfigs() map[string]sdkConfig {
	return map[string]sdkConfig{
		"as it comes":        {},
		"anti-CSRF by token": {session: sessmodels.TypeInput{AntiCsrf: ptr("VIA_TOKEN")}},
		"two sites":          {website: "https://www.example.org", interceptor: true},
		"cookies only, token shown": {session: sessmodels.TypeInput{
			GetTokenTransferMethod: always(sessmodels.CookieTransferMethod), ExposeAccessTokenToFrontendInCookieBasedAuth: true,
		}},
		"headers only, static key": {session: sessmodels.TypeInput{
			GetTokenTransferMethod: always(sessmodels.HeaderTransferMethod), UseDynamicAccessTokenSigningKey: ptr(false),
		}},
		"other recipes": {recipes: otherRecipes(), session: sessmodels.TypeInput{CookieDomain: ptr(".example.com")}},
	}
}

// TestSessionMinter holds Sessions to the contract, 200 mints at once included, in every configuration of the SDK that matters
// to it.
func TestSessionMinter(t *testing.T) {
	for name, c := range sdkConfigs() {
		t.Run(name, func(t *testing.T) {
			stmigratetest.TestSessionMinter(t, func(t *testing.T) stmigratetest.MinterUnderTest {
				sessions, client := onCore(t, c)
				endSessions(t, client)
				return stmigratetest.MinterUnderTest{Minter: sessions, Refresh: spend, Live: client.UserSessions}
			})
		})
	}
}

// endSessions ends what an earlier run left of the suite's users in a core that lives on.
func endSessions(t *testing.T, client *core.Client) {
	t.Helper()
	if os.Getenv("SUPERTOKENS_CONNECTION_URI") == "" {
		return
	}
	users := []string{"minted-cookie", "minted-header", "minted-", "stored", "twice", "unchanged",
		"pristine", "revoked", "refused", "finder", "another"}
	for i := range 200 {
		users = append(users, fmt.Sprint("parallel-", i))
	}
	for _, user := range users {
		_, err := client.RemoveUserSessions(t.Context(), "public", user)
		require.NoError(t, err)
	}
}

// A browser may hold the cookies while the page was left before its scripts saw the answer: they are told of the session again.
func TestCurrentSessionIsToldAgain(t *testing.T) {
	for name, c := range sdkConfigs() {
		c.recipes = nil
		t.Run(name, func(t *testing.T) {
			sessions, _ := inMemory(t, c)
			m, issuer := newMigrator(t, sessions, nil)
			token := bearer(issuer.Token())
			browser := &client{mode: "cookie"}
			first := browser.sendWith(sdk(m), http.MethodPost, "/migrate-session", nil, token).Header()
			if browser.mode == "header" { // its one Authorization has room for one token, and who has the session knows
				require.Nil(t, reminder(t, sessions, carryingHeader(browser.access), handleOf(t, browser.access)))
				return
			}
			w := browser.sendWith(sdk(m), http.MethodPost, "/migrate-session", nil, token)
			require.Equal(t, http.StatusOK, w.Code, w.Body.String())
			again := w.Header()
			require.NotEmpty(t, again.Get("Front-Token"))
			for _, name := range []string{"Front-Token", "Anti-Csrf", "St-Access-Token", "Cache-Control", "St-Refresh-Token"} {
				require.Equal(t, first.Get(name), again.Get(name), name)
			}
			for _, name := range []string{"Front-Token", "Anti-Csrf", "St-Access-Token"} {
				require.Equal(t, first.Get(name) != "",
					strings.Contains(again.Get("Access-Control-Expose-Headers"), strings.ToLower(name)), name)
			}
			require.Empty(t, again.Values("Set-Cookie"), "the browser has it, and the refresh token's, too")

			for name, r := range map[string]*http.Request{
				"nothing": post(), "not the core's": carryingCookie(browser.access[:len(browser.access)-8] + "AAAAAAAA"),
			} {
				require.Nil(t, reminder(t, sessions, r, handleOf(t, browser.access)), name)
			}
			require.Nil(t, reminder(t, sessions, carryingCookie(browser.access), "another"))
		})
	}
}

func reminder(t *testing.T, sessions *supertokensgo.Sessions, r *http.Request, handle string) http.Header {
	t.Helper()
	h, err := sessions.RemindSession(t.Context(), r, handle)
	require.NoError(t, err)
	return h
}

func handleOf(t *testing.T, access string) string {
	t.Helper()
	parsed, err := session.ParseJWTWithoutSignatureVerification(access)
	require.NoError(t, err)
	return parsed.Payload["sessionHandle"].(string)
}

// The same browser may come back when its access token is over, too.
func TestLapsedSessionIsToldAgain(t *testing.T) {
	for name, c := range sdkConfigs() {
		if name == "headers only, static key" {
			continue
		}
		c.recipes = nil
		t.Run(name, func(t *testing.T) {
			// The SDK goes by the clock of the machine: what it mints now ended an hour ago.
			var ahead atomic.Int64
			ahead.Store(int64(-2 * time.Hour))
			memory, err := stmigratetest.StartCore(stmigratetest.CoreConfig{
				Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
			require.NoError(t, err)
			t.Cleanup(memory.Close)
			c.init(t, memory.URL, "")
			sessions := newSessions(t)
			m, issuer := newMigrator(t, sessions, nil)
			token := bearer(issuer.Token())
			browser := &client{mode: "cookie"}
			first := browser.sendWith(sdk(m), http.MethodPost, "/migrate-session", nil, token)
			require.Equal(t, http.StatusOK, first.Code, first.Body.String())
			ahead.Store(0)
			_, live, err := sessions.CurrentSession(t.Context(), carryingCookie(browser.access))
			require.NoError(t, err)
			require.False(t, live)

			again := browser.sendWith(sdk(m), http.MethodPost, "/migrate-session", nil, token)
			require.Equal(t, http.StatusOK, again.Code, again.Body.String())
			require.NotEmpty(t, again.Header().Get("Front-Token"))
			require.Equal(t, first.Header().Get("Front-Token"), again.Header().Get("Front-Token"))
			require.Equal(t, first.Header().Get("Anti-Csrf"), again.Header().Get("Anti-Csrf"))
			require.Empty(t, again.Header().Values("Set-Cookie"))

			handle := handleOf(t, browser.access)
			require.Nil(t, reminder(t, sessions, carryingCookie(browser.access[:len(browser.access)-8]+"AAAAAAAA"), handle))
			_, err = sessions.RevokeSession(t.Context(), handle)
			require.NoError(t, err)
			require.Nil(t, reminder(t, sessions, carryingCookie(browser.access), handle))
			over := browser.sendWith(sdk(m), http.MethodPost, "/migrate-session", nil, token)
			require.Equal(t, http.StatusConflict, over.Code)
		})
	}
}

func carryingHeader(token string) *http.Request {
	r := post()
	r.Header = bearer(token)
	return r
}

func carryingCookie(token string) *http.Request {
	r := post()
	r.AddCookie(&http.Cookie{Name: "sAccessToken", Value: token})
	return r
}

// A session that an exchange minted is the SDK's from then on, and once it is signed out there it does not come back.
func TestExchange(t *testing.T) {
	for name, c := range sdkConfigs() {
		c.recipes = nil
		for _, mode := range []string{"cookie", "header"} {
			t.Run(name+", "+mode, func(t *testing.T) {
				sessions, _ := onCore(t, c)
				m, issuer := newMigrator(t, sessions, nil)
				h := sdk(m)
				token := issuer.SignIn(fmt.Sprint("legacy|", time.Now().UnixNano())).AccessToken

				browser := &client{mode: mode}
				w := browser.sendWith(h, http.MethodPost, "/migrate-session", nil, bearer(token))
				require.Equal(t, http.StatusOK, w.Code, w.Body.String())
				require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
				again := &client{mode: mode}
				w = again.sendWith(h, http.MethodPost, "/migrate-session", nil, bearer(token))
				require.Equal(t, http.StatusOK, w.Code, w.Body.String())
				require.Equal(t, browser, again, "the answer was lost, and is given again")

				for range 2 {
					w = browser.send(h, http.MethodPost, "/api", nil)
					require.Equal(t, http.StatusOK, w.Code, w.Body.String())
					require.Contains(t, w.Body.String(), " of public, SDK session: true, legacy: false")
					before := browser.access
					w = browser.send(h, http.MethodPost, "/auth/session/refresh", nil)
					require.Equal(t, http.StatusOK, w.Code, w.Body.String())
					require.NotEqual(t, before, browser.access)
				}
				w = browser.send(h, http.MethodPost, "/api", nil)
				require.Equal(t, http.StatusOK, w.Code, w.Body.String())

				// A browser that holds the session and the legacy cookie or token still gets no second one.
				held := browser.access
				if browser.mode == "cookie" {
					w = browser.sendWith(h, http.MethodPost, "/migrate-session", nil, bearer(token))
					require.Equal(t, http.StatusOK, w.Code, w.Body.String())
					require.Equal(t, held, browser.access)
				}
				w = browser.send(h, http.MethodPost, "/auth/signout", nil)
				require.Equal(t, http.StatusOK, w.Code, w.Body.String())
				for _, mode := range []string{"cookie", "header"} {
					w = (&client{mode: mode}).sendWith(h, http.MethodPost, "/migrate-session", nil, bearer(token))
					require.Equal(t, http.StatusConflict, w.Code)
					require.JSONEq(t, `{"status":"ALREADY_MIGRATED"}`, w.Body.String())
				}
			})
		}
	}
}

// 200 clients, each with two tabs, at once: 200 sessions, and both tabs have the same.
func TestManyExchangesAtOnce(t *testing.T) {
	sessions, memory := inMemory(t, sdkConfig{recipes: otherRecipes()})
	m, issuer := newMigrator(t, sessions, nil)
	h := sdk(m)
	var wg sync.WaitGroup
	clients := make([][2]client, 200)
	codes := make([][2]int, len(clients))
	for i := range clients {
		token := issuer.SignIn(fmt.Sprint("legacy|", i)).AccessToken
		for tab := range 2 {
			wg.Go(func() {
				c := &clients[i][tab]
				c.mode = []string{"cookie", "header"}[i%2]
				// Tabs may be told to come back.
				for range 200 {
					codes[i][tab] = c.sendWith(h, http.MethodPost, "/migrate-session", nil, bearer(token)).Code
					if codes[i][tab] != http.StatusServiceUnavailable {
						return
					}
				}
			})
		}
	}
	wg.Wait()
	for i, tabs := range clients {
		require.Equal(t, [2]int{http.StatusOK, http.StatusOK}, codes[i])
		require.Equal(t, tabs[0], tabs[1])
	}
	require.Len(t, memory.Sessions(), len(clients))
}

// What other recipes add is in the session, of the right tenant, over what the resolver said.
func TestClaimsOfOtherRecipes(t *testing.T) {
	sessions, users := onCore(t, sdkConfig{recipes: otherRecipes()})
	ctx := t.Context()
	u, err := users.SignUp(ctx, "", fmt.Sprintf("ada-%d@example.com", time.Now().UnixNano()), "correct horse 1")
	require.NoError(t, err)
	_, err = users.CreateRole(ctx, "poet")
	require.NoError(t, err)
	_, err = users.AddUserRole(ctx, "", u.ID, "poet")
	require.NoError(t, err)
	minted, err := sessions.CreateSession(ctx, post(), stmigrate.User{
		ID: u.ID, AccessTokenPayload: map[string]any{"plan": "pro", "st-role": map[string]any{"v": []string{"admin"}, "t": 1}},
	})
	require.NoError(t, err)
	browser := &client{}
	browser.take(minted.Header)
	w := browser.send(sdk(nil), http.MethodGet, "/api", nil)
	require.Equal(t, http.StatusForbidden, w.Code, w.Body.String())
	require.Contains(t, w.Body.String(), "st-ev")
	info, err := session.GetSessionInformation(minted.Handle)
	require.NoError(t, err)
	require.Equal(t, "pro", info.CustomClaimsInAccessTokenPayload["plan"])
	require.Equal(t, []any{"poet"}, info.CustomClaimsInAccessTokenPayload["st-role"].(map[string]any)["v"])
}

// The e-mail verification recipe wants to know everybody: who is not imported is an unknown user, and gets no session.
func TestUserThatNoRecipeKnows(t *testing.T) {
	sessions, memory := inMemory(t, sdkConfig{recipes: []supertokens.Recipe{
		emailpassword.Init(nil), emailverification.Init(evmodels.TypeInput{Mode: evmodels.ModeOptional}),
	}})
	m, issuer := newMigrator(t, sessions, nil)
	w := new(client).sendWith(sdk(m), http.MethodPost, "/migrate-session", nil, bearer(issuer.Token()))
	require.Equal(t, http.StatusForbidden, w.Code)
	require.JSONEq(t, `{"status":"UNKNOWN_USER"}`, w.Body.String())
	require.Empty(t, memory.Sessions())
}

// What can be known about a mint that failed, is told; and what came to life is ended.
func TestMintsThatFail(t *testing.T) {
	type container = sessmodels.SessionContainer
	type creating func() (container, error)
	override := func(f func(create creating) (container, error)) sdkConfig {
		return sdkConfig{session: sessmodels.TypeInput{Override: &sessmodels.OverrideStruct{
			Functions: func(original sessmodels.RecipeInterface) sessmodels.RecipeInterface {
				create := *original.CreateNewSession
				*original.CreateNewSession = func(
					userID string, payload, data map[string]any, disableAntiCSRF *bool, tenantID string, uc supertokens.UserContext,
				) (container, error) {
					return f(func() (container, error) { return create(userID, payload, data, disableAntiCSRF, tenantID, uc) })
				}
				return original
			},
		}}}
	}
	status := func(code int, routes ...string) func(*stmigratetest.Core) {
		return func(c *stmigratetest.Core) { c.Status(code, routes...) }
	}
	lost := func(c *stmigratetest.Core) { c.AfterCommit("POST /recipe/session") }
	gone := func(*stmigratetest.Core) { // and nobody else is where it was
		refused := func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:1")
		}
		supertokens.SetHTTPClient(&http.Client{Transport: &http.Transport{DialContext: refused}})
	}
	banned := errors.New("this user is banned")
	type outcome struct {
		notCreated, unavailable bool
		left                    int
	}
	for name, tt := range map[string]struct {
		sdk    sdkConfig
		tenant string
		spoil  func(*stmigratetest.Core)
		want   outcome
	}{
		"the core refuses the tenant":                 {tenant: "no-such-tenant", want: outcome{notCreated: true}},
		"a tenant that the SDK would take for public": {tenant: "ten.ant", want: outcome{notCreated: true}},
		"a tenant that the SDK would write otherwise": {tenant: "Public", want: outcome{notCreated: true}},
		"the core is too busy": {
			spoil: status(429, "POST /recipe/session"), want: outcome{notCreated: true, unavailable: true},
		},
		"the core fails":     {spoil: status(500, "POST /recipe/session"), want: outcome{unavailable: true}},
		"the answer is lost": {spoil: lost, want: outcome{unavailable: true, left: 1}},
		"the core is gone":   {spoil: gone, want: outcome{unavailable: true}},
		"the session's expiry cannot be had": {
			spoil: status(500, "GET /recipe/session"), want: outcome{notCreated: true, unavailable: true},
		},
		"nor can the session be ended": {
			spoil: status(500, "GET /recipe/session", "POST /recipe/session/remove"), want: outcome{unavailable: true, left: 1},
		},
		"an override refuses": {sdk: override(func(creating) (container, error) {
			return nil, banned
		}), want: outcome{notCreated: true}},
		"an override hides that the core did not answer": {sdk: override(func(create creating) (container, error) {
			_, err := create()
			return nil, fmt.Errorf("no session: %v", err)
		}), spoil: status(500, "POST /recipe/session"), want: outcome{}},
		"an override panics": {sdk: override(func(creating) (container, error) {
			panic("no")
		}), want: outcome{notCreated: true}},
		"an override fails when the session is there": {sdk: override(func(create creating) (container, error) {
			_, _ = create()
			return nil, banned
		}), want: outcome{left: 1}},
		"an override is refused something else by the core": {sdk: override(func(create creating) (container, error) {
			_, _ = create()
			q, _ := supertokens.GetNewQuerierInstanceOrThrowError("userroles")
			_, err := q.SendPutRequest("/public/recipe/user/role", map[string]any{}, nil)
			return nil, err
		}), want: outcome{left: 1}},
		"an override fails and returns the session": {sdk: override(func(create creating) (container, error) {
			s, _ := create()
			return s, banned
		}), want: outcome{notCreated: true}},
		"an override panics when the session is there": {sdk: override(func(create creating) (container, error) {
			_, _ = create()
			panic("no")
		}), want: outcome{left: 1}},
		"an override returns nothing": {sdk: override(func(creating) (container, error) {
			return nil, nil
		}), want: outcome{notCreated: true}},
	} {
		t.Run(name, func(t *testing.T) {
			sessions, memory := inMemory(t, tt.sdk)
			warm(t, sessions)
			if tt.spoil != nil {
				tt.spoil(memory)
			}
			_, err := sessions.CreateSession(t.Context(), post(), stmigrate.User{
				ID: "ada", TenantID: tt.tenant, SessionData: map[string]any{stmigrate.SessionMarker: "m"},
			})
			require.Error(t, err)
			got := outcome{errors.Is(err, stmigrate.ErrNotCreated), errors.Is(err, stmigrate.ErrUnavailable), len(memory.Sessions())}
			require.Equal(t, tt.want, got, err.Error())
			if core.ValidTenantID(tt.tenant) != nil {
				require.Empty(t, memory.Requests("POST /recipe/session"), "the SDK would have asked for another tenant")
			}
		})
	}
	t.Run("an override takes another tenant", func(t *testing.T) {
		elsewhere := func(original sessmodels.RecipeInterface) sessmodels.RecipeInterface {
			create := *original.CreateNewSession
			*original.CreateNewSession = func(
				userID string, payload, data map[string]any, disableAntiCSRF *bool, _ string, uc supertokens.UserContext,
			) (container, error) {
				return create(userID, payload, data, disableAntiCSRF, "public", uc)
			}
			return original
		}
		sessions, memory := inMemory(t, sdkConfig{session: sessmodels.TypeInput{Override: &sessmodels.OverrideStruct{Functions: elsewhere}}})
		_, err := sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: "ada", TenantID: "acme"})
		require.ErrorIs(t, err, stmigrate.ErrNotCreated)
		require.Len(t, memory.Requests("POST /recipe/session"), 1)
		require.Empty(t, memory.Sessions())
	})
	t.Run("what is not JSON", func(t *testing.T) {
		sessions, memory := inMemory(t, sdkConfig{})
		bad := map[string]any{"a": func() {}, stmigrate.SessionMarker: "m"}
		for what, u := range map[string]stmigrate.User{
			"payload": {ID: "ada", AccessTokenPayload: bad}, "session data": {ID: "ada", SessionData: bad},
		} {
			_, err := sessions.CreateSession(t.Context(), post(), u)
			require.ErrorIs(t, err, stmigrate.ErrNotCreated)
			require.ErrorContains(t, err, what)
			require.ErrorContains(t, err, "not JSON")
		}
		require.Empty(t, memory.Requests("POST /recipe/session"))
	})
	t.Run("a number that the core puts into no token", func(t *testing.T) {
		sessions, memory := inMemory(t, sdkConfig{})
		u := stmigrate.User{ID: "ada", AccessTokenPayload: map[string]any{"n": uint64(1 << 63)}}
		_, err := sessions.CreateSession(t.Context(), post(), u)
		require.ErrorIs(t, err, stmigrate.ErrNotCreated)
		require.ErrorContains(t, err, "64 bits")
		require.Empty(t, memory.Requests("POST /recipe/session"))
	})
	t.Run("nothing by which to tell whether the core was asked", func(t *testing.T) {
		sessions, _ := inMemory(t, override(func(creating) (container, error) { return nil, banned }))
		_, err := sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: "ada"})
		require.ErrorContains(t, err, "banned")
		require.NotErrorIs(t, err, stmigrate.ErrNotCreated)
	})
	t.Run("an ID that the SDK would read as another user's, or the database cannot hold", func(t *testing.T) {
		sessions, memory := inMemory(t, sdkConfig{})
		for id, why := range map[string]string{
			" ada": "white space", "ada\n": "white space", "\u00a0ada": "white space", strings.Repeat("é", 129): "129 characters",
			"ada\x00": "control", "ada\xff": "UTF-8",
		} {
			_, err := sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: id})
			require.ErrorIs(t, err, stmigrate.ErrNotCreated)
			require.ErrorContains(t, err, why)
		}
		require.Empty(t, memory.Requests("POST /recipe/session"))
	})
	t.Run("the core knows the user by another ID", func(t *testing.T) {
		sessions, memory := inMemory(t, sdkConfig{})
		u, err := memory.Client().SignUp(t.Context(), "", "ada@example.com", "correct horse 1")
		require.NoError(t, err)
		mapping := core.UserIDMapping{SuperTokensID: u.ID, ExternalID: "legacy|ada"}
		require.NoError(t, memory.Client().CreateUserIDMapping(t.Context(), mapping, false))
		_, err = sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: u.ID})
		require.ErrorIs(t, err, stmigrate.ErrNotCreated)
		require.Empty(t, memory.Sessions())
		_, err = sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: "legacy|ada"})
		require.NoError(t, err)
	})
}

// What the caller gave stays as it was, and comes to the core as it was.
func TestUserIsNotWrittenTo(t *testing.T) {
	sessions, memory := inMemory(t, sdkConfig{recipes: otherRecipes()})
	payload := map[string]any{"plan": "pro"}
	data := map[string]any{stmigrate.SessionMarker: "m", "device": "a phone"}
	_, err := sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: "ada", AccessTokenPayload: payload, SessionData: data})
	require.NoError(t, err)
	require.Equal(t, map[string]any{"plan": "pro"}, payload)
	require.Equal(t, map[string]any{stmigrate.SessionMarker: "m", "device": "a phone"}, data)
	require.Equal(t, data, memory.Sessions()[0].Data)
}

// Half an answer would leave a session that a crash left behind.
func TestFindSessionsTellsWhenItCannotKnow(t *testing.T) {
	sessions, memory := inMemory(t, sdkConfig{})
	_, err := sessions.CreateSession(t.Context(), post(),
		stmigrate.User{ID: "ada", SessionData: map[string]any{stmigrate.SessionMarker: "m"}})
	require.NoError(t, err)
	memory.Status(500, "GET /recipe/session")
	_, err = sessions.FindSessions(t.Context(), "", "ada", "m")
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	memory.Heal()
	found, err := sessions.FindSessions(t.Context(), "", "ada", "m")
	require.NoError(t, err)
	require.Len(t, found, 1)
}

// warm makes the SDK ask the core for its version, which it does once.
func warm(t *testing.T, sessions *supertokensgo.Sessions) {
	t.Helper()
	_, err := sessions.RevokeSession(t.Context(), "no-such-session")
	require.NoError(t, err)
}

// Whose session it is stays out of what is logged.
func TestErrorsNameNobody(t *testing.T) {
	dead := coreThat(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	sdkConfig{}.init(t, dead.URL, "")
	sessions := newSessions(t)
	_, found := sessions.FindSessions(t.Context(), "", "legacy|ada", "m")
	_, pristine := sessions.Pristine(t.Context(), &stmigrate.Tokens{Handle: "handle-of-ada"})
	for _, err := range []error{found, pristine} {
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		require.ErrorContains(t, err, "EOF")
		require.NotContains(t, err.Error(), "ada")
	}
}

// The client may leave: a mint ends with its own context, and so does what other recipes and overrides ask for meanwhile.
func TestClientThatLeaves(t *testing.T) {
	memory := stmigratetest.NewCore(t)
	legacy := &stmigratetest.FakeLegacyUsers{}
	legacy.Add(legacyUser, legacyPassword)
	sdkConfig{recipes: []supertokens.Recipe{
		emailpassword.Init(&epmodels.TypeInput{Override: passThrough(t, memory, legacy)}),
		emailverification.Init(evmodels.TypeInput{Mode: evmodels.ModeOptional}),
	}}.init(t, memory.URL, "")
	sessions := newSessions(t)
	left, leave := context.WithCancel(t.Context())
	leave()
	_, err := sessions.CreateSession(t.Context(), post().WithContext(left), stmigrate.User{ID: legacyUser.ID})
	require.NoError(t, err)
}

// A core that hangs holds nobody for longer than the caller's context, and a session that is late is ended.
func TestCoreThatHangs(t *testing.T) {
	for _, interceptor := range []bool{false, true} {
		t.Run(fmt.Sprint("interceptor ", interceptor), func(t *testing.T) {
			memory, healed := stmigratetest.NewCore(t), make(chan struct{})
			var leave atomic.Pointer[context.CancelFunc] // of whoever asks, who leaves once the core was asked, and hangs
			hanging := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if leave := leave.Load(); leave != nil {
					(*leave)()
					<-healed
					panic(http.ErrAbortHandler)
				}
				memory.ServeHTTP(w, r)
			}))
			t.Cleanup(hanging.Close)
			sdkConfig{interceptor: interceptor}.init(t, hanging.URL, "")
			sessions := newSessions(t)
			minted, err := sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: "ada"})
			require.NoError(t, err)
			defer close(healed)
			carrying := httptest.NewRequest(http.MethodGet, "/", nil)
			carrying.Header.Set("Authorization", "Bearer "+minted.Header.Get("st-access-token"))
			for what, f := range map[string]func(ctx context.Context) error{
				"CreateSession": func(ctx context.Context) error {
					_, err := sessions.CreateSession(ctx, post(), stmigrate.User{ID: "ada"})
					return err
				},
				"Pristine":      func(ctx context.Context) error { _, err := sessions.Pristine(ctx, minted); return err },
				"RevokeSession": func(ctx context.Context) error { _, err := sessions.RevokeSession(ctx, minted.Handle); return err },
				"FindSessions":  func(ctx context.Context) error { _, err := sessions.FindSessions(ctx, "", "ada", "m"); return err },
				"CurrentSession": func(ctx context.Context) error {
					_, _, err := sessions.CurrentSession(ctx, carrying)
					return err
				},
			} {
				ctx, cancel := context.WithCancel(t.Context())
				leave.Store(&cancel)
				err := f(ctx)
				cancel()
				assert.ErrorIs(t, err, stmigrate.ErrUnavailable, what)
				assert.NotErrorIs(t, err, stmigrate.ErrNotCreated, what)
			}
		})
	}
	t.Run("the request to the core ends", func(t *testing.T) {
		hung, ended := make(chan struct{}), make(chan struct{})
		hanging := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/apiversion" {
				_, _ = w.Write([]byte(`{"versions":["3.1"]}`))
				return
			}
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not notice that the client is gone
			close(hung)
			<-r.Context().Done()
			close(ended)
		}))
		defer hanging.Close()
		defer hanging.CloseClientConnections()
		sdkConfig{interceptor: true}.init(t, hanging.URL, "")
		sessions := newSessions(t)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-hung
			cancel()
		}()
		_, err := sessions.CreateSession(ctx, post(), stmigrate.User{ID: "ada"})
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			t.Fatal("the SDK still waits for the core")
		}
	})
	t.Run("the core's keys: nobody waits in line for those who gave up", func(t *testing.T) {
		sessions, _ := inMemory(t, sdkConfig{})
		minted, err := sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: "ada"})
		require.NoError(t, err)
		answer := make(chan struct{})
		var asked atomic.Int32
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		hanging := coreThat(t, func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			leave()
			<-answer
			w.WriteHeader(http.StatusInternalServerError)
		})
		sdkConfig{}.init(t, hanging.URL, "") // without the keys that it had
		parallel(10, func(int) {
			_, _, err := sessions.CurrentSession(ctx, carryingHeader(minted.Header.Get("st-access-token")))
			assert.ErrorIs(t, err, stmigrate.ErrUnavailable)
		})
		close(answer)
		sessions.Wait()
		require.EqualValues(t, 1, asked.Load())
	})
	t.Run("a late session", func(t *testing.T) {
		memory := stmigratetest.NewCore(t)
		answer := make(chan struct{})
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		late := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/recipe/session") {
				leave()
				<-answer
			}
			memory.ServeHTTP(w, r)
		}))
		t.Cleanup(late.Close)
		sdkConfig{}.init(t, late.URL, "")
		sessions := newSessions(t)
		_, err := sessions.CreateSession(ctx, post(), stmigrate.User{ID: "ada"})
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		close(answer)
		sessions.Wait()
		require.Len(t, memory.Requests("POST /recipe/session"), 1)
		require.Len(t, memory.Requests("POST /recipe/session/remove"), 1)
		require.Empty(t, memory.Sessions())
	})
}

// A cookie that browsers would drop without a word is refused, and its session ended; headers carry as much.
func TestCookieThatIsTooLarge(t *testing.T) {
	sessions, memory := inMemory(t, sdkConfig{})
	u := stmigrate.User{ID: "ada", AccessTokenPayload: map[string]any{"big": strings.Repeat("x", 2800)}}
	r := post()
	r.Header.Set("st-auth-mode", "cookie")
	_, err := sessions.CreateSession(t.Context(), r, u)
	require.ErrorIs(t, err, stmigrate.ErrNotCreated)
	require.ErrorContains(t, err, "sAccessToken")
	require.Empty(t, memory.Sessions())
	_, err = sessions.CreateSession(t.Context(), post(), u)
	require.ErrorContains(t, err, "proxies refuse", "a front-token repeats the payload")
	u.AccessTokenPayload["big"] = strings.Repeat("x", 2000)
	for _, r := range []*http.Request{r, post()} {
		_, err = sessions.CreateSession(t.Context(), r, u)
		require.NoError(t, err)
	}
	sdkConfig{session: sessmodels.TypeInput{ExposeAccessTokenToFrontendInCookieBasedAuth: true}}.init(t, memory.URL, "")
	_, err = sessions.CreateSession(t.Context(), r, u)
	require.NoError(t, err, "cookies have a limit of their own")
}

func TestSessionsInAnotherTenant(t *testing.T) {
	sessions, memory := inMemory(t, sdkConfig{})
	_, err := multitenancy.CreateOrUpdateTenant("acme", multitenancymodels.TenantConfig{})
	require.NoError(t, err)
	m, issuer := newMigrator(t, sessions, func(c *stmigrate.Config) {
		c.Users = stmigrate.UserResolverFunc(func(_ context.Context, s *stmigrate.OldSession) (*stmigrate.User, error) {
			return &stmigrate.User{ID: s.Subject, TenantID: "acme"}, nil
		})
	})
	h := sdk(m)
	browser := &client{mode: "cookie"}
	w := browser.sendWith(h, http.MethodPost, "/migrate-session", nil, bearer(issuer.Token(stmigratetest.Claims{"sub": "ada"})))
	require.Equal(t, http.StatusOK, w.Code, w.Body.String())
	require.Equal(t, "acme", memory.Sessions()[0].TenantID)
	require.Contains(t, browser.send(h, http.MethodGet, "/api", nil).Body.String(), "ada of acme, SDK session: true")
	marker := memory.Sessions()[0].Data[stmigrate.SessionMarker].(string)
	found, err := sessions.FindSessions(t.Context(), "acme", "ada", marker)
	require.NoError(t, err)
	require.Len(t, found, 1)
	found, err = sessions.FindSessions(t.Context(), "", "ada", marker)
	require.NoError(t, err)
	require.Empty(t, found)
}

func TestBeforeInit(t *testing.T) {
	supertokens.ResetForTest()
	session.ResetForTest()
	_, err := supertokensgo.NewSessions()
	require.ErrorContains(t, err, "supertokens.Init")

	// Once made, Sessions go with the SDK.
	sessions, _ := inMemory(t, sdkConfig{})
	supertokens.ResetForTest()
	session.ResetForTest()
	_, err = sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: "ada"})
	require.ErrorIs(t, err, stmigrate.ErrNotCreated)
	_, err = sessions.RevokeSession(t.Context(), "h")
	require.Error(t, err)
	memory := stmigratetest.NewCore(t)
	sdkConfig{}.init(t, memory.URL, "")
	_, err = sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: "ada"})
	require.NoError(t, err)
	require.Len(t, memory.Sessions(), 1)
}

// Nobody becomes somebody by a token that the core did not sign, or whose session is over.
func TestCurrentSession(t *testing.T) {
	sessions, memory := inMemory(t, sdkConfig{})
	minted, err := sessions.CreateSession(t.Context(), post(), stmigrate.User{ID: "ada"})
	require.NoError(t, err)
	good := minted.Header.Get("st-access-token")
	ask := func(change func(r *http.Request)) (stmigrate.CurrentSession, bool) {
		r := post()
		change(r)
		s, ok, err := sessions.CurrentSession(t.Context(), r)
		require.NoError(t, err)
		return s, ok
	}
	s, ok := ask(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+good) })
	require.True(t, ok)
	require.Equal(t, stmigrate.CurrentSession{Handle: minted.Handle, UserID: "ada", TenantID: "public"}, s)
	for name, change := range map[string]func(r *http.Request){
		"a broken signature": func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+good[:len(good)-8]+"AAAAAAAA") },
		"a session of an old SDK": func(r *http.Request) {
			r.Header.Set("Authorization", "Bearer "+good)
			r.AddCookie(&http.Cookie{Name: "sIdRefreshToken", Value: "x"})
		},
		"two access cookies": func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: "sAccessToken", Value: good})
			r.AddCookie(&http.Cookie{Name: "sAccessToken", Value: good})
		},
	} {
		_, ok := ask(change)
		assert.False(t, ok, name)
	}
	// Signed with the kind of key that the SDK is not configured for.
	sdkConfig{session: sessmodels.TypeInput{UseDynamicAccessTokenSigningKey: ptr(false)}}.init(t, memory.URL, "")
	_, ok = ask(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+good) })
	require.False(t, ok)
	sdkConfig{}.init(t, memory.URL, "")
	_, ok = ask(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+good) })
	require.True(t, ok)
	// In another way than the SDK is configured for.
	for method, r := range map[sessmodels.TokenTransferMethod]*http.Request{
		sessmodels.CookieTransferMethod: carryingHeader(good), sessmodels.HeaderTransferMethod: carryingCookie(good),
	} {
		sdkConfig{session: sessmodels.TypeInput{GetTokenTransferMethod: always(method)}}.init(t, memory.URL, "")
		_, ok, err := sessions.CurrentSession(t.Context(), r)
		require.NoError(t, err)
		require.False(t, ok, method)
	}
	sdkConfig{}.init(t, memory.URL, "")
	// A core that cannot be asked is an error, and not "no session".
	memory.Down()
	r := post()
	r.Header.Set("Authorization", "Bearer "+good)
	_, _, err = sessions.CurrentSession(t.Context(), r)
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	session.ResetForTest()
	sdkConfig{}.init(t, memory.URL, "") // without the keys that it had
	_, _, err = sessions.CurrentSession(t.Context(), r)
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
}
