// Package sqlusers is a legacy user store over the backend's own database: it looks a user up with the team's own queries and
// checks the password against the hash that the row has. It works with any driver of database/sql, and imports none.
//
//	store, err := sqlusers.New(sqlusers.Config{
//		DB: db,
//		ByEmail: `SELECT id, email, password_hash, email_confirmed_at IS NOT NULL AS email_verified, created_at,
//			(SELECT json_agg(r.name) FROM user_roles r WHERE r.user_id = u.id) AS roles
//			FROM users u WHERE lower(email) = $1 AND deleted_at IS NULL`,
//		ByID: `SELECT id, email FROM users WHERE id = $1 AND deleted_at IS NULL`,
//		IDParam: sqlusers.IntID,
//		DummyHash: "$2y$12$…", // of a made-up password, made as the application makes all of them
//	})
//	err = store.Check(ctx) // at the start of the program, or in a test
//
// # Queries
//
// Columns are known by their names, in any order; one with another name is an error, and so is a second row.
//
//	id              text or an integer; not empty. What sessions and the core get to know as the user's ID
//	email           text; not empty
//	password_hash   text, of a format that package passhash knows. Only in ByEmail, where it must be. NULL, "" and what begins
//	                with ! or * means that the user has no password, and signs in otherwise
//	email_verified  a boolean, or 0 and 1; NULL is false. Optional; without it nobody's is
//	created_at      a timestamp, or text like 2006-01-02T15:04:05Z or 2006-01-02 15:04:05 in UTC. Optional
//	roles           text, a JSON array of strings. Optional
//	metadata        text, a JSON object. Optional
//	tenant_id       the SuperTokens tenant. Optional, and NULL is as none; see Config.Tenant
//
// ByEmail gets an e-mail in lower case and without white space around it, so that the row's must be compared in lower case. A
// row whose e-mail is another one than was asked for is no answer: some collations take "é" for "e", and a user would sign in as
// somebody else. A query leaves out whom the application itself would not let in: deleted, blocked.
//
// Let the database user read these tables and nothing else: the store writes nothing.
//
// # Passwords
//
// Package passhash tells the format of each hash by itself; [Config.Hashes] sets what it may cost and adds what no text tells. A
// hash that is broken, unknown or over the limits is [ErrBadRow]. Of bcrypt, Argon2 and Firebase's scrypt the user's PasswordHash
// is set, too, so that the core can go on with it.
//
// Firebase exports hash and salt apart. With both in the table and the project's signer key in Config.Hashes.FirebaseSignerKey, the
// column is
//
//	'$f_scrypt$' || hash || '$' || salt || '$m=14$r=8$s=Bw==' AS password_hash
//
// with mem_cost, rounds and base64_salt_separator of the project's parameters.
//
// # Time
//
// An e-mail that nobody has, and a user without a password, cost as much as a wrong password: [Config.DummyHash] is checked
// instead. It should be what most users have, or the dearest of the formats in the table; where formats are mixed, sign-ins still
// differ between them, and it is the FailureFloor of [stmigrate.Override] and of package login that covers that.
//
// # Failures
//
// A database that does not answer is [stmigrate.ErrUnavailable]. A row that cannot be used is [ErrBadRow], and not ErrUnavailable:
// Override and package login answer it as that, but do not take the whole store for broken because of one row, which whoever knows
// of it could bring about.
package sqlusers
