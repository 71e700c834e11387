package sqltest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stores/sqlstore"
)

// BenchmarkExchange compares Claim and Finish with the two statements that are the least a shared store can do: an INSERT that
// somebody else's makes fail, and an UPDATE under the fence. Requests of both kinds come in turn, 300 a second, whether or
// not those before have ended. It reports both medians and their ratio.
//
//	go test -run '^$' -bench Exchange -benchtime 6000x
func BenchmarkExchange(b *testing.B) {
	for _, d := range dialects {
		b.Run(string(d), func(b *testing.B) { benchmarkExchange(b, d) })
	}
}

func benchmarkExchange(b *testing.B, d sqlstore.Dialect) {
	s, db := open(b, d)
	if d == sqlstore.SQLite {
		db.SetMaxOpenConns(1) // as the manual says
	}
	sealed := make([]byte, 2200)
	_, _ = rand.Read(sealed)
	ctx := context.Background()
	bare := bareStore(b, d, db)
	ours := func(c stmigrate.Claim) error {
		if _, err := s.Claim(ctx, c); err != nil {
			return err
		}
		return s.Finish(ctx, c.Key, c.Fence, stmigrate.Finished{Handle: "handle", Sealed: sealed, SealedFor: time.Second, KeepFor: century})
	}
	theirs := func(c stmigrate.Claim) error { return bare(ctx, c, sealed) }

	var mu sync.Mutex
	var wg sync.WaitGroup
	var failed error
	took := [2][]time.Duration{}
	run := func(kind int, exchange func(stmigrate.Claim) error, c stmigrate.Claim, due time.Time, keep bool) {
		wg.Go(func() {
			err := exchange(c)
			end := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = err
			}
			if keep {
				took[kind] = append(took[kind], end)
			}
		})
	}
	const warm = 200 // connections are opened and statements prepared
	tick := time.NewTicker(time.Second / 300)
	defer tick.Stop()
	for i := range b.N + warm {
		if i == warm {
			wg.Wait()
			b.ResetTimer()
		}
		<-tick.C
		c := stmigrate.Claim{User: "public|user", Lease: 30 * time.Second, KeepFor: century}
		binary.BigEndian.PutUint64(c.Key[:], uint64(i)*0x9e3779b97f4a7c15)
		c.Shown = c.Key
		_, _ = rand.Read(c.Fence[:])
		if i%2 == 0 {
			run(0, ours, c, time.Now(), i >= warm)
		} else {
			run(1, theirs, c, time.Now(), i >= warm)
		}
	}
	wg.Wait()
	require.NoError(b, failed)
	if len(took[0]) == 0 || len(took[1]) == 0 {
		return
	}
	median := func(kind int) float64 {
		slices.Sort(took[kind])
		return float64(took[kind][len(took[kind])/2]) / float64(time.Microsecond)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(0), "store-µs")
	b.ReportMetric(median(1), "bare-µs")
	b.ReportMetric(median(0)/median(1), "ratio")
}

func bareStore(b *testing.B, d sqlstore.Dialect, db *sql.DB) func(context.Context, stmigrate.Claim, []byte) error {
	bytes := map[sqlstore.Dialect]string{sqlstore.Postgres: "bytea", sqlstore.SQLite: "BLOB"}[d]
	for _, text := range []string{
		"CREATE TABLE bare (key " + bytes + " PRIMARY KEY, shown " + bytes + " NOT NULL, fence " + bytes + " NOT NULL, user_id " + bytes +
			", handle " + bytes + ", sealed " + bytes + ", lease_until bigint NOT NULL, sealed_until bigint, keep_until bigint NOT NULL)",
		"CREATE INDEX bare_shown ON bare (shown)",
		"CREATE INDEX bare_keep ON bare (keep_until)",
	} {
		_, err := db.Exec(text)
		require.NoError(b, err)
	}
	return func(ctx context.Context, c stmigrate.Claim, sealed []byte) error {
		now := time.Now().UnixMicro()
		if _, err := db.ExecContext(ctx, "INSERT INTO bare (key, shown, fence, user_id, lease_until, keep_until) VALUES ($1, $2, $3, $4, $5, $6) "+
			"ON CONFLICT (key) DO NOTHING", c.Key[:], c.Shown[:], c.Fence[:], []byte(c.User), now+3e7, now+c.KeepFor.Microseconds()); err != nil {
			return err
		}
		_, err := db.ExecContext(ctx, "UPDATE bare SET handle = $1, sealed = $2, sealed_until = $3, keep_until = $4 WHERE key = $5 AND fence = $6",
			[]byte("handle"), sealed, now+1e6, now+c.KeepFor.Microseconds(), c.Key[:], c.Fence[:])
		return err
	}
}
