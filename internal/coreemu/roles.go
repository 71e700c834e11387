package coreemu

import (
	"maps"
	"slices"
	"strings"
)

func (c *Core) putRole(r *request) (any, error) {
	role := r.trimmed("role")
	permissions := r.permissions()
	if r.err != nil {
		return nil, r.err
	}
	held, existed := c.roles[role]
	c.roles[role] = slices.Compact(slices.Sorted(slices.Values(append(held, permissions...))))
	return reply{"status": "OK", "createdNewRole": !existed}, nil
}

func (r *request) permissions() []string {
	list, _ := r.optStrings("permissions")
	for i, p := range list {
		if list[i] = strings.TrimSpace(p); list[i] == "" {
			r.fail("Field name 'permissions' cannot contain an empty string")
		}
	}
	return list
}

func (c *Core) listRoles(*request) (any, error) {
	return reply{"status": "OK", "roles": sortedKeys(c.roles)}, nil
}

func sortedKeys[V any](m map[string]V) []string {
	return append([]string{}, slices.Sorted(maps.Keys(m))...)
}

func (c *Core) removeRole(r *request) (any, error) {
	role := r.trimmed("role")
	if r.err != nil {
		return nil, r.err
	}
	_, existed := c.roles[role]
	delete(c.roles, role)
	for _, held := range c.assigned {
		delete(held, role)
	}
	c.dropEmptyAssignments()
	return reply{"status": "OK", "didRoleExist": existed}, nil
}

func (c *Core) getPermissions(r *request) (any, error) {
	role := r.trimmedParam("role")
	if r.err != nil {
		return nil, r.err
	}
	permissions, ok := c.roles[role]
	if !ok {
		return status("UNKNOWN_ROLE_ERROR"), nil
	}
	return reply{"status": "OK", "permissions": append([]string{}, permissions...)}, nil
}

// removePermissions takes all of them if the request names none.
func (c *Core) removePermissions(r *request) (any, error) {
	role := r.trimmed("role")
	permissions := r.permissions()
	if r.err != nil {
		return nil, r.err
	}
	held, ok := c.roles[role]
	if !ok {
		return status("UNKNOWN_ROLE_ERROR"), nil
	}
	_, named := r.body["permissions"]
	c.roles[role] = slices.DeleteFunc(held, func(p string) bool { return !named || slices.Contains(permissions, p) })
	return status("OK"), nil
}

func (c *Core) rolesWithPermission(r *request) (any, error) {
	permission := r.trimmedParam("permission")
	if r.err != nil {
		return nil, r.err
	}
	roles := []string{}
	for _, role := range sortedKeys(c.roles) {
		if slices.Contains(c.roles[role], permission) {
			roles = append(roles, role)
		}
	}
	return reply{"status": "OK", "roles": roles}, nil
}

// assignRole takes any user ID: the core does not ask whether there is such a user.
func (c *Core) assignRole(r *request) (any, error) {
	tu, role := tenantUser{r.tenant, r.str("userId")}, r.trimmed("role")
	if r.err != nil {
		return nil, r.err
	}
	if _, ok := c.roles[role]; !ok {
		return status("UNKNOWN_ROLE_ERROR"), nil
	}
	had := c.assigned[tu][role]
	if c.assigned[tu] == nil {
		c.assigned[tu] = map[string]bool{}
	}
	c.assigned[tu][role] = true
	return reply{"status": "OK", "didUserAlreadyHaveRole": had}, nil
}

func (c *Core) unassignRole(r *request) (any, error) {
	tu, role := tenantUser{r.tenant, r.str("userId")}, r.trimmed("role")
	if r.err != nil {
		return nil, r.err
	}
	if _, ok := c.roles[role]; !ok {
		return status("UNKNOWN_ROLE_ERROR"), nil
	}
	had := c.assigned[tu][role]
	delete(c.assigned[tu], role)
	c.dropEmptyAssignments()
	return reply{"status": "OK", "didUserHaveRole": had}, nil
}

// dropEmptyAssignments keeps users without roles out of sight: a user ID is in use by roles only as long as it has one.
func (c *Core) dropEmptyAssignments() {
	maps.DeleteFunc(c.assigned, func(_ tenantUser, held map[string]bool) bool { return len(held) == 0 })
}

func (c *Core) rolesOfUser(r *request) (any, error) {
	userID := r.param("userId")
	if r.err != nil {
		return nil, r.err
	}
	return reply{"status": "OK", "roles": sortedKeys(c.assigned[tenantUser{r.tenant, userID}])}, nil
}

func (c *Core) usersWithRole(r *request) (any, error) {
	role := r.trimmedParam("role")
	if r.err != nil {
		return nil, r.err
	}
	if _, ok := c.roles[role]; !ok {
		return status("UNKNOWN_ROLE_ERROR"), nil
	}
	users := []string{}
	for tu, held := range c.assigned {
		if tu.tenant == r.tenant && held[role] {
			users = append(users, tu.user)
		}
	}
	slices.Sort(users)
	return reply{"status": "OK", "users": users}, nil
}

func (c *Core) getMetadata(r *request) (any, error) {
	userID := r.param("userId")
	if r.err != nil {
		return nil, r.err
	}
	return c.metadataOf(userID), nil
}

func (c *Core) metadataOf(userID string) reply {
	object := c.metadata[userID]
	if object == nil {
		object = map[string]any{}
	}
	return reply{"status": "OK", "metadata": object}
}

// putMetadata merges at the root: a member that is null goes.
func (c *Core) putMetadata(r *request) (any, error) {
	userID, update := r.str("userId"), r.object("metadataUpdate")
	if r.err != nil {
		return nil, r.err
	}
	merged := map[string]any{}
	maps.Copy(merged, c.metadata[userID])
	maps.Copy(merged, update)
	maps.DeleteFunc(merged, func(_ string, v any) bool { return v == nil })
	c.metadata[userID] = merged
	return c.metadataOf(userID), nil
}

func (c *Core) removeMetadata(r *request) (any, error) {
	userID := r.str("userId")
	if r.err != nil {
		return nil, r.err
	}
	delete(c.metadata, userID)
	return status("OK"), nil
}
