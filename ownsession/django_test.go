package ownsession

import (
	"bytes"
	"compress/zlib"
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

type djangoFixture struct {
	Made     time.Time
	Keys     []string `json:"secret_keys"`
	Password string
	Rows     map[string]struct {
		Key, Data string
		Expires   time.Time
	}
	Cookies map[string]string
}

func (f *djangoFixture) password(_ context.Context, userID string) (string, error) {
	if userID != "7" {
		return "", sql.ErrNoRows
	}
	return f.Password, nil
}

func django(tb testing.TB) (djangoFixture, *shelf, DjangoConfig) {
	f := fixture[djangoFixture](tb, "django/django.json")
	s := &shelf{items: make(map[string]item)}
	for _, row := range f.Rows {
		s.items[row.Key] = item{row.Data, row.Expires}
	}
	return f, s, DjangoConfig{
		Rules:      Rules{Issuer: "django", Now: at(f.Made.Add(time.Minute))},
		SecretKeys: f.Keys, Get: s.Get, Delete: s.Delete, PasswordHash: f.password,
	}
}

func djangoCookie(tb testing.TB) (djangoFixture, DjangoCookieConfig) {
	f := fixture[djangoFixture](tb, "django/django.json")
	return f, DjangoCookieConfig{
		Rules:      Rules{Issuer: "django", Now: at(f.Made.Add(time.Minute))},
		SecretKeys: f.Keys, PasswordHash: f.password, SessionID: Path{"login_id"},
	}
}

// signed signs what Django would not.
func (d *djangoSigner) signed(body string) string {
	return body + ":" + base64.RawURLEncoding.EncodeToString(djangoMAC(d.salt, d.keys[0], body))
}

func dumped(data, stamp string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(data)) + ":" + stamp
}

func deflated(data []byte) string {
	var b bytes.Buffer
	z := zlib.NewWriter(&b)
	_, _ = z.Write(data)
	_ = z.Close()
	return "." + base64.RawURLEncoding.EncodeToString(b.Bytes()) + ":1xUmtj"
}

