// Package contract replays recorded conversations with a SuperTokens core against any core, and tells what differs.
//
// The format is that of the recordings in internal/coreemu/testdata/core-contract: steps, and for each CDI version what
// the recorded core answered. Values that change from run to run stand there as their kind, <uuid>, <jwt>, <ms> and so on.
package contract

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Scenario is a recorded conversation.
type Scenario struct {
	Name     string // the file's
	CDI      []string
	Steps    []Step
	Recorded map[string][]Answer
}

// Step is one request. {{var}} in a path, header, query or body stands for a captured value.
type Step struct {
	Name      string
	Method    string
	Path      string
	Headers   map[string]string
	Query     map[string]string
	Body      any
	Raw       *string           // the body as it is, instead of Body
	Capture   map[string]string // variable: dotted path into the answer
	Unordered []string          // lists whose order means nothing
	Sleep     float64           // seconds to wait before
}

// Answer is what a core said: its status code, its media type without parameters, and its body, JSON or text.
type Answer struct {
	Name   string
	Status int
	Type   string
	Body   any
}

// Diff is a step whose answer is not the recorded one.
type Diff struct {
	CDI, Step string
	Lines     []string // where: what was recorded, what came
}

func (d Diff) String() string {
	return fmt.Sprintf("cdi %s, %s\n    %s", d.CDI, d.Step, strings.Join(d.Lines, "\n    "))
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 4 << 20

// Load reads a recording. One that is incomplete is an error.
func Load(path string) (*Scenario, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &Scenario{Name: filepath.Base(path)}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(s.CDI) == 0 || len(s.Steps) == 0 {
		return nil, fmt.Errorf("%s: no CDI versions or no steps", path)
	}
	for _, cdi := range s.CDI {
		if len(s.Recorded[cdi]) != len(s.Steps) {
			return nil, fmt.Errorf("%s: %d answers recorded at CDI %s, want one for each of %d steps",
				path, len(s.Recorded[cdi]), cdi, len(s.Steps))
		}
	}
	return s, nil
}

// Check replays the scenario at every CDI version against the core at baseURL and returns the answers that differ from the
// recorded ones. A core that does not answer differs.
func (s *Scenario) Check(ctx context.Context, baseURL string, client *http.Client) []Diff {
	var diffs []Diff
	for _, cdi := range s.CDI {
		vars := map[string]any{"uniq": strings.ToLower(rand.Text()[:12])}
		for i, step := range s.Steps {
			time.Sleep(time.Duration(step.Sleep * float64(time.Second)))
			want := s.Recorded[cdi][i]
			want.Body = order(want.Body, step.Unordered)
			got, err := step.run(ctx, baseURL, client, cdi, vars)
			lines := []string{fmt.Sprintf("no answer: %v", err)}
			if err == nil {
				got.Name = want.Name
				lines = compare("", toJSON(want), toJSON(got))
			}
			if len(lines) > 0 {
				diffs = append(diffs, Diff{cdi, step.Name, lines})
			}
		}
	}
	return diffs
}

// run asks, captures, and answers with kinds in place of what changes.
func (st *Step) run(ctx context.Context, baseURL string, client *http.Client, cdi string, vars map[string]any) (Answer, error) {
	req, err := st.request(ctx, baseURL, cdi, vars)
	if err != nil {
		return Answer{}, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return Answer{}, err
	}
	var body any
	if body, err = parse(raw); err != nil || body == nil {
		body = string(raw)
	}
	for name, path := range st.Capture {
		if v, ok := dig(body, path); ok {
			vars[name] = v
		}
	}
	media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	body = order(kind(body), st.Unordered)
	text := strings.ReplaceAll(string(encode(body)), vars["uniq"].(string), "<uniq>")
	body, err = parse([]byte(text))
	return Answer{Status: resp.StatusCode, Type: media, Body: body}, err
}

func (st *Step) request(ctx context.Context, baseURL, cdi string, vars map[string]any) (*http.Request, error) {
	f := filler{vars: vars}
	target := strings.TrimRight(baseURL, "/") + f.text(st.Path)
	if len(st.Query) > 0 {
		query := url.Values{}
		for k, v := range st.Query {
			query.Set(k, f.text(v))
		}
		target += "?" + query.Encode()
	}
	header := http.Header{"Cdi-Version": {cdi}}
	for k, v := range st.Headers {
		header.Set(k, f.text(v))
	}
	var body io.Reader
	switch {
	case st.Raw != nil:
		body = strings.NewReader(*st.Raw)
	case st.Body != nil:
		body = bytes.NewReader(encode(f.fill(st.Body)))
	}
	if body != nil && header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/json; charset=utf-8")
	}
	if f.missing != "" {
		return nil, errors.New("nothing was captured as " + f.missing)
	}
	req, err := http.NewRequestWithContext(ctx, st.Method, target, body)
	if err != nil {
		return nil, err
	}
	req.Header = header
	return req, nil
}

