package opaque

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/ask"
	"github.com/stmigrate/stmigrate/internal/claims"
	"github.com/stmigrate/stmigrate/revoke"
)

// Proof says which token of a provider's answer proves whose the session is.
type Proof int

const (
	// AccessToken is verified as clients' access tokens are, so that both are one exchange.
	AccessToken Proof = iota
	// IDToken is for providers whose access tokens are not this backend's to verify.
	IDToken
)

// RefreshConfig configures [Refresh]. Endpoint, Client, Issuer and Verifier are required.
type RefreshConfig struct {
	// Endpoint is the provider's token endpoint: https, or http to localhost.
	Endpoint string
	// Client is the client that the refresh tokens were given to: no other can redeem them.
	Client revoke.ClientAuth
	// Issuer is whose tokens these are, and of whom Verifier's sessions are. Required.
	Issuer string
	// Verifier verifies what the provider gives for a refresh token: the [stmigrate.JWTVerifier] that verifies clients' access tokens,
	// an [Introspection], a [UserInfo]. Required: that the provider answered does not say for which application, user or session.
	Verifier stmigrate.OldSessionVerifier
	// Proof is what the Verifier is given. Default: the access token.
	Proof Proof
	// Scope is asked for; it must not be more than what was granted (RFC 6749 §6), and "openid" must be in it where an ID token is
	// wanted. Default: none is sent, which asks for what was granted.
	Scope []string
	// Takes chooses the tokens that are redeemed. Default: [NotJWT]. Keycloak's refresh tokens are JWTs: see [KeycloakRefreshToken].
	Takes func(token string) bool
	HTTP  HTTP
	// Now replaces time.Now, in tests.
	Now func() time.Time
}

// Refresh redeems refresh tokens by OAuth's refresh token grant (RFC 6749 §6): it is a [stmigrate.Redeemer]. Safe for concurrent use.
//
// The error invalid_grant is [stmigrate.ErrInvalidSession], and remembered for a minute; every other failure is
// [stmigrate.ErrUnavailable], a refused client included. If the provider gave tokens that the Verifier does not accept, its error comes
// with the refresh token that is good by now, so that nothing is lost while the configuration is put right.
type Refresh struct {
	issuer   string
	verifier stmigrate.OldSessionVerifier
	proof    Proof
	takes    func(string) bool
	caller   *ask.Caller
	refused  *ask.Memory[struct{}]

	request func(ctx context.Context, token string) (*http.Request, error)
	// read returns the tokens of an answer. Its errors are classed.
	read func(a *ask.Answer) (tokens, error)
}

var _ stmigrate.Redeemer = (*Refresh)(nil)

// tokens are those of RFC 6749 §5.1.
type tokens struct{ access, id, refresh string }

// NewRefresh checks cfg and copies it. The error names the field that is missing or wrong. Nothing is asked before the first token.
func NewRefresh(cfg RefreshConfig) (*Refresh, error) {
	r, err := newRefresh(cfg)
	if err == nil {
		err = cfg.Client.Check()
	}
	if err != nil {
		return nil, fmt.Errorf("opaque: NewRefresh: %w", err)
	}
	endpoint, client, scope := cfg.Endpoint, cfg.Client, strings.Join(cfg.Scope, " ")
	r.request = func(ctx context.Context, token string) (*http.Request, error) {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
		if scope != "" {
			form.Set("scope", scope)
		}
		return client.Request(ctx, endpoint, form)
	}
	r.read = readTokens
	return r, nil
}

func newRefresh(cfg RefreshConfig) (*Refresh, error) {
	if err := ask.Endpoint(cfg.Endpoint, false, false); err != nil {
		return nil, fmt.Errorf("RefreshConfig.Endpoint: %w", err)
	}
	switch {
	case cfg.Issuer == "":
		return nil, errors.New("RefreshConfig.Issuer is required")
	case cfg.Verifier == nil:
		return nil, errors.New("RefreshConfig.Verifier is required: who verifies what the provider gives for a refresh token?")
	case cfg.Proof != AccessToken && cfg.Proof != IDToken:
		return nil, fmt.Errorf("RefreshConfig.Proof is %d: AccessToken or IDToken wanted", cfg.Proof)
	case slices.ContainsFunc(cfg.Scope, func(s string) bool { return s == "" || strings.ContainsAny(s, " \"\\") }):
		return nil, fmt.Errorf("RefreshConfig.Scope %q: one scope each wanted", cfg.Scope)
	}
	if cfg.Takes == nil {
		cfg.Takes = NotJWT
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	caller, err := cfg.HTTP.caller(cfg.Now)
	if err != nil {
		return nil, fmt.Errorf("RefreshConfig.%w", err)
	}
	return &Refresh{issuer: cfg.Issuer, verifier: cfg.Verifier, proof: cfg.Proof, takes: cfg.Takes, caller: caller,
		refused: ask.NewMemory[struct{}](maxRemembered, cfg.Now)}, nil
}

// KeycloakRefreshToken takes refresh and offline tokens of Keycloak: JWTs that say so (typ) and name the issuer, and that nobody but
// Keycloak can verify. Nothing of it is verified here; Keycloak does that when the token is redeemed.
func KeycloakRefreshToken(issuer string) func(token string) bool {
	return func(token string) bool {
		payload, ok := jwtPayload(token)
		return ok && payload["iss"] == issuer && (payload["typ"] == "Refresh" || payload["typ"] == "Offline")
	}
}

// Issuer returns RefreshConfig.Issuer.
func (r *Refresh) Issuer() string { return r.issuer }

// Format names r by its issuer, whatever the verb: fmt would print the secrets in it for some.
func (r *Refresh) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "opaque.Refresh(%s)", r.issuer) }

