package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// A progress tells how many requests have been completed: as a bar on a terminal, and in ab's lines elsewhere.
type progress struct {
	out   io.Writer
	every int64 // 0: silent
	bar   *progressbar.ProgressBar
}

// newProgress returns the progress of a run of so many requests.
func newProgress(out io.Writer, requests int64, quiet bool) *progress {
	const few, leastStep = 150, 100 // ab's
	p := &progress{out: out}
	if quiet || requests <= few {
		return p
	}
	p.every = max(requests/10, leastStep)
	if f, ok := out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		p.every = leastStep
		p.bar = progressbar.NewOptions64(requests, progressbar.OptionSetWriter(out), progressbar.OptionShowCount(),
			progressbar.OptionShowIts(), progressbar.OptionSetItsString("requests"), progressbar.OptionClearOnFinish(),
			progressbar.OptionThrottle(100*time.Millisecond))
	}
	return p
}

// completed is called for each request.
func (p *progress) completed(n int64) {
	if p.every == 0 || n%p.every != 0 {
		return
	}
	if p.bar != nil {
		_ = p.bar.Set64(n) // a bar that cannot be drawn is no reason to stop
		return
	}
	fmt.Fprintf(p.out, "Completed %d requests\n", n)
}

// finish is called at the end.
func (p *progress) finish(n int64) {
	if p.bar != nil {
		_ = p.bar.Clear() // as above
	}
	if p.every > 0 {
		fmt.Fprintf(p.out, "Finished %d requests\n", n)
	}
}
