package revoke

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate"
)

// CognitoConfig configures [Cognito]. Region, ClientID and Token are required.
type CognitoConfig struct {
	// Region is that of the user pool: "eu-west-1".
	Region string
	// ClientID is the app client that the refresh token was issued to; ClientSecret its secret, if it has one.
	ClientID, ClientSecret string
	// Token finds the refresh token of the session: Cognito revokes no others.
	Token TokenOf
	// BaseURL replaces "https://cognito-idp.{Region}.amazonaws.com", for VPC endpoints and tests.
	BaseURL string
	HTTP    HTTP
}

// Cognito revokes a refresh token and all access tokens that it brought: RevokeToken. The user's other sessions go on.
//
// Cognito takes the revoked tokens no more, and neither does who asks it; access and ID tokens that are verified by their signature
// alone live until they expire. The cookie of managed login stays. It needs no AWS credentials, and revocation must be enabled
// for the app client. RevokeUserSession cannot end the session of the token that asks, so it is no help here.
//
// Budget is 120 calls a second, the default of the category UserToken in an account and region; that RevokeToken belongs to it
// is not verified against AWS's documentation, and neither is what a token that was revoked before is answered with.
//
// https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_RevokeToken.html
type Cognito struct{ *api }

// NewCognito checks cfg. The error names the field that is missing or wrong.
func NewCognito(cfg CognitoConfig) (*Cognito, error) {
	if err := required("CognitoConfig", [2]string{"ClientID", cfg.ClientID}); err != nil {
		return nil, err
	}
	if cfg.Token == nil {
		return nil, errors.New("revoke: CognitoConfig.Token is required: what clients show is no refresh token")
	}
	a, err := newCognito("CognitoConfig", cfg.Region, cfg.BaseURL, cfg.HTTP)
	if err != nil {
		return nil, err
	}
	a.calls = awsCalls(a, cfg.Token, "RevokeToken", func(token string) map[string]string {
		body := map[string]string{"Token": token, "ClientId": cfg.ClientID}
		if cfg.ClientSecret != "" {
			body["ClientSecret"] = cfg.ClientSecret
		}
		return body
	})
	return &Cognito{a}, nil
}

// CognitoUserConfig configures [CognitoRevokeAllSessionsOfUser]. Region is required.
type CognitoUserConfig struct {
	// Region is that of the user pool: "eu-west-1".
	Region string
	// Token finds an access token of the user with the scope aws.cognito.signin.user.admin. Default: what the client showed,
	// which has that scope if the user signed in by Cognito's API, and seldom if by the hosted pages.
	Token TokenOf
	// BaseURL replaces "https://cognito-idp.{Region}.amazonaws.com", for VPC endpoints and tests.
	BaseURL string
	HTTP    HTTP
}

// CognitoRevokeAllSessionsOfUser ends all sessions of the user with the user's own access token: GlobalSignOut. As with [Cognito],
// tokens that are verified by their signature alone live until they expire, and the cookie of managed login stays. Without the
// user's token it takes AWS credentials (AdminUserGlobalSignOut): have a [stmigrate.RevokerFunc] call AWS's SDK.
//
// https://docs.aws.amazon.com/cognito-user-identity-pools/latest/APIReference/API_GlobalSignOut.html
func CognitoRevokeAllSessionsOfUser(cfg CognitoUserConfig) (*AllSessionsOfUser, error) {
	a, err := newCognito("CognitoUserConfig", cfg.Region, cfg.BaseURL, cfg.HTTP)
	if err != nil {
		return nil, err
	}
	a.over = func(status int, fields map[string]any) bool {
		return status == http.StatusBadRequest && awsCode(fields) == "NotAuthorizedException" &&
			fields["message"] == "Access Token has been revoked"
	}
	a.calls = awsCalls(a, cfg.Token, "GlobalSignOut", func(token string) map[string]string {
		return map[string]string{"AccessToken": token}
	})
	return &AllSessionsOfUser{a, a.limit}, nil
}

// awsCalls is one call of an operation with the token that choose finds.
func awsCalls(a *api, choose TokenOf, operation string, body func(token string) map[string]string) callsFunc {
	return func(ctx context.Context, token string, s *stmigrate.OldSession) ([]request, error) {
		token, err := choose.choose(ctx, token, s)
		if err != nil {
			return nil, err
		}
		r := a.postJSON("/", body(token))
		r.header.Set("Content-Type", "application/x-amz-json-1.1")
		r.header.Set("X-Amz-Target", "AWSCognitoIdentityProviderService."+operation)
		return []request{r}, nil
	}
}

var awsRegion = regexp.MustCompile(`^[a-z]{2}(-[a-z]+)+-[0-9]{1,2}$`)

func newCognito(config, region, base string, h HTTP) (*api, error) {
	if !awsRegion.MatchString(region) {
		return nil, fmt.Errorf("revoke: %s.Region %q is no region (eu-west-1, say)", config, region)
	}
	if base == "" {
		base = "https://cognito-idp." + region + ".amazonaws.com"
	}
	a, err := newAPI(config, base, nil, h)
	if err != nil {
		return nil, err
	}
	a.done = []int{http.StatusOK}
	a.code = awsCode
	a.passing = []string{"TooManyRequestsException", "ThrottlingException", "LimitExceededException"} // with status 400
	a.limit = stmigrate.RevocationBudget{Calls: 120, Per: time.Second}
	return a, nil
}

// awsCode is the name of an error, without a namespace before it.
func awsCode(fields map[string]any) string {
	name, _ := fields["__type"].(string)
	return code(map[string]any{"name": name[strings.LastIndexByte(name, '#')+1:]}, "name")
}
