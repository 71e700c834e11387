package main

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// deployment is what the release with SuperTokens is made of.
type deployment struct {
	legacy   *stmigratetest.Issuer
	verifier stmigrate.OldSessionVerifier
	core     *core.Client
	base     string // the page's origin, and the API's
	// observe is told of every exchange, and revoked of every legacy token that was.
	observe func(context.Context, stmigrate.Event)
	revoked func(token string)
}

// after is the backend with SuperTokens. What a team adds is here: the exchange, SuperTokens' own two endpoints, an API that
// takes either session during the rollout, and a sign-in that starts a SuperTokens session.
func after(d deployment) (*http.ServeMux, *stmigrate.Sessions, error) {
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{
		Core: d.core, APIDomain: d.base, WebsiteOrigins: []string{d.base},
		Transfer: stmigrate.TransferCookie, // HttpOnly: no script reads the tokens
		// True of the one user whom this demo has. An app looks each of them up, in the core or in a table of its own: what stands here
		// is in every session.
		Claims: func(context.Context, stmigrate.User) (map[string]any, error) {
			return map[string]any{
				"st-ev":   stmigrate.ClaimValue(true, time.Now()),
				"st-role": stmigrate.ClaimValue([]string{"author"}, time.Now()),
			}, nil
		},
	})
	if err != nil {
		return nil, nil, err
	}
	migrator, err := stmigrate.New(stmigrate.Config{
		Verifier:  d.verifier,
		Sessions:  sessions,
		Users:     stmigrate.SubjectIsUserID,
		Exchanges: stmigrate.NewMemoryExchanges(10_000), // one process; for more stores/sqlstore or stores/redisstore
		Revoker: stmigrate.RevokerFunc(func(ctx context.Context, token string, _ *stmigrate.OldSession) error {
			if err := endLegacySession(ctx, d.legacy.LogoutURL(), token); err != nil {
				return err
			}
			d.revoked(token)
			return nil
		}),
		Observe: d.observe,
		Logger:  slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		return nil, nil, err
	}
	users, err := logins(d.core)
	if err != nil {
		return nil, nil, err
	}

	mux := http.NewServeMux()
	mux.Handle("/migrate-session", migrator)
	mux.Handle("/auth/", sessions)
	mux.Handle("GET /api/me", migrator.RequireEither(sessions.Require, http.HandlerFunc(me)))
	mux.HandleFunc("POST /sign-in", func(w http.ResponseWriter, r *http.Request) {
		email, password, ok := credentials(w, r)
		if !ok {
			return
		}
		signedIn, err := users.SignIn(r.Context(), "", email, password)
		if err == nil {
			_, err = sessions.Start(w, r, stmigrate.User{ID: signedIn.ID})
		}
		if err != nil {
			signInFailed(w, err)
			return
		}
		reply(w, http.StatusOK, map[string]string{"status": "OK"})
	})
	// A page that could not migrate yet still signs out where it is signed in.
	mux.Handle("POST /legacy/sign-out", legacySignOut(d.legacy))
	return mux, sessions, nil
}

// logins answers for the users of SuperTokens and, until they are imported, for those of the legacy user table.
func logins(supertokens *core.Client) (stmigrate.EmailPassword, error) {
	table := &stmigratetest.FakeLegacyUsers{}
	table.Add(stmigrate.LegacyUser{ID: ada.ID, Email: ada.Email, EmailVerified: true}, ada.password)
	return stmigrate.Override(stmigrate.OverrideConfig{Original: stmigrate.NewEmailPassword(supertokens), Legacy: table})
}
