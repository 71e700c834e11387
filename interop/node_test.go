package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// ownClient's connections are no other test's to close.
var ownClient = &http.Client{Transport: new(http.Transport)}

const (
	apiDomain = "https://api.example.com"
	website   = "https://app.example.com"
	password  = "correct horse 7"
)

// backends are two of one API on one core: a real one if the environment names it, else the one in memory.
type backends struct {
	core   *core.Client
	legacy *stmigratetest.Issuer
	// ours is stmigrate behind net/http, node is supertokens-node behind Express. They have the same routes, but for the exchange,
	// which is ours, and for sign-up, sign-in and what asks for claims, which are node's.
	ours, node string
	sessions   *stmigrate.Sessions
}

type setup struct {
	// claims lets sessions minted in Go say what the SDK's recipes would: whether the e-mail is verified, roles and permissions.
	claims bool
	// notImported takes users whom the core does not know, with what the legacy token says of their e-mail.
	notImported bool
	// csrfToken protects cookies by a token; else SameSite does.
	csrfToken bool
}

// start starts both.
func start(t *testing.T, s setup) *backends {
	t.Helper()
	uri, apiKey := os.Getenv("SUPERTOKENS_CONNECTION_URI"), os.Getenv("SUPERTOKENS_API_KEY")
	if uri == "" {
		uri, apiKey = stmigratetest.NewCore(t).URL, ""
	}
	client, err := core.New(core.Config{
		ConnectionURI: uri, APIKey: apiKey,
		Timeout: time.Minute, HTTPClient: &http.Client{Transport: &http.Transport{}}, // the machine may be busy
	})
	require.NoError(t, err)
	b := &backends{core: client, legacy: stmigratetest.NewIssuer(t), node: startNode(t, uri, apiKey, s.csrfToken)}

	verifier, err := stmigrate.NewJWKSVerifier(
		stmigrate.JWKSConfig{URL: b.legacy.JWKSURL()},
		stmigrate.JWTConfig{Issuer: b.legacy.Issuer(), Audience: []string{"api"}})
	require.NoError(t, err)
	cfg := stmigrate.SessionsConfig{Core: client, APIDomain: apiDomain, WebsiteOrigins: []string{website}}
	if s.claims {
		cfg.Claims = b.claims
	}
	if s.csrfToken {
		cfg.AntiCSRF = stmigrate.AntiCSRFViaToken
	}
	b.sessions, err = stmigrate.NewSessions(cfg)
	require.NoError(t, err)
	users := stmigrate.UserResolverFunc(b.resolveImported)
	if s.notImported {
		users = resolveSubject
	}
	migrator, err := stmigrate.New(stmigrate.Config{
		Verifier: verifier, Sessions: b.sessions, Exchanges: stmigrate.NewMemoryExchanges(1000), Revoker: stmigrate.LeaveToExpire,
		Users: users, Origins: []string{website}, Lease: 10 * time.Minute, Grace: 20 * time.Minute, // on a busy machine, too
	})
	require.NoError(t, err)

	mux := http.NewServeMux()
	mux.Handle("/migrate-session", migrator)
	mux.Handle("/auth/", b.sessions)
	mux.Handle("GET /me", b.sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tell(w, r, stmigrate.SessionFrom(r.Context()))
	})))
	mux.Handle("POST /payload", b.sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var update map[string]any
		session := stmigrate.SessionFrom(r.Context())
		if err := errors.Join(json.NewDecoder(r.Body).Decode(&update), session.UpdateAccessTokenPayload(r.Context(), update)); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		tell(w, r, session)
	})))
	mux.HandleFunc("GET /me/now", func(w http.ResponseWriter, r *http.Request) {
		session, err := b.sessions.Verify(w, r, stmigrate.VerifyOptions{CheckDatabase: true})
		switch {
		case errors.Is(err, stmigrate.ErrNoSession):
			w.WriteHeader(http.StatusUnauthorized)
		case err != nil:
			http.Error(w, err.Error(), http.StatusInternalServerError)
		default:
			tell(w, r, session)
		}
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	b.ours = server.URL
	return b
}

func tell(w http.ResponseWriter, r *http.Request, s *stmigrate.Session) {
	data, err := s.SessionData(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"userId": s.UserID(), "handle": s.Handle(), "tenantId": s.TenantID(), "payload": s.AccessTokenPayload(), "data": data,
	})
}

