package redisstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
)

// unavailableInTime has a call end with its context.
func unavailableInTime(t *testing.T, what string, call func(ctx context.Context) error) {
	t.Helper()
	start := time.Now()
	err := call(within(t, time.Second/2))
	assert.Less(t, time.Since(start), forever, what)
	assert.ErrorIs(t, err, stmigrate.ErrUnavailable, what)
}

func TestServerThatHangs(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	s, c := open(t, srv.client(t)), claimOf("a")
	cold := *s
	cold.client = srv.client(t)
	held(t, s, c)
	srv.signal(t, syscall.SIGSTOP)
	for name, call := range methods(s, c) {
		unavailableInTime(t, name, call)
	}
	unavailableInTime(t, "without a connection yet", methods(&cold, c)["Claim"])
	unavailableInTime(t, "New", func(ctx context.Context) error {
		_, err := New(ctx, Config{Client: srv.client(t)})
		return err
	})
	srv.signal(t, syscall.SIGCONT)
	held(t, s, c)
}

func TestServerThatIsGone(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	s, c := open(t, srv.client(t)), claimOf("a")
	held(t, s, c)
	srv.end(t, syscall.SIGKILL)
	for name, call := range methods(s, c) {
		unavailableInTime(t, name, call)
	}
	unavailableInTime(t, "New", func(ctx context.Context) error {
		_, err := New(ctx, Config{Client: srv.client(t)})
		return err
	})
}

// TestDialThatHangs: a host that drops packets answers nothing at all.
func TestDialThatHangs(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	s := open(t, srv.client(t))
	gone := make(chan struct{})
	s.client = srv.client(t, func(o *redis.Options) {
		o.Dialer = func(context.Context, string, string) (net.Conn, error) { // deaf to its context
			<-gone
			return nil, errors.New("gone")
		}
	})
	t.Cleanup(func() { close(gone) })
	unavailableInTime(t, "Claim", methods(s, claimOf("a"))["Claim"])
}

// TestSlotThatNobodyHas: a cluster that lost a master answers so.
func TestSlotThatNobodyHas(t *testing.T) {
	t.Parallel()
	c := startCluster(t)
	s := open(t, c)
	held(t, s, claimOf("a"))
	require.NoError(t, c.ForEachMaster(t.Context(), func(ctx context.Context, master *redis.Client) error {
		slot, err := master.ClusterKeySlot(ctx, s.root).Result()
		if err != nil {
			return err
		}
		_ = master.ClusterDelSlots(ctx, int(slot)).Err() // an error where it is not known any more
		return nil
	}))
	for _, name := range []string{"Claim", "Finish", "Peek", "TakeBudget"} {
		unavailableInTime(t, name, methods(s, claimOf("a"))[name])
	}
}

// TestSlotThatMoves: while the keys of a store are on two nodes of a cluster, none of them tells the whole truth.
func TestSlotThatMoves(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	cluster := startCluster(t)
	s := open(t, cluster)
	c := finished(t, s, "a", func(c *stmigrate.Claim, _ *stmigrate.Finished) { c.Epoch = "wave 1" })
	left := claimOf("left")
	left.Lease = time.Millisecond
	held(t, s, left)

	source, err := cluster.MasterForKey(ctx, s.root)
	require.NoError(t, err)
	slot := source.ClusterKeySlot(ctx, s.root).Val()
	addrs := cluster.Options().Addrs
	target := newClient(t, addrs[(slices.Index(addrs, source.Options().Addr)+1)%len(addrs)])
	from, to := source.Do(ctx, "CLUSTER", "MYID").Val(), target.Do(ctx, "CLUSTER", "MYID").Val()
	require.NoError(t, target.Do(ctx, "CLUSTER", "SETSLOT", slot, "IMPORTING", from).Err())
	require.NoError(t, source.Do(ctx, "CLUSTER", "SETSLOT", slot, "MIGRATING", to).Err())
	host, port, err := net.SplitHostPort(target.Options().Addr)
	require.NoError(t, err)
	refused := func(when string) {
		t.Helper()
		for name, call := range methods(s, c) {
			assert.ErrorIs(t, call(within(t, 3*time.Second)), stmigrate.ErrUnavailable, when+": "+name)
		}
	}
	move := func(keys ...string) {
		t.Helper()
		for _, k := range keys {
			require.NoError(t, source.Do(ctx, "MIGRATE", host, port, k, 0, forever.Milliseconds()).Err())
		}
	}
	refused("nothing has moved")
	// All that the scripts name beforehand is over there, and the entries are not.
	move(s.root+"format", s.root+"due", s.root+"held", s.root+"x:wave 1", s.root+"s:"+string(c.Shown[:]))
	refused("the indexes have moved")
	for _, k := range source.ClusterGetKeysInSlot(ctx, int(slot), 100).Val() {
		move(k)
	}
	for _, node := range []*redis.Client{target, source} {
		require.NoError(t, node.Do(ctx, "CLUSTER", "SETSLOT", slot, "NODE", to).Err())
	}
	got, err := s.Recall(ctx, c.Shown)
	require.NoError(t, err)
	assert.Equal(t, stmigrate.ClaimDone, got.State)
	assert.Len(t, due(t, s, 10, time.Minute), 1)
	claims, err := s.AbandonedClaims(ctx, 0, 10)
	require.NoError(t, err)
	assert.Len(t, claims, 1)
	exchanges, err := s.EpochExchanges(ctx, "wave 1", stmigrate.ExchangeKey{}, 10)
	require.NoError(t, err)
	assert.Len(t, exchanges, 1)
}

