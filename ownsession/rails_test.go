package ownsession

import (
	"crypto"
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
	"github.com/stmigrate/stmigrate/revoke"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

type railsFixture struct {
	Made    time.Time
	Base    string `json:"secret_key_base"`
	Cookie  string
	Cookies map[string]string
}

func rails(tb testing.TB) (railsFixture, RailsConfig) {
	f := fixture[railsFixture](tb, "rails/rails.json")
	return f, RailsConfig{
		Rules:  Rules{Issuer: "rails", UserID: Path{"user_id"}, Now: at(f.Made.Add(time.Minute))},
		Cookie: f.Cookie, SecretKeyBases: []string{f.Base},
	}
}

// sealed encrypts what Rails would not.
func sealed(v *Rails, text string) string {
	out := v.keys[0].Seal(nil, make([]byte, 12), []byte(text), nil)
	enc := base64.StdEncoding.EncodeToString
	return url.QueryEscape(enc(out[:len(out)-16])) + "--" + url.QueryEscape(enc(make([]byte, 12))) + "--" + url.QueryEscape(enc(out[len(out)-16:]))
}

// envelope is that of Rails 6 and later.
func envelope(exp, purpose, message string) string {
	return fmt.Sprintf(`{"_rails":{"message":"%s","exp":%s,"pur":%s}}`, base64.StdEncoding.EncodeToString([]byte(message)), exp, purpose)
}

func TestRails(t *testing.T) {
	t.Parallel()
	f, cfg := rails(t)
	v, err := NewRails(cfg)
	require.NoError(t, err)
	right := f.Cookies["user_id"]
	parts := strings.Split(right, "--")
	unescaped, err := url.QueryUnescape(right)
	require.NoError(t, err)
	const purpose = `"cookie._shop_session"`
	const session = `{"session_id":"0123456789abcdef0123456789abcdef","user_id":17}`

	holds(t, v, []stmigratetest.GoodToken{
		{Name: "user_id", Token: right, Subject: "17"},
		{Name: "not percent-encoded", Token: unescaped, Subject: "17"},
		{Name: "expire_after", Token: f.Cookies["expire_after"], Subject: "17"},
		{Name: "our own", Token: sealed(v, envelope("null", purpose, session)), Subject: "17"},
	}, []trap{
		{"another secret_key_base", f.Cookies["another secret_key_base"], stmigrate.ErrNotMine},
		{"another digest", f.Cookies["SHA-1"], stmigrate.ErrNotMine},
		{"another salt", f.Cookies["another salt"], stmigrate.ErrNotMine},
		{"another cookie's name", f.Cookies["another cookie's name"], stmigrate.ErrInvalidSession},
		{"another encrypted cookie", f.Cookies["another encrypted cookie"], stmigrate.ErrInvalidSession},
		{"without purpose", f.Cookies["without purpose"], stmigrate.ErrInvalidSession},
		{"without purpose, with expiry", f.Cookies["without purpose, expire_after"], stmigrate.ErrInvalidSession},
		{"Marshal", f.Cookies["Marshal"], stmigrate.ErrInvalidSession},
		{"Marshal, without purpose", f.Cookies["Marshal, without purpose"], stmigrate.ErrInvalidSession},
		{"a guest", f.Cookies["a guest"], stmigrate.ErrInvalidSession},
		{"over", f.Cookies["over in a second"], stmigrate.ErrExpiredSession},
		{"a user under another path", f.Cookies["devise"], stmigrate.ErrInvalidSession},
		{"nothing", "", stmigrate.ErrNotMine},
		{"dashes", "----", stmigrate.ErrNotMine},
		{"one part", parts[0], stmigrate.ErrNotMine},
		{"two parts", parts[0] + "--" + parts[1], stmigrate.ErrNotMine},
		{"four parts", right + "--", stmigrate.ErrNotMine},
		{"one character of the data", changed(right, 4), stmigrate.ErrNotMine},
		{"one character of the nonce", changed(right, len(parts[0])+4), stmigrate.ErrNotMine},
		{"one character of the tag", changed(right, len(right)-10), stmigrate.ErrNotMine},
		{"a tag of 4 bytes", parts[0] + "--" + parts[1] + "--" + url.QueryEscape("AAAAAA=="), stmigrate.ErrNotMine},
		{"no tag", parts[0] + "--" + parts[1] + "--", stmigrate.ErrNotMine},
		{"a nonce of 16 bytes", parts[0] + "--" + url.QueryEscape("AAAAAAAAAAAAAAAAAAAAAA==") + "--" + parts[2], stmigrate.ErrNotMine},
		{"a line break in the base64", unescaped[:8] + "%0A" + unescaped[8:], stmigrate.ErrNotMine},
		{"too long", strings.Repeat("A", 20_000) + "--" + parts[1] + "--" + parts[2], stmigrate.ErrNotMine},
		{"no JSON", sealed(v, "session"), stmigrate.ErrInvalidSession},
		{"nothing inside", sealed(v, ""), stmigrate.ErrInvalidSession},
		{"no envelope", sealed(v, session), stmigrate.ErrInvalidSession},
		{"no purpose", sealed(v, envelope("null", "null", session)), stmigrate.ErrInvalidSession},
		{"a purpose that begins so", sealed(v, envelope("null", `"cookie._shop_session2"`, session)), stmigrate.ErrInvalidSession},
		{"a purpose that is no string", sealed(v, envelope("null", `["cookie._shop_session"]`, session)), stmigrate.ErrInvalidSession},
		{"an odd exp", sealed(v, envelope(`"soon"`, purpose, session)), stmigrate.ErrInvalidSession},
		{"a false exp", sealed(v, envelope(`false`, purpose, session)), stmigrate.ErrInvalidSession},
		{"no message", sealed(v, `{"_rails":{"pur":`+purpose+`}}`), stmigrate.ErrInvalidSession},
		{"a message that is no base64", sealed(v, `{"_rails":{"message":"{}","pur":`+purpose+`}}`), stmigrate.ErrInvalidSession},
		{"a message that is no JSON", sealed(v, envelope("null", purpose, "session")), stmigrate.ErrInvalidSession},
		{"no session ID", sealed(v, envelope("null", purpose, `{"user_id":17}`)), stmigrate.ErrInvalidSession},
	})
	s, err := v.Verify(t.Context(), right)
	require.NoError(t, err)
	assert.Zero(t, s.ExpiresAt)
	assert.Equal(t, "acme", s.Claims["tenant"])
	assert.Len(t, s.SessionID, 43)
	assert.NotEqual(t, s.Claims["session_id"], s.SessionID)
	assert.Equal(t, "ownsession.Rails(rails)", fmt.Sprintf("%#v", v))

	s, err = v.Verify(t.Context(), f.Cookies["expire_after"])
	require.NoError(t, err)
	assert.WithinDuration(t, f.Made.Add(24*time.Hour), s.ExpiresAt, time.Minute)
}

func TestRailsSettings(t *testing.T) {
	t.Parallel()
	f, good := rails(t)
	for _, tc := range []struct {
		cookie, subject string
		change          func(*RailsConfig)
		want            error
	}{
		{"devise", "17", func(c *RailsConfig) { c.Rules.UserID = Path{"warden.user.user.key", "0", "0"} }, nil},
		{"devise", "", func(c *RailsConfig) { c.Rules.UserID = Path{"warden.user.user.key", "0", "1"} }, stmigrate.ErrInvalidSession},
		{"devise", "", func(c *RailsConfig) { c.Rules.UserID = Path{"warden.user.user.key", "0"} }, stmigrate.ErrInvalidSession},
		{"devise", "", func(c *RailsConfig) { c.Rules.UserID = Path{"warden.user.user.key", "0", "00"} }, stmigrate.ErrInvalidSession},
		{"SHA-1", "17", func(c *RailsConfig) { c.Digest = crypto.SHA1 }, nil},
		{"user_id", "", func(c *RailsConfig) { c.Digest = crypto.SHA1 }, stmigrate.ErrNotMine},
		{"user_id", "17", func(c *RailsConfig) { c.Digest = crypto.SHA256 }, nil},
		{"another salt", "17", func(c *RailsConfig) { c.Salt = "another salt" }, nil},
		{"another cookie's name", "17", func(c *RailsConfig) { c.Cookie = "_admin_session" }, nil},
		{"another secret_key_base", "17", func(c *RailsConfig) {
			c.SecretKeyBases = append(c.SecretKeyBases, strings.Repeat("another secret_key_base of rails, 32 bytes and more ", 2))
		}, nil},
		{"without purpose", "17", func(c *RailsConfig) { c.SkipPurpose = true }, nil},
		{"without purpose, expire_after", "17", func(c *RailsConfig) { c.SkipPurpose = true }, nil},
		{"user_id", "17", func(c *RailsConfig) { c.SkipPurpose = true }, nil},
		{"another encrypted cookie", "", func(c *RailsConfig) { c.SkipPurpose = true }, stmigrate.ErrInvalidSession},
		{"Marshal, without purpose", "", func(c *RailsConfig) { c.SkipPurpose = true }, stmigrate.ErrInvalidSession},
		{"user_id", "", func(c *RailsConfig) { c.SessionID = Path{"login_id"} }, stmigrate.ErrInvalidSession},
		{"user_id", "17", func(c *RailsConfig) {
			c.Rules.TenantID, c.Rules.Tenants = Path{"tenant"}, map[string]string{"acme": "acme-corp"}
		}, nil},
	} {
		cfg := good
		tc.change(&cfg)
		v, err := NewRails(cfg)
		require.NoError(t, err)
		s, err := v.Verify(t.Context(), f.Cookies[tc.cookie])
		require.ErrorIs(t, err, tc.want, tc.cookie)
		if err == nil {
			assert.Equal(t, tc.subject, s.Subject, tc.cookie)
		}
	}
}

func TestRailsConfig(t *testing.T) {
	t.Parallel()
	_, good := rails(t)
	configs(t, good, NewRails, map[string]func(*RailsConfig){
		"RailsConfig.Rules.UserID is required":    func(c *RailsConfig) { c.Rules.UserID = nil },
		"RailsConfig.Cookie is required":          func(c *RailsConfig) { c.Cookie = "" },
		"RailsConfig.SecretKeyBases is required":  func(c *RailsConfig) { c.SecretKeyBases = nil },
		"RailsConfig.SecretKeyBases[0] has 5 byt": func(c *RailsConfig) { c.SecretKeyBases = []string{"short"} },
		"RailsConfig.Digest is MD5":               func(c *RailsConfig) { c.Digest = crypto.MD5 },
	})
}

// A cookie that is the session cannot be ended; the answer takes it from the browser. A second cookie of the same login is the same
// session.
func TestExchangeOfARailsCookie(t *testing.T) {
	t.Parallel()
	f, cfg := rails(t)
	v, err := NewRails(cfg)
	require.NoError(t, err)
	clearing, err := revoke.ClearCookies(stmigrate.LeaveToExpire, &http.Cookie{Name: f.Cookie, Path: "/"})
	require.NoError(t, err)
	m, sessions := migrator(t, f.Cookie, f.Made.Add(time.Minute), v, clearing)

	answer := httptest.NewRecorder()
	m.ServeHTTP(answer, request(t, "https://evil.example", f.Cookie, f.Cookies["user_id"]))
	assert.Equal(t, http.StatusForbidden, answer.Code)
	answer = httptest.NewRecorder()
	m.ServeHTTP(answer, request(t, origin, f.Cookie, f.Cookies["user_id"]))
	require.Equal(t, http.StatusOK, answer.Code, answer.Body)

	first, err := v.Verify(t.Context(), f.Cookies["user_id"])
	require.NoError(t, err)
	again := sealed(v, envelope("null", `"cookie._shop_session"`, fmt.Sprintf(`{"session_id":%q,"user_id":17,"basket":[1]}`, first.Claims["session_id"])))
	answer = httptest.NewRecorder()
	m.ServeHTTP(answer, request(t, origin, f.Cookie, again))
	assert.Equal(t, http.StatusOK, answer.Code, "the same answer again")
	assert.Equal(t, 1, sessions.Created())
}

func FuzzRails(f *testing.F) {
	fix, cfg := rails(f)
	v, err := NewRails(cfg)
	require.NoError(f, err)
	cfg.SkipPurpose = true
	lax, err := NewRails(cfg)
	require.NoError(f, err)
	genuine := make(map[string]bool)
	for _, c := range fix.Cookies {
		text, err := v.open(c)
		if err == nil {
			genuine[string(text)] = true
		}
		f.Add(c, text)
	}
	f.Add("--%--", []byte(`{"_rails":{"message":"e30=","exp":1e999,"pur":"cookie._shop_session"}}`))
	f.Fuzz(func(t *testing.T, cookie string, text []byte) {
		if got, err := v.open(cookie); err == nil && !genuine[string(got)] {
			t.Fatalf("a forged cookie: %q", cookie)
		} else if err != nil && !errors.Is(err, stmigrate.ErrNotMine) {
			t.Fatalf("not of the class ErrNotMine: %v", err)
		}
		for _, v := range []*Rails{v, lax} {
			s, err := v.Verify(t.Context(), sealed(v, string(text)))
			if (err == nil) == (s == nil) || err != nil && !classed(err) {
				t.Fatalf("%v and %v", s, err)
			}
			if err == nil && (s.Subject == "" || s.SessionID == "") {
				t.Fatalf("a session without a name: %+v", s)
			}
		}
	})
}
