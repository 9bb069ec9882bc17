package pgstore_test

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// proxied returns a pool that connects to a new database through a proxy, and one that connects directly.
func proxied(t *testing.T) (pool, direct *pgxpool.Pool, proxy *toxiproxy.Proxy) {
	t.Helper()
	direct = pgtest.Pool(t)
	pool, proxy = proxyTo(t, direct)
	return pool, direct, proxy
}

// proxyTo returns a pool that connects to the database of another one through a proxy.
func proxyTo(t *testing.T, direct *pgxpool.Pool) (pool *pgxpool.Pool, proxy *toxiproxy.Proxy) {
	t.Helper()
	cfg := direct.Config()
	address := net.JoinHostPort(cfg.ConnConfig.Host, strconv.Itoa(int(cfg.ConnConfig.Port)))
	proxy = pgtest.Proxy(t, address)
	host, port, err := net.SplitHostPort(proxy.Listen)
	require.NoError(t, err)
	number, err := strconv.ParseUint(port, 10, 16)
	require.NoError(t, err)
	cfg.ConnConfig.Host, cfg.ConnConfig.Port, cfg.ConnConfig.Fallbacks = host, uint16(number), nil
	pool, err = pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool, proxy
}

// A network that swallows everything without closing connections does not keep an update from ending.
func TestUpdateDoesNotHang(t *testing.T) {
	pool, direct, proxy := proxied(t)
	const users = 5_000
	patient, err := pgstore.New(direct, pgstore.Config{})
	require.NoError(t, err)
	require.NoError(t, patient.Migrate(t.Context()))
	require.NoError(t, patient.Seed(t.Context(), users))

	// Long enough for each step of an update that works, also on a busy machine.
	store, err := pgstore.New(pool, pgstore.Config{BatchSize: 100, Workers: 1, RetryTimeout: 10 * time.Second})
	require.NoError(t, err)
	var undo []func()
	ended := make(chan error, 1)
	go func() {
		_, err := store.UpdateAll(points.WithProgress(context.Background(), func(done, _ int64) {
			if done == 1_000 {
				undo = append(undo, pgtest.Toxic(t, proxy, "timeout", "downstream", map[string]int{"timeout": 0}),
					pgtest.Toxic(t, proxy, "timeout", "upstream", map[string]int{"timeout": 0}))
			}
		}), 1)
		ended <- err
	}()
	select {
	case err := <-ended:
		require.Error(t, err)
		require.Len(t, undo, 2, "the update was under way when the network went silent: %v", err)
		assert.Positive(t, missed(t, direct, 1))
	case <-time.After(5 * time.Minute):
		require.Fail(t, "the update hangs")
	}
	for _, undo := range undo {
		undo()
	}
	require.Eventually(t, func() bool {
		n, err := patient.UpdateAll(t.Context(), 2)
		return err == nil && n == users
	}, 2*time.Minute, 10*time.Millisecond, "the next one succeeds")
}

// A connection whose other end is silent leaves the pool as soon as a read has given up on it. pgx would keep its place
// for the 15 seconds that it waits for an orderly end, and block reads after an outage.
func TestSilentConnectionsLeaveThePool(t *testing.T) {
	pool, _, proxy := proxied(t)
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	require.NotZero(t, pool.Stat().TotalConns())
	for _, stream := range []string{"downstream", "upstream"} {
		t.Cleanup(pgtest.Toxic(t, proxy, "timeout", stream, map[string]int{"timeout": 0}))
	}
	for _, do := range map[string]func(context.Context) error{
		"read": func(ctx context.Context) error { _, err := store.UsersAbove(ctx, 50, 2); return err },
		"ping": store.Ping,
	} {
		for pool.Stat().IdleConns() > 0 {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			require.Error(t, do(ctx))
			cancel()
		}
	}
	require.Eventually(t, func() bool { return pool.Stat().TotalConns() == 0 }, 10*time.Second, time.Millisecond)
}

// Wherever a connection is cut, even within an answer, the operation fails or is retried. Once connections hold again, all
// operations succeed.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	pool, direct, proxy := proxied(t)
	const users = 1000
	failed := map[string]int{}
	for cut := 0; cut < 8000; cut += 97 {
		cfg := pgstore.Config{Table: fmt.Sprintf("users_%d", cut), BatchSize: 100, RetryTimeout: 50 * time.Millisecond}
		store, err := pgstore.New(pool, cfg)
		require.NoError(t, err)
		pool.Reset()
		undo := pgtest.Toxic(t, proxy, "limit_data", "downstream", map[string]int{"bytes": cut})
		for name, do := range map[string]func(context.Context) error{
			"Ping":    store.Ping,
			"Migrate": store.Migrate,
			"Seed":    func(ctx context.Context) error { return store.Seed(ctx, users) },
			"Check":   store.Check,
			"Update":  func(ctx context.Context) error { _, err := store.UpdateAll(ctx, 1); return err },
			"Read":    func(ctx context.Context) error { _, err := store.UsersAbove(ctx, 50, 2); return err },
			"Count":   func(ctx context.Context) error { _, err := store.Count(ctx); return err },
		} {
			if err := do(t.Context()); err != nil {
				failed[name]++
				require.ErrorContains(t, err, "pgstore: ")
			}
		}
		undo()

		cfg.RetryTimeout = 0 // the default
		whole, err := pgstore.New(direct, cfg)
		require.NoError(t, err)
		require.NoError(t, whole.Migrate(t.Context()))
		require.NoError(t, whole.Seed(t.Context(), users))
		require.Eventually(t, func() bool { // the lease of an update that was cut may be held a moment longer
			n, err := whole.UpdateAll(t.Context(), 2)
			return err == nil && n == users
		}, time.Minute, time.Millisecond)
	}
	for _, name := range []string{"Ping", "Migrate", "Seed", "Check", "Update", "Read", "Count"} {
		assert.NotZero(t, failed[name], "%s was never cut", name)
	}
}
