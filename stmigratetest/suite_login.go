package stmigratetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stmigrate/stmigrate"
)

// LegacyUsersUnderTest is a legacy user store and what is in it.
type LegacyUsersUnderTest struct {
	Store stmigrate.LegacyUserStore
	// User is in the store with this Password, of at least 8 characters with a letter among them; its TenantID "" is public.
	User     stmigrate.LegacyUser
	Password string
	// OtherTenant is one in which User is not. "": that is not checked.
	OtherTenant string
	// NotImported is what a [stmigrate.LegacyCounter] is to count.
	NotImported int
	// Break makes the legacy system fail from now on. nil: that is not checked.
	Break func()
}

// TestLegacyUserStore holds an [stmigrate.LegacyUserStore] to its contract, and as an [stmigrate.LegacyDirectory] and an
// [stmigrate.LegacyCounter] if it is one. open returns it once for each check. How long its answers take is not tested.
func TestLegacyUserStore(t *testing.T, open func(t *testing.T) LegacyUsersUnderTest) {
	t.Helper()
	runChecks(t, open, legacyUserStoreChecks)
}

func (s LegacyUsersUnderTest) tenant() string {
	if s.User.TenantID != "" {
		return s.User.TenantID
	}
	return "public"
}

// is compares a user with the one that the store has.
func (s LegacyUsersUnderTest) is(u *stmigrate.LegacyUser, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("got error %w, want the user", err)
	case u == nil:
		return errors.New("got neither a user nor an error")
	case u.ID != s.User.ID || !strings.EqualFold(u.Email, s.User.Email) || u.EmailVerified != s.User.EmailVerified:
		return fmt.Errorf("got the user %q, %q, verified %v, want %q, %q, %v",
			u.ID, u.Email, u.EmailVerified, s.User.ID, s.User.Email, s.User.EmailVerified)
	case u.TenantID != "" && u.TenantID != s.tenant():
		return fmt.Errorf("got a user of the tenant %q, want %q", u.TenantID, s.tenant())
	case len(u.ID) > 128:
		return fmt.Errorf("the user's ID has %d bytes, at most 128 are allowed", len(u.ID))
	}
	return nil
}

// refuses wants ErrWrongCredentials, without a user and without the password in the text.
func (s LegacyUsersUnderTest) refuses(ctx context.Context, tenantID, email, password string) error {
	u, err := s.Store.Authenticate(ctx, tenantID, email, password)
	if !errors.Is(err, stmigrate.ErrWrongCredentials) || errors.Is(err, stmigrate.ErrUnavailable) || u != nil {
		return fmt.Errorf("got %v and error %v, want no user and ErrWrongCredentials", u, err)
	}
	if len(password) > 7 && strings.Contains(err.Error(), password) {
		return errors.New("the error holds the password")
	}
	return nil
}

func (s LegacyUsersUnderTest) directory() (stmigrate.LegacyDirectory, bool) {
	d, ok := s.Store.(stmigrate.LegacyDirectory)
	return d, ok
}

func otherCase(s string) string {
	if upper := strings.ToUpper(s); upper != s {
		return upper
	}
	return strings.ToLower(s)
}