func TestRestart(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for name, sig := range map[string]syscall.Signal{"orderly": syscall.SIGTERM, "crash": syscall.SIGKILL} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			srv := startServer(t, "--appendfsync", "always")
			s := open(t, srv.client(t))
			c := finished(t, s, "a", func(c *stmigrate.Claim, _ *stmigrate.Finished) { c.Epoch = "wave" })
			busy := claimOf("busy")
			held(t, s, busy)
			require.NoError(t, s.Note(ctx, busy.Key, busy.Fence, []byte("note")))
			require.NoError(t, s.CloseEpoch(ctx, "closed"))
			j := oneDue(t, s, time.Minute)
			require.NoError(t, s.PauseBudget(ctx, "x", time.Hour))
			srv.end(t, sig)
			srv.start(t)

			got, err := s.Claim(ctx, claimOf("a"))
			require.NoError(t, err)
			assert.Equal(t, stmigrate.Claimed{State: stmigrate.ClaimDone, User: c.User, Handle: "handle", Sealed: answer().Sealed}, got)
			got, err = s.Claim(ctx, claimOf("busy"))
			require.NoError(t, err)
			assert.Equal(t, stmigrate.ClaimBusy, got.State)
			got, err = s.Recall(ctx, busy.Shown)
			require.NoError(t, err)
			assert.Equal(t, []byte("note"), got.Note)
			require.NoError(t, s.SettleRevocation(ctx, j.Key, j.Fence, 0, ""))
			closed := claimOf("new")
			closed.Epoch = "closed"
			got, err = s.Claim(ctx, closed)
			require.NoError(t, err)
			assert.Equal(t, stmigrate.ClaimClosed, got.State)
			n, _, err := s.TakeBudget(ctx, "x", 1, stmigrate.RevocationBudget{Calls: 1, Per: time.Second})
			require.NoError(t, err)
			assert.Zero(t, n)
		})
	}
}

// TestServerThatForgot: whoever saw the store before knows that it is not empty, but lost.
func TestServerThatForgot(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	s, c := open(t, srv.client(t)), claimOf("a")
	held(t, s, c)
	require.NoError(t, srv.client(t).FlushAll(t.Context()).Err())
	for name, call := range methods(s, c) {
		err := call(t.Context())
		assert.ErrorIs(t, err, stmigrate.ErrUnavailable, name)
		assert.ErrorContains(t, err, "has lost", name)
	}
}

