package opaque

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

const issuer = "https://legacy.example/"

// introspection asks p for tokens of the client "spa", for the API "api".
func introspection(t testing.TB, p *provider, c *clock, change ...func(*IntrospectionConfig)) *Introspection {
	t.Helper()
	cfg := IntrospectionConfig{
		Endpoint: p.URL + "/introspect", Client: backend, Audience: []string{"api"}, ClientIDs: []string{"spa"},
		Rules: Rules{Issuer: issuer, Now: c.Now}, HTTP: here,
	}
	for _, f := range change {
		f(&cfg)
	}
	i, err := NewIntrospection(cfg)
	require.NoError(t, err)
	return i
}

// good is an answer; changes go over it, and null deletes.
func good(changes ...string) string {
	answer := map[string]any{
		"active": true, "iss": issuer, "sub": "user-1", "aud": []string{"other", "api"}, "client_id": "spa", "token_type": "Bearer",
		"username": "ada", "exp": epoch + 600, "iat": epoch - 10, "auth_time": epoch - 3600, "sid": "session-1", "jti": "token-1",
	}
	for _, change := range changes {
		var over map[string]any
		if err := json.Unmarshal([]byte(change), &over); err != nil {
			panic(err)
		}
		for name, value := range over {
			answer[name] = value
			if value == nil {
				delete(answer, name)
			}
		}
	}
	out, _ := json.Marshal(answer)
	return string(out)
}

