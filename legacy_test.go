package stmigrate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

const (
	gracesEmail    = "grace@example.com"
	gracesPassword = "legacy horse 3"
)

// legacyUsers is a store with grace, and a guard before it.
func legacyUsers(t testing.TB, shape func(*stmigrate.LegacyGuardConfig)) (*stmigratetest.FakeLegacyUsers, *stmigrate.LegacyGuard) {
	users := new(stmigratetest.FakeLegacyUsers)
	users.Add(stmigrate.LegacyUser{ID: "legacy|grace", Email: gracesEmail, EmailVerified: true}, gracesPassword)
	cfg := stmigrate.LegacyGuardConfig{Store: users}
	if shape != nil {
		shape(&cfg)
	}
	guard, err := stmigrate.NewLegacyGuard(cfg)
	require.NoError(t, err)
	return users, guard
}

// bare hides that a store is a directory and a counter.
type bare struct{ stmigrate.LegacyUserStore }

func TestLegacyGuardConfig(t *testing.T) {
	var none *stmigratetest.FakeLegacyUsers
	users := new(stmigratetest.FakeLegacyUsers)
	for name, tt := range map[string]struct {
		cfg  stmigrate.LegacyGuardConfig
		want string
	}{
		"no store":          {stmigrate.LegacyGuardConfig{}, "legacy user store is required"},
		"a nil store":       {stmigrate.LegacyGuardConfig{Store: none}, "legacy user store is required"},
		"no directory":      {stmigrate.LegacyGuardConfig{Store: bare{users}}, "SkipLegacyDirectory"},
		"no tenant":         {stmigrate.LegacyGuardConfig{Store: users, Tenants: []string{"Public"}}, "Tenants"},
		"a negative floor":  {stmigrate.LegacyGuardConfig{Store: users, FailureFloor: -1}, "FailureFloor"},
		"a negative time":   {stmigrate.LegacyGuardConfig{Store: users, Timeout: -1}, "Timeout"},
		"a negative window": {stmigrate.LegacyGuardConfig{Store: users, TriesPer: -1}, "TriesPer"},
		"negative tries":    {stmigrate.LegacyGuardConfig{Store: users, Tries: -1}, "Tries"},
		"a long floor":      {stmigrate.LegacyGuardConfig{Store: users, FailureFloor: time.Hour + 1}, "FailureFloor"},
		"a long time":       {stmigrate.LegacyGuardConfig{Store: users, Timeout: time.Hour + 1}, "Timeout"},
		"a long window":     {stmigrate.LegacyGuardConfig{Store: users, TriesPer: time.Hour + 1}, "TriesPer"},
		"1001 tries":        {stmigrate.LegacyGuardConfig{Store: users, Tries: 1001}, "Tries"},
	} {
		_, err := stmigrate.NewLegacyGuard(tt.cfg)
		assert.ErrorContains(t, err, tt.want, name)
	}
	tenants := []string{"t1"}
	guard, err := stmigrate.NewLegacyGuard(stmigrate.LegacyGuardConfig{Store: bare{users}, SkipLegacyDirectory: true, Tenants: tenants})
	require.NoError(t, err)
	tenants[0] = "t2"
	assert.Equal(t, []bool{true, false, false}, []bool{guard.Serves("t1"), guard.Serves("t2"), guard.Serves("")})
}

// TestLegacyGuardIsAStore: a guard hides nothing of a good store.
func TestLegacyGuardIsAStore(t *testing.T) {
	stmigratetest.TestLegacyUserStore(t, func(t *testing.T) stmigratetest.LegacyUsersUnderTest {
		users, guard := legacyUsers(t, func(c *stmigrate.LegacyGuardConfig) {
			c.Tenants = []string{"public", "t1"}
			c.Tries = 100
		})
		return stmigratetest.LegacyUsersUnderTest{
			Store: guardAsDirectory{guard}, Password: gracesPassword, OtherTenant: "t1", NotImported: 1,
			User:  stmigrate.LegacyUser{ID: "legacy|grace", Email: gracesEmail, EmailVerified: true},
			Break: func() { users.Fail(stmigrate.ErrUnavailable) },
		}
	})
}

// guardAsDirectory says ErrUnknownUser of malformed e-mails, which a guard tells apart for its callers.
type guardAsDirectory struct{ *stmigrate.LegacyGuard }

