package revoke

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestEndpoints(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		"https://legacy.example/revoke":      true,
		"https://legacy.example/revoke?a=b":  true,
		"http://127.0.0.1:1/revoke":          true,
		"http://[::1]:1/revoke":              true,
		"http://localhost/revoke":            true,
		"http://legacy.example/revoke":       false,
		"http://localhost.evil.example/":     false,
		"http://127.0.0.1.evil.example/":     false,
		"ftp://legacy.example/":              false,
		"https://user:pw@legacy.example/":    false,
		"https://legacy.example/#fragment":   false,
		"https:///revoke":                    false,
		"//legacy.example/revoke":            false,
		"legacy.example":                     false,
		"":                                   false,
		"https://legacy.example/%zz":         false,
		"https://legacy.example:port/revoke": false,
	} {
		if err := (HTTP{}).endpoint(text, false); ok {
			assert.NoError(t, err, text)
		} else if assert.Error(t, err, text) {
			assert.NotContains(t, err.Error(), "pw", text)
		}
	}
	assert.NoError(t, HTTP{InsecureHTTP: true}.endpoint("http://legacy.example/revoke", false))
	assert.Error(t, HTTP{InsecureHTTP: true}.endpoint("ftp://legacy.example/revoke", false))
	assert.Error(t, HTTP{}.endpoint("https://legacy.example/?a=b", true), "paths are added behind it")
}
