//go:build !race

package transport

import (
	"syscall"
	"unsafe"
)

// rawRead is syscall.Read for a socket that does not block, without telling the scheduler: the call is short, and a
// scheduler that takes the CPU away from it wakes another thread.
func rawRead(fd int, b []byte) (int, error) { return rawIO(syscall.SYS_READ, fd, b) }

// rawWrite is rawRead for syscall.Write.
func rawWrite(fd int, b []byte) (int, error) { return rawIO(syscall.SYS_WRITE, fd, b) }

func rawIO(call uintptr, fd int, b []byte) (int, error) {
	data := unsafe.Pointer(unsafe.SliceData(b)) //nolint:gosec // the address for the system call
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(data), uintptr(len(b)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
