package revoke

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// golden is what a provider's documentation says that it answers.
type golden struct {
	Documentation []string
	Answers       []goldenAnswer
}

type goldenAnswer struct {
	Name, Source string
	Status       int
	Header       map[string]string
	Body         any
	Want         string
	RetryAfter   int `json:"retry_after_seconds"`
}

func readGolden(t *testing.T, name string) golden {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name + ".json")
	require.NoError(t, err)
	var g golden
	require.NoError(t, json.Unmarshal(data, &g))
	require.NotEmpty(t, g.Documentation)
	return g
}

func (g golden) find(name string) (goldenAnswer, bool) {
	i := slices.IndexFunc(g.Answers, func(a goldenAnswer) bool { return a.Name == name })
	if i < 0 {
		return goldenAnswer{}, false
	}
	return g.Answers[i], true
}

func (a goldenAnswer) write(w http.ResponseWriter) {
	for k, v := range a.Header {
		w.Header().Set(k, v)
	}
	w.WriteHeader(a.Status)
	switch body := a.Body.(type) {
	case nil:
	case string:
		_, _ = io.WriteString(w, body)
	default:
		_ = json.NewEncoder(w).Encode(body)
	}
}

// provider is a provider's API: what a request must be, and what one says.
type provider struct {
	golden string
	budget stmigrate.RevocationBudget
	open   func(base string, h HTTP) (stmigrate.Revoker, error)
	// calls are the requests that revoke the session, or the user's sessions, of that ID: "METHOD /path?query" and the body.
	calls func(id string) [][2]string
	// header is what each of them carries.
	header map[string]string
	// token is what the client of the session shows. Default: "token-" and the session's ID.
	token func(sessionID string) string
}

var apiKey = StaticToken("api-key-SECRET")

func findsRefreshToken(_ context.Context, _ string, s *stmigrate.OldSession) (string, error) {
	return "refresh-" + s.SessionID, nil
}

// unsignedJWT is a token whose signature nobody looks at here.
func unsignedJWT(claims string) string {
	return "e30." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + ".c2ln"
}

func call(method, path, body string) func(string) [][2]string {
	return func(id string) [][2]string {
		return [][2]string{{method + " " + strings.ReplaceAll(path, "{id}", id), strings.ReplaceAll(body, "{id}", id)}}
	}
}

