package cognito_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/login/cognito"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

const (
	email    = "ada@example.com"
	password = "correct horse 1"
	secret   = "s3cr3t-of-the-client"
	sub      = "d16b4aa8-8633-4abd-93b3-5062a8e1b5f8"
)

type attribute struct{ Name, Value string }

// pool answers InitiateAuth and GetUser for ada.
type pool struct {
	*httptest.Server
	iss *stmigratetest.Issuer
	// answer, if not nil, is what it does instead, by the operation.
	answer     map[string]http.HandlerFunc
	attributes []attribute
	claims     stmigratetest.Claims
	requests   []map[string]any
	headers    []http.Header
	calls      atomic.Int32
	broken     atomic.Bool
}

func newPool(t testing.TB) *pool {
	p := &pool{
		iss: stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{Audience: "client"}), answer: make(map[string]http.HandlerFunc),
		attributes: []attribute{{"sub", sub}, {"email", "Ada@example.com"}, {"email_verified", "true"}, {"custom:plan", "pro"}},
	}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.calls.Add(1)
		var request struct {
			AuthFlow, ClientID, AccessToken string
			AuthParameters                  map[string]string
		}
		body, _ := io.ReadAll(r.Body)
		_ = json.Unmarshal(body, &request)
		operation := r.Header.Get("X-Amz-Target")
		switch {
		case p.answer[operation] != nil:
			var all map[string]any
			_ = json.Unmarshal(body, &all)
			p.requests, p.headers = append(p.requests, all), append(p.headers, r.Header)
			p.answer[operation](w, r)
		case p.broken.Load():
			write(w, http.StatusInternalServerError, "", map[string]any{"__type": "InternalErrorException"})
		case operation == initiateAuth && request.AuthParameters["USERNAME"] == email && request.AuthParameters["PASSWORD"] == password:
			p.initiateAuth(w)
		case operation == initiateAuth:
			write(w, http.StatusBadRequest, "", map[string]any{"__type": "NotAuthorizedException", "message": "Incorrect username or password."})
		case operation == getUser && request.AccessToken == "opaque-at":
			write(w, http.StatusOK, "", map[string]any{"Username": "ada", "UserAttributes": p.attributes})
		default:
			write(w, http.StatusBadRequest, "", map[string]any{"__type": "NotAuthorizedException", "message": "Invalid Access Token"})
		}
	}))
	t.Cleanup(p.Close)
	return p
}

const (
	initiateAuth = "AWSCognitoIdentityProviderService.InitiateAuth"
	getUser      = "AWSCognitoIdentityProviderService.GetUser"
)

func (p *pool) initiateAuth(w http.ResponseWriter) {
	claims := stmigratetest.Claims{"sub": sub, "token_use": "id", "email": "ada@example.com", "email_verified": true}
	for name, value := range p.claims {
		claims[name] = value
	}
	write(w, http.StatusOK, "", map[string]any{"ChallengeParameters": map[string]string{}, "AuthenticationResult": map[string]any{
		"AccessToken": "opaque-at", "ExpiresIn": 3600, "IdToken": p.iss.Token(claims), "RefreshToken": "opaque-rt", "TokenType": "Bearer",
	}})
}

func write(w http.ResponseWriter, status int, header string, body any) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	if header != "" {
		w.Header().Set("x-amzn-errortype", header)
	}
	w.WriteHeader(status)
	if text, ok := body.(string); ok {
		_, _ = io.WriteString(w, text)
		return
	}
	_ = json.NewEncoder(w).Encode(body)
}

func (p *pool) store(t testing.TB, change ...func(*cognito.Config)) *cognito.Store {
	cfg := cognito.Config{Endpoint: p.URL, ClientID: "client", ClientSecret: secret, Timeout: time.Minute}
	for _, f := range change {
		f(&cfg)
	}
	s, err := cognito.New(cfg)
	require.NoError(t, err)
	return s
}

