package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

//go:embed static
var static embed.FS

// assets are the files that the page loads, by path.
var assets = map[string]struct{ file, contentType string }{
	"/app.js":      {"static/app.js", "text/javascript; charset=utf-8"},
	"/app.css":     {"static/app.css", "text/css; charset=utf-8"},
	"/favicon.svg": {"static/favicon.svg", "image/svg+xml"},
}

// app is the demo: the page, the backend in the release that is deployed, and the switch between the two.
type app struct {
	legacy *stmigratetest.Issuer
	core   *core.Client
	base   string
	page   *template.Template
	stage  atomic.Pointer[stage]
	reset  sync.Mutex
}

// stage is one run of the story, from the sign-in to the replay.
type stage struct {
	before, after http.Handler
	deployed      atomic.Bool
	sessions      *stmigrate.Sessions
	timeline      *timeline
}

// newApp returns the demo as a handler. base is the origin that it is served at. legacy's users and keys are the demo's from
// now on.
func newApp(legacy *stmigratetest.Issuer, supertokens *core.Client, base string) (http.Handler, error) {
	page, err := template.ParseFS(static, "static/index.html")
	if err != nil {
		return nil, err
	}
	legacy.AddUser(ada.Email, ada.password, ada.ID)
	a := &app{legacy: legacy, core: supertokens, base: base, page: page}
	first, err := a.newStage()
	if err != nil {
		return nil, err
	}
	a.stage.Store(first)

	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", a.servePage)
	for path, asset := range assets {
		body, err := static.ReadFile(asset.file)
		if err != nil {
			return nil, err
		}
		mux.Handle("GET "+path, serveAsset(path, asset.contentType, body))
	}
	mux.HandleFunc("GET /demo/state", a.serveState)
	mux.HandleFunc("POST /demo/deploy", a.deploy)
	mux.HandleFunc("POST /demo/replay", a.replay)
	mux.HandleFunc("POST /demo/start-over", a.startOver)
	backend := http.HandlerFunc(a.serveBackend)
	for _, path := range []string{"/sign-in", "/legacy/", "/api/", "/migrate-session", "/auth/"} {
		mux.Handle(path, backend)
	}
	return loopbackOnly(securityHeaders(http.NewCrossOriginProtection().Handler(mux))), nil
}

func (a *app) newStage() (*stage, error) {
	verifier, err := legacyVerifier(a.legacy)
	if err != nil {
		return nil, err
	}
	t := &timeline{}
	with, sessions, err := after(deployment{
		legacy: a.legacy, verifier: verifier, core: a.core, base: a.base,
		observe: func(_ context.Context, e stmigrate.Event) { t.exchanged(e) },
		revoked: t.spend,
	})
	if err != nil {
		return nil, err
	}
	return &stage{before: t.watch(before(a.legacy, verifier)), after: t.watch(with), sessions: sessions, timeline: t}, nil
}

func (a *app) serveBackend(w http.ResponseWriter, r *http.Request) {
	if s := a.stage.Load(); s.deployed.Load() {
		s.after.ServeHTTP(w, r)
	} else {
		s.before.ServeHTTP(w, r)
	}
}

// release is what the page is told: it runs the code of the release that it was loaded from.
func (s *stage) release() string {
	if s.deployed.Load() {
		return "supertokens"
	}
	return "legacy"
}

func (a *app) servePage(w http.ResponseWriter, _ *http.Request) {
	s := a.stage.Load()
	var page bytes.Buffer
	err := a.page.Execute(&page, map[string]string{"Release": s.release(), "Email": ada.Email, "Password": ada.password})
	if err != nil {
		http.Error(w, "the page cannot be rendered", http.StatusInternalServerError)
		return
	}
	s.timeline.event("Page loaded", map[string]string{"legacy": "the legacy app", "supertokens": "with SuperTokens"}[s.release()])
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = page.WriteTo(w)
}

