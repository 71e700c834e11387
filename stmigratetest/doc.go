// Package stmigratetest is the test kit of stmigrate: what stands around a migration, in one process, and can be made to fail.
// It is for tests, examples and demos. Production code must not import it.
//
// # The legacy provider
//
// [NewIssuer] starts a provider for a test, and [StartIssuer] one for an example or a demo. It signs access tokens, keeps
// sessions, and speaks HTTP on a loopback address:
//
//	iss := stmigratetest.NewIssuer(t)
//	verifier, err := stmigrate.NewJWKSVerifier(
//		stmigrate.JWKSConfig{URL: iss.JWKSURL()},
//		stmigrate.JWTConfig{Issuer: iss.Issuer(), Audience: []string{"api"}},
//	)
//	token := iss.Token(stmigratetest.Claims{"sub": "auth0|42"})
//
// Its endpoints, named as Down and the other switches take them:
//
//	GET  /.well-known/openid-configuration   discovery
//	GET  /.well-known/jwks.json              the public keys
//	GET  /userinfo, POST /userinfo           who a bearer is; 401 if unknown, expired or revoked
//	POST /introspect                         RFC 7662
//	POST /revoke                             RFC 7009; 200 for unknown tokens, too
//	POST /token                              refresh_token with rotation and reuse detection; password for Issuer.AddUser
//	POST /logout                             ends the session of a bearer
//	GET  /attacker/jwks.json, /attacker/cert.pem   keys of an attacker; nobody may ever ask for them
//
// It plays the providers that package providers has proven presets for, under their own addresses, with the tokens of their
// documentation and what revokes them: [Issuer.Auth0], [Issuer.Cognito], [Issuer.Okta], [Issuer.Firebase], [Issuer.Keycloak].
//
//	legacy := stmigratetest.NewIssuer(t).Cognito()
//	preset.Keys.HTTPClient = legacy.Client()
//	token := legacy.SignIn("…").AccessToken
//
// # Faults
//
// Whatever a provider does wrong on a bad day is a switch: Down, Slow, Hang, Status, AfterCommit and Truncate drop, delay,
// block, fail or cut the answers of the routes they are given, or of all routes; [Issuer.Redirect], [Issuer.EmptyKeys],
// [Issuer.OddKeys] and [Issuer.SetJWKS] answer with something else. [Issuer.Heal] ends them all. Requests is the log of what
// was asked, so that a test can say "and nobody fetched the keys again":
//
//	iss.Down("/.well-known/jwks.json")
//	…
//	if n := len(iss.Requests("GET /.well-known/jwks.json")); n != 1 { … }
//
// # Right and wrong tokens
//
// [Issuer.Wrong] makes a token for every known way to attack or to break a verifier, each a right token with one thing
// changed, and [Issuer.Good] makes the unusual ones that are right:
//
//	for _, w := range iss.Wrong() {
//		if _, err := verifier.Verify(ctx, w.Token); err == nil {
//			t.Errorf("%s: %s: accepted", w.Category, w.Name)
//		}
//	}
//
// [Issuer.Sign], [Issuer.SignRaw] and [Twin] make any other.
//
// # The SuperTokens core
//
// [NewCore] and [StartCore] serve a core in memory that answers as supertokens-core 10.0 does, at any CDI version from 2.21 to
// 5.2. It has the same switches and log, Advance moves its clock, RotateKeys signs with a new key, and Sessions and Users show
// what it holds. examples/devcore serves one to programs in other languages.
//
// # Fakes
//
// [FakeVerifier] and [FakeSessions] stand for a provider and a core where neither matters, [FakeLegacyUsers] for a legacy user store.
//
// # Conformance suites
//
// Whoever implements an interface of stmigrate holds it to its contract with [TestVerifier], [TestExchangeStore] (the
// optional interfaces of a store, too), [TestSessionMinter], [TestRevoker], [TestEmailPassword], [TestLegacyUserStore] or [TestLedger].
// Each check has a name that says what must hold:
//
//	func TestMyStore(t *testing.T) {
//		stmigratetest.TestExchangeStore(t, func(t *testing.T) stmigratetest.StoreUnderTest {
//			return stmigratetest.StoreUnderTest{Store: newStore(t)}
//		})
//	}
package stmigratetest
