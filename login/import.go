package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
)

// An import builds the user under an address that nobody knows and gives it the right one as the last step. Until then no
// sign-in, look-up or sign-up of any backend meets a user who is half there, no user who is there already can be overwritten
// (the core's hash import would), and whatever a dead process left at that address is certainly ours to go on with.

// placeholderDomain is a name under which nobody can receive mail (RFC 2606 §2).
const placeholderDomain = "@stmigrate.invalid"

func isPlaceholder(email string) bool { return strings.HasSuffix(email, placeholderDomain) }

// placeholders are the addresses under which the user may stand while it is imported: one for each secret, the first
// secret's being the one for new users.
func (l *Login) placeholders(key Key, legacyID string) []string {
	out := make([]string, len(l.secrets))
	for i, s := range l.secrets {
		out[i] = fmt.Sprintf("import-%x%s", mac(s, "address", key.TenantID, key.Email, legacyID)[:16], placeholderDomain)
	}
	return out
}

// unknownPasswords are the passwords of users who were imported without one, by secret as above. Nobody is ever told them.
func (l *Login) unknownPasswords(key Key, legacyID string) []string {
	out := make([]string, len(l.secrets))
	for i, s := range l.secrets {
		out[i] = fmt.Sprintf("%x", mac(s, "password", key.TenantID, key.Email, legacyID))
	}
	return out
}

// importing is one attempt to import a user, under a claim.
type importing struct {
	*Login
	key    Key
	legacy *stmigrate.LegacyUser
	// password is the right one, or "" where it is not known: then the user is marked AskLegacy.
	password string
	fence    stmigrate.Fence
	entry    Entry
	resumed  bool
	address  string // where the user stands until it is published
	// passwordSet: the user has the right password in SuperTokens. hashTaken: and has it as the hash that legacy had.
	passwordSet, hashTaken bool
	missing                []string // roles
	// published: an earlier attempt came that far already.
	published bool
}

// errConflict is what cannot be imported because of what is there. It holds IDs and no e-mail.
type errConflict struct{ reason string }

func (e *errConflict) Error() string { return e.reason }

func conflictf(format string, args ...any) error { return &errConflict{fmt.Sprintf(format, args...)} }

// importUser imports the user, or waits for who does. mine is false if another request did it, so that the password may be
// another by now. password is as in importing.
func (l *Login) importUser(ctx context.Context, key Key, user *stmigrate.LegacyUser, password string) (mine bool, err error) {
	x := &importing{Login: l, key: key, legacy: user, password: password, fence: newFence()}
	for waited, wait := time.Duration(0), pollFirst; ; {
		e, err := l.ledger.Claim(ctx, Claim{Key: key, LegacyID: user.ID, Fence: x.fence, Lease: l.lease})
		switch {
		case err != nil:
			return false, unavailable(err)
		case e.Conflict != "":
			return false, fmt.Errorf("%w: %s", stmigrate.ErrConflict, e.Conflict)
		case e.Complete():
			return false, nil
		case e.Held:
			x.entry, x.resumed = e, e.Step > StepIntent
			err := x.run(ctx)
			return !x.published, err
		}
		for busy := true; busy; busy = e.Wait > 0 {
			if waited >= l.wait {
				return false, fmt.Errorf("%w: another request imports this user, and is not done after %v", stmigrate.ErrUnavailable, waited)
			}
			if err := l.sleep(ctx, wait); err != nil {
				return false, unavailable(err)
			}
			waited, wait = waited+wait, min(2*wait, pollMost)
			if e, err = l.ledger.Look(ctx, key); err != nil {
				return false, unavailable(err)
			}
		}
	}
}

const (
	pollFirst = 20 * time.Millisecond
	pollMost  = 250 * time.Millisecond
)

// run takes the steps that are left. It goes on when the client leaves, and ends well before the lease does, so that who takes
// over does not meet it.
func (x *importing) run(ctx context.Context) (err error) {
	began := x.now()
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.lease*2/3)
	defer cancel()
	step := "claim"
	defer func() {
		err = x.settle(ctx, step, err)
		e := Event{Resumed: x.resumed, Flags: x.entry.Flags, Roles: x.missing}
		e.Step, e.Duration = step, x.now().Sub(began)
		x.tell(ctx, x.key, EventImport, err, e)
	}()
	if x.entry.LegacyID != x.legacy.ID {
		return conflictf("the legacy user has the ID %q; the import was begun for %q", x.legacy.ID, x.entry.LegacyID)
	}
	for _, s := range []struct {
		name string
		done Step
		do   func(context.Context) error
	}{
		{"create", StepCreated, x.create},
		{"map", StepMapped, x.mapID},
		{"verify", StepVerified, x.verify},
		{"metadata", StepMetadata, x.metadata},
		{"roles", StepReady, x.roles},
	} {
		if x.entry.Step >= s.done {
			continue
		}
		step = s.name
		if err := s.do(work); err != nil {
			return err
		}
		if x.entry.Step = s.done; s.done == StepReady {
			continue // recorded with the flags
		}
		if err := x.record(work); err != nil {
			return err
		}
	}
	step = "publish"
	if err := x.publish(work); err != nil {
		return err
	}
	step = "complete"
	x.entry.Step = StepComplete
	if err := x.record(work); err != nil {
		return err
	}
	step = ""
	return nil
}

