package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
)

// An entry is one of an archive, as hostile as need be.
type entry struct {
	tar.Header
	content string
}

func file(name, content string) entry {
	return entry{tar.Header{Name: name, Mode: 0o644, Typeflag: tar.TypeReg, Size: int64(len(content))}, content}
}

func folder(name string) entry {
	return entry{Header: tar.Header{Name: name, Mode: 0o755, Typeflag: tar.TypeDir}}
}

func symlink(name, target string) entry {
	return entry{Header: tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeSymlink}}
}

func hardlink(name, target string) entry {
	return entry{Header: tar.Header{Name: name, Linkname: target, Typeflag: tar.TypeLink}}
}

// noise is content that does not compress.
func noise(n int) string {
	b := make([]byte, n)
	chacha := rand.NewChaCha8([32]byte{byte(n)})
	chacha.Read(b)
	return string(b)
}

func tarOf(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func gz(t *testing.T, p []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	w.Write(p)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func tarGz(t *testing.T, entries ...entry) []byte { return gz(t, tarOf(t, entries...)) }

// extract unpacks r into a folder of its own. It fails the test if an error
// leaves anything there, or anything is beside it.
func extract(t *testing.T, r io.Reader, limits Limits) (dir, said string, err error) {
	t.Helper()
	parent := t.TempDir()
	dir = filepath.Join(parent, "tree")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var out bytes.Buffer
	err = Extractor{Limits: limits, Out: &out}.Extract(t.Context(), r, root)
	if left, _ := os.ReadDir(dir); err != nil && len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if beside, _ := os.ReadDir(parent); len(beside) != 1 {
		t.Errorf("written outside: %v", beside)
	}
	return dir, out.String(), err
}

func TestExtract(t *testing.T) {
	when := time.Unix(1500000000, 0)
	dated := func(e entry, mode int64) entry {
		e.Mode, e.ModTime = mode, when
		return e
	}
	archive := tarOf(t,
		entry{Header: tar.Header{Name: "pax_global_header", Typeflag: tar.TypeXGlobalHeader, PAXRecords: map[string]string{"comment": "x"}}},
		folder("./"),
		dated(folder("dir/"), 0o2750),
		dated(file("./dir/file", "hello"), 0o4751),
		file("deep/er/file", "made its folders"),
		symlink("link", "dir/file"),
		symlink("dir/up", "../deep/er"),
		symlink("nowhere", "dir/nothing"),
		symlink("round", "round"),
		hardlink("hard", "dir/file"),
		file("twice", "first"),
		file("twice", "second"),
		symlink("was-link", "twice"),
		file("was-link", "now a file"),
		dated(folder("readonly"), 0o555),
		file("readonly/file", "x"),
		file("ünï ✓", ""),
	)
	var zst bytes.Buffer
	w, err := zstd.NewWriter(&zst)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(archive)
	w.Close()
	packed := map[string][]byte{"tar": archive, "gzip": gz(t, archive), "zstd": zst.Bytes()}
	if bzip2, err := exec.LookPath("bzip2"); err == nil {
		cmd := exec.Command(bzip2, "-c")
		cmd.Stdin = bytes.NewReader(archive)
		if packed["bzip2"], err = cmd.Output(); err != nil {
			t.Fatal(err)
		}
	}
	for name, archive := range packed {
		t.Run(name, func(t *testing.T) {
			dir, said, err := extract(t, bytes.NewReader(archive), Limits{})
			if err != nil || said != "" {
				t.Fatalf("%v\n%s", err, said)
			}
			for name, want := range map[string]string{
				"dir/file": "hello", "link": "hello", "hard": "hello", "deep/er/file": "made its folders",
				"dir/up/file": "made its folders", "twice": "second", "was-link": "now a file", "readonly/file": "x", "ünï ✓": "",
			} {
				if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != want {
					t.Errorf("%s = %q, %v; want %q", name, got, err, want)
				}
			}
			for name, want := range map[string]fs.FileMode{"dir": fs.ModeDir | 0o750, "dir/file": 0o751, "twice": 0o644, "readonly": fs.ModeDir | 0o755} {
				if info, err := os.Lstat(filepath.Join(dir, name)); err != nil || info.Mode() != want {
					t.Errorf("%s: %v, %v; want %v", name, info.Mode(), err, want)
				} else if (name == "dir/file" || name == "readonly") && !info.ModTime().Equal(when) {
					t.Errorf("%s is of %v; want %v", name, info.ModTime(), when)
				}
			}
		})
	}
	t.Run("empty", func(t *testing.T) {
		for _, archive := range [][]byte{tarOf(t), tarGz(t)} {
			if _, _, err := extract(t, bytes.NewReader(archive), Limits{}); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestExtractDrops holds devices and the like to a warning.
func TestExtractDrops(t *testing.T) {
	archive := tarOf(t,
		entry{Header: tar.Header{Name: "null", Typeflag: tar.TypeChar, Mode: 0o666, Devmajor: 1, Devminor: 3}},
		entry{Header: tar.Header{Name: "disk", Typeflag: tar.TypeBlock, Mode: 0o666, Devmajor: 8}},
		entry{Header: tar.Header{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o666}},
		entry{Header: tar.Header{Name: "odd\n", Typeflag: 'Z'}},
		file("a", "1"),
	)
	dir, said, err := extract(t, bytes.NewReader(archive), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadDir(dir); len(got) != 1 {
		t.Errorf("unpacked %v; want only a", got)
	}
	for _, name := range []string{`"null"`, `"disk"`, `"pipe"`, `"odd\n"`} {
		if !strings.Contains(said, "WARNING: "+name) {
			t.Errorf("%s is dropped silently:\n%s", name, said)
		}
	}
}

// TestExtractRefuses holds each hostile archive to an error that names the
// entry, and to nothing being written; then unpacks a harmless one.
func TestExtractRefuses(t *testing.T) {
	outside := t.TempDir()
	secret := filepath.Join(outside, "secret")
	if err := os.WriteFile(secret, []byte("s3cr3t"), 0o600); err != nil {
		t.Fatal(err)
	}
	deep := strings.Repeat("d/", 10)
	for name, c := range map[string]struct {
		entries []entry
		words   []string
	}{
		"parent":              {[]entry{file("../x", "")}, []string{`"../x"`, ".."}},
		"parent within":       {[]entry{file("a/../../x", "")}, []string{`"a/../../x"`, ".."}},
		"parent in disguise":  {[]entry{file("a/..", "")}, []string{`"a/.."`}},
		"absolute":            {[]entry{file("/etc/x", "")}, []string{`"/etc/x"`, "absolute"}},
		"two slashes":         {[]entry{file("//x", "")}, []string{`"//x"`, "absolute"}},
		"the folder itself":   {[]entry{symlink(".", "x")}, []string{`"."`}},
		"absolute link":       {[]entry{symlink("l", secret)}, []string{`"l"`, "outside"}},
		"link to the parent":  {[]entry{symlink("l", "..")}, []string{`"l"`, "outside"}},
		"link far up":         {[]entry{symlink("a/b/l", "../../../x")}, []string{`"a/b/l"`, "outside"}},
		"link to nothing":     {[]entry{symlink("l", "")}, []string{`"l"`}},
		"write through link":  {[]entry{symlink("l", "d"), folder("d"), file("l/x", "")}, []string{`"l/x"`, "is a link"}},
		"folder through link": {[]entry{symlink("l", "d"), folder("d"), folder("l/x")}, []string{`"l/x"`, "is a link"}},
		"link as a folder":    {[]entry{symlink("l", "d"), folder("d"), folder("l")}, []string{`"l"`, "is a link"}},
		"link by way of link": {[]entry{folder("a/b"), symlink("a/b/up", "../.."), symlink("l", "a/b/up/../x")}, []string{`"l"`, "links out"}},
		"folder becomes link": {[]entry{folder("d"), file("d/x", ""), symlink("d", "x"), file("d/y", "")}, []string{`"d"`, "folder"}},
		"file becomes folder": {[]entry{file("f", ""), file("f/x", "")}, []string{`"f/x"`, "not a folder"}},
		"hard link out":       {[]entry{hardlink("h", "../x")}, []string{`"h"`, "outside"}},
		"absolute hard link":  {[]entry{hardlink("h", secret)}, []string{`"h"`, "outside"}},
		"hard link to nobody": {[]entry{hardlink("h", "x")}, []string{`"h"`, "no file"}},
		"hard link to a link": {[]entry{symlink("l", "x"), hardlink("h", "l")}, []string{`"h"`, "no file"}},
		"hard link to folder": {[]entry{folder("d"), hardlink("h", "d")}, []string{`"h"`, "no file"}},
		"path":                {[]entry{file(strings.Repeat("p", 60)+"/"+strings.Repeat("q", 60), "")}, []string{"longer than 100"}},
		"target":              {[]entry{symlink("l", strings.Repeat("p/", 60))}, []string{`"l"`, "longer than 100"}},
		"depth":               {[]entry{file(deep+"x", "")}, []string{"more than 8 folders"}},
		"entries":             {[]entry{file("1", ""), file("2", ""), file("3", ""), file("4", ""), file("5", ""), file("6", "")}, []string{`"6"`, "more than 5 entries"}},
		"size":                {[]entry{file("a", "1"), file("b", noise(64<<10))}, []string{"64.0 KiB"}},
		"sizes":               {[]entry{file("a", noise(40<<10)), file("b", noise(40<<10))}, []string{"64.0 KiB"}},
	} {
		t.Run(name, func(t *testing.T) {
			limits := Limits{Path: 100, Depth: 8, Entries: 5, Bytes: 64 << 10}
			_, _, err := extract(t, bytes.NewReader(tarGz(t, c.entries...)), limits)
			if err == nil {
				t.Fatal("it is unpacked")
			}
			if !errors.Is(err, ErrArchive) && !errors.Is(err, ErrLimit) {
				t.Errorf("%v is neither ErrArchive nor ErrLimit", err)
			}
			for _, word := range c.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%v; want %q in it", err, word)
				}
			}
			if _, _, err := extract(t, bytes.NewReader(tarGz(t, file("a", "1"))), limits); err != nil {
				t.Errorf("a harmless archive: %v", err)
			}
		})
	}
	if text, err := os.ReadFile(secret); string(text) != "s3cr3t" {
		t.Errorf("the file outside is %q, %v", text, err)
	}
}

// raw is an entry that archive/tar would not write.
func raw(kind byte, name, content string) []byte {
	block := make([]byte, 512, 512+len(content)+512)
	copy(block, name)
	copy(block[100:], "0000644\x00")
	copy(block[124:], fmt.Sprintf("%011o\x00", len(content)))
	copy(block[136:], "00000000000\x00")
	block[156] = kind
	copy(block[257:], "ustar\x0000")
	copy(block[148:], "        ")
	sum := 0
	for _, b := range block {
		sum += int(b)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", sum))
	block = append(block, content...)
	return append(block, make([]byte, (512-len(content)%512)%512)...)
}

// paxRecords are in the format of a PAX header.
func paxRecords(keysAndValues ...string) string {
	var b strings.Builder
	for i := 0; i < len(keysAndValues); i += 2 {
		body := " " + keysAndValues[i] + "=" + keysAndValues[i+1] + "\n"
		n := len(body) + 1
		for n != len(fmt.Sprint(n))+len(body) {
			n = len(fmt.Sprint(n)) + len(body)
		}
		b.WriteString(fmt.Sprint(n) + body)
	}
	return b.String()
}

// TestExtractSparse unpacks files that are said to be large and hold nothing.
func TestExtractSparse(t *testing.T) {
	for size, refused := range map[string]bool{"1099511627776": true, "9223372036854775807": true, "4096": false} {
		archive := append(raw('x', "PaxHeaders/s", paxRecords("GNU.sparse.major", "0", "GNU.sparse.minor", "1", "GNU.sparse.map", "", "GNU.sparse.numblocks", "0", "GNU.sparse.size", size)), raw('0', "s", "")...)
		dir, _, err := extract(t, bytes.NewReader(append(archive, make([]byte, 1024)...)), Limits{})
		if !refused {
			if info, e := os.Stat(filepath.Join(dir, "s")); err != nil || e != nil || fmt.Sprint(info.Size()) != size {
				t.Errorf("%s: %v, %v", size, err, e)
			}
		} else if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), `"s"`) {
			t.Errorf("%s: %v; want %v", size, err, ErrLimit)
		}
	}
}

// zeros is a gzip stream of n zero bytes, or of more and more.
func zeros(t *testing.T, head []byte, n int64) io.Reader {
	r, w := io.Pipe()
	t.Cleanup(func() { r.Close() })
	go func() {
		z := gzip.NewWriter(w)
		z.Write(head)
		block := make([]byte, 1<<20)
		for n > 0 {
			if _, err := z.Write(block[:min(n, 1<<20)]); err != nil {
				return
			}
			n -= 1 << 20
		}
		w.CloseWithError(z.Close())
	}()
	return r
}

// TestExtractBombs unpacks archives that are much larger than they look, and
// looks at the memory meanwhile.
func TestExtractBombs(t *testing.T) {
	large := entry{Header: tar.Header{Name: "zeros", Typeflag: tar.TypeReg, Mode: 0o644, Size: 1 << 30}}
	var head bytes.Buffer
	if err := tar.NewWriter(&head).WriteHeader(&large.Header); err != nil {
		t.Fatal(err)
	}
	headers := func(n int) []byte { // one entry that takes n bytes to describe
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		records := map[string]string{}
		for i := range n / 1000 {
			records[fmt.Sprint("X.y", i)] = strings.Repeat("x", 1000)
		}
		if err := w.WriteHeader(&tar.Header{Name: "a", Typeflag: tar.TypeReg, PAXRecords: records}); err != nil {
			t.Fatal(err)
		}
		w.Close()
		return b.Bytes()
	}
	for name, c := range map[string]struct {
		r      io.Reader
		limits Limits
		word   string
	}{
		"ratio":        {zeros(t, head.Bytes(), 1<<28), Limits{RatioAfter: 8 << 20}, "200 times its size"},
		"size":         {zeros(t, head.Bytes(), 1<<30), Limits{Bytes: 8 << 20}, "8.0 MiB"},
		"tail":         {zeros(t, make([]byte, 1024), 1<<28), Limits{RatioAfter: 8 << 20}, "200 times its size"},
		"header":       {bytes.NewReader(gz(t, headers(900_000))), Limits{Header: 512 << 10}, "header of more than 512.0 KiB"},
		"large header": {bytes.NewReader(raw('x', "h", strings.Repeat("x", 1100<<10))), Limits{}, "header"},
		"more headers": {bytes.NewReader(gz(t, bytes.Repeat(longName(t), 3000))), Limits{}, "header of more than 1.0 MiB"},
		"window":       {bytes.NewReader(wideZstd(t)), Limits{}, "window"},
	} {
		t.Run(name, func(t *testing.T) {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, _, err := extract(t, c.r, c.limits)
			runtime.ReadMemStats(&after)
			if err == nil || !strings.Contains(err.Error(), c.word) {
				t.Errorf("%v; want %q in it", err, c.word)
			}
			if grown := int64(after.Sys) - int64(before.Sys); grown > 64<<20 {
				t.Errorf("memory grew by %s", byteSize(grown))
			}
		})
	}
}

// longName is the header that says how long the name of the next entry is, and
// that name: a chain of these never gets to an entry.
func longName(t *testing.T) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: strings.Repeat("n", 400), Typeflag: tar.TypeReg, Format: tar.FormatGNU}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()[:1024]
}

// wideZstd wants a window of a gigabyte to be unpacked.
func wideZstd(t *testing.T) []byte {
	t.Helper()
	// Magic, descriptor without content size, window descriptor of 2^30, and a
	// raw block of one byte.
	return []byte{0x28, 0xb5, 0x2f, 0xfd, 0x00, (30 - 10) << 3, 0x09, 0x00, 0x00, 'x'}
}

func TestExtractMany(t *testing.T) {
	r, w := io.Pipe()
	go func() {
		tw := tar.NewWriter(w)
		for i := range 100_001 {
			// Pipes are counted, and quickly left out.
			h := &tar.Header{Name: fmt.Sprintf("d%d/f%d", i/1000, i), Typeflag: tar.TypeFifo}
			if i%1000 == 0 {
				h.Typeflag = tar.TypeReg
			}
			if err := tw.WriteHeader(h); err != nil {
				return
			}
		}
		w.CloseWithError(tw.Close())
	}()
	_, _, err := extract(t, r, Limits{})
	if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), "more than 100000 entries") {
		t.Error(err)
	}
	r.Close()
}

