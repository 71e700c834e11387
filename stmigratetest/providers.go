package stmigratetest

import (
	"crypto/rand"
	"embed"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

//go:embed testdata/providers/*.json
var providerFiles embed.FS

// Provider is an [Issuer] that plays a legacy provider which package providers has a preset for: [Issuer.Auth0],
// [Issuer.Cognito], [Issuer.Okta], [Issuer.Firebase] and [Issuer.Keycloak] return one. Its tokens are those of the provider's
// documentation (testdata/providers has them, with address and date), signed with the issuer's keys and dated to the issuer's
// clock. It stands at the provider's own addresses for whoever calls with [Provider.Client]; the issuer's switches name its
// routes ("POST /oauth/revoke"), and [Issuer.Revoked] tells what was revoked there. Safe for concurrent use.
type Provider struct {
	// ClientID is the application that the tokens were issued to. With ClientSecret it may call the OAuth endpoints.
	ClientID, ClientSecret string
	// APIToken is the bearer token that the provider's own API wants.
	APIToken string

	iss     *Issuer
	tokens  []providerToken
	user    string // the claim that names the user
	session string // the claim that names the session
	hosts   []string
	anyAud  bool // the audience does not matter
}

// providerToken is an entry of the golden files.
type providerToken struct {
	Name string
	// Source is "documented", "described" or "observed" at Address, or "derived".
	Source, Address string
	// Like names the token that this one is but for Header and Claims.
	Like           string
	Header, Claims Claims
	// Want is what the preset's verifier makes of it, "accepted" or a class, and Subject whom it names then.
	Want, Subject string
}

// play makes the issuer a provider. The first of the golden tokens is the one of a sign-in.
func (iss *Issuer) play(file, clientID, user, session string) *Provider {
	p := &Provider{ClientID: clientID, ClientSecret: "secret-" + rand.Text(), APIToken: "api-" + rand.Text(),
		iss: iss, user: user, session: session}
	var golden struct{ Tokens []providerToken }
	must(json.Unmarshal(must1(providerFiles.ReadFile("testdata/providers/"+file+".json")), &golden))
	p.tokens = golden.Tokens
	return p
}

// at serves routes ("POST /path") at a host of the provider.
func (p *Provider) at(host string, routes map[string]http.HandlerFunc) {
	mux := http.NewServeMux()
	for pattern, handler := range routes {
		mux.HandleFunc(pattern, handler)
	}
	p.hosts = append(p.hosts, host)
	p.iss.mu.Lock()
	defer p.iss.mu.Unlock()
	p.iss.played[host] = mux
}

func (iss *Issuer) playedAt(host string) http.Handler {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	return iss.played[host]
}

// Client returns a client for which the issuer stands at the provider's addresses, https://my-domain.auth0.com, say. Every other
// address is an error, so that a test sees what else is called. Who plays the same provider again takes the place of the first.
func (p *Provider) Client() *http.Client {
	return &http.Client{Transport: providerTransport{p, p.iss.srv.Client().Transport}}
}

type providerTransport struct {
	p    *Provider
	next http.RoundTripper
}

func (t providerTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" || !slices.Contains(t.p.hosts, r.URL.Host) {
		return nil, fmt.Errorf("stmigratetest: the provider is not at %s://%s, only at https and %v", r.URL.Scheme, r.URL.Host, t.p.hosts)
	}
	r = r.Clone(r.Context())
	r.Host = r.URL.Host
	r.URL.Scheme, r.URL.Host, _ = strings.Cut(t.p.iss.URL, "://")
	return t.next.RoundTrip(r)
}

// Token makes a token of the golden file by its name, with claims over its own; a nil deletes one. It panics if there is none of
// that name. The provider's endpoints know it.
func (p *Provider) Token(name string, claims ...Claims) string {
	header, payload := p.parts(name)
	payload = merged(append([]Claims{payload}, claims...)...)
	token := p.iss.Sign(header, payload)
	p.remember(token, payload)
	return token
}

