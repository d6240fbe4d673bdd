package logs

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// BenchmarkFollowers has 1,000 readers of one log while 5,000 lines are
// written to it.
func BenchmarkFollowers(b *testing.B) {
	const followers, lines = 1000, 5000
	line := []byte(strings.Repeat("x", 79) + "\n")
	for b.Loop() {
		d := &Dir{Path: b.TempDir()}
		l, err := d.Create("ca1")
		if err != nil {
			b.Fatal(err)
		}
		var readers sync.WaitGroup
		var got atomic.Int64
		for i := range followers {
			open := d.Open
			readers.Go(func() {
				r, err := open(b.Context(), "ca1", 0, true)
				if i%2 == 1 {
					r, err = d.Step(b.Context(), "ca1", "a", true)
				}
				if err != nil {
					b.Error(err)
					return
				}
				defer r.Close()
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, 32<<10))
				if err != nil {
					b.Error(err)
				}
				got.Add(n)
			})
		}
		for range lines {
			if err := l.Write("a", line); err != nil {
				b.Fatal(err)
			}
		}
		during := resident(b)
		l.Close()
		readers.Wait()
		if want := int64(followers * lines * len(line)); got.Load() != want {
			b.Errorf("%d bytes were read, want %d", got.Load(), want)
		}
		b.ReportMetric(float64(during)/(1<<20), "MiB-resident")
		b.ReportMetric(256, "MiB-bar")
	}
}

// BenchmarkIdleFollowers: who waits costs no time.
func BenchmarkIdleFollowers(b *testing.B) {
	d := &Dir{Path: b.TempDir()}
	l, err := d.Create("ca1")
	if err != nil {
		b.Fatal(err)
	}
	var readers sync.WaitGroup
	for range 1000 {
		readers.Go(func() {
			r, err := d.Open(b.Context(), "ca1", 0, true)
			if err != nil {
				b.Error(err)
				return
			}
			defer r.Close()
			if _, err := io.Copy(io.Discard, r); err != nil {
				b.Error(err)
			}
		})
	}
	for b.Loop() { // another log is written
		other, err := d.Create("ca2")
		if err != nil {
			b.Fatal(err)
		}
		for range 1000 {
			if err := other.Write("a", []byte("line\n")); err != nil {
				b.Fatal(err)
			}
		}
		other.Close()
	}
	l.Close()
	readers.Wait()
}

// BenchmarkFlood writes far more than a step may.
func BenchmarkFlood(b *testing.B) {
	piece := []byte(strings.Repeat("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde\n", 512))
	d := &Dir{Path: b.TempDir()}
	l, err := d.Create("ca1")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(piece)))
	for b.Loop() {
		if err := l.Write("a", piece); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(resident(b))/(1<<20), "MiB-resident")
	l.Close()
}

func BenchmarkArchive(b *testing.B) {
	d := newDir(b)
	var text strings.Builder
	for i := 0; text.Len() < 16<<20; i++ {
		fmt.Fprintf(&text, "#12 %d.%03d  Compiling serde_json v1.0.%d (registry+https://example.com/index) %x\n", i/1000, i%1000, i%200, i*7919)
	}
	b.SetBytes(int64(text.Len()))
	for b.Loop() {
		l, err := d.Create("ca1")
		if err != nil {
			b.Fatal(err)
		}
		if err := l.Write("a", []byte(text.String())); err != nil {
			b.Fatal(err)
		}
		l.Close()
		if err := d.Archive(b.Context(), "ca1"); err != nil {
			b.Fatal(err)
		}
	}
	size, err := d.Size(b.Context(), "ca1")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(text.Len())/float64(size), "times-smaller")
}

// resident is the memory of this process.
func resident(b *testing.B) int64 {
	b.Helper()
	runtime.GC()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("needs /proc")
	}
	var size, rss int64
	if _, err := fmt.Sscan(string(text), &size, &rss); err != nil {
		b.Fatal(err)
	}
	return rss * int64(os.Getpagesize())
}
