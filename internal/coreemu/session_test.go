package coreemu_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate/internal/coreemu"
)

func (c caller) create(userID string) object {
	c.t.Helper()
	return c.createIn("", userID, object{"role": "admin"})
}

func (c caller) createIn(tenant, userID string, payload object) object {
	c.t.Helper()
	return c.ask("POST", tenant+"/recipe/session", object{
		"userId": userID, "userDataInJWT": payload, "userDataInDatabase": object{}, "enableAntiCsrf": false,
	})
}

func refreshBody(token string) object {
	return object{"refreshToken": token, "enableAntiCsrf": false, "useDynamicSigningKey": true}
}

func (c caller) refresh(token string) object {
	c.t.Helper()
	return c.ask("POST", "/recipe/session/refresh", refreshBody(token))
}

func (c caller) verify(token string, checkDatabase bool) object {
	c.t.Helper()
	return c.ask("POST", "/recipe/session/verify", object{
		"accessToken": token, "enableAntiCsrf": false, "doAntiCsrfCheck": false, "checkDatabase": checkDatabase,
	})
}

func (c caller) session(handle string) object {
	c.t.Helper()
	return c.ask("GET", "/recipe/session?sessionHandle="+handle, nil)
}

// segment decodes a part of a JWT.
func segment(t testing.TB, token string, i int) string {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[i])
	require.NoError(t, err)
	return string(raw)
}

func TestRefreshChain(t *testing.T) {
	c := newCore(t, "3.1")
	s := c.create("u")
	handle, r0 := get(t, s, "session.handle"), get(t, s, "refreshToken.token")

	first := c.refresh(r0)
	second := c.refresh(r0)
	r1, r2 := get(t, first, "refreshToken.token"), get(t, second, "refreshToken.token")
	require.NotEqual(t, r1, r2, "each refresh has a child of its own")

	third := c.refresh(r1)
	require.Equal(t, "OK", third["status"], "the use of a child makes it count")
	for name, spent := range map[string]string{"parent": r0, "its other child": r2} {
		theft := c.refresh(spent)
		require.Equal(t, object{
			"status": "TOKEN_THEFT_DETECTED", "session": object{"handle": handle, "userId": "u", "recipeUserId": "u"},
		}, theft, name)
	}
	require.Equal(t, "OK", c.refresh(r1)["status"], "the core reports theft and leaves what follows to the SDK")

	verified := c.verify(get(t, third, "accessToken.token"), false)
	promoted := get(t, verified, "accessToken.token")
	require.Contains(t, segment(t, promoted, 1), `"parentRefreshTokenHash1":null`)
	require.Equal(t, "TOKEN_THEFT_DETECTED", c.refresh(r1)["status"], "the use of an access token counts as well")
	require.Equal(t, "OK", c.refresh(get(t, third, "refreshToken.token"))["status"])
	c.core.Advance(time.Minute)
	later := c.verify(get(t, third, "accessToken.token"), false)["accessToken"].(object)
	require.Equal(t, json.Number("1700003660000"), later["expiry"], "a token that replaces another lives its full time")
	require.NotContains(t, c.verify(get(t, first, "accessToken.token"), true), "accessToken", "an old branch gets no new token")
	require.NotContains(t, c.verify(promoted, true), "accessToken", "what is settled needs none")
	c.ask("PUT", "/recipe/jwt/data", object{"sessionHandle": handle, "userDataInJWT": object{"role": "user"}})
	require.Contains(t, c.verify(get(t, first, "accessToken.token"), true), "accessToken", "unless its payload is another by now")
}

func TestRefreshTokensCannotBeForged(t *testing.T) {
	c, other := newCore(t, "3.1"), newCore(t, "3.1")
	token := get(t, c.create("u"), "refreshToken.token")
	parts := strings.Split(token, ".")
	again := strings.Split(get(t, c.create("u"), "refreshToken.token"), ".")
	flip := func(s string) string { return map[bool]string{true: "B", false: "A"}[s[0] == 'A'] + s[1:] }
	for name, forged := range map[string]string{
		"other core's":    get(t, other.create("u"), "refreshToken.token"),
		"changed":         flip(parts[0]) + "." + parts[1] + ".V2",
		"other nonce":     parts[0] + "." + again[1] + ".V2",
		"no base64":       "!." + parts[1] + ".V2",
		"short":           "AAAA." + parts[1] + ".V2",
		"two parts":       parts[0] + ".V2",
		"four parts":      "a." + token,
		"other version":   parts[0] + "." + parts[1] + ".V9",
		"nothing":         "",
		"an access token": get(t, c.create("u"), "accessToken.token"),
	} {
		require.Equal(t, "UNAUTHORISED", c.refresh(forged)["status"], name)
	}
	require.Equal(t, "OK", c.refresh(token)["status"])
}