func (b *backends) resolveImported(ctx context.Context, s *stmigrate.OldSession) (*stmigrate.User, error) {
	u, err := stmigrate.MappedUsers(b.core).ResolveUser(ctx, s)
	if err != nil {
		return nil, err
	}
	u.AccessTokenPayload = map[string]any{"name": "Ünï <&>"}
	u.SessionData = map[string]any{"cart": 3}
	return u, nil
}

func resolveSubject(_ context.Context, s *stmigrate.OldSession) (*stmigrate.User, error) {
	u := &stmigrate.User{ID: s.Subject}
	if verified, ok := s.Claims["email_verified"].(bool); ok {
		u.AccessTokenPayload = map[string]any{"st-ev": stmigrate.ClaimValue(verified, time.Now())}
	}
	return u, nil
}

// permissions of the roles that the tests give.
var permissions = map[string][]string{"admin": {"publish", "retract"}}

func (b *backends) claims(ctx context.Context, u stmigrate.User) (map[string]any, error) {
	user, err := b.core.UserByID(ctx, u.ID)
	if err != nil {
		return nil, err
	}
	verified, err := b.core.IsEmailVerified(ctx, u.ID, user.Email)
	if err != nil {
		return nil, err
	}
	roles, err := b.core.UserRoles(ctx, u.TenantID, u.ID)
	if err != nil {
		return nil, err
	}
	granted := []string{}
	for _, role := range roles {
		permissions, err := b.core.RolePermissions(ctx, role)
		if err != nil {
			return nil, err
		}
		granted = append(granted, permissions...)
	}
	now := time.Now()
	return map[string]any{
		"st-ev": stmigrate.ClaimValue(verified, now), "st-role": stmigrate.ClaimValue(roles, now), "st-perm": stmigrate.ClaimValue(granted, now),
	}, nil
}

// startNode starts the Express backend and returns where it listens, or skips the test where its packages are not installed
// and CI does not insist on them.
func startNode(t *testing.T, connectionURI, apiKey string, csrfToken bool) string {
	t.Helper()
	for _, name := range []string{"supertokens-node", "express"} {
		if _, err := os.Stat(filepath.Join("node", "node_modules", name)); err != nil {
			if os.Getenv("STMIGRATE_INTEROP") != "" {
				t.Fatalf("STMIGRATE_INTEROP is set and %s is not installed: npm ci in interop/node", name)
			}
			t.Skipf("%s is not installed: npm ci in interop/node", name)
		}
	}
	cmd := exec.CommandContext(t.Context(), "node", "server.mjs")
	cmd.Dir = "node"
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), "SUPERTOKENS_CONNECTION_URI="+connectionURI, "SUPERTOKENS_API_KEY="+apiKey,
		"API_DOMAIN="+apiDomain, "WEBSITE_DOMAIN="+website, "ANTI_CSRF="+map[bool]string{true: "VIA_TOKEN", false: "NONE"}[csrfToken])
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err, "server.mjs did not start")
	return strings.TrimSpace(line)
}

// person is a user in the core who is signed in at the legacy provider.
type person struct{ id, email string }

// imported puts a user into the core as an import does: with the legacy ID, and with what legacy knew.
func (b *backends) imported(t *testing.T, verified bool, roles ...string) person {
	t.Helper()
	p := person{id: "legacy|" + rand.Text(), email: strings.ToLower(rand.Text()) + "@example.com"}
	user, err := b.core.SignUp(t.Context(), "public", p.email, password)
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.core.DeleteUser(context.WithoutCancel(t.Context()), user.ID) })
	require.NoError(t, b.core.CreateUserIDMapping(t.Context(), core.UserIDMapping{SuperTokensID: user.ID, ExternalID: p.id}, false))
	if verified {
		b.verifyEmail(t, p)
	}
	for _, role := range roles {
		_, err := b.core.CreateRole(t.Context(), role, permissions[role]...)
		require.NoError(t, err)
		_, err = b.core.AddUserRole(t.Context(), "public", p.id, role)
		require.NoError(t, err)
	}
	return p
}

func (b *backends) verifyEmail(t *testing.T, p person) {
	t.Helper()
	token, err := b.core.CreateEmailToken(t.Context(), "public", p.id, p.email)
	require.NoError(t, err)
	_, _, err = b.core.VerifyEmail(t.Context(), "public", token)
	require.NoError(t, err)
}

