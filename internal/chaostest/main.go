// Command chaostest proves the exchange of legacy sessions under faults. It runs backend nodes as processes of their own on
// one real PostgreSQL or Redis, with a SuperTokens core and a legacy issuer behind them that outlive them, and browsers before
// them that have a legacy session each. Calls fail before or after their effect, answers are lost, nodes are killed and stand
// still, the core cannot be reached for a while, the store crashes, and one node's clock is off. In the end the core and the
// issuer are asked, not the nodes, whether
//
//   - every client that was given a session, and did not sign out, holds a live one that can be refreshed;
//   - for one legacy session the tokens of at most one session ever came out;
//   - no session that was minted and given to nobody is live after two leases;
//   - no client has neither its legacy session nor a new one;
//   - every legacy session whose exchange is finished is revoked, or a dead letter that says why.
//
// The seed decides what clients do, which call fails how, and who is killed when. It does not decide how processes interleave.
//
//	go run . -clients 10000 -kills 200 -faults 0.1 -store postgres -seed 7
//
// It ends with 0, with 3 where something was violated, with 2 where the flags are wrong, and with 1 where it could not run. The
// build tags chaos_nofence, chaos_nodeclock and chaos_nooutbox break the store on purpose; a run must notice. It needs Linux, and
// redis-server or PostgreSQL's server programs.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if len(os.Args) == 2 && os.Args[1] == "node" {
		if err := runNode(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	var opt options
	opt.flags(flag.CommandLine)
	flag.Parse()
	os.Exit(run(&opt, os.Stdout))
}

// What a run ends with.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitViolated = 3
)

func run(opt *options, out io.Writer) int {
	if err := opt.check(); err != nil {
		_, _ = fmt.Fprintln(out, err)
		return exitUsage
	}
	if opt.Seed == 0 {
		opt.Seed = mathrand.Uint64N(1 << 32)
	}
	_, _ = fmt.Fprintf(out, "seed %d, plan %s: %d clients, %d nodes on %s, faults %v, lease %v, grace %v, revocation required %v %s\n",
		opt.Seed, opt.fingerprint(), opt.Clients, opt.Nodes, opt.Store, opt.Faults, opt.Lease, opt.Grace, opt.Required, variant)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, opt.Timeout, fmt.Errorf("not done after %v", opt.Timeout))
	defer cancel()
	begin := time.Now()
	a, err := prove(ctx, opt, out)
	if err != nil {
		_, _ = fmt.Fprintln(out, "FAILED:", err)
		return exitFailed
	}
	a.report(out)
	_, _ = fmt.Fprintf(out, "took                     %v; replay with -seed %d\n", time.Since(begin).Round(time.Millisecond), opt.Seed)
	if len(a.violations) > 0 {
		return exitViolated
	}
	return exitOK
}

// prove sets the stage, lets it run and judges. An error means that it could not be played, and says nothing of the exchange.
func prove(ctx context.Context, opt *options, out io.Writer) (*audit, error) {
	ctx, failed := context.WithCancelCause(ctx)
	defer failed(nil)
	var verbose io.Writer = io.Discard
	if opt.Verbose {
		verbose = &lockedWriter{w: os.Stderr}
	}
	sp := newSpawner(verbose)
	srv, err := startServer(ctx, opt.Store, sp)
	if err != nil {
		return nil, err
	}
	defer srv.stop()
	ledger := newLedger()
	w, err := newWorld(opt, ledger)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if err := prepareStore(ctx, opt.Store, srv.dsn); err != nil {
		return nil, err
	}
	st, err := openStore(ctx, opt.Store, srv.dsn)
	if err != nil {
		return nil, err
	}
	secret := make([]byte, 32)
	_, _ = rand.Read(secret)
	f := &fleet{opt: opt, spawner: sp, ledger: ledger, failed: failed, cfg: nodeConfig{
		World: w.url, Issuer: w.issuer.Issuer(), Store: opt.Store, DSN: srv.dsn, Secret: secret, Seed: opt.Seed, Faults: opt.Faults,
		Lease: opt.Lease, Grace: opt.Grace, Shift: opt.Shift, Required: opt.Required,
	}}
	defer f.stop()
	if err := f.start(ctx); err != nil {
		return nil, err
	}
	s := &stage{opt: opt, world: w, fleet: f, server: srv, ledger: ledger, out: out}
	s.turn = sync.NewCond(&s.mu)
	clients, err := s.play(ctx)
	if err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(out, "clients done after       %v\n", time.Since(ledger.start).Round(time.Millisecond))
	w.heal()
	if err := f.calm(ctx); err != nil {
		return nil, err
	}
	a := &audit{opt: opt, world: w, ledger: ledger, store: st, clients: clients, calmed: time.Now()}
	a.late = s.unstick(ctx, clients)
	took, err := a.drain(ctx)
	if err != nil {
		return nil, err
	}
	_, _ = fmt.Fprintf(out, "drained after            %v\n", took.Round(time.Millisecond))
	return a, errors.Join(a.judge(ctx), context.Cause(ctx))
}