// TestPromotionMovesExpiry even while the clock stands still: callers tell by it whether a session's tokens were used.
func TestPromotionMovesExpiry(t *testing.T) {
	c := newCore(t, "3.1")
	s := c.create("u")
	handle := get(t, s, "session.handle")
	expiry := func() int64 {
		n, err := c.session(handle)["expiry"].(json.Number).Int64()
		require.NoError(t, err)
		return n
	}
	first := expiry()
	require.Equal(t, s["refreshToken"].(object)["expiry"].(json.Number).String(), c.session(handle)["expiry"].(json.Number).String())
	refreshed := c.refresh(get(t, s, "refreshToken.token"))
	require.Equal(t, first, expiry(), "a refresh whose tokens nobody used changes nothing")
	c.verify(get(t, refreshed, "accessToken.token"), false)
	second := expiry()
	require.Greater(t, second, first)
	refreshed = c.refresh(get(t, refreshed, "refreshToken.token"))
	c.refresh(get(t, refreshed, "refreshToken.token"))
	require.Greater(t, expiry(), second)
	c.core.Advance(time.Hour)
	c.refresh(get(t, c.refresh(get(t, refreshed, "refreshToken.token")), "refreshToken.token"))
	require.Equal(t, first+time.Hour.Milliseconds(), expiry())
}

func TestExpiry(t *testing.T) {
	c := newCore(t, "5.2")
	s := c.create("u")
	handle, access, refresh := get(t, s, "session.handle"), get(t, s, "accessToken.token"), get(t, s, "refreshToken.token")
	require.Equal(t, json.Number("1700003600000"), s["accessToken"].(object)["expiry"], "whole seconds")
	require.Equal(t, json.Number("1700000000000"), s["accessToken"].(object)["createdTime"])

	c.core.Advance(30 * time.Minute)
	regenerated := c.ask("POST", "/recipe/session/regenerate", object{"accessToken": access, "userDataInJWT": object{"n": 2}})
	require.Equal(t, json.Number("1700003600000"), regenerated["accessToken"].(object)["expiry"], "regenerating buys no time")
	require.Equal(t, "OK", c.verify(access, false)["status"])

	c.core.Advance(30 * time.Minute)
	for _, checkDatabase := range []bool{false, true} {
		require.Equal(t, object{"status": "TRY_REFRESH_TOKEN", "message": "Access token expired"}, c.verify(access, checkDatabase))
	}
	late := c.ask("POST", "/recipe/session/regenerate", object{"accessToken": access, "userDataInJWT": object{"n": 3}})
	require.NotContains(t, late, "accessToken")
	require.Equal(t, object{"n": json.Number("3")}, c.session(handle)["userDataInJWT"], "but what it says is kept")
	require.Equal(t, "OK", c.refresh(refresh)["status"])

	c.core.Advance(99*24*time.Hour + 23*time.Hour - time.Millisecond)
	require.Equal(t, "OK", c.session(handle)["status"])
	c.core.Advance(time.Millisecond)
	require.Equal(t, object{"status": "UNAUTHORISED", "message": "Session does not exist."}, c.session(handle))
	require.Equal(t, object{"status": "UNAUTHORISED", "message": "Session missing in db or has expired"}, c.refresh(refresh))
	require.Empty(t, c.ask("GET", "/recipe/session/user?userId=u", nil)["sessionHandles"])
	require.Empty(t, c.core.Sessions())
}

func TestVerifyAsksTheDatabaseOnlyIfItMust(t *testing.T) {
	c := newCore(t, "3.1")
	s := c.create("u")
	handle, access := get(t, s, "session.handle"), get(t, s, "accessToken.token")
	child := get(t, c.refresh(get(t, s, "refreshToken.token")), "accessToken.token")

	c.ask("PUT", "/recipe/jwt/data", object{"sessionHandle": handle, "userDataInJWT": object{"role": "user"}})
	require.NotContains(t, c.verify(access, false), "accessToken")
	updated := c.verify(access, true)
	require.Equal(t, object{"role": "user"}, updated["session"].(object)["userDataInJWT"])
	require.Contains(t, segment(t, get(t, updated, "accessToken.token"), 1), `"role":"user"`)

	require.Equal(t, []any{handle}, c.ask("POST", "/recipe/session/remove", object{"userId": "u"})["sessionHandlesRevoked"])
	require.Equal(t, "OK", c.verify(access, false)["status"])
	require.Equal(t, "Session missing in db", c.verify(child, false)["message"])
	require.Equal(t, "Either the session has ended or has been blacklisted", c.verify(access, true)["message"])
	require.Equal(t, "Session does not exist.", c.ask("POST", "/recipe/session/regenerate", object{"accessToken": access})["message"])
}

