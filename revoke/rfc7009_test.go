package revoke

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

var publicClient = ClientAuth{Method: PublicClient, ID: "app"}

func newRFC7009(t *testing.T, cfg RFC7009Config) *RFC7009 {
	t.Helper()
	if cfg.Client.ID == "" {
		cfg.Client = publicClient
	}
	r, err := NewRFC7009(cfg)
	require.NoError(t, err)
	return r
}

func TestRFC7009IsARevoker(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]ClientAuth{
		"public": publicClient,
		"basic":  {ID: "app:one", Secret: "s%c r+t:&="},
		"post":   {Method: ClientSecretPost, ID: "app:one", Secret: "s%c r+t:&="},
	} {
		for _, refresh := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, refresh token %v", name, refresh), func(t *testing.T) {
				t.Parallel()
				stmigratetest.TestRevoker(t, func(t *testing.T) stmigratetest.RevokerUnderTest {
					iss := stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{ClientID: client.ID, ClientSecret: client.Secret})
					refreshTokens := make(map[string]string)
					cfg := RFC7009Config{Endpoint: iss.RevocationURL(), Client: client, TokenTypeHint: "access_token"}
					if refresh {
						cfg.TokenTypeHint = "refresh_token"
						cfg.Token = func(_ context.Context, token string, _ *stmigrate.OldSession) (string, error) {
							return refreshTokens[token], nil
						}
					}
					introspection, err := NewIntrospection(IntrospectionConfig{Endpoint: iss.IntrospectionURL(), Client: client})
					require.NoError(t, err)
					cfg.Confirm = introspection.ConfirmRevoked
					return stmigratetest.RevokerUnderTest{
						Revoker: newRFC7009(t, cfg),
						SignIn: func(user string) (string, *stmigrate.OldSession) {
							s := iss.SignIn(user)
							refreshTokens[s.AccessToken] = s.RefreshToken
							return s.AccessToken, &stmigrate.OldSession{Issuer: iss.Issuer(), Subject: user, SessionID: s.SessionID}
						},
						Ended: iss.Revoked,
						Break: func() { iss.Status(http.StatusInternalServerError, "POST /revoke") },
					}
				})
			})
		}
	}
}

// The bytes on the wire are those of RFC 7009 §2.1 and RFC 6749 §2.3.1.
func TestRFC7009Request(t *testing.T) {
	t.Parallel()
	assertion := func(context.Context) (string, error) { return "header.payload.signature", nil }
	for name, tt := range map[string]struct {
		client        ClientAuth
		authorization string
		form          string
	}{
		"public": {publicClient, "", "client_id=app&token=t%2B%2F%3D&token_type_hint=refresh_token"},
		// base64("a%3Ab+c%25:%26%3D%C3%A4"): the colon between them is the only one.
		"basic": {ClientAuth{ID: "a:b c%", Secret: "&=ä"}, "Basic YSUzQWIrYyUyNTolMjYlM0QlQzMlQTQ=", "token=t%2B%2F%3D&token_type_hint=refresh_token"},
		"post":  {ClientAuth{Method: ClientSecretPost, ID: "app", Secret: "&="}, "", "client_id=app&client_secret=%26%3D&token=t%2B%2F%3D&token_type_hint=refresh_token"},
		"private key": {ClientAuth{Method: PrivateKeyJWT, ID: "app", Assertion: assertion}, "", "client_assertion=header.payload.signature&" +
			"client_assertion_type=urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer&client_id=app&token=t%2B%2F%3D&token_type_hint=refresh_token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got *http.Request
			var body []byte
			u := serve(t, func(w http.ResponseWriter, r *http.Request) {
				got = r
				body, _ = io.ReadAll(r.Body)
			})
			r := newRFC7009(t, RFC7009Config{Endpoint: u + "/revoke?v=1", Client: tt.client, TokenTypeHint: "refresh_token"})
			require.NoError(t, r.Revoke(t.Context(), "t+/=", nil))
			assert.Equal(t, http.MethodPost, got.Method)
			assert.Equal(t, "/revoke?v=1", got.RequestURI)
			assert.Equal(t, "application/x-www-form-urlencoded", got.Header.Get("Content-Type"))
			assert.Equal(t, tt.authorization, got.Header.Get("Authorization"))
			assert.Equal(t, tt.form, string(body))
		})
	}
}

