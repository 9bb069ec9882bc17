package cli

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestFindMaxReportsChecks checks that a search reports assertions and the comparison, and that its JSON counts neither
// requests nor responses of the warm-up.
func TestFindMaxReportsChecks(t *testing.T) {
	server := pointsApp(t, never)
	file := filepath.Join(t.TempDir(), "r.json")
	out, _, code := call(t.Context(), "-find-max", "-slo", "rps<150", "-rate", "100", "-duration", "100ms",
		"-assert", "rps>100000", "-compare", "original", "-json", file, server.URL)
	assert.Equal(t, exitFailed, code, "the assertion fails")
	assert.Contains(t, out, "FAIL rps>100000: ")
	assert.Contains(t, out, "Requests per second")
	assert.Regexp(t, `Contract: \d+ responses checked against PointsApp's contract in the step of \d+ requests per second, with its warm-up, 0`, out)
	run := readResult(t, file)
	require.Len(t, run.Assertions, 1)
	assert.Equal(t, run.Counts.Complete, run.Load.Requests-run.Load.Unsent)
}

// TestFindMaxReportsEachViolation has a server that violates the contract only in a step that misses the SLO.
func TestFindMaxReportsEachViolation(t *testing.T) {
	var requests atomic.Int64
	// Called once or twice for each request. The first step has 20 requests, the second one 40, and misses the SLO.
	server := pointsApp(t, func(int) bool { n := requests.Add(1); return n > 25 && n < 30 })
	file := filepath.Join(t.TempDir(), "r.json")
	out, _, code := call(t.Context(), "-find-max", "-slo", "rps<150", "-rate", "100", "-duration", "100ms",
		"-assert", "violations=0", "-json", file, server.URL)
	assert.Equal(t, exitFailed, code)
	assert.Regexp(t, `contract in the step of 200 requests per second, with its warm-up, \d+ violations?`, out)
	assert.Contains(t, out, "Violation: timestamp returned twice")
	assert.Contains(t, out, "FAIL violations=0: ")
	assert.Positive(t, readResult(t, file).Search.Steps[1].Violations)
}

// TestInterruptedFirstStep interrupts a search in its first step: the JSON has what was measured so far.
func TestInterruptedFirstStep(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	requests := 0
	server := pointsApp(t, func(int) bool {
		if requests++; requests == 15 { // the warm-up has 10
			interrupt()
		}
		return false
	})
	file := filepath.Join(t.TempDir(), "r.json")
	out, errs, code := call(ctx, "-find-max", "-slo", "rps<1000", "-rate", "100", "-duration", "100ms",
		"-assert", "rps>100000", "-json", file, server.URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, errs, "interrupted at 100 requests per second")
	assert.Contains(t, out, "FAIL rps>100000: ")
	run := readResult(t, file)
	assert.Empty(t, run.Search.Steps)
	assert.Positive(t, run.Counts.Complete)
}

// TestInterruptedFindMaxReportsSteps interrupts a search in its second step.
func TestInterruptedFindMaxReportsSteps(t *testing.T) {
	ctx, interrupt := context.WithCancel(t.Context())
	var requests atomic.Int64
	server := pointsApp(t, func(int) bool {
		if requests.Add(1) == 35 { // the first step has 20 requests
			interrupt()
		}
		return false
	})
	file := filepath.Join(t.TempDir(), "r.json")
	out, errs, code := call(ctx, "-find-max", "-slo", "rps<1000", "-rate", "100", "-duration", "100ms", "-json", file, server.URL)
	assert.Equal(t, exitFailed, code)
	assert.Contains(t, errs, "interrupted at 200 requests per second")
	assert.NotContains(t, out, "Verdict")
	run := readResult(t, file)
	require.Len(t, run.Search.Steps, 1)
	assert.Equal(t, 100, run.Search.Highest)
}
