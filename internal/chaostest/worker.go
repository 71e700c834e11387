package main

import (
	"github.com/stmigrate/stmigrate"
)

// startWorker revokes what exchanges owe and sweeps up what died. In one life of four a node goes without, and revokes within
// its requests; never all nodes at once, since they die in turn.
func (n *node) startWorker(m *stmigrate.Migrator) error {
	if (n.cfg.Node+n.cfg.Life)%4 == 3 {
		return nil
	}
	_, err := m.StartRevocations(stmigrate.RevocationConfig{
		Timeout: n.cfg.Lease / 8, Lease: n.cfg.Lease, Poll: n.cfg.Lease / 8, MinBackoff: n.cfg.Lease / 20, MaxBackoff: n.cfg.Lease,
		MaxAttempts: 100,
	})
	return err
}

// refusal is an error of the issuer that no other try will cure.
func refusal(err error) error { return &stmigrate.RevokeError{Err: err, Permanent: true} }
