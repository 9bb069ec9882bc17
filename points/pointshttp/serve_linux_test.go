package pointshttp

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// serveHandler serves a handler on a port of its own, and returns its address.
func serveHandler(t *testing.T, handler http.HandlerFunc) string {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	serveOn(t, listener, handler, nil)
	return listener.Addr().String()
}

func serveOn(
	t *testing.T, listener net.Listener, handler http.HandlerFunc, connState func(net.Conn, http.ConnState),
) {
	server := NewServer(handler, time.Second, slog.New(slog.DiscardHandler))
	server.ConnState = connState
	served := make(chan error)
	go func() { served <- Serve(server, listener) }()
	t.Cleanup(func() {
		assert.NoError(t, server.Close())
		assert.ErrorIs(t, <-served, http.ErrServerClosed)
	})
}

// A listener may wrap its connections: they are watched, and read through the wrapper, which ConnState can find.
func TestServeWatchesWrappedConnections(t *testing.T) {
	t.Parallel()
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(t.TempDir(), "socket")} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			inner, err := net.Listen(network, address)
			require.NoError(t, err)
			listener := &wrappingListener{Listener: inner}
			called := make(chan bool)
			serveOn(t, listener, func(_ http.ResponseWriter, r *http.Request) {
				_, watched := r.Context().Value(connKey{}).(*watchedConn)
				called <- watched
			}, func(c net.Conn, _ http.ConnState) {
				_, ok := c.(interface{ NetConn() net.Conn }).NetConn().(*wrappedConn)
				assert.True(t, ok)
			})
			c, err := net.Dial(network, inner.Addr().String())
			require.NoError(t, err)
			defer c.Close()
			_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			require.NoError(t, err)
			assert.Equal(t, network == "tcp", <-called)
			requireAnswer(t, c)
			assert.Positive(t, listener.reads.Load())
		})
	}
}

// A wrappingListener counts the calls of Read.
type wrappingListener struct {
	net.Listener

	reads atomic.Int64
}

func (l *wrappingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &wrappedConn{c.(streamConn), l}, nil
}

type wrappedConn struct {
	streamConn

	l *wrappingListener
}

func (c *wrappedConn) Read(p []byte) (int, error) {
	c.l.reads.Add(1)
	return c.streamConn.Read(p)
}

// A client that sends several requests and then closes its sending side gets all its answers.
func TestPipelinedRequestsOfHalfClosedClients(t *testing.T) {
	t.Parallel()
	const requests = 4
	address := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
			w.WriteHeader(http.StatusServiceUnavailable)
		case <-time.After(checkInterval):
		}
	})
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer c.Close()
	for range requests {
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
	}
	require.NoError(t, c.(*net.TCPConn).CloseWrite())
	answers := bufio.NewReader(c)
	for i := range requests {
		response, err := http.ReadResponse(answers, nil)
		require.NoError(t, err, "request %d", i)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusOK, response.StatusCode, "request %d", i)
	}
}

// A reset ends the context of the request. A client that closes its connection, or its sending side, may still wait for
// the answer.
func TestServeEndsRequestsOfResetConnections(t *testing.T) {
	t.Parallel()
	called, ended := make(chan context.Context), make(chan struct{})
	address := serveHandler(t, func(_ http.ResponseWriter, r *http.Request) {
		called <- r.Context()
		<-r.Context().Done()
		close(ended)
	})
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	ctx := <-called
	assert.False(t, ClientClosed(ctx))
	require.NoError(t, c.(*net.TCPConn).SetLinger(0))
	require.NoError(t, c.Close())
	<-ended
	assert.True(t, ClientClosed(ctx))
}

func TestClientClosed(t *testing.T) {
	t.Parallel()
	called, end := make(chan context.Context), make(chan struct{})
	address := serveHandler(t, func(_ http.ResponseWriter, r *http.Request) {
		called <- r.Context()
		<-end
	})
	c := halfClosed(t, address)
	ctx := <-called
	require.Eventually(t, func() bool { return ClientClosed(ctx) }, time.Minute, time.Millisecond)
	assert.NoError(t, ctx.Err())
	close(end)
	requireAnswer(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	assert.False(t, ClientClosed(ctx))
	cancel()
	assert.True(t, ClientClosed(ctx))
}

// A client that waits is not taken for one that has gone, and one that sends its next requests before it has the answer
// to the first gets all of them.
func TestServeKeepsClientsThatWait(t *testing.T) {
	t.Parallel()
	address := serveHandler(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(3 * checkInterval):
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
