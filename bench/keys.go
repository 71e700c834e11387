package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// benchKeys measures what callers see of key rotation and of junk with unknown key IDs.
func benchKeys() error {
	ctx := context.Background()
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{Audience: audience})
	if err != nil {
		return err
	}
	defer iss.Close()
	v, err := stmigrate.NewJWKSVerifier(stmigrate.JWKSConfig{URL: iss.JWKSURL()}, stmigrate.JWTConfig{Issuer: iss.Issuer(), Audience: []string{audience}})
	if err != nil {
		return err
	}
	if err := v.Warm(ctx); err != nil {
		return err
	}
	fetches := func() int { return len(iss.Requests("GET /.well-known/jwks.json")) }
	fmt.Println("Keys")

	iss.RotateKeys()
	before := fetches()
	accepted := make(chan bool, 100)
	var wg sync.WaitGroup
	for i := range 100 {
		token := iss.Token(stmigratetest.Claims{"sub": fmt.Sprint("user-", i)})
		wg.Go(func() {
			_, err := v.Verify(ctx, token)
			accepted <- err == nil
		})
	}
	wg.Wait()
	close(accepted)
	good := 0
	for ok := range accepted {
		if ok {
			good++
		}
	}
	verdictAtLeast("of 100 tokens at once of a key just rotated in, accepted", float64(good), 100)
	verdict("fetches for them", float64(fetches()-before), 1)

	// 200 unknown key IDs a second, then a rotation among them.
	junk := func(n int64) string {
		return iss.Sign(stmigratetest.Claims{"alg": "RS256", "kid": fmt.Sprint("unknown-", n)}, stmigratetest.Claims{
			"iss": iss.Issuer(), "aud": audience, "sub": "x", "exp": time.Now().Add(time.Hour).Unix(),
		})
	}
	flood, stop := context.WithCancel(ctx)
	defer stop()
	var n atomic.Int64
	go func() {
		for tick := time.NewTicker(5 * time.Millisecond); flood.Err() == nil; <-tick.C {
			token := junk(n.Add(1))
			go func() { _, _ = v.Verify(flood, token) }()
		}
	}()
	time.Sleep(3 * time.Second)
	iss.RotateKeys()
	token := iss.Token()
	start := time.Now()
	_, err = v.Verify(ctx, token)
	took := time.Since(start)
	if err != nil {
		return fmt.Errorf("under 200 unknown key IDs a second, a new key is refused: %w", err)
	}
	verdict("under 200 unknown key IDs a second, a new key is good after, s", took.Seconds(), 1.25)
	start, before = time.Now(), fetches()
	time.Sleep(5 * time.Second)
	verdict("fetches a second meanwhile", float64(fetches()-before)/time.Since(start).Seconds(), 1.01)
	stop()

	valid := iss.Token()
	p99 := func() (time.Duration, error) {
		times := make([]time.Duration, 4000)
		for i := range times {
			start := time.Now()
			if _, err := v.Verify(ctx, valid); err != nil {
				return 0, err
			}
			times[i] = time.Since(start)
			time.Sleep(100 * time.Microsecond)
		}
		return quantile(times, 0.99), nil
	}
	var quiet, noisy []time.Duration
	for range 5 {
		q, err := p99()
		if err != nil {
			return err
		}
		flood, stop := context.WithCancel(ctx)
		for range 64 {
			wg.Go(func() {
				token := junk(n.Add(1))
				for flood.Err() == nil {
					_, _ = v.Verify(flood, token)
				}
			})
		}
		l, err := p99()
		stop()
		wg.Wait()
		if err != nil {
			return err
		}
		quiet, noisy = append(quiet, q), append(noisy, l)
	}
	fmt.Printf("  valid tokens' p99: %v alone, %v beside 64 workers of junk\n", median(quiet), median(noisy))
	verdict("ratio", float64(median(noisy))/float64(median(quiet)), 2)
	return nil
}
