package providers_test

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
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

type claims = stmigratetest.Claims

const (
	tenant1 = "11111111-1111-1111-1111-111111111111"
	tenant2 = "22222222-2222-2222-2222-222222222222"
	tenant3 = "33333333-3333-3333-3333-333333333333"
)

// variant is a right token with claims changed; a nil deletes one.
type variant struct {
	change  claims
	class   error // nil: accepted
	subject string
}

func ok(subject string, change claims) variant { return variant{change, nil, subject} }
func invalid(change claims) variant            { return variant{change, stmigrate.ErrInvalidSession, ""} }
func notMine(change claims) variant            { return variant{change, stmigrate.ErrNotMine, ""} }

// What each provider's documentation says of its tokens, and of what looks like them.
var unproven = map[string]struct {
	alg     string // default RS256
	preset  func() (*providers.Preset, error)
	right   claims
	subject string
	session string
	tokens  map[string]variant
}{
	"Google": {
		preset: func() (*providers.Preset, error) {
			return providers.Google(providers.GoogleConfig{
				ClientIDs: []string{"web.apps.googleusercontent.com"}, Presenters: []string{"android.apps.googleusercontent.com"},
			})
		},
		right: claims{
			"iss": "https://accounts.google.com", "aud": "web.apps.googleusercontent.com", "azp": "web.apps.googleusercontent.com",
			"sub": "110169484474386276334", "email": "jane@example.com", "email_verified": true, "at_hash": "HK6E_P6Dh8Y93mRNtsDB1Q",
		},
		subject: "110169484474386276334",
		tokens: map[string]variant{
			"issuer without scheme":         ok("", claims{"iss": "accounts.google.com"}),
			"of the Android app":            ok("", claims{"azp": "android.apps.googleusercontent.com"}),
			"no azp":                        ok("", claims{"azp": nil}),
			"for another client":            invalid(claims{"aud": "other.apps.googleusercontent.com"}),
			"of another presenter":          invalid(claims{"azp": "other.apps.googleusercontent.com"}),
			"azp no string":                 invalid(claims{"azp": 7}),
			"service account, any audience": invalid(claims{"azp": "110169484474386276334", "email": "bot@p.iam.gserviceaccount.com"}),
			"service account without azp":   invalid(claims{"azp": nil, "email": "bot@p.iam.gserviceaccount.com"}),
			"issuer over http":              notMine(claims{"iss": "http://accounts.google.com"}),
			"issuer with a slash":           notMine(claims{"iss": "https://accounts.google.com/"}),
			"Firebase's":                    notMine(claims{"iss": "https://securetoken.google.com/p"}),
		},
	},
	"Google Workspace": {
		preset: func() (*providers.Preset, error) {
			return providers.Google(providers.GoogleConfig{ClientIDs: []string{"web"}, HostedDomains: []string{"example.com"}})
		},
		right:   claims{"iss": "https://accounts.google.com", "aud": "web", "azp": "web", "sub": "1", "hd": "example.com"},
		subject: "1",
		tokens: map[string]variant{
			"consumer account":             invalid(claims{"hd": nil, "email": "jane@example.com"}),
			"another domain":               invalid(claims{"hd": "example.org"}),
			"another domain, other issuer": invalid(claims{"iss": "accounts.google.com", "hd": "example.org"}),
		},
	},
	"Entra": {
		preset: func() (*providers.Preset, error) {
			return providers.Entra(providers.EntraConfig{
				TenantIDs: []string{tenant1, tenant2}, Audience: []string{"api-guid"}, ClientIDs: []string{"spa-guid"},
			})
		},
		right: claims{
			"iss": "https://login.microsoftonline.com/" + tenant1 + "/v2.0", "aud": "api-guid", "azp": "spa-guid", "scp": "access_as_user",
			"sub": "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ", "oid": "00000000-0000-0000-66f3-3332eca7ea81", "tid": tenant1,
			"ver": "2.0", "uti": "fqiBqXLPj0eQa82S-IYFAA", "preferred_username": "jane@example.com",
		},
		subject: tenant1 + ".00000000-0000-0000-66f3-3332eca7ea81",
		tokens: map[string]variant{
			"the second tenant, the same oid": ok(tenant2+".00000000-0000-0000-66f3-3332eca7ea81",
				claims{"iss": "https://login.microsoftonline.com/" + tenant2 + "/v2.0", "tid": tenant2}),
			"user token with roles":          ok("", claims{"roles": []string{"Admin"}, "idtyp": "user"}),
			"another tenant":                 notMine(claims{"iss": "https://login.microsoftonline.com/" + tenant3 + "/v2.0", "tid": tenant3}),
			"the template itself":            notMine(claims{"iss": "https://login.microsoftonline.com/{tenantid}/v2.0"}),
			"version 1":                      notMine(claims{"iss": "https://sts.windows.net/" + tenant1 + "/", "ver": "1.0"}),
			"B2C":                            notMine(claims{"iss": "https://contoso.b2clogin.com/" + tenant1 + "/v2.0/"}),
			"tid of the other tenant":        invalid(claims{"tid": tenant2}),
			"no tid":                         invalid(claims{"tid": nil}),
			"no oid":                         invalid(claims{"oid": nil}),
			"app-only":                       invalid(claims{"scp": nil, "roles": []string{"Read.All"}, "idtyp": "app"}),
			"app-only without idtyp":         invalid(claims{"scp": nil, "roles": []string{"Read.All"}}),
			"app-only with scp":              invalid(claims{"idtyp": "app"}),
			"another client":                 invalid(claims{"azp": "other-guid"}),
			"no client":                      invalid(claims{"azp": nil}),
			"Microsoft Graph's":              invalid(claims{"aud": "00000003-0000-0000-c000-000000000000"}),
			"ID token":                       invalid(claims{"aud": "spa-guid", "scp": nil, "azp": nil, "nonce": "12345"}),
			"ID token for an API of one app": invalid(claims{"scp": nil, "nonce": "12345"}),
			"ver 1.0 under the v2 issuer":    invalid(claims{"ver": "1.0"}),
		},
	},
	"Entra v1": {
		preset: func() (*providers.Preset, error) {
			return providers.Entra(providers.EntraConfig{
				TenantIDs: []string{tenant1}, Audience: []string{"api://shop"}, ClientIDs: []string{"spa-guid"}, V1: true,
			})
		},
		right: claims{
			"iss": "https://sts.windows.net/" + tenant1 + "/", "aud": "api://shop", "appid": "spa-guid", "scp": "user_impersonation",
			"sub": "x", "oid": "o-1", "tid": tenant1, "ver": "1.0",
		},
		subject: tenant1 + ".o-1",
		tokens: map[string]variant{
			"version 2":      notMine(claims{"iss": "https://login.microsoftonline.com/" + tenant1 + "/v2.0"}),
			"another client": invalid(claims{"appid": "other"}),
			"client in azp":  invalid(claims{"appid": nil, "azp": "spa-guid"}),
		},
	},
	"Clerk": {
		preset: func() (*providers.Preset, error) {
			return providers.Clerk(providers.ClerkConfig{FrontendAPI: "clerk.example.com", Origins: []string{"https://app.example.com"}})
		},
		right: claims{
			"iss": "https://clerk.example.com", "azp": "https://app.example.com", "sub": "user_123", "sid": "sess_123", "v": 2,
			"jti": "1234567890", "fva": []int{7, -1}, "sts": "active",
		},
		subject: "user_123", session: "sess_123",
		tokens: map[string]variant{
			"version 1":                ok("", claims{"v": nil, "jti": nil, "fva": nil, "sts": nil}),
			"another origin":           invalid(claims{"azp": "https://evil.example"}),
			"an origin that begins so": invalid(claims{"azp": "https://app.example.com.evil.example"}),
			"no origin":                invalid(claims{"azp": nil}),
			"null origin":              invalid(claims{"azp": "null"}),
			"pending":                  invalid(claims{"sts": "pending"}),
			"sts of an unknown kind":   invalid(claims{"sts": true}),
			"impersonated":             invalid(claims{"act": claims{"iss": "https://dashboard.clerk.com", "sid": "sess_456", "sub": "user_456"}}),
			"JWT template":             invalid(claims{"sid": nil}),
			"machine":                  invalid(claims{"sub": "mch_123"}),
			"another instance":         notMine(claims{"iss": "https://other.clerk.accounts.dev"}),
		},
	},
	"Supabase": {
		alg: "ES256",
		preset: func() (*providers.Preset, error) {
			return providers.Supabase(providers.SupabaseConfig{Domain: "abcdefghijklmnopqrst.supabase.co"})
		},
		right: claims{
			"aal": "aal1", "amr": []claims{{"method": "password", "timestamp": 1640991600}}, "aud": "authenticated",
			"email": "user@example.com", "iss": "https://abcdefghijklmnopqrst.supabase.co/auth/v1", "phone": "", "role": "authenticated",
			"session_id": "123e4567-e89b-12d3-a456-426614174000", "sub": "123e4567-e89b-12d3-a456-426614174001", "is_anonymous": false,
		},
		subject: "123e4567-e89b-12d3-a456-426614174001", session: "123e4567-e89b-12d3-a456-426614174000",
		tokens: map[string]variant{
			"older, without is_anonymous": ok("", claims{"is_anonymous": nil}),
			"anon key":                    notMine(claims{"iss": "supabase", "ref": "abcdefghijklmnopqrst", "role": "anon", "sub": nil, "aud": nil}),
			"service key":                 notMine(claims{"iss": "supabase", "ref": "abcdefghijklmnopqrst", "role": "service_role", "sub": nil}),
			"role anon":                   invalid(claims{"role": "anon"}),
			"role service_role":           invalid(claims{"role": "service_role"}),
			"no role":                     invalid(claims{"role": nil}),
			"aud anon":                    invalid(claims{"aud": "anon"}),
			"anonymous":                   invalid(claims{"is_anonymous": true}),
			"is_anonymous no boolean":     invalid(claims{"is_anonymous": "false"}),
			"no session":                  invalid(claims{"session_id": nil}),
			"an OAuth client's":           invalid(claims{"client_id": "9a8b7c6d-5e4f-3a2b-1c0d-9e8f7a6b5c4d", "user_id": "123e4567-e89b-12d3-a456-426614174001"}),
			"another project":             notMine(claims{"iss": "https://tsrqponmlkjihgfedcba.supabase.co/auth/v1"}),
			"issuer without its path":     notMine(claims{"iss": "https://abcdefghijklmnopqrst.supabase.co"}),
		},
	},
	"WorkOS": {
		preset: func() (*providers.Preset, error) {
			return providers.WorkOS(providers.WorkOSConfig{ClientID: "client_123456789"})
		},
		right: claims{
			"iss": "https://api.workos.com", "sub": "user_01HBEQKA6K4QJAS93VPE39W1JT", "org_id": "org_01HRDMC6CM357W30QMHMQ96Q0S",
			"role": "member", "roles": []string{"member"}, "permissions": []string{"posts:read", "posts:write"},
			"entitlements": []string{"audit-logs"}, "sid": "session_01HQSXZGF8FHF7A9ZZFCW4387R", "jti": "01HQSXZXPPFPKMDD32RKTFY6PV",
		},
		subject: "user_01HBEQKA6K4QJAS93VPE39W1JT", session: "session_01HQSXZGF8FHF7A9ZZFCW4387R",
		tokens: map[string]variant{
			"its own client_id":       ok("", claims{"client_id": "client_123456789"}),
			"the client's own issuer": ok("", claims{"iss": "https://api.workos.com/user_management/client_123456789"}),
			"another client's issuer": notMine(claims{"iss": "https://api.workos.com/user_management/client_other"}),
			"as documented, with act": invalid(claims{"act": claims{"sub": "admin@foocorp.com"}}),
			"no session":              invalid(claims{"sid": nil}),
			"another client":          invalid(claims{"client_id": "client_other"}),
			"machine":                 invalid(claims{"sub": "client_123456789"}),
			"a custom domain":         notMine(claims{"iss": "https://auth.example.com"}),
		},
	},
	"Descope": {
		preset: func() (*providers.Preset, error) {
			return providers.Descope(providers.DescopeConfig{ProjectID: "P2abc"})
		},
		right: claims{
			"amr": []string{"oauth"}, "drn": "DS", "iss": "P2abc", "permissions": []string{"User Admin"}, "rexp": "2024-01-10T00:57:21Z",
			"roles": []string{"Tenant Admin"}, "sub": "U2YualoWDiRkFAEpoyOwAEyT07jkjnj",
		},
		subject: "U2YualoWDiRkFAEpoyOwAEyT07jkjnj",
		tokens: map[string]variant{
			"issuer is an address":           ok("", claims{"iss": "https://api.descope.com/P2abc"}),
			"issuer is an application":       ok("", claims{"iss": "https://api.descope.com/v1/apps/P2abc"}),
			"dsub":                           ok("U-descope", claims{"dsub": "U-descope", "sub": "jane@example.com"}),
			"dsub, empty":                    invalid(claims{"dsub": ""}),
			"dsub, no string":                invalid(claims{"dsub": 7}),
			"dsub, control characters":       invalid(claims{"dsub": "U\n1"}),
			"aud names the project":          ok("", claims{"aud": []string{"P2abc"}}),
			"aud is another application":     invalid(claims{"aud": "UDJhYmM6dHBh"}),
			"aud no string":                  invalid(claims{"aud": 7}),
			"inbound application":            invalid(claims{"iss": "https://api.descope.com/v1/apps/P2abc", "client_id": "UDJhYmM6dHBh"}),
			"inbound application, azp":       invalid(claims{"azp": "UDJhYmM6dHBh"}),
			"inbound application, scope":     invalid(claims{"scope": "openid full_access"}),
			"refresh token":                  invalid(claims{"drn": "DSR"}),
			"no drn":                         invalid(claims{"drn": nil}),
			"access key":                     invalid(claims{"sub": "K2abc"}),
			"access key by dsub":             invalid(claims{"dsub": "K2abc"}),
			"another project":                notMine(claims{"iss": "P2other"}),
			"another host, the same project": notMine(claims{"iss": "https://evil.example/P2abc"}),
		},
	},
	"Stytch": {
		preset: func() (*providers.Preset, error) {
			return providers.Stytch(providers.StytchConfig{ProjectID: "project-test-6d902c62"})
		},
		right: claims{
			"iss": "stytch.com/project-test-6d902c62", "aud": []string{"project-test-6d902c62"}, "sub": "user-test-20a1df65",
			"https://stytch.com/session": claims{"id": "session-test-8d63c5de", "started_at": "2025-10-01T09:41:40Z"},
		},
		subject: "user-test-20a1df65", session: "session-test-8d63c5de",
		tokens: map[string]variant{
			"of a Connected App":   invalid(claims{"https://stytch.com/session": nil, "client_id": "connected-app-test-d731954d"}),
			"with both":            invalid(claims{"client_id": "connected-app-test-d731954d"}),
			"session without id":   invalid(claims{"https://stytch.com/session": claims{}}),
			"session id no string": invalid(claims{"https://stytch.com/session": claims{"id": 7}}),
			"session is a string":  invalid(claims{"https://stytch.com/session": "session-test-8d63c5de"}),
			"for another project":  invalid(claims{"aud": []string{"project-test-other"}}),
			"issuer with a scheme": notMine(claims{"iss": "https://stytch.com/project-test-6d902c62"}),
			"another project":      notMine(claims{"iss": "stytch.com/project-test-other"}),
		},
	},
	"Logto": {
		alg: "ES384",
		preset: func() (*providers.Preset, error) {
			return providers.Logto(providers.LogtoConfig{
				Domain: "tenant.logto.app", Audience: []string{"https://api.example.com"}, ClientIDs: []string{"s6BhdRkqt3"},
			})
		},
		right: claims{
			"iss": "https://tenant.logto.app/oidc", "aud": "https://api.example.com", "client_id": "s6BhdRkqt3", "sub": "foo123bar456",
			"scope": "read", "jti": "j-1",
		},
		subject: "foo123bar456",
		tokens: map[string]variant{
			"machine":                  invalid(claims{"sub": "s6BhdRkqt3"}),
			"another application":      invalid(claims{"client_id": "other"}),
			"another resource":         invalid(claims{"aud": "https://tenant.logto.app/api"}),
			"an organization":          invalid(claims{"aud": "urn:logto:organization:o1"}),
			"ID token":                 invalid(claims{"aud": "s6BhdRkqt3", "client_id": nil, "at_hash": "x"}),
			"ID token for the API":     invalid(claims{"at_hash": "x"}),
			"issuer without its path":  notMine(claims{"iss": "https://tenant.logto.app"}),
			"issuer with a slash more": notMine(claims{"iss": "https://tenant.logto.app/oidc/"}),
		},
	},
	"Zitadel": {
		preset: func() (*providers.Preset, error) {
			return providers.Zitadel(providers.ZitadelConfig{
				Domain: "example.zitadel.cloud", Audience: []string{"69234237810729019"}, ClientIDs: []string{"69234237810729234"},
			})
		},
		right: claims{
			"iss": "https://example.zitadel.cloud", "aud": []string{"69234237810729234", "69234237810729019"}, "azp": "69234237810729234",
			"sub": "77776025198584418", "jti": "69234237813329048",
		},
		subject: "77776025198584418",
		tokens: map[string]variant{
			"client_id for azp":    ok("", claims{"azp": nil, "client_id": "69234237810729234"}),
			"ID token":             invalid(claims{"jti": nil, "auth_time": 1311280969, "amr": []string{"pwd"}, "at_hash": "x"}),
			"ID token, by amr":     invalid(claims{"amr": []string{"pwd"}}),
			"ID token, bare":       invalid(claims{"jti": nil}),
			"ID token, with a jti": invalid(claims{"auth_time": 1311280969}),
			"another application":  invalid(claims{"azp": "69234237810729235"}),
			"another project":      invalid(claims{"aud": []string{"1", "2"}}),
			"impersonated":         invalid(claims{"act": claims{"sub": "1"}}),
			"another instance":     notMine(claims{"iss": "https://other.zitadel.cloud"}),
		},
	},
}

