package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/coreemu"
)

// violation is something that must not be.
type violation struct {
	client int
	text   string
}

// audit asks the core and the issuer, and compares with what clients were given.
type audit struct {
	opt     *options
	world   *world
	ledger  *ledger
	store   store
	clients []*client
	calmed  time.Time // when faults ended
	late    int       // clients that had no last word by then

	dead       map[string]string // exchange key: reason
	live       map[string]coreemu.SessionState
	violations []violation
}

func (a *audit) violate(client int, format string, args ...any) {
	a.violations = append(a.violations, violation{client, fmt.Sprintf(format, args...)})
}

// read takes a picture of the far sides and of the dead letters.
func (a *audit) read(ctx context.Context) error {
	dead := map[string]string{}
	var last stmigrate.ExchangeKey
	for {
		page, err := a.store.DeadRevocations(ctx, last, 100)
		if err != nil {
			return fmt.Errorf("reading the dead letters: %w", err)
		}
		if len(page) == 0 {
			break
		}
		for _, d := range page {
			dead[hex.EncodeToString(d.Key[:])] = d.Reason
		}
		last = page[len(page)-1].Key
	}
	live := map[string]coreemu.SessionState{}
	for _, s := range a.world.core.Sessions() {
		live[s.Handle] = s
	}
	a.dead, a.live = dead, live
	return nil
}

// deadReason is why the revocation of a client's legacy session was given up.
func (a *audit) deadReason(client int) (string, bool) {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	for _, m := range a.ledger.byUser[client] {
		if reason, ok := a.dead[m.marker]; ok {
			return reason, true
		}
	}
	return "", false
}

func (a *audit) revoked(client int) bool { return a.world.issuer.Revoked(fmt.Sprint("sid-", client)) }

// finished tells whether the client's exchange came to its end: tokens came out.
func (a *audit) finished(client int) bool {
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	return len(a.ledger.wire[client]) > 0
}

// orphan tells whether a live session was minted by an exchange and is no client's.
func (a *audit) orphan(s coreemu.SessionState) bool {
	client := clientOf(s.UserID)
	mine := client >= 0 && client < len(a.clients) && a.clients[client].session().handle == s.Handle
	return s.Data[stmigrate.SessionMarker] != nil && !mine
}

// orphanLife is how long a session that was given to nobody may live while nothing fails.
func (a *audit) orphanLife() time.Duration { return 2*a.opt.Lease + a.opt.Slack }

// due counts what is still to be done in the background.
func (a *audit) due() (revocations, orphans int) {
	for _, c := range a.clients {
		if _, dead := a.deadReason(c.n); a.finished(c.n) && !a.revoked(c.n) && !dead {
			revocations++
		}
	}
	for _, s := range a.live {
		if a.orphan(s) {
			orphans++
		}
	}
	return revocations, orphans
}

// drainBound is how long what is due in the background may take when nothing fails any more. A revocation that failed often
// waits for long before its next attempt.
func (a *audit) drainBound() time.Duration { return 10*a.opt.Lease + 10*a.opt.Slack }

// drain waits until nothing is due any more, or for as long as it may take.
func (a *audit) drain(ctx context.Context) (took time.Duration, err error) {
	begun := time.Now()
	for {
		if err := a.read(ctx); err != nil {
			return 0, err
		}
		took = time.Since(a.calmed)
		revocations, orphans := a.due()
		waited := time.Since(begun)
		if revocations == 0 && (orphans == 0 || waited > a.orphanLife()) || waited > a.drainBound() || ctx.Err() != nil {
			return took, context.Cause(ctx)
		}
		wait(ctx, 500*time.Millisecond)
	}
}

// judge finds what must not be. Faults are over, so each client can be asked to use what it has.
func (a *audit) judge(ctx context.Context) error {
	if err := a.read(ctx); err != nil {
		return err
	}
	a.judgeOrphans()
	for _, c := range a.clients {
		a.judgeClient(c)
	}
	// Last, since it changes what is asked before.
	var wg sync.WaitGroup
	var mu sync.Mutex
	turn := make(chan struct{}, calmParallel)
	for _, c := range a.clients {
		if c.session().handle == "" || c.signedOut {
			continue
		}
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			r := dice(a.opt.Seed).stream("judge", c.n)
			said, ok := c.api(ctx, r)
			if ok && said.status == http.StatusOK {
				said, ok = c.refresh(ctx, r)
			}
			if !ok || said.status != http.StatusOK {
				mu.Lock()
				defer mu.Unlock()
				a.violate(c.n, "dead session: the client holds %s, and the last of access, refresh and access was answered %d %s",
					c.session().handle, said.status, said.word)
			}
		})
	}
	wg.Wait()
	return ctx.Err()
}

// judgeOrphans looks for sessions that were given to nobody and lived for too long after the last fault.
func (a *audit) judgeOrphans() {
	now := time.Now()
	for handle, s := range a.live {
		if age := now.Sub(s.CreatedAt); a.orphan(s) && age > a.orphanLife() {
			a.violate(clientOf(s.UserID), "orphan: the session %s is live after %v, and no client holds it", handle,
				age.Round(time.Millisecond))
		}
	}
	a.ledger.mu.Lock()
	defer a.ledger.mu.Unlock()
	for handle, m := range a.ledger.minted {
		since := m.created
		if a.calmed.After(since) {
			since = a.calmed
		}
		if _, out := a.ledger.wire[m.client][handle]; !out && m.ended.Sub(since) > a.orphanLife() {
			a.violate(m.client, "orphan: the session %s was given to nobody and ended %v after the last fault", handle,
				m.ended.Sub(since).Round(time.Millisecond))
		}
	}
}

