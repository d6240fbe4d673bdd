//go:build !unix

package secrets

import "io/fs"

const noFollow = 0

func owner(fs.FileInfo) (uid int, ok bool) { return 0, false }
