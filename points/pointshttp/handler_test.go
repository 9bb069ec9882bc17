package pointshttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/sharedtest"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// A store whose reads do what a test says.
type scripted struct {
	read func(ctx context.Context) ([]points.User, error)
}

func (s scripted) UsersAbove(ctx context.Context, _, _ int) ([]points.User, error) {
	return s.read(ctx)
}
func (s scripted) UpdateAll(context.Context, uint64) (int64, error) { return 0, nil }
func (s scripted) Capabilities() points.Capabilities                { return points.Capabilities{} }

// hangs is a read that ends when its context does.
func hangs(ctx context.Context) ([]points.User, error) {
	<-ctx.Done()
	return nil, errors.New("SELECT secret: " + ctx.Err().Error())
}

func newHandler(t *testing.T, cfg points.Config, read func(context.Context) ([]points.User, error)) *pointshttp.Handler {
	t.Helper()
	engine, err := points.New(scripted{read}, cfg)
	require.NoError(t, err)
	return pointshttp.NewHandler(engine, pointshttp.Config{})
}

// An answer is a recorded response.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// serve returns a handler's answer.
func serve(ctx context.Context, h http.Handler, method, target string) answer {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, method, target, nil))
	return answer{w.Code, w.Header(), w.Body.Bytes()}
}

// assertProblem asserts that an answer is a problem of RFC 9457, with this status and detail.
func assertProblem(t *testing.T, a answer, status int, detail string) {
	t.Helper()
	assert.Equal(t, status, a.status)
	assert.Equal(t, "application/problem+json", a.header.Get("Content-Type"))
	assert.Equal(t, "no-store", a.header.Get("Cache-Control"))
	assert.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"))
	var problem map[string]any
	require.NoError(t, json.Unmarshal(a.body, &problem), "%s", a.body)
	assert.Equal(t, map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": float64(status), "detail": detail,
	}, problem)
	retry := ""
	if status == http.StatusServiceUnavailable {
		retry = "1"
	}
	assert.Equal(t, retry, a.header.Get("Retry-After"))
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	engine, err := points.New(newTwoUsers(), points.Config{})
	require.NoError(t, err)
	h := pointshttp.NewHandler(engine, pointshttp.Config{})
	for _, path := range []string{"/", "/?n=1", "/healthz", "/readyz", "http://localhost"} {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			a := serve(t.Context(), h, method, path)
			assert.Equal(t, http.StatusOK, a.status, "%s %s", method, path)
			assert.Equal(t, "application/json", a.header.Get("Content-Type"))
			assert.Equal(t, "no-store", a.header.Get("Cache-Control"))
			assert.Equal(t, "nosniff", a.header.Get("X-Content-Type-Options"))
		}
		for _, method := range []string{
			http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions, http.MethodTrace, "get", "X",
		} {
			a := serve(t.Context(), h, method, path)
			assertProblem(t, a, http.StatusMethodNotAllowed, "This path answers GET and HEAD only.")
			assert.Equal(t, "GET, HEAD", a.header.Get("Allow"))
		}
	}
	for _, path := range []string{"/users", "/updates", "/index.html", "//", "/healthz/", "/%2e", "/HEALTHZ"} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			a := serve(t.Context(), h, method, path)
			assertProblem(t, a, http.StatusNotFound, "There is nothing at this path.")
			assert.Empty(t, a.header.Get("Allow"))
		}
	}
}

