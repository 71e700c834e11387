package sqlstore

import (
	"strconv"

	"github.com/stmigrate/stmigrate/internal/sqldb"
)

// words are where the dialects differ.
func words(d Dialect) []string {
	words := []string{"{sweep}", strconv.Itoa(sweepMost)}
	if d == Postgres {
		return append(words, "{random}", "uuid_send(gen_random_uuid())", "{bytes}", "bytea", "{least}", "least", "{greatest}", "greatest",
			"{skip locked}", "FOR UPDATE SKIP LOCKED", "{in due}", "= ANY (ARRAY(SELECT key FROM due))")
	}
	return append(words, "{random}", "randomblob(16)", "{bytes}", "BLOB", "{least}", "min", "{greatest}", "max", "{skip locked}", "",
		"{in due}", "IN (SELECT key FROM due)")
}

// statements is all that the methods of a Store say, one for each.
//
// The rules in PostgreSQL, at READ COMMITTED: a statement sees what was committed before it began, and writes to what is
// there when it writes. A look beside a write may therefore be older than what the write met. So a write repeats the condition
// under which it may happen, and where a look says that it could have happened and it did not, the method asks again. A look
// alone takes no lock and writes nothing, so that those who wait for a claim cost reads only. (ON CONFLICT DO UPDATE alone would
// lock the row, which is a write, even where its WHERE says no.) Times are compared with a sub-select where an index should
// be used, since a volatile function would prevent that.
//
// SQLite has no writes within other statements, and needs none, since it is asked without a network: the look and the write are
// two statements there, for which the same holds.
type statements struct {
	claim, claimWrite       string
	finish, finishSweep     change // the second one in PostgreSQL only
	note, settle            change
	release, releaseSuspect string
	recall, peek, abandoned string
	due, dead, replay, drop string
	take, pause             string
	closeEpoch, forget      string
	epoch, noEpoch          string

	clean                     string // PostgreSQL
	cleanEntries, cleanSealed string // SQLite
}

// change is a write of an entry that may have been made already. write answers with a verdict, or with nothing where it met
// nothing to write to; read, where it is set, is asked then.
type change struct {
	write, read string
}

// readArgs is how many of a change's arguments its read takes: the key and the fence.
const readArgs = 2

func newStatements(db *sqldb.DB) statements {
	s := statements{
		claim:      claimLook + "SELECT " + claimColumns + " FROM cur",
		claimWrite: claimLook + claimWrite,
		finish:     newChange(db, finishWrite, finishLook, ""),
		note:       newChange(db, noteWrite, noteLook, ""),
		settle:     newChange(db, settleWrite, settleLook, ""),
		release:    `DELETE FROM {exchanges} WHERE key = $1 AND fence = $2 AND done = 0`,
		releaseSuspect: `
UPDATE {exchanges} SET lease_until = {least}(lease_until, {now}), suspect = 1, user_before = user_id
WHERE key = $1 AND fence = $2 AND done = 0`,
		recall:       `SELECT ` + lookColumns + `, note, lease_until - {now}` + recallFrom,
		peek:         `SELECT ` + lookColumns + `, NULL, lease_until - {now} FROM {exchanges} WHERE key = $1 AND keep_until > {now}`,
		abandoned:    abandoned,
		due:          due,
		dead:         dead,
		replay:       replay,
		drop:         drop,
		take:         take,
		pause:        pause,
		closeEpoch:   `INSERT INTO {epochs} (epoch, closed_at) VALUES ($1, {now}) ON CONFLICT (epoch) DO NOTHING`,
		epoch:        epochFrom("epoch = $3"),
		noEpoch:      epochFrom("epoch IS NULL"),
		forget:       `DELETE FROM {exchanges} WHERE key = $1 AND fence = $2 AND done = 1`,
		clean:        `WITH ` + cleanBoth("", "$1") + ` SELECT (SELECT count(*) FROM gone) + (SELECT count(*) FROM erased)`,
		cleanEntries: cleanEntries,
		cleanSealed:  cleanSealed,
	}
	if db.Dialect == Postgres {
		s.claim = claimLook + ", w AS (" + claimWrite + ") SELECT * FROM w UNION ALL SELECT " + claimColumns + " FROM cur WHERE state <> 1"
		s.claimWrite = ""
		s.finishSweep = newChange(db, finishWrite, finishLook, finishSweep)
	}
	for _, text := range []*string{
		&s.claim, &s.claimWrite, &s.release, &s.releaseSuspect, &s.recall, &s.peek, &s.abandoned, &s.due, &s.dead, &s.replay, &s.drop,
		&s.take, &s.pause, &s.closeEpoch, &s.epoch, &s.noEpoch, &s.forget, &s.clean, &s.cleanEntries, &s.cleanSealed,
	} {
		*text = db.Render(*text)
	}
	return s
}

