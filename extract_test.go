package stmigrate_test

import (
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/stmigrate/stmigrate"
)

const website = "https://app.example.com"

func superTokensToken() string {
	part := base64.RawURLEncoding.EncodeToString
	return part([]byte(`{"alg":"RS256","typ":"JWT","kid":"d-1","version":"4"}`)) + "." +
		part([]byte(`{"sub":"u","sessionHandle":"h","refreshTokenHash1":"x"}`)) + ".AAAA"
}

func TestExtract(t *testing.T) {
	t.Parallel()
	everywhere := func(c *stmigrate.Config) {
		c.Origins = []string{website}
		c.Extract = []stmigrate.Extractor{
			stmigrate.FromCookie("legacy"), stmigrate.FromJSON("access_token"), stmigrate.FromBearer(),
			stmigrate.FromRequest(func(r *http.Request) (string, error) {
				if r.Header.Get("X-Fail") != "" {
					return "", errors.New("boom")
				}
				return r.Header.Get("X-Legacy"), nil
			}),
		}
	}
	bearerOnly := func(*stmigrate.Config) {}
	jsonToo := func(c *stmigrate.Config) { c.Origins = []string{website + "/"} }
	big := func(n int) string { return strings.Repeat("a", n) }
	const (
		ok      = "OK"
		bad     = "BAD_REQUEST"
		none    = "NO_LEGACY_SESSION"
		foreign = "FORBIDDEN_ORIGIN"
		invalid = "INVALID_LEGACY_SESSION"
	)
	type headers []string
	json := func(h ...string) headers { return append(headers{"Content-Type", "application/json"}, h...) }

	for name, tt := range map[string]struct {
		config func(*stmigrate.Config)
		header headers
		body   string
		want   string
	}{
		"nothing":                       {bearerOnly, nil, "", none},
		"bearer":                        {bearerOnly, headers{"Authorization", "Bearer tok"}, "", ok},
		"bearer, lower case":            {bearerOnly, headers{"Authorization", "bearer tok"}, "", ok},
		"bearer, upper case":            {bearerOnly, headers{"Authorization", "BEARER tok"}, "", ok},
		"bearer, two spaces":            {bearerOnly, headers{"Authorization", "Bearer  tok"}, "", ok},
		"bearer, tab":                   {bearerOnly, headers{"Authorization", "Bearer\ttok"}, "", bad},
		"bearer, space and tab":         {bearerOnly, headers{"Authorization", "Bearer \ttok"}, "", bad},
		"bearer, no token":              {bearerOnly, headers{"Authorization", "Bearer"}, "", bad},
		"bearer, blank token":           {bearerOnly, headers{"Authorization", "Bearer "}, "", bad},
		"bearer, two tokens":            {bearerOnly, headers{"Authorization", "Bearer tok tok"}, "", bad},
		"bearer, comma":                 {bearerOnly, headers{"Authorization", "Bearer tok, Bearer tok"}, "", bad},
		"bearer, trailing comma":        {bearerOnly, headers{"Authorization", "Bearer tok,"}, "", bad},
		"bearer, quoted":                {bearerOnly, headers{"Authorization", `Bearer "tok"`}, "", bad},
		"bearer, NUL":                   {bearerOnly, headers{"Authorization", "Bearer tok\x00"}, "", bad},
		"bearer, not ASCII":             {bearerOnly, headers{"Authorization", "Bearer tök"}, "", bad},
		"bearer glued":                  {bearerOnly, headers{"Authorization", "Bearertok"}, "", bad},
		"bearer, padding inside":        {bearerOnly, headers{"Authorization", "Bearer t=k"}, "", bad},
		"bearer, padded":                {bearerOnly, headers{"Authorization", "Bearer dG9r=="}, "", invalid},
		"two Authorization headers":     {bearerOnly, headers{"Authorization", "Bearer tok", "Authorization", "Bearer tok"}, "", bad},
		"basic":                         {bearerOnly, headers{"Authorization", "Basic dTpw"}, "", none},
		"a SuperTokens token":           {bearerOnly, headers{"Authorization", "Bearer " + superTokensToken()}, "", none},
		"16 KiB":                        {bearerOnly, headers{"Authorization", "Bearer " + big(16<<10)}, "", invalid},
		"17 KiB":                        {bearerOnly, headers{"Authorization", "Bearer " + big(17<<10)}, "", bad},
		"1 MiB":                         {bearerOnly, headers{"Authorization", "Bearer " + big(1<<20)}, "", bad},
		"five parts":                    {bearerOnly, headers{"Authorization", "Bearer a.b.c.d.e"}, "", invalid},
		"query string":                  {bearerOnly, headers{"X-Query", "1"}, "", none},
		"body, where no body is read":   {bearerOnly, json(), `{"access_token":"tok"}`, none},
		"bearer from any page":          {jsonToo, headers{"Authorization", "Bearer tok", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, "", ok},
		"body":                          {jsonToo, json(), `{"access_token":"tok"}`, ok},
		"body, charset":                 {jsonToo, headers{"Content-Type", "Application/JSON; charset=utf-8"}, `{"access_token":"tok"}`, ok},
		"body, other members":           {jsonToo, json(), `{"a":{"access_token":"x"}, "access_token":"tok"}`, ok},
		"body of the website":           {jsonToo, json("Origin", website, "Sec-Fetch-Site", "cross-site"), `{"access_token":"tok"}`, ok},
		"body of another site":          {jsonToo, json("Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"), `{"access_token":"tok"}`, foreign},
		"body of a sibling subdomain":   {jsonToo, json("Origin", "https://evil.example.com", "Sec-Fetch-Site", "same-site"), `{"access_token":"tok"}`, foreign},
		"body, old browser, other site": {jsonToo, json("Origin", "https://evil.example"), `{"access_token":"tok"}`, foreign},
		"body, null origin":             {jsonToo, json("Origin", "null", "Sec-Fetch-Site", "cross-site"), `{"access_token":"tok"}`, foreign},
		"a form of another site": {jsonToo, headers{"Content-Type", "text/plain", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"},
			`{"access_token":"tok","a":"="}`, foreign},
		"a form with text/plain":         {jsonToo, headers{"Content-Type", "text/plain"}, `{"access_token":"tok"}`, none},
		"a form, urlencoded":             {jsonToo, headers{"Content-Type", "application/x-www-form-urlencoded"}, `access_token=tok`, none},
		"no content type":                {jsonToo, nil, `{"access_token":"tok"}`, none},
		"body without the member":        {jsonToo, json(), `{}`, none},
		"empty body":                     {jsonToo, json(), ``, none},
		"null":                           {jsonToo, json(), `{"access_token":null}`, none},
		"number":                         {jsonToo, json(), `{"access_token":1}`, bad},
		"array":                          {jsonToo, json(), `["tok"]`, bad},
		"not JSON":                       {jsonToo, json(), `{"access_token":`, bad},
		"two objects":                    {jsonToo, json(), `{"access_token":"tok"}{}`, bad},
		"duplicate member":               {jsonToo, json(), `{"access_token":"tok","access_token":"x"}`, bad},
		"case-folded member":             {jsonToo, json(), `{"Access_Token":"tok"}`, none},
		"deep":                           {jsonToo, json(), strings.Repeat(`{"a":`, 20_000), bad},
		"body of 64 KiB":                 {jsonToo, json(), `{"access_token":"tok","pad":"` + big(64<<10-31) + `"}`, ok},
		"body of 65 KiB":                 {jsonToo, json(), `{"access_token":"tok","pad":"` + big(65<<10) + `"}`, bad},
		"token of 17 KiB in the body":    {jsonToo, json(), `{"access_token":"` + big(17<<10) + `"}`, bad},
		"same token twice":               {jsonToo, json("Authorization", "Bearer tok"), `{"access_token":"tok"}`, ok},
		"two different tokens":           {jsonToo, json("Authorization", "Bearer tok"), `{"access_token":"other"}`, bad},
		"a SuperTokens token and a body": {jsonToo, json("Authorization", "Bearer "+superTokensToken()), `{"access_token":"tok"}`, ok},
		"bearer and axios's empty body":  {jsonToo, json("Authorization", "Bearer tok"), `{}`, ok},
		"foreign bearer, body not read":  {jsonToo, json("Authorization", "Bearer tok", "Origin", "https://evil.example"), `{"access_token":"other"}`, ok},
		"cookie":                         {everywhere, headers{"Cookie", "legacy=tok"}, "", ok},
		"cookie of the website":          {everywhere, headers{"Cookie", "legacy=tok", "Origin", website, "Sec-Fetch-Site", "cross-site"}, "", ok},
		"cookie, other site":             {everywhere, headers{"Cookie", "legacy=tok", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, "", foreign},
		"two cookies of one name":        {everywhere, headers{"Cookie", "legacy=tok; legacy=tok"}, "", bad},
		"cookie and bearer differ":       {everywhere, headers{"Cookie", "legacy=tok", "Authorization", "Bearer x"}, "", bad},
		"own function":                   {everywhere, headers{"X-Legacy", "tok"}, "", ok},
		"own function, other site":       {everywhere, headers{"X-Legacy", "tok", "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"}, "", foreign},
		"own function fails":             {everywhere, headers{"X-Fail", "1"}, "", bad},
		"own function, 17 KiB":           {everywhere, headers{"X-Legacy", big(17 << 10)}, "", bad},
		"idempotency key":                {bearerOnly, headers{"Authorization", "Bearer tok", "Idempotency-Key", "0b2e"}, "", ok},
		"two idempotency keys":           {bearerOnly, headers{"Authorization", "Bearer tok", "Idempotency-Key", "a", "Idempotency-Key", "b"}, "", bad},
		"empty idempotency key":          {bearerOnly, headers{"Authorization", "Bearer tok", "Idempotency-Key", ""}, "", bad},
		"long idempotency key":           {bearerOnly, headers{"Authorization", "Bearer tok", "Idempotency-Key", big(256)}, "", bad},
		"idempotency key required":       {func(c *stmigrate.Config) { c.RequireIdempotencyKey = true }, headers{"Authorization", "Bearer tok"}, "", bad},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, tt.config)
			r.add("tok", "user-1", "sid-1", "")
			req := httptest.NewRequest(http.MethodPost, "https://api.example.com/migrate-session?access_token=tok", strings.NewReader(tt.body))
			for i := 0; i < len(tt.header); i += 2 {
				req.Header.Add(tt.header[i], tt.header[i+1])
			}
			w := r.do(req)
			assert.JSONEq(t, `{"status":"`+tt.want+`"}`, w.Body.String())
			minted := 0
			if tt.want == ok {
				minted = 1
			}
			assert.Equal(t, minted, r.sessions.Created())
			if tt.want == bad || tt.want == none || tt.want == foreign {
				assert.Zero(t, r.verifier.Calls(), "refused before anything is parsed")
			}
		})
	}
}

