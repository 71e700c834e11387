package coreemu

import (
	"maps"
	"slices"
	"strings"
)

// tenant has the logins that users may begin with. The older API calls them recipes, and keeps those that are switched off.
type tenant struct {
	id           string
	on           map[string]bool // recipes
	firstFactors []string        // nil: every recipe that is on
}

const passwordless = "passwordless"

// factorsOf are what the recipes are called as first factors.
var factorsOf = map[string][]string{
	emailPassword: {emailPassword}, thirdParty: {thirdParty}, passwordless: {"otp-phone", "otp-email", "link-phone", "link-email"},
}

func newTenant(id string) *tenant {
	return &tenant{id: id, on: map[string]bool{emailPassword: true, thirdParty: true, passwordless: true}}
}

// allows tells whether the core itself lets users sign in so. From CDI 5.1 on it leaves that to the SDK.
func (t *tenant) allows(v cdi, recipe string) bool {
	switch {
	case v >= cdi5_1:
		return true
	case v >= cdi5_0:
		return t.on[recipe] && (t.firstFactors == nil || len(t.firstFactors) > 0)
	}
	return t.on[recipe] && (t.firstFactors == nil || slices.Contains(t.firstFactors, factorsOf[recipe][0]))
}

// shown are the first factors as the newer API shows them, nil if all are good.
func (t *tenant) shown() []string {
	if t.firstFactors != nil || t.on[emailPassword] && t.on[thirdParty] && t.on[passwordless] {
		return t.firstFactors
	}
	return t.recipes()
}

// recipes are the first factors of all recipes that are on.
func (t *tenant) recipes() []string {
	out := []string{}
	for _, recipe := range []string{emailPassword, thirdParty, passwordless} {
		if t.on[recipe] {
			out = append(out, factorsOf[recipe]...)
		}
	}
	return out
}

func (c *Core) putTenant(r *request) (any, error) {
	name, given := r.optStr("tenantId")
	id := publicTenant
	if given {
		id = r.tenantID(name)
	}
	v2 := strings.HasSuffix(r.path, "/v2")
	t := newTenant(id)
	old, existed := c.tenants[id]
	if existed {
		t.on, t.firstFactors = maps.Clone(old.on), old.firstFactors
	} else if t.firstFactors = []string{}; !v2 { // a new tenant allows nothing unless it is told to
		clear(t.on)
		if r.cdi >= cdi5_0 {
			t.firstFactors = nil
		}
	}
	if v2 {
		if member, ok := r.body["firstFactors"]; ok {
			*t = *newTenant(id)
			if member != nil {
				t.firstFactors, _ = r.optStrings("firstFactors")
			}
		}
	} else {
		t.enable(r, emailPassword, "emailPasswordEnabled")
		t.enable(r, thirdParty, "thirdPartyEnabled")
		t.enable(r, passwordless, "passwordlessEnabled")
	}
	if r.err != nil {
		return nil, r.err
	}
	c.tenants[id] = t
	return reply{"status": "OK", "createdNew": !existed}, nil
}

// enable switches a recipe on or off, if the request says so.
func (t *tenant) enable(r *request, recipe, flag string) {
	on, given := r.optBool(flag)
	if !given {
		return
	}
	if r.cdi >= cdi5_0 {
		t.on[recipe] = on
		return
	}
	if t.firstFactors == nil && !on {
		t.firstFactors = t.recipes()
	}
	rest := slices.DeleteFunc(slices.Clone(t.firstFactors), func(f string) bool { return slices.Contains(factorsOf[recipe], f) })
	switch {
	case !on:
		t.firstFactors = rest
	case t.firstFactors != nil:
		t.firstFactors = append(rest, factorsOf[recipe]...)
		fallthrough
	default:
		t.on[recipe] = true
	}
}

// tenantID checks a new tenant's ID as the core does.
func (r *request) tenantID(s string) string {
	s = strings.ToLower(strings.TrimSpace(s))
	switch {
	case s == "":
		r.fail("tenantId should not be an empty String")
	case slices.Contains(notTenants, s):
		r.fail("Cannot use '" + s + "' as a tenantId")
	case strings.HasPrefix(s, "appid-"):
		r.fail("tenantId must not start with 'appid-'")
	case !isID(s):
		r.fail("tenantId can only contain letters, numbers and hyphens")
	}
	return s
}

func (t *tenant) info(v cdi, v2 bool) reply {
	out := reply{"tenantId": t.id, "coreConfig": reply{}}
	if v2 {
		out["thirdParty"] = reply{"providers": []any{}}
		if factors := t.shown(); factors != nil {
			out["firstFactors"] = factors
		}
		return out
	}
	v = min(v, cdi5_0)
	out["emailPassword"] = reply{"enabled": t.allows(v, emailPassword)}
	out["thirdParty"] = reply{"enabled": t.allows(v, thirdParty), "providers": []any{}}
	out["passwordless"] = reply{"enabled": t.allows(v, passwordless)}
	return out
}

