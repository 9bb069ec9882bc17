package transport

import (
	"errors"
	"net"
	"regexp"
	"slices"
	"syscall"
	"time"
)

// Failure is the column of ab's report that counts a failed request.
type Failure int

const (
	// None means a complete response, whatever its status.
	None Failure = iota
	// Connect means that no connection could be established.
	Connect
	// Receive means a missing, truncated or malformed response.
	Receive
	// Exception means that the response was not complete within Options.Timeout.
	Exception
	// Aborted means that the request was pending when the transport was closed. ab has no such column.
	Aborted
)

// An Exchange is one request and its outcome. Times count from Options.Epoch.
type Exchange struct {
	// Seq is vegeta's number of the hit, from 0 in each Attacker.
	Seq uint64

	// Start is when the request began, Connected when it had a connection (equal to Start if it was reused), Sent when
	// the request was written, FirstByte when the response began, and Done when it was complete or had failed. A step
	// that was not reached has the time of the previous one.
	Start, Connected, Sent, FirstByte, Done time.Duration

	// ClientDelay is the part of the time between when the request was due and Start that the load generator caused: not
	// the part in which all clients waited for responses.
	ClientDelay time.Duration

	// Status is the status code; 0 without a response.
	Status int

	// Resent means that the request was sent twice, because the server closed a reused connection instead of responding.
	Resent bool

	// KeptAlive means that the connection was reusable after the response.
	KeptAlive bool

	// Received counts the bytes read from the connection, BodyBytes those of the decoded body.
	Received, BodyBytes int64

	// Server is the Server header. Body is the body, truncated to 16 KiB. Head, with Options.KeepHead, is the status line
	// and the header as lines that end with \n; NetHTTP sorts them. All are valid until Observe returns.
	Server, Body, Head []byte

	// Failure classifies Err, which is nil if the response is complete.
	Failure Failure
	Err     error
}

// begin resets x to a request that begins at the given time. Steps that are not reached have the same time.
func (x *Exchange) begin(seq uint64, at time.Duration) {
	*x = Exchange{Seq: seq, Start: at, Connected: at, Sent: at, FirstByte: at, Done: at}
}

// restart resets x to the state after begin, for a second attempt.
func (x *Exchange) restart() {
	delay := x.ClientDelay
	x.begin(x.Seq, x.Start)
	x.ClientDelay = delay
}

// setConnected sets Connected and the times of all later steps, which may not be reached.
func (x *Exchange) setConnected(at time.Duration) {
	x.Connected, x.Sent, x.FirstByte, x.Done = at, at, at, at
}

// setSent is like setConnected, from Sent on.
func (x *Exchange) setSent(at time.Duration) { x.Sent, x.FirstByte, x.Done = at, at, at }

// setFirstByte is like setConnected, from FirstByte on.
func (x *Exchange) setFirstByte(at time.Duration) { x.FirstByte, x.Done = at, at }

// OutOfResources reports whether the request failed because this machine had no free port, file descriptor or buffer.
func (x *Exchange) OutOfResources() bool {
	if x.Err == nil {
		return false
	}
	resources := []error{syscall.EADDRNOTAVAIL, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM}
	return slices.ContainsFunc(resources, func(target error) bool { return errors.Is(x.Err, target) })
}

// fail records err as a failure of the given kind. A timeout once connected is an Exception.
func (x *Exchange) fail(kind Failure, err error) {
	var timeout net.Error
	var operation *net.OpError
	switch {
	case errors.As(err, &timeout) && timeout.Timeout() && kind == Connect:
		err = errConnectTimeout
	case errors.As(err, &timeout) && timeout.Timeout():
		kind, err = Exception, errTimeout
	case errors.As(err, &operation):
		err = operation.Err // without the addresses, so that equal errors have equal text
	case streamID.MatchString(err.Error()): // likewise
		err = errors.New(streamID.ReplaceAllString(err.Error(), ""))
	}
	x.Failure, x.Err, x.KeptAlive = kind, err, false
}

// streamID is the number of a stream in errors of net/http's HTTP/2, whose types are not exported.
var streamID = regexp.MustCompile(`stream ID \d+; |LastStreamID=\d+, `)

var (
	errTimeout        = errors.New("no complete response within the timeout")
	errConnectTimeout = errors.New("no connection within the timeout")
)
