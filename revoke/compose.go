package revoke

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/isnil"
)

// Several revokes by several revokers. Safe for concurrent use if they are.
type Several struct{ revokers []stmigrate.Revoker }

// All revokes by all of these, in their order: the refresh token and the session, say. Each is tried, whatever the others say, and
// all must succeed. Those that succeeded are tried again with the others: "already revoked" is success to them.
func All(revokers ...stmigrate.Revoker) (*Several, error) {
	if len(revokers) == 0 {
		return nil, errors.New("revoke: All: no revokers")
	}
	for i, r := range revokers {
		if isnil.Value(r) {
			return nil, fmt.Errorf("revoke: All: revoker %d is nil", i)
		}
	}
	return &Several{slices.Clone(revokers)}, nil
}

// Revoke implements [stmigrate.Revoker]. Its error is a [stmigrate.RevokeError] that joins those that failed: permanent if all of
// them are, with the longest RetryAfter.
func (v *Several) Revoke(ctx context.Context, token string, s *stmigrate.OldSession) error {
	var errs []error
	joined := &stmigrate.RevokeError{Permanent: true}
	for i, r := range v.revokers {
		err := r.Revoke(ctx, token, s)
		if err == nil {
			continue
		}
		errs = append(errs, fmt.Errorf("revoker %d: %w", i, err))
		e := (*stmigrate.RevokeError)(nil)
		if !errors.As(err, &e) {
			joined.Permanent = false
			continue
		}
		joined.Permanent = joined.Permanent && e.Permanent
		joined.RetryAfter = max(joined.RetryAfter, e.RetryAfter)
	}
	if len(errs) == 0 {
		return nil
	}
	joined.Err = errors.Join(errs...)
	return joined
}

// ClearedCookies returns the cookies that any of them clears.
func (v *Several) ClearedCookies() []*http.Cookie {
	var out []*http.Cookie
	for _, r := range v.revokers {
		out = append(out, clearedBy(r)...)
	}
	return out
}

// Issuers chooses a revoker by the session's issuer. Safe for concurrent use if its revokers are.
type Issuers struct{ revokers map[string]stmigrate.Revoker }

// ByIssuer revokes by the revoker of the session's exact Issuer. A session of another issuer is a permanent error: name
// [stmigrate.LeaveToExpire] for issuers whose sessions stay. A revoker that clears cookies is refused, since it would clear them
// for the sessions of the other issuers, too: put [ClearCookies] around the Issuers.
func ByIssuer(revokers map[string]stmigrate.Revoker) (*Issuers, error) {
	if len(revokers) == 0 {
		return nil, errors.New("revoke: ByIssuer: no revokers")
	}
	for issuer, r := range revokers {
		switch {
		case issuer == "":
			return nil, errors.New("revoke: ByIssuer: an issuer is empty")
		case isnil.Value(r):
			return nil, fmt.Errorf("revoke: ByIssuer: the revoker of %q is nil", issuer)
		case len(clearedBy(r)) > 0:
			return nil, fmt.Errorf("revoke: ByIssuer: the revoker of %q clears cookies; put ClearCookies around ByIssuer", issuer)
		}
	}
	return &Issuers{maps.Clone(revokers)}, nil
}

// Revoke implements [stmigrate.Revoker].
func (v *Issuers) Revoke(ctx context.Context, token string, s *stmigrate.OldSession) error {
	if s == nil {
		return permanent("there is no legacy session to revoke")
	}
	r, ok := v.revokers[s.Issuer]
	if !ok {
		return permanent("ByIssuer has no revoker for the issuer %.200q", s.Issuer)
	}
	return r.Revoke(ctx, token, s)
}
