package redisstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/stmigrate/stmigrate"
)

// Config says where a [Store] keeps its exchanges. Client is required.
type Config struct {
	// Client is a [redis.Client], also one of redis.NewFailoverClient, or a [redis.ClusterClient], with ContextTimeoutEnabled,
	// without which a call to a server that hangs does not end by its context. A [redis.Ring] is refused: when a server fails it
	// asks another one, which knows of no exchange. Another implementation is taken as it is. The client stays the caller's to
	// close.
	Client redis.UniversalClient
	// Prefix stands in the name of every key, as the hash tag "{prefix}:"; two stores with different ones know nothing of each
	// other. At most 64 letters, digits, and "._:-". Default "stmigrate".
	Prefix string
	// WaitReplicas is how many replicas must have what Finish and Note wrote before these are nil (WAIT, in the same round trip).
	// With fewer in time they fail with ErrUnavailable, and succeed when repeated later. Default 0: a fail-over may lose the last
	// moments before it. Needs one of the two clients named above.
	WaitReplicas int
	// InsecureWithoutAOF lets New accept a server without append-only file. When it restarts, it has forgotten what was exchanged
	// since its last snapshot, or ever, and each of these legacy sessions can be exchanged once more. It is for tests, and for
	// managed services that replicate instead, see the package's documentation.
	InsecureWithoutAOF bool
	// SkipEvictionCheck lets New accept a server that tells its maxmemory-policy neither by INFO nor by CONFIG GET. It must be
	// noeviction, by whatever the operator knows: with another policy a full server throws finished exchanges away, and each of
	// these legacy sessions can be exchanged once more. A policy that can be read is checked all the same.
	SkipEvictionCheck bool
}

// Store is an exchange store on Redis: [stmigrate.ExchangeStore] and all that one may be, too. It is safe for concurrent use, and
// any number of processes may have one each on the same server and prefix.
type Store struct {
	client   redis.UniversalClient
	root     string // "{prefix}:"
	wait     int
	patience time.Duration // with replicas
}

var (
	_ stmigrate.ExchangeStore         = (*Store)(nil)
	_ stmigrate.ExchangePeeker        = (*Store)(nil)
	_ stmigrate.RevocationOutbox      = (*Store)(nil)
	_ stmigrate.RevocationDeadLetters = (*Store)(nil)
	_ stmigrate.RevocationBudgets     = (*Store)(nil)
	_ stmigrate.ClaimSweeper          = (*Store)(nil)
	_ stmigrate.ClaimNoter            = (*Store)(nil)
	_ stmigrate.EpochStore            = (*Store)(nil)
)

// The format of what is stored, under "{prefix}:format". Every script checks it.
const format = "1"

// minVersion is the first Redis that has all commands of the scripts (ZRANDMEMBER, SET with PXAT).
var minVersion = [2]int{6, 2}

// New checks the configuration and the server, every master of a cluster: its version, that it evicts nothing, and that it has an
// append-only file. It writes one key, which names the format of what is stored, and fails if there is another format already.
// A server that does not answer is [stmigrate.ErrUnavailable].
func New(ctx context.Context, cfg Config) (*Store, error) {
	if cfg.Prefix == "" {
		cfg.Prefix = "stmigrate"
	}
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("redisstore: %w", err)
	}
	s := &Store{client: cfg.Client, root: "{" + cfg.Prefix + "}:", wait: cfg.WaitReplicas, patience: time.Second}
	if err := eachMaster(ctx, cfg.Client, cfg.checkServer); err != nil {
		return nil, fmt.Errorf("redisstore: %w", err)
	}
	found, err := scripts["format"].Run(ctx, s.client, []string{s.root + "format", s.root + "absent"}).Text()
	if err != nil {
		return nil, fmt.Errorf("redisstore: %w", classify(err))
	}
	if found != format {
		return nil, fmt.Errorf("redisstore: %w", formatError(s.root, found))
	}
	return s, nil
}

