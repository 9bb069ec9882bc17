package config_test

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/pointsapp/pointsapp/examples/server/internal/config"
)

// Any flags and variables give a configuration or a one-line error, and neither prints a secret.
func FuzzParseConfig(f *testing.F) {
	f.Add("-users=7\n-interval=90s", "ADDR=:1\nUSERS=x")
	f.Add("-database-url=postgres://me:s3cret@db/points", "CONTROL_TOKEN=s3cret, with more of it")
	f.Add("-control-token=s3cret", "DATABASE_URL=host=db password='s3cret\nx'")
	f.Add("-h", "=\n==")
	f.Add("-version\n-print-config", "LOG_LEVEL=\x00")
	f.Fuzz(func(t *testing.T, args, environ string) {
		cfg, _, err := config.Parse(strings.Split(args, "\n"), strings.Split(environ, "\n"), io.Discard)
		if err != nil {
			assert.NotContains(t, err.Error(), "s3cret")
			assert.NotContains(t, err.Error(), "\n")
			return
		}
		var printed strings.Builder
		cfg.Print(&printed)
		assert.NotContains(t, printed.String(), "s3cret")
		assert.GreaterOrEqual(t, time.Duration(cfg.Interval), time.Millisecond)
		assert.GreaterOrEqual(t, cfg.Users, config.Users(0))
	})
}
