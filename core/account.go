package core

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// CreateUserIDMapping gives the user with m.SuperTokensID the external ID m.ExternalID, by which all answers name it from then
// on. An external ID has at most [MaxExternalID] characters and no white space around it, which the core would cut off.
//
// The core refuses it where data stand under either ID, sessions, roles or metadata, say, unless force is set; then they stay
// where they are, and the user has lost them. Errors: [ErrUnknownUser]; *[MappingExistsError], also when it is this very
// mapping; [ErrUserIDInUse]; [ErrExternalIDTaken]. It is never repeated once a byte of it may have reached a core.
func (c *Client) CreateUserIDMapping(ctx context.Context, m UserIDMapping, force bool) error {
	invalid := cmp.Or(ValidUserID(m.SuperTokensID), validText("external user ID", m.ExternalID, MaxExternalID))
	if invalid == nil && strings.TrimSpace(m.ExternalID) != m.ExternalID {
		invalid = errors.New("external user ID has white space around it, which the core would cut off")
	}
	body := map[string]any{"superTokensUserId": m.SuperTokensID, "externalUserId": m.ExternalID, "force": force}
	if m.Info != "" {
		body["externalUserIdInfo"] = m.Info
	}
	return c.answer(ctx, request{route: createMapping, body: body, invalid: invalid}, nil)
}

// DeleteUserIDMapping removes the mapping that id is one side of. The core refuses it where data stand under the ID that users
// of the mapping see, unless force is set. existed is false, too, if an earlier try of this very call removed it whose answer
// was lost. Errors: [ErrUserIDInUse].
func (c *Client) DeleteUserIDMapping(ctx context.Context, id string, t IDType, force bool) (existed bool, err error) {
	name, invalid := t.name()
	return c.flagged(ctx, request{
		route:   removeMapping,
		body:    map[string]any{"userId": id, "userIdType": name, "force": force},
		invalid: cmp.Or(ValidUserID(id), invalid),
	}, "didMappingExist", func(a *answer) *bool { return a.DidMappingExist })
}

// SetUserIDMappingInfo replaces the info of the mapping that id is one side of; "" removes it. Errors: [ErrUnknownMapping].
func (c *Client) SetUserIDMappingInfo(ctx context.Context, id string, t IDType, info string) error {
	name, invalid := t.name()
	body := map[string]any{"userId": id, "userIdType": name, "externalUserIdInfo": nil}
	if info != "" {
		body["externalUserIdInfo"] = info
	}
	return c.answer(ctx, request{route: putMappingInfo, body: body, invalid: cmp.Or(ValidUserID(id), invalid)}, nil)
}

// name is what the core calls t.
func (t IDType) name() (string, error) {
	names := []string{AnyID: "ANY", SuperTokensID: "SUPERTOKENS", ExternalID: "EXTERNAL"}
	if t < 0 || int(t) >= len(names) {
		return "", fmt.Errorf("no such IDType: %d", t)
	}
	return names[t], nil
}

// CreateEmailToken makes a token that proves, when it is shown to [Client.VerifyEmail], that the user reads this e-mail. It is
// good for a day. The core asks neither whether there is such a user nor whether the e-mail is the user's; userID must be the
// external ID where there is one. Errors: [ErrEmailVerified]; [ErrUnknownTenant].
func (c *Client) CreateEmailToken(ctx context.Context, tenantID, userID, email string) (token string, err error) {
	email, invalid := NormalizeEmail(email)
	return c.newToken(ctx, request{
		route:    createEmailToken,
		tenantID: cmp.Or(tenantID, "public"),
		body:     map[string]any{"userId": userID, "email": email},
		invalid:  cmp.Or(ValidUserID(userID), invalid),
	})
}

// VerifyEmail takes a token and marks the e-mail that it was made for as verified, for the user that it was made for. It is
// never repeated once a byte of it may have reached a core. Errors: [ErrInvalidToken]; [ErrUnknownTenant].
func (c *Client) VerifyEmail(ctx context.Context, tenantID, token string) (userID, email string, err error) {
	return c.useToken(ctx, verifyEmail, tenantID, token)
}

// IsEmailVerified tells whether the e-mail is marked as verified for the user; userID is as in [Client.CreateEmailToken].
func (c *Client) IsEmailVerified(ctx context.Context, userID, email string) (bool, error) {
	email, invalid := NormalizeEmail(email) // which the core does not do here
	return c.flagged(ctx, request{
		route:   isVerified,
		query:   []string{"userId", userID, "email", email},
		invalid: cmp.Or(ValidUserID(userID), invalid),
	}, "isVerified", func(a *answer) *bool { return a.Verified })
}

