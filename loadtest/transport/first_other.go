//go:build !unix

package transport

import "net"

// A firstRead writes a request and reads the first bytes of its answer.
type firstRead struct {
	conn    net.Conn
	written func()
}

func (f *firstRead) init(c net.Conn, written func()) { f.conn, f.written = c, written }

// exchange writes request, calls written, and reads into buf. At the end of the stream it returns 0 and no error.
func (f *firstRead) exchange(request, buf []byte) (n int, err error) {
	return plainExchange(f.conn, request, buf, f.written)
}
