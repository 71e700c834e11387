package providers

import (
	"slices"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
)

// ZitadelConfig configures [Zitadel]. All fields are required.
type ZitadelConfig struct {
	// Domain is the instance's: "example.zitadel.cloud", or the custom domain.
	Domain string
	// Audience is the ID of the project that this API belongs to.
	Audience []string
	// ClientIDs are the applications whose users are migrated: every application of the project is in aud.
	ClientIDs []string
}

// Zitadel is the preset for access tokens of ZITADEL, of applications whose setting is JWT. Unproven: it follows the documentation
// and was held to no token of ZITADEL's.
//
// Refused: ID tokens, which have the same audience (auth_time, amr, at_hash, no jti), tokens of other applications, tokens with act.
// Not told apart: service users, whose tokens look like people's. If there are any that may use one of ClientIDs, append a check.
//
// The user is sub. No claim is the session: each token (jti) is exchanged once; tokens are issued to one application each. ZITADEL
// ends a session by an ID that access tokens do not have, or revokes tokens, which others that verify JWTs do not hear of.
//
// https://zitadel.com/docs/apis/openidoauth/claims, https://zitadel.com/docs/apis/openidoauth/endpoints
func Zitadel(cfg ZitadelConfig) (*Preset, error) {
	if err := firstError(needHost("ZitadelConfig.Domain", cfg.Domain),
		needSome("ZitadelConfig.Audience", cfg.Audience, "the project's ID"),
		needSome("ZitadelConfig.ClientIDs", cfg.ClientIDs, "the applications whose users are migrated")); err != nil {
		return nil, err
	}
	const why = "it is an ID token, and an access token is wanted"
	issuer := "https://" + cfg.Domain
	return &Preset{
		Keys: stmigrate.JWKSConfig{URL: issuer + "/oauth/v2/keys"},
		JWT: stmigrate.JWTConfig{
			Issuer: issuer, Audience: slices.Clone(cfg.Audience), Algorithms: []string{"RS256"},
			Checks: slices.Concat([]check{
				has("jti", why), hasNot("auth_time", why), hasNot("amr", why), ofClient(cfg.ClientIDs, "azp", "client_id"),
				noMachine("azp", "client_id"),
			}, noIDToken(), noActor(false)),
		},
		Endpoints: Endpoints{
			Revocation: issuer + "/oauth/v2/revoke", Introspection: issuer + "/oauth/v2/introspect", UserInfo: issuer + "/oidc/v1/userinfo",
		},
		opaque: "ZITADEL issues opaque access tokens to applications whose setting is Bearer: set it to JWT",
	}, nil
}

// Revocation is for [revoke.NewZitadel], which ends the one session. Set Token. Its ID is in the ID token alone (sid): who does not
// keep it revokes the refresh token by Preset.Endpoints.Revocation, which ends its access token, too.
func (cfg ZitadelConfig) Revocation() revoke.ZitadelConfig {
	return revoke.ZitadelConfig{BaseURL: "https://" + cfg.Domain}
}
