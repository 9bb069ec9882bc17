package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/pointsapp/pointsapp/loadtest/report"
)

// outputs are the files that a run writes and the run that it is compared with. They are opened before the load test,
// so that it is not in vain.
type outputs struct {
	csv, json, html *os.File // nil: not wanted
	baseline        *report.Run
}

func openOutputs(cfg *config) (*outputs, error) {
	var out outputs
	var err error
	if out.baseline, err = readBaseline(cfg.compare); err != nil {
		return nil, err
	}
	files := []struct {
		name string
		file **os.File
	}{{cfg.csv, &out.csv}, {cfg.json, &out.json}, {cfg.html, &out.html}}
	for _, f := range files {
		if f.name == "" {
			continue
		}
		// What an earlier run left stays until there is something to replace it.
		*f.file, err = os.OpenFile(f.name, os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // a report is no secret
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
		return nil, nil //nolint:nilnil // no run is no error
	case "seed":
		return report.Seed()
	}
	f, err := os.Open(name) //nolint:gosec // the user names it
	if err != nil {
		return nil, fmt.Errorf("cannot read the run to compare with: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	run, err := report.ReadJSON(f)
	if err != nil {
		return nil, fmt.Errorf("cannot compare with %s: %w", name, err)
	}
	return run, nil
}

func (o *outputs) close() {
	for _, f := range []*os.File{o.csv, o.json, o.html} {
		if f != nil {
			_ = f.Close() // what was written has been closed with an eye on the error
		}
	}
}

// replace writes the new content of a file, if it is wanted, and closes it.
func replace(f *os.File, write func(io.Writer) error) error {
	if f == nil {
		return nil
	}
	err := f.Truncate(0)
	if err != nil && !isRegular(f) {
		err = nil // a pipe or a terminal: there is nothing to cut
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
