package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
)

// A progress shows the number of completed requests as ab does: a line after each tenth of them.
type progress struct {
	out  io.Writer
	step int64 // requests between two lines; 0 means silent
	last int64 // number shown last
}

// newProgress returns the progress of a run of the given number of requests; 0 means unknown.
func newProgress(out io.Writer, requests int64, quiet bool) *progress {
	const silentUpTo, minStep = 150, 100 // ab's
	p := &progress{out: out}
	if !quiet && requests > silentUpTo {
		p.step = max(requests/10, minStep)
	}
	return p
}

// completed is called after each request.
func (p *progress) completed(n int64) {
	if p.step == 0 || n%p.step != 0 || n == p.last {
		return
	}
	p.last = n
	fmt.Fprintf(p.out, "Completed %s\n", report.Plural(n, "request", "requests"))
}

// finish is called at the end of the run.
func (p *progress) finish(n int64) {
	if p.step > 0 {
		fmt.Fprintf(p.out, "Finished %s\n", report.Plural(n, "request", "requests"))
	}
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// A liveView is a status line on a terminal, redrawn every drawInterval: progress, rate, percentiles, errors, and the
// remaining time. Progress is the elapsed time if the run has a duration, otherwise the number of requests.
type liveView struct {
	label    string
	requests int64         // 0 means unknown
	duration time.Duration // 0 means that requests is known
	out      io.Writer

	bar   *progressbar.ProgressBar
	start time.Time
	shown record.Live // state when the line was last drawn
	drawn time.Time   // when that was
}

// drawInterval is the time between two updates of a liveView.
const drawInterval = 250 * time.Millisecond

// watch redraws the line until stop is called, which removes it and returns when that is done.
func (v *liveView) watch(live func() record.Live) (stop func()) {
	v.start = time.Now()
	v.drawn = v.start
	total := v.requests
	if v.duration > 0 {
		total = v.duration.Milliseconds()
	}
	v.bar = progressbar.NewOptions64(total, progressbar.OptionSetWriter(v.out), progressbar.OptionClearOnFinish(),
		progressbar.OptionSetWidth(20), progressbar.OptionSetElapsedTime(false), progressbar.OptionSetPredictTime(false))
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() {
		ticker := time.NewTicker(drawInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				_ = v.bar.Clear() // failing to draw must not stop the run
				return
			case <-ticker.C:
				v.draw(live())
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}

// draw shows the state of the run: the rate since the last time, and percentiles and errors since the start.
func (v *liveView) draw(now record.Live) {
	at := time.Now()
	rate := float64(now.Complete-v.shown.Complete) / at.Sub(v.drawn).Seconds()
	v.shown, v.drawn = now, at
	elapsed := at.Sub(v.start)
	progress, left := now.Complete, elapsed
	if v.duration > 0 {
		progress, left = elapsed.Milliseconds(), v.duration-elapsed
	} else if now.Complete > 0 {
		left = time.Duration(float64(elapsed) * float64(v.requests-now.Complete) / float64(now.Complete))
	}
	v.bar.Describe(fmt.Sprintf("%s%.0f/s, 50%% %.2f ms, 99%% %.2f ms, %s, %v left", v.label, rate,
		milliseconds(now.P50), milliseconds(now.P99), report.Plural(now.Errors, "error", "errors"), left.Round(time.Second)))
	_ = v.bar.Set64(min(progress, v.bar.GetMax64()-1)) // not complete before stop
}
