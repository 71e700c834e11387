package safedial

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPublic(t *testing.T) {
	for addr, public := range map[string]bool{
		"1.1.1.1": true, "8.8.8.8": true, "172.15.255.255": true, "172.32.0.0": true, "100.63.255.255": true, "100.128.0.0": true,
		"223.255.255.255": true, "168.63.129.15": true,

		"0.0.0.0": false, "0.1.2.3": false, "10.0.0.1": false, "127.0.0.1": false, "127.255.0.9": false, "169.254.169.254": false,
		"172.16.0.1": false, "172.31.255.255": false, "192.168.1.1": false, "100.64.0.1": false, "100.100.100.200": false,
		"192.0.0.192": false, "198.18.0.1": false, "203.0.113.1": false, "224.0.0.1": false, "240.0.0.1": false,
		"255.255.255.255": false, "168.63.129.16": false,

		"2606:4700:4700::1111": true, "2a00:1450:4001::5efe": true,

		"::": false, "::1": false, "fe80::1": false, "fe80::1%eth0": false, "fec0::1": false, "fc00::1": false, "fd00:ec2::254": false,
		"ff02::1": false, "100::1": false, "2001:db8::1": false, "3fff::1": false, "5f00::1": false, "2606:4700::1%1": false,

		"::ffff:1.1.1.1": true, "::ffff:10.0.0.1": false, "::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, // mapped
		"::ffff:0:1.1.1.1": false, "::1.1.1.1": false, "::127.0.0.1": false, // translated, compatible: nobody uses them
		"2002:0101:0101::1": true, "2002:0a00:0001::1": false, "2002:7f00:0001::1": false, "2002:a9fe:a9fe::1": false, // 6to4
		"64:ff9b::1.1.1.1": true, "64:ff9b::10.0.0.1": false, "64:ff9b::127.0.0.1": false, // NAT64
		"64:ff9b:1::1.1.1.1": false, "64:ff9b:1::10.0.0.1": false, // NAT64 of a local network
		"2001:0:4136:e378:8000:63bf:3fff:fdd2": false,                                           // Teredo
		"2606:4700::5efe:1.1.1.1":              true,                                            // ISATAP
		"2606:4700::5efe:10.0.0.1":             false, "2606:4700::200:5efe:192.168.0.1": false, // ISATAP
		"2002:0101:0101::5efe:10.0.0.1": false, "2002:0a00:0001::5efe:1.1.1.1": false, // ISATAP in 6to4
	} {
		assert.Equal(t, public, Public(netip.MustParseAddr(addr)), addr)
	}
	assert.False(t, Public(netip.Addr{}))
}

// check sees what the kernel is about to be asked for.
func TestCheck(t *testing.T) {
	for _, c := range []struct {
		network, address string
		want             error
	}{
		{"tcp4", "1.1.1.1:443", nil},
		{"tcp6", "[2606:4700:4700::1111]:443", nil},
		{"tcp4", "10.0.0.7:443", ErrNotPublic},
		{"tcp6", "[::1]:443", ErrNotPublic},
		{"tcp6", "[::ffff:10.0.0.7]:443", ErrNotPublic},
		{"tcp6", "[fe80::1%eth0]:443", ErrNotPublic},
		{"tcp4", "localhost:443", ErrNotPublic},
		{"unix", "/run/docker.sock", ErrNotPublic},
		{"udp4", "1.1.1.1:53", ErrNotPublic},
	} {
		assert.ErrorIs(t, check(c.network, c.address), c.want, c.address)
	}
}

func TestAllowPrivateWantsHosts(t *testing.T) {
	for _, host := range []string{"", "https://idp.internal", "idp.internal:8443", "*.internal", "10.0.0.0/8", "[::1]", "a b", "fe80::1%eth0"} {
		_, err := Transport([]string{"ok.internal", host})
		assert.ErrorContains(t, err, "AllowPrivate[1]", host)
	}
	for _, host := range []string{"localhost", "10.0.0.7", "::1", "Idp.Internal."} {
		_, err := Transport([]string{host})
		assert.NoError(t, err, host)
	}
}

// A name of the public DNS that leads to this machine is not dialled, neither directly nor by another spelling of the address.
func TestTransport(t *testing.T) {
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked.Add(1) }))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)

	for _, c := range []struct {
		host    string
		allow   []string
		refused bool
	}{
		{"idp.example", nil, true},
		{"idp.example", []string{"other.example", "127.0.0.1"}, true},
		{"idp.example", []string{"idp.example"}, false},
		{"IDP.example.", []string{"idp.Example"}, false},
		{"sub.idp.example", []string{"idp.example"}, true},
		{"127.0.0.1", nil, true},
		{"127.0.0.1", []string{"127.0.0.1"}, false},
		{"[::ffff:127.0.0.1]", nil, true},
		{"localhost", nil, true},
	} {
		d, err := newDialer(c.allow)
		require.NoError(t, err)
		d.resolver = resolvesTo([4]byte{127, 0, 0, 1})
		client := http.Client{Transport: &http.Transport{DialContext: d.dial, DisableKeepAlives: true}}
		before := asked.Load()
		res, err := client.Get("http://" + c.host + ":" + port)
		if c.refused {
			assert.ErrorIs(t, err, ErrNotPublic, c.host)
			assert.ErrorContains(t, err, strings.Trim(c.host, "[]"), c.host)
			assert.Equal(t, before, asked.Load(), "connected all the same")
			continue
		}
		if assert.NoError(t, err, c.host) {
			_ = res.Body.Close()
		}
	}
}

func TestTransportUsesNoProxy(t *testing.T) {
	transport, err := Transport(nil)
	require.NoError(t, err)
	assert.Nil(t, transport.Proxy)
	_, err = (&http.Client{Transport: transport}).Get("http://127.0.0.1:9")
	assert.ErrorIs(t, err, ErrNotPublic)
}

// resolvesTo answers every question for an IPv4 address with this one, and others with none.
func resolvesTo(ip [4]byte) *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		resolver, server := net.Pipe()
		go func() {
			defer func() { _ = server.Close() }()
			for {
				// A pipe is no packet connection, so messages come with their length, as over TCP (RFC 1035 §4.2.2).
				var size [2]byte
				if _, err := io.ReadFull(server, size[:]); err != nil {
					return
				}
				m := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(server, m); err != nil {
					return
				}
				end := 12
				for m[end] != 0 {
					end += int(m[end]) + 1
				}
				end++
				isA := binary.BigEndian.Uint16(m[end:]) == 1
				m = append(m[:end+4:end+4], 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, ip[0], ip[1], ip[2], ip[3])
				copy(m[2:], []byte{0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0}) // an answer, and one record in it
				if !isA {
					m, m[7] = m[:end+4], 0
				}
				if _, err := server.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(m))), m...)); err != nil {
					return
				}
			}
		}()
		return resolver, nil
	}}
}
