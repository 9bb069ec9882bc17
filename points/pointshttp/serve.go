package pointshttp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pointsapp/pointsapp/internal/tcppeer" //nolint:depguard // it imports the standard library only
)

// Serve accepts connections on listener and serves them with server until one of the two is closed, like server.Serve,
// but uses less CPU for each request whose handler waits. It sets server.ConnContext. Its error is that of
// server.Serve: never nil, and http.ErrServerClosed after Shutdown or Close.
//
// While a handler runs, net/http reads one byte from its connection, to notice when the client closes it. If the
// handler waits, even for microseconds, that read costs a system call, two waits on the poller and four goroutine
// switches: a fifth of the CPU time of a request. Serve replaces this read by a timer that checks the connection every
// 100 ms while its handler runs. And net/http sets at least five deadlines for each request, which cost a twentieth;
// Serve sets a later deadline only when the earlier one has passed.
//
// A request's context ends when its connection is reset, but not when the client closes only its sending side: such a
// client still waits for its response. (With net/http alone, it ends in both cases.)
//
// Serve also answers what no handler sees, such as a request that is not valid HTTP, with a problem. net/http alone
// responds in text/plain.
//
// Connections that are not TCP are not checked: there net/http reads as usual. The listener may wrap its connections in
// a type that has the methods SyscallConn and CloseWrite of net.TCPConn. The connections that server.ConnState gets
// have a method NetConn, which returns the connection of the listener. On operating systems other than Linux, Serve is
// server.Serve.
func Serve(server *http.Server, listener net.Listener) error {
	if !tcppeer.Known {
		return server.Serve(listener)
	}
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		if c, ok := c.(*watchedConn); ok {
			ctx, c.cancel = context.WithCancel(context.WithValue(ctx, connKey{}, c))
		}
		return ctx
	}
	return server.Serve(watchedListener{listener})
}

// ClientClosed reports whether the client of a request has closed the connection. It also returns true if the client
// has closed only its sending side, which few clients do: TCP cannot tell the two apart. ctx is the context of a
// request served by [Serve]; for any other context, ClientClosed reports whether it was cancelled.
func ClientClosed(ctx context.Context) bool {
	if c, ok := ctx.Value(connKey{}).(*watchedConn); ok {
		return tcppeer.Of(c.streamConn) != tcppeer.Open
	}
	return ctx.Err() == context.Canceled
}

// queryContext returns the context of a query, from that of its request. It ends when the client is known to be gone or
// the request's deadline is over. Over HTTP/1, net/http also cancels a request's context when the client has only
// closed its sending side and waits for the response: that does not count.
func queryContext(ctx context.Context, protoMajor int) (context.Context, context.CancelFunc) {
	if protoMajor > 1 || ctx.Done() == nil || ctx.Value(connKey{}) != nil {
		return ctx, func() {}
	}
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(context.WithoutCancel(ctx), deadline)
	}
	return context.WithoutCancel(ctx), func() {}
}

// connKey is the key of a request's *watchedConn in its context.
type connKey struct{}

// checkInterval is how long a handler runs before its connection is first checked, and the time between two checks.
const checkInterval = 100 * time.Millisecond

type watchedListener struct{ net.Listener }

func (l watchedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	stream, ok := c.(streamConn)
	if !ok {
		return c, nil
	}
	switch c.LocalAddr().Network() {
	case "tcp":
		return newWatchedConn(stream), nil
	case "unix":
		return unixConn{stream}, nil
	default:
		return c, nil
	}
}

// A streamConn is a *net.TCPConn, a *net.UnixConn, or a connection that wraps one. A *tls.Conn is none.
type streamConn interface {
	net.Conn
	syscall.Conn
	CloseWrite() error
}

// A watchedConn is a connection that net/http need not read from to notice that its client has gone.
type watchedConn struct {
	streamConn
	cancel      context.CancelFunc // of the context of the connection's requests
	timer       *time.Timer        // calls check
	timerRuns   atomic.Bool
	handlerRuns atomic.Bool
	skipped     atomic.Bool // the latest Read returned 0 bytes at once
	hijacked    atomic.Bool // by a handler: each Read reads

	readDeadline, writeDeadline lazyDeadline
}