func TestVerifyRefusesWhatIsNoToken(t *testing.T) {
	c, other := newCore(t, "5.2"), newCore(t, "5.2")
	token := get(t, c.create("u"), "accessToken.token")
	parts := strings.Split(token, ".")
	encode := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	kid := decode(t, []byte(segment(t, token, 0)))["kid"].(string)
	const jwt = "io.supertokens.session.jwt.JWT$JWTException: "
	for name, tt := range map[string]struct{ token, message string }{
		"two parts":     {"a.b", jwt + "Invalid JWT"},
		"no signature":  {parts[0] + "." + parts[1] + ".", jwt + "Invalid JWT"},
		"header":        {"e.e.e", jwt + "Invalid JWT"},
		"no type":       {encode(`{"alg":"RS256"}`) + ".e.e", jwt + "JWT header missing - typ"},
		"type":          {encode(`{"typ":1,"alg":"RS256"}`) + ".e.e", jwt + "JWT header mismatch - typ"},
		"none":          {encode(`{"typ":"JWT","alg":"none"}`) + ".e.e", jwt + "JWT header mismatch - alg"},
		"HMAC":          {encode(`{"typ":"JWT","alg":"HS256","kid":"`+kid+`"}`) + ".e.e", jwt + "JWT header mismatch - alg"},
		"version":       {encode(`{"typ":"JWT","alg":"RS256","version":"2"}`) + ".e.e", jwt + "JWT header mismatch - version"},
		"other payload": {parts[0] + "." + encode(`{"sub":"admin"}`) + "." + parts[2], jwt + "JWT verification failed"},
		"other core's": {
			get(t, other.create("u"), "accessToken.token"), "Key not found",
		},
		"no session's": {
			get(t, c.ask("POST", "/recipe/jwt", object{
				"payload": object{"sub": "u"}, "validity": 60, "algorithm": "RS256", "jwksDomain": "https://api.example",
			}), "jwt"),
			"Access token does not contain all the information. Maybe the structure has changed? sessionHandle",
		},
	} {
		require.Equal(t, object{"status": "TRY_REFRESH_TOKEN", "message": tt.message}, c.verify(tt.token, true), name)
	}
}

