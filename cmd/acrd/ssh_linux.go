package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"
)

// sshValues are the files that the daemon fetches sources over ssh with.
type sshValues struct{ key, knownHosts string }

func sshFlags(fs *pflag.FlagSet) *sshValues {
	v := &sshValues{}
	fs.StringVar(&v.key, "ssh-key", "", "file with the private key that is offered to the ssh servers of sources")
	fs.StringVar(&v.knownHosts, "ssh-known-hosts", "", "file with the keys of these servers (default those of the daemon's user); others are refused")
	return v
}

// read checks the files now: ssh would ignore a key that others can read, and
// say only that the server wants another.
func (v *sshValues) read() (sshValues, error) {
	key, keyErr := plainFile("--ssh-key", v.key, 0o077)
	hosts, hostsErr := plainFile("--ssh-known-hosts", v.knownHosts, 0o022)
	return sshValues{key: key, knownHosts: hosts}, errors.Join(keyErr, hostsErr)
}

// plainFile returns the absolute path of a file on which others have none of
// the rights. No path is no file.
func plainFile(flag, path string, rights os.FileMode) (string, error) {
	if path == "" {
		return "", nil
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", &usageError{fmt.Sprintf("%s: %v", flag, err)}
	case !info.Mode().IsRegular():
		return "", &usageError{fmt.Sprintf("%s: %s is not a file", flag, path)}
	case info.Mode().Perm()&rights != 0:
		return "", &usageError{fmt.Sprintf("%s: %s has mode %04o: chmod %04o it", flag, path, info.Mode().Perm(), info.Mode().Perm()&^rights)}
	}
	return filepath.Abs(path)
}
