package stmigratetest

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stmigrate/stmigrate/internal/faults"
)

// Faults are the switches that make a test server misbehave, and its log of requests. Routes are named "GET /path", or
// "/path" for all methods; none means every route.
type Faults = faults.Faults

// Request is one request that a test server saw.
type Request = faults.Request

// Claims are the claims of a token, or the members of its header.
type Claims = map[string]any

// IssuerConfig configures an [Issuer]. Its zero value is complete.
type IssuerConfig struct {
	// Issuer is the exact iss claim. Default: the server's URL and a slash, as Auth0 has it.
	Issuer string
	// Audience is the aud claim. Default: "api".
	Audience string
	// ClientID and ClientSecret, if set, are demanded at /revoke, /introspect and /token: by Basic authentication or in the
	// form (RFC 6749 §2.3.1). A ClientID without a secret is a public client. Default: everybody may ask.
	ClientID, ClientSecret string
	// Algorithm signs the tokens: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512 or EdDSA. Default: RS256.
	Algorithm string
	// TokenLifetime is how long an access token lives. Default: 10 minutes. Refresh tokens do not expire.
	TokenLifetime time.Duration
	// RefreshReuse is for how long a refresh token that was used is taken again, as for a client that lost the answer. Afterwards it was
	// stolen, and its session ends. Default: none, it was stolen at once.
	RefreshReuse time.Duration
	// Now is the issuer's clock. Default: time.Now.
	Now func() time.Time
	// Addr is the host and port to listen on. Default: "127.0.0.1:0".
	Addr string
}

// Issuer is a legacy identity provider in this process. Its endpoints know the tokens of [Issuer.Token], [Issuer.Opaque],
// [Issuer.SignIn], [Issuer.Good] and /token, byte for byte; what [Issuer.Sign] and [Issuer.Wrong] make is unknown to them.
// Safe for concurrent use.
type Issuer struct {
	// Faults brings Down, Slow, Hang, Status, AfterCommit, Truncate, Requests and ForgetRequests.
	*Faults
	// URL is where the issuer listens, without a slash at its end.
	URL string

	cfg IssuerConfig
	srv *httptest.Server

	mu          sync.Mutex
	keys        []issuerKey // published ones, oldest first; the last one signs
	borrowed    []issuerKey // all that were ever taken from the pool
	attacker    *issuerKey
	jwks        []byte // served instead of the real set, if not nil
	oddKeys     bool
	redirects   []issuerRedirect
	users       map[string]issuerUser // by e-mail in lower case
	grants      map[string]*issuerGrant
	ended       map[string]bool // session IDs
	revocations []Revocation
	played      map[string]http.Handler // by host: see Provider
}

type issuerRedirect struct {
	url    string
	routes []string
}

type issuerUser struct{ email, password, subject string }

// issuerGrant is what the issuer knows of a token it gave out.
type issuerGrant struct {
	claims    Claims
	sessionID string
	refresh   bool      // a refresh token: it does not expire
	expires   time.Time // of an access token
	spent     time.Time // when a refresh token was used first
	revoked   bool
}

// Session is a session at the issuer.
type Session struct {
	Subject, SessionID        string
	AccessToken, RefreshToken string
}

// Revocation is one successful request to /revoke or /logout, or to what a [Provider] has instead.
type Revocation struct {
	Time time.Time
	// Route is "POST /revoke" or "POST /logout", or the provider's.
	Route string
	// Token and TokenTypeHint are what was sent.
	Token, TokenTypeHint string
	// SessionID is the session of Token; "" if the token is unknown or has none.
	SessionID string
}

// NewIssuer starts an issuer that ends with the test. It takes at most one configuration, and fails the test if that is wrong.
func NewIssuer(tb testing.TB, cfg ...IssuerConfig) *Issuer {
	tb.Helper()
	if len(cfg) > 1 {
		tb.Fatalf("NewIssuer takes one configuration, got %d", len(cfg))
	}
	iss, err := StartIssuer(append(cfg, IssuerConfig{})[0])
	if err != nil {
		tb.Fatalf("NewIssuer: %v", err)
	}
	tb.Cleanup(func() {
		iss.Close()
		iss.returnKeys()
	})
	return iss
}

