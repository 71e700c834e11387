package ownsession

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

type expressFixture struct {
	Made    time.Time
	Secrets []string
	Cookies map[string]struct{ Name, Value, ID, Data string }
}

func express(tb testing.TB) (expressFixture, *shelf, ExpressConfig) {
	f := fixture[expressFixture](tb, "express/express.json")
	s := &shelf{items: make(map[string]item)}
	for _, c := range f.Cookies {
		s.items[c.ID] = item{data: c.Data}
	}
	return f, s, ExpressConfig{
		Rules:   Rules{Issuer: "express", UserID: Path{"passport", "user"}, Now: at(f.Made.Add(time.Minute))},
		Secrets: f.Secrets, Get: s.Get, Delete: s.Delete,
	}
}

// connectSid signs as express-session does.
func connectSid(id, secret string) string {
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(id))
	return "s%3A" + url.QueryEscape(id+"."+base64.RawStdEncoding.EncodeToString(mac.Sum(nil)))
}

func TestExpress(t *testing.T) {
	t.Parallel()
	f, store, cfg := express(t)
	v, err := NewExpress(cfg)
	require.NoError(t, err)
	put := func(id, data string) string {
		store.items[id] = item{data: data}
		return connectSid(id, f.Secrets[0])
	}
	var good []stmigratetest.GoodToken
	for _, name := range []string{"passport", "a browser session", "the previous secret", "an ID of the application"} {
		c := f.Cookies[name]
		require.Equal(t, "connect.sid", c.Name)
		good = append(good, stmigratetest.GoodToken{Name: name, Token: c.Value, Subject: "user-1"})
	}
	right := f.Cookies["passport"]
	plainValue, err := url.QueryUnescape(right.Value)
	require.NoError(t, err)
	good = append(good, stmigratetest.GoodToken{Name: "not percent-encoded", Token: plainValue, Subject: "user-1"})

	store.items["gone-from-the-store-0"] = item{}
	holds(t, v, good, []trap{
		{"another secret", f.Cookies["another secret"].Value, stmigrate.ErrNotMine},
		{"a guest", f.Cookies["a guest"].Value, stmigrate.ErrInvalidSession},
		{"over", f.Cookies["over in a second"].Value, stmigrate.ErrExpiredSession},
		{"a user under another path", f.Cookies["a number"].Value, stmigrate.ErrInvalidSession},
		{"nothing", "", stmigrate.ErrNotMine},
		{"the ID alone", right.ID, stmigrate.ErrNotMine},
		{"no signature", "s%3A" + right.ID, stmigrate.ErrNotMine},
		{"an empty signature", "s%3A" + right.ID + ".", stmigrate.ErrNotMine},
		{"another separator", strings.Replace(plainValue, right.ID+".", right.ID+"-", 1), stmigrate.ErrNotMine},
		{"the signature cut", right.Value[:len(right.Value)-1], stmigrate.ErrNotMine},
		{"the signature padded", right.Value + "%3D", stmigrate.ErrNotMine},
		{"one character of the signature", changed(right.Value, -1), stmigrate.ErrNotMine},
		{"one character of the ID", changed(right.Value, 10), stmigrate.ErrNotMine},
		{"without s:", strings.TrimPrefix(right.Value, "s%3A"), stmigrate.ErrNotMine},
		{"a JSON cookie", "j%3A%7B%7D", stmigrate.ErrNotMine},
		{"broken percent-encoding", right.Value + "%", stmigrate.ErrNotMine},
		{"too long", "s%3A" + strings.Repeat("a", 20_000), stmigrate.ErrNotMine},
		{"a short ID, signed", connectSid("short", f.Secrets[0]), stmigrate.ErrNotMine},
		{"a long ID, signed", connectSid(strings.Repeat("a", 300), f.Secrets[0]), stmigrate.ErrNotMine},
		{"a NUL in the ID, signed", connectSid("0123456789abcdef\x00", f.Secrets[0]), stmigrate.ErrNotMine},
		{"not in the store", connectSid("not-in-the-store-0", f.Secrets[0]), stmigrate.ErrInvalidSession},
		{"nothing in the store", connectSid("gone-from-the-store-0", f.Secrets[0]), stmigrate.ErrInvalidSession},
		{"no JSON", put("no-json-0123456789", "\x04\x08{"), stmigrate.ErrInvalidSession},
		{"a JSON array", put("json-array-0123456", `[{}]`), stmigrate.ErrInvalidSession},
		{"null", put("json-null-01234567", `null`), stmigrate.ErrInvalidSession},
		{"two objects", put("two-objects-012345", f.Cookies["passport"].Data+`{}`), stmigrate.ErrInvalidSession},
		{"no cookie", put("no-cookie-01234567", `{"passport":{"user":"user-1"}}`), stmigrate.ErrInvalidSession},
		{"an odd expires", put("odd-expires-012345", `{"cookie":{"expires":"tomorrow"},"passport":{"user":"user-1"}}`), stmigrate.ErrInvalidSession},
		{"a false expires", put("false-expires-0123", `{"cookie":{"expires":false},"passport":{"user":"user-1"}}`), stmigrate.ErrInvalidSession},
		{"over 1 MiB", put("over-1-mib-0123456", `{"cookie":{},"passport":{"user":"user-1"},"x":"`+strings.Repeat("x", 1<<20)+`"}`), stmigrate.ErrInvalidSession},
		{"a blank user", put("blank-user-0123456", `{"cookie":{},"passport":{"user":" "}}`), stmigrate.ErrInvalidSession},
		{"a user with a line break", put("user-break-0123456", `{"cookie":{},"passport":{"user":"a\nb"}}`), stmigrate.ErrInvalidSession},
		{"a user that is no Unicode", put("no-unicode-0123456", "{\"cookie\":{},\"passport\":{\"user\":\"a\xff\"}}"), stmigrate.ErrInvalidSession},
		{"a fraction of a user", put("fraction-012345678", `{"cookie":{},"passport":{"user":1.5}}`), stmigrate.ErrInvalidSession},
		{"an exponent of a user", put("exponent-012345678", `{"cookie":{},"passport":{"user":1e3}}`), stmigrate.ErrInvalidSession},
		{"true is no user", put("true-user-01234567", `{"cookie":{},"passport":{"user":true}}`), stmigrate.ErrInvalidSession},
		{"an object is no user", put("object-user-012345", `{"cookie":{},"passport":{"user":{"id":"1"}}}`), stmigrate.ErrInvalidSession},
		{"a long user", put("long-user-01234567", `{"cookie":{},"passport":{"user":"`+strings.Repeat("u", 513)+`"}}`), stmigrate.ErrInvalidSession},
	})

	s, err := v.Verify(t.Context(), right.Value)
	require.NoError(t, err)
	assert.Equal(t, "express", s.Issuer)
	assert.Contains(t, right.Data, s.ExpiresAt.Format(`"expires":"2006-01-02T15:04:05.000Z"`))
	other, err := v.Verify(t.Context(), plainValue)
	require.NoError(t, err)
	assert.Equal(t, s.SessionID, other.SessionID, "two spellings of a cookie are one session")
	assert.Len(t, s.SessionID, 43)
	assert.NotContains(t, fmt.Sprintf("%+v", *s), right.ID, "the ID is the credential")
	assert.Equal(t, "ownsession.Express(express)", fmt.Sprintf("%+v", v), "the secrets are not printed")

	s, err = v.Verify(t.Context(), f.Cookies["a browser session"].Value)
	require.NoError(t, err)
	assert.Zero(t, s.ExpiresAt)
}

