package core

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate/internal/faults"
)

// newServer is a core at CDI 5.2 whose other answers are h's.
func newServer(t testing.TB, h http.HandlerFunc, configure ...func(*httptest.Server)) (*httptest.Server, *faults.Faults) {
	f := new(faults.Faults)
	srv := httptest.NewUnstartedServer(f.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/apiversion" {
			_, _ = io.WriteString(w, `{"versions":["3.1","5.2"]}`)
			return
		}
		h(w, r)
	}), nil))
	for _, change := range configure {
		change(srv)
	}
	srv.Start()
	t.Cleanup(func() {
		f.Heal()
		srv.Close()
	})
	return srv, f
}

func newClient(t testing.TB, cfg Config) *Client {
	cfg.Timeout = cmp.Or(cfg.Timeout, time.Minute) // however busy the machine is
	c, err := New(cfg)
	require.NoError(t, err)
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// inBubble is newServer, n times over, and a client of theirs, for a synctest bubble: with no network between them, whoever
// waits waits on the bubble's clock, and what takes no time there takes none however slow the machine is.
func inBubble(t testing.TB, n int, cfg Config, h http.HandlerFunc) (*Client, []*httptest.Server, []*faults.Faults) {
	servers, logs, listeners := make([]*httptest.Server, n), make([]*faults.Faults, n), map[string]pipes{}
	var hosts []string
	for i := range n {
		srv, f := newServer(t, h, func(srv *httptest.Server) {
			closed := make(chan struct{})
			l := pipes{strconv.Itoa(i) + ".test:80", make(chan net.Conn), closed, sync.OnceFunc(func() { close(closed) })}
			_ = srv.Listener.Close()
			srv.Listener, listeners[l.name] = l, l
			hosts = append(hosts, "http://"+l.name)
		})
		servers[i], logs[i] = srv, f
	}
	cfg.ConnectionURI = strings.Join(hosts, ";")
	c := newClient(t, cfg)
	c.http.Transport.(*http.Transport).DialContext = func(ctx context.Context, _, addr string) (net.Conn, error) {
		near, far := net.Pipe()
		select {
		case listeners[addr].conns <- far:
			return near, nil
		case <-listeners[addr].closed:
			return nil, syscall.ECONNREFUSED
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return c, servers, logs
}

// pipes is a listener of connections within the process.
type pipes struct {
	name   string
	conns  chan net.Conn
	closed <-chan struct{}
	close  func()
}

func (p pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p pipes) Close() error    { p.close(); return nil }
func (p pipes) Addr() net.Addr  { return p }
func (p pipes) Network() string { return "pipe" }
func (p pipes) String() string  { return p.name }

func serve(t testing.TB, h http.HandlerFunc) (*Client, *faults.Faults) {
	srv, f := newServer(t, h)
	return newClient(t, Config{ConnectionURI: srv.URL, APIKey: "the-key"}), f
}

// ok answers every operation as a core does that has one session.
func ok(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, strings.TrimSuffix(created, "}")+
		`,"sessionHandle":"h","userId":"u","userDataInDatabase":{},"userDataInJWT":{},"expiry":2,"timeCreated":1,"tenantId":"public",`+
		`"sessionHandles":[],"sessionHandlesRevoked":[],"superTokensUserId":"u","externalUserId":"e","keys":[],`+
		`"user":{"id":"u","timeJoined":1,"email":"a@example.com","tenantIds":["public"]},"email":"a@example.com","token":"t",`+
		`"didUserAlreadyExist":false,"didMappingExist":true,"isVerified":true,"createdNewRole":true,"didUserAlreadyHaveRole":false,`+
		`"didUserHaveRole":true,"wasAlreadyAssociated":false,"wasAssociated":true,"count":1,"roles":[],"permissions":[],"metadata":{},`+
		`"tenants":[{"tenantId":"public"}]}`)
}

const create = "/public/recipe/session"

var ctx = context.Background()

func createOne(c *Client) error {
	_, err := c.CreateSession(ctx, "", NewSession{UserID: "u"})
	return err
}

// warm makes c know the version and hold a connection, and empties the log.
func warm(t testing.TB, c *Client, logs ...*faults.Faults) {
	for range c.hosts {
		require.NoError(t, createOne(c))
	}
	for _, log := range logs {
		log.ForgetRequests()
	}
}

// bubble runs test in a synctest bubble.
func bubble(t *testing.T, name string, test func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
}

func TestFailures(t *testing.T) {
	const timeout = 100 * time.Millisecond
	big := strings.Repeat("x", 1<<20)
	for _, tt := range []struct {
		name               string
		fault              func(*faults.Faults)
		handler            http.HandlerFunc
		status             int
		temporary, notDone bool
		is                 error
		text               string
	}{
		{"dropped before the work", func(f *faults.Faults) { f.Down(create) }, ok, 0, true, false, nil, "no answer from 0.test:80: "},
		{"dropped after the work", func(f *faults.Faults) { f.AfterCommit(create) }, ok, 0, true, false, nil, "no answer"},
		{"truncated", func(f *faults.Faults) { f.Truncate(create) }, ok, 0, true, false, io.ErrUnexpectedEOF, "broke off"},
		{"hangs", func(f *faults.Faults) { f.Hang(create) }, ok, 0, true, false, context.DeadlineExceeded, "no answer"},
		{"too slow", func(f *faults.Faults) { f.Slow(time.Minute, create) }, ok, 0, true, false, context.DeadlineExceeded, "no answer"},
		{"slow body", nil, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, `{"status":`)
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, 0, true, false, context.DeadlineExceeded, "broke off"},
		{"slow enough", func(f *faults.Faults) { f.Slow(time.Millisecond, create) }, ok, 200, false, false, nil, ""},
		{"64 MiB", nil, func(w http.ResponseWriter, r *http.Request) {
			for range 64 {
				if _, err := io.WriteString(w, big); err != nil {
					return
				}
			}
		}, 200, false, false, nil, "longer than 2097152 bytes"},
		{"64 MiB of error", nil, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(500)
			for range 64 {
				if _, err := io.WriteString(w, big); err != nil {
					return
				}
			}
		}, 500, true, false, nil, "longer than 2097152 bytes"},
		{"HTML 500", nil, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(500)
			_, _ = io.WriteString(w, "<html>\n<h1>Internal\x00 Error\xff</h1>"+big)
		}, 500, true, false, nil, `core says "<html> <h1>Internal  Error?</h1>xxx`},
		{"503", func(f *faults.Faults) { f.Status(503, create) }, ok, 503, true, false, nil, "status 503"},
		{"400", func(f *faults.Faults) { f.Status(400, create) }, ok, 400, false, true, nil, `status 400: core says "Bad Request"`},
		{"401", func(f *faults.Faults) { f.Status(401, create) }, ok, 401, false, true, nil, "status 401"},
		{"404", func(f *faults.Faults) { f.Status(404, create) }, ok, 404, false, true, nil, "status 404"},
		{"408", func(f *faults.Faults) { f.Status(408, create) }, ok, 408, false, false, nil, "status 408"},
		{"204", func(f *faults.Faults) { f.Status(204, create) }, ok, 204, false, false, nil, "status 204"},
		{"302", func(f *faults.Faults) { f.Status(302, create) }, ok, 302, false, false, nil, "redirect"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			c, _, logs := inBubble(t, 1, Config{APIKey: "the-key", Timeout: timeout}, tt.handler)
			f := logs[0]
			_, err := c.CDIVersion(ctx)
			require.NoError(t, err)
			f.ForgetRequests()
			if tt.fault != nil {
				tt.fault(f)
			}
			start := time.Now()
			err = createOne(c)
			if errors.Is(tt.is, context.DeadlineExceeded) {
				assert.Equal(t, timeout, time.Since(start))
			} else {
				assert.LessOrEqual(t, time.Since(start), time.Millisecond)
			}
			assert.Len(t, f.Requests(), 1)
			if tt.text == "" {
				require.NoError(t, err)
				return
			}
			var e *Error
			require.ErrorAs(t, err, &e)
			require.ErrorContains(t, err, tt.text)
			assert.NotContains(t, err.Error(), "the-key")
			assert.LessOrEqual(t, len(e.Message), maxMessage)
			assert.Equal(t, []any{"POST", create, tt.status, tt.temporary, tt.notDone},
				[]any{e.Method, e.Path, e.Status, e.Temporary(), e.NotDone()}, "%v", err)
			if tt.is != nil {
				assert.ErrorIs(t, err, tt.is)
			}
		})
	}

	bubble(t, "nobody listens", func(t *testing.T) {
		c, servers, _ := inBubble(t, 1, Config{}, ok)
		warm(t, c)
		c.http.CloseIdleConnections() // else it may be written to before its end is noticed
		servers[0].Close()
		var e *Error
		require.ErrorAs(t, createOne(c), &e)
		assert.Equal(t, []any{create, 0, true, true}, []any{e.Path, e.Status, e.Temporary(), e.NotDone()})
	})
	t.Run("nobody listens, seen through another's RoundTripper", func(t *testing.T) {
		srv, f := newServer(t, ok)
		rt := &http.Transport{}
		c := newClient(t, Config{ConnectionURI: srv.URL, HTTPClient: &http.Client{Transport: roundTripper(rt.RoundTrip)}})
		warm(t, c)
		var e *Error
		f.AfterCommit(create)
		require.ErrorAs(t, createOne(c), &e)
		assert.False(t, e.NotDone())
		rt.CloseIdleConnections()
		rt.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, nobody(t))
		}
		require.ErrorAs(t, createOne(c), &e)
		assert.ErrorIs(t, e, syscall.ECONNREFUSED)
		assert.True(t, e.NotDone())
	})
	t.Run("the version cannot be negotiated", func(t *testing.T) {
		c, f := serve(t, ok)
		f.Down("/apiversion")
		var e *Error
		require.ErrorAs(t, createOne(c), &e)
		assert.Equal(t, []any{"/apiversion", 0, true, true}, []any{e.Path, e.Status, e.Temporary(), e.NotDone()})
	})
	bubble(t, "cancelled", func(t *testing.T) {
		c, _, logs := inBubble(t, 1, Config{}, ok)
		warm(t, c, logs...)
		logs[0].Hang()
		ctx, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func() { _, err := c.CreateSession(ctx, "", NewSession{UserID: "u"}); ended <- err }()
		synctest.Wait()
		assert.Len(t, logs[0].Requests(), 1)
		assert.Empty(t, ended)
		cancel()
		assert.ErrorIs(t, <-ended, context.Canceled)
	})
}

