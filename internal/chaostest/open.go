package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // registers the driver "pgx"
	"github.com/redis/go-redis/v9"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stores/redisstore"
	"github.com/stmigrate/stmigrate/stores/sqlstore"
)

// openStore connects to the store as a backend would.
func openStore(ctx context.Context, kind, dsn string) (store, error) {
	switch kind {
	case "postgres":
		return openPostgres(dsn)
	case "redis":
		client := redis.NewClient(&redis.Options{Addr: dsn, ContextTimeoutEnabled: true})
		// A store that has just crashed is waited for, as whoever starts backends would start this one again.
		for {
			s, err := redisstore.New(ctx, redisstore.Config{Client: client})
			if err == nil || !errors.Is(err, stmigrate.ErrUnavailable) || ctx.Err() != nil {
				return s, err
			}
			wait(ctx, 100*time.Millisecond)
		}
	}
	return nil, fmt.Errorf("no store %q", kind)
}

func openPostgres(dsn string) (*sqlstore.Store, error) {
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(20)
	db.SetMaxIdleConns(20)
	return sqlstore.New(sqlstore.Config{DB: db, Dialect: sqlstore.Postgres})
}

// prepareStore makes what a deploy would make.
func prepareStore(ctx context.Context, kind, dsn string) error {
	if kind != "postgres" {
		return nil
	}
	s, err := openPostgres(dsn)
	if err != nil {
		return err
	}
	return s.Migrate(ctx)
}
