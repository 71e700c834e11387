package login

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
)

// SignIn checks a password, and imports the user if it is right and the user was not imported yet.
//
// The ledger is asked first, then SuperTokens. A user whom the ledger calls complete is SuperTokens' alone, and so is one whom it
// does not know and SuperTokens does; only about the others legacy is asked. Errors: [stmigrate.ErrWrongCredentials];
// [stmigrate.ErrConflict] after a right legacy password whose user can't be imported; [stmigrate.ErrUnavailable], also for
// every wrong password while legacy is down. Failures look alike: see [stmigrate.LegacyGuard.FailAlike].
func (l *Login) SignIn(ctx context.Context, tenantID, email, password string) (*stmigrate.AuthUser, error) {
	return l.legacy.FailAlike(ctx, tenantID, func() (*stmigrate.AuthUser, error) {
		key, ours := l.key(tenantID, email)
		if !ours {
			return l.original.SignIn(ctx, tenantID, email, password)
		}
		return l.signIn(ctx, key, password)
	})
}

// signIn makes the same calls for all that fail: the ledger's look, the core's sign-in and look-up, legacy once.
func (l *Login) signIn(ctx context.Context, key Key, password string) (*stmigrate.AuthUser, error) {
	e, err := l.ledger.Look(ctx, key)
	if err != nil {
		return nil, unavailable(err)
	}
	if e.Complete() {
		return l.signInComplete(ctx, e, password)
	}
	// First the look-up, then the sign-in: the other way round, a user who is published in between would be there with a wrong
	// password.
	known, unknown := l.original.UserByEmail(ctx, key.TenantID, key.Email)
	switch {
	case unknown != nil && !errors.Is(unknown, stmigrate.ErrUnknownUser):
		return nil, unknown
	case unknown == nil && e.Step == StepReady && known.ID == e.LegacyID:
		// The import was done but for the note: somebody may have set a new password since.
		return l.signInComplete(ctx, l.complete(ctx, e), password)
	}
	user, err := l.original.SignIn(ctx, key.TenantID, key.Email, password)
	switch {
	case !errors.Is(err, stmigrate.ErrWrongCredentials):
		return user, err
	case unknown == nil && e.Step == 0: // SuperTokens alone decides
		return nil, l.legacy.Decoy(ctx, key.TenantID, key.Email, password)
	}
	legacy, err := l.legacy.Authenticate(ctx, key.TenantID, key.Email, password)
	if err != nil {
		return nil, err
	}
	mine, err := l.importUser(ctx, key, legacy, password)
	switch {
	case err != nil:
		return nil, err
	case !mine: // another request did it meanwhile, so SuperTokens decides
		return l.signIn(ctx, key, password)
	}
	return l.original.UserByID(ctx, legacy.ID)
}

// signInComplete signs in a user who was imported.
func (l *Login) signInComplete(ctx context.Context, e Entry, password string) (*stmigrate.AuthUser, error) {
	marked, err := l.marked(ctx, e)
	if err != nil {
		return nil, err
	}
	if !marked {
		user, err := l.original.SignIn(ctx, e.TenantID, e.Email, password)
		if !errors.Is(err, stmigrate.ErrWrongCredentials) {
			return user, err
		}
	}
	// What it finds does not matter: it is the call that a failure makes for everybody.
	if _, err := l.original.UserByEmail(ctx, e.TenantID, e.Email); err != nil && !errors.Is(err, stmigrate.ErrUnknownUser) {
		return nil, err
	}
	if marked {
		return l.askLegacy(ctx, e, password)
	}
	return nil, l.legacy.Decoy(ctx, e.TenantID, e.Email, password)
}

