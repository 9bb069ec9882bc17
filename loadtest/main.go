// Command loadtest measures an HTTP server with the most used flags and the report of ab, Apache's HTTP server
// benchmarking tool. Beyond ab it has open loops (a constant rate instead of a number of clients), a search for the
// highest rate that meets an SLO, and checks of the responses of a PointsApp server against its contract.
//
//	go run ./loadtest -h
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/pointsapp/pointsapp/loadtest/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)   // a second signal ends the process
	signal.Ignore(syscall.SIGPIPE) // a run whose stdout is closed still writes its files
	os.Exit(cli.Run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}
