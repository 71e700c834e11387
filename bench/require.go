package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// benchRequire measures what an API pays for a session: a SuperTokens one, and a legacy one during the rollout.
func benchRequire() error {
	memory, err := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	if err != nil {
		return err
	}
	defer memory.Close()
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{Audience: audience})
	if err != nil {
		return err
	}
	defer iss.Close()
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{Core: memory.Client(), APIDomain: "https://api.example.com", Transfer: stmigrate.TransferHeader})
	if err != nil {
		return err
	}
	verifier, err := stmigrate.NewJWKSVerifier(stmigrate.JWKSConfig{URL: iss.JWKSURL()}, stmigrate.JWTConfig{Issuer: iss.Issuer(), Audience: []string{audience}})
	if err != nil {
		return err
	}
	migrator, err := stmigrate.New(stmigrate.Config{
		Verifier: verifier, Sessions: sessions, Users: stmigrate.SubjectIsUserID,
		Exchanges: stmigrate.NewMemoryExchanges(1000), Revoker: stmigrate.LeaveToExpire,
	})
	if err != nil {
		return err
	}
	login := httptest.NewRecorder()
	if _, err := sessions.Start(login, httptest.NewRequest(http.MethodPost, "/", nil), stmigrate.User{
		ID: "auth0|0123456789abcdef", AccessTokenPayload: map[string]any{"role": "admin"},
	}); err != nil {
		return err
	}
	raw, err := rawSession(memory)
	if err != nil {
		return err
	}
	token, legacy := login.Header().Get("st-access-token"), iss.Token()
	ok := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	required, either := sessions.Require(ok), migrator.RequireEither(sessions.Require, ok)
	serve := func(h http.Handler, token string) func() error {
		req := httptest.NewRequest(http.MethodGet, "/api", nil)
		req.Header.Set("Authorization", "Bearer "+token)
		w := &discard{header: make(http.Header)}
		return func() error {
			w.status = 0
			clear(w.header)
			h.ServeHTTP(w, req)
			if w.status >= 400 {
				return fmt.Errorf("status %d", w.status)
			}
			return nil
		}
	}
	all := []struct {
		name string
		run  func() error
	}{
		{"raw: base64, RSA, JSON into structs", func() error { return raw(token) }},
		{"Sessions.Require, header mode, warm key", serve(required, token)},
		{"a legacy token's first verification, warm keys", func() error { _, err := verifier.Verify(context.Background(), legacy); return err }},
		{"RequireEither, legacy token seen before", serve(either, legacy)},
	}
	const rounds, perRound = 21, 60 * time.Millisecond
	times := make([][]float64, len(all))
	for range rounds {
		for i, c := range all {
			n, start := 0, time.Now()
			for time.Since(start) < perRound {
				for range 50 {
					if err := c.run(); err != nil {
						return fmt.Errorf("%s: %w", c.name, err)
					}
				}
				n += 50
			}
			times[i] = append(times[i], float64(time.Since(start).Nanoseconds())/float64(n))
		}
	}
	fmt.Printf("Sessions in APIs: medians of %d interleaved rounds\n", rounds)
	for i, c := range all {
		r := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = c.run()
			}
		})
		fmt.Printf("  %-52s %7.1f µs %7d B %5d allocs\n", c.name, median(times[i])/1e3, r.AllocedBytesPerOp(), r.AllocsPerOp())
	}
	verdict("Require / raw", median(times[1])/median(times[0]), 1.15)
	verdict("RequireEither, seen before / first verification", median(times[3])/median(times[2]), 0.05)
	return nil
}

// rawSession is the floor: what has to be done with an access token, and nothing beside it.
func rawSession(memory *stmigratetest.Core) (func(string) error, error) {
	resp, err := http.Get(memory.URL + "/.well-known/jwks.json")
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	keys, err := rawKeys(data)
	if err != nil {
		return nil, err
	}
	return func(token string) error {
		var claims struct {
			Sub, TID, SessionHandle, RefreshTokenHash1, Role, Iss string
			Exp, Iat                                              int64
		}
		if err := rawToken(keys, token, &claims); err != nil {
			return err
		}
		if claims.Exp < time.Now().Unix() {
			return errors.New("refused")
		}
		return nil
	}, nil
}

// discard is a response that costs nothing.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }
