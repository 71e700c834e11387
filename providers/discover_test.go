package providers

import (
	"context"
	"encoding/json"
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
	"github.com/stmigrate/stmigrate/internal/safedial"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

var discoverConfig = DiscoverConfig{
	Audience: []string{"api"}, ClientIDs: []string{"web"}, AllowPrivate: []string{"127.0.0.1"},
}

func TestDiscover(t *testing.T) {
	iss := stmigratetest.NewIssuer(t)
	preset, err := Discover(t.Context(), iss.Issuer(), discoverConfig)
	require.NoError(t, err)
	assert.Equal(t, iss.JWKSURL(), preset.Keys.URL)
	assert.Equal(t, []string{"RS256"}, preset.JWT.Algorithms)
	assert.Equal(t, Endpoints{iss.RevocationURL(), iss.IntrospectionURL(), iss.UserInfoURL()}, preset.Endpoints)
	v, err := preset.Verifier()
	require.NoError(t, err)
	for name, c := range map[string]struct {
		claims stmigratetest.Claims
		class  error
	}{
		"azp":                 {stmigratetest.Claims{"azp": "web"}, nil},
		"client_id":           {stmigratetest.Claims{"client_id": "web"}, nil},
		"cid":                 {stmigratetest.Claims{"cid": "web"}, nil},
		"no client":           {stmigratetest.Claims{}, stmigrate.ErrInvalidSession},
		"another client":      {stmigratetest.Claims{"azp": "other"}, stmigrate.ErrInvalidSession},
		"two clients":         {stmigratetest.Claims{"azp": "web", "client_id": "other"}, stmigrate.ErrInvalidSession},
		"client is no string": {stmigratetest.Claims{"azp": []string{"web"}}, stmigrate.ErrInvalidSession},
		"machine":             {stmigratetest.Claims{"azp": "web", "sub": "web"}, stmigrate.ErrInvalidSession},
		"nonce":               {stmigratetest.Claims{"azp": "web", "nonce": "n"}, stmigrate.ErrInvalidSession},
		"at_hash":             {stmigratetest.Claims{"azp": "web", "at_hash": "h"}, stmigrate.ErrInvalidSession},
		"c_hash, null":        {stmigratetest.Claims{"azp": "web", "c_hash": json.RawMessage("null")}, stmigrate.ErrInvalidSession},
		"s_hash":              {stmigratetest.Claims{"azp": "web", "s_hash": "h"}, stmigrate.ErrInvalidSession},
		"act":                 {stmigratetest.Claims{"azp": "web", "act": "somebody"}, stmigrate.ErrInvalidSession},
		"another audience":    {stmigratetest.Claims{"azp": "web", "aud": "other"}, stmigrate.ErrInvalidSession},
		"another issuer":      {stmigratetest.Claims{"azp": "web", "iss": "https://other.example/"}, stmigrate.ErrNotMine},
	} {
		_, err := v.Verify(t.Context(), iss.Token(c.claims))
		if c.class == nil {
			assert.NoError(t, err, name)
		} else {
			assert.ErrorIs(t, err, c.class, name)
		}
	}
}

func TestDiscoverIDTokens(t *testing.T) {
	iss := stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{Audience: "web"})
	cfg := discoverConfig
	cfg.Audience, cfg.AllowIDTokens = nil, true
	preset, err := Discover(t.Context(), iss.Issuer(), cfg)
	require.NoError(t, err)
	v, err := preset.Verifier()
	require.NoError(t, err)
	for _, claims := range []stmigratetest.Claims{
		{"nonce": "n", "at_hash": "h"}, {"azp": "web"}, {"aud": []string{"web"}}, {"aud": []string{"web", "other"}, "azp": "web"},
	} {
		_, err = v.Verify(t.Context(), iss.Token(claims))
		require.NoError(t, err, claims)
	}
	for name, claims := range map[string]stmigratetest.Claims{
		"access token": {"scope": "openid"}, "access token of Okta": {"scp": []string{"openid"}}, "logout token": {"events": stmigratetest.Claims{}},
		"machine": {"azp": "web", "sub": "web"}, "of another presenter": {"azp": "other"}, "azp no string": {"azp": 7},
		"for several, of nobody": {"aud": []string{"web", "other"}}, "for several, of another": {"aud": []string{"web", "other"}, "azp": "other"},
		"access token of another client": {"client_id": "other", "jti": "1"}, "Okta's, of another client": {"cid": "other"},
		"of two clients": {"azp": "web", "client_id": "other"},
	} {
		_, err := v.Verify(t.Context(), iss.Token(claims))
		assert.ErrorIs(t, err, stmigrate.ErrInvalidSession, name)
	}
}

