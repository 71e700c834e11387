package interop

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/alexedwards/scs/v2"
	"github.com/gorilla/sessions"

	"github.com/stmigrate/stmigrate/ownsession"
)

func database(statements ...string) *sql.DB {
	db, err := sql.Open("sqlite", ":memory:")
	if err != nil {
		log.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	for _, statement := range statements {
		if _, err := db.Exec(statement); err != nil {
			log.Fatal(err)
		}
	}
	return db
}

func ExampleSQL() {
	db := database(
		`CREATE TABLE sessions (token_hash TEXT PRIMARY KEY, user_id INTEGER, logged_in_at INTEGER, expires_at INTEGER, revoked_at INTEGER)`,
		`INSERT INTO sessions VALUES ('', 42, 1760000000, 4102444800, NULL)`)
	defer func() { _ = db.Close() }()
	token := "3f1c0e8a5d7b49f2a6c8e1d0b4f79265"
	if _, err := db.Exec(`UPDATE sessions SET token_hash = ?`, hexOf(token)); err != nil {
		log.Fatal(err)
	}

	rows, err := ownsession.NewSQL(ownsession.SQLConfig{
		Rules: ownsession.Rules{
			Issuer:   "https://app.example.com/sessions",
			UserID:   ownsession.Path{"user_id"},
			AuthTime: ownsession.Path{"logged_in_at"},
		},
		DB:     db,
		Lookup: ownsession.SHA256Hex,
		Query: `SELECT token_hash AS id, user_id, logged_in_at, expires_at, revoked_at AS revoked
			FROM sessions WHERE token_hash = ?`,
		Delete: `DELETE FROM sessions WHERE token_hash = ?`,
	})
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	s, err := rows.Verify(ctx, token)
	fmt.Println(s.Subject, s.AuthTime.Unix(), err)
	fmt.Println(rows.Revoke(ctx, token, s))
	_, err = rows.Verify(ctx, token)
	fmt.Println(err)
	// Output:
	// 42 1760000000 <nil>
	// <nil>
	// legacy session of another issuer or kind: no row has it
}

// connectPGSimple is what the page shows for Express. TestConnectPGSimple runs it on PostgreSQL.
func connectPGSimple(db *sql.DB, sessionSecret string) (*ownsession.Express, error) {
	express, err := ownsession.NewExpress(ownsession.ExpressConfig{
		Rules:   ownsession.Rules{Issuer: "https://app.example.com/express", UserID: ownsession.Path{"passport", "user"}},
		Secrets: []string{sessionSecret},
		Get: func(ctx context.Context, id string) (data []byte, expires time.Time, err error) { // connect-pg-simple
			err = db.QueryRowContext(ctx, `SELECT sess, expire::timestamptz FROM session WHERE sid = $1`, id).Scan(&data, &expires)
			return data, expires, err
		},
		Delete: func(ctx context.Context, id string) error {
			_, err := db.ExecContext(ctx, `DELETE FROM session WHERE sid = $1`, id)
			return err
		},
	})
	return express, err
}

func ExampleDjango() {
	db := database(
		`CREATE TABLE django_session (session_key TEXT PRIMARY KEY, session_data TEXT, expire_date DATETIME)`,
		`CREATE TABLE auth_user (id INTEGER PRIMARY KEY, password TEXT, is_active BOOLEAN)`,
		`INSERT INTO auth_user VALUES (7, 'pbkdf2_sha256$260000$fixture$fixture0123456789', TRUE)`,
		`INSERT INTO django_session VALUES ('sfv2kf6a6mq4etcwzd2zd24gt0heqtbn', '.eJxVjEEOwiAQRe_C2hChLWVcuu8ZyMwwSNVAUtqV8e7apAvd_vfef6mA25rD1mQJc1QXNarT70bIDyk7iHcst6q5lnWZSe-KPmjTU43yvB7u30HGlr_14JEQhHtg8J1hYwxB6tAKJufYj0NiICHj-AzW92wBu4gCYiQysHp_AAJ4OQU:1xUmtj:FwRw4qtkxfjhEOTcG8QNmaQ1sbkdFRTweUh3Bfp7VvM', '2099-01-01 00:00:00')`)
	defer func() { _ = db.Close() }()
	secretKey := "fixture SECRET_KEY of django, 50 characters and more of it"

	django, err := ownsession.NewDjango(ownsession.DjangoConfig{
		Rules:      ownsession.Rules{Issuer: "https://app.example.com/django"},
		SecretKeys: []string{secretKey},
		Get: func(ctx context.Context, key string) (data []byte, expires time.Time, err error) {
			err = db.QueryRowContext(ctx, `SELECT session_data, expire_date FROM django_session WHERE session_key = $1`, key).
				Scan(&data, &expires)
			return data, expires, err
		},
		Delete: func(ctx context.Context, key string) error {
			_, err := db.ExecContext(ctx, `DELETE FROM django_session WHERE session_key = $1`, key)
			return err
		},
		PasswordHash: func(ctx context.Context, userID string) (password string, err error) {
			err = db.QueryRowContext(ctx, `SELECT password FROM auth_user WHERE id = $1 AND is_active`, userID).Scan(&password)
			return password, err
		},
	})
	if err != nil {
		log.Fatal(err)
	}

	ctx := context.Background()
	s, err := django.Verify(ctx, "sfv2kf6a6mq4etcwzd2zd24gt0heqtbn")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Subject)
	if _, err := db.Exec(`UPDATE auth_user SET is_active = FALSE`); err != nil {
		log.Fatal(err)
	}
	_, err = django.Verify(ctx, "sfv2kf6a6mq4etcwzd2zd24gt0heqtbn")
	fmt.Println(err)
	// Output:
	// 7
	// invalid legacy session: its user is gone or not active
}

