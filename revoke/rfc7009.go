package revoke

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/stmigrate/stmigrate"
)

// TokenOf chooses the token that is revoked, for providers that revoke refresh tokens and for clients that show access tokens:
// a backend that keeps its users' refresh tokens finds it by the session. token is what the client showed. An error of it is
// temporary unless it is a permanent [stmigrate.RevokeError]; an empty token is a permanent one.
type TokenOf func(ctx context.Context, token string, s *stmigrate.OldSession) (string, error)

// choose returns the token to revoke.
func (f TokenOf) choose(ctx context.Context, token string, s *stmigrate.OldSession) (string, error) {
	if f != nil {
		var err error
		if token, err = f(ctx, token, s); err != nil {
			if e := (*stmigrate.RevokeError)(nil); errors.As(err, &e) {
				return "", err
			}
			return "", temporary("finding the token to revoke: %w", err)
		}
	}
	if token == "" {
		return "", permanent("there is no token to revoke")
	}
	if len(token) > maxToken {
		return "", permanent("the token to revoke has more than %d bytes", maxToken)
	}
	return token, nil
}

// RFC7009Config configures [RFC7009]. Endpoint and Client are required.
type RFC7009Config struct {
	// Endpoint is the provider's revocation endpoint (revocation_endpoint in its metadata). It must be https, unless its host is
	// localhost or a loopback address.
	Endpoint string
	Client   ClientAuth
	// TokenTypeHint is sent as token_type_hint: "access_token", "refresh_token" or a name that the provider has. Default: none.
	TokenTypeHint string
	// Token chooses the token that is revoked. Default: the one that the client showed.
	Token TokenOf
	// InvalidTokenIsOver says that the provider answers 400 invalid_token for a token that is over already, where RFC 7009 §2.2 has 200,
	// as Google does. It says the same of what is no token of its own, an ID token say, and of an access token that has expired while
	// the grant lives on: so Token is required with it, and should find a refresh token. Default: 400 invalid_token is a permanent
	// error.
	InvalidTokenIsOver bool
	// Confirm is asked after each revocation that the provider reports as done, with the revoked token; its error is Revoke's.
	// [Introspection.ConfirmRevoked] is one. Default: the provider is believed.
	Confirm func(ctx context.Context, token string) error
	HTTP    HTTP
}

// RFC7009 revokes a token at the provider's revocation endpoint (RFC 7009).
//
// What else ends is the provider's choice: with a refresh token the access tokens of the same grant should end, with an access
// token the refresh token may (§2.1), and at some the user's consent, too. See the table in the package documentation.
//
// Status 200 means that the token is good no more, and it is the answer for a token that the provider does not know, too
// (§2.2). So 200 proves nothing: Okta answers it to every string that an authenticated client sends, and a provider that
// revokes no access tokens may ignore one. Confirm has each checked.
//
// Errors are [stmigrate.RevokeError]: permanent for what the configuration causes (unsupported_token_type, invalid_client, an
// endpoint that is not there); with RetryAfter where the provider said when (Retry-After, X-RateLimit-Reset). While a
// provider's limit is used up it is not called; that is remembered in this value, so by this process. Safe for concurrent use.
type RFC7009 struct {
	cfg    RFC7009Config
	client *client
}

// NewRFC7009 checks cfg. The error names the field that is missing or wrong.
func NewRFC7009(cfg RFC7009Config) (*RFC7009, error) {
	if err := cfg.HTTP.endpoint(cfg.Endpoint, false); err != nil {
		return nil, fmt.Errorf("revoke: RFC7009Config.Endpoint: %w", err)
	}
	if err := cfg.Client.validate(); err != nil {
		return nil, fmt.Errorf("revoke: RFC7009Config.Client: %w", err)
	}
	if cfg.TokenTypeHint != "" && !hint(cfg.TokenTypeHint) {
		return nil, fmt.Errorf("revoke: RFC7009Config.TokenTypeHint %q is no token type (RFC 7009 §4.1.2)", cfg.TokenTypeHint)
	}
	if cfg.InvalidTokenIsOver && cfg.Token == nil {
		return nil, errors.New("revoke: RFC7009Config.Token is required with InvalidTokenIsOver: " +
			"what clients show may be no token that the endpoint knows, and would look like one that is over")
	}
	c, err := cfg.HTTP.client()
	if err != nil {
		return nil, fmt.Errorf("revoke: RFC7009Config.%w", err)
	}
	return &RFC7009{cfg: cfg, client: c}, nil
}

// Format names the endpoint, whatever the verb: fmt would print the client's secret.
func (r *RFC7009) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "revoke.RFC7009(%s)", r.cfg.Endpoint)
}

func hint(s string) bool {
	return strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == ""
}