func (g guardAsDirectory) UserByEmail(ctx context.Context, tenantID, email string) (*stmigrate.LegacyUser, error) {
	u, err := g.LegacyGuard.UserByEmail(ctx, tenantID, email)
	if errors.Is(err, stmigrate.ErrBadRequest) {
		return nil, stmigrate.ErrUnknownUser
	}
	return u, err
}

// TestBadLegacyAnswers: none of them signs anybody in, and none of them makes the store unavailable to others.
func TestBadLegacyAnswers(t *testing.T) {
	type user = stmigrate.LegacyUser
	for name, spoil := range map[string]func(u *user) *user{
		"nothing":                func(*user) *user { return nil },
		"no ID":                  func(u *user) *user { u.ID = ""; return u },
		"no e-mail":              func(u *user) *user { u.Email = ""; return u },
		"another's e-mail":       func(u *user) *user { u.Email = "mallory@example.com"; return u },
		"an e-mail that is none": func(u *user) *user { u.Email += "\x00"; return u },
		"another tenant":         func(u *user) *user { u.TenantID = "t1"; return u },
		"an ID of 129 bytes":     func(u *user) *user { u.ID = strings.Repeat("x", 129); return u },
		"an ID with a line":      func(u *user) *user { u.ID += "\n"; return u },
		"an ID with a space":     func(u *user) *user { u.ID = " " + u.ID; return u },
		"an ID not in UTF-8":     func(u *user) *user { u.ID += "\xff"; return u },
	} {
		t.Run(name, func(t *testing.T) {
			users, guard := legacyUsers(t, func(c *stmigrate.LegacyGuardConfig) { c.Tries = 100 })
			users.Add(user{ID: "legacy|bob", Email: "bob@example.com"}, gracesPassword)
			users.Spoil(func(u *user) *user {
				if u.Email != gracesEmail {
					return u
				}
				return spoil(u)
			})
			for range 20 {
				u, err := guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
				if name == "another's e-mail" {
					require.Equal(t, stmigrate.ErrWrongCredentials, err)
				} else {
					require.ErrorIs(t, err, stmigrate.ErrUnavailable)
				}
				assert.Nil(t, u)
				u, err = guard.UserByEmail(t.Context(), "", gracesEmail)
				require.ErrorIs(t, err, stmigrate.ErrUnavailable)
				assert.Nil(t, u)
			}
			_, err := guard.Authenticate(t.Context(), "", "bob@example.com", gracesPassword)
			assert.NoError(t, err)
		})
	}
	t.Run("another ID than was asked for", func(t *testing.T) {
		users, guard := legacyUsers(t, nil)
		users.Spoil(func(u *user) *user { u.ID = "legacy|mallory"; return u })
		_, err := guard.UserByID(t.Context(), "legacy|grace")
		assert.ErrorIs(t, err, stmigrate.ErrUnavailable)
	})
	t.Run("a user of a tenant that is not served", func(t *testing.T) {
		users, guard := legacyUsers(t, nil)
		users.Add(user{ID: "legacy|bob", Email: "bob@example.com", TenantID: "t1"}, gracesPassword)
		_, err := guard.UserByID(t.Context(), "legacy|bob")
		assert.ErrorIs(t, err, stmigrate.ErrUnknownUser)
	})
	t.Run("a panic", func(t *testing.T) {
		users, guard := legacyUsers(t, nil)
		users.Panic()
		_, err := guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
		assert.ErrorIs(t, err, stmigrate.ErrUnavailable)
		_, err = guard.CountUsersNotImported(t.Context())
		assert.ErrorIs(t, err, stmigrate.ErrUnavailable)
	})
	t.Run("an error of no class", func(t *testing.T) {
		users, guard := legacyUsers(t, nil)
		users.Fail(errors.New("sql: no rows for " + gracesPassword))
		_, err := guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		assert.NotContains(t, err.Error(), gracesPassword)
	})
	t.Run("a user beside an error", func(t *testing.T) {
		_, guard := legacyUsers(t, func(c *stmigrate.LegacyGuardConfig) {
			c.Store, c.SkipLegacyDirectory = halfHearted{}, true
		})
		u, err := guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
		assert.ErrorIs(t, err, stmigrate.ErrWrongCredentials)
		assert.Nil(t, u)
	})
	t.Run("a store that takes any password", func(t *testing.T) {
		_, guard := legacyUsers(t, func(c *stmigrate.LegacyGuardConfig) {
			c.Store, c.SkipLegacyDirectory = anybody{}, true
		})
		assert.ErrorIs(t, guard.Decoy(t.Context(), "", gracesEmail, "x"), stmigrate.ErrUnavailable)
	})
}

