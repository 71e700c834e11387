package core

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// contracts is where the recordings are, seen from testdata.
const contracts = "../../internal/coreemu/testdata/core-contract/"

// TestUserRecordings makes the recorded calls about users, and checks what is asked, and that the recorded answer is understood.
func TestUserRecordings(t *testing.T) {
	user := func(id, email string) *User {
		return &User{ID: id, RecipeUserID: id, Email: email, TenantIDs: []string{"public"}, TimeJoined: time.UnixMilli(1790000000123)}
	}
	ada := user("<uuid>", "a-<uniq>@example.com")
	type mail struct{ id, email string }
	const (
		hash  = bcryptHash
		email = "a-<uniq>@example.com"
	)
	for file, calls := range map[string][]struct {
		step string
		call func(*Client) (any, error)
		want any // an int is the status of a refusal
		err  error
	}{
		"emailpassword.json": {
			{"sign up", func(c *Client) (any, error) { return c.SignUp(ctx, "", email, "correct horse 1") }, ada, nil},
			{"sign up again", func(c *Client) (any, error) { return c.SignUp(ctx, "", email, "other pass 2") }, nil, ErrEmailExists},
			{"sign in", func(c *Client) (any, error) { return c.SignIn(ctx, "", email, "correct horse 1") }, ada, nil},
			{"sign in, wrong password", func(c *Client) (any, error) { return c.SignIn(ctx, "", email, "wrong") }, nil, ErrWrongCredentials},
			{"sign in, unknown user", func(c *Client) (any, error) { return c.SignIn(ctx, "", email, "wrong") }, nil, ErrWrongCredentials},
			{"import a bcrypt hash", func(c *Client) (any, error) {
				u, existed, err := c.ImportPasswordHash(ctx, "", "h-<uniq>@example.com", hash)
				return []any{u, existed}, err
			}, []any{user("<uuid>", "h-<uniq>@example.com"), false}, nil},
			{"import again", func(c *Client) (any, error) {
				u, existed, err := c.ImportPasswordHash(ctx, "", "h-<uniq>@example.com", hash)
				return []any{u, existed}, err
			}, []any{user("<uuid>", "h-<uniq>@example.com"), true}, nil},
			{"reset token", func(c *Client) (any, error) { return c.CreateResetToken(ctx, "", "u", email) }, "<b64>", nil},
			{"reset token, unknown user",
				func(c *Client) (any, error) { return c.CreateResetToken(ctx, "", "nobody", "x@example.com") }, nil, ErrUnknownUser},
			{"reset password with a bad token",
				func(c *Client) (any, error) { _, _, err := c.ConsumeResetToken(ctx, "", "abc"); return nil, err }, nil, ErrInvalidToken},
			{"change password", func(c *Client) (any, error) { return nil, c.SetPassword(ctx, "u", "new pass 3") }, nil, nil},
			{"change of an unknown user",
				func(c *Client) (any, error) { return nil, c.SetPassword(ctx, "nobody", "new pass 3") }, nil, ErrUnknownUser},
		},
		"userid-mapping.json": {
			{"map", func(c *Client) (any, error) {
				return nil, c.CreateUserIDMapping(ctx, UserIDMapping{SuperTokensID: "u", ExternalID: "e", Info: "from auth0"}, false)
			}, nil, nil},
			{"map again, same", func(c *Client) (any, error) {
				return nil, c.CreateUserIDMapping(ctx, UserIDMapping{SuperTokensID: "u", ExternalID: "e"}, false)
			}, nil, &MappingExistsError{true, true}},
			{"map again, other external id", func(c *Client) (any, error) {
				return nil, c.CreateUserIDMapping(ctx, UserIDMapping{SuperTokensID: "u", ExternalID: "e"}, false)
			}, nil, &MappingExistsError{true, false}},
			{"map an unknown user", func(c *Client) (any, error) {
				return nil, c.CreateUserIDMapping(ctx, UserIDMapping{SuperTokensID: "nobody", ExternalID: "e"}, false)
			}, nil, ErrUnknownUser},
			{"sign in answers with the external id", func(c *Client) (any, error) {
				return c.SignIn(ctx, "", "m-<uniq>@example.com", "correct horse 1")
			}, user("auth0|<uniq>", "m-<uniq>@example.com"), nil},
			{"update info", func(c *Client) (any, error) { return nil, c.SetUserIDMappingInfo(ctx, "u", SuperTokensID, "changed") }, nil, nil},
			{"remove mapping", func(c *Client) (any, error) { return c.DeleteUserIDMapping(ctx, "u", SuperTokensID, true) }, true, nil},
		},
		"users-5.json": {
			{"user by id", func(c *Client) (any, error) { return c.UserByID(ctx, "<uuid>") }, ada, nil},
			{"user by unknown id", func(c *Client) (any, error) { return c.UserByID(ctx, "nobody") }, nil, ErrUnknownUser},
			{"users by account info", func(c *Client) (any, error) { return c.UserByEmail(ctx, "", email) }, ada, nil},
			{"users by unknown account info", func(c *Client) (any, error) { return c.UserByEmail(ctx, "", email) }, nil, ErrUnknownUser},
			{"remove user", func(c *Client) (any, error) { return nil, c.DeleteUser(ctx, "u") }, nil, nil},
		},
		"verification-roles-count.json": {
			{"is verified", func(c *Client) (any, error) { return c.IsEmailVerified(ctx, "u", email) }, false, nil},
			{"verification token", func(c *Client) (any, error) { return c.CreateEmailToken(ctx, "", "u", email) }, "<b64>", nil},
			{"verify", func(c *Client) (any, error) {
				id, email, err := c.VerifyEmail(ctx, "", "<b64>")
				return mail{id, email}, err
			}, mail{"<uuid>", "v-<uniq>@example.com"}, nil},
			{"verify again", func(c *Client) (any, error) { _, _, err := c.VerifyEmail(ctx, "", "<b64>"); return nil, err }, nil, ErrInvalidToken},
			{"is verified now", func(c *Client) (any, error) { return c.IsEmailVerified(ctx, "u", email) }, true, nil},
			{"token when already verified",
				func(c *Client) (any, error) { return c.CreateEmailToken(ctx, "", "u", email) }, nil, ErrEmailVerified},
			{"create role", func(c *Client) (any, error) { return c.CreateRole(ctx, "r", "read", "write") }, true, nil},
			{"create role again", func(c *Client) (any, error) { return c.CreateRole(ctx, "r", "read") }, false, nil},
			{"assign role", func(c *Client) (any, error) { return c.AddUserRole(ctx, "", "u", "r") }, false, nil},
			{"assign role again", func(c *Client) (any, error) { return c.AddUserRole(ctx, "", "u", "r") }, true, nil},
			{"assign unknown role", func(c *Client) (any, error) { return c.AddUserRole(ctx, "", "u", "r") }, nil, ErrUnknownRole},
			{"permissions of a role", func(c *Client) (any, error) { return c.RolePermissions(ctx, "r") }, []string{"read", "write"}, nil},
			{"roles of the user", func(c *Client) (any, error) { return c.UserRoles(ctx, "", "u") }, []string{"r-<uniq>"}, nil},
			{"metadata", func(c *Client) (any, error) {
				return c.UpdateUserMetadata(ctx, "u", map[string]any{"first_name": "Ada", "old": nil})
			}, map[string]any{"first_name": "Ada"}, nil},
			{"metadata read", func(c *Client) (any, error) { return c.UserMetadata(ctx, "u") }, map[string]any{"first_name": "Ada"}, nil},
		},
	} {
		rec := readRecording(t, contracts+file)
		for version := range rec.Recorded {
			for _, tt := range calls {
				t.Run(file+"/"+version+"/"+tt.step, func(t *testing.T) { playRecording(t, rec, version, tt.step, tt.call, tt.want, tt.err) })
			}
		}
	}

	// At CDI 3.1 the same methods ask elsewhere.
	rec := readRecording(t, contracts+"emailpassword.json")
	for step, call := range map[string]func(*Client) (any, error){
		"get by id, emailpassword":     func(c *Client) (any, error) { return c.UserByID(ctx, "u") },
		"get by e-mail, emailpassword": func(c *Client) (any, error) { return c.UserByEmail(ctx, "", email) },
	} {
		playRecording(t, rec, "3.1", step, call, ada, nil)
	}
	playRecording(t, rec, "3.1", "get unknown id, emailpassword",
		func(c *Client) (any, error) { return c.UserByID(ctx, "nobody") }, nil, ErrUnknownUser)
	playRecording(t, rec, "3.1", "get unknown e-mail, emailpassword",
		func(c *Client) (any, error) { return c.UserByEmail(ctx, "", email) }, nil, ErrUnknownUser)
}

