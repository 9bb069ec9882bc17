package report

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/browser"
	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// A chart is the result of inspect for one chart of the page.
type chart struct {
	ID     string `json:"id"`
	Series int    `json:"series"` // lines in the legend
	Pixels int    `json:"pixels"` // not transparent
}

// inspect returns the charts of the page.
const inspect = `[...document.querySelectorAll("figure > div")].map(div => {
	const canvas = div.querySelector("canvas");
	if (!canvas) return {id: div.id, series: 0, pixels: 0};
	const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
	let count = 0;
	for (let i = 3; i < pixels.length; i += 4) if (pixels[i] > 0) count++;
	return {id: div.id, series: div.querySelectorAll(".u-legend .u-series").length - 1, pixels: count};
})`

// closed returns the example without a search and without errors.
func closed() *Run {
	run := example()
	run.Search, run.Assertions, run.Contract.Violations, run.Errors, run.Interrupted = nil, nil, 0, nil, false
	run.FailedParts, run.Incomparable = nil, ""
	for i := range run.Timeline {
		run.Timeline[i].Errors = 0
	}
	return run
}

// TestBrowser opens the page in a browser and checks that all charts are drawn and nothing is fetched.
func TestBrowser(t *testing.T) {
	original, err := Original()
	require.NoError(t, err)
	other := example()
	other.Name = "other"
	bare := &Run{Schema: Schema, Load: Load{Mode: "open", Rate: "100"}} // without results
	tests := map[string]struct {
		run, old *Run
		series   map[string]int
	}{
		"alone":            {example(), nil, map[string]int{"latency": 3, "percentiles": 1, "throughput": 1, "errors": 1, "search": 3}},
		"beside original":  {closed(), original, map[string]int{"latency": 3, "percentiles": 2, "throughput": 1}},
		"beside another":   {closed(), other, map[string]int{"latency": 5, "percentiles": 2, "throughput": 2, "errors": 2}},
		"nothing measured": {bare, nil, map[string]int{"latency": 0, "percentiles": 0, "throughput": 0}},
	}
	ctx := browser.Start(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := openPage(ctx, t, tt.run, tt.old)
			got := map[string]int{}
			for _, c := range evaluate[[]chart](p, inspect) {
				got[c.ID] = c.Series
				if c.Series > 0 {
					assert.Greater(t, c.Pixels, 1000, c.ID)
				}
			}
			assert.Equal(t, tt.series, got)
			assert.Zero(t, evaluate[int](p, `performance.getEntriesByType("resource").length`), "fetched")
		})
	}
}

// TestBanner checks what the page says first.
func TestBanner(t *testing.T) {
	ctx := browser.Start(t)
	passing := closed()
	passing.Assertions = []slo.Result{{Clause: "p99<1s", Measured: "51ms", Met: true}}
	unchecked := closed()
	unchecked.Contract.Checked, unchecked.Contract.Required = false, false
	for name, tt := range map[string]struct {
		run  *Run
		want []string
	}{
		"pass": {passing, []string{"PASS"}},
		"fail": {example(), []string{"FAIL", "p99<50ms: 51ms", "contract violations at 1000/s: 1", "Limited by the load generator"}},
		"none": {unchecked, nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := openPage(ctx, t, tt.run, nil)
			text := evaluate[string](p, `(document.body.firstElementChild.id === "verdict" ? document.getElementById("verdict").innerText : "")`)
			for _, s := range tt.want {
				assert.Contains(t, text, s)
			}
			if tt.want == nil {
				assert.Empty(t, text)
			}
			assert.Contains(t, evaluate[string](p, `document.getElementById("statuses").innerText`), "503")
		})
	}
}