type halfHearted struct{}

func (halfHearted) Authenticate(_ context.Context, _, email, _ string) (*stmigrate.LegacyUser, error) {
	return &stmigrate.LegacyUser{ID: "u", Email: email}, stmigrate.ErrWrongCredentials
}

type anybody struct{}

func (anybody) Authenticate(_ context.Context, _, email, _ string) (*stmigrate.LegacyUser, error) {
	return &stmigrate.LegacyUser{ID: "u", Email: email}, nil
}

// TestLegacyDeadline: a store that does not heed its context is left, its late answer is nobody's, and only so many wait in it.
func TestLegacyDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users, guard := legacyUsers(t, func(c *stmigrate.LegacyGuardConfig) { c.Tries, c.Timeout = 1000, 2*time.Second })
		done := make(chan struct{})
		users.HangUntil(done)
		start := time.Now()
		_, err := guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		assert.Equal(t, 2*time.Second, time.Since(start))

		// Clients that hang up: nothing of it counts against the store.
		for range 10 {
			ctx, cancel := context.WithCancel(t.Context())
			go func() { time.Sleep(time.Millisecond); cancel() }()
			_, err := guard.Authenticate(ctx, "", gracesEmail, gracesPassword)
			require.ErrorIs(t, err, stmigrate.ErrUnavailable)
			require.ErrorIs(t, err, context.Canceled)
		}
		users.Calls()
		var wg sync.WaitGroup
		for range 300 {
			wg.Go(func() {
				_, err := guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
				assert.ErrorIs(t, err, stmigrate.ErrUnavailable)
			})
		}
		wg.Wait()
		assert.LessOrEqual(t, len(users.Calls()), 256-11)
		close(done)
		time.Sleep(time.Minute)
		users.Heal()
		_, err = guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
		assert.NoError(t, err)
	})
}

func TestLegacyBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users, guard := legacyUsers(t, func(c *stmigrate.LegacyGuardConfig) { c.Tries = 1000 })
		ask := func() error {
			_, err := guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
			return err
		}
		users.Fail(stmigrate.ErrUnavailable)
		for range 8 {
			require.ErrorIs(t, ask(), stmigrate.ErrUnavailable)
		}
		assert.Len(t, users.Calls(), 5)
		users.Heal()
		time.Sleep(3 * time.Second)
		err := ask()
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		w := httptest.NewRecorder()
		stmigrate.RenderError(w, httptest.NewRequest("POST", "/signin", nil), err)
		assert.Equal(t, "7", w.Header().Get("Retry-After"))
		assert.Empty(t, users.Calls())

		// One goes in to see, and the others wait for what it says.
		time.Sleep(7 * time.Second)
		done := make(chan struct{})
		users.HangUntil(done)
		probe := make(chan error)
		go func() { probe <- ask() }()
		synctest.Wait()
		require.ErrorIs(t, ask(), stmigrate.ErrUnavailable)
		assert.Len(t, users.Calls(), 1)
		close(done)
		require.NoError(t, <-probe)
		users.Heal()
		require.NoError(t, ask())

		// A probe that fails shuts it again.
		users.Fail(stmigrate.ErrUnavailable)
		for range 5 {
			require.ErrorIs(t, ask(), stmigrate.ErrUnavailable)
		}
		time.Sleep(10 * time.Second)
		users.Calls()
		for range 3 {
			require.ErrorIs(t, ask(), stmigrate.ErrUnavailable)
		}
		assert.Len(t, users.Calls(), 1)
		users.Heal()
		time.Sleep(10 * time.Second)
		// A probe whose client hangs up leaves the place to the next.
		users.Hang()
		ctx, cancel := context.WithCancel(t.Context())
		go func() { time.Sleep(time.Millisecond); cancel() }()
		_, err = guard.Authenticate(ctx, "", gracesEmail, gracesPassword)
		require.ErrorIs(t, err, context.Canceled)
		users.Heal()
		require.NoError(t, ask())
	})
}

// TestOutagesCostNoTries: who kept trying while the store was down may sign in when it is back.
func TestOutagesCostNoTries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users, guard := legacyUsers(t, nil)
		users.Fail(stmigrate.ErrUnavailable)
		for range 30 {
			_, err := guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
			require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		}
		users.Heal()
		time.Sleep(10 * time.Second)
		_, err := guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
		assert.NoError(t, err)
	})
}

