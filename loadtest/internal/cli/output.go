package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/pointsapp/pointsapp/loadtest/internal/ab"
	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
)

// outputs are the files to write and the run to compare with. Files are checked before the load starts, so that a wrong
// name does not waste a run, but neither created nor changed before there are results.
type outputs struct {
	csv, gnuplot, json, html *outputFile // nil if not requested
	baseline                 *report.Run
}

func openOutputs(cfg *flags.Config, stdout io.Writer) (*outputs, error) {
	var out outputs
	var err error
	if cfg.CompareURL == nil {
		if out.baseline, err = readBaseline(cfg.Compare); err != nil {
			return nil, err
		}
	}
	files := []struct {
		name string
		file **outputFile
	}{{cfg.CSV, &out.csv}, {cfg.Gnuplot, &out.gnuplot}, {cfg.JSON, &out.json}, {cfg.HTML, &out.html}}
	for _, f := range files {
		switch f.name {
		case "":
		case flags.Stdout:
			*f.file = &outputFile{name: "stdout", stdout: stdout}
		default:
			if *f.file, err = openOutputFile(f.name); err != nil {
				out.close()
				return nil, fmt.Errorf("cannot write the output: %w", err)
			}
		}
	}
	return &out, nil
}

// readBaseline reads the run to compare with; nil if there is none.
func readBaseline(name string) (*report.Run, error) {
	switch name {
	case "":
		return nil, nil //nolint:nilnil // no baseline is not an error
	case flags.Original:
		return report.Original()
	}
	f, err := os.Open(name) //nolint:gosec // named by the user
	if err != nil {
		return nil, fmt.Errorf("cannot read the run to compare with: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	baseline, err := report.ReadJSON(f)
	if err != nil {
		return nil, fmt.Errorf("cannot compare with %s: %w", name, err)
	}
	return baseline, nil
}

// writeFiles judges the run and writes the requested files, before the report is printed, because stdout may have been
// closed. If a file cannot be written, the other files and the report still are.
func (c *command) writeFiles(result *report.Run, s *record.Summary) {
	result.Judge()
	o := c.out
	for _, err := range []error{
		o.csv.replace(func(w io.Writer) error { return ab.WriteCSV(w, s.Latency) }),
		o.gnuplot.replace(func(w io.Writer) error { return ab.WriteGnuplot(w, result.Date, s.Requests) }),
		o.json.replace(result.WriteJSON),
		o.html.replace(func(w io.Writer) error { return report.WriteHTML(w, result, o.baseline) }),
	} {
		if err != nil {
			c.writeErrors = append(c.writeErrors, err)
		}
	}
}

func (o *outputs) close() {
	for _, f := range []*outputFile{o.csv, o.gnuplot, o.json, o.html} {
		f.close()
	}
}

// ignoreClosedPipe drops the error of writing to stdout after its reader has gone, as in `loadtest … | head -1`: the
// run still has its files and its exit code.
func ignoreClosedPipe(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}
