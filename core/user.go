package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Limits of the core's database, in characters, and one of this client's, in bytes.
const (
	MaxEmail      = 255
	MaxExternalID = 128
	maxHash       = 256
	maxPassword   = 4 << 10
)

// User is a user with an e-mail and a password.
type User struct {
	// ID is the external one where the user is mapped to one, else SuperTokens' own. Of linked accounts it is the primary one's.
	ID string
	// RecipeUserID is the ID of this login, which is ID unless accounts are linked. Empty at CDI 3.1.
	RecipeUserID string
	// Email is in lower case.
	Email string
	// TenantIDs are the tenants that this login is good in.
	TenantIDs []string
	// TimeJoined is when the user signed up, to the millisecond.
	TimeJoined time.Time
}

// NormalizeEmail returns email as the core keeps it: in lower case and without white space around it. It says what is wrong
// with one that is empty, longer than [MaxEmail] characters, not UTF-8, or has control characters, and with one in which a
// letter beyond ASCII has an ASCII one as its lower case (İ, and the sign of the Kelvin), since it would become another
// person's. That it is an address is not checked: some systems have other names there.
func NormalizeEmail(email string) (string, error) {
	if len(email) > 8*MaxEmail {
		return "", fmt.Errorf("e-mail of %d bytes: at most %d characters are allowed", len(email), MaxEmail)
	}
	if !utf8.ValidString(email) { // which lower-casing would replace
		return "", errors.New("e-mail is not UTF-8")
	}
	trimmed := strings.TrimSpace(email)
	for _, r := range trimmed {
		if lower := unicode.ToLower(r); r >= utf8.RuneSelf && lower < utf8.RuneSelf {
			return "", fmt.Errorf("e-mail with %U, whose lower case is the ASCII letter %q", r, lower)
		}
	}
	lower := strings.ToLower(trimmed)
	if err := validText("e-mail", lower, MaxEmail); err != nil {
		return "", err
	}
	return lower, nil
}

// validText says what is wrong with a string that the core keeps, or looks for. It does not repeat it.
func validText(name, s string, limit int) error {
	switch n := utf8.RuneCountInString(s); {
	case s == "":
		return fmt.Errorf("%s is empty", name)
	case n > limit:
		return fmt.Errorf("%s of %d characters: at most %d are allowed", name, n, limit)
	case !utf8.ValidString(s):
		return fmt.Errorf("%s is not UTF-8", name)
	case strings.ContainsFunc(s, unicode.IsControl):
		return fmt.Errorf("%s has control characters", name)
	}
	return nil
}

// ValidUserID says why id cannot be a user's, or nil: one that is empty, longer than [MaxExternalID] characters, not UTF-8, which JSON
// would make another user's, or has control characters. A call with one is refused before the core is asked.
func ValidUserID(id string) error { return validText("user ID", id, MaxExternalID) }

// ValidPassword says why password cannot be one, or nil: one that is empty or longer than 4 KiB, and what cannot be kept as it
// is, for JSON replaces what is not UTF-8 and hash functions written in C end at a NUL. How good it is, it does not say.
func ValidPassword(password string) error {
	switch {
	case password == "":
		return errors.New("password is empty")
	case len(password) > maxPassword:
		return fmt.Errorf("password of %d bytes: at most %d are allowed", len(password), maxPassword)
	case !utf8.ValidString(password):
		return errors.New("password is not UTF-8")
	case strings.ContainsRune(password, 0):
		return errors.New("password has a NUL byte")
	}
	return nil
}

// SignUp creates a user with an e-mail and a password in a tenant, "" being the public one. The core sets no rule for passwords
// but that they are not empty, and looks at no more than the first 72 bytes of them if it hashes with bcrypt.
//
// It is never repeated once a byte of it may have reached a core: if it fails and its [Error.NotDone] is false, the user may
// exist.
//
// Errors: [ErrEmailExists]; [ErrUnknownTenant].
func (c *Client) SignUp(ctx context.Context, tenantID, email, password string) (*User, error) {
	return c.withPassword(ctx, signUp, tenantID, email, password)
}

