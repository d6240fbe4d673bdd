package sinks

import (
	"context"
	"encoding/base64"
	"errors"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azqueue/v2"

	"acrd/eventing"
)

// storageQueue puts each event as one message into a queue of Azure Storage.
// Such a message carries no properties, and no more than 64 KiB.
type storageQueue struct {
	*storage
	client *azqueue.QueueClient
}

func newStorageQueue(t *target) (*storageQueue, error) {
	if strings.Trim(t.url.Path, "/") == "" {
		return nil, errors.New("the destination's URL names no queue")
	}
	s, err := newStorage(t)
	if err != nil {
		return nil, err
	}
	q := &storageQueue{storage: s}
	options := &azqueue.ClientOptions{ClientOptions: s.options()}
	if s.key == "" {
		q.client, err = azqueue.NewQueueClientWithNoCredential(s.resource, options)
		return q, err
	}
	key, err := azqueue.NewSharedKeyCredential(s.account, s.key)
	if err != nil {
		return nil, errors.New("the destination's secret is no key of Azure Storage")
	}
	q.client, err = azqueue.NewQueueClientWithSharedKeyCredential(s.resource, key, options)
	return q, err
}

// Deliver implements eventing.Sink. If it fails, those events of a batch that
// came first may have been delivered.
func (q *storageQueue) Deliver(ctx context.Context, d eventing.Delivery) (*eventing.Exchange, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	options := &azqueue.EnqueueMessageOptions{TimeToLive: q.timeToLive()}
	for _, a := range d.Events {
		body, _, err := encode(d, a)
		if err != nil {
			return nil, err
		}
		if _, err := q.client.EnqueueMessage(ctx, base64.StdEncoding.EncodeToString(body), options); err != nil {
			err = q.failed("put message", err)
			return q.exchange(http.MethodPost, 0, d, err), err
		}
	}
	return q.exchange(http.MethodPost, http.StatusCreated, d, nil), nil
}

// timeToLive is in seconds; nil is the service's own, seven days, and -1 for
// ever.
func (q *storageQueue) timeToLive() *int32 {
	var seconds int32
	switch ttl := q.MessageTTL; {
	case ttl == 0:
		return nil
	case ttl < 0:
		seconds = -1
	default:
		seconds = int32(min((ttl+time.Second-1)/time.Second, math.MaxInt32))
	}
	return &seconds
}
