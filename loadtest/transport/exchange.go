package transport

import (
	"errors"
	"net"
	"time"
)

// Failure is the column of ab's report that a failed request belongs to.
type Failure int

const (
	// None is for a request that was answered in full, with whatever status.
	None Failure = iota
	// Connect is for a connection that could not be made.
	Connect
	// Receive is for an answer that did not come, broke off, or was not HTTP.
	Receive
	// Exception is for an answer that was not complete within Options.Timeout.
	Exception
)

// An Exchange is one request and what became of it. Its times count from Options.Began.
type Exchange struct {
	// Seq is vegeta's number of the hit, from 0 within one Attacker.
	Seq uint64

	// Start is when the request's turn came, Connected when it had a connection (Start, if it was a kept one), Sent
	// when the request was written, FirstByte when the answer began, Done when it was complete or had failed. A step
	// that was not reached has the time of the step before.
	Start, Connected, Sent, FirstByte, Done time.Duration

	// Status is the answer's status code; 0 if there was none.
	Status int

	// KeptAlive tells that the connection could be used again after the answer.
	KeptAlive bool

	// Received counts the bytes that came over the connection, BodyBytes those of the body once unchunked.
	Received, BodyBytes int64

	// Server is the answer's Server header. Body is the answer's body, its first 16 KiB if it is longer. Both may be
	// read only until Observe returns.
	Server, Body []byte

	// Failure is the kind of Err, which is nil if the answer was complete.
	Failure Failure
	Err     error
}

// reach sets the times of the steps from the given one on, for the later ones may not be reached.
func (x *Exchange) connected(at time.Duration) {
	x.Connected, x.Sent, x.FirstByte, x.Done = at, at, at, at
}
func (x *Exchange) sent(at time.Duration)  { x.Sent, x.FirstByte, x.Done = at, at, at }
func (x *Exchange) began(at time.Duration) { x.FirstByte, x.Done = at, at }

// fail gives the exchange an error, and the kind that it is of unless it is a timeout.
func (x *Exchange) fail(kind Failure, err error) {
	var timeout net.Error
	var operation *net.OpError
	switch {
	case errors.As(err, &timeout) && timeout.Timeout():
		kind, err = Exception, errTimeout
	case errors.As(err, &operation):
		err = operation.Err // without the addresses, so that like errors look alike
	}
	x.Failure, x.Err, x.KeptAlive = kind, err, false
}

var errTimeout = errors.New("transport: no complete answer within the timeout")
