package login_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/login"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

func TestLoginIsAnEmailPassword(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"3.1", "5.2"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			stmigratetest.TestEmailPassword(t, func(t *testing.T) stmigratetest.EmailPasswordUnderTest {
				memory := stmigratetest.NewCore(t, stmigratetest.CoreConfig{Versions: []string{version, "3.0"}})
				w := &world{t: t, core: memory}
				if version == "5.2" {
					w.raw("PUT", "/recipe/multitenancy/tenant/v2", `{"tenantId":"t1"}`, nil)
				}
				u := stmigrate.LegacyUser{ID: "legacy|1", Email: "legacy@example.com", EmailVerified: true}
				users := &stmigratetest.FakeLegacyUsers{}
				users.Add(u, "legacy horse 3")
				l, err := login.New(login.Config{
					Core: memory.Client(), Legacy: users, Ledger: login.NewMemoryLedger(100), Tenants: []string{"public"},
					FailureFloor: time.Millisecond, Timeout: time.Minute, Lease: time.Minute, Wait: time.Minute,
					Observe: func(_ context.Context, e login.Event) {
						if e.Name == login.EventImport && e.Err == nil {
							users.Imported(u.ID) // what the counter of a real store finds in the ledger's table
						}
					},
				})
				require.NoError(t, err)
				under := stmigratetest.EmailPasswordUnderTest{
					EmailPassword: l, Legacy: &u, LegacyPassword: "legacy horse 3",
					Break: func() { users.Fail(stmigrate.ErrUnavailable) },
				}
				if version == "5.2" {
					under.Tenant = "t1"
				}
				return under
			})
		})
	}
}
