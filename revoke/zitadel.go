package revoke

import (
	"net/http"
	"net/url"
	"strings"
)

// ZitadelConfig configures [Zitadel]. BaseURL and Token are required.
type ZitadelConfig struct {
	// BaseURL is the instance: "https://example.zitadel.cloud".
	BaseURL string
	// Token returns a token of a service account with the permission session.delete (an organization's owner has it, say): a personal
	// access token, or one with the scope urn:zitadel:iam:org:project:id:zitadel:aud.
	Token TokenSource
	HTTP  HTTP
}

// Zitadel ends one session: DELETE /v2/sessions/{id}, for all applications that the user opened in it (single sign-on). The user's
// other sessions go on. ZITADEL itself takes the tokens of the session no more; JWTs that others verify live until they expire.
//
// SessionID is the claim sid, which ID tokens and logout tokens have, and access tokens have not: the backend must have kept it.
// Who has none revokes the refresh token by [RFC7009] at /oauth/v2/revoke, which ends its access token, too. Only sessions of the
// Session API end so, which is what login version 2 opens; that sessions of login version 1 have no such ID is not verified against
// ZITADEL's documentation. ZITADEL limits by the caller's IP address, so there is no Budget. That a session that is over is
// answered with 200 is what the server's source says; the body that is taken for it with status 404 is not verified against its
// documentation.
//
// https://zitadel.com/docs/reference/api/session/zitadel.session.v2.SessionService.DeleteSession,
// https://zitadel.com/docs/guides/integrate/back-channel-logout, https://zitadel.com/docs/legal/policies/rate-limit-policy
type Zitadel struct{ *api }

// NewZitadel checks cfg. The error names the field that is missing or wrong.
func NewZitadel(cfg ZitadelConfig) (*Zitadel, error) {
	a, err := newTokenAPI("ZitadelConfig", cfg.BaseURL, cfg.Token, cfg.HTTP)
	if err != nil {
		return nil, err
	}
	a.calls = one(sidIn("sid, which ID tokens alone have"), func(id string) request {
		r := a.postJSON("/v2/sessions/"+url.PathEscape(id), map[string]string{})
		r.method = http.MethodDelete
		return r
	})
	a.done = []int{http.StatusOK}
	a.code = member("code") // a number from older endpoints
	a.over = func(status int, fields map[string]any) bool {
		// A wrong host is "Instance not found", with the same code.
		text, _ := fields["message"].(string)
		return status == http.StatusNotFound && strings.HasPrefix(text, "Session does not exist")
	}
	return &Zitadel{a}, nil
}
