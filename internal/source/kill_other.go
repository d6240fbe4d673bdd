//go:build !unix

package source

import "os/exec"

// killGroup does nothing where there are no process groups: the end of cmd's
// context ends cmd alone.
func killGroup(*exec.Cmd) {}
