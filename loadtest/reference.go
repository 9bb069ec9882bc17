package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
)

const referenceUsers = 1_000_000

// A reference is the reference server, running in this process, in memory, on a port that the system chose.
type reference struct {
	url    *url.URL
	cancel context.CancelFunc
	ended  chan struct{}
}

// startReference returns once the server answers. Stop it.
func startReference(ctx context.Context) (*reference, error) {
	store, err := memstore.New(referenceUsers)
	if err != nil {
		return nil, fmt.Errorf("the reference server: %w", err)
	}
	engine, err := points.New(store, points.Config{UpdateOnStart: true})
	if err != nil {
		return nil, fmt.Errorf("the reference server: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("the reference server: %w", err)
	}
	server := &http.Server{Handler: answerer(engine), ReadHeaderTimeout: time.Second}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	r := &reference{
		url: &url.URL{Scheme: "http", Host: listener.Addr().String(), Path: "/"}, cancel: cancel, ended: make(chan struct{}),
	}
	go func() {
		defer close(r.ended)
		stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // nothing is waited for
		defer stop()
		go func() { _ = engine.Run(ctx) }() // it ends with ctx
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			cancel()
		}
	}()
	return r, nil
}

func (r *reference) stop() {
	r.cancel()
	<-r.ended
}

func answerer(e *points.Engine) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		res, err := e.Query(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		const layout = "2006-01-02T15:04:05.000000Z07:00"
		b := append(make([]byte, 0, 512), `{"users":[`...)
		for i, u := range res.Users {
			if i > 0 {
				b = append(b, ',')
			}
			b = fmt.Appendf(b, `{"id":%d,"points":%d,"inserted_at":%q,"updated_at":%q}`, u.ID, u.Points,
				u.InsertedAt.Format(layout), u.UpdatedAt.Format(layout))
		}
		b = append(b, `],"timestamp":`...)
		if res.Previous.IsZero() {
			b = append(b, "null"...)
		} else {
			b = res.Previous.AppendFormat(b, `"`+layout+`"`)
		}
		b = append(b, '}')
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(b)))
		_, _ = w.Write(b) // the client has gone
	}
}
