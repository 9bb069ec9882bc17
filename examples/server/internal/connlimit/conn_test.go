package connlimit

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A pipeListener accepts what connect sends.
type pipeListener struct{ conns chan net.Conn }

func newPipeListener() pipeListener { return pipeListener{make(chan net.Conn, 1)} }

func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l pipeListener) Close() error   { close(l.conns); return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// A client is the other end of a connection.
type client struct {
	net.Conn

	responses *bufio.Reader
}

// connect connects to the listener. Read changes how its end reads, unless it is nil.
func (l pipeListener) connect(t *testing.T, read func(c net.Conn, p []byte) (int, error)) client {
	c, server := net.Pipe()
	t.Cleanup(func() { c.Close() })
	if read != nil {
		server = readingConn{server, read}
	}
	l.conns <- server
	return client{c, bufio.NewReader(c)}
}

type readingConn struct {
	net.Conn

	read func(c net.Conn, p []byte) (int, error)
}

func (c readingConn) Read(p []byte) (int, error) { return c.read(c.Conn, p) }

func (c client) send(t *testing.T, text string) {
	t.Helper()
	_, err := io.WriteString(c, text)
	require.NoError(t, err)
}

// requireResponse reads a response.
func (c client) requireResponse(t *testing.T, status int, body string) {
	t.Helper()
	response, err := http.ReadResponse(c.responses, nil)
	require.NoError(t, err)
	defer response.Body.Close()
	got, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, status, response.StatusCode)
	if status == http.StatusOK {
		require.Equal(t, body, string(got))
	}
}

// requireClosed requires that the server closes the connection now.
func (c client) requireClosed(t *testing.T) {
	t.Helper()
	began := time.Now()
	_, err := c.responses.ReadByte()
	require.ErrorIs(t, err, io.EOF)
	require.Zero(t, time.Since(began))
}

// serve serves the connections of a listener with a handler that answers with the body of the request. It calls each
// function with each state before the listener knows it.
func serve(t *testing.T, l *Listener, states ...func(http.ConnState)) {
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(w, r.Body) //nolint:errcheck // then the response is too short
		}),
		ConnState: func(c net.Conn, state http.ConnState) {
			l.ConnState(c, state)
			for _, f := range states {
				f(state)
			}
		},
	}
	go server.Serve(l) //nolint:errcheck // it ends with the test
	t.Cleanup(func() { server.Close() })
}

const (
	requestHeader = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"
	request       = requestHeader + "body"
)

// At the limit, the connection that has been idle for the longest time is closed, but none that has been idle for less
// than minIdle, that serves a request, or that has not sent one yet.
func TestIdleConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := newPipeListener()
		var beyond []bool
		l := New(inner, 4, func(rejected bool) { beyond = append(beyond, rejected) })
		serve(t, l)
		inner.connect(t, nil) // sends nothing
		first, second, waits := inner.connect(t, nil), inner.connect(t, nil), inner.connect(t, nil)
		for _, c := range []client{waits, first, second} {
			c.send(t, request)
			c.requireResponse(t, http.StatusOK, "body")
			<-time.After(time.Millisecond)
		}
		waits.send(t, requestHeader)
		<-time.After(minIdle - 10*time.Millisecond)
		inner.connect(t, nil).requireResponse(t, http.StatusServiceUnavailable, "")
		<-time.After(minIdle)
		third := inner.connect(t, nil)
		first.requireClosed(t)
		assert.EqualValues(t, 4, l.Open())
		third.send(t, request)
		third.requireResponse(t, http.StatusOK, "body")
		waits.send(t, "body")
		waits.requireResponse(t, http.StatusOK, "body")
		second.send(t, request)
		second.requireResponse(t, http.StatusOK, "body")
		assert.Equal(t, []bool{true, false}, beyond)
		require.NoError(t, third.Close())
		synctest.Wait()
		assert.EqualValues(t, 3, l.Open())
	})
}

// A connection is not idle once a part of its next request has been read.
func TestHalfReadRequestsAreServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := newPipeListener()
		l := New(inner, 1, func(bool) {})
		serve(t, l)
		slow := inner.connect(t, nil)
		slow.send(t, request)
		slow.requireResponse(t, http.StatusOK, "body")
		slow.send(t, request[:10])
		<-time.After(2 * minIdle)
		inner.connect(t, nil).requireResponse(t, http.StatusServiceUnavailable, "")
		slow.send(t, request[10:])
		slow.requireResponse(t, http.StatusOK, "body")
	})
}

