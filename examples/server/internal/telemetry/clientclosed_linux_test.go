package telemetry

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// A client that closes or resets its connection before it has the answer is not counted as answered.
func TestClosedClientsAreCounted(t *testing.T) {
	t.Parallel()
	store := &heldStore{reads: make(chan struct{}, 10), release: make(chan struct{})}
	engine, err := points.New(store, points.Config{QueryTimeout: time.Hour})
	require.NoError(t, err)
	tele, err := New(t.Context(), "one", nil, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer func() { assert.NoError(t, tele.Shutdown(t.Context())) }()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := pointshttp.NewServer(tele.Middleware(pointshttp.NewHandler(engine, pointshttp.Config{}), []string{"/"}), time.Minute, slog.New(slog.DiscardHandler))
	served := make(chan error)
	go func() { served <- pointshttp.Serve(server, listener) }()
	defer func() {
		assert.NoError(t, server.Close())
		assert.ErrorIs(t, <-served, http.ErrServerClosed)
	}()
	clients := make([]*net.TCPConn, 0, 3)
	for range 3 {
		c, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(t, err)
		defer c.Close()
		_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		clients = append(clients, c.(*net.TCPConn))
		require.Eventually(t, func() bool { return len(store.reads) == 1 && engine.State().Waiting == len(clients) },
			time.Minute, time.Millisecond)
	}
	stays, closes, resets := clients[0], clients[1], clients[2]
	require.NoError(t, closes.Close())
	require.NoError(t, errors.Join(resets.SetLinger(0), resets.Close()))
	requireCounts := func(want map[string]uint64) {
		t.Helper()
		require.Eventually(t, func() bool { return maps.Equal(want, requestsByStatus(t, tele)) }, time.Minute, time.Millisecond)
	}
	requireCounts(map[string]uint64{"499": 1}) // the request of the reset connection ends
	close(store.release)
	response, err := http.ReadResponse(bufio.NewReader(stays), nil)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	requireCounts(map[string]uint64{"200": 1, "499": 2})
}

// requestsByStatus returns the number of requests by their recorded status.
func requestsByStatus(t *testing.T, tele *Telemetry) map[string]uint64 {
	t.Helper()
	families, err := tele.Registry().Gather()
	require.NoError(t, err)
	counts := make(map[string]uint64)
	for _, family := range families {
		if family.GetName() != "http_server_request_duration_seconds" {
			continue
		}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				if label.GetName() == "http_response_status_code" {
					counts[label.GetValue()] += metric.GetHistogram().GetSampleCount()
				}
			}
		}
	}
	return counts
}

// heldStore is a store without users whose reads wait until release is closed.
type heldStore struct {
	reads   chan struct{} // has one element for each read that has begun
	release chan struct{}
}

func (s *heldStore) Capabilities() points.Capabilities                { return points.Capabilities{} }
func (s *heldStore) UpdateAll(context.Context, uint64) (int64, error) { return 0, nil }

func (s *heldStore) UsersAbove(context.Context, int, int) ([]points.User, error) {
	s.reads <- struct{}{}
	<-s.release
	return []points.User{}, nil
}
