package sqltest

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/opaque"
	"github.com/stmigrate/stmigrate/revoke"
	"github.com/stmigrate/stmigrate/stmigratetest"
	"github.com/stmigrate/stmigrate/stores/sqlstore"
)

// node is a Migrator as a backend has it: keys by JWKS, a core over HTTP, PostgreSQL.
func node(t *testing.T, issuer *stmigratetest.Issuer, core *stmigratetest.Core, store *sqlstore.Store, with func(*stmigrate.Config)) *stmigrate.Migrator {
	t.Helper()
	verifier, err := stmigrate.NewJWKSVerifier(
		stmigrate.JWKSConfig{URL: issuer.JWKSURL()}, stmigrate.JWTConfig{Issuer: issuer.Issuer(), SkipAudienceCheck: true})
	require.NoError(t, err)
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{Core: core.Client(), APIDomain: "https://api.example.com",
		WebsiteOrigins: []string{"https://app.example.com"}})
	require.NoError(t, err)
	cfg := stmigrate.Config{
		Verifier: verifier, Sessions: sessions, Users: stmigrate.SubjectIsUserID, Exchanges: store, Revoker: stmigrate.LeaveToExpire,
		Secrets: [][]byte{bytes.Repeat([]byte("k"), 32)}, Lease: time.Hour,
	}
	with(&cfg)
	m, err := stmigrate.New(cfg)
	require.NoError(t, err)
	return m
}

func exchange(m *stmigrate.Migrator, token string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/migrate-session", nil)
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("St-Auth-Mode", "header")
	r.Header.Set("Idempotency-Key", "key of "+token[len(token)-24:])
	w := httptest.NewRecorder()
	m.ServeHTTP(w, r)
	return w
}

// runs are the pieces of what must be kept secret, in the forms that a dump may have them: as they are, in base64, and in hex,
// where a piece of 8 bytes could by chance be the digits of some time.
type runs map[string]struct{}

func (r runs) add(secret string) {
	for i := 0; i+16 <= len(secret); i += 4 {
		part := secret[i : i+16]
		r[part] = struct{}{}
		r[base64.StdEncoding.EncodeToString([]byte(part))[:16]] = struct{}{}
		r[hex.EncodeToString([]byte(part))[:24]] = struct{}{}
	}
}

// in returns a piece that text holds, or "".
func (r runs) in(text string) string {
	for i := range len(text) {
		for _, n := range []int{16, 24} {
			if i+n > len(text) {
				break
			}
			if _, ok := r[text[i:i+n]]; ok {
				return text[i : i+n]
			}
		}
	}
	return ""
}

