//go:build unix && (!linux || race)

package transport

import "syscall"

// The race detector sees synchronization through sockets only in these functions.

func rawRead(fd int, b []byte) (int, error) { return syscall.Read(fd, b) }

func rawWrite(fd int, b []byte) (int, error) { return syscall.Write(fd, b) }
