// Package claims reads what providers say: strict JSON with one reading only, names and times.
package claims

import (
	"encoding/json"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// MaxDepth bounds nesting: legacy tokens nest a handful of levels.
const MaxDepth = 32

var (
	// ErrSyntax: not JSON, or not an object.
	ErrSyntax        = errors.New("not one valid JSON object")
	errJSONEncoding  = errors.New("JSON that is not valid Unicode")
	errJSONDuplicate = errors.New("a JSON object with a name that stands twice")
	errJSONDepth     = errors.New("JSON nested deeper than 32 levels")
)

// Object decodes text, which must be one JSON object (RFC 8259) and nothing else. Where encoding/json takes the last of
// two members or replaces what is no Unicode, two readers could see two different things; here it is an error. Numbers are
// json.Number. Strings share memory with text.
func Object(text string) (map[string]any, error) {
	if !utf8.ValidString(text) {
		return nil, errJSONEncoding
	}
	r := jsonReader{text: text}
	r.space()
	if r.peek() != '{' {
		return nil, ErrSyntax
	}
	r.pos++
	object, err := r.object(1)
	if err != nil {
		return nil, err
	}
	if r.space(); r.pos != len(text) {
		return nil, ErrSyntax
	}
	return object, nil
}

type jsonReader struct {
	text string
	pos  int
}

// peek returns the next byte, 0 at the end. A NUL is valid nowhere outside of strings, so the two need not be told apart.
func (r *jsonReader) peek() byte {
	if r.pos < len(r.text) {
		return r.text[r.pos]
	}
	return 0
}

func (r *jsonReader) space() {
	for r.pos < len(r.text) {
		switch r.text[r.pos] {
		case ' ', '\t', '\n', '\r':
			r.pos++
		default:
			return
		}
	}
}

// next skips white space and takes c if it follows.
func (r *jsonReader) next(c byte) bool {
	r.space()
	if r.peek() != c {
		return false
	}
	r.pos++
	return true
}

// object reads what follows a '{'.
func (r *jsonReader) object(depth int) (map[string]any, error) {
	if depth > MaxDepth {
		return nil, errJSONDepth
	}
	if r.next('}') {
		return map[string]any{}, nil
	}
	size := 0
	if depth == 1 {
		size = min(strings.Count(r.text, `":`), 16) // about as many as there are names: a header has three
	}
	object := make(map[string]any, size)
	for {
		if !r.next('"') {
			return nil, ErrSyntax
		}
		name, err := r.string()
		if err != nil {
			return nil, err
		}
		if !r.next(':') {
			return nil, ErrSyntax
		}
		value, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		known := len(object)
		object[name] = value
		if len(object) == known {
			return nil, errJSONDuplicate
		}
		if r.next('}') {
			return object, nil
		}
		if !r.next(',') {
			return nil, ErrSyntax
		}
	}
}

// array reads what follows a '['.
func (r *jsonReader) array(depth int) ([]any, error) {
	if depth > MaxDepth {
		return nil, errJSONDepth
	}
	array := []any{}
	if r.next(']') {
		return array, nil
	}
	for {
		value, err := r.value(depth)
		if err != nil {
			return nil, err
		}
		array = append(array, value)
		if r.next(']') {
			return array, nil
		}
		if !r.next(',') {
			return nil, ErrSyntax
		}
	}
}

func (r *jsonReader) value(depth int) (any, error) {
	r.space()
	switch c := r.peek(); c {
	case '"':
		r.pos++
		return boxed(r.string())
	case '{':
		r.pos++
		return boxed(r.object(depth + 1))
	case '[':
		r.pos++
		return boxed(r.array(depth + 1))
	case 't':
		return true, r.literal("true")
	case 'f':
		return false, r.literal("false")
	case 'n':
		return nil, r.literal("null")
	default:
		return boxed(r.number())
	}
}

func boxed[T any](v T, err error) (any, error) { return v, err }

func (r *jsonReader) literal(word string) error {
	if !strings.HasPrefix(r.text[r.pos:], word) {
		return ErrSyntax
	}
	r.pos += len(word)
	return nil
}

// number reads -? (0 | [1-9][0-9]*) (\.[0-9]+)? ([eE][+-]?[0-9]+)?.
func (r *jsonReader) number() (json.Number, error) {
	start := r.pos
	if r.peek() == '-' {
		r.pos++
	}
	if r.peek() == '0' {
		r.pos++
	} else if !r.digits() {
		return "", ErrSyntax
	}
	if r.peek() == '.' {
		r.pos++
		if !r.digits() {
			return "", ErrSyntax
		}
	}
	if c := r.peek(); c == 'e' || c == 'E' {
		r.pos++
		if c := r.peek(); c == '+' || c == '-' {
			r.pos++
		}
		if !r.digits() {
			return "", ErrSyntax
		}
	}
	return json.Number(r.text[start:r.pos]), nil
}

func (r *jsonReader) digits() bool {
	start := r.pos
	for c := r.peek(); '0' <= c && c <= '9'; c = r.peek() {
		r.pos++
	}
	return r.pos > start
}

// string reads what follows a '"'.
func (r *jsonReader) string() (string, error) {
	start := r.pos
	for r.pos < len(r.text) {
		switch c := r.text[r.pos]; {
		case c == '"':
			r.pos++
			return r.text[start : r.pos-1], nil
		case c == '\\':
			return r.escapedString(start)
		case c < ' ':
			return "", ErrSyntax
		}
		r.pos++
	}
	return "", ErrSyntax
}

// escapedString reads on from the first backslash of a string that began at start.
func (r *jsonReader) escapedString(start int) (string, error) {
	out := append(make([]byte, 0, r.pos-start+32), r.text[start:r.pos]...)
	for r.pos < len(r.text) {
		c := r.text[r.pos]
		r.pos++
		switch {
		case c == '"':
			return string(out), nil
		case c < ' ':
			return "", ErrSyntax
		case c != '\\':
			out = append(out, c)
			continue
		}
		c = r.peek()
		r.pos++
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			u, err := r.escapedRune()
			if err != nil {
				return "", err
			}
			out = utf8.AppendRune(out, u)
		default:
			return "", ErrSyntax
		}
	}
	return "", ErrSyntax
}

// escapedRune reads what follows a \u. Half a surrogate pair is no character.
func (r *jsonReader) escapedRune() (rune, error) {
	u, ok := r.hex4()
	if !ok {
		return 0, ErrSyntax
	}
	if !utf16.IsSurrogate(u) {
		return u, nil
	}
	if !strings.HasPrefix(r.text[r.pos:], `\u`) {
		return 0, errJSONEncoding
	}
	r.pos += 2
	low, ok := r.hex4()
	if !ok {
		return 0, ErrSyntax
	}
	if u = utf16.DecodeRune(u, low); u == utf8.RuneError {
		return 0, errJSONEncoding
	}
	return u, nil
}

func (r *jsonReader) hex4() (u rune, ok bool) {
	if r.pos+4 > len(r.text) {
		return 0, false
	}
	for _, c := range []byte(r.text[r.pos : r.pos+4]) {
		switch {
		case '0' <= c && c <= '9':
			u = u<<4 | rune(c-'0')
		case 'a' <= c && c <= 'f':
			u = u<<4 | rune(c-'a'+10)
		case 'A' <= c && c <= 'F':
			u = u<<4 | rune(c-'A'+10)
		default:
			return 0, false
		}
	}
	r.pos += 4
	return u, true
}
