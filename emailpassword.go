package stmigrate

import (
	"context"
	"errors"
	"fmt"

	"github.com/stmigrate/stmigrate/core"
)

// CoreEmailPassword is the [EmailPassword] of the core alone. A user that is mapped to an external ID is seen under that, and
// found under either.
//
// A malformed e-mail, password, ID or tenant, and a tenant that the core does not have, is [ErrBadRequest]; for SignIn it is
// ErrWrongCredentials like any other that does not fit. Malformed are: an e-mail that [core.NormalizeEmail] refuses, a password
// that [core.ValidPassword] refuses. There is no other rule for passwords. Whether a tenant allows this login at all the core does
// not ask from CDI 5.1 on: see [core.Tenant].
type CoreEmailPassword struct{ core *core.Client }

// NewEmailPassword returns the functions of c.
func NewEmailPassword(c *core.Client) *CoreEmailPassword { return &CoreEmailPassword{c} }

var _ EmailPassword = (*CoreEmailPassword)(nil)

// SignUp implements [EmailPassword]. If its error is ErrUnavailable, the user may exist all the same.
func (e *CoreEmailPassword) SignUp(ctx context.Context, tenantID, email, password string) (*AuthUser, error) {
	return authUser(e.core.SignUp(ctx, tenantID, email, password))
}

// SignIn implements [EmailPassword]. The core itself takes longer for a wrong password than for an unknown e-mail, since it
// hashes nothing for that; [LegacyGuard.FailAlike] hides it, and so do the wrappers.
func (e *CoreEmailPassword) SignIn(ctx context.Context, tenantID, email, password string) (*AuthUser, error) {
	u, err := authUser(e.core.SignIn(ctx, tenantID, email, password))
	if errors.Is(err, ErrBadRequest) || errors.Is(err, ErrWrongCredentials) {
		return nil, ErrWrongCredentials
	}
	return u, err
}

// UserByEmail implements [EmailPassword].
func (e *CoreEmailPassword) UserByEmail(ctx context.Context, tenantID, email string) (*AuthUser, error) {
	return authUser(e.core.UserByEmail(ctx, tenantID, email))
}

// UserByID implements [EmailPassword].
func (e *CoreEmailPassword) UserByID(ctx context.Context, id string) (*AuthUser, error) {
	return authUser(e.core.UserByID(ctx, id))
}

// UserCount implements [EmailPassword]. It counts all users of the core, whatever they sign in with.
func (e *CoreEmailPassword) UserCount(ctx context.Context) (int, error) {
	n, err := e.core.CountUsers(ctx, "")
	return n, userError(err)
}

// CreatePasswordResetToken implements [EmailPassword]. The core looks at the user ID alone; here the e-mail must be that user's,
// in this tenant.
func (e *CoreEmailPassword) CreatePasswordResetToken(ctx context.Context, tenantID, userID, email string) (string, error) {
	u, err := e.core.UserByEmail(ctx, tenantID, email)
	if err != nil {
		return "", userError(err)
	}
	if userID != u.ID && userID != u.RecipeUserID {
		other, err := e.core.UserByID(ctx, userID)
		switch {
		case err != nil:
			return "", userError(err)
		case other.ID != u.ID:
			return "", fmt.Errorf("%w: the user with this ID has another e-mail", ErrUnknownUser)
		}
	}
	token, err := e.core.CreateResetToken(ctx, tenantID, u.ID, u.Email)
	return token, userError(err)
}

// ResetPassword implements [EmailPassword]. A malformed password leaves the token as it is; after that the token is used up
// whatever happens, and ctx ends nothing any more. A token whose user has another e-mail by now is ErrResetToken. Sessions stay:
// [Sessions.RevokeUser] ends them.
func (e *CoreEmailPassword) ResetPassword(ctx context.Context, tenantID, token, newPassword string) (*AuthUser, error) {
	if err := core.ValidPassword(newPassword); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	id, email, err := e.core.ConsumeResetToken(ctx, tenantID, token)
	if err != nil {
		return nil, userError(err)
	}
	ctx = context.WithoutCancel(ctx)
	u, err := e.core.UserByEmail(ctx, tenantID, email)
	switch {
	case errors.Is(err, core.ErrUnknownUser) || err == nil && u.ID != id:
		return nil, fmt.Errorf("%w: its user has another e-mail by now", ErrResetToken)
	case err != nil:
		return nil, fmt.Errorf("the token is used up and the password the old one: %w", userError(err))
	}
	login := u.ID
	if u.RecipeUserID != "" {
		login = u.RecipeUserID
	}
	if err := e.core.SetPassword(ctx, login, newPassword); err != nil {
		return nil, fmt.Errorf("the token is used up and the password may be the old one: %w", userError(err))
	}
	return authUser(u, nil)
}

func authUser(u *core.User, err error) (*AuthUser, error) {
	if err != nil {
		return nil, userError(err)
	}
	return &AuthUser{ID: u.ID, Email: u.Email, TenantIDs: u.TenantIDs, TimeJoined: u.TimeJoined}, nil
}

// userError gives an error of the core client about users its class here.
func userError(err error) error {
	if err == nil {
		return nil
	}
	for class, ours := range map[error]error{
		core.ErrWrongCredentials: ErrWrongCredentials,
		core.ErrUnknownUser:      ErrUnknownUser,
		core.ErrEmailExists:      ErrEmailExists,
		core.ErrInvalidToken:     ErrResetToken,
		core.ErrUnknownTenant:    ErrBadRequest,
	} {
		if errors.Is(err, class) {
			return fmt.Errorf("%w: %w", ours, err)
		}
	}
	if e := (*core.Error)(nil); errors.As(err, &e) && e.Refused() {
		return fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	return coreError(err)
}
