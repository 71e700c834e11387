package coreemu

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// What the real core puts before the reason why a token is none.
const (
	jwtException     = "io.supertokens.session.jwt.JWT$JWTException: "
	refreshException = "io.supertokens.session.refreshToken.RefreshToken$InvalidRefreshTokenFormatException: "
)

// message is an error in the real core's words.
type message string

func (m message) Error() string { return string(m) }

const (
	errProtected = message("The user payload contains protected field")
	errClaim     = message("java.lang.IllegalArgumentException: Claim values must only be of types Map, List, Boolean, Integer, Long, " +
		"Double, String, Date, Instant, and Null")
)

// accessToken is what an access token says. Times are in milliseconds, of whole seconds.
type accessToken struct {
	version   int // 3, 4 or 5
	handle    string
	userID    string
	recipeID  string // the user's ID when the session was created; the mapping may be younger
	tenant    string
	hash      string // of the refresh token it came with
	parent    string // of the refresh token that one replaces; "" when it replaces none or that is settled
	antiCSRF  string
	expiresAt int64
	payload   map[string]any
}

// tokenVersion is the version of the access tokens that a CDI version issues.
func tokenVersion(v cdi) int {
	switch {
	case v >= cdi4_0:
		return 5
	case v >= cdi3_0:
		return 4
	}
	return 3
}

// protectedClaims are the members of an access token that are not the user's, in the order in which the core asks for them.
func protectedClaims(version int) []string {
	claims := []string{
		"sub", "exp", "iat", "sessionHandle", "refreshTokenHash1", "parentRefreshTokenHash1", "antiCsrfToken", "tId", "rsub",
	}
	return claims[:len(claims)-(5-version)]
}

func hasProtected(payload map[string]any, version int) bool {
	return slices.ContainsFunc(protectedClaims(version), func(name string) bool { _, ok := payload[name]; return ok })
}

// issuable tells whether a token can have v, whose numbers are json.Number. Beyond float64 the real core issues a token whose
// answer is not JSON.
func issuable(v any) bool {
	switch v := v.(type) {
	case json.Number:
		var err error
		if strings.ContainsAny(v.String(), ".eE") {
			_, err = v.Float64()
		} else {
			_, err = v.Int64()
		}
		return err == nil
	case []any:
		return !slices.ContainsFunc(v, func(e any) bool { return !issuable(e) })
	case map[string]any:
		return !slices.ContainsFunc(slices.Collect(maps.Values(v)), func(e any) bool { return !issuable(e) })
	}
	return true
}

// refusal is what the real core makes of the error of [Core.issue]: a claim of the wrong type it has not foreseen.
func refusal(err error) error {
	if errors.Is(err, errProtected) {
		return badRequest("%v", err)
	}
	return err
}

func tokenInfo(token string, expires, created int64) reply {
	return reply{"token": token, "expiry": expires, "createdTime": created}
}

// issue signs t. It lives for the configured time if t.expiresAt is 0.
func (c *Core) issue(t accessToken, static bool) (reply, error) {
	if hasProtected(t.payload, t.version) {
		return nil, errProtected
	}
	if !issuable(t.payload) {
		return nil, errClaim
	}
	now := c.millis()
	if t.expiresAt == 0 {
		t.expiresAt = now + c.cfg.AccessTokenValidity.Milliseconds()
	}
	created, expires := now/1000, t.expiresAt/1000
	claims := []member{{"iat", created}, {"exp", expires}, {"sub", t.userID}}
	if t.version >= 4 {
		claims = append(claims, member{"tId", t.tenant})
	}
	if t.version >= 5 {
		claims = append(claims, member{"rsub", t.recipeID})
	}
	claims = append(claims,
		member{"sessionHandle", t.handle}, member{"refreshTokenHash1", t.hash},
		member{"parentRefreshTokenHash1", orNull(t.parent)}, member{"antiCsrfToken", orNull(t.antiCSRF)},
	)
	token, err := sign(c.signer(static), fmt.Sprint(t.version), claims, t.payload)
	return tokenInfo(token, expires*1000, created*1000), err
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// readAccessToken decodes an access token without checking its expiry, and its signature only if check is set.
func (c *Core) readAccessToken(token string, check bool) (*accessToken, error) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || parts[2] == "" {
		return nil, message(jwtException + "Invalid JWT")
	}
	header, err := decodeSegment(parts[0])
	if err != nil {
		return nil, message(jwtException + "Invalid JWT")
	}
	for _, m := range []member{{"typ", "JWT"}, {"alg", "RS256"}} {
		if header[m.name] == nil {
			return nil, message(jwtException + "JWT header missing - " + m.name)
		}
		if header[m.name] != m.value {
			return nil, message(jwtException + "JWT header mismatch - " + m.name)
		}
	}
	t := &accessToken{version: 5} // a token that is no session's is read as the latest
	if v, ok := header["version"]; ok {
		if t.version = slices.Index([]any{"3", "4", "5"}, v) + 3; t.version < 3 {
			return nil, message(jwtException + "JWT header mismatch - version")
		}
	}
	if check {
		kid, _ := header["kid"].(string)
		if err := c.verifySignature(kid, parts[0]+"."+parts[1], parts[2]); err != nil {
			return nil, err
		}
	}
	claims, err := decodeSegment(parts[1])
	if err != nil {
		return nil, message(jwtException + "Invalid JWT")
	}
	return t, t.read(claims)
}

