package stmigrate_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/opaque"
	"github.com/stmigrate/stmigrate/revoke"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// refreshRig is a rig at a provider that rotates refresh tokens, and ends a session of which one is shown twice. Its process dies
// before one of its calls to the world, or after it.
type refreshRig struct {
	*rig
	legacy *stmigratetest.Issuer
	calls  []string // to the world
	dieAt  string   // "before redeem 1": the second one
	notes  []string
	noKeys bool
	mu     sync.Mutex
}

// world is called around every call. Goexit ends the goroutine of the request, and what it holds stays held.
func (r *refreshRig) world(call string) (after func()) {
	r.mu.Lock()
	n := strings.Count(strings.Join(r.calls, " ")+" ", call+" ")
	r.calls = append(r.calls, call)
	die := r.dieAt
	r.mu.Unlock()
	if die == fmt.Sprintf("before %s %d", call, n) {
		runtime.Goexit()
	}
	return func() {
		if die == fmt.Sprintf("after %s %d", call, n) {
			runtime.Goexit()
		}
	}
}

type worldStore struct {
	*stmigrate.MemoryExchanges
	r *refreshRig
}

func (s worldStore) Claim(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
	defer s.r.world("claim")()
	return s.MemoryExchanges.Claim(ctx, c)
}

func (s worldStore) Note(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, note []byte) error {
	defer s.r.world("note")()
	s.r.notes = append(s.r.notes, string(note))
	return s.MemoryExchanges.Note(ctx, key, fence, note)
}

func (s worldStore) Finish(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
	defer s.r.world("finish")()
	return s.MemoryExchanges.Finish(ctx, key, fence, f)
}

func (s worldStore) Release(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, suspect bool) error {
	defer s.r.world("release")()
	return s.MemoryExchanges.Release(ctx, key, fence, suspect)
}

func (s worldStore) SettleRevocation(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, retry time.Duration, reason string) error {
	defer s.r.world("settle")()
	return s.MemoryExchanges.SettleRevocation(ctx, key, fence, retry, reason)
}

type worldRedeemer struct {
	stmigrate.Redeemer
	r *refreshRig
}

func (d worldRedeemer) Redeem(ctx context.Context, token string) (*stmigrate.Redeemed, error) {
	defer d.r.world("redeem")()
	return d.Redeemer.Redeem(ctx, token)
}

type worldSessions struct {
	*stmigratetest.FakeSessions
	r *refreshRig
}

func (s worldSessions) CreateSession(ctx context.Context, r *http.Request, u stmigrate.User) (*stmigrate.Tokens, error) {
	defer s.r.world("create")()
	return s.FakeSessions.CreateSession(ctx, r, u)
}

func newRefreshRig(t *testing.T, issuer stmigratetest.IssuerConfig, change ...func(*stmigrate.Config)) *refreshRig {
	t.Helper()
	r := new(refreshRig)
	r.rig = newRig(t, append([]func(*stmigrate.Config){func(c *stmigrate.Config) {
		issuer.Now = c.Now
		r.legacy = stmigratetest.NewIssuer(t, issuer)
		keys, err := stmigrate.ParseKeys(r.legacy.JWKS())
		require.NoError(t, err)
		static, err := stmigrate.NewStaticKeyVerifier(keys, stmigrate.JWTConfig{Issuer: r.legacy.Issuer(), Audience: []string{"api"}, Now: c.Now})
		require.NoError(t, err)
		jwts := stmigrate.VerifierFunc(func(ctx context.Context, token string) (*stmigrate.OldSession, error) {
			if r.noKeys {
				return nil, stmigrate.ErrUnavailable
			}
			return static.Verify(ctx, token)
		})
		refresh, err := opaque.NewRefresh(opaque.RefreshConfig{
			Endpoint: r.legacy.TokenURL(), Client: revoke.ClientAuth{Method: revoke.PublicClient, ID: "spa"}, Issuer: r.legacy.Issuer(), Verifier: jwts,
			HTTP: opaque.HTTP{AllowPrivate: []string{"127.0.0.1"}, Timeout: time.Minute}, Now: c.Now,
		})
		require.NoError(t, err)
		c.Verifier = stmigrate.FirstOf(worldRedeemer{refresh, r}, jwts)
		store := c.Exchanges.(*stmigrate.MemoryExchanges)
		store.UseClock(c.Now)
		c.Exchanges, c.Sessions = worldStore{store, r}, worldSessions{c.Sessions.(*stmigratetest.FakeSessions), r}
		c.Secrets = [][]byte{[]byte(strings.Repeat("s", 32))}
		revoker := c.Revoker
		c.Revoker = stmigrate.RevokerFunc(func(ctx context.Context, token string, s *stmigrate.OldSession) error {
			defer r.world("revoke")()
			return revoker.Revoke(ctx, token, s)
		})
	}}, change...)...)
	return r
}

