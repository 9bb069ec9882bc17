package points

// BreakerState is the state of the circuit breaker of an engine's updates.
type BreakerState int

// The states of the circuit breaker.
const (
	BreakerClosed   BreakerState = iota // updates run
	BreakerOpen                         // updates are rejected with ErrBreakerOpen
	BreakerHalfOpen                     // the next update is a probe: it closes the breaker or opens it again
)

// String returns "closed", "open" or "half-open".
func (s BreakerState) String() string {
	switch s {
	case BreakerOpen:
		return "open"
	case BreakerHalfOpen:
		return "half-open"
	default:
		return "closed"
	}
}

// MarshalText implements [encoding.TextMarshaler] with String.
func (s BreakerState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