// A connection that is ended before the server has begun to wait for the next request is closed then.
func TestStalledConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := newPipeListener()
		l := New(inner, 1, func(bool) {})
		stall := make(chan struct{})
		serve(t, l, func(state http.ConnState) {
			if state == http.StateIdle {
				<-stall
			}
		})
		stalled := inner.connect(t, nil)
		stalled.send(t, request)
		stalled.requireResponse(t, http.StatusOK, "body")
		<-time.After(2 * minIdle)
		other := inner.connect(t, nil)
		synctest.Wait()
		close(stall)
		stalled.requireClosed(t)
		other.send(t, request)
		other.requireResponse(t, http.StatusOK, "body")
		assert.EqualValues(t, 1, l.Open())
	})
}

// A request that the server has read when its connection is ended is served, even if a part of its body has not
// arrived.
func TestRequestsThatHaveBeenReadAreServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := newPipeListener()
		l := New(inner, 1, func(bool) {})
		ended := 0
		serve(t, l)
		c := inner.connect(t, func(c net.Conn, p []byte) (int, error) {
			n, err := c.Read(p)
			if n > 0 && l.endLongest() { // there is none before the first request
				ended++
				assert.Zero(t, l.Open())
			}
			return n, err
		})
		for range 2 {
			c.send(t, requestHeader)
			<-time.After(minIdle)
			c.send(t, "body")
			c.requireResponse(t, http.StatusOK, "body")
			assert.EqualValues(t, 1, l.Open())
			<-time.After(2 * minIdle)
		}
		assert.Equal(t, 1, ended)
		l.noneUntil = time.Time{}
		assert.True(t, l.endLongest())
		c.requireClosed(t)
	})
}

// A request that the server has read together with the one before makes its connection busy, too.
func TestPipelinedRequestsAreNotIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := newPipeListener()
		l := New(inner, 1, func(bool) {})
		serve(t, l)
		c := inner.connect(t, nil)
		c.send(t, request+requestHeader)
		c.requireResponse(t, http.StatusOK, "body")
		<-time.After(2 * minIdle)
		assert.False(t, l.endLongest())
		c.send(t, "body")
		c.requireResponse(t, http.StatusOK, "body")
	})
}

// CloseIdle closes the connections that have been idle for long enough, and counts those that are left.
func TestCloseIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		inner := newPipeListener()
		l := New(inner, 10, func(bool) {})
		serve(t, l)
		inner.connect(t, nil) // sends nothing
		clients := make([]client, 3)
		for i := range clients {
			clients[i] = inner.connect(t, nil)
			clients[i].send(t, request)
			clients[i].requireResponse(t, http.StatusOK, "body")
			<-time.After(time.Second)
		}
		clients[0].send(t, requestHeader)
		assert.Equal(t, 4, l.CloseIdle(2*time.Second), "the one that is ended is not closed yet")
		clients[1].requireClosed(t)
		assert.EqualValues(t, 3, l.Open())
		assert.Equal(t, 3, l.CloseIdle(2*time.Second))
		clients[0].send(t, "body")
		clients[0].requireResponse(t, http.StatusOK, "body")
		clients[2].send(t, request)
		clients[2].requireResponse(t, http.StatusOK, "body")
		synctest.Wait()
		assert.Equal(t, 3, l.CloseIdle(0))
		clients[0].requireClosed(t)
		clients[2].requireClosed(t)
		assert.Equal(t, 1, l.CloseIdle(0), "the one that has sent nothing")
	})
}

// However often and in which order a connection is ended and closed, it counts once.
func TestConnectionsCountOnce(t *testing.T) {
	t.Parallel()
	inner := newPipeListener()
	l := New(inner, 1, func(bool) {})
	for _, end := range []bool{false, true} {
		inner.connect(t, nil)
		c, err := l.Accept()
		require.NoError(t, err)
		assert.EqualValues(t, 1, l.Open())
		l.ConnState(c, http.StateIdle)
		since := c.(*conn).state.Load()
		if end {
			assert.True(t, c.(*conn).end(since))
		}
		for range 2 {
			require.NoError(t, c.Close())
			assert.False(t, c.(*conn).end(since))
			l.ConnState(c, http.StateActive)
			l.ConnState(c, http.StateClosed)
			assert.Zero(t, l.Open())
		}
	}
}
