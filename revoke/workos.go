package revoke

import (
	"net/http"
	"time"

	"github.com/stmigrate/stmigrate"
)

// WorkOSConfig configures [WorkOS]. Token is required.
type WorkOSConfig struct {
	// Token returns the environment's API key: StaticToken("sk_…").
	Token TokenSource
	// BaseURL replaces "https://api.workos.com", in tests.
	BaseURL string
	HTTP    HTTP
}

// WorkOS ends one AuthKit session: POST /user_management/sessions/revoke. SessionID is the claim sid. The user's other sessions go
// on; access tokens live until they expire. Budget is 500 calls in 10 seconds, that of writes in an environment. WorkOS documents
// 404 without a body: the body that is taken for "no such session" here, an entity_not_found, is not verified against its documentation.
//
// https://workos.com/docs/reference/authkit/session, https://workos.com/docs/reference/rate-limits
type WorkOS struct{ *api }

// NewWorkOS checks cfg. The error names the field that is missing or wrong.
func NewWorkOS(cfg WorkOSConfig) (*WorkOS, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = "https://api.workos.com"
	}
	a, err := newTokenAPI("WorkOSConfig", cfg.BaseURL, cfg.Token, cfg.HTTP)
	if err != nil {
		return nil, err
	}
	a.calls = one(sidIn("sid"), func(id string) request {
		return a.postJSON("/user_management/sessions/revoke", map[string]string{"session_id": id})
	})
	a.done = []int{http.StatusOK, http.StatusNoContent}
	a.code = member("code")
	a.over = func(status int, fields map[string]any) bool {
		return status == http.StatusNotFound && fields["code"] == "entity_not_found"
	}
	a.limit = stmigrate.RevocationBudget{Calls: 500, Per: 10 * time.Second}
	return &WorkOS{a}, nil
}
