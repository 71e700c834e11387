package passhash

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/crypto/bcrypt"
)

const maxBcryptPassword = 72

// The last character of a salt has four bits to spare. Libraries write zeros there and compare the text, so others never match.
var (
	bcryptForm        = regexp.MustCompile(`^\$2[abxy]\$(?:0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}$`)
	passlibBcryptForm = regexp.MustCompile(
		`^\$bcrypt-sha256\$(v=2,t=)?(2[aby]),(?:r=)?(\d{1,2})\$([./A-Za-z0-9]{22})\$([./A-Za-z0-9]{31})$`)
)

func parseBcrypt(c *Config, encoded string) (check, error) {
	if !bcryptForm.MatchString(encoded) {
		return broken("bcrypt")
	}
	if cost, _ := strconv.ParseInt(encoded[4:6], 10, 64); cost > int64(c.MaxBcryptCost) {
		return nil, over("bcrypt", "a cost", "MaxBcryptCost", cost, int64(c.MaxBcryptCost))
	}
	return func(password string) (bool, error) {
		if encoded[2] == 'x' && strings.ContainsFunc(password, func(r rune) bool { return r >= utf8.RuneSelf }) {
			return false, nil
		}
		err := bcrypt.CompareHashAndPassword([]byte(encoded), []byte(password[:min(len(password), maxBcryptPassword)]))
		if errors.Is(err, bcrypt.ErrMismatchedHashAndPassword) {
			return false, nil
		}
		return err == nil, err
	}, nil
}

// after is bcrypt of what prepare makes of the password.
func after(prepare func(password []byte) string, c *Config, encoded string) (check, error) {
	matches, err := parseBcrypt(c, encoded)
	if err != nil {
		return nil, err
	}
	return func(password string) (bool, error) { return matches(prepare([]byte(password))) }, nil
}

// parseDjangoBcryptSHA256: https://docs.djangoproject.com/en/5.2/topics/auth/passwords/, BCryptSHA256PasswordHasher.
func parseDjangoBcryptSHA256(c *Config, encoded string) (check, error) {
	return after(func(password []byte) string {
		sum := sha256.Sum256(password)
		return hex.EncodeToString(sum[:])
	}, c, strings.TrimPrefix(encoded, "bcrypt_sha256$"))
}

// parsePasslibBcryptSHA256: https://passlib.readthedocs.io/en/stable/lib/passlib.hash.bcrypt_sha256.html
func parsePasslibBcryptSHA256(c *Config, encoded string) (check, error) {
	m := passlibBcryptForm.FindStringSubmatch(encoded)
	if m == nil || (m[1] == "") == strings.Contains(encoded, ",r=") {
		return broken("passlib's bcrypt_sha256")
	}
	version, ident, cost, salt, sum := m[1], m[2], m[3], m[4], m[5]
	if len(cost) == 1 {
		cost = "0" + cost
	}
	return after(func(password []byte) string {
		if version == "" {
			sum := sha256.Sum256(password)
			return base64.StdEncoding.EncodeToString(sum[:])
		}
		mac := hmac.New(sha256.New, []byte(salt))
		mac.Write(password)
		return base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}, c, "$"+ident+"$"+cost+"$"+salt+sum)
}

// parseWordPress: https://make.wordpress.org/core/2025/02/17/wordpress-6-8-will-use-bcrypt-for-password-hashing/
func parseWordPress(c *Config, encoded string) (check, error) {
	return after(func(password []byte) string {
		mac := hmac.New(sha512.New384, []byte("wp-sha384"))
		mac.Write(password)
		return base64.StdEncoding.EncodeToString(mac.Sum(nil))
	}, c, strings.TrimPrefix(encoded, "$wp"))
}