func TestIntrospection(t *testing.T) {
	for name, c := range map[string]struct {
		body string
		want error
	}{
		"good":                       {good(), nil},
		"one audience":               {good(`{"aud":"api"}`), nil},
		"no issuer":                  {good(`{"iss":null}`), nil},
		"no times":                   {good(`{"exp":null,"iat":null}`), nil},
		"type in another case":       {good(`{"token_type":"bearer"}`), nil},
		"ended within the leeway":    {good(`{"exp":1799999971}`), nil},
		"fraction":                   {good(`{"exp":1800000600.5}`), nil},
		"not active":                 {`{"active":false}`, stmigrate.ErrInvalidSession},
		"not active, and all else":   {good(`{"active":false}`), stmigrate.ErrInvalidSession},
		"active is a string":         {good(`{"active":"true"}`), stmigrate.ErrUnavailable},
		"active is a number":         {good(`{"active":1}`), stmigrate.ErrUnavailable},
		"active is missing":          {good(`{"active":null}`), stmigrate.ErrUnavailable},
		"active twice":               {`{"active":false,"active":true}`, stmigrate.ErrUnavailable},
		"active spelled otherwise":   {good(`{"active":false,"Active":true}`), stmigrate.ErrUnavailable},
		"subject spelled otherwise":  {good(`{"SUB":"user-2"}`), stmigrate.ErrUnavailable},
		"no object":                  {`[]`, stmigrate.ErrUnavailable},
		"not JSON":                   {`<html>`, stmigrate.ErrUnavailable},
		"two objects":                {good() + good(), stmigrate.ErrUnavailable},
		"empty":                      {``, stmigrate.ErrUnavailable},
		"too large":                  {good(`{"x":"` + strings.Repeat("x", 64<<10) + `"}`), stmigrate.ErrUnavailable},
		"another issuer":             {good(`{"iss":"https://other.example/"}`), stmigrate.ErrNotMine},
		"issuer is no string":        {good(`{"iss":["https://legacy.example/"]}`), stmigrate.ErrNotMine},
		"another audience":           {good(`{"aud":["other"]}`), stmigrate.ErrInvalidSession},
		"no audience":                {good(`{"aud":null}`), stmigrate.ErrInvalidSession},
		"odd audience":               {good(`{"aud":["api",1]}`), stmigrate.ErrInvalidSession},
		"another client":             {good(`{"client_id":"other"}`), stmigrate.ErrInvalidSession},
		"no client":                  {good(`{"client_id":null}`), stmigrate.ErrInvalidSession},
		"odd client":                 {good(`{"client_id":["spa"]}`), stmigrate.ErrInvalidSession},
		"a refresh token":            {good(`{"token_type":null}`), stmigrate.ErrInvalidSession},
		"a refresh token, Keycloak":  {good(`{"typ":"Refresh"}`), stmigrate.ErrInvalidSession},
		"an offline token, Keycloak": {good(`{"typ":"Offline"}`), stmigrate.ErrInvalidSession},
		"an ID token, Keycloak":      {good(`{"typ":"ID"}`), stmigrate.ErrInvalidSession},
		"DPoP":                       {good(`{"token_type":"DPoP"}`), stmigrate.ErrInvalidSession},
		"odd type":                   {good(`{"token_type":1}`), stmigrate.ErrInvalidSession},
		"bound":                      {good(`{"cnf":{"jkt":"x"}}`), stmigrate.ErrInvalidSession},
		"impersonated":               {good(`{"act":{"sub":"admin"}}`), stmigrate.ErrInvalidSession},
		"impersonated, Keycloak":     {good(`{"impersonator":{"id":"admin"}}`), stmigrate.ErrInvalidSession},
		"a machine":                  {good(`{"sub":"spa","username":null}`), stmigrate.ErrInvalidSession},
		"a machine, Keycloak":        {good(`{"username":"service-account-spa"}`), stmigrate.ErrInvalidSession},
		"no subject":                 {good(`{"sub":null}`), stmigrate.ErrInvalidSession},
		"empty subject":              {good(`{"sub":""}`), stmigrate.ErrInvalidSession},
		"blank subject":              {good(`{"sub":"  "}`), stmigrate.ErrInvalidSession},
		"subject is a number":        {good(`{"sub":1}`), stmigrate.ErrInvalidSession},
		"control character":          {good(`{"sub":"user\u00001"}`), stmigrate.ErrInvalidSession},
		"long subject":               {good(`{"sub":"` + strings.Repeat("u", 513) + `"}`), stmigrate.ErrInvalidSession},
		"odd session":                {good(`{"sid":1}`), stmigrate.ErrInvalidSession},
		"over":                       {good(`{"exp":1799999970}`), stmigrate.ErrExpiredSession},
		"exp is a string":            {good(`{"exp":"1800000600"}`), stmigrate.ErrInvalidSession},
		"exp is negative":            {good(`{"exp":-1}`), stmigrate.ErrInvalidSession},
		"exp is huge":                {good(`{"exp":1e300}`), stmigrate.ErrInvalidSession},
		"not yet":                    {good(`{"nbf":1800000031}`), stmigrate.ErrInvalidSession},
		"from the future":            {good(`{"iat":1800000031}`), stmigrate.ErrInvalidSession},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, http.StatusOK, c.body)
			s, err := introspection(t, p, newClock()).Verify(t.Context(), "opaque-token")
			assertClass(t, c.want, err, "opaque-token")
			if c.want != nil {
				assert.Nil(t, s)
				return
			}
			assert.Equal(t, []string{issuer, "user-1", "session-1", "token-1", ""}, []string{s.Issuer, s.Subject, s.SessionID, s.TokenID, s.TenantID})
			assert.Equal(t, json.Number("1799996400"), s.Claims["auth_time"])
			assert.EqualValues(t, epoch-3600, s.AuthTime.Unix())
		})
	}
}

// Whatever a provider says that is no answer says nothing of the token: its holder is never told that the session is over.
func TestIntrospectionStatus(t *testing.T) {
	for status := range map[int]bool{201: true, 204: true, 302: true, 400: true, 401: true, 403: true, 404: true, 429: true, 500: true, 503: true} {
		p := newProvider(t, status, `{"active":false}`)
		p.header.Set("Location", p.URL+"/else")
		_, err := introspection(t, p, newClock()).Verify(t.Context(), "opaque-token")
		assertClass(t, stmigrate.ErrUnavailable, err, "opaque-token", status)
		assert.Equal(t, 1, p.calls(), "redirects are not followed")
	}
}