func TestExpressUserIDAndLogin(t *testing.T) {
	t.Parallel()
	f, _, cfg := express(t)
	cfg.Rules.UserID, cfg.Rules.AuthTime = Path{"userId"}, Path{"loggedInAt"}
	v, err := NewExpress(cfg)
	require.NoError(t, err)
	s, err := v.Verify(t.Context(), f.Cookies["a number"].Value)
	require.NoError(t, err)
	assert.Equal(t, "42", s.Subject)
	assert.Equal(t, int64(1760000000), s.AuthTime.Unix())
}

// What connect-redis and connect-pg-simple keep of a session that was only touched has an old cookie.expires in it.
func TestExpressTheStoreSaysWhenItEnds(t *testing.T) {
	t.Parallel()
	f, store, cfg := express(t)
	v, err := NewExpress(cfg)
	require.NoError(t, err)
	c := f.Cookies["over in a second"]
	for _, tc := range []struct {
		expires time.Time
		want    error
	}{
		{time.Time{}, stmigrate.ErrExpiredSession},
		{f.Made.Add(time.Hour), nil},
		{f.Made.Add(time.Minute), stmigrate.ErrExpiredSession},
	} {
		store.items[c.ID] = item{c.Data, tc.expires}
		s, err := v.Verify(t.Context(), c.Value)
		require.ErrorIs(t, err, tc.want)
		if err == nil {
			assert.Equal(t, tc.expires, s.ExpiresAt)
		}
	}
}

