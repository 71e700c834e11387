package ownsession_test

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/ownsession"
	"github.com/stmigrate/stmigrate/revoke"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// memory is a session store.
type memory map[string]string

func (m memory) Get(_ context.Context, id string) ([]byte, time.Time, error) {
	return []byte(m[id]), time.Now().Add(time.Hour), nil
}

func (m memory) Delete(_ context.Context, id string) error {
	delete(m, id)
	return nil
}

// The page of the application posts to /migrate-session. The browser sends the cookie of express-session along, and has a
// SuperTokens session afterwards.
func Example() {
	store := memory{
		"WEfXx6GAkRZiZviZE-YZZMV_pQpHUMGU": `{"cookie":{"expires":null,"originalMaxAge":null},"passport":{"user":"user-1"}}`,
	}
	sessions := &stmigratetest.FakeSessions{} // stmigrate.NewSessions in a program
	express, err := ownsession.NewExpress(ownsession.ExpressConfig{
		Rules:   ownsession.Rules{Issuer: "https://app.example.com/express", UserID: ownsession.Path{"passport", "user"}},
		Secrets: []string{"fixture secret of express, current"},
		Get:     store.Get,
		Delete:  store.Delete,
	})
	if err != nil {
		log.Fatal(err)
	}
	// The answer takes the cookie from the browser, too: with the Path and Domain that Express set it with.
	clearing, err := revoke.ClearCookies(express, &http.Cookie{Name: "connect.sid", Path: "/", HttpOnly: true})
	if err != nil {
		log.Fatal(err)
	}
	migrator, err := stmigrate.New(stmigrate.Config{
		Verifier:  express,
		Revoker:   clearing,
		Extract:   []stmigrate.Extractor{stmigrate.FromCookie("connect.sid")},
		Origins:   []string{"https://app.example.com"},
		Sessions:  sessions,
		Users:     stmigrate.SubjectIsUserID,
		Exchanges: stmigrate.NewMemoryExchanges(1_000_000),
		Until:     time.Now().Add(90 * 24 * time.Hour),
	})
	if err != nil {
		log.Fatal(err)
	}

	post := func(origin string) {
		r := httptest.NewRequest(http.MethodPost, "https://api.example.com/migrate-session", nil)
		r.Header.Set("Origin", origin)
		r.Header.Set("Cookie", "connect.sid=s%3AWEfXx6GAkRZiZviZE-YZZMV_pQpHUMGU.44SJqiIcaq2h4BbVQILW8Fziu7B3lzMxbzAbSphpXw8")
		answer := httptest.NewRecorder()
		migrator.ServeHTTP(answer, r)
		fmt.Println(answer.Code, answer.Body, len(store), "left at Express")
	}
	post("https://evil.example")
	post("https://app.example.com")
	fmt.Println(sessions.Live()[0].UserID)
	// Output:
	// 403 {"status":"FORBIDDEN_ORIGIN"} 1 left at Express
	// 200 {"status":"OK"} 0 left at Express
	// user-1
}

// Devise keeps a part of the password's hash in the session, so that a new password ends it.
func ExampleNewRails() {
	secretKeyBase := "fixture secret_key_base of rails, 32 bytes and more fixture secret_key_base of rails, 32 bytes and more "
	encryptedPassword := func(context.Context, string) (string, error) {
		return "$2a$12$fixturefixturefixture.and.the.rest.of.the.hash", nil
	}
	rails, err := ownsession.NewRails(ownsession.RailsConfig{
		Rules: ownsession.Rules{
			Issuer: "https://shop.example.com/rails",
			UserID: ownsession.Path{"warden.user.user.key", "0", "0"},
			Check: func(ctx context.Context, s *stmigrate.OldSession) error {
				hash, err := encryptedPassword(ctx, s.Subject) // SELECT encrypted_password FROM users WHERE id = $1
				if err != nil {
					return fmt.Errorf("%w: the user's row: %w", stmigrate.ErrUnavailable, err)
				}
				const bcryptSalt = 29
				key, _ := s.Claims["warden.user.user.key"].([]any)
				if len(key) != 2 || len(hash) < bcryptSalt {
					return errors.New("no salt of Devise in the session")
				}
				salt, _ := key[1].(string)
				if subtle.ConstantTimeCompare([]byte(salt), []byte(hash[:bcryptSalt])) == 0 {
					return errors.New("from before the last change of the password")
				}
				return nil
			},
		},
		Cookie:         "_shop_session",
		SecretKeyBases: []string{secretKeyBase},
	})
	if err != nil {
		log.Fatal(err)
	}

	cookie := "vpQG6P1tXG6%2BQTIypHi%2F9zqbpbz7d9cCz%2BRL7ER6KUtX%2BtOSFW7QjQfj63nqefgsc5MBPxW0rOh5PHjrQgwUCciw%2FyOhAjDufpsr" +
		"zUcNmDEfspWpliYbAs5pTLOrrfolirUZ1h0Zvf0wtWw94dMI4aQhXLYPw9wxKadRdY3zqaUVAkP9Q1vx6JQRA9BHf2TAA8cpPLJNkX6eQGcz0Y" +
		"7zATbIuqARs1fD%2BjqcwwalPX%2FWVfn2FatCbjdY8qFd5Z6jeQ6Z0amZotatAdhWfsbH4fY%2B7Wap--eOhWICN8OkqknPcv--xevHRhE32%" +
		"2B3yakE3mCJxjA%3D%3D"
	s, err := rails.Verify(context.Background(), cookie)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Subject, s.ExpiresAt.IsZero())
	// Output: 17 true
}

// Django's own checks hold: the row, its signature, its end, and the user's password.
func ExampleNewDjango() {
	store := memory{
		"sfv2kf6a6mq4etcwzd2zd24gt0heqtbn": ".eJxVjEEOwiAQRe_C2hChLWVcuu8ZyMwwSNVAUtqV8e7apAvd_vfef6mA25rD1mQJc1QXNarT70bIDyk7iHcst6q5lnWZSe-KPmjTU43yvB7u3" +
			"0HGlr_14JEQhHtg8J1hYwxB6tAKJufYj0NiICHj-AzW92wBu4gCYiQysHp_AAJ4OQU:1xUmtj:FwRw4qtkxfjhEOTcG8QNmaQ1sbkdFRTweUh3" +
			"Bfp7VvM",
	}
	django, err := ownsession.NewDjango(ownsession.DjangoConfig{
		Rules:      ownsession.Rules{Issuer: "https://app.example.com/django"},
		SecretKeys: []string{"fixture SECRET_KEY of django, 50 characters and more of it"},
		Get:        store.Get,
		Delete:     store.Delete,
		PasswordHash: func(context.Context, string) (string, error) {
			return "pbkdf2_sha256$260000$fixture$fixture0123456789", nil
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	s, err := django.Verify(context.Background(), "sfv2kf6a6mq4etcwzd2zd24gt0heqtbn")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(s.Subject)
	// Output: 7
}