func TestRFC7009Answers(t *testing.T) {
	t.Parallel()
	for status := 200; status < 600; status++ {
		if http.StatusText(status) == "" {
			continue
		}
		want := permanentKind
		switch {
		case status == 200 || status == 204:
			want = revoked
		case status < 400 || status == 408 || status == 425 || status == 429 || status >= 500:
			want = temporaryKind
		}
		u := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		err := newRFC7009(t, RFC7009Config{Endpoint: u}).Revoke(t.Context(), "token", nil)
		assert.Equal(t, want, kindOf(t, err), "status %d", status)
		assert.Equal(t, want == temporaryKind, errors.Is(err, stmigrate.ErrUnavailable), "status %d", status)
		if err != nil {
			assert.Contains(t, err.Error(), strconv.Itoa(status))
		}
	}

	for name, tt := range map[string]struct {
		status int
		header string
		body   string
		want   string
		after  time.Duration
		text   string
	}{
		"a token type that cannot be revoked": {400, "", `{"error":"unsupported_token_type"}`, permanentKind, 0, "unsupported_token_type"},
		"a client that is refused":            {401, "", `{"error":"invalid_client","error_description":"d"}`, permanentKind, 0, "invalid_client"},
		"another client's token":              {400, "", `{"error":"invalid_grant"}`, permanentKind, 0, "invalid_grant"},
		"temporarily, with status 400":        {400, "", `{"error":"temporarily_unavailable"}`, temporaryKind, 0, "temporarily_unavailable"},
		"a server's error with status 400":    {400, "", `{"error":"server_error"}`, temporaryKind, 0, "server_error"},
		"429 with seconds":                    {429, "Retry-After: 11", "", temporaryKind, 11 * time.Second, ""},
		"503 with a date":                     {503, "Retry-After: Fri, 15 Jan 2027 08:00:12 GMT", "", temporaryKind, 12 * time.Second, ""},
		"429 without":                         {429, "", "", temporaryKind, 0, ""},
		"a body that is no JSON":              {400, "", `<html>`, permanentKind, 0, ""},
		"an error that is no string":          {400, "", `{"error":{"a":"b"}}`, permanentKind, 0, ""},
		"200 whatever the body says":          {200, "", `{"error":"invalid_client"}`, revoked, 0, ""},
	} {
		u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			if k, v, ok := strings.Cut(tt.header, ": "); ok {
				w.Header().Set(k, v)
			}
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		})
		err := newRFC7009(t, RFC7009Config{Endpoint: u, HTTP: HTTP{Now: newClock().Now}}).Revoke(t.Context(), "token", nil)
		assert.Equal(t, tt.want, kindOf(t, err), name)
		assert.Equal(t, tt.after, retryAfter(err), name)
		if tt.text != "" {
			assert.ErrorContains(t, err, tt.text, name)
		}
	}
}

// Providers whose answers are not those of RFC 7009.
func TestRFC7009OfProviders(t *testing.T) {
	t.Parallel()
	finds := func(context.Context, string, *stmigrate.OldSession) (string, error) { return "1//refresh-SECRET", nil }
	for name, cfg := range map[string]RFC7009Config{
		"google-rfc7009": {Token: finds, InvalidTokenIsOver: true},
		"logto-rfc7009":  {},
	} {
		for _, answer := range readGolden(t, name).Answers {
			cfg.Endpoint = serve(t, func(w http.ResponseWriter, _ *http.Request) { answer.write(w) })
			err := newRFC7009(t, cfg).Revoke(t.Context(), "shown-SECRET", nil)
			assert.Equal(t, answer.Want, kindOf(t, err), "%s, %s", name, answer.Name)
			if err != nil {
				assert.NotContains(t, err.Error(), "SECRET")
			}
		}
	}
	over, ok := readGolden(t, "google-rfc7009").find("over, or no token of Google's")
	require.True(t, ok)
	u := serve(t, func(w http.ResponseWriter, _ *http.Request) { over.write(w) })
	assert.Equal(t, permanentKind, kindOf(t, newRFC7009(t, RFC7009Config{Endpoint: u, Token: finds}).Revoke(t.Context(), "shown", nil)),
		"at others it is no success")
	confirm := func(_ context.Context, token string) error {
		return temporary("%s lives", strings.TrimSuffix(token, "-SECRET"))
	}
	err := newRFC7009(t, RFC7009Config{Endpoint: u, Token: finds, InvalidTokenIsOver: true, Confirm: confirm}).Revoke(t.Context(), "shown", nil)
	assert.ErrorContains(t, err, "1//refresh lives", "it is confirmed like any other")
}

