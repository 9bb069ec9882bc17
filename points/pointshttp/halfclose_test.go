package pointshttp

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
)

// A client that closes its side of the connection after its request (shutdown(2), nc -N) gets its answer, as from plain
// net/http: also when its request and its FIN arrive before the connection is accepted, and when the store takes longer
// than the first look at the connection.
func TestHalfClosedClientsAreAnswered(t *testing.T) {
	t.Parallel()
	for name, store := range map[string]points.Store{
		"fast store": delayedStore{}, "slow store": delayedStore{delay: 3 * checkInterval},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			engine, err := points.New(store, points.Config{})
			require.NoError(t, err)
			handler := NewHandler(engine, Config{})
			t.Run("Serve", func(t *testing.T) {
				listener, err := net.Listen("tcp", "127.0.0.1:0")
				require.NoError(t, err)
				early := make([]*net.TCPConn, 10) // in the backlog, with request and FIN
				for i := range early {
					early[i] = halfClosed(t, listener.Addr().String())
				}
				server := NewServer(handler, time.Minute, slog.New(slog.DiscardHandler))
				served := make(chan error)
				go func() { served <- Serve(server, listener) }()
				defer func() {
					assert.NoError(t, server.Close())
					assert.ErrorIs(t, <-served, http.ErrServerClosed)
				}()
				for _, c := range early {
					requireAnswer(t, c)
				}
				for range 10 {
					requireAnswer(t, halfClosed(t, listener.Addr().String()))
				}
			})
			t.Run("plain net/http", func(t *testing.T) {
				server := httptest.NewServer(handler)
				defer server.Close()
				for range 10 {
					requireAnswer(t, halfClosed(t, server.Listener.Addr().String()))
				}
			})
		})
	}
}

// halfClosed sends a request and then closes its side of the connection.
func halfClosed(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	_, err = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	tcp, ok := c.(*net.TCPConn)
	require.True(t, ok)
	require.NoError(t, tcp.CloseWrite())
	return tcp
}

func requireAnswer(t *testing.T, c net.Conn) {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	require.NoError(t, err, "no answer")
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, response.StatusCode, "%s", body)
}

// delayedStore is a store without users whose reads take a while.
type delayedStore struct{ delay time.Duration }

func (s delayedStore) UsersAbove(ctx context.Context, _, _ int) ([]points.User, error) {
	select {
	case <-time.After(s.delay):
		return []points.User{}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (delayedStore) UpdateAll(context.Context, uint64) (int64, error) { return 0, nil }

func (delayedStore) Capabilities() points.Capabilities { return points.Capabilities{} }
