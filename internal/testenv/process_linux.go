package testenv

import (
	"os/exec"
	"syscall"
)

// EndWithParent makes the kernel send SIGTERM to a program when the test program dies.
func EndWithParent(command *exec.Cmd) {
	if command.SysProcAttr == nil {
		command.SysProcAttr = new(syscall.SysProcAttr)
	}
	command.SysProcAttr.Pdeathsig = syscall.SIGTERM
}
