package contexts

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// benchFolder makes 2,000 files of 200 MB in 50 folders, of which one half
// compresses well.
func benchFolder(b *testing.B) string {
	b.Helper()
	dir := b.TempDir()
	content := make([]byte, 100<<10)
	random := rand.NewChaCha8([32]byte{})
	for i := range 2_000 {
		random.Read(content[:len(content)/2])
		file := filepath.Join(dir, fmt.Sprintf("packages/module%d/src/file%d.bin", i%50, i))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(file, content, 0o644); err != nil {
			b.Fatal(err)
		}
	}
	fill(b, dir, map[string]string{"Dockerfile": "FROM scratch", ".dockerignore": "**/*.log\nnode_modules\n*.tmp\n.git\ndocs/*\n!docs/README.md"})
	settle(b, dir)
	return dir
}

func BenchmarkPackCold(b *testing.B) {
	dir := benchFolder(b)
	b.SetBytes(2_000 * 100 << 10)
	for b.Loop() {
		pack(b, dir)
	}
}

func BenchmarkPackWarm(b *testing.B) {
	dir := benchFolder(b)
	for _, others := range []int{0, 100_000} {
		b.Run(fmt.Sprintf("beside %d", others), func(b *testing.B) {
			file := cacheFile(b, others)
			cached := func(o *PackOptions) { o.HashCache = file }
			pack(b, dir, cached)
			for b.Loop() {
				if p := pack(b, dir, cached); p.Read > 0 {
					b.Fatalf("read %d files", p.Read)
				}
			}
		})
	}
}

// BenchmarkUnchanged is all that an unchanged folder costs, client and daemon.
func BenchmarkUnchanged(b *testing.B) {
	dir, s := benchFolder(b), newStore(b)
	c := serve(b, "unix", Handler(s))
	cached := func(o *PackOptions) { o.HashCache = filepath.Join(filepath.Dir(dir), "hashes") }
	p := pack(b, dir, cached)
	upload(b, c, p)
	open(b, s, p.Manifest)
	for b.Loop() {
		p := pack(b, dir, cached)
		upload(b, c, p)
		tree, err := s.Open(b.Context(), p.Manifest.Digest())
		if err != nil {
			b.Fatal(err)
		}
		tree.Close()
	}
}

func BenchmarkPlanOpen(b *testing.B) {
	s, p := newStore(b), pack(b, benchFolder(b))
	add(b, s, p)
	open(b, s, p.Manifest)
	for b.Loop() {
		if missing, err := s.Plan(b.Context(), p.Manifest); err != nil || len(missing) > 0 {
			b.Fatal(missing, err)
		}
		tree, err := s.Open(b.Context(), p.Manifest.Digest())
		if err != nil {
			b.Fatal(err)
		}
		tree.Close()
	}
}

// BenchmarkOneChanged lays out a new tree for one changed file each time.
func BenchmarkOneChanged(b *testing.B) {
	dir, s := benchFolder(b), newStore(b)
	c := serve(b, "unix", Handler(s))
	cached := func(o *PackOptions) { o.HashCache = filepath.Join(filepath.Dir(dir), "hashes") }
	upload(b, c, pack(b, dir, cached))
	for n := 0; b.Loop(); n++ {
		fill(b, dir, map[string]string{"Dockerfile": fmt.Sprint("FROM scratch AS n", n)})
		p := pack(b, dir, cached)
		upload(b, c, p)
		tree, err := s.Open(b.Context(), p.Manifest.Digest())
		if err != nil {
			b.Fatal(err)
		}
		tree.Close()
	}
}

func BenchmarkTouched(b *testing.B) {
	dir, s := benchFolder(b), newStore(b)
	c := serve(b, "unix", Handler(s))
	upload(b, c, pack(b, dir))
	for n := int64(0); b.Loop(); n++ {
		b.StopTimer()
		age(b, dir, time.Unix(1_000_000_000+n, 0))
		b.StartTimer()
		p := pack(b, dir)
		upload(b, c, p)
		tree, err := s.Open(b.Context(), p.Manifest.Digest())
		if err != nil {
			b.Fatal(err)
		}
		tree.Close()
	}
}

func BenchmarkFirstUpload(b *testing.B) {
	p := pack(b, benchFolder(b))
	for _, way := range []struct {
		network  string
		compress bool
	}{{"unix", false}, {"tcp", false}, {"tcp", true}} {
		b.Run(fmt.Sprintf("%s, zstd %v", way.network, way.compress), func(b *testing.B) {
			b.SetBytes(2_000 * 100 << 10)
			for b.Loop() {
				s := newStore(b)
				c := serve(b, way.network, Handler(s))
				c.Compress = way.compress
				upload(b, c, p)
				tree, err := s.Open(b.Context(), p.Manifest.Digest())
				if err != nil {
					b.Fatal(err)
				}
				tree.Close()
			}
		})
	}
}

func BenchmarkHashCacheLoad(b *testing.B) {
	file := cacheFile(b, 100_000)
	for b.Loop() {
		if c := loadHashCache(file, time.Now()); len(c.records) != 100_000*cacheRecord {
			b.Fatal("not loaded")
		}
	}
}
