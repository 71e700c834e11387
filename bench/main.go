// Bench measures stmigrate against its peers, as ratios of medians in one interleaved run, and says which bound each is
// held against.
//
//	go run . verify     one token: stmigrate, golang-jwt with keyfunc, go-oidc, jwx, go-jose, Auth0's middleware, bare RSA
//	go run . exchange   POST /migrate-session in a process of its own, against a handler written by hand
//	go run . keys       what callers see of key rotation and of junk with unknown key IDs
//	go run . require    an API behind Sessions.Require and Migrator.RequireEither
//	go run .            all of them
package main

import (
	"fmt"
	"os"
	"slices"
	"time"
)

func main() {
	what := "all"
	if len(os.Args) > 1 {
		what = os.Args[1]
	}
	var err error
	switch what {
	case "all":
		for _, bench := range []func() error{benchVerify, benchRequire, benchKeys, benchExchange} {
			if err = bench(); err != nil {
				break
			}
		}
	case "verify":
		err = benchVerify()
	case "exchange":
		err = benchExchange()
	case "require":
		err = benchRequire()
	case "keys":
		err = benchKeys()
	case "server": // a child of exchange
		err = serve(os.Args[2:])
	case "core":
		err = serveCore()
	default:
		err = fmt.Errorf("unknown benchmark %q: verify, require, keys or exchange", what)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func median[T float64 | time.Duration](values []T) T { return quantile(values, 0.5) }

func quantile[T float64 | time.Duration](values []T, q float64) T {
	values = slices.Clone(values)
	slices.Sort(values)
	return values[int(q*float64(len(values)-1))]
}

func verdict(name string, got, bound float64) {
	word := "holds"
	if got > bound {
		word = "EXCEEDED"
	}
	fmt.Printf("  %-58s %6.2f  (at most %.2f: %s)\n", name, got, bound, word)
}

func verdictAtLeast(name string, got, bound float64) {
	word := "holds"
	if got < bound {
		word = "MISSED"
	}
	fmt.Printf("  %-58s %6.2f  (at least %.2f: %s)\n", name, got, bound, word)
}
