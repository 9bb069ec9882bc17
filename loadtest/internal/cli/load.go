package cli

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// load runs the load -repeat times and reports it.
func (c *command) load(ctx context.Context) error {
	runs, old, err := c.repeat(ctx)
	if err != nil {
		return err
	}
	r, result := combine(runs), combinedResult(runs)
	result.Updates = fetchUpdates(ctx, r)
	if len(old) > 0 {
		c.out.old = combinedResult(old)
		c.out.old.Client.Limit = combine(old).clientLimit(slo.Absolute(c.cfg.Assertions))
	}
	if r.comparison, err = c.comparison(runs, old); err != nil {
		return err
	}
	if result.Interrupted = ctx.Err() != nil; !result.Interrupted {
		result.Incomparable = c.oldNoSuccess()
	}
	result.Assertions, _ = slo.Evaluate(c.cfg.Assertions, r.metrics())
	result.Client.Limit = r.clientLimit(c.cfg.Assertions)
	c.writeFiles(result, &r.summary)
	if err := c.print(&r.summary, result); ignoreClosedPipe(err) != nil {
		return err
	}
	if result.Interrupted {
		return c.interrupted(runs, old)
	}
	return failure(result, c.responseHint(&r.summary))
}

// measure runs the load once on a target, and prints its progress.
func (c *command) measure(ctx context.Context, cfg *flags.Config, t target) (*run, error) {
	r := &run{cfg: cfg, target: t, exporter: c.exporter, sim: c.sim}
	if cfg.Rate != nil {
		var err error
		if r.schedule, err = attack.NewSchedule(*cfg.Rate, cfg.Duration); err != nil {
			return nil, err
		}
	}
	terminal := isTerminal(c.stderr)
	progress := newProgress(c.stderr, r.plannedRequests(), cfg.Quiet || terminal)
	r.progress = progress.completed
	if terminal && !cfg.Quiet {
		r.watch = c.liveView(r, r.plannedRequests()).watch
	}
	inline := progress.step == 0 && r.watch == nil // no progress: "..done" ends the line
	c.printBenchmarking(cfg, inline)
	if err := r.execute(ctx); err != nil {
		return nil, err
	}
	progress.finish(r.summary.Complete)
	if inline {
		fmt.Fprint(c.stdout, "..done\n")
	}
	return r, nil
}

// plannedRequests returns the number of requests of the run; 0 without a limit.
func (r *run) plannedRequests() int64 {
	n := r.cfg.Requests
	switch {
	case r.schedule != nil:
		n = r.schedule.Requests()
	case n == flags.NoRequestLimit:
		return 0
	}
	return n * int64(r.runCount())
}

// liveView returns the view of a run of the given number of requests; 0 without a limit.
func (c *command) liveView(r *run, requests int64) *liveView {
	v := &liveView{out: c.stderr, requests: requests, duration: r.cfg.TimeLimit}
	if r.schedule != nil {
		v.duration = r.schedule.Duration()
	}
	return v
}

// responseHint returns how to print a response, for a run without a 2xx response; "" if there is no response, or if it
// is printed anyway.
func (c *command) responseHint(s *record.Summary) string {
	if s.First == nil || s.Successful > 0 || c.cfg.Verbosity >= firstResponseVerbosity {
		return ""
	}
	return fmt.Sprintf("; -v %d prints the first", firstResponseVerbosity)
}

// printBenchmarking prints the line that ab prints at the start; inline leaves it open for "..done".
func (c *command) printBenchmarking(cfg *flags.Config, inline bool) {
	end := "\n"
	if inline {
		end = "..."
	}
	fmt.Fprintf(c.stdout, "Benchmarking %s (be patient)%s", cfg.URL.Hostname(), end)
}

// result returns the results of the run, which had the given number of planned requests.
func (r *run) result(planned int64) *report.Run {
	host, _ := os.Hostname() // left empty on an error
	result := r.setup()
	result.Schema, result.Name = report.Schema, r.cfg.URL.Host+" "+r.start.Format(time.DateTime)
	result.Date, result.Command, result.Contract = r.start.UTC().Truncate(time.Millisecond), r.cfg.Command, r.contract
	result.Host = report.Host{
		Name: host, OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), CPUsUsed: runtime.GOMAXPROCS(0),
		GoVersion: runtime.Version(),
	}
	result.Load.Requests, result.Load.Unsent = planned, r.unsent
	if r.schedule != nil {
		result.Offered = r.offeredRate()
	}
	result.Client.CPU, result.SuccessfulPerSecond = r.cpu, r.rate()
	result.Fill(&r.summary)
	return result
}

// setup returns the part of the results that is known before the run.
func (r *run) setup() *report.Run {
	cfg := r.cfg
	result := &report.Run{
		Name: cfg.URL.Host,
		Target: report.Target{
			URL: cfg.RedactedURL(), Method: cfg.Method,
			Hostname: cfg.URL.Hostname(), Port: cfg.Port(), Path: cfg.RequestTarget,
		},
		Load: report.Load{
			Mode: "closed", Concurrency: cfg.Clients, KeepAlive: cfg.KeepAlive, AnyLength: r.anyLength(),
			Transport: cfg.TransportName(),
		},
	}
	if n := len(r.target.requests); n > 0 {
		result.Target.Method, result.Target.Requests = "", n
		result.Target.Path = report.Plural(n, "request", "requests in turn") + ", from " + cfg.TargetsFile
	}
	if cfg.Reference {
		result.Setup = "this machine, users in memory, server in the process of the load test"
	}
	if cfg.Rate != nil {
		result.Load.Mode, result.Load.Rate = "open", cfg.Rate.String()
	}
	return result
}
