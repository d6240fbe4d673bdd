package contexts

import (
	"context"
	"fmt"
	"os"
	"slices"
)

// refresh reads again the files that changed since they were packed, and the
// suspect even if it looks as it did.
func (p *Packed) refresh(ctx context.Context, suspect string) error {
	root, err := os.OpenRoot(p.dir)
	if err != nil {
		return fmt.Errorf("read folder again: %w", err)
	}
	defer root.Close()
	for i := range p.Manifest.Entries {
		e := &p.Manifest.Entries[i]
		if e.Type != File || e.Path != suspect && p.asPacked(root, e) {
			continue
		}
		r, err := p.read(ctx, root, e.Path)
		if err != nil {
			return err
		}
		describe(e, r.info)
		e.Sum = r.sum
	}
	return nil
}

func (p *Packed) asPacked(root *os.Root, e *Entry) bool {
	f, err := p.open(root, e.Path)
	if err != nil {
		return false
	}
	defer f.Close()
	return unchanged(f, e) == nil
}

// pathOf returns the file that is sent as the content with the given sum.
func (p *Packed) pathOf(sum Digest) string {
	i := slices.IndexFunc(p.Manifest.Entries, func(e Entry) bool { return e.Type == File && e.Sum == sum })
	if i < 0 {
		return ""
	}
	return p.Manifest.Entries[i].Path
}

// sizeOf adds up the contents with the given sums.
func (p *Packed) sizeOf(sums []Digest) int64 {
	wanted := make(map[Digest]bool, len(sums))
	for _, d := range sums {
		wanted[d] = true
	}
	var n int64
	for i := range p.Manifest.Entries {
		if e := &p.Manifest.Entries[i]; e.Type == File && wanted[e.Sum] {
			n += e.Size
			delete(wanted, e.Sum)
		}
	}
	return n
}
