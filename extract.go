package stmigrate

import (
	"crypto/subtle"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/stmigrate/stmigrate/internal/claims"
	"github.com/stmigrate/stmigrate/internal/fdi"
)

const (
	maxToken = 16 << 10
	maxBody  = 64 << 10
	// RFC 6265bis and most proxies allow more; a key that is longer is a mistake or an attack.
	maxIdempotencyKey = 255
)

// An Extractor names one place of a request where a legacy token may stand. Make one with [FromBearer], [FromJSON],
// [FromCookie] or [FromRequest].
//
// A place that browsers fill on their own, or that a page of another site can fill without asking (a cookie, a body), is
// guarded: such a request is looked at only if it comes from the same origin, from one of Config.Origins, or from no browser
// at all, as [http.CrossOriginProtection] tells. A bearer token needs no guard, since no page can send a victim's.
type Extractor struct {
	name    string
	guarded bool
	// origins: New asks for Config.Origins where this extractor is used.
	origins bool
	unnamed bool
	body    bool
	cookie  string
	find    func(r *http.Request) (string, error)
}

const authorization = "Authorization"

// FromBearer finds the token in Authorization: Bearer (RFC 6750 §2.1), once, and nothing else beside it. The scheme's case
// does not matter. A SuperTokens access token is passed over: supertokens-web-js in header mode sends its own there.
func FromBearer() Extractor {
	return Extractor{name: authorization, find: bearer}
}

// FromJSON finds the token in the named string member of a JSON body of at most 64 KiB (Content-Type: application/json).
// It needs Config.Origins.
func FromJSON(member string) Extractor {
	return Extractor{
		name: "body member " + member, guarded: true, origins: true, body: true, unnamed: member == "",
		find: func(r *http.Request) (string, error) { return fromJSON(r, member) },
	}
}

// FromCookie finds the token in the cookie of this name, as it stands there. It needs Config.Origins.
func FromCookie(name string) Extractor {
	return Extractor{
		name: "cookie " + name, guarded: true, origins: true, cookie: name,
		unnamed: name == "" || strings.ContainsAny(name, " \t=;,\""),
		find:    func(r *http.Request) (string, error) { return fromCookie(r, name) },
	}
}

// FromRequest finds the token with a function of yours, which returns "" where there is none. An error that is of no class
// is an [ErrBadRequest]. Since nobody can tell what find reads, the request is guarded like one with a cookie.
func FromRequest(find func(r *http.Request) (string, error)) Extractor {
	return Extractor{name: "request", guarded: true, unnamed: find == nil, find: find}
}

func bearer(r *http.Request) (string, error) {
	lines := r.Header.Values(authorization)
	if len(lines) == 0 {
		return "", nil
	}
	if len(lines) > 1 {
		return "", fmt.Errorf("%w: %d Authorization headers, one expected", ErrBadRequest, len(lines))
	}
	line := lines[0]
	if len(line) > maxToken+len("Bearer ") {
		return "", fmt.Errorf("%w: an Authorization header of %d bytes, at most %d expected", ErrBadRequest, len(line), maxToken)
	}
	scheme, token, spaced := strings.Cut(line, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		if len(scheme) > 6 && strings.EqualFold(scheme[:6], "Bearer") {
			return "", fmt.Errorf("%w: Authorization is not of the form \"Bearer <token>\"", ErrBadRequest)
		}
		return "", nil
	}
	token = strings.TrimLeft(token, " ")
	if !spaced || token == "" {
		return "", fmt.Errorf("%w: Authorization: Bearer without a token", ErrBadRequest)
	}
	if !claims.IsToken68(token) {
		return "", fmt.Errorf("%w: the bearer token holds characters that RFC 6750 §2.1 does not allow", ErrBadRequest)
	}
	if fdi.IsAccessToken(token) {
		return "", nil
	}
	return token, nil
}

func fromJSON(r *http.Request, member string) (string, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return "", nil
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return "", nil
	}
	if r.ContentLength > maxBody {
		return "", fmt.Errorf("%w: a body of %d bytes, at most %d expected", ErrBadRequest, r.ContentLength, maxBody)
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return "", fmt.Errorf("%w: the body could not be read: %v", ErrBadRequest, err)
	}
	if len(body) > maxBody {
		return "", fmt.Errorf("%w: a body of more than %d bytes", ErrBadRequest, maxBody)
	}
	if len(body) == 0 {
		return "", nil
	}
	// Strictly: two readers of the same bytes must not see two different tokens.
	object, err := claims.Object(string(body))
	if err != nil {
		return "", fmt.Errorf("%w: the body is not one JSON object: %v", ErrBadRequest, err)
	}
	switch v := object[member].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	default:
		return "", fmt.Errorf("%w: %q in the body is not a string", ErrBadRequest, member)
	}
}

