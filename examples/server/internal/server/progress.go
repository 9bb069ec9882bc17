package server

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/pointsapp/pointsapp/points/pointshttp"
)

// progress shows the progress of seeding a table: a bar on a terminal or otherwise lines in the log, and /readyz.
type progress struct {
	logger   *slog.Logger
	handler  *pointshttp.Handler
	w        io.Writer
	terminal bool // w is one

	bar    *progressbar.ProgressBar // nil until it is drawn
	logged time.Time
	next   int64 // done at which the next line is due
}

// show is called with how many of total users there are, at the beginning and whenever there are more.
func (p *progress) show(done, total int64) {
	p.handler.SetStarting(fmt.Sprintf("seeding the table, %d of %d users", done, total))
	if p.terminal {
		p.draw(done, total)
		return
	}
	const lines, most = 10, 5 * time.Second
	if done >= p.next || done == total || time.Since(p.logged) >= most {
		p.logger.Info("seeding the table", "users", done, "of", total)
		p.logged, p.next = time.Now(), done+total/lines
	}
}

func (p *progress) draw(done, total int64) {
	if p.bar == nil {
		p.bar = progressbar.NewOptions64(total,
			progressbar.OptionSetWriter(p.w),
			progressbar.OptionSetDescription("seeding the table"),
			progressbar.OptionSetItsString("users"),
			progressbar.OptionShowCount(),
			progressbar.OptionShowIts(),
			progressbar.OptionSetWidth(40),
			progressbar.OptionClearOnFinish(),
		)
	}
	p.bar.Set64(done) //nolint:errcheck // seeding goes on without a bar
}

// end removes the bar, so that what is written next begins on a line of its own.
func (p *progress) end() {
	if p.bar != nil {
		p.bar.Clear() //nolint:errcheck // as in draw
	}
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}
