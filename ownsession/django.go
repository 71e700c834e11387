package ownsession

import (
	"bytes"
	"compress/zlib"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate"
)

// DjangoConfig configures [Django]. Rules, SecretKeys, Get, Delete, and PasswordHash or SkipAuthHash are required.
type DjangoConfig struct {
	// Rules: UserID is Path{"_auth_user_id"} by default.
	Rules Rules
	// SecretKeys are SECRET_KEY and SECRET_KEY_FALLBACKS, 32 bytes at least each.
	SecretKeys []string
	// Get returns the row of a session key (SELECT session_data, expire_date FROM django_session WHERE session_key = …). No data,
	// or sql.ErrNoRows, is a session that is over.
	Get func(ctx context.Context, key string) (data []byte, expires time.Time, err error)
	// Delete deletes a row by its session key. One that is not there is no error.
	Delete func(ctx context.Context, key string) error
	// PasswordHash returns what the user's row has as password, and sql.ErrNoRows for one that is not there or not active (SELECT
	// password FROM auth_user WHERE id = … AND is_active). The session's _auth_user_hash is held against it, as Django does, so
	// that a new password ends the sessions from before.
	PasswordHash func(ctx context.Context, userID string) (string, error)
	// SkipAuthHash leaves _auth_user_hash aside: for user models without get_session_auth_hash alone. It MUST NOT be set
	// otherwise: sessions would outlive a new password and a user who was switched off.
	SkipAuthHash bool
}

// Django verifies and ends sessions of Django 3.1 and later by their row: engines db and cached_db, with the JSON serialiser.
// Rows that hold pickle, or the format of Django before 3.1, are refused. It is both an [stmigrate.OldSessionVerifier] and an
// [stmigrate.Revoker]. Safe for concurrent use.
//
// After Delete the engine cached_db finds the session in its cache until it leaves there: Delete should delete it there, too
// (key "django.contrib.sessions.cached_db" and the session key).
type Django struct {
	stored
	signer djangoSigner
	user   djangoUser
}

// NewDjango checks cfg. The error names the field that is missing or wrong.
func NewDjango(cfg DjangoConfig) (*Django, error) {
	r, user, err := checkDjango("Django", cfg.Rules, cfg.SecretKeys, cfg.PasswordHash, cfg.SkipAuthHash)
	if err != nil {
		return nil, err
	}
	d, err := newStored(r, cfg.Get, cfg.Delete)
	if err != nil {
		return nil, err
	}
	return &Django{d, newDjangoSigner("django.contrib.sessions.SessionStore", cfg.SecretKeys), user}, nil
}

func checkDjango(
	kind string, rules Rules, keys []string, password func(context.Context, string) (string, error), skip bool,
) (*rules, djangoUser, error) {
	if len(rules.UserID) == 0 {
		rules.UserID = Path{"_auth_user_id"}
	}
	r, err := rules.check(kind, 0)
	switch {
	case err != nil:
		return nil, djangoUser{}, err
	case password == nil && !skip:
		return nil, djangoUser{}, fmt.Errorf("ownsession: %sConfig.PasswordHash is required: _auth_user_hash is held against it", kind)
	case password != nil && skip:
		return nil, djangoUser{}, fmt.Errorf("ownsession: %sConfig.PasswordHash and SkipAuthHash contradict each other", kind)
	}
	return r, djangoUser{slices.Clone(keys), password}, strong(kind+"Config.SecretKeys", keys)
}

// djangoKey tells whether a cookie is a session key: 32 of a-z and 0-9 (SessionBase._get_new_session_key).
func djangoKey(token string) bool {
	return len(token) == 32 && strings.Trim(token, "abcdefghijklmnopqrstuvwxyz0123456789") == ""
}

// Verify implements [stmigrate.OldSessionVerifier].
//
// Errors: [stmigrate.ErrNotMine] if the cookie is no session key, [stmigrate.ErrInvalidSession] if there is no such row, no secret
// key signed it, nobody is logged in, or the password is another by now, [stmigrate.ErrExpiredSession],
// [stmigrate.ErrUnavailable] if Get or PasswordHash fails.
func (d *Django) Verify(ctx context.Context, token string) (*stmigrate.OldSession, error) {
	if !djangoKey(token) {
		return nil, fmt.Errorf("%w: not a session key, 32 of a-z and 0-9", stmigrate.ErrNotMine)
	}
	text, expires, err := d.load(ctx, token)
	if err != nil {
		return nil, err
	}
	if expires.IsZero() {
		return nil, errors.New("ownsession: DjangoConfig.Get returned no expire_date, which every row has")
	}
	data, _, err := d.signer.open(string(text))
	if err != nil {
		return nil, fmt.Errorf("%w: session_data: %w", stmigrate.ErrInvalidSession, err)
	}
	s, err := d.read(data, expires)
	if err != nil {
		return nil, err
	}
	s.SessionID = hashed(token)
	if err := d.user.check(ctx, d.rules, s); err != nil {
		return nil, err
	}
	return d.finish(ctx, s)
}

