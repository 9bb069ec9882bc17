package report

import "io"

// WriteHTML writes the run.
func WriteHTML(w io.Writer, run, baseline *Run) error { return nil }
