package core_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"

	"github.com/stmigrate/stmigrate/core"
)

func Example() {
	ctx := context.Background()
	client, err := core.New(core.Config{ConnectionURI: startCore(), APIKey: "an-api-key-of-20-chars"})
	if err != nil {
		fmt.Println(err)
		return
	}
	session, err := client.CreateSession(ctx, "", core.NewSession{
		UserID:  "auth0|42",
		Payload: map[string]any{"role": "admin"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(session.UserID, "in", session.TenantID, "has", session.Access)

	_, err = client.GetSession(ctx, "another-handle")
	fmt.Println(errors.Is(err, core.ErrUnauthorised))
	fmt.Println(err)
	// Output:
	// auth0|42 in public has [token]
	// true
	// core: GET /recipe/session: unauthorised: core says "Session does not exist."
}

// startCore stands in for a core: "http://localhost:3567" is where one usually is.
func startCore() string {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method + " " + r.URL.Path {
		case "GET /apiversion":
			_, _ = io.WriteString(w, `{"versions":["3.1","5.2"]}`)
		case "POST /public/recipe/session":
			_, _ = io.WriteString(w, `{"status":"OK",
				"session":{"handle":"a-handle","userId":"auth0|42","userDataInJWT":{"role":"admin"},"tenantId":"public"},
				"accessToken":{"token":"a.jwt.x","expiry":1790003600000,"createdTime":1790000000000},
				"refreshToken":{"token":"r.n.V2","expiry":1798640000000,"createdTime":1790000000000}}`)
		default:
			_, _ = io.WriteString(w, `{"status":"UNAUTHORISED","message":"Session does not exist."}`)
		}
	})).URL
}
