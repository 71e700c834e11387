package main

import (
	"io"
	"strings"
	"testing"

	"github.com/stmigrate/stmigrate/internal/sqltest/pg"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

func TestCoreWithUsers(t *testing.T) {
	memory := stmigratetest.NewCore(t)
	if _, err := memory.Client().SignUp(t.Context(), "", "somebody@example.com", "correct horse 1"); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SUPERTOKENS_CONNECTION_URI", memory.URL)
	if err := run(t.Context(), io.Discard, ""); err == nil || !strings.Contains(err.Error(), "has 1 users") {
		t.Fatalf("%v, want one that says that the core has users", err)
	}
}

func TestWalk(t *testing.T) {
	t.Setenv("SUPERTOKENS_CONNECTION_URI", "")
	for name, dsn := range map[string]func(testing.TB) string{"sqlite": func(testing.TB) string { return "" }, "postgres": pg.Start} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			if err := run(t.Context(), &out, dsn(t)); err != nil {
				t.Fatalf("%v after:\n%s", err, &out)
			}
			for _, want := range []string{
				"nothing of Grace@example.com", "user legacy-1, e-mail grace@example.com (verified: true), roles [editor]", "Done: Grace",
			} {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is missing in:\n%s", want, &out)
				}
			}
		})
	}
}
