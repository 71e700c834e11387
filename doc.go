// Package stmigrate moves the logged-in users of a backend from a legacy auth system to SuperTokens, with nobody logged out.
//
// A backend mounts one handler, POST /migrate-session. A page that still holds a legacy session calls it once; the handler
// verifies the legacy session, mints a SuperTokens session and revokes the legacy one. One legacy session ends as one live
// SuperTokens session, under parallel tabs, retries, lost answers, crashes and theft.
//
//	verifier, err := stmigrate.NewJWKSVerifier(
//		stmigrate.JWKSConfig{URL: "https://legacy.example.com/.well-known/jwks.json"},
//		stmigrate.JWTConfig{Issuer: "https://legacy.example.com/", Audience: []string{"https://api.example.com"}})
//	supertokens, err := core.New(core.Config{ConnectionURI: "https://core.internal:3567", APIKey: key})
//	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{
//		Core: supertokens, APIDomain: "https://api.example.com", WebsiteOrigins: []string{"https://app.example.com"}})
//	migrator, err := stmigrate.New(stmigrate.Config{
//		Verifier: verifier, Sessions: sessions, Users: stmigrate.SubjectIsUserID,
//		Exchanges: stmigrate.NewMemoryExchanges(1_000_000), Revoker: stmigrate.LeaveToExpire})
//	mux.Handle("/migrate-session", migrator)
//	mux.Handle("/auth/", sessions) // refresh and sign-out, unless a SuperTokens SDK serves them already
//	mux.Handle("/api/", sessions.Require(api))
//
// # The exchange
//
// The steps, and what each protects:
//
//  1. Extract. The token stands in Authorization: Bearer, or in a JSON body {"access_token": "…"} if there are Config.Origins;
//     Config.Extract names other places, such as a cookie. In a body or a cookie it is refused from the pages of other websites.
//     Two different tokens are an error, and so is one over 16 KiB.
//  2. Verify, by Config.Verifier: [NewJWKSVerifier] with the provider's keys, [NewStaticKeyVerifier] with keys at hand, so that
//     the provider can be switched off, [NewInsecureDecodeVerifier], or one of your own ([VerifierFunc]); [FirstOf] tries several.
//     Package providers configures them for Auth0, Cognito, Okta, Firebase, Keycloak and others; package opaque asks the provider
//     about opaque tokens, and redeems refresh tokens ([Redeemer]); package ownsession reads a backend's own sessions.
//  3. Resolve, by Config.Users: who is it in SuperTokens? Then Config.NotBefore: did the session begin before a password reset?
//  4. A live SuperTokens session on the request stays. If it is the same user's, the legacy session is revoked and that is all; a
//     page that missed the first answer is told of the session that lies in its cookies ([SessionReminder]).
//  5. Claim, in Config.Exchanges: one request goes on, the others wait for its answer. Within Config.Grace the same
//     legacy session is given the same answer again, so that a lost answer is no lost session; a stolen token that comes later
//     is refused, and so is one whose session was refreshed or signed out since.
//  6. Mint, by Config.Sessions, exactly once. If it cannot be known whether a session was created, none is given out; the next
//     request after Config.Lease finds the orphan and revokes it.
//  7. Finish: the answer is recorded, sealed under Config.Secrets, before anybody sees it.
//  8. Revoke the legacy session, by Config.Revoker: at once, or after Config.RevokeAfter. With a store that is a
//     [RevocationOutbox] the revocation is recorded with the exchange and tried until it succeeds or is given up.
//
// What the client is told:
//
//	class                                              status  body's "status"
//	success                                            200     OK
//	Shadow, Config.Admit said no, or rolled back       204
//	ErrBadRequest                                      400     BAD_REQUEST
//	ErrNoToken                                         401     NO_LEGACY_SESSION
//	ErrInvalidSession, ErrExpiredSession, ErrNotMine   401     INVALID_LEGACY_SESSION
//	ErrForbiddenOrigin                                 403     FORBIDDEN_ORIGIN
//	ErrUnknownUser                                     403     UNKNOWN_USER
//	ErrAlreadyMigrated                                 409     ALREADY_MIGRATED
//	ErrOtherSession                                    409     OTHER_SESSION
//	a method other than POST                           405     METHOD_NOT_ALLOWED
//	ErrRevokeFailed                                    502     LEGACY_REVOCATION_FAILED
//	ErrUnavailable                                     503     UNAVAILABLE, with Retry-After
//	any other                                          500     INTERNAL_ERROR
//
// A client repeats the request after a network error or a 503, with the same Idempotency-Key if it sent one. It takes
// ALREADY_MIGRATED as done if it has a SuperTokens session, and as signed out otherwise.
//
// # A rollout
//
// First rehearse with real traffic: Config.Mode [Shadow] verifies and resolves, and mints nothing; Config.Observe counts what
// would have happened. Then let some through with Config.Admit, then everybody. When the last legacy sessions have expired,
// set Config.Until and take the handler out.
//
// A rollout can be taken back if its Config.Epoch has a name and its legacy sessions live on for a while (Config.RevokeAfter):
// [Migrator.Rollback] ends the SuperTokens sessions that it minted and has nobody migrated any more, on all processes at once.
// APIs behind [Migrator.RequireEither] take the legacy sessions again, and the next rollout, under another name, migrates
// everybody anew.
//
// With more than one process, or where a restart must not forget, the [ExchangeStore] must be a shared one: stores/sqlstore
// (PostgreSQL; SQLite for one machine) or stores/redisstore, a module of its own. It needs Config.Secrets, the same on all nodes.
// [NewMemoryExchanges] is for one process and one lifetime.
//
// # Revoking the legacy sessions
//
// [Migrator.StartRevocations] starts a worker that works off what the exchanges owe, within what the provider allows
// ([RevocationBudget], shared by all processes), with back-off and dead letters; [ForecastRevocations] tells how long that will
// take. Without a worker in its process, a request revokes before it answers.
//
//	worker, err := migrator.StartRevocations(stmigrate.RevocationConfig{
//		Budgets: map[string]stmigrate.RevocationBudget{"https://legacy.example.com/": {Calls: 150, Per: time.Minute}}})
//	defer worker.Close()
//
// Package revoke has revokers for RFC 7009, for providers' APIs, for rows and cookies of one's own. Each says which other sessions
// and devices it ends.
//
// # Logins
//
// Users who are not signed in have no session to exchange; they come by their password. [NewEmailPassword] has the functions of a
// login over the core. [Override] answers for the users of a [LegacyUserStore], too, who stay there; package login imports them to
// SuperTokens as they sign in. login/sqlusers, login/passwordgrant and login/cognito are legacy user stores. After [EmailPassword]'s
// SignIn, [Sessions.Start] starts the session:
//
//	users, err := stmigrate.Override(stmigrate.OverrideConfig{
//		Original: stmigrate.NewEmailPassword(supertokens), Legacy: legacyUsers})
//	user, err := users.SignIn(ctx, "", email, password)
//	session, err := sessions.Start(w, r, stmigrate.User{ID: user.ID})
//
// # Cross-origin frontends
//
// CORS is the host's, outside of this handler: a preflight has no token, and the answer to it depends on all of the API.
// [CORSHeaders] lists the headers that must be allowed and exposed; credentials must be allowed, too, for cookies.
//
// # Security
//
// Nothing that guards may be nil, an empty list is an error and not a check switched off, and whatever weakens is called
// Insecure or Skip. Where a legacy token may stand is explicit; a token is never taken from a query string. The algorithm of a
// signature is pinned by the configuration and the key, never by the token. Tokens, keys and passwords reach neither logs nor
// errors nor events, and a person is named there by a hash; the text of an error can name the user's ID where the core or a legacy
// user store does. The client sees the class of an error, and the log its cause.
//
// A bearer token is worth whatever it is worth at the legacy provider: who steals one before it was exchanged can exchange it.
// The owner's own exchange then answers ALREADY_MIGRATED, which is the sign to look for. A rate limit belongs in front of the
// handler, as in front of any login.
//
// With [RevokeRequired] the legacy session ends before the exchange is recorded. With a store that is a [ClaimNoter], what the
// Verifier said is noted before that, sealed: if the process dies in between, the very token goes on from there for a day,
// though the Verifier refuses it by now; NotBefore and Users are asked again. With another store the user is left with neither
// session, where the verifier notices the revocation at once (opaque tokens, sessions of your own), and signs in again.
//
// A session that a crash left behind was never given to anybody. The next request for the same legacy session finds and
// revokes it, and [Migrator.StartRevocations] does if none comes, within two leases; without that, it ends by itself, unrefreshed.
//
// A refresh that another process or an SDK has made, and whose new tokens nobody has used yet, cannot be seen in a core up to
// CDI 5.5: until they are used, a replay within Grace is still given the first tokens, and whoever refreshes with them later is
// told of theft.
//
// # Compatibility
//
// The core API (CDI) is spoken at 5.2 and 3.1, whichever is the highest that the core knows; tokens travel as those of
// supertokens-golang 0.25 and supertokens-node 21 do, but for what would let another website sign a user out: a refresh that it can
// send takes no cookies away here. Go 1.25 and later. Until v1.0.0 a minor version may change the API;
// the changelog says how. Config structs may get fields, and interfaces that users implement get no methods.
package stmigrate