var oneSession = map[string]provider{
	"Auth0": {"auth0", stmigrate.RevocationBudget{Calls: 10, Per: 4 * time.Second},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return NewAuth0(Auth0Config{BaseURL: base, Token: apiKey, HTTP: h})
		}, call("POST", "/api/v2/sessions/{id}/revoke", ""), bearer("api-key-SECRET"), nil},
	"Auth0, refresh tokens stay": {"auth0", stmigrate.RevocationBudget{Calls: 10, Per: 4 * time.Second},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return NewAuth0(Auth0Config{BaseURL: base, Token: apiKey, KeepRefreshTokens: true, HTTP: h})
		}, call("DELETE", "/api/v2/sessions/{id}", ""), bearer("api-key-SECRET"), nil},
	"Okta": {"okta", stmigrate.RevocationBudget{Calls: 1000, Per: time.Minute},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return NewOkta(OktaConfig{BaseURL: base + "/", Token: apiKey, HTTP: h})
		}, call("DELETE", "/api/v1/sessions/{id}", ""), bearer("api-key-SECRET"), nil},
	"Okta, API token": {"okta", stmigrate.RevocationBudget{Calls: 1000, Per: time.Minute},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return NewOkta(OktaConfig{BaseURL: base, Token: apiKey, APIToken: true, HTTP: h})
		}, call("DELETE", "/api/v1/sessions/{id}", ""), map[string]string{"Authorization": "SSWS api-key-SECRET"}, nil},
	"Keycloak": {"keycloak", stmigrate.RevocationBudget{},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return NewKeycloak(KeycloakConfig{BaseURL: base + "/auth", Realm: "my/realm", Token: apiKey, HTTP: h})
		}, call("DELETE", "/auth/admin/realms/my%2Frealm/sessions/{id}", ""), bearer("api-key-SECRET"), nil},
	"Keycloak, offline": {"keycloak", stmigrate.RevocationBudget{},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return NewKeycloak(KeycloakConfig{BaseURL: base, Realm: "r", Token: apiKey, Offline: true, HTTP: h})
		}, call("DELETE", "/admin/realms/r/sessions/{id}?isOffline=true", ""), bearer("api-key-SECRET"), nil},
	"Cognito": {"cognito", stmigrate.RevocationBudget{Calls: 120, Per: time.Second},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return NewCognito(CognitoConfig{Region: "eu-west-1", ClientID: "app", ClientSecret: "SECRET", Token: findsRefreshToken, BaseURL: base, HTTP: h})
		}, call("POST", "/", `{"ClientId":"app","ClientSecret":"SECRET","Token":"refresh-{id}"}`),
		map[string]string{"X-Amz-Target": "AWSCognitoIdentityProviderService.RevokeToken", "Content-Type": "application/x-amz-json-1.1"}, nil},
	"Clerk": {"clerk", stmigrate.RevocationBudget{Calls: 1000, Per: 10 * time.Second},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return NewClerk(ClerkConfig{Token: apiKey, BaseURL: base, HTTP: h})
		}, call("POST", "/v1/sessions/{id}/revoke", ""), bearer("api-key-SECRET"), nil},
	"WorkOS": {"workos", stmigrate.RevocationBudget{Calls: 500, Per: 10 * time.Second},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return NewWorkOS(WorkOSConfig{Token: apiKey, BaseURL: base, HTTP: h})
		}, call("POST", "/user_management/sessions/revoke", `{"session_id":"{id}"}`), bearer("api-key-SECRET"), nil},
	"Stytch": {"stytch", stmigrate.RevocationBudget{},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return NewStytch(StytchConfig{ProjectID: "project", Secret: "SECRET", BaseURL: base, HTTP: h})
		}, call("POST", "/v1/sessions/revoke", `{"session_id":"{id}"}`), map[string]string{"Authorization": "Basic cHJvamVjdDpTRUNSRVQ="}, nil},
	"Stytch B2B": {"stytch", stmigrate.RevocationBudget{},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return NewStytch(StytchConfig{ProjectID: "project", Secret: "SECRET", B2B: true, BaseURL: base, HTTP: h})
		}, call("POST", "/v1/b2b/sessions/revoke", `{"member_session_id":"{id}"}`), map[string]string{"Authorization": "Basic cHJvamVjdDpTRUNSRVQ="}, nil},
	"Supabase": {"supabase", stmigrate.RevocationBudget{},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return NewSupabase(SupabaseConfig{BaseURL: base, APIKey: "anon", HTTP: h})
		}, nil, map[string]string{"Apikey": "anon"}, func(id string) string { return unsignedJWT(`{"session_id":"` + id + `"}`) }},
	"Descope": {"descope", stmigrate.RevocationBudget{},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return NewDescope(DescopeConfig{ProjectID: "P2project", Token: findsRefreshToken, BaseURL: base, HTTP: h})
		}, nil, map[string]string{"Content-Type": "application/json"}, nil},
	"Zitadel": {"zitadel", stmigrate.RevocationBudget{},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return NewZitadel(ZitadelConfig{BaseURL: base, Token: apiKey, HTTP: h})
		}, call("DELETE", "/v2/sessions/{id}", "{}"), bearer("api-key-SECRET"), nil},
}

