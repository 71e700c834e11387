package login_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/login"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

func Example() {
	ctx := context.Background()
	memory, err := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	if err != nil {
		panic(err)
	}
	defer memory.Close()
	supertokens := memory.Client()
	if _, err := supertokens.CreateRole(ctx, "admin"); err != nil {
		panic(err)
	}
	legacy := &stmigratetest.FakeLegacyUsers{}
	legacy.Add(stmigrate.LegacyUser{
		ID: "auth0|42", Email: "ada@example.com", EmailVerified: true, Roles: []string{"admin", "poet"},
	}, "analytical engine 1")

	users, err := login.New(login.Config{
		Core:   supertokens,
		Legacy: legacy,
		Ledger: login.NewMemoryLedger(100_000), // NewSQLLedger where there is more than one process
		Observe: func(_ context.Context, e login.Event) {
			if e.Name == login.EventImport {
				fmt.Println("import:", e.Outcome, "roles left out:", e.Roles)
			}
		},
	})
	if err != nil {
		panic(err)
	}
	_, err = users.SignIn(ctx, "", "ada@example.com", "difference engine")
	fmt.Println("wrong password:", errors.Is(err, stmigrate.ErrWrongCredentials))

	user, err := users.SignIn(ctx, "", "ada@example.com", "analytical engine 1")
	if err != nil {
		panic(err)
	}
	roles, err := supertokens.UserRoles(ctx, "", user.ID)
	if err != nil {
		panic(err)
	}
	fmt.Println("signed in:", user.ID, "roles:", roles)

	// From now on SuperTokens decides, and legacy is not asked for this user's password any more.
	if err := supertokens.SetPassword(ctx, user.ID, "a new password 2"); err != nil {
		panic(err)
	}
	_, err = users.SignIn(ctx, "", "ada@example.com", "analytical engine 1")
	fmt.Println("old password:", errors.Is(err, stmigrate.ErrWrongCredentials))
	// Output:
	// wrong password: true
	// import: ok roles left out: [poet]
	// signed in: auth0|42 roles: [admin]
	// old password: true
}

func ExampleLogin_Conflicts() {
	ctx := context.Background()
	memory, err := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	if err != nil {
		panic(err)
	}
	defer memory.Close()
	legacy := &stmigratetest.FakeLegacyUsers{}
	legacy.Add(stmigrate.LegacyUser{ID: "auth0|42", Email: "ada@example.com"}, "analytical engine 1")
	legacy.Add(stmigrate.LegacyUser{ID: "auth0|42", Email: "ada@example.org"}, "analytical engine 1")
	users, err := login.New(login.Config{Core: memory.Client(), Legacy: legacy, Ledger: login.NewMemoryLedger(100_000)})
	if err != nil {
		panic(err)
	}
	for _, email := range []string{"ada@example.com", "ada@example.org"} {
		_, err := users.SignIn(ctx, "", email, "analytical engine 1")
		fmt.Println(email, errors.Is(err, stmigrate.ErrConflict))
	}
	for after := (login.Key{}); ; {
		page, err := users.Conflicts(ctx, after, 100)
		if err != nil {
			panic(err)
		}
		for _, e := range page {
			fmt.Println(e.Email+":", e.Conflict)
			after = e.Key
		}
		if len(page) < 100 {
			break
		}
	}
	// Output:
	// ada@example.com false
	// ada@example.org true
	// ada@example.org: the legacy ID "auth0|42" is the ID of a user in SuperTokens already, of another e-mail
}
