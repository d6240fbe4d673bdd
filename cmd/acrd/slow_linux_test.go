package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"acrd/internal/api"
)

// TestSlowClients: who sends a head, or a body that was refused, byte by byte
// or not at all, is cut off, and others are served meanwhile.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	handler := api.Guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "ok") }), "owners")
	go func() { served <- serveHTTP(ctx, l, handler, 0) }()
	defer func() { cancel(); <-served }()

	ended := make(chan error)
	const each = 20
	for _, sent := range []string{"GET / HTTP/1.1\r\nHost: x\r\n", "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc"} {
		for range each {
			go func() { ended <- untilCut(t.Context(), l.Addr().String(), sent) }()
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+l.Addr().String()+"/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer owners")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("another client: %d", resp.StatusCode)
	}
	for range 2 * each {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// untilCut sends something and waits until the server hangs up.
func untilCut(ctx context.Context, address, sent string) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, sent); err != nil {
		return err
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute)) // for ever, as it is without a bound
	_, err = io.Copy(io.Discard, conn)
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Errorf("%q: not cut off within a minute", strings.Fields(sent)[0])
	}
	return nil
}

// TestOneDaemon: a state folder is for one daemon at a time.
func TestOneDaemon(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	open := func() (*daemon, error) {
		d := &daemon{daemonOptions: daemonOptions{state: state}}
		return d, d.openState(t.Context())
	}
	first, err := open()
	if err != nil {
		t.Fatal(err)
	}
	second, err := open()
	if usage := (*usageError)(nil); !errors.As(err, &usage) || !strings.Contains(err.Error(), "another acrd is using") {
		t.Errorf("a second daemon: %v", err)
	}
	for _, d := range []*daemon{second, first} {
		for _, end := range d.close {
			_ = end()
		}
	}
	third, err := open()
	if err != nil {
		t.Errorf("after the first: %v", err)
	}
	for _, end := range third.close {
		_ = end()
	}
}
