package opaque

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/ask"
	"github.com/stmigrate/stmigrate/revoke"
)

// IntrospectionConfig configures [Introspection]. Required are Endpoint, Client or Bearer, one of Audience, ClientIDs and
// SkipAudienceCheck, and Rules.Issuer.
type IntrospectionConfig struct {
	// Endpoint is the provider's introspection endpoint: https, or http to localhost.
	Endpoint string
	// Client is who asks. At some providers it must be in the token's audience, else every token is inactive.
	Client revoke.ClientAuth
	// Bearer authorizes the calls instead of Client, where the provider wants an access token for that (RFC 7662 §2.1).
	Bearer revoke.TokenSource
	// Audience lists the values of aud of which an answer must have one: what the provider calls this API.
	Audience []string
	// ClientIDs lists the values of client_id of which an answer must have one: the applications whose users are migrated. Where
	// Audience and ClientIDs are both set, both must hold.
	ClientIDs []string
	// SkipAudienceCheck accepts tokens that were made for any other application of the provider's. It MUST NOT be set unless a
	// Check ties tokens to this application, or the provider calls tokens of others inactive.
	SkipAudienceCheck bool
	// TokenTypes are the values of token_type (RFC 7662 §2.2) of which an answer must have one, whatever their letter case; "" accepts
	// answers without one, at providers that leave it out. Without it a refresh token could pass: an endpoint may tell about those, too.
	// Default: "Bearer".
	TokenTypes []string
	// RequireUsername refuses answers without username, which machine tokens do not have. Without it machine tokens are known by a
	// sub that is the client_id, or, at Keycloak, by a username that begins with "service-account-".
	RequireUsername bool
	Rules           Rules
	HTTP            HTTP
}

// Introspection asks a provider's introspection endpoint about tokens (RFC 7662). Safe for concurrent use.
//
// A token is good if the answer is 200 and a JSON object with active: true, of the right type, for this application, of a user, and
// within its time. Without exp, Config.Until of the Migrator is required. Other statuses are [stmigrate.ErrUnavailable], 401 and 403
// included: they say that this client may not ask, not that the token is bad.
type Introspection struct {
	*verifier
	cfg IntrospectionConfig
}

// NewIntrospection checks cfg and copies it. The error names the field that is missing or wrong. Nothing is asked before the first
// token.
func NewIntrospection(cfg IntrospectionConfig) (*Introspection, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("opaque: %w", err)
	}
	v, err := newVerifier(cfg.Rules, cfg.HTTP)
	if err != nil {
		return nil, fmt.Errorf("opaque: IntrospectionConfig.%w", err)
	}
	cfg.Audience, cfg.ClientIDs, cfg.TokenTypes = slices.Clone(cfg.Audience), slices.Clone(cfg.ClientIDs), slices.Clone(cfg.TokenTypes)
	i := &Introspection{verifier: v, cfg: cfg}
	v.ask = i.ask
	return i, nil
}

func (c *IntrospectionConfig) check() error {
	if err := ask.Endpoint(c.Endpoint, false, false); err != nil {
		return fmt.Errorf("IntrospectionConfig.Endpoint: %w", err)
	}
	client := c.Client.ID != "" || c.Client.Method != "" || c.Client.Secret != "" || c.Client.Assertion != nil
	switch {
	case client == (c.Bearer != nil):
		return errors.New("IntrospectionConfig.Client or Bearer is required, and not both: who asks?")
	case c.SkipAudienceCheck && len(c.Audience)+len(c.ClientIDs) > 0:
		return errors.New("IntrospectionConfig.SkipAudienceCheck contradicts Audience and ClientIDs")
	case !c.SkipAudienceCheck && len(c.Audience)+len(c.ClientIDs) == 0:
		return errors.New("IntrospectionConfig.Audience or ClientIDs is required: for which application a token must have been made")
	case slices.Contains(c.Audience, ""), slices.Contains(c.ClientIDs, ""):
		return errors.New("IntrospectionConfig.Audience or ClientIDs has an empty value")
	}
	if client {
		if err := c.Client.Check(); err != nil {
			return fmt.Errorf("IntrospectionConfig.Client: %w", err)
		}
	}
	if len(c.TokenTypes) == 0 {
		c.TokenTypes = []string{"Bearer"}
	}
	return nil
}

func (i *Introspection) ask(ctx context.Context, token string) (*stmigrate.OldSession, error) {
	r, err := i.request(ctx, token)
	if err != nil {
		return nil, unavailable("introspection: %w", err)
	}
	a, err := i.caller.Do(ctx, r)
	if err != nil {
		return nil, unavailable("introspection: %w", err)
	}
	if a.Status != http.StatusOK {
		return nil, odd("introspection", a)
	}
	return i.read(a.Body)
}

func (i *Introspection) request(ctx context.Context, token string) (*http.Request, error) {
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	if i.cfg.Bearer == nil {
		return i.cfg.Client.Request(ctx, i.cfg.Endpoint, form)
	}
	bearer, err := i.cfg.Bearer(ctx)
	if err != nil {
		return nil, fmt.Errorf("a token for the endpoint: %w", err)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, i.cfg.Endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, errors.New("the endpoint is no URL")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Authorization", "Bearer "+bearer)
	return r, nil
}

// read makes a session of the body of an answer.
func (i *Introspection) read(body []byte) (*stmigrate.OldSession, error) {
	answer, err := i.object("introspection", body)
	if err != nil {
		return nil, err
	}
	switch active, ok := answer["active"].(bool); {
	case !ok:
		return nil, unavailable("introspection: the answer does not say whether the token is active: true or false wanted")
	case !active:
		return nil, i.refused("the provider says that the token is not active")
	}
	if err := i.belongs(answer); err != nil {
		return nil, err
	}
	s, err := i.session(answer)
	if err != nil {
		return nil, err
	}
	if err := i.check(s); err != nil {
		return nil, err
	}
	return s, nil
}

// belongs checks that the token is an access token of a user's, for this application.
func (i *Introspection) belongs(answer map[string]any) error {
	kind, given := answer["token_type"]
	text, ok := kind.(string)
	if given != ok || !slices.ContainsFunc(i.cfg.TokenTypes, func(t string) bool { return strings.EqualFold(t, text) }) {
		return invalid("the token's type (token_type) is none of %q", i.cfg.TokenTypes)
	}
	switch answer["typ"] {
	case "Refresh", "Offline", "ID": // Keycloak
		return invalid("the token is no access token (typ)")
	}
	client, _ := answer["client_id"].(string)
	switch {
	case len(i.cfg.Audience) > 0 && !isFor(answer["aud"], i.cfg.Audience):
		return invalid("the token's audience (aud) is none of %q", i.cfg.Audience)
	case len(i.cfg.ClientIDs) > 0 && !slices.Contains(i.cfg.ClientIDs, client):
		return invalid("the token's client (client_id) is none of %q", i.cfg.ClientIDs)
	case client != "" && answer["sub"] == client:
		return invalid("a machine token: its subject is the client")
	}
	switch name, _ := answer["username"].(string); {
	case i.cfg.RequireUsername && name == "":
		return invalid("the answer has no username: a machine token")
	case strings.HasPrefix(name, "service-account-"): // Keycloak, where a machine has a sub of its own
		return invalid("a machine token: its user is a service account")
	}
	return nil
}
