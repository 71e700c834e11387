package stmigrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestJWTConfigRefused(t *testing.T) {
	rs := jwtKeys()["RS256"].public()
	for want, change := range map[string]func(*JWTConfig){
		"JWTConfig.Issuer":                           func(c *JWTConfig) { c.Issuer = "" },
		"JWTConfig.Issuer is required, without":      func(c *JWTConfig) { c.Issuer += " " },
		"JWTConfig.Audience is required":             func(c *JWTConfig) { c.Audience = nil },
		"JWTConfig.Audience[1] is blank":             func(c *JWTConfig) { c.Audience = []string{"api", " "} },
		"JWTConfig.Audience and SkipAudienceCheck":   func(c *JWTConfig) { c.SkipAudienceCheck = true },
		"JWTConfig.Algorithms is empty":              func(c *JWTConfig) { c.Algorithms = []string{} },
		`JWTConfig.Algorithms[0] is "none"`:          func(c *JWTConfig) { c.Algorithms = []string{"none"} },
		`JWTConfig.Algorithms[1] is ""`:              func(c *JWTConfig) { c.Algorithms = []string{"RS256", ""} },
		"JWTConfig.Algorithms mixes":                 func(c *JWTConfig) { c.Algorithms = []string{"RS256", "HS256"} },
		"JWTConfig.Leeway is -1ns":                   func(c *JWTConfig) { c.Leeway = -1 },
		"JWTConfig.Leeway is 1h":                     func(c *JWTConfig) { c.Leeway = time.Hour },
		"JWTConfig.TenantClaim needs Tenants":        func(c *JWTConfig) { c.TenantClaim = "org_id" },
		"JWTConfig.Tenants needs TenantClaim":        func(c *JWTConfig) { c.Tenants = map[string]string{"a": "a"} },
		`JWTConfig.Tenants["a"] is "A"`:              func(c *JWTConfig) { c.TenantClaim, c.Tenants = "org_id", map[string]string{"a": "A"} },
		`JWTConfig.Tenants["b"] is ""`:               func(c *JWTConfig) { c.TenantClaim, c.Tenants = "org_id", map[string]string{"b": ""} },
		`JWTConfig.Tenants["c"] is "appid-x"`:        func(c *JWTConfig) { c.TenantClaim, c.Tenants = "org_id", map[string]string{"c": "appid-x"} },
		"JWTConfig.Checks[0] is nil":                 func(c *JWTConfig) { c.Checks = make([]func(*OldSession) error, 1) },
		"JWTConfig.SessionIDClaims has an empty":     func(c *JWTConfig) { c.SessionIDClaims = []string{"sid", ""} },
		`the claims "sub" and "SUB" differ`:          func(c *JWTConfig) { c.UserIDClaim = "SUB" },
		"JWTConfig.InsecureAcceptExpired needs":      func(c *JWTConfig) { c.InsecureAcceptExpired = &AcceptExpired{Until: jwtTestTime} },
		"JWTConfig.InsecureAcceptExpired needs Swit": func(c *JWTConfig) { c.InsecureAcceptExpired = &AcceptExpired{jwtTestTime, jwtTestTime} },
	} {
		t.Run(want, func(t *testing.T) {
			cfg := jwtConfig()
			change(&cfg)
			v, err := NewStaticKeyVerifier([]Key{rs}, cfg)
			require.ErrorContains(t, err, want)
			assert.Nil(t, v)
			_, err = NewJWKSVerifier(JWKSConfig{URL: "https://legacy.example/"}, cfg)
			require.ErrorContains(t, err, want)
			_, err = NewInsecureDecodeVerifier(cfg, InsecureTrustToken)
			require.ErrorContains(t, err, want)
		})
	}
	_, err := NewInsecureDecodeVerifier(jwtConfig(), nil)
	require.ErrorContains(t, err, "confirm is required")
}

