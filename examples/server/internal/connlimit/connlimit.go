// Package connlimit limits the number of open connections of an HTTP server.
package connlimit

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/pointsapp/pointsapp/internal/tcppeer"
)

// A Listener accepts connections while fewer than limit are open. For each further one it closes the connection that
// has been idle for the longest time, or, if none is idle, answers with 503 and closes it. Without a limit, more
// connections than the processor can serve in time would all be answered too late.
type Listener struct {
	net.Listener

	limit    int64
	atLimit  func(rejected bool)
	open     atomic.Int64
	rejected atomic.Int64
	closing  chan struct{} // its capacity limits how many rejected connections linger
	idle     idleConns

	lastRejection time.Time // for Accept alone, which has one caller
}

// New returns a listener that keeps at most limit connections of another one open, and for a moment one more for each
// that sends a request while it is being closed for another one. Its ConnState must be the server's.
// It calls atLimit for each connection beyond the limit; rejected is false if an idle connection was closed instead.
func New(listener net.Listener, limit int, atLimit func(rejected bool)) *Listener {
	const maxLingering = 4096
	return &Listener{
		Listener: listener, limit: int64(limit), atLimit: atLimit, closing: make(chan struct{}, maxLingering),
		idle: idleConns{start: time.Now()},
	}
}

// Accept returns the next connection within the limit. It spends at most about a tenth of its time on rejections, so
// that the processor is left to the connections that are open. Further ones wait in the kernel's accept queue.
//
// While the limit is reached, and for a second after that, Accept drops a connection that has sent FIN before it was
// accepted, without a response. Otherwise clients that have timed out would take the places of clients that still wait.
// At any other time such a connection is served, because its client may have closed only the sending side.
func (l *Listener) Accept() (net.Conn, error) {
	const burst, pauseFactor, maxPause = time.Millisecond, 9, 50 * time.Millisecond
	const overloadEnds = time.Second
	var busy time.Duration
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		full := l.open.Load() >= l.limit
		overloaded := full || !l.lastRejection.IsZero() && time.Since(l.lastRejection) < overloadEnds
		if overloaded && tcppeer.Of(c) != tcppeer.Open {
			c.Close() //nolint:errcheck // the client has gone
			continue
		}
		if full && l.idle.closeLongest() {
			l.open.Add(-1)
			l.atLimit(false)
			full = false
		}
		if !full {
			l.open.Add(1)
			return c, nil
		}
		l.lastRejection = time.Now()
		l.reject(c)
		l.atLimit(true)
		if busy += time.Since(l.lastRejection); busy > burst { // wall-clock time: on a busy machine it pauses for longer
			<-time.After(min(pauseFactor*busy, maxPause))
			busy = 0
		}
	}
}

// Limit returns the maximum number of open connections.
func (l *Listener) Limit() int64 { return l.limit }

// Open returns the number of open connections.
func (l *Listener) Open() int64 { return l.open.Load() }

// Busy returns the number of open connections that are not idle: they are new, or have a request in progress.
func (l *Listener) Busy() int { return l.idle.busy() }

// Rejected returns the number of connections that were answered with 503.
func (l *Listener) Rejected() int64 { return l.rejected.Load() }

// ConnState is for the ConnState of the http.Server that serves the connections: it counts those that have ended, and
// tracks which are idle.
func (l *Listener) ConnState(c net.Conn, state http.ConnState) {
	if n := l.idle.changed(c, state); n != 0 {
		l.open.Add(n)
	}
}

// rejection is the raw response to connections beyond the limit: a problem as pointshttp.WriteProblem writes it.
var rejection = func() []byte { //nolint:gochecknoglobals // Go has no constant slices
	const body = `{"type":"about:blank","title":"Service Unavailable","status":503,` +
		`"detail":"Too many connections are open. Try again later."}`
	return []byte("HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/problem+json" +
		"\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nRetry-After: 1" +
		"\r\nConnection: close\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
}()

// reject answers and closes a connection. It does not block: the connection's send buffer is empty.
func (l *Listener) reject(c net.Conn) {
	l.rejected.Add(1)
	_, err := c.Write(rejection)
	if half, ok := c.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
		select {
		case l.closing <- struct{}{}:
			go l.lingeringClose(c)
			return
		default:
		}
	}
	c.Close() //nolint:errcheck // nothing is left to do about it
}

// lingeringClose reads until the client closes the connection, for a second at most, and then closes it. If it were
// closed with unread data, the kernel would reset it, and the client could lose the response.
func (l *Listener) lingeringClose(c net.Conn) {
	const timeout = time.Second
	c.SetDeadline(time.Now().Add(timeout))         //nolint:errcheck // then the read fails
	io.Copy(io.Discard, io.LimitReader(c, 64<<10)) //nolint:errcheck // the client has gone, or the time is over
	c.Close()                                      //nolint:errcheck // as in reject
	<-l.closing
}