func TestExtractBroken(t *testing.T) {
	good := tarGz(t, file("a", noise(10<<10)), file("b", noise(10<<10)))
	flipped := bytes.Clone(good)
	flipped[len(flipped)-6] ^= 1 // in the checksum
	for name, c := range map[string]struct {
		body []byte
		word string
	}{
		"empty":     {nil, "it is empty"},
		"short":     {[]byte("x"), "something else"},
		"html":      {[]byte("\n<!DOCTYPE html><html>"), "an HTML page"},
		"json":      {[]byte(`{"message": "Not Found"}`), "a JSON document"},
		"zip":       {[]byte("PK\x03\x04" + noise(1000)), "a zip archive"},
		"xz":        {[]byte("\xfd7zXZ\x00" + noise(1000)), "an xz archive"},
		"noise":     {[]byte(noise(4096)), "something else"},
		"gzip of x": {gz(t, []byte(noise(4096))), "damaged"},
		"cut":       {good[:len(good)/2], "cut short"},
		"cut end":   {good[:len(good)-4], "cut short"},
		"cut plain": {tarOf(t, file("a", noise(10<<10)))[:6<<10], "cut short"},
		"checksum":  {flipped, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := extract(t, bytes.NewReader(c.body), Limits{})
			if !errors.Is(err, ErrArchive) || !strings.Contains(err.Error(), c.word) {
				t.Errorf("%v; want %v with %q", err, ErrArchive, c.word)
			}
		})
	}
}

