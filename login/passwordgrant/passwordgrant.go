package passwordgrant

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/ask"
)

// The two ways in which a provider refuses one user for something else than the password. They are neither
// [stmigrate.ErrWrongCredentials] nor [stmigrate.ErrUnavailable]: Override and package login answer them as the latter, and
// do not take the provider for broken because of one user.
var (
	// ErrMoreNeeded: the password is right, and the provider wants more than it: a second factor, a new password, a confirmed
	// e-mail. The user is not signed in. A backend can tell such users to sign in at the provider once more. Auth0's mfa_required and
	// Keycloak's "Account is not fully set up" are known; a provider that calls it just invalid_grant says ErrWrongCredentials.
	ErrMoreNeeded = errors.New("the legacy provider wants more than the password")
	// ErrBlocked: the provider does not look at the password: too many wrong ones came for this user, or an administrator or a rule
	// has shut the user out.
	ErrBlocked = errors.New("the legacy provider refuses this user")
)

const (
	defaultTimeout = 5 * time.Second
	revokeTimeout  = 2 * time.Second
	maxBody        = 128 << 10
	maxCalls       = 1000 // at once, and a second; how often one user is asked for is the login's to say
	realmGrant     = "http://auth0.com/oauth/grant-type/password-realm"
)

// Config configures a [Store]. TokenURL, ClientID and Verifier are required.
type Config struct {
	// TokenURL is the token endpoint: https, or http to this machine.
	TokenURL string
	// ClientID and ClientSecret are the client's. ClientSecret is "" for a public client.
	ClientID, ClientSecret string
	// SecretInForm sends the secret in the body. Default: by Basic authentication, which RFC 6749 §2.3.1 prefers; Auth0's applications
	// are set to one of the two.
	SecretInForm bool
	// Scope is what is asked for. Default "openid email". It should not have offline_access.
	Scope string
	// Realm is the Auth0 connection that has the users; it makes the grant Auth0's own password-realm. Default: none.
	Realm string
	// Audience is the audience parameter of Auth0. Default: none.
	Audience string

	// Verifier verifies the ID token: [stmigrate.NewJWKSVerifier] with the ClientID as the audience. Required.
	Verifier stmigrate.OldSessionVerifier
	// UseAccessToken gives Verifier the access token. Default: the ID token.
	UseAccessToken bool
	// Username makes the provider's user name of an e-mail. ErrUnknownUser if there is none. Default: the e-mail.
	Username func(ctx context.Context, tenantID, email string) (string, error)
	// SkipEmailCheck signs users in whose token has no e-mail; their address then counts as not verified. One that it has must still
	// be the one that was typed. It MUST NOT be set unless the provider takes nothing but e-mails that it has proved for user names,
	// or Username takes them from a trusted place.
	SkipEmailCheck bool
	// Fill adds to a user what the token says besides: roles, metadata. An error of it fails the sign-in. Default: nothing is added.
	Fill func(s *stmigrate.OldSession, u *stmigrate.LegacyUser) error

	// Tenant is the SuperTokens tenant of the provider's users. Others are not asked for there. Default "public".
	Tenant string
	// Revoker ends the session that the grant opened, before the sign-in goes on. It has 2 s, and gets the refresh token if there is
	// one, else the access token; what it fails with is logged. Where Verifier fails it is not asked. Default: the session lives until
	// it expires.
	Revoker stmigrate.Revoker
	// ClientIP is the address of who signs in, which the backend has put into the context. It goes into ClientIPHeader. It must be
	// one that the client cannot choose: the provider counts wrong passwords by it. Auth0 takes it from clients with a secret for which
	// "Trust Token Endpoint IP Header" is set. Default, and for the zero Addr: none is sent.
	ClientIP func(ctx context.Context) netip.Addr
	// ClientIPHeader is the header for ClientIP. Default "auth0-forwarded-for".
	ClientIPHeader string

	// HTTPClient makes the calls; it follows no redirects. Default: a copy of http.DefaultTransport, with connections of its own.
	HTTPClient *http.Client
	// Timeout is what one call may take. Default 5 s.
	Timeout time.Duration
	// Logger gets what the Revoker fails with. Default: nobody.
	Logger *slog.Logger
}

// Store is a legacy user store at a token endpoint. It is safe for concurrent use.
type Store struct {
	cfg    Config
	client *ask.Caller
}

var _ stmigrate.LegacyUserStore = (*Store)(nil)

