package redisstore

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
)

// universal is a client of a kind that New does not know.
type universal struct{ redis.UniversalClient }

func TestNewNamesTheField(t *testing.T) {
	t.Parallel()
	client := newClient(t, "127.0.0.1:1")
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"a": "127.0.0.1:1"}, ContextTimeoutEnabled: true})
	deaf := newClient(t, "127.0.0.1:1", func(o *redis.Options) { o.ContextTimeoutEnabled = false })
	deafCluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{"127.0.0.1:1"}})
	t.Cleanup(func() { _, _ = ring.Close(), deafCluster.Close() })
	for name, c := range map[string]struct {
		cfg  Config
		want string
	}{
		"no client":                   {Config{}, "Config.Client is missing"},
		"a ring":                      {Config{Client: ring}, "redis.Ring"},
		"deaf to contexts":            {Config{Client: deaf}, "ContextTimeoutEnabled"},
		"a cluster deaf to contexts":  {Config{Client: deafCluster}, "ContextTimeoutEnabled"},
		"less than no replicas":       {Config{Client: client, WaitReplicas: -1}, "Config.WaitReplicas"},
		"replicas behind who knows":   {Config{Client: universal{client}, WaitReplicas: 1}, "Config.WaitReplicas"},
		"a tag in the prefix":         {Config{Client: client, Prefix: "a}b"}, "Config.Prefix"},
		"a blank in the prefix":       {Config{Client: client, Prefix: "a b"}, "Config.Prefix"},
		"a prefix that is too long":   {Config{Client: client, Prefix: strings.Repeat("a", 65)}, "Config.Prefix"},
		"a prefix with odd character": {Config{Client: client, Prefix: "ä"}, "Config.Prefix"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := New(t.Context(), c.cfg)
			require.ErrorContains(t, err, c.want)
			assert.NotErrorIs(t, err, stmigrate.ErrUnavailable)
			assert.Nil(t, s)
		})
	}
}

func TestNewLooksAtTheServer(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	srv := startServer(t)
	admin := srv.client(t)
	set := func(name, value string) { require.NoError(t, admin.ConfigSet(ctx, name, value).Err()) }
	start := func(c redis.UniversalClient, change ...func(*Config)) error {
		cfg := Config{Client: c}
		for _, f := range change {
			f(&cfg)
		}
		_, err := New(ctx, cfg)
		return err
	}
	refused := func(want string, err error) {
		t.Helper()
		require.ErrorContains(t, err, want)
		require.NotErrorIs(t, err, stmigrate.ErrUnavailable)
	}
	user := func(name string, rules ...any) redis.UniversalClient {
		t.Helper()
		rules = append([]any{"ACL", "SETUSER", name, "on", ">pw"}, rules...)
		require.NoError(t, admin.Do(ctx, rules...).Err())
		return srv.client(t, func(o *redis.Options) { o.Username, o.Password = name, "pw" })
	}
	all := []any{"~{stmigrate}:*", "+@all"}
	noConfig := user("noconfig", append(all, "-config")...)
	noInfo := user("noinfo", append(all, "-info")...)
	neither := user("neither", append(all, "-info", "-config")...)
	withoutAOF := func(cfg *Config) { cfg.InsecureWithoutAOF = true }
	skip := func(cfg *Config) { cfg.SkipEvictionCheck = true }

	for _, policy := range []string{
		"allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl",
	} {
		set("maxmemory-policy", policy)
		refused(policy, start(admin))
		refused(policy, start(noConfig))
		refused(policy, start(noInfo, withoutAOF))
		refused(policy, start(admin, skip)) // what can be read is not skipped
		require.NoError(t, start(neither, skip, withoutAOF))
	}
	set("maxmemory-policy", "noeviction")
	require.NoError(t, start(admin))
	require.NoError(t, start(noConfig))
	require.NoError(t, start(noInfo, withoutAOF))
	refused("Config.InsecureWithoutAOF", start(noInfo))
	refused("Config.SkipEvictionCheck", start(neither, withoutAOF))

	set("appendonly", "no")
	refused("Config.InsecureWithoutAOF", start(admin))
	require.NoError(t, start(admin, withoutAOF))
	set("appendonly", "yes")

	require.NoError(t, admin.Set(ctx, "{stmigrate}:format", "2", 0).Err())
	refused(`says "2"`, start(admin))
	require.NoError(t, admin.Del(ctx, "{stmigrate}:format").Err())
	require.NoError(t, admin.HSet(ctx, "{stmigrate}:format", "a", "b").Err())
	refused("WRONGTYPE", start(admin))
}

