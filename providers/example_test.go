package providers_test

import (
	"context"
	"fmt"
	"net/http"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/providers"
	"github.com/stmigrate/stmigrate/revoke"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// legacyAuth0 is in docs/auth0.md.
func legacyAuth0(managementToken revoke.TokenSource, client *http.Client) (stmigrate.OldSessionVerifier, stmigrate.Revoker, error) {
	legacy := providers.Auth0Config{
		Domain:         "my-domain.auth0.com",                      // yours
		Audience:       []string{"https://example.com/health-api"}, // the API's identifier
		ClientIDs:      []string{"my_client_id"},                   // whose users are migrated
		SessionIDClaim: "https://example.com/sid",                  // what the Action adds
	}
	preset, err := providers.Auth0(legacy)
	if err != nil {
		return nil, nil, err
	}
	preset.Keys.HTTPClient = client // nil will do
	verifier, err := preset.Verifier()
	if err != nil {
		return nil, nil, err
	}
	revocation := legacy.Revocation()
	revocation.Token, revocation.HTTP.Client = managementToken, client
	revoker, err := revoke.NewAuth0(revocation)
	return verifier, revoker, err
}

func ExampleAuth0() {
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{})
	if err != nil {
		panic(err)
	}
	defer iss.Close()
	auth0 := iss.Auth0() // Auth0, in this process

	verifier, revoker, err := legacyAuth0(revoke.StaticToken(auth0.APIToken), auth0.Client())
	if err != nil {
		panic(err)
	}
	tryLegacy(iss, verifier, revoker, auth0.SignIn("auth0|ada").AccessToken)
	tryLegacy(iss, verifier, revoker, auth0.Token("machine token, default profile"))
	tryLegacy(iss, verifier, revoker, auth0.Token("ID token"))
	// Output:
	// auth0|ada, revoked: true
	// invalid legacy session: the token is a machine's (sub ends with @clients, or gty is client-credentials)
	// invalid legacy session: the token's audience (aud) is none of ["https://example.com/health-api"]
}

// legacyCognito is in docs/cognito.md.
func legacyCognito(refreshTokens revoke.TokenOf, client *http.Client) (stmigrate.OldSessionVerifier, stmigrate.Revoker, error) {
	legacy := providers.CognitoConfig{
		UserPoolID: "us-west-2_example",                    // yours
		ClientIDs:  []string{"57cbishk4j24pabc1234567890"}, // whose users are migrated
	}
	preset, err := providers.Cognito(legacy)
	if err != nil {
		return nil, nil, err
	}
	preset.Keys.HTTPClient = client // nil will do
	verifier, err := preset.Verifier()
	if err != nil {
		return nil, nil, err
	}
	revocation := legacy.Revocation()
	revocation.Token, revocation.HTTP.Client = refreshTokens, client
	revoker, err := revoke.NewCognito(revocation)
	return verifier, revoker, err
}

func ExampleCognito() {
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{})
	if err != nil {
		panic(err)
	}
	defer iss.Close()
	cognito := iss.Cognito() // Cognito, in this process
	session := cognito.SignIn("aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee")

	// This backend keeps its users' refresh tokens.
	refreshTokens := func(context.Context, string, *stmigrate.OldSession) (string, error) { return session.RefreshToken, nil }
	verifier, revoker, err := legacyCognito(refreshTokens, cognito.Client())
	if err != nil {
		panic(err)
	}
	tryLegacy(iss, verifier, revoker, session.AccessToken)
	tryLegacy(iss, verifier, revoker, cognito.Token("ID token of this pool and client"))
	tryLegacy(iss, verifier, revoker, cognito.Token("token of another client of the pool"))
	// Output:
	// aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee, revoked: true
	// invalid legacy session: the token's token_use is none of ["access"]
	// invalid legacy session: the token was issued to another application (client_id) than those in ClientIDs
}