// client is a frontend. It keeps the tokens that either backend gives it, as browsers and the frontend SDKs do; a copy of it
// has what was stolen, or what a second tab still holds.
type client struct {
	t                     *testing.T
	mode                  string // of st-auth-mode
	access, refresh, csrf string
}

type answer struct {
	t      *testing.T
	status int
	header http.Header
	body   map[string]any
}

const refreshPath = "/auth/session/refresh"

// send sends a request with the client's tokens, but for an Authorization that header has.
func (c *client) send(method, url string, header map[string]string, body any) answer {
	c.t.Helper()
	var text []byte
	if body != nil {
		var err error
		text, err = json.Marshal(body)
		require.NoError(c.t, err)
	}
	r, err := http.NewRequestWithContext(c.t.Context(), method, url, bytes.NewReader(text))
	require.NoError(c.t, err)
	refresh := strings.HasSuffix(url, refreshPath)
	r.Header.Set("St-Auth-Mode", c.mode)
	r.Header.Set("Rid", "anti-csrf")
	if c.csrf != "" {
		r.Header.Set("Anti-Csrf", c.csrf)
	}
	r.Header.Set("Origin", website)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	switch {
	case c.mode == "cookie":
		if c.access != "" {
			r.Header.Add("Cookie", "sAccessToken="+c.access)
		}
		if refresh && c.refresh != "" {
			r.Header.Set("Cookie", strings.TrimPrefix(r.Header.Get("Cookie")+"; sRefreshToken="+c.refresh, "; "))
		}
	case refresh && c.refresh != "":
		r.Header.Set("Authorization", "Bearer "+c.refresh)
	case !refresh && c.access != "":
		r.Header.Set("Authorization", "Bearer "+c.access)
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	resp, err := ownClient.Do(r)
	require.NoError(c.t, err)
	defer func() { _ = resp.Body.Close() }()
	a := answer{t: c.t, status: resp.StatusCode, header: resp.Header}
	_ = json.NewDecoder(resp.Body).Decode(&a.body)
	c.keep(resp)
	return a
}

func (c *client) keep(resp *http.Response) {
	for _, cookie := range resp.Cookies() {
		token := map[string]*string{"sAccessToken": &c.access, "sRefreshToken": &c.refresh}[cookie.Name]
		require.NotNil(c.t, token, "a cookie %s", cookie.Name)
		require.Equal(c.t, map[string]string{"sAccessToken": "/", "sRefreshToken": refreshPath}[cookie.Name], cookie.Path)
		if c.mode == "cookie" {
			*token = cookie.Value
		}
	}
	if token := resp.Header.Get("Anti-Csrf"); token != "" {
		c.csrf = token
	}
	for name, token := range map[string]*string{"St-Access-Token": &c.access, "St-Refresh-Token": &c.refresh} {
		if values := resp.Header.Values(name); len(values) > 0 && c.mode == "header" {
			*token = values[0]
		}
	}
}

func (c *client) get(url string) answer {
	c.t.Helper()
	return c.send(http.MethodGet, url, nil, nil)
}
func (c *client) post(url string, body any) answer {
	c.t.Helper()
	return c.send(http.MethodPost, url, nil, body)
}

// exchange shows a legacy token: as the bearer, or, where the client has one of its own there, in the body.
func (c *client) exchange(b *backends, token string) answer {
	c.t.Helper()
	if c.mode == "header" && c.access != "" {
		return c.post(b.ours+"/migrate-session", map[string]string{"access_token": token})
	}
	return c.send(http.MethodPost, b.ours+"/migrate-session", map[string]string{"Authorization": "Bearer " + token}, nil)
}

// sign calls node's sign-up or sign-in.
func (c *client) sign(b *backends, path, email string) answer {
	c.t.Helper()
	a := c.post(b.node+path, map[string]any{"formFields": []map[string]string{{"id": "email", "value": email}, {"id": "password", "value": password}}})
	return a.is(200).says("status", "OK")
}

func (a answer) is(status int) answer {
	a.t.Helper()
	require.Equal(a.t, status, a.status, "%v", a.body)
	return a
}

// says checks a member of the answer by its path ("payload.plan").
func (a answer) says(path string, want any) answer {
	a.t.Helper()
	require.Equal(a.t, want, a.at(path), "%s of %v", path, a.body)
	return a
}

func (a answer) at(path string) any {
	var v any = a.body
	for name := range strings.SplitSeq(path, ".") {
		object, _ := v.(map[string]any)
		v = object[name]
	}
	return v
}

// lacks checks that it is the SDK's answer to a session whose claim is not what an API asks for.
func (a answer) lacks(claim string) {
	a.t.Helper()
	a.is(403).says("message", "invalid claim")
	failed, _ := a.body["claimValidationErrors"].([]any)
	require.Len(a.t, failed, 1)
	require.Equal(a.t, claim, failed[0].(map[string]any)["id"])
}

// inBothModes runs a test with tokens in cookies and in headers.
func inBothModes(t *testing.T, b *backends, test func(t *testing.T, b *backends, newClient func() *client)) {
	for _, mode := range []string{"cookie", "header"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			test(t, b, func() *client { return &client{t: t, mode: mode} })
		})
	}
}

