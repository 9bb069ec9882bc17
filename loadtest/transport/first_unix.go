//go:build unix

package transport

import (
	"net"
	"syscall"
)

// A firstRead writes a request and reads the first bytes of its answer with two system calls. net.Conn takes three, for
// its Read tries once before it waits, when no answer can be there yet.
//
// It stands on how syscall.RawConn works: Read calls a function, and again each time the connection becomes readable
// until the function returns true. The runtime forgets an earlier readiness before the first call and not after it, so
// that an answer which comes at any time after the write is noticed.
type firstRead struct {
	conn net.Conn
	raw  syscall.RawConn // nil: then conn has to do
	step func(fd uintptr) bool

	// Of the exchange under way. They are fields, and step is one, so that an exchange allocates nothing.
	request, buf []byte
	written      func()
	isWritten    bool
	n            int
	err          error
}

func (f *firstRead) init(c net.Conn, written func()) {
	f.conn, f.written, f.step = c, written, f.writeThenRead
	if c, ok := c.(syscall.Conn); ok {
		f.raw, _ = c.SyscallConn() // nil if it has none
	}
}

// exchange writes request, calls written, and reads into buf. At the end of the stream it returns 0 and no error.
func (f *firstRead) exchange(request, buf []byte) (n int, err error) {
	if f.raw == nil {
		return plainExchange(f.conn, request, buf, f.written)
	}
	f.request, f.buf, f.isWritten, f.n, f.err = request, buf, false, 0, nil
	if err := f.raw.Read(f.step); err != nil {
		return 0, err // a deadline, or closed
	}
	return max(f.n, 0), f.err
}

func (f *firstRead) writeThenRead(fd uintptr) (done bool) {
	if !f.isWritten {
		f.isWritten = true
		f.err = f.write(int(fd))
		f.written()
		return f.err != nil
	}
	f.n, f.err = uninterrupted(syscall.Read, int(fd), f.buf)
	return f.err != syscall.EAGAIN //nolint:errorlint // a bare errno
}

// write writes at once what the connection takes, which is all of it but for a request larger than its buffer.
func (f *firstRead) write(fd int) error {
	n, err := uninterrupted(syscall.Write, fd, f.request)
	if err != nil && err != syscall.EAGAIN { //nolint:errorlint // a bare errno
		return err
	}
	if n = max(n, 0); n < len(f.request) {
		_, err = f.conn.Write(f.request[n:])
		return err
	}
	return nil
}

func uninterrupted(call func(int, []byte) (int, error), fd int, b []byte) (n int, err error) {
	for {
		n, err = call(fd, b)
		if err != syscall.EINTR { //nolint:errorlint // a bare errno
			return n, err
		}
	}
}
