// Package cognito is a legacy user store over an Amazon Cognito user pool: the password is checked with InitiateAuth and the flow
// USER_PASSWORD_AUTH, which needs no AWS credentials and no SDK.
//
//	store, err := cognito.New(cognito.Config{Region: "eu-central-1", ClientID: clientID, ClientSecret: secret})
//
// The app client must allow the flow ("Sign in with username and password", ALLOW_USER_PASSWORD_AUTH), and the pool must take e-mails
// to sign in with. "Prevent user existence errors" should be on; the store answers the same without it, but Cognito takes another
// time.
//
// Override and package login give e-mails in lower case. A pool that was made case-sensitive knows only users whose e-mail is.
//
// # Who it is
//
// Without a Config.Verifier, Cognito is asked again, with the access token (GetUser); with one, the ID token goes through it, which
// saves the call. Either way the e-mail must be the one that was typed: in a pool that lets users choose their user names, somebody
// could have chosen another's address.
//
// # What does not sign in
//
// A challenge is no sign-in: a second factor, a new password for an account that an administrator made ([ErrMoreNeeded]). The same is
// a user who has not confirmed the e-mail, or must reset the password. Disabled users and those with too many attempts are
// [ErrBlocked].
//
// # The session that comes with it
//
// Each right password makes tokens, which nobody needs. Config.Revoker ends them at once, with the refresh token (RevokeToken);
// without one they live until they expire.
//
// # Limits
//
// All sign-ins of an AWS account and region share 120 requests a second by default. To Cognito they all come from the backend, so
// that its threat protection looks at the backend's address unless Config.ClientIP tells the user's.
//
// # Directory
//
// InitiateAuth finds no users without their password. A [stmigrate.LegacyDirectory] over AdminGetUser and ListUsers, which need AWS
// credentials, can stand beside the store:
//
//	struct {
//		*cognito.Store
//		stmigrate.LegacyDirectory
//	}{store, directory}
//
// Else Override and package login need SkipLegacyDirectory, with what it says there.
package cognito
