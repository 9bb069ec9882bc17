// Command loadtest measures an HTTP server as ab does, with ab's flags and ab's report, and as ab cannot: at a rate
// instead of with a number of clients, in search of the highest rate that keeps a promise, and with an eye on whether
// the answers of a PointsApp server are right.
//
//	go run ./loadtest -h
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	p := program{stdout: os.Stdout, stderr: os.Stderr}
	code := p.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
