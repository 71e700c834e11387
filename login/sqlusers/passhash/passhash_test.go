package passhash

import (
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type fixture struct{ Maker, Password, Hash string }

type fixtures struct {
	Hashes, Wrong, Insecure, NodeScrypt []fixture
}

func read(tb testing.TB, names ...string) (all fixtures) {
	for _, name := range names {
		text, err := os.ReadFile("testdata/" + name + ".json")
		require.NoError(tb, err)
		var f fixtures
		require.NoError(tb, json.Unmarshal(text, &f))
		all.Hashes = append(all.Hashes, f.Hashes...)
		all.Wrong = append(all.Wrong, f.Wrong...)
		all.Insecure = append(all.Insecure, f.Insecure...)
		all.NodeScrypt = append(all.NodeScrypt, f.NodeScrypt...)
	}
	return all
}

// signerKey is the one that https://github.com/firebase/scrypt shows.
func signerKey(tb testing.TB) []byte {
	key, err := base64.StdEncoding.DecodeString("jxspr8Ki0RYycVU8zykbdLGjFQ3McFUH0uiiTvC8pVMXAn210wjLNmdZJzxUECKbm0QsEmYUSDzZvpjeJ9WmXA==")
	require.NoError(tb, err)
	return key
}

func verifier(tb testing.TB, cfg Config) *Verifier {
	v, err := New(cfg)
	require.NoError(tb, err)
	return v
}

// bcryptInside tells whether bcrypt got the password itself, of which it sees 72 bytes.
func bcryptInside(hash string) bool {
	return strings.HasPrefix(hash, "$2") || strings.HasPrefix(hash, "bcrypt$")
}

func TestVerify_fixtures(t *testing.T) {
	v := verifier(t, Config{FirebaseSignerKey: signerKey(t)})
	all := read(t, "python", "php", "node", "published")
	require.Greater(t, len(all.Hashes), 250)
	seen := map[string]int{}
	for _, f := range all.Hashes {
		seen[f.Maker]++
		ok, err := v.Verify(t.Context(), f.Hash, f.Password)
		require.NoError(t, err, f)
		require.True(t, ok, f)
		wrongs := []string{"", f.Password + "\x00", "wrong", f.Password[1:], "x" + f.Password, f.Password + " "}
		if strings.Contains(f.Hash, "scrypt") {
			wrongs = wrongs[:max(2, 4-seen[f.Maker])] // the first two cost nothing
		}
		for _, wrong := range wrongs {
			if len(f.Password) >= 72 && bcryptInside(f.Hash) && strings.HasPrefix(wrong, f.Password[:72]) && !strings.Contains(wrong, "\x00") {
				continue
			}
			if bcryptInside(f.Hash) && len(wrong) > 72 && wrong[:72] == f.Password[:72] {
				continue // repeated letters
			}
			ok, err := v.Verify(t.Context(), f.Hash, wrong)
			require.NoError(t, err, f)
			require.False(t, ok, "%v with %q", f, wrong)
		}
	}
	for _, f := range all.Wrong {
		ok, _ := v.Verify(t.Context(), f.Hash, f.Password)
		require.False(t, ok, f)
	}
}

func TestVerify_nodeScrypt(t *testing.T) {
	cases := map[string]NodeScrypt{
		"salt:key":                           {},
		"key.salt":                           {Separator: ".", KeyFirst: true, KeyLength: 32},
		"binary salt:key, N 1024, r 16, p 2": {N: 1024, R: 16, P: 2, BinarySalt: true},
	}
	for i, f := range read(t, "node").NodeScrypt {
		for name, node := range cases {
			if i%8 > 1 && name != f.Maker {
				continue // two passwords of eight are tried as everything
			}
			v := verifier(t, Config{NodeScrypt: &node})
			ok, _ := v.Verify(t.Context(), f.Hash, f.Password)
			require.Equal(t, name == f.Maker, ok, "%v as %s", f, name)
		}
		_, err := Verify(f.Hash, f.Password)
		require.ErrorIs(t, err, ErrFormat, "a text that tells nothing is not guessed")
	}
}

func TestVerify_insecureDigests(t *testing.T) {
	cases := map[string]InsecureDigest{
		"django sha1":         {Hash: crypto.SHA1, Prefix: "sha1$", Separator: "$", SaltFirst: true},
		"django md5":          {Hash: crypto.MD5, Prefix: "md5$", Separator: "$", SaltFirst: true},
		"django unsalted md5": {Hash: crypto.MD5},
		"ldap salted sha1":    {Hash: crypto.SHA1, Prefix: "{SSHA}", Base64: true, PasswordFirst: true},
		"ldap salted sha256":  {Hash: crypto.SHA256, Prefix: "{SSHA256}", Base64: true, PasswordFirst: true},
		"ldap md5":            {Hash: crypto.MD5, Prefix: "{MD5}", Base64: true},
	}
	var digests []InsecureDigest
	for _, d := range cases {
		digests = append(digests, d)
	}
	together := verifier(t, Config{InsecureDigests: digests})
	seen := map[string]bool{}
	for _, f := range read(t, "python").Insecure {
		seen[f.Maker] = true
		for _, v := range []*Verifier{together, verifier(t, Config{InsecureDigests: []InsecureDigest{cases[f.Maker]}})} {
			ok, err := v.Verify(t.Context(), f.Hash, f.Password)
			require.NoError(t, err, f)
			require.True(t, ok, f)
			ok, err = v.Verify(t.Context(), f.Hash, f.Password+"x")
			require.NoError(t, err, f)
			require.False(t, ok, f)
		}
		_, err := Verify(f.Hash, f.Password)
		require.ErrorIs(t, err, ErrFormat, "a fast hash that nobody asked for: %v", f)
	}
	require.Len(t, seen, len(cases))
}

// A character more, less or changed must not verify, whatever it does to the text. Hexadecimal digits may change case, and
// Firebase's base64 its alphabet and padding.
func TestVerify_mutated(t *testing.T) {
	v := verifier(t, Config{FirebaseSignerKey: signerKey(t), MaxMemory: 64 << 20, MaxMemoryWork: 64 << 20, MaxBcryptCost: 6, MaxIterations: 20_000})
	seen := map[string]bool{}
	for _, f := range read(t, "python", "php", "node", "published").Hashes {
		if seen[f.Maker] || strings.Contains(f.Maker, "250000") {
			continue
		}
		seen[f.Maker] = true
		slow := strings.Contains(f.Hash, "scrypt") || f.Hash[0] == 'A'
		var mutants []string
		for i := range f.Hash {
			if slow && i%16 != 0 && i < len(f.Hash)-3 {
				continue
			}
			if !strings.HasPrefix(f.Hash, "AQ") { // see parseIdentity
				mutants = append(mutants, f.Hash[:i])
			}
			mutants = append(mutants, f.Hash[:i]+f.Hash[i+1:])
			changes := []string{"A", "1", "$", "\n", "="}
			if slow {
				changes = changes[i/16%5:][:1]
			} else {
				changes = []string{changes[i%5], changes[(i+2)%5]}
			}
			for _, c := range changes {
				if c != f.Hash[i:i+1] {
					mutants = append(mutants, f.Hash[:i]+c+f.Hash[i+1:])
				}
			}
		}
		mutants = append(mutants, f.Hash+"A", f.Hash+"=", f.Hash+"\n", f.Hash+"$", " "+f.Hash, f.Hash+f.Hash)
		for _, m := range mutants {
			if strings.HasPrefix(m, "$f_scrypt$") && strings.ReplaceAll(m, "=", "") == strings.ReplaceAll(f.Hash, "=", "") {
				continue
			}
			// $2$ is what an ASCII password's hash looks like under another letter: the same bcrypt.
			if bcryptInside(f.Hash) && len(m) == len(f.Hash) && strings.Replace(m, "$2a$", "$2b$", 1) == strings.Replace(f.Hash, "$2a$", "$2b$", 1) {
				continue
			}
			ok, _ := v.Verify(t.Context(), m, f.Password)
			require.False(t, ok, "%s: %q verifies as %q", f.Maker, f.Hash, m)
		}
	}
	require.Greater(t, len(seen), 40)
}

func TestVerify_limits(t *testing.T) {
	b22, h31 := strings.Repeat("C", 21)+".", strings.Repeat("a", 31)
	identity := func(function byte, iterations ...byte) string {
		head := append([]byte{1, 0, 0, 0, function}, iterations...)
		return base64.StdEncoding.EncodeToString(append(append(head, 0, 0, 0, 16), make([]byte, 48)...))
	}
	for name, hash := range map[string]string{
		"bcrypt":               "$2b$15$" + b22 + h31,
		"bcrypt 31":            "$2y$31$" + b22 + h31,
		"passlib's bcrypt":     "$bcrypt-sha256$v=2,t=2b,r=31$" + b22 + "$" + h31,
		"WordPress":            "$wp$2y$31$" + b22 + h31,
		"Argon2 memory":        "$argon2id$v=19$m=4194304,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"Argon2 huge memory":   "$argon2id$v=19$m=99999999999999999999,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"Argon2 passes":        "$argon2i$v=19$m=65536,t=17,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"Django's PBKDF2":      "pbkdf2_sha256$2000001$salt$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"Django's PBKDF2, max": "pbkdf2_sha256$99999999999999999999999$salt$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"ASP.NET's blocks":     identity(0, 0, 0x10, 0, 0),
		"passlib's PBKDF2":     "$pbkdf2-sha256$2147483648$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"Werkzeug's PBKDF2":    "pbkdf2:sha256:4294967296$salt$" + strings.Repeat("ab", 32),
		"ASP.NET":              identity(1, 0xff, 0xff, 0xff, 0xff),
		"scrypt":               "$scrypt$ln=30,r=8,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"scrypt ln":            "$scrypt$ln=62,r=8,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"scrypt r":             "$scrypt$ln=14,r=1073741824,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"scrypt p":             "$scrypt$ln=14,r=8,p=1073741824$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"Django's scrypt":      "scrypt$1073741824$salt$8$1$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"Werkzeug's scrypt":    "scrypt:1073741824:8:1$salt$" + strings.Repeat("ab", 32),
		"Firebase":             "$f_scrypt$" + base64.StdEncoding.EncodeToString(make([]byte, 64)) + "$c2FsdA==$m=30$r=8$s=Bw==",
		"phpass":               "$P$Jaaaaaaaa" + strings.Repeat("b", 22),
	} {
		t.Run(name, func(t *testing.T) {
			v := verifier(t, Config{FirebaseSignerKey: signerKey(t), Concurrency: 1})
			v.running <- struct{}{} // so that work would wait for its turn, and end by the context
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			ok, err := v.Verify(ctx, hash, "password")
			require.ErrorIs(t, err, ErrLimit)
			require.NotErrorIs(t, err, ErrFormat)
			require.False(t, ok)
			require.ErrorIs(t, v.Check(hash), ErrLimit)
		})
	}
}

func TestVerify_format(t *testing.T) {
	b22, h31 := strings.Repeat("C", 21)+".", strings.Repeat("a", 31)
	for name, hash := range map[string]string{
		"nothing":                      "",
		"a word":                       "password",
		"long":                         "$2b$10$" + strings.Repeat("a", 5000),
		"MD5":                          "5f4dcc3b5aa765d61d8327deb882cf99",
		"crypt's SHA-512":              "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1",
		"bcrypt without its end":       "$2b$10$" + b22,
		"bcrypt of an unknown version": "$2z$10$" + b22 + h31,
		"bcrypt of no cost":            "$2b$03$" + b22 + h31,
		"bcrypt with spare bits":       "$2b$04$" + strings.Repeat("C", 22) + h31,
		"passlib's bcrypt mixed":       "$bcrypt-sha256$v=2,t=2b,12$" + b22 + "$" + h31,
		"argon2d":                      "$argon2d$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"Argon2 of version 16":         "$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"Argon2 without version":       "$argon2id$m=64,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"Argon2 without passes":        "$argon2id$v=19$m=64,t=0,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"Argon2 without lanes":         "$argon2id$v=19$m=64,t=1,p=0$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"Argon2 with 256 lanes":        "$argon2id$v=19$m=65536,t=1,p=256$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
		"Argon2 with a short hash":     "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$MDEy",
		"PBKDF2 with MD5":              "pbkdf2_md5$1000$salt$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"PBKDF2 without iterations":    "pbkdf2_sha256$0$salt$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"PBKDF2 with a sign":           "pbkdf2_sha256$-1$salt$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"PBKDF2 without salt":          "pbkdf2_sha256$1000$$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"PBKDF2 without hash":          "pbkdf2_sha256$1000$salt$",
		"PBKDF2 with a short hash":     "pbkdf2_sha256$1000$salt$MDEy",
		"scrypt of N 3":                "scrypt$3$salt$8$1$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"scrypt of N 1":                "scrypt$1$salt$8$1$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"scrypt of r 0":                "scrypt$16384$salt$0$1$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
		"Firebase without key":         "$f_scrypt$" + base64.StdEncoding.EncodeToString(make([]byte, 64)) + "$c2FsdA==$m=14$r=8$s=Bw==",
		"ASP.NET with unknown marker":  base64.StdEncoding.EncodeToString(append([]byte{2}, make([]byte, 60)...)),
		"ASP.NET with unknown PRF":     "AQAAAAMAACcQAAAAEAABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==",
		"ASP.NET with a huge salt":     "AQAAAAEAACcQ/////wABAgMEBQYHCAkKCwwNDg+yWU7rLgUwPZb1Itsmra7cbxw2EFpwpVFIEtP+JIuUEw==",
		"phpass with a low count":      "$P$0aaaaaaaa" + strings.Repeat("b", 22),
	} {
		t.Run(name, func(t *testing.T) {
			ok, err := Verify(hash, "password")
			require.ErrorIs(t, err, ErrFormat)
			require.False(t, ok)
			if len(hash) > 20 {
				require.NotContains(t, err.Error(), hash[len(hash)-16:])
			}
		})
	}
}

func TestVerify_longPassword(t *testing.T) {
	const hash = "$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"
	ok, err := Verify(hash, strings.Repeat("x", 4097))
	require.NoError(t, err)
	require.False(t, ok)

	v := verifier(t, Config{MaxIterations: 4096})
	phpass := "$P$Aaaaaaaaa" + strings.Repeat("b", 22) // 2^12
	ok, err = v.Verify(t.Context(), phpass, "short")
	require.NoError(t, err)
	require.False(t, ok)
	_, err = v.Verify(t.Context(), phpass, strings.Repeat("x", 200))
	require.ErrorIs(t, err, ErrLimit)
}

// $2x$ is bcrypt with signed characters. What Unix made under it for ASCII is the same as under $2y$; the rest is not verified.
func TestVerify_2x(t *testing.T) {
	hash := strings.Replace("$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm", "$2b$", "$2x$", 1)
	ok, err := Verify(hash, "Kk4DQuMMfZL9o")
	require.NoError(t, err)
	require.True(t, ok)
	require.Empty(t, ForCore(hash))
	ok, err = Verify("$2x$05$/OK.fbVrR/bpIqNJ5ianF.Sa7shbm4.OzKpvFnX1pQLmQW96oUlCq", "\xa3") // a hash of it as $2a$ and $2y$
	require.NoError(t, err)
	require.False(t, ok)
}

func TestVerify_waitsForItsTurn(t *testing.T) {
	const hash = "$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"
	synctest.Test(t, func(t *testing.T) {
		v := verifier(t, Config{Concurrency: 1})
		v.running <- struct{}{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() {
			_, err := v.Verify(ctx, hash, "Kk4DQuMMfZL9o")
			done <- err
		}()
		synctest.Wait()
		require.Empty(t, done, "did not wait")
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
		<-v.running
		_, err := v.Verify(ctx, hash, "Kk4DQuMMfZL9o")
		require.ErrorIs(t, err, context.Canceled, "an ended context starts no work")
		require.Empty(t, v.running)
	})
}

func TestVerifierDoesNotPrintTheSignerKey(t *testing.T) {
	v, err := New(Config{FirebaseSignerKey: []byte(strings.Repeat("signer-k", 8))})
	require.NoError(t, err)
	decimal := strings.Trim(fmt.Sprint([]byte("signer-k")), "[]")
	for _, verb := range []string{"%v", "%+v", "%d", "%s", "%q"} {
		assert.NotContains(t, fmt.Sprintf(verb, v), "signer-k", verb)
		assert.NotContains(t, fmt.Sprintf(verb, v), decimal, verb)
	}
}

func TestNew(t *testing.T) {
	for name, tt := range map[string]struct {
		cfg  Config
		want string
	}{
		"memory":            {Config{MaxMemory: -1}, "MaxMemory"},
		"concurrency":       {Config{Concurrency: -1}, "Concurrency"},
		"signer key":        {Config{FirebaseSignerKey: []byte("short")}, "FirebaseSignerKey"},
		"node's cost":       {Config{NodeScrypt: &NodeScrypt{N: 3}}, "NodeScrypt"},
		"node's negative":   {Config{NodeScrypt: &NodeScrypt{R: -1}}, "NodeScrypt"},
		"node's memory":     {Config{NodeScrypt: &NodeScrypt{N: 1 << 30}}, "MaxMemory"},
		"node's key length": {Config{NodeScrypt: &NodeScrypt{KeyLength: 8}}, "KeyLength"},
		"node's separator":  {Config{NodeScrypt: &NodeScrypt{Separator: "ab"}}, "Separator"},
		"digest":            {Config{InsecureDigests: []InsecureDigest{{}}}, "InsecureDigests[0]: field Hash"},
		"digest's salt":     {Config{InsecureDigests: []InsecureDigest{{Hash: crypto.MD5, SaltFirst: true}}}, "SaltFirst"},
		"digest's prefix":   {Config{InsecureDigests: []InsecureDigest{{Hash: crypto.MD5, Prefix: "$2b$"}}}, "Prefix"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(tt.cfg)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestForCore(t *testing.T) {
	bcrypt := "$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"
	argon2 := "$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
	for hash, want := range map[string]string{
		bcrypt: bcrypt, "bcrypt$" + bcrypt: bcrypt, argon2: argon2, "argon2" + argon2: argon2,
		"bcrypt_sha256$" + bcrypt: "", "$wp" + bcrypt: "", "bcrypt": "", "": "", "pbkdf2_sha256$1000$salt$MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=": "",
	} {
		assert.Equal(t, want, ForCore(hash), hash)
	}
	v := verifier(t, Config{})
	for _, f := range read(t, "python", "php", "node").Hashes {
		if core := ForCore(f.Hash); core != "" && v.Check(f.Hash) == nil {
			ok, err := Verify(core, f.Password)
			require.NoError(t, err, f)
			require.True(t, ok, f)
		}
	}
}

// No text makes a parser panic, and none that it takes verifies a password that nobody knows. Costs are kept low by the limits.
func FuzzVerify(f *testing.F) {
	seen := map[string]bool{}
	all := read(f, "python", "php", "node", "published")
	for _, x := range append(append(append(all.Hashes, all.NodeScrypt...), all.Insecure...), all.Wrong...) {
		if !seen[x.Maker] {
			seen[x.Maker] = true
			f.Add(x.Hash)
		}
	}
	v := verifier(f, Config{
		MaxMemory: 64 << 10, MaxMemoryWork: 64 << 10, MaxBcryptCost: 4, MaxIterations: 256, FirebaseSignerKey: signerKey(f),
		NodeScrypt: &NodeScrypt{N: 16, R: 1},
		InsecureDigests: []InsecureDigest{
			{Hash: crypto.SHA1, Prefix: "sha1$", Separator: "$", SaltFirst: true}, {Hash: crypto.MD5, Base64: true, PasswordFirst: true},
		},
	})
	f.Fuzz(func(t *testing.T, encoded string) {
		ok, err := v.Verify(t.Context(), encoded, "no hash above is of this password")
		require.False(t, ok)
		if err != nil && len(encoded) > 12 {
			require.NotContains(t, err.Error(), encoded)
		}
		_ = ForCore(encoded)
	})
}
