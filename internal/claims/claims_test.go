package claims

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestFold(t *testing.T) {
	for _, pair := range [][2]string{{"sub", "SUB"}, {"sub", "ſub"}, {"kid", "\u212aid"}, {"имя", "ИМЯ"}, {"ß", "ẞ"}, {"σ", "ς"}, {"Å", "\u212b"}} {
		assert.True(t, strings.EqualFold(pair[0], pair[1]), pair)
		assert.Equal(t, fold(pair[0]), fold(pair[1]), pair)
	}
	assert.NotEqual(t, fold("sub"), fold("suv"))
	assert.Equal(t, "sub", fold("ſUB"))
}

func FuzzFold(f *testing.F) {
	f.Add("sub", "ſub")
	f.Add("kid", "\u212aID")
	f.Add("a", "b")
	f.Fuzz(func(t *testing.T, a, b string) {
		if !json.Valid([]byte(a)) || !json.Valid([]byte(b)) {
			a, b = strings.ToValidUTF8(a, ""), strings.ToValidUTF8(b, "")
		}
		if strings.EqualFold(a, b) != (fold(a) == fold(b)) {
			t.Fatalf("%q %q: %v", a, b, strings.EqualFold(a, b))
		}
	})
}