// parts returns header and claims of a golden token, dated to now.
func (p *Provider) parts(name string) (header, claims Claims) {
	i := slices.IndexFunc(p.tokens, func(t providerToken) bool { return t.Name == name })
	if i < 0 {
		panic(fmt.Sprintf("stmigratetest: the provider has no token %q", name))
	}
	t := p.tokens[i]
	header, claims = Claims{}, Claims{}
	if t.Like != "" {
		header, claims = p.parts(t.Like)
	} else {
		// The distance between sign-in and issue stays.
		iat, _ := t.Claims["iat"].(float64)
		auth, since := t.Claims["auth_time"].(float64)
		claims["iat"], claims["exp"] = p.iss.Now().Unix(), p.iss.Now().Add(p.iss.cfg.TokenLifetime).Unix()
		if since {
			claims["auth_time"] = p.iss.Now().Add(-time.Duration(iat-auth) * time.Second).Unix()
		}
	}
	maps.Copy(header, t.Header)
	for name, value := range t.Claims {
		switch _, number := value.(float64); {
		case value == nil:
			delete(claims, name)
		case number && slices.Contains([]string{"iat", "exp", "auth_time"}, name):
		default:
			claims[name] = value
		}
	}
	return header, claims
}

func (p *Provider) remember(token string, claims Claims) {
	p.iss.remember(token, claims)
	session, _ := claims[p.session].(string)
	p.iss.mu.Lock()
	defer p.iss.mu.Unlock()
	p.iss.grants[token].sessionID = session
}

// SignIn opens a session of subject in the application. The claims go over those of the access token.
func (p *Provider) SignIn(subject string, claims ...Claims) Session {
	_, payload := p.parts(p.tokens[0].Name)
	s := Session{Subject: subject, SessionID: rand.Text(), RefreshToken: "rt_" + rand.Text()}
	own := Claims{p.user: subject, p.session: s.SessionID}
	for name, value := range map[string]string{"sub": subject, "user_id": subject, "jti": rand.Text(), "session_state": s.SessionID} {
		if _, ok := payload[name]; ok {
			own[name] = value
		}
	}
	s.AccessToken = p.Token(p.tokens[0].Name, append([]Claims{own}, claims...)...)
	p.iss.mu.Lock()
	defer p.iss.mu.Unlock()
	p.iss.grants[s.AccessToken].sessionID = s.SessionID
	p.iss.grants[s.RefreshToken] = &issuerGrant{claims: own, sessionID: s.SessionID, refresh: true}
	return s
}

// Good returns the tokens that the provider's preset must accept.
func (p *Provider) Good() (good []GoodToken) {
	for _, t := range p.tokens {
		if t.Want != "accepted" {
			continue
		}
		subject := t.Subject
		if subject == "" {
			_, claims := p.parts(t.Name)
			subject, _ = claims[p.user].(string)
		}
		good = append(good, GoodToken{Name: t.Name, Token: p.Token(t.Name), Subject: subject})
	}
	return good
}

// Traps returns the tokens of the provider that its preset must refuse though their signature holds: of another kind, for another
// application, of another user pool. Their category is "provider".
func (p *Provider) Traps() (traps []WrongToken) {
	for _, t := range p.tokens {
		if t.Want != "accepted" {
			traps = append(traps, WrongToken{Category: "provider", Name: t.Name, Token: p.Token(t.Name), Class: t.Want, Signed: true})
		}
	}
	return traps
}

// Wrong returns Traps and the catalogue of [Issuer.Wrong] for the provider's own token.
func (p *Provider) Wrong() []WrongToken {
	header, claims := p.parts(p.tokens[0].Name)
	key := p.iss.key()
	head := asObject(merged(Claims{"alg": key.alg, "kid": key.id, "typ": "JWT"}, header))
	attacks := p.iss.wrongLike(head, asObject(claims), p.user, p.session)
	return append(p.Traps(), slices.DeleteFunc(attacks, func(w WrongToken) bool { return p.anyAud && w.Category == "aud" })...)
}

