package transport

import (
	"bytes"
	"fmt"
	"strconv"
)

// A head holds the parts of a status line and header that determine how to read the body.
type head struct {
	status  int
	http10  bool
	length  int64 // -1 without Content-Length
	chunked bool
	keep    bool // the connection is reusable, if the body does not end with it
	close   bool // overrides keep
	server  []byte
	lines   []byte // status line and header, with reader.keepHead
}

// readHead reads a status line and header into h.
func (in *reader) readHead(h *head) error {
	*h = head{length: -1, server: h.server[:0], lines: h.lines[:0]}
	budget := maxHead
	line, err := in.headLine(h, &budget)
	if err != nil {
		return err
	}
	if err := h.parseStatusLine(line); err != nil {
		return err
	}
	for {
		line, err := in.headLine(h, &budget)
		if err != nil {
			return err
		}
		if len(line) == 0 {
			return nil
		}
		if err := h.parseField(line); err != nil {
			return err
		}
	}
}

// headLine returns the next line of the head, and keeps a copy in h if it is wanted.
func (in *reader) headLine(h *head, budget *int) ([]byte, error) {
	line, err := in.line(budget)
	if in.keepHead && len(line) > 0 {
		h.lines = append(append(h.lines, line...), '\n')
	}
	return line, err
}

// parseStatusLine parses "HTTP/1.1 200 OK"; the reason phrase is optional.
func (h *head) parseStatusLine(line []byte) error {
	const version = "HTTP/1."
	if len(line) < len("HTTP/1.1 200") || string(line[:len(version)]) != version ||
		line[7] < '0' || line[7] > '1' || line[8] != ' ' || len(line) > 12 && line[12] != ' ' {
		return fmt.Errorf("malformed status line %.40q", line)
	}
	status, ok := parseDecimal(line[9:12])
	if !ok || status < 100 {
		return fmt.Errorf("malformed status code %q", line[9:12])
	}
	h.status = int(status)
	h.http10 = line[7] == '0'
	h.keep = !h.http10
	return nil
}

// parseField parses a header line and keeps what head has a field for.
func (h *head) parseField(line []byte) error {
	name, value, err := splitField(line)
	if err != nil {
		return err
	}
	switch {
	case equalFold(name, "Content-Length"):
		n, ok := parseDecimal(value)
		if !ok || h.length >= 0 && n != h.length {
			return fmt.Errorf("malformed or conflicting Content-Length %.40q", value)
		}
		h.length = n
	case equalFold(name, "Transfer-Encoding") && h.http10: // not defined in HTTP/1.0
	case equalFold(name, "Transfer-Encoding"):
		if !equalFold(value, "chunked") || h.chunked {
			return fmt.Errorf("unsupported Transfer-Encoding %.40q", value)
		}
		h.chunked = true
	case equalFold(name, "Connection"):
		h.parseConnection(value)
	case equalFold(name, "Server"):
		h.server = append(h.server, value...)
	}
	return nil
}

func (h *head) parseConnection(value []byte) {
	for option := range bytes.SplitSeq(value, []byte{','}) {
		switch option = bytes.TrimSpace(option); {
		case equalFold(option, "close"):
			h.close = true
		case equalFold(option, "keep-alive"):
			h.keep = true
		}
	}
}

// splitField splits a header line.
func splitField(line []byte) (name, value []byte, err error) {
	colon := bytes.IndexByte(line, ':')
	if colon <= 0 || bytes.ContainsAny(line[:colon], " \t") {
		return nil, nil, fmt.Errorf("malformed header line %.40q", line)
	}
	return line[:colon], bytes.Trim(line[colon+1:], " \t"), nil
}

// equalFold compares a token with an ASCII one, ignoring case. The length alone tells most tokens apart.
func equalFold(token []byte, want string) bool {
	return len(token) == len(want) && bytes.EqualFold(token, []byte(want))
}

// parseDecimal parses a number that consists only of digits.
func parseDecimal(digits []byte) (n int64, ok bool) {
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
