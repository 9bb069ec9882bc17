package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/ab"
	"github.com/pointsapp/pointsapp/loadtest/attack"
	"github.com/pointsapp/pointsapp/loadtest/promise"
	"github.com/pointsapp/pointsapp/loadtest/record"
	"github.com/pointsapp/pointsapp/loadtest/report"
)

// load runs one load and reports it.
func (p *program) load(ctx context.Context, cfg *config, to target, out *outputs) error {
	t := trial{cfg: cfg, target: to}
	requests := cfg.requests
	if cfg.rate != nil {
		var err error
		if t.schedule, err = attack.NewSchedule(*cfg.rate, cfg.duration); err != nil {
			return err
		}
		requests = t.schedule.Requests()
	}
	bar := newProgress(p.stderr, requests, cfg.quiet)
	t.progress = bar.completed
	p.patience(cfg, bar)
	if err := t.run(ctx); err != nil {
		return err
	}
	bar.finish(t.summary.Complete)
	if bar.every == 0 {
		fmt.Fprint(p.stdout, "..done\n")
	}
	fmt.Fprint(p.stdout, "\n\n")

	run := t.document(requests)
	run.Updates = fetchUpdates(ctx, &t)
	verdicts, kept := promise.Judge(cfg.assertions, t.figures())
	run.Assertions = verdicts
	if err := p.print(&t, run, out.baseline); err != nil {
		return err
	}
	if err := out.write(run, t.summary.Total); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted after %d of %d requests", t.summary.Attempts(), requests)
	case t.summary.Attempts() == t.summary.Failed() && len(t.summary.Failures) > 0:
		return fmt.Errorf("no request was answered: %s", t.summary.Failures[0])
	case !kept || t.checked.Violations > 0:
		return errBroken
	}
	return nil
}

// patience is ab's line at the start.
func (p *program) patience(cfg *config, bar *progress) {
	end := "\n"
	if bar.every == 0 {
		end = "..."
	}
	fmt.Fprintf(p.stdout, "Benchmarking %s (be patient)%s", cfg.url.Hostname(), end)
}

// document is the run as it is kept.
func (t *trial) document(requests int64) *report.Run {
	cfg := t.cfg
	host, _ := os.Hostname() // without one it stays unknown
	run := &report.Run{
		Schema: report.Schema, Name: cfg.url.Host + " " + t.began.Format(time.DateTime),
		Date: t.began.UTC().Truncate(time.Millisecond), Command: cfg.command, Contract: t.checked,
		Host: report.Host{
			Name: host, OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.NumCPU(), CPUsUsed: runtime.GOMAXPROCS(0),
			GoVersion: runtime.Version(),
		},
		Target: report.Target{
			URL: cfg.url.String(), Method: cfg.method,
			Hostname: cfg.url.Hostname(), Port: cfg.port(), Path: cfg.url.RequestURI(),
		},
		Load: report.Load{
			Mode: "closed", Requests: requests, Unsent: t.unsent, Concurrency: cfg.clients, KeepAlive: cfg.keepAlive,
			AnyLength: cfg.anyLength, Transport: cfg.transport,
		},
	}
	if cfg.rate != nil {
		run.Load.Mode, run.Load.Rate = "open", cfg.rate.String()
	}
	run.Fill(&t.summary)
	return run
}

// port is the URL's, or its scheme's.
func (cfg *config) port() string {
	return cmp.Or(cfg.url.Port(), map[string]string{"http": "80", "https": "443"}[cfg.url.Scheme])
}

// write writes the files that are wanted.
func (o *outputs) write(run *report.Run, total *record.Distribution) error {
	if err := replace(o.csv, func(w io.Writer) error { return ab.WriteCSV(w, total) }); err != nil {
		return err
	}
	if err := replace(o.json, run.WriteJSON); err != nil {
		return err
	}
	return replace(o.html, func(w io.Writer) error { return report.WriteHTML(w, run, o.baseline) })
}