func TestAccessTokens(t *testing.T) {
	for _, tt := range []struct {
		cdi, header, claims string
		protected           []string
		free                []string
	}{
		{"2.21", `"version":"3"`, `"sub":"u","sessionHandle"`, []string{"sub", "antiCsrfToken"}, []string{"tId", "rsub"}},
		{"3.0", `"version":"4"`, `"sub":"u","tId":"public","sessionHandle"`, []string{"sub", "tId"}, []string{"rsub"}},
		{"3.1", `"version":"4"`, `"sub":"u","tId":"public","sessionHandle"`, []string{"exp", "tId"}, []string{"rsub", "iss"}},
		{"4.0", `"version":"5"`, `"sub":"u","tId":"public","rsub":"u","sessionHandle"`, []string{"rsub"}, []string{"nbf"}},
		{"5.2", `"version":"5"`, `"sub":"u","tId":"public","rsub":"u","sessionHandle"`, []string{"parentRefreshTokenHash1"}, nil},
	} {
		t.Run(tt.cdi, func(t *testing.T) {
			c := newCore(t, tt.cdi)
			token := get(t, c.create("u"), "accessToken.token")
			require.Regexp(t, `^\{"kid":"d-\d{13}","typ":"JWT",`+tt.header+`,"alg":"RS256"\}$`, segment(t, token, 0))
			require.Regexp(t, `^\{"iat":1700000000,"exp":1700003600,`+tt.claims+`:"[0-9a-f-]{36}","refreshTokenHash1":"[0-9a-f]{64}",`+
				`"parentRefreshTokenHash1":null,"antiCsrfToken":null,"role":"admin"\}$`, segment(t, token, 1))
			require.Equal(t, "OK", c.verify(token, true)["status"])

			for _, name := range tt.protected {
				body := object{"userId": "u", "userDataInJWT": object{name: 1}, "userDataInDatabase": object{}, "enableAntiCsrf": false}
				c.refused(400, "The user payload contains protected field", "POST", "/recipe/session", body)
				c.refused(400, "The user payload contains protected field", "POST", "/recipe/session/regenerate",
					object{"accessToken": token, "userDataInJWT": object{name: nil}})
			}
			for _, name := range tt.free {
				s := c.createIn("", "u", object{name: "mine"})
				require.Equal(t, object{name: "mine"}, c.verify(get(t, s, "accessToken.token"), true)["session"].(object)["userDataInJWT"])
			}
		})
	}

	t.Run("static key", func(t *testing.T) {
		c := newCore(t, "5.2")
		s := c.ask("POST", "/recipe/session", object{
			"userId": "u", "userDataInJWT": object{}, "userDataInDatabase": object{}, "enableAntiCsrf": false, "useDynamicSigningKey": false,
		})
		require.Contains(t, segment(t, get(t, s, "accessToken.token"), 0), `{"kid":"s-`)
		require.Equal(t, "OK", c.verify(get(t, s, "accessToken.token"), true)["status"])
		body := object{"refreshToken": get(t, s, "refreshToken.token"), "enableAntiCsrf": false}
		kept := c.at("3.1").ask("POST", "/recipe/session/refresh", body)
		require.Contains(t, segment(t, get(t, kept, "accessToken.token"), 0), `{"kid":"s-`, "no choice keeps the session's")
		changed := c.refresh(get(t, s, "refreshToken.token"))
		require.Contains(t, segment(t, get(t, changed, "accessToken.token"), 0), `{"kid":"d-`)
	})

	t.Run("numbers that no token has", func(t *testing.T) {
		c := newCore(t, "5.2")
		const text = "java.lang.IllegalArgumentException: Claim values must only be of types Map, List, Boolean, Integer, Long, " +
			"Double, String, Date, Instant, and Null"
		for _, n := range []json.Number{"9223372036854775808", "-9223372036854775809", "1e400"} {
			payload := object{"a": []any{object{"n": n}}}
			c.refused(500, text, "POST", "/recipe/session", object{
				"userId": "u", "userDataInJWT": payload, "userDataInDatabase": object{}, "enableAntiCsrf": false,
			})
			s := c.createIn("", "u", object{"n": json.Number("-9223372036854775808"), "f": 1e308})
			c.refused(500, text, "POST", "/recipe/session/regenerate", object{
				"accessToken": get(t, s, "accessToken.token"), "userDataInJWT": payload,
			})
			put := object{"sessionHandle": get(t, s, "session.handle"), "userDataInJWT": payload}
			require.Equal(t, "OK", c.ask("PUT", "/recipe/jwt/data", put)["status"])
			c.refused(500, text, "POST", "/recipe/session/refresh", refreshBody(get(t, s, "refreshToken.token")))
		}
	})

	t.Run("claims that a newer version protects", func(t *testing.T) {
		c := newCore(t, "3.1")
		s := c.createIn("", "u", object{"rsub": "mine"})
		require.Equal(t, object{"status": "UNAUTHORISED", "message": "The user payload contains protected field"},
			c.at("5.2").refresh(get(t, s, "refreshToken.token")))
	})
}

func TestAntiCSRF(t *testing.T) {
	c := newCore(t, "5.2")
	s := c.ask("POST", "/recipe/session", object{
		"userId": "u", "userDataInJWT": object{}, "userDataInDatabase": object{}, "enableAntiCsrf": true,
	})
	plain := get(t, c.create("u"), "accessToken.token")
	verify := func(token, csrf string, check bool) object {
		return c.ask("POST", "/recipe/session/verify", object{
			"accessToken": token, "antiCsrfToken": csrf, "enableAntiCsrf": true, "doAntiCsrfCheck": check, "checkDatabase": false,
		})
	}
	access, csrf := get(t, s, "accessToken.token"), get(t, s, "antiCsrfToken")
	require.Equal(t, "OK", verify(access, csrf, true)["status"])
	require.Equal(t, "OK", verify(access, "wrong", false)["status"])
	require.Equal(t, "anti-csrf check failed", verify(access, "wrong", true)["message"])
	require.Equal(t, "Access token does not contain all the information. Maybe the structure has changed?",
		verify(plain, csrf, true)["message"])
}

