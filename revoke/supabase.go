package revoke

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/stmigrate/stmigrate"
)

// SupabaseConfig configures [Supabase]. BaseURL and APIKey are required.
type SupabaseConfig struct {
	// BaseURL is the project: "https://{ref}.supabase.co".
	BaseURL string
	// APIKey is sent as the header apikey: a publishable (anon) key does.
	APIKey string
	HTTP   HTTP
}

// Supabase ends one session with the user's own access token, the one that the client showed: POST /auth/v1/logout?scope=local. The
// user's other sessions go on; access tokens live until they expire. When the token has expired nothing can be revoked any more,
// and the error is permanent: its refresh token stays good.
//
// For a token without a session, Supabase ends all sessions of the user whatever the scope. So the token must name the SessionID in
// its claim session_id; without one the error is permanent and nothing is called. Supabase publishes no limit for it that does not go
// by the caller's IP address, so there is no Budget. What a session that is over is answered with has been read in reports of
// what Supabase answers.
//
// https://supabase.com/docs/reference/javascript/auth-signout,
// https://github.com/supabase/auth/blob/master/internal/api/logout.go
type Supabase struct{ *api }

// NewSupabase checks cfg. The error names the field that is missing or wrong.
func NewSupabase(cfg SupabaseConfig) (*Supabase, error) {
	a, err := newSupabase(cfg, "local")
	if err != nil {
		return nil, err
	}
	return &Supabase{a}, nil
}

// SupabaseRevokeAllSessionsOfUser ends all sessions of the user with the user's own access token, the one that the client showed:
// POST /auth/v1/logout?scope=global. What is said of [Supabase] holds for it.
func SupabaseRevokeAllSessionsOfUser(cfg SupabaseConfig) (*AllSessionsOfUser, error) {
	a, err := newSupabase(cfg, "global")
	if err != nil {
		return nil, err
	}
	return &AllSessionsOfUser{a, a.limit}, nil
}

func newSupabase(cfg SupabaseConfig, scope string) (*api, error) {
	if err := required("SupabaseConfig", [2]string{"APIKey", cfg.APIKey}); err != nil {
		return nil, err
	}
	a, err := newAPI("SupabaseConfig", cfg.BaseURL, nil, cfg.HTTP)
	if err != nil {
		return nil, err
	}
	a.calls = func(_ context.Context, token string, s *stmigrate.OldSession) ([]request, error) {
		if !visible(token) {
			return nil, permanent("what the client showed is no token")
		}
		if scope == "local" {
			id, err := sessionID(s, "session_id")
			if err != nil {
				return nil, err
			}
			if claimed := tokenSession(token); claimed != id {
				return nil, permanent("the token does not name the SessionID in its claim session_id, " +
					"and without one Supabase would end all sessions of the user")
			}
		}
		r := a.to(http.MethodPost, "/auth/v1/logout?scope="+scope)
		r.header.Set("Authorization", "Bearer "+token)
		r.header["apikey"] = []string{cfg.APIKey}
		return []request{r}, nil
	}
	a.done = []int{http.StatusNoContent}
	a.code = func(fields map[string]any) string {
		if name := code(fields, "error_code"); name != "" {
			return name
		}
		return code(fields, "code") // a number in older versions
	}
	a.over = func(status int, fields map[string]any) bool {
		return status == http.StatusForbidden && a.code(fields) == "session_not_found"
	}
	return a, nil
}

// tokenSession reads the claim session_id of a JWT that was verified before. It verifies nothing.
func tokenSession(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return ""
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	var claims map[string]any // not a struct, which would take Session_Id, too
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	id, _ := claims["session_id"].(string)
	return id
}
