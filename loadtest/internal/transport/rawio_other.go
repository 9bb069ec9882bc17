//go:build unix && (!linux || race)

package transport

import "syscall"

// The race detector needs these functions: they record that a write to a socket happens before the read from it.

func rawRead(fd int, b []byte) (int, error) { return syscall.Read(fd, b) }

func rawWrite(fd int, b []byte) (int, error) { return syscall.Write(fd, b) }