func TestExpressStoreFails(t *testing.T) {
	t.Parallel()
	f, store, cfg := express(t)
	v, err := NewExpress(cfg)
	require.NoError(t, err)
	c := f.Cookies["passport"]
	store.fail = errors.New("GET sess:" + c.ID + " failed")
	_, err = v.Verify(t.Context(), c.Value)
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	assert.ErrorIs(t, err, store.fail)
	assert.NotContains(t, err.Error(), c.ID)
	store.fail = stmigrate.ErrExpiredSession
	_, err = v.Verify(t.Context(), c.Value)
	assert.ErrorIs(t, err, stmigrate.ErrExpiredSession)
	assert.NotErrorIs(t, err, stmigrate.ErrUnavailable, "a class of the store's own stays")
	store.fail = nil
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = v.Verify(ended, c.Value)
	assert.ErrorIs(t, err, stmigrate.ErrUnavailable)
	_, err = v.Verify(ended, f.Cookies["another secret"].Value)
	assert.ErrorIs(t, err, stmigrate.ErrNotMine, "the store is not asked for what nobody signed")
}

func TestExpressIsARevoker(t *testing.T) {
	t.Parallel()
	stmigratetest.TestRevoker(t, func(t *testing.T) stmigratetest.RevokerUnderTest {
		f, store, cfg := express(t)
		v, err := NewExpress(cfg)
		require.NoError(t, err)
		n := 0
		return stmigratetest.RevokerUnderTest{
			Revoker: v,
			SignIn: func(user string) (string, *stmigrate.OldSession) {
				n++
				id := fmt.Sprintf("session-of-%s-%010d", user, n)
				store.items[id] = item{data: `{"cookie":{},"passport":{"user":"` + user + `"}}`}
				token := connectSid(id, f.Secrets[0])
				s, err := v.Verify(t.Context(), token)
				require.NoError(t, err)
				return token, s
			},
			Ended: func(token string) bool { _, err := v.Verify(t.Context(), token); return err != nil },
			Break: func() { store.fail = errors.New("broken") },
		}
	})
	f, _, cfg := express(t)
	v, err := NewExpress(cfg)
	require.NoError(t, err)
	s, err := v.Verify(t.Context(), f.Cookies["passport"].Value)
	require.NoError(t, err)
	for name, wrong := range map[string]error{
		"another session's token": v.Revoke(t.Context(), f.Cookies["a guest"].Value, s),
		"a forged token":          v.Revoke(t.Context(), f.Cookies["another secret"].Value, s),
		"no session":              v.Revoke(t.Context(), f.Cookies["passport"].Value, nil),
	} {
		var e *stmigrate.RevokeError
		require.ErrorAs(t, wrong, &e, name)
		assert.True(t, e.Permanent, name)
	}
	_, err = v.Verify(t.Context(), f.Cookies["passport"].Value)
	assert.NoError(t, err)
}

