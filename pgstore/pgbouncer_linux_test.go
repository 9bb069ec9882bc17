package pgstore_test

import (
	"os/exec"
	"syscall"
)

// endWithParent makes the kernel end a program when the test program dies.
func endWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
}
