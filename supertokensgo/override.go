package supertokensgo

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/supertokens/supertokens-golang/recipe/emailpassword/epmodels"
	"github.com/supertokens/supertokens-golang/supertokens"

	"github.com/stmigrate/stmigrate"
)

// OverrideConfig configures [Override]. Users is required.
type OverrideConfig struct {
	// Users answers in the place of the recipe: [stmigrate.Override], which passes legacy users through, or package login's Login,
	// which imports them.
	Users stmigrate.EmailPassword
	// LegacyReset has the legacy system send its own mail for a password reset, to a user whose password only that system can reset
	// ([stmigrate.ErrUseLegacyReset], which package login never answers). The email is the legacy user's, and not what was typed.
	// The text of its error goes to the Logger, so it should not hold the address. Default: the API says OK, as it does for an
	// unknown e-mail, nothing is sent, and the Logger is told.
	LegacyReset func(ctx context.Context, tenantID, email string) error
	// Logger gets what fails and why; clients and the SDK are told the class alone. Default: nothing is logged.
	Logger *slog.Logger
}

// Override returns what the SDK's EmailPassword recipe takes as TypeInput.Override, so that its functions and its APIs know the
// legacy users of cfg.Users:
//
//   - SignIn, and POST /signin: a legacy user signs in by the right legacy password, and gets a session of the SDK.
//   - SignUp, and POST /signup: an e-mail that a legacy user has exists already.
//   - GetUserByID, GetUserByEmail, and GET /emailpassword/email/exists: find legacy users. The e-mail verification recipe finds
//     their addresses by that.
//   - CreateResetPasswordToken, ResetPasswordUsingToken, and POST /user/password/reset/token and /user/password/reset: with package
//     login a legacy user is imported by it; with stmigrate.Override see LegacyReset.
//   - UpdateEmailOrPassword is the recipe's own. It refuses an e-mail that a legacy user has, knows no user who is in the legacy
//     system alone, and fails where the recipe's answers nothing at all.
//
// The SDK has no function to override for counting: supertokens.GetUserCount counts the users of SuperTokens, and
// cfg.Users.UserCount those of legacy, too.
//
// What cfg.Users answers with an error that is no answer of the recipe is one here, matched by errors.Is; the APIs answer 503
// with Retry-After for ErrUnavailable, 400 for ErrBadRequest, 409 for ErrConflict, and 500 for others. Calls end with the
// request that the user context holds. Overrides of your own go on top: call Functions and APIs of what Override returns first,
// in yours.
//
// The SDK trims the passwords that its APIs get: who has a legacy password that begins or ends with white space needs a reset.
func Override(cfg OverrideConfig) (*epmodels.OverrideStruct, error) {
	if cfg.Users == nil {
		return nil, errors.New("supertokensgo: OverrideConfig.Users is required (stmigrate.Override or login.New)")
	}
	o := &override{users: cfg.Users, legacyReset: cfg.LegacyReset, log: cfg.Logger}
	if o.log == nil {
		o.log = slog.New(slog.DiscardHandler)
	}
	return &epmodels.OverrideStruct{Functions: o.functions, APIs: o.apis}, nil
}

type override struct {
	users       stmigrate.EmailPassword
	legacyReset func(ctx context.Context, tenantID, email string) error
	log         *slog.Logger
}