// nobody is an address that refuses connections until the test ends. Its port is that of a connection, so that no other process
// listens there meanwhile, as at one that was just closed.
func nobody(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn.LocalAddr().String()
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestRedirectsLeakNothing: neither the client's own nor a given http.Client carries the API key elsewhere.
func TestRedirectsLeakNothing(t *testing.T) {
	other, log := newServer(t, ok)
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, given := range []*http.Client{nil, {Transport: new(http.Transport)}} {
			srv, _ := newServer(t, func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, other.URL+r.URL.Path, status)
			})
			c := newClient(t, Config{ConnectionURI: srv.URL, APIKey: "the-key", HTTPClient: given})
			_, err := c.GetSession(ctx, "h")
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, status, e.Status)
			require.ErrorAs(t, createOne(c), &e)
			assert.Equal(t, status, e.Status)
		}
	}
	assert.Empty(t, log.Requests())
}

// TestErrorsKeepSecrets: whatever comes back of what was sent, the error has none of it.
func TestErrorsKeepSecrets(t *testing.T) {
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		body, _ := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, strings.Repeat(" ", maxMessage-60)+r.Header.Get("api-key")+r.URL.String())
		_, _ = w.Write(body)
	})
	for name, call := range map[string]func() error{
		"verify": func() error {
			_, err := c.VerifySession(ctx, VerifySession{AccessToken: "hunter2.a", AntiCSRFToken: "hunter2.b"})
			return err
		},
		"refresh": func() error {
			_, err := c.RefreshSession(ctx, RefreshSession{RefreshToken: "hunter2.a", AntiCSRFToken: "hunter2.b"})
			return err
		},
		"regenerate": func() error { _, err := c.RegenerateSession(ctx, "hunter2.a", nil); return err },
	} {
		err := call()
		require.ErrorContains(t, err, "[redacted]", name)
		assert.NotContains(t, err.Error(), "hunter2", name)
		assert.NotContains(t, err.Error(), "the-key", name)
	}
}

