package providers

import (
	"errors"
	"slices"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
)

// OktaConfig configures [Okta]. Domain and ClientIDs are required, and either AuthorizationServer and Audience or AllowIDTokens.
type OktaConfig struct {
	// Domain is the org's: "example.okta.com", or its custom domain if tokens are issued under that.
	Domain string
	// AuthorizationServer is the ID of the custom authorization server: "default", "aus…". "" is the org authorization server,
	// whose access tokens are for Okta alone: its ID tokens can be verified, with AllowIDTokens.
	AuthorizationServer string
	// Audience is the authorization server's: "api://default".
	Audience []string
	// ClientIDs are the applications whose users are migrated: every client of a server gets its audience.
	ClientIDs []string
	// AllowIDTokens is for applications that show their ID token: they are accepted, and access tokens are refused. Audience
	// must be empty then.
	AllowIDTokens bool
}

// Okta is the preset for Okta: access tokens of a custom authorization server, or ID tokens of any server.
//
// Refused: ID tokens for access tokens, and the other way round, machine tokens (no uid), tokens of other clients (cid) and
// servers, tokens with act. Access tokens of the org authorization server are Okta's own ("not intended for validation"): no
// configuration accepts them.
//
// The user is uid in access tokens and sub in ID tokens, the same ID ("00u…"); sub of an access token is the login, which can
// change. No claim is the session, so each token is exchanged once: a page that got a new token since is exchanged again, into a
// second session of the same user. Tokens are issued to one application each; applications share none.
//
// https://developer.okta.com/docs/guides/validate-access-tokens/, https://developer.okta.com/docs/guides/validate-id-tokens/,
// https://developer.okta.com/docs/concepts/auth-servers/#org-authorization-server
func Okta(cfg OktaConfig) (*Preset, error) {
	if err := firstError(needHost("OktaConfig.Domain", cfg.Domain),
		needSome("OktaConfig.ClientIDs", cfg.ClientIDs, "the applications whose users are migrated")); err != nil {
		return nil, err
	}
	issuer := "https://" + cfg.Domain
	endpoints := issuer + "/oauth2/v1"
	if cfg.AuthorizationServer != "" {
		if err := needID("OktaConfig.AuthorizationServer", cfg.AuthorizationServer); err != nil {
			return nil, err
		}
		issuer += "/oauth2/" + cfg.AuthorizationServer
		endpoints = issuer + "/v1"
	}
	p := &Preset{
		Keys: stmigrate.JWKSConfig{URL: endpoints + "/keys"},
		JWT:  stmigrate.JWTConfig{Issuer: issuer, Algorithms: []string{"RS256"}},
		Endpoints: Endpoints{
			Revocation: endpoints + "/revoke", Introspection: endpoints + "/introspect", UserInfo: endpoints + "/userinfo",
		},
		opaque: "of Okta's tokens only the refresh token is opaque, and it is no proof of a session",
	}
	if cfg.AllowIDTokens {
		if err := needNone("OktaConfig.Audience", cfg.Audience, "AllowIDTokens"); err != nil {
			return nil, err
		}
		p.JWT.Audience = slices.Clone(cfg.ClientIDs)
		p.JWT.Checks = append([]check{
			presented(cfg.ClientIDs),
			hasNot("scp", "it is an access token, and AllowIDTokens wants ID tokens"),
			hasNot("cid", "it is an access token, and AllowIDTokens wants ID tokens"),
		}, noActor(false)...)
		return p, nil
	}
	if cfg.AuthorizationServer == "" {
		return nil, errors.New("providers: OktaConfig.AuthorizationServer is required: access tokens of the org authorization server are " +
			"for Okta alone; name a custom one, or show ID tokens and set AllowIDTokens")
	}
	if err := needSome("OktaConfig.Audience", cfg.Audience, "the authorization server's (api://default)"); err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(cfg.Audience, func(aud string) bool { return slices.Contains(cfg.ClientIDs, aud) }); i >= 0 {
		return nil, errors.New("providers: OktaConfig.Audience has a client ID: that is the audience of ID tokens; see AllowIDTokens")
	}
	p.JWT.Audience, p.JWT.UserIDClaim = slices.Clone(cfg.Audience), "uid"
	p.JWT.Checks = slices.Concat([]check{ofClient(cfg.ClientIDs, "cid"), noMachine("cid")}, noIDToken(), noActor(false))
	return p, nil
}

// Revocation is for [revoke.OktaRevokeAllSessionsOfUser], which ends all of the user's sessions and tokens. Set Token. To revoke one
// token, use Preset.Endpoints.Revocation; [revoke.NewOkta] wants the ID of Okta's own session, which no token has.
func (cfg OktaConfig) Revocation() revoke.OktaConfig {
	return revoke.OktaConfig{BaseURL: "https://" + cfg.Domain}
}