// newChange makes one statement of the write and the look where the dialect has that.
func newChange(db *sqldb.DB, write, look, also string) change {
	write += " RETURNING 1 AS verdict"
	if db.Dialect == SQLite {
		return change{db.Render(write), db.Render(look)}
	}
	return change{write: db.Render("WITH w AS (" + write + ")" + also +
		" SELECT verdict FROM w UNION ALL SELECT verdict FROM (" + look + ") AS r WHERE NOT EXISTS (SELECT 1 FROM w)")}
}

// Claim: $1 key, $2 fence, $3 shown, $4 user, $5 epoch, $6 lease, $7 keep. The states are those of stmigrate.ClaimState.
const (
	claimLook = `
WITH cur AS MATERIALIZED (
  SELECT n.t, e.user_id, e.handle, CASE WHEN e.sealed_until > n.t THEN e.sealed END AS sealed, e.lease_until - n.t AS wait,
    CASE WHEN e.done = 0 AND e.fence = $2 THEN 1
      WHEN n.closed THEN 4
      WHEN e.done = 1 THEN 3
      WHEN e.lease_until > n.t THEN 2
      ELSE 1 END AS state
  FROM (SELECT {now} AS t, EXISTS (SELECT 1 FROM {epochs} WHERE epoch = $5) AS closed) AS n
  LEFT JOIN {exchanges} AS e ON e.key = $1 AND e.keep_until > n.t
)
`
	claimColumns = `state, 0, user_id, handle, sealed, NULL, coalesce(wait, 0)`
	claimWrite   = `
INSERT INTO {exchanges} AS e (key, shown, fence, epoch, user_id, lease_until, keep_until, clean_at)
SELECT CAST($1 AS {bytes}), CAST($3 AS {bytes}), CAST($2 AS {bytes}), CAST($5 AS {bytes}), CAST($4 AS {bytes}),
  t + CAST($6 AS bigint), t + CAST($7 AS bigint), t + CAST($7 AS bigint)
FROM cur WHERE state = 1
ON CONFLICT (key) DO UPDATE SET
  suspect = CASE WHEN e.keep_until <= {now} THEN 0 WHEN e.fence = $2 THEN e.suspect ELSE 1 END,
  user_before = CASE WHEN e.keep_until <= {now} THEN NULL WHEN e.fence = $2 THEN e.user_before ELSE e.user_id END,
  note = CASE WHEN e.keep_until <= {now} THEN NULL ELSE e.note END,
  noted = CASE WHEN e.keep_until <= {now} THEN NULL ELSE e.noted END,
  shown = excluded.shown, fence = excluded.fence, epoch = excluded.epoch, user_id = excluded.user_id,
  lease_until = {now} + CAST($6 AS bigint), keep_until = {greatest}(e.keep_until, {now} + CAST($7 AS bigint)),
  clean_at = {greatest}(e.keep_until, {now} + CAST($7 AS bigint)),
  done = 0, handle = NULL, sealed = NULL, sealed_until = 0, revoke_state = 0, revoke_due = 0, revoke_since = 0,
  revoke_attempts = 0, revoke_fence = NULL, revoke_settled = NULL, revocation = NULL, revoke_reason = NULL
WHERE e.keep_until <= {now} OR (e.done = 0 AND (e.fence = $2 OR e.lease_until <= {now}))
RETURNING 1, suspect, user_before, CAST(NULL AS {bytes}), CAST(NULL AS {bytes}), note, 0`
)

