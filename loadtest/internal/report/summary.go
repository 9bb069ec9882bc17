package report

import (
	"fmt"
	"time"

	"github.com/pointsapp/pointsapp/loadtest/internal/record"
	"github.com/pointsapp/pointsapp/loadtest/internal/slo"
)

// Histograms are the distributions of a run's times, without loss, so that runs can be merged.
type Histograms struct {
	Connect    *record.Distribution `json:"connect"`
	Processing *record.Distribution `json:"processing"`
	Waiting    *record.Distribution `json:"waiting"`
	Total      *record.Distribution `json:"total"`

	// Of an open loop: the latency, the delays that the load generator caused, and the latency without them.
	Latency     *record.Distribution `json:"latency,omitempty"`
	ClientDelay *record.Distribution `json:"client_delay,omitempty"`
	Undelayed   *record.Distribution `json:"undelayed,omitempty"`
}

func newHistograms(s *record.Summary) *Histograms {
	h := &Histograms{Connect: s.Times.Connect, Processing: s.Processing, Waiting: s.Waiting, Total: s.Total}
	if s.ClientDelay != nil {
		h.Latency, h.ClientDelay, h.Undelayed = s.Latency, s.ClientDelay, s.Undelayed
	}
	return h
}

// complete reports whether all histograms of a run with the mode are present.
func (h *Histograms) complete(mode string) bool {
	if h == nil || h.Connect == nil || h.Processing == nil || h.Waiting == nil || h.Total == nil {
		return false
	}
	return mode != open || h.Latency != nil && h.ClientDelay != nil && h.Undelayed != nil
}

// open is the mode of an open loop.
const open = "open"

// IsOpen reports whether the run was an open loop.
func (r *Run) IsOpen() bool { return r.Load.Mode == open }

// Summary returns the summary that the run was filled from. It fails if the run has no histograms.
func (r *Run) Summary() (record.Summary, error) {
	h := r.Histograms
	if !h.complete(r.Load.Mode) {
		return record.Summary{}, fmt.Errorf("%s has no histograms: an earlier version of loadtest has written it", r.Name)
	}
	s := record.Summary{
		Counts: r.Counts,
		Times: record.Times{
			Connect: h.Connect, Processing: h.Processing, Waiting: h.Waiting, Total: h.Total, Latency: h.Total,
		},
		Elapsed: seconds(r.Seconds), ServerSoftware: r.Target.ServerSoftware, DocumentLength: r.Target.DocumentLength,
		Statuses: r.StatusCodes, Failures: r.Errors,
	}
	if r.IsOpen() {
		s.Latency, s.ClientDelay, s.Undelayed = h.Latency, h.ClientDelay, h.Undelayed
	}
	for _, i := range r.Timeline {
		s.Timeline = append(s.Timeline, record.Interval{
			Start: seconds(i.Start), Width: seconds(i.Width), Requests: i.Requests, Errors: i.Errors,
			P50: milliseconds(i.P50), P99: milliseconds(i.P99), Max: milliseconds(i.Max),
		})
	}
	return s, nil
}

// Metrics returns the measurements that assertions refer to. It fails if the run has no histograms.
func (r *Run) Metrics() (*slo.Metrics, error) {
	s, err := r.Summary()
	if err != nil {
		return nil, err
	}
	c := &r.Counts
	return &slo.Metrics{
		Latency: s.Latency, Rate: r.SuccessfulPerSecond, Requests: c.Ended() + r.Load.Unsent,
		Failed: c.Failed() + r.Load.Unsent, Non2xx: c.Non2xx, Length: c.Length, Aborted: c.Aborted, Resent: c.Resent,
		Violations: r.Contract.Violations, Successful: c.Successful, Checked: r.Contract.Responses,
		AnyLength: r.Load.AnyLength,
	}, nil
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
