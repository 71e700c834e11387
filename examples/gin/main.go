// Gin is a backend on gin-gonic/gin: it exchanges legacy sessions, refreshes and ends SuperTokens sessions, and has APIs that ask
// for one, or for either kind during the rollout.
//
//	go run -C examples/gin .
//
// It is configured by the environment: ADDR, API_DOMAIN (https://api.example.com), WEBSITE_ORIGINS (several with commas),
// LEGACY_ISSUER, LEGACY_AUDIENCE, LEGACY_JWKS_URL, SUPERTOKENS_CONNECTION_URI and SUPERTOKENS_API_KEY. Without a provider and a core
// it is a demo.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/gin-contrib/cors"
	"github.com/gin-gonic/gin"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/examples/internal/demo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "gin:", err)
		os.Exit(1)
	}
}

// run serves until ctx is over.
func run(ctx context.Context, out io.Writer) error {
	listener, err := net.Listen("tcp", cmp.Or(os.Getenv("ADDR"), "127.0.0.1:3001"))
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	env, stopDemo, err := demo.Env(out, listener.Addr()) // in a program of your own: env := os.Getenv
	if err != nil {
		return err
	}
	defer stopDemo()
	sessions, migrator, err := connect(env)
	if err != nil {
		return err
	}
	websites := strings.Split(env("WEBSITE_ORIGINS"), ",")
	// SameSite keeps the cookies from other sites, and not from other origins of the same one: a forgotten subdomain.
	guard := http.NewCrossOriginProtection()
	for _, website := range websites {
		if err := guard.AddTrustedOrigin(website); err != nil {
			return fmt.Errorf("WEBSITE_ORIGINS: %w", err)
		}
	}
	server := &http.Server{
		Handler:           guard.Handler(routes(ctx, websites, sessions, migrator)),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	_, _ = fmt.Fprintf(out, "listening on http://%s\n", listener.Addr())
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	// What has begun may end; an exchange takes 30 s at most.
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	return server.Shutdown(ending)
}

// connect sets up the SuperTokens sessions and the exchange.
func connect(env func(string) string) (*stmigrate.Sessions, *stmigrate.Migrator, error) {
	verifier, err := stmigrate.NewJWKSVerifier(
		stmigrate.JWKSConfig{URL: env("LEGACY_JWKS_URL")},
		stmigrate.JWTConfig{Issuer: env("LEGACY_ISSUER"), Audience: []string{env("LEGACY_AUDIENCE")}})
	if err != nil {
		return nil, nil, err
	}
	supertokens, err := core.New(core.Config{ConnectionURI: env("SUPERTOKENS_CONNECTION_URI"), APIKey: env("SUPERTOKENS_API_KEY")})
	if err != nil {
		return nil, nil, err
	}
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{
		Core: supertokens, APIDomain: env("API_DOMAIN"), WebsiteOrigins: strings.Split(env("WEBSITE_ORIGINS"), ","),
	})
	if err != nil {
		return nil, nil, err
	}
	migrator, err := stmigrate.New(stmigrate.Config{
		Verifier:  verifier,
		Sessions:  sessions,
		Users:     stmigrate.SubjectIsUserID,               // or MappedUsers, or your own
		Exchanges: stmigrate.NewMemoryExchanges(1_000_000), // one process; for more stores/sqlstore or stores/redisstore
		Revoker:   stmigrate.LeaveToExpire,                 // or one of package revoke, which ends the legacy session
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	return sessions, migrator, err
}

func routes(ctx context.Context, websites []string, sessions *stmigrate.Sessions, migrator *stmigrate.Migrator) *gin.Engine {
	allow, expose := stmigrate.CORSHeaders()
	r := gin.New()
	// Outside of everything, so that refusals can be read by the page, too.
	r.Use(cors.New(cors.Config{
		AllowOrigins: websites, AllowCredentials: true, AllowMethods: []string{http.MethodGet, http.MethodPost},
		AllowHeaders: allow, ExposeHeaders: expose, MaxAge: 10 * time.Minute,
	}))
	// gin.Recovery logs requests with their cookies, which are the session's tokens.
	r.Use(gin.CustomRecoveryWithWriter(nil, func(c *gin.Context, cause any) {
		slog.ErrorContext(c.Request.Context(), "panic", "cause", cause, "route", c.FullPath(), "stack", string(debug.Stack()))
		c.AbortWithStatus(http.StatusInternalServerError)
	}))
	r.Any("/migrate-session", gin.WrapH(migrator))
	r.Any("/auth/*path", gin.WrapH(sessions)) // refresh and sign-out
	api := r.Group("/api", wrap(sessions.Require))
	api.GET("/me", me)
	api.POST("/plan", changePlan)
	api.GET("/events", events(ctx))
	// During the rollout: whoever has a legacy session still is let in, too.
	r.GET("/api/profile", wrap(func(next http.Handler) http.Handler { return migrator.RequireEither(sessions.Require, next) }), profile)
	return r
}

// passage is the way of a request through a middleware of net/http.
type passage struct {
	c      *gin.Context
	passed bool
}

type passageKey struct{}

// wrap makes a middleware of gin out of one of net/http. The handlers behind it see the request that it let through, and so the
// session in its context, and go on writing to gin's own writer; where it answered by itself, they do not run.
func wrap(middleware func(http.Handler) http.Handler) gin.HandlerFunc {
	handler := middleware(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		p := r.Context().Value(passageKey{}).(*passage)
		p.passed = true
		p.c.Request = r
		p.c.Next()
	}))
	return func(c *gin.Context) {
		p := &passage{c: c}
		handler.ServeHTTP(c.Writer, c.Request.WithContext(context.WithValue(c.Request.Context(), passageKey{}, p)))
		if !p.passed {
			c.Abort()
		}
	}
}

