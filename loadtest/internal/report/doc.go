// Package report writes the results of a load test: a [Run] as JSON with stable field names, as a self-contained HTML
// page, and compared with another run.
//
//	run := &report.Run{Schema: report.Schema, Name: "after", Load: load, Target: target}
//	run.Fill(&summary)
//	err := run.WriteJSON(file)
package report