const bcryptHash = "$2a$10$GzEm3vKoAqnJCTWesRARCe/ovjt/07qjvcH9jbLUg44Fn77gMZkmm"

func playRecording(t *testing.T, rec *recording, version, name string, call func(*Client) (any, error), want any, class error) {
	i := 0
	for ; rec.Recorded[version][i].Name != name; i++ {
	}
	step, answer := rec.Steps[i], rec.Recorded[version][i]
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/apiversion" {
			_, _ = io.WriteString(w, `{"versions":["`+version+`"]}`)
			return
		}
		assert.Equal(t, step.Method+" "+step.Path, r.Method+" "+strings.TrimPrefix(r.URL.Path, "/public"))
		assert.Equal(t, version, r.Header.Get("cdi-version"))
		if rid := step.Headers["rid"]; rid != "" {
			assert.Equal(t, rid, r.Header.Get("rid"))
		}
		for k, v := range step.Query {
			if assert.True(t, r.URL.Query().Has(k), k); !strings.Contains(v, "{{") {
				assert.Equal(t, v, r.URL.Query().Get(k))
			}
		}
		if step.Body != nil {
			var body map[string]any
			assert.NoError(t, json.NewDecoder(r.Body).Decode(&body))
			for k, v := range step.Body {
				if b, _ := json.Marshal(v); strings.Contains(string(b), "{{") {
					assert.NotEmpty(t, body[k], k)
				} else if assert.Contains(t, body, k); k != "externalUserIdInfo" {
					assert.Equal(t, v, body[k], k)
				}
			}
			for k := range body {
				_, asked := step.Body[k]
				assert.True(t, asked || k == "force" || k == "method" || k == "removeAllLinkedAccounts", k)
			}
		}
		w.WriteHeader(answer.Status)
		_, _ = w.Write(rec.answerOf(version, i))
	}))
	defer srv.Close()
	got, err := call(newClient(t, Config{ConnectionURI: srv.URL}))
	var exists, wantExists *MappingExistsError
	if errors.As(class, &wantExists) {
		require.ErrorAs(t, err, &exists)
		assert.Equal(t, wantExists, exists)
		class = ErrMappingExists
	}
	require.ErrorIs(t, err, class, name)
	if class == nil {
		if version == "3.1" {
			want = withoutLogin(want)
		}
		assert.Equal(t, want, got)
	}
}

