//go:build chaos_nodeclock

package main

import (
	"context"
	"time"

	"github.com/stmigrate/stmigrate"
)

const variant = "chaos_nodeclock: a lease ends by the clock of the node that took it"

type nodeClock struct {
	store
	shift time.Duration
}

func broken(s store, cfg nodeConfig) store { return nodeClock{s, cfg.Shift} }

func (s nodeClock) Claim(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
	c.Lease = max(c.Lease+s.shift, 0)
	return s.store.Claim(ctx, c)
}
