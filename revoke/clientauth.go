package revoke

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/stmigrate/stmigrate"
)

// AuthMethod is how a client proves to the provider who it is. The names are those of
// token_endpoint_auth_methods_supported (RFC 7591 §2).
type AuthMethod string

const (
	// ClientSecretBasic sends ID and Secret by HTTP Basic authentication, each form-encoded (RFC 6749 §2.3.1).
	ClientSecretBasic AuthMethod = "client_secret_basic"
	// ClientSecretPost sends ID and Secret in the form.
	ClientSecretPost AuthMethod = "client_secret_post"
	// PrivateKeyJWT sends what Assertion returns (RFC 7523 §2.2).
	PrivateKeyJWT AuthMethod = "private_key_jwt"
	// PublicClient sends the ID and proves nothing.
	PublicClient AuthMethod = "none"
)

// ClientAuth is the client that calls the provider's OAuth endpoints. ID is required, and so is what Method needs.
type ClientAuth struct {
	// Method is how the client proves who it is. Default: [ClientSecretBasic].
	Method AuthMethod
	ID     string
	Secret string
	// Assertion returns a signed JWT for [PrivateKeyJWT], a new one for each call. Its iss and sub are ID; its aud is what the
	// provider wants, the token endpoint or the issuer as a rule.
	Assertion func(ctx context.Context) (string, error)
}

func (c *ClientAuth) validate() error {
	if c.Method == "" {
		c.Method = ClientSecretBasic
	}
	secret := c.Method == ClientSecretBasic || c.Method == ClientSecretPost
	switch {
	case c.ID == "":
		return errors.New("ClientAuth.ID is required")
	case !secret && c.Method != PrivateKeyJWT && c.Method != PublicClient:
		return fmt.Errorf("ClientAuth.Method %q is none of %q, %q, %q, %q",
			c.Method, ClientSecretBasic, ClientSecretPost, PrivateKeyJWT, PublicClient)
	case secret && c.Secret == "":
		return fmt.Errorf("ClientAuth.Secret is required for %s (a client without a secret is a PublicClient)", c.Method)
	case !secret && c.Secret != "":
		return fmt.Errorf("ClientAuth.Secret contradicts ClientAuth.Method %s", c.Method)
	case (c.Method == PrivateKeyJWT) != (c.Assertion != nil):
		return errors.New("ClientAuth.Assertion and ClientAuth.Method PrivateKeyJWT go together")
	}
	return nil
}

// request makes an authenticated POST of values.
func (c *ClientAuth) request(ctx context.Context, endpoint string, values url.Values) (request, error) {
	if c.Method != ClientSecretBasic {
		values.Set("client_id", c.ID)
	}
	switch c.Method {
	case ClientSecretPost:
		values.Set("client_secret", c.Secret)
	case PrivateKeyJWT:
		assertion, err := c.Assertion(ctx)
		if err != nil {
			return request{}, temporary("ClientAuth.Assertion: %w", err)
		}
		values.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		values.Set("client_assertion", assertion)
	}
	r := form(endpoint, values)
	if c.Method == ClientSecretBasic {
		r.header.Set("Authorization", basic(url.QueryEscape(c.ID), url.QueryEscape(c.Secret)))
	}
	return r, nil
}

// Check names the field that is missing or contradicts another.
func (c ClientAuth) Check() error { return c.validate() }

// Request makes an authenticated POST of a form to an endpoint of the provider's: what the calls of this package and of package opaque
// begin with. form is added to. It fails only where Assertion does.
func (c ClientAuth) Request(ctx context.Context, endpoint string, form url.Values) (*http.Request, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	r, err := c.request(ctx, endpoint, form)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return nil, permanent("the request cannot be made: its address is no URL")
	}
	req.Header = r.header
	return req, nil
}

func basic(user, password string) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// TokenSource returns the credential for a provider's API. It is called for each call, so it should remember what it fetched.
type TokenSource func(ctx context.Context) (string, error)

// StaticToken is for API keys that do not expire: Clerk's, WorkOS', Okta's, Descope's.
func StaticToken(key string) TokenSource {
	return func(context.Context) (string, error) { return key, nil }
}

// bearerToken asks for a credential and checks that it can be one.
func (t TokenSource) bearerToken(ctx context.Context) (string, error) {
	token, err := t(ctx)
	if err != nil {
		if e := (*stmigrate.RevokeError)(nil); errors.As(err, &e) {
			return "", &stmigrate.RevokeError{Err: fmt.Errorf("Token: %w", err), RetryAfter: e.RetryAfter, Permanent: e.Permanent}
		}
		return "", temporary("Token: %w", err)
	}
	if !visible(token) {
		return "", permanent("Token returned what is no token: it is empty, longer than 16 KiB, or has spaces or control characters")
	}
	return token, nil
}

