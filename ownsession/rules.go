package ownsession

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/core"
)

const (
	// maxCookie is what the Migrator reads of a token. Browsers keep 4,096 bytes of a cookie.
	maxCookie = 16 << 10
	// maxData bounds what a session holds, after decompression.
	maxData = 1 << 20
	// An ID shorter than minID can be guessed: 16 hexadecimal digits are 64 bits.
	minID, maxID = 16, 256
	// maxName is what a user's or session's name may have, as in a JWT.
	maxName        = 512
	defaultTimeout = 5 * time.Second
	// clockSkew is how far ahead the clock of the backend that wrote the session may be.
	clockSkew = time.Minute
)

// Path leads to a value in a session's data: the name of a member, then the name of a member of that, and so on. In an array
// the name is a position: Path{"warden.user.user.key", "0", "0"}.
type Path []string

// Rules say whose sessions these are and where in a session's data stands what. Issuer and UserID are required.
//
// A user ID is a string of 1 to 512 bytes, without control characters and not blank, or an integer. Data without a user are a
// visitor's who is not logged in: [stmigrate.ErrInvalidSession]. A time is seconds since 1970, milliseconds if the number is
// over 1e11, or text as in RFC 3339.
type Rules struct {
	// Issuer is a name of your choice for the system that these sessions are of ("https://app.example.com/express"). Part of what
	// an exchange is remembered by, so it must not change. Required.
	Issuer string
	// UserID is the user: OldSession.Subject. Required, but for Django.
	UserID Path
	// AuthTime is when the user logged in, if the application keeps it. Without it Config.NotBefore refuses every session.
	// Default: none.
	AuthTime Path
	// TenantID is the user's tenant; it needs Tenants. Default: none, all users are of the public tenant.
	TenantID Path
	// Tenants maps values of TenantID to SuperTokens tenants ("public" is one). A session of another value, or none, is refused.
	Tenants map[string]string
	// Check, if set, is a rule of the application's own, for sessions that are good otherwise: a second factor that is
	// pending, an administrator in a user's shoes. An error of no class is an [stmigrate.ErrInvalidSession].
	Check func(ctx context.Context, s *stmigrate.OldSession) error
	// Timeout is what one call to a database or store may take. Default 5 s.
	Timeout time.Duration
	// Now replaces time.Now, in tests.
	Now func() time.Time
}

// rules are Rules that were checked. Every verifier embeds them.
type rules struct {
	Rules
	kind string
}

// Issuer is that of the configuration. stmigrate.New asks for it: user IDs of two issuers may be two people's.
func (r *rules) Issuer() string { return r.Rules.Issuer }

// Format names a verifier by its kind and issuer, whatever the verb: fmt would print the secrets in it for some.
func (r *rules) Format(f fmt.State, _ rune) {
	_, _ = fmt.Fprintf(f, "ownsession.%s(%s)", r.kind, r.Rules.Issuer)
}

// check returns a copy with defaults filled in. depth is how long a path may be, 0 for any length.
func (r Rules) check(kind string, depth int) (*rules, error) {
	fail := func(format string, args ...any) (*rules, error) {
		return nil, fmt.Errorf("ownsession: %sConfig.%s", kind, fmt.Sprintf(format, args...))
	}
	switch {
	case r.Issuer == "" || strings.TrimSpace(r.Issuer) != r.Issuer:
		return fail("Rules.Issuer is required, without space around it: a name for these sessions; got %q", r.Issuer)
	case len(r.UserID) == 0:
		return fail("Rules.UserID is required: where in the session's data the user's ID stands")
	case len(r.TenantID) > 0 && len(r.Tenants) == 0:
		return fail("Rules.TenantID needs Tenants: which SuperTokens tenant is which")
	case len(r.TenantID) == 0 && len(r.Tenants) > 0:
		return fail("Rules.Tenants needs TenantID: where in the session's data the tenant stands")
	case r.Timeout < 0:
		return fail("Rules.Timeout is negative: %v", r.Timeout)
	}
	for legacy, tenant := range r.Tenants {
		if err := core.ValidTenantID(tenant); err != nil || tenant == "" {
			return fail("Rules.Tenants[%q] is %q: a SuperTokens tenant wanted, of a-z, 0-9 and -, or \"public\"", legacy, tenant)
		}
	}
	for _, p := range []*Path{&r.UserID, &r.AuthTime, &r.TenantID} {
		if *p = slices.Clone(*p); slices.Contains(*p, "") {
			return fail("Rules: the path %q has an empty name", *p)
		}
		if depth > 0 && len(*p) > depth {
			return fail("Rules: the path %q is too long, there is nothing but names here", *p)
		}
	}
	r.Tenants = maps.Clone(r.Tenants)
	if r.Timeout == 0 {
		r.Timeout = defaultTimeout
	}
	if r.Now == nil {
		r.Now = time.Now
	}
	return &rules{r, kind}, nil
}