// StartIssuer starts an issuer outside of tests. Call Close when it is not needed any more. Its errors say which field of
// cfg is wrong, or why it cannot listen.
func StartIssuer(cfg IssuerConfig) (*Issuer, error) {
	if cfg.Algorithm == "" {
		cfg.Algorithm = "RS256"
	}
	if !slices.Contains(issuerAlgorithms, cfg.Algorithm) {
		return nil, fmt.Errorf("IssuerConfig.Algorithm: %q is none of %s", cfg.Algorithm, strings.Join(issuerAlgorithms, ", "))
	}
	if cfg.ClientSecret != "" && cfg.ClientID == "" {
		return nil, errors.New("IssuerConfig.ClientSecret: needs a ClientID")
	}
	if cfg.TokenLifetime < 0 {
		return nil, fmt.Errorf("IssuerConfig.TokenLifetime: %v is negative", cfg.TokenLifetime)
	}
	if cfg.TokenLifetime == 0 {
		cfg.TokenLifetime = 10 * time.Minute
	}
	if cfg.Audience == "" {
		cfg.Audience = "api"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("IssuerConfig.Addr: %w", err)
	}
	iss := &Issuer{
		Faults: &Faults{Now: cfg.Now},
		URL:    "http://" + l.Addr().String(),
		users:  make(map[string]issuerUser),
		grants: make(map[string]*issuerGrant),
		ended:  make(map[string]bool),
		played: make(map[string]http.Handler),
	}
	if cfg.Issuer == "" {
		cfg.Issuer = iss.URL + "/"
	}
	iss.cfg = cfg
	iss.RotateKeys()
	iss.srv = &httptest.Server{
		Listener: l,
		Config:   &http.Server{Handler: iss.Wrap(iss.handler(), nil), ReadHeaderTimeout: 10 * time.Second},
	}
	iss.srv.Start()
	return iss, nil
}

// Close stops the server, and lets go whatever hangs. Tokens can still be made.
func (iss *Issuer) Close() {
	_ = iss.srv.Listener.Close()
	iss.srv.CloseClientConnections()
	iss.Heal()
	iss.srv.Close()
}

// Issuer returns the exact iss claim.
func (iss *Issuer) Issuer() string { return iss.cfg.Issuer }

// Now returns the issuer's time.
func (iss *Issuer) Now() time.Time { return iss.cfg.Now() }

// DiscoveryURL returns the address of the provider's metadata (OpenID Connect Discovery 1.0).
func (iss *Issuer) DiscoveryURL() string { return iss.URL + "/.well-known/openid-configuration" }

// JWKSURL returns the address of the public keys.
func (iss *Issuer) JWKSURL() string { return iss.URL + "/.well-known/jwks.json" }

// UserInfoURL returns the address that says who a bearer is (OpenID Connect Core 1.0 §5.3).
func (iss *Issuer) UserInfoURL() string { return iss.URL + "/userinfo" }

// IntrospectionURL returns the address that tells about a token (RFC 7662).
func (iss *Issuer) IntrospectionURL() string { return iss.URL + "/introspect" }

// RevocationURL returns the address that revokes a token (RFC 7009).
func (iss *Issuer) RevocationURL() string { return iss.URL + "/revoke" }

// TokenURL returns the address that takes refresh tokens, and the passwords of [Issuer.AddUser] (RFC 6749).
func (iss *Issuer) TokenURL() string { return iss.URL + "/token" }

// LogoutURL returns the address that ends the session of a bearer.
func (iss *Issuer) LogoutURL() string { return iss.URL + "/logout" }

// Token makes a right access token: iss, sub ("user-1"), aud, iat, exp, and a sid and jti of its own. Given claims go over
// these, and a nil deletes one. It panics if a claim cannot be JSON.
func (iss *Issuer) Token(claims ...Claims) string {
	payload := iss.claims(claims...)
	token := iss.Sign(nil, payload)
	iss.remember(token, payload)
	return token
}

// Expired makes an access token that was right and ended an hour ago.
func (iss *Issuer) Expired(claims ...Claims) string {
	end := iss.Now().Add(-time.Hour)
	past := Claims{"iat": end.Add(-iss.cfg.TokenLifetime).Unix(), "exp": end.Unix()}
	return iss.Token(append([]Claims{past}, claims...)...)
}

// Opaque makes an access token that says nothing by itself: userinfo and introspection tell what [Issuer.Token] would.
func (iss *Issuer) Opaque(claims ...Claims) string {
	token := "at_" + rand.Text()
	iss.remember(token, iss.claims(claims...))
	return token
}

// SignIn opens a session for subject. The claims go over those of the access token, also of later ones.
func (iss *Issuer) SignIn(subject string, claims ...Claims) Session {
	return iss.openSession(iss.sessionClaims(subject, claims...))
}

