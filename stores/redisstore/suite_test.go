package redisstore

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/stmigrate/stmigrate/stmigratetest"
)

func conformance(t *testing.T, c redis.UniversalClient) {
	stmigratetest.TestExchangeStore(t, func(t *testing.T) stmigratetest.StoreUnderTest {
		t.Parallel()
		s := open(t, c)
		return stmigratetest.StoreUnderTest{Store: s, Advance: func(d time.Duration) { advance(t, s, d) }}
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
