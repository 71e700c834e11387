// Quickstart walks one user from a legacy session to a SuperTokens session, over real HTTP: a legacy provider, a SuperTokens
// core in memory and a backend with /migrate-session run in this process, and what they say to each other is printed.
//
//	go run ./examples/quickstart                           walk through it and exit
//	go run ./examples/quickstart -serve -addr 127.0.0.1:3000   keep the backend running, to try with curl
//
// SUPERTOKENS_CONNECTION_URI and SUPERTOKENS_API_KEY put a real core in the place of the one in memory.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/examples/internal/demo"
	"github.com/stmigrate/stmigrate/revoke"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

func main() {
	serve := flag.Bool("serve", false, "keep the backend running on -addr")
	addr := flag.String("addr", "127.0.0.1:0", "where the backend listens; with -serve 127.0.0.1:3000 by default")
	flag.Parse()
	if *serve && *addr == "127.0.0.1:0" {
		*addr = "127.0.0.1:3000"
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *addr, *serve); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

const (
	email    = "ada@example.com"
	password = "correct horse battery staple"
)

func run(ctx context.Context, out io.Writer, addr string, serve bool) error {
	legacy, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{Audience: "https://api.example.com"})
	if err != nil {
		return err
	}
	defer legacy.Close()
	legacy.AddUser(email, password, "legacy|ada")

	supertokens, stopCore, err := demo.Core()
	if err != nil {
		return err
	}
	defer stopCore()
	if err := supertokens.Ping(ctx); err != nil {
		return fmt.Errorf("the SuperTokens core does not answer: %w", err)
	}

	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	base := "http://" + listener.Addr().String()
	var later atomic.Int64 // by how much the walk has put the exchange's clock forward
	handler, err := backend(legacy, supertokens, base, func() time.Time { return time.Now().Add(time.Duration(later.Load())) })
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer func() {
		shutdown, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		_ = server.Shutdown(shutdown)
	}()

	if serve {
		printManual(out, legacy, base)
		select {
		case <-ctx.Done():
			return nil
		case err := <-served:
			return err
		}
	}
	w := &walk{ctx: ctx, out: out, base: base, legacy: legacy, forward: func(d time.Duration) { later.Add(int64(d)) }}
	return w.run()
}

// backend is what a team adds to its own: /migrate-session, and APIs that ask for a SuperTokens session.
func backend(legacy *stmigratetest.Issuer, supertokens *core.Client, base string, now func() time.Time) (http.Handler, error) {
	verifier, err := stmigrate.NewJWKSVerifier(
		stmigrate.JWKSConfig{URL: legacy.JWKSURL()},
		stmigrate.JWTConfig{Issuer: legacy.Issuer(), Audience: []string{"https://api.example.com"}})
	if err != nil {
		return nil, err
	}
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{
		Core: supertokens, APIDomain: base, WebsiteOrigins: []string{base},
	})
	if err != nil {
		return nil, err
	}
	revoker, err := revoke.NewRFC7009(revoke.RFC7009Config{ // ends the legacy session at the provider
		Endpoint: legacy.RevocationURL(), Client: revoke.ClientAuth{Method: revoke.PublicClient, ID: "quickstart"}, TokenTypeHint: "access_token",
	})
	if err != nil {
		return nil, err
	}
	migrator, err := stmigrate.New(stmigrate.Config{
		Verifier:  verifier,
		Sessions:  sessions,
		Users:     stmigrate.SubjectIsUserID,
		Exchanges: stmigrate.NewMemoryExchanges(100_000),
		Revoker:   revoker,
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Now:       now,
	})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/migrate-session", migrator)
	mux.Handle("/auth/", sessions) // refresh and sign-out
	mux.Handle("/api/me", sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"userId": stmigrate.SessionFrom(r.Context()).UserID()})
	})))
	return mux, nil
}

func printManual(out io.Writer, legacy *stmigratetest.Issuer, base string) {
	_, _ = fmt.Fprintf(out, `The legacy provider is %[1]s, the backend %[2]s. Try:

  # sign in at the legacy provider
  TOKEN=$(curl -s %[3]s -d grant_type=password -d username=%[4]s -d 'password=%[5]s' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  # exchange the legacy session
  curl -si -X POST %[2]s/migrate-session -H "Authorization: Bearer $TOKEN" -H 'st-auth-mode: cookie' -c cookies.txt
  # call an API with the SuperTokens session
  curl -si %[2]s/api/me -b cookies.txt
  # refresh the session
  curl -si -X POST %[2]s/auth/session/refresh -b cookies.txt -c cookies.txt
  # the legacy session is over
  curl -si %[6]s -H "Authorization: Bearer $TOKEN"

Ctrl-C ends it.
`, legacy.URL, base, legacy.TokenURL(), email, password, legacy.UserInfoURL())
}