func (p *pool) withVerifier(t testing.TB) func(*cognito.Config) {
	published, err := stmigrate.ParseKeys(p.iss.JWKS())
	require.NoError(t, err)
	keys, err := stmigrate.NewStaticKeyVerifier(published, stmigrate.JWTConfig{
		Issuer: p.iss.Issuer(), Audience: []string{"client"},
		Checks: []func(*stmigrate.OldSession) error{func(s *stmigrate.OldSession) error {
			if s.Claims["token_use"] != "id" {
				return errors.New("token_use is not id")
			}
			return nil
		}},
	})
	require.NoError(t, err)
	return func(c *cognito.Config) { c.Verifier = keys }
}

func TestStore_suite(t *testing.T) {
	for _, name := range []string{"GetUser", "ID token"} {
		t.Run(name, func(t *testing.T) {
			stmigratetest.TestLegacyUserStore(t, func(t *testing.T) stmigratetest.LegacyUsersUnderTest {
				p := newPool(t)
				s := p.store(t)
				if name == "ID token" {
					s = p.store(t, p.withVerifier(t))
				}
				return stmigratetest.LegacyUsersUnderTest{
					Store: s, User: stmigrate.LegacyUser{ID: sub, Email: email, EmailVerified: true}, Password: password,
					OtherTenant: "acme", Break: func() { p.broken.Store(true) },
				}
			})
		})
	}
}

// checkError wants one class and no secrets.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	classes := map[string]error{
		"wrong": stmigrate.ErrWrongCredentials, "unavailable": stmigrate.ErrUnavailable,
		"more": cognito.ErrMoreNeeded, "blocked": cognito.ErrBlocked,
	}
	require.Contains(t, classes, want)
	for name, class := range classes {
		require.Equal(t, name == want, errors.Is(err, class), "%s: %v", name, err)
	}
	for _, s := range []string{password, secret, "opaque-", "hunter2", "AYABe", "eyJ"} {
		require.NotContains(t, err.Error(), s)
	}
}

func TestStore_answers(t *testing.T) {
	text, err := os.ReadFile("testdata/answers.json")
	require.NoError(t, err)
	var golden struct {
		Answers []struct {
			Name, Header, Want string
			Status             int
			Body               any
		}
	}
	require.NoError(t, json.Unmarshal(text, &golden))
	require.NotEmpty(t, golden.Answers)
	for _, a := range golden.Answers {
		t.Run(a.Name, func(t *testing.T) {
			p := newPool(t)
			p.answer[initiateAuth] = func(w http.ResponseWriter, _ *http.Request) { write(w, a.Status, a.Header, a.Body) }
			u, err := p.store(t).Authenticate(t.Context(), "public", email, password)
			require.Nil(t, u)
			checkError(t, err, a.Want)
			// What GetUser answers is no word on the password.
			p = newPool(t)
			p.answer[getUser] = func(w http.ResponseWriter, _ *http.Request) { write(w, a.Status, a.Header, a.Body) }
			u, err = p.store(t).Authenticate(t.Context(), "public", email, password)
			require.Nil(t, u)
			checkError(t, err, "unavailable")
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
		"no HTTP": func(w http.ResponseWriter, _ *http.Request) {
			c, _, _ := w.(http.Hijacker).Hijack()
			_, _ = io.WriteString(c, "PASSWORD="+password+"\r\n\r\n")
			_ = c.Close()
		},
	} {
		for _, operation := range []string{initiateAuth, getUser} {
			t.Run(name+" of "+operation, func(t *testing.T) {
				p := newPool(t)
				p.answer[operation] = answer
				s := p.store(t, func(c *cognito.Config) {
					if name == "hang" {
						c.Timeout = 50 * time.Millisecond
					}
				})
				u, err := s.Authenticate(t.Context(), "public", email, password)
				require.Nil(t, u)
				checkError(t, err, "unavailable")
			})
		}
	}
}

func TestStore_identity(t *testing.T) {
	for name, tt := range map[string]struct {
		attributes []attribute
		want       string
	}{
		"another's user name": {[]attribute{{"sub", sub}, {"email", "eve@example.com"}}, "wrong"},
		"no e-mail":           {[]attribute{{"sub", sub}}, "unavailable"},
		"no sub":              {[]attribute{{"email", email}}, "unavailable"},
		"two e-mails":         {[]attribute{{"sub", sub}, {"email", email}, {"email", "eve@example.com"}}, "unavailable"},
		"nothing":             {nil, "unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			p.attributes = tt.attributes
			u, err := p.store(t).Authenticate(t.Context(), "public", email, password)
			require.Nil(t, u)
			checkError(t, err, tt.want)
		})
	}
	for name, tt := range map[string]struct {
		claims stmigratetest.Claims
		want   string
	}{
		"another's user name, ID token": {stmigratetest.Claims{"email": "eve@example.com"}, "wrong"},
		"no e-mail, ID token":           {stmigratetest.Claims{"email": nil}, "unavailable"},
		"another client, ID token":      {stmigratetest.Claims{"aud": "other"}, "unavailable"},
		"an access token":               {stmigratetest.Claims{"token_use": "access"}, "unavailable"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			p.claims = tt.claims
			u, err := p.store(t, p.withVerifier(t)).Authenticate(t.Context(), "public", email, password)
			require.Nil(t, u)
			checkError(t, err, tt.want)
		})
	}
}

