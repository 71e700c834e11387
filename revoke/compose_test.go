package revoke

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// says is a revoker that counts its calls and answers err.
func says(calls *int, err error) stmigrate.Revoker {
	return stmigrate.RevokerFunc(func(context.Context, string, *stmigrate.OldSession) error {
		*calls++
		return err
	})
}

func TestAll(t *testing.T) {
	t.Parallel()
	first, second := errors.New("first"), errors.New("second")
	wait := func(d time.Duration) error { return &stmigrate.RevokeError{Err: first, RetryAfter: d} }
	for name, tt := range map[string]struct {
		errs  []error
		want  string
		after time.Duration
	}{
		"all succeed":                {[]error{nil, nil}, revoked, 0},
		"the first fails":            {[]error{first, nil}, temporaryKind, 0},
		"the last fails":             {[]error{nil, second}, temporaryKind, 0},
		"both fail":                  {[]error{first, second}, temporaryKind, 0},
		"all that fail are for good": {[]error{permanent("%w", first), nil}, permanentKind, 0},
		"one may pass":               {[]error{permanent("%w", first), second}, temporaryKind, 0},
		"the first may pass":         {[]error{wait(0), permanent("%w", second)}, temporaryKind, 0},
		"one says when":              {[]error{permanent("%w", second), wait(time.Minute)}, temporaryKind, time.Minute},
		"the longest":                {[]error{wait(time.Second), wait(time.Minute), wait(0)}, temporaryKind, time.Minute},
	} {
		var calls int
		var revokers []stmigrate.Revoker
		for _, err := range tt.errs {
			revokers = append(revokers, says(&calls, err))
		}
		all, err := All(revokers...)
		require.NoError(t, err)
		revokers[0] = nil // it has its own
		err = all.Revoke(t.Context(), "token", &stmigrate.OldSession{})
		assert.Equal(t, tt.want, kindOf(t, err), name)
		assert.Equal(t, tt.after, retryAfter(err), name)
		assert.Equal(t, len(tt.errs), calls, "%s: each is tried", name)
		for _, e := range []error{first, second} {
			wanted := false
			for _, said := range tt.errs {
				wanted = wanted || errors.Is(said, e)
			}
			assert.Equal(t, wanted, errors.Is(err, e), name)
		}
	}
	_, err := All()
	assert.ErrorContains(t, err, "no revokers")
	for _, r := range []stmigrate.Revoker{nil, (*RFC7009)(nil), stmigrate.RevokerFunc(nil)} {
		_, err = All(stmigrate.LeaveToExpire, r)
		assert.ErrorContains(t, err, "revoker 1 is nil")
	}
}

func TestByIssuer(t *testing.T) {
	t.Parallel()
	var one, two int
	failed := errors.New("failed")
	given := map[string]stmigrate.Revoker{"https://one.example/": says(&one, nil), "https://two.example": says(&two, failed)}
	r, err := ByIssuer(given)
	require.NoError(t, err)
	delete(given, "https://one.example/") // it has its own
	revoke := func(issuer string) error {
		return r.Revoke(t.Context(), "token", &stmigrate.OldSession{Issuer: issuer})
	}
	assert.NoError(t, revoke("https://one.example/"))
	assert.ErrorIs(t, revoke("https://two.example"), failed)
	for _, issuer := range []string{"https://one.example", "https://two.example/", "https://three.example", ""} {
		assert.Equal(t, permanentKind, kindOf(t, revoke(issuer)), "issuers match exactly: %q", issuer)
	}
	assert.Equal(t, permanentKind, kindOf(t, r.Revoke(t.Context(), "token", nil)))
	assert.Equal(t, [2]int{1, 1}, [2]int{one, two})

	clearing, err := ClearCookies(stmigrate.LeaveToExpire, &http.Cookie{Name: "sid", Path: "/"})
	require.NoError(t, err)
	for want, revokers := range map[string]map[string]stmigrate.Revoker{
		"no revokers":     nil,
		"issuer is empty": {"": stmigrate.LeaveToExpire},
		"is nil":          {"https://one.example": nil},
		"clears cookies":  {"https://one.example": clearing},
	} {
		_, err := ByIssuer(revokers)
		assert.ErrorContains(t, err, want)
	}
}

