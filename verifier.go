package stmigrate

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// OldSessionVerifier answers to whom a legacy token belongs.
//
// Verify has no side effects at the provider and consumes nothing. Its errors are of the classes [ErrNotMine] (another
// verifier may know the token), [ErrInvalidSession], [ErrExpiredSession], [ErrUnavailable] (the token may be good, and what
// would tell is out of reach). It must be safe for concurrent use, end by ctx, and put no part of the token into an error.
type OldSessionVerifier interface {
	Verify(ctx context.Context, token string) (*OldSession, error)
}

// VerifierFunc is an [OldSessionVerifier] in one function.
type VerifierFunc func(ctx context.Context, token string) (*OldSession, error)

// Verify calls f.
func (f VerifierFunc) Verify(ctx context.Context, token string) (*OldSession, error) {
	return f(ctx, token)
}

// OldSession is a legacy session that was verified.
type OldSession struct {
	// Issuer and Subject say whose session it is. Neither is ever empty.
	Issuer, Subject string
	// TenantID is the SuperTokens tenant the session belongs to; "" is public.
	TenantID string
	// SessionID names the session at the provider (sid, session_id, origin_jti, a row's ID): what is exchanged and
	// revoked. Tokens that share it are one session, and are exchanged once. "" where the provider has none.
	SessionID string
	// TokenID names this one token (jti). "" where the provider has none.
	TokenID string
	// IssuedAt, AuthTime and ExpiresAt are zero where the session does not tell.
	IssuedAt, AuthTime, ExpiresAt time.Time
	// Claims holds all that the provider said. Numbers are json.Number.
	Claims map[string]any

	// acceptedUntil is when the verifier will refuse the session for certain, leeway and grace counted. Zero: ExpiresAt.
	acceptedUntil time.Time
}

// FirstOf tries verifiers in order. Only [ErrNotMine] moves it on to the next one: a token that one of them knows and
// refuses is refused. With no verifier, or where none knows the token, the error is ErrNotMine.
func FirstOf(verifiers ...OldSessionVerifier) OldSessionVerifier {
	verifiers = append([]OldSessionVerifier(nil), verifiers...)
	return VerifierFunc(func(ctx context.Context, token string) (*OldSession, error) {
		errs := make([]error, 0, len(verifiers))
		for _, v := range verifiers {
			s, err := v.Verify(ctx, token)
			if err == nil || !errors.Is(err, ErrNotMine) {
				return s, err
			}
			errs = append(errs, err)
		}
		return nil, fmt.Errorf("%w: none of %d verifiers knows it: %w", ErrNotMine, len(verifiers), errors.Join(errs...))
	})
}