// UnverifyEmail takes that mark away, if it is there.
func (c *Client) UnverifyEmail(ctx context.Context, userID, email string) error {
	email, invalid := NormalizeEmail(email)
	return c.answer(ctx, request{
		route:   unverifyEmail,
		body:    map[string]any{"userId": userID, "email": email},
		invalid: cmp.Or(ValidUserID(userID), invalid),
	}, nil)
}

func validRole(role string) error {
	if strings.TrimSpace(role) != role {
		return errors.New("role has white space around it, which the core would cut off")
	}
	return validText("role", role, 255)
}

// CreateRole makes a role, or adds permissions to it. created is false, too, if an earlier try of this very call made it whose
// answer was lost.
func (c *Client) CreateRole(ctx context.Context, role string, permissions ...string) (created bool, err error) {
	return c.flagged(ctx, request{
		route:   putRole,
		body:    map[string]any{"role": role, "permissions": append([]string{}, permissions...)},
		invalid: cmp.Or(validRole(role), required("a permission", permissions...)),
	}, "createdNewRole", func(a *answer) *bool { return a.CreatedRole })
}

// AddUserRole gives the user a role in a tenant, "" being the public one. The core does not ask whether there is such a user;
// userID must be the external ID where there is one. had tells that it, or an earlier try of this very call, had given it
// before. Errors: [ErrUnknownRole]; [ErrUnknownTenant].
func (c *Client) AddUserRole(ctx context.Context, tenantID, userID, role string) (had bool, err error) {
	return c.flagged(ctx, request{
		route:    addUserRole,
		tenantID: cmp.Or(tenantID, "public"),
		body:     map[string]any{"userId": userID, "role": role},
		invalid:  cmp.Or(ValidUserID(userID), validRole(role)),
	}, "didUserAlreadyHaveRole", func(a *answer) *bool { return a.AlreadyHadRole })
}

// RemoveUserRole takes a role from the user in a tenant. had is false, too, if an earlier try of this very call took it whose
// answer was lost. Errors: [ErrUnknownRole]; [ErrUnknownTenant].
func (c *Client) RemoveUserRole(ctx context.Context, tenantID, userID, role string) (had bool, err error) {
	return c.flagged(ctx, request{
		route:    removeUserRole,
		tenantID: cmp.Or(tenantID, "public"),
		body:     map[string]any{"userId": userID, "role": role},
		invalid:  cmp.Or(ValidUserID(userID), validRole(role)),
	}, "didUserHaveRole", func(a *answer) *bool { return a.HadRole })
}

// UserRoles returns the user's roles in a tenant. A user that does not exist has none. Errors: [ErrUnknownTenant].
func (c *Client) UserRoles(ctx context.Context, tenantID, userID string) ([]string, error) {
	var roles []string
	err := c.answer(ctx, request{
		route:    getUserRoles,
		tenantID: cmp.Or(tenantID, "public"),
		query:    []string{"userId", userID},
		invalid:  ValidUserID(userID),
	}, func(a *answer) error {
		if a.Roles == nil || slices.Contains(a.Roles, "") {
			return missing("roles")
		}
		roles = a.Roles
		return nil
	})
	return roles, err
}

// RolePermissions returns what a role permits. Roles are of the app, whatever tenant users have them in. Errors: [ErrUnknownRole].
func (c *Client) RolePermissions(ctx context.Context, role string) ([]string, error) {
	var permissions []string
	err := c.answer(ctx, request{
		route:   getPermissions,
		query:   []string{"role", role},
		invalid: validRole(role),
	}, func(a *answer) error {
		if a.Permissions == nil || slices.Contains(a.Permissions, "") {
			return missing("permissions")
		}
		permissions = a.Permissions
		return nil
	})
	return permissions, err
}

// UserMetadata returns what is stored of a user beside its logins; {} if nothing is. Numbers are [json.Number]. userID must be
// the external ID where there is one.
func (c *Client) UserMetadata(ctx context.Context, userID string) (map[string]any, error) {
	return c.metadata(ctx, request{route: getMetadata, query: []string{"userId", userID}, invalid: ValidUserID(userID)})
}

