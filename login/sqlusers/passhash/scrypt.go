package passhash

import (
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"
	"math/bits"
	"regexp"
	"strings"

	"golang.org/x/crypto/scrypt"
)

type scryptCost struct{ n, r, p int64 }

var errScryptCost = errors.New("scrypt wants an N that is a power of two above 1, and r and p above 0")

func (s scryptCost) within(c *Config, format string) error {
	if s.n < 2 || bits.OnesCount64(uint64(s.n)) != 1 || s.r < 1 || s.p < 1 {
		return errScryptCost
	}
	if bytes := product(128, s.n, s.r); bytes > c.MaxMemory {
		return over(format, "bytes of memory", "MaxMemory", bytes, c.MaxMemory)
	}
	if work := product(128, s.n, s.r, s.p); work > c.MaxMemoryWork {
		return over(format, "memory times p", "MaxMemoryWork", work, c.MaxMemoryWork)
	}
	return nil
}

func (s scryptCost) key(password string, salt []byte, length int) ([]byte, error) {
	return scrypt.Key([]byte(password), salt, int(s.n), int(s.r), int(s.p), length)
}

// check wants 32 or 64 bytes, which is what is stored: a shorter output of scrypt is the beginning of a longer one, so that a text
// that was cut off elsewhere would still match.
func (s scryptCost) check(c *Config, format string, salt, want []byte) (check, error) {
	if len(salt) < 1 || len(salt) > 1024 || len(want) != 32 && len(want) != 64 {
		return broken(format)
	}
	if err := s.within(c, format); errors.Is(err, errScryptCost) {
		return broken(format)
	} else if err != nil {
		return nil, err
	}
	return func(password string) (bool, error) {
		got, err := s.key(password, salt, len(want))
		return err == nil && same(got, want), err
	}, nil
}

var phcScryptForm = regexp.MustCompile(`^\$scrypt\$ln=(\d{1,2}),r=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$`)

// parsePHCScrypt: https://passlib.readthedocs.io/en/stable/lib/passlib.hash.scrypt.html
func parsePHCScrypt(c *Config, encoded string) (check, error) {
	const format = "scrypt"
	m := phcScryptForm.FindStringSubmatch(encoded)
	if m == nil {
		return broken(format)
	}
	ln, ok1 := number(m[1])
	r, ok2 := number(m[2])
	p, ok3 := number(m[3])
	salt, err1 := decodeRaw(m[4])
	want, err2 := decodeRaw(m[5])
	if !ok1 || !ok2 || !ok3 || err1 != nil || err2 != nil || ln < 1 || ln > 62 {
		return broken(format)
	}
	return scryptCost{1 << ln, r, p}.check(c, format, salt, want)
}

// parseDjangoScrypt: scrypt$16384$salt$8$1$base64
func parseDjangoScrypt(c *Config, encoded string) (check, error) {
	const format = "Django's scrypt"
	parts := strings.Split(strings.TrimPrefix(encoded, "scrypt$"), "$")
	if len(parts) != 5 || strings.ContainsAny(encoded, "\r\n") {
		return broken(format)
	}
	n, ok1 := number(parts[0])
	r, ok2 := number(parts[2])
	p, ok3 := number(parts[3])
	want, err := base64.StdEncoding.Strict().DecodeString(parts[4])
	if !ok1 || !ok2 || !ok3 || err != nil {
		return broken(format)
	}
	return scryptCost{n, r, p}.check(c, format, []byte(parts[1]), want)
}

// parseWerkzeugScrypt: scrypt:32768:8:1$salt$hex
func parseWerkzeugScrypt(c *Config, encoded string) (check, error) {
	const format = "Werkzeug's scrypt"
	parts := strings.Split(encoded, "$")
	method := strings.Split(parts[0], ":")
	if len(parts) != 3 || len(method) != 4 {
		return broken(format)
	}
	n, ok1 := number(method[1])
	r, ok2 := number(method[2])
	p, ok3 := number(method[3])
	want, err := decodeHex(parts[2])
	if !ok1 || !ok2 || !ok3 || err != nil {
		return broken(format)
	}
	return scryptCost{n, r, p}.check(c, format, []byte(parts[1]), want)
}

var firebaseForm = regexp.MustCompile(
	`^\$f_scrypt\$([A-Za-z0-9+/_-]+={0,2})\$([A-Za-z0-9+/_-]+={0,2})\$m=(\d{1,2})\$r=(\d{1,3})\$s=([A-Za-z0-9+/_-]+={0,2})$`)

