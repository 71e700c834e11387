package providers

import (
	"errors"
	"slices"
	"strings"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
)

// GoogleConfig configures [Google]. ClientIDs is required.
type GoogleConfig struct {
	// ClientIDs are your OAuth clients: the audiences of ID tokens.
	ClientIDs []string
	// Presenters are further clients of yours that get ID tokens for one of ClientIDs, such as an Android app for its backend's
	// client (azp). Default: none.
	Presenters []string
	// HostedDomains are the Workspace domains whose users are migrated (hd). Default: all users, with a consumer account too.
	HostedDomains []string
}

// Google is the preset for ID tokens of Google. Unproven: it follows the documentation and was held to no token of Google's.
//
// Refused: access tokens, which are opaque, ID tokens for other clients, and those of service accounts: any of them can get one for
// any audience, so azp, where there is one, must be a client of yours, and the e-mail address no service account's.
//
// The user is sub, never the e-mail address. Google writes iss with https:// and without, for the same users. No claim is the
// session: each token is exchanged once, and applications share none. An ID token cannot be revoked, and Google's revocation takes
// the app's whole grant away: leave ID tokens to expire, unless the app holds a token of the user's that must go, too.
//
// https://developers.google.com/identity/openid-connect/openid-connect#validatinganidtoken
func Google(cfg GoogleConfig) (*Preset, error) {
	if err := needSome("GoogleConfig.ClientIDs", cfg.ClientIDs, "your OAuth clients"); err != nil {
		return nil, err
	}
	if slices.Contains(cfg.Presenters, "") {
		return nil, errors.New("providers: GoogleConfig.Presenters has a blank one")
	}
	p := &Preset{
		Keys: stmigrate.JWKSConfig{URL: "https://www.googleapis.com/oauth2/v3/certs"},
		JWT: stmigrate.JWTConfig{
			Issuer: "https://accounts.google.com", Audience: slices.Clone(cfg.ClientIDs), Algorithms: []string{"RS256"},
			Checks: append([]check{
				presented(slices.Concat(cfg.ClientIDs, cfg.Presenters)),
				func(s *stmigrate.OldSession) error {
					if strings.HasSuffix(strings.ToLower(text(s, "email")), "gserviceaccount.com") {
						return invalid("the token is a service account's")
					}
					return nil
				},
			}, noActor(false)...),
		},
		OtherIssuers: []string{"accounts.google.com"},
		Endpoints:    Endpoints{Revocation: googleRevocation},
		opaque:       "Google's access tokens are opaque: have the client show its ID token",
	}
	if len(cfg.HostedDomains) > 0 {
		p.JWT.Checks = append(p.JWT.Checks, is("hd", slices.Clone(cfg.HostedDomains)...))
	}
	return p, nil
}

const googleRevocation = "https://oauth2.googleapis.com/revoke"

// Revocation is for [revoke.NewRFC7009], which revokes an access or refresh token of the user's, and with it all that the user
// granted to the Cloud project: on every device, and for as long as the user does not consent again. Set Token, which finds that
// token: Google takes no ID token there, and answers an access token that has expired as one that is revoked, though the grant goes
// on. Google asks for no client, and ClientIDs[0] is sent as one.
//
// https://developers.google.com/identity/protocols/oauth2/web-server#tokenrevoke
func (cfg GoogleConfig) Revocation() revoke.RFC7009Config {
	c := revoke.RFC7009Config{Endpoint: googleRevocation, InvalidTokenIsOver: true}
	if len(cfg.ClientIDs) > 0 {
		c.Client = revoke.ClientAuth{Method: revoke.PublicClient, ID: cfg.ClientIDs[0]}
	}
	return c
}
