package transport

import (
	"errors"
	"io"
)

// portableWriteRead implements writeRead.exchange for any connection.
func portableWriteRead(c *conn, request, buf []byte) (int, error) {
	_, err := c.Write(request)
	c.wrote()
	if err != nil {
		return 0, err
	}
	n, err := c.Read(buf)
	if errors.Is(err, io.EOF) {
		return 0, nil
	}
	return n, err
}
