package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMain lets the nodes be this very program.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "node" {
		main()
		return
	}
	os.Exit(m.Run())
}

// needServer skips where a developer has not installed the store, and fails in CI.
func needServer(t *testing.T, store string) {
	t.Helper()
	if testing.Short() {
		t.Skip("takes minutes")
	}
	var err error
	switch store {
	case "postgres":
		_, err = postgresBin()
	case "redis":
		_, err = exec.LookPath("redis-server")
	}
	if err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	}
	require.NoError(t, err)
}

// small is a run that fits into a test.
func small(store string) *options {
	return &options{
		Store: store, Clients: 300, Parallel: 40, Nodes: 3, Faults: 0.1, Kills: 12, Pauses: 3, Outages: 1, Restarts: 2,
		Lease: 3 * time.Second, Grace: 10 * time.Minute, Shift: 5 * time.Minute, Patience: 3 * time.Minute, Slack: 30 * time.Second,
		Timeout: 14 * time.Minute,
	}
}

func TestExchangeUnderFaults(t *testing.T) {
	for _, store := range []string{"postgres", "redis"} {
		for _, required := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, required %v", store, required), func(t *testing.T) {
				needServer(t, store)
				opt := small(store)
				opt.Required = required
				if required {
					opt.Clients, opt.Kills = 200, 8
				}
				if os.Getenv("STMIGRATE_CHAOS") == "large" {
					opt.Clients, opt.Parallel, opt.Kills, opt.Pauses, opt.Outages, opt.Restarts = 10_000, 80, 200, 20, 10, 10
					opt.Timeout = time.Hour
				}
				var out bytes.Buffer
				code := run(opt, io.MultiWriter(&out, testLog{t}))
				require.Equal(t, exitOK, code)
				assert.Contains(t, out.String(), fmt.Sprintf("\n%-24s %d\n", kill, opt.Kills), "every node was killed that was to be")
			})
		}
	}
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Log(string(bytes.TrimRight(p, "\n")))
	return len(p), nil
}

// A run that finds nothing proves nothing unless it finds what is broken. Each of these finds it some twenty times, but on a machine
// that is so busy that most calls outlast their share of the lease, where next to no exchange comes to the point. There it is made
// again with leases that are longer.
func TestBrokenStoresAreFound(t *testing.T) {
	store := "redis"
	if _, err := exec.LookPath("redis-server"); err != nil {
		store = "postgres"
	}
	for tag, tt := range map[string]struct {
		found    string
		patience time.Duration
		flags    []string
	}{
		"chaos_nofence":   {"(second|dead) session", 40 * time.Second, []string{"-required", "-faults", "0.15", "-clients", "300"}},
		"chaos_nodeclock": {"orphan", 15 * time.Second, nil},
		"chaos_nooutbox":  {"not revoked", 40 * time.Second, nil},
	} {
		t.Run(tag, func(t *testing.T) {
			needServer(t, store)
			t.Parallel()
			binary := filepath.Join(t.TempDir(), "chaos")
			built, err := exec.Command("go", "build", "-tags", tag, "-o", binary, ".").CombinedOutput()
			require.NoError(t, err, string(built))
			found := regexp.MustCompile(`(?m)^  ` + tt.found + ` +[0-9]+$`)
			for _, pace := range []time.Duration{1, 4, 16} {
				flags := append([]string{"-store", store, "-clients", "200", "-kills", "8", "-timeout", "30m",
					"-lease", (pace * 2 * time.Second).String(), "-patience", (pace * tt.patience).String()}, tt.flags...)
				out, err := exec.CommandContext(t.Context(), binary, flags...).CombinedOutput()
				var exit *exec.ExitError
				if errors.As(err, &exit) {
					require.Equal(t, exitViolated, exit.ExitCode(), string(out))
				} else {
					require.NoError(t, err)
				}
				if found.Match(out) {
					return
				}
				t.Logf("nothing is found with a lease of %v:\n%s", pace*2*time.Second, out)
			}
			t.Error("it noticed nothing")
		})
	}
}

func TestSeedReplaysThePlan(t *testing.T) {
	plan := func(seed uint64) string {
		opt := small("postgres")
		opt.Seed = seed
		return opt.fingerprint()
	}
	assert.Equal(t, plan(1), plan(1))
	assert.NotEqual(t, plan(1), plan(2))
	assert.Equal(t, "6aa60c6d084b392b", plan(1), "a seed stands for another plan now; if that is meant, write it here")
}

func TestUsage(t *testing.T) {
	for name, change := range map[string]func(*options){
		"store":  func(o *options) { o.Store = "mysql" },
		"nodes":  func(o *options) { o.Nodes = 1 },
		"faults": func(o *options) { o.Faults = 0.9 },
		"grace":  func(o *options) { o.Grace = o.Lease },
	} {
		opt := small("redis")
		change(opt)
		assert.Equal(t, exitUsage, run(opt, io.Discard), name)
	}
}
