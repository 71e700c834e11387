package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stmigrate/stmigrate"
)

// store is an exchange store with all that one can be.
type store interface {
	stmigrate.ExchangeStore
	stmigrate.ExchangePeeker
	stmigrate.RevocationOutbox
	stmigrate.RevocationDeadLetters
	stmigrate.RevocationBudgets
	stmigrate.ClaimSweeper
	stmigrate.ClaimNoter
	stmigrate.EpochStore
}

var errInjected = errors.New("injected")

// faultyStore fails before or after the store it stands for, or holds what it is told for too long.
type faultyStore struct {
	store
	dice   dice
	life   []int // the node and its incarnation
	chance func() float64
	lease  time.Duration
	tell   func(report)
	passed func(step string) // is told of every step that was done

	mu    sync.Mutex
	taken map[string]int
}

func (s *faultyStore) draw(step string) fault {
	chance := s.chance()
	if chance == 0 {
		return none
	}
	s.mu.Lock()
	n := s.taken[step]
	s.taken[step]++
	s.mu.Unlock()
	kind := s.dice.fault(step, chance, append([]int{n}, s.life...)...)
	if kind != none {
		s.tell(report{Count: "fault " + step + " " + string(kind)})
	}
	return kind
}

// call does what it is given, or fails before or after it.
func call[T any](s *faultyStore, step string, key stmigrate.ExchangeKey, do func() (T, error)) (out T, err error) {
	var kind fault
	defer func() {
		s.trace(key, "%s%s: %s", step, tagged(kind), outcome(out, err))
	}()
	switch kind = s.draw(step); kind {
	case before:
		return out, errInjected
	case after:
		real, realErr := do()
		s.passed(step)
		s.trace(key, "%s, in truth: %s", step, outcome(real, realErr))
		return out, errInjected
	}
	out, err = do()
	s.passed(step)
	return out, err
}

func tagged(f fault) string {
	if f == none {
		return ""
	}
	return " (fault: " + string(f) + ")"
}

// outcome says in a few words what a call answered.
func outcome(v any, err error) string {
	if err != nil {
		return err.Error()
	}
	c, ok := v.(stmigrate.Claimed)
	if !ok {
		return "ok"
	}
	text := map[stmigrate.ClaimState]string{
		0: "none", stmigrate.ClaimHeld: "held", stmigrate.ClaimBusy: "busy", stmigrate.ClaimDone: "done", stmigrate.ClaimClosed: "closed",
	}[c.State]
	if c.Suspect {
		text += ", suspect"
	}
	if c.Handle != "" {
		text += fmt.Sprintf(", handle %s, %d bytes sealed", c.Handle, len(c.Sealed))
	}
	if len(c.Note) > 0 {
		text += ", noted"
	}
	if c.Wait > 0 {
		text += fmt.Sprintf(", wait %v", c.Wait)
	}
	return text
}

func (s *faultyStore) trace(key stmigrate.ExchangeKey, format string, args ...any) {
	if key == (stmigrate.ExchangeKey{}) {
		return
	}
	line := fmt.Sprintf("node %d.%d: ", s.life[0], s.life[1]) + fmt.Sprintf(format, args...)
	s.tell(report{Key: fmt.Sprintf("%x", key[:]), Line: line})
}

type nothing = struct{}

func (s *faultyStore) Claim(ctx context.Context, c stmigrate.Claim) (stmigrate.Claimed, error) {
	got, err := call(s, stepClaim, c.Key, func() (stmigrate.Claimed, error) { return s.store.Claim(ctx, c) })
	if err == nil && got.State == stmigrate.ClaimHeld && got.Suspect {
		s.tell(report{Count: "suspects"})
	}
	return got, err
}

// Finish may also come to the store when the lease is over and more, as from a connection that stalled: what a fence is for.
func (s *faultyStore) Finish(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, f stmigrate.Finished) error {
	kind := s.draw(stepFinish)
	do := func() error {
		defer s.passed(stepFinish)
		return s.store.Finish(ctx, key, fence, f)
	}
	var err error
	switch kind {
	case before:
		err = errInjected
	case after:
		s.trace(key, "%s of %s, in truth: %s", stepFinish, f.Handle, outcome(nil, do()))
		err = errInjected
	case late:
		s.trace(key, "%s of %s begins, and comes late", stepFinish, f.Handle)
		<-time.After(s.lease * 3 / 2)
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.lease)
		defer cancel()
		ctx = call
		err = do()
	default:
		err = do()
	}
	s.trace(key, "%s of %s%s: %s", stepFinish, f.Handle, tagged(kind), outcome(nil, err))
	return err
}

func (s *faultyStore) Release(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, suspect bool) error {
	_, err := call(s, stepRelease, key, func() (nothing, error) { return nothing{}, s.store.Release(ctx, key, fence, suspect) })
	return err
}

func (s *faultyStore) Recall(ctx context.Context, shown stmigrate.ExchangeKey) (stmigrate.Claimed, error) {
	return call(s, stepRecall, stmigrate.ExchangeKey{}, func() (stmigrate.Claimed, error) { return s.store.Recall(ctx, shown) })
}

func (s *faultyStore) Peek(ctx context.Context, key stmigrate.ExchangeKey) (stmigrate.Claimed, error) {
	return call(s, stepPeek, key, func() (stmigrate.Claimed, error) { return s.store.Peek(ctx, key) })
}

func (s *faultyStore) Note(ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, note []byte) error {
	_, err := call(s, stepNote, key, func() (nothing, error) { return nothing{}, s.store.Note(ctx, key, fence, note) })
	return err
}

func (s *faultyStore) DueRevocations(ctx context.Context, max int, lease time.Duration) ([]stmigrate.DueRevocation, error) {
	return call(s, stepDue, stmigrate.ExchangeKey{}, func() ([]stmigrate.DueRevocation, error) {
		due, err := s.store.DueRevocations(ctx, max, lease)
		for _, d := range due {
			s.trace(d.Key, "%s: attempt %d", stepDue, d.Attempt)
		}
		return due, err
	})
}

func (s *faultyStore) SettleRevocation(
	ctx context.Context, key stmigrate.ExchangeKey, fence stmigrate.Fence, retry time.Duration, reason string,
) error {
	_, err := call(s, stepSettle, key, func() (nothing, error) {
		return nothing{}, s.store.SettleRevocation(ctx, key, fence, retry, reason)
	})
	return err
}

func (s *faultyStore) AbandonedClaims(ctx context.Context, since time.Duration, max int) ([]stmigrate.Claim, error) {
	return call(s, stepSweep, stmigrate.ExchangeKey{}, func() ([]stmigrate.Claim, error) {
		return s.store.AbandonedClaims(ctx, since, max)
	})
}
