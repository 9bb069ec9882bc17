package connlimit

import (
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
		clients := make(map[string]net.Conn)
		conns := make(map[string]net.Conn)
		connect := func(name string) {
			var server net.Conn
			clients[name], server = net.Pipe()
			listener.conns <- server
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
		closed := func(name string) bool {
			return conns[name].SetReadDeadline(time.Time{}) != nil
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
		for name := range clients {
			assert.Equal(t, name == "first", closed(name), name)
		}
		is("third", http.StateClosed)
		assert.EqualValues(t, 3, l.Open())
	})
}

type pipeListener struct{ conns chan net.Conn }

func (l pipeListener) Accept() (net.Conn, error) { return <-l.conns, nil }
func (l pipeListener) Close() error              { return nil }
func (l pipeListener) Addr() net.Addr            { return &net.TCPAddr{} }
