package providers_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/providers"
	"github.com/stmigrate/stmigrate/revoke"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// The configurations that fit the golden files.
var (
	auth0Config = providers.Auth0Config{
		Domain: "my-domain.auth0.com", Audience: []string{"https://example.com/health-api"}, ClientIDs: []string{"my_client_id"},
		SessionIDClaim: "https://example.com/sid",
	}
	cognitoConfig = providers.CognitoConfig{UserPoolID: "us-west-2_example", ClientIDs: []string{"57cbishk4j24pabc1234567890"}}
	oktaConfig    = providers.OktaConfig{
		Domain: "example.okta.com", AuthorizationServer: "0oacqf8qaJw56czJi0g4", Audience: []string{"https://api.example.com"},
		ClientIDs: []string{"nmdP1fcyvdVO11AL7ECm"},
	}
	firebaseConfig = providers.FirebaseConfig{ProjectID: "example-project"}
	keycloakConfig = providers.KeycloakConfig{BaseURL: "https://sso.example.com", Realm: "something", ClientIDs: []string{"something"}}
)

type provenProvider struct {
	play   func(*stmigratetest.Issuer) *stmigratetest.Provider
	preset func() (*providers.Preset, error)
	// revoker ends one session, of which it is told the access token; nil where the provider cannot.
	revoker func(p *stmigratetest.Provider, refresh func(access string) string) (stmigrate.Revoker, error)
	// everywhere ends all sessions of a user.
	everywhere func(p *stmigratetest.Provider) (stmigrate.Revoker, error)
}

func overHTTP(p *stmigratetest.Provider) revoke.HTTP { return revoke.HTTP{Client: p.Client()} }

var proven = map[string]provenProvider{
	"Auth0": {
		play:   (*stmigratetest.Issuer).Auth0,
		preset: func() (*providers.Preset, error) { return providers.Auth0(auth0Config) },
		revoker: func(p *stmigratetest.Provider, _ func(string) string) (stmigrate.Revoker, error) {
			cfg := auth0Config.Revocation()
			cfg.Token, cfg.HTTP = revoke.StaticToken(p.APIToken), overHTTP(p)
			return revoke.NewAuth0(cfg)
		},
	},
	"Cognito": {
		play:   (*stmigratetest.Issuer).Cognito,
		preset: func() (*providers.Preset, error) { return providers.Cognito(cognitoConfig) },
		revoker: func(p *stmigratetest.Provider, refresh func(string) string) (stmigrate.Revoker, error) {
			cfg := cognitoConfig.Revocation()
			cfg.HTTP = overHTTP(p)
			cfg.Token = func(_ context.Context, token string, _ *stmigrate.OldSession) (string, error) {
				return refresh(token), nil
			}
			return revoke.NewCognito(cfg)
		},
		everywhere: func(p *stmigratetest.Provider) (stmigrate.Revoker, error) {
			return revoke.CognitoRevokeAllSessionsOfUser(revoke.CognitoUserConfig{Region: "us-west-2", HTTP: overHTTP(p)})
		},
	},
	"Okta": {
		play:   (*stmigratetest.Issuer).Okta,
		preset: func() (*providers.Preset, error) { return providers.Okta(oktaConfig) },
		revoker: func(p *stmigratetest.Provider, refresh func(string) string) (stmigrate.Revoker, error) {
			preset, err := providers.Okta(oktaConfig)
			if err != nil {
				return nil, err
			}
			client := revoke.ClientAuth{ID: p.ClientID, Secret: p.ClientSecret}
			check, err := revoke.NewIntrospection(revoke.IntrospectionConfig{
				Endpoint: preset.Endpoints.Introspection, Client: client, HTTP: overHTTP(p),
			})
			if err != nil {
				return nil, err
			}
			return revoke.NewRFC7009(revoke.RFC7009Config{
				Endpoint: preset.Endpoints.Revocation, Client: client, Confirm: check.ConfirmRevoked, HTTP: overHTTP(p),
			})
		},
	},
	"Firebase": {
		play:   (*stmigratetest.Issuer).Firebase,
		preset: func() (*providers.Preset, error) { return providers.Firebase(firebaseConfig) },
		everywhere: func(p *stmigratetest.Provider) (stmigrate.Revoker, error) {
			cfg := firebaseConfig.Revocation()
			cfg.Token, cfg.HTTP = revoke.StaticToken(p.APIToken), overHTTP(p)
			return revoke.FirebaseRevokeAllSessionsOfUser(cfg)
		},
	},
	"Keycloak": {
		play:   (*stmigratetest.Issuer).Keycloak,
		preset: func() (*providers.Preset, error) { return providers.Keycloak(keycloakConfig) },
		revoker: func(p *stmigratetest.Provider, _ func(string) string) (stmigrate.Revoker, error) {
			credentials, err := revoke.NewClientCredentials(revoke.ClientCredentialsConfig{
				TokenURL: "https://sso.example.com/realms/something/protocol/openid-connect/token",
				Client:   revoke.ClientAuth{ID: p.ClientID, Secret: p.ClientSecret}, HTTP: overHTTP(p),
			})
			if err != nil {
				return nil, err
			}
			cfg := keycloakConfig.Revocation()
			cfg.Token, cfg.HTTP = credentials.Token, overHTTP(p)
			return revoke.NewKeycloak(cfg)
		},
		everywhere: func(p *stmigratetest.Provider) (stmigrate.Revoker, error) {
			cfg := keycloakConfig.Revocation()
			cfg.Token, cfg.HTTP = revoke.StaticToken(p.APIToken), overHTTP(p)
			return revoke.KeycloakRevokeAllSessionsOfUser(cfg)
		},
	},
}

