package coreemu

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxBody bounds a request's body, in bytes.
const maxBody = 1 << 20

// reply is the JSON object of an answer.
type reply map[string]any

// status is an answer of which only the status speaks.
func status(s string) reply { return reply{"status": s} }

func unauthorised(message string) reply { return reply{"status": "UNAUTHORISED", "message": message} }

// request is what a handler needs to know. Its field readers remember the first thing that was wrong in err, so that a
// handler reads everything and then looks once.
type request struct {
	path   string
	tenant string
	cdi    cdi
	rid    string
	query  url.Values
	body   map[string]any
	header http.Header // of the answer
	err    error
}

// readObject decodes a body. Numbers stay as they were sent.
func readObject(w http.ResponseWriter, r *http.Request) (map[string]any, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		return nil, &failure{http.StatusRequestEntityTooLarge, "Request body is larger than 1 MiB"}
	}
	if err != nil {
		return nil, badRequest("Invalid Json Input")
	}
	object, err := decodeObject(raw)
	if err != nil {
		return nil, badRequest("Invalid Json Input")
	}
	return object, nil
}

// decodeObject reads exactly one JSON object.
func decodeObject(raw []byte) (map[string]any, error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) || object == nil {
		return nil, errors.New("not one JSON object")
	}
	return object, nil
}

func (r *request) invalid(name string) { r.fail("Field name '" + name + "' is invalid in JSON input") }

func (r *request) fail(text string) {
	if r.err == nil {
		r.err = badRequest("%s", text)
	}
}

// field reads a member of the body. A member that is null is of the wrong type, as in the real core.
func field[T any](r *request, name string, optional bool) (value T, present bool) {
	member, present := r.body[name]
	value, ok := member.(T)
	if !ok && (present || !optional) {
		r.invalid(name)
	}
	return value, present
}

func (r *request) str(name string) string   { s, _ := field[string](r, name, false); return s }
func (r *request) boolean(name string) bool { b, _ := field[bool](r, name, false); return b }
func (r *request) object(name string) map[string]any {
	o, _ := field[map[string]any](r, name, false)
	return o
}
func (r *request) optStr(name string) (string, bool) { return field[string](r, name, true) }
func (r *request) optBool(name string) (bool, bool)  { return field[bool](r, name, true) }
func (r *request) optList(name string) ([]any, bool) { return field[[]any](r, name, true) }
func (r *request) optFlag(name string, def bool) bool {
	if b, ok := r.optBool(name); ok {
		return b
	}
	return def
}

// trimmed is a string that must not be blank.
func (r *request) trimmed(name string) string { return r.notBlank(name, r.str(name)) }

// trimmedParam is a query parameter that must not be blank.
func (r *request) trimmedParam(name string) string { return r.notBlank(name, r.param(name)) }

func (r *request) notBlank(name, s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		r.fail("Field name '" + name + "' cannot be an empty String")
	}
	return s
}

// optStrings is a list of strings.
func (r *request) optStrings(name string) ([]string, bool) {
	list, present := r.optList(name)
	out := make([]string, 0, len(list))
	for _, e := range list {
		s, ok := e.(string)
		if !ok {
			r.invalid(name)
		}
		out = append(out, s)
	}
	return out, present
}

// email is normalised as the core does it.
func (r *request) email(name string) string { return normaliseEmail(r.str(name)) }

func normaliseEmail(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

// param is a query parameter that must be there.
func (r *request) param(name string) string {
	if !r.query.Has(name) {
		r.fail("Field name '" + name + "' is missing in GET request")
	}
	return r.query.Get(name)
}

// flag is a query parameter that is "true" or not.
func (r *request) flag(name string, def bool) bool {
	if !r.query.Has(name) {
		return def
	}
	return strings.EqualFold(r.query.Get(name), "true")
}

// wholeApp refuses a named tenant where the API is about the whole app.
func (r *request) wholeApp() error {
	if r.cdi >= cdi5_0 && r.tenant != publicTenant {
		return forbidden("Only public tenantId can call this app specific API")
	}
	return nil
}