func (o *override) functions(recipe epmodels.RecipeInterface) epmodels.RecipeInterface {
	signUp := func(email, password, tenantID string, uc supertokens.UserContext) (out epmodels.SignUpResponse, err error) {
		u, err := o.users.SignUp(contextOf(uc), tenantID, email, password)
		switch {
		case is(err, stmigrate.ErrEmailExists):
			out.EmailAlreadyExistsError = &struct{}{}
			return out, nil
		case err != nil:
			return out, o.failed(uc, "sign-up", err)
		}
		out.OK = &struct{ User epmodels.User }{sdkUser(u)}
		return out, nil
	}
	signIn := func(email, password, tenantID string, uc supertokens.UserContext) (out epmodels.SignInResponse, err error) {
		u, err := o.users.SignIn(contextOf(uc), tenantID, email, password)
		switch {
		case is(err, stmigrate.ErrWrongCredentials):
			out.WrongCredentialsError = &struct{}{}
			return out, nil
		case err != nil:
			return out, o.failed(uc, "sign-in", err)
		}
		out.OK = &struct{ User epmodels.User }{sdkUser(u)}
		return out, nil
	}
	byID := func(id string, uc supertokens.UserContext) (*epmodels.User, error) {
		u, err := o.users.UserByID(contextOf(uc), id)
		return o.found(uc, u, err)
	}
	byEmail := func(email, tenantID string, uc supertokens.UserContext) (*epmodels.User, error) {
		u, err := o.users.UserByEmail(contextOf(uc), tenantID, email)
		return o.found(uc, u, err)
	}
	createToken := func(id, tenantID string, uc supertokens.UserContext) (out epmodels.CreateResetPasswordTokenResponse, err error) {
		ctx := contextOf(uc)
		u, err := o.users.UserByID(ctx, id)
		var token string
		if err == nil {
			token, err = o.users.CreatePasswordResetToken(ctx, tenantID, id, u.Email)
		}
		switch {
		case is(err, stmigrate.ErrUnknownUser):
			out.UnknownUserIdError = &struct{}{}
			return out, nil
		case is(err, stmigrate.ErrUseLegacyReset): // nothing failed
			return out, &failure{err, u.Email}
		case err != nil:
			return out, o.failed(uc, "password reset token", err)
		}
		out.OK = &struct{ Token string }{token}
		return out, nil
	}
	reset := func(
		token, password, tenantID string, uc supertokens.UserContext) (out epmodels.ResetPasswordUsingTokenResponse, err error,
	) {
		u, err := o.users.ResetPassword(contextOf(uc), tenantID, token, password)
		switch {
		case is(err, stmigrate.ErrResetToken):
			out.ResetPasswordInvalidTokenError = &struct{}{}
			return out, nil
		case err != nil:
			return out, o.failed(uc, "password reset", err)
		}
		out.OK = &struct{ UserId *string }{&u.ID}
		return out, nil
	}
	updateOriginal := *recipe.UpdateEmailOrPassword
	update := func(
		id string, email, password *string, policy *bool, tenantID string, uc supertokens.UserContext,
	) (out epmodels.UpdateEmailOrPasswordResponse, err error) {
		u, err := o.users.UserByID(contextOf(uc), id)
		switch {
		case is(err, stmigrate.ErrUnknownUser):
			out.UnknownUserIdError = &struct{}{}
			return out, nil
		case err != nil:
			return out, o.failed(uc, "update", err)
		}
		if email != nil {
			taken, err := o.taken(uc, *email, u)
			if err != nil {
				return out, err
			}
			if taken {
				out.EmailAlreadyExistsError = &struct{}{}
				return out, nil
			}
		}
		out, err = updateOriginal(id, email, password, policy, tenantID, uc)
		if err == nil && out == (epmodels.UpdateEmailOrPasswordResponse{}) {
			err = o.failed(uc, "update", fmt.Errorf("%w: supertokens-golang neither failed nor answered", stmigrate.ErrUnavailable))
		}
		return out, err
	}
	recipe.SignUp, recipe.SignIn, recipe.GetUserByID, recipe.GetUserByEmail = &signUp, &signIn, &byID, &byEmail
	recipe.CreateResetPasswordToken, recipe.ResetPasswordUsingToken, recipe.UpdateEmailOrPassword = &createToken, &reset, &update
	return recipe
}

// taken tells whether somebody else has the e-mail in one of the user's tenants.
func (o *override) taken(uc supertokens.UserContext, email string, u *stmigrate.AuthUser) (bool, error) {
	for _, tenantID := range u.TenantIDs {
		other, err := o.users.UserByEmail(contextOf(uc), tenantID, email)
		switch {
		case err == nil && other.ID != u.ID:
			return true, nil
		case err != nil && !is(err, stmigrate.ErrUnknownUser):
			return false, o.failed(uc, "update", err)
		}
	}
	return false, nil
}

func (o *override) found(uc supertokens.UserContext, u *stmigrate.AuthUser, err error) (*epmodels.User, error) {
	switch {
	case is(err, stmigrate.ErrUnknownUser):
		return nil, nil
	case err != nil:
		return nil, o.failed(uc, "look-up", err)
	}
	out := sdkUser(u)
	return &out, nil
}

// apis answers the errors of functions, which the SDK would make a 500 of, with their text.
func (o *override) apis(api epmodels.APIInterface) epmodels.APIInterface {
	api.SignInPOST, api.SignUpPOST = answering(api.SignInPOST), answering(api.SignUpPOST)
	api.GeneratePasswordResetTokenPOST = answering(o.resetting(api.GeneratePasswordResetTokenPOST))
	if exists := api.EmailExistsGET; exists != nil && *exists != nil {
		original := *exists
		f := func(
			email, tenantID string, options epmodels.APIOptions, uc supertokens.UserContext,
		) (epmodels.EmailExistsGETResponse, error) {
			out, err := original(email, tenantID, options, uc)
			return out, answered(options.Res, err)
		}
		api.EmailExistsGET = &f
	}
	if reset := api.PasswordResetPOST; reset != nil && *reset != nil {
		original := *reset
		f := func(
			fields []epmodels.TypeFormField, token, tenantID string, options epmodels.APIOptions, uc supertokens.UserContext,
		) (epmodels.ResetPasswordPOSTResponse, error) {
			out, err := original(fields, token, tenantID, options, uc)
			return out, answered(options.Res, err)
		}
		api.PasswordResetPOST = &f
	}
	return api
}

