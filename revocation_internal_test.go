package stmigrate

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestWithoutToken(t *testing.T) {
	t.Parallel()
	token := "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ1c2VyLTEifQ.c2lnbmF0dXJlLWJ5dGVz"
	cause := errors.New("it is " + token)
	assert.NotErrorIs(t, withoutToken(cause, token), cause, "nor by unwrapping")
	harmless := errors.New("it is late")
	assert.ErrorIs(t, withoutToken(harmless, token), harmless)
	assert.Less(t, len(withoutToken(errors.New(strings.Repeat("x", 1<<20)), token).Error()), 2100)
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	cfg, err := RevocationConfig{Jitter: func() float64 { return 1 }}.check()
	require.NoError(t, err)
	boom := errors.New("boom")
	for attempt, want := range map[int]time.Duration{
		1: 10 * time.Second, 2: 20 * time.Second, 3: 40 * time.Second, 9: 2560 * time.Second, 10: time.Hour, 19: time.Hour, 20: 0, 1000: 0,
	} {
		assert.Equal(t, verdict{retry: want, reason: "failed"}, cfg.judge(t.Context(), boom, attempt), attempt)
	}
	cfg.Jitter = func() float64 { return 0 }
	assert.Equal(t, time.Millisecond, cfg.judge(t.Context(), boom, 1).retry, "never 0, which would be dead")
	for _, tt := range []struct {
		err  error
		want verdict
	}{
		{&RevokeError{RetryAfter: time.Minute}, verdict{retry: time.Minute, pause: time.Minute}},
		{&RevokeError{RetryAfter: 1000 * time.Hour}, verdict{retry: 24 * time.Hour, pause: 24 * time.Hour}},
		{&RevokeError{RetryAfter: time.Minute, Permanent: true}, verdict{reason: "failed"}},
		{&RevokeError{RetryAfter: -1}, verdict{retry: time.Millisecond, reason: "failed"}},
	} {
		assert.Equal(t, tt.want, cfg.judge(t.Context(), tt.err, 1))
		assert.NotEmpty(t, tt.err.Error())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.Equal(t, verdict{retry: time.Millisecond}, cfg.judge(ctx, boom, 100), "cancelled by us")
}

func TestSealOwed(t *testing.T) {
	t.Parallel()
	v := vault{[][]byte{bytes.Repeat([]byte("a"), 32)}}
	at := time.UnixMilli(1795262900000)
	o := &owed{token: "a-token-of-32-bytes-and-some-more", kind: "sid", at: at, session: &OldSession{
		Issuer: "https://legacy.example.com/", Subject: "user-1", SessionID: "sid-1", ExpiresAt: at, acceptedUntil: at.Add(time.Minute),
		Claims: map[string]any{"name": "Ada Lovelace"},
	}}
	h := sealHeader{key: ExchangeKey{1}, shown: ExchangeKey{2}, fence: Fence{3}}
	sealed, err := v.sealOwed(useRevocation, o, h)
	require.NoError(t, err)
	for _, word := range []string{"a-token", "user-1", "sid-1", "Ada Lovelace"} {
		assert.NotContains(t, string(sealed), word)
	}
	got, gotHeader, err := v.openOwed(useRevocation, sealed)
	require.NoError(t, err)
	assert.Equal(t, o, got)
	assert.Equal(t, h, gotHeader)

	_, _, err = v.openOwed("note", sealed)
	require.ErrorIs(t, err, errSeal, "another use")
	_, err = v.open(sealed, useRevocation)
	require.ErrorIs(t, err, errSeal, "an answer")
	for i := range sealed {
		broken := bytes.Clone(sealed)
		broken[i] ^= 1
		if _, _, err := v.openOwed(useRevocation, broken); err == nil {
			t.Fatalf("byte %d may be changed", i)
		}
	}
	o.session.Claims["broken"] = make(chan int)
	_, err = v.sealOwed(useRevocation, o, h)
	require.ErrorContains(t, err, "OldSession.Claims")
}

// FuzzOwed: whatever is read is read again as it was.
func FuzzOwed(f *testing.F) {
	at := time.UnixMilli(1795262900000)
	o := &owed{token: "token", kind: "jti", at: at, session: &OldSession{Issuer: "i", Subject: "s", TenantID: "t", TokenID: "j", IssuedAt: at}}
	f.Add(o.append(nil, nil), []byte(nil))
	f.Add(o.append(nil, []byte(`{"a":1e400,"b":[null]}`)), []byte(`{"a":1}`))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 2, '{', '}', 0, 0, 0, 0, 0}, []byte(`{}`))
	f.Fuzz(func(t *testing.T, data, claims []byte) {
		o, err := parseOwed(data)
		if err != nil {
			return
		}
		o.session.Claims = nil
		again, err := parseOwed(o.append(nil, nil))
		require.NoError(t, err)
		assert.Equal(t, o, again)
		if again, err := parseOwed(o.append(nil, claims)); err == nil && len(claims) == 0 {
			assert.Equal(t, o, again)
		}
	})
}
