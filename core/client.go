// Package core is a client of a SuperTokens core over its HTTP API, the Core Driver Interface (CDI): sessions, users with an
// e-mail and a password, user ID mappings, e-mail verification, roles, metadata, tenants, signing keys. It speaks CDI 5.2 or 3.1,
// whichever of the two is the higher one that the core knows.
//
// Every call is bounded by its context and by [Config.Timeout], reads a bounded answer, and fails with an [*Error] that
// says what the core answered and whether it may have done something. An answer that lacks what it must have (a token, a
// handle) is an error, never a zero value.
//
// # Security
//
// The API key, session tokens and passwords travel in what this client sends: use https unless the network is trusted. None
// stands in an error of this package. Redirects are not followed, and the environment's proxy is not used, for they would
// carry them to other hosts. User IDs and session handles are the caller's to check: the core creates a session for any
// user ID.
package core

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config configures a [Client]. ConnectionURI is required.
type Config struct {
	// ConnectionURI is the core's base URL, or several of them split by ";", which then must be cores of one version on one
	// database: "https://a.example:3567;https://b.example:3567". Each may carry a base path, and /appid-<id> at its end.
	ConnectionURI string
	// APIKey goes with every call but that for the public keys. Default: none, as a core without API keys wants it.
	APIKey string
	// HTTPClient sends the requests. It is copied, and follows no redirects. Its transport must not repeat requests by itself:
	// that could create a session twice.
	//
	// nil: a client of its own, which keeps up to 256 idle connections to each host, for 15 s (less than the 20 s and more
	// after which the core's Tomcat drops them), dials for at most 3 s, demands TLS 1.2, and ignores HTTP_PROXY and its kin.
	HTTPClient *http.Client
	// Timeout is the most that one call may take, its repetitions and waits included. A context with an earlier deadline
	// ends it earlier. Default: 10 s.
	Timeout time.Duration
	// Now reads a Retry-After that is a date. Default: [time.Now].
	Now func() time.Time
}

// Client calls a core. It is safe for concurrent use, keeps no goroutine of its own, and needs no closing.
type Client struct {
	hosts   []string // base URLs without a slash at the end
	apiKey  string
	http    http.Client
	plain   bool // the transport is net/http's own, whose handling of broken connections is known
	timeout time.Duration
	now     func() time.Time
	sleep   func(context.Context, time.Duration) error
	random  func() float64

	turn atomic.Uint32 // where the next call starts in hosts

	mu      sync.Mutex
	version string       // the negotiated CDI version, "" before
	flight  *negotiation // the negotiation under way, if any
}

// New validates cfg and returns a Client. It does not call the core: that may be down.
func New(cfg Config) (*Client, error) {
	hosts, err := parseHosts(cfg.ConnectionURI)
	if err != nil {
		return nil, err
	}
	if strings.ContainsFunc(cfg.APIKey, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("core: Config.APIKey holds a space, a line break or a character that is not ASCII")
	}
	if cfg.Timeout < 0 {
		return nil, fmt.Errorf("core: Config.Timeout is negative: %v", cfg.Timeout)
	}
	c := &Client{
		hosts:   hosts,
		apiKey:  cfg.APIKey,
		timeout: cmp.Or(cfg.Timeout, 10*time.Second),
		now:     cfg.Now,
		sleep:   sleep,
		random:  rand.Float64,
	}
	if c.now == nil {
		c.now = time.Now
	}
	if cfg.HTTPClient != nil {
		c.http = *cfg.HTTPClient
	} else {
		c.http.Transport = newTransport()
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	rt := c.http.Transport
	if rt == nil {
		rt = http.DefaultTransport
	}
	_, c.plain = rt.(*http.Transport)
	return c, nil
}

// Format keeps the API key out of logs, whatever the verb.
func (c *Client) Format(s fmt.State, _ rune) {
	_, _ = io.WriteString(s, "core.Client("+strings.Join(c.hosts, ";")+")")
}

func newTransport() *http.Transport {
	return &http.Transport{
		DialContext:            (&net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    5 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    256,
		IdleConnTimeout:        15 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var (
	basePath = regexp.MustCompile(`^(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$`)
	appPath  = regexp.MustCompile(`^appid-[a-z0-9-]+$`)
	tenant   = regexp.MustCompile(`^[a-z0-9-]+$`)
)

func parseHosts(uris string) ([]string, error) {
	if strings.TrimSpace(uris) == "" {
		return nil, errors.New("core: Config.ConnectionURI is missing")
	}
	var hosts []string
	for i, uri := range strings.Split(uris, ";") {
		host, err := parseHost(strings.TrimSpace(uri))
		if err != nil { // the URI itself stays out of the text: what is wrong with it may be a password in it
			return nil, fmt.Errorf("core: Config.ConnectionURI, entry %d: %w", i+1, err)
		}
		hosts = append(hosts, host)
	}
	return hosts, nil
}

func parseHost(uri string) (string, error) {
	u, err := url.Parse(uri)
	switch {
	case uri == "":
		return "", errors.New("is empty")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return "", errors.New("is not an http or https URL with a host")
	case u.User != nil:
		return "", errors.New("holds a user or password; the core is called with Config.APIKey")
	case strings.ContainsAny(uri, "?#"):
		return "", errors.New("has a query or fragment")
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	if !basePath.MatchString(path) {
		return "", errors.New("has a path that is not made of plain segments")
	}
	for i, segment := range strings.Split(path, "/") {
		if !strings.HasPrefix(strings.ToLower(segment), "appid-") {
			continue
		}
		if !appPath.MatchString(segment) || i != strings.Count(path, "/") {
			return "", errors.New("has an app ID that is not /appid-<id> at its end, with an <id> of a-z, 0-9 and -")
		}
	}
	return u.Scheme + "://" + u.Host + path, nil
}

// pathWords begin paths of the core. The core refuses some of them as tenants and reads others as such: a tenant of that
// name would be one by where it stands in a URL. "ee" also begins paths and is not here, for a tenant for Estonia may have
// that name and the core takes it.
var pathWords = []string{
	"apiversion", "bulk-import", "config", "hello", "migration", "recipe", "requests", "telemetry", "user", "users",
}

// ValidTenantID says why id cannot be a tenant, or nil. A tenant is one to 64 of a-z, 0-9 and -, does not begin with
// "appid-" and is none of the words that paths of the core begin with. "" is valid and is the public tenant, as is "public".
// Whether the tenant exists is not checked. Upper case is refused, not changed: the core would take it for lower case.
func ValidTenantID(id string) error {
	switch {
	case id == "":
		return nil
	case len(id) > 64:
		return fmt.Errorf("tenant ID of %d bytes: at most 64 are allowed", len(id))
	case !tenant.MatchString(id):
		return fmt.Errorf("tenant ID %q: only a-z, 0-9 and - are allowed", id)
	case strings.HasPrefix(id, "appid-"):
		return fmt.Errorf("tenant ID %q: it must not begin with appid-", id)
	case slices.Contains(pathWords, id):
		return fmt.Errorf("tenant ID %q: it is a word of the core's own paths", id)
	}
	return nil
}
