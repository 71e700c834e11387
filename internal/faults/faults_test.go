package faults_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stmigrate/stmigrate/internal/faults"
)

// ownClient's connections are no other test's to close.
var ownClient = &http.Client{Transport: new(http.Transport)}

func TestFaults(t *testing.T) {
	var f faults.Faults
	var done atomic.Int32
	srv := httptest.NewServer(f.Wrap(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		done.Add(1)
		_, _ = io.Copy(w, r.Body)
	}), nil))
	defer srv.Close()
	post := func(path string) (int, string, error) {
		resp, err := ownClient.Post(srv.URL+path, "text/plain", strings.NewReader("hello world"))
		if err != nil {
			return 0, "", err
		}
		defer func() { _ = resp.Body.Close() }()
		b, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b), err
	}

	for _, tt := range []struct {
		name     string
		fault    func()
		status   int
		body     string
		err      bool
		worked   int
		allOther bool
	}{
		{"healthy", func() {}, 200, "hello world", false, 1, true},
		{"down", func() { f.Down("POST /a") }, 0, "", true, 0, true},
		{"status, any method", func() { f.Status(503, "/a") }, 503, "Service Unavailable\n", false, 0, true},
		{"after commit", func() { f.AfterCommit("/a") }, 0, "", true, 1, true},
		{"truncated", func() { f.Truncate("/a") }, 200, "hello", true, 1, true},
		{"slow", func() { f.Slow(time.Millisecond, "/a") }, 200, "hello world", false, 1, true},
		{"everything", func() { f.Status(500) }, 500, "Internal Server Error\n", false, 0, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f.Heal()
			tt.fault()
			done.Store(0)
			status, body, err := post("/a")
			if status != tt.status || body != tt.body || (err != nil) != tt.err || int(done.Load()) != tt.worked {
				t.Errorf("got %d %q %v, worked %d times", status, body, err, done.Load())
			}
			if _, body, _ := post("/b"); (body == "hello world") != tt.allOther {
				t.Errorf("another route answered %q", body)
			}
		})
	}

	t.Run("what was in the log before heal hangs until heal", func(t *testing.T) {
		for range 300 {
			f.Heal()
			f.ForgetRequests()
			f.Hang("/a")
			ended := make(chan error)
			go func() {
				_, _, err := post("/a")
				ended <- err
			}()
			for len(f.Requests("POST /a")) == 0 {
				runtime.Gosched()
			}
			f.Heal()
			if err := <-ended; err == nil {
				t.Fatal("a request that hung was answered")
			}
			if log := f.Requests(); len(log) != 1 || string(log[0].Body) != "hello world" {
				t.Fatalf("log: %+v", log)
			}
		}
	})
}