var allSessions = map[string]provider{
	"Auth0": {"auth0-user", stmigrate.RevocationBudget{Calls: 10, Per: 4 * time.Second},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return Auth0RevokeAllSessionsOfUser(Auth0Config{BaseURL: base, Token: apiKey, HTTP: h})
		}, func(id string) [][2]string {
			return [][2]string{{"DELETE /api/v2/users/" + id + "/refresh-tokens", ""}, {"DELETE /api/v2/users/" + id + "/sessions", ""}}
		}, bearer("api-key-SECRET"), nil},
	"Auth0, refresh tokens stay": {"auth0-user", stmigrate.RevocationBudget{Calls: 10, Per: 4 * time.Second},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return Auth0RevokeAllSessionsOfUser(Auth0Config{BaseURL: base, Token: apiKey, KeepRefreshTokens: true, HTTP: h})
		}, call("DELETE", "/api/v2/users/{id}/sessions", ""), bearer("api-key-SECRET"), nil},
	"Okta": {"okta-user", stmigrate.RevocationBudget{Calls: 1000, Per: time.Minute},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return OktaRevokeAllSessionsOfUser(OktaConfig{BaseURL: base, Token: apiKey, HTTP: h})
		}, call("DELETE", "/api/v1/users/{id}/sessions?oauthTokens=true", ""), bearer("api-key-SECRET"), nil},
	"Keycloak": {"keycloak-user", stmigrate.RevocationBudget{},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return KeycloakRevokeAllSessionsOfUser(KeycloakConfig{BaseURL: base, Realm: "r", Token: apiKey, HTTP: h})
		}, call("POST", "/admin/realms/r/users/{id}/logout", ""), bearer("api-key-SECRET"), nil},
	"Cognito": {"cognito-user", stmigrate.RevocationBudget{Calls: 120, Per: time.Second},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return CognitoRevokeAllSessionsOfUser(CognitoUserConfig{Region: "us-gov-west-1", BaseURL: base, HTTP: h})
		}, call("POST", "/", `{"AccessToken":"token-SECRET-{id}"}`),
		map[string]string{"X-Amz-Target": "AWSCognitoIdentityProviderService.GlobalSignOut"}, func(string) string { return "token-SECRET-ada" }},
	"Firebase": {"firebase", stmigrate.RevocationBudget{Calls: 10, Per: time.Second},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return FirebaseRevokeAllSessionsOfUser(FirebaseConfig{ProjectID: "p", Token: apiKey, BaseURL: base, HTTP: h})
		}, call("POST", "/v1/projects/p/accounts:update", `{"localId":"{id}","validSince":"1800000000"}`), bearer("api-key-SECRET"), nil},
	"Firebase, tenant": {"firebase", stmigrate.RevocationBudget{Calls: 10, Per: time.Second},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return FirebaseRevokeAllSessionsOfUser(FirebaseConfig{ProjectID: "p", TenantID: "t", Token: apiKey, BaseURL: base, HTTP: h})
		}, call("POST", "/v1/projects/p/tenants/t/accounts:update", `{"localId":"{id}","validSince":"1800000000"}`), bearer("api-key-SECRET"), nil},
	"Supabase": {"supabase", stmigrate.RevocationBudget{},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return SupabaseRevokeAllSessionsOfUser(SupabaseConfig{BaseURL: base, APIKey: "anon", HTTP: h})
		}, call("POST", "/auth/v1/logout?scope=global", ""), bearer("token-SECRET-ada"), func(string) string { return "token-SECRET-ada" }},
	"Entra": {"entra-user", stmigrate.RevocationBudget{Calls: 3000, Per: 150 * time.Second},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return EntraRevokeAllSessionsOfUser(EntraConfig{TenantID: entraTenant, Token: apiKey, BaseURL: base, HTTP: h})
		}, call("POST", "/v1.0/users/"+entraUser+"/revokeSignInSessions", ""), bearer("api-key-SECRET"),
		func(string) string { return "token-SECRET-ada" }}, // its claims, which the session has
	"Descope": {"descope-user", stmigrate.RevocationBudget{Calls: 500, Per: time.Minute},
		func(base string, h HTTP) (stmigrate.Revoker, error) {
			return DescopeRevokeAllSessionsOfUser(DescopeUserConfig{ProjectID: "P2project", Token: apiKey, BaseURL: base, HTTP: h})
		}, call("POST", "/v1/mgmt/user/logout", `{"userId":"{id}"}`), bearer("P2project:api-key-SECRET"), nil},
}

const (
	entraTenant = "11111111-2222-3333-4444-555555555555"
	entraUser   = "6e7b768e-07e2-4810-8459-485f84f8f204"
)

// adas is a session of hers. At Entra she is known by its claims.
func adas(sessionID string) *stmigrate.OldSession {
	return &stmigrate.OldSession{Subject: "ada", SessionID: sessionID, Claims: map[string]any{"tid": entraTenant, "oid": entraUser}}
}

func bearer(token string) map[string]string {
	return map[string]string{"Authorization": "Bearer " + token}
}

func (p provider) shown(sessionID string) string {
	if p.token != nil {
		return p.token(sessionID)
	}
	return "token-" + sessionID
}