// verifierOf makes a preset's verifier, which asks the played provider.
func verifierOf(t *testing.T, p *stmigratetest.Provider, preset *providers.Preset, err error) *providers.Verifier {
	t.Helper()
	require.NoError(t, err)
	preset.Keys.HTTPClient = p.Client()
	v, err := preset.Verifier()
	require.NoError(t, err)
	return v
}

// The documentation's own tokens are taken, each trap is refused, and so is every attack on a JWT made of the provider's token.
func TestProvenPresets(t *testing.T) {
	for name, of := range proven {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := of.play(stmigratetest.NewIssuer(t))
			preset, err := of.preset()
			v := verifierOf(t, p, preset, err)
			require.NoError(t, v.Warm(t.Context()))
			wrong := p.Traps()
			if !testing.Short() { // the attacks take a while
				wrong = p.Wrong()
			}
			stmigratetest.TestVerifier(t, stmigratetest.VerifierUnderTest{Verifier: v, Good: p.Good(), Wrong: wrong})
		})
	}
}

func TestProvenSessions(t *testing.T) {
	for name, of := range proven {
		t.Run(name, func(t *testing.T) {
			iss := stmigratetest.NewIssuer(t)
			p := of.play(iss)
			preset, err := of.preset()
			v := verifierOf(t, p, preset, err)
			one := p.SignIn("ada")
			s, err := v.Verify(t.Context(), one.AccessToken)
			require.NoError(t, err)
			assert.Equal(t, "ada", s.Subject)
			assert.Equal(t, preset.JWT.Issuer, s.Issuer)
			if of.revoker != nil && name != "Okta" {
				assert.Equal(t, one.SessionID, s.SessionID)
			}

			// A key that was just rotated in is taken, and one that is gone is not.
			iss.RotateKeys()
			_, err = v.Verify(t.Context(), p.SignIn("ada").AccessToken)
			require.NoError(t, err)
			assert.NotEmpty(t, iss.Requests(), "the keys come from the provider's own address")
		})
	}
}

// Each provider's revoker, told nothing but what the preset's verifier said, ends that one session.
func TestProvenRevocation(t *testing.T) {
	for name, of := range proven {
		if of.revoker == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			stmigratetest.TestRevoker(t, func(t *testing.T) stmigratetest.RevokerUnderTest {
				iss := stmigratetest.NewIssuer(t)
				p := of.play(iss)
				preset, err := of.preset()
				v := verifierOf(t, p, preset, err)
				refresh := make(map[string]string)
				revoker, err := of.revoker(p, func(access string) string { return refresh[access] })
				require.NoError(t, err)
				return stmigratetest.RevokerUnderTest{
					Revoker: revoker,
					SignIn: func(user string) (string, *stmigrate.OldSession) {
						one := p.SignIn(user)
						refresh[one.AccessToken] = one.RefreshToken
						s, err := v.Verify(t.Context(), one.AccessToken)
						require.NoError(t, err)
						return one.AccessToken, s
					},
					Ended: iss.Revoked,
					Break: func() { iss.Down() },
				}
			})
		})
	}
}

