package supertokensgo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/supertokens/supertokens-golang/recipe/session"
	"github.com/supertokens/supertokens-golang/recipe/session/sessmodels"
	"github.com/supertokens/supertokens-golang/supertokens"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
)

// Sessions mints sessions by the SDK's session recipe, for [stmigrate.Config]. They are the SDK's own in every respect: its
// configuration and overrides apply, its other recipes add their claims. It is safe for concurrent use.
type Sessions struct{ calls sync.WaitGroup }

var (
	_ stmigrate.SessionMinter   = (*Sessions)(nil)
	_ stmigrate.SessionFinder   = (*Sessions)(nil)
	_ stmigrate.SessionReminder = (*Sessions)(nil)
)

// NewSessions returns Sessions on the SDK, of which a process has one: supertokens.Init, with the session recipe, comes first.
// Should it be initialised anew, as tests do, what it is then counts.
func NewSessions() (*Sessions, error) {
	if _, err := session.GetRecipeInstanceOrThrowError(); err != nil {
		return nil, errors.New("supertokensgo: call supertokens.Init with session.Init in its RecipeList before NewSessions")
	}
	return &Sessions{}, nil
}

// Wait returns when none of these calls of the SDK is under way any more, not even one that was given up: at a shutdown, say, or
// in a test before it initialises the SDK anew. No call may begin meanwhile.
func (s *Sessions) Wait() { s.calls.Wait() }

// CreateSession implements [stmigrate.SessionMinter]. It refuses, before the core is asked, reserved claims and tenants that
// are none; and revokes what it made where browsers or proxies would refuse it, or the core keeps it for another user or
// tenant.
//
// The SDK tells how a call failed by its text alone. So an error after which it cannot be known whether a session exists, and
// that is one more often than with [stmigrate.Sessions], leaves its claim until the lease is over. An override of the SDK's
// CreateNewSession that refuses a user before it calls the original is ErrNotCreated, if the session's data hold
// [stmigrate.SessionMarker], and nothing has read them as JSON.
func (s *Sessions) CreateSession(ctx context.Context, r *http.Request, u stmigrate.User) (*stmigrate.Tokens, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", stmigrate.ErrNotCreated, gaveUp(err))
	}
	if u.TenantID == "" {
		u.TenantID = supertokens.DefaultTenantId
	}
	if err := check(u); err != nil {
		return nil, fmt.Errorf("%w: %w", stmigrate.ErrNotCreated, err)
	}
	// The SDK writes to these.
	u.AccessTokenPayload, u.SessionData = cloned(u.AccessTokenPayload), cloned(u.SessionData)
	// What other recipes and overrides ask for ends with the mint, and not with the client.
	r = withoutForeign(r).WithContext(ctx)
	minting := start(ctx, s, r, func(uc supertokens.UserContext) (*stmigrate.Tokens, error) { return s.mint(ctx, r, u, uc) })
	select {
	case out := <-minting:
		return out.value, out.err
	case <-ctx.Done():
		s.calls.Go(func() {
			if late := <-minting; late.err == nil {
				_ = s.undo(ctx, late.value.Handle, ctx.Err())
			}
		})
		return nil, gaveUp(ctx.Err())
	}
}

func cloned(m map[string]any) map[string]any {
	out := make(map[string]any, len(m)+1)
	maps.Copy(out, m)
	return out
}

// reserved are the claims that the SDK drops from a payload without a word, or replaces.
var reserved = []string{
	"sub", "iat", "exp", "iss", "sessionHandle", "parentRefreshTokenHash1", "refreshTokenHash1", "antiCsrfToken", "rsub", "tId",
}

func check(u stmigrate.User) error {
	if u.ID == "" || strings.TrimSpace(u.ID) != u.ID {
		return errors.New("the user has no ID, or one with white space around it, which the SDK reads as another user's")
	}
	if err := core.ValidUserID(u.ID); err != nil {
		return err
	}
	// The SDK asks the core for the public tenant where it takes a tenant for something else.
	if err := core.ValidTenantID(u.TenantID); err != nil {
		return fmt.Errorf("the tenant: %w", err)
	}
	for _, name := range reserved {
		if _, ok := u.AccessTokenPayload[name]; ok {
			return fmt.Errorf("the access token payload holds %q, which is reserved", name)
		}
	}
	if err := core.ValidPayload(u.AccessTokenPayload); err != nil {
		return fmt.Errorf("the access token %w", err)
	}
	if _, err := json.Marshal(u.SessionData); err != nil {
		return fmt.Errorf("the session data are not JSON: %w", err)
	}
	return nil
}

