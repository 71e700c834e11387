//go:build chaos_nofence

package main

import (
	"context"
	"errors"

	"github.com/stmigrate/stmigrate"
)

const variant = "chaos_nofence: a holder whose claim was taken over is not told"

type noFence struct{ store }

func broken(s store, _ nodeConfig) store { return noFence{s} }

func (s noFence) Finish(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
	err := s.store.Finish(ctx, key, fence, f)
	if errors.Is(err, stmigrate.ErrClaimLost) {
		return nil
	}
	return err
}