func TestTenants(t *testing.T) {
	c := newCore(t, "3.1")
	put := object{"tenantId": "t1", "emailPasswordEnabled": true}
	require.Equal(t, object{"status": "OK", "createdNew": true}, c.ask("PUT", "/recipe/multitenancy/tenant", put))
	require.Equal(t, object{"status": "OK", "createdNew": false}, c.ask("PUT", "/recipe/multitenancy/tenant", put))
	require.Len(t, c.ask("GET", "/recipe/multitenancy/tenant/list", nil)["tenants"], 2)
	require.Equal(t, "TENANT_NOT_FOUND_ERROR", c.ask("GET", "/t2/recipe/multitenancy/tenant", nil)["status"])
	for id, text := range map[string]string{
		"": "tenantId should not be an empty String", "hello": "Cannot use 'hello' as a tenantId",
		"appid-x": "tenantId must not start with 'appid-'", "t_1": "tenantId can only contain letters, numbers and hyphens",
	} {
		c.refused(400, text, "PUT", "/recipe/multitenancy/tenant", object{"tenantId": id})
	}

	s := c.createIn("/t1", "u", object{})
	handle := get(t, s, "session.handle")
	require.Regexp(t, `^[0-9a-f-]{36}_t1$`, handle)
	require.Equal(t, "t1", get(t, s, "session.tenantId"))
	require.Contains(t, segment(t, get(t, s, "accessToken.token"), 1), `"tId":"t1"`)
	require.Equal(t, "t1", get(t, c.session(handle), "tenantId"))
	require.Equal(t, "t1", get(t, c.refresh(get(t, s, "refreshToken.token")), "session.tenantId"))

	public := get(t, c.create("u"), "session.handle")
	for path, want := range map[string][]any{
		"/recipe/session/user?userId=u":                                {handle, public},
		"/t1/recipe/session/user?userId=u":                             {handle, public},
		"/t1/recipe/session/user?userId=u&fetchAcrossAllTenants=false": {handle},
		"/recipe/session/user?userId=u&fetchAcrossAllTenants=false":    {public},
	} {
		require.Equal(t, want, c.ask("GET", path, nil)["sessionHandles"], path)
	}
	require.Equal(t, []any{public}, c.ask("POST", "/recipe/session/remove",
		object{"userId": "u", "revokeAcrossAllTenants": false})["sessionHandlesRevoked"])

	email := object{"email": "a@example.com", "password": "p"}
	id := get(t, c.ask("POST", "/t1/recipe/signup", email), "user.id")
	require.Equal(t, "WRONG_CREDENTIALS_ERROR", c.ask("POST", "/recipe/signin", email)["status"])
	associate := object{"userId": id}
	require.Equal(t, false, c.ask("POST", "/public/recipe/multitenancy/tenant/user", associate)["wasAlreadyAssociated"])
	require.Equal(t, true, c.ask("POST", "/public/recipe/multitenancy/tenant/user", associate)["wasAlreadyAssociated"])
	require.Equal(t, []any{"t1", "public"}, c.ask("POST", "/recipe/signin", email)["user"].(object)["tenantIds"])

	require.Equal(t, "EMAIL_ALREADY_EXISTS_ERROR", c.ask("POST", "/t1/recipe/signup", email)["status"])
	require.Equal(t, true, c.ask("POST", "/t1/recipe/multitenancy/tenant/user/remove", associate)["wasAssociated"])
	require.Equal(t, false, c.ask("POST", "/t1/recipe/multitenancy/tenant/user/remove", associate)["wasAssociated"])
	require.Equal(t, "WRONG_CREDENTIALS_ERROR", c.ask("POST", "/t1/recipe/signin", email)["status"])
	require.Equal(t, "OK", c.ask("POST", "/t1/recipe/signup", email)["status"], "the address is free again")
	require.Equal(t, "EMAIL_ALREADY_EXISTS_ERROR", c.ask("POST", "/t1/recipe/multitenancy/tenant/user", associate)["status"])

	require.Equal(t, true, c.ask("POST", "/recipe/multitenancy/tenant/remove", object{"tenantId": "t1"})["didExist"])
	require.Equal(t, []any{"public"}, c.ask("POST", "/recipe/signin", email)["user"].(object)["tenantIds"])
	require.Len(t, c.core.Users(), 2, "users stay, without the tenant")
	require.Empty(t, c.core.Sessions())
	c.refused(400, "AppId or tenantId not found => Tenant with the following connectionURIDomain, appId and tenantId combination "+
		"not found: (, public, t1)", "GET", "/recipe/session?sessionHandle="+handle, nil)
	c.refused(403, "Cannot delete public tenant, use remove app API instead", "POST", "/recipe/multitenancy/tenant/remove",
		object{"tenantId": "public"})

}

