package ownsession

import (
	"context"
	"encoding/base64"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// scsManager does as scs does: a context has one session, and an unknown token makes a new one. The real one is in interop.
type scsManager struct {
	sessions map[string]map[string]any
	fail     error
}

type scsKey struct{}

func (m *scsManager) Load(ctx context.Context, token string) (context.Context, error) {
	if ctx.Value(scsKey{}) != nil {
		return ctx, nil
	}
	if m.sessions[token] == nil {
		token = ""
	}
	return context.WithValue(ctx, scsKey{}, token), errors.Join(m.fail, ctx.Err())
}
func (m *scsManager) Token(ctx context.Context) string        { return ctx.Value(scsKey{}).(string) }
func (m *scsManager) Get(ctx context.Context, key string) any { return m.sessions[m.Token(ctx)][key] }
func (m *scsManager) Deadline(ctx context.Context) time.Time  { return noon.Add(time.Hour) }
func (m *scsManager) Destroy(ctx context.Context) error {
	delete(m.sessions, m.Token(ctx))
	return m.fail
}

func (m *scsManager) open(t *testing.T, rules Rules) *SCS {
	v, err := NewSCS(SCSConfig{rules, m})
	require.NoError(t, err)
	return v
}

func TestSCS(t *testing.T) {
	t.Parallel()
	token := sqlID("live")
	m := &scsManager{sessions: map[string]map[string]any{
		token: {"userID": 7, "at": time.Unix(1760000000, 0), "org": "acme", "other": struct{}{}},
	}}
	rules := Rules{
		Issuer: "scs", UserID: Path{"userID"}, AuthTime: Path{"at"}, TenantID: Path{"org"}, Tenants: map[string]string{"acme": "acme"}, Now: at(noon),
	}
	v := m.open(t, rules)
	s, err := v.Verify(t.Context(), token)
	require.NoError(t, err)
	assert.Equal(t, "7", s.Subject)
	assert.Equal(t, "acme", s.TenantID)
	assert.Equal(t, int64(1760000000), s.AuthTime.Unix())
	assert.Equal(t, noon.Add(time.Hour), s.ExpiresAt)
	assert.NotContains(t, s.Claims, "other", "nothing is looked at but what Rules name")

	rules.Now = at(noon.Add(time.Hour))
	_, err = m.open(t, rules).Verify(t.Context(), token)
	assert.ErrorIs(t, err, stmigrate.ErrExpiredSession)
	_, err = v.Verify(t.Context(), sqlID("none"))
	assert.ErrorIs(t, err, stmigrate.ErrNotMine)
	_, err = v.Verify(context.WithValue(t.Context(), scsKey{}, token), token)
	assert.ErrorIs(t, err, errWithin)
	require.NoError(t, v.Revoke(t.Context(), token, s))
	require.NoError(t, v.Revoke(t.Context(), token, s))
	assert.Empty(t, m.sessions)
	m.fail = errors.New("down")
	_, err = v.Verify(t.Context(), token)
	assert.ErrorIs(t, err, stmigrate.ErrUnavailable)

	configs(t, SCSConfig{rules, m}, NewSCS, map[string]func(*SCSConfig){
		"SCSConfig.Manager is required": func(c *SCSConfig) { c.Manager = nil },
		"is too long":                   func(c *SCSConfig) { c.Rules.UserID = Path{"a", "b"} },
	})
}

// cookieError is an error as securecookie makes them.
type cookieError struct{ decode bool }

func (e cookieError) Error() string  { return "securecookie" }
func (e cookieError) IsDecode() bool { return e.decode }

func TestGorilla(t *testing.T) {
	t.Parallel()
	token := base64.URLEncoding.EncodeToString([]byte("a cookie of a session"))
	var session *GorillaSession
	var fail error
	cfg := GorillaConfig{
		Rules: Rules{Issuer: "gorilla", UserID: Path{"account", "ids", "1"}, Now: at(noon)}, Cookie: "app",
		Load: func(r *http.Request) (*GorillaSession, error) {
			cookies := r.Cookies()
			if len(cookies) != 1 || cookies[0].Name != "app" || cookies[0].Value != token {
				return nil, cookieError{true}
			}
			return session, errors.Join(fail, r.Context().Err())
		},
		Delete: func(w http.ResponseWriter, r *http.Request) error {
			http.SetCookie(w, &http.Cookie{Name: "app", MaxAge: -1})
			session = nil
			return fail
		},
	}
	v, err := NewGorilla(cfg)
	require.NoError(t, err)
	values := map[any]any{"account": map[string]any{"ids": []any{"first", int64(8)}}, 3: "three"}
	for _, tc := range []struct {
		name    string
		session *GorillaSession
		fail    error
		want    error
	}{
		{"good", &GorillaSession{"id", values, noon.Add(time.Hour)}, nil, nil},
		{"over", &GorillaSession{"id", values, noon}, nil, stmigrate.ErrExpiredSession},
		{"a guest", &GorillaSession{"id", nil, time.Time{}}, nil, stmigrate.ErrInvalidSession},
		{"none", nil, nil, stmigrate.ErrInvalidSession},
		{"no file", nil, &fs.PathError{Op: "open", Path: "session_x", Err: fs.ErrNotExist}, stmigrate.ErrInvalidSession},
		{"a forged one", nil, cookieError{true}, stmigrate.ErrNotMine},
		{"a codec without keys", nil, cookieError{false}, stmigrate.ErrUnavailable},
		{"a store that is down", nil, errors.New("down"), stmigrate.ErrUnavailable},
	} {
		session, fail = tc.session, tc.fail
		s, err := v.Verify(t.Context(), token)
		require.ErrorIs(t, err, tc.want, tc.name)
		if err == nil {
			assert.Equal(t, "8", s.Subject)
			assert.Equal(t, hashed("id"), s.SessionID)
		}
	}
	for _, wrong := range []string{"", token[1:], token + "\n", token + "; app=x", strings.Repeat("AAAA", 5000)} {
		_, err := v.Verify(t.Context(), wrong)
		assert.ErrorIs(t, err, stmigrate.ErrNotMine, wrong)
	}
	for _, permanent := range []error{
		v.Revoke(t.Context(), token, nil), v.Revoke(t.Context(), token, &stmigrate.OldSession{Issuer: "other"}),
		v.Revoke(t.Context(), "%", &stmigrate.OldSession{Issuer: "gorilla"}),
	} {
		var e *stmigrate.RevokeError
		require.ErrorAs(t, permanent, &e)
		assert.True(t, e.Permanent)
	}
	session, fail = &GorillaSession{ID: "id"}, nil
	require.NoError(t, v.Revoke(t.Context(), token, &stmigrate.OldSession{Issuer: "gorilla"}))
	assert.Nil(t, session)

	configs(t, cfg, NewGorilla, map[string]func(*GorillaConfig){
		"GorillaConfig.Rules.UserID is required":    func(c *GorillaConfig) { c.Rules.UserID = nil },
		"GorillaConfig.Cookie is required":          func(c *GorillaConfig) { c.Cookie = "a b" },
		"GorillaConfig.Load is required":            func(c *GorillaConfig) { c.Load = nil },
		"GorillaConfig.SessionID and SkipSessionID": func(c *GorillaConfig) { c.SessionID, c.SkipSessionID = Path{"id"}, true },
	})
}

var _ = []stmigrate.Revoker{(*SQL)(nil), (*SCS)(nil), (*Gorilla)(nil), (*Express)(nil), (*Django)(nil)}

// Two applications behind one exchange: what one did not sign is the other's to judge.
func TestFirstOf(t *testing.T) {
	t.Parallel()
	f, _, cfg := express(t)
	_, _, d := django(t)
	first, err := NewExpress(cfg)
	require.NoError(t, err)
	cfg.Secrets, cfg.Rules.Issuer = []string{"fixture secret of another app"}, "another"
	second, err := NewExpress(cfg)
	require.NoError(t, err)
	third, err := NewDjango(d)
	require.NoError(t, err)
	v := stmigrate.FirstOf(first, second, third)
	for token, issuer := range map[string]string{
		f.Cookies["passport"].Value: "express", f.Cookies["another secret"].Value: "another",
	} {
		s, err := v.Verify(t.Context(), token)
		require.NoError(t, err)
		assert.Equal(t, issuer, s.Issuer)
	}
	_, err = v.Verify(t.Context(), connectSid("forged-0123456789", "x"))
	assert.ErrorIs(t, err, stmigrate.ErrNotMine)
}

// What the page shows is what the Examples compile.
func TestPage(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/own-sessions.md")
	require.NoError(t, err)
	var source string
	for _, file := range []string{"example_test.go", "interop/example_test.go"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		source += string(text)
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(page), -1)
	require.Len(t, blocks, 7)
	for _, block := range blocks {
		code := "\n\t" + strings.ReplaceAll(strings.TrimSuffix(block[1], "\n"), "\n", "\n\t") + "\n"
		code = strings.ReplaceAll(code, "\n\t\n", "\n\n")
		assert.Contains(t, source, code)
	}
}

// Two applications number their users apart: 7 of the one is not 7 of the other.
func TestTwoIssuersAreTwoUsers(t *testing.T) {
	t.Parallel()
	m := new(scsManager)
	open := func(issuer string) stmigrate.OldSessionVerifier {
		return m.open(t, Rules{Issuer: issuer, UserID: Path{"userID"}, Now: at(noon)})
	}
	cfg := stmigrate.Config{
		Verifier: stmigrate.FirstOf(open("shop"), open("forum")), Sessions: new(stmigratetest.FakeSessions),
		Users: stmigrate.SubjectIsUserID, Exchanges: stmigrate.NewMemoryExchanges(1), Revoker: stmigrate.LeaveToExpire,
	}
	_, err := stmigrate.New(cfg)
	require.ErrorContains(t, err, "2 issuers")
	cfg.Verifier = stmigrate.FirstOf(open("shop"), open("shop"))
	_, err = stmigrate.New(cfg)
	require.NoError(t, err)
}
