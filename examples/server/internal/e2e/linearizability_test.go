package e2e_test

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/linearizability"
	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// Histories recorded by HTTP clients are linearizable.
func TestOneOrderOverHTTP(t *testing.T) {
	t.Parallel()
	users := []points.User{{ID: 1}, {ID: 2}, {ID: 3}, {ID: 4}, {ID: 5}}
	t.Run("memstore", func(t *testing.T) {
		t.Parallel()
		store, err := memstore.New(len(users))
		require.NoError(t, err)
		linearizability.Test(t, store, users, overHTTP(t))
	})
	t.Run("pgstore", func(t *testing.T) {
		t.Parallel()
		store, err := pgstore.New(pgtest.Pool(t), pgstore.Config{BatchSize: 2})
		require.NoError(t, err)
		require.NoError(t, store.Migrate(t.Context()))
		require.NoError(t, store.Seed(t.Context(), int64(len(users))))
		linearizability.Test(t, store, users, overHTTP(t))
	})
}

// overHTTP returns a way to serve an engine, and to query it as a client does.
func overHTTP(t *testing.T) func(*points.Engine) func(context.Context) (points.Result, error) {
	return func(engine *points.Engine) func(context.Context) (points.Result, error) {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		server := pointshttp.NewServer(pointshttp.NewHandler(engine, pointshttp.Config{}), time.Minute, slog.New(slog.DiscardHandler))
		served := make(chan error)
		go func() { served <- pointshttp.Serve(server, listener) }()
		client := &http.Client{Transport: &http.Transport{}}
		t.Cleanup(func() {
			client.CloseIdleConnections()
			assert.NoError(t, server.Shutdown(context.Background()))
			assert.ErrorIs(t, <-served, http.ErrServerClosed)
		})
		r := testServer{url: "http://" + listener.Addr().String(), client: client}
		return func(context.Context) (points.Result, error) {
			a, err := r.do(http.MethodGet, "/") //nolint:contextcheck // no query is given up
			if err != nil {
				return points.Result{}, err
			}
			answered, err := parseResult(a)
			return answered.points(), err
		}
	}
}

// points returns the result as the engine gave it. The batch is not known.
func (r result) points() points.Result {
	at := func(text string) time.Time {
		t, _ := time.Parse(time.RFC3339Nano, text) // parseResult has parsed it
		return t.UTC()
	}
	p := points.Result{Users: []points.User{}}
	if r.Timestamp != nil {
		p.PreviousTimestamp = at(*r.Timestamp)
	}
	for _, u := range r.Users {
		p.Users = append(p.Users, points.User{
			ID: u.ID, Points: u.Points, InsertedAt: at(u.InsertedAt), UpdatedAt: at(u.UpdatedAt),
		})
	}
	return p
}
