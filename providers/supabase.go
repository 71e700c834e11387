package providers

import (
	"fmt"
	"slices"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
)

// SupabaseConfig configures [Supabase]. Domain is required.
type SupabaseConfig struct {
	// Domain is the project's: "{ref}.supabase.co".
	Domain string
	// JWTSecret is the project's shared secret, while it signs with HS256. Default: keys that the project publishes, ES256 and
	// RS256; their set is empty while HS256 is in use.
	JWTSecret []byte
	// Roles are those that users have, where a hook gives out others. Default: "authenticated".
	Roles []string
	// AllowAnonymous accepts anonymous users (is_anonymous). Default: they are refused.
	AllowAnonymous bool
}

// Supabase is the preset for access tokens of Supabase Auth. Unproven: it follows the documentation and was held to no token of
// Supabase's.
//
// Refused: the project's API keys, which are JWTs of the roles anon and service_role, anonymous users, tokens without a session, and
// those of OAuth clients, which are third parties' and differ by client_id alone.
//
// The user is sub. The session is session_id: one for each sign-in, kept over refreshes. All applications of a project have the same
// audience: two that share the browser's storage share the session.
//
// https://supabase.com/docs/guides/auth/jwt-fields, https://supabase.com/docs/guides/auth/jwts,
// https://supabase.com/docs/guides/auth/oauth-server/token-security
func Supabase(cfg SupabaseConfig) (*Preset, error) {
	if err := needHost("SupabaseConfig.Domain", cfg.Domain); err != nil {
		return nil, err
	}
	if len(cfg.Roles) == 0 {
		cfg.Roles = []string{"authenticated"}
	}
	for _, role := range []string{"anon", "service_role", ""} {
		if slices.Contains(cfg.Roles, role) {
			return nil, fmt.Errorf("providers: SupabaseConfig.Roles has %q, which is no user's", role)
		}
	}
	issuer := "https://" + cfg.Domain + "/auth/v1"
	p := &Preset{
		Keys: stmigrate.JWKSConfig{URL: issuer + "/.well-known/jwks.json"},
		JWT: stmigrate.JWTConfig{
			Issuer: issuer, Audience: []string{"authenticated"}, Algorithms: []string{"ES256", "RS256"},
			SessionIDClaims: []string{"session_id"},
			Checks: append([]check{
				is("role", slices.Clone(cfg.Roles)...), has("session_id", "it belongs to no session"),
				hasNot("client_id", "it was issued to an OAuth client of the project, not to a page of its own"),
				func(s *stmigrate.OldSession) error {
					if anonymous, ok := s.Claims["is_anonymous"]; ok && anonymous != false && (anonymous != true || !cfg.AllowAnonymous) {
						return invalid("the user is anonymous (is_anonymous); see AllowAnonymous")
					}
					return nil
				},
			}, noActor(false)...),
		},
	}
	if cfg.JWTSecret != nil {
		p.JWT.Algorithms, p.StaticKeys = []string{"HS256"}, []stmigrate.Key{stmigrate.HMACKey(cfg.JWTSecret)}
	}
	return p, nil
}

// Revocation is for [revoke.NewSupabase], which ends the one session with the user's token. Set APIKey.
func (cfg SupabaseConfig) Revocation() revoke.SupabaseConfig {
	return revoke.SupabaseConfig{BaseURL: "https://" + cfg.Domain}
}