// askLegacy signs in a user who was imported for a reset, and has a password in SuperTokens that nobody knows.
func (l *Login) askLegacy(ctx context.Context, e Entry, password string) (*stmigrate.AuthUser, error) {
	legacy, err := l.legacy.Authenticate(ctx, e.TenantID, e.Email, password)
	if err != nil {
		return nil, err
	}
	if legacy.ID != e.LegacyID {
		return nil, fmt.Errorf("%w: the legacy user has the ID %q and was imported as %q", stmigrate.ErrConflict, legacy.ID, e.LegacyID)
	}
	// The core throws all tokens of a user away when one is used. So this one proves that no reset was done since it was made.
	token, err := l.original.CreatePasswordResetToken(ctx, e.TenantID, e.LegacyID, e.Email)
	if err != nil {
		return nil, err
	}
	if marked, err := l.marked(ctx, e); err != nil || !marked {
		return nil, cmp.Or(err, stmigrate.ErrWrongCredentials)
	}
	user, err := l.original.ResetPassword(ctx, e.TenantID, token, password)
	if errors.Is(err, stmigrate.ErrResetToken) {
		return nil, stmigrate.ErrWrongCredentials
	}
	if err != nil {
		return nil, err
	}
	flags := e.Flags &^ AskLegacy
	if l.policy(password) != nil {
		flags |= WeakPassword
	}
	err = l.ledger.Unmark(context.WithoutCancel(ctx), e.Key)
	l.tell(ctx, e.Key, EventPasswordSet, err, Event{Flags: flags})
	return user, nil
}

// unmark notes that the user has a password in SuperTokens. If that fails, the next sign-in finds out again.
func (l *Login) unmark(ctx context.Context, e Entry) {
	err := l.ledger.Unmark(context.WithoutCancel(ctx), e.Key)
	l.tell(ctx, e.Key, EventUnmarked, err, Event{Flags: e.Flags &^ AskLegacy})
}

// marked tells whether the legacy password still signs in. The mark holds as long as the user has the password that nobody knows.
// So it ends with a reset, wherever that was done, and no crash between a reset and a note of it lets the legacy password back in.
func (l *Login) marked(ctx context.Context, e Entry) (bool, error) {
	if e.Flags&AskLegacy == 0 {
		return false, nil
	}
	for _, password := range l.unknownPasswords(e.Key, e.LegacyID) {
		_, err := l.original.SignIn(ctx, e.TenantID, e.Email, password)
		if !errors.Is(err, stmigrate.ErrWrongCredentials) {
			return err == nil, err
		}
	}
	l.unmark(ctx, e)
	return false, nil
}

// SignUp creates a user in SuperTokens. Errors: [stmigrate.ErrEmailExists], also for e-mails of legacy users who were not
// imported yet.
func (l *Login) SignUp(ctx context.Context, tenantID, email, password string) (*stmigrate.AuthUser, error) {
	if isPlaceholder(strings.ToLower(strings.TrimSpace(email))) {
		return nil, fmt.Errorf("%w: e-mails of %s are for users under import", stmigrate.ErrBadRequest, placeholderDomain)
	}
	key, ours := l.key(tenantID, email)
	if !ours {
		return l.original.SignUp(ctx, tenantID, email, password)
	}
	e, err := l.ledger.Look(ctx, key)
	switch {
	case err != nil:
		return nil, unavailable(err)
	case e.Complete():
	case e.Step != 0:
		return nil, fmt.Errorf("%w: an import of it is not complete", stmigrate.ErrEmailExists)
	default:
		switch _, err := l.legacy.UserByEmail(ctx, key.TenantID, key.Email); {
		case err == nil:
			return nil, fmt.Errorf("%w: in the legacy store", stmigrate.ErrEmailExists)
		case !errors.Is(err, stmigrate.ErrUnknownUser):
			return nil, err
		}
	}
	return l.original.SignUp(ctx, tenantID, email, password)
}

