package sqltest

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate/internal/sqldb"
	"github.com/stmigrate/stmigrate/stores/sqlstore"
)

// versions are the tables of a package that made as many releases as there are migrations.
func versions(t *testing.T, d sqldb.Dialect, db *sql.DB, migrations ...string) *sqldb.DB {
	t.Helper()
	files := fstest.MapFS{}
	for i, text := range migrations {
		files["migrations/"+string(d)+"/000"+string(rune('1'+i))+".sql"] = &fstest.MapFile{Data: []byte(text)}
	}
	s, err := sqldb.New(sqldb.Config{DB: db, Dialect: d}, sqldb.Tables{Config: "test: Config", Names: []string{"v", "n"}, Migrations: files})
	require.NoError(t, err)
	return s
}

const (
	first  = "CREATE TABLE {v} (version integer NOT NULL PRIMARY KEY);\nINSERT INTO {v} VALUES (1);\nCREATE TABLE {n} (x bigint);\nINSERT INTO {n} VALUES (1);\n"
	second = "INSERT INTO {v} VALUES (2);\n-- Once: it is no matter of names that clash.\nUPDATE {n} SET x = x * 2;\n"
	third  = "INSERT INTO {v} VALUES (3);\nALTER TABLE {n} ADD COLUMN y bigint;\nUPDATE {n} SET x = x + 1, y = {now};\n"
	broken = "INSERT INTO {v} VALUES (3);\nUPDATE {n} SET x = 99;\nUPDATE {n} SET nothing = 1;\n"
)

// Nodes of all releases start at once, again and again: every migration is made once, and whole or not at all.
func TestMigrationsByManyNodes(t *testing.T) {
	forEach(t, func(t *testing.T, d sqlstore.Dialect) {
		for _, from := range [][]string{nil, {first}, {first, second}} {
			db, _ := database(t, d)
			if d == sqlstore.SQLite { // as its driver has it without options, but for the timeout
				db = openDB(t, "sqlite-plain", "file:"+filepath.Join(t.TempDir(), "plain.db")+"?_pragma=busy_timeout(600000)")
			}
			if from != nil {
				require.NoError(t, versions(t, d, db, from...).Migrate(t.Context()))
			}
			require.ErrorIs(t, versions(t, d, db, first, second, third).Check(t.Context()), sqldb.ErrSchema)
			var wg sync.WaitGroup
			begin := make(chan struct{})
			for range 10 {
				s := versions(t, d, db, first, second, third)
				wg.Go(func() {
					<-begin
					assert.NoError(t, s.Migrate(t.Context()))
					assert.NoError(t, s.Ready(t.Context()))
				})
			}
			close(begin)
			wg.Wait()
			var x, y, rows int
			require.NoError(t, db.QueryRow("SELECT x, y, (SELECT count(*) FROM stmigrate_n) FROM stmigrate_n").Scan(&x, &y, &rows))
			assert.Equal(t, []int{3, 1}, []int{x, rows})
			assert.Positive(t, y)
		}
	})
}

func TestABrokenMigrationLeavesTheOneBefore(t *testing.T) {
	forEach(t, func(t *testing.T, d sqlstore.Dialect) {
		db, _ := database(t, d)
		err := versions(t, d, db, first, second, broken).Migrate(t.Context())
		require.Error(t, err)
		require.NotErrorIs(t, err, sqldb.ErrSchema)
		require.NoError(t, versions(t, d, db, first, second).Check(t.Context()))
		require.ErrorIs(t, versions(t, d, db, first).Migrate(t.Context()), sqldb.ErrSchema, "a release that is too old")
		require.NoError(t, versions(t, d, db, first, second, third).Migrate(t.Context()))
		var x int
		require.NoError(t, db.QueryRow("SELECT x FROM stmigrate_n").Scan(&x))
		assert.Equal(t, 3, x)
	})
}

// Somebody holds what a migration needs: it ends with its context, and can be made later.
func TestAMigrationEndsInTime(t *testing.T) {
	forEach(t, func(t *testing.T, d sqlstore.Dialect) {
		db, _ := database(t, d)
		require.NoError(t, versions(t, d, db, first).Migrate(t.Context()))
		conn, err := db.Conn(t.Context())
		require.NoError(t, err)
		defer conn.Close()
		tx, err := conn.BeginTx(t.Context(), nil)
		require.NoError(t, err)
		_, err = tx.Exec("INSERT INTO stmigrate_v VALUES (2)")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		start := time.Now()
		require.ErrorIs(t, sqldb.Failure(ctx, "Migrate", versions(t, d, db, first, second).Migrate(ctx)), context.DeadlineExceeded)
		assert.Less(t, time.Since(start), forever)
		require.NoError(t, tx.Rollback())
		require.NoError(t, versions(t, d, db, first, second).Migrate(t.Context()))
	})
}
