package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/stmigrate/stmigrate/internal/ownaddr"
)

// spawner starts processes that die with this one: the kernel kills them when the thread that started them ends, so that
// thread is kept.
type spawner struct {
	jobs chan func()
	verb io.Writer
}

func newSpawner(verbose io.Writer) *spawner {
	s := &spawner{jobs: make(chan func()), verb: verbose}
	go func() {
		runtime.LockOSThread()
		for job := range s.jobs {
			job()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig, cmd.SysProcAttr.Setpgid = syscall.SIGKILL, true
	done := make(chan error)
	s.jobs <- func() { done <- cmd.Start() }
	return <-done
}

// server is the store's server: a real process that can be crashed and started again on the same data and port.
type server struct {
	spawner *spawner
	command func() *exec.Cmd
	ready   string         // what it writes when it takes connections
	crash   syscall.Signal // ends it without a clean shutdown
	dsn     string
	dir     string

	cmd    *exec.Cmd
	exited chan struct{}
}

const serverPatience = 3 * time.Minute

// start returns when the server takes connections.
func (s *server) start() error {
	s.cmd = s.command()
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	s.cmd.Stdout, s.cmd.Stderr = in, in
	err = s.spawner.start(s.cmd)
	_ = in.Close()
	if err != nil {
		_ = out.Close()
		return fmt.Errorf("%s: %w", s.cmd.Path, err)
	}
	s.exited = make(chan struct{})
	cmd, exited := s.cmd, s.exited
	go func() {
		_ = cmd.Wait()
		close(exited)
	}()
	ready := make(chan error, 1)
	go func() {
		defer func() { _ = out.Close() }()
		var said []string
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			line := lines.Text()
			_, _ = fmt.Fprintln(s.spawner.verb, filepath.Base(cmd.Path)+": "+line)
			if strings.Contains(line, s.ready) {
				select {
				case ready <- nil:
				default:
				}
			}
			if len(said) < 50 {
				said = append(said, line)
			}
		}
		select {
		case ready <- fmt.Errorf("%s ended before it was ready:\n%s", cmd.Path, strings.Join(said, "\n")):
		default:
		}
	}()
	select {
	case err := <-ready:
		return err
	case <-time.After(serverPatience):
		return fmt.Errorf("%s is not ready after %v", s.cmd.Path, serverPatience)
	}
}

// restart crashes the server and starts it again.
func (s *server) restart() error {
	_ = syscall.Kill(s.cmd.Process.Pid, s.crash)
	select {
	case <-s.exited:
	case <-time.After(serverPatience):
		return fmt.Errorf("%s does not end", s.cmd.Path)
	}
	return s.start()
}

func (s *server) stop() {
	if s.exited != nil {
		// By its own signal, which lets PostgreSQL give its shared memory back.
		_ = syscall.Kill(s.cmd.Process.Pid, s.crash)
		select {
		case <-s.exited:
		case <-time.After(10 * time.Second):
		}
		_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
		<-s.exited
	}
	_ = os.RemoveAll(s.dir)
}

func startServer(ctx context.Context, store string, sp *spawner) (*server, error) {
	host, port, err := ownaddr.Find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "stmigrate-chaos-")
	if err != nil {
		return nil, err
	}
	s := &server{spawner: sp, dir: dir}
	switch store {
	case "postgres":
		err = s.postgres(ctx, host, port)
	case "redis":
		err = s.redis(host, port)
	}
	if err == nil {
		err = s.start()
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *server) redis(host string, port int) error {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return fmt.Errorf("the store redis needs redis-server: %w", err)
	}
	s.ready, s.crash = "Ready to accept connections", syscall.SIGKILL
	s.dsn = net.JoinHostPort(host, strconv.Itoa(port))
	s.command = func() *exec.Cmd {
		return exec.Command(path, "--port", strconv.Itoa(port), "--bind", host, "--dir", s.dir, "--save", "",
			"--appendonly", "yes", "--appendfsync", "always")
	}
	return nil
}

func (s *server) postgres(ctx context.Context, host string, port int) error {
	bin, err := postgresBin()
	if err != nil {
		return err
	}
	// The server refuses to run as root.
	var as *syscall.SysProcAttr
	if os.Geteuid() == 0 {
		u, err := user.Lookup("postgres")
		if err != nil {
			return fmt.Errorf("PostgreSQL does not run as root: %w", err)
		}
		uid, _ := strconv.Atoi(u.Uid)
		gid, _ := strconv.Atoi(u.Gid)
		if err := os.Chown(s.dir, uid, gid); err != nil {
			return err
		}
		as = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	data := filepath.Join(s.dir, "data")
	initdb := exec.CommandContext(ctx, filepath.Join(bin, "initdb"),
		"-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = as, s.dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	s.ready, s.crash = "database system is ready to accept connections", syscall.SIGQUIT
	s.dsn = fmt.Sprintf("postgres://postgres@%s:%d/postgres?sslmode=disable", host, port)
	s.command = func() *exec.Cmd {
		cmd := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-p", strconv.Itoa(port), "-k", s.dir,
			"-c", "listen_addresses="+host, "-c", "max_connections=200")
		cmd.Dir = s.dir
		if as != nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: as.Credential}
		}
		return cmd
	}
	return nil
}

// postgresBin finds the directory of the server's programs, which Debian keeps out of PATH.
func postgresBin() (string, error) {
	var dirs []string
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	debian, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	slices.Reverse(debian)
	dirs = append(append(dirs, debian...), filepath.SplitList(os.Getenv("PATH"))...)
	for _, dir := range dirs {
		if _, err := os.Stat(filepath.Join(dir, "initdb")); err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(dir, "postgres")); err == nil {
			return dir, nil
		}
	}
	return "", errors.New("the store postgres needs PostgreSQL's server programs: " +
		"neither pg_config, /usr/lib/postgresql nor PATH leads to initdb and postgres")
}

// lockedWriter lets several goroutines write lines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (l *lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}