// SignIn returns the user with this e-mail and this password.
//
// Errors: [ErrWrongCredentials] for a wrong password and for an unknown e-mail; [ErrUnknownTenant].
func (c *Client) SignIn(ctx context.Context, tenantID, email, password string) (*User, error) {
	return c.withPassword(ctx, signIn, tenantID, email, password)
}

func (c *Client) withPassword(ctx context.Context, r route, tenantID, email, password string) (*User, error) {
	tenantID = cmp.Or(tenantID, "public")
	email, invalid := NormalizeEmail(email)
	var user *User
	err := c.answer(ctx, request{
		route:    r,
		tenantID: tenantID,
		body:     map[string]any{"email": email, "password": password},
		secrets:  []string{password},
		invalid:  cmp.Or(invalid, ValidPassword(password)),
	}, func(a *answer) (err error) {
		user, err = a.User.of(tenantID, email)
		return asked(err)
	})
	return user, err
}

// asked is the error of an answer that is about another user than the call was.
func asked(err error) error {
	if errors.Is(err, ErrUnknownUser) {
		return missing("the user that was asked for")
	}
	return err
}

// HashAlgorithm says what made a password hash.
type HashAlgorithm string

// The algorithms whose hashes the core takes, in these forms:
//
//	$2b$10$<22 characters of salt><31 of hash>     also 2a, 2x, 2y
//	$argon2id$v=19$m=65536,t=2,p=1$<salt>$<hash>   also argon2i, argon2d
//	$f_scrypt$<hash>$<salt>$m=14$r=8$s=<separator>
//
// Firebase's needs the project's signer key in the core's configuration.
const (
	Bcrypt         HashAlgorithm = "bcrypt"
	Argon2         HashAlgorithm = "argon2"
	FirebaseScrypt HashAlgorithm = "firebase_scrypt"
)

var hashForms = map[HashAlgorithm]*regexp.Regexp{
	Bcrypt: regexp.MustCompile(`^\$2[abxy]\$(0[4-9]|[12]\d|3[01])\$[./A-Za-z0-9]{53}$`),
	Argon2: regexp.MustCompile(`^\$argon2(id|i|d)\$v=\d{1,3}\$m=\d{1,10},t=\d{1,10},p=\d{1,8}(\$[A-Za-z0-9+/]+){2}$`),
	FirebaseScrypt: regexp.MustCompile(
		`^\$f_scrypt(\$[A-Za-z0-9+/_-]+={0,2}){2}\$m=\d{1,3}\$r=\d{1,3}\$s=[A-Za-z0-9+/_-]+={0,2}$`),
}

// HashAlgorithmOf tells by its form what made a password hash, or "" if the core could not verify a password with it.
func HashAlgorithmOf(hash string) HashAlgorithm {
	for algorithm, form := range hashForms {
		if len(hash) <= maxHash && form.MatchString(hash) {
			return algorithm
		}
	}
	return ""
}

// ImportPasswordHash creates a user with the hash of a password. If the tenant has a user with this e-mail, THE CORE GIVES THAT
// USER THIS PASSWORD, and existed is true: who must not overwrite a newer password asks [Client.UserByEmail] before.
//
// The core looks at how a hash begins and takes what no sign-in can ever match; this client takes whole hashes alone.
//
// It is never repeated once a byte of it may have reached a core. Errors: [ErrUnknownTenant].
func (c *Client) ImportPasswordHash(ctx context.Context, tenantID, email, hash string) (user *User, existed bool, err error) {
	tenantID = cmp.Or(tenantID, "public")
	email, invalid := NormalizeEmail(email)
	algorithm := HashAlgorithmOf(hash)
	if algorithm == "" && invalid == nil {
		invalid = errors.New("password hash: a whole one of bcrypt, Argon2 or Firebase's scrypt is expected, in at most 256 bytes")
	}
	err = c.answer(ctx, request{
		route:    importHash,
		tenantID: tenantID,
		body:     map[string]any{"email": email, "passwordHash": hash, "hashingAlgorithm": algorithm},
		secrets:  []string{hash},
		invalid:  invalid,
	}, func(a *answer) (err error) {
		if user, err = a.User.of(tenantID, email); err != nil {
			return asked(err)
		}
		existed, err = flag("didUserAlreadyExist", a.DidUserExist)
		return err
	})
	if err != nil {
		return nil, false, err
	}
	return user, existed, nil
}

