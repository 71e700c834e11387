package stmigrate

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"
)

// The classes of errors. Every error of this package that a caller may want to tell apart is one of them by [errors.Is];
// what happened in detail stands in the error's text, for the log and never for the client.
var (
	// ErrNoToken: the request carries no legacy session at all.
	ErrNoToken = errors.New("no legacy session")
	// ErrInvalidSession: the legacy session is not genuine, not for this application, or not good any more.
	ErrInvalidSession = errors.New("invalid legacy session")
	// ErrExpiredSession: the legacy session was genuine and is over. It says so only of sessions whose signature holds.
	ErrExpiredSession = errors.New("expired legacy session")
	// ErrNotMine: another verifier may know this session. It is the only class past which [FirstOf] goes on.
	ErrNotMine = errors.New("legacy session of another issuer or kind")
	// ErrBadRequest: the request cannot be understood: two different tokens, a token or body over the limit, broken JSON.
	ErrBadRequest = errors.New("bad request")
	// ErrForbiddenOrigin: a page of an origin that is not in Config.Origins asks with ambient credentials.
	ErrForbiddenOrigin = errors.New("origin not allowed")
	// ErrUnknownUser: the legacy session is good and its user is not known to SuperTokens.
	ErrUnknownUser = errors.New("unknown user")
	// ErrAlreadyMigrated: this legacy session was exchanged, and its answer may not be given again.
	ErrAlreadyMigrated = errors.New("legacy session already migrated")
	// ErrOtherSession: the request carries a live SuperTokens session of another user.
	ErrOtherSession = errors.New("a session of another user is active")
	// ErrRevokeFailed: RevokeRequired stands and the legacy session could not be revoked. Nothing was minted.
	ErrRevokeFailed = errors.New("legacy session could not be revoked")
	// ErrUnavailable: a service that is needed (keys, core, store, provider) does not answer. The same request may succeed later.
	ErrUnavailable = errors.New("temporarily unavailable")

	// ErrNotCreated: a [SessionMinter] is certain that no session exists. Any other error of CreateSession leaves it open.
	ErrNotCreated = errors.New("session not created")
	// ErrClaimLost: the claim is held with another [Fence] by now.
	ErrClaimLost = errors.New("claim lost")

	// ErrWrongCredentials: no user has this e-mail and this password.
	ErrWrongCredentials = errors.New("wrong e-mail or password")
	// ErrEmailExists: somebody in the tenant has this e-mail already, in SuperTokens or in the legacy store.
	ErrEmailExists = errors.New("e-mail exists already")
	// ErrUseLegacyReset: only the legacy system can reset this user's password.
	ErrUseLegacyReset = errors.New("the password can only be reset in the legacy system")
	// ErrResetToken: the token of a password reset is unknown, used or over.
	ErrResetToken = errors.New("invalid password reset token")
	// ErrConflict: what is to be imported contradicts what SuperTokens has already. Nothing was overwritten.
	ErrConflict = errors.New("conflict")
	// ErrUnsupported: the function needs something that the configured stores do not offer.
	ErrUnsupported = errors.New("not supported")

	// ErrNoSession: the request carries no SuperTokens session, or one that has ended.
	ErrNoSession = errors.New("no session")
	// ErrTryRefresh: the access token is not good and its refresh token may be: the client should refresh and repeat.
	ErrTryRefresh = errors.New("try refresh token")
	// ErrResponseBegun: the response's headers are sent, and a new access token cannot reach the client any more.
	ErrResponseBegun = errors.New("the response has begun already")
)

// Error says at which step of an exchange a failure happened. It unwraps to its class and its cause.
type Error struct {
	// Step is one of "extract", "verify", "resolve", "session", "claim", "mint", "finish", "revoke".
	Step string
	Err  error
}

func (e *Error) Error() string { return "stmigrate: " + e.Step + ": " + e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// retryError is an ErrUnavailable that knows when trying again makes sense.
type retryError struct {
	err   error
	after time.Duration
}

func (e *retryError) Error() string { return e.err.Error() }
func (e *retryError) Unwrap() error { return e.err }

// RetryAfter makes it an error that [RenderError] asks when to come back.
func (e *retryError) RetryAfter() time.Duration { return e.after }

// unavailable wraps cause as ErrUnavailable. The cause stays readable and, for contexts, matchable.
func unavailable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrUnavailable, fmt.Errorf(format, args...))
}

type errorClass struct {
	class  error
	status int
	code   string
}

// errorClasses is the one table of what a client is told. Order matters: the first class that matches wins. What may pass
// by itself comes first, since its causes can be of any class.
var errorClasses = []errorClass{
	{ErrRevokeFailed, http.StatusBadGateway, "LEGACY_REVOCATION_FAILED"},
	{ErrUnavailable, http.StatusServiceUnavailable, "UNAVAILABLE"},
	{ErrNoToken, http.StatusUnauthorized, "NO_LEGACY_SESSION"},
	{ErrBadRequest, http.StatusBadRequest, "BAD_REQUEST"},
	{ErrForbiddenOrigin, http.StatusForbidden, "FORBIDDEN_ORIGIN"},
	{ErrUnknownUser, http.StatusForbidden, "UNKNOWN_USER"},
	{ErrAlreadyMigrated, http.StatusConflict, "ALREADY_MIGRATED"},
	{ErrOtherSession, http.StatusConflict, "OTHER_SESSION"},
	{ErrInvalidSession, http.StatusUnauthorized, "INVALID_LEGACY_SESSION"},
	{ErrExpiredSession, http.StatusUnauthorized, "INVALID_LEGACY_SESSION"},
	{ErrNotMine, http.StatusUnauthorized, "INVALID_LEGACY_SESSION"},
}

// StatusOf returns the HTTP status and the body's status code for an error of [Migrator.Migrate]: what [RenderError]
// writes. A nil error is 200 "OK"; an error of no class is 500 "INTERNAL_ERROR".
func StatusOf(err error) (status int, code string) {
	if err == nil {
		return http.StatusOK, "OK"
	}
	for _, c := range errorClasses {
		if errors.Is(err, c.class) {
			return c.status, c.code
		}
	}
	return http.StatusInternalServerError, "INTERNAL_ERROR"
}

// RenderError answers a failed exchange with the class of err and nothing else: status, {"status": code}, and the headers
// that belong to it. It is what a nil Config.OnError means. It does not log. Retry-After, of an ErrUnavailable, is what a method
// RetryAfter() time.Duration of an error in the chain returns, one second at least.
func RenderError(w http.ResponseWriter, r *http.Request, err error) {
	status, code := StatusOf(err)
	switch code {
	case "NO_LEGACY_SESSION":
		w.Header().Set("WWW-Authenticate", "Bearer")
	case "INVALID_LEGACY_SESSION":
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
	case "UNAVAILABLE":
		after := time.Second
		if r := interface{ RetryAfter() time.Duration }(nil); errors.As(err, &r) {
			after = max(after, r.RetryAfter())
		}
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	writeStatus(w, status, code)
}

func writeStatus(w http.ResponseWriter, status int, code string) {
	writeJSON(w, status, `{"status":"`+code+`"}`)
}