// New checks cfg, but calls nobody. Its error names the field that is missing or wrong.
func New(cfg Config) (*Store, error) {
	switch {
	case cfg.TokenURL == "":
		return nil, errors.New("passwordgrant: Config.TokenURL is required")
	case cfg.ClientID == "":
		return nil, errors.New("passwordgrant: Config.ClientID is required")
	case cfg.Verifier == nil:
		return nil, errors.New("passwordgrant: Config.Verifier is required: who else says whose token it is?")
	case cfg.SecretInForm && cfg.ClientSecret == "":
		return nil, errors.New("passwordgrant: Config.SecretInForm needs a ClientSecret")
	case cfg.ClientIPHeader != "" && cfg.ClientIP == nil:
		return nil, errors.New("passwordgrant: Config.ClientIPHeader needs ClientIP")
	case cfg.Timeout < 0:
		return nil, fmt.Errorf("passwordgrant: Config.Timeout is negative: %v", cfg.Timeout)
	}
	if err := ask.Endpoint(cfg.TokenURL, false, false); err != nil {
		return nil, fmt.Errorf("passwordgrant: Config.TokenURL: %w", err)
	}
	cfg.Tenant = cmp.Or(cfg.Tenant, "public")
	if err := core.ValidTenantID(cfg.Tenant); err != nil {
		return nil, fmt.Errorf("passwordgrant: Config.Tenant: %w", err)
	}
	cfg.Scope = cmp.Or(cfg.Scope, "openid email")
	cfg.ClientIPHeader = cmp.Or(cfg.ClientIPHeader, "auth0-forwarded-for")
	cfg.Timeout = cmp.Or(cfg.Timeout, defaultTimeout)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	limits := ask.Limits{Timeout: cfg.Timeout, Body: maxBody, PerSecond: maxCalls, InFlight: maxCalls}
	return &Store{cfg: cfg, client: ask.New(cfg.HTTPClient, limits, time.Now)}, nil
}

// Format names the endpoint, whatever the verb: fmt would print the client's secret.
func (s *Store) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "passwordgrant.Store(%s)", s.cfg.TokenURL)
}

// Authenticate implements [stmigrate.LegacyUserStore]. Its errors are of the classes ErrWrongCredentials, ErrUnavailable,
// [ErrMoreNeeded] and [ErrBlocked]. With a Revoker, what was begun goes on when ctx is done, for 10 s or two Timeouts at the most,
// so that no session is left behind; [stmigrate.LegacyGuard] answers in time all the same.
func (s *Store) Authenticate(ctx context.Context, tenantID, email, password string) (*stmigrate.LegacyUser, error) {
	email, err := core.NormalizeEmail(email)
	if err != nil || core.ValidPassword(password) != nil || cmp.Or(tenantID, "public") != s.cfg.Tenant {
		return nil, stmigrate.ErrWrongCredentials
	}
	username := email
	if s.cfg.Username != nil {
		switch username, err = s.cfg.Username(ctx, tenantID, email); {
		case errors.Is(err, stmigrate.ErrUnknownUser):
			return nil, stmigrate.ErrWrongCredentials
		case err != nil:
			return nil, unavailable("Config.Username: %w", err)
		}
	}
	if s.cfg.Revoker != nil { // from here on there may be a session, and a client that goes away must not leave it behind
		if err := ctx.Err(); err != nil {
			return nil, unavailable("the sign-in was given up: %w", err)
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), 2*max(s.cfg.Timeout, defaultTimeout))
		defer cancel()
	}
	granted, err := s.grant(ctx, username, password)
	if err != nil {
		return nil, err
	}
	token := granted.ID
	if s.cfg.UseAccessToken {
		token = granted.Access
	}
	if token == "" {
		return nil, unavailable("the provider's answer has no such token as Config.Verifier is to get; does Scope have openid?")
	}
	session, err := s.cfg.Verifier.Verify(ctx, token)
	if err != nil {
		// Not its class: that the provider's own token is refused is a wrong configuration, not a wrong session.
		return nil, unavailable("the provider's token is refused: %v", err)
	}
	s.revoke(ctx, granted, session)
	return s.user(session, email)
}

func (s *Store) user(session *stmigrate.OldSession, email string) (*stmigrate.LegacyUser, error) {
	u := &stmigrate.LegacyUser{ID: session.Subject, Email: email, TenantID: s.cfg.Tenant}
	if cmp.Or(session.TenantID, s.cfg.Tenant) != s.cfg.Tenant {
		return nil, stmigrate.ErrWrongCredentials
	}
	claim, has := session.Claims["email"]
	switch claimed, _ := claim.(string); {
	case claimed != "":
		if found, err := core.NormalizeEmail(claimed); err != nil || found != email {
			return nil, stmigrate.ErrWrongCredentials
		}
		verified := session.Claims["email_verified"]
		u.EmailVerified = verified == true || verified == "true"
	case has || !s.cfg.SkipEmailCheck:
		return nil, unavailable("the provider's token has no e-mail; does Scope have email?")
	}
	if s.cfg.Fill != nil {
		if err := s.cfg.Fill(session, u); err != nil {
			return nil, fmt.Errorf("Config.Fill: %w", err)
		}
	}
	return u, nil
}