func TestProvenRevocationEverywhere(t *testing.T) {
	for name, of := range proven {
		if of.everywhere == nil {
			continue
		}
		t.Run(name, func(t *testing.T) {
			iss := stmigratetest.NewIssuer(t)
			p := of.play(iss)
			preset, err := of.preset()
			v := verifierOf(t, p, preset, err)
			revoker, err := of.everywhere(p)
			require.NoError(t, err)
			one, other, bob := p.SignIn("ada"), p.SignIn("ada"), p.SignIn("bob")
			s, err := v.Verify(t.Context(), one.AccessToken)
			require.NoError(t, err)
			require.NoError(t, revoker.Revoke(t.Context(), one.AccessToken, s))
			assert.True(t, iss.Revoked(one.AccessToken))
			assert.True(t, iss.Revoked(other.AccessToken))
			assert.False(t, iss.Revoked(bob.AccessToken))
		})
	}
}

// The whole way: a page shows its legacy token, gets a session, and the legacy one is over. A token of the wrong kind gets nothing.
func TestProvenExchange(t *testing.T) {
	for name, of := range proven {
		t.Run(name, func(t *testing.T) {
			iss := stmigratetest.NewIssuer(t)
			p := of.play(iss)
			preset, err := of.preset()
			v := verifierOf(t, p, preset, err)
			one := p.SignIn("ada")
			revoker, err := stmigrate.Revoker(nil), error(nil)
			if of.revoker != nil {
				revoker, err = of.revoker(p, func(string) string { return one.RefreshToken })
			} else {
				revoker, err = of.everywhere(p)
			}
			require.NoError(t, err)
			sessions := new(stmigratetest.FakeSessions)
			migrator, err := stmigrate.New(stmigrate.Config{
				Verifier: v, Sessions: sessions, Users: stmigrate.SubjectIsUserID, Exchanges: stmigrate.NewMemoryExchanges(10),
				Revoker: revoker, RevokePolicy: stmigrate.RevokeRequired,
				Lease: 10 * time.Minute, Grace: 20 * time.Minute, // on a busy machine, too
			})
			require.NoError(t, err)
			exchange := func(token string) int {
				r := httptest.NewRequest(http.MethodPost, "/migrate-session", nil)
				r.Header.Set("Authorization", "Bearer "+token)
				w := httptest.NewRecorder()
				migrator.ServeHTTP(w, r)
				return w.Code
			}
			for _, w := range p.Traps() {
				require.Equal(t, http.StatusUnauthorized, exchange(w.Token), w.Name)
			}
			require.Equal(t, http.StatusOK, exchange(one.AccessToken))
			assert.True(t, iss.Revoked(one.AccessToken))
		})
	}
}

// At Auth0 a plan below Enterprise revokes refresh tokens.
func TestAuth0RevokesRefreshTokens(t *testing.T) {
	iss := stmigratetest.NewIssuer(t)
	p := iss.Auth0()
	preset, err := providers.Auth0(auth0Config)
	require.NoError(t, err)
	one := p.SignIn("auth0|ada")
	revoker, err := revoke.NewRFC7009(revoke.RFC7009Config{
		Endpoint: preset.Endpoints.Revocation, Client: revoke.ClientAuth{ID: p.ClientID, Secret: p.ClientSecret}, HTTP: overHTTP(p),
		Token: func(context.Context, string, *stmigrate.OldSession) (string, error) { return one.RefreshToken, nil },
	})
	require.NoError(t, err)
	require.NoError(t, revoker.Revoke(t.Context(), one.AccessToken, new(stmigrate.OldSession)))
	assert.True(t, iss.Revoked(one.RefreshToken))
	assert.Len(t, iss.Requests("POST /oauth/revoke"), 1)
}

