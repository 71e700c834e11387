package passwordgrant_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/login/passwordgrant"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

const (
	email    = "ada@example.com"
	password = "correct horse 1"
	secret   = "s3cr3t-of-the-client"
)

// provider is a token endpoint that knows ada, with ID tokens of an issuer.
type provider struct {
	*httptest.Server
	iss *stmigratetest.Issuer
	// answer, if not nil, is what the endpoint does instead.
	answer http.HandlerFunc
	// claims go over those of the ID token.
	claims stmigratetest.Claims
	last   *http.Request
	form   url.Values
	calls  atomic.Int32
	broken atomic.Bool
}

func newProvider(t testing.TB) *provider {
	p := &provider{iss: stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{Audience: "client"})}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.calls.Add(1)
		body, _ := io.ReadAll(r.Body)
		form, _ := url.ParseQuery(string(body))
		switch {
		case p.answer != nil:
			p.last, p.form = r, form
			p.answer(w, r)
		case p.broken.Load():
			w.WriteHeader(http.StatusInternalServerError)
		case !strings.EqualFold(form.Get("username"), email) || form.Get("password") != password:
			write(w, http.StatusForbidden, map[string]any{"error": "invalid_grant", "error_description": "Wrong email or password."})
		default:
			p.success(w)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) success(w http.ResponseWriter) {
	claims := stmigratetest.Claims{"sub": "auth0|ada", "email": "Ada@example.com", "email_verified": true}
	for name, value := range p.claims {
		claims[name] = value
	}
	write(w, http.StatusOK, map[string]any{
		"id_token": p.iss.Token(claims), "access_token": "opaque-at", "refresh_token": "opaque-rt", "token_type": "Bearer", "expires_in": 86400,
	})
}

func write(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if text, ok := body.(string); ok {
		_, _ = io.WriteString(w, text)
		return
	}
	_ = json.NewEncoder(w).Encode(body)
}

func (p *provider) config(t testing.TB) passwordgrant.Config {
	published, err := stmigrate.ParseKeys(p.iss.JWKS())
	require.NoError(t, err)
	keys, err := stmigrate.NewStaticKeyVerifier(published, stmigrate.JWTConfig{Issuer: p.iss.Issuer(), Audience: []string{"client"}})
	require.NoError(t, err)
	return passwordgrant.Config{TokenURL: p.URL, ClientID: "client", ClientSecret: secret, Verifier: keys, Timeout: time.Minute}
}

func (p *provider) store(t testing.TB, change ...func(*passwordgrant.Config)) *passwordgrant.Store {
	cfg := p.config(t)
	for _, f := range change {
		f(&cfg)
	}
	s, err := passwordgrant.New(cfg)
	require.NoError(t, err)
	return s
}

func TestStore_suite(t *testing.T) {
	stmigratetest.TestLegacyUserStore(t, func(t *testing.T) stmigratetest.LegacyUsersUnderTest {
		p := newProvider(t)
		return stmigratetest.LegacyUsersUnderTest{
			Store: p.store(t), User: stmigrate.LegacyUser{ID: "auth0|ada", Email: email, EmailVerified: true}, Password: password,
			OtherTenant: "acme", Break: func() { p.broken.Store(true) },
		}
	})
}

// checkError wants one class and no secrets.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	classes := map[string]error{
		"wrong": stmigrate.ErrWrongCredentials, "unavailable": stmigrate.ErrUnavailable,
		"more": passwordgrant.ErrMoreNeeded, "blocked": passwordgrant.ErrBlocked,
	}
	require.Contains(t, classes, want)
	for name, class := range classes {
		require.Equal(t, name == want, errors.Is(err, class), "%s: %v", name, err)
	}
	for _, s := range []string{password, secret, url.QueryEscape(password), "opaque-", "hunter2", "Fe26", "eyJ"} {
		require.NotContains(t, err.Error(), s)
	}
}

