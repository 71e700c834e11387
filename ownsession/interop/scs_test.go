package interop

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/alexedwards/scs/v2/memstore"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/ownsession"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// failing is a store that can be broken.
type failing struct {
	scs.Store
	err error
}

func (s *failing) Find(token string) ([]byte, bool, error) {
	if s.err != nil {
		return nil, false, s.err
	}
	return s.Store.Find(token)
}

func (s *failing) Delete(token string) error {
	if s.err != nil {
		return s.err
	}
	return s.Store.Delete(token)
}

func manager(hash bool) (*scs.SessionManager, *failing) {
	store := &failing{Store: memstore.NewWithCleanupInterval(0)}
	m := scs.New()
	m.Store, m.HashTokenInStore = store, hash
	return m, store
}

// signIn returns the token that a browser has after a request to the application.
func signIn(t *testing.T, m *scs.SessionManager, values map[string]any) string {
	t.Helper()
	answer := httptest.NewRecorder()
	m.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for k, v := range values {
			m.Put(r.Context(), k, v)
		}
	})).ServeHTTP(answer, httptest.NewRequest(http.MethodPost, "/login", nil))
	cookies := answer.Result().Cookies()
	require.Len(t, cookies, 1)
	require.Equal(t, "session", cookies[0].Name)
	return cookies[0].Value
}

func newSCS(t *testing.T, m *scs.SessionManager) *ownsession.SCS {
	t.Helper()
	v, err := ownsession.NewSCS(ownsession.SCSConfig{
		Rules:   ownsession.Rules{Issuer: "scs", UserID: ownsession.Path{"userID"}},
		Manager: m,
	})
	require.NoError(t, err)
	return v
}

func TestSCS(t *testing.T) {
	t.Parallel()
	for _, hash := range []bool{false, true} {
		m, _ := manager(hash)
		v := newSCS(t, m)
		token := signIn(t, m, map[string]any{"userID": "ada"})
		stmigratetest.TestVerifier(t, stmigratetest.VerifierUnderTest{
			Verifier: v,
			Good: []stmigratetest.GoodToken{
				{Name: "string", Token: token, Subject: "ada"},
				{Name: "int", Token: signIn(t, m, map[string]any{"userID": 7}), Subject: "7"},
				{Name: "int64", Token: signIn(t, m, map[string]any{"userID": int64(8)}), Subject: "8"},
			},
			Wrong: []stmigratetest.WrongToken{
				{Category: "scs", Name: "nothing", Token: "", Class: stmigratetest.ClassNotMine},
				{Category: "scs", Name: "unknown", Token: "Zm9yZ2VkLXRva2VuLWZvcmdlZC10b2tlbi0wMTIzNDU2", Class: stmigratetest.ClassNotMine},
				{Category: "scs", Name: "short", Token: token[:12], Class: stmigratetest.ClassNotMine},
				{Category: "scs", Name: "a guest", Token: signIn(t, m, map[string]any{"basket": 1}), Class: stmigratetest.ClassInvalid},
				{Category: "scs", Name: "a blank user", Token: signIn(t, m, map[string]any{"userID": ""}), Class: stmigratetest.ClassInvalid},
			},
		})
		s, err := v.Verify(t.Context(), token)
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now().Add(24*time.Hour), s.ExpiresAt, time.Minute)
		assert.NotContains(t, s.SessionID, token)
	}
}

func TestSCSIsARevoker(t *testing.T) {
	t.Parallel()
	stmigratetest.TestRevoker(t, func(t *testing.T) stmigratetest.RevokerUnderTest {
		m, store := manager(false)
		v := newSCS(t, m)
		return stmigratetest.RevokerUnderTest{
			Revoker: v,
			SignIn: func(user string) (string, *stmigrate.OldSession) {
				token := signIn(t, m, map[string]any{"userID": user})
				s, err := v.Verify(t.Context(), token)
				require.NoError(t, err)
				return token, s
			},
			Ended: func(token string) bool { _, err := v.Verify(t.Context(), token); return err != nil },
			Break: func() { store.err = errors.New("broken") },
		}
	})
}

func TestSCSStoreFails(t *testing.T) {
	t.Parallel()
	m, store := manager(false)
	v := newSCS(t, m)
	token := signIn(t, m, map[string]any{"userID": "ada"})
	store.err = errors.New("no " + token)
	_, err := v.Verify(t.Context(), token)
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	assert.NotContains(t, err.Error(), token)
}

// LoadAndSave around the Migrator would save the session again: it is refused, as is an end within it.
func TestSCSWithinLoadAndSave(t *testing.T) {
	t.Parallel()
	m, store := manager(false)
	m.IdleTimeout = time.Hour // every request is saved then
	v := newSCS(t, m)
	token := signIn(t, m, map[string]any{"userID": "ada"})
	s, err := v.Verify(t.Context(), token)
	require.NoError(t, err)
	m.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := v.Verify(r.Context(), token)
		assert.ErrorContains(t, err, "LoadAndSave")
		assert.NotErrorIs(t, err, stmigrate.ErrInvalidSession)
		var e *stmigrate.RevokeError
		require.ErrorAs(t, v.Revoke(r.Context(), token, s), &e)
		assert.True(t, e.Permanent)
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/migrate-session", nil))
	_, found, err := store.Find(token)
	require.NoError(t, err)
	assert.True(t, found)
}
