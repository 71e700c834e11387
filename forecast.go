package stmigrate

import (
	"math"
	"time"
)

// Forecast is what [ForecastRevocations] calculates with.
type Forecast struct {
	// Queued is how many revocations are owed.
	Queued int
	// Budget is what the provider allows, as in RevocationConfig.Budgets.
	Budget RevocationBudget
	// Arrivals is how many more are owed in each second from now on, on average. Default 0: none.
	Arrivals float64
}

// ForecastRevocations tells how long it takes until nothing is owed any more, if all of the budget is used and no call fails.
// ok is false if that is never: as many arrive as the budget lets through, or it lets nothing through; a time that is too long
// for a [time.Duration], 292 years, is never, too. It does not know when sessions expire by themselves, and owe nothing then.
func ForecastRevocations(in Forecast) (took time.Duration, ok bool) {
	rate := 0.0
	if in.Budget.Calls > 0 && in.Budget.Per > 0 {
		rate = float64(in.Budget.Calls) / in.Budget.Per.Seconds()
	}
	// Not-a-number is no answer either.
	seconds := float64(max(in.Queued, 0)) / (rate - in.Arrivals)
	if in.Arrivals < 0 || !(in.Arrivals < rate) || !(seconds < math.MaxInt64/float64(time.Second)) {
		return 0, false
	}
	return time.Duration(seconds * float64(time.Second)), true
}
