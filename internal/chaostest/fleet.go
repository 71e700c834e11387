package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// fleet is the nodes' processes.
type fleet struct {
	opt     *options
	spawner *spawner
	ledger  *ledger
	cfg     nodeConfig // what all nodes have in common
	failed  context.CancelCauseFunc
	nodes   []*process
}

// process is a node in one life after the other.
type process struct {
	fleet *fleet
	id    int

	mu     sync.Mutex
	life   int
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	addr   string
	meant  bool // it was to die
	exited chan struct{}
	calm   chan struct{}
	caught chan struct{} // holds a value when the node is in the trap that was set last
}

const nodePatience = 3 * time.Minute

func (f *fleet) start(ctx context.Context) error {
	for i := range f.opt.Nodes {
		f.nodes = append(f.nodes, &process{fleet: f, id: i})
	}
	for _, p := range f.nodes {
		if err := p.start(ctx); err != nil {
			return err
		}
	}
	return nil
}

// start returns when the node serves.
func (p *process) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "node")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	said := &tail{w: p.fleet.spawner.verb}
	cmd.Stdout, cmd.Stderr = in, said
	err = p.fleet.spawner.start(cmd)
	_ = in.Close()
	if err != nil {
		_ = out.Close()
		return err
	}
	p.mu.Lock()
	p.cmd, p.stdin, p.addr, p.meant = cmd, stdin, "", false
	p.exited, p.calm = make(chan struct{}), make(chan struct{})
	cfg := p.fleet.cfg
	cfg.Node, cfg.Life = p.id, p.life
	exited, calm := p.exited, p.calm
	p.mu.Unlock()
	if p.id != 0 {
		cfg.Shift = 0
	}

	ready := make(chan string, 1)
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		defer func() { _ = out.Close() }()
		p.listen(out, ready, calm)
	}()
	go func() {
		err := cmd.Wait()
		<-heard
		p.mu.Lock()
		meant := p.meant
		p.addr = ""
		p.mu.Unlock()
		if !meant {
			p.fleet.failed(fmt.Errorf("node %d ended by itself: %w\n%s", p.id, err, said.text()))
		}
		close(exited)
	}()
	line, err := json.Marshal(cfg)
	if err != nil {
		return err
	}
	if _, err := stdin.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("node %d: %w\n%s", p.id, err, said.text())
	}
	select {
	case addr := <-ready:
		p.mu.Lock()
		defer p.mu.Unlock()
		p.addr = addr
		return nil
	case <-exited:
		return fmt.Errorf("node %d ended before it was ready\n%s", p.id, said.text())
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(nodePatience):
		return fmt.Errorf("node %d is not ready after %v\n%s", p.id, nodePatience, said.text())
	}
}

func (p *process) listen(out io.Reader, ready chan<- string, calm chan<- struct{}) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r report
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			continue // cut short by a kill
		}
		switch {
		case r.Ready != "":
			ready <- r.Ready
		case r.Calm:
			close(calm)
		case r.Waits:
			p.isCaught()
		case r.Count != "":
			p.fleet.ledger.count(r.Count)
		case r.Key != "":
			p.fleet.ledger.traceKey(r.Key, time.UnixMicro(r.At), r.Line)
		}
	}
}

// kill ends the node at once, whatever it is doing. It may be called from anywhere.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meant = true
	_ = p.cmd.Process.Kill()
}

// doom lets the node end, or wait until it is resumed, after a step of its own.
func (p *process) doom(what, step string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.meant = p.meant || what == tellDie
	_, _ = io.WriteString(p.stdin, what+step+"\n")
}

// gone is closed when the node's process has ended.
func (p *process) gone() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.exited
}

// reborn waits for the end of a node that was killed and starts the next life.
func (p *process) reborn(ctx context.Context) error {
	select {
	case <-p.gone():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	p.mu.Lock()
	p.life++
	p.mu.Unlock()
	return p.start(ctx)
}

// catching is for a new trap: it returns what isCaught will tell of.
func (p *process) catching() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.caught = make(chan struct{}, 1)
	return p.caught
}

func (p *process) isCaught() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case p.caught <- struct{}{}:
	default:
	}
}

// halt stops the node's process until resume. It may be called from anywhere.
func (p *process) halt() { p.signal(syscall.SIGSTOP) }

func (p *process) resume() {
	p.signal(syscall.SIGCONT)
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = io.WriteString(p.stdin, tellGoOn+"\n")
}

func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Signal(s)
}

func (p *process) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr
}

// calm ends the faults inside of all nodes.
func (f *fleet) calm(ctx context.Context) error {
	for _, p := range f.nodes {
		if _, err := io.WriteString(p.stdin, tellCalm+"\n"); err != nil {
			return fmt.Errorf("node %d: %w", p.id, err)
		}
	}
	for _, p := range f.nodes {
		select {
		case <-p.calm:
		case <-p.exited:
			return fmt.Errorf("node %d ended", p.id)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// stop kills all nodes.
func (f *fleet) stop() {
	for _, p := range f.nodes {
		if p.cmd == nil {
			continue
		}
		p.kill()
		<-p.exited
	}
}

// wait lets time pass.
func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// tail passes on what is written and keeps the last of it.
type tail struct {
	w  io.Writer
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if extra := len(t.b) - 16<<10; extra > 0 {
		t.b = t.b[extra:]
	}
	_, _ = t.w.Write(p)
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}

var errNoNode = errors.New("no node is up there")
