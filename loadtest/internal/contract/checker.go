package contract

import (
	"fmt"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

// Mode selects whether to check responses.
type Mode int

const (
	// Auto checks if the first response looks like one of PointsApp.
	Auto Mode = iota
	// On checks all responses.
	On
	// Off checks nothing.
	Off
)

// maxExamples is the highest number of Examples.
const maxExamples = 5

// A Checker checks the responses of one run. It is not safe for concurrent use.
type Checker struct {
	mode       Mode
	start      time.Time
	sameClock  bool
	parser     parser
	timestamps *timestampSet
	nulls      int64
	result     Result
}

// A Result is the result of a Checker.
type Result struct {
	// Required means that the run fails if no response was checked.
	Required bool `json:"required,omitempty"`

	// Checked reports whether responses were checked; Responses is their number.
	Checked   bool  `json:"checked"`
	Responses int64 `json:"responses"`

	// Violations counts the responses that violate the contract; Examples describes the first ones.
	Violations int64    `json:"violations"`
	Examples   []string `json:"examples,omitempty"`
}

// Add adds the result of another run: a repeated one, or that of another machine.
func (r *Result) Add(other *Result) {
	r.Required = r.Required || other.Required
	r.Checked = r.Checked || other.Checked
	r.Responses += other.Responses
	r.Violations += other.Violations
	r.Examples = append(r.Examples, other.Examples...)
}

// New returns a checker of responses whose times count from start. sameClock means that the server runs on this
// machine: only then can its timestamps be compared with the time of arrival.
func New(mode Mode, start time.Time, sameClock bool) *Checker {
	return &Checker{mode: mode, start: start, sameClock: sameClock, result: Result{Required: mode == On}}
}

// Check checks a complete response. Responses with a status other than 200 are not checked.
func (c *Checker) Check(x *transport.Exchange) {
	if c.mode == Off || x.Status != 200 {
		return
	}
	r, err := c.parser.parse(x.Body)
	if c.mode == Auto {
		if c.mode = On; err != nil {
			c.mode = Off
			return
		}
	}
	if c.timestamps == nil {
		c.timestamps = newTimestampSet()
	}
	c.result.Checked = true
	c.result.Responses++
	if violation := c.violation(&r, err, c.start.Add(x.Done)); violation != "" {
		c.record(violation, x.Body)
	}
}

// violation describes how a response violates the contract; "" if it does not. err is its parse error or nil.
func (c *Checker) violation(r *response, err error, arrived time.Time) string {
	if err != nil {
		return err.Error()
	}
	if violation := r.violation(); violation != "" {
		return violation
	}
	return c.checkTimestamp(r, arrived)
}

// checkTimestamp checks the timestamp of a response against the earlier ones and the time of arrival.
func (c *Checker) checkTimestamp(r *response, arrived time.Time) string {
	t := r.timestamp
	if t.IsZero() {
		c.nulls++
		if c.nulls > 1 {
			return "second null timestamp"
		}
		return ""
	}
	if c.timestamps.add(t) {
		return "timestamp returned twice"
	}
	if c.sameClock && t.Sub(arrived) > maxAhead {
		return fmt.Sprintf("timestamp %v after the arrival of the response", t.Sub(arrived))
	}
	return ""
}

// maxAhead is how far a timestamp may be ahead of the clock. Timestamps are unique to the microsecond, so those of many
// queries answered at the same moment, after a stall for example, cannot all be of that moment.
const maxAhead = time.Millisecond

func (c *Checker) record(violation string, body []byte) {
	c.result.Violations++
	if len(c.result.Examples) < maxExamples {
		c.result.Examples = append(c.result.Examples, transport.Printable(fmt.Sprintf("%s: %.300s", violation, body)))
	}
}

// Result returns the result so far.
func (c *Checker) Result() Result { return c.result }
