// Package pg gives tests a PostgreSQL: the one of the environment variable STMIGRATE_POSTGRES (a URL or key=value DSN of a user
// who may create databases), or else a throwaway server from the binaries on this machine, one for each test process.
//
// Without either a test is skipped, and fails where the environment variable CI is "true".
package pg

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/stmigrate/stmigrate/internal/ownaddr"
)

// Start returns the DSN of an empty database, which is dropped when the test ends.
func Start(tb testing.TB) (dsn string) {
	tb.Helper()
	root := os.Getenv("STMIGRATE_POSTGRES")
	if root == "" {
		s, err := shared()
		if err != nil {
			unavailable(tb, err)
		}
		root = s.DSN()
	}
	var random [8]byte
	_, _ = rand.Read(random[:])
	name := "stmigrate_test_" + hex.EncodeToString(random[:])
	exec := func(statement string) error {
		ctx, cancel := context.WithTimeout(context.Background(), forever)
		defer cancel()
		conn, err := pgx.Connect(ctx, root)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		_, err = conn.Exec(ctx, statement)
		return err
	}
	if err := exec("CREATE DATABASE " + name); err != nil {
		tb.Fatalf("making a test database: %v", err)
	}
	tb.Cleanup(func() {
		if err := exec("DROP DATABASE IF EXISTS " + name + " WITH (FORCE)"); err != nil {
			tb.Errorf("dropping the test database: %v", err)
		}
	})
	return withDatabase(root, name)
}

func withDatabase(dsn, name string) string {
	if u, err := url.Parse(dsn); err == nil && strings.HasPrefix(u.Scheme, "postgres") {
		u.Path = "/" + name
		return u.String()
	}
	return dsn + " dbname=" + name
}

// As is dsn with another user.
func As(dsn, user, password string) string {
	if u, err := url.Parse(dsn); err == nil && strings.HasPrefix(u.Scheme, "postgres") {
		u.User = url.UserPassword(user, password)
		return u.String()
	}
	return dsn + " user=" + user + " password=" + password
}

func unavailable(tb testing.TB, err error) {
	tb.Helper()
	if os.Getenv("CI") == "true" {
		tb.Fatalf("no PostgreSQL for this test: %v", err)
	}
	tb.Skipf("no PostgreSQL for this test: %v", err)
}

// Server is a PostgreSQL of the test's own, to be killed.
type Server struct {
	bin, dir string
	host     string
	port     int
	life     io.Closer // the server ends when it is closed, or collected as garbage
}

// NewServer starts a server that ends with the test. options are those of postgres ("-c", "wal_level=logical").
func NewServer(tb testing.TB, options ...string) *Server {
	tb.Helper()
	s, err := start(options...)
	if err != nil {
		unavailable(tb, err)
	}
	tb.Cleanup(func() { _ = s.life.Close() })
	return s
}

var shared = sync.OnceValues(func() (*Server, error) { return start() })

const superuser = "stmigrate"

// forever is for what ends, or hangs: no machine is that slow.
const forever = 10 * time.Minute

// start makes a server in a new directory. It ends with this process, however that ends: a shell waits for the end of a pipe
// of ours, and then stops the server and removes the directory.
func start(options ...string) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "stmigrate-pg-")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir}
	const reap = `cat >/dev/null; kill -QUIT "$(head -n 1 "$0/data/postmaster.pid")" 2>/dev/null
n=0; while [ -e "$0/data/postmaster.pid" ] && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done; rm -rf "$0"`
	reaper := exec.Command("sh", "-c", reap, dir)
	reaper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is not for it
	pipe, err := reaper.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := reaper.Start(); err != nil {
		return nil, err
	}
	s.life = pipe
	if err := s.init(options); err != nil {
		_ = pipe.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) init(options []string) error {
	if id := s.credential(); id != nil {
		if err := os.Chown(s.dir, int(id.Uid), int(id.Gid)); err != nil {
			return err
		}
	}
	if err := s.run("initdb", "-D", s.data(), "-U", superuser, "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"); err != nil {
		return err
	}
	var err error
	if s.host, s.port, err = ownaddr.Find(); err != nil {
		return err
	}
	// Connections are enough for the parallel tests of a machine with many processors.
	settings := fmt.Sprintf("port = %d\nlisten_addresses = '%s'\nunix_socket_directories = '%s'\nfsync = off\n"+
		"max_connections = 1000\nshared_buffers = 32MB\n", s.port, s.host, s.dir)
	for _, option := range options {
		settings += option + "\n"
	}
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(settings)
	return errors.Join(err, f.Close(), s.up())
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) up() error {
	patience := fmt.Sprint(int((forever / 2).Seconds()))
	return s.run("pg_ctl", "-D", s.data(), "-l", filepath.Join(s.dir, "log"), "-w", "-t", patience, "start")
}

// DSN is that of the database "postgres".
func (s *Server) DSN() string {
	return fmt.Sprintf("postgres://%s@%s:%d/postgres?sslmode=disable", superuser, s.host, s.port)
}

// Kill ends the server and its processes at once, as kill -9 does.
func (s *Server) Kill() {
	file, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	if err != nil {
		return
	}
	postmaster, err := strconv.Atoi(strings.SplitN(string(file), "\n", 2)[0])
	if err != nil {
		return
	}
	// Who serves a connection would go on for a moment without the postmaster.
	_ = syscall.Kill(postmaster, syscall.SIGSTOP)
	for _, pid := range children(postmaster) {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	_ = syscall.Kill(postmaster, syscall.SIGKILL)
}

// children finds the processes of a parent, where there is a /proc.
func children(parent int) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		stat, _ := os.ReadFile(path)
		// "pid (name) state ppid …", and a name may hold anything.
		after := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		if len(after) < 2 || after[1] != strconv.Itoa(parent) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Restart starts a server that was killed, which recovers from its log.
func (s *Server) Restart(tb testing.TB) {
	tb.Helper()
	var err error
	for range 600 { // what is left of the old one must have ended
		if err = s.up(); err == nil {
			return
		}
		<-time.After(100 * time.Millisecond)
	}
	tb.Fatalf("restarting PostgreSQL: %v", err)
}

// credential is whom to run the server as: PostgreSQL refuses root.
func (s *Server) credential() *syscall.Credential {
	if os.Getuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, uidErr := strconv.ParseUint(u.Uid, 10, 32)
		gid, gidErr := strconv.ParseUint(u.Gid, 10, 32)
		if uidErr == nil && gidErr == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	return nil
}

func (s *Server) run(program string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), forever)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.bin, program), args...)
	cmd.Dir = s.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.credential(), Setpgid: true}
	// A file and not a pipe: the server keeps what pg_ctl was given, and Wait would wait for it.
	out, err := os.Create(filepath.Join(s.dir, program+".out"))
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		said, _ := os.ReadFile(out.Name())
		return fmt.Errorf("%s: %w: %s", program, err, said)
	}
	return nil
}

// binaries finds the directory of initdb: in the PATH, or where Debian has the newest.
func binaries() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(path), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", errors.New("set STMIGRATE_POSTGRES, or install PostgreSQL: there is no initdb")
	}
	return filepath.Dir(slices.MaxFunc(found, func(a, b string) int { return major(a) - major(b) })), nil
}

func major(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}
