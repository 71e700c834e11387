package redisstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/stmigrate/stmigrate"
)

//go:embed lua/*.lua
var sources embed.FS

// scripts has one script for each method, by the name of its file; all but "format" with the prelude before it.
var scripts = loadScripts()

func loadScripts() map[string]*redis.Script {
	read := func(name string) string {
		source, err := fs.ReadFile(sources, name)
		if err != nil {
			panic(err) // it is embedded
		}
		return string(source)
	}
	names, _ := fs.Glob(sources, "lua/*.lua")
	prelude := read("lua/prelude.lua")
	loaded := make(map[string]*redis.Script, len(names))
	for _, file := range names {
		name := strings.TrimSuffix(path.Base(file), ".lua")
		switch name {
		case "prelude":
		case "format":
			loaded[name] = redis.NewScript(read(file))
		default:
			loaded[name] = redis.NewScript(prelude + read(file))
		}
	}
	return loaded
}

// call is one run of a script. keys are the names it is known beforehand to use, without the prefix.
type call struct {
	script string
	keys   []string
	args   []any
	// durable waits for Store.wait replicas.
	durable bool
}

// run answers what a script returns, beginning with the status it returns first.
func (s *Store) run(ctx context.Context, c call) (reply, error) {
	if err := ctx.Err(); err != nil {
		return reply{}, unavailable(err)
	}
	keys := make([]string, 0, 2+len(c.keys))
	keys = append(keys, s.root+"format")
	for _, k := range c.keys {
		keys = append(keys, s.root+k)
	}
	// There never is such a key. Named with others, it makes a cluster refuse the script (TRYAGAIN) while their slot moves to
	// another node: until all have arrived, what a script finds in an index might look gone.
	keys = append(keys, s.root+"absent")
	var values any
	var err error
	if c.durable && s.wait > 0 {
		values, err = s.runDurably(ctx, scripts[c.script], keys, c.args)
	} else {
		values, err = scripts[c.script].Run(ctx, s.client, keys, c.args...).Result()
	}
	if err != nil {
		return reply{}, classify(err)
	}
	r := reply{}
	if list, ok := values.([]any); ok {
		r.rest = list
	} else {
		r.err = errReply
	}
	r.status = r.text()
	if r.status == "format" {
		return reply{}, formatError(s.root, r.text())
	}
	return r, r.err
}

// runDurably runs a script and waits for replicas, on one connection, since WAIT is for what that connection wrote.
func (s *Store) runDurably(ctx context.Context, script *redis.Script, keys []string, args []any) (any, error) {
	node, ok := s.client.(*redis.Client)
	if !ok {
		var err error
		if node, err = s.client.(*redis.ClusterClient).MasterForKey(ctx, keys[0]); err != nil {
			return nil, err
		}
	}
	run := func(eval func(context.Context, redis.Scripter, []string, ...any) *redis.Cmd) (any, error) {
		var answer *redis.Cmd
		var waited *redis.Cmd
		patience := s.patience
		if deadline, ok := ctx.Deadline(); ok {
			patience = max(min(patience, time.Until(deadline)/2), time.Millisecond) // WAIT without end is 0
		}
		_, err := node.Pipelined(ctx, func(p redis.Pipeliner) error {
			answer = eval(ctx, p, keys, args...)
			waited = p.Do(ctx, "WAIT", s.wait, patience.Milliseconds())
			return nil
		})
		if err != nil {
			return nil, err
		}
		if have, err := waited.Int(); err != nil || have < s.wait {
			return nil, unavailable(fmt.Errorf("%d of %d replicas (Config.WaitReplicas) have it", have, s.wait))
		}
		return answer.Val(), nil
	}
	values, err := run(script.EvalSha)
	if redis.HasErrorPrefix(err, "NOSCRIPT") {
		values, err = run(script.Eval)
	}
	return values, err
}

var errReply = errors.New("redis: a script answered what it never does; is the server one that is compatible with Redis?")

// reply takes values off what a script returned. err is set once something is not there, or not of that kind.
type reply struct {
	status string
	rest   []any
	err    error
}

func (r *reply) next() any {
	if len(r.rest) == 0 {
		r.err = errReply
		return nil
	}
	v := r.rest[0]
	r.rest = r.rest[1:]
	return v
}

// text returns "" for nil.
func (r *reply) text() string {
	switch v := r.next().(type) {
	case string:
		return v
	case nil:
	default:
		r.err = errReply
	}
	return ""
}

// bytes returns nil for none.
func (r *reply) bytes() []byte {
	if s := r.text(); s != "" {
		return []byte(s)
	}
	return nil
}

func (r *reply) number() int64 {
	n, ok := r.next().(int64)
	if !ok {
		r.err = errReply
	}
	return n
}

func (r *reply) key() (k stmigrate.ExchangeKey) {
	if copy(k[:], r.text()) != len(k) {
		r.err = errReply
	}
	return k
}

func (r *reply) fence() (f stmigrate.Fence) {
	if copy(f[:], r.text()) != len(f) {
		r.err = errReply
	}
	return f
}

func (r *reply) list() []any {
	list, ok := r.next().([]any)
	if !ok {
		r.err = errReply
	}
	return list
}

func unavailable(err error) error { return fmt.Errorf("%w: redis: %w", stmigrate.ErrUnavailable, err) }

func formatError(root, found string) error {
	if found == "" {
		// New wrote it, and nothing of ours erases it.
		return unavailable(fmt.Errorf("the key %sformat is gone, so the server has lost what was exchanged; "+
			"restore it, or restart this process to begin anew", root))
	}
	return fmt.Errorf("redis: the key %sformat says %.20q, and this version of redisstore knows format %s alone: "+
		"run one version, or choose another Config.Prefix", root, found, format)
}

// temporary are the codes of replies that may be another next time.
var temporary = []string{
	"OOM", "MISCONF", "LOADING", "READONLY", "BUSY", "MASTERDOWN", "NOREPLICAS",
	"CLUSTERDOWN", "MOVED", "ASK", "TRYAGAIN", "ERR max number of clients",
}

// classify tells what may pass, ErrUnavailable, from a reply that will be the same again: of a right that is missing, or of a
// key that is not of our making.
func classify(err error) error {
	if err == nil || errors.Is(err, stmigrate.ErrUnavailable) {
		return err
	}
	var fromServer redis.Error
	if !errors.As(err, &fromServer) {
		return unavailable(err)
	}
	text := fromServer.Error()
	for _, code := range temporary {
		// Redis before 7 puts the reply to a script's command into a text of its own.
		if strings.HasPrefix(text, code+" ") || strings.Contains(text, "-"+code+" ") {
			return unavailable(err)
		}
	}
	return fmt.Errorf("redis: %w", err)
}