func TestIntrospectionRequest(t *testing.T) {
	p := newProvider(t, http.StatusOK, good())
	odd := revoke.ClientAuth{ID: "a b:c", Secret: "ü&%"}
	for name, c := range map[string]struct {
		change func(*IntrospectionConfig)
		check  func(*http.Request)
	}{
		"basic, form-encoded": {func(c *IntrospectionConfig) { c.Client = odd }, func(r *http.Request) {
			assert.Equal(t, "Basic "+base64.StdEncoding.EncodeToString([]byte("a+b%3Ac:%C3%BC%26%25")), r.Header.Get("Authorization"))
			assert.Empty(t, r.PostForm["client_secret"])
		}},
		"post": {func(c *IntrospectionConfig) { c.Client = odd; c.Client.Method = revoke.ClientSecretPost }, func(r *http.Request) {
			assert.Equal(t, []string{"a b:c", "ü&%"}, []string{r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")})
			assert.Empty(t, r.Header.Get("Authorization"))
		}},
		"bearer": {func(c *IntrospectionConfig) { c.Client, c.Bearer = revoke.ClientAuth{}, revoke.StaticToken("mine") }, func(r *http.Request) {
			assert.Equal(t, "Bearer mine", r.Header.Get("Authorization"))
		}},
	} {
		_, err := introspection(t, p, newClock(), c.change).Verify(t.Context(), "opaque+/token==")
		require.NoError(t, err, name)
		r := p.last()
		assert.Equal(t, []string{"POST", "/introspect", ""}, []string{r.Method, r.URL.Path, r.URL.RawQuery}, "a token belongs into no log")
		assert.Equal(t, "opaque+/token==", r.PostForm.Get("token"))
		assert.Equal(t, "application/json", r.Header.Get("Accept"))
		c.check(r)
	}
	broken := introspection(t, p, newClock(), func(c *IntrospectionConfig) {
		c.Client = revoke.ClientAuth{}
		c.Bearer = func(context.Context) (string, error) { return "", errors.New("no token to be had") }
	})
	_, err := broken.Verify(t.Context(), "opaque-token")
	assertClass(t, stmigrate.ErrUnavailable, err, "opaque-token")
}

func TestIntrospectionOptions(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*IntrospectionConfig)
		body   string
		want   error
	}{
		"audience alone":      {func(c *IntrospectionConfig) { c.ClientIDs = nil }, good(`{"client_id":null}`), nil},
		"client alone":        {func(c *IntrospectionConfig) { c.Audience = nil }, good(`{"aud":null}`), nil},
		"neither":             {func(c *IntrospectionConfig) { c.Audience, c.ClientIDs, c.SkipAudienceCheck = nil, nil, true }, good(`{"aud":"x","client_id":"x"}`), nil},
		"machine, by name":    {func(c *IntrospectionConfig) { c.RequireUsername = true }, good(`{"username":null}`), stmigrate.ErrInvalidSession},
		"user, by name":       {func(c *IntrospectionConfig) { c.RequireUsername = true }, good(), nil},
		"without a type":      {func(c *IntrospectionConfig) { c.TokenTypes = []string{"", "Bearer"} }, good(`{"token_type":null}`), nil},
		"a type that is none": {func(c *IntrospectionConfig) { c.TokenTypes = []string{"", "Bearer"} }, good(`{"token_type":7}`), stmigrate.ErrInvalidSession},
		"refused is not mine": {func(c *IntrospectionConfig) { c.Rules.RefusedIsNotMine = true }, `{"active":false}`, stmigrate.ErrNotMine},
		"check": {func(c *IntrospectionConfig) {
			c.Rules.Checks = append(c.Rules.Checks, func(*stmigrate.OldSession) error { return errors.New("no") })
		}, good(), stmigrate.ErrInvalidSession},
		"unmapped tenant": {func(c *IntrospectionConfig) {
			c.Rules.TenantClaim, c.Rules.Tenants = "org", map[string]string{"a": "t1"}
		}, good(`{"org":"b"}`), stmigrate.ErrInvalidSession},
		"no tenant": {func(c *IntrospectionConfig) {
			c.Rules.TenantClaim, c.Rules.Tenants = "org", map[string]string{"a": "t1"}
		}, good(), stmigrate.ErrInvalidSession},
	} {
		p := newProvider(t, http.StatusOK, c.body)
		_, err := introspection(t, p, newClock(), c.change).Verify(t.Context(), "opaque-token")
		assertClass(t, c.want, err, "opaque-token", name)
	}
	p := newProvider(t, http.StatusOK, good(`{"org":"a","uid":"u-1","origin":"o-1"}`))
	s, err := introspection(t, p, newClock(), func(c *IntrospectionConfig) {
		c.Rules.TenantClaim, c.Rules.Tenants = "org", map[string]string{"a": "t1"}
		c.Rules.UserIDClaim, c.Rules.SessionIDClaims = "uid", []string{"none", "origin"}
	}).Verify(t.Context(), "opaque-token")
	require.NoError(t, err)
	assert.Equal(t, []string{"t1", "u-1", "o-1"}, []string{s.TenantID, s.Subject, s.SessionID})
}

