package sqldb

import (
	"context"
	"strings"
)

// Migrate brings the tables to the version of the last migration. Where they are of it already it only looks.
func (db *DB) Migrate(ctx context.Context) error {
	_, err := inTime(ctx, db, func() (struct{}, error) { return struct{}{}, db.migrate(ctx) })
	if err == nil {
		db.checked.Store(true)
	}
	return err
}

func (db *DB) migrate(ctx context.Context) error {
	for {
		have, err := db.version(ctx)
		if err != nil || have == len(db.migrations) {
			return err
		}
		if have > len(db.migrations) {
			return db.newer(have)
		}
		if err := db.run(ctx, db.migrations[have]); err != nil {
			// Where another node was faster, its version is there now.
			if now, lookErr := db.version(ctx); lookErr != nil || now <= have {
				return err
			}
		}
	}
}

// run runs the statements of one migration.
func (db *DB) run(ctx context.Context, migration string) error {
	tx, err := db.pool.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // does nothing after Commit
	for text := range strings.SplitAfterSeq(migration, ";\n") {
		if strings.TrimSpace(text) == "" {
			continue
		}
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return err
		}
	}
	return tx.Commit()
}

// Check tells whether the tables are of the version of the last migration: nil, or an [ErrSchema] that says what to do.
func (db *DB) Check(ctx context.Context) error {
	have, err := db.version(ctx)
	switch {
	case err != nil:
		return err
	case have > len(db.migrations):
		return db.newer(have)
	case have == 0:
		return wrongSchema("the table %s is missing or empty: run Migrate", db.versions)
	case have < len(db.migrations):
		return wrongSchema("the schema is of version %d and this code needs %d: run Migrate", have, len(db.migrations))
	}
	db.checked.Store(true)
	return nil
}

// Ready is for the begin of every method: it wants a context that has not ended and, until it was nil once, a Check.
func (db *DB) Ready(ctx context.Context) error {
	if err := ctx.Err(); err != nil || db.checked.Load() {
		return err
	}
	return db.Check(ctx)
}

// version is 0 where there is no table of versions, or nothing in it.
func (db *DB) version(ctx context.Context) (int, error) {
	exists, table := `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ?1`, db.bare
	if db.Dialect == Postgres {
		exists, table = `SELECT CASE WHEN to_regclass(CAST($1 AS text)) IS NULL THEN 0 ELSE 1 END`, db.versions
	}
	found, err := Query(ctx, db, 1, ReadInt, exists, table)
	if err != nil || len(found) == 1 && found[0] == 0 {
		return 0, err
	}
	found, err = Query(ctx, db, 1, ReadInt, `SELECT coalesce(max(version), 0) FROM `+db.versions)
	if err == nil && len(found) != 1 {
		err = Garbage("no version of the schema")
	}
	if err != nil {
		return 0, err
	}
	return int(max(found[0], 0)), nil
}

func (db *DB) newer(have int) error {
	return wrongSchema("the schema is of version %d and this code knows %d: deploy the release that made it, or a later one",
		have, len(db.migrations))
}
