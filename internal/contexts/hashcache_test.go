package contexts

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// settle makes the files in dir old enough to be remembered.
func settle(t testing.TB, dir string) {
	t.Helper()
	age(t, dir, time.Now().Add(-time.Hour))
	time.Sleep(racyChanged + 20*time.Millisecond) // nothing sets a change time back
}

func TestHashCache(t *testing.T) {
	dir := folder(t, map[string]string{"a": "1", "b/c": "2"})
	cache := func(o *PackOptions) { o.HashCache = filepath.Join(filepath.Dir(dir), "sub", "hashes") }
	settle(t, dir)
	first := pack(t, dir, cache)
	if first.Read != 2 || first.CacheErr != nil {
		t.Errorf("first pack read %d files, %v; want 2", first.Read, first.CacheErr)
	}
	second := pack(t, dir, cache)
	if second.Read != 0 || second.Manifest.Digest() != first.Manifest.Digest() {
		t.Errorf("second pack read %d files and got %v; want 0 and %v", second.Read, second.Manifest.Digest(), first.Manifest.Digest())
	}
	fill(t, dir, map[string]string{"a": "3"})
	if p := pack(t, dir, cache); p.Read != 1 || p.Manifest.Entries[0].Sum != digestOf("3") {
		t.Errorf("after a change it read %d files and got %v; want 1 and %v", p.Read, p.Manifest.Entries[0].Sum, digestOf("3"))
	}
}

// TestHashCacheSameStat rewrites a file with as many bytes and the same
// modification time.
func TestHashCacheSameStat(t *testing.T) {
	for _, tt := range []struct {
		name string
		at   time.Time
	}{
		{"just now", time.Now()},
		{"in the future", time.Now().Add(time.Hour)},
		{"long ago", time.Now().Add(-time.Hour)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			cache := func(o *PackOptions) { o.HashCache = filepath.Join(filepath.Dir(dir), "hashes") }
			for _, content := range []string{"one", "two", "six", "ten"} {
				fill(t, dir, map[string]string{"a": content})
				age(t, dir, tt.at)
				if got, want := pack(t, dir, cache).Manifest.Entries[0].Sum, digestOf(content); got != want {
					t.Errorf("sum %v of %q, want %v", got, content, want)
				}
			}
		})
	}
}

// TestHashCacheRacy pins the rule itself, on a system without change times.
func TestHashCacheRacy(t *testing.T) {
	now := time.Now()
	tests := []struct {
		modified time.Time
		kept     bool
	}{
		{now.Add(-time.Hour), true},
		{now.Add(-3 * time.Second), true},
		{now.Add(-1900 * time.Millisecond), false},
		{now, false},
		{now.Add(time.Hour), false},
	}
	for _, tt := range tests {
		c := loadHashCache("", now)
		info := fakeInfo{modified: tt.modified}
		c.put(keyOf("/a", info), info, digestOf("x"), now)
		if _, got := c.get(keyOf("/a", info)); got != tt.kept {
			t.Errorf("modified %v before hashing: remembered %v, want %v", now.Sub(tt.modified), got, tt.kept)
		}
	}
}

type fakeInfo struct {
	fs.FileInfo
	modified time.Time
}

func (f fakeInfo) Size() int64        { return 1 }
func (f fakeInfo) ModTime() time.Time { return f.modified }
func (f fakeInfo) Sys() any           { return nil }

func TestHashCacheDamage(t *testing.T) {
	good := cacheFile(t, 100)
	damage := map[string]func([]byte) []byte{
		"empty":         func([]byte) []byte { return nil },
		"cut":           func(b []byte) []byte { return b[:len(b)-7] },
		"cut at record": func(b []byte) []byte { return b[:len(b)-cacheRecord] },
		"flipped bit":   func(b []byte) []byte { b[500] ^= 4; return b },
		"other version": func(b []byte) []byte { b[6]++; return b },
		"too long":      func(b []byte) []byte { return append(b, bytes.Repeat([]byte{0}, cacheRecords*cacheRecord)...) },
		"text":          func([]byte) []byte { return []byte("hello") },
	}
	for name, spoil := range damage {
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(good)
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "hashes")
			if err := os.WriteFile(file, spoil(b), 0o600); err != nil {
				t.Fatal(err)
			}
			if c := loadHashCache(file, time.Now()); len(c.records) != 0 {
				t.Errorf("%d bytes of records were believed", len(c.records))
			}
			dir := folder(t, map[string]string{"a": "1"})
			settle(t, dir)
			for _, want := range []int{1, 0} {
				if p := pack(t, dir, func(o *PackOptions) { o.HashCache = file }); p.Read != want || p.CacheErr != nil {
					t.Errorf("pack read %d files, %v; want %d", p.Read, p.CacheErr, want)
				}
			}
		})
	}
}

// cacheFile makes a cache with n records.
func cacheFile(t testing.TB, n int) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hashes")
	c := loadHashCache(file, time.Now())
	for i := range n {
		info := fakeInfo{modified: time.Unix(int64(i), 0)}
		c.put(keyOf(fmt.Sprintf("/home/u/project/src/file%d.go", i), info), info, digestOf(fmt.Sprint(i)), time.Now())
	}
	if err := c.save(); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestHashCacheBound fills the cache over several days; the oldest go first,
// but for those that were of use.
func TestHashCacheBound(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hashes")
	day := func(n int) time.Time { return time.Unix(int64(20_000+n)*24*60*60, 0) }
	key := func(n, i int) cacheKey {
		var k cacheKey
		binary.BigEndian.PutUint64(k[:], uint64(n*1_000_003+i)*0x9e3779b97f4a7c15)
		return k
	}
	for n := range 5 {
		c := loadHashCache(file, day(n))
		c.get(key(0, 7))
		for i := range cacheRecords / 3 {
			c.fresh[key(n, i)] = digestOf("x")
		}
		if err := c.save(); err != nil {
			t.Fatal(err)
		}
	}
	c := loadHashCache(file, day(5))
	if got := len(c.records) / cacheRecord; got != cacheRecords {
		t.Errorf("%d records are kept, want %d", got, cacheRecords)
	}
	for _, tt := range []struct {
		n, i int
		want bool
	}{{0, 7, true}, {0, 8, false}, {4, 8, true}, {3, 8, true}} {
		if _, got := c.get(key(tt.n, tt.i)); got != tt.want {
			t.Errorf("record %d of day %d is there: %v, want %v", tt.i, tt.n, got, tt.want)
		}
	}
}

func TestHashCacheUnwritable(t *testing.T) {
	dir := folder(t, map[string]string{"a": "1", "file": ""})
	settle(t, dir)
	p := pack(t, dir, func(o *PackOptions) { o.HashCache = filepath.Join(dir, "file", "hashes") })
	if p.CacheErr == nil || len(p.Manifest.Entries) != 2 {
		t.Errorf("entries %v, CacheErr %v; want both files and an error", paths(p.Manifest), p.CacheErr)
	}
}