// walk is the way of one user.
type walk struct {
	ctx     context.Context
	out     io.Writer
	base    string
	legacy  *stmigratetest.Issuer
	forward func(time.Duration)
}

func (w *walk) run() error {
	w.say("A user is signed in at the legacy provider.")
	signIn := url.Values{"grant_type": {"password"}, "username": {email}, "password": {password}}
	resp, err := w.request(http.MethodPost, w.legacy.TokenURL(), http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}, signIn.Encode(), 200)
	if err != nil {
		return err
	}
	token, _ := resp.json["access_token"].(string)
	bearer := http.Header{"Authorization": {"Bearer " + token}, "St-Auth-Mode": {"cookie"}}

	w.say("The backend runs on SuperTokens now, and does not know the user yet.")
	if _, err := w.request(http.MethodGet, w.base+"/api/me", nil, "", 401); err != nil {
		return err
	}

	w.say("The page exchanges its legacy session.")
	first, err := w.request(http.MethodPost, w.base+"/migrate-session", bearer, "", 200)
	if err != nil {
		return err
	}

	w.say("With the session's cookie the API answers.")
	access := first.cookie("sAccessToken")
	if access == "" {
		return errors.New("the exchange set no sAccessToken cookie")
	}
	me, err := w.request(http.MethodGet, w.base+"/api/me", http.Header{"Cookie": {"sAccessToken=" + access}}, "", 200)
	if err != nil {
		return err
	}
	if me.json["userId"] != "legacy|ada" {
		return fmt.Errorf("the API sees user %v, legacy|ada expected", me.json["userId"])
	}

	w.say("The answer got lost? The same exchange again gives the same session.")
	again, err := w.request(http.MethodPost, w.base+"/migrate-session", bearer, "", 200)
	if err != nil {
		return err
	}
	if again.cookie("sAccessToken") != access {
		return errors.New("the same exchange gave another session")
	}

	w.say("Three minutes later, when the grace is over, a replay of the legacy token is refused.")
	w.forward(3 * time.Minute)
	if _, err := w.request(http.MethodPost, w.base+"/migrate-session", bearer, "", 409); err != nil {
		return err
	}

	w.say("A forged token is refused.")
	forged := token[:strings.LastIndexByte(token, '.')+1] + strings.Repeat("A", 342)
	if _, err := w.request(http.MethodPost, w.base+"/migrate-session", http.Header{"Authorization": {"Bearer " + forged}}, "", 401); err != nil {
		return err
	}

	w.say("And the legacy session is over at its provider.")
	if _, err := w.request(http.MethodGet, w.legacy.UserInfoURL(), http.Header{"Authorization": {"Bearer " + token}}, "", 401); err != nil {
		return err
	}
	w.say("Done: one user, one session, nobody logged out.")
	return nil
}

func (w *walk) say(line string) { _, _ = fmt.Fprintf(w.out, "\n# %s\n", line) }

type response struct {
	*http.Response
	json map[string]any
}

func (r response) cookie(name string) string {
	for _, c := range r.Cookies() {
		if c.Name == name {
			return c.Value
		}
	}
	return ""
}

// request sends a request, prints it and its answer as curl would, and insists on the status.
func (w *walk) request(method, target string, header http.Header, body string, want int) (response, error) {
	req, err := http.NewRequestWithContext(w.ctx, method, target, strings.NewReader(body))
	if err != nil {
		return response{}, err
	}
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(w.out, format+"\n", args...) }
	p("> %s %s", method, target)
	for _, name := range []string{"Authorization", "Cookie", "St-Auth-Mode", "Content-Type"} {
		if v := header.Get(name); v != "" {
			req.Header.Set(name, v)
			p("> %s: %s", name, short(v))
		}
	}
	if body != "" {
		p("> %s", short(body))
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return response{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return response{}, err
	}
	p("< %s", resp.Status)
	for _, name := range []string{"Set-Cookie", "Front-Token", "Access-Control-Expose-Headers", "WWW-Authenticate", "Cache-Control"} {
		for _, v := range resp.Header.Values(name) {
			p("< %s: %s", name, short(v))
		}
	}
	r := response{Response: resp}
	_ = json.Unmarshal(data, &r.json)
	if line := strings.TrimSpace(string(data)); line != "" {
		p("< %s", short(line))
	}
	if resp.StatusCode != want {
		return r, fmt.Errorf("%s %s answered %s, %d expected: %s", method, target, resp.Status, want, data)
	}
	return r, nil
}

// short cuts the middle out of words that are too long to read.
func short(s string) string {
	words := strings.Split(s, " ")
	for i, word := range words {
		if len(word) > 100 {
			words[i] = word[:48] + "…" + word[len(word)-12:]
		}
	}
	return strings.Join(words, " ")
}
