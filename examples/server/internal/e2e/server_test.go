package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
	"github.com/pointsapp/pointsapp/examples/server/internal/server"
	"github.com/pointsapp/pointsapp/internal/pgtest"
)

// onEachStore runs a test on users in memory, and on users in PostgreSQL.
func onEachStore(t *testing.T, test func(t *testing.T, cfg config.Config)) {
	t.Run("memory", func(t *testing.T) {
		t.Parallel()
		cfg := config.Defaults()
		cfg.QueryTimeout = config.Duration(patience) // a busy machine is no outage
		test(t, cfg)
	})
	t.Run("PostgreSQL", func(t *testing.T) {
		t.Parallel()
		test(t, configFor(pgtest.URL(t)))
	})
}

// The first query returns no timestamp, each other one that of another query; each client's increase.
func TestTimestampsStrictlyIncrease(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, cfg config.Config) {
		const clients, queries = 32, 50
		cfg.Users = 10_000
		cfg.Interval = config.Duration(20 * time.Millisecond) // updates run meanwhile
		r := startReady(t, cfg)

		first, err := parseResult(r.get(t, "/"))
		require.NoError(t, err)
		require.Nil(t, first.Timestamp)

		var mu sync.Mutex
		var all []string
		var waiting sync.WaitGroup
		for range clients {
			waiting.Go(func() {
				own := r.query(t, queries)
				assert.True(t, slices.IsSorted(own))
				mu.Lock()
				defer mu.Unlock()
				all = append(all, own...)
			})
		}
		waiting.Wait()
		slices.Sort(all)
		assert.Len(t, slices.Compact(all), clients*queries)
	})
}

// query asks n times, one after the other, and returns the timestamps.
func (r *testServer) query(t *testing.T, n int) []string {
	var timestamps []string
	for range n {
		a, err := r.do(http.MethodGet, "/")
		if !assert.NoError(t, err) {
			break
		}
		result, err := parseResult(a)
		if !assert.NoError(t, err) || !assert.NotNil(t, result.Timestamp) {
			break
		}
		timestamps = append(timestamps, *result.Timestamp)
	}
	return timestamps
}

// Over the wire: HEAD has GET's headers and no body, problems are problems, and connections are kept alive.
func TestOverTheWire(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, cfg config.Config) {
		cfg.Users = 10
		cfg.UpdateOnStart = false
		r := startReady(t, cfg)

		head, err := r.do(http.MethodHead, "/")
		require.NoError(t, err)
		got := r.get(t, "/")
		again := r.get(t, "/")
		assert.Empty(t, head.body)
		assert.Equal(t, strconv.Itoa(len(`{"users":[],"timestamp":null}`)), head.header.Get("Content-Length"))
		assert.Equal(t, strconv.Itoa(len(got.body)), got.header.Get("Content-Length"))
		head.header.Del("Content-Length")
		got.header.Del("Content-Length")
		head.header.Del("Date")
		got.header.Del("Date")
		assert.Equal(t, head.header, got.header)
		assert.Empty(t, got.header.Get("Connection"))
		second, err := parseResult(got)
		require.NoError(t, err)
		third, err := parseResult(again)
		require.NoError(t, err)
		require.NotNil(t, second.Timestamp, "HEAD is a query, too")
		require.NotNil(t, third.Timestamp)
		assert.Less(t, *second.Timestamp, *third.Timestamp)

		assertProblem(t, r.get(t, "/x"), http.StatusNotFound, "There is nothing at this path.")
		posted, err := r.do(http.MethodPost, "/")
		require.NoError(t, err)
		assertProblem(t, posted, http.StatusMethodNotAllowed, "This path answers GET and HEAD only.")
		assert.Equal(t, http.StatusOK, r.get(t, "/healthz").status)
		assert.Equal(t, http.StatusOK, r.get(t, "/readyz").status)
	})
}

// The server works with any number of users, also with none.
func TestNumbersOfUsers(t *testing.T) {
	t.Parallel()
	for _, users := range []config.Users{0, 1, 10} {
		t.Run(fmt.Sprint(users), func(t *testing.T) {
			t.Parallel()
			onEachStore(t, func(t *testing.T, cfg config.Config) {
				cfg.Users = users
				cfg.Interval = config.Duration(5 * time.Millisecond)
				r := startReady(t, cfg)
				assert.Contains(t, r.log.String(), fmt.Sprintf("users=%d", users))
				require.Eventually(t, func() bool {
					result, err := parseResult(r.get(t, "/"))
					return err == nil && len(result.Users) == min(int(users), 2) // a busy machine may answer with 504
				}, patience, pollInterval)
			})
		})
	}
}

// Ticks come at the interval, and /updates and /readyz have their updates.
func TestUpdates(t *testing.T) {
	t.Parallel()
	onEachStore(t, func(t *testing.T, cfg config.Config) {
		cfg.Users = 1000
		cfg.UpdateOnStart = false
		cfg.Interval = config.Duration(50 * time.Millisecond)
		r := startReady(t, cfg)
		require.Eventually(t, func() bool {
			var ready struct {
				Update struct {
					LastSuccess struct {
						Users     int64     `json:"users"`
						StartedAt time.Time `json:"started_at"`
						EndedAt   time.Time `json:"ended_at"`
					} `json:"last_success"`
				} `json:"update"`
			}
			require.NoError(t, json.Unmarshal(r.get(t, "/readyz").body, &ready))
			last := ready.Update.LastSuccess
			return last.Users == 1000 && last.EndedAt.After(last.StartedAt)
		}, patience, pollInterval)
		assert.Contains(t, r.log.String(), `msg="update done" users=1000`)
		assert.Equal(t, 1, strings.Count(r.log.String(), `level=WARN msg="the interval is below 1 second`))
		require.Eventually(t, func() bool { // with a shared state, /updates lags behind /readyz
			return strings.Contains(string(r.get(t, "/updates").body), `"users":1000,"failed":false}`)
		}, patience, pollInterval)
	})
}

