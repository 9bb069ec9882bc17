package telemetry

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/pointsapp/pointsapp/internal/testenv"
	"github.com/pointsapp/pointsapp/memstore"
	"github.com/pointsapp/pointsapp/points"
	"github.com/pointsapp/pointsapp/points/pointshttp"
)

var updateAlerts = flag.Bool("update", false, "write alerts_recorded_test.yml")

const (
	observability  = "../../observability"
	recordedAlerts = observability + "/alerts_recorded_test.yml"
	scrapeInterval = 15 * time.Second
	scrapes        = 241 // an hour
)

// A scenario is an hour of an engine in simulated time, with the metrics that it then has.
type scenario struct {
	name     string
	interval time.Duration
	failing  bool                                   // every update fails
	stopped  bool                                   // the engine does not run, so it does not tick
	act      func(minute int, handler http.Handler) // called at the start of each minute; may be nil
	fires    []string                               // the alerts that fire at some time
}

func scenarios() []scenario {
	panicAt := func(at int) func(int, http.Handler) {
		return func(minute int, handler http.Handler) {
			if minute == at {
				handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/panic", nil))
			}
		}
	}
	return []scenario{
		{name: "healthy, with the default interval"},
		{name: "healthy, with an interval of an hour", interval: time.Hour},
		{name: "healthy, with an interval of 10 seconds", interval: 10 * time.Second},
		{name: "each update fails, with the default interval", failing: true, fires: []string{"PointsUpdatesFail", "PointsUpdatesSuspended"}},
		{name: "each update fails, with an interval of 5 minutes", interval: 5 * time.Minute, failing: true, fires: []string{"PointsUpdatesFail", "PointsUpdatesSuspended"}},
		{name: "no ticks", stopped: true, fires: []string{"PointsNoTicks"}},
		{name: "one panic", act: panicAt(30), fires: []string{"PointsPanics"}},
	}
}

// The alerts fire on the metrics of engines with problems, and not on those of healthy ones: alerts_recorded_test.yml
// has both, for promtool. -update writes it.
func TestAlerts(t *testing.T) {
	var file strings.Builder
	file.WriteString("# promtool test rules alerts_recorded_test.yml\n" +
		"# Series of engines in simulated time. go test ./examples/server/internal/telemetry -run TestAlerts -update records them.\n" +
		"rule_files: [alerts.yml]\nevaluation_interval: 15s\ntests:\n")
	for _, s := range scenarios() {
		var series map[string][]float64
		synctest.Test(t, func(t *testing.T) { series = s.record(t) })
		s.write(&file, series)
	}
	if *updateAlerts {
		require.NoError(t, os.WriteFile(recordedAlerts, []byte(file.String()), 0o600))
	}
	recorded, err := os.ReadFile(recordedAlerts)
	require.NoError(t, err)
	assert.Equal(t, string(recorded), file.String(), "run go test ./examples/server/internal/telemetry -run TestAlerts -update")

	promtool, err := exec.LookPath("promtool")
	if err != nil {
		testenv.SkipOrFailf(t, "no promtool to test the alerts with: install Debian's package prometheus")
	}
	for _, name := range []string{"alerts_test.yml", "alerts_recorded_test.yml"} {
		command := exec.Command(promtool, "test", "rules", name)
		command.Dir = observability
		output, err := command.CombinedOutput()
		assert.NoError(t, err, "%s", output)
	}
}

// record returns the series that the scenario has, by name and labels, with one value for each scrape.
func (s scenario) record(t *testing.T) map[string][]float64 {
	t.Helper()
	users, err := memstore.New(10)
	require.NoError(t, err)
	store := &failingStore{users, s.failing}
	tele := newTelemetry(t)
	engine, err := points.New(store, points.Config{
		Interval: s.interval, Hooks: tele.Hooks(store), Logger: slog.New(slog.DiscardHandler), UpdateOnStart: true,
	})
	require.NoError(t, err)
	tele.MeasureEngine(engine)
	panics := pointshttp.Recover(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a bug") }), slog.New(slog.DiscardHandler))
	handler := tele.Middleware(panics, []string{"/panic"})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	if s.stopped {
		ended <- nil
	} else {
		go func() { ended <- engine.Run(ctx) }()
	}
	<-time.After(time.Second) // scrapes are not in time with ticks
	series := make(map[string][]float64)
	for i := range scrapes {
		synctest.Wait()
		gather(t, tele, series, i)
		if s.act != nil && i%4 == 0 {
			s.act(i/4, handler)
		}
		<-time.After(scrapeInterval)
	}
	cancel()
	require.NoError(t, <-ended)
	return series
}

// gather adds the i-th values of the series that alerts ask for.
func gather(t *testing.T, tele *Telemetry, series map[string][]float64, i int) {
	t.Helper()
	families, err := tele.Registry().Gather()
	require.NoError(t, err)
	for _, family := range families {
		switch family.GetName() {
		case "points_panics_total", "points_min_number_age_seconds", "points_tick_interval_seconds", "points_ticks_paused",
			"points_ticks_total", "points_update_breaker", "points_update_failures", "points_store_down":
		default:
			continue
		}
		for _, metric := range family.GetMetric() {
			name := seriesName(family.GetName(), metric)
			require.Len(t, series[name], i, "%s does not exist from the start: increase() would miss its first change", name)
			series[name] = append(series[name], metric.GetGauge().GetValue()+metric.GetCounter().GetValue())
		}
	}
}

func seriesName(name string, metric *dto.Metric) string {
	var text strings.Builder
	text.WriteString(name + `{job="points",instance="one"`)
	for _, label := range metric.GetLabel() {
		fmt.Fprintf(&text, ",%s=%q", label.GetName(), label.GetValue())
	}
	return text.String() + "}"
}

// write writes the scenario as a test of promtool.
func (s scenario) write(file *strings.Builder, series map[string][]float64) {
	fmt.Fprintf(file, "  - name: %s\n    interval: 15s\n    input_series:\n", s.name)
	for _, name := range slices.Sorted(maps.Keys(series)) {
		fmt.Fprintf(file, "      - {series: '%s', values: '%s'}\n", name, values(series[name]))
	}
	file.WriteString("    promql_expr_test:\n" +
		"      - expr: count by (alertname) (max_over_time(ALERTS{alertstate=\"firing\"}[1h]))\n        eval_time: 1h\n")
	if len(s.fires) == 0 {
		file.WriteString("        exp_samples: []\n")
		return
	}
	file.WriteString("        exp_samples:\n")
	for _, alert := range s.fires {
		fmt.Fprintf(file, "          - {labels: '{alertname=\"%s\"}', value: 1}\n", alert)
	}
}

// values returns values in promtool's notation, in which "0x3" is four zeros.
func values(all []float64) string {
	var parts []string
	for i := 0; i < len(all); {
		j := i + 1
		for j < len(all) && all[j] == all[i] {
			j++
		}
		part := strconv.FormatFloat(all[i], 'f', -1, 64)
		if j > i+1 {
			part += "x" + strconv.Itoa(j-i-1)
		}
		parts = append(parts, part)
		i = j
	}
	return strings.Join(parts, " ")
}

// A failingStore is a store whose updates may all fail.
type failingStore struct {
	points.Store

	fails bool
}

func (s *failingStore) UpdateAll(ctx context.Context, key uint64) (int64, error) {
	if s.fails {
		return 0, errors.New("no space left on device")
	}
	return s.Store.UpdateAll(ctx, key)
}
