package stmigratetest

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
)

func fakesUnderTest() (*FakeSessions, MinterUnderTest) {
	f := new(FakeSessions)
	return f, MinterUnderTest{
		Minter: f,
		Refresh: func(_ context.Context, t *stmigrate.Tokens) error {
			if !f.Refresh(t.Handle) {
				return errors.New("no such session")
			}
			return nil
		},
		Live: func(_ context.Context, tenantID, userID string) (handles []string, err error) {
			for _, s := range f.Live() {
				if s.TenantID == tenantID && s.UserID == userID {
					handles = append(handles, s.Handle)
				}
			}
			return handles, nil
		},
	}
}

func TestFakeSessions(t *testing.T) {
	t.Parallel()
	TestSessionMinter(t, func(*testing.T) MinterUnderTest {
		_, m := fakesUnderTest()
		return m
	})
}

// TestSessions holds the real minter to the contract, on a core that speaks either CDI version.
func TestSessions(t *testing.T) {
	t.Parallel()
	for _, cdi := range []string{"3.1", "5.2"} {
		t.Run("CDI "+cdi, func(t *testing.T) {
			TestSessionMinter(t, func(t *testing.T) MinterUnderTest {
				// 200 sessions are 400 RSA signatures: with the race detector, on a busy machine, that is no matter of 10 s.
				client, err := core.New(core.Config{ConnectionURI: NewCore(t, CoreConfig{Versions: []string{cdi}}).URL, Timeout: 2 * time.Minute})
				require.NoError(t, err)
				sessions, err := stmigrate.NewSessions(stmigrate.SessionsConfig{
					Core: client, APIDomain: "https://api.example.com", WebsiteOrigins: []string{"https://app.example.com"},
				})
				require.NoError(t, err)
				return MinterUnderTest{
					Minter: sessions, Live: client.UserSessions,
					Refresh: func(ctx context.Context, t *stmigrate.Tokens) error {
						tokens, err := client.RefreshSession(ctx, core.RefreshSession{RefreshToken: t.Header.Get("st-refresh-token")})
						if err != nil {
							return err
						}
						_, err = client.VerifySession(ctx, core.VerifySession{AccessToken: tokens.Access.Token})
						return err
					},
				}
			})
		})
	}
}

// brokenMinter is FakeSessions with one thing wrong.
type brokenMinter struct {
	*FakeSessions
	create  func(ctx context.Context, r *http.Request, u stmigrate.User) (*stmigrate.Tokens, error)
	always  bool // Pristine says yes to everything
	all     bool // RevokeSession ends every session
	trusted bool // CurrentSession believes any token
}

func (b *brokenMinter) CreateSession(ctx context.Context, r *http.Request, u stmigrate.User) (*stmigrate.Tokens, error) {
	if b.create != nil {
		return b.create(ctx, r, u)
	}
	return b.FakeSessions.CreateSession(ctx, r, u)
}

func (b *brokenMinter) RevokeSession(ctx context.Context, handle string) (bool, error) {
	wasLive, err := b.FakeSessions.RevokeSession(ctx, handle)
	if b.all {
		for _, s := range b.Live() {
			_, _ = b.FakeSessions.RevokeSession(ctx, s.Handle)
		}
	}
	return wasLive, err
}

func (b *brokenMinter) Pristine(ctx context.Context, t *stmigrate.Tokens) (bool, error) {
	if b.always {
		return true, nil
	}
	return b.FakeSessions.Pristine(ctx, t)
}

func (b *brokenMinter) CurrentSession(ctx context.Context, r *http.Request) (stmigrate.CurrentSession, bool, error) {
	if b.trusted && r.Header.Get("Authorization") != "" {
		return stmigrate.CurrentSession{Handle: "h", UserID: "forged", TenantID: "public"}, true, nil
	}
	return b.FakeSessions.CurrentSession(ctx, r)
}

func TestSessionMinterNoticesBrokenMinters(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		spoil   func(*brokenMinter)
		noticed []string
	}{
		"repeats the create": {func(b *brokenMinter) {
			b.create = func(ctx context.Context, r *http.Request, u stmigrate.User) (*stmigrate.Tokens, error) {
				_, _ = b.FakeSessions.CreateSession(ctx, r, u)
				return b.FakeSessions.CreateSession(ctx, r, u)
			}
		}, []string{"a session is minted once, and is the current one of who carries it", "two mints are two sessions"}},
		"is pristine for ever": {func(b *brokenMinter) { b.always = true },
			[]string{"a session is pristine until it is refreshed", "a session that is revoked is neither pristine nor current, and others stay"}},
		"revokes all":       {func(b *brokenMinter) { b.all = true }, []string{"a session that is revoked is neither pristine nor current, and others stay"}},
		"trusts any bearer": {func(b *brokenMinter) { b.trusted = true }, []string{"a token of somebody else is no session"}},
		"says not created and lies": {func(b *brokenMinter) {
			b.create = func(ctx context.Context, r *http.Request, u stmigrate.User) (*stmigrate.Tokens, error) {
				t, err := b.FakeSessions.CreateSession(context.WithoutCancel(ctx), r, stmigrate.User{ID: u.ID, SessionData: u.SessionData})
				if u.ID == "refused" {
					return nil, stmigrate.ErrNotCreated
				}
				return t, err
			}
		}, []string{"an error that says not created means it"}},
	} {
		t.Run(name, func(t *testing.T) {
			failed := failing(t.Context(), sessionMinterChecks, func() MinterUnderTest {
				fakes, m := fakesUnderTest()
				broken := &brokenMinter{FakeSessions: fakes}
				tt.spoil(broken)
				m.Minter = broken
				return m
			})
			for _, want := range tt.noticed {
				assert.Contains(t, failed, want)
			}
			assert.Less(t, len(failed), len(sessionMinterChecks), "what is not broken passes")
		})
	}
}
