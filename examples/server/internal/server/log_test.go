package server

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/pointsapp/pointsapp/points"
)

// A long update logs its progress every five seconds; the next update starts from zero.
func TestLongUpdates(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		long := longUpdates{logger: slog.New(slog.NewTextHandler(&text, nil))}
		for range 2 {
			long.started(t.Context(), points.UpdateInfo{Started: time.Now().UTC()})
			for second := range int64(12) {
				long.progress(second, 12)
				<-time.After(time.Second)
			}
		}
		lines := strings.Split(strings.TrimSpace(text.String()), "\n")
		for i, want := range []string{"users=5 of=12", "users=10 of=12", "users=5 of=12", "users=10 of=12"} {
			assert.Contains(t, lines[i], `msg="update is running" `+want)
		}
		assert.Len(t, lines, 4)
	})
}

func TestLastLines(t *testing.T) {
	t.Parallel()
	var all bytes.Buffer
	problems := new(lastLines)
	logger := problems.logTo(slog.New(slog.NewTextHandler(&all, nil)))
	logger.Info("fine")
	assert.Empty(t, problems.read())
	for i := range 12 {
		logger.Warn("bad", "i", i)
	}
	assert.Len(t, problems.read(), 10)
	assert.Contains(t, problems.read()[0], "i=2")
	assert.Contains(t, problems.read()[9], "i=11")
	assert.Equal(t, 13, strings.Count(all.String(), "\n"))
}
