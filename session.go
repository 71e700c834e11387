package stmigrate

import (
	"bufio"
	"context"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/ask"
	"github.com/stmigrate/stmigrate/internal/fdi"
)

// SessionMarker is the member of a session's data in the database by which the sessions of one exchange are found again.
const SessionMarker = "stMigrate"

// SessionMinter creates SuperTokens sessions and knows how they reach the client. [Sessions] is one.
type SessionMinter interface {
	// CreateSession mints a session for u and renders its tokens. Everything that can fail (sizes, attributes) fails here,
	// before the session exists where possible. r decides the transfer mode (st-auth-mode) and nothing else: its
	// Authorization is the legacy token's. The session is minted at most once, whatever happens. An error that is not
	// [ErrNotCreated] leaves open whether a session exists.
	CreateSession(ctx context.Context, r *http.Request, u User) (*Tokens, error)
	// Pristine tells whether t's session is live and its refresh token still the first. It changes nothing.
	Pristine(ctx context.Context, t *Tokens) (bool, error)
	// CurrentSession is the session that r carries, live by the core's database. A token of somebody else is no session. The
	// error is for when it cannot be told.
	CurrentSession(ctx context.Context, r *http.Request) (s CurrentSession, ok bool, err error)
	// RevokeSession ends a session. One that is over already is no error.
	RevokeSession(ctx context.Context, handle string) (wasLive bool, err error)
}

// SessionFinder is what a [SessionMinter] is, too, where exchanges are shared by several processes.
type SessionFinder interface {
	// FindSessions returns the handles of the user's live sessions whose data holds marker as [SessionMarker].
	FindSessions(ctx context.Context, tenantID, userID, marker string) (handles []string, err error)
}

// SessionReminder is what a [SessionMinter] may be, too, where the client's scripts know of a session by other means than the
// tokens themselves. Without one, a client that lost those has a session and does not know.
type SessionReminder interface {
	// RemindSession returns response headers that tell the client of r of a session that it has: one that lives, and of which r
	// carries a genuine access token, which may have expired. They hold no token that r does not. Nil: r has no such session, or its
	// scripts need no word of it.
	RemindSession(ctx context.Context, r *http.Request, handle string) (http.Header, error)
}

// Tokens are a session that was minted, ready to be sent. All of it is secret.
type Tokens struct {
	// Handle names the session in the core.
	Handle string
	// Header holds the response headers that carry the tokens.
	Header http.Header
	// State is the minter's own, for Pristine.
	State []byte
}

// Format writes the session's handle alone, whatever the verb: tokens do not get into logs.
func (t Tokens) Format(f fmt.State, _ rune) { _, _ = fmt.Fprintf(f, "stmigrate.Tokens(%s)", t.Handle) }

// LogValue is what Format writes, for handlers that read fields.
func (t Tokens) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(t)) }

// CurrentSession is a live SuperTokens session.
type CurrentSession struct{ Handle, UserID, TenantID string }

// Transfer is how tokens travel to the client and back.
type Transfer int

const (
	// TransferAny lets the client choose by its st-auth-mode header: cookies if it says "cookie", headers otherwise.
	TransferAny Transfer = iota
	// TransferCookie is cookies always.
	TransferCookie
	// TransferHeader is headers always.
	TransferHeader
)

// AntiCSRF is the protection of sessions in cookies against requests of other sites.
type AntiCSRF int

const (
	// AntiCSRFDefault is by custom header where cookies are SameSite=None, and none where the browser protects them itself. That
	// keeps out other sites, and not other origins of the same one, a forgotten subdomain: [http.CrossOriginProtection] in front of
	// the API does.
	AntiCSRFDefault AntiCSRF = iota
	// AntiCSRFViaCustomHeader asks for an rid header, which another site cannot send.
	AntiCSRFViaCustomHeader
	// AntiCSRFViaToken asks for the token that came with the session.
	AntiCSRFViaToken
	// InsecureAntiCSRFNone asks for nothing, even where cookies are SameSite=None: any website can act as the user. It MUST
	// NOT be used unless something else refuses foreign origins.
	InsecureAntiCSRFNone
)

