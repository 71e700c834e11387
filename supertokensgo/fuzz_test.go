package supertokensgo_test

import (
	"cmp"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/supertokens/supertokens-golang/recipe/session"
	"github.com/supertokens/supertokens-golang/recipe/session/sessmodels"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/supertokensgo"
)

// No bearer and no cookie makes the SDK panic, and CurrentSession finds the session that the SDK's VerifySession finds.
func FuzzRequests(f *testing.F) {
	sessions, _ := inMemory(f, sdkConfig{})
	minted, err := sessions.CreateSession(f.Context(), post(), stmigrate.User{ID: "ada"})
	require.NoError(f, err)
	good := minted.Header.Get("st-access-token")
	tokens := []string{"", "opaque", "a.b.V2", good, good[:len(good)-8] + "AAAAAAAA"}
	for _, token := range poison() {
		tokens = append(tokens, token)
	}
	for i, token := range tokens {
		f.Add("Bearer "+token, "", "")
		f.Add("bearer "+token, "sAccessToken="+good, "cookie")
		f.Add("Bearer Bearer "+token, "sAccessToken="+token+"; sIdRefreshToken=x", "header")
		f.Add("Bearer "+tokens[(i+1)%len(tokens)], `theme="a b"; sAccessToken=%zz; sAccessToken=`+token+"; sRefreshToken="+token, "COOKIE")
		f.Add("", "sAccessToken="+token+"; sAccessToken="+good, "any")
	}
	optional := &sessmodels.VerifySessionOptions{SessionRequired: ptr(false), AntiCsrfCheck: ptr(false), CheckDatabase: ptr(true)}
	f.Fuzz(func(t *testing.T, authorization, cookie, mode string) {
		request := func(path string) *http.Request {
			r := httptest.NewRequest(http.MethodPost, path, nil)
			for name, value := range map[string]string{"Authorization": authorization, "Cookie": cookie, "St-Auth-Mode": mode} {
				if value != "" {
					r.Header.Set(name, value)
				}
			}
			return r
		}
		current, ok, err := sessions.CurrentSession(t.Context(), request("/"))
		require.NoError(t, err)
		handle := ""
		supertokensgo.Require(optional)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			require.Equal(t, request("/").Header, r.Header)
			if s := session.GetSessionFromRequestContext(r.Context()); s != nil {
				handle = s.GetHandle()
			}
		})).ServeHTTP(httptest.NewRecorder(), request("/"))
		require.Equal(t, current.Handle, handle)
		require.Equal(t, ok, handle != "")
		told, err := sessions.RemindSession(t.Context(), request("/"), cmp.Or(current.Handle, "another"))
		require.NoError(t, err)
		require.True(t, ok || told == nil)
		for _, path := range []string{"/auth/session/refresh", "/auth/signout", "/auth/dashboard/signout"} {
			if !ok || !strings.HasSuffix(path, "/signout") {
				sdk(nil).ServeHTTP(httptest.NewRecorder(), request(path))
			}
		}
	})
}