func TestDjango(t *testing.T) {
	t.Parallel()
	f, store, cfg := django(t)
	v, err := NewDjango(cfg)
	require.NoError(t, err)
	n := 0
	put := func(data string) string {
		n++
		key := fmt.Sprintf("%032d", n)
		store.items[key] = item{data, f.Made.Add(time.Hour)}
		return key
	}
	signed := func(body string) string { return put(v.signer.signed(body)) }
	over := put(f.Rows["login"].Data)
	store.items[over] = item{f.Rows["login"].Data, f.Made.Add(time.Minute)}
	right := f.Rows["login"]
	data, _, err := v.signer.open(right.Data)
	require.NoError(t, err)
	body, _, _ := strings.Cut(right.Data, ":")
	bloated := fmt.Sprintf(`{"_auth_user_id":"7","_auth_user_hash":%q,"filler":"%s"}`, data["_auth_user_hash"], strings.Repeat("x", 900<<10))
	require.Less(t, len(bloated), maxData)

	holds(t, v, []stmigratetest.GoodToken{
		{Name: "login", Token: right.Key, Subject: "7"},
		{Name: "compressed", Token: f.Rows["compressed"].Key, Subject: "7"},
		{Name: "the previous key", Token: f.Rows["the previous key"].Key, Subject: "7"},
	}, []trap{
		{"another key", f.Rows["another key"].Key, stmigrate.ErrInvalidSession},
		{"a guest", f.Rows["a guest"].Key, stmigrate.ErrInvalidSession},
		{"pickle", f.Rows["pickle"].Key, stmigrate.ErrInvalidSession},
		{"pickle, compressed", f.Rows["pickle, compressed"].Key, stmigrate.ErrInvalidSession},
		{"before 3.1", f.Rows["before 3.1"].Key, stmigrate.ErrInvalidSession},
		{"2 MiB of data", f.Rows["2 MiB of data"].Key, stmigrate.ErrInvalidSession},
		{"over", over, stmigrate.ErrExpiredSession},
		{"a signed cookie in a row", put(f.Cookies["login"]), stmigrate.ErrInvalidSession},
		{"another salt", put(f.Cookies["another salt"]), stmigrate.ErrInvalidSession},
		{"nothing", "", stmigrate.ErrNotMine},
		{"no such row", strings.Repeat("x", 32), stmigrate.ErrInvalidSession},
		{"31 characters", right.Key[:31], stmigrate.ErrNotMine},
		{"upper case", strings.ToUpper(right.Key), stmigrate.ErrNotMine},
		{"a space", right.Key[:31] + " ", stmigrate.ErrNotMine},
		{"percent-encoding", "%" + right.Key[:31], stmigrate.ErrNotMine},
		{"one character of the data", put(changed(right.Data, 5)), stmigrate.ErrInvalidSession},
		{"one character of the timestamp", put(changed(right.Data, strings.IndexByte(right.Data, ':')+1)), stmigrate.ErrInvalidSession},
		{"one character of the signature", put(changed(right.Data, -1)), stmigrate.ErrInvalidSession},
		{"the signature cut", put(right.Data[:len(right.Data)-1]), stmigrate.ErrInvalidSession},
		{"no signature", put(right.Data[:strings.LastIndexByte(right.Data, ':')]), stmigrate.ErrInvalidSession},
		{"no timestamp", signed(body), stmigrate.ErrInvalidSession},
		{"an odd timestamp", signed(body + ":1-2"), stmigrate.ErrInvalidSession},
		{"a long timestamp", signed(body + ":zzzzzzzzzzzz"), stmigrate.ErrInvalidSession},
		{"two timestamps", signed(body + ":1xUmtj:1xUmtj"), stmigrate.ErrInvalidSession},
		{"no base64", signed("{}:1xUmtj"), stmigrate.ErrInvalidSession},
		{"no zlib", signed(".e30:1xUmtj"), stmigrate.ErrInvalidSession},
		{"zlib cut short", signed(deflated([]byte(`{"_auth_user_id":"7"}`))[:20] + ":1xUmtj"), stmigrate.ErrInvalidSession},
		{"over 1 MiB in the row", signed(dumped(bloated, "1xUmtj")), stmigrate.ErrInvalidSession},
		{"a bomb", signed(deflated(make([]byte, 8<<20))), stmigrate.ErrInvalidSession},
		{"no hash", signed(dumped(`{"_auth_user_id":"7"}`, "1xUmtj")), stmigrate.ErrInvalidSession},
		{"a wrong hash", signed(dumped(`{"_auth_user_id":"7","_auth_user_hash":"0"}`, "1xUmtj")), stmigrate.ErrInvalidSession},
		{"a user who is gone", signed(dumped(`{"_auth_user_id":"8","_auth_user_hash":"0"}`, "1xUmtj")), stmigrate.ErrInvalidSession},
	})
	s, err := v.Verify(t.Context(), right.Key)
	require.NoError(t, err)
	assert.Equal(t, right.Expires, s.ExpiresAt)
	assert.NotContains(t, fmt.Sprintf("%+v", *s), right.Key)
	assert.Equal(t, "ownsession.Django(django)", fmt.Sprint(v))

	store.items[over] = item{data: right.Data}
	_, err = v.Verify(t.Context(), over)
	require.ErrorContains(t, err, "expire_date")
	assert.False(t, classed(err), "a wrong configuration is nobody's session")
}

// Django ends the sessions of a user whose password changes, and of one who is switched off. So must we.
func TestDjangoPassword(t *testing.T) {
	t.Parallel()
	f, _, cfg := django(t)
	var password string
	var fail error
	cfg.PasswordHash = func(context.Context, string) (string, error) { return password, fail }
	v, err := NewDjango(cfg)
	require.NoError(t, err)
	for _, tc := range []struct {
		password string
		fail     error
		want     error
	}{
		{f.Password, nil, nil},
		{f.Password + "0", nil, stmigrate.ErrInvalidSession},
		{"", nil, stmigrate.ErrInvalidSession},
		{"", sql.ErrNoRows, stmigrate.ErrInvalidSession},
		{"", errors.New("down"), stmigrate.ErrUnavailable},
	} {
		password, fail = tc.password, tc.fail
		_, err := v.Verify(t.Context(), f.Rows["login"].Key)
		assert.ErrorIs(t, err, tc.want)
	}
	cfg.PasswordHash, cfg.SkipAuthHash = nil, true
	v, err = NewDjango(cfg)
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), f.Rows["login"].Key)
	assert.NoError(t, err)
}

