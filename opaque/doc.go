// Package opaque verifies legacy tokens that say nothing by themselves, by asking the provider: values for stmigrate.Config.Verifier.
//
//	sessions, err := opaque.NewIntrospection(opaque.IntrospectionConfig{
//		Endpoint: "https://legacy.example.com/oauth2/introspect",
//		Client:   revoke.ClientAuth{ID: "backend", Secret: secret},
//		Audience: []string{"https://api.example.com"},
//		Rules:    opaque.Rules{Issuer: "https://legacy.example.com/"},
//	})
//
// # Which one
//
//	Introspection      RFC 7662                    says whether a token lives, whose it is and for whom it was made
//	UserInfo           OpenID Connect Core §5.3    says whose it is, and nothing of for whom: it needs CheckAudience
//	TokenInfo          Google                      says for whom (aud), whose (with the scope openid) and until when
//	Refresh            RFC 6749 §6                 uses a refresh token up: where the access token is over for long
//	NewCognitoRefresh  GetTokensFromRefreshToken   the same, by Cognito's own API
//
// A verifier asks only about tokens that Rules.Takes: by default all that do not look like JWTs, so that it goes together with a
// verifier of JWTs in a [stmigrate.FirstOf]. Two providers whose opaque tokens look alike need RefusedIsNotMine, and one that gives
// out opaque access tokens and opaque refresh tokens needs two Migrators, at two paths, or a prefix that tells them apart
// ([HasPrefix]): a refresh token must not be sent to introspection as an access token, nor an access token to the token endpoint.
//
// A Migrator that is to accept sessions without an end (userinfo, introspection without exp) needs stmigrate.Config.Until.
//
// # Whom it asks, and how often
//
// Endpoints are https, or http on this machine. By default the connection goes to addresses of the public internet only, whatever the
// name resolves to: HTTP.AllowPrivate names the hosts that may be elsewhere. No proxy is used unless HTTP.Client brings one. Redirects
// are not followed. One call takes 5 s and 64 KiB at the most.
//
// What strangers send is sent to the provider if it has the form of a bearer token of at most 16 KiB. So that they cannot spend the
// provider's limits, one verifier makes at most 50 calls a second and 32 at a time; beyond that the answer is
// [stmigrate.ErrUnavailable] with Retry-After, for everybody. A token that the provider refused is refused for a minute without a call;
// one for which it answered 429 or 503 with Retry-After is not asked about before that, a minute at the most. These memories are
// bounded, belong to one process, and hold names of tokens that nobody else can compute. Good answers are not remembered unless
// Rules.PositiveCache says so.
//
// # Errors
//
// Only an answer that speaks of the token makes it invalid: 200 with active: false, 401 and 403 of a userinfo endpoint, the error
// invalid_grant of a token endpoint. A refused client, a limit, a redirect, an outage, a page that is no JSON are
// [stmigrate.ErrUnavailable]: nobody is logged out by a wrong configuration. No error holds a token, or what a provider sent.
//
// # Refresh tokens
//
// [Refresh] is a [stmigrate.Redeemer]: the Migrator takes a claim for the refresh token, redeems it, and writes down what came of it
// before it goes on. Two tabs that show the same token redeem it once; what fails after that goes on from there for a day. It stands
// first in a FirstOf. The website sends its refresh token where it would send the access token. After the exchange the Revoker is
// given the refresh token that took the place of the one that was shown: [revoke.NewRFC7009] without a TokenOf fits.
//
// In the moment between the provider's answer and the note nothing helps but the provider: if the process dies just then, or the
// answer is lost, the next request shows the token once more. Providers that rotate refresh tokens take that for theft unless they have
// an interval for it; let it be longer than stmigrate.Config.Lease (30 s) and the client's pause together, for the time of the migration:
//
//	Auth0     "rotation overlap period" or leeway, 0 by default; only the last token but one is accepted
//	          (https://auth0.com/docs/secure/tokens/refresh-tokens/configure-refresh-token-rotation)
//	Cognito   RetryGracePeriodSeconds, 0 to 60; without rotation a token can be used again
//	          (https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_RefreshTokenRotationType.html)
//	Okta      "grace period for token rotation", 0 to 60 s, 30 by default
//	          (https://developer.okta.com/docs/guides/refresh-tokens/main/)
//	Keycloak  "Revoke Refresh Token" is off by default, and a token can be used again; else "Refresh Token Max Reuse"; not verified
//
// Auth0 and Okta are plain [NewRefresh]: {issuer}oauth/token, and {issuer}/v1/token. Keycloak is, too, at
// {issuer}/protocol/openid-connect/token, with [KeycloakRefreshToken] as Takes since its refresh tokens are JWTs. The client must be the
// one that the tokens were given to; a public client is revoke.PublicClient. Auth0's access token is verified by stmigrate's JWT
// verifier if it was asked for with an audience; else let Proof be IDToken. An ID token need not name the session (sid): then a
// refresh token and the access tokens of its session are two exchanges.
//
// # Security
//
// Whoever holds a live token of a user is that user here, as at the provider. That a provider honours a token is not enough: it must
// have been made for this application, or else the operator of any other application at the same provider can log in as each of its
// users. So an audience must be configured, or skipped by a field that says so.
//
// Not checked: what claims mean besides (Rules.Checks), and scopes. Signed introspection and userinfo answers (application/jwt) are not
// read. Tokens that are bound to their sender's key (cnf), that somebody else acts with (act) or that are a machine's are refused.
package opaque