// TestErrorsKeepTheQuery: it names sessions and people.
func TestErrorsKeepTheQuery(t *testing.T) {
	c := newClient(t, Config{ConnectionURI: "http://" + nobody(t)})
	c.version = "5.2"
	_, err := c.GetSession(ctx, "hunter2")
	require.ErrorContains(t, err, "GET /recipe/session")
	assert.NotContains(t, err.Error(), "hunter2")
}

// TestHalfAMessage: what broke off may end in the middle of a secret, which nobody would know again.
func TestHalfAMessage(t *testing.T) {
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "1000")
		w.WriteHeader(500)
		_, _ = io.WriteString(w, "no such token: hunter")
	})
	_, err := c.RefreshSession(ctx, RefreshSession{RefreshToken: "hunter2"})
	require.ErrorContains(t, err, "status 500")
	assert.NotContains(t, err.Error(), "hunter")
}

// TestCreateIsSentOnce: net/http repeats a request by itself, when a kept connection breaks under it, if it takes it for
// idempotent. The create must not be, and a read shows that this test can tell.
func TestCreateIsSentOnce(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = l.Close() }()
	var creates, reads atomic.Int32
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // answers /apiversion and /hello, and breaks under anything else
				defer func() { _ = conn.Close() }()
				for in := bufio.NewReader(conn); ; {
					r, err := http.ReadRequest(in)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					answer := "Hello\n"
					switch r.URL.Path {
					case "/apiversion":
						answer = `{"versions":["5.2"]}`
					case create:
						creates.Add(1)
						return
					case "/recipe/session":
						reads.Add(1)
						return
					}
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: "+strconv.Itoa(len(answer))+"\r\n\r\n"+answer)
				}
			}()
		}
	}()
	c := newClient(t, Config{ConnectionURI: "http://" + l.Addr().String()})
	_, err = c.CDIVersion(ctx)
	require.NoError(t, err)

	require.NoError(t, c.Ping(ctx))
	var e *Error
	require.ErrorAs(t, createOne(c), &e)
	assert.EqualValues(t, 1, creates.Load())
	assert.False(t, e.NotDone())

	require.NoError(t, c.Ping(ctx))
	_, err = c.GetSession(ctx, "h")
	require.Error(t, err)
	assert.EqualValues(t, 2, reads.Load(), "net/http repeats a GET on a broken connection; if it does not, this test tests nothing")
}