func TestTokensThatAreNoJWTAreExplained(t *testing.T) {
	p := stmigratetest.NewIssuer(t).Auth0()
	preset, err := providers.Auth0(auth0Config)
	v := verifierOf(t, p, preset, err)
	for name, want := range map[string]struct{ token, text string }{
		"opaque":    {"at_" + strings.Repeat("x", 40), "have the login ask for the one in Auth0Config.Audience"},
		"encrypted": {"eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..aXY.Y2lwaGVy.dGFn", "Auth0 encrypts the access tokens of an API"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), want.token)
			require.ErrorIs(t, err, stmigrate.ErrNotMine)
			assert.ErrorContains(t, err, want.text)
			assert.NotContains(t, err.Error(), want.token[:20])
		})
	}
	_, err = v.Verify(t.Context(), p.Token("token of another tenant"))
	require.ErrorIs(t, err, stmigrate.ErrNotMine)
	assert.NotContains(t, err.Error(), "audience")
}

// ID tokens in place of access tokens, where an application has no other: then access tokens are the wrong kind.
func TestAllowIDTokens(t *testing.T) {
	auth0, cognito := auth0Config, cognitoConfig
	auth0.AllowIDTokens, auth0.Audience, auth0.SessionIDClaim = true, nil, ""
	cognito.AllowIDTokens = true
	custom := oktaConfig
	custom.AllowIDTokens, custom.Audience = true, nil
	org := providers.OktaConfig{Domain: "example.okta.com", ClientIDs: []string{"uAaunofWkaDJxukCFeBx", "nmdP1fcyvdVO11AL7ECm"}, AllowIDTokens: true}
	for name, of := range map[string]struct {
		play    func(*stmigratetest.Issuer) *stmigratetest.Provider
		preset  func() (*providers.Preset, error)
		good    string
		session string
		wrong   map[string]error
	}{
		"Auth0": {
			(*stmigratetest.Issuer).Auth0, func() (*providers.Preset, error) { return providers.Auth0(auth0) },
			"ID token", "SiD-8f14e45fceea167a", map[string]error{
				"access token, default profile":           stmigrate.ErrInvalidSession,
				"access token, RFC 9068 profile":          stmigrate.ErrInvalidSession,
				"machine token, default profile":          stmigrate.ErrInvalidSession,
				"logout token":                            stmigrate.ErrInvalidSession,
				"ID token as the documentation prints it": stmigrate.ErrNotMine,
			},
		},
		"Cognito": {
			(*stmigratetest.Issuer).Cognito, func() (*providers.Preset, error) { return providers.Cognito(cognito) },
			"ID token of this pool and client", "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee", map[string]error{
				"access token":                       stmigrate.ErrInvalidSession,
				"token whose audience is the client": stmigrate.ErrInvalidSession,
				"ID token":                           stmigrate.ErrNotMine,
			},
		},
		"Okta, custom server": {
			(*stmigratetest.Issuer).Okta, func() (*providers.Preset, error) { return providers.Okta(custom) },
			"ID token of this server and client", "", map[string]error{
				"access token":                       stmigrate.ErrInvalidSession,
				"ID token whose audience is the API": stmigrate.ErrInvalidSession,
				"ID token":                           stmigrate.ErrNotMine,
			},
		},
		"Okta, org server": {
			(*stmigratetest.Issuer).Okta, func() (*providers.Preset, error) { return providers.Okta(org) },
			"ID token", "", map[string]error{
				"access token of the org authorization server": stmigrate.ErrInvalidSession,
				"access token": stmigrate.ErrNotMine,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := of.play(stmigratetest.NewIssuer(t))
			preset, err := of.preset()
			v := verifierOf(t, p, preset, err)
			s, err := v.Verify(t.Context(), p.Token(of.good))
			require.NoError(t, err)
			assert.Equal(t, of.session, s.SessionID)
			for token, class := range of.wrong {
				_, err := v.Verify(t.Context(), p.Token(token))
				assert.ErrorIs(t, err, class, token)
			}
			// Another application of the provider's can get ID tokens with several audiences: azp is whose they are.
			aud := s.Claims["aud"].(string)
			for azp, class := range map[any]error{aud: nil, "other": stmigrate.ErrInvalidSession, nil: stmigrate.ErrInvalidSession} {
				_, err := v.Verify(t.Context(), p.Token(of.good, stmigratetest.Claims{"aud": []string{aud, "other"}, "azp": azp}))
				assert.ErrorIs(t, err, class, azp)
			}
		})
	}
	t.Run("each claim that no ID token has is enough", func(t *testing.T) {
		for _, c := range []struct {
			play   func(*stmigratetest.Issuer) *stmigratetest.Provider
			preset func() (*providers.Preset, error)
			good   string
			claim  stmigratetest.Claims
		}{
			{(*stmigratetest.Issuer).Auth0, func() (*providers.Preset, error) { return providers.Auth0(auth0) }, "ID token",
				stmigratetest.Claims{"events": map[string]any{}}},
			{(*stmigratetest.Issuer).Auth0, func() (*providers.Preset, error) { return providers.Auth0(auth0) }, "ID token",
				stmigratetest.Claims{"scope": "openid"}},
			{(*stmigratetest.Issuer).Okta, func() (*providers.Preset, error) { return providers.Okta(custom) },
				"ID token of this server and client", stmigratetest.Claims{"cid": custom.ClientIDs[0]}},
			{(*stmigratetest.Issuer).Okta, func() (*providers.Preset, error) { return providers.Okta(custom) },
				"ID token of this server and client", stmigratetest.Claims{"scp": []string{"openid"}}},
		} {
			p := c.play(stmigratetest.NewIssuer(t))
			preset, err := c.preset()
			_, err = verifierOf(t, p, preset, err).Verify(t.Context(), p.Token(c.good, c.claim))
			assert.ErrorIs(t, err, stmigrate.ErrInvalidSession, c.claim)
		}
	})
	t.Run("Cognito, token_use decides", func(t *testing.T) {
		p := stmigratetest.NewIssuer(t).Cognito()
		preset, err := providers.Cognito(cognito)
		v := verifierOf(t, p, preset, err)
		for _, use := range []any{"access", nil, []string{"id"}} {
			_, err := v.Verify(t.Context(), p.Token("ID token of this pool and client", stmigratetest.Claims{"token_use": use}))
			assert.ErrorIs(t, err, stmigrate.ErrInvalidSession)
		}
	})
	t.Run("Auth0, an access token for the client is none", func(t *testing.T) {
		p := stmigratetest.NewIssuer(t).Auth0()
		preset, err := providers.Auth0(auth0)
		v := verifierOf(t, p, preset, err)
		_, err = v.Verify(t.Context(), p.Token("access token, default profile", stmigratetest.Claims{"aud": "my_client_id"}))
		assert.ErrorIs(t, err, stmigrate.ErrInvalidSession)
	})
	t.Run("Okta, an access token for the client is none", func(t *testing.T) {
		p := stmigratetest.NewIssuer(t).Okta()
		preset, err := providers.Okta(org)
		v := verifierOf(t, p, preset, err)
		_, err = v.Verify(t.Context(), p.Token("access token of the org authorization server", stmigratetest.Claims{"aud": "nmdP1fcyvdVO11AL7ECm"}))
		assert.ErrorIs(t, err, stmigrate.ErrInvalidSession)
	})
}

