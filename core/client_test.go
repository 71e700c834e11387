package core

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNew(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cfg   Config
		hosts []string
		err   string // "" is none
	}{
		{"one host", Config{ConnectionURI: "http://localhost:3567"}, []string{"http://localhost:3567"}, ""},
		{"several, with paths, slashes and spaces",
			Config{ConnectionURI: "https://a/; https://b:1/base/x.y ;http://[::1]:3567/appid-shop-1/"},
			[]string{"https://a", "https://b:1/base/x.y", "http://[::1]:3567/appid-shop-1"}, ""},
		{"missing", Config{}, nil, "ConnectionURI is missing"},
		{"empty entry", Config{ConnectionURI: "https://a;"}, nil, "entry 2: is empty"},
		{"no scheme", Config{ConnectionURI: "localhost:3567"}, nil, "entry 1: is not an http or https URL"},
		{"other scheme", Config{ConnectionURI: "ftp://a"}, nil, "is not an http or https URL"},
		{"no host", Config{ConnectionURI: "https:///x"}, nil, "is not an http or https URL with a host"},
		{"only a port", Config{ConnectionURI: "https://:3567"}, nil, "is not an http or https URL with a host"},
		{"user info", Config{ConnectionURI: "https://user:hunter2@a"}, nil, "holds a user or password"},
		{"query", Config{ConnectionURI: "https://a/?x=1"}, nil, "query or fragment"},
		{"empty query", Config{ConnectionURI: "https://a?"}, nil, "query or fragment"},
		{"fragment", Config{ConnectionURI: "https://a/#x"}, nil, "query or fragment"},
		{"dots", Config{ConnectionURI: "https://a/../b"}, nil, "plain segments"},
		{"escaped slash", Config{ConnectionURI: "https://a/b%2fc"}, nil, "plain segments"},
		{"double slash", Config{ConnectionURI: "https://a//b"}, nil, "plain segments"},
		{"app in the middle", Config{ConnectionURI: "https://a/appid-x/b"}, nil, "app ID"},
		{"app in upper case", Config{ConnectionURI: "https://a/appid-X"}, nil, "app ID"},
		{"APPID", Config{ConnectionURI: "https://a/APPID-x"}, nil, "app ID"},
		{"app without a name", Config{ConnectionURI: "https://a/appid-"}, nil, "app ID"},
		{"key with a line break", Config{ConnectionURI: "https://a", APIKey: "hunter2\n"}, nil, "APIKey"},
		{"negative timeout", Config{ConnectionURI: "https://a", Timeout: -1}, nil, "Timeout"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := New(tt.cfg)
			if tt.err != "" {
				require.ErrorContains(t, err, tt.err)
				assert.NotContains(t, err.Error(), "hunter2")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tt.hosts, c.hosts)
			assert.Equal(t, 10*time.Second, c.timeout)
		})
	}
}

func FuzzParseHost(f *testing.F) {
	for _, seed := range []string{"https://a:1/b/appid-x", "http://u:p@a", "http://[::1]/", "https://a?b", "//a", "https://a/%2e%2e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		host, err := parseHost(uri)
		if err != nil {
			return
		}
		u, err := url.Parse(host + "/recipe/session?x=1")
		require.NoError(t, err)
		assert.Nil(t, u.User)
		assert.NotEmpty(t, u.Hostname())
		assert.True(t, strings.HasSuffix(u.Path, "/recipe/session"))
		for _, segment := range strings.Split(u.Path, "/") {
			assert.NotContains(t, []string{".", ".."}, segment)
		}
		assert.Equal(t, "x=1", u.RawQuery)
	})
}

func TestValidTenantID(t *testing.T) {
	for id, valid := range map[string]bool{
		"": true, "public": true, "a": true, "tenant-1": true, "recipes": true, "ee": true, strings.Repeat("a", 64): true,
		strings.Repeat("a", 65): false, "Tenant": false, "a.b": false, "a/b": false, "a b": false, "ä": false, "..": false, "a\n": false,
		"appid-": false, "appid-x": false, "recipe": false, "users": false, "user": false, "hello": false, "config": false,
		"apiversion": false, ".well-known": false, "%70ublic": false,
	} {
		assert.Equal(t, valid, ValidTenantID(id) == nil, "%q", id)
	}
}

func TestSecretsAreNotPrinted(t *testing.T) {
	c, err := New(Config{ConnectionURI: "https://a", APIKey: "hunter2"})
	require.NoError(t, err)
	token := Token{Token: "hunter2"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d"} {
		for _, v := range []any{c, token, &token, struct{ T Token }{token}, []*Token{&token}} {
			assert.NotContains(t, fmt.Sprintf(verb, v), "hunter2", "%s %T", verb, v)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "c", c, "t", token, "p", &token)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "c", c, "t", token, "p", &token)
	assert.NotContains(t, log.String(), "hunter2")
	assert.Contains(t, log.String(), "[token]")
}

// TestNoProxy: one of the environment would see tokens and the API key.
func TestNoProxy(t *testing.T) {
	c, err := New(Config{ConnectionURI: "https://a"})
	require.NoError(t, err)
	assert.Nil(t, c.http.Transport.(*http.Transport).Proxy)
}
