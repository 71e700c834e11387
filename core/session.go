package core

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Token is an access or a refresh token. However it is printed or logged, its text is left out; encoding/json keeps it.
type Token struct {
	Token string
	// Expiry and Created are the core's, to the millisecond.
	Expiry, Created time.Time
}

// Format prints [token].
func (Token) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, "[token]") }

// LogValue logs [token].
func (Token) LogValue() slog.Value { return slog.StringValue("[token]") }

// Session is what the core says of a session along with its tokens.
type Session struct {
	Handle string
	// UserID is the external ID where the user has one.
	UserID string
	// RecipeUserID is the ID of the login method, which is UserID unless accounts are linked. Empty at CDI 3.1.
	RecipeUserID string
	TenantID     string // never empty: "public" is the default tenant
	// Payload is the application's part of the access token. Its numbers are [json.Number].
	Payload map[string]any
}

// SessionInfo is a session as it stands in the core's database.
type SessionInfo struct {
	Session
	// Data are kept with the session and are in no token. Numbers are [json.Number].
	Data map[string]any
	// Expiry is when the session ends unless it is refreshed.
	Expiry, Created time.Time
}

// Tokens is a session with the tokens that the core gave out for it. Those it did not give out are nil or empty.
type Tokens struct {
	Session
	Access  *Token
	Refresh *Token
	// AntiCSRF is the token that must stand beside the access and the refresh token. Empty: there is none.
	AntiCSRF string
}

// NewSession is what a session is created with. UserID is required.
type NewSession struct {
	// UserID is a SuperTokens or an external user ID, of at most [MaxExternalID] characters. The core does not check that there is
	// such a user.
	UserID string
	// Payload goes into the access token. The core refuses names that it needs itself: sub, iat, exp, sessionHandle and so on.
	// Its numbers are of 64 bits: integers from -2^63 to 2^63-1, and what float64 holds.
	Payload map[string]any
	// Data are kept in the core.
	Data map[string]any
	// AntiCSRF asks for an anti-CSRF token, bound to the session's tokens.
	AntiCSRF bool
	// StaticKey signs the access token with the core's static key and not with the one that it rotates.
	StaticKey bool
}

// VerifySession is what [Client.VerifySession] verifies. AccessToken is required.
type VerifySession struct {
	AccessToken string
	// AntiCSRFToken is the one the request carried, if any. It counts only with CheckAntiCSRF.
	AntiCSRFToken string
	// CheckAntiCSRF demands that AntiCSRFToken is the session's: for all requests that a foreign page can cause.
	CheckAntiCSRF bool
	// EnableAntiCSRF says that sessions of this application have an anti-CSRF token.
	EnableAntiCSRF bool
	// CheckDatabase demands that the session is there still. Without it a removed one is good until its access token expires.
	CheckDatabase bool
}

// RefreshSession is what [Client.RefreshSession] refreshes. RefreshToken is required.
type RefreshSession struct {
	RefreshToken string
	// AntiCSRFToken is the one the request carried, if any.
	AntiCSRFToken string
	// EnableAntiCSRF demands that AntiCSRFToken is the session's, and asks for a new one.
	EnableAntiCSRF bool
	// StaticKey is as in [NewSession] and should be the same there.
	StaticKey bool
}

type createBody struct {
	UserID     string         `json:"userId"`
	Payload    map[string]any `json:"userDataInJWT"`
	Data       map[string]any `json:"userDataInDatabase"`
	AntiCSRF   bool           `json:"enableAntiCsrf"`
	DynamicKey bool           `json:"useDynamicSigningKey"`
}

