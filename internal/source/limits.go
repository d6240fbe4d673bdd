package source

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// What a caller may want to tell apart. All of them mean that the source is at
// fault, not this machine.
var (
	// ErrNoProgress is a peer that does not answer, or too slowly.
	ErrNoProgress = errors.New("no progress")
	// ErrLimit is a source that is larger than Limits allow.
	ErrLimit = errors.New("over the limit")
	// ErrDenied is an address that Fetcher.Deny refuses.
	ErrDenied = errors.New("address refused")
	// ErrArchive is an archive that is broken, or that would write outside the
	// folder it is unpacked into.
	ErrArchive = errors.New("archive refused")
)

// Limits bound what one fetch may take. A field that is zero means the value
// in its comment.
type Limits struct {
	Connect   time.Duration // 10 s, until a connection stands
	FirstByte time.Duration // 30 s, until the answer to a request begins
	Idle      time.Duration // 60 s, in which at least 1 KiB has to arrive
	Total     time.Duration // 10 min, for everything

	Bytes   int64 // 2 GiB, received; as much again unpacked
	Entries int   // 100,000 files, folders and links
	Path    int   // 4096 bytes in the path of an entry
	Depth   int   // 255 folders above an entry

	Ratio      int64 // 200 bytes unpacked for each received,
	RatioAfter int64 // once more than 64 MiB are unpacked
	Header     int64 // 1 MiB of an archive to describe one entry

	Submodules int // 100, nested ones included
}

func (l Limits) withDefaults() Limits {
	return Limits{
		Connect:    cmp.Or(l.Connect, 10*time.Second),
		FirstByte:  cmp.Or(l.FirstByte, 30*time.Second),
		Idle:       cmp.Or(l.Idle, 60*time.Second),
		Total:      cmp.Or(l.Total, 10*time.Minute),
		Bytes:      cmp.Or(l.Bytes, 2<<30),
		Entries:    cmp.Or(l.Entries, 100_000),
		Path:       cmp.Or(l.Path, 4096),
		Depth:      cmp.Or(l.Depth, 255),
		Ratio:      cmp.Or(l.Ratio, 200),
		RatioAfter: cmp.Or(l.RatioAfter, 64<<20),
		Header:     cmp.Or(l.Header, 1<<20),
		Submodules: cmp.Or(l.Submodules, 100),
	}
}

// byteSize writes n the way people do.
func byteSize(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
