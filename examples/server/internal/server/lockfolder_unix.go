//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package server

import (
	"errors"
	"os"
	"syscall"
)

// lockFolder locks a folder, against others that call lockFolder, until it is closed.
func lockFolder(path string) (folder *os.File, err error) {
	if folder, err = os.Open(path); err != nil { //nolint:gosec // the operator chooses the path
		return nil, err
	}
	if err = syscall.Flock(int(folder.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		folder.Close() //nolint:errcheck // it was only read
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.New("another server is starting in this folder: try again")
		}
		return nil, err
	}
	return folder, nil
}
