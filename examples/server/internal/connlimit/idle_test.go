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

// At the limit, the connection that has been idle for the longest time is closed, but none that has been idle for less
// than minIdle, that serves a request, or that has not sent one yet.
func TestIdleConnectionsAreClosed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		listener := pipeListener{make(chan net.Conn, 1)}
		var beyond []bool
		l := New(listener, 4, func(rejected bool) { beyond = append(beyond, rejected) })
		conns := make(map[string]net.Conn)
		connect := func(name string) {
			client, server := net.Pipe()
			t.Cleanup(func() { client.Close() })
			listener.conns <- &idleEndConn{Conn: server}
			accepted, err := l.Accept()
			require.NoError(t, err)
			conns[name] = accepted
			l.ConnState(accepted, http.StateNew)
		}
		is := func(name string, states ...http.ConnState) {
			for _, state := range states {
				l.ConnState(conns[name], state)
			}
		}
		for _, name := range []string{"new", "first", "second", "busy"} {
			connect(name)
		}
		is("busy", http.StateActive, http.StateIdle)
		<-time.After(minIdle)
		is("first", http.StateActive, http.StateIdle)
		<-time.After(time.Millisecond)
		is("second", http.StateActive, http.StateIdle)
		is("busy", http.StateActive)
		assert.False(t, l.idle.closeLongest(), "none has been idle for long enough")

		<-time.After(minIdle)
		connect("third")
		assert.Equal(t, []bool{false}, beyond)
		assert.EqualValues(t, 4, l.Open())
		is("first", http.StateClosed) // as net/http notices
		assert.EqualValues(t, 4, l.Open(), "it has been replaced")
		for name, c := range conns {
			assert.Equal(t, name == "first", c.(*idleEndConn).ended, name)
		}
		is("third", http.StateClosed)
		assert.EqualValues(t, 3, l.Open())
	})
}

// An idleEndConn notes that its read deadline was set.
type idleEndConn struct {
	net.Conn

	ended bool
}

func (c *idleEndConn) SetReadDeadline(time.Time) error {
	c.ended = true
	return nil
}

// A request that the server has read when its connection is chosen to be closed for another one is served.
func TestRequestsThatHaveBeenReadAreServed(t *testing.T) {
	t.Parallel()
	inner := pipeListener{make(chan net.Conn, 1)}
	l := New(inner, 1, func(bool) {})
	l.idle.start = time.Now().Add(-time.Hour)
	client, server := net.Pipe()
	defer client.Close()
	requests := 0
	inner.conns <- &afterReadConn{server, func() {
		if requests++; requests == 1 {
			return
		}
		l.idle.conns.Range(func(_, conn any) bool {
			conn.(*idleConn).since.Store(1)
			return true
		})
		assert.True(t, l.idle.closeLongest())
		l.open.Add(-1) // as Accept does
	}}
	c, err := l.Accept()
	require.NoError(t, err)
	states := make(chan http.ConnState, 10)
	s := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler:           http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}),
		ConnState: func(c net.Conn, state http.ConnState) {
			l.ConnState(c, state)
			states <- state
		},
	}
	inner.conns <- c
	go s.Serve(inner) //nolint:errcheck // it ends with the server
	defer s.Close()

	responses := bufio.NewReader(client)
	for range 2 {
		_, err = io.WriteString(client, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		response, err := http.ReadResponse(responses, nil)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusOK, response.StatusCode)
		for state := range states {
			if state == http.StateIdle {
				break
			}
		}
		assert.EqualValues(t, 1, l.Open())
	}
}

// An afterReadConn calls read after each successful read of more than a byte: net/http reads a single one while a
// handler runs.
type afterReadConn struct {
	net.Conn

	read func()
}

func (c *afterReadConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 1 {
		c.read()
	}
	return n, err
}

type pipeListener struct{ conns chan net.Conn }

func (l pipeListener) Accept() (net.Conn, error) {
	if c, ok := <-l.conns; ok {
		return c, nil
	}
	return nil, net.ErrClosed
}

func (l pipeListener) Close() error   { close(l.conns); return nil }
func (l pipeListener) Addr() net.Addr { return &net.TCPAddr{} }
