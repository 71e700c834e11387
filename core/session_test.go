package core

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// recording is a file of conversations with a real core. What changes from run to run stands as its kind in it.
type recording struct {
	Steps []struct {
		Name, Method, Path string
		Headers, Query     map[string]string
		Body               map[string]any
	}
	Recorded map[string][]struct {
		Name   string
		Status int
		Type   string
		Body   any
	}
}

func readRecording(t testing.TB, file string) *recording {
	b, err := os.ReadFile("testdata/" + file)
	require.NoError(t, err)
	r := new(recording)
	require.NoError(t, json.Unmarshal([]byte(strings.ReplaceAll(string(b), `"<ms>"`, "1790000000123")), r))
	return r
}

// answerOf is the recorded answer's body.
func (r *recording) answerOf(version string, i int) []byte {
	if text, ok := r.Recorded[version][i].Body.(string); ok {
		return []byte(text)
	}
	b, err := json.Marshal(r.Recorded[version][i].Body)
	if err != nil {
		panic(err)
	}
	return b
}

// TestRecordings makes every recorded call that this client has, checks that it asks as was recorded, and that it
// understands what a real core answered.
func TestRecordings(t *testing.T) {
	var (
		ms    = time.UnixMilli(1790000000123)
		jwt   = &Token{Token: "<jwt>", Expiry: ms, Created: ms}
		rt    = &Token{Token: "<refresh>", Expiry: ms, Created: ms}
		admin = map[string]any{
			"role": "admin", "n": json.Number("1"), "nested": map[string]any{"a": []any{json.Number("1"), json.Number("2")}},
		}
		regen = map[string]any{"role": "regenerated"}
		none  = map[string]any{}
		u     = "auth0|{{uniq}}"
		ctx   = context.Background()
	)
	session := func(payload map[string]any) Session {
		return Session{Handle: "<uuid>", UserID: "auth0|<uniq>", RecipeUserID: "auth0|<uniq>", TenantID: "public", Payload: payload}
	}
	refresh := func(token, csrf string, enable bool) func(*Client) (any, error) {
		return func(c *Client) (any, error) {
			return c.RefreshSession(ctx, RefreshSession{RefreshToken: token, AntiCSRFToken: csrf, EnableAntiCSRF: enable})
		}
	}
	verify := func(v VerifySession) func(*Client) (any, error) {
		return func(c *Client) (any, error) { return c.VerifySession(ctx, v) }
	}
	mapping := func(id string, it IDType) func(*Client) (any, error) {
		return func(c *Client) (any, error) { return c.UserIDMapping(ctx, id, it) }
	}
	anID := &UserIDMapping{SuperTokensID: "<uuid>", ExternalID: "auth0|<uniq>", Info: "from auth0"}

	type call struct {
		step string
		call func(*Client) (any, error)
		want any
		err  error
	}
	calls := map[string][]call{
		"session.json": {
			{"health", func(c *Client) (any, error) { return nil, c.Ping(ctx) }, nil, nil},
			{"create", func(c *Client) (any, error) {
				return c.CreateSession(ctx, "", NewSession{
					UserID:  u,
					Payload: map[string]any{"role": "admin", "n": 1, "nested": map[string]any{"a": []int{1, 2}}},
					Data:    map[string]any{"legacyIssuer": "https://legacy.example/"},
				})
			}, &Tokens{Session: session(admin), Access: jwt, Refresh: rt}, nil},
			{"create with anti-csrf", func(c *Client) (any, error) {
				return c.CreateSession(ctx, "public", NewSession{UserID: u, AntiCSRF: true})
			}, &Tokens{Session: session(none), Access: jwt, Refresh: rt, AntiCSRF: "<uuid>"}, nil},
			{"create in a named tenant that does not exist", func(c *Client) (any, error) {
				return c.CreateSession(ctx, "nosuchtenant", NewSession{UserID: "u"})
			}, 400, nil},
			{"create in the public tenant by name", func(c *Client) (any, error) {
				s, err := c.CreateSession(ctx, "public", NewSession{UserID: "u-{{uniq}}", StaticKey: true})
				if err != nil {
					return nil, err
				}
				return s.UserID, nil
			}, "u-<uniq>", nil},
			{"create with a reserved claim", func(c *Client) (any, error) {
				payload := map[string]any{"sub": "evil", "sessionHandle": "x"}
				return c.CreateSession(ctx, "", NewSession{UserID: "u-{{uniq}}", Payload: payload})
			}, 400, nil},
			{"get", func(c *Client) (any, error) { return c.GetSession(ctx, "<uuid>") }, &SessionInfo{
				Session: session(admin), Data: map[string]any{"legacyIssuer": "https://legacy.example/"}, Expiry: ms, Created: ms,
			}, nil},
			{"get, unknown handle", func(c *Client) (any, error) { return c.GetSession(ctx, "nope") }, nil, ErrUnauthorised},
			{"verify", verify(VerifySession{AccessToken: "{{a}}"}), &Tokens{Session: session(admin)}, nil},
			{"verify against the database",
				verify(VerifySession{AccessToken: "{{a}}", CheckDatabase: true}), &Tokens{Session: session(admin)}, nil},
			{"verify, anti-csrf required and missing",
				verify(VerifySession{AccessToken: "{{a}}", CheckAntiCSRF: true, EnableAntiCSRF: true}), nil, ErrTryRefresh},
			{"verify, anti-csrf given",
				verify(VerifySession{AccessToken: "{{a}}", AntiCSRFToken: "{{c}}", CheckAntiCSRF: true, EnableAntiCSRF: true}),
				&Tokens{Session: session(none)}, nil},
			{"verify, not a token", verify(VerifySession{AccessToken: "abc"}), nil, ErrTryRefresh},
			{"put session data",
				func(c *Client) (any, error) { return nil, c.SetSessionData(ctx, "{{h}}", map[string]any{"seen": true}) }, nil, nil},
			{"put session data, unknown handle",
				func(c *Client) (any, error) { return nil, c.SetSessionData(ctx, "nope", nil) }, nil, ErrUnauthorised},
			{"put jwt data", func(c *Client) (any, error) {
				return nil, c.SetSessionPayload(ctx, "{{h}}", map[string]any{"role": "user"})
			}, nil, nil},
			{"put jwt data, unknown handle",
				func(c *Client) (any, error) { return nil, c.SetSessionPayload(ctx, "nope", nil) }, nil, ErrUnauthorised},
			{"regenerate", func(c *Client) (any, error) { return c.RegenerateSession(ctx, "{{a}}", regen) },
				&Tokens{Session: session(regen), Access: jwt}, nil},
			{"regenerate without new data", func(c *Client) (any, error) { return c.RegenerateSession(ctx, "{{a}}", nil) },
				&Tokens{Session: session(regen), Access: jwt}, nil},
			{"sessions of the user",
				func(c *Client) (any, error) { return c.UserSessions(ctx, "", u) }, []string{"<uuid>", "<uuid>"}, nil},
			{"sessions of an unknown user",
				func(c *Client) (any, error) { return c.UserSessions(ctx, "", "nobody-{{uniq}}") }, []string{}, nil},
			{"refresh", refresh("{{r}}", "", false), &Tokens{Session: session(regen), Access: jwt, Refresh: rt}, nil},
			{"refresh with the old token before the new one is used", refresh("{{r}}", "", false),
				&Tokens{Session: session(regen), Access: jwt, Refresh: rt}, nil},
			{"verify the refreshed access token", verify(VerifySession{AccessToken: "{{a}}", CheckDatabase: true}),
				&Tokens{Session: session(regen), Access: jwt}, nil},
			{"refresh with the first token: theft", refresh("{{r}}", "", false), nil, ErrTheft},
			{"refresh, not a token", refresh("abc", "", false), nil, ErrUnauthorised},
			{"refresh, anti-csrf required and missing", refresh("{{r}}", "", true), nil, ErrUnauthorised},
			{"refresh, anti-csrf given", refresh("{{r}}", "{{c}}", true),
				&Tokens{Session: session(none), Access: jwt, Refresh: rt, AntiCSRF: "<uuid>"}, nil},
			{"remove by handle",
				func(c *Client) (any, error) { return c.RemoveSessions(ctx, "{{h}}") }, []string{"<uuid>"}, nil},
			{"remove by handle again",
				func(c *Client) (any, error) { return c.RemoveSessions(ctx, "{{h}}") }, []string{}, nil},
			{"verify a removed session without the database",
				verify(VerifySession{AccessToken: "{{a}}"}), nil, ErrUnauthorised},
			{"verify a removed session against the database",
				verify(VerifySession{AccessToken: "{{a}}", CheckDatabase: true}), nil, ErrUnauthorised},
			{"remove all of a user",
				func(c *Client) (any, error) { return c.RemoveUserSessions(ctx, "", u) }, []string{"<uuid>"}, nil},
			{"jwks", func(c *Client) (any, error) {
				b, err := c.JWKS(ctx)
				return strings.Count(string(b), `"kid":`) == 2, err
			}, true, nil},
		},
		"userid-mapping.json": {
			{"get by external id", mapping("auth0|<uniq>", ExternalID), anID, nil},
			{"get by supertokens id", mapping("<uuid>", SuperTokensID), anID, nil},
			{"get by any id", mapping("auth0|<uniq>", AnyID), anID, nil},
			{"get unknown", mapping("nobody", AnyID), nil, ErrUnknownMapping},
			{"sessions listed by the external id",
				func(c *Client) (any, error) { return c.UserSessions(ctx, "", u) }, []string{"<uuid>"}, nil},
		},
	}
	for file, calls := range calls {
		rec := readRecording(t, file)
		for _, version := range cdiVersions {
			for _, tt := range calls {
				t.Run(file+"/"+version+"/"+tt.step, func(t *testing.T) {
					i := slices.IndexFunc(rec.Recorded[version], func(s struct {
						Name   string
						Status int
						Type   string
						Body   any
					}) bool {
						return s.Name == tt.step
					})
					require.GreaterOrEqual(t, i, 0)
					step, answer := rec.Steps[i], rec.Recorded[version][i]
					srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if r.URL.Path == "/apiversion" {
							assert.Equal(t, "the-key", r.Header.Get("api-key"))
							assert.Empty(t, r.Header.Get("cdi-version"))
							_, _ = io.WriteString(w, `{"versions":["2.7","`+version+`","9.9"]}`)
							return
						}
						path := strings.TrimPrefix(r.URL.Path, "/public")
						assert.Equal(t, step.Method+" "+strings.TrimPrefix(step.Path, "/public"), r.Method+" "+path)
						if strings.HasPrefix(tt.step, "create") {
							assert.Regexp(t, "^/(public|nosuchtenant)/recipe/session$", r.URL.Path)
						}
						if strings.Contains(path, "/recipe/") {
							assert.Equal(t, version, r.Header.Get("cdi-version"))
						}
						assert.Equal(t, strings.Contains(path, "/session") || path == "/recipe/jwt/data", r.Header.Get("rid") == "session")
						assert.Equal(t, path != jwksPath, r.Header.Get("api-key") == "the-key")
						assert.Empty(t, r.Header.Get("Idempotency-Key"))
						for k, v := range step.Query {
							if !strings.Contains(v, "{{") {
								assert.Equal(t, v, r.URL.Query().Get(k))
							}
							assert.True(t, r.URL.Query().Has(k), k)
						}
						if step.Body != nil {
							assert.Equal(t, "application/json; charset=utf-8", r.Header.Get("Content-Type"))
							var body map[string]any
							assert.NoError(t, json.NewDecoder(r.Body).Decode(&body))
							for k, v := range step.Body {
								if b, _ := json.Marshal(v); strings.Contains(string(b), "{{") {
									assert.NotEmpty(t, body[k], k)
								} else {
									assert.Equal(t, v, body[k], k)
								}
							}
							for k := range body {
								_, asked := step.Body[k]
								assert.True(t, asked || k == "useDynamicSigningKey" || k == "revokeAcrossAllTenants", k)
							}
						}
						w.Header().Set("Content-Type", answer.Type)
						w.WriteHeader(answer.Status)
						_, _ = w.Write(rec.answerOf(version, i))
					}))
					defer srv.Close()
					c, err := New(Config{ConnectionURI: srv.URL, APIKey: "the-key"})
					require.NoError(t, err)
					got, err := tt.call(c)

					var e *Error
					switch want := tt.want.(type) {
					case int:
						require.ErrorAs(t, err, &e)
						assert.Equal(t, want, e.Status)
						assert.Equal(t, strings.TrimSpace(answer.Body.(string)), e.Message)
						assert.True(t, e.NotDone())
						assert.False(t, e.Temporary())
						return
					case *Tokens:
						if version == "3.1" {
							without := *want
							without.RecipeUserID = ""
							tt.want = &without
						}
					case *SessionInfo:
						if version == "3.1" {
							without := *want
							without.RecipeUserID = ""
							tt.want = &without
						}
					}
					require.ErrorIs(t, err, tt.err)
					if tt.err == nil {
						assert.Equal(t, tt.want, got)
						return
					}
					require.ErrorAs(t, err, &e)
					assert.Equal(t, 200, e.Status)
					assert.False(t, e.Temporary())
					if m, _ := answer.Body.(map[string]any)["message"].(string); m != "" {
						assert.Equal(t, m, e.Message)
					}
					var theft *TheftError
					if assert.Equal(t, errors.Is(tt.err, ErrTheft), errors.As(err, &theft)); theft != nil {
						assert.Equal(t, TheftError{Handle: "<uuid>", UserID: "auth0|<uniq>"}, *theft)
					}
				})
			}
		}
	}
}