func TestServerThatIsFull(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	srv := startServer(t)
	admin := srv.client(t)
	s := open(t, admin)
	c := finished(t, s, "done")
	j := oneDue(t, s, time.Minute)
	mine := claimOf("mine")
	mine.Epoch = "wave"
	held(t, s, mine)
	before := dump(t, admin)
	require.NoError(t, admin.ConfigSet(ctx, "maxmemory", "1").Err())

	_, err := s.Claim(ctx, claimOf("new"))
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	assert.ErrorContains(t, err, "OOM")
	for what, err := range map[string]error{
		"Finish":          s.Finish(ctx, mine.Key, mine.Fence, answer()),
		"Note":            s.Note(ctx, mine.Key, mine.Fence, []byte("note")),
		"Release suspect": s.Release(ctx, mine.Key, mine.Fence, true),
		"Settle to retry": s.SettleRevocation(ctx, j.Key, j.Fence, time.Second, ""),
		"Settle as dead":  s.SettleRevocation(ctx, j.Key, j.Fence, 0, "reason"),
		"CloseEpoch":      s.CloseEpoch(ctx, "wave"),
		"PauseBudget":     s.PauseBudget(ctx, "x", time.Second),
	} {
		assert.ErrorIs(t, err, stmigrate.ErrUnavailable, what)
	}
	assert.Equal(t, before, dump(t, admin), "what is refused changes nothing")
	got, err := s.Recall(ctx, c.Shown)
	require.NoError(t, err)
	assert.Equal(t, answer().Sealed, got.Sealed, "what is there can be read")
	require.NoError(t, s.SettleRevocation(ctx, j.Key, j.Fence, 0, ""), "what frees memory goes on")
	other := claimOf("mine")
	busy, err := s.Claim(ctx, other)
	require.NoError(t, err)
	assert.Equal(t, stmigrate.ClaimBusy, busy.State)

	require.NoError(t, admin.ConfigSet(ctx, "maxmemory", "0").Err())
	finish(t, s, mine, answer())
	held(t, s, claimOf("new"))
}

// dump reads all that a server has, as text.
func dump(t *testing.T, c redis.UniversalClient) map[string]string {
	t.Helper()
	ctx := t.Context()
	all := map[string]string{}
	keys := c.Scan(ctx, 0, "*", 1000).Iterator()
	for keys.Next(ctx) {
		k := keys.Val()
		switch kind := c.Type(ctx, k).Val(); kind {
		case "string":
			all[k] = c.Get(ctx, k).Val()
		case "hash":
			all[k] = fmt.Sprintf("%v", c.HGetAll(ctx, k).Val())
		case "zset":
			all[k] = fmt.Sprintf("%v", c.ZRangeWithScores(ctx, k, 0, -1).Val())
		case "set":
			all[k] = strings.Join(c.SMembers(ctx, k).Val(), ",")
		default:
			t.Fatalf("key %q is a %s", k, kind)
		}
	}
	require.NoError(t, keys.Err())
	return all
}