// withoutLogin is what is wanted of CDI 3.1.
func withoutLogin(want any) any {
	switch want := want.(type) {
	case *User:
		flat := *want
		flat.RecipeUserID = ""
		return &flat
	case []any:
		return append([]any{withoutLogin(want[0])}, want[1:]...)
	}
	return want
}

// TestUserSecrets: whatever comes back of a password, a hash or a token, in whatever form, the error has none of it.
func TestUserSecrets(t *testing.T) {
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(500)
		body, _ := io.ReadAll(r.Body)
		_, _ = w.Write(body)
		var object map[string]any
		_ = json.Unmarshal(body, &object)
		for _, v := range object {
			if s, ok := v.(string); ok {
				_, _ = io.WriteString(w, s)
			}
		}
	})
	const secret = `hunter2<"\>é`
	for name, call := range map[string]func() error{
		"sign-up":      func() error { _, err := c.SignUp(ctx, "", "a@example.com", secret); return err },
		"sign-in":      func() error { _, err := c.SignIn(ctx, "", "a@example.com", secret); return err },
		"password":     func() error { return c.SetPassword(ctx, "u", secret) },
		"reset token":  func() error { _, _, err := c.ConsumeResetToken(ctx, "", secret); return err },
		"e-mail token": func() error { _, _, err := c.VerifyEmail(ctx, "", secret); return err },
		"hash":         func() error { _, _, err := c.ImportPasswordHash(ctx, "", "a@example.com", bcryptHash); return err },
	} {
		err := call()
		require.ErrorContains(t, err, "[redacted]", name)
		assert.NotContains(t, err.Error(), "hunter2", name)
		assert.NotContains(t, err.Error(), bcryptHash[7:], name)
	}
	// A refusal says what is wrong, and not with what.
	for _, err := range []error{
		c.SetPassword(ctx, "u", "hunter2\x00"), func() error { _, err := c.SignUp(ctx, "", "a@example.com", "hunter2\xff"); return err }(),
	} {
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "hunter2")
	}
}