// blindTripper hides from its client what becomes of a request, as a RoundTripper may, and loses the answers to creates.
type blindTripper struct{ http.RoundTripper }

func (b blindTripper) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := b.RoundTripper.RoundTrip(r.WithContext(ctx)) // without the client's trace
	if err == nil && r.URL.Path == create {
		_ = resp.Body.Close()
		return nil, io.ErrUnexpectedEOF
	}
	return resp, err
}

// TestCreateBehindARoundTripperIsSentOnce: of a transport that is not net/http's nobody knows whether it has sent anything.
func TestCreateBehindARoundTripperIsSentOnce(t *testing.T) {
	one, log := newServer(t, ok)
	two, otherLog := newServer(t, ok)
	c := newClient(t, Config{
		ConnectionURI: one.URL + ";" + two.URL, HTTPClient: &http.Client{Transport: blindTripper{new(http.Transport)}},
	})
	_, err := c.CDIVersion(ctx)
	require.NoError(t, err)
	log.ForgetRequests()
	otherLog.ForgetRequests()

	var e *Error
	require.ErrorAs(t, createOne(c), &e)
	assert.False(t, e.NotDone())
	assert.Equal(t, 1, len(log.Requests())+len(otherLog.Requests()), "creates")
}

func TestNegotiation(t *testing.T) {
	for versions, want := range map[string]string{
		`{"versions":["2.7","3.1","4.0","5.2","6.0"]}`: "5.2",
		`{"versions":["5.2"]}`:                         "5.2",
		`{"versions":["3.1","5.1","5.3"]}`:             "3.1",
		`{"versions":["2.21","4.0"]}`:                  "",
		`{"versions":[]}`:                              "",
		`{}`:                                           "",
		`<html>`:                                       "",
	} {
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, versions)
		}))
		c := newClient(t, Config{ConnectionURI: srv.URL})
		got, err := c.CDIVersion(ctx)
		assert.Equal(t, want, got, versions)
		if assert.Equal(t, want == "", err != nil, versions); err != nil {
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.True(t, e.NotDone())
			assert.False(t, e.Temporary())
		}
		if strings.Contains(versions, "2.21") {
			assert.ErrorContains(t, err, `the core speaks CDI "2.21, 4.0" and this client "5.2, 3.1"`)
		}
		srv.Close()
	}

	t.Run("one question for all, each with its own patience", func(t *testing.T) {
		entered, answer := make(chan struct{}, 100), make(chan struct{})
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/apiversion" {
				entered <- struct{}{}
				<-answer
				_, _ = io.WriteString(w, `{"versions":["5.2"]}`)
				return
			}
			ok(w, r)
		}))
		defer srv.Close()
		c := newClient(t, Config{ConnectionURI: srv.URL})
		first, leave := context.WithCancel(ctx)
		left := make(chan error)
		go func() { _, err := c.CreateSession(first, "", NewSession{UserID: "u"}); left <- err }()
		<-entered
		results := make(chan error, 20)
		for range cap(results) {
			go func() { results <- createOne(c) }()
		}
		leave()
		err := <-left
		assert.ErrorIs(t, err, context.Canceled)
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.True(t, e.NotDone())
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		_, err = c.CDIVersion(short)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		close(answer)
		for range cap(results) {
			assert.NoError(t, <-results)
		}
		assert.Empty(t, entered)
	})
	t.Run("a failure is not kept", func(t *testing.T) {
		c, f := serve(t, ok)
		f.Status(500, "/apiversion")
		require.Error(t, createOne(c))
		f.Heal()
		require.NoError(t, createOne(c))
		require.NoError(t, createOne(c))
		assert.Len(t, f.Requests("/apiversion"), 2)
	})
	t.Run("a core that was replaced by an older one", func(t *testing.T) {
		var older atomic.Bool
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Path == "/apiversion" && older.Load():
				_, _ = io.WriteString(w, `{"versions":["3.1"]}`)
			case r.URL.Path == "/apiversion":
				_, _ = io.WriteString(w, `{"versions":["5.2"]}`)
			case older.Load() && r.Header.Get("cdi-version") != "3.1":
				http.Error(w, "cdi-version 5.2 not supported", 400)
			default:
				ok(w, r)
			}
		}))
		defer srv.Close()
		c := newClient(t, Config{ConnectionURI: srv.URL})
		warm(t, c)
		older.Store(true)
		require.Error(t, createOne(c))
		require.NoError(t, createOne(c))
	})
}

