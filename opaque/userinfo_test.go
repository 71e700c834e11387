package opaque

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

func userInfo(t testing.TB, p *provider, c *clock, change ...func(*UserInfoConfig)) *UserInfo {
	t.Helper()
	cfg := UserInfoConfig{
		Endpoint:      p.URL + "/userinfo",
		CheckAudience: func(context.Context, string, *stmigrate.OldSession) error { return nil },
		Rules:         Rules{Issuer: issuer, Now: c.Now}, HTTP: here,
	}
	for _, f := range change {
		f(&cfg)
	}
	u, err := NewUserInfo(cfg)
	require.NoError(t, err)
	return u
}

func TestUserInfo(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"good":                      {200, `{"sub":"user-1","email":"ada@example.com"}`, nil},
		"with an issuer":            {200, `{"sub":"user-1","iss":"https://legacy.example/"}`, nil},
		"another issuer":            {200, `{"sub":"user-1","iss":"https://other.example/"}`, stmigrate.ErrNotMine},
		"no subject":                {200, `{"email":"ada@example.com"}`, stmigrate.ErrInvalidSession},
		"subject is a number":       {200, `{"sub":1}`, stmigrate.ErrInvalidSession},
		"subject twice":             {200, `{"sub":"user-1","sub":"user-2"}`, stmigrate.ErrUnavailable},
		"subject spelled otherwise": {200, `{"sub":"user-1","Sub":"user-2"}`, stmigrate.ErrUnavailable},
		"signed":                    {200, `eyJhbGciOiJSUzI1NiJ9.e30.x`, stmigrate.ErrUnavailable},
		"too large":                 {200, `{"sub":"user-1","x":"` + strings.Repeat("x", 64<<10) + `"}`, stmigrate.ErrUnavailable},
		"unauthorized":              {401, `{"sub":"user-1"}`, stmigrate.ErrInvalidSession},
		"forbidden":                 {403, `{"sub":"user-1"}`, stmigrate.ErrInvalidSession},
		"elsewhere":                 {302, `{"sub":"user-1"}`, stmigrate.ErrUnavailable},
		"not found":                 {404, `{"sub":"user-1"}`, stmigrate.ErrUnavailable},
		"limited":                   {429, `{"sub":"user-1"}`, stmigrate.ErrUnavailable},
		"broken":                    {500, `{"sub":"user-1"}`, stmigrate.ErrUnavailable},
		"created":                   {201, `{"sub":"user-1"}`, stmigrate.ErrUnavailable},
	} {
		p := newProvider(t, c.status, c.body)
		p.header.Set("Location", p.URL+"/else")
		s, err := userInfo(t, p, newClock()).Verify(t.Context(), "opaque-token")
		assertClass(t, c.want, err, "opaque-token", name)
		assert.Equal(t, 1, p.calls(), name)
		assert.Equal(t, "Bearer opaque-token", p.last().Header.Get("Authorization"))
		if c.want == nil {
			assert.Equal(t, []string{issuer, "user-1", ""}, []string{s.Issuer, s.Subject, s.SessionID})
			assert.True(t, s.ExpiresAt.IsZero())
		}
	}
}

// A userinfo endpoint answers 200 to the token of any application. Who proves the audience decides.
func TestUserInfoAudience(t *testing.T) {
	p := newProvider(t, http.StatusOK, `{"sub":"user-1"}`)
	end := time.Unix(epoch+600, 0)
	from := func(s *stmigrate.OldSession, err error) func(*UserInfoConfig) {
		return func(c *UserInfoConfig) {
			c.CheckAudience = AudienceFrom(stmigrate.VerifierFunc(func(_ context.Context, token string) (*stmigrate.OldSession, error) {
				assert.Equal(t, "opaque-token", token)
				return s, err
			}))
		}
	}
	for name, c := range map[string]struct {
		change func(*UserInfoConfig)
		want   error
	}{
		"proved":             {from(&stmigrate.OldSession{Subject: "user-1", ExpiresAt: end}, nil), nil},
		"for another user":   {from(&stmigrate.OldSession{Subject: "user-2"}, nil), stmigrate.ErrInvalidSession},
		"not proved":         {from(nil, stmigrate.ErrInvalidSession), stmigrate.ErrInvalidSession},
		"nobody knows":       {from(nil, stmigrate.ErrNotMine), stmigrate.ErrInvalidSession},
		"nobody can tell":    {from(nil, stmigrate.ErrUnavailable), stmigrate.ErrUnavailable},
		"an error, no class": {from(nil, errors.New("no")), stmigrate.ErrInvalidSession},
		"skipped":            {func(c *UserInfoConfig) { c.CheckAudience, c.InsecureSkipAudience = nil, true }, nil},
	} {
		s, err := userInfo(t, p, newClock(), c.change).Verify(t.Context(), "opaque-token")
		assertClass(t, c.want, err, "opaque-token", name)
		if name == "proved" && assert.NoError(t, err) {
			assert.Equal(t, end, s.ExpiresAt)
		}
	}
}

// A client that goes away while a rule asks somebody must not have its token refused, and for a minute.
func TestChecksOutOfTime(t *testing.T) {
	p := newProvider(t, http.StatusOK, `{"sub":"user-1"}`)
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		fail := fmt.Errorf("asking: %w", cause)
		u := userInfo(t, p, newClock(), func(c *UserInfoConfig) {
			c.CheckAudience = func(context.Context, string, *stmigrate.OldSession) error { return fail }
		})
		_, err := u.Verify(t.Context(), "opaque-token")
		assertClass(t, stmigrate.ErrUnavailable, err, "opaque-token")
		fail = nil
		_, err = u.Verify(t.Context(), "opaque-token")
		assert.NoError(t, err)
	}
}

