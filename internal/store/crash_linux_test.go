//go:build amd64 || arm64

package store

import (
	"unsafe"

	"modernc.org/libc"
	lib "modernc.org/sqlite/lib"
)

// A recorder stands between SQLite and the disk, and keeps a copy of each
// write, cut and sync of the files of one database.
type recorder struct {
	ops   []op
	files map[uintptr]recordedFile // by sqlite3_file
	open  xOpen
	erase xDelete
	old   uintptr // the VFS that does the work
}

// An op is one thing that was done to a file.
type op struct {
	kind opKind
	file string
	off  int64 // where data goes, or the size that is left
	data []byte
}

type opKind int

const (
	opWrite opKind = iota
	opTruncate
	opSync
	opDelete
)

type recordedFile struct {
	name     string
	write    xWrite
	truncate xTruncate
	sync     xSync
	close    xClose
}

// SQLite's functions, as the translation from C has them.
type (
	xOpen     = func(tls *libc.TLS, vfs, name, file uintptr, flags int32, outFlags uintptr) int32
	xDelete   = func(tls *libc.TLS, vfs, name uintptr, syncDir int32) int32
	xClose    = func(tls *libc.TLS, file uintptr) int32
	xWrite    = func(tls *libc.TLS, file, data uintptr, n int32, off int64) int32
	xTruncate = func(tls *libc.TLS, file uintptr, size int64) int32
	xSync     = func(tls *libc.TLS, file uintptr, flags int32) int32
)

// Sizes and offsets of sqlite3_vfs and sqlite3_io_methods where pointers have
// eight bytes.
const (
	vfsSize, vfsOpen, vfsDelete                                 = 168, 40, 48
	methodsSize, ioClose, ioWrite, ioTruncate, ioSync, vfsNames = 152, 8, 24, 32, 40, 24
)

// recording is the recorder in use. SQLite's functions have no room for
// another way to it.
var recording *recorder

// record makes every file that is opened from now on a recorded one, until
// stop is called.
func record() (r *recorder, stop func()) {
	tls := libc.NewTLS()
	r = &recorder{files: map[uintptr]recordedFile{}, old: lib.Xsqlite3_vfs_find(tls, 0)}
	r.open, r.erase = *at[xOpen](r.old + vfsOpen), *at[xDelete](r.old + vfsDelete)
	vfs := copied(tls, r.old, vfsSize)
	*at[uintptr](vfs + 16) = 0 // next
	name, _ := libc.CString("recorder")
	*at[uintptr](vfs + vfsNames) = name
	*at[xOpen](vfs + vfsOpen) = recordOpen
	*at[xDelete](vfs + vfsDelete) = recordDelete
	recording = r
	lib.Xsqlite3_vfs_register(tls, vfs, 1)
	return r, func() {
		lib.Xsqlite3_vfs_register(tls, r.old, 1)
		lib.Xsqlite3_vfs_unregister(tls, vfs)
	}
}

func at[T any](address uintptr) *T { return *(**T)(unsafe.Pointer(&address)) }

func copied(tls *libc.TLS, from uintptr, n int) uintptr {
	to := libc.Xmalloc(tls, uint64(n))
	copy(unsafe.Slice(at[byte](to), n), unsafe.Slice(at[byte](from), n))
	return to
}

func recordOpen(tls *libc.TLS, _, name, file uintptr, flags int32, outFlags uintptr) int32 {
	r := recording
	code := r.open(tls, r.old, name, file, flags, outFlags)
	methods := *at[uintptr](file)
	if code != lib.SQLITE_OK || name == 0 || methods == 0 {
		return code
	}
	r.files[file] = recordedFile{
		name:  libc.GoString(name),
		write: *at[xWrite](methods + ioWrite), truncate: *at[xTruncate](methods + ioTruncate),
		sync: *at[xSync](methods + ioSync), close: *at[xClose](methods + ioClose),
	}
	own := copied(tls, methods, methodsSize)
	*at[xWrite](own + ioWrite) = recordWrite
	*at[xTruncate](own + ioTruncate) = recordTruncate
	*at[xSync](own + ioSync) = recordSync
	*at[xClose](own + ioClose) = recordClose
	*at[uintptr](file) = own
	return code
}

func recordDelete(tls *libc.TLS, _, name uintptr, syncDir int32) int32 {
	r := recording
	code := r.erase(tls, r.old, name, syncDir)
	if code == lib.SQLITE_OK {
		r.ops = append(r.ops, op{kind: opDelete, file: libc.GoString(name)})
	}
	return code
}

func recordWrite(tls *libc.TLS, file, data uintptr, n int32, off int64) int32 {
	f := recording.files[file]
	b := append([]byte(nil), unsafe.Slice(at[byte](data), n)...)
	recording.ops = append(recording.ops, op{opWrite, f.name, off, b})
	return f.write(tls, file, data, n, off)
}

func recordTruncate(tls *libc.TLS, file uintptr, size int64) int32 {
	f := recording.files[file]
	recording.ops = append(recording.ops, op{opTruncate, f.name, size, nil})
	return f.truncate(tls, file, size)
}

func recordSync(tls *libc.TLS, file uintptr, flags int32) int32 {
	f := recording.files[file]
	recording.ops = append(recording.ops, op{opSync, f.name, 0, nil})
	return f.sync(tls, file, flags)
}

func recordClose(tls *libc.TLS, file uintptr) int32 {
	f := recording.files[file]
	delete(recording.files, file)
	return f.close(tls, file)
}
