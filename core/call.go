package core

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"
)

// route is one operation of the core.
type route struct {
	method, path string
	rid          string // of the recipe, by which the core tells apart what shares a path
	// repeat: when a host did not answer, broke off or answered 5xx, the call may be made again on another host though the
	// first may have done it. Without it a call goes to another host only if not one byte of it was sent, and after a 429.
	repeat bool
	// unversioned: the operation has no cdi-version.
	unversioned bool
	at31        *route // what stands for it at CDI 3.1, if anything else does
	maxAnswer   int64  // bytes; 0: 2 MiB
}

// The routes, and which of them may be repeated.
var (
	// A second create is a second session, which nobody knows of.
	createSession = route{method: "POST", path: "/recipe/session", rid: session, repeat: false}
	// A repeated refresh is harmless until somebody uses the first one's tokens. Another tab may have done so since, and then
	// the core sees theft and a user loses a session; so the browser repeats, which knows its tabs, and not this client.
	refreshSession = route{method: "POST", path: "/recipe/session/refresh", rid: session, repeat: false}
	// Verify makes the refresh token that came with the access token the current one. Once it is, the same verify finds it so
	// and gives the same answer.
	verifySession = route{method: "POST", path: "/recipe/session/verify", rid: session, repeat: true}
	// Regenerate writes the payload, again the same, and signs a token that is stored nowhere.
	regenerateSession = route{method: "POST", path: "/recipe/session/regenerate", rid: session, repeat: true}
	// Removed twice is removed. The second answer lists only what the first had left.
	removeSessions = route{method: "POST", path: "/recipe/session/remove", rid: session, repeat: true}
	// The same data put again are the same data.
	putData    = route{method: "PUT", path: "/recipe/session/data", rid: session, repeat: true}
	putPayload = route{method: "PUT", path: "/recipe/jwt/data", rid: session, repeat: true}

	// Of a repeated sign-up the answer would be that the e-mail exists, though this very call brought it there; of a repeated
	// import or token, that it existed, or was used.
	signUp            = route{method: "POST", path: "/recipe/signup", rid: emailPassword, repeat: false}
	importHash        = route{method: "POST", path: "/recipe/user/passwordhash/import", rid: emailPassword, repeat: false}
	createResetToken  = route{method: "POST", path: "/recipe/user/password/reset/token", rid: emailPassword, repeat: false}
	consumeResetToken = route{method: "POST", path: "/recipe/user/password/reset/token/consume", rid: emailPassword, repeat: false}
	createMapping     = route{method: "POST", path: "/recipe/userid/map", repeat: false}
	createEmailToken  = route{method: "POST", path: "/recipe/user/email/verify/token", rid: "emailverification", repeat: false}
	verifyEmail       = route{method: "POST", path: "/recipe/user/email/verify", rid: "emailverification", repeat: false}
	// These leave the same behind however often they are made. What the last answer says was there before may be the work of
	// an earlier try.
	putUser         = route{method: "PUT", path: "/recipe/user", rid: emailPassword, repeat: true}
	removeUser      = route{method: "POST", path: "/user/remove", repeat: true}
	removeMapping   = route{method: "POST", path: "/recipe/userid/map/remove", repeat: true}
	putMappingInfo  = route{method: "PUT", path: "/recipe/userid/external-user-id-info", repeat: true}
	unverifyEmail   = route{method: "POST", path: "/recipe/user/email/verify/remove", rid: "emailverification", repeat: true}
	putRole         = route{method: "PUT", path: "/recipe/role", rid: "userroles", repeat: true}
	addUserRole     = route{method: "PUT", path: "/recipe/user/role", rid: "userroles", repeat: true}
	removeUserRole  = route{method: "POST", path: "/recipe/user/role/remove", rid: "userroles", repeat: true}
	putMetadata     = route{method: "PUT", path: "/recipe/user/metadata", rid: "usermetadata", repeat: true}
	removeMetadata  = route{method: "POST", path: "/recipe/user/metadata/remove", rid: "usermetadata", repeat: true}
	addTenantUser   = route{method: "POST", path: "/recipe/multitenancy/tenant/user", rid: "multitenancy", repeat: true}
	leaveTenantUser = route{method: "POST", path: "/recipe/multitenancy/tenant/user/remove", rid: "multitenancy", repeat: true}
	// Reads. A sign-in changes nothing.
	signIn         = route{method: "POST", path: "/recipe/signin", rid: emailPassword, repeat: true}
	getUser        = route{method: "GET", path: "/recipe/user", rid: emailPassword, repeat: true}
	getUserByID    = route{method: "GET", path: "/user/id", repeat: true, at31: &getUser}
	getUsersBy     = route{method: "GET", path: "/users/by-accountinfo", repeat: true, at31: &getUser}
	countUsers     = route{method: "GET", path: "/users/count", repeat: true}
	isVerified     = route{method: "GET", path: "/recipe/user/email/verify", rid: "emailverification", repeat: true}
	getPermissions = route{method: "GET", path: "/recipe/role/permissions", rid: "userroles", repeat: true}
	getUserRoles   = route{method: "GET", path: "/recipe/user/roles", rid: "userroles", repeat: true}
	getMetadata    = route{method: "GET", path: "/recipe/user/metadata", rid: "usermetadata", repeat: true}
	getTenant31    = route{method: "GET", path: "/recipe/multitenancy/tenant", rid: "multitenancy", repeat: true}
	getTenant      = route{method: "GET", path: "/recipe/multitenancy/tenant/v2", rid: "multitenancy", repeat: true, at31: &getTenant31}
	listTenants31  = route{method: "GET", path: "/recipe/multitenancy/tenant/list", rid: "multitenancy", repeat: true}
	listTenants    = route{method: "GET", path: "/recipe/multitenancy/tenant/list/v2", rid: "multitenancy", repeat: true, at31: &listTenants31}
	getSession     = route{method: "GET", path: "/recipe/session", rid: session, repeat: true}
	userSessions   = route{method: "GET", path: "/recipe/session/user", rid: session, repeat: true}
	getMapping     = route{method: "GET", path: "/recipe/userid/map", repeat: true}
	getJWKS        = route{method: "GET", path: jwksPath, repeat: true, unversioned: true, maxAnswer: 512 << 10}
	getVersions    = route{method: "GET", path: "/apiversion", repeat: true, unversioned: true}
	getHello       = route{method: "GET", path: "/hello", repeat: true, unversioned: true}
)

