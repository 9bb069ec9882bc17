package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"html"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/loadtest/internal/contract"
	"github.com/pointsapp/pointsapp/loadtest/internal/cputime"
	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

// example returns a run of three seconds in which every field of a closed loop is set, except Repeats.
func example() *Run {
	recorder := record.New(record.Options{})
	for i := range 3000 {
		start := time.Duration(i) * time.Millisecond
		x := transport.Exchange{
			Start: start, Connected: start, Sent: start, FirstByte: start + 2*time.Millisecond,
			Done: start + time.Duration(2+i%50)*time.Millisecond, Status: 200, Received: 400, BodyBytes: 240, KeptAlive: true,
			Server: []byte("test"),
		}
		if i%100 == 7 {
			x.Status = 503
		}
		if i%1500 == 0 {
			x.Status, x.Failure, x.Err = 0, transport.Receive, errors.New("reset")
		}
		recorder.Observe(&x)
	}
	summary := recorder.Summary(3 * time.Second)
	run := &Run{
		Schema: Schema, Name: "example", Date: time.Date(2026, 1, 1, 10, 0, 0, 0, time.UTC),
		Command:     []string{"loadtest", "-H", "X: </script><script>alert(1)</script>"},
		Host:        Host{Name: "host", OS: "linux", Arch: "amd64", CPUs: 2, CPUsUsed: 1, GoVersion: "go1.26"},
		Client:      Client{CPU: cputime.Share{Used: 0.9, Waited: 0.08}, LateP99: 1.5, LateMax: 30, Limit: "it used 98% of its CPU time"},
		Target:      Target{URL: "http://127.0.0.1:4000/", Method: "GET", Hostname: "127.0.0.1", Port: "4000", Path: "/", Requests: 3},
		Load:        Load{Mode: "closed", Requests: 3000, Concurrency: 10, KeepAlive: true, Transport: "http1"},
		FailedParts: []string{"m.json: no request succeeded"}, Incomparable: "nothing to compare with",
		Setup: "test setup", Merged: 2, CommonSeconds: 2.5, SuccessfulPerSecond: 990, Offered: 1000,
		Updates:     []Update{{Start: -0.5, End: 0.4}, {Start: 1, End: 1.8}},
		Interrupted: true,
		Contract: contract.Result{
			Required: true, Checked: true, Responses: 3000, Violations: 1, Examples: []string{`second null timestamp: {"users":[],"timestamp":null}`},
		},
		Assertions: []slo.Result{{Clause: "p99<50ms", Measured: "51ms"}},
		Search: &Search{
			SLO: "p99<50ms", Highest: 1000, Stopped: "the server failed", TooFew: "1500 requests are needed",
			Steps: []Step{
				{
					Rate: 1000, Successful: 999.5, P99: 12, Met: true, Confirm: true, Violations: 1, Reason: "none",
					Client: "it used 98% of its CPU time",
				},
				{Rate: 2000, Successful: 1500, P99: 300, Reason: "p99<50ms: 300ms"},
			},
		},
	}
	run.Fill(&summary)
	run.Judge()
	return run
}

var update = flag.Bool("update", false, "update the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), got)
}

func TestJSON(t *testing.T) {
	run := example()
	var b bytes.Buffer
	require.NoError(t, run.WriteJSON(&b))
	again, err := ReadJSON(&b)
	require.NoError(t, err)
	assert.Equal(t, run, again)
}

// TestFieldNames guards the JSON field names, which other programs depend on.
func TestFieldNames(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, example().WriteJSON(&b))
	var fields map[string]any
	require.NoError(t, json.Unmarshal(b.Bytes(), &fields))
	golden(t, "fields.txt", strings.Join(fieldPaths("", fields), "\n")+"\n")
}

// fieldPaths returns the sorted paths of all members; for a list, those of its first element.
func fieldPaths(prefix string, value any) []string {
	switch value := value.(type) {
	case map[string]any:
		all := make([]string, 0, 2*len(value))
		for _, key := range slices.Sorted(maps.Keys(value)) {
			all = append(all, prefix+key)
			all = append(all, fieldPaths(prefix+key+".", value[key])...)
		}
		return all
	case []any:
		return fieldPaths(prefix, value[0])
	}
	return nil
}

func TestReadJSONErrors(t *testing.T) {
	for name, s := range map[string]string{
		"empty": "", "text": "hello", "another JSON": "{}", "a list": "[]", "later": `{"schema":2}`,
		"wrong type": `{"schema":1,"counts":5}`,
	} {
		_, err := ReadJSON(strings.NewReader(s))
		require.ErrorContains(t, err, "not the JSON of a load test", name)
		require.NotContains(t, err.Error(), "\n")
	}
	for s, want := range map[string]string{"": "it is empty", `{"schema":1,"cou`: "it ends too early"} {
		_, err := ReadJSON(strings.NewReader(s))
		require.ErrorContains(t, err, want)
	}
}

