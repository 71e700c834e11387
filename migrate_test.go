package stmigrate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// clock is a clock that only Advance moves.
type clock struct{ ns atomic.Int64 }

func newClock() *clock {
	c := new(clock)
	c.ns.Store(time.Now().UnixNano())
	return c
}

func (c *clock) Now() time.Time          { return time.Unix(0, c.ns.Load()) }
func (c *clock) Advance(d time.Duration) { c.ns.Add(int64(d)) }

// rig is a migrator on fakes.
type rig struct {
	*stmigrate.Migrator
	verifier *stmigratetest.FakeVerifier
	sessions *stmigratetest.FakeSessions
	store    *stmigrate.MemoryExchanges
	clock    *clock
	mu       sync.Mutex
	events   []stmigrate.Event
	revoked  []string
}

func newRig(t *testing.T, change ...func(*stmigrate.Config)) *rig {
	t.Helper()
	r := &rig{
		verifier: new(stmigratetest.FakeVerifier), clock: newClock(), store: stmigrate.NewMemoryExchanges(1000),
	}
	r.sessions = &stmigratetest.FakeSessions{Now: r.clock.Now}
	cfg := stmigrate.Config{
		Verifier: r.verifier, Sessions: r.sessions, Users: stmigrate.SubjectIsUserID, Exchanges: r.store,
		Revoker: stmigrate.RevokerFunc(func(_ context.Context, token string, _ *stmigrate.OldSession) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.revoked = append(r.revoked, token)
			r.verifier.Remove(token)
			return nil
		}),
		Observe: func(_ context.Context, e stmigrate.Event) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.events = append(r.events, e)
		},
		Now: r.clock.Now,
	}
	for _, c := range change {
		c(&cfg)
	}
	m, err := stmigrate.New(cfg)
	require.NoError(t, err)
	r.Migrator = m
	return r
}

// leave keeps the legacy session alive, so that what is tested is the exchange store and not the verifier.
func leave(c *stmigrate.Config) { c.Revoker = stmigrate.LeaveToExpire }

func (r *rig) post(token string, header ...string) *httptest.ResponseRecorder {
	req := httptest.NewRequest(http.MethodPost, "https://api.example.com/migrate-session", nil)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return r.do(req)
}

func (r *rig) do(req *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	r.ServeHTTP(w, req)
	return w
}

func (r *rig) outcomes(name string) (out []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.Name == name {
			out = append(out, e.Outcome)
		}
	}
	return out
}

func (r *rig) add(token, subject, sid, jti string) {
	r.verifier.Add(token, stmigrate.OldSession{
		Subject: subject, SessionID: sid, TokenID: jti, AuthTime: r.clock.Now().Add(-time.Minute), ExpiresAt: r.clock.Now().Add(time.Hour),
	})
}

// expect asserts status and body of an answer, and that only a success carries tokens.
func expect(t *testing.T, w *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	assert.Equal(t, status, w.Code, w.Body.String())
	assert.Equal(t, `{"status":"`+code+`"}`, w.Body.String())
	assert.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	if code != "OK" {
		assert.Empty(t, stmigratetest.AccessTokens(w.Header()))
	}
}

func accessToken(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	tokens := stmigratetest.AccessTokens(w.Header())
	require.Len(t, tokens, 1)
	return tokens[0]
}

func TestNewNamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	shared := struct{ stmigrate.ExchangeStore }{stmigrate.NewMemoryExchanges(1)}
	minterOnly := struct{ stmigrate.SessionMinter }{new(stmigratetest.FakeSessions)}
	for name, tt := range map[string]struct {
		change func(*stmigrate.Config)
		want   string
	}{
		"verifier":                    {func(c *stmigrate.Config) { c.Verifier = nil }, "Config.Verifier is required"},
		"sessions":                    {func(c *stmigrate.Config) { c.Sessions = nil }, "Config.Sessions is required"},
		"users":                       {func(c *stmigrate.Config) { c.Users = nil }, "Config.Users is required"},
		"exchanges":                   {func(c *stmigrate.Config) { c.Exchanges = nil }, "Config.Exchanges is required"},
		"revoker":                     {func(c *stmigrate.Config) { c.Revoker = nil }, "Config.Revoker is required"},
		"verifier that is a nil func": {func(c *stmigrate.Config) { c.Verifier = stmigrate.VerifierFunc(nil) }, "Config.Verifier is required"},
		"verifier that is a nil JWT":  {func(c *stmigrate.Config) { c.Verifier = (*stmigrate.JWTVerifier)(nil) }, "Config.Verifier is required"},
		"first of none":               {func(c *stmigrate.Config) { c.Verifier = stmigrate.FirstOf() }, "Config.Verifier is required"},
		"first of nil":                {func(c *stmigrate.Config) { c.Verifier = stmigrate.FirstOf(c.Verifier, nil) }, "Config.Verifier is required"},
		"sessions that are nil":       {func(c *stmigrate.Config) { c.Sessions = (*stmigrate.Sessions)(nil) }, "Config.Sessions is required"},
		"users that are a nil func":   {func(c *stmigrate.Config) { c.Users = stmigrate.UserResolverFunc(nil) }, "Config.Users is required"},
		"mapped users of no core":     {func(c *stmigrate.Config) { c.Users = stmigrate.MappedUsers(nil) }, "Config.Users is required"},
		"exchanges that are nil":      {func(c *stmigrate.Config) { c.Exchanges = (*stmigrate.MemoryExchanges)(nil) }, "Config.Exchanges is required"},
		"revoker that is a nil func":  {func(c *stmigrate.Config) { c.Revoker = stmigrate.RevokerFunc(nil) }, "Config.Revoker is required"},
		"two bodies": {func(c *stmigrate.Config) {
			c.Origins, c.Extract = []string{website}, []stmigrate.Extractor{stmigrate.FromJSON("a"), stmigrate.FromJSON("b")}
		}, "a body can be read once"},
		"cookie without a name": {func(c *stmigrate.Config) {
			c.Origins, c.Extract = []string{website}, []stmigrate.Extractor{stmigrate.FromCookie("")}
		}, "names nothing"},
		"origin with a user":      {func(c *stmigrate.Config) { c.Origins = []string{"https://u:p@a.example"} }, "Config.Origins"},
		"origin with a star":      {func(c *stmigrate.Config) { c.Origins = []string{"https://*.example.com"} }, "Config.Origins"},
		"origin with a query":     {func(c *stmigrate.Config) { c.Origins = []string{"https://a.example?"} }, "Config.Origins"},
		"lease of a day":          {func(c *stmigrate.Config) { c.Lease = 24 * time.Hour }, "Config.Lease"},
		"shared store, no secret": {func(c *stmigrate.Config) { c.Exchanges = shared }, "Config.Secrets is required"},
		"short secret":            {func(c *stmigrate.Config) { c.Secrets = [][]byte{make([]byte, 31)} }, "Config.Secrets[0] has 31 bytes"},
		"shared store, no finder": {func(c *stmigrate.Config) { c.Exchanges, c.Sessions = shared, minterOnly }, "Config.Sessions must be a SessionFinder"},
		"cookie without origins":  {func(c *stmigrate.Config) { c.Extract = []stmigrate.Extractor{stmigrate.FromCookie("s")} }, "Config.Origins is required"},
		"json without origins":    {func(c *stmigrate.Config) { c.Extract = []stmigrate.Extractor{stmigrate.FromJSON("t")} }, "Config.Origins is required"},
		"no extractor":            {func(c *stmigrate.Config) { c.Extract = []stmigrate.Extractor{} }, "Config.Extract is empty"},
		"zero extractor":          {func(c *stmigrate.Config) { c.Extract = []stmigrate.Extractor{{}} }, "Config.Extract[0] is empty"},
		"origin with a path":      {func(c *stmigrate.Config) { c.Origins = []string{"https://a.example/x"} }, "Config.Origins"},
		"origin without a scheme": {func(c *stmigrate.Config) { c.Origins = []string{"a.example"} }, "Config.Origins"},
		"wildcard origin":         {func(c *stmigrate.Config) { c.Origins = []string{"*"} }, "Config.Origins"},
		"null origin":             {func(c *stmigrate.Config) { c.Origins = []string{"null"} }, "Config.Origins"},
		"negative lease":          {func(c *stmigrate.Config) { c.Lease = -1 }, "Config.Lease"},
		"negative grace":          {func(c *stmigrate.Config) { c.Grace = -1 }, "Config.Grace"},
		"unknown mode":            {func(c *stmigrate.Config) { c.Mode = 7 }, "Config.Mode 7"},
		"revoke in the past":      {func(c *stmigrate.Config) { c.RevokeAfter = -1 }, "Config.RevokeAfter is -1ns"},
		"revoke later, required":  {func(c *stmigrate.Config) { soon(c); c.RevokePolicy = stmigrate.RevokeRequired }, "is RevokeRequired"},
		"revoke later, none":      {func(c *stmigrate.Config) { soon(c); leave(c) }, "LeaveToExpire, which revokes nothing"},
		"revoke later, no outbox": {func(c *stmigrate.Config) {
			soon(c)
			c.Exchanges, c.Secrets = shared, [][]byte{make([]byte, 32)}
		}, "no RevocationOutbox"},
		"epoch, no store of epochs": {func(c *stmigrate.Config) {
			c.Epoch, c.Exchanges, c.Secrets = "one", shared, [][]byte{make([]byte, 32)}
		}, "an EpochStore as Config.Exchanges"},
		"epoch that is a novel":       {func(c *stmigrate.Config) { c.Epoch = strings.Repeat("x", 65) }, "Config.Epoch is 65 bytes"},
		"unknown policy":              {func(c *stmigrate.Config) { c.RevokePolicy = 7 }, "Config.RevokePolicy 7"},
		"revocation required of none": {func(c *stmigrate.Config) { c.RevokePolicy = stmigrate.RevokeRequired; leave(c) }, "LeaveToExpire, which revokes nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := stmigrate.Config{
				Verifier: new(stmigratetest.FakeVerifier), Sessions: new(stmigratetest.FakeSessions), Users: stmigrate.SubjectIsUserID,
				Exchanges: stmigrate.NewMemoryExchanges(1),
				Revoker:   stmigrate.RevokerFunc(func(context.Context, string, *stmigrate.OldSession) error { return nil }),
			}
			_, err := stmigrate.New(cfg)
			require.NoError(t, err)
			tt.change(&cfg)
			m, err := stmigrate.New(cfg)
			require.ErrorContains(t, err, tt.want)
			assert.Nil(t, m)
		})
	}
}