// SessionsConfig configures [NewSessions]. Core, APIDomain and, for cookies, WebsiteOrigins are required. The values must be
// those of a SuperTokens SDK that serves the same users, if there is one.
type SessionsConfig struct {
	// Core is the SuperTokens core. Required.
	Core *core.Client
	// APIDomain is the origin of this API ("https://api.example.com"). Required.
	APIDomain string
	// APIBasePath is where the SuperTokens APIs are mounted. Default "/auth".
	APIBasePath string
	// WebsiteOrigins are the origins of the websites that use the sessions. Required unless Transfer is TransferHeader. If any is
	// of another site than APIDomain, cookies are SameSite=None.
	WebsiteOrigins []string
	// AntiCSRF is the protection of cookie sessions. Default: [AntiCSRFDefault].
	AntiCSRF AntiCSRF
	// Transfer is how tokens travel. Default: [TransferAny].
	Transfer Transfer
	// SameSite overrides the cookies' attribute. Default: Lax, or None as WebsiteOrigins demand.
	SameSite http.SameSite
	// CookieDomain shares the cookies with subdomains (".example.com"). Default: the API's own host.
	CookieDomain string
	// OlderCookieDomain is what CookieDomain was before it was changed ("" was the API's own host). Cookies of that domain are
	// cleared when they meet newer ones. Default, nil: it was never changed.
	OlderCookieDomain *string
	// InsecureCookies leaves Secure off the cookies of an API that is not https. It MUST NOT be used but in tests: whoever
	// sees the traffic has the sessions. An API on localhost or a loopback address needs no such permission.
	InsecureCookies bool
	// InsecureExposeAccessToken sends the access token in a header as well, so that scripts can read it, where it travels in an
	// HttpOnly cookie. It MUST NOT be set unless a frontend needs to pass the token on.
	InsecureExposeAccessToken bool
	// Claims adds to the access token payload of every session that is created here what the SDKs' recipes would add: whether the
	// e-mail is verified ("st-ev"), roles ("st-role") and permissions ("st-perm"), each a [ClaimValue]. Its error is
	// CreateSession's, and nothing is created. A SuperTokens SDK that requires one of them and does not find it asks the core about
	// the user; for an ID that SuperTokens does not know, supertokens-node answers 500 then. Default: nothing is added.
	Claims func(ctx context.Context, u User) (map[string]any, error)
	// StaticSigningKey signs access tokens with the core's static key. Default: the dynamic ones, which rotate.
	StaticSigningKey bool
	// Now replaces time.Now, in tests.
	Now func() time.Time
}

// Sessions creates, verifies and ends SuperTokens sessions on a core, and sends them as the SuperTokens SDKs do: every
// SuperTokens backend SDK can verify, refresh and end them, every frontend SDK can use them. Safe for concurrent use.
type Sessions struct {
	core     *core.Client
	keys     *remoteKeys
	wire     fdi.Wire
	issuer   string
	antiCSRF AntiCSRF
	transfer Transfer
	claims   func(ctx context.Context, u User) (map[string]any, error)
	static   bool
	now      func() time.Time
	spent    spentTokens

	signOutPath string
	olderDomain *string
}