const (
	session       = "session"
	emailPassword = "emailpassword"

	jwksPath   = "/.well-known/jwks.json"
	maxAnswer  = 2 << 20
	maxMessage = 1 << 10
	maxTries   = 5 // of a call that is answered 429
)

// request is one call as the operations state it.
type request struct {
	route
	tenantID string   // "/<tenant>" goes before the path; "": nothing does
	query    []string // names and values in turn
	body     any      // what becomes the JSON body; nil: none
	secrets  []string // tokens, passwords and hashes of body: they must not come back in a message
	// invalid is what is wrong with the arguments, if anything: then nothing is sent.
	invalid error
}

// call makes the request and hands the body of a 200 to read. Whatever fails, read's error too, is an *Error.
func (c *Client) call(ctx context.Context, req request, read func(body []byte) error) error {
	path := req.path
	refuse := func(err error) error {
		return &Error{Method: req.method, Path: path, Err: err, refused: true, notDone: true}
	}
	if req.invalid != nil {
		return refuse(req.invalid)
	}
	if err := ValidTenantID(req.tenantID); err != nil {
		return refuse(err)
	}
	var payload []byte
	if req.body != nil {
		var err error
		if payload, err = json.Marshal(req.body); err != nil {
			return refuse(err)
		}
	}
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > c.timeout {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.timeout)
		defer cancel()
	}
	version := ""
	if !req.unversioned {
		var err error
		if version, err = c.negotiate(ctx); err != nil {
			return err
		}
	}
	if version == cdi31 && req.at31 != nil {
		req.route = *req.at31
	}
	if path = req.path; req.tenantID != "" {
		path = "/" + req.tenantID + path
	}
	body, failed := c.try(ctx, req, path, payload, version)
	if failed != nil {
		failed.Path = path
		return failed
	}
	if err := read(body); err != nil {
		failed = &Error{Method: req.method, Path: path, Status: http.StatusOK, Err: err, notDone: req.method == "GET"}
		if s := (*statusError)(nil); errors.As(err, &s) {
			failed.Err, failed.Message = s.class, c.clean([]byte(s.message), req.secrets)
		}
		return failed
	}
	return nil
}