// read makes a legacy session of data that are known to be genuine. The caller sets its SessionID or TokenID.
func (r *rules) read(data map[string]any, expires time.Time) (*stmigrate.OldSession, error) {
	now := r.Now()
	if !expires.IsZero() && !now.Before(expires) {
		return nil, fmt.Errorf("%w: at %v", stmigrate.ErrExpiredSession, expires.UTC())
	}
	s := &stmigrate.OldSession{Issuer: r.Rules.Issuer, ExpiresAt: expires, Claims: data}
	var err error
	if s.Subject, err = name(r.UserID, data); err != nil {
		return nil, fmt.Errorf("%w: Rules.UserID: %w", stmigrate.ErrInvalidSession, err)
	}
	if len(r.AuthTime) > 0 {
		if s.AuthTime, err = instant(r.AuthTime.in(data)); err != nil {
			return nil, fmt.Errorf("%w: Rules.AuthTime: %w", stmigrate.ErrInvalidSession, err)
		}
		if s.AuthTime.After(now.Add(clockSkew)) {
			return nil, fmt.Errorf("%w: Rules.AuthTime is in the future: %v", stmigrate.ErrInvalidSession, s.AuthTime.UTC())
		}
	}
	if len(r.TenantID) > 0 {
		legacy, err := name(r.TenantID, data)
		if err != nil {
			return nil, fmt.Errorf("%w: Rules.TenantID: %w", stmigrate.ErrInvalidSession, err)
		}
		tenant, ok := r.Tenants[legacy]
		if !ok {
			return nil, fmt.Errorf("%w: its tenant is not in Rules.Tenants", stmigrate.ErrInvalidSession)
		}
		s.TenantID = tenant
	}
	return s, nil
}

// finish runs the application's own rule.
func (r *rules) finish(ctx context.Context, s *stmigrate.OldSession) (*stmigrate.OldSession, error) {
	if r.Check == nil {
		return s, nil
	}
	if err := r.Check(ctx, s); err != nil {
		switch {
		case classed(err):
			return nil, err
		case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
			return nil, failed("Rules.Check", err)
		}
		return nil, fmt.Errorf("%w: Rules.Check: %w", stmigrate.ErrInvalidSession, err)
	}
	return s, nil
}

