package bench

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/pgstore"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// If one of these environment variables is set, this program is a measured server: a process of its own, so that its
// CPU time can be measured.
const (
	serverEnv = "POINTS_BENCH_SERVER" // a database URL: the server of the paths below
	plainEnv  = "POINTS_BENCH_PLAIN"  // any text: a server of net/http with its defaults and fixed bytes
)

// The paths of the measured server.
const (
	fixedPath  = "/fixed"  // fixed bytes: the cost of net/http and the network
	enginePath = "/"       // an engine on PostgreSQL
	eachPath   = "/each"   // the same with one read per query
	memoryPath = "/memory" // an engine in memory
	sharedPath = "/shared" // an engine on PostgreSQL with the shared state of all processes
)

// runServer serves until its standard input ends.
func runServer(database string) int {
	pool, err := newPool(database)
	if err == nil {
		err = serve(pool)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// runPlain serves fixed bytes until its standard input ends.
func runPlain() int {
	listener, err := listen()
	if err == nil {
		err = http.Serve(listener, http.HandlerFunc(fixed)) // with the defaults: no timeouts
	}
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// newPool returns a pool with as many connections as the reference server's.
func newPool(database string) (*pgxpool.Pool, error) {
	config, err := pgxpool.ParseConfig(database)
	if err != nil {
		return nil, err
	}
	config.MaxConns = 10
	return pgxpool.NewWithConfig(context.Background(), config)
}

func serve(pool *pgxpool.Pool) error {
	store, err := pgstore.New(pool, pgstore.Config{})
	if err != nil {
		return err
	}
	shared, err := pgstore.New(pool, pgstore.Config{Shared: true})
	if err != nil {
		return err
	}
	memory, err := memstore.New(1_000_000)
	if err != nil {
		return err
	}
	if _, err := memory.UpdateAll(context.Background(), 1); err != nil {
		return err
	}
	mux := map[string]http.Handler{fixedPath: http.HandlerFunc(fixed)}
	for path, store := range map[string]points.Store{
		enginePath: store, sharedPath: shared, eachPath: &eachStore{store: store}, memoryPath: memory,
	} {
		engine, err := points.New(store, points.Config{MinNumber: func() int { return 50 }, Interval: time.Hour})
		if err != nil {
			return err
		}
		if path == sharedPath {
			go engine.Run(context.Background()) //nolint:errcheck // it ends with the process
		}
		mux[path] = atRoot(pointshttp.NewHandler(engine, pointshttp.Config{}))
	}
	var updates updates
	mux["/updates/start"] = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { updates.start(store) }) //nolint:contextcheck // they outlive the request
	mux["/updates/stop"] = http.HandlerFunc(func(http.ResponseWriter, *http.Request) { updates.stop() })
	mux["/usage"] = http.HandlerFunc(usage)

	server := pointshttp.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mux[r.URL.Path].ServeHTTP(w, r)
	}), 5*time.Second, slog.New(slog.DiscardHandler))
	listener, err := listen()
	if err != nil {
		return err
	}
	return pointshttp.Serve(server, listener)
}

// listen returns a listener, prints its address, and ends this program when its standard input ends.
func listen() (net.Listener, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(os.Stdout, listener.Addr())
	go func() {
		bufio.NewReader(os.Stdin).ReadByte() //nolint:errcheck // it waits for the end of the input
		os.Exit(0)
	}()
	return listener, nil
}

// atRoot makes a handler answer as for /.
func atRoot(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = "/"
		handler.ServeHTTP(w, r)
	})
}

// fixed answers with a constant body as long as the reference server's, and the same headers.
func fixed(w http.ResponseWriter, _ *http.Request) {
	header := w.Header()
	header["Content-Type"] = jsonType
	header["Cache-Control"] = noStore
	header["X-Content-Type-Options"] = noSniff
	w.WriteHeader(http.StatusOK)
	w.Write(fixedBody) //nolint:errcheck // the client went away
}

var (
	jsonType  = []string{"application/json"}
	noStore   = []string{"no-store"}
	noSniff   = []string{"nosniff"}
	fixedBody = []byte(`{"users":[` +
		`{"id":3,"points":99,"inserted_at":"2026-01-01T10:00:00.123456Z","updated_at":"2026-01-01T10:00:00.123456Z"},` +
		`{"id":4,"points":61,"inserted_at":"2026-01-01T10:00:00.123456Z","updated_at":"2026-01-01T10:00:00.123456Z"}` +
		`],"timestamp":"2026-01-01T10:00:00.123456Z"}`)
)

// An eachStore makes its engine read once per query, under a lock, by claiming ImmediateReads: what a GenServer that
// queries the database does.
type eachStore struct{ store points.Store }

func (s *eachStore) Capabilities() points.Capabilities {
	return points.Capabilities{ImmediateReads: true}
}

func (s *eachStore) UsersAbove(ctx context.Context, above, limit int) ([]points.User, error) {
	return s.store.UsersAbove(ctx, above, limit)
}

func (s *eachStore) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	return s.store.UpdateAll(ctx, key)
}

// updates runs updates back to back between start and stop.
type updates struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func (u *updates) start(store points.Store) {
	ctx, cancel := context.WithCancel(context.Background())
	u.cancel = cancel
	u.done.Go(func() {
		for key := uint64(time.Now().UnixNano()); ctx.Err() == nil; key++ {
			if _, err := store.UpdateAll(ctx, key); err != nil && ctx.Err() == nil {
				fmt.Fprintln(os.Stderr, err)
				return
			}
		}
	})
}

func (u *updates) stop() {
	u.cancel()
	u.done.Wait()
}

// usage returns the CPU time of this process in µs and its resident memory in bytes.
func usage(w http.ResponseWriter, _ *http.Request) {
	cpu, err := cpuTime()
	if err != nil {
		panic(err)
	}
	statm, _ := os.ReadFile("/proc/self/statm") // Linux only
	var size, resident int64
	fmt.Sscan(string(statm), &size, &resident) //nolint:errcheck // zero elsewhere
	fmt.Fprintln(w, cpu.Microseconds(), resident*int64(os.Getpagesize()))
}

// startServer starts the server on a seeded database and returns its address.
func startServer(b *testing.B, database string) (address string) {
	b.Helper()
	return startSelf(b, serverEnv+"="+database).address
}

// startSelf starts this program as one of its servers, and stops it when the benchmark ends.
func startSelf(b *testing.B, environ string) *process {
	b.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), environ)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	require.NoError(b, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		require.NoError(b, stdin.Close())
		require.NoError(b, cmd.Wait())
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(b, err)
	return &process{pid: cmd.Process.Pid, address: line[:len(line)-1]}
}

// get returns the numbers in the server's answer to a path.
func get(b *testing.B, address, path string) (numbers []int64) {
	b.Helper()
	response, err := http.Get("http://" + address + path)
	require.NoError(b, err)
	defer response.Body.Close()
	words := bufio.NewScanner(response.Body)
	words.Split(bufio.ScanWords)
	for words.Scan() {
		n, err := strconv.ParseInt(words.Text(), 10, 64)
		require.NoError(b, err)
		numbers = append(numbers, n)
	}
	return numbers
}
