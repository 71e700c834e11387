package stmigratetest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Wrong returns a token for each known way to attack or to break a verifier of this issuer's tokens. The categories:
//
//	alg-none         no signature, in every spelling
//	alg              another algorithm than the issuer's, also with a right signature of the same key; no string
//	hmac             the public key as an HMAC secret, in every form it is published in
//	signature        forged, missing, borrowed or damaged signatures
//	ecdsa            zero, oversized and differently encoded ECDSA signatures
//	kid              no such key, and paths, queries and other baits; no string
//	embedded-key     the attacker's key by jwk, jku, x5u, x5c; the addresses are the issuer's /attacker/…
//	crit             extensions that must be understood (RFC 7515 §4.1.11), unencoded payloads (RFC 7797)
//	structure        not three parts, empty parts, no base64url
//	malleability     other bytes that a lax reader takes for the same token
//	serialisation    JSON, nested, detached and encrypted tokens
//	header-json      a header that is no JSON object
//	payload-json     a payload that is no JSON object
//	duplicate        names that are there twice, also when letter case is ignored
//	typ              tokens of another kind
//	exp, nbf, iat, iss, aud, sub, sid   each claim missing, of another type, and wrong
//	cnf              sender-constrained tokens, whose proof a bearer lacks (RFC 7800)
//	size             longer than the 16 KiB that stmigrate reads
//
// The kid category supposes a verifier that knows its keys by ID: one that was given a single key may accept some of it.
// Unknown IDs make a verifier ask for the keys again, so these tokens may take it a while.
func (iss *Issuer) Wrong() []WrongToken {
	head, body := iss.rightToken()
	return iss.wrongLike(head, body, "sub", "sid")
}

// wrongLike returns the catalogue for a right token with these parts, whose claims user and session name the user and the session.
func (iss *Issuer) wrongLike(head, body object, user, session string) []WrongToken {
	c := &catalogue{iss: iss, key: iss.key(), now: iss.Now(), head: head, body: body, user: user, session: session}
	c.algorithms()
	c.hmac()
	c.signatures()
	c.ecdsa()
	c.keyIDs()
	c.embeddedKeys()
	c.critical()
	c.structure()
	c.malleability()
	c.serialisations()
	c.json()
	c.duplicates()
	c.types()
	c.times()
	c.parties()
	c.sizes()
	return c.out
}

// catalogue collects wrong tokens.
type catalogue struct {
	iss        *Issuer
	key        issuerKey
	now        time.Time
	head, body object // of the right token
	user       string // the claim that names the user
	session    string // the claim that names the session; the right token need not have it
	category   string
	out        []WrongToken
}

// add takes a token as it is.
func (c *catalogue) add(class, name, token string) { c.put(class, name, token, false) }

// sign adds a token of any header and payload with the issuer's signature.
func (c *catalogue) sign(class, name, header, payload string) {
	c.put(class, name, c.key.token(header, payload), true)
}

// seal adds a token of any two first parts with the issuer's signature.
func (c *catalogue) seal(class, name, first, second string) {
	c.put(class, name, c.key.seal(first, second), true)
}

// header adds a right token with one member of the header changed, given as JSON.
func (c *catalogue) header(class, name, member, value string) {
	c.sign(class, name, c.head.with(member, value).String(), c.body.String())
}

// payload adds a token with the right header and another payload.
func (c *catalogue) payload(class, name string, payload object) {
	c.sign(class, name, c.head.String(), payload.String())
}

// claims adds right tokens with one claim changed: pairs of names, which tell the flaw, and values in JSON. A value that is
// right for this issuer after all is left out.
func (c *catalogue) claims(class, claim string, namesAndValues ...string) {
	for i := 0; i < len(namesAndValues); i += 2 {
		if value := namesAndValues[i+1]; value != c.body.get(claim) {
			c.payload(class, namesAndValues[i], c.body.with(claim, value))
		}
	}
}

func (c *catalogue) put(class, name, token string, signed bool) {
	c.out = append(c.out, WrongToken{Category: c.category, Name: name, Token: token, Class: class, Signed: signed})
}

// right returns a right token in its three parts, the signature as bytes.
func (c *catalogue) right() (header, payload string, sig []byte) {
	header, payload = b64(c.head.String()), b64(c.body.String())
	return header, payload, c.key.sign(c.key.alg, header+"."+payload)
}

// otherType are the JSON types that a string is not.
var otherType = []string{"a number", "1", "null", "null", "a boolean", "true", "an object", "{}"}

