package pointshttp

import (
	"bufio"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Responses that net/http makes without a handler are problems, too.
func TestProtocolProblems(t *testing.T) {
	t.Parallel()
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "socket")} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen(network, address)
			require.NoError(t, err)
			testProtocolProblems(t, listener)
		})
	}
}

func testProtocolProblems(t *testing.T, listener net.Listener) {
	t.Helper()
	server := NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		WriteProblem(w, http.StatusNotFound, "There is nothing at this path.")
	}), time.Second, nil)
	go Serve(server, listener) //nolint:errcheck // it ends with the test
	t.Cleanup(func() { server.Close() })
	for request, want := range map[string]problem{
		"nonsense\r\n\r\n": {Status: 400, Detail: "The request is not valid HTTP."},
		"GET / HTTP/1.1\r\n\r\n": {
			Status: 400, Detail: "The request is not valid HTTP: missing required Host header.",
		},
		"GET / HTTP/1.1\r\nHost: x\r\nA: " + strings.Repeat("a", 1<<16) + "\r\n\r\n": {
			Status: 431, Detail: "The headers of the request are too large.",
		},
		"GET / HTTP/1.1\r\nHost: x\r\nExpect: more\r\n\r\n": {
			Status: 417, Detail: "The only expectation that is supported is 100-continue.",
		},
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n": {
			Status: 501, Detail: "The only transfer encoding that is supported is chunked.",
		},
		"GET / HTTP/3.0\r\nHost: x\r\n\r\n": {
			Status: 505, Detail: "The request is not valid HTTP: unsupported protocol version.",
		},
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n": {Status: 404, Detail: "There is nothing at this path."},
	} {
		c, err := net.Dial(listener.Addr().Network(), listener.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		_, err = io.WriteString(c, request)
		require.NoError(t, err)
		response, err := http.ReadResponse(bufio.NewReader(c), nil)
		require.NoError(t, err)
		var got problem
		require.NoError(t, json.NewDecoder(response.Body).Decode(&got))
		require.NoError(t, response.Body.Close())
		want.Type, want.Title = "about:blank", http.StatusText(want.Status)
		assert.Equal(t, want, got)
		assert.Equal(t, want.Status, response.StatusCode)
		assert.Equal(t, "application/problem+json", response.Header.Get("Content-Type"))
		assert.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"))
		assert.Equal(t, want.Status != http.StatusNotFound, response.Close)
	}
}
