package app_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/examples/server/app"
)

// Whatever flags and variables there are: a configuration comes out of it, or an error of one line; and what is printed
// of either has no secret in it.
func FuzzParseConfig(f *testing.F) {
	f.Add("-users=7\n-interval=90s", "ADDR=:1\nUSERS=x")
	f.Add("-database-url=postgres://me:s3cret@db/points", "CONTROL_TOKEN=s3cret, with more of it")
	f.Add("-control-token=s3cret", "DATABASE_URL=host=db password='s3cret\nx'")
	f.Add("-h", "=\n==")
	f.Add("-version\n-print-config", "LOG_LEVEL=\x00")
	f.Fuzz(func(t *testing.T, args, environ string) {
		cfg, _, err := app.ParseConfig(strings.Split(args, "\n"), strings.Split(environ, "\n"), io.Discard)
		if err != nil {
			assert.NotContains(t, err.Error(), "s3cret")
			assert.NotContains(t, err.Error(), "\n")
			return
		}
		var printed strings.Builder
		cfg.Print(&printed)
		assert.NotContains(t, printed.String(), "s3cret")
		assert.GreaterOrEqual(t, time.Duration(cfg.Interval), time.Millisecond)
		assert.GreaterOrEqual(t, cfg.Users, app.Users(0))
	})
}

// Whatever is posted there: the interval is changed to one that is allowed, or stays as it is and the client is told.
func FuzzInterval(f *testing.F) {
	for _, body := range []string{`{"interval":"1m30s"}`, `{"interval":"90000"}`, `{}`, `[`, `{"interval":"1ns"}`, "\xff"} {
		f.Add(body)
	}
	cfg := app.Defaults()
	cfg.Users, cfg.ControlToken = 10, token
	r := startReady(f, cfg)
	f.Fuzz(func(t *testing.T, body string) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, r.url+"/control/interval", strings.NewReader(body))
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := r.client.Do(request)
		require.NoError(t, err)
		defer response.Body.Close()
		assert.Contains(t, []int{http.StatusNoContent, http.StatusBadRequest}, response.StatusCode)
		assert.Equal(t, http.StatusOK, r.get(t, "/readyz").status)
	})
}
