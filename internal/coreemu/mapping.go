package coreemu

import "strings"

// mapping gives a user the ID that it had before SuperTokens.
type mapping struct {
	internal, external string
	info               string // "" for none
}

type mappings struct {
	toExternal map[string]mapping
	toInternal map[string]string
}

func newMappings() mappings {
	return mappings{toExternal: map[string]mapping{}, toInternal: map[string]string{}}
}

// external is the ID that answers show for a SuperTokens ID.
func (m *mappings) external(id string) string {
	if e, ok := m.toExternal[id]; ok {
		return e.external
	}
	return id
}

func (m *mappings) add(e mapping) {
	m.toExternal[e.internal] = e
	m.toInternal[e.external] = e.internal
}

func (m *mappings) remove(internal string) {
	delete(m.toInternal, m.toExternal[internal].external)
	delete(m.toExternal, internal)
}

// mapping finds one by either ID, or by the kind that idType names. A SuperTokens user's own ID comes first.
func (c *Core) mapping(id, idType string) (mapping, bool) {
	internal := id
	if idType == "EXTERNAL" || (idType == "ANY" && c.users.byID[id] == nil) {
		internal = c.mappings.toInternal[id]
	}
	m, ok := c.mappings.toExternal[internal]
	return m, ok
}

// usedIn names a recipe that has something under this ID, or is "". Only the recipes that are about users' data count,
// not the logins.
func (c *Core) usedIn(id string) string {
	if len(c.liveSessions(c.sessions.byUser[id], anywhere)) > 0 {
		return "Session"
	}
	if _, ok := c.metadata[id]; ok {
		return "UserMetadata"
	}
	for tu := range c.assigned {
		if tu.user == id {
			return "UserRoles"
		}
	}
	if c.emails.knows(id) {
		return "EmailVerification"
	}
	return ""
}

func (c *Core) createMapping(r *request) (any, error) {
	m := mapping{internal: r.trimmed("superTokensUserId"), external: r.trimmed("externalUserId"), info: r.info(true)}
	force := r.optFlag("force", false)
	if r.err != nil {
		return nil, r.err
	}
	exists := func(internal, external bool) (any, error) {
		return reply{
			"status":                     "USER_ID_MAPPING_ALREADY_EXISTS_ERROR",
			"doesSuperTokensUserIdExist": internal, "doesExternalUserIdExist": external,
		}, nil
	}
	if internal, ok := c.mappings.toInternal[m.external]; ok {
		return exists(internal == m.internal, true)
	}
	if c.users.byID[m.internal] == nil {
		return status("UNKNOWN_SUPERTOKENS_USER_ID_ERROR"), nil
	}
	moveVerified := false
	if !force {
		if c.users.byID[m.external] != nil {
			return nil, badRequest("Cannot create a userId mapping where the externalId is also a SuperTokens userID")
		}
		recipe := c.usedIn(m.internal)
		if moveVerified = recipe == "EmailVerification" && r.cdi >= cdi4_0; recipe != "" && !moveVerified {
			return nil, badRequest("UserId is already in use in %s recipe", recipe)
		}
	}
	if _, ok := c.mappings.toExternal[m.internal]; ok {
		return exists(true, false)
	}
	if moveVerified {
		c.emails.rename(m.internal, m.external)
	}
	c.mappings.add(m)
	return status("OK"), nil
}

// info is the note beside a mapping: null for none, never blank.
func (r *request) info(optional bool) string {
	const name = "externalUserIdInfo"
	v, present := r.body[name]
	if present && v == nil {
		return ""
	}
	s, present := field[string](r, name, optional)
	if s = strings.TrimSpace(s); present && s == "" {
		r.fail("Field name 'externalUserIdInfo' cannot be an empty String")
	}
	return s
}

func (r *request) idType(s string, given bool) string {
	s = strings.TrimSpace(s)
	switch {
	case !given:
		return "ANY"
	case s != "SUPERTOKENS" && s != "EXTERNAL" && s != "ANY":
		r.fail("Field name 'userIdType' should be one of 'SUPERTOKENS', 'EXTERNAL' or 'ANY'")
	}
	return s
}

func (c *Core) getMapping(r *request) (any, error) {
	id := strings.TrimSpace(r.param("userId"))
	if id == "" {
		r.fail("Field name 'userId' cannot be an empty String")
	}
	idType := r.idType(r.query.Get("userIdType"), r.query.Has("userIdType"))
	if r.err != nil {
		return nil, r.err
	}
	m, ok := c.mapping(id, idType)
	if !ok {
		return status("UNKNOWN_MAPPING_ERROR"), nil
	}
	out := reply{"status": "OK", "superTokensUserId": m.internal, "externalUserId": m.external}
	if m.info != "" {
		out["externalUserIdInfo"] = m.info
	}
	return out, nil
}

func (c *Core) removeMapping(r *request) (any, error) {
	id := r.trimmed("userId")
	idType := r.idType(r.optStr("userIdType"))
	force := r.optFlag("force", false)
	if r.err != nil {
		return nil, r.err
	}
	m, ok := c.mapping(id, idType)
	if ok && !force {
		owner := m.external
		if c.users.byID[m.external] != nil {
			owner = m.internal
		}
		if recipe := c.usedIn(owner); recipe != "" {
			return nil, badRequest("UserId is already in use in %s recipe", recipe)
		}
	}
	c.mappings.remove(m.internal)
	return reply{"status": "OK", "didMappingExist": ok}, nil
}

func (c *Core) updateMappingInfo(r *request) (any, error) {
	id := r.trimmed("userId")
	idType := r.idType(r.optStr("userIdType"))
	info := r.info(false)
	if r.err != nil {
		return nil, r.err
	}
	m, ok := c.mapping(id, idType)
	if !ok {
		return status("UNKNOWN_MAPPING_ERROR"), nil
	}
	m.info = info
	c.mappings.add(m)
	return status("OK"), nil
}