// UpdateUserMetadata merges update into the user's metadata, at the root alone: a member replaces the one of its name as a
// whole, and nil removes it. It returns all of the metadata as they are then.
func (c *Client) UpdateUserMetadata(ctx context.Context, userID string, update map[string]any) (map[string]any, error) {
	return c.metadata(ctx, request{
		route:   putMetadata,
		body:    map[string]any{"userId": userID, "metadataUpdate": orEmpty(update)},
		invalid: ValidUserID(userID),
	})
}

func (c *Client) metadata(ctx context.Context, req request) (map[string]any, error) {
	var metadata map[string]any
	err := c.answer(ctx, req, func(a *answer) error {
		if metadata = a.Metadata; metadata == nil {
			return missing("metadata")
		}
		return nil
	})
	return metadata, err
}

// RemoveUserMetadata removes all metadata of the user.
func (c *Client) RemoveUserMetadata(ctx context.Context, userID string) error {
	return c.answer(ctx, request{route: removeMetadata, body: map[string]any{"userId": userID}, invalid: ValidUserID(userID)}, nil)
}

// Tenant is a tenant of the core.
type Tenant struct {
	ID string
	// EmailPassword tells whether users with an e-mail and a password may sign in there. From CDI 5.1 on the core itself signs
	// them up and in nevertheless: who calls [Client.SignUp] and [Client.SignIn] must look.
	EmailPassword bool
}

// Tenant returns one tenant, "" being the public one. Errors: [ErrUnknownTenant].
func (c *Client) Tenant(ctx context.Context, tenantID string) (*Tenant, error) {
	tenantID = cmp.Or(tenantID, "public")
	var tenant *Tenant
	err := c.answer(ctx, request{route: getTenant, tenantID: tenantID}, func(a *answer) error {
		if a.TenantID != tenantID {
			return missing("the tenant that was asked for")
		}
		tenant = wireTenant{a.TenantID, a.EmailPassword, a.FirstFactors}.tenant()
		return nil
	})
	return tenant, err
}

// Tenants lists the tenants.
func (c *Client) Tenants(ctx context.Context) ([]Tenant, error) {
	var tenants []Tenant
	err := c.answer(ctx, request{route: listTenants}, func(a *answer) error {
		for _, t := range a.Tenants {
			if t.TenantID == "" {
				return missing("a tenant's tenantId")
			}
			tenants = append(tenants, *t.tenant())
		}
		if tenants == nil {
			return missing("tenants")
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tenants, nil
}

// tenant reads t. Where there is no word on e-mail and password there are first factors, and without those all are good.
func (t wireTenant) tenant() *Tenant {
	if t.EmailPassword != nil {
		return &Tenant{ID: t.TenantID, EmailPassword: t.EmailPassword.Enabled}
	}
	return &Tenant{ID: t.TenantID, EmailPassword: t.FirstFactors == nil || slices.Contains(t.FirstFactors, emailPassword)}
}

// AddTenantUser lets a user of another tenant sign in to this one, too. id is as in [Client.SetEmail]. was tells that it could
// before, or since an earlier try of this very call. Errors: [ErrUnknownUser]; [ErrEmailExists]; [ErrLoginExists];
// [ErrNotAllowed]; [ErrUnknownTenant].
func (c *Client) AddTenantUser(ctx context.Context, tenantID, id string) (was bool, err error) {
	return c.flagged(ctx, request{
		route:    addTenantUser,
		tenantID: cmp.Or(tenantID, "public"),
		body:     map[string]any{"userId": id, "recipeUserId": id},
		invalid:  ValidUserID(id),
	}, "wasAlreadyAssociated", func(a *answer) *bool { return a.WasAlreadyThere })
}

// RemoveTenantUser is the opposite, and ends the user's sessions and roles in the tenant. The user stays, even without any
// tenant, but is counted no more then ([Client.CountUsers]). was tells that there was anything to end; it is false, too, if an
// earlier try of this very call did it whose answer was lost. Errors: [ErrUnknownUser]; [ErrUnknownTenant].
func (c *Client) RemoveTenantUser(ctx context.Context, tenantID, id string) (was bool, err error) {
	return c.flagged(ctx, request{
		route:    leaveTenantUser,
		tenantID: cmp.Or(tenantID, "public"),
		body:     map[string]any{"userId": id, "recipeUserId": id},
		invalid:  ValidUserID(id),
	}, "wasAssociated", func(a *answer) *bool { return a.WasThere })
}
