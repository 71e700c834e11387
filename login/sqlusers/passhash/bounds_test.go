package passhash

import (
	"crypto"
	"crypto/md5"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

// TestCheck_bounds: the last value that is taken, and the first that is not.
func TestCheck_bounds(t *testing.T) {
	b31 := strings.Repeat("a", 31)
	raw := func(n int) string { return base64.RawStdEncoding.EncodeToString(make([]byte, n)) }
	std := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	digits := func(n int) string { return strings.Repeat("ab", n) }
	bcryptOf := func(cost int, last string) string {
		return fmt.Sprintf("$2b$%02d$%s%s%s", cost, strings.Repeat("C", 21), last, b31)
	}
	argon2 := func(m, t, p, salt, want int) string {
		return fmt.Sprintf("$argon2id$v=19$m=%d,t=%d,p=%d$%s$%s", m, t, p, raw(salt), raw(want))
	}
	identity := func(function, iterations byte, salt, want int) string {
		head := []byte{1, 0, 0, 0, function, 0, 0, 0, iterations, 0, 0, byte(salt >> 8), byte(salt)}
		return base64.StdEncoding.EncodeToString(append(head, make([]byte, salt+want)...))
	}
	werkzeug := func(iterations, salt, want int) string {
		return fmt.Sprintf("pbkdf2:sha256:%d$%s$%s", iterations, strings.Repeat("s", salt), digits(want))
	}
	phpass := func(count string) string { return "$P$" + count + "aaaaaaaa" + strings.Repeat("b", 22) }
	scrypt := func(ln, r, p, salt, want int) string {
		return fmt.Sprintf("$scrypt$ln=%d,r=%d,p=%d$%s$%s", ln, r, p, raw(salt), raw(want))
	}
	firebase := func(want, salt, ln, r int) string {
		return fmt.Sprintf("$f_scrypt$%s$%s$m=%d$r=%d$s=Bw==", std(want), std(salt), ln, r)
	}
	md5Hex := Config{InsecureDigests: []InsecureDigest{{Hash: crypto.MD5}}}
	separated := Config{InsecureDigests: []InsecureDigest{{Hash: crypto.MD5, Separator: ":"}}}
	node := Config{NodeScrypt: &NodeScrypt{KeyLength: 16}}
	for name, tt := range map[string]struct {
		cfg         Config
		good        []string
		broken, big []string // ErrFormat, ErrLimit
	}{
		"bcrypt": {
			Config{},
			[]string{bcryptOf(14, "."), bcryptOf(4, "u")},
			[]string{bcryptOf(3, "."), bcryptOf(4, "v")},
			[]string{bcryptOf(15, ".")},
		},
		"bcrypt's cost 5": {
			Config{MaxBcryptCost: 5},
			[]string{bcryptOf(5, ".")},
			nil,
			[]string{bcryptOf(6, ".")},
		},
		"Argon2's default": {
			Config{},
			[]string{argon2(256<<10, 2, 1, 16, 32), argon2(64<<10, 8, 1, 16, 32)},
			nil,
			[]string{argon2(256<<10+1, 1, 1, 16, 32), argon2(256<<10, 3, 1, 16, 32), argon2(64<<10, 9, 1, 16, 32)},
		},
		"Argon2's memory": {
			Config{MaxMemory: 64 << 10},
			[]string{argon2(64, 1, 1, 16, 32)},
			nil,
			[]string{argon2(65, 1, 1, 16, 32)},
		},
		"Argon2's passes": {
			Config{MaxMemoryWork: 64 << 10},
			[]string{argon2(32, 2, 1, 16, 32)},
			nil,
			[]string{argon2(32, 3, 1, 16, 32)},
		},
		"Argon2's lanes": {
			Config{},
			[]string{argon2(8, 1, 1, 8, 16), argon2(2040, 1, 255, 8, 16)},
			[]string{argon2(7, 1, 1, 8, 16), argon2(2048, 1, 256, 8, 16), argon2(2039, 1, 255, 8, 16)},
			nil,
		},
		"Argon2's lengths": {
			Config{},
			[]string{argon2(8, 1, 1, 8, 16), argon2(8, 1, 1, 256, 128)},
			[]string{argon2(8, 1, 1, 7, 16), argon2(8, 1, 1, 257, 16), argon2(8, 1, 1, 8, 15), argon2(8, 1, 1, 8, 129)},
			nil,
		},
		"Argon2's spare bits": {
			Config{},
			nil,
			[]string{
				"$argon2id$v=19$m=8,t=1,p=1$" + strings.Repeat("A", 10) + "B$" + raw(16),
				"$argon2id$v=19$m=8,t=1,p=1$" + raw(8) + "$" + strings.Repeat("A", 21) + "B",
			},
			nil,
		},
		"PBKDF2's default": {
			Config{},
			[]string{werkzeug(2_000_000, 1, 32)},
			nil,
			[]string{werkzeug(2_000_001, 1, 32), "pbkdf2:sha256:9999999999999999999$s$" + digits(32)},
		},
		"PBKDF2's lengths": {
			Config{},
			[]string{werkzeug(1, 1024, 32)},
			[]string{werkzeug(0, 8, 32), werkzeug(1, 0, 32), werkzeug(1, 1025, 32), werkzeug(1, 8, 31), werkzeug(1, 8, 33)},
			nil,
		},
		"PBKDF2 of no name": {
			Config{},
			[]string{"$pbkdf2$1$" + raw(8) + "$" + raw(20)},
			[]string{"pbkdf2_$1$salt$" + std(20), "$pbkdf2-$1$" + raw(8) + "$" + raw(20), "pbkdf2::1$salt$" + digits(20)},
			nil,
		},
		"PBKDF2's alphabet": {
			Config{},
			[]string{"$pbkdf2$1$.A$" + raw(20)},
			[]string{
				"$pbkdf2$1$+A$" + raw(20), "$pbkdf2$1$.B$" + raw(20), "$pbkdf2$1$.A\n$" + raw(20),
				"$pbkdf2$01$.A$" + raw(20),
			},
			nil,
		},
		"PBKDF2's spare bits": {
			Config{},
			[]string{"pbkdf2_sha1$1$s$" + std(20)},
			[]string{
				"pbkdf2_sha1$1$s$" + strings.Repeat("A", 26) + "B=", "pbkdf2_sha1$1$s$\n" + std(20),
				"pbkdf2_sha1$1$s$" + raw(20),
			},
			nil,
		},
		"Werkzeug's digits": {
			Config{},
			nil,
			[]string{strings.ToUpper(werkzeug(1, 1, 32)), "pbkdf2:sha256:1$s$" + strings.ToUpper(digits(32))},
			nil,
		},
		"ASP.NET": {
			Config{},
			[]string{identity(0, 1, 16, 16), identity(2, 1, 1024, 128), std(49)},
			[]string{
				identity(0, 0, 16, 16), identity(0, 1, 15, 16), identity(0, 1, 16, 15), identity(0, 1, 1025, 16),
				identity(2, 1, 16, 129), identity(3, 1, 16, 32), identity(0, 1, 16, 0), std(48), std(50), "AQ==",
				identity(0, 1, 16, 16)[:20], identity(0, 1, 16, 16)[:16], std(49)[:65] + "B==",
				"\n" + identity(0, 1, 16, 16), "A\n" + identity(0, 1, 16, 16)[1:],
			},
			nil,
		},
		"ASP.NET's blocks": {
			Config{MaxIterations: 6},
			[]string{identity(1, 3, 16, 64), identity(0, 3, 16, 40)},
			nil,
			[]string{identity(1, 3, 16, 65), identity(0, 3, 16, 41)},
		},
		"phpass": {
			Config{MaxIterations: 1 << 30},
			[]string{phpass("5"), phpass("S")},
			[]string{phpass("4"), phpass("T"), phpass("5") + "b", phpass("5")[:33], phpass("5")[:33] + "-"},
			nil,
		},
		"phpass's count": {Config{MaxIterations: 128}, []string{phpass("5")}, nil, []string{phpass("6")}},
		"scrypt's default": {
			Config{},
			[]string{scrypt(18, 8, 2, 8, 32)},
			nil,
			[]string{scrypt(18, 9, 1, 8, 32), scrypt(18, 8, 3, 8, 32)},
		},
		"scrypt's memory": {
			Config{MaxMemory: 1 << 20},
			[]string{scrypt(10, 8, 1, 8, 32)},
			nil,
			[]string{scrypt(10, 9, 1, 8, 32), scrypt(11, 8, 1, 8, 32)},
		},
		"scrypt's work": {
			Config{MaxMemoryWork: 1 << 20},
			[]string{scrypt(9, 8, 2, 8, 32)},
			nil,
			[]string{scrypt(9, 8, 3, 8, 32)},
		},
		"scrypt's numbers": {
			Config{},
			[]string{scrypt(1, 1, 1, 1, 64)},
			[]string{
				scrypt(0, 1, 1, 8, 32), scrypt(63, 1, 1, 8, 32), scrypt(64, 1, 1, 8, 32), scrypt(1, 0, 1, 8, 32),
				scrypt(1, 1, 0, 8, 32),
			},
			nil,
		},
		"scrypt's product": {
			Config{},
			nil,
			nil,
			[]string{scrypt(62, 1, 1, 8, 32), scrypt(1, math.MaxInt64, 1, 8, 32), scrypt(30, 1<<27, 1, 8, 32)},
		},
		"scrypt's lengths": {
			Config{},
			[]string{scrypt(1, 1, 1, 1024, 32)},
			[]string{
				scrypt(1, 1, 1, 1025, 32), scrypt(1, 1, 1, 8, 31), scrypt(1, 1, 1, 8, 33), scrypt(1, 1, 1, 8, 63),
				scrypt(1, 1, 1, 8, 65),
			},
			nil,
		},
		"Django's scrypt": {
			Config{},
			[]string{"scrypt$2$s$1$1$" + std(32)},
			[]string{
				"scrypt$2$$1$1$" + std(32), "scrypt$2$s$1$1$\n" + std(32),
				"scrypt$2$s$1$1$" + strings.Repeat("A", 42) + "B=",
			},
			nil,
		},
		"Firebase": {
			Config{FirebaseSignerKey: make([]byte, 64)},
			[]string{firebase(64, 1024, 1, 1)},
			[]string{
				firebase(63, 8, 1, 1), firebase(65, 8, 1, 1), firebase(64, 1025, 1, 1), firebase(64, 8, 0, 1),
				firebase(64, 8, 63, 1), firebase(64, 8, 64, 1), firebase(64, 8, 1, 0),
			},
			[]string{firebase(64, 8, 62, 1)},
		},
		"Node's lengths": {
			node,
			[]string{digits(8) + ":" + digits(16), digits(256) + ":" + digits(16)},
			[]string{
				digits(7) + ":" + digits(16), digits(257) + ":" + digits(16), digits(8) + ":" + digits(15),
				digits(8) + ":" + digits(17), digits(8),
			},
			nil,
		},
		"a digest's lengths": {
			md5Hex,
			[]string{digits(16), digits(16 + 256)},
			[]string{digits(15), digits(16 + 257)},
			nil,
		},
		"a digest's salt": {
			separated,
			[]string{digits(16) + ":" + strings.Repeat("s", 256), digits(16) + ":"},
			[]string{digits(16) + ":" + strings.Repeat("s", 257), digits(17) + ":s", digits(16) + ":s:s", digits(16)},
			nil,
		},
		"a digest before ASP.NET": {
			Config{InsecureDigests: []InsecureDigest{{Hash: crypto.MD5, Base64: true}}},
			[]string{std(16)},
			nil,
			nil,
		},
		"Django's names": {
			Config{},
			[]string{"argon2" + argon2(8, 1, 1, 8, 16), "bcrypt$" + bcryptOf(4, ".")},
			[]string{
				"bcrypt$pbkdf2_sha1$1$s$" + std(20), "argon2scrypt$2$s$1$1$" + std(32),
			},
			nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			v := verifier(t, tt.cfg)
			for _, hash := range tt.good {
				assert.NoError(t, v.Check(hash), hash)
			}
			for _, hash := range tt.broken {
				assert.ErrorIs(t, v.Check(hash), ErrFormat, hash)
			}
			for _, hash := range tt.big {
				assert.ErrorIs(t, v.Check(hash), ErrLimit, hash)
			}
		})
	}
	for n, want := range map[int]error{maxEncoded: nil, maxEncoded + 1: ErrFormat} {
		prefix := strings.Repeat("x", n-32)
		v := verifier(t, Config{InsecureDigests: []InsecureDigest{{Hash: crypto.MD5, Prefix: prefix}}})
		assert.ErrorIs(t, v.Check(prefix+digits(16)), want, n)
	}
	assert.Equal(t, 4096, maxEncoded)
	assert.ErrorContains(t, verifier(t, Config{}).Check(firebase(64, 8, 1, 1)), "Config.FirebaseSignerKey")
}