var legacyUserStoreChecks = []check[LegacyUsersUnderTest]{
	{"the right password is the user's", func(ctx context.Context, s LegacyUsersUnderTest) error {
		for range 2 {
			if err := s.is(s.Store.Authenticate(ctx, s.tenant(), s.User.Email, s.Password)); err != nil {
				return err
			}
		}
		return nil
	}},
	{"other passwords are wrong", func(ctx context.Context, s LegacyUsersUnderTest) error {
		p := s.Password
		for _, wrong := range []string{"wrong-" + p, p[:len(p)-1], p + "x", otherCase(p), " " + p, p + " ", "' OR '1'='1", "*", "%"} {
			if err := s.refuses(ctx, s.tenant(), s.User.Email, wrong); err != nil {
				return err
			}
		}
		return nil
	}},
	{"an unknown e-mail looks like a wrong password", func(ctx context.Context, s LegacyUsersUnderTest) error {
		for _, unknown := range []string{"nobody@example.invalid", "*", "%", "' OR '1'='1", s.User.Email + "x"} {
			if err := s.refuses(ctx, s.tenant(), unknown, s.Password); err != nil {
				return err
			}
		}
		_, wrong := s.Store.Authenticate(ctx, s.tenant(), s.User.Email, "wrong-"+s.Password)
		_, unknown := s.Store.Authenticate(ctx, s.tenant(), "nobody@example.invalid", "wrong-"+s.Password)
		if wrong == nil || unknown == nil || wrong.Error() != unknown.Error() {
			return fmt.Errorf("a wrong password is %q, an unknown e-mail %q", wrong, unknown)
		}
		return nil
	}},
	{"an e-mail in other case is the same", func(ctx context.Context, s LegacyUsersUnderTest) error {
		return s.is(s.Store.Authenticate(ctx, s.tenant(), otherCase(s.User.Email), s.Password))
	}},
	{"a user of one tenant is none of another", func(ctx context.Context, s LegacyUsersUnderTest) error {
		if s.OtherTenant == "" {
			return nil
		}
		if err := s.refuses(ctx, s.OtherTenant, s.User.Email, s.Password); err != nil {
			return err
		}
		return s.refuses(ctx, "no-such-tenant", s.User.Email, s.Password)
	}},
	{"what cannot be an e-mail or a password is wrong", func(ctx context.Context, s LegacyUsersUnderTest) error {
		long := strings.Repeat("x", 10_000)
		for _, tt := range [][2]string{
			{"", s.Password}, {s.User.Email, ""}, {"", ""}, {" ", s.Password},
			{s.User.Email, s.Password + "\x00"}, {s.User.Email, s.Password + "\x00x"}, {s.User.Email, "\x00" + s.Password},
			{s.User.Email + "\x00", s.Password}, {s.User.Email + "\x00x", s.Password},
			{s.User.Email, long}, {long, s.Password}, {long + "@example.com", long}, {s.User.Email, "\xff"}, {"\xff", s.Password},
		} {
			if err := s.refuses(ctx, s.tenant(), tt[0], tt[1]); err != nil {
				return fmt.Errorf("e-mail of %d bytes, password of %d: %w", len(tt[0]), len(tt[1]), err)
			}
		}
		return nil
	}},
	{"a user that was returned is the caller's", func(ctx context.Context, s LegacyUsersUnderTest) error {
		u, err := s.Store.Authenticate(ctx, s.tenant(), s.User.Email, s.Password)
		if err := s.is(u, err); err != nil {
			return err
		}
		u.ID, u.Email, u.TenantID, u.EmailVerified = "spoilt", "spoilt", "spoilt", !u.EmailVerified
		for name := range u.Metadata {
			u.Metadata[name] = "spoilt"
		}
		again, err := s.Store.Authenticate(ctx, s.tenant(), s.User.Email, s.Password)
		if err := s.is(again, err); err != nil {
			return err
		}
		for name, value := range again.Metadata {
			if value == "spoilt" {
				return fmt.Errorf("the metadata %q are shared between answers", name)
			}
		}
		return nil
	}},
	{"many at once get their own answers", func(ctx context.Context, s LegacyUsersUnderTest) error {
		var wg sync.WaitGroup
		errs := make([]error, 8)
		for i := range errs {
			wg.Go(func() {
				if i%2 == 0 {
					errs[i] = s.is(s.Store.Authenticate(ctx, s.tenant(), s.User.Email, s.Password))
				} else {
					errs[i] = s.refuses(ctx, s.tenant(), s.User.Email, "wrong-"+s.Password)
				}
			})
		}
		wg.Wait()
		return errors.Join(errs...)
	}},
	{"a context that has ended is ErrUnavailable", func(ctx context.Context, s LegacyUsersUnderTest) error {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		return s.allUnavailable(ended)
	}},
	{"a system that fails is ErrUnavailable", func(ctx context.Context, s LegacyUsersUnderTest) error {
		if s.Break == nil {
			return nil
		}
		s.Break()
		return s.allUnavailable(ctx)
	}},
	{"the directory finds users by e-mail", func(ctx context.Context, s LegacyUsersUnderTest) error {
		d, ok := s.directory()
		if !ok {
			return nil
		}
		for _, email := range []string{s.User.Email, otherCase(s.User.Email)} {
			if err := s.is(d.UserByEmail(ctx, s.tenant(), email)); err != nil {
				return err
			}
		}
		for _, unknown := range []string{"nobody@example.invalid", "", "%", "\x00", s.User.Email + "x"} {
			if u, err := d.UserByEmail(ctx, s.tenant(), unknown); !errors.Is(err, stmigrate.ErrUnknownUser) || u != nil {
				return fmt.Errorf("e-mail %q: got %v and error %v, want no user and ErrUnknownUser", unknown, u, err)
			}
		}
		if s.OtherTenant == "" {
			return nil
		}
		if u, err := d.UserByEmail(ctx, s.OtherTenant, s.User.Email); !errors.Is(err, stmigrate.ErrUnknownUser) || u != nil {
			return fmt.Errorf("in another tenant: got %v and error %v, want no user and ErrUnknownUser", u, err)
		}
		return nil
	}},
	{"the directory finds users by ID", func(ctx context.Context, s LegacyUsersUnderTest) error {
		d, ok := s.directory()
		if !ok {
			return nil
		}
		if err := s.is(d.UserByID(ctx, s.User.ID)); err != nil {
			return err
		}
		for _, unknown := range []string{"nobody-has-this-id", "", "%", "\x00", strings.Repeat("x", 10_000)} {
			if u, err := d.UserByID(ctx, unknown); !errors.Is(err, stmigrate.ErrUnknownUser) || u != nil {
				return fmt.Errorf("ID of %d bytes: got %v and error %v, want no user and ErrUnknownUser", len(unknown), u, err)
			}
		}
		return nil
	}},
	{"the counter counts who is not imported", func(ctx context.Context, s LegacyUsersUnderTest) error {
		c, ok := s.Store.(stmigrate.LegacyCounter)
		if !ok {
			return nil
		}
		if n, err := c.CountUsersNotImported(ctx); err != nil || n != s.NotImported {
			return fmt.Errorf("got %d and error %v, want %d", n, err, s.NotImported)
		}
		return nil
	}},
}