func TestUnprovenPresets(t *testing.T) {
	for name, of := range unproven {
		t.Run(name, func(t *testing.T) {
			iss := stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{Algorithm: of.alg})
			preset, err := of.preset()
			require.NoError(t, err)
			assert.True(t, strings.HasPrefix(preset.Keys.URL, "https://"), preset.Keys.URL)
			preset.StaticKeys, err = stmigrate.ParseKeys(iss.JWKS())
			require.NoError(t, err)
			v, err := preset.Verifier()
			require.NoError(t, err)
			now := time.Now()
			token := func(change claims) string {
				all := claims{"iat": now.Unix(), "exp": now.Add(time.Hour).Unix()}
				maps.Copy(all, of.right)
				maps.Copy(all, change)
				maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
				return iss.Sign(nil, all)
			}
			s, err := v.Verify(t.Context(), token(nil))
			require.NoError(t, err)
			assert.Equal(t, of.subject, s.Subject)
			assert.Equal(t, of.session, s.SessionID)
			assert.Equal(t, preset.JWT.Issuer, s.Issuer)
			for what, variant := range of.tokens {
				s, err := v.Verify(t.Context(), token(variant.change))
				if variant.class != nil {
					assert.ErrorIs(t, err, variant.class, what)
					continue
				}
				if !assert.NoError(t, err, what) {
					continue
				}
				if variant.subject == "" {
					variant.subject = of.subject
				}
				assert.Equal(t, variant.subject, s.Subject, what)
				assert.Equal(t, preset.JWT.Issuer, s.Issuer, what)
			}
		})
	}
}