var placeholder = regexp.MustCompile(`\{\{(\w+)\}\}`)

// filler puts captured values in the place of {{var}}.
type filler struct {
	vars    map[string]any
	missing string
}

func (f *filler) value(name string) any {
	v, ok := f.vars[name]
	if !ok {
		f.missing = name
	}
	return v
}

func (f *filler) text(s string) string {
	return placeholder.ReplaceAllStringFunc(s, func(m string) string { return fmt.Sprint(f.value(m[2 : len(m)-2])) })
}

// fill keeps the type of a value that is all of a string.
func (f *filler) fill(v any) any {
	switch v := v.(type) {
	case string:
		if m := placeholder.FindStringSubmatch(v); m != nil && m[0] == v {
			return f.value(m[1])
		}
		return f.text(v)
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = f.fill(e)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = f.fill(e)
		}
		return out
	}
	return v
}

// dig follows a dotted path.
func dig(v any, path string) (any, bool) {
	for name := range strings.SplitSeq(path, ".") {
		switch at := v.(type) {
		case map[string]any:
			e, ok := at[name]
			if !ok {
				return nil, false
			}
			v = e
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i < 0 || i >= len(at) {
				return nil, false
			}
			v = at[i]
		default:
			return nil, false
		}
	}
	return v, true
}

var (
	uuid  = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`
	uuids = regexp.MustCompile(uuid)
	kinds = []struct {
		form *regexp.Regexp
		name string
	}{
		{regexp.MustCompile(`^` + uuid + `$`), "<uuid>"},
		{regexp.MustCompile(`^eyJ[\w-]+\.[\w-]+\.[\w-]+$`), "<jwt>"},
		{regexp.MustCompile(`^[\w+/=-]+\.[0-9a-f]{64}\.V2$`), "<refresh>"},
		{regexp.MustCompile(`^[0-9a-f]{64}$`), "<hex64>"},
		{regexp.MustCompile(`^[ds]-[0-9a-f-]{10,}$`), "<kid>"},
		{regexp.MustCompile(`^[\w+/=-]{80,}$`), "<b64>"},
	}
)

// kind replaces what changes from run to run by what it is.
func kind(v any) any {
	switch v := v.(type) {
	case json.Number:
		n, err := v.Float64()
		switch {
		case err == nil && 1e12 <= n && n < 1e14:
			return "<ms>"
		case err == nil && 1e9 <= n && n < 1e11:
			return "<seconds>"
		}
	case string:
		for _, k := range kinds {
			if k.form.MatchString(v) {
				return k.name
			}
		}
		return uuids.ReplaceAllString(v, "<uuid>")
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = kind(e)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = kind(e)
		}
		return out
	}
	return v
}

// order sorts the lists that have one of these names.
func order(v any, names []string) any {
	switch v := v.(type) {
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = order(e, names)
		}
		return out
	case map[string]any:
		out := map[string]any{}
		for k, e := range v {
			out[k] = order(e, names)
			if list, ok := out[k].([]any); ok && slices.Contains(names, k) {
				slices.SortFunc(list, func(a, b any) int { return bytes.Compare(encode(a), encode(b)) })
			}
		}
		return out
	}
	return v
}

func encode(v any) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // v came from JSON
	return bytes.TrimSpace(b.Bytes())
}

// parse reads one JSON value, numbers as they stand.
func parse(raw []byte) (v any, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one JSON value")
	}
	return v, nil
}

func toJSON(a Answer) any {
	return map[string]any{"status": json.Number(fmt.Sprint(a.Status)), "type": a.Type, "body": a.Body}
}

// compare says where want and got differ.
func compare(at string, want, got any) []string {
	var lines []string
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			break
		}
		all := maps.Clone(w)
		maps.Copy(all, g)
		for _, k := range slices.Sorted(maps.Keys(all)) {
			a, recorded := w[k]
			b, came := g[k]
			switch {
			case !came:
				lines = append(lines, fmt.Sprintf("%s.%s: missing (recorded %s)", at, k, encode(a)))
			case !recorded:
				lines = append(lines, fmt.Sprintf("%s.%s: not in the recording (got %s)", at, k, encode(b)))
			default:
				lines = append(lines, compare(at+"."+k, a, b)...)
			}
		}
		return lines
	case []any:
		g, ok := got.([]any)
		if !ok {
			break
		}
		if len(w) != len(g) {
			lines = append(lines, fmt.Sprintf("%s: recorded %d items, got %d", at, len(w), len(g)))
		}
		for i := range min(len(w), len(g)) {
			lines = append(lines, compare(fmt.Sprintf("%s[%d]", at, i), w[i], g[i])...)
		}
		return lines
	}
	if !reflect.DeepEqual(want, got) {
		lines = append(lines, fmt.Sprintf("%s: recorded %s, got %s", at, encode(want), encode(got)))
	}
	return lines
}
