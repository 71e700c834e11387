package stmigrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/stmigrate/stmigrate/internal/isnil"
)

// EmailPassword is what a login needs of users with an e-mail and a password. [NewEmailPassword] answers from the core alone;
// [Override] and package login answer for users that are not in SuperTokens yet, too. stmigratetest.TestEmailPassword checks it.
//
// tenantID "" is public. An e-mail is compared in lower case and without white space around it. One that cannot be an e-mail,
// and a password that cannot be one, is ErrBadRequest, but for SignIn, where it is ErrWrongCredentials.
type EmailPassword interface {
	// SignUp creates a user. ErrEmailExists if somebody in the tenant has the e-mail.
	SignUp(ctx context.Context, tenantID, email, password string) (*AuthUser, error)
	// SignIn checks a password. ErrWrongCredentials for a wrong one and for an unknown e-mail alike.
	SignIn(ctx context.Context, tenantID, email, password string) (*AuthUser, error)
	// UserByEmail and UserByID look a user up. ErrUnknownUser if there is none.
	UserByEmail(ctx context.Context, tenantID, email string) (*AuthUser, error)
	UserByID(ctx context.Context, id string) (*AuthUser, error)
	// UserCount counts users across all tenants.
	UserCount(ctx context.Context) (int, error)
	// CreatePasswordResetToken makes a token for ResetPassword, to be sent to the user's e-mail address and nowhere else.
	// ErrUnknownUser if there is no such user.
	CreatePasswordResetToken(ctx context.Context, tenantID, userID, email string) (string, error)
	// ResetPassword consumes a token and sets a password. ErrResetToken if the token is unknown, used or over.
	ResetPassword(ctx context.Context, tenantID, token, newPassword string) (*AuthUser, error)
}

// AuthUser is a user as a login sees it.
type AuthUser struct {
	// ID is what APIs see: the external one where the user is mapped to one, else SuperTokens' own. Of a user that only
	// the legacy store has, it is the ID there.
	ID string
	// Email is in lower case.
	Email string
	// TenantIDs are the tenants that the user belongs to.
	TenantIDs []string
	// TimeJoined is when the user signed up; zero if unknown.
	TimeJoined time.Time
	// Legacy is true for a user that only the legacy store has.
	Legacy bool
}

// LegacyUserStore checks passwords against the legacy system. stmigratetest.TestLegacyUserStore checks it.
type LegacyUserStore interface {
	// Authenticate returns whose e-mail and password these are. ErrWrongCredentials for a wrong password and for an unknown
	// e-mail alike, in a time that does not tell them apart; ErrUnavailable where it cannot tell. tenantID is never "".
	Authenticate(ctx context.Context, tenantID, email, password string) (*LegacyUser, error)
}

// LegacyDirectory is what a [LegacyUserStore] should be, too: it finds users without their password, so that nobody signs
// up with an e-mail that a legacy user has, and a reset finds users that were never imported. ErrUnknownUser if there is none.
type LegacyDirectory interface {
	UserByEmail(ctx context.Context, tenantID, email string) (*LegacyUser, error)
	UserByID(ctx context.Context, id string) (*LegacyUser, error)
}

// LegacyCounter is what a [LegacyUserStore] may be, too.
type LegacyCounter interface {
	// CountUsersNotImported counts the legacy users that are not in SuperTokens.
	CountUsersNotImported(ctx context.Context) (int, error)
}

// LegacyUser is a user of the legacy system.
type LegacyUser struct {
	// ID is at most 128 bytes, and never empty. Email is never empty either.
	ID, Email string
	// TenantID is the SuperTokens tenant; "" is the one that was asked for, or that the store serves, or of several public.
	TenantID string
	// EmailVerified tells whether the legacy system saw the user prove the address. When in doubt, it did not.
	EmailVerified bool
	// CreatedAt is zero if unknown.
	CreatedAt time.Time
	// PasswordHash is in a format that the core imports (bcrypt, argon2id, firebase_scrypt), or "".
	PasswordHash string
	// Roles and Metadata are given to the user in SuperTokens where one is imported (package login). [Override] ignores them.
	Roles    []string
	Metadata map[string]any
}

// OverrideConfig configures [Override]. Original and Legacy are required; what is not explained here is as in
// [LegacyGuardConfig].
type OverrideConfig struct {
	// Original answers for the users of SuperTokens: [NewEmailPassword], say.
	Original EmailPassword
	// Legacy answers for the others.
	Legacy              LegacyUserStore
	Tenants             []string
	SkipLegacyDirectory bool
	FailureFloor        time.Duration
	Timeout             time.Duration
	Tries               int
	TriesPer            time.Duration
	Observe             func(context.Context, Event)
	Logger              *slog.Logger
	Now                 func() time.Time
}