// Verify redeems nothing and answers [stmigrate.ErrNotMine].
func (r *Refresh) Verify(context.Context, string) (*stmigrate.OldSession, error) {
	return nil, fmt.Errorf("%w: a refresh token is used up when it is verified; a Migrator can do that, and nothing else",
		stmigrate.ErrNotMine)
}

// Peek implements [stmigrate.Redeemer]. It asks nobody.
func (r *Refresh) Peek(_ context.Context, token string) (string, error) {
	switch {
	case len(token) > maxToken:
		return "", invalid("longer than %d bytes", maxToken)
	case !claims.IsToken68(token) || !r.takes(token):
		return "", fmt.Errorf("%w: no refresh token, or what else RefreshConfig.Takes leaves to others", stmigrate.ErrNotMine)
	}
	if _, ok := r.refused.Get(token); ok {
		return "", invalid("the provider refused the refresh token a moment ago")
	}
	return r.issuer, nil
}

// Redeem implements [stmigrate.Redeemer].
func (r *Refresh) Redeem(ctx context.Context, token string) (*stmigrate.Redeemed, error) {
	req, err := r.request(ctx, token)
	if err != nil {
		return nil, unavailable("redeeming a refresh token: %w", err)
	}
	a, err := r.caller.Do(ctx, req)
	if err != nil {
		return nil, unavailable("redeeming a refresh token: %w", err)
	}
	got, err := r.read(a)
	if err != nil {
		if errors.Is(err, stmigrate.ErrInvalidSession) {
			r.refused.Put(token, struct{}{}, refusedFor)
		}
		return &stmigrate.Redeemed{Token: got.refresh}, err
	}
	out := &stmigrate.Redeemed{Token: got.refresh}
	proof := got.access
	if r.proof == IDToken {
		proof = got.id
	}
	if proof == "" {
		wanted := map[Proof]string{AccessToken: "access token", IDToken: "ID token"}[r.proof]
		return out, unavailable("redeeming a refresh token: the answer has no %s", wanted)
	}
	if out.Session, err = r.verifier.Verify(ctx, proof); err != nil {
		out.Session = nil
		return out, fmt.Errorf("what the provider gave for a refresh token: %w", classed(err))
	}
	if out.Session.Issuer != r.issuer {
		err := fmt.Errorf("opaque: RefreshConfig.Verifier has sessions of the issuer %q, and RefreshConfig.Issuer is %q",
			out.Session.Issuer, r.issuer)
		out.Session = nil
		return out, err
	}
	return out, nil
}

// readTokens reads the answer of a token endpoint (RFC 6749 §5).
func readTokens(a *ask.Answer) (tokens, error) {
	answer, err := claims.Object(string(a.Body))
	if a.Status != http.StatusOK {
		// 400 is the RFC's; Auth0 answers 403 (support.auth0.com, "403: Unknown or invalid refresh token"). 401 is about the client.
		refusal := a.Status == http.StatusBadRequest || a.Status == http.StatusForbidden
		if code, _ := answer["error"].(string); refusal && code == "invalid_grant" {
			return tokens{}, invalid("the provider refused the refresh token (invalid_grant)")
		}
		return tokens{}, odd("redeeming a refresh token", a)
	}
	if err != nil {
		return tokens{}, unavailable("redeeming a refresh token: the answer: %w", err)
	}
	return takeTokens(answer, "access_token", "id_token", "refresh_token", "token_type")
}

// takeTokens takes tokens out of an answer by their names. What it returns with an error is what is good of it.
func takeTokens(answer map[string]any, access, id, refresh, kind string) (out tokens, err error) {
	for name, into := range map[string]*string{access: &out.access, id: &out.id, refresh: &out.refresh} {
		value, ok := answer[name]
		if !ok || value == nil {
			continue
		}
		if *into, _ = value.(string); len(*into) > maxToken || !claims.IsToken68(*into) {
			*into, err = "", unavailable("redeeming a refresh token: %s in the answer is no token", name)
		}
	}
	if err != nil {
		return out, err
	}
	if kind, _ := answer[kind].(string); !strings.EqualFold(kind, "Bearer") {
		return out, unavailable("redeeming a refresh token: the answer is of no type (token_type) that is understood: Bearer wanted")
	}
	return out, nil
}

