package sinks

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"acrd/eventing"
	"acrd/internal/address"
)

func TestOpenErrors(t *testing.T) {
	for name, d := range map[string]eventing.Destination{
		"unknown type":      {Type: "HybridConnection", URL: "https://example.com/x"},
		"wrong scheme":      {Type: eventing.ToKafka, URL: "https://example.com/x"},
		"no topic":          {Type: eventing.ToKafka, URL: "kafka://example.com"},
		"no host":           {Type: eventing.ToAMQP, URL: "amqp:///queue"},
		"no queue":          {Type: eventing.ToAMQP, URL: "amqp://example.com"},
		"wildcard":          {Type: eventing.ToNATS, URL: "nats://example.com/a.*"},
		"unreadable":        {Type: eventing.ToNATS, URL: "nats://user:sesame@exa mple.com/a"},
		"stranger's":        {Type: eventing.ToFolder, URL: "file:///tmp/x"},
		"no login":          {Type: eventing.ToStorageQueue, URL: "https://a.queue.core.windows.net/q"},
		"CA without any":    {Type: eventing.ToAMQP, URL: "amqps://example.com/q", CA: "sesame"},
		"neither id":        {Type: eventing.ToServiceBusQueue, ResourceID: "/subscriptions/s"},
		"secret's own":      {Type: eventing.ToServiceBusQueue, URL: "amqps://Endpoint=sb%3A%2F%2Fb.servicebus.windows.net%2F%3BSharedAccessKeyName=n%3BSharedAccessKey=sesame@a.servicebus.windows.net/q"},
		"another account":   {Type: eventing.ToStorageQueue, URL: "https://AccountName=b%3BAccountKey=sesame@a.queue.core.windows.net/q"},
		"unknown mechanism": {Type: eventing.ToKafka, URL: "kafka://u:sesame@example.com/t?mechanism=GSSAPI"},
	} {
		sink, err := Open(d, "", address.Dialer{})
		if e := (*eventing.DeliveryError)(nil); sink != nil || !errors.As(err, &e) || e.Outcome != eventing.InvalidConfigure {
			t.Errorf("%s: %v, %v", name, sink, err)
		}
		if err != nil && strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
	}
}

func mustURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
