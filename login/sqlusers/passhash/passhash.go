package passhash

import (
	"cmp"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"

	"github.com/stmigrate/stmigrate/core"
)

var (
	// ErrFormat: the text is no whole password hash of a known format.
	ErrFormat = errors.New("no password hash of a known format")
	// ErrLimit: to check a password against the hash would cost more than Config allows.
	ErrLimit = errors.New("password hash over the cost limit")
)

const (
	maxPassword = 4096
	maxEncoded  = 4096
)

// Config says which hashes are known besides those that tell by themselves, and what they may cost. Its zero value is complete.
type Config struct {
	// MaxMemory is how many bytes one check may take: the memory of Argon2, 128·N·r of scrypt. Default 256 MiB.
	MaxMemory int64
	// MaxMemoryWork is how many bytes one check may fill: memory times passes of Argon2, 128·N·r·p of scrypt. Default 512 MiB,
	// a second or so.
	MaxMemoryWork int64
	// MaxBcryptCost is the highest cost of bcrypt; each step doubles the time. Default 14, a second or so.
	MaxBcryptCost int
	// MaxIterations is how many rounds of a hash function PBKDF2 and phpass may take: PBKDF2's iterations for each block of
	// output, phpass's for each 64 bytes that it hashes in one. Default 2,000,000, a second or so.
	MaxIterations int
	// Concurrency is how many passwords may be checked at a time; the others wait. Default: GOMAXPROCS.
	Concurrency int

	// FirebaseSignerKey is base64_signer_key of the project's password hash parameters, decoded. Without it Firebase's hashes are
	// ErrFormat.
	FirebaseSignerKey []byte
	// NodeScrypt tells how the application used Node's crypto.scrypt, whose result has no format of its own. Default: it did not.
	NodeScrypt *NodeScrypt
	// InsecureDigests lists the fast hashes that are taken. Who gets hold of one tries billions of passwords a second, so it MUST
	// NOT be used but to let users of such a table in once, and have their passwords hashed well from then on. Default: none.
	InsecureDigests []InsecureDigest
}

// Verifier checks passwords against hashes. It is safe for concurrent use.
type Verifier struct {
	cfg     Config
	running chan struct{}
}

// New checks cfg and copies it. Its error names the field that is wrong.
func New(cfg Config) (*Verifier, error) {
	for name, n := range map[string]int64{
		"MaxMemory": cfg.MaxMemory, "MaxMemoryWork": cfg.MaxMemoryWork, "MaxBcryptCost": int64(cfg.MaxBcryptCost),
		"MaxIterations": int64(cfg.MaxIterations), "Concurrency": int64(cfg.Concurrency),
	} {
		if n < 0 {
			return nil, fmt.Errorf("passhash: Config.%s is negative: %d", name, n)
		}
	}
	v := &Verifier{cfg: cfg}
	c := &v.cfg
	c.MaxMemory = cmp.Or(c.MaxMemory, 256<<20)
	c.MaxMemoryWork = cmp.Or(c.MaxMemoryWork, 512<<20)
	c.MaxBcryptCost = cmp.Or(c.MaxBcryptCost, 14)
	c.MaxIterations = cmp.Or(c.MaxIterations, 2_000_000)
	c.Concurrency = cmp.Or(c.Concurrency, runtime.GOMAXPROCS(0))
	c.FirebaseSignerKey = append([]byte(nil), c.FirebaseSignerKey...)
	if n := len(c.FirebaseSignerKey); n != 0 && (n < 16 || n > 256) {
		return nil, fmt.Errorf("passhash: Config.FirebaseSignerKey has %d bytes: 64 are expected; was it decoded from base64?", n)
	}
	if c.NodeScrypt != nil {
		node := *c.NodeScrypt
		if err := node.prepare(c); err != nil {
			return nil, fmt.Errorf("passhash: Config.NodeScrypt: %w", err)
		}
		c.NodeScrypt = &node
	}
	c.InsecureDigests = append([]InsecureDigest(nil), c.InsecureDigests...)
	for i, d := range c.InsecureDigests {
		if err := d.validate(); err != nil {
			return nil, fmt.Errorf("passhash: Config.InsecureDigests[%d]: %w", i, err)
		}
	}
	v.running = make(chan struct{}, c.Concurrency)
	return v, nil
}

// Format writes the type's name, whatever the verb: fmt would print Firebase's signer key.
func (v *Verifier) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "passhash.Verifier") }

