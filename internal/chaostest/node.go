package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
)

// nodeConfig is what a node is told on its standard input before anything else.
type nodeConfig struct {
	Node, Life int
	World      string // the URL of the far sides
	Issuer     string
	Store, DSN string
	Secret     []byte
	Seed       uint64
	Faults     float64
	Lease      time.Duration
	Grace      time.Duration
	Shift      time.Duration
	Required   bool
}

// report is a line that a node writes to its standard output. A node that is killed has reported what it did.
type report struct {
	At    int64  `json:",omitempty"` // Unix microseconds
	Ready string `json:",omitempty"` // where it listens
	Calm  bool   `json:",omitempty"` // it makes no faults any more
	Waits bool   `json:",omitempty"` // it has come to the step after which it is to wait
	Count string `json:",omitempty"`
	Key   string `json:",omitempty"` // of an exchange
	Line  string `json:",omitempty"`
}

// What a node may be told after its configuration: to make no faults any more, and after the next step of a name to end itself, or
// to wait until it is told to go on.
const (
	tellCalm = "calm"
	tellDie  = "die after "
	tellWait = "wait after "
	tellGoOn = "go on"
)

// runNode is a node: it serves until its standard input ends.
func runNode() error {
	in := bufio.NewReader(os.Stdin)
	first, err := in.ReadBytes('\n')
	if err != nil {
		return err
	}
	var cfg nodeConfig
	if err := json.Unmarshal(first, &cfg); err != nil {
		return err
	}
	var mu sync.Mutex
	tell := func(r report) {
		r.At = time.Now().UnixMicro()
		line, _ := json.Marshal(r)
		mu.Lock()
		defer mu.Unlock()
		_, _ = os.Stdout.Write(append(line, '\n'))
	}
	var calmed atomic.Bool
	n := &node{cfg: cfg, tell: tell, chance: func() float64 {
		if calmed.Load() {
			return 0
		}
		return cfg.Faults
	}}
	handler, err := n.handler()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = srv.Serve(listener) }()
	tell(report{Ready: "http://" + listener.Addr().String()})
	last := &order{over: make(chan struct{})}
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil
		}
		switch line = strings.TrimSpace(line); {
		case line == tellCalm:
			calmed.Store(true)
			tell(report{Calm: true})
		case line == tellGoOn:
			n.doom.Store(nil)
			close(last.over)
			last = &order{over: make(chan struct{})}
		default:
			last.text = line
			n.doom.Store(last)
		}
	}
}

type node struct {
	cfg    nodeConfig
	tell   func(report)
	chance func() float64
	doom   atomic.Pointer[order] // what it was told last
}

// order is what befalls a node at a step.
type order struct {
	text string
	over chan struct{} // closed when the node is to go on
}

// passed ends the process, or has who took this step wait, if that is to be after it. A node does not stop itself: it could come to
// that after whoever ordered it has had it go on, and would never be woken.
func (n *node) passed(step string) {
	doom := n.doom.Load()
	switch {
	case doom == nil:
	case doom.text == tellDie+step:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case doom.text == tellWait+step && n.doom.CompareAndSwap(doom, nil):
		n.tell(report{Waits: true})
		<-doom.over
	}
}

// now is the node's clock.
func (n *node) now() time.Time { return time.Now().Add(n.cfg.Shift) }

