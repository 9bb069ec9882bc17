package server

import (
	"bytes"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// Elsewhere than on a terminal there is a line at the beginning, at the end, and every tenth or every 5 seconds between.
func TestProgressLines(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		step  int64
		every time.Duration
		lines int
	}{
		"quick":         {1, time.Millisecond, 11},
		"slow":          {1, time.Second, 21},
		"all at once":   {100, time.Millisecond, 2},
		"in few steps":  {33, time.Millisecond, 5},
		"in slow steps": {50, time.Minute, 3},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				p := progress{logger: slog.New(slog.NewTextHandler(&log, nil)), handler: pointshttp.NewHandler(nil, pointshttp.Config{}), w: &log}
				for done := int64(0); done < 100; done += test.step {
					p.show(done, 100)
					<-time.After(test.every)
				}
				p.show(100, 100)
				p.end()
				assert.Equal(t, test.lines, strings.Count(log.String(), "\n"), "%s", &log)
				assert.Contains(t, log.String(), `msg="seeding the table" users=0 of=100`)
				assert.Contains(t, log.String(), `msg="seeding the table" users=100 of=100`)
			})
		})
	}
}

// On a terminal there is a bar, which is gone in the end, and no line.
func TestProgressBar(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]int64{"filled": 100, "interrupted": 60} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log, terminal bytes.Buffer
			h := pointshttp.NewHandler(nil, pointshttp.Config{})
			p := progress{logger: slog.New(slog.NewTextHandler(&log, nil)), handler: h, w: &terminal, terminal: true}
			p.show(0, 100)
			p.show(50, 100)
			assert.Contains(t, terminal.String(), "seeding the table")
			assert.Contains(t, terminal.String(), "50/100")
			p.show(last, 100)
			p.end()
			lines := strings.Split(terminal.String(), "\r")
			assert.Empty(t, strings.TrimSpace(lines[len(lines)-1]))
			assert.NotContains(t, terminal.String(), "\n")
			assert.Empty(t, log.String())
		})
	}
}

// /readyz shows the same progress.
func TestProgressIsReadiness(t *testing.T) {
	t.Parallel()
	h := pointshttp.NewHandler(nil, pointshttp.Config{})
	p := progress{logger: slog.New(slog.DiscardHandler), handler: h}
	p.show(50, 100)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz", nil))
	assert.Equal(t, http.StatusServiceUnavailable, w.Code)
	assert.Contains(t, w.Body.String(), "starting: seeding the table, 50 of 100 users")
}

func TestIsTerminal(t *testing.T) {
	t.Parallel()
	file, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer file.Close()
	assert.False(t, isTerminal(file))
	assert.False(t, isTerminal(new(bytes.Buffer)))
}