// Verify tells whether encoded is a hash of password. It waits for its turn until ctx ends, whose error it then returns; a check
// that has begun is finished, since none can be stopped. Its other errors are of [ErrFormat] and [ErrLimit]; no text holds a part of
// the hash or the password.
func (v *Verifier) Verify(ctx context.Context, encoded, password string) (bool, error) {
	matches, err := v.cfg.parse(encoded)
	if err != nil {
		return false, err
	}
	if password == "" || len(password) > maxPassword || strings.IndexByte(password, 0) >= 0 {
		return false, nil
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	select {
	case v.running <- struct{}{}:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	defer func() { <-v.running }()
	return matches(password)
}

// Check tells whether a password could be checked against encoded: nil, [ErrFormat] or [ErrLimit].
func (v *Verifier) Check(encoded string) error {
	_, err := v.cfg.parse(encoded)
	return err
}

// Verify is [Verifier.Verify] of the zero [Config], without a bound on how many run at a time.
func Verify(encoded, password string) (bool, error) {
	v, err := New(Config{})
	if err != nil {
		return false, err
	}
	return v.Verify(context.Background(), encoded, password)
}

// ForCore is the hash as a SuperTokens core imports it: bcrypt, Argon2 and Firebase's scrypt. It is "" for all others, and for $2x$,
// which the core would take for $2a$.
func ForCore(encoded string) string {
	encoded = withoutDjango(encoded)
	if strings.HasPrefix(encoded, "$2x$") || core.HashAlgorithmOf(encoded) == "" {
		return ""
	}
	return encoded
}

// withoutDjango takes off the name that Django puts before other libraries' hashes.
func withoutDjango(encoded string) string {
	for _, name := range []string{"bcrypt$", "argon2"} {
		if rest, ok := strings.CutPrefix(encoded, name); ok && strings.HasPrefix(rest, "$") {
			return rest
		}
	}
	return encoded
}

// check is a hash that was parsed and found within the limits.
type check func(password string) (bool, error)

// families maps what a hash begins with to what parses it. No prefix is the beginning of another.
var families = []struct {
	prefix string
	parse  func(c *Config, encoded string) (check, error)
}{
	{"$2", parseBcrypt},
	{"bcrypt_sha256$", parseDjangoBcryptSHA256},
	{"$bcrypt-sha256$", parsePasslibBcryptSHA256},
	{"$wp$2", parseWordPress},
	{"$argon2", parseArgon2},
	{"pbkdf2_", parseDjangoPBKDF2},
	{"$pbkdf2", parsePasslibPBKDF2},
	{"pbkdf2:", parseWerkzeugPBKDF2},
	{"$scrypt$", parsePHCScrypt},
	{"scrypt$", parseDjangoScrypt},
	{"scrypt:", parseWerkzeugScrypt},
	{"$f_scrypt$", parseFirebase},
	{"$P$", parsePhpass},
	{"$H$", parsePhpass},
}

func (c *Config) parse(encoded string) (check, error) {
	if len(encoded) > maxEncoded {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrFormat, len(encoded), maxEncoded)
	}
	encoded = withoutDjango(encoded)
	for _, f := range families {
		if strings.HasPrefix(encoded, f.prefix) {
			return f.parse(c, encoded)
		}
	}
	if c.NodeScrypt != nil {
		if matches := c.NodeScrypt.parse(encoded); matches != nil {
			return matches, nil
		}
	}
	for _, d := range c.InsecureDigests {
		if matches := d.parse(encoded); matches != nil {
			return matches, nil
		}
	}
	if strings.HasPrefix(encoded, "A") { // the first byte is 0 or 1
		return parseIdentity(c, encoded)
	}
	return nil, ErrFormat
}

func broken(format string) (check, error) {
	return nil, fmt.Errorf("%w: a broken one of %s", ErrFormat, format)
}

// over is the error of a hash that asks for n of something, which the field allows up to limit.
func over(format, what, field string, n, limit int64) error {
	return fmt.Errorf("%w: %s: %s of %d, Config.%s is %d", ErrLimit, format, what, n, field, limit)
}

// number reads a decimal number without sign or leading zero. What is too big for any limit is math.MaxInt64.
func number(s string) (n int64, ok bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	if len(s) > 18 {
		return math.MaxInt64, true
	}
	for _, digit := range []byte(s) {
		n = n*10 + int64(digit-'0')
	}
	return n, true
}

// product of numbers that are not negative; math.MaxInt64 if it is more.
func product(numbers ...int64) int64 {
	result := int64(1)
	for _, n := range numbers {
		if n != 0 && result > math.MaxInt64/n {
			return math.MaxInt64
		}
		result *= n
	}
	return result
}

func same(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
