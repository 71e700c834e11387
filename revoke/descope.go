package revoke

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/stmigrate/stmigrate"
)

// DescopeConfig configures [Descope]. ProjectID and Token are required.
type DescopeConfig struct {
	// ProjectID is the project's: "P2…".
	ProjectID string
	// Token finds the refresh token (JWT) of the session: Descope ends the session of that one.
	Token TokenOf
	// BaseURL replaces "https://api.descope.com": a region's API, or the project's custom domain.
	BaseURL string
	HTTP    HTTP
}

// Descope ends one session with its refresh token: POST /v1/auth/logout. The user's other sessions go on; session tokens live until
// they expire, some minutes as a rule. Descope has no call that ends one session by an ID. When the refresh token has expired, the
// session is over by itself, and the error is permanent.
//
// Descope limits the call by the caller's IP address, so there is no Budget; 429 says when by Retry-After. E064001, which is taken
// for "over already", is the SDK's name for a token whose session was logged out; that this call answers it is not verified against
// Descope's documentation.
//
// https://docs.descope.com/rate-limiting, https://github.com/descope/go-sdk/blob/main/descope/internal/auth/auth.go,
// https://github.com/descope/go-sdk/blob/main/descope/errors.go
type Descope struct{ *api }

// NewDescope checks cfg. The error names the field that is missing or wrong.
func NewDescope(cfg DescopeConfig) (*Descope, error) {
	if cfg.Token == nil {
		return nil, errors.New("revoke: DescopeConfig.Token is required: what clients show is no refresh token")
	}
	a, err := newDescope("DescopeConfig", cfg.ProjectID, cfg.BaseURL, cfg.HTTP)
	if err != nil {
		return nil, err
	}
	a.calls = func(ctx context.Context, token string, s *stmigrate.OldSession) ([]request, error) {
		token, err := cfg.Token.choose(ctx, token, s)
		if err != nil {
			return nil, err
		}
		if !visible(token) {
			return nil, permanent("what DescopeConfig.Token found is no token")
		}
		r := a.postJSON("/v1/auth/logout", map[string]string{})
		r.header.Set("Authorization", "Bearer "+cfg.ProjectID+":"+token)
		return []request{r}, nil
	}
	a.over = func(status int, fields map[string]any) bool {
		return status >= 400 && status < 500 && fields["errorCode"] == "E064001"
	}
	return &Descope{a}, nil
}

// DescopeUserConfig configures [DescopeRevokeAllSessionsOfUser]. ProjectID and Token are required.
type DescopeUserConfig struct {
	// ProjectID is the project's: "P2…".
	ProjectID string
	// Token returns a management key: StaticToken("K2…").
	Token TokenSource
	// BaseURL replaces "https://api.descope.com": a region's API, or the project's custom domain.
	BaseURL string
	HTTP    HTTP
}

// DescopeRevokeAllSessionsOfUser ends all sessions of the user, of every type: POST /v1/mgmt/user/logout. The user's ID is the
// Subject (dsub, else sub). Session tokens live until they expire where they are verified without asking.
//
// Budget is 500 calls a minute, that of user management in a project; some of its paths have 100, and that logout is not one of
// those is not verified against Descope's documentation. 429 says when by Retry-After. The answer for a user that is unknown,
// E112102, is the SDK's name for that.
//
// https://docs.descope.com/rate-limiting, https://github.com/descope/go-sdk/blob/main/descope/internal/mgmt/user.go,
// https://github.com/descope/go-sdk/blob/main/descope/errors.go
func DescopeRevokeAllSessionsOfUser(cfg DescopeUserConfig) (*AllSessionsOfUser, error) {
	if cfg.Token == nil {
		return nil, errors.New("revoke: DescopeUserConfig.Token is required: a management key (StaticToken)")
	}
	a, err := newDescope("DescopeUserConfig", cfg.ProjectID, cfg.BaseURL, cfg.HTTP)
	if err != nil {
		return nil, err
	}
	a.token = func(ctx context.Context) (string, error) {
		key, err := cfg.Token(ctx)
		if err != nil || key == "" {
			return "", err
		}
		return cfg.ProjectID + ":" + key, nil
	}
	a.calls = one(userID, func(id string) request { return a.postJSON("/v1/mgmt/user/logout", map[string]string{"userId": id}) })
	a.limit = stmigrate.RevocationBudget{Calls: 500, Per: time.Minute}
	return &AllSessionsOfUser{a, a.limit}, nil
}

func newDescope(config, project, base string, h HTTP) (*api, error) {
	if err := required(config, [2]string{"ProjectID", project}); err != nil {
		return nil, err
	}
	if !visible(project) {
		return nil, errors.New("revoke: " + config + ".ProjectID is no ID")
	}
	if base == "" {
		base = "https://api.descope.com"
	}
	a, err := newAPI(config, base, nil, h)
	if err != nil {
		return nil, err
	}
	a.done = []int{http.StatusOK}
	a.code = member("errorCode")
	return a, nil
}
