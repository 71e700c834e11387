package providers

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
)

// CognitoConfig configures [Cognito]. UserPoolID and ClientIDs are required.
type CognitoConfig struct {
	// UserPoolID is the pool's: "eu-west-1_a1B2c3D4e". Its region stands before the underscore.
	UserPoolID string
	// ClientIDs are the app clients whose users are migrated.
	ClientIDs []string
	// AllowIDTokens is for applications that show their ID token to APIs: they are accepted, and access tokens are refused.
	AllowIDTokens bool
}

// Cognito is the preset for a user pool of Amazon Cognito. Its access tokens have no audience: token_use and client_id say what
// they are and for whom.
//
// Refused: ID tokens (unless AllowIDTokens), machine tokens (no username, or sub is the client), tokens of other clients of the pool.
// Of a token that is bound to a resource (aud), aud is not checked: append a check for it to Preset.JWT.Checks.
//
// The user is sub, not username, which can be an alias and change. The session is origin_jti, where the client has token revocation
// enabled: one for each sign-in at a client, kept over refreshes. Managed login's cookie signs a user in to other clients without a
// password, and each has tokens of its own: two applications share none. Without origin_jti each token is exchanged once, for
// itself. Two pools are two issuers.
//
// https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-tokens-verifying-a-jwt.html,
// https://docs.aws.amazon.com/cognito/latest/developerguide/amazon-cognito-user-pools-using-the-access-token.html,
// https://docs.aws.amazon.com/cognito/latest/developerguide/token-revocation.html
func Cognito(cfg CognitoConfig) (*Preset, error) {
	if !cognitoPool.MatchString(cfg.UserPoolID) {
		return nil, fmt.Errorf("providers: CognitoConfig.UserPoolID is %q: a pool's ID wanted (eu-west-1_a1B2c3D4e)", cfg.UserPoolID)
	}
	if err := needSome("CognitoConfig.ClientIDs", cfg.ClientIDs, "the app clients whose users are migrated"); err != nil {
		return nil, err
	}
	issuer := "https://cognito-idp." + cfg.region() + ".amazonaws.com/" + cfg.UserPoolID
	p := &Preset{
		Keys: stmigrate.JWKSConfig{URL: issuer + "/.well-known/jwks.json"},
		JWT: stmigrate.JWTConfig{
			Issuer: issuer, SkipAudienceCheck: true, Algorithms: []string{"RS256"}, SessionIDClaims: []string{"origin_jti"},
			Checks: append([]check{
				is("token_use", "access"), ofClient(cfg.ClientIDs, "client_id"),
				has("username", "nobody signed in for it (client credentials)"), noMachine("client_id"),
			}, noActor(false)...),
		},
		opaque:    "of Cognito's tokens only the refresh token is opaque, and it is no proof of a session",
		encrypted: "Cognito's refresh token looks like this (a JWE that only Cognito reads): have the client show its access token",
	}
	if cfg.AllowIDTokens {
		p.JWT.SkipAudienceCheck, p.JWT.Audience = false, slices.Clone(cfg.ClientIDs)
		p.JWT.Checks = append([]check{
			is("token_use", "id"), presented(cfg.ClientIDs), has("cognito:username", "an ID token has one"),
		}, noActor(false)...)
	}
	return p, nil
}

var cognitoPool = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}_[0-9A-Za-z]{1,55}$`)

func (cfg CognitoConfig) region() string {
	region, _, _ := strings.Cut(cfg.UserPoolID, "_")
	return region
}

// Revocation is for [revoke.NewCognito], which wants the session's refresh token: set Token, and ClientSecret if the client has one.
// It is for the first of ClientIDs.
func (cfg CognitoConfig) Revocation() revoke.CognitoConfig {
	c := revoke.CognitoConfig{Region: cfg.region()}
	if len(cfg.ClientIDs) > 0 {
		c.ClientID = cfg.ClientIDs[0]
	}
	return c
}
