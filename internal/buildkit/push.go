package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"acrd/internal/buildkit/control"
	"acrd/steps"

	"github.com/distribution/reference"
)

// Push sends an image of this run to the registry in its name.
func (s *runSession) Push(ctx context.Context, ref string, _ io.Writer) (*steps.Pushed, error) {
	image, ok := s.own(ref)
	if !ok {
		return nil, notBuilt(ref)
	}
	target, err := normalized(ref)
	if err != nil {
		return nil, &steps.RefusedError{Reason: err.Error()}
	}
	sid, err := s.sessionID()
	if err != nil {
		return nil, s.gen.blame(ctx, err)
	}
	bound, cancel := s.gen.bind(ctx)
	defer cancel()
	pushed, err := s.gen.control.Push(bound, s.place.Run, control.Push{Name: strings.TrimPrefix(image.name, "docker-image://"), Ref: target, Session: sid})
	if err != nil && sid == "" && strings.Contains(err.Error(), "no active sessions") { // nobody to ask for a credential
		return nil, errors.New("401 Unauthorized: the registry wants a credential: give one with --credential")
	}
	if err != nil {
		return nil, s.gen.blame(bound, err)
	}
	return &steps.Pushed{Ref: ref, Digest: pushed.Digest, MediaType: pushed.MediaType, Size: pushed.Size}, nil
}

func notBuilt(ref string) error {
	return &steps.RefusedError{Reason: fmt.Sprintf("image %s was not built in this run: push what a build step has tagged with -t", ref)}
}

// normalized is a reference with its registry and tag spelt out.
func normalized(ref string) (string, error) {
	named, err := reference.ParseNormalizedNamed(ref)
	if err != nil {
		return "", fmt.Errorf("%q is not an image reference: %w", ref, err)
	}
	return reference.TagNameOnly(named).String(), nil
}
