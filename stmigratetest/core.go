package stmigratetest

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/coreemu"
)

// CoreConfig shapes a [Core]. The zero value is a core as it comes out of the box.
type CoreConfig struct {
	// Addr is where [StartCore] listens. Default "127.0.0.1:0", a free port.
	Addr string
	// APIKey is asked of every request. Default: none is asked.
	APIKey string
	// AccessTokenValidity and RefreshTokenValidity are the lifetimes of tokens. Default: 1 hour and 100 days.
	AccessTokenValidity, RefreshTokenValidity time.Duration
	// Versions are the CDI versions it claims. Default: those of supertokens-core 10.0.3.
	Versions []string
	// FreshKeys generates signing keys for this core alone; otherwise all cores of a process share a pair, which is quicker.
	FreshKeys bool
	// Now is the clock. Default: time.Now. The core's time is Now plus what Advance added.
	Now func() time.Time
}

// Core is a SuperTokens core in memory, served over HTTP. It answers as supertokens-core 10.0 does, as recordings of the
// real one prove, and misbehaves on demand: Advance moves its clock; RotateKeys signs with a new key; Down, Slow, Hang,
// Status, AfterCommit (it does the work and drops the connection) and Truncate break the routes they are given
// ("POST /recipe/session"; all if none), until Heal; Requests is the log of what it was asked. It holds what it is given
// in memory, and whoever reaches it may do everything.
type Core struct {
	*coreemu.Core
	// URL is the core's connection URI.
	URL string

	apiKey string
	server *httptest.Server
}

// NewCore starts a core for the time of a test.
func NewCore(tb testing.TB, cfg ...CoreConfig) *Core {
	tb.Helper()
	var c CoreConfig
	if len(cfg) > 0 {
		c = cfg[0]
	}
	core, err := StartCore(c)
	if err != nil {
		tb.Fatalf("stmigratetest: %v", err)
	}
	tb.Cleanup(core.Close)
	return core
}

// StartCore starts a core without a test, for demonstrations. Close it.
func StartCore(cfg CoreConfig) (*Core, error) {
	c := &Core{
		Core: coreemu.New(coreemu.Config{
			Now: cfg.Now, APIKey: cfg.APIKey, AccessTokenValidity: cfg.AccessTokenValidity,
			RefreshTokenValidity: cfg.RefreshTokenValidity, Versions: cfg.Versions, FreshKeys: cfg.FreshKeys,
		}),
		apiKey: cfg.APIKey,
	}
	server, err := serve(cfg.Addr, c.Core)
	if err != nil {
		return nil, err
	}
	c.server, c.URL = server, server.URL
	return c, nil
}

// Client returns a new client of this core.
func (c *Core) Client() *core.Client {
	client, err := core.New(core.Config{
		ConnectionURI: c.URL, APIKey: c.apiKey,
		// The default gives up dialing after 3 s, and a call after 10 s, and a test's machine may stand still for longer.
		Timeout:    time.Minute,
		HTTPClient: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 15 * time.Second}},
	})
	if err != nil {
		panic(err) // the URI is ours
	}
	return client
}

// Close stops the core and lets go whatever hangs.
func (c *Core) Close() {
	c.Heal()
	c.server.CloseClientConnections()
	c.server.Close()
}

// serve starts a server on addr, or on a free port of the loopback interface.
func serve(addr string, h http.Handler) (*httptest.Server, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listening on %s: %w", addr, err)
	}
	server := httptest.NewUnstartedServer(h)
	_ = server.Listener.Close()
	server.Listener = l
	server.Start()
	return server, nil
}