// redeemed counts how often a refresh token was redeemed.
func (r *refreshRig) redeemed() int {
	return len(r.legacy.Requests("/token"))
}

// dies makes a request that ends at that point, and tells whether it came to it.
func (r *refreshRig) dies(at, token string) bool {
	r.dieAt = at
	ended := make(chan bool)
	go func() {
		died := true
		defer func() { ended <- died }()
		r.post(token)
		died = false
	}()
	died := <-ended
	r.dieAt = ""
	return died
}

func TestRedeem(t *testing.T) {
	t.Parallel()
	r := newRefreshRig(t, stmigratetest.IssuerConfig{})
	s := r.legacy.SignIn("ada")
	w := r.post(s.RefreshToken)
	expect(t, w, 200, "OK")
	require.Len(t, r.revoked, 1)
	assert.NotEqual(t, s.RefreshToken, r.revoked[0], "the one that was redeemed is over already")
	assert.True(t, strings.HasPrefix(r.revoked[0], "rt_"), "what took its place is revoked")
	assert.False(t, r.legacy.Revoked(s.SessionID))
	for _, note := range r.notes {
		assert.NotContains(t, note, r.revoked[0], "a note in the clear")
	}
	require.Len(t, r.notes, 1)

	again := r.post(s.RefreshToken)
	expect(t, again, 200, "OK")
	assert.Equal(t, w.Header(), again.Header(), "the same answer within Grace")
	r.clock.Advance(3 * time.Minute)
	expect(t, r.post(s.RefreshToken), 409, "ALREADY_MIGRATED")
	assert.Equal(t, 1, r.redeemed())
	assert.Len(t, r.sessions.Live(), 1)
	assert.Equal(t, []string{"migrated", "replayed", "ALREADY_MIGRATED"}, r.outcomes("exchange"))
}

// Access tokens of the same legacy session and its refresh token are one exchange, whichever comes first.
func TestRedeemAndAccessToken(t *testing.T) {
	t.Parallel()
	r := newRefreshRig(t, stmigratetest.IssuerConfig{})
	s := r.legacy.SignIn("ada")
	first := r.post(s.RefreshToken)
	expect(t, first, 200, "OK")
	second := r.post(s.AccessToken)
	expect(t, second, 200, "OK")
	assert.Equal(t, first.Header(), second.Header())

	s = r.legacy.SignIn("bob")
	first = r.post(s.AccessToken)
	second = r.post(s.RefreshToken)
	expect(t, second, 200, "OK")
	assert.Equal(t, first.Header(), second.Header())
	expect(t, r.post(s.RefreshToken), 200, "OK")
	assert.Len(t, r.sessions.Live(), 2)
	require.Len(t, r.revoked, 3)
	assert.Equal(t, s.AccessToken, r.revoked[1])
	assert.True(t, strings.HasPrefix(r.revoked[2], "rt_"), "what was redeemed in vain is revoked as well")
	assert.Equal(t, 2, r.redeemed())
}

func TestRedeemInParallel(t *testing.T) {
	t.Parallel()
	r := newRefreshRig(t, stmigratetest.IssuerConfig{})
	s := r.legacy.SignIn("ada")
	answers := make([]*httptest.ResponseRecorder, 16)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() { answers[i] = r.post(s.RefreshToken) })
	}
	wg.Wait()
	for _, w := range answers {
		expect(t, w, 200, "OK")
		assert.Equal(t, answers[0].Header(), w.Header())
	}
	assert.Equal(t, 1, r.redeemed())
	assert.Equal(t, 1, r.sessions.Created())
	assert.False(t, r.legacy.Revoked(s.SessionID), "the provider saw theft")
}