// NewSessions checks cfg. The core is not asked until the first session.
func NewSessions(cfg SessionsConfig) (*Sessions, error) {
	if cfg.Core == nil {
		return nil, errors.New("stmigrate: SessionsConfig.Core is required (core.New)")
	}
	api, err := parseOrigin(cfg.APIDomain)
	if err != nil {
		return nil, fmt.Errorf("stmigrate: SessionsConfig.APIDomain: %w", err)
	}
	base := "/" + strings.Trim(cfg.APIBasePath, "/")
	if cfg.APIBasePath == "" {
		base = "/auth"
	}
	base = strings.TrimSuffix(base, "/")
	if !plainPath.MatchString(base) {
		return nil, fmt.Errorf("stmigrate: SessionsConfig.APIBasePath: %q is not a path like /auth, in lower case as the SDKs have it",
			cfg.APIBasePath)
	}
	s := &Sessions{
		core: cfg.Core, issuer: api.Scheme + "://" + api.Host + base, antiCSRF: cfg.AntiCSRF, transfer: cfg.Transfer,
		claims: cfg.Claims, static: cfg.StaticSigningKey, now: cfg.Now, signOutPath: base + "/signout",
		wire: fdi.Wire{
			RefreshPath: base + "/session/refresh", CookieDomain: strings.ToLower(cfg.CookieDomain), SameSite: cfg.SameSite,
			Secure: api.Scheme == "https", Expose: cfg.InsecureExposeAccessToken,
		},
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.keys = newRemoteKeys(cfg.Core.JWKS, 0, s.now)
	if cfg.Transfer < TransferAny || cfg.Transfer > TransferHeader {
		return nil, fmt.Errorf("stmigrate: SessionsConfig.Transfer %d is unknown", cfg.Transfer)
	}
	if cfg.AntiCSRF < AntiCSRFDefault || cfg.AntiCSRF > InsecureAntiCSRFNone {
		return nil, fmt.Errorf("stmigrate: SessionsConfig.AntiCSRF %d is unknown", cfg.AntiCSRF)
	}
	if cfg.Transfer == TransferHeader {
		return s, nil
	}
	if err := s.configureCookies(cfg, api); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Sessions) configureCookies(cfg SessionsConfig, api *url.URL) error {
	if len(cfg.WebsiteOrigins) == 0 {
		return errors.New("stmigrate: SessionsConfig.WebsiteOrigins is required, since cookies depend on it; " +
			"without cookies set Transfer to TransferHeader")
	}
	crossSite := false
	for _, origin := range cfg.WebsiteOrigins {
		site, err := parseOrigin(origin)
		if err != nil {
			return fmt.Errorf("stmigrate: SessionsConfig.WebsiteOrigins: %w", err)
		}
		crossSite = crossSite || !sameSite(api, site)
	}
	if !s.wire.Secure && !ask.Loopback(api.Hostname()) && !cfg.InsecureCookies {
		return fmt.Errorf("stmigrate: SessionsConfig.APIDomain %s is not https, so its cookies could be read on the way", cfg.APIDomain)
	}
	switch cfg.SameSite {
	case 0:
		s.wire.SameSite = http.SameSiteLaxMode
		if crossSite {
			s.wire.SameSite = http.SameSiteNoneMode
		}
	case http.SameSiteNoneMode:
	case http.SameSiteLaxMode, http.SameSiteStrictMode:
		if crossSite {
			return errors.New("stmigrate: SessionsConfig.SameSite keeps cookies from a website of another site that is in WebsiteOrigins; " +
				"leave it 0")
		}
	default:
		return fmt.Errorf("stmigrate: SessionsConfig.SameSite %d is none of Lax, Strict and None", cfg.SameSite)
	}
	if s.wire.SameSite == http.SameSiteNoneMode && !s.wire.Secure {
		return errors.New("stmigrate: SessionsConfig: cookies for a website of another site need an https APIDomain; " +
			"on one machine use the same host name for both (localhost and 127.0.0.1 are two sites)")
	}
	if s.antiCSRF == AntiCSRFDefault {
		s.antiCSRF = InsecureAntiCSRFNone // the browser's own protection does
		if s.wire.SameSite == http.SameSiteNoneMode {
			s.antiCSRF = AntiCSRFViaCustomHeader
		}
	}
	if s.wire.CookieDomain != "" {
		if err := checkCookieDomain(s.wire.CookieDomain, api); err != nil {
			return fmt.Errorf("stmigrate: SessionsConfig.CookieDomain: %w", err)
		}
	}
	if older := cfg.OlderCookieDomain; older != nil {
		domain := strings.ToLower(*older)
		if domain != "" {
			if err := checkCookieDomain(domain, api); err != nil {
				return fmt.Errorf("stmigrate: SessionsConfig.OlderCookieDomain: %w", err)
			}
		}
		if strings.TrimPrefix(domain, ".") == strings.TrimPrefix(s.wire.CookieDomain, ".") {
			return errors.New("stmigrate: SessionsConfig.OlderCookieDomain is CookieDomain: the good cookies would be cleared")
		}
		s.olderDomain = &domain
	}
	return nil
}

// checkCookieDomain tells why browsers would drop a cookie of this domain that the API sets (RFC 6265 §5.3).
func checkCookieDomain(domain string, api *url.URL) error {
	bare := strings.TrimPrefix(domain, ".")
	if api.Hostname() != bare && !strings.HasSuffix(api.Hostname(), "."+bare) {
		return fmt.Errorf("%q does not hold the API's host %s", domain, api.Hostname())
	}
	if net.ParseIP(api.Hostname()) != nil && api.Hostname() != bare {
		return fmt.Errorf("%q is a part of an IP address", domain)
	}
	if suffix, _ := publicsuffix.PublicSuffix(bare); suffix == bare && bare != "localhost" {
		return fmt.Errorf("%q is a public suffix, which all the world shares", domain)
	}
	return nil
}

// plainPath is a path without surprises: no dot segments, nothing to be escaped.
var plainPath = regexp.MustCompile(`^(/[a-z0-9_~-][a-z0-9._~-]*)*$`)

func parseOrigin(s string) (*url.URL, error) {
	u, err := url.Parse(strings.ToLower(s))
	if err == nil && u.User != nil {
		return nil, errors.New("an origin holds no user and no password")
	}
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || strings.Contains(u.Host, "*") ||
		strings.Trim(u.Path, "/") != "" || strings.ContainsAny(s, "?#") || strings.HasSuffix(u.Host, ":") {
		return nil, fmt.Errorf("%q is not an origin like https://example.com", s)
	}
	// As browsers write it in Origin.
	if (u.Scheme == "https" && u.Port() == "443") || (u.Scheme == "http" && u.Port() == "80") {
		u.Host = strings.TrimSuffix(u.Host, ":"+u.Port())
	}
	return u, nil
}

// sameSite tells whether two origins are same-site, scheme included (HTML standard, "schemelessly same site").
func sameSite(a, b *url.URL) bool { return a.Scheme == b.Scheme && site(a) == site(b) }

func site(u *url.URL) string {
	host := u.Hostname()
	if registrable, err := publicsuffix.EffectiveTLDPlusOne(host); err == nil && net.ParseIP(host) == nil {
		return registrable
	}
	return host
}

// accessToken is an access token whose signature holds.
type accessToken struct {
	raw                              string
	userID, tenantID, handle         string
	antiCSRF, parentRefreshTokenHash string
	expiry                           time.Time
	payload                          map[string]any
}

// located is an access token and where it stood.
type located struct {
	claims  *accessToken
	cookies bool
}

// find returns the session of a request by its access token alone: ErrNoSession where there is none, ErrTryRefresh where
// the token is not good, ErrUnavailable where the core's keys cannot be had. A token that is genuine and has expired comes with
// its error.
func (s *Sessions) find(ctx context.Context, r *http.Request) (located, error) {
	raw, cookies := "", false
	if s.transfer != TransferCookie {
		if token := fdi.BearerToken(r); fdi.IsAccessToken(token) {
			raw = token
		}
	}
	if raw == "" && s.transfer != TransferHeader {
		tokens := fdi.CookieTokens(r, fdi.AccessCookie)
		if len(tokens) > 0 && fdi.IsAccessToken(tokens[0]) {
			if len(tokens) > 1 {
				return located{}, fmt.Errorf("%w: %d access tokens in cookies", ErrTryRefresh, len(tokens))
			}
			raw, cookies = tokens[0], true
		}
	}
	if raw == "" {
		return located{}, ErrNoSession
	}
	claims, err := s.verifyAccessToken(ctx, raw)
	if err == nil && !s.now().Before(claims.expiry) {
		err = fmt.Errorf("%w: the access token expired at %v", ErrTryRefresh, claims.expiry)
	}
	return located{claims, cookies}, err
}

// verifyAccessToken checks an access token (versions 3 to 5) by the core's keys, but not its expiry. Whether its session was
// revoked since, it cannot know.
func (s *Sessions) verifyAccessToken(ctx context.Context, raw string) (*accessToken, error) {
	kid, claims, err := verifyCompact(ctx, raw, []string{"RS256"}, s.keys)
	switch {
	case errors.Is(err, ErrUnavailable):
		return nil, fmt.Errorf("the core's keys: %w", err)
	case err != nil:
		return nil, fmt.Errorf("%w: %v", ErrTryRefresh, err)
	}
	t, err := newAccessToken(raw, claims)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrTryRefresh, err)
	case strings.HasPrefix(kid, "s-") != s.static:
		return nil, fmt.Errorf("%w: the access token is signed with the other kind of key (SessionsConfig.StaticSigningKey)", ErrTryRefresh)
	}
	return t, nil
}

