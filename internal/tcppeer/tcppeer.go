// Package tcppeer reports what the other end of a TCP connection has done to it, without reading from the connection.
package tcppeer

// A State is what is known of the other end of a connection.
type State int

const (
	// Open means that the other end can send and receive, or its state is unknown.
	Open State = iota
	// HalfClosed means that the other end has sent FIN. It has closed the connection, or only its sending side and
	// waits for an answer: TCP does not tell the two apart until something is sent.
	HalfClosed
	// Reset means that the connection has ended. Nothing can be sent to the other end.
	Reset
)