func TestFirebaseSessionCookie(t *testing.T) {
	const issuer = "https://session.firebase.google.com/example-project"
	p := stmigratetest.NewIssuer(t).Firebase()
	preset, err := providers.FirebaseSessionCookie(firebaseConfig)
	v := verifierOf(t, p, preset, err)
	s, err := v.Verify(t.Context(), p.Token("session cookie"))
	require.NoError(t, err)
	assert.Equal(t, issuer, s.Issuer)
	_, err = v.Verify(t.Context(), p.Token("ID token"))
	assert.ErrorIs(t, err, stmigrate.ErrNotMine)
	for _, w := range p.Traps() {
		if w.Class != stmigratetest.ClassInvalid {
			continue
		}
		_, err := v.Verify(t.Context(), p.Token(w.Name, stmigratetest.Claims{"iss": issuer}))
		assert.ErrorIs(t, err, stmigrate.ErrInvalidSession, w.Name)
	}
	_, err = v.Verify(t.Context(), p.Token("custom token", stmigratetest.Claims{"iss": issuer}))
	assert.ErrorIs(t, err, stmigrate.ErrInvalidSession)
}

// The certificates of Firebase end; a token of one that has ended is not taken, though the signature holds.
func TestFirebaseCertificates(t *testing.T) {
	now := time.Now()
	iss := stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{Now: func() time.Time { return now }})
	p := iss.Firebase()
	preset, err := providers.Firebase(firebaseConfig)
	require.NoError(t, err)
	preset.JWT.Now = func() time.Time { return now }
	preset.Keys.MaxStale = 72 * time.Hour
	v := verifierOf(t, p, preset, nil)
	first := iss.KeyID()
	_, err = v.Verify(t.Context(), p.Token("ID token"))
	require.NoError(t, err)

	iss.RotateKeys()
	require.NotEqual(t, first, iss.KeyID())
	_, err = v.Verify(t.Context(), p.Token("ID token"))
	require.NoError(t, err, "a certificate that was just published")

	iss.Down()
	now = now.Add(25 * time.Hour) // the certificates are good for a day
	_, err = v.Verify(t.Context(), p.Token("ID token"))
	assert.ErrorIs(t, err, stmigrate.ErrInvalidSession)
}