const (
	session52 = `"session":{"handle":"h","userId":"u","recipeUserId":"u","userDataInJWT":{},"tenantId":"public"}`
	access52  = `"accessToken":{"token":"at","expiry":1790000000000,"createdTime":1780000000000}`
	refresh52 = `"refreshToken":{"token":"rt","expiry":1790000000000,"createdTime":1780000000000}`
	created   = `{"status":"OK",` + session52 + "," + access52 + "," + refresh52 + `,"antiCsrfToken":"csrf"}`
)

// TestUselessAnswers: a 200 that lacks what it must have is an error that leaves the outcome open, never a zero value.
func TestUselessAnswers(t *testing.T) {
	ctx := context.Background()
	create := func(c *Client) (any, error) {
		s, err := c.CreateSession(ctx, "", NewSession{UserID: "u", AntiCSRF: true})
		if s == nil {
			return nil, err
		}
		return s, err
	}
	without := func(old, now string) string {
		out := strings.Replace(created, old, now, 1)
		require.NotEqual(t, created, out)
		return out
	}
	handles := func(c *Client) (any, error) { h, err := c.UserSessions(ctx, "", "u"); return any(h), err }
	removed := func(c *Client) (any, error) { h, err := c.RemoveSessions(ctx, "h"); return any(h), err }
	get := func(c *Client) (any, error) { return c.GetSession(ctx, "h") }
	info := `{"status":"OK","sessionHandle":"h","userId":"u","userDataInDatabase":{},"userDataInJWT":{},` +
		`"expiry":2,"timeCreated":1,"tenantId":"public"}`
	mapped := func(c *Client) (any, error) { return c.UserIDMapping(ctx, "st", SuperTokensID) }

	for _, tt := range []struct {
		name, body, err string
		call            func(*Client) (any, error)
	}{
		{"fine: create", created, "", create},
		{"empty", "", "not the JSON expected", create},
		{"page", "<html>sign in</html>", "not the JSON expected", create},
		{"array", "[]", "not the JSON expected", create},
		{"null", "null", "status", create},
		{"two values", created + created, "after top-level value", create},
		{"no status", without(`"status":"OK",`, ""), "status", create},
		{"other status", without(`"OK"`, `"MAYBE"`), `"MAYBE"`, create},
		{"no session", without(session52+",", ""), "session.handle", create},
		{"empty handle", without(`"handle":"h"`, `"handle":""`), "session.handle", create},
		{"no user", without(`"userId":"u"`, `"userId":""`), "session.userId", create},
		{"no tenant", without(`,"tenantId":"public"`, ""), "session.tenantId", create},
		{"other tenant", without(`"public"`, `"other"`), `tenant "other", not of "public"`, create},
		{"no payload", without(`"userDataInJWT":{}`, `"userDataInJWT":null`), "session.userDataInJWT", create},
		{"no access token", without(access52+",", ""), "accessToken", create},
		{"empty access token", without(`"token":"at"`, `"token":""`), "accessToken", create},
		{"no refresh token", without(","+refresh52, ""), "refreshToken", create},
		{"empty refresh token", without(`"token":"rt"`, `"token":""`), "refreshToken", create},
		{"no expiry", without(`"expiry":1790000000000,`, ""), "accessToken", create},
		{"expired before created", without(`"expiry":1790000000000`, `"expiry":1`), "accessToken", create},
		{"expiry of another type", without(`"expiry":1790000000000`, `"expiry":"soon"`), "not the JSON expected", create},
		{"no anti-CSRF token", without(`,"antiCsrfToken":"csrf"`, ""), "antiCsrfToken", create},
		{"verify: an empty new token", `{"status":"OK",` + session52 + `,"accessToken":{"token":""}}`, "accessToken",
			func(c *Client) (any, error) { return c.VerifySession(ctx, VerifySession{AccessToken: "t"}) }},
		{"theft of nothing", `{"status":"TOKEN_THEFT_DETECTED"}`, "session",
			func(c *Client) (any, error) { return c.RefreshSession(ctx, RefreshSession{RefreshToken: "t"}) }},
		{"fine: get", info, "", get},
		{"get: another handle", strings.Replace(info, `"h"`, `"i"`, 1), "sessionHandle", get},
		{"get: no data", strings.Replace(info, `"userDataInDatabase":{},`, "", 1), "userDataInDatabase", get},
		{"get: no tenant", strings.Replace(info, `,"tenantId":"public"`, "", 1), "tenantId", get},
		{"get: no expiry", strings.Replace(info, `"expiry":2`, `"expiry":0`, 1), "expiry", get},
		{"no handles", `{"status":"OK"}`, "session handles", handles},
		{"an empty handle", `{"status":"OK","sessionHandles":[""]}`, "session handles", handles},
		{"no handles revoked", `{"status":"OK","sessionHandles":[]}`, "session handles", removed},
		{"fine: mapping", `{"status":"OK","superTokensUserId":"st","externalUserId":"e"}`, "", mapped},
		{"half a mapping", `{"status":"OK","superTokensUserId":"st"}`, "mapping", mapped},
		{"mapping of another", `{"status":"OK","superTokensUserId":"e","externalUserId":"st"}`, "mapping", mapped},
		{"keys without keys", `{}`, "keys", func(c *Client) (any, error) { return c.JWKS(ctx) }},
		{"hello from elsewhere", "<html>It works!</html>", "Hello", func(c *Client) (any, error) { return nil, c.Ping(ctx) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, tt.body) })
			got, err := tt.call(c)
			if tt.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.err)
			assert.Empty(t, got)
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, 200, e.Status)
			assert.Equal(t, e.Method == "GET", e.NotDone())
		})
	}
}