func TestMintedInGo(t *testing.T) {
	t.Parallel()
	inBothModes(t, start(t, setup{claims: true}), func(t *testing.T, b *backends, newClient func() *client) {
		ada := b.imported(t, true, "admin")
		token, c := b.legacy.Token(stmigratetest.Claims{"sub": ada.id}), newClient()
		c.exchange(b, token).is(200).says("status", "OK")
		minted := *c

		me := c.get(b.node+"/me").is(200).says("userId", ada.id).says("tenantId", "public").
			says("payload.name", "Ünï <&>").says("payload.iss", apiDomain+"/auth").says("data.cart", 3.0)
		c.get(b.node + "/me/now").is(200)
		c.get(b.node + "/admin").is(200)
		c.get(b.node + "/publish").is(200)
		assert.True(t, minted == *c, "the SDK takes the claims as they are, and sends no token of its own")

		c.post(b.node+refreshPath, nil).is(200)
		require.False(t, minted.refresh == c.refresh, "the refresh token is another")
		for _, url := range []string{b.ours + "/me", b.ours + "/me/now", b.node + "/me", b.node + "/admin"} {
			c.get(url).is(200).says("handle", me.at("handle")).says("payload.st-ev.v", true)
		}

		second := *c // a second tab, and below a third one, with a token that nobody has used yet
		c.post(b.node+refreshPath, nil).is(200)
		third := *c
		c.post(b.node+"/auth/signout", nil).is(200).says("status", "OK")
		assert.Empty(t, c.access+c.refresh, "the SDK takes the tokens from the client")
		c.get(b.ours+"/me").is(401).says("message", "unauthorised")
		c.get(b.ours + "/me/now").is(401)
		second.get(b.ours + "/me/now").is(401)
		second.post(b.ours+refreshPath, nil).is(401).says("message", "unauthorised")
		third.get(b.ours+"/me").is(401).says("message", "unauthorised") // for the first use of a token the core is asked anyway
		newClient().exchange(b, token).is(409).says("status", "ALREADY_MIGRATED")
	})
}

// A session that was not refreshed before its end could be replayed, if nobody asked the core.
func TestSignedOutInNodeAtOnce(t *testing.T) {
	t.Parallel()
	inBothModes(t, start(t, setup{claims: true}), func(t *testing.T, b *backends, newClient func() *client) {
		token, c := b.legacy.Token(stmigratetest.Claims{"sub": b.imported(t, true).id}), newClient()
		c.exchange(b, token).is(200)
		again := newClient()
		again.exchange(b, token).is(200)
		require.True(t, *c == *again, "within Grace it is the same session")
		c.post(b.node+"/auth/signout", nil).is(200)
		again.get(b.ours + "/me/now").is(401)
		again.exchange(b, token).is(409).says("status", "ALREADY_MIGRATED")
		newClient().exchange(b, token).is(409).says("status", "ALREADY_MIGRATED")
	})
}