// CreateSession creates a session in a tenant, "" being the public one, and returns it with an access and a refresh token.
//
// It is never repeated once a byte of it may have reached a core. If it fails and its [Error.NotDone] is false, the session
// may exist.
func (c *Client) CreateSession(ctx context.Context, tenantID string, s NewSession) (*Tokens, error) {
	tenantID = cmp.Or(tenantID, "public")
	return c.tokens(ctx, request{
		route:    createSession,
		tenantID: tenantID,
		body: createBody{
			UserID: s.UserID, Payload: orEmpty(s.Payload), Data: orEmpty(s.Data), AntiCSRF: s.AntiCSRF, DynamicKey: !s.StaticKey,
		},
		invalid: cmp.Or(ValidUserID(s.UserID), ValidPayload(s.Payload)),
	}, wants{access: true, refresh: true, antiCSRF: s.AntiCSRF, tenantID: tenantID})
}

// GetSession returns the session with this handle. If there is none, or not any more, the error is an [ErrUnauthorised].
func (c *Client) GetSession(ctx context.Context, handle string) (*SessionInfo, error) {
	var info *SessionInfo
	err := c.answer(ctx, request{
		route:   getSession,
		query:   []string{"sessionHandle", handle},
		invalid: required("handle", handle),
	}, func(a *answer) (err error) {
		info, err = a.info(handle)
		return err
	})
	return info, err
}

// VerifySession verifies an access token: signature, expiry, and what v asks for besides. Access is nil unless the core
// gave out a new access token, which then replaces the one verified: that is so after a refresh, whose tokens become the
// session's by it, and, with CheckDatabase, after the payload was changed.
//
// Errors: [ErrTryRefresh] if the token or its anti-CSRF token is not good, [ErrUnauthorised] if the session has ended.
func (c *Client) VerifySession(ctx context.Context, v VerifySession) (*Tokens, error) {
	body := map[string]any{
		"accessToken":     v.AccessToken,
		"doAntiCsrfCheck": v.CheckAntiCSRF,
		"enableAntiCsrf":  v.EnableAntiCSRF,
		"checkDatabase":   v.CheckDatabase,
	}
	if v.AntiCSRFToken != "" {
		body["antiCsrfToken"] = v.AntiCSRFToken
	}
	return c.tokens(ctx, request{
		route:   verifySession,
		body:    body,
		secrets: []string{v.AccessToken, v.AntiCSRFToken},
		invalid: required("AccessToken", v.AccessToken),
	}, wants{})
}

// RefreshSession gives out new tokens for a session. The old refresh token works again until one of the new ones is used;
// used after that, it is a [TheftError].
//
// Errors: [ErrUnauthorised] if the token or its anti-CSRF token is not good or the session has ended; *[TheftError].
func (c *Client) RefreshSession(ctx context.Context, r RefreshSession) (*Tokens, error) {
	body := map[string]any{
		"refreshToken":         r.RefreshToken,
		"enableAntiCsrf":       r.EnableAntiCSRF,
		"useDynamicSigningKey": !r.StaticKey, // optional at CDI 3.1, required at 5.2
	}
	if r.AntiCSRFToken != "" {
		body["antiCsrfToken"] = r.AntiCSRFToken
	}
	return c.tokens(ctx, request{
		route:   refreshSession,
		body:    body,
		secrets: []string{r.RefreshToken, r.AntiCSRFToken},
		invalid: required("RefreshToken", r.RefreshToken),
	}, wants{access: true, refresh: true, antiCSRF: r.EnableAntiCSRF})
}

// RegenerateSession replaces the payload of accessToken's session, nil keeping it, and returns a new access token with it
// that expires when the old one does. Access is nil if that has happened; then the next refresh brings the payload.
//
// The core does NOT verify accessToken here, neither signature nor expiry: it believes the session handle in it. The token
// must have been verified before.
//
// Errors: [ErrUnauthorised] if the session has ended.
func (c *Client) RegenerateSession(ctx context.Context, accessToken string, payload map[string]any) (*Tokens, error) {
	body := map[string]any{"accessToken": accessToken}
	if payload != nil {
		body["userDataInJWT"] = payload
	}
	return c.tokens(ctx, request{
		route:   regenerateSession,
		body:    body,
		secrets: []string{accessToken},
		invalid: cmp.Or(required("accessToken", accessToken), ValidPayload(payload)),
	}, wants{})
}

