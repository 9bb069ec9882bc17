//go:build !race

package transport

import (
	"syscall"
	"unsafe"
)

// rawRead is syscall.Read for a non-blocking socket, but does not notify Go's scheduler. The call never blocks, so the
// scheduler need not hand the processor to another thread, which it would have to wake.
func rawRead(fd int, b []byte) (int, error) { return rawIO(syscall.SYS_READ, fd, b) }

// rawWrite is syscall.Write, as rawRead is syscall.Read.
func rawWrite(fd int, b []byte) (int, error) { return rawIO(syscall.SYS_WRITE, fd, b) }

func rawIO(call uintptr, fd int, b []byte) (int, error) {
	data := unsafe.Pointer(unsafe.SliceData(b)) //nolint:gosec // the address for the system call
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(data), uintptr(len(b)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
