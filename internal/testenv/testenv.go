// Package testenv has helpers of tests: free ports, programs that end with the test, logs, and what happens when a
// requirement of a test is missing.
package testenv

import (
	"os"
	"testing"
)

// SkipOrFailf skips a test whose requirement is missing and says which. If the environment variable CI is set to
// anything but "false", the test fails instead: a skip would hide there that nothing was tested.
func SkipOrFailf(t testing.TB, format string, args ...any) {
	t.Helper()
	if ci := os.Getenv("CI"); ci != "" && ci != "false" {
		t.Fatalf(format, args...)
		return // a test's double may go on
	}
	t.Skipf(format, args...)
}
