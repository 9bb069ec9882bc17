package main

import (
	"context"
	"fmt"
	"io"
	"net/url"

	"github.com/pointsapp/pointsapp/examples/server/app"
)

// A reference is the reference server, running in this process with users in memory, on a port that the system chose.
type reference struct {
	url   *url.URL
	stop  func()        // ends it
	ended chan struct{} // closed then
	err   error         // of the server, once it has ended
}

// startReference returns once the server answers. Close it.
func startReference(ctx context.Context) (*reference, error) {
	cfg := app.Defaults()
	cfg.Addr = "127.0.0.1:0"
	server, err := app.Open(cfg, io.Discard) //nolint:contextcheck // opens no database; its log would be among ab's lines
	if err != nil {
		return nil, fmt.Errorf("cannot start the reference server: %w", err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &reference{
		url: &url.URL{Scheme: "http", Host: server.Addr().String(), Path: "/"}, stop: stop, ended: make(chan struct{}),
	}
	go func() {
		defer close(r.ended)
		r.err = server.Run(ctx)
	}()
	select {
	case <-server.Ready():
		return r, nil
	case <-r.ended:
		stop()
		return nil, fmt.Errorf("cannot start the reference server: %w", r.err)
	}
}

// close stops the server, which has nothing to wait for.
func (r *reference) close() {
	r.stop()
	<-r.ended
}