// Composed revokers end one session at one issuer, as their parts do.
func TestComposedIsARevoker(t *testing.T) {
	t.Parallel()
	stmigratetest.TestRevoker(t, func(t *testing.T) stmigratetest.RevokerUnderTest {
		iss := stmigratetest.NewIssuer(t)
		one := newRFC7009(t, RFC7009Config{Endpoint: iss.RevocationURL()})
		all, err := All(one, stmigrate.LeaveToExpire)
		require.NoError(t, err)
		byIssuer, err := ByIssuer(map[string]stmigrate.Revoker{iss.Issuer(): all, "https://other.example/": stmigrate.LeaveToExpire})
		require.NoError(t, err)
		clearing, err := ClearCookies(byIssuer, &http.Cookie{Name: "sid", Path: "/"})
		require.NoError(t, err)
		return stmigratetest.RevokerUnderTest{
			Revoker: clearing,
			SignIn: func(user string) (string, *stmigrate.OldSession) {
				s := iss.SignIn(user)
				return s.AccessToken, &stmigrate.OldSession{Issuer: iss.Issuer(), Subject: user, SessionID: s.SessionID}
			},
			Ended: iss.Revoked,
			Break: func() { iss.Status(http.StatusInternalServerError, "POST /revoke") },
		}
	})
}

func TestClearCookies(t *testing.T) {
	t.Parallel()
	var calls int
	failed := errors.New("failed")
	given := &http.Cookie{
		Name: "__Host-sid", Value: "SECRET", Quoted: true, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteNoneMode, Partitioned: true,
		MaxAge: 3600, Expires: time.Now().Add(time.Hour), Raw: "SECRET", Unparsed: []string{"SECRET"},
	}
	inner, err := ClearCookies(says(&calls, failed), given)
	require.NoError(t, err)
	outer, err := ClearCookies(inner, &http.Cookie{Name: "legacy", Path: "/app", Domain: ".example.com"}, &http.Cookie{Name: "legacy", Path: "/"})
	require.NoError(t, err)
	given.Name = "other" // it has its own
	assert.ErrorIs(t, outer.Revoke(t.Context(), "token", nil), failed)
	assert.Equal(t, 1, calls)

	all, err := All(stmigrate.LeaveToExpire, outer)
	require.NoError(t, err)
	for range 2 {
		w := httptest.NewRecorder()
		for _, c := range all.ClearedCookies() {
			http.SetCookie(w, c)
			c.Name = "mine" // the next caller gets others
		}
		assert.Equal(t, []string{
			"__Host-sid=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0; HttpOnly; Secure; SameSite=None; Partitioned",
			"legacy=; Path=/app; Domain=example.com; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0",
			"legacy=; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=0",
		}, w.Header().Values("Set-Cookie"))
	}

	for name, c := range map[string]*http.Cookie{
		"is nil":                     nil,
		"invalid Cook":               {Name: "", Path: "/"},
		"invalid Cookie.Name":        {Name: "a b", Path: "/"},
		"invalid byte ';' in Cookie": {Name: "a", Path: "/;x"},
		"invalid Cookie.Domain":      {Name: "a", Path: "/", Domain: "exa mple"},
		"its Path is \"\"":           {Name: "a"},
		"its Path is \"app\"":        {Name: "a", Path: "app"},
		"__Host- wants":              {Name: "__Host-a", Path: "/"},
		"__Host- wants Secure, Path": {Name: "__Host-a", Path: "/app", Secure: true},
		"__Host- wants Secure":       {Name: "__host-a", Path: "/", Secure: true, Domain: "example.com"},
		"__Secure- wants":            {Name: "__Secure-a", Path: "/"},
		"SameSite=None wants":        {Name: "a", Path: "/", SameSite: http.SameSiteNoneMode},
		"artitioned":                 {Name: "a", Path: "/", Partitioned: true},
		"there twice":                {Name: "first", Path: "/", Secure: true},
	} {
		_, err := ClearCookies(stmigrate.LeaveToExpire, &http.Cookie{Name: "first", Path: "/"}, c)
		assert.ErrorContains(t, err, name)
	}
	_, err = ClearCookies(nil, &http.Cookie{Name: "a", Path: "/"})
	assert.ErrorContains(t, err, "next is required")
	_, err = ClearCookies(stmigrate.LeaveToExpire)
	assert.ErrorContains(t, err, "no cookies")
}
