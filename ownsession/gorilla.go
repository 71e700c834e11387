package ownsession

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"time"

	"github.com/stmigrate/stmigrate"
)

// GorillaSession is what [GorillaConfig].Load found.
type GorillaSession struct {
	// ID is Session.ID: "" of a CookieStore.
	ID string
	// Values are Session.Values.
	Values map[any]any
	// ExpiresAt is when the session ends, if the store tells. stmigrate.Config.Until is required otherwise.
	ExpiresAt time.Time
}

// GorillaConfig configures [Gorilla]. Rules, Cookie and Load are required; Delete is for Revoke.
type GorillaConfig struct {
	// Rules name values by their key, which is a string; the value is a string, an integer, a time.Time for AuthTime, or a map or
	// slice with any of these.
	Rules Rules
	// Cookie is the session's name.
	Cookie string
	// Load reads the session of a request that has this one cookie and nothing else:
	//
	//	s, err := store.Get(r, "app")
	//	if err != nil || s.IsNew {
	//		return nil, err
	//	}
	//	return &ownsession.GorillaSession{ID: s.ID, Values: s.Values}, nil
	//
	// nil is a session that is over. An error of securecookie that is about the cookie means that it is none of this application's.
	Load func(r *http.Request) (*GorillaSession, error)
	// Delete ends the session of such a request in the store: Options.MaxAge = -1, then Save to w, which goes nowhere. A
	// session that is not there is no error. nil for a CookieStore, which has nothing to delete; Revoke is an error then.
	Delete func(w http.ResponseWriter, r *http.Request) error
	// SessionID is where the values have an ID of the application's own, for a CookieStore, whose sessions have none: random,
	// written at login, and the same while the user is logged in. Default: Load returns an ID.
	SessionID Path
	// SkipSessionID makes each cookie of a CookieStore a session of its own: every Save makes a new one, and each of them can be
	// exchanged once. It MUST NOT be set where one login must become one session, whoever copied its cookies.
	SkipSessionID bool
}

// Gorilla verifies sessions of gorilla/sessions, with any store, by the application's own: the store checks the cookie's HMAC
// before it decodes anything, gob by default, into types that the application registered, as it does for every request. It is
// an [stmigrate.OldSessionVerifier] and, with Delete, an [stmigrate.Revoker]. Safe for concurrent use.
//
// Sessions of a CookieStore live in the cookie, and nothing can end one but its age or new keys: [stmigrate.LeaveToExpire] states
// that, and revoke.ClearCookies takes the cookie from this browser.
type Gorilla struct {
	*rules
	cfg GorillaConfig
}

// NewGorilla checks cfg. The error names the field that is missing or wrong.
func NewGorilla(cfg GorillaConfig) (*Gorilla, error) {
	r, err := cfg.Rules.check("Gorilla", 0)
	switch {
	case err != nil:
		return nil, err
	case (&http.Cookie{Name: cfg.Cookie}).Valid() != nil:
		return nil, fmt.Errorf("ownsession: GorillaConfig.Cookie is required, the name of a cookie; got %q", cfg.Cookie)
	case cfg.Load == nil:
		return nil, errors.New("ownsession: GorillaConfig.Load is required")
	case len(cfg.SessionID) > 0 && cfg.SkipSessionID:
		return nil, errors.New("ownsession: GorillaConfig.SessionID and SkipSessionID contradict each other")
	}
	cfg.SessionID = slices.Clone(cfg.SessionID)
	return &Gorilla{r, cfg}, nil
}

// request is one that has the cookie and nothing else.
func (v *Gorilla) request(ctx context.Context, token string) (*http.Request, error) {
	// securecookie takes several spellings of the same base64, and a cookie must have one.
	if _, err := base64Strict(base64.URLEncoding, token); err != nil || token == "" || len(token) > maxCookie {
		return nil, fmt.Errorf("%w: not base64url with padding, of at most %d bytes", stmigrate.ErrNotMine, maxCookie)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return nil, fmt.Errorf("ownsession: %w", err)
	}
	r.Header.Set("Cookie", v.cfg.Cookie+"="+token)
	return r, nil
}