// The proven providers describe themselves.
func TestDiscoverProvenProviders(t *testing.T) {
	for issuer, play := range map[string]func(*stmigratetest.Issuer) *stmigratetest.Provider{
		"https://my-domain.auth0.com/":                         (*stmigratetest.Issuer).Auth0,
		"https://example.okta.com/oauth2/0oacqf8qaJw56czJi0g4": (*stmigratetest.Issuer).Okta,
		"https://sso.example.com/realms/something":             (*stmigratetest.Issuer).Keycloak,
	} {
		p := play(stmigratetest.NewIssuer(t))
		preset, err := Discover(t.Context(), issuer, DiscoverConfig{
			Audience: []string{"https://example.com/health-api", "https://api.example.com", "account"}, ClientIDs: []string{p.ClientID}, HTTPClient: p.Client(),
		})
		require.NoError(t, err)
		v, err := preset.Verifier()
		require.NoError(t, err)
		_, err = v.Verify(t.Context(), p.SignIn("ada").AccessToken)
		assert.NoError(t, err)
	}
}

// A discovery document that lies, misleads, or does not come is refused, with the reason.
func TestDiscoverBadDocuments(t *testing.T) {
	var self string
	document := func(change map[string]any) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			all := map[string]any{
				"issuer": self, "jwks_uri": self + "/keys", "id_token_signing_alg_values_supported": []string{"RS256"},
			}
			for name, value := range change {
				switch all[name] = value; value {
				case nil:
					delete(all, name)
				case "SELF/":
					all[name] = self + "/"
				}
			}
			_ = json.NewEncoder(w).Encode(all)
		}
	}
	text := func(status int, body string) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, strings.ReplaceAll(body, "SELF", self))
		}
	}
	for name, c := range map[string]struct {
		serve  func(w http.ResponseWriter, r *http.Request)
		want   string
		passes bool // ErrUnavailable: another try may help
	}{
		"another issuer":                {document(map[string]any{"issuer": "https://attacker.example"}), `names the issuer "https://attacker.example"`, false},
		"a slash more":                  {document(map[string]any{"issuer": "SELF/"}), "to the letter", false},
		"no issuer":                     {document(map[string]any{"issuer": nil}), `names the issuer ""`, false},
		"issuer in another letter case": {text(200, `{"Issuer":"SELF","jwks_uri":"SELF/keys","id_token_signing_alg_values_supported":["RS256"]}`), `names the issuer ""`, false},
		"issuer is an array":            {text(200, `{"issuer":["SELF"]}`), "issuer is of another type", false},
		"no keys":                       {document(map[string]any{"jwks_uri": nil}), "no jwks_uri", false},
		"keys elsewhere":                {document(map[string]any{"jwks_uri": "https://attacker.example/keys"}), "neither the issuer's origin nor in KeyOrigins", false},
		"keys at another port":          {document(map[string]any{"jwks_uri": "http://127.0.0.1:1/keys"}), "neither the issuer's origin", false},
		"keys over plain http":          {document(map[string]any{"jwks_uri": "http://keys.example/keys"}), "https wanted", false},
		"keys in a file":                {document(map[string]any{"jwks_uri": "file:///etc/passwd"}), "jwks_uri is no address", false},
		"keys with a user":              {document(map[string]any{"jwks_uri": "https://a:b@keys.example/keys"}), "jwks_uri is no address", false},
		"revocation over plain http":    {document(map[string]any{"revocation_endpoint": "http://attacker.example/revoke"}), "revocation_endpoint", false},
		"introspection over plain http": {document(map[string]any{"introspection_endpoint": "http://attacker.example/"}), "introspection_endpoint", false},
		"userinfo no address":           {document(map[string]any{"userinfo_endpoint": "javascript:alert(1)"}), "userinfo_endpoint", false},
		"algorithm none alone":          {document(map[string]any{"id_token_signing_alg_values_supported": []string{"none"}}), "it offers the algorithms", false},
		"HMAC alone":                    {document(map[string]any{"id_token_signing_alg_values_supported": []string{"HS256", "HS512"}}), "it offers the algorithms", false},
		"unknown algorithms":            {document(map[string]any{"id_token_signing_alg_values_supported": []string{"rs256", "RS1", ""}}), "it offers the algorithms", false},
		"no algorithms":                 {document(map[string]any{"id_token_signing_alg_values_supported": nil}), "it offers the algorithms", false},
		"algorithms in a string":        {document(map[string]any{"id_token_signing_alg_values_supported": "RS256"}), "another type", false},
		"HTML":                          {text(200, "<html>"), "not one JSON object", false},
		"nothing":                       {text(200, ""), "not one JSON object", false},
		"null":                          {text(200, "null"), "not one JSON object", false},
		"two objects":                   {text(200, "{}{}"), "not one JSON object", false},
		"an array":                      {text(200, "[]"), "not one JSON object", false},
		"404":                           {text(404, "{}"), "status 404", false},
		"204":                           {text(204, ""), "status 204", false},
		"429":                           {text(429, "{}"), "status 429", true},
		"503":                           {text(503, "{}"), "status 503", true},
		"redirects elsewhere": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://attacker.example/", http.StatusFound)
		}, "redirects", false},
		"redirects to itself": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("x") {
				document(nil)(w, r)
				return
			}
			http.Redirect(w, r, r.URL.Path+"?x", http.StatusPermanentRedirect)
		}, "redirects", false},
		"64 MiB": {func(w http.ResponseWriter, r *http.Request) {
			chunk := []byte(strings.Repeat(" ", 1<<20))
			for range 64 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, "more than 524288 bytes", false},
		"cut": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, `{"issuer":`)
		}, "EOF", true},
		"drops the connection": {func(w http.ResponseWriter, r *http.Request) { panic(http.ErrAbortHandler) }, "EOF", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(c.serve))
			t.Cleanup(s.Close)
			self = s.URL
			cfg := discoverConfig
			cfg.KeyOrigins = []string{"http://keys.example"}
			_, err := Discover(t.Context(), self, cfg)
			require.Error(t, err)
			assert.ErrorContains(t, err, c.want)
			assert.ErrorContains(t, err, self, "the error names the issuer")
			assert.Equal(t, c.passes, isUnavailable(err), err)
		})
	}
}

