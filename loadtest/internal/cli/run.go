package cli

import (
	"context"
	"net/http"
	"runtime"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
	"github.com/pointsapp/pointsapp/loadtest/internal/contract"
	"github.com/pointsapp/pointsapp/loadtest/internal/cputime"
	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
	"github.com/pointsapp/pointsapp/loadtest/internal/metrics"
	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

// requestsPerHit is the highest number of requests per hit of vegeta (see README.md, The http1 transport).
const requestsPerHit = 16

// minMeasured is the shortest run whose CPU time is measured: in a shorter one, the start weighs too much.
const minMeasured = 500 * time.Millisecond

// A run is one execution of the load on a target, and its results.
type run struct {
	cfg      *flags.Config
	target   target
	schedule *attack.Schedule // nil for a closed loop
	warmUp   time.Duration    // the first part of the schedule, which is not recorded
	progress func(completed int64)
	watch    func(func() record.Live) (stop func()) // shows the run in progress; nil means not to
	exporter *metrics.Exporter                      // nil: no metrics
	sim      *simulation                            // nil: send requests

	start    time.Time
	summary  record.Summary
	contract contract.Result
	unsent   int64
	repeats  int // number of runs that were combined into this one; 0 if it is a single one

	comparison *slo.Comparison // of relative clauses; nil if there is nothing to compare with

	saturated bool          // all clients of an open loop have been busy at the same time
	cpu       cputime.Share // of this process; 0 if unknown
}

// A simulation replaces the network and the timer in tests with a fake clock.
type simulation struct {
	transport func(transport.Options) roundTripCloser
	sleep     func(context.Context, time.Duration)
}

// execute generates the load, and returns when it is complete or has been stopped by -t or ctx. An error means that it
// did not start.
func (r *run) execute(ctx context.Context) error {
	var checker *contract.Checker
	recorder := record.New(r.recordOptions(func(x *transport.Exchange) { checker.Check(x) }))
	r.start = time.Now() // not before record.New, which takes time in which requests would already be due
	checker = contract.New(r.cfg.Verify, r.start, r.target.local)
	loop := r.newLoop()
	sender, err := r.newTransport(recorder.Observe, loop)
	if err != nil {
		return err
	}
	if r.cfg.TimeLimit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, r.start.Add(r.cfg.TimeLimit))
		defer cancel()
	}
	if r.exporter != nil {
		defer r.exporter.Attach(recorder)()
	}
	if r.watch != nil {
		defer r.watch(recorder.Live)()
	}
	before := cputime.Now()
	stop := context.AfterFunc(ctx, sender.Close)
	loop.run(ctx, sender)
	elapsed := time.Since(r.start)
	// With Reference, the server's CPU time is included. A simulation has a fake clock.
	if elapsed >= minMeasured && !r.cfg.Reference && r.sim == nil {
		r.cpu = cputime.Now().ShareSince(before, elapsed, runtime.GOMAXPROCS(0))
	}
	stop()
	sender.Close()

	if loop.open != nil && ctx.Err() == nil {
		// A rate is per scheduled time, even if the last response arrives earlier.
		elapsed = max(elapsed, r.schedule.Duration())
	}
	r.summary = recorder.Summary(max(elapsed-r.warmUp, 0))
	r.contract = checker.Result()
	if loop.open != nil {
		recorded := r.schedule.Requests() - r.schedule.DueBefore(r.warmUp)
		r.unsent, r.saturated = min(loop.open.Unsent(), recorded), loop.open.Saturated()
	}
	return nil
}

// A loop is either a closed or an open loop; the other field is nil.
type loop struct {
	closed *attack.Closed
	open   *attack.Open
}

func (r *run) newLoop() loop {
	if r.schedule == nil {
		return loop{closed: attack.NewClosed(r.cfg.Clients, r.cfg.Requests)}
	}
	open := attack.NewOpen(r.schedule, r.cfg.Clients, r.start)
	if r.sim != nil {
		open.Sleep = r.sim.sleep
	}
	return loop{open: open}
}

func (l loop) run(ctx context.Context, transport http.RoundTripper) {
	if l.open != nil {
		l.open.Run(ctx, transport)
		return
	}
	l.closed.Run(ctx, transport)
}

func (r *run) recordOptions(check func(*transport.Exchange)) record.Options {
	opts := record.Options{AnyLength: r.anyLength(), Check: check, Progress: r.progress, WarmUp: r.warmUp}
	opts.KeepRequests = r.cfg.Gnuplot != ""
	if r.schedule != nil {
		opts.Due, opts.End = r.schedule.Due, r.schedule.Duration()
	}
	return opts
}

// anyLength reports whether bodies of different lengths are expected.
func (r *run) anyLength() bool { return r.cfg.AnyLength || len(r.target.requests) > 1 }

// roundTripCloser is implemented by both transports.
type roundTripCloser interface {
	http.RoundTripper
	Close()
}

func (r *run) newTransport(observe func(*transport.Exchange), loop loop) (roundTripCloser, error) {
	opts := transport.Options{
		Method: r.cfg.Method, URL: r.cfg.URL, Target: r.cfg.RequestTarget, Header: r.cfg.Header,
		Body: r.target.body, Requests: r.target.requests, Addrs: r.target.addrs, Proxy: r.cfg.Proxy, TLS: r.target.tls,
		DisableHTTP2: r.cfg.DisableHTTP2,
		KeepAlive:    r.cfg.KeepAlive, KeepHead: r.cfg.Verbosity >= firstResponseVerbosity, Timeout: r.cfg.Timeout,
		Epoch: r.start, Observe: observe, RequestsPerHit: requestsPerHit,
	}
	if loop.open != nil {
		opts.ClientDelay = loop.open.ClientDelay
	} else {
		opts.Next = loop.closed.Next
	}
	if r.cfg.UnixSocket != "" {
		opts.Network = "unix"
	}
	if r.sim != nil {
		return r.sim.transport(opts), nil
	}
	if r.cfg.Transport == flags.NetHTTP {
		return transport.NewNetHTTP(opts)
	}
	return transport.NewHTTP1(opts)
}

// metrics are the measurements that SLOs and assertions refer to.
func (r *run) metrics() *slo.Metrics {
	s := &r.summary
	return &slo.Metrics{
		Latency: s.Latency, Rate: r.rate(), Requests: s.Ended() + r.unsent,
		Failed: s.Failed() + r.unsent, Non2xx: s.Non2xx, Length: s.Length, Aborted: s.Aborted, Resent: s.Resent,
		Violations: r.contract.Violations, Successful: s.Successful, Checked: r.contract.Responses, AnyLength: r.anyLength(),
		Comparison: r.comparison,
	}
}

// rate returns the 2xx responses per second. In an open loop it counts those that arrived during the scheduled time,
// including late responses to the warm-up: later arrivals measure the backlog, not the rate.
func (r *run) rate() float64 {
	s := &r.summary
	if r.schedule == nil {
		return float64(s.Successful) / max(s.Elapsed.Seconds(), 1e-9)
	}
	return float64(s.Window.Successful) / max(r.scheduledTime().Seconds(), 1e-9)
}

// scheduledTime returns the length of the part of an open loop's schedule that was run, without the warm-up.
func (r *run) scheduledTime() time.Duration {
	return min(r.summary.Elapsed, time.Duration(r.runCount())*(r.schedule.Duration()-r.warmUp))
}

// runCount returns the number of runs that were combined into r; 1 for a single run.
func (r *run) runCount() int { return max(r.repeats, 1) }
