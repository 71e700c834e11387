package ownsession

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// fixture reads what generate wrote in testdata.
func fixture[T any](tb testing.TB, path string) (f T) {
	tb.Helper()
	text, err := os.ReadFile("testdata/" + path)
	require.NoError(tb, err)
	require.NoError(tb, json.Unmarshal(text, &f))
	return f
}

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

// shelf is a store of sessions: Get and Delete of a configuration.
type shelf struct {
	mu    sync.Mutex
	items map[string]item
	fail  error
}

type item struct {
	data    string
	expires time.Time
}

func (s *shelf) Get(ctx context.Context, id string) ([]byte, time.Time, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.items[id]
	return []byte(i.data), i.expires, errors.Join(s.fail, ctx.Err())
}

func (s *shelf) Delete(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	delete(s.items, id)
	return nil
}

// trap is a token that must be refused.
type trap struct {
	name, token string
	want        error
}

// holds runs the suite of verifiers: good tokens are taken and name the subject, traps are refused with their class.
func holds(t *testing.T, v stmigrate.OldSessionVerifier, good []stmigratetest.GoodToken, traps []trap) {
	t.Helper()
	under := stmigratetest.VerifierUnderTest{Verifier: v, Good: good}
	for _, trap := range traps {
		class := map[error]string{
			stmigrate.ErrInvalidSession: stmigratetest.ClassInvalid,
			stmigrate.ErrExpiredSession: stmigratetest.ClassExpired,
			stmigrate.ErrNotMine:        stmigratetest.ClassNotMine,
		}[trap.want]
		require.NotEmpty(t, class, trap.name)
		under.Wrong = append(under.Wrong, stmigratetest.WrongToken{Category: "trap", Name: trap.name, Token: trap.token, Class: class})
	}
	stmigratetest.TestVerifier(t, under)
}

// configs asserts that each change of a good configuration is refused with a text that names the field.
func configs[C, V any](t *testing.T, good C, open func(C) (V, error), wrong map[string]func(*C)) {
	t.Helper()
	_, err := open(good)
	require.NoError(t, err)
	for names, change := range wrong {
		cfg := good
		change(&cfg)
		_, err := open(cfg)
		require.Error(t, err, names)
		assert.ErrorContains(t, err, names)
	}
}

// changed is text with another character at i.
func changed(text string, i int) string {
	b := []byte(text)
	if i < 0 {
		i += len(b)
	}
	if b[i] == 'A' {
		b[i] = 'B'
	} else {
		b[i] = 'A'
	}
	return string(b)
}

const origin = "https://app.example.com"

// migrator exchanges sessions that stand in a cookie.
func migrator(t *testing.T, cookie string, now time.Time, v stmigrate.OldSessionVerifier, r stmigrate.Revoker) (*stmigrate.Migrator, *stmigratetest.FakeSessions) {
	t.Helper()
	sessions := &stmigratetest.FakeSessions{Now: at(now)}
	cfg := stmigrate.Config{
		Verifier: v, Sessions: sessions, Users: stmigrate.SubjectIsUserID, Exchanges: stmigrate.NewMemoryExchanges(100), Revoker: r,
		Extract: []stmigrate.Extractor{stmigrate.FromCookie(cookie)}, Until: now.Add(90 * 24 * time.Hour), Now: at(now),
		Lease: 10 * time.Minute, Grace: 20 * time.Minute, // on a busy machine, too
	}
	_, err := stmigrate.New(cfg)
	require.ErrorContains(t, err, "Config.Origins is required")
	cfg.Origins = []string{origin}
	m, err := stmigrate.New(cfg)
	require.NoError(t, err)
	return m, sessions
}

func request(t *testing.T, from, cookie, value string) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://api.example.com/migrate-session", nil)
	require.NoError(t, err)
	r.Header.Set("Origin", from)
	r.Header.Set("Sec-Fetch-Site", "same-site")
	if from != origin {
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	}
	r.Header.Set("Cookie", cookie+"="+value)
	return r
}