func TestExtractCanceled(t *testing.T) {
	root, err := os.OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(100*time.Millisecond, func() { cancel(why) })
	err = Extract(ctx, zeros(t, nil, 1<<50), root, Limits{Bytes: 1 << 50, Ratio: 1 << 30})
	if !errors.Is(err, why) {
		t.Errorf("%v; want %v", err, why)
	}
}

// FuzzExtract unpacks anything, next to a file that must not change.
func FuzzExtract(f *testing.F) {
	t := &testing.T{}
	for _, e := range [][]entry{
		{file("a", "1"), folder("d"), symlink("d/l", "../a"), hardlink("h", "a")},
		{symlink("l", ".."), file("l/x", "")},
		{folder("a/b"), symlink("a/b/up", "../.."), symlink("l", "a/b/up/../x"), file("l/y", "2")},
	} {
		f.Add(tarOf(t, e...))
		f.Add(tarGz(t, e...))
	}
	f.Fuzz(func(t *testing.T, archive []byte) {
		parent := t.TempDir()
		witness := filepath.Join(parent, "x")
		if err := os.WriteFile(witness, []byte("witness"), 0o644); err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(parent, "tree")
		os.Mkdir(dir, 0o755)
		root, err := os.OpenRoot(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		err = Extract(t.Context(), bytes.NewReader(archive), root, Limits{Bytes: 1 << 20, Entries: 100})
		if left, _ := os.ReadDir(dir); err != nil && len(left) > 0 {
			t.Errorf("%v leaves %v behind", err, left)
		}
		if text, _ := os.ReadFile(witness); string(text) != "witness" {
			t.Error("written outside")
		}
		if beside, _ := os.ReadDir(parent); len(beside) != 2 {
			t.Errorf("written outside: %v", beside)
		}
	})
}
