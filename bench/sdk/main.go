// SDK measures Sessions.Require against supertokens-golang's VerifySession, on the same token in one interleaved run. It is a
// module of its own, since the SDK and what it needs are nobody else's dependency.
//
//	go run .
package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/supertokens/supertokens-golang/recipe/session"
	"github.com/supertokens/supertokens-golang/supertokens"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

const (
	apiDomain = "https://api.example.com"
	website   = "https://app.example.com"
)

func run() error {
	core, err := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	if err != nil {
		return err
	}
	defer core.Close()
	off := false
	if err := supertokens.Init(supertokens.TypeInput{
		Supertokens: &supertokens.ConnectionInfo{ConnectionURI: core.URL},
		AppInfo:     supertokens.AppInfo{AppName: "bench", APIDomain: apiDomain, WebsiteDomain: website},
		RecipeList:  []supertokens.Recipe{session.Init(nil)}, Telemetry: &off,
	}); err != nil {
		return err
	}
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{Core: core.Client(), APIDomain: apiDomain, WebsiteOrigins: []string{website}})
	if err != nil {
		return err
	}
	login := httptest.NewRecorder()
	if _, err := sessions.Start(login, httptest.NewRequest(http.MethodPost, "/", nil), stmigrate.User{
		ID: "auth0|0123456789abcdef", AccessTokenPayload: map[string]any{"role": "admin"},
	}); err != nil {
		return err
	}
	passed := 0
	ok := func(http.ResponseWriter, *http.Request) { passed++ }
	handlers := []http.Handler{sessions.Require(http.HandlerFunc(ok)), session.VerifySession(nil, ok)}
	req := httptest.NewRequest(http.MethodGet, "/api", nil)
	req.Header.Set("Authorization", "Bearer "+login.Header().Get("st-access-token"))
	w := discard{make(http.Header)}
	serve := func(h http.Handler) {
		clear(w.header)
		h.ServeHTTP(w, req)
	}

	const rounds, perRound = 21, 1000
	times := make([][]time.Duration, len(handlers))
	for range rounds {
		for i, h := range handlers {
			start := time.Now()
			for range perRound {
				serve(h)
			}
			times[i] = append(times[i], time.Since(start)/perRound)
		}
	}
	if passed != rounds*perRound*len(handlers) {
		return fmt.Errorf("%d of %d requests were let in", passed, rounds*perRound*len(handlers))
	}
	var medians, bytes [2]float64
	for i, name := range []string{"stmigrate, Sessions.Require", "supertokens-golang, VerifySession"} {
		slices.Sort(times[i])
		r := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				serve(handlers[i])
			}
		})
		medians[i], bytes[i] = float64(times[i][rounds/2]), float64(r.AllocedBytesPerOp())
		fmt.Printf("  %-36s %9v %7d B %5d allocs\n", name, times[i][rounds/2], r.AllocedBytesPerOp(), r.AllocsPerOp())
	}
	fmt.Printf("  time  %.2f (at most 0.50)\n  bytes %.2f (at most 0.25)\n", medians[0]/medians[1], bytes[0]/bytes[1])
	return nil
}

// discard is a response that costs nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}
