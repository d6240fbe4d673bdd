package sinks

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"acrd/eventing"
)

// storageBlob writes each delivery as one blob of a container, as Event Grid
// keeps dead letters.
type storageBlob struct {
	*storage
	client *container.Client
}

func newStorageBlob(t *target) (*storageBlob, error) {
	if strings.Trim(t.url.Path, "/") == "" {
		return nil, errors.New("the destination's URL names no container")
	}
	s, err := newStorage(t)
	if err != nil {
		return nil, err
	}
	b := &storageBlob{storage: s}
	options := &container.ClientOptions{ClientOptions: s.options()}
	if s.key == "" {
		b.client, err = container.NewClientWithNoCredential(s.resource, options)
		return b, err
	}
	key, err := container.NewSharedKeyCredential(s.account, s.key)
	if err != nil {
		return nil, errors.New("the destination's secret is no key of Azure Storage")
	}
	b.client, err = container.NewClientWithSharedKeyCredential(s.resource, key, options)
	return b, err
}

// Deliver implements eventing.Sink.
func (b *storageBlob) Deliver(ctx context.Context, d eventing.Delivery) (*eventing.Exchange, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	body, contentType, err := eventing.EncodeBatch(d)
	if err != nil {
		return nil, failedAs(eventing.BadRequest, "encode", err)
	}
	headers := &blob.HTTPHeaders{BlobContentType: &contentType}
	_, err = b.client.NewBlockBlobClient(letterName(d)).Upload(ctx, streaming.NopCloser(bytes.NewReader(body)), &blockblob.UploadOptions{HTTPHeaders: headers})
	if err != nil {
		err = b.failed("put blob", err)
	}
	return b.exchange(http.MethodPut, http.StatusCreated, d, err), err
}
