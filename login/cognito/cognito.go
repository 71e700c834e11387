package cognito

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/ask"
)

// The two ways in which Cognito refuses one user for something else than the password. They are neither
// [stmigrate.ErrWrongCredentials] nor [stmigrate.ErrUnavailable]: Override and package login answer them as the latter, and
// do not take Cognito for broken because of one user.
var (
	// ErrMoreNeeded: Cognito wants more than the password: an answer to a challenge (SMS_MFA, SOFTWARE_TOKEN_MFA,
	// NEW_PASSWORD_REQUIRED …), a confirmed e-mail (UserNotConfirmedException), a reset (PasswordResetRequiredException). The user is
	// not signed in.
	ErrMoreNeeded = errors.New("the user pool wants more than the password")
	// ErrBlocked: the user is disabled, has tried too often, or is refused by a Lambda trigger.
	ErrBlocked = errors.New("the user pool refuses this user")
)

const (
	defaultTimeout = 5 * time.Second
	revokeTimeout  = 2 * time.Second
	maxBody        = 128 << 10
	maxCalls       = 1000 // at once, and a second; how often one user is asked for is the login's to say
)

// Config configures a [Store]. Region, or Endpoint, and ClientID are required.
type Config struct {
	// Region is the AWS region of the user pool, eu-central-1 say.
	Region string
	// Endpoint is used instead of Region's: for China, FIPS, private links, tests. https, or http to this machine. Default
	// https://cognito-idp.<Region>.amazonaws.com/.
	Endpoint string
	// ClientID and ClientSecret are the app client's. ClientSecret is "" for one without.
	ClientID, ClientSecret string

	// Verifier verifies the ID token: [stmigrate.NewJWKSVerifier] with the ClientID as the audience, and a check that token_use is id.
	// Default: none, and Cognito is asked with GetUser, whose attributes are the Claims that Fill and Revoker see.
	Verifier stmigrate.OldSessionVerifier
	// Fill adds to a user what the attributes say besides: roles, metadata. An error of it fails the sign-in. Default: nothing is added.
	Fill func(s *stmigrate.OldSession, u *stmigrate.LegacyUser) error

	// Tenant is the SuperTokens tenant of the pool's users. Others are not asked for there. Default "public".
	Tenant string
	// Revoker ends the session that the sign-in opened, before it goes on. It has 2 s, and gets the refresh token; what it fails with is
	// logged. Where Verifier or GetUser fails it is not asked. Default: the session lives until it expires.
	Revoker stmigrate.Revoker
	// ClientIP is the address of who signs in, which the backend has put into the context, for threat protection. It must be one that the
	// client cannot choose. The app client must be set to take it (EnablePropagateAdditionalUserContextData), and have a secret.
	// Default, and for the zero Addr: none is sent.
	ClientIP func(ctx context.Context) netip.Addr

	// HTTPClient makes the calls; it follows no redirects. Default: a copy of http.DefaultTransport, with connections of its own.
	HTTPClient *http.Client
	// Timeout is what one call may take. Default 5 s.
	Timeout time.Duration
	// Logger gets what the Revoker fails with. Default: nobody.
	Logger *slog.Logger
}

// Store is a legacy user store in a user pool. It is safe for concurrent use.
type Store struct {
	cfg    Config
	client *ask.Caller
}

var _ stmigrate.LegacyUserStore = (*Store)(nil)

