//go:build !unix

package pgtest

import (
	"errors"
	"os/exec"
)

func detach(*exec.Cmd) {}

func unprivilegedDir(*exec.Cmd) (string, error) {
	return "", errors.New("pgtest starts PostgreSQL's programs on Unix only")
}

func chown(*exec.Cmd, string) error { return nil }
