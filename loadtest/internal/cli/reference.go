package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// A referenceServer serves 1,000,000 users in memory, in this process and on a free port.
type referenceServer struct {
	url     *url.URL
	server  *http.Server
	stop    context.CancelFunc
	running sync.WaitGroup
	done    chan struct{} // closed when the server has stopped
	err     error         // from the server; valid once done is closed
}

// startReferenceServer returns when the server is ready. The caller must close it.
func startReferenceServer(ctx context.Context) (*referenceServer, error) {
	r, err := newReferenceServer(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot start the reference server: %w", err)
	}
	return r, nil
}

func newReferenceServer(ctx context.Context) (*referenceServer, error) {
	const users = 1_000_000
	store, err := memstore.NewContext(ctx, users)
	if err != nil {
		return nil, err
	}
	engine, err := points.New(store, points.Config{UpdateOnStart: true})
	if err != nil {
		return nil, err
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	discard := slog.New(slog.DiscardHandler) // a log would mix with the report
	handler := pointshttp.NewHandler(engine, pointshttp.Config{Logger: discard})
	ctx, stop := context.WithCancel(context.WithoutCancel(ctx))
	r := &referenceServer{
		url:    &url.URL{Scheme: "http", Host: listener.Addr().String(), Path: "/"},
		server: pointshttp.NewServer(handler, points.DefaultQueryTimeout, discard),
		stop:   stop, done: make(chan struct{}),
	}
	r.running.Go(func() { engine.Run(ctx) }) //nolint:errcheck // it ends when ctx does
	go func() {
		defer close(r.done)
		if err := pointshttp.Serve(r.server, listener); !errors.Is(err, http.ErrServerClosed) {
			r.err = err
		}
	}()
	return r, nil
}

// close stops the server and waits for it.
func (r *referenceServer) close() {
	r.server.Close() //nolint:errcheck // no query is waiting
	r.stop()
	r.running.Wait()
	<-r.done
}
