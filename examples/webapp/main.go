// Webapp is a page that moves to SuperTokens while somebody is signed in, to try in a browser: a legacy app with its provider,
// the same app with SuperTokens, and a button that deploys the one over the other. A SuperTokens core in memory runs in this
// process; nothing else is needed.
//
//	go run ./examples/webapp                         and open http://127.0.0.1:8080
//	go run ./examples/webapp -addr 127.0.0.1:9000
//
// SUPERTOKENS_CONNECTION_URI and SUPERTOKENS_API_KEY put a real core in the place of the one in memory.
//
// What a team has before and after the deployment is in before.go and after.go. The page is in static; its script is built from
// ui/src, by npm ci && npm run build in ui, and npm run check tells whether it is.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/stmigrate/stmigrate/examples/internal/demo"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where to listen, on this machine only")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	if err := run(ctx, os.Stdout, *addr); err != nil {
		fmt.Fprintln(os.Stderr, "webapp:", err)
		os.Exit(1)
	}
}

// run serves until ctx is over.
func run(ctx context.Context, out io.Writer, addr string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	if tcp, ok := listener.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return fmt.Errorf("-addr %s: other machines could reach a sign-in whose password is public; listen on 127.0.0.1", addr)
	}

	// A working day, so that the demo does not end in the middle.
	legacy, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{Audience: audience, TokenLifetime: 8 * time.Hour})
	if err != nil {
		return err
	}
	defer legacy.Close()
	supertokens, stopCore, err := demo.Core()
	if err != nil {
		return err
	}
	defer stopCore()
	if err := supertokens.Ping(ctx); err != nil {
		return fmt.Errorf("the SuperTokens core does not answer: %w", err)
	}

	base := "http://" + listener.Addr().String()
	app, err := newApp(legacy, supertokens, base)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: app, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	_, _ = fmt.Fprintf(out, "The app is on %s\nSign in as %s with the password %q. Ctrl-C ends it.\n", base, ada.Email, ada.password)
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
