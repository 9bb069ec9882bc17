package backend

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
)

// Settings of the pool in the connection string are kept. The others get defaults with which a server starts, or fails
// to start, within seconds.
func TestPool(t *testing.T) {
	t.Parallel()
	for url, want := range map[config.DatabaseURL]struct {
		timeout     time.Duration
		connections int32
		application string
	}{
		"postgres://db/points": {2 * time.Second, 10, "points-server"},
		"postgres://db/points?connect_timeout=3&pool_max_conns=9&application_name=mine": {3 * time.Second, 9, "mine"},
		"host=db connect_timeout=60 pool_max_conns=4":                                   {time.Minute, 4, "points-server"},
	} {
		cfg := config.Defaults()
		cfg.DatabaseURL = url
		backend, err := openPostgres(cfg, nil, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		p, ok := backend.(*postgres)
		require.True(t, ok)
		got := p.pool.Config()
		assert.Equal(t, want.timeout, got.ConnConfig.ConnectTimeout)
		assert.Equal(t, want.connections, got.MaxConns)
		assert.Equal(t, want.application, got.ConnConfig.RuntimeParams["application_name"])
		backend.Close()
	}
}

// A cancelled preparation fails with the context's error, even if the database's error is another one.
func TestCancelledPreparation(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			cancel()
			c.Close() // the client sees an unexpected EOF
		}
	}()
	cfg := config.Defaults()
	cfg.DatabaseURL = config.DatabaseURL("postgres://" + listener.Addr().String() + "/points?sslmode=disable")
	backend, err := openPostgres(cfg, nil, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	defer backend.Close()
	_, err = backend.Prepare(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	assert.EqualError(t, err, "preparing the table: context canceled")
}
