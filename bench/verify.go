package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	auth0jwks "github.com/auth0/go-jwt-middleware/v3/jwks"
	auth0 "github.com/auth0/go-jwt-middleware/v3/validator"
	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/golang-jwt/jwt/v5"
	"github.com/lestrrat-go/jwx/v3/jwk"
	jwxjwt "github.com/lestrrat-go/jwx/v3/jwt"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

const audience = "https://api.example.com"

// contender verifies one token, or fails.
type contender struct {
	name   string
	verify func(ctx context.Context, token string) error
}

func benchVerify() error {
	ctx := context.Background()
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{Audience: audience})
	if err != nil {
		return err
	}
	defer iss.Close()
	token := iss.Token(stmigratetest.Claims{
		"sub": "auth0|0123456789abcdef", "aud": []string{audience, "https://legacy.example.com/userinfo"}, "azp": "client-1",
		"scope": "openid profile email", "permissions": []string{"read:a", "write:a", "read:b"},
	})
	all, err := contenders(ctx, iss)
	if err != nil {
		return err
	}
	for _, c := range all {
		if err := c.verify(ctx, token); err != nil {
			return fmt.Errorf("%s refuses the token: %w", c.name, err)
		}
		if c.verify(ctx, token[:len(token)-8]+"AAAAAAAA") == nil {
			return fmt.Errorf("%s takes a forged token", c.name)
		}
	}
	const rounds, perRound = 21, 80 * time.Millisecond
	times := make([][]float64, len(all))
	for range rounds {
		for i, c := range all {
			n, start := 0, time.Now()
			for time.Since(start) < perRound {
				for range 50 {
					if err := c.verify(ctx, token); err != nil {
						return err
					}
				}
				n += 50
			}
			times[i] = append(times[i], float64(time.Since(start).Nanoseconds())/float64(n))
		}
	}
	fmt.Printf("Verify, RS256, token of %d bytes, keys warm: medians of %d interleaved rounds\n", len(token), rounds)
	raw, usual, ours := median(times[0]), median(times[1]), median(times[2])
	for i, c := range all {
		m := median(times[i])
		r := testing.Benchmark(func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = c.verify(ctx, token)
			}
		})
		fmt.Printf("  %-52s %7.1f µs  %5.2f × raw %7d B %5d allocs\n", c.name, m/1e3, m/raw, r.AllocedBytesPerOp(), r.AllocsPerOp())
	}
	verdict("stmigrate / golang-jwt + keyfunc", ours/usual, 1.15)
	verdict("stmigrate / raw", ours/raw, 1.20)

	oversized := strings.Repeat("a", 1<<20) + "." + strings.Repeat("b", 100) + ".c"
	r := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_ = all[2].verify(ctx, oversized)
		}
	})
	verdict("an oversized token, µs", float64(r.NsPerOp())/1e3, 5)
	verdict("an oversized token, allocations", float64(r.AllocsPerOp()), 0)
	return nil
}