// A token at Google is over once, and stays so.
func TestGoogleIsARevoker(t *testing.T) {
	t.Parallel()
	stmigratetest.TestRevoker(t, func(t *testing.T) stmigratetest.RevokerUnderTest {
		answers := readGolden(t, "google-rfc7009")
		var mu sync.Mutex
		ended, broken := make(map[string]bool), false // by refresh token
		u := serve(t, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			if broken {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			token := r.PostFormValue("token")
			name := "success"
			if over, known := ended[token]; over || !known {
				name = "over, or no token of Google's"
			} else {
				ended[token] = true
			}
			answer, _ := answers.find(name)
			answer.write(w)
		})
		return stmigratetest.RevokerUnderTest{
			Revoker: newRFC7009(t, RFC7009Config{Endpoint: u, Token: findsRefreshToken, InvalidTokenIsOver: true}),
			SignIn: func(user string) (string, *stmigrate.OldSession) {
				mu.Lock()
				defer mu.Unlock()
				id := fmt.Sprint(len(ended))
				ended["refresh-"+id] = false
				return "ID-token-" + id, &stmigrate.OldSession{Issuer: "https://accounts.google.com", Subject: user, SessionID: id}
			},
			Ended: func(token string) bool {
				mu.Lock()
				defer mu.Unlock()
				return ended["refresh-"+strings.TrimPrefix(token, "ID-token-")]
			},
			Break: func() {
				mu.Lock()
				defer mu.Unlock()
				broken = true
			},
		}
	})
}

// A provider may repeat what it was sent; it must not get into an error.
func TestErrorsTellNoSecrets(t *testing.T) {
	t.Parallel()
	const token, secret = "eyJhbGciOi.SECRET-TOKEN.sig", "client-SECRET-9"
	for _, echo := range []string{
		`{"error":%q}`, `{"error":"invalid_request","error_description":%q}`, `%s`, `{"error":"x %s"}`, `{"error":["%s"]}`,
	} {
		for _, status := range []int{302, 400, 401, 429, 500} {
			for _, leak := range []string{token, secret} {
				u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
					w.Header().Set("Location", "/"+leak)
					w.Header().Set("WWW-Authenticate", leak)
					w.WriteHeader(status)
					_, _ = fmt.Fprintf(w, echo, leak)
				})
				err := newRFC7009(t, RFC7009Config{Endpoint: u, Client: ClientAuth{ID: "app", Secret: secret}}).Revoke(t.Context(), token, nil)
				require.Error(t, err)
				assert.NotContains(t, err.Error(), "SECRET")
			}
		}
	}
	// What is no HTTP is not repeated either.
	u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_, _ = io.WriteString(conn, token+"\r\n\r\n")
			_ = conn.Close()
		}
	})
	err := newRFC7009(t, RFC7009Config{Endpoint: u + "/?key=SECRET"}).Revoke(t.Context(), token, nil)
	assert.Equal(t, temporaryKind, kindOf(t, err))
	assert.NotContains(t, err.Error(), "SECRET")
}