func (c *catalogue) algorithms() {
	c.category = "alg-none"
	body := b64(c.body.String())
	for _, alg := range []string{"none", "None", "NONE", "nOnE", "none ", " none", "non\u0435", "none\x00", "none/RS256", ""} {
		c.add(ClassInvalid, strconv.QuoteToASCII(alg), b64(c.head.with("alg", js(alg)).String())+"."+body+".")
	}
	none := b64(c.head.with("alg", `"none"`).String())
	_, _, sig := c.right()
	c.add(ClassInvalid, "none, no kid", b64(c.head.with("alg", `"none"`).without("kid").String())+"."+body+".")
	c.add(ClassInvalid, "none, one byte of signature", none+"."+body+".AA")
	c.add(ClassInvalid, "none, the signature of the right token", none+"."+body+"."+b64(sig))
	c.add(ClassAnyRefusal, "none, two parts", none+"."+body)
	c.header(ClassInvalid, "none, signed with the key", "alg", `"none"`)

	c.category = "alg"
	for _, alg := range issuerAlgorithms {
		if alg == c.key.alg {
			continue
		}
		first := b64(c.head.with("alg", js(alg)).String())
		if keyKind(alg) == keyKind(c.key.alg) || strings.HasPrefix(alg, "ES") && strings.HasPrefix(c.key.alg, "ES") {
			c.add(ClassInvalid, alg+", signed so with the same key", first+"."+body+"."+b64(c.key.sign(alg, first+"."+body)))
		} else {
			c.seal(ClassInvalid, alg+", signed with "+c.key.alg, first, body)
		}
	}
	for _, alg := range []string{
		strings.ToLower(c.key.alg), c.key.alg + " ", " " + c.key.alg, c.key.alg + "\x00", "", "HS256", "RSA-OAEP", "dir",
		"Ed25519", "SHA256",
	} {
		if alg != c.key.alg {
			c.header(ClassInvalid, strconv.QuoteToASCII(alg)+", signed with "+c.key.alg, "alg", js(alg))
		}
	}
	for i := 0; i < len(otherType); i += 2 {
		c.header(ClassInvalid, otherType[i], "alg", otherType[i+1])
	}
	c.header(ClassInvalid, "an array of the right one", "alg", js([]string{c.key.alg}))
	c.sign(ClassInvalid, "missing", c.head.without("alg").String(), c.body.String())
}

func (c *catalogue) hmac() {
	c.category = "hmac"
	der := c.key.der()
	block := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	jwk := c.key.jwk()
	type secret struct {
		name  string
		bytes []byte
	}
	secrets := []secret{
		{"PEM", block},
		{"PEM without the last line feed", bytes.TrimSpace(block)},
		{"PEM with CR LF", bytes.ReplaceAll(block, []byte("\n"), []byte("\r\n"))},
		{"DER", der},
		{"DER in base64", []byte(base64.StdEncoding.EncodeToString(der))},
		{"certificate", c.key.certificate(c.now)},
		{"JWK", []byte(js(jwk))},
		{"JWKS", keySet([]issuerKey{c.key}, false)},
		{"kid", []byte(c.key.id)},
		{"issuer", []byte(c.iss.cfg.Issuer)},
		{"nothing", nil},
	}
	for _, member := range []string{"n", "x", "y"} {
		if text, ok := jwk[member].(string); ok {
			raw := must1(base64.RawURLEncoding.DecodeString(text))
			secrets = append(secrets, secret{member + " of the JWK", raw},
				secret{member + " of the JWK in base64url", []byte(text)})
		}
	}
	if pub, ok := c.key.Public().(*rsa.PublicKey); ok {
		der := x509.MarshalPKCS1PublicKey(pub)
		secrets = append(secrets, secret{"PKCS #1 DER", der},
			secret{"PKCS #1 PEM", pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: der})})
	}
	sign := func(name, alg string, header object, secret []byte) {
		input := b64(header.with("alg", js(alg)).String()) + "." + b64(c.body.String())
		c.add(ClassInvalid, name, input+"."+b64(hmacOf(alg, secret, input)))
	}
	for _, s := range secrets {
		sign(s.name, "HS256", c.head, s.bytes)
	}
	for _, alg := range []string{"HS384", "HS512"} {
		sign("PEM, "+alg, alg, c.head, block)
	}
	sign("PEM, no kid", "HS256", c.head.without("kid"), block)
	input := b64(c.head.String()) + "." + b64(c.body.String())
	c.add(ClassInvalid, "PEM, alg "+c.key.alg, input+"."+b64(hmacOf("HS256", block, input)))
}

func hmacOf(alg string, secret []byte, input string) []byte {
	mac := hmac.New(jwsHash(alg).New, secret)
	mac.Write([]byte(input))
	return mac.Sum(nil)
}