// A query that is answered has the users of its read, and the time of the query before.
func TestQuery(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // which begins on 2000-01-01
		var users []points.User
		h := newHandler(t, points.Config{}, func(context.Context) ([]points.User, error) { return users, nil })
		assert.JSONEq(t, `{"users":[],"timestamp":null}`, string(serve(t.Context(), h, http.MethodGet, "/").body))

		<-time.After(1500 * time.Millisecond)
		users = newTwoUsers().users[:1]
		assert.JSONEq(t, `{"users":[{"id":17,"points":93,"inserted_at":"2026-01-01T10:00:00.000000Z",`+
			`"updated_at":"2026-01-01T10:00:00.000000Z"}],"timestamp":"2000-01-01T00:00:00.000000Z"}`,
			string(serve(t.Context(), h, http.MethodGet, "/").body))

		users = newTwoUsers().users[:1]
		users[0].Points++ // another read of the same user
		assert.JSONEq(t, `{"users":[{"id":17,"points":94,"inserted_at":"2026-01-01T10:00:00.000000Z",`+
			`"updated_at":"2026-01-01T10:00:00.000000Z"}],"timestamp":"2000-01-01T00:00:01.500000Z"}`,
			string(serve(t.Context(), h, http.MethodGet, "/").body))
	})
}

func TestSlowStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, points.Config{QueryTimeout: time.Second}, hangs)
		const detail = "The users could not be read in time. Try again later."
		assertProblem(t, serve(t.Context(), h, http.MethodGet, "/"), http.StatusGatewayTimeout, detail)

		// The request's own deadline, which middleware may set.
		<-time.After(100 * time.Millisecond) // the store is tried again
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		assertProblem(t, serve(ctx, h, http.MethodGet, "/"), http.StatusGatewayTimeout, detail)
		<-time.After(time.Second) // the read ends
	})
}

func TestOverload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHandler(t, points.Config{MaxWaiting: 1}, hangs)
		first := make(chan answer)
		go func() { first <- serve(t.Context(), h, http.MethodGet, "/") }()
		synctest.Wait()
		assertProblem(t, serve(t.Context(), h, http.MethodGet, "/"), http.StatusServiceUnavailable,
			"Too many queries are waiting. Try again later.")
		assert.Equal(t, http.StatusGatewayTimeout, (<-first).status)
	})
}

func TestStoreFails(t *testing.T) {
	t.Parallel()
	fails := true
	h := newHandler(t, points.Config{}, func(context.Context) ([]points.User, error) {
		if fails {
			return nil, errors.New("SELECT secret FROM postgres://me:s3cret@db")
		}
		return nil, nil
	})
	const detail = "The users cannot be read at the moment. Try again later."
	assertProblem(t, serve(t.Context(), h, http.MethodGet, "/"), http.StatusServiceUnavailable, detail)
	fails = false
	assert.JSONEq(t, `{"users":[],"timestamp":null}`, string(serve(t.Context(), h, http.MethodGet, "/").body))
}

// A client that is known to have gone gets nothing, not even an empty 200. Over HTTP/1, a cancelled context means no more
// than that the client has closed its sending side.
func TestClientGone(t *testing.T) {
	t.Parallel()
	engine, err := points.New(newTwoUsers(), points.Config{})
	require.NoError(t, err)
	h := pointshttp.NewHandler(engine, pointshttp.Config{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	request := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, request)
	assert.Equal(t, http.StatusOK, w.Code)

	request.ProtoMajor, request.ProtoMinor = 2, 0
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { h.ServeHTTP(httptest.NewRecorder(), request) })
}

func TestPhases(t *testing.T) {
	t.Parallel()
	engine, err := points.New(newTwoUsers(), points.Config{})
	require.NoError(t, err)
	h := pointshttp.NewHandler(engine, pointshttp.Config{})
	get := func(path string) answer { return serve(t.Context(), h, http.MethodGet, path) }
	const starting = "The server is starting: the table is being filled."
	const stopping = "The server is shutting down."

	h.SetStarting("the table is being filled")
	assertProblem(t, get("/"), http.StatusServiceUnavailable, starting)
	assertProblem(t, get("/readyz"), http.StatusServiceUnavailable, starting)
	assert.JSONEq(t, `{"status":"alive"}`, string(get("/healthz").body))
	h.SetStopping() // before it has ever served
	assertProblem(t, get("/"), http.StatusServiceUnavailable, stopping)

	h.SetServing()
	assert.Equal(t, http.StatusOK, get("/").status)
	assert.Equal(t, http.StatusOK, get("/readyz").status)

	h.SetStopping()
	assert.Equal(t, http.StatusOK, get("/").status)
	assertProblem(t, get("/readyz"), http.StatusServiceUnavailable, stopping)
	assert.Equal(t, http.StatusOK, get("/healthz").status)
}

