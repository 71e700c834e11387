package coreemu

import (
	"encoding/json"
	"errors"
	"reflect"
	"slices"
	"strings"
	"time"
)

// session is a row of the core's session table. Its maps are replaced, never changed.
type session struct {
	number    int
	handle    string
	userID    string
	tenant    string
	data      map[string]any
	payload   map[string]any
	hash2     string // of the refresh token that counts: the last whose use was seen
	static    bool
	createdAt int64
	expiresAt int64
}

// sessions is the core's session table. A user may have many, and there may be many users, so each is found by both.
type sessions struct {
	byHandle map[string]*session
	byUser   map[string]map[string]*session // the user ID that they were made with: by handle
}

func newSessions() sessions {
	return sessions{byHandle: map[string]*session{}, byUser: map[string]map[string]*session{}}
}

func (ss *sessions) add(s *session) {
	ss.byHandle[s.handle] = s
	if ss.byUser[s.userID] == nil {
		ss.byUser[s.userID] = map[string]*session{}
	}
	ss.byUser[s.userID][s.handle] = s
}

func (ss *sessions) remove(s *session) {
	delete(ss.byHandle, s.handle)
	delete(ss.byUser[s.userID], s.handle)
	if len(ss.byUser[s.userID]) == 0 {
		delete(ss.byUser, s.userID)
	}
}

// SessionState is a session as [Core.Sessions] shows it.
type SessionState struct {
	Handle   string
	UserID   string // as GET /recipe/session answers: the external ID of a mapped user
	TenantID string
	// Data is the session's data in the database, Payload what its access tokens carry. Numbers are json.Number.
	Data, Payload map[string]any
	CreatedAt     time.Time
	// ExpiresAt moves whenever a refresh takes effect.
	ExpiresAt time.Time
}

// Sessions returns copies of all sessions that are neither removed nor over, in the order they were created in.
func (c *Core) Sessions() []SessionState {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []SessionState
	for _, s := range c.liveSessions(c.sessions.byHandle, anywhere) {
		out = append(out, SessionState{
			Handle: s.handle, UserID: s.userID, TenantID: s.tenant, Data: clone(s.data), Payload: clone(s.payload),
			CreatedAt: time.UnixMilli(s.createdAt), ExpiresAt: time.UnixMilli(s.expiresAt),
		})
	}
	return out
}

func clone(object map[string]any) map[string]any {
	raw, _ := json.Marshal(object)
	out, _ := decodeObject(raw)
	return out
}

// liveSession is nil for a session that was removed or is over.
func (c *Core) liveSession(handle string) *session {
	s := c.sessions.byHandle[handle]
	if s != nil && s.expiresAt <= c.millis() {
		c.sessions.remove(s)
		return nil
	}
	return s
}

// anywhere is for sessions in all tenants.
const anywhere = ""

// liveSessions are those of the given ones that are not over and in this tenant, in the order they were created in.
func (c *Core) liveSessions(of map[string]*session, tenant string) []*session {
	var out []*session
	for handle := range of {
		if s := c.liveSession(handle); s != nil && (tenant == anywhere || s.tenant == tenant) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b *session) int { return a.number - b.number })
	return out
}

func (c *Core) deleteSessions(of map[string]*session, tenant string) []string {
	handles := []string{}
	for _, s := range c.liveSessions(of, tenant) {
		handles = append(handles, s.handle)
		c.sessions.remove(s)
	}
	return handles
}

func (c *Core) createSession(r *request) (any, error) {
	userID, payload, data := r.str("userId"), r.object("userDataInJWT"), r.object("userDataInDatabase")
	antiCSRF, static := r.boolean("enableAntiCsrf"), !r.optFlag("useDynamicSigningKey", true)
	if r.err != nil {
		return nil, r.err
	}
	s := &session{
		number: c.created, handle: newUUID(), userID: c.mappings.external(userID), tenant: r.tenant,
		data: data, payload: payload, static: static,
	}
	if s.tenant != publicTenant {
		s.handle += "_" + s.tenant
	}
	out, token, now, err := c.issueTokens(r, s, "", antiCSRF)
	if err != nil {
		return nil, refusal(err)
	}
	s.hash2 = hash1(hash1(token))
	s.createdAt, s.expiresAt = now, now+c.cfg.RefreshTokenValidity.Milliseconds()
	c.created++
	c.sessions.add(s)
	return out, nil
}

