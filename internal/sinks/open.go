// Package sinks delivers events to queues, brokers and stores: each sink is an
// [eventing.Sink] over the SDK of what it delivers to.
//
//	WebHook, AzureFunction  net/http  one request for each delivery
//	StorageQueue          azqueue    one message for each event, in base64
//	StorageBlob, Folder   azblob     one file for each delivery: dead letters
//	AMQP, Service Bus,
//	Event Hubs            go-amqp    one message for each event
//	NATS                  nats.go    one message for each event, to JetStream
//	Kafka, Event Hubs     franz-go   one record for each event
//
// What they have in common: no connection is made before the first delivery,
// and one that broke is made again by the next. No SDK tries anything again by
// itself, for the queue of the subscription does. Every delivery ends within
// [Timeout]. Every connection goes where an [address.Dialer] lets it go. No
// error and no exchange tells a credential.
package sinks

import (
	"fmt"
	"time"

	"acrd/eventing"
	"acrd/internal/address"
)

// Timeout bounds a delivery, connecting included.
const Timeout = 30 * time.Second

// Open returns the sink of a destination. It connects to nothing yet. The
// credential is the value of the destination's secret, empty if it names none;
// docs/events.md says which forms it has. The dialer's Private is overridden by
// the destination's Trusted. An error is a *eventing.DeliveryError, and will be
// the same the next time.
func Open(d eventing.Destination, credential string, dialer address.Dialer) (eventing.Sink, error) {
	t, err := newTarget(d, credential, dialer)
	if err != nil {
		return nil, invalid(err)
	}
	sink, err := open(t)
	if err != nil {
		return nil, invalid(err)
	}
	return sink, nil
}

func open(t *target) (eventing.Sink, error) {
	switch t.Type {
	case eventing.ToStorageQueue:
		return newStorageQueue(t)
	case eventing.ToStorageBlob:
		return newStorageBlob(t)
	case eventing.ToFolder:
		return newFolder(t)
	case eventing.ToNATS:
		return newNATS(t)
	case eventing.ToKafka:
		return newKafka(t)
	case eventing.ToEventHub:
		if t.scheme == "kafka" {
			return newKafka(t)
		}
		return newAMQP(t)
	case eventing.ToServiceBusQueue, eventing.ToServiceBusTopic, eventing.ToAMQP:
		return newAMQP(t)
	}
	return nil, fmt.Errorf("there is no sink for endpointType %q", t.Type)
}
