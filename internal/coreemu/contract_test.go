package coreemu_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate/internal/contract"
	"github.com/stmigrate/stmigrate/internal/coreemu"
)

var client = &http.Client{Transport: new(http.Transport), Timeout: 5 * time.Minute}

// TestContract replays the recordings of a real core against the one in memory.
func TestContract(t *testing.T) {
	srv := httptest.NewServer(coreemu.New(coreemu.Config{}))
	defer srv.Close()
	replay(t, srv.URL)
}

// TestContractOfRealCore asks whether a real core still answers as recorded.
func TestContractOfRealCore(t *testing.T) {
	uri := os.Getenv("SUPERTOKENS_CONNECTION_URI")
	if uri == "" {
		t.Skip("SUPERTOKENS_CONNECTION_URI is not set")
	}
	replay(t, uri)
}

func replay(t *testing.T, url string) {
	files, err := filepath.Glob("testdata/core-contract/*.json")
	require.NoError(t, err)
	answers := 0
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			scenario, err := contract.Load(file)
			require.NoError(t, err)
			answers += len(scenario.Steps) * len(scenario.CDI)
			for _, d := range scenario.Check(t.Context(), url, client) {
				t.Error(d)
			}
		})
	}
	require.Equal(t, 217, answers, "answers in the recordings")
}
