package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"acrd/eventing/inbound"
	"acrd/triggers"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

var _ inbound.Registries = (*Client)(nil)

// Describe implements inbound.Registries, by HEAD. Only what may be a chart is
// read.
func (c *Client) Describe(ctx context.Context, ref string, as *inbound.Login, charts bool) (*inbound.Description, error) {
	var after time.Duration
	var login *triggers.Login
	if as != nil {
		login = &triggers.Login{User: as.User, Password: as.Password}
	}
	r, options, err := c.open(ctx, ref, login, &after)
	if err != nil {
		return nil, err
	}
	found, err := remote.Head(r, options...)
	if err != nil && !plainNo(err, after) { // some answer no HEAD, or without a digest
		var whole *remote.Descriptor
		if whole, err = remote.Get(r, options...); err == nil {
			found = &whole.Descriptor
		}
	}
	if err != nil {
		return nil, verdict(ref, err, after)
	}
	d := &inbound.Description{Digest: found.Digest.String(), MediaType: string(found.MediaType), Size: found.Size}
	if charts && found.MediaType == types.OCIManifestSchema1 {
		whole, err := remote.Get(r, options...)
		if err != nil {
			return nil, verdict(ref, err, after)
		}
		if d.Chart, err = chart(whole); err != nil {
			return nil, fmt.Errorf("chart %s: %w", ref, unquoted(err))
		}
	}
	return d, nil
}

// plainNo says that a registry has answered, and that there is no need to ask
// in another way.
func plainNo(err error, after time.Duration) bool {
	status, ok := errors.AsType[*triggers.StatusError](answer(err, after))
	return ok && status.Status != http.StatusMethodNotAllowed
}

// verdict is nil if there is no such image, and ErrRefused if we may not look.
func verdict(ref string, err error, after time.Duration) error {
	status, ok := errors.AsType[*triggers.StatusError](answer(err, after))
	if !ok {
		return fmt.Errorf("image %s: %w", ref, unquoted(err))
	}
	switch status.Status {
	case http.StatusNotFound:
		return nil
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("image %s: %w: %w", ref, inbound.ErrRefused, unquoted(err))
	}
	return fmt.Errorf("image %s: %w", ref, unquoted(err))
}

// The media types of charts.
const (
	chartConfig  = "application/vnd.cncf.helm.config.v1+json"
	chartContent = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

const largestChartConfig = 1 << 20

// chart is what a manifest says of a chart; nil if it is none. Name and version
// are those of the config: in a tag, Helm writes another character for +.
func chart(d *remote.Descriptor) (*inbound.Chart, error) {
	manifest, err := v1.ParseManifest(bytes.NewReader(d.Manifest))
	if err != nil || manifest.Config.MediaType != chartConfig {
		return nil, err
	}
	if manifest.Config.Size > largestChartConfig {
		return nil, errors.New("its config is too large")
	}
	image, err := d.Image()
	if err != nil {
		return nil, err
	}
	text, err := image.RawConfigFile()
	if err != nil {
		return nil, err
	}
	var config struct{ Name, Version string }
	if err := json.Unmarshal(text, &config); err != nil {
		return nil, err
	}
	found := &inbound.Chart{Name: config.Name, Version: config.Version}
	for _, l := range manifest.Layers {
		if l.MediaType == chartContent {
			found.Digest, found.Size = l.Digest.String(), l.Size
		}
	}
	return found, nil
}