// issueTokens makes the tokens of a new or refreshed session and the answer that has them. parent is the hash of the
// refresh token that the new one replaces. now is when the refresh token was made.
func (c *Core) issueTokens(r *request, s *session, parent string, antiCSRF bool) (out reply, refresh string, now int64, err error) {
	csrf := ""
	if antiCSRF {
		csrf = newUUID()
	}
	refresh = c.seal(refreshToken{Handle: s.handle, Tenant: s.tenant, Parent: parent, AntiCSRF: csrf})
	t := accessToken{
		version: tokenVersion(r.cdi), handle: s.handle, userID: c.mappings.external(s.userID), recipeID: s.userID, tenant: s.tenant,
		hash: hash1(refresh), parent: parent, antiCSRF: csrf, payload: s.payload,
	}
	access, err := c.issue(t, s.static)
	if err != nil {
		return nil, "", 0, err
	}
	now = c.millis()
	out = reply{
		"status": "OK", "session": sessionInfo(r, &t, s.payload), "accessToken": access,
		"refreshToken": tokenInfo(refresh, now+c.cfg.RefreshTokenValidity.Milliseconds(), now),
	}
	if csrf != "" {
		out["antiCsrfToken"] = csrf
	}
	return out, refresh, now, nil
}

// sessionInfo is the "session" of an answer.
func sessionInfo(r *request, t *accessToken, payload map[string]any) reply {
	out := reply{"handle": t.handle, "userId": t.userID, "userDataInJWT": payload}
	if r.cdi >= cdi3_0 {
		out["tenantId"] = t.tenant
	}
	if r.cdi >= cdi4_0 {
		out["recipeUserId"] = t.recipeID
	}
	return out
}

// promote makes the refresh token with this hash the one that counts and lets the session live on. Its expiry grows even
// within a millisecond, since callers tell by it that the tokens were rotated.
func (c *Core) promote(s *session, hash string) {
	s.hash2 = hash1(hash)
	s.expiresAt = max(c.millis()+c.cfg.RefreshTokenValidity.Milliseconds(), s.expiresAt+1)
}

func (c *Core) verifySession(r *request) (any, error) {
	token, checkCSRF, antiCSRF := r.str("accessToken"), r.boolean("doAntiCsrfCheck"), r.boolean("enableAntiCsrf")
	csrf, given := r.optStr("antiCsrfToken")
	checkDatabase := r.boolean("checkDatabase")
	if r.err != nil {
		return nil, r.err
	}
	checkCSRF = checkCSRF && antiCSRF
	tryRefresh := func(message string) (any, error) {
		return reply{"status": "TRY_REFRESH_TOKEN", "message": message}, nil
	}
	t, err := c.readAccessToken(token, true)
	switch {
	case err != nil:
		return tryRefresh(err.Error())
	case t.expiresAt < c.millis():
		return tryRefresh("Access token expired")
	case checkCSRF && t.antiCSRF == "":
		return tryRefresh("Access token does not contain all the information. Maybe the structure has changed?")
	case c.tenants[t.tenant] == nil:
		return nil, tenantNotFound(publicApp, t.tenant)
	case checkCSRF && (!given || csrf != t.antiCSRF):
		return tryRefresh("anti-csrf check failed")
	}

	s := c.liveSession(t.handle)
	if checkDatabase && s == nil {
		return unauthorised("Either the session has ended or has been blacklisted"), nil
	}
	stale := checkDatabase && !reflect.DeepEqual(t.payload, s.payload)
	out := reply{"status": "OK", "session": sessionInfo(r, t, t.payload)}
	if t.parent == "" && !stale {
		return out, nil
	}
	if s == nil {
		return unauthorised("Session missing in db"), nil
	}
	promote := t.parent != "" && s.hash2 == hash1(t.parent)
	if promote || stale || s.hash2 == hash1(t.hash) {
		if promote {
			c.promote(s, t.hash)
		}
		t.parent, t.expiresAt, t.payload = "", 0, s.payload
		access, err := c.issue(*t, s.static)
		if err != nil {
			return nil, refusal(err)
		}
		out["accessToken"], out["session"] = access, sessionInfo(r, t, s.payload)
	}
	return out, nil
}

