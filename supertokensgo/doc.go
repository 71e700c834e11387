// Package supertokensgo is for backends that run supertokens-golang (v0.25): stmigrate mints the SDK's own sessions, and the
// SDK's own sign-in knows the legacy users. Everything else of the backend stays as it is, and after the migration these lines
// go again.
//
// # The lines to add
//
// After supertokens.Init, the exchange:
//
//	sessions, err := supertokensgo.NewSessions()
//	migrator, err := stmigrate.New(stmigrate.Config{
//		Verifier: verifier, // stmigrate.NewJWKSVerifier, say
//		Sessions: sessions,
//		// Users, Exchanges, Revoker, … as package stmigrate has it
//	})
//	mux.Handle("/migrate-session", migrator)
//
// The APIs, while both kinds of sessions are about: RequireEither in the place of session.VerifySession; and Middleware in the
// place of supertokens.Middleware, around all:
//
//	mux.Handle("/api/orders", supertokensgo.RequireEither(migrator, nil, orders))
//	http.ListenAndServe(addr, corsHandler(supertokensgo.Middleware(mux)))
//
// The logins, in supertokens.Init. users is [stmigrate.Override], which passes legacy users through, or package login's Login,
// which imports them:
//
//	legacyLogins, err := supertokensgo.Override(supertokensgo.OverrideConfig{Users: users})
//	emailpassword.Init(&epmodels.TypeInput{Override: legacyLogins})
//
// And, in its ConnectionInfo, so that a core that hangs holds nothing up in the background:
//
//	NetworkInterceptor: supertokensgo.NetworkInterceptor,
//
// CORS must allow and expose the headers of supertokens.GetAllCORSHeaders and of [stmigrate.CORSHeaders].
//
// # What the SDK's configuration does
//
//   - There is one SDK in a process, and so one [Sessions] does. Initialised anew (ResetForTest and Init, in tests), it counts
//     as it is then, for the handlers of this package as well; the SDK's own VerifySession and Middleware stay with the old
//     one.
//   - Transfer: GetTokenTransferMethod, else the client's st-auth-mode, as for any sign-in. The legacy token in Authorization
//     takes no part in it.
//   - Anti-CSRF, cookie attributes, the exposed access token, static or dynamic keys: the session recipe's.
//   - Overrides of CreateNewSession apply, and must keep the Migrator's member of the session's data
//     ([stmigrate.SessionMarker]), of whatever type: by it the sessions that a crash left behind are found, and by when it is
//     written as JSON whether the core was asked. To refuse a user use Config.Users, and not an override.
//   - Claims of other recipes (whether the e-mail is verified, roles, your own) are in the session, of the user's tenant, over
//     what User.AccessTokenPayload says. The e-mail verification recipe makes no session for a user whose address it cannot
//     find: that is [stmigrate.ErrUnknownUser]. Import users first, or let it find them by [Override] or by its
//     GetEmailForUserID. A user who is not imported is not verified for it.
//   - User IDs: the SDK trims those that it reads from a token. One with white space around it is an error here.
//   - Tenants: User.TenantID. The SDK asks the core for another tenant than the one it was given where that has upper-case
//     letters or a dot; here that is an error.
//   - A session costs one call of the core more than with [stmigrate.Sessions], since the SDK keeps the refresh token's expiry
//     to itself.
//
// # What it protects from
//
// Defects of the SDK that a backend with legacy tokens meets, each shown by a test of this package:
//
//   - Its GetSession, VerifySession and sign-out panic at bearer tokens and access cookies that have a kid and no typ, or a
//     kid, typ or version that is no string: any access token of Cognito or Okta. [Sessions], [Require] and [Middleware] do not
//     show them to it. Only the APIs of its dashboard, which have bearer tokens of their own and no session, see the request as
//     it came.
//   - Its refresh takes a legacy bearer token for a refresh token and signs the user out. [Middleware] does not show it.
//   - Its GetSessionWithoutRequestResponse panics where SessionRequired is nil; its CreateNewSessionWithoutRequestResponse
//     drops all claims where the payload is nil; FetchAndSetClaim asks for the public tenant always. None is called.
//   - Its ErrorHandler panics at session errors that are wrapped. No error of this package wraps one.
//   - It writes to a variable of the process without a lock, unless the user context is an API's, and to the user context
//     itself. Every call here has one of its own.
//   - It drops cookies from a response that have the name of one it sets. Sessions are rendered apart.
//   - Its password reset and update swallow errors. [Override] makes errors of them.
//   - It asserts types of what the core answers. What it panics with is an error here.
//   - It has no context and no timeout. Calls here end with theirs; a session that is made after that is revoked.
//   - It sends the text of errors to the client. [Override] tells it the class alone.
//
// Left as they are: calls of the SDK that the backend makes itself. The fetches of the core's keys, which any token with an
// unknown key ID causes, as in VerifySession. The exists API, which tells anybody whether an address is known, so that the time
// of a password reset tells no more. Only the EmailPassword recipe has an override.
//
// # Rolling out
//
// The Migrator's exchanges, [Sessions] and the SDK agree on any core that the SDK supports; a backend in another language, or
// on [stmigrate.Sessions], may serve the same users. A session that was signed out by the SDK stays so: its legacy session is
// ALREADY_MIGRATED, whoever shows it.
package supertokensgo
