package ownaddr

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFind(t *testing.T) {
	host, port, err := Find()
	require.NoError(t, err)
	assert.True(t, net.ParseIP(host).IsLoopback(), host)
	for _, p := range []int{port, port + BusOffset} {
		l, err := net.Listen("tcp", net.JoinHostPort(host, strconv.Itoa(p)))
		require.NoError(t, err)
		require.Error(t, free(host, port), "%d is in use", p)
		require.NoError(t, l.Close())
		require.NoError(t, free(host, port))
	}
}