// TestVerify_passwords: what no password may be is wrong, though the hash be of just that.
func TestVerify_passwords(t *testing.T) {
	v := verifier(t, Config{InsecureDigests: []InsecureDigest{{Hash: crypto.MD5}}, MaxIterations: 128})
	for password, want := range map[string]bool{
		"x": true, strings.Repeat("x", 4096): true, strings.Repeat("x", 4097): false, "": false, "\x00": false, "\x00x": false, "x\x00": false,
	} {
		sum := md5.Sum([]byte(password))
		ok, err := v.Verify(t.Context(), hex.EncodeToString(sum[:]), password)
		require.NoError(t, err)
		assert.Equal(t, want, ok, "%d bytes: %.4q", len(password), password)
	}
	for password, want := range map[string]bool{"\x7f": true, "\u0080": false} {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		require.NoError(t, err)
		ok, err := v.Verify(t.Context(), strings.Replace(string(hash), "$2a$", "$2x$", 1), password)
		require.NoError(t, err)
		assert.Equal(t, want, ok, "%q as $2x$", password)
	}
	phpass := "$P$5aaaaaaaa" + strings.Repeat("b", 22) // 2^7, for each block of 64 bytes
	for n, want := range map[int]error{39: nil, 40: ErrLimit} {
		_, err := v.Verify(t.Context(), phpass, strings.Repeat("x", n))
		assert.ErrorIs(t, err, want, n)
	}
}