// readAccessToken reads a token that the core has just sent.
func readAccessToken(raw string) (*accessToken, error) {
	t, err := jwtParse(raw, nil)
	if err != nil {
		return nil, err
	}
	return newAccessToken(raw, t.claims)
}

func newAccessToken(raw string, claims map[string]any) (*accessToken, error) {
	t := &accessToken{raw: raw, payload: claims}
	t.userID, _ = claims["sub"].(string)
	t.handle, _ = claims["sessionHandle"].(string)
	t.tenantID, _ = claims["tId"].(string)
	t.tenantID = tenantOrPublic(t.tenantID) // version 3 has none
	t.antiCSRF, _ = claims["antiCsrfToken"].(string)
	t.parentRefreshTokenHash, _ = claims["parentRefreshTokenHash1"].(string)
	exp, _ := claims["exp"].(json.Number)
	seconds, err := exp.Int64()
	if err != nil || t.userID == "" || t.handle == "" {
		return nil, errors.New("sub, sessionHandle or exp is missing in the access token")
	}
	t.expiry = time.Unix(seconds, 0)
	return t, nil
}

// VerifyOptions change what [Sessions.Verify] asks for.
type VerifyOptions struct {
	// Optional answers a request without any session with nil instead of [ErrNoSession]. A session that is broken or over is an
	// error all the same.
	Optional bool
	// CheckDatabase asks the core whether the session was revoked. Default: an access token is good until it expires.
	CheckDatabase bool
	// SkipAntiCSRF leaves out the protection against requests of other sites. It MUST NOT be set on an API that changes anything.
	SkipAntiCSRF bool
}

