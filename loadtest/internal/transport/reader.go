package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

const (
	maxHead  = 64 << 10 // bytes of status line and header, or of a trailer
	maxBody  = 16 << 10 // bytes of a body that are kept for Observe
	readSize = 8 << 10  // a response that fits needs one read

	bigReadSize = 64 << 10 // for longer bodies
)

// A reader reads HTTP/1 responses with any framing that RFC 9112 allows, and rejects all others.
type reader struct {
	src      io.Reader
	buf      []byte // buf[r:w] has been received but not consumed
	r, w     int
	received int64
	header   head
	keepHead bool   // see Options.KeepHead
	body     []byte // start of a body that did not arrive in one piece
}

// reset prepares for the next response.
func (in *reader) reset() {
	if in.buf == nil {
		in.buf = make([]byte, readSize)
	}
	in.r, in.w, in.received, in.body = 0, 0, 0, in.body[:0]
}

// filled records that n bytes were read into buf.
func (in *reader) filled(n int) {
	in.w += n
	in.received += int64(n)
}

// errTruncated means that the connection ended within a response.
var errTruncated = errors.New("connection closed before the end of the response")

// errHeadTooLong means a header or trailer of more than maxHead bytes.
var errHeadTooLong = fmt.Errorf("header longer than %d bytes", maxHead)

// errUpgrade means that the server switched to another protocol.
var errUpgrade = errors.New("unexpected status 101 Switching Protocols")

// fill reads more bytes; errTruncated means the end of the stream.
func (in *reader) fill() error {
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	if in.w == len(in.buf) {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	if in.w == len(in.buf) { // a line longer than the buffer
		in.buf = append(in.buf, make([]byte, len(in.buf))...)
	}
	n, err := in.src.Read(in.buf[in.w:])
	in.filled(n)
	if n > 0 {
		return nil // an error recurs on the next read
	}
	if err == nil || errors.Is(err, io.EOF) {
		return errTruncated
	}
	return err
}

// line returns the next line without its terminator, valid until the next call. It subtracts the length from budget,
// the bytes left for lines.
func (in *reader) line(budget *int) ([]byte, error) {
	searched := 0
	for {
		if i := bytes.IndexByte(in.buf[in.r+searched:in.w], '\n'); i >= 0 {
			end := in.r + searched + i
			line := in.buf[in.r:end]
			in.r = end + 1
			if *budget -= len(line) + 1; *budget < 0 {
				return nil, errHeadTooLong
			}
			return bytes.TrimSuffix(line, []byte{'\r'}), nil
		}
		searched = in.w - in.r
		if searched > *budget {
			return nil, errHeadTooLong
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
}

// response reads one response, starting with the bytes already received, and fills in x. isHead means that the request
// was HEAD.
func (in *reader) response(x *Exchange, isHead bool) error {
	h := &in.header
	for {
		if err := in.readHead(h); err != nil {
			return err
		}
		if h.status >= 200 {
			break
		}
		if h.status == 101 {
			return errUpgrade
		}
	}
	x.Status, x.Server, x.Head = h.status, h.server, h.lines
	var err error
	switch bodyless := isHead || h.status == 204 || h.status == 304; {
	case bodyless:
	case h.chunked:
		err = in.readChunks(x)
	case h.length >= 0:
		err = in.readFixed(x, h.length)
	default:
		h.keep = false
		err = in.readUntilClose(x)
	}
	if err != nil {
		return err
	}
	if in.r != in.w {
		return fmt.Errorf("data after the end of the response: %d B", in.w-in.r)
	}
	x.KeptAlive = h.keep && !h.close
	return nil
}

// readFixed reads a body of n bytes. A body that is already in buf, as is usual, is not copied.
func (in *reader) readFixed(x *Exchange, n int64) error {
	if n > int64(in.w-in.r) || n > maxBody {
		return in.read(x, n)
	}
	x.Body = in.buf[in.r : in.r+int(n)]
	x.BodyBytes = n
	in.r += int(n)
	return nil
}

// read reads n bytes of a body, and keeps a copy of the first ones.
func (in *reader) read(x *Exchange, n int64) error {
	for n > 0 {
		if in.r == in.w {
			if n > int64(len(in.buf)) && len(in.buf) < bigReadSize {
				in.buf = make([]byte, bigReadSize)
			}
			if err := in.fill(); err != nil {
				return err
			}
		}
		part := in.buf[in.r : in.r+int(min(int64(in.w-in.r), n))]
		in.r += len(part)
		n -= int64(len(part))
		in.body = append(in.body, part[:min(len(part), maxBody-len(in.body))]...)
		x.Body = in.body
		x.BodyBytes += int64(len(part))
	}
	return nil
}

// readChunks reads a chunked body and its trailer.
func (in *reader) readChunks(x *Exchange) error {
	for {
		budget := maxHead
		line, err := in.line(&budget)
		if err != nil {
			return err
		}
		size, err := parseChunkSize(line)
		if err != nil {
			return err
		}
		if size == 0 {
			return in.readTrailer()
		}
		if err := in.readChunk(x, size); err != nil {
			return err
		}
	}
}

func (in *reader) readChunk(x *Exchange, size int64) error {
	if err := in.read(x, size); err != nil {
		return err
	}
	budget := maxHead
	line, err := in.line(&budget)
	if err == nil && len(line) != 0 {
		err = fmt.Errorf("chunk longer than its size of %d", size)
	}
	return err
}

func (in *reader) readTrailer() error {
	budget := maxHead
	for {
		line, err := in.line(&budget)
		if err != nil || len(line) == 0 {
			return err
		}
		if _, _, err := splitField(line); err != nil {
			return err
		}
	}
}

// readUntilClose reads a body that ends with the connection.
func (in *reader) readUntilClose(x *Exchange) error {
	for {
		if err := in.read(x, int64(in.w-in.r)); err != nil {
			return err
		}
		switch err := in.fill(); {
		case errors.Is(err, errTruncated):
			return nil
		case err != nil:
			return err
		}
	}
}

// parseChunkSize parses the line before a chunk: hexadecimal digits and an optional extension.
func parseChunkSize(line []byte) (int64, error) {
	digits, _, _ := bytes.Cut(line, []byte{';'})
	digits = bytes.TrimRight(digits, " \t")
	size, err := strconv.ParseUint(string(digits), 16, 63)
	if err != nil || digits[0] == '+' {
		return 0, fmt.Errorf("malformed chunk size %.20q", line)
	}
	return int64(size), nil
}
