package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	// clientTries bounds what one browser does to get its session, beside options.Patience.
	clientTries = 400
	// callLeases is how many leases an answer is waited for: longer than a Finish that comes late.
	callLeases = 3
	// A refresh is waited for. One that is sent again while the first is still on its way, in a node that stands still, looks like
	// theft to the core, and the session ends: a matter of refresh tokens, whoever minted the session.
	refreshTimeout = time.Minute
	refreshPath    = "/auth/session/refresh"
)

var (
	errLost = errors.New("the answer was lost")
	errLeft = errors.New("the client left")
)

// client is a browser: tabs that share a session, once one of them has it.
type client struct {
	clientPlan
	n      int
	opt    *options
	fleet  *fleet
	ledger *ledger
	http   *http.Client
	faulty func() bool
	legacy []string // tokens

	mu        sync.Mutex
	tokens    tokens // of the session that the browser has
	finals    []string
	signedOut bool
	stuck     bool
	wrong     []string // what a node answered that it never may
}

type tokens struct{ handle, access, refresh string }

// answer is what a node said.
type answer struct {
	status     int
	word       string // of the body
	tokens     tokens
	retryAfter time.Duration
}

// again: the answer is not the last word.
func (a answer) again() bool { return a.status >= 500 }

func (c *client) session() tokens {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tokens
}

func (c *client) complain(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// run is the life of a browser, to its end or that of ctx. One that is stuck may be run once more.
func (c *client) run(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.opt.Patience)
	defer cancel()
	c.finals, c.stuck = nil, false
	var tabs sync.WaitGroup
	for i := range c.Tabs {
		tabs.Go(func() { c.tab(ctx, i) })
	}
	tabs.Wait()
	if c.session().handle == "" {
		c.stuck = len(c.finals) < c.Tabs
		return
	}
	r := dice(c.opt.Seed).stream("later", c.n)
	if c.Uses {
		c.use(ctx, r)
	}
	if c.Again {
		c.postAgain(ctx, r)
	}
	if c.SignsOut {
		c.signOut(ctx, r)
	}
}

// tab posts until the browser has a session or the answer is final.
func (c *client) tab(ctx context.Context, i int) {
	r := dice(c.opt.Seed).stream("tab", c.n, i)
	for try := range clientTries {
		if ctx.Err() != nil || c.session().handle != "" {
			return
		}
		a, err := c.post(ctx, r, i, tokens{})
		switch {
		case err != nil || a.again():
			c.backOff(ctx, r, try, a)
		case a.status == http.StatusOK && a.tokens.handle != "":
			c.mu.Lock()
			if c.tokens.handle == "" {
				c.tokens = a.tokens
			}
			c.mu.Unlock()
			return
		case a.status == http.StatusConflict || a.status == http.StatusUnauthorized:
			c.mu.Lock()
			c.finals = append(c.finals, a.word)
			c.mu.Unlock()
			return
		default:
			c.complain("tab %d was answered %d %s", i, a.status, a.word)
			return
		}
	}
}

func (c *client) backOff(ctx context.Context, r *rand.Rand, try int, a answer) {
	d := min(20*time.Millisecond<<min(try, 6), 800*time.Millisecond)
	if c.Patient && a.retryAfter > d {
		d = a.retryAfter
	}
	wait(ctx, d/2+time.Duration(r.Int64N(int64(d))))
}

// post sends the legacy token, and in cookie mode the session's tokens where the browser has some.
func (c *client) post(ctx context.Context, r *rand.Rand, tab int, have tokens) (answer, error) {
	h := http.Header{"Authorization": {"Bearer " + c.legacy[tab%len(c.legacy)]}}
	if c.Key {
		h.Set("Idempotency-Key", "key-"+strconv.Itoa(c.n))
	}
	if c.Cookies && have.access != "" {
		h.Set("Cookie", "sAccessToken="+url.QueryEscape(have.access))
	}
	return c.call(ctx, r, fmt.Sprintf("tab %d posts", tab), http.MethodPost, "/migrate-session", h)
}