func isUnavailable(err error) bool {
	return assert.ErrorIs(new(testing.T), err, stmigrate.ErrUnavailable)
}

// A provider that accepts the connection and says nothing, or stops in the middle of an answer. The call has an end of its own, and
// the caller's, if that is earlier.
func TestDiscoverThatHangs(t *testing.T) {
	silent := func(r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	stops := func(r *http.Request) (*http.Response, error) {
		body := io.MultiReader(strings.NewReader(`{"issuer":`), readerFunc(func([]byte) (int, error) {
			<-r.Context().Done()
			return 0, r.Context().Err()
		}))
		return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(body), Request: r}, nil
	}
	for name, transport := range map[string]roundTripper{"silent": silent, "stops": stops} {
		for caller, want := range map[time.Duration]time.Duration{time.Hour: discoverTimeout, time.Second: time.Second} {
			synctest.Test(t, func(t *testing.T) {
				cfg := discoverConfig
				cfg.HTTPClient = &http.Client{Transport: transport}
				ctx, cancel := context.WithTimeout(t.Context(), caller)
				defer cancel()
				start := time.Now()
				_, err := Discover(ctx, "https://sso.example.com", cfg)
				require.ErrorIs(t, err, stmigrate.ErrUnavailable, name)
				require.ErrorIs(t, err, context.DeadlineExceeded, name)
				assert.Equal(t, want, time.Since(start), name)
			})
		}
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Addresses of this machine and of private networks are refused when they are dialled, whatever name leads there.
func TestDiscoverPrivateAddresses(t *testing.T) {
	iss := stmigratetest.NewIssuer(t)
	cfg := discoverConfig
	cfg.AllowPrivate = nil
	for _, issuer := range []string{
		"https://127.0.0.1:1/", "https://[::1]:1/", "https://localhost:1/", "https://10.0.0.1/", "https://169.254.169.254/", "https://192.168.1.1/",
		"https://[::ffff:127.0.0.1]:1/", "https://[fe80::1]/", "https://0.0.0.0:1/",
	} {
		_, err := Discover(t.Context(), issuer, cfg)
		require.ErrorIs(t, err, safedial.ErrNotPublic, issuer)
		assert.NotErrorIs(t, err, stmigrate.ErrUnavailable, "another try will not help")
	}
	_, err := Discover(t.Context(), iss.Issuer(), cfg)
	assert.ErrorContains(t, err, "https wanted", "http is for hosts in AllowPrivate alone")
	cfg.AllowPrivate = []string{"sso.internal"}
	_, err = Discover(t.Context(), "http://sso.internal", cfg)
	assert.ErrorContains(t, err, "https wanted", "and for loopback addresses")
	assert.Empty(t, iss.Requests())

	// What allows the metadata allows the keys, and nothing else does.
	preset, err := Discover(t.Context(), iss.Issuer(), discoverConfig)
	require.NoError(t, err)
	transport, ok := preset.Keys.HTTPClient.Transport.(*http.Transport)
	require.True(t, ok)
	_, err = transport.DialContext(t.Context(), "tcp", "10.0.0.1:443")
	assert.ErrorIs(t, err, safedial.ErrNotPublic)
}

func TestDiscoverAlgorithms(t *testing.T) {
	for want, c := range map[string]struct{ offered, configured []string }{
		"[RS256]":             {[]string{"none", "HS256", "RS256"}, nil},
		"[RS256 ES256 EdDSA]": {[]string{"EdDSA", "ES256", "RS256"}, nil},
		"[ES256]":             {[]string{"RS256", "ES256"}, []string{"ES256", "ES512"}},
	} {
		cfg := discoverConfig
		cfg.Algorithms = c.configured
		got, err := cfg.accept("https://sso.example.com", &metadata{
			Issuer: "https://sso.example.com", Keys: "https://sso.example.com/keys", Algorithms: c.offered,
		})
		require.NoError(t, err)
		assert.Equal(t, want, fmt.Sprint(got))
	}
	cfg := discoverConfig
	cfg.Algorithms = []string{"HS256", "none"}
	_, err := cfg.accept("https://sso.example.com", &metadata{
		Issuer: "https://sso.example.com", Keys: "https://sso.example.com/keys", Algorithms: []string{"HS256", "none", "RS256"},
	})
	assert.Error(t, err, "nothing makes HMAC and none safe")
}

func TestDiscoverKeyOrigins(t *testing.T) {
	cfg := discoverConfig
	cfg.KeyOrigins = []string{"https://www.googleapis.com"}
	m := &metadata{Issuer: "https://accounts.google.com", Keys: "https://www.googleapis.com/oauth2/v3/certs", Algorithms: []string{"RS256"}}
	_, err := cfg.accept("https://accounts.google.com", m)
	require.NoError(t, err)
	m.Keys = "https://www.googleapis.com.evil.example/oauth2/v3/certs"
	_, err = cfg.accept("https://accounts.google.com", m)
	assert.Error(t, err)
}

func TestDiscoverConfigs(t *testing.T) {
	for want, c := range map[string]struct {
		issuer string
		change func(*DiscoverConfig)
	}{
		"issuer: \"\"":                       {"", func(*DiscoverConfig) {}},
		"issuer: \"sso.example.com\"":        {"sso.example.com", func(*DiscoverConfig) {}},
		"issuer: \"http://sso":               {"http://sso.example.com", func(*DiscoverConfig) {}},
		"issuer: \"https://sso.example.com?": {"https://sso.example.com?x=1", func(*DiscoverConfig) {}},
		"issuer: \"https://user:xxxxx@":      {"https://user:secret@sso.example.com", func(*DiscoverConfig) {}},
		"issuer: not an address":             {"https://%zz", func(*DiscoverConfig) {}},
		"DiscoverConfig.Audience is":         {"https://sso.example.com", func(c *DiscoverConfig) { c.Audience = nil }},
		"DiscoverConfig.ClientIDs":           {"https://sso.example.com", func(c *DiscoverConfig) { c.ClientIDs = nil }},
		"has a client ID":                    {"https://sso.example.com", func(c *DiscoverConfig) { c.Audience = c.ClientIDs }},
		"contradicts AllowIDTokens":          {"https://sso.example.com", func(c *DiscoverConfig) { c.AllowIDTokens = true }},
		"DiscoverConfig.AllowPrivate[0]":     {"https://sso.example.com", func(c *DiscoverConfig) { c.AllowPrivate = []string{"*"} }},
	} {
		cfg := discoverConfig
		c.change(&cfg)
		_, err := Discover(t.Context(), c.issuer, cfg)
		assert.ErrorContains(t, err, want)
		assert.NotErrorIs(t, err, stmigrate.ErrUnavailable)
	}
}

// Whatever a provider answers, what is accepted names this issuer, keys over https, and safe algorithms.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"issuer":"https://sso.example.com","jwks_uri":"https://sso.example.com/keys","id_token_signing_alg_values_supported":["RS256","none"]}`))
	f.Add([]byte(`{"issuer":"https://sso.example.com","jwks_uri":"http://sso.example.com/keys","issuer":"x"}`))
	f.Add([]byte(`{"issuer":null,"jwks_uri":7}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var m metadata
		if m.parse(body) != nil {
			return
		}
		cfg := DiscoverConfig{Audience: []string{"api"}, ClientIDs: []string{"web"}}
		algorithms, err := cfg.accept("https://sso.example.com", &m)
		if err != nil {
			return
		}
		require.NotEmpty(t, algorithms)
		require.Subset(t, discoverAlgorithms, algorithms)
		require.True(t, strings.HasPrefix(strings.ToLower(m.Keys), "https://sso.example.com"), m.Keys)
		_, err = stmigrate.NewJWKSVerifier(stmigrate.JWKSConfig{URL: m.Keys},
			stmigrate.JWTConfig{Issuer: m.Issuer, Audience: cfg.Audience, Algorithms: algorithms})
		require.NoError(t, err)
	})
}
