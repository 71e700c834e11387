package providers

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
)

// ClerkConfig configures [Clerk]. FrontendAPI and Origins are required.
type ClerkConfig struct {
	// FrontendAPI is the host of the instance's Frontend API: "clerk.example.com"; of development "….clerk.accounts.dev".
	FrontendAPI string
	// Origins are the websites whose sessions are migrated (azp): "https://app.example.com".
	Origins []string
	// AllowNoOrigin accepts tokens without azp, as mobile apps get them. Default: they are refused.
	AllowNoOrigin bool
	// AllowImpersonation accepts sessions in which somebody acts for the user (act). Default: they are refused.
	AllowImpersonation bool
}

// Clerk is the preset for session tokens of Clerk, of versions 1 and 2. Unproven: it follows the documentation and was held to no
// token of Clerk's.
//
// Refused: sessions that are pending (sts), tokens for other origins, impersonated sessions, machine and OAuth tokens and
// those of JWT templates (no sid). Session tokens have no audience: the origin (azp) is what ties them to this application.
//
// The user is sub ("user_…"). The session is sid ("sess_…"): one for each browser or device, shared by the applications of the
// instance that have the same sign-in there. Tokens live for a minute: exchange at the page's load.
//
// https://clerk.com/docs/guides/sessions/session-tokens, https://clerk.com/docs/guides/sessions/manual-jwt-verification
func Clerk(cfg ClerkConfig) (*Preset, error) {
	if err := firstError(needHost("ClerkConfig.FrontendAPI", cfg.FrontendAPI),
		needSome("ClerkConfig.Origins", cfg.Origins, "the websites whose sessions are migrated")); err != nil {
		return nil, err
	}
	for i, origin := range cfg.Origins {
		if scheme, host, ok := strings.Cut(origin, "://"); !ok || scheme == "" || host == "" || strings.ContainsAny(host, "/?#@*") {
			return nil, fmt.Errorf("providers: ClerkConfig.Origins[%d] is %q: an origin wanted (https://app.example.com)", i, origin)
		}
	}
	issuer := "https://" + cfg.FrontendAPI
	origins := slices.Clone(cfg.Origins)
	return &Preset{
		Keys: stmigrate.JWKSConfig{URL: issuer + "/.well-known/jwks.json"},
		JWT: stmigrate.JWTConfig{
			Issuer: issuer, SkipAudienceCheck: true, Algorithms: []string{"RS256"},
			Checks: append([]check{
				has("sid", "it is no session's"),
				func(s *stmigrate.OldSession) error {
					azp, ok := s.Claims["azp"]
					if !ok && cfg.AllowNoOrigin {
						return nil
					}
					if origin, _ := azp.(string); !slices.Contains(origins, origin) {
						return invalid("the token is for another origin (azp) than those in Origins, or for none")
					}
					return nil
				},
				func(s *stmigrate.OldSession) error {
					if sts, ok := s.Claims["sts"]; ok && sts != "active" {
						return invalid("the session is not active yet (sts)")
					}
					if !strings.HasPrefix(s.Subject, "user_") {
						return invalid("the token is no user's (sub)")
					}
					return nil
				},
			}, noActor(cfg.AllowImpersonation)...),
		},
	}, nil
}

// Revocation is for [revoke.NewClerk], which ends the one session. Set Token.
func (cfg ClerkConfig) Revocation() revoke.ClerkConfig { return revoke.ClerkConfig{} }
