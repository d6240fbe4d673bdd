package contexts

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sampleManifest() *Manifest {
	return &Manifest{Name: "n", Entries: []Entry{
		fileEntry("Dockerfile", "FROM a"), dirEntry("src"), fileEntry("src/ä b", ""), linkEntry("src/l", "../Dockerfile"), fileEntry("src-x", "y"),
	}}
}

func TestManifestRoundTrip(t *testing.T) {
	m := sampleManifest()
	m.Entries[0].ModTime = -1
	got, err := ReadManifest(bytes.NewReader(m.AppendBinary(nil)), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m, got); diff != "" {
		t.Errorf("manifest (-sent +read):\n%s", diff)
	}
}

func TestManifestDigest(t *testing.T) {
	base := sampleManifest().Digest()
	renamed := sampleManifest()
	renamed.Name = "other"
	if renamed.Digest() != base {
		t.Error("the name changes the digest")
	}
	for what, change := range map[string]func(*Entry){
		"path": func(e *Entry) { e.Path = "dockerfile" }, "mode": func(e *Entry) { e.Mode = 0o755 },
		"time": func(e *Entry) { e.ModTime++ }, "size": func(e *Entry) { e.Size++ }, "sum": func(e *Entry) { e.Sum[31]++ },
	} {
		m := sampleManifest()
		change(&m.Entries[0])
		if m.Digest() == base {
			t.Errorf("another %s has the same digest", what)
		}
	}
}

func TestComparePaths(t *testing.T) {
	ordered := []string{"a", "a/b", "a/b/c", "a/b-c", "a/c", "a\x01", "a-b", "a.b", "ab", "b"}
	for i, a := range ordered {
		for j, b := range ordered {
			if got := comparePaths(a, b); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("comparePaths(%q, %q) = %d", a, b, got)
			}
		}
	}
}

func TestReadManifestFaults(t *testing.T) {
	good := sampleManifest().AppendBinary(nil)
	many := append(append([]byte(manifestMagic), 0), binary.AppendUvarint(nil, 100_001)...)
	huge := append(append([]byte(manifestMagic), 0), binary.AppendUvarint(nil, 1<<63)...)
	entry := func(tail ...byte) []byte { return append(append([]byte(manifestMagic), 0, 1), tail...) }
	tests := []struct {
		name string
		in   []byte
		want error
	}{
		{"nothing", nil, ErrInvalid},
		{"other version", bytes.Replace(good, []byte("/1"), []byte("/2"), 1), ErrInvalid},
		{"JSON", []byte(`{"entries":[{"path":"a"}]}`), ErrInvalid},
		{"more behind", append(bytes.Clone(good), 0), ErrInvalid},
		{"many entries", many, ErrTooLarge},
		{"endless entries", huge, ErrTooLarge},
		{"name of 1 GiB", append([]byte(manifestMagic), binary.AppendUvarint(nil, 1<<30)...), ErrInvalid},
		{"path of 2^63 bytes", entry(append([]byte{'f'}, binary.AppendUvarint(nil, 1<<63)...)...), ErrInvalid},
		{"number without end", entry(append([]byte{'f'}, bytes.Repeat([]byte{0xff}, 100)...)...), ErrInvalid},
		{"unknown type", entry('b', 1, 'a', 0, 0), ErrInvalid},
		{"setuid", entry(append([]byte{'d', 1, 'a'}, binary.AppendUvarint(nil, 0o4755)...)...), ErrInvalid},
		{"big file", entry(append([]byte{'f', 1, 'a', 0, 0}, binary.AppendUvarint(nil, 3<<30)...)...), ErrTooLarge},
	}
	for _, tt := range tests {
		if _, err := ReadManifest(bytes.NewReader(tt.in), Limits{}); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	for n := range len(good) {
		if _, err := ReadManifest(bytes.NewReader(good[:n]), Limits{}); !errors.Is(err, ErrInvalid) {
			t.Errorf("cut to %d bytes: %v, want ErrInvalid", n, err)
		}
	}
}

// TestReadManifestBounded feeds lists that are as long as they can be and
// measures what they cost.
func TestReadManifestBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	long := &Manifest{}
	for i := range 100_000 {
		long.Entries = append(long.Entries, dirEntry(fmt.Sprintf("%0255d", i)+"/"+strings.Repeat("x", 200)))
	}
	endless := append(append([]byte(manifestMagic), 0), binary.AppendUvarint(nil, 100_000)...)
	one := appendText([]byte{'d'}, strings.Repeat("x", 4096))
	endless = append(endless, bytes.Repeat(append(one, 0, 0), 100_000)...)
	for name, in := range map[string][]byte{"long paths": long.AppendBinary(nil), "longest paths": endless} {
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		began := time.Now()
		_, err := ReadManifest(bytes.NewReader(in), Limits{})
		runtime.ReadMemStats(&after)
		if !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %v, want ErrTooLarge", name, err)
		}
		if took, grew := time.Since(began), after.TotalAlloc-before.TotalAlloc; took > 5*time.Second || grew > 128<<20 { // well below 1s without the race detector
			t.Errorf("%s of %d bytes: %v and %d MiB, want at most 5s and 128", name, len(in), took, grew>>20)
		}
	}
}

func FuzzReadManifest(f *testing.F) {
	f.Add(sampleManifest().AppendBinary(nil))
	f.Add((&Manifest{}).AppendBinary(nil))
	f.Add([]byte(manifestMagic + "\x00\x02f\x01a\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ReadManifest(bytes.NewReader(b), Limits{})
		if err != nil {
			if !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooLarge) {
				t.Errorf("error %v blames nobody", err)
			}
			return
		}
		again, err := ReadManifest(bytes.NewReader(m.AppendBinary(nil)), Limits{})
		if err != nil {
			t.Fatalf("its own encoding is refused: %v", err)
		}
		if diff := cmp.Diff(m, again); diff != "" || m.Digest() != again.Digest() {
			t.Errorf("encoded and read again (-first +second):\n%s", diff)
		}
		if err := m.validate(Limits{}); err != nil && !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("error %v blames nobody", err)
		}
	})
}

func benchManifest(n int) *Manifest {
	m := &Manifest{}
	for i := range n {
		if i%40 == 0 {
			m.Entries = append(m.Entries, dirEntry(fmt.Sprintf("packages/module%d/src", i)))
		}
		m.Entries = append(m.Entries, fileEntry(fmt.Sprintf("packages/module%d/src/file%d.go", i/40, i), fmt.Sprint(i)))
	}
	return m
}

func BenchmarkManifest(b *testing.B) {
	for _, n := range []int{2_000, 100_000} {
		m := benchManifest(n)
		wire := m.AppendBinary(nil)
		text, err := json.Marshal(m)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("own/%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(wire)))
			for b.Loop() {
				if _, err := ReadManifest(bytes.NewReader(m.AppendBinary(nil)), Limits{Entries: 200_000}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("json/%d", n), func(b *testing.B) { // for comparison
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				text, err := json.Marshal(m)
				if err == nil {
					err = json.Unmarshal(text, new(Manifest))
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
