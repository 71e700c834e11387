package stmigrate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestTriesOfNeighbours: who shares some buckets with another account goes on while it has one for itself.
func TestTriesOfNeighbours(t *testing.T) {
	t.Parallel()
	tries, now := &tries{burst: 1, per: time.Minute}, time.Now()
	assert.True(t, tries.take([32]byte{}, now))
	assert.False(t, tries.take([32]byte{}, now))
	for row := range 4 {
		var neighbour [32]byte
		neighbour[8*row+7] = byte(row + 1) // another bucket in this row alone
		assert.True(t, tries.take(neighbour, now), row)
		assert.False(t, tries.take(neighbour, now), row)
	}
}