func TestRateLimit(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tt := range []struct {
		name      string
		refusals  int // how many 429s come first
		after     string
		timeout   time.Duration
		wantWaits []int64 // milliseconds
		ok        bool
	}{
		{"none", 0, "", 0, nil, true},
		{"one", 1, "", 0, []int64{125}, true},
		{"four", 4, "", 0, []int64{125, 250, 500, 1000}, true},
		{"for ever", 9, "", 0, []int64{125, 250, 500, 1000}, false},
		{"Retry-After in seconds", 1, "2", 0, []int64{2500}, true},
		{"Retry-After as a date", 1, now.Add(4 * time.Second).Format(http.TimeFormat), 0, []int64{5000}, true},
		{"Retry-After in the past", 1, now.Add(-time.Hour).Format(http.TimeFormat), 0, []int64{125}, true},
		{"Retry-After of nonsense", 1, "-1", 0, []int64{125}, true},
		{"Retry-After past the deadline", 1, "3600", 0, nil, false},
		{"back-off past the deadline", 1, "", 120 * time.Millisecond, nil, false},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			var asked int
			cfg := Config{Timeout: tt.timeout, Now: func() time.Time { return now }}
			c, _, logs := inBubble(t, 1, cfg, func(w http.ResponseWriter, r *http.Request) {
				if asked++; asked <= tt.refusals {
					if tt.after != "" {
						w.Header().Set("Retry-After", tt.after)
					}
					http.Error(w, "slow down", http.StatusTooManyRequests)
					return
				}
				ok(w, r)
			})
			_, err := c.CDIVersion(ctx)
			require.NoError(t, err)
			var waits []int64
			c.random = func() float64 { return 0.5 }
			c.sleep = func(_ context.Context, d time.Duration) error { waits = append(waits, d.Milliseconds()); return nil }
			err = createOne(c)
			assert.Equal(t, tt.wantWaits, waits)
			if tt.ok {
				require.NoError(t, err)
				return
			}
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, []any{429, "slow down", true, true}, []any{e.Status, e.Message, e.Temporary(), e.NotDone()})
			if tt.after == "3600" {
				assert.Equal(t, time.Hour, e.RetryAfter)
			}
			assert.Len(t, logs[0].Requests(create), len(tt.wantWaits)+1)
		})
	}

	t.Run("the wait can be cancelled", func(t *testing.T) {
		c, f := serve(t, ok)
		warm(t, c)
		f.Status(429, create)
		ctx, cancel := context.WithCancel(ctx)
		c.sleep = func(ctx context.Context, _ time.Duration) error {
			cancel()
			return sleep(ctx, time.Hour)
		}
		_, err := c.CreateSession(ctx, "", NewSession{UserID: "u"})
		assert.ErrorIs(t, err, context.Canceled)
		var e *Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, 429, e.Status)
	})
}

