package stmigrate_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/stmigrate/stmigrate"
	"github.com/stmigrate/stmigrate/stmigratetest"
)

// TestUnderAttack holds each verifier of JWTs to the test kit's catalogue of good and wrong tokens.
func TestUnderAttack(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"RS256", "PS256", "ES256", "EdDSA"} {
		iss := stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{Algorithm: algorithm})
		cfg := stmigrate.JWTConfig{Issuer: iss.Issuer(), Audience: []string{"api"}, Algorithms: []string{algorithm}}

		remote, err := stmigrate.NewJWKSVerifier(stmigrate.JWKSConfig{URL: iss.JWKSURL()}, cfg)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return remote.Warm(t.Context()) == nil }, 5*time.Minute, 10*time.Millisecond)

		keys, err := stmigrate.ParseKeys(iss.JWKS())
		require.NoError(t, err)
		static, err := stmigrate.NewStaticKeyVerifier(keys, cfg)
		require.NoError(t, err)

		t.Run(algorithm, func(t *testing.T) {
			t.Parallel()
			for name, v := range map[string]stmigrate.OldSessionVerifier{"remote": remote, "static": static} {
				t.Run(name, func(t *testing.T) {
					stmigratetest.TestVerifier(t, stmigratetest.VerifierUnderTest{Verifier: v, Good: iss.Good(), Wrong: iss.Wrong()})
				})
			}
			assert.Empty(t, iss.Requests("GET /attacker/jwks.json", "GET /attacker/cert.pem"), "a key was fetched from where the token said")
		})
	}
}

// TestDecodeOnlyUnderAttack: without a signature to check, everything else is checked all the same.
func TestDecodeOnlyUnderAttack(t *testing.T) {
	t.Parallel()
	iss := stmigratetest.NewIssuer(t)
	v, err := stmigrate.NewInsecureDecodeVerifier(stmigrate.JWTConfig{Issuer: iss.Issuer(), Audience: []string{"api"}}, stmigrate.InsecureTrustToken)
	require.NoError(t, err)
	var wrong []stmigratetest.WrongToken
	for _, w := range iss.Wrong() {
		// What is wrong with the others is the signature, or the key that it is by.
		if w.Signed && w.Category != "kid" {
			if w.Class == stmigratetest.ClassExpired {
				w.Class = stmigratetest.ClassInvalid // only who is sure of the signature may say expired
			}
			wrong = append(wrong, w)
		}
	}
	require.Greater(t, len(wrong), 300)
	stmigratetest.TestVerifier(t, stmigratetest.VerifierUnderTest{Verifier: v, Good: iss.Good(), Wrong: wrong})
}

// TestConfirmedDecodeUnderAttack: the provider vouches for the very bytes, so nothing that it did not issue gets in.
func TestConfirmedDecodeUnderAttack(t *testing.T) { // not beside tests that keep the processor busy: its calls have 5 s each
	iss := stmigratetest.NewIssuer(t)
	v, err := stmigrate.NewInsecureDecodeVerifier(
		stmigrate.JWTConfig{Issuer: iss.Issuer(), Audience: []string{"api"}},
		stmigrate.ConfirmWithUserInfo(iss.UserInfoURL(), ownClient))
	require.NoError(t, err)
	asked := func() int { return len(iss.Requests("GET /userinfo")) }

	token := iss.Token()
	_, err = v.Verify(t.Context(), token)
	require.NoError(t, err)
	require.Equal(t, 1, asked())

	for _, w := range iss.Wrong() {
		if w.Category == "iss" || w.Category == "aud" || w.Category == "exp" || w.Category == "structure" {
			_, err := v.Verify(context.Background(), w.Token)
			require.Error(t, err, w.Name)
		}
	}
	assert.Equal(t, 1, asked(), "a token of another issuer or audience, or an expired one, is sent to nobody")

	for range 5 {
		_, err = v.Verify(t.Context(), forged(token))
		require.ErrorIs(t, err, stmigrate.ErrInvalidSession)
	}
	assert.Equal(t, 2, asked(), "the provider's no is remembered")
}

// TestSignatureTwin: the other signature that ECDSA allows for the same token is no second session.
func TestSignatureTwin(t *testing.T) {
	t.Parallel()
	iss := stmigratetest.NewIssuer(t, stmigratetest.IssuerConfig{Algorithm: "ES256"})
	keys, err := stmigrate.ParseKeys(iss.JWKS())
	require.NoError(t, err)
	v, err := stmigrate.NewStaticKeyVerifier(keys, stmigrate.JWTConfig{Issuer: iss.Issuer(), Audience: []string{"api"}, Algorithms: []string{"ES256"}})
	require.NoError(t, err)
	r := newRig(t, leave, func(c *stmigrate.Config) { c.Verifier = v })
	token := iss.Token(stmigratetest.Claims{"sid": nil, "jti": nil})
	twin, err := stmigratetest.Twin(token)
	require.NoError(t, err)
	require.NotEqual(t, token, twin)
	first, second := r.post(token), r.post(twin)
	expect(t, first, 200, "OK")
	expect(t, second, 200, "OK")
	assert.Equal(t, accessToken(t, first), accessToken(t, second))
	assert.Equal(t, 1, r.sessions.Created())
}
