//go:build race

package supertokensgo_test

const raceEnabled = true
