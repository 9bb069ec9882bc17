package record

import (
	"cmp"
	"slices"
	"time"
)

// A Snapshot is the state of a run in progress, or the sum of several runs.
type Snapshot struct {
	Counts

	Statuses []StatusCount // in ascending order
	Buckets  []int64       // latencies up to each bound and above the previous one
	Observed int64         // number of latencies
	Sum      time.Duration // of the latencies
}

// Snapshot returns the state of the run so far. The bounds are ascending.
func (r *Recorder) Snapshot(bounds []time.Duration) Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	latency := r.times.Latency
	return Snapshot{
		Counts: r.counts, Statuses: r.outcomes.statusCounts(), Buckets: latency.CountsUpTo(bounds),
		Observed: latency.Count(), Sum: latency.Sum(),
	}
}

// Plus returns the sum of two snapshots with the same bounds.
func (s Snapshot) Plus(other Snapshot) Snapshot {
	sum := Snapshot{Counts: s.Counts, Buckets: slices.Clone(s.Buckets), Observed: s.Observed, Sum: s.Sum}
	sum.add(&other.Counts)
	sum.Observed += other.Observed
	sum.Sum += other.Sum
	for i, n := range other.Buckets {
		sum.Buckets[i] += n
	}
	sum.Statuses = addStatuses(s.Statuses, other.Statuses)
	return sum
}

// addStatuses returns the sum, in ascending order.
func addStatuses(all ...[]StatusCount) (sum []StatusCount) {
	counts := map[int]int64{}
	for _, statuses := range all {
		for _, s := range statuses {
			counts[s.Status] += s.Count
		}
	}
	for status, n := range counts {
		sum = append(sum, StatusCount{status, n})
	}
	slices.SortFunc(sum, func(a, b StatusCount) int { return cmp.Compare(a.Status, b.Status) })
	return sum
}