// in follows the path; nil where it leads nowhere.
func (p Path) in(data map[string]any) any {
	var v any = data
	for _, step := range p {
		switch at := v.(type) {
		case map[string]any:
			v = at[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(at) || strconv.Itoa(i) != step {
				return nil
			}
			v = at[i]
		default:
			return nil
		}
	}
	return v
}

var errNobody = errors.New("nothing there; nobody is logged in")

// name reads what names a user, session or tenant.
func name(p Path, data map[string]any) (string, error) {
	switch v := p.in(data).(type) {
	case nil:
		return "", errNobody
	case string:
		odd := func(c rune) bool { return c < ' ' || c == 0x7f }
		if len(v) > maxName || strings.TrimSpace(v) == "" || strings.ContainsFunc(v, odd) || !utf8.ValidString(v) {
			return "", fmt.Errorf("a string of %d bytes; 1 to %d wanted, not blank and without control characters", len(v), maxName)
		}
		return v, nil
	case json.Number:
		if n := strings.TrimLeft(v.String(), "0123456789"); n != "" || len(v) > maxName {
			return "", errors.New("a number that is no integer")
		}
		return v.String(), nil
	default:
		return "", fmt.Errorf("a string or an integer wanted, not %T", v)
	}
}

// instant reads a time.
func instant(v any) (time.Time, error) {
	switch v := v.(type) {
	case nil:
		return time.Time{}, errors.New("no time there")
	case time.Time:
		return v, nil
	case string:
		t, err := time.Parse(time.RFC3339, v)
		if err != nil {
			return time.Time{}, errors.New("text that is no time with a zone (RFC 3339)")
		}
		return t, nil
	case json.Number:
		n, err := strconv.ParseFloat(v.String(), 64)
		switch {
		case err != nil || n < 1 || n > 1e14:
			return time.Time{}, errors.New("a number that is no time: seconds or milliseconds since 1970 wanted")
		case n > 1e11:
			return time.UnixMilli(int64(n)), nil
		}
		return time.UnixMilli(int64(n * 1000)), nil
	default:
		return time.Time{}, fmt.Errorf("a time wanted, not %T", v)
	}
}

// plain makes a Go value what it would be if it came from JSON, so that all sessions read alike.
func plain(v any) any {
	switch v := v.(type) {
	case []byte:
		return string(v)
	case int:
		return json.Number(strconv.Itoa(v))
	case int32:
		return json.Number(strconv.FormatInt(int64(v), 10))
	case int64:
		return json.Number(strconv.FormatInt(v, 10))
	case uint:
		return json.Number(strconv.FormatUint(uint64(v), 10))
	case uint32:
		return json.Number(strconv.FormatUint(uint64(v), 10))
	case uint64:
		return json.Number(strconv.FormatUint(v, 10))
	case float64:
		return json.Number(strconv.FormatFloat(v, 'f', -1, 64))
	}
	return v
}

// parseJSON decodes one object. It is data that the application's own serialiser wrote, and that a signature or its own
// database vouches for; of members that stand twice the last counts, as it does to that application.
func parseJSON(text []byte) (map[string]any, error) {
	if len(text) > maxData {
		return nil, fmt.Errorf("data of %d bytes, at most %d expected", len(text), maxData)
	}
	if !utf8.Valid(text) {
		return nil, errors.New("data that are no valid Unicode, so no JSON: Marshal, pickle and gob are not read")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var object map[string]any
	if err := d.Decode(&object); err != nil || object == nil {
		return nil, errors.New("data that are no JSON object: Marshal, pickle and gob are not read")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("data with something behind the JSON object")
	}
	return object, nil
}

// hashed is what stands for an ID in OldSession.SessionID: whoever reads a log or a row of ours gets no cookie.
func hashed(id string) string {
	sum := sha256.Sum256([]byte("stmigrate own session\x00" + id))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// cookieValue undoes the percent-encoding of a cookie's value.
func cookieValue(token string) (string, error) {
	if len(token) > maxCookie {
		return "", fmt.Errorf("%w: a cookie of %d bytes, at most %d expected", stmigrate.ErrNotMine, len(token), maxCookie)
	}
	value, err := url.PathUnescape(token)
	if err != nil {
		return "", fmt.Errorf("%w: a cookie with a broken percent-encoding", stmigrate.ErrNotMine)
	}
	return value, nil
}

// isID tells whether s is of the size and the characters that a cookie holds as they are (cookie-octet, RFC 6265 §4.1.1).
func isID(s string) bool {
	return len(s) >= minID && len(s) <= maxID && isCookie(s)
}

func isCookie(s string) bool {
	return !strings.ContainsFunc(s, func(c rune) bool { return c <= ' ' || c >= 0x7f || strings.ContainsRune("\",;\\", c) })
}

func classed(err error) bool {
	for _, class := range []error{
		stmigrate.ErrInvalidSession, stmigrate.ErrExpiredSession, stmigrate.ErrNotMine, stmigrate.ErrUnavailable,
	} {
		if errors.Is(err, class) {
			return true
		}
	}
	return false
}

// failed says that a function of the configuration failed.
func failed(what string, err error) error {
	if classed(err) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", stmigrate.ErrUnavailable, what, quiet{err})
}

// quiet keeps the text of a driver or store out of ours: it may hold the ID.
type quiet struct{ err error }

func (e quiet) Error() string {
	if errors.Is(e.err, context.Canceled) || errors.Is(e.err, context.DeadlineExceeded) {
		return e.err.Error()
	}
	return fmt.Sprintf("it failed (%T)", e.err)
}

func (e quiet) Unwrap() error { return e.err }

// stored is a session of which the browser has nothing but the ID.
type stored struct {
	*rules
	get    func(ctx context.Context, id string) (data []byte, expires time.Time, err error)
	delete func(ctx context.Context, id string) error
}

func newStored(r *rules, get func(context.Context, string) ([]byte, time.Time, error), del func(context.Context, string) error) (stored, error) {
	for _, required := range []struct {
		field   string
		missing bool
	}{{"Get", get == nil}, {"Delete", del == nil}} {
		if required.missing {
			return stored{}, fmt.Errorf("ownsession: %sConfig.%s is required", r.kind, required.field)
		}
	}
	return stored{r, get, del}, nil
}

// load gets what the store has of an ID.
func (d *stored) load(ctx context.Context, id string) ([]byte, time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	data, expires, err := d.get(ctx, id)
	switch {
	case errors.Is(err, sql.ErrNoRows) || err == nil && len(data) == 0:
		return nil, time.Time{}, fmt.Errorf("%w: the store does not have it", stmigrate.ErrInvalidSession)
	case err != nil:
		return nil, time.Time{}, failed(d.kind+"Config.Get", err)
	case len(data) > maxData:
		return nil, time.Time{}, fmt.Errorf("%w: %d bytes of data, at most %d expected", stmigrate.ErrInvalidSession, len(data), maxData)
	}
	return data, expires, nil
}

func (d *stored) revoke(ctx context.Context, id string, s *stmigrate.OldSession) error {
	if err := sameSession(id, s); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	return revokeError(d.kind+"Config.Delete", ctx, func() error { return d.delete(ctx, id) })
}

// sameSession refuses to end another session than the one that was exchanged.
func sameSession(id string, s *stmigrate.OldSession) error {
	if s == nil || s.SessionID != hashed(id) {
		return permanent("the token is not that of the legacy session; with several verifiers, revoke.ByIssuer tells them apart")
	}
	return nil
}

func permanent(format string, args ...any) error {
	return &stmigrate.RevokeError{Err: fmt.Errorf(format, args...), Permanent: true}
}

// revokeError runs a function of the configuration that ends a session.
func revokeError(what string, ctx context.Context, end func() error) error {
	err := ctx.Err()
	if err == nil {
		err = end()
	}
	if e := (*stmigrate.RevokeError)(nil); err == nil || errors.As(err, &e) {
		return err
	}
	return &stmigrate.RevokeError{Err: failed(what, err)}
}