// TestClusterIsCheckedWhole: one master that evicts is enough to be refused.
func TestClusterIsCheckedWhole(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := startCluster(t)
	_, err := New(ctx, Config{Client: c})
	require.NoError(t, err)
	first := true
	require.NoError(t, c.ForEachMaster(ctx, onlyOnce(&first, func(master *redis.Client) error {
		return master.ConfigSet(ctx, "maxmemory-policy", "allkeys-lru").Err()
	})))
	_, err = New(ctx, Config{Client: c})
	require.ErrorContains(t, err, "allkeys-lru")
	require.NotErrorIs(t, err, stmigrate.ErrUnavailable)
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]bool{
		"6.2.0": true, "6.2.14": true, "7.0.15": true, "8.0.0": true, "10.0": true, "255.255.255": true,
		"6.0.16": false, "5.0.7": false, "2.8": false, "": false, "7": false, "x.y": false, "7.x": false, "-7.2": false,
	} {
		assert.Equal(t, want, atLeast(version, minVersion), version)
	}
}

func FuzzInfo(f *testing.F) {
	f.Add("# Server\r\nredis_version:7.0.15\r\n\r\nmaxmemory_policy:noeviction\r\n")
	f.Fuzz(func(t *testing.T, text string) {
		info := parseInfo(text)
		for name, value := range info {
			if strings.ContainsAny(name, ":\n") || strings.Contains(value, "\n") {
				t.Fatalf("%q is read as %q", text, info)
			}
		}
		atLeast(info["redis_version"], minVersion)
	})
}

// TestRights: the line that doc.go tells the operator is enough.
func TestRights(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	_, line, found := strings.Cut(string(doc), "//\tACL SETUSER ")
	require.True(t, found)
	line, _, _ = strings.Cut(line, "\n")
	rules := []any{"ACL", "SETUSER"}
	for _, word := range strings.Fields(line) {
		rules = append(rules, word)
	}
	as := func(o *redis.Options) { o.Username, o.Password = "stmigrate", "secret" }

	master, replica := startServer(t), startServer(t)
	host, port, _ := strings.Cut(master.addr, ":")
	require.NoError(t, replica.client(t).ReplicaOf(t.Context(), host, port).Err())
	require.NoError(t, master.client(t).Do(t.Context(), rules...).Err())
	everything := func(s *Store) {
		t.Helper()
		c := claimOf("a")
		c.Epoch = "wave 1"
		held(t, s, c)
		require.NoError(t, s.Note(t.Context(), c.Key, c.Fence, []byte("note")))
		finish(t, s, c, answer())
		for name, call := range methods(s, c) {
			if err := call(t.Context()); err != nil {
				assert.ErrorIs(t, err, stmigrate.ErrClaimLost, name)
			}
		}
		require.NoError(t, s.ForgetExchange(t.Context(), c.Key, c.Fence)) // whatever the calls made of it, in whichever order
		c = finished(t, s, "b")
		j := oneDue(t, s, time.Minute)
		require.NoError(t, s.SettleRevocation(t.Context(), j.Key, j.Fence, 0, "reason"))
		require.NoError(t, s.ReplayRevocation(t.Context(), c.Key))
		j = oneDue(t, s, time.Minute)
		require.NoError(t, s.SettleRevocation(t.Context(), j.Key, j.Fence, time.Second, ""))
		require.NoError(t, s.ForgetExchange(t.Context(), c.Key, c.Fence))
	}
	s, err := New(t.Context(), Config{Client: master.client(t, as), WaitReplicas: 1})
	require.NoError(t, err)
	s.patience = forever
	everything(s)

	cluster := startCluster(t)
	require.NoError(t, cluster.ForEachMaster(t.Context(), func(ctx context.Context, node *redis.Client) error {
		return node.Do(ctx, slices.Concat(rules, []any{"+cluster|slots", "+command"})...).Err()
	}))
	few := newClusterClient(t, cluster.Options().Addrs, func(o *redis.ClusterOptions) { o.Username, o.Password = "stmigrate", "secret" })
	s, err = New(t.Context(), Config{Client: few})
	require.NoError(t, err)
	everything(s)
}
