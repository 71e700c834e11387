package ask

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMemory(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	m := NewMemory[string](100, func() time.Time { return now })
	m.Put("a", "refused", time.Minute)
	m.Put("b", "never", 0)
	got, ok := m.Get("a")
	assert.True(t, ok)
	assert.Equal(t, "refused", got)
	_, ok = m.Get("b")
	assert.False(t, ok)
	now = now.Add(time.Minute)
	_, ok = m.Get("a")
	assert.False(t, ok, "remembered for too long")
	assert.Empty(t, m.known)
	for i := range 250 {
		m.Put(fmt.Sprint(i), "", time.Minute)
	}
	assert.Len(t, m.known, 100)
	_, ok = m.Get("249")
	assert.True(t, ok, "the last one")
	assert.NotEqual(t, m.name("a"), NewMemory[string](1, time.Now).name("a"), "names can be computed by others")
}

func TestCaller(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	hang, arrived := make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hang":
			arrived <- struct{}{}
			select {
			case <-hang:
			case <-r.Context().Done():
			}
		case "/large":
			_, _ = w.Write([]byte(strings.Repeat("x", 101)))
		case "/cut":
			w.Header().Set("Content-Length", "50")
			_, _ = w.Write([]byte("secret"))
		case "/gone":
			panic(http.ErrAbortHandler)
		case "/redirect":
			http.Redirect(w, r, "/", http.StatusFound)
		case "/busy":
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer server.Close()
	defer close(hang)
	limits := Limits{Timeout: time.Minute, Body: 100, PerSecond: 4, InFlight: 1}
	do := func(c *Caller, path string) (*Answer, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path+"?token=secret", nil)
		require.NoError(t, err)
		return c.Do(t.Context(), r)
	}
	c := New(nil, limits, func() time.Time { return now })
	for _, path := range []string{"/large", "/cut", "/gone"} {
		_, err := do(c, path)
		if assert.Error(t, err, path) {
			assert.NotContains(t, err.Error(), "secret")
		}
		assert.NotErrorAs(t, err, new(*LimitError))
	}
	a, err := do(c, "/redirect")
	require.NoError(t, err)
	assert.Equal(t, http.StatusFound, a.Status, "a redirect was followed")

	_, err = do(c, "/busy")
	limit := new(LimitError)
	require.ErrorAs(t, err, &limit, "the fifth call of a second")
	assert.Equal(t, time.Second, limit.RetryAfter())
	now = now.Add(time.Second)
	a, err = do(c, "/busy")
	require.NoError(t, err)
	assert.Equal(t, 7*time.Second, a.Pause)

	c = New(nil, limits, time.Now)
	first := make(chan error)
	go func() {
		_, err := do(c, "/hang")
		first <- err
	}()
	<-arrived
	_, err = do(c, "/")
	assert.ErrorAs(t, err, &limit, "a second call at a time")
	hang <- struct{}{}
	require.NoError(t, <-first)
	_, err = do(c, "/")
	assert.NoError(t, err)
}

// TestCallerTimeout: the time is for the whole of an answer.
func TestCallerTimeout(t *testing.T) {
	for name, hang := range map[string]hanging{"before the answer": true, "in its body": false} {
		synctest.Test(t, func(t *testing.T) {
			c := New(&http.Client{Transport: hang}, Limits{Timeout: 5 * time.Second, Body: 100, PerSecond: 1, InFlight: 1}, time.Now)
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://idp.example/?token=secret", nil)
			require.NoError(t, err)
			began := time.Now()
			_, err = c.Do(t.Context(), r)
			require.ErrorIs(t, err, context.DeadlineExceeded, name)
			assert.NotContains(t, err.Error(), "secret")
			assert.Equal(t, 5*time.Second, time.Since(began), name)
		})
	}
}

// hanging is a provider whose answers do not come to an end: true for those that do not begin either.
type hanging bool

func (h hanging) RoundTrip(r *http.Request) (*http.Response, error) {
	if h {
		<-r.Context().Done()
		return nil, r.Context().Err()
	}
	return &http.Response{StatusCode: http.StatusOK, Body: hangingBody{r.Context()}, Request: r}, nil
}

type hangingBody struct{ ctx context.Context }

func (b hangingBody) Read([]byte) (int, error) {
	<-b.ctx.Done()
	return 0, b.ctx.Err()
}

func (hangingBody) Close() error { return nil }