// mint creates a session and renders it into headers of its own, since the SDK drops cookies of a response that have the name
// of one it sets.
func (s *Sessions) mint(
	ctx context.Context, r *http.Request, u stmigrate.User, uc supertokens.UserContext,
) (t *stmigrate.Tokens, err error) {
	recipe, err := session.GetRecipeInstanceOrThrowError()
	if err != nil {
		return nil, fmt.Errorf("%w: %v", stmigrate.ErrNotCreated, err)
	}
	var (
		asked  atomic.Bool
		minted sessmodels.SessionContainer
		header = make(http.Header)
		impl   = recipe.RecipeImpl
		create = *impl.CreateNewSession
	)
	watched := func(
		userID string, payload, data map[string]any, disableAntiCSRF *bool, tenantID string, uc supertokens.UserContext,
	) (_ sessmodels.SessionContainer, err error) {
		if marker, ok := data[stmigrate.SessionMarker]; ok {
			data[stmigrate.SessionMarker] = noticed{marker, &asked}
		} else {
			asked.Store(true)
		}
		minted, err = create(userID, payload, data, disableAntiCSRF, tenantID, uc)
		return minted, err
	}
	impl.CreateNewSession = &watched
	err = guard(func() error {
		_, err := session.CreateNewSessionInRequest(r, headerWriter(header), u.TenantID, recipe.Config,
			recipe.RecipeModule.GetAppInfo(), *recipe, impl, u.ID, u.AccessTokenPayload, u.SessionData, uc)
		if err == nil {
			t, err = tokens(minted, u, header, uc)
		}
		return err
	})
	switch {
	case err == nil:
		return t, nil
	case minted != nil:
		return nil, s.undo(ctx, minted.GetHandle(), sdkError(err))
	case !asked.Load() || refused(err, u.TenantID):
		return nil, fmt.Errorf("%w: %w", stmigrate.ErrNotCreated, sdkError(err))
	}
	return nil, sdkError(err)
}

// noticed is a member of a session's data that tells when it is written as JSON: without that, nobody has asked the core for the
// session, whatever an override says.
type noticed struct {
	value any
	asked *atomic.Bool
}

func (n noticed) MarshalJSON() ([]byte, error) {
	n.asked.Store(true)
	return json.Marshal(n.value)
}

// refused tells whether the core says that it did not create a session.
func refused(err error, tenantID string) bool {
	path, status := coreStatus(err)
	return path == "/"+tenantID+"/recipe/session" && status >= http.StatusBadRequest && status < http.StatusInternalServerError
}

// undoTimeout bounds what must be undone although its request may be over.
const undoTimeout = 2 * time.Second

// undo ends a session of which nothing has left the process, because of err.
func (s *Sessions) undo(ctx context.Context, handle string, err error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	if _, undoErr := s.RevokeSession(ctx, handle); undoErr != nil {
		return fmt.Errorf("%w; and the session could not be revoked: %w", err, undoErr)
	}
	return fmt.Errorf("%w: %w", stmigrate.ErrNotCreated, err)
}

// tokens is what a client gets of a session, if it is the one that was asked for and will arrive.
func tokens(
	minted sessmodels.SessionContainer, u stmigrate.User, h http.Header, uc supertokens.UserContext,
) (*stmigrate.Tokens, error) {
	if id := minted.GetUserID(); id != u.ID {
		return nil, errors.New("the core knows the user by another ID, which is the one to use: the external one of its mapping")
	}
	if tenant := minted.GetTenantId(); tenant != u.TenantID {
		return nil, fmt.Errorf("the core made a session of the tenant %q, want %q", tenant, u.TenantID)
	}
	if err := complete(h); err != nil {
		return nil, err
	}
	// The SDK keeps to itself when the refresh token ends.
	expiry, err := minted.GetExpiryWithContext(uc)
	if err != nil {
		return nil, err
	}
	h.Set("Cache-Control", "no-store")
	return &stmigrate.Tokens{Handle: minted.GetHandle(), Header: h, State: mintState(u.ID, expiry)}, nil
}

const (
	maxCookie  = 4096    // what every browser takes of one cookie, attributes counted (RFC 6265 §6.1)
	maxHeaders = 8 << 10 // what common proxies take of all other headers together
)

// complete tells what is missing in the headers of a new session, or too large. The SDK does not tell when it fails to set a token.
func complete(h http.Header) error {
	given := make(map[string]bool)
	for _, line := range h.Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		if err != nil {
			return errors.New("supertokens-golang set a cookie that is none")
		}
		if len(line) > maxCookie {
			return fmt.Errorf("the cookie %s takes %d bytes, and browsers drop one of more than %d", c.Name, len(line), maxCookie)
		}
		given[c.Name] = c.Value != ""
	}
	size := 0
	for name, values := range h {
		for _, v := range values {
			if name != "Set-Cookie" {
				size += len(name) + len(v) + 4
			}
		}
	}
	if size > maxHeaders {
		return fmt.Errorf("the session's headers take %d bytes, and proxies refuse more than %d", size, maxHeaders)
	}
	cookies := given[accessCookie] && given[refreshCookie]
	headers := h.Get("st-access-token") != "" && h.Get("st-refresh-token") != ""
	if front := h.Get("front-token"); !cookies && !headers || front == "" || front == "remove" {
		return errors.New("supertokens-golang did not set all tokens of the session")
	}
	return nil
}

