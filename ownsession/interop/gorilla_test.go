package interop

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/gorilla/securecookie"
	"github.com/gorilla/sessions"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/ownsession"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

var hashKey, blockKey = []byte("0123456789abcdef0123456789abcdef"), []byte("fedcba9876543210fedcba9876543210")

// gorillaSignIn returns the cookie that a browser has after a request to the application.
func gorillaSignIn(t *testing.T, store sessions.Store, values map[any]any) string {
	t.Helper()
	r, answer := httptest.NewRequest(http.MethodPost, "/login", nil), httptest.NewRecorder()
	s, err := store.New(r, "app")
	require.NoError(t, err)
	s.Values = values
	require.NoError(t, store.Save(r, answer, s))
	cookies := answer.Result().Cookies()
	require.Len(t, cookies, 1)
	return cookies[0].Value
}

func gorillaConfig(store sessions.Store) ownsession.GorillaConfig {
	return ownsession.GorillaConfig{
		Rules:  ownsession.Rules{Issuer: "gorilla", UserID: ownsession.Path{"user"}},
		Cookie: "app",
		Load: func(r *http.Request) (*ownsession.GorillaSession, error) {
			s, err := store.Get(r, "app")
			if err != nil || s.IsNew {
				return nil, err
			}
			return &ownsession.GorillaSession{ID: s.ID, Values: s.Values}, nil
		},
		Delete: func(w http.ResponseWriter, r *http.Request) error {
			s, err := store.Get(r, "app")
			if err != nil || s.IsNew {
				if errors.Is(err, os.ErrNotExist) {
					return nil
				}
				return err
			}
			s.Options.MaxAge = -1
			return store.Save(r, w, s)
		},
	}
}

func TestGorillaCookieStore(t *testing.T) {
	t.Parallel()
	store := sessions.NewCookieStore(hashKey, blockKey)
	cfg := gorillaConfig(store)
	cfg.Delete, cfg.SessionID = nil, ownsession.Path{"login"}
	v, err := ownsession.NewGorilla(cfg)
	require.NoError(t, err)
	values := map[any]any{"user": 7, "login": "0123456789abcdef", 9: "a key that is no string"}
	token := gorillaSignIn(t, store, values)
	foreign := gorillaSignIn(t, sessions.NewCookieStore([]byte("another key another key another!")), values)
	aged, err := securecookie.New(hashKey, blockKey).MaxAge(1).Encode("app", values) // Encode's age is the reader's to check
	require.NoError(t, err)
	otherName, err := securecookie.New(hashKey, blockKey).Encode("other", values)
	require.NoError(t, err)

	stmigratetest.TestVerifier(t, stmigratetest.VerifierUnderTest{
		Verifier: v,
		Good:     []stmigratetest.GoodToken{{Name: "login", Token: token, Subject: "7"}, {Name: "of securecookie", Token: aged, Subject: "7"}},
		Wrong: []stmigratetest.WrongToken{
			{Category: "gorilla", Name: "nothing", Token: "", Class: stmigratetest.ClassNotMine},
			{Category: "gorilla", Name: "another key", Token: foreign, Class: stmigratetest.ClassNotMine},
			{Category: "gorilla", Name: "another cookie", Token: otherName, Class: stmigratetest.ClassNotMine},
			{Category: "gorilla", Name: "tampered", Token: "AAAA" + token[4:], Class: stmigratetest.ClassNotMine},
			{Category: "gorilla", Name: "not base64", Token: "%%%%", Class: stmigratetest.ClassNotMine},
			{Category: "gorilla", Name: "two cookies", Token: token + "; app=" + token, Class: stmigratetest.ClassNotMine},
			{Category: "gorilla", Name: "a guest", Token: gorillaSignIn(t, store, map[any]any{"basket": 1}), Class: stmigratetest.ClassInvalid},
			{Category: "gorilla", Name: "no ID", Token: gorillaSignIn(t, store, map[any]any{"user": 7}), Class: stmigratetest.ClassInvalid},
		},
	})
	s, err := v.Verify(t.Context(), token)
	require.NoError(t, err)
	again, err := v.Verify(t.Context(), gorillaSignIn(t, store, values))
	require.NoError(t, err)
	assert.Equal(t, s.SessionID, again.SessionID)

	// The end of the base64 has bits that no byte has: a second spelling of the same cookie.
	if n := len(token); strings.HasSuffix(token, "=") {
		raw, err := base64.URLEncoding.DecodeString(token)
		require.NoError(t, err)
		at := strings.IndexByte(token, '=') - 1
		for c := byte('A'); c <= 'Z'; c++ {
			twin := token[:at] + string(c) + token[at+1:]
			if same, err := base64.URLEncoding.DecodeString(twin); err == nil && string(same) == string(raw) && twin != token {
				_, err = v.Verify(t.Context(), twin)
				assert.ErrorIs(t, err, stmigrate.ErrNotMine, n)
			}
		}
	}

	cfg.SessionID, cfg.SkipSessionID = nil, true
	v, err = ownsession.NewGorilla(cfg)
	require.NoError(t, err)
	s, err = v.Verify(t.Context(), token)
	require.NoError(t, err)
	assert.Empty(t, s.SessionID)
	assert.Len(t, s.TokenID, 43)

	cfg.SkipSessionID = false
	v, err = ownsession.NewGorilla(cfg)
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), token)
	assert.ErrorContains(t, err, "GorillaConfig.SessionID")
	var e *stmigrate.RevokeError
	require.ErrorAs(t, v.Revoke(t.Context(), token, s), &e)
	assert.True(t, e.Permanent)
}