var region = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-\d$`)

// New checks cfg, but calls nobody. Its error names the field that is missing or wrong.
func New(cfg Config) (*Store, error) {
	switch {
	case (cfg.Region == "") == (cfg.Endpoint == ""):
		return nil, errors.New("cognito: one of Config.Region and Config.Endpoint is required")
	case cfg.Region != "" && !region.MatchString(cfg.Region):
		return nil, fmt.Errorf("cognito: Config.Region: %q is no region like eu-central-1", cfg.Region)
	case cfg.ClientID == "":
		return nil, errors.New("cognito: Config.ClientID is required")
	case cfg.Timeout < 0:
		return nil, fmt.Errorf("cognito: Config.Timeout is negative: %v", cfg.Timeout)
	}
	if cfg.Region != "" {
		cfg.Endpoint = "https://cognito-idp." + cfg.Region + ".amazonaws.com/"
	}
	if err := ask.Endpoint(cfg.Endpoint, false, true); err != nil {
		return nil, fmt.Errorf("cognito: Config.Endpoint: %w", err)
	}
	cfg.Tenant = cmp.Or(cfg.Tenant, "public")
	if err := core.ValidTenantID(cfg.Tenant); err != nil {
		return nil, fmt.Errorf("cognito: Config.Tenant: %w", err)
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	limits := ask.Limits{Timeout: cfg.Timeout, Body: maxBody, PerSecond: maxCalls, InFlight: maxCalls}
	return &Store{cfg: cfg, client: ask.New(cfg.HTTPClient, limits, time.Now)}, nil
}

// Format names the endpoint, whatever the verb: fmt would print the client's secret.
func (s *Store) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "cognito.Store(%s)", s.cfg.Endpoint)
}

// Authenticate implements [stmigrate.LegacyUserStore]. Its errors are of the classes ErrWrongCredentials, ErrUnavailable,
// [ErrMoreNeeded] and [ErrBlocked]. With a Revoker, what was begun goes on when ctx is done, for 10 s or two Timeouts at the most,
// so that no session is left behind; [stmigrate.LegacyGuard] answers in time all the same.
func (s *Store) Authenticate(ctx context.Context, tenantID, email, password string) (*stmigrate.LegacyUser, error) {
	email, err := core.NormalizeEmail(email)
	if err != nil || core.ValidPassword(password) != nil || cmp.Or(tenantID, "public") != s.cfg.Tenant {
		return nil, stmigrate.ErrWrongCredentials
	}
	if s.cfg.Revoker != nil { // from here on there may be a session, and a client that goes away must not leave it behind
		if err := ctx.Err(); err != nil {
			return nil, unavailable("the sign-in was given up: %w", err)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 2*max(s.cfg.Timeout, defaultTimeout))
		defer cancel()
	}
	tokens, err := s.initiateAuth(ctx, email, password)
	if err != nil {
		return nil, err
	}
	session, err := s.session(ctx, tokens)
	if err != nil {
		return nil, err
	}
	s.revoke(ctx, tokens, session)
	return s.user(session, email)
}

func (s *Store) user(session *stmigrate.OldSession, email string) (*stmigrate.LegacyUser, error) {
	if cmp.Or(session.TenantID, s.cfg.Tenant) != s.cfg.Tenant {
		return nil, stmigrate.ErrWrongCredentials
	}
	claimed, _ := session.Claims["email"].(string)
	if claimed == "" {
		return nil, unavailable("the user's attributes have no e-mail; may the app client read it?")
	}
	if found, err := core.NormalizeEmail(claimed); err != nil || found != email {
		return nil, stmigrate.ErrWrongCredentials
	}
	verified := session.Claims["email_verified"] // a boolean in the ID token, text among the attributes
	u := &stmigrate.LegacyUser{ID: session.Subject, Email: email, TenantID: s.cfg.Tenant, EmailVerified: verified == true || verified == "true"}
	if s.cfg.Fill != nil {
		if err := s.cfg.Fill(session, u); err != nil {
			return nil, fmt.Errorf("Config.Fill: %w", err)
		}
	}
	return u, nil
}

// revoke has a time of its own, whatever is left of the sign-in's.
func (s *Store) revoke(ctx context.Context, t *tokens, session *stmigrate.OldSession) {
	if s.cfg.Revoker == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	token := cmp.Or(t.RefreshToken, t.AccessToken)
	if err := s.cfg.Revoker.Revoke(ctx, token, session); err != nil {
		s.cfg.Logger.WarnContext(ctx, "cognito: the session that the sign-in opened was not revoked", "error", ask.Redact(err.Error(), token))
	}
}

type tokens struct{ AccessToken, IDToken, RefreshToken string }

// UnmarshalJSON is for the one name that is not the field's.
func (t *tokens) UnmarshalJSON(data []byte) error {
	var wire struct {
		AccessToken, RefreshToken string
		IDToken                   string `json:"IdToken"`
	}
	err := json.Unmarshal(data, &wire)
	t.AccessToken, t.IDToken, t.RefreshToken = wire.AccessToken, wire.IDToken, wire.RefreshToken
	return err
}

// initiateAuth: https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_InitiateAuth.html
func (s *Store) initiateAuth(ctx context.Context, username, password string) (*tokens, error) {
	parameters := map[string]string{"USERNAME": username, "PASSWORD": password}
	if s.cfg.ClientSecret != "" {
		mac := hmac.New(sha256.New, []byte(s.cfg.ClientSecret))
		mac.Write([]byte(username + s.cfg.ClientID))
		parameters["SECRET_HASH"] = base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}
	request := map[string]any{"AuthFlow": "USER_PASSWORD_AUTH", "ClientId": s.cfg.ClientID, "AuthParameters": parameters}
	if s.cfg.ClientIP != nil {
		if ip := s.cfg.ClientIP(ctx); ip.IsValid() {
			request["UserContextData"] = map[string]string{"IpAddress": ip.Unmap().WithZone("").String()}
		}
	}
	var answer struct {
		ChallengeName        string
		AuthenticationResult *tokens
	}
	if err := s.call(ctx, "InitiateAuth", request, &answer); err != nil {
		return nil, err
	}
	switch {
	case answer.ChallengeName != "":
		name := answer.ChallengeName
		if !errorName.MatchString(name) {
			name = "an unknown challenge"
		}
		return nil, fmt.Errorf("%w: %s", ErrMoreNeeded, name)
	case answer.AuthenticationResult == nil || answer.AuthenticationResult.AccessToken == "":
		return nil, unavailable("InitiateAuth: neither tokens nor a challenge")
	}
	return answer.AuthenticationResult, nil
}

// session says whose the tokens are.
func (s *Store) session(ctx context.Context, t *tokens) (*stmigrate.OldSession, error) {
	if s.cfg.Verifier != nil {
		if t.IDToken == "" {
			return nil, unavailable("InitiateAuth: no ID token for Config.Verifier")
		}
		session, err := s.cfg.Verifier.Verify(ctx, t.IDToken)
		if err != nil {
			// Not its class: that Cognito's own token is refused is a wrong configuration, not a wrong session.
			return nil, unavailable("the ID token is refused: %v", err)
		}
		return session, nil
	}
	// https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_GetUser.html
	var answer struct {
		UserAttributes []struct{ Name, Value string }
	}
	if err := s.call(ctx, "GetUser", map[string]any{"AccessToken": t.AccessToken}, &answer); err != nil {
		return nil, unavailable("GetUser: %v", err)
	}
	session := &stmigrate.OldSession{Issuer: s.cfg.Endpoint, Claims: make(map[string]any)}
	for _, a := range answer.UserAttributes {
		if _, twice := session.Claims[a.Name]; twice {
			return nil, unavailable("GetUser: an attribute stands twice")
		}
		session.Claims[a.Name] = a.Value
	}
	if session.Subject, _ = session.Claims["sub"].(string); session.Subject == "" {
		return nil, unavailable("GetUser: no attribute sub")
	}
	return session, nil
}

// call makes a request of AWS's JSON protocol 1.1.
func (s *Store) call(ctx context.Context, operation string, request, answer any) error {
	text, err := json.Marshal(request)
	if err != nil {
		return unavailable("%s: the request cannot be written", operation)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.Endpoint, bytes.NewReader(text))
	if err != nil {
		return unavailable("%s: Config.Endpoint is no URL", operation)
	}
	r.Header.Set("Content-Type", "application/x-amz-json-1.1")
	r.Header.Set("X-Amz-Target", "AWSCognitoIdentityProviderService."+operation)
	res, err := s.client.Do(ctx, r)
	switch {
	case err != nil:
		return unavailable("%s: %w", operation, err)
	case res.Status != http.StatusOK:
		return refusal(operation, res.Status, res.Header, res.Body)
	}
	if json.Unmarshal(res.Body, answer) != nil {
		return unavailable("%s: the answer is not the JSON that is documented", operation)
	}
	return nil
}

// errorName matches exceptions and challenges. Nothing else of an answer gets into an error's text.
var errorName = regexp.MustCompile(`^[A-Za-z0-9_]{1,64}$`)

// refusal is the error of an answer that is no 200. Its name can stand after a namespace, and before a colon in the header.
func refusal(operation string, status int, header http.Header, body []byte) error {
	var e struct {
		Type    string `json:"__type"`
		Message string `json:"message"`
		Capital string `json:"Message"`
	}
	_ = json.Unmarshal(body, &e)
	name := cmp.Or(e.Type, header.Get("X-Amzn-Errortype"))
	name, _, _ = strings.Cut(name, ":")
	name = name[strings.LastIndexByte(name, '#')+1:]
	if status < 400 || status >= 500 || !errorName.MatchString(name) {
		return unavailable("%s: status %d and no exception of Cognito's", operation, status)
	}
	message := cmp.Or(e.Message, e.Capital)
	switch name {
	case "UserNotFoundException":
		return stmigrate.ErrWrongCredentials
	case "NotAuthorizedException":
		switch {
		case message == "Incorrect username or password.", message == "User does not exist.":
			return stmigrate.ErrWrongCredentials
		case strings.HasPrefix(message, "Password attempts exceeded"):
			return fmt.Errorf("%w: password attempts exceeded", ErrBlocked)
		case message == "User is disabled.":
			return fmt.Errorf("%w: the user is disabled", ErrBlocked)
		case strings.HasPrefix(message, "Unable to verify secret hash"), strings.HasPrefix(message, "Client "):
			return unavailable("%s: the ClientSecret is wrong or missing, or the app client may not do this", operation)
		}
		return stmigrate.ErrWrongCredentials
	case "PasswordResetRequiredException", "UserNotConfirmedException":
		return fmt.Errorf("%w: %s", ErrMoreNeeded, name)
	case "UserLambdaValidationException":
		return fmt.Errorf("%w: %s", ErrBlocked, name)
	}
	return unavailable("%s: status %d %s", operation, status, name)
}

func unavailable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", stmigrate.ErrUnavailable, fmt.Errorf(format, args...))
}
