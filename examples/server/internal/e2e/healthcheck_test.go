package e2e_test

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/examples/server/internal/server"
	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// -healthcheck works for every form of -addr.
func TestHealthcheck(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"", "127.0.0.1", "0.0.0.0", "localhost", "[::]", "[::1]"} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			cfg := config.Defaults()
			cfg.Users = 10
			cfg.Addr = config.Address(host + ":0")
			if listener, err := net.Listen("tcp", string(cfg.Addr)); err != nil {
				t.Skipf("this machine has no %s: %v", host, err)
			} else {
				require.NoError(t, listener.Close())
			}
			r := startReady(t, cfg)
			_, port, err := net.SplitHostPort(r.server.Addr().String())
			require.NoError(t, err)
			addr := config.Address(host + ":" + port)
			require.NoError(t, server.Healthcheck(t.Context(), addr))
			require.NoError(t, r.stop())
			assert.ErrorContains(t, server.Healthcheck(t.Context(), addr), ":"+port+": nothing listens there: start the server, or give its address, see -addr (ADDR)")
		})
	}
}

// All of a server can be reached through a Unix socket, which is gone when it has ended.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Users = 10
	path := filepath.Join(t.TempDir(), "socket")
	cfg.Addr = config.Address("unix:" + path)
	require.ErrorContains(t, server.Healthcheck(t.Context(), cfg.Addr), path+": nothing listens there: ")
	r := startReady(t, cfg)
	require.NoError(t, server.Healthcheck(t.Context(), cfg.Addr))
	client := http.Client{Timeout: patience, Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		},
	}}
	for _, target := range []string{"/", "/metrics", "/updates", "/dashboard"} {
		response, err := client.Get("http://localhost" + target)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		assert.Equal(t, http.StatusOK, response.StatusCode, target)
	}
	client.CloseIdleConnections()
	require.NoError(t, r.stop())
	assert.Contains(t, r.log.String(), "msg=serving users=10 url=unix:"+path+" ")
	assert.NoFileExists(t, path)
	require.ErrorContains(t, server.Healthcheck(t.Context(), cfg.Addr), path+": nothing listens there: ")
}

// A server on [::] of a machine without IPv6 listens on IPv4 alone, and one on :port of a machine without IPv4 on IPv6.
func TestHealthcheckOfTheOtherFamily(t *testing.T) {
	t.Parallel()
	for listen, given := range map[string]string{"127.0.0.1:0": "[::]:", "[::1]:0": "0.0.0.0:"} {
		t.Run(given, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", listen)
			if err != nil {
				t.Skipf("this machine has no %s: %v", listen, err)
			}
			other := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			other.Listener.Close()
			other.Listener = listener
			other.Start()
			defer other.Close()
			_, port, err := net.SplitHostPort(listener.Addr().String())
			require.NoError(t, err)
			require.NoError(t, server.Healthcheck(t.Context(), config.Address(given+port)))
		})
	}
}

// An error is one line that says what the matter is.
func TestHealthcheckErrors(t *testing.T) {
	t.Parallel()
	starting := pointshttp.NewHandler(nil, pointshttp.Config{})
	starting.SetStarting("the store is being opened")
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"starting": {
			starting.ServeHTTP,
			`503 Service Unavailable: The server is starting: the store is being opened\.`,
		},
		"no answer": {
			func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			"no answer within 2s",
		},
		"not HTTP": {
			func(w http.ResponseWriter, _ *http.Request) {
				c, _, err := http.NewResponseController(w).Hijack()
				if assert.NoError(t, err) {
					_, _ = c.Write([]byte("hello\r\n"))
					c.Close()
				}
			},
			"no answer: .*malformed HTTP.*",
		},
		"another program": {
			http.NotFound,
			`404 Not Found: another program listens there, see -addr \(ADDR\)`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			other := httptest.NewServer(test.handler)
			defer other.Close()
			host := strings.TrimPrefix(other.URL, "http://")
			err := server.Healthcheck(context.Background(), config.Address(host))
			require.Error(t, err)
			assert.Regexp(t, "^"+host+": "+test.want+"$", err.Error())
		})
	}
	for addr, want := range map[config.Address]string{
		":0":        ":0: port 0 is any free port: give the one that the server listens on, see -addr (ADDR)",
		"localhost": "localhost: address localhost: missing port in address: see -addr (ADDR)",
	} {
		assert.EqualError(t, server.Healthcheck(t.Context(), addr), want)
	}
}
