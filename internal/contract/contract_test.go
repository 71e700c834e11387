package contract_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate/internal/contract"
	"github.com/stmigrate/stmigrate/internal/coreemu"
)

// ownClient's connections are no other test's to close.
var ownClient = &http.Client{Transport: new(http.Transport)}

const recording = "../coreemu/testdata/core-contract/session.json"

// TestCheckSeesEveryKindOfDifference spoils one value of a recording that passes, and must hear of that step alone.
func TestCheckSeesEveryKindOfDifference(t *testing.T) {
	srv := httptest.NewServer(coreemu.New(coreemu.Config{}))
	defer srv.Close()
	body := func(a *contract.Answer) map[string]any { return a.Body.(map[string]any) }
	session := func(a *contract.Answer) map[string]any { return body(a)["session"].(map[string]any) }
	for _, tt := range []struct {
		name  string
		step  string
		spoil func(*contract.Answer)
		line  string // "" where the recording still says the same
	}{
		{"nothing", "create", func(*contract.Answer) {}, ""},
		{"status code", "create", func(a *contract.Answer) { a.Status = 201 },
			`.status: recorded 201, got 200`},
		{"media type", "health", func(a *contract.Answer) { a.Type = "text/plain" },
			`.type: recorded "text/plain", got "text/html"`},
		{"text", "health", func(a *contract.Answer) { a.Body = "Hello" },
			`.body: recorded "Hello", got "Hello\n"`},
		{"string", "create", func(a *contract.Answer) { session(a)["tenantId"] = "t1" },
			`.body.session.tenantId: recorded "t1", got "public"`},
		{"kind", "create", func(a *contract.Answer) { session(a)["handle"] = "<hex64>" },
			`.body.session.handle: recorded "<hex64>", got "<uuid>"`},
		{"number", "create", func(a *contract.Answer) { session(a)["userDataInJWT"].(map[string]any)["n"] = json.Number("2") },
			`.body.session.userDataInJWT.n: recorded 2, got 1`},
		{"type of a value", "create", func(a *contract.Answer) { session(a)["userId"] = nil },
			`.body.session.userId: recorded null, got "auth0|<uniq>"`},
		{"member gone", "get", func(a *contract.Answer) { body(a)["more"] = true },
			`.body.more: missing (recorded true)`},
		{"member new", "get", func(a *contract.Answer) { delete(body(a), "tenantId") },
			`.body.tenantId: not in the recording (got "public")`},
		{"list for an object", "get", func(a *contract.Answer) { body(a)["userDataInDatabase"] = []any{} },
			`.body.userDataInDatabase: recorded [], got {"legacyIssuer":"https://legacy.example/"}`},
		{"object for a list", "sessions of an unknown user", func(a *contract.Answer) { body(a)["sessionHandles"] = map[string]any{} },
			`.body.sessionHandles: recorded {}, got []`},
		{"length of a list", "jwks", func(a *contract.Answer) { body(a)["keys"] = body(a)["keys"].([]any)[:1] },
			`.body.keys: recorded 1 items, got 2`},
		{"order of an unordered list", "api versions", func(a *contract.Answer) { slices.Reverse(body(a)["versions"].([]any)) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := contract.Load(recording)
			require.NoError(t, err)
			for i := range s.Steps {
				if s.Steps[i].Name == tt.step {
					tt.spoil(&s.Recorded["3.1"][i])
				}
			}
			diffs := s.Check(t.Context(), srv.URL, ownClient)
			if tt.line == "" {
				require.Empty(t, diffs)
				return
			}
			require.Equal(t, []contract.Diff{{CDI: "3.1", Step: tt.step, Lines: []string{tt.line}}}, diffs)
		})
	}
}

func TestCheckSeesACoreThatDoesNotAnswer(t *testing.T) {
	// Not a server that was closed: its port may be another one's by now.
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	defer srv.Close()
	s, err := contract.Load(recording)
	require.NoError(t, err)
	diffs := s.Check(t.Context(), srv.URL, ownClient)
	require.Len(t, diffs, len(s.Steps)*len(s.CDI))
	require.Contains(t, diffs[0].String(), "no answer")
}

func TestLoadRefusesWhatCannotFail(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":  "{",
		"empty":     "{}",
		"no answer": `{"cdi": ["3.1"], "steps": [{"name": "a", "method": "GET", "path": "/hello"}], "recorded": {}}`,
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "s.json")
			require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
			_, err := contract.Load(file)
			require.Error(t, err)
		})
	}
	_, err := contract.Load("nowhere.json")
	require.ErrorIs(t, err, os.ErrNotExist)
}