// fakeAPI answers a provider's calls as its documentation says. It knows the sessions that were opened at it.
type fakeAPI struct {
	mu       sync.Mutex
	provider provider
	golden   golden
	ended    map[string]bool // by session ID; a key for each session
	broken   bool
	strange  []string // requests that are no call of the provider's
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	body, _ := io.ReadAll(r.Body)
	if f.broken {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	for name, want := range f.provider.header {
		if r.Header.Get(name) != want {
			f.strange = append(f.strange, name+": "+r.Header.Get(name))
		}
	}
	for id, over := range f.ended {
		if !f.isCall(r, string(body), id) {
			continue
		}
		f.ended[id] = true
		answer, _ := f.golden.find("success")
		if documented, ok := f.golden.find("over"); over && ok {
			answer = documented
		}
		answer.write(w)
		return
	}
	f.strange = append(f.strange, r.Method+" "+r.RequestURI+" "+string(body))
	w.WriteHeader(http.StatusTeapot)
}

func (f *fakeAPI) isCall(r *http.Request, body, id string) bool {
	if f.provider.calls == nil { // a token says which
		switch r.Method + " " + r.RequestURI {
		case "POST /auth/v1/logout?scope=local": // Supabase
			return r.Header.Get("Authorization") == "Bearer "+f.provider.shown(id)
		case "POST /v1/auth/logout": // Descope
			return r.Header.Get("Authorization") == "Bearer P2project:refresh-"+id
		}
		return false
	}
	return f.provider.calls(id)[0] == [2]string{r.Method + " " + r.RequestURI, body}
}

func TestProvidersAreRevokers(t *testing.T) {
	t.Parallel()
	for name, p := range oneSession {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stmigratetest.TestRevoker(t, func(t *testing.T) stmigratetest.RevokerUnderTest {
				f := &fakeAPI{provider: p, golden: readGolden(t, p.golden), ended: make(map[string]bool)}
				r, err := p.open(serve(t, f.ServeHTTP), HTTP{})
				require.NoError(t, err)
				t.Cleanup(func() { assert.Empty(t, f.strange) })
				ids := make(map[string]string)
				return stmigratetest.RevokerUnderTest{
					Revoker: r,
					SignIn: func(user string) (string, *stmigrate.OldSession) {
						f.mu.Lock()
						defer f.mu.Unlock()
						id := "sid-" + string(rune('a'+len(ids)))
						f.ended[id] = false
						ids[p.shown(id)] = id
						return p.shown(id), &stmigrate.OldSession{Issuer: "https://legacy.example/", Subject: user, SessionID: id}
					},
					Ended: func(token string) bool {
						f.mu.Lock()
						defer f.mu.Unlock()
						return f.ended[ids[token]]
					},
					Break: func() {
						f.mu.Lock()
						defer f.mu.Unlock()
						f.broken = true
					},
				}
			})
		})
	}
}

// Every answer that a provider documents means to the worker what it should.
func TestProvidersAnswers(t *testing.T) {
	t.Parallel()
	for kind, providers := range map[string]map[string]provider{"one session": oneSession, "all sessions": allSessions} {
		for name, p := range providers {
			for _, answer := range readGolden(t, p.golden).Answers {
				t.Run(kind+", "+name+", "+answer.Name, func(t *testing.T) {
					t.Parallel()
					require.Contains(t, []string{"documented", "observed", "assumed"}, answer.Source)
					u := serve(t, func(w http.ResponseWriter, _ *http.Request) { answer.write(w) })
					r, err := p.open(u, HTTP{Now: newClock().Now})
					require.NoError(t, err)
					err = r.Revoke(t.Context(), p.shown("sid-SECRET"), adas("sid-SECRET"))
					assert.Equal(t, answer.Want, kindOf(t, err))
					assert.Equal(t, time.Duration(answer.RetryAfter)*time.Second, retryAfter(err))
					if err != nil {
						assert.NotContains(t, err.Error(), "SECRET")
					}
				})
			}
		}
	}
}

