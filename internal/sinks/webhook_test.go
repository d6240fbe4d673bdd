package sinks

import (
	"context"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"acrd/eventing"
	"acrd/internal/address"
)

// A posted request is what an endpoint got.
type posted struct {
	*http.Request
	body string
}

func endpoint(t *testing.T, answer http.HandlerFunc) (url string, got *[]posted) {
	got = &[]posted{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		*got = append(*got, posted{r, string(body)})
		if answer != nil {
			answer(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL, got
}

func openWebHook(t *testing.T, d eventing.Destination, keys Keys) *WebHook {
	t.Helper()
	d.Type, d.Trusted = eventing.ToWebHook, true
	w, err := NewWebHook(d, func(context.Context) (Keys, error) { return keys, nil }, "acrd.example", address.Dialer{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.Close() })
	return w
}

func pushed(schema eventing.Schema) eventing.Delivery {
	e := eventing.Event{ID: "id-1", Type: "T", Subject: "app:v1", Time: time.Unix(1e9, 0), Data: json.RawMessage(`{"a":1}`)}
	return eventing.Delivery{Subscription: "sub", Schema: schema, Registry: "/r", Events: []eventing.Attempted{{Event: e, Count: 2}}}
}

func TestWebHookHeaders(t *testing.T) {
	const common = "User-Agent=acrd"
	eventGrid := []string{
		"Content-Type=application/json; charset=utf-8", "Aeg-Subscription-Name=SUB", "Aeg-Delivery-Count=2", "Aeg-Event-Type=Notification",
		"Aeg-Metadata-Version=1", "Aeg-Data-Version=1.0", "Aeg-Output-Event-Id=id-1", "Webhook-Request-Origin=", common,
	}
	cloudEvents := []string{
		"Content-Type=application/cloudevents+json; charset=utf-8", "Aeg-Metadata-Version=1.0", "Aeg-Data-Version=", "Aeg-Delivery-Count=2",
		"Webhook-Request-Origin=acrd.example", common,
	}
	acr := []string{"Content-Type=application/vnd.custom", "Aeg-Event-Type=", "Webhook-Request-Origin=", "X-Token=canary-static", "Authorization=", "Webhook-Id="}
	for schema, want := range map[eventing.Schema][]string{eventing.EventGridSchema: eventGrid, eventing.CloudEvents10: cloudEvents, eventing.WebhookSchema: acr} {
		url, got := endpoint(t, nil)
		d := pushed(schema)
		destination := eventing.Destination{URL: url + "/path?code=canary-query"}
		if schema == eventing.WebhookSchema {
			destination.Attributes = []eventing.Attribute{{Name: "content-type"}, {Name: "x-token", Secret: true}, {Name: "content-length"}}
			d.Events[0].Attributes = map[string]string{"content-type": "application/vnd.custom", "x-token": "canary-static", "content-length": "7"}
		}
		x, err := openWebHook(t, destination, Keys{}).Deliver(t.Context(), d)
		if err != nil {
			t.Fatal(err)
		}
		r := (*got)[0]
		for _, header := range want {
			name, value, _ := strings.Cut(header, "=")
			if r.Header.Get(name) != value {
				t.Errorf("%s: %s is %q, want %q", schema, name, r.Header.Get(name), value)
			}
		}
		if r.Method != http.MethodPost || r.URL.String() != "/path?code=canary-query" || !strings.Contains(r.body, `"a":1`) {
			t.Errorf("%s: %s %s %s", schema, r.Method, r.URL, r.body)
		}
		if text := fmt.Sprintf("%+v", x); strings.Contains(text, "canary") || x.Status != 200 || x.Method != "POST" {
			t.Errorf("the history tells %s", text)
		}
	}
}

// TestWebHookOddAttributes: what an event has, anybody may have chosen who may
// publish; it holds up no delivery.
func TestWebHookOddAttributes(t *testing.T) {
	url, got := endpoint(t, nil)
	d := pushed(eventing.EventGridSchema)
	d.Events[0].DataVersion = "1\r\nX-Forged: b"
	d.Events[0].Attributes = map[string]string{"X-Two-Lines": "a\r\nX-Forged: b", "X-Null": "a\x00", "X-Word": "größe"}
	destination := eventing.Destination{URL: url, Attributes: []eventing.Attribute{{Name: "X-Two-Lines", Field: "data.a"}, {Name: "X-Null", Field: "data.b"}, {Name: "X-Word", Field: "data.c"}}}
	if _, err := openWebHook(t, destination, Keys{}).Deliver(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	h := (*got)[0].Header
	if h.Get("X-Word") != "größe" || len(h.Values("X-Two-Lines"))+len(h.Values("X-Null"))+len(h.Values("X-Forged"))+len(h.Values("Aeg-Data-Version")) != 0 {
		t.Errorf("it is delivered with %v", h)
	}
}

func TestWebHookCredentials(t *testing.T) {
	for credential, want := range map[string]string{
		"canary-token": "Bearer canary-token", "user:canary": "Basic dXNlcjpjYW5hcnk=", "Token canary": "Token canary", "": "Basic dTpjYW5hcnk=",
	} {
		url, got := endpoint(t, nil)
		w := openWebHook(t, eventing.Destination{URL: strings.Replace(url, "://", "://u:canary@", 1)}, Keys{Credential: credential})
		x, err := w.Deliver(t.Context(), pushed(eventing.EventGridSchema))
		if err != nil || (*got)[0].Header.Get("Authorization") != want {
			t.Errorf("%q: sent %q (%v), want %q", credential, (*got)[0].Header.Get("Authorization"), err, want)
		}
		if strings.Contains(fmt.Sprintf("%+v", x), "canary") {
			t.Errorf("the history tells %+v", x)
		}
	}
}

func TestSignatures(t *testing.T) {
	url, got := endpoint(t, nil)
	old, now := []byte(strings.Repeat("o", 24)), []byte(strings.Repeat("n", 24))
	private := ed25519.NewKeyFromSeed([]byte(strings.Repeat("s", 32)))
	encoded := base64.StdEncoding.EncodeToString
	keys := Keys{Standard: []string{"whsec_" + encoded(now), "whsec_" + encoded(old), "whsk_" + encoded(private)}, Hub: "hub"}
	if _, err := openWebHook(t, eventing.Destination{URL: url}, keys).Deliver(t.Context(), pushed(eventing.CloudEvents10)); err != nil {
		t.Fatal(err)
	}
	r := (*got)[0]
	content := r.Header.Get("webhook-id") + "." + r.Header.Get("webhook-timestamp") + "." + r.body
	if !strings.HasPrefix(content, "id-1.") {
		t.Errorf("signed is %.40s", content)
	}
	sum := func(key []byte, content string) []byte {
		m := hmac.New(sha256.New, key)
		m.Write([]byte(content))
		return m.Sum(nil)
	}
	want := fmt.Sprintf("v1,%s v1,%s v1a,%s", encoded(sum(now, content)), encoded(sum(old, content)), encoded(ed25519.Sign(private, []byte(content))))
	if s := r.Header.Get("webhook-signature"); s != want {
		t.Errorf("signature is %s, want %s", s, want)
	}
	if s, want := r.Header.Get("X-Hub-Signature-256"), "sha256="+hex.EncodeToString(sum([]byte("hub"), r.body)); s != want {
		t.Errorf("signature is %s, want %s", s, want)
	}
	for _, bad := range []string{"plain", "whsec_!", "whsk_" + encoded(old)} {
		_, err := openWebHook(t, eventing.Destination{URL: url}, Keys{Standard: []string{bad}}).Deliver(t.Context(), pushed(eventing.CloudEvents10))
		if failure, ok := errors.AsType[*eventing.DeliveryError](err); !ok || failure.Outcome != eventing.InvalidConfigure {
			t.Errorf("key %s: %v", bad, err)
		}
	}
	if len(*got) != 1 {
		t.Errorf("%d requests, want none without a signature", len(*got))
	}
}

// TestStandardVector is the example of the specification's libraries.
func TestStandardVector(t *testing.T) {
	h := http.Header{}
	err := sign(h, Keys{Standard: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}}, "msg_p5jXN8AQM9LWM0D4loKWxJek", []byte(`{"test": 2432232314}`), time.Unix(1614265330, 0))
	if want := "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="; err != nil || h.Get("webhook-signature") != want {
		t.Errorf("signature is %s (%v), want %s", h.Get("webhook-signature"), err, want)
	}
}

func TestWebHookStatuses(t *testing.T) {
	for status, want := range map[int]eventing.Outcome{
		200: "", 201: "", 202: "", 203: "", 204: "", 205: eventing.Aborted, 302: eventing.Aborted, 400: eventing.BadRequest, 401: eventing.Unauthorized,
		403: eventing.Forbidden, 404: eventing.NotFound, 408: eventing.TimedOut, 410: eventing.Disabled, 413: eventing.PayloadTooLarge, 429: eventing.Busy,
		500: eventing.Aborted, 502: eventing.Aborted, 503: eventing.Busy, 504: eventing.TimedOut,
	} {
		url, got := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(status)
		})
		_, err := openWebHook(t, eventing.Destination{URL: url}, Keys{}).Deliver(t.Context(), pushed(eventing.EventGridSchema))
		failure, _ := errors.AsType[*eventing.DeliveryError](err)
		switch {
		case want == "" && err != nil:
			t.Errorf("%d: %v", status, err)
		case want != "" && (failure == nil || failure.Outcome != want || failure.Status != status || failure.Gone != (status == 410)):
			t.Errorf("%d: %+v", status, failure)
		case failure != nil && (failure.RetryAfter > 0) != (want == eventing.Busy):
			t.Errorf("%d: to be tried after %v", status, failure.RetryAfter)
		}
		if len(*got) != 1 {
			t.Errorf("%d: %d requests; a redirect was followed", status, len(*got))
		}
	}
}

// TestWebHookRefuses holds deliveries to where they may go, by whatever name.
func TestWebHookRefuses(t *testing.T) {
	url, got := endpoint(t, nil)
	host := strings.TrimPrefix(url, "http://")
	for name, row := range map[string]struct {
		url     string
		trusted bool
		allow   []string
		reached bool
	}{
		"loopback":              {url: url},
		"a name of it":          {url: strings.Replace(url, "127.0.0.1", "localhost", 1)},
		"as IPv6":               {url: strings.Replace(url, "127.0.0.1", "[::ffff:127.0.0.1]", 1)},
		"another port allowed":  {url: url, allow: []string{"127.0.0.1:1"}},
		"another host allowed":  {url: url, allow: []string{strings.Replace(host, "127.0.0.1", "localhost", 1)}},
		"allowed":               {url: url, allow: []string{host}, reached: true},
		"trusted":               {url: url, trusted: true, reached: true},
		"metadata, and trusted": {url: "http://169.254.169.254/", trusted: true},
	} {
		*got = nil
		w, err := NewWebHook(eventing.Destination{Type: eventing.ToWebHook, URL: row.url, Trusted: row.trusted},
			func(context.Context) (Keys, error) { return Keys{Credential: "canary"}, nil }, "", address.Dialer{Allow: row.allow})
		if err != nil {
			t.Fatal(err)
		}
		_, err = w.Deliver(t.Context(), pushed(eventing.EventGridSchema))
		if (err == nil) != row.reached || (len(*got) > 0) != row.reached {
			t.Errorf("%s: %v, %d requests", name, err, len(*got))
		}
		if err != nil && (!errors.Is(err, address.ErrDenied) || strings.Contains(err.Error(), "canary")) {
			t.Errorf("%s: %v, want ErrDenied", name, err)
		}
	}
}

func TestWebHookEndlessAnswer(t *testing.T) {
	url, _ := endpoint(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "canary")
		for range 1000 {
			if _, err := io.WriteString(w, strings.Repeat("x", 10_000)); err != nil {
				return
			}
		}
	})
	x, err := openWebHook(t, eventing.Destination{URL: url}, Keys{}).Deliver(t.Context(), pushed(eventing.EventGridSchema))
	if err != nil || len(x.Answer) != answerKept || x.AnswerHeaders["Set-Cookie"] != masked {
		t.Errorf("kept are %d bytes, %v (%v)", len(x.Answer), x.AnswerHeaders, err)
	}
}

// TestWebHookProxy: behind a proxy, the wrong address would be judged. (Go asks
// none for the loopback, where a test could see it.)
func TestWebHookProxy(t *testing.T) {
	w := openWebHook(t, eventing.Destination{URL: "https://example.test/"}, Keys{})
	if w.client.Transport.(*http.Transport).Proxy != nil {
		t.Error("the environment may name a proxy")
	}
}

func TestWebHookTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer s.Close()
	ca := string(pemOf(s.Certificate().Raw))
	for name, row := range map[string]struct {
		d  eventing.Destination
		ok bool
	}{
		"unknown authority": {eventing.Destination{URL: s.URL}, false},
		"its CA":            {eventing.Destination{URL: s.URL, CA: ca}, true},
		"insecure":          {eventing.Destination{URL: s.URL, Insecure: true}, true},
	} {
		_, err := openWebHook(t, row.d, Keys{}).Deliver(t.Context(), pushed(eventing.EventGridSchema))
		if (err == nil) != row.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "x": 0, "-5": 0, "0": 0, "120": 2 * time.Minute, "99999999999999": eventing.DefaultTTL, "9999999": eventing.DefaultTTL,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2025 03:05:05 GMT": 0,
	} {
		if got := retryAfter(text, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