// RemoveSessions ends sessions and returns the handles of those that it ended. A handle that is missing there is live no
// more: it was not before, or an earlier try of this very call ended it whose answer was lost. The refresh tokens end with
// it, and access tokens where the database is asked.
func (c *Client) RemoveSessions(ctx context.Context, handles ...string) (removed []string, err error) {
	if len(handles) == 0 {
		return nil, nil
	}
	return c.handles(ctx, request{
		route:   removeSessions,
		body:    map[string]any{"sessionHandles": handles},
		invalid: required("a handle", handles...),
	})
}

// RemoveUserSessions ends the user's sessions in a tenant, or in all if tenantID is "", and those of linked accounts too,
// and returns their handles as [Client.RemoveSessions] does.
func (c *Client) RemoveUserSessions(ctx context.Context, tenantID, userID string) ([]string, error) {
	return c.handles(ctx, request{
		route:    removeSessions,
		tenantID: tenantID,
		body:     map[string]any{"userId": userID, "revokeAcrossAllTenants": tenantID == ""},
		invalid:  required("userID", userID),
	})
}

// UserSessions returns the handles of the user's sessions that have not expired, in a tenant, or in all if tenantID is "",
// and those of linked accounts too. A user that does not exist has none.
func (c *Client) UserSessions(ctx context.Context, tenantID, userID string) ([]string, error) {
	return c.handles(ctx, request{
		route:    userSessions,
		tenantID: tenantID,
		query:    []string{"userId", userID, "fetchAcrossAllTenants", strconv.FormatBool(tenantID == "")},
		invalid:  required("userID", userID),
	})
}

// SetSessionData replaces the data kept with a session; nil is no data. Errors: [ErrUnauthorised] if there is no such session.
func (c *Client) SetSessionData(ctx context.Context, handle string, data map[string]any) error {
	return c.answer(ctx, request{
		route:   putData,
		body:    map[string]any{"sessionHandle": handle, "userDataInDatabase": orEmpty(data)},
		invalid: required("handle", handle),
	}, nil)
}

// SetSessionPayload replaces the payload of a session's future access tokens; nil is an empty one. The tokens that are out
// keep theirs until they are refreshed, regenerated, or verified with CheckDatabase.
// Errors: [ErrUnauthorised] if there is no such session.
func (c *Client) SetSessionPayload(ctx context.Context, handle string, payload map[string]any) error {
	return c.answer(ctx, request{
		route:   putPayload,
		body:    map[string]any{"sessionHandle": handle, "userDataInJWT": orEmpty(payload)},
		invalid: cmp.Or(required("handle", handle), ValidPayload(payload)),
	}, nil)
}

// JWKS returns the document with the core's public keys as it is (RFC 7517), at most 512 KiB of it. That it is JSON and has
// "keys" is checked, the keys are not.
func (c *Client) JWKS(ctx context.Context) ([]byte, error) {
	var document []byte
	err := c.call(ctx, request{route: getJWKS}, func(body []byte) error {
		var set struct {
			Keys []json.RawMessage `json:"keys"`
		}
		if err := decode(body, &set); err != nil {
			return err
		}
		if set.Keys == nil {
			return missing("keys")
		}
		document = body
		return nil
	})
	return document, err
}

// IDType says whose user ID one is, in [Client.UserIDMapping].
type IDType int

// The kinds of user IDs.
const (
	AnyID         IDType = iota // a SuperTokens ID or, if it is none, an external one
	SuperTokensID               // the ID that the core gave the user
	ExternalID                  // the ID that the application mapped to it, which the core then calls the user by
)

// UserIDMapping is a SuperTokens user ID and the external one that it is known by.
type UserIDMapping struct {
	SuperTokensID, ExternalID string
	// Info is what the application stored along with the mapping.
	Info string
}

