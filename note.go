package stmigrate

import (
	"fmt"
	"time"
)

const (
	useNote = "note"
	// noteLife is for how long a note speaks for a token that the Verifier refuses. Whoever holds that very token can use it, though
	// its owner may have signed out at the legacy system meanwhile.
	noteLife = 24 * time.Hour
)

// note writes down what Verify said, before the legacy session is revoked: if the process dies after that and before the
// exchange is finished, Verify will not say it again.
func (h *holder) note() error {
	x := h.x
	noter, ok := x.m.cfg.Exchanges.(ClaimNoter)
	if !ok {
		return nil
	}
	o := &owed{kind: x.kind, session: x.result.Legacy, at: x.m.cfg.Now()}
	if !x.noted.IsZero() {
		o.at = x.noted // it does not get younger by being read
	}
	note, err := x.m.vault.sealOwed(useNote, o, sealHeader{key: x.key, shown: x.shown, fence: h.fence})
	if err != nil {
		return err
	}
	ctx, cancel := h.within(x.m.budget.note)
	defer cancel()
	h.noted = true // or perhaps not, if there is an error
	if err := noter.Note(ctx, x.key, h.fence, note); err != nil {
		return fmt.Errorf("noting what is about to be revoked: %w", claimError(err))
	}
	return nil
}

// goOnFrom takes a note for what Verify would have said of this very token, if it is one and the session may still be alive.
func (x *exchange) goOnFrom(note []byte) bool {
	o, h, err := x.m.vault.openOwed(useNote, note)
	if err != nil || !x.m.matters(o) || !x.m.vault.match("shown", x.token, h.shown[:]) {
		return false
	}
	if key, _ := sessionKey(o.session, x.token); key != h.key {
		return false
	}
	x.result.Legacy, x.noted = o.session, o.at
	return true
}

// matters tells whether a note speaks for its session: it is fresh enough, and the Verifier would not refuse it as over.
func (m *Migrator) matters(o *owed) bool {
	now, end := m.cfg.Now(), o.session.ExpiresAt
	if o.session.acceptedUntil.After(end) {
		end = o.session.acceptedUntil
	}
	for _, end := range []time.Time{o.at.Add(noteLife), end, m.cfg.Until} {
		if !end.IsZero() && !now.Before(end) {
			return false
		}
	}
	return true
}
