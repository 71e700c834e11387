//go:build !chaos_nofence && !chaos_nodeclock && !chaos_nooutbox

package main

// variant names what is broken on purpose, to see that a run notices.
const variant = ""

func broken(s store, _ nodeConfig) store { return s }
