package ab

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

var update = flag.Bool("update", false, "update the golden files")

// run records n requests; times returns the duration of the steps of request i.
func run(n int, times func(i int) (connect, wait, read time.Duration)) record.Summary {
	r := record.New(record.Options{})
	for i := range n {
		connect, wait, read := times(i)
		x := transport.Exchange{
			Connected: connect, Sent: connect, FirstByte: connect + wait, Done: connect + wait + read,
			Status: 200, KeptAlive: true, Server: []byte("Cowboy"), Received: 491, BodyBytes: 240,
		}
		switch {
		case i%10 == 3:
			x.BodyBytes, x.Received = 239, 490
		case i == 55:
			x.Status = 503
		case i == 56:
			x.Failure, x.Err, x.KeptAlive = transport.Receive, errors.New("reset"), false
		}
		r.Observe(&x)
	}
	return r.Summary(2500 * time.Millisecond)
}

func spread(i int) (connect, wait, read time.Duration) {
	if i < 10 {
		connect = 3 * time.Millisecond
	}
	return connect, time.Duration(i) * 1234 * time.Microsecond, 600 * time.Microsecond
}

func TestGolden(t *testing.T) {
	skewed := func(i int) (connect, wait, read time.Duration) {
		if i == 0 {
			return 0, time.Second, 0
		}
		return 0, time.Millisecond, 0
	}
	tests := map[string]Report{
		"spread":   {Summary: run(100, spread), Concurrency: 10, KeepAlive: true},
		"variable": {Summary: run(3, spread), Concurrency: 1, AnyLength: true},
		"one":      {Summary: run(1, spread), Concurrency: 1},
		"none":     {Summary: run(0, spread), Concurrency: 1},
		"skewed":   {Summary: run(3, skewed), Concurrency: 1, KeepAlive: true},
		"open":     {Summary: run(100, spread), KeepAlive: true, Open: true},
	}
	for name, r := range tests {
		t.Run(name, func(t *testing.T) {
			r.Hostname, r.Port, r.Path = "127.0.0.1", "4000", "/"
			var got bytes.Buffer
			require.NoError(t, r.Write(&got))
			golden(t, name+".txt", got.Bytes())
		})
	}
}

func TestCSVGolden(t *testing.T) {
	var got bytes.Buffer
	s := run(100, spread)
	require.NoError(t, WriteCSV(&got, s.Total))
	golden(t, "spread.csv", got.Bytes())
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), string(got))
}

// TestRatesOfOriginal computes the rates in the original's README from its totals.
func TestRatesOfOriginal(t *testing.T) {
	s := record.Summary{Counts: record.Counts{Complete: 10000, Received: 4918839}, Elapsed: 49771 * time.Millisecond}
	rates := RatesOf(&s, 100)
	assert.InDelta(t, 200.92, rates.Requests, 0.005)
	assert.InDelta(t, 497.714, rates.PerRequest, 0.005) // ab computed it from an unrounded time
	assert.InDelta(t, 4.977, rates.PerRequestAcross, 0.0005)
	assert.InDelta(t, 96.51, rates.Transfer, 0.005)
}

func TestSkew(t *testing.T) {
	tests := map[string]struct {
		ms   []int
		want string
	}{
		"none":    {[]int{10, 10, 11}, ""},
		"warning": {[]int{10, 10, 10, 10, 10, 10, 10, 10, 40, 10, 0, 10, 40}, ""},
	}
	for name, tt := range tests {
		d := record.NewDistribution()
		for _, ms := range tt.ms {
			d.Add(time.Duration(ms) * time.Millisecond)
		}
		assert.Equal(t, tt.want, skew("the total time", d), name)
	}
}

// brokenWriter fails to write.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }

func TestWriteError(t *testing.T) {
	r := Report{Summary: run(2, spread)}
	require.ErrorIs(t, r.Write(brokenWriter{}), os.ErrClosed)
	require.ErrorIs(t, WriteCSV(brokenWriter{}, r.Total), os.ErrClosed)
}
