package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/stmigrate/stmigrate/examples/internal/backendtest"
)

func TestBackend(t *testing.T) { backendtest.Run(t, run) }

// TestPanicsLogNoToken: gin's own recovery logs the whole request, but for Authorization, where a connection broke.
func TestPanicsLogNoToken(t *testing.T) {
	sessions, migrator, err := connect(func(name string) string {
		return map[string]string{
			"LEGACY_ISSUER": "https://legacy.example.com/", "LEGACY_JWKS_URL": "https://legacy.example.com/jwks", "LEGACY_AUDIENCE": "api",
			"SUPERTOKENS_CONNECTION_URI": "http://127.0.0.1:1", "API_DOMAIN": "https://api.example.com", "WEBSITE_ORIGINS": "https://app.example.com",
		}[name]
	})
	if err != nil {
		t.Fatal(err)
	}
	var logged bytes.Buffer
	out, errors := gin.DefaultWriter, gin.DefaultErrorWriter
	defer func() { gin.DefaultWriter, gin.DefaultErrorWriter = out, errors }()
	gin.DefaultWriter, gin.DefaultErrorWriter = &logged, &logged

	r := routes(t.Context(), []string{"https://app.example.com"}, sessions, migrator)
	r.GET("/panics", func(*gin.Context) { panic(http.ErrAbortHandler) })
	req := httptest.NewRequest(http.MethodGet, "/panics", nil)
	req.Header.Set("Cookie", "sAccessToken=secret")
	r.ServeHTTP(httptest.NewRecorder(), req)
	if strings.Contains(logged.String(), "secret") {
		t.Errorf("logged: %s", &logged)
	}
}

// TestWrapStops: what a middleware refused reaches no handler, whatever has been written.
func TestWrapStops(t *testing.T) {
	r := gin.New()
	r.GET("/", wrap(func(http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	}), func(*gin.Context) { t.Error("the handler ran") })
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	if w.Code != http.StatusUnauthorized {
		t.Errorf("answered %d", w.Code)
	}
}
