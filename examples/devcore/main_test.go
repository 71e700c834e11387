package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestServesUntilItIsTold(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	told, out := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, out, "127.0.0.1:0", "key")
		_ = out.CloseWithError(err)
		done <- err
	}()
	lines := bufio.NewScanner(told)
	for lines.Scan() && !strings.HasPrefix(lines.Text(), "Try: curl ") {
	}
	url, ok := strings.CutPrefix(lines.Text(), "Try: curl ")
	if !ok {
		t.Fatal("it does not tell where it serves:", lines.Err())
	}
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if string(body) != "Hello\n" {
		t.Errorf("it says %q", body)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
