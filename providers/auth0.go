package providers

import (
	"fmt"
	"slices"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
)

// Auth0Config configures [Auth0]. Domain, Audience and ClientIDs are required.
type Auth0Config struct {
	// Domain is what the logins go to: "example.eu.auth0.com", or the custom domain, which changes the tokens' issuer. Where
	// both are in use, append "https://{the other}/" to Preset.OtherIssuers.
	Domain string
	// Audience is the identifier of this API, as the applications ask for it. Tokens for others are refused.
	Audience []string
	// ClientIDs are the applications whose users are migrated. Required unless SkipClientCheck.
	ClientIDs []string
	// SkipClientCheck accepts the tokens of every application that may ask for the API. It MUST NOT be set where third
	// parties' applications may.
	SkipClientCheck bool
	// SessionIDClaim is the claim in which an Action puts the session's ID: "https://example.com/sid". Default: none; ID tokens
	// have sid by themselves.
	SessionIDClaim string
	// AllowIDTokens is for applications that ask for no audience and so have no access token that anybody can verify: they
	// show their ID token, and access tokens are refused. Audience must be empty then.
	AllowIDTokens bool
	// AllowImpersonation accepts tokens of somebody who acts for the user (act). Default: they are refused.
	AllowImpersonation bool
	// SigningSecret is for APIs that sign with HS256. Default: RS256, by the tenant's keys; for PS256 set Preset.JWT.Algorithms.
	SigningSecret []byte
	// TenantDomain is the tenant's own domain where Domain is a custom one: the Management API is there. Default: Domain.
	TenantDomain string
}

// Auth0 is the preset for Auth0: access tokens of both profiles, Auth0's own (azp) and RFC 9068 (at+jwt, client_id).
//
// Refused: ID tokens (unless AllowIDTokens), machine tokens (sub ends with @clients, gty), tokens of other applications and for
// other APIs, tokens with act. An opaque token (no audience was asked for) and an encrypted one (JWE) are
// [stmigrate.ErrNotMine], with a text that says so.
//
// The user is sub ("auth0|…", "google-oauth2|…"). Access tokens name no session: with the default profile each token is exchanged
// once, so a page that got a new token since is exchanged again, into a second session of the same user. Set SessionIDClaim and have
// an Action add it. The session is Auth0's: all applications that the user opened with it share it, and the first of them to be
// exchanged is the only one.
//
// https://auth0.com/docs/secure/tokens/access-tokens/access-token-profiles,
// https://auth0.com/docs/secure/tokens/access-tokens/validate-access-tokens,
// https://auth0.com/docs/secure/tokens/id-tokens/validate-id-tokens
func Auth0(cfg Auth0Config) (*Preset, error) {
	if err := firstError(needHost("Auth0Config.Domain", cfg.Domain), cfg.validate()); err != nil {
		return nil, err
	}
	base := "https://" + cfg.Domain
	p := &Preset{
		Keys: stmigrate.JWKSConfig{URL: base + "/.well-known/jwks.json"},
		JWT: stmigrate.JWTConfig{
			Issuer: base + "/", Audience: slices.Clone(cfg.Audience), Algorithms: []string{"RS256"},
			Checks: append([]check{auth0Machine, noMachine("azp", "client_id")}, noActor(cfg.AllowImpersonation)...),
		},
		Endpoints: Endpoints{Revocation: base + "/oauth/revoke", UserInfo: base + "/userinfo"},
		opaque: "Auth0 issues opaque access tokens to logins that ask for no audience: have the login ask for the one in " +
			"Auth0Config.Audience, or show ID tokens and set AllowIDTokens",
		encrypted: "Auth0 encrypts the access tokens of an API whose settings say so (JSON Web Encryption): switch that off, " +
			"since only the holder of the API's private key can read them",
	}
	if cfg.SessionIDClaim != "" {
		p.JWT.SessionIDClaims = []string{cfg.SessionIDClaim}
	}
	if cfg.SigningSecret != nil {
		p.JWT.Algorithms, p.StaticKeys = []string{"HS256"}, []stmigrate.Key{stmigrate.HMACKey(cfg.SigningSecret)}
	}
	if cfg.AllowIDTokens {
		p.JWT.Audience = slices.Clone(cfg.ClientIDs)
		p.JWT.Checks = append(p.JWT.Checks, presented(cfg.ClientIDs),
			hasNot("scope", "it is an access token, and AllowIDTokens wants ID tokens"), hasNot("events", "it is a logout token"))
		p.opaque = "AllowIDTokens wants ID tokens, and this is an opaque access token"
		return p, nil
	}
	p.JWT.Checks = append(p.JWT.Checks, noIDToken()...)
	if !cfg.SkipClientCheck {
		p.JWT.Checks = append(p.JWT.Checks, ofClient(cfg.ClientIDs, "azp", "client_id"))
	}
	return p, nil
}

func (cfg Auth0Config) validate() error {
	if cfg.SkipClientCheck {
		if err := needNone("Auth0Config.ClientIDs", cfg.ClientIDs, "SkipClientCheck"); err != nil {
			return err
		}
		if cfg.AllowIDTokens {
			return fmt.Errorf("providers: Auth0Config.SkipClientCheck contradicts AllowIDTokens: ID tokens are for one application")
		}
	} else if err := needSome("Auth0Config.ClientIDs", cfg.ClientIDs, "the applications whose users are migrated"); err != nil {
		return err
	}
	if cfg.AllowIDTokens {
		return needNone("Auth0Config.Audience", cfg.Audience, "AllowIDTokens")
	}
	if err := needSome("Auth0Config.Audience", cfg.Audience, "the identifier of this API"); err != nil {
		return err
	}
	for _, aud := range cfg.Audience {
		switch {
		case slices.Contains(cfg.ClientIDs, aud):
			return fmt.Errorf("providers: Auth0Config.Audience has the client ID %q: that is the audience of ID tokens; see AllowIDTokens", aud)
		case slices.Contains([]string{"https://" + cfg.Domain + "/userinfo", "https://" + cfg.Domain + "/api/v2/",
			"https://" + cfg.TenantDomain + "/api/v2/"}, aud):
			return fmt.Errorf("providers: Auth0Config.Audience has %q: tokens for Auth0 itself are not for this API", aud)
		}
	}
	return nil
}

func auth0Machine(s *stmigrate.OldSession) error {
	const suffix = "@clients"
	if len(s.Subject) >= len(suffix) && s.Subject[len(s.Subject)-len(suffix):] == suffix || text(s, "gty") == "client-credentials" {
		return invalid("the token is a machine's (sub ends with %s, or gty is client-credentials)", suffix)
	}
	return nil
}

// Revocation is for [revoke.NewAuth0], which ends one session at Auth0 and wants the Enterprise plan and SessionIDClaim. Set Token.
// With the other plans revoke refresh tokens at Preset.Endpoints.Revocation.
func (cfg Auth0Config) Revocation() revoke.Auth0Config {
	if cfg.TenantDomain != "" {
		cfg.Domain = cfg.TenantDomain
	}
	return revoke.Auth0Config{BaseURL: "https://" + cfg.Domain}
}