// FuzzExtract: whatever a request holds, it is answered with one of the classes, and only the right token mints.
func FuzzExtract(f *testing.F) {
	f.Add("Bearer tok", "application/json", `{"access_token":"tok"}`, "https://app.example.com", "legacy=tok")
	f.Add("bearer \t", "text/plain", "{", "null", "legacy=a; legacy=b")
	f.Add("Bearer "+superTokensToken(), "application/json;x", `{"access_token":"a","access_token":"b"}`, "", "")
	f.Fuzz(func(t *testing.T, authorization, contentType, body, origin, cookie string) {
		r := newRig(t, func(c *stmigrate.Config) {
			c.Origins = []string{website}
			c.Extract = []stmigrate.Extractor{stmigrate.FromBearer(), stmigrate.FromJSON("access_token"), stmigrate.FromCookie("legacy")}
		})
		r.add("tok", "user-1", "sid-1", "")
		req := httptest.NewRequest(http.MethodPost, "https://api.example.com/", strings.NewReader(body))
		for name, v := range map[string]string{"Authorization": authorization, "Content-Type": contentType, "Origin": origin, "Cookie": cookie} {
			if v != "" {
				req.Header.Set(name, v)
			}
		}
		w := r.do(req)
		switch w.Code {
		case 200:
			if !strings.Contains(authorization+body+cookie, "tok") && !strings.Contains(body, `\u`) {
				t.Errorf("minted from nothing: %q %q %q", authorization, body, cookie)
			}
		case 400, 401, 403:
			if r.sessions.Created() != 0 {
				t.Errorf("%d and yet a session was minted", w.Code)
			}
		default:
			t.Errorf("status %d %s", w.Code, w.Body)
		}
	})
}
