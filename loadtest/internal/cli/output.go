package cli

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pointsapp/pointsapp/loadtest/internal/flags"
	"github.com/pointsapp/pointsapp/loadtest/internal/report"
)

// outputs are the files to write and the run to compare with. They are opened before the load starts, so that a wrong
// file name does not waste a run.
type outputs struct {
	csv, json, html *os.File // nil if not requested
	baseline        *report.Run
}

func openOutputs(cfg *flags.Config) (*outputs, error) {
	var out outputs
	var err error
	if out.baseline, err = readBaseline(cfg.Compare); err != nil {
		return nil, err
	}
	files := []struct {
		name string
		file **os.File
	}{{cfg.CSV, &out.csv}, {cfg.JSON, &out.json}, {cfg.HTML, &out.html}}
	for _, f := range files {
		if f.name == "" {
			continue
		}
		// No O_TRUNC: an earlier run's file is kept until it can be replaced.
		*f.file, err = os.OpenFile(f.name, os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // a report is not secret
		if err != nil {
			out.close()
			return nil, fmt.Errorf("cannot write the output: %w", err)
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

func (o *outputs) close() {
	for _, f := range []*os.File{o.csv, o.json, o.html} {
		if f != nil {
			_ = f.Close() // replace has closed files that were written, and checked the error
		}
	}
}

// replace replaces the content of f, unless f is nil, and closes it.
func replace(f *os.File, write func(io.Writer) error) error {
	if f == nil {
		return nil
	}
	err := f.Truncate(0)
	if err != nil && !isRegular(f) {
		err = nil // a pipe or terminal cannot be truncated
	}
	if err == nil {
		err = write(f)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot write %s: %w", f.Name(), err)
	}
	return nil
}

func isRegular(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}
