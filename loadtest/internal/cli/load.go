package cli

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/attack"
	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// load runs the load, as often as requested, and reports it.
func (c *command) load(ctx context.Context) error {
	runs, old, err := c.repeat(ctx)
	if err != nil {
		return err
	}
	r := combine(runs)
	result := r.result(r.planned())
	result.Updates = fetchUpdates(ctx, r)
	if len(runs) > 1 {
		for _, one := range runs {
			result.Repeats = append(result.Repeats, one.repeated())
		}
	}
	if len(old) > 0 {
		all := combine(old)
		c.out.baseline = all.result(all.planned())
	}
	if r.comparison, err = c.comparison(runs, old); err != nil {
		return err
	}
	result.Interrupted = ctx.Err() != nil
	result.Assertions, _ = slo.Evaluate(c.cfg.Assertions, r.metrics())
	result.Client.Limit = r.clientLimit(c.cfg.Assertions)
	c.writeFiles(result, &r.summary)
	if err := c.print(&r.summary, result); ignoreClosedPipe(err) != nil {
		return err
	}
	failed := slices.IndexFunc(runs, func(one *run) bool { return one.summary.Good == 0 })
	switch {
	case result.Interrupted:
		return c.interrupted(runs, old)
	case r.summary.Good == 0:
		return r.noSuccessError()
	case failed >= 0:
		return fmt.Errorf("run %d of %d: %w", failed+1, len(runs), runs[failed].noSuccessError())
	case result.Verdict == report.VerdictFail:
		return errCheckFailed
	}
	return nil
}

// measure runs one load on a target.
func (c *command) measure(ctx context.Context, cfg *flags.Config, t target) (*run, error) {
	r := &run{cfg: cfg, target: t, exporter: c.exporter, sim: c.sim}
	if cfg.Rate != nil {
		var err error
		if r.schedule, err = attack.NewSchedule(*cfg.Rate, cfg.Duration); err != nil {
			return nil, err
		}
	}
	terminal := isTerminal(c.stderr)
	progress := newProgress(c.stderr, r.planned(), cfg.Quiet || terminal)
	r.progress = progress.completed
	if terminal && !cfg.Quiet {
		r.watch = c.liveView(r, r.planned()).watch
	}
	inline := progress.step == 0 && r.watch == nil // nothing is printed until the run is over
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

// planned returns the number of requests of the run; 0 without a limit.
func (r *run) planned() int64 {
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

// noSuccessError describes a run without a single 2xx response.
func (r *run) noSuccessError() error {
	s := &r.summary
	switch {
	case s.Non2xx > 0:
		return fmt.Errorf("no request succeeded: %d of %s non-2xx", s.Non2xx,
			report.Plural(s.Attempts(), "response was", "responses were"))
	case len(s.Failures) > 0:
		return fmt.Errorf("no request succeeded: %s", s.Failures[0].Error+certificateHint(s.Failures[0].Error))
	}
	return errors.New("no request succeeded: no response arrived before the end of the run")
}

// certificateHint returns what to do about a certificate that is not trusted; "" for other failures.
func certificateHint(failure string) string {
	if strings.HasPrefix(failure, (&tls.CertificateVerificationError{Err: errors.New("")}).Error()) {
		return "; use -cacert or -insecure"
	}
	return ""
}

// printBenchmarking prints the line that ab prints at the start; inline omits its end.
func (c *command) printBenchmarking(cfg *flags.Config, inline bool) {
	end := "\n"
	if inline {
		end = "..."
	}
	fmt.Fprintf(c.stdout, "Benchmarking %s (be patient)%s", cfg.URL.Hostname(), end)
}

// result returns the results of the run as they are written to files.
func (r *run) result(requests int64) *report.Run {
	cfg := r.cfg
	host, _ := os.Hostname() // left empty on an error
	result := &report.Run{
		Schema: report.Schema, Name: cfg.URL.Host + " " + r.start.Format(time.DateTime),
		Date: r.start.UTC().Truncate(time.Millisecond), Command: cfg.Command, Contract: r.contract,
		Host: report.Host{
			Name: host, OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), CPUsUsed: runtime.GOMAXPROCS(0),
			GoVersion: runtime.Version(),
		},
		Target: report.Target{
			URL: cfg.RedactedURL(), Method: cfg.Method,
			Hostname: cfg.URL.Hostname(), Port: cfg.Port(), Path: cfg.RequestTarget,
		},
		Load: report.Load{
			Mode: "closed", Requests: requests, Unsent: r.unsent, Concurrency: cfg.Clients, KeepAlive: cfg.KeepAlive,
			AnyLength: r.anyLength(), Transport: cfg.Transport,
		},
	}
	if r.schedule != nil {
		result.Offered = r.offered()
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
	result.Client.CPU, result.SuccessfulPerSecond = r.cpu, r.rate()
	result.Fill(&r.summary)
	return result
}
