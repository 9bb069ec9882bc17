//go:build unix

package app

import (
	"errors"
	"net"
	"os"
	"syscall"
)

const canPeek = true

// closed reports whether the other side has closed the connection, or has reset it. It does not wait, and takes nothing
// from what there is to read.
func closed(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	var n int
	var peekErr error
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, peekErr = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		return true
	})
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false // net/http sets a read deadline to the past when a handler has ended
	case err != nil:
		return true
	case peekErr == syscall.EAGAIN || peekErr == syscall.EINTR:
		return false
	default:
		return n <= 0
	}
}