// legacyOkta is in docs/okta.md.
func legacyOkta(clientSecret string, client *http.Client) (stmigrate.OldSessionVerifier, stmigrate.Revoker, error) {
	preset, err := providers.Okta(providers.OktaConfig{
		Domain:              "example.okta.com",                  // yours
		AuthorizationServer: "0oacqf8qaJw56czJi0g4",              // "default", say
		Audience:            []string{"https://api.example.com"}, // the server's: "api://default"
		ClientIDs:           []string{"nmdP1fcyvdVO11AL7ECm"},    // whose users are migrated
	})
	if err != nil {
		return nil, nil, err
	}
	preset.Keys.HTTPClient = client // nil will do
	verifier, err := preset.Verifier()
	if err != nil {
		return nil, nil, err
	}
	over := revoke.HTTP{Client: client}
	application := revoke.ClientAuth{ID: "nmdP1fcyvdVO11AL7ECm", Secret: clientSecret}
	introspection, err := revoke.NewIntrospection(revoke.IntrospectionConfig{
		Endpoint: preset.Endpoints.Introspection, Client: application, HTTP: over,
	})
	if err != nil {
		return nil, nil, err
	}
	revoker, err := revoke.NewRFC7009(revoke.RFC7009Config{
		Endpoint: preset.Endpoints.Revocation, Client: application, HTTP: over,
		Confirm: introspection.ConfirmRevoked, // Okta says 200 to every token
	})
	return verifier, revoker, err
}

func ExampleOkta() {
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{})
	if err != nil {
		panic(err)
	}
	defer iss.Close()
	okta := iss.Okta() // Okta, in this process

	verifier, revoker, err := legacyOkta(okta.ClientSecret, okta.Client())
	if err != nil {
		panic(err)
	}
	tryLegacy(iss, verifier, revoker, okta.SignIn("00ujmkLgagxeRrAg20g3").AccessToken)
	tryLegacy(iss, verifier, revoker, okta.Token("machine token"))
	tryLegacy(iss, verifier, revoker, okta.Token("access token of the org authorization server"))
	// Output:
	// 00ujmkLgagxeRrAg20g3, revoked: true
	// invalid legacy session: the token: no user is named (uid)
	// legacy session of another issuer or kind: the token's issuer (iss) is not "https://example.okta.com/oauth2/0oacqf8qaJw56czJi0g4"
}

// legacyFirebase is in docs/firebase.md.
func legacyFirebase(serviceAccount revoke.TokenSource, client *http.Client) (stmigrate.OldSessionVerifier, stmigrate.Revoker, error) {
	legacy := providers.FirebaseConfig{ProjectID: "example-project"} // yours
	preset, err := providers.Firebase(legacy)                        // FirebaseSessionCookie for session cookies
	if err != nil {
		return nil, nil, err
	}
	preset.Keys.HTTPClient = client // nil will do
	verifier, err := preset.Verifier()
	if err != nil {
		return nil, nil, err
	}
	// All sessions of the user, on every device, or none: stmigrate.LeaveToExpire.
	revocation := legacy.Revocation()
	revocation.Token, revocation.HTTP.Client = serviceAccount, client
	revoker, err := revoke.FirebaseRevokeAllSessionsOfUser(revocation)
	return verifier, revoker, err
}

func ExampleFirebase() {
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{})
	if err != nil {
		panic(err)
	}
	defer iss.Close()
	firebase := iss.Firebase() // Firebase, in this process

	verifier, revoker, err := legacyFirebase(revoke.StaticToken(firebase.APIToken), firebase.Client())
	if err != nil {
		panic(err)
	}
	tryLegacy(iss, verifier, revoker, firebase.SignIn("CArJJ2PQFFd8l2Rf8uptZhl86d33").AccessToken)
	tryLegacy(iss, verifier, revoker, firebase.Token("ID token of an anonymous user"))
	tryLegacy(iss, verifier, revoker, firebase.Token("session cookie"))
	// Output:
	// CArJJ2PQFFd8l2Rf8uptZhl86d33, revoked: true
	// invalid legacy session: the user is anonymous; see AllowAnonymous
	// legacy session of another issuer or kind: the token's issuer (iss) is not "https://securetoken.google.com/example-project"
}