// TestRedeemHasNoGap: wherever the process dies, whoever comes back with the same refresh token has a session, and one, and the
// provider saw that token once. Only between the provider's answer and its record it sees it twice.
func TestRedeemHasNoGap(t *testing.T) {
	t.Parallel()
	for _, policy := range []stmigrate.RevokePolicy{stmigrate.RevokeBestEffort, stmigrate.RevokeRequired} {
		required := func(c *stmigrate.Config) { c.RevokePolicy = policy }
		whole := newRefreshRig(t, stmigratetest.IssuerConfig{}, required)
		expect(t, whole.post(whole.legacy.SignIn("ada").RefreshToken), 200, "OK")
		t.Log(whole.calls)
		for i, call := range whole.calls {
			n := strings.Count(strings.Join(whole.calls[:i], " ")+" ", call+" ")
			for _, side := range []string{"before", "after"} {
				at := fmt.Sprintf("%s %s %d", side, call, n)
				for _, sweep := range []bool{false, true} {
					t.Run(fmt.Sprint(policy, " ", at, " ", sweep), func(t *testing.T) {
						t.Parallel()
						want, issuer := 1, stmigratetest.IssuerConfig{}
						if at == "after redeem 0" || at == "before note 0" {
							want, issuer.RefreshReuse = 2, 2*time.Minute
						}
						r := newRefreshRig(t, issuer, required)
						s := r.legacy.SignIn("ada")
						require.True(t, r.dies(at, s.RefreshToken), "it came to that point")
						r.clock.Advance(45 * time.Second)
						if sweep {
							r.sweep(t)
						}
						expect(t, r.post(s.RefreshToken), 200, "OK")
						assert.Equal(t, want, r.redeemed())
						assert.Len(t, r.sessions.Live(), 1)
						assert.False(t, r.legacy.Revoked(s.SessionID), "the provider saw theft")
						r.clock.Advance(time.Minute)
						r.sweep(t)
						assert.Len(t, r.sessions.Live(), 1)
					})
				}
			}
		}
	}
}

// What fails after the token is redeemed costs nothing: the next request goes on, without the provider while the access token that came
// of it lasts, and then with the refresh token that came of it.
func TestRedeemThenFail(t *testing.T) {
	t.Parallel()
	fail := error(nil)
	users := func(c *stmigrate.Config) {
		c.Users = stmigrate.UserResolverFunc(func(_ context.Context, s *stmigrate.OldSession) (*stmigrate.User, error) {
			return &stmigrate.User{ID: s.Subject}, fail
		})
	}
	for name, tt := range map[string]struct {
		fail     error
		status   int
		wait     time.Duration
		then     int
		redeemed int
	}{
		"user not imported yet":     {stmigrate.ErrUnknownUser, 403, time.Minute, 200, 1},
		"users cannot be asked":     {stmigrate.ErrUnavailable, 503, time.Second, 200, 1},
		"access token all but over": {stmigrate.ErrUnavailable, 503, 9 * time.Minute, 200, 1},
		"access token over":         {stmigrate.ErrUnavailable, 503, 11 * time.Minute, 200, 2},
		"access token long over":    {stmigrate.ErrUnavailable, 503, 23 * time.Hour, 200, 2},
		"a day later, by the next":  {stmigrate.ErrUnavailable, 503, 24 * time.Hour, 200, 2},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRefreshRig(t, stmigratetest.IssuerConfig{}, users)
			s := r.legacy.SignIn("ada")
			fail = tt.fail
			assert.Equal(t, tt.status, r.post(s.RefreshToken).Code)
			fail = nil
			r.clock.Advance(tt.wait)
			assert.Equal(t, tt.then, r.post(s.RefreshToken).Code)
			assert.Equal(t, tt.redeemed, r.redeemed())
			assert.False(t, r.legacy.Revoked(s.SessionID))
		})
	}
}

// A session that the provider ended after its token was redeemed is not exchanged for the rest of the day.
func TestRedeemThenRevoked(t *testing.T) {
	t.Parallel()
	fail := stmigrate.ErrUnavailable
	r := newRefreshRig(t, stmigratetest.IssuerConfig{}, func(c *stmigrate.Config) {
		c.Users = stmigrate.UserResolverFunc(func(_ context.Context, s *stmigrate.OldSession) (*stmigrate.User, error) {
			return &stmigrate.User{ID: s.Subject}, fail
		})
	})
	s := r.legacy.SignIn("ada")
	expect(t, r.post(s.RefreshToken), 503, "UNAVAILABLE")
	fail = nil
	r.legacy.EndSession(s.SessionID)
	r.clock.Advance(11 * time.Minute) // more than the access token lives
	expect(t, r.post(s.RefreshToken), 401, "INVALID_LEGACY_SESSION")
	assert.Zero(t, r.sessions.Created())
}

// What the provider gave and nobody could verify is not lost: its successor is redeemed next time.
func TestRedeemWithoutKeys(t *testing.T) {
	t.Parallel()
	r := newRefreshRig(t, stmigratetest.IssuerConfig{})
	r.noKeys = true
	s := r.legacy.SignIn("ada")
	expect(t, r.post(s.RefreshToken), 503, "UNAVAILABLE")
	r.noKeys = false
	r.clock.Advance(time.Minute)
	r.sweep(t)
	expect(t, r.post(s.RefreshToken), 200, "OK")
	assert.Equal(t, 2, r.redeemed())
	assert.False(t, r.legacy.Revoked(s.SessionID), "the provider saw theft")
}

