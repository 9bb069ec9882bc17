//go:build !unix

package pgtest

import (
	"errors"
	"os/exec"
)

func detach(*exec.Cmd) {}

func runUnprivileged(*exec.Cmd, string) error {
	return errors.New("pgtest starts PostgreSQL's binaries on Unix only")
}
