package transport

import (
	"bytes"
	"fmt"
	"strconv"
)

// A head is what of an answer's status line and header tells how to read on.
type head struct {
	status  int
	old     bool  // HTTP/1.0
	length  int64 // -1 if it is not said
	chunked bool
	keep    bool // the connection may be used again, if the body has an end of its own
	close   bool // it may not, whatever keep says
	server  []byte
}

// head reads a status line and header into h. What h holds of the header stays as it is until the next call.
func (in *reader) head(h *head) error {
	budget := maxHead
	line, err := in.line(&budget)
	if err != nil {
		return err
	}
	*h = head{length: -1, server: h.server[:0]}
	if err := h.statusLine(line); err != nil {
		return err
	}
	for {
		line, err := in.line(&budget)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		if err := h.field(line); err != nil {
			return err
		}
	}
}

// statusLine reads "HTTP/1.1 200 OK". The reason may be missing.
func (h *head) statusLine(line []byte) error {
	const version = "HTTP/1."
	if len(line) < len("HTTP/1.1 200") || string(line[:len(version)]) != version ||
		line[7] < '0' || line[7] > '1' || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return fmt.Errorf("transport: %.40q is no status line of HTTP/1", line)
	}
	status, ok := decimal(line[9:12])
	if !ok || status < 100 {
		return fmt.Errorf("transport: %q is no status", line[9:12])
	}
	h.status = int(status)
	h.old = line[7] == '0'
	h.keep = !h.old
	return nil
}

// field takes note of a header field if it tells how to read on.
func (h *head) field(line []byte) error {
	name, value, err := field(line)
	if err != nil {
		return err
	}
	switch {
	case is(name, "Content-Length"):
		n, ok := decimal(value)
		if !ok || h.length >= 0 && n != h.length {
			return fmt.Errorf("transport: %.40q is no Content-Length, or a second one", value)
		}
		h.length = n
	case is(name, "Transfer-Encoding") && h.old: // HTTP/1.0 has none
	case is(name, "Transfer-Encoding"):
		if !is(value, "chunked") || h.chunked {
			return fmt.Errorf("transport: the transfer encoding %.40q is not known", value)
		}
		h.chunked = true
	case is(name, "Connection"):
		h.connection(value)
	case is(name, "Server"):
		h.server = append(h.server, value...)
	}
	return nil
}

func (h *head) connection(value []byte) {
	for option := range bytes.SplitSeq(value, []byte{','}) {
		switch option = bytes.TrimSpace(option); {
		case is(option, "close"):
			h.close = true
		case is(option, "keep-alive"):
			h.keep = true
		}
	}
}

// field splits a header line.
func field(line []byte) (name, value []byte, err error) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || bytes.ContainsAny(line[:colon], " \t") {
		return nil, nil, fmt.Errorf("transport: %.40q is no header line", line)
	}
	return line[:colon], bytes.Trim(line[colon+1:], " \t"), nil
}

// is compares a token with one in ASCII, whatever their case. The length alone tells most of them apart.
func is(token []byte, want string) bool {
	return len(token) == len(want) && bytes.EqualFold(token, []byte(want))
}

// decimal reads a number of digits alone.
func decimal(digits []byte) (n int64, ok bool) {
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(string(digits), 10, 64)
	return n, err == nil
}