// TestGarbage: what is not of our making is an error, not one that passes, and stays as it is.
func TestGarbage(t *testing.T) {
	t.Parallel()
	srv := startServer(t)
	admin := srv.client(t)
	key := func(prefix string) func(root string, c stmigrate.Claim) string {
		return func(root string, c stmigrate.Claim) string { return root + prefix + string(c.Key[:]) }
	}
	shown := func(root string, c stmigrate.Claim) string { return root + "s:" + string(c.Shown[:]) }
	fixed := func(name string) func(string, stmigrate.Claim) string {
		return func(root string, _ stmigrate.Claim) string { return root + name }
	}
	entry := key("e:")
	list := func(ctx context.Context, k string) error {
		if err := admin.Del(ctx, k).Err(); err != nil {
			return err
		}
		return admin.RPush(ctx, k, "x").Err()
	}
	field := func(name string, value any) func(context.Context, string) error {
		return func(ctx context.Context, k string) error { return admin.HSet(ctx, k, name, value).Err() }
	}
	for name, c := range map[string]struct {
		done  bool
		at    func(root string, c stmigrate.Claim) string
		spoil func(ctx context.Context, key string) error
		fail  []string
	}{
		"an entry of another type": {false, entry, list,
			[]string{"Claim", "Finish", "Release", "Peek", "Note", "ForgetExchange", "SettleRevocation"}},
		"a finished entry of another type": {true, entry, list,
			[]string{"Claim", "Finish", "Release", "Recall", "Peek", "ForgetExchange", "SettleRevocation", "DueRevocations", "EpochExchanges"}},
		"an unknown field": {true, entry, field("z", "?"),
			[]string{"Claim", "Finish", "Release", "Recall", "Peek", "DueRevocations", "ForgetExchange", "EpochExchanges"}},
		"an unknown state":                     {true, entry, field("s", "?"), []string{"Claim", "Finish", "Peek", "Recall"}},
		"an end that is no number":             {false, entry, field("k", "soon"), []string{"Claim", "Finish", "Peek", "Release"}},
		"a fence too short":                    {false, entry, field("f", "x"), []string{"Claim", "Finish", "Release"}},
		"held by another type":                 {false, fixed("held"), list, []string{"Claim", "Finish", "Release", "AbandonedClaims"}},
		"due of another type":                  {false, fixed("due"), list, []string{"Claim", "Finish", "Release", "DueRevocations"}},
		"dead of another type":                 {false, fixed("dead"), list, []string{"Claim", "Release", "DeadRevocations"}},
		"an epoch of another type":             {false, fixed("x:wave 1"), list, []string{"Finish", "EpochExchanges"}},
		"closed of another type":               {true, fixed("closed"), list, []string{"Claim", "CloseEpoch"}},
		"an answer of another type, too early": {false, key("a:"), list, []string{"Finish"}},
		"an answer of another type":            {true, key("a:"), list, []string{"Claim", "Recall", "Peek", "ForgetExchange"}},
		"a note of another type":               {false, key("n:"), list, []string{"Note", "Finish"}},
		"a job of another type":                {true, key("r:"), list, []string{"DueRevocations", "ForgetExchange"}},
		"a token of another type":              {false, shown, list, []string{"Finish", "Recall", "Note"}},
		"a budget of another type":             {false, fixed("b:https://issuer.example"), list, []string{"TakeBudget", "PauseBudget"}},
		"a budget that is no number": {false, fixed("b:https://issuer.example"),
			func(ctx context.Context, k string) error { return admin.Set(ctx, k, "x", 0).Err() }, []string{"TakeBudget", "PauseBudget"}},
		"a later format": {true, fixed("format"),
			func(ctx context.Context, k string) error { return admin.Set(ctx, k, "2", 0).Err() }, []string{
				"Claim", "Finish", "Release", "Recall", "Peek", "Note", "DueRevocations", "SettleRevocation", "DeadRevocations", "ReplayRevocation",
				"DropRevocation", "TakeBudget", "PauseBudget", "AbandonedClaims", "CloseEpoch", "EpochExchanges", "ForgetExchange",
			}},
	} {
		t.Run(name, func(t *testing.T) {
			s, mine := open(t, admin), claimOf("a")
			mine.Epoch = "wave 1"
			held(t, s, mine)
			if c.done {
				finish(t, s, mine, answer())
			}
			require.NoError(t, c.spoil(t.Context(), c.at(s.root, mine)))
			before := dumpOf(t, admin, s)
			for _, method := range c.fail {
				claim := mine
				if method == "Claim" && name != "closed of another type" {
					claim.Epoch = ""
				}
				if method == "Claim" && strings.Contains(name, "closed") {
					claim.Fence = stmigrate.Fence{1}
				}
				err := methods(s, claim)[method](t.Context())
				require.Error(t, err, method)
				assert.NotErrorIs(t, err, stmigrate.ErrUnavailable, method)
				assert.NotErrorIs(t, err, stmigrate.ErrClaimLost, method)
				assert.Equal(t, before, dumpOf(t, admin, s), method)
			}
		})
	}
}

// dumpOf is dump of one store's keys. A list is what was spoilt.
func dumpOf(t *testing.T, c redis.UniversalClient, s *Store) map[string]string {
	t.Helper()
	all := map[string]string{}
	keys := c.Scan(t.Context(), 0, s.root+"*", 1000).Iterator()
	for keys.Next(t.Context()) {
		all[keys.Val()] = c.Dump(t.Context(), keys.Val()).Val()
	}
	require.NoError(t, keys.Err())
	return all
}