// TestOneIssuerPerSubject: where users go by their subject alone, two issuers would make one person of two.
func TestOneIssuerPerSubject(t *testing.T) {
	t.Parallel()
	verifier := func(issuer string) stmigrate.OldSessionVerifier {
		v, err := stmigrate.NewStaticKeyVerifier([]stmigrate.Key{stmigrate.HMACKey(bytes.Repeat([]byte("k"), 32))},
			stmigrate.JWTConfig{Issuer: issuer, Audience: []string{"api"}, Algorithms: []string{"HS256"}})
		require.NoError(t, err)
		return v
	}
	client, err := core.New(core.Config{ConnectionURI: "http://127.0.0.1:1"})
	require.NoError(t, err)
	own := stmigrate.UserResolverFunc(func(context.Context, *stmigrate.OldSession) (*stmigrate.User, error) { return nil, nil })
	a, b := verifier("https://a.example/"), verifier("https://b.example/")
	for name, tt := range map[string]struct {
		verifier stmigrate.OldSessionVerifier
		users    stmigrate.UserResolver
		ok       bool
	}{
		"subject, one issuer":                {a, stmigrate.SubjectIsUserID, true},
		"subject, two issuers":               {stmigrate.FirstOf(a, b), stmigrate.SubjectIsUserID, false},
		"subject, two issuers, nested":       {stmigrate.FirstOf(stmigrate.FirstOf(a), stmigrate.FirstOf(b)), stmigrate.SubjectIsUserID, false},
		"subject, two verifiers, one issuer": {stmigrate.FirstOf(a, verifier("https://a.example/")), stmigrate.SubjectIsUserID, true},
		"mapping, two issuers":               {stmigrate.FirstOf(a, b), stmigrate.MappedUsers(client), false},
		"own resolver, two issuers":          {stmigrate.FirstOf(a, b), own, true},
	} {
		_, err := stmigrate.New(stmigrate.Config{
			Verifier: tt.verifier, Users: tt.users, Sessions: new(stmigratetest.FakeSessions),
			Exchanges: stmigrate.NewMemoryExchanges(1), Revoker: stmigrate.LeaveToExpire,
		})
		if tt.ok {
			require.NoError(t, err, name)
		} else {
			require.ErrorContains(t, err, "2 issuers", name)
		}
	}
}

func TestStatusTable(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err          error
		status       int
		code         string
		header, want string
	}{
		{stmigrate.ErrNoToken, 401, "NO_LEGACY_SESSION", "WWW-Authenticate", "Bearer"},
		{stmigrate.ErrInvalidSession, 401, "INVALID_LEGACY_SESSION", "WWW-Authenticate", `Bearer error="invalid_token"`},
		{stmigrate.ErrExpiredSession, 401, "INVALID_LEGACY_SESSION", "WWW-Authenticate", `Bearer error="invalid_token"`},
		{stmigrate.ErrNotMine, 401, "INVALID_LEGACY_SESSION", "WWW-Authenticate", `Bearer error="invalid_token"`},
		{stmigrate.ErrBadRequest, 400, "BAD_REQUEST", "", ""},
		{stmigrate.ErrForbiddenOrigin, 403, "FORBIDDEN_ORIGIN", "", ""},
		{stmigrate.ErrUnknownUser, 403, "UNKNOWN_USER", "", ""},
		{stmigrate.ErrAlreadyMigrated, 409, "ALREADY_MIGRATED", "", ""},
		{stmigrate.ErrOtherSession, 409, "OTHER_SESSION", "", ""},
		{stmigrate.ErrRevokeFailed, 502, "LEGACY_REVOCATION_FAILED", "", ""},
		{stmigrate.ErrUnavailable, 503, "UNAVAILABLE", "Retry-After", "1"},
		{errors.New("a secret detail"), 500, "INTERNAL_ERROR", "", ""},
	} {
		t.Run(tt.err.Error(), func(t *testing.T) {
			w := httptest.NewRecorder()
			stmigrate.RenderError(w, nil, &stmigrate.Error{Step: "verify", Err: fmt.Errorf("%w: a secret detail", tt.err)})
			expect(t, w, tt.status, tt.code)
			if tt.header != "" {
				assert.Equal(t, tt.want, w.Header().Get(tt.header))
			}
		})
	}
	status, code := stmigrate.StatusOf(nil)
	assert.Equal(t, 200, status)
	assert.Equal(t, "OK", code)
}

func TestOneExchange(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.add("tok", "user-1", "sid-1", "")
	w := r.post("tok")
	expect(t, w, 200, "OK")
	accessToken(t, w)
	live := r.sessions.Live()
	require.Len(t, live, 1)
	assert.Equal(t, "user-1", live[0].UserID)
	assert.Equal(t, "public", live[0].TenantID)
	assert.Equal(t, []string{"tok"}, r.revoked)
	assert.Equal(t, []string{"migrated"}, r.outcomes("exchange"))
	assert.Equal(t, []string{"revoked"}, r.outcomes("revoke"))
	e := r.events[len(r.events)-1]
	assert.Equal(t, "sid", e.Kind)
	assert.Equal(t, "https://legacy.test/", e.Issuer)
	assert.NotContains(t, e.SubjectHash, "user-1")
	assert.Len(t, e.SubjectHash, 24)
}

