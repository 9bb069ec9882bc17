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
	bar  *progressbar.ProgressBar
}

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
		p.bar = progressbar.NewOptions64(requests, progressbar.OptionSetWriter(out), progressbar.OptionShowCount(),
			progressbar.OptionShowIts(), progressbar.OptionSetItsString("requests"), progressbar.OptionClearOnFinish(),
			progressbar.OptionThrottle(100*time.Millisecond))
	}
	return p
}

// completed is called after each request.
func (p *progress) completed(n int64) {
	if p.step == 0 || n%p.step != 0 {
		return
	}
	if p.bar != nil {
		_ = p.bar.Set64(n) // failing to draw the bar must not stop the run
		return
	}
	fmt.Fprintf(p.out, "Completed %d requests\n", n)
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