func TestAllSessionsOfUser(t *testing.T) {
	t.Parallel()
	for name, p := range allSessions {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got [][2]string
			u := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				for k, want := range p.header {
					assert.Equal(t, want, r.Header.Get(k))
				}
				got = append(got, [2]string{r.Method + " " + r.RequestURI, string(body)})
				success, ok := readGolden(t, p.golden).find("success")
				assert.True(t, ok)
				success.write(w)
			})
			r, err := p.open(u, HTTP{Now: newClock().Now})
			require.NoError(t, err)
			require.IsType(t, (*AllSessionsOfUser)(nil), r, "its type says what it ends")
			require.NoError(t, r.Revoke(t.Context(), p.shown(""), adas("")))
			assert.Equal(t, p.calls("ada"), got)
			assert.Equal(t, permanentKind, kindOf(t, r.Revoke(t.Context(), p.shown(""), nil)))
			for _, subject := range []string{"", "..", "a\nb"} {
				if p.token == nil { // the others name the user by the token
					got = nil
					assert.Equal(t, permanentKind, kindOf(t, r.Revoke(t.Context(), p.shown(""), &stmigrate.OldSession{Subject: subject})), "%q", subject)
					assert.Empty(t, got)
				}
			}
			assert.Equal(t, p.budget, r.(*AllSessionsOfUser).Budget())
		})
	}
}

// A page that answers everybody with 200 is no provider where 200 is not what it documents.
func TestUndocumentedSuccess(t *testing.T) {
	t.Parallel()
	u := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") })
	for name, p := range oneSession {
		success, _ := readGolden(t, p.golden).find("success")
		r, err := p.open(u, HTTP{})
		require.NoError(t, err)
		err = r.Revoke(t.Context(), p.shown("sid"), adas("sid"))
		assert.Equal(t, success.Status == http.StatusOK, err == nil, name)
	}
}

func TestBudgets(t *testing.T) {
	t.Parallel()
	for name, p := range oneSession {
		r, err := p.open("https://legacy.example", HTTP{})
		require.NoError(t, err)
		assert.Equal(t, p.budget, r.(interface {
			Budget() stmigrate.RevocationBudget
		}).Budget(), name)
	}
}

// A session ID cannot leave its place in the address, and one that cannot be an ID calls nobody.
func TestIDsInAddresses(t *testing.T) {
	t.Parallel()
	var got []string
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.RequestURI)
		w.WriteHeader(http.StatusAccepted)
	})
	auth0, err := NewAuth0(Auth0Config{BaseURL: u, Token: apiKey, KeepRefreshTokens: true})
	require.NoError(t, err)
	for id, want := range map[string]string{
		"plain":                   "plain",
		"../users/auth0|1":        "..%2Fusers%2Fauth0%7C1",
		"a/b":                     "a%2Fb",
		"a?b=c#d":                 "a%3Fb=c%23d",
		"%2e%2e":                  "%252e%252e",
		"a b":                     "a%20b",
		"ä":                       "%C3%A4",
		"...":                     "...",
		"a;b":                     "a%3Bb",
		`a\b`:                     "a%5Cb",
		"":                        "",
		".":                       "",
		"..":                      "",
		"a\nb":                    "",
		"a\x00b":                  "",
		"a\x7f":                   "",
		"\xff":                    "",
		strings.Repeat("x", 1025): "",
	} {
		got = nil
		err := auth0.Revoke(t.Context(), "token", &stmigrate.OldSession{SessionID: id})
		if want == "" {
			assert.Equal(t, permanentKind, kindOf(t, err), "%.20q", id)
			assert.Empty(t, got)
			continue
		}
		assert.NoError(t, err, id)
		assert.Equal(t, []string{"/api/v2/sessions/" + want}, got)
	}
	err = auth0.Revoke(t.Context(), "token", &stmigrate.OldSession{})
	assert.ErrorContains(t, err, "SessionIDClaims", "it says what to configure")
	assert.ErrorContains(t, err, "sid")
	assert.Equal(t, permanentKind, kindOf(t, auth0.Revoke(t.Context(), "token", nil)))
}