func TestUserInfoConfig(t *testing.T) {
	check := func(context.Context, string, *stmigrate.OldSession) error { return nil }
	for field, cfg := range map[string]UserInfoConfig{
		"UserInfoConfig.Endpoint: required": {CheckAudience: check, Rules: Rules{Issuer: issuer}},
		"UserInfoConfig.CheckAudience":      {Endpoint: "https://legacy.example/userinfo", Rules: Rules{Issuer: issuer}},
		"and not both":                      {Endpoint: "https://legacy.example/userinfo", CheckAudience: check, InsecureSkipAudience: true, Rules: Rules{Issuer: issuer}},
		"Rules.Issuer is required":          {Endpoint: "https://legacy.example/userinfo", CheckAudience: check},
	} {
		_, err := NewUserInfo(cfg)
		assert.ErrorContains(t, err, field)
	}
}

func TestTokenInfo(t *testing.T) {
	right := `{"azp":"app.apps.googleusercontent.com","aud":"app.apps.googleusercontent.com","sub":"1234","scope":"openid",` +
		`"exp":"1800000600","expires_in":"600","email":"ada@example.com","email_verified":"true","access_type":"online"}`
	with := func(old, with string) string {
		require.Contains(t, right, old)
		return strings.Replace(right, old, with, 1)
	}
	for name, c := range map[string]struct {
		status int
		body   string
		want   error
	}{
		"good":                {200, right, nil},
		"another application": {200, with(`"aud":"app.`, `"aud":"other.`), stmigrate.ErrInvalidSession},
		"no audience":         {200, with(`"aud":"app.apps.googleusercontent.com",`, ``), stmigrate.ErrInvalidSession},
		"no openid":           {200, with(`"sub":"1234",`, ``), stmigrate.ErrInvalidSession},
		"no end":              {200, with(`"exp":"1800000600",`, ``), stmigrate.ErrUnavailable},
		"end is a number":     {200, with(`"1800000600"`, `1800000600`), nil},
		"end is no number":    {200, with(`"1800000600"`, `"NaN"`), stmigrate.ErrInvalidSession},
		"over":                {200, with(`"1800000600"`, `"1700000000"`), stmigrate.ErrExpiredSession},
		"unknown":             {400, `{"error":"invalid_token","error_description":"Invalid Value"}`, stmigrate.ErrInvalidSession},
		"400 of another page": {400, `<html>`, stmigrate.ErrUnavailable},
		"not found":           {404, right, stmigrate.ErrUnavailable},
		"broken":              {500, right, stmigrate.ErrUnavailable},
	} {
		p := newProvider(t, c.status, c.body)
		v, err := NewTokenInfo(TokenInfoConfig{
			ClientIDs: []string{"app.apps.googleusercontent.com"}, Endpoint: p.URL + "/tokeninfo", HTTP: here, Rules: Rules{Now: newClock().Now},
		})
		require.NoError(t, err)
		s, err := v.Verify(t.Context(), "ya29.a+b")
		assertClass(t, c.want, err, "ya29.a+b", name)
		assert.Equal(t, "ya29.a+b", p.last().URL.Query().Get("access_token"))
		if c.want == nil {
			assert.Equal(t, []string{"https://accounts.google.com", "1234"}, []string{s.Issuer, s.Subject})
			assert.EqualValues(t, epoch+600, s.ExpiresAt.Unix())
		}
		_, err = v.Verify(t.Context(), "opaque-token")
		assertClass(t, stmigrate.ErrNotMine, err, "opaque-token")
	}
	for field, cfg := range map[string]TokenInfoConfig{
		"TokenInfoConfig.ClientIDs": {},
		"TokenInfoConfig.Endpoint":  {ClientIDs: []string{"app"}, Endpoint: "https://legacy.example/?a=b"},
	} {
		_, err := NewTokenInfo(cfg)
		assert.ErrorContains(t, err, field)
	}
}

// The audience is proved by introspection, and both are asked about the same token.
func TestUserInfoAtAnIssuer(t *testing.T) {
	legacy := stmigratetest.NewIssuer(t)
	i, err := NewIntrospection(IntrospectionConfig{
		Endpoint: legacy.IntrospectionURL(), Client: backend, ClientIDs: []string{"spa"}, Rules: Rules{Issuer: legacy.Issuer()}, HTTP: here,
	})
	require.NoError(t, err)
	u, err := NewUserInfo(UserInfoConfig{
		Endpoint: legacy.UserInfoURL(), CheckAudience: AudienceFrom(i), Rules: Rules{Issuer: legacy.Issuer()}, HTTP: here,
	})
	require.NoError(t, err)
	s, err := u.Verify(t.Context(), legacy.Opaque(stmigratetest.Claims{"client_id": "spa"}))
	require.NoError(t, err)
	assert.Equal(t, "user-1", s.Subject)
	foreign := legacy.Opaque(stmigratetest.Claims{"client_id": "somebody-elses"})
	_, err = u.Verify(t.Context(), foreign)
	assertClass(t, stmigrate.ErrInvalidSession, err, foreign)
}

func FuzzUserInfoAnswer(f *testing.F) {
	f.Add([]byte(`{"sub":"user-1"}`))
	f.Add([]byte(`{"sub":"user-1","Sub":"x"}`))
	f.Add([]byte(`{"sub":"user-1","exp":1e400,"iss":"https://legacy.example/"}`))
	u, err := NewUserInfo(UserInfoConfig{Endpoint: "https://legacy.example/", InsecureSkipAudience: true, Rules: Rules{Issuer: issuer, Now: newClock().Now}})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := u.read(body)
		fuzzed(t, body, s, err)
	})
}