// try goes from host to host, starting with the next in turn, until one answers or nothing more may be tried. A host that
// fails is out, one that answers 429 is asked again after the others.
func (c *Client) try(ctx context.Context, req request, path string, payload []byte, version string) ([]byte, *Error) {
	if len(req.query) > 0 {
		query := url.Values{}
		for pair := range slices.Chunk(req.query, 2) {
			query.Set(pair[0], pair[1])
		}
		path += "?" + query.Encode()
	}
	start := int(c.turn.Add(1) % uint32(len(c.hosts)))
	hosts := slices.Concat(c.hosts[start:], c.hosts[:start])
	certain := true // no attempt so far can have changed anything
	for refusals := 0; ; {
		body, failed := c.attempt(ctx, req, hosts[0]+path, payload, version, len(hosts))
		if failed == nil {
			return body, nil
		}
		unsent := failed.Status == 0 && failed.notDone
		certain = certain && failed.notDone
		failed.notDone = certain || req.method == "GET"

		if failed.Status == http.StatusTooManyRequests {
			if refusals++; refusals == maxTries || !c.backOff(ctx, refusals, failed) {
				return nil, failed
			}
			hosts = append(hosts[1:], hosts[0])
			continue
		}
		hosts = hosts[1:]
		if len(hosts) == 0 || ctx.Err() != nil || !unsent && !(req.repeat && failed.Temporary()) {
			return nil, failed
		}
	}
}

// backOff waits before the next try after a 429, and reports whether there may be one. The wait is 100 ms, doubled with each
// try, or what the core asks for if that is longer, and up to a half more by chance. One that would pass the deadline is not
// begun.
func (c *Client) backOff(ctx context.Context, refusals int, failed *Error) bool {
	wait := max(100*time.Millisecond<<(refusals-1), failed.RetryAfter)
	wait += time.Duration(c.random() * float64(wait/2))
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return false
	}
	failed.Err = c.sleep(ctx, wait)
	return failed.Err == nil
}

// attempt sends one request to one host. left counts the hosts that may still be tried, this one included: where the call
// may be repeated there, it gets its share of the time that is left, so that one host that hangs does not use up all of it.
func (c *Client) attempt(ctx context.Context, req request, uri string, payload []byte, version string, left int) (
	[]byte, *Error,
) {
	if deadline, ok := ctx.Deadline(); ok && req.repeat && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(deadline)/time.Duration(left))
		defer cancel()
	}
	// net/http asks for a connection, gets it, writes. It starts again by itself, with another connection, only when it wrote
	// nothing to the first, or, for a GET, when that broke. It would also do so for a POST with an Idempotency-Key header,
	// sent or not: so there never is one.
	var sent atomic.Bool
	traced := httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { sent.Store(false) },
		GotConn: func(httptrace.GotConnInfo) { sent.Store(true) },
	})
	failed := &Error{Method: req.method}
	r, err := http.NewRequestWithContext(traced, req.method, uri, bytes.NewReader(payload))
	if err != nil {
		failed.Err, failed.refused, failed.notDone = errors.New("malformed URL"), true, true
		return nil, failed
	}
	c.setHeaders(r, req, version)
	resp, err := c.http.Do(r)
	if err != nil {
		if u := (*url.Error)(nil); errors.As(err, &u) {
			err = u.Err // without the URL, whose query is nobody's business
		}
		failed.Err = fmt.Errorf("no answer from %s: %w", r.URL.Host, err)
		if dial := (*net.OpError)(nil); c.plain {
			failed.notDone = !sent.Load()
		} else { // another's RoundTripper need not call the trace
			failed.notDone = errors.As(err, &dial) && dial.Op == "dial"
		}
		return nil, failed
	}
	defer func() { _ = resp.Body.Close() }()
	limit := cmp.Or(req.maxAnswer, maxAnswer)
	// Read to its end, an answer leaves its connection to the next call. One that is too long loses it.
	body, err := readAll(resp, limit+1)
	switch {
	case err != nil && resp.StatusCode == http.StatusOK:
		failed.Err = fmt.Errorf("the answer broke off: %w", err)
		return nil, failed
	case err != nil:
		body = nil // half a message may hold half a secret
	case int64(len(body)) > limit:
		failed.Err = fmt.Errorf("the answer is longer than %d bytes", limit)
		body = nil
	}
	if failed.Status = resp.StatusCode; failed.Status == http.StatusOK && failed.Err == nil {
		return body, nil
	}
	if failed.Status >= 300 && failed.Status < 400 {
		failed.Err = errors.New("a redirect, which is not followed: Config.ConnectionURI must be the core's own URL")
	}
	failed.Message = c.clean(body, req.secrets)
	failed.RetryAfter = c.retryAfter(resp.Header.Get("Retry-After"))
	// A 408 comes from a proxy that waited for bytes, and what it passed on meanwhile is its secret.
	failed.notDone = failed.Status >= 400 && failed.Status < 500 && failed.Status != http.StatusRequestTimeout
	if failed.Status == http.StatusBadRequest {
		if strings.HasPrefix(failed.Message, "cdi-version ") {
			c.forget(version) // the core is another than it was
		}
		for _, refusal := range refusals {
			if strings.HasPrefix(failed.Message, refusal.begins) {
				failed.Err = refusal.class
			}
		}
	}
	return nil, failed
}

