package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// control is the test's own door. It listens on the loopback address alone.
func (w *world) control() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", func(rw http.ResponseWriter, _ *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		live := []map[string]string{}
		for _, s := range w.core.Sessions() {
			live = append(live, map[string]string{"handle": s.Handle, "userId": s.UserID})
		}
		rw.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(rw).Encode(map[string]any{
			"requests": w.requests, "outcomes": append([]string{}, w.outcomes...), "held": w.held, "live": live,
			"mints":       len(w.core.Requests("POST /recipe/session")),
			"refreshes":   len(w.core.Requests("POST /recipe/session/refresh")),
			"revocations": len(w.issuer.Revocations()),
		})
	})
	mux.HandleFunc("POST /{command}", func(rw http.ResponseWriter, r *http.Request) {
		var c command
		if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		if err := w.obey(r.PathValue("command"), c); err != nil {
			http.Error(rw, err.Error(), http.StatusBadRequest)
			return
		}
		w.log.Info("control", "command", r.PathValue("command"), "arguments", fmt.Sprintf("%+v", c))
	})
	return mux
}

type command struct {
	On     string   `json:"on"`   // api, issuer or core
	Kind   string   `json:"kind"` // of a fault
	Routes []string `json:"routes"`
	MS     int64    `json:"ms"`
}

func (w *world) obey(name string, c command) error {
	switch name {
	case "advance":
		w.later.Add(int64(time.Duration(c.MS) * time.Millisecond))
	case "hold":
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, route := range c.Routes {
			w.gates[route] = make(chan struct{})
		}
	case "release":
		w.mu.Lock()
		defer w.mu.Unlock()
		for route, gate := range w.gates {
			close(gate)
			delete(w.gates, route)
		}
	case "heal", "fault":
		on := map[string]interface {
			Heal()
			Down(...string)
			Slow(time.Duration, ...string)
			AfterCommit(...string)
			Truncate(...string)
		}{"api": &w.apiFaults, "issuer": w.issuer, "core": w.core}[c.On]
		switch {
		case on == nil:
			return fmt.Errorf("there is no %q", c.On)
		case name == "heal":
			on.Heal()
		case c.Kind == "down":
			on.Down(c.Routes...)
		case c.Kind == "slow":
			on.Slow(time.Duration(c.MS)*time.Millisecond, c.Routes...)
		case c.Kind == "cut":
			on.AfterCommit(c.Routes...)
		case c.Kind == "truncate":
			on.Truncate(c.Routes...)
		default:
			return fmt.Errorf("there is no fault %q", c.Kind)
		}
	default:
		return fmt.Errorf("there is no command %q", name)
	}
	return nil
}
