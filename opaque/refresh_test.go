package opaque

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/ask"
	"github.com/stmigrate/stmigrate/revoke"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// vouch takes the access token "at" and the ID token "id".
func vouch(_ context.Context, token string) (*stmigrate.OldSession, error) {
	switch token {
	case "at", "id":
		return &stmigrate.OldSession{Issuer: issuer, Subject: "by " + token}, nil
	case "later":
		return nil, stmigrate.ErrUnavailable
	}
	return nil, stmigrate.ErrNotMine
}

func refresh(t testing.TB, p *provider, c *clock, change ...func(*RefreshConfig)) *Refresh {
	t.Helper()
	cfg := RefreshConfig{
		Endpoint: p.URL + "/token", Client: backend, Issuer: issuer, Verifier: stmigrate.VerifierFunc(vouch), HTTP: here, Now: c.Now,
	}
	for _, f := range change {
		f(&cfg)
	}
	r, err := NewRefresh(cfg)
	require.NoError(t, err)
	return r
}

func TestRefresh(t *testing.T) {
	idToken := func(c *RefreshConfig) { c.Proof = IDToken }
	for name, c := range map[string]struct {
		status  int
		body    string
		want    error
		subject string
		next    string
		change  func(*RefreshConfig)
	}{
		"rotated":             {200, `{"access_token":"at","token_type":"Bearer","refresh_token":"rt-2"}`, nil, "by at", "rt-2", nil},
		"not rotated":         {200, `{"access_token":"at","token_type":"bearer"}`, nil, "by at", "", nil},
		"ID token":            {200, `{"access_token":"at","id_token":"id","token_type":"Bearer","refresh_token":"rt-2"}`, nil, "by id", "rt-2", idToken},
		"no ID token":         {200, `{"access_token":"at","token_type":"Bearer","refresh_token":"rt-2"}`, stmigrate.ErrUnavailable, "", "rt-2", idToken},
		"another application": {200, `{"access_token":"foreign","token_type":"Bearer","refresh_token":"rt-2"}`, stmigrate.ErrNotMine, "", "rt-2", nil},
		"no keys":             {200, `{"access_token":"later","token_type":"Bearer","refresh_token":"rt-2"}`, stmigrate.ErrUnavailable, "", "rt-2", nil},
		"another type":        {200, `{"access_token":"at","token_type":"DPoP","refresh_token":"rt-2"}`, stmigrate.ErrUnavailable, "", "rt-2", nil},
		"no access token":     {200, `{"token_type":"Bearer","refresh_token":"rt-2"}`, stmigrate.ErrUnavailable, "", "rt-2", nil},
		"odd access token":    {200, `{"access_token":"a t","token_type":"Bearer","refresh_token":"rt-2"}`, stmigrate.ErrUnavailable, "", "rt-2", nil},
		"odd refresh token":   {200, `{"access_token":"at","token_type":"Bearer","refresh_token":7}`, stmigrate.ErrUnavailable, "", "", nil},
		"twice":               {200, `{"access_token":"at","access_token":"at","token_type":"Bearer"}`, stmigrate.ErrUnavailable, "", "", nil},
		"refused":             {400, `{"error":"invalid_grant"}`, stmigrate.ErrInvalidSession, "", "", nil},
		"refused, otherwise":  {401, `{"error":"invalid_grant"}`, stmigrate.ErrUnavailable, "", "", nil},
		"wrong client":        {401, `{"error":"invalid_client"}`, stmigrate.ErrUnavailable, "", "", nil},
		"bad request":         {400, `{"error":"invalid_request"}`, stmigrate.ErrUnavailable, "", "", nil},
		"400 of another page": {400, `<html>`, stmigrate.ErrUnavailable, "", "", nil},
		"refused by Auth0": {403, `{"error":"invalid_grant","error_description":"Unknown or invalid refresh token."}`,
			stmigrate.ErrInvalidSession, "", "", nil},
		"forbidden by a rule": {403, `{"error":"access_denied"}`, stmigrate.ErrUnavailable, "", "", nil},
		"another 403":         {403, `<html>`, stmigrate.ErrUnavailable, "", "", nil},
		"elsewhere":           {307, ``, stmigrate.ErrUnavailable, "", "", nil},
		"limited":             {429, ``, stmigrate.ErrUnavailable, "", "", nil},
		"down":                {502, ``, stmigrate.ErrUnavailable, "", "", nil},
	} {
		p := newProvider(t, c.status, c.body)
		p.header.Set("Location", p.URL+"/else")
		change := c.change
		if change == nil {
			change = func(*RefreshConfig) {}
		}
		got, err := refresh(t, p, newClock(), change).Redeem(t.Context(), "rt-1-secret")
		assertClass(t, c.want, err, "rt-1-secret", name)
		assert.Equal(t, 1, p.calls(), name)
		next, subject := "", ""
		if got != nil {
			next = got.Token
			if got.Session != nil {
				subject = got.Session.Subject
			}
		}
		assert.Equal(t, []string{c.next, c.subject}, []string{next, subject}, name)
	}
}

