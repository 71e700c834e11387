package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/coreemu"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

const audience = "api"

// world is what stands behind the nodes: the core and the issuer, each node's way to them, and what goes wrong on it. It
// outlives nodes, so it is what knows what they did.
type world struct {
	opt    *options
	dice   dice
	ledger *ledger
	core   *coreemu.Core
	issuer *stmigratetest.Issuer
	toIss  http.Handler
	srv    *http.Server
	url    string

	faulty   atomic.Bool
	coreDown atomic.Bool
	stubborn map[int]bool

	mu    sync.Mutex
	taken map[string]int // how often each step was taken
	trap  *trap
}

// trap is sprung when a node has taken a step, before it knows.
type trap struct {
	step   string
	node   int
	lost   bool // the answer never comes
	spring func()
}

func newWorld(opt *options, l *ledger) (*world, error) {
	w := &world{opt: opt, dice: dice(opt.Seed), ledger: l, taken: map[string]int{}, stubborn: map[int]bool{}}
	w.core = coreemu.New(coreemu.Config{})
	var err error
	if w.issuer, err = stmigratetest.StartIssuer(stmigratetest.IssuerConfig{
		Algorithm: "ES256", Audience: audience, TokenLifetime: 2 * time.Hour,
	}); err != nil {
		return nil, err
	}
	target, err := url.Parse(w.issuer.URL)
	if err != nil {
		return nil, err
	}
	w.toIss = &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.issuer.Close()
		return nil, err
	}
	w.url = "http://" + listener.Addr().String()
	w.srv = &http.Server{Handler: w, ReadHeaderTimeout: 10 * time.Second}
	w.faulty.Store(true)
	go func() { _ = w.srv.Serve(listener) }()
	return w, nil
}

func (w *world) close() {
	_ = w.srv.Close()
	w.issuer.Close()
}

// steps names the calls by what they ask of whom. What is not here fails never.
var steps = map[string]string{
	"core POST /recipe/session":         stepCreate,
	"core GET /recipe/session":          stepGet,
	"core GET /recipe/session/user":     stepFind,
	"core POST /recipe/session/remove":  stepRemove,
	"core POST /recipe/session/verify":  stepVerify,
	"core POST /recipe/session/refresh": stepRefresh,
	"core GET /.well-known/jwks.json":   stepKeys,
	"core GET /apiversion":              stepVersion,
	"issuer GET /.well-known/jwks.json": stepIssuerKeys,
	"issuer POST /introspect":           stepAsk,
	"issuer POST /logout":               stepRevoke,
}

// ServeHTTP answers /<node>/core/… and /<node>/issuer/….
func (w *world) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	parts := strings.SplitN(r.URL.Path, "/", 4)
	if len(parts) != 4 {
		http.NotFound(out, r)
		return
	}
	node, err := strconv.Atoi(parts[1])
	if err != nil {
		http.NotFound(out, r)
		return
	}
	side, path := parts[2], "/"+parts[3]
	if tenant, rest, ok := strings.Cut(path[1:], "/"); ok && tenant == "public" {
		path = "/" + rest
	}
	step := steps[side+" "+r.Method+" "+path]
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	// What is begun is done, whether the node still waits for it or not.
	r = r.Clone(context.WithoutCancel(r.Context()))
	r.Body, r.ContentLength, r.URL.Path, r.RequestURI = io.NopCloser(bytes.NewReader(body)), int64(len(body)), path, ""
	next := http.Handler(w.core)
	if side == "issuer" {
		next = w.toIss
	} else if w.coreDown.Load() {
		panic(http.ErrAbortHandler)
	}

	kind, n := w.draw(step)
	switch kind {
	case before:
		panic(http.ErrAbortHandler)
	case refused:
		http.Error(out, "injected", http.StatusServiceUnavailable)
		return
	case late:
		// Within the lease of whoever asked, who gave up long before.
		share := 30 + w.dice.stream("late", n).IntN(30)
		<-time.After(w.opt.Lease * time.Duration(share) / 100)
	}
	rec := httptest.NewRecorder()
	if step == stepRevoke && w.isStubborn(r) {
		http.Error(rec, `{"error":"access_denied"}`, http.StatusForbidden)
	} else {
		next.ServeHTTP(rec, r)
	}
	w.note(step, node, r, body, rec)
	if lost := w.spring(step, node); lost || kind == after || kind == late {
		panic(http.ErrAbortHandler)
	}
	maps.Copy(out.Header(), rec.Header())
	out.WriteHeader(rec.Code)
	_, _ = out.Write(rec.Body.Bytes())
}

// draw decides whether this call fails, and how.
func (w *world) draw(step string) (fault, int) {
	if step == "" || !w.faulty.Load() {
		return none, 0
	}
	w.mu.Lock()
	n := w.taken[step]
	w.taken[step]++
	w.mu.Unlock()
	kind := w.dice.fault(step, w.opt.Faults, n)
	if kind != none {
		w.ledger.count("fault " + step + " " + string(kind))
	}
	return kind, n
}

// note writes down what the call did.
func (w *world) note(step string, node int, r *http.Request, body []byte, rec *httptest.ResponseRecorder) {
	if rec.Code >= 300 {
		return
	}
	switch step {
	case stepCreate:
		var asked struct {
			Data map[string]any `json:"userDataInDatabase"`
		}
		var made struct {
			Session struct{ Handle, UserID string }
		}
		if json.Unmarshal(body, &asked) == nil && json.Unmarshal(rec.Body.Bytes(), &made) == nil && made.Session.Handle != "" {
			marker, _ := asked.Data[stmigrate.SessionMarker].(string)
			w.ledger.created(made.Session.Handle, made.Session.UserID, marker, node)
			w.core.ForgetRequests()
		}
	case stepRemove:
		var removed struct{ SessionHandlesRevoked []string }
		if json.Unmarshal(rec.Body.Bytes(), &removed) == nil {
			w.ledger.removed(removed.SessionHandlesRevoked, node)
		}
	case stepRevoke:
		w.ledger.legacyEnded(bearer(r), node)
		w.issuer.ForgetRequests()
	}
}

// bearer is the client whose legacy token authorizes r.
func bearer(r *http.Request) int {
	claims := claimsOf(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	sub, _ := claims["sub"].(string)
	return clientOf(sub)
}

// claimsOf reads a token of ours without checking it.
func claimsOf(token string) map[string]any {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	var claims map[string]any
	_ = json.Unmarshal(raw, &claims)
	return claims
}

func (w *world) isStubborn(r *http.Request) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stubborn[bearer(r)]
}

// signIn opens a client's legacy session and returns its sibling tokens.
func (w *world) signIn(client int, p clientPlan) []string {
	w.mu.Lock()
	w.stubborn[client] = p.Stubborn
	w.mu.Unlock()
	claims := stmigratetest.Claims{"sub": userID(client), "sid": fmt.Sprint("sid-", client)}
	if p.Asked {
		claims["ask"] = true
	}
	tokens := make([]string, p.Tokens)
	for i := range tokens {
		tokens[i] = w.issuer.Token(claims)
	}
	return tokens
}

// arm sets a trap; nil takes it away, after which it is not sprung any more.
func (w *world) arm(t *trap) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.trap = t
}

// spring springs the trap if it is for this step, and tells whether the answer is lost.
func (w *world) spring(step string, node int) (lost bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	t := w.trap
	if t == nil || t.step != step || t.node != node {
		return false
	}
	w.trap = nil
	t.spring()
	return t.lost
}

// heal ends all faults.
func (w *world) heal() {
	w.faulty.Store(false)
	w.coreDown.Store(false)
	w.arm(nil)
}
