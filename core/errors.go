package core

import (
	"errors"
	"strconv"
	"strings"
	"time"
)

// What the core answers with status 200 and a word. They are in the chain of an [*Error].
var (
	// ErrUnauthorised: there is no such session, or not any more, or its token or anti-CSRF token is not good.
	ErrUnauthorised = errors.New("unauthorised")
	// ErrTryRefresh: the access token is not good or has expired; its session may be alive and its refresh token good.
	ErrTryRefresh = errors.New("try refresh token")
	// ErrTheft: a refresh token was used again after its successor was in use. See [TheftError]. The core does not end the
	// session by itself.
	ErrTheft = errors.New("token theft detected")
	// ErrUnknownMapping: the user ID is mapped to no other.
	ErrUnknownMapping = errors.New("unknown user ID mapping")
)

// TheftError says whose refresh token was used twice. It is an [ErrTheft].
type TheftError struct {
	// Handle is the session that both holders of the token share: remove it.
	Handle string
	UserID string
}

func (e *TheftError) Error() string { return ErrTheft.Error() }
func (e *TheftError) Unwrap() error { return ErrTheft }

// Error is what every failing call of a [Client] returns: which call failed, and how.
type Error struct {
	// Method and Path are the call. Path has the tenant and neither query nor base path.
	Method, Path string
	// Status is the HTTP status of the core's answer. 0: no answer, or one that broke off.
	Status int
	// Message is what the core said, in at most 1 KiB, without the API key and the tokens of the call.
	Message string
	// RetryAfter is how long the core asks to wait, 0 if it does not say.
	RetryAfter time.Duration
	// Err is the cause, if another than the answer itself: the network's error, one of ErrUnauthorised and its like, what is
	// wrong with an answer.
	Err error

	refused bool // this client did not ask the core at all
	notDone bool
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("core: " + e.Method + " " + e.Path)
	if e.Status != 0 && e.Status != 200 {
		b.WriteString(": status " + strconv.Itoa(e.Status))
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	if e.Message != "" {
		b.WriteString(": core says " + strconv.Quote(e.Message))
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Temporary reports whether the same call may succeed later: there was no answer, be it that the context ended, or a 429 or
// a 5xx. Whether the call may be made again is another question: see [Error.NotDone].
func (e *Error) Temporary() bool {
	return !e.refused && (e.Status == 0 || e.Status == 429 || e.Status >= 500)
}

// NotDone reports that the core has certainly changed nothing: no byte of the call reached it (this client refused the
// call, no connection came about, the CDI version could not be negotiated), or the core refused it with a 4xx other than
// 408, or the call only reads. false says nothing. It is always false in an Error that this package did not make.
func (e *Error) NotDone() bool { return e.notDone }
