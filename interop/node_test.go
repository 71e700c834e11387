package interop

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

const (
	apiDomain = "https://api.example.com"
	website   = "https://app.example.com"
)

// node is a process with supertokens-node in it.
type node struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

// nodeSession is what supertokens-node tells of a session.
type nodeSession struct {
	UserID, Handle, TenantID string
	Payload                  map[string]any
	Tokens                   struct{ AccessToken, RefreshToken string }
	Revoked                  bool
	Error                    string
}

// startNode starts the driver, or skips the test where its packages are not installed and CI does not insist on them.
func startNode(t *testing.T, connectionURI string) *node {
	t.Helper()
	if _, err := os.Stat(filepath.Join("node", "node_modules", "supertokens-node")); err != nil {
		if os.Getenv("STMIGRATE_INTEROP") != "" {
			t.Fatal("STMIGRATE_INTEROP is set and supertokens-node is not installed: npm ci in interop/node")
		}
		t.Skip("supertokens-node is not installed: npm ci in interop/node")
	}
	cmd := exec.CommandContext(t.Context(), "node", "driver.mjs")
	cmd.Dir = "node"
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	n := &node{t: t, in: in, out: bufio.NewReader(out)}
	n.call(map[string]any{"call": "init", "connectionURI": connectionURI, "apiDomain": apiDomain, "websiteDomain": website})
	return n
}

func (n *node) try(args map[string]any) (s nodeSession) {
	n.t.Helper()
	line, err := json.Marshal(args)
	require.NoError(n.t, err)
	_, err = n.in.Write(append(line, '\n'))
	require.NoError(n.t, err)
	answer, err := n.out.ReadBytes('\n')
	require.NoError(n.t, err)
	require.NoError(n.t, json.Unmarshal(answer, &s), string(answer))
	return s
}

func (n *node) call(args map[string]any) nodeSession {
	n.t.Helper()
	s := n.try(args)
	require.Empty(n.t, s.Error, "%v", args["call"])
	return s
}

// both returns supertokens-node and stmigrate on one core: the one in memory, or a real one if the environment names it.
func both(t *testing.T) (*node, *stmigrate.Sessions) {
	t.Helper()
	uri := os.Getenv("SUPERTOKENS_CONNECTION_URI")
	if uri == "" {
		uri = stmigratetest.NewCore(t).URL
	}
	client, err := core.New(core.Config{ConnectionURI: uri})
	require.NoError(t, err)
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{Core: client, APIDomain: apiDomain, WebsiteOrigins: []string{website}})
	require.NoError(t, err)
	return startNode(t, uri), sessions
}

// verify verifies an access token in Go.
func verify(s *stmigrate.Sessions, accessToken string, checkDatabase bool) (*stmigrate.Session, http.Header, error) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer "+accessToken)
	w := httptest.NewRecorder()
	session, err := s.Verify(w, r, stmigrate.VerifyOptions{CheckDatabase: checkDatabase})
	return session, w.Header(), err
}

// post sends a bearer token to one of the two calls of Sessions.
func post(s *stmigrate.Sessions, path, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, nil)
	r.Header.Set("Authorization", "Bearer "+token)
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func TestMintedInGo(t *testing.T) {
	t.Parallel()
	n, s := both(t)
	tokens, err := s.CreateSession(t.Context(), httptest.NewRequest(http.MethodPost, "/migrate-session", nil), stmigrate.User{
		ID: "legacy|ada", AccessTokenPayload: map[string]any{"role": "admin", "name": "Ünï <&>"},
	})
	require.NoError(t, err)
	access, refresh := tokens.Header.Get("st-access-token"), tokens.Header.Get("st-refresh-token")

	for _, checkDatabase := range []bool{false, true} {
		seen := n.call(map[string]any{"call": "verify", "accessToken": access, "checkDatabase": checkDatabase})
		assert.Equal(t, "legacy|ada", seen.UserID)
		assert.Equal(t, tokens.Handle, seen.Handle)
		assert.Equal(t, "public", seen.TenantID)
		assert.Equal(t, "admin", seen.Payload["role"])
		assert.Equal(t, "Ünï <&>", seen.Payload["name"])
		assert.Equal(t, apiDomain+"/auth", seen.Payload["iss"])
	}

	refreshed := n.call(map[string]any{"call": "refresh", "refreshToken": refresh})
	assert.Equal(t, tokens.Handle, refreshed.Handle)
	session, _, err := verify(s, refreshed.Tokens.AccessToken, false)
	require.NoError(t, err)
	assert.Equal(t, "legacy|ada", session.UserID())

	assert.True(t, n.call(map[string]any{"call": "revoke", "handle": tokens.Handle}).Revoked)
	_, _, err = verify(s, refreshed.Tokens.AccessToken, true)
	require.ErrorIs(t, err, stmigrate.ErrNoSession, "dead in Go, too")
	pristine, err := s.Pristine(t.Context(), tokens)
	require.NoError(t, err)
	assert.False(t, pristine)
}

func TestMintedInNode(t *testing.T) {
	t.Parallel()
	n, s := both(t)
	minted := n.call(map[string]any{"call": "create", "userId": "legacy|bob", "payload": map[string]any{"plan": "pro"}})

	session, _, err := verify(s, minted.Tokens.AccessToken, true)
	require.NoError(t, err)
	assert.Equal(t, "legacy|bob", session.UserID())
	assert.Equal(t, minted.Handle, session.Handle())
	assert.Equal(t, "pro", session.AccessTokenPayload()["plan"])
	require.NoError(t, session.UpdateAccessTokenPayload(t.Context(), map[string]any{"plan": "free"}))

	w := post(s, "/auth/session/refresh", minted.Tokens.RefreshToken)
	require.Equal(t, 200, w.Code, w.Body)
	seen := n.call(map[string]any{"call": "verify", "accessToken": w.Header().Get("st-access-token"), "checkDatabase": true})
	assert.Equal(t, minted.Handle, seen.Handle)
	assert.Equal(t, "free", seen.Payload["plan"])

	// The first refresh token is spent now: theft, which ends the session on both sides.
	assert.Equal(t, 401, post(s, "/auth/session/refresh", minted.Tokens.RefreshToken).Code)
	assert.Equal(t, "UNAUTHORISED", n.try(map[string]any{"call": "verify", "accessToken": seen.Tokens.AccessToken, "checkDatabase": true}).Error)

	again := n.call(map[string]any{"call": "create", "userId": "legacy|bob", "payload": map[string]any{}})
	assert.Equal(t, 200, post(s, "/auth/signout", again.Tokens.AccessToken).Code)
	assert.Equal(t, "UNAUTHORISED", n.try(map[string]any{"call": "verify", "accessToken": again.Tokens.AccessToken, "checkDatabase": true}).Error)
}