func (c *Core) refreshSession(r *request) (any, error) {
	token, antiCSRF := r.str("refreshToken"), r.boolean("enableAntiCsrf")
	csrf, _ := r.optStr("antiCsrfToken")
	var dynamic, chosen bool
	if r.cdi >= cdi3_0 {
		dynamic, chosen = field[bool](r, "useDynamicSigningKey", r.cdi < cdi5_0)
	}
	if r.err != nil {
		return nil, r.err
	}
	t, err := c.unseal(token)
	if err != nil {
		return unauthorised(err.Error()), nil
	}
	if antiCSRF && t.AntiCSRF != "" && t.AntiCSRF != csrf {
		return unauthorised("Anti CSRF token missing, or not matching"), nil
	}
	if c.tenants[t.Tenant] == nil {
		return nil, tenantNotFound(publicApp, t.Tenant)
	}
	s := c.liveSession(t.Handle)
	if s == nil {
		return unauthorised("Session missing in db or has expired"), nil
	}
	hash := hash1(token)
	switch {
	case s.hash2 == hash1(hash): // the one that counts: a child for it, as often as it is shown
	case t.Parent != "" && s.hash2 == hash1(t.Parent): // its child: from now on the parent is spent
		c.promote(s, hash)
	default:
		info := reply{"handle": s.handle, "userId": c.mappings.external(s.userID), "recipeUserId": s.userID}
		return reply{"status": "TOKEN_THEFT_DETECTED", "session": info}, nil
	}
	if chosen {
		s.static = !dynamic
	}
	out, _, _, err := c.issueTokens(r, s, hash, antiCSRF)
	switch {
	case errors.Is(err, errProtected):
		return unauthorised(err.Error()), nil
	case err != nil:
		return nil, err
	}
	return out, nil
}

// regenerateSession trusts the token, as the real core does: the caller has verified it.
func (c *Core) regenerateSession(r *request) (any, error) {
	token := r.str("accessToken")
	payload, given := field[map[string]any](r, "userDataInJWT", true)
	if r.err != nil {
		return nil, r.err
	}
	t, err := c.readAccessToken(token, false)
	if err != nil && strings.HasPrefix(err.Error(), jwtException) {
		return nil, err
	}
	if err != nil {
		return unauthorised(err.Error()), nil
	}
	if c.tenants[t.tenant] == nil {
		return nil, tenantNotFound(publicApp, t.tenant)
	}
	s := c.liveSession(t.handle)
	if s == nil {
		return unauthorised("Session does not exist."), nil
	}
	if !given {
		payload = s.payload
	}
	if hasProtected(payload, t.version) {
		return nil, badRequest("%v", errProtected)
	}
	s.payload, t.payload = payload, payload
	out := reply{"status": "OK", "session": sessionInfo(r, t, payload)}
	if t.expiresAt >= c.millis() {
		if out["accessToken"], err = c.issue(*t, s.static); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sessionOf finds the session that a handle names. A handle says its tenant, which must exist.
func (c *Core) sessionOf(handle string) (*session, error) {
	if tenant := handleTenant(handle); c.tenants[tenant] == nil {
		return nil, tenantNotFound(publicApp, tenant)
	}
	return c.liveSession(handle), nil
}

func handleTenant(handle string) string {
	if _, tenant, ok := strings.Cut(handle, "_"); ok {
		return tenant
	}
	return publicTenant
}

func (c *Core) getSession(r *request) (any, error) {
	handle := r.param("sessionHandle")
	if r.err != nil {
		return nil, r.err
	}
	s, err := c.sessionOf(handle)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return unauthorised("Session does not exist."), nil
	}
	out := reply{
		"status": "OK", "sessionHandle": s.handle, "userId": s.userID, "userDataInDatabase": s.data,
		"userDataInJWT": s.payload, "timeCreated": s.createdAt, "expiry": s.expiresAt,
	}
	if r.cdi >= cdi3_0 {
		out["tenantId"] = s.tenant
	}
	if r.cdi >= cdi4_0 {
		out["recipeUserId"] = s.userID
	}
	return out, nil
}

// getSessionData and putSessionData serve both what is in the database and what is in the tokens.
func (c *Core) getSessionData(r *request) (any, error) {
	handle := r.param("sessionHandle")
	if r.err != nil {
		return nil, r.err
	}
	s, err := c.sessionOf(handle)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return unauthorised("Session does not exist."), nil
	}
	if r.path == "/recipe/jwt/data" {
		return reply{"status": "OK", "userDataInJWT": s.payload}, nil
	}
	return reply{"status": "OK", "userDataInDatabase": s.data}, nil
}

