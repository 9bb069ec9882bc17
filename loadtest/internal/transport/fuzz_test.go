package transport

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzResponse compares reader with net/http: a response that reader accepts must have the same status and body there.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nhel\r\n2\r\nlo\r\n0\r\nSum: 1\r\n\r\n",
		"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nhello",
		"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\n\r\n",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, isHead bool) {
		var x Exchange
		in := reader{src: bytes.NewReader(data)}
		in.reset()
		if err := in.response(&x, isHead); err != nil {
			return
		}
		require.LessOrEqual(t, x.BodyBytes, in.received)
		require.LessOrEqual(t, in.received, int64(len(data)))

		method := http.MethodGet
		if isHead {
			method = http.MethodHead
		}
		stdlib := bufio.NewReader(bytes.NewReader(data))
		for {
			resp, err := http.ReadResponse(stdlib, &http.Request{Method: method})
			if err != nil {
				return // net/http is stricter about the header's characters: there is nothing to compare with
			}
			if resp.StatusCode < 200 && resp.StatusCode != http.StatusSwitchingProtocols {
				continue
			}
			body, err := io.ReadAll(resp.Body)
			if err = errors.Join(err, resp.Body.Close()); err != nil {
				return // it is stricter about the ends of lines and the trailer's characters, too
			}
			require.Equal(t, resp.StatusCode, x.Status)
			require.Equal(t, int64(len(body)), x.BodyBytes)
			require.Equal(t, body[:min(len(body), maxBody)], append([]byte{}, x.Body...))
			return
		}
	})
}