func TestLegacyTries(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var outcomes []string
	users, guard := legacyUsers(t, func(c *stmigrate.LegacyGuardConfig) {
		c.Tenants = []string{"public", "t1"}
		c.Now = func() time.Time { return now }
		c.Observe = func(_ context.Context, e stmigrate.Event) { outcomes = append(outcomes, e.Outcome) }
	})
	users.Add(stmigrate.LegacyUser{ID: "legacy|bob", Email: "bob@example.com"}, gracesPassword)
	try := func(tenantID, email, password string) error {
		_, err := guard.Authenticate(t.Context(), tenantID, email, password)
		return err
	}
	for i := range 25 {
		email := []string{gracesEmail, " GRACE@example.com"}[i%2]
		require.Equal(t, stmigrate.ErrWrongCredentials, try("", email, "wrong"))
	}
	assert.Len(t, users.Calls(), 10)
	assert.Equal(t, stmigrate.ErrWrongCredentials, try("", gracesEmail, gracesPassword), "the right password, too")
	assert.Equal(t, stmigrate.ErrWrongCredentials, guard.Decoy(t.Context(), "", gracesEmail, "x"), "and decoys")
	assert.Empty(t, users.Calls())
	assert.Equal(t, "limited", outcomes[len(outcomes)-1])
	assert.NoError(t, try("", "bob@example.com", gracesPassword))
	assert.Equal(t, stmigrate.ErrWrongCredentials, try("t1", gracesEmail, "wrong"))
	assert.Len(t, users.Calls(), 2, "other accounts are asked for")

	// Nobody flushes the account out by naming others.
	for i := range 3000 {
		_ = try("", fmt.Sprintf("user-%d@example.com", i), "wrong")
	}
	assert.Len(t, users.Calls(), 3000, "none of the others is refused")
	assert.Equal(t, stmigrate.ErrWrongCredentials, try("", gracesEmail, gracesPassword))
	assert.Empty(t, users.Calls())

	now = now.Add(30 * time.Second)
	assert.NoError(t, try("", gracesEmail, gracesPassword))
	assert.Equal(t, stmigrate.ErrWrongCredentials, try("", gracesEmail, gracesPassword))
	now = now.Add(-time.Hour) // a clock that is set back gives nothing
	assert.Equal(t, stmigrate.ErrWrongCredentials, try("", gracesEmail, gracesPassword))
	now = now.Add(30 * time.Second)
	assert.NoError(t, try("", gracesEmail, gracesPassword), "and costs nothing")
	now = now.Add(2 * time.Hour)
	users.Calls()
	for range 15 {
		_ = try("", gracesEmail, "wrong")
	}
	assert.Len(t, users.Calls(), 10)
}

// TestFailureFloor: failures end at the next multiple, whatever they are, and successes at once.
func TestFailureFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, guard := legacyUsers(t, nil)
		signIn := func(ctx context.Context, d time.Duration, err error) (time.Duration, error) {
			start := time.Now()
			_, err = guard.FailAlike(ctx, "", func() (*stmigrate.AuthUser, error) {
				time.Sleep(d)
				if err != nil {
					return nil, err
				}
				return &stmigrate.AuthUser{}, nil
			})
			return time.Since(start), err
		}
		const floor = 250 * time.Millisecond
		for _, class := range []error{
			stmigrate.ErrWrongCredentials, stmigrate.ErrUnknownUser, stmigrate.ErrBadRequest, stmigrate.ErrUnavailable,
			stmigrate.ErrConflict, errors.New("of no class"), fmt.Errorf("%w: with details", stmigrate.ErrWrongCredentials),
		} {
			for d, want := range map[time.Duration]time.Duration{
				0: floor, time.Nanosecond: floor, 249 * time.Millisecond: floor, floor - 1: floor,
				floor + 1: 2 * floor, 499 * time.Millisecond: 2 * floor, 1500 * time.Millisecond: 7 * floor,
			} {
				took, err := signIn(t.Context(), d, class)
				assert.Equal(t, want, took, "%v after %v", class, d)
				switch {
				case errors.Is(class, stmigrate.ErrWrongCredentials), errors.Is(class, stmigrate.ErrUnknownUser), errors.Is(class, stmigrate.ErrBadRequest):
					assert.Equal(t, stmigrate.ErrWrongCredentials, err)
				default:
					assert.Equal(t, class, err)
				}
			}
		}
		took, err := signIn(t.Context(), 3*time.Millisecond, nil)
		require.NoError(t, err)
		assert.Equal(t, 3*time.Millisecond, took)

		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		took, err = signIn(ctx, time.Millisecond, stmigrate.ErrWrongCredentials)
		assert.ErrorIs(t, err, stmigrate.ErrUnavailable)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 100*time.Millisecond, took)
	})
}