// TestReplicas: with WaitReplicas a finish that no replica has is no finish yet.
func TestReplicas(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	master := startServer(t)
	host, port, err := net.SplitHostPort(master.addr)
	require.NoError(t, err)
	replica := startServer(t)
	admin := replica.client(t)
	require.NoError(t, admin.ReplicaOf(ctx, host, port).Err())
	require.Eventually(t, func() bool {
		return parseInfo(admin.Info(ctx, "replication").Val())["master_link_status"] == "up"
	}, forever, 20*time.Millisecond)

	var commands counter
	client := master.client(t)
	client.AddHook(&commands)
	s := open(t, client, func(cfg *Config) { cfg.WaitReplicas = 1 })
	s.patience = forever
	require.NoError(t, client.ScriptFlush(ctx).Err())
	c := claimOf("a")
	held(t, s, c)
	require.NoError(t, s.Note(ctx, c.Key, c.Fence, []byte("note")))
	finish(t, s, c, answer())
	before := commands.trips()
	finish(t, s, c, answer())
	assert.Equal(t, 1, commands.trips()-before)
	assert.Equal(t, "handle", admin.HGet(ctx, s.root+"e:"+string(c.Key[:]), "c").Val(), "the replica has it")

	other := claimOf("b")
	held(t, s, other)
	replica.signal(t, syscall.SIGSTOP)
	unavailableInTime(t, "Finish", func(ctx context.Context) error { return s.Finish(ctx, other.Key, other.Fence, answer()) })
	replica.signal(t, syscall.SIGCONT)
	finish(t, s, other, answer())

	toReplica := *s
	toReplica.client = replica.client(t)
	for what, call := range map[string]func(context.Context) error{
		"Claim":  methods(&toReplica, claimOf("c"))["Claim"],
		"Finish": methods(&toReplica, claimOf("b"))["PauseBudget"],
	} {
		unavailableInTime(t, what+" on a replica", call)
	}
}

func TestReplicasOfACluster(t *testing.T) {
	t.Parallel()
	s := open(t, startCluster(t), func(cfg *Config) { cfg.WaitReplicas = 1 })
	c := claimOf("a")
	held(t, s, c)
	err := s.Finish(within(t, forever), c.Key, c.Fence, answer())
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	require.ErrorContains(t, err, "0 of 1 replicas")
	s.wait = 0
	finish(t, s, c, answer())
}

func TestErrorClasses(t *testing.T) {
	t.Parallel()
	for text, temporary := range map[string]bool{
		"OOM command not allowed when used memory > 'maxmemory'.":                                            true,
		"ERR Error running script (call to f_ab): @user_script:9: @user_script: 9: -OOM command not allowed": true,
		"READONLY You can't write against a read only replica.":                                              true,
		"LOADING Redis is loading the dataset in memory":                                                     true,
		"MISCONF Redis is configured to save RDB snapshots":                                                  true,
		"CLUSTERDOWN The cluster is down":                                                                    true,
		"MOVED 1 127.0.0.1:1":                                                                                true,
		"MASTERDOWN Link with MASTER is down":                                                                true,
		"BUSY Redis is busy running a script.":                                                               true,
		"ERR max number of clients reached":                                                                  true,
		"WRONGTYPE Operation against a key holding the wrong kind of value":                                  false,
		"NOPERM this user has no permissions":                                                                false,
		"ERR unknown command":                                                                                false,
		"BUSYGROUP":                                                                                          false,
	} {
		err := classify(replyError(text))
		assert.Equal(t, temporary, errors.Is(err, stmigrate.ErrUnavailable), text)
		assert.ErrorContains(t, err, text)
	}
	assert.NoError(t, classify(nil))
	assert.ErrorIs(t, classify(context.DeadlineExceeded), context.DeadlineExceeded)
}

type replyError string

func (e replyError) Error() string { return string(e) }
func (replyError) RedisError()     {}

// counter is a hook that counts round trips and notes the commands.
type counter struct {
	mu    sync.Mutex
	n     int
	names []string
}

func (c *counter) trips() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

func (c *counter) count(cmds ...redis.Cmder) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
	for _, cmd := range cmds {
		c.names = append(c.names, cmd.Name())
	}
}

func (c *counter) DialHook(next redis.DialHook) redis.DialHook { return next }
func (c *counter) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error { c.count(cmd); return next(ctx, cmd) }
}

func (c *counter) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error { c.count(cmds...); return next(ctx, cmds) }
}