// TestUselessUserAnswers: a 200 that lacks what it must have, or is about another user, is an error without a class.
func TestUselessUserAnswers(t *testing.T) {
	const (
		login = `{"recipeId":"emailpassword","recipeUserId":"u","email":"a@example.com","tenantIds":["public"]}`
		full  = `{"status":"OK","user":{"id":"u","timeJoined":1,"loginMethods":[` + login + `]},"didUserAlreadyExist":false}`
		flat  = `{"status":"OK","user":{"id":"u","timeJoined":1,"email":"a@example.com","tenantIds":["public"]}}`
	)
	signUp := func(c *Client) (any, error) { u, err := c.SignUp(ctx, "", "a@example.com", "x"); return u, err }
	byID := func(c *Client) (any, error) { u, err := c.UserByID(ctx, "u"); return u, err }
	byEmail := func(c *Client) (any, error) { u, err := c.UserByEmail(ctx, "", "a@example.com"); return u, err }
	imported := func(c *Client) (any, error) {
		u, _, err := c.ImportPasswordHash(ctx, "", "a@example.com", bcryptHash)
		return u, err
	}
	for name, tt := range map[string]struct {
		body, err string
		call      func(*Client) (any, error)
	}{
		"fine":                        {full, "", signUp},
		"fine, flat":                  {flat, "", signUp},
		"no user":                     {`{"status":"OK"}`, "user.id", signUp},
		"no ID":                       {strings.Replace(full, `"id":"u"`, `"id":""`, 1), "user.id", signUp},
		"no time":                     {strings.Replace(full, `"timeJoined":1,`, ``, 1), "user.timeJoined", signUp},
		"another e-mail":              {strings.Replace(full, "a@example.com", "b@example.com", 1), "asked for", signUp},
		"another e-mail, flat":        {strings.Replace(flat, "a@example.com", "b@example.com", 1), "asked for", signUp},
		"another tenant":              {strings.Replace(full, `"public"`, `"t1"`, 1), "asked for", signUp},
		"no tenants":                  {strings.Replace(flat, `,"tenantIds":["public"]`, ``, 1), "asked for", signUp},
		"another kind of login":       {strings.Replace(full, "emailpassword", "thirdparty", 1), "asked for", signUp},
		"no login":                    {strings.Replace(full, login, "", 1), "asked for", signUp},
		"a login without an ID":       {strings.Replace(full, `"recipeUserId":"u"`, `"recipeUserId":""`, 1), "recipeUserId", signUp},
		"import: did it exist":        {strings.Replace(full, `,"didUserAlreadyExist":false`, "", 1), "didUserAlreadyExist", imported},
		"by ID: fine":                 {full, "", byID},
		"by ID: no e-mail":            {strings.Replace(full, "a@example.com", "", 1), "e-mail", byID},
		"by ID: no tenants":           {strings.Replace(full, `,"tenantIds":["public"]`, ``, 1), "tenants", byID},
		"by e-mail: no list":          {`{"status":"OK"}`, "users", byEmail},
		"by e-mail: a user of no ID":  {`{"status":"OK","users":[{}]}`, "user.id", byEmail},
		"by e-mail: a word":           {`{"status":"OK","users":"none"}`, "not the JSON expected", byEmail},
		"no token":                    {`{"status":"OK"}`, "token", func(c *Client) (any, error) { return c.CreateEmailToken(ctx, "", "u", "a@example.com") }},
		"verified whom":               {`{"status":"OK","userId":"u"}`, "email", func(c *Client) (any, error) { _, e, err := c.VerifyEmail(ctx, "", "x"); return e, err }},
		"verified?":                   {`{"status":"OK"}`, "isVerified", func(c *Client) (any, error) { return c.IsEmailVerified(ctx, "u", "a@example.com") }},
		"no count":                    {`{"status":"OK"}`, "count", func(c *Client) (any, error) { return c.CountUsers(ctx, "") }},
		"a count below 0":             {`{"status":"OK","count":-1}`, "count", func(c *Client) (any, error) { return c.CountUsers(ctx, "") }},
		"no roles":                    {`{"status":"OK"}`, "roles", func(c *Client) (any, error) { r, err := c.UserRoles(ctx, "", "u"); return r, err }},
		"a role of nothing":           {`{"status":"OK","roles":[""]}`, "roles", func(c *Client) (any, error) { r, err := c.UserRoles(ctx, "", "u"); return r, err }},
		"no permissions":              {`{"status":"OK"}`, "permissions", func(c *Client) (any, error) { p, err := c.RolePermissions(ctx, "r"); return p, err }},
		"a permission of nothing":     {`{"status":"OK","permissions":[""]}`, "permissions", func(c *Client) (any, error) { p, err := c.RolePermissions(ctx, "r"); return p, err }},
		"no metadata":                 {`{"status":"OK"}`, "metadata", func(c *Client) (any, error) { m, err := c.UserMetadata(ctx, "u"); return m, err }},
		"no tenant list":              {`{"status":"OK"}`, "tenants", func(c *Client) (any, error) { l, err := c.Tenants(ctx); return l, err }},
		"a tenant without an ID":      {`{"status":"OK","tenants":[{}]}`, "tenantId", func(c *Client) (any, error) { l, err := c.Tenants(ctx); return l, err }},
		"a tenant that nobody wanted": {`{"status":"OK","tenantId":"t2"}`, "asked for", func(c *Client) (any, error) { l, err := c.Tenant(ctx, "t1"); return l, err }},
	} {
		t.Run(name, func(t *testing.T) {
			c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, tt.body) })
			got, err := tt.call(c)
			if tt.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tt.err)
			assert.Empty(t, got)
			var e *Error
			require.ErrorAs(t, err, &e)
			assert.NotErrorIs(t, err, ErrUnknownUser)
		})
	}
}