// TestGaps uses a server that stalls for a second at 1000/s, and one that gets a request each 100 ms: only the stall is
// a gap.
func TestGaps(t *testing.T) {
	ctx := browser.Start(t)
	timeline := func(busy func(i int) int64) []Interval {
		all := make([]Interval, 0, 300)
		for i := range 300 {
			all = append(all, Interval{Start: float64(i) / 100, Width: 0.01, Requests: busy(i), P50: 1, P99: 2, Max: 3})
		}
		return all
	}
	for name, tt := range map[string]struct {
		busy func(i int) int64
		gaps int
	}{
		"stall": {func(i int) int64 {
			if i >= 100 && i < 200 {
				return 0
			}
			return 10
		}, 100},
		"slow": {func(i int) int64 {
			if i%10 == 0 {
				return 1
			}
			return 0
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			run := closed()
			run.Timeline = timeline(tt.busy)
			p := openPage(ctx, t, run, nil)
			assert.Equal(t, tt.gaps, evaluate[int](p, `withGaps(i => i.p99_ms)(run.timeline).filter(v => v === null).length`))
		})
	}
}

// TestIsolatedPoints uses a server that responds in a single interval between two stalls, and in the last one.
func TestIsolatedPoints(t *testing.T) {
	run := closed()
	run.Timeline = nil
	for i := range 300 {
		interval := Interval{Start: float64(i) / 100, Width: 0.01}
		if i < 100 || i == 200 || i == 299 {
			interval.Requests, interval.P50, interval.P99, interval.Max = 100, 1, 2, 3
		}
		run.Timeline = append(run.Timeline, interval)
	}
	p := openPage(browser.Start(t), t, run, nil)
	const chart = `(u => u.series.slice(1).map(s => s.points.filter(u, u.series.indexOf(s))))` +
		`(charts.find(c => c.chart.root.parentElement.id === "latency").chart)`
	assert.Equal(t, [][]int{{200, 299}, {200, 299}, {200, 299}}, evaluate[[][]int](p, chart))
	// Around 2 seconds, where there is no line, the chart has pixels in the color of the 99th percentile.
	const pixels = `(u => {
		const [from, to] = [190, 210].map(i => Math.round(u.valToPos(i / 100, "x", true)));
		const rows = u.ctx.getImageData(from, u.bbox.top, to - from, u.bbox.height).data;
		const [r, g, b] = [1, 3, 5].map(i => parseInt(colors.p99.slice(i, i + 2), 16));
		let n = 0;
		for (let i = 0; i < rows.length; i += 4) if (rows[i] === r && rows[i + 1] === g && rows[i + 2] === b) n++;
		return n;
	})(charts.find(c => c.chart.root.parentElement.id === "latency").chart)`
	assert.Positive(t, evaluate[int](p, pixels))
}

// TestLegend checks that the legends of a comparison name the runs as the columns of its table do.
func TestLegend(t *testing.T) {
	old := closed()
	old.Name = "before"
	ctx := browser.Start(t)
	const labels = `[...document.querySelectorAll("#throughput .u-label, #percentiles .u-label")].map(e => e.innerText)`
	for name, tt := range map[string]struct {
		old  *Run
		want []string
	}{
		"alone":      {nil, []string{"requests", "example", "time", "requests/s"}},
		"comparison": {old, []string{"requests", "new: example", "old: before", "time", "new: requests/s", "old: requests/s"}},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, tt.want, evaluate[[]string](openPage(ctx, t, closed(), tt.old), labels))
		})
	}
}

// TestLegendValues checks that a legend has no values while the cursor is elsewhere, and "-" in a gap, as in the tables.
func TestLegendValues(t *testing.T) {
	run := closed()
	run.Timeline[1].Requests = 0
	p := openPage(browser.Start(t), t, run, nil)
	const values = `[...document.querySelectorAll("#latency .u-value")].map(e => e.innerText)`
	assert.Equal(t, []string{"", "", "", ""}, evaluate[[]string](p, values))
	const hover = `(u => {
		u.setCursor({left: u.valToPos(u.data[0][1], "x"), top: 1});
		return u.cursor.idx;
	})(charts.find(c => c.chart.root.parentElement.id === "latency").chart)`
	require.Equal(t, 1, evaluate[int](p, hover))
	assert.Equal(t, []string{"-", "-", "-"}, evaluate[[]string](p, values)[1:])
}

