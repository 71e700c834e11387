CREATE TABLE {login_schema} (version integer NOT NULL PRIMARY KEY);
INSERT INTO {login_schema} (version) VALUES (1);
-- One row for each user whose import was begun. Text compares by its bytes; times are Unix milliseconds.
CREATE TABLE {login} (
	tenant_id  TEXT NOT NULL,
	email      TEXT NOT NULL,
	legacy_id  TEXT NOT NULL,
	user_id    TEXT NOT NULL,
	step       INTEGER NOT NULL,
	flags      INTEGER NOT NULL,
	conflict   TEXT NOT NULL,
	fence      BLOB NOT NULL,
	lease_end  INTEGER NOT NULL,
	begun_at   INTEGER NOT NULL,
	changed_at INTEGER NOT NULL,
	PRIMARY KEY (tenant_id, email)
) WITHOUT ROWID;
CREATE INDEX "{prefix}login_conflict" ON {login} (tenant_id, email) WHERE conflict <> '';
CREATE INDEX "{prefix}login_legacy_id" ON {login} (legacy_id);