// The same holds where other parts of an address or a header come from the session.
func TestIDsInOtherAddresses(t *testing.T) {
	t.Parallel()
	var got []string
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		got = append(got, r.Method+" "+r.RequestURI)
		w.WriteHeader(http.StatusInternalServerError)
	})
	zitadel, err := NewZitadel(ZitadelConfig{BaseURL: u, Token: apiKey})
	require.NoError(t, err)
	for _, id := range []string{"", ".", "..", "a\nb", "a\x00b", "\xff", strings.Repeat("x", 1025)} {
		assert.Equal(t, permanentKind, kindOf(t, zitadel.Revoke(t.Context(), "token", &stmigrate.OldSession{SessionID: id})), "%.20q", id)
	}
	assert.Empty(t, got)
	s := &stmigrate.OldSession{Subject: "ada", SessionID: "../../roles/1#"}
	assert.Equal(t, temporaryKind, kindOf(t, zitadel.Revoke(t.Context(), "token", s)))
	assert.Equal(t, []string{"DELETE /v2/sessions/..%2F..%2Froles%2F1%23"}, got)

	got = nil
	for _, token := range []string{"", "two\nlines", "a b", "\x00", strings.Repeat("x", 16<<10+1)} {
		descope, err := NewDescope(DescopeConfig{ProjectID: "P2", BaseURL: u, Token: func(context.Context, string, *stmigrate.OldSession) (string, error) {
			return token, nil
		}})
		require.NoError(t, err)
		assert.Equal(t, permanentKind, kindOf(t, descope.Revoke(t.Context(), "token", adas("sid"))), "%.20q", token)
	}
	assert.Empty(t, got)
}

// Entra knows a user by tenant and object ID. No other name of a user gets into the address, and no user of another tenant.
func TestEntraUser(t *testing.T) {
	t.Parallel()
	called := false
	u := serve(t, func(http.ResponseWriter, *http.Request) { called = true })
	r, err := EntraRevokeAllSessionsOfUser(EntraConfig{TenantID: entraTenant, Token: apiKey, BaseURL: u})
	require.NoError(t, err)
	for name, claims := range map[string]map[string]any{
		"no claims":               nil,
		"another tenant":          {"tid": "99999999-2222-3333-4444-555555555555", "oid": entraUser},
		"no tenant":               {"oid": entraUser},
		"a tenant that is a list": {"tid": []any{entraTenant}, "oid": entraUser},
		"no user":                 {"tid": entraTenant},
		"a user's name":           {"tid": entraTenant, "oid": "ada@contoso.com"},
		"a path":                  {"tid": entraTenant, "oid": "../groups/" + entraUser},
		"me":                      {"tid": entraTenant, "oid": "me"},
		"upper case":              {"tid": entraTenant, "oid": strings.ToUpper(entraUser)},
		"a line break behind":     {"tid": entraTenant, "oid": entraUser + "\n"},
		"a number":                {"tid": entraTenant, "oid": json.Number("1")},
		"a guest":                 {"tid": entraTenant, "oid": entraUser, "idp": "https://sts.windows.net/99999999-2222-3333-4444-555555555555/"},
		"a guest by e-mail":       {"tid": entraTenant, "oid": entraUser, "idp": "mail"},
		"an idp that is a list":   {"tid": entraTenant, "oid": entraUser, "idp": []any{"https://sts.windows.net/" + entraTenant + "/"}},
	} {
		err := r.Revoke(t.Context(), "token", &stmigrate.OldSession{Subject: entraTenant + "." + entraUser, Claims: claims})
		assert.Equal(t, permanentKind, kindOf(t, err), name)
		if err != nil {
			assert.NotContains(t, err.Error(), "contoso", name)
		}
	}
	assert.False(t, called)
	for _, own := range []string{"https://sts.windows.net/" + entraTenant + "/", "https://login.microsoftonline.com/" + entraTenant + "/v2.0"} {
		called = false
		_ = r.Revoke(t.Context(), "token", &stmigrate.OldSession{Claims: map[string]any{"tid": entraTenant, "oid": entraUser, "idp": own}})
		assert.True(t, called, own)
	}
}

// Supabase ends all sessions of the user for a token without a session, whatever the scope.
func TestSupabaseEndsNoOthers(t *testing.T) {
	t.Parallel()
	called := false
	u := serve(t, func(http.ResponseWriter, *http.Request) { called = true })
	r, err := NewSupabase(SupabaseConfig{BaseURL: u, APIKey: "anon"})
	require.NoError(t, err)
	for _, token := range []string{
		unsignedJWT(`{}`), unsignedJWT(`{"session_id":"another"}`), unsignedJWT(`{"Session_ID":"sid"}`), unsignedJWT(`{"session_id":["sid"]}`),
		unsignedJWT(`no JSON`), "a.%.c", "opaque", "", "two\nlines",
	} {
		assert.Equal(t, permanentKind, kindOf(t, r.Revoke(t.Context(), token, &stmigrate.OldSession{SessionID: "sid"})), token)
	}
	assert.Equal(t, permanentKind, kindOf(t, r.Revoke(t.Context(), unsignedJWT(`{"session_id":""}`), &stmigrate.OldSession{})))
	assert.False(t, called)
}

