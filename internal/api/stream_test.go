package api_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"acrd/internal/api"
	"acrd/internal/logs"
)

// TestLogCutShort reads a log that cannot be read to its end: the client must
// not take what it gets for the whole.
func TestLogCutShort(t *testing.T) {
	d := newDesk(t)
	dir := t.TempDir()
	bucket, err := logs.OpenBucket(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer bucket.Close()
	d.api.Logs.Bucket = bucket
	l, err := d.api.Logs.Create("ca1")
	if err != nil {
		t.Fatal(err)
	}
	text := make([]byte, 1<<20)
	for i := range text {
		text[i] = byte('a' + rand.IntN(26))
	}
	if err := l.Write("", text); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := d.api.Logs.Archive(t.Context(), "ca1"); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "ca1.log.zst")
	packed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	copy(packed[len(packed)/2:], bytes.Repeat([]byte{0xff}, 1000))
	if err := os.WriteFile(file, packed, 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := api.NewClient(d.server.URL, deskToken)
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Log(t.Context(), "ca1", api.LogOptions{Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := io.ReadAll(r)
	if err == nil || len(got) == 0 || len(got) >= len(text) {
		t.Errorf("%d of %d bytes, and %v", len(got), len(text), err)
	}
}
