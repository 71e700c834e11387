package providers

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
)

// KeycloakConfig configures [Keycloak]. BaseURL, Realm and ClientIDs are required.
type KeycloakConfig struct {
	// BaseURL is the server as the users' browsers see it, since the tokens' issuer is under it: "https://sso.example.com"; with
	// "/auth" behind it before Keycloak 17. https, or http to this machine.
	BaseURL string
	Realm   string
	// ClientIDs are the clients whose users are migrated: access tokens are good for every application of the realm, and azp
	// alone tells whose they are.
	ClientIDs []string
	// Audience is what an audience mapper puts into aud. Default: aud is not checked, since it has "account" alone, or is not
	// there, without a mapper.
	Audience []string
	// Algorithm is the realm's signature algorithm. Default: RS256.
	Algorithm string
	// AllowImpersonation accepts tokens of somebody who acts for the user (act, or impersonator by a mapper). Default: they are
	// refused. An administrator's impersonation shows in a token only where such a mapper is.
	AllowImpersonation bool
	// Offline says that the clients use offline sessions (scope offline_access), for Revocation.
	Offline bool
}

// Keycloak is the preset for a realm of Keycloak: access tokens, which have typ "Bearer" in the payload.
//
// Refused: ID, refresh, offline and logout tokens, whose typ is another, machine tokens (a service account's name, client_id,
// clientId, no sid), tokens of other clients and realms, tokens with act or impersonator. Lightweight access tokens, which may lack
// sub and sid, are refused too: give the client the scope basic, or ask the introspection endpoint.
//
// The user is sub. The session is sid, Keycloak's single sign-on session: all applications that the user opened in it share it. So
// the first of them to be exchanged is the only one, and revoking it ends the others at Keycloak.
//
// https://www.keycloak.org/docs/latest/server_admin/#_service_accounts,
// https://www.keycloak.org/docs/latest/server_admin/#audience-support,
// https://www.keycloak.org/securing-apps/oidc-layers
func Keycloak(cfg KeycloakConfig) (*Preset, error) {
	base, err := keycloakBase(cfg.BaseURL)
	if err != nil {
		return nil, err
	}
	if strings.Trim(cfg.Realm, ".") == "" || url.PathEscape(cfg.Realm) != cfg.Realm {
		return nil, fmt.Errorf("providers: KeycloakConfig.Realm is %q: the realm's name wanted, as it stands in addresses", cfg.Realm)
	}
	if err := needSome("KeycloakConfig.ClientIDs", cfg.ClientIDs, "the clients whose users are migrated"); err != nil {
		return nil, err
	}
	issuer := base + "/realms/" + cfg.Realm
	connect := issuer + "/protocol/openid-connect"
	p := &Preset{
		Keys: stmigrate.JWKSConfig{URL: connect + "/certs"},
		JWT: stmigrate.JWTConfig{
			Issuer: issuer, Audience: slices.Clone(cfg.Audience), SkipAudienceCheck: len(cfg.Audience) == 0, Algorithms: []string{"RS256"},
			Checks: append([]check{
				is("typ", "Bearer"), ofClient(cfg.ClientIDs, "azp"), keycloakMachine, noMachine("azp"),
				has("sid", "it belongs to no session: a machine's token, or a lightweight one"),
			}, noActor(cfg.AllowImpersonation)...),
		},
		Endpoints: Endpoints{
			Revocation: connect + "/revoke", Introspection: connect + "/token/introspect", UserInfo: connect + "/userinfo",
		},
	}
	if !cfg.AllowImpersonation {
		p.JWT.Checks = append(p.JWT.Checks, hasNot("impersonator", "an administrator impersonates the user; see AllowImpersonation"))
	}
	if cfg.Algorithm != "" {
		p.JWT.Algorithms = []string{cfg.Algorithm}
	}
	return p, nil
}

// keycloakBase checks the server's address and takes a slash from its end.
func keycloakBase(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(text, "?#") || u.Scheme != "https" && u.Scheme != "http" {
		return "", errors.New("providers: KeycloakConfig.BaseURL: scheme, host and path alone wanted (https://sso.example.com)")
	}
	return strings.TrimRight(text, "/"), nil
}

func keycloakMachine(s *stmigrate.OldSession) error {
	_, id := s.Claims["client_id"]
	_, old := s.Claims["clientId"]
	if id || old || strings.HasPrefix(text(s, "preferred_username"), "service-account-") {
		return invalid("the token is a machine's: of a service account (client_id, clientId or its name)")
	}
	return nil
}

// Revocation is for [revoke.NewKeycloak], which ends the session for all applications. Set Token.
func (cfg KeycloakConfig) Revocation() revoke.KeycloakConfig {
	return revoke.KeycloakConfig{BaseURL: strings.TrimRight(cfg.BaseURL, "/"), Realm: cfg.Realm, Offline: cfg.Offline}
}
