package revoke

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/isnil"
)

// ClearingCookies revokes by another revoker, and says which cookies of the legacy system the answer should take from the
// browser. Safe for concurrent use.
type ClearingCookies struct {
	next    stmigrate.Revoker
	cookies []*http.Cookie
}

// Unwrap returns the Revoker that ClearCookies was given.
func (c *ClearingCookies) Unwrap() stmigrate.Revoker { return c.next }

// ClearCookies wraps next. The cookies are those that the legacy system sets, with the Name, Path, Domain and attributes that it
// sets them with: a browser takes a cookie only for another of the same name, domain and path (RFC 6265 §5.3). Their values do
// not matter. [stmigrate.LeaveToExpire] is the next where a cookie is all that there is of a legacy session.
//
// A cookie can be taken only by the host, or a host below the domain, that set it: not that of a provider on a domain of its own.
// And it is no revocation: whoever copied the cookie has it still.
func ClearCookies(next stmigrate.Revoker, cookies ...*http.Cookie) (*ClearingCookies, error) {
	if isnil.Value(next) {
		return nil, errors.New("revoke: ClearCookies: next is required")
	}
	if len(cookies) == 0 {
		return nil, errors.New("revoke: ClearCookies: no cookies")
	}
	c := &ClearingCookies{next: next}
	for i, cookie := range cookies {
		if cookie == nil {
			return nil, fmt.Errorf("revoke: ClearCookies: cookie %d is nil", i)
		}
		expired := &http.Cookie{
			Name: cookie.Name, Path: cookie.Path, Domain: cookie.Domain, Secure: cookie.Secure, HttpOnly: cookie.HttpOnly,
			SameSite: cookie.SameSite, Partitioned: cookie.Partitioned, MaxAge: -1, Expires: time.Unix(0, 0).UTC(),
		}
		if err := checkCookie(expired); err != nil {
			return nil, fmt.Errorf("revoke: ClearCookies: cookie %d (%q): %w", i, cookie.Name, err)
		}
		if slices.ContainsFunc(c.cookies, func(other *http.Cookie) bool {
			return other.Name == expired.Name && other.Path == expired.Path && strings.EqualFold(other.Domain, expired.Domain)
		}) {
			return nil, fmt.Errorf("revoke: ClearCookies: cookie %d (%q) is there twice", i, cookie.Name)
		}
		c.cookies = append(c.cookies, expired)
	}
	return c, nil
}

// checkCookie refuses what net/http would leave out without a word, and what browsers ignore.
func checkCookie(c *http.Cookie) error {
	if err := c.Valid(); err != nil {
		return err
	}
	name := strings.ToLower(c.Name) // browsers match the prefixes so
	switch {
	case !strings.HasPrefix(c.Path, "/"):
		return fmt.Errorf("its Path is %q: the one that it was set with is wanted, beginning with a slash", c.Path)
	case strings.HasPrefix(name, "__host-") && (!c.Secure || c.Path != "/" || c.Domain != ""):
		return errors.New("__Host- wants Secure, Path \"/\" and no Domain")
	case strings.HasPrefix(name, "__secure-") && !c.Secure:
		return errors.New("__Secure- wants Secure")
	case c.SameSite == http.SameSiteNoneMode && !c.Secure:
		return errors.New("SameSite=None wants Secure")
	}
	return nil
}

// Revoke implements [stmigrate.Revoker]: next's.
func (c *ClearingCookies) Revoke(ctx context.Context, token string, s *stmigrate.OldSession) error {
	return c.next.Revoke(ctx, token, s)
}

// ClearedCookies returns the cookies to set: expired, empty, and the caller's own.
func (c *ClearingCookies) ClearedCookies() []*http.Cookie {
	out := clearedBy(c.next)
	for _, cookie := range c.cookies {
		own := *cookie
		out = append(out, &own)
	}
	return out
}

// clearedBy returns the cookies that r clears, if it clears any.
func clearedBy(r stmigrate.Revoker) []*http.Cookie {
	if c, ok := r.(interface{ ClearedCookies() []*http.Cookie }); ok {
		return c.ClearedCookies()
	}
	return nil
}
