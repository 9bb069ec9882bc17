package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/contract"
	"github.com/pointsapp/pointsapp/loadtest/internal/cputime"
	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// Schema is the version of the JSON format. Within a version, fields may be added, but not renamed or redefined.
const Schema = 1

// A Run holds the results of a load test. Unknown figures are omitted or 0.
type Run struct {
	Schema  int       `json:"schema"`
	Name    string    `json:"name"`          // label in comparisons
	Date    time.Time `json:"date,omitzero"` // start of the run
	Command []string  `json:"command,omitempty"`

	// Verdict is "pass", "fail" or "none", Reasons why it is "fail". Judge sets both.
	Verdict string   `json:"verdict,omitempty"`
	Reasons []string `json:"reasons,omitempty"`

	// Interrupted means that the results are those of an incomplete run or search.
	Interrupted bool `json:"interrupted,omitempty"`

	Host   Host   `json:"host"`
	Client Client `json:"client"`
	Target Target `json:"target"`
	Load   Load   `json:"load"`

	// Setup describes a server other than a separate one at Target. Runs with different setups are not comparable.
	Setup string `json:"setup,omitempty"`

	// Repeats are the runs that this one consists of, if the load was repeated.
	Repeats []*Run `json:"repeats,omitempty"`

	// Merged is the number of runs that were merged, CommonSeconds the time in which all of them ran; 0 in a single run.
	Merged        int     `json:"merged,omitempty"`
	CommonSeconds float64 `json:"common_seconds,omitempty"`

	// FailedParts describe the merged runs without a 2xx response: the sum hides them.
	FailedParts []string `json:"failed_parts,omitempty"`

	// Incomparable says which old run has no 2xx response; empty if all have one, or if there are none.
	Incomparable string `json:"incomparable,omitempty"`

	Seconds           float64       `json:"seconds"`
	Counts            record.Counts `json:"counts"`
	RequestsPerSecond float64       `json:"requests_per_second"`
	// SuccessfulPerSecond counts 2xx responses; in an open loop, those that arrived during the scheduled time.
	SuccessfulPerSecond float64 `json:"successful_per_second"`

	// Offered is the average rate of an open loop's schedule, in requests per second.
	Offered float64 `json:"offered_per_second,omitempty"`

	PerRequestMS    float64         `json:"ms_per_request"`
	PerRequestAllMS float64         `json:"ms_per_request_across_all"`
	KBytesPerSecond float64         `json:"kbytes_per_second"`
	ConnectionTimes ConnectionTimes `json:"connection_times"`
	Failures        []string        `json:"failures,omitempty"` // the texts of Errors

	StatusCodes []record.StatusCount  `json:"status_codes,omitempty"` // of complete responses
	Errors      []record.FailureCount `json:"errors,omitempty"`       // of failed requests, most frequent first

	Histograms *Histograms `json:"histograms,omitempty"`

	// Percentiles are ab's, of the total time. Percentiles without samples are omitted.
	Percentiles []Percentile `json:"percentiles"`

	// LatencyMeanMS and LatencyPercentiles describe the latency; in an open loop it is measured from when a request was
	// due. Percentile 100 is the maximum.
	LatencyMeanMS      float64      `json:"latency_mean_ms,omitempty"`
	LatencyPercentiles []Percentile `json:"latency_percentiles,omitempty"`

	Timeline   []Interval      `json:"timeline,omitempty"`
	Updates    []Update        `json:"updates,omitempty"`
	Contract   contract.Result `json:"contract"`
	Assertions []slo.Result    `json:"assertions,omitempty"`
	Search     *Search         `json:"search,omitempty"`
}

// Host describes the machine that generated the load.
type Host struct {
	Name      string `json:"name,omitempty"`
	OS        string `json:"os,omitempty"`
	Arch      string `json:"arch,omitempty"`
	CPUs      int    `json:"cpus,omitempty"`      // of the machine
	CPUsUsed  int    `json:"cpus_used,omitempty"` // GOMAXPROCS of the load generator
	GoVersion string `json:"go_version,omitempty"`
}

// Client describes how busy the load generator was.
type Client struct {
	// CPU is the share of the time of its CPUs that it used and waited for; 0 if unknown.
	CPU cputime.Share `json:"cpu"`

	// LateP99 and LateMax describe how late it sent requests in an open loop although clients were idle.
	LateP99 float64 `json:"late_p99_ms"`
	LateMax float64 `json:"late_max_ms"`

	// Limit says why the load generator, not the server, limited the result, so that there is no verdict about the server.
	Limit string `json:"limit,omitempty"`
}