// allUnavailable wants ErrUnavailable of whatever the store is asked.
func (s LegacyUsersUnderTest) allUnavailable(ctx context.Context) error {
	asked := map[string]func() error{
		"the right password": func() error { return failed(s.Store.Authenticate(ctx, s.tenant(), s.User.Email, s.Password)) },
		"a wrong password": func() error {
			return failed(s.Store.Authenticate(ctx, s.tenant(), s.User.Email, "wrong-"+s.Password))
		},
	}
	if d, ok := s.directory(); ok {
		asked["UserByEmail"] = func() error { return failed(d.UserByEmail(ctx, s.tenant(), s.User.Email)) }
		asked["UserByID"] = func() error { return failed(d.UserByID(ctx, s.User.ID)) }
	}
	if c, ok := s.Store.(stmigrate.LegacyCounter); ok {
		asked["CountUsersNotImported"] = func() error { return failed(c.CountUsersNotImported(ctx)) }
	}
	for name, ask := range asked {
		err := ask()
		if !errors.Is(err, stmigrate.ErrUnavailable) || errors.Is(err, stmigrate.ErrWrongCredentials) {
			return fmt.Errorf("%s: got error %v, want ErrUnavailable", name, err)
		}
		if strings.Contains(err.Error(), s.Password) {
			return fmt.Errorf("%s: the error holds the password", name)
		}
	}
	return nil
}

func failed[T any](_ T, err error) error { return err }

// EmailPasswordUnderTest is an [stmigrate.EmailPassword] without users, but for those of Legacy.
type EmailPasswordUnderTest struct {
	stmigrate.EmailPassword
	// Tenant is a second tenant. "": what it is for is not checked.
	Tenant string
	// Legacy is a user that only the legacy system has, in the public tenant; LegacyPassword is its password. nil: there is none.
	// A [stmigrate.LegacyCounter] must not count it any more once it is in SuperTokens: see [FakeLegacyUsers.Imported].
	Legacy         *stmigrate.LegacyUser
	LegacyPassword string
	// Break makes the legacy system fail from now on. nil: that is not checked.
	Break func()
}

