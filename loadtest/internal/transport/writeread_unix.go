//go:build unix

package transport

import (
	"net"
	"syscall"
)

// A writeRead writes a request and reads the first bytes of its response with two system calls. net.Conn takes three:
// its Read tries once before it waits, when there cannot be a response yet.
//
// It relies on syscall.RawConn: Read calls a function, and calls it again each time the connection becomes readable
// until the function returns true. The runtime clears earlier readiness before the first call and not after it, so a
// response that arrives at any time after the write is noticed.
type writeRead struct {
	conn net.Conn
	raw  syscall.RawConn // nil: use conn
	step func(fd uintptr) bool

	// State of the current exchange. These are fields, as is step, so that an exchange does not allocate.
	request, buf []byte
	written      func()
	isWritten    bool
	n            int
	err          error
}

func (w *writeRead) init(c net.Conn, written func()) {
	w.conn, w.written, w.step = c, written, w.writeThenRead
	if c, ok := c.(syscall.Conn); ok {
		w.raw, _ = c.SyscallConn() // nil on an error
	}
}

// exchange writes request, calls written, and reads into buf. At the end of the stream it returns 0 and no error.
func (w *writeRead) exchange(request, buf []byte) (n int, err error) {
	if w.raw == nil {
		return portableWriteRead(w.conn, request, buf, w.written)
	}
	w.request, w.buf, w.isWritten, w.n, w.err = request, buf, false, 0, nil
	if err := w.raw.Read(w.step); err != nil {
		return 0, err // deadline exceeded, or connection closed
	}
	return max(w.n, 0), w.err
}

func (w *writeRead) writeThenRead(fd uintptr) (done bool) {
	if !w.isWritten {
		w.isWritten = true
		w.err = w.write(int(fd))
		w.written()
		return w.err != nil
	}
	w.n, w.err = retryInterrupted(syscall.Read, int(fd), w.buf)
	return w.err != syscall.EAGAIN //nolint:errorlint // a bare errno
}

// write writes what the socket's buffer accepts, normally everything, and leaves the rest to conn.
func (w *writeRead) write(fd int) error {
	n, err := retryInterrupted(syscall.Write, fd, w.request)
	if err != nil && err != syscall.EAGAIN { //nolint:errorlint // a bare errno
		return err
	}
	if n = max(n, 0); n < len(w.request) {
		_, err = w.conn.Write(w.request[n:])
		return err
	}
	return nil
}

func retryInterrupted(call func(int, []byte) (int, error), fd int, b []byte) (n int, err error) {
	for {
		n, err = call(fd, b)
		if err != syscall.EINTR { //nolint:errorlint // a bare errno
			return n, err
		}
	}
}
