// Package sqlstore keeps the exchanges of a stmigrate.Migrator in PostgreSQL, for any number of nodes, or in SQLite, for the
// processes of one machine. It is built on database/sql and imports no driver.
//
// A [Store] is an [stmigrate.ExchangeStore] and all that one may be, too: peeker, outbox of revocations with dead letters
// and budgets, sweeper, noter and epoch store. Each method is one statement, and in PostgreSQL one round trip once the driver has
// prepared it on its connection. What tells a waiter to wait writes nothing. All times are the database's clock's.
//
// # PostgreSQL
//
// Version 13 or later. It is tested with the driver of jackc/pgx/v5:
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
//	store, err := sqlstore.New(sqlstore.Config{DB: db, Dialect: sqlstore.Postgres})
//	err = store.Migrate(ctx) // when you deploy
//	err = store.Check(ctx)   // when a node starts, and in its readiness probe
//
// A driver must end a call when its context ends. Give the pool as many idle connections as open ones (SetMaxIdleConns), or each
// burst pays for connecting and preparing. default_transaction_isolation must be "read committed", as it is by default: with
// another one, claims that meet each other fail with ErrUnavailable. There are no session locks, temporary tables or LISTEN,
// so a pooler in transaction mode will do if the driver's statement cache suits it (pgx: default_query_exec_mode).
//
// # SQLite
//
// Version 3.37 or later. The file must be on a local disk. Say in the DSN what SQLite does not do by itself; with
// modernc.org/sqlite:
//
//	file:exchanges.db?_pragma=busy_timeout(2000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=secure_delete(ON)&_txlock=immediate
//
// Without busy_timeout, calls at the same time fail with ErrUnavailable. In WAL mode only synchronous FULL keeps a finished
// exchange through a power cut. secure_delete overwrites what is erased. SetMaxOpenConns(1) is fastest where one process uses the
// file, since one writes at a time anyway. A call ends with its context even while SQLite waits for a lock; the statement may go
// on until busy_timeout then, and what it did is for the repeated call to find.
//
// # Schema
//
// New changes nothing in the database. [Store.Migrate] makes the tables or brings them up to date, and records the version in
// stmigrate_schema. [Schema] gives the SQL to a migration tool of yours. A Store looks at the version once, at its first use, and
// refuses with [ErrSchema] what is older or newer than what it knows. So a node of the release before that is restarted after
// Migrate of a release that changes the schema does not serve: run Migrate with the last nodes of the old release still up, and
// let the new ones take over.
//
// The user that Migrate connects as needs the right to create tables in the schema. A Store needs
//
//	GRANT USAGE ON SCHEMA … TO app;
//	GRANT SELECT, INSERT, UPDATE, DELETE ON stmigrate_exchanges, stmigrate_epochs, stmigrate_budgets TO app;
//	GRANT SELECT ON stmigrate_schema TO app;
//
// # What is stored
//
// Keys of legacy sessions (SHA-256), tokens (HMAC under Config.Secrets), SuperTokens user IDs and session handles in the clear,
// and the answers, notes and revocations that the Migrator sealed. No token. Whoever reads the tables learns who was migrated
// when; whoever writes to them can let a legacy session be exchanged again. Texts are binary columns, since a store must take any
// bytes: in psql, convert_from(user_id, 'UTF8').
//
// An exchange takes about 3 KB in PostgreSQL during Config.Grace and 0.5 KB after, indexes included and dead rows not. A row is
// written three times in its life; autovacuum has its share of work (the table asks for it at 5 % of dead rows).
//
// # Cleaning up
//
// What is over is never answered, from that very moment. It is erased by [Store.Clean], and in part by every 16th Finish of a
// process. Call Clean from wherever you run things regularly, every minute or so:
//
//	for {
//		n, err := store.Clean(ctx, 1000)
//		if err != nil || n < 1000 {
//			break
//		}
//	}
//
// To erase is to PostgreSQL to leave an old version of the row for VACUUM, and copies in the log, in replicas and in backups: what
// makes a sealed answer worthless there is that its seal needs Config.Secrets, and that its session was refreshed or ended since.
//
// # Failure
//
// Every failure of the database is [stmigrate.ErrUnavailable]: exchanges stop, nobody is logged out, and no legacy session is
// exchanged twice. Error texts name the SQLSTATE, or SQLite's result code, and hold no values and no address; errors.As finds the
// driver's own error.
//
// What PostgreSQL has acknowledged it keeps through a crash, with fsync and synchronous_commit on as they are by default. A fail-over
// keeps it if the standby was synchronous (synchronous_standby_names, synchronous_commit "on" or above). With an asynchronous
// standby, the exchanges of the last moments may be forgotten: those legacy sessions can be exchanged again, which makes a second
// SuperTokens session for the same user, and revocations that were owed are lost. Restoring a backup does that for all that came
// after it. A primary that was cut off and still answers, beside
// the promoted one, is two stores; fencing it is your cluster manager's work.
//
// To end a migration, drop the tables: stmigrate_exchanges, stmigrate_epochs, stmigrate_budgets and stmigrate_schema.
package sqlstore
