package revoke

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"

	"github.com/stmigrate/stmigrate"
)

// Auth0Config configures [Auth0]. BaseURL and Token are required.
type Auth0Config struct {
	// BaseURL is the tenant: "https://example.eu.auth0.com". The Management API is not at custom domains.
	BaseURL string
	// Token returns a Management API token with the scopes delete:sessions and, unless KeepRefreshTokens, delete:refresh_tokens:
	// that of [ClientCredentials] with the audience "https://example.eu.auth0.com/api/v2/".
	Token TokenSource
	// KeepRefreshTokens leaves the refresh tokens of the session alive, which can get access tokens for as long as they live.
	KeepRefreshTokens bool
	HTTP              HTTP
}

// Auth0 ends one session by the Management API: POST /api/v2/sessions/{id}/revoke, with its refresh tokens, or
// DELETE /api/v2/sessions/{id} without them. Other sessions of the user go on; access tokens live until they expire.
//
// SessionID is Auth0's sid, which ID tokens carry: an Action must add it to access tokens as a claim of your own. Auth0 offers the
// endpoints with Enterprise plans only; with the others, revoke refresh tokens by [RFC7009] at /oauth/revoke. Deletion is
// accepted (202) and done a little later. Budget is 150 calls a minute in bursts of 10, that of Essentials and Professional
// plans; 429 says when by X-RateLimit-Reset. Which scope the first endpoint wants, and the 404 of a session that is over, are not
// verified against Auth0's documentation.
//
// https://auth0.com/docs/api/management/v2/sessions/revoke-session,
// https://auth0.com/docs/api/management/v2/sessions/delete-session,
// https://auth0.com/docs/troubleshoot/customer-support/operational-policies/rate-limit-policy
type Auth0 struct{ *api }

// NewAuth0 checks cfg. The error names the field that is missing or wrong.
func NewAuth0(cfg Auth0Config) (*Auth0, error) {
	a, err := newAuth0(cfg)
	if err != nil {
		return nil, err
	}
	a.calls = one(sidIn("sid, which an Action must add to access tokens"), func(id string) request {
		if cfg.KeepRefreshTokens {
			return a.to(http.MethodDelete, "/api/v2/sessions/"+url.PathEscape(id))
		}
		return a.to(http.MethodPost, "/api/v2/sessions/"+url.PathEscape(id)+"/revoke")
	})
	a.over = func(status int, fields map[string]any) bool {
		return status == http.StatusNotFound && fields["statusCode"] == json.Number("404")
	}
	return &Auth0{a}, nil
}

// Auth0RevokeAllSessionsOfUser ends all sessions of the user and, unless cfg.KeepRefreshTokens, all of the user's refresh tokens:
// DELETE /api/v2/users/{id}/refresh-tokens and DELETE /api/v2/users/{id}/sessions. The user's ID is the Subject. Plans, limits and
// scopes are those of [Auth0].
//
// https://auth0.com/docs/manage-users/sessions/manage-user-sessions-with-auth0-management-api
func Auth0RevokeAllSessionsOfUser(cfg Auth0Config) (*AllSessionsOfUser, error) {
	a, err := newAuth0(cfg)
	if err != nil {
		return nil, err
	}
	a.calls = func(_ context.Context, _ string, s *stmigrate.OldSession) ([]request, error) {
		id, err := userID(s)
		if err != nil {
			return nil, err
		}
		user := "/api/v2/users/" + url.PathEscape(id)
		calls := []request{a.to(http.MethodDelete, user+"/sessions")}
		if !cfg.KeepRefreshTokens {
			calls = append([]request{a.to(http.MethodDelete, user+"/refresh-tokens")}, calls...)
		}
		return calls, nil
	}
	return &AllSessionsOfUser{a, a.limit}, nil
}

func newAuth0(cfg Auth0Config) (*api, error) {
	a, err := newTokenAPI("Auth0Config", cfg.BaseURL, cfg.Token, cfg.HTTP)
	if err != nil {
		return nil, err
	}
	a.done = []int{http.StatusAccepted, http.StatusNoContent}
	a.code = member("errorCode")
	a.limit = stmigrate.RevocationBudget{Calls: 10, Per: 4 * time.Second}
	return a, nil
}