// UserByEmail looks a user up in SuperTokens and then, unless it was imported, in legacy. Errors: [stmigrate.ErrConflict] for a
// legacy user under whose ID SuperTokens has another.
func (l *Login) UserByEmail(ctx context.Context, tenantID, email string) (*stmigrate.AuthUser, error) {
	user, unknown := l.original.UserByEmail(ctx, tenantID, email)
	key, ours := l.key(tenantID, email)
	if !ours || !errors.Is(unknown, stmigrate.ErrUnknownUser) {
		return user, unknown
	}
	legacy, err := l.legacy.UserByEmail(ctx, key.TenantID, key.Email)
	if err != nil {
		return nil, err
	}
	switch _, err := l.nativeByID(ctx, legacy.ID); {
	case err == nil:
		return nil, fmt.Errorf("%w: SuperTokens has the ID %q of this legacy user, with another e-mail or tenant", stmigrate.ErrConflict, legacy.ID)
	case !errors.Is(err, stmigrate.ErrUnknownUser):
		return nil, err
	}
	return l.unlessImported(ctx, key, legacy, unknown)
}

// UserByID looks a user up in SuperTokens and then, unless it was imported, in legacy.
func (l *Login) UserByID(ctx context.Context, id string) (*stmigrate.AuthUser, error) {
	user, unknown := l.nativeByID(ctx, id)
	if !errors.Is(unknown, stmigrate.ErrUnknownUser) {
		return user, unknown
	}
	legacy, err := l.legacy.UserByID(ctx, id)
	if err != nil {
		return nil, err
	}
	return l.unlessImported(ctx, Key{legacy.TenantID, legacy.Email}, legacy, unknown)
}

// unlessImported is a legacy user whom SuperTokens does not have, or unknown if it was imported: then it was deleted there, or
// got another e-mail.
func (l *Login) unlessImported(ctx context.Context, key Key, u *stmigrate.LegacyUser, unknown error) (*stmigrate.AuthUser, error) {
	e, err := l.ledger.Look(ctx, key)
	switch {
	case err != nil:
		return nil, unavailable(err)
	case e.Complete():
		return nil, unknown
	}
	return &stmigrate.AuthUser{
		ID: u.ID, Email: u.Email, TenantIDs: []string{key.TenantID}, TimeJoined: u.CreatedAt, Legacy: true,
	}, nil
}

// nativeByID is the user in SuperTokens with this ID, unless an import is not done with it.
func (l *Login) nativeByID(ctx context.Context, id string) (*stmigrate.AuthUser, error) {
	user, err := l.original.UserByID(ctx, id)
	if err == nil && isPlaceholder(user.Email) {
		return nil, fmt.Errorf("%w: the import is not complete", stmigrate.ErrUnknownUser)
	}
	return user, err
}

// UserCount counts the users of SuperTokens and those of legacy that are not there. Errors: [stmigrate.ErrUnsupported] if
// Config.Legacy is no [stmigrate.LegacyCounter].
func (l *Login) UserCount(ctx context.Context) (int, error) {
	legacy, err := l.legacy.CountUsersNotImported(ctx)
	if err != nil {
		return 0, err
	}
	n, err := l.original.UserCount(ctx)
	if err != nil {
		return 0, err
	}
	return n + legacy, nil
}

// CreatePasswordResetToken makes a token for ResetPassword. A legacy user who was not imported yet is imported first, without a
// password and marked [AskLegacy]: for them nothing changes by it, whoever asked.
func (l *Login) CreatePasswordResetToken(ctx context.Context, tenantID, userID, email string) (string, error) {
	token, unknown := l.original.CreatePasswordResetToken(ctx, tenantID, userID, email)
	key, ours := l.key(tenantID, email)
	if !ours || !errors.Is(unknown, stmigrate.ErrUnknownUser) {
		return token, unknown
	}
	e, err := l.ledger.Look(ctx, key)
	switch {
	case err != nil:
		return "", unavailable(err)
	case e.Complete():
		return "", unknown
	}
	// The e-mail may be another user's in SuperTokens.
	if _, err := l.original.UserByEmail(ctx, tenantID, email); !errors.Is(err, stmigrate.ErrUnknownUser) {
		return "", cmp.Or(err, unknown)
	}
	user, err := l.legacy.UserByEmail(ctx, key.TenantID, key.Email)
	switch {
	case errors.Is(err, stmigrate.ErrUnknownUser) || err == nil && user.ID != userID:
		return "", unknown
	case err != nil:
		return "", err
	}
	if _, err := l.importUser(ctx, key, user, ""); err != nil {
		return "", err
	}
	return l.original.CreatePasswordResetToken(ctx, tenantID, userID, email)
}

