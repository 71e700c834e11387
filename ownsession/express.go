package ownsession

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate"
)

// ExpressConfig configures [Express]. Rules, Secrets, Get and Delete are required.
type ExpressConfig struct {
	// Rules: with passport, UserID is Path{"passport", "user"}.
	Rules Rules
	// Secrets are those of express-session's option secret, in any order. A cookie signed with any of them is good.
	Secrets []string
	// Get returns what the store keeps of a session ID, the JSON text, and when it ends. No data, or sql.ErrNoRows, is a session
	// that is over. It must look with the store's own prefix ("sess:" in connect-redis).
	//
	// expires is what the store says: the key's TTL, the column expire. The zero time makes cookie.expires in the data count, and
	// that is wrong with stores whose touch does not rewrite the data, which are most (connect-redis, connect-pg-simple): users
	// who were active would look expired.
	Get func(ctx context.Context, id string) (data []byte, expires time.Time, err error)
	// Delete deletes a session by its ID. One that is not there is no error.
	Delete func(ctx context.Context, id string) error
}

// Express verifies and ends sessions of express-session by their cookie, connect.sid in most applications: s:ID.signature,
// where the signature is an HMAC-SHA256 (package cookie-signature). It is both an [stmigrate.OldSessionVerifier] and an
// [stmigrate.Revoker]. Safe for concurrent use.
type Express struct {
	stored
	secrets []string
}

// NewExpress checks cfg. The error names the field that is missing or wrong.
func NewExpress(cfg ExpressConfig) (*Express, error) {
	r, err := cfg.Rules.check("Express", 0)
	if err != nil {
		return nil, err
	}
	if len(cfg.Secrets) == 0 || slices.Contains(cfg.Secrets, "") {
		return nil, errors.New("ownsession: ExpressConfig.Secrets is required, and none may be empty: express-session's option secret")
	}
	d, err := newStored(r, cfg.Get, cfg.Delete)
	if err != nil {
		return nil, err
	}
	return &Express{d, slices.Clone(cfg.Secrets)}, nil
}

// id returns the session ID of a cookie whose signature holds.
func (e *Express) id(token string) (string, error) {
	value, err := cookieValue(token)
	if err != nil {
		return "", err
	}
	const macSize = 43 // of 32 bytes in base64, without padding
	signed, ok := strings.CutPrefix(value, "s:")
	dot := len(signed) - macSize - 1
	if !ok || dot < 0 || signed[dot] != '.' || !isID(signed[:dot]) {
		return "", fmt.Errorf("%w: not of the form s:ID.signature", stmigrate.ErrNotMine)
	}
	id := signed[:dot]
	for _, secret := range e.secrets {
		mac := hmac.New(sha256.New, []byte(secret))
		mac.Write([]byte(id))
		want := base64.RawStdEncoding.EncodeToString(mac.Sum(nil))
		if subtle.ConstantTimeCompare([]byte(signed[dot+1:]), []byte(want)) == 1 {
			return id, nil
		}
	}
	return "", fmt.Errorf("%w: none of %d secrets signed the cookie", stmigrate.ErrNotMine, len(e.secrets))
}

// Verify implements [stmigrate.OldSessionVerifier]. The store is asked only for IDs whose signature holds.
//
// Errors: [stmigrate.ErrNotMine] if no secret signed the cookie, [stmigrate.ErrInvalidSession] if the store does not have it or
// nobody is logged in, [stmigrate.ErrExpiredSession], [stmigrate.ErrUnavailable] if Get fails.
func (e *Express) Verify(ctx context.Context, token string) (*stmigrate.OldSession, error) {
	id, err := e.id(token)
	if err != nil {
		return nil, err
	}
	text, expires, err := e.load(ctx, id)
	if err != nil {
		return nil, err
	}
	data, err := parseJSON(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", stmigrate.ErrInvalidSession, err)
	}
	cookie, ok := data["cookie"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%w: data without the member cookie, which express-session writes always", stmigrate.ErrInvalidSession)
	}
	if end := cookie["expires"]; expires.IsZero() && end != nil {
		if expires, err = instant(end); err != nil {
			return nil, fmt.Errorf("%w: cookie.expires: %w", stmigrate.ErrInvalidSession, err)
		}
	}
	s, err := e.read(data, expires)
	if err != nil {
		return nil, err
	}
	s.SessionID = hashed(id)
	return e.finish(ctx, s)
}

// Revoke implements [stmigrate.Revoker] by ExpressConfig.Delete. Its errors are [stmigrate.RevokeError].
func (e *Express) Revoke(ctx context.Context, token string, s *stmigrate.OldSession) error {
	id, err := e.id(token)
	if err != nil {
		return permanent("%w", err)
	}
	return e.revoke(ctx, id, s)
}