// TestHosts is the matrix of what happens when the first of two hosts fails.
func TestHosts(t *testing.T) {
	refresh := RefreshSession{RefreshToken: "t"}
	calls := map[string]struct {
		call   func(c *Client) error
		repeat bool
	}{
		"create":          {createOne, false},
		"refresh":         {func(c *Client) error { _, err := c.RefreshSession(ctx, refresh); return err }, false},
		"verify":          {func(c *Client) error { _, err := c.VerifySession(ctx, VerifySession{AccessToken: "t"}); return err }, true},
		"regenerate":      {func(c *Client) error { _, err := c.RegenerateSession(ctx, "t", nil); return err }, true},
		"remove":          {func(c *Client) error { _, err := c.RemoveSessions(ctx, "h"); return err }, true},
		"remove all":      {func(c *Client) error { _, err := c.RemoveUserSessions(ctx, "", "u"); return err }, true},
		"put data":        {func(c *Client) error { return c.SetSessionData(ctx, "h", nil) }, true},
		"put payload":     {func(c *Client) error { return c.SetSessionPayload(ctx, "h", nil) }, true},
		"get":             {func(c *Client) error { _, err := c.GetSession(ctx, "h"); return err }, true},
		"user's sessions": {func(c *Client) error { _, err := c.UserSessions(ctx, "t", "u"); return err }, true},
		"mapping":         {func(c *Client) error { _, err := c.UserIDMapping(ctx, "u", AnyID); return err }, true},
		"keys":            {func(c *Client) error { _, err := c.JWKS(ctx); return err }, true},

		"sign up": {func(c *Client) error { _, err := c.SignUp(ctx, "", "a@example.com", "x"); return err }, false},
		"import": {func(c *Client) error {
			_, _, err := c.ImportPasswordHash(ctx, "", "a@example.com", bcryptHash)
			return err
		}, false},
		"reset token":       {func(c *Client) error { _, err := c.CreateResetToken(ctx, "", "u", "a@example.com"); return err }, false},
		"use a reset token": {func(c *Client) error { _, _, err := c.ConsumeResetToken(ctx, "", "x"); return err }, false},
		"map": {func(c *Client) error {
			return c.CreateUserIDMapping(ctx, UserIDMapping{SuperTokensID: "u", ExternalID: "e"}, false)
		}, false},
		"e-mail token":        {func(c *Client) error { _, err := c.CreateEmailToken(ctx, "", "u", "a@example.com"); return err }, false},
		"use an e-mail token": {func(c *Client) error { _, _, err := c.VerifyEmail(ctx, "", "x"); return err }, false},

		"sign in":         {func(c *Client) error { _, err := c.SignIn(ctx, "", "a@example.com", "x"); return err }, true},
		"user by ID":      {func(c *Client) error { _, err := c.UserByID(ctx, "u"); return err }, true},
		"user by e-mail":  {func(c *Client) error { _, err := c.UserByEmail(ctx, "", "a@example.com"); return err }, true},
		"set e-mail":      {func(c *Client) error { return c.SetEmail(ctx, "u", "a@example.com") }, true},
		"set password":    {func(c *Client) error { return c.SetPassword(ctx, "u", "x") }, true},
		"delete user":     {func(c *Client) error { return c.DeleteUser(ctx, "u") }, true},
		"count":           {func(c *Client) error { _, err := c.CountUsers(ctx, ""); return err }, true},
		"unmap":           {func(c *Client) error { _, err := c.DeleteUserIDMapping(ctx, "u", AnyID, false); return err }, true},
		"mapping info":    {func(c *Client) error { return c.SetUserIDMappingInfo(ctx, "u", AnyID, "") }, true},
		"is verified":     {func(c *Client) error { _, err := c.IsEmailVerified(ctx, "u", "a@example.com"); return err }, true},
		"unverify":        {func(c *Client) error { return c.UnverifyEmail(ctx, "u", "a@example.com") }, true},
		"create role":     {func(c *Client) error { _, err := c.CreateRole(ctx, "r"); return err }, true},
		"add role":        {func(c *Client) error { _, err := c.AddUserRole(ctx, "", "u", "r"); return err }, true},
		"remove role":     {func(c *Client) error { _, err := c.RemoveUserRole(ctx, "", "u", "r"); return err }, true},
		"roles":           {func(c *Client) error { _, err := c.UserRoles(ctx, "", "u"); return err }, true},
		"permissions":     {func(c *Client) error { _, err := c.RolePermissions(ctx, "r"); return err }, true},
		"metadata":        {func(c *Client) error { _, err := c.UserMetadata(ctx, "u"); return err }, true},
		"put metadata":    {func(c *Client) error { _, err := c.UpdateUserMetadata(ctx, "u", nil); return err }, true},
		"remove metadata": {func(c *Client) error { return c.RemoveUserMetadata(ctx, "u") }, true},
		"tenant":          {func(c *Client) error { _, err := c.Tenant(ctx, ""); return err }, true},
		"tenants":         {func(c *Client) error { _, err := c.Tenants(ctx); return err }, true},
		"join tenant":     {func(c *Client) error { _, err := c.AddTenantUser(ctx, "t1", "u"); return err }, true},
		"leave tenant":    {func(c *Client) error { _, err := c.RemoveTenantUser(ctx, "t1", "u"); return err }, true},
	}
	for _, tt := range []struct {
		name                string
		fault               func(*httptest.Server, *faults.Faults)
		anyCall, repeatable bool // does the second host answer
	}{
		{"refused connection", func(s *httptest.Server, _ *faults.Faults) { s.Close() }, true, true},
		{"dropped", func(_ *httptest.Server, f *faults.Faults) { f.Down() }, false, true},
		{"answer lost", func(_ *httptest.Server, f *faults.Faults) { f.AfterCommit() }, false, true},
		{"answer truncated", func(_ *httptest.Server, f *faults.Faults) { f.Truncate() }, false, true},
		{"hangs", func(_ *httptest.Server, f *faults.Faults) { f.Hang() }, false, true},
		{"503", func(_ *httptest.Server, f *faults.Faults) { f.Status(503) }, false, true},
		{"429", func(_ *httptest.Server, f *faults.Faults) { f.Status(429) }, true, true},
		{"400", func(_ *httptest.Server, f *faults.Faults) { f.Status(400) }, false, false},
	} {
		for name, call := range calls {
			bubble(t, tt.name+"/"+name, func(t *testing.T) {
				c, servers, logs := inBubble(t, 2, Config{}, ok)
				c.sleep = func(context.Context, time.Duration) error { return nil }
				_, err := c.CDIVersion(ctx)
				require.NoError(t, err)
				c.turn.Store(1) // the next is the first
				for _, log := range logs {
					log.ForgetRequests()
				}
				tt.fault(servers[0], logs[0])
				err = call.call(c)
				want := tt.anyCall || tt.repeatable && call.repeat
				if assert.Equal(t, want, err == nil, "%v", err); want {
					assert.Len(t, logs[1].Requests(), 1)
				} else {
					assert.Empty(t, logs[1].Requests())
				}
			})
		}
	}

	t.Run("in turn", func(t *testing.T) {
		a, fa := newServer(t, ok)
		b, fb := newServer(t, ok)
		c := newClient(t, Config{ConnectionURI: a.URL + ";" + b.URL})
		warm(t, c, fa, fb)
		for range 10 {
			require.NoError(t, createOne(c))
		}
		assert.Len(t, fa.Requests(), 5)
		assert.Len(t, fb.Requests(), 5)
	})
	bubble(t, "what the first may have done, the second's refusal does not undo", func(t *testing.T) {
		c, servers, logs := inBubble(t, 2, Config{}, ok)
		warm(t, c, logs...)
		c.turn.Store(1)
		logs[0].AfterCommit()
		logs[1].Status(400)
		var e *Error
		require.ErrorAs(t, c.SetSessionData(ctx, "h", nil), &e)
		assert.Equal(t, []any{400, false}, []any{e.Status, e.NotDone()})
		logs[1].Heal()
		c.http.CloseIdleConnections()
		servers[1].Close()
		c.turn.Store(1)
		require.ErrorAs(t, c.SetSessionData(ctx, "h", nil), &e)
		assert.Equal(t, []any{0, false}, []any{e.Status, e.NotDone()})
	})
	bubble(t, "one down, one busy", func(t *testing.T) {
		var asked atomic.Int32
		c, servers, logs := inBubble(t, 2, Config{}, func(w http.ResponseWriter, r *http.Request) {
			if asked.Add(1) < maxTries {
				w.WriteHeader(http.StatusTooManyRequests)
				return
			}
			ok(w, r)
		})
		c.sleep = func(context.Context, time.Duration) error { return nil }
		_, err := c.CDIVersion(ctx)
		require.NoError(t, err)
		servers[0].Close()
		c.turn.Store(1)
		require.NoError(t, createOne(c))
		assert.Empty(t, logs[0].Requests(create))
		assert.Len(t, logs[1].Requests(create), maxTries)
	})
	bubble(t, "all down", func(t *testing.T) {
		c, servers, _ := inBubble(t, 2, Config{}, ok)
		warm(t, c)
		c.http.CloseIdleConnections()
		servers[0].Close()
		servers[1].Close()
		var e *Error
		require.ErrorAs(t, createOne(c), &e)
		assert.True(t, e.NotDone())
	})
}