// Revoke implements [stmigrate.Revoker] by DjangoConfig.Delete. Its errors are [stmigrate.RevokeError].
func (d *Django) Revoke(ctx context.Context, token string, s *stmigrate.OldSession) error {
	if !djangoKey(token) {
		return permanent("the token is no session key of Django")
	}
	return d.revoke(ctx, token, s)
}

// DjangoCookieConfig configures [DjangoCookie]. Rules, SecretKeys, SessionID or SkipSessionID, and PasswordHash or SkipAuthHash
// are required.
type DjangoCookieConfig struct {
	// Rules, SecretKeys, PasswordHash and SkipAuthHash are as in [DjangoConfig].
	Rules        Rules
	SecretKeys   []string
	PasswordHash func(ctx context.Context, userID string) (string, error)
	SkipAuthHash bool
	// MaxAge is SESSION_COOKIE_AGE. Default: two weeks, as in Django.
	MaxAge time.Duration
	// SessionID is where the application keeps an ID of its own that stays the same while the user is logged in, random and
	// written at login. Django's signed cookies have none.
	SessionID Path
	// SkipSessionID makes each cookie a session of its own: Django signs a new one whenever the session changes, and each of them
	// can be exchanged once. It MUST NOT be set where one login must become one session, whoever copied its cookies.
	SkipSessionID bool
}

// DjangoCookie verifies sessions of Django 3.1 and later that live in the cookie: engine signed_cookies, with the JSON
// serialiser. Cookies that hold pickle are refused. It is an [stmigrate.OldSessionVerifier]. Safe for concurrent use.
//
// The cookie is the session: nothing can end it but its age, a new password of the user or a new SECRET_KEY.
// [stmigrate.LeaveToExpire] states that, and revoke.ClearCookies takes the cookie from this browser.
type DjangoCookie struct {
	*rules
	signer    djangoSigner
	user      djangoUser
	maxAge    time.Duration
	sessionID Path
}

// NewDjangoCookie checks cfg. The error names the field that is missing or wrong.
func NewDjangoCookie(cfg DjangoCookieConfig) (*DjangoCookie, error) {
	r, user, err := checkDjango("DjangoCookie", cfg.Rules, cfg.SecretKeys, cfg.PasswordHash, cfg.SkipAuthHash)
	switch {
	case err != nil:
		return nil, err
	case len(cfg.SessionID) == 0 && !cfg.SkipSessionID:
		return nil, errors.New("ownsession: DjangoCookieConfig.SessionID is required: Django's signed cookies have no ID of their own")
	case len(cfg.SessionID) > 0 && cfg.SkipSessionID:
		return nil, errors.New("ownsession: DjangoCookieConfig.SessionID and SkipSessionID contradict each other")
	case cfg.MaxAge < 0:
		return nil, fmt.Errorf("ownsession: DjangoCookieConfig.MaxAge is negative: %v", cfg.MaxAge)
	case cfg.MaxAge == 0:
		cfg.MaxAge = 14 * 24 * time.Hour
	}
	signer := newDjangoSigner("django.contrib.sessions.backends.signed_cookies", cfg.SecretKeys)
	return &DjangoCookie{r, signer, user, cfg.MaxAge, slices.Clone(cfg.SessionID)}, nil
}

