package providers

import (
	"slices"

	"github.com/stmigrate/stmigrate"
)

// LogtoConfig configures [Logto]. All fields but Algorithm are required.
type LogtoConfig struct {
	// Domain is the tenant's: "{tenant}.logto.app", or the custom domain.
	Domain string
	// Audience is this API's resource indicator, or "urn:logto:organization:{id}".
	Audience []string
	// ClientIDs are the applications whose users are migrated.
	ClientIDs []string
	// Algorithm is that of the tenant's signing key. Default: ES384.
	Algorithm string
}

// Logto is the preset for access tokens of Logto. Unproven: it follows the documentation and was held to no token of Logto's.
//
// Refused: ID tokens, machine tokens (sub is the application), tokens of other applications and for other resources. Without a
// resource, access tokens are opaque.
//
// The user is sub. No claim is the session: each token (jti) is exchanged once; tokens are issued to one application each. Logto
// revokes no access token that is a JWT, and older servers say 200 to it: show Endpoints.Revocation the refresh token. Its
// Management API ends sessions by an ID that is in no token.
//
// https://docs.logto.io/authorization/validate-access-tokens
func Logto(cfg LogtoConfig) (*Preset, error) {
	if err := firstError(needHost("LogtoConfig.Domain", cfg.Domain),
		needSome("LogtoConfig.Audience", cfg.Audience, "this API's resource indicator"),
		needSome("LogtoConfig.ClientIDs", cfg.ClientIDs, "the applications whose users are migrated")); err != nil {
		return nil, err
	}
	if cfg.Algorithm == "" {
		cfg.Algorithm = "ES384"
	}
	issuer := "https://" + cfg.Domain + "/oidc"
	return &Preset{
		Keys: stmigrate.JWKSConfig{URL: issuer + "/jwks"},
		JWT: stmigrate.JWTConfig{
			Issuer: issuer, Audience: slices.Clone(cfg.Audience), Algorithms: []string{cfg.Algorithm},
			Checks: slices.Concat([]check{ofClient(cfg.ClientIDs, "client_id"), noMachine("client_id")}, noIDToken(), noActor(false)),
		},
		Endpoints: Endpoints{
			Revocation: issuer + "/token/revocation", Introspection: issuer + "/token/introspection", UserInfo: issuer + "/me",
		},
		opaque: "Logto issues opaque access tokens to logins that ask for no resource: have the login ask for the API's",
	}, nil
}