func TestTransportTraps(t *testing.T) {
	t.Parallel()
	t.Run("redirects are not followed", func(t *testing.T) {
		t.Parallel()
		var elsewhere atomic.Int32
		other := serve(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
		for _, status := range []int{301, 302, 303, 307, 308} {
			u := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other, status) })
			follows := &http.Client{Transport: new(http.Transport), CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
			err := newRFC7009(t, RFC7009Config{Endpoint: u, HTTP: HTTP{Client: follows}}).Revoke(t.Context(), "token", nil)
			assert.Equal(t, temporaryKind, kindOf(t, err), status)
		}
		assert.Zero(t, elsewhere.Load())
	})
	t.Run("a hanging provider", func(t *testing.T) {
		t.Parallel()
		iss := stmigratetest.NewIssuer(t)
		iss.Hang("POST /revoke")
		err := newRFC7009(t, RFC7009Config{Endpoint: iss.RevocationURL(), HTTP: HTTP{Timeout: 50 * time.Millisecond}}).Revoke(t.Context(), "token", nil)
		assert.Equal(t, temporaryKind, kindOf(t, err))
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
	t.Run("a caller that leaves", func(t *testing.T) {
		t.Parallel()
		arrived := make(chan struct{})
		u := serve(t, func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body) // else the server does not see that the client left
			close(arrived)
			<-r.Context().Done()
		})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-arrived; cancel() }()
		err := newRFC7009(t, RFC7009Config{Endpoint: u}).Revoke(ctx, "token", nil)
		assert.ErrorIs(t, err, context.Canceled)
	})
	t.Run("a dead provider", func(t *testing.T) {
		t.Parallel()
		iss := stmigratetest.NewIssuer(t)
		iss.Down("POST /revoke")
		err := newRFC7009(t, RFC7009Config{Endpoint: iss.RevocationURL()}).Revoke(t.Context(), "token", nil)
		assert.Equal(t, temporaryKind, kindOf(t, err))
		assert.NotContains(t, err.Error(), "/revoke", "the address can name a session")
	})
	t.Run("a refusal that is cut says nothing for sure", func(t *testing.T) {
		t.Parallel()
		iss := stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{ClientID: "app", ClientSecret: "right"})
		iss.Truncate("POST /revoke")
		err := newRFC7009(t, RFC7009Config{Endpoint: iss.RevocationURL(), Client: ClientAuth{ID: "app", Secret: "wrong"}}).Revoke(t.Context(), "token", nil)
		assert.Equal(t, temporaryKind, kindOf(t, err))
		iss.Heal()
		err = newRFC7009(t, RFC7009Config{Endpoint: iss.RevocationURL(), Client: ClientAuth{ID: "app", Secret: "wrong"}}).Revoke(t.Context(), "token", nil)
		assert.Equal(t, permanentKind, kindOf(t, err))
	})
	for _, status := range []int{200, 400} {
		t.Run(fmt.Sprintf("64 MiB with status %d", status), func(t *testing.T) {
			t.Parallel()
			sent := make(chan int, 1)
			u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(status)
				block, total := bytes.Repeat([]byte{' '}, 1<<20), 0
				for range 64 {
					n, err := w.Write(block)
					if total += n; err != nil {
						break
					}
				}
				sent <- total
			})
			want := map[int]string{200: revoked, 400: temporaryKind}[status]
			assert.Equal(t, want, kindOf(t, newRFC7009(t, RFC7009Config{Endpoint: u}).Revoke(t.Context(), "token", nil)))
			assert.Less(t, <-sent, 64<<20, "the rest is not read")
		})
	}
}