func (c *catalogue) signatures() {
	c.category = "signature"
	header, payload, sig := c.right()
	with := func(name string, sig []byte) { c.add(ClassInvalid, name, header+"."+payload+"."+b64(sig)) }
	attacker := c.iss.attackerKey()
	c.add(ClassInvalid, "of another key under the right kid", attacker.token(c.head.String(), c.body.String()))
	c.add(ClassInvalid, "of another key, no kid", attacker.token(c.head.without("kid").String(), c.body.String()))
	_, _, other := c.key.cut(c.head.String(), c.body.with("sub", `"user-2"`).String())
	with("of another token of the issuer", other)
	c.add(ClassInvalid, "payload changed afterwards", header+"."+b64(c.body.with("sub", `"user-2"`).String())+"."+b64(sig))
	c.add(ClassInvalid, "header changed afterwards", b64(c.head.with("typ", `"at+jwt"`).String())+"."+payload+"."+b64(sig))
	with("over the payload alone", c.key.sign(c.key.alg, payload))
	with("over decoded parts", c.key.sign(c.key.alg, c.head.String()+"."+c.body.String()))
	for _, i := range []int{0, len(sig) / 2, len(sig) - 1} {
		flipped := bytes.Clone(sig)
		flipped[i] ^= 1
		with(fmt.Sprintf("bit flipped in byte %d", i), flipped)
	}
	with("first byte missing", sig[1:])
	with("last byte missing", sig[:len(sig)-1])
	with("half missing", sig[:len(sig)/2])
	with("zero byte before", append([]byte{0}, sig...))
	with("zero byte behind", append(bytes.Clone(sig), 0))
	with("twice", append(bytes.Clone(sig), sig...))
	with("all zero", make([]byte, len(sig)))
	with("all ones", bytes.Repeat([]byte{0xff}, len(sig)))
	with("one", append(make([]byte, len(sig)-1), 1))
	slices.Reverse(sig)
	with("backwards", sig)
	c.add(ClassAnyRefusal, "missing", header+"."+payload+".")

	switch key := c.key.Signer.(type) {
	case *rsa.PrivateKey:
		if !strings.HasPrefix(c.key.alg, "PS") {
			break
		}
		hash := jwsHash(c.key.alg)
		digest := hash.New()
		digest.Write([]byte(header + "." + payload))
		for _, salt := range []int{1, hash.Size() - 1, hash.Size() + 1, 256 - 2 - hash.Size()} {
			options := &rsa.PSSOptions{SaltLength: salt}
			with(fmt.Sprintf("PSS with %d bytes of salt", salt), must1(rsa.SignPSS(rand.Reader, key, hash, digest.Sum(nil),
				options)))
		}
	case ed25519.PrivateKey:
		// RFC 8032 §5.1.7: s must be below the group's order L. s + L verifies where that is not checked.
		order, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
		_, _, sig := c.right()
		s := bytes.Clone(sig[32:])
		slices.Reverse(s)
		s = new(big.Int).Add(new(big.Int).SetBytes(s), order).FillBytes(make([]byte, 32))
		slices.Reverse(s)
		c.add(ClassInvalid, "s not reduced", header+"."+payload+"."+b64(append(bytes.Clone(sig[:32]), s...)))
	}
}

// cut signs header and payload and returns the parts, the signature as bytes.
func (k issuerKey) cut(header, payload string) (first, second string, sig []byte) {
	first, second = b64(header), b64(payload)
	return first, second, k.sign(k.alg, first+"."+second)
}

func (c *catalogue) ecdsa() {
	c.category = "ecdsa"
	key := c.key
	if _, ok := key.Signer.(*ecdsa.PrivateKey); !ok {
		key = issuerKey{key.id, "ES256", must1(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))}
	}
	curve := key.Signer.(*ecdsa.PrivateKey).Curve
	size, n := ecSize(curve), curve.Params().N
	first, second, sig := key.cut(c.head.with("alg", js(key.alg)).String(), c.body.with("jti", js(rand.Text())).String())
	r, s := new(big.Int).SetBytes(sig[:size]), new(big.Int).SetBytes(sig[size:])
	zero, one := new(big.Int), big.NewInt(1)
	with := func(name string, sig []byte) { c.add(ClassInvalid, name, first+"."+second+"."+b64(sig)) }
	with("r and s zero", ecSignature(zero, zero, size))
	with("r zero", ecSignature(zero, s, size))
	with("s zero", ecSignature(r, zero, size))
	with("r and s one", ecSignature(one, one, size))
	with("r and s the order", ecSignature(n, n, size))
	with("r the order", ecSignature(n, s, size))
	with("s the order", ecSignature(r, n, size))
	with("r and s the field's size", ecSignature(curve.Params().P, curve.Params().P, size))
	with("r and s swapped", ecSignature(s, r, size))
	with("ASN.1", must1(asn1.Marshal(struct{ R, S *big.Int }{r, s})))
	with("a byte more in r and s", ecSignature(r, s, size+1))
	with("r and s plus the order", ecSignature(new(big.Int).Add(r, n), new(big.Int).Add(s, n), size+1))
	with("twice as long, zero", make([]byte, 4*size))
	with("r alone", sig[:size])
	with("4 KiB", append(bytes.Clone(sig), make([]byte, 4096)...))
}

func (c *catalogue) keyIDs() {
	c.category = "kid"
	id := c.key.id
	for _, kid := range []string{
		"", "unknown", "../../../../dev/null", `..\..\..\windows\win.ini`, "file:///dev/null", "https://attacker.example/key",
		"' UNION SELECT 'secret' -- ", "1; DROP TABLE keys", "`id`", "$(id)", "{{7*7}}", "*", "%00", "__proto__",
		id + "\x00", id + "\x00.pem", id + "\n", id + " ", " " + id, id + "/", "./" + id, strings.ToUpper(id), id[1:], id + id,
		"\u212a" + id[1:], "k\u0435" + id[2:],
	} {
		c.header(ClassInvalid, strconv.QuoteToASCII(kid), "kid", js(kid))
	}
	c.header(ClassInvalid, "8 KiB", "kid", js(strings.Repeat("k", 8<<10)))
	c.header(ClassAnyRefusal, "64 KiB", "kid", js(strings.Repeat("k", 64<<10)))
	for i := 0; i < len(otherType); i += 2 {
		c.header(ClassInvalid, otherType[i], "kid", otherType[i+1])
	}
	c.header(ClassInvalid, "an array of the right one", "kid", js([]string{id}))
}