// TestImpossibleResults changes single fields of a run. Each error is one line that names the field and the rule.
func TestImpossibleResults(t *testing.T) {
	const whole = "counts.good + counts.non_2xx"
	for want, change := range map[string]func(*Run){
		"seconds must not be negative, got -1":                                                           func(r *Run) { r.Seconds = -1 },
		"counts.aborted must not be negative, got -1":                                                    func(r *Run) { r.Counts.Aborted = -1 },
		"requests_per_second must not be negative, got -0.5":                                             func(r *Run) { r.RequestsPerSecond = -0.5 },
		"load.concurrency must not be negative, got -2":                                                  func(r *Run) { r.Load.Concurrency = -2 },
		"status_codes[0].count must not be negative, got -1":                                             func(r *Run) { r.StatusCodes[0].Count = -1 },
		"errors[0].count must not be negative, got -1":                                                   func(r *Run) { r.Errors[0].Count = -1 },
		whole + " + counts.receive + counts.exceptions must be at most counts.complete (3000), got 3001": func(r *Run) { r.Counts.Receive++ },
		"counts.length must be at most " + whole + " (2998), got 2999":                                   func(r *Run) { r.Counts.Length = 2999 },
		"counts.stalled must be at most counts.aborted (0), got 1":                                       func(r *Run) { r.Counts.Stalled = 1 },
		"the sum of status_codes must be " + whole + " (2998), got 2999":                                 func(r *Run) { r.StatusCodes[0].Count++ },
		"the sum of errors must be counts.connect + counts.receive + counts.exceptions (2), got 3":       func(r *Run) { r.Errors[0].Count++ },
		"histograms.total.count must be counts.complete (3001), got 3000":                                func(r *Run) { r.Counts.Complete++ },
		"percentiles[1].percent must be above the one before (50), got 50":                               func(r *Run) { r.Percentiles[1].Percent = 50 },
		"percentiles[1].ms must be at least the one before (27.007), got 1":                              func(r *Run) { r.Percentiles[1].MS = 1 },
		"latency_percentiles[26].percent must be from 0 to 100, got 101":                                 func(r *Run) { r.LatencyPercentiles[26].Percent = 101 },
		"latency_percentiles[0].ms must be at least the one before (0), got -1":                          func(r *Run) { r.LatencyPercentiles[0].MS = -1 },
		"timeline[1].errors must be at most timeline[1].requests (10), got 11":                           func(r *Run) { r.Timeline[1].Errors = 11 },
		"timeline[1].width_s must be above 0, got 0":                                                     func(r *Run) { r.Timeline[1].Width = 0 },
		"repeats[1].counts.good must not be negative, got -1":                                            func(r *Run) { r.Repeats = []*Run{{}, {Counts: record.Counts{Successful: -1}}} },
		"repeats[0] must not be null":                                                                    func(r *Run) { r.Repeats = []*Run{nil} },
	} {
		run := example()
		change(run)
		var b bytes.Buffer
		require.NoError(t, run.WriteJSON(&b))
		_, err := ReadJSON(&b)
		require.EqualError(t, err, "not the results of a load test: "+want)
	}
}

func FuzzReadJSON(f *testing.F) {
	var b bytes.Buffer
	require.NoError(f, example().WriteJSON(&b))
	f.Add(b.Bytes())
	f.Add(originalJSON)
	f.Add([]byte(`{"schema":1,"timeline":null,"search":{}}`))
	current := example()
	f.Fuzz(func(t *testing.T, data []byte) {
		run, err := ReadJSON(bytes.NewReader(data))
		if err != nil {
			return
		}
		require.NoError(t, Compare(&bytes.Buffer{}, run, current))
		require.NoError(t, Compare(&bytes.Buffer{}, current, run))
		require.NoError(t, WriteHTML(&bytes.Buffer{}, run, current))
		if merged, err := Merge([]string{"a", "b"}, []*Run{run, current}); err == nil {
			require.Equal(t, run.Counts.Complete+current.Counts.Complete, merged.Counts.Complete)
		}
	})
}

func TestOriginal(t *testing.T) {
	run, err := Original()
	require.NoError(t, err)
	assert.InDelta(t, 200.92, run.RequestsPerSecond, 0)
	assert.EqualValues(t, 1634, run.Counts.Length)
	p99, ok := at(run.Percentiles, 99)
	assert.True(t, ok)
	assert.InDelta(t, 1462, p99, 0)
}