func TestOpenErrors(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { taken.Close() })
	for name, test := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"taken port": {
			func(c *config.Config) { c.Addr = config.Address(taken.Addr().String()) },
			taken.Addr().String() + ": another program listens there: stop it, or choose another port, see -addr (ADDR)",
		},
		"taken port, before the database is even looked at": {
			func(c *config.Config) {
				c.Addr, c.DatabaseURL = config.Address(taken.Addr().String()), "postgres://127.0.0.1:1/points"
			},
			taken.Addr().String() + ": another program listens there: stop it, or choose another port, see -addr (ADDR)",
		},
		"foreign address": {
			func(c *config.Config) { c.Addr = "192.0.2.1:4000" },
			"192.0.2.1:4000: this machine does not have that address: see -addr (ADDR)",
		},
		"interval": {
			func(c *config.Config) { c.Interval = 1 },
			"points: Config.Interval must be at least 1ms, got 1ns",
		},
		"malformed URL": {
			func(c *config.Config) { c.DatabaseURL = "postgres://me:s3cret@db:port/points" },
			"must look like postgres://user:password@host:5432/database: invalid port",
		},
		"small pool": {
			func(c *config.Config) { c.DatabaseURL = "postgres://me:s3cret@db/points?pool_max_conns=2" },
			"pgstore: the pool must allow at least Config.Workers + 2 = 4 connections, got 2: " +
				"set pool_max_conns=4 or fewer Workers, see -database-url (DATABASE_URL)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := config.Defaults()
			cfg.Addr, cfg.Users = "127.0.0.1:0", 1
			test.change(&cfg)
			var log bytes.Buffer
			_, err := server.Open(cfg, &log)
			require.EqualError(t, err, test.want)
			assert.Empty(t, log.String())
		})
	}
}

func TestClose(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Addr, cfg.DatabaseURL = "127.0.0.1:0", "postgres://127.0.0.1:1/points"
	server, err := server.Open(cfg, new(bytes.Buffer))
	require.NoError(t, err)
	require.NoError(t, server.Close())
	_, err = net.Dial("tcp", server.Addr().String())
	assert.Error(t, err)
}

// A server that has been stopped accepts no connections.
func TestStopsListening(t *testing.T) {
	t.Parallel()
	r := startReady(t, config.Defaults())
	require.Equal(t, http.StatusOK, r.get(t, "/").status)
	require.NoError(t, r.stop())
	_, err := r.do(http.MethodGet, "/")
	require.Error(t, err)
	assert.Contains(t, r.log.String(), "msg=stopped")
}

// During the shutdown delay, the server is not ready, but answers queries and closes their connections.
func TestShutdownDelay(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Users, cfg.ShutdownDelay = 10, config.Delay(3*time.Second)
	r := startReady(t, cfg)
	closes := func() bool {
		response, err := r.client.Get(r.url + "/")
		require.NoError(t, err)
		defer response.Body.Close()
		assert.Equal(t, http.StatusOK, response.StatusCode)
		return response.Close
	}
	require.False(t, closes())
	began := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	require.Eventually(t, func() bool { return r.get(t, "/readyz").status == http.StatusServiceUnavailable },
		time.Duration(cfg.ShutdownDelay), pollInterval)
	assert.True(t, closes())
	require.NoError(t, <-stopped)
	assert.GreaterOrEqual(t, time.Since(began), time.Duration(cfg.ShutdownDelay))
	_, err := r.do(http.MethodGet, "/")
	require.Error(t, err)
}

// The log can be JSON, and have only records of a level.
func TestLogFormat(t *testing.T) {
	t.Parallel()
	cfg := config.Defaults()
	cfg.Users, cfg.LogFormat, cfg.Instance = 10, "json", "one"
	r := startReady(t, cfg)
	require.NoError(t, r.stop())
	lines := bytes.Split(bytes.TrimSpace([]byte(r.log.String())), []byte("\n"))
	require.NotEmpty(t, lines)
	for _, line := range lines {
		assert.True(t, json.Valid(line), "%s", line)
	}
	var serving map[string]any
	require.NoError(t, json.Unmarshal(lines[0], &serving))
	delete(serving, "time")
	assert.Equal(t, map[string]any{
		"level": "INFO", "msg": "serving", "url": r.url + "/", "store": "memory", "users": 10.0,
		"interval": "1m0s", "instance": "one", "shared": false,
	}, serving)

	require.NoError(t, cfg.LogLevel.UnmarshalText([]byte("warn")))
	r = startReady(t, cfg)
	require.NoError(t, r.stop())
	assert.Empty(t, r.log.String())
}

// With a context that has ended, Run returns at once.
func TestRunEnded(t *testing.T) {
	t.Parallel()
	for _, url := range []config.DatabaseURL{"", "postgres://127.0.0.1:1/points"} {
		cfg := config.Defaults()
		cfg.Addr, cfg.DatabaseURL = "127.0.0.1:0", url
		server, err := server.Open(cfg, new(bytes.Buffer))
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		assert.NoError(t, server.Run(ctx))
	}
}
