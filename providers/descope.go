package providers

import (
	"slices"
	"strings"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
)

// DescopeConfig configures [Descope]. ProjectID is required.
type DescopeConfig struct {
	// ProjectID is the project's: "P2…".
	ProjectID string
	// Domain is the project's custom domain, or a region's API. Default: "api.descope.com".
	Domain string
}

// Descope is the preset for session tokens of Descope. Unproven: it follows the documentation and the Go SDK and was held to no token
// of Descope's.
//
// Refused: refresh tokens, which are JWTs with the same keys (drn is "DSR"), tokens of access keys (sub begins with K), tokens of
// other projects, tokens of inbound applications, which are third parties' (client_id, azp, scope, or an aud without the project).
// Session tokens need no audience: the issuer is the project.
//
// The user is dsub where there is one, else sub. The issuer is the project's ID, or an address that ends with it. No claim is the
// session: each token is exchanged once. All applications of a project share its sessions. What ends one session at Descope is its
// refresh token; by the user's ID all sessions of the user end.
//
// https://docs.descope.com/session-overview, https://docs.descope.com/identity-federation/inbound-apps/authorization-server,
// https://github.com/descope/go-sdk/blob/main/descope/types.go
func Descope(cfg DescopeConfig) (*Preset, error) {
	cfg.Domain = cfg.domain()
	if err := firstError(needID("DescopeConfig.ProjectID", cfg.ProjectID), needHost("DescopeConfig.Domain", cfg.Domain)); err != nil {
		return nil, err
	}
	const inbound = "it was issued to an inbound application"
	base := "https://" + cfg.Domain
	return &Preset{
		Keys: stmigrate.JWKSConfig{URL: base + "/v2/keys/" + cfg.ProjectID},
		JWT: stmigrate.JWTConfig{
			Issuer: cfg.ProjectID, SkipAudienceCheck: true, Algorithms: []string{"RS256"},
			Checks: append([]check{
				is("drn", "DS"), hasNot("client_id", inbound), hasNot("azp", inbound), hasNot("scope", inbound), cfg.audience, descopeUser,
			}, noActor(false)...),
		},
		OtherIssuers: []string{base + "/" + cfg.ProjectID, base + "/v1/apps/" + cfg.ProjectID},
	}, nil
}

func (cfg DescopeConfig) domain() string {
	if cfg.Domain == "" {
		return "api.descope.com"
	}
	return cfg.Domain
}

// Revocation is for [revoke.NewDescope], which ends the one session, by its refresh token. Set Token, which finds that one. To end
// all sessions of the user by the user's ID, use [revoke.DescopeRevokeAllSessionsOfUser].
func (cfg DescopeConfig) Revocation() revoke.DescopeConfig {
	return revoke.DescopeConfig{ProjectID: cfg.ProjectID, BaseURL: "https://" + cfg.domain()}
}

// audience refuses tokens that say for whom they are and leave the project out.
func (cfg DescopeConfig) audience(s *stmigrate.OldSession) error {
	aud, ok := s.Claims["aud"]
	if !ok || slices.Contains(audiences(aud), cfg.ProjectID) {
		return nil
	}
	return invalid("the token is for an application (aud), not for the project")
}

func descopeUser(s *stmigrate.OldSession) error {
	if strings.HasPrefix(s.Subject, "K") {
		return invalid("the token is an access key's (sub)")
	}
	value, ok := s.Claims["dsub"]
	if !ok {
		return nil
	}
	id, _ := value.(string)
	if !name(id) || strings.HasPrefix(id, "K") {
		return invalid("dsub names no user")
	}
	s.Subject = id
	return nil
}