func TestMethods(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.add("tok", "user-1", "", "")
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete} {
		req := httptest.NewRequest(method, "/migrate-session", nil)
		req.Header.Set("Authorization", "Bearer tok")
		w := r.do(req)
		assert.Equal(t, 405, w.Code, method)
		assert.Equal(t, "POST", w.Header().Get("Allow"), method)
		_, err := r.Migrate(httptest.NewRecorder(), req)
		require.ErrorIs(t, err, stmigrate.ErrBadRequest, method)
	}
	assert.Zero(t, r.sessions.Created())
}

func TestFailuresByClass(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	resolver := func(u *stmigrate.User, err error) func(*stmigrate.Config) {
		return func(c *stmigrate.Config) {
			c.Users = stmigrate.UserResolverFunc(func(context.Context, *stmigrate.OldSession) (*stmigrate.User, error) { return u, err })
		}
	}
	notBefore := func(at time.Duration, err error) func(*stmigrate.Config) {
		return func(c *stmigrate.Config) {
			now := c.Now
			c.NotBefore = func(context.Context, *stmigrate.OldSession) (time.Time, error) { return now().Add(at), err }
		}
	}
	for name, tt := range map[string]struct {
		config func(*stmigrate.Config)
		before func(*rig)
		status int
		code   string
		step   string
	}{
		"invalid":               {nil, func(r *rig) { r.verifier.Remove("tok") }, 401, "INVALID_LEGACY_SESSION", "verify"},
		"keys down":             {nil, func(r *rig) { r.verifier.Fail(stmigrate.ErrUnavailable) }, 503, "UNAVAILABLE", "verify"},
		"verifier breaks":       {nil, func(r *rig) { r.verifier.Fail(boom) }, 500, "INTERNAL_ERROR", "verify"},
		"no subject":            {nil, func(r *rig) { r.verifier.Add("tok", stmigrate.OldSession{}) }, 500, "INTERNAL_ERROR", "verify"},
		"migration over":        {func(c *stmigrate.Config) { c.Until = c.Now().Add(-time.Second) }, nil, 401, "INVALID_LEGACY_SESSION", "verify"},
		"unknown user":          {resolver(nil, stmigrate.ErrUnknownUser), nil, 403, "UNKNOWN_USER", "resolve"},
		"users down":            {resolver(nil, stmigrate.ErrUnavailable), nil, 503, "UNAVAILABLE", "resolve"},
		"resolver breaks":       {resolver(nil, boom), nil, 500, "INTERNAL_ERROR", "resolve"},
		"no user, no error":     {resolver(nil, nil), nil, 500, "INTERNAL_ERROR", "resolve"},
		"user without ID":       {resolver(&stmigrate.User{}, nil), nil, 500, "INTERNAL_ERROR", "resolve"},
		"ID that is trimmed":    {resolver(&stmigrate.User{ID: " u"}, nil), nil, 403, "UNKNOWN_USER", "resolve"},
		"tenant that is a path": {resolver(&stmigrate.User{ID: "u", TenantID: "recipe"}, nil), nil, 500, "INTERNAL_ERROR", "resolve"},
		"began before a reset":  {notBefore(time.Second, nil), nil, 401, "INVALID_LEGACY_SESSION", "resolve"},
		"began after a reset":   {notBefore(-2*time.Minute, nil), nil, 200, "OK", ""},
		"reset unknown":         {notBefore(0, stmigrate.ErrUnavailable), nil, 503, "UNAVAILABLE", "resolve"},
		"mint refused":          {nil, func(r *rig) { r.sessions.BeforeCreate = func(context.Context, stmigrate.User) error { return boom } }, 500, "INTERNAL_ERROR", "mint"},
		"mint refused, core down": {nil, func(r *rig) {
			r.sessions.BeforeCreate = func(context.Context, stmigrate.User) error { return stmigrate.ErrUnavailable }
		}, 503, "UNAVAILABLE", "mint"},
		"mint outcome unknown": {nil, func(r *rig) { r.sessions.AfterCreate = func(context.Context, stmigrate.User) error { return boom } }, 503, "UNAVAILABLE", "mint"},
		"store full":           {func(c *stmigrate.Config) { c.Exchanges = stmigrate.NewMemoryExchanges(0) }, nil, 503, "UNAVAILABLE", "claim"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			config := tt.config
			if config == nil {
				config = func(*stmigrate.Config) {}
			}
			r := newRig(t, config)
			r.add("tok", "user-1", "sid-1", "")
			if tt.before != nil {
				tt.before(r)
			}
			w := r.post("tok")
			expect(t, w, tt.status, tt.code)
			assert.Equal(t, tt.status == 503, w.Header().Get("Retry-After") != "")
			e := r.events[len(r.events)-1]
			assert.Equal(t, tt.step, e.Step)
			if tt.code != "OK" {
				assert.Equal(t, tt.code, e.Outcome)
				assert.Empty(t, r.revoked, "the legacy session is untouched")
			}
		})
	}
}

func TestSessionThatDoesNotTellWhenItBegan(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *stmigrate.Config) {
		c.NotBefore = func(context.Context, *stmigrate.OldSession) (time.Time, error) { return time.Unix(1, 0), nil }
	})
	r.verifier.Add("tok", stmigrate.OldSession{Subject: "u"})
	expect(t, r.post("tok"), 401, "INVALID_LEGACY_SESSION")
}

func TestSessionWithoutExpiryNeedsUntil(t *testing.T) {
	t.Parallel()
	noExpiry := stmigrate.VerifierFunc(func(context.Context, string) (*stmigrate.OldSession, error) {
		return &stmigrate.OldSession{Issuer: "i", Subject: "s"}, nil
	})
	r := newRig(t, leave, func(c *stmigrate.Config) { c.Verifier = noExpiry })
	expect(t, r.post("tok"), 500, "INTERNAL_ERROR")

	r = newRig(t, leave, func(c *stmigrate.Config) { c.Verifier, c.Until = noExpiry, c.Now().Add(48*time.Hour) })
	expect(t, r.post("tok"), 200, "OK")
	r.clock.Advance(47 * time.Hour)
	expect(t, r.post("tok"), 409, "ALREADY_MIGRATED")
	r.clock.Advance(2 * time.Hour)
	expect(t, r.post("another"), 401, "INVALID_LEGACY_SESSION")
	assert.Equal(t, 1, r.sessions.Created())
}

func TestFiftyParallelPostsMintOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.add("tok", "user-1", "sid-1", "")
		tokens := make(chan string, 50)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				w := r.post("tok")
				if w.Code != 200 {
					t.Errorf("status %d %s", w.Code, w.Body)
					return
				}
				tokens <- stmigratetest.AccessTokens(w.Header())[0]
			})
		}
		wg.Wait()
		close(tokens)
		distinct := map[string]bool{}
		for token := range tokens {
			distinct[token] = true
		}
		assert.Len(t, distinct, 1)
		assert.Equal(t, 1, r.sessions.Created())
		assert.Equal(t, []string{"tok"}, r.revoked, "revoked once")
	})
}

func TestLostAnswerIsHadAgain(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.add("tok", "user-1", "sid-1", "")
	first := r.post("tok")
	expect(t, first, 200, "OK")
	_, err := r.verifier.Verify(t.Context(), "tok")
	require.ErrorIs(t, err, stmigrate.ErrInvalidSession, "the legacy session is revoked by now")

	again := r.post("tok")
	expect(t, again, 200, "OK")
	assert.Equal(t, accessToken(t, first), accessToken(t, again))
	assert.Equal(t, 1, r.sessions.Created())
	assert.Equal(t, []string{"migrated", "replayed"}, r.outcomes("exchange"))
}