// stmigrate.New trusts that a Redeemer's users are those of its Issuer, where users are known by their subject alone.
func TestRefreshOfAnotherIssuer(t *testing.T) {
	p := newProvider(t, 200, `{"access_token":"at","token_type":"Bearer","refresh_token":"rt-2"}`)
	got, err := refresh(t, p, newClock(), func(c *RefreshConfig) { c.Issuer = "https://other.example/" }).Redeem(t.Context(), "rt-1")
	assert.ErrorContains(t, err, "RefreshConfig.Issuer")
	require.NotNil(t, got)
	assert.Nil(t, got.Session)
	assert.Equal(t, "rt-2", got.Token)
}

func TestRefreshRequest(t *testing.T) {
	p := newProvider(t, http.StatusOK, `{"access_token":"at","token_type":"Bearer"}`)
	r := refresh(t, p, newClock())
	_, err := r.Redeem(t.Context(), "rt-1")
	require.NoError(t, err)
	form := p.last().PostForm
	assert.Equal(t, "refresh_token rt-1", form.Get("grant_type")+" "+form.Get("refresh_token"))
	assert.False(t, form.Has("scope"), "as much as was granted")
	id, secret, _ := p.last().BasicAuth()
	assert.Equal(t, []string{backend.ID, backend.Secret}, []string{id, secret})

	_, err = refresh(t, p, newClock(), func(c *RefreshConfig) {
		c.Client, c.Scope = revoke.ClientAuth{Method: revoke.PublicClient, ID: "spa"}, []string{"openid", "email"}
	}).Redeem(t.Context(), "rt-1")
	require.NoError(t, err)
	form = p.last().PostForm
	assert.Equal(t, "spa openid email", form.Get("client_id")+" "+form.Get("scope"))
}

func TestRefreshPeek(t *testing.T) {
	c := newClock()
	p := newProvider(t, http.StatusBadRequest, `{"error":"invalid_grant"}`)
	r := refresh(t, p, c)
	jwt := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256"}`)) + ".e30.sig"
	for token, want := range map[string]error{
		"rt-1": nil, "": stmigrate.ErrNotMine, "a b": stmigrate.ErrNotMine, jwt: stmigrate.ErrNotMine,
		strings.Repeat("x", maxToken+1): stmigrate.ErrInvalidSession,
	} {
		iss, err := r.Peek(t.Context(), token)
		assertClass(t, want, err, token)
		if want == nil {
			assert.Equal(t, issuer, iss)
		}
	}
	_, err := r.Verify(t.Context(), "rt-1")
	assertClass(t, stmigrate.ErrNotMine, err, "rt-1")
	assert.Zero(t, p.calls(), "nothing is redeemed on the way")

	_, err = r.Redeem(t.Context(), "rt-1")
	assertClass(t, stmigrate.ErrInvalidSession, err, "rt-1")
	_, err = r.Peek(t.Context(), "rt-1")
	assertClass(t, stmigrate.ErrInvalidSession, err, "rt-1", "a refusal is remembered")
	c.Advance(time.Minute)
	_, err = r.Peek(t.Context(), "rt-1")
	assert.NoError(t, err)
}