func contenders(ctx context.Context, iss *stmigratetest.Issuer) ([]contender, error) {
	raw, err := rawVerifier(iss)
	if err != nil {
		return nil, err
	}
	kf, err := keyfunc.NewDefaultCtx(ctx, []string{iss.JWKSURL()})
	if err != nil {
		return nil, err
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(iss.Issuer()), jwt.WithAudience(audience), jwt.WithExpirationRequired())

	ours, err := stmigrate.NewJWKSVerifier(stmigrate.JWKSConfig{URL: iss.JWKSURL()},
		stmigrate.JWTConfig{Issuer: iss.Issuer(), Audience: []string{audience}})
	if err != nil {
		return nil, err
	}
	if err := ours.Warm(ctx); err != nil {
		return nil, err
	}

	oidcVerifier := oidc.NewVerifier(iss.Issuer(), oidc.NewRemoteKeySet(ctx, iss.JWKSURL()), &oidc.Config{ClientID: audience})

	set, err := jwk.Parse(iss.JWKS())
	if err != nil {
		return nil, err
	}
	var joseKeys jose.JSONWebKeySet
	if err := json.Unmarshal(iss.JWKS(), &joseKeys); err != nil {
		return nil, err
	}
	issuerURL, err := url.Parse(iss.Issuer())
	if err != nil {
		return nil, err
	}
	provider, err := auth0jwks.NewCachingProvider(auth0jwks.WithIssuerURL(issuerURL), auth0jwks.WithCacheTTL(time.Hour))
	if err != nil {
		return nil, err
	}
	middleware, err := auth0.New(auth0.WithKeyFunc(provider.KeyFunc), auth0.WithAlgorithm(auth0.RS256),
		auth0.WithIssuer(iss.Issuer()), auth0.WithAudience(audience))
	if err != nil {
		return nil, err
	}

	return []contender{
		{"raw: base64, RSA, JSON into structs, claims compared", raw},
		{"golang-jwt + keyfunc, MapClaims, usual options", func(_ context.Context, token string) error {
			_, err := parser.ParseWithClaims(token, jwt.MapClaims{}, kf.Keyfunc)
			return err
		}},
		{"stmigrate, remote keys, every check", func(ctx context.Context, token string) error {
			_, err := ours.Verify(ctx, token)
			return err
		}},
		{"go-oidc, remote key set", func(ctx context.Context, token string) error {
			_, err := oidcVerifier.Verify(ctx, token)
			return err
		}},
		{"go-jose, keys at hand", func(_ context.Context, token string) error {
			t, err := josejwt.ParseSigned(token, []jose.SignatureAlgorithm{jose.RS256})
			if err != nil {
				return err
			}
			var claims josejwt.Claims
			if err := t.Claims(joseKeys, &claims); err != nil {
				return err
			}
			return claims.Validate(josejwt.Expected{Issuer: iss.Issuer(), AnyAudience: josejwt.Audience{audience}})
		}},
		{"jwx, keys at hand", func(_ context.Context, token string) error {
			_, err := jwxjwt.ParseString(token, jwxjwt.WithKeySet(set), jwxjwt.WithIssuer(iss.Issuer()), jwxjwt.WithAudience(audience))
			return err
		}},
		{"Auth0 go-jwt-middleware, caching provider", func(ctx context.Context, token string) error {
			_, err := middleware.ValidateToken(ctx, token)
			return err
		}},
	}, nil
}

// rawVerifier is the floor: what any verifier has to do, with nothing beside it.
func rawVerifier(iss *stmigratetest.Issuer) (func(context.Context, string) error, error) {
	keys, err := rawKeys(iss.JWKS())
	if err != nil {
		return nil, err
	}
	return func(_ context.Context, token string) error {
		var claims struct {
			Iss, Sub, Sid, Jti string
			Aud                []string
			Exp, Iat           int64
		}
		if err := rawToken(keys, token, &claims); err != nil {
			return err
		}
		if claims.Iss != iss.Issuer() || claims.Aud[0] != audience || claims.Exp < time.Now().Unix() {
			return errors.New("refused")
		}
		return nil
	}, nil
}

func rawKeys(jwks []byte) (map[string]*rsa.PublicKey, error) {
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(jwks, &set); err != nil {
		return nil, err
	}
	keys := make(map[string]*rsa.PublicKey)
	for _, k := range set.Keys {
		if public, ok := k.Key.(*rsa.PublicKey); ok {
			keys[k.KeyID] = public
		}
	}
	return keys, nil
}

// rawToken decodes a token into claims and verifies its RS256 signature.
func rawToken(keys map[string]*rsa.PublicKey, token string, claims any) error {
	parts := strings.Split(token, ".")
	var decoded [3][]byte
	for i := range decoded {
		var err error
		if decoded[i], err = base64.RawURLEncoding.DecodeString(parts[i]); err != nil {
			return err
		}
	}
	var header struct{ Alg, Kid, Typ string }
	if err := json.Unmarshal(decoded[0], &header); err != nil {
		return err
	}
	if err := json.Unmarshal(decoded[1], claims); err != nil {
		return err
	}
	if header.Alg != "RS256" || keys[header.Kid] == nil {
		return errors.New("refused")
	}
	sum := sha256.Sum256([]byte(token[:len(parts[0])+1+len(parts[1])]))
	return rsa.VerifyPKCS1v15(keys[header.Kid], crypto.SHA256, sum[:], decoded[2])
}