// UserIDMapping returns the mapping that id is one side of. Without one the error is an [ErrUnknownMapping], which does not
// say whether there is such a user.
func (c *Client) UserIDMapping(ctx context.Context, id string, t IDType) (*UserIDMapping, error) {
	name, invalid := t.name()
	var mapping *UserIDMapping
	err := c.answer(ctx, request{
		route:   getMapping,
		query:   []string{"userId", id, "userIdType", name},
		invalid: cmp.Or(required("id", id), invalid),
	}, func(a *answer) error {
		m := UserIDMapping{SuperTokensID: a.SuperTokensID, ExternalID: a.ExternalID, Info: a.Info}
		asked := t != ExternalID && id == m.SuperTokensID || t != SuperTokensID && id == m.ExternalID
		if !asked || m.SuperTokensID == "" || m.ExternalID == "" {
			return missing("the mapping that was asked for")
		}
		mapping = &m
		return nil
	})
	return mapping, err
}

// Ping asks a core, any one of several, whether it and its database work. The API key is not checked.
func (c *Client) Ping(ctx context.Context) error {
	return c.call(ctx, request{route: getHello}, func(body []byte) error {
		if !strings.HasSuffix(strings.TrimSpace(string(body)), "Hello") {
			return errors.New("the answer is not a core's Hello: something else may listen there")
		}
		return nil
	})
}

// CDIVersion returns the CDI version that this client speaks with the core: the highest of those that both know. It asks the
// core when it is called for the first time.
func (c *Client) CDIVersion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return c.negotiate(ctx)
}

// answer makes a call whose answer has a status, and has read take what it needs from one that is OK.
func (c *Client) answer(ctx context.Context, req request, read func(*answer) error) error {
	return c.call(ctx, req, func(body []byte) error {
		a, err := decodeAnswer(body)
		if err != nil || read == nil {
			return err
		}
		return read(a)
	})
}

func (c *Client) tokens(ctx context.Context, req request, w wants) (*Tokens, error) {
	var tokens *Tokens
	err := c.answer(ctx, req, func(a *answer) (err error) {
		tokens, err = a.tokens(w)
		return err
	})
	return tokens, err
}

func (c *Client) handles(ctx context.Context, req request) ([]string, error) {
	var handles []string
	err := c.answer(ctx, req, func(a *answer) error {
		if handles = a.Handles; req.path == removeSessions.path {
			handles = a.HandlesRevoked
		}
		if handles == nil || slices.Contains(handles, "") {
			handles = nil
			return missing("the session handles")
		}
		return nil
	})
	return handles, err
}

// ValidPayload says what is wrong with the payload of a session, or nil: that it is not JSON, or has a number that the core
// cannot put into a token, an integer beyond int64 or another beyond float64. Asked to create a session with such a one the core
// answers 500, and a session that is given one later cannot be refreshed any more. Which names the core needs for itself, it does
// not say.
func ValidPayload(payload map[string]any) error {
	if isPlain(payload) {
		return nil
	}
	text, err := json.Marshal(payload)
	if err != nil {
		return fmt.Errorf("payload is not JSON: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	for {
		token, err := dec.Token()
		if err != nil {
			return nil // the end
		}
		n, ok := token.(json.Number)
		if !ok {
			continue
		}
		if strings.ContainsAny(n.String(), ".eE") {
			_, err = n.Float64()
		} else {
			_, err = n.Int64()
		}
		if err != nil {
			return errors.New("payload has a number beyond 64 bits, which the core puts into no token: make it a string")
		}
	}
}

// isPlain tells without a walk that there is no number, which is so of most payloads.
func isPlain(payload map[string]any) bool {
	for _, v := range payload {
		switch v.(type) {
		case nil, bool, string:
		default:
			return false
		}
	}
	return true
}

func required(name string, values ...string) error {
	if slices.Contains(values, "") {
		return fmt.Errorf("%s is empty", name)
	}
	return nil
}

// orEmpty is m, and {} for nil, since the core refuses null.
func orEmpty(m map[string]any) map[string]any {
	if m == nil {
		return map[string]any{}
	}
	return m
}
