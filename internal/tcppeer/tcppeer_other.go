//go:build !linux

package tcppeer

import (
	"net"
	"syscall"
)

// Known reports whether Of knows the states of connections on this operating system.
const Known = false

// Of returns Open.
func Of(net.Conn) State { return Open }

// HasUnread returns false.
func HasUnread(syscall.Conn) bool { return false }