func TestReplayIsRefused(t *testing.T) {
	t.Parallel()
	handle := func(r *rig) string { return r.sessions.Live()[0].Handle }
	for name, tt := range map[string]struct {
		first  []string // headers of the first request
		then   func(*rig)
		again  []string
		status int
		code   string
	}{
		"within grace":               {nil, func(r *rig) { r.clock.Advance(119 * time.Second) }, nil, 200, "OK"},
		"after grace":                {nil, func(r *rig) { r.clock.Advance(120 * time.Second) }, nil, 409, "ALREADY_MIGRATED"},
		"signed out":                 {nil, func(r *rig) { _, _ = r.sessions.RevokeSession(context.Background(), handle(r)) }, nil, 409, "ALREADY_MIGRATED"},
		"refreshed":                  {nil, func(r *rig) { r.sessions.Refresh(handle(r)) }, nil, 409, "ALREADY_MIGRATED"},
		"other transfer mode":        {nil, nil, []string{"st-auth-mode", "cookie"}, 409, "ALREADY_MIGRATED"},
		"same mode, said":            {nil, nil, []string{"st-auth-mode", "header"}, 200, "OK"},
		"cookies, cookies":           {[]string{"st-auth-mode", "cookie"}, nil, []string{"St-Auth-Mode", "Cookie"}, 200, "OK"},
		"cookies, headers":           {[]string{"st-auth-mode", "cookie"}, nil, nil, 409, "ALREADY_MIGRATED"},
		"same idempotency key":       {[]string{"Idempotency-Key", "k"}, nil, []string{"Idempotency-Key", "k"}, 200, "OK"},
		"other idempotency key":      {[]string{"Idempotency-Key", "k"}, nil, []string{"Idempotency-Key", "l"}, 409, "ALREADY_MIGRATED"},
		"idempotency key missing":    {[]string{"Idempotency-Key", "k"}, nil, nil, 409, "ALREADY_MIGRATED"},
		"idempotency key only later": {nil, nil, []string{"Idempotency-Key", "k"}, 200, "OK"},
	} {
		for _, revoked := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/legacy session revoked=%v", name, revoked), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, leave)
				r.add("tok", "user-1", "sid-1", "")
				first := r.post("tok", tt.first...)
				expect(t, first, 200, "OK")
				if tt.then != nil {
					tt.then(r)
				}
				if revoked {
					r.verifier.Remove("tok")
				}
				again := r.post("tok", tt.again...)
				expect(t, again, tt.status, tt.code)
				if tt.status == 200 {
					assert.Equal(t, accessToken(t, first), accessToken(t, again))
				}
				assert.Equal(t, 1, r.sessions.Created(), "never a silent second mint")
			})
		}
	}
}

// TestReplayToARenewedToken: another token of the same legacy session is given the answer again, with the key of the first.
func TestReplayToARenewedToken(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.add("tok", "user-1", "sid-1", "jti-1")
	r.add("renewed", "user-1", "sid-1", "jti-2")
	first := r.post("tok", "Idempotency-Key", "k")
	expect(t, first, 200, "OK")
	expect(t, r.post("renewed", "Idempotency-Key", "l"), 409, "ALREADY_MIGRATED")
	again := r.post("renewed", "Idempotency-Key", "k")
	expect(t, again, 200, "OK")
	assert.Equal(t, accessToken(t, first), accessToken(t, again))
	assert.Equal(t, 1, r.sessions.Created())
}

// TestGraceEndsWithTheAccessToken: an answer with a token that is over would be no session.
func TestGraceEndsWithTheAccessToken(t *testing.T) {
	t.Parallel()
	r := newRig(t, leave, func(c *stmigrate.Config) { c.Grace = 2 * time.Hour })
	r.verifier.Add("tok", stmigrate.OldSession{Subject: "user-1", SessionID: "sid-1", ExpiresAt: r.clock.Now().Add(24 * time.Hour)})
	expect(t, r.post("tok"), 200, "OK")
	r.clock.Advance(59 * time.Minute)
	expect(t, r.post("tok"), 200, "OK")
	r.clock.Advance(time.Minute)
	expect(t, r.post("tok"), 409, "ALREADY_MIGRATED")
}

// TestReplayForAnotherUser: whom Config.Users names can change within Grace.
func TestReplayForAnotherUser(t *testing.T) {
	t.Parallel()
	for name, now := range map[string]stmigrate.User{
		"another user":   {ID: "user-2"},
		"another tenant": {ID: "user-1", TenantID: "t2"},
	} {
		user := stmigrate.User{ID: "user-1"}
		r := newRig(t, leave, func(c *stmigrate.Config) {
			c.Users = stmigrate.UserResolverFunc(func(context.Context, *stmigrate.OldSession) (*stmigrate.User, error) { return &user, nil })
		})
		r.add("tok", "legacy-1", "sid-1", "")
		expect(t, r.post("tok"), 200, "OK")
		user = now
		expect(t, r.post("tok"), 409, "ALREADY_MIGRATED")
		assert.Equal(t, 1, r.sessions.Created(), name)
	}
}

// TestAnswerOfAnotherExchange: who can write to the store, or a store that mixes its rows up, gives nobody another's session.
func TestAnswerOfAnotherExchange(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		subject string // of the thief
		revoked bool   // so that his token is looked for by itself
	}{
		"same user, another session": {"user-1", false},
		"another user":               {"user-2", false},
		"another user, by his token": {"user-2", true},
	} {
		store := new(mixedUpStore)
		r := newRig(t, leave, func(c *stmigrate.Config) {
			store.ExchangeStore = c.Exchanges
			c.Exchanges, c.Secrets = store, [][]byte{make([]byte, 32)}
		})
		r.add("victim", "user-1", "sid-1", "")
		r.add("thief", tt.subject, "sid-2", "")
		expect(t, r.post("thief"), 200, "OK")
		expect(t, r.post("victim"), 200, "OK")
		store.mixUp.Store(true)
		if tt.revoked {
			r.verifier.Remove("thief")
		}
		expect(t, r.post("thief"), 409, "ALREADY_MIGRATED")
		expect(t, r.post("victim"), 200, "OK")
		assert.Equal(t, 2, r.sessions.Created(), name)
	}
}

// mixedUpStore answers for whatever was exchanged what it has for the last one.
type mixedUpStore struct {
	stmigrate.ExchangeStore
	mixUp atomic.Bool
	last  stmigrate.ExchangeKey // shown
}

func (s *mixedUpStore) Claim(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
	if s.mixUp.Load() {
		return s.ExchangeStore.Recall(ctx, s.last)
	}
	s.last = c.Shown
	return s.ExchangeStore.Claim(ctx, c)
}

func (s *mixedUpStore) Recall(ctx context.Context, shown stmigrate.ExchangeKey) (stmigrate.Claimed, error) {
	if s.mixUp.Load() {
		shown = s.last
	}
	return s.ExchangeStore.Recall(ctx, shown)
}

func TestWhatCountsAsOneSession(t *testing.T) {
	t.Parallel()
	type tok struct{ token, subject, sid, jti string }
	for name, tt := range map[string]struct {
		a, b tok
		same bool
	}{
		"siblings: one sid, two jti":  {tok{"a", "u", "s", "1"}, tok{"b", "u", "s", "2"}, true},
		"two sessions of a user":      {tok{"a", "u", "s", ""}, tok{"b", "u", "t", ""}, false},
		"same sid of two subjects":    {tok{"a", "u", "s", ""}, tok{"b", "v", "s", ""}, false},
		"jti alone":                   {tok{"a", "u", "", "1"}, tok{"b", "u", "", "1"}, true},
		"a jti is no sid":             {tok{"a", "u", "", "x"}, tok{"b", "u", "x", ""}, false},
		"JWT, other signature":        {tok{"e30.e30.AAAA", "u", "", ""}, tok{"e30.e30.BBBB", "u", "", ""}, true},
		"JWT, other payload":          {tok{"e30.e30.AAAA", "u", "", ""}, tok{"e30.e31.AAAA", "u", "", ""}, false},
		"opaque":                      {tok{"abc.d.e", "u", "", ""}, tok{"abc.d.f", "u", "", ""}, false},
		"subject and sid do not flow": {tok{"a", "us", "id", ""}, tok{"b", "u", "sid", ""}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, leave)
			for _, k := range []tok{tt.a, tt.b} {
				r.add(k.token, k.subject, k.sid, k.jti)
			}
			first, second := r.post(tt.a.token), r.post(tt.b.token)
			expect(t, first, 200, "OK")
			expect(t, second, 200, "OK")
			assert.Equal(t, tt.same, accessToken(t, first) == accessToken(t, second))
		})
	}
}

