//go:build chaos_nooutbox

package main

import (
	"context"

	"github.com/stmigrate/stmigrate"
)

const variant = "chaos_nooutbox: what is owed is not recorded"

type noOutbox struct{ store }

func broken(s store, _ nodeConfig) store { return noOutbox{s} }

func (s noOutbox) Finish(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
	f.Revocation = nil
	return s.store.Finish(ctx, key, fence, f)
}
