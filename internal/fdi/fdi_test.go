package fdi_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate/internal/fdi"
)

func token(header, payload string) string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(header)) + "." + part([]byte(payload)) + ".c2ln"
}

const (
	v4      = `{"alg":"RS256","typ":"JWT","kid":"d-1","version":"4"}`
	payload = `{"sub":"ünï<&>","sessionHandle":"h","refreshTokenHash1":"r"}`
)

func TestIsAccessToken(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		token string
		want  bool
	}{
		"version 4":           {token(v4, payload), true},
		"version 3":           {token(strings.Replace(v4, "4", "3", 1), payload), true},
		"version 5":           {token(strings.Replace(v4, "4", "5", 1), payload), true},
		"version 6":           {token(strings.Replace(v4, "4", "6", 1), payload), false},
		"version 2":           {token(strings.Replace(v4, "4", "2", 1), payload), false},
		"version as a number": {token(`{"version":4}`, payload), false},
		"no version, no typ":  {token(`{"alg":"RS256","kid":"x"}`, payload), false},
		"no version":          {token(`{"alg":"RS256","typ":"JWT"}`, payload), false},
		"no handle":           {token(v4, `{"sub":"u","refreshTokenHash1":"r"}`), false},
		"no hash":             {token(v4, `{"sub":"u","sessionHandle":"h"}`), false},
		"handle not a string": {token(v4, `{"sessionHandle":1,"refreshTokenHash1":"r"}`), false},
		"header not JSON":     {"abc." + strings.Split(token(v4, payload), ".")[1] + ".x", false},
		"padded":              {strings.Replace(token(v4, payload), ".", "=.", 1), false},
		"two parts":           {"a.b", false},
		"five parts":          {"a.b.c.d.e", false},
		"opaque":              {"abc", false},
		"empty":               {"", false},
		"large":               {token(v4, strings.Repeat(" ", 16<<10)+payload), false},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, fdi.IsAccessToken(tt.token))
		})
	}
}

func TestFrontToken(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	at := time.UnixMilli(1_700_000_000_123)
	require.NoError(t, fdi.Wire{}.Set(h, fdi.Tokens{UserID: "ünï<&>", Access: token(v4, payload), AccessExpiry: at}, false, at))
	data, err := base64.StdEncoding.DecodeString(h.Get("front-token"))
	require.NoError(t, err)
	assert.Equal(t, `{"uid":"ünï<&>","ate":1700000000123,"up":`+payload+`}`, string(data))
	got, ok := fdi.AccessExpiry(h)
	require.True(t, ok)
	assert.True(t, at.Equal(got))

	for name, access := range map[string]string{
		"opaque": "abc", "not base64": "a.!.c", "not JSON": "a.YWJj.c", "JSON with more around it": "a.MSwiYSI6Mg.c",
	} {
		require.Error(t, fdi.Wire{}.Set(http.Header{}, fdi.Tokens{Access: access}, true, at), name)
	}
	for _, front := range []string{"", "remove", "e30=", "!", strings.Repeat("a", 9<<10)} {
		_, ok := fdi.AccessExpiry(http.Header{"Front-Token": {front}})
		assert.False(t, ok, front)
	}
}

// TestCookies: a cookie is what net/http makes of it, whatever stands in the token.
func TestCookies(t *testing.T) {
	t.Parallel()
	const refresh = "a+b/c=;\"\\,é\n"
	h, at := http.Header{}, time.UnixMilli(1_700_000_000_123)
	wire := fdi.Wire{RefreshPath: "/auth/session/refresh", CookieDomain: ".example.com", SameSite: http.SameSiteLaxMode, Secure: true}
	require.NoError(t, wire.Set(h, fdi.Tokens{Access: token(v4, payload), AccessExpiry: at, Refresh: refresh, RefreshExpiry: at}, true, at))
	want := http.Cookie{
		Name: "sRefreshToken", Value: url.QueryEscape(refresh), Path: "/auth/session/refresh", Domain: ".example.com", Expires: at,
		HttpOnly: true, Secure: true, SameSite: http.SameSiteLaxMode,
	}
	require.Len(t, h["Set-Cookie"], 2)
	assert.Equal(t, want.String(), h["Set-Cookie"][1])
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	for _, line := range h["Set-Cookie"] {
		pair, _, _ := strings.Cut(line, ";")
		r.Header.Add("Cookie", pair)
	}
	assert.Equal(t, []string{token(v4, payload)}, fdi.CookieTokens(r, fdi.AccessCookie))
	assert.Equal(t, []string{refresh}, fdi.CookieTokens(r, fdi.RefreshCookie))
}