func TestKeycloakRefreshToken(t *testing.T) {
	takes := KeycloakRefreshToken(issuer)
	token := func(header, payload string) string {
		return base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".c2ln"
	}
	for text, want := range map[string]bool{
		token(`{"alg":"HS512","typ":"JWT"}`, `{"iss":"https://legacy.example/","typ":"Refresh"}`): true,
		token(`{"alg":"HS512"}`, `{"iss":"https://legacy.example/","typ":"Offline"}`):             true,
		token(`{"alg":"RS256"}`, `{"iss":"https://legacy.example/","typ":"Bearer"}`):              false,
		token(`{"alg":"RS256"}`, `{"iss":"https://legacy.example/"}`):                             false,
		token(`{"alg":"HS512"}`, `{"iss":"https://other.example/","typ":"Refresh"}`):              false,
		token(`{"alg":"HS512"}`, `{"iss":"https://legacy.example/","typ":"ID","typ":"Refresh"}`):  false,
		token(`{"alg":"HS512"}`, `[]`):                                   false,
		token(`no`, `{"iss":"https://legacy.example/","typ":"Refresh"}`): false,
		token(`{}`, ``) + ".a.b":                                         false,
		"opaque":                                                         false,
		"a.!.c":                                                          false,
	} {
		assert.Equal(t, want, takes(text), text)
	}
}

func TestCognitoRefresh(t *testing.T) {
	jwe := base64.RawURLEncoding.EncodeToString([]byte(`{"cty":"JWT","enc":"A256GCM","alg":"RSA-OAEP"}`)) + ".a.b.c.d"
	good := `{"AuthenticationResult":{"AccessToken":"at","IdToken":"id","RefreshToken":"rt-2","TokenType":"Bearer","ExpiresIn":3600},"ChallengeParameters":{}}`
	for name, c := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"good":       {200, good, nil},
		"refused":    {400, `{"__type":"NotAuthorizedException","message":"Refresh Token has been revoked"}`, stmigrate.ErrInvalidSession},
		"reused":     {400, `{"__type":"com.amazonaws.cognito#RefreshTokenReuseException"}`, stmigrate.ErrInvalidSession},
		"disabled":   {400, `{"__type":"NotAuthorizedException","message":"User is disabled."}`, stmigrate.ErrInvalidSession},
		"our secret": {400, `{"__type":"NotAuthorizedException","message":"Unable to verify secret hash for client app"}`, stmigrate.ErrUnavailable},
		"our hash":   {400, `{"__type":"NotAuthorizedException","message":"SecretHash does not match for the client: app"}`, stmigrate.ErrUnavailable},
		"limited":    {400, `{"__type":"TooManyRequestsException"}`, stmigrate.ErrUnavailable},
		"wrong pool": {400, `{"__type":"ResourceNotFoundException"}`, stmigrate.ErrUnavailable},
		"challenge":  {200, `{"ChallengeName":"NEW_PASSWORD_REQUIRED"}`, stmigrate.ErrUnavailable},
		"down":       {500, `{"__type":"NotAuthorizedException"}`, stmigrate.ErrUnavailable},
	} {
		p := newProvider(t, c.status, c.body)
		var asked []byte
		p.handler = func(w http.ResponseWriter, r *http.Request) {
			asked, _ = io.ReadAll(r.Body)
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, c.body)
		}
		r, err := NewCognitoRefresh(CognitoRefreshConfig{
			Region: "eu-central-1", ClientID: "app", ClientSecret: "hunter2", Issuer: issuer, Verifier: stmigrate.VerifierFunc(vouch),
			Endpoint: p.URL + "/", HTTP: here,
		})
		require.NoError(t, err)
		_, err = r.Peek(t.Context(), "opaque")
		assertClass(t, stmigrate.ErrNotMine, err, "")
		_, err = r.Peek(t.Context(), jwe)
		require.NoError(t, err)
		got, err := r.Redeem(t.Context(), jwe)
		assertClass(t, c.want, err, jwe, name)
		assert.JSONEq(t, `{"ClientId":"app","ClientSecret":"hunter2","RefreshToken":"`+jwe+`"}`, string(asked))
		assert.Equal(t, "AWSCognitoIdentityProviderService.GetTokensFromRefreshToken", p.last().Header.Get("X-Amz-Target"))
		assert.Equal(t, "application/x-amz-json-1.1", p.last().Header.Get("Content-Type"))
		if c.want == nil {
			assert.Equal(t, "rt-2 by at", got.Token+" "+got.Session.Subject)
		}
	}
	for _, cfg := range []CognitoRefreshConfig{
		{ClientID: "app"}, {Region: "eu-central-1"}, {Region: "evil.example/", ClientID: "app"}, {Region: "eu-central-1", ClientID: "app"},
	} {
		_, err := NewCognitoRefresh(cfg)
		assert.Error(t, err)
	}
}