func TestGorillaFilesystemStore(t *testing.T) {
	t.Parallel()
	open := func(t *testing.T) (string, *sessions.FilesystemStore, *ownsession.Gorilla) {
		dir := t.TempDir()
		store := sessions.NewFilesystemStore(dir, hashKey)
		v, err := ownsession.NewGorilla(gorillaConfig(store))
		require.NoError(t, err)
		return dir, store, v
	}
	stmigratetest.TestRevoker(t, func(t *testing.T) stmigratetest.RevokerUnderTest {
		dir, store, v := open(t)
		return stmigratetest.RevokerUnderTest{
			Revoker: v,
			SignIn: func(user string) (string, *stmigrate.OldSession) {
				token := gorillaSignIn(t, store, map[any]any{"user": user})
				s, err := v.Verify(t.Context(), token)
				require.NoError(t, err)
				require.Len(t, s.SessionID, 43)
				return token, s
			},
			Ended: func(token string) bool {
				_, err := v.Verify(t.Context(), token)
				require.True(t, err == nil || errors.Is(err, stmigrate.ErrInvalidSession), err)
				return err != nil
			},
			Break: func() { // every file is a directory by now
				files, err := os.ReadDir(dir)
				require.NoError(t, err)
				for _, f := range files {
					require.NoError(t, os.Remove(dir+"/"+f.Name()))
					require.NoError(t, os.MkdirAll(dir+"/"+f.Name()+"/full", 0o700))
				}
			},
		}
	})
	_, store, v := open(t)
	token := gorillaSignIn(t, store, map[any]any{"user": "ada"})
	s, err := v.Verify(t.Context(), token)
	require.NoError(t, err)
	assert.Equal(t, "ada", s.Subject)
}

// gorilla/sessions with JSON instead of gob: its Values are no JSON, so there is nothing to support.
func TestGorillaHasNoJSON(t *testing.T) {
	t.Parallel()
	codec := securecookie.New(hashKey, nil)
	codec.SetSerializer(securecookie.JSONEncoder{})
	store := &sessions.CookieStore{Codecs: []securecookie.Codec{codec}, Options: &sessions.Options{}}
	r := httptest.NewRequest(http.MethodPost, "/login", nil)
	s, err := store.New(r, "app")
	require.NoError(t, err)
	s.Values["user"] = "ada"
	assert.ErrorContains(t, store.Save(r, httptest.NewRecorder(), s), "unsupported type")
}
