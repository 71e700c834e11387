CREATE TABLE {login_schema} (version integer NOT NULL PRIMARY KEY);
INSERT INTO {login_schema} (version) VALUES (1);
-- One row for each user whose import was begun. Text compares by its bytes; times are Unix milliseconds.
CREATE TABLE {login} (
	tenant_id  text COLLATE "C" NOT NULL,
	email      text COLLATE "C" NOT NULL,
	legacy_id  text COLLATE "C" NOT NULL,
	user_id    text COLLATE "C" NOT NULL,
	step       smallint NOT NULL,
	flags      integer NOT NULL,
	conflict   text COLLATE "C" NOT NULL,
	fence      bytea NOT NULL,
	lease_end  bigint NOT NULL,
	begun_at   bigint NOT NULL,
	changed_at bigint NOT NULL,
	PRIMARY KEY (tenant_id, email)
);
CREATE INDEX "{prefix}login_conflict" ON {login} (tenant_id, email) WHERE conflict <> '';
CREATE INDEX "{prefix}login_legacy_id" ON {login} (legacy_id);
