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
// until the function returns true. The runtime clears earlier readiness before the first call and not after it. So a
// response that arrives after the first call has begun is noticed. A FIN that arrived earlier is not: the first call
// reads it if checkIdle is set, and otherwise the first call after the read deadline has expired.
type writeRead struct {
	conn *conn
	raw  syscall.RawConn // nil: use conn
	step func(fd uintptr) bool

	// State of the current exchange. These are fields, as is step, so that an exchange does not allocate.
	request, buf []byte
	checkIdle    bool
	isWritten    bool
	n            int
	err          error
}

func (w *writeRead) init(raw net.Conn, c *conn) {
	w.conn, w.step = c, w.writeThenRead
	if raw, ok := raw.(syscall.Conn); ok {
		w.raw, _ = raw.SyscallConn() // nil on an error
	}
}

// exchange writes request and reads into buf. At the end of the stream it returns 0 and no error. With checkIdle, if
// the server has closed the connection before, it sends nothing and returns errIdleClosed.
func (w *writeRead) exchange(request, buf []byte, checkIdle bool) (n int, err error) {
	if w.raw == nil {
		return portableWriteRead(w.conn, request, buf)
	}
	w.request, w.buf, w.checkIdle, w.isWritten, w.n, w.err = request, buf, checkIdle, false, 0, nil
	for {
		err := w.raw.Read(w.step)
		if err == nil {
			return max(w.n, 0), w.err
		}
		if !w.conn.extendExpired(err) {
			return 0, err
		}
	}
}

func (w *writeRead) writeThenRead(fd uintptr) (done bool) {
	if !w.isWritten {
		if w.checkIdle {
			// Nothing can be readable now, except the end of the stream or a response to no request.
			_, err := retryInterrupted(rawRead, int(fd), w.buf)
			if err != syscall.EAGAIN { //nolint:errorlint // a bare errno
				w.err = errIdleClosed
				return true
			}
		}
		w.isWritten = true
		w.err = w.write(int(fd))
		w.conn.wrote()
		return w.err != nil
	}
	w.n, w.err = retryInterrupted(rawRead, int(fd), w.buf)
	return w.err != syscall.EAGAIN //nolint:errorlint // a bare errno
}

// write writes what the socket's buffer accepts, normally everything, and leaves the rest to conn.
func (w *writeRead) write(fd int) error {
	n, err := retryInterrupted(rawWrite, fd, w.request)
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
