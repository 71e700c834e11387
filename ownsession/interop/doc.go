// Package interop tests ownsession with the real session libraries and databases. It has a go.mod of its own, so that nobody else
// downloads them.
package interop
