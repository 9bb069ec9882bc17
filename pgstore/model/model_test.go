// Package model checks a model of the shared state's protocol with Spin. See README.md.
package model

import (
	"context"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/testenv"
)

// TestModel checks that the protocol has all properties, and that each mutant lacks the property that it is expected to
// break.
func TestModel(t *testing.T) {
	for _, program := range []string{"spin", "gcc"} {
		if _, err := exec.LookPath(program); err != nil {
			testenv.SkipOrFailf(t, "%s is not installed", program)
		}
	}
	t.Run("queries", func(t *testing.T) { testCorrect(t, "Query") })
	t.Run("updates", func(t *testing.T) { testCorrect(t, "Environment", "-DUPDATES", "-DMAX=6") })
	for _, mutant := range []struct {
		name, property string
		flags          []string
	}{
		{"ONE_STATEMENT", "MONOTONE", nil},
		{"REPEATABLE_READ", "MONOTONE", nil},
		{"LOCAL_STATE", "UNIQUE", nil},
		{"LOCAL_STATE", "ORDER", nil},
		{"LOCAL_STATE", "PREVIOUS", nil},
		{"NO_BOUND", "UNIQUE", nil},
		{"NO_BOUND", "ORDER", nil},
		{"NOT_FLUSHED", "UNIQUE", nil},
		{"BOUND_IN_SEQUENCE", "UNIQUE", nil},
		{"NO_WAIT", "FUTURE", nil},
		{"EXTEND_AFTER_CRASH", "WAIT", nil},
		{"CLAIM_UNLOCKED", "MOMENT", nil},
		{"NO_RECHECK", "TICK", []string{"-DUPDATES"}},
		{"NO_FENCE", "UPDATER", []string{"-DUPDATES"}},
		{"NO_AWAIT", "UPDATER", []string{"-DUPDATES"}},
	} {
		t.Run(mutant.name+" is not "+mutant.property, func(t *testing.T) {
			report := verify(t, append(mutant.flags, "-D"+mutant.name, "-DONLY="+mutant.property)...)
			assert.Regexp(t, `^\s*pan:1: assertion violated`, report)
		})
	}
	t.Run("BOUND_FIRST deadlocks", func(t *testing.T) {
		assert.Regexp(t, `^\s*pan:1: invalid end state`, verify(t, "-DBOUND_FIRST"))
	})
}

// testCorrect checks that no state violates a property, and that every step of the process is reached.
func testCorrect(t *testing.T, process string, flags ...string) {
	t.Helper()
	report := verify(t, flags...)
	assert.Regexp(t, `errors: 0\n`, report)
	assert.NotContains(t, report, "Search not completed")
	assert.NotContains(t, report, "error: max search depth too small")
	assert.Regexp(t, `unreached in proctype `+process+`\n\s*\(0 of \d+ states\)`, report)
	t.Log(regexp.MustCompile(`\d+ states`).FindString(report))
}

// verify visits all states of the model, up to the first error, and returns Spin's report.
func verify(t *testing.T, flags ...string) (report string) {
	t.Helper()
	model, err := filepath.Abs("shared.pml")
	require.NoError(t, err)
	dir := t.TempDir()
	run := func(program string, args ...string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, args...)
		cmd.Dir = dir
		output, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s:\n%s", cmd, output)
		return string(output)
	}
	run("spin", append(append([]string{"-a"}, flags...), model)...)
	run("gcc", "-O1", "-w", "-DSAFETY", "-DCOLLAPSE", "-DMEMLIM=1024", "-o", "pan", "pan.c")
	return run(filepath.Join(dir, "pan"), "-m10000", "-w22")
}
