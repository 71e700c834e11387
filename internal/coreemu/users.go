package coreemu

import (
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	emailPassword = "emailpassword"
	thirdParty    = "thirdparty"
)

// resetTokenValidity is how long a password reset token lives.
const resetTokenValidity = time.Hour

// user is one login, which is one user: accounts are not linked here.
type user struct {
	id       string
	recipe   string
	email    string
	provider string // of a third-party user
	subject  string
	password password
	tenants  []string
	joined   int64
}

// login is what must be unique in a tenant: the e-mail address of a password user, a third party's user.
type login struct{ tenant, recipe, name, provider string }

func (u *user) login(tenant string) login {
	if u.recipe == thirdParty {
		return login{tenant, u.recipe, u.subject, u.provider}
	}
	return login{tenant, u.recipe, u.email, ""}
}

// resetToken is good in all tenants, whichever it was made in.
type resetToken struct {
	userID, email string
	expiresAt     int64
}

type users struct {
	all     []*user // in the order they joined
	byID    map[string]*user
	byLogin map[login]*user
	resets  map[string]resetToken
}

func newUsers() users {
	return users{byID: map[string]*user{}, byLogin: map[login]*user{}, resets: map[string]resetToken{}}
}

// UserState is a user as [Core.Users] shows it.
type UserState struct {
	ID         string // SuperTokens' own
	ExternalID string // "" if none is mapped
	Recipe     string // "emailpassword" or "thirdparty"
	Email      string
	Verified   bool
	TenantIDs  []string
	// PasswordHash is what a hash import brought, until the password changes.
	PasswordHash string
	TimeJoined   time.Time
}

// Users returns copies of all users in the order they joined.
func (c *Core) Users() []UserState {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []UserState
	for _, u := range c.users.all {
		out = append(out, UserState{
			ID: u.id, ExternalID: c.mappings.toExternal[u.id].external, Recipe: u.recipe, Email: u.email, Verified: c.isVerified(u),
			TenantIDs: slices.Clone(u.tenants), PasswordHash: u.password.hash, TimeJoined: time.UnixMilli(u.joined),
		})
	}
	return out
}

// SetPassword gives the user, named by SuperTokens or external ID, this password. It is for users whose imported hash
// cannot be verified here: bcrypt can, up to cost 14; Argon2 and firebase_scrypt cannot, and fail every sign-in. The hash
// stays as it is.
func (c *Core) SetPassword(userID, password string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := c.user(userID)
	if u == nil || u.recipe != emailPassword {
		return errors.New("coreemu: SetPassword: no user with a password has this ID")
	}
	u.password.set(password)
	return nil
}

// user finds a user by SuperTokens or external ID.
func (c *Core) user(id string) *user {
	if u := c.users.byID[id]; u != nil {
		return u
	}
	return c.users.byID[c.mappings.toInternal[id]]
}

// add takes a new user in, unless the tenant has that login.
func (us *users) add(u *user) bool {
	tenant := u.tenants[0]
	if us.byLogin[u.login(tenant)] != nil {
		return false
	}
	us.all = append(us.all, u)
	us.byID[u.id] = u
	us.byLogin[u.login(tenant)] = u
	return true
}

// rename changes a user's e-mail address in all tenants, unless another user has it in one.
func (us *users) rename(u *user, email string) bool {
	renamed := *u
	renamed.email = email
	for _, t := range u.tenants {
		if other := us.byLogin[renamed.login(t)]; other != nil && other != u {
			return false
		}
	}
	for _, t := range u.tenants {
		delete(us.byLogin, u.login(t))
		us.byLogin[renamed.login(t)] = u
	}
	u.email = email
	return true
}

func (us *users) remove(u *user) {
	us.all = slices.DeleteFunc(us.all, func(o *user) bool { return o == u })
	delete(us.byID, u.id)
	for _, t := range u.tenants {
		delete(us.byLogin, u.login(t))
	}
	us.forgetResets(u.id)
}

func (us *users) forgetResets(userID string) {
	maps.DeleteFunc(us.resets, func(_ string, t resetToken) bool { return t.userID == userID })
}