// After many exchanges, with revocations that succeed, fail and are given up, nothing that is kept or told is of use to who reads it.
func TestNothingKeptOrToldHoldsAToken(t *testing.T) {
	const exchanges = 1000
	issuer, core := stmigratetest.NewIssuer(t), stmigratetest.NewCore(t)
	store, db := open(t, sqlstore.Postgres)

	var told struct {
		sync.Mutex
		bytes.Buffer
	}
	write := func(text string) {
		told.Lock()
		defer told.Unlock()
		told.WriteString(text)
	}
	n := 0
	m := node(t, issuer, core, store, func(c *stmigrate.Config) {
		c.RevokeAfter = time.Nanosecond // the worker's
		c.Logger = slog.New(slog.NewJSONHandler(writer(write), &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Observe = func(_ context.Context, e stmigrate.Event) { write(fmt.Sprintf("%+v\n", e)) }
		c.Revoker = stmigrate.RevokerFunc(func(_ context.Context, token string, _ *stmigrate.OldSession) error {
			if n++; n%3 == 0 { // a Revoker that tells too much
				return &stmigrate.RevokeError{Err: errors.New("the provider does not like " + token), Permanent: n%2 == 0}
			}
			return nil
		})
	})
	secrets := make(runs)
	for i := range exchanges {
		token := issuer.Token(stmigratetest.Claims{"sub": fmt.Sprintf("user-%d", i), "sid": fmt.Sprintf("the-legacy-session-%d", i)})
		w := exchange(m, token)
		require.Equal(t, http.StatusOK, w.Code, w.Body)
		secrets.add(token)
		secrets.add(fmt.Sprintf("the-legacy-session-%d", i))
		for _, name := range []string{"St-Access-Token", "St-Refresh-Token"} {
			require.NotEmpty(t, w.Header().Get(name))
			secrets.add(w.Header().Get(name))
		}
		assert.Equal(t, http.StatusUnauthorized, exchange(m, token+"A").Code)
	}
	for {
		tried, err := m.RevokeDue(t.Context(), stmigrate.RevocationConfig{Workers: 1, MaxAttempts: 1, Timeout: forever})
		require.NoError(t, err)
		if tried == 0 {
			break
		}
	}
	dead, err := m.DeadRevocations(t.Context(), stmigrate.ExchangeKey{}, exchanges)
	require.NoError(t, err)
	assert.Len(t, dead, exchanges/3)
	write(fmt.Sprintf("%+v", dead))

	dump := dumpOf(t, db, "stmigrate_exchanges") + dumpOf(t, db, "stmigrate_budgets")
	require.Contains(t, dump, "public|user-7", "this test would see plain text")
	require.Contains(t, told.String(), `"issuer"`)
	assert.Empty(t, secrets.in(dump), "the store")
	assert.Empty(t, secrets.in(told.String()), "logs, events and dead letters")
	token := issuer.Token(stmigratetest.Claims{"sub": "user-0"})
	for _, form := range []string{token, hex.EncodeToString([]byte(token)), base64.StdEncoding.EncodeToString([]byte(token))} {
		assert.NotEmpty(t, secrets.in(form), "a token's header is known: this test can fail")
	}
}

type writer func(string)

func (w writer) Write(p []byte) (int, error) {
	w(string(p))
	return len(p), nil
}

// Nodes that do not share their first secret cannot give each other's answers again, and never mint a second session.
func TestNodesWithDifferentSecrets(t *testing.T) {
	issuer, core := stmigratetest.NewIssuer(t), stmigratetest.NewCore(t)
	store, _ := open(t, sqlstore.Postgres)
	secret := func(c string) []byte { return bytes.Repeat([]byte(c), 32) }
	with := func(secrets ...[]byte) *stmigrate.Migrator {
		return node(t, issuer, core, store, func(c *stmigrate.Config) { c.Secrets = secrets })
	}
	first := with(secret("a"))
	token := issuer.Token(stmigratetest.Claims{"sub": "ada", "sid": "session-of-ada"})
	given := exchange(first, token)
	require.Equal(t, http.StatusOK, given.Code, given.Body)

	stranger := exchange(with(secret("b")), token)
	assert.Equal(t, http.StatusConflict, stranger.Code)
	assert.JSONEq(t, `{"status":"ALREADY_MIGRATED"}`, stranger.Body.String())

	rotated := exchange(with(secret("b"), secret("a")), token)
	assert.Equal(t, http.StatusOK, rotated.Code, rotated.Body)
	assert.Equal(t, given.Header().Get("St-Refresh-Token"), rotated.Header().Get("St-Refresh-Token"))
	assert.Len(t, core.Sessions(), 1)
}

// Two nodes on one database are shown one refresh token at once: it is redeemed once, and both give the same session.
func TestRefreshTokenOnTwoNodes(t *testing.T) {
	forEach(t, func(t *testing.T, d sqlstore.Dialect) {
		issuer := stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{ClientID: "website"})
		core := stmigratetest.NewCore(t)
		store, _ := open(t, d)
		legacy := issuer.SignIn("ada")
		var nodes []*stmigrate.Migrator
		for range 2 {
			accessTokens, err := stmigrate.NewJWKSVerifier(
				stmigrate.JWKSConfig{URL: issuer.JWKSURL()}, stmigrate.JWTConfig{Issuer: issuer.Issuer(), SkipAudienceCheck: true})
			require.NoError(t, err)
			refreshTokens, err := opaque.NewRefresh(opaque.RefreshConfig{
				Endpoint: issuer.TokenURL(), Client: revoke.ClientAuth{Method: revoke.PublicClient, ID: "website"}, Issuer: issuer.Issuer(),
				Verifier: accessTokens, HTTP: opaque.HTTP{AllowPrivate: []string{"127.0.0.1"}},
			})
			require.NoError(t, err)
			nodes = append(nodes, node(t, issuer, core, store, func(c *stmigrate.Config) { c.Verifier = stmigrate.FirstOf(refreshTokens, accessTokens) }))
		}
		answers := make([]*httptest.ResponseRecorder, 8)
		var wg sync.WaitGroup
		for i := range answers {
			wg.Go(func() { answers[i] = exchange(nodes[i%2], legacy.RefreshToken) })
		}
		wg.Wait()
		for _, w := range answers {
			assert.Equal(t, http.StatusOK, w.Code, w.Body)
			assert.Equal(t, answers[0].Header().Get("St-Refresh-Token"), w.Header().Get("St-Refresh-Token"))
		}
		assert.Len(t, core.Sessions(), 1)
		assert.Len(t, issuer.Requests("POST /token"), 1)
	})
}
