package claims

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

const (
	// MaxName is how long the name of a user, session, token or key may be, in bytes; OpenID Connect allows 255 for sub.
	MaxName = 512
	maxTime = 253402300800 // the year 10000, in Unix seconds
)

// FoldedNames maps names, folded, to themselves. It is an error if two differ in letter case alone.
func FoldedNames(names []string) (map[string]string, error) {
	folded := make(map[string]string, len(names))
	for _, name := range names {
		f := fold(name)
		if other, ok := folded[f]; ok && other != name {
			return nil, fmt.Errorf("the claims %q and %q differ in letter case alone", other, name)
		}
		folded[f] = name
	}
	return folded, nil
}

// fold returns one spelling for all that strings.EqualFold takes for equal: lower case in ASCII.
func fold(s string) string {
	if isFolded(s) {
		return s
	}
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		if 'A' <= least && least <= 'Z' {
			least += 'a' - 'A'
		}
		return least
	}, s)
}

func isFolded(s string) bool {
	for i := range len(s) {
		if c := s[i]; 'A' <= c && c <= 'Z' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// CheckNames refuses, unless names is nil, members whose names differ in letter case alone from each other, or from one of names.
func CheckNames(object map[string]any, names map[string]string) error {
	if names == nil {
		return nil
	}
	var seen map[string]bool
	for name := range object {
		folded := name
		if !isFolded(name) {
			folded = fold(name)
			if _, twin := object[folded]; twin && folded != name || seen[folded] {
				return errors.New("two names differ in letter case alone")
			}
			if seen == nil {
				seen = make(map[string]bool)
			}
			seen[folded] = true
		}
		if right, ok := names[folded]; ok && right != name {
			return fmt.Errorf("%q is spelled in another letter case", right)
		}
	}
	return nil
}

// IsName tells whether v can name a user, session, token or key.
func IsName(v any) bool {
	s, _ := v.(string)
	return s != "" && len(s) <= MaxName && strings.TrimSpace(s) != "" && !strings.ContainsFunc(s, unicode.IsControl)
}

// Time reads a NumericDate (RFC 7519 §2): seconds since 1970, with or without a fraction.
func Time(v any) (time.Time, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, false
	}
	if seconds, err := strconv.ParseInt(string(n), 10, 64); err == nil {
		if seconds < 0 || seconds >= maxTime {
			return time.Time{}, false
		}
		return time.Unix(seconds, 0), true
	}
	f, err := strconv.ParseFloat(string(n), 64)
	if err != nil || f < 0 || f >= maxTime {
		return time.Time{}, false
	}
	seconds, fraction := math.Modf(f)
	return time.Unix(int64(seconds), int64(fraction*1e9)), true
}

// IsToken68 tells whether s has the form of a bearer token (RFC 6750 §2.1).
func IsToken68(s string) bool {
	s = strings.TrimRight(s, "=")
	var foreign byte // without a branch for each byte, since every request comes by here
	for i := range len(s) {
		foreign |= notToken68[s[i]]
	}
	return s != "" && foreign == 0
}

// notToken68 is 1 for what must not stand in a bearer token.
var notToken68 = func() (table [256]byte) {
	for i := range table {
		if !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/", rune(i)) {
			table[i] = 1
		}
	}
	return table
}()

// Identities says which claims tell whose a token is. Without Tenant all are of no tenant.
type Identities struct {
	Subject  string
	Sessions []string // the first that is there counts
	Tenant   string
	Tenants  map[string]string // what the values of Tenant stand for
}

// Identity is what the claims say; only the Subject is always there.
type Identity struct{ Subject, SessionID, TokenID, TenantID string }

// Of reads them. A claim that is there must be a name, see [IsName], and a tenant one of Tenants.
func (n Identities) Of(object map[string]any) (Identity, error) {
	var id Identity
	if err := name(object, n.Subject, &id.Subject); err != nil {
		return Identity{}, err
	}
	if id.Subject == "" {
		return Identity{}, fmt.Errorf("no user is named (%s)", n.Subject)
	}
	for _, claim := range n.Sessions {
		if err := name(object, claim, &id.SessionID); err != nil {
			return Identity{}, err
		}
		if id.SessionID != "" {
			break
		}
	}
	if err := name(object, "jti", &id.TokenID); err != nil {
		return Identity{}, err
	}
	if n.Tenant == "" {
		return id, nil
	}
	value, _ := object[n.Tenant].(string)
	tenant, ok := n.Tenants[value]
	if !ok {
		return Identity{}, fmt.Errorf("the tenant (%s) is none of the configured Tenants", n.Tenant)
	}
	id.TenantID = tenant
	return id, nil
}

// name takes a claim over if it is there.
func name(from map[string]any, claim string, into *string) error {
	value, ok := from[claim]
	if !ok {
		return nil
	}
	if !IsName(value) {
		return fmt.Errorf("%s is no string of 1 to %d bytes without control characters", claim, MaxName)
	}
	*into = value.(string)
	return nil
}