// Verify returns the session of a request. It needs no middleware, so it fits any framework. The core is asked only where the
// protocol needs it (the first use of a refreshed token) or o.CheckDatabase does; a new access token goes into w's headers
// then, so Verify comes before the body is begun.
//
// Errors: [ErrNoSession] (401, "unauthorised"), [ErrTryRefresh] (401, "try refresh token"), [ErrUnavailable] (503).
func (s *Sessions) Verify(w http.ResponseWriter, r *http.Request, o VerifyOptions) (*Session, error) {
	found, err := s.find(r.Context(), r)
	if err != nil {
		if o.Optional && errors.Is(err, ErrNoSession) {
			return nil, nil
		}
		return nil, err
	}
	t := found.claims
	if found.cookies && !o.SkipAntiCSRF && r.Method != http.MethodGet {
		switch {
		case s.antiCSRF == AntiCSRFViaCustomHeader && r.Header.Get("rid") == "":
			return nil, fmt.Errorf("%w: the rid header is missing, which no other site can send", ErrTryRefresh)
		case s.antiCSRF == AntiCSRFViaToken && (t.antiCSRF == "" ||
			subtle.ConstantTimeCompare([]byte(r.Header.Get("anti-csrf")), []byte(t.antiCSRF)) == 0):
			return nil, fmt.Errorf("%w: the anti-csrf header is not the session's", ErrTryRefresh)
		}
	}
	session := &Session{sessions: s, w: w, cookies: found.cookies, token: t}
	if t.parentRefreshTokenHash == "" && !o.CheckDatabase {
		return session, nil
	}
	verified, err := s.core.VerifySession(r.Context(), core.VerifySession{AccessToken: t.raw, CheckDatabase: o.CheckDatabase})
	switch {
	case errors.Is(err, core.ErrUnauthorised):
		return nil, fmt.Errorf("%w: %w", ErrNoSession, err)
	case errors.Is(err, core.ErrTryRefresh):
		return nil, fmt.Errorf("%w: %w", ErrTryRefresh, err)
	case err != nil:
		return nil, coreError(err)
	}
	if verified.Access != nil {
		if err := session.replace(verified); err != nil {
			return nil, err
		}
	}
	return session, nil
}

// Session is a session that was verified.
type Session struct {
	sessions *Sessions
	w        http.ResponseWriter
	cookies  bool
	token    *accessToken
}

