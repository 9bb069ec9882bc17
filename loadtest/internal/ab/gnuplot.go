package ab

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
)

// WriteGnuplot writes the tab-separated values of ab -g: the times of each request in ms, by total time. It sorts
// requests.
func WriteGnuplot(w io.Writer, start time.Time, requests []record.Request) error {
	slices.SortStableFunc(requests, func(a, b record.Request) int { return cmp.Compare(a.Total, b.Total) })
	b := bufio.NewWriter(w)
	fmt.Fprint(b, "starttime\tseconds\tctime\tdtime\tttime\twait\n")
	for _, r := range requests {
		at := start.Add(r.Start)
		total, connect := roundMS(r.Total), roundMS(r.Connect)
		fmt.Fprintf(b, "%s\t%d\t%d\t%d\t%d\t%d\n",
			at.Format(time.ANSIC), at.Unix(), connect, total-connect, total, roundMS(r.Wait))
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("cannot write ab's gnuplot file: %w", err)
	}
	return nil
}