func newWatchedConn(tcp streamConn) *watchedConn {
	c := &watchedConn{streamConn: tcp, cancel: func() {}}
	c.readDeadline.apply, c.writeDeadline.apply = tcp.SetReadDeadline, tcp.SetWriteDeadline
	c.timer = time.AfterFunc(checkInterval, c.check)
	c.timer.Stop()
	return c
}

// Read reads from the connection, except for net/http's read of one byte while a handler runs: that returns 0 bytes at
// once. The next call always reads, whatever the size of p, so that no byte stays unread, unless SetReadDeadline was
// called in between, as net/http does before the handler of a request that it has read together with the one before.
func (c *watchedConn) Read(p []byte) (int, error) {
	if len(p) == 1 && !c.hijacked.Load() && c.skipped.CompareAndSwap(false, true) {
		c.handlerRuns.Store(true)
		c.startTimer()
		return 0, nil
	}
	c.skipped.CompareAndSwap(true, false)
	c.handlerRuns.CompareAndSwap(true, false)
	if err := c.readDeadline.begin(); err != nil {
		return 0, err
	}
	defer c.readDeadline.end()
	for {
		n, err := c.streamConn.Read(p)
		if err == nil || !c.readDeadline.extend(err) {
			return n, err
		}
	}
}

// Write writes to the connection, as writeResponse does.
func (c *watchedConn) Write(p []byte) (int, error) { return writeResponse(c.write, p) }

func (c *watchedConn) write(p []byte) (written int, err error) {
	if err := c.writeDeadline.begin(); err != nil {
		return 0, err
	}
	defer c.writeDeadline.end()
	for {
		n, err := c.streamConn.Write(p[written:])
		written += n
		if err == nil || !c.writeDeadline.extend(err) {
			return written, err
		}
	}
}

// ReadFrom implements io.ReaderFrom: net/http sends files by it.
func (c *watchedConn) ReadFrom(r io.Reader) (int64, error) {
	if err := c.writeDeadline.makeExact(); err != nil {
		return 0, err
	}
	return io.Copy(c.streamConn, r)
}

// SetReadDeadline implements net.Conn.
func (c *watchedConn) SetReadDeadline(t time.Time) error {
	c.skipped.CompareAndSwap(true, false)
	return c.readDeadline.set(t)
}

// SetWriteDeadline implements net.Conn.
func (c *watchedConn) SetWriteDeadline(t time.Time) error { return c.writeDeadline.set(t) }

// SetDeadline implements net.Conn. net/http calls it only when a handler takes over the connection, which may then be
// read and written by other means than Read and Write.
func (c *watchedConn) SetDeadline(t time.Time) error {
	c.hijacked.Store(true)
	return errors.Join(
		c.readDeadline.makeExact(), c.writeDeadline.makeExact(),
		c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// NetConn returns the connection that the listener has accepted.
func (c *watchedConn) NetConn() net.Conn { return c.streamConn }

// A unixConn is a connection to a Unix socket.
type unixConn struct{ streamConn }

// NetConn returns the connection that the listener has accepted.
func (c unixConn) NetConn() net.Conn { return c.streamConn }

// Write writes to the connection, as writeResponse does.
func (c unixConn) Write(p []byte) (int, error) { return writeResponse(c.streamConn.Write, p) }

// writeResponse writes to a connection: a problem in place of a response that net/http makes without a handler.
func writeResponse(write func([]byte) (int, error), p []byte) (int, error) {
	replaced := protocolProblem(p)
	if replaced == nil {
		return write(p)
	}
	if _, err := write(replaced); err != nil {
		return 0, err
	}
	return len(p), nil
}

// startTimer schedules the first check, unless the one of an earlier request is still to come.
func (c *watchedConn) startTimer() {
	if c.timerRuns.CompareAndSwap(false, true) {
		c.timer.Reset(checkInterval)
	}
}

// check cancels the requests of a connection that has been reset, or schedules the next check.
func (c *watchedConn) check() {
	if !c.handlerRuns.Load() {
		c.timerRuns.Store(false)
		if c.handlerRuns.Load() { // since just now
			c.startTimer()
		}
		return
	}
	if tcppeer.Of(c.streamConn) == tcppeer.Reset {
		c.cancel()
		return
	}
	c.timer.Reset(checkInterval)
}

// Close closes the connection.
func (c *watchedConn) Close() error {
	c.handlerRuns.Store(false)
	c.timer.Stop()
	c.cancel()
	return c.streamConn.Close()
}
