package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"acrd/internal/contexts"
	"acrd/runner"
	"acrd/steps"

	"github.com/tonistiigi/units"
)

// sent is a source that the daemon can get at.
type sent struct {
	location   string // for the request
	dockerfile string // its path in the source
}

// sendSource makes the source of a build or task known to the daemon: a folder
// is uploaded, anything else the daemon fetches itself. Keep are files that
// must travel whatever .dockerignore says.
func (c *connection) sendSource(ctx context.Context, out io.Writer, source, dockerfile string, keep ...string) (*sent, error) {
	where, err := steps.ParseContext(source)
	if err != nil {
		return nil, &usageError{err.Error()}
	}
	switch where.Kind {
	case steps.ContextNone:
		return &sent{}, nil
	case steps.ContextLocal:
	default:
		return &sent{source, dockerfile}, nil
	}
	if info, err := os.Stat(source); err != nil || !info.IsDir() {
		return nil, &usageError{fmt.Sprintf("Source location %s should be a local directory path or remote URL.", source)}
	}
	packed, err := contexts.Pack(ctx, contexts.PackOptions{Dir: source, Dockerfile: dockerfile, Keep: keep, DefaultExcludes: true})
	if err != nil {
		return nil, packError(err, source)
	}
	for _, name := range packed.Skipped {
		fmt.Fprintf(out, "Skipping '%s': only files, folders and links travel\n", name)
	}
	up := contexts.Client{HTTP: c.HTTP(), URL: c.Contexts(), Compress: !c.local, Progress: report(out)}
	digest, err := up.Upload(ctx, packed)
	if err != nil {
		return nil, err
	}
	return &sent{runner.UploadScheme + digest.String(), packed.Dockerfile}, nil
}

// report says what is sent, when it is not done in a blink.
func report(out io.Writer) func(sent, total int64) {
	var last time.Time
	return func(sent, total int64) {
		if sent == 0 {
			fmt.Fprintf(out, "Sending context (%.4g) to daemon...\n", units.Bytes(total))
			last = time.Now()
			return
		}
		if time.Since(last) > 5*time.Second {
			fmt.Fprintf(out, "Sent %.4g of %.4g\n", units.Bytes(sent), units.Bytes(total))
			last = time.Now()
		}
	}
}

func packError(err error, source string) error {
	if missing, ok := errors.AsType[*contexts.NoFileError](err); ok {
		return &usageError{fmt.Sprintf("Unable to find '%s' in %s: name a file with -f, by its path within the folder", missing.Name, source)}
	}
	if errors.Is(err, os.ErrNotExist) {
		return &usageError{err.Error()}
	}
	return err
}
