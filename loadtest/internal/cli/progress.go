package cli

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A progress shows the number of completed requests: as a bar on a terminal, otherwise as ab's lines.
type progress struct {
	out  io.Writer
	step int64 // requests between two updates; 0 means silent
	last int64 // number shown last
	bar  *progressbar.ProgressBar

	start, drawn time.Time // of the run; of the bar's latest update
}

// drawInterval is the time between two updates of the bar, and before the first one: earlier, the rate is meaningless.
const drawInterval = 100 * time.Millisecond

// newProgress returns the progress of a run of the given number of requests.
func newProgress(out io.Writer, requests int64, quiet bool) *progress {
	const silentUpTo, minStep = 150, 100 // ab's
	p := &progress{out: out}
	if quiet || requests <= silentUpTo {
		return p
	}
	p.step = max(requests/10, minStep)
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.step = minStep
		p.showBar(requests)
	}
	return p
}

func (p *progress) showBar(requests int64) {
	p.start = time.Now()
	p.drawn = p.start
	p.bar = progressbar.NewOptions64(requests, progressbar.OptionSetWriter(p.out), progressbar.OptionShowCount(),
		progressbar.OptionClearOnFinish())
}

// completed is called after each request.
func (p *progress) completed(n int64) {
	if p.step == 0 || n%p.step != 0 || n == p.last {
		return
	}
	p.last = n
	if p.bar != nil {
		p.draw(n)
		return
	}
	fmt.Fprintf(p.out, "Completed %d requests\n", n)
}

func (p *progress) draw(n int64) {
	now := time.Now()
	if now.Sub(p.drawn) < drawInterval {
		return
	}
	p.drawn = now
	p.bar.Describe(fmt.Sprintf("%.0f requests/s", float64(n)/now.Sub(p.start).Seconds()))
	_ = p.bar.Set64(n) // failing to draw the bar must not stop the run
}

// finish is called at the end of the run.
func (p *progress) finish(n int64) {
	if p.bar != nil {
		_ = p.bar.Clear() // see completed
	}
	if p.step > 0 {
		fmt.Fprintf(p.out, "Finished %d requests\n", n)
	}
}
