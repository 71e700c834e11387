package ask

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestRedact(t *testing.T) {
	t.Parallel()
	token := "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyLTEifQ.c2lnbmF0dXJlLWJ5dGVz"
	for _, tt := range []struct{ text, token, want string }{
		{"", token, ""},
		{"status 500", token, "status 500"},
		{"bad token " + token + ", sorry", token, "bad token [redacted], sorry"},
		{token, token, "[redacted]"},
		{token + token, token, "[redacted][redacted]"},
		{"signature " + token[len(token)-16:], token, "signature [redacted]"},
		{"its part " + token[3:40] + "...", token, "its part [redacted]..."},
		{"15 bytes: " + token[:15], token, "15 bytes: " + token[:15]},
		{"ü " + token + " ü", token, "ü [redacted] ü"},
		{"short abc and abc", "abc", "short [redacted] and [redacted]"},
		{"no token", "", "no token"},
	} {
		assert.Equal(t, tt.want, Redact(tt.text, tt.token), tt.text)
	}
}