// Override returns the functions of cfg.Original with those users added that only the legacy system has. They stay there:
// nothing is imported, which is package login's business.
//
//   - SignIn: who is in SuperTokens signs in there alone, and an old password at the legacy system is worth nothing; the others
//     sign in against the legacy store ([AuthUser.Legacy]). Failures look alike ([LegacyGuard.FailAlike]).
//   - SignUp: an e-mail that the legacy directory has is ErrEmailExists; so is one that SuperTokens has. Without a directory that
//     answers nobody signs up.
//   - UserByEmail, UserByID: SuperTokens, then the legacy directory.
//   - UserCount: both; ErrUnsupported without a [LegacyCounter].
//   - CreatePasswordResetToken: [ErrUseLegacyReset] for a user that only the legacy directory has.
//   - ResetPassword: SuperTokens alone.
//
// A legacy user under whose ID SuperTokens has a user with another e-mail, or in another tenant, is [ErrConflict] for all
// that look a user up by e-mail: sessions go by ID, and would be that user's. Only users with a password are looked for there.
func Override(cfg OverrideConfig) (EmailPassword, error) {
	original, _ := cfg.Original.(*CoreEmailPassword)
	switch {
	case isnil.Value(cfg.Original) || original != nil && original.core == nil:
		return nil, errors.New("stmigrate: OverrideConfig.Original is required (NewEmailPassword, say)")
	case isnil.Value(cfg.Legacy):
		return nil, errors.New("stmigrate: OverrideConfig.Legacy is required")
	}
	guard, err := NewLegacyGuard(LegacyGuardConfig{
		Store: cfg.Legacy, Tenants: cfg.Tenants, SkipLegacyDirectory: cfg.SkipLegacyDirectory, FailureFloor: cfg.FailureFloor,
		Timeout: cfg.Timeout, Tries: cfg.Tries, TriesPer: cfg.TriesPer, Observe: cfg.Observe, Logger: cfg.Logger, Now: cfg.Now,
	})
	if err != nil {
		return nil, err
	}
	return &override{original: cfg.Original, legacy: guard}, nil
}

type override struct {
	original EmailPassword
	legacy   *LegacyGuard
}

// SignIn makes the same calls for all that fail: the core's sign-in, the core's look-up, the legacy store once.
func (o *override) SignIn(ctx context.Context, tenantID, email, password string) (*AuthUser, error) {
	return o.legacy.FailAlike(ctx, tenantID, func() (*AuthUser, error) {
		u, err := o.original.SignIn(ctx, tenantID, email, password)
		if !errors.Is(err, ErrWrongCredentials) {
			return u, err
		}
		_, err = o.original.UserByEmail(ctx, tenantID, email)
		switch {
		case err == nil:
			return nil, o.legacy.Decoy(ctx, tenantID, email, password)
		case !errors.Is(err, ErrUnknownUser):
			return nil, err
		}
		legacy, err := o.legacy.Authenticate(ctx, tenantID, email, password)
		if err != nil {
			return nil, err
		}
		return o.legacyUser(ctx, legacy)
	})
}

func (o *override) SignUp(ctx context.Context, tenantID, email, password string) (*AuthUser, error) {
	u, err := o.legacy.UserByEmail(ctx, tenantID, email)
	switch {
	case err == nil:
		return nil, fmt.Errorf("%w: the legacy user %q has it", ErrEmailExists, u.ID)
	case !errors.Is(err, ErrUnknownUser):
		return nil, err
	}
	return o.original.SignUp(ctx, tenantID, email, password)
}

func (o *override) UserByEmail(ctx context.Context, tenantID, email string) (*AuthUser, error) {
	u, err := o.original.UserByEmail(ctx, tenantID, email)
	if !errors.Is(err, ErrUnknownUser) {
		return u, err
	}
	legacy, err := o.legacy.UserByEmail(ctx, tenantID, email)
	if err != nil {
		return nil, err
	}
	return o.legacyUser(ctx, legacy)
}

func (o *override) UserByID(ctx context.Context, id string) (*AuthUser, error) {
	u, err := o.original.UserByID(ctx, id)
	if !errors.Is(err, ErrUnknownUser) {
		return u, err
	}
	legacy, err := o.legacy.UserByID(ctx, id)
	if err != nil {
		return nil, err
	}
	return asAuthUser(legacy), nil
}

func (o *override) UserCount(ctx context.Context) (int, error) {
	notImported, err := o.legacy.CountUsersNotImported(ctx)
	if err != nil {
		return 0, err
	}
	n, err := o.original.UserCount(ctx)
	if err != nil {
		return 0, err
	}
	return n + notImported, nil
}

func (o *override) CreatePasswordResetToken(ctx context.Context, tenantID, userID, email string) (string, error) {
	token, unknown := o.original.CreatePasswordResetToken(ctx, tenantID, userID, email)
	if !errors.Is(unknown, ErrUnknownUser) {
		return token, unknown
	}
	u, err := o.UserByEmail(ctx, tenantID, email)
	switch {
	case err != nil:
		return "", err
	case !u.Legacy || u.ID != userID:
		return "", unknown
	}
	return "", ErrUseLegacyReset
}

func (o *override) ResetPassword(ctx context.Context, tenantID, token, newPassword string) (*AuthUser, error) {
	return o.original.ResetPassword(ctx, tenantID, token, newPassword)
}

// legacyUser is a legacy user whose e-mail SuperTokens does not have, unless it has the ID.
func (o *override) legacyUser(ctx context.Context, u *LegacyUser) (*AuthUser, error) {
	_, err := o.original.UserByID(ctx, u.ID)
	switch {
	case err == nil:
		return nil, fmt.Errorf("%w: SuperTokens has a user of this legacy user's ID, with another e-mail or tenant", ErrConflict)
	case !errors.Is(err, ErrUnknownUser):
		return nil, err
	}
	return asAuthUser(u), nil
}

func asAuthUser(u *LegacyUser) *AuthUser {
	return &AuthUser{ID: u.ID, Email: u.Email, TenantIDs: []string{u.TenantID}, TimeJoined: u.CreatedAt, Legacy: true}
}