// Verify implements [stmigrate.OldSessionVerifier].
//
// Errors: [stmigrate.ErrNotMine] if no secret key signed the cookie, [stmigrate.ErrInvalidSession] if it holds no JSON, nobody is
// logged in or the password is another by now, [stmigrate.ErrExpiredSession], [stmigrate.ErrUnavailable] if PasswordHash fails.
func (d *DjangoCookie) Verify(ctx context.Context, token string) (*stmigrate.OldSession, error) {
	if len(token) > maxCookie {
		return nil, fmt.Errorf("%w: a cookie of %d bytes, at most %d expected", stmigrate.ErrNotMine, len(token), maxCookie)
	}
	data, signedAt, err := d.signer.open(token)
	switch {
	case errors.Is(err, errSignature):
		return nil, fmt.Errorf("%w: %w", stmigrate.ErrNotMine, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", stmigrate.ErrInvalidSession, err)
	case signedAt.After(d.Now().Add(clockSkew)):
		return nil, fmt.Errorf("%w: signed in the future, at %v", stmigrate.ErrInvalidSession, signedAt.UTC())
	}
	// The time of the signature is not when the user logged in: Django signs anew when the session changes.
	s, err := d.read(data, signedAt.Add(d.maxAge))
	if err != nil {
		return nil, err
	}
	if len(d.sessionID) == 0 {
		s.TokenID = hashed(token)
	} else {
		id, err := name(d.sessionID, data)
		if err != nil {
			return nil, fmt.Errorf("%w: DjangoCookieConfig.SessionID: %w", stmigrate.ErrInvalidSession, err)
		}
		s.SessionID = hashed(id)
	}
	if err := d.user.check(ctx, d.rules, s); err != nil {
		return nil, err
	}
	return d.finish(ctx, s)
}

// djangoUser holds a session against the user's password.
type djangoUser struct {
	keys     []string
	password func(ctx context.Context, userID string) (string, error)
}

func (u *djangoUser) check(ctx context.Context, r *rules, s *stmigrate.OldSession) error {
	if u.password == nil {
		return nil
	}
	got, ok := s.Claims["_auth_user_hash"].(string)
	if !ok {
		return fmt.Errorf("%w: no _auth_user_hash, which Django writes at login", stmigrate.ErrInvalidSession)
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	password, err := u.password(ctx, s.Subject)
	switch {
	case errors.Is(err, sql.ErrNoRows) || err == nil && password == "":
		return fmt.Errorf("%w: its user is gone or not active", stmigrate.ErrInvalidSession)
	case err != nil:
		return failed(r.kind+"Config.PasswordHash", err)
	}
	for _, key := range u.keys {
		want := djangoMAC("django.contrib.auth.models.AbstractBaseUser.get_session_auth_hash", key, password)
		if subtle.ConstantTimeCompare([]byte(hex.EncodeToString(want)), []byte(got)) == 1 {
			return nil
		}
	}
	return fmt.Errorf("%w: from before the user's last change of password", stmigrate.ErrInvalidSession)
}

// djangoMAC is django.utils.crypto.salted_hmac with SHA-256.
func djangoMAC(salt, secret, value string) []byte {
	key := sha256.Sum256([]byte(salt + secret))
	mac := hmac.New(sha256.New, key[:])
	mac.Write([]byte(value))
	return mac.Sum(nil)
}

// djangoSigner reads what django.core.signing.dumps wrote: data:timestamp:signature.
type djangoSigner struct {
	salt string
	keys []string
}

func newDjangoSigner(salt string, keys []string) djangoSigner {
	return djangoSigner{salt + "signer", slices.Clone(keys)}
}

var errSignature = errors.New("no secret key signed it")

// open returns the data, and when they were signed, of a text whose signature holds. Nothing of it is read before.
func (d *djangoSigner) open(text string) (map[string]any, time.Time, error) {
	i := strings.LastIndexByte(text, ':')
	if i < 0 || !slices.ContainsFunc(d.keys, func(key string) bool {
		want := base64.RawURLEncoding.EncodeToString(djangoMAC(d.salt, key, text[:i]))
		return subtle.ConstantTimeCompare([]byte(text[i+1:]), []byte(want)) == 1
	}) {
		return nil, time.Time{}, errSignature
	}
	body, stamp, ok := strings.Cut(text[:i], ":")
	signedAt, err := base62(stamp)
	if !ok || err != nil {
		return nil, time.Time{}, errors.New("not of the form data:timestamp:signature")
	}
	body, compressed := strings.CutPrefix(body, ".")
	data, err := base64Strict(base64.RawURLEncoding, body)
	if err != nil {
		return nil, time.Time{}, errors.New("data that are not base64url")
	}
	if compressed {
		if data, err = inflate(data); err != nil {
			return nil, time.Time{}, err
		}
	}
	object, err := parseJSON(data)
	return object, signedAt, err
}

// inflate decompresses up to one byte more than parseJSON takes.
func inflate(data []byte) ([]byte, error) {
	z, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, errors.New("data that are not of zlib")
	}
	out, err := io.ReadAll(io.LimitReader(z, maxData+1))
	if err != nil {
		return nil, errors.New("data that are not of zlib")
	}
	return out, nil
}

// base62 reads a timestamp, in seconds (django.utils.baseconv).
func base62(s string) (time.Time, error) {
	const digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	if s == "" || len(s) > 8 { // 62^8 seconds are 7 million years
		return time.Time{}, errors.New("no timestamp")
	}
	var n int64
	for i := range len(s) {
		digit := strings.IndexByte(digits, s[i])
		if digit < 0 {
			return time.Time{}, errors.New("no timestamp")
		}
		n = n*62 + int64(digit)
	}
	return time.Unix(n, 0), nil
}
