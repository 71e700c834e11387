// Package revoke ends legacy sessions at the provider that opened them: values for stmigrate.Config.Revoker.
//
//	revoker, err := revoke.NewClerk(revoke.ClerkConfig{Token: revoke.StaticToken(key)})
//	migrator, err := stmigrate.New(stmigrate.Config{Revoker: revoker, …})
//
// # Which one
//
// What a revoker ends is one session, the one that was exchanged, or nothing. Those that end all sessions of the user, on every
// device, are named …RevokeAllSessionsOfUser, and are the only choice at some providers. Nothing revokes a JWT that others verify by
// its signature alone: it lives until it expires, so let access tokens be short-lived before a migration begins.
//
//	provider  revoker                                needs            ends, and what goes on
//	any       RFC7009 (refresh token)                client           the grant; at some the consent, too
//	          RFC7009 (access token)                 client           that token; its refresh token goes on, or not
//	Auth0     Auth0                                  Enterprise plan  session and its refresh tokens
//	          RFC7009 at /oauth/revoke               refresh token    refresh token; the grant if the tenant says so
//	          Auth0RevokeAllSessionsOfUser           Enterprise plan  all sessions and refresh tokens of the user
//	Okta      RFC7009 at {issuer}/v1/revoke          client           token; with a refresh token its access tokens, too
//	          Okta                                   session ID       Okta's session; tokens go on
//	          OktaRevokeAllSessionsOfUser            API token        all sessions and tokens of the user
//	Cognito   Cognito                                refresh token    refresh token and its access tokens
//	          CognitoRevokeAllSessionsOfUser         user's token     all tokens of the user
//	Keycloak  Keycloak                               service account  session, in all applications
//	          KeycloakRevokeAllSessionsOfUser        service account  all sessions of the user but offline ones
//	Firebase  FirebaseRevokeAllSessionsOfUser        service account  all refresh tokens of the user; there is no other way
//	Clerk     Clerk                                  secret key       session
//	Supabase  Supabase                               user's token     session
//	          SupabaseRevokeAllSessionsOfUser        user's token     all sessions of the user
//	WorkOS    WorkOS                                 API key          session
//	Stytch    Stytch                                 project secret   session
//	Entra     EntraRevokeAllSessionsOfUser           application      all sessions of the user; there is no other way
//	Descope   Descope                                refresh token    session
//	          DescopeRevokeAllSessionsOfUser         management key   all sessions of the user
//	Logto     RFC7009 at /oidc/token/revocation      refresh token    the grant; JWTs are refused, or ignored by older servers
//	Zitadel   Zitadel                                session ID       session, in all applications
//	          RFC7009 at /oauth/v2/revoke            refresh token    refresh token and its access token
//	Google    RFC7009 with InvalidTokenIsOver        Google's token   the user's whole grant; Google's own session goes on
//	own rows  SQL                                    one statement    one row
//	          SQLRevokeAllSessionsOfUser             one statement    all rows of the user
//	any other stmigrate.RevokerFunc
//
// [ClearCookies] takes the legacy cookies from the browser, too; [All] and [ByIssuer] combine revokers.
//
// The revokers by session ID need OldSession.SessionID, so the verifier's SessionIDClaims must name a claim that holds it. A session
// ID that the provider does not know looks like a session that is over, and that is success: see once, with a live session, that
// it ends. Where the provider's documentation has not been found to say something, the documentation of the revoker says so.
//
// # Errors
//
// Every error is a [stmigrate.RevokeError]. Permanent ones are those that only another configuration cures: a refused client, a missing
// scope, a session without an ID. All others are worth another try: no answer, a cut one, a redirect, 408, 425, 429 and 5xx, a
// credential that was refused (the next one may be good). Those are [stmigrate.ErrUnavailable], too.
//
// An error's text has a status and the name of an error, and nothing else that the provider sent; no token, no secret, and no
// session ID, since that can be a cookie's value.
//
// # Limits
//
// A revoker believes the provider: Retry-After, in seconds or as a date, with 429 and 503; X-RateLimit-Remaining: 0 and
// X-RateLimit-Reset with any answer, a success included; the same as X-Rate-Limit-…. Until then it calls nobody and returns an
// error with RetryAfter, so that a backlog does not run into the limit that logins share. It remembers that in its own memory: other
// processes find out by themselves, and a [stmigrate.RevocationBudgets] is what they share. No wait is longer than an hour.
//
//	Auth0     150 a minute, bursts of 10    Essentials and Professional
//	Okta      1000 a minute                 the lowest; see the org's rate limit dashboard
//	Cognito   120 a second                  an account and region; the category is not verified
//	Firebase  10 a second                   account configuration updates
//	Clerk     1000 in 10 seconds            production; development 100
//	WorkOS    500 in 10 seconds             writes in an environment
//	Entra     3000 in 150 seconds           writes of an application in a tenant
//	Descope   500 a minute                  user management in a project
//
// The method Budget has it as a value; zero where the provider publishes none.
//
// # Security
//
// Calls go to https only, or to http on this machine; redirects are not followed, so that a token goes nowhere but to the address in
// the configuration. One call takes 10 s and 64 KiB. IDs are checked and escaped before they become a part of an address. A 404 is
// taken for "over already" only with the body that the provider has for that: a wrong address answers 404, too.
package revoke