func TestStaticKeys(t *testing.T) {
	rs, es, hs := jwtKeys()["RS256"].public(), jwtKeys()["ES256"].public(), jwtKeys()["HS256"].public()
	named := func(k Key, id string) Key { k.ID = id; return k }
	for want, c := range map[string]struct {
		keys       []Key
		algorithms []string
	}{
		"none of 0 keys fits":                  {nil, nil},
		"keys[0] is empty":                     {make([]Key, 1), nil},
		"none of 1 keys fits":                  {[]Key{es}, nil},
		"none of 1 keys fits JWTConfig":        {[]Key{{ID: "x", Algorithm: "RS512", material: rs.material}}, nil},
		"HMAC needs secrets":                   {[]Key{rs}, []string{"HS256"}},
		"HMAC needs secrets, all else public":  {[]Key{rs, hs}, nil},
		"keys[0] is a secret of 31 bytes":      {[]Key{HMACKey(make([]byte, 31))}, []string{"HS256"}},
		"keys[0] is a secret of 32 bytes":      {[]Key{HMACKey(make([]byte, 32))}, []string{"HS384", "HS512"}},
		`another key has the ID "x"`:           {[]Key{named(rs, "x"), named(rs, "x")}, nil},
		"1 of 2 keys have no ID: set Key.ID":   {[]Key{named(rs, "x"), named(rs, "")}, nil},
		"9 keys without ID, at most 8 wanted:": {[]Key{9: named(rs, "")}[1:1], nil},
	} {
		if strings.HasPrefix(want, "9") {
			for range 9 {
				c.keys = append(c.keys, named(rs, ""))
			}
		}
		_, err := NewStaticKeyVerifier(c.keys, jwtConfig(c.algorithms...))
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "0123456789abcdef", "a secret in an error")
	}

	signer := jwtKeys()["RS256"]
	noKid := signer.sign(`{"alg":"RS256"}`, jwtPayload())
	other := jwtKeys()["other"].public()
	for name, c := range map[string]struct {
		keys  []Key
		token string
		class error
	}{
		"kid of none":               {[]Key{named(rs, "a"), named(other, "b")}, signer.token(), ErrInvalidSession},
		"no kid, two keys":          {[]Key{named(rs, "a"), named(other, "b")}, noKid, ErrInvalidSession},
		"no kid, two types":         {[]Key{named(rs, "a"), named(es, "b")}, noKid, nil},
		"no names":                  {[]Key{named(other, ""), named(rs, "")}, signer.token(), nil},
		"no names, no kid":          {[]Key{named(other, ""), named(rs, "")}, noKid, nil},
		"no names, other":           {[]Key{named(other, ""), named(other, "")}, noKid, ErrInvalidSession},
		"another algorithm":         {[]Key{{ID: "key-1", Algorithm: "RS512", material: rs.material}}, signer.token(), ErrInvalidSession},
		"another algorithm, no kid": {[]Key{{ID: "key-1", Algorithm: "RS512", material: rs.material}}, noKid, ErrInvalidSession},
		"trusted":                   {[]Key{{ID: "key-1", TrustedUntil: jwtTestTime.Add(1), material: rs.material}}, signer.token(), nil},
		"trusted no more":           {[]Key{{ID: "key-1", TrustedUntil: jwtTestTime, material: rs.material}}, signer.token(), ErrInvalidSession},
		"trusted no more, no kid":   {[]Key{{ID: "key-1", TrustedUntil: jwtTestTime, material: rs.material}}, noKid, ErrInvalidSession},
	} {
		t.Run(name, func(t *testing.T) {
			v := jwtStatic(t, jwtConfig("RS256", "RS512", "ES256"), c.keys...)
			_, err := v.Verify(t.Context(), c.token)
			assertClass(t, c.class, err)
			assert.NoError(t, v.Warm(t.Context()))
		})
	}
}

