package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// audience is what the provider's tokens are for.
const audience = "https://api.example.com"

// user is a user of the app. There is one, and everybody may know her password.
type user struct{ ID, Name, Email, password string }

var ada = user{ID: "legacy|ada", Name: "Ada Lovelace", Email: "ada@example.com", password: "analytical engine"}

// legacyVerifier checks the provider's tokens by its public keys.
func legacyVerifier(legacy *stmigratetest.Issuer) (*stmigrate.JWTVerifier, error) {
	return stmigrate.NewJWKSVerifier(
		stmigrate.JWKSConfig{URL: legacy.JWKSURL()},
		stmigrate.JWTConfig{Issuer: legacy.Issuer(), Audience: []string{audience}})
}

// before is the backend without SuperTokens: a sign-in that hands the provider's access token to the page, which keeps it, and
// an API that wants it back as a bearer.
func before(legacy *stmigratetest.Issuer, verifier stmigrate.OldSessionVerifier) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /sign-in", func(w http.ResponseWriter, r *http.Request) {
		email, password, ok := credentials(w, r)
		if !ok {
			return
		}
		token, err := passwordGrant(r.Context(), legacy.TokenURL(), email, password)
		if err != nil {
			signInFailed(w, err)
			return
		}
		reply(w, http.StatusOK, map[string]string{"status": "OK", "accessToken": token, "name": ada.Name, "email": ada.Email})
	})
	mux.HandleFunc("GET /api/me", func(w http.ResponseWriter, r *http.Request) {
		session, err := verifier.Verify(r.Context(), bearer(r))
		if err != nil {
			status, code := stmigrate.StatusOf(err)
			reply(w, status, map[string]string{"status": code})
			return
		}
		me(w, r.WithContext(stmigrate.WithIdentity(r.Context(), stmigrate.Identity{UserID: session.Subject, Legacy: session})))
	})
	mux.Handle("POST /legacy/sign-out", legacySignOut(legacy))
	return mux
}

func legacySignOut(legacy *stmigratetest.Issuer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := endLegacySession(r.Context(), legacy.LogoutURL(), bearer(r)); err != nil {
			reply(w, http.StatusServiceUnavailable, map[string]string{"status": "UNAVAILABLE"})
			return
		}
		reply(w, http.StatusOK, map[string]string{"status": "OK"})
	}
}

// me tells who asks, and what their session is. Both releases answer with it, so that the page has one way to ask.
func me(w http.ResponseWriter, r *http.Request) {
	id, ok := stmigrate.IdentityFrom(r.Context())
	if !ok || id.UserID != ada.ID {
		reply(w, http.StatusForbidden, map[string]string{"status": "UNKNOWN_USER"})
		return
	}
	answer := map[string]any{"userId": id.UserID, "name": ada.Name, "email": ada.Email}
	if id.Legacy != nil {
		answer["session"] = "legacy"
		answer["sessionId"] = id.Legacy.SessionID
		answer["expiresAt"] = id.Legacy.ExpiresAt
		answer["payload"] = id.Legacy.Claims
	} else {
		session := stmigrate.SessionFrom(r.Context())
		payload := session.AccessTokenPayload()
		answer["session"] = "supertokens"
		answer["sessionId"] = session.Handle()
		answer["tenantId"] = session.TenantID()
		answer["payload"] = payload
		if exp, ok := payload["exp"].(json.Number); ok {
			seconds, _ := exp.Int64()
			answer["expiresAt"] = time.Unix(seconds, 0)
		}
	}
	reply(w, http.StatusOK, answer)
}

// passwordGrant signs in at the provider (RFC 6749 §4.3).
func passwordGrant(ctx context.Context, endpoint, email, password string) (accessToken string, err error) {
	form := url.Values{"grant_type": {"password"}, "username": {email}, "password": {password}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := providerClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("%w: %w", stmigrate.ErrUnavailable, err)
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusBadRequest, http.StatusUnauthorized:
		return "", stmigrate.ErrWrongCredentials
	default:
		return "", fmt.Errorf("%w: the provider answered %s", stmigrate.ErrUnavailable, resp.Status)
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&answer); err != nil || answer.AccessToken == "" {
		return "", fmt.Errorf("%w: the provider's answer holds no access token", stmigrate.ErrUnavailable)
	}
	return answer.AccessToken, nil
}

// endLegacySession signs out at the provider. A session that is over already is no error.
func endLegacySession(ctx context.Context, endpoint, token string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := providerClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusNoContent && resp.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("the provider answered %s", resp.Status)
	}
	return nil
}

var providerClient = &http.Client{Timeout: 5 * time.Second}

// credentials reads the sign-in form. If it cannot, the request is answered.
func credentials(w http.ResponseWriter, r *http.Request) (email, password string, ok bool) {
	var form struct{ Email, Password string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&form); err != nil {
		reply(w, http.StatusBadRequest, map[string]string{"status": "BAD_REQUEST"})
		return "", "", false
	}
	return form.Email, form.Password, true
}

// signInFailed answers 403 to wrong credentials: to SuperTokens' frontend SDK a 401 says that a session is over.
func signInFailed(w http.ResponseWriter, err error) {
	if errors.Is(err, stmigrate.ErrWrongCredentials) {
		reply(w, http.StatusForbidden, map[string]string{"status": "WRONG_CREDENTIALS"})
		return
	}
	reply(w, http.StatusServiceUnavailable, map[string]string{"status": "UNAVAILABLE"})
}

// bearer is the token of an Authorization header, or "".
func bearer(r *http.Request) string {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return token
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