// Finish: $1 key, $2 fence, $3 handle, $4 sealed, $5 sealed for, $6 keep for, $7 the shorter of them, $8 revocation, $9 its
// state, $10 due in.
const (
	finishWrite = `
UPDATE {exchanges} SET done = 1, suspect = 0, user_before = NULL, note = NULL, noted = NULL, handle = CAST($3 AS {bytes}),
  sealed = CAST($4 AS {bytes}), sealed_until = {now} + CAST($5 AS bigint), keep_until = {now} + CAST($6 AS bigint),
  clean_at = {now} + CAST($7 AS bigint), revocation = CAST($8 AS {bytes}), revoke_state = CAST($9 AS smallint),
  revoke_fence = fence, revoke_due = {now} + CAST($10 AS bigint)
WHERE key = $1 AND fence = $2 AND done = 0 AND keep_until > {now}`
	finishLook = `
SELECT CASE done WHEN 1 THEN 1 ELSE 2 END AS verdict FROM {exchanges} WHERE key = $1 AND fence = $2 AND keep_until > {now}`
)

var finishSweep = ", " + cleanBoth("AND key <> $1", "{sweep}")

// cleanBoth locks what it cleans and passes over what others have locked, so it neither waits nor meets itself. An array has no
// statistics that could make a plan of another kind than looking its keys up.
func cleanBoth(but, limit string) string {
	return `sweep AS MATERIALIZED (
  SELECT key FROM {exchanges} WHERE clean_at <= (SELECT {now}) ` + but + ` ORDER BY clean_at LIMIT ` + limit + ` FOR UPDATE SKIP LOCKED
), gone AS (
  DELETE FROM {exchanges} WHERE key = ANY (ARRAY(SELECT key FROM sweep)) AND keep_until <= {now} RETURNING 1
), erased AS (
  UPDATE {exchanges} SET sealed = NULL, clean_at = keep_until WHERE key = ANY (ARRAY(SELECT key FROM sweep)) AND keep_until > {now} RETURNING 1
)`
}

const (
	cleanEntries = `
DELETE FROM {exchanges} WHERE key IN (
  SELECT key FROM {exchanges} WHERE clean_at <= (SELECT {now}) AND keep_until <= (SELECT {now}) ORDER BY clean_at LIMIT $1)`
	cleanSealed = `
UPDATE {exchanges} SET sealed = NULL, clean_at = keep_until WHERE key IN (
  SELECT key FROM {exchanges} WHERE clean_at <= (SELECT {now}) AND keep_until > (SELECT {now}) ORDER BY clean_at LIMIT $1)`
)

// Recall and Peek: $1 the token shown, or the key.
const (
	lookColumns = `
CASE done WHEN 1 THEN 3 ELSE 2 END, 0, user_id, handle, CASE WHEN sealed_until > {now} THEN sealed END`
	recallFrom = `
FROM {exchanges} WHERE ((shown = $1 AND done = 1) OR noted = $1) AND keep_until > {now}
ORDER BY done DESC, sealed_until DESC LIMIT 1`
)

// Note: $1 key, $2 fence, $3 note.
const (
	noteWrite = `
UPDATE {exchanges} SET note = CAST($3 AS {bytes}), noted = shown WHERE key = $1 AND fence = $2 AND done = 0 AND keep_until > {now}`
	noteLook = `
SELECT 2 AS verdict FROM {exchanges} WHERE key = $1 AND fence = $2 AND done = 0 AND keep_until > {now}`
)

// AbandonedClaims: $1 since, $2 max.
const abandoned = `
SELECT key, shown, user_id, epoch FROM {exchanges}
WHERE done = 0 AND lease_until <= (SELECT {now} - CAST($1 AS bigint)) AND keep_until > (SELECT {now})
ORDER BY lease_until LIMIT $2`