func (cfg Config) validate() error {
	honoursContext := true
	switch c := cfg.Client.(type) {
	case nil:
		return errors.New("Config.Client is missing")
	case *redis.Ring:
		return errors.New("Config.Client is a redis.Ring, which asks another server when one fails: use a redis.ClusterClient or a redis.Client")
	case *redis.Client:
		honoursContext = c.Options().ContextTimeoutEnabled
	case *redis.ClusterClient:
		honoursContext = c.Options().ContextTimeoutEnabled
	default:
		if cfg.WaitReplicas > 0 {
			return fmt.Errorf("Config.WaitReplicas needs a *redis.Client or a *redis.ClusterClient, Config.Client is a %T", c)
		}
	}
	if !honoursContext {
		return errors.New("Config.Client was made without ContextTimeoutEnabled: a call to a server that hangs would not end by its context")
	}
	if cfg.WaitReplicas < 0 {
		return fmt.Errorf("Config.WaitReplicas is %d, want 0 or more", cfg.WaitReplicas)
	}
	if len(cfg.Prefix) > 64 || strings.ContainsFunc(cfg.Prefix, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._:-", r)
	}) {
		return fmt.Errorf(`Config.Prefix is %.80q, want at most 64 letters, digits, and "._:-"`, cfg.Prefix)
	}
	return nil
}

// eachMaster runs check on the server, or on all masters of a cluster.
func eachMaster(ctx context.Context, client redis.UniversalClient, check func(context.Context, redis.Cmdable) error) error {
	cluster, ok := client.(*redis.ClusterClient)
	if !ok {
		return check(ctx, client)
	}
	var mu sync.Mutex
	var refused error
	err := cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error {
		if err := check(ctx, master); err != nil {
			mu.Lock()
			defer mu.Unlock()
			refused = fmt.Errorf("%s: %w", master.Options().Addr, err)
		}
		return nil
	})
	if err != nil {
		return classify(err)
	}
	return refused
}

// checkServer looks at one server's settings.
func (cfg Config) checkServer(ctx context.Context, c redis.Cmdable) error {
	// All default sections: only Redis 7 takes several by name.
	text, err := c.Info(ctx).Result()
	if err = classify(err); errors.Is(err, stmigrate.ErrUnavailable) {
		return err
	}
	info := parseInfo(text)
	if v, ok := info["redis_version"]; ok && !atLeast(v, minVersion) {
		return fmt.Errorf("the server says it is Redis %.20q, want %d.%d or later", v, minVersion[0], minVersion[1])
	}
	policy, ok := info["maxmemory_policy"]
	if !ok {
		settings, err := c.ConfigGet(ctx, "maxmemory-policy").Result()
		if err = classify(err); errors.Is(err, stmigrate.ErrUnavailable) {
			return err
		}
		policy, ok = settings["maxmemory-policy"]
	}
	switch {
	case !ok && !cfg.SkipEvictionCheck:
		return errors.New("the server tells its maxmemory-policy neither by INFO nor by CONFIG GET: allow its user one of them " +
			"(ACL +info), or set Config.SkipEvictionCheck if it is noeviction for certain")
	case ok && policy != "noeviction":
		return fmt.Errorf("the server's maxmemory-policy is %.40q, want noeviction: with it a full server forgets what was exchanged", policy)
	}
	if aof := info["aof_enabled"]; aof != "1" && !cfg.InsecureWithoutAOF {
		if aof == "" {
			return errors.New("the server does not tell by INFO whether it has an append-only file: allow its user that (ACL +info), " +
				"or set Config.InsecureWithoutAOF, and know what is lost then")
		}
		return errors.New("the server has no append-only file, and forgets what was exchanged when it restarts: " +
			"set appendonly yes, or Config.InsecureWithoutAOF, and know what is lost then")
	}
	return nil
}

func parseInfo(text string) map[string]string {
	info := make(map[string]string)
	for line := range strings.SplitSeq(text, "\n") {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\r"), ":"); ok {
			info[name] = value
		}
	}
	return info
}

// atLeast compares major and minor version. A version that is no number is not at least anything.
func atLeast(version string, min [2]int) bool {
	var have [2]int
	parts := strings.SplitN(version, ".", 3)
	for i := range min {
		if i >= len(parts) {
			return false
		}
		n, err := strconv.Atoi(parts[i])
		if err != nil {
			return false
		}
		have[i] = n
	}
	return have[0] > min[0] || (have[0] == min[0] && have[1] >= min[1])
}
