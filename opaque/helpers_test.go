package opaque

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
)

const epoch = 1_800_000_000

// clock stands still until a test moves it.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(epoch, 0)} }

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

// provider answers every request the same, until a test changes it.
type provider struct {
	*httptest.Server

	mu      sync.Mutex
	status  int
	body    string
	header  http.Header
	asked   []*http.Request // with their forms parsed
	handler http.HandlerFunc
}

func newProvider(t testing.TB, status int, body string) *provider {
	t.Helper()
	p := &provider{status: status, body: body, header: http.Header{}}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		p.mu.Lock()
		p.asked = append(p.asked, r)
		status, body, handler := p.status, p.body, p.handler
		for name, values := range p.header {
			w.Header()[name] = values
		}
		p.mu.Unlock()
		if handler != nil {
			handler(w, r)
			return
		}
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}))
	t.Cleanup(func() {
		p.CloseClientConnections()
		p.Close()
	})
	return p
}

func (p *provider) answer(status int, body string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.status, p.body = status, body
}

func (p *provider) calls() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked)
}

func (p *provider) last() *http.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[len(p.asked)-1]
}

// here lets a verifier ask servers of this test, however slow the machine is.
var here = HTTP{AllowPrivate: []string{"127.0.0.1"}, Timeout: time.Minute}

var backend = revoke.ClientAuth{ID: "backend", Secret: "hunter2"}

// assertClass wants exactly this class of a verifier's errors, and no part of the token in the text. nil is success.
func assertClass(t *testing.T, want, err error, token string, of ...any) {
	t.Helper()
	if want == nil {
		assert.NoError(t, err, of...)
		return
	}
	for _, class := range []error{stmigrate.ErrInvalidSession, stmigrate.ErrExpiredSession, stmigrate.ErrNotMine, stmigrate.ErrUnavailable} {
		assert.Equal(t, errors.Is(want, class), errors.Is(err, class), "%v: %v: %v", of, class, err)
	}
	if err != nil && len(token) > 3 {
		assert.NotContains(t, err.Error(), token, of...)
	}
}