// The credential is asked for each call; without one nothing is called.
func TestTokenSource(t *testing.T) {
	t.Parallel()
	called := false
	u := serve(t, func(http.ResponseWriter, *http.Request) { called = true })
	for name, tt := range map[string]struct {
		token string
		err   error
		want  string
		after time.Duration
	}{
		"good":                 {"key", nil, revoked, 0},
		"none":                 {"", nil, permanentKind, 0},
		"with a line break":    {"key\n", nil, permanentKind, 0},
		"not to be had":        {"", io.ErrUnexpectedEOF, temporaryKind, 0},
		"not to be had at all": {"", permanent("the key is withdrawn"), permanentKind, 0},
		"limited":              {"", &stmigrate.RevokeError{Err: io.EOF, RetryAfter: time.Minute}, temporaryKind, time.Minute},
	} {
		called = false
		r, err := NewClerk(ClerkConfig{BaseURL: u, Token: func(context.Context) (string, error) { return tt.token, tt.err }})
		require.NoError(t, err)
		err = r.Revoke(t.Context(), "token", &stmigrate.OldSession{SessionID: "sid"})
		assert.Equal(t, tt.want, kindOf(t, err), name)
		assert.Equal(t, tt.after, retryAfter(err), name)
		assert.Equal(t, tt.want == revoked, called, name)

		called = false
		descope, err := DescopeRevokeAllSessionsOfUser(DescopeUserConfig{ProjectID: "P2", BaseURL: u,
			Token: func(context.Context) (string, error) { return tt.token, tt.err }})
		require.NoError(t, err)
		assert.Equal(t, tt.want, kindOf(t, descope.Revoke(t.Context(), "token", adas(""))), "with the project before it, "+name)
		assert.Equal(t, tt.want == revoked, called, name)
	}
}