// What no verifier of this kind is for is known without asking.
func TestTokensThatAreNotSent(t *testing.T) {
	p := newProvider(t, http.StatusOK, good())
	i := introspection(t, p, newClock())
	jws := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256"}`)) + ".e30.sig"
	for token, want := range map[string]error{
		"":                               stmigrate.ErrNotMine,
		"a b":                            stmigrate.ErrNotMine,
		"a\nb":                           stmigrate.ErrNotMine,
		"tökén":                          stmigrate.ErrNotMine,
		"=":                              stmigrate.ErrNotMine,
		"a=b":                            stmigrate.ErrNotMine,
		jws:                              stmigrate.ErrNotMine,
		jws + ".a.b":                     stmigrate.ErrNotMine,
		strings.Repeat("x", maxToken+1):  stmigrate.ErrInvalidSession,
		strings.Repeat("ü", maxToken+1):  stmigrate.ErrInvalidSession,
		" " + strings.Repeat("x.", 1<<4): stmigrate.ErrNotMine,
	} {
		_, err := i.Verify(t.Context(), token)
		assertClass(t, want, err, token)
	}
	assert.Zero(t, p.calls())
	for _, token := range []string{"a.b.c", "a.b.c.d.e", "e30.x", "a=="} {
		_, err := i.Verify(t.Context(), token)
		assert.NoError(t, err, token)
	}
	_, err := introspection(t, p, newClock(), func(c *IntrospectionConfig) { c.Rules.Takes = AnyToken }).Verify(t.Context(), jws)
	assert.NoError(t, err)
	takes := HasPrefix("ya29.", "at_")
	assert.True(t, takes("ya29.x") && takes("at_x"))
	assert.False(t, takes("rt_x"))
}

