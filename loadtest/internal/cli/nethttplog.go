package cli

import (
	"bytes"
	"io"
	"log" //nolint:depguard // the transport of net/http has no other logger
	"sync/atomic"

	"github.com/pointsapp/pointsapp/loadtest/internal/report"
)

// An unsolicitedFilter counts the lines that net/http's transport writes to the standard logger, the only one it has,
// when it closes an idle connection because the server has sent data after the end of a response. It passes on all
// other lines.
type unsolicitedFilter struct {
	next  io.Writer
	count atomic.Int64
}

func (f *unsolicitedFilter) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("Unsolicited response received on idle HTTP channel")) {
		f.count.Add(1)
		return len(line), nil
	}
	return f.next.Write(line)
}

// filterLog filters the standard logger until end is called, which reports on stderr what was filtered. It comes too
// late to count failed requests: the responses had been complete.
func (c *command) filterLog() (end func()) {
	filter := &unsolicitedFilter{next: log.Writer()}
	log.SetOutput(filter)
	return func() {
		log.SetOutput(filter.next)
		if n := filter.count.Load(); n > 0 {
			note(c.stderr, "the server sent data after the end of "+report.Plural(n, "response", "responses")+
				"; -transport http1 counts such responses as failed")
		}
	}
}