func asObject(claims Claims) (o object) {
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		o = append(o, member{name, js(claims[name])})
	}
	return o
}

// Auth0 plays the tenant my-domain.auth0.com, with the API https://example.com/health-api. The access tokens of [Provider.SignIn]
// have the session's ID in the claim https://example.com/sid, where an Action would put it.
//
//	GET    /.well-known/jwks.json, /.well-known/openid-configuration
//	POST   /oauth/revoke                 refresh tokens alone
//	POST   /api/v2/sessions/{id}/revoke
//	DELETE /api/v2/sessions/{id}
func (iss *Issuer) Auth0() *Provider {
	p := iss.play("auth0", "my_client_id", "sub", "https://example.com/sid")
	const base = "https://my-domain.auth0.com"
	end := p.api(func(w http.ResponseWriter, r *http.Request) {
		if !p.end(r, r.PathValue("id")) {
			iss.reply(w, http.StatusNotFound, Claims{"statusCode": 404, "error": "Not Found", "message": "The session does not exist."})
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}, Claims{"statusCode": 401, "error": "Unauthorized", "message": "Invalid token"})
	p.at("my-domain.auth0.com", map[string]http.HandlerFunc{
		"GET /.well-known/jwks.json":            iss.serveJWKS,
		"GET /.well-known/openid-configuration": p.metadata(base+"/", base+"/.well-known/jwks.json", base+"/oauth/revoke"),
		"POST /oauth/revoke":                    p.revocation(func(g *issuerGrant) bool { return g.refresh }),
		"POST /api/v2/sessions/{id}/revoke":     end,
		"DELETE /api/v2/sessions/{id}":          end,
	})
	return p
}

// Cognito plays the user pool us-west-2_example.
//
//	GET  /us-west-2_example/.well-known/jwks.json
//	POST /                                 RevokeToken, GlobalSignOut
func (iss *Issuer) Cognito() *Provider {
	p := iss.play("cognito", "57cbishk4j24pabc1234567890", "sub", "origin_jti")
	p.at("cognito-idp.us-west-2.amazonaws.com", map[string]http.HandlerFunc{
		"GET /us-west-2_example/.well-known/jwks.json": iss.serveJWKS,
		"POST /{$}": p.serveCognito,
	})
	return p
}

func (p *Provider) serveCognito(w http.ResponseWriter, r *http.Request) {
	refuse := func(kind string) {
		p.iss.reply(w, http.StatusBadRequest, Claims{"__type": kind, "message": "refused"})
	}
	var body struct{ Token, ClientID, ClientSecret, AccessToken string }
	operation, ok := strings.CutPrefix(r.Header.Get("X-Amz-Target"), "AWSCognitoIdentityProviderService.")
	if err := json.NewDecoder(r.Body).Decode(&body); !ok || err != nil {
		refuse("SerializationException")
		return
	}
	p.iss.mu.Lock()
	token, access := p.iss.grants[body.Token], p.iss.grants[body.AccessToken]
	p.iss.mu.Unlock()
	switch {
	case operation == "RevokeToken" && body.ClientID != p.ClientID:
		refuse("InvalidParameterException")
	case operation == "RevokeToken" && token != nil && !token.refresh:
		refuse("UnsupportedTokenTypeException")
	case operation == "RevokeToken":
		p.iss.revoke(body.Token, "", "RevokeToken")
		p.iss.reply(w, http.StatusOK, Claims{})
	case operation == "GlobalSignOut" && (access == nil || access.refresh):
		refuse("NotAuthorizedException")
	case operation == "GlobalSignOut":
		p.endAll("sub", access.claims["sub"])
		p.iss.reply(w, http.StatusOK, Claims{})
	default:
		refuse("UnknownOperationException")
	}
}

// Okta plays the custom authorization server 0oacqf8qaJw56czJi0g4 of the org example.okta.com, with the API
// https://api.example.com.
//
//	GET  /oauth2/0oacqf8qaJw56czJi0g4/v1/keys
//	GET  /oauth2/0oacqf8qaJw56czJi0g4/.well-known/openid-configuration
//	POST /oauth2/0oacqf8qaJw56czJi0g4/v1/revoke       200 for every token
//	POST /oauth2/0oacqf8qaJw56czJi0g4/v1/introspect
//	GET  /oauth2/v1/keys                              the org's
func (iss *Issuer) Okta() *Provider {
	p := iss.play("okta", "nmdP1fcyvdVO11AL7ECm", "uid", "sid")
	const server = "/oauth2/0oacqf8qaJw56czJi0g4"
	const base = "https://example.okta.com" + server
	p.at("example.okta.com", map[string]http.HandlerFunc{
		"GET " + server + "/v1/keys":                          iss.serveJWKS,
		"GET " + server + "/.well-known/openid-configuration": p.metadata(base, base+"/v1/keys", base+"/v1/revoke"),
		"POST " + server + "/v1/revoke":                       p.revocation(func(*issuerGrant) bool { return true }),
		"POST " + server + "/v1/introspect":                   p.introspection,
		"GET /oauth2/v1/keys":                                 iss.serveJWKS,
	})
	return p
}

// Firebase plays the project example-project. What signs ID tokens signs session cookies, too.
//
//	GET  /robot/v1/metadata/x509/securetoken@system.gserviceaccount.com   certificates for ID tokens
//	GET  /identitytoolkit/v3/relyingparty/publicKeys                      certificates for session cookies
//	POST /v1/projects/example-project/accounts:update                     validSince: all sessions of the user end
func (iss *Issuer) Firebase() *Provider {
	p := iss.play("firebase", "", "sub", "sid")
	certificates := func(w http.ResponseWriter, _ *http.Request) {
		iss.mu.Lock()
		body := iss.jwks
		iss.mu.Unlock()
		if body == nil {
			body = iss.CertificatesJSON()
		}
		w.Header().Set("Content-Type", "application/json; charset=UTF-8")
		w.Header().Set("Cache-Control", "public, max-age=19302, must-revalidate, no-transform")
		_, _ = w.Write(body)
	}
	p.at("www.googleapis.com", map[string]http.HandlerFunc{
		"GET /robot/v1/metadata/x509/securetoken@system.gserviceaccount.com": certificates,
		"GET /identitytoolkit/v3/relyingparty/publicKeys":                    certificates,
	})
	p.at("identitytoolkit.googleapis.com", map[string]http.HandlerFunc{
		"POST /v1/projects/example-project/accounts:update": p.api(func(w http.ResponseWriter, r *http.Request) {
			var body struct{ LocalID, ValidSince string }
			if json.NewDecoder(r.Body).Decode(&body) != nil || body.ValidSince == "" || !p.endAll("sub", body.LocalID) {
				iss.reply(w, http.StatusBadRequest, Claims{"error": Claims{"code": 400, "message": "USER_NOT_FOUND"}})
				return
			}
			iss.reply(w, http.StatusOK, Claims{"kind": "identitytoolkit#SetAccountInfoResponse", "localId": body.LocalID})
		}, Claims{"error": Claims{"code": 401, "status": "UNAUTHENTICATED"}}),
	})
	return p
}

// Keycloak plays the realm something at sso.example.com.
//
//	GET    /realms/something/protocol/openid-connect/certs
//	GET    /realms/something/.well-known/openid-configuration
//	POST   /realms/something/protocol/openid-connect/revoke
//	POST   /realms/something/protocol/openid-connect/token/introspect
//	POST   /realms/something/protocol/openid-connect/token            client_credentials for the admin API
//	DELETE /admin/realms/something/sessions/{id}
//	POST   /admin/realms/something/users/{id}/logout
func (iss *Issuer) Keycloak() *Provider {
	p := iss.play("keycloak", "something", "sub", "sid")
	p.anyAud = true
	const realm = "/realms/something"
	const base = "https://sso.example.com" + realm
	const connect = realm + "/protocol/openid-connect"
	unauthorized := Claims{"error": "HTTP 401 Unauthorized"}
	p.at("sso.example.com", map[string]http.HandlerFunc{
		"GET " + connect + "/certs":                          iss.serveJWKS,
		"GET " + realm + "/.well-known/openid-configuration": p.metadata(base, "https://sso.example.com"+connect+"/certs", "https://sso.example.com"+connect+"/revoke"),
		"POST " + connect + "/revoke":                        p.revocation(func(*issuerGrant) bool { return true }),
		"POST " + connect + "/token/introspect":              p.introspection,
		"POST " + connect + "/token": func(w http.ResponseWriter, r *http.Request) {
			grant, ok := iss.formOf(w, r, "grant_type", p.ClientID, p.ClientSecret)
			switch {
			case !ok:
			case grant != "client_credentials":
				iss.refuse(w, http.StatusBadRequest, "unsupported_grant_type")
			default:
				iss.reply(w, http.StatusOK, Claims{"access_token": p.APIToken, "token_type": "Bearer", "expires_in": 60})
			}
		},
		"DELETE /admin" + realm + "/sessions/{id}": p.api(func(w http.ResponseWriter, r *http.Request) {
			if !p.end(r, r.PathValue("id")) {
				iss.reply(w, http.StatusNotFound, Claims{"error": "Sesssion not found"})
				return
			}
			w.WriteHeader(http.StatusNoContent)
		}, unauthorized),
		"POST /admin" + realm + "/users/{id}/logout": p.api(func(w http.ResponseWriter, r *http.Request) {
			p.endAll("sub", r.PathValue("id"))
			w.WriteHeader(http.StatusNoContent)
		}, unauthorized),
	})
	return p
}

// api asks for the bearer token of the provider's own API.
func (p *Provider) api(next http.HandlerFunc, unauthorized Claims) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !equal(r.Header.Get("Authorization"), "Bearer "+p.APIToken) {
			p.iss.reply(w, http.StatusUnauthorized, unauthorized)
			return
		}
		next(w, r)
	}
}

