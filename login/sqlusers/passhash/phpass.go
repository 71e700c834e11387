package passhash

import (
	"crypto/md5"
	"strings"
)

const itoa64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// parsePhpass: https://www.openwall.com/phpass/, its portable hashes: a letter for the logarithm of the count, 8 characters of
// salt, 22 of hash.
func parsePhpass(c *Config, encoded string) (check, error) {
	const format = "phpass"
	if len(encoded) != 34 || strings.Trim(encoded[3:], itoa64) != "" {
		return broken(format)
	}
	log := strings.IndexByte(itoa64, encoded[3])
	if log < 7 || log > 30 {
		return broken(format)
	}
	count, limit := int64(1)<<log, int64(c.MaxIterations)
	if count > limit {
		return nil, over(format, "rounds", "MaxIterations", count, limit)
	}
	return func(password string) (bool, error) {
		blocks := int64(md5.Size+len(password)+9+63) / 64
		if n := product(count, blocks); n > limit {
			return false, over(format, "rounds for a long password", "MaxIterations", n, limit)
		}
		text := []byte(encoded[4:12] + password)
		sum := md5.Sum(text)
		text = append(make([]byte, md5.Size), password...)
		for range count {
			copy(text, sum[:])
			sum = md5.Sum(text)
		}
		return same(encodeItoa64(sum[:]), []byte(encoded[12:])), nil
	}, nil
}

// encodeItoa64 is a base64 of its own: three bytes are a little-endian number, written from its low end.
func encodeItoa64(data []byte) []byte {
	var out []byte
	for len(data) > 0 {
		group := data[:min(3, len(data))]
		data = data[len(group):]
		var n uint32
		for i, b := range group {
			n |= uint32(b) << (8 * i)
		}
		for range len(group) + 1 {
			out = append(out, itoa64[n&63])
			n >>= 6
		}
	}
	return out
}
