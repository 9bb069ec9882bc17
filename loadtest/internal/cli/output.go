package cli

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
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

// An outputFile is a file to write the results to.
type outputFile struct {
	name   string
	stdout io.Writer // not nil: write to it instead
	file   *os.File  // nil if the file does not exist yet
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
			*f.file = &outputFile{name: f.name, stdout: stdout}
		default:
			if *f.file, err = openOutputFile(f.name); err != nil {
				out.close()
				return nil, fmt.Errorf("cannot write the output: %w", err)
			}
		}
	}
	return &out, nil
}

// openOutputFile checks that the file can be written. It leaves an existing file as it is.
func openOutputFile(name string) (*outputFile, error) {
	file, err := os.OpenFile(name, os.O_WRONLY, 0) //nolint:gosec // named by the user
	if !errors.Is(err, fs.ErrNotExist) {
		return &outputFile{name: name, file: file}, err
	}
	file, err = create(name)
	if err != nil {
		return nil, err
	}
	return &outputFile{name: name}, errors.Join(file.Close(), os.Remove(name))
}

func create(name string) (*os.File, error) {
	return os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o644) //nolint:gosec // named by the user; a report is not secret
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

// write writes the requested files.
func (o *outputs) write(result *report.Run, s *record.Summary) error {
	result.Judge()
	if err := o.csv.replace(func(w io.Writer) error { return ab.WriteCSV(w, s.Latency) }); err != nil {
		return err
	}
	err := o.gnuplot.replace(func(w io.Writer) error { return ab.WriteGnuplot(w, result.Date, s.Requests) })
	if err != nil {
		return err
	}
	if err := o.json.replace(result.WriteJSON); err != nil {
		return err
	}
	return o.html.replace(func(w io.Writer) error { return report.WriteHTML(w, result, o.baseline) })
}

func (o *outputs) close() {
	for _, f := range []*outputFile{o.csv, o.gnuplot, o.json, o.html} {
		if f != nil && f.file != nil {
			_ = f.file.Close() // replace has closed files that were written, and checked the error
		}
	}
}

// replace replaces the content of f, unless f is nil, and closes it.
func (f *outputFile) replace(write func(io.Writer) error) error {
	if f == nil {
		return nil
	}
	var content bytes.Buffer
	if err := write(&content); err != nil {
		return err
	}
	if f.stdout != nil {
		_, err := f.stdout.Write(content.Bytes())
		return err
	}
	if err := f.writeFile(content.Bytes()); err != nil {
		return fmt.Errorf("cannot write %s: %w", f.name, err)
	}
	return nil
}

func (f *outputFile) writeFile(content []byte) (err error) {
	if f.file == nil {
		if f.file, err = create(f.name); err != nil {
			return err
		}
	}
	err = f.file.Truncate(0)
	if err != nil && !isRegular(f.file) {
		err = nil // a pipe or terminal cannot be truncated
	}
	if err == nil {
		_, err = f.file.Write(content)
	}
	return errors.Join(err, f.file.Close())
}

func isRegular(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode().IsRegular()
}

// ignoreClosedPipe drops the error of writing to stdout after its reader has gone, as in `loadtest … | head -1`: the
// run still has its files and its exit code.
func ignoreClosedPipe(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}