// serveAsset has browsers ask each time whether it changed, since the next build has it under the same name.
func serveAsset(path, contentType string, body []byte) http.Handler {
	sum := sha256.Sum256(body)
	etag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("Cache-Control", "no-cache")
		w.Header().Set("Etag", etag)
		http.ServeContent(w, r, path, time.Time{}, bytes.NewReader(body))
	})
}

// serveState tells what happened, for the page to show.
func (a *app) serveState(w http.ResponseWriter, r *http.Request) {
	s := a.stage.Load()
	handles, err := s.sessions.UserSessions(r.Context(), "", ada.ID)
	if err != nil {
		reply(w, http.StatusServiceUnavailable, map[string]string{"status": "UNAVAILABLE"})
		return
	}
	t := s.timeline
	t.mu.Lock()
	defer t.mu.Unlock()
	reply(w, http.StatusOK, map[string]any{
		"release": s.release(), "minted": t.minted, "revoked": t.revoked, "live": len(handles),
		"canReplay": t.spent != "", "timeline": append([]*entry{}, t.entries...),
	})
}

func (a *app) deploy(w http.ResponseWriter, _ *http.Request) {
	if s := a.stage.Load(); s.deployed.CompareAndSwap(false, true) {
		s.timeline.event("SuperTokens deployed", "open pages run the legacy app until a reload")
	}
	reply(w, http.StatusOK, map[string]string{"status": "OK"})
}

// replay plays a thief, who copied the legacy token while it lay in the browser and exchanges it from somewhere else, once the
// page has done so.
func (a *app) replay(w http.ResponseWriter, r *http.Request) {
	s := a.stage.Load()
	token := s.timeline.spentToken()
	if token == "" {
		reply(w, http.StatusConflict, map[string]string{"status": "NOTHING_TO_REPLAY"})
		return
	}
	theft, err := http.NewRequestWithContext(r.Context(), http.MethodPost, a.base+"/migrate-session", nil)
	if err != nil {
		reply(w, http.StatusInternalServerError, map[string]string{"status": "INTERNAL_ERROR"})
		return
	}
	theft.Header.Set("Authorization", "Bearer "+token)
	s.timeline.event("Replay", "a copy of the old token, from somewhere else")
	resp, err := providerClient.Do(theft)
	if err != nil {
		reply(w, http.StatusServiceUnavailable, map[string]string{"status": "UNAVAILABLE"})
		return
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	reply(w, http.StatusOK, map[string]any{"status": "OK", "answer": resp.StatusCode})
}

// startOver goes back to the legacy release with nobody signed in, whatever browsers still hold: the provider's keys are new,
// so that no token of before is good, and the SuperTokens sessions are over.
func (a *app) startOver(w http.ResponseWriter, r *http.Request) {
	a.reset.Lock()
	defer a.reset.Unlock()
	a.legacy.RotateKeys()
	a.legacy.DropOldKeys()
	next, err := a.newStage()
	if err == nil {
		a.stage.Store(next)
		_, err = next.sessions.RevokeUser(r.Context(), "", ada.ID)
	}
	if err != nil {
		reply(w, http.StatusServiceUnavailable, map[string]string{"status": "UNAVAILABLE"})
		return
	}
	reply(w, http.StatusOK, map[string]string{"status": "OK"})
}

var contentSecurityPolicy = strings.Join([]string{
	"default-src 'none'", "script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'",
	"base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
	"require-trusted-types-for 'script'", "trusted-types 'none'",
}, "; ")

func securityHeaders(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", contentSecurityPolicy)
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		next.ServeHTTP(w, r)
	})
}

// loopbackOnly refuses requests that came by another name than this machine's own: a website whose name was made to point here
// (DNS rebinding) would be of the same origin as the demo.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		if ip := net.ParseIP(strings.Trim(host, "[]")); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			http.Error(w, fmt.Sprintf("open this page as localhost or 127.0.0.1, not as %q", host), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