// userInfo is a user as the API shows it: flat before CDI 4.0, with login methods from then on.
func (c *Core) userInfo(r *request, u *user) reply {
	id := c.mappings.external(u.id)
	if r.cdi < cdi4_0 {
		out := reply{"id": id, "timeJoined": u.joined, "email": u.email}
		if r.cdi >= cdi3_0 {
			out["tenantIds"] = u.tenants
		}
		if u.recipe == thirdParty {
			out["thirdParty"] = reply{"id": u.provider, "userId": u.subject}
		}
		return out
	}
	providers := []reply{}
	method := reply{
		"recipeUserId": id, "recipeId": u.recipe, "tenantIds": u.tenants, "timeJoined": u.joined, "email": u.email,
		"verified": c.isVerified(u),
	}
	if u.recipe == thirdParty {
		provider := reply{"id": u.provider, "userId": u.subject}
		providers, method["thirdParty"] = append(providers, provider), provider
	}
	return reply{
		"id": id, "isPrimaryUser": false, "tenantIds": u.tenants, "timeJoined": u.joined, "emails": []string{u.email},
		"phoneNumbers": []string{}, "thirdParty": providers, "loginMethods": []reply{method},
	}
}

// found is the answer to a look-up.
func (c *Core) found(r *request, u *user, unknown string) (any, error) {
	if u == nil {
		return status(unknown), nil
	}
	return reply{"status": "OK", "user": c.userInfo(r, u)}, nil
}

// signedIn is the answer to whoever signed up or in.
func (c *Core) signedIn(r *request, u *user) reply {
	out := reply{"status": "OK", "user": c.userInfo(r, u)}
	if r.cdi >= cdi4_0 {
		out["recipeUserId"] = c.mappings.external(u.id)
	}
	return out
}

func (c *Core) newUser(r *request, recipe, email string) *user {
	return &user{id: newUUID(), recipe: recipe, email: email, tenants: []string{r.tenant}, joined: c.millis()}
}

// needEmailPassword refuses where the tenant has that login switched off.
func (c *Core) needEmailPassword(r *request) error {
	if !c.tenants[r.tenant].allows(r.cdi, emailPassword) {
		return forbidden("Email password login not enabled for tenant")
	}
	return nil
}

func (c *Core) signUp(r *request) (any, error) {
	email, secret := r.email("email"), r.str("password")
	if r.err == nil && secret == "" {
		r.fail("Password cannot be an empty string")
	}
	if r.err != nil {
		return nil, r.err
	}
	if err := c.needEmailPassword(r); err != nil {
		return nil, err
	}
	u := c.newUser(r, emailPassword, email)
	u.password.change(secret)
	if !c.users.add(u) {
		return status("EMAIL_ALREADY_EXISTS_ERROR"), nil
	}
	return c.signedIn(r, u), nil
}

func (c *Core) signIn(r *request) (any, error) {
	email, secret := r.email("email"), r.str("password")
	if r.err != nil {
		return nil, r.err
	}
	if err := c.needEmailPassword(r); err != nil {
		return nil, err
	}
	u := c.users.byLogin[login{r.tenant, emailPassword, email, ""}]
	if u == nil || !u.password.matches(secret) {
		return status("WRONG_CREDENTIALS_ERROR"), nil
	}
	return c.signedIn(r, u), nil
}

func (c *Core) thirdPartySignInUp(r *request) (any, error) {
	provider, subject, object := r.str("thirdPartyId"), r.str("thirdPartyUserId"), r.object("email")
	mail := &request{body: object}
	email, verified := mail.email("id"), r.cdi >= cdi4_0 && mail.boolean("isVerified")
	if r.err == nil {
		r.err = mail.err
	}
	if r.err != nil {
		return nil, r.err
	}
	if !c.tenants[r.tenant].allows(r.cdi, thirdParty) {
		return nil, forbidden("ThirdParty login not enabled for tenant")
	}
	u := c.users.byLogin[login{r.tenant, thirdParty, subject, provider}]
	created := u == nil
	if created {
		u = c.newUser(r, thirdParty, email)
		u.provider, u.subject = provider, subject
		c.users.add(u)
	}
	u.email = email
	if verified {
		c.emails.verified[userEmail{c.mappings.external(u.id), email}] = true
	}
	out := c.signedIn(r, u)
	out["createdNewUser"] = created
	return out, nil
}

