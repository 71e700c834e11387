// Package interop holds stmigrate to other SuperTokens backends on one core: what one of them mints the others verify,
// refresh and end. Its tests need what CI installs (npm ci in node), and are skipped without it; supertokens-golang has its
// own module in golang.
package interop
