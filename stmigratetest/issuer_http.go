package stmigratetest

import (
	"crypto/subtle"
	"encoding/json"
	"encoding/pem"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxIssuerBody bounds what the endpoints read.
const maxIssuerBody = 64 << 10

// handler returns the endpoints behind the redirects.
func (iss *Issuer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", iss.serveDiscovery)
	mux.HandleFunc("GET /.well-known/jwks.json", iss.serveJWKS)
	mux.HandleFunc("GET /userinfo", iss.serveUserInfo)
	mux.HandleFunc("POST /userinfo", iss.serveUserInfo)
	mux.HandleFunc("POST /introspect", iss.serveIntrospect)
	mux.HandleFunc("POST /revoke", iss.serveRevoke)
	mux.HandleFunc("POST /token", iss.serveToken)
	mux.HandleFunc("POST /logout", iss.serveLogout)
	mux.HandleFunc("GET /attacker/jwks.json", func(w http.ResponseWriter, r *http.Request) {
		iss.reply(w, http.StatusOK, Claims{"keys": []any{iss.attackerKey().jwk()}})
	})
	mux.HandleFunc("GET /attacker/cert.pem", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/x-pem-file")
		_ = pem.Encode(w, &pem.Block{Type: "CERTIFICATE", Bytes: iss.attackerKey().certificate(iss.Now())})
	})
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := iss.redirectOf(r); to != "" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxIssuerBody)
		if played := iss.playedAt(r.Host); played != nil {
			played.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func (iss *Issuer) redirectOf(r *http.Request) string {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	for _, to := range slices.Backward(iss.redirects) {
		if len(to.routes) == 0 || slices.Contains(to.routes, r.URL.Path) || slices.Contains(to.routes, r.Method+" "+r.URL.Path) {
			return to.url
		}
	}
	return ""
}

func (iss *Issuer) serveDiscovery(w http.ResponseWriter, _ *http.Request) {
	auth := []string{"none"}
	if iss.cfg.ClientSecret != "" {
		auth = []string{"client_secret_basic", "client_secret_post"}
	}
	iss.reply(w, http.StatusOK, Claims{
		"issuer":                                iss.cfg.Issuer,
		"jwks_uri":                              iss.JWKSURL(),
		"userinfo_endpoint":                     iss.UserInfoURL(),
		"introspection_endpoint":                iss.IntrospectionURL(),
		"revocation_endpoint":                   iss.RevocationURL(),
		"token_endpoint":                        iss.TokenURL(),
		"token_endpoint_auth_methods_supported": auth,
		"grant_types_supported":                 []string{"refresh_token", "password"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": []string{iss.cfg.Algorithm},
	})
}

func (iss *Issuer) serveJWKS(w http.ResponseWriter, _ *http.Request) {
	iss.mu.Lock()
	body := iss.jwks
	if body == nil {
		body = keySet(iss.keys, iss.oddKeys)
	}
	iss.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body)
}

func (iss *Issuer) serveUserInfo(w http.ResponseWriter, r *http.Request) {
	g, _ := iss.bearer(w, r)
	if g == nil {
		return
	}
	info := Claims{"sub": g.claims["sub"]}
	iss.mu.Lock()
	for _, u := range iss.users {
		if u.subject == g.claims["sub"] {
			info["email"] = u.email
		}
	}
	iss.mu.Unlock()
	iss.reply(w, http.StatusOK, info)
}

func (iss *Issuer) serveLogout(w http.ResponseWriter, r *http.Request) {
	g, token := iss.bearer(w, r)
	if g == nil {
		return
	}
	iss.mu.Lock()
	defer iss.mu.Unlock()
	iss.end(g)
	done := Revocation{Time: iss.Now(), Route: "POST /logout", Token: token, SessionID: g.sessionID}
	iss.revocations = append(iss.revocations, done)
	w.WriteHeader(http.StatusNoContent)
}

func (iss *Issuer) serveIntrospect(w http.ResponseWriter, r *http.Request) {
	if token, ok := iss.form(w, r, "token"); ok {
		iss.introspect(w, token)
	}
}

func (iss *Issuer) introspect(w http.ResponseWriter, token string) {
	iss.mu.Lock()
	g := iss.grants[token]
	live := iss.live(g)
	iss.mu.Unlock()
	if !live {
		iss.reply(w, http.StatusOK, Claims{"active": false})
		return
	}
	answer := maps.Clone(g.claims)
	answer["active"] = true
	if !g.refresh {
		answer["token_type"] = "Bearer"
	}
	iss.reply(w, http.StatusOK, answer)
}

// serveRevoke ends one access token, or the whole session of a refresh token, spent or not (RFC 7009 §2.1).
func (iss *Issuer) serveRevoke(w http.ResponseWriter, r *http.Request) {
	token, ok := iss.form(w, r, "token")
	if !ok {
		return
	}
	iss.revoke(token, r.PostForm.Get("token_type_hint"), "POST /revoke")
	w.WriteHeader(http.StatusOK)
}

func (iss *Issuer) revoke(token, hint, route string) {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	done := Revocation{Time: iss.Now(), Route: route, Token: token, TokenTypeHint: hint}
	if g := iss.grants[token]; g != nil {
		done.SessionID = g.sessionID
		if g.refresh {
			iss.end(g)
		}
		g.revoked = true
	}
	iss.revocations = append(iss.revocations, done)
}

func (iss *Issuer) serveToken(w http.ResponseWriter, r *http.Request) {
	grant, ok := iss.form(w, r, "grant_type")
	if !ok {
		return
	}
	var claims Claims
	switch grant {
	case "refresh_token":
		claims = iss.spend(r.PostForm.Get("refresh_token"))
	case "password":
		claims = iss.authenticate(r.PostForm.Get("username"), r.PostForm.Get("password"))
	default:
		iss.refuse(w, http.StatusBadRequest, "unsupported_grant_type")
		return
	}
	if claims == nil {
		iss.refuse(w, http.StatusBadRequest, "invalid_grant")
		return
	}
	s := iss.openSession(claims)
	iss.reply(w, http.StatusOK, Claims{
		"access_token": s.AccessToken, "token_type": "Bearer", "expires_in": int(iss.cfg.TokenLifetime.Seconds()),
		"refresh_token": s.RefreshToken,
	})
}

// spend takes a refresh token once, or for RefreshReuse. Shown again it was stolen, and its session ends (RFC 9700 §4.14.2).
func (iss *Issuer) spend(refreshToken string) Claims {
	iss.mu.Lock()
	defer iss.mu.Unlock()
	g := iss.grants[refreshToken]
	if g == nil || !g.refresh {
		return nil
	}
	if !iss.fresh(g) {
		iss.end(g)
	}
	if !iss.live(g) {
		return nil
	}
	if g.spent.IsZero() {
		g.spent = iss.Now()
	}
	return g.claims
}

func (iss *Issuer) authenticate(email, password string) Claims {
	iss.mu.Lock()
	u, ok := iss.users[strings.ToLower(email)]
	iss.mu.Unlock()
	if !equal(u.password, password) || !ok {
		return nil
	}
	return iss.sessionClaims(u.subject)
}

// end ends the session of g, or g alone if it has none. The caller holds the lock.
func (iss *Issuer) end(g *issuerGrant) {
	g.revoked = true
	if g.sessionID != "" {
		iss.ended[g.sessionID] = true
	}
}

// bearer returns what r's bearer token was given out for. If it is not a live access token, the request is answered (RFC 6750
// §3), and the grant is nil.
func (iss *Issuer) bearer(w http.ResponseWriter, r *http.Request) (*issuerGrant, string) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		w.Header().Set("WWW-Authenticate", "Bearer")
		iss.refuse(w, http.StatusUnauthorized, "invalid_request")
		return nil, ""
	}
	iss.mu.Lock()
	g := iss.grants[token]
	live := iss.live(g) && !g.refresh
	iss.mu.Unlock()
	if !live {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		iss.refuse(w, http.StatusUnauthorized, "invalid_token")
		return nil, ""
	}
	return g, token
}