func TestUnprovenSwitches(t *testing.T) {
	iss := stmigratetest.NewIssuer(t)
	es := stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{Algorithm: "ES256"})
	for name, c := range map[string]struct {
		like   string
		iss    *stmigratetest.Issuer
		preset func() (*providers.Preset, error)
		change claims
	}{
		"Clerk, no origin": {"Clerk", iss, func() (*providers.Preset, error) {
			return providers.Clerk(providers.ClerkConfig{FrontendAPI: "clerk.example.com", Origins: []string{"https://app.example.com"}, AllowNoOrigin: true})
		}, claims{"azp": nil}},
		"Clerk, impersonated": {"Clerk", iss, func() (*providers.Preset, error) {
			return providers.Clerk(providers.ClerkConfig{FrontendAPI: "clerk.example.com", Origins: []string{"https://app.example.com"}, AllowImpersonation: true})
		}, claims{"act": claims{"sub": "user_456"}}},
		"WorkOS, impersonated": {"WorkOS", iss, func() (*providers.Preset, error) {
			return providers.WorkOS(providers.WorkOSConfig{ClientID: "client_123456789", AllowImpersonation: true})
		}, claims{"act": claims{"sub": "admin@foocorp.com"}}},
		"WorkOS, custom domain": {"WorkOS", iss, func() (*providers.Preset, error) {
			return providers.WorkOS(providers.WorkOSConfig{ClientID: "client_123456789", Issuer: "https://auth.example.com"})
		}, claims{"iss": "https://auth.example.com"}},
		"Supabase, anonymous": {"Supabase", es, func() (*providers.Preset, error) {
			return providers.Supabase(providers.SupabaseConfig{Domain: "abcdefghijklmnopqrst.supabase.co", AllowAnonymous: true})
		}, claims{"is_anonymous": true}},
		"Supabase, another role": {"Supabase", es, func() (*providers.Preset, error) {
			return providers.Supabase(providers.SupabaseConfig{Domain: "abcdefghijklmnopqrst.supabase.co", Roles: []string{"authenticated", "admin"}})
		}, claims{"role": "admin"}},
		"Stytch, B2B": {"Stytch", iss, func() (*providers.Preset, error) {
			return providers.Stytch(providers.StytchConfig{ProjectID: "project-test-6d902c62", B2B: true})
		}, claims{"sub": "member-test-1"}},
	} {
		t.Run(name, func(t *testing.T) {
			preset, err := c.preset()
			require.NoError(t, err)
			preset.StaticKeys, err = stmigrate.ParseKeys(c.iss.JWKS())
			require.NoError(t, err)
			v, err := preset.Verifier()
			require.NoError(t, err)
			all := claims{"exp": time.Now().Add(time.Hour).Unix()}
			maps.Copy(all, unproven[c.like].right)
			maps.Copy(all, c.change)
			maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
			_, err = v.Verify(t.Context(), c.iss.Sign(nil, all))
			assert.NoError(t, err)
		})
	}
}

