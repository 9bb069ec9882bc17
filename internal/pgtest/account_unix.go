//go:build unix

package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"
)

// detach puts the command into a process group of its own, so that the terminal's signals do not reach it: an interrupt
// ends the tests, and the guard cleans up then.
func detach(command *exec.Cmd) {
	attributes(command).Setpgid = true
}

// unprivilegedDir makes the command run under an account that PostgreSQL accepts, which is any but root, and returns a
// new folder that this account owns and can reach.
func unprivilegedDir(command *exec.Cmd) (string, error) {
	const pattern = "points-test-"
	if os.Geteuid() != 0 {
		return os.MkdirTemp("", pattern)
	}
	credential, err := unprivileged()
	if err != nil {
		return "", err
	}
	parent, err := reachable(credential)
	if err != nil {
		return "", err
	}
	directory, err := os.MkdirTemp(parent, pattern)
	if err != nil {
		return "", err
	}
	attributes(command).Credential = credential
	if err := chown(command, directory); err != nil {
		return "", errors.Join(err, os.Remove(directory))
	}
	return directory, nil
}

// chown gives a file to the account that the command runs under.
func chown(command *exec.Cmd, path string) error {
	credential := attributes(command).Credential
	if credential == nil {
		return nil
	}
	return os.Chown(path, int(credential.Uid), int(credential.Gid))
}

// reachable returns the first folder for temporary files that the account can enter: TMPDIR may be below a folder that
// only root can enter.
func reachable(credential *syscall.Credential) (string, error) {
	var errs error
	for _, directory := range []string{os.TempDir(), "/tmp", "/var/tmp"} {
		enter := exec.Command("sh", "-c", `cd "$1"`, "sh", directory) //nolint:noctx // it takes no time
		enter.Dir = "/"
		attributes(enter).Credential = credential
		output, err := enter.CombinedOutput()
		if err == nil {
			return directory, nil
		}
		errs = errors.Join(errs, fmt.Errorf("%s: %w: %s", directory, err, output))
	}
	return "", fmt.Errorf("uid %d, which runs PostgreSQL, can enter no folder for temporary files: set TMPDIR: %w",
		credential.Uid, errs)
}

func unprivileged() (*syscall.Credential, error) {
	for _, name := range []string{"postgres", "nobody"} {
		account, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(account.Uid, 10, 32)
		if err != nil {
			return nil, err
		}
		gid, err := strconv.ParseUint(account.Gid, 10, 32)
		if err != nil {
			return nil, err
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is no account postgres or nobody to run it")
}

func attributes(command *exec.Cmd) *syscall.SysProcAttr {
	if command.SysProcAttr == nil {
		command.SysProcAttr = new(syscall.SysProcAttr)
	}
	return command.SysProcAttr
}
