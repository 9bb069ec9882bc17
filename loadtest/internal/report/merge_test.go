package report

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMergeRates merges runs of 1000 requests per second that overlap for two of three seconds.
func TestMergeRates(t *testing.T) {
	a, b := example(), example()
	a.Search, b.Search = nil, nil
	a.SuccessfulPerSecond, b.SuccessfulPerSecond = 990, 990
	b.Date = a.Date.Add(time.Second)
	b.Host.Name, b.Name = "other", "second"
	merged, err := Merge([]string{"a", "b"}, []*Run{a, b})
	require.NoError(t, err)
	assert.InDelta(t, 2, merged.CommonSeconds, 1e-6)
	assert.InDelta(t, 4, merged.Seconds, 1e-6)
	assert.InEpsilon(t, 2000, merged.RequestsPerSecond, 0.02)
	assert.InEpsilon(t, 1980, merged.SuccessfulPerSecond, 0.02)
	assert.InEpsilon(t, 1000*20/2000.0, merged.PerRequestMS, 0.02)
	assert.Equal(t, 20, merged.Load.Concurrency)
	assert.EqualValues(t, 6000, merged.Counts.Complete)
	assert.Equal(t, "host, other", merged.Host.Name)
	assert.Equal(t, "example + second", merged.Name)
	assert.EqualValues(t, 2, merged.Contract.Violations)
	var requests int64
	for _, i := range merged.Timeline {
		requests += i.Requests
	}
	assert.EqualValues(t, 6000, requests)
	assert.EqualValues(t, 3000, a.Counts.Complete, "the runs are not changed")
}

// TestMergeRatesOfShortRun merges a run with itself. The last interval of its timeline ends after the run.
func TestMergeRatesOfShortRun(t *testing.T) {
	run := example()
	run.Search = nil
	run.Seconds = 0.012
	run.Timeline = []Interval{{Start: 0, Width: 0.010, Requests: 50}, {Start: 0.010, Width: 0.010, Requests: 50}}
	merged, err := Merge([]string{"a", "b"}, []*Run{run, run})
	require.NoError(t, err)
	assert.InEpsilon(t, 2*run.RequestsPerSecond, merged.RequestsPerSecond, 1e-6)
}

// TestMergedTargets merges two runs: the result lists what differs, and a note names both targets.
func TestMergedTargets(t *testing.T) {
	get := Target{URL: "http://x/a", Method: "GET", Hostname: "x", Port: "80", Path: "/a"}
	inTurn := Target{URL: "http://x/a", Hostname: "x", Port: "80", Path: "2 requests in turn, from t", Requests: 2}
	for name, tt := range map[string]struct {
		other, want Target
		note        string
	}{
		"same": {other: get, want: get},
		"method": {
			Target{URL: "http://x/a", Method: "POST", Hostname: "x", Port: "80", Path: "/a"},
			Target{URL: "http://x/a", Method: "GET, POST", Hostname: "x", Port: "80", Path: "/a"},
			"GET http://x/a, POST http://x/a",
		},
		"URL": {
			Target{URL: "http://y:81/b", Method: "GET", Hostname: "y", Port: "81", Path: "/b"},
			Target{URL: "http://x/a, http://y:81/b", Method: "GET", Hostname: "x, y", Port: "80, 81", Path: "/a, /b"},
			"http://x/a, http://y:81/b",
		},
		"requests in turn": {
			inTurn,
			Target{URL: "http://x/a", Method: "GET", Hostname: "x", Port: "80", Path: "/a, 2 requests in turn, from t", Requests: 2},
			"GET http://x/a, 2 requests in turn, from t http://x/a",
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := example(), example()
			a.Search, b.Search = nil, nil
			a.Target, b.Target = get, tt.other
			merged, err := Merge([]string{"a", "b"}, []*Run{a, b})
			require.NoError(t, err)
			merged.Target.ServerSoftware, merged.Target.DocumentLength = "", 0
			assert.Equal(t, tt.want, merged.Target)
			if tt.note != "" {
				tt.note = "the runs have different targets: " + tt.note
			}
			assert.Equal(t, tt.note, TargetsNote([]*Run{a, b}))
		})
	}
}

// TestMergeOfDifferentLoads merges runs whose load or server one description cannot be true of.
func TestMergeOfDifferentLoads(t *testing.T) {
	for want, change := range map[string]func(*Run){
		"an open and a closed loop cannot be merged":                             func(r *Run) { r.Load.Mode = "open" },
		"runs with keep-alive and with no keep-alive cannot be merged":           func(r *Run) { r.Load.KeepAlive = false },
		"runs with transport http1 and with transport net/http cannot be merged": func(r *Run) { r.Load.Transport = "net/http" },
		"runs on different servers cannot be merged: test setup; this machine":   func(r *Run) { r.Setup = "this machine" },
	} {
		a, b := example(), example()
		a.Search, b.Search = nil, nil
		change(b)
		_, err := Merge([]string{"a", "b"}, []*Run{a, b})
		assert.EqualError(t, err, "a and b: "+want)
	}
}

// TestMergedHosts merges runs of two hosts. The page names the CPUs only if they are the same.
func TestMergedHosts(t *testing.T) {
	for name, tt := range map[string]struct{ other, want Host }{
		"same CPUs": {
			Host{Name: "other", OS: "linux", Arch: "arm64", CPUs: 2, CPUsUsed: 1, GoVersion: "go1.26"},
			Host{Name: "host, other", OS: "linux", Arch: "amd64, arm64", CPUs: 2, CPUsUsed: 1, GoVersion: "go1.26"},
		},
		"other CPUs": {
			Host{Name: "other", OS: "darwin", Arch: "amd64", CPUs: 8, CPUsUsed: 8, GoVersion: "go1.27"},
			Host{Name: "host, other", OS: "linux, darwin", Arch: "amd64", GoVersion: "go1.26, go1.27"},
		},
	} {
		a, b := example(), example()
		a.Search, b.Search = nil, nil
		b.Host = tt.other
		merged, err := Merge([]string{"a", "b"}, []*Run{a, b})
		require.NoError(t, err)
		assert.Equal(t, tt.want, merged.Host, name)
		var page strings.Builder
		require.NoError(t, WriteHTML(&page, merged, nil))
		assert.Equal(t, tt.want.CPUs > 0, strings.Contains(page.String(), " CPUs, "), name)
	}
}
