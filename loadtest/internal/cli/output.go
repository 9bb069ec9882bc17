package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/pointsapp/pointsapp/loadtest/internal/ab"
	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
)

// outputs are the files to write, and the run to compare with. openOutputs checks the files before the load starts, so
// that a wrong name does not waste a run. It neither creates nor changes them.
type outputs struct {
	csv, gnuplot, json, html *outputFile // nil if not requested
	old                      *report.Run
}

func openOutputs(ctx context.Context, cfg *flags.Config, stdout io.Writer) (*outputs, error) {
	var out outputs
	var err error
	if cfg.CompareURL == nil {
		if out.old, err = readOld(ctx, cfg.Compare); err != nil {
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
			if *f.file, err = openOutputFile(ctx, f.name); err != nil {
				out.close()
				return nil, fmt.Errorf("cannot write the output: %w", err)
			}
		}
	}
	return &out, nil
}

// readOld reads the run to compare with; nil without -compare.
func readOld(ctx context.Context, name string) (*report.Run, error) {
	switch name {
	case "":
		return nil, nil //nolint:nilnil // without -compare
	case flags.Original:
		return report.Original()
	}
	return readRun(ctx, name)
}

// writeFiles sets the verdict and writes the requested files. It comes before the text report, because stdout may have
// been closed. Errors are collected in writeErrors: the other files and the report are still written.
func (c *command) writeFiles(result *report.Run, s *record.Summary) {
	result.Judge()
	o := c.out
	for _, err := range []error{
		o.csv.replace(func(w io.Writer) error { return ab.WriteCSV(w, s.Latency) }),
		o.gnuplot.replace(func(w io.Writer) error { return ab.WriteGnuplot(w, result.Date, s.Requests) }),
		o.json.replace(result.WriteJSON),
		o.html.replace(func(w io.Writer) error { return report.WriteHTML(w, result, o.old) }),
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

// ignoreClosedPipe returns nil for EPIPE, as in `loadtest … | head -1`: files and exit code do not depend on it.
func ignoreClosedPipe(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}
