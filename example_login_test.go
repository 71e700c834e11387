package stmigrate_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// The users of SuperTokens sign up and in, and set their password anew.
func ExampleNewEmailPassword() {
	ctx := context.Background()
	st, err := stmigratetest.StartCore(stmigratetest.CoreConfig{}) // in production: core.New(core.Config{ConnectionURI: …})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer st.Close()
	login := stmigrate.NewEmailPassword(st.Client())

	ada, err := login.SignUp(ctx, "", " Ada@Example.com", "correct horse 1")
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = login.SignUp(ctx, "", "ada@example.com", "another horse 2")
	fmt.Println("twice:", errors.Is(err, stmigrate.ErrEmailExists))
	_, err = login.SignIn(ctx, "", "ada@example.com", "wrong")
	fmt.Println("wrong:", err)

	token, err := login.CreatePasswordResetToken(ctx, "", ada.ID, ada.Email) // to be sent to that e-mail
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err = login.ResetPassword(ctx, "", token, "new horse 3"); err != nil {
		fmt.Println(err)
		return
	}
	u, err := login.SignIn(ctx, "", "ADA@example.com", "new horse 3")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("signed in:", u.Email, u.TenantIDs, u.ID == ada.ID)
	// Output:
	// twice: true
	// wrong: wrong e-mail or password
	// signed in: ada@example.com [public] true
}

// Users that are not in SuperTokens sign in against the legacy system, and nobody takes their e-mail.
func ExampleOverride() {
	ctx := context.Background()
	st, err := stmigratetest.StartCore(stmigratetest.CoreConfig{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer st.Close()
	legacy := new(stmigratetest.FakeLegacyUsers) // in production: your LegacyUserStore
	legacy.Add(stmigrate.LegacyUser{ID: "auth0|grace", Email: "grace@example.com"}, "legacy horse 3")

	login, err := stmigrate.Override(stmigrate.OverrideConfig{
		Original:     stmigrate.NewEmailPassword(st.Client()),
		Legacy:       legacy,
		FailureFloor: time.Millisecond, // leave it at its default
	})
	if err != nil {
		fmt.Println(err)
		return
	}

	u, err := login.SignIn(ctx, "", "Grace@example.com", "legacy horse 3")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(u.ID, "is a legacy user:", u.Legacy)

	_, err = login.SignUp(ctx, "", "grace@example.com", "x")
	fmt.Println("sign-up:", errors.Is(err, stmigrate.ErrEmailExists))
	_, err = login.CreatePasswordResetToken(ctx, "", u.ID, u.Email)
	fmt.Println("reset:", err)

	if _, err := login.SignUp(ctx, "", "ada@example.com", "correct horse 1"); err != nil {
		fmt.Println(err)
		return
	}
	n, err := login.UserCount(ctx)
	fmt.Println("users:", n, err)
	// Output:
	// auth0|grace is a legacy user: true
	// sign-up: true
	// reset: the password can only be reset in the legacy system
	// users: 2 <nil>
}

// Before a store of one's own that is asked by a login of one's own: here the tries for one e-mail run out, and the right password is
// worth no more than a wrong one until some have flowed in again.
func ExampleNewLegacyGuard() {
	ctx := context.Background()
	legacy := new(stmigratetest.FakeLegacyUsers)
	legacy.Add(stmigrate.LegacyUser{ID: "auth0|grace", Email: "grace@example.com"}, "legacy horse 3")
	guard, err := stmigrate.NewLegacyGuard(stmigrate.LegacyGuardConfig{Store: legacy, Tries: 2, TriesPer: time.Hour})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, password := range []string{"legacy horse 3", "wrong", "legacy horse 3"} {
		_, err := guard.Authenticate(ctx, "", "Grace@example.com", password)
		fmt.Println(err)
	}
	_, err = guard.Authenticate(ctx, "another-tenant", "grace@example.com", "legacy horse 3")
	fmt.Println(err)
	// Output:
	// <nil>
	// wrong e-mail or password
	// wrong e-mail or password
	// wrong e-mail or password
}