// Revoke implements [stmigrate.Revoker].
func (r *RFC7009) Revoke(ctx context.Context, token string, s *stmigrate.OldSession) error {
	token, err := r.cfg.Token.choose(ctx, token, s)
	if err != nil {
		return err
	}
	values := url.Values{"token": {token}}
	if r.cfg.TokenTypeHint != "" {
		values.Set("token_type_hint", r.cfg.TokenTypeHint)
	}
	req, err := r.cfg.Client.request(ctx, r.cfg.Endpoint, values)
	if err != nil {
		return err
	}
	a, err := r.client.do(ctx, req)
	if err != nil {
		return err
	}
	over := r.cfg.InvalidTokenIsOver && a.status == http.StatusBadRequest && a.object()["error"] == "invalid_token"
	if a.status != http.StatusOK && a.status != http.StatusNoContent && !over {
		return oauthRefusal(a)
	}
	if r.cfg.Confirm == nil {
		return nil
	}
	return r.cfg.Confirm(ctx, token)
}

// oauthRefusal reads an error of RFC 6749 §5.2. Some servers say with status 400 what may pass (RFC 6749 §4.1.2.1).
func oauthRefusal(a *answer) error {
	name := code(a.object(), "error")
	e := a.refused(name)
	if name == "temporarily_unavailable" || name == "server_error" {
		e.Permanent = false
	}
	return e
}

// IntrospectionConfig configures [Introspection]. Endpoint and Client are required.
type IntrospectionConfig struct {
	// Endpoint is the provider's introspection endpoint (introspection_endpoint in its metadata); https as in [RFC7009Config].
	Endpoint string
	// Client must be one that may see the token: to others the provider says that it is not active (RFC 7662 §2.2), and nothing
	// would be confirmed.
	Client ClientAuth
	HTTP   HTTP
}

// Introspection asks a provider about tokens (RFC 7662). Safe for concurrent use.
type Introspection struct {
	cfg    IntrospectionConfig
	client *client
}

// NewIntrospection checks cfg. The error names the field that is missing or wrong.
func NewIntrospection(cfg IntrospectionConfig) (*Introspection, error) {
	if err := cfg.HTTP.endpoint(cfg.Endpoint, false); err != nil {
		return nil, fmt.Errorf("revoke: IntrospectionConfig.Endpoint: %w", err)
	}
	if err := cfg.Client.validate(); err != nil {
		return nil, fmt.Errorf("revoke: IntrospectionConfig.Client: %w", err)
	}
	c, err := cfg.HTTP.client()
	if err != nil {
		return nil, fmt.Errorf("revoke: IntrospectionConfig.%w", err)
	}
	return &Introspection{cfg: cfg, client: c}, nil
}

// Format names the endpoint, whatever the verb: fmt would print the client's secret.
func (i *Introspection) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "revoke.Introspection(%s)", i.cfg.Endpoint)
}

// ConfirmRevoked is nil if the provider says that token is not active. A token that is active still, and an answer that does not
// say, are temporary errors: the revocation is tried again. It does not tell a token that was revoked from one that never was.
func (i *Introspection) ConfirmRevoked(ctx context.Context, token string) error {
	r, err := i.cfg.Client.request(ctx, i.cfg.Endpoint, url.Values{"token": {token}})
	if err != nil {
		return err
	}
	a, err := i.client.do(ctx, r)
	if err != nil {
		return err
	}
	if a.status != http.StatusOK || !a.whole {
		return oauthRefusal(a)
	}
	active, ok := a.object()["active"].(bool)
	switch {
	case !ok:
		return temporary("the introspection endpoint did not say whether the token is active (RFC 7662 §2.2)")
	case active:
		return temporary("the provider said that the token is revoked, and introspection says that it is active")
	}
	return nil
}

// DiscoverRevocationEndpoint reads the provider's metadata (OpenID Connect Discovery 1.0 §4) and returns its
// revocation_endpoint. issuer is the exact one: metadata that names another is refused, and so is an endpoint that is not https.
// It is for start-up; what it returns belongs into [RFC7009Config].
func DiscoverRevocationEndpoint(ctx context.Context, issuer string, h HTTP) (string, error) {
	if err := h.endpoint(issuer, true); err != nil {
		return "", fmt.Errorf("revoke: issuer: %w", err)
	}
	c, err := h.client()
	if err != nil {
		return "", fmt.Errorf("revoke: %w", err)
	}
	a, err := c.do(ctx, request{method: http.MethodGet, url: strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"})
	if err != nil {
		return "", fmt.Errorf("revoke: metadata: %w", err)
	}
	if a.status != http.StatusOK || !a.whole {
		return "", fmt.Errorf("revoke: metadata: %w", a.refused(""))
	}
	fields := a.object()
	if named, _ := fields["issuer"].(string); named != issuer {
		return "", fmt.Errorf("revoke: metadata: it names another issuer than %q", issuer)
	}
	endpoint, _ := fields["revocation_endpoint"].(string)
	if err := h.endpoint(endpoint, false); err != nil {
		return "", fmt.Errorf("revoke: metadata: revocation_endpoint: %w", err)
	}
	return endpoint, nil
}
