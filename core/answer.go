package core

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// statusError is an answer whose status is another word than OK.
type statusError struct {
	class   error
	message string
}

func (e *statusError) Error() string { return e.class.Error() }
func (e *statusError) Unwrap() error { return e.class }

var statuses = map[string]error{
	"UNAUTHORISED":          ErrUnauthorised,
	"TRY_REFRESH_TOKEN":     ErrTryRefresh,
	"TOKEN_THEFT_DETECTED":  ErrTheft,
	"UNKNOWN_MAPPING_ERROR": ErrUnknownMapping,

	"WRONG_CREDENTIALS_ERROR":                ErrWrongCredentials,
	"UNKNOWN_USER_ID_ERROR":                  ErrUnknownUser,
	"UNKNOWN_EMAIL_ERROR":                    ErrUnknownUser,
	"UNKNOWN_SUPERTOKENS_USER_ID_ERROR":      ErrUnknownUser,
	"EMAIL_ALREADY_EXISTS_ERROR":             ErrEmailExists,
	"PHONE_NUMBER_ALREADY_EXISTS_ERROR":      ErrLoginExists,
	"THIRD_PARTY_USER_ALREADY_EXISTS_ERROR":  ErrLoginExists,
	"EMAIL_CHANGE_NOT_ALLOWED_ERROR":         ErrNotAllowed,
	"ASSOCIATION_NOT_ALLOWED_ERROR":          ErrNotAllowed,
	"RESET_PASSWORD_INVALID_TOKEN_ERROR":     ErrInvalidToken,
	"EMAIL_VERIFICATION_INVALID_TOKEN_ERROR": ErrInvalidToken,
	"EMAIL_ALREADY_VERIFIED_ERROR":           ErrEmailVerified,
	"USER_ID_MAPPING_ALREADY_EXISTS_ERROR":   ErrMappingExists,
	"UNKNOWN_ROLE_ERROR":                     ErrUnknownRole,
	"TENANT_NOT_FOUND_ERROR":                 ErrUnknownTenant,
}

// refusals are the texts of a 400 that say more than that the caller erred.
var refusals = []struct {
	begins string
	class  error
}{
	{"AppId or tenantId not found", ErrUnknownTenant},
	{"UserId is already in use in ", ErrUserIDInUse},
	{"Cannot create a userId mapping where the externalId is also a SuperTokens userID", ErrExternalIDTaken},
}

// answer is all that the answers of this package's routes are made of.
type answer struct {
	Status  string `json:"status"`
	Message string `json:"message"`
	Reason  string `json:"reason"`

	Session *struct {
		Handle       string `json:"handle"`
		UserID       string `json:"userId"`
		RecipeUserID string `json:"recipeUserId"`
		TenantID     string `json:"tenantId"`
		Payload      object `json:"userDataInJWT"`
	} `json:"session"`
	AccessToken  *wireToken `json:"accessToken"`
	RefreshToken *wireToken `json:"refreshToken"`
	AntiCSRF     string     `json:"antiCsrfToken"`

	Handle       string `json:"sessionHandle"`
	UserID       string `json:"userId"`
	RecipeUserID string `json:"recipeUserId"`
	TenantID     string `json:"tenantId"`
	Payload      object `json:"userDataInJWT"`
	Data         object `json:"userDataInDatabase"`
	Expiry       int64  `json:"expiry"`
	Created      int64  `json:"timeCreated"`

	Handles        []string `json:"sessionHandles"`
	HandlesRevoked []string `json:"sessionHandlesRevoked"`

	SuperTokensID string `json:"superTokensUserId"`
	ExternalID    string `json:"externalUserId"`
	Info          string `json:"externalUserIdInfo"`

	SuperTokensIDExists bool `json:"doesSuperTokensUserIdExist"`
	ExternalIDExists    bool `json:"doesExternalUserIdExist"`

	User        *wireUser    `json:"user"`
	Users       []wireUser   `json:"users"`
	Email       string       `json:"email"`
	Token       string       `json:"token"`
	Count       *int         `json:"count"`
	Roles       []string     `json:"roles"`
	Permissions []string     `json:"permissions"`
	Metadata    object       `json:"metadata"`
	Tenants     []wireTenant `json:"tenants"`
	wireTenant

	Verified        *bool `json:"isVerified"`
	DidUserExist    *bool `json:"didUserAlreadyExist"`
	DidMappingExist *bool `json:"didMappingExist"`
	CreatedRole     *bool `json:"createdNewRole"`
	AlreadyHadRole  *bool `json:"didUserAlreadyHaveRole"`
	HadRole         *bool `json:"didUserHaveRole"`
	WasAlreadyThere *bool `json:"wasAlreadyAssociated"`
	WasThere        *bool `json:"wasAssociated"`
}

// wireUser is a user with an e-mail and a password at CDI 3.1, and any user, with its logins, at 5.2.
type wireUser struct {
	ID        string      `json:"id"`
	Email     string      `json:"email"`
	Joined    int64       `json:"timeJoined"`
	TenantIDs []string    `json:"tenantIds"`
	Logins    []wireLogin `json:"loginMethods"`
}

