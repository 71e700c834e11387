package ask

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestClientHasConnectionsOfItsOwn: nobody else in the process closes them.
func TestClientHasConnectionsOfItsOwn(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }))
	defer srv.Close()
	c := Client(nil)
	ask := func() (reused bool) {
		trace := &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) { reused = got.Reused }}
		r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, srv.URL, nil)
		require.NoError(t, err)
		res, err := c.Do(r)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, res.Body)
		require.NoError(t, err)
		require.NoError(t, res.Body.Close())
		return reused
	}
	assert.False(t, ask())
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	assert.True(t, ask())
}

func TestClientIsWhatTheHostGave(t *testing.T) {
	given := &http.Client{Timeout: 7}
	assert.Equal(t, *given, Client(given))

	own := Client(nil).Transport.(*http.Transport)
	theirs := http.DefaultTransport.(*http.Transport)
	assert.Equal(t, theirs.TLSHandshakeTimeout, own.TLSHandshakeTimeout)
	assert.NotNil(t, own.Proxy)
	assert.Equal(t, 32, own.MaxIdleConnsPerHost)
	busy := theirs.Clone()
	busy.MaxIdleConnsPerHost = 500
	http.DefaultTransport = busy
	defer func() { http.DefaultTransport = theirs }()
	assert.Equal(t, 500, Client(nil).Transport.(*http.Transport).MaxIdleConnsPerHost)

	instrumented := struct{ http.RoundTripper }{theirs}
	http.DefaultTransport = instrumented
	assert.Equal(t, instrumented, Client(nil).Transport)
}