func TestDjangoIsARevoker(t *testing.T) {
	t.Parallel()
	stmigratetest.TestRevoker(t, func(t *testing.T) stmigratetest.RevokerUnderTest {
		_, store, cfg := django(t)
		cfg.PasswordHash, cfg.SkipAuthHash = nil, true
		v, err := NewDjango(cfg)
		require.NoError(t, err)
		n := 0
		return stmigratetest.RevokerUnderTest{
			Revoker: v,
			SignIn: func(user string) (string, *stmigrate.OldSession) {
				n++
				key := fmt.Sprintf("%032d", n)
				data := v.signer.signed(dumped(`{"_auth_user_id":"`+user+`"}`, "1xUmtj"))
				store.items[key] = item{data, v.Now().Add(time.Hour)}
				s, err := v.Verify(t.Context(), key)
				require.NoError(t, err)
				return key, s
			},
			Ended: func(token string) bool { _, err := v.Verify(t.Context(), token); return err != nil },
			Break: func() { store.fail = errors.New("broken") },
		}
	})
	_, _, cfg := django(t)
	v, err := NewDjango(cfg)
	require.NoError(t, err)
	var e *stmigrate.RevokeError
	require.ErrorAs(t, v.Revoke(t.Context(), "no key", &stmigrate.OldSession{}), &e)
	assert.True(t, e.Permanent)
}

func TestDjangoCookie(t *testing.T) {
	t.Parallel()
	f, cfg := djangoCookie(t)
	v, err := NewDjangoCookie(cfg)
	require.NoError(t, err)
	right := f.Cookies["login"]
	holds(t, v, []stmigratetest.GoodToken{
		{Name: "login", Token: right, Subject: "7"},
		{Name: "compressed", Token: f.Cookies["compressed"], Subject: "7"},
		{Name: "the previous key", Token: f.Cookies["the previous key"], Subject: "7"},
	}, []trap{
		{"another key", f.Cookies["another key"], stmigrate.ErrNotMine},
		{"another salt", f.Cookies["another salt"], stmigrate.ErrNotMine},
		{"a row's data", f.Rows["login"].Data, stmigrate.ErrNotMine},
		{"no ID", f.Cookies["no ID"], stmigrate.ErrInvalidSession},
		{"a guest", f.Cookies["a guest"], stmigrate.ErrInvalidSession},
		{"pickle", f.Cookies["pickle"], stmigrate.ErrInvalidSession},
		{"2 MiB of data", f.Cookies["2 MiB of data"], stmigrate.ErrInvalidSession},
		{"nothing", "", stmigrate.ErrNotMine},
		{"one character of the data", changed(right, 5), stmigrate.ErrNotMine},
		{"one character of the timestamp", changed(right, strings.IndexByte(right, ':')+1), stmigrate.ErrNotMine},
		{"one character of the signature", changed(right, -1), stmigrate.ErrNotMine},
		{"the signature in another spelling", right + "=", stmigrate.ErrNotMine},
		{"too long", strings.Repeat("A", 20_000) + ":" + right, stmigrate.ErrNotMine},
		{"signed in the future", v.signer.signed(right[:strings.IndexByte(right, ':')] + ":2xUmtj"), stmigrate.ErrInvalidSession},
	})
	s, err := v.Verify(t.Context(), right)
	require.NoError(t, err)
	assert.Equal(t, f.Made.Add(14*24*time.Hour), s.ExpiresAt)
	assert.Zero(t, s.IssuedAt, "the signature's time is not the login's, and NotBefore must not take it for that")
	assert.Len(t, s.SessionID, 43)
	same, err := v.Verify(t.Context(), f.Cookies["compressed"])
	require.NoError(t, err)
	assert.Equal(t, s.SessionID, same.SessionID, "two cookies of one login are one session")

	cfg.MaxAge = time.Minute
	v, err = NewDjangoCookie(cfg)
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), right)
	assert.ErrorIs(t, err, stmigrate.ErrExpiredSession)

	cfg.MaxAge, cfg.SessionID, cfg.SkipSessionID, cfg.Rules.AuthTime = time.Hour, nil, true, Path{"login_at"}
	v, err = NewDjangoCookie(cfg)
	require.NoError(t, err)
	s, err = v.Verify(t.Context(), right)
	require.NoError(t, err)
	assert.Empty(t, s.SessionID)
	assert.Len(t, s.TokenID, 43)
	assert.Equal(t, time.UnixMilli(1760000000250), s.AuthTime)
}