func TestMemoryOfAnswers(t *testing.T) {
	t.Run("refused", func(t *testing.T) {
		c := newClock()
		p := newProvider(t, http.StatusOK, `{"active":false}`)
		i := introspection(t, p, c)
		for range 3 {
			_, err := i.Verify(t.Context(), "bad")
			assertClass(t, stmigrate.ErrInvalidSession, err, "")
		}
		assert.Equal(t, 1, p.calls())
		p.answer(http.StatusOK, good(`{"exp":1800001000}`))
		_, err := i.Verify(t.Context(), "other")
		assert.NoError(t, err, "the refusal is another token's")
		c.Advance(time.Minute)
		_, err = i.Verify(t.Context(), "bad")
		assert.NoError(t, err, "for a minute, and no longer")
	})
	t.Run("good", func(t *testing.T) {
		c := newClock()
		p := newProvider(t, http.StatusOK, good())
		i := introspection(t, p, c)
		for range 3 {
			_, err := i.Verify(t.Context(), "good")
			assert.NoError(t, err)
		}
		assert.Equal(t, 3, p.calls(), "a good answer is not believed again")
		p.answer(http.StatusOK, `{"active":false}`)
		_, err := i.Verify(t.Context(), "good")
		assertClass(t, stmigrate.ErrInvalidSession, err, "")
	})
	t.Run("good, by leave", func(t *testing.T) {
		c := newClock()
		p := newProvider(t, http.StatusOK, good(`{"exp":1800000040}`))
		i := introspection(t, p, c, func(c *IntrospectionConfig) { c.Rules.PositiveCache = time.Minute })
		first, err := i.Verify(t.Context(), "good")
		require.NoError(t, err)
		clear(first.Claims)
		second, err := i.Verify(t.Context(), "good")
		require.NoError(t, err)
		assert.Equal(t, "ada", second.Claims["username"], "claims are the caller's own")
		assert.Equal(t, 1, p.calls())
		c.Advance(40 * time.Second)
		_, _ = i.Verify(t.Context(), "good")
		assert.Equal(t, 2, p.calls(), "not past its end")
	})
	t.Run("limited", func(t *testing.T) {
		c := newClock()
		p := newProvider(t, http.StatusTooManyRequests, ``)
		p.header.Set("Retry-After", "20")
		i := introspection(t, p, c)
		for range 3 {
			_, err := i.Verify(t.Context(), "eager")
			assertClass(t, stmigrate.ErrUnavailable, err, "eager")
			w := httptest.NewRecorder()
			stmigrate.RenderError(w, nil, err)
			assert.Equal(t, "20", w.Header().Get("Retry-After"))
		}
		assert.Equal(t, 1, p.calls(), "the provider wants to be left alone about this token")
		p.answer(http.StatusOK, good())
		_, err := i.Verify(t.Context(), "other")
		assert.NoError(t, err, "one user's limit is not another's")
		c.Advance(20 * time.Second)
		_, err = i.Verify(t.Context(), "eager")
		assert.NoError(t, err)
	})
	t.Run("down", func(t *testing.T) {
		p := newProvider(t, http.StatusBadGateway, ``)
		i := introspection(t, p, newClock())
		_, err := i.Verify(t.Context(), "good")
		assertClass(t, stmigrate.ErrUnavailable, err, "good")
		p.answer(http.StatusOK, good())
		_, err = i.Verify(t.Context(), "good")
		assert.NoError(t, err, "an outage is nothing that a token did")
	})
}

func TestBudget(t *testing.T) {
	c := newClock()
	p := newProvider(t, http.StatusOK, good())
	i := introspection(t, p, c, func(cfg *IntrospectionConfig) { cfg.HTTP.PerSecond = 5 })
	var err error
	for range 20 {
		_, err = i.Verify(t.Context(), "good")
	}
	assertClass(t, stmigrate.ErrUnavailable, err, "good")
	assert.Equal(t, 5, p.calls())
	c.Advance(time.Second)
	_, err = i.Verify(t.Context(), "good")
	assert.NoError(t, err)

	hang, arrived := make(chan struct{}), make(chan struct{})
	p.handler = func(w http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-hang:
		case <-r.Context().Done():
		}
	}
	i = introspection(t, p, c, func(cfg *IntrospectionConfig) { cfg.HTTP.InFlight, cfg.HTTP.Timeout = 1, time.Minute })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() {
		_, err := i.Verify(ctx, "first")
		done <- err
	}()
	<-arrived
	_, err = i.Verify(t.Context(), "second")
	assertClass(t, stmigrate.ErrUnavailable, err, "second")
	cancel()
	assertClass(t, stmigrate.ErrUnavailable, <-done, "first")
	close(hang)
}

