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
	// ErrMappingExists: one of the two user IDs is mapped already. See [MappingExistsError].
	ErrMappingExists = errors.New("user ID mapping exists already")
	// ErrWrongCredentials: no user of the tenant has this e-mail and this password.
	ErrWrongCredentials = errors.New("wrong credentials")
	// ErrUnknownUser: there is no such user with an e-mail and a password.
	ErrUnknownUser = errors.New("unknown user")
	// ErrEmailExists: another user with a password has this e-mail in the tenant, or in one of the user's tenants.
	ErrEmailExists = errors.New("e-mail exists already")
	// ErrLoginExists: the tenant has another user with this phone number or this account of a third party.
	ErrLoginExists = errors.New("login exists already")
	// ErrNotAllowed: linked accounts forbid it. The message says why.
	ErrNotAllowed = errors.New("not allowed")
	// ErrInvalidToken: the token of a password reset or of an e-mail verification is unknown, used or over, or that of a
	// verification is another tenant's.
	ErrInvalidToken = errors.New("invalid token")
	// ErrEmailVerified: the e-mail is verified, and there is no token for that.
	ErrEmailVerified = errors.New("e-mail verified already")
	// ErrUnknownRole: there is no such role. Make it with [Client.CreateRole].
	ErrUnknownRole = errors.New("unknown role")
	// ErrUnknownTenant: there is no such tenant or app. Status may be 400.
	ErrUnknownTenant = errors.New("unknown tenant")
)

// What the core answers with status 400 and a text.
var (
	// ErrUserIDInUse: sessions, roles, metadata or the like stand under the ID that is to be mapped or whose mapping is to be
	// removed. The message says which. Nothing was changed.
	ErrUserIDInUse = errors.New("user ID is in use")
	// ErrExternalIDTaken: the external ID is the SuperTokens ID of a user. Nothing was changed.
	ErrExternalIDTaken = errors.New("external user ID is a SuperTokens user ID")
)

// TheftError says whose refresh token was used twice. It is an [ErrTheft].
type TheftError struct {
	// Handle is the session that both holders of the token share: remove it.
	Handle string
	UserID string
}

func (e *TheftError) Error() string { return ErrTheft.Error() }
func (e *TheftError) Unwrap() error { return ErrTheft }

// MappingExistsError says which of the two user IDs has a mapping. Both do, too, when there is this very mapping and when each
// is mapped to another: [Client.UserIDMapping] tells. It is an [ErrMappingExists].
type MappingExistsError struct{ SuperTokensID, ExternalID bool }

func (e *MappingExistsError) Error() string {
	switch {
	case e.SuperTokensID && e.ExternalID:
		return ErrMappingExists.Error() + " for both IDs"
	case e.SuperTokensID:
		return ErrMappingExists.Error() + " for the SuperTokens ID"
	case e.ExternalID:
		return ErrMappingExists.Error() + " for the external ID"
	}
	return ErrMappingExists.Error()
}
func (e *MappingExistsError) Unwrap() error { return ErrMappingExists }

// Error is what every failing call of a [Client] returns: which call failed, and how.
type Error struct {
	// Method and Path are the call. Path has the tenant and neither query nor base path.
	Method, Path string
	// Status is the HTTP status of the core's answer. 0: no answer, or one that broke off.
	Status int
	// Message is what the core said, in at most 1 KiB, without the API key and the tokens, passwords and hashes of the
	// call.
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

// Refused reports that this client did not ask the core at all, since an argument cannot be right. Err says which and why.
func (e *Error) Refused() bool { return e.refused }

// NotDone reports that the core has certainly changed nothing: no byte of the call reached it (this client refused the
// call, no connection came about, the CDI version could not be negotiated), or the core refused it with a 4xx other than
// 408, or the call only reads. false says nothing. It is always false in an Error that this package did not make.
func (e *Error) NotDone() bool { return e.notDone }
