package providers

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
)

// EntraConfig configures [Entra]. TenantIDs, Audience and ClientIDs are required.
type EntraConfig struct {
	// TenantIDs are the tenants whose users are migrated, as GUIDs in lower case. Whatever else the application's registration
	// lets in is refused. Personal accounts are 9188040d-6c67-4c5b-b112-36a304b66dad.
	TenantIDs []string
	// Audience is this API: its client ID, or with V1 its application ID URI ("api://…"), too.
	Audience []string
	// ClientIDs are the applications whose users are migrated (azp, with V1 appid).
	ClientIDs []string
	// V1 says that the API's manifest asks for version 1 of the tokens (requestedAccessTokenVersion null or 1).
	V1 bool
}

// Entra is the preset for access tokens of Microsoft Entra ID (Azure AD). Unproven: it follows the documentation and was held to no
// token of Microsoft's.
//
// Refused: ID tokens (no scp), tokens of applications without a user (idtyp, no scp), tokens of other tenants, clients and APIs.
// Tokens for Microsoft Graph are for it alone. External ID and B2C have other issuers: see [Discover].
//
// The user is "{tid}.{oid}": sub is another one for each application, and oid alone is not unique over tenants. Sessions of all
// TenantIDs have the first one's issuer; the claim iss has each one's own. The session is sid where the optional claim is configured:
// the browser's, shared by its applications; else each token (uti) is exchanged once. Microsoft has no endpoint that ends one
// session: end all of the user's, or leave it to expire. With several TenantIDs the keys are those of all tenants, and that Microsoft
// limits a key to an issuer is not checked.
//
// https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference,
// https://learn.microsoft.com/entra/identity-platform/claims-validation
func Entra(cfg EntraConfig) (*Preset, error) {
	if err := firstError(
		needSome("EntraConfig.TenantIDs", cfg.TenantIDs, "the tenants whose users are migrated"),
		needSome("EntraConfig.Audience", cfg.Audience, "this API's client ID"),
		needSome("EntraConfig.ClientIDs", cfg.ClientIDs, "the applications whose users are migrated")); err != nil {
		return nil, err
	}
	for i, id := range cfg.TenantIDs {
		if !guid.MatchString(id) {
			return nil, fmt.Errorf("providers: EntraConfig.TenantIDs[%d] is %q: a GUID in lower case wanted, not a name, not \"common\"", i, id)
		}
	}
	issuer, client, keys := "https://login.microsoftonline.com/%s/v2.0", "azp", "https://login.microsoftonline.com/%s/discovery/v2.0/keys"
	version := "2.0"
	if cfg.V1 {
		issuer, client, keys, version = "https://sts.windows.net/%s/", "appid", "https://login.microsoftonline.com/%s/discovery/keys", "1.0"
	}
	tenant := cfg.TenantIDs[0]
	if len(cfg.TenantIDs) > 1 {
		tenant = "common"
	}
	p := &Preset{
		Keys: stmigrate.JWKSConfig{URL: fmt.Sprintf(keys, tenant)},
		JWT: stmigrate.JWTConfig{
			Issuer: fmt.Sprintf(issuer, cfg.TenantIDs[0]), Audience: slices.Clone(cfg.Audience), Algorithms: []string{"RS256"},
			UserIDClaim: "oid",
			Checks: slices.Concat([]check{
				is("ver", version), ofClient(cfg.ClientIDs, client),
				has("scp", "no user gave it to an application: an ID token, or an application's own"),
				func(s *stmigrate.OldSession) error {
					if v, ok := s.Claims["idtyp"]; ok && v != "user" {
						return invalid("the token is an application's own (idtyp)")
					}
					return nil
				},
			}, noIDToken(), noActor(false), []check{func(s *stmigrate.OldSession) error { return entraUser(s, issuer) }}),
		},
	}
	for _, id := range cfg.TenantIDs[1:] {
		p.OtherIssuers = append(p.OtherIssuers, fmt.Sprintf(issuer, id))
	}
	return p, nil
}

var guid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// entraUser takes user and token from where Entra has them.
func entraUser(s *stmigrate.OldSession, issuer string) error {
	tid := text(s, "tid")
	if !guid.MatchString(tid) || fmt.Sprintf(issuer, tid) != s.Issuer {
		return invalid("the tenant (tid) is not the issuer's")
	}
	s.Subject = tid + "." + s.Subject
	if id := text(s, "uti"); s.TokenID == "" && name(id) {
		s.TokenID = id
	}
	return nil
}

// Revocation is for [revoke.EntraRevokeAllSessionsOfUser]: Entra ends all sessions of a user or none. Set Token. With several
// TenantIDs it is for one tenant alone, and names none: set TenantID, too, in one for each.
func (cfg EntraConfig) Revocation() revoke.EntraConfig {
	if len(cfg.TenantIDs) != 1 {
		return revoke.EntraConfig{}
	}
	return revoke.EntraConfig{TenantID: cfg.TenantIDs[0]}
}
