// Package login imports legacy users to SuperTokens as they sign in.
//
// [New] returns the functions of [stmigrate.EmailPassword] over a SuperTokens core and a [stmigrate.LegacyUserStore]. A user who
// is in SuperTokens signs in there. One who is not yet, and whose password is right in legacy, is imported on the way: the
// same user ID, the password, whether the e-mail is verified, the metadata, the roles. The user notices nothing, and legacy is
// never asked about that user again. [stmigrate.Override] does the same without the import.
//
//	ledger, err := login.NewSQLLedger(login.SQLConfig{DB: db, Dialect: login.Postgres})
//	err = ledger.Migrate(ctx) // at deployment
//	users, err := login.New(login.Config{
//		Core:    supertokens, // core.New
//		Legacy:  legacyUsers, // sqlusers.New, say
//		Ledger:  ledger,
//		Secrets: [][]byte{secret}, // 32 random bytes, the same on all nodes
//	})
//	user, err := users.SignIn(ctx, "", email, password)
//	session, err := sessions.Start(w, r, stmigrate.User{ID: user.ID}) // stmigrate.NewSessions
//
// # What a sign-in does
//
// The ledger, a table with a row for each user whose import was begun, is asked first:
//
//   - Complete: SuperTokens alone decides. An old password does not come back, nor a role that was taken away, nor a user who
//     was deleted. The exception is the mark AskLegacy, below.
//   - No row, and SuperTokens has the e-mail: a user who signed up there, or was imported by other means. SuperTokens alone decides.
//   - No row, and SuperTokens does not have the e-mail: legacy is asked. A wrong password changes nothing anywhere. After the right
//     one the user is imported.
//   - A row that is not complete: an import is under way, or its process died. Legacy is asked, and after the right password the
//     import is waited for, or gone on with from the step where it stands.
//   - In conflict: after the right legacy password [stmigrate.ErrConflict]. See below.
//
// # The import
//
// The steps, each recorded in the ledger when it is done, under a lease and a fence:
//
//	intent     a row in the ledger: this e-mail, this legacy ID
//	created    the user is in SuperTokens, under an address that nobody knows (import-…@stmigrate.invalid)
//	mapped     the legacy ID is the user's external ID
//	verified   the e-mail counts as verified, if legacy had it so
//	metadata   those of legacy are merged in
//	ready      the roles are given, the row's flags are final
//	complete   the user has the right e-mail, by one call of the core, and with it is there
//
// So the user appears at once and whole. Before, no other backend can meet one who has no roles yet or the wrong ID (a session
// under that would make the mapping impossible for good); and no user who is there already is ever written to, not even by the
// core's import of password hashes, which overwrites the password of whoever has the e-mail.
//
// A process may die between any two of these calls. The next sign-in after the lease takes over: what is done is not done again,
// what may be done is found by the unknown address, which follows from Config.Secrets. While the core, or a call of it, fails,
// the sign-in is [stmigrate.ErrUnavailable]; if it can't be told whether a call will still arrive, nobody takes over before the
// lease is over. First sign-ins at once, on however many nodes, make one user: one imports and the others wait, for at
// most Config.Wait.
//
// What legacy says of the user is taken from the answer of each sign-in, so the ledger holds the e-mail and two IDs and nothing
// else about a person. The time of the sign-up is not carried over: the core has no call for it.
//
// # Passwords
//
// The password is imported as it was typed, and the core hashes it. If [stmigrate.LegacyUser] has a PasswordHash that the core
// takes (bcrypt, Argon2, Firebase's scrypt), that is imported instead, provided the core can verify the password with it;
// otherwise the flag [HashRefused] says so. The core has no password policy; a password that breaks Config.PasswordPolicy signs in
// all the same and has the flag [WeakPassword], so that you may ask for another. Of a user marked [AskLegacy] the event
// [EventPasswordSet] alone has it.
//
// # Roles
//
// A role that SuperTokens does not know is left out, the sign-in goes on, and [Event].Roles and the flag [RolesLeftOut] tell. Create
// the roles before the roll-out, or set Config.CreateMissingRoles.
//
// # Resets
//
// CreatePasswordResetToken works for a user who was never imported, if Config.Legacy is a [stmigrate.LegacyDirectory]: the user is
// imported with a password that nobody knows, and the row is marked [AskLegacy]. For the user nothing changes by that, whoever
// asked: the right legacy password still signs in. Then it becomes the password in SuperTokens and the mark goes. The mark goes,
// too, when any other password is set in SuperTokens, by ResetPassword or by another backend: it holds only while the
// password that nobody knows is still there. From then on the legacy password is worth nothing.
//
// A failed sign-in of a marked user makes the calls that all make, and more of them only after another backend set a password,
// for the first time, and for who was imported before Config.Secrets were rotated.
//
// CreatePasswordResetToken takes longer for a known e-mail, and longest where it imports. So answer the client first, the same
// whatever the e-mail, and then call it and send the mail.
//
// # Conflicts
//
// A user can't be imported if the legacy ID is another user's ID in SuperTokens, if somebody signed up there with the e-mail while
// the import was under way, or if legacy has another ID for the e-mail than the one that the import was begun for. Then nothing
// is overwritten, the row is set aside with the reason, and the sign-in is [stmigrate.ErrConflict] for whoever knows the legacy
// password; for others it is a wrong password as any. [Login.Conflicts] lists these rows. For each, find out which of the two
// is the right one; then
//
//   - to import the legacy user: delete the other in SuperTokens, or remove its mapping or change its e-mail, and call [Login.Forget];
//   - to keep the other: call [Login.Forget]. If SuperTokens has the e-mail, it decides from then on. Otherwise change the e-mail or
//     the ID in legacy, or the user is in conflict again after the next sign-in.
//
// # Deleted users
//
// A user deleted in SuperTokens after the import stays deleted: the row says complete. It says so of one e-mail: who has another
// in legacy by now is imported anew, and so is who was deleted before a dead process's import was noted as complete, which the next
// sign-in does. SignUp makes a new user with the e-mail.
// [Login.Forget] erases the row, and then the legacy password brings the user back. A user deleted in legacy after the import lives
// on in SuperTokens; before, they can't sign in. So delete in both until the migration is over.
//
// # Security
//
//   - Whoever knows Config.Secrets knows the passwords of users that are marked AskLegacy.
//   - Who imports by e-mail trusts legacy with it: a legacy system where anybody can claim any address gives away nothing that
//     SuperTokens has, for a user who is there is never touched, but it takes the address for users who are not.
//   - With SkipLegacyDirectory, whoever signs up with a legacy user's e-mail before that user's first sign-in has it.
//   - Legacy is asked for one e-mail Config.Tries times in Config.TriesPer, on each node. A stranger who uses these up keeps the user
//     out who was not imported yet, as long as it goes on; a password reset lets the user in. The core has no such limit: put one
//     before this package, by client and not by e-mail alone.
//   - Events and errors hold no password and no e-mail.
//
// # Counting
//
// UserCount needs a [stmigrate.LegacyCounter] that knows who is imported. With the ledger in the same database:
//
//	SELECT count(*) FROM users u WHERE NOT EXISTS (
//		SELECT FROM stmigrate_login l WHERE l.legacy_id = u.id AND l.step = 7)
//
// # The end of the migration
//
// When that count hardly falls any more, import the others (core's bulk import, or a reset mail to each: the token's making
// imports the user), wait until no row has the mark (flags & 1) that you care for, and replace the [Login] by
// [stmigrate.NewEmailPassword]. The table can go then.
package login
