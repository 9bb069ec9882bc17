//go:build !linux

package testenv

import "os/exec"

// EndWithParent does nothing: only Linux offers it.
func EndWithParent(*exec.Cmd) {}
