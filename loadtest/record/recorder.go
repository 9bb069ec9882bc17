package record

import (
	"slices"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/transport"
)

// Options configure a Recorder.
type Options struct {
	// Due, if it is set, tells when the hit of a number was to be sent, since the run began: latency counts from then.
	// The default is to count from when it was sent.
	Due func(seq uint64) time.Duration

	// WarmUp is how long what is due is not recorded, from the beginning. The times of the summary count from its end.
	WarmUp time.Duration

	// AnyLength counts no body as being of another length than the first one.
	AnyLength bool

	// Check, if it is set, is called for every complete answer, by one goroutine at a time. arrived is when the answer
	// was complete.
	Check func(x *transport.Exchange)

	// Progress, if it is set, is called with the number of requests completed, after each one, by one goroutine at a
	// time.
	Progress func(completed int64)
}

// A Recorder collects exchanges. It is safe for concurrent use.
type Recorder struct {
	opts Options

	mu       sync.Mutex
	counts   Counts
	times    Times
	timeline timeline
	server   string
	length   int64 // of the first body; -1 before it
	failures []string
}

// maxFailures is how many different errors are kept.
const maxFailures = 10

// Counts are how many requests ended how, and bytes.
type Counts struct {
	// Complete counts requests with an answer or the beginning of one, as ab: all but those that did not connect.
	Complete int64 `json:"complete"`

	// Connect, Receive and Exceptions count failures; Length counts bodies that differ in size from the first one,
	// which ab takes for failures.
	Connect    int64 `json:"connect"`
	Receive    int64 `json:"receive"`
	Length     int64 `json:"length"`
	Exceptions int64 `json:"exceptions"`

	// Non2xx counts answers with such a status; KeptAlive those after which the connection could be used again.
	Non2xx    int64 `json:"non_2xx"`
	KeptAlive int64 `json:"keep_alive"`

	// Received and Body are in bytes: all that came, and the bodies alone.
	Received int64 `json:"received_bytes"`
	Body     int64 `json:"body_bytes"`
}

// Failed counts the requests that got no complete answer.
func (c Counts) Failed() int64 { return c.Connect + c.Receive + c.Exceptions }

// Attempts counts all requests.
func (c Counts) Attempts() int64 { return c.Complete + c.Connect }

// Times are the distributions of a run. Connect, Processing (from there to the end), Waiting (for the first byte, once
// the request was sent) and Total (of both) are ab's; Latency counts from when the request was due, and is Total if
// nothing was.
type Times struct {
	Connect, Processing, Waiting, Total, Latency *Distribution
}

// A Summary is what a recorder knows.
type Summary struct {
	Counts
	Times
	Elapsed        time.Duration // of the whole run, the last answer included
	ServerSoftware string        // what the first answer called itself
	DocumentLength int64         // of the first body, in bytes; 0 if there was none
	Failures       []string      // the first different errors
	Timeline       []Interval
}

// New returns an empty recorder.
func New(opts Options) *Recorder {
	r := &Recorder{opts: opts, length: -1, timeline: newTimeline()}
	r.times = Times{
		Connect: NewDistribution(), Processing: NewDistribution(), Waiting: NewDistribution(), Total: NewDistribution(),
	}
	r.times.Latency = r.times.Total
	if opts.Due != nil {
		r.times.Latency = NewDistribution()
	}
	return r
}

// Observe records an exchange.
func (r *Recorder) Observe(x *transport.Exchange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.due(x) < r.opts.WarmUp {
		return
	}
	latency := r.addTimes(x)
	r.count(x)
	r.timeline.add(x.Done-r.opts.WarmUp, latency, x.Failure == transport.None && is2xx(x.Status))
	if x.Failure == transport.None && r.opts.Check != nil {
		r.opts.Check(x)
	}
	if r.opts.Progress != nil {
		r.opts.Progress(r.counts.Complete)
	}
}

// addTimes returns the request's latency. A connection that could not be made has none of ab's times.
func (r *Recorder) addTimes(x *transport.Exchange) time.Duration {
	latency := x.Done - x.Start
	if x.Failure != transport.Connect {
		r.times.Connect.Add(x.Connected - x.Start)
		r.times.Processing.Add(x.Done - x.Connected)
		r.times.Waiting.Add(x.FirstByte - x.Sent)
		r.times.Total.Add(latency)
	}
	if r.opts.Due != nil {
		latency = x.Done - r.due(x)
		r.times.Latency.Add(latency)
	}
	return latency
}

// due returns when x was to be sent. vegeta numbers hits as workers take them, so that a neighbour's time may be taken
// for its own: it cannot have been due after it was sent.
func (r *Recorder) due(x *transport.Exchange) time.Duration {
	if r.opts.Due == nil {
		return x.Start
	}
	return min(r.opts.Due(x.Seq), x.Start)
}

func is2xx(status int) bool { return status >= 200 && status <= 299 }

func (r *Recorder) count(x *transport.Exchange) {
	c := &r.counts
	c.Received += x.Received
	c.Body += x.BodyBytes
	if x.Failure == transport.Connect {
		c.Connect++
	} else {
		c.Complete++
	}
	switch x.Failure {
	case transport.None:
		r.countAnswer(x)
	case transport.Receive:
		c.Receive++
	case transport.Exception:
		c.Exceptions++
	case transport.Connect:
	}
	if x.Err != nil {
		r.keepFailure(x.Err.Error())
	}
}

func (r *Recorder) countAnswer(x *transport.Exchange) {
	if r.length < 0 {
		r.length = x.BodyBytes
		r.server = string(x.Server)
	}
	if x.BodyBytes != r.length && !r.opts.AnyLength {
		r.counts.Length++
	}
	if !is2xx(x.Status) {
		r.counts.Non2xx++
	}
	if x.KeptAlive {
		r.counts.KeptAlive++
	}
}

func (r *Recorder) keepFailure(failure string) {
	if len(r.failures) < maxFailures && !slices.Contains(r.failures, failure) {
		r.failures = append(r.failures, failure)
	}
}

// Summary returns what has been recorded of a run that took elapsed. Nothing may be recorded after it, or the summary's
// distributions change.
func (r *Recorder) Summary(elapsed time.Duration) Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Summary{
		Counts: r.counts, Times: r.times, Elapsed: elapsed, ServerSoftware: r.server, DocumentLength: max(r.length, 0),
		Failures: r.failures, Timeline: r.timeline.intervals(elapsed),
	}
}