// legacyKeycloak is in docs/keycloak.md.
func legacyKeycloak(serviceAccount revoke.ClientAuth, client *http.Client) (stmigrate.OldSessionVerifier, stmigrate.Revoker, error) {
	legacy := providers.KeycloakConfig{
		BaseURL:   "https://sso.example.com", // yours, as browsers see it
		Realm:     "something",
		ClientIDs: []string{"something"}, // whose users are migrated
	}
	preset, err := providers.Keycloak(legacy)
	if err != nil {
		return nil, nil, err
	}
	preset.Keys.HTTPClient = client // nil will do
	verifier, err := preset.Verifier()
	if err != nil {
		return nil, nil, err
	}
	over := revoke.HTTP{Client: client}
	credentials, err := revoke.NewClientCredentials(revoke.ClientCredentialsConfig{
		TokenURL: preset.JWT.Issuer + "/protocol/openid-connect/token", Client: serviceAccount, HTTP: over,
	})
	if err != nil {
		return nil, nil, err
	}
	revocation := legacy.Revocation()
	revocation.Token, revocation.HTTP = credentials.Token, over
	revoker, err := revoke.NewKeycloak(revocation)
	return verifier, revoker, err
}

func ExampleKeycloak() {
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{})
	if err != nil {
		panic(err)
	}
	defer iss.Close()
	keycloak := iss.Keycloak() // Keycloak, in this process

	verifier, revoker, err := legacyKeycloak(revoke.ClientAuth{ID: keycloak.ClientID, Secret: keycloak.ClientSecret}, keycloak.Client())
	if err != nil {
		panic(err)
	}
	tryLegacy(iss, verifier, revoker, keycloak.SignIn("36fa0f91-f94d-4a0c-afed-6b7d952e47da").AccessToken)
	tryLegacy(iss, verifier, revoker, keycloak.Token("refresh token, signed as an access token"))
	tryLegacy(iss, verifier, revoker, keycloak.Token("machine token"))
	// Output:
	// 36fa0f91-f94d-4a0c-afed-6b7d952e47da, revoked: true
	// invalid legacy session: the token's typ is none of ["Bearer"]
	// invalid legacy session: the token is a machine's: of a service account (client_id, clientId or its name)
}

// tryLegacy does what the exchange does with a legacy session, and prints what becomes of it.
func tryLegacy(iss *stmigratetest.Issuer, verifier stmigrate.OldSessionVerifier, revoker stmigrate.Revoker, token string) {
	ctx := context.Background()
	session, err := verifier.Verify(ctx, token)
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := revoker.Revoke(ctx, token, session); err != nil {
		panic(err)
	}
	fmt.Printf("%s, revoked: %v\n", session.Subject, iss.Revoked(token))
}

// Any OpenID Connect provider, by its metadata.
func ExampleDiscover() {
	iss, err := stmigratetest.StartIssuer(stmigratetest.IssuerConfig{})
	if err != nil {
		panic(err)
	}
	defer iss.Close()
	ctx := context.Background()

	preset, err := providers.Discover(ctx, iss.Issuer(), providers.DiscoverConfig{
		Audience: []string{"api"}, ClientIDs: []string{"web"},
		AllowPrivate: []string{"127.0.0.1"}, // this one is in this process
	})
	if err != nil {
		panic(err)
	}
	preset.JWT.Checks = append(preset.JWT.Checks, func(s *stmigrate.OldSession) error {
		if s.Claims["token_use"] == "id" {
			return fmt.Errorf("an ID token")
		}
		return nil
	})
	verifier, err := preset.Verifier()
	if err != nil {
		panic(err)
	}
	for _, claims := range []stmigratetest.Claims{{"azp": "web"}, {"azp": "web", "token_use": "id"}, {"azp": "other"}} {
		session, err := verifier.Verify(ctx, iss.Token(claims))
		fmt.Println(session != nil, err)
	}
	// Output:
	// true <nil>
	// false invalid legacy session: an ID token
	// false invalid legacy session: the token was issued to another application (azp) than those in ClientIDs
}
