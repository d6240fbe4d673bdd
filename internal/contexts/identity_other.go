//go:build !linux && !darwin

package contexts

import "io/fs"

// identify has nothing to go by here: path, size and modification time decide.
func identify(fs.FileInfo) identity { return identity{} }