// ResetPassword consumes a token and sets a password. After it legacy is never asked about this user again.
func (l *Login) ResetPassword(ctx context.Context, tenantID, token, newPassword string) (*stmigrate.AuthUser, error) {
	user, err := l.original.ResetPassword(ctx, tenantID, token, newPassword)
	if err != nil {
		return nil, err
	}
	if key, ours := l.key(tenantID, user.Email); ours {
		// If this fails, the next sign-in finds out by itself.
		if err := l.ledger.Unmark(context.WithoutCancel(ctx), key); err != nil {
			l.tell(ctx, key, EventUnmarked, err, Event{})
		}
	}
	return user, nil
}

// Conflicts lists the users that can't be imported, at most max of them, with keys above after (the zero Key: from the first on).
// See Conflicts in the package's documentation for what to do about them.
func (l *Login) Conflicts(ctx context.Context, after Key, max int) ([]Entry, error) {
	return l.ledger.Conflicts(ctx, after, max)
}

// Forget makes a user count as never imported: at the next sign-in that SuperTokens has no user for, legacy is asked and the user
// imported anew. It deletes from SuperTokens what an import that did not end left there, and nothing else. It is how a conflict
// is ended once its cause is gone, and how a user who was deleted in SuperTokens may come back with the OLD password. Errors:
// [stmigrate.ErrUnavailable] while an import is under way.
func (l *Login) Forget(ctx context.Context, tenantID, email string) error {
	key, ours := l.key(tenantID, email)
	if !ours {
		return nil
	}
	e, err := l.ledger.Look(ctx, key)
	switch {
	case err != nil:
		return unavailable(err)
	case e.Wait > 0:
		return fmt.Errorf("%w: an import is under way, for %v at most", stmigrate.ErrUnavailable, e.Wait)
	case e.Step != 0 && !e.Complete():
		for _, address := range l.placeholders(key, e.LegacyID) {
			u, err := l.core.UserByEmail(ctx, key.TenantID, address)
			if err == nil {
				err = l.core.DeleteUser(ctx, u.ID)
			}
			if err != nil && !errors.Is(err, core.ErrUnknownUser) {
				return unavailable(err)
			}
		}
	}
	return l.ledger.Forget(ctx, key)
}

// key names the user in the ledger, if it is one whom legacy may have: nobody has the address of an import.
func (l *Login) key(tenantID, email string) (key Key, ours bool) {
	if tenantID == "" {
		tenantID = publicTenant
	}
	email, err := core.NormalizeEmail(email)
	return Key{tenantID, email}, err == nil && !isPlaceholder(email) && l.legacy.Serves(tenantID)
}

// complete catches up on the note that a dead process did not make. Whether it succeeds does not matter now.
func (l *Login) complete(ctx context.Context, e Entry) Entry {
	if e.Complete() {
		return e
	}
	fence := newFence()
	c, err := l.ledger.Claim(ctx, Claim{Key: e.Key, LegacyID: e.LegacyID, Fence: fence, Lease: l.lease})
	switch {
	case err != nil || !c.Held:
	case c.Step == StepReady:
		_ = l.ledger.Record(ctx, e.Key, fence, Progress{Step: StepComplete, UserID: c.UserID, Flags: c.Flags})
	default: // it was forgotten meanwhile, and the claim made a new one
		_ = l.ledger.Release(ctx, e.Key, fence, c.Step == StepIntent)
	}
	e.Step = StepComplete
	return e
}
