package stmigrate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/claims"
	"github.com/stmigrate/stmigrate/internal/fdi"
)

// CreateSession implements [SessionMinter]. It refuses, before the core is asked, a payload that holds reserved claims or
// makes cookies larger than browsers keep.
func (s *Sessions) CreateSession(ctx context.Context, r *http.Request, u User) (*Tokens, error) {
	t, header, err := s.mint(ctx, r, u)
	if err != nil {
		return nil, err
	}
	return &Tokens{Handle: t.Handle, Header: header, State: mintState(t.UserID, t.Refresh.Expiry)}, nil
}

// mintState is what [Sessions.Pristine] knows a session by: whose it is, and when its refresh token ends. The latter
// changes in the core's database when the first refresh token is spent.
func mintState(userID string, refreshExpiry time.Time) []byte {
	return append(strconv.AppendInt(nil, refreshExpiry.UnixMilli(), 10), " "+userID...)
}

// undoTimeout bounds what must be undone although its request may be over.
const undoTimeout = 2 * time.Second

func (s *Sessions) mint(ctx context.Context, r *http.Request, u User) (*core.Tokens, http.Header, error) {
	cookies := s.cookieMode(r)
	if err := notTrimmed(u.ID); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNotCreated, err)
	}
	u, err := s.withClaims(ctx, u)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNotCreated, err)
	}
	payload, err := s.payload(u, cookies)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrNotCreated, err)
	}
	t, err := s.core.CreateSession(ctx, u.TenantID, core.NewSession{
		UserID: u.ID, Payload: payload, Data: u.SessionData,
		AntiCSRF: cookies && s.antiCSRF == AntiCSRFViaToken, StaticKey: s.static,
	})
	if err != nil {
		if e := (*core.Error)(nil); errors.As(err, &e) && e.NotDone() {
			return nil, nil, fmt.Errorf("%w: %w", ErrNotCreated, coreError(err))
		}
		return nil, nil, coreError(err)
	}
	header, err := s.render(r, t, cookies)
	if err == nil && t.UserID != u.ID {
		// The core keeps the session under another ID than it was asked for, and finds it by no other.
		err = errors.New("the core knows the user by another ID, which is the one to use: the external one of its mapping, or the primary user's")
	}
	if err != nil {
		return nil, nil, s.unmint(ctx, t.Handle, err)
	}
	return t, header, nil
}

// unmint ends a session of which nothing has left the process, because of err.
func (s *Sessions) unmint(ctx context.Context, handle string, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if _, undoErr := s.core.RemoveSessions(ctx, handle); undoErr != nil {
		return fmt.Errorf("%w; and it could not be revoked: %w", err, coreError(undoErr))
	}
	return fmt.Errorf("%w: %w", ErrNotCreated, err)
}

func (s *Sessions) cookieMode(r *http.Request) bool {
	return s.transfer == TransferCookie || (s.transfer == TransferAny && fdi.CookieMode(r))
}

// withClaims adds the claims of other recipes, which come before what the user was given.
func (s *Sessions) withClaims(ctx context.Context, u User) (User, error) {
	if s.claims == nil {
		return u, nil
	}
	claims, err := s.claims(ctx, u)
	if err != nil {
		return u, fmt.Errorf("SessionsConfig.Claims: %w", err)
	}
	payload := maps.Clone(u.AccessTokenPayload)
	if payload == nil {
		payload = make(map[string]any, len(claims))
	}
	maps.Copy(payload, claims)
	u.AccessTokenPayload = payload
	return u, nil
}

// payload is what the access token will carry beside the core's own claims.
func (s *Sessions) payload(u User, cookies bool) (map[string]any, error) {
	out := make(map[string]any, len(u.AccessTokenPayload)+1)
	for name, v := range u.AccessTokenPayload {
		if slices.Contains(fdi.ReservedClaims, name) {
			return nil, fmt.Errorf("the access token payload holds %q, which is reserved", name)
		}
		out[name] = v
	}
	out["iss"] = s.issuer
	return out, s.fits(out, u, cookies)
}

