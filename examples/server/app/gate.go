package app

import (
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"
)

// A gate lets so many connections in, and answers each one more with 503. What waits in a connection that is let in
// waits for all the others: without a gate, more connections than the processor can answer in time are all answered too
// late.
type gate struct {
	net.Listener

	most     int64
	open     atomic.Int64
	refused  atomic.Int64
	refusing chan struct{} // its capacity is how many are waited for at one moment
}

func newGate(listener net.Listener, most int) *gate {
	const waited = 4096
	return &gate{Listener: listener, most: int64(most), refusing: make(chan struct{}, waited)}
}

// Accept returns the next connection that is let in. To refuse others takes it about a tenth of its time at most:
// however many come, the processor is for those who are in. The kernel has the rest wait, and drops what is too much.
func (g *gate) Accept() (net.Conn, error) {
	const burst, rest, longest = time.Millisecond, 9, 50 * time.Millisecond
	var busy time.Duration
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if abandoned(c) {
			c.Close() //nolint:errcheck // there is nobody to tell
			continue
		}
		if g.open.Add(1) <= g.most {
			return c, nil
		}
		g.open.Add(-1)
		began := time.Now()
		g.refuse(c)
		if busy += time.Since(began); busy > burst { // which counts the time in which it had no processor, too
			<-time.After(min(rest*busy, longest))
			busy = 0
		}
	}
}

// state is for http.Server's ConnState.
func (g *gate) state(_ net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		g.open.Add(-1)
	}
}

// refusal is the answer of whom is not let in.
var refusal = func() []byte { //nolint:gochecknoglobals // a constant, if slices could be
	body := problemOf(http.StatusServiceUnavailable, "Too many connections are open. Try again later.")
	return append([]byte("HTTP/1.1 503 Service Unavailable\r\nContent-Type: "+problemType[0]+
		"\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nRetry-After: "+retryAfter+
		"\r\nConnection: close\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"), body...)
}()

// refuse answers a connection, which needs no waiting, as its buffer is empty.
func (g *gate) refuse(c net.Conn) {
	g.refused.Add(1)
	_, err := c.Write(refusal)
	if half, ok := c.(interface{ CloseWrite() error }); ok && err == nil && half.CloseWrite() == nil {
		select {
		case g.refusing <- struct{}{}:
			go g.dismiss(c)
			return
		default:
		}
	}
	c.Close() //nolint:errcheck // there is nothing left to do about it
}

// dismiss waits a little for a connection's other end to close it: if what it has sent were not read, the answer could
// be lost.
func (g *gate) dismiss(c net.Conn) {
	const patience = time.Second
	c.SetDeadline(time.Now().Add(patience))        //nolint:errcheck // then what follows fails
	io.Copy(io.Discard, io.LimitReader(c, 64<<10)) //nolint:errcheck // it went away, or its time is up
	c.Close()                                      //nolint:errcheck // as above
	<-g.refusing
}
