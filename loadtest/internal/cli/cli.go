// Package cli is the loadtest command: it parses the flags, runs the load, and writes the reports.
//
//	code := cli.Run(ctx, []string{"-n", "10000", "-c", "100", "http://127.0.0.1:4000/"}, os.Stdout, os.Stderr)
//
// cli.go decides what to do, load.go runs one load, findmax.go searches for the highest rate, and run.go connects the
// packages that generate load (attack, transport) with those that evaluate it (record, contract).
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/pflag"

	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
	"github.com/pointsapp/pointsapp/loadtest/internal/metrics"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // see flags.Usage for the reasons
	exitUsage  = 2
)

// Run executes the command with the arguments after the program's name, and returns the exit code. Each error and each
// note is one line on stderr.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	parse, run := flags.Parse, (*command).run
	if len(args) > 0 && args[0] == "merge" {
		parse, run, args = flags.ParseMerge, (*command).merge, args[1:]
	}
	cfg, err := parse(args)
	switch {
	case errors.Is(err, pflag.ErrHelp):
		fmt.Fprint(stdout, flags.Usage())
		return exitOK
	case errors.Is(err, flags.ErrVersion):
		fmt.Fprintln(stdout, version())
		return exitOK
	case err != nil:
		fmt.Fprintf(stderr, "loadtest: %v\n", err)
		return exitUsage
	}
	for _, text := range cfg.Notes {
		note(stderr, text)
	}
	if len(cfg.Ignored) > 0 {
		note(stderr, "ignored flags of ab: "+strings.Join(cfg.Ignored, ", "))
	}
	c := command{cfg: cfg, stdout: stdout, stderr: stderr}
	var failures []error
	if err := run(&c, ctx); err != nil {
		failures = append(failures, err)
	}
	failures = append(failures, c.writeErrors...)
	for _, err := range failures {
		if !errors.Is(err, errCheckFailed) { // it is in the report
			fmt.Fprintf(stderr, "loadtest: %v\n", err)
		}
	}
	switch {
	case len(failures) == 0:
		return exitOK
	case errors.Is(failures[0], errUsage):
		return exitUsage
	}
	return exitFailed
}

// note writes a line that is not an error to stderr.
func note(stderr io.Writer, text string) { fmt.Fprintf(stderr, "loadtest: note: %s\n", text) }

// errUsage is the kind of a usage error that depends on the content of the files that the command line names.
var errUsage = errors.New("usage error")

// A usageError is an errUsage with a text.
type usageError string

func (e usageError) Error() string { return string(e) }

func (e usageError) Is(target error) bool { return target == errUsage }

// errCheckFailed reports a failed assertion, SLO or contract check.
var errCheckFailed = errors.New("check failed")

// A command is one execution of loadtest.
type command struct {
	cfg            *flags.Config
	stdout, stderr io.Writer
	target         target
	out            *outputs
	writeErrors    []error           // of files that could not be written
	exporter       *metrics.Exporter // nil: no metrics
	sim            *simulation
	currentRun     string // such as "old run 2 of 5"; "" for a single run
}

func (c *command) run(ctx context.Context) (err error) {
	if c.out, err = openOutputs(ctx, c.cfg, c.stdout); err != nil {
		return err
	}
	defer c.out.close()
	if _, err := c.oldMetrics(); err != nil { // fail now, not after the run
		return err
	}
	if c.cfg.UsesStdout() {
		c.stdout = c.stderr
	}
	if c.cfg.Reference {
		server, err := startReferenceServer(ctx)
		if err != nil {
			return err
		}
		defer server.close()
		c.cfg.URL = server.url
	}
	defer c.filterLog()()
	if ignoresProxy(c.cfg) {
		note(c.stderr, "the proxy of the environment is ignored: use -X or -transport "+flags.NetHTTP)
	}
	if c.target, err = newTarget(ctx, c.cfg); err != nil {
		return err
	}
	if err = c.checkOld(); err != nil {
		return err
	}
	if c.cfg.Metrics != "" {
		if c.exporter, err = metrics.Serve(ctx, c.cfg.Metrics); err != nil {
			return err
		}
		defer c.exporter.Close()
		note(c.stderr, "metrics at "+c.exporter.URL())
	}
	defer limitCPUs(c.cfg, c.target)()
	return c.start(ctx)
}

// start prints the title and generates the load.
func (c *command) start(ctx context.Context) error {
	fmt.Fprintf(c.stdout, "%s\n\n", title(c.cfg))
	if c.cfg.FindMax {
		return c.findMax(ctx)
	}
	return c.load(ctx)
}

// title returns the first lines of the report: the kind of load, and from when latency is measured.
func title(cfg *flags.Config) string {
	switch {
	case cfg.FindMax:
		return fmt.Sprintf("This is loadtest, searching for the highest rate that meets %s, with open loops of %v.",
			cfg.SLOText, cfg.Duration)
	case cfg.Rate != nil:
		return fmt.Sprintf("This is loadtest, open loop: %s for %v.\n"+
			"Latency is measured from when a request was due, so it includes the time spent waiting for a free client.",
			perSecond(cfg.Rate), cfg.Duration)
	case cfg.Requests == flags.NoRequestLimit:
		return fmt.Sprintf("This is loadtest, closed loop like ab: %s for %v.\n"+
			"Latency is measured from when a request was sent.", report.Plural(cfg.Clients, "client", "clients"), cfg.Duration)
	default:
		return fmt.Sprintf("This is loadtest, closed loop like ab: %s.\n"+
			"Latency is measured from when a request was sent.", report.Plural(cfg.Clients, "client", "clients"))
	}
}
