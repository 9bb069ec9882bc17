// Command server is the reference server: an HTTP server around an engine of package points.
//
//	server                                                # in memory, 1,000,000 users
//	server -database-url postgres://user:password@host/db # in PostgreSQL: creates and seeds the table if need be
//
// It logs to standard error; only -h, -version and -print-config write to standard output. Exit codes: 0 after SIGTERM,
// an interrupt, or SIGHUP, which has no effect after nohup; 2 if a flag or its environment variable is invalid; 1 if it
// cannot start or continue, also because of an OpenTelemetry variable.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/examples/server/internal/server"
	"github.com/pointsapp/pointsapp/examples/server/internal/telemetry"
	"github.com/pointsapp/pointsapp/examples/server/internal/version"
)

func main() {
	os.Exit(run(os.Args[1:], os.Environ(), os.Stdout, os.Stderr, newExporter()))
}

// run runs the command and returns its exit code. newExporter exports traces and metrics; nil if the program is built
// without that.
func run(args, environ []string, stdout, stderr io.Writer, newExporter telemetry.NewExporter) (code int) {
	var text strings.Builder // for stdout
	cfg, action, err := config.Parse(args, environ, &text)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return write(text.String(), stdout, stderr)
	case err != nil:
		fmt.Fprintf(stderr, "server: %v (-h explains all flags)\n", err)
		return 2
	}
	switch action {
	case config.ActionVersion:
		info, _ := debug.ReadBuildInfo()
		return write(version.Describe(info)+"\n", stdout, stderr)
	case config.ActionPrintConfig:
		cfg.Print(&text)
		return write(text.String(), stdout, stderr)
	case config.ActionHealthcheck:
		if err := server.Healthcheck(context.Background(), cfg.Addr); err != nil {
			fmt.Fprintf(stderr, "server: %v\n", err)
			return 1
		}
		return 0
	default:
		for _, name := range config.Misspelt(environ) {
			server.NewLogger(cfg, stderr).Warn("unknown environment variable", "name", name)
		}
		return serve(cfg, stderr, newExporter)
	}
}

// write writes to standard output and returns the exit code.
func write(text string, stdout, stderr io.Writer) (code int) {
	if _, err := io.WriteString(stdout, text); err != nil {
		fmt.Fprintf(stderr, "server: %v\n", err)
		return 1
	}
	return 0
}

// gcPercent replaces the garbage collector's default of 100 if the users are in a database. The heap is then only a few
// MB, so under load the collector would run dozens of times a second, for about 5% of the CPU time.
const gcPercent = 400

// serve serves until a signal comes.
func serve(cfg config.Config, stderr io.Writer, newExporter telemetry.NewExporter) (code int) {
	// Otherwise the first write to a log whose reader has exited would kill the process.
	signal.Ignore(syscall.SIGPIPE)
	signals := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signals = append(signals, syscall.SIGHUP)
	}
	ctx, stop := signal.NotifyContext(context.Background(), signals...)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once

	if cfg.DatabaseURL != "" && os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	logger := server.NewLogger(cfg, stderr)
	s, err := server.Open(cfg, stderr, server.WithExporter(newExporter))
	if err == nil {
		err = s.Run(ctx)
	}
	if err != nil {
		logger.Error(err.Error())
		return 1
	}
	return 0
}
