package ownsession

import (
	"bytes"
	"context"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate"
)

// RailsConfig configures [Rails]. Rules, Cookie and SecretKeyBases are required.
type RailsConfig struct {
	// Rules: with Devise, UserID is Path{"warden.user.user.key", "0", "0"}, and Check should hold
	// Path{"warden.user.user.key", "1"} against the first 29 bytes of the user's encrypted_password, or sessions outlive a change
	// of the password.
	Rules Rules
	// Cookie is the session cookie's name ("_shop_session"): cookies of other names are encrypted with the same key.
	Cookie string
	// SecretKeyBases are the application's secret_key_base and those that it had before, 32 bytes at least each.
	SecretKeyBases []string
	// Digest is ActiveSupport::KeyGenerator.hash_digest_class: crypto.SHA256 since load_defaults 7.0, crypto.SHA1 before. The zero
	// value is SHA256.
	Digest crypto.Hash
	// Salt is action_dispatch.authenticated_encrypted_cookie_salt. Default: "authenticated encrypted cookie".
	Salt string
	// SessionID is where the session's data have its ID. Default: Path{"session_id"}.
	SessionID Path
	// SkipPurpose accepts cookies that do not say which cookie they are, as Rails 5.2 writes them
	// (use_cookies_with_metadata is off). It MUST NOT be set where users can choose what another encrypted cookie holds. A purpose
	// that is there must be right all the same.
	SkipPurpose bool
}

// Rails verifies session cookies of Rails 5.2 and later, encrypted with AES-256-GCM and with JSON in them
// (cookies_serializer = :json). Cookies that hold Marshal are refused. It is an [stmigrate.OldSessionVerifier]. Safe for
// concurrent use.
//
// The cookie is the session: Rails keeps nothing of it, so that nothing can end it but its expiry, if the application has
// expire_after, or a new secret_key_base. [stmigrate.LeaveToExpire] states that, and revoke.ClearCookies takes the
// cookie from this browser.
type Rails struct {
	*rules
	keys        []cipher.AEAD
	purpose     string
	sessionID   Path
	skipPurpose bool
}

// NewRails checks cfg and derives the keys. The error names the field that is missing or wrong.
func NewRails(cfg RailsConfig) (*Rails, error) {
	r, err := cfg.Rules.check("Rails", 0)
	if err != nil {
		return nil, err
	}
	if cfg.Cookie == "" {
		return nil, errors.New("ownsession: RailsConfig.Cookie is required: the session cookie's name")
	}
	if err := strong("RailsConfig.SecretKeyBases", cfg.SecretKeyBases); err != nil {
		return nil, err
	}
	var digest func() hash.Hash
	switch cfg.Digest {
	case 0, crypto.SHA256:
		digest = sha256.New
	case crypto.SHA1:
		digest = sha1.New // in PBKDF2 it is no weakness, and all that Rails before 7.0 offers
	default:
		return nil, fmt.Errorf("ownsession: RailsConfig.Digest is %v: crypto.SHA256 or crypto.SHA1 wanted", cfg.Digest)
	}
	if cfg.Salt == "" {
		cfg.Salt = "authenticated encrypted cookie"
	}
	if len(cfg.SessionID) == 0 {
		cfg.SessionID = Path{"session_id"}
	}
	v := &Rails{rules: r, purpose: "cookie." + cfg.Cookie, sessionID: slices.Clone(cfg.SessionID), skipPurpose: cfg.SkipPurpose}
	for _, base := range cfg.SecretKeyBases {
		key, err := pbkdf2.Key(digest, base, []byte(cfg.Salt), 1000, 32)
		if err != nil {
			return nil, fmt.Errorf("ownsession: RailsConfig: deriving the key: %w", err)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, fmt.Errorf("ownsession: RailsConfig: %w", err)
		}
		gcm, err := cipher.NewGCM(block)
		if err != nil {
			return nil, fmt.Errorf("ownsession: RailsConfig: %w", err)
		}
		v.keys = append(v.keys, gcm)
	}
	return v, nil
}

// strong refuses secrets that can be guessed: with these anybody can be any user.
func strong(field string, secrets []string) error {
	if len(secrets) == 0 {
		return fmt.Errorf("ownsession: %s is required", field)
	}
	for i, s := range secrets {
		if len(s) < 32 {
			return fmt.Errorf("ownsession: %s[%d] has %d bytes; 32 at least expected", field, i, len(s))
		}
	}
	return nil
}

