// Command devcore serves a SuperTokens core in memory, for development without Java and a database:
//
//	go run ./examples/devcore -addr 127.0.0.1:3567
//
// Everything is gone when it stops. It is no core for production: whoever reaches it may do everything, unless -api-key
// asks for a key.
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

	"github.com/stmigrate/stmigrate/internal/coreemu"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:3567", "where to listen")
	apiKey := flag.String("api-key", "", "what requests must have in their api-key header; empty: nothing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *addr, *apiKey); err != nil {
		fmt.Fprintln(os.Stderr, "devcore:", err)
		os.Exit(1)
	}
}

// run tells out where it serves, and serves until ctx is over.
func run(ctx context.Context, out io.Writer, addr, apiKey string) error {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	if tcp, ok := listener.Addr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		fmt.Fprintf(os.Stderr, "devcore: warning: %s may be reachable from other machines, and this is no core for production\n",
			listener.Addr())
	}
	_, _ = fmt.Fprintf(out, "SuperTokens core in memory on http://%s\nTry: curl http://%s/hello\n", listener.Addr(), listener.Addr())

	server := &http.Server{Handler: coreemu.New(coreemu.Config{APIKey: apiKey}), ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return err
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); err != nil {
		return err
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
