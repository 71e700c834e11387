package stmigrate

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/fdi"
)

// errNoRefresh: a refresh that cannot succeed, so what the client still holds is of no use.
var errNoRefresh = errors.New("nothing to refresh")

// ServeHTTP answers the two calls that every SuperTokens frontend SDK makes: POST {APIBasePath}/session/refresh and POST
// {APIBasePath}/signout. Mount it at APIBasePath + "/". A refresh token that was spent before is theft: the session is
// revoked for everybody who holds it.
func (s *Sessions) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var serve func(http.ResponseWriter, *http.Request) error
	switch r.URL.Path {
	case s.wire.RefreshPath:
		serve = s.refresh
	case s.signOutPath:
		serve = s.signOut
	default:
		http.NotFound(w, r)
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		return
	}
	if err := serve(w, r); err != nil {
		s.renderError(w, err)
	}
}

func (s *Sessions) refresh(w http.ResponseWriter, r *http.Request) error {
	var inHeader, inCookie string
	if token := fdi.BearerToken(r); s.transfer != TransferCookie && fdi.IsRefreshToken(token) {
		inHeader = token
	}
	if inHeader == "" {
		if done, err := s.clearOlderDomain(w, r); done || err != nil {
			return err
		}
	}
	if cookies := fdi.CookieTokens(r, fdi.RefreshCookie); len(cookies) > 0 && s.transfer != TransferHeader {
		inCookie = cookies[0]
	}
	token, cookies := inHeader, false
	if token == "" {
		token, cookies = inCookie, true
	}
	switch {
	case token != "":
	case r.Header.Get("Sec-Fetch-Mode") == "navigate":
		// No SDK's doing: a form on another website comes without the cookies, and the answer to it could take them away.
		return fmt.Errorf("%w: a navigation without a refresh token", ErrNoSession)
	default:
		return fmt.Errorf("%w: %w: no refresh token in the request", ErrNoSession, errNoRefresh)
	}
	if cookies && s.antiCSRF == AntiCSRFViaCustomHeader && r.Header.Get("rid") == "" {
		// The SDKs take the tokens away here, by which any website could sign the user out.
		return fmt.Errorf("%w: the rid header is missing, which no other site can send", ErrNoSession)
	}
	t, err := s.core.RefreshSession(r.Context(), core.RefreshSession{
		RefreshToken: token, AntiCSRFToken: r.Header.Get("anti-csrf"),
		EnableAntiCSRF: cookies && s.antiCSRF == AntiCSRFViaToken, StaticKey: s.static,
	})
	if theft := (*core.TheftError)(nil); errors.As(err, &theft) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), undoTimeout)
		defer cancel()
		if _, revokeErr := s.RevokeSession(ctx, theft.Handle); revokeErr != nil {
			return revokeErr
		}
		return fmt.Errorf("%w: %w", ErrNoSession, err)
	}
	if cookies && s.antiCSRF == AntiCSRFViaToken && r.Header.Get("anti-csrf") == "" && errors.Is(err, core.ErrUnauthorised) {
		return fmt.Errorf("%w: %v; the anti-csrf header is missing, which no other site can send", ErrNoSession, err)
	}
	if err != nil {
		return sessionError(err)
	}
	s.spent.add(t.Handle)
	h := make(http.Header)
	// What came in cookies beside a header is an older session's.
	s.wire.Clear(h, !cookies && inCookie != "", false)
	if err := s.set(h, t, cookies); err != nil {
		return err
	}
	fdi.Merge(w.Header(), h)
	writeJSON(w, http.StatusOK, "{}")
	return nil
}

// clearOlderDomain removes the cookies of an earlier CookieDomain, which browsers send along and SDKs may take for the
// right ones. The client refreshes again then, with what is left.
func (s *Sessions) clearOlderDomain(w http.ResponseWriter, r *http.Request) (done bool, err error) {
	if s.transfer == TransferHeader {
		return false, nil
	}
	older := s.wire
	for _, name := range []string{fdi.AccessCookie, fdi.RefreshCookie} {
		if len(r.CookiesNamed(name)) < 2 {
			continue
		}
		if s.olderDomain == nil {
			return false, fmt.Errorf("the request carries several %s cookies; if the CookieDomain was changed, "+
				"set SessionsConfig.OlderCookieDomain to the earlier one", name)
		}
		older.CookieDomain = *s.olderDomain
		older.ClearCookie(w.Header(), name)
		done = true
	}
	if done {
		writeJSON(w, http.StatusOK, "{}")
	}
	return done, nil
}

func (s *Sessions) signOut(w http.ResponseWriter, r *http.Request) error {
	session, err := s.Verify(w, r, VerifyOptions{})
	if err != nil {
		return err
	}
	if err := session.Revoke(r.Context()); err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, `{"status":"OK"}`)
	return nil
}

// Start creates a session for a user who has just signed in, and puts its tokens into w's headers. It is for logins; an
// exchange goes through [Migrator]. It comes before the body is begun.
func (s *Sessions) Start(w http.ResponseWriter, r *http.Request, u User) (*Session, error) {
	t, header, err := s.mint(r.Context(), r, u)
	if err != nil {
		return nil, err
	}
	token, err := readAccessToken(t.Access.Token)
	if err != nil {
		return nil, s.unmint(r.Context(), t.Handle, fmt.Errorf("the core's answer: %w", err))
	}
	fdi.Merge(w.Header(), header)
	return &Session{sessions: s, w: w, cookies: s.cookieMode(r), token: token}, nil
}

// UserSessions returns the handles of a user's live sessions, in one tenant or, with tenantID "", in all of them.
func (s *Sessions) UserSessions(ctx context.Context, tenantID, userID string) ([]string, error) {
	handles, err := s.core.UserSessions(ctx, tenantID, userID)
	if err != nil {
		return nil, coreError(err)
	}
	return handles, nil
}

// RevokeUser ends all sessions of a user, in one tenant or, with tenantID "", in all of them, and returns how many there
// were. Access tokens that are out stay good until they expire, where no API checks the database.
func (s *Sessions) RevokeUser(ctx context.Context, tenantID, userID string) (int, error) {
	removed, err := s.core.RemoveUserSessions(ctx, tenantID, userID)
	if err != nil {
		return 0, coreError(err)
	}
	return len(removed), nil
}