func TestFirebaseSignInTime(t *testing.T) {
	p := stmigratetest.NewIssuer(t).Firebase()
	preset, err := providers.Firebase(firebaseConfig)
	v := verifierOf(t, p, preset, err)
	for _, wrong := range []any{time.Now().Add(time.Hour).Unix(), "1766002923", nil, -1} {
		for _, change := range []stmigratetest.Claims{{"auth_time": wrong}, {"auth_time": wrong, "iat": nil}} {
			_, err := v.Verify(t.Context(), p.Token("ID token", change))
			assert.ErrorIs(t, err, stmigrate.ErrInvalidSession, change)
		}
	}
}

func TestFirebaseTenants(t *testing.T) {
	p := stmigratetest.NewIssuer(t).Firebase()
	token := func(tenant string) string {
		return p.Token("ID token", stmigratetest.Claims{"firebase": map[string]any{"sign_in_provider": "password", "tenant": tenant}})
	}
	one, several := firebaseConfig, firebaseConfig
	one.TenantIDs, several.TenantIDs = []string{"acme-1"}, []string{"acme-1", "bolt-2"}
	for name, c := range map[string]struct {
		cfg     providers.FirebaseConfig
		token   string
		subject string // "": refused
	}{
		"none configured":               {firebaseConfig, token("acme-1"), ""},
		"one":                           {one, token("acme-1"), "CArJJ2PQFFd8l2Rf8uptZhl86d33"},
		"one, of another":               {one, token("bolt-2"), ""},
		"one, of none":                  {one, p.Token("ID token"), ""},
		"several, the first":            {several, token("acme-1"), "acme-1/CArJJ2PQFFd8l2Rf8uptZhl86d33"},
		"several, the same uid, second": {several, token("bolt-2"), "bolt-2/CArJJ2PQFFd8l2Rf8uptZhl86d33"},
		"several, of another":           {several, token("core-3"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			preset, err := providers.Firebase(c.cfg)
			s, err := verifierOf(t, p, preset, err).Verify(t.Context(), c.token)
			if c.subject == "" {
				require.ErrorIs(t, err, stmigrate.ErrInvalidSession)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.subject, s.Subject)
		})
	}
}

