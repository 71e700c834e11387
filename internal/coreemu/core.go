// Package coreemu is a SuperTokens core in memory: an [http.Handler] that answers as supertokens-core 10.0 does over its
// HTTP API (CDI), for tests and demonstrations that should need no Java, no database and no network.
//
// It follows recordings of the real core (testdata/core-contract) at CDI 3.1 and 5.2, and the core's source where they
// are silent. CDI 2.21, 3.0, 4.0, 5.0 and 5.1 work likewise; older versions are listed by /apiversion and refused.
//
// # Security
//
// It is a test double. Nothing is persisted, signing keys are shared by the cores of a process unless
// [Config].FreshKeys says otherwise, and, as in the real core, whoever reaches it may do everything.
//
// # Differences from the real core
//
//   - One app ("public"), no account linking, passwordless, TOTP, dashboard or OAuth; bulk import is refused, as by the
//     real core on its in-memory database.
//   - Tenants need no licence.
//   - A session that is over is gone at once; the real core sweeps them every few hours, and until then a check against
//     the database still finds them.
//   - Signing keys rotate when RotateKeys is called, never by themselves.
//   - Members of JSON objects come in another order.
//   - Argon2 and firebase_scrypt hashes are stored and never verified: see [Core.SetPassword].
package coreemu

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/stmigrate/stmigrate/internal/faults"
)

// Config shapes a [Core]. The zero value is a core as it comes out of the box: no API key, default lifetimes.
type Config struct {
	// Now is the clock; nil is time.Now. The core's own time is Now plus what Advance added.
	Now func() time.Time
	// APIKey is asked of every request but those for keys and health. Empty: none is asked.
	APIKey string
	// AccessTokenValidity is how long an access token lives. Default 1 hour.
	AccessTokenValidity time.Duration
	// RefreshTokenValidity is how long a session lives without being refreshed. Default 100 days.
	RefreshTokenValidity time.Duration
	// Versions are the CDI versions that it claims ("3.1"); the highest is what a request without one gets. nil: those of
	// supertokens-core 10.0.3. What a version above 5.2 changed is not known here.
	Versions []string
	// FreshKeys generates signing keys for this core alone. Otherwise all cores of the process share a pair, under key IDs
	// of their own, since generating RSA keys is slow.
	FreshKeys bool
}

// Core is a SuperTokens core. It is safe for concurrent use. Make one with [New].
//
// Its faults (Down, Slow, Hang, Status, AfterCommit, Truncate, Heal) and its request log (Requests) name routes without
// app and tenant: "POST /recipe/session".
type Core struct {
	faults.Faults
	cfg     Config
	latest  cdi
	handler http.Handler
	refresh cipher.AEAD

	mu       sync.Mutex
	advanced time.Duration
	created  int // numbers sessions in the order they were created in
	keys     keyring
	tenants  map[string]*tenant
	sessions sessions
	users    users
	mappings mappings
	emails   verification
	roles    map[string][]string            // permissions
	assigned map[tenantUser]map[string]bool // roles of users
	metadata map[string]map[string]any
}

// tenantUser is a user in one tenant; a user's roles are per tenant.
type tenantUser struct{ tenant, user string }

// recordedVersions is what supertokens-core 10.0.3 answers on /apiversion.
var recordedVersions = []string{
	"2.7", "2.8", "2.9", "2.10", "2.11", "2.12", "2.13", "2.14", "2.15", "2.16", "2.17", "2.18", "2.19", "2.20", "2.21",
	"3.0", "3.1", "4.0", "5.0", "5.1", "5.2",
}

// New returns an empty core with the tenant "public". It panics if the system's source of randomness fails, or if a
// version in cfg is not of the form "3.1".
func New(cfg Config) *Core {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.AccessTokenValidity == 0 {
		cfg.AccessTokenValidity = time.Hour
	}
	if cfg.RefreshTokenValidity == 0 {
		cfg.RefreshTokenValidity = 100 * 24 * time.Hour
	}
	if cfg.Versions == nil {
		cfg.Versions = recordedVersions
	}
	cfg.Versions = slices.Clone(cfg.Versions)
	c := &Core{
		cfg:      cfg,
		refresh:  newRefreshCipher(),
		tenants:  map[string]*tenant{},
		sessions: newSessions(),
		users:    newUsers(),
		mappings: newMappings(),
		emails:   newVerification(),
		roles:    map[string][]string{},
		assigned: map[tenantUser]map[string]bool{},
		metadata: map[string]map[string]any{},
	}
	c.tenants[publicTenant] = newTenant(publicTenant)
	for _, s := range cfg.Versions {
		v, ok := parseCDI(s)
		if !ok {
			panic(fmt.Sprintf("coreemu: Config.Versions has %q, want a version like \"3.1\"", s))
		}
		c.latest = max(c.latest, v)
	}
	c.Now = c.time
	c.keys = newKeyring(c.time(), cfg.FreshKeys)
	c.handler = c.Wrap(http.HandlerFunc(c.serve), func(r *http.Request) string { return splitPath(r.URL.Path).path })
	return c
}