// readAll reads an answer of at most limit bytes, in one piece where the answer says how long it is.
func readAll(resp *http.Response, limit int64) ([]byte, error) {
	var b bytes.Buffer
	if n := resp.ContentLength; n > 0 && n <= 64<<10 {
		b.Grow(int(n) + bytes.MinRead)
	}
	_, err := b.ReadFrom(io.LimitReader(resp.Body, limit))
	return b.Bytes(), err
}

func (c *Client) setHeaders(r *http.Request, req request, version string) {
	if req.path == jwksPath {
		return // public
	}
	if c.apiKey != "" {
		r.Header.Set("Api-Key", c.apiKey)
	}
	if version != "" {
		r.Header.Set("Cdi-Version", version)
	}
	if req.rid != "" {
		r.Header.Set("Rid", req.rid)
	}
	if req.method != "GET" {
		r.Header.Set("Content-Type", "application/json; charset=utf-8")
	}
}

func (c *Client) retryAfter(header string) time.Duration {
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(header); err == nil {
		return max(0, at.Sub(c.now()))
	}
	return 0
}

// clean makes a message of what the core, or what stands before it, said: one line, short, without what was secret in the
// request.
func (c *Client) clean(said []byte, secrets []string) string {
	text := string(said)
	for _, secret := range append([]string{c.apiKey}, secrets...) {
		if secret == "" {
			continue
		}
		quoted, _ := json.Marshal(secret) // a string always can
		for _, form := range []string{secret, strings.Trim(string(quoted), `"`)} {
			text = strings.ReplaceAll(text, form, "[redacted]")
		}
	}
	text = strings.ToValidUTF8(text[:min(len(text), maxMessage)], "?")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text))
}

// cdiVersions are the ones this client speaks, best first.
var cdiVersions = []string{"5.2", cdi31}

const cdi31 = "3.1"

// negotiation is one run of asking the core for its versions. Its fields are read when done is closed.
type negotiation struct {
	done    chan struct{}
	version string
	err     error
}

// negotiate returns the CDI version. The first caller starts to ask the core and whoever comes meanwhile waits for the same
// answer, each as long as its own context allows. The asking outlives the context that started it, for the sake of the
// others, and ends with Config.Timeout. A failure is not kept.
func (c *Client) negotiate(ctx context.Context) (string, error) {
	c.mu.Lock()
	if c.version != "" {
		defer c.mu.Unlock()
		return c.version, nil
	}
	n := c.flight
	if n == nil {
		n = &negotiation{done: make(chan struct{})}
		c.flight = n
		go func() {
			n.version, n.err = c.fetchVersion(context.WithoutCancel(ctx))
			c.mu.Lock()
			c.version, c.flight = n.version, nil
			c.mu.Unlock()
			close(n.done)
		}()
	}
	c.mu.Unlock()
	select {
	case <-n.done:
		return n.version, n.err
	case <-ctx.Done():
		err := fmt.Errorf("no answer yet: %w", ctx.Err())
		return "", &Error{Method: getVersions.method, Path: getVersions.path, Err: err, notDone: true}
	}
}

func (c *Client) fetchVersion(ctx context.Context) (version string, err error) {
	err = c.call(ctx, request{route: getVersions}, func(body []byte) error {
		var a struct {
			Versions []string `json:"versions"`
		}
		if err := decode(body, &a); err != nil {
			return err
		}
		for _, version = range cdiVersions {
			if slices.Contains(a.Versions, version) {
				return nil
			}
		}
		version = ""
		return fmt.Errorf("the core speaks CDI %.256q and this client %q: they have none in common",
			strings.Join(a.Versions, ", "), strings.Join(cdiVersions, ", "))
	})
	return version, err
}

// forget makes the next call negotiate anew, unless that has happened.
func (c *Client) forget(version string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.version == version {
		c.version = ""
	}
}
