package login

import (
	"context"
	"time"
)

// SetSleep replaces how l waits for another import.
func (l *Login) SetSleep(sleep func(context.Context, time.Duration) error) { l.sleep = sleep }