// TestLegacyGuardTellsNothing: what is logged and observed names nobody and has no password.
func TestLegacyGuardTellsNothing(t *testing.T) {
	var log bytes.Buffer
	var events []stmigrate.Event
	users, guard := legacyUsers(t, func(c *stmigrate.LegacyGuardConfig) {
		c.Tries = 3
		c.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		c.Observe = func(_ context.Context, e stmigrate.Event) { events = append(events, e) }
	})
	ctx := t.Context()
	ask := func(tenantID, email, password string) { _, _ = guard.Authenticate(ctx, tenantID, email, password) }
	ask("", gracesEmail, gracesPassword)
	ask("", gracesEmail, "secret horse")
	ask("t1", gracesEmail, gracesPassword)
	_ = guard.Decoy(ctx, "", "ada@example.com", "secret horse")
	users.Fail(errors.New("failed for " + gracesPassword))
	ask("", gracesEmail, gracesPassword)
	ask("", gracesEmail, gracesPassword)
	users.Panic()
	ask("", "hopper@example.com", gracesPassword)
	users.Heal()
	users.Spoil(func(u *stmigrate.LegacyUser) *stmigrate.LegacyUser { u.Email = "bob@example.com"; return u })
	_, _ = guard.UserByEmail(ctx, "", gracesEmail)
	_, _ = guard.UserByID(ctx, "nobody")

	var got []string
	for _, e := range events {
		got = append(got, e.Step+" "+e.Outcome)
		assert.Equal(t, "legacy", e.Name)
		assert.Len(t, e.SubjectHash, 16)
		log.WriteString(fmt.Sprintf("%+v\n", e))
	}
	assert.Equal(t, []string{
		"Authenticate ok", "Authenticate wrong", "Authenticate tenant", "decoy wrong", "Authenticate unavailable",
		"Authenticate limited", "Authenticate panic", "UserByEmail bad_answer", "UserByID unknown",
	}, got)
	assert.Equal(t, events[0].SubjectHash, events[1].SubjectHash)
	assert.NotEqual(t, events[0].SubjectHash, events[3].SubjectHash)
	for _, secret := range []string{gracesPassword, "secret horse", "grace@", "ada@", "bob@", "hopper@"} {
		assert.NotContains(t, log.String(), secret)
	}
}

// answering is a store that answers as its functions do.
type answering struct {
	authenticate func(email, password string) (*stmigrate.LegacyUser, error)
}

func (s answering) Authenticate(_ context.Context, _, email, password string) (*stmigrate.LegacyUser, error) {
	return s.authenticate(email, password)
}

func (s answering) UserByEmail(_ context.Context, _, email string) (*stmigrate.LegacyUser, error) {
	return s.authenticate(email, "")
}

func (s answering) UserByID(context.Context, string) (*stmigrate.LegacyUser, error) {
	return nil, stmigrate.ErrUnknownUser
}

// TestNoPasswordMakesAnErrorWorse: whoever chooses the password chooses neither the class of the store's error nor whether it
// counts as an outage, even if the error's text happens to have the password in it.
func TestNoPasswordMakesAnErrorWorse(t *testing.T) {
	for name, tt := range map[string]struct{ answer, want error }{
		"an unknown user":      {stmigrate.ErrUnknownUser, stmigrate.ErrWrongCredentials},
		"an unknown user, u":   {fmt.Errorf("%w: u", stmigrate.ErrUnknownUser), stmigrate.ErrWrongCredentials},
		"a row of one user, u": {errors.New("the hash of this user is none"), stmigrate.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			_, guard := legacyUsers(t, func(c *stmigrate.LegacyGuardConfig) {
				c.Tries = 100
				c.Store = answering{func(email, password string) (*stmigrate.LegacyUser, error) {
					if email == gracesEmail && password == gracesPassword {
						return &stmigrate.LegacyUser{ID: "legacy|grace", Email: gracesEmail}, nil
					}
					return nil, tt.answer
				}}
			})
			for range 10 {
				_, err := guard.Authenticate(t.Context(), "", "nobody@example.com", "u")
				require.ErrorIs(t, err, tt.want)
			}
			_, err := guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
			require.NoError(t, err, "a stranger has shut the store for everybody")
		})
	}
}

