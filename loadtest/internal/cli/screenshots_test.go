package cli

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/browser"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
)

var screenshots = flag.String("screenshots", "", "directory for pictures of the pages that TestPages opens")

// varied returns a server of the given capacity whose responses take up to 12 ms longer, which stalls at one time, and
// answers one request in a thousand with 503.
func varied(slots int, service, stallAt, stall time.Duration) *simulatedServer {
	start := time.Now()
	return &simulatedServer{
		capacity: &capacityServer{slots: slots, service: service},
		onServe: func(n int64) {
			random := scramble(n)
			jitter := time.Duration(random%1000) * time.Microsecond
			if random%50 == 0 {
				jitter *= 12
			}
			if since := time.Since(start); since >= stallAt && since < stallAt+stall {
				jitter += stallAt + stall - since
			}
			time.Sleep(jitter) //nolint:forbidigo // synctest's clock
		},
		unavailable: func(n int64) bool { return scramble(n)%997 == 0 },
	}
}

// scramble returns a number that looks random.
func scramble(n int64) uint64 {
	x := uint64(n) * 0x9e3779b97f4a7c15
	x ^= x >> 29
	x *= 0xbf58476d1ce4e5b9
	return x >> 32
}

// runOn returns the results of a run on a simulated server, with the name and command line given.
func runOn(t *testing.T, name string, server func() *simulatedServer, args ...string) *report.Run {
	t.Helper()
	file := filepath.Join(t.TempDir(), "r.json")
	synctest.Test(t, func(t *testing.T) {
		_, err := simulate(t.Context(), t, server(), append([]string{"-q", "-json", file}, args...)...)
		if err != nil {
			require.ErrorIs(t, err, errCheckFailed)
		}
	})
	run := readResult(t, file)
	run.Name, run.Target.URL = name, "http://127.0.0.1:4000/"
	run.Command = append(append([]string{"loadtest"}, args...), run.Target.URL)
	run.Date = time.Date(2026, 11, 26, 10, 0, 0, 0, time.UTC)
	return run
}

// TestPages opens the pages of a closed loop, an open loop with a stall, a search, and a comparison, and takes
// screenshots of them if -screenshots is given. The servers are simulated, so that the pictures do not depend on the
// machine.
func TestPages(t *testing.T) {
	const never = time.Hour
	fast := func() *simulatedServer { return varied(8, 4*time.Millisecond, never, 0) }
	slow := func() *simulatedServer { return varied(8, 5*time.Millisecond, never, 0) }
	stalling := func() *simulatedServer { return varied(8, 4*time.Millisecond, 6*time.Second, 700*time.Millisecond) }
	closed := []string{"-c", "16", "-duration", "10s"}
	tests := map[string]struct {
		run, old *report.Run
		verdict  []string
		charts   int
	}{
		"closed": {
			run:     runOn(t, "closed", fast, append(closed, "-assert", "p99<50ms,errors<1%")...),
			verdict: []string{"PASS p99<50ms: "}, charts: 4,
		},
		"stall": {
			run:     runOn(t, "stall", stalling, "-rate", "800", "-duration", "10s", "-assert", "p99<50ms,errors<1%"),
			verdict: []string{"FAIL", "p99<50ms: "}, charts: 4,
		},
		"find-max": {
			run:     runOn(t, "find-max", fast, "-find-max", "-slo", "p99<25ms", "-rate", "250", "-duration", "2s"),
			verdict: []string{"PASS the server meets p99<25ms,errors<1% at "}, charts: 5,
		},
		"compare": {
			run:     runOn(t, "after", slow, append(closed, "-assert", "p50<10ms")...),
			old:     runOn(t, "before", fast, closed...),
			verdict: []string{"FAIL", "p50<10ms: "}, charts: 4,
		},
	}
	browserCtx := browser.Start(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var page bytes.Buffer
			require.NoError(t, report.WriteHTML(&page, tt.run, tt.old))
			ctx, cancel := chromedp.NewContext(browserCtx)
			defer cancel()
			ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
			defer cancel()
			require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(1280, 900),
				chromedp.Navigate("file://"+writeFile(t, "report.html", page.String()))))
			_, err := chromedp.Run(ctx, chromedp.Poll[string](`document.body.dataset.drawn`))
			require.NoError(t, err)
			text := func(id string) string {
				text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.getElementById("`+id+`").innerText`))
				require.NoError(t, err)
				return text
			}
			for _, want := range tt.verdict {
				assert.Contains(t, text("verdict"), want)
			}
			assert.Contains(t, text("statuses"), "200")
			assert.Contains(t, text("statuses"), "503")
			charts, err := chromedp.Run(ctx, chromedp.Evaluate[int](`document.querySelectorAll("canvas").length`))
			require.NoError(t, err)
			assert.Equal(t, tt.charts, charts)
			if *screenshots != "" {
				takeScreenshots(ctx, t, "loadtest-"+name)
			}
		})
	}
}

// takeScreenshots saves pictures of the whole page, light and dark.
func takeScreenshots(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	height, err := chromedp.Run(ctx, chromedp.Evaluate[int64](`document.documentElement.scrollHeight`))
	require.NoError(t, err)
	require.NoError(t, chromedp.Do(ctx, chromedp.EmulateViewport(1280, height)))
	for _, scheme := range []string{"light", "dark"} {
		_, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		require.NoError(t, err)
		_, err = chromedp.Run(ctx, chromedp.Poll[bool](`colors === palettes.`+scheme))
		require.NoError(t, err)
		png, err := chromedp.Run(ctx, chromedp.CaptureScreenshot())
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(*screenshots, name+"-"+scheme+".png"), png, 0o600))
	}
}
