// Package passwordgrant is a legacy user store over a provider's token endpoint: the password is checked with OAuth 2.0's resource
// owner password credentials grant (RFC 6749 §4.3), which Auth0, Keycloak, Okta and others still have for applications of the house.
//
//	keys, err := stmigrate.NewJWKSVerifier(
//		stmigrate.JWKSConfig{URL: "https://example.eu.auth0.com/.well-known/jwks.json"},
//		stmigrate.JWTConfig{Issuer: "https://example.eu.auth0.com/", Audience: []string{clientID}})
//	store, err := passwordgrant.New(passwordgrant.Config{
//		TokenURL: "https://example.eu.auth0.com/oauth/token",
//		ClientID: clientID, ClientSecret: secret,
//		Realm:    "Username-Password-Authentication",
//		Verifier: keys,
//	})
//
// # Who it is
//
// A 200 alone signs nobody in. The ID token of the answer (or its access token, see [Config.UseAccessToken]) goes through
// Config.Verifier, and its e-mail must be the one that was typed: where a provider takes user names, somebody could have chosen
// another's e-mail address for one. An access token that is opaque, or has no e-mail, needs a verifier that asks the provider's
// userinfo endpoint, whose answer it puts into Claims.
//
// # What is asked of the provider
//
// The grant must be switched on for the client, with a secret: Auth0: Application, Advanced Settings, Grant Types, Password, and
// either a default directory for the tenant or Realm. Keycloak: the client's "Direct access grants". Okta: an application of the type
// native or web with Resource Owner Password. Users with a second factor cannot sign in by this grant: see [ErrMoreNeeded].
//
// To the provider all passwords seem to come from the backend's address, so that its protection against guessing either blocks
// everybody or nobody. Auth0 takes the user's address from a header: see [Config.ClientIP].
//
// # The session that comes with it
//
// Each right password opens a session at the provider, which nobody needs. Config.Revoker ends it at once; without one it lives until
// it expires.
//
// # Directory
//
// The grant finds no users without their password. A [stmigrate.LegacyDirectory] over the provider's management API can stand beside
// the store:
//
//	struct {
//		*passwordgrant.Store
//		stmigrate.LegacyDirectory
//	}{store, directory}
//
// Else Override and package login need SkipLegacyDirectory, with what it says there.
package passwordgrant
