package cognito_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/stmigrate/stmigrate/login/cognito"
)

func Example() {
	// Cognito, with one user.
	pool := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var request struct {
			AuthParameters struct{ USERNAME, PASSWORD string }
		}
		_ = json.NewDecoder(r.Body).Decode(&request)
		switch {
		case r.Header.Get("X-Amz-Target") == "AWSCognitoIdentityProviderService.GetUser":
			fmt.Fprint(w, `{"Username":"ada","UserAttributes":[{"Name":"sub","Value":"d16b4aa8-8633-4abd-93b3-5062a8e1b5f8"},
				{"Name":"email","Value":"ada@example.com"},{"Name":"email_verified","Value":"true"}]}`)
		case request.AuthParameters.PASSWORD == "correct horse 1":
			fmt.Fprint(w, `{"AuthenticationResult":{"AccessToken":"at","IdToken":"it","RefreshToken":"rt"},"ChallengeParameters":{}}`)
		default:
			w.WriteHeader(http.StatusBadRequest)
			fmt.Fprint(w, `{"__type":"NotAuthorizedException","message":"Incorrect username or password."}`)
		}
	}))
	defer pool.Close()

	store, err := cognito.New(cognito.Config{Endpoint: pool.URL, ClientID: "client"}) // or Region: "eu-central-1"
	if err != nil {
		fmt.Println(err)
		return
	}
	user, err := store.Authenticate(context.Background(), "public", "ada@example.com", "correct horse 1")
	fmt.Println(user.ID, user.Email, user.EmailVerified, err)
	_, err = store.Authenticate(context.Background(), "public", "ada@example.com", "a guess")
	fmt.Println(err)
	// Output:
	// d16b4aa8-8633-4abd-93b3-5062a8e1b5f8 ada@example.com true <nil>
	// wrong e-mail or password
}