// visible tells whether s can stand in an Authorization header (RFC 9110 §5.6.2, RFC 6750 §2.1).
func visible(s string) bool {
	return s != "" && len(s) <= maxToken && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// ClientCredentialsConfig configures [ClientCredentials]. TokenURL and Client are required.
type ClientCredentialsConfig struct {
	// TokenURL is the provider's token endpoint.
	TokenURL string
	Client   ClientAuth
	// Scopes are asked for. Default: what the provider gives without.
	Scopes []string
	// Audience is sent as "audience": Auth0 wants the API's ("https://{tenant}/api/v2/"). Default: none is sent.
	Audience string
	HTTP     HTTP
}

// ClientCredentials gets access tokens for a provider's API by the client credentials grant (RFC 6749 §4.4). Its Token is a
// [TokenSource]. Safe for concurrent use.
type ClientCredentials struct {
	cfg    ClientCredentialsConfig
	client *client
	turn   chan struct{} // holds a value while somebody fetches

	mu      sync.Mutex
	token   string
	until   time.Time
	fetched int   // how many fetches have ended
	err     error // of the last one
}

const (
	credentialLife    = time.Hour   // at the most: the provider may withdraw a token
	credentialUnknown = time.Minute // where the provider does not say
)

// NewClientCredentials checks cfg. Nothing is fetched before the first Token.
func NewClientCredentials(cfg ClientCredentialsConfig) (*ClientCredentials, error) {
	if err := cfg.HTTP.endpoint(cfg.TokenURL, false); err != nil {
		return nil, fmt.Errorf("revoke: ClientCredentialsConfig.TokenURL: %w", err)
	}
	if err := cfg.Client.validate(); err != nil {
		return nil, fmt.Errorf("revoke: ClientCredentialsConfig.Client: %w", err)
	}
	if cfg.Client.Method == PublicClient {
		return nil, errors.New("revoke: ClientCredentialsConfig.Client is a PublicClient; the grant is for others (RFC 6749 §4.4)")
	}
	c, err := cfg.HTTP.client()
	if err != nil {
		return nil, fmt.Errorf("revoke: ClientCredentialsConfig.%w", err)
	}
	cfg.Scopes = append([]string(nil), cfg.Scopes...)
	return &ClientCredentials{cfg: cfg, client: c, turn: make(chan struct{}, 1)}, nil
}

// Format names the endpoint, whatever the verb: fmt would print the client's secret and the token.
func (c *ClientCredentials) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "revoke.ClientCredentials(%s)", c.cfg.TokenURL)
}

// Token returns a token that is good for a while: for nine tenths of its life, an hour at the most. Callers who come while one
// is being fetched wait for it, and share its failure. Errors are those of a [stmigrate.Revoker].
func (c *ClientCredentials) Token(ctx context.Context) (string, error) {
	token, fetched, _ := c.cached()
	if token != "" {
		return token, nil
	}
	select {
	case c.turn <- struct{}{}:
		defer func() { <-c.turn }()
	case <-ctx.Done():
		return "", temporary("waiting for a token: %w", ctx.Err())
	}
	token, now, err := c.cached()
	if token != "" || now != fetched && err != nil {
		return token, err
	}
	token, life, err := c.fetch(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctx.Err() != nil && err != nil {
		return "", err // this caller's, not the others'
	}
	c.token, c.until, c.err = token, c.client.now().Add(life), err
	c.fetched++
	return token, err
}

func (c *ClientCredentials) cached() (token string, fetched int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.client.now().Before(c.until) {
		token = c.token
	}
	return token, c.fetched, c.err
}

func (c *ClientCredentials) fetch(ctx context.Context) (string, time.Duration, error) {
	values := url.Values{"grant_type": {"client_credentials"}}
	if len(c.cfg.Scopes) > 0 {
		values.Set("scope", strings.Join(c.cfg.Scopes, " "))
	}
	if c.cfg.Audience != "" {
		values.Set("audience", c.cfg.Audience)
	}
	r, err := c.cfg.Client.request(ctx, c.cfg.TokenURL, values)
	if err != nil {
		return "", 0, err
	}
	a, err := c.client.do(ctx, r)
	if err != nil {
		return "", 0, err
	}
	fields := a.object()
	if a.status != http.StatusOK || !a.whole {
		return "", 0, a.refused(code(fields, "error"))
	}
	token, _ := fields["access_token"].(string)
	kind, _ := fields["token_type"].(string)
	if !visible(token) || !strings.EqualFold(kind, "Bearer") {
		return "", 0, temporary("the token endpoint's answer has no access_token, or a token_type other than Bearer (RFC 6749 §5.1)")
	}
	life := credentialUnknown
	if n, ok := fields["expires_in"].(json.Number); ok {
		seconds, err := n.Int64()
		if err != nil || seconds < 0 {
			return "", 0, temporary("the token endpoint's expires_in is no number of seconds")
		}
		life = time.Duration(min(seconds, 2*int64(credentialLife/time.Second))) * time.Second * 9 / 10
	}
	return token, min(life, credentialLife), nil
}
