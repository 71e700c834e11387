package stmigrate_test

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/stmigrate/stmigrate"
)

func ExampleForecastRevocations() {
	auth0 := stmigrate.RevocationBudget{Calls: 150, Per: time.Minute}
	took, _ := stmigrate.ForecastRevocations(stmigrate.Forecast{Queued: 2_000_000, Budget: auth0})
	fmt.Printf("%.2f days\n", took.Hours()/24)

	took, _ = stmigrate.ForecastRevocations(stmigrate.Forecast{Queued: 2_000_000, Budget: auth0, Arrivals: 1.5})
	fmt.Printf("%.2f days\n", took.Hours()/24)

	_, ok := stmigrate.ForecastRevocations(stmigrate.Forecast{Queued: 2_000_000, Budget: auth0, Arrivals: 3})
	fmt.Println(ok)
	// Output:
	// 9.26 days
	// 23.15 days
	// false
}

func TestForecastRevocations(t *testing.T) {
	t.Parallel()
	second := stmigrate.RevocationBudget{Calls: 10, Per: time.Second}
	for name, tt := range map[string]struct {
		in   stmigrate.Forecast
		took time.Duration
		ok   bool
	}{
		"nothing owed":      {stmigrate.Forecast{Budget: second}, 0, true},
		"nothing at all":    {stmigrate.Forecast{}, 0, false},
		"no arrivals":       {stmigrate.Forecast{Queued: 100, Budget: second}, 10 * time.Second, true},
		"some arrivals":     {stmigrate.Forecast{Queued: 100, Budget: second, Arrivals: 5}, 20 * time.Second, true},
		"as many":           {stmigrate.Forecast{Queued: 100, Budget: second, Arrivals: 10}, 0, false},
		"more":              {stmigrate.Forecast{Queued: 0, Budget: second, Arrivals: 11}, 0, false},
		"no budget":         {stmigrate.Forecast{Queued: 100}, 0, false},
		"negative budget":   {stmigrate.Forecast{Queued: 100, Budget: stmigrate.RevocationBudget{Calls: -1, Per: -1}}, 0, false},
		"negative queue":    {stmigrate.Forecast{Queued: -5, Budget: second}, 0, true},
		"negative arrivals": {stmigrate.Forecast{Queued: 5, Budget: second, Arrivals: -1}, 0, false},
		"no number":         {stmigrate.Forecast{Queued: 5, Budget: second, Arrivals: math.NaN()}, 0, false},
		"too long to say":   {stmigrate.Forecast{Queued: math.MaxInt, Budget: second}, 0, false},
	} {
		took, ok := stmigrate.ForecastRevocations(tt.in)
		assert.Equal(t, tt.ok, ok, name)
		assert.Equal(t, tt.took, took, name)
	}
}
