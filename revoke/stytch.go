package revoke

import (
	"net/http"
)

// StytchConfig configures [Stytch]. ProjectID and Secret are required.
type StytchConfig struct {
	ProjectID, Secret string
	// B2B says that it is a B2B project, whose sessions are of members.
	B2B bool
	// BaseURL replaces "https://api.stytch.com". Test projects are at "https://test.stytch.com".
	BaseURL string
	HTTP    HTTP
}

// Stytch ends one session: POST /v1/sessions/revoke by session_id, or POST /v1/b2b/sessions/revoke by member_session_id. The user's
// other sessions go on; session JWTs live for their 5 minutes where they are verified without asking. Stytch publishes no limit for
// it, so there is no Budget. SessionID is the session's ID, in the claim https://stytch.com/session of a session JWT: a verifier
// of your own must take it from there. That session_not_found with status 404 is the answer for a session that is over is not
// verified against Stytch's documentation.
//
// https://stytch.com/docs/api-reference/consumer/api/sessions/revoke-session,
// https://stytch.com/docs/api-reference/b2b/api/sessions/revoke-session, https://stytch.com/docs/api/errors/404
type Stytch struct{ *api }

// NewStytch checks cfg. The error names the field that is missing or wrong.
func NewStytch(cfg StytchConfig) (*Stytch, error) {
	if err := required("StytchConfig", [2]string{"ProjectID", cfg.ProjectID}, [2]string{"Secret", cfg.Secret}); err != nil {
		return nil, err
	}
	if cfg.BaseURL == "" {
		cfg.BaseURL = "https://api.stytch.com"
	}
	a, err := newAPI("StytchConfig", cfg.BaseURL, nil, cfg.HTTP)
	if err != nil {
		return nil, err
	}
	path, name := "/v1/sessions/revoke", "session_id"
	if cfg.B2B {
		path, name = "/v1/b2b/sessions/revoke", "member_session_id"
	}
	a.calls = one(sidIn("the session's ID"), func(id string) request {
		r := a.postJSON(path, map[string]string{name: id})
		r.header.Set("Authorization", basic(cfg.ProjectID, cfg.Secret))
		return r
	})
	a.done = []int{http.StatusOK}
	a.code = member("error_type")
	a.over = func(status int, fields map[string]any) bool {
		return status == http.StatusNotFound && fields["error_type"] == "session_not_found"
	}
	return &Stytch{a}, nil
}
