// Package faults makes a test server misbehave on demand, and remembers what it was asked.
package faults

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Request is one request that a server saw, faulty answers included.
type Request struct {
	Time   time.Time
	Method string
	// Route is "METHOD /path" as the server's own routing names it, whatever stood before it in the URL.
	Route  string
	Path   string
	Query  string
	Header http.Header
	// Body is at most the first 64 KiB.
	Body []byte
}

// Faults are the switches. The zero value is a healthy server with an empty log. Each switch takes the routes it is for
// ("POST /recipe/session", or "/recipe/session" for all methods); none means every route. The last switch that names a
// route is the one that counts, and Heal ends all of them.
type Faults struct {
	mu    sync.Mutex
	rules []rule
	log   []Request
	heal  chan struct{}
	// Now dates the log. nil: time.Now.
	Now func() time.Time
}

type kind int

const (
	slow kind = iota
	down
	hang
	status
	afterCommit
	truncate
)

type rule struct {
	kind   kind
	routes []string
	delay  time.Duration
	code   int
}

// Down drops the connection without doing anything.
func (f *Faults) Down(routes ...string) { f.add(rule{kind: down, routes: routes}) }

// Slow waits for d before it does the work. A client that leaves meanwhile ends the wait, and nothing is done.
func (f *Faults) Slow(d time.Duration, routes ...string) {
	f.add(rule{kind: slow, delay: d, routes: routes})
}

// Hang does nothing and answers nothing until the client leaves or Heal is called; then it drops the connection.
func (f *Faults) Hang(routes ...string) { f.add(rule{kind: hang, routes: routes}) }

// Status answers with code, and does nothing.
func (f *Faults) Status(code int, routes ...string) {
	f.add(rule{kind: status, code: code, routes: routes})
}

// AfterCommit does the work and then drops the connection, so that the client cannot know.
func (f *Faults) AfterCommit(routes ...string) { f.add(rule{kind: afterCommit, routes: routes}) }

// Truncate does the work and drops the connection in the middle of the answer's body.
func (f *Faults) Truncate(routes ...string) { f.add(rule{kind: truncate, routes: routes}) }

// Heal ends all faults and lets go whatever hangs.
func (f *Faults) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
	if f.heal != nil {
		close(f.heal)
		f.heal = nil
	}
}

// Requests returns what was asked so far, oldest first, of these routes only if any is given.
func (f *Faults) Requests(routes ...string) []Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []Request
	for _, r := range f.log {
		if matches(routes, r.Method, r.Route) {
			out = append(out, r)
		}
	}
	return out
}

// ForgetRequests empties the log.
func (f *Faults) ForgetRequests() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = nil
}

// Wrap puts the switches and the log before next. route names the path part of a request's route; nil: r.URL.Path.
func (f *Faults) Wrap(next http.Handler, route func(*http.Request) string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := r.URL.Path
		if route != nil {
			path = route(r)
		}
		name := r.Method + " " + path
		head, _ := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		r.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(head), r.Body), r.Body}
		fault, ok, healed := f.record(Request{
			Method: r.Method, Route: name, Path: r.URL.Path, Query: r.URL.RawQuery, Header: r.Header.Clone(), Body: head,
		})
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		switch fault.kind {
		case down:
			panic(http.ErrAbortHandler)
		case hang:
			select {
			case <-r.Context().Done():
			case <-healed:
			}
			panic(http.ErrAbortHandler)
		case status:
			http.Error(w, http.StatusText(fault.code), fault.code)
		case slow:
			t := time.NewTimer(fault.delay)
			defer t.Stop()
			select {
			case <-t.C:
				next.ServeHTTP(w, r)
			case <-r.Context().Done():
				panic(http.ErrAbortHandler)
			}
		case afterCommit:
			next.ServeHTTP(httptest.NewRecorder(), r)
			panic(http.ErrAbortHandler)
		case truncate:
			rec := httptest.NewRecorder()
			next.ServeHTTP(rec, r)
			for k, v := range rec.Header() {
				w.Header()[k] = v
			}
			w.Header().Set("Content-Length", strconv.Itoa(rec.Body.Len()))
			w.WriteHeader(rec.Code)
			_, _ = w.Write(rec.Body.Bytes()[:rec.Body.Len()/2])
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	})
}

func (f *Faults) add(r rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = append(f.rules, r)
	if f.heal == nil {
		f.heal = make(chan struct{})
	}
}

// record logs a request and finds the rule for it at once: who sees a request in the log knows what becomes of it, whatever is
// switched then.
func (f *Faults) record(r Request) (rule, bool, <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if r.Time = time.Now(); f.Now != nil {
		r.Time = f.Now()
	}
	f.log = append(f.log, r)
	for _, rule := range slices.Backward(f.rules) {
		if matches(rule.routes, r.Method, r.Route) {
			return rule, true, f.heal
		}
	}
	return rule{}, false, nil
}

func matches(routes []string, method, route string) bool {
	return len(routes) == 0 || slices.Contains(routes, route) ||
		slices.ContainsFunc(routes, func(p string) bool { return method+" "+p == route })
}
