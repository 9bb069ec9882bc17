// Package report is what a load test leaves behind: a [Run], as JSON with stable field names, as one self-contained
// HTML page, and side by side with another run.
package report