func TestClaimsThatNodeRefuses(t *testing.T) {
	t.Parallel()
	inBothModes(t, start(t, setup{claims: true}), func(t *testing.T, b *backends, newClient func() *client) {
		bob, c := b.imported(t, false, "admin"), newClient()
		c.exchange(b, b.legacy.Token(stmigratetest.Claims{"sub": bob.id})).is(200)
		c.get(b.node + "/me").lacks("st-ev")
		c.get(b.node + "/admin").lacks("st-ev")
		// As the frontend SDK does when it comes back from the link in the mail.
		b.verifyEmail(t, bob)
		c.get(b.node+"/auth/user/email/verify").is(200).says("isVerified", true)
		c.get(b.node + "/me").is(200)
		c.get(b.ours+"/me").is(200).says("userId", bob.id).says("payload.st-ev.v", true)

		cy, c := b.imported(t, true), newClient()
		c.exchange(b, b.legacy.Token(stmigratetest.Claims{"sub": cy.id})).is(200)
		c.get(b.node + "/me").is(200)
		c.get(b.node + "/admin").lacks("st-role")
		c.get(b.node + "/publish").lacks("st-perm")
	})
}

// Without SessionsConfig.Claims the SDK looks up what it misses, and sends a token that has it.
func TestClaimsThatNodeFetches(t *testing.T) {
	t.Parallel()
	inBothModes(t, start(t, setup{}), func(t *testing.T, b *backends, newClient func() *client) {
		ada, c := b.imported(t, true, "admin"), newClient()
		c.exchange(b, b.legacy.Token(stmigratetest.Claims{"sub": ada.id})).is(200)
		minted := c.access
		c.get(b.node + "/publish").is(200)
		assert.False(t, minted == c.access, "the SDK sends a token with the claims")
		c.get(b.ours+"/me/now").is(200).says("payload.st-ev.v", true).says("payload.st-perm.v", []any{"publish", "retract"}).
			says("payload.name", "Ünï <&>")

		bob, c := b.imported(t, false), newClient()
		c.exchange(b, b.legacy.Token(stmigratetest.Claims{"sub": bob.id})).is(200)
		c.get(b.node + "/me").lacks("st-ev")
	})
}

func TestMintedInNode(t *testing.T) {
	t.Parallel()
	inBothModes(t, start(t, setup{claims: true}), func(t *testing.T, b *backends, newClient func() *client) {
		email, c := strings.ToLower(rand.Text())+"@example.com", newClient()
		signedUp := c.sign(b, "/auth/signup", email)
		id, _ := signedUp.at("user.id").(string)
		t.Cleanup(func() { _ = b.core.DeleteUser(context.WithoutCancel(t.Context()), id) })
		c.get(b.node + "/me").lacks("st-ev")
		c.post(b.node+"/auth/user/email/verify/token", nil).is(200).says("status", "OK")
		mail := c.get(b.node + "/mails/" + email).is(200)
		c.post(b.node+"/auth/user/email/verify", map[string]any{"method": "token", "token": mail.at("token")}).is(200).says("status", "OK")
		c.post(b.node+"/auth/signout", nil).is(200)

		c.sign(b, "/auth/signin", email)
		me := c.get(b.node+"/me").is(200).says("userId", id)
		for _, path := range []string{"/me", "/me/now"} {
			c.get(b.ours+path).is(200).says("userId", id).says("tenantId", "public").says("handle", me.at("handle")).says("payload.st-ev.v", true)
		}

		c.post(b.ours+"/payload", map[string]any{"plan": "pro", "seats": 5}).is(200).says("payload.plan", "pro")
		c.get(b.node+"/me").is(200).says("payload.plan", "pro").says("payload.st-ev.v", true).says("payload.iss", me.at("payload.iss"))
		c.post(b.node+"/payload", map[string]any{"plan": "free", "seats": nil}).is(200)
		c.get(b.ours+"/me").is(200).says("payload.plan", "free").says("payload.seats", nil)

		before := *c
		c.post(b.ours+refreshPath, nil).is(200)
		require.False(t, before.refresh == c.refresh, "the refresh token is another")
		c.get(b.node+"/me/now").is(200).says("handle", me.at("handle")).says("payload.plan", "free")
		before.post(b.ours+refreshPath, nil).is(401).says("message", "token theft detected")
		c.get(b.node + "/me/now").is(401)
		c.get(b.ours + "/me/now").is(401)

		c = newClient()
		c.sign(b, "/auth/signin", email)
		other := *c
		c.post(b.ours+"/auth/signout", nil).is(200).says("status", "OK")
		assert.Empty(t, c.access+c.refresh)
		c.get(b.node+"/me").is(401).says("message", "unauthorised")
		other.get(b.node+"/me/now").is(401).says("message", "unauthorised")
		other.post(b.node+refreshPath, nil).is(401).says("message", "unauthorised")

		c = newClient()
		c.sign(b, "/auth/signin", email)
		ended, err := b.sessions.RevokeUser(t.Context(), "public", id)
		require.NoError(t, err)
		assert.Equal(t, 1, ended)
		c.get(b.node + "/me/now").is(401)
	})
}

