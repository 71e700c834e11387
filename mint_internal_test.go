package stmigrate

import (
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The last spentLimit refreshes are remembered, and never more than twice as many.
func TestSpentTokens(t *testing.T) {
	t.Parallel()
	var s spentTokens
	assert.False(t, s.has("0"))
	for i := range 3 * spentLimit {
		s.add(strconv.Itoa(i))
		s.add(strconv.Itoa(i)) // a refresh that is repeated takes no more room
		if i >= spentLimit-1 && !s.has(strconv.Itoa(i+1-spentLimit)) {
			t.Fatalf("after %d: the oldest of the last %d is forgotten", i, spentLimit)
		}
		if n := len(s.young) + len(s.old); n > 2*spentLimit {
			t.Fatalf("%d are remembered", n)
		}
	}
	assert.False(t, s.has("0"))
}
