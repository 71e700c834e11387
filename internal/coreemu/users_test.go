package coreemu_test

import (
	"encoding/json"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func (c caller) signUp(email string) string {
	c.t.Helper()
	return get(c.t, c.ask("POST", "/recipe/signup", object{"email": email, "password": "p1"}), "user.id")
}

func (c caller) signIn(email, password string) string {
	c.t.Helper()
	return get(c.t, c.ask("POST", "/recipe/signin", object{"email": email, "password": password}), "status")
}

func (c caller) importHash(email, hash string) string {
	c.t.Helper()
	return get(c.t, c.ask("POST", "/recipe/user/passwordhash/import", object{"email": email, "passwordHash": hash}), "user.id")
}

// TestMappingNeedsAnUnusedID: what is about a user must be written after the mapping, under the external ID.
func TestMappingNeedsAnUnusedID(t *testing.T) {
	for recipe, use := range map[string]func(c caller, id string){
		"Session": func(c caller, id string) { c.create(id) },
		"UserMetadata": func(c caller, id string) {
			c.ask("PUT", "/recipe/user/metadata", object{"userId": id, "metadataUpdate": object{"a": 1}})
		},
		"UserRoles": func(c caller, id string) {
			c.ask("PUT", "/recipe/role", object{"role": "r"})
			c.ask("PUT", "/recipe/user/role", object{"userId": id, "role": "r"})
		},
		"EmailVerification": func(c caller, id string) { c.verifyEmail(id, "a@example.com") },
	} {
		for _, cdi := range []string{"3.1", "5.2"} {
			t.Run(recipe+" "+cdi, func(t *testing.T) {
				c := newCore(t, cdi)
				id := c.signUp("a@example.com")
				use(c, id)
				mapping := object{"superTokensUserId": id, "externalUserId": "auth0|1"}
				if recipe == "EmailVerification" && cdi == "5.2" {
					require.Equal(t, "OK", c.ask("POST", "/recipe/userid/map", mapping)["status"], "from 4.0 on it moves along")
					require.Equal(t, true, c.ask("GET", "/recipe/user/email/verify?userId=auth0%7C1&email=a@example.com", nil)["isVerified"])
					require.True(t, c.core.Users()[0].Verified)
					return
				}
				c.refused(400, "UserId is already in use in "+recipe+" recipe", "POST", "/recipe/userid/map", mapping)
				mapping["force"] = true
				require.Equal(t, "OK", c.ask("POST", "/recipe/userid/map", mapping)["status"])
				require.Equal(t, "auth0|1", c.core.Users()[0].ExternalID)
			})
		}
	}
}

func (c caller) verifyEmail(id, email string) {
	c.t.Helper()
	token := get(c.t, c.ask("POST", "/recipe/user/email/verify/token", object{"userId": id, "email": email}), "token")
	require.Equal(c.t, "OK", c.ask("POST", "/recipe/user/email/verify", object{"method": "token", "token": token})["status"])
}

func TestMappedUsers(t *testing.T) {
	c := newCore(t, "5.2")
	id, other := c.signUp("a@example.com"), c.signUp("b@example.com")
	mapping := func(internal, external string) object {
		return object{"superTokensUserId": internal, "externalUserId": external}
	}
	c.refused(400, "Cannot create a userId mapping where the externalId is also a SuperTokens userID", "POST", "/recipe/userid/map",
		mapping(id, other))
	require.Equal(t, "OK", c.ask("POST", "/recipe/userid/map", mapping(id, "auth0|1"))["status"])
	require.Equal(t, object{
		"status": "USER_ID_MAPPING_ALREADY_EXISTS_ERROR", "doesSuperTokensUserIdExist": false, "doesExternalUserIdExist": true,
	}, c.ask("POST", "/recipe/userid/map", mapping(other, "auth0|1")))

	for _, known := range []string{id, "auth0|1"} {
		path := "?userId=" + url.QueryEscape(known)
		require.Equal(t, "auth0|1", get(t, c.ask("GET", "/recipe/user"+path, nil), "user.id"))
		require.Equal(t, "auth0|1", get(t, c.ask("GET", "/user/id"+path, nil), "user.id"))
		require.Equal(t, "auth0|1", get(t, c.ask("GET", "/recipe/userid/map"+path, nil), "externalUserId"))
		s := c.create(known)
		require.Equal(t, "auth0|1", get(t, s, "session.userId"))
		require.Contains(t, segment(t, get(t, s, "accessToken.token"), 1), `"sub":"auth0|1"`)
	}
	for path, want := range map[string]string{
		"?userId=" + id + "&userIdType=EXTERNAL":    "UNKNOWN_MAPPING_ERROR",
		"?userId=auth0%7C1&userIdType=SUPERTOKENS":  "UNKNOWN_MAPPING_ERROR",
		"?userId=" + other:                          "UNKNOWN_MAPPING_ERROR",
		"?userId=auth0%7C1&userIdType=EXTERNAL":     "OK",
		"?userId=" + id + "&userIdType=SUPERTOKENS": "OK",
	} {
		require.Equal(t, want, c.ask("GET", "/recipe/userid/map"+path, nil)["status"], path)
	}
	require.Len(t, c.ask("GET", "/recipe/session/user?userId=auth0%7C1", nil)["sessionHandles"], 2)
	c.refused(400, "UserId is already in use in Session recipe", "POST", "/recipe/userid/map/remove", object{"userId": id})
	c.refused(400, "Field name 'userIdType' should be one of 'SUPERTOKENS', 'EXTERNAL' or 'ANY'", "POST",
		"/recipe/userid/map/remove", object{"userId": id, "userIdType": "X"})

	info := object{"userId": "auth0|1", "externalUserIdInfo": "from auth0"}
	require.Equal(t, "OK", c.ask("PUT", "/recipe/userid/external-user-id-info", info)["status"])
	require.Equal(t, "from auth0", get(t, c.ask("GET", "/recipe/userid/map?userId="+id, nil), "externalUserIdInfo"))
	info["externalUserIdInfo"] = nil
	require.Equal(t, "OK", c.ask("PUT", "/recipe/userid/external-user-id-info", info)["status"])
	require.NotContains(t, c.ask("GET", "/recipe/userid/map?userId="+id, nil), "externalUserIdInfo")
}

func TestRemoveUser(t *testing.T) {
	c := newCore(t, "3.1")
	id := c.signUp("a@example.com")
	c.ask("POST", "/recipe/userid/map", object{"superTokensUserId": id, "externalUserId": "x"})
	c.verifyEmail("x", "a@example.com")
	c.ask("PUT", "/recipe/role", object{"role": "r"})
	c.ask("PUT", "/recipe/user/role", object{"userId": "x", "role": "r"})
	c.ask("PUT", "/recipe/user/metadata", object{"userId": "x", "metadataUpdate": object{"a": 1}})
	c.create("x")
	require.Equal(t, []any{"x"}, c.ask("GET", "/recipe/role/users?role=r", nil)["users"])

	require.Equal(t, "OK", c.ask("POST", "/user/remove", object{"userId": "x"})["status"])
	require.Empty(t, c.core.Users())
	require.Empty(t, c.core.Sessions())
	require.Equal(t, "UNKNOWN_MAPPING_ERROR", c.ask("GET", "/recipe/userid/map?userId=x", nil)["status"])
	require.Equal(t, false, c.ask("GET", "/recipe/user/email/verify?userId=x&email=a@example.com", nil)["isVerified"])
	require.Empty(t, c.ask("GET", "/recipe/user/roles?userId=x", nil)["roles"])
	require.Empty(t, c.ask("GET", "/recipe/user/metadata?userId=x", nil)["metadata"])
	require.Equal(t, "WRONG_CREDENTIALS_ERROR", c.signIn("a@example.com", "p1"))
	c.signUp("a@example.com")
}

func TestPasswordReset(t *testing.T) {
	c := newCore(t, "3.1")
	id := c.signUp("a@example.com")
	c.ask("POST", "/recipe/userid/map", object{"superTokensUserId": id, "externalUserId": "x"})
	token := func() string {
		return get(t, c.ask("POST", "/recipe/user/password/reset/token", object{"userId": "x"}), "token")
	}
	reset := func(token, password string) object {
		return c.ask("POST", "/recipe/user/password/reset", object{"method": "token", "token": token, "newPassword": password})
	}
	invalid := object{"status": "RESET_PASSWORD_INVALID_TOKEN_ERROR"}
	first, second := token(), token()
	require.Equal(t, object{"status": "OK", "userId": "x"}, reset(second, "p2"))
	require.Equal(t, invalid, reset(second, "p3"), "once")
	require.Equal(t, invalid, reset(first, "p3"), "and all of the user's with it")
	require.Equal(t, "OK", c.signIn("A@example.com ", "p2"))
	require.Equal(t, "WRONG_CREDENTIALS_ERROR", c.signIn("a@example.com", "p1"))

	over := token()
	c.core.Advance(time.Hour + time.Millisecond)
	require.Equal(t, invalid, reset(over, "p3"))
	c5 := c.at("5.2")
	ask := object{"userId": "x", "email": "a@example.com"}
	consumed := c5.ask("POST", "/recipe/user/password/reset/token/consume", object{
		"token": get(t, c5.ask("POST", "/recipe/user/password/reset/token", ask), "token"),
	})
	require.Equal(t, object{"status": "OK", "userId": "x", "email": "a@example.com"}, consumed)

	c5.ask("PUT", "/recipe/multitenancy/tenant/v2", object{"tenantId": "t"})
	elsewhere := object{"token": get(t, c5.ask("POST", "/t/recipe/user/password/reset/token", ask), "token")}
	require.Equal(t, "OK", c5.ask("POST", "/recipe/user/password/reset/token/consume", elsewhere)["status"], "in another tenant")
}

func TestEmailTokens(t *testing.T) {
	c := newCore(t, "3.1")
	k := object{"userId": "nobody", "email": "A@example.com"}
	token := func() string { return get(t, c.ask("POST", "/recipe/user/email/verify/token", k), "token") }
	verify := func(token string) any {
		return c.ask("POST", "/recipe/user/email/verify", object{"method": "token", "token": token})["status"]
	}
	over := token()
	c.core.Advance(24*time.Hour + time.Millisecond)
	require.Equal(t, "EMAIL_VERIFICATION_INVALID_TOKEN_ERROR", verify(over))
	removed := token()
	c.ask("POST", "/recipe/user/email/verify/token/remove", k)
	require.Equal(t, "EMAIL_VERIFICATION_INVALID_TOKEN_ERROR", verify(removed))
	require.Equal(t, "OK", verify(token()))
	isVerified := func(email string) any {
		return c.ask("GET", "/recipe/user/email/verify?userId=nobody&email="+email, nil)["isVerified"]
	}
	require.Equal(t, true, isVerified("a@example.com"))
	require.Equal(t, false, isVerified("A@example.com"), "this one does not normalise")
	c.ask("POST", "/recipe/user/email/verify/remove", k)
	require.Equal(t, false, isVerified("a@example.com"))
}

func TestImportedHashes(t *testing.T) {
	c := newCore(t, "3.1")
	// From the test vectors of jBCrypt, which the real core uses, under all four prefixes.
	for hash, password := range map[string]string{
		"$2a$06$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.": "",
		"$2b$06$m0CrhHm10qJ3lXRY.5zDGO3rS2KdeeWLuGmsfGlMfOxih58VYVfxe": "a",
		"$2x$06$If6bvum7DFjUnE9p2uDeDu0YHzrHM6tf.iqN8.yx.jNN1ILEf7h0i": "abc",
		"$2y$06$fPIsBO8qRqkjj273rfaOI.HtSV9jLDpTbZn782DC6/t7qT67P6FfO": "~!@#$%^&*()      ~!@#$%^&*()PNBFRD",
	} {
		c.importHash("h@example.com", hash)
		require.Equal(t, hash, c.core.Users()[0].PasswordHash)
		require.Equal(t, "WRONG_CREDENTIALS_ERROR", c.signIn("h@example.com", password+"x"), hash)
		for range 2 {
			require.Equal(t, "OK", c.signIn("h@example.com", password), hash)
		}
		require.Equal(t, "WRONG_CREDENTIALS_ERROR", c.signIn("h@example.com", password+"x"), hash)
	}
	require.Len(t, c.core.Users(), 1)

	for _, hash := range []string{
		"$argon2id$v=19$m=16,t=2,p=1$c2FsdHNhbHQ$x", "$f_scrypt$x", "$2a",
		"$2a$31$DCq7YPn5Rq63x1Lad4cll.TV4S6ytwfsfvkgY8jIucDrjc8deX1s.",
	} {
		id := c.importHash("h@example.com", hash)
		require.Equal(t, "WRONG_CREDENTIALS_ERROR", c.signIn("h@example.com", ""), "cannot be verified here: %s", hash)
		require.NoError(t, c.core.SetPassword(id, "known"))
		require.Equal(t, "OK", c.signIn("h@example.com", "known"))
		require.Equal(t, hash, c.core.Users()[0].PasswordHash)
	}
	require.Error(t, c.core.SetPassword("nobody", "p"))

	for _, tt := range []struct{ hash, algorithm, text string }{
		{"$2a$x", "argon2", "Password hash is in invalid Argon2 format"},
		{"$argon2d$x", "bcrypt", "Password hash is in invalid BCrypt format"},
		{"$2a$x", "FIREBASE_SCRYPT", "Password hash is in invalid Firebase SCrypt format"},
		{"$2a$x", " ", "Hashing Algorithm cannot be an empty string"},
		{" ", "bcrypt", "Password hash cannot be an empty string"},
	} {
		c.refused(400, tt.text, "POST", "/recipe/user/passwordhash/import",
			object{"email": "n@example.com", "passwordHash": tt.hash, "hashingAlgorithm": tt.algorithm})
	}
	c.refused(400, "Password hash is in invalid format", "POST", "/recipe/user/passwordhash/import",
		object{"email": "n@example.com", "passwordHash": "x"})
}

func TestUpdateUser(t *testing.T) {
	c := newCore(t, "3.1")
	id := c.signUp("a@example.com")
	c.signUp("b@example.com")
	update := func(change object) any {
		change["userId"] = id
		return c.ask("PUT", "/recipe/user", change)["status"]
	}
	require.Equal(t, "EMAIL_ALREADY_EXISTS_ERROR", update(object{"email": "B@example.com", "password": "p2"}))
	require.Equal(t, "OK", c.signIn("a@example.com", "p1"), "all or nothing")
	require.Equal(t, "OK", update(object{"email": "C@example.com", "password": "p2"}))
	require.Equal(t, "OK", c.signIn("c@example.com", "p2"))
	require.Equal(t, "WRONG_CREDENTIALS_ERROR", c.signIn("a@example.com", "p2"))
	c.refused(400, "You have to provide either email or password.", "PUT", "/recipe/user", object{"userId": id})
	c.at("4.0").refused(400, "Field name 'recipeUserId' is invalid in JSON input", "PUT", "/recipe/user",
		object{"userId": id, "email": "x"})
}

func TestListUsers(t *testing.T) {
	c := newCore(t, "3.1")
	for _, email := range []string{"a@x", "b@x", "c@x"} {
		c.signUp(email)
		c.core.Advance(time.Second)
	}
	third := object{"thirdPartyId": "google", "thirdPartyUserId": "g", "email": object{"id": "a@x"}}
	req := c.ask("POST", "/recipe/signinup", third)
	require.Equal(t, true, req["createdNewUser"])
	require.Equal(t, object{"id": "google", "userId": "g"}, req["user"].(object)["thirdParty"])

	list := func(query string) []string {
		var emails []string
		for pages := 0; ; pages++ {
			require.Less(t, pages, 5)
			page := c.ask("GET", "/users?"+query, nil)
			for _, u := range page["users"].([]any) {
				emails = append(emails, u.(object)["recipeId"].(string)[:1]+" "+get(t, u.(object), "user.email"))
			}
			next, ok := page["nextPaginationToken"].(string)
			if !ok {
				return emails
			}
			q, err := url.ParseQuery(query)
			require.NoError(t, err)
			q.Set("paginationToken", next)
			query = q.Encode()
		}
	}
	require.Equal(t, []string{"e a@x", "e b@x", "e c@x", "t a@x"}, list("limit=2"))
	require.Equal(t, []string{"t a@x", "e c@x", "e b@x", "e a@x"}, list("limit=3&timeJoinedOrder=DESC"))
	require.Equal(t, []string{"t a@x"}, list("includeRecipeIds=thirdparty"))
	require.Equal(t, json.Number("4"), c.ask("GET", "/users/count", nil)["count"])
	require.Equal(t, json.Number("3"), c.ask("GET", "/users/count?includeRecipeIds=emailpassword,passwordless", nil)["count"])
	for query, text := range map[string]string{
		"limit=501": "max limit allowed is 500", "limit=0": "limit must a positive integer with min value 1",
		"limit=x":             "Field name 'limit' must be an int in the GET request",
		"timeJoinedOrder=UP":  "timeJoinedOrder can be either ASC OR DESC",
		"paginationToken=x":   "invalid pagination token",
		"includeRecipeIds=ab": "Unknown recipe ID: ab",
	} {
		c.refused(400, text, "GET", "/users?"+query, nil)
	}

	c5 := c.at("5.2")
	byInfo := func(query string) int {
		return len(c5.ask("GET", "/users/by-accountinfo?"+query, nil)["users"].([]any))
	}
	require.Equal(t, 2, byInfo("email=A@x&doUnionOfAccountInfo=false"))
	require.Equal(t, 1, byInfo("email=a@x&thirdPartyId=google&thirdPartyUserId=g&doUnionOfAccountInfo=false"))
	require.Equal(t, 2, byInfo("email=b@x&thirdPartyId=google&thirdPartyUserId=g&doUnionOfAccountInfo=true"))
	require.Equal(t, 0, byInfo("email=b@x&phoneNumber=1&doUnionOfAccountInfo=false"))

	look := c.raw("GET", "/recipe/user?thirdPartyId=google&thirdPartyUserId=g", "", "rid", "thirdparty")
	require.Equal(t, "a@x", get(t, decode(t, look.Body.Bytes()), "user.email"))
	require.Contains(t, c.raw("GET", "/recipe/user?thirdPartyId=google&thirdPartyUserId=h", "", "rid", "thirdparty").Body.String(),
		"UNKNOWN_THIRD_PARTY_USER_ERROR")
	require.Contains(t, c.raw("GET", "/recipe/users/by-email?email=a@x", "").Body.String(), `"userId":"g"`)
}

func TestRoles(t *testing.T) {
	c := newCore(t, "3.1")
	require.Equal(t, true, c.ask("PUT", "/recipe/role", object{"role": " r1 ", "permissions": []string{"b", "a"}})["createdNewRole"])
	c.ask("PUT", "/recipe/role", object{"role": "r1", "permissions": []string{"c", "a"}})
	c.ask("PUT", "/recipe/role", object{"role": "r2"})
	require.Equal(t, []any{"r1", "r2"}, c.ask("GET", "/recipe/roles", nil)["roles"])
	require.Equal(t, []any{"a", "b", "c"}, c.ask("GET", "/recipe/role/permissions?role=r1", nil)["permissions"])
	require.Equal(t, []any{"r1"}, c.ask("GET", "/recipe/permission/roles?permission=c", nil)["roles"])
	c.ask("POST", "/recipe/role/permissions/remove", object{"role": "r1", "permissions": []string{"c"}})
	require.Equal(t, []any{"a", "b"}, c.ask("GET", "/recipe/role/permissions?role=r1", nil)["permissions"])
	c.ask("POST", "/recipe/role/permissions/remove", object{"role": "r1"})
	require.Empty(t, c.ask("GET", "/recipe/role/permissions?role=r1", nil)["permissions"])
	for _, path := range []string{"/recipe/role/permissions?role=none", "/recipe/role/users?role=none"} {
		require.Equal(t, "UNKNOWN_ROLE_ERROR", c.ask("GET", path, nil)["status"])
	}
	c.refused(400, "Field name 'role' cannot be an empty String", "PUT", "/recipe/role", object{"role": " "})
	c.refused(400, "Field name 'permissions' cannot contain an empty string", "PUT", "/recipe/role",
		object{"role": "r", "permissions": []string{""}})

	assign := object{"userId": "u", "role": "r1"}
	c.ask("PUT", "/recipe/user/role", assign)
	require.Equal(t, true, c.ask("POST", "/recipe/user/role/remove", assign)["didUserHaveRole"])
	require.Equal(t, false, c.ask("POST", "/recipe/user/role/remove", assign)["didUserHaveRole"])
	c.ask("PUT", "/recipe/user/role", assign)
	require.Equal(t, true, c.ask("POST", "/recipe/role/remove", object{"role": "r1"})["didRoleExist"])
	require.Equal(t, false, c.ask("POST", "/recipe/role/remove", object{"role": "r1"})["didRoleExist"])
	require.Empty(t, c.ask("GET", "/recipe/user/roles?userId=u", nil)["roles"])

	c.ask("PUT", "/recipe/user/metadata", object{"userId": "u", "metadataUpdate": object{"a": 1, "b": object{"c": 2}}})
	merged := c.ask("PUT", "/recipe/user/metadata", object{"userId": "u", "metadataUpdate": object{"a": nil, "d": 3}})
	require.Equal(t, object{"b": object{"c": json.Number("2")}, "d": json.Number("3")}, merged["metadata"])
	c.ask("POST", "/recipe/user/metadata/remove", object{"userId": "u"})
	require.Empty(t, c.ask("GET", "/recipe/user/metadata?userId=u", nil)["metadata"])
}