// ServeHTTP answers one request as the core does.
func (c *Core) ServeHTTP(w http.ResponseWriter, r *http.Request) { c.handler.ServeHTTP(w, r) }

// Advance puts the core's clock forward by d.
func (c *Core) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.advanced += d
}

func (c *Core) time() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now()
}

// now is the core's time, for those who hold mu.
func (c *Core) now() time.Time { return c.cfg.Now().Add(c.advanced) }

// millis is now in the unit of the core's API.
func (c *Core) millis() int64 { return c.now().UnixMilli() }

// cdi is a version of the core's API as a number that compares: 3.1 is 301.
type cdi int

const (
	cdi2_21 cdi = 221
	cdi3_0  cdi = 300
	cdi4_0  cdi = 400
	cdi5_0  cdi = 500
	cdi5_1  cdi = 501
)

func parseCDI(s string) (cdi, bool) {
	major, minor, ok := strings.Cut(s, ".")
	a, err1 := strconv.ParseUint(major, 10, 16)
	b, err2 := strconv.ParseUint(minor, 10, 16)
	return cdi(a*100 + b), ok && err1 == nil && err2 == nil && b < 100
}

// scope says what the tenant in a request's path means to a route.
type scope int

const (
	anyTenant  scope = iota // nothing, or the handler asks
	thisTenant              // it must exist
	wholeApp                // from CDI 5.0 on it must be the public one; before, nothing
)

type route struct {
	scope  scope
	handle func(*Core, *request) (any, error)
}

const (
	helloPath      = "/hello"
	jwksPath       = "/.well-known/jwks.json"
	apiVersionPath = "/apiversion"
)