func (c *catalogue) embeddedKeys() {
	c.category = "embedded-key"
	attacker := c.iss.attackerKey()
	url := c.iss.URL + "/attacker/"
	chain := js([]string{base64.StdEncoding.EncodeToString(attacker.certificate(c.now))})
	for _, h := range []struct{ name, member, value string }{
		{"jwk", "jwk", js(attacker.jwk())},
		{"jku", "jku", js(url + "jwks.json")},
		{"jku that begins like the right one", "jku", js(c.iss.JWKSURL() + "/../../attacker/jwks.json")},
		{"jku with user information", "jku", js(strings.Replace(url, "http://", "http://accounts.example@", 1) + "jwks.json")},
		{"x5u", "x5u", js(url + "cert.pem")},
		{"x5c", "x5c", chain},
	} {
		header := c.head.with(h.member, h.value)
		c.add(ClassInvalid, h.name, attacker.token(header.with("kid", `"attacker"`).String(), c.body.String()))
		c.add(ClassInvalid, h.name+", no kid", attacker.token(header.without("kid").String(), c.body.String()))
		c.add(ClassInvalid, h.name+", the right kid", attacker.token(header.String(), c.body.String()))
	}
	secret := []byte("attacker's secret of 32 bytes ..")
	jwk := js(Claims{"kty": "oct", "k": b64(secret)})
	input := b64(c.head.with("alg", `"HS256"`).with("jwk", jwk).String()) + "." + b64(c.body.String())
	c.add(ClassInvalid, "jwk of a secret", input+"."+b64(hmacOf("HS256", secret, input)))
}

func (c *catalogue) critical() {
	c.category = "crit"
	for _, h := range []struct{ name, crit, member, value string }{
		{"an unknown extension", `["https://example.com/ext"]`, "https://example.com/ext", "true"},
		{"an extension that is not there", `["https://example.com/ext"]`, "", ""},
		{"a claim", `["exp"]`, "exp", c.body.get("exp")},
		{"a registered member", `["alg"]`, "", ""},
		{"b64 false", `["b64"]`, "b64", "false"},
		{"b64 true", `["b64"]`, "b64", "true"},
		{"itself", `["crit"]`, "", ""},
		{"empty", `[]`, "", ""},
		{"a string", `"exp"`, "exp", c.body.get("exp")},
		{"null", `null`, "", ""},
		{"an array of numbers", `[1]`, "", ""},
		{"an object", `{}`, "", ""},
	} {
		header := c.head.with("crit", h.crit)
		if h.member != "" {
			header = header.with(h.member, h.value)
		}
		c.sign(ClassInvalid, h.name, header.String(), c.body.String())
	}
	c.header(ClassInvalid, "b64 false, not marked", "b64", "false")
	unencoded := b64(c.head.with("crit", `["b64"]`).with("b64", "false").String())
	c.seal(ClassAnyRefusal, "an unencoded payload", unencoded, c.body.String())
}

func (c *catalogue) structure() {
	c.category = "structure"
	header, payload, raw := c.right()
	sig := b64(raw)
	for _, s := range []struct{ name, token string }{
		{"empty", ""},
		{"a dot", "."},
		{"two dots", ".."},
		{"a thousand dots", strings.Repeat(".", 1000)},
		{"one part", header},
		{"two parts", header + "." + payload},
		{"four parts", header + "." + payload + "." + sig + "." + sig},
		{"four parts, the last one empty", header + "." + payload + "." + sig + "."},
		{"four parts, the first one empty", "." + header + "." + payload + "." + sig},
		{"five parts", header + "." + payload + "." + sig + "." + sig + "." + sig},
		{"six parts", header + "." + payload + "." + sig + "." + sig + "." + sig + "." + sig},
		{"an empty part between", header + ".." + payload + "." + sig},
		{"parts in another order", payload + "." + header + "." + sig},
		{"only the signature", ".." + sig},
		{"colons for dots", header + ":" + payload + ":" + sig},
		{"fullwidth dots", header + "．" + payload + "．" + sig},
		{"with its scheme", "Bearer " + header + "." + payload + "." + sig},
		{"in quotes", `"` + header + "." + payload + "." + sig + `"`},
		{"two tokens", header + "." + payload + "." + sig + "," + header + "." + payload + "." + sig},
		{"words", "not.a.token"},
		{"binary", "\x00\x01.\xff\xfe.\x80"},
		{"signature of other characters", header + "." + payload + ".!!!!"},
		{"base64 of one character", header + "." + payload + ".A"},
		{"the wrong way round", reversed(header + "." + payload + "." + sig)},
	} {
		c.add(ClassAnyRefusal, s.name, s.token)
	}
	c.seal(ClassAnyRefusal, "empty header", "", payload)
	c.seal(ClassAnyRefusal, "empty payload", header, "")
	c.seal(ClassAnyRefusal, "empty header and payload", "", "")
	c.seal(ClassAnyRefusal, "header of other characters", "!!!!", payload)
	c.seal(ClassAnyRefusal, "payload of other characters", header, "!!!!")
	c.seal(ClassAnyRefusal, "header not encoded", c.head.String(), payload)
}

func reversed(s string) string {
	b := []byte(s)
	slices.Reverse(b)
	return string(b)
}