// TestErrorsOfTheStoreNameNobody: the text of a store's error is not passed on where it has the password or the e-mail.
func TestErrorsOfTheStoreNameNobody(t *testing.T) {
	var log bytes.Buffer
	_, guard := legacyUsers(t, func(c *stmigrate.LegacyGuardConfig) {
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		c.Store = answering{func(email, password string) (*stmigrate.LegacyUser, error) {
			if password == strings.ToUpper(gracesPassword) {
				return nil, fmt.Errorf("%w: no answer for %s", stmigrate.ErrUnavailable, password)
			}
			return nil, fmt.Errorf("%w: no answer for %s %s", stmigrate.ErrUnavailable, strings.ToUpper(email[:1])+email[1:], password)
		}}
	})
	_, err := guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
	require.ErrorIs(t, err, stmigrate.ErrUnavailable)
	_, err2 := guard.UserByEmail(t.Context(), "", gracesEmail)
	require.ErrorIs(t, err2, stmigrate.ErrUnavailable)
	_, err3 := guard.Authenticate(t.Context(), "", gracesEmail, strings.ToUpper(gracesPassword))
	require.ErrorIs(t, err3, stmigrate.ErrUnavailable)
	text := strings.ToLower(log.String() + err.Error() + err2.Error() + err3.Error())
	assert.NotContains(t, text, gracesPassword)
	assert.NotContains(t, text, gracesEmail)
}

// TestSpellingsOfAnEmailBringNoTries: a database that compares without accents finds a user under many e-mails, each of which
// has tries of its own. So the right password must look like a wrong one there.
func TestSpellingsOfAnEmailBringNoTries(t *testing.T) {
	var outcomes []string
	_, guard := legacyUsers(t, func(c *stmigrate.LegacyGuardConfig) {
		c.Tries = 1
		c.Observe = func(_ context.Context, e stmigrate.Event) { outcomes = append(outcomes, e.Outcome) }
		c.Store = answering{func(email, password string) (*stmigrate.LegacyUser, error) {
			if strings.NewReplacer("ä", "a", "à", "a", "ë", "e").Replace(email) != gracesEmail || password != gracesPassword {
				return nil, stmigrate.ErrWrongCredentials
			}
			return &stmigrate.LegacyUser{ID: "legacy|grace", Email: gracesEmail}, nil
		}}
	})
	for _, email := range []string{"gräce@example.com", "gràcë@example.com"} {
		_, wrong := guard.Authenticate(t.Context(), "", "x"+email, "wrong")
		_, right := guard.Authenticate(t.Context(), "", email, gracesPassword)
		assert.Equal(t, wrong, right)
	}
	assert.Equal(t, []string{"wrong", "bad_answer", "wrong", "bad_answer"}, outcomes, "the operator learns of it")
	_, err := guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
	assert.NoError(t, err)
}

// TestWhatTheStoreIsNotAsked: what cannot be an e-mail, a password or an ID of its users.
func TestWhatTheStoreIsNotAsked(t *testing.T) {
	users, guard := legacyUsers(t, nil)
	for _, password := range []string{"", "\x00", gracesPassword + "\x00", "\xff", strings.Repeat("x", 1<<20)} {
		_, err := guard.Authenticate(t.Context(), "", gracesEmail, password)
		assert.Equal(t, stmigrate.ErrWrongCredentials, err)
		assert.Equal(t, stmigrate.ErrWrongCredentials, guard.Decoy(t.Context(), "", gracesEmail, password))
	}
	for _, email := range []string{"", gracesEmail + "\x00"} {
		_, err := guard.Authenticate(t.Context(), "", email, gracesPassword)
		assert.Equal(t, stmigrate.ErrWrongCredentials, err)
		assert.Equal(t, stmigrate.ErrWrongCredentials, guard.Decoy(t.Context(), "", email, gracesPassword))
		_, err = guard.UserByEmail(t.Context(), "", email)
		assert.ErrorIs(t, err, stmigrate.ErrBadRequest)
	}
	for _, id := range []string{"", " ", "x\x00", "\xff", strings.Repeat("x", 129)} {
		_, err := guard.UserByID(t.Context(), id)
		assert.Equal(t, stmigrate.ErrUnknownUser, err)
	}
	_, err := guard.UserByEmail(t.Context(), "t1", gracesEmail)
	assert.Equal(t, stmigrate.ErrUnknownUser, err)
	assert.Empty(t, users.Calls())
	users.Add(stmigrate.LegacyUser{ID: strings.Repeat("x", 128), Email: "long@example.com"}, gracesPassword)
	_, err = guard.UserByID(t.Context(), strings.Repeat("x", 128))
	assert.NoError(t, err)
}