func decodeSegment(s string) (map[string]any, error) {
	raw, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, err
	}
	return decodeObject(raw)
}

func (t *accessToken) read(claims map[string]any) error {
	for _, name := range protectedClaims(t.version) {
		if _, ok := claims[name]; !ok {
			return message("Access token does not contain all the information. Maybe the structure has changed? " + name)
		}
	}
	str := func(name string) string { s, _ := claims[name].(string); return s }
	t.handle, t.userID, t.hash = str("sessionHandle"), str("sub"), str("refreshTokenHash1")
	t.parent, t.antiCSRF, t.tenant = str("parentRefreshTokenHash1"), str("antiCsrfToken"), publicTenant
	if t.version >= 4 {
		t.tenant = str("tId")
	}
	if t.recipeID = t.userID; t.version >= 5 {
		t.recipeID = str("rsub")
	}
	exp, _ := claims["exp"].(json.Number)
	seconds, _ := exp.Int64()
	t.expiresAt = seconds * 1000
	for _, name := range protectedClaims(t.version) {
		delete(claims, name)
	}
	t.payload = claims
	return nil
}

// refreshToken is what a refresh token says to the core, and to the core alone.
type refreshToken struct {
	Handle, Tenant   string
	Parent, AntiCSRF string // as in accessToken
}

func newRefreshCipher() cipher.AEAD {
	block, err := aes.NewCipher(randomBytes(32))
	if err != nil {
		panic(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err)
	}
	return aead
}

// seal writes t in the shape of the real core's refresh tokens: what is encrypted, a nonce, the version.
func (c *Core) seal(t refreshToken) string {
	plain, _ := json.Marshal(t)
	nonce := hex.EncodeToString(randomBytes(32))
	return base64.StdEncoding.EncodeToString(c.refresh.Seal(nil, nil, plain, []byte(nonce))) + "." + nonce + ".V2"
}

// unseal reads a refresh token that this core has sealed.
func (c *Core) unseal(token string) (t refreshToken, err error) {
	parts := strings.Split(token, ".")
	if v := strings.ToUpper(parts[len(parts)-1]); v != "V0" && v != "V1" && v != "V2" {
		return t, message(refreshException + "version of refresh token not recognised")
	}
	if len(parts) != 3 {
		return t, fmt.Errorf("%sRefresh token split with dot yielded an array of length: %d", refreshException, len(parts))
	}
	sealed, err := base64.StdEncoding.DecodeString(parts[0])
	if err != nil {
		return t, message("java.lang.IllegalArgumentException: Illegal base64 character")
	}
	plain, err := c.refresh.Open(nil, nil, sealed, []byte(parts[1]))
	if err != nil || json.Unmarshal(plain, &t) != nil {
		return t, message("javax.crypto.AEADBadTagException: Tag mismatch")
	}
	return t, nil
}

// hash1 names a refresh token where the token itself must not stand.
func hash1(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// newToken is a token of the kind that is mailed to users.
func newToken() string { return base64.RawURLEncoding.EncodeToString(randomBytes(96)) }

func newUUID() string {
	b := randomBytes(16)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand
	return b
}