func TestFits(t *testing.T) {
	t.Parallel()
	cookie := func(n int) http.Header {
		return http.Header{"Set-Cookie": {"sAccessToken=" + strings.Repeat("a", n-13)}}
	}
	require.NoError(t, fdi.Fits(cookie(4096)))
	require.ErrorContains(t, fdi.Fits(cookie(4097)), "the cookie sAccessToken would take 4097 bytes")
	require.ErrorContains(t, fdi.Fits(http.Header{"St-Access-Token": {strings.Repeat("a", 8<<10)}}), "headers would take")
}

func TestRemoveAndClear(t *testing.T) {
	t.Parallel()
	h := http.Header{}
	fdi.Wire{RefreshPath: "/auth/session/refresh", CookieDomain: "example.com", Secure: true, SameSite: http.SameSiteNoneMode}.Remove(h, true, true)
	assert.Equal(t, http.Header{
		"Front-Token":                   {"remove"},
		"Access-Control-Expose-Headers": {"front-token, st-access-token, st-refresh-token"},
		"St-Access-Token":               {""},
		"St-Refresh-Token":              {""},
		"Set-Cookie": {
			"sAccessToken=; Path=/; Domain=example.com; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; SameSite=None",
			"sRefreshToken=; Path=/auth/session/refresh; Domain=example.com; Expires=Thu, 01 Jan 1970 00:00:00 GMT; HttpOnly; Secure; SameSite=None",
		},
	}, h)
}

func TestMerge(t *testing.T) {
	t.Parallel()
	dst := http.Header{
		"Access-Control-Expose-Headers": {"X-A", "X-B, Front-Token"},
		"Set-Cookie":                    {"host=1", "sAccessToken=old; Path=/", "sAccessToken=other; Path=/; Domain=example.com"},
	}
	fdi.Merge(dst, http.Header{
		"Access-Control-Expose-Headers": {"front-token, anti-csrf"}, "Set-Cookie": {"sAccessToken=new; Path=/"}, "Front-Token": {"f"},
	})
	assert.Equal(t, http.Header{
		"Access-Control-Expose-Headers": {"X-A, X-B, Front-Token, anti-csrf"},
		"Set-Cookie":                    {"host=1", "sAccessToken=other; Path=/; Domain=example.com", "sAccessToken=new; Path=/"},
		"Front-Token":                   {"f"},
	}, dst)
}

func TestReading(t *testing.T) {
	t.Parallel()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "bearer  abc ")
	r.Header.Set("Cookie", "sRefreshToken=a%2Bb%3D; sRefreshToken=a+b; sRefreshToken=%zz; other=1")
	assert.Equal(t, "abc", fdi.BearerToken(r))
	assert.Equal(t, []string{"a+b=", "a+b"}, fdi.CookieTokens(r, fdi.RefreshCookie))
	assert.False(t, fdi.CookieMode(r))
	r.Header.Set("st-auth-mode", "Cookie")
	assert.True(t, fdi.CookieMode(r))
}

func FuzzReading(f *testing.F) {
	f.Add("Bearer "+token(v4, payload), "sAccessToken="+token(v4, payload), base64.StdEncoding.EncodeToString([]byte(`{"ate":1}`)))
	f.Add("Bearer", "sAccessToken", "remove")
	f.Fuzz(func(t *testing.T, authorization, cookie, front string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header = http.Header{"Authorization": {authorization}, "Cookie": {cookie}, "Front-Token": {front}}
		tokens := append(fdi.CookieTokens(r, fdi.AccessCookie), fdi.BearerToken(r))
		for _, token := range tokens {
			if fdi.IsAccessToken(token) && fdi.IsRefreshToken(token) {
				t.Errorf("%q is taken for both tokens", token)
			}
		}
		if at, ok := fdi.AccessExpiry(r.Header); ok && at.UnixMilli() <= 0 {
			t.Errorf("%q expires at %v", front, at)
		}
	})
}