func (c *Core) getTenant(r *request) (any, error) {
	t := c.tenants[r.tenant]
	if t == nil {
		return status("TENANT_NOT_FOUND_ERROR"), nil
	}
	out := t.info(r.cdi, strings.HasSuffix(r.path, "/v2"))
	out["status"] = "OK"
	return out, nil
}

func (c *Core) listTenants(r *request) (any, error) {
	if r.tenant != publicTenant {
		return nil, forbidden("Only the public tenantId is allowed to list all tenants associated with this app")
	}
	list := []reply{}
	for _, id := range sortedKeys(c.tenants) {
		list = append(list, c.tenants[id].info(r.cdi, strings.HasSuffix(r.path, "/v2")))
	}
	return reply{"status": "OK", "tenants": list}, nil
}

// removeTenant takes the tenant's sessions, roles and verification tokens with it; its users stay, without it.
func (c *Core) removeTenant(r *request) (any, error) {
	id := r.tenantID(r.str("tenantId"))
	switch {
	case r.err != nil:
		return nil, r.err
	case id == publicTenant:
		return nil, forbidden("Cannot delete public tenant, use remove app API instead")
	case r.tenant != publicTenant:
		return nil, forbidden("Only the public tenantId is allowed to delete a tenant")
	}
	_, existed := c.tenants[id]
	delete(c.tenants, id)
	for _, u := range c.users.all {
		c.users.leave(u, id)
	}
	c.deleteSessions(c.sessions.byHandle, id)
	maps.DeleteFunc(c.assigned, func(tu tenantUser, _ map[string]bool) bool { return tu.tenant == id })
	maps.DeleteFunc(c.emails.tokens, func(_ string, t emailToken) bool { return t.tenant == id })
	return reply{"status": "OK", "didExist": existed}, nil
}

// memberOf reads the user whom an association is about, and the ID that all but its login stands under.
func (c *Core) memberOf(r *request) (u *user, owner string) {
	name := "userId"
	if r.cdi >= cdi4_0 {
		name = "recipeUserId"
	}
	id := strings.TrimSpace(r.str(name))
	if id == "" {
		r.fail("Field name 'userId' cannot be an empty String")
	}
	if u = c.user(id); u != nil {
		return u, c.mappings.external(u.id)
	}
	return nil, id
}

func (c *Core) associateUser(r *request) (any, error) {
	u, _ := c.memberOf(r)
	switch {
	case r.err != nil:
		return nil, r.err
	case u == nil:
		return status("UNKNOWN_USER_ID_ERROR"), nil
	}
	l := u.login(r.tenant)
	switch other := c.users.byLogin[l]; {
	case other != nil && other != u && u.recipe == thirdParty:
		return status("THIRD_PARTY_USER_ALREADY_EXISTS_ERROR"), nil
	case other != nil && other != u:
		return status("EMAIL_ALREADY_EXISTS_ERROR"), nil
	case other == u:
		return reply{"status": "OK", "wasAlreadyAssociated": true}, nil
	}
	u.tenants = append(u.tenants, r.tenant)
	c.users.byLogin[l] = u
	return reply{"status": "OK", "wasAlreadyAssociated": false}, nil
}

// disassociateUser takes the user's sessions, roles and verification tokens in the tenant away, too, also where they are all that
// there is of a user. What it answers is whether there was anything.
func (c *Core) disassociateUser(r *request) (any, error) {
	u, owner := c.memberOf(r)
	switch {
	case r.err != nil:
		return nil, r.err
	case u == nil && c.usedIn(owner) == "":
		return status("UNKNOWN_USER_ID_ERROR"), nil
	}
	was := u != nil && c.users.leave(u, r.tenant)
	if ended := c.deleteSessions(c.sessions.byUser[owner], r.tenant); len(ended) > 0 {
		was = true
	}
	if tu := (tenantUser{r.tenant, owner}); c.assigned[tu] != nil {
		delete(c.assigned, tu)
		was = true
	}
	maps.DeleteFunc(c.emails.tokens, func(_ string, t emailToken) bool {
		gone := t.tenant == r.tenant && t.user == owner
		was = was || gone
		return gone
	})
	return reply{"status": "OK", "wasAssociated": was}, nil
}

func (us *users) leave(u *user, tenant string) bool {
	if !slices.Contains(u.tenants, tenant) {
		return false
	}
	delete(us.byLogin, u.login(tenant))
	u.tenants = slices.DeleteFunc(slices.Clone(u.tenants), func(t string) bool { return t == tenant })
	return true
}
