package report

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/browser"
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
		"alone":            {example(), nil, map[string]int{"latency": 3, "percentiles": 1, "throughput": 1, "errors": 1}},
		"beside original":  {example(), original, map[string]int{"latency": 3, "percentiles": 2, "throughput": 1, "errors": 1}},
		"beside another":   {example(), other, map[string]int{"latency": 6, "percentiles": 2, "throughput": 2, "errors": 2}},
		"nothing measured": {bare, nil, map[string]int{"latency": 0, "percentiles": 0, "throughput": 0, "errors": 0}},
	}
	ctx := browser.Start(t)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			for _, c := range openPage(ctx, t, tt.run, tt.old) {
				assert.Equal(t, tt.series[c.ID], c.Series, c.ID)
				if tt.series[c.ID] > 0 {
					assert.Greater(t, c.Pixels, 1000, c.ID)
				}
			}
		})
	}
}

// openPage writes the page to a file and opens it.
func openPage(ctx context.Context, t *testing.T, run, old *Run) []chart {
	t.Helper()
	var page bytes.Buffer
	require.NoError(t, WriteHTML(&page, run, old))
	file := filepath.Join(t.TempDir(), "report.html")
	require.NoError(t, os.WriteFile(file, page.Bytes(), 0o600))

	ctx, cancel := chromedp.NewContext(ctx)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, time.Minute)
	defer cancel()
	require.NoError(t, chromedp.Do(ctx, chromedp.Navigate("file://"+file)))
	_, err := chromedp.Run(ctx, chromedp.Poll[string](`document.body.dataset.drawn`))
	require.NoError(t, err, "the page's script did not finish")
	charts, err := chromedp.Run(ctx, chromedp.Evaluate[[]chart](inspect))
	require.NoError(t, err)
	require.Len(t, charts, 4)
	fetched, err := chromedp.Run(ctx, chromedp.Evaluate[int](`performance.getEntriesByType("resource").length`))
	require.NoError(t, err)
	assert.Zero(t, fetched)
	return charts
}
