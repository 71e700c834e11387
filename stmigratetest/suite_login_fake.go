package stmigratetest

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
)

// FakeLegacyUsers is an [stmigrate.LegacyUserStore], [stmigrate.LegacyDirectory] and [stmigrate.LegacyCounter] in memory, and can
// be made to fail. The zero value is one without users. Safe for concurrent use.
type FakeLegacyUsers struct {
	mu    sync.Mutex
	users []fakeLegacyUser
	log   []LegacyCall
	fault func(ctx context.Context) error
	spoil func(*stmigrate.LegacyUser) *stmigrate.LegacyUser
}

type fakeLegacyUser struct {
	stmigrate.LegacyUser
	password [sha256.Size]byte
	imported bool
}

// LegacyCall is what a [FakeLegacyUsers] was asked.
type LegacyCall struct{ Method, TenantID, Email, Password, ID string }

// Add puts a user in, in place of one of the same tenant and e-mail. Its TenantID "" is public.
func (f *FakeLegacyUsers) Add(u stmigrate.LegacyUser, password string) {
	if email, err := core.NormalizeEmail(u.Email); err == nil {
		u.Email = email
	}
	if u.TenantID == "" {
		u.TenantID = "public"
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users = slices.DeleteFunc(f.users, func(o fakeLegacyUser) bool { return o.TenantID == u.TenantID && o.Email == u.Email })
	f.users = append(f.users, fakeLegacyUser{LegacyUser: u, password: sha256.Sum256([]byte(password))})
}

// Remove takes the users with this ID out.
func (f *FakeLegacyUsers) Remove(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users = slices.DeleteFunc(f.users, func(u fakeLegacyUser) bool { return u.ID == id })
}

// Imported says that the users with this ID are in SuperTokens by now, so that they are not counted.
func (f *FakeLegacyUsers) Imported(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.users {
		f.users[i].imported = f.users[i].imported || f.users[i].ID == id
	}
}

// Fail makes every call fail with err: [stmigrate.ErrUnavailable], say.
func (f *FakeLegacyUsers) Fail(err error) { f.setFault(func(context.Context) error { return err }) }

// Hang makes every call wait for the end of its context.
func (f *FakeLegacyUsers) Hang() {
	f.setFault(func(ctx context.Context) error {
		<-ctx.Done()
		return unavailable(ctx)
	})
}

// HangUntil makes every call wait for done, whatever becomes of its context, and then do its work.
func (f *FakeLegacyUsers) HangUntil(done <-chan struct{}) {
	f.setFault(func(context.Context) error {
		<-done
		return nil
	})
}

// Panic makes every call panic.
func (f *FakeLegacyUsers) Panic() {
	f.setFault(func(context.Context) error { panic("the legacy user store was told to panic") })
}

// Spoil makes change of every user that is found what is answered; it may return nil.
func (f *FakeLegacyUsers) Spoil(change func(*stmigrate.LegacyUser) *stmigrate.LegacyUser) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.spoil = change
}

// Heal ends all that.
func (f *FakeLegacyUsers) Heal() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault, f.spoil = nil, nil
}

func (f *FakeLegacyUsers) setFault(fault func(context.Context) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fault = fault
}

// Calls returns what it was asked, oldest first, and forgets it.
func (f *FakeLegacyUsers) Calls() []LegacyCall {
	f.mu.Lock()
	defer f.mu.Unlock()
	log := f.log
	f.log = nil
	return log
}

// begin logs a call and does what it was told to do instead.
func (f *FakeLegacyUsers) begin(ctx context.Context, c LegacyCall) error {
	f.mu.Lock()
	f.log = append(f.log, c)
	fault := f.fault
	f.mu.Unlock()
	if fault != nil {
		return fault(ctx)
	}
	if ctx.Err() != nil {
		return unavailable(ctx)
	}
	return nil
}

func unavailable(ctx context.Context) error {
	return fmt.Errorf("%w: %w", stmigrate.ErrUnavailable, ctx.Err())
}

// find returns a copy of the first user that is wanted.
func (f *FakeLegacyUsers) find(wanted func(u *fakeLegacyUser) bool) (u *stmigrate.LegacyUser, password [sha256.Size]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.users {
		if found := f.users[i]; wanted(&found) {
			u, password = &found.LegacyUser, found.password
			u.Roles, u.Metadata = slices.Clone(u.Roles), maps.Clone(u.Metadata)
			break
		}
	}
	return u, password
}

func (f *FakeLegacyUsers) answer(u *stmigrate.LegacyUser) (*stmigrate.LegacyUser, error) {
	f.mu.Lock()
	spoil := f.spoil
	f.mu.Unlock()
	if spoil != nil {
		return spoil(u), nil
	}
	return u, nil
}

// Authenticate implements [stmigrate.LegacyUserStore].
func (f *FakeLegacyUsers) Authenticate(ctx context.Context, tenantID, email, password string) (*stmigrate.LegacyUser, error) {
	if err := f.begin(ctx, LegacyCall{Method: "Authenticate", TenantID: tenantID, Email: email, Password: password}); err != nil {
		return nil, err
	}
	u, want := f.byEmail(tenantID, email)
	got := sha256.Sum256([]byte(password))
	if subtle.ConstantTimeCompare(got[:], want[:]) != 1 || u == nil {
		return nil, stmigrate.ErrWrongCredentials
	}
	return f.answer(u)
}

func (f *FakeLegacyUsers) byEmail(tenantID, email string) (*stmigrate.LegacyUser, [sha256.Size]byte) {
	email, err := core.NormalizeEmail(email)
	return f.find(func(u *fakeLegacyUser) bool { return err == nil && u.TenantID == tenantID && u.Email == email })
}

// UserByEmail implements [stmigrate.LegacyDirectory].
func (f *FakeLegacyUsers) UserByEmail(ctx context.Context, tenantID, email string) (*stmigrate.LegacyUser, error) {
	if err := f.begin(ctx, LegacyCall{Method: "UserByEmail", TenantID: tenantID, Email: email}); err != nil {
		return nil, err
	}
	u, _ := f.byEmail(tenantID, email)
	if u == nil {
		return nil, stmigrate.ErrUnknownUser
	}
	return f.answer(u)
}

// UserByID implements [stmigrate.LegacyDirectory].
func (f *FakeLegacyUsers) UserByID(ctx context.Context, id string) (*stmigrate.LegacyUser, error) {
	if err := f.begin(ctx, LegacyCall{Method: "UserByID", ID: id}); err != nil {
		return nil, err
	}
	u, _ := f.find(func(u *fakeLegacyUser) bool { return u.ID == id })
	if u == nil {
		return nil, stmigrate.ErrUnknownUser
	}
	return f.answer(u)
}

// CountUsersNotImported implements [stmigrate.LegacyCounter].
func (f *FakeLegacyUsers) CountUsersNotImported(ctx context.Context) (int, error) {
	if err := f.begin(ctx, LegacyCall{Method: "CountUsersNotImported"}); err != nil {
		return 0, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, u := range f.users {
		if !u.imported {
			n++
		}
	}
	return n, nil
}