// TestEmailPassword holds an [stmigrate.EmailPassword] to its contract. open returns it once for each check. A FailureFloor
// should be short: the suite makes some fifty sign-ins that fail. How long they take is not tested.
func TestEmailPassword(t *testing.T, open func(t *testing.T) EmailPasswordUnderTest) {
	t.Helper()
	runChecks(t, open, emailPasswordChecks)
}

const (
	loginEmail    = "ada@example.com"
	loginPassword = "correct horse 1"
)

// signUp makes ada.
func (e EmailPasswordUnderTest) signUp(ctx context.Context) (*stmigrate.AuthUser, error) {
	u, err := e.SignUp(ctx, "", loginEmail, loginPassword)
	return u, isUser(u, err, "", loginEmail)
}

// isUser compares a user with what is known of it. An empty ID is not compared.
func isUser(u *stmigrate.AuthUser, err error, id, email string) error {
	switch {
	case err != nil:
		return fmt.Errorf("got error %w, want the user %q", err, email)
	case u == nil:
		return errors.New("got neither a user nor an error")
	case u.ID == "" || id != "" && u.ID != id || u.Email != email:
		return fmt.Errorf("got the user %q with the e-mail %q, want %q with %q", u.ID, u.Email, id, email)
	case len(u.TenantIDs) == 0:
		return errors.New("the user is in no tenant")
	}
	return nil
}

// wants compares the class of an error, and looks for passwords in its text.
func wants(what string, err, class error) error {
	if !errors.Is(err, class) {
		return fmt.Errorf("%s: got error %v, want %v", what, err, class)
	}
	for _, secret := range []string{loginPassword, "another horse 2"} {
		if strings.Contains(err.Error(), secret) {
			return fmt.Errorf("%s: the error holds the password", what)
		}
	}
	return nil
}

// signInFails wants ErrWrongCredentials, and nothing that tells it from the others.
func (e EmailPasswordUnderTest) signInFails(ctx context.Context, what, tenantID, email, password string) error {
	u, err := e.SignIn(ctx, tenantID, email, password)
	if u != nil {
		return fmt.Errorf("%s: signed in", what)
	}
	if err := wants(what, err, stmigrate.ErrWrongCredentials); err != nil {
		return err
	}
	if errors.Is(err, stmigrate.ErrUnknownUser) || errors.Is(err, stmigrate.ErrBadRequest) || err.Error() != stmigrate.ErrWrongCredentials.Error() {
		return fmt.Errorf("%s: the error is %q and tells more than %q", what, err, stmigrate.ErrWrongCredentials)
	}
	return nil
}

// malformedEmails are none; they must not reach a core, where some of them would be cut off or break it.
var malformedEmails = []string{
	"", "   ", "ada\x00@example.com", loginEmail + "\x00", "\xff@example.com", strings.Repeat("x", 250) + "@example.com",
	strings.Repeat("x", 100_000),
}

