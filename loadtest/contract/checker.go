package contract

import (
	"fmt"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/transport"
)

// Mode says whether to check answers.
type Mode int

const (
	// Auto checks if the first answer looks like one of PointsApp.
	Auto Mode = iota
	// On checks whatever the answers look like.
	On
	// Off checks nothing.
	Off
)

// maxExamples is how many violations are kept word by word.
const maxExamples = 5

// A Checker checks the answers of one run. It is not safe for concurrent use.
type Checker struct {
	mode      Mode
	began     time.Time
	sameClock bool
	parser    parser
	stamps    *stamps
	nulls     int64
	result    Result
}

// A Result is what a Checker found.
type Result struct {
	// Checked tells whether answers were checked, Answers how many.
	Checked bool  `json:"checked"`
	Answers int64 `json:"answers"`

	// Violations counts the answers that broke the contract; Examples are the first ones, in words.
	Violations int64    `json:"violations"`
	Examples   []string `json:"examples,omitempty"`
}

// New returns a checker of answers whose times count from began. sameClock tells that the server is on this machine:
// only then can its timestamps be held against the time of arrival.
func New(mode Mode, began time.Time, sameClock bool) *Checker {
	return &Checker{mode: mode, began: began, sameClock: sameClock}
}

// Check checks a complete answer. Only those of status 200 have something to check.
func (c *Checker) Check(x *transport.Exchange) {
	if c.mode == Off || x.Status != 200 {
		return
	}
	a, err := c.parser.parse(x.Body)
	if c.mode == Auto {
		if c.mode = On; err != nil {
			c.mode = Off
			return
		}
	}
	if c.stamps == nil {
		c.stamps = newStamps()
	}
	c.result.Checked = true
	c.result.Answers++
	if violation := c.violation(&a, err, c.began.Add(x.Done)); violation != "" {
		c.note(violation, x.Body)
	}
}

// violation returns what is wrong with an answer, which could not be read if err is not nil; "" if nothing is.
func (c *Checker) violation(a *answer, err error, arrived time.Time) string {
	if err != nil {
		return err.Error()
	}
	if violation := a.violation(); violation != "" {
		return violation
	}
	return c.timestamp(a, arrived)
}

// timestamp returns what is wrong with an answer's timestamp in view of the others; "" if nothing is.
func (c *Checker) timestamp(a *answer, arrived time.Time) string {
	t := a.timestamp
	if t.IsZero() {
		c.nulls++
		if c.nulls > 1 {
			return "a second null timestamp"
		}
		return ""
	}
	if c.stamps.add(t) {
		return "a timestamp that was given before"
	}
	if c.sameClock && t.Sub(arrived) > ahead {
		return fmt.Sprintf("a timestamp %v later than the answer's arrival", t.Sub(arrived))
	}
	return ""
}

// ahead is how much later than the clock a timestamp may be. As no two are the same microsecond, those of many queries
// that come at one moment, after the server was held up, say, cannot all be of that moment.
const ahead = time.Millisecond

func (c *Checker) note(violation string, body []byte) {
	c.result.Violations++
	if len(c.result.Examples) < maxExamples {
		c.result.Examples = append(c.result.Examples, fmt.Sprintf("%s: %.300s", violation, body))
	}
}

// Result returns what has been found so far.
func (c *Checker) Result() Result { return c.result }
