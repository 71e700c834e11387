package sqlusers_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"

	"github.com/stmigrate/stmigrate/login/sqlusers"
)

// legacyDB stands for the backend's database, opened with its driver.
func legacyDB() *sql.DB {
	return sql.OpenDB(connector(func(_ context.Context, _ string, params ...any) answer {
		a := answer{columns: []string{"id", "email", "password_hash", "email_verified"}}
		if params[0] == "ada@example.com" {
			a.rows = [][]driver.Value{{int64(42), "Ada@example.com", "$2y$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq", true}}
		}
		return a
	}))
}

func Example() {
	db := legacyDB()
	defer func() { _ = db.Close() }()
	store, err := sqlusers.New(sqlusers.Config{
		DB: db,
		ByEmail: `SELECT id, email, password_hash, email_confirmed_at IS NOT NULL AS email_verified
			FROM users WHERE lower(email) = $1 AND deleted_at IS NULL`,
		ByID:      `SELECT id, email, NULL AS password_hash, email_confirmed_at IS NOT NULL AS email_verified FROM users WHERE id = $1`,
		IDParam:   sqlusers.IntID,
		DummyHash: "$2y$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	fmt.Println(store.Check(ctx))
	_, err = store.Authenticate(ctx, "public", "ada@example.com", "a guess")
	fmt.Println(err)
	// Output:
	// <nil>
	// wrong e-mail or password
}