// What is refused by default has a switch where somebody needs it.
func TestAllowed(t *testing.T) {
	auth0, firebase, keycloak := auth0Config, firebaseConfig, keycloakConfig
	auth0.AllowImpersonation, firebase.AllowAnonymous, keycloak.AllowImpersonation = true, true, true
	anyClient := auth0Config
	anyClient.SkipClientCheck, anyClient.ClientIDs = true, nil
	for name, c := range map[string]struct {
		play   func(*stmigratetest.Issuer) *stmigratetest.Provider
		preset func() (*providers.Preset, error)
		tokens []string
	}{
		"Auth0, act": {(*stmigratetest.Issuer).Auth0, func() (*providers.Preset, error) { return providers.Auth0(auth0) },
			[]string{"token of somebody who acts for the user"}},
		"Auth0, any client": {(*stmigratetest.Issuer).Auth0, func() (*providers.Preset, error) { return providers.Auth0(anyClient) },
			[]string{"token of another application, default profile", "token that names no application"}},
		"Firebase, anonymous": {(*stmigratetest.Issuer).Firebase, func() (*providers.Preset, error) { return providers.Firebase(firebase) },
			[]string{"ID token of an anonymous user", "ID token of an anonymous user, by provider_id alone"}},
		"Keycloak, act and impersonator": {(*stmigratetest.Issuer).Keycloak, func() (*providers.Preset, error) { return providers.Keycloak(keycloak) },
			[]string{"token of somebody who acts for the user", "token of an administrator who impersonates the user"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := c.play(stmigratetest.NewIssuer(t))
			preset, err := c.preset()
			v := verifierOf(t, p, preset, err)
			for _, token := range c.tokens {
				_, err := v.Verify(t.Context(), p.Token(token))
				assert.NoError(t, err, token)
			}
		})
	}
}

func TestKeycloakAudience(t *testing.T) {
	cfg := keycloakConfig
	cfg.Audience = []string{"shop-api"}
	p := stmigratetest.NewIssuer(t).Keycloak()
	preset, err := providers.Keycloak(cfg)
	v := verifierOf(t, p, preset, err)
	_, err = v.Verify(t.Context(), p.Token("access token"))
	require.ErrorIs(t, err, stmigrate.ErrInvalidSession)
	_, err = v.Verify(t.Context(), p.Token("access token", stmigratetest.Claims{"aud": []string{"account", "shop-api"}}))
	require.NoError(t, err)
}

// Another domain of the same tenant has the same users: one issuer to what comes after.
func TestOtherIssuers(t *testing.T) {
	p := stmigratetest.NewIssuer(t).Auth0()
	preset, err := providers.Auth0(auth0Config)
	require.NoError(t, err)
	preset.OtherIssuers = append(preset.OtherIssuers, "https://login.example.com/")
	v := verifierOf(t, p, preset, nil)
	s, err := v.Verify(t.Context(), p.Token("token of the custom domain"))
	require.NoError(t, err)
	assert.Equal(t, "https://my-domain.auth0.com/", s.Issuer)
	assert.Equal(t, "https://login.example.com/", s.Claims["iss"])
	_, err = v.Verify(t.Context(), p.Token("token of another tenant"))
	assert.ErrorIs(t, err, stmigrate.ErrNotMine)
	_, err = v.Verify(t.Context(), p.Token("machine token, default profile", stmigratetest.Claims{"iss": "https://login.example.com/"}))
	assert.ErrorIs(t, err, stmigrate.ErrInvalidSession, "the rules are the same")

	preset.OtherIssuers = append(preset.OtherIssuers, "")
	_, err = preset.Verifier()
	assert.Error(t, err)
}

// After the provider is switched off its tokens are verified by keys that were fetched before; nothing is asked.
func TestStaticKeys(t *testing.T) {
	iss := stmigratetest.NewIssuer(t)
	p := iss.Firebase()
	preset, err := providers.Firebase(firebaseConfig)
	require.NoError(t, err)
	snapshot, err := stmigrate.FetchKeys(t.Context(), preset.Keys.URL, p.Client())
	require.NoError(t, err)
	iss.Down()
	preset.StaticKeys, err = stmigrate.ParseKeys(snapshot)
	require.NoError(t, err)
	v := verifierOf(t, p, preset, nil)
	require.NoError(t, v.Warm(t.Context()))
	_, err = v.Verify(t.Context(), p.Token("ID token"))
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), p.Token("custom token", stmigratetest.Claims{"iss": preset.JWT.Issuer}))
	assert.ErrorIs(t, err, stmigrate.ErrInvalidSession)
}

// The user's checks come after the provider's and see what those have made of the session.
func TestOwnChecks(t *testing.T) {
	p := stmigratetest.NewIssuer(t).Auth0()
	preset, err := providers.Auth0(auth0Config)
	require.NoError(t, err)
	preset.JWT.Checks = append(preset.JWT.Checks, func(s *stmigrate.OldSession) error {
		if s.Claims["org_id"] == nil {
			return assert.AnError
		}
		return nil
	})
	v := verifierOf(t, p, preset, nil)
	_, err = v.Verify(t.Context(), p.Token("access token of an organization"))
	require.NoError(t, err)
	_, err = v.Verify(t.Context(), p.Token("access token, default profile"))
	require.ErrorIs(t, err, stmigrate.ErrInvalidSession)
	require.ErrorIs(t, err, assert.AnError)
}