// revocation is an endpoint of RFC 7009 for tokens of some kind. It is silent about others.
func (p *Provider) revocation(kind func(*issuerGrant) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, ok := p.iss.formOf(w, r, "token", p.ClientID, p.ClientSecret)
		if !ok {
			return
		}
		p.iss.mu.Lock()
		g := p.iss.grants[token]
		p.iss.mu.Unlock()
		if g != nil && kind(g) {
			p.iss.revoke(token, r.PostForm.Get("token_type_hint"), "POST "+r.URL.Path)
		}
		w.WriteHeader(http.StatusOK)
	}
}

func (p *Provider) introspection(w http.ResponseWriter, r *http.Request) {
	if token, ok := p.iss.formOf(w, r, "token", p.ClientID, p.ClientSecret); ok {
		p.iss.introspect(w, token)
	}
}

func (p *Provider) metadata(issuer, keys, revocation string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		p.iss.reply(w, http.StatusOK, Claims{"issuer": issuer, "jwks_uri": keys, "revocation_endpoint": revocation,
			"id_token_signing_alg_values_supported": []string{p.iss.cfg.Algorithm}})
	}
}

// end ends a session. It reports whether there was one that lived.
func (p *Provider) end(r *http.Request, id string) bool {
	p.iss.mu.Lock()
	defer p.iss.mu.Unlock()
	known := false
	for _, g := range p.iss.grants {
		known = known || g.sessionID == id
	}
	if !known || p.iss.ended[id] {
		return false
	}
	p.iss.ended[id] = true
	p.iss.revocations = append(p.iss.revocations, Revocation{Time: p.iss.Now(), Route: r.Method + " " + r.URL.Path, SessionID: id})
	return true
}

// endAll ends the sessions of a user. It reports whether the user ever had one.
func (p *Provider) endAll(claim string, user any) (known bool) {
	p.iss.mu.Lock()
	defer p.iss.mu.Unlock()
	for _, g := range p.iss.grants {
		if user != nil && g.claims[claim] == user {
			known = true
			p.iss.end(g)
		}
	}
	return known
}