func ExampleSCS() {
	manager := scs.New() // the application's
	signedIn := httptest.NewRecorder()
	manager.LoadAndSave(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		manager.Put(r.Context(), "userID", 42)
	})).ServeHTTP(signedIn, httptest.NewRequest(http.MethodPost, "/login", nil))

	sessions, err := ownsession.NewSCS(ownsession.SCSConfig{
		Rules:   ownsession.Rules{Issuer: "https://app.example.com/scs", UserID: ownsession.Path{"userID"}},
		Manager: manager,
	})
	if err != nil {
		log.Fatal(err)
	}

	s, err := sessions.Verify(context.Background(), signedIn.Result().Cookies()[0].Value)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Subject)
	// Output: 42
}

func ExampleGorilla() {
	store := sessions.NewCookieStore([]byte("0123456789abcdef0123456789abcdef"))
	signedIn, login := httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/login", nil)
	session, _ := store.New(login, "app")
	session.Values["user"], session.Values["login_id"] = 42, "5a1f0c9e7b3d48a6"
	if err := store.Save(login, signedIn, session); err != nil {
		log.Fatal(err)
	}

	gorilla, err := ownsession.NewGorilla(ownsession.GorillaConfig{
		Rules:  ownsession.Rules{Issuer: "https://app.example.com/gorilla", UserID: ownsession.Path{"user"}},
		Cookie: "app",
		Load: func(r *http.Request) (*ownsession.GorillaSession, error) {
			s, err := store.Get(r, "app")
			if err != nil || s.IsNew {
				return nil, err
			}
			return &ownsession.GorillaSession{ID: s.ID, Values: s.Values}, nil
		},
		SessionID: ownsession.Path{"login_id"}, // only for a CookieStore, which has no ID
	})
	if err != nil {
		log.Fatal(err)
	}

	s, err := gorilla.Verify(context.Background(), signedIn.Result().Cookies()[0].Value)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Subject)
	// Output: 42
}
