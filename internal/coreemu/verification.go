package coreemu

import (
	"maps"
	"time"
)

// emailTokenValidity is how long an e-mail verification token lives.
const emailTokenValidity = 24 * time.Hour

// userEmail is an address of a user, under the ID that the caller gave: the core asks no further here.
type userEmail struct{ user, email string }

type emailToken struct {
	userEmail
	tenant    string
	expiresAt int64
}

type verification struct {
	verified map[userEmail]bool
	tokens   map[string]emailToken
}

func newVerification() verification {
	return verification{verified: map[userEmail]bool{}, tokens: map[string]emailToken{}}
}

func (v *verification) knows(user string) bool {
	for k := range v.verified {
		if k.user == user {
			return true
		}
	}
	for _, t := range v.tokens {
		if t.user == user {
			return true
		}
	}
	return false
}

func (v *verification) rename(from, to string) {
	for k := range v.verified {
		if k.user == from {
			delete(v.verified, k)
			v.verified[userEmail{to, k.email}] = true
		}
	}
}

func (v *verification) forget(user string) {
	maps.DeleteFunc(v.verified, func(k userEmail, _ bool) bool { return k.user == user })
	maps.DeleteFunc(v.tokens, func(_ string, t emailToken) bool { return t.user == user })
}

func (v *verification) forgetTokens(k userEmail, tenant string) {
	maps.DeleteFunc(v.tokens, func(_ string, t emailToken) bool { return t.userEmail == k && t.tenant == tenant })
}

func (c *Core) isVerified(u *user) bool {
	return c.emails.verified[userEmail{c.mappings.external(u.id), u.email}]
}

func (c *Core) createEmailToken(r *request) (any, error) {
	k := userEmail{r.str("userId"), r.email("email")}
	if r.err != nil {
		return nil, r.err
	}
	if c.emails.verified[k] {
		return status("EMAIL_ALREADY_VERIFIED_ERROR"), nil
	}
	token := newToken()
	c.emails.tokens[hash1(token)] = emailToken{k, r.tenant, c.millis() + emailTokenValidity.Milliseconds()}
	return reply{"status": "OK", "token": token}, nil
}

func (c *Core) verifyEmail(r *request) (any, error) {
	method, token := r.str("method"), r.str("token")
	if r.err == nil && method != "token" {
		r.fail("Unsupported method for email verification")
	}
	if r.err != nil {
		return nil, r.err
	}
	t, ok := c.emails.tokens[hash1(token)]
	if !ok || t.tenant != r.tenant || t.expiresAt < c.millis() {
		return status("EMAIL_VERIFICATION_INVALID_TOKEN_ERROR"), nil
	}
	c.emails.forgetTokens(t.userEmail, t.tenant)
	c.emails.verified[t.userEmail] = true
	return reply{"status": "OK", "userId": t.user, "email": t.email}, nil
}

func (c *Core) isEmailVerified(r *request) (any, error) {
	k := userEmail{r.param("userId"), r.param("email")}
	if r.err != nil {
		return nil, r.err
	}
	return reply{"status": "OK", "isVerified": c.emails.verified[k]}, nil
}

func (c *Core) removeEmailTokens(r *request) (any, error) {
	k := userEmail{r.str("userId"), r.email("email")}
	if r.err != nil {
		return nil, r.err
	}
	c.emails.forgetTokens(k, r.tenant)
	return status("OK"), nil
}

func (c *Core) unverifyEmail(r *request) (any, error) {
	k := userEmail{r.str("userId"), r.email("email")}
	if r.err != nil {
		return nil, r.err
	}
	delete(c.emails.verified, k)
	return status("OK"), nil
}
