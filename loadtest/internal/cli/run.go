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

// requestsPerHit is how many requests a client sends per hit of vegeta; README.md has the reason.
const requestsPerHit = 16

// minMeasured is the shortest run whose use of the CPU says something.
const minMeasured = 500 * time.Millisecond

// A run is one load on the target and its results.
type run struct {
	cfg      *flags.Config
	target   target
	schedule *attack.Schedule // nil for a closed loop
	warmUp   time.Duration    // the first part of the schedule, which is not recorded
	progress func(completed int64)
	watch    func(func() record.Live) (stop func()) // nil: show nothing while it runs
	exporter *metrics.Exporter                      // nil: no metrics
	sim      *simulation                            // nil: send requests

	start    time.Time
	summary  record.Summary
	contract contract.Result
	unsent   int64
	repeats  int // number of runs that were combined into this one; 0 if it is a single one

	comparison *slo.Comparison // of relative clauses; nil if there is nothing to compare with

	full bool          // all clients of an open loop have been busy at the same time
	cpu  cputime.Share // of the client; 0 if unknown
}

// A simulation replaces the network and the timer in tests, which have a clock of their own.
type simulation struct {
	transport func(transport.Options) roundTripCloser
	sleep     func(context.Context, time.Duration)
}

// execute returns when the load is complete or has been stopped by -t or ctx. An error means that it did not start.
func (r *run) execute(ctx context.Context) error {
	var checker *contract.Checker
	recorder := record.New(r.recordOptions(func(x *transport.Exchange) { checker.Check(x) }))
	r.start = time.Now() // only now: allocating the recorder takes time in which requests would already be due
	if r.cfg.TimeLimit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, r.cfg.TimeLimit)
		defer cancel()
	}
	checker = contract.New(r.cfg.Verify, r.start, r.target.local)
	var loop interface {
		Run(ctx context.Context, transport http.RoundTripper)
	}
	var open *attack.Open
	var next func() bool
	if r.schedule != nil {
		open = attack.NewOpen(r.schedule, r.cfg.Clients, r.start)
		if r.sim != nil {
			open.Sleep = r.sim.sleep
		}
		loop = open
	} else {
		closed := attack.NewClosed(r.cfg.Clients, r.cfg.Requests)
		loop, next = closed, closed.Next
	}
	sender, err := r.newTransport(recorder.Observe, open, next)
	if err != nil {
		return err
	}
	if r.exporter != nil {
		defer r.exporter.Attach(recorder)()
	}
	if r.watch != nil {
		defer r.watch(recorder.Live)()
	}
	before := cputime.Now()
	stop := context.AfterFunc(ctx, sender.Close)
	loop.Run(ctx, sender)
	elapsed := time.Since(r.start)
	// With Reference, the server's CPU time is included. A simulation has a clock of its own.
	if elapsed >= minMeasured && !r.cfg.Reference && r.sim == nil {
		r.cpu = cputime.Now().ShareSince(before, elapsed, runtime.GOMAXPROCS(0))
	}
	stop()
	sender.Close()

	if open != nil && ctx.Err() == nil {
		// A rate is per scheduled time, even if the last response arrives earlier.
		elapsed = max(elapsed, r.schedule.Duration())
	}
	r.summary = recorder.Summary(max(elapsed-r.warmUp, 0))
	r.contract = checker.Result()
	if open != nil {
		recorded := r.schedule.Requests() - r.schedule.DueBefore(r.warmUp)
		r.unsent, r.full = min(open.Unsent(), recorded), open.Full()
	}
	return nil
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

func (r *run) newTransport(
	observe func(*transport.Exchange), open *attack.Open, next func() bool,
) (roundTripCloser, error) {
	opts := transport.Options{
		Method: r.cfg.Method, URL: r.cfg.URL, Target: r.cfg.RequestTarget, Header: r.cfg.Header,
		Body: r.target.body, Requests: r.target.requests, Addrs: r.target.addrs, Proxy: r.cfg.Proxy, TLS: r.target.tls,
		KeepAlive: r.cfg.KeepAlive, Timeout: r.cfg.Timeout,
		Epoch: r.start, Observe: observe, Next: next, RequestsPerHit: requestsPerHit,
	}
	if open != nil {
		opts.ClientDelay = open.ClientDelay
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
		Latency: s.Latency, Rate: r.rate(), Requests: s.Attempts() + r.unsent,
		Failed: s.Failed() + r.unsent, Non2xx: s.Non2xx, Length: s.Length, Aborted: s.Aborted,
		Violations: r.contract.Violations, Good: s.Good, Checked: r.contract.Responses, AnyLength: r.anyLength(),
		Comparison: r.comparison,
	}
}

// rate returns the successful responses per second. In an open loop it counts those that arrived during the scheduled
// time after the warm-up, whenever they were due: later arrivals measure the backlog, not the rate.
func (r *run) rate() float64 {
	s := &r.summary
	if r.schedule == nil {
		return float64(s.Good) / max(s.Elapsed.Seconds(), 1e-9)
	}
	return float64(s.Window.Good) / max(r.scheduled().Seconds(), 1e-9)
}

// scheduled returns the part of an open loop's schedule that was run, without the warm-up.
func (r *run) scheduled() time.Duration {
	return min(r.summary.Elapsed, time.Duration(r.runCount())*(r.schedule.Duration()-r.warmUp))
}

// runCount returns the number of runs that r stands for.
func (r *run) runCount() int { return max(r.repeats, 1) }
