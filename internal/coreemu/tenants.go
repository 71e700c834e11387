package coreemu

import (
	"maps"
	"slices"
	"strings"
)

// tenant has the logins that it allows. A tenant that the older API makes allows only what it is told to.
type tenant struct {
	id                                      string
	emailPassword, thirdParty, passwordless bool
	firstFactors                            []any // nil: none chosen
}

func (c *Core) putTenant(r *request) (any, error) {
	name, given := r.optStr("tenantId")
	id := publicTenant
	if given {
		id = r.tenantID(name)
	}
	v2 := strings.HasSuffix(r.path, "/v2")
	old, existed := c.tenants[id]
	t := tenant{id: id, emailPassword: v2, thirdParty: v2, passwordless: v2}
	if existed {
		t = *old
	}
	if v2 {
		if factors, ok := r.optList("firstFactors"); ok {
			t.firstFactors = factors
			t.emailPassword = slices.Contains(factors, any(emailPassword))
			t.thirdParty = slices.Contains(factors, any(thirdParty))
		}
	} else {
		t.emailPassword = r.optFlag("emailPasswordEnabled", t.emailPassword)
		t.thirdParty = r.optFlag("thirdPartyEnabled", t.thirdParty)
		t.passwordless = r.optFlag("passwordlessEnabled", t.passwordless)
	}
	if r.err != nil {
		return nil, r.err
	}
	c.tenants[id] = &t
	return reply{"status": "OK", "createdNew": !existed}, nil
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

func (t *tenant) info(v2 bool) reply {
	out := reply{"tenantId": t.id, "coreConfig": reply{}}
	if v2 {
		out["thirdParty"] = reply{"providers": []any{}}
		if t.firstFactors != nil {
			out["firstFactors"] = t.firstFactors
		}
		return out
	}
	out["emailPassword"] = reply{"enabled": t.emailPassword}
	out["thirdParty"] = reply{"enabled": t.thirdParty, "providers": []any{}}
	out["passwordless"] = reply{"enabled": t.passwordless}
	return out
}

func (c *Core) getTenant(r *request) (any, error) {
	t := c.tenants[r.tenant]
	if t == nil {
		return status("TENANT_NOT_FOUND_ERROR"), nil
	}
	out := t.info(strings.HasSuffix(r.path, "/v2"))
	out["status"] = "OK"
	return out, nil
}

func (c *Core) listTenants(r *request) (any, error) {
	if r.tenant != publicTenant {
		return nil, forbidden("Only the public tenantId is allowed to list all tenants associated with this app")
	}
	list := []reply{}
	for _, id := range sortedKeys(c.tenants) {
		list = append(list, c.tenants[id].info(strings.HasSuffix(r.path, "/v2")))
	}
	return reply{"status": "OK", "tenants": list}, nil
}

// removeTenant takes the tenant's sessions and roles with it; its users stay, without it.
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
	c.deleteSessions(func(s *session) bool { return s.tenant == id })
	maps.DeleteFunc(c.assigned, func(tu tenantUser, _ map[string]bool) bool { return tu.tenant == id })
	return reply{"status": "OK", "didExist": existed}, nil
}

// memberOf reads the user whom an association is about.
func (c *Core) memberOf(r *request) *user {
	name := "userId"
	if r.cdi >= cdi4_0 {
		name = "recipeUserId"
	}
	id := strings.TrimSpace(r.str(name))
	if id == "" {
		r.fail("Field name 'userId' cannot be an empty String")
	}
	return c.user(id)
}

func (c *Core) associateUser(r *request) (any, error) {
	u := c.memberOf(r)
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

func (c *Core) disassociateUser(r *request) (any, error) {
	u := c.memberOf(r)
	if r.err != nil {
		return nil, r.err
	}
	return reply{"status": "OK", "wasAssociated": u != nil && c.users.leave(u, r.tenant)}, nil
}

func (us *users) leave(u *user, tenant string) bool {
	if !slices.Contains(u.tenants, tenant) {
		return false
	}
	delete(us.byLogin, u.login(tenant))
	u.tenants = slices.DeleteFunc(slices.Clone(u.tenants), func(t string) bool { return t == tenant })
	return true
}