func TestUnknownMintHealsAfterTheLease(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.add("tok", "user-1", "sid-1", "")
	r.sessions.AfterCreate = func(context.Context, stmigrate.User) error { return errors.New("connection reset") }
	w := r.post("tok")
	expect(t, w, 503, "UNAVAILABLE")
	assert.Equal(t, "30", w.Header().Get("Retry-After"), "the lease")
	require.Len(t, r.sessions.Live(), 1)
	orphan := r.sessions.Live()[0].Handle

	r.sessions.AfterCreate = nil
	r.clock.Advance(30 * time.Second)
	expect(t, r.post("tok"), 200, "OK")
	live := r.sessions.Live()
	require.Len(t, live, 1, "the orphan is dead")
	assert.NotEqual(t, orphan, live[0].Handle)
	assert.Equal(t, 2, r.sessions.Created())
}

func TestSecondRequestDuringTheLeaseMintsNothing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.add("tok", "user-1", "sid-1", "")
		r.sessions.AfterCreate = func(context.Context, stmigrate.User) error { return errors.New("connection reset") }
		expect(t, r.post("tok"), 503, "UNAVAILABLE")
		expect(t, r.post("tok"), 503, "UNAVAILABLE")
		assert.Equal(t, 1, r.sessions.Created())
	})
}

func TestDefiniteRefusalFreesTheClaim(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.add("tok", "user-1", "sid-1", "")
	r.sessions.BeforeCreate = func(context.Context, stmigrate.User) error { return stmigrate.ErrUnavailable }
	expect(t, r.post("tok"), 503, "UNAVAILABLE")
	assert.Zero(t, r.store.Len())
	r.sessions.BeforeCreate = nil
	expect(t, r.post("tok"), 200, "OK")
}

func TestCurrentSession(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, r *rig, subject string) (cookie string) {
		r.add("earlier-"+subject, subject, "earlier", "")
		w := r.post("earlier-"+subject, "st-auth-mode", "cookie")
		expect(t, w, 200, "OK")
		r.revoked = nil
		return "sAccessToken=" + accessToken(t, w)
	}
	t.Run("same user: kept, legacy revoked", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		cookie := start(t, r, "user-1")
		r.add("tok", "user-1", "sid-1", "")
		w := r.post("tok", "Cookie", cookie)
		expect(t, w, 200, "OK")
		assert.Empty(t, stmigratetest.AccessTokens(w.Header()))
		assert.Equal(t, 1, r.sessions.Created())
		assert.Equal(t, []string{"tok"}, r.revoked)
		// Without the cookie the legacy session is spent all the same.
		r.add("tok", "user-1", "sid-1", "")
		expect(t, r.post("tok"), 409, "ALREADY_MIGRATED")
	})
	t.Run("other user: nothing changes", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		cookie := start(t, r, "user-2")
		r.add("tok", "user-1", "sid-1", "")
		expect(t, r.post("tok", "Cookie", cookie), 409, "OTHER_SESSION")
		assert.Empty(t, r.revoked)
		assert.Equal(t, 1, r.store.Len(), "no claim was left")
	})
	t.Run("never a lasting 401", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		cookie := start(t, r, "user-1")
		for _, token := range []string{"", "worthless", "earlier-user-1"} {
			expect(t, r.post(token, "Cookie", cookie), 200, "OK")
		}
		r.verifier.Fail(stmigrate.ErrUnavailable)
		expect(t, r.post("x", "Cookie", cookie), 503, "UNAVAILABLE")
	})
	t.Run("signed out: no session", func(t *testing.T) {
		t.Parallel()
		r := newRig(t)
		cookie := start(t, r, "user-1")
		_, _ = r.sessions.RevokeSession(t.Context(), r.sessions.Live()[0].Handle)
		expect(t, r.post("worthless", "Cookie", cookie), 401, "INVALID_LEGACY_SESSION")
	})
}

func TestShadowAndAdmit(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]func(*stmigrate.Config){
		"shadow": func(c *stmigrate.Config) { c.Mode = stmigrate.Shadow },
		"not_admitted": func(c *stmigrate.Config) {
			c.Admit = func(s *stmigrate.OldSession) bool { return s.Subject != "user-1" }
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, config)
			r.add("tok", "user-1", "sid-1", "")
			w := r.post("tok")
			assert.Equal(t, 204, w.Code)
			assert.Empty(t, w.Body.String())
			assert.Equal(t, []string{name}, r.outcomes("exchange"))
			assert.Zero(t, r.sessions.Created())
			assert.Zero(t, r.store.Len())
			assert.Empty(t, r.revoked)
			expect(t, r.post("worthless"), 401, "INVALID_LEGACY_SESSION")
		})
	}
}

func TestRevokePolicies(t *testing.T) {
	t.Parallel()
	failing := func(c *stmigrate.Config) {
		c.Revoker = stmigrate.RevokerFunc(func(context.Context, string, *stmigrate.OldSession) error { return errors.New("provider says 500") })
	}
	t.Run("best effort", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, failing)
		r.add("tok", "user-1", "sid-1", "")
		expect(t, r.post("tok"), 200, "OK")
		assert.Equal(t, []string{"failed"}, r.outcomes("revoke"))
	})
	t.Run("required", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, failing, func(c *stmigrate.Config) { c.RevokePolicy = stmigrate.RevokeRequired })
		r.add("tok", "user-1", "sid-1", "")
		for range 2 {
			expect(t, r.post("tok"), 502, "LEGACY_REVOCATION_FAILED")
		}
		assert.Equal(t, 2, r.sessions.Created())
		assert.Empty(t, r.sessions.Live())
		r.clock.Advance(24 * time.Hour)
		assert.Equal(t, 1, r.sweep(t), "the claim is free")
		assert.Zero(t, r.store.Len())
	})
	t.Run("required and done", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, func(c *stmigrate.Config) { c.RevokePolicy = stmigrate.RevokeRequired })
		r.add("tok", "user-1", "sid-1", "")
		expect(t, r.post("tok"), 200, "OK")
		assert.Equal(t, []string{"tok"}, r.revoked)
		assert.Equal(t, []string{"revoked"}, r.outcomes("revoke"))
	})
}

// TestRememberedForAsLongAsTokensCome: a session that tokens share outlives each of them.
func TestRememberedForAsLongAsTokensCome(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]func(*stmigrate.Config){
		"no end":        func(*stmigrate.Config) {},
		"end in a year": func(c *stmigrate.Config) { c.Until = c.Now().Add(365 * 24 * time.Hour) },
	} {
		r := newRig(t, leave, config)
		r.add("tok", "user-1", "sid-1", "1")
		expect(t, r.post("tok"), 200, "OK")
		for range 10 { // a refreshed token of the same session, month by month
			r.clock.Advance(30 * 24 * time.Hour)
			r.add("later", "user-1", "sid-1", "2")
			expect(t, r.post("later"), 409, "ALREADY_MIGRATED")
		}
		assert.Equal(t, 1, r.sessions.Created(), name)
	}
	// A token that stands for itself is forgotten a day after it can be shown no more.
	r := newRig(t, leave)
	r.add("tok", "user-1", "", "1")
	expect(t, r.post("tok"), 200, "OK")
	r.clock.Advance(24 * time.Hour)
	assert.Equal(t, 1, r.store.Len())
	r.clock.Advance(2 * time.Hour)
	assert.Zero(t, r.store.Len())
}

