package providers_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a page of the documentation shows is what the examples compile and run, to the letter.
func TestPagesShowWhatIsRun(t *testing.T) {
	source, err := os.ReadFile("example_test.go")
	require.NoError(t, err)
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, "example_test.go", source, 0)
	require.NoError(t, err)
	run := make(map[string]string)
	for _, d := range parsed.Decls {
		if f, ok := d.(*ast.FuncDecl); ok {
			run[f.Name.Name] = string(source[files.Position(f.Pos()).Offset:files.Position(f.End()).Offset]) + "\n"
		}
	}
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```\n")
	for page, function := range map[string]string{
		"auth0": "legacyAuth0", "cognito": "legacyCognito", "okta": "legacyOkta", "firebase": "legacyFirebase", "keycloak": "legacyKeycloak",
	} {
		t.Run(page, func(t *testing.T) {
			text, err := os.ReadFile("../docs/" + page + ".md")
			require.NoError(t, err)
			found := blocks.FindAllStringSubmatch(string(text), -1)
			require.Len(t, found, 1, "one piece of Go")
			require.NotEmpty(t, run[function])
			assert.Equal(t, run[function], found[0][1])
			assert.Contains(t, run["Example"+strings.TrimPrefix(function, "legacy")], function+"(", "and it is run")
			for _, heading := range []string{"What to switch on", "The code", "The traps", "Revoking, and what else that ends",
				"Being sure that it works", "Stopping"} {
				assert.Equal(t, 1, strings.Count(string(text), "\n## "+heading+"\n"), heading)
			}
			for _, link := range regexp.MustCompile(`\]\((\.\.?/[^)#]+)`).FindAllStringSubmatch(string(text), -1) {
				_, err := os.Stat("../docs/" + link[1])
				assert.NoError(t, err, "a link that leads nowhere")
			}
		})
	}
}
