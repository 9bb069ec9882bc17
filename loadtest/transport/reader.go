package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

const (
	maxHead  = 64 << 10 // bytes of status line and header, and of a trailer
	maxKept  = 16 << 10 // bytes of a body that are kept for Observe
	readSize = 8 << 10  // an answer that fits needs one read

	bigReadSize = 64 << 10 // for a body that does not fit
)

// A reader reads HTTP/1 answers off a connection: all of RFC 9112's framings, and nothing that is none.
type reader struct {
	src      io.Reader
	buf      []byte // buf[r:w] has been received and not read
	r, w     int
	received int64
	latest   head
	body     []byte // what of the body has been kept, if it did not come in one piece
}

// reset prepares for the next answer.
func (in *reader) reset() {
	if in.buf == nil {
		in.buf = make([]byte, readSize)
	}
	in.r, in.w, in.received, in.body = 0, 0, 0, in.body[:0]
}

// filled takes note of n bytes that were read into buf.
func (in *reader) filled(n int) {
	in.w += n
	in.received += int64(n)
}

// errCut says that a connection ended too early.
var errCut = errors.New("transport: the connection ended before the answer did")

// fill receives more, and returns errCut if there is no more.
func (in *reader) fill() error {
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
	if in.w == len(in.buf) {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	if in.w == len(in.buf) { // one line fills the buffer
		in.buf = append(in.buf, make([]byte, len(in.buf))...)
	}
	n, err := in.src.Read(in.buf[in.w:])
	in.filled(n)
	if n > 0 {
		return nil // an error will come again
	}
	if err == nil || errors.Is(err, io.EOF) {
		return errCut
	}
	return err
}

// line returns the next line without its end. It is valid until the next call. budget is what the lines may still take.
func (in *reader) line(budget *int) ([]byte, error) {
	searched := 0
	for {
		if i := bytes.IndexByte(in.buf[in.r+searched:in.w], '\n'); i >= 0 {
			end := in.r + searched + i
			line := in.buf[in.r:end]
			in.r = end + 1
			if *budget -= len(line) + 1; *budget < 0 {
				return nil, fmt.Errorf("transport: the header is longer than %d bytes", maxHead)
			}
			return bytes.TrimSuffix(line, []byte{'\r'}), nil
		}
		searched = in.w - in.r
		if searched > *budget {
			return nil, fmt.Errorf("transport: the header is longer than %d bytes", maxHead)
		}
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
}

// answer reads one answer, beginning with what has been received, and fills in x. isHead tells that the request was
// HEAD.
func (in *reader) answer(x *Exchange, isHead bool) error {
	h := &in.latest
	for {
		if err := in.head(h); err != nil {
			return err
		}
		if h.status >= 200 {
			break
		}
		if h.status == 101 {
			return errors.New("transport: the server switches to another protocol (101)")
		}
	}
	x.Status, x.Server = h.status, h.server
	var err error
	switch bodyless := isHead || h.status == 204 || h.status == 304; {
	case bodyless:
	case h.chunked:
		err = in.chunks(x)
	case h.length >= 0:
		err = in.sized(x, h.length)
	default:
		h.keep = false
		err = in.rest(x)
	}
	if err != nil {
		return err
	}
	if in.r != in.w {
		return fmt.Errorf("transport: %d bytes after the end of the answer", in.w-in.r)
	}
	x.KeptAlive = h.keep && !h.close
	return nil
}

// sized reads a body of n bytes. If it is there already, which is usual, it is not copied.
func (in *reader) sized(x *Exchange, n int64) error {
	if n > int64(in.w-in.r) || n > maxKept {
		return in.take(x, n)
	}
	x.Body = in.buf[in.r : in.r+int(n)]
	x.BodyBytes = n
	in.r += int(n)
	return nil
}

// take reads n bytes of a body, and keeps a copy of the first ones.
func (in *reader) take(x *Exchange, n int64) error {
	for n > 0 {
		if in.r == in.w {
			if n > int64(len(in.buf)) && len(in.buf) < bigReadSize {
				in.buf = make([]byte, bigReadSize)
			}
			if err := in.fill(); err != nil {
				return err
			}
		}
		part := in.buf[in.r:min(int64(in.w), int64(in.r)+n)]
		in.r += len(part)
		n -= int64(len(part))
		in.body = append(in.body, part[:min(len(part), maxKept-len(in.body))]...)
		x.Body = in.body
		x.BodyBytes += int64(len(part))
	}
	return nil
}

// chunks reads a chunked body and its trailer.
func (in *reader) chunks(x *Exchange) error {
	for {
		budget := maxHead
		line, err := in.line(&budget)
		if err != nil {
			return err
		}
		size, err := chunkSize(line)
		if err != nil {
			return err
		}
		if size == 0 {
			return in.trailer()
		}
		if err := in.chunk(x, size); err != nil {
			return err
		}
	}
}

func (in *reader) chunk(x *Exchange, size int64) error {
	if err := in.take(x, size); err != nil {
		return err
	}
	budget := maxHead
	line, err := in.line(&budget)
	if err == nil && len(line) != 0 {
		err = fmt.Errorf("transport: a chunk is longer than it says (%d)", size)
	}
	return err
}

func (in *reader) trailer() error {
	budget := maxHead
	for {
		line, err := in.line(&budget)
		if err != nil || len(line) == 0 {
			return err
		}
		if _, _, err := field(line); err != nil {
			return err
		}
	}
}

// rest reads a body that ends with the connection.
func (in *reader) rest(x *Exchange) error {
	for {
		if err := in.take(x, int64(in.w-in.r)); err != nil {
			return err
		}
		switch err := in.fill(); {
		case errors.Is(err, errCut):
			return nil
		case err != nil:
			return err
		}
	}
}

// chunkSize reads the line before a chunk: hexadecimal digits, and perhaps an extension.
func chunkSize(line []byte) (int64, error) {
	digits, _, _ := bytes.Cut(line, []byte{';'})
	digits = bytes.TrimRight(digits, " \t")
	size, err := strconv.ParseUint(string(digits), 16, 63)
	if err != nil || digits[0] == '+' {
		return 0, fmt.Errorf("transport: %.20q is no size of a chunk", line)
	}
	return int64(size), nil
}