// TestTenantLogins: a new tenant allows no login, and from CDI 5.1 on the core says so and does not care.
func TestTenantLogins(t *testing.T) {
	c := newCore(t, "3.1")
	c5 := c.at("5.2")
	email := object{"email": "a@example.com", "password": "p"}
	for _, tt := range []struct {
		name, cdi, path string
		put             object
		factors         any
		at              map[string]bool // CDI versions, and whether they sign up
	}{
		{"new", "3.1", "tenant", object{}, []any{}, map[string]bool{"3.1": false, "4.0": false, "5.0": false, "5.1": true, "5.2": true}},
		{"new", "5.0", "tenant", object{}, []any{}, map[string]bool{"4.0": false, "5.0": false, "5.2": true}},
		{"new", "5.2", "tenant/v2", object{}, []any{}, map[string]bool{"4.0": false, "5.0": false, "5.2": true}},
		{"all", "5.2", "tenant/v2", object{"firstFactors": nil}, nil, map[string]bool{"4.0": true, "5.0": true, "5.2": true}},
		{"other", "5.2", "tenant/v2", object{"firstFactors": []any{"thirdparty"}}, []any{"thirdparty"},
			map[string]bool{"4.0": false, "5.0": true, "5.2": true}},
		{"on", "3.1", "tenant", object{"emailPasswordEnabled": true}, []any{"emailpassword"},
			map[string]bool{"4.0": true, "5.0": true, "5.2": true}},
		{"on", "5.0", "tenant", object{"emailPasswordEnabled": true}, []any{"emailpassword"},
			map[string]bool{"4.0": true, "5.0": true, "5.2": true}},
		{"off", "5.0", "tenant", object{"thirdPartyEnabled": true, "passwordlessEnabled": true},
			[]any{"thirdparty", "otp-phone", "otp-email", "link-phone", "link-email"}, map[string]bool{"4.0": false, "5.0": false, "5.2": true}},
	} {
		t.Run(tt.name+" at "+tt.cdi, func(t *testing.T) {
			tt.put["tenantId"] = "t"
			require.Equal(t, true, c.at(tt.cdi).ask("PUT", "/recipe/multitenancy/"+tt.path, tt.put)["createdNew"])
			require.Equal(t, tt.factors, c5.ask("GET", "/t/recipe/multitenancy/tenant/v2", nil)["firstFactors"])
			for cdi, allowed := range tt.at {
				if c := c.at(cdi); allowed {
					require.Equal(t, "WRONG_CREDENTIALS_ERROR", c.ask("POST", "/t/recipe/signin", email)["status"], cdi)
				} else {
					c.refused(403, "Email password login not enabled for tenant", "POST", "/t/recipe/signup", email)
				}
			}
			c5.ask("POST", "/recipe/multitenancy/tenant/remove", object{"tenantId": "t"})
		})
	}
}

// TestLeavingATenant: what a user has there beside its login goes, too.
func TestLeavingATenant(t *testing.T) {
	c := newCore(t, "5.2")
	c.ask("PUT", "/recipe/multitenancy/tenant/v2", object{"tenantId": "t", "firstFactors": []any{"emailpassword"}})
	id := get(t, c.ask("POST", "/t/recipe/signup", object{"email": "a@example.com", "password": "p"}), "user.id")
	c.ask("POST", "/recipe/userid/map", object{"superTokensUserId": id, "externalUserId": "x"})
	c.ask("PUT", "/recipe/role", object{"role": "r"})
	for _, tenant := range []string{"", "/t"} {
		c.createIn(tenant, "x", object{})
		c.ask("PUT", tenant+"/recipe/user/role", object{"userId": "x", "role": "r"})
	}
	token := get(t, c.ask("POST", "/t/recipe/user/email/verify/token", object{"userId": "x", "email": "a@example.com"}), "token")
	leave := func(id string) object {
		return c.ask("POST", "/t/recipe/multitenancy/tenant/user/remove", object{"recipeUserId": id})
	}
	require.Equal(t, object{"status": "OK", "wasAssociated": true}, leave(id))
	require.Equal(t, object{"status": "OK", "wasAssociated": false}, leave("x"))
	require.Len(t, c.core.Sessions(), 1)
	require.Empty(t, c.ask("GET", "/t/recipe/user/roles?userId=x", nil)["roles"])
	require.Len(t, c.ask("GET", "/recipe/user/roles?userId=x", nil)["roles"], 1)
	require.Equal(t, "EMAIL_VERIFICATION_INVALID_TOKEN_ERROR",
		c.ask("POST", "/t/recipe/user/email/verify", object{"method": "token", "token": token})["status"])
	require.EqualValues(t, "0", c.ask("GET", "/users/count?includeAllTenants=true", nil)["count"])
	require.Equal(t, "OK", c.ask("GET", "/user/id?userId=x", nil)["status"])

	require.Equal(t, object{"status": "UNKNOWN_USER_ID_ERROR"}, leave("nobody"))
	c.createIn("/t", "nobody", object{})
	require.Equal(t, object{"status": "OK", "wasAssociated": true}, leave("nobody"))
}