// getUser answers for the recipe that the rid header names: third party, or else e-mail and password.
func (c *Core) getUser(r *request) (any, error) {
	if r.rid == thirdParty {
		return c.getThirdPartyUser(r)
	}
	id, email := r.query.Has("userId"), r.query.Has("email")
	switch {
	case id && email:
		return nil, badRequest("Please provide only one of userId or email")
	case email:
		u := c.users.byLogin[login{r.tenant, emailPassword, normaliseEmail(r.query.Get("email")), ""}]
		return c.found(r, u, "UNKNOWN_EMAIL_ERROR")
	case !id:
		return nil, badRequest("Please provide one of userId or email")
	}
	return c.getRecipeUser(r, emailPassword)
}

func (c *Core) getThirdPartyUser(r *request) (any, error) {
	if r.query.Has("userId") {
		return c.getRecipeUser(r, thirdParty)
	}
	provider, subject := r.param("thirdPartyId"), r.param("thirdPartyUserId")
	if r.err != nil {
		return nil, badRequest("Please provide one of userId or (thirdPartyId & thirdPartyUserId)")
	}
	return c.found(r, c.users.byLogin[login{r.tenant, thirdParty, subject, provider}], "UNKNOWN_THIRD_PARTY_USER_ERROR")
}

func (c *Core) getRecipeUser(r *request, recipe string) (any, error) {
	if err := r.wholeApp(); err != nil {
		return nil, err
	}
	u := c.user(r.query.Get("userId"))
	if u != nil && u.recipe != recipe {
		u = nil
	}
	return c.found(r, u, "UNKNOWN_USER_ID_ERROR")
}

func (c *Core) getUserByID(r *request) (any, error) {
	id := r.param("userId")
	if r.err != nil {
		return nil, r.err
	}
	return c.found(r, c.user(id), "UNKNOWN_USER_ID_ERROR")
}

func (c *Core) thirdPartyUsersByEmail(r *request) (any, error) {
	email := normaliseEmail(r.param("email"))
	if r.err != nil {
		return nil, r.err
	}
	return c.usersWhere(r, func(u *user) bool { return u.recipe == thirdParty && u.email == email }), nil
}

// usersByAccountInfo finds those who match everything that the query names, or any of it with doUnionOfAccountInfo.
func (c *Core) usersByAccountInfo(r *request) (any, error) {
	union := r.param("doUnionOfAccountInfo")
	if r.err == nil && union != "true" && union != "false" {
		r.fail("'doUnionOfAccountInfo' should be either 'true' or 'false'")
	}
	if r.query.Has("thirdPartyId") != r.query.Has("thirdPartyUserId") {
		r.fail("If 'thirdPartyId' is provided, 'thirdPartyUserId' must also be provided, and vice versa")
	}
	if r.err != nil {
		return nil, r.err
	}
	var asked []func(*user) bool
	if email := normaliseEmail(r.query.Get("email")); r.query.Has("email") {
		asked = append(asked, func(u *user) bool { return u.email == email })
	}
	if r.query.Has("phoneNumber") {
		asked = append(asked, func(*user) bool { return false })
	}
	if provider, subject := r.query.Get("thirdPartyId"), r.query.Get("thirdPartyUserId"); provider != "" {
		asked = append(asked, func(u *user) bool { return u.provider == provider && u.subject == subject })
	}
	return c.usersWhere(r, func(u *user) bool {
		matched := 0
		for _, match := range asked {
			if match(u) {
				matched++
			}
		}
		return matched > 0 && (union == "true" || matched == len(asked))
	}), nil
}

