package passhash

import (
	"encoding/base64"
	"regexp"

	"golang.org/x/crypto/argon2"
)

var argon2Form = regexp.MustCompile(
	`^\$argon2(id|i)\$v=19\$m=(\d+),t=(\d+),p=(\d+)\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)$`)

// parseArgon2: https://github.com/P-H-C/phc-string-format and RFC 9106, in the one version that it describes, 0x13.
func parseArgon2(c *Config, encoded string) (check, error) {
	m := argon2Form.FindStringSubmatch(encoded)
	if m == nil {
		return broken("Argon2 (argon2id or argon2i in version 19 is expected)")
	}
	memory, ok1 := number(m[2])
	passes, ok2 := number(m[3])
	lanes, ok3 := number(m[4])
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(m[5])
	want, err2 := base64.RawStdEncoding.Strict().DecodeString(m[6])
	if !ok1 || !ok2 || !ok3 || err1 != nil || err2 != nil || passes < 1 || lanes < 1 || lanes > 255 || memory < 8*lanes ||
		len(salt) < 8 || len(salt) > 256 || len(want) < 16 || len(want) > 128 {
		return broken("Argon2")
	}
	if bytes := product(memory, 1024); bytes > c.MaxMemory {
		return nil, over("Argon2", "bytes of memory", "MaxMemory", bytes, c.MaxMemory)
	}
	if work := product(memory, 1024, passes); work > c.MaxMemoryWork {
		return nil, over("Argon2", "memory times passes", "MaxMemoryWork", work, c.MaxMemoryWork)
	}
	derive := argon2.IDKey
	if m[1] == "i" {
		derive = argon2.Key
	}
	return func(password string) (bool, error) {
		return same(derive([]byte(password), salt, uint32(passes), uint32(memory), uint8(lanes), uint32(len(want))), want), nil
	}, nil
}
