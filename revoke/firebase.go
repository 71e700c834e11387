package revoke

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/stmigrate/stmigrate"
)

// FirebaseConfig configures [FirebaseRevokeAllSessionsOfUser]. ProjectID and Token are required.
type FirebaseConfig struct {
	ProjectID string
	// TenantID is that of Identity Platform's multi-tenancy. Default: none.
	TenantID string
	// Token returns a Google access token of a service account with the permission firebaseauth.users.update and the scope
	// https://www.googleapis.com/auth/identitytoolkit, from google.golang.org/api's or oauth2's credentials, say.
	Token TokenSource
	// BaseURL replaces "https://identitytoolkit.googleapis.com", in tests.
	BaseURL string
	HTTP    HTTP
}

// FirebaseRevokeAllSessionsOfUser ends all sessions of the user that began before now, by this machine's clock: validSince at
// projects.accounts:update, as the Admin SDKs' revokeRefreshTokens does. Firebase has no way to end one of them. The user's ID is
// the Subject.
//
// Refresh tokens are good no more; ID tokens and session cookies live until they expire (an hour, two weeks) with whoever does not
// check them for revocation. Budget is 10 calls a second, the limit of account configuration updates.
//
// https://cloud.google.com/identity-platform/docs/reference/rest/v1/projects.accounts/update,
// https://firebase.google.com/docs/auth/admin/manage-sessions, https://firebase.google.com/docs/auth/limits
func FirebaseRevokeAllSessionsOfUser(cfg FirebaseConfig) (*AllSessionsOfUser, error) {
	if err := required("FirebaseConfig", [2]string{"ProjectID", cfg.ProjectID}); err != nil {
		return nil, err
	}
	if cfg.BaseURL == "" {
		cfg.BaseURL = "https://identitytoolkit.googleapis.com"
	}
	a, err := newTokenAPI("FirebaseConfig", cfg.BaseURL, cfg.Token, cfg.HTTP)
	if err != nil {
		return nil, err
	}
	for _, id := range [][2]string{{"ProjectID", cfg.ProjectID}, {"TenantID", cfg.TenantID}} {
		if _, err := segment("FirebaseConfig."+id[0], id[1]); err != nil {
			return nil, fmt.Errorf("revoke: %w", err)
		}
	}
	path := "/v1/projects/" + url.PathEscape(cfg.ProjectID)
	if cfg.TenantID != "" {
		path += "/tenants/" + url.PathEscape(cfg.TenantID)
	}
	a.calls = func(_ context.Context, _ string, s *stmigrate.OldSession) ([]request, error) {
		id, err := userID(s)
		if err != nil {
			return nil, err
		}
		since := strconv.FormatInt(a.client.now().Unix(), 10)
		return []request{a.postJSON(path+"/accounts:update", map[string]string{"localId": id, "validSince": since})}, nil
	}
	a.done = []int{http.StatusOK}
	a.code = func(fields map[string]any) string {
		inner, _ := fields["error"].(map[string]any)
		if name := code(inner, "message"); name != "" {
			return name
		}
		return code(inner, "status")
	}
	a.passing = []string{"QUOTA_EXCEEDED", "RESOURCE_EXHAUSTED", "TOO_MANY_ATTEMPTS_TRY_LATER"} // some with status 400
	a.limit = stmigrate.RevocationBudget{Calls: 10, Per: time.Second}
	return &AllSessionsOfUser{a, a.limit}, nil
}
