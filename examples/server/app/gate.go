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

// Accept returns the next connection that is let in.
func (g *gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if g.open.Add(1) <= g.most {
			return c, nil
		}
		g.open.Add(-1)
		g.refused.Add(1)
		select {
		case g.refusing <- struct{}{}:
			go g.refuse(c)
		default:
			c.Write(refusal) //nolint:errcheck // it fits into an empty buffer, and so does not wait
			c.Close()        //nolint:errcheck // there is nothing left to do about it
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

// refuse answers a connection, and waits a little for its other end to close it: if what it has sent were not read, the
// answer could be lost.
func (g *gate) refuse(c net.Conn) {
	const patience = time.Second
	defer func() { <-g.refusing }()
	defer c.Close()                         //nolint:errcheck // as above
	c.SetDeadline(time.Now().Add(patience)) //nolint:errcheck // then what follows fails
	if _, err := c.Write(refusal); err != nil {
		return
	}
	if half, ok := c.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		io.Copy(io.Discard, io.LimitReader(c, 64<<10)) //nolint:errcheck // it went away, or its time is up
	}
}