var emailPasswordChecks = []check[EmailPasswordUnderTest]{
	{"who signed up signs in and is found", func(ctx context.Context, e EmailPasswordUnderTest) error {
		ada, err := e.signUp(ctx)
		if err != nil {
			return fmt.Errorf("SignUp: %w", err)
		}
		u, err := e.SignIn(ctx, "", loginEmail, loginPassword)
		if err := isUser(u, err, ada.ID, loginEmail); err != nil {
			return fmt.Errorf("SignIn: %w", err)
		}
		u, err = e.SignIn(ctx, "public", loginEmail, loginPassword)
		if err := isUser(u, err, ada.ID, loginEmail); err != nil {
			return fmt.Errorf("SignIn in public by name: %w", err)
		}
		u, err = e.UserByEmail(ctx, "", loginEmail)
		if err := isUser(u, err, ada.ID, loginEmail); err != nil {
			return fmt.Errorf("UserByEmail: %w", err)
		}
		u, err = e.UserByID(ctx, ada.ID)
		if err := isUser(u, err, ada.ID, loginEmail); err != nil {
			return fmt.Errorf("UserByID: %w", err)
		}
		if u.Legacy {
			return errors.New("the user is marked as one of the legacy system")
		}
		return nil
	}},
	{"an e-mail in other case or with white space is the same", func(ctx context.Context, e EmailPasswordUnderTest) error {
		ada, err := e.signUp(ctx)
		if err != nil {
			return err
		}
		for _, email := range []string{"ADA@Example.COM", "  ada@example.com\t", "\nAda@example.com "} {
			u, err := e.SignIn(ctx, "", email, loginPassword)
			if err := isUser(u, err, ada.ID, loginEmail); err != nil {
				return fmt.Errorf("SignIn as %q: %w", email, err)
			}
			u, err = e.UserByEmail(ctx, "", email)
			if err := isUser(u, err, ada.ID, loginEmail); err != nil {
				return fmt.Errorf("UserByEmail of %q: %w", email, err)
			}
			if err := wants("SignUp as another spelling", failed(e.SignUp(ctx, "", email, "another horse 2")), stmigrate.ErrEmailExists); err != nil {
				return err
			}
		}
		return nil
	}},
	{"signing up again changes nothing", func(ctx context.Context, e EmailPasswordUnderTest) error {
		ada, err := e.signUp(ctx)
		if err != nil {
			return err
		}
		if err := wants("SignUp", failed(e.SignUp(ctx, "", loginEmail, "another horse 2")), stmigrate.ErrEmailExists); err != nil {
			return err
		}
		if err := e.signInFails(ctx, "the other password", "", loginEmail, "another horse 2"); err != nil {
			return err
		}
		u, err := e.SignIn(ctx, "", loginEmail, loginPassword)
		return isUser(u, err, ada.ID, loginEmail)
	}},
	{"sign-ins that fail look alike", func(ctx context.Context, e EmailPasswordUnderTest) error {
		if _, err := e.signUp(ctx); err != nil {
			return err
		}
		for _, password := range []string{
			"another horse 2", "", loginPassword + "\x00", loginPassword + "x", loginPassword[1:], "\xff", strings.Repeat("x", 100_000),
		} {
			if err := e.signInFails(ctx, fmt.Sprintf("a wrong password of %d bytes", len(password)), "", loginEmail, password); err != nil {
				return err
			}
		}
		for _, email := range append([]string{"nobody@example.com"}, malformedEmails...) {
			if err := e.signInFails(ctx, fmt.Sprintf("a wrong e-mail of %d bytes", len(email)), "", email, loginPassword); err != nil {
				return err
			}
		}
		return e.signInFails(ctx, "a tenant that cannot be one", "recipe", loginEmail, loginPassword)
	}},
	{"malformed input is ErrBadRequest", func(ctx context.Context, e EmailPasswordUnderTest) error {
		for _, email := range malformedEmails {
			what := fmt.Sprintf("e-mail of %d bytes", len(email))
			if err := wants("SignUp: "+what, failed(e.SignUp(ctx, "", email, loginPassword)), stmigrate.ErrBadRequest); err != nil {
				return err
			}
			if err := wants("UserByEmail: "+what, failed(e.UserByEmail(ctx, "", email)), stmigrate.ErrBadRequest); err != nil {
				return err
			}
		}
		for _, password := range []string{"", "a\x00b", "\xff", strings.Repeat("x", 100_000)} {
			what := fmt.Sprintf("password of %d bytes", len(password))
			if err := wants("SignUp: "+what, failed(e.SignUp(ctx, "", loginEmail, password)), stmigrate.ErrBadRequest); err != nil {
				return err
			}
		}
		if u, err := e.UserByEmail(ctx, "", loginEmail); !errors.Is(err, stmigrate.ErrUnknownUser) {
			return fmt.Errorf("the refused sign-ups left %v, %v", u, err)
		}
		return wants("SignUp in no tenant", failed(e.SignUp(ctx, "../x", loginEmail, loginPassword)), stmigrate.ErrBadRequest)
	}},
	{"who is unknown is ErrUnknownUser", func(ctx context.Context, e EmailPasswordUnderTest) error {
		ada, err := e.signUp(ctx)
		if err != nil {
			return err
		}
		for what, err := range map[string]error{
			"UserByEmail":                            failed(e.UserByEmail(ctx, "", "nobody@example.com")),
			"UserByID":                               failed(e.UserByID(ctx, "nobody-has-this-id")),
			"CreatePasswordResetToken":               failed(e.CreatePasswordResetToken(ctx, "", "nobody", "nobody@example.com")),
			"CreatePasswordResetToken for an e-mail": failed(e.CreatePasswordResetToken(ctx, "", ada.ID, "nobody@example.com")),
			"CreatePasswordResetToken for an ID":     failed(e.CreatePasswordResetToken(ctx, "", "nobody", loginEmail)),
		} {
			if err := wants(what, err, stmigrate.ErrUnknownUser); err != nil {
				return err
			}
		}
		return nil
	}},
	{"the count grows with every user", func(ctx context.Context, e EmailPasswordUnderTest) error {
		before, err := e.UserCount(ctx)
		if errors.Is(err, stmigrate.ErrUnsupported) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := e.signUp(ctx); err != nil {
			return err
		}
		if after, err := e.UserCount(ctx); err != nil || after != before+1 {
			return fmt.Errorf("got %d and error %v after one more user than %d", after, err, before)
		}
		return nil
	}},
	{"a reset token sets the password once", func(ctx context.Context, e EmailPasswordUnderTest) error {
		ada, err := e.signUp(ctx)
		if err != nil {
			return err
		}
		token, err := e.CreatePasswordResetToken(ctx, "", ada.ID, "Ada@Example.com")
		if err != nil || token == "" {
			return fmt.Errorf("CreatePasswordResetToken: got %d bytes and error %w", len(token), err)
		}
		for _, malformed := range []string{"", "a\x00b"} {
			if err := wants("ResetPassword to what is none", failed(e.ResetPassword(ctx, "", token, malformed)), stmigrate.ErrBadRequest); err != nil {
				return err
			}
		}
		u, err := e.ResetPassword(ctx, "", token, "another horse 2")
		if err := isUser(u, err, ada.ID, loginEmail); err != nil {
			return fmt.Errorf("ResetPassword: %w", err)
		}
		if err := e.signInFails(ctx, "the old password", "", loginEmail, loginPassword); err != nil {
			return err
		}
		if err := wants("the token again", failed(e.ResetPassword(ctx, "", token, loginPassword)), stmigrate.ErrResetToken); err != nil {
			return err
		}
		if err := wants("no token", failed(e.ResetPassword(ctx, "", "abc", loginPassword)), stmigrate.ErrResetToken); err != nil {
			return err
		}
		u, err = e.SignIn(ctx, "", loginEmail, "another horse 2")
		return isUser(u, err, ada.ID, loginEmail)
	}},
	{"no reset token is made for another's e-mail", func(ctx context.Context, e EmailPasswordUnderTest) error {
		ada, err := e.signUp(ctx)
		if err != nil {
			return err
		}
		if _, err := e.SignUp(ctx, "", "mallory@example.com", loginPassword); err != nil {
			return err
		}
		return wants("CreatePasswordResetToken",
			failed(e.CreatePasswordResetToken(ctx, "", ada.ID, "mallory@example.com")), stmigrate.ErrUnknownUser)
	}},
	{"tenants are apart", func(ctx context.Context, e EmailPasswordUnderTest) error {
		if e.Tenant == "" {
			return nil
		}
		ada, err := e.signUp(ctx)
		if err != nil {
			return err
		}
		if err := e.signInFails(ctx, "in another tenant", e.Tenant, loginEmail, loginPassword); err != nil {
			return err
		}
		if err := wants("UserByEmail", failed(e.UserByEmail(ctx, e.Tenant, loginEmail)), stmigrate.ErrUnknownUser); err != nil {
			return err
		}
		other, err := e.SignUp(ctx, e.Tenant, loginEmail, "another horse 2")
		if err := isUser(other, err, "", loginEmail); err != nil {
			return err
		}
		if other.ID == ada.ID {
			return errors.New("two tenants share a user")
		}
		token, err := e.CreatePasswordResetToken(ctx, e.Tenant, other.ID, loginEmail)
		if err != nil {
			return err
		}
		if err := wants("another tenant's token", failed(e.ResetPassword(ctx, "", token, "x")), stmigrate.ErrResetToken); err != nil {
			return err
		}
		u, err := e.SignIn(ctx, e.Tenant, loginEmail, "another horse 2")
		return isUser(u, err, other.ID, loginEmail)
	}},
	{"a context that has ended is ErrUnavailable", func(ctx context.Context, e EmailPasswordUnderTest) error {
		ended, cancel := context.WithCancel(ctx)
		cancel()
		for what, err := range map[string]error{
			"SignUp":      failed(e.SignUp(ended, "", loginEmail, loginPassword)),
			"SignIn":      failed(e.SignIn(ended, "", loginEmail, loginPassword)),
			"UserByEmail": failed(e.UserByEmail(ended, "", loginEmail)),
			"UserByID":    failed(e.UserByID(ended, "nobody")),
		} {
			if err := wants(what, err, stmigrate.ErrUnavailable); err != nil {
				return err
			}
		}
		return nil
	}},
	{"a legacy user signs in and is found", func(ctx context.Context, e EmailPasswordUnderTest) error {
		if e.Legacy == nil {
			return nil
		}
		email := strings.ToLower(e.Legacy.Email)
		u, err := e.UserByEmail(ctx, "", otherCase(e.Legacy.Email))
		if err := isUser(u, err, e.Legacy.ID, email); err != nil {
			return fmt.Errorf("UserByEmail: %w", err)
		}
		u, err = e.UserByID(ctx, e.Legacy.ID)
		if err := isUser(u, err, e.Legacy.ID, email); err != nil {
			return fmt.Errorf("UserByID: %w", err)
		}
		if err := wants("SignUp", failed(e.SignUp(ctx, "", otherCase(e.Legacy.Email), "another horse 2")), stmigrate.ErrEmailExists); err != nil {
			return err
		}
		if err := e.signInFails(ctx, "a wrong legacy password", "", email, "wrong-"+e.LegacyPassword); err != nil {
			return err
		}
		before, unsupported := e.UserCount(ctx)
		for range 2 {
			u, err = e.SignIn(ctx, "", otherCase(e.Legacy.Email), e.LegacyPassword)
			if err := isUser(u, err, e.Legacy.ID, email); err != nil {
				return fmt.Errorf("SignIn: %w", err)
			}
		}
		if err := e.signInFails(ctx, "a wrong password afterwards", "", email, "wrong-"+e.LegacyPassword); err != nil {
			return err
		}
		if after, err := e.UserCount(ctx); unsupported == nil && (err != nil || after != before) {
			return fmt.Errorf("signing in changed the count from %d to %d, error %v: "+
				"a LegacyCounter leaves out who was imported (FakeLegacyUsers.Imported)", before, after, err)
		}
		return nil
	}},
	{"a legacy system that fails fails every wrong password", func(ctx context.Context, e EmailPasswordUnderTest) error {
		if e.Legacy == nil || e.Break == nil {
			return nil
		}
		ada, err := e.signUp(ctx)
		if err != nil {
			return err
		}
		e.Break()
		for what, err := range map[string]error{
			"a SuperTokens user": failed(e.SignIn(ctx, "", loginEmail, "another horse 2")),
			"a legacy user":      failed(e.SignIn(ctx, "", e.Legacy.Email, "another horse 2")),
			"nobody":             failed(e.SignIn(ctx, "", "nobody@example.com", "another horse 2")),
		} {
			if err := wants(what, err, stmigrate.ErrUnavailable); err != nil {
				return err
			}
			if errors.Is(err, stmigrate.ErrWrongCredentials) {
				return fmt.Errorf("%s: the error is of two classes: %v", what, err)
			}
		}
		if err := wants("SignUp", failed(e.SignUp(ctx, "", "new@example.com", "another horse 2")), stmigrate.ErrUnavailable); err != nil {
			return err
		}
		u, err := e.SignIn(ctx, "", loginEmail, loginPassword)
		return isUser(u, err, ada.ID, loginEmail)
	}},
}