// A provider that says nothing, or stops in the middle of an answer.
func TestTimeout(t *testing.T) {
	hang := func(r *http.Request) error {
		<-r.Context().Done()
		return r.Context().Err()
	}
	silent := func(r *http.Request) (*http.Response, error) { return nil, hang(r) }
	stops := func(r *http.Request) (*http.Response, error) {
		body := io.MultiReader(strings.NewReader(`{"active":`), readerFunc(func([]byte) (int, error) { return 0, hang(r) }))
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(body), Request: r}, nil
	}
	for name, transport := range map[string]roundTripper{"silent": silent, "stops": stops} {
		for configured, want := range map[time.Duration]time.Duration{0: defaultTimeout, time.Minute: time.Minute} {
			synctest.Test(t, func(t *testing.T) {
				i, err := NewIntrospection(IntrospectionConfig{
					Endpoint: "https://legacy.example/introspect", Client: backend, Audience: []string{"api"}, Rules: Rules{Issuer: issuer},
					HTTP: HTTP{Client: &http.Client{Transport: transport}, Timeout: configured},
				})
				require.NoError(t, err)
				start := time.Now()
				_, err = i.Verify(t.Context(), "opaque-token")
				assertClass(t, stmigrate.ErrUnavailable, err, "opaque-token", name)
				assert.ErrorIs(t, err, context.DeadlineExceeded, name)
				assert.Equal(t, want, time.Since(start), name)
			})
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// By default no address of this network is asked, whatever the name of the endpoint resolves to.
func TestPrivateAddresses(t *testing.T) {
	p := newProvider(t, http.StatusOK, good())
	for _, endpoint := range []string{p.URL, strings.Replace(p.URL, "127.0.0.1", "localhost", 1)} {
		i := introspection(t, p, newClock(), func(c *IntrospectionConfig) { c.Endpoint, c.HTTP = endpoint, HTTP{} })
		_, err := i.Verify(t.Context(), "opaque-token")
		assertClass(t, stmigrate.ErrUnavailable, err, "opaque-token")
		assert.ErrorContains(t, err, "AllowPrivate")
	}
	assert.Zero(t, p.calls())
}

func TestIntrospectionConfig(t *testing.T) {
	right := func() IntrospectionConfig {
		return IntrospectionConfig{Endpoint: "https://legacy.example/introspect", Client: backend, Audience: []string{"api"}, Rules: Rules{Issuer: issuer}}
	}
	_, err := NewIntrospection(right())
	require.NoError(t, err)
	for field, change := range map[string]func(*IntrospectionConfig){
		"IntrospectionConfig.Endpoint: required":        func(c *IntrospectionConfig) { c.Endpoint = "" },
		"IntrospectionConfig.Endpoint: \"http://legacy": func(c *IntrospectionConfig) { c.Endpoint = "http://legacy.example/introspect" },
		"Client or Bearer is required":                  func(c *IntrospectionConfig) { c.Client = revoke.ClientAuth{} },
		"and not both":                                  func(c *IntrospectionConfig) { c.Bearer = revoke.StaticToken("x") },
		"ClientAuth.Secret is required":                 func(c *IntrospectionConfig) { c.Client.Secret = "" },
		"Audience or ClientIDs is required":             func(c *IntrospectionConfig) { c.Audience = nil },
		"SkipAudienceCheck contradicts":                 func(c *IntrospectionConfig) { c.SkipAudienceCheck = true },
		"has an empty value":                            func(c *IntrospectionConfig) { c.ClientIDs = []string{""} },
		"Rules.Issuer is required":                      func(c *IntrospectionConfig) { c.Rules.Issuer = "" },
		"without space":                                 func(c *IntrospectionConfig) { c.Rules.Issuer = issuer + " " },
		"Rules.TenantClaim and Tenants go together":     func(c *IntrospectionConfig) { c.Rules.TenantClaim = "org" },
		"Rules.Tenants[\"a\"]": func(c *IntrospectionConfig) {
			c.Rules.TenantClaim, c.Rules.Tenants = "org", map[string]string{"a": "T1"}
		},
		"Rules.Checks[0] is nil":                       func(c *IntrospectionConfig) { c.Rules.Checks = make([]func(*stmigrate.OldSession) error, 1) },
		"Rules.SessionIDClaims has an empty name":      func(c *IntrospectionConfig) { c.Rules.SessionIDClaims = []string{""} },
		"differ in letter case alone":                  func(c *IntrospectionConfig) { c.Rules.UserIDClaim = "Sub" },
		"Rules.PositiveCache is":                       func(c *IntrospectionConfig) { c.Rules.PositiveCache = time.Hour },
		"Rules.Leeway is":                              func(c *IntrospectionConfig) { c.Rules.Leeway = time.Hour },
		"HTTP.Timeout":                                 func(c *IntrospectionConfig) { c.HTTP.Timeout = -1 },
		"HTTP.AllowPrivate and HTTP.Client contradict": func(c *IntrospectionConfig) { c.HTTP = HTTP{Client: new(http.Client), AllowPrivate: []string{"x"}} },
		"HTTP.AllowPrivate[0]":                         func(c *IntrospectionConfig) { c.HTTP.AllowPrivate = []string{"https://x"} },
	} {
		cfg := right()
		change(&cfg)
		_, err := NewIntrospection(cfg)
		assert.ErrorContains(t, err, field)
		assert.NotContains(t, fmt.Sprint(err), backend.Secret)
	}
	i, err := NewIntrospection(right())
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		assert.NotContains(t, fmt.Sprintf(verb, i), backend.Secret)
	}
}

// The whole way, at a provider that knows sessions.
func TestIntrospectionAtAnIssuer(t *testing.T) {
	legacy := stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{ClientID: "backend", ClientSecret: "hunter2"})
	i, err := NewIntrospection(IntrospectionConfig{
		Endpoint: legacy.IntrospectionURL(), Client: backend, Audience: []string{"api"}, Rules: Rules{Issuer: legacy.Issuer()}, HTTP: here,
	})
	require.NoError(t, err)
	token := legacy.Opaque(stmigratetest.Claims{"sid": "session-1"})
	s, err := i.Verify(t.Context(), token)
	require.NoError(t, err)
	assert.Equal(t, "session-1", s.SessionID)
	assert.False(t, s.ExpiresAt.IsZero())
	_, err = i.Verify(t.Context(), legacy.SignIn("ada").RefreshToken)
	assertClass(t, stmigrate.ErrInvalidSession, err, "", "a refresh token is active, too")
	legacy.EndSession("session-1")
	_, err = i.Verify(t.Context(), token)
	assertClass(t, stmigrate.ErrInvalidSession, err, token)

	jwt := legacy.Token()
	_, err = i.Verify(t.Context(), jwt)
	assertClass(t, stmigrate.ErrNotMine, err, jwt)
	legacy.Down()
	_, err = i.Verify(t.Context(), legacy.Opaque())
	assertClass(t, stmigrate.ErrUnavailable, err, "")
}

