// Package fdi knows how session tokens travel between a SuperTokens backend and its clients: cookies, headers and the
// front-token, as the frontend driver interface of the SuperTokens SDKs has them.
package fdi

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Names on the wire.
const (
	AccessCookie  = "sAccessToken"
	RefreshCookie = "sRefreshToken"
	FrontHeader   = "Front-Token"

	accessHeader  = "St-Access-Token"
	refreshHeader = "St-Refresh-Token"
	antiCSRF      = "Anti-Csrf"
	exposeHeader  = "Access-Control-Expose-Headers"
)

const (
	// MaxCookie is what every browser accepts of one cookie (RFC 6265 §6.1), attributes counted.
	MaxCookie = 4096
	// MaxHeaders is what common proxies and servers accept of all headers together.
	MaxHeaders = 8 << 10
	// An access cookie outlives its token, so that an expired one is seen and refreshed.
	accessCookieLife = 365 * 24 * time.Hour
)

// ReservedClaims are the members of an access token that are the core's, or the SDKs' (iss).
var ReservedClaims = []string{
	"sub", "iat", "exp", "iss", "sessionHandle", "parentRefreshTokenHash1", "refreshTokenHash1", "antiCsrfToken", "rsub", "tId",
}

// Wire is how one backend sends its tokens.
type Wire struct {
	RefreshPath  string
	CookieDomain string
	SameSite     http.SameSite
	Secure       bool
	// Expose sends the access token in a header, too, where it travels in a cookie.
	Expose bool
}

// Tokens are those of one session. Refresh and AntiCSRF are empty where they did not change.
type Tokens struct {
	UserID                      string
	Access, Refresh, AntiCSRF   string
	AccessExpiry, RefreshExpiry time.Time
}

// CookieMode tells whether the client asks for cookies. One that does not say gets headers, as from the SDKs.
func CookieMode(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("St-Auth-Mode"), "cookie")
}

// Set adds tokens to the headers of a response.
func (w Wire) Set(h http.Header, t Tokens, cookies bool, now time.Time) error {
	front, err := frontToken(t)
	if err != nil {
		return err
	}
	h.Set(FrontHeader, front)
	expose(h, FrontHeader)
	if cookies {
		w.setCookie(h, AccessCookie, "/", t.Access, now.Add(accessCookieLife))
		if t.Refresh != "" {
			w.setCookie(h, RefreshCookie, w.RefreshPath, t.Refresh, t.RefreshExpiry)
		}
	}
	if !cookies || w.Expose {
		h.Set(accessHeader, t.Access)
		expose(h, accessHeader)
	}
	if !cookies && t.Refresh != "" {
		h.Set(refreshHeader, t.Refresh)
		expose(h, refreshHeader)
	}
	if t.AntiCSRF != "" {
		h.Set(antiCSRF, t.AntiCSRF)
		expose(h, antiCSRF)
	}
	return nil
}

// Remove tells the client that its session is over.
func (w Wire) Remove(h http.Header, cookies, headers bool) {
	h.Set(FrontHeader, "remove")
	expose(h, FrontHeader)
	w.Clear(h, cookies, headers)
}

// Clear removes tokens that the client holds in cookies or in headers, without a word about the session.
func (w Wire) Clear(h http.Header, cookies, headers bool) {
	if cookies {
		w.ClearCookie(h, AccessCookie)
		w.ClearCookie(h, RefreshCookie)
	}
	if headers {
		h.Set(accessHeader, "")
		expose(h, accessHeader)
		h.Set(refreshHeader, "")
		expose(h, refreshHeader)
	}
}

// ClearCookie removes the access or the refresh token's cookie of w's domain.
func (w Wire) ClearCookie(h http.Header, name string) {
	path := "/"
	if name == RefreshCookie {
		path = w.RefreshPath
	}
	w.setCookie(h, name, path, "", time.Unix(0, 0))
}

func (w Wire) setCookie(h http.Header, name, path, value string, expires time.Time) {
	h.Add("Set-Cookie", w.cookie(name, path, value, expires))
}

func (w Wire) cookie(name, path, value string, expires time.Time) string {
	c := http.Cookie{
		Name: name, Path: path, Domain: w.CookieDomain, Expires: expires, HttpOnly: true, Secure: w.Secure, SameSite: w.SameSite,
	}
	// The value joins afterwards: escaped, it has nothing that String would have to look for in it.
	attributes := strings.TrimPrefix(c.String(), name+"=")
	return name + "=" + url.QueryEscape(value) + attributes
}

// expose makes a header readable for pages of other origins.
func expose(h http.Header, name string) {
	name = strings.ToLower(name)
	old := strings.Join(h[exposeHeader], ", ")
	switch {
	case old == "":
		h.Set(exposeHeader, name)
	case !slices.ContainsFunc(strings.Split(old, ","), func(s string) bool { return strings.EqualFold(strings.TrimSpace(s), name) }):
		h.Set(exposeHeader, old+", "+name)
	}
}

