package providers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/internal/ask"
	"github.com/stmigrate/stmigrate/internal/safedial"
)

const (
	discoverTimeout = 5 * time.Second
	discoverMaxBody = 512 << 10
)

// discoverAlgorithms are the signature algorithms that keys which are published can verify (RFC 7518 §3.1, RFC 8037).
var discoverAlgorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// DiscoverConfig configures [Discover]. Audience and ClientIDs are required.
type DiscoverConfig struct {
	// Audience is what the issuer puts into aud for this API. With AllowIDTokens it must be empty: ID tokens are for ClientIDs.
	Audience []string
	// ClientIDs are the applications whose users are migrated (azp, client_id or cid).
	ClientIDs []string
	// AllowIDTokens is for applications that show their ID token: they are accepted, and access tokens are refused.
	AllowIDTokens bool
	// Algorithms narrows what the metadata offers. Default: all of it that public keys can verify.
	Algorithms []string
	// KeyOrigins are further origins at which the keys may be ("https://www.googleapis.com"). Default: the issuer's alone.
	KeyOrigins []string
	// AllowPrivate names hosts that may be at addresses of this machine or of a private network ("sso.internal"); to loopback
	// addresses http will do, then. Default: none may.
	AllowPrivate []string
	// HTTPClient makes the calls, here and for the keys; for a proxy or a private CA. It brings its own dialing, so it MUST
	// refuse private addresses itself where that matters, and AllowPrivate only says where http will do. Default: a client that
	// refuses them. Whatever it allows, redirects are not followed.
	HTTPClient *http.Client
}

// Discover is the preset for any OpenID Connect provider, by its metadata (OpenID Connect Discovery 1.0 §4). It is for start-up: it
// calls the provider once, and an error is [stmigrate.ErrUnavailable] where another try may help.
//
// The metadata must name exactly this issuer, and come from its address over https, without a redirect, within 5 s and 512 KiB. The
// keys' address must be https and of the same origin, or of one in KeyOrigins. Algorithms are those that the metadata names for
// ID tokens and that public keys can verify: "none" and HMAC never.
//
// Refused, as far as claims that are standard tell: ID tokens for access tokens (nonce, at_hash, c_hash) and the other way round
// (scope, scp), machine tokens (the subject is the client), tokens of other applications, tokens with act. What else the provider
// says, such as typ or token_use in the payload, is not known here: append checks to Preset.JWT.Checks, and set SessionIDClaims.
// By default the session is sid, which at most providers is the single sign-on session that applications share.
func Discover(ctx context.Context, issuer string, cfg DiscoverConfig) (*Preset, error) {
	if err := cfg.validate(issuer); err != nil {
		return nil, err
	}
	client, err := cfg.client()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, discoverTimeout)
	defer cancel()
	var m metadata
	if err := m.fetch(ctx, client, strings.TrimSuffix(issuer, "/")+"/.well-known/openid-configuration"); err != nil {
		return nil, fmt.Errorf("providers: metadata of %s: %w", issuer, err)
	}
	algorithms, err := cfg.accept(issuer, &m)
	if err != nil {
		return nil, fmt.Errorf("providers: metadata of %s: %w", issuer, err)
	}
	p := &Preset{
		Keys: stmigrate.JWKSConfig{URL: m.Keys, HTTPClient: client},
		JWT: stmigrate.JWTConfig{
			Issuer: issuer, Audience: slices.Clone(cfg.Audience), Algorithms: algorithms,
			Checks: append([]check{noMachine("azp", "client_id", "cid")}, noActor(false)...),
		},
		Endpoints: Endpoints{Revocation: m.Revocation, Introspection: m.Introspection, UserInfo: m.UserInfo},
	}
	if cfg.AllowIDTokens {
		const why = "it is an access token, and AllowIDTokens wants ID tokens"
		p.JWT.Audience = slices.Clone(cfg.ClientIDs)
		p.JWT.Checks = append(p.JWT.Checks, presented(cfg.ClientIDs), hasNot("scope", why), hasNot("scp", why), hasNot("events", "it is a logout token"))
		return p, nil
	}
	p.JWT.Checks = slices.Concat(p.JWT.Checks, []check{ofClient(cfg.ClientIDs, "azp", "client_id", "cid")}, noIDToken())
	return p, nil
}

func (cfg DiscoverConfig) validate(issuer string) error {
	if err := cfg.address(issuer); err != nil {
		return fmt.Errorf("providers: issuer: %w", err)
	}
	if err := needSome("DiscoverConfig.ClientIDs", cfg.ClientIDs, "the applications whose users are migrated"); err != nil {
		return err
	}
	if cfg.AllowIDTokens {
		return needNone("DiscoverConfig.Audience", cfg.Audience, "AllowIDTokens")
	}
	if err := needSome("DiscoverConfig.Audience", cfg.Audience, "what the issuer puts into aud for this API"); err != nil {
		return err
	}
	if slices.ContainsFunc(cfg.Audience, func(aud string) bool { return slices.Contains(cfg.ClientIDs, aud) }) {
		return errors.New("providers: DiscoverConfig.Audience has a client ID: that is the audience of ID tokens; see AllowIDTokens")
	}
	return nil
}

