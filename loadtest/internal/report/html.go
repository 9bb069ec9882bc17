package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/pointsapp/pointsapp/internal/uplot"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// The page contains everything it needs, including uPlot, which draws the charts.
var (
	//go:embed assets/page.js
	pageJS string
	//go:embed assets/page.css
	pageCSS string
	//go:embed assets/page.html
	pageHTML string
)

//nolint:gochecknoglobals // parsed once, never changed
var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"number":        number,
	"rows":          rows,
	"plural":        Plural,
	"withoutRatios": withoutRatios,
	"notes":         comparisonNotes,
	"figure":        func(p []Percentile, percent float64) string { return number(orNaN(at(p, percent))) },
	"join":          strings.Join,
	"date":          func(t time.Time) string { return t.Format("2006-01-02 15:04:05 MST") },
	"hasErrors":     func(runs ...*Run) bool { return slices.ContainsFunc(runs, hasErrors) },
	"passFail":      PassFail,
	"passed":        func(r *Run) string { return r.passed(clauseAndValue) },
	"label":         func(r row) string { return r.Label + unitSuffix(r.Unit) },
}).Parse(pageHTML))

// hasErrors reports whether the timeline of a run, which may be nil, has errors.
func hasErrors(r *Run) bool {
	return r != nil && slices.ContainsFunc(r.Timeline, func(i Interval) bool { return i.Errors > 0 })
}

// PassFail returns the word for a clause that is met or not.
func PassFail(met bool) string {
	if met {
		return "PASS"
	}
	return "FAIL"
}

func clauseAndValue(a *slo.Result) string { return a.Clause + ": " + a.Measured }

// WriteHTML writes the run as a self-contained page, compared with old unless that is nil.
func WriteHTML(w io.Writer, run, old *Run) error {
	judged := *run
	judged.Judge()
	run = &judged
	err := page.Execute(w, map[string]any{
		"Run": run, "Old": old, "Percents": []float64{50, 90, 95, 99, 99.9, 99.99, 99.999, 100},
		"PlotCSS": template.CSS(uplot.CSS), "PageCSS": template.CSS(pageCSS), //nolint:gosec // embedded
		"PlotJS": template.JS(uplot.JS), "PageJS": template.JS(pageJS), //nolint:gosec // embedded
	})
	if err != nil {
		return fmt.Errorf("cannot write the HTML page: %w", err)
	}
	return nil
}