func FuzzIntrospectionAnswer(f *testing.F) {
	f.Add([]byte(good()))
	f.Add([]byte(`{"active":false}`))
	f.Add([]byte(good(`{"exp":1e10,"aud":[1]}`)))
	f.Add([]byte(`{"active":true,"active":false}`))
	i, err := NewIntrospection(IntrospectionConfig{
		Endpoint: "https://legacy.example/", Client: backend, Audience: []string{"api"}, ClientIDs: []string{"spa"},
		Rules: Rules{Issuer: issuer, Now: newClock().Now},
	})
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := i.read(body)
		fuzzed(t, body, s, err)
		if err != nil {
			return
		}
		// An oracle that is lax where the reader is strict: what it accepts says all of this for any reader.
		var answer struct {
			Active   bool
			ClientID string `json:"client_id"`
			Sub      string
		}
		if err := json.Unmarshal(body, &answer); err != nil || !answer.Active || answer.ClientID != "spa" || answer.Sub != s.Subject {
			t.Fatalf("%s: %+v, %v", body, answer, err)
		}
	})
}

// fuzzed checks what holds of every answer.
func fuzzed(t *testing.T, body []byte, s *stmigrate.OldSession, err error) {
	t.Helper()
	if (s == nil) != (err != nil) {
		t.Fatalf("%q: session %v, error %v", body, s, err)
	}
	if err != nil {
		for _, class := range []error{stmigrate.ErrInvalidSession, stmigrate.ErrExpiredSession, stmigrate.ErrNotMine, stmigrate.ErrUnavailable} {
			if errors.Is(err, class) {
				return
			}
		}
		t.Fatalf("%q: an error of no class: %v", body, err)
	}
	if s.Issuer != issuer || s.Subject == "" || len(s.Subject) > 512 || !json.Valid(body) {
		t.Fatalf("%q is no session: %+v", body, s)
	}
}