func TestRefreshConfig(t *testing.T) {
	for field, change := range map[string]func(*RefreshConfig){
		"RefreshConfig.Endpoint":     func(c *RefreshConfig) { c.Endpoint = "http://legacy.example/token" },
		"RefreshConfig.Issuer":       func(c *RefreshConfig) { c.Issuer = "" },
		"RefreshConfig.Verifier":     func(c *RefreshConfig) { c.Verifier = nil },
		"RefreshConfig.Proof":        func(c *RefreshConfig) { c.Proof = 7 },
		"RefreshConfig.Scope":        func(c *RefreshConfig) { c.Scope = []string{"openid email"} },
		"ClientAuth.ID":              func(c *RefreshConfig) { c.Client = revoke.ClientAuth{} },
		"RefreshConfig.HTTP.Timeout": func(c *RefreshConfig) { c.HTTP.InFlight = -1 },
	} {
		cfg := RefreshConfig{Endpoint: "https://legacy.example/token", Client: backend, Issuer: issuer, Verifier: stmigrate.VerifierFunc(vouch)}
		change(&cfg)
		_, err := NewRefresh(cfg)
		assert.ErrorContains(t, err, field)
	}
	p := newProvider(t, 200, ``)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		assert.NotContains(t, fmt.Sprintf(verb, refresh(t, p, newClock())), backend.Secret)
	}
}

// The issuer of the tests ends the session of a refresh token that is shown twice: so tests that count on one redemption can fail.
func TestRefreshAtAnIssuer(t *testing.T) {
	c := newClock()
	legacy := stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{ClientID: backend.ID, ClientSecret: backend.Secret, RefreshReuse: time.Minute, Now: c.Now})
	jwts, err := stmigrate.NewJWKSVerifier(stmigrate.JWKSConfig{URL: legacy.JWKSURL()},
		stmigrate.JWTConfig{Issuer: legacy.Issuer(), Audience: []string{"api"}, Now: c.Now})
	require.NoError(t, err)
	r, err := NewRefresh(RefreshConfig{Endpoint: legacy.TokenURL(), Client: backend, Issuer: legacy.Issuer(), Verifier: jwts, HTTP: here, Now: c.Now})
	require.NoError(t, err)
	s := legacy.SignIn("ada")
	for range 2 {
		got, err := r.Redeem(t.Context(), s.RefreshToken)
		require.NoError(t, err, "within the reuse interval")
		assert.Equal(t, []string{"ada", s.SessionID}, []string{got.Session.Subject, got.Session.SessionID})
	}
	c.Advance(time.Minute)
	_, err = r.Redeem(t.Context(), s.RefreshToken)
	assertClass(t, stmigrate.ErrInvalidSession, err, s.RefreshToken)
	assert.True(t, legacy.Revoked(s.SessionID))
}

func FuzzTokenAnswer(f *testing.F) {
	f.Add(200, []byte(`{"access_token":"at","token_type":"Bearer","refresh_token":"rt-2"}`))
	f.Add(200, []byte(`{"AuthenticationResult":{"AccessToken":"at","TokenType":"Bearer"}}`))
	f.Add(400, []byte(`{"error":"invalid_grant"}`))
	f.Add(403, []byte(`{"error":"invalid_grant"}`))
	f.Add(400, []byte(`{"__type":"x#NotAuthorizedException"}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		for _, read := range []func(*ask.Answer) (tokens, error){readTokens, readCognito} {
			got, err := read(&ask.Answer{Status: status, Body: body})
			if err != nil && !errors.Is(err, stmigrate.ErrUnavailable) && (status != 400 && status != 403 || !errors.Is(err, stmigrate.ErrInvalidSession)) {
				t.Fatalf("%d %q: %v", status, body, err)
			}
			if status != 200 && (err == nil || got != tokens{}) {
				t.Fatalf("%d %q: tokens of a refusal", status, body)
			}
			for _, token := range []string{got.access, got.id, got.refresh} {
				if len(token) > maxToken || strings.ContainsAny(token, " \r\n\"") {
					t.Fatalf("%q: the token %q", body, token)
				}
			}
		}
	})
}
