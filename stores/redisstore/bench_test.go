package redisstore

import (
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
)

// BenchmarkStore measures a round trip on this machine, and how long the server is busy with it.
func BenchmarkStore(b *testing.B) {
	srv := startServer(b)
	admin := srv.client(b)
	s := open(b, admin)
	f := answer()
	f.Handle, f.Sealed, f.Revocation = strings.Repeat("h", 36), random(2300), random(1500)
	newClaim := func() stmigrate.Claim {
		c := claimOf("")
		copy(c.Key[:], random(32))
		copy(c.Shown[:], random(32))
		return c
	}
	busy, done := newClaim(), newClaim()
	_, err := s.Claim(b.Context(), busy)
	require.NoError(b, err)
	_, err = s.Claim(b.Context(), done)
	require.NoError(b, err)
	require.NoError(b, s.Finish(b.Context(), done.Key, done.Fence, f))
	run := func(name string, calls float64, what func() error) {
		b.Run(name, func(b *testing.B) {
			require.NoError(b, admin.ConfigResetStat(b.Context()).Err())
			for b.Loop() {
				require.NoError(b, what())
			}
			stats := parseInfo(admin.Info(b.Context(), "commandstats").Val())["cmdstat_evalsha"]
			b.ReportMetric(perCall(b, stats)*calls, "server-µs/op")
		})
	}
	run("Claim and Finish", 2, func() error {
		c := newClaim()
		if _, err := s.Claim(b.Context(), c); err != nil {
			return err
		}
		return s.Finish(b.Context(), c.Key, c.Fence, f)
	})
	other := busy
	other.Fence = stmigrate.Fence{1}
	run("Busy", 1, func() error { _, err := s.Claim(b.Context(), other); return err })
	run("Recall", 1, func() error { _, err := s.Recall(b.Context(), done.Shown); return err })
	run("none due", 1, func() error { _, err := s.AbandonedClaims(b.Context(), 0, 100); return err })
}

// perCall reads usec_per_call of a line of INFO commandstats.
func perCall(b *testing.B, stats string) float64 {
	b.Helper()
	for field := range strings.SplitSeq(stats, ",") {
		if value, ok := strings.CutPrefix(field, "usec_per_call="); ok {
			n, err := strconv.ParseFloat(value, 64)
			require.NoError(b, err)
			return n
		}
	}
	b.Fatalf("no usec_per_call in %q", stats)
	return 0
}