func TestExpressConfig(t *testing.T) {
	t.Parallel()
	_, _, good := express(t)
	configs(t, good, NewExpress, map[string]func(*ExpressConfig){
		"ExpressConfig.Rules.Issuer is required":       func(c *ExpressConfig) { c.Rules.Issuer = "" },
		"Rules.Issuer is required, without space":      func(c *ExpressConfig) { c.Rules.Issuer = " a" },
		"Rules.UserID is required":                     func(c *ExpressConfig) { c.Rules.UserID = nil },
		"has an empty name":                            func(c *ExpressConfig) { c.Rules.AuthTime = Path{""} },
		"Rules.TenantID needs Tenants":                 func(c *ExpressConfig) { c.Rules.TenantID = Path{"t"} },
		"Rules.Tenants needs TenantID":                 func(c *ExpressConfig) { c.Rules.Tenants = map[string]string{"a": "b"} },
		"a SuperTokens tenant wanted":                  func(c *ExpressConfig) { c.Rules.TenantID, c.Rules.Tenants = Path{"t"}, map[string]string{"a": "B"} },
		"Rules.Timeout is negative":                    func(c *ExpressConfig) { c.Rules.Timeout = -1 },
		"ExpressConfig.Secrets is required, and none ": func(c *ExpressConfig) { c.Secrets = []string{"a", ""} },
		"ExpressConfig.Secrets is required":            func(c *ExpressConfig) { c.Secrets = nil },
		"ExpressConfig.Get is required":                func(c *ExpressConfig) { c.Get = nil },
		"ExpressConfig.Delete is required":             func(c *ExpressConfig) { c.Delete = nil },
	})
}

func TestRules(t *testing.T) {
	t.Parallel()
	f, store, cfg := express(t)
	pending := errors.New("the second factor is pending")
	cfg.Rules.TenantID, cfg.Rules.Tenants, cfg.Rules.AuthTime = Path{"orgs", "0", "id"}, map[string]string{"1": "acme"}, Path{"at"}
	cfg.Rules.Check = func(_ context.Context, s *stmigrate.OldSession) error {
		switch s.Claims["mfa"] {
		case "pending":
			return pending
		case "asleep":
			return fmt.Errorf("%w: asleep", stmigrate.ErrUnavailable)
		case "late":
			return fmt.Errorf("asking: %w", context.Canceled)
		}
		return nil
	}
	v, err := NewExpress(cfg)
	require.NoError(t, err)
	now := f.Made.Add(time.Minute)
	id := "session-of-a-tenant"
	for _, tc := range []struct {
		name, data string
		want       error
	}{
		{"good", `"at":1760000000,"orgs":[{"id":1}]`, nil},
		{"RFC 3339", `"at":"2025-10-09T08:53:20Z","orgs":[{"id":"1"}]`, nil},
		{"a fraction", `"at":1760000000.75,"orgs":[{"id":"1"}]`, nil},
		{"milliseconds", `"at":1760000000000,"orgs":[{"id":"1"}]`, nil},
		{"no time", `"orgs":[{"id":1}]`, stmigrate.ErrInvalidSession},
		{"no zone", `"at":"2025-10-09T08:53:20","orgs":[{"id":1}]`, stmigrate.ErrInvalidSession},
		{"zero", `"at":0,"orgs":[{"id":1}]`, stmigrate.ErrInvalidSession},
		{"negative", `"at":-1760000000,"orgs":[{"id":1}]`, stmigrate.ErrInvalidSession},
		{"nanoseconds", `"at":1760000000000000000,"orgs":[{"id":1}]`, stmigrate.ErrInvalidSession},
		{"the future", fmt.Sprintf(`"at":%d,"orgs":[{"id":1}]`, now.Add(time.Hour).Unix()), stmigrate.ErrInvalidSession},
		{"no tenant", `"at":1760000000`, stmigrate.ErrInvalidSession},
		{"another tenant", `"at":1760000000,"orgs":[{"id":2}]`, stmigrate.ErrInvalidSession},
		{"no array", `"at":1760000000,"orgs":{"id":1}`, stmigrate.ErrInvalidSession},
		{"an empty array", `"at":1760000000,"orgs":[]`, stmigrate.ErrInvalidSession},
		{"the application's rule", `"at":1760000000,"orgs":[{"id":1}],"mfa":"pending"`, stmigrate.ErrInvalidSession},
		{"its class", `"at":1760000000,"orgs":[{"id":1}],"mfa":"asleep"`, stmigrate.ErrUnavailable},
		{"the client went away", `"at":1760000000,"orgs":[{"id":1}],"mfa":"late"`, stmigrate.ErrUnavailable},
	} {
		store.items[id] = item{data: `{"cookie":{},"passport":{"user":"user-1"},` + tc.data + `}`}
		s, err := v.Verify(t.Context(), connectSid(id, f.Secrets[0]))
		require.ErrorIs(t, err, tc.want, tc.name)
		if err == nil {
			assert.Equal(t, "acme", s.TenantID, tc.name)
			assert.Equal(t, int64(1760000000), s.AuthTime.Unix(), tc.name)
		}
	}
	_, err = v.Verify(t.Context(), f.Cookies["passport"].Value)
	assert.ErrorIs(t, err, stmigrate.ErrInvalidSession)
}