// UserID is whose session it is.
func (s *Session) UserID() string { return s.token.userID }

// TenantID is the tenant it belongs to, "public" by default.
func (s *Session) TenantID() string { return s.token.tenantID }

// Handle names the session in the core.
func (s *Session) Handle() string { return s.token.handle }

// AccessTokenPayload returns a copy of what the access token says, the core's own claims included. Numbers are json.Number.
func (s *Session) AccessTokenPayload() map[string]any {
	return cloneJSON(s.token.payload).(map[string]any)
}

func cloneJSON(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			out[name] = cloneJSON(member)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = cloneJSON(item)
		}
		return out
	}
	return v
}

// SessionData reads the session's data in the core's database. Numbers are json.Number. A session that has ended is
// [ErrNoSession].
func (s *Session) SessionData(ctx context.Context) (map[string]any, error) {
	info, err := s.sessions.core.GetSession(ctx, s.token.handle)
	if err != nil {
		return nil, sessionError(err)
	}
	return info.Data, nil
}

// UpdateSessionData replaces the session's data in the core's database. A session that has ended is [ErrNoSession].
func (s *Session) UpdateSessionData(ctx context.Context, data map[string]any) error {
	return sessionError(s.sessions.core.SetSessionData(ctx, s.token.handle, data))
}

// UpdateAccessTokenPayload merges update into the access token's payload: a nil deletes its key, any other value replaces
// it as a whole. The response carries the new token, so it comes before the body is begun: [ErrResponseBegun] tells of it
// behind [Sessions.Require] and [Sessions.Optional], and where w has a method Written() bool, as gin's has; net/http's own does
// not tell. Reserved claims and sizes are checked as in [Sessions.CreateSession].
func (s *Session) UpdateAccessTokenPayload(ctx context.Context, update map[string]any) error {
	if w, ok := s.w.(interface{ Written() bool }); ok && w.Written() {
		return ErrResponseBegun
	}
	payload := make(map[string]any)
	for name, v := range s.token.payload {
		if !slices.Contains(fdi.ReservedClaims, name) {
			payload[name] = v
		}
	}
	for name, v := range update {
		if v == nil {
			delete(payload, name)
		} else {
			payload[name] = v
		}
	}
	payload, err := s.sessions.payload(User{ID: s.token.userID, TenantID: s.token.tenantID, AccessTokenPayload: payload}, s.cookies)
	if err != nil {
		return err
	}
	if issuer, ok := s.token.payload["iss"]; ok {
		payload["iss"] = issuer // the session may be another backend's
	}
	t, err := s.sessions.core.RegenerateSession(ctx, s.token.raw, payload)
	if err != nil {
		return sessionError(err)
	}
	if t.Access == nil {
		// The token expired meanwhile; the payload is in the next one, which the refresh brings.
		return nil
	}
	return s.replace(t)
}

// Revoke ends the session, and takes its tokens from the client if the body is not begun. One that has ended is no error.
func (s *Session) Revoke(ctx context.Context) error {
	if _, err := s.sessions.RevokeSession(ctx, s.token.handle); err != nil {
		return err
	}
	h := make(http.Header)
	s.sessions.wire.Remove(h, s.cookies, !s.cookies)
	// What an earlier step of the same response gave must not outlive the session.
	s.w.Header().Del("Anti-Csrf")
	if s.cookies {
		s.w.Header().Del("St-Access-Token")
	}
	fdi.Merge(s.w.Header(), h)
	return nil
}

// sessionError is the class of a core's error about a session that was verified before.
func sessionError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, core.ErrUnauthorised):
		return fmt.Errorf("%w: %w", ErrNoSession, err)
	}
	return coreError(err)
}

// replace takes a new access token into use and sends it to the client.
func (s *Session) replace(t *core.Tokens) error {
	tokens := fdi.Tokens{UserID: s.token.userID, Access: t.Access.Token, AccessExpiry: t.Access.Expiry}
	h := make(http.Header)
	if err := s.sessions.wire.Set(h, tokens, s.cookies, s.sessions.now()); err != nil {
		return fmt.Errorf("the core's answer: %w", err)
	}
	token, err := readAccessToken(t.Access.Token)
	if err != nil {
		return fmt.Errorf("the core's answer: %w", err)
	}
	h.Set("Cache-Control", "no-store")
	fdi.Merge(s.w.Header(), h)
	s.token = token
	return nil
}