// stage lets clients come on, and what befalls them.
type stage struct {
	opt    *options
	world  *world
	fleet  *fleet
	server *server
	ledger *ledger
	out    io.Writer

	mu      sync.Mutex
	turn    *sync.Cond
	started int // clients
	past    int // events
	err     error
}

func (s *stage) play(ctx context.Context) ([]*client, error) {
	d := dice(s.opt.Seed)
	events := d.events(s.opt)
	transport := &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: 5 * time.Second}
	defer transport.CloseIdleConnections()
	clients := make([]*client, s.opt.Clients)
	for n := range clients {
		p := d.client(n, s.opt.Required)
		clients[n] = &client{
			clientPlan: p, n: n, opt: s.opt, fleet: s.fleet, ledger: s.ledger, http: &http.Client{Transport: transport},
			faulty: s.world.faulty.Load, legacy: s.world.signIn(n, p),
		}
	}
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.turn.Broadcast()
	})
	defer stop()
	var wg sync.WaitGroup
	wg.Go(func() { s.conduct(ctx, events) })
	places := make(chan struct{}, s.opt.Parallel)
	for n, c := range clients {
		places <- struct{}{}
		if !s.admit(ctx, n, events) {
			break
		}
		if n > 0 && n%1000 == 0 {
			_, _ = fmt.Fprintf(s.out, "%d clients after %v\n", n, time.Since(s.ledger.start).Round(time.Second))
		}
		wg.Go(func() {
			defer func() { <-places }()
			c.run(ctx)
		})
	}
	wg.Wait()
	return clients, errors.Join(s.err, context.Cause(ctx))
}

// unstick lets clients that were given no last word while calls failed try once more, and says how many these are. How far they
// come among faults depends on the machine; without them there is no excuse.
func (s *stage) unstick(ctx context.Context, clients []*client) (n int) {
	var wg sync.WaitGroup
	places := make(chan struct{}, calmParallel)
	for _, c := range clients {
		if !c.stuck {
			continue
		}
		n++
		places <- struct{}{}
		wg.Go(func() {
			defer func() { <-places }()
			c.run(ctx)
		})
	}
	wg.Wait()
	return n
}

// calmParallel is how many clients there are at a time when no call fails any more.
const calmParallel = 16

// admit lets client n start once all that was to happen well before it has happened.
func (s *stage) admit(ctx context.Context, n int, events []event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.past < len(events) && events[s.past].At+s.opt.Parallel/4 < n && ctx.Err() == nil && s.err == nil {
		s.turn.Wait()
	}
	s.started = n + 1
	s.turn.Broadcast()
	return ctx.Err() == nil && s.err == nil
}

// conduct makes the events happen, one after the other, each when its client is about to start.
func (s *stage) conduct(ctx context.Context, events []event) {
	for _, e := range events {
		s.mu.Lock()
		for s.started <= e.At && ctx.Err() == nil {
			s.turn.Wait()
		}
		s.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
		err := s.happen(ctx, e)
		s.mu.Lock()
		s.past++
		if err != nil {
			s.err = fmt.Errorf("%s: %w", e.Kind, err)
		}
		s.turn.Broadcast()
		s.mu.Unlock()
		if err != nil {
			return
		}
		s.ledger.count(e.Kind)
	}
}

// trapPatience is how long a node may not take the step at which it is to die; then it dies anyway.
const trapPatience = 2 * time.Second

// trap waits until the node has taken the step of e, at which it is killed or stopped. Where only the node knows of the step it ends
// itself there, or waits.
func (s *stage) trap(ctx context.Context, e event, p *process, what string, done <-chan struct{}, spring func()) {
	if e.Trap == "" {
		return
	}
	if strings.HasPrefix(e.Trap, "store ") {
		p.doom(what, e.Trap)
	} else {
		s.world.arm(&trap{step: e.Trap, node: e.Node, lost: what == tellDie, spring: spring})
		defer s.world.arm(nil)
	}
	select {
	case <-done:
		s.ledger.count(e.Kind + " after " + e.Trap)
	case <-time.After(trapPatience):
	case <-ctx.Done():
	}
}

func (s *stage) happen(ctx context.Context, e event) error {
	p := s.fleet.nodes[e.Node]
	switch e.Kind {
	case kill:
		s.trap(ctx, e, p, tellDie, p.gone(), p.kill)
		p.kill()
		return p.reborn(ctx)
	case pause:
		s.trap(ctx, e, p, tellWait, p.catching(), func() {
			p.halt()
			p.isCaught()
		})
		p.halt()
		wait(ctx, e.Lasts)
		p.resume()
	case outage:
		s.world.coreDown.Store(true)
		wait(ctx, e.Lasts)
		s.world.coreDown.Store(false)
	case restart:
		return s.server.restart()
	}
	return nil
}
