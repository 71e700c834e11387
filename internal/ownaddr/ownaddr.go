// Package ownaddr finds addresses for servers that tests start as processes of their own, and stop and start again.
package ownaddr

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// BusOffset is how far above its port a node of a Redis cluster has another one.
const BusOffset = 10_000

// Find returns a loopback address and a port that are free, as is the port BusOffset above it. They stay so before the server
// listens, and while it is down: by default no kernel gives ports as low as these to those who ask for any, and whoever asks for
// this one asks for it at 127.0.0.1 and not, where all of 127.0.0.0/8 is this machine as in Linux, at one address out of millions.
func Find() (host string, port int, err error) {
	for range 100 {
		host = net.IPv4(127, byte(1+rand.IntN(254)), byte(rand.IntN(256)), byte(1+rand.IntN(254))).String()
		port = 10_000 + rand.IntN(5_000)
		if err = free(host, port); errors.Is(err, syscall.EADDRNOTAVAIL) {
			host = "127.0.0.1"
			err = free(host, port)
		}
		if err == nil {
			return host, port, nil
		}
	}
	return "", 0, err
}

func free(host string, port int) error {
	for _, p := range []int{port, port + BusOffset} {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p)))
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}