// TestMappingYoungerThanASession: the next tokens name the user by the external ID; the session stays under the other.
func TestMappingYoungerThanASession(t *testing.T) {
	c := newCore(t, "5.2")
	id := c.signUp("a@example.com")
	s := c.create(id)
	first := get(t, s, "refreshToken.token")
	c.ask("POST", "/recipe/userid/map", object{"superTokensUserId": id, "externalUserId": "x", "force": true})
	require.Equal(t, id, get(t, c.verify(get(t, s, "accessToken.token"), true), "session.userId"))
	s = c.refresh(first)
	access := get(t, s, "accessToken.token")
	require.Contains(t, segment(t, access, 1), `"sub":"x","tId":"public","rsub":"`+id+`"`)
	for _, answer := range []object{
		s, c.verify(access, true), c.ask("POST", "/recipe/session/regenerate", object{"accessToken": access}), c.refresh(first),
	} {
		require.Equal(t, "x", get(t, answer, "session.userId"))
		require.Equal(t, id, get(t, answer, "session.recipeUserId"))
	}
	require.Equal(t, id, get(t, c.session(get(t, s, "session.handle")), "userId"))
	require.Empty(t, c.ask("GET", "/recipe/session/user?userId=x", nil)["sessionHandles"])
}

func TestRotateKeys(t *testing.T) {
	c := newCore(t, "3.1")
	keys := func() []string {
		rec := c.raw("GET", "/.well-known/jwks.json", "")
		require.Regexp(t, `^max-age=\d+, must-revalidate$`, rec.Header().Get("Cache-Control"))
		var ids []string
		for _, k := range decode(t, rec.Body.Bytes())["keys"].([]any) {
			ids = append(ids, k.(object)["kid"].(string))
		}
		return ids
	}
	before := keys()
	require.Len(t, before, 2)
	old := get(t, c.create("u"), "accessToken.token")
	c.core.RotateKeys()
	after := keys()
	require.Len(t, after, 3)
	require.Equal(t, before, after[1:], "the new key comes first")

	fresh := get(t, c.create("u"), "accessToken.token")
	require.Equal(t, after[0], decode(t, []byte(segment(t, fresh, 0)))["kid"])
	verifyWithJWKS(t, c, old)
	verifyWithJWKS(t, c, fresh)
	require.Equal(t, "OK", c.verify(old, true)["status"])

	c.core.Advance(time.Hour + time.Millisecond)
	require.Equal(t, []string{after[0], after[2]}, keys(), "no token of the old key lives on")
}

func verifyWithJWKS(t *testing.T, c caller, token string) {
	t.Helper()
	kid := decode(t, []byte(segment(t, token, 0)))["kid"]
	for _, k := range decode(t, c.raw("GET", "/.well-known/jwks.json", "").Body.Bytes())["keys"].([]any) {
		key := k.(object)
		if key["kid"] != kid {
			continue
		}
		n, err := base64.RawURLEncoding.DecodeString(key["n"].(string))
		require.NoError(t, err)
		e, err := base64.RawURLEncoding.DecodeString(key["e"].(string))
		require.NoError(t, err)
		public := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		dot := strings.LastIndex(token, ".")
		sig, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
		require.NoError(t, err)
		sum := sha256.Sum256([]byte(token[:dot]))
		require.NoError(t, rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], sig))
		return
	}
	t.Fatalf("no key %v in the JWKS", kid)
}

func TestFreshKeys(t *testing.T) {
	modulus := func(fresh bool) string {
		c := caller{t, coreemu.New(coreemu.Config{FreshKeys: fresh}), "3.1"}
		keys := decode(t, c.raw("GET", "/.well-known/jwks.json", "").Body.Bytes())["keys"].([]any)
		return keys[0].(object)["n"].(string)
	}
	require.Equal(t, modulus(false), modulus(false))
	require.NotEqual(t, modulus(false), modulus(true))
}

func TestCreateJWT(t *testing.T) {
	c := newCore(t, "5.2")
	ask := func(change object) object {
		body := object{"payload": object{"a": 1}, "validity": 60, "algorithm": "rs256", "jwksDomain": "https://api.example"}
		for k, v := range change {
			body[k] = v
		}
		return c.ask("POST", "/recipe/jwt", body)
	}
	token := get(t, ask(nil), "jwt")
	require.Regexp(t, `^\{"kid":"s-[0-9a-f-]{36}","typ":"JWT","alg":"RS256"\}$`, segment(t, token, 0))
	require.Equal(t, `{"iat":1700000000,"exp":1700000060,"iss":"https://api.example","a":1}`, segment(t, token, 1))
	verifyWithJWKS(t, c, token)
	require.Contains(t, segment(t, get(t, ask(object{"useStaticSigningKey": false}), "jwt"), 0), `{"kid":"d-`)
	require.Contains(t, segment(t, get(t, ask(object{"payload": object{"iss": "x"}}), "jwt"), 1), `"iss":"x"}`)
	require.Equal(t, "UNSUPPORTED_ALGORITHM_ERROR", ask(object{"algorithm": "HS256"})["status"])
	c.refused(400, "validity must be greater than or equal to 0", "POST", "/recipe/jwt",
		object{"payload": object{}, "validity": 0, "algorithm": "RS256", "jwksDomain": "d"})
}

