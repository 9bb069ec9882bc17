package server

import (
	"net"
	"syscall"
)

// isListening reports whether a listener's socket listens.
func isListening(listener net.Listener) bool {
	socket, ok := listener.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	var listens int
	var optionErr error
	err = raw.Control(func(fd uintptr) {
		listens, optionErr = syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	})
	return err == nil && optionErr == nil && listens != 0
}
