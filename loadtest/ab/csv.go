package ab

import (
	"bufio"
	"fmt"
	"io"

	"github.com/pointsapp/pointsapp/loadtest/record"
)

// WriteCSV writes what ab -e does: the time in ms in which each percentage of the requests was served, from 0 to 100.
func WriteCSV(w io.Writer, total *record.Distribution) error {
	b := bufio.NewWriter(w)
	fmt.Fprint(b, "Percentage served,Time in ms\n")
	n := float64(total.Count())
	for p := range 101 {
		t := total.Rank(int64(0.5 + n*float64(p)/100)) // not as in the report, which rounds down
		fmt.Fprintf(b, "%d,%.3f\n", p, ms(t))
	}
	if err := b.Flush(); err != nil {
		return fmt.Errorf("ab: %w", err)
	}
	return nil
}
