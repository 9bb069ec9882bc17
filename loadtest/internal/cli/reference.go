package cli

import (
	"context"
	"fmt"
	"io"
	"net/url"

	"github.com/pointsapp/pointsapp/examples/server/app"
)

// A referenceServer is the reference server with its users in memory, run in this process on a free port.
type referenceServer struct {
	url  *url.URL
	stop func()
	done chan struct{} // closed when the server has stopped
	err  error         // from the server; valid once done is closed
}

// startReferenceServer returns when the server is ready. The caller must close it.
func startReferenceServer(ctx context.Context) (*referenceServer, error) {
	cfg := app.Defaults()
	cfg.Addr = "127.0.0.1:0"
	server, err := app.Open(cfg, io.Discard) //nolint:contextcheck // opens no database; its log would mix with the report
	if err != nil {
		return nil, fmt.Errorf("cannot start the reference server: %w", err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &referenceServer{
		url: &url.URL{Scheme: "http", Host: server.Addr().String(), Path: "/"}, stop: stop, done: make(chan struct{}),
	}
	go func() {
		defer close(r.done)
		r.err = server.Run(ctx)
	}()
	select {
	case <-server.Ready():
		return r, nil
	case <-r.done:
		stop()
		return nil, fmt.Errorf("cannot start the reference server: %w", r.err)
	}
}

// close stops the server and waits for it.
func (r *referenceServer) close() {
	r.stop()
	<-r.done
}
