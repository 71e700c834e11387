package demo

import (
	"io"
	"net"
	"strings"
	"testing"
)

func TestEnv(t *testing.T) {
	loopback := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 3001}
	for name, tt := range map[string]struct {
		issuer, core string
		addr         net.Addr
		err          string // "": none
		demo         bool
	}{
		"both are set":                 {"https://legacy.example.com/", "https://core.internal", &net.TCPAddr{IP: net.IPv4zero}, "", false},
		"neither is set":               {"", "", loopback, "", true},
		"neither, and others reach it": {"", "", &net.TCPAddr{IP: net.IPv4zero}, "not for 0.0.0.0:0", false},
		"the issuer alone":             {"https://legacy.example.com/", "", loopback, "SUPERTOKENS_CONNECTION_URI is not", false},
		"the core alone":               {"", "https://core.internal", loopback, "LEGACY_ISSUER is not", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("LEGACY_ISSUER", tt.issuer)
			t.Setenv("SUPERTOKENS_CONNECTION_URI", tt.core)
			env, stop, err := Env(io.Discard, tt.addr)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, expected one with %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			defer stop()
			if got := env("SUPERTOKENS_CONNECTION_URI"); (got != tt.core) != tt.demo || got == "" {
				t.Errorf("the core is %q", got)
			}
		})
	}
}