// handler builds what a backend would: the exchange, the sessions, an API.
func (n *node) handler() (http.Handler, error) {
	cfg := n.cfg
	real, err := openStore(context.Background(), cfg.Store, cfg.DSN)
	if err != nil {
		return nil, err
	}
	exchanges := &faultyStore{
		store: broken(real, cfg), dice: dice(cfg.Seed), life: []int{cfg.Node, cfg.Life}, chance: n.chance, lease: cfg.Lease, tell: n.tell,
		passed: n.passed, taken: map[string]int{},
	}
	mine := fmt.Sprintf("%s/%d", cfg.World, cfg.Node)
	client, err := core.New(core.Config{ConnectionURI: mine + "/core", Now: n.now})
	if err != nil {
		return nil, err
	}
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{
		Core: client, APIDomain: "http://127.0.0.1:8080", WebsiteOrigins: []string{"http://127.0.0.1:3000"}, Now: n.now,
	})
	if err != nil {
		return nil, err
	}
	jwks, err := stmigrate.NewJWKSVerifier(
		stmigrate.JWKSConfig{URL: mine + "/issuer/.well-known/jwks.json"},
		stmigrate.JWTConfig{
			Issuer: cfg.Issuer, Audience: []string{audience}, Algorithms: []string{"ES256"},
			Leeway: cfg.Shift.Abs() + 30*time.Second, Now: n.now,
		},
	)
	if err != nil {
		return nil, err
	}
	issuer := &issuerClient{url: mine + "/issuer", http: &http.Client{Timeout: cfg.Lease / 4}}
	policy := stmigrate.RevokeBestEffort
	if cfg.Required {
		policy = stmigrate.RevokeRequired
	}
	m, err := stmigrate.New(stmigrate.Config{
		Verifier: &askingVerifier{jwks, issuer}, Sessions: sessions, Users: stmigrate.SubjectIsUserID, Exchanges: exchanges,
		Revoker: issuer, RevokePolicy: policy, Secrets: [][]byte{cfg.Secret}, Lease: cfg.Lease, Grace: cfg.Grace,
		Observe: n.observe, Now: n.now,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		return nil, err
	}
	if err := n.startWorker(m); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/migrate-session", m)
	mux.Handle("/auth/", sessions)
	mux.Handle("GET /api", sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, stmigrate.SessionFrom(r.Context()).UserID())
	})))
	return mux, nil
}

func (n *node) observe(_ context.Context, e stmigrate.Event) {
	n.tell(report{Count: e.Name + " " + e.Outcome})
}

// askingVerifier asks the issuer, for clients that want it, whether the session that a good token names is live.
type askingVerifier struct {
	stmigrate.OldSessionVerifier
	issuer *issuerClient
}

func (v *askingVerifier) Verify(ctx context.Context, token string) (*stmigrate.OldSession, error) {
	s, err := v.OldSessionVerifier.Verify(ctx, token)
	if err != nil || s.Claims["ask"] != true {
		return s, err
	}
	if err := v.issuer.live(ctx, token); err != nil {
		return nil, err
	}
	return s, nil
}

type issuerClient struct {
	url  string
	http *http.Client
}

func (c *issuerClient) post(ctx context.Context, path, token, body string) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := c.http.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	return resp.StatusCode, answer, err
}

func (c *issuerClient) live(ctx context.Context, token string) error {
	status, answer, err := c.post(ctx, "/introspect", "", "token="+token)
	if err != nil || status != http.StatusOK {
		return fmt.Errorf("%w: introspection: status %d, %v", stmigrate.ErrUnavailable, status, err)
	}
	var got struct{ Active bool }
	if err := json.Unmarshal(answer, &got); err != nil {
		return fmt.Errorf("%w: introspection: %w", stmigrate.ErrUnavailable, err)
	}
	if !got.Active {
		return fmt.Errorf("%w: the issuer says that its session is over", stmigrate.ErrInvalidSession)
	}
	return nil
}

// Revoke ends the session of token, siblings included.
func (c *issuerClient) Revoke(ctx context.Context, token string, _ *stmigrate.OldSession) error {
	status, _, err := c.post(ctx, "/logout", token, "")
	switch {
	case err != nil:
		return err
	case slices.Contains([]int{http.StatusNoContent, http.StatusUnauthorized}, status):
		return nil // 401: it is over already
	case status == http.StatusForbidden:
		return refusal(errors.New("the issuer refuses to end this session"))
	}
	return fmt.Errorf("status %d", status)
}
