package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
)

// A Bucket is where archived logs are.
type Bucket struct {
	blobs *blob.Bucket
	dir   string // if it is a folder
}

// OpenBucket opens a bucket by its URL. A path, or a URL of the scheme file,
// is a folder, which is made if there is none; other schemes are there if
// acrd was built with their tag: s3 with s3, azblob with azblob, gs with gcs.
func OpenBucket(ctx context.Context, address string) (*Bucket, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("log archive: %w", err)
	}
	if u.Scheme == "" || u.Scheme == "file" {
		return openFolder(u.Path)
	}
	if !blob.DefaultURLMux().ValidBucketScheme(u.Scheme) {
		return nil, fmt.Errorf("log archive %s: this acrd knows %s only: build it with -tags s3, azblob or gcs for more",
			u.Redacted(), strings.Join(append(blob.DefaultURLMux().BucketSchemes(), "folders"), ", "))
	}
	blobs, err := blob.OpenBucket(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("log archive %s: %w", u.Redacted(), err)
	}
	return &Bucket{blobs: blobs}, nil
}

func openFolder(dir string) (*Bucket, error) {
	blobs, err := fileblob.OpenBucket(dir, &fileblob.Options{
		CreateDir: true, DirFileMode: 0o700, NoTempDir: true, Metadata: fileblob.MetadataDontWrite,
	})
	if err != nil {
		return nil, fmt.Errorf("log archive: %w", err)
	}
	return &Bucket{blobs: blobs, dir: dir}, nil
}

// Close lets go of the bucket.
func (b *Bucket) Close() error { return b.blobs.Close() }

// sync makes sure that an object of a folder outlives a power cut.
func (b *Bucket) sync(key string) error {
	if b.dir == "" {
		return nil
	}
	for _, path := range []string{filepath.Join(b.dir, key), b.dir} {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}

func (b *Bucket) each(ctx context.Context, visit func(run string)) error {
	for it := b.blobs.List(nil); ; {
		o, err := it.Next(ctx)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list archived logs: %w", err)
		}
		if run, ok := strings.CutSuffix(o.Key, archiveEnd); ok && validRun().MatchString(run) {
			visit(run)
		}
	}
}
