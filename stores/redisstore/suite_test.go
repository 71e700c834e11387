package redisstore

import (
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/stmigrate/stmigrate/stmigratetest"
)

func conformance(t *testing.T, c redis.UniversalClient) {
	stmigratetest.TestExchangeStore(t, func(t *testing.T) stmigratetest.StoreUnderTest {
		t.Parallel()
		return stmigratetest.StoreUnderTest{Store: open(t, c)}
	})
}

func TestConformance(t *testing.T) {
	t.Parallel()
	conformance(t, givenOrStarted(t))
}

// TestConformanceOnCluster runs each check under a prefix, so a slot, of its own.
func TestConformanceOnCluster(t *testing.T) {
	t.Parallel()
	conformance(t, startCluster(t))
}