// A provider that says when is not asked before.
func TestProviderIsLeftAlone(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		status int
		header http.Header
		first  string
		wait   time.Duration
	}{
		"429":                   {429, http.Header{"Retry-After": {"30"}}, temporaryKind, 30 * time.Second},
		"503":                   {503, http.Header{"Retry-After": {"30"}}, temporaryKind, 30 * time.Second},
		"the last call, Auth0":  {200, http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1800000060"}}, revoked, time.Minute},
		"the last call, Okta":   {200, http.Header{"X-Rate-Limit-Remaining": {"0"}, "X-Rate-Limit-Reset": {"1800000060"}}, revoked, time.Minute},
		"asked for ten years":   {429, http.Header{"Retry-After": {"315360000"}}, temporaryKind, time.Hour},
		"a refusal for good":    {400, http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {"1800000060"}}, permanentKind, time.Minute},
		"429 that does not say": {429, nil, temporaryKind, 0},
		"calls remain":          {200, http.Header{"X-Ratelimit-Remaining": {"1"}, "X-Ratelimit-Reset": {"1800000060"}}, revoked, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				if calls.Add(1) == 1 {
					for k, v := range tt.header {
						w.Header()[k] = v
					}
					w.WriteHeader(tt.status)
				}
			})
			now := newClock()
			r := newRFC7009(t, RFC7009Config{Endpoint: u, HTTP: HTTP{Now: now.Now}})
			assert.Equal(t, tt.first, kindOf(t, r.Revoke(t.Context(), "token", nil)))
			if tt.wait > 0 {
				now.Advance(tt.wait / 2)
				err := r.Revoke(t.Context(), "token", nil)
				assert.Equal(t, temporaryKind, kindOf(t, err))
				assert.ErrorIs(t, err, stmigrate.ErrUnavailable)
				assert.Equal(t, tt.wait/2, retryAfter(err))
				assert.EqualValues(t, 1, calls.Load(), "nobody is called meanwhile")
				now.Advance(tt.wait / 2)
			}
			assert.NoError(t, r.Revoke(t.Context(), "token", nil))
			assert.EqualValues(t, 2, calls.Load())
		})
	}
	t.Run("a clock that is set back", func(t *testing.T) {
		t.Parallel()
		u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "5")
			w.WriteHeader(429)
		})
		now := newClock()
		r := newRFC7009(t, RFC7009Config{Endpoint: u, HTTP: HTTP{Now: now.Now}})
		assert.Error(t, r.Revoke(t.Context(), "token", nil))
		now.Advance(-1000 * time.Hour)
		assert.Equal(t, time.Hour, retryAfter(r.Revoke(t.Context(), "token", nil)))
	})
	t.Run("a shorter wait does not end a longer one", func(t *testing.T) {
		t.Parallel()
		now := newClock()
		c, err := HTTP{Now: now.Now}.client()
		require.NoError(t, err)
		var all sync.WaitGroup
		for _, d := range []time.Duration{time.Minute, time.Second, 0, -time.Hour} {
			all.Go(func() { c.pause(d) })
		}
		all.Wait()
		assert.Equal(t, time.Minute, c.wait())
	})
}

func TestConfirmRevoked(t *testing.T) {
	t.Parallel()
	iss := stmigratetest.NewIssuer(t)
	introspection, err := NewIntrospection(IntrospectionConfig{Endpoint: iss.IntrospectionURL(), Client: publicClient})
	require.NoError(t, err)
	s := iss.SignIn("ada")
	// A provider that says 200 to everything, as Okta does, and revokes nothing.
	yes := serve(t, func(http.ResponseWriter, *http.Request) {})
	believing := newRFC7009(t, RFC7009Config{Endpoint: yes})
	assert.NoError(t, believing.Revoke(t.Context(), s.AccessToken, nil))
	checking := newRFC7009(t, RFC7009Config{Endpoint: yes, Confirm: introspection.ConfirmRevoked})
	assert.Equal(t, temporaryKind, kindOf(t, checking.Revoke(t.Context(), s.AccessToken, nil)))
	iss.EndSession(s.SessionID)
	assert.NoError(t, checking.Revoke(t.Context(), s.AccessToken, nil))

	for body, want := range map[string]string{
		`{"active":false}`: revoked, `{"active":true}`: temporaryKind, `{"active":"false"}`: temporaryKind, `{"active":null}`: temporaryKind,
		`{}`: temporaryKind, ``: temporaryKind, `[]`: temporaryKind, `{"Active":false}`: temporaryKind, `{"active":false`: temporaryKind,
	} {
		u := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) })
		i, err := NewIntrospection(IntrospectionConfig{Endpoint: u, Client: publicClient})
		require.NoError(t, err)
		assert.Equal(t, want, kindOf(t, i.ConfirmRevoked(t.Context(), "token")), body)
	}
	u := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(401)
		_, _ = io.WriteString(w, `{"active":false}`)
	})
	i, err := NewIntrospection(IntrospectionConfig{Endpoint: u, Client: publicClient})
	require.NoError(t, err)
	assert.Equal(t, permanentKind, kindOf(t, i.ConfirmRevoked(t.Context(), "token")), "who is refused learns nothing")
}

