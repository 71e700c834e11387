package main

import (
	"context"
	"encoding/json"
	"html/template"
	"log/slog"
	"net/http"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

const (
	audience = "https://api.app.test"
	email    = "ada@example.com"
	password = "correct horse battery staple"
	userID   = "legacy|ada"
)

// world is everything around the browser, on one clock.
type world struct {
	www, api string
	log      *slog.Logger

	issuer    *stmigratetest.Issuer
	core      *stmigratetest.Core
	sessions  *stmigrate.Sessions
	migrator  *stmigrate.Migrator
	revoking  *stmigrate.Revocations
	apiFaults stmigratetest.Faults
	later     atomic.Int64 // by how much the clock was put forward

	mu       sync.Mutex
	requests []*request
	outcomes []string                 // of exchanges, as Config.Observe tells them
	gates    map[string]chan struct{} // of routes that are held
	held     map[string]int
}

func newWorld(www, api string, insecure bool, logger *slog.Logger) (*world, error) {
	w := &world{www: www, api: api, log: logger, gates: make(map[string]chan struct{}), held: make(map[string]int)}
	var err error
	if w.issuer, err = stmigratetest.StartIssuer(stmigratetest.IssuerConfig{
		Audience: audience, TokenLifetime: 24 * time.Hour, Now: w.now,
	}); err != nil {
		return nil, err
	}
	w.issuer.AddUser(email, password, userID)
	if w.core, err = stmigratetest.StartCore(stmigratetest.CoreConfig{Now: w.now}); err != nil {
		return nil, err
	}
	verifier, err := stmigrate.NewJWKSVerifier(stmigrate.JWKSConfig{URL: w.issuer.JWKSURL()},
		stmigrate.JWTConfig{Issuer: w.issuer.Issuer(), Audience: []string{audience}, Now: w.now})
	if err != nil {
		return nil, err
	}
	if w.sessions, err = stmigrate.NewSessions(stmigrate.SessionsConfig{
		Core: w.core.Client(), APIDomain: api, WebsiteOrigins: []string{www}, InsecureCookies: insecure, Now: w.now,
	}); err != nil {
		return nil, err
	}
	revoker, err := revoke.NewRFC7009(revoke.RFC7009Config{
		Endpoint: w.issuer.RevocationURL(), Client: revoke.ClientAuth{Method: revoke.PublicClient, ID: "page"}, HTTP: revoke.HTTP{Now: w.now},
	})
	if err != nil {
		return nil, err
	}
	if w.migrator, err = stmigrate.New(stmigrate.Config{
		Verifier: verifier, Sessions: w.sessions, Users: stmigrate.SubjectIsUserID,
		Exchanges: stmigrate.NewMemoryExchanges(1000), Revoker: revoker,
		Observe: w.observe, Logger: logger, Now: w.now,
	}); err != nil {
		return nil, err
	}
	w.revoking, err = w.migrator.StartRevocations(stmigrate.RevocationConfig{Poll: 50 * time.Millisecond})
	return w, err
}

func (w *world) close() {
	_ = w.revoking.Close()
	w.issuer.Close()
	w.core.Close()
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.later.Load())) }

func (w *world) observe(_ context.Context, e stmigrate.Event) {
	if e.Name == "exchange" {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.outcomes = append(w.outcomes, e.Outcome)
	}
}

// backend is the API's origin: the log and the faults first, as a network has them, then CORS, then what a team would mount.
func (w *world) backend() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/migrate-session", w.migrator)
	mux.Handle("/auth/", w.sessions)
	me := http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		id, _ := stmigrate.IdentityFrom(r.Context())
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(rw).Encode(map[string]any{"userId": id.UserID, "legacy": id.Legacy != nil})
	})
	mux.Handle("/api/me", w.migrator.RequireEither(w.sessions.Require, me))
	return w.record("api", w.apiFaults.Wrap(cors(w.www, w.gate(mux)), nil))
}

// cors lets the pages of one origin call the API, with credentials.
func cors(origin string, next http.Handler) http.Handler {
	allow, expose := stmigrate.CORSHeaders()
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Add("Vary", "Origin")
		if r.Header.Get("Origin") == origin {
			h.Set("Access-Control-Allow-Origin", origin)
			h.Set("Access-Control-Allow-Credentials", "true")
			h.Set("Access-Control-Expose-Headers", strings.Join(expose, ", "))
		}
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, POST")
			h.Set("Access-Control-Allow-Headers", strings.Join(allow, ", "))
			rw.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// gate stops requests of routes that are held until they are released.
func (w *world) gate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		route := r.Method + " " + r.URL.Path
		w.mu.Lock()
		open, closed := w.gates[route]
		if closed {
			w.held[route]++
		}
		w.mu.Unlock()
		if closed {
			select {
			case <-open:
			case <-r.Context().Done():
			}
		}
		next.ServeHTTP(rw, r)
	})
}

// page is the website's origin: one page, its script, and the legacy provider's token endpoint.
func (w *world) page(dir string) (http.Handler, error) {
	index, err := template.ParseFiles(filepath.Join(dir, "index.html"))
	if err != nil {
		return nil, err
	}
	provider, err := url.Parse(w.issuer.URL)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Security-Policy",
			"default-src 'none'; img-src data:; script-src 'self'; style-src 'self'; connect-src 'self' "+w.api)
		rw.Header().Set("Cache-Control", "no-store")
		_ = index.Execute(rw, map[string]string{"API": w.api})
	})
	mux.Handle("GET /", http.FileServer(http.Dir(dir)))
	mux.Handle("POST /legacy/", http.StripPrefix("/legacy", &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(provider) },
	}))
	return w.record("www", mux), nil
}

// request is what the log says of one request. Status is 0 while there is no answer, and -1 if it was cut.
type request struct {
	Server   string            `json:"server"`
	Method   string            `json:"method"`
	Path     string            `json:"path"`
	Query    string            `json:"query"`
	Header   map[string]string `json:"header"`
	Status   int               `json:"status"`
	Response map[string]string `json:"response,omitempty"`
}

func (w *world) record(server string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		entry := &request{Server: server, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Header: flat(r.Header)}
		w.mu.Lock()
		w.requests = append(w.requests, entry)
		w.mu.Unlock()
		status := &statusWriter{ResponseWriter: rw, status: http.StatusOK}
		done := false
		defer func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			entry.Status, entry.Response = -1, nil
			if done {
				entry.Status, entry.Response = status.status, flat(rw.Header())
			}
			w.log.Info("request", "server", server, "method", entry.Method, "path", entry.Path, "status", entry.Status)
		}()
		next.ServeHTTP(status, r)
		done = true
	})
}

func flat(h http.Header) map[string]string {
	out := make(map[string]string, len(h))
	for name, values := range h {
		out[strings.ToLower(name)] = strings.Join(values, "\n")
	}
	return out
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
