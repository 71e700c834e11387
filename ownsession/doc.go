// Package ownsession verifies and ends the sessions that a backend keeps itself: rows of a table, or cookies of a framework.
//
//	type          sessions of                                       verifies  ends
//	SQL           a table of your own, by plain, hashed or MACed ID yes       yes
//	SCS           alexedwards/scs                                   yes       yes
//	Gorilla       gorilla/sessions, any store                       yes       with Delete
//	Express       express-session (connect.sid), any store          yes       yes
//	Django        Django 3.1 and later, engines db and cached_db    yes       yes
//	DjangoCookie  Django 3.1 and later, engine signed_cookies       yes       no: the cookie is the session
//	Rails         Rails 5.2 and later, encrypted cookies            yes       no: the cookie is the session
//
// Each is an [stmigrate.OldSessionVerifier]; those that can end a session are an [stmigrate.Revoker], too: the same value stands
// in Config.Verifier and Config.Revoker. Where the cookie is the session, [stmigrate.LeaveToExpire] says that it stays.
//
// A session comes as a cookie, so Config.Extract is stmigrate.FromCookie(name), and Config.Origins is required: without it any
// website could log its visitors in. The token is the cookie's value as the browser sends it.
//
// [Rules] say where in a session's data the user stands. They are the same for all types; in a table a name is a column.
//
// # What comes out
//
// OldSession.Issuer is Rules.Issuer, a name of your choice. OldSession.SessionID is a hash of the ID, since the ID itself is
// what a browser shows to be let in. OldSession.Claims are the session's data (in a table, the columns but for the ID). IssuedAt
// is never set: what frameworks write is the time of the last change, and Config.NotBefore would take it for that of the login.
// AuthTime is set where Rules.AuthTime names it.
//
// ExpiresAt is zero where nothing says when a session ends, as with cookies that live until the browser closes; then
// Config.Until is required.
//
// # Errors
//
// [stmigrate.ErrNotMine]: no secret of the configuration signed or opened the cookie, or no table has the ID; another verifier
// of [stmigrate.FirstOf] may know it. [stmigrate.ErrInvalidSession]: the cookie is genuine and no session of a user: over, of a
// guest, of another purpose, in a format that is not read. [stmigrate.ErrExpiredSession]: genuine and past its end.
// [stmigrate.ErrUnavailable]: a database, store or function failed. An error of no class, which clients see as 500, is a mistake in
// the configuration that only a session could show. No error has a cookie or an ID in it, nor what a driver says, which
// [errors.As] finds.
//
// # Security
//
// A signature, MAC or tag is checked before anything of a cookie is parsed, in constant time, by an algorithm that is fixed. Of
// serialisers JSON alone is read: a cookie or row with Ruby's Marshal, Python's pickle or an unknown type of gob is refused. SCS and
// Gorilla let the application's own library decode, which does that for every request anyhow, and with gob only into types that
// the application registered. Cookies are at most 16 KiB and data 1 MiB, decompressed; IDs have 16 to 256 characters, so
// that none can be guessed from a counter.
//
// Not checked: whether the user still exists or is allowed in, but for Django, which holds the password against the session. Use
// Rules.Check, Config.Users or Config.NotBefore.
//
// A framework that saves its sessions at the end of a request can bring back one that was ended meanwhile. It cannot be
// exchanged again; but let legacy pages not run in parallel with the exchange, and switch the legacy login off in the end.
package ownsession