// UserByID returns the user with an e-mail and a password that has this SuperTokens or external ID. Errors: [ErrUnknownUser],
// also for users who sign in otherwise.
func (c *Client) UserByID(ctx context.Context, id string) (*User, error) {
	var user *User
	err := c.answer(ctx, request{
		route:   getUserByID,
		query:   []string{"userId", id},
		invalid: ValidUserID(id),
	}, func(a *answer) (err error) {
		user, err = a.User.withPassword(func(login, _ string, _ []string) bool { return login == id || a.User.login(id) < 0 })
		return err
	})
	return user, err
}

// UserByEmail returns the user with a password that has this e-mail in the tenant. Errors: [ErrUnknownUser], also where only
// users who sign in otherwise have it; [ErrUnknownTenant].
func (c *Client) UserByEmail(ctx context.Context, tenantID, email string) (*User, error) {
	tenantID = cmp.Or(tenantID, "public")
	email, invalid := NormalizeEmail(email)
	var user *User
	err := c.answer(ctx, request{
		route:    getUsersBy,
		tenantID: tenantID,
		query:    []string{"email", email, "doUnionOfAccountInfo", "false"},
		invalid:  invalid,
	}, func(a *answer) (err error) {
		users := a.Users
		switch {
		case a.User != nil: // CDI 3.1
			users = []wireUser{*a.User}
		case users == nil:
			return missing("users")
		}
		err = &statusError{class: ErrUnknownUser}
		for _, u := range users {
			if user, err = u.of(tenantID, email); !errors.Is(err, ErrUnknownUser) {
				break
			}
		}
		return err
	})
	return user, err
}

// of reads the login with a password that has this e-mail in the tenant.
func (u *wireUser) of(tenantID, email string) (*User, error) {
	return u.withPassword(func(_, address string, tenants []string) bool {
		return address == email && slices.Contains(tenants, tenantID)
	})
}

// login is where in Logins the one with this ID is.
func (u *wireUser) login(id string) int {
	return slices.IndexFunc(u.Logins, func(l wireLogin) bool { return l.ID == id && l.Recipe == emailPassword })
}

// withPassword reads the first login with a password that is wanted.
func (u *wireUser) withPassword(wanted func(loginID, email string, tenantIDs []string) bool) (*User, error) {
	switch {
	case u == nil || u.ID == "":
		return nil, missing("user.id")
	case u.Joined <= 0:
		return nil, missing("user.timeJoined")
	}
	user := &User{ID: u.ID, TimeJoined: time.UnixMilli(u.Joined)}
	if u.Logins == nil {
		user.Email, user.TenantIDs = u.Email, u.TenantIDs
		if !wanted(u.ID, u.Email, u.TenantIDs) {
			return nil, missing("the user that was asked for")
		}
	} else {
		i := slices.IndexFunc(u.Logins, func(l wireLogin) bool {
			return l.Recipe == emailPassword && wanted(l.ID, l.Email, l.TenantIDs)
		})
		if i < 0 {
			return nil, &statusError{class: ErrUnknownUser}
		}
		l := u.Logins[i]
		if user.RecipeUserID, user.Email, user.TenantIDs = l.ID, l.Email, l.TenantIDs; l.ID == "" {
			return nil, missing("user.loginMethods.recipeUserId")
		}
	}
	switch {
	case user.Email == "":
		return nil, missing("the user's e-mail")
	case user.TenantIDs == nil || slices.Contains(user.TenantIDs, ""):
		return nil, missing("the user's tenants")
	}
	return user, nil
}

// SetEmail gives a user another e-mail, in all of its tenants. id is SuperTokens' or the external one; of linked accounts it is
// that of the login ([User.RecipeUserID]). Whether the new e-mail is verified is looked up by it: see [Client.IsEmailVerified].
//
// Errors: [ErrUnknownUser]; [ErrEmailExists]; [ErrNotAllowed].
func (c *Client) SetEmail(ctx context.Context, id, email string) error {
	email, invalid := NormalizeEmail(email)
	return c.answer(ctx, request{
		route:   putUser,
		body:    map[string]any{"userId": id, "recipeUserId": id, "email": email},
		invalid: cmp.Or(ValidUserID(id), invalid),
	}, nil)
}