func TestStore_emailVerified(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "false": false, "": false, "TRUE": false} {
		p := newPool(t)
		p.attributes = []attribute{{"sub", sub}, {"email", email}, {"email_verified", value}}
		u, err := p.store(t).Authenticate(t.Context(), "public", email, password)
		require.NoError(t, err)
		assert.Equal(t, want, u.EmailVerified, value)
	}
}

func TestStore_request(t *testing.T) {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(email + "client"))
	secretHash := base64.StdEncoding.EncodeToString(mac.Sum(nil))
	for name, tt := range map[string]struct {
		change func(*cognito.Config)
		want   map[string]any
	}{
		"with a secret": {func(c *cognito.Config) {}, map[string]any{"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": "client",
			"AuthParameters": map[string]any{"USERNAME": email, "PASSWORD": password, "SECRET_HASH": secretHash}}},
		"without": {func(c *cognito.Config) { c.ClientSecret = "" }, map[string]any{"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": "client",
			"AuthParameters": map[string]any{"USERNAME": email, "PASSWORD": password}}},
		"with an address": {func(c *cognito.Config) {
			c.ClientSecret = ""
			c.ClientIP = func(context.Context) netip.Addr { return netip.MustParseAddr("::ffff:203.0.113.7") }
		}, map[string]any{"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": "client", "UserContextData": map[string]any{"IpAddress": "203.0.113.7"},
			"AuthParameters": map[string]any{"USERNAME": email, "PASSWORD": password}}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			p.answer[initiateAuth] = func(w http.ResponseWriter, _ *http.Request) { p.initiateAuth(w) }
			_, err := p.store(t, tt.change).Authenticate(t.Context(), "public", " ADA@example.com", password)
			require.NoError(t, err)
			require.Equal(t, []map[string]any{tt.want}, p.requests)
			require.Equal(t, "application/x-amz-json-1.1", p.headers[0].Get("Content-Type"))
			require.Empty(t, p.headers[0].Get("Authorization"))
		})
	}
}

