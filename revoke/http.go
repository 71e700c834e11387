package revoke

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"sync"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/ask"
)

const (
	defaultTimeout = 10 * time.Second
	maxBody        = 64 << 10
	maxToken       = 16 << 10
)

// HTTP says how a provider is called. Its zero value is complete.
type HTTP struct {
	// Client makes the calls; for a proxy, a private CA or mutual TLS. Default: a copy of http.DefaultTransport, with
	// connections of its own. Whatever it allows, redirects are not followed.
	Client *http.Client
	// Timeout is what one call may take, its answer's body included. Default 10 s.
	Timeout time.Duration
	// InsecureHTTP lets addresses be http. Tokens and secrets then travel in the clear: it MUST NOT be set but in a closed
	// network. http to localhost and to loopback addresses needs no leave.
	InsecureHTTP bool
	// Now replaces time.Now, in tests.
	Now func() time.Time
}

// client calls one provider, and leaves it alone for as long as the provider asked for.
type client struct {
	http    http.Client
	timeout time.Duration
	now     func() time.Time

	mu     sync.Mutex
	paused time.Time // until when
}

func (h HTTP) client() (*client, error) {
	if h.Timeout < 0 {
		return nil, fmt.Errorf("HTTP.Timeout is negative: %v", h.Timeout)
	}
	c := &client{http: ask.Client(h.Client), timeout: h.Timeout, now: h.Now}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if c.timeout == 0 {
		c.timeout = defaultTimeout
	}
	if c.now == nil {
		c.now = time.Now
	}
	return c, nil
}

// endpoint checks the address of an endpoint. base forbids a query, too, for an address to which paths are added.
func (h HTTP) endpoint(text string, base bool) error {
	return ask.Endpoint(text, h.InsecureHTTP, base)
}

type request struct {
	method, url string
	header      http.Header
	body        []byte
}

// form makes a POST of values.
func form(u string, values url.Values) request {
	return request{http.MethodPost, u, http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, []byte(values.Encode())}
}

// answer is what a provider said. The body is nil if it is longer than 64 KiB or did not arrive whole.
type answer struct {
	status int
	body   []byte
	whole  bool
	pause  time.Duration
}

// do makes one call. Its error is a RevokeError that may pass by itself; an answer of any status is none.
func (c *client) do(ctx context.Context, r request) (*answer, error) {
	if wait := c.wait(); wait > 0 {
		err := fmt.Errorf("%w: not called: the provider's limit is used up for another %v", stmigrate.ErrUnavailable, wait)
		return nil, &stmigrate.RevokeError{Err: err, RetryAfter: wait}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, r.method, r.url, bytes.NewReader(r.body))
	if err != nil {
		return nil, permanent("the request cannot be made: its address is no URL")
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	req.Header.Set("Accept", "application/json")
	res, err := c.http.Do(req)
	if err != nil {
		return nil, temporary("no answer: %w", ask.Cause(err))
	}
	defer func() { _ = res.Body.Close() }()
	a := &answer{status: res.StatusCode, pause: ask.Pause(res.StatusCode, res.Header, c.now())}
	c.pause(a.pause)
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if a.whole = err == nil && len(body) <= maxBody; a.whole {
		a.body = body
	}
	return a, nil
}

func (c *client) wait() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	// A clock that was set back must not make the pause longer than a provider can ask for.
	return min(c.paused.Sub(c.now()), ask.MaxPause)
}

func (c *client) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if until := c.now().Add(d); until.After(c.paused) {
		c.paused = until
	}
}

func temporary(format string, args ...any) *stmigrate.RevokeError {
	return &stmigrate.RevokeError{Err: fmt.Errorf("%w: %w", stmigrate.ErrUnavailable, fmt.Errorf(format, args...))}
}

func permanent(format string, args ...any) *stmigrate.RevokeError {
	return &stmigrate.RevokeError{Err: fmt.Errorf(format, args...), Permanent: true}
}

// refused is the error of an answer that is no success. A refusal is permanent unless its status says that it may pass.
func (a *answer) refused(code string) *stmigrate.RevokeError {
	text := fmt.Sprintf("the provider answered with status %d", a.status)
	if code != "" {
		text += " " + code
	}
	var e *stmigrate.RevokeError
	switch {
	case !a.whole:
		e = temporary("%s and a body that was cut or too long", text)
	case a.status >= 300 && a.status < 400:
		e = temporary("%s: redirects are not followed; is the address right?", text)
	case a.status == http.StatusRequestTimeout, a.status == http.StatusTooEarly, a.status == http.StatusTooManyRequests,
		a.status < 300, a.status >= 500:
		e = temporary("%s", text)
	default:
		e = permanent("%s", text)
	}
	e.RetryAfter = a.pause
	return e
}

// object reads the body as a JSON object; nil if it is none.
func (a *answer) object() map[string]any {
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(a.body))
	d.UseNumber()
	if d.Decode(&fields) != nil {
		return nil
	}
	return fields
}

// errorCode matches what providers name errors by: OAuth and most others, Google, Okta, Descope, AWS. Nothing else of an
// answer gets into an error's text: a provider may repeat what it was sent.
var errorCode = regexp.MustCompile(`^(?:[a-z_]{1,64}|[A-Z_]{1,64}|E[0-9]{6,7}|[A-Za-z]{1,55}Exception)$`)

// code returns the member of that name if it is the name of an error, else "".
func code(fields map[string]any, name string) string {
	s, _ := fields[name].(string)
	if !errorCode.MatchString(s) {
		return ""
	}
	return s
}