func (a *audit) judgeClient(c *client) {
	have := c.session().handle
	_, live := a.live[have]
	switch {
	case have != "" && !c.signedOut && !live:
		a.violate(c.n, "dead session: the client was given %s, did not sign out, and the core has it no more", have)
	case c.signedOut && live:
		a.violate(c.n, "signed out: the session %s lives on", have)
	}
	a.ledger.mu.Lock()
	given := slices.Sorted(maps.Keys(a.ledger.wire[c.n]))
	a.ledger.mu.Unlock()
	if len(given) > 1 {
		a.violate(c.n, "second session: tokens of %d sessions came out for one legacy session: %s", len(given), strings.Join(given, ", "))
	}
	if have == "" {
		switch {
		case c.stuck:
			a.violate(c.n, "no end: no last word, though nothing failed for %v; the legacy session is revoked: %v", a.opt.Patience,
				a.revoked(c.n))
		case a.revoked(c.n):
			a.violate(c.n, "neither: the legacy session is revoked, the client has no session and was told %v", c.finals)
		default:
			a.violate(c.n, "neither: the client has no session and was told %v; its legacy session lives", c.finals)
		}
	}
	if reason, dead := a.deadReason(c.n); a.finished(c.n) && !a.revoked(c.n) {
		switch {
		case !dead:
			a.violate(c.n, "not revoked: the exchange is finished, and the legacy session is neither revoked nor among the dead letters")
		case reason == "":
			a.violate(c.n, "not revoked: the dead letter of the legacy session says no reason")
		}
	}
	for _, text := range c.wrong {
		a.violate(c.n, "wrong answer: %s", text)
	}
}

// shown is how many violations are printed with their traces.
const shown = 10

func (a *audit) report(w io.Writer) {
	p := func(format string, args ...any) { _, _ = fmt.Fprintf(w, format+"\n", args...) }
	counts := a.ledger.counted()
	held, signedOut, revoked := 0, 0, 0
	for _, c := range a.clients {
		if c.session().handle != "" {
			held++
		}
		if c.signedOut {
			signedOut++
		}
		if a.revoked(c.n) {
			revoked++
		}
	}
	a.ledger.mu.Lock()
	minted, neverOut, long, longest := len(a.ledger.minted), 0, 0, time.Duration(0)
	for _, m := range a.ledger.minted {
		if _, out := a.ledger.wire[m.client][m.handle]; !out {
			neverOut++
			if !m.ended.IsZero() {
				life := m.ended.Sub(m.created)
				longest = max(longest, life)
				if life > 2*a.opt.Lease {
					long++
				}
			}
		}
	}
	a.ledger.mu.Unlock()
	p("clients                  %d (%d got a session, %d of them signed out)", len(a.clients), held, signedOut)
	p("still asking             %d (when the last fault was over)", a.late)
	p("sessions minted          %d (%d never given out, of which %d lived longer than two leases while calls failed, at most %v)",
		minted, neverOut, long, longest.Round(time.Millisecond))
	p("exchanges, as nodes say  %d migrated, %d replayed, %d current",
		counts["exchange migrated"], counts["exchange replayed"], counts["exchange current"])
	p("suspect claims           %d", counts["suspects"])
	p("orphans ended            %d", counts["orphans ended"])
	p("legacy sessions revoked  %d (%d calls)", revoked, counts["revocations"])
	p("dead letters             %d", len(a.dead))
	for _, kind := range []string{kill, pause, outage, restart} {
		p("%-24s %d", kind, counts[kind])
	}
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		if strings.HasPrefix(what, kill+" after ") || strings.HasPrefix(what, pause+" after ") {
			p("  %-22s %d", what, counts[what])
		}
	}
	total := 0
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		if name, ok := strings.CutPrefix(what, "fault "); ok {
			p("  fault: %-25s %d", name, counts[what])
			total += counts[what]
		}
	}
	p("faults                   %d", total)
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		if name, ok := strings.CutPrefix(what, "exchange "); ok && strings.ToUpper(name) == name {
			p("  answered %-23s %d", name, counts[what])
		}
	}
	p("violations               %d", len(a.violations))
	kinds := map[string]int{}
	for _, v := range a.violations {
		kind, _, _ := strings.Cut(v.text, ":")
		kinds[kind]++
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		p("  %-26s %d", kind, kinds[kind])
	}
	for i, v := range a.violations {
		if i == shown {
			p("… and %d more", len(a.violations)-shown)
			break
		}
		p("\nVIOLATION, client %d: %s", v.client, v.text)
		if v.client >= 0 && v.client < len(a.clients) {
			p("  plan: %+v", a.clients[v.client].clientPlan)
		}
		for _, line := range slices.Sorted(slices.Values(a.ledger.tracesOf(v.client))) {
			p("  %s", line)
		}
	}
}
