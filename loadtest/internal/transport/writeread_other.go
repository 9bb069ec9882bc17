//go:build !unix

package transport

import "net"

// A writeRead writes a request and reads the first bytes of its response.
type writeRead struct{ conn *conn }

func (w *writeRead) init(_ net.Conn, c *conn) { w.conn = c }

// exchange writes request and reads into buf. At the end of the stream it returns 0 and no error. It does not detect
// whether a reused connection was closed before.
func (w *writeRead) exchange(request, buf []byte, _ bool) (n int, err error) {
	return portableWriteRead(w.conn, request, buf)
}
