package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

const (
	clients       = 64
	requests      = 4000
	rounds        = 9
	coreThinkTime = 5 * time.Millisecond
)

// usage is what a server process says of itself.
type usage struct {
	Bytes, Allocs uint64
	CPU           time.Duration
}

// benchExchange drives the exchange and a bare handler in turn, each in a process of its own.
func benchExchange() error {
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{Audience: audience, TokenLifetime: time.Hour})
	if err != nil {
		return err
	}
	defer iss.Close()
	coreURL, stopCore, err := child("core")
	if err != nil {
		return err
	}
	defer stopCore()
	variants := []string{"stmigrate", "bare"}
	urls := map[string]string{}
	for _, v := range variants {
		url, stop, err := child("server", v, iss.Issuer(), iss.JWKSURL(), coreURL)
		if err != nil {
			return err
		}
		defer stop()
		urls[v] = url
	}
	fmt.Printf("Exchange: %d clients, core answers in %v, memory store, %d requests a round, medians of %d interleaved rounds\n",
		clients, coreThinkTime, requests, rounds)
	perSecond, bytesPer, allocsPer, cpuPer := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	for round := range rounds + 1 {
		tokens := make([]string, requests)
		for i := range tokens {
			tokens[i] = iss.Token(stmigratetest.Claims{"sub": fmt.Sprintf("user-%d-%d", round, i), "sid": fmt.Sprintf("sid-%d-%d", round, i)})
		}
		for _, v := range variants {
			before, err := stats(urls[v])
			if err != nil {
				return err
			}
			took, err := load(urls[v], tokens)
			if err != nil {
				return fmt.Errorf("%s: %w", v, err)
			}
			after, err := stats(urls[v])
			if err != nil {
				return err
			}
			if round == 0 {
				continue // warming up
			}
			perSecond[v] = append(perSecond[v], requests/took.Seconds())
			bytesPer[v] = append(bytesPer[v], float64(after.Bytes-before.Bytes)/requests)
			cpuPer[v] = append(cpuPer[v], float64((after.CPU-before.CPU).Microseconds())/requests)
			allocsPer[v] = append(allocsPer[v], float64(after.Allocs-before.Allocs)/requests)
		}
	}
	for _, v := range variants {
		fmt.Printf("  %-12s %7.0f requests/s %5.0f µs of CPU %7.1f KiB %5.0f allocations a request\n",
			v, median(perSecond[v]), median(cpuPer[v]), median(bytesPer[v])/1024, median(allocsPer[v]))
	}
	verdict("KiB a request", median(bytesPer["stmigrate"])/1024, 45)
	verdict("allocations a request", median(allocsPer["stmigrate"]), 330)
	verdictAtLeast("throughput / bare handler", median(perSecond["stmigrate"])/median(perSecond["bare"]), 0.85)
	return nil
}

// load posts each token once and returns how long all of it took.
func load(url string, tokens []string) (time.Duration, error) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: clients}}
	defer client.CloseIdleConnections()
	var next atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, clients)
	start := time.Now()
	for range clients {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(tokens) {
					return
				}
				req, _ := http.NewRequest(http.MethodPost, url+"/migrate-session", nil)
				req.Header.Set("Authorization", "Bearer "+tokens[i])
				req.Header.Set("st-auth-mode", "cookie")
				resp, err := client.Do(req)
				if err == nil {
					_, err = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					if resp.StatusCode != http.StatusOK {
						err = errors.New(resp.Status)
					}
				}
				if err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	close(errs)
	return took, <-errs
}

func stats(url string) (u usage, err error) {
	resp, err := http.Get(url + "/stats")
	if err != nil {
		return u, err
	}
	defer func() { _ = resp.Body.Close() }()
	return u, json.NewDecoder(resp.Body).Decode(&u)
}

// child starts this program again and returns where it listens.
func child(args ...string) (url string, stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return "", nil, err
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return "", nil, fmt.Errorf("%v did not start: %w", args, err)
	}
	return strings.TrimSpace(line), func() {
		_ = stdin.Close() // which is its sign to go
		_ = cmd.Wait()
	}, nil
}

// listen serves h until standard input ends.
func listen(h http.Handler) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Printf("http://%s\n", l.Addr())
	go func() { _ = http.Serve(l, h) }()
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// serve is the process under test: variant, issuer, JWKS URL, core URL.
func serve(args []string) error {
	variant, issuer, jwksURL, coreURL := args[0], args[1], args[2], args[3]
	build := map[string]func(string, string, string) (http.Handler, error){"stmigrate": exchangeHandler, "bare": bareHandler}[variant]
	h, err := build(issuer, jwksURL, coreURL)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/migrate-session", h)
	mux.HandleFunc("/stats", func(w http.ResponseWriter, _ *http.Request) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		var r syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
		_ = json.NewEncoder(w).Encode(usage{m.TotalAlloc, m.Mallocs, time.Duration(r.Utime.Nano() + r.Stime.Nano())})
	})
	return listen(mux)
}

