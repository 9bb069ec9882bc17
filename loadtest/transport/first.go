package transport

import (
	"errors"
	"io"
	"net"
)

// plainExchange is what a firstRead does with a connection of which nothing is known. At the end of the stream it
// returns 0 and no error.
func plainExchange(c net.Conn, request, buf []byte, written func()) (int, error) {
	_, err := c.Write(request)
	written()
	if err != nil {
		return 0, err
	}
	n, err := c.Read(buf)
	if errors.Is(err, io.EOF) {
		return 0, nil
	}
	return n, err
}