// readyz shows the state of the engine, and when its updates ran, in microseconds.
func TestReadyz(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		engine, err := points.New(newTwoUsers(), points.Config{})
		require.NoError(t, err)
		h := pointshttp.NewHandler(engine, pointshttp.Config{})
		assert.JSONEq(t, `{"status":"ready","waiting":0,"update":{"breaker":"closed"}}`,
			string(serve(t.Context(), h, http.MethodGet, "/readyz").body))

		<-time.After(1234567 * time.Nanosecond)
		require.NoError(t, engine.Pause())
		_, err = engine.Update(t.Context())
		require.NoError(t, err)
		assert.JSONEq(t, `{"status":"ready","waiting":0,"paused":true,"update":{"breaker":"closed","last_success":
			{"started_at":"2000-01-01T00:00:00.001234Z","ended_at":"2000-01-01T00:00:00.001234Z","users":2}}}`,
			string(serve(t.Context(), h, http.MethodGet, "/readyz").body))
	})
}

// With a shared state readyz shows all engines, and which of them is updating.
func TestReadyzOfSharedState(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		database := sharedtest.New([]points.User{{ID: 1}, {ID: 2}})
		gate := make(chan struct{})
		database.At = func(_ context.Context, at sharedtest.Position) {
			if at == sharedtest.InUpdate {
				<-gate
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		handlers := make(map[string]http.Handler)
		for _, name := range []string{"one", "two"} {
			engine, err := points.New(database.Open(), points.Config{Instance: name, UpdateOnStart: name == "one"})
			require.NoError(t, err)
			handlers[name] = pointshttp.NewHandler(engine, pointshttp.Config{})
			assert.NotContains(t, string(serve(t.Context(), handlers[name], http.MethodGet, "/readyz").body), "shared")
			running.Go(func() { assert.NoError(t, engine.Run(ctx)) })
			synctest.Wait()
		}
		<-time.After(2500 * time.Millisecond)
		const instances = `"instances":\[{"instance":"one","started_at":"2000-01-01T00:00:00.000000Z","seen_at":"2000-01-01T00:00:0[12].\d*Z"},` +
			`{"instance":"two","started_at":"2000-01-01T00:00:00.000000Z","seen_at":"2000-01-01T00:00:02.\d*Z"}],`
		body := string(serve(t.Context(), handlers["two"], http.MethodGet, "/readyz").body)
		assert.Contains(t, body, `"shared":{"instance":"two",`)
		assert.Regexp(t, instances, body)
		assert.Contains(t, body, `,"ticks":1,"skipped":0,"running":{"instance":"one","started_at":"2000-01-01T00:00:00.000000Z"}}}`)
		close(gate)
		<-time.After(1500 * time.Millisecond)
		body = string(serve(t.Context(), handlers["two"], http.MethodGet, "/readyz").body)
		assert.NotContains(t, body, "running")
		assert.Contains(t, body, `"last_success":{"instance":"one","started_at":"2000-01-01T00:00:00.000000Z","ended_at":"2000-01-01T00:00:02.500000Z","users":2}}}`)
		stop()
		running.Wait()
	})
}

