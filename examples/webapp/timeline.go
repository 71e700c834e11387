package main

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stmigrate/stmigrate"
)

// entry is something that happened: a request, or what the server did for one. It holds no token.
type entry struct {
	Time  time.Time `json:"time"`
	Title string    `json:"title"`
	// Status is a request's HTTP status; 0 while it runs, and for what is no request.
	Status  int  `json:"status"`
	Request bool `json:"request"`
	// Sent and Got are what credentials a request carried and its answer brought; or what there is to say.
	Sent string `json:"sent,omitempty"`
	Got  string `json:"got,omitempty"`
}

const (
	maxEntries = 60
	nothing    = "no credentials"
)

// timeline remembers what happened last, and counts. Safe for concurrent use.
type timeline struct {
	mu              sync.Mutex
	entries         []*entry
	minted, revoked int
	spent           string // the legacy token that was revoked last
}

func (t *timeline) add(e *entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e.Time = time.Now()
	t.entries = append(t.entries, e)
	if extra := len(t.entries) - maxEntries; extra > 0 {
		t.entries = slices.Delete(t.entries, 0, extra)
	}
}

func (t *timeline) event(title, text string) { t.add(&entry{Title: title, Got: text}) }

// exchanged is for Config.Observe.
func (t *timeline) exchanged(e stmigrate.Event) {
	switch e.Name + " " + e.Outcome {
	case "exchange " + stmigrate.OutcomeMigrated:
		t.mu.Lock()
		t.minted++
		t.mu.Unlock()
		t.event("Exchange finished", "one SuperTokens session minted")
	case "exchange " + stmigrate.OutcomeReplayed:
		t.event("Exchange repeated", "the same session once more, none minted")
	case "exchange " + stmigrate.OutcomeCurrent:
		t.event("Exchange not needed", "there was a SuperTokens session already")
	case "exchange ALREADY_MIGRATED":
		t.event("Exchange refused", "exchanged before; nothing minted")
	case "revoke revoked":
		t.mu.Lock()
		t.revoked++
		t.mu.Unlock()
		t.event("Legacy session revoked", "at its provider, by the server")
	case "revoke failed", "revoke dead":
		t.event("Legacy session not revoked", "the provider did not take it")
	default:
		t.event("Exchange refused", e.Outcome+"; nothing minted")
	}
}

func (t *timeline) spend(token string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spent = token
}

func (t *timeline) spentToken() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.spent
}

// watch writes down each request and its answer.
func (t *timeline) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e := &entry{Title: r.Method + " " + r.URL.Path, Request: true, Sent: carried(r)}
		t.add(e)
		answer := &answer{ResponseWriter: w, status: http.StatusOK}
		defer func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			e.Status, e.Got = answer.status, brought(answer.Header())
			switch {
			case e.Sent == nothing && r.URL.Path == "/auth/session/refresh":
				e.Got = "word that there is no session here yet" // what the frontend SDK asks of a browser that it does not know
			case e.Got == "" && r.URL.Path == "/sign-in" && e.Status == http.StatusOK:
				e.Got = "legacy token"
			}
		}()
		next.ServeHTTP(answer, r)
	})
}

type answer struct {
	http.ResponseWriter
	status int
}

func (w *answer) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap is for [http.ResponseController].
func (w *answer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// carried names the credentials of a request.
func carried(r *http.Request) string {
	var all []string
	if r.URL.Path == "/sign-in" {
		all = append(all, "e-mail and password")
	}
	if bearer(r) != "" {
		all = append(all, "legacy token")
	}
	if _, err := r.Cookie("sAccessToken"); err == nil {
		all = append(all, "session cookie")
	}
	if _, err := r.Cookie("sRefreshToken"); err == nil {
		all = append(all, "refresh cookie")
	}
	if len(all) == 0 {
		return nothing
	}
	return strings.Join(all, ", ")
}

// brought names the credentials of an answer.
func brought(h http.Header) string {
	switch cookies := (&http.Response{Header: h}).Cookies(); {
	case slices.ContainsFunc(cookies, func(c *http.Cookie) bool { return c.Name == "sAccessToken" && c.Value == "" }):
		return "session cookies removed"
	case slices.ContainsFunc(cookies, func(c *http.Cookie) bool { return c.Name == "sRefreshToken" && c.Value != "" }):
		return "new session cookies"
	case slices.ContainsFunc(cookies, func(c *http.Cookie) bool { return c.Name == "sAccessToken" }):
		return "new session cookie"
	}
	return ""
}
