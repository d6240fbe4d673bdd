package sinks

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/address"
	"acrd/internal/sinks/sinktest"
)

// TestWebHook runs the suite against an endpoint.
func TestWebHook(t *testing.T) {
	var got chan sinktest.Message
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if code, err := strconv.Atoi(path.Base(r.URL.Path)); err == nil {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(code)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // it was reset midway
		}
		if len(body) > 1_100_000 {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		m := sinktest.Message{ContentType: r.Header.Get("Content-Type"), Body: body, Properties: map[string]string{}}
		for name := range r.Header {
			m.Properties[strings.ToLower(name)] = r.Header.Get(name)
		}
		m.ID = m.Properties["aeg-output-event-id"]
		got <- m
	}))
	defer server.Close()
	to := func(t *testing.T, p *sinktest.Proxy, path string, trusted bool) eventing.Sink {
		p.To(server.Listener.Addr().String())
		d := eventing.Destination{
			Type: eventing.ToWebHook, URL: "http://" + p.Address() + path + "?code=query-0815", Trusted: trusted, Attributes: sinktest.Attributes(),
		}
		keys := func(context.Context) (Keys, error) {
			return Keys{Credential: "token-4711", Standard: []string{"whsec_c2VjcmV0LXNlY3JldC1zZWNyZXQtMQ=="}, Hub: "hub-1234"}, nil
		}
		sink, err := NewWebHook(d, keys, "acrd.local", address.Dialer{})
		if err != nil {
			t.Fatal(err)
		}
		return sink
	}
	peer := sinktest.Peer{
		Open: func(t *testing.T, p *sinktest.Proxy, trusted bool) eventing.Sink {
			got = make(chan sinktest.Message, 100)
			return to(t, p, "/", trusted)
		},
		Again: func(t *testing.T, p *sinktest.Proxy) eventing.Sink { return to(t, p, "/", true) },
		Received: func(t *testing.T, n int) (messages []sinktest.Message) {
			for range n {
				select {
				case m := <-got:
					messages = append(messages, m)
				case <-time.After(10 * time.Second):
					t.Fatalf("%d requests of %d", len(messages), n)
				}
			}
			return messages
		},
		Bodies:  true,
		Largest: 1 << 20, TooLarge: 1_200_000,
		Secrets: []string{"query-0815", "token-4711", "c2VjcmV0", "hub-1234"},
	}
	sinktest.Run(t, peer)
	t.Run("statuses", func(t *testing.T) {
		for code, want := range statusTable {
			sink := to(t, sinktest.NewProxy(t), fmt.Sprintf("/%d", code), true)
			x, err := sink.Deliver(t.Context(), sinktest.Delivery(eventing.EventGridSchema))
			if (want == eventing.Delivered) != (err == nil) || err != nil && outcome(err) != want || x.Status != code {
				t.Errorf("%d: %v (%s), want %s", code, err, outcome(err), want)
			}
			sink.Close()
		}
	})
}

// statusTable is what Event Grid makes of an endpoint's answer.
var statusTable = map[int]eventing.Outcome{
	200: eventing.Delivered, 201: eventing.Delivered, 202: eventing.Delivered, 203: eventing.Delivered, 204: eventing.Delivered,
	400: eventing.BadRequest, 413: eventing.PayloadTooLarge,
	401: eventing.Unauthorized, 403: eventing.Forbidden, 404: eventing.NotFound, 408: eventing.TimedOut, 410: eventing.Disabled,
	429: eventing.Busy, 503: eventing.Busy, 504: eventing.TimedOut,
	205: eventing.Aborted, 301: eventing.Aborted, 307: eventing.Aborted, 418: eventing.Aborted, 500: eventing.Aborted, 502: eventing.Aborted,
}