// The store is asked whether it can be reached once in a while, however many ask.
func TestReadyzPings(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		engine, err := points.New(newTwoUsers(), points.Config{})
		require.NoError(t, err)
		pings := 0
		var pingErr error
		h := pointshttp.NewHandler(engine, pointshttp.Config{Ping: func(ctx context.Context) error {
			pings++
			if errors.Is(pingErr, context.DeadlineExceeded) {
				<-ctx.Done()
			}
			return pingErr
		}})
		get := func() answer { return serve(t.Context(), h, http.MethodGet, "/readyz") }
		assert.Equal(t, http.StatusOK, get().status)
		pingErr = errors.New("no answer from postgres://me:s3cret@db")
		assert.Equal(t, http.StatusOK, get().status)
		assert.Equal(t, 1, pings)

		<-time.After(time.Second)
		for range 10 {
			assertProblem(t, get(), http.StatusServiceUnavailable, "The store does not answer.")
		}
		assert.Equal(t, 2, pings)

		<-time.After(time.Second)
		pingErr = context.DeadlineExceeded // it hangs
		assertProblem(t, get(), http.StatusServiceUnavailable, "The store does not answer.")

		<-time.After(time.Second)
		pingErr = nil
		assert.Equal(t, http.StatusOK, get().status)
		assert.Equal(t, 4, pings)
		assert.Equal(t, http.StatusOK, serve(t.Context(), h, http.MethodGet, "/healthz").status)
		assert.Equal(t, 4, pings)
	})
}

// A failed query makes the program unready for a second, unless a later one succeeds: without queries nothing else
// would show that the store works again.
func TestReadyzFollowsQueries(t *testing.T) {
	t.Parallel()
	for name, immediate := range map[string]bool{"batches": false, "immediate reads": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				store := &faultyStore{immediate: immediate}
				engine, err := points.New(store, points.Config{})
				require.NoError(t, err)
				h := pointshttp.NewHandler(engine, pointshttp.Config{Ping: func(context.Context) error { return nil }})
				status := func(path string) int { return serve(t.Context(), h, http.MethodGet, path).status }
				assert.Equal(t, http.StatusOK, status("/"))
				assert.Equal(t, http.StatusOK, status("/readyz"))

				store.err = errors.New("permission denied for table users")
				assert.Equal(t, http.StatusOK, status("/readyz"), "no query has failed yet")
				assert.Equal(t, http.StatusServiceUnavailable, status("/"))
				assertProblem(t, serve(t.Context(), h, http.MethodGet, "/readyz"), http.StatusServiceUnavailable,
					"Queries fail; see the server's log.")
				<-time.After(time.Second - 1)
				assert.Equal(t, http.StatusServiceUnavailable, status("/readyz"))
				<-time.After(1)
				assert.Equal(t, http.StatusOK, status("/readyz"))

				assert.Equal(t, http.StatusServiceUnavailable, status("/"))
				assert.Equal(t, http.StatusServiceUnavailable, status("/readyz"))
				store.err = nil
				assert.Equal(t, http.StatusOK, status("/"))
				assert.Equal(t, http.StatusOK, status("/readyz"))
			})
		})
	}
}

// A faultyStore is a store without users that fails with err.
type faultyStore struct {
	immediate bool
	err       error
}

func (s *faultyStore) Capabilities() points.Capabilities {
	return points.Capabilities{ImmediateReads: s.immediate}
}

func (s *faultyStore) UsersAbove(context.Context, int, int) ([]points.User, error) {
	return []points.User{}, s.err
}

func (s *faultyStore) UpdateAll(context.Context, uint64) (int64, error) { return 0, s.err }

// A panic is logged and answered; the connection stays open.
func TestPanicIsAnswered(t *testing.T) {
	t.Parallel()
	engine, err := points.New(newTwoUsers(), points.Config{})
	require.NoError(t, err)
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, nil))
	h := pointshttp.NewHandler(engine, pointshttp.Config{
		Ping: func(context.Context) error { panic("out of paper") }, Logger: logger,
	})
	for range 2 { // no lock is held
		assertProblem(t, serve(t.Context(), h, http.MethodGet, "/readyz"), http.StatusInternalServerError,
			"Internal error; see the server's log.")
	}
	assert.Equal(t, 2, strings.Count(log.String(), `msg="request panicked" panic="out of paper" method=GET path=/readyz`))

	own := pointshttp.Recover(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("own") }), logger)
	assertProblem(t, serve(t.Context(), own, http.MethodGet, "/own"), http.StatusInternalServerError,
		"Internal error; see the server's log.")
	abort := pointshttp.Recover(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), logger)
	assert.PanicsWithValue(t, http.ErrAbortHandler, func() { serve(t.Context(), abort, http.MethodGet, "/") })
}
