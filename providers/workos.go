package providers

import (
	"strings"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
)

// WorkOSConfig configures [WorkOS]. ClientID is required.
type WorkOSConfig struct {
	// ClientID is the environment's: "client_…". Its keys are its own, which is what ties tokens to it.
	ClientID string
	// Issuer is the tokens' iss where a custom authentication domain changes it. Default: "https://api.workos.com", or that with
	// "/user_management/{ClientID}" behind it, as environments made since 2025 have it: sessions have the first one's Issuer.
	Issuer string
	// AllowImpersonation accepts sessions in which an administrator acts for the user (act). Default: they are refused.
	AllowImpersonation bool
}

// WorkOS is the preset for access tokens of WorkOS AuthKit. Unproven: it follows the documentation and was held to no token of
// WorkOS'.
//
// Refused: impersonated sessions, tokens without a session (machine tokens), tokens of other environments: access tokens have no
// audience, and the keys are the client's own.
//
// The user is sub ("user_…"). The session is sid ("session_…"): one for each sign-in, shared by what uses the environment.
//
// https://workos.com/docs/reference/authkit/session-tokens, https://github.com/workos/workos-node/pull/1694 (the issuers)
func WorkOS(cfg WorkOSConfig) (*Preset, error) {
	if err := needID("WorkOSConfig.ClientID", cfg.ClientID); err != nil {
		return nil, err
	}
	var others []string
	if cfg.Issuer == "" {
		cfg.Issuer = "https://api.workos.com"
		others = []string{cfg.Issuer + "/user_management/" + cfg.ClientID}
	}
	return &Preset{
		Keys: stmigrate.JWKSConfig{URL: "https://api.workos.com/sso/jwks/" + cfg.ClientID},
		JWT: stmigrate.JWTConfig{
			Issuer: cfg.Issuer, SkipAudienceCheck: true, Algorithms: []string{"RS256"},
			Checks: append([]check{
				has("sid", "it belongs to no session"),
				func(s *stmigrate.OldSession) error {
					if !strings.HasPrefix(s.Subject, "user_") {
						return invalid("the token is no user's (sub)")
					}
					if id, ok := s.Claims["client_id"]; ok && id != cfg.ClientID {
						return invalid("the token was issued to another client (client_id)")
					}
					return nil
				},
			}, noActor(cfg.AllowImpersonation)...),
		},
		OtherIssuers: others,
	}, nil
}

// Revocation is for [revoke.NewWorkOS], which ends the one session. Set Token.
func (cfg WorkOSConfig) Revocation() revoke.WorkOSConfig { return revoke.WorkOSConfig{} }
