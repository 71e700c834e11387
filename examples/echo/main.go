// Echo is a backend on labstack/echo: it exchanges legacy sessions, refreshes and ends SuperTokens sessions, and has APIs that ask
// for one, or for either kind during the rollout.
//
//	go run -C examples/echo .
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
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/labstack/echo/v5"
	"github.com/labstack/echo/v5/middleware"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/examples/internal/demo"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := run(ctx, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "echo:", err)
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

func routes(ctx context.Context, websites []string, sessions *stmigrate.Sessions, migrator *stmigrate.Migrator) http.Handler {
	allow, expose := stmigrate.CORSHeaders()
	e := echo.New()
	// Outside of everything, so that refusals can be read by the page, too.
	e.Use(middleware.CORSWithConfig(middleware.CORSConfig{
		AllowOrigins: websites, AllowCredentials: true, AllowMethods: []string{http.MethodGet, http.MethodPost},
		AllowHeaders: allow, ExposeHeaders: expose, MaxAge: 600,
	}))
	e.Use(middleware.Recover())
	e.Any("/migrate-session", echo.WrapHandler(migrator))
	e.Any("/auth/*", echo.WrapHandler(sessions)) // refresh and sign-out
	api := e.Group("/api", middleware.BodyLimit(4<<10))
	require := echo.WrapMiddleware(sessions.Require)
	api.GET("/me", me, require)
	api.POST("/plan", changePlan, require)
	api.GET("/events", events(ctx), require)
	// During the rollout: whoever has a legacy session still is let in, too.
	api.GET("/profile", profile, echo.WrapMiddleware(func(next http.Handler) http.Handler {
		return migrator.RequireEither(sessions.Require, next)
	}))
	return e
}

func me(c *echo.Context) error {
	session := stmigrate.SessionFrom(c.Request().Context())
	return c.JSON(http.StatusOK, map[string]any{"userId": session.UserID(), "plan": session.AccessTokenPayload()["plan"]})
}

// plans are what there is to choose. A session says what this backend wrote into it, never just what a client sent.
var plans = []string{"free", "pro"}

// changePlan keeps the plan in the session. The response carries the new access token, so it is changed before the body begins.
func changePlan(c *echo.Context) error {
	var form struct{ Plan string }
	if err := c.Bind(&form); errors.Is(err, echo.ErrStatusRequestEntityTooLarge) {
		return echo.ErrStatusRequestEntityTooLarge // which Bind calls a bad request, where the length was not told beforehand
	} else if err != nil {
		return err
	}
	if !slices.Contains(plans, form.Plan) {
		return echo.ErrBadRequest
	}
	ctx := c.Request().Context()
	err := stmigrate.SessionFrom(ctx).UpdateAccessTokenPayload(ctx, map[string]any{"plan": form.Plan})
	switch {
	case errors.Is(err, stmigrate.ErrNoSession): // it was signed out meanwhile
		return echo.NewHTTPError(http.StatusUnauthorized, "unauthorised")
	case errors.Is(err, stmigrate.ErrUnavailable):
		return echo.NewHTTPError(http.StatusServiceUnavailable, "temporarily unavailable")
	case err != nil:
		slog.ErrorContext(ctx, "changing the plan", "error", err)
		return echo.ErrInternalServerError
	}
	return c.JSON(http.StatusOK, map[string]any{"plan": form.Plan})
}

// events is a stream: it stays open until the client leaves or the server stops.
func events(stopped context.Context) echo.HandlerFunc {
	return func(c *echo.Context) error {
		w, ctx := c.Response(), c.Request().Context()
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = fmt.Fprintf(w, "data: hello, %s\n\n", stmigrate.SessionFrom(ctx).UserID())
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
		select {
		case <-stopped.Done():
		case <-ctx.Done():
		}
		return nil
	}
}

func profile(c *echo.Context) error {
	id, _ := stmigrate.IdentityFrom(c.Request().Context())
	return c.JSON(http.StatusOK, map[string]any{"userId": id.UserID, "legacy": id.Legacy != nil})
}
