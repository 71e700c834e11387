// Package passhash checks passwords against the hashes that other systems stored. It makes no hashes.
//
// The format is told by the text alone:
//
//	$2a$ $2b$ $2y$ $2x$                       bcrypt: PHP, Python, Node, Spring, Rails
//	bcrypt$$2b$, bcrypt_sha256$$2b$           Django
//	$bcrypt-sha256$v=2,t=2b,r=12$             passlib, also its first version without v
//	$wp$2y$                                   WordPress from 6.8 on
//	$argon2id$v=19$ $argon2i$v=19$            PHC strings; argon2$argon2id$ of Django
//	pbkdf2_sha256$ pbkdf2_sha1$               Django
//	$pbkdf2-sha256$ $pbkdf2-sha512$ $pbkdf2$  passlib
//	pbkdf2:sha256:600000$                     Werkzeug (Flask)
//	AQAAAA… AAAA…                             ASP.NET Identity 3 and 2, in base64
//	$scrypt$ln=16,r=8,p=1$                    passlib and PHC strings
//	scrypt$16384$salt$8$1$                    Django
//	scrypt:32768:8:1$                         Werkzeug
//	$f_scrypt$                                Firebase, with Config.FirebaseSignerKey
//	$P$ $H$                                   phpass: WordPress before 6.8, phpBB 3
//
// What a text does not tell must be configured: [NodeScrypt], and fast hashes, which [Config.InsecureDigests] lists one by one.
// Not known: Argon2 in version 0x10, argon2d, crypt(3)'s $1$, $5$ and $6$, Drupal 7's $S$.
//
// # What counts as the same password
//
// The bytes, as they are. Nothing is trimmed, and no Unicode is normalised: neither PHP, nor Django, nor ASP.NET does it, so that a
// password that was set on one keyboard as "é" and is typed on another as "e" with an accent was wrong there, too. WordPress trims
// white space around a password before it hashes it; who typed some there types none here.
//
// bcrypt sees no more than 72 bytes of a password, in the libraries that made the hashes and so here. A password of more than
// 4096 bytes, an empty one, and one with a NUL byte (which C libraries cut off) is wrong, whatever the hash. $2x$ marks hashes of
// a broken bcrypt, which differ for passwords outside of ASCII: those are wrong.
//
// # What a hash may cost
//
// A hash brings its own cost, and a broken or hostile row could ask for all memory or for hours. What is over the limits of
// [Config] is [ErrLimit] before any work is done. No more than Config.Concurrency passwords are checked at a time, so that they
// take at most that many times Config.MaxMemory.
package passhash