// DueRevocations: $1 max, $2 lease. While it is leased it is due when the lease is over; the first lease is the finisher's.
const due = `
WITH due AS MATERIALIZED (
  SELECT key FROM {exchanges}
  WHERE revoke_state = 1 AND revoke_due <= (SELECT {now}) AND keep_until > (SELECT {now})
  ORDER BY revoke_due LIMIT $1 {skip locked}
)
UPDATE {exchanges} SET revoke_since = revoke_due, revoke_due = {now} + CAST($2 AS bigint),
  revoke_fence = {random}, revoke_attempts = revoke_attempts + 1
WHERE key {in due}
RETURNING key, revoke_fence, revocation, revoke_attempts, revoke_since`

// SettleRevocation: $1 key, $2 fence, $3 state, $4 due in, $5 reason, $6 attempts that do not count.
const (
	settleWrite = `
UPDATE {exchanges} SET revoke_state = CAST($3 AS smallint), revoke_due = {now} + CAST($4 AS bigint),
  revoke_reason = CAST($5 AS {bytes}), revoke_attempts = {greatest}(revoke_attempts - CAST($6 AS integer), 0),
  revoke_settled = revoke_fence, revoke_fence = NULL,
  revocation = CASE WHEN CAST($3 AS smallint) = 0 THEN NULL ELSE revocation END
WHERE key = $1 AND revoke_fence = $2 AND revoke_state = 1 AND keep_until > {now}`
	settleLook = `
SELECT CASE WHEN revoke_settled = $2 THEN 1 ELSE 2 END AS verdict FROM {exchanges}
WHERE key = $1 AND (revoke_settled = $2 OR (revoke_fence = $2 AND revoke_state = 1)) AND keep_until > {now}`
)

// DeadRevocations: $1 after, $2 max.
const (
	dead = `
SELECT key, revocation, revoke_attempts, revoke_reason FROM {exchanges}
WHERE revoke_state = 2 AND key > $1 AND keep_until > {now} ORDER BY key LIMIT $2`
	replay = `
UPDATE {exchanges} SET revoke_state = 1, revoke_due = {now}, revoke_attempts = 0, revoke_reason = NULL
WHERE key = $1 AND revoke_state = 2`
	drop = `
UPDATE {exchanges} SET revoke_state = 0, revocation = NULL, revoke_reason = NULL
WHERE key = $1 AND revoke_state = 2`
)

// TakeBudget: $1 name, $2 wanted, at most $3; $3 calls, $4 time between two. A bucket is the time when it will be full again,
// which each call puts off. excluded.asked_at is one time for the whole statement.
const (
	budgetFull = `{greatest}(b.full_at, b.paused_until + CAST($3 AS bigint) * CAST($4 AS bigint), excluded.asked_at)`
	budgetGot  = `{greatest}(0, {least}(CAST($2 AS bigint),
    CAST($3 AS bigint) - (` + budgetFull + ` - excluded.asked_at + CAST($4 AS bigint) - 1) / CAST($4 AS bigint)))`
	take = `
INSERT INTO {budgets} AS b (name, full_at, got, asked_at)
SELECT CAST($1 AS {bytes}), t + CAST($2 AS bigint) * CAST($4 AS bigint), CAST($2 AS bigint), t FROM (SELECT {now} AS t) AS n WHERE true
ON CONFLICT (name) DO UPDATE SET asked_at = excluded.asked_at, got = ` + budgetGot + `,
  full_at = ` + budgetFull + ` + CAST($4 AS bigint) * ` + budgetGot + `
RETURNING got, full_at, paused_until, asked_at`
)

// PauseBudget: $1 name, $2 for. The bucket is empty when the pause ends, so it is full that much later.
const pause = `
INSERT INTO {budgets} AS b (name, paused_until) VALUES ($1, {now} + CAST($2 AS bigint))
ON CONFLICT (name) DO UPDATE SET paused_until = {greatest}(b.paused_until, excluded.paused_until)`

// epochFrom is EpochExchanges: $1 after, $2 max, $3 epoch. Those without one are found in the order of the primary key.
func epochFrom(which string) string {
	return `
SELECT key, fence, handle FROM {exchanges}
WHERE ` + which + ` AND key > $1 AND done = 1 AND keep_until > {now} ORDER BY key LIMIT $2`
}