// form authenticates the configured client, if there is one, as formOf does.
func (iss *Issuer) form(w http.ResponseWriter, r *http.Request, required string) (value string, ok bool) {
	return iss.formOf(w, r, required, iss.cfg.ClientID, iss.cfg.ClientSecret)
}

// formOf authenticates the client, unless clientID is empty, and returns the one parameter that must be there. If it cannot,
// the request is answered.
func (iss *Issuer) formOf(w http.ResponseWriter, r *http.Request, required, clientID, clientSecret string) (value string, ok bool) {
	if err := r.ParseForm(); err != nil {
		iss.refuse(w, http.StatusBadRequest, "invalid_request")
		return "", false
	}
	id, secret, basic := r.BasicAuth()
	repeated := func() bool {
		for _, values := range r.PostForm {
			if len(values) > 1 {
				return true
			}
		}
		return false
	}
	if repeated() || r.PostForm.Get(required) == "" || basic && r.PostForm.Has("client_secret") {
		iss.refuse(w, http.StatusBadRequest, "invalid_request")
		return "", false
	}
	if basic {
		id, _ = url.QueryUnescape(id)
		secret, _ = url.QueryUnescape(secret)
	} else {
		id, secret = r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	}
	if clientID != "" && (!equal(id, clientID) || !equal(secret, clientSecret)) {
		w.Header().Set("WWW-Authenticate", `Basic realm="issuer"`)
		iss.refuse(w, http.StatusUnauthorized, "invalid_client")
		return "", false
	}
	return r.PostForm.Get(required), true
}

func (iss *Issuer) reply(w http.ResponseWriter, status int, body Claims) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// refuse answers with an OAuth error (RFC 6749 §5.2).
func (iss *Issuer) refuse(w http.ResponseWriter, status int, code string) {
	iss.reply(w, status, Claims{"error": code})
}

func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
