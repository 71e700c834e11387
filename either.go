package stmigrate

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/stmigrate/stmigrate/internal/fdi"
)

// Identity is who makes a request, by whichever kind of session.
type Identity struct {
	// UserID and TenantID are those of SuperTokens.
	UserID, TenantID string
	// Legacy is the legacy session; nil where the request has a SuperTokens session.
	Legacy *OldSession
}

type identityKey struct{}

// WithIdentity returns a context for [IdentityFrom]. It is for middleware that verifies SuperTokens sessions in a way of
// its own; [Sessions.Require] needs no help.
func WithIdentity(ctx context.Context, id Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, &id)
}

// IdentityFrom returns who makes a request that [Migrator.RequireEither] let through.
func IdentityFrom(ctx context.Context) (Identity, bool) {
	if id, ok := ctx.Value(identityKey{}).(*Identity); ok {
		return *id, true
	}
	if s := SessionFrom(ctx); s != nil {
		return Identity{UserID: s.UserID(), TenantID: s.TenantID()}, true
	}
	return Identity{}, false
}

// ExchangePeeker is what an [ExchangeStore] may be, too: it looks at an entry without claiming it. With one,
// [Migrator.RequireEither] refuses every token of a session that was exchanged, and not only the one that was shown.
type ExchangePeeker interface {
	// Peek returns the entry of key, or a zero State where there is none.
	Peek(ctx context.Context, key ExchangeKey) (Claimed, error)
}

// legacyHeader tells a frontend that it still uses a legacy session, and should migrate.
const legacyHeader = "St-Migrate"

// RequireEither protects an API during the rollout: it lets requests with a SuperTokens session through, by require, and
// requests with a legacy session, by the Migrator's own verifier. next sees one [IdentityFrom] either way. The answer to a
// legacy session says St-Migrate: 1.
//
// A request with a SuperTokens access token goes to require, whatever else it carries; legacy tokens are taken out of it.
// Else a legacy token, in any of Config.Extract but a body, is verified (a good one is remembered for at most 60 s), checked
// against NotBefore, and refused once its session was exchanged and there is no answer left to replay, which is after Grace.
// It is taken out of the request before next sees it, but for what [FromRequest] found. A token that the verifier answers
// [ErrNotMine] for goes to require as it is. What Config.Users returns must depend on the legacy session alone. Identity.Legacy
// is shared by the requests that show the same token, and must not be changed.
func (m *Migrator) RequireEither(require func(http.Handler) http.Handler, next http.Handler) http.Handler {
	superTokens := require(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if hasAccessToken(r) {
			superTokens.ServeHTTP(w, m.withoutLegacy(r.Context(), r, fdi.IsAccessToken(fdi.BearerToken(r))))
			return
		}
		token, err := m.legacyToken(r)
		if err != nil {
			m.renderError(w, r, &Error{"extract", err})
			return
		}
		if token == "" {
			superTokens.ServeHTTP(w, r)
			return
		}
		id, err := m.identify(r.Context(), token)
		switch {
		case errors.Is(err, ErrNotMine):
			superTokens.ServeHTTP(w, r)
			return
		case err != nil:
			m.renderError(w, r, err)
			return
		}
		w.Header().Set(legacyHeader, "1")
		next.ServeHTTP(w, m.withoutLegacy(context.WithValue(r.Context(), identityKey{}, id), r, false))
	})
}

func (m *Migrator) renderError(w http.ResponseWriter, r *http.Request, err error) {
	if m.cfg.OnError != nil {
		m.cfg.OnError(w, r, err)
		return
	}
	RenderError(w, r, err)
}

// legacyToken finds the legacy token of an API's request as extract does. A body is the API's and is not read.
func (m *Migrator) legacyToken(r *http.Request) (token string, err error) {
	foreign := false
	token, err = m.findToken(r, m.inHeaders, func(e Extractor) {
		found, err := e.find(r)
		foreign = foreign || err != nil || found != ""
	})
	if err == nil && token == "" && foreign {
		err = foreignOrigin(r)
	}
	return token, err
}

func hasAccessToken(r *http.Request) bool {
	for _, token := range fdi.CookieTokens(r, fdi.AccessCookie) {
		if fdi.IsAccessToken(token) {
			return true
		}
	}
	return fdi.IsAccessToken(fdi.BearerToken(r))
}

// withoutLegacy returns r with another context and with nothing where a legacy token may stand. A SuperTokens token stays,
// which keepBearer says there is, and so does what is no bearer token at all.
func (m *Migrator) withoutLegacy(ctx context.Context, r *http.Request, keepBearer bool) *http.Request {
	r = r.WithContext(ctx)
	r.Header = maps.Clone(r.Header)
	for _, e := range m.extractors {
		switch {
		case e.cookie != "":
			dropCookie(r, e.cookie)
		case e.name != authorization:
		case keepBearer:
			r.Header[authorization] = r.Header[authorization][:1] // the one that was looked at
		case hasBearer(r):
			delete(r.Header, authorization)
		}
	}
	return r
}

