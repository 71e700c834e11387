package ask

import (
	"math"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestParseRetryAfter(t *testing.T) {
	t.Parallel()
	now := time.Date(2027, 1, 15, 8, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                               0,
		"0":                              0,
		"7":                              7 * time.Second,
		" 7 ":                            7 * time.Second,
		"007":                            7 * time.Second,
		"3600":                           time.Hour,
		"86400":                          time.Hour,
		"9223372036854775807":            time.Hour,
		"99999999999999999999999":        time.Hour,
		"-1":                             0,
		"+7":                             0,
		"1.5":                            0,
		"7s":                             0,
		"0x10":                           0,
		"７":                              0,
		"Fri, 15 Jan 2027 08:00:30 GMT":  30 * time.Second,
		"Friday, 15-Jan-27 08:00:30 GMT": 30 * time.Second,
		"Fri Jan 15 08:00:30 2027":       30 * time.Second,
		"Fri, 15 Jan 2027 07:59:30 GMT":  0,
		"Fri, 15 Jan 2027 08:00:00 GMT":  0,
		"Fri, 15 Jan 2077 08:00:00 GMT":  time.Hour,
		"soon":                           0,
	} {
		assert.Equal(t, want, parseRetryAfter(value, now), "%q", value)
	}
}

func TestParseReset(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 500_000_000)
	for _, tt := range []struct {
		remaining, reset string
		want             time.Duration
	}{
		{"0", "1800000010", 9500 * time.Millisecond},
		{"0", "1800000000", 0},
		{"0", "1799999999", 0},
		{"0", "1800007200", time.Hour},
		{"0", "1800086400", time.Hour},
		{"0", "1800086401", 0},    // no window is longer than a day
		{"0", "1800000010000", 0}, // milliseconds
		{"0", "60", 0},            // seconds from now, as others have it
		{"0", "", 0},
		{"0", "-1", 0},
		{"0", "9223372036854775807", 0},
		{"1", "1800000010", 0},
		{"", "1800000010", 0},
		{"-0", "1800000010", 0},
		{"00", "1800000010", 9500 * time.Millisecond},
	} {
		assert.Equal(t, tt.want, parseReset(tt.remaining, tt.reset, now), "%q %q", tt.remaining, tt.reset)
	}
}

func TestPause(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_800_000_000, 0)
	for name, tt := range map[string]struct {
		status int
		header map[string]string
		want   time.Duration
	}{
		"429 and nothing":                  {429, nil, 0},
		"429, seconds":                     {429, map[string]string{"Retry-After": "5"}, 5 * time.Second},
		"503, seconds":                     {503, map[string]string{"Retry-After": "5"}, 5 * time.Second},
		"Retry-After is for refusals":      {200, map[string]string{"Retry-After": "5"}, 0},
		"Retry-After goes before reset":    {429, map[string]string{"Retry-After": "5", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000060"}, 5 * time.Second},
		"a Retry-After that is none":       {429, map[string]string{"Retry-After": "x", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000060"}, time.Minute},
		"the last call that was possible":  {202, map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1800000060"}, time.Minute},
		"Okta's spelling":                  {204, map[string]string{"X-Rate-Limit-Remaining": "0", "X-Rate-Limit-Reset": "1800000060"}, time.Minute},
		"two spellings are not one":        {204, map[string]string{"X-RateLimit-Remaining": "0", "X-Rate-Limit-Reset": "1800000060"}, 0},
		"calls remain":                     {202, map[string]string{"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "1800000060"}, 0},
		"calls remain here, but 429 there": {429, map[string]string{"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": "1800000060"}, 0},
	} {
		h := make(http.Header)
		for k, v := range tt.header {
			h.Set(k, v)
		}
		assert.Equal(t, tt.want, Pause(tt.status, h, now), name)
	}
}

func FuzzPause(f *testing.F) {
	f.Add(429, "5", "0", "1800000060")
	f.Add(503, "Fri, 15 Jan 2027 08:00:30 GMT", "", "")
	f.Add(200, "-1", "00", "9223372036854775808")
	f.Fuzz(func(t *testing.T, status int, after, remaining, reset string) {
		now := time.Unix(1_800_000_000, 0)
		h := http.Header{"Retry-After": {after}, "X-Ratelimit-Remaining": {remaining}, "X-Ratelimit-Reset": {reset}}
		got := Pause(status, h, now)
		if got < 0 || got > MaxPause {
			t.Fatalf("%v is no pause", got)
		}
		// An oracle for what is plain.
		if n, err := strconv.ParseUint(after, 10, 31); err == nil && n > 0 && (status == 429 || status == 503) {
			if want := time.Duration(min(float64(n)*float64(time.Second), float64(MaxPause))); math.Abs(float64(got-want)) > 0 {
				t.Fatalf("Retry-After %q: %v, want %v", after, got, want)
			}
		}
		if status != 429 && status != 503 && remaining != "0" && got > 0 {
			if n, err := strconv.Atoi(remaining); err == nil && n != 0 {
				t.Fatalf("%q calls remain, and the pause is %v", remaining, got)
			}
		}
	})
}
