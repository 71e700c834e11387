package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"time"
)

// options are what a run is asked for.
type options struct {
	Store    string // "postgres" or "redis"
	Clients  int
	Parallel int // clients at a time
	Nodes    int
	Faults   float64 // the chance of a fault at each step
	Kills    int     // nodes killed
	Pauses   int     // nodes stopped for longer than a lease
	Outages  int     // times that the core cannot be reached
	Restarts int     // crashes of the store
	Required bool    // RevokeRequired instead of RevokeBestEffort
	Lease    time.Duration
	Grace    time.Duration
	Shift    time.Duration // by which node 1's clock is off
	Patience time.Duration // of a client, once while calls fail and once when none does
	Slack    time.Duration // by which a busy machine may be late
	Timeout  time.Duration
	Seed     uint64
	Verbose  bool
}

func (o *options) flags(f *flag.FlagSet) {
	f.StringVar(&o.Store, "store", "postgres", "the exchange store: postgres or redis")
	f.IntVar(&o.Clients, "clients", 400, "browsers with a legacy session each")
	f.IntVar(&o.Parallel, "parallel", 100, "how many of them at a time")
	f.IntVar(&o.Nodes, "nodes", 3, "backend processes; the first one's clock is off")
	f.Float64Var(&o.Faults, "faults", 0.1, "the chance of a fault at each step, from 0 to 1")
	f.IntVar(&o.Kills, "kills", 12, "how often a node is killed")
	f.IntVar(&o.Pauses, "pauses", 2, "how often a node stands still for longer than a lease")
	f.IntVar(&o.Outages, "outages", 1, "how often the core cannot be reached")
	f.IntVar(&o.Restarts, "restarts", 1, "how often the store crashes and is started again")
	f.BoolVar(&o.Required, "required", false, "revoke before the exchange is finished (RevokeRequired)")
	f.DurationVar(&o.Lease, "lease", 2*time.Second, "Config.Lease")
	f.DurationVar(&o.Grace, "grace", 10*time.Minute, "Config.Grace: a client that was given no answer for that long has neither session")
	f.DurationVar(&o.Shift, "shift", 5*time.Minute, "how far off the first node's clock is")
	f.DurationVar(&o.Patience, "patience", 2*time.Minute, "how long a client tries: while calls fail, and again when none does")
	f.DurationVar(&o.Slack, "slack", time.Second, "how much longer than two leases an orphan may live, on a busy machine")
	f.DurationVar(&o.Timeout, "timeout", 15*time.Minute, "the end of everything")
	f.Uint64Var(&o.Seed, "seed", 0, "replays a plan; 0 draws one")
	f.BoolVar(&o.Verbose, "v", false, "show what the nodes and servers write")
}

func (o *options) check() error {
	switch {
	case o.Store != "postgres" && o.Store != "redis":
		return fmt.Errorf("-store %q is neither postgres nor redis", o.Store)
	case o.Clients < 1 || o.Nodes < 2 || o.Parallel < 1:
		return fmt.Errorf("-clients %d, -nodes %d, -parallel %d: at least 1, 2 and 1 expected", o.Clients, o.Nodes, o.Parallel)
	case o.Faults < 0 || o.Faults > 0.5:
		return fmt.Errorf("-faults %v: with more than one failure in two calls nothing ends; from 0 to 0.5 expected", o.Faults)
	case o.Lease < time.Second || o.Grace < 3*o.Lease:
		return fmt.Errorf("-lease %v, -grace %v: at least 1s, and three leases expected", o.Lease, o.Grace)
	}
	return nil
}

// dice draws every decision of a run from its seed. Each stream has numbers of its own, so that what happens in one does
// not change another.
type dice uint64

func (d dice) stream(name string, n ...int) *rand.Rand {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, name, n)
	return rand.New(rand.NewPCG(uint64(d), h.Sum64()))
}

// clientPlan is what one browser is and does.
type clientPlan struct {
	Tabs, Tokens int
	Cookies      bool // the tokens travel in cookies
	Key          bool // an Idempotency-Key goes with every request
	Asked        bool // nodes ask the issuer whether the legacy session lives, so a revoked one is found by Recall alone
	Patient      bool // waits as long as Retry-After says
	Uses         bool // calls an API and refreshes
	Again        bool // posts once more when it has its session
	SignsOut     bool // and comes back with its legacy token
	Stubborn     bool // the issuer refuses to revoke its session for good
}

