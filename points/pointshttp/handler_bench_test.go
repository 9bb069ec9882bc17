package pointshttp_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// twoUsers is a store that always finds the same two users, at no cost: the benchmark measures the engine and the handler.
type twoUsers struct{ users []points.User }

func newTwoUsers() twoUsers {
	at := time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC)
	return twoUsers{[]points.User{
		{ID: 17, Points: 93, InsertedAt: at, UpdatedAt: at}, {ID: 172, Points: 30, InsertedAt: at, UpdatedAt: at},
	}}
}

func (s twoUsers) UsersAbove(context.Context, int, int) ([]points.User, error) { return s.users, nil }
func (s twoUsers) UpdateAll(context.Context, uint64) (int64, error)            { return 2, nil }
func (s twoUsers) Capabilities() points.Capabilities {
	return points.Capabilities{ImmediateReads: true}
}

// discard is an http.ResponseWriter that costs nothing: the benchmark measures the handler.
type discard struct{ header http.Header }

func (d discard) Header() http.Header            { return d.header }
func (d discard) Write(body []byte) (int, error) { return len(body), nil }
func (d discard) WriteHeader(int)                {}

// An answer takes no memory of ours: what net/http takes for it is all.
func TestAnswersAllocateNothing(t *testing.T) {
	engine, err := points.New(newTwoUsers(), points.Config{})
	require.NoError(t, err)
	handler := pointshttp.NewHandler(engine, pointshttp.Config{})
	w, r := discard{http.Header{}}, httptest.NewRequest(http.MethodGet, "/", nil)
	assert.Zero(t, testing.AllocsPerRun(1000, func() { handler.ServeHTTP(w, r) }))
}

func BenchmarkHandler(b *testing.B) {
	engine, err := points.New(newTwoUsers(), points.Config{})
	require.NoError(b, err)
	handler := pointshttp.NewHandler(engine, pointshttp.Config{})
	w, r := discard{http.Header{}}, httptest.NewRequest(http.MethodGet, "/", nil)

	b.Run("engine", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = engine.Query(r.Context())
		}
	})
	b.Run("handler", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			handler.ServeHTTP(w, r)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			w := discard{http.Header{}}
			for pb.Next() {
				handler.ServeHTTP(w, r)
			}
		})
	})
}
