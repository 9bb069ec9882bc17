package app

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serveHandler serves a handler on a port of its own, and returns its address.
func serveHandler(t *testing.T, handler http.HandlerFunc) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := NewHTTPServer(handler, time.Second, slog.New(slog.DiscardHandler))
	served := make(chan error)
	go func() { served <- Serve(server, listener) }()
	t.Cleanup(func() {
		assert.NoError(t, server.Close())
		assert.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return listener.Addr().String()
}

func TestServeLearnsThatTheClientHasGone(t *testing.T) {
	for name, leave := range map[string]func(*net.TCPConn) error{
		"closes": (*net.TCPConn).Close,
		"resets": func(c *net.TCPConn) error { return orElse(c.SetLinger(0), c.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			called, ended := make(chan struct{}), make(chan struct{})
			address := serveHandler(t, func(_ http.ResponseWriter, r *http.Request) {
				close(called)
				<-r.Context().Done()
				close(ended)
			})
			c, err := net.Dial("tcp", address)
			require.NoError(t, err)
			_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			require.NoError(t, err)
			<-called
			require.NoError(t, leave(c.(*net.TCPConn)))
			<-ended
		})
	}
}

func orElse(err, other error) error {
	if err != nil {
		return err
	}
	return other
}

// A client that waits is not taken for one that has gone, and one that sends its next requests before it has the answer
// to the first gets all of them.
func TestServeKeepsClientsThatWait(t *testing.T) {
	address := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(3 * watchAfter):
		}
		fmt.Fprint(w, r.URL.Path)
	})
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer c.Close()
	replies := bufio.NewReader(c)
	for _, paths := range [][]string{{"/a"}, {"/b", "/c", "/d"}, {"/e"}} {
		for _, path := range paths {
			_, err = io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: h\r\n\r\n")
			require.NoError(t, err)
		}
		for _, path := range paths {
			response, err := http.ReadResponse(replies, nil)
			require.NoError(t, err)
			body, err := io.ReadAll(response.Body)
			require.NoError(t, err)
			require.NoError(t, response.Body.Close())
			assert.Equal(t, path, string(body))
		}
	}
}