func (c *Core) putSessionData(r *request) (any, error) {
	inToken := r.path == "/recipe/jwt/data"
	name := "userDataInDatabase"
	if inToken {
		name = "userDataInJWT"
	}
	handle, data := r.str("sessionHandle"), r.object(name)
	if r.err != nil {
		return nil, r.err
	}
	s, err := c.sessionOf(handle)
	switch {
	case err != nil:
		return nil, err
	case inToken && hasProtected(data, tokenVersion(r.cdi)):
		return nil, badRequest("%v", errProtected)
	case s == nil:
		return unauthorised("Session does not exist."), nil
	case inToken:
		s.payload = data
	default:
		s.data = data
	}
	return status("OK"), nil
}

func (c *Core) removeSessions(r *request) (any, error) {
	userID, byUser := r.optStr("userId")
	handles, byHandle := r.optStrings("sessionHandles")
	if r.err == nil && byUser == byHandle {
		r.fail("Invalid JSON input - use one of userId or sessionHandles array")
	}
	allTenants, given := r.optBool("revokeAcrossAllTenants")
	if given && !byUser {
		r.fail("Invalid JSON input - revokeAcrossAllTenants can only be set if userId is set")
	}
	if _, ok := r.optBool("revokeSessionsForLinkedAccounts"); ok && !byUser {
		r.fail("Invalid JSON input - revokeSessionsForLinkedAccounts can only be set if userId is set")
	}
	if r.err != nil {
		return nil, r.err
	}
	if byUser {
		tenant, err := c.tenantOfSessions(r, allTenants || !given)
		if err != nil {
			return nil, err
		}
		return reply{"status": "OK", "sessionHandlesRevoked": c.deleteSessions(c.sessions.byUser[userID], tenant)}, nil
	}
	for _, h := range handles {
		if tenant := handleTenant(h); c.tenants[tenant] == nil {
			return nil, tenantNotFound(publicApp, tenant)
		}
	}
	revoked := []string{}
	for _, h := range handles {
		if s := c.liveSession(h); s != nil {
			c.sessions.remove(s)
			revoked = append(revoked, h)
		}
	}
	return reply{"status": "OK", "sessionHandlesRevoked": revoked}, nil
}

func (c *Core) sessionsOfUser(r *request) (any, error) {
	userID := r.param("userId")
	if r.err != nil {
		return nil, r.err
	}
	tenant, err := c.tenantOfSessions(r, r.flag("fetchAcrossAllTenants", true))
	if err != nil {
		return nil, err
	}
	handles := []string{}
	for _, s := range c.liveSessions(c.sessions.byUser[userID], tenant) {
		handles = append(handles, s.handle)
	}
	return reply{"status": "OK", "sessionHandles": handles}, nil
}

// tenantOfSessions is where a user's sessions are looked for. The user is whom they were made with, which is the external ID of
// a mapped user: the real core does not translate here.
func (c *Core) tenantOfSessions(r *request, allTenants bool) (string, error) {
	if allTenants {
		return anywhere, r.wholeApp()
	}
	if c.tenants[r.tenant] == nil {
		return "", tenantNotFound(publicApp, r.tenant)
	}
	return r.tenant, nil
}
