// Package golang holds stmigrate to supertokens-golang on one core: what one of them mints the other verifies, refreshes and
// ends. It is a module of its own, since the SDK is nobody else's dependency.
package golang

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/supertokens/supertokens-golang/recipe/session"
	"github.com/supertokens/supertokens-golang/recipe/session/sessmodels"
	"github.com/supertokens/supertokens-golang/supertokens"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

const (
	apiDomain = "https://api.example.com"
	website   = "https://app.example.com"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// both starts the SDK, of which a process has one, and Sessions on one core.
func both(t *testing.T) (*stmigrate.Sessions, *stmigratetest.Core) {
	t.Helper()
	core := stmigratetest.NewCore(t)
	supertokens.ResetForTest()
	session.ResetForTest()
	off := false
	must(t, supertokens.Init(supertokens.TypeInput{
		Supertokens: &supertokens.ConnectionInfo{ConnectionURI: core.URL},
		AppInfo:     supertokens.AppInfo{AppName: "interop", APIDomain: apiDomain, WebsiteDomain: website},
		RecipeList:  []supertokens.Recipe{session.Init(nil)}, Telemetry: &off,
	}))
	s, err := stmigrate.NewSessions(stmigrate.SessionsConfig{Core: core.Client(), APIDomain: apiDomain, WebsiteOrigins: []string{website}})
	must(t, err)
	return s, core
}

// sdkVerify verifies an access token by the SDK, against the database.
func sdkVerify(accessToken string) (sessmodels.SessionContainer, error) {
	yes, no := true, false
	return session.GetSessionWithoutRequestResponse(accessToken, nil,
		&sessmodels.VerifySessionOptions{SessionRequired: &yes, AntiCsrfCheck: &no, CheckDatabase: &yes})
}

func verify(s *stmigrate.Sessions, accessToken string) (*stmigrate.Session, error) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+accessToken)
	return s.Verify(httptest.NewRecorder(), r, stmigrate.VerifyOptions{CheckDatabase: true})
}

func post(s *stmigrate.Sessions, path, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestMintedHere(t *testing.T) {
	s, core := both(t)
	minted, err := s.CreateSession(t.Context(), httptest.NewRequest(http.MethodPost, "/migrate-session", nil), stmigrate.User{
		ID: "legacy|ada", AccessTokenPayload: map[string]any{"role": "admin"},
	})
	must(t, err)
	seen, err := sdkVerify(minted.Header.Get("st-access-token"))
	must(t, err)
	if seen.GetUserID() != "legacy|ada" || seen.GetHandle() != minted.Handle || seen.GetAccessTokenPayload()["role"] != "admin" {
		t.Fatalf("the SDK sees user %s, session %s, payload %v", seen.GetUserID(), seen.GetHandle(), seen.GetAccessTokenPayload())
	}
	noCSRF := true
	refreshed, err := session.RefreshSessionWithoutRequestResponse(minted.Header.Get("st-refresh-token"), &noCSRF, nil)
	must(t, err)
	ours, err := verify(s, refreshed.GetAccessToken())
	must(t, err)
	if ours.Handle() != minted.Handle {
		t.Fatalf("after the SDK's refresh: session %s, want %s", ours.Handle(), minted.Handle)
	}
	ended, err := session.RevokeSession(minted.Handle)
	must(t, err)
	if !ended || len(core.Sessions()) != 0 {
		t.Fatalf("the SDK ended it: %v, %d sessions are left", ended, len(core.Sessions()))
	}
	if _, err := verify(s, refreshed.GetAccessToken()); err == nil {
		t.Fatal("a session that the SDK ended is verified here")
	}
}

func TestMintedThere(t *testing.T) {
	s, core := both(t)
	noCSRF := true
	minted, err := session.CreateNewSessionWithoutRequestResponse("public", "legacy|bob", map[string]any{"plan": "pro"}, map[string]any{}, &noCSRF)
	must(t, err)
	tokens := minted.GetAllSessionTokensDangerously()
	ours, err := verify(s, tokens.AccessToken)
	must(t, err)
	if ours.UserID() != "legacy|bob" || ours.AccessTokenPayload()["plan"] != "pro" {
		t.Fatalf("seen here: user %s, payload %v", ours.UserID(), ours.AccessTokenPayload())
	}
	w := post(s, "/auth/session/refresh", *tokens.RefreshToken)
	if w.Code != http.StatusOK {
		t.Fatalf("refreshed here: %d %s", w.Code, w.Body)
	}
	seen, err := sdkVerify(w.Header().Get("st-access-token"))
	must(t, err)
	if seen.GetHandle() != minted.GetHandle() {
		t.Fatalf("after the refresh here: session %s, want %s", seen.GetHandle(), minted.GetHandle())
	}
	if w := post(s, "/auth/signout", seen.GetAccessToken()); w.Code != http.StatusOK || len(core.Sessions()) != 0 {
		t.Fatalf("signed out here: %d %s, %d sessions are left", w.Code, w.Body, len(core.Sessions()))
	}
	if _, err := sdkVerify(seen.GetAccessToken()); err == nil {
		t.Fatal("a session that was ended here is verified by the SDK")
	}
}
