package bench

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/pgtest"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
)

// BenchmarkOldSnapshot reads continuously while all users are updated, 20 times with an old snapshot held by another
// transaction. For each state it reports the worst 99th percentile of the reads during one update, in ms, and the median
// duration of an update, in seconds. It takes the worst because PostgreSQL places new row versions differently each time.
func BenchmarkOldSnapshot(b *testing.B) {
	held := 20
	if testing.Short() {
		held = 4
	}
	pool := pgtest.Pool(b)
	likePgstores(b, pool, "users")
	store, err := pgstore.New(pool, pgstore.Config{})
	require.NoError(b, err)
	for key := range uint64(2) {
		_, err := store.UpdateAll(b.Context(), key)
		require.NoError(b, err)
	}
	s := startSampler(b, pool)
	var states []string
	took := map[string][]float64{}
	mebibytes := map[string]float64{}
	update := func(state string, updates int) {
		states = append(states, state)
		for i := range updates {
			s.enter(state+"-updating", i)
			began := time.Now()
			_, err := store.UpdateAll(b.Context(), uint64(began.UnixNano()))
			require.NoError(b, err)
			took[state] = append(took[state], time.Since(began).Seconds())
			s.enter(state, i)
			s.await(b, 400)
		}
		var size float64
		require.NoError(b, pool.QueryRow(b.Context(), "SELECT pg_table_size('users') / 1048576.0").Scan(&size))
		mebibytes[state] = size
	}
	update("no-snapshot", 3)
	holder, err := pgx.Connect(b.Context(), pool.Config().ConnString())
	require.NoError(b, err)
	defer holder.Close(context.Background())
	_, err = holder.Exec(b.Context(), "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM users LIMIT 1")
	require.NoError(b, err)
	update("held", held)
	s.enter("ended", 0)
	_, err = holder.Exec(b.Context(), "COMMIT")
	require.NoError(b, err)
	s.await(b, 400)
	update("ended", 3)
	s.enter("vacuuming", 0)
	_, err = holder.Exec(b.Context(), "VACUUM users")
	require.NoError(b, err)
	s.enter("vacuumed", 0)
	s.await(b, 400)
	update("vacuumed", 3)

	worst, most, samples := s.stop()
	b.ReportMetric(0, "ns/op")
	for _, state := range slices.Sorted(maps.Keys(worst)) {
		fmt.Fprintf(os.Stdout, "%-22s worst p99 %8.2f ms, longest %8.2f ms, %d reads\n", state, worst[state], most[state], samples[state])
		b.ReportMetric(worst[state], state+"-p99-ms")
	}
	for _, state := range states {
		slices.Sort(took[state])
		fmt.Fprintf(os.Stdout, "%-22s median update %.2f s, table %.0f MiB afterwards\n", state, took[state][len(took[state])/2], mebibytes[state])
		b.ReportMetric(took[state][len(took[state])/2], state+"-update-s")
	}
}

// A sampler reads continuously, with the min numbers 0, 50, 97 and 99 in turn.
type sampler struct {
	store  points.Store
	cancel context.CancelFunc
	done   sync.WaitGroup

	mu      sync.Mutex
	window  window
	samples map[window][]float64 // ms
	err     error
}

// A window is the time between two changes of the state: one update, or the time after it.
type window struct {
	state string
	n     int
}

func startSampler(b *testing.B, pool *pgxpool.Pool) *sampler {
	b.Helper()
	store, err := pgstore.New(pool, pgstore.Config{}) // like a process that only reads
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	s := &sampler{store: store, cancel: cancel, samples: map[window][]float64{}, window: window{"idle", 0}}
	s.done.Go(func() { s.run(ctx) })
	b.Cleanup(func() {
		cancel()
		s.done.Wait()
	})
	return s
}

func (s *sampler) run(ctx context.Context) {
	for ctx.Err() == nil {
		for _, above := range []int{0, 50, 97, 99} {
			began := time.Now()
			_, err := s.store.UsersAbove(ctx, above, 2)
			took := time.Since(began).Seconds() * 1000
			if ctx.Err() != nil {
				return
			}
			s.mu.Lock()
			s.samples[s.window] = append(s.samples[s.window], took)
			if err != nil {
				s.err = err
			}
			s.mu.Unlock()
		}
	}
}

// enter assigns the samples that follow to a window.
func (s *sampler) enter(state string, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.window = window{state, n}
}

// await waits until the window has n samples.
func (s *sampler) await(b *testing.B, samples int) {
	b.Helper()
	require.Eventually(b, func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.err != nil || len(s.samples[s.window]) >= samples
	}, 5*time.Minute, time.Millisecond)
	require.NoError(b, s.err)
}

// stop returns, by state, the worst 99th percentile of a window, the longest read and the number of reads.
func (s *sampler) stop() (worst, most map[string]float64, samples map[string]int) {
	s.cancel()
	s.done.Wait()
	worst, most, samples = map[string]float64{}, map[string]float64{}, map[string]int{}
	for w, took := range s.samples {
		worst[w.state] = max(worst[w.state], p99(took))
		most[w.state] = max(most[w.state], slices.Max(took))
		samples[w.state] += len(took)
	}
	return worst, most, samples
}