func (x *importing) record(ctx context.Context) error {
	e := x.entry
	p := Progress{Step: e.Step, UserID: e.UserID, Flags: e.Flags, Conflict: e.Conflict}
	err := x.ledger.Record(ctx, x.key, x.fence, p)
	if err != nil && !errors.Is(err, stmigrate.ErrClaimLost) && ctx.Err() == nil {
		err = x.ledger.Record(ctx, x.key, x.fence, p) // what became of the first is unknown; the same again is harmless
	}
	return err
}

// create makes the user at the unknown address, or finds the one that an earlier attempt made there.
func (x *importing) create(ctx context.Context) error {
	addresses := x.placeholders(x.key, x.legacy.ID)
	x.address = addresses[0]
	// Whoever has the legacy ID already, as an external ID or as SuperTokens' own, must be that very user.
	switch u, err := x.core.UserByID(ctx, x.legacy.ID); {
	case errors.Is(err, core.ErrUnknownUser):
	case err != nil:
		return err
	case !slices.Contains(addresses, u.Email):
		return conflictf("the legacy ID %q is the ID of a user in SuperTokens already, of another e-mail", x.legacy.ID)
	}
	for _, address := range addresses[1:] { // at the first one the sign-up finds it
		switch u, err := x.core.UserByEmail(ctx, x.key.TenantID, address); {
		case err == nil:
			x.address = address
			return x.created(ctx, u)
		case !errors.Is(err, core.ErrUnknownUser):
			return err
		}
	}
	if u, err := x.importHash(ctx); u != nil || err != nil {
		if err != nil {
			return err
		}
		return x.created(ctx, u)
	}
	u, err := x.core.SignUp(ctx, x.key.TenantID, x.address, x.finalPassword())
	if x.passwordSet = err == nil; errors.Is(err, core.ErrEmailExists) { // an earlier attempt
		u, err = x.core.UserByEmail(ctx, x.key.TenantID, x.address)
	}
	if err != nil {
		return err
	}
	return x.created(ctx, u)
}

// finalPassword is what the user shall have in SuperTokens.
func (x *importing) finalPassword() string {
	if x.password != "" {
		return x.password
	}
	return x.unknownPasswords(x.key, x.legacy.ID)[0]
}