// AddUser lets email sign in as subject with the password grant at /token.
func (iss *Issuer) AddUser(email, password, subject string) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.users[strings.ToLower(email)] = issuerUser{email, password, subject}
}

// EndSession ends a session as the provider itself would: its tokens are worth nothing from now on.
func (iss *Issuer) EndSession(sessionID string) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.ended[sessionID] = true
}

// Revoked reports whether a token was revoked or its session ended, or whether the session of this ID was ended.
func (iss *Issuer) Revoked(tokenOrSessionID string) bool {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	if g, ok := iss.grants[tokenOrSessionID]; ok {
		return g.revoked || iss.ended[g.sessionID]
	}
	return iss.ended[tokenOrSessionID]
}

// Revocations returns what /revoke and /logout answered with success so far, oldest first. Unknown tokens are among them.
func (iss *Issuer) Revocations() []Revocation {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	return slices.Clone(iss.revocations)
}

// SetJWKS makes /.well-known/jwks.json answer 200 with this body, whatever it is, until [Issuer.Heal].
func (iss *Issuer) SetJWKS(body []byte) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.jwks = append([]byte{}, body...)
}

// EmptyKeys makes /.well-known/jwks.json answer 200 with no keys, as some providers do in the middle of a deployment.
func (iss *Issuer) EmptyKeys() { iss.SetJWKS([]byte(`{"keys":[]}`)) }

// OddKeys puts keys that no verifier may use, or can read, before and behind the real ones. The real ones stay good.
func (iss *Issuer) OddKeys() {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.oddKeys = true
}

// Redirect answers 302 to url.
func (iss *Issuer) Redirect(url string, routes ...string) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.redirects = append(iss.redirects, issuerRedirect{url, routes})
}

// Heal ends all faults, and lets go whatever hangs.
func (iss *Issuer) Heal() {
	iss.mu.Lock()
	iss.jwks, iss.oddKeys, iss.redirects = nil, false, nil
	iss.mu.Unlock()
	iss.Faults.Heal()
}

// claims returns the default claims with changes over them.
func (iss *Issuer) claims(changes ...Claims) Claims {
	now := iss.Now()
	return merged(append([]Claims{{
		"iss": iss.cfg.Issuer, "sub": "user-1", "aud": iss.cfg.Audience,
		"iat": now.Unix(), "exp": now.Add(iss.cfg.TokenLifetime).Unix(),
		"sid": rand.Text(), "jti": rand.Text(),
	}}, changes...)...)
}

// merged returns all claims in one new map. Later ones win, and nil deletes.
func merged(all ...Claims) Claims {
	out := make(Claims)
	for _, c := range all {
		maps.Copy(out, c)
	}
	maps.DeleteFunc(out, func(_ string, v any) bool { return v == nil })
	return out
}

// sessionClaims returns what all access tokens of a new session say.
func (iss *Issuer) sessionClaims(subject string, claims ...Claims) Claims {
	return merged(append([]Claims{{"sub": subject, "sid": rand.Text()}}, claims...)...)
}

// openSession gives out the first or next tokens of the session that the claims name.
func (iss *Issuer) openSession(claims Claims) Session {
	s := Session{AccessToken: iss.Token(claims), RefreshToken: "rt_" + rand.Text()}
	s.Subject, _ = claims["sub"].(string)
	s.SessionID, _ = claims["sid"].(string)
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.grants[s.RefreshToken] = &issuerGrant{claims: claims, sessionID: s.SessionID, refresh: true}
	return s
}

// remember makes the endpoints know an access token.
func (iss *Issuer) remember(token string, claims Claims) {
	g := &issuerGrant{claims: claims, expires: iss.Now().Add(iss.cfg.TokenLifetime)}
	g.sessionID, _ = claims["sid"].(string)
	if text, err := json.Marshal(claims["exp"]); err == nil {
		if exp, err := strconv.ParseFloat(string(text), 64); err == nil {
			g.expires = time.Unix(int64(exp), 0)
		}
	}
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.grants[token] = g
}

// live reports whether the endpoints still honour g. The caller holds the lock.
func (iss *Issuer) live(g *issuerGrant) bool {
	return g != nil && !g.revoked && iss.fresh(g) && !iss.ended[g.sessionID] &&
		(g.refresh || iss.Now().Before(g.expires))
}

// fresh reports whether g was not used, or so shortly ago that it may be used again.
func (iss *Issuer) fresh(g *issuerGrant) bool {
	return g.spent.IsZero() || iss.Now().Before(g.spent.Add(iss.cfg.RefreshReuse))
}