// CognitoRefreshConfig configures [NewCognitoRefresh]. Region, ClientID, Issuer and Verifier are required.
type CognitoRefreshConfig struct {
	// Region of the user pool: "eu-central-1".
	Region string
	// ClientID is the app client that the refresh tokens were given to; ClientSecret is its secret, if it has one.
	ClientID, ClientSecret string
	// Issuer, Verifier, Proof, HTTP and Now are as in [RefreshConfig].
	Issuer   string
	Verifier stmigrate.OldSessionVerifier
	Proof    Proof
	HTTP     HTTP
	Now      func() time.Time
	// Endpoint replaces the region's, in tests. Default: https://cognito-idp.{Region}.amazonaws.com/.
	Endpoint string
}

// NewCognitoRefresh redeems refresh tokens by Cognito's GetTokensFromRefreshToken
// (https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_GetTokensFromRefreshToken.html), which works whether the
// app client rotates refresh tokens or not. (InitiateAuth does not where it does, and wants the user's name for an app client with a
// secret.) For tokens of a user pool's domain [NewRefresh] at /oauth2/token does, too. NotAuthorizedException and
// RefreshTokenReuseException are [stmigrate.ErrInvalidSession], unless the message speaks of the client's secret, as Cognito's other calls have
// it; this one's text is not verified.
// Cognito's refresh tokens are encrypted JWTs, so this takes tokens of five parts, and no others.
func NewCognitoRefresh(cfg CognitoRefreshConfig) (*Refresh, error) {
	host := func(r rune) bool { return (r < 'a' || 'z' < r) && (r < '0' || '9' < r) && r != '-' }
	if cfg.Region == "" || strings.ContainsFunc(cfg.Region, host) || cfg.ClientID == "" {
		return nil, fmt.Errorf("opaque: CognitoRefreshConfig.Region %q and ClientID %q are required, a region like eu-central-1",
			cfg.Region, cfg.ClientID)
	}
	if cfg.Endpoint == "" {
		cfg.Endpoint = "https://cognito-idp." + cfg.Region + ".amazonaws.com/"
	}
	r, err := newRefresh(RefreshConfig{
		Endpoint: cfg.Endpoint, Issuer: cfg.Issuer, Verifier: cfg.Verifier, Proof: cfg.Proof, HTTP: cfg.HTTP, Now: cfg.Now,
		Takes: func(token string) bool { return strings.Count(token, ".") == 4 && !NotJWT(token) },
	})
	if err != nil {
		return nil, fmt.Errorf("opaque: NewCognitoRefresh: %w", err)
	}
	r.request = func(ctx context.Context, token string) (*http.Request, error) {
		body := map[string]string{"ClientId": cfg.ClientID, "RefreshToken": token}
		if cfg.ClientSecret != "" {
			body["ClientSecret"] = cfg.ClientSecret
		}
		text, _ := json.Marshal(body) // strings: cannot fail
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, cfg.Endpoint, bytes.NewReader(text))
		if err != nil {
			return nil, errors.New("the endpoint is no URL")
		}
		req.Header.Set("Content-Type", "application/x-amz-json-1.1")
		req.Header.Set("X-Amz-Target", "AWSCognitoIdentityProviderService.GetTokensFromRefreshToken")
		return req, nil
	}
	r.read = readCognito
	return r, nil
}

func readCognito(a *ask.Answer) (tokens, error) {
	answer, err := claims.Object(string(a.Body))
	if a.Status != http.StatusOK {
		code, _ := answer["__type"].(string)
		message, _ := answer["message"].(string)
		switch code = code[strings.LastIndexByte(code, '#')+1:]; {
		case strings.Contains(strings.ToLower(message), "secret"):
			// NotAuthorizedException, too: Cognito refused ClientSecret, or the want of one, and says nothing of the token.
		case a.Status == http.StatusBadRequest && (code == "NotAuthorizedException" || code == "RefreshTokenReuseException"):
			return tokens{}, invalid("Cognito refused the refresh token (%s)", code)
		}
		return tokens{}, odd("redeeming a refresh token", a)
	}
	if err != nil {
		return tokens{}, unavailable("redeeming a refresh token: the answer: %w", err)
	}
	result, _ := answer["AuthenticationResult"].(map[string]any)
	return takeTokens(result, "AccessToken", "IdToken", "RefreshToken", "TokenType")
}

// jwtPayload reads the payload of what looks like a signed JWT.
func jwtPayload(token string) (map[string]any, bool) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || NotJWT(token) {
		return nil, false
	}
	text, err := encoding.DecodeString(parts[1])
	if err != nil {
		return nil, false
	}
	payload, err := claims.Object(string(text))
	return payload, err == nil
}
