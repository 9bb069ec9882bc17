package transport

import (
	"errors"
	"io"
	"net"
)

// portableWriteRead implements writeRead.exchange for any connection.
func portableWriteRead(c net.Conn, request, buf []byte, written func()) (int, error) {
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
