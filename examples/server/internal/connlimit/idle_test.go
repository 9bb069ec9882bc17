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

// A request that the server has read when its connection is chosen to be closed for another one is served, even if a
// part of its body has not arrived.
func TestRequestsThatHaveBeenReadAreServed(t *testing.T) {
	t.Parallel()
	inner := pipeListener{make(chan net.Conn, 1)}
	l := New(inner, 1, func(bool) {})
	l.idle.start = time.Now().Add(-time.Hour)
	client, server := net.Pipe()
	defer client.Close()
	inner.conns <- server
	c, err := l.Accept()
	require.NoError(t, err)
	states := make(chan http.ConnState, 10)
	s := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(w, r.Body) //nolint:errcheck // then the response is too short
		}),
		ConnState: func(c net.Conn, state http.ConnState) {
			if conn := l.idle.load(c); state == http.StateActive && conn.since.Load() != 0 { // the second request
				conn.since.Store(1)
				assert.True(t, l.idle.closeLongest())
				l.open.Add(-1) // as Accept does
			}
			l.ConnState(c, state)
			states <- state
		},
	}
	inner.conns <- c
	go s.Serve(inner) //nolint:errcheck // it ends with the server
	defer s.Close()
	await := func(state http.ConnState) {
		for s := range states {
			if s == state {
				return
			}
		}
	}

	responses := bufio.NewReader(client)
	for range 2 {
		_, err = io.WriteString(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
		require.NoError(t, err)
		await(http.StateActive)
		_, err = io.WriteString(client, "body")
		require.NoError(t, err)
		response, err := http.ReadResponse(responses, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, "body", string(body))
		await(http.StateIdle)
		assert.EqualValues(t, 1, l.Open())
	}
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
