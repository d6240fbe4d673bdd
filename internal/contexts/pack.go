package contexts

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// PackOptions say what to pack.
type PackOptions struct {
	// Dir is the folder.
	Dir string

	// Dockerfile is a path as the user gave it, in or outside of Dir. If
	// empty, it is Dir's Dockerfile if there is one.
	Dockerfile string

	// Keep are further files that travel whatever the ignore file says, a
	// task file for example: paths below Dir, with slashes.
	Keep []string

	// Name overrides Manifest.Name. If empty, it is made from the host's name
	// and Dir's absolute path.
	Name string

	// DefaultExcludes leaves .git, .gitignore and their like at the root out,
	// whatever the ignore file says, as az acr build does.
	DefaultExcludes bool

	// HashCache is the file that remembers what files hashed to. If empty, it
	// is the user's own. Without a place for it every file is read.
	HashCache string

	// Limits are those of the daemon, to learn early that it would refuse.
	Limits Limits
}

// Packed is a folder that is ready to travel.
type Packed struct {
	Manifest *Manifest

	// Dockerfile is the Dockerfile's path in the context, or empty. One from
	// outside of the folder has a name of its own there, 32 hex digits and
	// its base name.
	Dockerfile string

	// IgnoreFile is the ignore file that was heeded, as a path of this host,
	// or empty.
	IgnoreFile string

	// Excluded are the names that PackOptions.DefaultExcludes left out, and
	// Skipped the sockets, devices and pipes that were met.
	Excluded, Skipped []string

	// Read is the number of files whose content had to be read.
	Read int

	// CacheErr says why the next Pack will have to read them again, if so.
	CacheErr error

	dir     string
	outside map[string]string // host paths of the entries that are not in dir
}

// Pack walks a folder and hashes its files. Links travel as links and are
// never followed, except that a Dockerfile, an ignore file and the files of
// Keep may be links within the folder: the file travels too then, and a link
// that leads out is refused.
//
// A file that changes while it is read is read once more; if it does not keep
// still then, the error is a *ChangedError.
func Pack(ctx context.Context, opts PackOptions) (*Packed, error) {
	dir, err := filepath.Abs(opts.Dir)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", opts.Dir, err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("pack folder: %w", err)
	}
	defer root.Close()
	req, err := findRequired(root, dir, opts)
	if err != nil {
		return nil, fmt.Errorf("pack %s: %w", opts.Dir, err)
	}
	cacheFile := opts.HashCache
	if cacheFile == "" {
		cacheFile = defaultHashCache()
	}
	cache := loadHashCache(cacheFile, time.Now())
	w := &walker{
		root: root, required: req, cache: cache,
		limits: opts.Limits.withDefaults(), defaultExcludes: opts.DefaultExcludes,
	}
	if err := w.walk(ctx); err != nil {
		return nil, fmt.Errorf("pack %s: %w", opts.Dir, err)
	}
	p := &Packed{
		Manifest:   &Manifest{Name: opts.Name, Entries: w.entries},
		Dockerfile: req.dockerfile, IgnoreFile: req.ignoreFile,
		Excluded: w.excluded, Skipped: w.skipped, Read: len(w.unhashed),
		dir: dir, outside: req.outside,
	}
	if p.Manifest.Name == "" {
		p.Manifest.Name = folderName(dir)
	}
	if err := p.hash(ctx, root, w.unhashed, cache); err != nil {
		return nil, fmt.Errorf("pack %s: %w", opts.Dir, err)
	}
	p.Manifest.sort()
	p.CacheErr = cache.save()
	limits := w.limits
	limits.LinksOut = true // the daemon's to allow or not
	if err := p.Manifest.validate(limits); err != nil {
		return nil, fmt.Errorf("pack %s: %w", opts.Dir, err)
	}
	return p, nil
}

func folderName(dir string) string {
	host, _ := os.Hostname() // without one, the path alone has to do
	sum := sha256.Sum256([]byte(host + "\x00" + dir))
	return hex.EncodeToString(sum[:])
}

// hostPath is where the entry called name is read from.
func (p *Packed) hostPath(name string) string {
	if file, ok := p.outside[name]; ok {
		return file
	}
	return filepath.Join(p.dir, filepath.FromSlash(name))
}
