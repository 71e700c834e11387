package stmigratetest

import (
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a right verifier answers to a [WrongToken].
const (
	// ClassInvalid: the token is refused for good, stmigrate.ErrInvalidSession.
	ClassInvalid = "invalid"
	// ClassExpired: the token was good and is over, stmigrate.ErrExpiredSession.
	ClassExpired = "expired"
	// ClassNotMine: the token is of another issuer or kind, stmigrate.ErrNotMine.
	ClassNotMine = "not-mine"
	// ClassAnyRefusal: so little can be read of the token that either refusal is right.
	ClassAnyRefusal = "any-refusal"
)

// WrongToken is a token that no verifier may accept: a right one with one thing changed.
type WrongToken struct {
	// Category is the kind of flaw, and Name the flaw. Together they are unique.
	Category, Name string
	Token          string
	// Class is what a right verifier answers.
	Class string
	// Signed: the signature is the issuer's own, over exactly the text before it, so that only the named flaw can be the
	// reason of a refusal. A verifier that leaves signatures aside is to refuse at least these.
	Signed bool
}

// GoodToken is an unusual token that a verifier must accept.
type GoodToken struct {
	Name, Token string
	// Subject is the user it names.
	Subject string
	// NoKeyID: the header has no kid, so that the key is only known where there is one.
	NoKeyID bool
}

// Sign signs any claims with the issuer's key. The header is {"alg", "kid", "typ": "JWT"} with the members of header over it; a
// nil deletes one. The claims are taken as they are, and the endpoints do not get to know the token. It panics if header or
// claims cannot be JSON.
func (iss *Issuer) Sign(header, claims Claims) string {
	key := iss.key()
	header = merged(Claims{"alg": key.alg, "kid": key.id, "typ": "JWT"}, header)
	return key.token(string(must1(json.Marshal(header))), string(must1(json.Marshal(claims))))
}

// SignRaw signs these very bytes with the issuer's key and algorithm, whatever the header says.
func (iss *Issuer) SignRaw(header, payload []byte) string {
	return iss.key().token(string(header), string(payload))
}

// Twin returns an ES256, ES384 or ES512 token with its other signature, (r, n−s): different bytes that are as genuine as the
// first, so that nothing may take the bytes of a token for its identity. Any other token is an error.
func Twin(token string) (string, error) {
	dot := strings.LastIndexByte(token, '.')
	sig, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil || b64(sig) != token[dot+1:] {
		return "", errors.New("twin: the signature is not base64url")
	}
	var head struct{ Alg string }
	first, _, _ := strings.Cut(token, ".")
	if text, err := base64.RawURLEncoding.DecodeString(first); err == nil {
		_ = json.Unmarshal(text, &head)
	}
	curve, ok := map[string]elliptic.Curve{"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521()}[head.Alg]
	if !ok || len(sig) != 2*ecSize(curve) {
		return "", fmt.Errorf("twin: needs an ECDSA signature, got %d bytes of alg %q", len(sig), head.Alg)
	}
	size := ecSize(curve)
	s := new(big.Int).SetBytes(sig[size:])
	if s.Sub(curve.Params().N, s).Sign() <= 0 || s.Cmp(curve.Params().N) == 0 {
		return "", errors.New("twin: s is not between zero and the order of the curve")
	}
	return token[:dot+1] + b64(ecSignature(new(big.Int).SetBytes(sig[:size]), s, size)), nil
}

func (k issuerKey) token(header, payload string) string { return k.seal(b64(header), b64(payload)) }

// seal signs two parts as they are written.
func (k issuerKey) seal(header, payload string) string {
	input := header + "." + payload
	return input + "." + b64(k.sign(k.alg, input))
}

// object is a JSON object in the making. Names and values are JSON text, so that it can be wrong in any way.
type object []member

type member struct{ name, value string }

// with sets a member, or adds it.
func (o object) with(name, value string) object {
	o = slices.Clone(o)
	if i := slices.IndexFunc(o, func(m member) bool { return m.name == name }); i >= 0 {
		o[i].value = value
		return o
	}
	return append(o, member{name, value})
}

// without leaves a member out.
func (o object) without(name string) object {
	return slices.DeleteFunc(slices.Clone(o), func(m member) bool { return m.name == name })
}

// and adds a member at the end, though the object may have it already.
func (o object) and(name, value string) object { return append(slices.Clone(o), member{name, value}) }

// after adds the object's members to one that comes first.
func (o object) after(name, value string) object { return append(object{{name, value}}, o...) }

func (o object) get(name string) string {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return ""
}

func (o object) String() string {
	var b strings.Builder
	for i, m := range o {
		b.WriteString([]string{"{", ","}[min(i, 1)] + `"` + m.name + `":` + m.value)
	}
	if len(o) == 0 {
		b.WriteByte('{')
	}
	return b.String() + "}"
}

// js returns the JSON text of v.
func js(v any) string { return string(must1(json.Marshal(v))) }

// rightToken returns header and payload of a right token, for changes.
func (iss *Issuer) rightToken() (header, payload object) {
	key, claims := iss.key(), iss.claims()
	header = object{{"alg", js(key.alg)}, {"kid", js(key.id)}, {"typ", `"JWT"`}}
	for _, name := range []string{"iss", "sub", "aud", "iat", "exp", "sid", "jti"} {
		payload = append(payload, member{name, js(claims[name])})
	}
	return header, payload
}

// maxToken is the length up to which stmigrate reads tokens.
const maxToken = 16 << 10

// Good returns right tokens that careless strictness would refuse, each of a session of its own.
func (iss *Issuer) Good() []GoodToken {
	now := iss.Now()
	seconds := func(t time.Time, format byte, precision int) string {
		return strconv.FormatFloat(float64(t.Unix()), format, precision, 64)
	}
	exp := now.Add(iss.cfg.TokenLifetime)
	aud := js(iss.cfg.Audience)
	iss1 := js(iss.cfg.Issuer)
	key := iss.key()
	var out []GoodToken
	add := func(name, subject string, header, payload string) {
		token := key.token(header, payload)
		var claims Claims
		must(json.Unmarshal([]byte(payload), &claims))
		iss.remember(token, claims)
		out = append(out, GoodToken{Name: name, Token: token, Subject: subject, NoKeyID: !strings.Contains(header, `"kid"`)})
	}
	head := func(name string, change func(header object) object) {
		header, payload := iss.rightToken()
		add(name, "user-1", change(header).String(), payload.String())
	}
	with := func(name string, members ...string) {
		header, payload := iss.rightToken()
		for i := 0; i < len(members); i += 2 {
			payload = payload.with(members[i], members[i+1])
		}
		var subject string
		must(json.Unmarshal([]byte(payload.get("sub")), &subject))
		add(name, subject, header.String(), payload.String())
	}
	without := func(name, claim string) {
		header, payload := iss.rightToken()
		add(name, "user-1", header.String(), payload.without(claim).String())
	}

	with("plain")
	with("aud in an array", "aud", "["+aud+"]")
	with("aud among others", "aud", `["https://other.example/userinfo",`+aud+`,"other"]`)
	with("exp with a fraction", "exp", seconds(exp, 'f', 0)+".5")
	with("exp with a zero fraction", "exp", seconds(exp, 'f', 0)+".0")
	with("exp with an exponent", "exp", seconds(exp, 'e', -1))
	with("exp far away", "exp", "1e10")
	with("iat with a fraction", "iat", seconds(now.Add(-time.Minute), 'f', 0)+".25")
	with("nbf in the past", "nbf", seconds(now.Add(-time.Hour), 'f', 0))
	with("nbf now", "nbf", seconds(now, 'f', 0))
	with("nbf with a fraction", "nbf", seconds(now.Add(-time.Hour), 'f', 0)+".75")
	with("nbf zero", "nbf", "0")
	without("no iat", "iat")
	without("no jti", "jti")
	without("no sid", "sid")
	with("claims of Auth0", "sub", `"auth0|5f7c8ec7c33c6c004bbafe82"`, "azp", `"my-client"`, "scope", `"openid profile"`,
		"permissions", `["read:things","write:things"]`, "org_id", `"org_1"`, "https://app.example/roles", `["admin"]`)
	with("claims of Keycloak", "typ", `"Bearer"`, "azp", `"web"`, "acr", `"1"`, "auth_time", seconds(now, 'f', 0),
		"realm_access", `{"roles":["user"]}`, "resource_access", `{"account":{"roles":["view-profile"]}}`)
	with("sub is an e-mail address", "sub", `"ann+1@example.com"`)
	with("sub with a space inside", "sub", `"Ann Smith"`)
	with("sub in another script", "sub", `"利用者-Ω-é"`)
	with("sub with an emoji, escaped", "sub", `"user-\ud83d\ude00"`)
	with("sub as long as OpenID Connect allows", "sub", js(strings.Repeat("u", 255)))
	with("sub that looks like code", "sub", `"__proto__'; -- <b>&amp;"`)
	with("names in Unicode", "größe", `"ü"`, "имя", `"Анна"`, "👋", `1`)
	with("null in a claim that says nothing", "nickname", "null")
	with("empty claims", "groups", "[]", "metadata", "{}", "given_name", `""`)
	with("large numbers elsewhere", "org", "1152921504606846977", "ratio", "-1.5E+30")
	with("registered names inside another claim", "profile", `{"sub":"x","iss":"x","exp":1,"SUB":"y","cnf":{}}`)
	with("claims named almost like registered ones", "subject", `"x"`, "issuer", `"x"`, "audience", `"x"`, "expires", "1",
		"su", "1")
	with("nested claims", "tree", strings.Repeat(`{"branch":[`, 8)+strings.Repeat("]}", 8))
	with("many claims", func() (all []string) {
		for i := range 100 {
			all = append(all, fmt.Sprintf("https://app.example/claim/%d", i), strconv.Itoa(i))
		}
		return all
	}()...)

	head("no typ", func(h object) object { return h.without("typ") })
	for _, typ := range []string{"jwt", "at+jwt", "AT+JWT", "application/at+jwt", "application/AT+jwt"} {
		head("typ "+typ, func(h object) object { return h.with("typ", js(typ)) })
	}
	head("no kid", func(h object) object { return h.without("kid") })
	head("unknown header members", func(h object) object {
		return h.with("x5t", `"dGh1bWJwcmludA"`).with("ver", `"1.0"`).with("custom", `{"a":[1,null,true]}`)
	})
	head("header in another order", func(h object) object { return object{h[2], h[1], h[0]} })

	header, payload := iss.rightToken()
	add("white space", "user-1", " {\n\t\"alg\" : "+header.get("alg")+",\r\n \"kid\":"+header.get("kid")+" }\n",
		"\t{ "+strings.ReplaceAll(strings.Trim(payload.String(), "{}"), `,"`, "\n,\r\n\t\"")+" }\n")
	header, payload = iss.rightToken()
	escaped := payload.without("iss").without("sub").with(`\u0069ss`, strings.ReplaceAll(iss1, "/", `\/`)).with(`s\u0075b`,
		`"\u0075ser-1"`)
	add("escapes in names and values", "user-1", strings.Replace(header.String(), `"alg"`, `"\u0061lg"`, 1), escaped.String())
	header, payload = iss.rightToken()
	add("as long as can be", "user-1", header.String(), padded(key, header, payload, maxToken).String())
	return out
}

// padded grows a claim until the token has this length, or just below where base64 has no such length.
func padded(key issuerKey, header, payload object, length int) object {
	sig := len(key.sign(key.alg, ""))
	size := func(payload object) int {
		enc := base64.RawURLEncoding.EncodedLen
		return enc(len(header.String())) + enc(len(payload.String())) + enc(sig) + 2
	}
	n := 0
	for step := length; step > 0; step /= 2 {
		if size(payload.with("pad", js(strings.Repeat("p", n+step)))) <= length {
			n += step
		}
	}
	return payload.with("pad", js(strings.Repeat("p", n)))
}
