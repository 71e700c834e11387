package stmigrate

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate/core"
	"github.com/stmigrate/stmigrate/internal/fdi"
)

func testAnswer() *answer {
	return &answer{
		TenantID: "public", UserID: "user-1", Handle: "handle-1",
		Header: http.Header{"St-Access-Token": {"a-token"}, "Set-Cookie": {"a=b", "c=d"}}, State: []byte("state"),
	}
}

func TestMigratorDoesNotPrintSecrets(t *testing.T) {
	t.Parallel()
	client, err := core.New(core.Config{ConnectionURI: "https://core.example"})
	require.NoError(t, err)
	sessions, err := NewSessions(SessionsConfig{
		Core: client, APIDomain: "https://api.example.com", WebsiteOrigins: []string{"https://app.example.com"},
	})
	require.NoError(t, err)
	m, err := New(Config{
		Verifier: VerifierFunc(func(context.Context, string) (*OldSession, error) { return nil, ErrNotMine }), Sessions: sessions,
		Users: SubjectIsUserID, Exchanges: NewMemoryExchanges(1), Revoker: LeaveToExpire,
	})
	require.NoError(t, err)
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "migrator", m)
	for _, verb := range []string{"%v", "%+v", "%#v", "%d", "%x", "%s", "%q"} {
		fmt.Fprintf(&log, verb, m)
	}
	for _, form := range []string{"%d", "%x", "%s", "%#x", "%q"} {
		assert.NotContains(t, log.String(), strings.Trim(fmt.Sprintf(form, m.vault.secrets[0]), `[]"`), form)
	}
}

func TestSeal(t *testing.T) {
	t.Parallel()
	secret, other := bytes.Repeat([]byte("a"), 32), bytes.Repeat([]byte("b"), 32)
	key, shown, fence := ExchangeKey{1}, ExchangeKey{2}, Fence{3}
	sealed, err := vault{[][]byte{secret}}.seal(testAnswer(), key, shown, fence, 'c')
	require.NoError(t, err)
	for _, word := range []string{"a-token", "user-1", "state", "handle-1"} {
		assert.NotContains(t, string(sealed), word)
	}
	o, err := vault{[][]byte{other, secret}}.open(sealed, "handle-1")
	require.NoError(t, err)
	assert.Equal(t, testAnswer(), o.answer)
	assert.Equal(t, key, o.key)
	assert.Equal(t, shown, o.shown)
	assert.Equal(t, byte('c'), o.mode)

	again, err := vault{[][]byte{secret}}.seal(testAnswer(), key, shown, fence, 'c')
	require.NoError(t, err)
	assert.NotEqual(t, sealed, again, "the nonce is drawn anew")

	_, err = vault{[][]byte{other}}.open(sealed, "handle-1")
	require.ErrorIs(t, err, errSeal, "another secret")
	_, err = vault{[][]byte{secret}}.open(sealed, "handle-2")
	require.ErrorIs(t, err, errSeal, "another session's seal")
	for i := range sealed {
		broken := bytes.Clone(sealed)
		broken[i] ^= 1
		if _, err := (vault{[][]byte{secret}}).open(broken, "handle-1"); err == nil {
			t.Fatalf("byte %d may be changed", i)
		}
	}
	for n := range sealed {
		if _, err := (vault{[][]byte{secret}}).open(sealed[:n], "handle-1"); err == nil {
			t.Fatalf("a seal of %d bytes opens", n)
		}
	}
}

// sessionAnswer is an answer as Sessions render it, with tokens as long as the core's.
func sessionAnswer(tb testing.TB, cookies bool) *answer {
	tb.Helper()
	part := base64.RawURLEncoding.EncodeToString
	hash := string(bytes.Repeat([]byte("0"), 64))
	access := part([]byte(`{"kid":"d-1795262921914","typ":"JWT","version":"5","alg":"RS256"}`)) + "." + part(fmt.Appendf(nil,
		`{"iat":1795262929,"exp":1795266529,"sub":"auth0|0123456789abcdef","tId":"public","rsub":"auth0|0123456789abcdef",`+
			`"sessionHandle":"94ea999c-7978-4f48-960d-c3e862d63142","refreshTokenHash1":"%s","parentRefreshTokenHash1":null,`+
			`"antiCsrfToken":null,"iss":"https://api.example.com/auth"}`, hash)) + "." + part(make([]byte, 256))
	expiry := time.UnixMilli(1795266529000)
	h := http.Header{"Cache-Control": {"no-store"}}
	require.NoError(tb, fdi.Wire{RefreshPath: "/auth/session/refresh", Secure: true, SameSite: http.SameSiteLaxMode}.Set(h, fdi.Tokens{
		UserID: "auth0|0123456789abcdef", Access: access, AccessExpiry: expiry,
		Refresh: string(bytes.Repeat([]byte("r"), 160)) + "." + hash + ".V2", RefreshExpiry: expiry,
	}, cookies, expiry))
	at := time.UnixMilli(1795262900000)
	return &answer{
		TenantID: "public", UserID: "auth0|0123456789abcdef", Handle: "94ea999c-7978-4f48-960d-c3e862d63142", Header: h,
		State: mintState("auth0|0123456789abcdef", expiry), Expiry: expiry.UnixMilli(),
		Legacy: remember(&OldSession{Issuer: "https://legacy.example.com/", Subject: "auth0|0123456789abcdef", SessionID: "sid-1", AuthTime: at, IssuedAt: at}),
	}
}

