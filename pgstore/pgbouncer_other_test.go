//go:build !linux

package pgstore_test

import "os/exec"

// endWithParent does nothing: only Linux offers it.
func endWithParent(*exec.Cmd) {}
