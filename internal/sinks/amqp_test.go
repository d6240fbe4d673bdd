package sinks

import (
	"testing"

	"github.com/Azure/go-amqp"
	"github.com/google/go-cmp/cmp"

	"acrd/eventing"
	"acrd/internal/sinks/sinktest"
)

func TestNode(t *testing.T) {
	for _, test := range []struct {
		of        eventing.DestinationType
		url, want string
	}{
		{eventing.ToServiceBusQueue, "amqps://ns.servicebus.windows.net/orders", "orders"},
		{eventing.ToServiceBusQueue, "sb://ns.servicebus.windows.net/queue/orders", "queue/orders"},
		{eventing.ToEventHub, "amqps://ns.servicebus.windows.net/hub", "hub"},
		{eventing.ToAMQP, "amqp://broker/orders", "orders"},
		{eventing.ToAMQP, "amqp://broker/queue", "queue"},
		{eventing.ToAMQP, "amqp://broker/queue/orders", "/queue/orders"},         // RabbitMQ 3
		{eventing.ToAMQP, "amqp://broker/queues/orders", "/queues/orders"},       // RabbitMQ 4
		{eventing.ToAMQP, "amqp://broker/amq/queue/orders", "/amq/queue/orders"}, // RabbitMQ 3
		{eventing.ToAMQP, "amqp://broker/exchange/e/a.b", "/exchange/e/a.b"},
		{eventing.ToAMQP, "amqp://broker/?address=topic://orders", "topic://orders"},
	} {
		if got := node(&target{Destination: eventing.Destination{Type: test.of}, url: mustURL(t, test.url)}); got != test.want {
			t.Errorf("%s %s: address %q, want %q", test.of, test.url, got, test.want)
		}
	}
}

// TestServiceBusProperties puts attributes where Service Bus and Event Hubs
// have a place for them.
func TestServiceBusProperties(t *testing.T) {
	d := sinktest.Delivery(eventing.CloudEvents10, sinktest.Event("e1"))
	d.Events[0].Attributes = map[string]string{
		"MessageId": "m", "CorrelationId": "c", "SessionId": "s", "Label": "l", "To": "t", "ReplyTo": "r",
		"ReplyToSessionId": "rs", "PartitionKey": "p", "ViaPartitionKey": "v", "other": "o",
	}
	m := amqpMessage(d, []byte("{}"), "text/x")
	text := func(s string) *string { return &s }
	want := &amqp.MessageProperties{
		MessageID: "m", CorrelationID: "c", GroupID: text("s"), Subject: text("l"), To: text("t"), ReplyTo: text("r"),
		ReplyToGroupID: text("rs"), ContentType: text("text/x"),
	}
	if diff := cmp.Diff(want, m.Properties); diff != "" {
		t.Errorf("properties (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(amqp.Annotations{"x-opt-partition-key": "p", "x-opt-via-partition-key": "v"}, m.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
	own := map[string]any{
		"aeg-subscription-name": "MYSUB", "aeg-delivery-count": "0", "aeg-event-type": "Notification",
		"aeg-metadata-version": "1.0", "aeg-output-event-id": "e1", "other": "o",
	}
	if diff := cmp.Diff(own, m.ApplicationProperties); diff != "" {
		t.Errorf("application properties (-want +got):\n%s", diff)
	}
	if plain := amqpMessage(sinktest.Delivery(eventing.CloudEvents10, sinktest.Event("e2")), nil, ""); plain.Properties.MessageID != "e2" {
		t.Errorf("message id %v, want the event's", plain.Properties.MessageID)
	}
}