// revoke has a time of its own, whatever is left of the sign-in's.
func (s *Store) revoke(ctx context.Context, granted *tokens, session *stmigrate.OldSession) {
	if s.cfg.Revoker == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	token := cmp.Or(granted.Refresh, granted.Access)
	if err := s.cfg.Revoker.Revoke(ctx, token, session); err != nil {
		s.cfg.Logger.WarnContext(ctx, "passwordgrant: the session that the password grant opened was not revoked",
			"error", ask.Redact(err.Error(), token))
	}
}

type tokens struct {
	ID      string `json:"id_token"`
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

// grant asks the token endpoint (RFC 6749 §4.3.2).
func (s *Store) grant(ctx context.Context, username, password string) (*tokens, error) {
	form := url.Values{"grant_type": {"password"}, "username": {username}, "password": {password}, "scope": {s.cfg.Scope}}
	if s.cfg.Realm != "" {
		form.Set("grant_type", realmGrant)
		form.Set("realm", s.cfg.Realm)
	}
	if s.cfg.Audience != "" {
		form.Set("audience", s.cfg.Audience)
	}
	basic := s.cfg.ClientSecret != "" && !s.cfg.SecretInForm
	if !basic {
		form.Set("client_id", s.cfg.ClientID)
	}
	if s.cfg.SecretInForm {
		form.Set("client_secret", s.cfg.ClientSecret)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, s.cfg.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, unavailable("Config.TokenURL is no URL")
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Accept", "application/json")
	if basic { // both are form-encoded first: RFC 6749 §2.3.1
		r.SetBasicAuth(url.QueryEscape(s.cfg.ClientID), url.QueryEscape(s.cfg.ClientSecret))
	}
	if s.cfg.ClientIP != nil {
		if ip := s.cfg.ClientIP(ctx); ip.IsValid() {
			r.Header.Set(s.cfg.ClientIPHeader, ip.Unmap().WithZone("").String())
		}
	}
	res, err := s.client.Do(ctx, r)
	switch {
	case err != nil:
		return nil, unavailable("asking the provider: %w", err)
	case res.Status != http.StatusOK:
		return nil, refusal(res.Status, res.Body)
	}
	granted := new(tokens)
	if json.Unmarshal(res.Body, granted) != nil {
		return nil, unavailable("the provider's answer is no JSON object of tokens")
	}
	return granted, nil
}

// errorCode matches OAuth's names of errors. Nothing else of an answer gets into an error's text: a provider may repeat what
// it was sent.
var errorCode = regexp.MustCompile(`^[a-z_]{1,64}$`)

// refusal is the error of an answer that is no 200 (RFC 6749 §5.2, and what Auth0 and Keycloak add to it).
func refusal(status int, body []byte) error {
	var e struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &e) != nil || !errorCode.MatchString(e.Error) {
		e.Error = ""
	}
	if status < 400 || status >= 500 || e.Error == "" {
		return unavailable("the provider answered with status %d and no error of OAuth's", status)
	}
	switch e.Error {
	case "invalid_grant":
		switch e.Description {
		case "Account is not fully set up": // of Keycloak, which has looked at the password by then
			return fmt.Errorf("%w: the account is not fully set up", ErrMoreNeeded)
		case "Account disabled": // of Keycloak, which has not
			return fmt.Errorf("%w: the account is disabled", ErrBlocked)
		}
		return stmigrate.ErrWrongCredentials
	case "invalid_user_password":
		return stmigrate.ErrWrongCredentials
	case "mfa_required", "mfa_registration_required", "mfa_enrollment_required", "interaction_required", "password_change_required":
		return fmt.Errorf("%w: %s", ErrMoreNeeded, e.Error)
	case "too_many_attempts", "password_leaked", "access_denied", "unauthorized":
		return fmt.Errorf("%w: %s", ErrBlocked, e.Error)
	}
	return unavailable("the provider answered with status %d %s", status, e.Error)
}

func unavailable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", stmigrate.ErrUnavailable, fmt.Errorf(format, args...))
}
