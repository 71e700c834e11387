// Package interop holds stmigrate to other SuperTokens backends on one core: what one of them mints the others verify,
// refresh and end. In node is a backend on supertokens-node and Express, with e-mail verification required and roles; its tests
// need what CI installs (npm ci in node), and are skipped without it. SUPERTOKENS_CONNECTION_URI and SUPERTOKENS_API_KEY put a
// real core in the place of the one in memory. supertokens-golang has its own module in golang.
package interop