// ClaimValue is a claim as the SDKs' validators expect it in an access token: its value, and when it was looked up.
func ClaimValue(v any, at time.Time) map[string]any {
	return map[string]any{"v": v, "t": at.UnixMilli()}
}

type sessionKeyType struct{}

// SessionFrom returns the session that [Sessions.Require] or [Sessions.Optional] found, or nil.
func SessionFrom(ctx context.Context) *Session {
	s, _ := ctx.Value(sessionKeyType{}).(*Session)
	return s
}

// Require lets only requests with a session through to next, which finds it with [SessionFrom]. The others are answered as
// the SuperTokens SDKs do: 401 {"message":"unauthorised"} or {"message":"try refresh token"}. It does not look at claims: whether
// the e-mail must be verified, or a role given, is next's to say, from the payload.
func (s *Sessions) Require(next http.Handler) http.Handler { return s.middleware(next, false) }

// Optional is [Sessions.Require] that lets requests without any session through, too; SessionFrom is nil then.
func (s *Sessions) Optional(next http.Handler) http.Handler { return s.middleware(next, true) }

func (s *Sessions) middleware(next http.Handler, optional bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w = &response{ResponseWriter: w}
		session, err := s.Verify(w, r, VerifyOptions{Optional: optional})
		if err != nil {
			s.renderError(w, err)
			return
		}
		if session != nil {
			r = r.WithContext(context.WithValue(r.Context(), sessionKeyType{}, session))
		}
		next.ServeHTTP(w, r)
	})
}

// response knows whether the body was begun, by whatever way.
type response struct {
	http.ResponseWriter
	written bool
}

func (w *response) WriteHeader(status int) {
	w.written = w.written || status >= 200 || status == http.StatusSwitchingProtocols
	w.ResponseWriter.WriteHeader(status)
}

func (w *response) Write(p []byte) (int, error) {
	w.written = true
	return w.ResponseWriter.Write(p)
}

func (w *response) ReadFrom(r io.Reader) (int64, error) {
	w.written = true
	return io.Copy(w.ResponseWriter, r)
}

// Flush implements [http.Flusher]. It does nothing where the response behind cannot.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is for [http.ResponseController].
func (w *response) FlushError() error {
	err := http.NewResponseController(w.ResponseWriter).Flush()
	w.written = w.written || !errors.Is(err, http.ErrNotSupported)
	return err
}

// Hijack implements [http.Hijacker].
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.written = w.written || !errors.Is(err, http.ErrNotSupported)
	return conn, rw, err
}

// Written tells whether the response can carry no more headers. Frameworks that keep a writer of their own, as gin does, write
// past this one.
func (w *response) Written() bool {
	behind, ok := w.ResponseWriter.(interface{ Written() bool })
	return w.written || (ok && behind.Written())
}

// Unwrap is for [http.ResponseController].
func (w *response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// renderError answers as the SuperTokens SDKs do. A session that the core says is over is taken from the client.
func (s *Sessions) renderError(w http.ResponseWriter, err error) {
	status, message := http.StatusInternalServerError, "internal error"
	switch {
	case errors.Is(err, core.ErrTheft):
		status, message = http.StatusUnauthorized, "token theft detected"
	case errors.Is(err, ErrTryRefresh):
		status, message = http.StatusUnauthorized, "try refresh token"
	case errors.Is(err, ErrNoSession):
		status, message = http.StatusUnauthorized, "unauthorised"
	case errors.Is(err, ErrUnavailable):
		status, message = http.StatusServiceUnavailable, "temporarily unavailable"
		w.Header().Set("Retry-After", "1")
	}
	if errors.Is(err, core.ErrUnauthorised) || errors.Is(err, core.ErrTheft) || errors.Is(err, errNoRefresh) {
		h := make(http.Header)
		s.wire.Remove(h, s.transfer != TransferHeader, true)
		fdi.Merge(w.Header(), h)
	}
	writeJSON(w, status, `{"message":"`+message+`"}`)
}

func writeJSON(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write([]byte(body))
}
