package record

import (
	"cmp"
	"slices"

	"github.com/pointsapp/pointsapp/loadtest/internal/transport"
)

const (
	maxStatus    = 999 // highest status code: three digits
	maxFailures  = 10  // distinct errors that are counted separately
	otherFailure = "other errors"
)

// A StatusCount is the number of complete responses with a status code.
type StatusCount struct {
	Status int   `json:"status"`
	Count  int64 `json:"count"`
}

// A FailureCount is the number of requests that failed with an error.
type FailureCount struct {
	Error string `json:"error"`
	Count int64  `json:"count"`
}

// outcomes counts requests by status code and by error, in constant memory.
type outcomes struct {
	statuses [maxStatus + 1]int64
	failures []FailureCount // in the order in which they occurred first
}

func (o *outcomes) add(x *transport.Exchange) {
	if x.Failure == transport.None {
		o.statuses[min(max(x.Status, 0), maxStatus)]++
	}
	if x.Err != nil {
		o.addFailure(x.Err.Error())
	}
}

func (o *outcomes) addFailure(text string) {
	i := slices.IndexFunc(o.failures, func(f FailureCount) bool { return f.Error == text })
	switch {
	case i >= 0:
		o.failures[i].Count++
	case len(o.failures) < maxFailures:
		o.failures = append(o.failures, FailureCount{Error: text, Count: 1})
	case len(o.failures) == maxFailures:
		o.failures = append(o.failures, FailureCount{Error: otherFailure, Count: 1})
	default:
		o.failures[maxFailures].Count++
	}
}

// statusCounts returns the status codes that occurred, in ascending order.
func (o *outcomes) statusCounts() []StatusCount {
	var counts []StatusCount
	for status, n := range o.statuses {
		if n > 0 {
			counts = append(counts, StatusCount{Status: status, Count: n})
		}
	}
	return counts
}

// failureCounts returns the errors that occurred, most frequent first.
func (o *outcomes) failureCounts() []FailureCount {
	byCount := func(a, b FailureCount) int { return cmp.Compare(b.Count, a.Count) }
	return slices.SortedStableFunc(slices.Values(o.failures), byCount)
}
