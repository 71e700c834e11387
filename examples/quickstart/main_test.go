package main

import (
	"strings"
	"testing"
)

func TestWalk(t *testing.T) {
	t.Setenv("SUPERTOKENS_CONNECTION_URI", "")
	var out strings.Builder
	if err := run(t.Context(), &out, "127.0.0.1:0", false); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Set-Cookie: sAccessToken=", `{"userId":"legacy|ada"}`, "< 409 Conflict", `{"status":"ALREADY_MIGRATED"}`,
		`{"status":"INVALID_LEGACY_SESSION"}`, "Done: one user",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, &out)
		}
	}
}