func TestProviderConfigurations(t *testing.T) {
	t.Parallel()
	for field, open := range map[string]func() (any, error){
		"Auth0Config.BaseURL: required":   func() (any, error) { return NewAuth0(Auth0Config{Token: apiKey}) },
		"Auth0Config.BaseURL: \"http://":  func() (any, error) { return NewAuth0(Auth0Config{BaseURL: "http://a.example", Token: apiKey}) },
		"Auth0Config.BaseURL: \"https://": func() (any, error) { return NewAuth0(Auth0Config{BaseURL: "https://a.example/?a", Token: apiKey}) },
		"Auth0Config.Token":               func() (any, error) { return Auth0RevokeAllSessionsOfUser(Auth0Config{BaseURL: "https://a.example"}) },
		"Auth0Config.HTTP.Timeout": func() (any, error) {
			return NewAuth0(Auth0Config{BaseURL: "https://a.example", Token: apiKey, HTTP: HTTP{Timeout: -1}})
		},
		"OktaConfig.Token":                 func() (any, error) { return NewOkta(OktaConfig{BaseURL: "https://a.example"}) },
		"KeycloakConfig.Realm is required": func() (any, error) { return NewKeycloak(KeycloakConfig{BaseURL: "https://a.example", Token: apiKey}) },
		"KeycloakConfig.Realm is no ID": func() (any, error) {
			return NewKeycloak(KeycloakConfig{BaseURL: "https://a.example", Realm: "..", Token: apiKey})
		},
		"CognitoConfig.Region": func() (any, error) {
			return NewCognito(CognitoConfig{Region: "evil.example/", ClientID: "app", Token: findsRefreshToken})
		},
		"CognitoConfig.ClientID":   func() (any, error) { return NewCognito(CognitoConfig{Region: "eu-west-1", Token: findsRefreshToken}) },
		"CognitoConfig.Token":      func() (any, error) { return NewCognito(CognitoConfig{Region: "eu-west-1", ClientID: "app"}) },
		"CognitoUserConfig.Region": func() (any, error) { return CognitoRevokeAllSessionsOfUser(CognitoUserConfig{}) },
		"FirebaseConfig.ProjectID": func() (any, error) { return FirebaseRevokeAllSessionsOfUser(FirebaseConfig{Token: apiKey}) },
		"FirebaseConfig.TenantID": func() (any, error) {
			return FirebaseRevokeAllSessionsOfUser(FirebaseConfig{ProjectID: "p", TenantID: "..", Token: apiKey})
		},
		"FirebaseConfig.Token":         func() (any, error) { return FirebaseRevokeAllSessionsOfUser(FirebaseConfig{ProjectID: "p"}) },
		"ClerkConfig.Token":            func() (any, error) { return NewClerk(ClerkConfig{}) },
		"WorkOSConfig.Token":           func() (any, error) { return NewWorkOS(WorkOSConfig{}) },
		"StytchConfig.Secret":          func() (any, error) { return NewStytch(StytchConfig{ProjectID: "p"}) },
		"SupabaseConfig.APIKey":        func() (any, error) { return NewSupabase(SupabaseConfig{BaseURL: "https://a.example"}) },
		"SupabaseConfig.BaseURL":       func() (any, error) { return NewSupabase(SupabaseConfig{APIKey: "anon"}) },
		"EntraConfig.TenantID is \"\"": func() (any, error) { return EntraRevokeAllSessionsOfUser(EntraConfig{Token: apiKey}) },
		"EntraConfig.TenantID is \"common\"": func() (any, error) {
			return EntraRevokeAllSessionsOfUser(EntraConfig{TenantID: "common", Token: apiKey})
		},
		"EntraConfig.Token":           func() (any, error) { return EntraRevokeAllSessionsOfUser(EntraConfig{TenantID: entraTenant}) },
		"DescopeConfig.ProjectID":     func() (any, error) { return NewDescope(DescopeConfig{Token: findsRefreshToken}) },
		"DescopeConfig.Token":         func() (any, error) { return NewDescope(DescopeConfig{ProjectID: "p"}) },
		"DescopeUserConfig.ProjectID": func() (any, error) { return DescopeRevokeAllSessionsOfUser(DescopeUserConfig{Token: apiKey}) },
		"DescopeUserConfig.ProjectID is no ID": func() (any, error) {
			return DescopeRevokeAllSessionsOfUser(DescopeUserConfig{ProjectID: "p\n", Token: apiKey})
		},
		"DescopeUserConfig.Token": func() (any, error) { return DescopeRevokeAllSessionsOfUser(DescopeUserConfig{ProjectID: "p"}) },
		"ZitadelConfig.Token":     func() (any, error) { return NewZitadel(ZitadelConfig{BaseURL: "https://a.example"}) },
		"ZitadelConfig.BaseURL":   func() (any, error) { return NewZitadel(ZitadelConfig{Token: apiKey}) },
	} {
		_, err := open()
		assert.ErrorContains(t, err, field)
	}
	// Where there is one address, it needs none.
	for _, open := range []func() (any, error){
		func() (any, error) {
			return NewCognito(CognitoConfig{Region: "eu-west-1", ClientID: "app", Token: findsRefreshToken})
		},
		func() (any, error) {
			return FirebaseRevokeAllSessionsOfUser(FirebaseConfig{ProjectID: "p", Token: apiKey})
		},
		func() (any, error) { return NewClerk(ClerkConfig{Token: apiKey}) },
		func() (any, error) { return NewWorkOS(WorkOSConfig{Token: apiKey}) },
		func() (any, error) { return NewStytch(StytchConfig{ProjectID: "p", Secret: "s"}) },
		func() (any, error) {
			return EntraRevokeAllSessionsOfUser(EntraConfig{TenantID: entraTenant, Token: apiKey})
		},
		func() (any, error) { return NewDescope(DescopeConfig{ProjectID: "p", Token: findsRefreshToken}) },
		func() (any, error) {
			return DescopeRevokeAllSessionsOfUser(DescopeUserConfig{ProjectID: "p", Token: apiKey})
		},
	} {
		_, err := open()
		assert.NoError(t, err)
	}
}
