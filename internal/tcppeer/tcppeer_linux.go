package tcppeer

import (
	"encoding/binary"
	"net"
	"syscall"
	"unsafe"
)

// Known reports whether Of knows the states of connections on this operating system.
const Known = true

// The kernel's TCP states, from include/net/tcp_states.h.
const (
	tcpClose     = 7
	tcpCloseWait = 8
)

// Of returns the state of the other end of c. It does not block. Data that has arrived and has not been read does not
// hide a FIN or a RST that came after it.
func Of(c net.Conn) State {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return Open
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return Open
	}
	var info int
	var infoErr error
	err = raw.Control(func(fd uintptr) {
		// The kernel copies as much of struct tcp_info as asked for; its first byte is the state.
		info, infoErr = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
	})
	switch {
	case err != nil:
		return Reset // this end has closed it
	case infoErr != nil:
		return Open
	}
	var first [4]byte
	binary.NativeEndian.PutUint32(first[:], uint32(info)) //nolint:gosec // its bits, whatever the sign
	switch first[0] {
	case tcpClose:
		return Reset
	case tcpCloseWait:
		return HalfClosed
	default:
		return Open
	}
}

// HasUnread reports whether data has arrived from the other end of c that has not been read. It does not block.
func HasUnread(c syscall.Conn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return false
	}
	var unread int32
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		const siocinq = 0x541b
		//nolint:gosec // the kernel writes an int to this address
		_, _, errno = syscall.Syscall(syscall.SYS_IOCTL, fd, siocinq, uintptr(unsafe.Pointer(&unread)))
	})
	return err == nil && errno == 0 && unread > 0
}