func TestTokenOf(t *testing.T) {
	t.Parallel()
	var got string
	u := serve(t, func(_ http.ResponseWriter, r *http.Request) { got = r.FormValue("token") })
	lost := errors.New("the vault is closed")
	for name, tt := range map[string]struct {
		find TokenOf
		want string
	}{
		"found": {func(_ context.Context, token string, s *stmigrate.OldSession) (string, error) {
			return s.SessionID + token, nil
		}, revoked},
		"not found": {func(context.Context, string, *stmigrate.OldSession) (string, error) { return "", nil }, permanentKind},
		"too long": {func(context.Context, string, *stmigrate.OldSession) (string, error) {
			return strings.Repeat("x", 16<<10+1), nil
		}, permanentKind},
		"cannot tell": {func(context.Context, string, *stmigrate.OldSession) (string, error) { return "", lost }, temporaryKind},
		"will never tell": {func(context.Context, string, *stmigrate.OldSession) (string, error) {
			return "", permanent("no: %w", lost)
		}, permanentKind},
		"the shown one": {nil, revoked},
	} {
		got = ""
		err := newRFC7009(t, RFC7009Config{Endpoint: u, Token: tt.find}).Revoke(t.Context(), "shown", &stmigrate.OldSession{SessionID: "sid-"})
		assert.Equal(t, tt.want, kindOf(t, err), name)
		switch name {
		case "found":
			assert.Equal(t, "sid-shown", got)
		case "the shown one":
			assert.Equal(t, "shown", got)
		case "cannot tell", "will never tell":
			assert.ErrorIs(t, err, lost)
		default:
			assert.Empty(t, got)
		}
	}
	assert.Equal(t, permanentKind, kindOf(t, newRFC7009(t, RFC7009Config{Endpoint: u}).Revoke(t.Context(), "", nil)))
}

func TestAssertionFails(t *testing.T) {
	t.Parallel()
	lost := errors.New("the key is not there")
	called := false
	u := serve(t, func(http.ResponseWriter, *http.Request) { called = true })
	client := ClientAuth{Method: PrivateKeyJWT, ID: "app", Assertion: func(context.Context) (string, error) { return "", lost }}
	err := newRFC7009(t, RFC7009Config{Endpoint: u, Client: client}).Revoke(t.Context(), "token", nil)
	assert.Equal(t, temporaryKind, kindOf(t, err))
	assert.ErrorIs(t, err, lost)
	assert.False(t, called)
}

func TestConfigurationsAreChecked(t *testing.T) {
	t.Parallel()
	const u = "https://legacy.example/"
	good := ClientAuth{ID: "app", Secret: "s"}
	assertion := func(context.Context) (string, error) { return "", nil }
	for field, cfg := range map[string]RFC7009Config{
		"Endpoint: required":              {Client: good},
		"Endpoint: \"http":                {Endpoint: "http://legacy.example/", Client: good},
		"ClientAuth.ID":                   {Endpoint: u, Client: ClientAuth{Secret: "s"}},
		"ClientAuth.Secret is required":   {Endpoint: u, Client: ClientAuth{ID: "app"}},
		"ClientAuth.Method \"magic\"":     {Endpoint: u, Client: ClientAuth{ID: "app", Method: "magic"}},
		"ClientAuth.Secret contradicts":   {Endpoint: u, Client: ClientAuth{ID: "app", Secret: "s", Method: PublicClient}},
		"ClientAuth.Assertion and":        {Endpoint: u, Client: ClientAuth{ID: "app", Method: PrivateKeyJWT}},
		"ClientAuth.Assertion and Client": {Endpoint: u, Client: ClientAuth{ID: "app", Secret: "s", Assertion: assertion}},
		"TokenTypeHint":                   {Endpoint: u, Client: good, TokenTypeHint: "access token"},
		"HTTP.Timeout":                    {Endpoint: u, Client: good, HTTP: HTTP{Timeout: -1}},
		"Token is required with Inv":      {Endpoint: u, Client: good, InvalidTokenIsOver: true},
	} {
		_, err := NewRFC7009(cfg)
		assert.ErrorContains(t, err, field)
	}
	_, err := NewIntrospection(IntrospectionConfig{Client: good})
	assert.ErrorContains(t, err, "IntrospectionConfig.Endpoint")
	_, err = NewIntrospection(IntrospectionConfig{Endpoint: u})
	assert.ErrorContains(t, err, "IntrospectionConfig.Client")
	_, err = NewClientCredentials(ClientCredentialsConfig{TokenURL: u, Client: publicClient})
	assert.ErrorContains(t, err, "PublicClient")
	_, err = NewClientCredentials(ClientCredentialsConfig{Client: good})
	assert.ErrorContains(t, err, "TokenURL")
}