func TestStore_answers(t *testing.T) {
	text, err := os.ReadFile("testdata/answers.json")
	require.NoError(t, err)
	var golden struct {
		Answers []struct {
			Name, Source, Want string
			Status             int
			Body               any
		}
	}
	require.NoError(t, json.Unmarshal(text, &golden))
	require.NotEmpty(t, golden.Answers)
	for _, a := range golden.Answers {
		t.Run(a.Name, func(t *testing.T) {
			p := newProvider(t)
			p.answer = func(w http.ResponseWriter, _ *http.Request) { write(w, a.Status, a.Body) }
			u, err := p.store(t).Authenticate(t.Context(), "public", email, password)
			require.Nil(t, u)
			checkError(t, err, a.Want)
		})
	}
}

func TestStore_failures(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	defer elsewhere.Close()
	for name, answer := range map[string]http.HandlerFunc{
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusTemporaryRedirect)
		},
		"hang":    func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"endless": func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte(" "), 200_000)) },
		"drop":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"cut": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"error":`)
		},
		"no HTTP": func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			_, _ = io.WriteString(c, "password="+password+"\r\n\r\n")
			_ = c.Close()
		},
		"no ID token": func(w http.ResponseWriter, _ *http.Request) {
			write(w, 200, map[string]any{"access_token": "opaque-at"})
		},
		"junk ID token": func(w http.ResponseWriter, _ *http.Request) {
			write(w, 200, map[string]any{"id_token": "eyJhbGciOiJub25lIn0.e30."})
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t)
			p.answer = answer
			s := p.store(t, func(c *passwordgrant.Config) {
				if name == "hang" {
					c.Timeout = 20 * time.Millisecond
				}
			})
			u, err := s.Authenticate(t.Context(), "public", email, password)
			require.Nil(t, u)
			checkError(t, err, "unavailable")
		})
	}
}

// A 200 is worth what the token says, and that what its signature is worth.
func TestStore_identity(t *testing.T) {
	for name, tt := range map[string]struct {
		claims stmigratetest.Claims
		want   string
	}{
		"another's user name":    {stmigratetest.Claims{"email": "eve@example.com"}, "wrong"},
		"another with an accent": {stmigratetest.Claims{"email": "adá@example.com"}, "wrong"},
		"no e-mail":              {stmigratetest.Claims{"email": nil}, "unavailable"},
		"an e-mail of no text":   {stmigratetest.Claims{"email": []string{email}}, "unavailable"},
		"another client":         {stmigratetest.Claims{"aud": "other"}, "unavailable"},
		"another issuer":         {stmigratetest.Claims{"iss": "https://evil.example/"}, "unavailable"},
		"expired":                {stmigratetest.Claims{"exp": 1}, "unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t)
			p.claims = tt.claims
			u, err := p.store(t).Authenticate(t.Context(), "public", email, password)
			require.Nil(t, u)
			checkError(t, err, tt.want)
		})
	}
	t.Run("keys out of reach", func(t *testing.T) {
		p := newProvider(t)
		p.iss.Down()
		keys, err := stmigrate.NewJWKSVerifier(stmigrate.JWKSConfig{URL: p.iss.JWKSURL()},
			stmigrate.JWTConfig{Issuer: p.iss.Issuer(), Audience: []string{"client"}})
		require.NoError(t, err)
		_, err = p.store(t, func(c *passwordgrant.Config) { c.Verifier = keys }).Authenticate(t.Context(), "public", email, password)
		checkError(t, err, "unavailable")
	})
}

func TestStore_emailVerified(t *testing.T) {
	for value, want := range map[any]bool{true: true, "true": true, false: false, "false": false, 1: false, nil: false, "yes": false} {
		p := newProvider(t)
		p.claims = stmigratetest.Claims{"email_verified": value}
		u, err := p.store(t).Authenticate(t.Context(), "public", email, password)
		require.NoError(t, err)
		assert.Equal(t, want, u.EmailVerified, value)
	}
}

func TestStore_request(t *testing.T) {
	ip := func(context.Context) netip.Addr { return netip.MustParseAddr("::ffff:203.0.113.7") }
	for name, tt := range map[string]struct {
		change func(*passwordgrant.Config)
		form   url.Values
		basic  bool
		header string
	}{
		"basic": {func(*passwordgrant.Config) {}, url.Values{"grant_type": {"password"}, "scope": {"openid email"}}, true, ""},
		"form": {func(c *passwordgrant.Config) { c.SecretInForm = true },
			url.Values{"grant_type": {"password"}, "scope": {"openid email"}, "client_id": {"client"}, "client_secret": {secret}}, false, ""},
		"public": {func(c *passwordgrant.Config) { c.ClientSecret = "" },
			url.Values{"grant_type": {"password"}, "scope": {"openid email"}, "client_id": {"client"}}, false, ""},
		"Auth0": {func(c *passwordgrant.Config) {
			c.Realm, c.Audience, c.Scope, c.ClientIP = "Users", "https://api.example.com", "openid email profile", ip
		}, url.Values{"grant_type": {"http://auth0.com/oauth/grant-type/password-realm"}, "scope": {"openid email profile"}, "realm": {"Users"},
			"audience": {"https://api.example.com"}}, true, "203.0.113.7"},
		"no address": {func(c *passwordgrant.Config) { c.ClientIP = func(context.Context) netip.Addr { return netip.Addr{} } },
			url.Values{"grant_type": {"password"}, "scope": {"openid email"}}, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t)
			p.answer = func(w http.ResponseWriter, _ *http.Request) { p.success(w) }
			_, err := p.store(t, tt.change).Authenticate(t.Context(), "public", " ADA@example.com", "p&ss=wörd+%")
			require.NoError(t, err)
			tt.form.Set("username", email)
			tt.form.Set("password", "p&ss=wörd+%")
			require.Equal(t, tt.form, p.form)
			require.Equal(t, http.MethodPost, p.last.Method)
			require.Empty(t, p.last.URL.RawQuery)
			user, pass, ok := p.last.BasicAuth()
			require.Equal(t, tt.basic, ok)
			if ok {
				require.Equal(t, []string{"client", secret}, []string{user, pass})
			}
			require.Equal(t, tt.header, p.last.Header.Get("auth0-forwarded-for"))
		})
	}
}

func TestStore_username(t *testing.T) {
	p := newProvider(t)
	p.answer = func(w http.ResponseWriter, _ *http.Request) { p.success(w) }
	s := p.store(t, func(c *passwordgrant.Config) {
		c.Username = func(_ context.Context, _, e string) (string, error) {
			switch e {
			case email:
				return "ada.lovelace", nil
			case "down@example.com":
				return "", errors.New("down")
			}
			return "", stmigrate.ErrUnknownUser
		}
	})
	_, err := s.Authenticate(t.Context(), "public", email, password)
	require.NoError(t, err)
	require.Equal(t, "ada.lovelace", p.form.Get("username"))
	_, err = s.Authenticate(t.Context(), "public", "nobody@example.com", password)
	checkError(t, err, "wrong")
	_, err = s.Authenticate(t.Context(), "public", "down@example.com", password)
	checkError(t, err, "unavailable")

	p.claims = stmigratetest.Claims{"email": nil, "email_verified": true}
	skip := p.store(t, func(c *passwordgrant.Config) { c.SkipEmailCheck = true })
	u, err := skip.Authenticate(t.Context(), "public", email, password)
	require.NoError(t, err)
	require.Equal(t, email, u.Email)
	require.False(t, u.EmailVerified)
	p.claims = stmigratetest.Claims{"email": "eve@example.com"}
	_, err = skip.Authenticate(t.Context(), "public", email, password)
	checkError(t, err, "wrong")
	p.claims = stmigratetest.Claims{"email": []string{"eve@example.com"}}
	_, err = skip.Authenticate(t.Context(), "public", email, password)
	checkError(t, err, "unavailable")
}

func TestStoreDoesNotPrintItsSecret(t *testing.T) {
	s := newProvider(t).store(t, func(c *passwordgrant.Config) { c.ClientSecret = "client-secret" })
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		require.NotContains(t, fmt.Sprintf(verb, s), "client-secret", verb)
	}
}

func TestStore_tenant(t *testing.T) {
	p := newProvider(t)
	s := p.store(t, func(c *passwordgrant.Config) { c.Tenant = "acme" })
	u, err := s.Authenticate(t.Context(), "acme", email, password)
	require.NoError(t, err)
	require.Equal(t, "acme", u.TenantID)
	before := p.calls.Load()
	_, err = s.Authenticate(t.Context(), "public", email, password)
	checkError(t, err, "wrong")
	require.Equal(t, before, p.calls.Load(), "another tenant's password was sent")
}

type revoker func(ctx context.Context, token string, s *stmigrate.OldSession) error

func (f revoker) Revoke(ctx context.Context, token string, s *stmigrate.OldSession) error {
	return f(ctx, token, s)
}

// The session is revoked whoever it turns out to be; and a failure is no failed sign-in.
func TestStore_revoke(t *testing.T) {
	p := newProvider(t)
	var log bytes.Buffer
	var revoked []string
	fail := error(nil)
	s := p.store(t, func(c *passwordgrant.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		c.Revoker = revoker(func(ctx context.Context, token string, s *stmigrate.OldSession) error {
			revoked = append(revoked, token+" "+s.Subject)
			require.NotErrorIs(t, ctx.Err(), context.Canceled)
			_, bounded := ctx.Deadline()
			require.True(t, bounded)
			return fail
		})
	})
	_, err := s.Authenticate(t.Context(), "public", email, password)
	require.NoError(t, err)
	p.claims = stmigratetest.Claims{"email": "eve@example.com"}
	_, err = s.Authenticate(t.Context(), "public", email, password)
	checkError(t, err, "wrong")
	require.Equal(t, []string{"opaque-rt auth0|ada", "opaque-rt auth0|ada"}, revoked)
	require.Empty(t, log.String())

	p.claims, fail = nil, errors.New("no answer to /revoke?token=opaque-rt")
	_, err = s.Authenticate(t.Context(), "public", email, password)
	require.NoError(t, err)
	require.Contains(t, log.String(), "no answer")
	require.NotContains(t, log.String(), "opaque-")
}

func TestAClientThatGoesAwayLeavesNoSession(t *testing.T) {
	p := newProvider(t)
	ctx, leave := context.WithCancel(t.Context())
	revoked := 0
	s := p.store(t, func(c *passwordgrant.Config) {
		verifier := c.Verifier
		c.Verifier = stmigrate.VerifierFunc(func(ctx context.Context, token string) (*stmigrate.OldSession, error) {
			leave()
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			return verifier.Verify(ctx, token)
		})
		c.Revoker = revoker(func(ctx context.Context, _ string, _ *stmigrate.OldSession) error {
			require.NoError(t, ctx.Err())
			revoked++
			return nil
		})
	})
	_, _ = s.Authenticate(ctx, "public", email, password)
	require.Equal(t, 1, revoked)

	_, err := s.Authenticate(ctx, "public", email, password)
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	require.ErrorIs(t, err, context.Canceled, "nothing is begun for a client that is gone")
	require.Equal(t, 1, revoked)
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAClientThatGoesAwayDuringTheGrant(t *testing.T) {
	p := newProvider(t)
	ctx, leave := context.WithCancel(t.Context())
	revoked, own := 0, new(http.Transport)
	s := p.store(t, func(c *passwordgrant.Config) {
		c.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
			leave()
			if err := r.Context().Err(); err != nil {
				return nil, err
			}
			return own.RoundTrip(r)
		})}
		c.Revoker = revoker(func(context.Context, string, *stmigrate.OldSession) error {
			revoked++
			return nil
		})
	})
	_, _ = s.Authenticate(ctx, "public", email, password)
	require.Equal(t, 1, revoked)
}

func TestAUserOfAnotherTenant(t *testing.T) {
	p := newProvider(t)
	s := p.store(t, func(c *passwordgrant.Config) {
		c.Verifier = stmigrate.VerifierFunc(func(context.Context, string) (*stmigrate.OldSession, error) {
			return &stmigrate.OldSession{Subject: "auth0|ada", TenantID: "acme", Claims: map[string]any{"email": email}}, nil
		})
	})
	_, err := s.Authenticate(t.Context(), "public", email, password)
	checkError(t, err, "wrong")
}

func TestStore_accessTokenAndFill(t *testing.T) {
	p := newProvider(t)
	userInfo := stmigrate.VerifierFunc(func(_ context.Context, token string) (*stmigrate.OldSession, error) {
		require.Equal(t, "opaque-at", token)
		return &stmigrate.OldSession{Issuer: "i", Subject: "ada", Claims: map[string]any{"email": email, "roles": "admin"}}, nil
	})
	fail := error(nil)
	s := p.store(t, func(c *passwordgrant.Config) {
		c.Verifier, c.UseAccessToken = userInfo, true
		c.Fill = func(s *stmigrate.OldSession, u *stmigrate.LegacyUser) error {
			u.Roles = []string{s.Claims["roles"].(string)}
			return fail
		}
	})
	u, err := s.Authenticate(t.Context(), "public", email, password)
	require.NoError(t, err)
	require.Equal(t, "ada", u.ID)
	require.Equal(t, []string{"admin"}, u.Roles)
	fail = errors.New("bad roles")
	u, err = s.Authenticate(t.Context(), "public", email, password)
	require.ErrorIs(t, err, fail)
	require.Nil(t, u)
}

func TestNew(t *testing.T) {
	p := newProvider(t)
	for name, tt := range map[string]struct {
		change func(*passwordgrant.Config)
		text   string
	}{
		"URL":          {func(c *passwordgrant.Config) { c.TokenURL = "" }, "Config.TokenURL"},
		"http":         {func(c *passwordgrant.Config) { c.TokenURL = "http://example.com/token" }, "https wanted"},
		"no host":      {func(c *passwordgrant.Config) { c.TokenURL = "https:///token" }, "Config.TokenURL"},
		"user":         {func(c *passwordgrant.Config) { c.TokenURL = "https://u:" + secret + "@example.com/" }, "Config.TokenURL"},
		"client":       {func(c *passwordgrant.Config) { c.ClientID = "" }, "Config.ClientID"},
		"verifier":     {func(c *passwordgrant.Config) { c.Verifier = nil }, "Config.Verifier"},
		"no secret":    {func(c *passwordgrant.Config) { c.ClientSecret, c.SecretInForm = "", true }, "Config.SecretInForm"},
		"no ClientIP":  {func(c *passwordgrant.Config) { c.ClientIPHeader = "X" }, "Config.ClientIPHeader"},
		"timeout":      {func(c *passwordgrant.Config) { c.Timeout = -1 }, "Config.Timeout"},
		"not a tenant": {func(c *passwordgrant.Config) { c.Tenant = "../x" }, "Config.Tenant"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := p.config(t)
			tt.change(&cfg)
			_, err := passwordgrant.New(cfg)
			require.ErrorContains(t, err, tt.text)
			require.NotContains(t, err.Error(), secret)
		})
	}
}

// One user with a second factor must not take the provider from everybody.
func TestStore_behindTheGuard(t *testing.T) {
	p := newProvider(t)
	p.answer = func(w http.ResponseWriter, r *http.Request) {
		write(w, http.StatusForbidden, map[string]any{"error": "mfa_required", "mfa_token": "Fe26...Ha"})
	}
	guard, err := stmigrate.NewLegacyGuard(stmigrate.LegacyGuardConfig{Store: p.store(t), SkipLegacyDirectory: true})
	require.NoError(t, err)
	for range 9 {
		_, err := guard.Authenticate(t.Context(), "public", email, password)
		require.ErrorIs(t, err, passwordgrant.ErrMoreNeeded)
	}
	p.answer = nil
	_, err = guard.Authenticate(t.Context(), "public", email, password)
	require.NoError(t, err)
}
