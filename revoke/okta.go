package revoke

import (
	"net/http"
	"net/url"
	"time"

	"github.com/stmigrate/stmigrate"
)

// OktaConfig configures [Okta]. BaseURL and Token are required.
type OktaConfig struct {
	// BaseURL is the org: "https://example.okta.com".
	BaseURL string
	// Token returns an access token of the org authorization server with the scope okta.sessions.manage
	// (okta.users.manage for all sessions of a user), or an API token.
	Token TokenSource
	// APIToken says that Token returns an API token, which is sent as "SSWS", not as "Bearer".
	APIToken bool
	HTTP     HTTP
}

// Okta ends one session at Okta: DELETE /api/v1/sessions/{id}. The user's other sessions go on, and so do tokens that were issued
// in this one: revoke those by [RFC7009] at {issuer}/v1/revoke.
//
// SessionID must be the ID of Okta's own session, which the tokens of the custom authorization servers do not carry by
// themselves. Budget is 1000 calls a minute, the lowest that Okta publishes for endpoints that it does not list; the org's rate
// limit dashboard has yours, and 429 says when by X-Rate-Limit-Reset. That E0000007 with status 404 is the answer for a session that is
// over is not verified against Okta's documentation.
//
// https://developer.okta.com/docs/reference/api/sessions, https://developer.okta.com/docs/reference/error-codes/,
// https://developer.okta.com/docs/reference/rl-best-practices/
type Okta struct{ *api }

// NewOkta checks cfg. The error names the field that is missing or wrong.
func NewOkta(cfg OktaConfig) (*Okta, error) {
	a, err := newOkta(cfg)
	if err != nil {
		return nil, err
	}
	a.calls = one(sidIn("the ID of Okta's own session"), func(id string) request {
		return a.to(http.MethodDelete, "/api/v1/sessions/"+url.PathEscape(id))
	})
	a.over = func(status int, fields map[string]any) bool {
		return status == http.StatusNotFound && fields["errorCode"] == "E0000007" // resource not found
	}
	return &Okta{a}, nil
}

// OktaRevokeAllSessionsOfUser ends all sessions of the user at Okta and the refresh and access tokens of all applications:
// DELETE /api/v1/users/{id}/sessions?oauthTokens=true. The user's ID is the Subject: have JWTConfig.UserIDClaim be "uid" for
// tokens of custom authorization servers, whose sub is the login. Sessions that web applications hold themselves go on.
//
// https://developer.okta.com/docs/api/openapi/okta-management/management/tag/UserSessions
func OktaRevokeAllSessionsOfUser(cfg OktaConfig) (*AllSessionsOfUser, error) {
	a, err := newOkta(cfg)
	if err != nil {
		return nil, err
	}
	a.calls = one(userID, func(id string) request {
		return a.to(http.MethodDelete, "/api/v1/users/"+url.PathEscape(id)+"/sessions?oauthTokens=true")
	})
	return &AllSessionsOfUser{a, a.limit}, nil
}

func newOkta(cfg OktaConfig) (*api, error) {
	a, err := newTokenAPI("OktaConfig", cfg.BaseURL, cfg.Token, cfg.HTTP)
	if err != nil {
		return nil, err
	}
	if cfg.APIToken {
		a.scheme = "SSWS"
	}
	a.done = []int{http.StatusNoContent}
	a.code = member("errorCode")
	a.limit = stmigrate.RevocationBudget{Calls: 1000, Per: time.Minute}
	return a, nil
}