// TestSealIsSlim: what can be made again is left out, and stands there again when the seal is opened.
func TestSealIsSlim(t *testing.T) {
	t.Parallel()
	v := vault{[][]byte{bytes.Repeat([]byte("a"), 32)}}
	for _, cookies := range []bool{true, false} {
		a := sessionAnswer(t, cookies)
		sealed, err := v.seal(a, ExchangeKey{1}, ExchangeKey{2}, Fence{3}, 'c')
		require.NoError(t, err)
		assert.Less(t, len(sealed), 2048, "cookies: %v", cookies)
		assert.Equal(t, sessionAnswer(t, cookies).Header, a.Header, "the answer itself stays as it is")
		o, err := v.open(sealed, a.Handle)
		require.NoError(t, err)
		assert.Equal(t, a.Header, o.Header)
		assert.Equal(t, a.Legacy.session(), o.Legacy.session())

		// A front-token that says something of its own is kept.
		a.Header.Set("Front-Token", "another")
		sealed, err = v.seal(a, ExchangeKey{1}, ExchangeKey{2}, Fence{3}, 'c')
		require.NoError(t, err)
		o, err = v.open(sealed, a.Handle)
		require.NoError(t, err)
		assert.Equal(t, "another", o.Header.Get("Front-Token"))
	}
}

func FuzzOpen(f *testing.F) {
	v := vault{[][]byte{bytes.Repeat([]byte("a"), 32)}}
	sealed, err := v.seal(testAnswer(), ExchangeKey{1}, ExchangeKey{2}, Fence{3}, 'h')
	require.NoError(f, err)
	f.Add(sealed, "handle-1")
	f.Add([]byte{}, "")
	f.Fuzz(func(t *testing.T, data []byte, handle string) {
		// What opens was sealed with this secret, by this process or by another one of the fuzzer's.
		if o, err := v.open(data, handle); err == nil {
			assert.Equal(t, testAnswer(), o.answer)
			assert.Equal(t, ExchangeKey{1}, o.key)
			assert.Equal(t, ExchangeKey{2}, o.shown)
		}
	})
}

// FuzzAnswer: whatever is read is read again as it was.
func FuzzAnswer(f *testing.F) {
	f.Add(testAnswer().append(nil))
	f.Add(sessionAnswer(f, true).append(nil))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := parseAnswer(data)
		if err != nil {
			return
		}
		again, err := parseAnswer(a.append(nil))
		require.NoError(t, err)
		assert.Equal(t, a, again)
	})
}

func BenchmarkClaim(b *testing.B) {
	for _, n := range []int{1e3, 1e4, 1e5, 1e6} {
		b.Run(fmt.Sprintf("%.0e", float64(n)), func(b *testing.B) {
			m := NewMemoryExchanges(n + b.N + 1)
			fillMemory(b, m, 0, n, nil)
			b.ReportAllocs()
			b.ResetTimer()
			for i := range b.N {
				_, err := m.Claim(b.Context(), memoryClaim(n+i))
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkMemory reports what one exchange takes, within Grace and after.
func BenchmarkMemory(b *testing.B) {
	now := time.Unix(1e9, 0)
	m := NewMemoryExchanges(1 << 30)
	m.UseClock(func() time.Time { return now })
	sealed, err := vault{[][]byte{bytes.Repeat([]byte("a"), 32)}}.seal(sessionAnswer(b, true), ExchangeKey{}, ExchangeKey{}, Fence{}, 'c')
	require.NoError(b, err)
	for b.Loop() {
		m.Len()
	}
	const n = 100_000
	before := liveHeap()
	fillMemory(b, m, 0, n, sealed)
	within := liveHeap()
	now = now.Add(time.Hour)
	require.Equal(b, n, m.Len())
	after := liveHeap()
	b.ReportMetric(float64(within-before)/n, "B/exchange-in-grace")
	b.ReportMetric(float64(after-before)/n, "B/exchange-after")
	runtime.KeepAlive(m)
}

func memoryClaim(i int) Claim {
	c := Claim{User: fmt.Sprintf("public|user-%030d", i), Lease: time.Minute, KeepFor: 48 * time.Hour}
	binary.BigEndian.PutUint64(c.Key[8:], uint64(i)*0x9E3779B97F4A7C15)
	binary.BigEndian.PutUint64(c.Shown[8:], uint64(i)*0xC2B2AE3D27D4EB4F)
	c.Fence[0] = 1
	return c
}

func fillMemory(tb testing.TB, m *MemoryExchanges, from, to int, sealed []byte) {
	for i := from; i < to; i++ {
		c := memoryClaim(i)
		_, err := m.Claim(tb.Context(), c)
		require.NoError(tb, err)
		require.NoError(tb, m.Finish(tb.Context(), c.Key, c.Fence, Finished{
			Handle: fmt.Sprintf("%036d", i), Sealed: sealed, SealedFor: time.Minute, KeepFor: 48 * time.Hour,
		}))
	}
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}