// TestConnectionsAreKept: under load nearly all requests travel on connections that are there, after refusals too.
func TestConnectionsAreKept(t *testing.T) {
	const callers, each = 64, 16
	var opened, n atomic.Int32
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/apiversion":
			_, _ = io.WriteString(w, `{"versions":["5.2"]}`)
		case n.Add(1)%4 == 0:
			http.Error(w, strings.Repeat("no ", 100_000), 400)
		default:
			ok(w, r)
		}
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			opened.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	c := newClient(t, Config{ConnectionURI: srv.URL})
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				if err := createOne(c); err != nil {
					var e *Error
					if assert.True(t, errors.As(err, &e)) {
						assert.Equal(t, 400, e.Status)
					}
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d connections for %d requests at %d at a time", opened.Load(), callers*each, callers)
	// net/http may dial once more than it needs when a connection comes back while it dials.
	assert.LessOrEqual(t, opened.Load(), int32(2*callers))
}

// TestNobodyIsLeftBehind: callers that gave up on a core that hangs leave no goroutine, nor does a negotiation.
func TestNobodyIsLeftBehind(t *testing.T) {
	const patience, timeout = 50 * time.Millisecond, 500 * time.Millisecond
	for name, tt := range map[string]struct {
		route string
		ends  time.Duration
	}{
		"in a call":          {create, patience},
		"in the negotiation": {"/apiversion", timeout}, // which outlives its callers, but not for long
	} {
		bubble(t, name, func(t *testing.T) {
			c, servers, logs := inBubble(t, 1, Config{Timeout: timeout}, ok)
			if tt.route == create {
				warm(t, c)
			}
			logs[0].Hang(tt.route)
			start := time.Now()
			var wg sync.WaitGroup
			for range 50 {
				wg.Go(func() {
					ctx, cancel := context.WithTimeout(ctx, patience)
					defer cancel()
					_, err := c.CreateSession(ctx, "", NewSession{UserID: "u"})
					assert.ErrorIs(t, err, context.DeadlineExceeded)
				})
			}
			wg.Wait()
			assert.Equal(t, patience, time.Since(start))
			servers[0].Close() // waits for what is still asked; the bubble, at its end, for every goroutine
			assert.Equal(t, tt.ends, time.Since(start))
		})
	}
}
