package providers

import (
	"strings"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
)

// StytchConfig configures [Stytch]. ProjectID is required.
type StytchConfig struct {
	// ProjectID is the project's: "project-live-…". Those of "project-test-…" are at test.stytch.com.
	ProjectID string
	// B2B says that it is a B2B project, whose users are members of organizations.
	B2B bool
}

// Stytch is the preset for session JWTs of Stytch. Unproven: it follows the documentation and was held to no token of Stytch's.
//
// Refused: tokens without the session claim: of Connected Apps (client_id) and machines. Opaque session tokens are Stytch's to
// answer for.
//
// The user is sub; in B2B projects the member. The issuer has no scheme: "stytch.com/{project}". The session is the id in the claim
// https://stytch.com/session: one for each sign-in, shared by the applications of the project on a domain. JWTs live for 5 minutes.
//
// https://stytch.com/docs/api-reference/consumer/api/sessions/authenticate-jwt,
// https://stytch.com/docs/b2b/api/connected-app-access-token
func Stytch(cfg StytchConfig) (*Preset, error) {
	if err := needID("StytchConfig.ProjectID", cfg.ProjectID); err != nil {
		return nil, err
	}
	path := "/v1/sessions/jwks/"
	if cfg.B2B {
		path = "/v1/b2b/sessions/jwks/"
	}
	return &Preset{
		Keys: stmigrate.JWKSConfig{URL: cfg.base() + path + cfg.ProjectID},
		JWT: stmigrate.JWTConfig{
			Issuer: "stytch.com/" + cfg.ProjectID, Audience: []string{cfg.ProjectID}, Algorithms: []string{"RS256"},
			Checks: append([]check{hasNot("client_id", "it is a Connected App's"), stytchSession}, noActor(false)...),
		},
		opaque: "Stytch's session tokens are opaque: have the client show its session JWT",
	}, nil
}

func (cfg StytchConfig) base() string {
	if strings.HasPrefix(cfg.ProjectID, "project-test-") {
		return "https://test.stytch.com"
	}
	return "https://api.stytch.com"
}

func stytchSession(s *stmigrate.OldSession) error {
	session, _ := s.Claims["https://stytch.com/session"].(map[string]any)
	id, _ := session["id"].(string)
	if !name(id) {
		return invalid("the token is no session's (https://stytch.com/session)")
	}
	s.SessionID = id
	return nil
}

// Revocation is for [revoke.NewStytch], which ends the one session. Set Secret.
func (cfg StytchConfig) Revocation() revoke.StytchConfig {
	return revoke.StytchConfig{ProjectID: cfg.ProjectID, B2B: cfg.B2B, BaseURL: cfg.base()}
}