// TestTenantThatTheStoreDoesNotName is the only one that is served, or else public.
func TestTenantThatTheStoreDoesNotName(t *testing.T) {
	for want, tenants := range map[string][]string{"t1": {"t1"}, "public": {"t2", "public"}} {
		users, guard := legacyUsers(t, func(c *stmigrate.LegacyGuardConfig) { c.Tenants = tenants })
		users.Spoil(func(u *stmigrate.LegacyUser) *stmigrate.LegacyUser { u.TenantID = ""; return u })
		u, err := guard.UserByID(t.Context(), "legacy|grace")
		require.NoError(t, err)
		assert.Equal(t, want, u.TenantID)
	}
}

// odd is a store whose every call is one function.
type odd func(ctx context.Context) (int, error)

func (f odd) Authenticate(ctx context.Context, _, email, _ string) (*stmigrate.LegacyUser, error) {
	if _, err := f(ctx); err != nil {
		return nil, err
	}
	return &stmigrate.LegacyUser{ID: "u", Email: email}, nil
}

func (f odd) CountUsersNotImported(ctx context.Context) (int, error) { return f(ctx) }

func oddGuard(t *testing.T, f odd, shape ...func(*stmigrate.LegacyGuardConfig)) *stmigrate.LegacyGuard {
	_, guard := legacyUsers(t, func(c *stmigrate.LegacyGuardConfig) {
		c.Store, c.SkipLegacyDirectory, c.Tries = f, true, 1000
		for _, s := range shape {
			s(c)
		}
	})
	return guard
}

// TestCallsThatDoNotReturnAnything: a count below zero, a goroutine that ends, and a panic that has the password in it.
func TestCallsThatDoNotReturnAnything(t *testing.T) {
	var log bytes.Buffer
	for name, f := range map[string]odd{
		"negative": func(context.Context) (int, error) { return -1, nil },
		"goexit":   func(context.Context) (int, error) { runtime.Goexit(); return 0, nil },
		"panic":    func(context.Context) (int, error) { panic("no row for " + gracesPassword) },
	} {
		guard := oddGuard(t, f, func(c *stmigrate.LegacyGuardConfig) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		_, err := guard.CountUsersNotImported(t.Context())
		require.ErrorIs(t, err, stmigrate.ErrUnavailable, name)
		assert.NotContains(t, err.Error()+log.String(), gracesPassword)
	}
}

// TestConcurrentSignIns: a store that is well is asked by all at once.
func TestConcurrentSignIns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		guard := oddGuard(t, func(context.Context) (int, error) { time.Sleep(time.Second); return 0, nil })
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				_, err := guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
				assert.NoError(t, err)
			})
		}
		wg.Wait()
	})
}