func TestNew_bounds(t *testing.T) {
	for n, good := range map[int]bool{15: false, 16: true, 128: true, 129: false} {
		_, err := New(Config{NodeScrypt: &NodeScrypt{KeyLength: n}})
		assert.Equal(t, good, err == nil, "KeyLength %d", n)
	}
	for n, good := range map[int]bool{0: true, 15: false, 16: true, 256: true, 257: false} {
		_, err := New(Config{FirebaseSignerKey: make([]byte, n)})
		assert.Equal(t, good, err == nil, "a signer key of %d bytes", n)
	}
	for separator, good := range map[string]bool{":": true, "g": true, "a": false, "0": false, "::": false} {
		_, err := New(Config{NodeScrypt: &NodeScrypt{Separator: separator}})
		assert.Equal(t, good, err == nil, separator)
	}
	_, err := New(Config{InsecureDigests: []InsecureDigest{{Hash: crypto.MD5, Prefix: "$6$"}}})
	assert.ErrorContains(t, err, "Prefix")
}

// TestNew_copies: what the caller does to its configuration later changes nothing.
func TestNew_copies(t *testing.T) {
	cfg := Config{
		FirebaseSignerKey: make([]byte, 64), NodeScrypt: &NodeScrypt{KeyLength: 16}, InsecureDigests: []InsecureDigest{{Hash: crypto.MD5}},
	}
	v := verifier(t, cfg)
	cfg.FirebaseSignerKey[0], cfg.NodeScrypt.KeyLength, cfg.InsecureDigests[0].Hash = 1, 32, crypto.SHA512
	assert.Zero(t, v.cfg.FirebaseSignerKey[0])
	assert.NoError(t, v.Check(strings.Repeat("ab", 16)+":"+strings.Repeat("cd", 16)))
	assert.NoError(t, v.Check(strings.Repeat("ab", 16)))
}
