package contexts

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"time"
)

// A hashCache remembers what files hashed to, for one user, across folders.
//
// Its file is a header and records of one size, sorted by key. The key is a
// hash over all that says a file is as it was: path, size, times, inode. So
// there are no paths in the file, a record never changes but for the day it
// was last of use, and a look-up is a binary search in the bytes as read:
// loading is one read and one checksum, 3 ms for 100,000 files, where gob
// takes 116 and JSON 560.
//
// It is a cache: a file that is damaged, or of another version, is an empty
// one, and of two processes that save at once one loses what it learned.
type hashCache struct {
	file    string // none: nothing is kept
	today   uint32 // days since 1970
	records []byte
	fresh   map[cacheKey]Digest
	dirty   bool // records have another day than in the file
}

type cacheKey [16]byte

// An identity is what the system knows of a file besides its size and its
// modification time. Systems that know nothing leave it zero.
// Device numbers are not among it: some systems number them anew at each boot.
type identity struct {
	inode   uint64
	changed int64 // of content or metadata, in ns; no program can set it back
}

const (
	cacheMagic   = "acrdhc1\n"
	cacheHeader  = len(cacheMagic) + 4 // and a CRC-32C of the records
	cacheRecord  = len(cacheKey{}) + len(Digest{}) + 4
	cacheRecords = 200_000 // the most that are kept: 10 MiB

	// A file that changed just before it was hashed may change once more
	// without a trace, so it is not remembered. Modification times can be as
	// coarse as FAT's two seconds; change times are the kernel's clock.
	racyModified = 2 * time.Second
	racyChanged  = 100 * time.Millisecond
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// defaultHashCache is the user's own, or "" if the system has no place for it.
func defaultHashCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "acrd", "hashes")
}

func loadHashCache(file string, now time.Time) *hashCache {
	c := &hashCache{file: file, today: uint32(now.Unix() / (24 * 60 * 60)), fresh: map[cacheKey]Digest{}}
	if file == "" {
		return c
	}
	f, err := os.Open(file)
	if err != nil {
		return c
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil || info.Size() < int64(cacheHeader) || info.Size() > int64(cacheHeader+cacheRecords*cacheRecord) {
		return c
	}
	b := make([]byte, info.Size())
	if _, err := io.ReadFull(f, b); err != nil || string(b[:len(cacheMagic)]) != cacheMagic {
		return c
	}
	sum, records := binary.LittleEndian.Uint32(b[len(cacheMagic):]), b[cacheHeader:]
	if len(records)%cacheRecord != 0 || crc32.Checksum(records, castagnoli) != sum {
		return c
	}
	c.records = records
	return c
}

// keyOf takes the absolute path of a file and what lstat says of it.
func keyOf(file string, info fs.FileInfo) cacheKey {
	id := identify(info)
	b := make([]byte, 0, 256)
	b = binary.LittleEndian.AppendUint64(b, uint64(info.Size()))
	b = binary.LittleEndian.AppendUint64(b, uint64(info.ModTime().UnixNano()))
	b = binary.LittleEndian.AppendUint64(b, id.inode)
	b = binary.LittleEndian.AppendUint64(b, uint64(id.changed))
	sum := sha256.Sum256(append(b, file...))
	return cacheKey(sum[:len(cacheKey{})])
}

func (c *hashCache) get(key cacheKey) (Digest, bool) {
	if d, ok := c.fresh[key]; ok {
		return d, true
	}
	n := len(c.records) / cacheRecord
	i := sort.Search(n, func(i int) bool { return bytes.Compare(c.record(i)[:len(key)], key[:]) >= 0 })
	if i == n || cacheKey(c.record(i)) != key {
		return Digest{}, false
	}
	r := c.record(i)
	if day := r[len(key)+len(Digest{}):]; binary.LittleEndian.Uint32(day) != c.today {
		binary.LittleEndian.PutUint32(day, c.today)
		c.dirty = true
	}
	return Digest(r[len(key):]), true
}

func (c *hashCache) record(i int) []byte { return c.records[i*cacheRecord:][:cacheRecord] }

// put remembers sum, unless the file changed too shortly before the hashing
// began for a later change to be told from that one.
func (c *hashCache) put(key cacheKey, info fs.FileInfo, sum Digest, began time.Time) {
	if info.ModTime().After(began.Add(-racyModified)) {
		return
	}
	if identify(info).changed > began.Add(-racyChanged).UnixNano() {
		return
	}
	c.fresh[key] = sum
}

// save writes what was learned, atomically. The least recently used records
// go first when there are too many.
func (c *hashCache) save() error {
	if c.file == "" || len(c.fresh) == 0 && !c.dirty {
		return nil
	}
	records := c.merged()
	b := make([]byte, 0, cacheHeader+len(records)*cacheRecord)
	b = append(b, cacheMagic...)
	b = append(b, 0, 0, 0, 0)
	for _, r := range records {
		b = append(b, r...)
	}
	binary.LittleEndian.PutUint32(b[len(cacheMagic):], crc32.Checksum(b[cacheHeader:], castagnoli))
	if err := os.MkdirAll(filepath.Dir(c.file), 0o700); err != nil {
		return fmt.Errorf("save hash cache: %w", err)
	}
	if err := replaceFile(c.file, b); err != nil {
		return fmt.Errorf("save hash cache: %w", err)
	}
	return nil
}

func (c *hashCache) merged() [][]byte {
	var records [][]byte
	for i := range len(c.records) / cacheRecord {
		r := c.record(i)
		if _, ok := c.fresh[cacheKey(r)]; !ok {
			records = append(records, r)
		}
	}
	for key, sum := range c.fresh {
		r := append(key[:], sum[:]...)
		records = append(records, binary.LittleEndian.AppendUint32(r, c.today))
	}
	day := func(r []byte) uint32 { return binary.LittleEndian.Uint32(r[cacheRecord-4:]) }
	if len(records) > cacheRecords {
		slices.SortFunc(records, func(a, b []byte) int { return cmp.Compare(day(b), day(a)) })
		records = records[:cacheRecords]
	}
	slices.SortFunc(records, bytes.Compare)
	return records
}

// replaceFile writes file at once or not at all, as far as other processes can
// see.
func replaceFile(file string, content []byte) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone already if all went well
	if _, err := tmp.Write(content); err != nil {
		tmp.Close()
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	return os.Rename(tmp.Name(), file)
}
