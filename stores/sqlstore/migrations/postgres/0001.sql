CREATE TABLE {schema} (version integer NOT NULL PRIMARY KEY, applied_at bigint NOT NULL);
INSERT INTO {schema} (version, applied_at) VALUES (1, {now});
-- Times are microseconds since 1970 on the server's clock. What is opaque to the store is bytea, so that any bytes fit.
CREATE TABLE {exchanges} (
    key             bytea    PRIMARY KEY,
    shown           bytea    NOT NULL,
    fence           bytea    NOT NULL,
    epoch           bytea,
    done            smallint NOT NULL DEFAULT 0,
    suspect         smallint NOT NULL DEFAULT 0,
    user_id         bytea,
    user_before     bytea,
    note            bytea,
    -- The token shown for the claim that the note was written under.
    noted           bytea,
    handle          bytea,
    sealed          bytea,
    lease_until     bigint   NOT NULL,
    sealed_until    bigint   NOT NULL DEFAULT 0,
    keep_until      bigint   NOT NULL,
    -- When there is something to erase next: sealed, or the whole row.
    clean_at        bigint   NOT NULL,
    -- 0 nothing is owed (any more), 1 owed, 2 dead letter. Leased while there is a revoke_fence.
    revoke_state    smallint NOT NULL DEFAULT 0,
    revoke_due      bigint   NOT NULL DEFAULT 0,
    revoke_since    bigint   NOT NULL DEFAULT 0,
    revoke_attempts integer  NOT NULL DEFAULT 0,
    revoke_fence    bytea,
    -- The fence that settled it last, so that it can do so again.
    revoke_settled  bytea,
    revocation      bytea,
    revoke_reason   bytea
) WITH (
    -- A sealed answer is about 2 KB of random bytes: there is nothing to compress, and it lives for minutes. It stays in its row.
    toast_tuple_target = 4080,
    autovacuum_vacuum_scale_factor = 0.05
);
ALTER TABLE {exchanges} ALTER COLUMN sealed SET STORAGE EXTERNAL;
ALTER TABLE {exchanges} ALTER COLUMN note SET STORAGE EXTERNAL;
ALTER TABLE {exchanges} ALTER COLUMN revocation SET STORAGE EXTERNAL;
CREATE INDEX "{prefix}exchanges_shown" ON {exchanges} (shown);
CREATE INDEX "{prefix}exchanges_noted" ON {exchanges} (noted) WHERE noted IS NOT NULL;
CREATE INDEX "{prefix}exchanges_clean" ON {exchanges} (clean_at);
CREATE INDEX "{prefix}exchanges_held" ON {exchanges} (lease_until) WHERE done = 0;
CREATE INDEX "{prefix}exchanges_owed" ON {exchanges} (revoke_due) WHERE revoke_state = 1;
CREATE INDEX "{prefix}exchanges_dead" ON {exchanges} (key) WHERE revoke_state = 2;
CREATE INDEX "{prefix}exchanges_epoch" ON {exchanges} (epoch, key) WHERE epoch IS NOT NULL;
CREATE TABLE {epochs} (
    epoch     bytea  PRIMARY KEY,
    closed_at bigint NOT NULL
);
CREATE TABLE {budgets} (
    name         bytea  PRIMARY KEY,
    -- A bucket is a time: when it will be full again.
    full_at      bigint NOT NULL DEFAULT 0,
    paused_until bigint NOT NULL DEFAULT 0,
    -- What the last call got, and when.
    got          bigint NOT NULL DEFAULT 0,
    asked_at     bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
