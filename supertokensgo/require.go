package supertokensgo

import (
	"net/http"
	"strings"

	"github.com/supertokens/supertokens-golang/recipe/session"
	"github.com/supertokens/supertokens-golang/recipe/session/sessmodels"
	"github.com/supertokens/supertokens-golang/supertokens"

	"github.com/stmigrate/stmigrate"
)

// Middleware is supertokens.Middleware for a backend whose requests may carry a legacy bearer token, at which the SDK's own APIs
// panic, or which they take for a refresh token, and sign the user out. next gets the request as it came, and so do the APIs of the
// SDK's dashboard, which have bearer tokens of their own.
func Middleware(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hidden := r
		if !strings.Contains(strings.ToLower(r.URL.Path), "/dashboard/api/") {
			hidden = withoutForeign(r)
		}
		supertokens.Middleware(http.HandlerFunc(func(w http.ResponseWriter, seen *http.Request) {
			next.ServeHTTP(w, asItCame(seen, r))
		})).ServeHTTP(w, hidden)
	})
}

// Require is the SDK's VerifySession, as [stmigrate.Migrator.RequireEither] wants it, and without its panics at bearer tokens and
// cookies of somebody else, which are no session and reach the handler as they came. The handler finds the session by
// session.GetSessionFromRequestContext and by [stmigrate.IdentityFrom]. options may be nil.
func Require(options *sessmodels.VerifySessionOptions) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			session.VerifySession(options, func(w http.ResponseWriter, seen *http.Request) {
				if s := session.GetSessionFromRequestContext(seen.Context()); s != nil {
					seen = seen.WithContext(stmigrate.WithIdentity(seen.Context(),
						stmigrate.Identity{UserID: s.GetUserID(), TenantID: s.GetTenantId()}))
				}
				next.ServeHTTP(w, asItCame(seen, r))
			})(w, withoutForeign(r))
		})
	}
}

// RequireEither lets requests with a session of the SDK through, and during the rollout those with a legacy session, which m
// verifies: [stmigrate.Migrator.RequireEither] of [Require]. The handler finds either by [stmigrate.IdentityFrom];
// session.GetSessionFromRequestContext is nil for a legacy one. options may be nil. It cannot apply claim validators to legacy
// sessions.
func RequireEither(m *stmigrate.Migrator, options *sessmodels.VerifySessionOptions, next http.HandlerFunc) http.HandlerFunc {
	return m.RequireEither(Require(options), next).ServeHTTP
}

// asItCame gives seen, which went through the SDK, the headers of r back.
func asItCame(seen, r *http.Request) *http.Request {
	out := seen.WithContext(seen.Context())
	out.Header = r.Header
	return out
}