// A project that still signs with a shared secret; a public key is no secret of it.
func TestSupabaseHS256(t *testing.T) {
	secret := []byte("super-secret-jwt-token-with-at-least-32-characters-long")
	preset, err := providers.Supabase(providers.SupabaseConfig{Domain: "abcdefghijklmnopqrst.supabase.co", JWTSecret: secret})
	require.NoError(t, err)
	v, err := preset.Verifier()
	require.NoError(t, err)
	all := claims{"exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(all, unproven["Supabase"].right)
	_, err = v.Verify(t.Context(), hs256(t, secret, all))
	require.NoError(t, err)
	for name, token := range map[string]string{
		"another secret": hs256(t, []byte("another secret of more than 32 bytes ..."), all),
		"ES256":          stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{Algorithm: "ES256"}).Sign(nil, all),
	} {
		_, err := v.Verify(t.Context(), token)
		assert.ErrorIs(t, err, stmigrate.ErrInvalidSession, name)
	}

	short, err := providers.Supabase(providers.SupabaseConfig{Domain: "abcdefghijklmnopqrst.supabase.co", JWTSecret: []byte("short")})
	require.NoError(t, err)
	_, err = short.Verifier()
	assert.ErrorContains(t, err, "32")
}

func TestAuth0HS256(t *testing.T) {
	cfg := auth0Config
	cfg.SigningSecret = []byte("the API's signing secret, of Auth0's dashboard")
	preset, err := providers.Auth0(cfg)
	require.NoError(t, err)
	v, err := preset.Verifier()
	require.NoError(t, err)
	all := claims{
		"iss": "https://my-domain.auth0.com/", "sub": "auth0|1", "aud": "https://example.com/health-api", "azp": "my_client_id",
		"exp": time.Now().Add(time.Hour).Unix(),
	}
	_, err = v.Verify(t.Context(), hs256(t, cfg.SigningSecret, all))
	require.NoError(t, err)
	all["gty"] = "client-credentials"
	_, err = v.Verify(t.Context(), hs256(t, cfg.SigningSecret, all))
	assert.ErrorIs(t, err, stmigrate.ErrInvalidSession)
}

