package record

import (
	"slices"
	"sync"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

// Options configure a Recorder.
type Options struct {
	// Due, if set, returns when hit seq was due, counted from the start of the run; latency is measured from then. The
	// default is to measure from when the request was sent.
	Due func(seq uint64) time.Duration

	// WarmUp excludes requests that are due within this time from the start. The timeline starts at its end.
	WarmUp time.Duration

	// End is the end of the schedule, counted from the start. The default is no end.
	End time.Duration

	// AnyLength disables Counts.Length.
	AnyLength bool

	// KeepRequests keeps the times of each request, which takes memory for each.
	KeepRequests bool

	// Check, if set, is called for each complete response, including those of the warm-up, by one goroutine at a time.
	Check func(x *transport.Exchange)

	// Progress, if set, is called after each request with the number of completed requests, by one goroutine at a time.
	Progress func(completed int64)
}

// A Recorder aggregates exchanges. It is safe for concurrent use.
type Recorder struct {
	opts Options

	mu       sync.Mutex
	counts   Counts
	times    Times
	timeline timeline
	server   string
	length   int64 // of the first body; -1 if there is none yet
	outcomes outcomes
	first    *Response
	requests []Request
	window   WindowCounts

	longest time.Duration   // time of the slowest complete response
	pending []time.Duration // ages of the aborted requests
}

// A Response is the first complete response of a run.
type Response struct {
	Head, Body []byte // see transport.Exchange
}

// A Request holds the times of a request that had a connection, as in transport.Exchange.
type Request struct {
	Start, Connect, Total, Wait time.Duration // Start from the start of the run; Wait from sent to the first byte
}

// Counts are the numbers of requests by outcome, and of bytes.
type Counts struct {
	// Complete counts all requests that had a connection, whether or not the response was complete, as in ab.
	Complete int64 `json:"complete"`

	// Connect, Receive and Exceptions count failed requests (see transport.Failure). Length counts bodies that differ in
	// size from the first one, which are failures only in ab.
	Connect    int64 `json:"connect"`
	Receive    int64 `json:"receive"`
	Length     int64 `json:"length"`
	Exceptions int64 `json:"exceptions"`

	// Aborted counts the requests that were pending when the run ended. They are part of no other count.
	Aborted int64 `json:"aborted"`

	// Stalled counts the aborted requests that had been pending for longer than the longest response took, by more than a
	// tenth of the run and more than half a second, or for at least nine tenths of the run.
	Stalled int64 `json:"stalled"`

	// OutOfResources counts the failed requests for which this machine had no free port, file descriptor or buffer.
	OutOfResources int64 `json:"out_of_resources"`

	// Resent counts the requests that were sent twice (see transport.Exchange.Resent).
	Resent int64 `json:"resent"`

	// Successful counts complete 2xx responses.
	Successful int64 `json:"good"`

	// Non2xx counts complete responses with other statuses. KeptAlive counts complete responses after which the connection
	// was reusable.
	Non2xx    int64 `json:"non_2xx"`
	KeptAlive int64 `json:"keep_alive"`

	// Received and Body are in bytes: everything received, and the bodies only.
	Received int64 `json:"received_bytes"`
	Body     int64 `json:"body_bytes"`
}

// Failed returns the number of requests without a complete response.
func (c *Counts) Failed() int64 { return c.Connect + c.Receive + c.Exceptions }

// Errors returns the number of failed requests and non-2xx responses.
func (c *Counts) Errors() int64 { return c.Failed() + c.Non2xx }

// Ended returns the number of requests that have ended. Aborted ones have not.
func (c *Counts) Ended() int64 { return c.Complete + c.Connect }

// Times are the distributions of a run. Connect, Processing (from connected to done), Waiting (from sent to the first
// byte) and Total (Connect and Processing) are ab's. Latency is measured from when a request was due; in a closed loop
// it is Total.
type Times struct {
	Connect, Processing, Waiting, Total, Latency *Distribution

	// ClientDelay is the part of Latency that the load generator caused, and Undelayed the rest (see
	// transport.Exchange.ClientDelay). Both are nil in a closed loop.
	ClientDelay, Undelayed *Distribution
}

// A Summary is the result of a recorder.
type Summary struct {
	Counts
	Times
	Elapsed        time.Duration  // until the last response
	ServerSoftware string         // Server header of the first response
	DocumentLength int64          // bytes of the first body; 0 if there was none
	Statuses       []StatusCount  // of complete responses, in ascending order
	Failures       []FailureCount // most frequent first
	First          *Response      // nil if there was none
	Requests       []Request      // with Options.KeepRequests, in the order in which they ended
	Timeline       []Interval
	Window         WindowCounts
}

// WindowCounts are the requests that ended after Options.WarmUp, including those due before. Aborted requests are not
// counted.
type WindowCounts struct {
	Successful int64 // complete 2xx responses until Options.End
	Ended      int64 // all outcomes until Options.End
	Late       int64 // all outcomes after Options.End
}

// New returns an empty recorder.
func New(opts Options) *Recorder {
	return &Recorder{opts: opts, length: -1, timeline: newTimeline(), times: newTimes(opts.Due != nil)}
}

// Observe records an exchange.
func (r *Recorder) Observe(x *transport.Exchange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if x.Failure == transport.None && r.opts.Check != nil {
		r.opts.Check(x)
	}
	r.countWindow(x)
	if r.due(x) < r.opts.WarmUp {
		return
	}
	if x.Resent {
		r.counts.Resent++
	}
	if x.Failure == transport.Aborted {
		r.addAborted(x)
		return
	}
	latency := r.addTimes(x)
	r.count(x)
	r.timeline.add(x.Done-r.opts.WarmUp, latency, x.Failure == transport.None && is2xx(x.Status))
	if r.opts.Progress != nil {
		r.opts.Progress(r.counts.Complete)
	}
}

// addTimes adds the times of x and returns its latency. As in ab, failed connections have no times.
func (r *Recorder) addTimes(x *transport.Exchange) time.Duration {
	latency := x.Done - x.Start
	if x.Failure == transport.None {
		r.longest = max(r.longest, latency)
	}
	if x.Failure != transport.Connect {
		r.times.Connect.Add(x.Connected - x.Start)
		r.times.Processing.Add(x.Done - x.Connected)
		r.times.Waiting.Add(x.FirstByte - x.Sent)
		r.times.Total.Add(latency)
		if r.opts.KeepRequests {
			r.requests = append(r.requests, Request{
				Start: x.Start, Connect: x.Connected - x.Start, Total: latency, Wait: x.FirstByte - x.Sent,
			})
		}
	}
	if r.opts.Due != nil {
		latency = r.addLatency(x)
	}
	return latency
}

// addAborted records the age of a pending request. Its latency would have been higher. In an open loop the age counts
// as its latency. In a closed loop it counts for the maximum alone: some requests are always pending at the end.
func (r *Recorder) addAborted(x *transport.Exchange) {
	r.counts.Aborted++
	r.pending = append(r.pending, x.Done-x.Start)
	r.counts.Received += x.Received
	r.times.Total.ExtendMax(x.Done - x.Start)
	if r.opts.Due != nil {
		r.addLatency(x)
	}
}

// addLatency adds the latency of x in an open loop, and returns it.
func (r *Recorder) addLatency(x *transport.Exchange) time.Duration {
	latency := x.Done - r.due(x)
	r.times.Latency.Add(latency)
	r.times.ClientDelay.Add(x.ClientDelay)
	r.times.Undelayed.Add(latency - x.ClientDelay)
	return latency
}

// due returns when x was due. vegeta numbers hits as workers take them, so two concurrent hits may have swapped
// numbers: a request was not due after it was sent.
func (r *Recorder) due(x *transport.Exchange) time.Duration {
	if r.opts.Due == nil {
		return x.Start
	}
	return min(r.opts.Due(x.Seq), x.Start)
}

func (r *Recorder) countWindow(x *transport.Exchange) {
	switch w := &r.window; {
	case x.Failure == transport.Aborted || x.Done < r.opts.WarmUp:
	case r.opts.End > 0 && x.Done > r.opts.End:
		w.Late++
	default:
		w.Ended++
		if x.Failure == transport.None && is2xx(x.Status) {
			w.Successful++
		}
	}
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
		r.countResponse(x)
	case transport.Receive:
		c.Receive++
	case transport.Exception:
		c.Exceptions++
	case transport.Connect, transport.Aborted:
	}
	if x.OutOfResources() {
		c.OutOfResources++
	}
	r.outcomes.add(x)
}

