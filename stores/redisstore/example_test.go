package redisstore_test

import (
	"context"
	"log"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
	"github.com/stmigrate/stmigrate/stores/redisstore"
)

// A Migrator whose exchanges all nodes know. Its secrets must be the same on all of them.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: "stmigrate", SentinelAddrs: []string{"sentinel-1:26379", "sentinel-2:26379", "sentinel-3:26379"},
		ContextTimeoutEnabled: true,
	})
	exchanges, err := redisstore.New(ctx, redisstore.Config{Client: client, WaitReplicas: 1})
	if err != nil {
		log.Fatal(err)
	}
	migrator, err := stmigrate.New(stmigrate.Config{
		Verifier:  new(stmigratetest.FakeVerifier),
		Sessions:  new(stmigratetest.FakeSessions),
		Users:     stmigrate.SubjectIsUserID,
		Exchanges: exchanges,
		Revoker:   stmigrate.LeaveToExpire,
		Secrets:   [][]byte{make([]byte, 32)}, // of your own: openssl rand 32
		Until:     time.Date(2027, 6, 30, 0, 0, 0, 0, time.UTC),
	})
	if err != nil {
		log.Fatal(err)
	}
	_ = migrator
}