// The whole way: a browser's cookie, from the application's page and from another one.
func TestExchangeOfACookie(t *testing.T) {
	t.Parallel()
	f, store, cfg := express(t)
	v, err := NewExpress(cfg)
	require.NoError(t, err)
	m, sessions := migrator(t, "connect.sid", f.Made.Add(time.Minute), v, v)
	c := f.Cookies["passport"]

	answer := httptest.NewRecorder()
	m.ServeHTTP(answer, request(t, "https://evil.example", c.Name, c.Value))
	assert.Equal(t, http.StatusForbidden, answer.Code)
	assert.Contains(t, store.items, c.ID)
	assert.Zero(t, sessions.Created())

	answer = httptest.NewRecorder()
	m.ServeHTTP(answer, request(t, origin, c.Name, f.Cookies["another secret"].Value))
	assert.Equal(t, http.StatusUnauthorized, answer.Code)

	for range 2 { // the second is a retry: the session is gone by then, and its answer is given again
		answer = httptest.NewRecorder()
		m.ServeHTTP(answer, request(t, origin, c.Name, c.Value))
		assert.Equal(t, http.StatusOK, answer.Code, answer.Body)
		assert.NotContains(t, store.items, c.ID)
	}
	require.Equal(t, 1, sessions.Created())
	assert.Equal(t, "user-1", sessions.Live()[0].UserID)
}

func FuzzExpress(f *testing.F) {
	fix, store, cfg := express(f)
	id := "session-of-the-fuzzer"
	token := connectSid(id, fix.Secrets[0])
	for _, c := range fix.Cookies {
		f.Add(c.Value, []byte(c.Data))
	}
	f.Add(token, []byte(`{"cookie":{"expires":1e99},"passport":{"user":[]}}`))
	v, err := NewExpress(cfg)
	require.NoError(f, err)
	known := make(map[string]bool)
	for _, c := range fix.Cookies {
		known[c.ID] = true
	}
	f.Fuzz(func(t *testing.T, cookie string, data []byte) {
		if got, err := v.id(cookie); err == nil && !known[got] && got != id {
			t.Fatalf("a forged cookie: %q", cookie)
		}
		store.items[id] = item{data: string(data)}
		for _, token := range []string{cookie, token} {
			s, err := v.Verify(t.Context(), token)
			if (err == nil) == (s == nil) {
				t.Fatalf("%v and %v", s, err)
			}
			if err == nil && (s.Subject == "" || s.SessionID == "") {
				t.Fatalf("a session without a name: %+v", s)
			}
			if err != nil && !classed(err) {
				t.Fatalf("an error of no class: %v", err)
			}
		}
	})
}
