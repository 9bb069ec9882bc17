package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/contract"
	"github.com/pointsapp/pointsapp/loadtest/promise"
	"github.com/pointsapp/pointsapp/loadtest/record"
)

// Schema is the version of the JSON form. Fields may be added to it; none changes its name or meaning.
const Schema = 1

// A Run is all that is known of a load test. A figure that is not known is left out, or 0.
type Run struct {
	Schema  int       `json:"schema"`
	Name    string    `json:"name"`          // what a comparison calls the run
	Date    time.Time `json:"date,omitzero"` // when it began
	Command []string  `json:"command,omitempty"`
	Host    Host      `json:"host"`
	Target  Target    `json:"target"`
	Load    Load      `json:"load"`

	Seconds           float64         `json:"seconds"`
	Counts            record.Counts   `json:"counts"`
	RequestsPerSecond float64         `json:"requests_per_second"`
	PerRequestMS      float64         `json:"ms_per_request"`
	PerRequestAllMS   float64         `json:"ms_per_request_across_all"`
	KBytesPerSecond   float64         `json:"kbytes_per_second"`
	ConnectionTimes   ConnectionTimes `json:"connection_times"`
	Failures          []string        `json:"failures,omitempty"`

	// Percentiles are ab's nine, of the total time.
	Percentiles []Percentile `json:"percentiles"`

	// LatencyMean and LatencyPercentiles, to 99.999 and with 100 for the longest, are of the latency: in an open loop
	// from when a request was due.
	LatencyMeanMS      float64      `json:"latency_mean_ms,omitempty"`
	LatencyPercentiles []Percentile `json:"latency_percentiles,omitempty"`

	Timeline   []Interval        `json:"timeline,omitempty"`
	Updates    []Update          `json:"updates,omitempty"`
	Contract   contract.Result   `json:"contract"`
	Assertions []promise.Verdict `json:"assertions,omitempty"`
	Search     *Search           `json:"search,omitempty"`
}

// Host is where the load came from.
type Host struct {
	Name      string `json:"name,omitempty"`
	OS        string `json:"os,omitempty"`
	Arch      string `json:"arch,omitempty"`
	CPUs      int    `json:"cpus,omitempty"`      // of the machine
	CPUsUsed  int    `json:"cpus_used,omitempty"` // by the load test
	GoVersion string `json:"go_version,omitempty"`
}

// Target is what was asked for.
type Target struct {
	URL            string `json:"url"`
	Method         string `json:"method"`
	Hostname       string `json:"hostname"`
	Port           string `json:"port"`
	Path           string `json:"path"`
	ServerSoftware string `json:"server_software"`
	DocumentLength int64  `json:"document_length"` // of the first body, in bytes
}

// Load is how it was asked.
type Load struct {
	// Mode is "closed" or "open".
	Mode string `json:"mode"`

	// Requests is how many were to be sent; Unsent how many of an open loop's were not, for all clients were waiting.
	Requests int64 `json:"requests"`
	Unsent   int64 `json:"unsent,omitempty"`

	// Concurrency is the number of clients: in an open loop the most there may be.
	Concurrency int    `json:"concurrency"`
	Rate        string `json:"rate,omitempty"` // of an open loop, requests per second: "5000" or "1000:20000"
	KeepAlive   bool   `json:"keep_alive"`
	AnyLength   bool   `json:"any_length"`
	Transport   string `json:"transport,omitempty"`
}

// ConnectionTimes are the rows of ab's table.
type ConnectionTimes struct {
	Connect    Times `json:"connect"`
	Processing Times `json:"processing"`
	Waiting    Times `json:"waiting"`
	Total      Times `json:"total"`
}

// Times describe a distribution, in milliseconds.
type Times struct {
	Min    float64 `json:"min_ms"`
	Mean   float64 `json:"mean_ms"`
	SD     float64 `json:"sd_ms"`
	Median float64 `json:"median_ms"`
	Max    float64 `json:"max_ms"`
}

// A Percentile says that so many percent of the requests took at most so many milliseconds.
type Percentile struct {
	Percent float64 `json:"percent"`
	MS      float64 `json:"ms"`
}

// An Interval is a part of the run.
type Interval struct {
	Start    float64 `json:"start_s"` // since the run began
	Width    float64 `json:"width_s"`
	Requests int64   `json:"requests"` // that ended in it
	Errors   int64   `json:"errors"`   // failed and non-2xx ones among them
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	Max      float64 `json:"max_ms"`
}

// An Update is a time during which the server updated its users, in seconds since the run began; it may be before the
// run's beginning or after its end.
type Update struct {
	Start float64 `json:"start_s"`
	End   float64 `json:"end_s"`
}

// A Search is how the highest rate that keeps a promise was found.
type Search struct {
	Promise string `json:"promise"`
	Steps   []Step `json:"steps"`

	// Highest is the highest rate that kept the promise, in requests per second; 0 if none did.
	Highest int `json:"highest_rate"`
}

// A Step is one rate that was tried.
type Step struct {
	Rate    int     `json:"rate"`
	Reached float64 `json:"requests_per_second"`
	P50     float64 `json:"p50_ms"`
	P99     float64 `json:"p99_ms"`
	Errors  int64   `json:"errors"`
	Kept    bool    `json:"kept"`
	Because string  `json:"because,omitempty"` // what broke it
}

// WriteJSON writes the run.
func (r *Run) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// ReadJSON reads a run that WriteJSON wrote.
func ReadJSON(r io.Reader) (*Run, error) {
	var run Run
	if err := json.NewDecoder(r).Decode(&run); err != nil {
		return nil, fmt.Errorf("report: no JSON of a load test: %w", err)
	}
	if run.Schema != Schema {
		return nil, fmt.Errorf("report: no JSON of a load test, or of another version: \"schema\" is %d, not %d",
			run.Schema, Schema)
	}
	if run.Seconds < 0 || run.Counts.Complete < 0 {
		return nil, errors.New("report: no JSON of a load test: a negative time or number of requests")
	}
	return &run, nil
}