// TestWhatCountsAsAnOutage: five in a row let the store alone, and whatever it answers in between ends the row.
func TestWhatCountsAsAnOutage(t *testing.T) {
	deadline := func(d time.Duration) func(context.Context) (context.Context, context.CancelFunc) {
		return func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, d) }
	}
	hangUp := func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, cancel := context.WithCancel(ctx)
		time.AfterFunc(2*time.Second, cancel)
		return ctx, cancel
	}
	hang := func(ctx context.Context) (int, error) { <-ctx.Done(); return 0, ctx.Err() }
	says := func(err error) odd { return func(context.Context) (int, error) { return 0, err } }
	for name, tt := range map[string]struct {
		ask    odd
		client func(context.Context) (context.Context, context.CancelFunc)
		want   bool
	}{
		"it says so":                       {says(stmigrate.ErrUnavailable), hangUp, true},
		"it says so with the e-mail":       {says(fmt.Errorf("%w: %s", stmigrate.ErrUnavailable, gracesEmail)), hangUp, true},
		"an error of no class":             {says(errors.New("x")), hangUp, false},
		"no answer in time":                {hang, deadline(time.Hour), true},
		"a client with a second":           {hang, deadline(time.Second), true},
		"a client in a hurry":              {hang, deadline(time.Second - 1), false},
		"a client that hangs up, but late": {hang, hangUp, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				answer := tt.ask
				var outcome string
				guard := oddGuard(t, func(ctx context.Context) (int, error) { return answer(ctx) }, func(c *stmigrate.LegacyGuardConfig) {
					c.Observe = func(_ context.Context, e stmigrate.Event) { outcome = e.Outcome }
				})
				fail := func(times int) {
					for range times {
						ctx, cancel := tt.client(t.Context())
						_, err := guard.Authenticate(ctx, "", gracesEmail, gracesPassword)
						cancel()
						synctest.Wait() // until a call that was given up has ended, too
						require.ErrorIs(t, err, stmigrate.ErrUnavailable)
						require.Equal(t, "unavailable", outcome)
					}
				}
				other := []odd{says(nil), says(stmigrate.ErrWrongCredentials), says(stmigrate.ErrUnknownUser)}
				for _, a := range other {
					fail(4)
					answer = a
					_, _ = guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
					synctest.Wait()
					answer = tt.ask
				}
				fail(4)
				answer = func(context.Context) (int, error) { return -1, nil }
				_, err := guard.CountUsersNotImported(t.Context())
				synctest.Wait()
				require.ErrorIs(t, err, stmigrate.ErrUnavailable)
				require.Equal(t, "bad_answer", outcome)
				answer = tt.ask
				fail(5)
				answer = says(nil)
				_, _ = guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
				assert.Equal(t, tt.want, outcome == "open", outcome)
			})
		})
	}
	t.Run("calls that do not return", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			done := make(chan struct{})
			var outcomes []string
			guard := oddGuard(t, func(context.Context) (int, error) { <-done; return 0, nil }, func(c *stmigrate.LegacyGuardConfig) {
				c.Observe = func(_ context.Context, e stmigrate.Event) { outcomes = append(outcomes, e.Outcome) }
			})
			for range 256 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				_, err := guard.Authenticate(ctx, "", gracesEmail, gracesPassword)
				cancel()
				require.ErrorIs(t, err, context.DeadlineExceeded)
			}
			for range 6 {
				_, err := guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
				require.ErrorIs(t, err, stmigrate.ErrUnavailable)
			}
			assert.Equal(t, "unavailable", outcomes[256+4])
			assert.Equal(t, "open", outcomes[256+5])
			close(done)
		})
	})
}

// TestFailuresAfterOneOutage: the first call that fails is enough to say so to all who fail.
func TestFailuresAfterOneOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		users, guard := legacyUsers(t, func(c *stmigrate.LegacyGuardConfig) { c.Now = func() time.Time { return now } })
		fail := func() (time.Duration, error) {
			start := time.Now()
			_, err := guard.FailAlike(t.Context(), "", func() (*stmigrate.AuthUser, error) {
				now = now.Add(-100 * time.Millisecond) // a clock that is set back
				return nil, stmigrate.ErrWrongCredentials
			})
			return time.Since(start), err
		}
		took, err := fail()
		assert.Equal(t, stmigrate.ErrWrongCredentials, err)
		assert.Equal(t, 250*time.Millisecond, took)
		users.Fail(stmigrate.ErrUnavailable)
		for range 5 {
			_, err = guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
			require.ErrorIs(t, err, stmigrate.ErrUnavailable)
			_, err = fail()
			require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		}
		now = now.Add(time.Hour)
		_, err = fail()
		w := httptest.NewRecorder()
		stmigrate.RenderError(w, httptest.NewRequest("POST", "/signin", nil), err)
		assert.Equal(t, "1", w.Header().Get("Retry-After"), "the next makes sense at once")
		var later interface{ RetryAfter() time.Duration }
		require.ErrorAs(t, err, &later)
		assert.Equal(t, time.Second, later.RetryAfter())
	})
}

func TestLegacyTimeoutDefault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		users, guard := legacyUsers(t, nil)
		users.Hang()
		start := time.Now()
		_, err := guard.Authenticate(t.Context(), "", gracesEmail, gracesPassword)
		require.ErrorIs(t, err, stmigrate.ErrUnavailable)
		assert.Equal(t, 5*time.Second, time.Since(start))
	})
}

// TestLegacyAccountHashes: each guard has hashes of its own, and tenant and e-mail do not run into one another.
func TestLegacyAccountHashes(t *testing.T) {
	seen := make(map[string]bool)
	for range 2 {
		users, guard := legacyUsers(t, func(c *stmigrate.LegacyGuardConfig) {
			c.Tenants, c.Tries = []string{"t", "t1"}, 1
			c.Observe = func(_ context.Context, e stmigrate.Event) { seen[e.SubjectHash] = true }
		})
		_, _ = guard.Authenticate(t.Context(), "t1", "a@example.com", "wrong")
		_, _ = guard.Authenticate(t.Context(), "t", "1a@example.com", "wrong")
		assert.Len(t, users.Calls(), 2, "each has tries of its own")
	}
	assert.Len(t, seen, 4)
}