// address checks an address of the provider: https without a query, or http to this machine where that is allowed.
func (cfg DiscoverConfig) address(text string) error {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("not an address")
	case u.Host == "" || u.User != nil || u.Fragment != "" || u.RawQuery != "" || u.ForceQuery:
		return fmt.Errorf("%q: scheme and host wanted, without user, query and fragment", u.Redacted())
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && slices.Contains(cfg.AllowPrivate, u.Hostname()) && ask.Loopback(u.Hostname()):
		return nil
	}
	return fmt.Errorf("%q: https wanted", text)
}

var errRedirected = errors.New("it redirects, which is not followed")

// client follows no redirects, and unless it is the caller's reaches no private address.
func (cfg DiscoverConfig) client() (*http.Client, error) {
	client := new(http.Client)
	if cfg.HTTPClient != nil {
		*client = *cfg.HTTPClient
	} else {
		transport, err := safedial.Transport(cfg.AllowPrivate)
		if err != nil {
			return nil, fmt.Errorf("providers: DiscoverConfig.%w", err)
		}
		client.Transport = transport
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return errRedirected }
	return client, nil
}

// metadata is what is read of a provider's metadata. The names are matched to the letter.
type metadata struct {
	Issuer, Keys                        string
	Revocation, Introspection, UserInfo string
	Algorithms                          []string
}

func (m *metadata) fetch(ctx context.Context, client *http.Client, address string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	r.Header.Set("Accept", "application/json")
	res, err := client.Do(r)
	switch {
	case errors.Is(err, errRedirected), errors.Is(err, safedial.ErrNotPublic):
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", stmigrate.ErrUnavailable, err)
	}
	defer func() { _ = res.Body.Close() }()
	switch code := res.StatusCode; {
	case code == http.StatusTooManyRequests, code >= http.StatusInternalServerError:
		return fmt.Errorf("%w: status %d, 200 wanted", stmigrate.ErrUnavailable, code)
	case code != http.StatusOK:
		return fmt.Errorf("status %d, 200 wanted", code)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, discoverMaxBody+1))
	if err != nil {
		return fmt.Errorf("%w: %w", stmigrate.ErrUnavailable, err)
	}
	if len(body) > discoverMaxBody {
		return fmt.Errorf("an answer of more than %d bytes", discoverMaxBody)
	}
	return m.parse(body)
}

// parse reads the metadata. A map, since a struct would take "Issuer" for "issuer", too.
func (m *metadata) parse(body []byte) error {
	var fields map[string]json.RawMessage
	d := json.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(&fields); err != nil || fields == nil || d.More() {
		return errors.New("not one JSON object")
	}
	for name, into := range map[string]any{
		"issuer": &m.Issuer, "jwks_uri": &m.Keys, "id_token_signing_alg_values_supported": &m.Algorithms,
		"revocation_endpoint": &m.Revocation, "introspection_endpoint": &m.Introspection, "userinfo_endpoint": &m.UserInfo,
	} {
		if raw, ok := fields[name]; ok && json.Unmarshal(raw, into) != nil {
			return fmt.Errorf("%s is of another type than it should be", name)
		}
	}
	return nil
}

// accept holds metadata against the rules and returns the algorithms of tokens.
func (cfg DiscoverConfig) accept(issuer string, m *metadata) ([]string, error) {
	if m.Issuer != issuer {
		return nil, fmt.Errorf("it names the issuer %.200q: another one (the two must be equal to the letter)", m.Issuer)
	}
	if m.Keys == "" {
		return nil, errors.New("it has no jwks_uri")
	}
	u, err := url.Parse(m.Keys)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("jwks_uri is no address")
	}
	own, _ := url.Parse(issuer)
	origin := u.Scheme + "://" + u.Host
	if origin != own.Scheme+"://"+own.Host && !slices.Contains(cfg.KeyOrigins, origin) {
		return nil, fmt.Errorf("jwks_uri is at %.200q: neither the issuer's origin nor in KeyOrigins", origin)
	}
	if err := cfg.address(origin); err != nil {
		return nil, fmt.Errorf("jwks_uri: %w", err)
	}
	for name, address := range map[string]string{
		"revocation_endpoint": m.Revocation, "introspection_endpoint": m.Introspection, "userinfo_endpoint": m.UserInfo,
	} {
		if address == "" {
			continue
		}
		if err := cfg.address(address); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	safe := slices.DeleteFunc(slices.Clone(discoverAlgorithms), func(alg string) bool {
		return !slices.Contains(m.Algorithms, alg) || len(cfg.Algorithms) > 0 && !slices.Contains(cfg.Algorithms, alg)
	})
	if len(safe) == 0 {
		return nil, fmt.Errorf("it offers the algorithms %.200q; one that is configured, and of %v, is wanted", m.Algorithms, discoverAlgorithms)
	}
	return safe, nil
}
