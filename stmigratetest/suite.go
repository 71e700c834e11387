package stmigratetest

import (
	"context"
	"testing"
)

// check is one thing that every implementation of an interface must do. It returns what is wrong, so that the suites can
// themselves be tested with implementations that are.
type check[T any] struct {
	name string
	run  func(ctx context.Context, subject T) error
}

func runChecks[T any](t *testing.T, open func(t *testing.T) T, checks []check[T]) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			if err := c.run(t.Context(), open(t)); err != nil {
				t.Error(err)
			}
		})
	}
}