// Two presets may have the same subject. That is two people, or New refuses.
func TestSameSubjectOfTwoPresets(t *testing.T) {
	verifier := func(preset *providers.Preset, err error) stmigrate.OldSessionVerifier {
		require.NoError(t, err)
		v, err := preset.Verifier()
		require.NoError(t, err)
		return v
	}
	idTokens, secondPool, secondRealm, secondServer, tenants := cognitoConfig, cognitoConfig, keycloakConfig, oktaConfig, firebaseConfig
	idTokens.AllowIDTokens = true
	secondPool.UserPoolID, secondRealm.Realm, secondServer.AuthorizationServer = "us-west-2_other", "other", "default"
	tenants.TenantIDs = []string{"acme-1", "bolt-2"}
	cognito, keycloak := verifier(providers.Cognito(cognitoConfig)), verifier(providers.Keycloak(keycloakConfig))
	firebase, cookie := verifier(providers.Firebase(firebaseConfig)), verifier(providers.FirebaseSessionCookie(firebaseConfig))
	google := verifier(providers.Google(providers.GoogleConfig{ClientIDs: []string{"web"}}))
	byIssuer := stmigrate.UserResolverFunc(func(_ context.Context, s *stmigrate.OldSession) (*stmigrate.User, error) {
		return &stmigrate.User{ID: s.Issuer + s.Subject}, nil
	})
	for name, c := range map[string]struct {
		verifier stmigrate.OldSessionVerifier
		users    stmigrate.UserResolver
		ok       bool
	}{
		"one provider":                     {cognito, stmigrate.SubjectIsUserID, true},
		"two spellings of one issuer":      {google, stmigrate.SubjectIsUserID, true},
		"tenants of one project":           {verifier(providers.Firebase(tenants)), stmigrate.SubjectIsUserID, true},
		"two providers":                    {stmigrate.FirstOf(cognito, keycloak), stmigrate.SubjectIsUserID, false},
		"two pools":                        {stmigrate.FirstOf(cognito, verifier(providers.Cognito(secondPool))), stmigrate.SubjectIsUserID, false},
		"two realms":                       {stmigrate.FirstOf(keycloak, verifier(providers.Keycloak(secondRealm))), stmigrate.SubjectIsUserID, false},
		"two servers of an org":            {stmigrate.FirstOf(verifier(providers.Okta(oktaConfig)), verifier(providers.Okta(secondServer))), stmigrate.SubjectIsUserID, false},
		"ID tokens and cookies":            {stmigrate.FirstOf(firebase, cookie), stmigrate.SubjectIsUserID, false},
		"two providers, by issuer":         {stmigrate.FirstOf(cognito, keycloak), byIssuer, true},
		"access and ID tokens of one pool": {stmigrate.FirstOf(cognito, verifier(providers.Cognito(idTokens))), stmigrate.SubjectIsUserID, true},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := stmigrate.New(stmigrate.Config{
				Verifier: c.verifier, Sessions: new(stmigratetest.FakeSessions), Users: c.users,
				Exchanges: stmigrate.NewMemoryExchanges(10), Revoker: stmigrate.LeaveToExpire,
			})
			if c.ok {
				assert.NoError(t, err)
			} else {
				assert.ErrorContains(t, err, "issuers")
			}
		})
	}
}

// The played provider answers at its own addresses alone, so that a test sees who else is asked.
func TestPlayedProviderIsNowhereElse(t *testing.T) {
	p := stmigratetest.NewIssuer(t).Auth0()
	for _, address := range []string{"https://other-domain.auth0.com/.well-known/jwks.json", "http://my-domain.auth0.com/.well-known/jwks.json"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		require.NoError(t, err)
		_, err = p.Client().Do(r)
		assert.ErrorContains(t, err, "only at https and [my-domain.auth0.com]")
	}
}
