// Package record turns the exchanges of a load test into figures, in memory that does not depend on how many they are:
// HdrHistograms for the whole run, and a timeline of at most a few hundred intervals that grow as the run does.
//
//	recorder := record.New(record.Options{})
//	... transport.Options{Observe: recorder.Observe} ...
//	summary := recorder.Summary(elapsed)
package record
