// Package record aggregates the exchanges of a load test in constant memory: HdrHistograms over the whole run, and a
// timeline of at most 256 intervals, whose width grows with the run.
//
//	recorder := record.New(record.Options{})
//	h, err := transport.NewHTTP1(transport.Options{URL: u, Observe: recorder.Observe})
//	// run the load through h
//	summary := recorder.Summary(elapsed)
package record
