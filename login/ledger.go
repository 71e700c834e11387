package login

import (
	"context"
	"time"

	"github.com/stmigrate/stmigrate"
)

// Ledger remembers which users were imported, and how far an import came that is not complete. It is what makes an import
// happen once: without it nobody could tell a user who was imported and deleted since from one who never was.
//
// Each method is atomic for its key, safe for concurrent use, and ends by ctx. Leases run on the ledger's own clock, never
// on the caller's. An error other than [stmigrate.ErrClaimLost] means that the outcome is unknown: the caller repeats the
// call with the same Fence, and a repeated call answers as the first one did. A ledger that is down or full answers
// [stmigrate.ErrUnavailable]; it never forgets an entry by itself. stmigratetest.TestLedger checks all of that.
type Ledger interface {
	// Look returns the entry of a key. Its Step is 0 if there is none. It changes nothing.
	Look(ctx context.Context, key Key) (Entry, error)
	// Claim writes an entry at StepIntent if there is none, and takes one that is neither complete nor in conflict if it is
	// held with this Fence or with no lease running. Otherwise it changes nothing. It returns the entry as it stands then:
	// Held says whose it is. The LegacyID of an entry that was there before stays.
	Claim(ctx context.Context, c Claim) (Entry, error)
	// Record writes how far the import is. It fails with ErrClaimLost if the entry is gone, held with another Fence, in
	// conflict, or further than p.Step. A lease that is over and was not taken is no obstacle. StepComplete and a Conflict end
	// the lease, and after them Record changes nothing more and is nil again for the same Fence.
	Record(ctx context.Context, key Key, fence stmigrate.Fence, p Progress) error
	// Release gives up: the lease ends, and with erase the entry goes, for an import that must begin anew. An entry that is
	// complete, in conflict, gone, or held with another Fence is left alone, without an error.
	Release(ctx context.Context, key Key, fence stmigrate.Fence, erase bool) error
	// Unmark clears AskLegacy of a complete entry, for good. nil if there is nothing to clear.
	Unmark(ctx context.Context, key Key) error
	// Forget erases an entry, whatever its state, so that the user counts as never imported. nil if there is none. An import
	// under way loses its claim.
	Forget(ctx context.Context, key Key) error
	// Conflicts returns at most max entries in conflict with keys above after, by tenant and then e-mail, both by their bytes.
	Conflicts(ctx context.Context, after Key, max int) ([]Entry, error)
}

// Key names an import.
type Key struct {
	// TenantID is never "" in a ledger: the public tenant is "public".
	TenantID string
	// Email is in lower case and without white space around it. The caller sees to that.
	Email string
}

// Step is how far an import is: what is done already. A ledger knows StepIntent and StepComplete; the others are numbers
// between them.
type Step int

const (
	// StepIntent: it is written that this user is to be imported.
	StepIntent Step = iota + 1
	// StepCreated: the user is in SuperTokens, under an address that nobody knows.
	StepCreated
	// StepMapped: the user ID is mapped to the legacy one.
	StepMapped
	// StepVerified: the e-mail address counts as verified, if legacy had it so.
	StepVerified
	// StepMetadata: the metadata are carried over.
	StepMetadata
	// StepReady: the roles are carried over, and the entry's Flags are final. The user gets the right address and password next.
	StepReady
	// StepComplete: SuperTokens alone decides about this user from now on, except for AskLegacy.
	StepComplete
)

var stepNames = [...]string{"none", "intent", "created", "mapped", "verified", "metadata", "ready", "complete"}

func (s Step) String() string {
	if s < 0 || int(s) >= len(stepNames) {
		return "unknown"
	}
	return stepNames[s]
}

// Flags are what is worth knowing of an entry besides its step.
type Flags uint32

const (
	// AskLegacy is the mark of a user who was imported for a password reset and has no password of their own in SuperTokens:
	// the legacy one still signs in.
	AskLegacy Flags = 1 << iota
	// WeakPassword: the legacy password breaks Config.PasswordPolicy. It signs in all the same.
	WeakPassword
	// RolesLeftOut: the user had roles in legacy that SuperTokens does not know.
	RolesLeftOut
	// HashRefused: LegacyUser.PasswordHash could not be imported, and the password itself was.
	HashRefused
)

// Entry is what the ledger knows of one import.
type Entry struct {
	Key
	LegacyID string
	// UserID is SuperTokens' own ID, "" before StepCreated.
	UserID string
	// Step is 0 where there is no entry.
	Step  Step
	Flags Flags
	// Conflict says what is in the way, "" if nothing is. Such an entry is left alone until it is forgotten.
	Conflict string
	// Held is true in the answer to a Claim that took the entry.
	Held bool
	// Wait is how long the lease still runs, 0 if none does.
	Wait time.Duration
}

// Complete tells whether the import is done.
func (e Entry) Complete() bool { return e.Step >= StepComplete }

// Claim asks for the exclusive right to import one user.
type Claim struct {
	Key
	// LegacyID is written with a new entry.
	LegacyID string
	// Fence is drawn at random for this claim.
	Fence stmigrate.Fence
	// Lease is how long the claim holds.
	Lease time.Duration
}

// Progress is what an import has done. All of it replaces what the entry had.
type Progress struct {
	Step     Step
	UserID   string
	Flags    Flags
	Conflict string
}
