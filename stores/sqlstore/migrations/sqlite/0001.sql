CREATE TABLE {schema} (version INTEGER NOT NULL PRIMARY KEY, applied_at INTEGER NOT NULL);
INSERT INTO {schema} (version, applied_at) VALUES (1, {now});
-- Times are microseconds since 1970 on this machine's clock. What is opaque to the store is a BLOB, so that any bytes fit.
CREATE TABLE {exchanges} (
    key             BLOB     NOT NULL PRIMARY KEY,
    shown           BLOB     NOT NULL,
    fence           BLOB     NOT NULL,
    epoch           BLOB,
    done            INTEGER  NOT NULL DEFAULT 0,
    suspect         INTEGER  NOT NULL DEFAULT 0,
    user_id         BLOB,
    user_before     BLOB,
    note            BLOB,
    -- The token shown for the claim that the note was written under.
    noted           BLOB,
    handle          BLOB,
    sealed          BLOB,
    lease_until     INTEGER  NOT NULL,
    sealed_until    INTEGER  NOT NULL DEFAULT 0,
    keep_until      INTEGER  NOT NULL,
    -- When there is something to erase next: sealed, or the whole row.
    clean_at        INTEGER  NOT NULL,
    -- 0 nothing is owed (any more), 1 owed, 2 dead letter. Leased while there is a revoke_fence.
    revoke_state    INTEGER  NOT NULL DEFAULT 0,
    revoke_due      INTEGER  NOT NULL DEFAULT 0,
    revoke_since    INTEGER  NOT NULL DEFAULT 0,
    revoke_attempts INTEGER  NOT NULL DEFAULT 0,
    revoke_fence    BLOB,
    -- The fence that settled it last, so that it can do so again.
    revoke_settled  BLOB,
    revocation      BLOB,
    revoke_reason   BLOB
) STRICT;
CREATE INDEX "{prefix}exchanges_shown" ON {exchanges} (shown);
CREATE INDEX "{prefix}exchanges_noted" ON {exchanges} (noted) WHERE noted IS NOT NULL;
CREATE INDEX "{prefix}exchanges_clean" ON {exchanges} (clean_at);
CREATE INDEX "{prefix}exchanges_held" ON {exchanges} (lease_until) WHERE done = 0;
CREATE INDEX "{prefix}exchanges_owed" ON {exchanges} (revoke_due) WHERE revoke_state = 1;
CREATE INDEX "{prefix}exchanges_dead" ON {exchanges} (key) WHERE revoke_state = 2;
CREATE INDEX "{prefix}exchanges_epoch" ON {exchanges} (epoch, key) WHERE epoch IS NOT NULL;
CREATE TABLE {epochs} (
    epoch     BLOB NOT NULL PRIMARY KEY,
    closed_at INTEGER NOT NULL
) STRICT;
CREATE TABLE {budgets} (
    name         BLOB NOT NULL PRIMARY KEY,
    -- A bucket is a time: when it will be full again.
    full_at      INTEGER NOT NULL DEFAULT 0,
    paused_until INTEGER NOT NULL DEFAULT 0,
    -- What the last call got, and when.
    got          INTEGER NOT NULL DEFAULT 0,
    asked_at     INTEGER NOT NULL DEFAULT 0
) STRICT;
