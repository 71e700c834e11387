// Login signs legacy users in: first past SuperTokens (stmigrate.Override), then with an import on the way (package login). The
// legacy users are rows of a SQL table, as a web application of some years has them; a SuperTokens core in memory and a backend
// with two sign-in endpoints run in this process, and what they say to each other is printed, and what the core holds at the end.
//
//	go run .                                            an embedded SQLite database
//	go run . -db postgres://user@localhost/scratch      a PostgreSQL database; the tables are made in a schema of their own, and dropped
//
// SUPERTOKENS_CONNECTION_URI and SUPERTOKENS_API_KEY put a real core in the place of the one in memory. It must have no users, and
// gets one.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/examples/internal/demo"
	"github.com/stmigrate/stmigrate/login"
	"github.com/stmigrate/stmigrate/login/sqlusers"
)

func main() {
	dsn := flag.String("db", "", "a PostgreSQL database for the legacy users; default: an embedded SQLite database")
	flag.Parse()
	if err := run(context.Background(), os.Stdout, *dsn); err != nil {
		fmt.Fprintln(os.Stderr, "login:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, dsn string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	db, dialect, closeDB, err := openDatabase(ctx, dsn)
	if err != nil {
		return err
	}
	defer closeDB()
	if err := fillLegacyTable(ctx, db); err != nil {
		return fmt.Errorf("the legacy table: %w", err)
	}
	supertokens, stopCore, err := demo.Core()
	if err != nil {
		return err
	}
	defer stopCore()
	switch n, err := supertokens.CountUsers(ctx, ""); {
	case err != nil:
		return fmt.Errorf("the SuperTokens core: %w", err)
	case n > 0:
		return fmt.Errorf("the SuperTokens core has %d users: this example wants one without", n)
	}
	if _, err := supertokens.CreateRole(ctx, "editor"); err != nil {
		return fmt.Errorf("the SuperTokens core: %w", err)
	}

	server := httptest.NewUnstartedServer(nil)
	defer server.Close()
	base := "http://" + server.Listener.Addr().String()
	if server.Config.Handler, err = backend(ctx, db, dialect, supertokens, base); err != nil {
		return err
	}
	server.Start()
	w := &walk{ctx: ctx, out: out, base: base, core: supertokens}
	return w.run()
}

// backend is what a team has: two ways to sign in, and an API. A real one has one of the two.
func backend(ctx context.Context, db *sql.DB, dialect login.Dialect, supertokens *core.Client, base string) (http.Handler, error) {
	sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{Core: supertokens, APIDomain: base, WebsiteOrigins: []string{base}})
	if err != nil {
		return nil, err
	}
	legacy, err := sqlusers.New(sqlusers.Config{
		DB: db,
		ByEmail: `SELECT 'legacy-' || id AS id, email, password_hash, verified AS email_verified, roles, profile AS metadata
			FROM app_users WHERE lower(email) = $1`,
		ByID: `SELECT 'legacy-' || id AS id, email FROM app_users WHERE 'legacy-' || id = $1`,
		CountNotImported: `SELECT count(*) FROM app_users u WHERE NOT EXISTS (
			SELECT 1 FROM stmigrate_login l WHERE l.legacy_id = 'legacy-' || u.id AND l.step = 7)`,
		DummyHash: grace.hash,
	})
	if err != nil {
		return nil, err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))

	// Pass through: who is not in SuperTokens signs in against the legacy table, and stays there.
	through, err := stmigrate.Override(stmigrate.OverrideConfig{
		Original: stmigrate.NewEmailPassword(supertokens), Legacy: legacy, Logger: logger,
	})
	if err != nil {
		return nil, err
	}

	// Import: who signs in is in SuperTokens from then on.
	ledger, err := login.NewSQLLedger(login.SQLConfig{DB: db, Dialect: dialect})
	if err != nil {
		return nil, err
	}
	if err := ledger.Migrate(ctx); err != nil { // at deployment, in a real backend
		return nil, err
	}
	importing, err := login.New(login.Config{
		Core: supertokens, Legacy: legacy, Ledger: ledger, Logger: logger,
		Secrets: [][]byte{[]byte("an example's secret: 32 random bytes")},
	})
	if err != nil {
		return nil, err
	}
	if err := legacy.Check(ctx); err != nil {
		return nil, err
	}

	mux := http.NewServeMux()
	mux.Handle("POST /pass-through/signin", signIn(sessions, through))
	mux.Handle("POST /signin", signIn(sessions, importing))
	mux.Handle("GET /count", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := importing.UserCount(r.Context())
		answer(w, map[string]any{"users": n}, err)
	}))
	mux.Handle("GET /api/me", sessions.Require(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer(w, map[string]any{"userId": stmigrate.SessionFrom(r.Context()).UserID()}, nil)
	})))
	return mux, nil
}

