//go:build !unix

package transport

import "net"

// A writeRead writes a request and reads the first bytes of its response.
type writeRead struct {
	conn    net.Conn
	written func()
}

func (w *writeRead) init(c net.Conn, written func()) { w.conn, w.written = c, written }

// exchange writes request, calls written, and reads into buf. At the end of the stream it returns 0 and no error.
func (w *writeRead) exchange(request, buf []byte) (n int, err error) {
	return portableWriteRead(w.conn, request, buf, w.written)
}
