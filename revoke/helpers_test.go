package revoke

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
)

// clock stands still until a test moves it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_800_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// serve starts a server and returns its address.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		s.CloseClientConnections()
		s.Close()
	})
	return s.URL
}

const (
	revoked       = "revoked"
	temporaryKind = "temporary"
	permanentKind = "permanent"
)

// kindOf says what an error of a revoker means to the worker, and checks that it says so consistently.
func kindOf(t *testing.T, err error) string {
	t.Helper()
	if err == nil {
		return revoked
	}
	var e *stmigrate.RevokeError
	require.ErrorAs(t, err, &e)
	if e.Permanent {
		return permanentKind
	}
	return temporaryKind
}

func retryAfter(err error) time.Duration {
	if e := (*stmigrate.RevokeError)(nil); errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}
