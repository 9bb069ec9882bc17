package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The default build has no OpenTelemetry and no gRPC, which would add a third to its compile time; -tags otlp adds them.
func TestDependencies(t *testing.T) {
	t.Parallel()
	const exporter = "github.com/pointsapp/pointsapp/examples/server/internal/telemetry/otlp"
	for _, test := range []struct {
		tags string
		otlp bool
	}{{"", false}, {"otlp", true}} {
		output, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-tags", test.tags, ".").Output()
		require.NoError(t, err)
		packages := strings.Fields(string(output))
		if test.otlp {
			assert.Contains(t, packages, exporter)
			continue
		}
		for _, path := range packages {
			assert.False(t, path == exporter || strings.HasPrefix(path, "go.opentelemetry.io/") ||
				strings.HasPrefix(path, "google.golang.org/grpc"), path)
		}
	}
	output, err := exec.CommandContext(t.Context(), "go", "vet", "-tags", "otlp", ".").CombinedOutput()
	require.NoError(t, err, string(output))
}