// usersWhere answers with those of the tenant's users who match.
func (c *Core) usersWhere(r *request, match func(*user) bool) reply {
	out := []reply{}
	for _, u := range c.users.all {
		if slices.Contains(u.tenants, r.tenant) && match(u) {
			out = append(out, c.userInfo(r, u))
		}
	}
	return reply{"status": "OK", "users": out}
}

func (c *Core) updateUser(r *request) (any, error) {
	name := "userId"
	if r.cdi >= cdi4_0 {
		name = "recipeUserId"
	}
	id := r.str(name)
	email, hasEmail := r.optStr("email")
	secret, hasPassword := r.optStr("password")
	if !hasEmail && !hasPassword {
		r.fail("You have to provide either email or password.")
	}
	if r.err != nil {
		return nil, r.err
	}
	u := c.user(id)
	if u == nil || u.recipe != emailPassword {
		return status("UNKNOWN_USER_ID_ERROR"), nil
	}
	if hasEmail && !c.users.rename(u, normaliseEmail(email)) {
		return status("EMAIL_ALREADY_EXISTS_ERROR"), nil
	}
	if hasPassword {
		u.password.change(secret)
	}
	return status("OK"), nil
}

// importPasswordHash creates a user, or gives the one with that e-mail address another password. What kind of hash it is
// is told by how it begins, as in the real core.
func (c *Core) importPasswordHash(r *request) (any, error) {
	email, hash := r.email("email"), strings.TrimSpace(r.str("passwordHash"))
	algorithm, given := r.optStr("hashingAlgorithm")
	if r.err == nil && hash == "" {
		r.fail("Password hash cannot be an empty string")
	}
	if r.err != nil {
		return nil, r.err
	}
	if err := checkHash(hash, strings.ToUpper(strings.TrimSpace(algorithm)), given); err != nil {
		return nil, err
	}
	if err := c.needEmailPassword(r); err != nil {
		return nil, err
	}
	u := c.users.byLogin[login{r.tenant, emailPassword, email, ""}]
	existed := u != nil
	if !existed {
		u = c.newUser(r, emailPassword, email)
		c.users.add(u)
	}
	u.password = password{hash: hash}
	return reply{"status": "OK", "user": c.userInfo(r, u), "didUserAlreadyExist": existed}, nil
}

func (c *Core) createResetToken(r *request) (any, error) {
	id := r.str("userId")
	email := ""
	if r.cdi >= cdi4_0 {
		email = r.str("email")
	}
	if r.err != nil {
		return nil, r.err
	}
	if err := c.needEmailPassword(r); err != nil {
		return nil, err
	}
	u := c.user(id)
	if u == nil || (r.cdi < cdi4_0 && u.recipe != emailPassword) {
		return status("UNKNOWN_USER_ID_ERROR"), nil
	}
	if r.cdi < cdi4_0 {
		email = u.email
	}
	token := newToken()
	c.users.resets[hash1(token)] = resetToken{u.id, email, c.millis() + resetTokenValidity.Milliseconds()}
	return reply{"status": "OK", "token": token}, nil
}

// useResetToken takes a token, and with it all others of its user. nil if it is unknown or over.
func (c *Core) useResetToken(token string) (*user, string) {
	t, ok := c.users.resets[hash1(token)]
	if !ok {
		return nil, ""
	}
	if t.expiresAt < c.millis() {
		delete(c.users.resets, hash1(token))
		return nil, ""
	}
	c.users.forgetResets(t.userID)
	return c.users.byID[t.userID], t.email
}

func (c *Core) consumeResetToken(r *request) (any, error) {
	token := r.str("token")
	if r.err != nil {
		return nil, r.err
	}
	u, email := c.useResetToken(token)
	if u == nil {
		return status("RESET_PASSWORD_INVALID_TOKEN_ERROR"), nil
	}
	return reply{"status": "OK", "userId": c.mappings.external(u.id), "email": email}, nil
}