// formAPI is an API that takes a form. nil, or a pointer to nil, is one that the backend switched off.
type formAPI[R any] = *func([]epmodels.TypeFormField, string, epmodels.APIOptions, supertokens.UserContext) (R, error)

func answering[R any](api formAPI[R]) formAPI[R] {
	if api == nil || *api == nil {
		return api
	}
	original := *api
	f := func(fields []epmodels.TypeFormField, tenantID string, options epmodels.APIOptions, uc supertokens.UserContext) (R, error) {
		out, err := original(fields, tenantID, options, uc)
		return out, answered(options.Res, err)
	}
	return &f
}

type tokenResponse = epmodels.GeneratePasswordResetTokenPOSTResponse

// resetting sends who can only be helped by the legacy system there.
func (o *override) resetting(api formAPI[tokenResponse]) formAPI[tokenResponse] {
	if api == nil || *api == nil {
		return api
	}
	original := *api
	f := func(
		fields []epmodels.TypeFormField, tenantID string, options epmodels.APIOptions, uc supertokens.UserContext,
	) (tokenResponse, error) {
		out, err := original(fields, tenantID, options, uc)
		legacy := (*failure)(nil)
		if !errors.As(err, &legacy) || legacy.email == "" {
			return out, err
		}
		if o.legacyReset == nil {
			o.log.WarnContext(contextOf(uc),
				"supertokensgo: a legacy user asked for a password reset, and OverrideConfig.LegacyReset is not set")
		} else if err := o.legacyReset(contextOf(uc), tenantID, legacy.email); err != nil {
			return out, o.failed(uc, "legacy password reset", err)
		}
		return tokenResponse{OK: &struct{}{}}, nil
	}
	return &f
}

// contextOf is the context of the request that uc is of.
func contextOf(uc supertokens.UserContext) context.Context {
	if r := supertokens.GetRequestFromUserContext(uc); r != nil {
		return r.Context()
	}
	return context.Background()
}

// is tells whether err is of a class and not one that may pass by itself, the cause of which can be of any class.
func is(err, class error) bool {
	return errors.Is(err, class) && !errors.Is(err, stmigrate.ErrUnavailable)
}

func sdkUser(u *stmigrate.AuthUser) epmodels.User {
	out := epmodels.User{ID: u.ID, Email: u.Email, TenantIds: u.TenantIDs}
	if !u.TimeJoined.IsZero() {
		out.TimeJoined = uint64(u.TimeJoined.UnixMilli())
	}
	return out
}

// failure is an error as the SDK may have it. The SDK sends the text of what it does not know to the client, so that is the
// class alone; and it panics at its own errors when they are wrapped, so that [errors.As] finds nothing in it.
type failure struct {
	err error
	// email, if it is set, is whose password only the legacy system can reset: its own address, and not the one that was typed.
	email string
}

// failures are the classes, with the status that an API answers. Order matters: the first that matches wins.
var failures = []struct {
	class  error
	status int
}{
	{stmigrate.ErrUnavailable, http.StatusServiceUnavailable},
	{stmigrate.ErrBadRequest, http.StatusBadRequest},
	{stmigrate.ErrConflict, http.StatusConflict},
	{stmigrate.ErrUseLegacyReset, http.StatusInternalServerError},
}

func (f *failure) answer() (message string, status int) {
	for _, c := range failures {
		if errors.Is(f.err, c.class) {
			return c.class.Error(), c.status
		}
	}
	return "internal error", http.StatusInternalServerError
}

func (f *failure) Error() string {
	message, _ := f.answer()
	return message
}

func (f *failure) Is(target error) bool { return errors.Is(f.err, target) }

func (o *override) failed(uc supertokens.UserContext, what string, err error) error {
	o.log.LogAttrs(contextOf(uc), slog.LevelError, "supertokensgo: "+what+" failed", slog.String("error", err.Error()))
	return &failure{err: err}
}

// answered answers a failure. Other errors are the SDK's to answer.
func answered(w http.ResponseWriter, err error) error {
	f := (*failure)(nil)
	if !errors.As(err, &f) {
		return err
	}
	message, status := f.answer()
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	return supertokens.SendNon200ResponseWithMessage(w, message, status)
}