func TestRedeemRefused(t *testing.T) {
	t.Parallel()
	r := newRefreshRig(t, stmigratetest.IssuerConfig{})
	s := r.legacy.SignIn("ada")
	r.legacy.EndSession(s.SessionID)
	for range 3 {
		expect(t, r.post(s.RefreshToken), 401, "INVALID_LEGACY_SESSION")
	}
	assert.Equal(t, 1, r.redeemed(), "a refusal is remembered")
	assert.Zero(t, r.store.Len(), "junk leaves nothing in the store")

	r.legacy.Down("/token")
	for i := range 5 {
		expect(t, r.post(fmt.Sprint("junk-", i)), 503, "UNAVAILABLE")
	}
	assert.Zero(t, r.store.Len())
	r.legacy.Heal()
	s = r.legacy.SignIn("ada")
	r.legacy.AfterCommit("/token")
	expect(t, r.post(s.RefreshToken), 503, "UNAVAILABLE")
}

func TestRedeemShadow(t *testing.T) {
	t.Parallel()
	r := newRefreshRig(t, stmigratetest.IssuerConfig{}, func(c *stmigrate.Config) { c.Mode = stmigrate.Shadow })
	s := r.legacy.SignIn("ada")
	assert.Equal(t, http.StatusNoContent, r.post(s.RefreshToken).Code)
	assert.Equal(t, []string{"shadow"}, r.outcomes("exchange"))
	assert.Zero(t, r.redeemed())
	assert.Empty(t, r.calls)
}

func TestRedeemAfterTheEnd(t *testing.T) {
	t.Parallel()
	r := newRefreshRig(t, stmigratetest.IssuerConfig{}, func(c *stmigrate.Config) { c.Until = c.Now().Add(time.Hour) })
	s := r.legacy.SignIn("ada")
	r.clock.Advance(time.Hour + time.Second)
	expect(t, r.post(s.RefreshToken), 401, "INVALID_LEGACY_SESSION")
	assert.Zero(t, r.redeemed())
}