// TestLinkedAccounts: of several logins the one that was asked for is taken.
func TestLinkedAccounts(t *testing.T) {
	login := func(id, recipe, email, tenant string) string {
		return `{"recipeId":"` + recipe + `","recipeUserId":"` + id + `","email":"` + email + `","tenantIds":["` + tenant + `"]}`
	}
	user := `{"id":"primary","timeJoined":1,"loginMethods":[` + strings.Join([]string{
		login("primary", "thirdparty", "a@example.com", "public"), login("l1", "emailpassword", "b@example.com", "public"),
		login("l2", "emailpassword", "a@example.com", "t1"), login("l3", "emailpassword", "a@example.com", "public"),
	}, ",") + `]}`
	c, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, `{"status":"OK","user":`+user+`}`)
	})
	listed, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		others := strings.ReplaceAll(user, `"emailpassword"`, `"passwordless"`)
		_, _ = io.WriteString(w, `{"status":"OK","users":[`+others+","+user+`]}`)
	})
	for want, call := range map[string]func() (*User, error){
		"l3": func() (*User, error) { return listed.UserByEmail(ctx, "", "A@example.com") },
		"l2": func() (*User, error) { return c.UserByID(ctx, "l2") },
		"l1": func() (*User, error) { return c.UserByID(ctx, "primary") },
	} {
		u, err := call()
		require.NoError(t, err)
		assert.Equal(t, []string{"primary", want}, []string{u.ID, u.RecipeUserID})
	}
}

func FuzzUserAnswer(f *testing.F) {
	for _, file := range []string{"emailpassword.json", "users-5.json", "userid-mapping.json", "verification-roles-count.json"} {
		rec := readRecording(f, contracts+file)
		for version := range rec.Recorded {
			for i := range rec.Recorded[version] {
				f.Add(rec.answerOf(version, i))
			}
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		a, err := decodeAnswer(body)
		if err != nil {
			return
		}
		for _, u := range append(a.Users, wireUser{}) {
			_, _ = u.of("public", "a@example.com")
		}
		u, err := a.User.of("public", "a@example.com")
		if err == nil && (u.ID == "" || u.Email != "a@example.com" || len(u.TenantIDs) == 0 || u.TimeJoined.IsZero()) {
			t.Fatalf("accepted %q", body)
		}
		u, err = a.User.withPassword(func(string, string, []string) bool { return true })
		if err == nil && (u.ID == "" || u.Email == "") {
			t.Fatalf("accepted %q", body)
		}
	})
}