func exchangeHandler(issuer, jwksURL, coreURL string) (http.Handler, error) {
	verifier, err := stmigrate.NewJWKSVerifier(stmigrate.JWKSConfig{URL: jwksURL}, stmigrate.JWTConfig{Issuer: issuer, Audience: []string{audience}})
	if err != nil {
		return nil, err
	}
	client, err := core.New(core.Config{ConnectionURI: coreURL})
	if err != nil {
		return nil, err
	}
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{
		Core: client, APIDomain: "https://api.example.com", WebsiteOrigins: []string{"https://app.example.com"},
	})
	if err != nil {
		return nil, err
	}
	return stmigrate.New(stmigrate.Config{
		Verifier: verifier, Sessions: sessions, Users: stmigrate.SubjectIsUserID,
		Exchanges: stmigrate.NewMemoryExchanges(1_000_000), Revoker: stmigrate.LeaveToExpire,
	})
}

// bareHandler is what a team writes in an afternoon: jwt.Parse and one pooled POST, with nothing that protects it.
func bareHandler(issuer, jwksURL, coreURL string) (http.Handler, error) {
	kf, err := keyfunc.NewDefaultCtx(context.Background(), []string{jwksURL})
	if err != nil {
		return nil, err
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(issuer), jwt.WithAudience(audience), jwt.WithExpirationRequired())
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}, Timeout: 10 * time.Second}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := parser.Parse(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "), kf.Keyfunc)
		if err != nil {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		sub, _ := token.Claims.GetSubject()
		body, _ := json.Marshal(map[string]any{
			"userId": sub, "userDataInJWT": map[string]any{}, "userDataInDatabase": map[string]any{}, "enableAntiCsrf": false, "useDynamicSigningKey": true,
		})
		req, _ := http.NewRequestWithContext(r.Context(), http.MethodPost, coreURL+"/public/recipe/session", bytes.NewReader(body))
		req.Header.Set("cdi-version", "5.2")
		req.Header.Set("content-type", "application/json")
		resp, err := client.Do(req)
		if err != nil {
			http.Error(w, "unavailable", http.StatusServiceUnavailable)
			return
		}
		defer func() { _ = resp.Body.Close() }()
		var session struct {
			AccessToken, RefreshToken struct{ Token string }
		}
		if err := json.NewDecoder(resp.Body).Decode(&session); err != nil {
			http.Error(w, "unavailable", http.StatusServiceUnavailable)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "sAccessToken", Value: session.AccessToken.Token, Path: "/", HttpOnly: true, Secure: true})
		http.SetCookie(w, &http.Cookie{Name: "sRefreshToken", Value: session.RefreshToken.Token, Path: "/auth/session/refresh", HttpOnly: true, Secure: true})
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"status":"OK"}`)
	}), nil
}

// serveCore answers creates after a while with tokens that were made once: signing is not what is measured.
func serveCore() error {
	memory, err := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	if err != nil {
		return err
	}
	defer memory.Close()
	req, _ := http.NewRequest(http.MethodPost, memory.URL+"/public/recipe/session",
		strings.NewReader(`{"userId":"USER","userDataInJWT":{"iss":"https://api.example.com/auth"},"userDataInDatabase":{},"enableAntiCsrf":false,"useDynamicSigningKey":true}`))
	req.Header.Set("cdi-version", "5.2")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	answer, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil {
		return err
	}
	var created struct{ Session struct{ Handle string } }
	if err := json.Unmarshal(answer, &created); err != nil {
		return err
	}
	var n atomic.Int64
	mux := http.NewServeMux()
	mux.HandleFunc("POST /public/recipe/session", func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ UserID string }
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil {
			http.Error(w, "Invalid Json Input", http.StatusBadRequest)
			return
		}
		time.Sleep(coreThinkTime)
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		handle := fmt.Sprintf("00000000-0000-0000-0000-%012d", n.Add(1))
		out := bytes.ReplaceAll(answer, []byte(created.Session.Handle), []byte(handle))
		_, _ = w.Write(bytes.ReplaceAll(out, []byte(`"USER"`), []byte(`"`+asked.UserID+`"`)))
	})
	mux.Handle("/", memory.Core)
	return listen(mux)
}