// TestRememberedPastAYear: a session that says when it ends, or a migration that does, is remembered until then.
func TestRememberedPastAYear(t *testing.T) {
	t.Parallel()
	r := newRig(t, leave)
	r.verifier.Add("tok", stmigrate.OldSession{Subject: "u", SessionID: "s", ExpiresAt: r.clock.Now().Add(3 * 366 * 24 * time.Hour)})
	expect(t, r.post("tok"), 200, "OK")
	r.clock.Advance(2 * 366 * 24 * time.Hour)
	expect(t, r.post("tok"), 409, "ALREADY_MIGRATED")

	// Until the end of the migration, where its tokens go on.
	r = newRig(t, leave, func(c *stmigrate.Config) { c.Until = c.Now().Add(3 * 366 * 24 * time.Hour) })
	r.add("tok", "u", "s", "1")
	expect(t, r.post("tok"), 200, "OK")
	r.clock.Advance(2 * 366 * 24 * time.Hour)
	r.add("later", "u", "s", "2")
	expect(t, r.post("later"), 409, "ALREADY_MIGRATED")
}

// TestOurOwnDeadline is no fault of the server: the client is told to come again.
func TestOurOwnDeadline(t *testing.T) {
	t.Parallel()
	slow := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for name, config := range map[string]func(*stmigrate.Config){
		"resolver": func(c *stmigrate.Config) {
			c.Users = stmigrate.UserResolverFunc(func(ctx context.Context, _ *stmigrate.OldSession) (*stmigrate.User, error) { return nil, slow(ctx) })
		},
		"verifier": func(c *stmigrate.Config) {
			c.Verifier = stmigrate.VerifierFunc(func(ctx context.Context, _ string) (*stmigrate.OldSession, error) { return nil, slow(ctx) })
		},
		"second NotBefore": func(c *stmigrate.Config) {
			asked := 0
			c.NotBefore = func(ctx context.Context, _ *stmigrate.OldSession) (time.Time, error) {
				if asked++; asked == 2 {
					return time.Time{}, slow(ctx)
				}
				return time.Time{}, nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, leave, config)
				r.add("tok", "user-1", "sid-1", "")
				began := time.Now()
				expect(t, r.post("tok"), 503, "UNAVAILABLE")
				assert.LessOrEqual(t, time.Since(began), 10*time.Second)
				if name != "second NotBefore" {
					expect(t, ask(either(r), "GET", "Authorization", "Bearer tok"), 503, "UNAVAILABLE")
				}
			})
		})
	}
}

// TestExpiryAtTheEndOfTime: some systems say 9999-12-31 for never.
func TestExpiryAtTheEndOfTime(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]func(*stmigrate.Config){
		"exp":   func(*stmigrate.Config) {},
		"until": func(c *stmigrate.Config) { c.Until = time.Unix(253402300799, 0) },
	} {
		r := newRig(t, leave, config)
		r.verifier.Add("tok", stmigrate.OldSession{Subject: "u", TokenID: "1", ExpiresAt: time.Unix(253402300799, 0)})
		expect(t, r.post("tok"), 200, "OK")
		expect(t, r.post("tok"), 200, "OK")
		assert.Equal(t, 1, r.sessions.Created(), name)
	}
}

// TestRecallWhereTheRowIsGone: a verifier of rows cannot tell a deleted one from another's.
func TestRecallWhereTheRowIsGone(t *testing.T) {
	t.Parallel()
	r := newRig(t, leave)
	r.add("tok", "user-1", "sid-1", "")
	first := r.post("tok")
	r.verifier.Fail(stmigrate.ErrNotMine)
	again := r.post("tok")
	expect(t, again, 200, "OK")
	assert.Equal(t, accessToken(t, first), accessToken(t, again))
	expect(t, r.post("never-seen"), 401, "INVALID_LEGACY_SESSION")
}

// TestRecallAfterAPasswordReset: whoever stole the token does not get its session by the lost answer's way.
func TestRecallAfterAPasswordReset(t *testing.T) {
	t.Parallel()
	var reset time.Time
	r := newRig(t, func(c *stmigrate.Config) {
		c.NotBefore = func(_ context.Context, s *stmigrate.OldSession) (time.Time, error) {
			if s.Subject != "user-1" || s.Issuer == "" || s.SessionID != "sid-1" || s.TokenID != "jti-1" || s.ExpiresAt.IsZero() {
				return time.Time{}, errors.New("asked about somebody else")
			}
			return reset, nil
		}
	})
	r.add("tok", "user-1", "sid-1", "jti-1")
	expect(t, r.post("tok"), 200, "OK")
	expect(t, r.post("tok"), 200, "OK")
	reset = r.clock.Now()
	expect(t, r.post("tok"), 401, "INVALID_LEGACY_SESSION")
}

// TestResultIsOnePerson: a refused legacy session and the live session of somebody else are not told as one.
func TestResultIsOnePerson(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *stmigrate.Config) {
		now := c.Now()
		c.NotBefore = func(_ context.Context, s *stmigrate.OldSession) (time.Time, error) {
			if s.Subject == "alice" {
				return now.Add(time.Hour), nil
			}
			return time.Time{}, nil
		}
	})
	r.add("bobs", "bob", "sid-b", "")
	cookie := "sAccessToken=" + accessToken(t, r.post("bobs", "st-auth-mode", "cookie"))
	r.add("alices", "alice", "sid-a", "")
	req := httptest.NewRequest(http.MethodPost, "/", nil)
	req.Header.Set("Authorization", "Bearer alices")
	req.Header.Set("Cookie", cookie)
	result, err := r.Migrate(httptest.NewRecorder(), req)
	require.NoError(t, err)
	assert.Equal(t, "bob", result.UserID)
	assert.Nil(t, result.Legacy)
}

// TestObserverThatPanics does not cost a user the session.
func TestObserverThatPanics(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *stmigrate.Config) {
		c.RevokePolicy = stmigrate.RevokeRequired
		c.Observe = func(context.Context, stmigrate.Event) { panic("boom") }
	})
	r.add("tok", "user-1", "sid-1", "")
	expect(t, r.post("tok"), 200, "OK")
}

// TestNobodyHangsOnTheStore: before the claim there is a deadline, too.
func TestNobodyHangsOnTheStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, leave, func(c *stmigrate.Config) {
			c.Secrets = [][]byte{make([]byte, 32)}
			c.Exchanges = hangingStore{c.Exchanges}
		})
		began := time.Now()
		expect(t, r.post("worthless"), 503, "UNAVAILABLE")
		assert.Equal(t, 10*time.Second, time.Since(began), "looking it up: a third of the lease")

		r.add("tok", "user-1", "sid-1", "")
		began = time.Now()
		expect(t, r.post("tok"), 503, "UNAVAILABLE")
		assert.Equal(t, 4*3*time.Second+140*time.Millisecond, time.Since(began), "the claim: four tries of a tenth, and their pauses")
		assert.Zero(t, r.sessions.Created())
	})
}

// hangingStore is one that answers no claim.
type hangingStore struct{ stmigrate.ExchangeStore }

func (hangingStore) Recall(ctx context.Context, _ stmigrate.ExchangeKey) (stmigrate.Claimed, error) {
	<-ctx.Done()
	return stmigrate.Claimed{}, ctx.Err()
}

func (hangingStore) Claim(ctx context.Context, _ stmigrate.Claim) (stmigrate.Claimed, error) {
	<-ctx.Done()
	return stmigrate.Claimed{}, ctx.Err()
}

