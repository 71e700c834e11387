package passhash

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"hash"
	"strings"
)

// newHash are the hash functions that PBKDF2 is stored with. "" is what passlib calls just pbkdf2.
var newHash = map[string]func() hash.Hash{
	"": sha1.New, "sha1": sha1.New, "sha256": sha256.New, "sha512": sha512.New,
}

type pbkdf2Params struct {
	hash       func() hash.Hash
	iterations int64
	salt, want []byte
}

// whole is check for formats whose output is as long as the hash function's. PBKDF2's shorter output is the beginning of its
// longer one, so that a text that was cut off would still match.
func (p pbkdf2Params) whole(c *Config, format string) (check, error) {
	if p.hash == nil || len(p.want) != p.hash().Size() {
		return broken(format)
	}
	return p.check(c, format)
}

func (p pbkdf2Params) check(c *Config, format string) (check, error) {
	if p.iterations < 1 || len(p.salt) < 1 || len(p.salt) > 1024 || len(p.want) < 16 || len(p.want) > 128 {
		return broken(format)
	}
	size := p.hash().Size()
	blocks := int64((len(p.want) + size - 1) / size)
	if n := product(p.iterations, blocks); n > int64(c.MaxIterations) {
		return nil, over(format, "iterations", "MaxIterations", n, int64(c.MaxIterations))
	}
	return func(password string) (bool, error) {
		got, err := pbkdf2.Key(p.hash, password, p.salt, int(p.iterations), len(p.want))
		return err == nil && same(got, p.want), err
	}, nil
}

// parseDjangoPBKDF2: pbkdf2_sha256$600000$salt$base64
func parseDjangoPBKDF2(c *Config, encoded string) (check, error) {
	const format = "Django's PBKDF2"
	parts := strings.Split(strings.TrimPrefix(encoded, "pbkdf2_"), "$")
	if len(parts) != 4 || parts[0] == "" {
		return broken(format)
	}
	iterations, ok := number(parts[1])
	want, err := base64.StdEncoding.Strict().DecodeString(parts[3])
	if !ok || err != nil || strings.ContainsAny(parts[3], "\r\n") {
		return broken(format)
	}
	return pbkdf2Params{newHash[parts[0]], iterations, []byte(parts[2]), want}.whole(c, format)
}

// parsePasslibPBKDF2: $pbkdf2-sha256$29000$salt$hash, in base64 without padding and with . for +
// (https://passlib.readthedocs.io/en/stable/lib/passlib.hash.pbkdf2_digest.html).
func parsePasslibPBKDF2(c *Config, encoded string) (check, error) {
	const format = "passlib's PBKDF2"
	parts := strings.Split(strings.TrimPrefix(encoded, "$pbkdf2"), "$")
	name, named := strings.CutPrefix(parts[0], "-")
	if len(parts) != 4 || named == (name == "") || strings.Contains(encoded, "+") {
		return broken(format)
	}
	iterations, ok := number(parts[1])
	salt, err1 := decodeRaw(strings.ReplaceAll(parts[2], ".", "+"))
	want, err2 := decodeRaw(strings.ReplaceAll(parts[3], ".", "+"))
	if !ok || err1 != nil || err2 != nil {
		return broken(format)
	}
	return pbkdf2Params{newHash[name], iterations, salt, want}.whole(c, format)
}

// parseWerkzeugPBKDF2: pbkdf2:sha256:600000$salt$hex (https://werkzeug.palletsprojects.com/en/stable/utils/, generate_password_hash).
func parseWerkzeugPBKDF2(c *Config, encoded string) (check, error) {
	const format = "Werkzeug's PBKDF2"
	parts := strings.Split(encoded, "$")
	method := strings.Split(parts[0], ":")
	if len(parts) != 3 || len(method) != 3 || method[1] == "" {
		return broken(format)
	}
	iterations, ok := number(method[2])
	want, err := decodeHex(parts[2])
	if !ok || err != nil {
		return broken(format)
	}
	return pbkdf2Params{newHash[method[1]], iterations, []byte(parts[1]), want}.whole(c, format)
}

// parseIdentity: the two layouts that https://github.com/dotnet/aspnetcore describes at the head of
// src/Identity/Extensions.Core/src/PasswordHasher.cs, in base64. As there, a key of the third version may be of any length from 16
// bytes on, so that one which was cut off to no less still matches.
func parseIdentity(c *Config, encoded string) (check, error) {
	const format = "ASP.NET Identity"
	data, err := base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || strings.ContainsAny(encoded, "\r\n") {
		return nil, ErrFormat
	}
	switch {
	case len(data) == 1+16+32 && data[0] == 0:
		return pbkdf2Params{sha1.New, 1000, data[1:17], data[17:]}.check(c, format)
	case len(data) >= 13 && data[0] == 1:
		function, iterations := binary.BigEndian.Uint32(data[1:]), binary.BigEndian.Uint32(data[5:])
		saltLength, rest := binary.BigEndian.Uint32(data[9:]), data[13:]
		functions := []func() hash.Hash{sha1.New, sha256.New, sha512.New}
		if function < uint32(len(functions)) && saltLength >= 16 && uint64(saltLength) < uint64(len(rest)) {
			return pbkdf2Params{functions[function], int64(iterations), rest[:saltLength], rest[saltLength:]}.check(c, format)
		}
	}
	return broken(format)
}

// decodeRaw reads base64 without padding, and nothing that is not the one way to write it.
func decodeRaw(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") { // which encoding/base64 ignores
		return nil, base64.CorruptInputError(0)
	}
	return base64.RawStdEncoding.Strict().DecodeString(s)
}

// decodeHex reads lower-case digits, as Python and Node write them.
func decodeHex(s string) ([]byte, error) {
	if strings.ContainsAny(s, "ABCDEF") {
		return nil, hex.InvalidByteError('A')
	}
	return hex.DecodeString(s)
}
