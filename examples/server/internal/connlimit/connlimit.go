// Package connlimit limits the number of open connections of an HTTP server.
package connlimit

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pointsapp/pointsapp/internal/tcppeer"
)

// minIdle is how long a connection must be idle before it is closed for another one. A client that has just received a
// response often sends its next request at once.
const minIdle = time.Second

// A Listener accepts connections while fewer than limit are open. For each further one it closes the connection that
// has been idle for the longest time, or, if none is idle, answers with 503 and closes it. Without a limit, more
// connections than the processor can serve in time would all be answered too late.
type Listener struct {
	net.Listener

	limit    int64
	minIdle  time.Duration
	atLimit  func(rejected bool)
	start    time.Time // of the clock now
	conns    sync.Map  // of *conn, the open ones
	open     atomic.Int64
	rejected atomic.Int64
	closing  chan struct{} // its capacity limits how many rejected connections linger

	lastRejection time.Time // for Accept alone, which has one caller
	noneUntil     time.Time // until then endLongest returns false without a search; for Accept alone
}

// New returns a listener that keeps at most limit connections of another one open, and one more for each that sends a
// request while it is being closed for another one. Its ConnState must be the server's.
// It calls atLimit(true) for each connection that it rejects, atLimit(false) for each that it closes for a new one.
func New(listener net.Listener, limit int, atLimit func(rejected bool)) *Listener {
	const maxLingering = 4096
	return &Listener{
		Listener: listener, limit: int64(limit), minIdle: minIdle, atLimit: atLimit,
		start:   time.Now().Add(-1), // so that now is never 0
		closing: make(chan struct{}, maxLingering),
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
	var rejecting time.Duration
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		full := l.isFull()
		overloaded := full || !l.lastRejection.IsZero() && time.Since(l.lastRejection) < overloadEnds
		if overloaded && tcppeer.Of(c) != tcppeer.Open {
			c.Close() //nolint:errcheck // the client has gone
			continue
		}
		for full && l.endLongest() {
			l.atLimit(false)
			full = l.isFull()
		}
		if !full {
			return l.add(c), nil
		}
		l.lastRejection = time.Now()
		l.reject(c)
		l.atLimit(true)
		// This is wall-clock time: on a busy machine Accept pauses for longer.
		if rejecting += time.Since(l.lastRejection); rejecting > burst {
			<-time.After(min(pauseFactor*rejecting, maxPause))
			rejecting = 0
		}
	}
}

func (l *Listener) isFull() bool { return l.open.Load() >= l.limit }

func (l *Listener) add(c net.Conn) *conn {
	added := &conn{Conn: c, l: l}
	l.conns.Store(added, nil)
	l.open.Add(1)
	return added
}

// Limit returns the maximum number of open connections.
func (l *Listener) Limit() int64 { return l.limit }

// Open returns the number of open connections.
func (l *Listener) Open() int64 { return l.open.Load() }

// Rejected returns the number of connections that were answered with 503.
func (l *Listener) Rejected() int64 { return l.rejected.Load() }

// ConnState is for the ConnState of the http.Server that serves the connections: it notes which are idle. The server
// may have wrapped a connection in a type that has a NetConn method, as pointshttp.Serve does.
func (l *Listener) ConnState(c net.Conn, state http.ConnState) {
	if wrapped, ok := c.(interface{ NetConn() net.Conn }); ok {
		c = wrapped.NetConn()
	}
	conn := c.(*conn) //nolint:forcetypeassert // Accept returns no others
	if state == http.StateIdle {
		conn.idle()
	}
	if state == http.StateActive {
		conn.active()
	}
}

// now returns the time since l.start, in nanoseconds.
func (l *Listener) now() int64 { return int64(time.Since(l.start)) }

// CloseIdle makes the server close the connections that have been idle for that time, unless a request has arrived. It
// returns how many connections are left, including those that the server has not closed yet.
func (l *Listener) CloseIdle(after time.Duration) (left int) {
	latest := l.now() - int64(after)
	for c := range l.conns.Range {
		left++
		c := c.(*conn) //nolint:forcetypeassert // there are no others
		if since := c.state.Load(); since > busy && since <= latest {
			c.end(since)
		}
	}
	return left
}

// endLongest ends the connection that has been idle for the longest time. It returns false if none has been idle for
// minIdle, or if several have requests that the server has had no time to read. Then it does not search again for a
// tenth of minIdle, because a search takes time.
func (l *Listener) endLongest() bool {
	const maxSearches = 10
	now := time.Now()
	if now.Before(l.noneUntil) {
		return false
	}
	for range maxSearches {
		c, since := l.longestIdle()
		if c == nil || since > int64(now.Sub(l.start)-l.minIdle) {
			break
		}
		if c.hasUnread() { // a request that the server has had no time to read
			c.state.CompareAndSwap(since, int64(now.Sub(l.start)))
			continue
		}
		if c.end(since) {
			return true
		}
	}
	l.noneUntil = now.Add(l.minIdle / 10)
	return false
}

// longestIdle returns the connection that has been idle for the longest time, and since when; nil if none is idle.
func (l *Listener) longestIdle() (longest *conn, since int64) {
	for c := range l.conns.Range {
		c := c.(*conn) //nolint:forcetypeassert // there are no others
		if s := c.state.Load(); s > busy && (longest == nil || s < since) {
			longest, since = c, s
		}
	}
	return longest, since
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