// SetPassword gives a user another password. id is as in [Client.SetEmail]. Sessions stay. Errors: [ErrUnknownUser].
func (c *Client) SetPassword(ctx context.Context, id, password string) error {
	return c.answer(ctx, request{
		route:   putUser,
		body:    map[string]any{"userId": id, "recipeUserId": id, "password": password},
		secrets: []string{password},
		invalid: cmp.Or(ValidUserID(id), ValidPassword(password)),
	}, nil)
}

// CreateResetToken makes a token for a reset of the user's password, which is good for an hour, and in all tenants whichever it
// was made in. email is the user's; the core checks that from CDI 4.0 on no more than before. It is never repeated once a byte of
// it may have reached a core. Errors: [ErrUnknownUser]; [ErrUnknownTenant].
func (c *Client) CreateResetToken(ctx context.Context, tenantID, userID, email string) (token string, err error) {
	email, invalid := NormalizeEmail(email)
	return c.newToken(ctx, request{
		route:    createResetToken,
		tenantID: cmp.Or(tenantID, "public"),
		body:     map[string]any{"userId": userID, "email": email},
		invalid:  cmp.Or(ValidUserID(userID), invalid),
	})
}

// ConsumeResetToken takes a token, and with it all others of its user, and returns for whom and for which e-mail it was made.
// Whoever has shown it may set that user's password ([Client.SetPassword]). It is never repeated once a byte of it may have
// reached a core. Errors: [ErrInvalidToken]; [ErrUnknownTenant].
func (c *Client) ConsumeResetToken(ctx context.Context, tenantID, token string) (userID, email string, err error) {
	return c.useToken(ctx, consumeResetToken, tenantID, token)
}

// newToken makes a call that is answered with a token.
func (c *Client) newToken(ctx context.Context, req request) (token string, err error) {
	err = c.answer(ctx, req, func(a *answer) error {
		if a.Token == "" {
			return missing("token")
		}
		token = a.Token
		return nil
	})
	return token, err
}

// useToken makes a call that takes a token and is answered with whose it was.
func (c *Client) useToken(ctx context.Context, r route, tenantID, token string) (userID, email string, err error) {
	err = c.answer(ctx, request{
		route:    r,
		tenantID: cmp.Or(tenantID, "public"),
		body:     map[string]any{"method": "token", "token": token},
		secrets:  []string{token},
		invalid:  validText("token", token, 1024),
	}, func(a *answer) error {
		if a.UserID == "" || a.Email == "" {
			return missing("userId or email")
		}
		userID, email = a.UserID, a.Email
		return nil
	})
	return userID, email, err
}

// DeleteUser deletes a user, whatever it signs in with, with its sessions, roles, metadata and mapping, and the accounts linked
// to it. A user that does not exist is deleted.
func (c *Client) DeleteUser(ctx context.Context, id string) error {
	return c.answer(ctx, request{
		route:   removeUser,
		body:    map[string]any{"userId": id, "removeAllLinkedAccounts": true},
		invalid: ValidUserID(id),
	}, nil)
}

// CountUsers counts the users of a tenant, or of all if tenantID is "", whatever they sign in with.
func (c *Client) CountUsers(ctx context.Context, tenantID string) (int, error) {
	count := 0
	err := c.answer(ctx, request{
		route:    countUsers,
		tenantID: tenantID,
		query:    []string{"includeAllTenants", strconv.FormatBool(tenantID == "")},
	}, func(a *answer) error {
		if a.Count == nil || *a.Count < 0 {
			return missing("count")
		}
		count = *a.Count
		return nil
	})
	return count, err
}

// flag reads a boolean that an answer must have.
func flag(name string, b *bool) (bool, error) {
	if b == nil {
		return false, missing(name)
	}
	return *b, nil
}

// flagged makes a call whose answer is one boolean.
func (c *Client) flagged(ctx context.Context, req request, name string, field func(*answer) *bool) (is bool, err error) {
	err = c.answer(ctx, req, func(a *answer) (err error) {
		is, err = flag(name, field(a))
		return err
	})
	return is, err
}
