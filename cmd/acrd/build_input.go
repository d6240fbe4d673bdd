package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"acrd/internal/source"
	"acrd/steps"
)

// maxDockerfile is more than any Dockerfile is.
const maxDockerfile = 1 << 20

// fromInput puts what comes by standard input, a Dockerfile or the source, into
// a folder that remove removes, and says what the source is then.
func (f *buildFlags) fromInput(ctx context.Context, s *session, where string) (source string, remove func(), err error) {
	if where != "-" && f.file != "-" {
		return where, func() {}, nil
	}
	if where == f.file {
		return "", nil, &usageError{"standard input is either the Dockerfile or the source, not both"}
	}
	dir, err := os.MkdirTemp("", "acrd-build-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) }
	if where == "-" {
		where, err = dir, f.sourceFromInput(ctx, s, dir)
	} else {
		err = f.fileFromInput(s, where, dir)
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	return where, remove, nil
}

// fileFromInput is -f -: what is sent is the source, and this file beside it.
func (f *buildFlags) fileFromInput(s *session, where, dir string) error {
	if c, err := steps.ParseContext(where); err != nil || c.Kind != steps.ContextLocal {
		return &usageError{fmt.Sprintf("-f -: the Dockerfile of %s has to be in there", where)}
	}
	f.file = filepath.Join(dir, "Dockerfile")
	return writeInput(f.file, s.stdin)
}

// sourceFromInput is docker build -: an archive is unpacked; anything else is a
// Dockerfile that needs no files.
func (f *buildFlags) sourceFromInput(ctx context.Context, s *session, dir string) error {
	in := bufio.NewReader(s.stdin)
	start, err := in.Peek(512)
	switch {
	case len(start) == 0 && err != nil && !errors.Is(err, io.EOF):
		return err
	case len(start) == 0:
		return &usageError{"there is nothing in standard input: want a Dockerfile, or a tar archive"}
	case !source.IsArchive(start):
		f.file = filepath.Join(dir, "Dockerfile")
		return writeInput(f.file, in)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	f.file = filepath.Join(dir, cmp.Or(f.file, "Dockerfile"))
	return source.Extractor{Out: s.stderr}.Extract(ctx, in, root)
}

func writeInput(name string, in io.Reader) error {
	b, err := io.ReadAll(io.LimitReader(in, maxDockerfile+1))
	if err != nil {
		return fmt.Errorf("read standard input: %w", err)
	}
	if len(b) > maxDockerfile {
		return &usageError{fmt.Sprintf("standard input is larger than %d KiB, and no tar archive", maxDockerfile>>10)}
	}
	return os.WriteFile(name, b, 0o600)
}
