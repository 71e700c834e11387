package passhash

import (
	"crypto"
	_ "crypto/md5"    // for InsecureDigest
	_ "crypto/sha1"   // for InsecureDigest
	_ "crypto/sha256" // for InsecureDigest
	_ "crypto/sha512" // for InsecureDigest
	"encoding/hex"
	"errors"
	"slices"
	"strings"
)

// InsecureDigest is one round of a fast hash function over salt and password. Some examples:
//
//	Django's sha1$salt$hex      {Hash: crypto.SHA1, Prefix: "sha1$", Separator: "$", SaltFirst: true}
//	LDAP's {SSHA}base64         {Hash: crypto.SHA1, Prefix: "{SSHA}", Base64: true, PasswordFirst: true}
//	md5(password) in hex        {Hash: crypto.MD5}
type InsecureDigest struct {
	// Hash is crypto.MD5, SHA1, SHA256 or SHA512. Required.
	Hash crypto.Hash
	// Prefix stands before everything else. Default: nothing does.
	Prefix string
	// Separator stands between hash and salt, which is text then. Default: the salt is the bytes that follow the hash in the same
	// encoding; if none do, there is no salt.
	Separator string
	// SaltFirst: the salt stands before the hash. It needs a Separator.
	SaltFirst bool
	// PasswordFirst: the function took the password and then the salt. Default: the salt and then the password.
	PasswordFirst bool
	// Base64: the hash is in base64, padded or not. Default: in hexadecimal digits.
	Base64 bool
}

func (d InsecureDigest) validate() error {
	switch {
	case !slices.Contains([]crypto.Hash{crypto.MD5, crypto.SHA1, crypto.SHA256, crypto.SHA512}, d.Hash):
		return errors.New("field Hash is none of crypto.MD5, SHA1, SHA256 and SHA512")
	case d.SaltFirst && d.Separator == "":
		return errors.New("field SaltFirst needs a Separator")
	case strings.HasPrefix(d.Prefix, "$"):
		return errors.New(`field Prefix: hashes with a "$" before them are told by themselves`)
	}
	return nil
}

// parse returns nil for a text of another form.
func (d InsecureDigest) parse(encoded string) check {
	rest, ok := strings.CutPrefix(encoded, d.Prefix)
	if !ok {
		return nil
	}
	digest, salt := rest, ""
	if d.Separator != "" {
		if digest, salt, ok = strings.Cut(rest, d.Separator); !ok || strings.Contains(salt, d.Separator) {
			return nil
		}
		if d.SaltFirst {
			digest, salt = salt, digest
		}
	}
	decode := hex.DecodeString
	if d.Base64 {
		decode = func(s string) ([]byte, error) { return decodeRaw(strings.TrimRight(s, "=")) }
	}
	want, err := decode(digest)
	size := d.Hash.Size()
	if err != nil || len(want) < size || len(want) > size && d.Separator != "" || len(want)+len(salt) > size+256 {
		return nil
	}
	if d.Separator == "" {
		salt = string(want[size:])
	}
	want = want[:size]
	return func(password string) (bool, error) {
		h := d.Hash.New()
		if d.PasswordFirst {
			h.Write([]byte(password + salt))
		} else {
			h.Write([]byte(salt + password))
		}
		return same(h.Sum(nil), want), nil
	}
}