func TestInflateIsBounded(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer
	z := zlib.NewWriter(&bomb)
	_, err := z.Write(make([]byte, 8<<20))
	require.NoError(t, err)
	require.NoError(t, z.Close())
	out, err := inflate(bomb.Bytes())
	require.NoError(t, err)
	assert.Len(t, out, maxData+1)
	_, err = parseJSON(out)
	assert.ErrorContains(t, err, "at most")
}

func TestDjangoConfig(t *testing.T) {
	t.Parallel()
	_, _, good := django(t)
	configs(t, good, NewDjango, map[string]func(*DjangoConfig){
		"DjangoConfig.Rules.Issuer is required":      func(c *DjangoConfig) { c.Rules.Issuer = "" },
		"DjangoConfig.SecretKeys is required":        func(c *DjangoConfig) { c.SecretKeys = nil },
		"DjangoConfig.SecretKeys[0] has 5 bytes":     func(c *DjangoConfig) { c.SecretKeys = []string{"short"} },
		"DjangoConfig.Get is required":               func(c *DjangoConfig) { c.Get = nil },
		"DjangoConfig.Delete is required":            func(c *DjangoConfig) { c.Delete = nil },
		"DjangoConfig.PasswordHash is required":      func(c *DjangoConfig) { c.PasswordHash = nil },
		"DjangoConfig.PasswordHash and SkipAuthHash": func(c *DjangoConfig) { c.SkipAuthHash = true },
	})
	_, cookie := djangoCookie(t)
	configs(t, cookie, NewDjangoCookie, map[string]func(*DjangoCookieConfig){
		"DjangoCookieConfig.PasswordHash is required":    func(c *DjangoCookieConfig) { c.PasswordHash = nil },
		"DjangoCookieConfig.SecretKeys is required":      func(c *DjangoCookieConfig) { c.SecretKeys = nil },
		"DjangoCookieConfig.SessionID is required":       func(c *DjangoCookieConfig) { c.SessionID = nil },
		"DjangoCookieConfig.SessionID and SkipSessionID": func(c *DjangoCookieConfig) { c.SkipSessionID = true },
		"DjangoCookieConfig.MaxAge is negative":          func(c *DjangoCookieConfig) { c.MaxAge = -1 },
	})
}

func TestExchangeOfADjangoSession(t *testing.T) {
	t.Parallel()
	f, store, cfg := django(t)
	v, err := NewDjango(cfg)
	require.NoError(t, err)
	m, sessions := migrator(t, "sessionid", f.Made.Add(time.Minute), v, v)
	row := f.Rows["login"]
	answer := httptest.NewRecorder()
	m.ServeHTTP(answer, request(t, "https://evil.example", "sessionid", row.Key))
	assert.Equal(t, http.StatusForbidden, answer.Code)
	answer = httptest.NewRecorder()
	m.ServeHTTP(answer, request(t, origin, "sessionid", row.Key))
	assert.Equal(t, http.StatusOK, answer.Code, answer.Body)
	assert.NotContains(t, store.items, row.Key)
	assert.Len(t, sessions.Live(), 1)
}

func FuzzDjango(f *testing.F) {
	fix, store, cfg := django(f)
	rows, err := NewDjango(cfg)
	require.NoError(f, err)
	_, cookieConfig := djangoCookie(f)
	cookies, err := NewDjangoCookie(cookieConfig)
	require.NoError(f, err)
	genuine := make(map[string]bool)
	for name, c := range fix.Cookies {
		genuine[c] = name != "another salt" && name != "another key"
		f.Add(c, c[:strings.LastIndexByte(c, ':')])
	}
	for _, r := range fix.Rows {
		f.Add(r.Key, r.Data)
	}
	key := strings.Repeat("f", 32)
	f.Fuzz(func(t *testing.T, cookie, body string) {
		if _, _, err := cookies.signer.open(cookie); !errors.Is(err, errSignature) && !genuine[cookie] {
			t.Fatalf("a forged cookie: %q", cookie)
		}
		store.items[key] = item{rows.signer.signed(body), fix.Made.Add(time.Hour)}
		for token, v := range map[string]stmigrate.OldSessionVerifier{cookie: cookies, key: rows, cookies.signer.signed(body): cookies} {
			s, err := v.Verify(t.Context(), token)
			if (err == nil) == (s == nil) || err != nil && !classed(err) {
				t.Fatalf("%v and %v", s, err)
			}
			if err == nil && (s.Subject != "7" || s.SessionID == "") {
				t.Fatalf("a session that is not the fixtures' user's: %+v", s)
			}
		}
	})
}
