// Package interop holds stmigrate to other SuperTokens backends on one core: what one of them mints the others verify,
// refresh and end. Its tests need what CI installs, and are skipped without it.
package interop