func TestStore_tenant(t *testing.T) {
	p := newPool(t)
	s := p.store(t, func(c *cognito.Config) { c.Tenant = "acme" })
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

func TestStore_revokeAndFill(t *testing.T) {
	p := newPool(t)
	var log bytes.Buffer
	var revoked []string
	fail := error(nil)
	s := p.store(t, func(c *cognito.Config) {
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		c.Revoker = revoker(func(_ context.Context, token string, s *stmigrate.OldSession) error {
			revoked = append(revoked, token+" "+s.Subject)
			return fail
		})
		c.Fill = func(s *stmigrate.OldSession, u *stmigrate.LegacyUser) error {
			u.Metadata = map[string]any{"plan": s.Claims["custom:plan"]}
			return nil
		}
	})
	u, err := s.Authenticate(t.Context(), "public", email, password)
	require.NoError(t, err)
	require.Equal(t, "pro", u.Metadata["plan"])
	require.Empty(t, log.String())
	fail = errors.New("no answer to /revoke?token=opaque-rt")
	p.attributes[1].Value = "eve@example.com"
	_, err = s.Authenticate(t.Context(), "public", email, password)
	checkError(t, err, "wrong")
	require.Equal(t, []string{"opaque-rt " + sub, "opaque-rt " + sub}, revoked)
	require.Contains(t, log.String(), "no answer")
	require.NotContains(t, log.String(), "opaque-")
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAClientThatGoesAwayLeavesNoSession(t *testing.T) {
	p, own := newPool(t), new(http.Transport)
	for _, operation := range []string{initiateAuth, getUser} {
		t.Run("during "+operation, func(t *testing.T) {
			ctx, leave := context.WithCancel(t.Context())
			revoked := 0
			s := p.store(t, func(c *cognito.Config) {
				c.HTTPClient = &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
					if r.Header.Get("X-Amz-Target") == operation {
						leave()
					}
					if err := r.Context().Err(); err != nil {
						return nil, err
					}
					return own.RoundTrip(r)
				})}
				c.Revoker = revoker(func(ctx context.Context, token string, _ *stmigrate.OldSession) error {
					require.NoError(t, ctx.Err())
					require.Equal(t, "opaque-rt", token)
					revoked++
					return nil
				})
			})
			_, _ = s.Authenticate(ctx, "public", email, password)
			require.Equal(t, 1, revoked)
		})
	}
}

func TestAUserOfAnotherTenant(t *testing.T) {
	p := newPool(t)
	s := p.store(t, func(c *cognito.Config) {
		c.Verifier = stmigrate.VerifierFunc(func(context.Context, string) (*stmigrate.OldSession, error) {
			return &stmigrate.OldSession{Subject: sub, TenantID: "acme", Claims: map[string]any{"email": email}}, nil
		})
	})
	_, err := s.Authenticate(t.Context(), "public", email, password)
	checkError(t, err, "wrong")
}

func TestStoreDoesNotPrintItsSecret(t *testing.T) {
	s, err := cognito.New(cognito.Config{Region: "eu-central-1", ClientID: "client", ClientSecret: "client-secret"})
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		require.NotContains(t, fmt.Sprintf(verb, s), "client-secret", verb)
	}
}

func TestNew(t *testing.T) {
	_, err := cognito.New(cognito.Config{Region: "us-gov-west-1", ClientID: "client"})
	require.NoError(t, err)
	for name, tt := range map[string]struct {
		cfg  cognito.Config
		text string
	}{
		"region":       {cognito.Config{ClientID: "c"}, "Config.Region"},
		"both":         {cognito.Config{ClientID: "c", Region: "eu-central-1", Endpoint: "https://example.com"}, "Config.Region"},
		"evil region":  {cognito.Config{ClientID: "c", Region: "evil.example/x"}, "Config.Region"},
		"http":         {cognito.Config{ClientID: "c", Endpoint: "http://example.com"}, "https wanted"},
		"query":        {cognito.Config{ClientID: "c", Endpoint: "https://example.com/?x"}, "Config.Endpoint"},
		"client":       {cognito.Config{Region: "eu-central-1"}, "Config.ClientID"},
		"timeout":      {cognito.Config{Region: "eu-central-1", ClientID: "c", Timeout: -1}, "Config.Timeout"},
		"not a tenant": {cognito.Config{Region: "eu-central-1", ClientID: "c", Tenant: "../x"}, "Config.Tenant"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := cognito.New(tt.cfg)
			require.ErrorContains(t, err, tt.text)
		})
	}
}