// malleability: what is signed has the flaw too, where the flaw is in the signed text, so that a lax reader accepts it.
func (c *catalogue) malleability() {
	c.category = "malleability"
	// The last character of these parts has two bits to spare, and the payload a character of the URL alphabet.
	first, second := b64(aligned(c.head)), ""
	sig := ""
	for !strings.ContainsAny(sig, "-_") {
		second = b64(aligned(c.body.with("jti", js(rand.Text())).with("note", `"?????"`)))
		sig = b64(c.key.sign(c.key.alg, first+"."+second))
	}
	token := first + "." + second + "." + sig
	middle := func(s, insert string) string { return s[:len(s)/2] + insert + s[len(s)/2:] }
	std := func(s string) string { return strings.NewReplacer("-", "+", "_", "/").Replace(s) }

	for _, s := range []struct{ name, text string }{
		{"line feed", "\n"}, {"CR LF", "\r\n"}, {"space", " "}, {"tab", "\t"}, {"NUL", "\x00"}, {"zero width space", "\u200b"},
	} {
		c.add(ClassAnyRefusal, s.name+" before", s.text+token)
		c.add(ClassAnyRefusal, s.name+" behind", token+s.text)
		c.add(ClassAnyRefusal, s.name+" in the signature", first+"."+second+"."+middle(sig, s.text))
		c.seal(ClassAnyRefusal, s.name+" in the header", middle(first, s.text), second)
		c.seal(ClassAnyRefusal, s.name+" in the payload", first, middle(second, s.text))
	}
	c.add(ClassAnyRefusal, "byte order mark before", "\ufeff"+token)
	c.seal(ClassAnyRefusal, "padded header", first+"=", second)
	c.seal(ClassAnyRefusal, "padded payload", first, second+"=")
	if len(sig)%4 != 0 {
		c.add(ClassAnyRefusal, "padded signature", token+strings.Repeat("=", 4-len(sig)%4))
	}
	c.add(ClassAnyRefusal, "an equals sign too many", token+"===")
	c.seal(ClassAnyRefusal, "spare bits in the header", spareBits(first), second)
	c.seal(ClassAnyRefusal, "spare bits in the payload", first, spareBits(second))
	if len(sig)%4 != 0 {
		c.add(ClassAnyRefusal, "spare bits in the signature", first+"."+second+"."+spareBits(sig))
	}
	c.seal(ClassAnyRefusal, "standard alphabet in the payload", first, std(second))
	c.add(ClassAnyRefusal, "standard alphabet in the signature", first+"."+second+"."+std(sig))
	c.add(ClassAnyRefusal, "a character behind", token+"A")
	c.add(ClassAnyRefusal, "four characters behind", token+"AAAA")
	c.add(ClassAnyRefusal, "escaped dots", strings.ReplaceAll(token, ".", "%2E"))
	c.add(ClassAnyRefusal, "a query behind", token+"?x=1")
	c.add(ClassAnyRefusal, "a fragment behind", token+"#x")
	c.add(ClassAnyRefusal, "a semicolon behind", token+";")
}

// aligned returns o, grown until its base64url ends in a character with two bits to spare.
func aligned(o object) string {
	text := o.String()
	for pad := ""; len(text)%3 != 2; pad += "x" {
		text = o.with("pad", js(pad)).String()
	}
	return text
}

// spareBits sets the lowest of the bits in the last character that no byte uses.
func spareBits(s string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, s[len(s)-1])
	return s[:len(s)-1] + string(alphabet[last|1])
}

func (c *catalogue) serialisations() {
	c.category = "serialisation"
	header, payload, raw := c.right()
	sig := b64(raw)
	flat := Claims{"payload": payload, "protected": header, "signature": sig}
	c.add(ClassAnyRefusal, "flattened JSON", js(flat))
	c.add(ClassAnyRefusal, "general JSON", js(Claims{
		"payload": payload, "signatures": []Claims{{"protected": header, "signature": sig}},
	}))
	c.add(ClassAnyRefusal, "JSON in base64url", b64(js(flat)))
	c.add(ClassAnyRefusal, "detached payload", header+".."+sig)
	c.sign(ClassAnyRefusal, "nested", c.head.with("cty", `"JWT"`).String(), header+"."+payload+"."+sig)
	c.sign(ClassAnyRefusal, "nested as a JSON string", c.head.with("cty", `"JWT"`).String(), js(header+"."+payload+"."+sig))
	c.seal(ClassAnyRefusal, "nested without a second encoding", header, header+"."+payload+"."+sig)
	random := func(n int) string {
		b := make([]byte, n)
		_, _ = rand.Read(b)
		return b64(b)
	}
	for _, h := range []string{
		`{"alg":"dir","enc":"A256GCM"}`, `{"alg":"dir","enc":"A256GCM","zip":"DEF"}`,
		`{"alg":"RSA-OAEP-256","enc":"A256GCM","cty":"JWT"}`,
		`{"alg":"PBES2-HS512+A256KW","enc":"A256GCM","p2c":2147483647,"p2s":"c2FsdA"}`,
	} {
		key := ""
		if !strings.Contains(h, `"dir"`) {
			key = random(256)
		}
		c.add(ClassNotMine, "encrypted: "+h, b64(h)+"."+key+"."+random(12)+"."+random(300)+"."+random(16))
	}
	c.add(ClassAnyRefusal, "encrypted, JSON", js(Claims{
		"protected": b64(`{"alg":"dir","enc":"A256GCM"}`), "iv": random(12), "ciphertext": random(300), "tag": random(16),
	}))
	c.add(ClassAnyRefusal, "XML", "<saml:Assertion>"+payload+"</saml:Assertion>")
	c.add(ClassAnyRefusal, "PASETO", "v4.public."+payload+sig)
}