// Target describes the request and the server.
type Target struct {
	URL            string `json:"url"`
	Method         string `json:"method"`
	Hostname       string `json:"hostname"`
	Port           string `json:"port"`
	Path           string `json:"path"`
	Requests       int    `json:"requests,omitempty"` // number of different requests, if they came from a file
	ServerSoftware string `json:"server_software"`
	DocumentLength int64  `json:"document_length"` // of the first body, in bytes
}

// Load describes how requests were sent.
type Load struct {
	// Mode is "closed" or "open".
	Mode string `json:"mode"`

	// Requests is the number of requests planned; 0 without a limit. Unsent is the number of those that an open loop did
	// not send because all clients were waiting for responses.
	Requests int64 `json:"requests"`
	Unsent   int64 `json:"unsent,omitempty"`

	// Concurrency is the number of clients; in an open loop, the maximum.
	Concurrency int    `json:"concurrency"`
	Rate        string `json:"rate,omitempty"` // offered rate of an open loop in requests/s: "5000" or "1000:20000"
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

// Times summarizes a distribution, in milliseconds.
type Times struct {
	Min    float64 `json:"min_ms"`
	Mean   float64 `json:"mean_ms"`
	SD     float64 `json:"sd_ms"`
	Median float64 `json:"median_ms"`
	Max    float64 `json:"max_ms"`
}

// A Percentile means that Percent % of the requests took at most MS milliseconds.
type Percentile struct {
	Percent float64 `json:"percent"`
	MS      float64 `json:"ms"`
}

// An Interval summarizes a part of the run.
type Interval struct {
	Start    float64 `json:"start_s"` // from the start of the run
	Width    float64 `json:"width_s"`
	Requests int64   `json:"requests"` // that ended in the interval
	Errors   int64   `json:"errors"`   // of them, failed or non-2xx
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	Max      float64 `json:"max_ms"`
}

// An Update is a period during which the server updated its users, in seconds from the start of the run. It may begin
// before the run and end after it.
type Update struct {
	Start float64 `json:"start_s"`
	End   float64 `json:"end_s"`
}

// A Search documents the search for the highest rate that meets an SLO.
type Search struct {
	SLO   string `json:"slo"`
	Steps []Step `json:"steps"`

	// Highest is the highest rate that met the SLO, in requests per second; 0 if none did.
	Highest int `json:"highest_rate"`

	// ClientLimited means that higher rates missed because of the load generator: the server may be capable of more.
	ClientLimited bool `json:"client_limited"`

	// Stopped says why the search ended without a result; empty if it was interrupted.
	Stopped string `json:"stopped,omitempty"`

	// TooFew says that it would take too many requests to confirm the highest rate; empty if it was confirmed.
	TooFew string `json:"too_few,omitempty"`
}

// A Step is one run of a search.
type Step struct {
	Rate       int     `json:"rate"`
	Confirm    bool    `json:"confirm,omitempty"`   // a longer run, to confirm the result
	Successful float64 `json:"requests_per_second"` // 2xx responses
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Errors     int64   `json:"errors"`
	Violations int64   `json:"violations,omitempty"` // of the contract
	Met        bool    `json:"met"`
	Reason     string  `json:"reason,omitempty"`       // why the SLO was missed
	Client     string  `json:"client_limit,omitempty"` // why the load generator, not the server, missed it
}

// WriteJSON writes the run as JSON.
func (r *Run) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("cannot write the JSON: %w", err)
	}
	return nil
}

// ReadJSON reads a run written by WriteJSON. An error names the field that a run cannot have.
func ReadJSON(r io.Reader) (*Run, error) {
	var run Run
	decoder := json.NewDecoder(r)
	switch err := decoder.Decode(&run); {
	case errors.Is(err, io.EOF):
		return nil, errors.New("not the JSON of a load test: it is empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, errors.New("not the JSON of a load test: it ends too early")
	case err != nil:
		return nil, fmt.Errorf("not the JSON of a load test: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("not the JSON of one load test: there is more after it")
	}
	if run.Schema != Schema {
		return nil, fmt.Errorf("not the JSON of a load test: schema must be %d, got %d",
			Schema, run.Schema)
	}
	if err := run.validate(); err != nil {
		return nil, fmt.Errorf("not the results of a load test: %w", err)
	}
	return &run, nil
}