func TestDiscoverRevocationEndpoint(t *testing.T) {
	t.Parallel()
	iss := stmigratetest.NewIssuer(t)
	got, err := DiscoverRevocationEndpoint(t.Context(), iss.Issuer(), HTTP{})
	require.NoError(t, err)
	assert.Equal(t, iss.RevocationURL(), got)

	_, err = DiscoverRevocationEndpoint(t.Context(), strings.TrimSuffix(iss.Issuer(), "/"), HTTP{})
	assert.ErrorContains(t, err, "another issuer", "the slash counts")
	_, err = DiscoverRevocationEndpoint(t.Context(), "http://legacy.example", HTTP{})
	assert.ErrorContains(t, err, "https wanted")

	var metadata string
	u := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, metadata) })
	for body, want := range map[string]string{
		`{"issuer":"` + u + `"}`: "revocation_endpoint: required",
		`{"issuer":"` + u + `","revocation_endpoint":"http://legacy.example/"}`: "https wanted",
		`{"issuer":"https://evil.example","revocation_endpoint":"` + u + `"}`:   "another issuer",
		`no JSON`: "another issuer",
	} {
		metadata = body
		_, err := DiscoverRevocationEndpoint(t.Context(), u, HTTP{})
		assert.ErrorContains(t, err, want)
	}
	iss.Status(500, "GET /.well-known/openid-configuration")
	_, err = DiscoverRevocationEndpoint(t.Context(), iss.Issuer(), HTTP{})
	assert.ErrorContains(t, err, "status 500")
}

