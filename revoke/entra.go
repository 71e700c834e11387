package revoke

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate"
)

// EntraConfig configures [EntraRevokeAllSessionsOfUser]. TenantID and Token are required.
type EntraConfig struct {
	// TenantID is the tenant whose users these are (tid), a GUID in lower case.
	TenantID string
	// Token returns a token of this very tenant for Microsoft Graph, of an application with the permission User.RevokeSessions.All:
	// that of [ClientCredentials] at https://login.microsoftonline.com/{TenantID}/oauth2/v2.0/token with the scope
	// https://graph.microsoft.com/.default.
	Token TokenSource
	// BaseURL replaces "https://graph.microsoft.com": national clouds are at "https://graph.microsoft.us",
	// "https://dod-graph.microsoft.us" and "https://microsoftgraph.chinacloudapi.cn".
	BaseURL string
	HTTP    HTTP
}

// EntraRevokeAllSessionsOfUser ends all sessions of the user at Microsoft Entra ID, with the refresh tokens of all applications:
// POST /v1.0/users/{oid}/revokeSignInSessions of Microsoft Graph. Entra has no way to end one of them. It takes some minutes;
// access tokens live until they expire, or until a resource that evaluates access continuously hears of it.
//
// The user is the claim oid of the legacy session, and its claim tid must be TenantID: both are GUIDs, and anything else, such as a
// user's name, is a permanent error. With users of several tenants, take one revoker for each, and choose by tid in a
// [stmigrate.RevokerFunc]. Guests sign in elsewhere, and Graph revokes nothing for them; whether it says so is not documented, so a
// token that names another identity provider than the tenant (idp) is a permanent error. Personal accounts are not supported.
//
// Budget is 3000 calls in 150 seconds, that of an application's writes in a tenant, for all that it writes there; 429 says when by
// Retry-After. An older documentation has 204 for success, a newer one 200 with the value true: both are taken for it. The names of
// errors are not documented for this call.
//
// https://learn.microsoft.com/graph/api/user-revokesigninsessions, https://learn.microsoft.com/graph/throttling-limits,
// https://learn.microsoft.com/graph/deployments, https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference
func EntraRevokeAllSessionsOfUser(cfg EntraConfig) (*AllSessionsOfUser, error) {
	if !guid.MatchString(cfg.TenantID) {
		return nil, fmt.Errorf("revoke: EntraConfig.TenantID is %q: a GUID in lower case wanted", cfg.TenantID)
	}
	if cfg.BaseURL == "" {
		cfg.BaseURL = "https://graph.microsoft.com"
	}
	a, err := newTokenAPI("EntraConfig", cfg.BaseURL, cfg.Token, cfg.HTTP)
	if err != nil {
		return nil, err
	}
	a.calls = func(_ context.Context, _ string, s *stmigrate.OldSession) ([]request, error) {
		if s.Claims["tid"] != cfg.TenantID {
			return nil, permanent("the legacy session's tid is not EntraConfig.TenantID: its user is another tenant's")
		}
		oid, _ := s.Claims["oid"].(string)
		if !guid.MatchString(oid) {
			return nil, permanent("the legacy session's oid is no GUID in lower case")
		}
		// It has the tenant's ID in whatever address Entra writes for itself, and is left out as a rule.
		if idp, ok := s.Claims["idp"]; ok {
			if own, _ := idp.(string); !strings.Contains(own, cfg.TenantID) {
				return nil, permanent("the user is a guest, who signs in at another identity provider (idp): Entra revokes nothing here")
			}
		}
		return []request{a.to(http.MethodPost, "/v1.0/users/"+oid+"/revokeSignInSessions")}, nil
	}
	a.done = []int{http.StatusNoContent}
	a.over = func(status int, fields map[string]any) bool {
		return status == http.StatusOK && fields["value"] == true
	}
	a.code = func(fields map[string]any) string {
		inner, _ := fields["error"].(map[string]any)
		if name, _ := inner["code"].(string); slices.Contains(graphErrors, name) {
			return name
		}
		return ""
	}
	a.limit = stmigrate.RevocationBudget{Calls: 3000, Per: 150 * time.Second}
	return &AllSessionsOfUser{a, a.limit}, nil
}

var guid = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// graphErrors are the names of errors that are told. They have no form by which they could be known from what Graph may repeat.
var graphErrors = []string{
	"Authorization_RequestDenied", "InvalidAuthenticationToken", "Request_BadRequest", "Request_ResourceNotFound", "TooManyRequests",
}
