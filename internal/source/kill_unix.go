//go:build unix

package source

import (
	"os/exec"
	"syscall"
)

// killGroup makes the end of cmd's context the end of all that cmd started.
func killGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}
