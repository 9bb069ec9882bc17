// Package record aggregates the exchanges of a load test in constant memory: HdrHistograms over the whole run, and a
// timeline of at most 256 intervals, whose width grows with the run.
//
//	recorder := record.New(record.Options{})
//	... transport.Options{Observe: recorder.Observe} ...
//	summary := recorder.Summary(elapsed)
package record
