// Command server is the world of one end-to-end test: a legacy provider, a SuperTokens core in memory, a backend with
// /migrate-session on one origin and a page on another, and a control port by which the test breaks them, moves their clock
// and reads what they saw. It ends when its standard input does.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"time"
)

func main() {
	var cfg config
	flag.StringVar(&cfg.page, "page", "", "directory of index.html and what it loads")
	flag.StringVar(&cfg.wwwHost, "www", "www.app.test", "host name of the page")
	flag.StringVar(&cfg.apiHost, "api", "api.app.test", "host name of the backend")
	flag.BoolVar(&cfg.insecure, "insecure", false, "serve http instead of https")
	flag.Parse()
	if err := run(cfg); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

type config struct {
	page, wwwHost, apiHost string
	insecure               bool
}

// run serves until standard input ends. The first line of standard output tells the addresses.
func run(cfg config) error {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	scheme := "https"
	if cfg.insecure {
		scheme = "http"
	}
	certificate, err := selfSigned(cfg.wwwHost, cfg.apiHost)
	if err != nil {
		return err
	}
	listen := func(host string) (net.Listener, string, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, "", err
		}
		return l, fmt.Sprintf("%s://%s:%d", scheme, host, l.Addr().(*net.TCPAddr).Port), nil
	}
	serve := func(l net.Listener, h http.Handler) {
		server := &http.Server{
			Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(os.Stderr, "", 0),
			TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12},
		}
		serve := server.Serve
		if !cfg.insecure {
			serve = func(l net.Listener) error { return server.ServeTLS(l, "", "") }
		}
		if err := serve(l); !errors.Is(err, net.ErrClosed) {
			fmt.Fprintln(os.Stderr, "server:", err)
			os.Exit(1)
		}
	}

	wwwListener, www, err := listen(cfg.wwwHost)
	if err != nil {
		return err
	}
	apiListener, api, err := listen(cfg.apiHost)
	if err != nil {
		return err
	}
	w, err := newWorld(www, api, cfg.insecure, logger)
	if err != nil {
		return err
	}
	defer w.close()
	page, err := w.page(cfg.page)
	if err != nil {
		return err
	}
	control, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	go serve(wwwListener, page)
	go serve(apiListener, w.backend())
	go func() { _ = http.Serve(control, w.control()) }()

	if err := json.NewEncoder(os.Stdout).Encode(map[string]string{
		"www": www, "api": api, "control": "http://" + control.Addr().String(),
	}); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// selfSigned returns a certificate for these hosts that nobody has reason to trust.
func selfSigned(hosts ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: hosts,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