// mintState is what Pristine knows a session by: whose it is, and when its refresh token ends. The latter changes in the core's
// database when the first refresh token is spent.
func mintState(userID string, expiry uint64) []byte {
	return append(strconv.AppendUint(nil, expiry, 10), " "+userID...)
}

// Pristine implements [stmigrate.SessionMinter].
func (s *Sessions) Pristine(ctx context.Context, t *stmigrate.Tokens) (bool, error) {
	info, err := s.information(ctx, t.Handle)
	if err != nil || info == nil {
		return false, err
	}
	return string(t.State) == string(mintState(info.UserId, info.Expiry)), nil
}

// CurrentSession implements [stmigrate.SessionMinter]. The access token is the one that the SDK's GetSession would go by. It is
// checked by the core's keys, and its session looked up in the core's database; unlike GetSession that changes nothing.
func (s *Sessions) CurrentSession(ctx context.Context, r *http.Request) (stmigrate.CurrentSession, bool, error) {
	var none stmigrate.CurrentSession
	found, err := call(ctx, s, func(uc supertokens.UserContext) (*carried, error) { return find(ctx, r, uc) })
	if err != nil || found == nil || found.expired {
		return none, false, err
	}
	info, err := s.information(ctx, found.SessionHandle)
	if err != nil || info == nil {
		return none, false, err
	}
	return stmigrate.CurrentSession{Handle: info.SessionHandle, UserID: info.UserId, TenantID: info.TenantId}, true, nil
}

// RemindSession implements [stmigrate.SessionReminder]: the front-token of a session in cookies, which scripts cannot read, as the
// SDK makes it, and what else it gives scripts of the access token. A page that was left when the cookies had arrived and its scripts
// had not seen the answer is without it.
func (s *Sessions) RemindSession(ctx context.Context, r *http.Request, handle string) (http.Header, error) {
	return call(ctx, s, func(uc supertokens.UserContext) (http.Header, error) {
		found, err := find(ctx, r, uc)
		if err != nil || found == nil || found.method != sessmodels.CookieTransferMethod || found.SessionHandle != handle {
			return nil, err
		}
		if info, err := session.GetSessionInformation(handle, uc); err != nil || info == nil {
			return nil, err
		}
		recipe, err := session.GetRecipeInstanceOrThrowError()
		if err != nil {
			return nil, err
		}
		h := make(http.Header)
		front := session.BuildFrontToken(found.UserID, found.ExpiryTime, found.UserData)
		err = session.SetAccessTokenInResponse(recipe.Config, headerWriter(h), found.raw, front, found.method, r, uc)
		h.Del("Set-Cookie") // the browser has it, with whatever domain it was given
		if found.AntiCsrfToken != nil {
			h.Set("anti-csrf", *found.AntiCsrfToken)
			h.Set(exposed, h.Get(exposed)+", anti-csrf")
		}
		return h, err
	})
}

const exposed = "Access-Control-Expose-Headers"

// information is nil for a session that has ended.
func (s *Sessions) information(ctx context.Context, handle string) (*sessmodels.SessionInformation, error) {
	return call(ctx, s, func(uc supertokens.UserContext) (*sessmodels.SessionInformation, error) {
		return session.GetSessionInformation(handle, uc)
	})
}

// RevokeSession implements [stmigrate.SessionMinter].
func (s *Sessions) RevokeSession(ctx context.Context, handle string) (wasLive bool, err error) {
	return call(ctx, s, func(uc supertokens.UserContext) (bool, error) { return session.RevokeSession(handle, uc) })
}

// FindSessions implements [stmigrate.SessionFinder]: it asks the core for each session of the user, a few at a time.
func (s *Sessions) FindSessions(ctx context.Context, tenantID, userID, marker string) ([]string, error) {
	if tenantID == "" {
		tenantID = supertokens.DefaultTenantId
	}
	if err := core.ValidTenantID(tenantID); err != nil {
		return nil, fmt.Errorf("the tenant: %w", err)
	}
	all, err := call(ctx, s, func(uc supertokens.UserContext) ([]string, error) {
		return session.GetAllSessionHandlesForUser(userID, &tenantID, uc)
	})
	if err != nil {
		return nil, err
	}
	found, errs := make([]bool, len(all)), make([]error, len(all))
	var wg sync.WaitGroup
	turn := make(chan struct{}, 16)
	for i, handle := range all {
		turn <- struct{}{}
		wg.Go(func() {
			defer func() { <-turn }()
			info, err := s.information(ctx, handle)
			found[i], errs[i] = info != nil && info.SessionDataInDatabase[stmigrate.SessionMarker] == marker, err
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	i := -1
	return slices.DeleteFunc(all, func(string) bool { i++; return !found[i] }), nil
}

// headerWriter is a response of which there is only the header.
type headerWriter http.Header

func (h headerWriter) Header() http.Header { return http.Header(h) }
func (headerWriter) WriteHeader(int)       {}
func (headerWriter) Write([]byte) (int, error) {
	return 0, errors.New("this response takes the headers of a session and nothing else")
}