func hs256(t *testing.T, secret []byte, all claims) string {
	t.Helper()
	payload, err := json.Marshal(all)
	require.NoError(t, err)
	b64 := base64.RawURLEncoding.EncodeToString
	input := b64([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + b64(payload)
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + b64(mac.Sum(nil))
}

// What is missing or contradicts something else is an error that names the field.
func TestConfigs(t *testing.T) {
	with := func(change func(*providers.Auth0Config)) func() error {
		cfg := auth0Config
		change(&cfg)
		return func() error { _, err := providers.Auth0(cfg); return err }
	}
	okta := func(change func(*providers.OktaConfig)) func() error {
		cfg := oktaConfig
		change(&cfg)
		return func() error { _, err := providers.Okta(cfg); return err }
	}
	keycloak := func(change func(*providers.KeycloakConfig)) func() error {
		cfg := keycloakConfig
		change(&cfg)
		return func() error { _, err := providers.Keycloak(cfg); return err }
	}
	some := []string{"x"}
	for want, make := range map[string]func() error{
		"Auth0Config.Domain is \"\"":                    with(func(c *providers.Auth0Config) { c.Domain = "" }),
		"Auth0Config.Domain is \"https://":              with(func(c *providers.Auth0Config) { c.Domain = "https://a.auth0.com" }),
		"Auth0Config.Domain is \"a.auth0.com/":          with(func(c *providers.Auth0Config) { c.Domain = "a.auth0.com/" }),
		"Auth0Config.Domain is \"A.auth0":               with(func(c *providers.Auth0Config) { c.Domain = "A.auth0.com" }),
		"Auth0Config.Domain is \"localhost\"":           with(func(c *providers.Auth0Config) { c.Domain = "localhost" }),
		"Auth0Config.Domain is \"a@b.auth0":             with(func(c *providers.Auth0Config) { c.Domain = "a@b.auth0.com" }),
		"Auth0Config.Audience is required":              with(func(c *providers.Auth0Config) { c.Audience = nil }),
		"Auth0Config.Audience[0] is blank":              with(func(c *providers.Auth0Config) { c.Audience = []string{" "} }),
		"Auth0Config.ClientIDs is required":             with(func(c *providers.Auth0Config) { c.ClientIDs = nil }),
		"Auth0Config.ClientIDs contradicts SkipClient":  with(func(c *providers.Auth0Config) { c.SkipClientCheck = true }),
		"Auth0Config.Audience contradicts AllowID":      with(func(c *providers.Auth0Config) { c.AllowIDTokens = true }),
		"Audience has the client ID":                    with(func(c *providers.Auth0Config) { c.Audience = []string{"my_client_id"} }),
		"Audience has \"https://my-domain.auth0.com/ap": with(func(c *providers.Auth0Config) { c.Audience = []string{"https://my-domain.auth0.com/api/v2/"} }),
		"Audience has \"https://my-domain.auth0.com/us": with(func(c *providers.Auth0Config) { c.Audience = []string{"https://my-domain.auth0.com/userinfo"} }),
		"SkipClientCheck contradicts AllowIDTokens": with(func(c *providers.Auth0Config) {
			c.SkipClientCheck, c.AllowIDTokens, c.ClientIDs, c.Audience = true, true, nil, nil
		}),
		"CognitoConfig.UserPoolID": func() error { _, err := providers.Cognito(providers.CognitoConfig{ClientIDs: some}); return err },
		"pool's ID wanted": func() error {
			_, err := providers.Cognito(providers.CognitoConfig{UserPoolID: "eu-west-1.evil.example_x", ClientIDs: some})
			return err
		},
		"CognitoConfig.ClientIDs": func() error {
			_, err := providers.Cognito(providers.CognitoConfig{UserPoolID: "eu-west-1_x"})
			return err
		},
		"OktaConfig.Domain":                        okta(func(c *providers.OktaConfig) { c.Domain = "" }),
		"OktaConfig.ClientIDs":                     okta(func(c *providers.OktaConfig) { c.ClientIDs = nil }),
		"OktaConfig.AuthorizationServer is \"../":  okta(func(c *providers.OktaConfig) { c.AuthorizationServer = "../x" }),
		"OktaConfig.AuthorizationServer is \"..\"": okta(func(c *providers.OktaConfig) { c.AuthorizationServer = ".." }),
		"for Okta alone":                           okta(func(c *providers.OktaConfig) { c.AuthorizationServer = "" }),
		"OktaConfig.Audience is required":          okta(func(c *providers.OktaConfig) { c.Audience = nil }),
		"OktaConfig.Audience has a client ID":      okta(func(c *providers.OktaConfig) { c.Audience = c.ClientIDs }),
		"OktaConfig.Audience contradicts":          okta(func(c *providers.OktaConfig) { c.AllowIDTokens = true }),
		"FirebaseConfig.ProjectID":                 func() error { _, err := providers.Firebase(providers.FirebaseConfig{}); return err },
		"FirebaseConfig.ProjectID is \"a/b\"": func() error {
			_, err := providers.FirebaseSessionCookie(providers.FirebaseConfig{ProjectID: "a/b"})
			return err
		},
		"FirebaseConfig.TenantIDs": func() error {
			_, err := providers.Firebase(providers.FirebaseConfig{ProjectID: "p", TenantIDs: []string{""}})
			return err
		},
		"KeycloakConfig.BaseURL":   keycloak(func(c *providers.KeycloakConfig) { c.BaseURL = "sso.example.com" }),
		"KeycloakConfig.Realm":     keycloak(func(c *providers.KeycloakConfig) { c.Realm = "" }),
		"Realm is \"../master\"":   keycloak(func(c *providers.KeycloakConfig) { c.Realm = "../master" }),
		"Realm is \"a%2Fb\"":       keycloak(func(c *providers.KeycloakConfig) { c.Realm = "a%2Fb" }),
		"KeycloakConfig.ClientIDs": keycloak(func(c *providers.KeycloakConfig) { c.ClientIDs = nil }),
		"GoogleConfig.ClientIDs":   func() error { _, err := providers.Google(providers.GoogleConfig{}); return err },
		"GoogleConfig.Presenters": func() error {
			_, err := providers.Google(providers.GoogleConfig{ClientIDs: some, Presenters: []string{""}})
			return err
		},
		"EntraConfig.TenantIDs is": func() error {
			_, err := providers.Entra(providers.EntraConfig{Audience: some, ClientIDs: some})
			return err
		},
		"not \"common\"": func() error {
			_, err := providers.Entra(providers.EntraConfig{TenantIDs: []string{"common"}, Audience: some, ClientIDs: some})
			return err
		},
		"EntraConfig.Audience": func() error {
			_, err := providers.Entra(providers.EntraConfig{TenantIDs: []string{tenant1}, ClientIDs: some})
			return err
		},
		"EntraConfig.ClientIDs": func() error {
			_, err := providers.Entra(providers.EntraConfig{TenantIDs: []string{tenant1}, Audience: some})
			return err
		},
		"ClerkConfig.FrontendAPI": func() error { _, err := providers.Clerk(providers.ClerkConfig{Origins: some}); return err },
		"ClerkConfig.Origins is":  func() error { _, err := providers.Clerk(providers.ClerkConfig{FrontendAPI: "a.b"}); return err },
		"ClerkConfig.Origins[0] is \"x\"": func() error {
			_, err := providers.Clerk(providers.ClerkConfig{FrontendAPI: "a.b", Origins: some})
			return err
		},
		"Origins[0] is \"https://*": func() error {
			_, err := providers.Clerk(providers.ClerkConfig{FrontendAPI: "a.b", Origins: []string{"https://*.example.com"}})
			return err
		},
		"SupabaseConfig.Domain": func() error { _, err := providers.Supabase(providers.SupabaseConfig{}); return err },
		"SupabaseConfig.Roles has \"service_role\"": func() error {
			_, err := providers.Supabase(providers.SupabaseConfig{Domain: "a.b", Roles: []string{"authenticated", "service_role"}})
			return err
		},
		"WorkOSConfig.ClientID":   func() error { _, err := providers.WorkOS(providers.WorkOSConfig{}); return err },
		"DescopeConfig.ProjectID": func() error { _, err := providers.Descope(providers.DescopeConfig{}); return err },
		"DescopeConfig.Domain": func() error {
			_, err := providers.Descope(providers.DescopeConfig{ProjectID: "P", Domain: "x"})
			return err
		},
		"StytchConfig.ProjectID": func() error { _, err := providers.Stytch(providers.StytchConfig{}); return err },
		"LogtoConfig.Domain":     func() error { _, err := providers.Logto(providers.LogtoConfig{}); return err },
		"LogtoConfig.Audience": func() error {
			_, err := providers.Logto(providers.LogtoConfig{Domain: "a.b", ClientIDs: some})
			return err
		},
		"LogtoConfig.ClientIDs": func() error {
			_, err := providers.Logto(providers.LogtoConfig{Domain: "a.b", Audience: some})
			return err
		},
		"ZitadelConfig.Domain": func() error { _, err := providers.Zitadel(providers.ZitadelConfig{}); return err },
		"ZitadelConfig.Audience": func() error {
			_, err := providers.Zitadel(providers.ZitadelConfig{Domain: "a.b", ClientIDs: some})
			return err
		},
		"ZitadelConfig.ClientIDs": func() error {
			_, err := providers.Zitadel(providers.ZitadelConfig{Domain: "a.b", Audience: some})
			return err
		},
	} {
		t.Run(want, func(t *testing.T) {
			err := make()
			require.Error(t, err)
			assert.ErrorContains(t, err, want)
			assert.ErrorContains(t, err, "providers: ")
		})
	}
}

// A preset is the caller's: what it was made of may change without changing it.
func TestPresetsCopy(t *testing.T) {
	cfg := auth0Config
	cfg.Audience, cfg.ClientIDs = []string{"https://example.com/health-api"}, []string{"my_client_id"}
	p := stmigratetest.NewIssuer(t).Auth0()
	preset, err := providers.Auth0(cfg)
	v := verifierOf(t, p, preset, err)
	cfg.Audience[0], cfg.ClientIDs[0], preset.JWT.Issuer, preset.JWT.Audience[0] = "changed", "changed", "changed", "changed"
	_, err = v.Verify(t.Context(), p.Token("access token, default profile"))
	assert.NoError(t, err)
}

func TestRevocationConfigs(t *testing.T) {
	auth0 := auth0Config
	auth0.Domain, auth0.TenantDomain = "login.example.com", "example.eu.auth0.com"
	assert.Equal(t, "https://example.eu.auth0.com", auth0.Revocation().BaseURL)
	assert.Equal(t, "us-west-2", cognitoConfig.Revocation().Region)
	assert.Equal(t, "https://example.okta.com", oktaConfig.Revocation().BaseURL)
	tenant := providers.FirebaseConfig{ProjectID: "p", TenantIDs: []string{"acme-1"}}
	assert.Equal(t, "acme-1", tenant.Revocation().TenantID)
	assert.Equal(t, "https://x.supabase.co", providers.SupabaseConfig{Domain: "x.supabase.co"}.Revocation().BaseURL)
	assert.Equal(t, "https://test.stytch.com", providers.StytchConfig{ProjectID: "project-test-1"}.Revocation().BaseURL)
	assert.Equal(t, "https://api.stytch.com", providers.StytchConfig{ProjectID: "project-live-1"}.Revocation().BaseURL)
	assert.Empty(t, providers.ClerkConfig{}.Revocation().BaseURL, "Clerk's own")
	assert.Empty(t, providers.WorkOSConfig{}.Revocation().BaseURL, "WorkOS' own")
	assert.Equal(t, revoke.DescopeConfig{ProjectID: "P2", BaseURL: "https://api.descope.com"}, providers.DescopeConfig{ProjectID: "P2"}.Revocation())
	assert.Equal(t, "https://auth.example.com", providers.DescopeConfig{ProjectID: "P2", Domain: "auth.example.com"}.Revocation().BaseURL)
	assert.Equal(t, "https://x.zitadel.cloud", providers.ZitadelConfig{Domain: "x.zitadel.cloud"}.Revocation().BaseURL)

	assert.Equal(t, tenant1, providers.EntraConfig{TenantIDs: []string{tenant1}}.Revocation().TenantID)
	several := providers.EntraConfig{TenantIDs: []string{tenant1, tenant2}}.Revocation()
	several.Token = revoke.StaticToken("token")
	_, err := revoke.EntraRevokeAllSessionsOfUser(several)
	assert.ErrorContains(t, err, "EntraConfig.TenantID", "a tenant must be named")
}

// A client of Google's shows ID tokens, and Google says of them what it says of tokens that are over.
func TestGoogleRevokesNoIDToken(t *testing.T) {
	google := providers.GoogleConfig{ClientIDs: []string{"web.apps.googleusercontent.com"}}
	preset, err := providers.Google(google)
	require.NoError(t, err)
	cfg := google.Revocation()
	assert.Equal(t, preset.Endpoints.Revocation, cfg.Endpoint)
	_, err = revoke.NewRFC7009(cfg)
	assert.ErrorContains(t, err, "RFC7009Config.Token is required")
	cfg.Token = func(context.Context, string, *stmigrate.OldSession) (string, error) { return "1//refresh", nil }
	_, err = revoke.NewRFC7009(cfg)
	assert.NoError(t, err)
}

// What the preset makes of a token is what the revoker needs: tenant and user, whatever the subject is.
func TestEntraRevocation(t *testing.T) {
	p := unproven["Entra"]
	iss := stmigratetest.NewIssuer(t)
	preset, err := p.preset()
	require.NoError(t, err)
	preset.StaticKeys, err = stmigrate.ParseKeys(iss.JWKS())
	require.NoError(t, err)
	v, err := preset.Verifier()
	require.NoError(t, err)
	s, err := v.Verify(t.Context(), iss.Token(p.right))
	require.NoError(t, err)

	var called []string
	graph := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		called = append(called, r.Method+" "+r.URL.Path)
		_, _ = io.WriteString(w, `{"value":true}`)
	}))
	t.Cleanup(graph.Close)
	cfg := providers.EntraConfig{TenantIDs: []string{s.Claims["tid"].(string)}}.Revocation()
	cfg.BaseURL, cfg.Token = graph.URL, revoke.StaticToken("token")
	r, err := revoke.EntraRevokeAllSessionsOfUser(cfg)
	require.NoError(t, err)
	require.NoError(t, r.Revoke(t.Context(), "token", s))
	assert.Equal(t, []string{"POST /v1.0/users/" + p.right["oid"].(string) + "/revokeSignInSessions"}, called)
}
