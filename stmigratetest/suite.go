package stmigratetest

import (
	"context"
	"errors"
	"testing"
)

// check is one thing that every implementation of an interface must do. It returns what is wrong, so that the suites can
// themselves be tested with implementations that are.
type check[T any] struct {
	name string
	run  func(ctx context.Context, subject T) error
}

// errOptional says that a check is for what the subject may be, and is not.
var errOptional = errors.New("the subject does not implement this optional interface")

func runChecks[T any](t *testing.T, open func(t *testing.T) T, checks []check[T]) {
	t.Helper()
	for _, c := range checks {
		t.Run(c.name, func(t *testing.T) {
			switch err := c.run(t.Context(), open(t)); {
			case errors.Is(err, errOptional):
				t.Skip(err)
			case err != nil:
				t.Error(err)
			}
		})
	}
}
