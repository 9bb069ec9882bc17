package server

import (
	"bytes"
	"errors"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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

// The duration of an outage includes its first read. Queries that are rejected without a read are not counted.
func TestOutages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		r := newReads(slog.New(slog.NewTextHandler(&text, nil)))
		<-time.After(5 * time.Second)
		r.ended(points.BatchInfo{Queries: 3, Duration: 5 * time.Second, Err: errors.New("lost")})
		<-time.After(2 * time.Second)
		r.ended(points.BatchInfo{Queries: 1, Duration: time.Second, Err: errors.New("lost")})
		r.ended(points.BatchInfo{Queries: 1})
		assert.Equal(t, 1, strings.Count(text.String(), `msg="queries fail"`))
		assert.Contains(t, text.String(), `msg="queries succeed again" failed_reads=2 after=7s`)
		assert.NotContains(t, text.String(), "level=DEBUG")
	})
}

// At level debug there is a line for each read, with its error.
func TestDebugLogsReads(t *testing.T) {
	t.Parallel()
	var text bytes.Buffer
	r := newReads(slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})))
	r.ended(points.BatchInfo{Batch: 7, Queries: 3, Users: 2, Waited: time.Millisecond, Duration: time.Second})
	r.ended(points.BatchInfo{Batch: 8, Queries: 1, Err: errors.New("lost\n1")})
	assert.Contains(t, text.String(), `level=DEBUG msg=read batch=7 queries=3 users=2 waited=1ms duration=1s`+"\n")
	assert.Contains(t, text.String(), `level=DEBUG msg=read batch=8 queries=1 users=0 waited=0s duration=0s error="lost 1"`,
		"one line, without line breaks")
}

// Equal warnings are logged once a minute, and then counted, whatever comes between them.
func TestRepeatsAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var text bytes.Buffer
		handler := collapseRepeats(slog.NewTextHandler(&text, nil))
		logger, other := slog.New(handler), slog.New(handler).With("part", "other")
		for range 120 {
			logger.Warn("skipped")
			other.Warn("skipped")
			logger.Info("update done")
			logger.Error("update failed")
			<-time.After(time.Second)
		}
		<-time.After(3 * repeatsWindow)
		logger.Warn("skipped")
		<-time.After(2 * repeatsWindow)
		synctest.Wait()
		assert.Equal(t, 2, strings.Count(text.String(), "msg=skipped"), "at the beginning, and after a pause")
		repeats := regexp.MustCompile(`msg="the same warning was repeated" warning=skipped times=(\d+)`).
			FindAllStringSubmatch(text.String(), -1)
		require.Len(t, repeats, 2)
		total := 0
		for _, match := range repeats {
			n, err := strconv.Atoi(match[1])
			require.NoError(t, err)
			total += n
		}
		assert.Equal(t, 239, total)
		assert.Equal(t, 120, strings.Count(text.String(), "update failed"), "errors are not collapsed")
	})
}
