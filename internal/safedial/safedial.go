// Package safedial dials addresses of the public internet only. Who can choose what a name resolves to (a rebound DNS name, a
// discovery document of a tenant's own) cannot have this process ask its neighbours: databases, metadata services, itself.
//
// The address is checked when it is dialled, after the name was resolved, so there is no moment between the check and the use.
package safedial

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"time"
)

// ErrNotPublic is the error of a host that leads to an address that is not of the public internet.
var ErrNotPublic = errors.New("not an address of the public internet")

const (
	dialTimeout = 5 * time.Second
	maxHeader   = 64 << 10
)

// Transport returns an HTTP transport that connects to public addresses only, and besides to whatever the hosts named in
// allowPrivate resolve to: names or addresses, without port, as they stand in a URL. It uses no proxy, since a proxy resolves names
// by itself. An entry that can be no host is an error.
func Transport(allowPrivate []string) (*http.Transport, error) {
	d, err := newDialer(allowPrivate)
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		DialContext:            d.dial,
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    dialTimeout,
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeader,
	}, nil
}

type dialer struct {
	allowed  map[string]bool
	resolver *net.Resolver // nil: net.DefaultResolver
}

func newDialer(allowPrivate []string) (*dialer, error) {
	d := &dialer{allowed: make(map[string]bool, len(allowPrivate))}
	for i, host := range allowPrivate {
		_, err := netip.ParseAddr(host)
		if host == "" || strings.ContainsAny(host, "/*@[]% \t") || strings.Contains(host, ":") && err != nil {
			return nil, fmt.Errorf("AllowPrivate[%d] is %q: the name or address of one host wanted, without scheme, port or wildcard", i, host)
		}
		d.allowed[spelling(host)] = true
	}
	return d, nil
}

// spelling returns one spelling for all that name the same host.
func spelling(host string) string {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.String()
	}
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	dial := net.Dialer{Timeout: dialTimeout, KeepAlive: 30 * time.Second, Resolver: d.resolver}
	if !d.allowed[spelling(host)] {
		dial.Control = func(network, address string, _ syscall.RawConn) error {
			if err := check(network, address); err != nil {
				return fmt.Errorf("%q leads there: %w (AllowPrivate names hosts that may)", host, err)
			}
			return nil
		}
	}
	return dial.DialContext(ctx, network, address)
}

// check is asked with what is about to be dialled: an address, never a name.
func check(network, address string) error {
	if network != "tcp4" && network != "tcp6" {
		return fmt.Errorf("%w: network %s", ErrNotPublic, network)
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: no IP address", ErrNotPublic)
	}
	if !Public(to.Addr()) {
		return fmt.Errorf("%w: %v", ErrNotPublic, to.Addr())
	}
	return nil
}

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, p := range list {
		out[i] = netip.MustParsePrefix(p)
	}
	return out
}

var (
	// Of the IANA special-purpose registry (RFC 6890), what is not globally reachable; multicast; reserved addresses; the address
	// at which Azure serves its machines.
	notPublic4 = prefixes("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
		"168.63.129.16/32")
	// Global unicast (RFC 4291 §2.4) without protocol assignments, Teredo among them, and documentation.
	public6    = netip.MustParsePrefix("2000::/3")
	notPublic6 = prefixes("2001::/23", "2001:db8::/32", "3fff::/20")

	nat64   = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052; a network's own prefix looks like any address
	sixTo4  = netip.MustParsePrefix("2002::/16")    // RFC 3056
	isatap  = [4]byte{0x00, 0x00, 0x5e, 0xfe}       // RFC 5214 §6.1, bytes 8 to 11
	isatapG = [4]byte{0x02, 0x00, 0x5e, 0xfe}
)

// Public tells whether an address is one of the public internet. An IPv6 address that carries an IPv4 address (mapped, 6to4, NAT64,
// ISATAP) is what that one is.
func Public(addr netip.Addr) bool {
	if !addr.IsValid() || addr.Zone() != "" {
		return false
	}
	addr = addr.Unmap()
	if addr.Is4() {
		return !contains(notPublic4, addr)
	}
	b := addr.As16()
	switch {
	case nat64.Contains(addr):
		return Public(netip.AddrFrom4([4]byte(b[12:])))
	case !public6.Contains(addr) || contains(notPublic6, addr):
		return false
	case sixTo4.Contains(addr) && !Public(netip.AddrFrom4([4]byte(b[2:6]))):
		return false
	}
	if id := [4]byte(b[8:12]); id == isatap || id == isatapG {
		return Public(netip.AddrFrom4([4]byte(b[12:])))
	}
	return true
}

func contains(list []netip.Prefix, addr netip.Addr) bool {
	for _, p := range list {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}
