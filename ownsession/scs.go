package ownsession

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stmigrate/stmigrate"
)

// SCSManager is what [SCS] needs of a *scs.SessionManager (github.com/alexedwards/scs/v2).
type SCSManager interface {
	Load(ctx context.Context, token string) (context.Context, error)
	Token(ctx context.Context) string
	Get(ctx context.Context, key string) any
	Deadline(ctx context.Context) time.Time
	Destroy(ctx context.Context) error
}

// SCSConfig configures [SCS]. Both fields are required.
type SCSConfig struct {
	// Rules name keys of the session, by a path of one name: UserID: Path{"userID"}. Their values are a string, an integer or, for
	// AuthTime, a time.Time.
	Rules Rules
	// Manager is the application's own, with its Store, Codec and HashTokenInStore.
	Manager SCSManager
}

// SCS verifies and ends sessions of alexedwards/scs, by the application's own manager. The token is that of the cookie, session
// in most applications. It is both an [stmigrate.OldSessionVerifier] and an [stmigrate.Revoker]. Safe for concurrent use.
//
// The manager decodes what its own store has under the token, gob by default, into types that the application registered, as it
// does for every request. Nothing that came from a browser is decoded, and only what Rules name is looked at.
//
// The Migrator must stand outside of LoadAndSave, and SCS refuses to work within it: that middleware saves the session after the
// handler, and would bring back what was ended.
type SCS struct {
	*rules
	manager SCSManager
}

// NewSCS checks cfg. The error names the field that is missing or wrong.
func NewSCS(cfg SCSConfig) (*SCS, error) {
	r, err := cfg.Rules.check("SCS", 1)
	if err != nil {
		return nil, err
	}
	if cfg.Manager == nil {
		return nil, errors.New("ownsession: SCSConfig.Manager is required")
	}
	return &SCS{r, cfg.Manager}, nil
}

var errWithin = errors.New("ownsession: the Migrator stands within LoadAndSave of the same SessionManager, which would save the " +
	"session again after it has ended: mount it outside")

// load returns a context with the token's session; ok is false if there is none.
func (v *SCS) load(ctx context.Context, token string) (session context.Context, ok bool, err error) {
	session, err = v.manager.Load(ctx, token)
	switch {
	case err != nil:
		return nil, false, failed("SCSConfig.Manager.Load", err)
	case session == ctx:
		return nil, false, errWithin
	}
	// A token that the store does not have makes a new session, which has none.
	return session, v.manager.Token(session) == token, nil
}

// Verify implements [stmigrate.OldSessionVerifier].
//
// Errors: [stmigrate.ErrNotMine] if the store does not have the token, [stmigrate.ErrInvalidSession] if nobody is logged in,
// [stmigrate.ErrExpiredSession], [stmigrate.ErrUnavailable] if the store fails.
func (v *SCS) Verify(ctx context.Context, token string) (*stmigrate.OldSession, error) {
	if !isID(token) {
		return nil, fmt.Errorf("%w: not a token of %d to %d characters that a cookie can hold", stmigrate.ErrNotMine, minID, maxID)
	}
	loading, cancel := context.WithTimeout(ctx, v.Timeout)
	defer cancel()
	session, ok, err := v.load(loading, token)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("%w: the store does not have it", stmigrate.ErrNotMine)
	}
	data := make(map[string]any)
	for _, p := range []Path{v.UserID, v.AuthTime, v.TenantID} {
		if len(p) > 0 {
			data[p[0]] = plain(v.manager.Get(session, p[0]))
		}
	}
	s, err := v.read(data, v.manager.Deadline(session))
	if err != nil {
		return nil, err
	}
	s.SessionID = hashed(token)
	return v.finish(ctx, s)
}

// Revoke implements [stmigrate.Revoker] by the manager's Destroy. Its errors are [stmigrate.RevokeError].
func (v *SCS) Revoke(ctx context.Context, token string, s *stmigrate.OldSession) error {
	if err := sameSession(token, s); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, v.Timeout)
	defer cancel()
	return revokeError("SCSConfig.Manager", ctx, func() error {
		session, ok, err := v.load(ctx, token)
		switch {
		case errors.Is(err, errWithin):
			return permanent("%w", err)
		case err != nil || !ok:
			return err
		}
		return v.manager.Destroy(session)
	})
}
