package coreemu

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"math/big"
	"strconv"
	"strings"
	"sync"
)

// password is what a user's password is compared with: a digest, a hash that was imported, or both.
type password struct {
	digest *[32]byte
	hash   string
}

// set makes this the password and leaves an imported hash to be seen.
func (p *password) set(secret string) {
	sum := sha256.Sum256([]byte(secret))
	p.digest = &sum
}

// change makes this the password and nothing else.
func (p *password) change(secret string) {
	p.hash = ""
	p.set(secret)
}

func (p *password) matches(secret string) bool {
	if sum := sha256.Sum256([]byte(secret)); p.digest != nil {
		return subtle.ConstantTimeCompare(sum[:], p.digest[:]) == 1
	}
	if !bcryptMatches(p.hash, secret) {
		return false
	}
	p.set(secret) // so that the next time is fast
	return true
}

// checkHash is all that the core asks of an imported hash: how it begins.
func checkHash(hash, algorithm string, given bool) error {
	begins := func(prefixes ...string) bool {
		for _, p := range prefixes {
			if strings.HasPrefix(hash, p) {
				return true
			}
		}
		return false
	}
	bcrypt, argon2, firebase := begins("$2a", "$2b", "$2x", "$2y"), begins("$argon2i", "$argon2d"), begins("$f_scrypt")
	switch {
	case !given && !bcrypt && !argon2 && !firebase:
		return badRequest("Password hash is in invalid format")
	case !given:
		return nil
	case algorithm == "":
		return badRequest("Hashing Algorithm cannot be an empty string")
	case algorithm == "BCRYPT" && !bcrypt:
		return badRequest("Password hash is in invalid BCrypt format")
	case algorithm == "ARGON2" && !argon2:
		return badRequest("Password hash is in invalid Argon2 format")
	case algorithm == "FIREBASE_SCRYPT" && !firebase:
		return badRequest("Password hash is in invalid Firebase SCrypt format")
	case algorithm != "BCRYPT" && algorithm != "ARGON2" && algorithm != "FIREBASE_SCRYPT":
		return badRequest("Unsupported password hashing algorithm")
	}
	return nil
}

// maxBcryptCost bounds how long one sign-in may hold everybody else up.
const maxBcryptCost = 14

var bcryptBase64 = base64.NewEncoding(
	"./ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
).WithPadding(base64.NoPadding)

// bcryptMatches verifies a hash of the form $2b$<cost>$<22 of salt><31 of hash> (Provos and Mazières, "A Future-Adaptable
// Password Scheme", 1999). The standard library has no bcrypt, and users' test kits should not need another module.
func bcryptMatches(hash, secret string) bool {
	parts := strings.Split(hash, "$")
	if len(parts) != 4 || len(parts[3]) != 53 {
		return false
	}
	cost, err := strconv.Atoi(parts[2])
	salt, err1 := bcryptBase64.DecodeString(parts[3][:22])
	want, err2 := bcryptBase64.DecodeString(parts[3][22:])
	if err != nil || err1 != nil || err2 != nil || cost < 4 || cost > maxBcryptCost {
		return false
	}
	key := append([]byte(secret), 0)
	if len(key) > 72 {
		key = key[:72]
	}
	b := piBlowfish() // a copy
	b.expand(key, salt)
	for range 1 << cost {
		b.expand(key, make([]byte, 16))
		b.expand(salt, make([]byte, 16))
	}
	got := []byte("OrpheanBeholderScryDoubt")
	for i := 0; i < len(got); i += 8 {
		l, r := binary.BigEndian.Uint32(got[i:]), binary.BigEndian.Uint32(got[i+4:])
		for range 64 {
			l, r = b.encrypt(l, r)
		}
		binary.BigEndian.PutUint32(got[i:], l)
		binary.BigEndian.PutUint32(got[i+4:], r)
	}
	return subtle.ConstantTimeCompare(got[:23], want) == 1
}

// blowfish is the state of the cipher: 18 round keys, then four boxes of 256 words.
type blowfish [18 + 4*256]uint32

// piBlowfish is the state that keys are mixed into: the fraction of pi.
var piBlowfish = sync.OnceValue(func() blowfish {
	const bits, spare = 32 * uint(len(blowfish{})), 64
	one := new(big.Int).Lsh(big.NewInt(1), bits+spare)
	arctan := func(x int64) *big.Int { // of 1/x: the sum of ±1/((2k+1)·x^(2k+1))
		power, sum, square := new(big.Int).Quo(one, big.NewInt(x)), new(big.Int), big.NewInt(x*x)
		for k := int64(0); power.Sign() > 0; k++ {
			term := new(big.Int).Quo(power, big.NewInt(2*k+1))
			if k%2 == 1 {
				term.Neg(term)
			}
			sum.Add(sum, term)
			power.Quo(power, square)
		}
		return sum
	}
	pi := new(big.Int).Sub(new(big.Int).Mul(big.NewInt(16), arctan(5)), new(big.Int).Mul(big.NewInt(4), arctan(239))) // Machin
	fraction := pi.Mod(pi, one).Rsh(pi, spare).FillBytes(make([]byte, bits/8))
	var b blowfish
	for i := range b {
		b[i] = binary.BigEndian.Uint32(fraction[4*i:])
	}
	return b
})

func (b *blowfish) encrypt(l, r uint32) (uint32, uint32) {
	p, s := b[:18], b[18:]
	for i := 0; i < 16; i += 2 {
		l ^= p[i]
		r ^= ((s[l>>24] + s[256+l>>16&0xff]) ^ s[512+l>>8&0xff]) + s[768+l&0xff]
		r ^= p[i+1]
		l ^= ((s[r>>24] + s[256+r>>16&0xff]) ^ s[512+r>>8&0xff]) + s[768+r&0xff]
	}
	return r ^ p[17], l ^ p[16]
}

// expand mixes key and salt into the state.
func (b *blowfish) expand(key, salt []byte) {
	at := 0
	for i := range 18 {
		var word uint32
		for range 4 {
			word = word<<8 | uint32(key[at])
			at = (at + 1) % len(key)
		}
		b[i] ^= word
	}
	var l, r uint32
	for i := 0; i < len(b); i += 2 {
		l ^= binary.BigEndian.Uint32(salt[i%4*4:])
		r ^= binary.BigEndian.Uint32(salt[i%4*4+4:])
		l, r = b.encrypt(l, r)
		b[i], b[i+1] = l, r
	}
}