// Verify implements [stmigrate.OldSessionVerifier].
//
// Errors: [stmigrate.ErrNotMine] if the store says that the cookie is not genuine, [stmigrate.ErrInvalidSession] if the session is
// over or nobody is logged in, [stmigrate.ErrExpiredSession], [stmigrate.ErrUnavailable] if Load fails.
func (v *Gorilla) Verify(ctx context.Context, token string) (*stmigrate.OldSession, error) {
	loading, cancel := context.WithTimeout(ctx, v.Timeout)
	defer cancel()
	r, err := v.request(loading, token)
	if err != nil {
		return nil, err
	}
	session, err := v.cfg.Load(r)
	switch {
	case isDecode(err):
		return nil, fmt.Errorf("%w: the store does not take the cookie for genuine", stmigrate.ErrNotMine)
	case errors.Is(err, fs.ErrNotExist) || err == nil && session == nil:
		return nil, fmt.Errorf("%w: the store does not have it", stmigrate.ErrInvalidSession)
	case err != nil:
		return nil, failed("GorillaConfig.Load", err)
	}
	data, _ := fromGo(session.Values).(map[string]any)
	s, err := v.read(data, session.ExpiresAt)
	if err != nil {
		return nil, err
	}
	switch {
	case session.ID != "":
		s.SessionID = hashed(session.ID)
	case len(v.cfg.SessionID) > 0:
		id, err := name(v.cfg.SessionID, data)
		if err != nil {
			return nil, fmt.Errorf("%w: GorillaConfig.SessionID: %w", stmigrate.ErrInvalidSession, err)
		}
		s.SessionID = hashed(id)
	case v.cfg.SkipSessionID:
		s.TokenID = hashed(token)
	default:
		return nil, errors.New("ownsession: the session has no ID, as those of a CookieStore: GorillaConfig.SessionID or SkipSessionID wanted")
	}
	return v.finish(ctx, s)
}

// isDecode tells whether securecookie, or a list of its errors, speaks of the cookie, not of the store or the keys.
func isDecode(err error) bool {
	var e interface {
		error
		IsDecode() bool
	}
	return errors.As(err, &e) && e.IsDecode()
}

// fromGo makes data of values, for what Rules can name.
func fromGo(v any) any {
	switch v := v.(type) {
	case map[any]any:
		out := make(map[string]any, len(v))
		for k, member := range v {
			if name, ok := k.(string); ok {
				out[name] = fromGo(member)
			}
		}
		return out
	case map[string]any:
		out := make(map[string]any, len(v))
		for name, member := range v {
			out[name] = fromGo(member)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, item := range v {
			out[i] = fromGo(item)
		}
		return out
	}
	return plain(v)
}

// Revoke implements [stmigrate.Revoker] by GorillaConfig.Delete. Its errors are [stmigrate.RevokeError].
func (v *Gorilla) Revoke(ctx context.Context, token string, s *stmigrate.OldSession) error {
	if v.cfg.Delete == nil {
		return permanent("GorillaConfig.Delete is nil: a CookieStore has nothing to delete, which stmigrate.LeaveToExpire states")
	}
	if s == nil || s.Issuer != v.Issuer() {
		return permanent("the legacy session is not one of these; with several verifiers, revoke.ByIssuer tells them apart")
	}
	ctx, cancel := context.WithTimeout(ctx, v.Timeout)
	defer cancel()
	r, err := v.request(ctx, token)
	if err != nil {
		return permanent("%w", err)
	}
	return revokeError("GorillaConfig.Delete", ctx, func() error { return v.cfg.Delete(nowhere{make(http.Header)}, r) })
}

// nowhere takes the cookie that a store writes.
type nowhere struct{ header http.Header }

func (w nowhere) Header() http.Header         { return w.header }
func (w nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (w nowhere) WriteHeader(int)             {}
