package sinks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
	"time"

	"acrd/eventing"
)

// A folder writes each delivery as one file, named as Event Grid names blobs.
type folder struct{ *target }

func newFolder(t *target) (*folder, error) {
	if !t.Trusted {
		return nil, errors.New("only the owner of the daemon may name a folder")
	}
	if t.url.Host != "" && t.url.Host != "localhost" || !path.IsAbs(t.url.Path) {
		return nil, errors.New("the URL of a folder is file:///path")
	}
	return &folder{t}, nil
}

// Deliver implements eventing.Sink. A file that is there is whole, and on the
// disk.
func (f *folder) Deliver(_ context.Context, d eventing.Delivery) (*eventing.Exchange, error) {
	body, _, err := eventing.EncodeBatch(d)
	if err != nil {
		return nil, failedAs(eventing.BadRequest, "encode", err)
	}
	if err = f.write(letterName(d), body); err != nil {
		err = failedAs(folderOutcome(err), "write dead letter", err)
	}
	x := f.exchange("WRITE", "file", d, err)
	x.Headers = nil
	return x, err
}

// Close implements eventing.Sink.
func (f *folder) Close() error { return nil }

func (f *folder) write(name string, body []byte) error {
	if err := os.MkdirAll(f.url.Path, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(f.url.Path)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := root.MkdirAll(path.Dir(name), 0o700); err != nil {
		return err
	}
	part := name + ".part"
	if err := writeSynced(root, part, body); err != nil {
		_ = root.Remove(part)
		return err
	}
	if err := root.Rename(part, name); err != nil {
		return err
	}
	dir, err := root.Open(path.Dir(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func writeSynced(root *os.Root, name string, body []byte) error {
	f, err := root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(body)
	return errors.Join(err, f.Sync(), f.Close())
}

func folderOutcome(err error) eventing.Outcome {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return eventing.Full
	case errors.Is(err, fs.ErrPermission):
		return eventing.Unauthorized
	case errors.Is(err, fs.ErrNotExist):
		return eventing.NotFound
	}
	return eventing.Busy
}

// letterName is SUBSCRIPTION/yyyy/M/d/H/guid.json. A delivery that is repeated
// has the same one.
func letterName(d eventing.Delivery) string {
	h, when := sha256.New(), time.Time{}
	fmt.Fprintln(h, d.Subscription)
	for _, a := range d.Events {
		fmt.Fprintln(h, a.ID)
		if a.Dead != nil && a.Dead.Tried.After(when) {
			when = a.Dead.Tried
		} else if when.IsZero() {
			when = a.Time
		}
	}
	when = when.UTC()
	id := hex.EncodeToString(h.Sum(nil))
	guid := strings.Join([]string{id[:8], id[8:12], id[12:16], id[16:20], id[20:32]}, "-")
	return fmt.Sprintf("%s/%d/%d/%d/%d/%s.json", strings.ToUpper(d.Subscription), when.Year(), int(when.Month()), when.Day(), when.Hour(), guid)
}
