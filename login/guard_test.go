package login_test

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/coreemu"
	"github.com/stmigrate/stmigrate/login"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

func TestLoginDoesNotPrintSecrets(t *testing.T) {
	t.Parallel()
	secret := []byte("a secret of some thirty-two bytes")
	users, err := login.New(login.Config{
		Core: stmigratetest.NewCore(t).Client(), Legacy: new(stmigratetest.FakeLegacyUsers), Ledger: login.NewMemoryLedger(1),
		Secrets: [][]byte{secret},
	})
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%d", "%x", "%s", "%q"} {
		for _, form := range []string{"%d", "%x", "%s"} {
			assert.NotContains(t, fmt.Sprintf(verb, users), strings.Trim(fmt.Sprintf(form, secret), "[]"), verb)
		}
	}
}

// TestBadLegacyAnswers: whatever legacy answers, nobody is imported who is not whole.
func TestBadLegacyAnswers(t *testing.T) {
	t.Parallel()
	change := func(f func(u *stmigrate.LegacyUser)) func(*stmigratetest.FakeLegacyUsers) {
		return func(users *stmigratetest.FakeLegacyUsers) {
			users.Spoil(func(u *stmigrate.LegacyUser) *stmigrate.LegacyUser {
				f(u)
				return u
			})
		}
	}
	for name, spoil := range map[string]func(*stmigratetest.FakeLegacyUsers){
		"no ID":            change(func(u *stmigrate.LegacyUser) { u.ID = "" }),
		"a long ID":        change(func(u *stmigrate.LegacyUser) { u.ID = strings.Repeat("x", 129) }),
		"an ID with a NUL": change(func(u *stmigrate.LegacyUser) { u.ID = "a\x00b" }),
		"no e-mail":        change(func(u *stmigrate.LegacyUser) { u.Email = "" }),
		"another's e-mail": change(func(u *stmigrate.LegacyUser) { u.Email = "bob@example.com" }),
		"another tenant":   change(func(u *stmigrate.LegacyUser) { u.TenantID = "t1" }),
		"nobody, no error": func(users *stmigratetest.FakeLegacyUsers) {
			users.Spoil(func(*stmigrate.LegacyUser) *stmigrate.LegacyUser { return nil })
		},
		"a panic":   (*stmigratetest.FakeLegacyUsers).Panic,
		"no answer": (*stmigratetest.FakeLegacyUsers).Hang,
		"an error of no use": func(users *stmigratetest.FakeLegacyUsers) {
			users.Fail(errors.New("the database says no to " + adaPassword))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			users := &stmigratetest.FakeLegacyUsers{}
			users.Add(*ada(), adaPassword)
			spoil(users)
			l := w.process(func(cfg *login.Config) {
				if cfg.Legacy = users; name == "no answer" {
					cfg.Timeout = 50 * time.Millisecond
				}
			})
			_, err := l.SignIn(t.Context(), "", adaEmail, adaPassword)
			if name == "another's e-mail" { // or a right password would show under e-mails with tries of their own
				require.Equal(t, stmigrate.ErrWrongCredentials, err)
			} else {
				require.ErrorIs(t, err, stmigrate.ErrUnavailable)
			}
			assert.NotContains(t, err.Error(), adaPassword)
			_, err = l.CreatePasswordResetToken(t.Context(), "", adaID, adaEmail)
			require.Error(t, err)
			assert.Empty(t, w.core.Users())
			assert.Zero(t, w.entry(adaEmail).Step)
		})
	}
}

// kindsOfFailures are the e-mails of a user who is unknown, and of those who are only in legacy, only in SuperTokens, and imported.
var kindsOfFailures = []string{"nobody@example.com", "legacy0@example.com", "native@example.com", adaEmail}

// slowCore takes its time for a password, and only for the e-mails that it knows.
type slowCore struct{ *coreemu.Core }