// A client that signed in at node and still has a legacy session keeps the one that it has.
func TestExchangeBesideASessionOfNode(t *testing.T) {
	t.Parallel()
	inBothModes(t, start(t, setup{claims: true}), func(t *testing.T, b *backends, newClient func() *client) {
		ada, bob, c := b.imported(t, true), b.imported(t, true), newClient()
		c.sign(b, "/auth/signin", ada.email)
		me, signedIn := c.get(b.node+"/me").is(200).says("userId", ada.id), *c
		c.exchange(b, b.legacy.Token(stmigratetest.Claims{"sub": bob.id})).is(409).says("status", "OTHER_SESSION")
		token := b.legacy.Token(stmigratetest.Claims{"sub": ada.id})
		c.exchange(b, token).is(200).says("status", "OK")
		assert.True(t, signedIn == *c, "nothing was minted")
		c.get(b.ours+"/me/now").is(200).says("handle", me.at("handle"))

		c.post(b.node+"/auth/signout", nil).is(200)
		newClient().exchange(b, token).is(409).says("status", "ALREADY_MIGRATED")
	})
}

// SubjectIsUserID, say, gives sessions to users who are not imported. The SDK can look nothing up for them, and an API of its that
// asks for a verified e-mail fails; so the session has to say it.
func TestUsersThatTheCoreDoesNotKnow(t *testing.T) {
	t.Parallel()
	inBothModes(t, start(t, setup{notImported: true}), func(t *testing.T, b *backends, newClient func() *client) {
		id, c := "legacy|"+rand.Text(), newClient()
		c.exchange(b, b.legacy.Token(stmigratetest.Claims{"sub": id, "email_verified": true})).is(200)
		c.get(b.node+"/me").is(200).says("userId", id)
		c.post(b.node+refreshPath, nil).is(200)
		c.get(b.node+"/me/now").is(200).says("payload.st-ev.v", true)
		c.get(b.node + "/admin").lacks("st-role")

		c = newClient()
		c.exchange(b, b.legacy.Token(stmigratetest.Claims{"sub": id, "email_verified": false})).is(200)
		c.get(b.node + "/me").lacks("st-ev")

		c = newClient()
		c.exchange(b, b.legacy.Token(stmigratetest.Claims{"sub": id})).is(200)
		c.get(b.node+"/me").is(500).says("message", "Error: UNKNOWN_USER_ID")
	})
}

func TestAntiCSRFToken(t *testing.T) {
	t.Parallel()
	b := start(t, setup{claims: true, csrfToken: true})
	newClient := func() *client { return &client{t: t, mode: "cookie"} }
	ada := b.imported(t, true)
	guarded := func(c *client) {
		t.Helper()
		require.NotEmpty(t, c.csrf)
		foreign := *c // another site's page, which the browser gives the cookies
		foreign.csrf = ""
		for _, url := range []string{b.node, b.ours} {
			foreign.post(url+"/payload", map[string]any{"x": 1}).is(401).says("message", "try refresh token")
			c.post(url+"/payload", map[string]any{"y": 2}).is(200).says("payload.x", nil)
		}
		foreign.post(b.node+refreshPath, nil).is(401)
		foreign.post(b.ours+refreshPath, nil).is(401)
	}
	c := newClient()
	c.exchange(b, b.legacy.Token(stmigratetest.Claims{"sub": ada.id})).is(200)
	guarded(c)
	c.post(b.node+refreshPath, nil).is(200)
	guarded(c)
	c.post(b.node+"/auth/signout", nil).is(200)

	c = newClient()
	c.sign(b, "/auth/signin", ada.email)
	guarded(c)
	c.post(b.ours+refreshPath, nil).is(200)
	guarded(c)
	c.post(b.ours+"/auth/signout", nil).is(200)
}