func (c *catalogue) json() {
	type text struct{ name, json string }
	wrong := func(object string) []text {
		inside := strings.TrimSuffix(object, "}")
		return []text{
			{"an array", "[" + object + "]"},
			{"a string", js(object)},
			{"null", "null"},
			{"a number", "1"},
			{"true", "true"},
			{"an empty object", "{}"},
			{"white space", "  "},
			{"two objects", object + object},
			{"two objects on two lines", object + "\n" + object},
			{"text behind", object + "x"},
			{"a closing bracket behind", object + "}"},
			{"a NUL behind", object + "\x00"},
			{"a comma at the end", inside + ",}"},
			{"two commas", inside + `,,"x":1}`},
			{"not closed", inside},
			{"a byte order mark", "\ufeff" + object},
			{"UTF-16", utf16LE(object)},
			{"a comment", inside + "/* */}"},
			{"a line comment", "// x\n" + object},
			{"single quotes", strings.ReplaceAll(object, `"`, "'")},
			{"a name without quotes", inside + `,x:1}`},
			{"NaN", inside + `,"x":NaN}`},
			{"Infinity", inside + `,"x":-Infinity}`},
			{"a hexadecimal number", inside + `,"x":0x1F}`},
			{"a number with a leading zero", inside + `,"x":01}`},
			{"a number with a plus sign", inside + `,"x":+1}`},
			{"a number that ends with a dot", inside + `,"x":1.}`},
			{"invalid UTF-8", inside + ",\"x\":\"\xff\"}"},
			{"invalid UTF-8 in a name", inside + ",\"\xc3\x28\":1}"},
			{"an overlong UTF-8 form", inside + ",\"x\":\"\xc0\xaf\"}"},
			{"an unknown escape", inside + `,"x":"\x41"}`},
			{"a line feed in a string", inside + ",\"x\":\"\n\"}"},
			{"a vertical tab between", inside + ",\v\"x\":1}"},
			{"nested too deep", inside + `,"x":` + strings.Repeat("[", 4000) + strings.Repeat("]", 4000) + "}"},
			{"nested and not closed", inside + `,"x":` + strings.Repeat(`{"x":`, 1500)},
		}
	}
	c.category = "header-json"
	for _, t := range wrong(c.head.String()) {
		c.sign(ClassAnyRefusal, t.name, t.json, c.body.String())
	}
	c.category = "payload-json"
	for _, t := range wrong(c.body.String()) {
		c.sign(ClassAnyRefusal, t.name, c.head.String(), t.json)
	}
}

func utf16LE(s string) string {
	var b strings.Builder
	for _, r := range []byte(s) {
		b.Write([]byte{r, 0})
	}
	return b.String()
}

func (c *catalogue) duplicates() {
	c.category = "duplicate"
	later := js(c.now.Add(100 * time.Hour).Unix())
	for _, d := range []struct{ name, value string }{
		{"iss", `"https://attacker.example/"`}, {"sub", `"admin"`}, {"aud", `"other"`}, {"exp", later}, {"iat", "1"},
		{"sid", `"other"`}, {"jti", `"other"`},
	} {
		class := ClassInvalid
		if d.name == "iss" {
			class = ClassAnyRefusal
		}
		if c.body.get(d.name) == "" {
			continue
		}
		c.payload(class, d.name+" again behind", c.body.and(d.name, d.value))
		c.payload(class, d.name+" again before", c.body.after(d.name, d.value))
	}
	c.payload(ClassInvalid, "sub again, the same", c.body.and("sub", c.body.get("sub")))
	c.payload(ClassInvalid, "sub again, escaped", c.body.and(`\u0073ub`, `"admin"`))
	c.payload(ClassInvalid, "an unknown claim twice", c.body.and("x", "1").and("x", "2"))
	for _, d := range []struct{ name, claim, value string }{
		{"SUB", "sub", `"admin"`}, {"Sub", "sub", `"admin"`}, {"ſub", "sub", `"admin"`}, {`\u017fub`, "sub", `"admin"`},
		{"ISS", "iss", c.body.get("iss")}, {"iſs", "iss", c.body.get("iss")}, {"eXp", "exp", later},
		{"AUD", "aud", c.body.get("aud")}, {"ſid", "sid", `"other"`}, {"IAT", "iat", "1"}, {"NBF", "nbf", "1"},
	} {
		c.payload(ClassInvalid, strconv.QuoteToASCII(d.name)+" too", c.body.and(d.name, d.value))
		class := ClassInvalid
		if d.claim == "iss" {
			class = ClassAnyRefusal
		}
		if c.body.get(d.claim) != "" {
			c.payload(class, strconv.QuoteToASCII(d.name)+" instead of "+d.claim, c.body.without(d.claim).and(d.name, d.value))
		}
	}
	for _, d := range []struct{ name, value string }{
		{"alg", `"none"`}, {"kid", `"other"`}, {"typ", `"logout+jwt"`},
	} {
		c.sign(ClassInvalid, "header: "+d.name+" again behind", c.head.and(d.name, d.value).String(), c.body.String())
		c.sign(ClassInvalid, "header: "+d.name+" again before", c.head.after(d.name, d.value).String(), c.body.String())
	}
	for _, d := range []struct{ name, value string }{
		{"ALG", `"none"`}, {"Alg", c.head.get("alg")}, {"KID", `"other"`}, {"\u212aid", c.head.get("kid")}, {"TYP", `"JWT"`},
		{"CRIT", `["exp"]`}, {"B64", "false"},
	} {
		c.sign(ClassInvalid, "header: "+strconv.QuoteToASCII(d.name)+" too", c.head.and(d.name, d.value).String(), c.body.String())
	}
	c.sign(ClassInvalid, "header: alg again, escaped", c.head.and(`\u0061lg`, `"none"`).String(), c.body.String())
	c.sign(ClassInvalid, "header: ALG instead of alg", c.head.without("alg").and("ALG", c.head.get("alg")).String(),
		c.body.String())
}