// TestRefusedHere: nonsense is refused before anything is sent, as an error that says so.
func TestRefusedHere(t *testing.T) {
	ctx := context.Background()
	c, log := serve(t, func(http.ResponseWriter, *http.Request) {})
	for name, call := range map[string]func() error{
		"tenant":  func() error { _, err := c.CreateSession(ctx, "recipe", NewSession{UserID: "u"}); return err },
		"user":    func() error { _, err := c.CreateSession(ctx, "", NewSession{}); return err },
		"payload": func() error { return c.SetSessionPayload(ctx, "h", map[string]any{"f": func() {}}) },
		"number": func() error {
			return c.SetSessionPayload(ctx, "h", map[string]any{"a": []any{map[string]any{"b": json.Number("9223372036854775808")}}})
		},
		"number of a new session": func() error {
			_, err := c.CreateSession(ctx, "", NewSession{UserID: "u", Payload: map[string]any{"n": uint64(1 << 63)}})
			return err
		},
		"number in regenerate": func() error {
			_, err := c.RegenerateSession(ctx, "t", map[string]any{"n": json.Number("-1e400")})
			return err
		},
		"handle":       func() error { _, err := c.GetSession(ctx, ""); return err },
		"one handle":   func() error { _, err := c.RemoveSessions(ctx, "h", ""); return err },
		"access":       func() error { _, err := c.VerifySession(ctx, VerifySession{}); return err },
		"refresh":      func() error { _, err := c.RefreshSession(ctx, RefreshSession{}); return err },
		"regenerate":   func() error { _, err := c.RegenerateSession(ctx, "", nil); return err },
		"path in user": func() error { _, err := c.UserSessions(ctx, "../x", "u"); return err },
		"id type":      func() error { _, err := c.UserIDMapping(ctx, "u", 3); return err },
	} {
		var e *Error
		require.ErrorAs(t, call(), &e, name)
		assert.True(t, e.NotDone(), name)
		assert.False(t, e.Temporary(), name)
	}
	removed, err := c.RemoveSessions(ctx)
	assert.NoError(t, err)
	assert.Empty(t, removed)
	assert.Empty(t, log.Requests())
}

