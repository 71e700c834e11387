// Package demo lets an example run with nothing around it: a legacy provider and a SuperTokens core in memory stand for those
// that its environment does not name. A program of your own has no use for it.
package demo

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

const (
	email    = "ada@example.com"
	password = "correct horse battery staple"
	audience = "https://api.example.com"
)

// Core connects to the core that the environment names, or to one in memory, which stop ends.
func Core() (c *core.Client, stop func(), err error) {
	if uri := os.Getenv("SUPERTOKENS_CONNECTION_URI"); uri != "" {
		c, err = core.New(core.Config{ConnectionURI: uri, APIKey: os.Getenv("SUPERTOKENS_API_KEY")})
		return c, func() {}, err
	}
	memory, err := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	if err != nil {
		return nil, nil, err
	}
	return memory.Client(), memory.Close, nil
}

// Env is [os.Getenv] where the environment names a legacy provider and a core. Where it names neither, Env starts both in
// memory, says so on out, and answers for them; stop ends them. One without the other is an error, and so is a demo on an
// address that others can reach: a deployment that lost its settings must not come up with users of ours.
func Env(out io.Writer, addr net.Addr) (env func(name string) string, stop func(), err error) {
	provider, uri := os.Getenv("LEGACY_ISSUER"), os.Getenv("SUPERTOKENS_CONNECTION_URI")
	switch {
	case provider != "" && uri != "":
		return os.Getenv, func() {}, nil
	case provider != "":
		return nil, nil, errors.New("LEGACY_ISSUER is set and SUPERTOKENS_CONNECTION_URI is not; set both, or neither for a demo")
	case uri != "":
		return nil, nil, errors.New("SUPERTOKENS_CONNECTION_URI is set and LEGACY_ISSUER is not; set both, or neither for a demo")
	}
	if tcp, ok := addr.(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
		return nil, nil, fmt.Errorf("LEGACY_ISSUER and SUPERTOKENS_CONNECTION_URI are not set, and a demo is not for %s, which others can reach", addr)
	}
	legacy, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{Audience: audience})
	if err != nil {
		return nil, nil, err
	}
	legacy.AddUser(email, password, "legacy|ada")
	memory, err := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	if err != nil {
		legacy.Close()
		return nil, nil, err
	}
	base := "http://" + addr.String()
	values := map[string]string{
		"LEGACY_ISSUER": legacy.Issuer(), "LEGACY_JWKS_URL": legacy.JWKSURL(), "LEGACY_AUDIENCE": audience,
		"SUPERTOKENS_CONNECTION_URI": memory.URL, "API_DOMAIN": base, "WEBSITE_ORIGINS": "http://127.0.0.1:3000",
	}
	_, _ = fmt.Fprintf(out, `
  DEMO. LEGACY_ISSUER and SUPERTOKENS_CONNECTION_URI are not set: a legacy provider with the user %[1]s
  and a SuperTokens core run in memory, and everything is gone at the end. Try:

  TOKEN=$(curl -s %[2]s -d grant_type=password -d username=%[1]s -d 'password=%[3]s' | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl -si %[4]s/api/profile -H "Authorization: Bearer $TOKEN"
  curl -si -X POST %[4]s/migrate-session -H "Authorization: Bearer $TOKEN" -H 'st-auth-mode: cookie' -c cookies.txt
  curl -si %[4]s/api/me -b cookies.txt
  curl -si -X POST %[4]s/auth/session/refresh -b cookies.txt -c cookies.txt
  curl -si -X POST %[4]s/auth/signout -b cookies.txt -c cookies.txt

`, email, legacy.TokenURL(), password, base)
	return func(name string) string { return values[name] }, func() { legacy.Close(); memory.Close() }, nil
}