// TestStoreThatAnswersNonsense fails closed.
func TestStoreThatAnswersNonsense(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, leave, func(c *stmigrate.Config) {
			c.Secrets = [][]byte{make([]byte, 32)}
			c.Exchanges = nonsenseStore{c.Exchanges}
		})
		r.add("tok", "user-1", "sid-1", "")
		expect(t, r.post("tok"), 503, "UNAVAILABLE")
		assert.Zero(t, r.sessions.Created())
	})
}

type nonsenseStore struct{ stmigrate.ExchangeStore }

func (nonsenseStore) Claim(context.Context, stmigrate.Claim) (stmigrate.Claimed, error) {
	return stmigrate.Claimed{}, nil
}

// TestUndoThatFails: what may have survived is looked for before anything else is minted.
func TestUndoThatFails(t *testing.T) {
	t.Parallel()
	fakes := &stmigratetest.FakeSessions{}
	minter := &failingRevoke{FakeSessions: fakes}
	store := &faultyStore{}
	var lost atomic.Bool
	store.fail = func(call string) (error, error) {
		if call == "finish" && lost.CompareAndSwap(false, true) {
			return stmigrate.ErrClaimLost, nil
		}
		return nil, nil
	}
	r := newRig(t, leave, func(c *stmigrate.Config) {
		c.Exchanges.(*stmigrate.MemoryExchanges).UseClock(c.Now)
		store.ExchangeStore = c.Exchanges
		c.Exchanges, c.Secrets, c.Sessions = store, [][]byte{make([]byte, 32)}, minter
	})
	r.add("tok", "user-1", "sid-1", "")
	minter.fails.Store(1)
	w := r.post("tok")
	if w.Code == 503 { // the claim was left suspect, for the next request to look into
		w = r.post("tok")
	}
	expect(t, w, 200, "OK")
	assert.Len(t, fakes.Live(), 1)
}

type failingRevoke struct {
	*stmigratetest.FakeSessions
	fails atomic.Int32
}

func (f *failingRevoke) RevokeSession(ctx context.Context, handle string) (bool, error) {
	if f.fails.Add(-1) >= 0 {
		return false, errors.New("core down")
	}
	return f.FakeSessions.RevokeSession(ctx, handle)
}

// TestNotBeforeIsAskedAgain: a password reset while the exchange runs wins.
func TestNotBeforeIsAskedAgain(t *testing.T) {
	t.Parallel()
	asked := 0
	r := newRig(t, func(c *stmigrate.Config) {
		now := c.Now
		c.NotBefore = func(context.Context, *stmigrate.OldSession) (time.Time, error) {
			if asked++; asked == 1 {
				return time.Time{}, nil
			}
			return now(), nil
		}
	})
	r.add("tok", "user-1", "sid-1", "")
	expect(t, r.post("tok"), 401, "INVALID_LEGACY_SESSION")
	assert.Equal(t, 1, r.sessions.Created())
	assert.Empty(t, r.sessions.Live())
	assert.Empty(t, r.revoked)
}

// TestClientThatGivesUp: what was claimed is finished without it, and its retry finds the answer.
func TestClientThatGivesUp(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.add("tok", "user-1", "sid-1", "")
	ctx, cancel := context.WithCancel(t.Context())
	r.sessions.AfterCreate = func(ctx context.Context, _ stmigrate.User) error {
		cancel()
		return ctx.Err()
	}
	req := httptest.NewRequest(http.MethodPost, "/migrate-session", nil).WithContext(ctx)
	req.Header.Set("Authorization", "Bearer tok")
	first := r.do(req)
	expect(t, first, 200, "OK")
	assert.Equal(t, []string{"tok"}, r.revoked)

	r.sessions.AfterCreate = nil
	again := r.post("tok")
	expect(t, again, 200, "OK")
	assert.Equal(t, accessToken(t, first), accessToken(t, again))

	// One that is gone before the claim leaves nothing.
	r.add("tok2", "user-1", "sid-2", "")
	req = req.Clone(ctx)
	req.Header.Set("Authorization", "Bearer tok2")
	expect(t, r.do(req), 503, "UNAVAILABLE")
	assert.Equal(t, 1, r.store.Len())
}

// faultyStore loses answers of the calls that fail says.
type faultyStore struct {
	stmigrate.ExchangeStore
	fail func(call string) (before, after error)
}

func (s *faultyStore) Claim(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
	before, after := s.fail("claim")
	if before != nil {
		return stmigrate.Claimed{}, before
	}
	claimed, err := s.ExchangeStore.Claim(ctx, c)
	if after != nil {
		return stmigrate.Claimed{}, after
	}
	return claimed, err
}

func (s *faultyStore) Finish(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
	before, after := s.fail("finish")
	if before != nil {
		return before
	}
	if err := s.ExchangeStore.Finish(ctx, key, fence, f); err != nil {
		return err
	}
	return after
}

func (s *faultyStore) Recall(ctx context.Context, shown stmigrate.ExchangeKey) (stmigrate.Claimed, error) {
	if before, _ := s.fail("recall"); before != nil {
		return stmigrate.Claimed{}, before
	}
	return s.ExchangeStore.Recall(ctx, shown)
}

// TestFinishAfterARequiredRevocation: giving up earlier would leave the user without any session.
func TestFinishAfterARequiredRevocation(t *testing.T) {
	t.Parallel()
	for policy, want := range map[stmigrate.RevokePolicy]int{stmigrate.RevokeRequired: 200, stmigrate.RevokeBestEffort: 503} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			r := newRig(t, func(c *stmigrate.Config) {
				c.RevokePolicy, c.Secrets, c.Lease = policy, [][]byte{make([]byte, 32)}, 30*time.Second
				c.Exchanges = &faultyStore{c.Exchanges, func(call string) (error, error) {
					if call == "finish" && time.Since(began) < 5*time.Second { // longer than a finish may take
						return stmigrate.ErrUnavailable, nil
					}
					return nil, nil
				}}
			})
			r.add("tok", "user-1", "sid-1", "")
			assert.Equal(t, want, r.post("tok").Code)
		})
	}
}

func TestStoreFaults(t *testing.T) {
	t.Parallel()
	down := errors.New("connection refused")
	once := func(call string, before, after error) func(string) (error, error) {
		var done atomic.Bool
		return func(c string) (error, error) {
			if c == call && done.CompareAndSwap(false, true) {
				return before, after
			}
			return nil, nil
		}
	}
	always := func(call string, before, after error) func(string) (error, error) {
		return func(c string) (error, error) {
			if c == call {
				return before, after
			}
			return nil, nil
		}
	}
	for name, tt := range map[string]struct {
		fail    func(string) (error, error)
		status  int
		code    string
		created int
		// what a retry after the lease finds when the store is well again
		later        int
		laterCreated int
	}{
		"claim fails once":             {once("claim", down, nil), 200, "OK", 1, 200, 1},
		"claim's answer is lost once":  {once("claim", nil, down), 200, "OK", 1, 200, 1},
		"claim fails":                  {always("claim", down, nil), 503, "UNAVAILABLE", 0, 200, 1},
		"claim's answer is lost":       {always("claim", nil, down), 503, "UNAVAILABLE", 0, 200, 1},
		"finish fails once":            {once("finish", down, nil), 200, "OK", 1, 200, 1},
		"finish's answer is lost once": {once("finish", nil, down), 200, "OK", 1, 200, 1},
		"finish fails":                 {always("finish", down, nil), 503, "UNAVAILABLE", 1, 200, 2},
		"finish's answer is lost":      {always("finish", nil, down), 503, "UNAVAILABLE", 1, 200, 1},
		"claim lost before the finish": {once("finish", stmigrate.ErrClaimLost, nil), 200, "OK", 2, 200, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := &faultyStore{fail: tt.fail}
				r := newRig(t, leave, func(c *stmigrate.Config) {
					c.Exchanges.(*stmigrate.MemoryExchanges).UseClock(c.Now)
					store.ExchangeStore = c.Exchanges
					c.Exchanges, c.Secrets = store, [][]byte{bytes.Repeat([]byte("s"), 32)}
				})
				r.add("tok", "user-1", "sid-1", "")
				expect(t, r.post("tok"), tt.status, tt.code)
				assert.Equal(t, tt.created, r.sessions.Created())
				store.fail = func(string) (error, error) { return nil, nil }
				r.clock.Advance(30 * time.Second)
				w := r.post("tok")
				assert.Equal(t, tt.later, w.Code)
				assert.Equal(t, tt.laterCreated, r.sessions.Created())
				assert.Len(t, r.sessions.Live(), 1)
			})
		})
	}
}