// TestTenantsAndEscapes: where tenants, handles and IDs go.
func TestTenantsAndEscapes(t *testing.T) {
	ctx := context.Background()
	odd := "a|b&userId=x?#/../é\"\n"
	c, log := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"status":"OK","sessionHandles":["h"],"sessionHandlesRevoked":["h"]}`)
	})
	for _, tenantID := range []string{"", "t1"} {
		_, err := c.UserSessions(ctx, tenantID, odd)
		require.NoError(t, err)
		_, err = c.RemoveUserSessions(ctx, tenantID, odd)
		require.NoError(t, err)
	}
	var got []string
	for _, r := range log.Requests() {
		if r.Path == "/apiversion" {
			continue
		}
		got = append(got, r.Method+" "+r.Path+" "+r.Query+string(r.Body))
	}
	escaped, _ := json.Marshal(odd)
	inQuery := "userId=a%7Cb%26userId%3Dx%3F%23%2F..%2F%C3%A9%22%0A"
	assert.Equal(t, []string{
		"GET /recipe/session/user fetchAcrossAllTenants=true&" + inQuery,
		`POST /recipe/session/remove {"revokeAcrossAllTenants":true,"userId":` + string(escaped) + "}",
		"GET /t1/recipe/session/user fetchAcrossAllTenants=false&" + inQuery,
		`POST /t1/recipe/session/remove {"revokeAcrossAllTenants":false,"userId":` + string(escaped) + "}",
	}, got)
}

func FuzzAnswer(f *testing.F) {
	for _, file := range []string{"session.json", "userid-mapping.json"} {
		rec := readRecording(f, file)
		for version := range rec.Recorded {
			for i := range rec.Recorded[version] {
				f.Add(rec.answerOf(version, i))
			}
		}
	}
	f.Add([]byte(created))
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := decodeAnswer(body)
		if err != nil {
			if a != nil {
				t.Fatal("an answer beside an error")
			}
			return
		}
		if s, err := a.tokens(wants{access: true, refresh: true, antiCSRF: true, tenantID: "public"}); err == nil {
			if s.Handle == "" || s.UserID == "" || s.TenantID != "public" || s.Payload == nil || s.AntiCSRF == "" ||
				s.Access.Token == "" || s.Refresh.Token == "" || s.Access.Expiry.Before(s.Access.Created) {
				t.Fatalf("accepted %q", body)
			}
		}
		if s, err := a.info("h"); err == nil && (s.Handle != "h" || s.UserID == "" || s.TenantID == "" || s.Data == nil) {
			t.Fatalf("accepted %q", body)
		}
	})
}