// Fits tells whether clients and proxies take these headers, and if not, why. Each cookie has a limit of its own.
func Fits(h http.Header) error {
	total := 0
	for name, values := range h {
		for _, v := range values {
			if name != "Set-Cookie" {
				total += len(name) + len(v) + 4
			} else if cookie, _, _ := strings.Cut(v, "="); len(v) > MaxCookie {
				return cookieTooLarge(cookie, len(v))
			}
		}
	}
	if total > MaxHeaders {
		return headersTooLarge(total)
	}
	return nil
}

// Foresee tells of tokens that do not exist yet whether they will fit: an access token with so many bytes of claims, and
// what comes along with it.
func (w Wire) Foresee(claims int, userID string, cookies bool) error {
	const (
		header    = `{"alg":"RS256","typ":"JWT","kid":"s-00000000-0000-0000-0000-000000000000","version":"5"}`
		signature = 256
		refresh   = 800
		names     = 150
	)
	size := base64.RawURLEncoding.EncodedLen
	access := size(len(header)) + size(claims) + size(signature) + 2
	if cookies {
		if total := access + len(w.cookie(AccessCookie, "/", "", time.Unix(0, 0))); total > MaxCookie {
			return cookieTooLarge(AccessCookie, total)
		}
	}
	total := names + base64.StdEncoding.EncodedLen(len(`{"uid":"","ate":1000000000000,"up":}`)+len(userID)+claims)
	if !cookies || w.Expose {
		total += access
	}
	if !cookies {
		total += refresh
	}
	if total > MaxHeaders {
		return headersTooLarge(total)
	}
	return nil
}

func cookieTooLarge(name string, size int) error {
	return fmt.Errorf("the cookie %s would take %d bytes, and browsers drop one of more than %d", name, size, MaxCookie)
}

func headersTooLarge(size int) error {
	return fmt.Errorf("the session's headers would take %d bytes, and proxies refuse more than %d", size, MaxHeaders)
}

// Merge adds the headers of a rendered answer to those of a response: exposed headers join what is there, and so do
// cookies, each in the place of an earlier one that browsers would take for the same.
func Merge(dst, src http.Header) {
	for name, values := range src {
		switch name {
		case "Set-Cookie":
			for _, v := range values {
				dst[name] = append(slices.DeleteFunc(dst[name], func(old string) bool { return sameCookie(old, v) }), v)
			}
		case exposeHeader:
			for _, v := range values {
				for _, s := range strings.Split(v, ",") {
					expose(dst, strings.TrimSpace(s))
				}
			}
		default:
			dst[name] = slices.Clone(values)
		}
	}
}

// sameCookie tells whether browsers keep one of the two only (RFC 6265 §5.3: name, domain and path).
func sameCookie(a, b string) bool {
	nameA, _, _ := strings.Cut(a, "=")
	if nameB, _, _ := strings.Cut(b, "="); nameA != nameB {
		return false
	}
	x, err := http.ParseSetCookie(a)
	if err != nil {
		return false
	}
	y, err := http.ParseSetCookie(b)
	return err == nil && x.Path == y.Path && x.Domain == y.Domain
}

// frontToken is what the frontend may read of an access token: whose it is, until when, and its payload.
func frontToken(t Tokens) (string, error) {
	front, payload, err := frontJSON(t)
	if err != nil {
		return "", err
	}
	if !json.Valid(payload) {
		return "", errors.New("the access token's payload is not JSON")
	}
	return base64.StdEncoding.EncodeToString(front), nil
}

// frontJSON is a front-token before it is encoded, and the part of it that is the access token's payload, whatever that is.
func frontJSON(t Tokens) (front, payload []byte, err error) {
	if dots := strings.Count(t.Access, "."); dots != 2 {
		return nil, nil, fmt.Errorf("an access token of %d parts, 3 expected", dots+1)
	}
	_, rest, _ := strings.Cut(t.Access, ".")
	encoded, _, _ := strings.Cut(rest, ".")
	front = make([]byte, 0, len(t.UserID)+base64.RawURLEncoding.DecodedLen(len(encoded))+64)
	front = append(AppendQuoted(append(front, `{"uid":`...), t.UserID), `,"ate":`...)
	front = append(strconv.AppendInt(front, t.AccessExpiry.UnixMilli(), 10), `,"up":`...)
	begin := len(front)
	if front, err = base64.RawURLEncoding.AppendDecode(front, []byte(encoded)); err != nil {
		return nil, nil, fmt.Errorf("the access token's payload is not base64url: %w", err)
	}
	return append(front, '}'), front[begin:], nil
}