func TestRemoveSessionsArguments(t *testing.T) {
	c := newCore(t, "3.1")
	one, two := get(t, c.create("u"), "session.handle"), get(t, c.create("u"), "session.handle")
	const path = "/recipe/session/remove"
	c.refused(400, "Invalid JSON input - use one of userId or sessionHandles array", "POST", path,
		object{"userId": "u", "sessionHandles": []string{one}})
	c.refused(400, "Field name 'sessionHandles' is invalid in JSON input", "POST", path, object{"sessionHandles": []any{1}})
	c.refused(400, "Invalid JSON input - revokeAcrossAllTenants can only be set if userId is set", "POST", path,
		object{"sessionHandles": []string{one}, "revokeAcrossAllTenants": true})
	require.Len(t, c.core.Sessions(), 2)
	require.Equal(t, []any{two, one},
		c.ask("POST", path, object{"sessionHandles": []string{two, "nope", one, one}})["sessionHandlesRevoked"])
}

// TestExpiryIsTheRefreshTokens: callers tell by it whether the first refresh token was spent.
func TestExpiryIsTheRefreshTokens(t *testing.T) {
	t.Parallel()
	c := coreemu.New(coreemu.Config{})
	for range 50 {
		create := httptest.NewRecorder()
		c.ServeHTTP(create, httptest.NewRequest(http.MethodPost, "/recipe/session",
			strings.NewReader(`{"userId":"u","userDataInJWT":{},"userDataInDatabase":{},"enableAntiCsrf":false}`)))
		var created struct {
			Session      struct{ Handle string }
			RefreshToken struct{ Expiry int64 }
		}
		require.NoError(t, json.Unmarshal(create.Body.Bytes(), &created), create.Body)
		get := httptest.NewRecorder()
		c.ServeHTTP(get, httptest.NewRequest(http.MethodGet, "/recipe/session?sessionHandle="+created.Session.Handle, nil))
		var got struct{ Expiry int64 }
		require.NoError(t, json.Unmarshal(get.Body.Bytes(), &got))
		require.Equal(t, created.RefreshToken.Expiry, got.Expiry)
	}
}

// TestSessionsOfAUser: however sessions end, a user's are those of all sessions that are the user's.
func TestSessionsOfAUser(t *testing.T) {
	c := newCore(t, "5.2")
	newTenant := func() {
		c.ask("PUT", "/recipe/multitenancy/tenant/v2", object{"tenantId": "t", "firstFactors": []any{"emailpassword"}})
	}
	check := func(want int) {
		t.Helper()
		all := c.core.Sessions()
		require.Len(t, all, want)
		for _, user := range []string{"a", "b", "nobody"} {
			for tenant, query := range map[string]string{"": "&fetchAcrossAllTenants=true", "public": "&fetchAcrossAllTenants=false"} {
				of := []any{}
				for _, s := range all {
					if s.UserID == user && (tenant == "" || s.TenantID == tenant) {
						of = append(of, s.Handle)
					}
				}
				require.Equal(t, of, c.ask("GET", "/recipe/session/user?userId="+user+query, nil)["sessionHandles"])
			}
		}
	}
	open := func() (handles []string) {
		for _, user := range []string{"a", "b", "a"} {
			for _, tenant := range []string{"", "/t"} {
				handles = append(handles, get(t, c.createIn(tenant, user, object{}), "session.handle"))
			}
		}
		return handles
	}
	newTenant()
	check(0)
	handles := open()
	check(6)
	c.ask("POST", "/recipe/session/remove", object{"sessionHandles": []any{handles[0], handles[3], "unknown"}})
	check(4)
	c.ask("POST", "/recipe/session/remove", object{"userId": "a", "revokeAcrossAllTenants": false})
	check(3)
	c.ask("POST", "/recipe/session/remove", object{"userId": "a"})
	check(1)
	open()
	check(7)
	c.ask("POST", "/recipe/multitenancy/tenant/remove", object{"tenantId": "t"})
	check(4)
	newTenant()
	c.core.Advance(101 * 24 * time.Hour)
	check(0)
	open()
	check(6)
}