type wireLogin struct {
	Recipe    string   `json:"recipeId"`
	ID        string   `json:"recipeUserId"`
	Email     string   `json:"email"`
	TenantIDs []string `json:"tenantIds"`
}

// wireTenant is a tenant: what it allows stands in EmailPassword at CDI 3.1, in FirstFactors at 5.2.
type wireTenant struct {
	TenantID      string                  `json:"tenantId"`
	EmailPassword *struct{ Enabled bool } `json:"emailPassword"`
	FirstFactors  []string                `json:"firstFactors"`
}

type wireToken struct {
	Token   string `json:"token"`
	Expiry  int64  `json:"expiry"`
	Created int64  `json:"createdTime"`
}

// decode reads body, which must be one JSON value and nothing else.
func decode(body []byte, into any) error {
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("the answer is not the JSON expected: %v", err)
	}
	return nil
}

// object is a JSON object whose numbers are json.Number.
type object map[string]any

func (o *object) UnmarshalJSON(data []byte) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return d.Decode((*map[string]any)(o))
}

// decodeAnswer reads an answer that has a status, and makes an error of every status but OK.
func decodeAnswer(body []byte) (*answer, error) {
	a := new(answer)
	if err := decode(body, a); err != nil {
		return nil, err
	}
	if a.Status == "OK" {
		return a, nil
	}
	class := statuses[a.Status]
	switch {
	case class == nil:
		return nil, fmt.Errorf("the answer has the status %.64q, which is unknown here", a.Status)
	case errors.Is(class, ErrTheft):
		if a.Session == nil || a.Session.Handle == "" || a.Session.UserID == "" {
			return nil, missing("session")
		}
		class = &TheftError{Handle: a.Session.Handle, UserID: a.Session.UserID}
	case errors.Is(class, ErrMappingExists):
		class = &MappingExistsError{SuperTokensID: a.SuperTokensIDExists, ExternalID: a.ExternalIDExists}
	}
	return nil, &statusError{class: class, message: cmp.Or(a.Message, a.Reason)}
}

// missing is what is wrong with an answer whose field is absent, empty or nonsense.
func missing(field string) error { return fmt.Errorf("the answer lacks %s, or it is of no use", field) }

// wants is what an answer with a session must have besides it.
type wants struct {
	access, refresh, antiCSRF bool
	tenantID                  string
}

// tokens reads an answer with a session. Tokens that it need not have and has must be whole too.
func (a *answer) tokens(w wants) (*Tokens, error) {
	s := a.Session
	switch {
	case s == nil || s.Handle == "":
		return nil, missing("session.handle")
	case s.UserID == "":
		return nil, missing("session.userId")
	case s.TenantID == "":
		return nil, missing("session.tenantId")
	case s.Payload == nil:
		return nil, missing("session.userDataInJWT")
	case w.tenantID != "" && s.TenantID != w.tenantID:
		return nil, fmt.Errorf("the session is of the tenant %.64q, not of %q", s.TenantID, w.tenantID)
	case w.antiCSRF && a.AntiCSRF == "":
		return nil, missing("antiCsrfToken")
	}
	t := &Tokens{
		Session: Session{
			Handle: s.Handle, UserID: s.UserID, RecipeUserID: s.RecipeUserID, TenantID: s.TenantID, Payload: s.Payload,
		},
		AntiCSRF: a.AntiCSRF,
	}
	var err error
	if t.Access, err = a.AccessToken.token("accessToken", w.access); err != nil {
		return nil, err
	}
	if t.Refresh, err = a.RefreshToken.token("refreshToken", w.refresh); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *wireToken) token(field string, required bool) (*Token, error) {
	switch {
	case t == nil && !required:
		return nil, nil
	case t == nil || t.Token == "" || t.Expiry <= 0 || t.Created <= 0 || t.Expiry < t.Created:
		return nil, missing(field)
	}
	return &Token{Token: t.Token, Expiry: time.UnixMilli(t.Expiry), Created: time.UnixMilli(t.Created)}, nil
}

// info reads the answer about the session with this handle.
func (a *answer) info(handle string) (*SessionInfo, error) {
	switch {
	case a.Handle != handle:
		return nil, missing("sessionHandle as it was asked for")
	case a.UserID == "":
		return nil, missing("userId")
	case a.TenantID == "":
		return nil, missing("tenantId")
	case a.Payload == nil:
		return nil, missing("userDataInJWT")
	case a.Data == nil:
		return nil, missing("userDataInDatabase")
	case a.Expiry <= 0:
		return nil, missing("expiry")
	case a.Created <= 0:
		return nil, missing("timeCreated")
	}
	return &SessionInfo{
		Session: Session{
			Handle: a.Handle, UserID: a.UserID, RecipeUserID: a.RecipeUserID, TenantID: a.TenantID, Payload: a.Payload,
		},
		Data: a.Data, Expiry: time.UnixMilli(a.Expiry), Created: time.UnixMilli(a.Created),
	}, nil
}