// signIn checks e-mail and password and starts a SuperTokens session.
func signIn(sessions *stmigrate.Sessions, users stmigrate.EmailPassword) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var form struct{ Email, Password string }
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4096)).Decode(&form); err != nil {
			answer(w, nil, stmigrate.ErrBadRequest)
			return
		}
		user, err := users.SignIn(r.Context(), "", form.Email, form.Password)
		if err == nil {
			_, err = sessions.Start(w, r, stmigrate.User{ID: user.ID})
		}
		answer(w, map[string]any{"status": "OK"}, err)
	})
}

// answer writes body, or what a client may know of err.
func answer(w http.ResponseWriter, body map[string]any, err error) {
	status := http.StatusOK
	switch {
	case err == nil:
	case errors.Is(err, stmigrate.ErrWrongCredentials):
		status, body = http.StatusUnauthorized, map[string]any{"status": "WRONG_CREDENTIALS"}
	case errors.Is(err, stmigrate.ErrBadRequest):
		status, body = http.StatusBadRequest, map[string]any{"status": "BAD_REQUEST"}
	case errors.Is(err, stmigrate.ErrUnavailable):
		status, body = http.StatusServiceUnavailable, map[string]any{"status": "UNAVAILABLE"}
	default:
		slog.Error("sign-in", "error", err)
		status, body = http.StatusInternalServerError, map[string]any{"status": "INTERNAL_ERROR"}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

type legacyUser struct{ email, password, hash string }

// The hashes were made by PHP's password_hash, and by Django.
var (
	grace = legacyUser{"Grace@example.com", "correct horse 1", "$2y$05$RJDsk1vmo4rnPX3e6yRpaeLbWOSNfbgcSHiJW83s.SwXUJKr6.g6S"}
	alan  = legacyUser{"alan@example.com", "correct horse 1", "pbkdf2_sha256$1000$qFIrgltf1cSa$AegsFO9txk0qjgezAsa6LhV4oFX+jgc6ztNXgf/J1Pw="}
)

func fillLegacyTable(ctx context.Context, db *sql.DB) error {
	if _, err := db.ExecContext(ctx, `CREATE TABLE app_users (
		id integer PRIMARY KEY, email text NOT NULL UNIQUE, password_hash text NOT NULL, verified boolean NOT NULL,
		roles text NOT NULL, profile text NOT NULL)`); err != nil {
		return err
	}
	for i, u := range []legacyUser{grace, alan} {
		if _, err := db.ExecContext(ctx, `INSERT INTO app_users VALUES ($1, $2, $3, $4, $5, $6)`,
			i+1, u.email, u.hash, i == 0, `["editor"]`, `{"newsletter": true}`); err != nil {
			return err
		}
	}
	return nil
}

const schema = "stmigrate_login_example"

func openDatabase(ctx context.Context, dsn string) (db *sql.DB, dialect login.Dialect, closeDB func(), err error) {
	if dsn == "" {
		if db, err = sql.Open("sqlite", ":memory:"); err != nil {
			return nil, "", nil, err
		}
		db.SetMaxOpenConns(1) // each connection would have a memory of its own
		return db, login.SQLite, func() { _ = db.Close() }, nil
	}
	if db, err = sql.Open("pgx", dsn); err != nil {
		return nil, "", nil, errors.New("-db is not a PostgreSQL URL") // its text would show the password
	}
	db.SetMaxOpenConns(1) // the search path is a connection's
	for _, statement := range []string{
		"DROP SCHEMA IF EXISTS " + schema + " CASCADE", "CREATE SCHEMA " + schema, "SET search_path = " + schema,
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			_ = db.Close()
			return nil, "", nil, fmt.Errorf("%s: %w", statement, err)
		}
	}
	return db, login.Postgres, func() {
		_, _ = db.ExecContext(context.WithoutCancel(ctx), "DROP SCHEMA "+schema+" CASCADE")
		_ = db.Close()
	}, nil
}

// walk is what a user does, and what it leaves in the core.
type walk struct {
	ctx  context.Context
	out  io.Writer
	base string
	core *core.Client
}

func (w *walk) run() error {
	const id = "legacy-1"
	w.say("Two users, both only in the legacy table.")
	if err := w.expect("GET", "/count", nil, "", 200, `{"users":2}`); err != nil {
		return err
	}

	w.say("Pass through: a wrong password, an unknown user, and Grace, who gets a SuperTokens session under her legacy ID.")
	if err := w.expect("POST", "/pass-through/signin", credentials(grace.email, "guess"), "", 401, `{"status":"WRONG_CREDENTIALS"}`); err != nil {
		return err
	}
	if err := w.expect("POST", "/pass-through/signin", credentials("nobody@example.com", "guess"), "", 401, `{"status":"WRONG_CREDENTIALS"}`); err != nil {
		return err
	}
	if err := w.signInAs("/pass-through/signin", grace, id); err != nil {
		return err
	}
	if err := w.holds(grace.email, false); err != nil {
		return err
	}

	w.say("Import: a wrong password leaves nothing behind; with the right one Grace is in SuperTokens, under the same ID.")
	if err := w.expect("POST", "/signin", credentials(grace.email, "guess"), "", 401, `{"status":"WRONG_CREDENTIALS"}`); err != nil {
		return err
	}
	if err := w.holds(grace.email, false); err != nil {
		return err
	}
	if err := w.signInAs("/signin", grace, id); err != nil {
		return err
	}
	if err := w.holds(grace.email, true); err != nil {
		return err
	}

	w.say("A new password in SuperTokens: the old one is worth nothing any more, the new one signs in, and nobody was counted twice.")
	user, err := w.core.UserByEmail(w.ctx, "", grace.email)
	if err != nil {
		return err
	}
	if err := w.core.SetPassword(w.ctx, user.ID, "another horse 2"); err != nil {
		return err
	}
	if err := w.expect("POST", "/signin", credentials(grace.email, grace.password), "", 401, `{"status":"WRONG_CREDENTIALS"}`); err != nil {
		return err
	}
	if err := w.signInAs("/signin", legacyUser{email: "grace@EXAMPLE.com", password: "another horse 2"}, id); err != nil {
		return err
	}
	if err := w.expect("GET", "/count", nil, "", 200, `{"users":2}`); err != nil {
		return err
	}
	w.say("Done: Grace is imported, Alan still only in the legacy table.")
	return nil
}

// signInAs signs a user in and asks the API who that is.
func (w *walk) signInAs(path string, u legacyUser, id string) error {
	resp, _, err := w.request("POST", path, credentials(u.email, u.password), "")
	if err != nil {
		return err
	}
	for _, c := range resp.Cookies() {
		if c.Name == "sAccessToken" {
			return w.expect("GET", "/api/me", nil, "sAccessToken="+c.Value, 200, fmt.Sprintf(`{"userId":%q}`, id))
		}
	}
	return fmt.Errorf("%s answered %s without a session", path, resp.Status)
}

// holds prints what the core has of a user, and insists that it has all of it or nothing.
func (w *walk) holds(email string, all bool) error {
	u, err := w.core.UserByEmail(w.ctx, "", email)
	if errors.Is(err, core.ErrUnknownUser) && !all {
		w.printf("  the core holds: nothing of %s\n", email)
		return nil
	}
	if err != nil {
		return err
	}
	verified, err := w.core.IsEmailVerified(w.ctx, u.ID, u.Email)
	if err != nil {
		return err
	}
	roles, err := w.core.UserRoles(w.ctx, "", u.ID)
	if err != nil {
		return err
	}
	metadata, err := w.core.UserMetadata(w.ctx, u.ID)
	if err != nil {
		return err
	}
	w.printf("  the core holds: user %s, e-mail %s (verified: %v), roles %v, metadata %v\n", u.ID, u.Email, verified, roles, metadata)
	if !all || u.ID != "legacy-1" || !verified || len(roles) != 1 || roles[0] != "editor" || metadata["newsletter"] != true {
		return errors.New("that is not what was to be there")
	}
	return nil
}

func credentials(email, password string) map[string]string {
	return map[string]string{"email": email, "password": password}
}

func (w *walk) expect(method, path string, body map[string]string, cookie string, status int, want string) error {
	resp, got, err := w.request(method, path, body, cookie)
	if err == nil && (resp.StatusCode != status || got != want) {
		err = fmt.Errorf("%s %s answered %s %s, %d %s expected", method, path, resp.Status, got, status, want)
	}
	return err
}

// request repeats what is answered 503, as clients do: the same request may succeed later.
func (w *walk) request(method, path string, body map[string]string, cookie string) (*http.Response, string, error) {
	for left := 5; ; left-- {
		resp, answer, err := w.once(method, path, body, cookie)
		if err != nil || resp.StatusCode != http.StatusServiceUnavailable || left == 0 {
			return resp, answer, err
		}
		select {
		case <-time.After(time.Second):
		case <-w.ctx.Done():
			return nil, "", w.ctx.Err()
		}
	}
}

func (w *walk) once(method, path string, body map[string]string, cookie string) (*http.Response, string, error) {
	text := ""
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, "", err
		}
		text = string(data)
	}
	req, err := http.NewRequestWithContext(w.ctx, method, w.base+path, strings.NewReader(text))
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("St-Auth-Mode", "cookie") // as SuperTokens' frontend SDKs say it
	w.printf("> %s\n", strings.TrimSpace(method+" "+path+" "+text))
	if cookie != "" {
		req.Header.Set("Cookie", cookie)
		w.printf("> Cookie: %.40s…\n", cookie)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return nil, "", err
	}
	w.printf("< %s\n", resp.Status)
	for _, c := range resp.Header.Values("Set-Cookie") {
		w.printf("< Set-Cookie: %.40s…\n", c)
	}
	answer := strings.TrimSpace(string(data))
	w.printf("< %s\n", answer)
	return resp, answer, nil
}

func (w *walk) say(line string) { w.printf("\n# %s\n", line) }

func (w *walk) printf(format string, args ...any) { _, _ = fmt.Fprintf(w.out, format, args...) }