func TestJWTConfigClaims(t *testing.T) {
	rs := jwtKeys()["RS256"]
	errOwn := errors.New("not an access token")
	for name, c := range map[string]struct {
		change func(*JWTConfig)
		token  string
		class  error
		want   OldSession
	}{
		"user ID":    {func(c *JWTConfig) { c.UserIDClaim = "uid" }, rs.token("uid", `"00u1"`), nil, OldSession{Subject: "00u1", SessionID: "session-1"}},
		"no user ID": {func(c *JWTConfig) { c.UserIDClaim = "uid" }, rs.token(), ErrInvalidSession, OldSession{}},
		"session IDs": {func(c *JWTConfig) { c.SessionIDClaims = []string{"session_id", "origin_jti"} }, rs.token("origin_jti", `"o"`), nil,
			OldSession{Subject: "auth0|42", SessionID: "o"}},
		"session IDs, the first": {func(c *JWTConfig) { c.SessionIDClaims = []string{"session_id", "origin_jti"} },
			rs.token("origin_jti", `"o"`, "session_id", `"s"`), nil, OldSession{Subject: "auth0|42", SessionID: "s"}},
		"session IDs, broken": {func(c *JWTConfig) { c.SessionIDClaims = []string{"session_id", "origin_jti"} },
			rs.token("origin_jti", `"o"`, "session_id", `""`), ErrInvalidSession, OldSession{}},
		"session ID folded": {func(c *JWTConfig) { c.SessionIDClaims = []string{"SessionID"} }, rs.token("sessionid", `"o"`), ErrInvalidSession, OldSession{}},
		"tenant": {func(c *JWTConfig) { c.TenantClaim, c.Tenants = "org_id", map[string]string{"org_1": "acme"} }, rs.token("org_id", `"org_1"`), nil,
			OldSession{Subject: "auth0|42", SessionID: "session-1", TenantID: "acme"}},
		"tenant unmapped": {func(c *JWTConfig) { c.TenantClaim, c.Tenants = "org_id", map[string]string{"org_1": "acme"} }, rs.token("org_id", `"org_2"`),
			ErrInvalidSession, OldSession{}},
		"tenant missing": {func(c *JWTConfig) { c.TenantClaim, c.Tenants = "org_id", map[string]string{"org_1": "acme"} }, rs.token(),
			ErrInvalidSession, OldSession{}},
		"tenant number": {func(c *JWTConfig) { c.TenantClaim, c.Tenants = "org_id", map[string]string{"1": "acme"} }, rs.token("org_id", "1"),
			ErrInvalidSession, OldSession{}},
		"no audience": {func(c *JWTConfig) { c.Audience, c.SkipAudienceCheck = nil, true }, rs.token("aud", ""), nil,
			OldSession{Subject: "auth0|42", SessionID: "session-1"}},
		"check": {func(c *JWTConfig) {
			c.Checks = append(c.Checks, func(*OldSession) error { return nil }, func(*OldSession) error { return errOwn })
		},
			rs.token(), ErrInvalidSession, OldSession{}},
		"check with a class": {func(c *JWTConfig) {
			c.Checks = append(c.Checks, func(*OldSession) error { return fmt.Errorf("%w: x", ErrNotMine) })
		},
			rs.token(), ErrNotMine, OldSession{}},
		"no check before the signature": {func(c *JWTConfig) { c.Checks = append(c.Checks, func(*OldSession) error { return ErrNotMine }) },
			jwtKeys()["other"].token(), ErrInvalidSession, OldSession{}},
		"no leeway": {func(c *JWTConfig) { c.Leeway = 1 }, rs.token("exp", jwtUnix(-time.Second)), ErrExpiredSession, OldSession{}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := jwtConfig()
			c.change(&cfg)
			v := jwtStatic(t, cfg, rs.public())
			s, err := v.Verify(t.Context(), c.token)
			assertClass(t, c.class, err)
			if err == nil {
				assert.Equal(t, c.want, OldSession{Subject: s.Subject, SessionID: s.SessionID, TenantID: s.TenantID})
			}
		})
	}
	cfg := jwtConfig()
	v := jwtStatic(t, cfg, rs.public())
	cfg.Audience[0] = "changed"
	_, err := v.Verify(t.Context(), rs.token())
	assert.NoError(t, err, "the configuration is the caller's again")
	assert.Equal(t, cfg.Issuer, v.issuer())
}

func TestAcceptExpired(t *testing.T) {
	rs := jwtKeys()["RS256"]
	now := jwtTestTime
	cfg := jwtConfig()
	cfg.Now = func() time.Time { return now }
	off := jwtTestTime.Add(-24 * time.Hour)
	cfg.InsecureAcceptExpired = &AcceptExpired{SwitchedOffAt: off, Until: jwtTestTime.Add(24 * time.Hour)}
	v := jwtStatic(t, cfg, rs.public())
	cfg.InsecureAcceptExpired.Until = jwtTestTime.Add(10000 * time.Hour)
	at := func(iat, exp time.Duration) string {
		return rs.token("iat", fmt.Sprint(off.Add(iat).Unix()), "exp", fmt.Sprint(off.Add(exp).Unix()))
	}
	live := at(-time.Hour, time.Hour)
	s, err := v.Verify(t.Context(), live)
	require.NoError(t, err)
	assert.Equal(t, off.Add(time.Hour).Unix(), s.ExpiresAt.Unix())
	assert.Equal(t, jwtTestTime.Add(24*time.Hour+30*time.Second).Unix(), s.acceptedUntil.Unix())
	for name, token := range map[string]string{
		"expired before": at(-2*time.Hour, 0), "issued after": at(time.Second, time.Hour), "no iat": rs.token("iat", "", "exp", fmt.Sprint(off.Add(time.Hour).Unix())),
	} {
		_, err := v.Verify(t.Context(), token)
		assert.ErrorIs(t, err, ErrExpiredSession, name)
	}
	now = jwtTestTime.Add(24*time.Hour + 29*time.Second)
	_, err = v.Verify(t.Context(), live)
	require.NoError(t, err)
	now = now.Add(time.Second)
	_, err = v.Verify(t.Context(), live)
	assertClass(t, ErrExpiredSession, err)
	s, err = v.Verify(t.Context(), at(-time.Hour, 100*time.Hour))
	require.NoError(t, err)
	assert.Equal(t, off.Add(100*time.Hour+30*time.Second).Unix(), s.acceptedUntil.Unix(), "a token that outlives the exception")
}

