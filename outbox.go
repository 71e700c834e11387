package stmigrate

import (
	"context"
	"errors"
	"time"
)

// RevocationOutbox is what an [ExchangeStore] may be, too: it hands out the revocations that Finish said are owed, until
// they are settled. They live and go with their entries, also as dead letters, so KeepFor is how long there is for them: 30 days
// past RevokeAfter at least. Without it a revocation is tried once, by the process that did the exchange, and lost if that dies.
//
// The rules of [ExchangeStore] hold for its methods and for those of the other interfaces here: each is atomic for its key,
// durations run on the store's clock, and an error means that the outcome is unknown.
type RevocationOutbox interface {
	// DueRevocations takes at most max revocations that are due, those that have been due for longest first, and leases them:
	// until the lease is over, or they are settled, nobody else is given them. None are due: an empty list and no error.
	DueRevocations(ctx context.Context, max int, lease time.Duration) ([]DueRevocation, error)
	// SettleRevocation ends a lease; reason is why the attempt failed. With retry > 0 the revocation is due again after it, and
	// without a reason it was put back untried: that does not count as an attempt. Else, with a reason, it goes to the dead
	// letters. Else it is done and erased. ErrClaimLost if fence is not the one it is leased with by now: a lease that is over
	// and was not taken is no obstacle, and the first one is the finisher's, with the claim's Fence. nil again, without a
	// change, for the fence that settled it.
	SettleRevocation(ctx context.Context, key ExchangeKey, fence Fence, retry time.Duration, reason string) error
}

// DueRevocation is a revocation under a lease.
type DueRevocation struct {
	Key ExchangeKey
	// Fence is this lease's. The store draws it anew for each.
	Fence Fence
	// Revocation is that of [Finished].
	Revocation []byte
	// Attempt counts from 1 how often it was handed out, but for when it was put back untried. A replay from the dead letters
	// begins anew.
	Attempt int
}

// RevocationDeadLetters is what a [RevocationOutbox] may be, too: a way to see what was given up, and to do something about it.
type RevocationDeadLetters interface {
	// DeadRevocations returns at most max dead letters with keys above after, in the order of their keys.
	DeadRevocations(ctx context.Context, after ExchangeKey, max int) ([]DeadRevocation, error)
	// ReplayRevocation makes a dead letter due again, now. DropRevocation erases it. Both are nil where there is none.
	ReplayRevocation(ctx context.Context, key ExchangeKey) error
	DropRevocation(ctx context.Context, key ExchangeKey) error
}

// DeadRevocation is a revocation that was given up.
type DeadRevocation struct {
	Key        ExchangeKey
	Revocation []byte
	Attempts   int
	// Reason is that of SettleRevocation.
	Reason string
}

// RevocationBudgets is what a [RevocationOutbox] may be, too: a token bucket for each provider, which all nodes share.
type RevocationBudgets interface {
	// TakeBudget takes up to n calls from the bucket of that name and says how many it got. With none, wait is how long it will
	// be until there is one. A bucket holds at most b.Calls and b.Calls flow in over b.Per, evenly; a new one is full.
	TakeBudget(ctx context.Context, name string, n int, b RevocationBudget) (got int, wait time.Duration, err error)
	// PauseBudget empties the bucket and lets nothing flow in for d. A longer pause that runs already stays.
	PauseBudget(ctx context.Context, name string, d time.Duration) error
}

// RevocationBudget is how many calls a provider allows in a time: Auth0's free tenants {150, time.Minute}, say.
type RevocationBudget struct {
	Calls int
	Per   time.Duration
}

// ClaimSweeper is what an [ExchangeStore] may be, too: it finds claims whose holders died and whose clients did not come back.
type ClaimSweeper interface {
	// AbandonedClaims returns at most max claims that are not finished and whose leases have been over for at least since, the
	// longest first: Key, Shown, User and Epoch of each. It changes nothing; the caller claims them.
	AbandonedClaims(ctx context.Context, since time.Duration, max int) ([]Claim, error)
}

// ClaimNoter is what an [ExchangeStore] may be, too: it keeps a note beside a held claim, for whoever has to take it over.
type ClaimNoter interface {
	// Note replaces the claim's note, and with it the token that Recall finds it by: the Shown of this claim. ErrClaimLost if the
	// entry is gone, finished, or held with another Fence.
	Note(ctx context.Context, key ExchangeKey, fence Fence, note []byte) error
}

// EpochStore is what an [ExchangeStore] may be, too: it can take a rollout back.
type EpochStore interface {
	// CloseEpoch refuses claims of that epoch from now on, with ClaimClosed, for as long as the store lives. Claims that are
	// held may still be finished. The epoch "" is none and cannot be closed: an error.
	CloseEpoch(ctx context.Context, epoch string) error
	// EpochExchanges returns at most max finished entries of an epoch with keys above after, in the order of their keys.
	EpochExchanges(ctx context.Context, epoch string, after ExchangeKey, max int) ([]EpochExchange, error)
	// ForgetExchange erases a finished entry with all that belongs to it, if it was finished with that fence. nil otherwise.
	ForgetExchange(ctx context.Context, key ExchangeKey, fence Fence) error
}

// EpochExchange is a finished exchange of an epoch.
type EpochExchange struct {
	Key    ExchangeKey
	Fence  Fence
	Handle string
}

var errNoEpoch = errors.New("the exchanges without an epoch cannot be taken back together; set Config.Epoch from the start")