func me(c *gin.Context) {
	session := stmigrate.SessionFrom(c.Request.Context())
	c.JSON(http.StatusOK, gin.H{"userId": session.UserID(), "plan": session.AccessTokenPayload()["plan"]})
}

// plans are what there is to choose. A session says what this backend wrote into it, never just what a client sent.
var plans = []string{"free", "pro"}

// changePlan keeps the plan in the session. The response carries the new access token, so it is changed before the body begins.
func changePlan(c *gin.Context) {
	var form struct{ Plan string }
	c.Request.Body = http.MaxBytesReader(c.Writer, c.Request.Body, 4<<10)
	if err := c.ShouldBindJSON(&form); err != nil || !slices.Contains(plans, form.Plan) {
		status := http.StatusBadRequest
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			status = http.StatusRequestEntityTooLarge
		}
		c.JSON(status, gin.H{"message": http.StatusText(status)})
		return
	}
	ctx := c.Request.Context()
	err := stmigrate.SessionFrom(ctx).UpdateAccessTokenPayload(ctx, map[string]any{"plan": form.Plan})
	switch {
	case errors.Is(err, stmigrate.ErrNoSession): // it was signed out meanwhile
		c.JSON(http.StatusUnauthorized, gin.H{"message": "unauthorised"})
	case errors.Is(err, stmigrate.ErrUnavailable):
		c.JSON(http.StatusServiceUnavailable, gin.H{"message": "temporarily unavailable"})
	case err != nil:
		slog.ErrorContext(ctx, "changing the plan", "error", err)
		c.JSON(http.StatusInternalServerError, gin.H{"message": "internal error"})
	default:
		c.JSON(http.StatusOK, gin.H{"plan": form.Plan})
	}
}

// events is a stream: it stays open until the client leaves or the server stops.
func events(stopped context.Context) gin.HandlerFunc {
	return func(c *gin.Context) {
		c.Header("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(c.Writer, "data: hello, %s\n\n", stmigrate.SessionFrom(c.Request.Context()).UserID())
		c.Writer.Flush()
		select {
		case <-stopped.Done():
		case <-c.Request.Context().Done():
		}
	}
}

func profile(c *gin.Context) {
	id, _ := stmigrate.IdentityFrom(c.Request.Context())
	c.JSON(http.StatusOK, gin.H{"userId": id.UserID, "legacy": id.Legacy != nil})
}