// TestLayout checks that nothing is wider than the page, that labels of an axis do not overlap, and that the colors
// follow the browser's.
func TestLayout(t *testing.T) {
	ctx := browser.Start(t)
	run := example()
	run.Errors = []record.FailureCount{{Error: strings.Repeat("a long error ", 20), Count: 3}}
	p := openPage(ctx, t, run, nil)
	for _, width := range []int64{360, 800, 1920} {
		p.do(chromedp.EmulateViewport(width, 900))
		p.poll(fmt.Sprintf(`innerWidth === %d && charts.every(c => c.chart.width === c.chart.root.parentElement.clientWidth)`, width))
		assert.LessOrEqual(t, evaluate[int64](p, `document.documentElement.scrollWidth`), width)
		const nearest = `(() => {
			const u = charts.find(c => c.chart.root.parentElement.id === "percentiles").chart;
			const splits = [0, 0.30103, 1, 2, 3, 4, 5, 6];
			const kept = fitting(u, splits, v => v).filter(v => v !== null).map(v => u.valToPos(v, "x"));
			return Math.min(...kept.slice(1).map((x, i) => x - kept[i]));
		})()`
		assert.GreaterOrEqual(t, evaluate[float64](p, nearest), 60.0, "at width %d", width)
	}
	const lightness = `(s => s.match(/\d+/g).slice(0, 3).reduce((a, b) => a + +b, 0) / 3)`
	const back, text = lightness + `(getComputedStyle(document.body).backgroundColor)`, lightness + `(getComputedStyle(document.body).color)`
	for scheme, dark := range map[string]bool{"light": false, "dark": true} {
		p.emulate("", scheme)
		p.poll(`colors === palettes.` + scheme)
		assert.Equal(t, dark, evaluate[float64](p, back) < evaluate[float64](p, text), scheme)
	}
	p.emulate("print", "dark")
	assert.InDelta(t, 255, evaluate[float64](p, back), 0, "paper is white")
}

// A tab shows a page.
type tab struct {
	t   *testing.T
	ctx context.Context
}

func evaluate[T any](p tab, expression string) T {
	p.t.Helper()
	value, err := chromedp.Run(p.ctx, chromedp.Evaluate[T](expression))
	require.NoError(p.t, err, expression)
	return value
}

func (p tab) do(actions ...chromedp.Action[chromedp.Void]) {
	p.t.Helper()
	require.NoError(p.t, chromedp.Do(p.ctx, actions...))
}

// poll waits until a condition holds.
func (p tab) poll(condition string) {
	p.t.Helper()
	_, err := chromedp.Run(p.ctx, chromedp.Poll[bool](condition))
	require.NoError(p.t, err, condition)
}

// emulate sets the medium and the preferred colors.
func (p tab) emulate(medium, scheme string) {
	p.t.Helper()
	_, err := chromedp.Call(p.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Media: medium, Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	require.NoError(p.t, err)
}

// openPage writes the page to a file and opens it in a tab, which is closed at the end of the test.
func openPage(ctx context.Context, t *testing.T, run, old *Run) tab {
	t.Helper()
	var page bytes.Buffer
	require.NoError(t, WriteHTML(&page, run, old))
	file := filepath.Join(t.TempDir(), "report.html")
	require.NoError(t, os.WriteFile(file, page.Bytes(), 0o600))

	ctx, cancel := chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	t.Cleanup(cancel)
	p := tab{t: t, ctx: ctx}
	p.do(chromedp.Navigate("file://" + file))
	_, err := chromedp.Run(ctx, chromedp.Poll[string](`document.body.dataset.drawn`))
	require.NoError(t, err, "the page's script did not finish")
	return p
}
