package ask

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxPause is the longest that a provider is left alone: whatever it asks for, it is asked again after that.
	MaxPause  = time.Hour
	maxWindow = 24 * time.Hour // a limit that resets later than that is no time, or not in seconds
)

// Endpoint checks the address of an endpoint: https, and http to this machine or if insecure. base forbids a query, too, for an
// address to which paths are added.
func Endpoint(text string, insecure, base bool) error {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return errors.New("required")
	case err != nil:
		return errors.New("not a URL")
	case u.Host == "" || u.User != nil || u.Fragment != "" || base && (u.RawQuery != "" || u.ForceQuery):
		return fmt.Errorf("%q: scheme and host wanted, without user, fragment or query", u.Redacted())
	case u.Scheme == "https", u.Scheme == "http" && (insecure || Loopback(u.Hostname())):
		return nil
	}
	return fmt.Errorf("%q: https wanted; http only to localhost", text)
}

// Loopback tells whether a host is this machine by its name alone: localhost, or a loopback address.
func Loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Cause is what may be said of a failed call. It leaves out the URL, which can name a session, and whatever a server sent that is
// no HTTP.
func Cause(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var network net.Error
	var certificate *tls.CertificateVerificationError
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, io.EOF),
		errors.As(err, &network), errors.As(err, &certificate):
		return err
	}
	return errors.New("the connection failed or was not HTTP")
}

// Pause is for how long a provider wants to be left alone: 0 if it did not say. An answer that is no refusal can say it, too:
// nothing is left of a limit, and when that will change.
func Pause(status int, h http.Header, now time.Time) time.Duration {
	if status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		if d := parseRetryAfter(h.Get("Retry-After"), now); d > 0 {
			return d
		}
	}
	// Auth0 writes the names one way, Okta the other.
	for _, prefix := range []string{"X-RateLimit-", "X-Rate-Limit-"} {
		if d := parseReset(h.Get(prefix+"Remaining"), h.Get(prefix+"Reset"), now); d > 0 {
			return d
		}
	}
	return 0
}

// parseRetryAfter reads seconds or an HTTP date (RFC 9110 §10.2.3). What is neither, or over, is 0; the longest is an hour.
func parseRetryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if seconds, ok := digits(value); ok {
		return time.Duration(min(seconds, int64(MaxPause/time.Second))) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), MaxPause)
}

// parseReset reads X-RateLimit-Remaining and X-RateLimit-Reset, seconds since 1970 UTC. It is 0 unless nothing remains; the
// longest is an hour.
func parseReset(remaining, reset string, now time.Time) time.Duration {
	left, ok := digits(strings.TrimSpace(remaining))
	if !ok || left != 0 {
		return 0
	}
	seconds, ok := digits(strings.TrimSpace(reset))
	if !ok || seconds > now.Add(maxWindow).Unix() {
		return 0
	}
	return min(max(time.Unix(seconds, 0).Sub(now), 0), MaxPause)
}

// digits reads a number without a sign. One that is too big for an int64 is the biggest.
func digits(s string) (n int64, ok bool) {
	if s == "" || len(s) > 32 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, _ = strconv.ParseInt(s, 10, 64) // out of range: the biggest
	return n, true
}