// hasBearer tells whether FromBearer would find or refuse something, without looking at all of the token once more.
func hasBearer(r *http.Request) bool {
	lines := r.Header[authorization]
	if len(lines) != 1 {
		return len(lines) > 1
	}
	const scheme = "Bearer"
	line := lines[0]
	return len(line) > maxToken+len(scheme+" ") ||
		(len(line) >= len(scheme) && strings.EqualFold(line[:len(scheme)], scheme))
}

func dropCookie(r *http.Request, name string) {
	if r.Header["Cookie"] == nil {
		return
	}
	var kept []string
	for _, line := range r.Header["Cookie"] {
		for part := range strings.SplitSeq(line, ";") {
			part = strings.TrimSpace(part)
			if n, _, _ := strings.Cut(part, "="); part != "" && strings.TrimSpace(n) != name {
				kept = append(kept, part)
			}
		}
	}
	delete(r.Header, "Cookie")
	if len(kept) > 0 {
		r.Header["Cookie"] = []string{strings.Join(kept, "; ")}
	}
}

// identify verifies a legacy token as an exchange does, up to the claim.
func (m *Migrator) identify(ctx context.Context, token string) (*Identity, error) {
	var bytes [2 << 10]byte // on the stack, for all but unusual tokens
	key := sha256.Sum256(append(bytes[:0], token...))
	if id := m.seen.get(key); id != nil {
		return id, nil
	}
	ctx, cancel := context.WithTimeout(ctx, m.budget.wait)
	defer cancel()
	x := &exchange{m: m, extraction: extraction{token: token}, result: &Result{}}
	if err := x.identify(ctx); err != nil {
		return nil, inTime(ctx, err)
	}
	id := &Identity{UserID: x.user.ID, TenantID: x.user.TenantID, Legacy: x.result.Legacy}
	m.seen.put(key, id)
	return id, nil
}

func (x *exchange) identify(ctx context.Context) error {
	if err := x.verify(ctx); err != nil {
		return &Error{"verify", err}
	}
	if x.redeemer != nil {
		return &Error{"verify", errRedeemable}
	}
	if err := x.resolve(ctx); err != nil {
		return &Error{"resolve", err}
	}
	if err := x.notBefore(ctx, x.result.Legacy); err != nil {
		return &Error{"resolve", err}
	}
	if err := x.notExchanged(ctx); err != nil {
		return &Error{"claim", err}
	}
	return nil
}

// notExchanged refuses a session whose exchange was finished and whose grace is over.
func (x *exchange) notExchanged(ctx context.Context) error {
	var found []Claimed
	if peeker, ok := x.m.cfg.Exchanges.(ExchangePeeker); ok {
		key, _ := sessionKey(x.result.Legacy, x.token)
		claimed, err := peeker.Peek(ctx, key)
		if err != nil {
			return storeError(err)
		}
		found = append(found, claimed)
	} else {
		for _, shown := range x.m.vault.macs("shown", x.token) {
			claimed, err := x.m.cfg.Exchanges.Recall(ctx, shown)
			if err != nil {
				return storeError(err)
			}
			found = append(found, claimed)
		}
	}
	for _, claimed := range found {
		if claimed.State == ClaimDone && len(claimed.Sealed) == 0 {
			return fmt.Errorf("%w: it was exchanged, and its grace is over", ErrInvalidSession)
		}
	}
	return nil
}

const (
	identityTTL   = time.Minute
	maxIdentities = 8192
)

// identityCache remembers verified legacy tokens by hash, in two generations: the older one goes as a whole when the
// younger one is full or old.
type identityCache struct {
	now func() time.Time
	end time.Time // nothing is remembered past it, if it is set

	mu           sync.Mutex
	young, older map[[32]byte]cachedIdentity
	born         time.Time
}

type cachedIdentity struct {
	*Identity
	until time.Time
}

func (c *identityCache) get(key [32]byte) *Identity {
	now := c.now()
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.young[key]
	if !ok {
		e, ok = c.older[key]
	}
	if !ok || !now.Before(e.until) {
		return nil
	}
	return e.Identity
}

func (c *identityCache) put(key [32]byte, id *Identity) {
	now := c.now()
	until := now.Add(identityTTL)
	for _, end := range []time.Time{id.Legacy.ExpiresAt, c.end} {
		if !end.IsZero() && end.Before(until) {
			until = end
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.young == nil || len(c.young) >= maxIdentities || now.Sub(c.born) >= identityTTL {
		c.older, c.young, c.born = c.young, make(map[[32]byte]cachedIdentity), now
	}
	c.young[key] = cachedIdentity{id, until}
}