func TestNothingPrintsASecret(t *testing.T) {
	t.Parallel()
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"access_token":"issued-token","token_type":"Bearer","expires_in":3600}`)
	}))
	defer provider.Close()
	client := ClientAuth{ID: "app", Secret: "client-secret"}
	rfc7009, err := NewRFC7009(RFC7009Config{Endpoint: provider.URL, Client: client})
	require.NoError(t, err)
	introspection, err := NewIntrospection(IntrospectionConfig{Endpoint: provider.URL, Client: client})
	require.NoError(t, err)
	credentials, err := NewClientCredentials(ClientCredentialsConfig{TokenURL: provider.URL, Client: client})
	require.NoError(t, err)
	token, err := credentials.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "issued-token", token)
	for _, v := range []any{rfc7009, introspection, credentials} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
			assert.NotContains(t, fmt.Sprintf(verb, v), "client-secret", verb)
			assert.NotContains(t, fmt.Sprintf(verb, v), "issued-token", verb)
		}
	}
}

func TestClientCredentials(t *testing.T) {
	t.Parallel()
	var fetches atomic.Int32
	var forms []url.Values
	answer := func(n int32) string {
		return fmt.Sprintf(`{"access_token":"token-%d","token_type":"bearer","expires_in":600}`, n)
	}
	u := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n := fetches.Add(1)
		id, secret, _ := r.BasicAuth()
		_ = r.ParseForm()
		forms = append(forms, r.PostForm)
		if id != "app" || secret != "s" {
			w.WriteHeader(401)
			return
		}
		_, _ = io.WriteString(w, answer(n))
	})
	now := newClock()
	cfg := ClientCredentialsConfig{TokenURL: u, Client: ClientAuth{ID: "app", Secret: "s"}, Scopes: []string{"a", "b"}, Audience: "api",
		HTTP: HTTP{Now: now.Now}}
	c, err := NewClientCredentials(cfg)
	require.NoError(t, err)
	token := func(t *testing.T) string {
		t.Helper()
		token, err := c.Token(t.Context())
		require.NoError(t, err)
		return token
	}
	// Many at once: one fetch.
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() { assert.Equal(t, "token-1", token(t)) })
	}
	all.Wait()
	assert.EqualValues(t, 1, fetches.Load())
	assert.Equal(t, url.Values{"grant_type": {"client_credentials"}, "scope": {"a b"}, "audience": {"api"}}, forms[0])

	now.Advance(9*time.Minute - time.Second)
	assert.Equal(t, "token-1", token(t), "nine tenths of its life")
	now.Advance(time.Second)
	assert.Equal(t, "token-2", token(t))

	answer = func(n int32) string {
		return fmt.Sprintf(`{"access_token":"long-%d","token_type":"Bearer","expires_in":86400}`, n)
	}
	now.Advance(9 * time.Minute)
	assert.Equal(t, "long-3", token(t))
	now.Advance(time.Hour - time.Second)
	assert.Equal(t, "long-3", token(t))
	now.Advance(time.Second)
	assert.Equal(t, "long-4", token(t), "an hour at the most")

	answer = func(n int32) string { return fmt.Sprintf(`{"access_token":"unsaid-%d","token_type":"Bearer"}`, n) }
	now.Advance(time.Hour)
	assert.Equal(t, "unsaid-5", token(t))
	now.Advance(time.Minute)
	assert.Equal(t, "unsaid-6", token(t), "a minute where the provider does not say")

	for _, bad := range []string{
		`{"access_token":"","token_type":"Bearer"}`, `{"access_token":"a b","token_type":"Bearer"}`, `{"access_token":"a\nb","token_type":"Bearer"}`,
		`{"access_token":"a","token_type":"MAC"}`, `{"access_token":"a"}`, `{"token_type":"Bearer"}`, `{"access_token":7,"token_type":"Bearer"}`,
		`{"access_token":"a","token_type":"Bearer","expires_in":-1}`, `{"access_token":"a","token_type":"Bearer","expires_in":1e99}`, `[]`, ``,
		`{"access_token":"` + strings.Repeat("a", 16<<10+1) + `","token_type":"Bearer"}`,
	} {
		answer = func(int32) string { return bad }
		now.Advance(time.Hour)
		_, err := c.Token(t.Context())
		assert.Equal(t, temporaryKind, kindOf(t, err), bad)
	}
	answer = func(int32) string { return `{"access_token":"a","token_type":"Bearer","expires_in":99999999999999}` }
	assert.Equal(t, "a", token(t), "a failure is not kept")

	cfg.Client.Secret = "wrong"
	refused, err := NewClientCredentials(cfg)
	require.NoError(t, err)
	_, err = refused.Token(t.Context())
	assert.Equal(t, permanentKind, kindOf(t, err))
	assert.NotContains(t, err.Error(), "wrong")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Those who wait for a fetch that fails do not try it again one after the other, and one who leaves does not fail the others.
func TestClientCredentialsTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var fetches atomic.Int32
		status := make(chan int)
		transport := roundTripper(func(r *http.Request) (*http.Response, error) {
			fetches.Add(1)
			select {
			case s := <-status:
				return &http.Response{StatusCode: s, Body: io.NopCloser(strings.NewReader(`{"access_token":"t","token_type":"Bearer"}`))}, nil
			case <-r.Context().Done():
				return nil, r.Context().Err()
			}
		})
		c, err := NewClientCredentials(ClientCredentialsConfig{
			TokenURL: "https://legacy.example/token", Client: ClientAuth{ID: "app", Secret: "s"}, HTTP: HTTP{Client: &http.Client{Transport: transport}},
		})
		require.NoError(t, err)
		ctx, leave := context.WithCancel(t.Context())
		left, results := make(chan error, 1), make(chan error, 8)
		go func() { _, err := c.Token(ctx); left <- err }()
		synctest.Wait()
		for range 8 {
			go func() { _, err := c.Token(t.Context()); results <- err }()
		}
		synctest.Wait()
		assert.EqualValues(t, 1, fetches.Load(), "eight wait for the first")
		leave()
		assert.ErrorIs(t, <-left, context.Canceled)
		synctest.Wait()
		assert.EqualValues(t, 2, fetches.Load(), "and one of them goes on")
		status <- 500
		for range 8 {
			assert.Equal(t, temporaryKind, kindOf(t, <-results))
		}
		assert.EqualValues(t, 2, fetches.Load(), "the failure is all of theirs")
	})
}
