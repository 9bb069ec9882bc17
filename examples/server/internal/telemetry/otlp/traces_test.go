package otlp

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/internal/telemetry"
)

// An invalid sampler is an error of one line that names the variable, its value and the allowed values.
func TestInvalidSampler(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	for _, test := range []struct{ sampler, arg, want string }{
		{"foo", "", `invalid OTEL_TRACES_SAMPLER "foo": it must be always_on, always_off, traceidratio, parentbased_always_on, ` +
			`parentbased_always_off or parentbased_traceidratio`},
		{"traceidratio", "much", `invalid OTEL_TRACES_SAMPLER_ARG "much": it must be a number from 0 to 1`},
		{"parentbased_traceidratio", "1.5", `invalid OTEL_TRACES_SAMPLER_ARG "1.5": it must be a number from 0 to 1`},
		{"traceidratio", "NaN", `invalid OTEL_TRACES_SAMPLER_ARG "NaN": it must be a number from 0 to 1`},
		{" Always_On ", "much", ""},
		{"parentbased_traceidratio", "0.01", ""},
		{"traceidratio", "", ""},
	} {
		t.Setenv("OTEL_TRACES_SAMPLER", test.sampler)
		t.Setenv("OTEL_TRACES_SAMPLER_ARG", test.arg)
		exporter, err := New(t.Context(), telemetry.ExporterConfig{Traces: true, Logger: slog.New(slog.DiscardHandler)})
		if test.want != "" {
			require.EqualError(t, err, test.want)
			continue
		}
		require.NoError(t, err, test.sampler)
		assert.NoError(t, exporter.Shutdown(t.Context()))
	}
}