// routes is the core's API: path, method, handler.
var routes = map[string]map[string]route{
	"/":            {"GET": {anyTenant, (*Core).hello}},
	helloPath:      {"GET": {anyTenant, (*Core).hello}},
	apiVersionPath: {"GET": {wholeApp, (*Core).apiVersion}},
	jwksPath:       {"GET": {anyTenant, (*Core).jwks}},
	"/recipe/jwt":  {"POST": {wholeApp, (*Core).createJWT}},

	"/recipe/session":            {"POST": {thisTenant, (*Core).createSession}, "GET": {anyTenant, (*Core).getSession}},
	"/recipe/session/verify":     {"POST": {anyTenant, (*Core).verifySession}},
	"/recipe/session/refresh":    {"POST": {thisTenant, (*Core).refreshSession}},
	"/recipe/session/regenerate": {"POST": {anyTenant, (*Core).regenerateSession}},
	"/recipe/session/remove":     {"POST": {anyTenant, (*Core).removeSessions}},
	"/recipe/session/user":       {"GET": {anyTenant, (*Core).sessionsOfUser}},
	"/recipe/session/data":       {"PUT": {anyTenant, (*Core).putSessionData}, "GET": {anyTenant, (*Core).getSessionData}},
	"/recipe/jwt/data":           {"PUT": {anyTenant, (*Core).putSessionData}, "GET": {anyTenant, (*Core).getSessionData}},

	"/recipe/signup":                            {"POST": {thisTenant, (*Core).signUp}},
	"/recipe/signin":                            {"POST": {thisTenant, (*Core).signIn}},
	"/recipe/signinup":                          {"POST": {thisTenant, (*Core).thirdPartySignInUp}},
	"/recipe/user":                              {"GET": {thisTenant, (*Core).getUser}, "PUT": {wholeApp, (*Core).updateUser}},
	"/recipe/users/by-email":                    {"GET": {thisTenant, (*Core).thirdPartyUsersByEmail}},
	"/recipe/user/passwordhash/import":          {"POST": {thisTenant, (*Core).importPasswordHash}},
	"/recipe/user/password/reset/token":         {"POST": {thisTenant, (*Core).createResetToken}},
	"/recipe/user/password/reset/token/consume": {"POST": {thisTenant, (*Core).consumeResetToken}},
	"/recipe/user/password/reset":               {"POST": {thisTenant, (*Core).resetPassword}},
	"/user/id":                                  {"GET": {wholeApp, (*Core).getUserByID}},
	"/user/remove":                              {"POST": {wholeApp, (*Core).removeUser}},
	"/users":                                    {"GET": {thisTenant, (*Core).listUsers}},
	"/users/count":                              {"GET": {thisTenant, (*Core).countUsers}},
	"/users/by-accountinfo":                     {"GET": {thisTenant, (*Core).usersByAccountInfo}},

	"/recipe/userid/map":                   {"POST": {wholeApp, (*Core).createMapping}, "GET": {wholeApp, (*Core).getMapping}},
	"/recipe/userid/map/remove":            {"POST": {wholeApp, (*Core).removeMapping}},
	"/recipe/userid/external-user-id-info": {"PUT": {wholeApp, (*Core).updateMappingInfo}},

	"/recipe/user/email/verify/token":        {"POST": {thisTenant, (*Core).createEmailToken}},
	"/recipe/user/email/verify/token/remove": {"POST": {thisTenant, (*Core).removeEmailTokens}},
	"/recipe/user/email/verify":              {"POST": {thisTenant, (*Core).verifyEmail}, "GET": {wholeApp, (*Core).isEmailVerified}},
	"/recipe/user/email/verify/remove":       {"POST": {wholeApp, (*Core).unverifyEmail}},

	"/recipe/role":                    {"PUT": {wholeApp, (*Core).putRole}},
	"/recipe/roles":                   {"GET": {wholeApp, (*Core).listRoles}},
	"/recipe/role/remove":             {"POST": {wholeApp, (*Core).removeRole}},
	"/recipe/role/permissions":        {"GET": {wholeApp, (*Core).getPermissions}},
	"/recipe/role/permissions/remove": {"POST": {wholeApp, (*Core).removePermissions}},
	"/recipe/permission/roles":        {"GET": {wholeApp, (*Core).rolesWithPermission}},
	"/recipe/user/role":               {"PUT": {thisTenant, (*Core).assignRole}},
	"/recipe/user/role/remove":        {"POST": {thisTenant, (*Core).unassignRole}},
	"/recipe/user/roles":              {"GET": {thisTenant, (*Core).rolesOfUser}},
	"/recipe/role/users":              {"GET": {thisTenant, (*Core).usersWithRole}},

	"/recipe/user/metadata":        {"GET": {wholeApp, (*Core).getMetadata}, "PUT": {wholeApp, (*Core).putMetadata}},
	"/recipe/user/metadata/remove": {"POST": {wholeApp, (*Core).removeMetadata}},

	"/recipe/multitenancy/tenant":             {"PUT": {thisTenant, (*Core).putTenant}, "GET": {anyTenant, (*Core).getTenant}},
	"/recipe/multitenancy/tenant/v2":          {"PUT": {thisTenant, (*Core).putTenant}, "GET": {anyTenant, (*Core).getTenant}},
	"/recipe/multitenancy/tenant/list":        {"GET": {thisTenant, (*Core).listTenants}},
	"/recipe/multitenancy/tenant/list/v2":     {"GET": {thisTenant, (*Core).listTenants}},
	"/recipe/multitenancy/tenant/remove":      {"POST": {thisTenant, (*Core).removeTenant}},
	"/recipe/multitenancy/tenant/user":        {"POST": {thisTenant, (*Core).associateUser}},
	"/recipe/multitenancy/tenant/user/remove": {"POST": {thisTenant, (*Core).disassociateUser}},

	"/bulk-import/users":        {"GET": {anyTenant, noBulkImport}, "POST": {anyTenant, noBulkImport}},
	"/bulk-import/users/count":  {"GET": {anyTenant, noBulkImport}},
	"/bulk-import/users/remove": {"POST": {anyTenant, noBulkImport}},
	"/bulk-import/import":       {"POST": {anyTenant, noBulkImport}},
}

// failure is an answer that is no JSON: the core reports what a caller got wrong as plain text.
type failure struct {
	code int
	text string
}

func (f *failure) Error() string { return f.text }