// call asks some node. The answer may be lost on the way, and the client may leave before it.
func (c *client) call(ctx context.Context, r *rand.Rand, what, method, path string, h http.Header) (a answer, err error) {
	node, fate, soon := c.fleet.nodes[r.IntN(len(c.fleet.nodes))], r.Float64(), time.Duration(r.IntN(60))*time.Millisecond
	begun := time.Now()
	defer func() {
		text := fmt.Sprint(a.status, " ", a.word)
		if a.tokens.handle != "" {
			text += " with session " + a.tokens.handle
		}
		if err != nil {
			text += fmt.Sprintf(" (%v)", err)
		}
		took := time.Since(begun).Round(time.Millisecond)
		c.ledger.trace(c.n, time.Now(), "client: %s to node %d, after %v: %s", what, node.id, took, text)
	}()
	addr := node.address()
	if addr == "" {
		return a, errNoNode
	}
	faulty, timeout := c.faulty(), callLeases*c.opt.Lease
	if path == refreshPath {
		timeout = refreshTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	left := faulty && path != refreshPath && fate > 1-c.opt.Faults/3
	if left {
		c.ledger.count("fault " + stepLeave)
		t := time.AfterFunc(soon, cancel)
		defer t.Stop()
	}
	req, err := http.NewRequestWithContext(ctx, method, addr+path, nil)
	if err != nil {
		return a, err
	}
	req.Header = h
	h.Set("St-Auth-Mode", map[bool]string{true: "cookie", false: "header"}[c.Cookies])
	resp, err := c.http.Do(req)
	if err != nil {
		if left {
			err = errLeft
		}
		return a, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	a = answer{status: resp.StatusCode, tokens: tokensOf(resp)}
	if a.tokens.handle != "" {
		c.ledger.gaveOut(c.n, a.tokens.handle)
	}
	if err != nil {
		return answer{}, err
	}
	var said struct{ Status, Message string }
	_ = json.Unmarshal(body, &said)
	a.word = said.Status + said.Message
	if seconds, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
		a.retryAfter = time.Duration(seconds) * time.Second
	}
	if faulty && fate < c.opt.Faults {
		c.ledger.count("fault " + stepAnswer)
		return a, errLost
	}
	return a, nil
}

// tokensOf reads the tokens that an answer carries, in headers or cookies.
func tokensOf(resp *http.Response) tokens {
	t := tokens{access: resp.Header.Get("St-Access-Token"), refresh: resp.Header.Get("St-Refresh-Token")}
	for _, cookie := range resp.Cookies() {
		value, err := url.QueryUnescape(cookie.Value)
		switch {
		case err != nil || value == "":
		case cookie.Name == "sAccessToken":
			t.access = value
		case cookie.Name == "sRefreshToken":
			t.refresh = value
		}
	}
	t.handle, _ = claimsOf(t.access)["sessionHandle"].(string)
	return t
}

// with authorizes a request by a session token.
func (c *client) with(cookie, token string) http.Header {
	if c.Cookies {
		return http.Header{"Cookie": {cookie + "=" + url.QueryEscape(token)}}
	}
	return http.Header{"Authorization": {"Bearer " + token}}
}

// until repeats a call while it has no last word.
func (c *client) until(ctx context.Context, r *rand.Rand, do func() (answer, error)) (answer, bool) {
	for try := range clientTries {
		if ctx.Err() != nil {
			break
		}
		a, err := do()
		if err == nil && !a.again() {
			return a, true
		}
		c.backOff(ctx, r, try, a)
	}
	return answer{}, false
}

func (c *client) api(ctx context.Context, r *rand.Rand) (answer, bool) {
	return c.until(ctx, r, func() (answer, error) {
		return c.call(ctx, r, "calls an API", http.MethodGet, "/api", c.with("sAccessToken", c.session().access))
	})
}

// refresh takes the next tokens, and has them count: by using them.
func (c *client) refresh(ctx context.Context, r *rand.Rand) (answer, bool) {
	a, ok := c.until(ctx, r, func() (answer, error) {
		return c.call(ctx, r, "refreshes", http.MethodPost, refreshPath, c.with("sRefreshToken", c.session().refresh))
	})
	if !ok || a.status != http.StatusOK {
		return a, ok
	}
	c.mu.Lock()
	if a.tokens.handle != c.tokens.handle || a.tokens.refresh == "" {
		c.wrong = append(c.wrong, fmt.Sprintf("the refresh of %s brought tokens of %q", c.tokens.handle, a.tokens.handle))
	} else {
		c.tokens = a.tokens
	}
	c.mu.Unlock()
	a, ok = c.api(ctx, r)
	// The core settles the refresh with the first use and sends the access token anew.
	if ok && a.tokens.handle != "" {
		c.mu.Lock()
		c.tokens.access = a.tokens.access
		c.mu.Unlock()
	}
	return a, ok
}

func (c *client) use(ctx context.Context, r *rand.Rand) {
	if a, ok := c.api(ctx, r); ok && a.status != http.StatusOK {
		c.complain("an API answered %d %s to the session %s", a.status, a.word, c.session().handle)
	}
	if a, ok := c.refresh(ctx, r); ok && a.status != http.StatusOK {
		c.complain("the refresh of %s was answered %d %s", c.session().handle, a.status, a.word)
	}
}

// postAgain is a tab that comes late, with the session in cookie mode, with the legacy token alone in header mode.
func (c *client) postAgain(ctx context.Context, r *rand.Rand) {
	a, ok := c.until(ctx, r, func() (answer, error) { return c.post(ctx, r, 0, c.session()) })
	if ok && c.Cookies && a.status != http.StatusOK {
		c.complain("a client with the live session %s was answered %d %s", c.session().handle, a.status, a.word)
	}
}

// signOut ends the session and comes back with the legacy token, as a page that is loaded again.
func (c *client) signOut(ctx context.Context, r *rand.Rand) {
	a, ok := c.until(ctx, r, func() (answer, error) {
		return c.call(ctx, r, "signs out", http.MethodPost, "/auth/signout", c.with("sAccessToken", c.session().access))
	})
	if !ok {
		return
	}
	if a.status != http.StatusOK && a.status != http.StatusUnauthorized {
		c.complain("the sign-out was answered %d %s", a.status, a.word)
		return
	}
	c.mu.Lock()
	c.signedOut = true
	c.mu.Unlock()
	for tab := range c.legacy {
		a, ok := c.until(ctx, r, func() (answer, error) { return c.post(ctx, r, tab, tokens{}) })
		if ok && a.status != http.StatusConflict && a.status != http.StatusUnauthorized {
			c.complain("after its sign-out the client was answered %d %s", a.status, a.word)
		}
	}
}