// Verify implements [stmigrate.OldSessionVerifier].
//
// Errors: [stmigrate.ErrNotMine] if no key opens the cookie, [stmigrate.ErrInvalidSession] if it is another cookie, holds no JSON,
// or nobody is logged in, [stmigrate.ErrExpiredSession].
func (v *Rails) Verify(ctx context.Context, token string) (*stmigrate.OldSession, error) {
	text, err := v.open(token)
	if err != nil {
		return nil, err
	}
	data, expires, err := v.unwrap(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", stmigrate.ErrInvalidSession, err)
	}
	s, err := v.read(data, expires)
	if err != nil {
		return nil, err
	}
	id, err := name(v.sessionID, data)
	if err != nil {
		return nil, fmt.Errorf("%w: RailsConfig.SessionID: %w", stmigrate.ErrInvalidSession, err)
	}
	s.SessionID = hashed(id)
	return v.finish(ctx, s)
}

// open decrypts a cookie (ActiveSupport::MessageEncryptor): ciphertext, nonce and tag in base64, with two dashes in between.
func (v *Rails) open(token string) ([]byte, error) {
	value, err := cookieValue(token)
	if err != nil {
		return nil, err
	}
	var parts [3][]byte
	rest := value
	for i := range parts {
		part, after, more := strings.Cut(rest, "--")
		decoded, err := base64Strict(base64.StdEncoding, part)
		if err != nil || more != (i < 2) {
			return nil, fmt.Errorf("%w: not of the form data--nonce--tag in base64", stmigrate.ErrNotMine)
		}
		parts[i], rest = decoded, after
	}
	sealed, nonce, tag := parts[0], parts[1], parts[2]
	// A tag cut short would be guessed soon.
	if len(nonce) != 12 || len(tag) != 16 {
		return nil, fmt.Errorf("%w: a nonce of %d and a tag of %d bytes; 12 and 16 expected", stmigrate.ErrNotMine, len(nonce), len(tag))
	}
	sealed = append(sealed, tag...)
	for _, key := range v.keys {
		if text, err := key.Open(nil, nonce, sealed, nil); err == nil {
			return text, nil
		}
	}
	return nil, fmt.Errorf("%w: none of %d keys opens the cookie", stmigrate.ErrNotMine, len(v.keys))
}

// base64Strict decodes what has one spelling only.
func base64Strict(enc *base64.Encoding, text string) ([]byte, error) {
	if strings.ContainsAny(text, "\r\n") { // which Go's decoder passes over
		return nil, base64.CorruptInputError(0)
	}
	return enc.Strict().DecodeString(text)
}

// unwrap checks for which cookie and until when a message is (ActiveSupport::Messages::Metadata), and returns what is in it.
func (v *Rails) unwrap(text []byte) (data map[string]any, expires time.Time, err error) {
	if bytes.HasPrefix(text, []byte("\x04\x08")) {
		return nil, expires, errors.New("serialised with Marshal, which is never read: cookies_serializer must be :json")
	}
	data, err = parseJSON(text)
	if err != nil {
		return nil, expires, err
	}
	envelope, ok := data["_rails"].(map[string]any)
	if !ok {
		if !v.skipPurpose {
			return nil, expires, errors.New("the cookie does not say its purpose; Rails 5.2 needs RailsConfig.SkipPurpose")
		}
		return data, expires, nil
	}
	if purpose := envelope["pur"]; purpose != v.purpose && (purpose != nil || !v.skipPurpose) {
		return nil, expires, fmt.Errorf("the cookie is another one: its purpose is not %s", v.purpose)
	}
	if end := envelope["exp"]; end != nil {
		if expires, err = instant(end); err != nil {
			return nil, expires, fmt.Errorf("exp: %w", err)
		}
	}
	message, ok := envelope["message"].(string)
	if !ok {
		return nil, expires, errors.New("an envelope without a message")
	}
	inner, err := base64Strict(base64.StdEncoding, message)
	if err != nil {
		return nil, expires, errors.New("an envelope whose message is not base64")
	}
	if bytes.HasPrefix(inner, []byte("\x04\x08")) {
		return nil, expires, errors.New("serialised with Marshal, which is never read: cookies_serializer must be :json")
	}
	data, err = parseJSON(inner)
	return data, expires, err
}