func TestFirstOf(t *testing.T) {
	fail := func(err error) OldSessionVerifier {
		return VerifierFunc(func(context.Context, string) (*OldSession, error) { return nil, err })
	}
	found := VerifierFunc(func(context.Context, string) (*OldSession, error) { return &OldSession{Subject: "u"}, nil })
	for name, c := range map[string]struct {
		verifiers []OldSessionVerifier
		class     error
	}{
		"none": {nil, ErrNotMine}, "second": {[]OldSessionVerifier{fail(ErrNotMine), found}, nil},
		"refused": {[]OldSessionVerifier{fail(ErrInvalidSession), found}, ErrInvalidSession}, "expired": {[]OldSessionVerifier{fail(ErrExpiredSession), found}, ErrExpiredSession},
		"down": {[]OldSessionVerifier{fail(ErrUnavailable), found}, ErrUnavailable}, "nobody's": {[]OldSessionVerifier{fail(ErrNotMine), fail(ErrNotMine)}, ErrNotMine},
	} {
		s, err := FirstOf(c.verifiers...).Verify(t.Context(), "t")
		assertClass(t, c.class, err)
		assert.Equal(t, c.class == nil, s != nil, name)
	}
}

func TestDecodeVerifier(t *testing.T) {
	rs, other := jwtKeys()["RS256"], jwtKeys()["other"]
	asked := 0
	var answer error
	v, err := NewInsecureDecodeVerifier(jwtConfig(), func(_ context.Context, token string, s *OldSession) error {
		asked++
		assert.NotEmpty(t, token)
		assert.Equal(t, "auth0|42", s.Subject)
		return answer
	})
	require.NoError(t, err)
	assert.Equal(t, "https://legacy.example/", v.issuer())
	_, err = v.Verify(t.Context(), other.token())
	require.NoError(t, err)
	assert.Equal(t, 1, asked)
	for token, class := range map[string]error{
		rs.token("iss", `"x"`): ErrNotMine, rs.token("aud", `"x"`): ErrInvalidSession, rs.token("exp", "1000000000"): ErrInvalidSession, rs.token("exp", ""): ErrInvalidSession,
		rs.token("sub", ""): ErrInvalidSession, rs.sign(`{"alg":"none"}`, jwtPayload()): ErrInvalidSession, rs.sign(`{"alg":"HS256"}`, jwtPayload()): ErrInvalidSession,
		jwtB64(rs.header()) + "." + jwtB64(jwtPayload()) + ".": ErrInvalidSession, "opaque": ErrNotMine,
	} {
		_, err := v.Verify(t.Context(), token)
		assertClass(t, class, err)
	}
	assert.Equal(t, 1, asked, "asked about a token that is no good")
	for err, class := range map[error]error{errors.New("no"): ErrInvalidSession, ErrUnavailable: ErrUnavailable} {
		answer = err
		s, err := v.Verify(t.Context(), rs.token())
		assertClass(t, class, err)
		assert.Nil(t, s)
	}
}

// TestDecodeVerifierChecks: the rules of a provider hold before it is asked, or a token of its for another use would be good.
func TestDecodeVerifierChecks(t *testing.T) {
	cfg := jwtConfig()
	cfg.Checks = []func(*OldSession) error{func(*OldSession) error { return errors.New("not an access token") }}
	v, err := NewInsecureDecodeVerifier(cfg, func(context.Context, string, *OldSession) error {
		t.Error("asked about a token that is no good")
		return nil
	})
	require.NoError(t, err)
	s, err := v.Verify(t.Context(), jwtKeys()["RS256"].token())
	assertClass(t, ErrInvalidSession, err)
	assert.Nil(t, s)
}