func (c *Core) resetPassword(r *request) (any, error) {
	method, token, secret := r.str("method"), r.str("token"), r.str("newPassword")
	if r.err == nil && method != "token" {
		r.fail("Unsupported method for password reset")
	}
	if r.err == nil && secret == "" {
		r.fail("Password cannot be an empty string")
	}
	if r.err != nil {
		return nil, r.err
	}
	u, _ := c.useResetToken(token)
	if u == nil {
		return status("RESET_PASSWORD_INVALID_TOKEN_ERROR"), nil
	}
	u.password.change(secret)
	return reply{"status": "OK", "userId": c.mappings.external(u.id)}, nil
}

// removeUser removes the login under its SuperTokens ID and all else under the external one.
func (c *Core) removeUser(r *request) (any, error) {
	id := r.str("userId")
	if r.err != nil {
		return nil, r.err
	}
	u := c.user(id)
	if u == nil {
		return status("OK"), nil
	}
	owner := c.mappings.external(u.id)
	c.users.remove(u)
	c.mappings.remove(u.id)
	c.emails.forget(owner)
	delete(c.metadata, owner)
	maps.DeleteFunc(c.assigned, func(tu tenantUser, _ map[string]bool) bool { return tu.user == owner })
	c.deleteSessions(c.sessions.byUser[owner], anywhere)
	return status("OK"), nil
}

// recipes reads includeRecipeIds. None means all.
func (r *request) recipes() []string {
	var out []string
	for _, id := range strings.Split(r.query.Get("includeRecipeIds"), ",") {
		switch id = strings.TrimSpace(id); id {
		case "":
		case emailPassword, thirdParty, passwordless:
			out = append(out, id)
		default:
			r.fail("Unknown recipe ID: " + id)
		}
	}
	return out
}

func (c *Core) countUsers(r *request) (any, error) {
	recipes := r.recipes()
	if r.err != nil {
		return nil, r.err
	}
	everywhere := r.flag("includeAllTenants", false)
	if everywhere {
		if err := r.wholeApp(); err != nil {
			return nil, err
		}
	}
	count := 0
	for _, u := range c.users.all {
		within := slices.Contains(u.tenants, r.tenant) || everywhere && len(u.tenants) > 0
		if within && (recipes == nil || slices.Contains(recipes, u.recipe)) {
			count++
		}
	}
	return reply{"status": "OK", "count": count}, nil
}

const maxUsersPerPage = 500

// listUsers pages through a tenant's users. A pagination token names the first user of the page.
func (c *Core) listUsers(r *request) (any, error) {
	recipes, limit, order := r.recipes(), 100, r.query.Get("timeJoinedOrder")
	if s := r.query.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		switch limit = n; {
		case err != nil:
			r.fail("Field name 'limit' must be an int in the GET request")
		case n > maxUsersPerPage:
			r.fail("max limit allowed is 500")
		case n < 1:
			r.fail("limit must a positive integer with min value 1")
		}
	}
	if order != "" && order != "ASC" && order != "DESC" {
		r.fail("timeJoinedOrder can be either ASC OR DESC")
	}
	if r.err != nil {
		return nil, r.err
	}
	var page []*user
	for _, u := range c.users.all {
		if slices.Contains(u.tenants, r.tenant) && (recipes == nil || slices.Contains(recipes, u.recipe)) {
			page = append(page, u)
		}
	}
	if order == "DESC" {
		slices.Reverse(page)
	}
	if token := r.query.Get("paginationToken"); token != "" {
		id, err := base64.StdEncoding.DecodeString(token)
		first := slices.IndexFunc(page, func(u *user) bool { return u.id == string(id) })
		if err != nil || first < 0 {
			return nil, badRequest("invalid pagination token")
		}
		page = page[first:]
	}
	out := reply{"status": "OK"}
	if len(page) > limit {
		out["nextPaginationToken"] = base64.StdEncoding.EncodeToString([]byte(page[limit].id))
		page = page[:limit]
	}
	list := []reply{}
	for _, u := range page {
		info := c.userInfo(r, u)
		if r.cdi < cdi4_0 {
			info = reply{"recipeId": u.recipe, "user": info}
		}
		list = append(list, info)
	}
	out["users"] = list
	return out, nil
}