// AppendQuoted appends s as a JSON string in which Unicode and HTML stand for themselves.
func AppendQuoted(b []byte, s string) []byte {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return append(append(append(b, '"'), s...), '"')
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(s) // a string always is JSON
	return append(b, bytes.TrimSuffix(out.Bytes(), []byte("\n"))...)
}

// Restorable tells whether Restore makes the very front-token of h out of the rest: most of it stands in the access token.
func Restorable(h http.Header, userID string, expiry time.Time) bool {
	front, _, err := frontJSON(Tokens{UserID: userID, Access: accessToken(h), AccessExpiry: expiry})
	return err == nil && string(base64.StdEncoding.AppendEncode(nil, front)) == h.Get(FrontHeader)
}

// Restore puts a front-token back that is Restorable.
func Restore(h http.Header, userID string, expiry time.Time) error {
	front, _, err := frontJSON(Tokens{UserID: userID, Access: accessToken(h), AccessExpiry: expiry})
	if err == nil {
		h.Set(FrontHeader, base64.StdEncoding.EncodeToString(front))
	}
	return err
}

// accessToken is the one that h carries, in a header or in a cookie.
func accessToken(h http.Header) string {
	if token := h.Get(accessHeader); token != "" {
		return token
	}
	for _, cookie := range h["Set-Cookie"] {
		if rest, ok := strings.CutPrefix(cookie, AccessCookie+"="); ok {
			token, _, _ := strings.Cut(rest, ";")
			return token
		}
	}
	return ""
}

// AccessExpiry reads from the headers of an answer when its access token ends.
func AccessExpiry(h http.Header) (time.Time, bool) {
	value := h.Get(FrontHeader)
	if len(value) > MaxHeaders {
		return time.Time{}, false
	}
	data, err := base64.StdEncoding.DecodeString(value)
	if err != nil {
		return time.Time{}, false
	}
	// As we write it, which no string inside can look like, since its quotes are escaped. Others may write it otherwise.
	if _, rest, ok := bytes.Cut(data, []byte(`,"ate":`)); ok {
		digits, _, _ := bytes.Cut(rest, []byte(","))
		if ms, err := strconv.ParseInt(string(digits), 10, 64); err == nil && ms > 0 {
			return time.UnixMilli(ms), true
		}
	}
	var f struct {
		Expiry int64 `json:"ate"`
	}
	if json.Unmarshal(data, &f) != nil || f.Expiry <= 0 {
		return time.Time{}, false
	}
	return time.UnixMilli(f.Expiry), true
}

// BearerToken returns what stands in Authorization: Bearer, whoever issued it.
func BearerToken(r *http.Request) string {
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

// CookieTokens returns the values of all cookies of this name, unescaped.
func CookieTokens(r *http.Request, name string) []string {
	var out []string
	for _, c := range r.CookiesNamed(name) {
		// Both SDKs percent-encode; "+" stands for itself in tokens that something else has set.
		if v, err := url.PathUnescape(c.Value); err == nil {
			out = append(out, v)
		}
	}
	return out
}

// maxAccessToken bounds what is decoded to see what it is.
const maxAccessToken = 16 << 10

// IsAccessToken tells by its form, and without any proof, whether this is an access token of SuperTokens (version 3 and up)
// and not one of somebody else. It looks for what the core writes, as the core writes it, and parses nothing: most tokens
// that come here are somebody else's, and the others are verified next.
func IsAccessToken(token string) bool {
	if len(token) > maxAccessToken {
		return false
	}
	first, rest, _ := strings.Cut(token, ".")
	second, third, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(third, ".") {
		return false
	}
	var buf [192]byte // more than the core's header takes
	if base64.RawURLEncoding.DecodedLen(len(first)) > len(buf) {
		return false
	}
	n, err := base64.RawURLEncoding.Decode(buf[:], []byte(first))
	if err != nil {
		return false
	}
	_, version, ok := bytes.Cut(buf[:n], []byte(`"version":"`))
	if !ok || len(version) < 2 || version[0] < '3' || version[0] > '5' || version[1] != '"' {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(second)
	return err == nil && bytes.Contains(payload, []byte(`"sessionHandle":"`)) && bytes.Contains(payload, []byte(`"refreshTokenHash1":"`))
}

// IsRefreshToken tells by its form, and without any proof, whether this is a refresh token of SuperTokens: three parts, of
// which the last is the version.
func IsRefreshToken(token string) bool {
	version := token[strings.LastIndexByte(token, '.')+1:]
	return len(token) <= maxAccessToken && strings.Count(token, ".") == 2 && len(version) == 2 && version[0] == 'V' &&
		'0' <= version[1] && version[1] <= '9'
}