func (c slowCore) RoundTrip(r *http.Request) (*http.Response, error) {
	body := []byte(nil)
	if r.Body != nil {
		body, _ = io.ReadAll(r.Body)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	time.Sleep(time.Millisecond)
	if strings.HasSuffix(r.URL.Path, "/signin") && slices.ContainsFunc(c.Users(), func(u coreemu.UserState) bool {
		return bytes.Contains(body, []byte(u.Email))
	}) {
		time.Sleep(70 * time.Millisecond)
	}
	w := httptest.NewRecorder()
	c.ServeHTTP(w, r)
	return w.Result(), nil
}

// TestFailuresTakeTheSameTime: to the nanosecond, where all that a sign-in does takes no longer than the floor. What stands
// still here but for the costs of the core is measured on a real machine by TestNobodyCanTellFromTheTime.
func TestFailuresTakeTheSameTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		client, err := core.New(core.Config{
			ConnectionURI: "http://core.test", HTTPClient: &http.Client{Transport: slowCore{coreemu.New(coreemu.Config{})}},
		})
		require.NoError(t, err)
		cfg := login.Config{Core: client, Legacy: newLegacy(ada()), Ledger: login.NewMemoryLedger(10), Tries: 100}
		l, err := login.New(cfg)
		require.NoError(t, err)
		_, err = l.SignIn(t.Context(), "", adaEmail, adaPassword)
		require.NoError(t, err)
		cfg.Legacy.(*legacyUsers).add(&stmigrate.LegacyUser{ID: "legacy|0", Email: "legacy0@example.com", TenantID: "public"}, adaPassword)
		_, err = client.SignUp(t.Context(), "", "native@example.com", "native pass 1")
		require.NoError(t, err)
		measure := func(l *login.Login) (took []time.Duration) {
			for _, email := range append([]string{"", "no e-mail\x00"}, kindsOfFailures...) {
				began := time.Now()
				_, err := l.SignIn(t.Context(), "", email, "wrong password 1")
				took = append(took, time.Since(began))
				require.Equal(t, stmigrate.ErrWrongCredentials, err)
			}
			return took
		}
		assert.Equal(t, slices.Repeat([]time.Duration{250 * time.Millisecond}, 6), measure(l))
		cfg.FailureFloor = 1
		l, err = login.New(cfg)
		require.NoError(t, err)
		bare := measure(l)
		assert.Greater(t, bare[4], bare[2]+60*time.Millisecond, "there is something to hide")
	})
}

// TestNobodyCanTellFromTheTime makes 2,000 failing sign-ins of each kind. It measures the machine that it runs on, so it runs
// where it is asked for.
func TestNobodyCanTellFromTheTime(t *testing.T) {
	if os.Getenv("STMIGRATE_TIMING") == "" {
		t.Skip("a measurement: set STMIGRATE_TIMING=1 on a machine that does nothing else")
	}
	const tries, bound = 2000, 0.55
	w := newWorld(t, ada())
	for i := range 2 {
		w.legacy.add(&stmigrate.LegacyUser{ID: fmt.Sprint("legacy|", i), Email: fmt.Sprintf("legacy%d@example.com", i), TenantID: "public"}, adaPassword)
	}
	require.NoError(t, w.signIn(w.process(), adaPassword))
	_, err := w.client.SignUp(t.Context(), "", "native@example.com", "native pass 1")
	require.NoError(t, err)
	measure := func(floor time.Duration, tries int) [][]float64 {
		l := w.process(func(cfg *login.Config) { cfg.FailureFloor, cfg.Tries, cfg.TriesPer = floor, 1000, time.Second })
		took := make([][]float64, len(kindsOfFailures))
		for range tries {
			for _, i := range rand.Perm(len(took)) {
				began := time.Now()
				_, err := l.SignIn(t.Context(), "", kindsOfFailures[i], "wrong password 1")
				took[i] = append(took[i], time.Since(began).Seconds())
				require.Equal(t, stmigrate.ErrWrongCredentials, err)
			}
		}
		return took
	}
	bare := slices.Concat(measure(1, 50)...)
	slices.Sort(bare)
	typical := time.Duration(bare[len(bare)/2] * float64(time.Second))
	if typical > 10*time.Millisecond {
		t.Skipf("a sign-in takes %v: this machine is too slow to measure anything", typical)
	}
	for again := range 2 { // what tells them apart does so twice
		took, worst := measure(max(10*time.Millisecond, 3*typical), tries), 0.0 // most sign-ins must end before the floor
		for i := range took {
			for j := range i {
				auc := rank(took[i], took[j])
				t.Logf("%s against %s: AUC %.3f", kindsOfFailures[i], kindsOfFailures[j], auc)
				worst = max(worst, auc, 1-auc)
			}
		}
		if worst <= bound {
			return
		}
		assert.Zero(t, again, "an AUC of %.3f, and one above %v before", worst, bound)
	}
}

// rank is the chance that one of a is greater than one of b (the rank test's AUC): 0.5 if nothing tells them apart.
func rank(a, b []float64) float64 {
	type sample struct {
		value float64
		ofA   bool
	}
	var all []sample
	for _, v := range a {
		all = append(all, sample{v, true})
	}
	for _, v := range b {
		all = append(all, sample{v, false})
	}
	slices.SortFunc(all, func(x, y sample) int { return cmp.Compare(x.value, y.value) })
	sum := 0.0
	for i, s := range all {
		if s.ofA {
			sum += float64(i + 1)
		}
	}
	n := float64(len(a))
	return (sum - n*(n+1)/2) / (n * float64(len(b)))
}