func badRequest(format string, args ...any) error {
	return &failure{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

var errNotFound = &failure{http.StatusNotFound, "Not found"}

func forbidden(text string) error { return &failure{http.StatusForbidden, text} }

func tenantNotFound(app, tenant string) error {
	return badRequest("AppId or tenantId not found => Tenant with the following connectionURIDomain, appId and tenantId "+
		"combination not found: (, %s, %s)", app, tenant)
}

// serve routes one request and writes its answer.
func (c *Core) serve(w http.ResponseWriter, r *http.Request) {
	answer, err := c.answer(w, r)
	var f *failure
	if text, ok := answer.(string); ok {
		f = &failure{http.StatusOK, text}
	} else if err != nil && !errors.As(err, &f) {
		f = &failure{http.StatusInternalServerError, err.Error()}
	}
	if f != nil {
		w.Header().Set("Content-Type", "text/html; charset=UTF-8")
		w.WriteHeader(f.code)
		_, _ = fmt.Fprintln(w, f.text)
		return
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(answer)
}

func (c *Core) answer(w http.ResponseWriter, r *http.Request) (any, error) {
	at := splitPath(r.URL.Path)
	methods, known := routes[at.path]
	open := !known || at.path == "/" || at.path == helloPath || at.path == jwksPath
	if !open && !c.hasAPIKey(r) {
		return nil, &failure{http.StatusUnauthorized, "Invalid API key"}
	}
	version, err := c.version(r, open || at.path == apiVersionPath)
	if err != nil {
		return nil, err
	}
	if at.app != publicApp {
		return nil, tenantNotFound(at.app, at.tenant)
	}
	if !known || (version < cdi3_0 && at.tenant != publicTenant) {
		return nil, errNotFound
	}
	route, ok := methods[r.Method]
	if !ok {
		return nil, &failure{http.StatusMethodNotAllowed, "Method not supported"}
	}
	req := &request{
		path: at.path, tenant: at.tenant, cdi: version, rid: r.Header.Get("rid"), query: r.URL.Query(), header: w.Header(),
	}
	if !open && (r.Method == http.MethodPost || r.Method == http.MethodPut) {
		if req.body, err = readObject(w, r); err != nil {
			return nil, err
		}
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case route.scope == thisTenant && c.tenants[at.tenant] == nil:
		return nil, tenantNotFound(at.app, at.tenant)
	case route.scope == wholeApp:
		if err := req.wholeApp(); err != nil {
			return nil, err
		}
	}
	return route.handle(c, req)
}

func (c *Core) hasAPIKey(r *http.Request) bool {
	key := r.Header.Get("api-key")
	if auth := r.Header.Get("Authorization"); key == "" {
		key = auth
		if scheme, rest, ok := strings.Cut(auth, " "); ok && strings.EqualFold(scheme, "bearer") {
			key = rest
		}
	}
	return c.cfg.APIKey == "" || subtle.ConstantTimeCompare([]byte(strings.TrimSpace(key)), []byte(c.cfg.APIKey)) == 1
}

// version reads the request's CDI version; a request without one speaks the latest. lax is for routes that are the same
// in every version.
func (c *Core) version(r *http.Request, lax bool) (cdi, error) {
	s := r.Header.Get("cdi-version")
	if s == "" {
		return c.latest, nil
	}
	v, ok := parseCDI(s)
	if !ok || v > c.latest || (!lax && (v < cdi2_21 || !slices.Contains(c.cfg.Versions, s))) {
		return 0, badRequest("cdi-version %s not supported", s)
	}
	return v, nil
}

const (
	publicApp    = "public"
	publicTenant = "public"
)

// notTenants are words that begin the core's own paths.
var notTenants = []string{"recipe", "config", "users", "hello"}

type location struct{ app, tenant, path string }

// splitPath reads [/appid-<app>][/<tenant>]<path>. A path that is no route keeps everything.
func splitPath(urlPath string) location {
	path := strings.ToLower(urlPath)
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	at := location{publicApp, publicTenant, path}
	if routes[path] != nil {
		return at
	}
	if first, rest := cutSegment(path); strings.HasPrefix(first, "appid-") {
		at.app, path = strings.TrimPrefix(first, "appid-"), rest
	}
	if routes[path] != nil {
		at.path = path
		return at
	}
	if first, rest := cutSegment(path); isID(first) && !slices.Contains(notTenants, first) && routes[rest] != nil {
		at.tenant, at.path = first, rest
	}
	return at
}

// cutSegment splits "/a/b/c" into "a" and "/b/c". What follows the last segment is "/".
func cutSegment(path string) (first, rest string) {
	first, rest, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return first, "/" + rest
}

func isID(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func (c *Core) hello(r *request) (any, error) {
	if c.tenants[r.tenant] == nil {
		return nil, errNotFound
	}
	return "Hello", nil
}

func (c *Core) apiVersion(*request) (any, error) { return reply{"versions": c.cfg.Versions}, nil }

func noBulkImport(*Core, *request) (any, error) {
	return nil, badRequest("This API is not supported in the in-memory database.")
}
