// Package providers has presets for legacy providers: what each of them says of its tokens, as the configuration of a verifier.
//
//	preset, err := providers.Cognito(providers.CognitoConfig{UserPoolID: "eu-west-1_a1B2c3D4e", ClientIDs: []string{"…"}})
//	verifier, err := preset.Verifier()
//	migrator, err := stmigrate.New(stmigrate.Config{Verifier: verifier, …})
//
// A [Preset] is data, to be looked at and added to: Preset.JWT is the configuration of a [stmigrate.JWTVerifier], and
// Preset.JWT.Checks are the provider's rules, to which yours are appended. The configurations' Revocation methods begin the
// configuration of the provider's revoker in package revoke, and Preset.Endpoints has the addresses for [revoke.RFC7009].
//
// # Which
//
//	provider    token                               user         session            applications that share one
//	Auth0       access token, ID token              sub          a claim you add    all of Auth0's session
//	Cognito     access token, ID token              sub          origin_jti         none
//	Okta        access token (custom server), ID    uid, sub     -                  -
//	Firebase    ID token, session cookie            sub          -                  -
//	Keycloak    access token                        sub          sid                all of the single sign-on session
//	Google      ID token                            sub          -                  -
//	Entra       access token                        tid.oid      sid, optional      all of the browser's session
//	Clerk       session token                       sub          sid                all of the instance
//	Supabase    access token                        sub          session_id         all that share its storage
//	WorkOS      access token                        sub          sid                all of the environment
//	Descope     session token                       dsub, sub    -                  -
//	Stytch      session JWT                         sub          session.id         all of the project
//	Logto       access token                        sub          -                  -
//	Zitadel     access token                        sub          -                  -
//	any other   by Discover                         sub          sid                all of the single sign-on session
//
// Applications that share a session share its exchange: the first one to exchange it gets the SuperTokens session, and for the
// others it is [stmigrate.ErrAlreadyMigrated] after the grace period. Where no claim is the session, each token is exchanged for
// itself: a page that got a fresh token since is exchanged again, into one more session of the same user. Have it ask once.
//
// The first five are proven: held to tokens that the provider's documentation prints or describes (Firebase's prints none), or that
// its servers were seen to issue, with address and date in stmigratetest/testdata/providers, and to every attack in
// stmigratetest's Issuer.Wrong made of them. None was held to a live account. The others follow the documentation alone, and say so.
// Hold yours to real tokens in [stmigrate.Shadow] mode before the rollout, whichever it is.
//
// docs/auth0.md, cognito.md, okta.md, firebase.md and keycloak.md say what to switch on, and how to stop.
//
// # What is refused
//
// The wrong kind of token is refused, unless a field of the configuration that begins with Allow says otherwise: an ID token for an
// access token, a refresh token that is a JWT, a machine's token, an anonymous user's, that of somebody who acts for the user. So is
// a token of another application, since at many providers every application of the tenant gets the same audience; the field
// ClientIDs is required for that.
//
// Two providers may have the same subject for two people. Behind [stmigrate.FirstOf], [stmigrate.New] sees two issuers and
// refuses resolvers that go by the subject alone. Where one issuer has several pools of users (tenants of Entra and Firebase), the
// preset puts the pool into the subject.
//
// # Security
//
// A verified token was good when it was issued. Whether the provider revoked it since is not checked: let tokens be short-lived, or
// set Config.NotBefore. Algorithms are pinned by preset; addresses are https. [Discover] dials no address of this machine or of a
// private network unless the configuration names the host.
package providers