func (d dice) client(n int, required bool) clientPlan {
	r := d.stream("client", n)
	one := func(in int) bool { return r.IntN(in) == 0 }
	p := clientPlan{
		Tabs: 1 + r.IntN(4), Tokens: 1 + r.IntN(2), Cookies: one(2), Key: one(3), Asked: one(3), Patient: one(4),
		Uses: one(2), Again: one(3), SignsOut: one(5), Stubborn: one(50),
	}
	// With RevokeRequired a refusal is the client's answer, and no dead letter.
	p.Stubborn = p.Stubborn && !required
	return p
}

// What befalls a run beside the faults at its steps.
const (
	kill    = "kill"
	pause   = "pause"
	outage  = "outage of the core"
	restart = "crash of the store"
)

// event is something that happens when client At is about to start.
type event struct {
	At   int
	Kind string
	Node int
	// Trap is the step after which it befalls the node, when the step is done and before the node can go on. "" is at once.
	Trap  string
	Lasts time.Duration
}

// traps are the steps at which a dying node leaves most behind.
var traps = []string{
	"", "", stepCreate, stepCreate, stepRemove, stepRevoke, stepFind, stepGet, stepClaim, stepFinish, stepFinish, stepSettle, stepDue,
}

func (d dice) events(o *options) []event {
	r := d.stream("events")
	var out []event
	add := func(n int, kind string, make func(i int) event) {
		for i := range n {
			e := make(i)
			e.Kind, e.At = kind, (2*i+1)*o.Clients/(2*n)
			if spread := o.Clients / n; spread > 1 {
				e.At += r.IntN(spread) - spread/2
			}
			out = append(out, e)
		}
	}
	add(o.Kills, kill, func(i int) event { return event{Node: i % o.Nodes, Trap: traps[r.IntN(len(traps))]} })
	add(o.Pauses, pause, func(i int) event {
		lasts := o.Lease + o.Lease*time.Duration(20+r.IntN(60))/100
		return event{Node: r.IntN(o.Nodes), Trap: []string{stepCreate, stepClaim, ""}[i%3], Lasts: lasts}
	})
	add(o.Outages, outage, func(int) event { return event{Lasts: o.Lease * time.Duration(50+r.IntN(100)) / 100} })
	add(o.Restarts, restart, func(int) event { return event{} })
	slices.SortStableFunc(out, func(a, b event) int { return a.At - b.At })
	return out
}

// fingerprint is the same for the same plan.
func (o *options) fingerprint() string {
	d, h := dice(o.Seed), fnv.New64a()
	enc := json.NewEncoder(h)
	for n := range o.Clients {
		_ = enc.Encode(d.client(n, o.Required))
	}
	_ = enc.Encode(d.events(o))
	for _, step := range []string{stepCreate, stepFinish} {
		for n := range 100 {
			_ = enc.Encode(d.fault(step, o.Faults, n))
		}
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// fault is what goes wrong at a step.
type fault string

const (
	none    fault = ""
	before  fault = "before"  // nothing is done, no answer
	refused fault = "refused" // nothing is done, and the answer says that it failed
	after   fault = "after"   // it is done, no answer
	late    fault = "late"    // no answer in time, and it is done in the end
)

// The steps at which a fault may happen. Those of the store are the node's, the others are behind it.
const (
	stepCreate  = "core create"
	stepRemove  = "core remove"
	stepGet     = "core get"
	stepFind    = "core find"
	stepVerify  = "core verify"
	stepRefresh = "core refresh"
	stepKeys    = "core keys"
	stepVersion = "core version"

	stepIssuerKeys = "issuer keys"
	stepAsk        = "issuer ask"
	stepRevoke     = "issuer revoke"

	stepClaim   = "store claim"
	stepFinish  = "store finish"
	stepRelease = "store release"
	stepRecall  = "store recall"
	stepPeek    = "store peek"
	stepNote    = "store note"
	stepDue     = "store due"
	stepSettle  = "store settle"
	stepSweep   = "store sweep"

	stepAnswer = "answer lost"
	stepLeave  = "client left"
)

// kinds are the faults of a step.
func kinds(step string) []fault {
	switch step {
	case stepCreate:
		return []fault{before, refused, after, after, late}
	case stepFinish:
		return []fault{before, after, late}
	case stepRevoke, stepRemove, stepRefresh:
		return []fault{before, refused, after}
	case stepGet, stepFind, stepVerify, stepKeys, stepVersion, stepIssuerKeys, stepAsk:
		return []fault{before, refused}
	}
	return []fault{before, after}
}

// fault decides what goes wrong the nth time that a step is taken.
func (d dice) fault(step string, chance float64, n ...int) fault {
	r := d.stream(step, n...)
	if r.Float64() >= chance {
		return none
	}
	k := kinds(step)
	return k[r.IntN(len(k))]
}
