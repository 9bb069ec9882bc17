package ab

import (
	"bufio"
	"fmt"
	"io"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
)

// WriteCSV writes the CSV of ab -e: the time in ms within which each percentage of the requests was served, from 0 to
// 100.
func WriteCSV(w io.Writer, latency *record.Distribution) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, "Percentage served,Time in ms\n")
	n := float64(latency.Count())
	for p := range 101 {
		t := latency.Rank(int64(0.5 + n*float64(p)/100)) // as in ab; its report rounds down instead
		fmt.Fprintf(b, "%d,%.3f\n", p, ms(t))
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("cannot write ab's CSV: %w", err)
	}
	return nil
}