func fromCookie(r *http.Request, name string) (string, error) {
	switch cookies := r.CookiesNamed(name); len(cookies) {
	case 0:
		return "", nil
	case 1:
		return cookies[0].Value, nil
	default:
		return "", fmt.Errorf("%w: the cookie %s was sent %d times", ErrBadRequest, name, len(cookies))
	}
}

// extraction is what a request shows.
type extraction struct {
	token          string
	idempotencyKey string
	mode           byte // transfer mode
}

// extract finds the one legacy token of a request. Unguarded places come first, so that a bearer token is enough whatever
// page it comes from; a guarded place is not even looked at for a foreign page.
func (m *Migrator) extract(r *http.Request) (extraction, error) {
	x := extraction{mode: 'h'}
	if fdi.CookieMode(r) {
		x.mode = 'c'
	}
	if r.Method != http.MethodPost {
		return x, fmt.Errorf("%w: method %s, POST expected", ErrBadRequest, r.Method)
	}
	var err error
	if x.idempotencyKey, err = m.idempotencyKey(r); err != nil {
		return x, err
	}
	foreign := false
	x.token, err = m.findToken(r, m.extractors, func(Extractor) { foreign = true })
	switch {
	case err != nil:
		return x, err
	case x.token != "":
		return x, nil
	case foreign:
		return x, foreignOrigin(r)
	}
	return x, ErrNoToken
}

// findToken returns the one token that stands in places, "" where there is none. A guarded place is not looked at for a
// foreign page; skipped is told of it.
func (m *Migrator) findToken(r *http.Request, places []Extractor, skipped func(Extractor)) (token string, err error) {
	for _, e := range places {
		if e.guarded && !m.trusted(r) {
			skipped(e)
			continue
		}
		found, err := e.find(r)
		switch {
		case err != nil:
			return "", classed(err, e.name)
		case found == "":
		case len(found) > maxToken:
			return "", fmt.Errorf("%w: a token of %d bytes in %s, at most %d expected", ErrBadRequest, len(found), e.name, maxToken)
		case token == "":
			token = found
		case subtle.ConstantTimeCompare([]byte(token), []byte(found)) == 0:
			return "", fmt.Errorf("%w: %s holds another token than an earlier place", ErrBadRequest, e.name)
		}
	}
	return token, nil
}

// trusted tells whether a request may use what browsers send along on their own. A WebSocket begins with a GET, and is no
// harmless one.
func (m *Migrator) trusted(r *http.Request) bool {
	if r.Header.Get("Upgrade") != "" {
		r = &http.Request{Method: http.MethodPost, Header: r.Header, Host: r.Host, URL: r.URL}
	}
	return m.crossOrigin.Check(r) == nil
}

func foreignOrigin(r *http.Request) error {
	return fmt.Errorf("%w: %q is not in Config.Origins", ErrForbiddenOrigin, clip(r.Header.Get("Origin"), 200))
}

// classed makes an extractor's error an ErrBadRequest, unless it is of a class.
func classed(err error, place string) error {
	if status, _ := StatusOf(err); status == http.StatusInternalServerError {
		return fmt.Errorf("%w: %s: %v", ErrBadRequest, place, err)
	}
	return err
}

// idempotencyKey reads the header of that name (draft-ietf-httpapi-idempotency-key-header).
func (m *Migrator) idempotencyKey(r *http.Request) (string, error) {
	keys := r.Header.Values("Idempotency-Key")
	switch {
	case len(keys) == 0 && m.cfg.RequireIdempotencyKey:
		return "", fmt.Errorf("%w: the Idempotency-Key header is missing", ErrBadRequest)
	case len(keys) == 0:
		return "", nil
	case len(keys) > 1:
		return "", fmt.Errorf("%w: %d Idempotency-Key headers, one expected", ErrBadRequest, len(keys))
	}
	key := keys[0]
	if key == "" || len(key) > maxIdempotencyKey || strings.ContainsFunc(key, func(c rune) bool { return c < ' ' || c > '~' }) {
		return "", fmt.Errorf("%w: an Idempotency-Key has 1 to %d printable ASCII characters", ErrBadRequest, maxIdempotencyKey)
	}
	return key, nil
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n] + "…"
	}
	return s
}
