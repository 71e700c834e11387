package providers

import (
	"slices"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/revoke"
)

// FirebaseConfig configures [Firebase] and [FirebaseSessionCookie]. ProjectID is required.
type FirebaseConfig struct {
	// ProjectID is the project's ID, not its number or name.
	ProjectID string
	// TenantIDs are the tenants of Identity Platform whose users are migrated. With one, the users of it alone are; with several,
	// the Subject is "{tenant}/{uid}", since two tenants can have the same uid. Default: users without a tenant.
	TenantIDs []string
	// AllowAnonymous accepts anonymous users. Default: they are refused.
	AllowAnonymous bool
}

// Firebase is the preset for ID tokens of Firebase Authentication and Identity Platform. The keys are certificates by key ID.
//
// Refused: custom tokens (they are a service account's), session cookies (see [FirebaseSessionCookie]), tokens of other projects
// and tenants, anonymous users (unless AllowAnonymous), tokens of the emulator (unsigned). Users who signed in with a custom token are
// accepted.
//
// The user is sub, the uid. No claim is the session: each ID token is exchanged once, and one lives for an hour; a page that got
// a new one since is exchanged again, into a second session of the same user. auth_time, which Config.NotBefore goes by, stays over
// refreshes: it is how a check for revocation works. All applications of the project issue the same tokens.
//
// https://firebase.google.com/docs/auth/admin/verify-id-tokens#verify_id_tokens_using_a_third-party_jwt_library,
// https://cloud.google.com/identity-platform/docs/multi-tenancy-authentication
func Firebase(cfg FirebaseConfig) (*Preset, error) {
	return firebase(cfg, "https://securetoken.google.com/",
		"https://www.googleapis.com/robot/v1/metadata/x509/securetoken@system.gserviceaccount.com")
}

// FirebaseSessionCookie is the preset for Firebase's session cookies, which a backend made of an ID token and which live for up to
// two weeks. It says of itself what [Firebase] does, and refuses ID tokens. The session is the cookie's value. Behind
// [stmigrate.FirstOf] with Firebase there are two issuers with the same users: resolve by the subject with a resolver of your own.
//
// https://firebase.google.com/docs/auth/admin/manage-cookies#verify_session_cookies_using_a_third-party_jwt_library
func FirebaseSessionCookie(cfg FirebaseConfig) (*Preset, error) {
	return firebase(cfg, "https://session.firebase.google.com/",
		"https://www.googleapis.com/identitytoolkit/v3/relyingparty/publicKeys")
}

func firebase(cfg FirebaseConfig, issuer, keys string) (*Preset, error) {
	if err := needID("FirebaseConfig.ProjectID", cfg.ProjectID); err != nil {
		return nil, err
	}
	for _, id := range cfg.TenantIDs {
		if err := needID("FirebaseConfig.TenantIDs", id); err != nil {
			return nil, err
		}
	}
	cfg.TenantIDs = slices.Clone(cfg.TenantIDs)
	return &Preset{
		Keys: stmigrate.JWKSConfig{URL: keys},
		JWT: stmigrate.JWTConfig{
			Issuer: issuer + cfg.ProjectID, Audience: []string{cfg.ProjectID}, Algorithms: []string{"RS256"},
			Checks: append([]check{cfg.check}, noActor(false)...),
		},
		opaque: "Firebase's refresh token is opaque, and it is no proof of a session: have the client show its ID token",
	}, nil
}

// check applies the rules of the documentation beyond those of every JWT.
func (cfg FirebaseConfig) check(s *stmigrate.OldSession) error {
	if len(s.Subject) > 128 {
		return invalid("the uid (sub) is longer than 128 characters")
	}
	if id, ok := s.Claims["user_id"]; ok && id != s.Subject {
		return invalid("user_id is not sub")
	}
	if s.AuthTime.IsZero() {
		return invalid("the token does not say when the user signed in (auth_time)")
	}
	if s.AuthTime.After(s.IssuedAt) {
		return invalid("the user signed in (auth_time) after the token was issued (iat), or it does not say when that was")
	}
	of, _ := s.Claims["firebase"].(map[string]any)
	provider, _ := of["sign_in_provider"].(string)
	if provider == "" {
		return invalid("the token does not say how the user signed in (firebase.sign_in_provider)")
	}
	if !cfg.AllowAnonymous && (provider == "anonymous" || text(s, "provider_id") == "anonymous") {
		return invalid("the user is anonymous; see AllowAnonymous")
	}
	return cfg.tenant(s, of)
}

func (cfg FirebaseConfig) tenant(s *stmigrate.OldSession, of map[string]any) error {
	value, ok := of["tenant"]
	tenant, _ := value.(string)
	switch {
	case len(cfg.TenantIDs) == 0 && ok:
		return invalid("the user is of a tenant (firebase.tenant), and TenantIDs has none")
	case len(cfg.TenantIDs) > 0 && !slices.Contains(cfg.TenantIDs, tenant):
		return invalid("the user's tenant (firebase.tenant) is none of %q", cfg.TenantIDs)
	case len(cfg.TenantIDs) > 1:
		s.Subject = tenant + "/" + s.Subject
	}
	return nil
}

// Revocation is for [revoke.FirebaseRevokeAllSessionsOfUser]: Firebase ends all sessions of a user or none. Set Token. It is not
// for several TenantIDs, whose subjects are not the uid alone.
func (cfg FirebaseConfig) Revocation() revoke.FirebaseConfig {
	c := revoke.FirebaseConfig{ProjectID: cfg.ProjectID}
	if len(cfg.TenantIDs) == 1 {
		c.TenantID = cfg.TenantIDs[0]
	}
	return c
}
