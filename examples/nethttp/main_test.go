package main

import (
	"testing"

	"github.com/stmigrate/stmigrate/examples/internal/backendtest"
)

func TestBackend(t *testing.T) { backendtest.Run(t, run) }
