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
)

// proxied returns a pool on a new database by way of a proxy, and one that goes straight to it.
func proxied(t *testing.T) (pool, direct *pgxpool.Pool, proxy *toxiproxy.Proxy) {
	t.Helper()
	direct = pgtest.Pool(t)
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
	return pool, direct, proxy
}

// A network that swallows everything, and tells nobody, ends an update in time.
func TestUpdateDoesNotHang(t *testing.T) {
	pool, _, proxy := proxied(t)
	const users = 50_000
	store, err := pgstore.New(pool, pgstore.Config{
		BatchSize: 10, Pause: time.Millisecond, RetryTimeout: 300 * time.Millisecond,
	})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
	require.NoError(t, store.Seed(t.Context(), users, nil))

	ended := make(chan error, 1)
	go func() {
		_, err := store.UpdateAll(context.Background(), 1)
		ended <- err
	}()
	require.Eventually(t, func() bool {
		users, err := store.UsersAbove(t.Context(), 50, 2)
		return err == nil && len(users) == 2
	}, time.Minute, time.Millisecond, "the update has begun")
	back := pgtest.Toxic(t, proxy, "timeout", "downstream", map[string]int{"timeout": 0})
	forth := pgtest.Toxic(t, proxy, "timeout", "upstream", map[string]int{"timeout": 0})
	select {
	case err := <-ended:
		require.Error(t, err)
	case <-time.After(time.Minute):
		require.Fail(t, "the update hangs")
	}
	back()
	forth()
	whole, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		n, err := whole.UpdateAll(t.Context(), 2)
		return err == nil && n == users
	}, time.Minute, 10*time.Millisecond, "the next one succeeds")
}

// A connection whose other end is silent takes no place in the pool once a read has given up on it: pgx would wait for 15
// seconds for its orderly end, and after an outage all reads with it.
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

// Wherever connections are cut, in mid-answer, whatever was under way fails or is done again; and when they are not cut
// any more, all of it succeeds from where it was.
func TestCutAnywhere(t *testing.T) {
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
			"Seed":    func(ctx context.Context) error { return store.Seed(ctx, users, nil) },
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
		require.NoError(t, whole.Seed(t.Context(), users, nil))
		require.Eventually(t, func() bool { // the lock of one that was cut may be there a moment longer
			n, err := whole.UpdateAll(t.Context(), 2)
			return err == nil && n == users
		}, time.Minute, time.Millisecond)
	}
	for _, name := range []string{"Ping", "Migrate", "Seed", "Check", "Update", "Read", "Count"} {
		assert.NotZero(t, failed[name], "%s was never cut", name)
	}
}