func (c *catalogue) types() {
	c.category = "typ"
	for _, typ := range []string{
		"", " ", "ID", "id_token", "Refresh", "refresh+jwt", "rt+jwt", "logout+jwt", "application/logout+jwt",
		"secevent+jwt", "dpop+jwt", "token-introspection+jwt", "oauth-authz-req+jwt", "client-authentication+jwt",
		"jwt-bearer", "kb+jwt", "vc+sd-jwt", "dc+sd-jwt", "entity-statement+jwt", "passport", "JWE", "JOSE", "JOSE+JSON",
		"at+jwt ", "at+jwt; charset=utf-8", "x/at+jwt", "JWT,at+jwt", "text/JWT", "at+JWT\x00",
	} {
		c.header(ClassInvalid, strconv.QuoteToASCII(typ), "typ", js(typ))
	}
	for i := 0; i < len(otherType); i += 2 {
		c.header(ClassInvalid, otherType[i], "typ", otherType[i+1])
	}
	c.header(ClassInvalid, "an array of the right one", "typ", `["JWT"]`)
}

func (c *catalogue) times() {
	unix := func(d time.Duration) string { return strconv.FormatInt(c.now.Add(d).Unix(), 10) }
	exp, iat := c.body.get("exp"), c.body.get("iat")
	notTimes := func(text string) []string {
		return []string{
			"a string", js(text), "an ISO 8601 string", js(c.now.UTC().Format(time.RFC3339)), "an empty string", `""`,
			"null", "null", "a boolean", "true", "an array", "[" + text + "]", "an object", `{"seconds":` + text + "}",
		}
	}

	c.category = "exp"
	c.payload(ClassInvalid, "missing", c.body.without("exp"))
	c.claims(ClassInvalid, "exp", notTimes(exp)...)
	c.claims(ClassInvalid, "exp", "1e300", "1e300", "beyond float64", "1e400", "beyond int64", "9223372036854775808",
		"minus 1e300", "-1e300", "milliseconds", exp+"000")
	c.claims(ClassAnyRefusal, "exp", "zero", "0", "minus zero", "-0", "negative", "-"+exp, "below a second", "1e-9")
	over := c.body.with("iat", unix(-2*time.Hour))
	for _, e := range []struct{ name, exp string }{
		{"an hour ago", unix(-time.Hour)}, {"an hour ago, with a fraction", unix(-time.Hour) + ".5"},
		{"an hour ago, with an exponent", unix(-time.Hour) + "00e-2"}, {"ten minutes ago", unix(-10 * time.Minute)},
	} {
		c.payload(ClassExpired, e.name, over.with("exp", e.exp))
	}
	c.payload(ClassExpired, "a year ago", c.body.with("iat", unix(-366*24*time.Hour)).with("exp", unix(-365*24*time.Hour)))

	c.category = "nbf"
	c.claims(ClassInvalid, "nbf", notTimes(iat)...)
	c.claims(ClassInvalid, "nbf", "in an hour", unix(time.Hour), "in an hour, with a fraction", unix(time.Hour)+".5",
		"1e300", "1e300", "beyond float64", "1e400", "milliseconds", iat+"000")

	c.category = "iat"
	c.claims(ClassInvalid, "iat", notTimes(iat)...)
	c.claims(ClassInvalid, "iat", "in an hour", unix(time.Hour), "in an hour, with a fraction", unix(time.Hour)+".5",
		"1e300", "1e300", "beyond float64", "1e400", "milliseconds", iat+"000")
}