// TestTakenOver: a holder that comes too late undoes its own session and gives the winner's answer.
func TestTakenOver(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.add("tok", "user-1", "sid-1", "")
	other, err := stmigrate.New(stmigrate.Config{
		Verifier: r.verifier, Sessions: r.sessions, Users: stmigrate.SubjectIsUserID, Exchanges: r.store, Revoker: stmigrate.LeaveToExpire,
		Secrets: [][]byte{bytes.Repeat([]byte("s"), 32)},
	})
	require.NoError(t, err)
	inner := false
	r.sessions.AfterCreate = func(context.Context, stmigrate.User) error {
		if !inner {
			inner = true
			// Our lease runs out while we are at it, and another node takes over and finishes.
			r.clock.Advance(time.Minute)
			w := httptest.NewRecorder()
			req := httptest.NewRequest(http.MethodPost, "/", nil)
			req.Header.Set("Authorization", "Bearer tok")
			other.ServeHTTP(w, req)
			if w.Code != 200 {
				t.Errorf("the other node: %d %s", w.Code, w.Body)
			}
		}
		return nil
	}
	// Its seal is under another secret, so the answer cannot be given here.
	expect(t, r.post("tok"), 409, "ALREADY_MIGRATED")
	require.Len(t, r.sessions.Live(), 1)
	assert.Equal(t, 2, r.sessions.Created())
}

func TestSecretsRotate(t *testing.T) {
	t.Parallel()
	old, fresh := bytes.Repeat([]byte("o"), 32), bytes.Repeat([]byte("n"), 32)
	r := newRig(t, leave, func(c *stmigrate.Config) { c.Secrets = [][]byte{old} })
	node := func(secrets ...[]byte) *rig {
		n := newRig(t, leave, func(c *stmigrate.Config) {
			c.Secrets, c.Exchanges, c.Sessions, c.Verifier = secrets, r.store, r.sessions, r.verifier
		})
		return n
	}
	r.add("tok", "user-1", "sid-1", "")
	first := r.post("tok", "Idempotency-Key", "k")
	expect(t, first, 200, "OK")
	for _, revoked := range []bool{false, true} {
		if revoked {
			r.verifier.Remove("tok")
		}
		again := node(fresh, old).post("tok", "Idempotency-Key", "k")
		expect(t, again, 200, "OK")
		assert.Equal(t, accessToken(t, first), accessToken(t, again))
	}
	r.add("tok", "user-1", "sid-1", "")
	expect(t, node(fresh).post("tok", "Idempotency-Key", "k"), 409, "ALREADY_MIGRATED")
}

func TestTooManyWaiters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.add("tok", "user-1", "sid-1", "")
		entered, goOn := make(chan struct{}), make(chan struct{})
		r.sessions.BeforeCreate = func(context.Context, stmigrate.User) error {
			close(entered)
			<-goOn
			return nil
		}
		codes := make(chan int, 200)
		var wg sync.WaitGroup
		wg.Go(func() { codes <- r.post("tok").Code })
		<-entered
		var refused atomic.Int32
		for range 100 {
			wg.Go(func() {
				code := r.post("tok").Code
				if code == 503 {
					if refused.Add(1) == 100-64 {
						close(goOn)
					}
				}
				codes <- code
			})
		}
		wg.Wait()
		close(codes)
		count := map[int]int{}
		for c := range codes {
			count[c]++
		}
		assert.Equal(t, map[int]int{200: 65, 503: 36}, count)
		assert.Equal(t, 1, r.sessions.Created())
	})
}

func TestCustomRendering(t *testing.T) {
	t.Parallel()
	r := newRig(t, func(c *stmigrate.Config) {
		c.OnError = func(w http.ResponseWriter, _ *http.Request, err error) {
			status, code := stmigrate.StatusOf(err)
			http.Error(w, "custom "+code, status)
		}
	})
	w := r.post("worthless")
	assert.Equal(t, 401, w.Code)
	assert.Equal(t, "custom INVALID_LEGACY_SESSION\n", w.Body.String())
}

func TestMigrateLeavesTheResponseAloneOnError(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	w := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodPost, "/", nil)
	_, err := r.Migrate(w, req)
	require.ErrorIs(t, err, stmigrate.ErrNoToken)
	assert.Empty(t, w.Header())
	var step *stmigrate.Error
	require.ErrorAs(t, err, &step)
	assert.Equal(t, "extract", step.Step)
}

func TestHostHeadersAreKept(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	r.add("tok", "user-1", "sid-1", "")
	w := httptest.NewRecorder()
	w.Header().Set("Access-Control-Expose-Headers", "X-Request-Id, Front-Token")
	w.Header().Add("Set-Cookie", "host=1")
	req := httptest.NewRequest(http.MethodPost, "/", nil)
	req.Header.Set("Authorization", "Bearer tok")
	req.Header.Set("st-auth-mode", "cookie")
	result, err := r.Migrate(w, req)
	require.NoError(t, err)
	assert.Equal(t, stmigrate.OutcomeMigrated, result.Outcome)
	assert.Equal(t, "user-1", result.UserID)
	assert.Equal(t, r.sessions.Live()[0].Handle, result.Handle)
	assert.Equal(t, []string{"X-Request-Id, Front-Token"}, w.Header().Values("Access-Control-Expose-Headers"))
	assert.Len(t, w.Header().Values("Set-Cookie"), 3)
}

// TestNothingSecretIsTold: logs, events and errors name no token, no subject and no key.
func TestNothingSecretIsTold(t *testing.T) {
	t.Parallel()
	var logged bytes.Buffer
	r := newRig(t, func(c *stmigrate.Config) {
		c.Logger = slog.New(slog.NewJSONHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Origins = []string{"https://app.example.com"}
	})
	r.add("legacy-secret-token", "subject-secret", "sid-secret", "")
	first := r.post("legacy-secret-token", "Idempotency-Key", "idempotency-secret")
	expect(t, first, 200, "OK")
	r.post("legacy-secret-token", "Idempotency-Key", "other-secret")
	r.post("forged-secret-token")
	r.post("legacy-secret-token, another-secret")
	r.sessions.AfterCreate = func(context.Context, stmigrate.User) error { return errors.New("reset") }
	r.add("third-secret-token", "subject-secret", "sid-secret-2", "")
	r.post("third-secret-token")
	body := strings.NewReader(`{"access_token":"body-secret", "access_token":"body-secret"}`)
	req := httptest.NewRequest(http.MethodPost, "/", body)
	req.Header.Set("Content-Type", "application/json")
	expect(t, r.do(req), 400, "BAD_REQUEST")

	told := logged.String() + fmt.Sprintf("%+v", r.events)
	require.NotEmpty(t, logged.String())
	assert.NotContains(t, told, "secret")
	assert.NotContains(t, told, accessToken(t, first))
}

func TestCORSHeaders(t *testing.T) {
	t.Parallel()
	allow, expose := stmigrate.CORSHeaders()
	for _, h := range []string{"Authorization", "Content-Type", "Idempotency-Key", "rid", "st-auth-mode", "anti-csrf", "fdi-version"} {
		assert.Contains(t, allow, h)
	}
	for _, h := range []string{"front-token", "st-access-token", "st-refresh-token", "anti-csrf"} {
		assert.Contains(t, expose, h)
	}
}