// TestConfirmWithUserInfoOverHTTP: a token goes over no line that others can read.
func TestConfirmWithUserInfoOverHTTP(t *testing.T) {
	client := &http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		t.Error("the token was sent")
		return nil, errors.New("no answer")
	})}
	err := ConfirmWithUserInfo("http://legacy.example/userinfo", client)(t.Context(), "token", &OldSession{Subject: "u"})
	assertClass(t, ErrUnavailable, err)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestConfirmWithUserInfo(t *testing.T) {
	s := &OldSession{Issuer: "https://legacy.example/", Subject: "u"}
	var redirected atomic.Bool
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		class   error
	}{
		"good":       {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"sub":"u","email":"x"}`) }, nil},
		"other":      {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"sub":"v"}`) }, ErrInvalidSession},
		"longer":     {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"sub":"uu"}`) }, ErrInvalidSession},
		"no sub":     {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{}`) }, ErrInvalidSession},
		"sub number": {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"sub":1}`) }, ErrInvalidSession},
		"two subs":   {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"sub":"v","sub":"u"}`) }, ErrUnavailable},
		"html":       {func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `<html>`) }, ErrUnavailable},
		"too long": {func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, `{"sub":"u"}`, strings.Repeat(" ", 65<<10))
		}, ErrUnavailable},
		"401":         {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(401) }, ErrInvalidSession},
		"403":         {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(403) }, ErrInvalidSession},
		"429":         {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(429) }, ErrUnavailable},
		"500":         {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(500) }, ErrUnavailable},
		"204":         {func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(204) }, ErrUnavailable},
		"hangs up":    {func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, ErrUnavailable},
		"redirection": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) }, ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				assert.Equal(t, "Bearer the.token.itself", r.Header.Get("Authorization"))
				if r.URL.Path != "/userinfo" {
					redirected.Store(true)
				}
				c.handler(w, r)
			}))
			defer server.Close()
			err := ConfirmWithUserInfo(server.URL+"/userinfo", nil)(t.Context(), "the.token.itself", s)
			assertClass(t, c.class, err)
		})
	}
	assert.False(t, redirected.Load(), "the token went somewhere else")
	for _, url := range []string{"", "http://legacy.example/userinfo"} {
		assertClass(t, ErrUnavailable, ConfirmWithUserInfo(url, nil)(t.Context(), "t", s))
	}
}

func TestConfirmBudget(t *testing.T) {
	s := &OldSession{Issuer: "https://legacy.example/", Subject: "u"}
	answer := func(status int, body string) *http.Response {
		return &http.Response{StatusCode: status, Body: io.NopCloser(strings.NewReader(body)), Header: http.Header{}}
	}
	synctest.Test(t, func(t *testing.T) {
		var calls, refusals atomic.Int32
		client := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
			calls.Add(1)
			if strings.HasPrefix(r.Header.Get("Authorization"), "Bearer bad") {
				refusals.Add(1)
				return answer(401, ""), nil
			}
			time.Sleep(time.Second)
			return answer(200, `{"sub":"u"}`), nil
		})}
		confirm := ConfirmWithUserInfo("https://legacy.example/userinfo", client)
		got := jwksMany(100, func(i int) error { return confirm(t.Context(), fmt.Sprint("good ", i), s) })
		assert.Equal(t, map[string]int{"ok": confirmInFlight, "unavailable": 100 - confirmInFlight}, got)
		time.Sleep(time.Minute)

		for range 10 {
			assertClass(t, ErrInvalidSession, confirm(t.Context(), "bad", s))
		}
		assert.EqualValues(t, 1, refusals.Load(), "a refusal is remembered")
		time.Sleep(confirmKeep)
		assertClass(t, ErrInvalidSession, confirm(t.Context(), "bad", s))
		assert.EqualValues(t, 2, refusals.Load(), "and forgotten")

		time.Sleep(time.Minute)
		before := calls.Load()
		for i := range 1000 {
			assert.Error(t, confirm(t.Context(), fmt.Sprint("bad ", i), s))
			time.Sleep(time.Millisecond)
		}
		assert.InDelta(t, 2*confirmRate, calls.Load()-before, 2, "the burst and a second")
	})
}

func TestJWTRejectCost(t *testing.T) {
	v := jwtStatic(t, jwtConfig(), jwtKeys()["RS256"].public())
	token := strings.Repeat("a.", 1<<19)
	assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = v.Verify(t.Context(), token) }), "an oversized token costs memory")
	assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = v.Verify(t.Context(), "opaque") }), "an opaque token costs memory")
}

func TestClaimsAreTheCallers(t *testing.T) {
	rs := jwtKeys()["RS256"]
	v := jwtStatic(t, jwtConfig(), rs.public())
	token := rs.token("x", `{"a":[1]}`)
	first, err := v.Verify(t.Context(), token)
	require.NoError(t, err)
	clear(first.Claims["x"].(map[string]any))
	clear(first.Claims)
	second, err := v.Verify(t.Context(), token)
	require.NoError(t, err)
	assert.Equal(t, map[string]any{"a": []any{json.Number("1")}}, second.Claims["x"])
}
