package stmigratetest

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var played = map[string]func(*Issuer) *Provider{
	"auth0": (*Issuer).Auth0, "cognito": (*Issuer).Cognito, "okta": (*Issuer).Okta, "firebase": (*Issuer).Firebase, "keycloak": (*Issuer).Keycloak,
}

// The golden files say of each token where it is from.
func TestProviderFiles(t *testing.T) {
	files, err := providerFiles.ReadDir("testdata/providers")
	require.NoError(t, err)
	require.Len(t, files, len(played))
	for _, file := range files {
		t.Run(file.Name(), func(t *testing.T) {
			text, err := providerFiles.ReadFile("testdata/providers/" + file.Name())
			require.NoError(t, err)
			var golden struct {
				Provider, Read string
				Tokens         []providerToken
			}
			require.NoError(t, json.Unmarshal(text, &golden))
			require.NotEmpty(t, golden.Provider)
			require.Regexp(t, `^\d{4}-\d\d-\d\d$`, golden.Read)
			names := make(map[string]bool)
			for _, token := range golden.Tokens {
				assert.False(t, names[token.Name], token.Name)
				assert.Equal(t, token.Source == "derived", token.Like != "", token.Name)
				if token.Like != "" {
					assert.True(t, names[token.Like], "%s is like a token that does not come before it", token.Name)
				} else {
					assert.Contains(t, []string{"documented", "described", "observed"}, token.Source, token.Name)
					assert.True(t, strings.HasPrefix(token.Address, "https://"), token.Name)
				}
				assert.Contains(t, []string{"accepted", ClassInvalid, ClassNotMine}, token.Want, token.Name)
				names[token.Name] = true
			}
			assert.Equal(t, "accepted", golden.Tokens[0].Want, "the token of a sign-in")
		})
	}
}

func TestProviderTokens(t *testing.T) {
	for name, play := range played {
		t.Run(name, func(t *testing.T) {
			iss := NewIssuer(t)
			p := play(iss)
			require.NotEmpty(t, p.Good())
			seen := make(map[string]bool)
			right := p.Token(p.tokens[0].Name)
			wrong := p.Wrong()
			for _, w := range wrong {
				assert.False(t, seen[w.Category+"/"+w.Name], w.Category+"/"+w.Name)
				seen[w.Category+"/"+w.Name] = true
				assert.NotEqual(t, right, w.Token, w.Category+"/"+w.Name)
			}
			assert.Greater(t, len(p.Traps()), 7)
			assert.Greater(t, len(wrong), len(p.Traps())+400)

			one, other := p.SignIn("ada"), p.SignIn("ada")
			assert.NotEqual(t, one.SessionID, other.SessionID)
			assert.NotEqual(t, one.AccessToken, other.AccessToken)
			assert.False(t, iss.Revoked(one.AccessToken))
			iss.EndSession(one.SessionID)
			assert.True(t, iss.Revoked(one.AccessToken))
			assert.True(t, iss.Revoked(one.RefreshToken))
			assert.False(t, iss.Revoked(other.AccessToken))
			assert.PanicsWithValue(t, `stmigratetest: the provider has no token "no such"`, func() { p.Token("no such") })
		})
	}
}

// What ends sessions wants the credential that the provider wants.
func TestProviderEndpointsWantCredentials(t *testing.T) {
	for name, c := range map[string]struct {
		play                 func(*Issuer) *Provider
		method, url, session string
		form                 url.Values
	}{
		"Auth0, session":    {(*Issuer).Auth0, "POST", "https://my-domain.auth0.com/api/v2/sessions/SID/revoke", "SID", nil},
		"Auth0, token":      {(*Issuer).Auth0, "POST", "https://my-domain.auth0.com/oauth/revoke", "", url.Values{"token": {"TOKEN"}}},
		"Okta, token":       {(*Issuer).Okta, "POST", "https://example.okta.com/oauth2/0oacqf8qaJw56czJi0g4/v1/revoke", "", url.Values{"token": {"TOKEN"}}},
		"Okta, introspects": {(*Issuer).Okta, "POST", "https://example.okta.com/oauth2/0oacqf8qaJw56czJi0g4/v1/introspect", "", url.Values{"token": {"TOKEN"}}},
		"Firebase, user":    {(*Issuer).Firebase, "POST", "https://identitytoolkit.googleapis.com/v1/projects/example-project/accounts:update", "", nil},
		"Keycloak, session": {(*Issuer).Keycloak, "DELETE", "https://sso.example.com/admin/realms/something/sessions/SID", "SID", nil},
		"Keycloak, user":    {(*Issuer).Keycloak, "POST", "https://sso.example.com/admin/realms/something/users/ada/logout", "", nil},
		"Keycloak, token":   {(*Issuer).Keycloak, "POST", "https://sso.example.com/realms/something/protocol/openid-connect/token", "", url.Values{"grant_type": {"client_credentials"}}},
	} {
		t.Run(name, func(t *testing.T) {
			iss := NewIssuer(t)
			p := c.play(iss)
			s := p.SignIn("ada")
			for key, values := range c.form {
				c.form.Set(key, strings.Replace(values[0], "TOKEN", s.RefreshToken, 1))
			}
			r, err := http.NewRequest(c.method, strings.Replace(c.url, "SID", s.SessionID, 1), strings.NewReader(c.form.Encode()))
			require.NoError(t, err)
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			res, err := p.Client().Do(r)
			require.NoError(t, err)
			defer func() { _ = res.Body.Close() }()
			assert.Equal(t, http.StatusUnauthorized, res.StatusCode)
			assert.False(t, iss.Revoked(s.AccessToken))
		})
	}
}

func TestPlayedCognito(t *testing.T) {
	iss := NewIssuer(t)
	p := iss.Cognito()
	s := p.SignIn("ada")
	call := func(operation, body string) (int, string) {
		r, err := http.NewRequest("POST", "https://cognito-idp.us-west-2.amazonaws.com/", strings.NewReader(body))
		require.NoError(t, err)
		r.Header.Set("X-Amz-Target", "AWSCognitoIdentityProviderService."+operation)
		res, err := p.Client().Do(r)
		require.NoError(t, err)
		defer func() { _ = res.Body.Close() }()
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		return res.StatusCode, string(text)
	}
	for want, c := range map[string][2]string{
		"UnsupportedTokenTypeException": {"RevokeToken", `{"Token":"` + s.AccessToken + `","ClientId":"` + p.ClientID + `"}`},
		"InvalidParameterException":     {"RevokeToken", `{"Token":"` + s.RefreshToken + `","ClientId":"other"}`},
		"NotAuthorizedException":        {"GlobalSignOut", `{"AccessToken":"` + s.RefreshToken + `"}`},
		"UnknownOperationException":     {"Nothing", `{}`},
		"SerializationException":        {"RevokeToken", `[`},
	} {
		status, body := call(c[0], c[1])
		assert.Equal(t, http.StatusBadRequest, status)
		assert.Contains(t, body, want)
	}
	assert.False(t, iss.Revoked(s.AccessToken))
	status, _ := call("RevokeToken", `{"Token":"`+s.RefreshToken+`","ClientId":"`+p.ClientID+`"}`)
	assert.Equal(t, http.StatusOK, status)
	assert.True(t, iss.Revoked(s.AccessToken))
	assert.True(t, slices.ContainsFunc(iss.Revocations(), func(r Revocation) bool { return r.SessionID == s.SessionID }))
}
