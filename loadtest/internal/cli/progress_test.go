package cli

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
)

// TestProgressShowsProgressOnly tests a run whose requests all fail to connect, so that the number never changes.
func TestProgressShowsProgressOnly(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, 20_000, false)
	for range 20_000 {
		p.completed(0)
	}
	assert.Empty(t, out.String())
	p.completed(2000)
	p.completed(2000)
	assert.Equal(t, "Completed 2000 requests\n", out.String())
}

// TestLiveView completes exactly 10,000 requests per second, with an error in each hundred, and checks what is drawn.
func TestLiveView(t *testing.T) {
	for name, view := range map[string]*liveView{"by requests": {requests: 20_000}, "by time": {duration: 2 * time.Second}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				view.out, view.label = &out, "x: "
				start := time.Now()
				stop := view.watch(func() record.Live {
					n := time.Since(start).Microseconds() / 100
					return record.Live{Complete: n, Errors: n / 100, P50: 1500 * time.Microsecond, P99: 20 * time.Millisecond}
				})
				time.Sleep(1100 * time.Millisecond) //nolint:forbidigo // synctest's clock
				stop()
				drawn := out.String()
				for _, s := range []string{
					"x: 10000/s, 50% 1.50 ms, 99% 20.00 ms, 25 errors, 2s left  12%", "x: 10000/s, 50% 1.50 ms, 99% 20.00 ms, 100 errors, 1s left  50%",
				} {
					assert.Contains(t, drawn, s)
				}
				assert.NotContains(t, drawn, "\n")
			})
		})
	}
}