// fits foresees the size of a session's tokens when they are largest, which is after a refresh.
func (s *Sessions) fits(payload map[string]any, u User, cookies bool) error {
	size, depth, err := measure(payload)
	if err != nil {
		return fmt.Errorf("the access token payload is not JSON: %w", err)
	}
	if depth > maxDepth {
		return fmt.Errorf("the access token payload is nested %d levels deep, at most %d expected", depth, maxDepth)
	}
	id := len(fdi.AppendQuoted(nil, u.ID))
	claims := size + len(longestClaims) + 2*id + len(tenantOrPublic(u.TenantID)) + len(u.TenantID)
	if err := s.wire.Foresee(claims, u.ID, cookies); err != nil {
		return fmt.Errorf("the access token payload takes %d bytes, which is too much: %w", size, err)
	}
	return nil
}

// maxDepth is what our own reader of tokens takes, and more than a payload needs.
const maxDepth = claims.MaxDepth - 1

// longestClaims are the core's own claims when they are longest, but for sub, rsub and the tenant.
const longestClaims = `,"iat":1000000000,"exp":1000000000,"sub":,"rsub":,"tId":"","sessionHandle":"00000000-0000-0000-0000-000000000000_",` +
	`"refreshTokenHash1":"0000000000000000000000000000000000000000000000000000000000000000",` +
	`"parentRefreshTokenHash1":"0000000000000000000000000000000000000000000000000000000000000000",` +
	`"antiCsrfToken":"00000000-0000-0000-0000-000000000000"`

// measure tells how long v is as the core writes it (Unicode and HTML stand for themselves), and how deep.
func measure(v any) (size, depth int, err error) {
	var n jsonMeter
	enc := json.NewEncoder(&n)
	enc.SetEscapeHTML(false)
	err = enc.Encode(v)
	return n.size - 1, n.deepest, err
}

type jsonMeter struct {
	size, depth, deepest int
	quoted, escaped      bool
}

func (n *jsonMeter) Write(p []byte) (int, error) {
	n.size += len(p)
	for _, c := range p {
		switch {
		case n.escaped:
			n.escaped = false
		case n.quoted && c == '\\':
			n.escaped = true
		case c == '"':
			n.quoted = !n.quoted
		case n.quoted:
		case c == '{' || c == '[':
			n.depth++
			n.deepest = max(n.deepest, n.depth)
		case c == '}' || c == ']':
			n.depth--
		}
	}
	return len(p), nil
}

// render writes the headers that carry new tokens to the client of r.
func (s *Sessions) render(r *http.Request, t *core.Tokens, cookies bool) (http.Header, error) {
	h := make(http.Header)
	// What the client still holds in the other mode is not this session.
	if cookies {
		s.wire.Clear(h, false, fdi.IsAccessToken(fdi.BearerToken(r)))
	} else {
		s.wire.Clear(h, len(fdi.CookieTokens(r, fdi.AccessCookie)) > 0, false)
	}
	if err := s.set(h, t, cookies); err != nil {
		return nil, err
	}
	return h, fdi.Fits(h)
}

// set adds a session's tokens to h.
func (s *Sessions) set(h http.Header, t *core.Tokens, cookies bool) error {
	tokens := fdi.Tokens{
		UserID: t.UserID, Access: t.Access.Token, AccessExpiry: t.Access.Expiry,
		Refresh: t.Refresh.Token, RefreshExpiry: t.Refresh.Expiry, AntiCSRF: t.AntiCSRF,
	}
	if err := s.wire.Set(h, tokens, cookies, s.now()); err != nil {
		return fmt.Errorf("the core's answer: %w", err)
	}
	h.Set("Cache-Control", "no-store")
	return nil
}

// spentTokens remembers the sessions that were refreshed here last, up to twice spentLimit of them.
type spentTokens struct {
	mu         sync.Mutex
	young, old map[string]struct{}
}

const spentLimit = 1 << 15 // handles of 36 bytes: some 6 MiB in all

func (s *spentTokens) add(handle string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young == nil || len(s.young) >= spentLimit {
		s.young, s.old = make(map[string]struct{}), s.young
	}
	s.young[handle] = struct{}{}
}