// parseFirebase: https://github.com/firebase/scrypt, in the form that SuperTokens gave it: scrypt makes a key, with which the
// project's signer key is encrypted; the result is the hash.
func parseFirebase(c *Config, encoded string) (check, error) {
	const format = "Firebase's scrypt"
	m := firebaseForm.FindStringSubmatch(encoded)
	if m == nil {
		return broken(format)
	}
	if len(c.FirebaseSignerKey) == 0 {
		return nil, fmt.Errorf("%w: %s needs Config.FirebaseSignerKey", ErrFormat, format)
	}
	want, err1 := decodeFirebase(m[1])
	salt, err2 := decodeFirebase(m[2])
	separator, err3 := decodeFirebase(m[5])
	ln, ok1 := number(m[3])
	r, ok2 := number(m[4])
	if err1 != nil || err2 != nil || err3 != nil || !ok1 || !ok2 || ln < 1 || ln > 62 ||
		len(want) != len(c.FirebaseSignerKey) || len(salt) > 1024 {
		return broken(format)
	}
	cost := scryptCost{1 << ln, r, 1}
	if err := cost.within(c, format); errors.Is(err, errScryptCost) {
		return broken(format)
	} else if err != nil {
		return nil, err
	}
	salt = append(salt, separator...)
	return func(password string) (bool, error) {
		key, err := cost.key(password, salt, 32)
		if err != nil {
			return false, err
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return false, err
		}
		got := make([]byte, len(c.FirebaseSignerKey))
		cipher.NewCTR(block, make([]byte, aes.BlockSize)).XORKeyStream(got, c.FirebaseSignerKey)
		return same(got, want), nil
	}, nil
}

// decodeFirebase reads both alphabets of base64, padded or not: exports differ.
func decodeFirebase(s string) ([]byte, error) {
	return decodeRaw(strings.NewReplacer("-", "+", "_", "/", "=", "").Replace(s))
}

// NodeScrypt is how an application stored what Node's crypto.scrypt made: as the hexadecimal digits of salt and key. The zero value
// is "salt:key" with Node's defaults, and a salt that went into scrypt as the digits that stand there:
//
//	const salt = randomBytes(16).toString('hex')
//	return salt + ':' + scryptSync(password, salt, 64).toString('hex')
type NodeScrypt struct {
	// N, R and P are cost, blockSize and parallelization. Default 16384, 8, 1.
	N, R, P int
	// KeyLength is how many bytes scrypt was asked for. Default 64.
	KeyLength int
	// Separator stands between the two. Default ":".
	Separator string
	// KeyFirst: the key stands before the salt.
	KeyFirst bool
	// BinarySalt: what went into scrypt was the bytes of the salt, not its digits.
	BinarySalt bool
}

func (n *NodeScrypt) prepare(c *Config) error {
	n.N, n.R, n.P = cmp.Or(n.N, 16384), cmp.Or(n.R, 8), cmp.Or(n.P, 1)
	n.KeyLength, n.Separator = cmp.Or(n.KeyLength, 64), cmp.Or(n.Separator, ":")
	if n.KeyLength < 16 || n.KeyLength > 128 {
		return fmt.Errorf("field KeyLength is %d: from 16 to 128 is expected", n.KeyLength)
	}
	if len(n.Separator) > 1 || strings.Contains("0123456789abcdefABCDEF", n.Separator) {
		return errors.New("field Separator is no single character other than a hexadecimal digit")
	}
	return n.cost().within(c, "scrypt")
}

func (n *NodeScrypt) cost() scryptCost { return scryptCost{int64(n.N), int64(n.R), int64(n.P)} }

// parse returns nil for a text of another form.
func (n *NodeScrypt) parse(encoded string) check {
	text, key, ok := strings.Cut(encoded, n.Separator)
	if n.KeyFirst {
		text, key = key, text
	}
	want, err := decodeHex(key)
	salt, errSalt := decodeHex(text)
	if !ok || err != nil || errSalt != nil || len(salt) < 8 || len(salt) > 256 || len(want) != n.KeyLength {
		return nil
	}
	if !n.BinarySalt {
		salt = []byte(text)
	}
	return func(password string) (bool, error) {
		got, err := n.cost().key(password, salt, len(want))
		return err == nil && same(got, want), err
	}
}
