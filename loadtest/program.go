package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1 // the target cannot be reached, an assertion or the contract is broken, or the run was interrupted
	exitUsage  = 2
)

// A program is one call of the command.
type program struct {
	stdout, stderr io.Writer
}

// run does what args say and returns the exit code. An error is one line on stderr.
func (p *program) run(ctx context.Context, args []string) int {
	cfg, err := parseFlags(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprint(p.stdout, usage())
		return exitOK
	case err != nil:
		fmt.Fprintf(p.stderr, "loadtest: %v\n", err)
		return exitUsage
	}
	err = p.measure(ctx, cfg)
	switch {
	case errors.Is(err, errBroken): // said in the report
		return exitFailed
	case err != nil:
		fmt.Fprintf(p.stderr, "loadtest: %v\n", err)
		return exitFailed
	}
	return exitOK
}

// errBroken says that a promise was broken: an assertion, the contract, or to run to the end.
var errBroken = errors.New("broken")

// measure runs the load test and reports it.
func (p *program) measure(ctx context.Context, cfg *config) error {
	out, err := openOutputs(cfg)
	if err != nil {
		return err
	}
	defer out.close()
	if cfg.reference {
		reference, err := startReference(ctx)
		if err != nil {
			return err
		}
		defer reference.close()
		cfg.url = reference.url
	}
	target, err := reach(ctx, cfg)
	if err != nil {
		return err
	}
	defer limitCPUs(cfg, target)()
	fmt.Fprintf(p.stdout, "%s\n\n", cfg.title())
	if cfg.findMax {
		return p.findMax(ctx, cfg, target, out)
	}
	return p.load(ctx, cfg, target, out)
}
