package cli

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestMerge merges a run with a copy that has another host name.
func TestMerge(t *testing.T) {
	dir := t.TempDir()
	file, other := filepath.Join(dir, "a.json"), filepath.Join(dir, "b.json")
	merged, page := filepath.Join(dir, "m.json"), filepath.Join(dir, "m.html")
	for name, args := range map[string][]string{
		"closed": {"-n", "300", "-c", "3"}, "open": {"-rate", "500", "-duration", "200ms"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := &simulatedServer{capacity: &capacityServer{slots: 3, service: time.Millisecond}}
				out, err := simulate(t.Context(), t, server, append([]string{"-q", "-json", file}, args...)...)
				require.NoError(t, err, out)
			})
			require.NoError(t, os.WriteFile(other, withFields(t, file, map[string]any{"host": map[string]any{"name": "other"}}), 0o600))
			out, errs, code := call(t.Context(), "merge", "-assert", "failed=0,rps>1", "-json", merged, "-html", page, file, other)
			require.Equal(t, exitOK, code, errs)
			one, both := readResult(t, file), readResult(t, merged)
			assert.Equal(t, 2*one.Counts.Complete, both.Counts.Complete)
			assert.Equal(t, 2*one.Load.Requests, both.Load.Requests)
			assert.InEpsilon(t, 2*one.RequestsPerSecond, both.RequestsPerSecond, 0.01)
			assert.InEpsilon(t, 2*one.SuccessfulPerSecond, both.SuccessfulPerSecond, 0.01)
			assert.Equal(t, one.LatencyPercentiles, both.LatencyPercentiles)
			assert.Equal(t, 2*one.Contract.Responses, both.Contract.Responses)
			assert.Contains(t, out, "2 runs merged. Rates are those of the ")
			assert.Contains(t, out, "PASS failed=0: 0\n")
			assert.FileExists(t, page)
		})
	}
	out, errs, code := call(t.Context(), "merge", "-compare", file, file)
	assert.Equal(t, exitOK, code, errs)
	assert.NotContains(t, out, "merged.", "one run")
	_, _, code = call(t.Context(), "merge", "-assert", "rps<1", file, other)
	assert.Equal(t, exitFailed, code)
}

// withFields returns the content of a JSON file with other values of some fields.
func withFields(t *testing.T, file string, values map[string]any) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(content, &fields))
	maps.Copy(fields, values)
	content, err = json.Marshal(fields)
	require.NoError(t, err)
	return content
}

func TestMergeErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.json")
	_, _, code := call(t.Context(), "-q", "-json", file, respond(t, http.StatusOK).URL)
	require.Equal(t, exitOK, code)
	copied := func(fields map[string]any) string { return writeFile(t, "b.json", string(withFields(t, file, fields))) }
	change := func(name string, value any) string {
		return copied(map[string]any{name: value, "host": map[string]any{"name": "other"}})
	}
	run := readResult(t, file)
	late := run.Date.Add(time.Duration(0.9 * run.Seconds * float64(time.Second)))
	link := filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(file, link))
	impossible := change("counts", map[string]any{"complete": 1, "good": 1, "receive": 1})
	const rule = "counts.good + counts.non_2xx + counts.receive + counts.exceptions must be at most counts.complete (1), got 2\n"
	for name, tt := range map[string]struct {
		args []string
		code int
		want string
	}{
		"no files":                {nil, exitUsage, "merge needs the -json files"},
		"no such file":            {[]string{"/nowhere"}, exitFailed, "cannot read the run: open /nowhere"},
		"not JSON":                {[]string{writeFile(t, "x", "hello")}, exitFailed, "not the JSON of a load test"},
		"other time":              {[]string{file, change("date", "2026-01-01T10:00:00Z")}, exitFailed, "did not run at the same time; to compare them: loadtest merge -compare " + file + " "},
		"other mode":              {[]string{file, change("load", map[string]any{"mode": "open"})}, exitFailed, "an open and a closed loop"},
		"no histograms":           {[]string{file, change("histograms", nil)}, exitFailed, "has no histograms"},
		"same file":               {[]string{file, filepath.Dir(file) + "/./a.json"}, exitFailed, "/./a.json: both are the same run"},
		"link":                    {[]string{link, file}, exitFailed, "cannot merge " + link + " and " + file + ": both are the same run"},
		"copy":                    {[]string{file, copied(nil)}, exitFailed, ": both are the same run"},
		"hardly at the same time": {[]string{file, change("date", late.Format(time.RFC3339Nano))}, exitFailed, "they did not run at the same time for at least half of the shortest one: only for "},
		"a search":                {[]string{file, change("search", map[string]any{"slo": "p99<1s"})}, exitFailed, "a search for the highest rate cannot be merged with other runs"},
		"more text":               {[]string{writeFile(t, "two", string(withFields(t, file, nil))+string(withFields(t, file, nil)))}, exitFailed, "not the JSON of one load test: there is more after it"},
		"merged before":           {[]string{file, copied(map[string]any{"merged": 2, "date": "2026-01-01T10:00:00Z"})}, exitFailed, "b.json with others: it has 2 merged runs: merge their own files"},
		"impossible counts":       {[]string{impossible, file}, exitFailed, "loadtest: cannot read the run in " + impossible + ": not the results of a load test: " + rule},
		"impossible old counts":   {[]string{"-compare", impossible, file}, exitFailed, "loadtest: cannot read the run in " + impossible + ": not the results of a load test: " + rule},
		"interrupted":             {[]string{copied(map[string]any{"interrupted": true})}, exitFailed, "b.json was interrupted, so its figures are incomplete: repeat it"},
		"flag of a run":           {[]string{"-n", "5", file}, exitUsage, "-n is a flag of a run, and merge reads finished runs"},
		"its bundle":              {[]string{"-kc5", file}, exitUsage, "-c is a flag of a run, and merge reads finished runs"},
		"no flag":                 {[]string{"-unknown", file}, exitUsage, "unknown flag -unknown (-h lists the flags)"},
	} {
		_, errs, code := call(t.Context(), append([]string{"merge"}, tt.args...)...)
		assert.Equal(t, tt.code, code, name)
		assert.Contains(t, errs, tt.want, name)
	}
}