func (s *spentTokens) has(handle string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, young := s.young[handle]
	_, old := s.old[handle]
	return young || old
}

// Pristine implements [SessionMinter]. The core rewrites a session's expiry when its first refresh token is spent, which,
// up to CDI 5.5, is when the token that came of the refresh is used. Until then the refresh is known here, where it was made.
func (s *Sessions) Pristine(ctx context.Context, t *Tokens) (bool, error) {
	if s.spent.has(t.Handle) {
		return false, nil
	}
	info, err := s.core.GetSession(ctx, t.Handle)
	switch {
	case errors.Is(err, core.ErrUnauthorised):
		return false, nil
	case err != nil:
		return false, coreError(err)
	}
	return bytes.Equal(t.State, mintState(info.UserID, info.Expiry)), nil
}

// CurrentSession implements [SessionMinter].
func (s *Sessions) CurrentSession(ctx context.Context, r *http.Request) (CurrentSession, bool, error) {
	var none CurrentSession
	found, err := s.find(ctx, r)
	switch {
	case errors.Is(err, ErrNoSession) || errors.Is(err, ErrTryRefresh):
		return none, false, nil
	case err != nil:
		return none, false, err
	}
	info, err := s.core.GetSession(ctx, found.claims.handle)
	switch {
	case errors.Is(err, core.ErrUnauthorised):
		return none, false, nil
	case err != nil:
		return none, false, coreError(err)
	}
	return CurrentSession{Handle: info.Handle, UserID: info.UserID, TenantID: info.TenantID}, true, nil
}

// RemindSession implements [SessionReminder]: the front-token of a session in cookies, which scripts cannot read. A page that was
// left when the cookies had arrived and its scripts had not seen the answer is without it.
func (s *Sessions) RemindSession(ctx context.Context, r *http.Request, handle string) (http.Header, error) {
	found, err := s.find(ctx, r)
	t := found.claims
	switch {
	case errors.Is(err, ErrUnavailable):
		return nil, err
	case t == nil || !found.cookies || t.handle != handle:
		return nil, nil
	}
	switch _, err := s.core.GetSession(ctx, handle); {
	case errors.Is(err, core.ErrUnauthorised):
		return nil, nil
	case err != nil:
		return nil, coreError(err)
	}
	h := make(http.Header)
	tokens := fdi.Tokens{UserID: t.userID, Access: t.raw, AccessExpiry: t.expiry, AntiCSRF: t.antiCSRF}
	if err := s.wire.Set(h, tokens, true, s.now()); err != nil {
		return nil, err
	}
	h.Del("Set-Cookie") // the browser has it, with whatever domain it was given
	return h, nil
}

// RevokeSession implements [SessionMinter].
func (s *Sessions) RevokeSession(ctx context.Context, handle string) (wasLive bool, err error) {
	removed, err := s.core.RemoveSessions(ctx, handle)
	if err != nil {
		return false, coreError(err)
	}
	return len(removed) > 0, nil
}

// FindSessions implements [SessionFinder]: it asks the core for each session of the user, a few at a time.
func (s *Sessions) FindSessions(ctx context.Context, tenantID, userID, marker string) ([]string, error) {
	all, err := s.core.UserSessions(ctx, tenantOrPublic(tenantID), userID)
	if err != nil {
		return nil, coreError(err)
	}
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		found []string
		turn  = make(chan struct{}, 16)
	)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, handle := range all {
		turn <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-turn }()
			info, err := s.core.GetSession(ctx, handle)
			switch {
			case errors.Is(err, core.ErrUnauthorised): // it ended meanwhile
			case err != nil:
				cancel(err)
			case info.Data[SessionMarker] == marker:
				mu.Lock()
				defer mu.Unlock()
				found = append(found, handle)
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, coreError(err)
	}
	return found, nil
}

// coreError gives an error of the core client its class here.
func coreError(err error) error {
	if e := (*core.Error)(nil); errors.As(err, &e) && !e.Temporary() {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