func (r *Recorder) countResponse(x *transport.Exchange) {
	if r.length < 0 {
		r.length = x.BodyBytes
		r.server = transport.Printable(string(x.Server))
		r.first = &Response{Head: slices.Clone(x.Head), Body: slices.Clone(x.Body)}
	}
	if x.BodyBytes != r.length && !r.opts.AnyLength {
		r.counts.Length++
	}
	if is2xx(x.Status) {
		r.counts.Successful++
	} else {
		r.counts.Non2xx++
	}
	if x.KeptAlive {
		r.counts.KeptAlive++
	}
}

// Live is the state of a run in progress.
type Live struct {
	Complete, Errors int64         // Errors are failed requests and non-2xx responses
	P50, P99         time.Duration // of the latency
}

// Live returns the state of the run so far.
func (r *Recorder) Live() Live {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Live{
		Complete: r.counts.Complete, Errors: r.counts.Errors(),
		P50: r.times.Latency.Percentile(50), P99: r.times.Latency.Percentile(99),
	}
}

// Summary returns the results of a run that took elapsed. The distributions are not copied: do not call Observe after
// it.
func (r *Recorder) Summary(elapsed time.Duration) Summary {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts.Stalled = r.stalled(elapsed)
	return Summary{
		Counts: r.counts, Times: r.times, Elapsed: elapsed, ServerSoftware: r.server, DocumentLength: max(r.length, 0),
		Statuses: r.outcomes.statusCounts(), Failures: r.outcomes.failureCounts(), First: r.first, Requests: r.requests,
		Timeline: r.timeline.intervals(elapsed), Window: r.window,
	}
}

// stalled returns Counts.Stalled of a run that took elapsed.
func (r *Recorder) stalled(elapsed time.Duration) (n int64) {
	threshold := r.longest + max(elapsed/10, time.Second/2)
	for _, age := range r.pending {
		if age > threshold || age >= elapsed-elapsed/10 { // or it was pending nearly the whole time
			n++
		}
	}
	return n
}