// A refresh token is no credential for an API, and is not redeemed there.
func TestRedeemIsNotForAPIs(t *testing.T) {
	t.Parallel()
	r := newRefreshRig(t, stmigratetest.IssuerConfig{})
	s := r.legacy.SignIn("ada")
	refuse := func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	}
	api := r.RequireEither(refuse, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	for token, want := range map[string]int{s.RefreshToken: 401, s.AccessToken: 200} {
		req := httptest.NewRequest(http.MethodGet, "https://api.example.com/", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		w := httptest.NewRecorder()
		api.ServeHTTP(w, req)
		assert.Equal(t, want, w.Code)
	}
	assert.Zero(t, r.redeemed())
	assert.Empty(t, r.calls)
}

// Another user's SuperTokens session stays, and the refresh token is good once it is signed out.
func TestRedeemBesideASession(t *testing.T) {
	t.Parallel()
	r := newRefreshRig(t, stmigratetest.IssuerConfig{})
	s := r.legacy.SignIn("ada")
	cookie := "sAccessToken=" + accessToken(t, r.post(r.legacy.SignIn("bob").AccessToken))
	expect(t, r.post(s.RefreshToken, "Cookie", cookie), 409, "OTHER_SESSION")
	expect(t, r.post(s.RefreshToken), 200, "OK")
	assert.Equal(t, 1, r.redeemed())

	// The same user's session stays, too, and the legacy one is over.
	mine := r.legacy.SignIn("bob")
	w := r.post(mine.RefreshToken, "Cookie", cookie)
	expect(t, w, 200, "OK")
	assert.Empty(t, stmigratetest.AccessTokens(w.Header()))
	expect(t, r.post(mine.RefreshToken, "Cookie", cookie), 200, "OK")
	expect(t, r.post(mine.RefreshToken), 409, "ALREADY_MIGRATED")
	assert.Equal(t, 2, r.redeemed())
	assert.Len(t, r.revoked, 3)
}

// barren has none of what a store may be besides.
type barren struct{ stmigrate.ExchangeStore }

func TestRedeemerNeeds(t *testing.T) {
	t.Parallel()
	refresh, err := opaque.NewRefresh(opaque.RefreshConfig{
		Endpoint: "https://legacy.example/token", Client: revoke.ClientAuth{Method: revoke.PublicClient, ID: "spa"},
		Issuer: "https://legacy.example/", Verifier: new(stmigratetest.FakeVerifier),
	})
	require.NoError(t, err)
	right := stmigrate.Config{
		Verifier: stmigrate.FirstOf(new(stmigratetest.FakeVerifier), stmigrate.FirstOf(refresh)), Sessions: new(stmigratetest.FakeSessions),
		Users: stmigrate.SubjectIsUserID, Exchanges: stmigrate.NewMemoryExchanges(1), Revoker: stmigrate.LeaveToExpire,
		Secrets: [][]byte{make([]byte, 32)},
	}
	_, err = stmigrate.New(right)
	require.NoError(t, err)
	cfg := right
	cfg.Exchanges = barren{right.Exchanges}
	_, err = stmigrate.New(cfg)
	assert.ErrorContains(t, err, "ClaimNoter")
	cfg = right
	cfg.Admit = func(*stmigrate.OldSession) bool { return true }
	_, err = stmigrate.New(cfg)
	assert.ErrorContains(t, err, "Admit")

	// Two issuers whose subjects could be the same.
	other, err := opaque.NewUserInfo(opaque.UserInfoConfig{
		Endpoint: "https://other.example/userinfo", InsecureSkipAudience: true, Rules: opaque.Rules{Issuer: "https://other.example/"},
	})
	require.NoError(t, err)
	cfg = right
	cfg.Verifier = stmigrate.FirstOf(refresh, other)
	_, err = stmigrate.New(cfg)
	assert.ErrorContains(t, err, "2 issuers")
}

// oddRedeemer answers what it likes.
type oddRedeemer struct {
	stmigrate.VerifierFunc
	peek   error
	got    *stmigrate.Redeemed
	redeem error
}

func (o oddRedeemer) Peek(context.Context, string) (string, error) { return "odd", o.peek }

func (o oddRedeemer) Redeem(context.Context, string) (*stmigrate.Redeemed, error) {
	return o.got, o.redeem
}

func TestOddRedeemers(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		redeemer oddRedeemer
		status   int
		left     int // in the store
	}{
		"nothing":              {oddRedeemer{}, 500, 0},
		"no session":           {oddRedeemer{got: new(stmigrate.Redeemed)}, 500, 0},
		"nobody's session":     {oddRedeemer{got: &stmigrate.Redeemed{Session: new(stmigrate.OldSession)}}, 500, 1},
		"a long token":         {oddRedeemer{got: &stmigrate.Redeemed{Session: new(stmigrate.OldSession), Token: strings.Repeat("x", 17<<10)}}, 500, 0},
		"no class":             {oddRedeemer{redeem: errors.New("odd")}, 500, 0},
		"invalid":              {oddRedeemer{redeem: stmigrate.ErrInvalidSession}, 401, 0},
		"expired":              {oddRedeemer{redeem: stmigrate.ErrExpiredSession}, 401, 0},
		"not mine, after all":  {oddRedeemer{redeem: stmigrate.ErrNotMine}, 401, 0},
		"refused, but used up": {oddRedeemer{got: &stmigrate.Redeemed{Token: "next"}, redeem: stmigrate.ErrInvalidSession}, 401, 1},
		"not mine":             {oddRedeemer{peek: stmigrate.ErrNotMine}, 401, 0},
		"cannot tell":          {oddRedeemer{peek: stmigrate.ErrUnavailable}, 503, 0},
		"no expiry":            {oddRedeemer{got: &stmigrate.Redeemed{Session: &stmigrate.OldSession{Issuer: "odd", Subject: "ada"}}}, 500, 1},
	} {
		r := newRig(t, func(c *stmigrate.Config) { c.Verifier = tt.redeemer })
		assert.Equal(t, tt.status, r.post("token").Code, name)
		assert.Equal(t, tt.left, r.store.Len(), name)
	}
}

// hangingRedeemer answers when it is given up.
type hangingRedeemer struct {
	oddRedeemer
	took *time.Duration
}

func (h hangingRedeemer) Redeem(ctx context.Context, _ string) (*stmigrate.Redeemed, error) {
	begun := time.Now()
	<-ctx.Done()
	*h.took = time.Since(begun)
	return nil, ctx.Err()
}

// TestRedeemerThatHangs is given up before its claim is over.
func TestRedeemerThatHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var took time.Duration
		r := newRig(t, func(c *stmigrate.Config) {
			c.Lease, c.Verifier = 100*time.Second, hangingRedeemer{took: &took}
		})
		expect(t, r.post("token"), 503, "UNAVAILABLE")
		assert.Equal(t, 30*time.Second, took)
	})
}
