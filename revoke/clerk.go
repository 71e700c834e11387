package revoke

import (
	"net/http"
	"net/url"
	"time"

	"github.com/stmigrate/stmigrate"
)

// ClerkConfig configures [Clerk]. Token is required.
type ClerkConfig struct {
	// Token returns the instance's secret key: StaticToken("sk_live_…").
	Token TokenSource
	// BaseURL replaces "https://api.clerk.com", in tests.
	BaseURL string
	HTTP    HTTP
}

// Clerk ends one session: POST /v1/sessions/{id}/revoke. The user is signed out on the device that has it, and goes on with the
// others; session tokens, which carry its ID as sid, live for their minute. Budget is 1000 calls in 10 seconds, that of production
// instances (development: 100), for all that calls the Backend API with the key; 429 says when by Retry-After. That resource_not_found
// with status 404 is the answer for a session that is unknown is not verified against Clerk's documentation.
//
// https://clerk.com/docs/reference/backend/sessions/revoke-session, https://clerk.com/docs/guides/how-clerk-works/system-limits
type Clerk struct{ *api }

// NewClerk checks cfg. The error names the field that is missing or wrong.
func NewClerk(cfg ClerkConfig) (*Clerk, error) {
	if cfg.BaseURL == "" {
		cfg.BaseURL = "https://api.clerk.com"
	}
	a, err := newTokenAPI("ClerkConfig", cfg.BaseURL, cfg.Token, cfg.HTTP)
	if err != nil {
		return nil, err
	}
	a.calls = one(sidIn("sid"), func(id string) request { return a.to(http.MethodPost, "/v1/sessions/"+url.PathEscape(id)+"/revoke") })
	a.done = []int{http.StatusOK}
	a.code = func(fields map[string]any) string {
		if list, _ := fields["errors"].([]any); len(list) > 0 {
			first, _ := list[0].(map[string]any)
			return code(first, "code")
		}
		return ""
	}
	a.over = func(status int, fields map[string]any) bool {
		return status == http.StatusNotFound && a.code(fields) == "resource_not_found"
	}
	a.limit = stmigrate.RevocationBudget{Calls: 1000, Per: 10 * time.Second}
	return &Clerk{a}, nil
}
