package claims

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestJSONObject(t *testing.T) {
	for text, want := range map[string]error{
		``: ErrSyntax, `[]`: ErrSyntax, `null`: ErrSyntax, `{`: ErrSyntax, `{}x`: ErrSyntax, `{}{}`: ErrSyntax,
		`{,}`: ErrSyntax, `{"a":1,}`: ErrSyntax, `{"a"}`: ErrSyntax, `{"a":}`: ErrSyntax, `{a:1}`: ErrSyntax, `{'a':1}`: ErrSyntax,
		`{"a":01}`: ErrSyntax, `{"a":+1}`: ErrSyntax, `{"a":1.}`: ErrSyntax, `{"a":.5}`: ErrSyntax, `{"a":1e}`: ErrSyntax,
		`{"a":-}`: ErrSyntax, `{"a":0x1}`: ErrSyntax, `{"a":NaN}`: ErrSyntax, `{"a":nul}`: ErrSyntax, `{"a":truefalse}`: ErrSyntax,
		"{\"a\":\"\n\"}": ErrSyntax, `{"a":"\x"}`: ErrSyntax, `{"a":"\u12"}`: ErrSyntax, `{"a":"\u12g4"}`: ErrSyntax, `{"a":"\`: ErrSyntax,
		"{\"a\":1}\x00": ErrSyntax, "{\v}": ErrSyntax, `{"a":[1,]}`: ErrSyntax, `{"a":[1 2]}`: ErrSyntax, `{"a":"`: ErrSyntax,
		`{"a":"\ud800"}`: errJSONEncoding, `{"a":"\udc00\ud800"}`: errJSONEncoding, `{"a":"\ud800\u0041"}`: errJSONEncoding, "{\"a\":\"\xff\"}": errJSONEncoding,
		`{"a":1,"a":1}`: errJSONDuplicate, `{"a":1,"\u0061":1}`: errJSONDuplicate, `{"b":[{"a":1,"a":1}]}`: errJSONDuplicate,
		strings.Repeat(`{"a":`, 33) + "1" + strings.Repeat("}", 33): errJSONDepth, `{"a":` + strings.Repeat("[", 5000): errJSONDepth,
	} {
		_, err := Object(text)
		assert.ErrorIs(t, err, want, "%.60q", text)
	}
	object, err := Object(" {\"a\":[true,false,null,-0.5E+10,\"\\ud83d\\ude00\\/\\n\u00fc\",{},[]],\r\n\"\":1}\t")
	require.NoError(t, err)
	assert.Equal(t, map[string]any{
		"a": []any{true, false, nil, json.Number("-0.5E+10"), "😀/\nü", map[string]any{}, []any{}}, "": json.Number("1"),
	}, object)
	_, err = Object(strings.Repeat(`{"a":`, 32) + "1" + strings.Repeat("}", 32))
	assert.NoError(t, err)
}

// The reader agrees with encoding/json on every text but those that it refuses on purpose.
func FuzzJSONObject(f *testing.F) {
	for _, text := range []string{
		`{}`, `{"iss":"https://legacy.example/","sub":"user-1","aud":["api"],"exp":1800000000,"iat":1.7e9}`, `{"a":[true,false,null,-0.5E+10,"\ud83d\ude00\/\n"],"b":{"c":{}}}`, `{"a":1,"a":2}`, `{"\ud800":1}`, "{\"\xff\":1}", `{"a":01}`, `{"a":"\u0000"}`,
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := Object(text)
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		var want any
		if wantErr := d.Decode(&want); wantErr == nil {
			_, wantErr = d.Token()
			if wantErr != io.EOF {
				want = nil
			}
		} else {
			want = nil
		}
		object, isObject := want.(map[string]any)
		switch {
		case err == nil:
			if !isObject || !assert.ObjectsAreEqual(object, got) {
				t.Fatalf("%q: %v, encoding/json reads %v", text, got, want)
			}
			if n, _ := jsonCountNames(text); n != jsonCountMembers(got) {
				t.Fatalf("%q: %d names, %d members", text, n, jsonCountMembers(got))
			}
		case errors.Is(err, ErrSyntax):
			if isObject {
				t.Fatalf("%q: refused, encoding/json reads %v", text, want)
			}
		case errors.Is(err, errJSONDuplicate):
			if n, ok := jsonCountNames(text); ok && n == jsonCountMembers(object) {
				t.Fatalf("%q: no duplicate", text)
			}
		case errors.Is(err, errJSONEncoding):
			if utf8.ValidString(text) && !strings.Contains(strings.ToLower(text), `\ud`) {
				t.Fatalf("%q: valid", text)
			}
		case errors.Is(err, errJSONDepth):
			if strings.Count(text, "[")+strings.Count(text, "{") <= MaxDepth {
				t.Fatalf("%q: not deep", text)
			}
		}
	})
}

// jsonCountNames counts the names in text, and members after duplicates were lost.
func jsonCountNames(text string) (n int, ok bool) {
	d := json.NewDecoder(strings.NewReader(text))
	type level struct{ object, name bool }
	levels := []level{{}}
	for {
		token, err := d.Token()
		if err != nil {
			return n, err == io.EOF
		}
		at := &levels[len(levels)-1]
		if d, isDelim := token.(json.Delim); isDelim && (d == '}' || d == ']') {
			levels = levels[:len(levels)-1]
			continue
		}
		if at.object {
			if at.name = !at.name; at.name {
				n++
				continue
			}
		}
		if d, isDelim := token.(json.Delim); isDelim {
			levels = append(levels, level{object: d == '{'})
		}
	}
}

func jsonCountMembers(v any) (n int) {
	switch v := v.(type) {
	case map[string]any:
		for _, v := range v {
			n += 1 + jsonCountMembers(v)
		}
	case []any:
		for _, v := range v {
			n += jsonCountMembers(v)
		}
	}
	return n
}
