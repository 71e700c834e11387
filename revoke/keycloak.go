package revoke

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// KeycloakConfig configures [Keycloak]. BaseURL, Realm and Token are required.
type KeycloakConfig struct {
	// BaseURL is the server: "https://sso.example.com"; with "/auth" behind it before Keycloak 17.
	BaseURL string
	Realm   string
	// Token returns a token of a service account with the role manage-users of the client realm-management: that of
	// [ClientCredentials] at {BaseURL}/realms/{realm}/protocol/openid-connect/token.
	Token TokenSource
	// Offline says that the sessions are offline ones (scope offline_access).
	Offline bool
	HTTP    HTTP
}

// Keycloak ends one session by the Admin API: DELETE /admin/realms/{realm}/sessions/{sid}, for all applications that the user
// opened in it (single sign-on). The user's other sessions go on; access tokens live until they expire where they are verified
// without asking. An offline session is another one: set Offline for those.
//
// SessionID is the claim sid. The revocation endpoint ([RFC7009]) is no substitute: with a refresh token it takes the user's
// consent, too. Keycloak has no rate limits, so there is no Budget; a proxy before it may have. The statuses of
// success (204) and of a session that is over (404) have been read in reports of what Keycloak answers, not in its documentation.
//
// https://www.keycloak.org/docs-api/latest/rest-api/index.html
type Keycloak struct{ *api }

// NewKeycloak checks cfg. The error names the field that is missing or wrong.
func NewKeycloak(cfg KeycloakConfig) (*Keycloak, error) {
	a, err := newKeycloak(cfg)
	if err != nil {
		return nil, err
	}
	query := ""
	if cfg.Offline {
		query = "?isOffline=true"
	}
	a.calls = one(sidIn("sid"), func(id string) request {
		return a.to(http.MethodDelete, "/sessions/"+url.PathEscape(id)+query)
	})
	a.over = func(status int, fields map[string]any) bool {
		// "Sesssion not found"; a wrong realm is "Realm not found.".
		text, _ := fields["error"].(string)
		return status == http.StatusNotFound && strings.HasSuffix(text, "ssion not found")
	}
	return &Keycloak{a}, nil
}

// KeycloakRevokeAllSessionsOfUser ends all sessions of the user but the offline ones: POST /admin/realms/{realm}/users/{id}/logout.
// The user's ID is the Subject.
//
// https://www.keycloak.org/docs-api/latest/rest-api/index.html
func KeycloakRevokeAllSessionsOfUser(cfg KeycloakConfig) (*AllSessionsOfUser, error) {
	a, err := newKeycloak(cfg)
	if err != nil {
		return nil, err
	}
	a.calls = one(userID, func(id string) request { return a.to(http.MethodPost, "/users/"+url.PathEscape(id)+"/logout") })
	return &AllSessionsOfUser{a, a.limit}, nil
}

func newKeycloak(cfg KeycloakConfig) (*api, error) {
	if err := required("KeycloakConfig", [2]string{"Realm", cfg.Realm}); err != nil {
		return nil, err
	}
	realm, err := segment("KeycloakConfig.Realm", cfg.Realm)
	if err != nil {
		return nil, fmt.Errorf("revoke: %w", err)
	}
	a, err := newTokenAPI("KeycloakConfig", cfg.BaseURL, cfg.Token, cfg.HTTP)
	if err != nil {
		return nil, err
	}
	a.base += "/admin/realms/" + realm
	a.done = []int{http.StatusNoContent}
	a.code = member("error")
	return a, nil
}