func (c *catalogue) parties() {
	var iss string
	must(json.Unmarshal([]byte(c.body.get("iss")), &iss))
	bare := strings.TrimSuffix(iss, "/")
	swap := func(old, by string) string { return strings.Replace(iss, old, by, 1) }

	c.category = "iss"
	c.claims(ClassNotMine, "iss", "another", `"https://attacker.example/"`, "in upper case", js(strings.ToUpper(iss)),
		"another scheme", js(swap("http", "ftp")), "one slash more", js(iss+"/"), "a character more", js(iss+"x"),
		"a domain more", js(bare+".attacker.example/"), "space before", js(" "+iss), "space behind", js(iss+" "),
		"NUL behind", js(iss+"\x00"), "line feed behind", js(iss+"\n"), "question mark behind", js(iss+"?"),
		"fragment behind", js(iss+"#"), "first character missing", js(iss[1:]), "its beginning", js(bare[:len(bare)-1]),
		"as a path", js("https://attacker.example/"+iss), "as a query", js("https://attacker.example/?"+iss),
		"three slashes", js(swap("://", ":///")), "user information", js(swap("://", "://attacker@")),
		"fullwidth colon", js(swap(":", "\uff1a")), "soft hyphen inside", js(iss[:1]+"\u00ad"+iss[1:]), "wildcard", `"*"`)
	c.claims(ClassNotMine, "iss", "the slash at the end missing", js(bare))
	c.payload(ClassAnyRefusal, "missing", c.body.without("iss"))
	c.claims(ClassAnyRefusal, "iss", otherType...)
	c.claims(ClassAnyRefusal, "iss", "empty", `""`, "an array of the right one", js([]string{iss}))

	if c.body.get("aud") != "" {
		c.audiences(iss)
	}

	c.category = "sub"
	c.payload(ClassInvalid, "missing", c.body.without(c.user))
	c.claims(ClassInvalid, c.user, otherType...)
	c.claims(ClassInvalid, c.user, "empty", `""`, "blank", `"  "`, "a no-break space", `"\u00a0"`, "an array", `["user-1"]`,
		"NUL", `"user-1\u0000"`, "NUL alone", `"\u0000"`, "a line feed", `"user-1\n"`,
		"a carriage return and a header", `"user-1\r\nX-Admin: 1"`, "a tab", `"user\t1"`,
		"an escape character", `"user-1\u001b[2K"`, "DEL", `"user-1\u007f"`, "a C1 control character", `"user-1\u0085"`,
		"10 KiB", js(strings.Repeat("u", 10<<10)), "half a surrogate pair", `"user-\ud800"`,
		"a surrogate pair the wrong way round", `"user-\udc00\ud800"`)
	c.payload(ClassAnyRefusal, "invalid UTF-8", c.body.with(c.user, "\"user-\xff\""))

	c.category = "sid"
	c.claims(ClassInvalid, c.session, otherType...)
	c.claims(ClassInvalid, c.session, "empty", `""`, "an array", `["session-1"]`)

	c.category = "cnf"
	c.claims(ClassInvalid, "cnf", "a DPoP key", js(Claims{"jkt": b64(make([]byte, 32))}),
		"a certificate", js(Claims{"x5t#S256": b64(make([]byte, 32))}), "a JWK", js(Claims{"jwk": c.key.jwk()}),
		"a key ID", `{"kid":"1"}`, "an unknown method", `{"new":true}`, "empty", "{}", "a string", `"key"`)
}

func (c *catalogue) audiences(iss string) {
	var aud string
	if right := []byte(c.body.get("aud")); json.Unmarshal(right, &aud) != nil {
		var all []string
		must(json.Unmarshal(right, &all))
		aud = all[0]
	}
	c.category = "aud"
	c.payload(ClassInvalid, "missing", c.body.without("aud"))
	c.claims(ClassInvalid, "aud", otherType...)
	c.claims(ClassInvalid, "aud", "another", js("not-"+aud), "empty", `""`, "blank", `" "`, "an empty array", "[]",
		"an array without it", js([]string{"not-" + aud, aud + "-2"}), "an array of an empty string", `[""]`,
		"an array of null", "[null]", "an array of numbers", "[1]", "nested", js([][]string{{aud}}),
		"an object with it", js(Claims{aud: true}), "an object in an array", js([]Claims{{"aud": aud}}),
		"its beginning", js(aud[:len(aud)-1]), "more than it", js(aud+"x"), "something before it", js("x"+aud),
		"a list in a string", js("x,"+aud), "a list with spaces", js("x "+aud), "in upper case", js(strings.ToUpper(aud)),
		"space behind", js(aud+" "), "NUL behind", js(aud+"\x00"), "slash behind", js(aud+"/"), "wildcard", `"*"`,
		"the issuer", js(iss))
}

func (c *catalogue) sizes() {
	c.category = "size"
	header, payload := c.head, c.body
	c.payload(ClassAnyRefusal, "a little over 16 KiB", padded(c.key, header, payload, maxToken+4))
	c.payload(ClassAnyRefusal, "17 KiB", padded(c.key, header, payload, 17<<10))
	c.payload(ClassAnyRefusal, "1 MiB of payload", padded(c.key, header, payload, 1<<20))
	c.payload(ClassAnyRefusal, "1 MiB of small arrays", payload.with("x", "["+strings.Repeat("[],", 250_000)+"[]]"))
	c.header(ClassAnyRefusal, "64 KiB of header", "x", js(strings.Repeat("x", 48<<10)))
	c.header(ClassAnyRefusal, "1 MiB of header", "x", js(strings.Repeat("x", 768<<10)))
	first, second, sig := c.right()
	c.add(ClassAnyRefusal, "64 KiB of signature", first+"."+second+"."+b64(append(sig, make([]byte, 48<<10)...)))
	c.add(ClassAnyRefusal, "1 MiB of dots", strings.Repeat(".", 1<<20))
	c.add(ClassAnyRefusal, "1 MiB of text", strings.Repeat("A", 1<<20))
}
