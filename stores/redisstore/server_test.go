package redisstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"net"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/ownaddr"
)

// server is a redis-server process of a test's own.
type server struct {
	addr   string
	args   []string
	cmd    *exec.Cmd
	exited chan struct{}
}

// startServer starts redis-server with an append-only file, and with args. It skips where there is none, but not in CI.
func startServer(t testing.TB, args ...string) *server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal("redis-server is not on the PATH, and CI must not skip these tests")
		}
		t.Skip("redis-server is not on the PATH")
	}
	dir := t.TempDir()
	host, port, err := ownaddr.Find()
	require.NoError(t, err)
	s := &server{addr: net.JoinHostPort(host, strconv.Itoa(port))}
	s.args = append([]string{
		"--port", strconv.Itoa(port), "--bind", host, "--cluster-announce-ip", host, "--save", "", "--appendonly", "yes", "--dir", dir,
		"--repl-diskless-sync-delay", "0",
	}, args...)
	t.Cleanup(func() { s.end(t, syscall.SIGKILL) })
	s.start(t)
	return s
}

// start starts the process and waits until it serves.
func (s *server) start(t testing.TB) {
	t.Helper()
	s.cmd, s.exited = exec.Command("redis-server", s.args...), make(chan struct{})
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	said := new(bytes.Buffer)
	s.cmd.Stdout, s.cmd.Stderr = said, said
	require.NoError(t, s.cmd.Start())
	go func(cmd *exec.Cmd, exited chan<- struct{}) {
		_ = cmd.Wait() // for all that can write to said: its children, too, which write files of theirs
		close(exited)
	}(s.cmd, s.exited)
	ctx, cancel := context.WithTimeout(t.Context(), forever)
	defer cancel()
	for c := s.client(t); c.Ping(ctx).Err() != nil; {
		select {
		case <-s.exited:
			t.Fatalf("redis-server ended by itself:\n%s", said)
		case <-ctx.Done():
			t.Fatal("redis-server does not answer")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// end ends the process: as an orderly shutdown does, with SIGTERM, or as a crash does, with SIGKILL, its children with it.
func (s *server) end(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if s.cmd == nil {
		return
	}
	if sig == syscall.SIGKILL {
		_ = syscall.Kill(-s.cmd.Process.Pid, sig)
	} else {
		s.signal(t, sig)
	}
	<-s.exited
	s.cmd = nil
}

func (s *server) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	assert.NoError(t, s.cmd.Process.Signal(sig))
}

func (s *server) client(t testing.TB, change ...func(*redis.Options)) *redis.Client {
	t.Helper()
	return newClient(t, s.addr, change...)
}

func newClient(t testing.TB, addr string, change ...func(*redis.Options)) *redis.Client {
	t.Helper()
	// Its own timeouts never come: a call ends with its context, and what has none waits for a server that is slow.
	o := &redis.Options{
		Addr: addr, ContextTimeoutEnabled: true, DialTimeout: never, ReadTimeout: never, WriteTimeout: never, PoolTimeout: never,
	}
	for _, f := range change {
		f(o)
	}
	c := redis.NewClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// givenOrStarted is a client of the server that STMIGRATE_REDIS names, or else of a new one.
func givenOrStarted(t *testing.T) redis.UniversalClient {
	t.Helper()
	if addr := os.Getenv("STMIGRATE_REDIS"); addr != "" {
		return newClient(t, addr)
	}
	return startServer(t).client(t)
}

// startCluster starts three masters that share the slots.
func startCluster(t *testing.T) *redis.ClusterClient {
	t.Helper()
	ctx := t.Context()
	var addrs []string
	var nodes []*redis.Client
	for i := range 3 {
		s := startServer(t, "--cluster-enabled", "yes", "--cluster-node-timeout", "60000")
		node := s.client(t)
		require.NoError(t, node.ClusterAddSlotsRange(ctx, i*5462, min(i*5462+5461, 16383)).Err())
		require.NoError(t, node.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1).Err())
		if i > 0 {
			host, port, _ := net.SplitHostPort(addrs[0])
			require.NoError(t, node.ClusterMeet(ctx, host, port).Err())
		}
		addrs, nodes = append(addrs, s.addr), append(nodes, node)
	}
	for _, node := range nodes {
		require.Eventually(t, func() bool {
			info := parseInfo(node.ClusterInfo(ctx).Val())
			return info["cluster_state"] == "ok" && info["cluster_known_nodes"] == "3" && info["cluster_size"] == "3"
		}, forever, 20*time.Millisecond)
	}
	return newClusterClient(t, addrs)
}

func newClusterClient(t testing.TB, addrs []string, change ...func(*redis.ClusterOptions)) *redis.ClusterClient {
	t.Helper()
	o := &redis.ClusterOptions{
		Addrs: addrs, ContextTimeoutEnabled: true, DialTimeout: never, ReadTimeout: never, WriteTimeout: never, PoolTimeout: never,
	}
	for _, f := range change {
		f(o)
	}
	c := redis.NewClusterClient(o)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// open returns an empty store: one under a prefix of its own.
func open(t testing.TB, c redis.UniversalClient, change ...func(*Config)) *Store {
	t.Helper()
	cfg := Config{Client: c, Prefix: "test-" + hex.EncodeToString(random(8))}
	for _, f := range change {
		f(&cfg)
	}
	s, err := New(t.Context(), cfg)
	require.NoError(t, err)
	return s
}

// forever is for what happens at once, or never: no machine is that slow.
const forever = 2 * time.Minute

// never is for what must not come before the end of the test.
const never = time.Hour

// advance puts the clock forward for one store: whatever it has written was written that much earlier.
func advance(t testing.TB, s *Store, d time.Duration) {
	t.Helper()
	require.NoError(t, shift.Run(t.Context(), s.client, []string{s.root + "format"}, s.root, d.Milliseconds(), d.Microseconds()).Err())
}

var shift = redis.NewScript(`
local root, d = ARGV[1], tonumber(ARGV[2])
for _, key in ipairs(redis.call('KEYS', root .. '*')) do
  local name, ttl = string.sub(key, #root + 1), redis.call('PTTL', key)
  if ttl >= 0 then redis.call('PEXPIRE', key, ttl - d) end
  if ttl >= 0 and ttl <= d then
    -- the server has erased it
  elseif string.sub(name, 1, 2) == 'e:' then
    for _, time in ipairs({'k', 'l'}) do
      if redis.call('HEXISTS', key, time) == 1 then redis.call('HINCRBY', key, time, -d) end
    end
  elseif name == 'held' or name == 'due' then
    for _, member in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZINCRBY', key, -d, member) end
  elseif string.sub(name, 1, 2) == 'b:' then
    redis.call('SET', key, redis.call('GET', key) - tonumber(ARGV[3]), 'KEEPTTL')
  end
end
return 1`)

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// claimOf is a claim of a session by name, shown by a token of that name.
func claimOf(session string) stmigrate.Claim {
	c := stmigrate.Claim{User: "public|user-of-" + session, Lease: time.Hour / 2, KeepFor: time.Hour}
	copy(c.Key[:], "session "+session)
	copy(c.Shown[:], "token "+session)
	copy(c.Fence[:], random(16))
	return c
}

func held(t *testing.T, s *Store, c stmigrate.Claim) stmigrate.Claimed {
	t.Helper()
	got, err := s.Claim(t.Context(), c)
	require.NoError(t, err)
	require.Equal(t, stmigrate.ClaimHeld, got.State)
	return got
}

func finish(t *testing.T, s *Store, c stmigrate.Claim, f stmigrate.Finished) {
	t.Helper()
	require.NoError(t, s.Finish(t.Context(), c.Key, c.Fence, f))
}

// answer is a finish with all there may be.
func answer() stmigrate.Finished {
	return stmigrate.Finished{
		Handle: "handle", Sealed: []byte("sealed\x00answer"), SealedFor: time.Hour / 2, KeepFor: time.Hour, Revocation: []byte("sealed\x00job"),
	}
}

// within is a context that is over soon.
func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// methods calls every method of a store once. What it claims is c's.
func methods(s *Store, c stmigrate.Claim) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"Claim":   func(ctx context.Context) error { _, err := s.Claim(ctx, c); return err },
		"Finish":  func(ctx context.Context) error { return s.Finish(ctx, c.Key, c.Fence, answer()) },
		"Release": func(ctx context.Context) error { return s.Release(ctx, c.Key, c.Fence, true) },
		"Recall":  func(ctx context.Context) error { _, err := s.Recall(ctx, c.Shown); return err },
		"Peek":    func(ctx context.Context) error { _, err := s.Peek(ctx, c.Key); return err },
		"Note":    func(ctx context.Context) error { return s.Note(ctx, c.Key, c.Fence, []byte("note")) },
		"DueRevocations": func(ctx context.Context) error {
			_, err := s.DueRevocations(ctx, 10, time.Minute)
			return err
		},
		"SettleRevocation": func(ctx context.Context) error { return s.SettleRevocation(ctx, c.Key, c.Fence, 0, "") },
		"DeadRevocations": func(ctx context.Context) error {
			_, err := s.DeadRevocations(ctx, stmigrate.ExchangeKey{}, 10)
			return err
		},
		"ReplayRevocation": func(ctx context.Context) error { return s.ReplayRevocation(ctx, c.Key) },
		"DropRevocation":   func(ctx context.Context) error { return s.DropRevocation(ctx, c.Key) },
		"TakeBudget": func(ctx context.Context) error {
			_, _, err := s.TakeBudget(ctx, "https://issuer.example", 1, stmigrate.RevocationBudget{Calls: 1000, Per: time.Minute})
			return err
		},
		"PauseBudget":     func(ctx context.Context) error { return s.PauseBudget(ctx, "https://issuer.example", time.Millisecond) },
		"AbandonedClaims": func(ctx context.Context) error { _, err := s.AbandonedClaims(ctx, 0, 10); return err },
		"CloseEpoch":      func(ctx context.Context) error { return s.CloseEpoch(ctx, "wave 0") },
		"EpochExchanges": func(ctx context.Context) error {
			_, err := s.EpochExchanges(ctx, "wave 1", stmigrate.ExchangeKey{}, 10)
			return err
		},
		"ForgetExchange": func(ctx context.Context) error { return s.ForgetExchange(ctx, c.Key, c.Fence) },
	}
}