func TestCompareGolden(t *testing.T) {
	old, err := Original()
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, Compare(&b, old, example()))
	golden(t, "compare.txt", b.String())
}

// The concurrency of an open loop is only a limit, so a comparison has no figures that depend on it.
func TestCompareOpenLoops(t *testing.T) {
	compare := func(old, current string) string {
		a, b := example(), example()
		a.Load.Mode, b.Load.Mode = old, current
		a.Search, b.Search, a.FailedParts, b.FailedParts = nil, nil, nil, nil
		var text bytes.Buffer
		require.NoError(t, Compare(&text, a, b))
		return text.String()
	}
	assert.Regexp(t, `Concurrency +\d+ +\d+ +1x`, compare("closed", "closed"))
	assert.Regexp(t, `Time per request \[ms\] +- +\d`, compare("open", "closed"))
	assert.NotRegexp(t, `Concurrency|Time per request \[`, compare("open", "open"))
}

// TestRatiosNeedSameSetup compares the text and the page of comparable and other runs.
func TestRatiosNeedSameSetup(t *testing.T) {
	for _, tt := range []struct {
		old, current string
		comparable   bool
	}{{"", "", true}, {"memory", "memory", true}, {"PostgreSQL", "memory", false}, {"", "memory", false}, {"memory", "", false}} {
		old, current := example(), example()
		old.Setup, current.Setup = tt.old, tt.current
		old.FailedParts, current.FailedParts = nil, nil
		var text, html bytes.Buffer
		require.NoError(t, Compare(&text, old, current))
		require.NoError(t, WriteHTML(&html, current, old))
		for _, s := range []string{text.String(), html.String()} {
			assert.Equal(t, tt.comparable, strings.Contains(s, "ratio") && strings.Contains(s, "1x"), tt)
			assert.Equal(t, !tt.comparable, strings.Contains(s, "Not comparable, so without ratios: old run: "), tt)
		}
	}
}

// TestVerdictNamesChecks checks that a verdict names what passed, in the text and on the page.
func TestVerdictNamesChecks(t *testing.T) {
	clause := []slo.Result{{Clause: "p99>1s", Measured: "2s", Met: true}, {Clause: "rps>1", Measured: "5", Met: true}}
	search := &Search{SLO: "p50>1s", Highest: 1}
	for name, tt := range map[string]struct {
		assertions []slo.Result
		search     *Search
		checked    bool
		text, html string // "" without a verdict
	}{
		"clauses":         {clause, nil, false, "p99>1s, rps>1", "p99>1s: 2s, rps>1: 5"},
		"contract":        {nil, nil, true, "contract in 3000 responses", "contract in 3000 responses"},
		"both":            {clause[:1], nil, true, "p99>1s, contract in 3000 responses", "p99>1s: 2s, contract in 3000 responses"},
		"search":          {nil, search, false, "the server meets p50>1s at 1 request per second", "the server meets p50>1s at 1 request per second"},
		"search and both": {clause[1:], search, true, "the server meets p50>1s at 1 request per second, rps>1, contract in all steps", "rps>1: 5, contract in all steps"},
		"nothing":         {},
	} {
		t.Run(name, func(t *testing.T) {
			run := closed()
			run.Counts.Receive, run.Counts.Non2xx = 0, 0 // with errors, the contract alone is no check
			run.Assertions, run.Search, run.Contract.Required, run.Contract.Checked = tt.assertions, tt.search, false, tt.checked
			run.Judge()
			var b bytes.Buffer
			require.NoError(t, WriteHTML(&b, run, nil))
			page := html.UnescapeString(b.String())
			if tt.text == "" {
				assert.Empty(t, run.Conclusion())
				assert.NotContains(t, page, `id="verdict"`)
				return
			}
			assert.Equal(t, []string{"PASS: " + tt.text}, run.Conclusion())
			assert.Regexp(t, `<b>PASS</b>.*`+tt.html+"\n", page)
		})
	}
}

// TestHTMLIsSelfContained looks for anything that a browser would fetch.
func TestHTMLIsSelfContained(t *testing.T) {
	old, err := Original()
	require.NoError(t, err)
	var b bytes.Buffer
	require.NoError(t, WriteHTML(&b, example(), old))
	for _, s := range []string{"src=", "<link", "@import", "url(", "fetch(", "XMLHttpRequest"} {
		assert.NotContains(t, b.String(), s)
	}
	assert.NotContains(t, b.String(), "<script>alert(1)", "user input is escaped")
}
