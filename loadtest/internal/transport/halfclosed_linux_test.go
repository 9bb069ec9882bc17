package transport

import (
	"io"
	"net"
	"net/http"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestHalfClosed uses a server that responds, half-closes the connection, and then reads until the client closes it, as
// Apache's event MPM does at the end of the keep-alive timeout. Once the connection has been idle for a moment, the
// next request must not be sent there.
func TestHalfClosed(t *testing.T) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		t.Run(method, func(t *testing.T) {
			closed := make(chan struct{}, 5)
			var afterwards atomic.Int64 // bytes received after the half-close
			u := serve(t, func(c net.Conn, _ int) bool {
				_, err := c.Write([]byte(okResponse))
				assert.NoError(t, err)
				halfClose(t, c.(*net.TCPConn))
				closed <- struct{}{}
				n, _ := io.Copy(io.Discard, c) // until the client closes
				afterwards.Add(n)
				return false
			})
			patient := func(o Options) (closableTransport, error) {
				s, err := NewHTTP1(o)
				return idlingTransport{patientTransport{s, closed}}, err
			}
			opts := Options{Method: method, URL: u, KeepAlive: true, Timeout: time.Second}
			for i, x := range send(t, patient, opts, 5) {
				require.NoError(t, x.Err, "request %d", i)
				assert.False(t, x.Resent)
			}
			assert.Zero(t, afterwards.Load())
		})
	}
}

// TestHalfClosedAtOnce is like TestHalfClosed, but sends the next request so soon that it may be sent on the half-closed
// connection. It must not wait for its timeout.
func TestHalfClosedAtOnce(t *testing.T) {
	u := serve(t, func(c net.Conn, _ int) bool {
		_, err := c.Write([]byte(okResponse))
		assert.NoError(t, err)
		_ = c.(*net.TCPConn).CloseWrite() // the end of the test may have closed the last connection
		_, _ = io.Copy(io.Discard, c)     // until the client closes
		return false
	})
	for i, x := range send(t, transports["http1"], Options{URL: u, KeepAlive: true, Timeout: time.Minute}, 20) {
		require.NoError(t, x.Err, "request %d", i)
	}
}

// An idlingTransport leaves connections idle for longer than idleThreshold.
type idlingTransport struct{ patientTransport }

func (s idlingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	time.Sleep(2 * idleThreshold) //nolint:forbidigo // only time makes a connection idle
	return s.patientTransport.RoundTrip(r)
}

// halfClose sends a FIN and returns once the peer has acknowledged it.
func halfClose(t *testing.T, c *net.TCPConn) {
	t.Helper()
	assert.NoError(t, c.CloseWrite())
	raw, err := c.SyscallConn()
	assert.NoError(t, err)
	const established, finWait1 = 1, 4 // enum in linux/tcp.h
	for acknowledged := false; !acknowledged && err == nil; runtime.Gosched() {
		err = raw.Control(func(fd uintptr) {
			info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
			acknowledged = err != nil || info.State != established && info.State != finWait1
		})
	}
}