// importHash gives the user at the unknown address the hash that legacy has, and makes the user if there is none. A nil user
// and no error: there is no hash, or the core does not take it.
func (x *importing) importHash(ctx context.Context) (*core.User, error) {
	if x.password == "" || x.legacy.PasswordHash == "" {
		return nil, nil
	}
	u, _, err := x.core.ImportPasswordHash(ctx, x.key.TenantID, x.address, x.legacy.PasswordHash)
	switch {
	case refused(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	// The core takes hashes that it cannot verify, and then the user could not sign in any more.
	_, err = x.core.SignIn(ctx, x.key.TenantID, x.address, x.password)
	if err != nil && !errors.Is(err, core.ErrWrongCredentials) {
		return nil, err
	}
	x.passwordSet, x.hashTaken = err == nil, err == nil
	return u, nil
}

// refused tells whether the core, or its client, has certainly done nothing and would do nothing the next time.
func refused(err error) bool {
	e := (*core.Error)(nil)
	return errors.As(err, &e) && e.NotDone() && !e.Temporary()
}

// created takes note of the user's own ID.
func (x *importing) created(ctx context.Context, u *core.User) error {
	x.entry.UserID = u.ID
	if u.ID != x.legacy.ID {
		return nil
	}
	m, err := x.core.UserIDMapping(ctx, u.ID, core.ExternalID) // an earlier attempt mapped it
	if err == nil {
		x.entry.UserID = m.SuperTokensID
	}
	return err
}

func (x *importing) mapID(ctx context.Context) error {
	want := core.UserIDMapping{SuperTokensID: x.entry.UserID, ExternalID: x.legacy.ID}
	err := x.core.CreateUserIDMapping(ctx, want, false)
	switch {
	case errors.Is(err, core.ErrMappingExists):
		for id, kind := range map[string]core.IDType{want.SuperTokensID: core.SuperTokensID, want.ExternalID: core.ExternalID} {
			m, err := x.core.UserIDMapping(ctx, id, kind)
			if err != nil && !errors.Is(err, core.ErrUnknownMapping) {
				return err
			}
			if err == nil && (m.SuperTokensID != want.SuperTokensID || m.ExternalID != want.ExternalID) {
				return conflictf("the user IDs %q and %q are mapped already; the import is of %q and %q",
					m.SuperTokensID, m.ExternalID, want.SuperTokensID, want.ExternalID)
			}
		}
		return nil
	case errors.Is(err, core.ErrExternalIDTaken):
		return conflictf("the legacy ID %q is SuperTokens' own ID of another user", want.ExternalID)
	case errors.Is(err, core.ErrUserIDInUse):
		return conflictf("there are data under the user ID %q already, so the core does not map it", want.SuperTokensID)
	}
	return err
}

func (x *importing) verify(ctx context.Context) error {
	if !x.legacy.EmailVerified {
		return nil
	}
	token, err := x.core.CreateEmailToken(ctx, x.key.TenantID, x.legacy.ID, x.key.Email)
	switch {
	case errors.Is(err, core.ErrEmailVerified):
		return nil
	case err != nil:
		return err
	}
	if _, _, err = x.core.VerifyEmail(ctx, x.key.TenantID, token); errors.Is(err, core.ErrInvalidToken) {
		if _, gone := x.core.UserByID(ctx, x.entry.UserID); gone != nil {
			return gone // and the token with the user
		}
	}
	return err
}

func (x *importing) metadata(ctx context.Context) error {
	if len(x.legacy.Metadata) == 0 {
		return nil
	}
	_, err := x.core.UpdateUserMetadata(ctx, x.legacy.ID, x.legacy.Metadata)
	return err
}

func (x *importing) roles(ctx context.Context) error {
	for _, role := range x.legacy.Roles {
		_, err := x.core.AddUserRole(ctx, x.key.TenantID, x.legacy.ID, role)
		if errors.Is(err, core.ErrUnknownRole) && x.createMissingRoles {
			if _, err = x.core.CreateRole(ctx, role); err == nil {
				_, err = x.core.AddUserRole(ctx, x.key.TenantID, x.legacy.ID, role)
			}
		}
		// Any other refusal, of the API key, say, or of a proxy, may pass, and a role that is left out is so for good.
		e := (*core.Error)(nil)
		if errors.Is(err, core.ErrUnknownRole) || errors.As(err, &e) && (e.Refused() || e.Status == http.StatusBadRequest) {
			x.missing = append(x.missing, role)
			x.entry.Flags |= RolesLeftOut
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// publish gives the user the password and then the right address, unless an earlier attempt came as far as that: the user
// may have changed either since.
func (x *importing) publish(ctx context.Context) error {
	if x.resumed {
		u, err := x.core.UserByID(ctx, x.entry.UserID)
		if err != nil {
			return err
		}
		if x.address, x.published = u.Email, !isPlaceholder(u.Email); x.published {
			return nil
		}
	}
	if !x.passwordSet {
		if _, err := x.importHash(ctx); err != nil {
			return err
		}
	}
	if !x.passwordSet {
		if err := x.core.SetPassword(ctx, x.entry.UserID, x.finalPassword()); err != nil {
			return err
		}
	}
	x.entry.Flags &^= AskLegacy | WeakPassword | HashRefused
	switch {
	case x.password == "":
		x.entry.Flags |= AskLegacy
	case x.policy(x.password) != nil:
		x.entry.Flags |= WeakPassword
	}
	if x.password != "" && x.legacy.PasswordHash != "" && !x.hashTaken {
		x.entry.Flags |= HashRefused
	}
	// The mark must stand before anybody can meet the user.
	if err := x.record(ctx); err != nil {
		return err
	}
	err := x.core.SetEmail(ctx, x.entry.UserID, x.key.Email)
	switch {
	case errors.Is(err, core.ErrEmailExists):
		return conflictf("another user in SuperTokens has the e-mail; the import is of the legacy ID %q", x.legacy.ID)
	case errors.Is(err, core.ErrNotAllowed):
		return conflictf("SuperTokens does not let the user %q have the e-mail: its accounts are linked", x.entry.UserID)
	}
	return err
}

// settle ends the claim of an attempt that failed, and makes err what the caller is told.
func (x *importing) settle(ctx context.Context, step string, err error) error {
	if err == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.lease/6)
	defer cancel()
	conflict := (*errConflict)(nil)
	switch {
	case errors.As(err, &conflict):
		x.entry.Conflict = conflict.reason
		if err := x.record(ctx); err != nil {
			return unavailable(err)
		}
		return fmt.Errorf("%w: %w", stmigrate.ErrConflict, err)
	case errors.Is(err, core.ErrUnknownUser):
		// Somebody deleted the user meanwhile. The next sign-in begins anew.
		err = fmt.Errorf("%w: the user was deleted during the import: %w", stmigrate.ErrUnavailable, err)
		return errors.Join(err, x.ledger.Release(ctx, x.key, x.fence, true))
	}
	// A call whose fate is unknown may still arrive: then nobody takes over before the lease is over.
	if e := (*core.Error)(nil); !errors.As(err, &e) || e.NotDone() {
		_ = x.ledger.Release(ctx, x.key, x.fence, false) // or the lease runs out
	}
	return fmt.Errorf("import: %s: %w", step, unavailable(err))
}
