package stmigrate

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"
)

// BenchmarkVerify measures a warm verification beside golang-jwt with keyfunc and map claims, which checks less, and
// what refused tokens cost. Compare within one run.
func BenchmarkVerify(b *testing.B) {
	ctx := context.Background()
	var keys []any
	for i := range 4 {
		signer := jwtKeys()["other"]
		if i == 1 {
			signer = jwtKeys()["RS256"]
		}
		keys = append(keys, jwkOf(Key{ID: fmt.Sprintf("key-%d", i), material: signer.public().material}, map[string]any{"alg": "RS256", "use": "sig"}))
	}
	document := jwksOf(keys...)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write(document) }))
	defer server.Close()
	cfg := jwtConfig()
	cfg.Now = nil
	v, err := NewJWKSVerifier(JWKSConfig{URL: server.URL}, cfg)
	require.NoError(b, err)
	require.NoError(b, v.Warm(ctx))
	peer, err := keyfunc.NewDefaultCtx(b.Context(), []string{server.URL})
	require.NoError(b, err)
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithIssuer(cfg.Issuer), jwt.WithAudience("api"), jwt.WithExpirationRequired())

	now := time.Now()
	rs := jwtKeys()["RS256"]
	at := func(exp time.Duration) string {
		return jwtPayload("iat", fmt.Sprint(now.Unix()), "exp", fmt.Sprint(now.Add(exp).Unix()))
	}
	good := rs.sign(rs.header(), at(time.Hour))
	first, second := jwtB64(rs.header()), jwtB64(at(time.Hour))
	for _, c := range []struct {
		name, token string
		class       error
	}{
		{"RS256", good, nil},
		{"oversized", first + "." + strings.Repeat("A", 1<<20) + ".AAAA", ErrInvalidSession},
		{"opaque", strings.Repeat("a", 40), ErrNotMine},
		{"garbage", strings.Repeat("x", 300) + "." + strings.Repeat("y", 300) + "." + strings.Repeat("z", 300), ErrNotMine},
		{"none", jwtB64(`{"alg":"none"}`) + "." + second + ".AA", ErrInvalidSession},
		{"expired", rs.sign(rs.header(), at(-time.Hour)), ErrExpiredSession},
		{"signature", good[:len(good)-6] + "AAAAAA"[:6], ErrInvalidSession},
		{"arrays of 12 KB", first + "." + jwtB64(`{"x":[`+strings.Repeat("[],", 2900)+`1]}`) + ".AAAA", ErrNotMine},
		{"names of 12 KB", first + "." + jwtB64(func() string {
			var s strings.Builder
			for i := range 1000 {
				fmt.Fprintf(&s, `"N%d":1,`, i)
			}
			return "{" + s.String() + `"x":1}`
		}()) + ".AAAA", ErrNotMine},
	} {
		b.Run(strings.ReplaceAll(c.name, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := v.Verify(ctx, c.token); c.class != nil && err == nil || c.class == nil && err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("peer/"+strings.ReplaceAll(c.name, " ", "_"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parser.Parse(c.token, peer.Keyfunc); c.class == nil && err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
